package node

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// lyingMember is a member that lies: it listens where a member of the cluster was, with that one's key and
// certificate. To peers it says that they were removed, and to all others it gives a forged table.
type lyingMember struct {
	id     logstore.Identity
	addr   string
	shown  *trust.Holding
	forged *shardmap.Table
	lied   atomic.Int64 // tables that it has given
	denied atomic.Int64 // peers that were told that they were removed
}

// lies has a member of a cluster with TLS stopped, and a liar in its place until the test ends.
func lies(t *testing.T, of *runningNode, forged *shardmap.Table) *lyingMember {
	t.Helper()
	liar := &lyingMember{id: of.node.self(), addr: of.addr, shown: of.node.guard.holder.Get(), forged: forged}
	of.stop()
	liar.listens(t, liar.answer)
	return liar
}

// listens takes connections where the member was, one after the other, until the test ends.
func (l *lyingMember) listens(t *testing.T, answer func(net.Conn)) {
	t.Helper()
	listener, err := net.Listen("tcp", l.addr)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { listener.Close(); <-ended })
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			answer(conn)
		}
	}()
}

// greets says the hello of the member on a connection, unless admit has something against that.
func (l *lyingMember) greets(below net.Conn, admit func(*wire.Greeting) error) (net.Conn, *wire.Greeting, error) {
	if err := below.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, nil, err
	}
	o, err := wire.ReadOpening(below)
	if err != nil {
		return nil, nil, err
	}
	var h trust.Holder
	h.Set(l.shown)
	conn, inner, err := o.TLSServer(below, h.Server(), wire.NewGate(1))
	if err != nil {
		return nil, nil, err
	}
	g, err := inner.ServerHello(conn, wire.AcceptConfig{
		Cluster: l.id.Cluster, ClusterID: l.id.ClusterID, Node: l.id.Node, Start: l.id.Life().Number, Advertise: l.addr,
		Level: shardmap.Level, ValueMax: 1 << 20, WindowMax: shardmap.SessionWindowMax, Admit: admit,
	})
	return conn, g, err
}

// answer says to one connection what it lies, and ends it.
func (l *lyingMember) answer(below net.Conn) {
	defer below.Close()
	conn, g, err := l.greets(below, func(g *wire.Greeting) error {
		if g.Hello.Role == wire.RolePeer {
			l.denied.Add(1)
			return wire.Removed(g.Hello.Node, "so says a liar")
		}
		return nil
	})
	if err != nil {
		return
	}
	head, _, err := wire.ReadFrame(conn, g.Decoder)
	if err != nil || head.Type != wire.TypeTable {
		return
	}
	a := wire.TableAnswer{Index: l.forged.Index, Leader: l.id.Node, State: l.forged.AppendTo(nil)}
	if wire.WriteFrame(conn, wire.TypeTableAnswer, head.Request, &a) == nil {
		l.lied.Add(1)
	}
	_, _ = io.Copy(io.Discard, conn)
}

