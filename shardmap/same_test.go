package shardmap

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"muster/raft"
)

var sameSeeds = flag.Int("same", 0, "apply the logs of so many seeds in all ways")

// loggedWay is a way in which a replica comes to its state.
type loggedWay struct {
	name string
	// restart: after one in so many entries it begins anew with a snapshot of its own; 0: never.
	restart int
	trimmed bool // of those snapshots the history is left out, as for want of room
	batch   int  // commands that are warmed at once, at most
	readers bool // others hold copies and moments meanwhile
	older   bool // it is of the oldest build that knows all that is in the log
}

var loggedWays = []loggedWay{
	{name: "entry by entry", batch: 1},
	{name: "in batches", batch: WarmMax},
	{name: "under readers", batch: 7, readers: true},
	{name: "from snapshots", batch: 5, restart: 60},
	{name: "from many snapshots, under readers", batch: 3, restart: 9, readers: true},
	{name: "from snapshots without history", batch: 5, restart: 40, trimmed: true},
	{name: "as an older build", batch: 4, restart: 200, older: true},
}

// replica applies the log of a group in one of the ways.
type replica struct {
	*rand.Rand
	g     *groupLog
	way   *loggedWay
	m     *Map
	at    int // entries that were applied
	held  []func()
	walk  *Walk
	walks int      // that came to their end
	less  bool     // it lacks some of the history that others have
	cold  struct { // a copy that is being written, while entries are applied
		copy *MapCopy
		at   int
		last raft.LogID
		now  raft.GroupTime
	}
}

// replay applies a log in a way, and says where what becomes of it is not what became of it
// where the log was written.
func replay(r *rand.Rand, g *groupLog, way *loggedWay, level uint32) error {
	x := &replica{Rand: r, g: g, way: way, m: g.newMap()}
	if way.older {
		x.m.Understand(level)
	}
	defer func() { x.drop(len(x.held)); x.walk.End() }()
	x.walk = NewWalk(x.m)
	for x.at < len(g.entries) {
		if err := x.batch(); err != nil {
			return fmt.Errorf("%s, %s, %d of %d entries: %w", g.id, way.name, x.at, len(g.entries), err)
		}
		if err := x.step(); err != nil {
			return fmt.Errorf("%s, %s, after %d entries: %w", g.id, way.name, x.at, err)
		}
		if err := x.restart(level); err != nil {
			return fmt.Errorf("%s, %s, a snapshot after %d entries: %w", g.id, way.name, x.at, err)
		}
	}
	if x.walks == 0 && len(g.entries) > 2000 && way.restart == 0 {
		return fmt.Errorf("%s, %s: no walk came to its end", g.id, way.name)
	}
	return nil
}

// step has a walk go on, which must find nothing.
func (x *replica) step() error {
	if x.walk.Step(1 + x.IntN(10_000)) {
		x.walk.End()
		x.walk = NewWalk(x.m)
		x.walks++
	}
	if faults := x.walk.Faults(); len(faults) > 0 {
		return fmt.Errorf("a walk finds %q", faults)
	}
	return nil
}

// batch applies the next entries.
func (x *replica) batch() error {
	batch := x.g.entries[x.at:min(len(x.g.entries), x.at+1+x.IntN(x.way.batch))]
	commands := make([]Command, len(batch))
	for i := range batch {
		if batch[i].kind == loggedCommand {
			if err := ReadCommand(batch[i].payload, &commands[i]); err != nil {
				return err
			}
		}
		commands[i].Principal = batch[i].principal
	}
	if x.way.batch > 1 {
		x.m.Warm(commands)
	}
	for i := range batch {
		if x.way.readers {
			x.read()
		}
		e := &batch[i]
		r, steps, err := e.applyTo(x.m, &commands[i])
		if err != nil {
			return fmt.Errorf("%s: %w", e.id, err)
		}
		if !sameResult(r, e.result) {
			return fmt.Errorf("%s, %s: got %+v, want %+v", e.id, commands[i].Kind, r, e.result)
		}
		if !reflect.DeepEqual(slices.Clone(steps), e.steps) {
			return fmt.Errorf("%s, %s: got %+v, want %+v", e.id, commands[i].Kind, steps, e.steps)
		}
		x.at++
		if err := x.compare(); err != nil {
			return fmt.Errorf("%s, %s: %w", e.id, commands[i].Kind, err)
		}
	}
	return nil
}

// compare compares the digests of the state with those that it had where the log was written, and
// the state with the one that was kept of here, if any was.
func (x *replica) compare() error {
	if x.at > 0 {
		if want := x.g.entries[x.at-1].digests; want != nil {
			if got := x.m.Digests(nil); !slices.Equal(got, want) {
				return fmt.Errorf("other digests: %s", unlikeRows(got, want))
			}
		}
	}
	want, ok := x.g.states[x.at]
	if !ok {
		return nil
	}
	got, err := stateBytes(x.m)
	if err != nil || bytes.Equal(got, want) {
		return err
	}
	if err := sameSlots(got, want); err != nil {
		return err
	}
	if x.less {
		var some, all []byte
		got, some = splitHistory(got)
		want, all = splitHistory(want)
		if !bytes.HasSuffix(all, some) {
			return fmt.Errorf("the events of its history, %d bytes, are not the newest of all", len(some))
		}
	}
	if !bytes.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		return fmt.Errorf("the snapshot has %d bytes, want %d; they differ from byte %d on", len(got), len(want), at)
	}
	return nil
}

