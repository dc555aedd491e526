package client

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// world is what surrounds a core: three nodes that answer, refuse, vanish and
// come back as a test draws it.
type world struct {
	t       *rapid.T
	core    *Core
	now     time.Duration
	up      map[Peer]bool
	dialled []Peer
	asked   []Peer
	calls   []*Call // all that were submitted
	on      map[*Call]Peer
	ended   map[*Call]error
	in      map[*Call]bool // held by the core
	doubt   map[*Call]bool // orders that may have been carried out
	// Of slots that move:
	index, epoch uint64
	groups       int                                // that the table has: the third is made in time
	owners       [shardmap.Slots / 100]raft.GroupID // of each hundred
	sends        map[*Call]int                      // since time passed
	// Of the stream of the table:
	level  uint32
	follow Peer   // whose is open, or on its way; NoPeer if there is none
	number uint64 // of it
}

var worldAddrs = []string{"a", "b", "c"}

func newWorld(t *rapid.T) *world {
	w := &world{
		t: t, core: NewCore(Config{Endpoints: worldAddrs[:2], Chance: rapid.Uint64().Draw(t, "chance"), Patience: time.Hour}),
		up: map[Peer]bool{}, on: map[*Call]Peer{}, ended: map[*Call]error{}, in: map[*Call]bool{}, doubt: map[*Call]bool{},
		index: 1, epoch: 1, groups: 2, sends: map[*Call]int{}, level: shardmap.MovesLevel, follow: NoPeer,
	}
	for i := range w.owners {
		w.owners[i] = raft.GroupID(1 + min(i, 1))
	}
	return w
}

const (
	// groupsMax is how many groups there are in the end.
	groupsMax = 3
	// sendsMax is how often a call is sent at most while no time passes: it follows hints
	// and slots, and is sent again as connections are lost and tables come.
	sendsMax = 8
)

// move gives slots another owner, by the table.
func (w *world) move() {
	w.groups = groupsMax
	w.index++
	w.epoch = w.index
	w.owners[rapid.IntRange(0, len(w.owners)-1).Draw(w.t, "slots")] = raft.GroupID(rapid.IntRange(1, groupsMax).Draw(w.t, "to"))
}

// settle carries out what the core says, and checks that a call is in one place
// at a time and ends once.
func (w *world) settle() {
	for {
		todo := w.core.Take()
		if len(todo) == 0 {
			return
		}
		for _, a := range todo {
			switch a.Kind {
			case ActSend, ActFinish:
				if !w.in[a.Call] {
					w.t.Fatalf("the core handed out a call that it did not have: %+v", a)
				}
				delete(w.in, a.Call)
				if w.sends[a.Call]++; a.Kind == ActSend && w.sends[a.Call] > sendsMax {
					w.t.Fatalf("call %+v is sent again and again, without a pause", a.Call)
				}
				if a.Kind == ActSend && w.doubt[a.Call] {
					w.t.Fatal("an order is sent again that may have been carried out")
				}
				if a.Kind == ActFinish {
					w.ended[a.Call] = a.Err
					continue
				}
				if w.up[a.Peer] && rapid.IntRange(0, 9).Draw(w.t, "room") > 0 {
					w.on[a.Call] = a.Peer
					continue
				}
				if w.up[a.Peer] {
					w.in[a.Call] = true
					w.core.Crowded(w.now, a.Call)
					continue
				}
				w.in[a.Call] = true
				w.core.Unsent(w.now, a.Call, a.Peer)
			case ActDial:
				if w.up[a.Peer] || slices.Contains(w.dialled, a.Peer) {
					w.t.Fatalf("peer %d is dialled twice", a.Peer)
				}
				w.dialled = append(w.dialled, a.Peer)
			case ActAsk:
				if len(w.asked) > 0 {
					w.t.Fatalf("two questions after the table at one time")
				}
				w.asked = append(w.asked, a.Peer)
			case ActFollow:
				if w.level < shardmap.LeasesLevel || w.follow != NoPeer || a.Number == w.number {
					w.t.Fatalf("a stream %d of the table at level %d, beside number %d of %d", a.Number, w.level, w.number, w.follow)
				}
				if w.number = a.Number; !w.up[a.Peer] {
					w.core.Unfollowed(w.now, a.Number)
					continue
				}
				w.follow = a.Peer
			}
		}
	}
}

