package shardmap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"muster/raft"
	"muster/shardmap/registry"
)

// logs are those of a few groups, in which everything occurs that a map knows: random commands
// as clients send them, what ends by time, and moves of slots whose steps are right, wrong, late
// and doubled. Each group has a map that applies its entries as they come; what became of them
// there is what every other replica must say of them.
type logs struct {
	*rand.Rand
	level    uint32 // of the commands that there are
	groups   []*groupLog
	tags     []string // of keys, one for each slot
	moves    []*loggedMove
	number   uint64 // of the last move
	attempts uint64
	sequence map[uint64]uint64 // of each session
	sent     []Command         // some with a session, for retries
	seen     map[string]int    // how often each kind of entry had each outcome
}

// groupLog is the log of one group.
type groupLog struct {
	id      raft.GroupID
	first   *Map
	last    raft.LogID
	now     raft.GroupTime
	bounds  mapBounds
	entries []loggedEntry
	// states has the snapshot of the state after so many entries, of some.
	states map[int][]byte
	had    map[Slot]bool // slots that it has served
}

// mapBounds are limits of a map that all replicas of its group have, small ones.
type mapBounds struct {
	sessions, outcomes, details int
	history, kept, block        int
}

// loggedEntry is an entry as a replica finds it in the log, and what became of it.
type loggedEntry struct {
	id        raft.LogID
	now       raft.GroupTime
	kind      loggedKind
	payload   []byte
	principal Principal

	result  Result
	steps   []StepResult
	digests []DigestRow // of the map that it leaves, of one entry in so many; nil: of this one they were not asked
}

type loggedKind uint8

const (
	loggedCommand loggedKind = iota
	loggedTime
	loggedOther // a no-op, or a membership
)

// loggedMove is a move of a slot, by whoever likes.
type loggedMove struct {
	slot     Slot
	number   uint64
	from, to *groupLog
	takeover Step // once the slot was sealed

	attempt      Attempt
	index        uint64
	old, now     *SlotCopy
	oldAt, nowAt raft.LogID
	diff         *Diff
	sent         []Piece
}

const (
	loggedGroups  = 3
	loggedTags    = 26
	loggedTurns   = 900
	loggedCrowd   = 300 // commands of as many sessions at once
	loggedNumbers = 300 // of keys with one tag
	loggedDigests = 7   // entries, of which one has its digests compared
)

// newMap returns a map of the group before its first entry.
func (g *groupLog) newMap() *Map {
	m := NewMap(g.id)
	b := &g.bounds
	m.quota.sessionsMax, m.quota.outcomesMax, m.quota.detailsMax = b.sessions, b.outcomes, b.details
	m.history.Bound(b.history, b.kept, b.block)
	return m
}

