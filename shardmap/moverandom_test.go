package shardmap

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"muster/raft"
)

// moveGroup is one group: its log is what is applied to each of its replicas.
type moveGroup struct {
	id       raft.GroupID
	replicas [2]*Map
	last     raft.LogID
	now      raft.GroupTime
	slots    map[Slot]*moveModel
	rules    VersionRules
}

// moveStream sends a slot: what a leader of the source keeps in memory.
type moveStream struct {
	attempt Attempt
	index   uint64
	old     *SlotCopy // of which the target has all
	oldAt   raft.LogID
	now     *SlotCopy // of the pass under way
	nowAt   raft.LogID
	diff    *Diff
	source  *moveData // as of nowAt
}

type moveOf struct {
	slot     Slot
	number   uint64
	from, to int // groups
	stream   *moveStream
	// sealedData is what was in the slot at the seal, with which a takeover names a digest.
	sealedData *moveData
	takeover   Step
}

// sentPiece is a piece that was made, for a late delivery.
type sentPiece struct {
	piece  Piece
	to     int
	source *moveData
}

// moveWorld is a set of groups that move slots between each other. Anybody may take steps: right
// or wrong ones, late, twice, and of several moves at once.
type moveWorld struct {
	*rand.Rand
	groups   []*moveGroup
	slots    []Slot
	moves    []*moveOf
	sent     []sentPiece
	number   uint64
	attempts uint64
	writes   map[modelSessionKey]uint64
	retries  []Command
	done     map[string]int // how often each kind of step had each outcome
	tallies  *rand.Rand     // what is counted when; apart, for it changes nothing else
	rules    *rand.Rand     // which keys keep their versions when; nil: none ever does
}

const (
	moveGroups   = 3
	moveSessions = 6
	moveStepsRun = 700
)

func newMoveWorld(seed uint64) *moveWorld {
	w := &moveWorld{Rand: rand.New(rand.NewPCG(seed, 77)), writes: map[modelSessionKey]uint64{}, done: map[string]int{}, number: 10,
		tallies: rand.New(rand.NewPCG(seed, 78))}
	for _, tag := range testTags {
		w.slots = append(w.slots, SlotOf([]byte(tag)))
	}
	slices.Sort(w.slots)
	if seed%2 == 1 {
		w.rules = rand.New(rand.NewPCG(seed, 79))
	}
	for i := range moveGroups {
		g := &moveGroup{id: raft.GroupID(i + 1), last: raft.LogID{Term: 1, Index: uint64(1 + 1000*i)}, slots: map[Slot]*moveModel{}, now: raft.GroupTime(i) * SessionKeep}
		for r := range g.replicas {
			g.replicas[r] = NewMap(g.id)
		}
		for _, s := range w.slots {
			g.slots[s] = &moveModel{view: SlotView{Slot: s}}
		}
		w.groups = append(w.groups, g)
	}
	return w
}

func (w *moveWorld) run() error {
	first := w.groups[0]
	c := OwnCommand(&Own{Number: 3, Slots: SlotRanges(w.slots)})
	if _, err := w.apply(first, &c); err != nil {
		return err
	}
	for _, s := range w.slots {
		m := first.slots[s]
		m.view.Holding, m.view.Mark, m.data = HoldsOwned, 3, newMoveData()
		m.data.group = first.id
	}
	for _, g := range w.groups {
		if w.rules == nil {
			break
		}
		raised := RaiseCommand(Level)
		if _, err := w.apply(g, &raised); err != nil {
			return err
		}
	}
	for n := range moveStepsRun {
		if w.rules != nil && w.rules.IntN(20) == 0 {
			if err := w.rule(w.groups[w.rules.IntN(moveGroups)]); err != nil {
				return fmt.Errorf("turn %d: %w", n, err)
			}
		}
		if err := w.turn(); err != nil {
			return fmt.Errorf("turn %d: %w", n, err)
		}
		if err := w.tally(); err != nil {
			return fmt.Errorf("turn %d: %w", n, err)
		}
	}
	return nil
}

func (w *moveWorld) turn() error {
	g := w.groups[w.IntN(moveGroups)]
	g.now += raft.GroupTime([]int64{0, 1, 1e9, 20e9}[w.IntN(4)])
	switch k := w.IntN(100); {
	case k < 30:
		return w.write(g)
	case k < 33:
		return w.expire(g)
	case k < 36:
		return w.restore(g)
	case k < 40:
		w.begin()
		return nil
	case k < 55:
		return w.piece(w.pick())
	case k < 65:
		return w.step(moveKinds[w.IntN(len(moveKinds))], w.pick())
	}
	return w.forward()
}

