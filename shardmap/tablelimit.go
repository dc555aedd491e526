package shardmap

import (
	"fmt"
	"slices"

	"muster/raft"
	"muster/shardmap/pack"
)

// SetLimit bounds the keys that begin with a prefix; with no bound at all there is none any more:
//
//	[prefix, keys, bytes, rate]
type SetLimit struct {
	Limit Limit
}

// NoteTrail says how far the trail of a member is:
//
//	[[node, lines, hash, when], after]
//
// One that was further, or is another one as far as it was, has been changed: that is refused.
type NoteTrail struct {
	Head TrailHead
	// After is how many lines the trail had by the table that the node has compared it with; 0: that
	// knew nothing of it. If this table knows more, the comparison is worth nothing, and the command
	// is refused: a node that has just started may have an old table, and a trail that was made anew.
	After uint64
}

// AppendSetLimit appends the bytes of s to b. At this level the error is always nil.
func AppendSetLimit(b []byte, s *SetLimit) ([]byte, error) {
	b = appendTableHead(b, TableLimit, setLimitFields)
	return s.Limit.append(b), nil
}

// AppendNoteTrail appends the bytes of n to b. At this level the error is always nil.
func AppendNoteTrail(b []byte, n *NoteTrail) ([]byte, error) {
	b = appendTableHead(b, TableTrailHead, noteTrailFields)
	return pack.AppendUint(n.Head.append(b), n.After), nil
}

const (
	setLimitFields  = 1
	noteTrailFields = 2
)

func readSetLimit(r *tableReader) (tableCommand, error) {
	s := new(SetLimit)
	r.fields("limit's command", setLimitFields)
	s.Limit = readLimit(r)
	return s, r.err()
}

func readNoteTrail(r *tableReader) (tableCommand, error) {
	n := new(NoteTrail)
	r.fields("trail's command", noteTrailFields)
	n.Head, n.After = readTrail(r), r.Uint()
	return n, r.err()
}

// ReadNoteTrail returns how far a trail is by a command to the meta group; ok is false if it is
// another command, or can't be read.
func ReadNoteTrail(payload []byte) (n *NoteTrail, ok bool) {
	if TableKindOf(payload) != TableTrailHead {
		return nil, false
	}
	_, c, err := readTableCommand(payload)
	if err != nil {
		return nil, false
	}
	n, ok = c.(*NoteTrail)
	return n, ok
}

// apply returns the table with the limit, or without one.
func (s *SetLimit) apply(t *Table, id raft.LogID) (*Table, error) {
	l := s.Limit
	if l.Prefix == "" || len(l.Prefix) > KeyMax {
		return t, &Refusal{Kind: RefusedRequest, Object: "limit", Found: fmt.Sprintf("a prefix of %d bytes", len(l.Prefix)), Next: fmt.Sprintf("want 1 to %d, that keys begin with", KeyMax)}
	}
	object := "limit of " + describeText(l.Prefix)
	i, ok := t.Security.limit(l.Prefix)
	switch {
	case !ok && l.none():
		return t, &Refusal{Kind: RefusedAbsent, Object: object, Found: "there is none, and 0 keys, bytes and writes per second bound nothing", Next: "see muster namespace list"}
	case ok && t.Security.Limits[i] == l:
		return t, nil
	case !ok && len(t.Security.Limits) >= NamespacesMax:
		return t, &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("there are %d limits, as many as there may be", len(t.Security.Limits)), Next: "take one away first: muster namespace del PREFIX"}
	}
	made := t.draft(id)
	switch limits := slices.Clone(t.Security.Limits); {
	case l.none():
		made.Security.Limits = lessOne(t.Security.Limits, i)
	case ok:
		limits[i] = l
		made.Security.Limits = limits
	default:
		made.Security.Limits = slices.Insert(limits, i, l)
	}
	return made.Table, nil
}

// bugTrailUncompared is planted to show that its test finds it: the table takes a trail that was
// compared with an older table.
const bugTrailUncompared = "trail told by an old table"

// apply returns the table with the trail's head.
func (n *NoteTrail) apply(t *Table, id raft.LogID) (*Table, error) {
	h := n.Head
	if _, member := t.node(h.Node); !member {
		return t, unknownNode(t, h.Node)
	}
	object := "trail of " + t.called(h.Node)
	i, ok := t.Security.trail(h.Node)
	if ok {
		const evidence = "keep the files aside, and look for who changed them: muster audit verify"
		switch was := &t.Security.Trails[i]; {
		case h.Lines == was.Lines && h.Hash == was.Hash:
			return t, nil
		case h.Lines < was.Lines:
			return t, &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("it had %d lines, now it has %d", was.Lines, h.Lines), Next: evidence}
		case h.Lines == was.Lines:
			return t, &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("line %d has another hash than it had", h.Lines), Next: evidence}
		}
	}
	if was, _ := t.Security.Trail(h.Node); was.Lines != n.After && !bug(bugTrailUncompared) {
		return t, &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("it was compared with %d lines, and %d are known", n.After, was.Lines), Next: "compare it with the newest table, then tell it again"}
	}
	made := t.draft(id)
	heads := slices.Clone(t.Security.Trails)
	if ok {
		heads[i] = h
	} else {
		heads = slices.Insert(heads, i, h)
	}
	made.Security.Trails = heads
	return made.Table, nil
}

func (s *SetLimit) describe() string {
	l := &s.Limit
	return fmt.Sprintf("%s keys %d bytes %d rate %d", describeText(l.Prefix), l.Keys, l.Bytes, l.Rate)
}

func (n *NoteTrail) describe() string {
	return fmt.Sprintf("node %s lines %d hash %x at %d after %d", n.Head.Node, n.Head.Lines, n.Head.Hash[:8], n.Head.At, n.After)
}
