package sim

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// amounts are keys and bytes, and a rate of keys that are written.
type amounts [3]int64

const (
	ofKeys = iota
	ofBytes
	ofRate
)

var amountNames = [...]string{ofKeys: "keys", ofBytes: "bytes", ofRate: "rate"}

func (a *amounts) add(b amounts, times int64) {
	for k := range a {
		a[k] += b[k] * times
	}
}

func mostOf(l *shardmap.Limit) amounts { return amounts{int64(l.Keys), int64(l.Bytes), int64(l.Rate)} }

// sizeOf is what a key is, for the limits of its prefixes.
func sizeOf(key string, s *state) amounts {
	if !s.there {
		return amounts{}
	}
	return amounts{1, int64(len(key) + s.size), 0}
}

// bound is what there may be of a prefix, and is, by the logs of all groups.
//
// A limit binds leaders that know it. What was admitted by one that had not heard of it yet, or before there was a
// limit, may exceed it (loose). A lower limit binds once all leaders have confirmed it, which may take as long as one
// is cut off: until then the former limit counts (former), and nobody can tell from outside when that ends. A write
// that was to replace a key, and finds that another has removed it, adds what it was not admitted for (loose).
type bound struct {
	c      *cluster
	prefix string
	most   amounts // the limit by the newest table; 0: none
	former amounts // the largest one before, or what there was when it came
	loose  amounts
	used   amounts
	grown  amounts // by the entry that is being applied
	writes []limitedWrite
}

// limitedWrite is a command that was admitted under the limit of a rate, and applied.
type limitedWrite struct {
	at   time.Duration // when it was admitted
	keys int64
}

// set takes the limit of a newer table, and reports whether it is another one.
func (b *bound) set(most amounts) bool {
	if b.most == most {
		return false
	}
	for k := range most {
		switch was := b.most[k]; {
		case was == most[k]:
		case was > 0:
			b.former[k] = max(b.former[k], was)
		default:
			b.former[k] = max(b.former[k], b.used[k])
		}
	}
	b.most = most
	return true
}

// admission names a command that a leader has admitted in one term.
type admission struct {
	outcomeKey
	term uint64
}

// admitted is what was admitted.
type admitted struct {
	at    time.Duration
	needs []need // of each prefix with a limit by the table of the leader
}

// need is what a command may add to a prefix, by the state of the leader.
type need struct {
	prefix string
	limit  amounts // as the leader knows it; 0: none
	by     amounts
}

// put counts what an entry does to a key.
func (x *limits) put(key string, before, after *state) {
	for _, b := range x.bounds {
		if strings.HasPrefix(key, b.prefix) {
			was, is := sizeOf(key, before), sizeOf(key, after)
			b.used.add(is, 1)
			b.used.add(was, -1)
			b.grown.add(is, 1)
			b.grown.add(was, -1)
		}
	}
}

// applied is called once an entry is applied for the first time.
func (x *limits) applied(key outcomeKey, term uint64) {
	if len(x.bounds) == 0 {
		return
	}
	name := admission{key, term}
	by := x.admitted[name]
	delete(x.admitted, name)
	for _, b := range x.bounds {
		grown := b.grown
		b.grown = amounts{}
		b.check(grown, by)
	}
}

// check checks the bound after an entry by which so much has come, and which was admitted like that; nil:
// without a look at limits.
func (b *bound) check(grown amounts, by *admitted) {
	var under need
	if by != nil {
		for i := range by.needs {
			if by.needs[i].prefix == b.prefix {
				under = by.needs[i]
			}
		}
	}
	for k := range ofRate {
		if grown[k] <= 0 || b.most[k] == 0 {
			continue
		}
		if under.limit[k] == 0 {
			b.loose[k] += grown[k]
		} else if more := grown[k] - under.by[k]; more > 0 {
			b.loose[k] += more
		}
		if most := max(b.most[k], b.former[k]) + b.loose[k] + b.most[k]/100; b.used[k] > most {
			b.c.fail("I20: there are %d %s of prefix %q, the limit is %d; %d would be the most, with %d that nobody was asked about and %d of a former limit",
				b.used[k], amountNames[k], b.prefix, b.most[k], most, b.loose[k], b.former[k])
		}
	}
	if under.limit[ofRate] > 0 && under.by[ofRate] > 0 {
		b.wrote(limitedWrite{by.at, under.by[ofRate]})
	}
}

