package node

import (
	"context"
	"testing"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// A person's order reaches the log by its command alone, so it may be only what a person
// may ask for, whole: an entry that can't be read would stop group 0 on every node.
func TestOrdersRefused(t *testing.T) {
	nodes := founders(t, 2, defaultLimits())
	leads, _ := led(t, nodes, 0)
	other := another(nodes, leads)
	self := other.node.self()
	announce, err := shardmap.AppendAnnounce(nil, &shardmap.Announce{Node: self.Node, Start: 9, Addr: "127.0.0.1:1", Version: "x", Name: "x", Level: shardmap.Level})
	if err != nil {
		t.Fatal(err)
	}
	s := leads.client()
	before := leads.commitOf(0)
	for _, c := range []struct {
		name    string
		command []byte
		code    wire.Code
		want    string
	}{
		{"nothing", nil, wire.CodeBadRequest, "field command"},
		{"no command", []byte("hello"), wire.CodeBadRequest, "order"},
		{"of no kind", []byte{0x92, 0x00, 0x90}, wire.CodeLevel, "kind 0"},
		{"of a kind of the future", []byte{0x92, 0xcc, 0xc8, 0x90}, wire.CodeLevel, "kind 200"},
		{"too long", make([]byte, wire.OrderBytesMax+1), wire.CodeBadRequest, "field command"},
		{"of the leader's own", announce, wire.CodeUnauthorized, "announce"},
	} {
		for _, plan := range []bool{false, true} {
			_, _, err := s.ask(wire.TypeOrder, 0, (&wire.Order{Command: c.command, Plan: plan}).Append(nil))
			refused(t, c.name, err, c.code, c.want)
		}
	}
	if after := leads.commitOf(0); after.Term == before.Term && after != before {
		t.Errorf("the meta group went from %s to %s", before, after)
	}

	// Whatever the order, a node that does not lead says who does, and the library goes
	// there.
	f := other.client()
	_, _, err = f.ask(wire.TypeOrder, 0, (&wire.Order{Command: announce}).Append(nil))
	refused(t, "at a follower", err, wire.CodeNotLeader, leads.addr)
	ctx, cancel := context.WithTimeout(t.Context(), readyMax)
	defer cancel()
	cl, err := client.Open(client.Options{Endpoints: []string{other.addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	_, err = cl.Order(ctx, announce, 0)
	refused(t, "by the library, at a follower", err, wire.CodeUnauthorized, "announce")
	table, leader, err := cl.Table(ctx, "")
	if err != nil || leader != leads.node.self().Node || len(table.Nodes) != 2 {
		t.Errorf("the library's table: got %+v, led by %s, %v", table, leader, err)
	}
	_, err = cl.AddNodes(ctx, nil)
	refused(t, "no hosts", err, wire.CodeBadRequest, "field hosts")
}
