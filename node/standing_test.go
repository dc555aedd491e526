package node

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/pack"
)

// comeAndGo says who may send the requests by which nodes come and go: there each
// sender has a right of its own.
var comeAndGo = map[wire.Type]wire.Sender{
	wire.TypeInvite:   wire.SenderInviter,
	wire.TypeJoin:     wire.SenderJoiner,
	wire.TypeTable:    wire.SenderClient | wire.SenderMember, // it tells, and changes nothing
	wire.TypeReplicas: wire.SenderMember,
	wire.TypeChange:   wire.SenderMember,
	wire.TypeOrder:    wire.SenderClient,
	wire.TypeAddNodes: wire.SenderClient,

	wire.TypeEnrol:     wire.SenderGuest | wire.SenderJoiner,
	wire.TypeRenew:     wire.SenderClient | wire.SenderMember | wire.SenderRenewer,
	wire.TypeKeep:      wire.SenderMember,
	wire.TypeLogin:     wire.SenderGuest,
	wire.TypeWhoami:    wire.SenderClient,
	wire.TypeCanI:      wire.SenderClient,
	wire.TypeTrail:     wire.SenderClient,
	wire.TypeUsage:     wire.SenderClient | wire.SenderMember, // it tells a client, and changes something for a member alone
	wire.TypeBackups:   wire.SenderClient | wire.SenderMember, // an administrator, and the meta group's leader, which keeps as many as the setting says
	wire.TypeHolds:     wire.SenderMember,
	wire.TypeAuthority: wire.SenderClient,
	wire.TypeReset:     wire.SenderMember,
	wire.TypeWindow:    wire.SenderClient | wire.SenderMember,
	wire.TypeClock:     wire.SenderMember,

	wire.TypeBlockRange:  wire.SenderBulk,
	wire.TypeHint:        wire.SenderClient | wire.SenderMember, // a client, or a node that was asked and passes it to a replica of the group
	wire.TypeHints:       wire.SenderClient,
	wire.TypeDurable:     wire.SenderClient,
	wire.TypePointsQuery: wire.SenderClient, // it asks for points; requests of clients before it have lower numbers
	wire.TypeQueries:     wire.SenderClient, // what runs, to the user whose it is
}

// Who may send what follows from what a connection has proven. Each type must
// be decided on: one that is new and in no row would be for nobody, and one in
// a row too many would be for strangers.
func TestSendersOfEachType(t *testing.T) {
	for i := range wire.Type(1 << 9) {
		s, name := i.Senders(), i.String()
		switch {
		case !i.Known():
			if s != wire.SenderNobody {
				t.Errorf("%s is not known, and taken from %s", name, s)
			}
		case i == wire.TypePing:
		case i.Raft():
			if s != wire.SenderMember {
				t.Errorf("%s is taken from %s", name, s)
			}
		case i < wire.TypePing || i == wire.TypePong || i == wire.TypeStreamEnd || strings.HasSuffix(name, "Piece") || strings.HasSuffix(name, "Answer") && i != wire.TypeRepairAnswer && i != wire.TypeLifeAnswer:
			if s != wire.SenderNobody {
				t.Errorf("%s answers, and is taken from %s", name, s)
			}
		case i < wire.TypeWrite:
			if s&wire.SenderClient != 0 || s == wire.SenderNobody {
				t.Errorf("%s is for nodes, and taken from %q", name, s)
			}
		case i == wire.TypeStep:
			if s != wire.SenderMember {
				t.Errorf("%s moves slots, and is taken from %q", name, s)
			}
		case i == wire.TypeSlotView:
			if s != wire.SenderClient|wire.SenderMember {
				t.Errorf("%s tells of slots, and is taken from %q", name, s)
			}
		case i >= wire.TypeInvite && s != comeAndGo[i]:
			t.Errorf("%s is taken from %q, want %q", name, s, comeAndGo[i])
		case i < wire.TypeInvite && s != wire.SenderClient:
			t.Errorf("%s is for clients, and taken from %q", name, s)
		}
	}
}

