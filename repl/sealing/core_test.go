package sealing

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/block"
)

func sumOf(n byte) block.Sum { return block.Sum{n} }

// file is a confirmed one.
func file(n byte, number, values uint64, size int64) shardmap.PointsSealed {
	return shardmap.PointsSealed{Shard: shardmap.ShardID{Window: 1}, Number: number, Sum: sumOf(n), Values: values, Size: size}
}

// inWindow is a shard of a window.
func inWindow(w shardmap.WindowID, v ShardView) ShardView {
	v.Ref.Window = w
	return v
}

// nodeWith returns the core of node 1, which has a replica of group 1 with these shards and files, and leads it. Nodes 2 and 3 have others.
func nodeWith(disk []block.Sum, shards ...ShardView) *Core {
	c := New(1, Limits{Soft: 100, Hard: 200})
	c.Disk(1, disk)
	c.Snapshots(1, nil)
	c.Shards(1, shards)
	c.Group(1, GroupView{Term: 1, Current: true, Others: []raft.NodeID{3, 1, 2}})
	return c
}

// tell is what a core asks for, in words.
func tell(actions []Action) string {
	var list []string
	for _, a := range actions {
		s := a.Kind.String()
		switch a.Kind {
		case Propose:
			if p, err := shardmap.ReadPointsSeal(&a.Command); err == nil {
				s = fmt.Sprintf("seal %d/%d with %d", p.Shard.Window, p.Number, p.Merge)
			} else if p, err := shardmap.ReadPointsSealed(&a.Command); err == nil {
				s = fmt.Sprintf("sealed %d/%d as %d", p.Shard.Window, p.Number, p.Sum[0])
			} else if d, err := shardmap.ReadDropShards(&a.Command); err == nil {
				s = fmt.Sprintf("drop %d", d.Windows)
			}
		case Make:
			s += fmt.Sprintf(" %d/%d", a.Shard.Window, a.Number)
			for _, o := range a.Older {
				s += fmt.Sprintf(" with %d", o[0])
			}
		case Fetch:
			s += fmt.Sprintf(" %d from %d", a.Sum[0], a.From)
		case Remove:
			s += fmt.Sprintf(" %d", a.Sum[0])
		case Release, Wrong:
			s += fmt.Sprintf(" %d/%d", a.Shard.Window, a.Number)
		}
		list = append(list, s)
	}
	return strings.Join(list, "; ")
}

// asks is what a core asks for at a time.
func asks(c *Core, now Now) string {
	actions, _ := c.Turn(now)
	return tell(actions)
}

// expect fails a test where a core asks for anything else. It returns the last task that was begun.
func expect(t *testing.T, c *Core, now Now, want string) (task uint64) {
	t.Helper()
	actions, _ := c.Turn(now)
	if got := tell(actions); got != want {
		t.Fatalf("at %s it asks for %q, want %q", now, got, want)
	}
	for _, a := range actions {
		task = max(task, a.Task)
	}
	return task
}

