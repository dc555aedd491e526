package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster/node/login"
	"muster/repl/client"
	"muster/repl/client/home"
	"muster/repl/notary"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

// people is a cluster that goes by certificates, as its users meet it.
type people struct {
	t     *testing.T
	nodes []*runningNode
	admin *client.Client
}

// certified founds a cluster of n nodes, whose first user is the administrator.
func certified(t *testing.T, n int) *people {
	t.Helper()
	nodes, users := secured(t, n)
	p := &people{t: t, nodes: nodes}
	until(t, "the first user has a certificate", func() error {
		if !users[0].has() {
			return errors.New("not yet")
		}
		return nil
	})
	p.admin = p.client(p.home(users[0].root, users[0].leaf.Raw, users[0].key), client.ForwardWhenCut)
	return p
}

// home keeps a certificate as its user would, and returns the directory.
func (p *people) home(root, leaf []byte, key *ecdsa.PrivateKey) string {
	p.t.Helper()
	h, err := home.In(filepath.Join(p.t.TempDir(), "muster"))
	if err == nil {
		err = h.Put(root, "test", leaf, key)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return h.Dir()
}

// client connects with what a home has, to the first node.
func (p *people) client(dir string, how client.Forwarding) *client.Client {
	p.t.Helper()
	c, err := client.Open(client.Options{Endpoints: []string{p.nodes[0].addr}, Home: dir, Forward: how})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	return c
}

// give has the administrator give an order, and waits until all nodes have it.
func (p *people) give(command []byte, err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	var index uint64
	maybe := false
	until(p.t, "the order is carried out", func() error {
		a, err := p.admin.Order(p.t.Context(), command, 0)
		var e *wire.Error
		switch {
		case err == nil:
			index = a.Index
		case errors.As(err, &e) && e.Code == wire.CodeMaybeApplied:
			maybe = true // the meta group's leader changed, as it may in a young cluster
			return err
		case maybe && errors.As(err, &e) && e.Code == wire.CodeConflict: // it was
		default:
			p.t.Fatal(err)
		}
		return nil
	})
	until(p.t, "all nodes have the order", func() error {
		for i, r := range p.nodes {
			if at := r.node.table.Load().Index; at < index {
				return fmt.Errorf("node %d is at %d of %d", i, at, index)
			}
		}
		return nil
	})
}

func (p *people) user(action shardmap.UserAction, name string) {
	p.t.Helper()
	p.give(shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: action, Name: name}))
}

func (p *people) role(action shardmap.RoleAction, name string, grants ...access.Grant) {
	p.t.Helper()
	p.give(shardmap.AppendChangeRole(nil, &shardmap.ChangeRole{Action: action, Name: name, Grants: grants}))
}

func (p *people) roles(name string, give, take []string) {
	p.t.Helper()
	p.give(shardmap.AppendChangeUserRoles(nil, &shardmap.ChangeUserRoles{User: name, Give: give, Take: take}))
}

