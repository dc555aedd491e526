package health

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// world is a cluster around assigners and checkers. Its groups are records that one log
// each changes, while it has a leader. Leaders change, some go on believing that they lead;
// nodes die, lose all they knew and come back, or are cut off from all others and from the
// targets; polls, answers and reports are lost, late, or come twice. Services are set,
// changed, deleted and moved, instances go up and down, flap, hang, or stop to report
// themselves.
//
// What must hold is counted here, by the truth that the world alone knows.
type world struct {
	t       *testing.T
	rnd     *rand.Rand
	now     time.Duration
	nodes   []*node
	groups  []*group
	truth   map[string]*target // by host
	names   []string           // of services, in order
	records map[string]*record
	later   []event
	calm    bool
	log     []string
	version uint64
	planted bool // fail by a panic
	refuses bool // polls of a node that is dead end with errors

	reports, polls, voids, downs, gone, hooks int
	told                                      map[string]uint64 // the newest change that a webhook was told of, by service and instance
}

// broken is why a planted world fails.
type broken string

type node struct {
	id       raft.NodeID
	assigner *Assigner
	checker  *Checker
	programs []string
	up       bool
	upAt     time.Duration
	cut      bool // from all others, and from targets
	healAt   time.Duration
	leads    map[raft.GroupID]uint64 // as it believes
	seen     map[raft.GroupID]uint64 // changes of the records that it has handed in
	news     bool
	nextA    time.Duration
	nextC    time.Duration
	views    map[raft.NodeID]bool // who is alive, as it sees it
	viewAt   time.Duration
	probes   int // under way
	skew     time.Duration
	held     []heldPoll // by its checker, in order
}

type group struct {
	id      raft.GroupID
	term    uint64
	leader  *node // nil: none
	electAt time.Duration
	changes uint64 // of its records
}

type record struct {
	name    string
	group   *group
	sealed  bool // on its way to another group: nobody serves it
	version uint64
	service *registry.Service
}

// target is what an instance really is.
type target struct {
	up, hangs bool
	since     time.Duration // when it has changed last
	wasUp     time.Duration // when it was up last
	wasDown   time.Duration // and down; before the world if never
	always    bool          // it is up all the time
	beatAt    time.Duration // next heartbeat of a ttl instance
}

type event struct {
	at time.Duration
	f  func()
}

// deposedMax is for how long a leader may not notice that it was deposed.
const deposedMax = 8 * time.Second

const longAgo = -time.Hour

func newWorld(t *testing.T, seed uint64, nodes, groups int) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 15)), truth: map[string]*target{}, records: map[string]*record{}, told: map[string]uint64{}}
	for i := range nodes {
		n := &node{id: raft.NodeID(i + 1), up: true, skew: time.Duration(w.rnd.IntN(6)-3) * time.Hour}
		for p := range 3 {
			if (i+p)%2 == 0 {
				n.programs = append(n.programs, fmt.Sprintf("program-%d", p))
			}
		}
		w.nodes = append(w.nodes, n)
		w.start(n)
	}
	for i := range groups {
		g := &group{id: raft.GroupID(i + 1)}
		w.groups = append(w.groups, g)
		w.elect(g, w.nodes[w.rnd.IntN(nodes)])
	}
	return w
}

func (w *world) note(format string, a ...any) {
	w.log = append(w.log, fmt.Sprintf("%9.3f ", w.now.Seconds())+fmt.Sprintf(format, a...))
}

func (w *world) fail(format string, a ...any) {
	w.t.Helper()
	if w.planted {
		panic(broken(fmt.Sprintf(format, a...)))
	}
	for _, l := range w.log[max(0, len(w.log)-150):] {
		w.t.Log(l)
	}
	w.t.Fatalf("%9.3f %s", w.now.Seconds(), fmt.Sprintf(format, a...))
}

