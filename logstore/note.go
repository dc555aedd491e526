package logstore

import (
	"cmp"
	"encoding/binary"
	"slices"

	"muster/raft"
)

// Note is what this node knows of another one's life, kept in its own log: the
// newest life of which it has counted anything, and how far that one's log had come.
// So a node whose disk is from an earlier moment learns of it from the others, which
// remember more of it than it does itself.
//
// A later note of the same node replaces the one before; one with the zero Life
// makes the log forget the node (damage may bring it back, which harms nobody). It
// travels with a batch and costs no sync of its own. When its segment is freed it
// is written again, like a term.
type Note struct {
	Node raft.NodeID
	Life Life // the newest: messages of others do not count
	// Trusted is the newest life that followed the one before without a gap, or
	// has caught up since: a later one is compared with it.
	Trusted Life
	Batch   Batch // the last of that life's log that is known
}

func (n Note) put(b []byte) {
	binary.LittleEndian.PutUint64(b, uint64(n.Node))
	binary.LittleEndian.PutUint64(b[8:], n.Life.Number)
	binary.LittleEndian.PutUint64(b[16:], n.Life.Mark)
	binary.LittleEndian.PutUint64(b[24:], n.Trusted.Number)
	binary.LittleEndian.PutUint64(b[32:], n.Trusted.Mark)
	binary.LittleEndian.PutUint64(b[40:], uint64(n.Batch))
}

func readNote(b []byte) Note {
	return Note{
		Node:    raft.NodeID(binary.LittleEndian.Uint64(b)),
		Life:    Life{binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])},
		Trusted: Life{binary.LittleEndian.Uint64(b[24:]), binary.LittleEndian.Uint64(b[32:])},
		Batch:   Batch(binary.LittleEndian.Uint64(b[40:])),
	}
}

// putNoteRow adds the row of a directory that tells of a note.
func putNoteRow(b []byte, n *Note) []byte {
	for _, v := range [...]uint64{rowNote, uint64(n.Node), n.Life.Number, n.Life.Mark, n.Trusted.Number, n.Trusted.Mark, uint64(n.Batch)} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

// noted is a note that is on disk.
type noted struct {
	Note
	at place
}

// peerNotes has the notes of a log.
type peerNotes struct {
	all    []noted // guarded by index.mu, changed by the goroutine of Append; by node. A cluster has a handful
	nobody replica // stands in the records, which are of no replica; owned by the goroutine of Append
}

// find returns where a node's note is or would be, and whether it is there.
func (n *peerNotes) find(node raft.NodeID) (int, bool) {
	return slices.BinarySearchFunc(n.all, node, func(have noted, node raft.NodeID) int { return cmp.Compare(have.Node, node) })
}

// of returns the note of a node, or nil.
func (n *peerNotes) of(node raft.NodeID) *noted {
	if i, ok := n.find(node); ok {
		return &n.all[i]
	}
	return nil
}

// take lets a note take effect that is on disk.
func (n *peerNotes) take(x *index, note Note, at place) {
	i, have := n.find(note.Node)
	switch {
	case note.Life == Life{}:
		if have {
			x.release(n.all[i].at)
			n.all = slices.Delete(n.all, i, i+1)
		}
	case have:
		n.all[i].Note = note
		x.occupy(&n.all[i].at, at)
	default:
		n.all = slices.Insert(n.all, i, noted{Note: note, at: at})
		x.hold(at)
	}
}
