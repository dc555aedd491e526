package logstore

import (
	"encoding/binary"
	"fmt"

	"muster/raft"
)

// describe names a record by its header, which may be damaged too.
func describe(h recordHeader) string {
	if h.size == 0 {
		return "no record"
	}
	return fmt.Sprintf("%s of %s", h.kind, h.replica)
}

// decode interprets a record. Its checksum fits, so if it can't be understood, a newer
// version wrote it, or it was written wrongly.
func (x *index) decode(h recordHeader, body []byte) (record, error) {
	rec := record{kind: h.kind, size: h.size, commit: h.commit}
	p := x.replicas[h.replica]
	if p == nil {
		p = &replica{id: h.replica, seed: raft.EntrySeed(h.replica.Group, h.replica.Incarnation)}
	}
	rec.replica = p
	bad := func() (record, error) { return record{}, fmt.Errorf("%w: %d bytes", ErrDamaged, len(body)) }
	switch h.kind {
	case kindState:
		if len(body) != stateSize {
			return bad()
		}
		rec.state.Term = binary.LittleEndian.Uint64(body)
		rec.state.Vote = raft.ReplicaID(binary.LittleEndian.Uint64(body[8:]))
	case kindBase:
		if len(body) < baseSize {
			return bad()
		}
		m, err := raft.ReadMembership(body[baseSize:])
		if err != nil {
			return record{}, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		rec.base = &Base{
			ID:         raft.LogID{Term: binary.LittleEndian.Uint64(body), Index: binary.LittleEndian.Uint64(body[8:])},
			Time:       raft.GroupTime(binary.LittleEndian.Uint64(body[16:])),
			Membership: m,
		}
		rec.end = binary.LittleEndian.Uint64(body[24:])
	case kindEntries, kindMoved:
		entries, err := readEntries(body, h.count, p.seed)
		if err != nil {
			return record{}, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		rec.first, rec.term, rec.count = entries[0].ID.Index, entries[0].ID.Term, h.count
		for _, e := range entries {
			rec.changes = rec.changes || e.Kind == raft.EntryMembership
		}
	case kindRemove:
	case kindLost:
		if len(body) != lostSize {
			return bad()
		}
		rec.first, rec.term, rec.count = binary.LittleEndian.Uint64(body), binary.LittleEndian.Uint64(body[8:]), h.count
		if h.count > 0 && (rec.first == 0 || rec.last() < rec.first) {
			return bad()
		}
	case kindNote:
		if len(body) != noteSize {
			return bad()
		}
		rec.note = readNote(body)
	case kindDirectory:
		d, err := readDirectory(body, h.count)
		if err == nil {
			err = d.check()
		}
		if err != nil {
			return record{}, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		rec.count = h.count
	default:
		return record{}, fmt.Errorf("%w: a record of this kind", ErrNewerFormat)
	}
	return rec, nil
}
