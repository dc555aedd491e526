package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/repl/client"
	"muster/repl/client/home"
	"muster/repl/notary"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// keptUser is what a founding host has kept for the user that runs it.
type keptUser struct {
	mu   sync.Mutex
	leaf *x509.Certificate // guarded by mu
	key  *ecdsa.PrivateKey // guarded by mu
	root []byte            // guarded by mu
}

func (k *keptUser) keep(root, leaf []byte, key *ecdsa.PrivateKey) error {
	c, err := trust.ReadCertificate(leaf)
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.leaf, k.key, k.root = c, key, root
	k.mu.Unlock()
	return nil
}

func (k *keptUser) has() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.leaf != nil
}

func secureLimits() limits {
	l := defaultLimits()
	l.secure = true
	l.recheckPause = recheckPause / 10
	l.passwordRounds = 1000 // what hashing must cost is for the tests of package login
	return l
}

// secured runs n founders of a cluster with TLS, and returns them once certificates alone open it.
func secured(t *testing.T, n int) ([]*runningNode, []*keptUser) {
	t.Helper()
	return securedLogging(t, n, slog.DiscardHandler)
}

// securedLogging is secured, and hands the logs to a handler.
func securedLogging(t *testing.T, n int, log slog.Handler) ([]*runningNode, []*keptUser) {
	t.Helper()
	return securedWithin(t, n, secureLimits(), log)
}

// securedWithin is securedLogging, for nodes with other limits.
func securedWithin(t *testing.T, n int, l limits, log slog.Handler) ([]*runningNode, []*keptUser) {
	t.Helper()
	return securedWith(t, n, l, log, func(int, *Config) {})
}

// securedWith is securedWithin, for nodes whose settings each changes.
func securedWith(t *testing.T, n int, l limits, log slog.Handler, each func(i int, c *Config)) ([]*runningNode, []*keptUser) {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := WriteNewSecret(secret); err != nil {
		t.Fatal(err)
	}
	addrs := freeAddrs(t, n)
	var nodes []*runningNode
	var users []*keptUser
	for i := range n {
		c, u := testConfig(t), new(keptUser)
		c.Listen = addrs[i]
		if n > 1 {
			c.Join, c.Expect, c.SecretFile = addrs, n, secret
		}
		c.FirstUser = &FirstUser{Name: fmt.Sprintf("ann%d", i), Keep: u.keep}
		each(i, &c)
		nodes, users = append(nodes, startLogging(t, c, l, log, func(*Node) {})), append(users, u)
	}
	until(t, "certificates alone open the cluster", func() error {
		for i, r := range nodes {
			table := r.node.table.Load()
			switch {
			case table == nil:
				return fmt.Errorf("node %d has no table", i)
			case table.Security.Mode != shardmap.SecurityOnly:
				return fmt.Errorf("node %d: mode %s, %d roots, %d pins", i, table.Security.Mode, len(table.Security.Roots), len(table.Security.Pins))
			}
		}
		return nil
	})
	return nodes, users
}

// A node that is started again shows the certificate that it has from its first word on, also one
// that founded the cluster. The others may have gone over to certificates alone while it was down, and
// a crash may have left it nothing of that: they tell it only if they know it.
func TestCertificateIsShownFromTheStart(t *testing.T) {
	t.Parallel()
	nodes, _ := secured(t, 2)
	r := nodes[1]
	own := r.node.notary.keys.own()
	r.stop()
	var shown []byte
	startWith(t, r.node.cfg, secureLimits(), func(n *Node) { shown = n.guard.holder.Get().Certificate.Certificate[0] })
	leaf, err := trust.ReadCertificate(shown)
	if err != nil {
		t.Fatal(err)
	}
	if serial, err := trust.SerialOf(leaf); err != nil || shardmap.Serial(serial) != own.Serial {
		t.Errorf("it shows the certificate of %v (%v), want %s", leaf.URIs, err, own.Serial)
	}
}

