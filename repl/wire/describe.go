package wire

import (
	"fmt"
	"strconv"

	"muster/raft"
	"muster/shardmap"
)

// describeShown is how much of a key, value or payload is shown, in bytes.
const describeShown = 64

// Describe tells what the bytes of one direction of a connection say, which
// may begin with a preamble: a line for each frame, then one for each of its
// fields, indented. The error says where and why it could not go on; the lines
// up to there stand.
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

// described makes an empty body for each type that says its fields.
var described = map[Type]func() walked{
	TypeHello:           func() walked { return new(Hello) },
	TypeChallenge:       func() walked { return new(Challenge) },
	TypeProof:           func() walked { return new(Proof) },
	TypeWelcome:         func() walked { return new(Welcome) },
	TypeError:           func() walked { return new(Error) },
	TypePing:            func() walked { return new(Empty) },
	TypePong:            func() walked { return new(Empty) },
	TypeFounding:        func() walked { return new(Founding) },
	TypeFoundingAnswer:  func() walked { return new(FoundingAnswer) },
	TypeAnnounce:        func() walked { return new(Announce) },
	TypeAnnounceAnswer:  func() walked { return new(AnnounceAnswer) },
	TypeRepair:          func() walked { return new(Repair) },
	TypeSnapshotRequest: func() walked { return new(SnapshotRequest) },
	TypeAttest:          func() walked { return new(Attest) },
	TypeAttestAnswer:    func() walked { return new(AttestAnswer) },
	TypeAddresses:       func() walked { return new(Addresses) },
	TypeLifeQuestion:    func() walked { return new(LifeQuestion) },
	TypeLifeAnswer:      func() walked { return new(LifeAnswer) },
	TypeChunkAnswer:     func() walked { return new(ChunkAnswer) },
	TypeTopology:        func() walked { return new(Empty) },
	TypeTopologyAnswer:  func() walked { return new(TopologyAnswer) },
	TypeStatus:          func() walked { return new(Empty) },
	TypeStatusAnswer:    func() walked { return new(StatusAnswer) },
	TypeCounters:        func() walked { return new(Empty) },
	TypeCountersAnswer:  func() walked { return new(CountersAnswer) },
	TypeLogRange:        func() walked { return new(LogRange) },
	TypeLogRangeAnswer:  func() walked { return new(LogRangeAnswer) },
	TypeDoctor:          func() walked { return new(Empty) },
	TypeDoctorAnswer:    func() walked { return new(DoctorAnswer) },
}

func describeBody(t Type, body []byte) ([]string, error) {
	if empty, ok := described[t]; ok {
		return showFields(body, empty())
	}
	if t.envelope() {
		return describeEnvelope(t, body)
	}
	switch t {
	case TypeBeat, TypeBeatAnswer:
		return describeBeat(t, body)
	case TypeRepairAnswer:
		return describeRepairAnswer(body)
	case TypeChunk:
		return describeChunk(body)
	case TypeWrite:
		return describeWrite(body)
	case TypeWriteAnswer:
		var a WriteAnswer
		err := a.Read(body)
		return []string{"at " + raft.FormatLogID(a.Group, a.ID), fmt.Sprintf("version %d", a.Version), fmt.Sprintf("deleted %d", a.Deleted)}, err
	case TypeGet:
		return describeGet(body)
	case TypeGetAnswer:
		return describeGetAnswer(body)
	case TypeList:
		return describeList(body)
	case TypeListAnswer:
		return describeListAnswer(body)
	}
	return []string{fmt.Sprintf("body % x", short(body))}, nil
}

func short(b []byte) []byte { return b[:min(len(b), describeShown)] }

// quoted shows a key or a value in one line.
func quoted(b []byte) string {
	if len(b) > describeShown {
		return fmt.Sprintf("%s… of %d bytes", strconv.Quote(string(short(b))), len(b))
	}
	return strconv.Quote(string(b))
}

func describeEnvelope(t Type, body []byte) ([]string, error) {
	e, err := ReadEnvelope(t, body, func(g raft.GroupID, i raft.Incarnation) (raft.Seed, bool) {
		return raft.EntrySeed(g, i), true
	})
	if err != nil {
		return nil, err
	}
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
	return lines, nil
}

func describeEntry(e raft.Entry) string {
	return fmt.Sprintf("entry %s %s time %d payload %d bytes % x", e.ID, e.Kind, e.Time, len(e.Payload()), short(e.Payload()))
}

