package client

import (
	"context"
	"fmt"

	"muster/repl/wire"
)

// Whoami returns for whom the cluster takes this client; any node tells.
func (i inspector) Whoami(ctx context.Context) (*wire.WhoamiAnswer, error) {
	a := new(wire.WhoamiAnswer)
	if err := i.courier.question(ctx, wire.TypeWhoami, "", &wire.Empty{}, a); err != nil {
		return nil, fmt.Errorf("whoami: %w", err)
	}
	return a, nil
}

// CanI returns whether something would be allowed, to this client or to another user, and by what.
func (i inspector) CanI(ctx context.Context, q wire.CanI) (*wire.CanIAnswer, error) {
	a := new(wire.CanIAnswer)
	if err := i.courier.question(ctx, wire.TypeCanI, "", &q, a); err != nil {
		return nil, fmt.Errorf("can-i: %w", err)
	}
	return a, nil
}

// Login asks the leader of the meta group for a certificate of an hour. It is for a client that is a guest.
func (c certifier) Login(ctx context.Context, q *wire.Login) (*wire.LoginAnswer, error) {
	a := new(wire.LoginAnswer)
	if err := c.courier.ofMeta(ctx, wire.TypeLogin, askedCall, q, a); err != nil {
		return nil, fmt.Errorf("login: %w", err)
	}
	return a, nil
}
