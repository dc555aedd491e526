package audit

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"muster/raft"
	"muster/repl/wire"
)

// at is the entry that the rounds of the tests are about.
var at = raft.LogID{Term: 3, Index: 40}

// member makes the member of an id, on the node ten above it.
func member(id raft.ReplicaID, goal raft.Goal) raft.Member {
	return raft.Member{Replica: id, Node: raft.NodeID(id) + 10, Goal: goal}
}

// list makes voters.
func list(ids ...raft.ReplicaID) (members []raft.Member) {
	for _, id := range ids {
		members = append(members, member(id, raft.GoalVoter))
	}
	return members
}

// voters makes a membership of so many.
func voters(n int) raft.Membership {
	m := raft.Membership{Next: raft.ReplicaID(n) + 1}
	for id := range n {
		m.Voters = append(m.Voters, list(raft.ReplicaID(id)+1)...)
	}
	return m
}

// joint makes the membership of a change from some voters to others.
func joint(from, to []raft.Member) raft.Membership {
	return raft.Membership{Voters: to, Outgoing: from, Next: 100}
}

// with adds learners to a membership.
func with(m raft.Membership, ids ...raft.ReplicaID) raft.Membership {
	for _, id := range ids {
		m.Learners, m.Next = append(m.Learners, member(id, raft.GoalCopy)), max(m.Next, id+1)
	}
	return m
}

// holds makes the rows of a state, of which a letter tells what is in each part.
func holds(state string) (rows []wire.AuditRow) {
	for part, letter := range state {
		if letter != '_' { // there is no such part
			rows = append(rows, wire.AuditRow{Part: uint32(part), Digest: uint64(letter)})
		}
	}
	return rows
}

// report makes the report of a replica: its state, "fenced", or "replayed" and a state.
func report(from raft.ReplicaID, said string) *wire.AuditReport {
	r := &wire.AuditReport{From: from, At: at}
	state, replayed := strings.CutPrefix(said, "replayed ")
	switch {
	case said == "fenced":
		r.Fenced = true
	case replayed:
		r.Replayed, r.Rows = true, holds(state)
	default:
		r.Rows = holds(said)
	}
	return r
}

// tell is a result in one line.
func tell(r Result) string {
	proven := ""
	if r.Proven {
		proven = " proven"
	}
	line := [...]string{"open", "equal", "odd", "tied", "split"}[r.Outcome] + proven + ":"
	for _, f := range r.Replicas {
		line += fmt.Sprintf(" %d %s", f.Replica, f.State)
		if len(f.Parts) > 0 {
			line += strings.ReplaceAll(fmt.Sprint(f.Parts), " ", ",")
		}
	}
	return line
}

// said is who has reported what, in this order.
type said struct {
	from raft.ReplicaID
	what string
}