// When a head is sealed, and with how many files.
func TestWhenSealed(t *testing.T) {
	const at = 10 * time.Hour
	four := []shardmap.PointsSealed{file(1, 1, 1000, 1500), file(2, 2, 1000, 1500), file(3, 3, 1000, 1500)}
	for what, c := range map[string]struct {
		view ShardView
		want string
	}{
		"nothing in it":                  {ShardView{}, ""},
		"young and small":                {ShardView{HeadBytes: 50, HeadValues: 5, HeadSince: at - headAge + 1}, ""},
		"of an hour":                     {ShardView{HeadBytes: 50, HeadValues: 5, HeadSince: at - headAge}, "seal 1/1 with 0"},
		"of a window that is over":       {ShardView{HeadBytes: 50, HeadValues: 5, HeadSince: at - overAge, Over: true}, "seal 1/1 with 0"},
		"just come late":                 {ShardView{HeadBytes: 50, HeadValues: 5, HeadSince: at - overAge + 1, Over: true}, ""},
		"in a window that is gone":       {ShardView{HeadBytes: 50, HeadValues: 5, Gone: true}, "drop [1]"},
		"that fills a tier":              {ShardView{HeadBytes: 50, HeadValues: 1000, Files: four, Seals: 3}, "seal 1/4 with 3"},
		"smaller than all files":         {ShardView{HeadBytes: 50, HeadValues: 10, Files: four, Seals: 3}, "seal 1/4 with 0"},
		"with many deletes":              {ShardView{Files: four, Seals: 3, Tombstones: tombstonesHigh}, "seal 1/4 with 3"},
		"with fewer":                     {ShardView{Files: four, Seals: 3, Tombstones: tombstonesHigh - 1}, ""},
		"with many deletes and one file": {ShardView{Files: four[:1], Seals: 1, Tombstones: tombstonesHigh}, "seal 1/2 with 1"},
		"with many deletes and no file":  {ShardView{Seals: 1, Tombstones: tombstonesHigh}, ""},
		"with those in its head alone":   {ShardView{HeadBytes: 1, HeadValues: 1, HeadSince: at, Tombstones: tombstonesHigh}, "seal 1/1 with 0"},
		"with those and points":          {ShardView{HeadBytes: 1, HeadValues: 1, HeadSince: at, Files: four[:1], Seals: 1, Tombstones: tombstonesHigh}, "seal 1/2 with 1"},
		"too large to end deletes":       {ShardView{Files: []shardmap.PointsSealed{file(1, 1, 10, mergeMax), file(2, 2, 10, 1), file(3, 3, 10, 1)}, Seals: 3, Tombstones: tombstonesHigh}, ""},
		"with a seal under way":          {ShardView{HeadBytes: 50, HeadValues: 10, Seals: 1, Frozen: []FrozenView{{Number: 1, Bytes: 1}}}, "make 1/1"},
		"quiet, but its window goes on":  {ShardView{Files: four, Seals: 3}, ""},
	} {
		core := nodeWith(nil, inWindow(1, c.view))
		var sums []block.Sum
		for _, f := range c.view.Files {
			sums = append(sums, f.Sum)
		}
		core.Disk(1, sums)
		if got := asks(core, at); got != c.want {
			t.Errorf("%s: it asks for %q, want %q", what, got, c.want)
		}
	}
	big := nodeWith(nil, inWindow(1, ShardView{HeadBytes: headMax, HeadValues: 5, HeadSince: at}))
	big.limits = DefaultLimits
	expect(t, big, at, "seal 1/1 with 0")
	follower := nodeWith(nil, inWindow(1, ShardView{HeadBytes: 50, HeadValues: 5}))
	follower.Group(1, GroupView{Current: true, Others: []raft.NodeID{2, 3}})
	expect(t, follower, at, "")
}

// A shard whose window is over ends in one file, once it has been quiet for as long as that costs.
func TestQuiet(t *testing.T) {
	const size = 64 << 20
	v := inWindow(1, ShardView{Over: true, Seals: 2, Files: []shardmap.PointsSealed{file(1, 1, 1<<20, size), file(2, 2, 1000, size)}})
	c := nodeWith([]block.Sum{sumOf(1), sumOf(2)}, v)
	const begin = time.Second
	if actions, next := c.Turn(begin); len(actions) > 0 || next != begin+quietMin+2*time.Hour {
		t.Fatalf("at first it asks for %q, and to be called at %s", tell(actions), next)
	}
	expect(t, c, begin+quietMin+2*time.Hour-1, "")
	expect(t, c, begin+quietMin+2*time.Hour, "seal 1/3 with 2")
	// Files that have more than the limit together stay apart.
	v.Files[0].Size = mergeMax - size + 1
	c = nodeWith([]block.Sum{sumOf(1), sumOf(2)}, v)
	if actions, next := c.Turn(begin); len(actions) > 0 || next != never {
		t.Errorf("with too much for one file it asks for %q, and to be called at %s", tell(actions), next)
	}
	// A file gives way to one without what was deleted, unless others that are older stay.
	one := inWindow(1, ShardView{Over: true, Seals: 1, Tombstones: 1, Files: []shardmap.PointsSealed{file(1, 1, 1000, size)}})
	c = nodeWith([]block.Sum{sumOf(1)}, one)
	expect(t, c, begin, "")
	expect(t, c, begin+quietMin+time.Hour, "seal 1/2 with 1")
	v.Tombstones = 1
	c = nodeWith([]block.Sum{sumOf(1), sumOf(2)}, v)
	expect(t, c, begin, "")
	expect(t, c, begin+24*time.Hour, "")
}