// unlikeRows says which parts have other digests, or none.
func unlikeRows(got, want []DigestRow) (differ []string) {
	is := map[Part]uint64{}
	for _, r := range want {
		is[r.Part] = r.Digest
	}
	for _, r := range got {
		if d, ok := is[r.Part]; !ok || d != r.Digest {
			differ = append(differ, fmt.Sprintf("%s is %016x, want %016x", r.Part, r.Digest, d))
		}
		delete(is, r.Part)
	}
	for _, r := range want {
		if _, ok := is[r.Part]; ok {
			differ = append(differ, fmt.Sprintf("%s has none", r.Part))
		}
	}
	return differ
}

// splitHistory returns a snapshot up to the level that the group was raised to, and the blocks of
// its history.
func splitHistory(b []byte) (rest, blocks []byte) {
	at := bytes.LastIndex(b, []byte(historyMagic))
	if at < 0 {
		return b, nil
	}
	return b[:at+len(historyMagic)+4], b[at+historyHeader : len(b)-historyDigest]
}

// sameSlots says which slot has another digest in one snapshot than in the other.
func sameSlots(got, want []byte) error {
	digests := func(b []byte) map[Slot]uint64 {
		found := map[Slot]uint64{}
		for {
			at := bytes.Index(b, []byte(snapshotMagic))
			if at < 0 {
				return found
			}
			b = b[at:]
			found[Slot(binary.LittleEndian.Uint16(b[10:]))] = binary.LittleEndian.Uint64(b[32:])
			b = b[snapshotHeader:]
		}
	}
	a, b := digests(got), digests(want)
	for s := range Slot(Slots) {
		if a[s] != b[s] {
			return fmt.Errorf("slot %d has digest %016x, want %016x", s, a[s], b[s])
		}
	}
	return nil
}

// read has a reader come, look or go.
func (x *replica) read() {
	tag := []byte{'{', byte('a' + x.IntN(loggedTags)), '}'}
	slot := SlotOf(tag)
	runs := []SlotRange{{0, Slots - 1}}
	switch x.IntN(12) {
	case 0:
		if c, held := x.m.CopyToMove(slot); held {
			x.held = append(x.held, c.Release)
		}
	case 1:
		if t, owned := x.m.Moment(nil, nil); owned {
			x.held = append(x.held, t.End)
			t.List(nil, nil, ListLimits{Rows: 50}, func([]byte, uint64, []byte) {})
		}
	case 2:
		c := x.m.CopyAll()
		x.held = append(x.held, c.Release)
	case 3:
		x.m.Leases(x.m.Time(), runs, 0, 10)
		x.m.Services(runs, 0, nil, 1000)
		x.m.Get(append(tag, '1'), nil)
	case 4, 5:
		x.drop(min(len(x.held), 1+x.IntN(3)))
	}
	if len(x.held) > 20 {
		x.drop(len(x.held))
	}
}

// drop gives up so many of what readers hold.
func (x *replica) drop(n int) {
	for range n {
		i := x.IntN(len(x.held))
		x.held[i]()
		x.held = slices.Delete(x.held, i, i+1)
	}
}

// restart begins or ends the writing of a snapshot. Once it is written, the replica is one that
// has it, and the entries behind it are applied anew.
func (x *replica) restart(level uint32) error {
	c := &x.cold
	switch {
	case x.way.restart == 0:
		return nil
	case c.copy == nil && x.IntN(x.way.restart) == 0:
		c.copy, c.at, c.last, c.now = x.m.CopyAll(), x.at, x.m.Applied(), x.m.Time()
		return nil
	case c.copy == nil || x.IntN(4) > 0:
		return nil
	}
	defer func() { c.copy.Release(); c.copy = nil }()
	if x.way.trimmed {
		c.copy.Trim()
		x.less = true
	}
	var b bytes.Buffer
	if _, err := c.copy.WriteTo(&b); err != nil {
		return err
	}
	x.drop(len(x.held)) // what they hold is of the map before
	x.walk.End()
	x.m, x.at = x.g.newMap(), c.at
	if x.way.older {
		x.m.Understand(level)
	}
	if err := x.m.Load(&b, c.last, c.now); err != nil {
		return err
	}
	x.walk = NewWalk(x.m)
	return x.compare()
}

// sameInAllWays writes the logs of a seed and applies each in all ways.
func sameInAllWays(seed uint64) (seen map[string]int, err error) {
	levels := []uint32{Level, Level, Level, AuditLevel - 1, ServicesLevel - 1, LeasesLevel - 1, MovesLevel - 1, 1}
	level := levels[seed%uint64(len(levels))]
	w, err := writeLogs(seed, level)
	if err != nil {
		return nil, err
	}
	for _, g := range w.groups {
		for i := range loggedWays {
			if err := replay(rand.New(rand.NewPCG(seed, uint64(i))), g, &loggedWays[i], level); err != nil {
				return w.seen, err
			}
		}
	}
	return w.seen, nil
}

