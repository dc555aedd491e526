package sim

import (
	"bytes"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/rights"
	"muster/repl/wire"
	"muster/shardmap"
)

// A node lets through what its users may do: the judge and the confirmer are those of package rights. This does
// around them what node/authorize.go and node/laws.go do in a process.

const (
	// contactPause and contactPauseLost are as in node/laws.go, and confirmWithin is callTimeout there.
	contactPause     = time.Second
	contactPauseLost = 100 * time.Millisecond
	confirmWithin    = 3 * time.Second
	// reviewDelay is how long the goroutine takes to wake up that looks at what is open, at most.
	reviewDelay = 50 * time.Millisecond
)

// lawful is what a node knows of who may do what.
type lawful struct {
	n *node

	// Of the process.
	law       *rights.Law // nil before the first table
	judge     *rights.Judge
	confirmer rights.Confirmer
	contact   rights.Contact
	under     bool // it is waiting until its table is of today
	reviews   bool // it is about to look at what is open
	slept     bool // its host was suspended since it looked last
	appeals   rights.Appeals[*appeal]

	// Known beside the cores, by the world's clock.
	sure           bool
	sureAt         time.Duration // when it asked, the last time that it came to be sure of its table
	stood, resumed time.Duration // when it stood still last
}

// begin is the start of a process.
func (y *lawful) begin() {
	x := &y.n.c.users
	*y = lawful{n: y.n, judge: rights.NewJudge(nameOf(y.n.id)), confirmer: rights.NewConfirmer(x.cutOff), resumed: -tick}
	if x.active {
		y.n.soon(0, y.look)
	}
}

// tableChanged takes over what a new table says of users.
func (y *lawful) tableChanged(t *shardmap.Table) {
	if !y.n.c.users.active {
		return
	}
	next, changed := y.law.Follow(t)
	if y.law = next; changed && !y.reviews {
		y.reviews = true
		y.n.soon(y.n.c.users.own.between(0, reviewDelay), y.review)
	}
}

// look makes sure of the table if it is time to, and notes what is known.
func (y *lawful) look() {
	y.wakes()
	now := y.n.ticks.now()
	if !y.under && y.confirmer.Wants(now, y.law) {
		y.under = true
		y.n.host.Read(repl.Read{Group: 0, AnyReplica: true, Deadline: now + confirmWithin, Reply: repl.Reply{To: &confirmation{y, y.n.life, now, y.n.c.now}}, Query: reached{}})
		y.n.turn()
		if !y.n.up {
			return
		}
	}
	y.noted()
	if y.contact == rights.ContactGood {
		y.n.soon(contactPause, y.look)
	} else {
		y.n.soon(contactPauseLost, y.look)
	}
}

// wakes tells of a suspension, as a process finds out by its wall clock.
func (y *lawful) wakes() {
	if y.slept {
		y.slept = false
		y.confirmer.Slept(y.n.ticks.now())
	}
}

// stands notes that the process stands still for a while, and returns for how long. Where there are users, that is half of
// the time a suspension of its host, during which its clock stands still too, often for longer than it may answer users.
func (y *lawful) stands(d time.Duration) time.Duration {
	x := &y.n.c.users
	if y.stood = y.n.c.now; !x.active || x.own.below(2) == 0 {
		return d
	}
	if x.own.below(2) == 0 {
		d = max(d, min(x.own.between(x.cutOff, 2*x.cutOff), time.Minute))
	}
	y.n.c.note(y.n.index, "its host is suspended for %s", d)
	y.slept = true
	y.n.ticks.stand(d)
	return d
}

// noted takes over what is known now.
func (y *lawful) noted() {
	y.wakes()
	was := y.contact
	is, changed := y.confirmer.Look(y.n.ticks.now())
	y.contact = is
	if is == rights.ContactLost && was == rights.ContactGood {
		y.n.c.note(y.n.index, "refuses users: it does not hear of the meta group")
		y.n.c.result.Fired[CutOff]++
	}
	if changed {
		y.review()
	}
}

// reached is a query that asks for nothing: that it runs is the answer.
type reached struct{}

// Run implements [repl.Query].
func (reached) Run(_ repl.StateMachine, _ raft.LogID, r repl.Reply) (first bool) {
	return r.To.Answer(r, wire.TypeAnnounceAnswer, nil)
}

// confirmation takes the answer to a node that waits until its table is of today.
type confirmation struct {
	of    *lawful
	life  uint32
	asked time.Duration // by the node's clock
	world time.Duration // the same by the world's
}

// Answer implements [repl.Replier].
func (o *confirmation) Answer(_ repl.Reply, t wire.Type, _ []byte) bool {
	y := o.of
	if y.n.life != o.life {
		return false
	}
	if y.under = false; t != wire.TypeError {
		y.n.c.users.confirmed(y.n, o.world)
		y.sure, y.sureAt = true, o.world
		y.confirmer.Confirmed(o.asked)
	}
	y.n.soon(0, y.noted)
	return false
}