// start gives a node cores that know nothing.
func (w *world) start(n *node) {
	n.assigner, n.checker = NewAssigner(n.id), NewChecker(n.id, w.rnd.Uint64()|1, n.programs)
	n.leads, n.seen, n.views = map[raft.GroupID]uint64{}, map[raft.GroupID]uint64{}, map[raft.NodeID]bool{n.id: true}
	n.viewAt, n.news, n.probes, n.up, n.cut, n.held = w.now, true, 0, true, false, nil
	n.assigner.Alive(w.now, []raft.NodeID{n.id})
}

// elect makes a node lead a group, in a new term.
func (w *world) elect(g *group, n *node) {
	g.term++
	g.leader = n
	n.leads[g.id] = g.term
	delete(n.seen, g.id)
	n.assigner.Lead(w.now, g.id, 1, g.term)
	n.news = true
	w.note("group %s is led by n%d in term %d", g.id, n.id, g.term)
}

// depose ends the lead of a group. The leader may not notice for a while.
func (w *world) depose(g *group) {
	n := g.leader
	if n == nil {
		return
	}
	g.leader, g.electAt = nil, w.now+time.Duration(100+w.rnd.IntN(1500))*time.Millisecond
	term := g.term
	w.note("group %s loses n%d", g.id, n.id)
	notices := func() {
		if n.up && n.leads[g.id] == term {
			delete(n.leads, g.id)
			n.assigner.Lead(w.now, g.id, 0, 0)
			n.news = true
		}
	}
	if w.rnd.IntN(2) == 0 {
		notices()
		return
	}
	w.after(time.Duration(w.rnd.Int64N(int64(deposedMax))), notices)
}

func (w *world) die(n *node) {
	if !n.up {
		return
	}
	w.note("n%d dies", n.id)
	for _, g := range w.groups {
		if g.leader == n {
			w.depose(g)
		}
	}
	n.up, n.upAt = false, w.now+time.Duration(500+w.rnd.IntN(9000))*time.Millisecond
	w.breaks(n)
}

// isolate cuts a node off from all others and from all targets.
func (w *world) isolate(n *node) {
	if !n.up || n.cut {
		return
	}
	w.note("n%d is cut off", n.id)
	// Some for less time than it takes until others check in its place; none so short that it
	// does not notice itself.
	n.cut, n.healAt = true, w.now+cutOffAfter+100*time.Millisecond+time.Duration(w.rnd.IntN([...]int{1000, 9000}[w.rnd.IntN(2)]))*time.Millisecond
	for _, g := range w.groups {
		if g.leader == n {
			w.depose(g)
		}
	}
}

func (w *world) after(d time.Duration, f func()) { w.later = append(w.later, event{w.now + d, f}) }

// send has something arrive, or not, or twice, or late.
func (w *world) send(from, to *node, f func()) {
	life := to.checker
	arrive := func() {
		if to.up && to.checker == life && (from == to || !from.cut && !to.cut) {
			f()
		}
	}
	quick := func() time.Duration { return time.Duration(1+w.rnd.IntN(30)) * time.Millisecond }
	if from != to && (from.cut || to.cut) {
		// It is sent again until the connection is given up, which may be after the fault.
		if w.calm || w.rnd.IntN(2) == 0 {
			w.after(max(from.healAt, to.healAt)+tickEvery-w.now+quick(), arrive)
		}
		return
	}
	if w.calm || from == to {
		w.after(quick(), arrive)
		return
	}
	switch w.rnd.IntN(20) {
	case 0, 1, 2: // lost
	case 3:
		w.after(time.Duration(w.rnd.IntN(6000))*time.Millisecond, arrive)
	case 4:
		w.after(quick(), arrive)
		w.after(time.Duration(w.rnd.IntN(6000))*time.Millisecond, arrive)
	default:
		w.after(quick(), arrive)
	}
}

func (w *world) node(id raft.NodeID) *node { return w.nodes[id-1] }

const tickEvery = 10 * time.Millisecond

