package quota

import (
	"cmp"
	"slices"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// kind is what of a prefix is limited.
type kind int

const (
	keys kind = iota
	bytes
	rate // of keys that are written; amounts of it are in thousandths of a key, per second
	kinds
)

const (
	// thousandths is how many make one key, so that a share of a small rate is not nothing.
	thousandths = 1000
	// deafMax is how long a leader trusts what it heard last of the whole cluster.
	deafMax = 5 * time.Second
	// busyRetry is how long a client is told to wait: there is another round by then, or two.
	busyRetry = 250 * time.Millisecond
	// sureAfter is how many rounds after a request came first it is refused for good: what was free
	// when it came may have been counted as used in two rounds more, by a leader that had answered just before.
	sureAfter = 3
	// waitersMax bounds the requests that are remembered; with more of them nobody waits to be sure.
	waitersMax = 4096
	// forgetAfter is for how many rounds a request is remembered that does not come again.
	forgetAfter = 20
	// shortFor is how long a leader asks for more after it lacked something.
	shortFor = 2 * time.Second
)

// KindRate is the [Refusal.Kind] of a rate.
const KindRate = "rate"

func (k kind) String() string { return [kinds]string{"keys", "bytes", KindRate}[k] }

// amount is a number of each kind.
type amount [kinds]int64

func (a *amount) of(n shardmap.Amount) { a[keys], a[bytes] = n.Keys, n.Bytes }

func (a amount) wire() (w wire.UsageAmount) {
	for k := range a {
		w[k] = uint64(a[k])
	}
	return w
}

func amountOf(w wire.UsageAmount) (a amount) {
	for k := range w {
		a[k] = int64(w[k])
	}
	return a
}

// Limit is what there may be of a prefix; 0: as much as may be.
type Limit struct {
	Prefix string
	Keys   uint64
	Bytes  uint64
	Rate   uint32 // keys written per second
}

// LimitsOf returns the limits of a table, by prefix.
func LimitsOf(limits []shardmap.Limit) []Limit {
	list := make([]Limit, len(limits))
	for i, l := range limits {
		list[i] = Limit{Prefix: l.Prefix, Keys: l.Keys, Bytes: l.Bytes, Rate: l.Rate}
	}
	return list
}

// limitMax bounds a limit within the core: sums of so many groups' amounts fit.
const limitMax = 1 << 46

func (l *Limit) most() amount {
	return amount{int64(min(l.Keys, limitMax)), int64(min(l.Bytes, limitMax)), int64(l.Rate) * thousandths}
}

// Leader is a data group's part, where the group is led.
type Leader struct {
	term    uint64 // 0: the group is not led here
	rows    []*row // by prefix
	divider uint64 // the newest term of the meta group that was heard of
	round   uint64 // in it
	fresh   bool   // that round is the first in this term
	charges charges
	// waiters are requests that were refused because a limit seemed to be in the way, with
	// the round when they came first. Clients send the same ones again.
	waiters map[uint64]uint64
}

// row is what a leader knows of one prefix.
type row struct {
	prefix string
	most   amount

	began  bool // tally is whole, and ceiling stands for something
	tally  shardmap.Tally
	flight amount // of what is admitted and not applied
	// Invariant: no write is admitted that has used exceed ceiling.
	ceiling amount
	given   amount // of divider, the sum
	// counted: given is what the divider has given since ceiling began. A limit that was taken
	// away and made again begins anew here, where the divider may have seen nothing of that.
	counted bool
	// anew has the kinds of which there is a limit since the last Sync: their ceilings, which nobody has
	// divided, begin at what there is.
	anew [kinds]bool
	// The amounts that dropped slots had: since the round, and since the round before it.
	went, wentBefore amount

	wanted, wantedBefore amount // since the round; until then, since the one before it
	short                amount // what was lacking for the last one that was refused
	shortAt              time.Duration

	total   amount // that the cluster has, as the divider said
	known   bool
	heardAt time.Duration

	tokens   int64 // thousandths of a key; below 0 after a command with many keys
	filledAt time.Duration
	// Keys written in the second that began at secondAt, and in the one before it.
	second, secondBefore int64
	secondAt             time.Duration
}

// used is what there is, and what is on its way into the log.
func (r *row) used() (a amount) {
	a.of(r.tally.Amount)
	for k := range a {
		a[k] += r.flight[k]
	}
	return a
}

// Set says which limits there are, by prefix.
func (l *Leader) Set(limits []Limit) {
	rows := make([]*row, len(limits))
	for i := range limits {
		if rows[i] = l.row(limits[i].Prefix); rows[i] == nil {
			rows[i] = &row{prefix: limits[i].Prefix}
		}
		most := limits[i].most()
		for k := range most {
			if most[k] > 0 && rows[i].most[k] == 0 {
				rows[i].anew[k] = true
			}
		}
		rows[i].most = most
	}
	l.rows = rows
}

// row returns the row of a prefix; nil: it has no limit.
func (l *Leader) row(prefix string) *row {
	at, ok := slices.BinarySearchFunc(l.rows, prefix, func(r *row, p string) int { return cmp.Compare(r.prefix, p) })
	if !ok {
		return nil
	}
	return l.rows[at]
}

// Lead says in which term the group is led here, with an entry of it applied; 0: it is not.
func (l *Leader) Lead(term uint64) {
	if term == l.term {
		return
	}
	l.term, l.divider, l.round = term, 0, 0
	l.charges, l.waiters = charges{last: l.charges.last}, nil
	for i, r := range l.rows {
		if bug("allotment kept after the lead was lost") {
			r.flight = amount{}
			continue
		}
		// A leader in between may have used up the allotment, or the divider have given it to others.
		l.rows[i] = &row{prefix: r.prefix, most: r.most}
	}
}

// Term returns the term in which the group is led here; 0: it is not.
func (l *Leader) Term() uint64 { return l.term }

// Sync says what the group has of the i-th prefix.
func (l *Leader) Sync(i int, t shardmap.Tally) {
	r := l.rows[i]
	was := r.tally
	r.tally = t
	switch {
	case !t.Counted:
		r.began = false
	case !r.began:
		r.began, r.ceiling = true, r.used()
		r.ceiling[rate], r.given, r.counted = 0, amount{}, false
	default:
		// A slot that moves takes its part of the ceilings along.
		var came, went amount
		came.of(shardmap.Amount{Keys: t.Came.Keys - was.Came.Keys, Bytes: t.Came.Bytes - was.Came.Bytes})
		went.of(shardmap.Amount{Keys: t.Went.Keys - was.Went.Keys, Bytes: t.Went.Bytes - was.Went.Bytes})
		for k := range came {
			r.ceiling[k] += came[k] - went[k]
			if !bug("what left a group is free at once") {
				r.went[k] += went[k]
			}
		}
		for k, used := range r.used() {
			if r.anew[k] {
				r.ceiling[k] = used
			}
		}
	}
	r.anew = [kinds]bool{}
}

// Refusal says why a write is not admitted.
type Refusal struct {
	Prefix string
	Kind   string // "keys", "bytes" or "rate"
	Most   uint64 // the limit
	Used   uint64 // of it, in the whole cluster, as far as is known
	Left   uint64
	// Over: the limit itself is in the way. Else it is only not known yet whether the write fits;
	// it may after a while.
	Over  bool
	After time.Duration
}

// Admit decides whether a command may go into the log that would add so much to prefixes, by their
// place. request is a number that the command has whenever it is sent again. ticket names the charge
// for it, 0 if there is none.
func (l *Leader) Admit(now time.Duration, request uint64, adds []shardmap.Growth) (ticket uint64, refused *Refusal) {
	for _, g := range adds {
		r := l.rows[g.Prefix]
		need := amount{g.By.Keys, g.By.Bytes, int64(g.Writes) * thousandths}
		used := r.used()
		for k := range kinds {
			if r.most[k] == 0 || need[k] <= 0 {
				continue
			}
			r.wanted[k] += need[k]
			if refused != nil {
				continue
			}
			if k == rate {
				if r.fill(now); r.tokens <= 0 {
					refused = r.refuse(now, k, need[k])
				}
			} else if !r.began || used[k]+need[k] > r.ceiling[k] {
				refused = r.refuse(now, k, need[k])
				refused.Over = refused.Over && (need[k] > r.most[k] || l.sure(request))
			}
		}
	}
	if refused != nil {
		return 0, refused
	}
	for _, g := range adds {
		r := l.rows[g.Prefix]
		r.write(now, int64(g.Writes))
		if g.By != (shardmap.Amount{}) {
			ticket = l.charges.add(ticket, r, g.By)
		}
	}
	return ticket, nil
}

// sure reports whether it is known for a request that was sent again that its limit was in the way when it came.
func (l *Leader) sure(request uint64) bool {
	if since, waits := l.waiters[request]; waits {
		return l.round >= since+sureAfter
	}
	if len(l.waiters) >= waitersMax {
		return true
	}
	if l.waiters == nil {
		l.waiters = make(map[uint64]uint64)
	}
	l.waiters[request] = l.round
	return false
}

func (r *row) refuse(now time.Duration, k kind, need int64) *Refusal {
	left := max(r.most[k]-r.total[k], 0)
	f := &Refusal{Prefix: r.prefix, Kind: k.String(), Most: uint64(r.most[k]), Used: uint64(max(r.total[k], 0)), Left: uint64(left), After: busyRetry}
	if k == rate {
		f.Most, f.Used = f.Most/thousandths, uint64(r.total[k])/thousandths
		f.Left = f.Most - min(f.Most, f.Used)
		if share := r.ceiling[rate]; share > 0 {
			f.After = min(time.Duration(-r.tokens+thousandths)*time.Second/time.Duration(share), time.Second).Truncate(time.Millisecond) + time.Millisecond
		}
		return f
	}
	r.short[k], r.shortAt = need, now
	f.Over = need > r.most[k] || r.known && now-r.heardAt <= deafMax && need > left
	return f
}

// fill adds the tokens that have come since it was called last: not more than those of a second.
func (r *row) fill(now time.Duration) {
	share := r.ceiling[rate]
	if most := burst(share); r.tokens < most && share > 0 {
		come := min(float64(now-r.filledAt)*float64(share)/float64(time.Second), float64(most-r.tokens))
		if come < 1 {
			return // so that the time is not forgotten, however often this is called
		}
		r.tokens += int64(come)
	}
	r.filledAt = now
}

// burst is how many tokens a share has at most. One that is small must come to one key some time.
func burst(share int64) int64 {
	if share == 0 {
		return 0
	}
	if bug("a leader keeps several seconds of its rate") {
		share *= 6
	}
	return max(share, thousandths)
}

// write counts keys that are written.
func (r *row) write(now time.Duration, n int64) {
	if r.most[rate] > 0 {
		r.tokens -= n * thousandths
	}
	r.roll(now)
	r.second += n
}

func (r *row) roll(now time.Duration) {
	switch passed := now - r.secondAt; {
	case passed < time.Second:
		return
	case passed < 2*time.Second:
		r.secondBefore = r.second
	default:
		r.secondBefore = 0
	}
	r.second, r.secondAt = 0, now
}

// Take takes what the divider asks and orders, of which order is this group's part; nil: there is
// none. The report is for the answer; ok is false if a newer one was taken before, or
// the group is not led here.
func (l *Leader) Take(now time.Duration, m *wire.Usage, order *wire.UsageOrder) (report wire.UsageReport, ok bool) {
	if l.term == 0 || m.Term < l.divider || m.Term == l.divider && m.Round < l.round {
		return report, false
	}
	next := l.enter(m.Term, m.Round)
	report = wire.UsageReport{Term: l.term, Fresh: l.fresh, Rows: make([]wire.UsageRow, len(m.Limits))}
	for i := range m.Limits {
		r := l.row(m.Limits[i].Prefix)
		if r == nil {
			continue // the table here does not have it yet, or no longer
		}
		if next {
			r.turn(now)
		}
		r.total, r.known, r.heardAt = amountOf(m.Limits[i].Used), m.Limits[i].Known, now
		r.total[rate] *= thousandths
		if order != nil && order.Term == l.term && r.began {
			if !r.counted && !bug("limit that is made again is given all once more") {
				r.given = amountOf(order.Given[i])
			}
			r.raise(now, amountOf(order.Given[i]))
			r.counted = true
		}
		report.Rows[i] = r.report(now)
	}
	return report, true
}

// enter goes over to a round of the divider, and reports whether it is a new one.
func (l *Leader) enter(divider, round uint64) (next bool) {
	if divider > l.divider {
		l.divider, l.round, l.fresh, l.waiters = divider, 0, true, nil
		for _, r := range l.rows {
			r.given, r.counted = amount{}, true
		}
	} else if round > l.round {
		l.fresh = false
	}
	if round <= l.round {
		return false
	}
	l.round = round
	for request, since := range l.waiters {
		if since+forgetAfter < l.round {
			delete(l.waiters, request)
		}
	}
	return true
}

// turn puts what was counted since the round behind it, for a new one.
func (r *row) turn(now time.Duration) {
	r.wentBefore, r.went = r.went, amount{}
	r.wantedBefore, r.wanted = r.wanted, amount{}
	if now-r.shortAt >= shortFor {
		r.short = amount{}
		return
	}
	for k := range r.short {
		r.wantedBefore[k] = max(r.wantedBefore[k], r.short[k])
	}
}

// raise moves the ceiling by what the divider has given since the last time, which may be less than
// nothing.
func (r *row) raise(now time.Duration, given amount) {
	r.fill(now)
	for k := range given {
		r.ceiling[k] += given[k] - r.given[k]
	}
	r.given = given
	r.tokens = min(r.tokens, burst(r.ceiling[rate]))
}

func (r *row) report(now time.Duration) wire.UsageRow {
	used, bound := r.used(), r.ceiling
	for k := range bound {
		bound[k] = max(bound[k], used[k]) + r.went[k] + r.wentBefore[k]
	}
	r.roll(now)
	used[rate] = r.secondBefore * thousandths
	bound[rate] = r.ceiling[rate]
	return wire.UsageRow{Counted: r.began, Used: used.wire(), Bound: bound.wire(), Ceiling: r.ceiling.wire(), Given: r.given.wire(), Wanted: r.wantedBefore.wire()}
}