// Flush implements [repl.Replier].
func (*confirmation) Flush() {}

// review ends the streams that their users may not have any more.
func (y *lawful) review() {
	y.reviews = false
	for _, cl := range y.n.c.clients {
		for _, k := range cl.conns {
			if k == nil || k.node != y.n || k.life != y.n.life || !k.up {
				continue
			}
			k.requests.Streams.Review(func(t wire.Type, body []byte) *wire.Error {
				return y.judge.Allows(rights.Principal{User: k.user}, t, body, y.law, y.contact)
			})
		}
	}
}

// moment is when what the node does now was due at the latest. What had reached a process while that stood
// still is taken before it looks at its clock again.
func (y *lawful) moment() time.Duration {
	if now := y.n.c.now; now > y.resumed+tick {
		return now
	}
	return min(y.n.c.now, y.stood+contactPause+tick)
}

// streamAsked is a request that opened a stream.
type streamAsked struct {
	t    wire.Type
	body []byte
}

// admits says why the node must not carry out a client's request, or returns nil.
func (k *conn) admits(e *event) *wire.Error {
	x, y := &k.client.c.users, &k.node.lawful
	if !x.active || e.wtype == wire.TypeStreamGrant || e.wtype == wire.TypeStreamCancel {
		return nil
	}
	refusal := k.judge.Allows(rights.Principal{User: k.user}, e.wtype, e.body, y.law, y.contact)
	x.judged(k.node, k.user, e.wtype, e.body, refusal)
	switch e.wtype {
	case wire.TypeScan, wire.TypeWatch, wire.TypeTableStream, wire.TypeBackup:
		if refusal == nil {
			k.asked[e.number] = streamAsked{e.wtype, bytes.Clone(e.body)}
		}
	}
	return refusal
}

// admitsForward is admits of a request that another node passes on.
func (y *lawful) admitsForward(body []byte) *wire.Error {
	x := &y.n.c.users
	if !x.active {
		return nil
	}
	refusal := y.judge.AllowsForwarded(body, y.law, y.contact)
	var f wire.Forward
	if f.Read(body) != nil {
		return refusal // of a type that is not passed on: it is refused when it is taken
	}
	x.judged(y.n, f.Principal, f.Type, f.Body, refusal)
	return refusal
}

// appeal is a request that was refused by a table that may be behind: node/appeals.go.
type appeal struct {
	judge *rights.Judge      // that has refused it
	user  shardmap.Principal // of the connection; none for what another node passes on
	t     wire.Type
	body  []byte
	reply repl.Reply
	first *wire.Error   // the refusal
	asked time.Duration // when it came, by the world's clock
}

// deny refuses a request, at once or after another look.
func (y *lawful) deny(a *appeal) {
	a.asked, a.body = y.n.c.now, bytes.Clone(a.body)
	if !a.judge.Appealable() || !y.appeals.Add(a) {
		y.told(a, a.first, a.judge.Denied())
		return
	}
	y.appeal()
}

// appeal asks whether the table is of today, if somebody waits for that.
func (y *lawful) appeal() {
	if !y.appeals.Begin() {
		return
	}
	y.n.host.Read(repl.Read{Group: 0, AnyReplica: true, Deadline: y.n.ticks.now() + confirmWithin, Reply: repl.Reply{To: &appealed{y, y.n.life}}, Query: reached{}})
}

// appealed takes the answer to that.
type appealed struct {
	of   *lawful
	life uint32
}

// Answer implements [repl.Replier].
func (o *appealed) Answer(_ repl.Reply, t wire.Type, _ []byte) bool {
	if o.of.n.life == o.life {
		o.of.n.soon(0, func() { o.of.decide(t != wire.TypeError) })
	}
	return false
}

// Flush implements [repl.Replier].
func (*appealed) Flush() {}

// decide judges again what was refused. sure: the table has all that was committed when it was.
func (y *lawful) decide(sure bool) {
	for _, a := range y.appeals.Ended() {
		var e *wire.Error
		switch {
		case !sure:
			y.told(a, a.first, false)
			continue
		case a.t == wire.TypeForward:
			e = y.judge.AllowsForwarded(a.body, y.law, y.contact)
		default:
			e = y.judge.Allows(rights.Principal{User: a.user}, a.t, a.body, y.law, y.contact)
		}
		if e == nil {
			y.n.c.result.Fired[Reversals]++
		}
		y.told(a, rights.Review(nameOf(y.n.id), a.first, e), e != nil && y.judge.Denied())
	}
	y.appeal()
	y.n.turn()
}

// told answers. final: the node says that its user lacks a right, and that it is sure of that.
func (y *lawful) told(a *appeal, e *wire.Error, final bool) {
	if final {
		y.n.c.users.refused(y.n, a)
	}
	a.reply.To.Answer(a.reply, wire.TypeError, e.Append(nil))
}

// openStreams returns the streams that are open at the node's end, by number.
func (k *conn) openStreams() map[uint64]streamAsked {
	if k == nil || !k.up {
		return nil
	}
	return k.asked
}
