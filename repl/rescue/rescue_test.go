package rescue

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
)

// group returns what a plan says of a group.
func group(p *Plan, id raft.GroupID) *GroupPlan {
	for i := range p.Groups {
		if p.Groups[i].Group == id {
			return &p.Groups[i]
		}
	}
	return nil
}

// One of five survives. Everything that its log has is there afterwards, committed or not
// as far as it knew: the lost ones may have told a client that it is kept.
func TestOneSurvivor(t *testing.T) { oneSurvivor(t) }

func oneSurvivor(t testing.TB) {
	t.Helper()
	w := newWorld(t, map[int]log{2: {entries: 7, commit: 3}})
	p := w.plan(Options{})
	must(t, w.apply(2, p))
	r, err := open(w.nodes[2])
	must(t, err)
	if r.values[1] != 7 {
		t.Errorf("%d of 7 values are there", r.values[1])
	}
	if r.values[2] != 1 {
		t.Errorf("group 2 has %d values, want 1", r.values[2])
	}
	if id := r.identity; id.ClusterID != uint64(p.To) || id.ClusterID == clusterID || len(id.Members) != 1 || id.Recovery != (logstore.Recovery{Plan: uint64(p.ID), Done: true}) {
		t.Errorf("identity %+v", id)
	}
	if m := r.identity.Meta; m.Incarnation != r.replicas[0].Incarnation || m.ID != r.replicas[0].ID {
		t.Errorf("meta replica %+v, in the log %s", m, r.replicas[0])
	}
	if row, _ := r.table.Group(1); row.Next != raft.ReplicaID(group(p, 1).Members.Next) || len(r.table.Removed) != 4 {
		t.Errorf("row %+v, removed %v", row, r.table.Removed)
	}
	if len(r.table.Nodes) != 1 || r.table.ClusterID != uint64(p.To) || len(p.Gone) != 4 {
		t.Errorf("table %+v, gone %v", r.table, p.Gone)
	}
	for id, replica := range r.replicas {
		row, _ := r.table.Group(id)
		if replica.Incarnation != raft.Incarnation(p.Incarnation) || row.Incarnation != replica.Incarnation || len(row.Replicas) != 1 || row.Replicas[0].Replica != replica.ID || len(row.Founders) != 0 {
			t.Errorf("%s, in the table %+v", replica, row)
		}
		o, _ := r.store.Outline(replica)
		if m := o.Base.Membership; len(m.Voters) != 1 || m.Voters[0].Node != nodeID(2) || len(m.Learners)+len(m.Outgoing) > 0 {
			t.Errorf("%s begins with %+v", replica, m)
		}
		// Nothing that the lost ones may have written gets its log id a second time.
		if g := group(p, id); o.Base.ID.Index < g.End.Index+IndexAhead || o.Base.ID.Term <= g.End.Term {
			t.Errorf("%s begins at %s, behind %v", replica, o.Base.ID, g.End)
		}
		if replica.ID <= 5 {
			t.Errorf("%s: the id was used before", replica)
		}
	}
	if r.table.Index != uint64(group(p, 0).Base.Index) || r.table.Epoch != r.table.Index {
		t.Errorf("table at index %d, epoch %d, want %d", r.table.Index, r.table.Epoch, group(p, 0).Base.Index)
	}
	for _, id := range []raft.GroupID{0, 1, 2} {
		if g := group(p, id); !strings.Contains(g.Loss, "n1") || !strings.Contains(g.Loss, raft.FormatLogID(id, g.End.raft())) {
			t.Errorf("loss of group %d: %s", id, g.Loss)
		}
	}
}

// Of two survivors the one is chosen that an election would choose: a higher term beats a
// longer log, because what a leader of that term committed is only there.
func TestNewestLogIsChosen(t *testing.T) { newestLogIsChosen(t) }

