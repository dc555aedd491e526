package quota

import (
	"cmp"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// roundPause is the least time between two rounds, hungryPause that while somebody waits for
	// more, or it is not known yet what there is.
	roundPause  = time.Second
	hungryPause = 100 * time.Millisecond
	// roundMax ends a round that not all have answered.
	roundMax = time.Second
	// againAfter is when those are asked again who have not answered.
	againAfter = 300 * time.Millisecond
	// Never is what [Divider.Turn] returns when nothing is to be done.
	Never = time.Duration(1<<63 - 1)
)

// Divider is the part of the leader of the meta group.
type Divider struct {
	followed *shardmap.Table // whose limits, groups and nodes these are; nil: they were set

	term   uint64 // 0: the meta group is not led here
	limits []*limit
	groups []raft.GroupID
	nodes  []raft.NodeID

	round     uint64 // that is under way; 0: none was begun
	beganAt   time.Duration
	sentAt    time.Duration
	body      *wire.Usage
	answered  map[raft.NodeID]bool
	reporting map[raft.GroupID]raft.NodeID // who reported the group last
	changed   bool                         // what is to be asked; a new round is due
}

// limit is one prefix with what is known of each group.
type limit struct {
	Limit
	most  amount
	cells map[raft.GroupID]*cell
	known bool   // a round was whole: every group has said what it has
	since uint64 // the round with which that may begin
	used  amount // sum of the cells, as of the last round
}

// cell is what a group has of a prefix.
type cell struct {
	term    uint64 // of the group
	round   uint64 // of the last report that says something
	fresh   bool   // it says too little of slots that went
	used    amount
	ceiling amount
	echo    amount // given, as it was in force at the leader for the report
	bound   amount
	// held is what the group may come to for all that is sure. What is given raises it when it is sent, what is
	// taken lowers it once a round is whole.
	held   amount
	sent   amount // given, as it was sent last
	demand amount // what it wanted lately
}

// Lead says in which term the meta group is led here; 0: it is not.
func (d *Divider) Lead(term uint64) {
	if d.term != term {
		*d = Divider{followed: d.followed, term: term, groups: d.groups, nodes: d.nodes, limits: d.limits}
		for i, l := range d.limits {
			d.limits[i] = newLimit(l.Limit)
		}
	}
}

func newLimit(l Limit) *limit {
	return &limit{Limit: l, most: l.most(), cells: make(map[raft.GroupID]*cell)}
}

// Follow takes the limits, groups and nodes of the table that the node has now. It reports whether the limits
// are others than those of the table before, so that there may be something to count.
func (d *Divider) Follow(t *shardmap.Table) (counts bool) {
	if t == nil || t == d.followed {
		return false
	}
	counts = d.followed == nil || !slices.Equal(t.Security.Limits, d.followed.Security.Limits)
	d.followed = t
	var groups []raft.GroupID
	for i := range t.Groups {
		groups = append(groups, t.Groups[i].ID)
	}
	var nodes []raft.NodeID
	for i := range t.Nodes {
		nodes = append(nodes, t.Nodes[i].ID)
	}
	d.Set(LimitsOf(t.Security.Limits), groups, nodes)
	return counts
}

// Set says which limits there are, by prefix, which data groups, and which nodes may lead them.
func (d *Divider) Set(limits []Limit, groups []raft.GroupID, nodes []raft.NodeID) {
	made := make([]*limit, len(limits))
	for i := range limits {
		l := d.limit(limits[i].Prefix)
		switch {
		case l == nil:
			l, d.changed = newLimit(limits[i]), true
		case l.Limit != limits[i]:
			// Count anew: the person who has changed it wants to know what there is by then.
			l.Limit, l.most, l.known, l.since, d.changed = limits[i], limits[i].most(), false, d.round+1, true
		}
		made[i] = l
	}
	// The round that is under way asks for a limit that is gone, and has no orders for it.
	d.changed = d.changed || len(made) < len(d.limits) && !bug("a round goes on that asks for a limit that is gone")
	d.limits, d.groups, d.nodes = made, slices.Clone(groups), slices.Clone(nodes)
	slices.Sort(d.groups)
	for _, l := range d.limits {
		for g := range l.cells {
			if _, ok := slices.BinarySearch(d.groups, g); !ok {
				delete(l.cells, g) // a group that is removed has no slots
			}
		}
	}
}

// limit returns what is known of a prefix; nil: it has no limit.
func (d *Divider) limit(prefix string) *limit {
	at, ok := slices.BinarySearchFunc(d.limits, prefix, func(l *limit, p string) int { return cmp.Compare(l.Prefix, p) })
	if !ok {
		return nil
	}
	return d.limits[at]
}

