package mover

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/plan"
)

// world is a cluster around cores: groups are memberships that their leaders change by
// the rules of raft, group 0's log is a table that takes commands one after the other.
// Nodes die and come back, actions and answers are lost, late, or come twice, and the
// lead of group 0 goes elsewhere between any two actions. What must hold of groups is
// counted here, and nothing of that is asked of the mover or the planner.
type world struct {
	course
	rnd    *rand.Rand
	table  *shardmap.Table
	nodes  map[raft.NodeID]*testNode
	groups map[raft.GroupID]*testGroup
	lead   raft.NodeID   // of group 0; 0: nobody
	calm   bool          // nothing is lost, late or twice, and nobody dies
	shaken time.Duration // when a node died or came back last
	// The mover is called as its owner calls it: when there is news, or at the time that it
	// named itself.
	news   bool
	next   time.Duration
	made   map[shardmap.JobKind]int
	acts   int
	adds   int // replicas that were added to data groups, and those of them that never voted
	wasted int
	addsOn map[raft.NodeID]int // adds by node
	asked  func(a *Action)     // called, if set, with each action of a core
}

// missedAfter is when the owner hears that a node is silent: an election timeout of whole
// ticks after the tick in which it was heard of last, and so less than that time.
const missedAfter = 19 * 50 * time.Millisecond

type testNode struct {
	id     raft.NodeID
	core   *Core
	up     bool
	dead   bool // for good
	downAt time.Duration
	upAt   time.Duration // it comes back then; 0: it does not
	lost   map[raft.GroupID]raft.ReplicaID
	missed bool // the owner was told that it is silent
	unfit  bool // its log lost what nobody can know: no replica can be made there
	doubts bool // those of its replicas that don't lead wait for the word of others
}

type testGroup struct {
	id      raft.GroupID
	members raft.Membership
	at      uint64 // of the membership
	joint   bool
	leaveAt time.Duration // the joint membership
	term    uint64
	leader  raft.NodeID
	electAt time.Duration
	full    map[raft.ReplicaID]time.Duration // when a learner has caught up
}

func newWorld(t *testing.T, seed uint64, nodes, groups int) *world {
	w := &world{course: course{t: t}, rnd: rand.New(rand.NewPCG(seed, 7)), nodes: map[raft.NodeID]*testNode{}, groups: map[raft.GroupID]*testGroup{}, addsOn: map[raft.NodeID]int{}, made: map[shardmap.JobKind]int{}}
	w.pass, w.stand = w.step, w.standing
	f := shardmap.Found{Cluster: "w", ClusterID: 1, Level: Level, ValueMax: 1 << 20, Groups: groups}
	for i := range nodes {
		f.Nodes = append(f.Nodes, w.addNode(raft.NodeID(i+1)))
	}
	payload, err := shardmap.AppendFound(nil, &f)
	if err != nil {
		t.Fatal(err)
	}
	m := shardmap.NewTableMachine()
	if _, err := m.Apply(raft.LogID{Term: 1, Index: 1}, payload); err != nil {
		t.Fatal(err)
	}
	w.table = m.Table()
	w.found(&w.table.Meta)
	for i := range w.table.Groups {
		w.found(&w.table.Groups[i])
	}
	return w
}

func (w *world) addNode(id raft.NodeID) shardmap.TableNode {
	w.nodes[id] = &testNode{id: id, core: New(id), up: true, lost: map[raft.GroupID]raft.ReplicaID{}}
	return shardmap.TableNode{ID: id, Name: fmt.Sprintf("n%d", id), Addr: fmt.Sprintf("n%d:1", id), Role: shardmap.NodeServer, Level: Level}
}

