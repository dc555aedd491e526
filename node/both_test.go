package node

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// A cluster that was founded with a secret goes by that and by certificates until all its members have one,
// for as long as one of them is down, say. A host with a token, and without the secret, can come meanwhile.
func TestTokenWhileTheSecretCounts(t *testing.T) {
	t.Parallel()
	if wrong := addedByToken(t); wrong != "" {
		t.Error(wrong)
	}
}

// addedByToken tells what keeps a host with a token from a cluster that has a secret still.
func addedByToken(t *testing.T) string {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := WriteNewSecret(secret); err != nil {
		t.Fatal(err)
	}
	addrs, user := freeAddrs(t, 3), new(keptUser)
	var nodes []*runningNode
	var mu sync.Mutex
	late := -1 // the node whose user has no room for a certificate: it shows none, and so the others wait
	keeps := func(i int) error {
		mu.Lock()
		defer mu.Unlock()
		switch lead := metaLeader(nodes); {
		case len(nodes) < len(addrs) || lead == nil:
			return errors.New("too early")
		case late < 0 && lead != nodes[i]:
			late = i
		}
		if late == i {
			return errors.New("no room")
		}
		return nil
	}
	for i, addr := range addrs {
		c := testConfig(t)
		c.Listen, c.Join, c.Expect, c.SecretFile = addr, addrs, len(addrs), secret
		c.FirstUser = &FirstUser{Name: fmt.Sprintf("ann%d", i), Keep: func(root, leaf []byte, key *ecdsa.PrivateKey) error {
			err := keeps(i)
			if err == nil {
				err = user.keep(root, leaf, key) // of either
			}
			return err
		}}
		r := startLogging(t, c, secureLimits(), slog.DiscardHandler, func(*Node) {})
		mu.Lock()
		nodes = append(nodes, r)
		mu.Unlock()
	}
	until(t, "the first user has a certificate", func() error {
		if !user.has() {
			return errors.New("not yet")
		}
		return nil
	})
	token := makeToken(t, nodes, user, 1, time.Hour)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := testConfig(t)
	c.Listen, c.TokenFile, c.Standby = freeAddrs(t, 1)[0], file, true
	host := start(t, c, secureLimits())
	var wrong error
	until(t, "the host is invited", func() error {
		lead := metaLeader(nodes)
		if lead == nil {
			return errors.New("nobody leads the meta group")
		}
		_, body, err := user.asUser(t, lead).ask(wire.TypeAddNodes, 0, (&wire.AddNodes{Hosts: []string{host.addr}}).Append(nil))
		var a wire.AddNodesAnswer
		if err == nil {
			err = a.Read(body)
		}
		if err != nil {
			return err
		}
		if a.Rows[0].State == 0 {
			wrong = &a.Rows[0].Why
		}
		return nil
	})
	if wrong != nil {
		return wrong.Error()
	}
	until(t, "the host is a member", func() error {
		loop := host.node.running()
		if loop == nil {
			return host.node.notReady()
		}
		return tableNow(t.Context(), loop)
	})
	if mode := nodes[0].node.table.Load().Security.Mode; mode != shardmap.SecurityBoth {
		t.Errorf("the mode is %s, so nothing was tested", mode)
	}
	return ""
}
