package node

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/node/login"
	"muster/repl/client"
	"muster/repl/client/home"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

// rotationUser is a client of some user that lives on: it counts a key up by conditional sets, reads it, and is
// told of each change by a stream that stays open.
type rotationUser struct {
	name  string
	c     *client.Client
	mu    sync.Mutex
	count int // guarded by mu: that was acknowledged
	told  int // guarded by mu: by the stream
	err   error
}

func (u *rotationUser) failed(err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil {
		u.err = err
	}
}

// works writes and reads until ctx ends.
func (u *rotationUser) works(ctx context.Context) {
	key, version := []byte("rotation/"+u.name), uint64(0)
	for n := 1; ctx.Err() == nil; n++ {
		one, cancel := context.WithTimeout(context.Background(), readyMax)
		o := client.WriteOptions{IfAbsent: true}
		if version > 0 {
			o = client.WriteOptions{IfVersion: version}
		}
		w, err := u.c.Set(one, key, strconv.AppendInt(nil, int64(n), 10), o)
		if err == nil {
			version = w.Version
			var items []client.Item
			items, _, err = u.c.Get(one, [][]byte{key}, client.ReadOptions{})
			if err == nil && (len(items) != 1 || string(items[0].Value) != strconv.Itoa(n)) {
				err = fmt.Errorf("read %v after %d was set", items, n)
			}
		}
		cancel()
		if err != nil {
			u.failed(fmt.Errorf("operation %d: %w", n, err))
			return
		}
		u.mu.Lock()
		u.count = n
		u.mu.Unlock()
	}
}

// watches follows the key until ctx ends: each count comes once, in order.
func (u *rotationUser) watches(ctx context.Context) {
	s := u.c.Watch(ctx, client.WatchQuery{Key: []byte("rotation/" + u.name)})
	defer s.Close()
	for {
		e, err := s.Next()
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			u.failed(fmt.Errorf("watch: %w", err))
			return
		}
		if e.Kind != client.WatchSet {
			continue
		}
		n, err := strconv.Atoi(string(e.Value))
		u.mu.Lock()
		if err == nil && n != u.told+1 && u.told > 0 {
			err = fmt.Errorf("watch: told of %d after %d", n, u.told)
		}
		u.told = max(u.told, n)
		u.mu.Unlock()
		if err != nil {
			u.failed(err)
			return
		}
	}
}

// A root is rotated, all nodes get certificates under the new one, and the former is retired, while clients of several
// users go on that live long and have streams open: one by a certificate that lasts, one by that of a password, and one
// that its administrator has made for another host. None is told an error up to the retirement, and afterwards
// none that has a certificate under the new root. No group loses its leader at any step: members connect anew
// under the new root before the former's time is over.
func TestRotationUnderLoad(t *testing.T) {
	if wrong := rotationCuts(t); wrong != "" {
		t.Error(wrong)
	}
}

// rotationCuts rotates a root under load, and says what that has cut of members.
func rotationCuts(t *testing.T) string {
	log := new(leadLog)
	nodes, users := securedLogging(t, 3, log)
	p := &people{t: t, nodes: nodes}
	until(t, "the first user has a certificate", func() error {
		if !users[0].has() {
			return errors.New("not yet")
		}
		return nil
	})
	admin := p.home(users[0].root, users[0].leaf.Raw, users[0].key)
	p.admin = p.client(admin, client.ForwardWhenCut)
	password := []byte("correct horse")
	hash, err := login.Hash(rand.Reader, password, secureLimits().passwordRounds)
	if err != nil {
		t.Fatal(err)
	}
	p.give(shardmap.AppendChangeRole(nil, &shardmap.ChangeRole{Action: shardmap.RoleCreate, Name: "app", Grants: []access.Grant{
		grant("read,write,list,watch", "key:rotation/")}}))
	for _, name := range []string{"rob", "eve"} {
		p.give(shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: shardmap.UserCreate, Name: name, Password: hash}))
		p.give(shardmap.AppendChangeUserRoles(nil, &shardmap.ChangeUserRoles{User: name, Give: []string{"app"}}))
	}
	key, request := newRequest(t)
	var login *wire.LoginAnswer
	until(t, "rob is logged in", func() error {
		lead := metaLeader(nodes)
		if lead == nil {
			return errors.New("nobody leads")
		}
		var refusal *wire.Error
		lead.node.logins.failures.Begin(time.Now(), "rob", "10.0.0.1")
		if login, refusal = lead.node.logins.login(&wire.Login{Name: "rob", Password: password, Request: request}, "10.0.0.1"); refusal != nil {
			return refusal
		}
		return nil
	})
	made := p.madeFor("eve")
	all := []*rotationUser{
		{name: "ann", c: p.client(admin, client.ForwardWhenCut)},
		{name: "rob", c: p.client(p.home(login.Roots[0], login.Certificate, key), client.ForwardWhenCut)},
		{name: "eve", c: p.client(made, client.ForwardWhenCut)},
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for _, u := range all {
		wg.Go(func() { u.watches(ctx) })
		wg.Go(func() { u.works(ctx) })
	}
	advance := func(what string) {
		t.Helper()
		was := make([][2]int, len(all))
		for i, u := range all {
			u.mu.Lock()
			was[i] = [2]int{u.count, u.told}
			u.mu.Unlock()
		}
		until(t, what, func() error {
			for i, u := range all {
				u.mu.Lock()
				count, told, err := u.count, u.told, u.err
				u.mu.Unlock()
				if err != nil {
					t.Fatalf("%s: %s: %v", what, u.name, err)
				}
				if count < was[i][0]+20 || told < was[i][1]+10 {
					return fmt.Errorf("%s has counted to %d and was told of %d", u.name, count, told)
				}
			}
			return nil
		})
	}
	advance("all work before")
	log.begin()
	before, _ := nodes[0].node.table.Load().Security.Issuing()
	order := func(q wire.Authority) {
		t.Helper()
		until(t, "the order is taken", func() error {
			one, cancel := context.WithTimeout(t.Context(), callTimeout)
			defer cancel()
			_, err := p.admin.Authority(one, q)
			return err
		})
	}
	order(wire.Authority{Action: wire.AuthorityRotate})
	until(t, "members are connected under the new root", func() error {
		for i, r := range nodes {
			root, _ := r.node.table.Load().Security.Issuing()
			own := r.node.notary.keys.own()
			if n := r.node.transport.Outdated(); root.ID == before.ID || own.Root != root.ID || n > 0 {
				return fmt.Errorf("node %d: root %s issues, its certificate is under %s, %d connections are under another", i, root.ID, own.Root, n)
			}
		}
		return nil
	})
	advance("all work under the new root")
	// Those that are to go on have certificates under it, as they would after a day.
	stop()
	wg.Wait()
	p.admin = p.client(p.madeFor("ann0"), client.ForwardWhenCut)
	all = all[:0]
	ctx, stop = context.WithCancel(t.Context())
	defer stop()
	for _, name := range []string{"rob", "eve"} {
		u := &rotationUser{name: name, c: p.client(p.madeFor(name), client.ForwardWhenCut)}
		if _, err := p.admin.Delete(ctx, []byte("rotation/"+name)); err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
		wg.Go(func() { u.watches(ctx) })
		wg.Go(func() { u.works(ctx) })
	}
	advance("clients work with certificates under the new root")
	order(wire.Authority{Action: wire.AuthorityRetire, Root: wire.RootHash(before.ID)})
	until(t, "the former root is retired", func() error {
		for i, r := range nodes {
			if root, ok := r.node.table.Load().Security.Root(before.ID); ok && root.State != shardmap.RootRetired {
				return fmt.Errorf("node %d: it is %s", i, root.State)
			}
		}
		return nil
	})
	advance("all work after the retirement")
	time.Sleep(2 * electionTicks * tick) // nothing is to happen, and that can't be waited for
	return log.wrong()
}

