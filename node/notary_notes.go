package node

import (
	"fmt"
	"time"

	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// endsSoon is how long before its end a node's certificate is told of: it should have been renewed a
// week ago.
const endsSoon = 3 * 24 * time.Hour

// notes says what a person should know of certificates: of this node's, and, where the meta group is
// led, of the cluster's.
func (y *authority) notes() (notes []wire.Problem) {
	n := y.node
	t := n.table.Load()
	if t == nil || t.Security.Mode == shardmap.SecurityOff {
		return nil
	}
	note := func(remedy, what string, args ...any) {
		notes = append(notes, wire.Problem{What: fmt.Sprintf(what, args...), Remedy: remedy})
	}
	if c := n.guard.holder.Get().Certificate; c != nil && c.Leaf != nil && !trust.Founding(c.Leaf) && c.Leaf.NotAfter.Sub(n.guard.now()) < endsSoon {
		note("see in its log why it gets no other one, and compare its clock with those of the others", "the certificate of node %s ends at %s", n.name, c.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	issuing, ok := t.Security.Issuing()
	if !ok || !y.leads.Load() {
		return notes
	}
	hold, want := 0, 0
	if !y.mail.ask(n.ctx, func(time.Duration) { hold, want = y.core.Keepers(issuing.WrapKey) }) {
		return nil // it stops
	}
	if hold < want {
		note("start the other voters of group 0; keep a copy of the file wrap-*.key in the folder tls of one that has it",
			"%d of the nodes that make certificates holds the key for that, want %d: if its disk is lost, no certificate is made any more", hold, want)
	}
	if t.Security.Mode != shardmap.SecurityBoth {
		return notes
	}
	if !t.Security.Administered() {
		note("muster user create, and muster user grant NAME admin", "the secret opens the cluster until there is a user who can administer it, and there is none")
	}
	for i := range t.Nodes {
		if pin, ok := t.Security.Pin(t.Nodes[i].ID); !ok || pin.Root != issuing.ID {
			note("start it; or remove it, if it is gone for good", "the secret opens the cluster until node %s has a certificate", t.Nodes[i].Name)
		}
	}
	return notes
}