var moveKinds = []CommandKind{CommandSeal, CommandTakeover, CommandTakeover, CommandTakeover, CommandRefuse, CommandCancel, CommandUnseal, CommandDrop, CommandDrop, CommandForget}

// forward takes the next step of a correct runner in one of the last moves.
func (w *moveWorld) forward() error {
	x := w.pick()
	a, b := w.groups[x.from].slots[x.slot].view, w.groups[x.to].slots[x.slot].view
	if k, ok := stepAfter(&a, &b, x.number, func() bool { return w.IntN(3) == 0 }); ok {
		return w.step(k, x)
	}
	return w.piece(x)
}

// stepAfter returns the next step that a correct runner takes in a move, given the views that
// its source and target have of the slot, or false if it must send a piece first. seal decides
// whether to seal the source once all that it holds has been sent.
func stepAfter(source, target *SlotView, number uint64, seal func() bool) (CommandKind, bool) {
	i := slices.IndexFunc(target.Decisions, func(d Decision) bool { return d.Number == number })
	sealed := source.Holding == HoldsSealed && source.Number == number
	whole := target.Import.Number == number && !target.Import.Partial
	switch {
	case i >= 0 && sealed && target.Decisions[i].Taken:
		return CommandDrop, true
	case i >= 0 && sealed:
		return CommandUnseal, true
	case i >= 0:
		return CommandForget, true
	case sealed && whole && target.Import.At == source.Sealed:
		return CommandTakeover, true
	case source.Holding == HoldsOwned && source.Mark < number && whole && seal():
		return CommandSeal, true
	}
	return 0, false
}

// apply applies a command to both replicas, which must agree.
func (w *moveWorld) apply(g *moveGroup, c *Command) (r Result, err error) {
	g.last.Index += 1 + uint64(w.IntN(3))
	if w.IntN(20) == 0 {
		g.last.Term++
	}
	if r, err = g.replicas[0].Apply(g.last, g.now, c); err != nil {
		return r, err
	}
	other, err := g.replicas[1].Apply(g.last, g.now, c)
	if err != nil || !sameResult(other, r) || c.Kind.Moves() && !reflect.DeepEqual(g.replicas[0].StepResults(), g.replicas[1].StepResults()) {
		return r, fmt.Errorf("%s of %s: a replica has %+v, another %+v, %v", c.Kind, g.id, r, other, err)
	}
	return r, nil
}

func (w *moveWorld) key(tag string) string { return fmt.Sprintf("%s%02d", tag, w.IntN(30)) }

// write writes to any group, whether it has the slot or not.
func (w *moveWorld) write(g *moveGroup) error {
	tag := testTags[w.IntN(len(testTags))]
	slot := SlotOf([]byte(tag))
	c := Command{Kind: CommandSet, Slot: slot}
	switch w.IntN(10) {
	case 9:
		c = randomDelPrefix(w.Rand, tag, g.replicas[0].Applied().Index)
	case 4, 5:
		c = w.txn(g, slot, tag)
	case 8:
		c = randomService(w.Rand, tag)
	case 6:
		op, id, ttl := LeaseOp(1+w.IntN(3)), w.leaseIn(g, slot), uint64(0)
		if op == LeaseGrant {
			id, ttl = 0, 1+w.Uint64N(40_000)
		}
		c = LeaseCommand(slot, op, id, ttl)
	case 0:
		c.Kind = CommandDel
		c.Items = items(w.key(tag))
	case 1:
		c.Items = items(tag+"x", "1", tag+"y", "2", w.key(tag), strings.Repeat("v", w.IntN(2000)))
	default:
		c.Items = items(w.key(tag), strings.Repeat("w", w.IntN(300)))
	}
	c.Admitted = 1e12 + g.last.Index
	if w.IntN(3) > 0 {
		k := modelSessionKey{Principal(w.IntN(2)), 1 + w.Uint64N(moveSessions)}
		w.writes[k]++
		c.Principal, c.Session, c.Sequence = k.principal, k.session, w.writes[k]
		c.Floor = c.Sequence - min(c.Sequence, w.Uint64N(4))
		w.retries = append(w.retries, c)
	}
	if len(w.retries) > 0 && w.IntN(4) == 0 {
		c = w.retries[max(0, len(w.retries)-1-w.IntN(10))]
	}
	slot = c.Home()
	m := g.slots[slot]
	tallied := tallyBefore(g.replicas[0], &c)
	got, err := w.apply(g, &c)
	if err != nil {
		return err
	}
	if err := tallied.compare(&c, got); err != nil {
		return err
	}
	want := Result{Status: StatusNotOwned, Group: g.id, ID: g.last}
	switch m.view.Holding {
	case HoldsOwned:
		m.data.group, m.data.rules = g.id, g.rules
		before := maps.Clone(m.data.keys)
		want = m.data.apply(g.last, g.now, &c)
		m.data.noteVersions(before, slot, modelBy{g.last, g.now, c.Principal, c.Admitted}, VersionDeleted)
	case HoldsSealed:
		want.Status = StatusSealed
	}
	if !sameResult(got, want) {
		return fmt.Errorf("%s by %s of slot %d, which is %s there: got %+v, want %+v", c.Kind, g.id, slot, m.view.Holding, got, want)
	}
	return w.check(g, slot)
}