// What reports come to, in memberships of all kinds. One would doubt it in a joint one, where
// a replica can be in both lists, and counts in each of them, and once as a replica.
func TestResult(t *testing.T) {
	for _, c := range []struct {
		name    string
		members raft.Membership
		reports []said
		waits   string // what it comes to while others may still report
		final   string // and if nobody does
	}{
		{"nobody has reported", voters(3), nil,
			"open: 1 silent 2 silent 3 silent", "equal: 1 silent 2 silent 3 silent"},
		{"a single voter", voters(1), []said{{1, "abc"}},
			"equal proven: 1 agrees", "equal proven: 1 agrees"},
		{"two that are equal", voters(2), []said{{1, "abc"}, {2, "abc"}},
			"equal proven: 1 agrees 2 agrees", "equal proven: 1 agrees 2 agrees"},
		{"one of two", voters(2), []said{{2, "abc"}},
			"open: 1 silent 2 agrees", "equal: 1 silent 2 agrees"},
		{"two that differ", voters(2), []said{{1, "abc"}, {2, "aXc"}},
			"tied: 1 undecided[1] 2 undecided[1]", "tied: 1 undecided[1] 2 undecided[1]"},
		{"three that are equal", voters(3), []said{{3, "abc"}, {1, "abc"}, {2, "abc"}},
			"equal proven: 1 agrees 2 agrees 3 agrees", "equal proven: 1 agrees 2 agrees 3 agrees"},
		{"one of three is odd", voters(3), []said{{3, "abc"}, {1, "Xbc"}, {2, "abc"}},
			"odd proven: 1 differs[0] 2 agrees 3 agrees", "odd proven: 1 differs[0] 2 agrees 3 agrees"},
		{"a part too many, and one too few", voters(3), []said{{1, "ab_d"}, {2, "ab_d"}, {3, "a_cd"}},
			"odd proven: 1 agrees 2 agrees 3 differs[1,2]", "odd proven: 1 agrees 2 agrees 3 differs[1,2]"},
		{"all three differ", voters(3), []said{{1, "abc"}, {2, "aXc"}, {3, "abY"}},
			"tied: 1 undecided[1,2] 2 undecided[1,2] 3 undecided[1,2]", "tied: 1 undecided[1,2] 2 undecided[1,2] 3 undecided[1,2]"},
		{"two of three, equal", voters(3), []said{{1, "abc"}, {3, "abc"}},
			"open: 1 agrees 2 silent 3 agrees", "equal proven: 1 agrees 2 silent 3 agrees"},
		{"two of three, and they differ", voters(3), []said{{1, "abc"}, {3, "abX"}},
			"open: 1 agrees 2 silent 3 agrees", "tied: 1 undecided[2] 2 silent 3 undecided[2]"},
		{"one of three", voters(3), []said{{2, "abc"}},
			"open: 1 silent 2 agrees 3 silent", "equal: 1 silent 2 agrees 3 silent"},
		{"one of three is fenced, the others are equal", voters(3), []said{{1, "abc"}, {2, "fenced"}, {3, "abc"}},
			"equal proven: 1 agrees 2 fenced 3 agrees", "equal proven: 1 agrees 2 fenced 3 agrees"},
		{"one of three is fenced, the others differ", voters(3), []said{{1, "abc"}, {2, "fenced"}, {3, "abX"}},
			"tied: 1 undecided[2] 2 fenced 3 undecided[2]", "tied: 1 undecided[2] 2 fenced 3 undecided[2]"},
		{"all three are fenced", voters(3), []said{{1, "fenced"}, {2, "fenced"}, {3, "fenced"}},
			"equal: 1 fenced 2 fenced 3 fenced", "equal: 1 fenced 2 fenced 3 fenced"},
		{"two of five are odd, and alike", voters(5), []said{{1, "abc"}, {2, "aXc"}, {3, "aXc"}, {4, "abc"}, {5, "abc"}},
			"odd proven: 1 agrees 2 differs[1] 3 differs[1] 4 agrees 5 agrees", "odd proven: 1 agrees 2 differs[1] 3 differs[1] 4 agrees 5 agrees"},
		{"two of five are odd, each in its way", voters(5), []said{{1, "Xbc"}, {2, "aXc"}, {3, "abc"}, {4, "abc"}, {5, "abc"}},
			"odd proven: 1 differs[0] 2 differs[1] 3 agrees 4 agrees 5 agrees", "odd proven: 1 differs[0] 2 differs[1] 3 agrees 4 agrees 5 agrees"},
		{"two of five are silent, one is odd", voters(5), []said{{1, "abc"}, {2, "abc"}, {3, "aXc"}},
			"open: 1 agrees 2 agrees 3 agrees 4 silent 5 silent", "tied: 1 undecided[1] 2 undecided[1] 3 undecided[1] 4 silent 5 silent"},
		{"two of four against two", voters(4), []said{{1, "abc"}, {2, "abc"}, {3, "aXc"}, {4, "aXc"}},
			"tied: 1 undecided[1] 2 undecided[1] 3 undecided[1] 4 undecided[1]", "tied: 1 undecided[1] 2 undecided[1] 3 undecided[1] 4 undecided[1]"},
		{"a learner is odd", with(voters(3), 4), []said{{1, "abc"}, {2, "abc"}, {3, "abc"}, {4, "abX"}},
			"odd proven: 1 agrees 2 agrees 3 agrees 4 differs[2]", "odd proven: 1 agrees 2 agrees 3 agrees 4 differs[2]"},
		{"learners don't outvote", with(voters(1), 2, 3), []said{{1, "abc"}, {2, "abX"}, {3, "abX"}},
			"odd proven: 1 agrees 2 differs[2] 3 differs[2]", "odd proven: 1 agrees 2 differs[2] 3 differs[2]"},
		{"a silent learner is waited for", with(voters(1), 2), []said{{1, "abc"}},
			"open: 1 agrees 2 silent", "equal proven: 1 agrees 2 silent"},
		{"joint, with voters in both lists", joint(list(1, 2, 3), list(2, 3, 4)), []said{{1, "abc"}, {2, "abc"}, {3, "abc"}, {4, "abc"}},
			"equal proven: 2 agrees 3 agrees 4 agrees 1 agrees", "equal proven: 2 agrees 3 agrees 4 agrees 1 agrees"},
		{"joint, the same voters", joint(list(1, 2, 3), list(1, 2, 3)), []said{{1, "abc"}, {2, "abX"}, {3, "abc"}},
			"odd proven: 1 agrees 2 differs[2] 3 agrees", "odd proven: 1 agrees 2 differs[2] 3 agrees"},
		{"joint, a majority of one list alone", joint(list(1, 2, 3), list(4, 5, 6)), []said{{1, "abc"}, {2, "abc"}, {3, "abc"}, {4, "abX"}, {5, "abX"}, {6, "abc"}},
			"tied: 4 undecided[2] 5 undecided[2] 6 undecided[2] 1 undecided[2] 2 undecided[2] 3 undecided[2]",
			"tied: 4 undecided[2] 5 undecided[2] 6 undecided[2] 1 undecided[2] 2 undecided[2] 3 undecided[2]"},
		{"joint, a voter that comes to be a learner", with(joint(list(1, 2, 3), list(2, 3)), 1), []said{{1, "Xbc"}, {2, "abc"}, {3, "abc"}},
			"odd proven: 2 agrees 3 agrees 1 differs[0]", "odd proven: 2 agrees 3 agrees 1 differs[0]"},
		{"a second report counts for nothing", voters(3), []said{{1, "abc"}, {2, "abc"}, {2, "abX"}},
			"open: 1 agrees 2 agrees 3 silent", "equal proven: 1 agrees 2 agrees 3 silent"},
		{"one of no member counts for nothing", voters(2), []said{{1, "abc"}, {7, "abX"}},
			"open: 1 agrees 2 silent", "equal: 1 agrees 2 silent"},
		{"a replay that nobody asked for counts for nothing", voters(2), []said{{1, "abc"}, {1, "replayed abX"}},
			"open: 1 agrees 2 silent", "equal: 1 agrees 2 silent"},
		{"a report without a part", voters(3), []said{{1, "abc"}, {2, "abc"}, {3, "___"}},
			"odd proven: 1 agrees 2 agrees 3 differs[0,1,2]", "odd proven: 1 agrees 2 agrees 3 differs[0,1,2]"},
		{"two reports without a part", voters(3), []said{{1, "abc"}, {2, "___"}, {3, "___"}},
			"odd proven: 1 differs[0,1,2] 2 agrees 3 agrees", "odd proven: 1 differs[0,1,2] 2 agrees 3 agrees"},
	} {
		r := NewRound(at, c.members)
		for _, s := range c.reports {
			r.Take(report(s.from, s.what))
		}
		if got := tell(r.Result(false)); got != c.waits {
			t.Errorf("%s: while it waits: got %s, want %s", c.name, got, c.waits)
		}
		if got := tell(r.Result(true)); got != c.final {
			t.Errorf("%s: in the end: got %s, want %s", c.name, got, c.final)
		}
		for _, f := range r.Result(true).Replicas {
			if f.Node != raft.NodeID(f.Replica)+10 {
				t.Errorf("%s: replica %d is on node %d", c.name, f.Replica, f.Node)
			}
		}
	}
}

