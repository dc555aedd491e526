package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"muster/logstore"
	"muster/logstore/hints"
	"muster/raft"
	"muster/repl"
	"muster/repl/hinting"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// Points that their group can't take are kept by nodes as hints, in files beside the log, and brought to the group later. The files and the
// core that decides are the real ones, and each node drives them as node/hinting.go does. Whatever befalls it, a hint whose node has
// said that it keeps it arrives in its group, as a fill, or is named in a dead letter. It goes with its node only if that never comes back, or comes
// back with an older disk.

const (
	// hintWithin is how long a try may take to bring a hint to its group, as in node/hinting.go.
	hintWithin = 5 * time.Second
	// hintTorn is how many writes of hints there are for each in the midst of which the power goes.
	hintTorn = 40
	// lettersDir is where dead letters are, in the data directory.
	lettersDir = "letters"
)

// hintFiles are the hints of a node.
type hintFiles struct {
	n *node

	// Of the process.
	store   *hints.Store
	core    *hinting.Core
	puts    []hints.Put
	waits   map[uint64]*hint // that are being written, by number
	forget  []uint64
	writes  bool // a write is under way
	planned bool
	due     time.Duration           // when the next turn is due by itself
	seen    map[raft.GroupID]uint64 // the highest index of each group that an answer has named
	letters map[string]bool         // those that the disk has, by what they are of
}

// hint is points that were handed to a node to keep.
type hint struct {
	n        *node
	group    raft.GroupID
	says     []byte // the body of the command
	share    uint64 // sum of its points
	applied  uint64 // by the group, when it was taken
	answered bool   // its node has said that it keeps it
	lost     bool   // with its node
	buried   bool
	last     string // why it was not taken in, the last time
}

// hintTry is a try to bring a hint to its group.
type hintTry struct {
	p      *hintFiles
	h      *hint
	number uint64
	life   uint32
	over   bool
}

// open is the start of a process: what it has answered is there, or has arrived, or is a dead letter.
func (p *hintFiles) open() error {
	n, x := p.n, &p.n.c.series
	if !x.active {
		return nil
	}
	log := n.store
	store, err := hints.Open(hints.Options{FS: n.files.fs, Dir: dataDir, Chance: x.own.next(), Leave: func() int64 { return logstore.LeaveFree(log) }, File: 4 << 10, Log: n.c.logger(n.index)})
	if err != nil {
		return err
	}
	*p = hintFiles{n: n, store: store, core: hinting.New(x.hintLimits), waits: map[uint64]*hint{}, seen: map[raft.GroupID]uint64{}}
	if err := p.readLetters(); err != nil {
		return err
	}
	kept := map[uint64]bool{}
	var all []hinting.Hint
	for _, o := range store.All() {
		all = append(all, hinting.Hint{Number: o.Number, Group: o.Group, Bytes: o.Size, Points: o.Points, Taken: o.Taken})
		if says, err := store.Read(o.Number); err == nil {
			kept[xxhash.Sum64(says)] = true
		} else if !n.refusals.any() {
			n.c.fail("I21: n%d has hint %d on its disk, and can't read it: %v", n.index, o.Number, err)
		}
	}
	p.core.Restore(all, store.Last())
	if n.refusals.any() {
		return nil
	}
	for _, h := range x.hints {
		if h.n != n || !h.answered || kept[xxhash.Sum64(h.says)] {
			continue
		}
		if x.fate(h) == "" {
			n.c.fail("I21: n%d starts without a hint for group %d that it had said it keeps; it has not arrived, and no dead letter names it", n.index, h.group)
		}
	}
	p.plan(0)
	return nil
}

// fate says what has become of a hint; "": nothing yet.
func (x *series) fate(h *hint) string {
	switch t := &x.c.truth[h.group].series; {
	case t.fills[h.share]:
		return "arrived"
	case h.buried || h.n.files.hints.letters[h.name()]:
		return "buried"
	case h.lost || h.n.dead:
		return "lost"
	}
	return ""
}

// name is what a letter is found by.
func (h *hint) name() string { return fmt.Sprintf("%016x.letter", xxhash.Sum64(h.says)) }

func (p *hintFiles) end() { p.store, p.core = nil, nil }

// bytes is how much of the disk they take.
func (p *hintFiles) bytes() (n int64) {
	if p.store != nil {
		n, _ = p.store.Used()
	}
	return n
}

