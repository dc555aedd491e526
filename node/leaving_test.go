package node

import (
	"errors"
	"fmt"
	"testing"

	"muster/repl/rights"
	"muster/repl/wire"
)

// While a cluster comes to go by certificates alone, clients are connected that knew its secret. Each write that such
// a client sends must be answered or refused: of one that gets no word it has to say that it may have been applied.
func TestLeavingConnectionRefuses(t *testing.T) {
	t.Parallel()
	if wrong := leavesUnanswered(t); wrong != "" {
		t.Error(wrong)
	}
}

// leavesUnanswered tells what a client hears of a write that reaches its node when the connection is about to end.
func leavesUnanswered(t *testing.T) string {
	r := start(t, testConfig(t), defaultLimits())
	r.serves()
	s := r.as(rights.Principal{Open: true}, wire.SenderClient)
	put := func() (e *wire.Error, err error) {
		_, _, err = s.ask(wire.TypeWrite, 0, write(setCommand("k", "v")))
		if errors.As(err, &e) {
			err = nil
		}
		return e, err
	}
	if e, err := put(); e != nil || err != nil {
		t.Fatal(e, err)
	}
	r.enact(someSecurity())
	var answers int
	for {
		e, err := put()
		switch {
		case err != nil:
			return fmt.Sprintf("after %d writes: %v", answers, err)
		case e != nil && e.Code == wire.CodeNotReady:
			return ""
		case e != nil:
			return fmt.Sprintf("after %d writes: %v", answers, e)
		}
		answers++ // the node has not looked at its connections yet
	}
}