// Hosts that found a cluster make its root, their certificates, and that of the first
// administrator, and then let nobody in by the secret. All of it must come about by itself, because
// nobody is there who would know how.
func TestFoundingMakesCertificates(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			nodes, users := secured(t, n)
			for i, r := range nodes {
				table := r.node.table.Load()
				root, ok := table.Security.Issuing()
				pin, pinned := table.Security.Pin(r.node.self().Node)
				own := r.node.notary.keys.own()
				if !ok || !pinned || pin.Serial != own.Serial || pin.Root != root.ID || !r.node.guard.certified() {
					t.Errorf("node %d has certificate %s, the table has %s of root %s", i, own.Serial, pin.Serial, pin.Root)
				}
				if !users[i].has() {
					t.Errorf("the user that runs node %d has no certificate", i)
				}
				if _, ok := table.Security.UserNamed(fmt.Sprintf("ann%d", i)); !ok {
					t.Errorf("the user that runs node %d is no user", i)
				}
				for _, name := range []string{"node.key", "node.pem", "roots.pem"} {
					if info, err := os.Stat(filepath.Join(r.node.cfg.Data, "tls", name)); err != nil || info.Mode().Perm() != 0o600 {
						t.Errorf("node %d: %s: %v, %v", i, name, info, err)
					}
				}
			}
			// A voter asks for the wrapping key, which comes some time after the cluster has gone over.
			until(t, "each node holds the wrapping key, and the doctor has nothing to say", func() error {
				for i, r := range nodes {
					if hold, want := r.node.notary.keys.held(), 1; len(hold) != want {
						return fmt.Errorf("node %d holds %d wrapping keys, want %d", i, len(hold), want)
					}
					if notes := r.node.notary.notes(); len(notes) > 0 {
						return fmt.Errorf("%v", notes)
					}
				}
				return nil
			})
			_, err := dial(t, nodes[0].addr, wire.DialConfig{Purpose: wire.PurposeClient, Role: wire.RoleClient})
			if err == nil {
				t.Error("a client without TLS is let in")
			}
		})
	}
}