// The log decides a tie if at least two replicas replay it and all arrive at the same state. What
// they hold in memory does not count then.
func TestReplayedTie(t *testing.T) {
	for _, c := range []struct {
		name     string
		members  raft.Membership
		reports  []said
		replays  []said
		complete bool
		final    string
	}{
		{"both come to what one has", voters(2), []said{{1, "abc"}, {2, "abX"}}, []said{{1, "replayed abc"}, {2, "replayed abc"}}, true,
			"odd proven: 1 agrees 2 differs[2]"},
		{"both come to what nobody has", voters(2), []said{{1, "abY"}, {2, "abX"}}, []said{{1, "replayed abc"}, {2, "replayed abc"}}, true,
			"odd proven: 1 differs[2] 2 differs[2]"},
		{"each comes to what it has", voters(2), []said{{1, "abc"}, {2, "abX"}}, []said{{1, "replayed abc"}, {2, "replayed abX"}}, true,
			"split: 1 undecided[2] 2 undecided[2]"},
		{"one alone replays", voters(2), []said{{1, "abc"}, {2, "abX"}}, []said{{1, "replayed abc"}}, false,
			"split: 1 undecided[2] 2 undecided[2]"},
		{"one can't", voters(2), []said{{1, "abc"}, {2, "abX"}}, []said{{1, "replayed abc"}, {2, "replayed ___"}}, true,
			"split: 1 undecided[2] 2 undecided[2]"},
		{"who was silent need not replay", voters(3), []said{{1, "abc"}, {2, "abX"}}, []said{{1, "replayed abc"}, {2, "replayed abc"}}, true,
			"odd proven: 1 agrees 2 differs[2] 3 silent"},
		{"nor who is fenced", voters(3), []said{{1, "abc"}, {2, "abX"}, {3, "fenced"}}, []said{{1, "replayed abc"}, {2, "replayed abc"}}, true,
			"odd proven: 1 agrees 2 differs[2] 3 fenced"},
		{"nor a learner, which is told all the same", with(voters(2), 3), []said{{1, "abc"}, {2, "abX"}, {3, "abX"}}, []said{{1, "replayed abc"}, {2, "replayed abc"}}, true,
			"odd proven: 1 agrees 2 differs[2] 3 differs[2]"},
		{"nothing comes of it, and a learner has what one has", with(voters(2), 3), []said{{1, "abc"}, {2, "abX"}, {3, "abc"}}, []said{{1, "replayed abc"}, {2, "replayed abX"}}, true,
			"odd: 1 agrees 2 differs[2] 3 agrees"},
		{"nothing comes of it, and each has a learner with it", with(voters(2), 3, 4), []said{{1, "abc"}, {2, "abX"}, {3, "abc"}, {4, "abX"}}, []said{{1, "replayed abc"}, {2, "replayed abX"}}, true,
			"split: 1 undecided[2] 2 undecided[2] 3 undecided[2] 4 undecided[2]"},
		{"nothing comes of it, and a learner has a third", with(voters(2), 3), []said{{1, "abc"}, {2, "abX"}, {3, "abY"}}, []said{{1, "replayed abc"}, {2, "replayed abX"}}, true,
			"split: 1 undecided[2] 2 undecided[2] 3 undecided[2]"},
		{"it replays twice", voters(2), []said{{1, "abc"}, {2, "abX"}}, []said{{1, "replayed abc"}, {1, "replayed abX"}, {2, "replayed abc"}}, true,
			"odd proven: 1 agrees 2 differs[2]"},
		{"a report that comes late makes a majority", voters(3), []said{{1, "abc"}, {2, "abX"}}, []said{{3, "abX"}}, true,
			"odd proven: 1 differs[2] 2 agrees 3 agrees"},
	} {
		r := NewRound(at, c.members)
		for _, s := range c.reports {
			r.Take(report(s.from, s.what))
		}
		if got := r.Result(true); got.Outcome != Tied {
			t.Fatalf("%s: before: %s", c.name, tell(got))
		}
		r.Replay()
		if r.Complete() {
			t.Errorf("%s: it waits for nobody", c.name)
		}
		for _, s := range c.replays {
			r.Take(report(s.from, s.what))
		}
		if r.Complete() != c.complete {
			t.Errorf("%s: complete %t, want %t", c.name, !c.complete, c.complete)
		}
		if got := tell(r.Result(true)); got != c.final {
			t.Errorf("%s: got %s, want %s", c.name, got, c.final)
		}
	}
}