// leaseIn returns a lease of a slot of the group, or one that is not there.
func (w *moveWorld) leaseIn(g *moveGroup, slot Slot) LeaseID {
	if m := g.slots[slot]; m.data != nil && w.IntN(8) > 0 {
		if rows := m.data.leaseRows(slot, 0); len(rows) > 0 {
			return rows[w.IntN(len(rows))].ID
		}
	}
	return MakeLeaseID(slot, 1+w.Uint64N(50))
}

// txn makes a transaction; what it counts are keys that others set to what is no number.
func (w *moveWorld) txn(g *moveGroup, slot Slot, tag string) Command {
	var x Txn
	if w.IntN(2) == 0 {
		x.If = []Compare{{Kind: CompareAbsent, Key: []byte(w.key(tag))}}
	}
	ops := func() (ops []Op) {
		counted := false
		for n := range 1 + w.IntN(3) {
			o := Op{Kind: OpKind(1 + w.IntN(4)), Key: fmt.Appendf(nil, "%s%02d", tag, 10*n+w.IntN(10))}
			switch o.Kind {
			case OpSet:
				o.Value = fmt.Append(nil, w.IntN(100))
				switch w.IntN(3) {
				case 0:
					o.TTL = 1 + w.Uint64N(40_000)
				case 1:
					o.Lease = w.leaseIn(g, slot)
				}
			case OpIncr:
				o.Key = []byte(tag + "n")
				o.By = w.Int64N(9) - 4
				if counted { // a branch changes no key twice
					continue
				}
				counted = true
			}
			ops = append(ops, o)
		}
		return ops
	}
	x.Then, x.Else = ops(), ops()
	return TxnCommand(slot, &x)
}

func (w *moveWorld) expire(g *moveGroup) error {
	// Mostly less than a session is kept: keys and leases end sooner.
	g.now += raft.GroupTime(w.Int64N([]int64{int64(SessionKeep), 30e9, 30e9, 30e9}[w.IntN(4)]))
	g.last.Index++
	for _, m := range g.replicas {
		if err := m.Expire(g.last, g.now); err != nil {
			return err
		}
	}
	for _, s := range w.slots {
		m := g.slots[s]
		if m.view.Holding == HoldsOwned {
			before := len(m.data.keys) + len(m.data.leases)
			m.data.group, m.data.rules = g.id, g.rules
			m.data.expire(s, g.last, g.now)
			w.done[fmt.Sprint("ended ", before > len(m.data.keys)+len(m.data.leases))]++
		}
	}
	for _, s := range w.slots {
		if err := w.check(g, s); err != nil {
			return err
		}
	}
	return nil
}

// restore lets one replica begin anew with a snapshot of the other.
func (w *moveWorld) restore(g *moveGroup) error {
	i := w.IntN(2)
	var b, again bytes.Buffer
	c := g.replicas[i].CopyAll()
	defer c.Release()
	if _, err := c.WriteTo(&b); err != nil {
		return err
	}
	loaded := NewMap(g.id)
	loaded.Tallies().Count(*g.replicas[1-i].Tallies().Prefixes())
	if err := loaded.Load(bytes.NewReader(b.Bytes()), g.last, g.now); err != nil {
		return err
	}
	g.replicas[1-i] = loaded
	back := loaded.CopyAll()
	defer back.Release()
	if _, err := back.WriteTo(&again); err != nil {
		return err
	}
	if !bytes.Equal(b.Bytes(), again.Bytes()) {
		return fmt.Errorf("%s becomes another state through a snapshot", g.id)
	}
	for _, s := range w.slots {
		if err := w.check(g, s); err != nil {
			return fmt.Errorf("after a snapshot: %w", err)
		}
	}
	return nil
}

