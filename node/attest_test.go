package node

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// decoy listens where no member is, and counts who comes.
type decoy struct {
	net.Listener
	dials atomic.Int64
}

func newDecoy(t *testing.T) *decoy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &decoy{Listener: l}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			d.dials.Add(1)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close() })
	return d
}

// termOf returns the term of the replica of a group here.
func (r *runningNode) termOf(g raft.GroupID) (term uint64) {
	r.t.Helper()
	if !r.node.running().Ask(func(h *repl.Host) {
		for _, v := range h.View() {
			if v.Replica.Group == g {
				term = v.Status.Term
			}
		}
	}) {
		r.t.Fatal("the node has ended")
	}
	return term
}

// forgedTerms is by how much a forged vote raises the term: a replica follows it so
// far, and elections that are none of a liar's don't, however slow the machine is.
const forgedTerms = 1 << 20

// forgedVote asks r in another member's name for a vote in a later term, as a
// leader that hands over has its successor do, with the mark of the member's
// life: nothing but the sender's identity stands against it.
func forgedVote(r *runningNode, from raft.NodeID, mark uint64) []byte {
	r.t.Helper()
	term := r.termOf(0)
	m := raft.Message{Type: raft.MsgTransferVote, Term: term + forgedTerms, Log: raft.LogID{Term: term, Index: 1 << 30}}
	if !r.node.running().Ask(func(h *repl.Host) {
		for _, v := range h.View() {
			if v.Replica.Group != 0 {
				continue
			}
			m.To = v.Replica.ID
			for _, voter := range v.Status.Membership.Voters {
				if voter.Node == from {
					m.From = voter.Replica
				}
			}
		}
	}) {
		r.t.Fatal("the node has ended")
	}
	e := wire.Envelope{Group: 0, Incarnation: 1, Mark: mark, Message: m}
	return frame(wire.TypeTransferVote, 0, 0, wire.AppendEnvelope(nil, &e))
}

// Anyone who knows the secret can say a hello in a member's name, with its id and
// its life, which status shows. From elsewhere than that member's address it
// must be no member: what it sends is not counted, the address that it gives is
// not dialled, and it is told so.
func TestOnlyTheMemberItselfIsCounted(t *testing.T) {
	t.Parallel()
	if wrong := liarRun(t); wrong != "" {
		t.Error(wrong)
	}
}

// liarRun has a liar speak in a member's name to another one. It tells what that
// one took from it.
func liarRun(t *testing.T) string {
	nodes := founders(t, 3, defaultLimits())
	r, other := nodes[0], nodes[1].node.self()
	d := newDecoy(t)
	hello := r.peerHello(other.Node, other.Life().Number)
	hello.Advertise = d.Addr().String()
	before := r.termOf(0)
	for range 10 {
		s, err := dial(t, r.addr, hello)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(forgedVote(r, other.Node, other.Life().Mark)); err != nil {
			t.Fatal(err)
		}
		refused(t, "a connection in a member's name", s.lastWords(), wire.CodeUnauthorized, other.Node.String(), "not its own")
	}
	if term := r.termOf(0); term >= before+forgedTerms {
		return fmt.Sprintf("a vote in a member's name took group 0 from term %d to %d", before, term)
	}
	if n := d.dials.Load(); n != 0 {
		return fmt.Sprintf("the address in a hello was dialled %d times, and the member answers where it was", n)
	}
	until(t, "the member is where it was to its peer", func() error {
		if got := r.node.transport.Addr(other.Node); got != nodes[1].addr || !r.node.transport.Connected(other.Node) {
			return fmt.Errorf("it is at %q (connected: %t), want %s", got, r.node.transport.Connected(other.Node), nodes[1].addr)
		}
		return nil
	})
	return ""
}

// While a member is away nobody can be asked about it, and no message in its
// name is counted: a vote that was kept until it is back would count as its
// own then. An announcement in its name is not taken either.
func TestAbsentMembersAreNotCounted(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 3, defaultLimits())
	r, other := nodes[0], nodes[1].node.self()
	nodes[1].stop()
	until(t, "the member is missed", func() error {
		if r.node.transport.Connected(other.Node) {
			return errors.New("it is connected")
		}
		return nil
	})
	s, err := dial(t, r.addr, r.peerHello(other.Node, other.Life().Number+1))
	if err != nil {
		t.Fatal(err)
	}
	before := r.termOf(0)
	if _, err := s.Write(forgedVote(r, other.Node, other.Life().Mark)); err != nil {
		t.Fatal(err)
	}
	a := wire.Announce{Node: other.Node, Start: other.Life().Number + 1, Addr: "127.0.0.1:1", Version: Version, Name: "liar", Level: shardmap.Level}
	_, _, err = s.ask(wire.TypeAnnounce, 0, a.Append(nil))
	refused(t, "an announcement in its name", err, wire.CodeNotReady, other.Node.String(), "--advertise")
	// The announcement was behind the vote, so that has been looked at.
	if term := r.termOf(0); term >= before+forgedTerms {
		t.Errorf("a vote in its name took group 0 from term %d to %d", before, term)
	}
	if _, err := s.Write(forgedVote(r, other.Node, other.Life().Mark)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.ask(wire.TypePing, 0, new(wire.Empty).Append(nil)); err != nil {
		t.Errorf("a ping behind what is not counted: %v", err)
	}
	if term := r.termOf(0); term >= before+forgedTerms {
		t.Errorf("a later vote in its name took group 0 from term %d to %d", before, term)
	}
	// Once it is back it is asked, and says that the connection is none of its own.
	c := nodes[1].node.cfg
	c.Listen = nodes[1].addr
	start(t, c, defaultLimits())
	refused(t, "the connection in its name, once it is back", s.lastWords(), wire.CodeUnauthorized, "not its own")
	if row, ok := r.node.table.Load().Node(other.Node); !ok || row.Name == "liar" {
		t.Errorf("the table has %+v", row)
	}
}

