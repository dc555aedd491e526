package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/hinting"
	"muster/repl/machine"
	"muster/repl/windows"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/plan"
	"muster/shardmap/points"
	lines "muster/shardmap/points/line"
)

// Some clusters have time series. People make a database, and change for how long its policies keep points; windows are made
// ahead, hidden and dropped by the cores of package windows, one on each node, and others with the points that need them; clients
// write points of now, of long ago and of the next window, the same ones again, delete spans of them and ask for them, by tables
// that may be old ones; nodes make block files of the points (seriesfiles.go), and keep some as hints (serieshints.go). A calendar runs much faster than the clocks, so that a
// run of minutes sees windows of an hour come and go. The outcome by the logs is told again in seriesmodel.go, in the
// slowest and most obvious code.

const (
	// seriesEvery is how many runs there are for each with time series.
	seriesEvery = 8
	// seriesPace is how many seconds of the calendar a second of the run has: a window of an hour lasts for 30 s.
	seriesPace = 120
	// seriesFounded is what the calendar shows at the founding, in Unix seconds.
	seriesFounded = 1_700_000_000
	// seriesSkew bounds how far the calendar of a host is off, in seconds of the calendar.
	seriesSkew = 300
	// seriesLook is how often the keeper of each node looks, and a person thinks of doing something.
	seriesLook = 500 * time.Millisecond
	// seriesOrders is how many such thoughts there are for each order.
	seriesOrders = 20
	// seriesOps is how many operations of such a run there are for each about points.
	seriesOps = 3
	// seriesHints is how many writes of points there are for each that is taken as a hint, and hintWait how long that waits at most.
	seriesHints = 4
	hintWait    = 40 * time.Second
	// seriesWithin bounds how long a healed cluster takes to keep its windows, and to take in the hints that are left.
	seriesWithin = 60 * time.Second
	// seriesTags is how many series there are of each measurement.
	seriesTags = 4
	// seriesLines bounds the lines of one write.
	seriesLines = 6
	minute      = int64(time.Minute)
)

// seriesName is the database of a run, which is dropped and made again now and then.
const seriesName = "metrics"

// seriesPolicies are its policies. The first one, the default, has windows of an hour, and the other one of two.
var seriesPolicies = [...]shardmap.PolicySpec{
	{Name: "short", Duration: time.Hour, WindowDuration: time.Hour, Shards: 3},
	{Name: "long", Duration: 4 * time.Hour, WindowDuration: 2 * time.Hour, Shards: 2},
}

// Series is what a run had of time series.
type Series struct {
	Written, Filled, Deleted, Asked int // entries that were acknowledged, and answers
	Made, Hidden, Dropped           int // windows
	Late                            int // points that came for a window whose shard had later ones
	Hinted, Buried, Full            int // hints that nodes kept, that went to dead letters, and that they had no room for
	Refused                         int // writes, since points took too much memory
	Sealed, Merged                  int // heads that became files, and files that were merged with others
	Fetched, Rotted, Files          int // files that came from other nodes, that rotted, and that states had in the end
}

// Add adds what another run had.
func (s *Series) Add(o *Series) {
	s.Written, s.Filled, s.Deleted, s.Asked = s.Written+o.Written, s.Filled+o.Filled, s.Deleted+o.Deleted, s.Asked+o.Asked
	s.Made, s.Hidden, s.Dropped, s.Late = s.Made+o.Made, s.Hidden+o.Hidden, s.Dropped+o.Dropped, s.Late+o.Late
	s.Hinted, s.Buried, s.Full = s.Hinted+o.Hinted, s.Buried+o.Buried, s.Full+o.Full
	s.Refused, s.Sealed, s.Merged, s.Fetched, s.Rotted, s.Files = s.Refused+o.Refused, s.Sealed+o.Sealed, s.Merged+o.Merged, s.Fetched+o.Fetched, s.Rotted+o.Rotted, s.Files+o.Files
}

// series is what a run has of time series.
type series struct {
	c          *cluster
	active     bool
	people     bool // persons act, and clients write
	keeps      bool // nodes keep windows
	own        chance
	stopped    time.Duration // when the calendar came to stand still; 0: it goes
	skews      [nodesMax + 1]int64
	parser     *lines.Parser
	files      filing
	hints      []*hint
	hinted     map[uint64]*hint // by the sum of their shares
	hintLimits hinting.Limits
	never      map[uint64]*op // writes of which clients were told that they never take effect, by the sum of their bytes
}