// begin begins a move, mostly from the group that has the slot.
func (w *moveWorld) begin() {
	slot := w.slots[w.IntN(len(w.slots))]
	from := w.IntN(moveGroups)
	for i, g := range w.groups {
		if g.slots[slot].view.Holding != HoldsNothing && w.IntN(5) > 0 {
			from = i
		}
	}
	w.number += w.Uint64N(2)
	w.moves = append(w.moves, &moveOf{slot: slot, number: w.number, from: from, to: (from + 1 + w.IntN(moveGroups-1)) % moveGroups})
	w.number++
}

// pick returns a move, mostly one of the last.
func (w *moveWorld) pick() *moveOf {
	if len(w.moves) == 0 {
		w.begin()
	}
	if w.IntN(10) == 0 {
		return w.moves[w.IntN(len(w.moves))]
	}
	return w.moves[max(0, len(w.moves)-1-w.IntN(5))]
}

// piece sends the next piece of a move, an older one, or one that was made wrong.
func (w *moveWorld) piece(x *moveOf) error {
	var p sentPiece
	if len(w.sent) > 0 && w.IntN(5) == 0 {
		p = w.sent[max(0, len(w.sent)-1-w.IntN(20))]
	} else {
		made, ok, err := w.nextPiece(x)
		if err != nil || !ok {
			return err
		}
		w.sent = append(w.sent, made)
		if p = made; w.IntN(20) == 0 {
			return nil // lost
		}
	}
	switch w.IntN(40) {
	case 0:
		p.piece.Index = w.groups[p.to].slots[p.piece.Slot].view.Import.Chunks + 1 + w.Uint64N(2) // as if one was lost
	case 1:
		p.piece.Attempt.Number += w.Uint64N(2)
	case 2:
		if p.piece.Index > 0 {
			p.piece.From.Index -= min(p.piece.From.Index, w.Uint64N(2))
		}
	}
	g := w.groups[p.to]
	m := g.slots[p.piece.Slot]
	c := ChunkCommand([]Piece{p.piece})
	if err := c.ValidateMove(Limits{Level: Level}); err != nil {
		return err
	}
	if _, err := w.apply(g, &c); err != nil {
		return err
	}
	got := g.replicas[0].StepResults()[0]
	want := m.piece(&p.piece, p.source)
	w.done[fmt.Sprint("chunk ", want)]++
	if got.Outcome != want {
		return fmt.Errorf("piece %+v of slot %d: got %s, want %s", p.piece, p.piece.Slot, got.Outcome, want)
	}
	return w.check(g, p.piece.Slot)
}

// nextPiece makes the next piece of a move from what its source holds now, or returns false if
// there is none.
func (w *moveWorld) nextPiece(x *moveOf) (p sentPiece, ok bool, err error) {
	g := w.groups[x.from]
	m := g.slots[x.slot]
	if x.stream == nil || w.IntN(40) == 0 { // a new leader begins again
		if x.stream != nil {
			x.stream.release()
		}
		w.attempts += 2
		x.stream = &moveStream{attempt: Attempt{g.last.Term, w.attempts}}
	}
	s := x.stream
	if s.diff == nil {
		copied, held := g.replicas[0].CopyToMove(x.slot)
		if !held {
			return p, false, nil
		}
		if err := copied.Check(); err != nil {
			return p, false, err
		}
		s.now, s.nowAt, s.source = copied, g.replicas[0].Applied(), m.data.clone()
		if m.view.Holding == HoldsSealed {
			s.nowAt = m.view.Sealed // nothing has changed since
		}
		s.diff = NewDiff(s.old, s.now)
	}
	content, more, err := s.diff.Next(1 + w.IntN(1500))
	if err != nil {
		return p, false, err
	}
	p = sentPiece{Piece{Slot: x.slot, Number: x.number, Source: g.id, Attempt: s.attempt, Index: s.index, From: s.oldAt, To: s.nowAt, More: more, Content: content}, x.to, s.source}
	s.index++
	if !more {
		if s.old != nil {
			s.old.Release()
		}
		s.old, s.oldAt, s.now, s.diff = s.now, s.nowAt, nil, nil
	}
	return p, true, nil
}

