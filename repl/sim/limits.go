package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"muster/repl"
	"muster/repl/client"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// In some runs a person limits what there may be of prefixes: sets, changes and removes limits, while clients
// write under them, slots move, leaders change, and processes end. The divider of package quota acts on
// each node (dividing.go), and so do the leaders of the groups. What there is of each prefix is counted here
// by what the logs say, and compared with the limit at each entry (bound.go); what a healed cluster must do is
// asked of it at the end (limitsend.go).

const (
	// limitsEvery is how many runs there are for each with limits.
	limitsEvery = 16
	// limitOrderEvery is how often the person orders something, on average.
	limitOrderEvery = 5 * time.Second
	// limitWrites is how many operations of such a run there are for each under a limited prefix.
	limitWrites = 2
	// crushEvery is how often all clients write under one prefix at once, on average, and crushOps how
	// many operations they begin then, within crushFor.
	crushEvery = 20 * time.Second
	crushOps   = 32
	crushFor   = time.Second / 2
	// rateFills is how long after a rate is limited all clients write.
	rateFills = 4 * time.Second
	// limitNames is how many keys of each prefix and tag there are.
	limitNames = 12
	// limitItems is how many keys one command names at most.
	limitItems = 3
)

// limits is what a run has of limits, and what is known of them beside the table.
type limits struct {
	c      *cluster
	active bool
	people bool   // persons act, and clients write
	made   int    // how many namespaces were made
	space  string // the newest one

	at            uint64 // the index of the newest table that was looked at
	now           []shardmap.Limit
	bounds        []*bound // of all prefixes that ever had a limit
	admitted      map[admission]*admitted
	clocks        [nodesMax + 1]clockSeen
	jumped        time.Duration    // when a clock of a leader was seen to have jumped
	session, asks uint64           // of the writes at the end
	command       shardmap.Command // read last
}

// draw decides whether the run has limits. It draws from a chance of its own: runs without are as if
// there were no such thing.
func (x *limits) draw(c *cluster) {
	own := chance(c.options.Seed*0xbf58476d1ce4e5b9 + 19)
	x.c = c
	x.active = c.options.has(Limits, own.below(limitsEvery) == 0)
	x.admitted = map[admission]*admitted{}
}

// init begins what people do, when faults begin to strike.
func (x *limits) init() {
	if !x.active {
		return
	}
	x.people, x.jumped = true, -time.Hour
	x.c.order.call(0, x.act)
	x.c.order.call(0, x.crush)
}

// act has the person order something.
func (x *limits) act() {
	if !x.people {
		return
	}
	rnd := &x.c.chance
	x.c.order.call(rnd.between(0, 2*limitOrderEvery), x.act)
	t := x.c.newestTable()
	if t == nil || t.Level < shardmap.SecurityLevel {
		return
	}
	had := t.Security.Limits
	if len(had) == 0 || len(had) < 4 && rnd.below(4) == 0 {
		x.made++
		x.space = fmt.Sprintf("q%d/", x.made)
		x.set(x.limit(x.space))
		return
	}
	l := had[rnd.below(len(had))]
	switch rnd.below(9) {
	case 0, 1: // there is none
		x.set(shardmap.Limit{Prefix: l.Prefix})
	case 2: // it is made again, perhaps before all have heard that there is none
		x.set(shardmap.Limit{Prefix: l.Prefix})
		x.c.order.call(time.Duration(rnd.below(2))*rnd.skewed(time.Millisecond, 2*time.Second), func() { x.set(l) })
	case 3: // one within another
		x.set(x.limit(x.space + "{" + x.c.tags[rnd.below(len(x.c.tags))]))
	case 4: // one around all, or of the keys of other operations
		x.set(x.limit([]string{"q", "{", "{t"}[rnd.below(3)]))
	case 5: // one that was there
		x.set(x.limit(x.bounds[rnd.below(len(x.bounds))].prefix))
	case 6: // a rate alone, of which each leader has kept what it may by the time that all write
		x.set(shardmap.Limit{Prefix: x.space, Rate: uint32(1 + rnd.below(8))})
		x.c.order.call(rateFills, x.crowd)
	default:
		x.set(x.limit(l.Prefix))
	}
}

// limit draws a limit of a prefix: often a little above what there is.
func (x *limits) limit(prefix string) shardmap.Limit {
	rnd, used := &x.c.chance, x.count(prefix)
	l := shardmap.Limit{Prefix: prefix}
	kinds := 1 + rnd.below(7)
	if kinds&1 != 0 {
		l.Keys = uint64(max(1, used[ofKeys]-4+int64(rnd.below(24))))
	}
	if kinds&2 != 0 {
		l.Bytes = uint64(max(1, used[ofBytes]-200+int64(rnd.below(2000))))
	}
	if kinds&4 != 0 {
		l.Rate = uint32(1 + rnd.below(10))
	}
	return l
}