// Values are written about as often as there are tiers, whatever sizes heads have, and no merge passes its limit.
func TestTiers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 48))
	const limit = 1 << 21
	for range 200 {
		var files []shardmap.PointsSealed
		values, written := uint64(0), uint64(0)
		spread := 1 + rnd.IntN(12)
		for range 500 {
			head := uint64(1 + rnd.IntN(1<<rnd.IntN(spread)))
			k := tiered(files, int64(head), int64(head), limit)
			all := head
			for _, f := range files[len(files)-k:] {
				all += f.Values
			}
			if k > 0 && all > limit {
				t.Fatalf("a merge of %d files reads %d bytes, want %d at most", k, all, limit)
			}
			files = append(files[:len(files)-k], shardmap.PointsSealed{Values: all, Size: int64(all)})
			values += head
			written += all
		}
		tiers := tier(values) + 1
		if written > values*uint64(1+mergeWidth*tiers) {
			t.Errorf("%d values are written %d times, want %d for each of %d tiers", values, written/values, mergeWidth, tiers)
		}
		if most := (mergeWidth - 1) * tiers; len(files) > most {
			t.Errorf("%d values are in %d files, want %d at most", values, len(files), most)
		}
	}
}

// The largest heads are sealed first where memory presses, few at a time, and over the hard limit no points are taken until there is
// some room.
func TestPressure(t *testing.T) {
	shards := []ShardView{}
	for i, bytes := range []int64{10, 50, 20, 60, 30, 25} {
		shards = append(shards, inWindow(shardmap.WindowID(i+1), ShardView{HeadBytes: bytes, HeadValues: 1, HeadSince: time.Second}))
	}
	c := nodeWith(nil, shards[:3]...)
	expect(t, c, time.Second, "")
	if c.Presses() || c.Refuses() {
		t.Errorf("80 bytes of 100 press: %t, refuse: %t", c.Presses(), c.Refuses())
	}
	c = nodeWith(nil, shards...)
	expect(t, c, time.Second, "seal 4/1 with 0; seal 2/1 with 0; seal 5/1 with 0; seal 6/1 with 0")
	if !c.Presses() || c.Refuses() {
		t.Errorf("195 bytes of 100 press: %t, refuse: %t", c.Presses(), c.Refuses())
	}
	expect(t, c, 2*time.Second, "")
	shards[0].HeadBytes = 20
	c.Shard(1, shards[0])
	expect(t, c, 2*time.Second, "")
	if !c.Refuses() {
		t.Error("205 bytes of 200 are not refused")
	}
	for _, x := range []struct {
		bytes int64
		want  bool
	}{{165, true}, {150, false}, {199, false}, {200, true}} {
		shards[0].HeadBytes = x.bytes - 185
		c.Shard(1, shards[0])
		c.Turn(2 * time.Second)
		if c.Refuses() != x.want {
			t.Errorf("then with %d bytes it refuses: %t, want %t", x.bytes, c.Refuses(), x.want)
		}
	}
	// A head that presses another node is sealed too.
	c = nodeWith(nil, shards[2])
	c.Group(1, GroupView{Term: 1, Current: true, Pressed: true})
	expect(t, c, time.Second, "seal 3/1 with 0")
	// Frozen heads over the hard limit hold up the log, but only if something can be done about them.
	c = nodeWith(nil, inWindow(1, ShardView{Seals: 1, Frozen: []FrozenView{{Number: 1, Bytes: 200}}}))
	if !c.Pauses() {
		t.Error("200 bytes of 200 are frozen, and the log goes on")
	}
	now := time.Second
	for range makeTries {
		c.Ended(expect(t, c, now, "make 1/1"), now, Outcome{Err: errTest})
		now += restMax
	}
	if c.Pauses() {
		t.Error("a log is held up for a file that can't be made")
	}
	c = nodeWith(nil, inWindow(1, ShardView{Seals: 1, Files: []shardmap.PointsSealed{file(1, 1, 1, 1)}, Frozen: []FrozenView{{Number: 2, Bytes: 200, Older: []block.Sum{sumOf(1)}}}}))
	if c.Pauses() {
		t.Error("a log is held up that alone can bring what is missing")
	}
}