// copied is a table that a test may change.
func copied(t *testing.T, table *shardmap.Table) *shardmap.Table {
	t.Helper()
	c, err := shardmap.ReadTable(table.AppendTo(nil))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// durable is what a node must not change by one member's word, on its disk and of a third member.
func (r *runningNode) durable(other raft.NodeID) (s string) {
	id, _, err := logstore.ReadIdentity(vfs.OS{}, r.node.cfg.Data)
	s = fmt.Sprintf("stage %s (%v), replicas", id.Stage, err)
	if loop := r.node.running(); loop != nil {
		loop.Ask(func(h *repl.Host) {
			for _, v := range h.View() {
				s += fmt.Sprintf(" %d/%d.%d", v.Replica.Group, v.Replica.Incarnation, v.Replica.ID)
			}
		})
	}
	key, ok := r.node.guard.pin(other)
	return s + fmt.Sprintf(", key of %s %x %t", other, key[:4], ok)
}

// One member that lies must not be able to have another one leave for good, throw away what it has, or take a
// third one's key for another. One would doubt it because a node that is behind must go by what others say.
func TestLyingMember(t *testing.T) {
	t.Parallel()
	if wrong := memberLies(t); wrong != "" {
		t.Error(wrong)
	}
}

// memberLies tells what a node does by the word of one member, or "".
func memberLies(t *testing.T) string {
	nodes, _ := secured(t, 3)
	victim, other, liar := nodes[0], nodes[1], nodes[2]
	for _, r := range nodes {
		until(t, "its table is that of the leader", func() error { return tableNow(t.Context(), r.node.running()) })
	}
	of := other.node.self().Node
	own := victim.node.table.Load()
	forged := copied(t, own)
	forged.Index += 1 << 20
	for i := range forged.Security.Pins {
		if p := &forged.Security.Pins[i]; p.Node == of {
			p.Key = shardmap.KeyID{1: 66}
		}
	}
	for i := range forged.Groups {
		// The replica here has been replaced, so it says.
		g := &forged.Groups[i]
		for j := range g.Replicas {
			g.Replicas[j].Replica += g.Next
		}
		g.Seen = raft.LogID{Term: 1 << 20, Index: 1 << 30}
		g.Next *= 3
	}
	if _, err := shardmap.ReadTable(forged.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	before := victim.durable(of)
	l := lies(t, liar, forged)
	victim.node.inquiry.raise(suspicion{l.id.Node, l.addr, "a test says so"})
	var ended error
	until(t, "the liar was heard, again and again", func() error {
		select {
		case ended = <-victim.ended:
			victim.ended <- nil // for stop
			return nil
		default:
		}
		if victim.node.known().Index == forged.Index {
			return nil
		}
		if l.lied.Load() < 4 || l.denied.Load() < 3 {
			return fmt.Errorf("%d tables given, %d peers told that they were removed", l.lied.Load(), l.denied.Load())
		}
		return nil
	})
	if ended != nil {
		_ = other.end() // the liar tells it the same
		return fmt.Sprintf("the node ended: %v", ended)
	}
	var after string
	if !within(2*time.Second, func() bool { after = victim.durable(of); return after == before }) {
		return fmt.Sprintf("%s; it was %s", after, before)
	}
	if known := victim.node.known(); known.Index >= forged.Index {
		return fmt.Sprintf("it goes by the forged table of index %d", known.Index)
	}
	problems := told(victim.node.inquiry.heard.problems(victim.node.name, own, time.Now()))
	if !strings.Contains(problems, "says that node "+victim.node.name+" was removed, and no other member has confirmed it") {
		t.Errorf("it tells of %q", problems)
	}
	// It serves, with the one that does not lie, and starts again.
	victim.stop()
	again := start(t, victim.node.cfg, secureLimits())
	until(t, "it has caught up again", func() error {
		if again.node.running() == nil {
			return errors.New("it does not run")
		}
		return tableNow(t.Context(), again.node.running())
	})
	return ""
}

// within reports whether something is so at all looks of a while.
func within(d time.Duration, so func() bool) bool {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if !so() {
			return false
		}
	}
	return true
}

// A word counts once enough members have given it. One member that gives it twice is not enough, nor are two that
// say different things, or the same thing of different moments.
func TestHearsay(t *testing.T) {
	sum := func(s string) [sha256.Size]byte { return sha256.Sum256([]byte(s)) }
	type said struct {
		from  raft.NodeID
		index uint64
		what  string
	}
	for _, c := range []struct {
		name   string
		others int
		said   []said
		want   bool // of the last
	}{
		{"one of two", 2, []said{{1, 7, "a"}}, false},
		{"one that is the only other", 1, []said{{1, 7, "a"}}, true},
		{"one of nobody", 0, []said{{1, 7, "a"}}, true},
		{"one, twice", 2, []said{{1, 7, "a"}, {1, 7, "a"}}, false},
		{"two", 2, []said{{1, 7, "a"}, {2, 7, "a"}}, true},
		{"two of nine", 9, []said{{1, 7, "a"}, {2, 7, "a"}}, true},
		{"two, and a liar first", 3, []said{{3, 9, "x"}, {1, 7, "a"}, {2, 7, "a"}}, true},
		{"two that differ", 2, []said{{1, 7, "a"}, {2, 7, "b"}}, false},
		{"two of other moments", 2, []said{{1, 7, "a"}, {2, 8, "b"}}, false},
		{"two of other moments, then of one", 2, []said{{1, 7, "a"}, {2, 8, "b"}, {1, 8, "b"}}, true},
		{"one that took it back", 2, []said{{1, 7, "a"}, {1, 8, "b"}, {2, 7, "a"}}, false},
	} {
		var h hearsay
		var got bool
		for _, s := range c.said {
			got = h.table(tableWord{s.from, "", s.index, sum(s.what)}, c.others, time.Now())
		}
		if got != c.want {
			t.Errorf("%s: counts %t, want %t", c.name, got, c.want)
		}
	}
	var h hearsay
	for i, c := range []struct {
		from raft.NodeID
		want bool
	}{{1, false}, {1, false}, {2, true}} {
		if got := h.leaves(c.from, 2); got != c.want {
			t.Errorf("word %d of a removal: counts %t, want %t", i, got, c.want)
		}
	}
}

// A node that speaks for itself is one more peer. It must not take the place of another one, nor change its
// key, and it is none any more once the table knows that it has left.
func TestIntroduction(t *testing.T) {
	var h hearsay
	members := []logstore.IdentityMember{{Node: 3, Addr: "c"}}
	one, two := trust.KeyID{1}, trust.KeyID{2}
	if !h.introduce(5, introduction{"e", one}) || h.introduce(5, introduction{"e", one}) || h.introduce(5, introduction{"e", two}) || !h.introduce(5, introduction{"f", one}) {
		t.Error("a node is introduced once, with one key, and may move")
	}
	if key, ok := h.key(5); !ok || key != one {
		t.Errorf("its key is %x, %t", key[:2], ok)
	}
	if got, want := h.peers(members, nil), append(slices.Clone(members), logstore.IdentityMember{Node: 5, Addr: "f"}); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for name, gone := range map[string]func() []logstore.IdentityMember{
		"of the table": func() []logstore.IdentityMember {
			return h.peers(append(slices.Clone(members), logstore.IdentityMember{Node: 5, Addr: "x"}), nil)[:1]
		},
		"removed": func() []logstore.IdentityMember { return h.peers(members, &shardmap.Table{Removed: []raft.NodeID{5}}) },
	} {
		h.introduce(5, introduction{"f", one})
		if got := gone(); !slices.Equal(got, members) {
			t.Errorf("%s: got %v", name, got)
		}
		if _, ok := h.key(5); ok {
			t.Errorf("%s: it has a key still", name)
		}
	}
}

// A node was away while another one joined, and of those that it knows nobody is there. The new one must be able to
// speak with it all the same, or both wait for ever; what the new one says of the cluster counts for nothing yet.
func TestNodeThatJoinedMeanwhile(t *testing.T) {
	t.Parallel()
	nodes, users := secured(t, 3)
	token := makeToken(t, nodes, users[0], 1, time.Hour)
	away := nodes[2]
	away.stop()
	c := testConfig(t)
	c.Join, c.Standby = []string{nodes[0].addr, nodes[1].addr}, true
	newer := startWith(t, c, secureLimits(), func(n *Node) { n.guard.token = &token })
	id := away.node.self().Node
	until(t, "another node joins", func() error {
		if loop := newer.node.running(); loop == nil || !newer.node.guard.certified() {
			return errors.New("not yet")
		}
		if table := newer.node.table.Load(); table == nil || table.Security.Mode != shardmap.SecurityOnly {
			return errors.New("it has no table")
		}
		return tableNow(t.Context(), newer.node.running())
	})
	index := newer.node.table.Load().Index
	stopTogether(nodes[:2])
	away = start(t, away.node.cfg, secureLimits())
	joined := newer.node.self().Node
	until(t, "the two are connected", func() error {
		if away.node.running() == nil {
			return errors.New("it does not run")
		}
		if l := away.node.transport.Link(joined); !l.Connected {
			return fmt.Errorf("it has not dialled the new one: %v", l.Err)
		}
		if l := newer.node.transport.Link(id); !l.Connected {
			return fmt.Errorf("the new one has not dialled it: %v", l.Err)
		}
		return nil
	})
	if known := away.node.known(); known != nil && known.Index >= index {
		t.Errorf("it goes by the table of index %d, which one node has given", known.Index)
	}
	// With another member back there are two that say the same.
	start(t, nodes[0].node.cfg, secureLimits())
	until(t, "it has caught up", func() error {
		if known := away.node.known(); known == nil || known.Index < index {
			return errors.New("not yet")
		}
		return nil
	})
}