func newestLogIsChosen(t testing.TB) {
	t.Helper()
	for _, c := range []struct {
		name   string
		logs   map[int]log
		source int
		values int
	}{
		{"longer", map[int]log{2: {entries: 4}, 3: {entries: 9}}, 3, 9},
		{"longer, the first", map[int]log{2: {entries: 9}, 3: {entries: 4}}, 2, 9},
		{"higher term", map[int]log{2: {entries: 10}, 3: {entries: 6, term: 4, from: 5}}, 3, 6},
		{"committed says nothing", map[int]log{2: {entries: 5, commit: 5}, 3: {entries: 6, commit: 2}}, 3, 6},
		{"alike", map[int]log{2: {entries: 5}, 3: {entries: 5}}, 3, 5}, // n2 has group 0
	} {
		w := newWorld(t, c.logs)
		p := w.plan(Options{})
		g := group(p, 1)
		if g.Source != ID(nodeID(c.source)) {
			t.Errorf("%s: chosen is %s, want n%d", c.name, g.Source, c.source)
		}
		for _, n := range w.survivors() {
			must(t, w.apply(n, p))
		}
		source, err := open(w.nodes[c.source])
		must(t, err)
		if source.values[1] != c.values {
			t.Errorf("%s: %d values, want %d", c.name, source.values[1], c.values)
		}
		// No second log can win: only the chosen one votes, and the other node has not even
		// a replica before the table names one for it.
		if m := g.Members; len(m.Voters) != 1 || m.Voters[0].Node != g.Source || len(m.Learners) != 1 {
			t.Errorf("%s: members %+v", c.name, m)
		}
		other, err := open(w.nodes[5-c.source])
		must(t, err)
		if r, there := other.replicas[1]; there {
			t.Errorf("%s: the other one has %s", c.name, r)
		}
		if a, b := source.table, other.table; string(a.AppendTo(nil)) != string(b.AppendTo(nil)) {
			t.Errorf("%s: two tables", c.name)
		}
	}
}

// A group of which a majority survives keeps its log, its incarnation and its members.
func TestMajorityIsKept(t *testing.T) {
	w := newWorld(t, map[int]log{2: {entries: 4}, 3: {entries: 9}})
	p := w.plan(Options{})
	if g := group(p, 2); g.Action != Keep || !strings.HasPrefix(g.Loss, "nothing") {
		t.Errorf("group 2, of which two of three survive: %+v", g)
	}
	if g := group(p, 1); g.Action != Renew {
		t.Errorf("group 1, of which two of five survive: %+v", g)
	}
	must(t, w.apply(2, p))
	r, err := open(w.nodes[2])
	must(t, err)
	if r.replicas[2] != replicasOf(2)[2] || r.values[2] != 1 {
		t.Errorf("%s with %d values", r.replicas[2], r.values[2])
	}
	row, _ := r.table.Group(2)
	if row.Incarnation != 1 || len(row.Replicas) != 3 || len(row.Founders) != 3 {
		t.Errorf("its row: %+v", row)
	}
}

// A voter whose directory may be of an earlier moment has forgotten what it acknowledged,
// perhaps. It does not make a majority.
func TestDoubtMakesNoMajority(t *testing.T) { doubtMakesNoMajority(t) }

func doubtMakesNoMajority(t testing.TB) {
	t.Helper()
	w := newWorld(t, map[int]log{1: {entries: 4}, 2: {entries: 4}})
	w.change(2, func(id *logstore.Identity) { id.Doubt = logstore.Doubt{Why: "it was put back", Proven: true} })
	p := w.plan(Options{})
	if g := group(p, 2); g.Action != Renew || !strings.Contains(g.Loss, "n2 may run on older disks") {
		t.Errorf("group 2: %+v", g)
	}
	must(t, w.apply(2, p))
	r, err := open(w.nodes[2])
	must(t, err)
	if !r.identity.Doubt.None() {
		t.Errorf("it is still in doubt, though nothing that it promised counts any more: %+v", r.identity.Doubt)
	}
	if notes := r.store.Notes(); len(notes) != 0 {
		t.Errorf("notes of nodes that are gone, or begin anew: %v", notes)
	}
}

// A directory can be of an earlier moment without a sign of it there. If another survivor
// remembers more of its node, it makes no majority either.
func TestNotesAreCompared(t *testing.T) { notesAreCompared(t) }

