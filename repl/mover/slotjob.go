package mover

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// beginSlots is how many slots begin to move with one entry, at least, if so many are
	// left: each such entry goes to every node. Where few may move at once it is one of
	// beginParts parts of them, so that moves that are stuck hold up no others.
	beginSlots = 64
	beginParts = 8
	// sizePause lies between two times at which a group is asked for the sizes of slots.
	sizePause = 2 * time.Second
	// leaderlessAfter is for how long a group has no leader until moves that wait for one
	// take no room from others.
	leaderlessAfter = 10 * time.Second
)

// slotSizes are what the slots of jobs hold, as far as their owners have told. It is for
// people to read; a new leader asks again.
type slotSizes struct {
	bytes map[shardmap.Slot]uint64
	asked map[raft.GroupID]time.Duration // when a group was asked last
	// leaderless is since when nothing is known of a leader of a group in which slots move.
	leaderless map[raft.GroupID]time.Duration
}

// slotCount is how a job that moves slots stands.
type slotCount struct {
	done, kept, moving uint64
	left               []shardmap.Slot // that have not begun to move
	bytes, total       uint64
	waits              string // what the moves wait for; "": nothing that is known here
}

// slotJobs begins moves, and ends the jobs that have none left.
func (w *work) slotJobs() {
	t := w.table
	if t.Level < shardmap.MovesLevel {
		return
	}
	open, all := 0, 0
	var moves [shardmap.Slots]uint64 // the job that moves a slot
	var opens [shardmap.Slots]bool
	for i := range t.Moves {
		m := &t.Moves[i]
		all += m.Len()
		if m.State == shardmap.MoveOpen {
			w.c.of(m.From).watched, w.c.of(m.To).watched = true, true
			if !w.stands(m) {
				open += m.Len()
			}
		}
		for s := m.SlotRange.From; s <= m.SlotRange.To; s++ {
			// A move that is recorded may still be closed while the next one of its slot is open.
			if m.State == shardmap.MoveOpen {
				opens[s] = true
			}
			if moves[s] == 0 || m.State == shardmap.MoveOpen {
				moves[s] = m.Job
			}
		}
	}
	free := min(t.SlotParallel()-open, shardmap.MovesMax-all)
	busy := false
	for i := range t.Jobs {
		j := &t.Jobs[i]
		if j.State.Finished() || !j.Kind.AboutSlots() {
			continue
		}
		busy = true
		n := w.count(j, &moves, &opens)
		switch {
		case j.Cancelled && n.moving == 0:
			w.giveUp(j, &n, shardmap.JobCancelled, j.Why)
		case j.Cancelled || j.State != shardmap.JobRunning:
		case n.moving == 0 && len(n.left) == 0 && n.kept > 0:
			w.giveUp(j, &n, shardmap.JobFailed, fmt.Sprintf("slots %s are not empty, and stay; muster slot move takes them too", ranges(j.Kept)))
		case n.moving == 0 && len(n.left) == 0:
			w.finish(j, shardmap.JobDone, "")
		default:
			free -= w.beginMoves(j, n.left, free)
		}
		if j.State == shardmap.JobRunning {
			w.slotProgress(j, &n)
			w.askSizes(j)
		}
	}
	if !busy {
		w.c.sizes = slotSizes{}
	}
}

// stands reports whether an open move takes nothing from others for now: its job is paused,
// or one of its groups has had no leader for long.
func (w *work) stands(m *shardmap.Move) bool {
	j, _ := w.table.Job(m.Job)
	return j.State == shardmap.JobPaused || w.leaderless(m.From) || w.leaderless(m.To)
}

func (w *work) leaderless(g raft.GroupID) bool {
	z := &w.c.sizes
	if w.led(g) {
		delete(z.leaderless, g)
		return false
	}
	since, known := z.leaderless[g]
	if !known {
		if z.leaderless == nil {
			z.leaderless = map[raft.GroupID]time.Duration{}
		}
		since = w.now
		z.leaderless[g] = since
	}
	if due := since + leaderlessAfter; w.now < due {
		w.c.jobs.next = min(w.c.jobs.next, due)
		return false
	}
	return true
}

// led reports whether a leader of the group is known that can be asked.
func (w *work) led(g raft.GroupID) bool {
	o := w.c.of(g)
	return o.told != nil && !w.c.silent(o.from)
}

// count looks how far a job is.
func (w *work) count(j *shardmap.Job, moves *[shardmap.Slots]uint64, opens *[shardmap.Slots]bool) (n slotCount) {
	kept := map[shardmap.Slot]bool{}
	for _, r := range j.Kept {
		for s := r.From; s <= r.To; s++ {
			kept[s] = true
		}
	}
	groups := map[raft.GroupID]bool{}
	for _, to := range j.Targets {
		for s := to.SlotRange.From; s <= to.SlotRange.To; s++ {
			size := w.c.sizes.bytes[s]
			n.total += size
			mine := moves[s] == j.ID
			if mine {
				n.moving++
				groups[to.From], groups[to.To] = true, true
			}
			switch {
			case w.table.Slots[s] == to.To:
				n.done++
				n.bytes += size
			case kept[s]:
				n.kept++
			case !mine && !opens[s]:
				n.left = append(n.left, s)
			}
		}
	}
	for _, g := range inOrder(groups) {
		if !w.led(g) {
			n.waits = fmt.Sprintf("waits for a leader of %s", g)
			break
		}
	}
	return n
}

