package client

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"muster/repl/wire"
	"muster/shardmap"
)

// ErrClosed ends the calls of a client that was closed.
var ErrClosed = errors.New("the client is closed")

// ErrNoEndpoint says that no endpoint has accepted a connection. Nothing was
// sent.
type ErrNoEndpoint struct {
	Endpoints []string
	// Causes say of each endpoint why it did not; nil where it was not tried.
	Causes []error
}

func (e *ErrNoEndpoint) Error() string {
	return "no endpoint accepted a connection: " + e.Found() + "; start a node there, or name other endpoints"
}

// Found names the endpoints, and what was found at each.
func (e *ErrNoEndpoint) Found() string {
	var all []string
	for i, endpoint := range e.Endpoints {
		if i < len(e.Causes) && e.Causes[i] != nil {
			endpoint += " (" + shortly(e.Causes[i]) + ")"
		}
		all = append(all, endpoint)
	}
	return strings.Join(all, ", ")
}

// shortly is why a connection could not be made, without what and to whom,
// which stand before it.
func shortly(err error) string {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err
	}
	if call := (*os.SyscallError)(nil); errors.As(err, &call) {
		err = call.Err
	}
	return err.Error()
}

// Unwrap returns the causes.
func (e *ErrNoEndpoint) Unwrap() (causes []error) {
	for _, err := range e.Causes {
		if err != nil {
			causes = append(causes, err)
		}
	}
	return causes
}

var errNoHello = errors.New("it accepted the connection, but gave no answer within the time there was")

// expire ends a call that had no result in time.
func (k *Core) expire(c *Call) {
	switch {
	case c.Maybe:
		k.todo.finish(c, maybeApplied(c, c.cause))
	case c.Target == ToPeer && k.peers.all[k.peers.resolve(c.Peer)].state != peerUp:
		k.todo.finish(c, k.peers.all[k.peers.resolve(c.Peer)].unreachable(c))
	case !k.peers.connected, !k.table.known && len(k.config.Endpoints) > 1:
		k.todo.finish(c, k.peers.noEndpoint(c))
	case isCode(c.cause, wire.CodeFull):
		k.todo.finish(c, c.cause) // it says all there is to say: whose disk, and what to do
	default:
		cause := c.cause
		if cause == nil && !k.table.known {
			cause = k.table.cause
		}
		switch {
		case c.Write:
			k.todo.finish(c, unavailable(k.table.object(c, &k.peers), cause))
		case c.Target <= ToGroup:
			k.todo.finish(c, noRead(k.table.object(c, &k.peers), cause))
		default:
			k.todo.finish(c, noAnswer(k.table.object(c, &k.peers), cause))
		}
	}
}

// object names what c is about, for an error.
func (t *table) object(c *Call, of *peers) string {
	switch c.Target {
	case ToSlot, ToGroup:
		if !t.known {
			return "slot table"
		}
		return "group " + t.groupOf(c).String()
	case ToMeta:
		return "group 0"
	case ToPeer:
		return "node at " + of.all[of.resolve(c.Peer)].addr()
	}
	return "cluster"
}

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
	if c.Target == ToMeta {
		e := wire.MaybeApplied("order", stateOf(cause))
		e.Next = "muster job list shows whether it is carried out; if it is not, give it again"
		return e
	}
	return wire.MaybeApplied(fmt.Sprintf("write to slot %d", c.Slot), stateOf(cause))
}

func unavailable(object string, cause error) error {
	return noResult(object, cause)
}

func noResult(object string, cause error) *wire.Error {
	e := wire.Unavailable(object, stateOf(cause))
	if was := refusalOf(cause); was != nil && was.Code == wire.CodeUnavailable {
		e.Object, e.State = was.Object, was.State
	} else if was != nil && was.Next != "" {
		e.Next = "try again" // the cause says what to do
	}
	return e
}

// noAnswer is unavailable for a question to a node: there was nothing to apply,
// and that question may have been the one that shows which nodes are missing.
func noAnswer(object string, cause error) error {
	e := noRead(object, cause)
	if was := refusalOf(cause); was == nil || was.Next == "" {
		e.Next = "try again, or ask another node"
	}
	return e
}

// noRead is unavailable for a read of a group.
func noRead(object string, cause error) *wire.Error {
	e := noResult(object, cause)
	e.Text = "no answer in time"
	if cause == nil {
		e.State = ""
	}
	return e
}

func refusalOf(cause error) *wire.Error {
	var e *wire.Error
	errors.As(cause, &e)
	return e
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

// nobodyListens reports whether a dial has reached its host, and nothing listens at that port there.
func nobodyListens(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

func isCode(err error, code wire.Code) bool {
	if err == nil {
		return false // before e, which is made on the heap
	}
	var e *wire.Error
	return errors.As(err, &e) && e.Code == code
}

func badRequest(object string, err error) error {
	found := strings.TrimPrefix(err.Error(), shardmap.ErrRequest.Error()+": ") // the code says it
	return wire.BadRequest(object, found, "change the request")
}

func overLimit(object string, found, limit int, unit, next string) error {
	return wire.TooLarge(object, fmt.Sprintf("%d %s, the limit is %d", found, unit, limit), next)
}

func valueTooLarge(object string, size, max int) error {
	return overLimit(object, size, max, "bytes", "store it in parts, under several keys")
}

func keyTooLarge(key []byte) error {
	return overLimit("key "+shardmap.ShowKey(key), len(key), shardmap.KeyMax, "bytes", "choose a shorter key")
}

// tooLarge says which key or value of cmd is over its limit.
func tooLarge(cmd *shardmap.Command, valueMax int, err error) error {
	for i := range cmd.Keys() {
		key := cmd.Key(i)
		if len(key) > shardmap.KeyMax {
			return keyTooLarge(key)
		}
		if n := len(cmd.Value(i)); n > valueMax {
			return valueTooLarge("value of "+shardmap.ShowKey(key), n, valueMax)
		}
	}
	return wire.TooLarge(cmd.Kind.String(), err.Error(), "make it smaller, or several of it")
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