// writeLogs returns logs that are drawn from seed.
func writeLogs(seed uint64, level uint32) (*logs, error) {
	w := &logs{Rand: rand.New(rand.NewPCG(seed, 4711)), level: level, sequence: map[uint64]uint64{}, seen: map[string]int{}, number: 10}
	for i := range loggedTags {
		w.tags = append(w.tags, fmt.Sprintf("{%c}", 'a'+i))
	}
	late := w.IntN(8) == 0 // no honest leader gets that far; a forged time is no reason to differ
	for i := range loggedGroups {
		g := &groupLog{id: raft.GroupID(i + 1), last: raft.LogID{Term: 1, Index: uint64(1 + 700*i)}, now: raft.GroupTime(i) * SessionKeep, states: map[int][]byte{}, had: map[Slot]bool{}}
		g.bounds = mapBounds{400 + w.IntN(800), 500 + w.IntN(800), 2000 + w.IntN(20_000), 32<<10 + w.IntN(32<<10), 4<<10 + w.IntN(16<<10), 2<<10 + w.IntN(4<<10)&^7}
		if late {
			g.now = raft.GroupTime(endless) - raft.GroupTime(w.Uint64N(uint64(SessionKeep)))
		}
		g.first = g.newMap()
		w.groups = append(w.groups, g)
	}
	defer w.release()
	var slots []Slot
	for _, tag := range w.tags {
		slots = append(slots, SlotOf([]byte(tag)))
	}
	if err := w.apply(w.groups[0], OwnCommand(&Own{Number: 3, Slots: SlotRanges(slots)})); err != nil {
		return nil, err
	}
	for n := range loggedTurns {
		if err := w.turn(); err != nil {
			return nil, fmt.Errorf("turn %d: %w", n, err)
		}
	}
	for _, g := range w.groups {
		if err := g.keepState(); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *logs) release() {
	for _, x := range w.moves {
		x.begin()
	}
}

func (w *logs) turn() error {
	g := w.groups[w.IntN(len(w.groups))]
	if w.IntN(2) == 0 && len(w.groups[0].entries) > 0 {
		g = w.groups[0]
	}
	g.pass([]uint64{0, 0, 1, 1e6, 1e9, 20e9}[w.IntN(6)])
	if w.IntN(15) == 0 {
		if err := g.keepState(); err != nil {
			return err
		}
	}
	switch k := w.IntN(100); {
	case k < 45:
		c := w.command(g)
		w.name(&c)
		return w.send(g, c)
	case k < 47:
		return w.crowd(g)
	case k < 48 && w.level >= LeasesLevel:
		return w.apply(g, RaiseCommand(LeasesLevel+w.Uint32N(w.level-LeasesLevel+1)))
	case k < 52:
		return w.time(g)
	case k < 53:
		return g.write(w, &loggedEntry{kind: loggedOther})
	case k < 54:
		return w.empty(g)
	case w.level < MovesLevel:
		return w.send(g, w.command(g))
	case k < 56:
		w.begin()
		return nil
	case k < 59:
		kinds := []CommandKind{CommandSeal, CommandTakeover, CommandRefuse, CommandCancel, CommandUnseal, CommandDrop, CommandForget}
		return w.step(kinds[w.IntN(len(kinds))], w.move())
	}
	return w.forward(w.move())
}

// send writes a client's command, mostly into the log of the group that has its slot.
func (w *logs) send(g *groupLog, c Command) error {
	if w.IntN(6) > 0 {
		for _, o := range w.groups {
			if o.first.held(c.Home()) != nil {
				g = o
			}
		}
	}
	return w.apply(g, c)
}

// apply writes a command into the log of a group.
func (w *logs) apply(g *groupLog, c Command) error {
	if c.Kind.Row().Level > w.level {
		return nil
	}
	e := loggedEntry{kind: loggedCommand, payload: AppendCommand(nil, &c), principal: c.Principal}
	if err := g.write(w, &e); err != nil {
		return err
	}
	w.seen[fmt.Sprint(c.Kind, " ", e.result.Status)]++
	for i := range e.steps {
		r := &e.steps[i]
		w.seen[fmt.Sprint(c.Kind, " ", r.Outcome)]++
		if c.Kind == CommandTakeover && r.Outcome == StepDone {
			w.seen[fmt.Sprint("a slot came, and had been here: ", g.had[r.View.Slot])]++
		}
	}
	for _, tag := range w.tags {
		if s := SlotOf([]byte(tag)); c.Kind.Moves() && g.first.Owns(s) {
			g.had[s] = true
		}
	}
	return nil
}

func (w *logs) time(g *groupLog) error {
	g.pass(w.Uint64N([]uint64{1, 30e9, 30e9, uint64(SessionKeep), 2 * uint64(SessionKeep)}[w.IntN(5)]))
	before := g.first.Sessions()
	err := g.write(w, &loggedEntry{kind: loggedTime})
	w.seen[fmt.Sprint("time forgot sessions: ", g.first.Sessions() < before)]++
	return err
}

// write gives an entry its place in the log, and applies it.
func (g *groupLog) write(w *logs, e *loggedEntry) error {
	g.last.Index += 1 + w.Uint64N(2)
	if w.IntN(40) == 0 {
		g.last.Term++
	}
	e.id, e.now = g.last, g.now
	var c Command
	if e.kind == loggedCommand {
		if err := ReadCommand(e.payload, &c); err != nil {
			return err
		}
	}
	c.Principal = e.principal
	r, steps, err := e.applyTo(g.first, &c)
	if err != nil {
		return err
	}
	e.result, e.steps = r, slices.Clone(steps)
	e.result.Detail = slices.Clone(r.Detail)
	if len(g.entries)%loggedDigests == 0 {
		e.digests = g.first.Digests(nil)
	}
	g.entries = append(g.entries, *e)
	return nil
}

// applyTo applies the entry, whose command is c if it has one.
func (e *loggedEntry) applyTo(m *Map, c *Command) (r Result, steps []StepResult, err error) {
	switch e.kind {
	case loggedTime:
		return r, nil, m.Expire(e.id, e.now)
	case loggedOther:
		return r, nil, m.Skip(e.id, e.now)
	}
	r, err = m.Apply(e.id, e.now, c)
	if c.Kind.Moves() {
		steps = m.StepResults()
	}
	return r, steps, err
}

// pass lets time pass, to the end of all times at most.
func (g *groupLog) pass(d uint64) { g.now += raft.GroupTime(min(d, uint64(endless)-uint64(g.now))) }

func (g *groupLog) keepState() error {
	b, err := stateBytes(g.first)
	g.states[len(g.entries)] = b
	return err
}

// stateBytes returns a map's snapshot.
func stateBytes(m *Map) ([]byte, error) {
	c := m.CopyAll()
	defer c.Release()
	var b bytes.Buffer
	_, err := c.WriteTo(&b)
	return b.Bytes(), err
}

// tag draws a tag: mostly of a few slots, so that these are well filled.
func (w *logs) tag() string {
	if w.IntN(5) > 0 {
		return w.tags[w.IntN(3)]
	}
	return w.tags[w.IntN(len(w.tags))]
}

func (w *logs) key(tag string) string {
	if w.IntN(30) == 0 {
		return tag + strings.Repeat("long/", w.IntN(300))
	}
	return fmt.Sprintf("%s%03d", tag, w.IntN(loggedNumbers))
}

func (w *logs) value() string {
	n := w.IntN(200)
	switch w.IntN(40) {
	case 0:
		n = 5000
	case 1:
		n = 20_000
	case 2:
		return fmt.Sprint(w.Int64N(1000))
	}
	return strings.Repeat(string(rune('a'+w.IntN(26))), n)
}

// name gives a command a session, or makes it one that was sent before.
func (w *logs) name(c *Command) {
	if c.Kind.Row().Internal || w.IntN(4) == 0 {
		return
	}
	if len(w.sent) > 0 && w.IntN(6) == 0 {
		*c = w.sent[w.IntN(len(w.sent))]
		return
	}
	id := 1 + w.Uint64N(8)
	if w.IntN(3) == 0 {
		id = w.Uint64() | 1
	}
	w.sequence[id] += 1 + w.Uint64N(2)
	c.Principal, c.Session, c.Sequence = Principal(w.IntN(2)), id, w.sequence[id]
	c.Floor = c.Sequence - min(c.Sequence, w.Uint64N(12))
	if len(w.sent) < 40 {
		w.sent = append(w.sent, *c)
	} else {
		w.sent[w.IntN(len(w.sent))] = *c
	}
}

// command draws a client's command, or a report.
func (w *logs) command(g *groupLog) Command {
	tag := w.tag()
	slot := SlotOf([]byte(tag))
	c := Command{Kind: CommandSet, Slot: slot}
	switch w.IntN(15) {
	case 0:
		c.Kind, c.Items = CommandDel, items(w.key(tag))
		for range w.IntN(4) {
			c.Items = append(c.Items, []byte(w.key(tag)))
		}
	case 1:
		c.Kind, c.Items = CommandCheck, items(w.key(tag))
	case 2, 3, 4:
		if w.level >= LeasesLevel {
			return TxnCommand(slot, w.txn(g, slot, tag))
		}
		fallthrough
	case 5:
		if w.level >= LeasesLevel {
			op, id, ttl := LeaseOp(1+w.IntN(3)), w.lease(g, slot), uint64(0)
			if op == LeaseGrant {
				id, ttl = 0, 1+w.Uint64N(60_000)
			}
			return LeaseCommand(slot, op, id, ttl)
		}
		fallthrough
	case 6, 7:
		if w.level >= ServicesLevel {
			return randomService(w.Rand, tag)
		}
		fallthrough
	case 8, 9:
		if w.level >= ServicesLevel {
			return randomReport(w.Rand, func(name string) *registry.Service {
				if st := g.first.held(slot); st != nil {
					return st.serviceOf(g.first, name)
				}
				return nil
			}, tag)
		}
		fallthrough
	default:
		keys := map[string]bool{}
		for range 1 + w.IntN(4)*w.IntN(2) {
			if k := w.key(tag); !keys[k] {
				keys[k] = true
				c.Items = append(c.Items, []byte(k), []byte(w.value()))
			}
		}
	}
	if c.Keys() == 1 {
		w.condition(g, &c)
	}
	if w.IntN(3) == 0 {
		c.Slot = SlotByServer
	}
	if c.Kind == CommandDel && len(c.Items) > 2 && w.level >= RangesLevel {
		first := c.Items[0]
		return DelPrefixCommand(slot, first[:min(len(first), len(tag)+2)], uint32(len(c.Items)))
	}
	return c
}

func (w *logs) condition(g *groupLog, c *Command) {
	switch _, version, _ := g.first.Get(c.Key(0), nil); w.IntN(6) {
	case 0:
		if c.Kind != CommandDel {
			c.Condition = ConditionAbsent
		}
	case 1, 2:
		c.Condition, c.Version = ConditionVersion, max(1, version+w.Uint64N(2))
	}
}

// lease draws a lease of a slot, or one that is not there.
func (w *logs) lease(g *groupLog, slot Slot) LeaseID {
	if rows, _ := g.first.Leases(g.first.Time(), []SlotRange{{slot, slot}}, 0, 5); len(rows) > 0 && w.IntN(8) > 0 {
		return rows[w.IntN(len(rows))].ID
	}
	return MakeLeaseID(slot, 1+w.Uint64N(50))
}

func (w *logs) txn(g *groupLog, slot Slot, tag string) *Txn {
	x := new(Txn)
	key := func() []byte { return []byte(w.key(tag)) }
	for range w.IntN(3) {
		k := key()
		value, version, _ := g.first.Get(k, nil)
		switch w.IntN(3) {
		case 0:
			x.If = append(x.If, Compare{Kind: CompareAbsent, Key: k})
		case 1:
			x.If = append(x.If, Compare{Kind: CompareVersion, Key: k, Version: max(1, version)})
		default:
			x.If = append(x.If, Compare{Kind: CompareValue, Key: k, Value: value})
		}
	}
	ops := func() (ops []Op) {
		changed := map[string]bool{} // a branch changes no key twice
		for range 1 + w.IntN(5) {
			o := Op{Kind: OpKind(1 + w.IntN(4)), Key: key()}
			switch o.Kind {
			case OpSet:
				o.Value = []byte(w.value())
				switch w.IntN(3) {
				case 0:
					o.TTL = 1 + w.Uint64N(60_000)
					if w.IntN(10) == 0 {
						o.TTL = TTLMax
					}
				case 1:
					o.Lease = w.lease(g, slot)
				}
			case OpIncr:
				o.By = w.Int64N(9) - 4
				if o.Key = fmt.Appendf(nil, "%sn%d", tag, w.IntN(3)); w.IntN(5) == 0 {
					o.By = -1 << 63 // which soon is too much
				}
			}
			if o.Kind.changes() && changed[string(o.Key)] {
				continue
			}
			changed[string(o.Key)] = changed[string(o.Key)] || o.Kind.changes()
			ops = append(ops, o)
		}
		return ops
	}
	x.Then, x.Else = ops(), ops()
	return x
}

// crowd has many clients write once to a slot, some at the same time.
func (w *logs) crowd(g *groupLog) error {
	tag := w.tag()
	if w.IntN(4) == 0 { // those before are due, and no time entry has come
		g.pass(uint64(SessionKeep) + w.Uint64N(10e9))
	}
	for range w.IntN(loggedCrowd) {
		if w.IntN(8) == 0 {
			g.pass(w.Uint64N(1e9))
		}
		c := Command{Kind: CommandSet, Slot: SlotOf([]byte(tag)), Session: w.Uint64() | 1, Sequence: 1, Items: items(w.key(tag), w.value())}
		if err := w.send(g, c); err != nil {
			return err
		}
	}
	return nil
}

// empty removes all keys of a slot, or many, or sets many.
func (w *logs) empty(g *groupLog) error {
	tag := w.tag()
	c := Command{Kind: CommandDel, Slot: SlotOf([]byte(tag))}
	fill, some := w.IntN(2) == 0, 1+w.IntN(3)
	if fill {
		c.Kind = CommandSet
	}
	for i := 0; i < loggedNumbers; i += some {
		c.Items = append(c.Items, fmt.Appendf(nil, "%s%03d", tag, i))
		if fill {
			c.Items = append(c.Items, fmt.Append(nil, i))
		}
	}
	return w.send(g, c)
}

// begin begins a move, mostly from the group that has the slot.
func (w *logs) begin() {
	slot := SlotOf([]byte(w.tags[w.IntN(4)]))
	from := w.IntN(len(w.groups))
	for i, g := range w.groups {
		if g.first.held(slot) != nil && w.IntN(6) > 0 {
			from = i
		}
	}
	w.number += 1 + w.Uint64N(2)
	to := (from + 1 + w.IntN(len(w.groups)-1)) % len(w.groups)
	w.moves = append(w.moves, &loggedMove{slot: slot, number: w.number, from: w.groups[from], to: w.groups[to]})
}

// move returns a move, mostly one of the last.
func (w *logs) move() *loggedMove {
	if len(w.moves) == 0 {
		w.begin()
	}
	if w.IntN(20) == 0 {
		return w.moves[w.IntN(len(w.moves))]
	}
	return w.moves[max(0, len(w.moves)-1-w.IntN(3))]
}

// forward does what a good runner does next with a move.
func (w *logs) forward(x *loggedMove) error {
	a, b := x.from.first.View(x.slot), x.to.first.View(x.slot)
	if k, ok := stepAfter(&a, &b, x.number, func() bool { return w.IntN(3) == 0 }); ok {
		return w.step(k, x)
	}
	return w.piece(x)
}

// step writes one step of some moves, of different slots, in one entry.
func (w *logs) step(k CommandKind, first *loggedMove) error {
	at := func(x *loggedMove) *groupLog {
		if k == CommandTakeover || k == CommandRefuse || k == CommandForget {
			return x.to
		}
		return x.from
	}
	g, moves := at(first), []*loggedMove{first}
	if other := w.move(); other.slot != first.slot && at(other) == g {
		moves = append(moves, other)
		slices.SortFunc(moves, func(a, b *loggedMove) int { return int(a.slot) - int(b.slot) })
	}
	var steps []Step
	for _, x := range moves {
		s := Step{Slot: x.slot, Number: x.number}
		switch k {
		case CommandSeal:
			s.Peer, s.Empty = x.to.id, w.IntN(6) == 0
		case CommandRefuse:
			s.Peer = x.from.id
		case CommandTakeover:
			if s = x.takeover; s.At.Index == 0 { // somebody makes it up
				s = Step{Slot: x.slot, Number: x.number, Peer: x.from.id, At: raft.LogID{Term: 1, Index: 1}}
			}
			s.Chunks = max(1, x.to.first.View(x.slot).Import.Chunks) + w.Uint64N(8)/7
		}
		steps = append(steps, s)
	}
	if err := w.apply(g, StepCommand(k, steps)); err != nil {
		return err
	}
	for i, x := range moves {
		if r := g.entries[len(g.entries)-1].steps[i]; k == CommandSeal && r.Outcome == StepDone {
			x.takeover = Step{Slot: x.slot, Number: x.number, Peer: g.id, At: r.View.Sealed, Time: r.View.SealTime, Digest: r.View.Digest}
		}
	}
	return nil
}

// begin has the move's slot be sent anew.
func (x *loggedMove) begin() {
	for _, c := range []*SlotCopy{x.old, x.now} {
		if c != nil {
			c.Release()
		}
	}
	x.old, x.now, x.diff, x.oldAt, x.nowAt, x.index = nil, nil, nil, raft.LogID{}, raft.LogID{}, 0
}

// piece sends the next piece of a move, or an older one.
func (w *logs) piece(x *loggedMove) error {
	if len(x.sent) > 0 && w.IntN(6) == 0 {
		return w.apply(x.to, ChunkCommand([]Piece{x.sent[w.IntN(len(x.sent))]}))
	}
	if x.attempt == (Attempt{}) || w.IntN(30) == 0 {
		x.begin()
		w.attempts++
		x.attempt = Attempt{x.from.last.Term, w.attempts}
	}
	if x.diff == nil {
		copied, held := x.from.first.CopyToMove(x.slot)
		if !held {
			return nil
		}
		x.now, x.nowAt = copied, x.from.last
		if v := x.from.first.View(x.slot); v.Holding == HoldsSealed {
			x.nowAt = v.Sealed // nothing has changed since
		}
		x.diff = NewDiff(x.old, x.now)
	}
	content, more, err := x.diff.Next(1 + w.IntN(20_000))
	if err != nil {
		return err
	}
	p := Piece{Slot: x.slot, Number: x.number, Source: x.from.id, Attempt: x.attempt, Index: x.index, From: x.oldAt, To: x.nowAt, More: more, Content: content}
	x.index++
	if !more {
		if x.old != nil {
			x.old.Release()
		}
		x.old, x.oldAt, x.now, x.diff = x.now, x.nowAt, nil, nil
	}
	if x.sent = append(x.sent, p); w.IntN(30) == 0 {
		return nil // lost
	}
	return w.apply(x.to, ChunkCommand([]Piece{p}))
}