func (w *world) found(row *shardmap.TableGroup) {
	g := &testGroup{id: row.ID, at: 1, full: map[raft.ReplicaID]time.Duration{}}
	for _, r := range row.Replicas {
		m := raft.Member{Replica: r.Replica, Node: r.Node, Goal: raft.GoalVoter}
		if r.Role == shardmap.ReplicaVoter {
			g.members.Voters = append(g.members.Voters, m)
		} else {
			m.Goal = raft.GoalCopy
			g.members.Learners = append(g.members.Learners, m)
		}
		g.members.Next = max(g.members.Next, r.Replica+1)
	}
	w.groups[row.ID] = g
}

func (w *world) counts(m raft.Member, g raft.GroupID) bool {
	n := w.nodes[m.Node]
	return n != nil && n.up && n.lost[g] != m.Replica
}

func (w *world) alive(g raft.GroupID, list []raft.Member) bool {
	k := 0
	for _, m := range list {
		if w.counts(m, g) {
			k++
		}
	}
	return 2*k > len(list)
}

// tick lets groups do what they do by themselves.
func (w *world) tick() {
	for _, id := range inOrder(w.groups) {
		g := w.groups[id]
		lead := slices.IndexFunc(g.members.Voters, func(m raft.Member) bool { return m.Node == g.leader && w.counts(m, id) })
		majority := w.alive(id, g.members.Voters) && (!g.joint || w.alive(id, g.members.Outgoing))
		if g.leader != 0 && (lead < 0 || !majority) {
			g.leader, g.electAt = 0, w.now+time.Duration(w.rnd.IntN(1500))*time.Millisecond
		}
		if !majority {
			continue
		}
		if g.leader == 0 && w.now >= g.electAt {
			var able []raft.Member
			for _, m := range g.members.Voters {
				if w.counts(m, id) {
					able = append(able, m)
				}
			}
			g.leader = able[w.rnd.IntN(len(able))].Node
			g.term++
		}
		if row, ok := w.table.Group(id); ok && g.leader != 0 && g.leader != row.Preferred && w.rnd.IntN(40) == 0 {
			for _, m := range g.members.Voters {
				if m.Node == row.Preferred && w.counts(m, id) {
					g.leader = m.Node
					g.term++
				}
			}
		}
		if g.joint && g.leader != 0 && w.now >= g.leaveAt {
			g.joint, g.members.Outgoing = false, nil
			g.at++
		}
	}
	for _, id := range inOrder(w.nodes) {
		if n := w.nodes[id]; n.upAt > 0 && w.now >= n.upAt && !n.dead {
			n.up, n.upAt, w.shaken = true, 0, w.now
			n.core = New(id)
			w.note("n%d is back", id)
		}
		if n := w.nodes[id]; n.missed != (!n.up && w.now-n.downAt >= missedAfter) {
			n.missed, w.news = !n.missed, true
		}
	}
	if lead := w.groups[0].leader; lead != w.lead {
		if n := w.nodes[w.lead]; n != nil && n.up {
			n.core.Lead(w.now, false)
		}
		w.lead = lead
		w.note("n%d leads group 0", lead)
		if lead != 0 {
			w.nodes[lead].core.Table(w.now, w.table)
			w.nodes[lead].core.Lead(w.now, true)
			w.news = true
		}
	}
}

// apply has group 0's log take a command.
func (w *world) apply(payload []byte) error {
	next, err := w.table.Try(payload)
	if err != nil {
		w.note("refused: %v", err)
		return err
	}
	if len(next.Jobs) > len(w.table.Jobs) {
		j := next.Jobs[len(next.Jobs)-1]
		w.made[j.Kind]++
		w.note("job %d: %s of n%d, group %d", j.ID, j.Kind, j.Node, j.Group)
	}
	for _, j := range next.Jobs {
		for _, old := range w.table.Jobs {
			if j.ID == old.ID && j.State != old.State {
				w.note("job %d (%s of n%d): %v %s", j.ID, j.Kind, j.Node, j.State, j.Why)
			}
		}
	}
	for _, g := range w.groups {
		was, _ := w.table.Group(g.id)
		if row, _ := next.Group(g.id); row.Seen != was.Seen && row.Seen.Index == g.at && g.joint {
			w.fail("group %d: the table has its membership at %d, which is joint", g.id, g.at)
		}
	}
	w.table = next
	if w.lead != 0 {
		w.nodes[w.lead].core.Table(w.now, next)
		w.news = true
	}
	return nil
}