// tick lets ten milliseconds pass.
func (w *world) tick() {
	w.now += tickEvery
	for _, tg := range w.truth {
		if tg.up && !tg.hangs {
			tg.wasUp = w.now
		} else {
			tg.wasDown = w.now
		}
	}
	var due []event
	w.later = slices.DeleteFunc(w.later, func(e event) bool {
		if e.at <= w.now {
			due = append(due, e)
			return true
		}
		return false
	})
	slices.SortStableFunc(due, func(a, b event) int { return int(a.at - b.at) })
	for _, e := range due {
		e.f()
	}
	for _, g := range w.groups {
		if g.leader == nil && w.now >= g.electAt {
			if n := w.nodes[w.rnd.IntN(len(w.nodes))]; n.up && !n.cut {
				w.elect(g, n)
			}
		}
	}
	for _, n := range w.nodes {
		w.live(n)
	}
	w.beat()
}

// live has a node do what it has to.
func (w *world) live(n *node) {
	if !n.up {
		if w.now >= n.upAt {
			w.note("n%d is back", n.id)
			w.start(n)
		}
		return
	}
	if n.cut && w.now >= n.healAt {
		w.note("n%d is no longer cut off", n.id)
		n.cut = false
	}
	w.view(n)
	for _, g := range w.groups {
		// A leader that is deposed, and does not know, sees no more changes.
		if term := n.leads[g.id]; term != 0 && (term == g.term && g.leader == n) && n.seen[g.id] != g.changes+1 {
			n.seen[g.id] = g.changes + 1
			n.assigner.Services(w.now, g.id, term, w.rows(g))
			n.news = true
		}
	}
	if n.news || w.now >= n.nextA || w.now >= n.nextC {
		n.news = false
		var actions []Action
		actions, n.nextA = n.assigner.Turn(w.now, n.wall(w))
		for i := range actions {
			w.act(n, &actions[i])
		}
		var probes []Probe
		var answers []Answer
		probes, answers, n.nextC = n.checker.Turn(w.now)
		for _, p := range probes {
			w.probe(n, p)
		}
		for _, x := range answers {
			i := slices.IndexFunc(n.held, func(p heldPoll) bool { return p.ticket == x.Ticket })
			n.held[i].answer(x.Checks)
			n.held = slices.Delete(n.held, i, i+1)
		}
		bounded(w, n)
	}
}

// wall is the time of day as a node has it: hours apart, for nothing may be decided by it.
func (n *node) wall(w *world) time.Time { return time.UnixMilli(1_764_000_000_000).Add(w.now + n.skew) }

// view has a node see who is alive, about as late as nodes do.
func (w *world) view(n *node) {
	if w.now < n.viewAt {
		return
	}
	n.viewAt = w.now + 500*time.Millisecond
	changed := false
	for _, o := range w.nodes {
		alive := o == n || o.up && !o.cut && !n.cut
		if n.views[o.id] != alive && (w.calm || w.rnd.IntN(3) == 0) {
			n.views[o.id], changed = alive, true
		}
	}
	if changed {
		var ids []raft.NodeID
		for _, o := range w.nodes {
			if n.views[o.id] {
				ids = append(ids, o.id)
			}
		}
		n.assigner.Alive(w.now, ids)
		n.news = true
	}
}

func (w *world) rows(g *group) (rows []Row) {
	for _, name := range w.names {
		if r := w.records[name]; r.group == g && !r.sealed {
			rows = append(rows, Row{Name: name, Slot: shardmap.SlotOf([]byte(name)), Version: r.version, Service: r.service, SlotTime: uint64(w.now / time.Millisecond)})
		}
	}
	return rows
}

// act carries out an action of an assigner.
func (w *world) act(n *node, x *Action) {
	switch x.Kind {
	case ActPoll:
		w.polls++
		w.ask(n, w.node(x.To), x.Number, x.Poll.Append(nil))
	case ActPropose:
		w.propose(n, x)
	case ActHook:
		w.hook(n, x)
	}
}

