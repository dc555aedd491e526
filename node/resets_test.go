package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"

	"muster/repl/trust"
	"muster/repl/wire"
)

// Somebody has stolen a voter's certificate with its key, or has found a way to speak in its name, and asks to be made
// an administrator. A member's name must not be enough for that: only the key that makes certificates is.
func TestResetNeedsTheWrappingKey(t *testing.T) {
	t.Parallel()
	if wrong := unprovenReset(t); wrong != "" {
		t.Error(wrong)
	}
}

// unprovenReset tells which reset went through without the key, or with what proves that it was there elsewhere.
func unprovenReset(t *testing.T) string {
	p := certified(t, 3)
	from := p.nodes[0] // or the one that leads: the meta group may have another leader at any moment
	key, err := trust.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request, err := trust.NewRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	issuing, ok := from.node.table.Load().Security.Issuing()
	if !ok {
		t.Fatal("no root issues")
	}
	wrap, ok := from.node.notary.keys.wrapKey(trust.WrapKeyID(issuing.WrapKey))
	if !ok {
		t.Fatal("a voter has no wrapping key")
	}
	other, err := trust.NewWrapKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	once := func(prove func(exporter []byte) []byte) (a wire.ResetAnswer, err error) {
		lead := metaLeader(p.nodes)
		if lead == nil || lead == from {
			return a, wire.NotReady("group 0", "nobody else leads it", "wait", startedRetry)
		}
		ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
		defer cancel()
		conn, g, err := from.node.caller.dial(ctx, lead.node.self().Node, lead.addr, wire.PurposePeer, wire.RolePeer)
		if err != nil {
			return a, err
		}
		defer conn.Close()
		q := wire.Reset{User: "eve", Request: request, WrapKey: wire.WrapKeyName(issuing.WrapKey), Proof: prove(g.Exporter)}
		return a, from.node.caller.ask(ctx, conn, g, wire.TypeReset, &q, &a)
	}
	ask := func(prove func(exporter []byte) []byte) (a wire.ResetAnswer, decided error) {
		until(t, "the reset is decided", func() (err error) {
			a, err = once(prove)
			var refusal *wire.Error
			if err == nil || errors.As(err, &refusal) && refusal.Code != wire.CodeNotLeader && refusal.Code != wire.CodeNotReady {
				decided = err
				return nil
			}
			if metaLeader(p.nodes) == from { // it can't ask itself over a connection
				from = p.nodes[1]
			}
			if metaLeader(p.nodes) == from {
				from = p.nodes[0]
			}
			return err
		})
		return a, decided
	}
	for what, prove := range map[string]func(exporter []byte) []byte{
		"without a proof":          func([]byte) []byte { return make([]byte, wire.ResetProofSize) },
		"by another key":           func(e []byte) []byte { return other.Prove(e, "eve", request) },
		"for another user":         func(e []byte) []byte { return wrap.Prove(e, "ann0", request) },
		"for another request":      func(e []byte) []byte { return wrap.Prove(e, "eve", request[1:]) },
		"over another connection":  func([]byte) []byte { return wrap.Prove(make([]byte, 32), "eve", request) },
		"over none, with no bytes": func([]byte) []byte { return wrap.Prove(nil, "eve", request) },
	} {
		_, err := ask(prove)
		refusal := (*wire.Error)(nil)
		if !errors.As(err, &refusal) || refusal.Code != wire.CodeUnauthorized {
			return fmt.Sprintf("a reset %s: %v", what, err)
		}
		if _, there := from.node.table.Load().Security.UserNamed("eve"); there {
			return fmt.Sprintf("a reset %s has made a user", what)
		}
	}
	a, err := ask(func(e []byte) []byte { return wrap.Prove(e, "eve", request) })
	if err != nil || a.Role != "admin" {
		t.Errorf("with the key: got role %q, %v", a.Role, err)
	}
	return ""
}