const (
	// rateKept is for how long writes are kept, because others that were admitted before are applied later.
	rateKept = time.Minute
	// clockSlack is by how much more time than has gone by a host's clock may show and not count as jumped.
	clockSlack = 100 * time.Millisecond
)

// wrote checks the rate: within any second no more is admitted than a second brings and what a second may
// have kept, and what each group may be ahead by one command.
func (b *bound) wrote(w limitedWrite) {
	kept := b.writes[:0]
	for _, o := range b.writes {
		if o.at > b.c.now-rateKept {
			kept = append(kept, o)
		}
	}
	b.writes = append(kept, w)
	if x := &b.c.limits; b.most[ofRate] == 0 || x.jumped > b.c.now-rateKept {
		return
	}
	most := 2*max(b.most[ofRate], b.former[ofRate])*(1e6+driftMax)/1e6 + int64(len(b.c.truth))*limitItems
	for _, first := range b.writes {
		if first.at <= w.at-time.Second || first.at > w.at {
			continue
		}
		sum := int64(0)
		for _, o := range b.writes {
			if o.at >= first.at && o.at < first.at+time.Second {
				sum += o.keys
			}
		}
		if sum > most {
			b.c.fail("I20: %d keys of prefix %q were admitted within the second from %.3f s on, the limit is %d a second; %d would be the most", sum, b.prefix, first.at.Seconds(), b.most[ofRate], most)
		}
	}
}

// clockSeen is what the clock of a host showed at a time.
type clockSeen struct{ host, at time.Duration }

// looks notes if the clock of a host has jumped since it was looked at last.
func (x *limits) looks(n *node, host time.Duration) {
	was := x.clocks[n.index]
	if passed := (x.c.now - was.at) * (1e6 + driftMax) / 1e6; was.at > 0 && host-was.host > passed+clockSlack {
		x.jumped = x.c.now
	}
	x.clocks[n.index] = clockSeen{host, x.c.now}
}

// Admit implements [repl.Limiter].
func (w *watched) Admit(term uint64, now time.Duration, payload []byte) (ticket uint64, refused *wire.Error) {
	x := &w.truth.c.limits
	by, name := x.sees(w, term, payload)
	ticket, refused = w.state.Admit(term, now, payload)
	x.looks(w.node, w.node.ticks.now())
	if refused != nil {
		x.checkRefusal(w, by, refused)
	} else if x.admitted[name] == nil {
		x.admitted[name] = by
	}
	return ticket, refused
}

// Proposed implements [repl.Limiter].
func (w *watched) Proposed(ticket, index uint64) { w.state.Proposed(ticket, index) }

// Withdrawn implements [repl.Limiter].
func (w *watched) Withdrawn(ticket uint64) { w.state.Withdrawn(ticket) }

// sees works out what a command may add to each prefix that has a limit, by what a leader knows of limits
// and of keys.
func (x *limits) sees(w *watched, term uint64, payload []byte) (*admitted, admission) {
	by := &admitted{at: x.c.now}
	command := &x.command
	if err := machine.ReadCommand(payload, command); err != nil {
		x.c.fail("n%d: what is to be admitted is no command: %v", w.node.index, err)
	}
	// What a delete of a prefix removes adds nothing.
	asks, err := readWrite(command, func([]byte) []string { return nil })
	if err != nil {
		x.c.fail("n%d: what is to be admitted is no write: %v", w.node.index, err)
	}
	for _, l := range w.node.known.kept().Security.Limits {
		n := need{prefix: l.Prefix, limit: mostOf(&l)}
		then, els := asks.adds(w.state, l.Prefix, asks.then), asks.adds(w.state, l.Prefix, asks.els)
		for k := range n.by {
			n.by[k] = max(then[k], els[k], 0)
		}
		by.needs = append(by.needs, n)
	}
	return by, admission{outcomeKey{command.Session, command.Sequence}, term}
}