// carry does one action of a core, as badly as the world allows.
func (w *world) carry(by *testNode, a Action) {
	w.acts++
	if w.asked != nil {
		w.asked(&a)
	}
	core := by.core
	end := func(err error) {
		if by.core == core && by.up {
			core.Ended(w.now, a.Number, err)
			w.news = true
		}
	}
	fate := 7
	if !w.calm {
		fate = w.rnd.IntN(8)
	}
	do := func() {
		switch a.Kind {
		case Propose:
			var err error
			if w.lead != by.id {
				err = raft.ErrNotLeader
			} else {
				err = w.apply(a.Payload)
			}
			end(err)
		case Ask:
			n := w.nodes[a.Node]
			if n == nil || !n.up {
				end(raft.ErrNotLeader)
				return
			}
			r := w.report(n)
			back := func() {
				if by.core == core && by.up {
					core.Report(w.now, a.Number, r)
				}
				end(nil)
			}
			if fate == 2 {
				w.after(time.Duration(w.rnd.IntN(5000))*time.Millisecond, back)
				return
			}
			back()
		case Change:
			end(w.change(&a))
		}
	}
	switch fate {
	case 0: // it never arrives
	case 1: // it is done, and the answer is lost
		real := end
		end = func(error) {}
		do()
		end = real
	case 3: // late
		w.after(time.Duration(w.rnd.IntN(8000))*time.Millisecond, do)
	case 4: // twice
		do()
		do()
	default:
		w.after(time.Duration(1+w.rnd.IntN(5))*time.Millisecond, do)
	}
}

func (w *world) report(n *testNode) *Report {
	r := new(Report)
	if n.unfit {
		r.Bad = append(r.Bad, wire.BadReplica{State: plan.Lost})
	}
	for _, id := range inOrder(w.groups) {
		g := w.groups[id]
		for _, m := range slices.Concat(g.members.Voters, g.members.Learners) {
			if m.Node == n.id && n.lost[id] == m.Replica {
				r.Bad = append(r.Bad, wire.BadReplica{Group: id, Incarnation: w.incarnation(id), Replica: m.Replica, State: plan.Lost})
			}
			if m.Node == n.id && n.doubts && g.leader != n.id {
				r.Bad = append(r.Bad, wire.BadReplica{Group: id, Incarnation: w.incarnation(id), Replica: m.Replica, State: plan.Doubtful})
			}
		}
		if g.leader != n.id {
			continue
		}
		told := wire.ReportedGroup{Group: id, Incarnation: w.incarnation(id), Term: g.term, At: raft.LogID{Term: g.term, Index: g.at}, Settled: !g.joint, Bytes: 1000, Membership: g.members.Append(nil)}
		for _, m := range slices.Concat(g.members.Voters, g.members.Learners) {
			at, learner := g.full[m.Replica]
			told.Progress = append(told.Progress, wire.ReportedReplica{Replica: m.Replica, Active: w.counts(m, id), CaughtUp: w.counts(m, id) && (!learner || w.now >= at)})
		}
		r.Groups = append(r.Groups, told)
	}
	return r
}

func (w *world) incarnation(id raft.GroupID) raft.Incarnation {
	row, _ := w.table.Group(id)
	return row.Incarnation
}