// draw decides whether the run has time series. They draw from a chance of their own: runs without are as if there were no
// such thing.
func (x *series) draw(c *cluster) {
	x.c, x.own = c, chance(c.options.Seed*0x94d049bb133111eb+57)
	// Users would need rights that people grant and take away; TestPermissions of package node shows these.
	x.active = c.options.has(Points, x.own.below(seriesEvery) == 0) && !c.users.active
	x.files.draw(x)
	x.never, x.hinted = map[uint64]*op{}, map[uint64]*hint{}
	x.hintLimits = hinting.Limits{Group: int64(256) << x.files.own.below(6), Node: 16 << 10, Age: time.Duration(1+x.files.own.below(6)) * time.Hour}
	for i := range x.skews {
		x.skews[i] = int64(x.own.below(2*seriesSkew)) - seriesSkew
	}
}

// init begins what people do, when faults begin to strike.
func (x *series) init() {
	if !x.active {
		return
	}
	x.people, x.keeps, x.parser = true, true, lines.NewParser()
	x.c.order.call(0, x.act)
	x.c.order.call(0, x.look)
	x.files.init()
}

// calendar returns what the calendar shows, in nanoseconds since 1970.
func (x *series) calendar() int64 {
	now := x.c.now
	if x.stopped > 0 {
		now = x.stopped
	}
	return seriesFounded*int64(time.Second) + int64(now)*seriesPace
}

// latest is a time that no calendar of a host has passed.
func (x *series) latest() int64 { return x.calendar() + seriesSkew*int64(time.Second) }

func (x *series) wall(n *node) int64 { return x.calendar() + x.skews[n.index]*int64(time.Second) }

// look has the keepers of all nodes look at their windows.
func (x *series) look() {
	if !x.keeps {
		return
	}
	for _, n := range x.c.nodes {
		n.soon(0, n.moves.keeper.turn)
	}
	x.c.order.call(seriesLook, x.look)
}

// act has the person order something now and then.
func (x *series) act() {
	if !x.people {
		return
	}
	x.c.order.call(seriesLook, x.act)
	t := x.c.newestTable()
	if t == nil || t.Level < shardmap.PointsLevel || x.own.below(seriesOrders) != 0 && len(t.Catalog.Databases) > 0 {
		return
	}
	if len(t.Catalog.Databases) == 0 {
		x.order(shardmap.AppendChangeDatabase(nil, &shardmap.ChangeDatabase{Action: shardmap.DatabaseCreate, Name: seriesName, Policy: seriesPolicies[0]}))
		return
	}
	if len(t.Catalog.Policies) < len(seriesPolicies) {
		x.order(shardmap.AppendChangePolicy(nil, &shardmap.ChangePolicy{Action: shardmap.PolicyCreate, Database: seriesName, Policy: seriesPolicies[1]}))
		return
	}
	spec := seriesPolicies[x.own.below(len(seriesPolicies))]
	switch x.own.below(12) {
	case 0:
		x.order(shardmap.AppendChangeDatabase(nil, &shardmap.ChangeDatabase{Action: shardmap.DatabaseDrop, Name: seriesName}))
	case 1:
		x.order(shardmap.AppendChangePolicy(nil, &shardmap.ChangePolicy{Action: shardmap.PolicyDrop, Database: seriesName, Policy: shardmap.PolicySpec{Name: seriesPolicies[1].Name}}))
	case 2:
		x.order(shardmap.AppendTruncateWindows(nil, &shardmap.TruncateWindows{Database: seriesName, Time: x.calendar() / minute * minute}))
	case 3, 4, 5:
		x.keep(spec, time.Duration(1+x.own.below(8))*time.Hour)
	default:
		// The leader hides at once what is over by the shorter time, while the person thinks better of it.
		x.keep(spec, spec.WindowDuration)
		x.c.order.call(x.own.skewed(time.Millisecond, time.Second), func() { x.keep(spec, 24*time.Hour) })
		x.c.order.call(x.own.between(2*time.Second, 8*time.Second), func() { x.keep(spec, spec.Duration) })
	}
}

// keep has a policy keep points for so long.
func (x *series) keep(spec shardmap.PolicySpec, d time.Duration) {
	if x.people {
		x.order(shardmap.AppendChangePolicy(nil, &shardmap.ChangePolicy{Action: shardmap.PolicyAlter, Database: seriesName, Set: shardmap.SetDuration,
			Policy: shardmap.PolicySpec{Name: spec.Name, Duration: d}}))
	}
}