// A cluster that runs with a secret goes over to TLS by one order, while all its members run and its
// keys are read and written, and nothing opens it by the secret afterwards.
func TestSecretClusterGoesOverToTLS(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := WriteNewSecret(secret); err != nil {
		t.Fatal(err)
	}
	word, err := (&Config{SecretFile: secret}).Secret()
	if err != nil {
		t.Fatal(err)
	}
	addrs := freeAddrs(t, 3)
	var nodes []*runningNode
	var configs []Config
	plain := defaultLimits()
	plain.secure = false
	for _, a := range addrs {
		c := testConfig(t)
		c.Listen, c.Join, c.Expect, c.SecretFile = a, addrs, 3, secret
		configs = append(configs, c)
		nodes = append(nodes, start(t, c, plain))
	}
	leads := func() error {
		for _, r := range nodes {
			if table := r.node.table.Load(); r.node.running() == nil || table == nil || !table.Founded() {
				return fmt.Errorf("one has no table")
			}
		}
		if metaLeader(nodes) == nil {
			return fmt.Errorf("nobody leads the meta group")
		}
		return nil
	}
	until(t, "a plain cluster", leads)
	// The next release runs on the same directories, one after the other.
	log := new(leadLog)
	for i, c := range configs {
		nodes[i].stop()
		nodes[i] = startLogging(t, c, secureLimits(), log, func(*Node) {})
		until(t, "it is back", leads)
	}
	asked := func(kind wire.Type, body []byte) {
		t.Helper()
		until(t, "it is answered", func() error {
			lead := metaLeader(nodes)
			if lead == nil {
				return fmt.Errorf("nobody leads")
			}
			s, err := dial(t, lead.addr, wire.DialConfig{Purpose: wire.PurposeClient, Role: wire.RoleClient, Level: shardmap.Level, Secret: word})
			if err != nil {
				return err
			}
			defer s.Close()
			_, _, err = s.ask(kind, 0, body)
			return err
		})
	}
	orders := func(command []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		asked(wire.TypeOrder, (&wire.Order{Command: command}).Append(nil))
	}
	log.begin()
	// The secret goes on as long as nobody could administer the cluster without it, whoever else has come.
	orders(shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: shardmap.UserCreate, Name: "ann", At: time.Now().Unix()}))
	asked(wire.TypeAuthority, (&wire.Authority{Action: wire.AuthorityCreate}).Append(nil))
	until(t, "all members have certificates", func() error {
		for i, r := range nodes {
			if !r.node.guard.certified() {
				return fmt.Errorf("node %d has none", i)
			}
		}
		return nil
	})
	for i, r := range nodes {
		s, err := dial(t, r.addr, wire.DialConfig{Purpose: wire.PurposeClient, Role: wire.RoleClient, Level: shardmap.Level, Secret: word})
		if err != nil {
			t.Fatalf("node %d takes the secret no longer, and nobody may administer the cluster: %v", i, err)
		}
		s.Close()
	}
	orders(shardmap.AppendChangeRole(nil, &shardmap.ChangeRole{Action: shardmap.RoleCreate, Name: notary.AdminRole, Grants: notary.AllGrants()}))
	orders(shardmap.AppendChangeUserRoles(nil, &shardmap.ChangeUserRoles{User: "ann", Give: []string{notary.AdminRole}}))
	until(t, "certificates alone open the cluster", func() error {
		for i, r := range nodes {
			if table := r.node.table.Load(); table.Security.Mode != shardmap.SecurityOnly {
				return fmt.Errorf("node %d: mode %s, %d pins", i, table.Security.Mode, len(table.Security.Pins))
			}
		}
		return nil
	})
	if wrong := log.wrong(); wrong != "" {
		t.Error(wrong)
	}
	for i, r := range nodes {
		if !r.node.guard.certified() {
			t.Errorf("node %d has no certificate", i)
		}
		if _, err := dial(t, r.addr, wire.DialConfig{Purpose: wire.PurposeClient, Role: wire.RoleClient, Level: shardmap.Level, Secret: word}); err == nil {
			t.Errorf("node %d takes the secret still", i)
		}
	}
	// The files alone make it a member again.
	nodes[1].stop()
	nodes[1] = start(t, configs[1], secureLimits())
	until(t, "it is a member again", func() error {
		if nodes[1].node.running() == nil {
			return fmt.Errorf("it does not run")
		}
		return tableNow(context.Background(), nodes[1].node.running())
	})
}