func (s *moveStream) release() {
	for _, c := range []*SlotCopy{s.old, s.now} {
		if c != nil {
			c.Release()
		}
	}
}

// step applies one step of some moves, of different slots, in one entry.
func (w *moveWorld) step(k CommandKind, first *moveOf) error {
	moves := []*moveOf{first}
	target := k == CommandTakeover || k == CommandRefuse || k == CommandForget
	at := func(x *moveOf) int {
		if target {
			return x.to
		}
		return x.from
	}
	if other := w.pick(); other.slot != first.slot && at(other) == at(first) {
		moves = append(moves, other)
		slices.SortFunc(moves, func(a, b *moveOf) int { return int(a.slot) - int(b.slot) })
	}
	group := at(first)
	if w.IntN(30) == 0 {
		group = w.IntN(moveGroups)
	}
	g := w.groups[group]
	var steps []Step
	for _, x := range moves {
		s := Step{Slot: x.slot, Number: x.number}
		switch k {
		case CommandSeal:
			s.Peer, s.Empty = w.groups[x.to].id, w.IntN(5) == 0
		case CommandRefuse:
			s.Peer = w.groups[x.from].id
		case CommandTakeover:
			s = w.takeover(x)
		}
		steps = append(steps, s)
	}
	c := StepCommand(k, steps)
	if err := c.ValidateMove(Limits{Level: Level}); err != nil {
		return err
	}
	r, err := w.apply(g, &c)
	if err != nil {
		return err
	}
	results, any := slices.Clone(g.replicas[0].StepResults()), false
	for i, x := range moves {
		m := g.slots[x.slot]
		want := m.step(k, &steps[i], g.last, g.now, x.sealedData)
		any = any || want == StepDone
		w.done[fmt.Sprint(k, " ", want)]++
		if results[i].Outcome != want {
			return fmt.Errorf("%s %+v in %s: got %s, want %s; the slot is %+v", k, steps[i], g.id, results[i].Outcome, want, m.view)
		}
		if !reflect.DeepEqual(results[i].View, g.replicas[0].View(x.slot)) {
			return fmt.Errorf("%s: the result's view is %+v, the slot's %+v", k, results[i].View, g.replicas[0].View(x.slot))
		}
		if k == CommandSeal && want == StepDone {
			v := results[i].View
			x.sealedData = m.data.clone()
			x.takeover = Step{Slot: x.slot, Number: x.number, Peer: g.id, At: v.Sealed, Time: v.SealTime, Digest: v.Digest}
		}
	}
	for _, x := range moves {
		if err := w.check(g, x.slot); err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
	}
	if want := map[bool]Status{true: StatusApplied, false: StatusMarked}[any]; r.Status != want {
		return fmt.Errorf("%s has status %s, want %s", k, r.Status, want)
	}
	return nil
}

// takeover returns the takeover of a move, correct as far as that is known, or wrong.
func (w *moveWorld) takeover(x *moveOf) Step {
	s := x.takeover
	if s.At.Index == 0 { // not sealed yet: somebody makes it up
		s = Step{Slot: x.slot, Number: x.number, Peer: w.groups[x.from].id, At: raft.LogID{Term: 1, Index: 1}}
	}
	s.Chunks = max(1, w.groups[x.to].slots[x.slot].view.Import.Chunks)
	switch w.IntN(12) {
	case 0:
		s.Chunks++
	case 1:
		s.At.Index++
	case 2:
		s.Peer = 1 + (s.Peer+1)%moveGroups
	}
	return s
}

