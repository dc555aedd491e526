package cmd

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// checkedCluster answers checks as the nodes of a cluster would: what a node says of a round is in its
// list, and its last word is repeated.
type checkedCluster struct {
	says  map[raft.NodeID][][]wire.CheckedGroup
	fails map[raft.NodeID]error
	hangs raft.NodeID
	asked []wire.Check // of node 1
	round map[raft.NodeID]int
	// trusts is what a node says when it is to be trusted, and trusted who was asked for that.
	trusts  map[raft.NodeID]string
	trusted []raft.NodeID
}

// of returns a comparison of the groups of a cluster of three nodes. Replica and node have the same
// number, and replica 4 is a learner.
func (c *checkedCluster) of(groups ...raft.GroupID) *comparison {
	status := &wire.StatusAnswer{}
	for id := raft.NodeID(1); id <= 3; id++ {
		status.Nodes = append(status.Nodes, wire.StatusNode{ID: id, Name: "n" + number(uint64(id)), Addr: number(uint64(id))})
	}
	for _, g := range groups {
		row := wire.StatusGroup{ID: g, Replicas: []wire.StatusReplica{{ID: 4, Role: shardmap.ReplicaLearner}}}
		for id := raft.NodeID(1); id <= 3 && g != 0; id++ {
			row.Replicas = append(row.Replicas, wire.StatusReplica{ID: raft.ReplicaID(id), Node: id, Role: shardmap.ReplicaVoter})
		}
		status.Groups = append(status.Groups, row)
	}
	c.round = make(map[raft.NodeID]int)
	k := newComparison(status)
	turn := make(chan struct{}, 1) // nodes are asked at the same time
	k.asks = func(ctx context.Context, addr string, q wire.Check) (*wire.CheckAnswer, error) {
		id := raft.NodeID(addr[0] - '0')
		if id == c.hangs {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		turn <- struct{}{}
		defer func() { <-turn }()
		if id == 1 {
			c.asked = append(c.asked, q)
		}
		if err := c.fails[id]; err != nil {
			return nil, err
		}
		if q.Trust {
			c.trusted = append(c.trusted, id)
			return &wire.CheckAnswer{Groups: []wire.CheckedGroup{{Group: q.Groups[0], Why: c.trusts[id]}}}, nil
		}
		rounds := c.says[id]
		i := min(c.round[id], len(rounds)-1)
		c.round[id]++
		if i < 0 {
			return &wire.CheckAnswer{}, nil
		}
		return &wire.CheckAnswer{Groups: rounds[i]}, nil
	}
	return k
}

// compared is what the leader of a group says of replicas 1 to 3, in their order.
func compared(g raft.GroupID, term, index uint64, states ...wire.CheckedState) wire.CheckedGroup {
	row := wire.CheckedGroup{Group: g, Incarnation: 1, Term: term, At: raft.LogID{Term: term, Index: index}}
	for i, s := range states {
		r := wire.CheckedReplica{Replica: raft.ReplicaID(i + 1), Node: raft.NodeID(i + 1), State: s}
		if s == wire.CheckedDiffers {
			r.Parts = []uint32{12, 77}
		}
		row.Replicas = append(row.Replicas, r)
	}
	return row
}

const (
	agrees    = wire.CheckedAgrees
	differs   = wire.CheckedDiffers
	fenced    = wire.CheckedFenced
	silent    = wire.CheckedSilent
	undecided = wire.CheckedUndecided
)

// The command is what a person believes when they ask whether their data is the same everywhere.
// So nothing that was not compared may look as if it agreed, whoever failed to answer, and the
// status says which of the two it is.
func TestCheckOutcomes(t *testing.T) {
	more := compared(1, 3, 9, agrees, differs, agrees)
	more.Replicas[1].Parts = []uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 4096}
	more.Replicas[1].PartsMore = 4
	early := wire.CheckedGroup{Group: 1, Term: 3, Why: "the cluster is at level 6"}
	for _, tt := range []struct {
		name   string
		rows   []wire.CheckedGroup // of group 1, in the order of their arrival
		status exitStatus
		want   string
	}{
		{"all agree", []wire.CheckedGroup{compared(1, 3, 9, agrees, agrees, agrees)}, exitDone, "1 9 3 agree"},
		{"one differs", []wire.CheckedGroup{compared(1, 3, 9, agrees, differs, agrees)}, exitRefused,
			"1 9 3 1 differs\nreplica 2 on n2: differs in slot 12, slot 77"},
		{"one differs in much", []wire.CheckedGroup{more}, exitRefused,
			"1 9 3 1 differs\nreplica 2 on n2: differs in slot 0, slot 1, slot 2, slot 3, slot 4, slot 5, slot 6, slot 7 and 6 more"},
		{"one is fenced, one does not report", []wire.CheckedGroup{compared(1, 3, 9, agrees, fenced, silent)}, exitRefused,
			"1 9 3 1 fenced, 1 silent\nreplica 2 on n2: fenced\nreplica 3 on n3: silent"},
		{"one does not report", []wire.CheckedGroup{compared(1, 3, 9, agrees, agrees, silent)}, exitNoResult, "1 9 3 1 silent\nreplica 3 on n3: silent"},
		{"no majority", []wire.CheckedGroup{compared(1, 3, 9, undecided, undecided)}, exitRefused,
			"1 9 2 2 undecided\nreplica 1 on n1: undecided\nreplica 2 on n2: undecided"},
		{"a state of a later version", []wire.CheckedGroup{compared(1, 3, 9, agrees, 17, agrees)}, exitRefused, "1 9 3 1 in another state\nreplica 2 on n2: state 17"},
		{"an early level", []wire.CheckedGroup{early}, exitNoResult, "1 - - not compared: the cluster is at level 6"},
		{"nothing, and no reason", []wire.CheckedGroup{{Group: 1, Term: 3}}, exitNoResult, "1 - - not compared: its leader does not say why"},
		{"a leader of before, first", []wire.CheckedGroup{compared(1, 3, 9, agrees, differs, agrees), compared(1, 4, 11, agrees, agrees, agrees)}, exitDone, "1 11 3 agree"},
		{"a leader of before, last", []wire.CheckedGroup{compared(1, 4, 11, agrees, differs, agrees), compared(1, 3, 9, agrees, agrees, agrees)}, exitRefused,
			"1 11 3 1 differs\nreplica 2 on n2: differs in slot 12, slot 77"},
	} {
		k := new(checkedCluster).of(0, 1)
		k.take(compared(0, 2, 5, agrees, agrees, agrees))
		for _, row := range tt.rows {
			k.take(row)
		}
		row := k.row()
		if got := row.status(); got != tt.status || row.OK != (tt.status == exitDone) {
			t.Errorf("%s: status %d, ok %t, want status %d", tt.name, got, row.OK, tt.status)
		}
		if got, want := printed(t, row), "GROUP INDEX REPLICAS RESULT\n0 5 3 agree\n"+tt.want+"\n"; got != want {
			t.Errorf("%s: got\n%swant\n%s", tt.name, got, want)
		}
	}
}