func notesAreCompared(t testing.TB) {
	t.Helper()
	for _, c := range []struct {
		name  string
		note  logstore.Note
		keeps bool
	}{
		{"it knows the life", logstore.Note{Trusted: logstore.Life{Number: 1, Mark: oldLifeMark}, Batch: 2}, true},
		{"it has less of the life", logstore.Note{Trusted: logstore.Life{Number: 1, Mark: oldLifeMark}, Batch: 1000}, false},
		{"it does not know the life", logstore.Note{Trusted: logstore.Life{Number: 2, Mark: 5}, Batch: 1}, false},
		{"none is trusted", logstore.Note{Life: logstore.Life{Number: 2, Mark: 5}}, true},
	} {
		w := newWorld(t, map[int]log{1: {entries: 4}, 2: {entries: 4}})
		c.note.Node, c.note.Life = nodeID(1), logstore.Life{Number: 3, Mark: 6}
		w.remember(2, c.note)
		p := w.plan(Options{})
		if keeps := group(p, 2).Action == Keep; keeps != c.keeps {
			t.Errorf("%s: group 2 is kept: %v", c.name, keeps)
		}
		if doubted := p.Survivor(ID(nodeID(1))).Doubt != ""; doubted == c.keeps {
			t.Errorf("%s: in doubt: %v", c.name, doubted)
		}
		must(t, w.apply(2, p))
		r, err := open(w.nodes[2])
		must(t, err)
		if kept := len(r.store.Notes()) > 0; kept != c.keeps {
			t.Errorf("%s: the note is there: %v", c.name, kept)
		}
	}
}

// remember has a node note something.
func (w *world) remember(n int, note logstore.Note) {
	w.t.Helper()
	w.run(n, logstore.Write{Note: &note})
}

// change changes the identity of a node.
func (w *world) change(n int, f func(*logstore.Identity)) {
	w.t.Helper()
	id, _, err := logstore.ReadIdentity(w.nodes[n], dir)
	must(w.t, err)
	f(&id)
	must(w.t, logstore.WriteIdentity(w.nodes[n], dir, id))
}

// Group 0 votes on several nodes, an odd number of them: it begins with the same state on
// each, so that no two of them can differ.
func TestSeatsOfGroupZero(t *testing.T) {
	for _, c := range []struct {
		survivors []int
		voters    int
	}{{[]int{4}, 1}, {[]int{4, 5}, 1}, {[]int{1, 4, 5}, 3}, {[]int{1, 2, 4, 5}, 3}, {[]int{1, 2, 3, 4, 5}, 3}} {
		logs := map[int]log{}
		for _, n := range c.survivors {
			logs[n] = log{entries: n}
		}
		w := newWorld(t, logs)
		p := w.plan(Options{})
		g := group(p, 0)
		if len(g.Members.Voters) != c.voters || len(g.Members.Voters)+len(g.Members.Learners) != len(c.survivors) {
			t.Errorf("%v: members %+v", c.survivors, g.Members)
		}
		var first string
		for _, n := range c.survivors {
			must(t, w.apply(n, p))
			r, err := open(w.nodes[n])
			must(t, err)
			o, _ := r.store.Outline(r.replicas[0])
			if s := fmt.Sprint(o.Base, o.Last, o.State); first == "" {
				first = s
			} else if s != first {
				t.Errorf("%v: n%d begins with %s, another with %s", c.survivors, n, s, first)
			}
			m := o.Base.Membership
			must(t, m.Check())
			if own, ok := m.Member(r.replicas[0].ID); !ok || own.Node != nodeID(n) {
				t.Errorf("%v: n%d is not a member of what it begins with: %+v", c.survivors, n, m)
			}
		}
	}
}

// A group of which nothing usable is left is named with its slots, and founded anew only
// by a person's word.
func TestNothingIsLeft(t *testing.T) {
	w := newWorld(t, map[int]log{4: {entries: 4}, 5: {entries: 4}})
	p := w.plan(Options{})
	g := group(p, 2)
	if g.Action != Leave || !slices.Equal(g.Slots, []string{"2048-4095"}) || !strings.Contains(g.Loss, "--drop-lost") {
		t.Errorf("group 2, of which no survivor has a replica: %+v", g)
	}
	p = w.plan(Options{DropLost: true})
	g = group(p, 2)
	if g.Action != Refound || len(g.Members.Voters) != 1 {
		t.Errorf("with DropLost: %+v", g)
	}
	must(t, w.apply(4, p))
	r, err := open(w.nodes[4])
	must(t, err)
	row, _ := r.table.Group(2)
	if row.Incarnation != raft.Incarnation(p.Incarnation) || len(row.Founders) != 1 || len(row.FirstSlots) != 1 {
		t.Errorf("its row: %+v", row)
	}
	if o, ok := r.table.Founding(2, row.Incarnation); !ok || o.Number != p.Incarnation {
		t.Errorf("it is founded with %v, %v", o, ok)
	}
}