// propose puts a report into the log of a group, if the node leads it.
func (w *world) propose(n *node, x *Action) {
	a := n.assigner
	report := x.Report
	w.reports++
	var g *group
	for _, o := range w.groups {
		if o.id == x.Group {
			g = o
		}
	}
	w.after(time.Duration(5+w.rnd.IntN(50))*time.Millisecond, func() {
		var err error
		switch r := w.records[report.Name]; {
		case g.leader != n || g.term != x.Term || n.cut || !n.up || n.assigner != a:
			err = errors.New("it does not lead")
		case r == nil || r.group != g || r.sealed:
			err = errors.New("the slot is elsewhere")
		case !w.calm && w.rnd.IntN(10) == 0:
			err = errors.New("lost")
		default:
			w.apply(r, report.Rows)
		}
		if !w.calm {
			switch w.rnd.IntN(10) {
			case 0:
				err = errors.New("it may have been applied")
			case 1:
				return
			}
		}
		if n.assigner == a {
			a.Proposed(w.now, x.Number, err)
			n.news = true
		}
	})
}

// apply changes a record by a report, as the group's state machine does.
func (w *world) apply(r *record, rows []shardmap.ReportRow) {
	next := *r.service
	next.Instances = slices.Clone(next.Instances)
	changed := false
	for i := range rows {
		row := &rows[i]
		at := slices.IndexFunc(next.Instances, func(x registry.Instance) bool { return x.ID == row.Instance })
		if at < 0 {
			continue
		}
		inst := &next.Instances[at]
		if row.Op == shardmap.ReportHooked {
			changed = changed || inst.Hooked != uint64(row.At)
			inst.Hooked = uint64(row.At)
			continue
		}
		if inst.Check != row.Check {
			continue
		}
		switch {
		case row.Op == shardmap.ReportGone:
			if inst.Status == registry.Down && inst.SinceSlot == uint64(row.At) {
				w.goneRight(r, inst)
				next.Instances = slices.Delete(next.Instances, at, at+1)
				changed = true
			}
		default:
			if inst.Status != row.Status {
				w.reported(r, inst, row)
			}
			inst.Changes = slices.Clone(inst.Changes)
			changed = inst.Report(row.Status, row.Reason, row.At, uint64(w.now/time.Millisecond)) || changed
		}
	}
	if changed {
		w.put(r, &next)
	}
}

func (w *world) put(r *record, s *registry.Service) {
	w.version++
	r.version, r.service = w.version, s
	r.group.changes++
}

