package wire

import (
	"fmt"
	"strconv"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// describeShown is how much of a key, value or payload is shown, in bytes.
const describeShown = 64

// Describe explains the bytes of one direction of a connection, which
// may begin with a preamble: a line for each frame, then one for each of its
// fields, indented. The error says where and why it stopped; the lines
// up to there are good.
func Describe(b []byte) ([]string, error) {
	var lines []string
	at := 0
	if len(b) >= PreambleSize && [4]byte(b[:4]) == preambleMagic {
		lines = append(lines, fmt.Sprintf("preamble versions %d to %d purpose %d", b[4], b[5], b[6]))
		at = PreambleSize
	}
	for at < len(b) {
		rest := b[at:]
		if len(rest) < HeaderSize {
			return lines, fmt.Errorf("byte %d: %d bytes left, a frame's header has %d", at, len(rest), HeaderSize)
		}
		h := readHeader(rest)
		if h.Length > FrameMax || len(rest) < HeaderSize+h.Length {
			return lines, fmt.Errorf("byte %d: a frame claims a body of %d bytes, %d are left", at, h.Length, len(rest)-HeaderSize)
		}
		frame := rest[:HeaderSize+h.Length]
		if err := checkFrame(frame); err != nil {
			return lines, fmt.Errorf("byte %d: %w", at, err)
		}
		lines = append(lines, fmt.Sprintf("%s request %d flags %d deadline %d ms body %d bytes",
			h.Type, h.Request, h.Flags, h.Deadline, h.Length))
		fields, err := describeBody(h.Type, frame[HeaderSize:])
		for _, f := range fields {
			lines = append(lines, "  "+f)
		}
		if err != nil {
			return lines, fmt.Errorf("byte %d: body of %s: %w", at, h.Type, err)
		}
		at += len(frame)
	}
	return lines, nil
}

// shown is a body that was read by hand, and tells what it read in lines. It does
// not say its fields as those of fields.go do.
type shown interface{ lines() []string }

func describeBody(t Type, body []byte) ([]string, error) {
	unread := []string{fmt.Sprintf("body % x", short(body))}
	if !t.Known() {
		return unread, nil
	}
	c := rows[t].body(t)
	if w, ok := c.(walked); ok {
		return showFields(body, w)
	}
	if err := c.Read(body); err != nil {
		return unread, err
	}
	return c.(shown).lines(), nil
}

func short(b []byte) []byte { return b[:min(len(b), describeShown)] }

// quoted shows a key or a value in one line.
func quoted(b []byte) string {
	if len(b) > describeShown {
		return fmt.Sprintf("%s… of %d bytes", strconv.Quote(string(short(b))), len(b))
	}
	return strconv.Quote(string(b))
}

// envelopeBody is an [Envelope] in a frame of a type.
type envelopeBody struct {
	Envelope
	t Type
}

func envelopeOf(t Type) content { return &envelopeBody{t: t} }

func (e *envelopeBody) Read(body []byte) (err error) {
	e.Envelope, err = ReadEnvelope(e.t, body, func(g raft.GroupID, i raft.Incarnation) (raft.Seed, bool) {
		return raft.EntrySeed(g, i), true
	})
	return err
}

func (e *envelopeBody) lines() []string {
	m := &e.Message
	lines := []string{
		fmt.Sprintf("group %s incarnation %d", e.Group, e.Incarnation),
		fmt.Sprintf("from %d to %d term %d", m.From, m.To, m.Term),
		fmt.Sprintf("log %s commit %d", m.Log, m.Commit),
		fmt.Sprintf("reject %t conflict %s round %d", m.Reject, m.Conflict, m.Round),
		fmt.Sprintf("mark %016x batch %d", e.Mark, e.Batch),
	}
	for _, entry := range m.Entries {
		lines = append(lines, describeEntry(entry))
	}
	return lines
}

func describeEntry(e raft.Entry) string {
	return fmt.Sprintf("entry %s %s time %d payload %d bytes % x", e.ID, e.Kind, e.Time, len(e.Payload()), short(e.Payload()))
}

func (m *RepairAnswer) lines() []string {
	lines := []string{
		fmt.Sprintf("start %d number %d", m.Start, m.Number),
		fmt.Sprintf("group %s incarnation %d", m.Group, m.Incarnation),
		fmt.Sprintf("base %s last %s commit %d snapshot %d", m.Base, m.Last, m.Commit, m.Snapshot),
	}
	for _, e := range m.Entries {
		lines = append(lines, describeEntry(e))
	}
	return lines
}

func (c *Chunk) lines() []string {
	return []string{
		fmt.Sprintf("number %d", c.Number),
		fmt.Sprintf("group %s incarnation %d", c.Group, c.Incarnation),
		fmt.Sprintf("from %d to %d term %d", c.From, c.To, c.Term),
		fmt.Sprintf("base %s size %d", c.Base, c.Size),
		fmt.Sprintf("offset %d data %d bytes % x", c.Offset, len(c.Data), short(c.Data)),
	}
}

// beatBody and beatAnswerBody are a [Beat] in a frame of either type.
type (
	beatBody       struct{ Beat }
	beatAnswerBody struct{ Beat }
)

func (b *beatBody) Read(body []byte) error       { return ReadBeat(body, &b.Beat) }
func (b *beatAnswerBody) Read(body []byte) error { return ReadBeatAnswer(body, &b.Beat) }

func (b *beatBody) lines() []string       { return b.linesOf(TypeBeat) }
func (b *beatAnswerBody) lines() []string { return b.linesOf(TypeBeatAnswer) }

// linesOf says what stands in a body of type t.
func (b *Beat) linesOf(t Type) []string {
	lines := []string{fmt.Sprintf("mark %016x batch %d sequence %d, %s", b.Mark, b.Batch, b.Sequence, b.Fullness)}
	if b.Stalled {
		lines[0] += ", stands still"
	}
	for _, m := range b.Messages {
		row := fmt.Sprintf("group %s incarnation %d from %d to %d term %d commit %d round %d",
			m.Group, m.Incarnation, m.From, m.To, m.Term, m.Commit, m.Round)
		if t == TypeBeatAnswer {
			row += fmt.Sprintf(" reject %t", m.Reject)
		} else if m.Time != 0 {
			row += fmt.Sprintf(" time %s", time.Duration(m.Time))
		}
		lines = append(lines, row)
	}
	for _, r := range b.Rests {
		row := fmt.Sprintf("group %s incarnation %d rests, led by %d in term %d", r.Group, r.Incarnation, r.Leader, r.Term)
		if r.Time != 0 {
			row += fmt.Sprintf(" time %s", time.Duration(r.Time))
		}
		lines = append(lines, row)
	}
	return lines
}

// writeBody is the command of a Write.
type writeBody struct{ command shardmap.Command }

func (w *writeBody) Read(body []byte) error {
	bytes, err := CheckWrite(body)
	if err != nil {
		return err
	}
	return shardmap.ReadCommand(bytes, &w.command)
}

func (w *writeBody) lines() []string {
	c := &w.command
	lines := []string{
		fmt.Sprintf("%s slot %d", c.Kind, c.Slot),
		fmt.Sprintf("session %d sequence %d floor %d", c.Session, c.Sequence, c.Floor),
		fmt.Sprintf("condition %s version %d", c.Condition, c.Version),
	}
	if row := c.Kind.Row(); row != nil && row.Shape == shardmap.ShapeBody {
		text, err := c.Describe()
		if err == nil {
			return append(lines, text)
		}
		lines = append(lines, err.Error())
	}
	for _, item := range c.Items {
		lines = append(lines, "item "+quoted(item))
	}
	return lines
}

func (a *WriteAnswer) lines() []string {
	return []string{"at " + raft.FormatLogID(a.Group, a.ID), fmt.Sprintf("version %d", a.Version), fmt.Sprintf("deleted %d", a.Deleted)}
}

func (g *Get) lines() []string {
	lines := []string{fmt.Sprintf("mode %d after %s", g.Mode, raft.FormatLogID(g.AfterGroup, g.After))}
	if g.Mode == ReadBounded {
		lines[0] += fmt.Sprintf(" stale %d ms", g.Stale)
	}
	for _, key := range g.Keys {
		lines = append(lines, "key "+quoted(key))
	}
	return lines
}

func (a *GetAnswer) lines() []string {
	lines := []string{"at " + raft.FormatLogID(a.Group, a.At)}
	for rows := *a; ; {
		version, value, found, ok := rows.Next()
		switch {
		case !ok:
			return lines
		case found:
			lines = append(lines, fmt.Sprintf("version %d value %s", version, quoted(value))+rows.End.text())
		default:
			lines = append(lines, "missing")
		}
	}
}

// text is what is printed of a key's end, behind its value; "" if it has none.
func (e *KeyEnd) text() string {
	switch {
	case !e.Ends:
		return ""
	case e.Lease == 0:
		return fmt.Sprintf(" remaining_ms %d", e.Remaining)
	}
	return fmt.Sprintf(" remaining_ms %d lease %s", e.Remaining, e.Lease)
}

func (l *List) lines() []string {
	return withSpan(&l.Span, withSlots(l.Slots,
		fmt.Sprintf("mode %d group %s epoch %d after %s", l.Mode, l.Group, l.Epoch, l.AfterID),
		fmt.Sprintf("prefix %s after %s", quoted(l.Prefix), quoted(l.After)),
		fmt.Sprintf("limit %d max_bytes %d keys_only %t", l.Limit, l.MaxBytes, l.KeysOnly)))
}

// withSlots adds a line to those of a listing that names slots.
func withSlots(runs []shardmap.SlotRange, lines ...string) []string {
	if len(runs) == 0 {
		return lines
	}
	named := "slots"
	for _, r := range runs {
		named += " " + r.String()
	}
	return append(lines, named)
}

// withSpan adds a line to those of a listing that has a span.
func withSpan(s *Span, lines []string) []string {
	if s.zero() {
		return lines
	}
	return append(lines, fmt.Sprintf("from %s to %s descending %t counting %t", quoted(s.From), quoted(s.To), s.Descending, s.Counting))
}

func (s *Scan) lines() []string {
	return withSpan(&s.Span, withSlots(s.Slots,
		fmt.Sprintf("mode %d group %s epoch %d after %s", s.Mode, s.Group, s.Epoch, s.AfterID),
		fmt.Sprintf("prefix %s after %s", quoted(s.Prefix), quoted(s.After)),
		fmt.Sprintf("limit %d piece_bytes %d window %d keys_only %t", s.Limit, s.PieceBytes, s.Window, s.KeysOnly)))
}

func (a *ListAnswer) lines() []string {
	lines := []string{fmt.Sprintf("at %s more %t", raft.FormatLogID(a.Group, a.At), a.More)}
	if a.counts() {
		lines = append(lines, fmt.Sprintf("counted %d last %s", a.Counted, quoted(a.Last)))
	}
	for rows := *a; ; {
		key, version, value, ok := rows.Next()
		if !ok {
			return lines
		}
		line := fmt.Sprintf("key %s version %d", quoted(key), version)
		if value != nil {
			line += " value " + quoted(value)
		}
		lines = append(lines, line)
	}
}
