package machine_test

import (
	"fmt"
	"testing"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

var _ repl.Limiter = (*machine.Map)(nil)

// limitedGroup is a group that is led here in term 1, and the table with its limits.
type limitedGroup struct {
	t     *testing.T
	m     *machine.Map
	at    tables
	now   time.Duration
	index uint64
	round uint64
}

func newLimitedGroup(t *testing.T, limits ...shardmap.Limit) *limitedGroup {
	g := &limitedGroup{t: t, index: 1}
	g.at.now = &shardmap.Table{ClusterID: 1, Level: shardmap.Level, Security: shardmap.Security{Limits: limits}}
	g.m = machine.NewMap(logstore.Replica{Group: 1}, g.at.get)
	var slots []shardmap.Slot
	for s := range shardmap.Slot(shardmap.Slots) {
		slots = append(slots, s)
	}
	if _, _, err := g.m.Apply(payloadEntry(1, raft.EntryNormal, ownPayload(1, slots)), false, nil); err != nil {
		t.Fatal(err)
	}
	g.m.CountLimits(1 << 30)
	return g
}

func entryOf(c shardmap.Command) []byte {
	return wire.AppendWrite(new(wire.Origin).Append(nil), &c)
}

func setOf(pairs ...string) shardmap.Command {
	c := shardmap.Command{Kind: shardmap.CommandSet}
	for _, p := range pairs {
		c.Items = append(c.Items, []byte(p))
	}
	c.Slot = shardmap.SlotOf(c.Items[0])
	return c
}

// write asks for a command, and has it applied if it is admitted.
func (g *limitedGroup) write(c shardmap.Command) *wire.Error {
	g.t.Helper()
	ticket, refused := g.m.Admit(1, g.now, entryOf(c))
	if refused != nil {
		return refused
	}
	g.index++
	if ticket != 0 {
		g.m.Proposed(ticket, g.index)
	}
	if _, _, err := g.m.Apply(payloadEntry(g.index, raft.EntryNormal, entryOf(c)), true, nil); err != nil {
		g.t.Fatal(err)
	}
	g.m.Ran()
	return nil
}

// allot gives the group so much of its one limit, beside what it has, of which the cluster has used so much.
func (g *limitedGroup) allot(given, used wire.UsageAmount) wire.UsageRow {
	g.t.Helper()
	g.round++
	m := &wire.Usage{Term: 3, Round: g.round, Limits: []wire.UsageLimit{{Prefix: "app/", Used: used, Known: true}}}
	r, ok := g.m.Usage(1, g.now, m, &wire.UsageOrder{Group: 1, Term: 1, Given: []wire.UsageAmount{given}})
	if !ok || r.Group != 1 || len(r.Rows) != 1 || !r.Rows[0].Counted {
		g.t.Fatalf("the report is %+v, %t", r, ok)
	}
	return r.Rows[0]
}

// A write that adds to a prefix is admitted within the group's allotment and refused beyond it, with what
// is the limit, what there is and what is left; what adds nothing always is.
func TestWritesWithinLimits(t *testing.T) {
	g := newLimitedGroup(t, shardmap.Limit{Prefix: "app/", Keys: 10})
	if e := g.write(setOf("other", "v")); e != nil {
		t.Errorf("another prefix: %v", e)
	}
	if e := g.write(setOf("app/1", "v")); e == nil || e.Code != wire.CodeBusy {
		t.Errorf("before anything is allotted: %v", e)
	}
	g.allot(wire.UsageAmount{2, 0, 0}, wire.UsageAmount{7, 0, 0})
	for i, key := range []string{"app/1", "app/2"} {
		if e := g.write(setOf(key, "v")); e != nil {
			t.Errorf("key %d: %v", i, e)
		}
	}
	want := `busy: prefix "app/": it is not known yet whether this fits into its limit, nothing was applied (the limit is 10 keys, it has 7, 3 are left); try again after 250ms`
	if e := g.write(setOf("app/3", "v")); e == nil || e.Error() != want {
		t.Errorf("got %v\nwant %s", e, want)
	}
	if row := g.allot(wire.UsageAmount{2, 0, 0}, wire.UsageAmount{10, 0, 0}); row.Used != (wire.UsageAmount{2, 12, 0}) || row.Ceiling[0] != 2 {
		t.Errorf("the row is %+v", row)
	}
	if e := g.write(setOf("app/3", "v")); e == nil || e.Code != wire.CodeBusy {
		t.Errorf("before it is sure that there is no room: %v", e)
	}
	for range 3 {
		g.allot(wire.UsageAmount{2, 0, 0}, wire.UsageAmount{10, 0, 0})
	}
	want = `over-limit: prefix "app/": over its limit, nothing was applied (the limit is 10 keys, it has 10, 0 are left); delete keys of that prefix, or have its limit raised with muster namespace limit app/ --keys N`
	if e := g.write(setOf("app/3", "v")); e == nil || e.Error() != want {
		t.Errorf("got %v\nwant %s", e, want)
	}
	absent := shardmap.TxnCommand(shardmap.SlotOf([]byte("app/4")), &shardmap.Txn{
		If: []shardmap.Compare{{Kind: shardmap.CompareAbsent, Key: []byte("app/4")}}, Then: []shardmap.Op{{Kind: shardmap.OpSet, Key: []byte("app/4"), Value: []byte("v")}}})
	if e := g.write(absent); e == nil || e.Code != wire.CodeBusy {
		t.Errorf("a transaction: %v", e)
	}
	for _, c := range []shardmap.Command{
		setOf("app/1", "a longer value"),
		{Kind: shardmap.CommandDel, Slot: shardmap.SlotOf([]byte("app/1")), Items: [][]byte{[]byte("app/1")}},
		setOf("app/3", "v"), // in the place of the one that is gone
	} {
		if e := g.write(c); e != nil {
			t.Errorf("%s of %s: %v", c.Kind, c.Items[0], e)
		}
	}
	// Another term, and the allotment is another leader's.
	if _, e := g.m.Admit(2, g.now, entryOf(setOf("app/1", "v"))); e == nil || e.Code != wire.CodeBusy {
		t.Errorf("in another term: %v", e)
	}
	// Without the limit, all is admitted.
	g.at.now = &shardmap.Table{ClusterID: 1, Level: shardmap.Level}
	if e := g.write(setOf("app/5", "v")); e != nil {
		t.Error(e)
	}
}

// The leader asks the limits about a command that may add to a prefix which has one, and about no
// other; of a transaction that is not known before.
func TestLimitedCommands(t *testing.T) {
	q := newRequests(t)
	table := *q.table
	q.table = &table
	q.table.Security.Limits = []shardmap.Limit{{Prefix: "app/", Keys: 10}, {Prefix: "app/x", Bytes: 10}}
	for _, tt := range []struct {
		c    shardmap.Command
		want bool
	}{
		{setOf("app/1", "v"), true},
		{setOf("app", "v"), false},
		{setOf("{app}", "v", "app/{app}", "v"), true},
		{shardmap.Command{Kind: shardmap.CommandDel, Slot: shardmap.SlotOf([]byte("app/1")), Items: [][]byte{[]byte("app/1")}}, false},
		{shardmap.TxnCommand(shardmap.SlotOf([]byte("other")), &shardmap.Txn{Then: []shardmap.Op{{Kind: shardmap.OpSet, Key: []byte("other")}}}), true},
	} {
		q.take(wire.TypeWrite, wire.AppendWrite(nil, &tt.c))
		if p := q.Proposals(); len(p) != 1 || p[0].Limited != tt.want {
			t.Errorf("%s %s: got %+v, want limited %t", tt.c.Kind, tt.c.Items[0], p, tt.want)
		}
		q.Clear()
	}
}

// A write that a limit concerns costs this more: it is read again, its keys are looked for in the
// prefixes, and it is charged.
func BenchmarkAdmit(b *testing.B) {
	for _, n := range []int{0, 1, 64} {
		b.Run(fmt.Sprint(n, " limits"), func(b *testing.B) {
			var limits []shardmap.Limit
			for i := range n {
				limits = append(limits, shardmap.Limit{Prefix: fmt.Sprintf("app%02d/", i), Keys: 1 << 40})
			}
			g := newLimitedGroup(new(testing.T), limits...)
			m := &wire.Usage{Term: 3, Round: 1}
			o := &wire.UsageOrder{Group: 1, Term: 1}
			for _, l := range limits {
				m.Limits = append(m.Limits, wire.UsageLimit{Prefix: l.Prefix})
				o.Given = append(o.Given, wire.UsageAmount{1 << 40})
			}
			g.m.Usage(1, 0, m, o)
			payload := entryOf(setOf("app00/some key of a usual length", "a value of some thirty-two bytes"))
			b.ReportAllocs()
			for b.Loop() {
				ticket, refused := g.m.Admit(1, 0, payload)
				if refused != nil {
					b.Fatal(refused)
				}
				if ticket != 0 {
					g.m.Withdrawn(ticket)
				}
			}
		})
	}
}
