package wire_test

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/repl/trust"
	"muster/repl/wire"
)

// counted counts what a key is asked to sign: that is what a handshake costs its host most.
type counted struct {
	crypto.Signer
	signed atomic.Int32
}

func (c *counted) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	c.signed.Add(1)
	return c.Signer.Sign(rand, digest, opts)
}

// countedHolder shows a certificate whose signatures are counted.
func countedHolder(t *testing.T) (*trust.Holder, *counted) {
	t.Helper()
	cert, err := trust.SelfSigned(rand.Reader, newKey(t), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key := &counted{Signer: cert.PrivateKey.(crypto.Signer)}
	cert.PrivateKey = key
	h := new(trust.Holder)
	h.Set(&trust.Holding{Certificate: cert})
	return h, key
}

// gone is a connection whose other side has hung up.
type gone struct{ net.Conn }

func (gone) HungUp() bool { return true }

// markedConfig is that of a dialler with a mark for node 5, under a key.
func markedConfig(t *testing.T, key []byte) *tls.Config {
	t.Helper()
	mark, err := trust.Mark(rand.Reader, key, 5)
	if err != nil {
		t.Fatal(err)
	}
	c := selfSigned(t).Client(anyone)
	c.NextProtos = append(c.NextProtos, mark)
	return c
}

// membersPass has strangers use up all that they may have of a host, and reports what keeps a member from
// it.
func membersPass(t *testing.T) (wrong string) {
	key := []byte("what the members know")
	var known atomic.Int32
	gate := wire.NewGate(1)
	gate.Members = &wire.Members{
		Gate:   wire.NewGate(1),
		Marked: func(protocols []string) bool { return trust.Marked(protocols, [][]byte{key}, 5) },
		Known:  func(net.Conn) { known.Add(1) },
	}
	// Somebody has the one place for strangers, and keeps it.
	if err := wire.BeginHandshake(gate, gateHost(1), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	defer wire.LeaveGate(gate)
	h, signed := countedHolder(t)
	shake := func(c *tls.Config) (err error) {
		dc, ac := pair(t)
		var server sync.WaitGroup
		server.Go(func() {
			if r := serveTLS(ac, h, gate); r.err != nil {
				ac.Close()
			}
		})
		defer server.Wait()
		over, err := wire.TLSClient(dc, c)
		if err == nil {
			_, err = over.Write([]byte("\xedmus"))
		}
		if err != nil {
			dc.Close()
		}
		return err
	}
	var strangers sync.WaitGroup
	defer strangers.Wait()
	for range 20 {
		c := selfSigned(t).Client(anyone)
		strangers.Go(func() {
			if shake(c) == nil {
				t.Error("a stranger gets in beyond what strangers may take")
			}
		})
	}
	if err := shake(markedConfig(t, key)); err != nil {
		wrong = fmt.Sprintf("a member does not get in beside strangers: %v", err)
	} else if known.Load() != 1 {
		wrong = fmt.Sprintf("%d dialers are known to be members, want 1", known.Load())
	}
	strangers.Wait()
	if err := shake(markedConfig(t, []byte("what nobody here knows"))); err == nil {
		wrong += "; a mark under another key is good"
	}
	if n := signed.signed.Load(); wrong == "" && n != 1 {
		t.Errorf("the host has signed %d times, want once: strangers had no turn", n)
	}
	return wrong
}

// However many strangers are before it, a member that comes back gets in at once: by its first
// words it is told from them, and it has places of its own. One would doubt it: who it is is known only
// when the handshake is over.
func TestMembersPassStrangers(t *testing.T) {
	if wrong := membersPass(t); wrong != "" {
		t.Error(wrong)
	}
}

// For a dialler that has hung up nothing is computed: to send a hello and go costs him next to nothing.
func TestNothingIsDoneForWhoHasGone(t *testing.T) {
	h, signed := countedHolder(t)
	dc, ac := pair(t)
	go func() {
		_, _ = wire.TLSClient(dc, selfSigned(t).Client(anyone)) // it gets no answer
	}()
	r := serveTLS(gone{ac}, h, wire.NewGate(1))
	ac.Close()
	if r.err == nil || !strings.Contains(r.err.Error(), "hung up") {
		t.Errorf("got %v, want that it has hung up", r.err)
	}
	if n := signed.signed.Load(); n != 0 {
		t.Errorf("the host has signed %d times, want 0", n)
	}
	// The place is free again: see what the next one gets.
	dc, ac = pair(t)
	accepted := make(chan error, 1)
	go func() { accepted <- serveTLS(ac, h, wire.NewGate(1)).err }()
	c, err := wire.TLSClient(dc, selfSigned(t).Client(anyone))
	if err == nil {
		_, err = c.Write([]byte("\xedmus"))
	}
	if err := errors.Join(err, <-accepted); err != nil {
		t.Error(err)
	}
}
