package client

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"muster/repl/wire"
	"muster/shardmap"
)

// ErrClosed ends the calls of a client that was closed.
var ErrClosed = errors.New("the client is closed")

// ErrNoEndpoint says that no endpoint has accepted a connection. Nothing was
// sent.
type ErrNoEndpoint struct {
	Endpoints []string
	// Cause is why the last of them did not.
	Cause error
}

func (e *ErrNoEndpoint) Error() string {
	text := "no endpoint accepted a connection: " + strings.Join(e.Endpoints, ", ")
	if e.Cause != nil {
		text += " (" + e.Cause.Error() + ")"
	}
	return text + "; start a node there, or name others with --endpoints"
}

// Unwrap returns the cause.
func (e *ErrNoEndpoint) Unwrap() error { return e.Cause }

// noEndpoint says why no endpoint could be asked.
func (k *Core) noEndpoint() error {
	if x := k.accepted(); x != nil {
		return k.unreachable(x)
	}
	e := &ErrNoEndpoint{Endpoints: k.config.Endpoints}
	for _, x := range k.peers {
		if x.cause != nil {
			e.Cause = x.cause
		}
	}
	return e
}

func (k *Core) unreachable(x *peer) error {
	if x.refused {
		return x.cause
	}
	if x.accepted {
		cause := x.cause
		if cause == nil {
			cause = errNoHello
		}
		return unavailable("node at "+x.addr(), cause)
	}
	return &ErrNoEndpoint{Endpoints: x.addrs[:1:1], Cause: x.cause}
}

var errNoHello = errors.New("it accepted the connection, but gave no answer within the time there was")

// expire ends a call that had no result in time.
func (k *Core) expire(c *Call) {
	switch {
	case c.Maybe:
		k.finish(c, maybeApplied(c, c.cause))
	case !k.connected:
		k.finish(c, k.noEndpoint())
	case c.cause == nil && !k.known:
		k.finish(c, unavailable(k.object(c), k.tableCause))
	default:
		k.finish(c, unavailable(k.object(c), c.cause))
	}
}

// object names what c is about, for an error.
func (k *Core) object(c *Call) string {
	switch c.Target {
	case ToSlot, ToGroup:
		if !k.known {
			return "slot table"
		}
		return "group " + k.groupOf(c).String()
	case ToPeer:
		return "node at " + k.peers[k.resolve(c.Peer)].addr()
	}
	return "cluster"
}

// caused is a refusal of our own making together with what led to it.
type caused struct {
	refusal *wire.Error
	cause   error
}

func (e *caused) Error() string { return e.refusal.Error() }

// Unwrap returns both, so that errors.As finds the code first.
func (e *caused) Unwrap() []error { return []error{e.refusal, e.cause} }

func stateOf(cause error) string {
	if cause == nil {
		return "no answer"
	}
	return cause.Error()
}

func maybeApplied(c *Call, cause error) error {
	if e, ok := cause.(*wire.Error); ok && e.Code == wire.CodeMaybeApplied {
		return e
	}
	return wire.MaybeApplied(fmt.Sprintf("write to slot %d", c.Slot), stateOf(cause))
}

func unavailable(object string, cause error) error {
	return wire.Unavailable(object, stateOf(cause))
}

// withCause adds why the caller's context ended, so that errors.Is finds it.
// The text is left as it is: it says already that there was no result in time.
func withCause(err, cause error) error {
	if e, ok := err.(*wire.Error); ok && cause != nil {
		return &caused{refusal: e, cause: cause}
	}
	return err
}

// settles says that err is the outcome of the write itself, whichever of its
// attempts it answers: the server keeps it by session and sequence.
func settles(err error) bool {
	e, ok := err.(*wire.Error)
	return ok && (e.Code == wire.CodeConflict || e.Code == wire.CodeMaybeApplied)
}

// refuses says that err is an answer to our hello that another try would not
// change.
func refuses(err error) bool {
	if errors.Is(err, wire.ErrForeign) {
		return true
	}
	var e *wire.Error
	return errors.As(err, &e) && e.Retry() == wire.RetryNever
}

func isCode(err error, code wire.Code) bool {
	if err == nil {
		return false // before e, which is made on the heap
	}
	var e *wire.Error
	return errors.As(err, &e) && e.Code == code
}

func badRequest(object string, err error) error {
	return wire.BadRequest(object, err.Error(), "change the request")
}

func overLimit(object string, found, limit int, unit, next string) error {
	return wire.TooLarge(object, fmt.Sprintf("%d %s, the limit is %d", found, unit, limit), next)
}

func valueTooLarge(object string, size, max int) error {
	return overLimit(object, size, max, "bytes", "store it in parts, under several keys")
}

func keyTooLarge(key []byte) error {
	return overLimit("key "+show(key), len(key), shardmap.KeyMax, "bytes", "choose a shorter key")
}

// tooLarge says which key or value of cmd is over its limit.
func tooLarge(cmd *shardmap.Command, valueMax int, err error) error {
	for i := range cmd.Keys() {
		key := cmd.Key(i)
		if len(key) > shardmap.KeyMax {
			return keyTooLarge(key)
		}
		if cmd.Kind == shardmap.CommandSet && len(cmd.Items[2*i+1]) > valueMax {
			return valueTooLarge("value of "+show(key), len(cmd.Items[2*i+1]), valueMax)
		}
	}
	return badRequest(cmd.Kind.String(), err)
}

func commandTooLarge(size int) error {
	return overLimit("keys and values of one slot", size, commandBytesMax, "bytes", "set them in several calls")
}

// randomID returns an id for a new session.
func randomID() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails: crypto/rand ends the process instead
	return binary.LittleEndian.Uint64(b[:]) | 1
}

func sortItems(items []ItemError) {
	slices.SortFunc(items, func(a, b ItemError) int { return a.Index - b.Index })
}
