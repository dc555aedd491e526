package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/node/login"
	"muster/raft"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// stranger is a host that is no member: what it shows, and whom it takes.
type stranger struct {
	t    *testing.T
	id   raft.NodeID
	key  *ecdsa.PrivateKey
	shot *tls.Certificate
}

func newStranger(t *testing.T) *stranger {
	t.Helper()
	key, err := trust.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := trust.SelfSigned(rand.Reader, key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &stranger{t: t, id: raft.NodeID(randomNumber()), key: key, shot: shown}
}

// dial says hello over TLS, with what the stranger shows.
func (s *stranger) dial(r *runningNode, c wire.DialConfig) (*speaker, *wire.Greeting, error) {
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		return nil, nil, err
	}
	s.t.Cleanup(func() { conn.Close() })
	var h trust.Holder
	h.Set(&trust.Holding{Certificate: s.shot})
	over, err := wire.TLSClient(conn, h.Client(func(tls.ConnectionState) error { return nil }))
	if err != nil {
		return nil, nil, err
	}
	id := r.node.self()
	c.Cluster, c.Level, c.ToAddr = id.Cluster, shardmap.Level, r.addr
	if c.Role != wire.RoleClient {
		c.Node, c.Start, c.ClusterID, c.Purpose = s.id, 1, id.ClusterID, wire.PurposePeer
		c.Advertise = "127.0.0.1:1"
	} else {
		c.Purpose = wire.PurposeClient
	}
	g, err := wire.ClientHello(over, c)
	if err != nil {
		return nil, nil, err
	}
	return &speaker{Conn: over, t: s.t, decoder: g.Decoder}, g, nil
}

// enrol asks for a certificate by a token. change, if set, may make an attack of what is asked.
func (s *stranger) enrol(r *runningNode, token trust.Token, change func(q *wire.Enrol)) (leaf *x509.Certificate, err error) {
	conn, g, err := s.dial(r, wire.DialConfig{Role: wire.RoleJoining})
	if err != nil {
		return nil, err
	}
	request, err := trust.NewRequest(s.key)
	if err != nil {
		return nil, err
	}
	q := wire.Enrol{Node: s.id, Token: token.ID, Request: request}
	if q.Signature, err = token.Sign(g.Exporter, request); err != nil {
		return nil, err
	}
	if change != nil {
		change(&q)
	}
	_, body, err := conn.ask(wire.TypeEnrol, 0, q.Append(nil))
	if err != nil {
		return nil, err
	}
	var a wire.EnrolAnswer
	if err := a.Read(body); err != nil {
		return nil, err
	}
	return trust.ReadCertificate(a.Certificate)
}

