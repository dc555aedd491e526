package node

import (
	"fmt"
	"time"

	"muster/node/metrics"
	"muster/repl/hinting"
	"muster/repl/wire"
)

const (
	// hintOld is for how long points may wait before the doctor says so: longer than hosts take to be started anew.
	hintOld = time.Hour
	// hintFindingsMax bounds the queues that it names.
	hintFindingsMax = 4
)

// hintNews is how the hints of a node were at the end of a turn of their keeper.
type hintNews struct {
	views   []hinting.View
	totals  hinting.Totals
	bytes   int64
	limits  hinting.Limits
	letters int64 // bytes
	dir     string
	damages []string
}

// tell publishes how the hints are.
func (k *hintKeeper) tell() {
	n := &hintNews{views: k.core.Views(), totals: k.core.Totals(), bytes: k.core.Bytes(), limits: k.limits, letters: k.letters.bytes.Load(), dir: k.letters.dir}
	for _, d := range k.store.Damages() {
		n.damages = append(n.damages, d.String())
	}
	k.news.Store(n)
}

// problems tells what a person should look after, on the node of that name.
func (n *hintNews) problems(name string, now time.Time) (list []wire.Problem) {
	if n == nil {
		return nil // it has just begun
	}
	for _, what := range n.damages {
		list = append(list, wire.Problem{What: fmt.Sprintf("hints on node %s are damaged: %s", name, what), Remedy: "look at its disk; the points that stood there are lost, if a hint did: write them again"})
	}
	if n.bytes > n.limits.Node/100*nearPercent {
		list = append(list, wire.Problem{What: fmt.Sprintf("the hints of node %s take %d bytes, of %d", name, n.bytes, n.limits.Node), Remedy: "see why groups take no points: muster hint list; beyond the limit writes of level one and any fail"})
	}
	told := 0
	for i := range n.views {
		v := &n.views[i]
		age := now.Sub(time.Unix(0, v.Oldest)).Round(time.Minute)
		if age < hintOld && v.Aside == 0 && v.Bytes <= n.limits.Group/100*nearPercent {
			continue
		}
		if told++; told > hintFindingsMax {
			list = append(list, wire.Problem{What: fmt.Sprintf("points wait on node %s for more groups", name), Remedy: "muster hint list"})
			break
		}
		p := wire.Problem{What: fmt.Sprintf("%d points for group %d wait on node %s, the oldest for %s, in %d bytes of %d", v.Points, v.Group, name, age, v.Bytes, n.limits.Group), Remedy: "see that a majority of the group's nodes run; muster hint retry has them tried at once"}
		if v.Why != "" {
			p.What += ": " + v.Why
		}
		if v.Aside > 0 {
			p.What += fmt.Sprintf("; %d hints are not taken, though others are", v.Aside)
		}
		list = append(list, p)
	}
	if n.letters > 0 {
		list = append(list, wire.Problem{What: fmt.Sprintf("dead letters on node %s take %d bytes, of %d: points that were refused for good", name, n.letters, int64(lettersMax)), Remedy: "read the files in " + n.dir + " on its host, write again what is still wanted (muster point write -f FILE --db NAME: the comment before each hint names its database), and remove them"})
	}
	return list
}

// figures are those of a scrape.
func (n *hintNews) figures(p *metrics.Page) {
	if n == nil {
		return
	}
	hints := 0
	for i := range n.views {
		hints += n.views[i].Hints
	}
	p.Add(metrics.Hints, float64(hints))
	p.Add(metrics.HintBytes, float64(n.bytes))
	p.Add(metrics.HintsEnded, float64(n.totals.Arrived), "arrived")
	p.Add(metrics.HintsEnded, float64(n.totals.Buried), "dead letter")
	p.Add(metrics.HintsEnded, float64(n.totals.Purged), "purged")
	p.Add(metrics.HintsTaken, float64(n.totals.Taken), "kept")
	p.Add(metrics.HintsTaken, float64(n.totals.Full), "full")
}