func (w *world) submit() {
	c := &Call{place: -1, onPeer: NoPeer, Write: rapid.Bool().Draw(w.t, "write"), Deadline: w.now + time.Minute}
	switch rapid.IntRange(0, 6).Draw(w.t, "target") {
	case 0:
		c.Target = ToAny
	case 2:
		c.Target = ToMeta
	case 1:
		c.Target, c.Group = ToGroup, raft.GroupID(rapid.IntRange(1, 2).Draw(w.t, "group"))
	default:
		c.Slot = shardmap.Slot(rapid.IntRange(0, len(w.owners)*100-1).Draw(w.t, "slot"))
		c.AnyReplica = !c.Write && rapid.Bool().Draw(w.t, "any replica")
		c.Needs = rapid.SampledFrom([]uint32{0, shardmap.LeasesLevel}).Draw(w.t, "needs")
	}
	w.calls = append(w.calls, c)
	w.in[c] = true
	w.core.Submit(w.now, c)
}

func (w *world) finishDial(i int, fine bool) {
	p := w.dialled[i]
	w.dialled = slices.Delete(w.dialled, i, i+1)
	if !fine || rapid.Bool().Draw(w.t, "accepted first") {
		w.core.Accepted(p)
	}
	if !fine {
		w.core.Disconnected(w.now, p, rapid.SampledFrom([]error{errors.New("connection refused"),
			wire.Unauthorized("node", "its proof does not fit", "give the secret")}).Draw(w.t, "why"))
		return
	}
	w.up[p] = true
	addr := w.core.peers.all[p].addrs[0]
	w.core.Connected(w.now, p, raft.NodeID(slices.Index(worldAddrs, addr)+1), 9)
}

func (w *world) answerTable(fine bool) {
	p := w.asked[0]
	w.asked = nil
	if !fine {
		w.core.TableFailed(w.now, p, rapid.SampledFrom([]error{errors.New("no table"),
			wire.NotReady("node", "a standby", "ask another", 0), wire.Unauthorized("node", "no", "ask another")}).Draw(w.t, "why"))
		return
	}
	w.core.Table(w.now, p, w.table())
}

// table is the table as it is now.
func (w *world) table() *wire.TopologyAnswer {
	t := &wire.TopologyAnswer{ClusterID: 9, Index: w.index, Epoch: w.epoch, Level: w.level, ValueMax: 1000}
	for i, a := range worldAddrs {
		t.Nodes = append(t.Nodes, wire.TopologyNode{ID: raft.NodeID(i + 1), Addr: a})
	}
	for g := range w.groups {
		t.Groups = append(t.Groups, wire.TopologyGroup{ID: raft.GroupID(g + 1), Nodes: []raft.NodeID{1, 2, 3},
			Leader: raft.NodeID(rapid.IntRange(0, 3).Draw(w.t, "leader"))})
	}
	for i, g := range w.owners {
		t.Slots = append(t.Slots, shardmap.OwnedRange{SlotRange: shardmap.SlotRange{From: shardmap.Slot(100 * i), To: shardmap.Slot(100*i + 99)}, Group: g})
	}
	return t
}

// stream does something with the stream of the table: it brings the newest, or ends; or
// the level rises from which on there is one.
func (w *world) stream() {
	switch what := rapid.IntRange(0, 3).Draw(w.t, "stream"); {
	case w.level < shardmap.LeasesLevel:
		w.level = shardmap.LeasesLevel
		w.index++
	case w.follow == NoPeer:
		w.core.Unfollowed(w.now, w.number) // late
		w.core.Pushed(w.now, w.number, w.table())
	case what == 0:
		w.follow = NoPeer
		w.core.Unfollowed(w.now, w.number)
	default:
		w.core.Pushed(w.now, w.number, w.table())
	}
}

func (w *world) lose(p Peer, err error) {
	delete(w.up, p)
	if slices.Contains(w.asked, p) {
		w.asked = nil
	}
	gone, number := w.follow == p, w.number
	if gone {
		w.follow = NoPeer
	}
	w.core.Disconnected(w.now, p, err)
	if gone {
		w.core.Unfollowed(w.now, number)
	}
	for _, c := range w.calls {
		if q, ok := w.on[c]; ok && q == p {
			delete(w.on, c)
			w.in[c] = true
			w.doubt[c] = c.Target == ToMeta && c.Write
			w.core.Lost(w.now, c, p, errors.New("reset"))
		}
	}
}