// comparedWrong returns what is wrong with how a replica finds out that it makes another file than the group has, or "".
func comparedWrong() string {
	frozen := func(confirmed *shardmap.PointsSealed) ShardView {
		return inWindow(1, ShardView{Seals: 1, Frozen: []FrozenView{{Number: 1, Bytes: 1, Confirmed: confirmed}}})
	}
	others := file(2, 1, 1, 1)
	confirmed := frozen(&others)
	confirmed.Files = []shardmap.PointsSealed{others}
	for what, first := range map[string]ShardView{"made before it is confirmed": frozen(nil), "made after it was confirmed": confirmed} {
		for own, want := range map[byte]string{1: "wrong 1/1", 2: "release 1/1"} {
			c := nodeWith(nil, first)
			c.Group(1, GroupView{Current: true, Others: []raft.NodeID{2, 3}})
			if got := asks(c, time.Second); got != "make 1/1" {
				return fmt.Sprintf("%s: at first it asks for %q", what, got)
			}
			c.Ended(1, time.Second, Outcome{File: shardmap.PointsSealed{Sum: sumOf(own), Values: 1}})
			c.Shard(1, confirmed)
			if got := asks(c, time.Second); got != want {
				return fmt.Sprintf("%s, its own file is %d and that of the group 2: it asks for %q, want %q", what, own, got, want)
			}
			if settled, why := c.Settled(1); settled != (own == 2) {
				return fmt.Sprintf("%s, its own file is %d: it is settled: %t (%s)", what, own, settled, why)
			}
			if got := asks(c, time.Hour); got != "" {
				return fmt.Sprintf("%s, its own file is %d: in the end it asks for %q", what, own, got)
			}
		}
	}
	return ""
}

func TestWrong(t *testing.T) {
	if wrong := comparedWrong(); wrong != "" {
		t.Error(wrong)
	}
}

var errTest = errors.New("a wire is cut")

// A file that only others have is fetched from one after the other, for as long as it is wanted.
func TestFetching(t *testing.T) {
	v := inWindow(1, ShardView{Seals: 1, Files: []shardmap.PointsSealed{file(7, 1, 1, 1)}})
	c := nodeWith(nil, v)
	now, pause := time.Second, restMin
	for round := range 20 {
		for _, from := range []int{2, 3} {
			task := expect(t, c, now, fmt.Sprintf("fetch 7 from %d", from))
			if _, why := c.Settled(1); !strings.Contains(why, fmt.Sprintf("fetched from node %s", raft.NodeID(from))) {
				t.Errorf("round %d: it is not settled: %s", round, why)
			}
			c.Ended(task, now, Outcome{Err: errTest})
		}
		if actions, next := c.Turn(now + pause - 1); len(actions) > 0 || next != now+pause {
			t.Fatalf("round %d: it asks for %q, and to be called at %s, want %s", round, tell(actions), next, now+pause)
		}
		if _, why := c.Settled(1); !strings.Contains(why, errTest.Error()) {
			t.Errorf("round %d: it is not settled: %s", round, why)
		}
		now += pause
		pause = min(2*pause, restMax)
	}
	// It is replaced meanwhile.
	task := expect(t, c, now, "fetch 7 from 2")
	v.Files, v.Seals = []shardmap.PointsSealed{file(8, 2, 2, 2)}, 2
	c.Shard(1, v)
	next := expect(t, c, now, "fetch 8 from 2")
	c.Ended(task, now, Outcome{})
	c.Ended(next, now, Outcome{})
	expect(t, c, now, "remove 7")
	if settled, why := c.Settled(1); !settled {
		t.Errorf("it is not settled: %s", why)
	}
	// The disk loses it, and there is no other node.
	c.Lost(1, sumOf(8))
	c.Group(1, GroupView{Term: 1, Current: true})
	expect(t, c, now, "")
	if _, why := c.Settled(1); !strings.Contains(why, "no other node") {
		t.Errorf("it is not settled: %s", why)
	}
}

// A confirmed file that can't be made, however often it is tried, is fetched.
func TestFetchedInstead(t *testing.T) {
	older, confirmed := file(1, 1, 9, 9), file(2, 2, 10, 10)
	v := inWindow(1, ShardView{Seals: 2, Files: []shardmap.PointsSealed{confirmed}, Frozen: []FrozenView{{Number: 2, Bytes: 1, Older: []block.Sum{older.Sum}, Confirmed: &confirmed}}})
	c := nodeWith([]block.Sum{older.Sum}, v)
	now := time.Second
	for range makeTries {
		c.Ended(expect(t, c, now, "make 1/2 with 1"), now, Outcome{Err: errTest})
		now += restMax
	}
	c.Ended(expect(t, c, now, "fetch 2 from 2"), now, Outcome{})
	expect(t, c, now, "release 1/2; remove 1")
}