// A check that finds a wrong or silent replica also says what to do, unless the table says it.
func TestCheckAdvises(t *testing.T) {
	waits := checkedRow{Why: "it waits", Differing: []differingRow{{state: undecided}}}
	for _, tt := range []struct {
		name string
		row  checkedRow
		want []string // a word of each line
	}{
		{"agree", checkedRow{Index: 9, Agree: true}, nil},
		{"differs", checkedRow{Index: 9, Differing: []differingRow{{state: differs}}}, []string{"check --fix"}},
		{"undecided", checkedRow{Index: 9, Differing: []differingRow{{state: undecided}, {state: undecided}}}, []string{"check --fix"}},
		{"fenced", checkedRow{Index: 9, Differing: []differingRow{{state: fenced}}}, nil},
		{"silent", checkedRow{Index: 9, Differing: []differingRow{{state: silent}}}, []string{"doctor"}},
		{"both", checkedRow{Index: 9, Differing: []differingRow{{state: differs}, {state: silent}}}, []string{"check --fix", "doctor"}},
		{"waits for a person", waits, nil},
	} {
		got := (&checkRow{Groups: []checkedRow{tt.row}}).advice()
		if !slices.EqualFunc(got, tt.want, strings.Contains) {
			t.Errorf("%s: got %q, want lines with %q", tt.name, got, tt.want)
		}
	}
}