// Ask is a question to a node.
type Ask struct {
	To   raft.NodeID
	Body *wire.Usage
}

// Turn returns whom to ask what now, and when it wants to be called again at the latest.
func (d *Divider) Turn(now time.Duration) (asks []Ask, next time.Duration) {
	if d.term == 0 || len(d.limits) == 0 || len(d.nodes) == 0 {
		return nil, Never
	}
	if d.round == 0 || d.over(now) {
		d.begin(now)
	} else if now < d.sentAt+againAfter || len(d.answered) >= len(d.nodes) {
		return nil, d.next(now)
	}
	d.sentAt = now
	for _, n := range d.nodes {
		if !d.answered[n] {
			asks = append(asks, Ask{n, d.ordersTo(n)})
		}
	}
	return asks, d.next(now)
}

// over reports whether it is time for another round.
func (d *Divider) over(now time.Duration) bool {
	if now < d.beganAt+hungryPause {
		return false
	}
	if d.changed {
		return true
	}
	hungry, whole := false, true
	for _, l := range d.limits {
		hungry = hungry || l.hungry(d.groups, d.round)
		whole = whole && l.whole(d.groups, d.round)
	}
	if whole {
		return hungry || now >= d.beganAt+roundPause
	}
	// A round that all have answered who can gets no better by another second.
	return now >= d.beganAt+roundMax || len(d.answered) >= len(d.nodes) && hungry
}

func (d *Divider) next(now time.Duration) time.Duration {
	at := d.beganAt + hungryPause
	for _, later := range []time.Duration{d.sentAt + againAfter, d.beganAt + roundPause} {
		if at <= now {
			at = later
		}
	}
	return max(at, now+hungryPause/2)
}

// whole reports whether every group has said in a round what it has.
func (l *limit) whole(groups []raft.GroupID, round uint64) bool {
	for _, g := range groups {
		if c := l.cells[g]; c == nil || (c.round != round || c.fresh) && !bug("a round is whole that some have not answered") {
			return false
		}
	}
	return true
}

// hungry reports whether another round helps somebody.
func (l *limit) hungry(groups []raft.GroupID, round uint64) bool {
	for _, g := range groups {
		c := l.cells[g]
		if c == nil || c.fresh || !l.known {
			return true
		}
		for k := range kinds {
			if l.most[k] > 0 && c.round == round && c.demand[k] > 0 && (k == rate || c.used[k]+c.demand[k] > c.ceiling[k]) {
				return true
			}
		}
	}
	return false
}

// begin ends the round before, and begins another.
func (d *Divider) begin(now time.Duration) {
	for _, l := range d.limits {
		l.sum(d.groups, d.round)
		if l.known {
			for k := range kinds {
				l.divide(d.groups, d.round, k)
			}
		}
	}
	d.round++
	d.beganAt, d.changed = now, false
	d.answered = make(map[raft.NodeID]bool)
	m := &wire.Usage{Term: d.term, Round: d.round}
	for _, l := range d.limits {
		w := wire.UsageLimit{Prefix: l.Prefix, Most: wire.UsageAmount{l.Keys, l.Bytes, uint64(l.Rate)}, Used: l.used.wire(), Known: l.known}
		w.Used[rate] /= thousandths
		m.Limits = append(m.Limits, w)
	}
	d.body = m
}

// sum takes what a round has brought.
func (l *limit) sum(groups []raft.GroupID, round uint64) {
	if round >= l.since && round != 0 && l.whole(groups, round) {
		l.known = true
		for _, c := range l.cells {
			c.held = c.bound
		}
	}
	l.used = amount{}
	for _, c := range l.cells {
		for k := range kinds {
			l.used[k] += c.used[k]
		}
	}
}

// ordersTo returns what a node is asked, with the orders to the groups that it reported last.
func (d *Divider) ordersTo(n raft.NodeID) *wire.Usage {
	m := *d.body
	for _, g := range d.groups {
		if d.reporting[g] != n {
			continue
		}
		o := wire.UsageOrder{Group: g, Given: make([]wire.UsageAmount, len(d.limits))}
		for _, l := range d.limits {
			if c := l.cells[g]; c != nil {
				o.Term = max(o.Term, c.term)
			}
		}
		for i, l := range d.limits {
			if c := l.cells[g]; c != nil && c.term == o.Term {
				o.Given[i] = c.sent.wire()
			}
		}
		m.Orders = append(m.Orders, o)
	}
	return &m
}

