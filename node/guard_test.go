package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// dialTLS says hello to a node over TLS as c says, and shows what h holds. It believes whoever answers.
func dialTLS(t testing.TB, addr string, h *trust.Holder, c wire.DialConfig) (*speaker, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	over, err := wire.TLSClient(conn, h.Client(func(tls.ConnectionState) error { return nil }))
	if err != nil {
		return nil, err
	}
	g, err := wire.ClientHello(over, c)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &speaker{Conn: over, t: t, decoder: g.Decoder, level: g.Welcome.Level}, nil
}

// holder holds what the user shows.
func (k *keptUser) holder(t testing.TB) *trust.Holder {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	c, err := trust.NewCertificate(k.key, k.leaf.Raw, k.root)
	if err != nil {
		t.Fatal(err)
	}
	h := new(trust.Holder)
	h.Set(&trust.Holding{Certificate: c})
	return h
}

var clientHello = wire.DialConfig{Purpose: wire.PurposeClient, Role: wire.RoleClient, Level: shardmap.Level}

// A node with TLS must let nobody in without, whatever he knows: else whoever is on the way makes a
// client or a peer of it speak in clear.
func TestNoWayBackToPlainText(t *testing.T) {
	nodes, _ := secured(t, 1)
	if wrong := plainTaken(t, nodes[0]); wrong != "" {
		t.Error(wrong)
	}
}

func plainTaken(t *testing.T, r *runningNode) string {
	for what, hello := range map[string]wire.DialConfig{
		"a client": clientHello, "a peer": r.peerHello(4711, 1),
	} {
		_, err := dial(t, r.addr, hello)
		if !errors.Is(err, &wire.Error{Code: wire.CodeUnauthorized}) {
			return fmt.Sprintf("%s without TLS: %v", what, err)
		}
	}
	return ""
}

// A node that starts again and reaches no other may have no table yet. It must know all the same that
// the secret of its cluster has had its time: somebody who keeps the others away would have it back.
func TestSecretStaysOverAfterAStart(t *testing.T) {
	t.Parallel()
	if wrong := secretBack(t); wrong != "" {
		t.Error(wrong)
	}
}

// secretBack tells what a node that was started again still takes the secret for.
func secretBack(t *testing.T) string {
	nodes, _ := secured(t, 2)
	r, other := nodes[0], nodes[1].node.self()
	until(t, "it is noted", func() error {
		_, err := os.Stat(filepath.Join(r.node.cfg.Data, "tls", "pins"))
		return err
	})
	word, err := r.node.cfg.Secret()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		n.stop()
	}
	// It may know again what it had applied; a crash may leave nothing of that.
	r = startWith(t, r.node.cfg, secureLimits(), func(n *Node) { n.guard.table = func() *shardmap.Table { return nil } })
	until(t, "it runs", func() error {
		if r.node.running() == nil {
			return errors.New("not yet")
		}
		return nil
	})
	peer := r.peerHello(other.Node, other.Life().Number+1)
	for what, hello := range map[string]wire.DialConfig{"a client": clientHello, "a peer": peer} {
		hello.Secret = word
		if _, err := dialTLS(t, r.addr, new(trust.Holder), hello); err == nil {
			return what + " is let in by the secret"
		}
		if _, err := dial(t, r.addr, hello); err == nil {
			return what + " is let in by the secret, without TLS"
		}
	}
	if r.node.guard.secretNow() != nil {
		return "it offers the secret"
	}
	// The member itself is known by its certificate.
	if s, err := dialTLS(t, r.addr, nodes[1].node.guard.holder, peer); err != nil {
		t.Errorf("the other member: %v", err)
	} else {
		s.Close()
	}
	return ""
}

// A stranger that listens where a member was has TLS too, and a certificate of its own making. It
// must hear nothing from those who dial the member, not even their hello.
func TestDiallerChecksFirst(t *testing.T) {
	nodes, _ := secured(t, 2)
	if wrong := strangerHears(t, nodes[0], nodes[1]); wrong != "" {
		t.Error(wrong)
	}
	// The right node of the cluster, and not the one that is meant.
	_, _, err := nodes[0].node.caller.dial(t.Context(), 4711, nodes[1].addr, wire.PurposePeer, wire.RolePeer)
	var elsewhere *wire.ElsewhereError
	if !errors.As(err, &elsewhere) || elsewhere.Challenge.Node != nodes[1].node.self().Node {
		t.Errorf("another node answers: got %v", err)
	}
}