// asUser connects as the user that a founding host has kept a certificate of.
func (k *keptUser) asUser(t *testing.T, r *runningNode) *speaker {
	t.Helper()
	k.mu.Lock()
	shown, err := trust.NewCertificate(k.key, k.leaf.Raw, k.root)
	k.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	s := &stranger{t: t, shot: shown}
	conn, _, err := s.dial(r, wire.DialConfig{Role: wire.RoleClient})
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// order gives an order as the first administrator, to whoever leads the meta group.
func order(t *testing.T, nodes []*runningNode, admin *keptUser, command []byte, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	until(t, "an order is taken", func() error {
		lead := metaLeader(nodes)
		if lead == nil {
			return fmt.Errorf("nobody leads the meta group")
		}
		_, _, err := admin.asUser(t, lead).ask(wire.TypeOrder, 0, (&wire.Order{Command: command}).Append(nil))
		return err
	})
}

// metaLeader returns the node that leads the meta group; nil if there is none at the moment.
func metaLeader(nodes []*runningNode) *runningNode {
	for _, r := range nodes {
		if m, ok := metaLead(r.node.running()); ok && m.own {
			return r
		}
	}
	return nil
}

// makeToken has an administrator make a token for servers.
func makeToken(t *testing.T, nodes []*runningNode, admin *keptUser, uses uint32, ttl time.Duration) trust.Token {
	t.Helper()
	return makeTokenFor(t, shardmap.NodeServer, nodes, admin, uses, ttl)
}

// makeTokenFor has an administrator make a token for nodes of a role.
func makeTokenFor(t *testing.T, role shardmap.NodeRole, nodes []*runningNode, admin *keptUser, uses uint32, ttl time.Duration) trust.Token {
	t.Helper()
	token, err := trust.NewToken(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	command, err := shardmap.AppendNewToken(nil, &shardmap.NewToken{Public: token.Public(), Role: role, Uses: uses, Expires: now + int64(ttl/time.Second), At: now})
	order(t, nodes, admin, command, err)
	until(t, "all nodes know the token", func() error {
		for _, r := range nodes {
			s := &r.node.table.Load().Security
			i := slices.IndexFunc(s.Tokens, func(k shardmap.Token) bool { return k.Public == token.Public() })
			root, ok := s.Issuing()
			if i < 0 || !ok {
				return fmt.Errorf("one does not")
			}
			token.ID, token.Root = s.Tokens[i].ID, trust.RootID(root.ID)
		}
		return nil
	})
	return token
}

// A host with a token becomes a member, once for each use, and no other host does: not by a token
// that was revoked or has expired, not by having seen it used, and not by its number alone.
func TestTokens(t *testing.T) {
	t.Parallel()
	if why := stolenTokens(t); why != "" {
		t.Error(why)
	}
}

// stolenTokens returns which attack has succeeded; empty: none.
func stolenTokens(t *testing.T) string {
	nodes, users := secured(t, 1)
	r := nodes[0]
	admin := users[0]
	attack := func(what string, err error, want ...string) string {
		if err == nil {
			return what + ": it gets a certificate"
		}
		refused(t, what, err, wire.CodeUnauthorized, want...)
		return ""
	}

	once := makeToken(t, nodes, admin, 1, time.Hour)
	first := newStranger(t)
	var seen wire.Enrol
	leaf, err := first.enrol(r, once, func(q *wire.Enrol) { seen = *q })
	if err != nil {
		t.Fatalf("a token as it was made: %v", err)
	}
	if name, err := trust.ParseName(leaf); err != nil || name.Node != first.id || name.Cluster != r.node.self().ClusterID {
		t.Errorf("the certificate is that of %s: %v", name, err)
	}
	if _, err := first.enrol(r, once, nil); err != nil {
		t.Errorf("the same host asks again, because the answer was lost: %v", err)
	}
	_, err = newStranger(t).enrol(r, once, nil)
	if why := attack("a second host with a token for one", err, "all its uses are taken"); why != "" {
		return why
	}

	many := makeToken(t, nodes, admin, 10, time.Hour)
	thief := newStranger(t)
	thief.id = first.id // what it has seen is for that node
	_, err = thief.enrol(r, many, func(q *wire.Enrol) { *q = seen })
	if why := attack("a use that was seen on another connection", err, "token's signature"); why != "" {
		return why
	}
	_, err = newStranger(t).enrol(r, many, func(q *wire.Enrol) { q.Signature = make([]byte, wire.SignatureSize) })
	if why := attack("who knows the number of a token alone", err, "token's signature"); why != "" {
		return why
	}
	_, err = newStranger(t).enrol(r, many, func(q *wire.Enrol) { q.Node = first.id })
	if why := attack("for another node than the hello names", err, "asks for node"); why != "" {
		return why
	}

	command, err := shardmap.AppendRevokeToken(nil, &shardmap.RevokeToken{ID: many.ID})
	order(t, nodes, admin, command, err)
	_, err = newStranger(t).enrol(r, many, nil)
	if why := attack("a token that was revoked", err, "it was revoked", "muster token create"); why != "" {
		return why
	}

	short := makeToken(t, nodes, admin, 10, time.Second)
	until(t, "the token has expired", func() error {
		if time.Now().Unix() < r.node.table.Load().Security.Tokens[len(r.node.table.Load().Security.Tokens)-1].Expires {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	_, err = newStranger(t).enrol(r, short, nil)
	return attack("a token that has expired", err, "it expired at")
}

// A host with a token finds the cluster, gets its certificate and joins, and its life goes on as that of
// any member. With the token of another cluster it says nothing to this one.
func TestJoiningByToken(t *testing.T) {
	t.Parallel()
	nodes, users := secured(t, 3)
	token := makeToken(t, nodes, users[0], 1, time.Hour)
	joins := func(token trust.Token) *runningNode {
		c := testConfig(t)
		c.Join, c.Standby = []string{nodes[0].addr, nodes[1].addr}, true
		return startWith(t, c, secureLimits(), func(n *Node) { n.guard.token = &token })
	}
	foreign := token
	foreign.Root[0]++
	lost := joins(foreign)
	r := joins(token)
	until(t, "it is a member with a certificate", func() error {
		id := r.node.self().Node
		if _, member := nodes[0].node.table.Load().Node(id); !member {
			return fmt.Errorf("no member: %v", r.node.notReady())
		}
		if loop := r.node.running(); loop == nil || !r.node.guard.certified() {
			return fmt.Errorf("it does not serve yet")
		}
		return tableNow(context.Background(), r.node.running())
	})
	if _, member := nodes[0].node.table.Load().Node(lost.node.self().Node); member || lost.node.guard.certified() {
		t.Error("a host with the token of another cluster has joined")
	}

	// It leaves, and whoever has its key and its certificate tries to be it for a little longer.
	gone := &stranger{t: t, id: r.node.self().Node, key: r.node.notary.keys.key, shot: r.node.guard.holder.Get().Certificate}
	command, err := shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: shardmap.JobRemove, Node: gone.id})
	order(t, nodes, users[0], command, err)
	until(t, "it has left", func() error {
		for _, o := range nodes {
			if !o.node.table.Load().WasRemoved(gone.id) {
				return fmt.Errorf("a node does not know it yet")
			}
		}
		return nil
	})
	for _, o := range nodes {
		for _, role := range []wire.Role{wire.RolePeer, wire.RoleJoining} {
			conn, _, err := gone.dial(o, wire.DialConfig{Role: role})
			if err == nil {
				request, requestErr := trust.NewRequest(gone.key)
				if requestErr != nil {
					t.Fatal(requestErr)
				}
				_, _, err = conn.ask(wire.TypeRenew, 0, (&wire.Renew{Request: request}).Append(nil))
			}
			if err == nil {
				t.Errorf("a node that left gets a certificate, in role %d", role)
			}
		}
	}
	if _, pinned := nodes[0].node.table.Load().Security.Pin(gone.id); pinned {
		t.Error("the table still knows the key of a node that left")
	}
	// The host itself is told, though its certificate is good for nothing else.
	refused(t, "the end of the node", r.end(), wire.CodeRemoved, "empty data directory")
}

// A token should be all that is needed to join: the cluster's name is said by its members, under the
// token's root. A name that was given, and is another one, is refused with both; and a host that is started again, with
// no name or with the right one, is of the cluster that it joined.
func TestTokenTellsTheCluster(t *testing.T) {
	t.Parallel()
	named := testConfig(t)
	named.Cluster = "prod"
	first, user := securedAs(t, named, slog.New(slog.DiscardHandler), func(*Node) {})
	nodes := []*runningNode{first}
	token := makeToken(t, nodes, user, 5, time.Hour)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// config is what a command line with a token makes, and --cluster if given.
	config := func(given ...string) Config {
		c, err := Load(Sources{
			Flag: func(name string) (string, bool) { return strings.Join(given, ""), name == "cluster" && len(given) > 0 },
			Env:  func(string) (string, bool) { return "", false },
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Listen, c.Data, c.TokenFile, c.Join, c.Standby = "127.0.0.1:0", t.TempDir(), file, []string{first.addr}, true
		return c
	}
	joined := func(r *runningNode) {
		t.Helper()
		until(t, "it is a member", func() error {
			loop := r.node.running()
			if loop == nil {
				return r.node.notReady()
			}
			return tableNow(t.Context(), loop)
		})
		if id := r.node.self(); id.Cluster != "prod" {
			t.Errorf("it is of cluster %q", id.Cluster)
		}
	}
	r := start(t, config(), secureLimits())
	joined(r)
	again := config()
	again.Data, again.TokenFile = r.node.cfg.Data, ""
	r.stop()
	r = start(t, again, secureLimits())
	joined(r)
	again = config("prod")
	again.Data = r.node.cfg.Data
	r.stop()
	r = start(t, again, secureLimits())
	joined(r)
	other := config("test")
	other.Data = r.node.cfg.Data
	r.stop()
	if err := run(t.Context(), other, slog.New(slog.DiscardHandler), secureLimits(), func(*Node, string) {}); err == nil || !strings.Contains(err.Error(), `it is of cluster "prod", --cluster says "test"`) {
		t.Errorf("started again with another name: %v", err)
	}
	wrong := start(t, config("test"), secureLimits())
	until(t, "it is refused with both names", func() error {
		if why := wrong.node.notReady().Error(); !strings.Contains(why, `"prod"`) || !strings.Contains(why, `"test"`) {
			return errors.New(why)
		}
		return nil
	})
}

// A certificate by another root is worth nothing, though it has the right name in it: for a member, for
// a user, and for a host that joins.
func TestCertificateOfAnotherRoot(t *testing.T) {
	nodes, users := secured(t, 1)
	r := nodes[0]
	cluster := r.node.self().ClusterID
	der, key, err := trust.NewRoot(rand.Reader, cluster, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := trust.NewIssuer(der, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name trust.Name
		role wire.Role
	}{
		{nodeName(cluster, r.node.self().Node), wire.RolePeer},
		{nodeName(cluster, 7), wire.RolePeer},
		{nodeName(cluster, 7), wire.RoleJoining},
		{trust.Name{Cluster: cluster, Kind: trust.KindUser, User: "ann0"}, wire.RoleClient},
	} {
		s := newStranger(t)
		s.id = c.name.Node
		leaf, _, err := issuer.Issue(rand.Reader, c.name, &s.key.PublicKey, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if s.shot, err = trust.NewCertificate(s.key, leaf, der); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.dial(r, wire.DialConfig{Role: c.role}); err == nil {
			t.Errorf("%s by another root is let in as %d", c.name, c.role)
		}
	}
	if _, _, err := users[0].asUser(t, r).ask(wire.TypeStatus, 0, new(wire.Empty).Append(nil)); err != nil {
		t.Errorf("the cluster's own user: %v", err)
	}
}

// A user who has shown the password gets a certificate of an hour, which opens the cluster, and nothing
// longer.
func TestLoginGetsCertificate(t *testing.T) {
	nodes, users := secured(t, 1)
	r := nodes[0]
	password, err := login.Hash(rand.Reader, []byte("hunter2"), secureLimits().passwordRounds)
	if err != nil {
		t.Fatal(err)
	}
	command, err := shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: shardmap.UserCreate, Name: "rob", Password: password, At: time.Now().Unix()})
	order(t, nodes, users[0], command, err)
	guest := newStranger(t)
	conn, _, err := guest.dial(r, wire.DialConfig{Role: wire.RoleClient})
	if err != nil {
		t.Fatal(err)
	}
	request, err := trust.NewRequest(guest.key)
	if err != nil {
		t.Fatal(err)
	}
	_, body, err := conn.ask(wire.TypeLogin, 0, (&wire.Login{Name: "rob", Password: []byte("hunter2"), Request: request}).Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	var a wire.LoginAnswer
	if err := a.Read(body); err != nil {
		t.Fatal(err)
	}
	leaf, err := trust.ReadCertificate(a.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if life := leaf.NotAfter.Sub(trust.Issued(leaf)); life != trust.LoginLife {
		t.Errorf("it is good for %s, want %s", life, trust.LoginLife)
	}
	if guest.shot, err = trust.NewCertificate(guest.key, leaf.Raw, a.Roots[0]); err != nil {
		t.Fatal(err)
	}
	conn, _, err = guest.dial(r, wire.DialConfig{Role: wire.RoleClient})
	if err != nil {
		t.Fatal(err)
	}
	_, body, err = conn.ask(wire.TypeWhoami, 0, new(wire.Empty).Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	var who wire.WhoamiAnswer
	if err := who.Read(body); err != nil || who.User != "rob" || who.Open {
		t.Errorf("got %+v, %v; want rob", who, err)
	}
}

// The key that wraps those of roots goes to voters of the meta group alone: with it, and any member's
// copy of the table, anybody could make certificates.
func TestWrappingKeyForVotersOnly(t *testing.T) {
	if why := wrapKeyForAll(t); why != "" {
		t.Error(why)
	}
}

func wrapKeyForAll(t *testing.T) string {
	nodes, _ := secured(t, 1)
	y := &nodes[0].node.notary
	id := wire.WrapKeyName(y.keys.held()[0])
	for _, q := range []wire.Keep{{ID: id}, {ID: id, Key: make([]byte, wire.WrapKeySize)}} {
		if a, refusal := y.keep(99, &q); refusal == nil {
			return fmt.Sprintf("a member that is no voter asks, and is answered: %t", a.Holds)
		} else {
			refused(t, "a member that is no voter", refusal, wire.CodeUnauthorized, "is no voter of the meta group")
		}
	}
	// A node that was a voter until now hands it over.
	key, _ := y.keys.wrapKey(trust.WrapKeyID(id))
	if a, refusal := y.keep(99, &wire.Keep{ID: id, Key: key[:]}); refusal != nil || !a.Holds || len(a.Key) != 0 {
		t.Errorf("a member gives the key itself: got %v, %t", refusal, a.Holds)
	}
	self := nodes[0].node.self().Node
	if a, refusal := y.keep(self, &wire.Keep{ID: id}); refusal != nil || len(a.Key) != wire.WrapKeySize {
		t.Errorf("a voter asks: %v, %d bytes", refusal, len(a.Key))
	}
	if _, refusal := y.keep(self, &wire.Keep{ID: id, Key: make([]byte, wire.WrapKeySize)}); refusal == nil {
		t.Error("another key is kept under the name of one")
	}
	return ""
}

// A command that runs while its own user's cluster is being founded must wait, and one of anybody else must
// hear at once that it is not permitted. So the user has a certificate before the node shows its own.
func TestUserFirst(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := WriteNewSecret(secret); err != nil {
		t.Fatal(err)
	}
	addrs := freeAddrs(t, 2)
	shown := func(addr string) (founding bool, err error) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return false, err
		}
		defer conn.Close()
		_, err = wire.TLSClient(conn, new(trust.Holder).Client(func(s tls.ConnectionState) error {
			founding = trust.Founding(s.PeerCertificates[0])
			return nil
		}))
		return founding, err
	}
	kept := make(chan string, len(addrs)) // from each node once: what was wrong by then
	for i, addr := range addrs {
		c := testConfig(t)
		c.Listen, c.Join, c.Expect, c.SecretFile = addr, addrs, len(addrs), secret
		c.FirstUser = &FirstUser{Name: fmt.Sprintf("ann%d", i), Keep: func([]byte, []byte, *ecdsa.PrivateKey) error {
			wrong := ""
			if founding, err := shown(addr); err != nil || !founding {
				wrong = fmt.Sprintf("node %d shows its certificate before its user has one (%v)", i, err)
			}
			kept <- wrong
			return nil
		}}
		start(t, c, secureLimits())
	}
	for i, addr := range addrs {
		until(t, "the node shows its certificate", func() error {
			if founding, err := shown(addr); founding || err != nil {
				return fmt.Errorf("node %d: one of its own making, %v", i, err)
			}
			return nil
		})
	}
	for range addrs {
		select {
		case wrong := <-kept:
			if wrong != "" {
				t.Error(wrong)
			}
		case <-time.After(readyMax):
			t.Fatal("the user of a node has no certificate")
		}
	}
}
