package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	t.Parallel()
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
	stopTogether(nodes)
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
	t.Parallel()
	if why := halfExpired(t, 20*time.Second); why != "" {
		t.Error(why)
	}
}

// halfExpired returns what two such nodes still wait for after a while; empty: they serve.
func halfExpired(t *testing.T, most time.Duration) string {
	nodes, _ := secured(t, 3)
	begin := func(days int, which ...int) func() time.Time {
		now := func() time.Time { return time.Now().Add(time.Duration(days) * 24 * time.Hour) }
		stopTogether(nodes)
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

// onLine is a log that does something at a line, before whoever writes that goes on.
type onLine struct {
	message string
	do      func()
}

func (l *onLine) Enabled(context.Context, slog.Level) bool { return true }
func (l *onLine) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *onLine) WithGroup(string) slog.Handler            { return l }

func (l *onLine) Handle(_ context.Context, r slog.Record) error {
	if r.Message == l.message {
		l.do()
	}
	return nil
}

// A host was taken in by its token, and stopped before it had heard anything of its cluster. It is started again
// when its certificate has ended, beside members whose certificates are good. It has no table, which would tell whom
// to ask for another one, and members hear nothing else of it than that it wants one.
func TestCertificateEndedBeforeTheFirstTable(t *testing.T) {
	if why := endedBeforeTable(t, 20*time.Second); why != "" {
		t.Error(why)
	}
}

// endedBeforeTable returns what such a host still waits for after a while; empty: it is a member with a certificate.
func endedBeforeTable(t *testing.T, most time.Duration) string {
	nodes, users := secured(t, 3)
	token := makeToken(t, nodes, users[0], 1, time.Hour)
	c := testConfig(t)
	c.Join, c.Standby = []string{nodes[0].addr, nodes[1].addr, nodes[2].addr}, true
	var late *runningNode
	started := make(chan struct{})
	joined := &onLine{"cluster joined", func() {
		<-started
		late.cancel()
	}}
	late = startLogging(t, c, secureLimits(), joined, func(n *Node) { n.guard.token = &token })
	close(started)
	if err := late.end(); err != nil || late.node.running() != nil || !late.node.guard.certified() {
		t.Fatalf("the host has ended with %v; it was to stop with a certificate, and before its log began", err)
	}
	now := func(days int) func() time.Time {
		return func() time.Time { return time.Now().Add(time.Duration(days) * 24 * time.Hour) }
	}
	for _, days := range []int{21, 35} {
		for _, r := range nodes {
			r.stop()
		}
		for i, r := range nodes {
			nodes[i] = startWith(t, r.node.cfg, secureLimits(), func(n *Node) { n.guard.now = now(days) })
		}
		until(t, "the members have certificates that are good for long", func() error {
			for i, r := range nodes {
				own := r.node.guard.holder.Get().Certificate
				if r.node.running() == nil || own.Leaf.NotAfter.Before(now(50)()) {
					return fmt.Errorf("node %d has none", i)
				}
				if err := tableNow(t.Context(), r.node.running()); err != nil { // else it would help to elect somebody
					return err
				}
			}
			return nil
		})
	}
	late.node.cfg.TokenFile = ""
	late = startWith(t, late.node.cfg, secureLimits(), func(n *Node) { n.guard.now = now(35) })
	return missing(most, func() error {
		table, ended := late.node.table.Load(), late.node.guard.holder.Get().Certificate.Leaf.NotAfter.Before(now(35)())
		if table == nil || ended {
			return fmt.Errorf("its certificate has ended %t, it has a table %t", ended, table != nil)
		}
		return tableNow(t.Context(), late.node.running())
	})
}

// A node was away while all others were replaced. It is started again when its certificate has ended, beside members
// whose certificates are good. Its table names none of them, so it must ask one after the
// other for a certificate: no leader is known to it, nor can reach it.
func TestCertificateEndedBesideStrangers(t *testing.T) {
	t.Parallel()
	if why := endedBesideStrangers(t, 40*time.Second); why != "" {
		t.Error(why)
	}
}

// endedBesideStrangers returns what such a node still waits for after a while; empty: it has a certificate, and
// follows the leader.
func endedBesideStrangers(t *testing.T, most time.Duration) string {
	nodes, users := secured(t, 1)
	join := func(role shardmap.NodeRole) *runningNode {
		token := makeTokenFor(t, role, nodes[:1], users[0], 1, time.Hour)
		c := testConfig(t)
		c.Join, c.Standby, c.Role = []string{nodes[0].addr}, true, role
		return startWith(t, c, secureLimits(), func(n *Node) { n.guard.token = &token })
	}
	away := join(shardmap.NodeClient)
	until(t, "the node that will be away follows", func() error {
		if away.node.running() == nil {
			return errors.New("it has not joined")
		}
		table := away.node.table.Load()
		if table == nil {
			return errors.New("it has no table")
		}
		if _, named := table.Node(away.node.self().Node); !named || table.Security.Mode != shardmap.SecurityOnly {
			return fmt.Errorf("its table of index %d names it %t, TLS %s", table.Index, named, table.Security.Mode)
		}
		return nil
	})
	away.stop()
	for range 2 { // so that there are three voters of the meta group
		nodes = append(nodes, join(shardmap.NodeServer))
	}
	until(t, "all others vote in the meta group", func() error {
		for i, r := range nodes {
			table := nodes[0].node.table.Load()
			if r.node.running() == nil || !metaVoter(table, r.node.self().Node) {
				return fmt.Errorf("node %d does not", i)
			}
		}
		return nil
	})
	late := func() time.Time { return time.Now().Add(40 * 24 * time.Hour) }
	stopTogether(nodes)
	for i := range nodes {
		nodes[i].node.cfg.TokenFile = ""
		nodes[i] = startWith(t, nodes[i].node.cfg, secureLimits(), func(n *Node) { n.guard.now = late })
	}
	until(t, "the members follow, with certificates that are good", func() error {
		for i, r := range nodes {
			if r.node.running() == nil || r.node.guard.holder.Get().Certificate.Leaf.NotAfter.Before(late()) {
				return fmt.Errorf("node %d has none", i)
			}
			if err := tableNow(t.Context(), r.node.running()); err != nil {
				return err
			}
		}
		return nil
	})
	nodes[0].stop()
	away.node.cfg.Listen = away.addr // where the others look for it
	was := away.node.table.Load()    // as it would be in a snapshot: from the log alone it is read once a leader is heard
	away = startWith(t, away.node.cfg, secureLimits(), func(n *Node) {
		n.guard.now = late
		n.table.Store(was)
	})
	until(t, "the node that was away runs", func() error {
		if away.node.running() == nil {
			return away.node.notReady()
		}
		return nil
	})
	away.node.notary.changed()
	return missing(most, func() error {
		if leaf := away.node.guard.holder.Get().Certificate.Leaf; leaf.NotAfter.Before(late()) {
			return fmt.Errorf("its certificate has ended at %s", leaf.NotAfter)
		}
		return tableNow(t.Context(), away.node.running())
	})
}
