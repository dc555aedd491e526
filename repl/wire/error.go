package wire

import (
	"strings"
	"unicode"

	"muster/raft"
	"muster/shardmap"
)

// Error is the body that says why a request was refused, and the error that
// those who asked get.
//
// It has a sentence in parts, so that none is forgotten: what was asked of
// (Object), what is wrong with it (Text), which limit or state was found
// (State), and what to do (Next).
type Error struct {
	Code         Code
	Text         string
	Object       string
	State        string
	Next         string
	LeaderAddr   string      // hint; may be empty
	LeaderNode   raft.NodeID // hint; 0 none
	Epoch        uint64      // of the answering node's slot table; 0 none
	RetryAfterMs uint32
	// Group is, of CodeMoved, the group that the slot went to, and of CodeNotLeader the
	// one that the node does not lead; 0: not known. Number is, of CodeMoved, that of the
	// move that took Slot there; 0: no move is known, and Slot says nothing.
	Group  raft.GroupID
	Number uint64
	Slot   shardmap.Slot
}

func (e *Error) fields(f *fields) {
	f.grown(9, func() {
		number(f, "code", &e.Code)
		f.text("text", &e.Text)
		f.text("object", &e.Object)
		f.text("state", &e.State)
		f.text("next", &e.Next)
		f.text("leader_addr", &e.LeaderAddr)
		number(f, "leader_node", &e.LeaderNode)
		number(f, "epoch", &e.Epoch)
		number(f, "retry_after_ms", &e.RetryAfterMs)
	}, 3, func() {
		number(f, "group", &e.Group)
		number(f, "number", &e.Number)
		number(f, "slot", &e.Slot)
	})
}

// Append appends the body.
func (e *Error) Append(b []byte) []byte { return appendFields(b, e) }

// Read reads the body.
func (e *Error) Read(body []byte) error { return readFields(body, e) }

// CodeIn returns the code of the refusal that a body holds, without reading the rest; 0 if it
// holds none, or a code above 127.
func CodeIn(body []byte) Code {
	const list, listMask, numberMax = 0x90, 0xf0, 0x7f // of msgpack: a short list, whose first field is a small number
	if len(body) < 2 || body[0]&listMask != list || body[1] > numberMax {
		return 0
	}
	return Code(body[1])
}

// Error is one line, whatever the other side has put into its parts:
//
//	too-large: value of "cart/17": over the limit (1048577 bytes, the limit is 1048576); split it
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Code.String())
	for _, part := range []struct{ before, text, after string }{
		{": ", e.Object, ""}, {": ", e.Text, ""}, {" (", e.State, ")"}, {"; ", e.Next, ""},
	} {
		if part.text != "" {
			b.WriteString(part.before)
			b.WriteString(printable(part.text))
			b.WriteString(part.after)
		}
	}
	return b.String()
}

// printable takes out what would end the line or steer a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// Retry reports whether the same request can do better, and where.
func (e *Error) Retry() Retry { return e.Code.Retry() }

// Is makes errors.Is(err, &Error{Code: c}) ask for the code alone.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && *t == Error{Code: t.Code} && t.Code == e.Code
}
