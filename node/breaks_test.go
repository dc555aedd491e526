package node

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"muster/node/login"
	"muster/repl"
	"muster/repl/client"
	"muster/repl/client/home"
	"muster/repl/notary"
	"muster/repl/rights"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// endedWithin reports whether the other side ends a connection in that time.
func endedWithin(t *testing.T, s *speaker, within time.Duration) bool {
	t.Helper()
	if err := s.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	for {
		if _, _, err := wire.ReadFrame(s, s.decoder); err != nil {
			timeout := net.Error(nil)
			return !errors.As(err, &timeout) || !timeout.Timeout()
		}
	}
}

// An administrator says that a user's certificates until now count no longer, because one was stolen. The
// thief has a connection open by then, and must lose it as he would by a denial.
func TestWithdrawnConnectionEnds(t *testing.T) {
	if wrong := openAfterRevoke(t, 10*time.Second); wrong != "" {
		t.Error(wrong)
	}
}

// openAfterRevoke tells whether a user's connection outlives that for so long.
func openAfterRevoke(t *testing.T, within time.Duration) string {
	p := certified(t, 1)
	p.user(shardmap.UserCreate, "rob")
	kept, err := home.In(p.certificate("rob"))
	if err != nil {
		t.Fatal(err)
	}
	found, err := kept.Roots()
	if err != nil {
		t.Fatal(err)
	}
	c, err := kept.Credential(trust.RootIDOf(found.Roots[0].Raw))
	if err != nil {
		t.Fatal(err)
	}
	h := new(trust.Holder)
	h.Set(&trust.Holding{Certificate: c.Certificate})
	s, err := dialTLS(t, p.nodes[0].addr, h, clientHello)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.ask(wire.TypeWhoami, 0, new(wire.Empty).Append(nil)); err != nil {
		t.Fatal(err)
	}
	issued := time.Now().Unix()
	until(t, "another second", func() error {
		if time.Now().Unix() == issued {
			return errors.New("the same one")
		}
		return nil
	})
	p.user(shardmap.UserRevoke, "rob")
	if !endedWithin(t, s, within) {
		return "the connection is still open"
	}
	return ""
}

// The certificate of a login is good for an hour, and is not renewed without the password: a thief
// must not have it for good. An administrator who has logged in makes certificates for others all the
// same.
func TestLoginIsNotRenewed(t *testing.T) {
	if wrong := loginRenewed(t); wrong != "" {
		t.Error(wrong)
	}
}

// loginRenewed tells what a certificate of an hour brings.
func loginRenewed(t *testing.T) string {
	p := certified(t, 1)
	hash, err := login.Hash(rand.Reader, []byte("correct horse"), secureLimits().passwordRounds)
	if err != nil {
		t.Fatal(err)
	}
	p.give(shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: shardmap.UserCreate, Name: "rob", Password: hash}))
	s := newStranger(t)
	request, err := trust.NewRequest(s.key)
	if err != nil {
		t.Fatal(err)
	}
	r := p.nodes[0]
	r.node.logins.failures.Begin(time.Now(), "rob", "10.0.0.1")
	a, refusal := r.node.logins.login(&wire.Login{Name: "rob", Password: []byte("correct horse"), Request: request}, "10.0.0.1")
	if refusal != nil {
		t.Fatal(refusal)
	}
	if s.shot, err = trust.NewCertificate(s.key, a.Certificate, a.Roots[0]); err != nil {
		t.Fatal(err)
	}
	conn, _, err := s.dial(r, wire.DialConfig{Role: wire.RoleClient})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err = conn.ask(wire.TypeRenew, 0, (&wire.Renew{Request: request}).Append(nil)); err == nil {
		return "it brings another one, of a month"
	}
	refused(t, "a certificate of an hour", err, wire.CodeUnauthorized, "that of a login")
	return ""
}