func (p *hintFiles) readLetters() error {
	names, err := logstore.Insist(func() ([]string, error) { return p.n.files.fs.List(path.Join(dataDir, lettersDir)) })
	p.letters = map[string]bool{}
	for _, name := range names {
		if strings.HasSuffix(name, ".letter") {
			p.letters[name] = true
		}
	}
	if errors.Is(err, logstore.ErrRefused) {
		return err
	}
	return nil // there is no directory yet
}

func (p *hintFiles) now() hinting.Now {
	return hinting.Now{Host: p.n.ticks.now(), Wall: p.n.c.series.wall(p.n)}
}

// hand has a node keep points, as a gateway does that finds nobody to take them.
func (x *series) hand(g raft.GroupID, b shardmap.PointsBody) {
	n := x.c.nodes[x.own.below(len(x.c.nodes))]
	p := &n.files.hints
	if !n.up || n.paused || p.store == nil || n.leave.closing {
		return
	}
	// As hintKeeper.known: what this node knows that the group has applied.
	index := p.seen[g]
	if w, ok := n.host.Machine(g).(*watched); ok {
		index = max(index, w.at.Index)
	}
	applied := uint64(len(x.c.truth[g].entries))
	hinting.AsFill(&b, index)
	command := b.Command()
	h := &hint{n: n, group: g, says: command.Items[0], share: shareSum(b.Share), applied: applied}
	o, err := p.core.Take(p.now(), g, hints.Size(len(h.says)), 1)
	if err != nil {
		x.c.result.Series.Full++
		return
	}
	x.hints = append(x.hints, h)
	x.hinted[h.share] = h
	p.puts = append(p.puts, hints.Put{Hint: hints.Hint{Number: o.Number, Group: g, Taken: o.Taken, Points: 1}, Says: h.says})
	p.waits[o.Number] = h
	p.plan(0)
}

// shareSum is the checksum that a share of points ends with.
func shareSum(share []byte) uint64 { return binary.LittleEndian.Uint64(share[len(share)-8:]) }

func (p *hintFiles) plan(d time.Duration) {
	if p.planned || p.core == nil {
		return
	}
	p.planned = true
	p.n.soon(d, p.turn)
}

// turn writes what there is to write, and lets the core act.
func (p *hintFiles) turn() {
	p.planned = false
	n := p.n
	if p.writes || p.core == nil || n.host == nil {
		return
	}
	if len(p.puts) > 0 || len(p.forget) > 0 {
		p.writes = true
		n.soon(n.beside.stepTime(), p.write)
		return
	}
	actions, next := p.core.Turn(p.now())
	life := n.life
	for i := range actions {
		if !n.up || n.life != life {
			return
		}
		p.act(&actions[i])
	}
	if !n.up || n.life != life {
		return
	}
	if len(p.forget) > 0 {
		p.plan(p.n.c.series.own.skewed(time.Millisecond, time.Second)) // with what comes meanwhile
	}
	if d := next - n.ticks.now(); d < time.Hour {
		p.due = n.ticks.now() + d
		due := p.due
		n.soon(max(d, time.Millisecond), func() {
			if p.due == due {
				p.plan(0)
			}
		})
	}
}

// write keeps what came, and forgets what is to be forgotten, with one write and one sync. The power may go in the midst of it.
func (p *hintFiles) write() {
	n, x := p.n, &p.n.c.series
	if p.writes = false; p.store == nil {
		return
	}
	torn := !x.c.chaos.stopped && x.own.below(hintTorn) == 0 && n.c.majorities(func(o *node) bool { return o != n && o.up && !o.paused && !o.dead && !o.halted })
	if torn {
		n.files.mem.StopAt(1 + x.own.below(4))
	}
	puts, forget := p.puts, p.forget
	p.puts, p.forget = nil, nil
	err := p.store.Append(puts, forget)
	if torn {
		n.c.note(n.index, "loses its power while it writes hints")
		n.end(n.c.chaos.power())
		return
	}
	if err != nil {
		n.c.note(n.index, "hints not written: %v", err)
	}
	for i := range puts {
		number := puts[i].Number
		p.core.Kept(number, err)
		if err != nil {
			delete(p.waits, number)
		}
	}
	for _, number := range forget {
		p.ended(number, doneBy(err))
	}
	p.plan(0)
}