// check compares a slot on both replicas with the model.
func (w *moveWorld) check(g *moveGroup, slot Slot) error {
	m := g.slots[slot]
	sessions := 0
	for i, r := range g.replicas {
		got := r.View(slot)
		got.Keys, got.Bytes, got.Digest, got.Import.Digest = 0, 0, 0, 0
		want := m.view
		if len(want.Decisions) == 0 {
			want.Decisions = nil
		}
		if m.view.Holding != HoldsNothing {
			want.Last = m.data.last[slot]
		}
		if !reflect.DeepEqual(got, want) {
			return fmt.Errorf("slot %d of %s, replica %d, is %+v, want %+v", slot, g.id, i, got, want)
		}
		if st := r.held(slot); (st != nil) != (m.data != nil) {
			return fmt.Errorf("slot %d of %s, replica %d, is there: %v", slot, g.id, i, st != nil)
		} else if st != nil {
			if got, want := dataOf(slot, st), m.data.String(); got != want {
				return fmt.Errorf("slot %d of %s, replica %d, has\n%s\nwant\n%s", slot, g.id, i, got, want)
			}
			if err := checkStore(&st.records); err != nil {
				return err
			}
			if m.view.Holding == HoldsOwned {
				if err := m.data.checkEnds(slot, r, g.now); err != nil {
					return fmt.Errorf("%s, replica %d: %w", g.id, i, err)
				}
				if err := w.checkVersions(m.data, slot, r, g.now); err != nil {
					return fmt.Errorf("%s, replica %d: %w", g.id, i, err)
				}
			}
		}
		if x := r.imports.of(slot); x != nil && m.coming == nil {
			if got, want := dataOf(slot, x.state), m.whole.String(); got != want {
				return fmt.Errorf("the import of slot %d in %s, replica %d, has\n%s\nwant\n%s", slot, g.id, i, got, want)
			}
		}
		key := []byte(testTags[slices.IndexFunc(testTags, func(tag string) bool { return SlotOf([]byte(tag)) == slot })])
		if _, _, is := r.Get(key, nil); is != map[Holding]Presence{HoldsNothing: NotOwned, HoldsOwned: Absent, HoldsSealed: Sealed}[m.view.Holding] {
			return fmt.Errorf("slot %d of %s, replica %d: a key is %s, the slot is %s", slot, g.id, i, is, m.view.Holding)
		}
	}
	sealed := 0
	for _, o := range g.slots {
		if o.view.Holding == HoldsSealed {
			sealed++
		}
		if o.view.Holding == HoldsOwned {
			for _, table := range o.data.sessions {
				sessions += len(table)
			}
		}
	}
	for i, r := range g.replicas {
		if r.Sealed() != sealed || r.Sessions() != sessions {
			return fmt.Errorf("%s, replica %d: %d sealed slots and %d sessions, want %d and %d", g.id, i, r.Sealed(), r.Sessions(), sealed, sessions)
		}
		if at, waits := r.NextDue(); waits {
			for _, o := range g.slots {
				if o.view.Holding != HoldsOwned {
					continue
				}
				for _, table := range o.data.sessions {
					for _, x := range table {
						if x.used+SessionKeep+sessionGather < at {
							return fmt.Errorf("%s, replica %d: a session last used at %d would be due, the next look is at %d", g.id, i, x.used, at)
						}
					}
				}
			}
		}
	}
	return nil
}

// randomMoves runs random steps from a seed, and says what went wrong.
func randomMoves(seed uint64) (done map[string]int, err error) {
	w := newMoveWorld(seed)
	defer func() {
		for _, x := range w.moves {
			if x.stream != nil {
				x.stream.release()
			}
		}
	}()
	return w.done, w.run()
}

const moveRuns = 80

// Whatever steps come, in any order, right or wrong, late or twice, each group follows the rules
// slot by slot, and its replicas agree, including one that began with a snapshot. A slot that was
// taken over has all that it had at the seal: keys with their versions, sessions with the outcomes
// of their writes, and its former owners. One would doubt it: the passes of an attempt are
// differences between copies that share most of their memory with what is written meanwhile.
func TestMovesAreLikeModel(t *testing.T) {
	all := map[string]int{}
	for seed := range uint64(moveRuns) {
		done, err := randomMoves(seed)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for what, n := range done {
			all[what] += n
		}
	}
	// A run in which something never happens shows nothing about it.
	for _, what := range []string{
		"chunk done", "chunk marked", "chunk behind", "chunk unfit", "chunk known", "seal done", "seal marked", "seal unfit", "seal not empty", "seal known",
		"takeover done", "takeover marked", "takeover unfit", "takeover known", "refuse done", "refuse marked", "refuse known", "cancel done", "cancel marked", "cancel unfit", "unseal done", "unseal marked", "unseal unfit", "drop done", "drop marked", "drop unfit",
		"forget done", "forget known", "forget unfit", "ended true", "versions",
	} {
		if all[what] < 10 {
			t.Errorf("in %d runs %s came %d times", moveRuns, what, all[what])
		}
	}
	t.Log(all)
}
