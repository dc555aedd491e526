package wire_test

import (
	"slices"
	"strings"
	"testing"

	"muster/raft"
	"muster/repl/wire"
)

// ascending are n numbers from first on.
func ascending(first uint32, n int) []uint32 {
	parts := make([]uint32, n)
	for i := range parts {
		parts[i] = first + uint32(i)
	}
	return parts
}

// A report and a verdict decide about a replica's state: what isn't one, or is more than anybody
// sends, is refused before it gets that far, and the error names the field.
func TestAuditLimits(t *testing.T) {
	report := func(change func(*wire.AuditReport)) wire.Body {
		m := *examples[wire.TypeAuditReport].(*wire.AuditReport)
		change(&m)
		return &m
	}
	rows := func(n int) wire.Body {
		return report(func(m *wire.AuditReport) {
			m.Rows = make([]wire.AuditRow, n)
			for i := range m.Rows {
				m.Rows[i].Part = uint32(i)
			}
		})
	}
	verdict := func(change func(*wire.AuditVerdict)) wire.Body {
		m := *examples[wire.TypeAuditVerdict].(*wire.AuditVerdict)
		change(&m)
		return &m
	}
	check := func(groups ...raft.GroupID) wire.Body { return &wire.Check{Groups: groups} }
	answer := func(g wire.CheckedGroup) wire.Body { return &wire.CheckAnswer{Groups: []wire.CheckedGroup{g}} }
	parts := func(n int, parts []uint32) wire.Body {
		g := wire.CheckedGroup{Group: 1, Replicas: make([]wire.CheckedReplica, n)}
		for i := range g.Replicas {
			g.Replicas[i].Parts = parts
		}
		return answer(g)
	}
	for _, c := range []struct {
		name string
		typ  wire.Type
		body wire.Body
		want string // in the error; "": none
	}{
		{"the most rows", wire.TypeAuditReport, rows(wire.AuditRowsMax), ""},
		{"no rows", wire.TypeAuditReport, rows(0), ""},
		{"a row more", wire.TypeAuditReport, rows(wire.AuditRowsMax + 1), "field rows: 8193 of them; want 8192"},
		{"rows out of order", wire.TypeAuditReport, report(func(m *wire.AuditReport) { m.Rows = []wire.AuditRow{{Part: 5}, {Part: 4}} }), "field rows: part 4 after part 5"},
		{"a part twice", wire.TypeAuditReport, report(func(m *wire.AuditReport) { m.Rows = []wire.AuditRow{{Part: 5}, {Part: 5}} }), "field rows: part 5 after part 5"},
		{"report of group 10000", wire.TypeAuditReport, report(func(m *wire.AuditReport) { m.Group = 10000 }), "field group: 10000; want 9999"},
		{"report of no replica", wire.TypeAuditReport, report(func(m *wire.AuditReport) { m.From = 0 }), "from replica 0 to replica 1"},
		{"report to the sender", wire.TypeAuditReport, report(func(m *wire.AuditReport) { m.To = m.From }), "from replica 2 to replica 2"},
		{"report of index 0", wire.TypeAuditReport, report(func(m *wire.AuditReport) { m.At.Index = 0 }), "field at: term 10, index 0"},
		{"report of term 0", wire.TypeAuditReport, report(func(m *wire.AuditReport) { m.At.Term = 0 }), "field at: term 0"},

		{"verdict with the most parts", wire.TypeAuditVerdict, verdict(func(m *wire.AuditVerdict) { m.Parts = ascending(0, wire.AuditPartsMax) }), ""},
		{"verdict of a later leader", wire.TypeAuditVerdict, verdict(func(m *wire.AuditVerdict) { m.Term = 11 }), ""},
		{"replay", wire.TypeAuditVerdict, verdict(func(m *wire.AuditVerdict) { m.Kind, m.Sources = wire.VerdictReplay, nil }), ""},
		{"a part more", wire.TypeAuditVerdict, verdict(func(m *wire.AuditVerdict) { m.Parts = ascending(0, wire.AuditPartsMax+1) }), "field parts: 65 of them; want 64"},
		{"parts out of order", wire.TypeAuditVerdict, verdict(func(m *wire.AuditVerdict) { m.Parts = []uint32{7, 7} }), "field parts: 7 after 7"},
		{"verdict without a kind", wire.TypeAuditVerdict, verdict(func(m *wire.AuditVerdict) { m.Kind = 0 }), "field kind: 0 is not known"},
		{"verdict of kind 4", wire.TypeAuditVerdict, verdict(func(m *wire.AuditVerdict) { m.Kind = 5 }), "field kind: 5 is not known"},
		{"verdict of an older term", wire.TypeAuditVerdict, verdict(func(m *wire.AuditVerdict) { m.Term = 9 }), "field term: 9, for an entry of term 10"},
		{"sources of a replay", wire.TypeAuditVerdict, verdict(func(m *wire.AuditVerdict) { m.Kind = wire.VerdictReplay }), "field sources: 2 of them in a verdict of kind replay"},
		{"too many sources", wire.TypeAuditVerdict, verdict(func(m *wire.AuditVerdict) { m.Sources = make([]raft.NodeID, wire.AuditSourcesMax+1) }), "field sources: 1025 of them; want 1024"},
		{"verdict of group 10000", wire.TypeAuditVerdict, verdict(func(m *wire.AuditVerdict) { m.Group = 10000 }), "field group: 10000; want 9999"},
		{"verdict to no replica", wire.TypeAuditVerdict, verdict(func(m *wire.AuditVerdict) { m.To = 0 }), "to replica 0"},

		{"check of all groups", wire.TypeCheck, check(), ""},
		{"check of the first and the last group", wire.TypeCheck, check(0, 9999), ""},
		{"check of group 10000", wire.TypeCheck, check(10000), "field groups: 10000; want 9999"},
		{"check of a group twice", wire.TypeCheck, check(3, 3), "field groups: 3 after 3"},
		{"check out of order", wire.TypeCheck, check(4, 3), "field groups: 3 after 4"},
		{"trust in a group", wire.TypeCheck, &wire.Check{Groups: []raft.GroupID{3}, Trust: true}, ""},
		{"trust in no group", wire.TypeCheck, &wire.Check{Trust: true}, "field groups: none, with trust"},
		{"trust that acts", wire.TypeCheck, &wire.Check{Groups: []raft.GroupID{3}, Act: true, Trust: true}, "field act: with trust"},

		{"the most replicas", wire.TypeCheckAnswer, parts(wire.CheckReplicasMax, nil), ""},
		{"a replica more", wire.TypeCheckAnswer, parts(wire.CheckReplicasMax+1, nil), "65537 replicas, 0 parts; want 65536"},
		{"the most parts", wire.TypeCheckAnswer, parts(wire.CheckPartsMax/64, ascending(0, 64)), ""},
		{"64 parts more", wire.TypeCheckAnswer, parts(wire.CheckPartsMax/64+1, ascending(0, 64)), "513 replicas, 32832 parts; want 65536 and 32768"},
		{"65 parts of a replica", wire.TypeCheckAnswer, parts(1, ascending(0, 65)), "group 1: replica 0: field parts: 65 of them"},
		{"differing parts out of order", wire.TypeCheckAnswer, parts(1, []uint32{3, 2}), "group 1: replica 0: field parts: 2 after 3"},
		{"a long why", wire.TypeCheckAnswer, answer(wire.CheckedGroup{Why: strings.Repeat("x", wire.CheckWhyMax+1)}), "field why: 513 bytes; want 512"},
		{"answer about group 10000", wire.TypeCheckAnswer, answer(wire.CheckedGroup{Group: 10000}), "field group: 10000; want 9999"},
	} {
		err := wire.ReadBody(c.typ, c.body.Append(nil))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// A node answers a check of all groups that it leads. Whatever it has found out, the answer is one that
// can be sent, and what was left out of it can be told from what is well.
func TestCheckAnswerFits(t *testing.T) {
	for _, c := range []struct {
		name                    string
		groups, replicas, parts int
		refused                 int // groups that are left out
	}{
		{"1,000 groups whose replicas differ in everything", 1000, 3, 4200, 0},
		{"all groups with 5 replicas", 9999, 5, 0, 0},
		{"all groups with 7 replicas that differ in everything", 9999, 7, 64, 9999 - wire.CheckReplicasMax/7},
		{"groups with more replicas than fit", 3, wire.CheckReplicasMax / 2, 1, 1},
	} {
		a := &wire.CheckAnswer{Groups: make([]wire.CheckedGroup, c.groups)}
		shared := ascending(0, c.parts)
		for i := range a.Groups {
			a.Groups[i] = wire.CheckedGroup{Group: raft.GroupID(i), Term: 1 << 40, At: raft.LogID{Term: 1 << 40, Index: 1 << 50},
				Why: strings.Repeat("é", wire.CheckWhyMax), Replicas: make([]wire.CheckedReplica, c.replicas)}
			for j := range a.Groups[i].Replicas {
				a.Groups[i].Replicas[j] = wire.CheckedReplica{Replica: 1 << 50, Node: n1, State: wire.CheckedDiffers, Parts: shared}
			}
		}
		a.Fit()
		frame := wire.AppendFrame(nil, wire.TypeCheckAnswer, 1, a)
		if n := len(frame) - wire.HeaderSize; n > wire.FrameMax {
			t.Errorf("%s: %d bytes, a frame has %d at most", c.name, n, wire.FrameMax)
		}
		d := wire.NewDecoder(wire.FrameMax)
		_, body, err := wire.ReadFrame(says(frame), d)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var back wire.CheckAnswer
		if err := back.Read(body); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		refused := 0
		for i := range back.Groups {
			g := &back.Groups[i]
			if g.At == (raft.LogID{}) {
				refused++
				if len(g.Replicas) > 0 || !strings.Contains(g.Why, "check this group alone") {
					t.Errorf("%s: group %d is left out with %d replicas: %q", c.name, g.Group, len(g.Replicas), g.Why)
				}
				continue
			}
			if !slices.ContainsFunc(g.Replicas, func(r wire.CheckedReplica) bool { return len(r.Parts)+int(r.PartsMore) != c.parts }) {
				continue
			}
			t.Errorf("%s: group %d does not say that %d parts differ", c.name, g.Group, c.parts)
		}
		if refused != c.refused {
			t.Errorf("%s: %d groups are left out, want %d", c.name, refused, c.refused)
		}
	}
}

// Numbers of a newer version are shown as such.
func TestAuditNames(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{wire.VerdictDiffers.String(), "differs"},
		{wire.VerdictUndecided.String(), "undecided"},
		{wire.VerdictKind(0).String(), "verdict 0"},
		{wire.VerdictKind(9).String(), "verdict 9"},
		{wire.CheckedAgrees.String(), "agrees"},
		{wire.CheckedUndecided.String(), "undecided"},
		{wire.CheckedState(0).String(), "state 0"},
		{wire.CheckedState(9).String(), "state 9"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