// change makes a change of a membership as a leader does.
func (w *world) change(a *Action) error {
	g := w.groups[a.Group]
	c := &a.Change
	switch {
	case g.leader != a.Node || g.leader == 0:
		return raft.ErrNotLeader
	case g.joint:
		return raft.ErrChanging
	case c.After != g.at && !bug("change without After"):
		return raft.ErrStale
	}
	old := g.members
	next := raft.Membership{Voters: slices.Clone(old.Voters), Learners: slices.Clone(old.Learners), Next: old.Next}
	take := func(list *[]raft.Member, id raft.ReplicaID) (raft.Member, bool) {
		i := slices.IndexFunc(*list, func(m raft.Member) bool { return m.Replica == id })
		if i < 0 {
			return raft.Member{}, false
		}
		m := (*list)[i]
		*list = slices.Delete(*list, i, i+1)
		return m, true
	}
	for _, id := range c.Promote {
		m, ok := take(&next.Learners, id)
		if at := g.full[id]; ok && (w.now < at || !w.counts(m, a.Group)) {
			return raft.ErrLags
		}
		if !ok {
			return raft.ErrChange
		}
		m.Goal = raft.GoalVoter
		next.Voters = append(next.Voters, m)
	}
	for _, id := range c.Demote {
		m, ok := take(&next.Voters, id)
		if !ok {
			return raft.ErrChange
		}
		m.Goal = raft.GoalCopy
		next.Learners = append(next.Learners, m)
	}
	for _, id := range c.Remove {
		if _, ok := take(&next.Voters, id); !ok {
			if _, ok := take(&next.Learners, id); !ok {
				return raft.ErrChange
			}
			if a.Group != 0 {
				w.wasted++
			}
		}
	}
	for _, n := range c.Add {
		if slices.ContainsFunc(slices.Concat(old.Voters, old.Learners), func(m raft.Member) bool { return m.Node == n.Node }) {
			w.fail("group %d: %+v adds a second replica on n%d: %+v", a.Group, c, n.Node, old)
		}
		next.Learners = append(next.Learners, raft.Member{Replica: next.Next, Node: n.Node, Goal: n.Goal})
		if a.Group != 0 {
			w.adds++
			w.addsOn[n.Node]++
		}
		g.full[next.Next] = w.now + time.Duration(w.rnd.IntN(3000))*time.Millisecond
		next.Next++
	}
	if !w.alive(a.Group, next.Voters) {
		if w.now-w.shaken > 2*silentAfter {
			w.fail("group %d: %+v would stop the group: %+v", a.Group, c, old)
		}
		return raft.ErrNoMajority
	}
	if err := next.Check(); err != nil {
		slices.SortFunc(next.Voters, byReplica)
		slices.SortFunc(next.Learners, byReplica)
		if err := next.Check(); err != nil {
			w.fail("group %d: %+v: %v", a.Group, c, err)
		}
	}
	voters := !slices.Equal(next.Voters, old.Voters)
	if voters {
		next.Outgoing = old.Voters
		g.joint, g.leaveAt = true, w.now+time.Duration(w.rnd.IntN(400))*time.Millisecond
	}
	g.members = next
	g.at += uint64(1 + w.rnd.IntN(5))
	w.note("group %d at %d: add %v promote %v demote %v remove %v: voters %v learners %v", a.Group, g.at, c.Add, c.Promote, c.Demote, c.Remove, places(next.Voters), places(next.Learners))
	if voters {
		w.counted(g, &old)
	}
	return nil
}

func byReplica(a, b raft.Member) int { return int(a.Replica) - int(b.Replica) }

func places(list []raft.Member) (s []string) {
	for _, m := range list {
		s = append(s, fmt.Sprintf("%d@n%d", m.Replica, m.Node))
	}
	return s
}