// A new root takes the place of the one that issues, while a client goes on that has heard of the former
// one alone: members get certificates under the new one at once, and show that client those of before.
func TestRotationUnderAClient(t *testing.T) {
	t.Parallel()
	nodes, users := secured(t, 3)
	before, _ := nodes[0].node.table.Load().Security.Issuing()
	kept, err := home.In(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	u := users[0]
	if err := kept.Put(u.root, "muster", u.leaf.Raw, u.key); err != nil {
		t.Fatal(err)
	}
	writes := func(n int) {
		t.Helper()
		var addrs []string
		for _, r := range nodes {
			addrs = append(addrs, r.addr)
		}
		// Each is a client of its own, which has to be let in.
		cl, err := client.Open(client.Options{Endpoints: addrs, Home: kept.Dir()})
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		ctx, cancel := context.WithTimeout(context.Background(), readyMax)
		defer cancel()
		if _, err := cl.Set(ctx, []byte("k"), fmt.Append(nil, n), client.WriteOptions{}); err != nil {
			t.Fatalf("write %d: %v", n, err)
		}
	}
	writes(0)
	until(t, "the order is taken", func() error {
		lead := metaLeader(nodes)
		if lead == nil {
			return fmt.Errorf("nobody leads")
		}
		_, _, err := u.asUser(t, lead).ask(wire.TypeAuthority, 0, (&wire.Authority{Action: wire.AuthorityRotate}).Append(nil))
		return err
	})
	n := 1
	until(t, "all members have certificates of the new root", func() error {
		writes(n)
		n++
		for i, r := range nodes {
			root, _ := r.node.table.Load().Security.Issuing()
			if own := r.node.notary.keys.own(); root.ID == before.ID || own.Root != root.ID {
				return fmt.Errorf("node %d: root %s issues, its certificate is under %s", i, root.ID, own.Root)
			}
		}
		return nil
	})
	for range 5 {
		writes(n)
		n++
	}
	for i := range nodes {
		nodes[i].stop()
		nodes[i] = start(t, nodes[i].node.cfg, secureLimits())
	}
	writes(n)
}

// metaTable returns the table of the node that leads the meta group.
func metaTable(t *testing.T, nodes []*runningNode) (table *shardmap.Table) {
	t.Helper()
	until(t, "the meta group has a leader", func() error {
		lead := metaLeader(nodes)
		if lead == nil {
			return errors.New("nobody leads")
		}
		table = lead.node.table.Load()
		return nil
	})
	return table
}

// The doctor must say that the key on which all certificates hang is on one disk, and what keeps the secret
// of a cluster good.
func TestNotesOfCertificates(t *testing.T) {
	t.Parallel()
	nodes, _ := secured(t, 3)
	var lead *runningNode
	until(t, "the meta group has a leader", func() error {
		if lead = metaLeader(nodes); lead == nil {
			return errors.New("an election is under way")
		}
		return nil
	})
	y := &lead.node.notary
	says := func(want string) {
		t.Helper()
		until(t, "it is told", func() error {
			notes := y.notes()
			for _, n := range notes {
				if strings.Contains(n.What, want) && n.Remedy != "" {
					return nil
				}
			}
			return fmt.Errorf("got %v, want %q", notes, want)
		})
	}
	y.mail.ask(context.Background(), func(time.Duration) {
		y.core.Lead(false)
		y.core.Lead(true) // it does not know of the others
	})
	// It acts at once on what the others tell it, so the table is put back to an earlier one.
	table := *lead.node.table.Load()
	table.Security.Mode, table.Security.Users, table.Security.Pins = shardmap.SecurityBoth, nil, nil
	lead.node.table.Store(&table)
	says("until there is a user who can administer it")
	says("until node ")
}

// A node that votes in the meta group no longer must have no file left that makes certificates, and the
// others must have theirs.
func TestWrapKeysGoWithTheVote(t *testing.T) {
	t.Parallel()
	nodes, _ := secured(t, 3)
	var leaves *runningNode
	until(t, "somebody leads, and all hold the key", func() error {
		lead := metaLeader(nodes)
		if lead == nil {
			return fmt.Errorf("nobody leads")
		}
		leaves = nodes[0]
		if lead == leaves {
			leaves = nodes[1]
		}
		for i, r := range nodes {
			if len(r.node.notary.keys.held()) != 1 {
				return fmt.Errorf("node %d does not hold it", i)
			}
		}
		return nil
	})
	files := func(r *runningNode) int {
		names, err := filepath.Glob(filepath.Join(r.node.cfg.Data, "tls", "wrap-*.key"))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	until(t, "the key is gone", func() error {
		// As if the group had gone on to other nodes.
		table := *leaves.node.table.Load()
		table.Meta.Replicas = slices.DeleteFunc(slices.Clone(table.Meta.Replicas), func(r shardmap.TableReplica) bool {
			return r.Node == leaves.node.self().Node
		})
		leaves.node.table.Store(&table)
		leaves.node.notary.changed()
		if n := files(leaves); n != 0 {
			return fmt.Errorf("%d files are left", n)
		}
		return nil
	})
	for _, r := range nodes {
		if r != leaves && files(r) != 1 {
			t.Errorf("node %s has lost the key", r.node.name)
		}
	}
	// It must say so to whoever would rely on it.
	id := nodes[0].node.table.Load().Security.Roots[0].WrapKey
	q := wire.Keep{ID: wire.WrapKeyName(id), Key: make([]byte, wire.WrapKeySize)}
	if _, refusal := leaves.node.notary.keep(nodes[2].node.self().Node, &q); refusal == nil || refusal.Code != wire.CodeNotReady {
		t.Errorf("asked to keep it again: got %v", refusal)
	}
}

// All copies of the key that makes certificates are lost, while those that there are begin to be due: nobody can
// renew. The doctor must say it, with what mends it, and that must work: the next root gets a key of its own, and
// each member must say that it trusts it although its own certificate is overdue.
func TestNobodyHoldsTheWrappingKey(t *testing.T) {
	t.Parallel()
	p := certified(t, 3)
	before, _ := p.nodes[0].node.table.Load().Security.Issuing()
	late := func() time.Time { return time.Now().Add(21 * 24 * time.Hour) } // two thirds of their time are over
	stopTogether(p.nodes)
	for i, r := range p.nodes {
		name := filepath.Join(r.node.cfg.Data, tlsDir, "wrap-"+trust.WrapKeyID(before.WrapKey).String()+".key")
		if err := os.Remove(name); err != nil {
			t.Fatalf("node %d: %v", i, err)
		}
	}
	for i, r := range p.nodes {
		p.nodes[i] = startWith(t, r.node.cfg, secureLimits(), func(n *Node) { n.guard.now = late })
	}
	until(t, "all run", func() error {
		for i, r := range p.nodes {
			if r.node.running() == nil {
				return fmt.Errorf("node %d does not", i)
			}
		}
		return nil
	})
	// As muster doctor hears it: of the node that leads the meta group.
	severe := func() (found []wire.DoctorFinding) {
		lead := metaLeader(p.nodes)
		if lead == nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		a, err := p.admin.Doctor(ctx, lead.addr)
		if err != nil {
			return []wire.DoctorFinding{{What: err.Error()}}
		}
		return slices.DeleteFunc(a.Findings, func(x wire.DoctorFinding) bool { return !x.Severe })
	}
	until(t, "the doctor says it", func() error {
		found := severe()
		if len(found) != 1 || !strings.Contains(found[0].What, before.WrapKey.String()) || !strings.Contains(found[0].Remedy, "muster ca rotate") {
			return fmt.Errorf("got %v", found)
		}
		return nil
	})
	until(t, "another root is ordered", func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := p.admin.Authority(ctx, wire.Authority{Action: wire.AuthorityRotate})
		return err
	})
	until(t, "all have certificates under it", func() error {
		for i, r := range p.nodes {
			root, _ := r.node.table.Load().Security.Issuing()
			own := r.node.notary.keys.own()
			if root.ID == before.ID || own.Root != root.ID {
				return fmt.Errorf("node %d: root %s issues, its certificate is under %s", i, root.ID, own.Root)
			}
		}
		if found := severe(); len(found) > 0 {
			return fmt.Errorf("the doctor still says %v", found)
		}
		return nil
	})
	// The administrator's own certificate is under the root whose key is lost, so its connection may end before the
	// answer.
	until(t, "the former root is retired", func() error {
		if was, _ := p.nodes[0].node.table.Load().Security.Root(before.ID); was.State == shardmap.RootRetired {
			if len(was.Wrapped) > 0 || was.WrapKey != (shardmap.WrapKeyID{}) {
				t.Errorf("its key is still there, wrapped by %s", was.WrapKey)
			}
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := p.admin.Authority(ctx, wire.Authority{Action: wire.AuthorityRetire, Root: wire.RootHash(before.ID)})
		return fmt.Errorf("ordered: %v", err)
	})
}

// A root lasts ten years, and everything ends with it. The doctor must say so while there is time, with what mends it.
func TestRootNearItsEndIsTold(t *testing.T) {
	t.Parallel()
	nodes, _ := secured(t, 1)
	nodes[0].stop()
	late := func() time.Time { return time.Now().Add(trust.RootLife - rootEndsSoon + 24*time.Hour) }
	r := startWith(t, nodes[0].node.cfg, secureLimits(), func(n *Node) { n.guard.now = late })
	until(t, "it is told", func() error {
		if r.node.running() == nil {
			return errors.New("it does not run yet")
		}
		notes := r.node.notary.notes()
		for _, n := range notes {
			if strings.Contains(n.What, ", which issues certificates, ends at 20") && strings.HasPrefix(n.Remedy, "muster ca rotate") {
				return nil
			}
		}
		return fmt.Errorf("got %v", notes)
	})
}
