package health

import (
	"errors"
	"fmt"
	"time"

	"muster/repl/wire"
)

// heldPoll is a poll that waits for its answer.
type heldPoll struct {
	ticket uint64
	answer func(*wire.ChecksAnswer)
	broken func() // the connection has ended
}

// ask brings a poll to a node, and its answer back.
func (w *world) ask(n, to *node, number uint64, body []byte) {
	if len(body) > 2*wire.PollBytesMax {
		w.fail("a poll of %d bytes", len(body))
	}
	a := n.assigner
	broken := func(err error) {
		w.after(time.Millisecond, func() {
			if n.assigner == a {
				a.Polled(w.now, number, nil, err)
				n.news = true
			}
		})
	}
	if w.refuses && !to.up {
		broken(fmt.Errorf("%w: connection refused", ErrNobody))
		return
	}
	answer := func(ans *wire.ChecksAnswer) {
		b := ans.Append(nil)
		w.send(to, n, func() {
			var r wire.ChecksAnswer
			if err := r.Read(b); err != nil {
				w.fail("an answer can't be read: %v", err)
			}
			if n.assigner == a {
				before := a.counts.Void
				had := findings(a)
				a.Polled(w.now, number, &r, nil)
				countedRight(w, a, to.id, &r, had)
				w.voids += int(a.counts.Void - before)
				n.news = true
			}
		})
	}
	w.send(n, to, func() {
		var q wire.Checks
		if err := q.Read(body); err != nil {
			w.fail("a poll can't be read: %v", err)
		}
		if ans, ticket := to.checker.Poll(w.now, n.id, &q); ans != nil {
			answer(ans)
		} else {
			to.held = append(to.held, heldPoll{ticket, answer, func() { broken(errors.New("the connection broke")) }})
		}
		to.news = true
	})
	if !w.calm && w.rnd.IntN(10) == 0 {
		w.after(time.Duration(w.rnd.IntN(1000))*time.Millisecond, func() {
			if n.assigner == a {
				a.Polled(w.now, number, nil, errors.New("the connection broke"))
				n.news = true
			}
		})
	}
}

// breaks ends the connections to a node that has died, if its host still refuses others.
func (w *world) breaks(n *node) {
	held := n.held
	n.held = nil
	for i := range held {
		if w.refuses {
			held[i].broken()
		}
	}
}