// set has the leader of the meta group set a limit, or take it away. The order may be lost.
func (x *limits) set(l shardmap.Limit) {
	lead := x.c.leaderOf(0)
	if lead == nil {
		return
	}
	x.c.note(0, "order: limit of %q: %d keys, %d bytes, %d a second", l.Prefix, l.Keys, l.Bytes, l.Rate)
	b, err := shardmap.AppendSetLimit(nil, &shardmap.SetLimit{Limit: l})
	if err != nil {
		x.c.fail("a limit can't be written: %v", err)
	}
	lead.host.Propose(repl.Proposal{Group: 0, Entry: machine.NewEntry(wire.Origin{Time: lead.ticks.wall()}, b),
		Deadline: lead.ticks.now() + moveDeadline})
	lead.turn()
}

// draws reports whether a client's operation is to be one under a limited prefix.
func (x *limits) draws() bool {
	return x.people && x.space != "" && x.c.chance.below(limitWrites) == 0
}

// crush has all clients write at once, again and again.
func (x *limits) crush() {
	if x.people {
		x.c.order.call(x.c.chance.between(0, 2*crushEvery), x.crush)
		x.crowd()
	}
}

// crowd has all clients write at once.
func (x *limits) crowd() {
	if !x.people || x.space == "" {
		return
	}
	c := x.c
	for range crushOps {
		c.order.call(c.chance.between(0, crushFor), func() {
			cl := c.clients[c.chance.below(len(c.clients))]
			if x.people && !cl.stopped && cl.host.until == 0 && cl.busy() < openMax {
				cl.renew()
				o := &op{client: cl, number: c.history.begin()}
				x.begin(o)
				cl.submit(o)
				cl.settle()
			}
		})
	}
}

// begin makes o a write under a limited prefix.
func (x *limits) begin(o *op) {
	rnd := &x.c.chance
	space := x.space
	if rnd.below(4) == 0 {
		space = fmt.Sprintf("q%d/", 1+rnd.below(x.made))
	}
	tag := x.c.tags[rnd.below(len(x.c.tags))]
	var keys [][]byte
	first, count := rnd.below(limitNames), 1+rnd.below(limitItems)
	for i := range count {
		keys = append(keys, limitKey(space, tag, (first+i)%limitNames))
	}
	slot := shardmap.SlotOf(keys[0])
	o.key, o.group = keys[0], x.c.lives.owner(slot)
	o.call = client.Call{Owner: o, Slot: slot}
	switch rnd.below(8) {
	case 0, 1:
		o.kind = opDel
		o.writes(shardmap.Command{Kind: shardmap.CommandDel, Slot: o.call.Slot, Items: keys})
	case 2: // what it adds is what one of two branches adds
		o.kind = opTxn
		txn := shardmap.Txn{If: []shardmap.Compare{{Kind: shardmap.CompareAbsent, Key: keys[0]}}, Else: []shardmap.Op{{Kind: shardmap.OpDel, Key: keys[0]}}}
		for _, k := range keys {
			txn.Then = append(txn.Then, shardmap.Op{Kind: shardmap.OpSet, Key: k, Value: o.value(x.c)})
		}
		o.writes(shardmap.TxnCommand(o.call.Slot, &txn))
	default:
		o.kind = opSet
		set := shardmap.Command{Kind: shardmap.CommandSet, Slot: o.call.Slot}
		for _, k := range keys {
			set.Items = append(set.Items, k, o.value(x.c))
		}
		o.writes(set)
	}
}

// limitKey is a key of a prefix, in the slot of a tag.
func limitKey(prefix, tag string, n int) []byte {
	return []byte(prefix + "{" + tag + "}" + strconv.Itoa(n))
}

// table follows the limits of a table that a node has, when it is the newest.
func (x *limits) table(t *shardmap.Table) {
	if !x.active || !t.Founded() || t.Index <= x.at {
		return
	}
	if x.at = t.Index; slices.Equal(t.Security.Limits, x.now) {
		return
	}
	x.now = t.Security.Limits
	for i := range x.now {
		x.bound(x.now[i].Prefix)
	}
	for _, b := range x.bounds {
		l, _ := t.Security.Limit(b.prefix)
		if b.set(mostOf(&l)) {
			x.c.result.Fired[Limits]++
			x.c.note(0, "limit of %q: %v, there is %v", b.prefix, b.most, b.used)
		}
	}
}

// bound returns the bound of a prefix, which it makes if there is none.
func (x *limits) bound(prefix string) *bound {
	for _, b := range x.bounds {
		if b.prefix == prefix {
			return b
		}
	}
	b := &bound{c: x.c, prefix: prefix, used: x.count(prefix)}
	x.bounds = append(x.bounds, b)
	return b
}

// count counts what there is of a prefix by the logs, key by key.
func (x *limits) count(prefix string) (n amounts) {
	x.c.lives.each(func(l *slotLife) {
		for key, h := range l.keys {
			if strings.HasPrefix(key, prefix) {
				n.add(sizeOf(key, &h[len(h)-1].state), 1)
			}
		}
	})
	return n
}

// picture describes the limits, for a failure.
func (x *limits) picture() (s string) {
	for _, b := range x.bounds {
		if b.most != (amounts{}) {
			s += fmt.Sprintf("limit of %q: %v, there is %v\n", b.prefix, b.most, b.used)
		}
	}
	return s
}