// A report that is not of the round is refused and changes nothing.
func TestRefusedReports(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*wire.AuditReport)
		takes  bool
	}{
		{"of the round", func(*wire.AuditReport) {}, true},
		{"of an earlier entry", func(r *wire.AuditReport) { r.At.Index-- }, false},
		{"of a later entry", func(r *wire.AuditReport) { r.At.Index++ }, false},
		{"of an entry that was truncated", func(r *wire.AuditReport) { r.At.Term-- }, false},
		{"of no member", func(r *wire.AuditReport) { r.From = 9 }, false},
		{"of one that has reported", func(r *wire.AuditReport) { r.From = 1 }, false},
		{"of a replay", func(r *wire.AuditReport) { r.Replayed = true }, false},
	} {
		r := NewRound(at, voters(3))
		r.Take(report(1, "abc"))
		before := tell(r.Result(true))
		o := report(2, "abX")
		c.change(o)
		if took := r.Take(o); took != c.takes {
			t.Errorf("%s: taken %t, want %t", c.name, took, c.takes)
		}
		if after := tell(r.Result(true)); (after != before) != c.takes {
			t.Errorf("%s: before %s, after %s", c.name, before, after)
		}
	}
}

// chance draws a membership: of one to five voters, sometimes joint, with up to two learners.
func chance(rnd *rand.Rand) raft.Membership {
	some := func() (ids []raft.ReplicaID) {
		for _, id := range rnd.Perm(6)[:1+rnd.IntN(5)] {
			ids = append(ids, raft.ReplicaID(id)+1)
		}
		slices.Sort(ids)
		return ids
	}
	m := raft.Membership{Voters: list(some()...), Next: 10}
	if rnd.IntN(3) == 0 {
		m.Outgoing = list(some()...)
	}
	for id := range raft.ReplicaID(rnd.IntN(3)) {
		m.Learners = append(m.Learners, member(id+7, raft.GoalCopy))
	}
	return m
}

