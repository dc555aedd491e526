package node

import (
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

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
	return l
}

// secured runs n founders of a cluster with TLS, and returns them once certificates alone open it.
func secured(t *testing.T, n int) ([]*runningNode, []*keptUser) {
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
		nodes, users = append(nodes, start(t, c, secureLimits())), append(users, u)
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

// Hosts that found a cluster make its root, their certificates, and that of the first
// administrator, and then let nobody in by the secret. All of it must come about by itself, because
// nobody is there who would know how.
func TestFoundingMakesCertificates(t *testing.T) {
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
				if hold, want := r.node.notary.keys.held(), 1; len(hold) != want {
					t.Errorf("node %d holds %d wrapping keys, want %d", i, len(hold), want)
				}
				for _, name := range []string{"node.key", "node.pem", "roots.pem"} {
					if info, err := os.Stat(filepath.Join(r.node.cfg.Data, "tls", name)); err != nil || info.Mode().Perm() != 0o600 {
						t.Errorf("node %d: %s: %v, %v", i, name, info, err)
					}
				}
			}
			_, err := dial(t, nodes[0].addr, wire.DialConfig{Purpose: wire.PurposeClient, Role: wire.RoleClient})
			if err == nil {
				t.Error("a client without TLS is let in")
			}
		})
	}
}