// certificate gets a user a certificate, of whichever node leads the meta group, and returns a home
// with it.
func (p *people) certificate(name string) (dir string) {
	p.t.Helper()
	key, err := trust.NewKey(rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	request, err := trust.NewRequest(key)
	if err != nil {
		p.t.Fatal(err)
	}
	until(p.t, "a certificate for "+name, func() error {
		last := errors.New("no node leads")
		for _, r := range p.nodes {
			a, refusal := r.node.notary.certify(p.t.Context(), notary.Request{By: notary.ByUser, User: name}, request)
			if refusal == nil {
				dir = p.home(a.Roots[0], a.Certificate, key)
				return nil
			}
			last = refusal
		}
		return last
	})
	return dir
}

func setOne(t *testing.T, c *client.Client, key string) error {
	_, err := c.Set(t.Context(), []byte(key), []byte("v"), client.WriteOptions{})
	return err
}

// A user with a certificate may do what its roles say, whichever node it asks and whichever way its
// requests take; a change of that reaches it while it is connected; and whoever has its name after it
// is somebody else.
func TestRightsByCertificate(t *testing.T) {
	t.Parallel()
	p := certified(t, 3)
	if err := setOne(t, p.admin, "other/1"); err != nil {
		t.Fatal(err)
	}
	who, err := p.admin.Whoami(t.Context())
	if err != nil || who.User != "ann0" || who.Open || who.Principal == 0 || len(who.Roles) != 1 {
		t.Errorf("the administrator is %+v, %v", who, err)
	}
	p.role(shardmap.RoleCreate, "app", grant("read,write,list,watch", "app/"))
	p.user(shardmap.UserCreate, "rob")
	p.roles("rob", []string{"app"}, nil)
	dir := p.certificate("rob")
	rob := p.client(dir, client.ForwardWhenCut)
	passed := p.client(dir, client.ForwardAlways)
	for i := range 20 { // of all groups, so that some are led elsewhere
		for way, c := range map[string]*client.Client{"direct": rob, "passed on": passed} {
			if err := setOne(t, c, fmt.Sprintf("app/%d", i)); err != nil {
				t.Errorf("%s: %v", way, err)
			}
			if err := setOne(t, c, fmt.Sprintf("other/%d", i)); !unauthorized(err) {
				t.Errorf("%s, outside the grant: %v", way, err)
			}
			_, _, err := c.Get(t.Context(), [][]byte{fmt.Appendf(nil, "other/%d", i)}, client.ReadOptions{})
			if !unauthorized(err) {
				t.Errorf("%s, a read outside the grant: %v", way, err)
			}
		}
	}
	lists := func(c *client.Client, prefix string) (n int, err error) {
		for _, err := range c.List(t.Context(), []byte(prefix), client.ListOptions{}) {
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	}
	for _, c := range []*client.Client{rob, passed} {
		if n, err := lists(c, "app/"); n != 20 || err != nil {
			t.Errorf("list of the grant: %d keys, %v", n, err)
		}
		if n, err := lists(c, ""); n != 0 || !unauthorized(err) {
			t.Errorf("list of all: %d keys, %v", n, err)
		}
	}
	if _, err := rob.Order(t.Context(), first(shardmap.AppendSetting(nil, &shardmap.Setting{Name: "replicas", Value: "1"})), 0); !unauthorized(err) {
		t.Errorf("an order: %v", err)
	}
	table, _, err := rob.Table(t.Context(), "")
	if err != nil || len(table.Security.Users) != 0 || len(table.Security.Roots) == 0 || len(table.Security.Roots[0].Wrapped) != 0 {
		t.Errorf("the table as a user sees it: %v", err)
	}

	w := rob.Watch(t.Context(), client.WatchQuery{Prefix: []byte("app/")})
	defer w.Close()
	if e, err := w.Next(); err != nil || e.Kind != client.WatchOpened {
		t.Fatalf("watch: %v, %v", e, err)
	}
	refusedWatch := rob.Watch(t.Context(), client.WatchQuery{})
	defer refusedWatch.Close()
	if _, err := refusedWatch.Next(); !unauthorized(err) {
		t.Errorf("watch of all: %v", err)
	}
	p.role(shardmap.RoleRevoke, "app", grant("watch", "app/"))
	for err = error(nil); err == nil; {
		_, err = w.Next()
	}
	if !unauthorized(err) {
		t.Errorf("the watch ends with %v", err)
	}
	if err := setOne(t, rob, "app/1"); err != nil {
		t.Errorf("what is still granted: %v", err)
	}
	p.roles("rob", nil, []string{"app"})
	if err := setOne(t, rob, "app/1"); !unauthorized(err) {
		t.Errorf("without a role: %v", err)
	}

	// Another user of the same name: the certificate is of the former.
	p.user(shardmap.UserDelete, "rob")
	if err := setOne(t, rob, "app/1"); !unauthorized(err) || !strings.Contains(err.Error(), "deleted") {
		t.Errorf("a user that was deleted: %v", err)
	}
	// Times of certificates have whole seconds: the next user of the name comes in another one.
	began := time.Now().Unix()
	until(t, "another second", func() error {
		if time.Now().Unix() == began {
			return errors.New("the same one")
		}
		return nil
	})
	p.user(shardmap.UserCreate, "rob")
	p.roles("rob", []string{"app"}, nil)
	if err := setOne(t, p.client(dir, client.ForwardWhenCut), "app/1"); !unauthorized(err) || !strings.Contains(err.Error(), "older than the user") {
		t.Errorf("the certificate of a former user of the name: %v", err)
	}
	if err := setOne(t, p.client(p.certificate("rob"), client.ForwardWhenCut), "app/1"); err != nil {
		t.Errorf("the user that is there: %v", err)
	}
}

// first is for functions whose error can't be.
func first(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// A user logs in with a password, and has for an hour what it may.
func TestLoginByPassword(t *testing.T) {
	t.Parallel()
	p := certified(t, 1)
	hash, err := login.Hash(rand.Reader, []byte("correct horse"), secureLimits().passwordRounds)
	if err != nil {
		t.Fatal(err)
	}
	p.give(shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: shardmap.UserCreate, Name: "rob", Password: hash}))
	key, err := trust.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request, err := trust.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	n := p.nodes[0].node
	n.logins.failures.Begin(time.Now(), "rob", "10.0.0.1")
	a, refusal := n.logins.login(&wire.Login{Name: "rob", Password: []byte("correct horse"), Request: request}, "10.0.0.1")
	if refusal != nil {
		t.Fatal(refusal)
	}
	c := p.client(p.home(a.Roots[0], a.Certificate, key), client.ForwardWhenCut)
	who, err := c.Whoami(context.Background())
	if err != nil || who.User != "rob" || len(who.Roles) != 0 {
		t.Errorf("logged in as %+v, %v", who, err)
	}
	if err := setOne(t, c, "k"); !unauthorized(err) {
		t.Errorf("without a role: %v", err)
	}
}

// A guest of the library logs in, and knows the root before it says anything.
func TestLoginOfAGuest(t *testing.T) {
	t.Parallel()
	p := certified(t, 3)
	hash, err := login.Hash(rand.Reader, []byte("correct horse"), secureLimits().passwordRounds)
	if err != nil {
		t.Fatal(err)
	}
	p.give(shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: shardmap.UserCreate, Name: "rob", Password: hash}))
	key, err := trust.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request, err := trust.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	login := func(met bool) (a *wire.LoginAnswer, err error) {
		o := client.Options{Home: t.TempDir(), Guest: true}
		if met {
			o.Meet = func(*x509.Certificate) error { return nil }
		}
		for _, r := range p.nodes { // whichever leads
			o.Endpoints = []string{r.addr}
			c, err := client.Open(o)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
			a, err = c.Login(ctx, &wire.Login{Name: "rob", Password: []byte("correct horse"), Request: request})
			cancel()
			c.Close()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.addr, err)
			}
		}
		return a, nil
	}
	if _, err := login(false); err == nil {
		t.Error("a password is shown to a cluster that nobody knows")
	}
	if a, err := login(true); err != nil || len(a.Certificate) == 0 {
		t.Errorf("logged in: %+v, %v", a, err)
	}
}