// What is damaged is not chosen while another is whole, and the loss says what was
// committed for certain.
func TestDamagedIsNotChosen(t *testing.T) {
	w := newWorld(t, map[int]log{2: {entries: 4}, 3: {entries: 9, commit: 8}})
	w.spoil(3, 1)
	p := w.plan(Options{})
	g := group(p, 1)
	if g.Source != ID(nodeID(2)) || g.End.Index != 5 || !strings.Contains(g.Loss, "entries 6 to 9") {
		t.Errorf("%+v", g)
	}
	if group(p, 2).Action != Keep {
		t.Errorf("the node's other group: %+v", group(p, 2))
	}
	if g.Base.Index < 10+IndexAhead {
		t.Errorf("begins at %v, the damaged log reached 10", g.Base)
	}
}

// spoil flips a byte in the last record of entries of a group.
func (w *world) spoil(n int, id raft.GroupID) {
	w.t.Helper()
	var last logstore.Walked
	must(w.t, logstore.Walk(w.nodes[n], dir, func(v *logstore.Walked) error {
		if v.Kind == "entries" && v.Replica.Group == id {
			last = *v
		}
		return nil
	}))
	if last.Kind == "" {
		w.t.Fatal("nothing was spoilt")
	}
	w.nodes[n].Corrupt(last.File, last.Offset+last.Bytes-1, 1)
}

// Where all logs that are left are damaged, a person may take what stands in front of the
// damage; of several that which goes furthest. Without that word the group is left alone.
func TestDamagedIsTaken(t *testing.T) {
	w := newWorld(t, map[int]log{4: {entries: 9, records: 3}, 5: {entries: 6, records: 2}})
	w.spoil(4, 1) // entries 7 to 9
	w.spoil(5, 1) // entries 4 to 6
	g := group(w.plan(Options{}), 1)
	if g.Action != Leave || !strings.Contains(g.Loss, "--take-damaged") || !strings.Contains(g.Loss, "n4: ") {
		t.Errorf("%+v", g)
	}
	p := w.plan(Options{TakeDamaged: true, DropLost: true})
	g = group(p, 1)
	if g.Action != Renew || g.Source != ID(nodeID(4)) || g.End.Index != 7 || !strings.Contains(g.Loss, "g1/1.7") {
		t.Errorf("%+v", g)
	}
	for _, n := range w.survivors() {
		must(t, w.apply(n, p))
	}
	r, err := open(w.nodes[4])
	must(t, err)
	if r.values[1] != 6 {
		t.Errorf("%d values, want the 6 in front of the damage", r.values[1])
	}
}