// A node that leaves has its last certificate denied. One that it was given before, and has kept, must
// open nothing either.
func TestFormerMembersEarlierCertificate(t *testing.T) {
	if wrong := formerMember(t); wrong != "" {
		t.Error(wrong)
	}
}

// formerMember tells what a certificate of a node opens of which the table has no key.
func formerMember(t *testing.T) string {
	nodes, _ := secured(t, 1)
	r := nodes[0]
	s := newStranger(t)
	table := r.node.table.Load()
	root, _ := table.Security.Issuing()
	leaf, _, err := r.node.notary.keys.sign(&root, nodeName(table.Security.ClusterOf(table), s.id), &s.key.PublicKey, time.Now(), trust.Terms{Life: trust.NodeLife})
	if err == nil {
		s.shot, err = trust.NewCertificate(s.key, leaf, root.DER)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []wire.Role{wire.RoleClient, wire.RoleJoining, wire.RoleInviting, wire.RolePeer} {
		purpose := wire.PurposePeer
		if role == wire.RoleClient {
			purpose = wire.PurposeClient
		}
		conn, g, err := s.dialFor(r, role, purpose)
		if err == nil {
			conn.Close()
			return fmt.Sprintf("role %d: let in as %s", role, g.Sender())
		}
		refused(t, fmt.Sprintf("role %d", role), err, wire.CodeNotReady, "the cluster's table")
	}
	return ""
}

// A host that founds a cluster is told who has founded it. Once certificates alone count, a stranger that
// claims to found it, in the name and at the address of a member, must be told nothing.
func TestFoundingIsOver(t *testing.T) {
	t.Parallel()
	if wrong := toldAsFounder(t); wrong != "" {
		t.Error(wrong)
	}
}

// toldAsFounder tells what a stranger hears that says that it founds.
func toldAsFounder(t *testing.T) string {
	nodes, _ := secured(t, 2)
	r, other := nodes[0], nodes[1].node.self()
	s := newStranger(t)
	s.id = other.Node
	conn, _, err := s.dialFor(r, wire.RoleFounding, wire.PurposePeer)
	if err == nil {
		defer conn.Close()
		return "it is let in"
	}
	refused(t, "a stranger that founds", err, wire.CodeUnknownNode, "was founded without it")
	for _, told := range []string{nodes[1].addr, nodes[0].addr, nodes[0].node.self().Node.String()} {
		if e := (*wire.Error)(nil); errors.As(err, &e) && strings.Contains(e.Error(), told) {
			return fmt.Sprintf("it is told of %s: %s", told, e)
		}
	}
	return ""
}

// The table lists all users' rights with their prefixes, and the names of databases. A user with no right on the
// cluster must see none of the rights, and only the databases that it has a right to; an administrator sees all.
func TestTableOfAUser(t *testing.T) {
	if wrong := rulesTold(t); wrong != "" {
		t.Error(wrong)
	}
}

// lookers starts nodes, and returns clients of those that may look into the cluster, and that of a user without rights.
func lookers(t *testing.T, n int) (p *people, may map[string]*client.Client, mayNot *client.Client) {
	t.Helper()
	p = certified(t, n)
	p.user(shardmap.UserCreate, "rob")
	p.user(shardmap.UserCreate, "eve")
	p.role(shardmap.RoleCreate, "viewer", grant("read", "cluster"))
	p.roles("eve", []string{"viewer"}, nil)
	may = map[string]*client.Client{"the administrator": p.admin, "a viewer": p.client(p.certificate("eve"), client.ForwardWhenCut)}
	return p, may, p.client(p.certificate("rob"), client.ForwardWhenCut)
}

// rulesTold tells what a user without rights sees of the rules.
func rulesTold(t *testing.T) string {
	p, may, mayNot := lookers(t, 1)
	for _, name := range []string{"app", "secret"} {
		p.give(shardmap.AppendChangeDatabase(nil, &shardmap.ChangeDatabase{Action: shardmap.DatabaseCreate, Name: name}))
	}
	p.role(shardmap.RoleCreate, "writer", grant("write", "db:app"))
	p.roles("rob", []string{"writer"}, nil)
	databases := func(c *client.Client) (names []string) {
		a, _, err := c.Table(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range a.Catalog.Databases {
			names = append(names, d.Name)
		}
		return names
	}
	if names := databases(mayNot); !slices.Equal(names, []string{"app"}) {
		return fmt.Sprintf("a user with a right to app sees the databases %q", names)
	}
	seen := func(c *client.Client) int {
		a, _, err := c.Table(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if len(a.Security.Pins) == 0 || len(a.Security.Roots) == 0 {
			t.Error("without pins or roots")
		}
		return len(a.Security.Users) + len(a.Security.Roles)
	}
	for who, c := range may {
		if n := seen(c); n != 6 {
			t.Errorf("%s sees %d users and roles, want 6", who, n)
		}
		if names := databases(c); len(names) != 2 {
			t.Errorf("%s sees the databases %q, want both", who, names)
		}
	}
	if n := seen(mayNot); n != 0 {
		return fmt.Sprintf("a user without rights sees %d users and roles", n)
	}
	return ""
}

// Clients follow slots that move by what groups say of them, so every user may ask. How many keys a slot has, and how
// large they are, tells of keys that a user may not even list; whoever looks after the cluster is told.
func TestSlotsOfAUser(t *testing.T) {
	if wrong := countsTold(t); wrong != "" {
		t.Error(wrong)
	}
}

// countsTold tells what a user without rights sees of what slots have in them.
func countsTold(t *testing.T) string {
	p, may, mayNot := lookers(t, 2)
	until(t, "a key is set", func() error { return setOne(t, p.admin, "secret") })
	slot := shardmap.SlotOf([]byte("secret"))
	group := p.nodes[0].node.table.Load().Slots[slot]
	seen := func(c *client.Client) (v shardmap.SlotView) {
		until(t, "the group answers", func() error {
			views, err := c.SlotViews(t.Context(), group, []shardmap.Slot{slot})
			if err == nil {
				v = views[0]
			}
			return err
		})
		if v.Holding != shardmap.HoldsOwned || v.Slot != slot {
			t.Errorf("the group has the slot not: %+v", v)
		}
		return v
	}
	for who, c := range may {
		if v := seen(c); v.Keys != 1 || v.Bytes == 0 {
			t.Errorf("%s sees %d keys with %d bytes", who, v.Keys, v.Bytes)
		}
	}
	if v := seen(mayNot); v.Keys != 0 || v.Bytes != 0 {
		return fmt.Sprintf("a user without rights sees %d keys with %d bytes", v.Keys, v.Bytes)
	}
	return ""
}

// A node follows another's word about the cluster where that is newer than its own. Such a word must not lead a
// node with TLS back to where the secret opens it, or plain text.
func TestNotLedBack(t *testing.T) {
	if wrong := ledBack(t); wrong != "" {
		t.Error(wrong)
	}
}

func ledBack(*testing.T) string {
	for _, c := range []struct {
		now  *shardmap.TLSMode // nil: no table has been read yet
		said shardmap.TLSMode
		want bool
	}{
		{new(shardmap.SecurityOff), shardmap.SecurityOff, true},
		{new(shardmap.SecurityOff), shardmap.SecurityOnly, true},
		{new(shardmap.SecurityBoth), shardmap.SecurityOff, false},
		{new(shardmap.SecurityBoth), shardmap.SecurityBoth, true},
		{new(shardmap.SecurityBoth), shardmap.SecurityOnly, true},
		{new(shardmap.SecurityOnly), shardmap.SecurityBoth, false},
		{new(shardmap.SecurityOnly), shardmap.SecurityOff, false},
		{new(shardmap.SecurityOnly), shardmap.SecurityOnly, true},
		{nil, shardmap.SecurityOff, false},
		{nil, shardmap.SecurityOnly, true},
	} {
		var has *shardmap.Table
		if c.now != nil {
			has = &shardmap.Table{ClusterID: 7, Index: 5, Security: shardmap.Security{Mode: *c.now}}
		}
		g := guard{table: func() *shardmap.Table { return has }, founded: true}
		if got := g.follows(&shardmap.Table{Security: shardmap.Security{Mode: c.said}}); got != c.want {
			return fmt.Sprintf("now %v, said %s: followed %t", g.speech(), c.said, got)
		}
	}
	return ""
}

// Between the moment in which a user is let in and that in which its certificate is made, another one may have come
// to have its name. That one's certificate is not the former's.
func TestCertificateOfAFormerUser(t *testing.T) {
	p := certified(t, 1)
	p.user(shardmap.UserCreate, "rob")
	request, err := trust.NewRequest(newStranger(t).key)
	if err != nil {
		t.Fatal(err)
	}
	n := p.nodes[0].node
	u, _ := n.table.Load().Security.UserNamed("rob")
	q := notary.Request{By: notary.ByUser, User: "rob", Principal: u.ID}
	if _, refusal := n.notary.certify(t.Context(), q, request); refusal != nil {
		t.Errorf("the user itself: %v", refusal)
	}
	q.Principal--
	if _, refusal := n.notary.certify(t.Context(), q, request); refusal == nil || refusal.Code != wire.CodeNotFound {
		t.Errorf("a former one of the name: got %v", refusal)
	}
}

// A node's own replica of group 0 may stand still or be behind, for its disk or its log, while the node speaks with
// the others. It knows then no more who may do what than one that is cut off.
func TestReplicaThatIsBehindIsCutOff(t *testing.T) {
	t.Parallel()
	if wrong := behindRules(t); wrong != "" {
		t.Error(wrong)
	}
}

// behindRules tells what a user still gets of a node whose replica of group 0 is behind, though there is a leader.
func behindRules(t *testing.T) string {
	l := defaultLimits()
	l.cutOffAfter = 4 * aliveWithin
	var behind atomic.Bool
	r := startWith(t, testConfig(t), l, func(n *Node) {
		current := n.laws.current
		n.laws.current = func(ctx context.Context) error {
			if behind.Load() {
				return errors.New("an entry is missing")
			}
			return current(ctx)
		}
	})
	r.serves() // later tables would name no such users
	r.enact(someSecurity())
	s := r.asUser(adminUser)
	asks := func() error {
		_, _, err := s.ask(wire.TypeWhoami, 0, bodyOf(new(wire.Empty)))
		return err
	}
	if err := asks(); err != nil {
		t.Fatal(err)
	}
	behind.Store(true)
	for end := time.Now().Add(2 * l.cutOffAfter); time.Now().Before(end); time.Sleep(l.cutOffAfter / 20) {
		if err := asks(); err != nil {
			if e := (*wire.Error)(nil); errors.As(err, &e) && strings.Contains(e.State, "can't know who may do what any more") {
				return ""
			}
			t.Fatalf("got %v", err)
		}
	}
	return "it still answers users"
}

// A host that is suspended does not count the time for which it was, so its node may seem to have made sure of its
// table a moment ago. It answers no user before it has done so anew.
func TestSuspendedNodeMakesSure(t *testing.T) {
	if wrong := suspendedRules(t); wrong != "" {
		t.Error(wrong)
	}
}

// suspendedRules tells what a user gets of a node whose host was suspended, and that can't make sure of its table.
func suspendedRules(t *testing.T) string {
	var behind, jumped atomic.Bool
	r := startWith(t, testConfig(t), defaultLimits(), func(n *Node) {
		current := n.laws.current
		n.laws.current = func(ctx context.Context) error {
			if behind.Load() {
				return errors.New("an entry is missing")
			}
			return current(ctx)
		}
		n.laws.jump = func() (j repl.ClockJump) {
			if jumped.Load() {
				j = repl.ClockJump{By: time.Hour, Count: 1}
			}
			return j
		}
	})
	r.serves() // later tables would name no such users
	r.enact(someSecurity())
	s := r.asUser(adminUser)
	asks := func() error {
		_, _, err := s.ask(wire.TypeWhoami, 0, bodyOf(new(wire.Empty)))
		return err
	}
	if err := asks(); err != nil {
		t.Fatal(err)
	}
	behind.Store(true)
	jumped.Store(true)
	wrong := missing(5*contactPause, func() error {
		err := asks()
		if e := (*wire.Error)(nil); errors.As(err, &e) && strings.Contains(e.State, "can't know who may do what any more") {
			return nil
		} else if err != nil {
			t.Fatalf("got %v", err)
		}
		return errors.New("it still answers users")
	})
	if wrong != "" {
		return wrong
	}
	behind.Store(false)
	until(t, "it answers again", asks)
	return ""
}

// A node that is started again may have missed that somebody's rights were taken away while it was stopped. Until
// it has heard of the meta group it answers no user: if it did for a minute, each start would give another one.
func TestStartedNodeMakesSure(t *testing.T) {
	t.Parallel()
	if wrong := startedRules(t); wrong != "" {
		t.Error(wrong)
	}
}

// startedRules tells what a user gets of a node that was started where nobody leads the meta group.
func startedRules(t *testing.T) string {
	nodes := founders(t, 2, defaultLimits())
	for _, r := range nodes {
		r.stop()
	}
	var tries atomic.Int32
	r := startWith(t, nodes[0].node.cfg, defaultLimits(), func(n *Node) {
		current := n.laws.current
		n.laws.current = func(ctx context.Context) error {
			tries.Add(1)
			return current(ctx)
		}
	})
	// The first try has had its effect when the second begins.
	until(t, "it runs, and has asked for the meta group twice", func() error {
		if n := tries.Load(); r.node.running() == nil || n < 2 {
			return fmt.Errorf("%d tries", n)
		}
		return nil
	})
	was := nodes[0].node.table.Load() // as it would be in a snapshot
	r.node.table.Store(was)
	table := *was
	table.Security = someSecurity()
	r.node.laws.tableChanged(&table)
	s := r.asUser(adminUser)
	_, _, err := s.ask(wire.TypeWhoami, 0, bodyOf(new(wire.Empty)))
	if err == nil {
		return "it answers users"
	}
	refused(t, "a user", err, wire.CodeNotReady, "it has just started")
	until(t, "it tells its state", func() error {
		_, _, err := s.ask(wire.TypeStatus, 0, bodyOf(new(wire.Empty)))
		return err
	})
	other := start(t, nodes[1].node.cfg, defaultLimits())
	until(t, "it answers once it has heard of the other one", func() error {
		if other.node.running() == nil {
			return errors.New("the other one does not run")
		}
		if c := r.node.laws.known(); c != rights.ContactGood {
			return fmt.Errorf("contact %d", c)
		}
		return nil
	})
	return ""
}

// A certificate that was denied must open nothing at a node that has just started either, before it has read a table.
// One would doubt it because the denials are in the table.
func TestDeniedAtAStart(t *testing.T) {
	t.Parallel()
	if wrong := deniedAtStart(t); wrong != "" {
		t.Error(wrong)
	}
}

// deniedAtStart tells what a denied certificate opens at a node without a table.
func deniedAtStart(t *testing.T) string {
	nodes, users := secured(t, 2)
	for _, u := range users {
		until(t, "each user has a certificate", func() error {
			if !u.has() {
				return errors.New("not yet")
			}
			return nil
		})
	}
	h := users[0].holder(t)
	serial, err := trust.SerialOf(h.Get().Certificate.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	deny := shardmap.Deny{Denial: shardmap.Denial{Serial: shardmap.Serial(serial), Until: now + 1<<20, Why: "test"}, At: now}
	until(t, "its leader denies it", func() error {
		lead := metaLeader(nodes)
		if lead == nil {
			return errors.New("nobody leads the meta group")
		}
		return lead.node.announcer.propose(t.Context(), func() ([]byte, error) { return shardmap.AppendDeny(nil, &deny) })
	})
	for _, r := range nodes {
		until(t, "each node refuses it", func() error {
			if _, err := dialTLS(t, r.addr, h, clientHello); !errors.Is(err, &wire.Error{Code: wire.CodeUnauthorized}) {
				return fmt.Errorf("got %v", err)
			}
			return nil
		})
	}
	for _, r := range nodes {
		r.stop()
	}
	r := start(t, nodes[0].node.cfg, secureLimits()) // of two, it has no majority, and reads no table
	until(t, "it takes those whose certificates are good", func() error {
		_, err := dialTLS(t, r.addr, users[1].holder(t), clientHello)
		return err
	})
	_, err = dialTLS(t, r.addr, h, clientHello)
	if !errors.Is(err, &wire.Error{Code: wire.CodeUnauthorized}) {
		return fmt.Sprintf("a denied certificate at a node without a table: %v", err)
	}
	return ""
}

// Certificates are made by one leader and withdrawn by another one, whose clocks differ. What was made before must not
// outlive the withdrawal because its maker's clock was ahead, and what is made afterwards must be good though its maker's
// is behind.
func TestLeadersClocks(t *testing.T) {
	if wrong := leadersClocks(t); wrong != "" {
		t.Error(wrong)
	}
}

// leadersClocks tells which certificate counts that must not, or does not and must.
func leadersClocks(t *testing.T) string {
	const differs = 6 * time.Hour
	var ahead atomic.Int64
	r, admin := securedAlone(t, slog.New(slog.DiscardHandler), func(n *Node) {
		n.guard.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	change := func(a shardmap.UserAction) {
		command, err := shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: a, Name: "rob"})
		order(t, []*runningNode{r}, admin, command, err)
	}
	counts := func(c *x509.Certificate) bool {
		u, _ := r.node.table.Load().Security.UserNamed("rob")
		return withdrawn(&u, &trust.Proven{Issued: trust.Issued(c)}) == nil
	}
	made := func(clock time.Duration) *x509.Certificate {
		ahead.Store(int64(clock))
		defer ahead.Store(0)
		request, err := trust.NewRequest(newStranger(t).key)
		if err != nil {
			t.Fatal(err)
		}
		a, refusal := r.node.notary.certify(t.Context(), notary.Request{By: notary.ByUser, User: "rob"}, request)
		if refusal != nil {
			t.Fatal(refusal)
		}
		c, err := trust.ReadCertificate(a.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	change(shardmap.UserCreate)
	stolen := made(differs)
	if !counts(stolen) {
		return "a certificate does not count before it is withdrawn"
	}
	change(shardmap.UserRevoke)
	until(t, "its withdrawal is in the table", func() error {
		if u, _ := r.node.table.Load().Security.UserNamed("rob"); u.CertsAfter < time.Now().Unix()-60 {
			return errors.New("not yet")
		}
		return nil
	})
	if counts(stolen) {
		return "a certificate of a leader whose clock is ahead outlives its withdrawal"
	}
	fresh := made(-differs)
	if !counts(fresh) {
		return "a certificate of a leader whose clock is behind does not count, though it was made afterwards"
	}
	if now := time.Now(); fresh.NotBefore.After(now.Add(-48*time.Hour)) || fresh.NotAfter.After(now.Add(trust.UserLife)) {
		return fmt.Sprintf("it is good from %s to %s", fresh.NotBefore, fresh.NotAfter)
	}
	return ""
}