// counted checks that a change does not make a group weaker than it was, unless a person
// said so: more of its voters must live than could before, or there are as many.
func (w *world) counted(g *testGroup, old *raft.Membership) {
	spare := func(list []raft.Member) int {
		live := 0
		for _, m := range list {
			if w.counts(m, g.id) {
				live++
			}
		}
		return live - (len(list)/2 + 1)
	}
	balances := slices.ContainsFunc(w.table.Jobs, func(j shardmap.Job) bool { return j.Kind == shardmap.JobBalance && !j.State.Finished() })
	for _, m := range old.Voters {
		n, ok := w.table.Node(m.Node)
		stays := slices.ContainsFunc(g.members.Voters, func(o raft.Member) bool { return o.Replica == m.Replica })
		replaced := slices.ContainsFunc(w.table.Jobs, func(j shardmap.Job) bool {
			return j.Kind == shardmap.JobReplace && !j.State.Finished() && j.Node == m.Node
		})
		if ok && !stays && replaced && !balances && !n.Draining && w.counts(m, g.id) && w.now-w.shaken > 2*changeMax {
			w.fail("group %d: replica %d is taken from n%d, which is back", g.id, m.Replica, m.Node)
		}
	}
	ordered := slices.ContainsFunc(w.table.Jobs, func(j shardmap.Job) bool { return j.Group == g.id && j.Group != 0 })
	renews := slices.ContainsFunc(old.Voters, func(m raft.Member) bool { return !w.counts(m, g.id) && w.nodes[m.Node] != nil && w.nodes[m.Node].up })
	if spare(g.members.Voters) < spare(old.Voters) && w.now-w.shaken > 2*silentAfter && !ordered && !renews {
		w.fail("group %d could lose %d voters, and can lose %d: %v", g.id, spare(old.Voters), spare(g.members.Voters), places(g.members.Voters))
	}
}

// step lets a little time pass.
func (w *world) step() {
	w.now += 20 * time.Millisecond
	w.tick()
	due := slices.DeleteFunc(slices.Clone(w.later), func(e event) bool { return e.at > w.now })
	w.later = slices.DeleteFunc(w.later, func(e event) bool { return e.at <= w.now })
	for _, e := range due {
		e.do()
	}
	if w.lead == 0 {
		return
	}
	n := w.nodes[w.lead]
	if !w.news && w.now < w.next {
		return
	}
	w.news = false
	actions := w.turn(n)
	for _, a := range actions {
		if w.lead != n.id || !n.up {
			break // killed between two actions
		}
		w.carry(n, a)
		if !w.calm && w.rnd.IntN(15) == 0 {
			w.newLeader()
		}
	}
}

func (w *world) turn(n *testNode) []Action {
	for i := range w.table.Nodes {
		id := w.table.Nodes[i].ID
		if id == n.id {
			continue
		}
		o := w.nodes[id]
		ago := time.Duration(0)
		if !o.up {
			ago = w.now - o.downAt
		}
		n.core.Heard(w.now, id, ago, o.up || o.downAt > 0)
	}
	actions, next := n.core.Turn(w.now)
	w.next = next
	return actions
}

// newLeader has another node lead group 0, with the old one killed or not.
func (w *world) newLeader() {
	g := w.groups[0]
	n := w.nodes[g.leader]
	if n == nil {
		return
	}
	w.note("n%d leads group 0 no more", n.id)
	if w.rnd.IntN(2) == 0 {
		n.core = New(n.id) // as if started anew at once
	} else {
		n.core.Lead(w.now, false)
	}
	g.leader, w.lead, g.electAt = 0, 0, w.now
}

// die stops a node, if all groups keep a majority.
func (w *world) die(id raft.NodeID, forGood bool) bool {
	n := w.nodes[id]
	if !n.up {
		return false
	}
	n.up = false
	for _, g := range w.groups {
		if !w.alive(g.id, g.members.Voters) || g.joint {
			n.up = true
			return false
		}
	}
	n.downAt, n.dead, w.shaken = w.now, forGood, w.now
	if !forGood {
		n.upAt = w.now + time.Duration(w.rnd.IntN(60_000))*time.Millisecond
	}
	w.note("n%d dies, for good %v", id, forGood)
	return true
}