// Each type that somebody may send has one handler, of the way that its sender's
// connection is served, and no other type has any: one without would be answered
// by a panic, and one too many would serve a sender that was let through by mistake.
func TestHandlerOfEachType(t *testing.T) {
	for i := range wire.Type(1 << 9) {
		h, s := handlerOf(i), i.Senders()
		ways := 0
		for _, has := range []bool{h.request != nil, h.word != nil, h.stream != nil, h.chunk != nil} {
			if has {
				ways++
			}
		}
		want := 1
		if s == wire.SenderNobody {
			want = 0
		}
		if ways != want {
			t.Errorf("%s, which %s may send, has %d handlers, want %d", i, s, ways, want)
		}
		if h.word != nil && s != wire.SenderMember {
			t.Errorf("%s is taken as a member's word, and from %s", i, s)
		}
		if h.stream != nil && s != wire.SenderClient {
			t.Errorf("%s is said of a client's stream, and from %s", i, s)
		}
		if (h.chunk != nil) != (s == wire.SenderBulk) {
			t.Errorf("%s is for a connection for snapshots: %t; %s may send it", i, h.chunk != nil, s)
		}
		answered := i == wire.TypeForward // by what answers the request in it
		for a := range wire.Type(1 << 9) {
			answered = answered || i != 0 && a.Question() == i && a.Senders() == wire.SenderNobody
		}
		if (h.word == nil && h.stream == nil && ways == 1) != answered {
			t.Errorf("%s is answered under its number: %t, and a type answers it there: %t", i, h.word == nil && h.stream == nil, answered)
		}
		// What is said in a member's name must not count before the member has
		// said that the connection is its own. Of its requests, Attest changes
		// nothing, Announce, Checks, Replicas, Change, Step, Keep, Holds, Reset, Window and Clock wait for that by themselves, and Forward
		// is refused until then.
		if s == wire.SenderMember && h.request != nil && i != wire.TypeAttest && i != wire.TypeAnnounce && i != wire.TypeForward && i != wire.TypeReplicas && i != wire.TypeChange && i != wire.TypeStep && i != wire.TypeChecks && i != wire.TypeKeep && i != wire.TypeHolds && i != wire.TypeReset && i != wire.TypeWindow && i != wire.TypeClock {
			t.Errorf("%s is answered before it is known whose word it is", i)
		}
	}
}