const sameRuns = 7

// One log makes one state, whatever way a replica came to it: by all entries, one at a time or in
// batches; from snapshots in the middle; under readers, whose copies have it move what it would
// change in place; and as an older build, where nothing in the log is newer. Each command has the
// same result, each slot the same digest, and each snapshot the same bytes. One would doubt it:
// indexes, bounds of what is due, the order of use of sessions and the layout of records differ
// between such replicas, and any of these could decide something.
//
// Only how much of the history a replica has may differ. Which events stay is a matter of room, and
// decides nothing.
func TestSameLogMakesSameState(t *testing.T) {
	runs := sameRuns
	if raceDetector {
		runs = 3 // of the newest level: one goroutine alone applies
	}
	if *sameSeeds > 0 {
		runs = *sameSeeds
	}
	all := map[string]int{}
	for seed := range uint64(runs) {
		seen, err := sameInAllWays(seed)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for what, n := range seen {
			all[what] += n
		}
	}
	// A run in which something never happens shows nothing about it.
	for _, what := range []string{
		"set conflict", "check applied", "check conflict", "del applied", "txn applied", "txn no lease", "txn overflow", "lease applied",
		"service applied", "service service masked", "report applied", "raise applied", "chunk done", "seal done", "takeover done",
		"drop done", "cancel done", "refuse done", "unseal done", "forget done", "set too many sessions in the group",
		"a slot came, and had been here: true", "time forgot sessions: true",
	} {
		if all[what] == 0 && !raceDetector {
			t.Errorf("in %d runs %s never came", runs, what)
		}
	}
	t.Log(all)
}

// The same of the table: commands that were drawn for one machine are applied by others, some of
// which begin with the table as of now, again and again, or are of the oldest build that can be a
// member.
func TestSameLogMakesSameTable(t *testing.T) {
	runs := tableRuns / 3
	if raceDetector {
		runs /= 10
	}
	if *sameSeeds > 0 {
		runs = *sameSeeds
	}
	for seed := range uint64(runs) {
		if err := sameTables(seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// sameTables draws commands to the meta group from seed, and says where replicas differ.
func sameTables(seed uint64) error {
	r := newRandomCommands(seed)
	f := testFound(1+r.IntN(5), randomGroups)
	if !r.slots && r.one(2) {
		f.Level -= 1 + r.Uint32N(2)
		for i := range f.Nodes {
			f.Nodes[i].Level = f.Level
		}
	}
	payload, err := AppendFound(nil, f)
	if err != nil {
		return err
	}
	first, last := NewTableMachine(), raft.LogID{Term: 1, Index: 1}
	replicas := []*TableMachine{NewTableMachine(), NewTableMachine()}
	walks := map[*TableMachine]*TableWalk{}
	if f.Level < Level { // until the level rises
		older := NewTableMachine()
		older.Understand(f.Level)
		replicas = append(replicas, older)
	}
	for range tableCommands {
		want, err := first.Apply(last, payload)
		if err != nil {
			return err
		}
		if len(replicas) > 2 && first.Table().Level > f.Level {
			replicas = replicas[:2]
		}
		kept := first.Table().appendSnapshot(nil)
		for i, m := range replicas {
			got, err := m.Apply(last, payload)
			if err != nil || !reflect.DeepEqual(got, want) {
				return fmt.Errorf("replica %d, %s: got %+v (%v), want %+v", i, last, got, err, want)
			}
			if i > 0 && r.one(5) {
				again := NewTableMachine()
				again.Understand(m.level)
				if err := again.Load(bytes.NewReader(kept), last); err != nil {
					return fmt.Errorf("replica %d, %s: %w", i, last, err)
				}
				replicas[i], m = again, again
			}
			if !bytes.Equal(m.Table().appendSnapshot(nil), kept) {
				return fmt.Errorf("replica %d, %s: another table: %s", i, last, unlike(m.Table(), first.Table()))
			}
			if is, want := m.Digests(nil), first.Digests(nil); !slices.Equal(is, want) {
				return fmt.Errorf("replica %d, %s: other digests: %s", i, last, unlikeRows(is, want))
			}
			if walks[m] == nil {
				walks[m] = NewTableWalk(m)
			}
			done := walks[m].Step(1 + r.IntN(10_000))
			if faults := walks[m].Faults(); len(faults) > 0 {
				return fmt.Errorf("replica %d, %s: a walk finds %q", i, last, faults)
			}
			if done {
				delete(walks, m)
			}
		}
		last.Index += 1 + r.Uint64N(2)
		last.Term += r.Uint64N(20) / 19
		payload = r.command(first.Table())
		for TableKindOf(payload).Row().Admit(first.Table().Level) != nil { // nobody proposes it
			payload = r.command(first.Table())
		}
	}
	return nil
}
