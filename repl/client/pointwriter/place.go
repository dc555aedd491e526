package pointwriter

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
)

// MissingMax bounds the windows that one write may have made. Each is an entry of group 0.
const MissingMax = 256

// placing says which windows the points of a write belong to.
type placing struct {
	catalog *shardmap.Catalog
	policy  *shardmap.Policy
	now     int64               // in nanoseconds since 1970 UTC
	made    []wire.WindowAnswer // that this write asked for, by start: the table may not have them yet
	gaps    []gap               // without a window, by time; none has a time of another one
	missing int                 // gaps that are to be asked for
}

// gap is a span of time without a window for points of this write.
type gap struct {
	span points.Window
	time int64 // in span: a window is asked for by it
	// lack is why there is none; nil: it is to be asked for.
	lack *lack
}

// lack is why points find no window.
type lack struct {
	dropped bool       // else they fail
	reason  DropReason // of dropped ones
	why     string
	err     error // of others
}

// target is where a share goes.
type target struct {
	window shardmap.WindowID
	span   points.Window // of the window, whatever it was truncated to
	takes  points.Window // of these times
	shards []raft.GroupID
}

// at returns the window that takes points of a time.
func (p *placing) at(t int64) (target, bool) {
	if w, ok := p.catalog.WindowAt(p.policy.ID, t); ok && w.Hidden == 0 {
		return target{w.ID, w.Span(), points.Window{First: w.Start, Last: w.Truncated - 1}, w.Shards}, true
	}
	i, found := slices.BinarySearchFunc(p.made, t, func(w wire.WindowAnswer, t int64) int { return cmp.Compare(w.Start, t) })
	if !found {
		i--
	}
	if i < 0 || t >= p.made[i].Truncated {
		return target{}, false
	}
	w := &p.made[i]
	return target{shardmap.WindowID(w.Window), points.Window{First: w.Start, Last: w.End - 1}, points.Window{First: w.Start, Last: w.Truncated - 1}, w.Shards}, true
}

// gapAt returns the gap that has a time, or where it would be.
func (p *placing) gapAt(t int64) (i int, ok bool) {
	i, found := slices.BinarySearchFunc(p.gaps, t, func(g gap, t int64) int { return cmp.Compare(g.span.First, t) })
	if !found && i > 0 && p.gaps[i-1].span.Contains(t) {
		return i - 1, true
	}
	return i, found
}

// of is the [points.Placing] of the write. A time without a window gets a gap.
func (p *placing) of(t int64) (points.Window, uint32) {
	if x, ok := p.at(t); ok {
		return x.takes, uint32(len(x.shards))
	}
	i, ok := p.gapAt(t)
	if !ok {
		p.gaps = slices.Insert(p.gaps, i, p.gap(t))
	}
	return p.gaps[i].span, 0
}

// gap makes a gap around a time: as long as the window would be. Where nobody keeps points any more, by this clock and with
// something to spare, one gap has all such times, and the leader is asked about the latest of them. Once as many are to be
// asked for as may be, a gap is as long as there is no window, so that there are few of them.
func (p *placing) gap(t int64) gap {
	span := p.between(t)
	if p.missing == MissingMax {
		return gap{span, t, &lack{why: fmt.Sprintf("more than %d windows are missing for one write; send points of fewer times at once", MissingMax)}}
	}
	p.missing++
	if old := p.old(); t <= old {
		span.Last = min(span.Last, old)
		return gap{span, span.Last, nil}
	}
	in := p.catalog.NewSpan(p.policy, t)
	if w, ok := p.catalog.WindowAt(p.policy.ID, t); ok { // which is hidden
		in = points.Window{First: w.Start, Last: w.Truncated - 1}
	}
	span = points.Window{First: max(span.First, in.First), Last: min(span.Last, in.Last)}
	return gap{span, span.First, nil}
}

// clockSpare is by how much this node's clock may be wrong before it takes points for older than the leader does.
const clockSpare = time.Hour

// old returns the last time whose window is over for certain; before all times where the policy keeps them for ever. It is
// the same for an hour, so that a refusal is remembered for as long as it counts.
func (p *placing) old() int64 {
	ago := p.policy.Duration + p.policy.WindowDuration + clockSpare
	if p.policy.Duration == 0 || ago < 0 || p.now < points.TimeMin+int64(ago) {
		return points.TimeMin - 1
	}
	return points.WindowOf(p.now-int64(ago), time.Hour).First
}

// between returns the times around one, which has neither a window nor a gap, up to the next ones that have.
func (p *placing) between(t int64) points.Window {
	span := points.Window{First: points.TimeMin, Last: points.TimeMax}
	cut := func(o points.Window) {
		switch {
		case o.Last < t:
			span.First = max(span.First, o.Last+1)
		case o.First > t:
			span.Last = min(span.Last, o.First-1)
		}
	}
	windows := p.catalog.WindowsOf(p.policy.ID)
	for i := range windows {
		if w := &windows[i]; w.Truncated > w.Start && w.Hidden == 0 {
			cut(points.Window{First: w.Start, Last: w.Truncated - 1})
		}
	}
	for i := range p.made {
		cut(points.Window{First: p.made[i].Start, Last: p.made[i].Truncated - 1})
	}
	for i := range p.gaps {
		cut(p.gaps[i].span)
	}
	return span
}

// add takes note of a window that was made, and takes out the gap that was asked for.
func (p *placing) add(asked points.Window, w *wire.WindowAnswer) {
	p.remove(asked)
	i, found := slices.BinarySearchFunc(p.made, w.Start, func(w wire.WindowAnswer, start int64) int { return cmp.Compare(w.Start, start) })
	if !found {
		p.made = slices.Insert(p.made, i, *w)
	}
}

// remove takes out a gap.
func (p *placing) remove(span points.Window) {
	p.gaps = slices.DeleteFunc(p.gaps, func(g gap) bool { return g.span == span })
}

// lacking takes note of why there is no window in a gap. If it is that its points are no longer kept, it holds for all gaps
// before it.
func (p *placing) lacking(asked points.Window, l *lack) {
	for i := range p.gaps {
		if g := &p.gaps[i]; g.span == asked || l.dropped && l.reason == BeyondRetention && g.lack == nil && g.span.Last < asked.First {
			g.lack = l
		}
	}
}

// next returns the latest gaps that are to be asked for.
func (p *placing) next(n int) (gaps []gap) {
	for i := len(p.gaps) - 1; i >= 0 && len(gaps) < n; i-- {
		if p.gaps[i].lack == nil {
			gaps = append(gaps, p.gaps[i])
		}
	}
	return gaps
}
