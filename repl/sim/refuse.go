package sim

import (
	"errors"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
)

// lookEvery is the time between two looks at what a disk refuses, as in node/mend.go.
const lookEvery = time.Second

// refusal is what a disk does not return for a while: one answer, once; or a sector, a
// file, or everything, again and again.
type refusal struct {
	rule   vfs.Rule
	armed  *vfs.Armed // nil while it is suspended, and when it is over
	until  time.Duration
	struck bool
}

// refusals is what the disk of a node does not return for a while.
type refusals struct {
	n   *node
	now *refusal // nil: nothing
}

// begin makes a node's disk refuse something for a while.
func (q *refusals) begin(rule vfs.Rule, d time.Duration) {
	q.now = &refusal{rule: rule, until: q.n.c.now + d}
	q.now.armed = q.n.files.fs.Add(rule)
	q.n.c.note(q.n.index, "%s for %s: %s %q %d times, at call %d or offset %d", ReadFails, d, rule.Op, rule.Name, rule.Times, rule.At, rule.Offset)
	q.lookIn(lookEvery)
}

func (q *refusals) lookIn(d time.Duration) {
	e := q.n.c.queue.get(evLook)
	e.node = int32(q.n.index)
	q.n.c.after(d, e)
}

// drawRefusal draws what is refused.
func (x *chaos) drawRefusal(n *node) (vfs.Rule, bool) {
	rnd := &x.c.chance
	name, at, ok := x.drawPlace(n, ReadFails)
	switch how := rnd.below(8); {
	case how == 0 || !ok:
		return vfs.Rule{Fault: vfs.Error, Op: []string{"read", "open", "size", "list"}[rnd.below(4)], At: 1 + rnd.below(20)}, true
	case how == 1:
		return vfs.Rule{Fault: vfs.Error, Op: "read", Times: vfs.Always}, true
	case how <= 3:
		return vfs.Rule{Fault: vfs.Error, Op: "read", Name: name, Times: vfs.Always}, true
	}
	return vfs.Rule{Fault: vfs.Unreadable, Name: name, Offset: at, Times: vfs.Always}, true
}

// any reports whether the node's disk refuses something, or the node may not have
// recovered from that yet.
func (q *refusals) any() bool { return q.now != nil }

// caused reports whether an error comes from what the disk refuses.
func (q *refusals) caused(err error) bool {
	return q.any() && (errors.Is(err, vfs.ErrFault) || errors.Is(err, logstore.ErrRefused))
}

// suspend makes the disk return everything, so that the run itself can look, until the
// function that it returns is called.
func (q *refusals) suspend() (resume func()) {
	if !q.any() || q.now.armed == nil {
		return func() {}
	}
	q.stop()
	return func() {
		if q.now != nil && q.now.armed == nil {
			q.now.armed = q.n.files.fs.Add(q.now.rule)
		}
	}
}

func (q *refusals) stop() {
	r := q.now
	if r.armed != nil {
		r.struck = r.struck || r.armed.Fired() > 0
		q.n.files.fs.Drop(r.armed)
		r.armed = nil
	}
}

// look does what a node does from time to time while its disk refuses something: it reads
// everything, and looks again at what was refused. The refusal is over once the disk
// returns everything and the node has noticed.
func (q *refusals) look() {
	r := q.now
	if r == nil {
		return
	}
	if q.n.c.now >= r.until || q.n.c.chaos.stopped {
		q.stop()
	}
	if q.n.up && !q.n.paused && !q.n.leave.closing && q.n.files.failing.op == "" && q.n.files.failing.rule == nil {
		for done := false; !done; {
			var err error
			if done, err = q.n.store.Scrub(1 << 20); err != nil {
				q.n.c.fail("n%d: scrub: %v", q.n.index, err)
			}
		}
		left := q.n.store.LookAgain()
		left = q.n.files.points.lookAgain() || left
		if all := q.n.store.Damaged(); len(all) > 0 {
			q.unhurt(all)
			left = true
			q.n.host.DamageFound()
			q.n.turn()
		}
		if r.armed == nil && !left {
			q.over()
			return
		}
	} else if r.armed == nil && !q.n.up {
		q.over() // the next process reads everything
		return
	}
	q.lookIn(lookEvery)
}

// unhurt checks that the log takes a refusal for nothing worse. Entries that it once lost
// and got back may be refused now: then it finds the older record of their loss, which is
// elsewhere, and no copy.
func (q *refusals) unhurt(all []logstore.Damaged) {
	for i := range all {
		d := &all[i]
		older := q.n.decay.scarred && (d.Where.Record == "loss" || d.Where.File != q.now.rule.Name)
		if !q.n.decay.hurt && (d.Promises || len(d.Lost) > 0 && !d.Where.Refused && !older) {
			q.n.c.fail("I15: n%d: its disk refuses a read, its log says that it lost something: %v", q.n.index, d.Err())
		}
	}
}

func (q *refusals) over() {
	if q.now.struck {
		q.n.c.result.Fired[ReadFails]++
	}
	q.now = nil
	q.n.c.note(q.n.index, "its disk has returned everything")
}

// endAll makes the disk return everything from now on, and lets the node notice at once,
// because what follows has a time limit.
func (q *refusals) endAll() {
	if !q.any() {
		return
	}
	q.stop()
	q.now.until = q.n.c.now
	if q.n.up {
		q.n.crash(PowerKeep)
	}
}