// In any membership the order of reports makes no difference. A replica that holds what a majority
// holds is never told that it differs, and each replica of a wrong minority is found, with exactly
// the parts that are wrong.
func TestResultsAtRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(17, 7))
	odd, tied, joints := 0, 0, 0
	for range 10_000 {
		m := chance(rnd)
		if err := m.Check(); err != nil {
			t.Fatal(err)
		}
		if len(m.Outgoing) > 0 {
			joints++
		}
		ids := m.Replicas()
		state := map[raft.ReplicaID]string{}
		all := true // report, and none is fenced
		var reports []*wire.AuditReport
		for _, id := range ids {
			b := []byte("abcd")
			if rnd.IntN(3) == 0 {
				for range 1 + rnd.IntN(2) {
					b[rnd.IntN(len(b))] = "XY_"[rnd.IntN(3)]
				}
			}
			switch state[id] = string(b); rnd.IntN(12) {
			case 0:
				state[id], all = "", false
				continue
			case 1:
				state[id], all = "fenced", false
			}
			reports = append(reports, report(id, state[id]))
		}
		var results []Result
		for range 3 {
			r := NewRound(at, m)
			rnd.Shuffle(len(reports), func(i, j int) { reports[i], reports[j] = reports[j], reports[i] })
			for i, o := range reports {
				if !r.Take(o) {
					t.Fatalf("%+v: report %+v is refused", m, o)
				}
				now := r.Result(true)
				for _, f := range now.Replicas {
					if proven := now.Proven && f.State == Agrees; r.Proven(f.Replica) != proven {
						t.Fatalf("%+v: replica %d is proven right: %t, and %s", m, f.Replica, !proven, tell(now))
					}
				}
				if early := r.Result(false); (early.Outcome == Open) != (i+1 < len(ids)) {
					t.Fatalf("%+v: after %d of %d reports: %s", m, i+1, len(ids), tell(early))
				}
			}
			results = append(results, r.Result(true))
		}
		for _, r := range results[1:] {
			if tell(r) != tell(results[0]) {
				t.Fatalf("%+v: in one order %s, in another %s", m, tell(results[0]), tell(r))
			}
		}
		got := results[0]
		if len(got.Replicas) != len(ids) {
			t.Fatalf("%+v: %d of %d replicas are found: %s", m, len(got.Replicas), len(ids), tell(got))
		}
		// What is right, counted slowly.
		has := func(voters []raft.Member, what string) int {
			return len(slices.DeleteFunc(slices.Clone(voters), func(v raft.Member) bool { return state[v.Replica] != what }))
		}
		right := ""
		for _, what := range state {
			if what != "" && what != "fenced" && 2*has(m.Voters, what) > len(m.Voters) && (len(m.Outgoing) == 0 || 2*has(m.Outgoing, what) > len(m.Outgoing)) {
				right = what
			}
		}
		if got.Proven != (right != "") {
			t.Fatalf("%+v, %v: right is %q, and: %s", m, state, right, tell(got))
		}
		var sources []raft.NodeID
		for _, f := range got.Replicas {
			want := Undecided
			switch state[f.Replica] {
			case "":
				want = Silent
			case "fenced":
				want = Fenced
			case right:
				want = Agrees
			default:
				if right != "" {
					want = Differs
				} else if got.Outcome == Equal {
					want = Agrees
				}
			}
			if f.State != want {
				t.Fatalf("%+v, %v: replica %d is %s, want %s", m, state, f.Replica, f.State, want)
			}
			if f.State == Agrees {
				sources = append(sources, f.Node)
			}
			var parts []uint32
			for part := range uint32(4) {
				if f.State == Differs && state[f.Replica][part] != right[part] {
					parts = append(parts, part)
				}
			}
			if f.State == Differs && !slices.Equal(f.Parts, parts) {
				t.Fatalf("%v: replica %d differs in %v, want %v", state, f.Replica, f.Parts, parts)
			}
		}
		if !slices.Equal(got.Sources(), sources) {
			t.Fatalf("sources %v, want %v", got.Sources(), sources)
		}
		if got.Outcome == Odd {
			odd++
		}
		if got.Outcome == Tied {
			tied++
		}
		if got.Outcome == Tied && all && len(m.Outgoing) == 0 && right != "" {
			t.Fatalf("%v: %s", state, tell(got))
		}
	}
	if odd < 500 || tied < 500 || joints < 500 {
		t.Errorf("%d rounds were odd, %d tied, %d joint; the test shows little", odd, tied, joints)
	}
}

// The parts in which two states differ are those that differ, whichever has them.
func TestDiffering(t *testing.T) {
	rnd := rand.New(rand.NewPCG(17, 8))
	for range 5000 {
		var sides [2][]byte
		for i := range sides {
			sides[i] = make([]byte, rnd.IntN(8))
			for j := range sides[i] {
				sides[i][j] = "ab_"[rnd.IntN(3)]
			}
		}
		at := func(side []byte, part int) byte {
			if part < len(side) {
				return side[part]
			}
			return '_'
		}
		var want []uint32
		for part := range 8 {
			if at(sides[0], part) != at(sides[1], part) {
				want = append(want, uint32(part))
			}
		}
		for _, i := range []int{0, 1} {
			if got := Differing(holds(string(sides[i])), holds(string(sides[1-i]))); !slices.Equal(got, want) {
				t.Fatalf("%s and %s: got %v, want %v", sides[i], sides[1-i], got, want)
			}
		}
	}
}
