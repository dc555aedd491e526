package logstore

import (
	"cmp"
	"errors"
	"maps"
	"slices"

	"muster/raft"
)

// takeBack looks for lost entries in segments that the log no longer needs, before
// they are freed. A person may have put one back, from a copy, after its loss was
// recorded and the log had continued without it. It reports false if they must stay:
// there is no room to write what was found, or the disk refuses one of them.
//
// It is safe to take an entry from there: its checksum covers group and id, and
// the log knows that it held the entry of that id.
func (r *recovery) takeBack(numbers []uint64, tail uint64) (bool, error) {
	s := r.s
	for _, n := range numbers {
		if n >= tail || !s.index.lacksEntries() {
			return true, nil
		}
		seg, err := openSegment(s.fs, s.dir, n)
		if err != nil {
			return false, err
		}
		if seg.refused() {
			return false, nil // the lost entries may be in it
		}
		if seg.file == nil {
			continue
		}
		b, refused, err := seg.read(nil)
		if closeErr := seg.file.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return false, err
		}
		if len(refused) > 0 {
			s.log.Warn("disk refuses a read", "file", seg.name, "offset", refused[0].from)
			return false, nil
		}
		ws := s.index.findLost(seg, b[:seg.limit()])
		if len(ws) == 0 {
			continue
		}
		s.log.Info("what was lost is found again", "file", seg.name)
		s.tookBack = true
		if err := s.Append(ws); errors.Is(err, ErrFull) && !errors.Is(err, ErrStopped) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		// The name of the segment that the entries went to must be durable before
		// this file goes.
		if err := s.fs.SyncDir(s.dir); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (x *index) lacksEntries() bool {
	for _, p := range x.replicas {
		if p.lost > 0 {
			return true
		}
	}
	return false
}

// findLost returns the entries of a segment that the log has lost, as writes that give
// them back.
func (x *index) findLost(seg *segment, b []byte) []Write {
	found := map[Replica][]raft.Entry{}
	for at := int64(segmentHeader); at < int64(len(b)); at += sectorSize {
		h, ok := readBatchHeader(b[at:], seg.at(at))
		if !ok {
			continue
		}
		for pos := batchHeaderSize; pos < batchHeaderSize+h.length; {
			head, body, err := readRecord(b[at+int64(pos):], seg.at(at+int64(pos)))
			if err != nil {
				break
			}
			pos += head.size
			p := x.replicas[head.replica]
			if p == nil || p.lost == 0 || head.kind != kindEntries && head.kind != kindMoved {
				continue
			}
			entries, err := readEntries(body, head.count, p.seed)
			if err != nil {
				continue
			}
			for _, e := range entries {
				if k := p.find(e.ID.Index); k < len(p.runs) && p.runs[k].first <= e.ID.Index && p.runs[k].lost && p.runs[k].term == e.ID.Term {
					found[p.id] = append(found[p.id], e)
				}
			}
		}
	}
	var ws []Write
	for _, id := range slices.SortedFunc(maps.Keys(found), compareReplicas) {
		list := found[id]
		slices.SortStableFunc(list, func(a, b raft.Entry) int { return cmp.Compare(a.ID.Index, b.ID.Index) })
		list = slices.CompactFunc(list, func(a, b raft.Entry) bool { return a.ID.Index == b.ID.Index })
		ws = append(ws, Write{Replica: id, Mended: list})
	}
	return ws
}
