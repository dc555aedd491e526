package election_test

import (
	"context"
	"errors"
	"testing"

	"muster/node/clienttest"
	"muster/repl/client"
	"muster/repl/client/election"
	"muster/repl/client/lock"
)

// One candidate leads at a time, and the others wait. Followers must be told of the leader as it knows
// itself: they compare tokens to tell a former leader from today's.
func TestElection(t *testing.T) {
	cluster := clienttest.Start(t)
	c, ctx := cluster.Client(), t.Context()
	if _, err := election.Leader(ctx, c, "e"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("before anybody leads: %v", err)
	}
	first, err := election.Campaign(ctx, c, "e", []byte("first"), election.Options{})
	if err != nil {
		t.Fatal(err)
	}
	leads := func(l *election.Leading, value string) {
		t.Helper()
		h, err := election.Leader(ctx, c, "e")
		if err != nil || string(h.Value) != value || h.Token != l.Token() || l.Err() != nil || l.Context().Err() != nil {
			t.Errorf("%s leads under token %d (%v, %v); followers hear %+v, %v", value, l.Token(), l.Err(), l.Context().Err(), h, err)
		}
	}
	leads(first, "first")
	won := make(chan *election.Leading, 1)
	go func() { // ends with the test's context
		l, err := election.Campaign(ctx, c, "e", []byte("second"), election.Options{})
		if err != nil {
			t.Error(err)
		}
		won <- l
	}()
	if err := first.Resign(ctx); err != nil {
		t.Error(err)
	}
	second := <-won
	if second == nil {
		return
	}
	leads(second, "second")
	if second.Token() <= first.Token() {
		t.Errorf("token %d, after token %d", second.Token(), first.Token())
	}
	if err := first.Err(); !errors.Is(err, lock.ErrReleased) || context.Cause(first.Context()) != err {
		t.Errorf("the one that resigned: %v, and its context %v", err, context.Cause(first.Context()))
	}
	if err := second.Resign(ctx); err != nil {
		t.Error(err)
	}
	if _, err := election.Leader(ctx, c, "e"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("after both have resigned: %v", err)
	}
}