// A request that has a field more than this version knows asks for something else:
// it is refused, whatever the type. One would doubt it of those whose type is all
// that they say, for nobody has a reason to look at their bodies.
func TestFieldTooMany(t *testing.T) {
	r := serving(t, defaultLimits())
	s := r.client()
	for i := range wire.Type(1 << 8) {
		if i.Senders()&wire.SenderClient == 0 {
			continue
		}
		var b []byte
		b = pack.AppendArray(b, 15)
		for range 15 {
			b = pack.AppendNil(b)
		}
		_, _, err := s.ask(i, 0, b)
		refused(t, i.String(), err, wire.CodeBadRequest)
	}
	if err := s.works(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// commitOf returns how far the meta group is committed here.
func (r *runningNode) commitOf(g raft.GroupID) (commit raft.LogID) {
	r.t.Helper()
	if !r.node.running().Ask(func(h *repl.Host) {
		for _, v := range h.View() {
			if v.Replica.Group == g {
				commit = v.Commit
			}
		}
	}) {
		r.t.Fatal("the node has ended")
	}
	return commit
}

// clientSendsEveryType has a client of r send frames of every type that is not
// for clients. It returns what went wrong, or "".
func clientSendsEveryType(r *runningNode) string {
	self := r.node.self()
	before, table := r.commitOf(0), r.node.table.Load()
	announce := func(id raft.NodeID) []byte {
		a := wire.Announce{Node: id, Start: 99, Addr: "127.0.0.1:1", Version: "x", Name: "x", Level: shardmap.Level}
		return a.Append(nil)
	}
	vote := wire.AppendEnvelope(nil, &wire.Envelope{Group: 0, Incarnation: 1, Message: raft.Message{Type: raft.MsgVote, From: 1, To: 1, Term: 99}})
	s := r.client()
	defer s.Close()
	for i := range wire.Type(1 << 8) {
		if i.Senders()&wire.SenderClient != 0 { // by its row: a planted bug lets in more
			continue
		}
		for _, body := range [][]byte{announce(0), announce(self.Node), vote, {0x90}} {
			_, _, err := s.ask(i, 0, body)
			if e := (*wire.Error)(nil); !errors.As(err, &e) || e.Code != wire.CodeUnauthorized && e.Code != wire.CodeBadRequest {
				return fmt.Sprintf("%s: %v, want a refusal", i, err)
			}
		}
	}
	if err := s.works(); err != nil {
		return fmt.Sprintf("afterwards: %v", err)
	}
	if after := r.commitOf(0); after != before || r.node.table.Load() != table {
		return fmt.Sprintf("the meta group went from %s to %s", before, after)
	}
	return ""
}

// A client has proven the secret at most, so nothing that it sends may reach the
// meta group's log, a core of raft, or a replica's mending: whatever the type,
// and whatever its body says of who speaks. One would doubt it of node 0, which
// is what a client's own id reads as.
func TestClientSendsEveryType(t *testing.T) {
	r := serving(t, defaultLimits())
	if wrong := clientSendsEveryType(r); wrong != "" {
		t.Error(wrong)
	}
	s := r.client()
	for _, id := range []raft.NodeID{0, r.node.self().Node} {
		a := wire.Announce{Node: id, Start: 99, Addr: "127.0.0.1:1", Version: "x", Name: "x", Level: shardmap.Level}
		_, _, err := s.ask(wire.TypeAnnounce, 0, a.Append(nil))
		refused(t, "an announcement by a client", err, wire.CodeUnauthorized, "a client sent it, and only a member may")
	}
}

// What a member says of itself is shown on every terminal, and kept by every
// node: it must be checked before the log, since afterwards all have it.
func TestAnnouncementsRefused(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 2, defaultLimits())
	r, other := nodes[0], nodes[1].node.self()
	s, err := dialAs(nodes[1], r, r.peerHello(other.Node, other.Life().Number))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i, n := range nodes { // what they say of themselves changes the table too
		until(t, "all are announced", func() error {
			row, _ := r.node.table.Load().Node(n.node.self().Node)
			if !n.node.announcer.announced() || row.Version != Version {
				return fmt.Errorf("node %d is not: %+v", i, row)
			}
			return nil
		})
	}
	// A table may have come from the other node, before this one's log has its entry.
	before := r.commitOf(0)
	if at := nodes[1].commitOf(0); at.NewerOrEqual(before) {
		before = at
	}
	for _, c := range []struct {
		field  string
		change func(*wire.Announce)
	}{
		{"name", func(a *wire.Announce) { a.Name = "" }},
		{"name", func(a *wire.Announce) { a.Name = "n\x1b[2J" }},
		{"name", func(a *wire.Announce) { a.Name = "n\u009b2J" }},
		{"name", func(a *wire.Announce) { a.Name = strings.Repeat("n", nameMax+1) }},
		{"version", func(a *wire.Announce) { a.Version = "0.1\n0.2" }},
		{"version", func(a *wire.Announce) { a.Version = strings.Repeat("1", 1<<20) }},
		{"addr", func(a *wire.Announce) { a.Addr = "" }},
		{"addr", func(a *wire.Announce) { a.Addr = "10.0.0.1" }},
		{"addr", func(a *wire.Announce) { a.Addr = "0.0.0.0:4166" }},
		{"addr", func(a *wire.Announce) { a.Addr = "10.0.0.1:0" }},
		{"addr", func(a *wire.Announce) { a.Addr = strings.Repeat("h", shardmap.TableTextMax-len(":1")+1) + ":1" }},
		{"addr", func(a *wire.Announce) { a.Addr = "h\u009b:4166" }},
		{"labels", func(a *wire.Announce) { a.Labels = make([]shardmap.Label, labelsMax+1) }},
		{"labels", func(a *wire.Announce) { a.Labels = []shardmap.Label{{Key: "a b", Value: "1"}} }},
		{"labels", func(a *wire.Announce) { a.Labels = []shardmap.Label{{Key: "a", Value: "1\r"}} }},
		{"labels", func(a *wire.Announce) { a.Labels = []shardmap.Label{{Key: "a", Value: strings.Repeat("v", nameMax+1)}} }},
		{"labels", func(a *wire.Announce) { a.Labels = []shardmap.Label{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}} }},
	} {
		a := wire.Announce{Node: other.Node, Start: other.Life().Number, Addr: nodes[1].addr, Version: Version, Name: "n2", Level: shardmap.Level}
		c.change(&a)
		_, _, err := s.ask(wire.TypeAnnounce, 0, a.Append(nil))
		refused(t, c.field, err, wire.CodeBadRequest, "field "+c.field)
		if err != nil && len(err.Error()) > 1000 {
			t.Errorf("%s: an error of %d bytes", c.field, len(err.Error()))
		}
	}
	// An election, which a busy machine may bring, is no announcement.
	cl := r.library()
	log, err := cl.LogRange(t.Context(), r.addr, wire.LogRange{Group: 0, From: before.Index + 1, To: ^uint64(0)})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range log.Entries {
		if e.Kind != raft.EntryNoOp {
			t.Errorf("entry %s of the meta group is a %s, and it stood at %s", e.ID(), e.Kind, before)
		}
	}
}