func settings(kv ...string) (s []registry.Setting) {
	for i := 0; i < len(kv); i += 2 {
		s = append(s, registry.Setting{Key: kv[i], Value: kv[i+1]})
	}
	slices.SortFunc(s, func(a, b registry.Setting) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
	return s
}

// set sets a service anew, with some instances.
func (w *world) set(name, typ string, intervalMS, instances int, of ...string) *record {
	s := &registry.Service{Name: name, Type: typ, Settings: settings(of...)}
	w.version++
	for i := range instances {
		host := fmt.Sprintf("%s-%d", name, i)
		inst := registry.Instance{ID: host, Check: w.version, Settings: settings("host", host, "port", "80", "interval", strconv.Itoa(intervalMS), "script", "program-"+strconv.Itoa(i%3))}
		s.Instances = append(s.Instances, inst)
		if w.truth[host] == nil {
			w.truth[host] = &target{up: true, since: w.now, wasUp: w.now, wasDown: longAgo, always: i%2 == 0, beatAt: w.now}
		}
	}
	r := w.records[name]
	if r == nil {
		r = &record{name: name, group: w.groups[w.rnd.IntN(len(w.groups))]}
		w.records[name] = r
		w.names = append(w.names, name)
		slices.Sort(w.names)
	}
	w.put(r, s)
	return r
}

// change changes how the instances of a service are checked; their status stays.
func (w *world) change(r *record) {
	next := *r.service
	next.Instances = slices.Clone(next.Instances)
	w.version++
	for i := range next.Instances {
		if w.rnd.IntN(2) == 0 {
			next.Instances[i].Check = w.version
		}
	}
	w.put(r, &next)
}

// move gives a service to another group. For a while nobody serves it.
func (w *world) move(r *record) {
	if r.sealed || len(w.groups) < 2 {
		return
	}
	r.sealed = true
	r.group.changes++
	w.after(time.Duration(w.rnd.IntN(800))*time.Millisecond, func() {
		if w.records[r.name] != r {
			return
		}
		to := w.groups[w.rnd.IntN(len(w.groups))]
		w.note("service %s goes from group %s to %s", r.name, r.group.id, to.id)
		r.group.changes++
		r.group, r.sealed = to, false
		to.changes++
	})
}

func (w *world) del(name string) {
	r := w.records[name]
	delete(w.records, name)
	w.names = slices.DeleteFunc(w.names, func(x string) bool { return x == name })
	r.group.changes++
}

// turn makes a target go up or down.
func (w *world) turn(host string, up, hangs bool) {
	tg := w.truth[host]
	if tg.always || tg.up == up && tg.hangs == hangs {
		return
	}
	w.note("target %s: up %t hangs %t", host, up, hangs)
	tg.up, tg.hangs, tg.since = up, hangs, w.now
}

// probe finds the truth, or that the node can reach nothing.
func (w *world) probe(n *node, p Probe) {
	c := n.checker
	n.probes++
	var r Result
	took := time.Duration(1+w.rnd.IntN(20)) * time.Millisecond
	tg := w.truth[p.Instance]
	switch {
	case p.Spec.Type == registry.TypeCustom && !slices.Contains(n.programs, p.Spec.Script):
		r = Result{NotAllowed: true, Reason: "no such program here"}
	case n.cut:
		r = Result{Reason: "no route to host"}
	case tg.hangs:
		r, took = Result{Reason: "no answer in time"}, p.Deadline-w.now
	case tg.up:
		r = Result{Up: true}
	default:
		r = Result{Reason: "connection refused"}
	}
	times := 1
	if !w.calm {
		switch w.rnd.IntN(60) {
		case 0:
			times = 0
		case 1:
			times = 2
		}
	}
	for range times {
		w.after(took, func() {
			if n.checker == c {
				if n.cut && r.Up {
					r = Result{Reason: "the connection broke"}
				}
				c.Done(w.now, p.Number, r)
				n.probes--
				n.news = true
			}
		})
	}
}

// beat has instances report themselves, to whoever leads.
func (w *world) beat() {
	for _, name := range w.names {
		r := w.records[name]
		if r.service.Type != registry.TypeTTL {
			continue
		}
		for i := range r.service.Instances {
			inst := &r.service.Instances[i]
			tg := w.truth[inst.ID]
			if tg.beatAt > w.now {
				continue
			}
			spec, _ := inst.Spec(r.service)
			tg.beatAt = w.now + spec.Interval/4 // again soon, unless it is taken
			if n := r.group.leader; n != nil && n.up && !n.cut && !r.sealed && tg.up && !tg.hangs {
				if err := n.assigner.Heartbeat(w.now, r.group.id, name, inst.ID, true, ""); err == nil {
					tg.beatAt = w.now + spec.Interval/2
				}
				n.news = true
			}
		}
	}
}

// hook is a webhook, which is told.
func (w *world) hook(n *node, x *Action) {
	a, h := n.assigner, x.Hook
	w.after(time.Duration(1+w.rnd.IntN(100))*time.Millisecond, func() {
		var err error
		if !w.calm && w.rnd.IntN(3) == 0 {
			err = errors.New("status 500")
		} else {
			w.hooks++
			key := h.Service.Name + "\x00" + h.Instance
			w.told[key] = max(w.told[key], h.Count)
		}
		if n.assigner == a && (w.calm || w.rnd.IntN(10) > 0) {
			a.Hooked(w.now, x.Number, err)
			n.news = true
		}
	})
}

func (w *world) run(d time.Duration) {
	for end := w.now + d; w.now < end; {
		w.tick()
	}
}

// until lets time pass until something holds, which must be soon enough.
func (w *world) until(what string, most time.Duration, holds func() string) {
	w.t.Helper()
	for end := w.now + most; ; {
		why := holds()
		if why == "" {
			return
		}
		if w.now >= end {
			w.fail("not within %v: %s: %s", most, what, why)
		}
		w.tick()
	}
}