// While the disk is full nothing is written but now and then one file, to see whether there is room; files are removed all the same.
func TestFullDisk(t *testing.T) {
	frozen := func(w shardmap.WindowID) ShardView {
		return inWindow(w, ShardView{Seals: 1, Frozen: []FrozenView{{Number: 1, Bytes: 1}}})
	}
	lacks := frozen(3)
	lacks.Files = []shardmap.PointsSealed{file(5, 1, 1, 1)}
	c := nodeWith(nil, frozen(1), lacks)
	c.Disk(2, nil)
	c.Snapshots(2, nil)
	c.Shards(2, []ShardView{frozen(2)})
	c.Group(2, GroupView{Current: true})
	now := time.Second
	expect(t, c, now, "make 1/1; fetch 5 from 2")
	c.Ended(1, now, Outcome{Err: errTest, Full: true})
	c.Ended(2, now, Outcome{Err: errTest, Full: true})
	if _, why := c.Settled(1); !strings.Contains(why, "the disk is full") {
		t.Errorf("it is not settled: %s", why)
	}
	if actions, next := c.Turn(now); len(actions) > 0 || next > now+fullMax {
		t.Fatalf("on a full disk it asks for %q, and to be called at %s", tell(actions), next)
	}
	now += fullMax
	task := expect(t, c, now, "make 1/1")
	c.Ended(task, now, Outcome{File: shardmap.PointsSealed{Sum: sumOf(9)}})
	expect(t, c, now+time.Second, "make 3/1; fetch 5 from 2; sealed 1/1 as 9")
	expect(t, c, now+2*time.Second, "make 2/1")
}

// Files are made at a bounded rate, and a long merge leaves room for a small one.
func TestPace(t *testing.T) {
	c := New(1, DefaultLimits)
	for id := range raft.GroupID(4) {
		size := int64(1)
		if id < 2 {
			size = smallMake + 1
		}
		c.Disk(id, []block.Sum{sumOf(1)})
		c.Snapshots(id, nil)
		c.Shards(id, []ShardView{inWindow(1, ShardView{Seals: 2, Files: []shardmap.PointsSealed{file(1, 1, 1, size)}, Frozen: []FrozenView{{Number: 2, Bytes: 1, Older: []block.Sum{sumOf(1)}}}})})
		c.Group(id, GroupView{Current: true})
	}
	actions, next := c.Turn(time.Second)
	if len(actions) != 1 || actions[0].Group != 0 || next < 2*time.Second || next > 2*time.Second+time.Millisecond {
		t.Fatalf("at first it asks for %q, and to be called at %s", tell(actions), next)
	}
	actions, _ = c.Turn(next)
	if len(actions) != 1 || actions[0].Group != 2 {
		t.Errorf("beside a large merge it asks for %+v", actions)
	}
	c.Ended(2, next, Outcome{File: file(2, 2, 1, 1)})
	if actions, _ = c.Turn(next + time.Second); len(actions) != 1 || actions[0].Group != 3 {
		t.Errorf("then it asks for %+v", actions)
	}
	c.Ended(1, next, Outcome{File: file(2, 2, 1, 1)})
	if actions, _ = c.Turn(next + 2*time.Second); len(actions) != 1 || actions[0].Group != 1 {
		t.Errorf("after the large merge it asks for %+v", actions)
	}
}

// Shards of windows that the table does not have are dropped, each window once.
func TestDrop(t *testing.T) {
	var views []ShardView
	for w := range shardmap.WindowID(shardmap.DropShardsMax + 1) {
		for k := range 2 {
			v := inWindow(w+1, ShardView{Gone: true, HeadValues: 1, HeadBytes: 1})
			v.Ref.Shard = points.Shard(k)
			views = append(views, v)
		}
	}
	slices.Reverse(views)
	c := nodeWith(nil, views...)
	actions, _ := c.Turn(time.Second)
	if len(actions) != 1 {
		t.Fatalf("it asks for %q", tell(actions))
	}
	d, err := shardmap.ReadDropShards(&actions[0].Command)
	if err != nil || len(d.Windows) != shardmap.DropShardsMax {
		t.Errorf("%d windows are dropped: %v", len(d.Windows), err)
	}
	expect(t, c, time.Second, "")
	for _, v := range views[2:] {
		c.Dropped(1, v.Ref.ShardID)
	}
	expect(t, c, time.Second+sayAgain, fmt.Sprintf("drop [%d]", shardmap.DropShardsMax+1))
}

