package node

import (
	"fmt"
	"time"

	"muster/repl/notary"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// endsSoon is how long before its end a node's certificate is told of: it should have been renewed a
// week ago.
const endsSoon = 3 * 24 * time.Hour

// rootEndsSoon is how long before its end a root is told of: it lasts ten years, and there is a release or two
// in half a year, with which somebody looks.
const rootEndsSoon = 180 * 24 * time.Hour

// rootEnds is when a root ends.
func rootEnds(der []byte) time.Time {
	c, err := trust.ReadRoot(der)
	if err != nil {
		return time.Time{} // nothing can be made under it
	}
	return c.NotAfter
}

// lost says which keys on which new certificates hang nobody has any more, where the meta group is led.
func (y *authority) lost() (list []wire.Problem) {
	n := y.node
	var custodies []notary.Custody
	if !y.leads.Load() || !y.mail.ask(n.ctx, func(time.Duration) { custodies = notary.Custodies(y.core) }) {
		return nil
	}
	for i := range custodies {
		k := &custodies[i]
		if !k.Lost {
			continue
		}
		list = append(list, wire.Problem{
			What:   fmt.Sprintf("no voter of group 0 holds wrapping key %s, and the key of root %s, which is %s, can't be opened: no certificate is made or renewed under it", k.Root.WrapKey, k.Root.ID, k.Root.State),
			Remedy: "put the file wrap-" + trust.WrapKeyID(k.Root.WrapKey).String() + ".key back into the folder tls of a voter, from a copy or a disk of one that had it, and start that; or have another root made while the certificates are still good: muster ca rotate",
		})
	}
	return list
}

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
	notes = n.company.notes()
	if h := n.guard.holder.Get(); h.Own == nil && h.Certificate != nil && h.Certificate.Leaf != nil && !trust.Founding(h.Certificate.Leaf) && h.Certificate.Leaf.NotAfter.Sub(n.guard.now()) < endsSoon {
		note("see in its log why it gets no other one, and compare its clock with those of the others", "the certificate of node %s ends at %s", n.name, h.Certificate.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	issuing, ok := t.Security.Issuing()
	if !ok || !y.leads.Load() {
		return notes
	}
	var custodies []notary.Custody
	if !y.mail.ask(n.ctx, func(time.Duration) { custodies = notary.Custodies(y.core) }) {
		return nil // it stops
	}
	for i := range custodies {
		k := &custodies[i]
		if k.Hold < k.Want && !k.Lost {
			note("start the other voters of group 0; if those that held it are gone for good: muster ca rotate. Keep a copy of the file wrap-*.key in the folder tls of one that has it",
				"%d of the nodes that make certificates holds wrapping key %s of root %s, want %d: if its disk is lost, no certificate is made any more", k.Hold, k.Root.WrapKey, k.Root.ID, k.Want)
		}
	}
	if left := rootEnds(issuing.DER).Sub(n.guard.now()); left < rootEndsSoon {
		note("muster ca rotate: it takes some seconds, and no certificate under the present one ends by it", "root %s, which issues certificates, ends at %s, and all of them with it", issuing.ID, rootEnds(issuing.DER).UTC().Format(time.RFC3339))
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