// A client that lives on gets its user's next certificate over the connections that it has, from real nodes, and keeps
// it where the former was: when that is a day old, and not before.
func TestClientRenewsItsCertificate(t *testing.T) {
	kept := new(keptUser)
	c := testConfig(t)
	c.FirstUser = &FirstUser{Name: "ann", Keep: kept.keep}
	var behind atomic.Int64 // the node's clock: what it makes is that old
	behind.Store(int64(25 * time.Hour))
	r := startWith(t, c, secureLimits(), func(n *Node) {
		n.guard.now = func() time.Time { return time.Now().Add(-time.Duration(behind.Load())) }
	})
	until(t, "the user has a certificate, and it counts alone", func() error {
		if table := r.node.table.Load(); !kept.has() || table == nil || table.Security.Mode != shardmap.SecurityOnly {
			return errors.New("not yet")
		}
		return nil
	})
	p := &people{t: t, nodes: []*runningNode{r}}
	for _, fresh := range []bool{false, true} {
		leaf, root, key := kept.leaf, kept.root, kept.key
		if fresh {
			// One that was made now is good for a day.
			behind.Store(0)
			p.admin = p.client(p.home(root, leaf.Raw, key), client.ForwardWhenCut)
			h, err := home.In(p.madeFor("ann"))
			if err != nil {
				t.Fatal(err)
			}
			c, err := h.Credential(trust.RootIDOf(root))
			if err != nil {
				t.Fatal(err)
			}
			leaf, key = c.Certificate.Leaf, c.Certificate.PrivateKey.(*ecdsa.PrivateKey)
		}
		dir := p.home(root, leaf.Raw, key)
		cl := p.client(dir, client.ForwardWhenCut)
		ctx, cancel := context.WithTimeout(t.Context(), readyMax)
		defer cancel()
		if _, err := cl.Whoami(ctx); err != nil {
			t.Fatal(err)
		}
		renewed, err := cl.RenewCertificate(ctx)
		if err != nil || renewed == fresh {
			t.Fatalf("fresh %t: renewed %t, %v", fresh, renewed, err)
		}
		h, err := home.In(dir)
		if err != nil {
			t.Fatal(err)
		}
		now, err := h.Credential(trust.RootIDOf(root))
		if err != nil || bytes.Equal(now.Certificate.Leaf.Raw, leaf.Raw) != fresh {
			t.Errorf("fresh %t: what is kept then: %v", fresh, err)
		}
		// It counts: a client that connects by it is let in.
		if who, err := p.client(dir, client.ForwardWhenCut).Whoami(ctx); err != nil || who.User != "ann" {
			t.Errorf("fresh %t: by what is kept: %+v, %v", fresh, who, err)
		}
	}
}

// newRequest makes a key, and asks for a certificate for it.
func newRequest(t *testing.T) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := trust.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request, err := trust.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, request
}

// madeFor has the administrator get a certificate for a user, and returns the home that has it.
func (p *people) madeFor(name string) string {
	p.t.Helper()
	key, request := newRequest(p.t)
	ctx, cancel := context.WithTimeout(p.t.Context(), readyMax)
	defer cancel()
	a, err := p.admin.Certificate(ctx, name, request)
	if err != nil {
		p.t.Fatal(err)
	}
	root, err := client.CheckCertificate(a, name, key, time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	return p.home(root, a.Certificate, key)
}