// strangerHears has r dial where other was, and tells what the stranger there heard.
func strangerHears(t *testing.T, r, other *runningNode) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	key, err := trust.NewKey(randomness{})
	if err != nil {
		t.Fatal(err)
	}
	shown, err := trust.SelfSigned(randomness{}, key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h := new(trust.Holder)
	h.Set(&trust.Holding{Certificate: shown})
	heard := make(chan int, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			heard <- 0
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(wire.HelloTimeout))
		n, _ := io.ReadAtLeast(tls.Server(conn, h.Server()), make([]byte, 64), 1)
		heard <- n
	}()
	ctx, cancel := context.WithTimeout(t.Context(), readyMax)
	defer cancel()
	conn, _, err := r.node.caller.dial(ctx, other.node.self().Node, l.Addr().String(), wire.PurposePeer, wire.RolePeer)
	if err == nil {
		conn.Close()
		return "the dialler takes a stranger for a member"
	}
	if n := <-heard; n > 0 {
		return fmt.Sprintf("the stranger heard %d bytes", n)
	}
	return ""
}

// A certificate that is denied must let nobody in any more, and the connections that it has opened must
// end: a thief has one open by then.
func TestDeniedConnectionEnds(t *testing.T) {
	t.Parallel()
	if wrong := openAfterDenial(t, 10*time.Second); wrong != "" {
		t.Error(wrong)
	}
}

// openAfterDenial tells whether a user's connection outlives the denial of the certificate for so long.
func openAfterDenial(t *testing.T, within time.Duration) string {
	nodes, users := secured(t, 1)
	r, h := nodes[0], users[0].holder(t)
	s, err := dialTLS(t, r.addr, h, clientHello)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "it is served", s.works)
	serial, err := trust.SerialOf(h.Get().Certificate.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	deny := shardmap.Deny{Denial: shardmap.Denial{Serial: shardmap.Serial(serial), Until: now + 1<<20, Why: "test"}, At: now}
	if err := r.node.announcer.propose(t.Context(), func() ([]byte, error) { return shardmap.AppendDeny(nil, &deny) }); err != nil {
		t.Fatal(err)
	}
	if err := s.SetReadDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	for {
		if _, _, err = wire.ReadFrame(s, s.decoder); err != nil {
			break
		}
	}
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return "the connection is still open"
	}
	if _, err := dialTLS(t, r.addr, h, clientHello); !errors.Is(err, &wire.Error{Code: wire.CodeUnauthorized}) {
		return fmt.Sprintf("another connection with it: %v", err)
	}
	return ""
}

// A node may have dialled one that has the secret and is no member: it stands where a member was. Once
// certificates alone count, nothing is said to it any more. Whom a certificate proves stays connected.
func TestDialledBySecretEnds(t *testing.T) {
	if wrong := dialledBySecret(t); wrong != "" {
		t.Error(wrong)
	}
}

// dialledBySecret tells whether what was dialled by the secret outlives that.
func dialledBySecret(t *testing.T) string {
	nodes, _ := secured(t, 2)
	g, other := &nodes[0].node.guard, nodes[1].node
	proven := trust.Proven{Name: nodeName(nodes[0].node.self().ClusterID, other.self().Node), Root: g.holder.Get().Root()}
	proven.Key, _ = g.pin(other.self().Node)
	for _, c := range []struct {
		by    string
		p     trust.Proven
		stays bool
	}{{"the secret", trust.Proven{}, false}, {"a certificate", proven, true}} {
		near, far := net.Pipe()
		g.keeps(near, c.p)
		nodes[0].node.door.recheck()
		err := far.SetReadDeadline(time.Now()) // a connection that has ended says so first
		if err == nil {
			_, err = far.Read(make([]byte, 1))
		}
		g.forgets(near)
		if stays := errors.Is(err, os.ErrDeadlineExceeded); stays != c.stays {
			return fmt.Sprintf("a connection by %s: %v", c.by, err)
		}
	}
	return ""
}

// A peer must be refused that shows a certificate in another's name, or a user's, or none.
func TestPeersByCertificate(t *testing.T) {
	nodes, users := secured(t, 2)
	r, other := nodes[0], nodes[1]
	id := other.node.self()
	hello := r.peerHello(id.Node, id.Life().Number)
	for what, h := range map[string]*trust.Holder{
		"a user's certificate": users[1].holder(t), "none": new(trust.Holder), "this node's own": r.node.guard.holder,
	} {
		_, err := dialTLS(t, r.addr, h, hello)
		if !errors.Is(err, &wire.Error{Code: wire.CodeUnauthorized}) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	s, err := dialTLS(t, r.addr, other.node.guard.holder, hello)
	if err != nil {
		t.Fatalf("its own: %v", err)
	}
	s.Close()
}

// randomness is the system's.
type randomness struct{}

func (randomness) Read(b []byte) (int, error) {
	for i := 0; i < len(b); i += 8 {
		n := randomNumber()
		for j := i; j < min(i+8, len(b)); j++ {
			b[j], n = byte(n), n>>8
		}
	}
	return len(b), nil
}