func doneBy(err error) hinting.Outcome {
	if err != nil {
		return hinting.Outcome{Kind: hinting.Later, Why: err.Error()}
	}
	return hinting.Outcome{Kind: hinting.Done}
}

func (p *hintFiles) ended(number uint64, o hinting.Outcome) {
	p.core.Ended(p.now(), number, o)
	p.plan(0)
}

// act carries out an action of the core.
func (p *hintFiles) act(a *hinting.Action) {
	n, x := p.n, &p.n.c.series
	number := a.Hint.Number
	switch a.Kind {
	case hinting.Answer:
		if h := p.waits[number]; h != nil {
			h.answered = true
			x.c.result.Series.Hinted++
			delete(p.waits, number)
		}
	case hinting.Forget:
		p.forget = append(p.forget, number)
	case hinting.Bury:
		n.soon(n.beside.stepTime(), func() {
			if p.core != nil {
				p.ended(number, doneBy(p.bury(number, a.Why)))
			}
		})
	case hinting.Propose:
		p.bring(number)
	}
}

// of returns the hint of a number, by what its file says.
func (p *hintFiles) of(number uint64) (*hint, error) {
	says, err := p.store.Read(number)
	if err != nil {
		return nil, err
	}
	for _, h := range p.n.c.series.hints {
		if h.n == p.n && string(h.says) == string(says) {
			return h, nil
		}
	}
	p.n.c.fail("I21: n%d has a hint %d that it was never handed", p.n.index, number)
	return nil, nil
}

// bury writes a dead letter, whose name stands for all that it says.
func (p *hintFiles) bury(number uint64, why string) error {
	h, err := p.of(number)
	if err != nil {
		return err
	}
	disk, dir := p.n.files.fs, path.Join(dataDir, lettersDir)
	if err := disk.MkdirAll(dir); err != nil {
		return err
	}
	temp := path.Join(dir, "letter.tmp")
	f, err := disk.Create(temp)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(h.says, 0); err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = disk.Rename(temp, path.Join(dir, h.name()))
	}
	if err == nil {
		err = disk.SyncDir(dir)
	}
	if err == nil {
		p.letters[h.name()] = true
		if h.buried = true; h.answered {
			p.n.c.result.Series.Buried++
		}
		p.n.c.note(p.n.index, "hint %d for group %d goes to the dead letters: %s", number, h.group, why)
	}
	return err
}

// bring brings a hint to its group: to the node that seems to lead it. The question may be lost or come twice, and the answer may be late or lost.
func (p *hintFiles) bring(number uint64) {
	n, c := p.n, p.n.c
	x := &c.series
	h, err := p.of(number)
	if err != nil {
		n.soon(0, func() { p.ended(number, doneBy(err)) })
		return
	}
	t := &hintTry{p: p, h: h, number: number, life: n.life}
	table := n.known.kept()
	body, err := shardmap.ReadPoints(&shardmap.Command{Kind: shardmap.CommandPoints, Items: [][]byte{h.says}})
	if err != nil {
		c.fail("n%d: hint %d brings no points: %v", n.index, number, err)
	}
	if table == nil {
		t.ends(0, hinting.Outcome{Kind: hinting.Later, Why: "there is no table here yet"})
		return
	}
	w, ok := table.Catalog.Window(body.Shard.Window)
	switch {
	case !ok && uint64(body.Shard.Window) <= table.Index:
		t.ends(0, hinting.Outcome{Kind: hinting.Refused, Why: "its window was dropped"})
		return
	case !ok:
		t.ends(0, hinting.Outcome{Kind: hinting.Later, Why: "the table does not have its window yet"})
		return
	}
	group := w.Shards[body.Shard.Shard]
	n.soon(hintWithin, func() { t.finish(hinting.Outcome{Kind: hinting.Maybe, Why: "no answer"}) })
	times, late := 1, time.Duration(0)
	if !c.chaos.stopped {
		switch x.own.below(8) {
		case 0:
			times = 2
		case 1:
			times = 0
		case 2:
			late = x.own.skewed(time.Millisecond, hintWait)
		}
	}
	command := body.Command()
	entry := wire.AppendWrite(nil, &command)
	for i := range times {
		c.order.call(c.net.latency()+late*time.Duration(i+1), func() {
			o := c.leaderOf(group)
			if o == nil || !n.where.reaches(o.index) && o != n {
				return
			}
			o.host.Propose(repl.Proposal{Group: group, Entry: machine.NewEntry(wire.Origin{Time: o.ticks.wall()}, entry), Deadline: o.ticks.now() + moveDeadline, Reply: repl.Reply{To: t}})
			o.turn()
		})
	}
}