// A command that has had no effect is proposed again, in a new term at once, and ever more seldom otherwise.
func TestProposedAgain(t *testing.T) {
	c := nodeWith(nil, inWindow(1, ShardView{HeadBytes: 50, HeadValues: 1}))
	now, pause := headAge, sayAgain
	for range 10 {
		expect(t, c, now, "seal 1/1 with 0")
		if actions, next := c.Turn(now + pause - 1); len(actions) > 0 || next != now+pause {
			t.Fatalf("it asks for %q, and to be called at %s, want %s", tell(actions), next, now+pause)
		}
		now += pause
		pause = min(2*pause, sayMax)
	}
	expect(t, c, now, "seal 1/1 with 0")
	c.Group(1, GroupView{Term: 2, Current: true})
	expect(t, c, now, "seal 1/1 with 0")
	expect(t, c, now+sayAgain, "seal 1/1 with 0")
}

// Nothing is decided before all is known that it takes, and nothing is removed while entries may bring a use for it.
func TestNotYetKnown(t *testing.T) {
	v := inWindow(1, ShardView{Seals: 1, Files: []shardmap.PointsSealed{file(1, 1, 1, 1)}})
	hands := map[string]func(*Core){
		"group":     func(c *Core) { c.Group(1, GroupView{Current: true, Others: []raft.NodeID{2}}) },
		"shards":    func(c *Core) { c.Shards(1, []ShardView{v}) },
		"disk":      func(c *Core) { c.Disk(1, []block.Sum{sumOf(2), sumOf(3)}) },
		"snapshots": func(c *Core) { c.Snapshots(1, []block.Sum{sumOf(3)}) },
	}
	for missing := range hands {
		c := New(1, DefaultLimits)
		for what, hand := range hands {
			if what != missing {
				hand(c)
			}
		}
		if got := asks(c, time.Second); got != "" {
			t.Errorf("without %s it asks for %q", missing, got)
		}
		hands[missing](c)
		if got := asks(c, time.Second); got != "remove 2; fetch 1 from 2" {
			t.Errorf("with all it asks for %q", got)
		}
	}
	c := New(1, DefaultLimits)
	for _, hand := range hands {
		hand(c)
	}
	c.Group(1, GroupView{Others: []raft.NodeID{2}})
	expect(t, c, time.Second, "")
}

// A replica that was removed and has come back has nothing of what was begun for the one before.
func TestComesBack(t *testing.T) {
	v := inWindow(1, ShardView{Seals: 1, Frozen: []FrozenView{{Number: 1, Bytes: 1}}})
	c := nodeWith([]block.Sum{sumOf(4)}, v)
	old := expect(t, c, time.Second, "remove 4")
	c.Ended(old, time.Second, Outcome{})
	old = expect(t, c, time.Second, "make 1/1")
	c.Removed(1)
	expect(t, c, time.Second, "")
	c.Disk(1, nil)
	c.Snapshots(1, nil)
	c.Shards(1, []ShardView{v})
	c.Group(1, GroupView{Current: true, Term: 1})
	expect(t, c, 2*time.Second, "make 1/1")
	c.Ended(old, 2*time.Second, Outcome{File: shardmap.PointsSealed{Sum: sumOf(9)}})
	expect(t, c, 2*time.Second, "")
}

// A removal that has failed may have taken the file: it does not count as here, and is removed again after a while.
func TestRemovalFails(t *testing.T) {
	v := inWindow(1, ShardView{Seals: 1})
	c := nodeWith([]block.Sum{sumOf(4)}, v)
	now := time.Second
	c.Ended(expect(t, c, now, "remove 4"), now, Outcome{Err: errTest})
	if actions, next := c.Turn(now); len(actions) > 0 || next != now+removeAgain {
		t.Errorf("it asks for %q, and to be called at %s", tell(actions), next)
	}
	task := expect(t, c, now+removeAgain, "remove 4")
	v.Files = []shardmap.PointsSealed{file(4, 1, 1, 1)}
	c.Shard(1, v)
	expect(t, c, now+removeAgain, "") // not before its end
	c.Ended(task, now+removeAgain, Outcome{Err: errTest})
	c.Ended(expect(t, c, now+removeAgain, "fetch 4 from 2"), now+removeAgain, Outcome{})
	expect(t, c, now+3*removeAgain, "")
}