// Took takes the answer of a node.
func (d *Divider) Took(from raft.NodeID, a *wire.UsageAnswer) {
	if d.term == 0 || a.Term != d.term || a.Round != d.round || d.round == 0 {
		return
	}
	if d.reporting == nil {
		d.reporting = make(map[raft.GroupID]raft.NodeID)
	}
	d.answered[from] = true
	for i := range a.Reports {
		r := &a.Reports[i]
		if _, ok := slices.BinarySearch(d.groups, r.Group); !ok || len(r.Rows) != len(d.body.Limits) {
			continue
		}
		for j := range r.Rows {
			if l := d.limit(d.body.Limits[j].Prefix); l != nil && l.took(r, &r.Rows[j], d.round) {
				d.reporting[r.Group] = from
			}
		}
	}
}

// took takes what the leader of a group says of the prefix. It reports false if another one has led since.
func (l *limit) took(r *wire.UsageReport, row *wire.UsageRow, round uint64) bool {
	c := l.cells[r.Group]
	if c == nil {
		c = new(cell)
		l.cells[r.Group] = c
	}
	switch {
	case r.Term < c.term:
		return false
	case r.Term > c.term:
		// The allotment of the leader before is not this one's. It counts until a round is whole, as all
		// that goes.
		c.term, c.sent, c.round = r.Term, amountOf(row.Given), 0
	}
	if !row.Counted {
		c.round, c.fresh = 0, true
		return true
	}
	for k, d := range amountOf(row.Wanted) {
		c.demand[k] = max(d, c.demand[k]/2)
	}
	c.used, c.ceiling, c.echo, c.bound = amountOf(row.Used), amountOf(row.Ceiling), amountOf(row.Given), amountOf(row.Bound)
	for k := range kinds {
		c.held[k] = max(c.held[k], c.bound[k])
	}
	c.round, c.fresh = round, r.Fresh
	return true
}

// share is what one group should have.
type share struct {
	c      *cell
	wants  int64 // its ceiling
	demand int64
}

// divide gives what a round has shown to be free to those who need it, and takes back
// what others don't.
func (l *limit) divide(groups []raft.GroupID, round uint64, k kind) {
	if l.most[k] == 0 {
		return
	}
	room := l.most[k]
	budget := room
	var shares []share
	for _, g := range groups {
		c := l.cells[g]
		if c == nil {
			return // a group that has just been made
		}
		budget -= c.held[k]
		if c.round != round || c.echo != c.sent {
			room -= c.held[k] // nothing is known of what it needs
			continue
		}
		s := share{c: c, demand: c.demand[k]}
		if k != rate {
			s.wants = c.used[k]
		}
		room -= s.wants
		shares = append(shares, s)
	}
	spread(shares, max(room, 0), l.most[k])
	missing := int64(0)
	for _, s := range shares {
		missing += max(s.wants-s.c.ceiling[k], 0)
	}
	if missing > budget {
		for _, s := range shares {
			if s.wants < s.c.ceiling[k] {
				s.c.sent[k] -= s.c.ceiling[k] - s.wants
				if bug("allotment taken back before that is confirmed") {
					s.c.held[k] -= s.c.ceiling[k] - s.wants
					budget += s.c.ceiling[k] - s.wants
				}
			}
		}
	}
	slices.SortStableFunc(shares, func(a, b share) int { return cmp.Compare(b.demand, a.demand) })
	for _, s := range shares {
		if by := min(s.wants-s.c.ceiling[k], budget); by > 0 {
			s.c.sent[k] += by
			s.c.held[k] += by
			budget -= by
		}
	}
}

// spread adds to each share its part of the room: a quarter of it is spread evenly, the rest by
// demand. Where little is left of a limit only those get any who want it: what lies idle elsewhere
// would be missed.
func spread(shares []share, room, most int64) {
	n, demand := int64(len(shares)), int64(0)
	for _, s := range shares {
		demand += s.demand
	}
	if n == 0 || room == 0 {
		return
	}
	even := room / n
	if demand > 0 {
		even /= 4
		if room <= most/50 {
			even = 0
		}
	}
	left := room - even*n
	rest, neediest := left, 0
	for i := range shares {
		s := &shares[i]
		s.wants += even
		if demand > 0 {
			part := min(int64(float64(rest)*(float64(s.demand)/float64(demand))), left)
			s.wants += part
			left -= part
		}
		if s.demand > shares[neediest].demand {
			neediest = i
		}
	}
	shares[neediest].wants += left
}
