package node

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"muster/node/vault"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// The answer that brought a node its certificate under a new root is lost, and while the node is away the former
// root is retired. It comes back with a certificate that nobody trusts any more, and the key that all know.
func TestCertificateOutlivedByItsNode(t *testing.T) {
	if why := outlivesRoot(t, 20*time.Second); why != "" {
		t.Error(why)
	}
}

// outlivesRoot returns what such a node still waits for after a while; empty: it has a certificate again.
func outlivesRoot(t *testing.T, most time.Duration) string {
	nodes, users := secured(t, 3)
	former, _ := nodes[0].node.table.Load().Security.Issuing()
	order := func(q *wire.Authority) {
		t.Helper()
		until(t, "the order to "+q.Action.String()+" is carried out", func() error {
			lead := metaLeader(nodes[:2])
			if lead == nil {
				lead = metaLeader(nodes)
			}
			if lead == nil {
				return errors.New("nobody leads")
			}
			_, _, err := users[0].asUser(t, lead).ask(wire.TypeAuthority, 0, q.Append(nil))
			return err
		})
	}
	order(&wire.Authority{Action: wire.AuthorityRotate})
	until(t, "all members have certificates of the new root", func() error {
		for i, r := range nodes {
			root, _ := r.node.table.Load().Security.Issuing()
			if own := r.node.notary.keys.own(); root.ID == former.ID || own.Root != root.ID {
				return fmt.Errorf("node %d: root %s issues, its certificate is under %s", i, root.ID, own.Root)
			}
		}
		return nil
	})
	away := nodes[2]
	k := &away.node.notary.keys
	k.mu.Lock()
	lost := k.former
	k.mu.Unlock()
	away.stop()
	v, err := vault.Open(away.node.fs, away.node.cfg.Data)
	if err == nil {
		err = v.SetCertificate(lost[0], lost[1])
	}
	if err != nil {
		t.Fatal(err)
	}
	order(&wire.Authority{Action: wire.AuthorityRetire, Root: wire.RootHash(former.ID)})
	if r, _ := metaTable(t, nodes[:2]).Security.Root(former.ID); r.State != shardmap.RootRetired {
		t.Fatalf("the former root is %s after the order to retire it", r.State)
	}
	nodes[2] = start(t, away.node.cfg, secureLimits())
	return missing(most, func() error {
		own := nodes[2].node.notary.keys.own()
		if own.Root == former.ID || own.Root == (shardmap.RootID{}) {
			return errors.New("the node has no certificate that anybody trusts")
		}
		return nil
	})
}

// missing waits a while until something is so, and returns what is still missing then; empty: nothing. It is
// [until] for tests that a planted bug is to fail.
func missing(most time.Duration, ok func() error) string {
	for end := time.Now().Add(most); ; time.Sleep(5 * time.Millisecond) {
		err := ok()
		if err == nil {
			return ""
		}
		if time.Now().After(end) {
			return err.Error()
		}
	}
}

// A cluster that was off for forty days has no certificate that is still good, and nobody who could make one
// but itself: it elects a leader all the same, renews, and serves.
func TestFortyDaysStopped(t *testing.T) {
	t.Parallel()
	nodes, users := secured(t, 3)
	for _, r := range nodes {
		r.stop()
	}
	late := func() time.Time { return time.Now().Add(40 * 24 * time.Hour) }
	for i, r := range nodes {
		nodes[i] = startWith(t, r.node.cfg, secureLimits(), func(n *Node) { n.guard.now = late })
	}
	until(t, "all have new certificates", func() error {
		for i, r := range nodes {
			if r.node.running() == nil {
				return fmt.Errorf("node %d does not run", i)
			}
			c := r.node.guard.holder.Get().Certificate
			if c == nil || c.Leaf == nil || c.Leaf.NotAfter.Before(late()) {
				return fmt.Errorf("node %d has none", i)
			}
		}
		return nil
	})
	until(t, "it serves", func() error {
		lead := metaLeader(nodes)
		if lead == nil {
			return fmt.Errorf("nobody leads")
		}
		return tableNow(context.Background(), lead.node.running())
	})
	u := users[0]
	shown, err := trust.NewCertificate(u.key, u.leaf.Raw, u.root)
	if err != nil {
		t.Fatal(err)
	}
	s := &stranger{t: t, shot: shown}
	if _, _, err := s.dial(nodes[0], wire.DialConfig{Role: wire.RoleClient}); err == nil {
		t.Error("a user whose certificate has ended is let in")
	}
}

// Two of three nodes were on until yesterday and have renewed their certificates, the third was off for
// weeks. If it starts with one of the others alone, its certificate has ended and that one's is good; neither
// is a majority, and both together must be.
func TestSomeCertificatesEnded(t *testing.T) {
	if why := halfExpired(t, 20*time.Second); why != "" {
		t.Error(why)
	}
}

// halfExpired returns what two such nodes still wait for after a while; empty: they serve.
func halfExpired(t *testing.T, most time.Duration) string {
	nodes, _ := secured(t, 3)
	begin := func(days int, which ...int) func() time.Time {
		now := func() time.Time { return time.Now().Add(time.Duration(days) * 24 * time.Hour) }
		for _, r := range nodes {
			r.stop()
		}
		for _, i := range which {
			nodes[i] = startWith(t, nodes[i].node.cfg, secureLimits(), func(n *Node) { n.guard.now = now })
		}
		return now
	}
	// good returns which of some nodes have no certificate that is good for 20 days more.
	good := func(now func() time.Time, which ...int) error {
		for _, i := range which {
			c := nodes[i].node.guard.holder.Get().Certificate
			if nodes[i].node.running() == nil || c == nil || c.Leaf == nil || c.Leaf.NotAfter.Before(now().Add(20*24*time.Hour)) {
				return fmt.Errorf("node %d has no new certificate", i)
			}
		}
		return nil
	}
	now := begin(21, 0, 1)
	until(t, "two have renewed theirs", func() error { return good(now, 0, 1) })
	now = begin(35, 0, 2)
	return missing(most, func() error { return good(now, 2) })
}