func (w *world) refuse(c *Call) {
	p := w.on[c]
	delete(w.on, c)
	w.in[c] = true
	e := &wire.Error{Code: rapid.SampledFrom([]wire.Code{wire.CodeNotLeader, wire.CodeNotLeader, wire.CodeNotLeader, wire.CodeMoved,
		wire.CodeBusy, wire.CodeUnavailable, wire.CodeMaybeApplied, wire.CodeNotReady, wire.CodeDamaged, wire.CodeLevel}).Draw(w.t, "code")}
	if hint := rapid.IntRange(0, 3).Draw(w.t, "hint"); e.Code == wire.CodeNotLeader && hint > 0 {
		e.LeaderNode, e.LeaderAddr = raft.NodeID(hint), worldAddrs[hint-1]
	}
	w.doubt[c] = e.Code == wire.CodeMaybeApplied && c.Target == ToMeta && c.Write
	e.Epoch = rapid.Uint64Range(0, w.epoch+1).Draw(w.t, "epoch")
	if e.Code == wire.CodeMoved || e.Code == wire.CodeNotLeader {
		e.Group = raft.GroupID(rapid.IntRange(0, groupsMax).Draw(w.t, "its group"))
	}
	if e.Code == wire.CodeMoved {
		e.Number = rapid.Uint64Range(0, 99).Draw(w.t, "number")
		e.Slot = c.Slot
		if rapid.IntRange(0, 3).Draw(w.t, "of a stream") == 0 {
			e.Slot = shardmap.Slot(rapid.IntRange(0, shardmap.Slots+9).Draw(w.t, "its slot"))
		}
	}
	w.core.Refused(w.now, c, p, e)
}

func (w *world) tick() {
	at, ok := w.core.Wake()
	if !ok {
		return
	}
	if at > w.now {
		clear(w.sends)
	}
	w.now = max(w.now, at)
	w.core.Tick(w.now)
}

// sent returns the i-th call that is on a connection, in a fixed order.
func (w *world) sent() (out []*Call) {
	for _, c := range w.calls {
		if _, ok := w.on[c]; ok {
			out = append(out, c)
		}
	}
	return out
}

// Whatever the nodes do, a call is in one place at a time and ends once; and
// once they behave, every call that has time left comes to a node that answers
// it, soon. The scripts can't think of every order; this draws them.
func TestCoreLosesNoCall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 150).Draw(t, "steps") {
			switch rapid.IntRange(0, 12).Draw(t, "what") {
			case 0, 1:
				w.submit()
			case 2, 3:
				if len(w.dialled) > 0 {
					w.finishDial(rapid.IntRange(0, len(w.dialled)-1).Draw(t, "dial"), rapid.Bool().Draw(t, "fine"))
				}
			case 4:
				if len(w.asked) > 0 {
					w.answerTable(rapid.Bool().Draw(t, "fine"))
				}
			case 5, 6:
				if s := w.sent(); len(s) > 0 {
					w.refuse(rapid.SampledFrom(s).Draw(t, "refused"))
				}
			case 7:
				if p := Peer(rapid.IntRange(0, len(w.core.peers.all)-1).Draw(t, "lost")); w.up[p] {
					var err error
					if rapid.Bool().Draw(t, "reset") {
						err = errors.New("reset")
					}
					w.lose(p, err)
				}
			case 8:
				w.tick()
			case 10:
				w.move()
			case 11, 12:
				w.stream()
			case 9:
				if len(w.calls) > 0 {
					c := rapid.SampledFrom(w.calls).Draw(t, "cancelled")
					if had := w.in[c]; w.core.Cancel(c) != had {
						t.Fatalf("cancel: the core had it: %v", had)
					}
				}
			}
			w.settle()
			if got, want := w.core.parked.len(), len(w.in); got != want {
				t.Fatalf("%d calls wait in the core, %d were given to it", got, want)
			}
		}
		// Heal: dials succeed, questions are answered, requests served, and the table has the
		// groups that slots went to.
		w.groups = groupsMax
		w.index++
		limit := w.now + 10*time.Second
		for step := 0; len(w.in)+len(w.on) > 0; step++ {
			for len(w.dialled) > 0 {
				w.finishDial(0, true)
				w.settle()
			}
			for len(w.asked) > 0 {
				w.answerTable(true)
				w.settle()
			}
			for _, c := range w.sent() {
				delete(w.on, c)
				w.ended[c] = nil
			}
			if len(w.in) > 0 && len(w.dialled)+len(w.asked) == 0 {
				w.tick()
				w.settle()
			}
			if w.now > limit || step > 10000 {
				t.Fatalf("%d calls do not end at %s, after %d steps", len(w.in), w.now, step)
			}
		}
		if len(w.ended) != len(w.calls) {
			t.Fatalf("%d calls ended of %d", len(w.ended), len(w.calls))
		}
		// One that is connected is followed by then, or soon after.
		for w.core.table.level >= shardmap.LeasesLevel && w.follow == NoPeer && len(w.up) > 0 {
			if at, ok := w.core.Wake(); !ok || at > limit {
				t.Fatalf("nobody is followed at %s, and that will stay so", w.now)
			}
			w.tick()
			w.settle()
		}
	})
}
