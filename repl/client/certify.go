package client

import (
	"context"
	"fmt"

	"muster/repl/wire"
)

// certifier asks for certificates, and orders what is about roots.
type certifier struct {
	courier *courier
	renewal *renewal // nil for a client that has no certificates
}

// Certificate asks for a certificate of a user, for the key that request is made with: of the user
// that this client is, if user is empty.
func (c certifier) Certificate(ctx context.Context, user string, request []byte) (*wire.RenewAnswer, error) {
	a := new(wire.RenewAnswer)
	if err := c.courier.ofMeta(ctx, wire.TypeRenew, askedCall, &wire.Renew{User: user, Request: request}, a); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return a, nil
}

// Authority has the leader of the meta group do something about the cluster's roots. Ordered twice, it is
// done once.
func (c certifier) Authority(ctx context.Context, q wire.Authority) (*wire.AuthorityAnswer, error) {
	a := new(wire.AuthorityAnswer)
	if err := c.courier.ofMeta(ctx, wire.TypeAuthority, askedCall, &q, a); err != nil {
		return nil, fmt.Errorf("%s a root: %w", q.Action, err)
	}
	return a, nil
}