// order has the leader of the meta group take an order. It may be lost.
func (x *series) order(b []byte, err error) {
	lead := x.c.leaderOf(0)
	if err != nil {
		x.c.fail("an order about time series can't be written: %v", err)
	}
	if lead == nil || lead.known.table == nil {
		return
	}
	if _, err := lead.known.table.Try(b); err != nil {
		x.c.note(lead.index, "refuses an order about time series: %v", err)
		return
	}
	lead.propose(b)
}

// propose has a node, which seems to lead the meta group, propose a command there.
func (n *node) propose(b []byte) {
	n.host.Propose(repl.Proposal{Group: 0, Entry: machine.NewEntry(wire.Origin{Time: n.ticks.wall()}, b), Deadline: n.ticks.now() + moveDeadline})
	n.turn()
}

// keeper drives the core that keeps windows, as node/windows.go does.
type keeper struct {
	n     *node
	core  *windows.Core
	leads bool            // the meta group is led here
	told  *shardmap.Table // of which the host has heard, of a node without a copy of group 0
}

func (k *keeper) begin() { k.core, k.leads, k.told = windows.New(k.n.id), false, nil }

// led is told by the host when the lead of a group comes here, or goes: then term is 0.
func (k *keeper) led(g raft.GroupID, term uint64) {
	if g == 0 {
		k.leads = term != 0
	}
}

// changed is told of each new table.
func (k *keeper) changed() {
	if k.leads && k.n.c.series.keeps {
		k.n.soon(0, k.turn)
	}
}

// unlisted are the replicas of the node that the table does not name where nobody records memberships in it (member.go). In a
// process it names all, so that groups are asked with each table which shards are to go.
func (k *keeper) unlisted(listed []repl.Placement) (more []repl.Placement) {
	if !k.n.c.series.active {
		return nil
	}
	for _, v := range k.n.host.View() {
		if !slices.ContainsFunc(listed, func(p repl.Placement) bool { return p.Replica == v.Replica }) && v.Replica.Group != 0 {
			more = append(more, repl.Placement{Replica: v.Replica})
		}
	}
	return more
}

// turn lets the core act.
func (k *keeper) turn() {
	n, x := k.n, &k.n.c.series
	if !x.keeps || n.host == nil {
		return
	}
	if _, ok := n.replica(0); !ok {
		// In a process each node has a copy of group 0, and its host hears of each table.
		if t := n.known.kept(); t != k.told {
			k.told = t
			n.host.Place(k.unlisted(nil))
			n.turn()
		}
		return
	}
	if k.core.Lead(k.leads); n.known.table == nil {
		return
	}
	k.core.Table(n.known.table)
	k.core.Known(k.alive(n.known.table))
	actions, _ := k.core.Turn(windows.Now{Host: n.ticks.now(), Wall: x.wall(n)})
	life := n.life
	for i := range actions {
		if n.up && n.life == life {
			k.act(&actions[i])
		}
	}
}

// alive is what the node knows of others.
func (k *keeper) alive(t *shardmap.Table) plan.Known {
	known := plan.Known{Nodes: map[raft.NodeID]plan.Node{}}
	for i := range t.Nodes {
		id := t.Nodes[i].ID
		if ago, ever := k.n.host.Contacts().Heard(id, k.n.ticks.now()); id != k.n.id && (!ever || ago > electionTimeout) {
			known.Nodes[id] = plan.Node{Health: plan.Silent}
		}
	}
	return known
}

// act carries out an action of the core.
func (k *keeper) act(a *windows.Action) {
	n, c := k.n, k.n.c
	if a.Kind == windows.Propose {
		n.propose(a.Payload)
		return
	}
	o, life := c.nodes[a.Node-1], n.life
	times, lost, late := fate(c)
	for range times {
		c.order.call(c.net.latency()+late/2, func() {
			if !o.up || o.paused || !n.where.reaches(o.index) || lost {
				return
			}
			shown := c.series.wall(o) / int64(time.Second)
			n.inLife(life, c.net.latency()+late/2, func() { k.core.Clock(n.ticks.now(), o.id, shown) })
		})
	}
}