// beginMoves begins moves of some slots of a job, and returns how many.
func (w *work) beginMoves(j *shardmap.Job, left []shardmap.Slot, free int) (begun int) {
	if free < min(len(left), beginSlots, (w.table.SlotParallel()+beginParts-1)/beginParts) || free <= 0 {
		return 0
	}
	left = left[:min(len(left), free)]
	byTarget := map[raft.GroupID][]shardmap.Slot{}
	for _, s := range left {
		to, _ := j.Target(s)
		byTarget[to.To] = append(byTarget[to.To], s)
	}
	for _, g := range inOrder(byTarget) {
		w.c.propose(w.now, fmt.Sprintf("begin %d %d", j.ID, g), append1(shardmap.AppendMoveBegin(nil, &shardmap.MoveBegin{
			Job: j.ID, Slots: shardmap.SlotRanges(byTarget[g]), To: g, Empty: j.Kind == shardmap.JobAssign,
		})))
	}
	return len(left)
}

// slotProgress has the table note how far a job is.
func (w *work) slotProgress(j *shardmap.Job, n *slotCount) {
	p := shardmap.JobBytes{ID: j.ID, Done: n.done, Total: j.Total, Bytes: n.bytes, BytesTotal: n.total, Why: n.waits}
	if j.Cancelled {
		p.Why = j.Why
	}
	if p.Done == j.Done && p.Bytes == j.Bytes && p.BytesTotal == j.BytesTotal && p.Why == j.Why {
		return
	}
	c := w.c
	if due, ok := c.jobs.told[j.ID]; ok && w.now < due {
		c.jobs.next = min(c.jobs.next, due)
		return
	}
	w.notes(&p)
}

// notes has the table take the count of a job that moves slots.
func (w *work) notes(p *shardmap.JobBytes) {
	w.c.jobs.told[p.ID] = w.now + progressPause
	w.c.propose(w.now, fmt.Sprintf("progress %d", p.ID), append1(shardmap.AppendJobBytes(nil, p)))
}

// giveUp ends a job that has not done all it was made for, once the table has its last count: what it
// did stays, people read there how much that is, and nobody counts again. Progress waits out a pause,
// in which a short job begins and ends.
func (w *work) giveUp(j *shardmap.Job, n *slotCount, s shardmap.JobState, why string) {
	if j.Done != n.done {
		w.notes(&shardmap.JobBytes{ID: j.ID, Done: n.done, Total: j.Total, Bytes: n.bytes, BytesTotal: n.total, Why: short(why)})
		return
	}
	w.finish(j, s, why)
}

// askSizes asks the owners of a job's slots how large those are of which that is not known.
func (w *work) askSizes(j *shardmap.Job) {
	z := &w.c.sizes
	if z.bytes == nil {
		z.bytes, z.asked = map[shardmap.Slot]uint64{}, map[raft.GroupID]time.Duration{}
	}
	lack := map[raft.GroupID][]shardmap.Slot{}
	for _, to := range j.Targets {
		for s := to.SlotRange.From; s <= to.SlotRange.To; s++ {
			if _, known := z.bytes[s]; !known {
				g := w.table.Slots[s]
				lack[g] = append(lack[g], s)
			}
		}
	}
	for _, g := range inOrder(lack) {
		o := w.c.of(g)
		if !w.led(g) {
			continue // its leader is looked for, and then another decision made
		}
		if at, asked := z.asked[g]; asked && w.now < at+sizePause {
			w.c.jobs.next = min(w.c.jobs.next, at+sizePause)
			continue
		}
		z.asked[g] = w.now
		for slots := lack[g]; len(slots) > 0; {
			n := min(len(slots), CarrySlotsMax)
			row, _ := w.table.Group(g)
			w.c.begin(w.now, Action{Kind: View, Node: o.from, Group: g, Incarnation: row.Incarnation, Slots: shardmap.SlotRanges(slots[:n])}, "")
			slots = slots[n:]
		}
	}
}

// Viewed hands in the answer to the View of that number, and ends it.
func (c *Core) Viewed(now time.Duration, a uint64, r *wire.SlotViewAnswer) {
	f := c.flights[a]
	if f == nil || f.kind != View {
		return
	}
	if c.sizes.bytes != nil {
		for i := range r.Rows {
			// What is sealed has its size still; what is on its way to another owner by now,
			// that one tells.
			if v := &r.Rows[i]; v.Holding != shardmap.HoldsNothing {
				c.sizes.bytes[v.Slot] = v.Bytes
			}
		}
	}
	c.end(now, a, nil)
}

// ranges names runs of slots for a person.
func ranges(runs []shardmap.SlotRange) string {
	var text []string
	for _, r := range runs {
		if r.From == r.To {
			text = append(text, fmt.Sprint(r.From))
		} else {
			text = append(text, r.String())
		}
	}
	const most = 8
	if len(text) > most {
		text = append(slices.Clip(text[:most]), "…")
	}
	return strings.Join(text, ", ")
}
