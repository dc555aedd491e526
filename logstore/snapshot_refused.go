package logstore

import (
	"errors"
	"slices"
)

// refused records that the disk refused a part of a snapshot once more. After
// refusedLooks times it counts as damaged, until the disk returns it: see refused.go.
// It follows one place at a time; other refused places show once that one is back.
func (s *snapshots) refused(sn Snapshot, d *Damage) {
	s.mu.Lock()
	looks := 0
	for i := range s.of[sn.Replica] {
		k := &s.of[sn.Replica][i]
		if k.File != sn.File || k.damage != nil && !k.damage.Refused {
			continue
		}
		if k.refused == nil {
			k.refused = d
		}
		if k.refused.Offset != d.Offset {
			continue
		}
		k.looks++
		if looks = k.looks; looks == refusedLooks {
			k.damage = d
		}
	}
	s.mu.Unlock()
	switch looks {
	case 1:
		s.log.Warn("disk refuses a read", "file", d.File, "offset", d.Offset, "record", d.Record, "reason", d.Reason)
	case refusedLooks:
		s.log.Error("snapshot damaged", "replica", sn.Replica, "file", d.File, "offset", d.Offset, "record", d.Record, "reason", d.Reason)
	}
}

// allRefused returns the snapshots of which the disk refuses something, in order.
func (s *snapshots) allRefused() []kept {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []kept
	for _, list := range s.of {
		for _, k := range list {
			if k.refused != nil {
				all = append(all, k)
			}
		}
	}
	slices.SortFunc(all, func(a, b kept) int { return compareSnapshots(&a.Snapshot, &b.Snapshot) })
	return all
}

// lookAt asks again for the part of a snapshot that the disk refused.
func (s *snapshots) lookAt(k *kept) {
	r, err := openSnapshot(s.disk, k.File, k.Replica, func(d *Damage) { s.damaged(k.Snapshot, d) })
	if err != nil {
		return // found has heard of it, or it is of a newer format
	}
	defer r.Close()
	switch at := k.refused.Offset; {
	case r.header.base.ID != k.Base.ID:
		r.damage(0, "header", errors.New("it is at "+r.header.base.ID.String()))
		return
	case at >= int64(r.header.size) && at < r.size-snapshotTrailerSize:
		if err := r.load((at - int64(r.header.size)) / (blockHeaderSize + blockBytes)); err != nil {
			return
		}
	}
	s.isBack(k, r)
}

// isBack makes a snapshot usable again that the disk had refused.
func (s *snapshots) isBack(was *kept, r *SnapshotReader) {
	s.mu.Lock()
	known := false
	for i := range s.of[was.Replica] {
		k := &s.of[was.Replica][i]
		if k.File == was.File && k.refused != nil {
			known = true
			k.Base, k.Size = r.header.base, r.size
			k.refused, k.looks, k.damage = nil, 0, nil
		}
	}
	s.mu.Unlock()
	if known {
		s.log.Info("disk returns what it refused", "file", was.File, "offset", was.refused.Offset)
	}
}