// ends ends the try after a while.
func (t *hintTry) ends(d time.Duration, o hinting.Outcome) {
	t.p.n.inLife(t.life, d, func() { t.finish(o) })
}

// finish ends the try, unless it is over.
func (t *hintTry) finish(o hinting.Outcome) {
	if t.over || t.p.core == nil || t.p.n.life != t.life {
		return
	}
	t.over = true
	if o.Kind != hinting.Done {
		t.h.last = o.Why
	}
	t.p.ended(t.number, o)
}

// Answer implements [repl.Replier].
func (t *hintTry) Answer(_ repl.Reply, wt wire.Type, body []byte) bool {
	c := t.p.n.c
	x := &c.series
	lost := !c.chaos.stopped && x.own.below(8) == 0
	if wt == wire.TypeError {
		e := new(wire.Error)
		if err := e.Read(body); err != nil {
			c.fail("a hint is answered with an error that can't be read: %v", err)
		}
		o := hinting.Outcome{Kind: hinting.Later, Why: e.Error()}
		switch e.Code {
		case wire.CodeMaybeApplied:
			o.Kind = hinting.Maybe
		case wire.CodeBadRequest:
			if o.Kind = hinting.Refused; !c.truth[t.h.group].series.passed[t.h.share] {
				c.fail("I21: a hint for group %d is refused, and all deletes behind it are remembered: %v", t.h.group, e)
			}
		case wire.CodeTooLarge, wire.CodeNotFound, wire.CodeConflict, wire.CodeOverLimit:
			o.Kind = hinting.Refused
		}
		if !lost {
			t.ends(c.net.latency(), o)
		}
		return false
	}
	var a wire.PointsAnswer
	if err := a.Read(body); err != nil || wt != wire.TypePointsAnswer {
		c.fail("a hint is answered with a %s: %v", wt, err)
	}
	x.decided("a hint", c.truth[a.Group], a.ID, t.h.says, pointsSay(&a.Outcome))
	x.c.result.Series.Filled++
	if !lost {
		o := hinting.Outcome{Kind: hinting.Done, Came: a.Outcome}
		t.p.n.inLife(t.life, c.net.latency(), func() {
			if t.p.seen != nil {
				t.p.seen[a.Group] = max(t.p.seen[a.Group], a.ID.Index)
			}
			t.finish(o)
		})
	}
	return false
}

// Flush implements [repl.Replier].
func (t *hintTry) Flush() {}

// settledHints has a healed cluster bring what is left, and reports whether none is.
func (x *series) settledHints() bool {
	left := false
	for _, n := range x.c.nodes {
		p := &n.files.hints
		if n.dead {
			continue
		}
		if !n.up || p.core == nil {
			return false
		}
		if p.store.Halted() != nil {
			n.crash(PowerKeep) // its disk has failed once: the next start reads what is there
			return false
		}
		if len(p.core.Views()) > 0 || len(p.puts) > 0 || len(p.forget) > 0 || p.writes {
			p.core.Retry(hinting.All)
			p.plan(0)
			left = true
		}
	}
	if left {
		return false
	}
	for _, h := range x.hints {
		if h.answered && x.fate(h) == "" {
			x.c.fail("I21: n%d had said that it keeps a hint for group %d, and has none any more; it has not arrived, and no dead letter names it: %s", h.n.index, h.group, h.last)
		}
	}
	return true
}

// hintsPicture says which hints wait.
func (x *series) hintsPicture() (s string) {
	for _, n := range x.c.nodes {
		if p := &n.files.hints; p.core != nil {
			for _, v := range p.core.Views() {
				s += fmt.Sprintf("n%d: %+v, its disk of hints: %v\n", n.index, v, p.store.Halted())
			}
		}
	}
	return s
}

// forgets notes that the disk of a node is an older one from now on: hints that it had said it keeps may be gone.
func (p *hintFiles) forgets() {
	for _, h := range p.n.c.series.hints {
		if h.n == p.n && h.answered && p.n.c.series.fate(h) == "" {
			h.lost = true
		}
	}
}