// A claim is settled by the member in whose name it came, and by nobody else;
// and that it dialled some other address, where somebody in the middle passes
// on what it says, makes the connection not its own.
func TestClaims(t *testing.T) {
	v := attesting{own: "10.0.0.1:4166"}
	greeting := func(n raft.NodeID, nonce byte) *wire.Greeting {
		return &wire.Greeting{Hello: wire.Hello{Node: n}, Challenge: wire.Challenge{Nonce: wire.Nonce{nonce}}}
	}
	for i, c := range []struct {
		by      raft.NodeID
		nonce   byte
		addr    string
		own     bool
		settled bool
	}{
		{7, 1, "10.0.0.1:4166", true, true},
		{7, 1, "10.0.0.9:4166", false, true},
		{7, 1, "", false, true},
		{8, 1, "10.0.0.1:4166", false, false},
		{7, 2, "10.0.0.1:4166", false, false},
	} {
		refusals, wakes := 0, 0
		one := v.claim(greeting(7, 1), func() { wakes++ }, func(*wire.Error) { refusals++ })
		v.answered(c.by, &wire.AttestAnswer{Nonce: wire.Nonce{c.nonce}, Addr: c.addr})
		own, settled := one.state()
		if own != c.own || settled != c.settled || (refusals == 1) != (c.settled && !c.own) || (wakes == 1) != c.settled {
			t.Errorf("%d: got own %t, settled %t, %d refusals, woken %d times", i, own, settled, refusals, wakes)
		}
		v.claims.remove(one)
		if n := v.claims.of(7); len(n) != 0 {
			t.Errorf("%d: %d claims are left", i, len(n))
		}
	}
}

// A host that opens connections in the name of an absent member holds only a few, and
// none of them keeps the member out once it is back.
func TestClaimsAreBounded(t *testing.T) {
	var v attesting
	refusals := make(map[byte]int)
	var all []*claimant
	for i := range byte(3 * claimsMax) {
		g := &wire.Greeting{Hello: wire.Hello{Node: 7 + raft.NodeID(i%2)}, Challenge: wire.Challenge{Nonce: wire.Nonce{i}}}
		all = append(all, v.claim(g, func() {}, func(e *wire.Error) {
			if e.Code != wire.CodeBusy {
				t.Errorf("refused with %v", e)
			}
			refusals[i]++
		}))
	}
	if a, b := len(v.claims.of(7)), len(v.claims.of(8)); a != claimsMax || b != claimsMax {
		t.Errorf("%d and %d claims are open, want %d each", a, b, claimsMax)
	}
	for i := range byte(3 * claimsMax) {
		if want := i < claimsMax; (refusals[i] == 1) != want {
			t.Errorf("claim %d was refused %d times, want it refused: %t", i, refusals[i], want)
		}
	}
	for _, one := range all {
		v.claims.remove(one)
	}
	if len(v.claims.open) != 0 {
		t.Errorf("%d claims are left", len(v.claims.open))
	}
}

// What is kept of a connection whose member can't be asked is bounded, in bytes
// and in time.
func TestKeptFramesAreBounded(t *testing.T) {
	one := &claimant{settled: make(chan struct{})}
	body := make([]byte, 1000)
	for range 2 * keptBytesMax / len(body) {
		one.keep(wire.Header{Type: wire.TypeAppend}, body)
	}
	if one.keptBytes > keptBytesMax || len(one.kept) == 0 {
		t.Errorf("%d frames of %d bytes are kept", len(one.kept), one.keptBytes)
	}
	one.keptSince = time.Now().Add(-2 * attestWait)
	if !one.keep(wire.Header{}, body) || one.keep(wire.Header{}, body) || len(one.kept) != 0 {
		t.Errorf("after %s: %s", attestWait, fmt.Sprint(len(one.kept), " frames are kept"))
	}
}

// A node says which connections are its own: those that it has dialled, to whom
// it dialled them, until they are closed.
func TestDials(t *testing.T) {
	var v attesting
	a, b := net.Pipe()
	defer b.Close()
	c := wire.DialConfig{To: 7, ToAddr: "10.0.0.7:4166"}
	conn := v.dialling(a, &c)
	nonce := wire.Nonce{1}
	if got := v.dials.addr(nonce, 7); got != "" {
		t.Errorf("before the challenge: %q", got)
	}
	_ = c.Challenged(&wire.Challenge{Nonce: nonce})
	if got := v.dials.addr(nonce, 7); got != "10.0.0.7:4166" {
		t.Errorf("to the one that was dialled: %q", got)
	}
	if got := v.dials.addr(nonce, 8); got != "" {
		t.Errorf("to another one: %q", got)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if got := v.dials.addr(nonce, 7); got != "" || len(v.dials.open) != 0 {
		t.Errorf("after its end: %q, %d are left", got, len(v.dials.open))
	}
}