// Each is refused with what was found and what to do, and nothing is changed.
func TestRefused(t *testing.T) {
	w := newWorld(t, map[int]log{2: {entries: 4}, 3: {entries: 9}})
	p := w.plan(Options{})
	other := w.plan(Options{ID: 0xdef})
	reports := w.reports()
	foreign := *reports[0]
	foreign.ClusterID, foreign.Node = 0xee, 0x99
	stranger := *reports[0]
	stranger.Node = 0x99
	unknown := *reports[0]
	unknown.Unknown = "something was lost"
	make := func(reports ...*Report) error { _, err := Make(reports, Options{ID: 1}); return err }
	half := w.nodes[3].Copy()
	must(t, halfApply(half, p))
	for _, c := range []struct {
		name string
		do   func() error
		want string
	}{
		{"no report", func() error { return make() }, "give those of all survivors"},
		{"two clusters", func() error { return make(reports[0], &foreign) }, "give reports of one cluster"},
		{"one node twice", func() error { return make(reports[0], reports[0]) }, "two reports are of node"},
		{"a stranger", func() error { return make(reports[1], &stranger) }, "leave its report out"},
		{"unknown loss", func() error { return make(reports[1], &unknown) }, "with an empty directory"},
		{"counts as gone", func() error { return w.elsewhere(1, p) }, "counts as gone"},
		{"another plan is begun", func() error { return Apply(half, dir, other, ApplyOptions{Mark: 1}) }, "apply that one again"},
		{"inspect what is begun", func() error { _, err := Inspect(half, dir); return err }, "apply that plan again"},
		{"another plan", func() error { must(t, w.apply(2, p)); return w.apply(2, other) }, "one and the same plan"},
		{"the node ran since", func() error { w.run(3); return w.apply(3, p) }, "the node ran since"},
	} {
		err := c.do()
		if !errors.Is(err, ErrNotNow) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
	if err := w.apply(2, p); err != nil {
		t.Errorf("the same plan a second time: %v", err)
	}
	if s, err := Look(w.nodes[2], dir, p); s != Applied || err != nil {
		t.Errorf("the plan stands at %v, %v", s, err)
	}
}

// elsewhere applies a plan to the directory of a node that is not in it.
func (w *world) elsewhere(n int, p *Plan) error {
	disk := w.node(n, log{entries: 4})
	before := disk.String()
	err := Apply(disk, dir, p, ApplyOptions{Mark: 1})
	if disk.String() != before {
		w.t.Error("it was changed")
	}
	return err
}

// run lets a node start, write and stop.
func (w *world) run(n int, ws ...logstore.Write) {
	w.t.Helper()
	id, _, err := logstore.ReadIdentity(w.nodes[n], dir)
	must(w.t, err)
	s, err := logstore.Open(logstore.Options{FS: w.nodes[n], Dir: dir, SegmentBytes: logstore.SegmentBytesMin})
	must(w.t, err)
	_, err = logstore.BeginLife(s, id, 0, 4242)
	must(w.t, err)
	must(w.t, s.Append(ws))
	must(w.t, s.Close())
}

// halfApply is cut short.
func halfApply(disk *vfs.Mem, p *Plan) error {
	counted := disk.Copy()
	before := counted.Ops()
	if err := Apply(counted, dir, p, ApplyOptions{Mark: 1}); err != nil {
		return err
	}
	disk.StopAt((counted.Ops() - before) / 2)
	if err := Apply(disk, dir, p, ApplyOptions{Mark: 1}); !errors.Is(err, vfs.ErrPower) {
		return fmt.Errorf("not cut short: %w", err)
	}
	disk.Crash(vfs.KeepUnsynced, 1)
	return nil
}

// A file that was changed is not used.
func TestFilesAreChecked(t *testing.T) {
	w := newWorld(t, map[int]log{2: {entries: 4}})
	r, err := w.reports()[0].Encode()
	must(t, err)
	p, err := w.plan(Options{}).Encode()
	must(t, err)
	if _, err := ReadReport(p); !errors.Is(err, ErrFile) {
		t.Errorf("a plan for a report: %v", err)
	}
	if _, err := ReadPlan(r); !errors.Is(err, ErrFile) {
		t.Errorf("a report for a plan: %v", err)
	}
	if _, err := ReadReport([]byte(strings.ReplaceAll(string(r), "\n", ""))); err != nil {
		t.Errorf("laid out anew: %v", err)
	}
	for _, c := range []struct{ old, with string }{
		{`"index": 5`, `"index": 6`}, {`"format": 1`, `"format": 2`}, {`"survivor"`, `"survivors"`}, {`}`, ``},
	} {
		changed := strings.Replace(string(r), c.old, c.with, 1)
		if changed == string(r) {
			t.Fatalf("no %s in the report", c.old)
		}
		if _, err := ReadReport([]byte(changed)); !errors.Is(err, ErrFile) {
			t.Errorf("%s: %v", c.with, err)
		}
	}
}

// The second time, the cluster that was recovered loses its majority again.
func TestRecoveredTwice(t *testing.T) {
	w := newWorld(t, map[int]log{2: {entries: 7}, 3: {entries: 4}})
	first := w.plan(Options{})
	for _, n := range w.survivors() {
		must(t, w.apply(n, first))
	}
	delete(w.nodes, 3)
	second := w.plan(Options{ID: 0xdef})
	if second.From != first.To || second.To == first.To || second.Incarnation <= first.Incarnation {
		t.Errorf("from %s to %s, incarnation %d", second.From, second.To, second.Incarnation)
	}
	must(t, w.apply(2, second))
	r, err := open(w.nodes[2])
	must(t, err)
	if r.values[1] != 7 || r.values[2] != 1 {
		t.Errorf("values %v", r.values)
	}
	// Its only voter is there, so the group is kept; the table is made anew all the same.
	if row, _ := r.table.Group(1); row.Incarnation != raft.Incarnation(first.Incarnation) || r.table.Meta.Incarnation != raft.Incarnation(second.Incarnation) {
		t.Errorf("row %+v, of group 0 %+v", row, r.table.Meta)
	}
}