// demand has each node that takes itself for the meta group's leader make the window of a policy that takes points of a time:
// it is asked by all nodes that have such points.
func (x *series) demand(policy shardmap.PolicyID, at int64) {
	for _, n := range x.c.nodes {
		if !n.up || n.paused || n.known.table == nil || !n.moves.keeper.leads || !n.leads(0) {
			continue
		}
		t := n.known.table
		p, ok := t.Catalog.Policy(policy)
		known := n.moves.keeper.alive(t)
		groups := plan.Windows(t, &known, p.Shards)
		if !ok || len(groups) == 0 {
			continue
		}
		b, err := shardmap.AppendNewWindow(nil, &shardmap.NewWindow{Policy: policy, Time: at, Shards: groups})
		if err != nil {
			x.c.fail("a window can't be ordered: %v", err)
		}
		made, err := t.Try(b)
		if err != nil {
			continue
		}
		if w, _ := made.Catalog.WindowAt(policy, at); !w.Over(&p, x.wall(n)) {
			n.propose(b)
			if n.up && x.own.below(4) == 0 { // another node has asked, too
				n.propose(b)
			}
		}
	}
}

// catalog returns the catalog that some node knows, which may be an old one; nil: it knows of no policy.
func (x *series) catalog() *shardmap.Catalog {
	n := x.c.nodes[x.own.below(len(x.c.nodes))]
	if n.host == nil {
		return nil
	}
	if t := n.known.kept(); t != nil && t.Level >= shardmap.PointsLevel && len(t.Catalog.Policies) > 0 {
		return &t.Catalog
	}
	return nil
}

// time draws the time of a point: mostly one of now, sometimes a late one, or one that is ahead.
func (x *series) time() int64 {
	now := x.calendar() / minute
	switch x.own.below(8) {
	case 0, 1:
		return (now - int64(x.own.below(4*60))) * minute
	case 2:
		return (now + int64(x.own.below(60))) * minute
	}
	return (now - int64(x.own.below(20))) * minute
}

// share draws points of one shard of one window, by a catalog. If no window takes them, one is demanded, and there are none.
func (x *series) share(in *shardmap.Catalog, number uint64) (b shardmap.PointsBody, group raft.GroupID, ok bool) {
	p := &in.Policies[x.own.below(len(in.Policies))]
	d, _ := in.Database(p.Database)
	at := x.time()
	w, ok := in.WindowAt(p.ID, at)
	if !ok || w.Hidden != 0 {
		x.demand(p.ID, at)
		return b, 0, false
	}
	var text strings.Builder
	for i := range 1 + x.own.below(seriesLines) {
		t := at + int64(x.own.below(10)-5)*minute
		if !w.Takes(t) {
			t = at
		}
		fmt.Fprintf(&text, "%s,host=%d v=%d", seriesMeasurements[x.own.below(len(seriesMeasurements))], x.own.below(seriesTags), number*16+uint64(i))
		if x.own.below(3) == 0 {
			fmt.Fprintf(&text, ",w=%d", number*16+uint64(i))
		}
		fmt.Fprintf(&text, " %d\n", t)
	}
	batch, report, err := x.parser.Parse([]byte(text.String()), lines.Nanosecond, 0)
	if err != nil || report.Refused > 0 {
		x.c.fail("points that were drawn are refused: %v, %v\n%s", err, report.Err(), text.String())
	}
	shares := points.Split(batch, func(int64) (points.Window, uint32) { return w.Span(), uint32(len(w.Shards)) })
	s := &shares[x.own.below(len(shares))]
	for piece := range s.Pieces(shardmap.PointsSizeMax, shardmap.PointsValuesMax) {
		ref := shardmap.ShardRef{ShardID: shardmap.ShardID{Window: w.ID, Shard: s.Shard}, Shards: uint32(len(w.Shards)), Database: p.Database, Policy: p.ID, Span: w.Span()}
		b = shardmap.PointsBody{Shard: ref, Name: d.Name, Mode: shardmap.PointsWrite, Share: slices.Clone(piece.Bytes)}
	}
	return b, w.Shards[s.Shard], true
}

var seriesMeasurements = [...]string{"cpu", "mem"}