// printed is a table with one blank between its cells.
func printed(t *testing.T, row *checkRow) string {
	t.Helper()
	var b bytes.Buffer
	s := &errand{console: &console{out: newOutput(&b)}}
	if err := printCheck(s, row); err != nil {
		t.Fatal(err)
	}
	s.out.Flush()
	var lines strings.Builder
	for line := range strings.Lines(b.String()) {
		lines.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	return lines.String()
}

// A group that no leader has compared is asked for again, and alone: an election ends within a moment, and the
// others have been compared. One that gets none is a row of its own. A group that
// the endpoint did not know of turns up all the same.
func TestCheckWaitsForLeaders(t *testing.T) {
	both := []wire.CheckedGroup{compared(0, 2, 5, agrees), compared(2, 2, 5, agrees)}
	c := &checkedCluster{says: map[raft.NodeID][][]wire.CheckedGroup{1: {both}, 2: {{}, {{Group: 1, Term: 6, Why: "it hands over"}}, {compared(1, 7, 5, agrees)}}}}
	k := c.of(0, 1)
	if err := k.compare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !k.row().OK || !slices.Equal(k.wanted, []raft.GroupID{0, 1, 2}) {
		t.Errorf("got %+v", k.row())
	}
	for i, q := range c.asked {
		if want := []raft.GroupID{1}; q.Act || i == 0 && len(q.Groups) != 0 || i > 0 && !slices.Equal(q.Groups, want) {
			t.Errorf("question %d is %+v, want all groups in the first and group 1 in the others", i, q)
		}
	}

	// A node that does not answer holds up no other, and nobody waits for it once all is compared.
	c = &checkedCluster{says: map[raft.NodeID][][]wire.CheckedGroup{1: {both}, 2: {{}, {compared(1, 7, 5, agrees)}}}, hangs: 3}
	k = c.of(0, 1)
	began := time.Now()
	if err := k.compare(t.Context()); err != nil || !k.row().OK || len(k.silent) > 0 || time.Since(began) >= checkPatience {
		t.Errorf("with a node that hangs: %v after %s, %+v", err, time.Since(began), k.row())
	}

	gone := errors.New("connection refused")
	c = &checkedCluster{says: map[raft.NodeID][][]wire.CheckedGroup{1: {both}}, fails: map[raft.NodeID]error{2: gone}}
	k = c.of(0, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := k.compare(ctx); err != nil {
		t.Fatal(err)
	}
	row := k.row()
	if row.status() != exitNoResult || row.Groups[1].Why != "no node that answered leads it" || row.Groups[1].Agree {
		t.Errorf("got %+v", row)
	}
	if got := slices.Collect(maps.Keys(k.silent)); !slices.Equal(got, []raft.NodeID{2}) {
		t.Errorf("silent are %v", got)
	}

	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if err := k.compare(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

// One group alone is asked for, and no other is shown; one that nobody knows is told from one without
// a leader.
func TestCheckOfOneGroup(t *testing.T) {
	c := &checkedCluster{says: map[raft.NodeID][][]wire.CheckedGroup{1: {{compared(1, 2, 5, agrees), compared(2, 2, 5, differs)}}}}
	k := c.of(0, 1, 2)
	k.only(1)
	if err := k.compare(t.Context()); err != nil || !k.row().OK || len(k.row().Groups) != 1 || k.unheardOf(1) {
		t.Errorf("got %+v, %v", k.row(), err)
	}
	if !slices.Equal(c.asked[0].Groups, []raft.GroupID{1}) {
		t.Errorf("asked %+v", c.asked)
	}
	k = new(checkedCluster).of(0, 1)
	k.only(7)
	began := time.Now()
	if err := k.compare(t.Context()); err != nil || !k.unheardOf(7) || time.Since(began) > pollMax {
		t.Errorf("a group that is not there: %v after %s, unheard of: %t", err, time.Since(began), k.unheardOf(7))
	}
	k.found[7] = compared(7, 1, 1, agrees) // made a moment ago
	if k.unheardOf(7) || k.unheardOf(1) || k.unheardOf(0) {
		t.Error("a group that somebody leads, or that the endpoint knows, counts as unknown")
	}
}

// A fenced replica no longer compares anything, so check takes its wrong parts from the cluster's
// table. Earlier incidents and those of other replicas must not be taken for its own.
func TestCheckNamesPartsOfFenced(t *testing.T) {
	c := &checkedCluster{says: map[raft.NodeID][][]wire.CheckedGroup{1: {{compared(0, 2, 5, agrees), compared(1, 3, 9, agrees, fenced, differs)}}}}
	k := c.of(0, 1)
	if err := k.compare(t.Context()); err != nil || !k.partless() {
		t.Fatalf("partless: %t, %v", k.partless(), err)
	}
	table := &shardmap.Table{Groups: []shardmap.TableGroup{{ID: 1, Incarnation: 1, Replicas: []shardmap.TableReplica{{Replica: 1}, {Replica: 2}, {Replica: 3}}}}}
	incident := func(of raft.ReplicaID, incarnation raft.Incarnation, state shardmap.IncidentState, count uint32, parts ...shardmap.Part) {
		table.Incidents = append(table.Incidents, shardmap.Incident{State: state, Parts: parts, PartsCount: count,
			IncidentKey: shardmap.IncidentKey{Group: 1, Incarnation: incarnation, Replica: of}})
	}
	incident(2, 1, shardmap.IncidentRebuilt, 1, 5)
	incident(2, 7, shardmap.IncidentFenced, 1, 6)
	incident(3, 1, shardmap.IncidentFenced, 1, 7)
	incident(2, 1, shardmap.IncidentFenced, 4, 12, shardmap.PartMarks)
	incident(2, 1, shardmap.IncidentFenced, 1, 8)
	k.nameParts(table)
	want := "GROUP INDEX REPLICAS RESULT\n0 5 1 agree\n1 9 3 1 differs, 1 fenced\n" +
		"replica 2 on n2: fenced in slot 12, marks and 2 more\nreplica 3 on n3: differs in slot 12, slot 77\n"
	if got := printed(t, k.row()); got != want || k.partless() {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// What --fix would do is shown with what it costs, and is done to no group in which all is well. It
// is over when each replica that was wrong is well.
func TestCheckFix(t *testing.T) {
	broken := compared(1, 3, 9, agrees, differs, fenced, agrees) // 4 is a learner
	lone := compared(3, 3, 9, undecided, undecided)
	calm := compared(2, 3, 9, agrees, agrees, silent)
	says := [][]wire.CheckedGroup{
		{compared(0, 2, 5, agrees), broken, calm, lone},
		{compared(1, 3, 12, agrees, fenced, fenced, agrees), lone},
		{},
		{compared(1, 4, 15, agrees, silent, agrees, agrees), compared(3, 3, 12, agrees, agrees)},
		{{Group: 1, Term: 4, Why: "it leads no more"}, compared(3, 3, 13, agrees, silent)},
		{compared(1, 4, 16, agrees, agrees, agrees, silent), compared(3, 3, 14, agrees, agrees)},
	}
	fix := func(agreed consent, timeout time.Duration) (c *checkedCluster, k *comparison, shown string, err error) {
		c = &checkedCluster{says: map[raft.NodeID][][]wire.CheckedGroup{1: says}}
		k = c.of(0, 1, 2, 3)
		if err := k.compare(t.Context()); err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		s := &errand{console: &console{err: &errs}, timeout: timeout}
		err = s.fix(t.Context(), k, agreed)
		return c, k, errs.String(), err
	}
	const plan = `plan to rebuild the replicas that differ:
  group 1: rebuild replica 2 on n2, which differs in slot 12, slot 77, and replica 3 on n3, which is fenced; 1 of 3 voters stay in order
  group 3: replay the log of replica 1 on n1, which is undecided, and replica 2 on n2, which is undecided; 0 of 2 voters stay in order
`
	c, _, shown, err := fix(consentAsked, time.Minute)
	if statusOf(err) != exitNotConfirmed || shown != plan || len(c.asked) != 1 {
		t.Errorf("off a terminal: %v, asked %+v, plan\n%swant\n%s", err, c.asked, shown, plan)
	}
	c, k, shown, err := fix(consentGiven, time.Minute)
	if err != nil || shown != plan || len(c.asked) != len(says) {
		t.Errorf("with --yes: %v, asked %d times, want %d, plan\n%s", err, len(c.asked), len(says), shown)
	}
	for _, q := range c.asked[1:] {
		if !q.Act || !slices.Equal(q.Groups, []raft.GroupID{1, 3}) {
			t.Errorf("asked %+v, want it to act on groups 1 and 3", q)
		}
	}
	if row := k.row(); row.status() != exitNoResult || row.Groups[1].Index != 16 { // a replica of each of groups 1 and 2 is silent
		t.Errorf("in the end: %+v", row)
	}
	_, _, _, err = fix(consentGiven, pauseMin/10)
	if statusOf(err) != exitNoResult || !strings.Contains(err.Error(), "not all are whole") {
		t.Errorf("with little time: got %v", err)
	}
	says = [][]wire.CheckedGroup{{compared(0, 2, 5, agrees), compared(1, 2, 5, agrees), calm, compared(3, 2, 5, agrees)}}
	if c, _, shown, err = fix(consentAsked, time.Minute); err != nil || shown != "" || len(c.asked) != 1 {
		t.Errorf("with nothing to do: %v, asked %d times, shown %q", err, len(c.asked), shown)
	}
}

// waits is what a node says of its replica of a group that needs a person's word.
func waits(g raft.GroupID, node raft.NodeID) wire.CheckedGroup {
	return wire.CheckedGroup{Group: g, Incarnation: 1, Why: "nobody can say which of its replicas is right, found at g1/2.7",
		Replicas: []wire.CheckedReplica{{Replica: raft.ReplicaID(node), Node: node, State: undecided, Parts: []uint32{12}}}}
}

// A group that waits for a person has no leader that could tell of it. Without what the nodes say of
// their own replicas it would look as if it were about to elect one, and nobody would learn what to
// do. A leader's comparison overrides what they say: they have not heard of it yet.
func TestCheckOfGroupThatNeedsWord(t *testing.T) {
	tie := compared(1, 3, 9, undecided, undecided, silent)
	older := waits(1, 3)
	older.Incarnation, older.Why = 0, "of another founding"
	const remedy = "; muster check --group 1 --fix --trust NODE decides"
	const both = "1 - - not compared: nobody can say which of its replicas is right, found at g1/2.7" + remedy + "\nreplica 1 on n1: undecided in slot 12\nreplica 2 on n2: undecided in slot 12"
	for _, tt := range []struct {
		name   string
		rows   []wire.CheckedGroup
		status exitStatus
		want   string
	}{
		{"two wait", []wire.CheckedGroup{waits(1, 2), waits(1, 1)}, exitRefused, both},
		{"the leader of before had none either", []wire.CheckedGroup{tie, waits(1, 2), waits(1, 1)}, exitRefused, both},
		{"it hands over", []wire.CheckedGroup{waits(1, 2), {Group: 1, Term: 3, Why: "it hands over"}, waits(1, 1)}, exitRefused, both},
		{"one is of a former founding", []wire.CheckedGroup{waits(1, 2), older, waits(1, 1)}, exitRefused, both},
		{"a leader has compared", []wire.CheckedGroup{waits(1, 1), compared(1, 4, 11, fenced, agrees, fenced), waits(1, 3)}, exitRefused,
			"1 11 3 2 fenced\nreplica 1 on n1: fenced\nreplica 3 on n3: fenced"},
		{"a row of nothing", []wire.CheckedGroup{{Group: 1, Why: "nothing"}}, exitNoResult, "1 - - not compared: no node that answered leads it"},
	} {
		k := new(checkedCluster).of(0, 1)
		k.take(compared(0, 2, 5, agrees, agrees, agrees))
		for _, row := range tt.rows {
			k.take(row)
		}
		row := k.row()
		if got, want := printed(t, row), "GROUP INDEX REPLICAS RESULT\n0 5 3 agree\n"+tt.want+"\n"; got != want || row.status() != tt.status {
			t.Errorf("%s: status %d, want %d, got\n%swant\n%s", tt.name, row.status(), tt.status, got, want)
		}
	}
	// A node's next answer replaces its last one; until then that one stands.
	k := new(checkedCluster).of(0, 1)
	k.take(waits(1, 1))
	k.take(waits(1, 2))
	k.forget(1, []raft.GroupID{2})
	if k.forget(2, nil); !k.needsWord(1) || len(k.waiting(1).Replicas) != 1 || k.unheardOf(1) {
		t.Errorf("got %+v", k.wait)
	}
	if k.forget(1, []raft.GroupID{1}); k.needsWord(1) {
		t.Errorf("nobody waits any more, got %+v", k.wait)
	}
}

// --fix ends once it is known that only a person can decide, and says how.
func TestCheckFixOfGroupThatNeedsWord(t *testing.T) {
	tie, led := compared(1, 3, 9, undecided, undecided, silent), compared(0, 2, 5, agrees)
	fix := func(rounds ...[]wire.CheckedGroup) (string, error) {
		c := &checkedCluster{says: map[raft.NodeID][][]wire.CheckedGroup{1: rounds}}
		k := c.of(0, 1)
		if err := k.compare(t.Context()); err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		s := &errand{console: &console{err: &errs}, timeout: time.Minute}
		return errs.String(), s.fix(t.Context(), k, consentGiven)
	}
	const want = "group 1: nobody can say which of its replicas is right, found at g1/2.7; muster check --group 1 --fix --trust NODE decides"
	began := time.Now()
	if _, err := fix([]wire.CheckedGroup{led, tie}, nil, []wire.CheckedGroup{waits(1, 1), waits(1, 2)}); statusOf(err) != exitRefused || err.Error() != want || time.Since(began) > time.Minute/2 {
		t.Errorf("after the replay: got %v after %s", err, time.Since(began))
	}
	if said, err := fix([]wire.CheckedGroup{led, tie, waits(1, 1), waits(1, 2)}); err != nil || said != "" {
		t.Errorf("where it waits already: got %v, said %q; want no plan", err, said)
	}
}

// A person decides what the data of a group is. So the plan says what becomes of the others, one node
// alone is told, and only if its group waits for that; and the command ends when all have its state.
func TestCheckTrust(t *testing.T) {
	led, all := compared(0, 2, 5, agrees), []wire.CheckedGroup{compared(0, 2, 5, agrees), waits(1, 1), waits(1, 2), waits(1, 3)}
	elected := []wire.CheckedGroup{waits(1, 1), waits(1, 3)}
	rebuilding := []wire.CheckedGroup{compared(1, 4, 11, fenced, agrees, fenced), waits(1, 3)}
	const plan = `plan to trust one replica:
  the state that n2 has of group 1, as its snapshot and log say, becomes that of the group; n1, n3 get it, and keep what they hold now in aside/ of their data directories
`
	var c *checkedCluster
	var k *comparison
	trust := func(n raft.NodeID, agreed consent, rounds ...[]wire.CheckedGroup) (string, error) {
		c.says = map[raft.NodeID][][]wire.CheckedGroup{}
		for i, round := range rounds {
			for id := raft.NodeID(1); id <= 3; id++ {
				c.says[id] = append(c.says[id], nil)
			}
			for _, row := range round {
				id := raft.NodeID(1)
				if row.Term == 0 {
					id = row.Replicas[0].Node // each says of its own replica that it waits, and with its next answer whether it still does
				}
				c.says[id][i] = append(c.says[id][i], row)
			}
		}
		k = c.of(0, 1)
		k.only(1)
		ctx, end := context.WithTimeout(t.Context(), pauseMin/2) // one round
		defer end()
		if err := k.compare(ctx); err != nil {
			t.Fatal(err)
		}
		c.asked = nil
		var errs bytes.Buffer
		s := &errand{console: &console{err: &errs}, timeout: time.Minute}
		err := s.trust(t.Context(), k, 1, &shardmap.TableNode{ID: n, Name: "n" + number(uint64(n)), Addr: number(uint64(n))}, agreed)
		return errs.String(), err
	}
	c = &checkedCluster{}
	said, err := trust(2, consentAsked, all)
	if statusOf(err) != exitNotConfirmed || said != plan || len(c.trusted)+len(c.asked) != 0 {
		t.Errorf("off a terminal: %v, trusted %v, plan\n%swant\n%s", err, c.trusted, said, plan)
	}
	said, err = trust(2, consentGiven, all, elected, rebuilding, []wire.CheckedGroup{compared(1, 4, 13, agrees, agrees, silent)}, []wire.CheckedGroup{compared(1, 4, 15, agrees, agrees, agrees)})
	if err != nil || said != plan || !slices.Equal(c.trusted, []raft.NodeID{2}) || !k.row().OK {
		t.Errorf("with --yes: %v, trusted %v, in the end %+v, plan\n%s", err, c.trusted, k.row(), said)
	}
	for _, q := range c.asked {
		if !q.Act || q.Trust || !slices.Equal(q.Groups, []raft.GroupID{1}) {
			t.Errorf("asked %+v, want it to act on group 1", q)
		}
	}
	c = &checkedCluster{says: map[raft.NodeID][][]wire.CheckedGroup{1: {all[1:]}}}
	k = c.of() // the endpoint was started while group 0 had no leader
	for _, row := range all[1:] {
		k.take(row)
	}
	if got := k.replicaNodes(1); !slices.Equal(got, []raft.NodeID{1, 2, 3}) {
		t.Errorf("of a group that the endpoint does not know: on %v", got)
	}
	gone := errors.New("connection refused")
	for _, tt := range []struct {
		name   string
		c      checkedCluster
		node   raft.NodeID
		rows   []wire.CheckedGroup
		status exitStatus
		want   string
	}{
		{"no replica", checkedCluster{}, 5, all, exitNotFound, "group 1: node n5 has no replica of it; n1, n2, n3 have"},
		{"it does not answer", checkedCluster{fails: map[raft.NodeID]error{2: gone}}, 2, all, statusOf(gone), "ask node n2 at 2: connection refused"},
		{"all agree", checkedCluster{}, 2, []wire.CheckedGroup{led, compared(1, 3, 9, agrees, agrees, agrees)}, exitRefused, "group 1: it does not wait for anybody"},
		{"the node refuses", checkedCluster{trusts: map[raft.NodeID]string{2: "it does not wait"}}, 2, all, exitRefused, "node n2 at 2: it does not wait"},
	} {
		c = &tt.c
		said, err := trust(tt.node, consentGiven, tt.rows)
		if statusOf(err) != tt.status || !strings.Contains(err.Error(), tt.want) || len(c.asked) > 0 || len(c.trusted) > 0 && tt.c.trusts == nil {
			t.Errorf("%s: got %v (status %d), trusted %v, asked %+v, said %q", tt.name, err, statusOf(err), c.trusted, c.asked, said)
		}
	}
}

// A person acknowledges what is over, and no more: an incident whose replica still differs, or one of
// another group, stays a problem or a note for the next look.
func TestAcknowledged(t *testing.T) {
	table := &shardmap.Table{
		Nodes: []shardmap.TableNode{{ID: 1, Name: "n1"}},
		Groups: []shardmap.TableGroup{
			{ID: 1, Incarnation: 3, Replicas: []shardmap.TableReplica{{Replica: 1, Node: 1}, {Replica: 2, Node: 2}}},
			{ID: 2, Incarnation: 4, Replicas: []shardmap.TableReplica{{Replica: 1, Node: 1}}}},
	}
	incident := func(id uint64, g raft.GroupID, of raft.ReplicaID, state shardmap.IncidentState) *shardmap.Incident {
		table.Incidents = append(table.Incidents, shardmap.Incident{ID: id, Node: raft.NodeID(of), Found: shardmap.FoundByComparison, State: state,
			IncidentKey: shardmap.IncidentKey{Group: g, Incarnation: raft.Incarnation(g + 2), Replica: of, At: raft.LogID{Term: 2, Index: 17}}})
		return &table.Incidents[len(table.Incidents)-1]
	}
	incident(10, 1, 1, shardmap.IncidentRebuilt)
	incident(11, 1, 2, shardmap.IncidentFenced)
	incident(12, 1, 7, shardmap.IncidentFenced) // of a replica that the group has no more
	incident(13, 2, 1, shardmap.IncidentRebuilt)
	incident(14, 1, 1, shardmap.IncidentRebuilt).Acknowledged = true
	ids := func(list []*shardmap.Incident) (ids []uint64) {
		for _, i := range list {
			ids = append(ids, i.ID)
		}
		return ids
	}
	for _, tt := range []struct {
		group      raft.GroupID // 0: all
		over, open []uint64
	}{
		{0, []uint64{10, 12, 13}, []uint64{11}},
		{1, []uint64{10, 12}, []uint64{11}},
		{2, []uint64{13}, nil},
		{3, nil, nil},
	} {
		over, open := unseen(table, func(g raft.GroupID) bool { return tt.group == 0 || g == tt.group })
		if !slices.Equal(ids(over), tt.over) || !slices.Equal(ids(open), tt.open) {
			t.Errorf("group %d: got %v and %v, want %v and %v", tt.group, ids(over), ids(open), tt.over, tt.open)
		}
	}
	some := incident(15, 1, 2, shardmap.IncidentRebuilt)
	some.Parts, some.PartsCount, some.What = []shardmap.Part{12, shardmap.PartMarks}, 5, "two slots differ"
	for _, tt := range []struct {
		of   *shardmap.Incident
		want string
	}{
		{some, "15 1 2 0000000000000002 g1/2.17 comparison slot 12, marks and 3 more two slots differ"},
		{&table.Incidents[0], "10 1 1 n1 g1/2.17 comparison -"},
	} {
		var b bytes.Buffer
		s := &errand{console: &console{out: newOutput(&b)}}
		if err := printAcknowledged(s, []incidentRow{incidentRowOf(table, tt.of)}); err != nil {
			t.Fatal(err)
		}
		s.out.Flush()
		_, row, _ := strings.Cut(b.String(), "\n")
		if got := strings.Join(strings.Fields(row), " "); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
