package node

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"muster/repl/wire"
	"muster/shardmap"
)

// Somebody is given a right, hears that this is done, and asks another node at once, whose table is a moment
// behind. That node must not tell him that he lacks the right.
func TestRightJustGivenCounts(t *testing.T) {
	t.Parallel()
	if wrong := rightJustGiven(t); wrong != "" {
		t.Error(wrong)
	}
}

// rightJustGiven tells what a user hears of a node that gets to know of a right only when it looks whether there is
// something newer.
func rightJustGiven(t *testing.T) string {
	var later atomic.Pointer[shardmap.Security] // what the next look brings
	var r *runningNode
	var looks atomic.Int32
	r = startWith(t, testConfig(t), defaultLimits(), func(n *Node) {
		current := n.laws.current
		n.laws.current = func(ctx context.Context) error {
			looks.Add(1)
			if s := later.Swap(nil); s != nil {
				table := *n.laws.now.Load().Table
				table.Security = *s
				n.laws.tableChanged(&table)
			}
			return current(ctx)
		}
	})
	r.serves() // later tables would name no such users
	r.enact(someSecurity())
	s := r.asUser(noRightsUser)
	asks := func() (e *wire.Error) {
		_, _, err := s.ask(wire.TypeWrite, 0, write(setCommand("app/x", "v")))
		if err != nil && !errors.As(err, &e) {
			t.Fatal(err)
		}
		return e
	}
	before := looks.Load()
	if e := asks(); e == nil || e.Code != wire.CodeUnauthorized {
		return fmt.Sprintf("without a right: %v", e)
	}
	if looks.Load() == before {
		return "it refuses without a look whether its table is of today"
	}
	next := someSecurity()
	next.Rules, next.Users[2].Roles = 4, []string{"app"}
	later.Store(&next)
	if e := asks(); e == nil || e.Code != wire.CodeNotReady {
		return fmt.Sprintf("with a right that it has only just heard of: %v", e)
	}
	if e := asks(); e != nil {
		return fmt.Sprintf("with a right: %v", e)
	}
	return ""
}

// A node that can't find out whether its table is of today refuses by what it knows.
func TestAppealWithoutMetaGroup(t *testing.T) {
	t.Parallel()
	var away atomic.Bool
	r := startWith(t, testConfig(t), defaultLimits(), func(n *Node) {
		current := n.laws.current
		n.laws.current = func(ctx context.Context) error {
			if away.Load() {
				return errors.New("no leader")
			}
			return current(ctx)
		}
	})
	r.serves()
	r.enact(someSecurity())
	s := r.asUser(noRightsUser)
	away.Store(true)
	var e *wire.Error
	if _, _, err := s.ask(wire.TypeWrite, 0, write(setCommand("app/x", "v"))); !errors.As(err, &e) || e.Code != wire.CodeUnauthorized {
		t.Errorf("got %v", err)
	}
}