func describeRepairAnswer(body []byte) ([]string, error) {
	var a RepairAnswer
	if err := a.Read(body); err != nil {
		return nil, err
	}
	lines := []string{
		fmt.Sprintf("start %d number %d", a.Start, a.Number),
		fmt.Sprintf("group %s incarnation %d", a.Group, a.Incarnation),
		fmt.Sprintf("base %s last %s commit %d snapshot %d", a.Base, a.Last, a.Commit, a.Snapshot),
	}
	for _, e := range a.Entries {
		lines = append(lines, describeEntry(e))
	}
	return lines, nil
}

func describeChunk(body []byte) ([]string, error) {
	var c Chunk
	err := c.Read(body)
	return []string{
		fmt.Sprintf("number %d", c.Number),
		fmt.Sprintf("group %s incarnation %d", c.Group, c.Incarnation),
		fmt.Sprintf("from %d to %d term %d", c.From, c.To, c.Term),
		fmt.Sprintf("base %s size %d", c.Base, c.Size),
		fmt.Sprintf("offset %d data %d bytes % x", c.Offset, len(c.Data), short(c.Data)),
	}, err
}

func describeBeat(t Type, body []byte) ([]string, error) {
	var b Beat
	read := ReadBeat
	if t == TypeBeatAnswer {
		read = ReadBeatAnswer
	}
	err := read(body, &b)
	lines := []string{fmt.Sprintf("mark %016x batch %d sequence %d, %s", b.Mark, b.Batch, b.Sequence, b.Fullness)}
	if b.Stalled {
		lines[0] += ", stands still"
	}
	for _, m := range b.Messages {
		row := fmt.Sprintf("group %s incarnation %d from %d to %d term %d commit %d round %d",
			m.Group, m.Incarnation, m.From, m.To, m.Term, m.Commit, m.Round)
		if t == TypeBeatAnswer {
			row += fmt.Sprintf(" reject %t", m.Reject)
		}
		lines = append(lines, row)
	}
	for _, r := range b.Rests {
		lines = append(lines, fmt.Sprintf("group %s incarnation %d rests, led by %d in term %d", r.Group, r.Incarnation, r.Leader, r.Term))
	}
	return lines, err
}

func describeWrite(body []byte) ([]string, error) {
	bytes, err := CheckWrite(body)
	if err != nil {
		return nil, err
	}
	var c shardmap.Command
	if err := shardmap.ReadCommand(bytes, &c); err != nil {
		return []string{fmt.Sprintf("command % x", short(bytes))}, err
	}
	lines := []string{
		fmt.Sprintf("%s slot %d", c.Kind, c.Slot),
		fmt.Sprintf("session %d sequence %d floor %d", c.Session, c.Sequence, c.Floor),
		fmt.Sprintf("condition %s version %d", c.Condition, c.Version),
	}
	for _, item := range c.Items {
		lines = append(lines, "item "+quoted(item))
	}
	return lines, nil
}

func describeGet(body []byte) ([]string, error) {
	var g Get
	err := g.Read(body)
	lines := []string{fmt.Sprintf("mode %d after %s", g.Mode, raft.FormatLogID(g.AfterGroup, g.After))}
	for _, key := range g.Keys {
		lines = append(lines, "key "+quoted(key))
	}
	return lines, err
}

func describeGetAnswer(body []byte) ([]string, error) {
	var a GetAnswer
	if err := a.Read(body); err != nil {
		return nil, err
	}
	lines := []string{"at " + raft.FormatLogID(a.Group, a.At)}
	for {
		version, value, found, ok := a.Next()
		switch {
		case !ok:
			return lines, nil
		case found:
			lines = append(lines, fmt.Sprintf("version %d value %s", version, quoted(value)))
		default:
			lines = append(lines, "missing")
		}
	}
}

func describeList(body []byte) ([]string, error) {
	var l List
	err := l.Read(body)
	return []string{
		fmt.Sprintf("mode %d group %s epoch %d after %s", l.Mode, l.Group, l.Epoch, l.AfterID),
		fmt.Sprintf("prefix %s after %s", quoted(l.Prefix), quoted(l.After)),
		fmt.Sprintf("limit %d max_bytes %d keys_only %t", l.Limit, l.MaxBytes, l.KeysOnly),
	}, err
}

func describeListAnswer(body []byte) ([]string, error) {
	var a ListAnswer
	if err := a.Read(body); err != nil {
		return nil, err
	}
	lines := []string{fmt.Sprintf("at %s more %t", raft.FormatLogID(a.Group, a.At), a.More)}
	for {
		key, version, value, ok := a.Next()
		if !ok {
			return lines, nil
		}
		line := fmt.Sprintf("key %s version %d", quoted(key), version)
		if value != nil {
			line += " value " + quoted(value)
		}
		lines = append(lines, line)
	}
}
