package repl

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"muster/raft"
	"muster/repl/wire"
)

// register is a state machine that remembers what it was told, in order.
type register struct {
	node    *testNode
	group   raft.GroupID
	history []uint64
}

func (r *register) Apply(e raft.Entry, answer bool, out []byte) (wire.Type, []byte, error) {
	v := binary.LittleEndian.Uint64(e.Payload())
	r.history = append(r.history, v)
	r.node.history[r.group] = r.history
	if r.node.c.placed && r.group == 0 && r.node.host != nil {
		r.node.place(1, testGroups)
	}
	return wire.TypeWriteAnswer, binary.LittleEndian.AppendUint64(out, v), nil
}

// foundingValue is below what founds a group, where group 0's log makes it: each time
// that a leader proposes it it is another number.
const foundingValue = 1 << 40

// Wants implements [Proposer].
func (r *register) Wants() []byte {
	if v := r.node.c.wanted; v != 0 && r.group == 1 && !slices.Contains(r.history, v) {
		return binary.LittleEndian.AppendUint64(nil, v)
	}
	if !r.node.c.placed || r.group == 0 || len(r.history) > 0 || len(r.node.history[0]) == 0 {
		return nil
	}
	r.node.c.foundings++
	return binary.LittleEndian.AppendUint64(nil, foundingValue+r.node.c.foundings)
}

func (r *register) Skip(raft.Entry) error { return nil }

func (r *register) Copy() StateCopy {
	return &registerCopy{slices.Clone(r.history)}
}

func (r *register) Restore(from io.Reader, _ raft.LogID, _ raft.GroupTime) error {
	b, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	if len(b)%8 != 0 {
		return errors.New("not the state of a register")
	}
	history := make([]uint64, 0, len(b)/8)
	for ; len(b) > 0; b = b[8:] {
		history = append(history, binary.LittleEndian.Uint64(b))
	}
	r.history = history
	return nil
}

func (r *register) Restored() {
	r.node.history[r.group] = r.history
	if r.node.host != nil {
		r.node.c.installs++
	}
}

// registerCopy is what a register remembered at one entry.
type registerCopy struct{ history []uint64 }

func (c *registerCopy) WriteTo(w io.Writer) (int64, error) {
	var b []byte
	for _, v := range c.history {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	n, err := w.Write(b)
	return int64(n), err
}

func (c *registerCopy) Release() {}
