//go:build plantedbugs

package machine

import (
	"bytes"
	"slices"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// SlipKind is a mistake that a machine makes with one entry.
type SlipKind uint8

const (
	SlipSkips  SlipKind = 1 // the entry has no effect
	SlipTwice  SlipKind = 2 // it has its effect once more, later
	slipRepeat SlipKind = 3 // of SlipTwice: another such entry has come, and the next without an effect gives way
)

// slip is a mistake that a machine is to make. It exists only under the build tag plantedbugs,
// as [Map.Slip] and [Meta.Slip] do.
type slip struct {
	kind  SlipKind                // 0: none
	about func(e raft.Entry) bool // whether the mistake may be made with an entry
	made  func()                  // told once it is made
	entry raft.Entry              // that is to come again; no payload: none has come yet
}

// Slip has m make a mistake with the next entry that sets a key with the prefix, and call made
// then. To come again an entry waits for another such entry, and for one without an effect after it.
// The goroutine that applies calls both.
func (m *Map) Slip(kind SlipKind, prefix []byte, made func()) {
	m.slip = slip{kind: kind, made: made, about: func(e raft.Entry) bool {
		var c shardmap.Command
		return ReadCommand(e.Payload(), &c) == nil && c.Kind == shardmap.CommandSet && bytes.HasPrefix(c.Items[0], prefix)
	}}
}

// Slip is [Map.Slip] with the next entry that changes a setting of the cluster.
func (m *Meta) Slip(kind SlipKind, made func()) {
	m.slip = slip{kind: kind, made: made, about: func(e raft.Entry) bool {
		_, command, err := wire.ReadOrigin(e.Payload())
		return err == nil && shardmap.TableKindOf(command) == shardmap.TableSetting
	}}
}

// skips reports whether an entry is to have no effect.
func (s *slip) skips(e raft.Entry) bool {
	if s.kind == 0 || !s.about(e) {
		return false
	}
	switch {
	case s.kind == SlipSkips:
		s.end()
		return true
	case s.entry.Raw == nil:
		s.entry, s.entry.Raw = e, slices.Clone(e.Raw)
	default:
		s.kind = slipRepeat
	}
	return false
}

// again returns the entry that is to have its effect once more, in the place of e, which has none.
func (s *slip) again(e raft.Entry) (twin raft.Entry, due bool) {
	if s.kind != slipRepeat || e.Kind == raft.EntryTime {
		return twin, false
	}
	twin = s.entry
	var c shardmap.Command
	if ReadCommand(twin.Payload(), &c) == nil {
		c.Session, c.Sequence, c.Floor = 0, 0, 0 // else it would be known as applied
		twin = NewEntry(wire.Origin{}, wire.AppendWrite(nil, &c))
		twin.Kind = raft.EntryNormal
	}
	twin.ID, twin.Time = e.ID, e.Time
	s.end()
	return twin, true
}

func (s *slip) end() {
	s.made()
	*s = slip{}
}