// adds works out what some operations add to a prefix, if their keys are what a state has.
func (w *write) adds(m *machine.Map, prefix string, acts []act) (n amounts) {
	for i := range acts {
		a := &acts[i]
		key := w.keys[a.key]
		if a.kind == actGet || !strings.HasPrefix(key, prefix) {
			continue
		}
		value, _, is := m.State.Get([]byte(key), nil)
		was := state{there: is == shardmap.Present, size: len(value)}
		now := state{there: a.kind != actDel, size: a.size}
		if a.kind == actIncr {
			now.size = summedSize(value, a.by)
		}
		n.add(sizeOf(key, &was), -1)
		n.add(sizeOf(key, &now), 1)
		if a.kind != actDel {
			n[ofRate]++
		}
	}
	return n
}

// summedSize is how long a value is once it was added to. Of a sum that overflows, which will be refused, it is the most.
func summedSize(value []byte, by int64) int {
	was, err := strconv.ParseInt(string(value), 10, 64)
	switch {
	case len(value) > 0 && err != nil: // it will be refused
		return len(value)
	case by > 0 && was > math.MaxInt64-by || by < 0 && was < math.MinInt64-by:
		return countBytes
	}
	return len(strconv.FormatInt(was+by, 10))
}

// checkRefusal checks that a refusal says what the limit is and what is left of it, and that a write is refused for good
// only if by that it does not fit.
func (x *limits) checkRefusal(w *watched, by *admitted, refused *wire.Error) {
	if isSeries(x.command.Kind) && refused.Code == wire.CodeBusy && w.node.files.points.filer.Refuses() {
		x.c.result.Series.Refused++
		return // for want of memory
	}
	said, err := readRefusal(refused)
	if err != nil {
		x.c.fail("I20: n%d refuses a write: %v (%v)", w.node.index, refused, err)
	}
	if refused.Code == wire.CodeBusy {
		x.c.result.Fired[LimitWaits]++
	} else {
		x.c.result.Fired[LimitOver]++
	}
	for _, n := range by.needs {
		if n.prefix != said.prefix {
			continue
		}
		switch most := n.limit[said.kind]; {
		case said.most != most || most == 0:
			x.c.fail("I20: n%d refuses a write: %v; by its table the limit is %d", w.node.index, refused, most)
		case said.left != max(most-said.used, 0):
			x.c.fail("I20: n%d refuses a write: %v; it is not what is left", w.node.index, refused)
		case n.by[said.kind] <= 0:
			x.c.fail("I20: n%d refuses a write that adds nothing: %v", w.node.index, refused)
		case refused.Code == wire.CodeOverLimit && n.by[said.kind] <= said.left:
			x.c.fail("I20: n%d refuses a write for good that adds %d: %v", w.node.index, n.by[said.kind], refused)
		}
		return
	}
	x.c.fail("I20: n%d refuses a write: %v; its table has no such limit", w.node.index, refused)
}

// refusalSays is what a refusal says of a limit.
type refusalSays struct {
	prefix           string
	kind             int
	most, used, left int64
}

// readRefusal reads a refusal as people do.
func readRefusal(e *wire.Error) (r refusalSays, err error) {
	if e.Code != wire.CodeOverLimit && e.Code != wire.CodeBusy {
		return r, fmt.Errorf("its code is %s", e.Code)
	}
	if _, err = fmt.Sscanf(e.Object, "prefix %q", &r.prefix); err != nil {
		return r, err
	}
	if _, err = fmt.Sscanf(e.State, "the limit is %d keys a second, %d were written in the last one, %d are left", &r.most, &r.used, &r.left); err == nil {
		r.kind = ofRate
		return r, nil
	}
	unit := ""
	_, err = fmt.Sscanf(e.State, "the limit is %d %s it has %d, %d are left", &r.most, &unit, &r.used, &r.left)
	if unit == "bytes," {
		r.kind = ofBytes
	}
	return r, err
}