// picture describes what is left to do, for a failure.
func (x *series) picture() (s string) {
	t := x.c.newestTable()
	if !x.active || t == nil {
		return ""
	}
	s = fmt.Sprintf("the calendar shows %d\n", x.calendar()) + x.hintsPicture()
	for i := range t.Catalog.Databases {
		d := &t.Catalog.Databases[i]
		w, ok := t.Catalog.WindowAt(d.Default, x.calendar())
		s += fmt.Sprintf("%+v: the window of now is %+v, %t\n", d, w, ok)
	}
	s += x.files.picture()
	for _, n := range x.c.nodes {
		if !n.up || n.host == nil || n.dead {
			continue
		}
		for g := 1; g < len(x.c.truth); g++ {
			if w, ok := n.host.Machine(raft.GroupID(g)).(*watched); ok {
				for _, is := range w.state.State.Shards() {
					if _, there := t.Catalog.Window(is.Window); !there {
						s += fmt.Sprintf("n%d: group %d has %s\n", n.index, g, is.ShardID)
					}
				}
			}
		}
	}
	return s
}

// end stops the calendar and the writes, and has a healed cluster take in the hints that are left, make the windows of now, and
// forget what belongs to windows that were dropped.
func (x *series) end() {
	if !x.active {
		return
	}
	x.people, x.stopped = false, x.c.now
	x.c.until("hints are taken in, windows are kept, and shards without one are gone", seriesWithin, func() bool {
		t := x.c.newestTable()
		if t == nil || t.Level < shardmap.PointsLevel {
			return true
		}
		for i := range t.Catalog.Databases {
			if _, ok := t.Catalog.WindowAt(t.Catalog.Databases[i].Default, x.calendar()); !ok {
				return false
			}
		}
		return x.settledHints() && x.onlyOf(t)
	})
	x.keeps = false
	x.files.end()
}

// onlyOf reports whether all replicas have shards of the table's windows alone.
func (x *series) onlyOf(t *shardmap.Table) bool {
	for _, n := range x.c.nodes {
		if n.dead {
			continue
		}
		if !n.up || n.host == nil {
			return false
		}
		for g := 1; g < len(x.c.truth); g++ {
			w, ok := n.host.Machine(raft.GroupID(g)).(*watched)
			if !ok {
				continue
			}
			for _, s := range w.state.State.Shards() {
				if _, there := t.Catalog.Window(s.Window); !there {
					return false
				}
			}
		}
	}
	return true
}

// applied checks what an entry of group 0 does to windows: none overlaps another one of its policy where both take points, and
// none is hidden or dropped whose points are kept.
func (x *series) applied(w *watched, e raft.Entry, before, after *shardmap.Table) {
	if !x.active || before == after || before == nil || after == nil {
		return
	}
	was, is := &before.Catalog, &after.Catalog
	first := e.ID.Index == uint64(len(w.truth.entries))
	for i := range is.Windows {
		a := &is.Windows[i]
		old, known := was.Window(a.ID)
		if first && !known {
			x.c.result.Series.Made++
		}
		if i > 0 {
			if b := &is.Windows[i-1]; b.Policy == a.Policy && max(a.Start, b.Start) < min(a.Truncated, b.Truncated) {
				x.c.fail("I21: after %s of group 0 windows %d and %d of policy %d both take points of %d", e.ID, b.ID, a.ID, a.Policy, max(a.Start, b.Start))
			}
		}
		if known && old.Hidden == 0 && a.Hidden != 0 {
			if p, _ := was.Policy(a.Policy); !a.Over(&p, x.latest()) {
				x.c.fail("I21: %s of group 0 hides window %d of policy %q, which ends at %d and keeps points for %s; no calendar has passed %d", e.ID, a.ID, p.Name, a.End, p.Duration, x.latest())
			}
			if first {
				x.c.result.Series.Hidden++
			}
		}
	}
	for i := range was.Windows {
		a := &was.Windows[i]
		if _, there := is.Window(a.ID); there {
			continue
		}
		if _, kept := is.Policy(a.Policy); !kept {
			continue // it went with its policy
		}
		if first {
			x.c.result.Series.Dropped++
			x.c.result.Fired[Points]++
		}
		if p, _ := was.Policy(a.Policy); !a.Over(&p, x.latest()) || a.Hidden == 0 || x.latest()/int64(time.Second)-a.Hidden < shardmap.WindowHiddenSeconds {
			x.c.fail("I21: %s of group 0 drops window %d of policy %q, which ends at %d, keeps points for %s and was hidden at %d; no calendar has passed %d", e.ID, a.ID, p.Name, a.End, p.Duration, a.Hidden, x.latest())
		}
	}
}