// standing notes how jobs and groups stand.
func (w *world) standing() {
	for _, j := range w.table.Jobs {
		w.note("job %+v", j)
	}
	for _, id := range inOrder(w.groups) {
		g := w.groups[id]
		row, _ := w.table.Group(id)
		w.note("group %d: at %d leader n%d voters %v learners %v; row seen %v %v preferred n%d", id, g.at, g.leader, places(g.members.Voters), places(g.members.Learners), row.Seen, row.Replicas, row.Preferred)
	}
}

// idle reports whether nothing is left to do: all jobs have ended, and the core wants to
// be called far in the future only.
func (w *world) idle() bool {
	if w.lead == 0 || len(w.later) > 0 {
		return false
	}
	for _, j := range w.table.Jobs {
		if j.State == shardmap.JobRunning {
			return false
		}
	}
	c := w.nodes[w.lead].core
	return c.Idle(w.now)
}

// asSet checks that all groups are as they are set to be.
func (w *world) asSet() {
	w.t.Helper()
	servers := 0
	for i := range w.table.Nodes {
		n := &w.table.Nodes[i]
		if n.Role == shardmap.NodeServer && !n.Draining && w.nodes[n.ID].up {
			servers++
		}
	}
	for _, id := range inOrder(w.groups) {
		g := w.groups[id]
		row, _ := w.table.Group(id)
		want := min(w.table.Replicas(), servers)
		if id == 0 {
			want = min(w.table.MetaVoters(), servers)
		}
		if want%2 == 0 && len(g.members.Voters) < want {
			want--
		}
		if len(g.members.Voters) < want && !row.ByHand {
			w.fail("group %d has %d voters, want %d", id, len(g.members.Voters), want)
		}
		if !slices.Equal(recorded(&g.members), row.Replicas) {
			w.fail("group %d: the table has %v, its log %v", id, row.Replicas, recorded(&g.members))
		}
		for _, m := range g.members.Voters {
			n, ok := w.table.Node(m.Node)
			switch {
			case !ok:
				w.fail("group %d: n%d has left and votes", id, m.Node)
			case servers >= want && (n.Draining || n.Role != shardmap.NodeServer || !w.counts(m, id)) && !row.ByHand:
				w.fail("group %d: replica %d votes on n%d, which should not: %+v", id, m.Replica, m.Node, n)
			}
		}
		for _, m := range g.members.Learners {
			n, ok := w.table.Node(m.Node)
			if !ok || id != 0 && n.Role == shardmap.NodeServer {
				w.fail("group %d: a learner on n%d is left", id, m.Node)
			}
		}
		if id == 0 {
			for i := range w.table.Nodes {
				if !holds(&g.members, w.table.Nodes[i].ID) {
					w.fail("n%d has no copy of the table", w.table.Nodes[i].ID)
				}
			}
		}
	}
}

// join has a new node taken into the table, which runs from then on.
func (w *world) join(id raft.NodeID) {
	row := w.addNode(id)
	if err := w.apply(append1(shardmap.AppendJoin(nil, &shardmap.Join{Node: row}))); err != nil {
		w.fail("n%d: %v", id, err)
	}
	w.note("n%d joins", id)
}

// loseReplica has one replica lose its promises, if its group has a majority without it.
func (w *world) loseReplica() {
	id := raft.GroupID(w.rnd.IntN(len(w.groups)))
	g := w.groups[id]
	m := g.members.Voters[w.rnd.IntN(len(g.members.Voters))]
	n := w.nodes[m.Node]
	if !n.up || len(g.members.Voters) < 3 || g.joint || n.lost[id] != 0 {
		return
	}
	n.lost[id] = m.Replica
	if !w.alive(id, g.members.Voters) {
		delete(n.lost, id)
		return
	}
	w.note("group %d: replica %d on n%d loses its promises", id, m.Replica, m.Node)
	n.core, w.shaken = New(n.id), w.now
	n.up, n.downAt, n.upAt = false, w.now, w.now+3*time.Second
}
