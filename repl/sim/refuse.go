package sim

import (
	"errors"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
)

// lookEvery lies between two looks at what a disk refuses, as in node/mend.go.
const lookEvery = time.Second

// refusal is what a disk does not return for a while: one question, once; or a
// sector, a file, or everything, again and again.
type refusal struct {
	rule   vfs.Rule
	armed  *vfs.Armed // nil while it is suspended, and when it is over
	until  time.Duration
	struck bool
}

// refuseReads has a node's disk refuse something for a while.
func (n *node) refuseReads(rule vfs.Rule, d time.Duration) {
	n.refusal = &refusal{rule: rule, until: n.c.now + d}
	n.refusal.armed = n.fs.Add(rule)
	n.c.note(n.index, "%s for %s: %s %q %d times, at call %d or offset %d", ReadFails, d, rule.Op, rule.Name, rule.Times, rule.At, rule.Offset)
	n.lookIn(lookEvery)
}

func (n *node) lookIn(d time.Duration) {
	e := n.c.queue.get(evLook)
	e.node = int32(n.index)
	n.c.after(d, e)
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

// refuses reports whether the node's disk refuses something, or the node may not
// have got over it yet.
func (n *node) refuses() bool { return n.refusal != nil }

// refusedBy reports whether an error comes of what the disk refuses.
func (n *node) refusedBy(err error) bool {
	return n.refuses() && (errors.Is(err, vfs.ErrFault) || errors.Is(err, logstore.ErrRefused))
}

// suspend has the disk return everything, for a look of the run's own, until the
// function that it returns is called.
func (n *node) suspend() (resume func()) {
	if !n.refuses() || n.refusal.armed == nil {
		return func() {}
	}
	n.stopRefusing()
	return func() {
		if n.refusal != nil && n.refusal.armed == nil {
			n.refusal.armed = n.fs.Add(n.refusal.rule)
		}
	}
}

func (n *node) stopRefusing() {
	r := n.refusal
	if r.armed != nil {
		r.struck = r.struck || r.armed.Fired() > 0
		n.fs.Drop(r.armed)
		r.armed = nil
	}
}

// look is what a node does from time to time while its disk refuses something: it
// reads all that is there, and looks again at what was refused. It is over when
// the disk returns everything, and the node has found that out.
func (n *node) look() {
	r := n.refusal
	if r == nil {
		return
	}
	if n.c.now >= r.until || n.c.chaos.stopped {
		n.stopRefusing()
	}
	if n.up && !n.paused && !n.closing && n.failing.op == "" && n.failing.rule == nil {
		for done := false; !done; {
			var err error
			if done, err = n.store.Scrub(1 << 20); err != nil {
				n.c.fail("n%d: scrub: %v", n.index, err)
			}
		}
		left := n.store.LookAgain()
		if all := n.store.Damaged(); len(all) > 0 {
			n.unhurt(all)
			left = true
			n.host.DamageFound()
			n.turn()
		}
		if r.armed == nil && !left {
			n.overRefusal()
			return
		}
	} else if r.armed == nil && !n.up {
		n.overRefusal() // the next process reads everything
		return
	}
	n.lookIn(lookEvery)
}

// unhurt checks that what is refused is taken for nothing worse. What the log
// lost once and was given back may be what is refused now: then the log finds the
// older loss, which stands elsewhere, and no copy.
func (n *node) unhurt(all []logstore.Damaged) {
	for i := range all {
		d := &all[i]
		older := n.scarred && (d.Where.Record == "loss" || d.Where.File != n.refusal.rule.Name)
		if !n.hurt && (d.Promises || len(d.Lost) > 0 && !d.Where.Refused && !older) {
			n.c.fail("I15: n%d: its disk refuses a read, its log says that it lost something: %v", n.index, d.Err())
		}
	}
}

func (n *node) overRefusal() {
	if n.refusal.struck {
		n.c.result.Fired[ReadFails]++
	}
	n.refusal = nil
	n.c.note(n.index, "its disk has returned everything")
}

// returnAll has the disk return everything from now on, and the node find that
// out at once: what follows is to be in time.
func (n *node) returnAll() {
	if !n.refuses() {
		return
	}
	n.stopRefusing()
	n.refusal.until = n.c.now
	if n.up {
		n.crash(PowerKeep)
	}
}
