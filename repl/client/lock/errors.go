package lock

import (
	"context"
	"errors"
	"fmt"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// ErrReleased is why the context of a lock has ended that its holder released.
var ErrReleased = errors.New("the lock was released")

// HeldError says that somebody else holds a lock. It is also a [*wire.Error] of code conflict, and whatever
// ended the wait for the lock, such as [context.DeadlineExceeded].
type HeldError struct {
	Name   string
	Holder Holder
	Cause  error // what ended the wait; nil if there was none
}

func (e *HeldError) Error() string {
	text := fmt.Sprintf("lock %s is held", shown(e.Name))
	if len(e.Holder.Value) > 0 {
		text += fmt.Sprintf(" by %s", shardmap.ShowKey(e.Holder.Value))
	}
	return text + fmt.Sprintf(", with fencing token %d; wait until it is free", e.Holder.Token)
}

// Unwrap returns the conflict, and what ended the wait.
func (e *HeldError) Unwrap() []error {
	all := []error{wire.Conflict(object(e.Name), e.Error())}
	if e.Cause != nil {
		all = append(all, e.Cause)
	}
	return all
}

// LostError says that a lock can no longer be relied on, or that a guarded write was refused because the lock no longer has its
// token. Somebody else may hold it. It is also a [*wire.Error] of code conflict.
type LostError struct {
	Name  string
	Token Token
	Why   error
}

func (e *LostError) Error() string {
	return fmt.Sprintf("lock %s with fencing token %d is lost: %v", shown(e.Name), e.Token, e.Why)
}

// Unwrap returns the conflict, and why the lock is lost.
func (e *LostError) Unwrap() []error {
	return []error{wire.Conflict(object(e.Name), e.Why.Error()), e.Why}
}

// Why a lock is lost.
var (
	errUnconfirmed = errors.New("no node has confirmed in time that the holder is still there")
	errEnded       = errors.New("its lease has ended")
	errReplaced    = errors.New("its key was deleted, or set anew")
)

func shown(name string) string { return shardmap.ShowKey([]byte(name)) }

func object(name string) string { return "lock " + shown(name) }

// errForeign refuses a name whose key is in use for something else.
func errForeign(name string) error {
	return wire.BadRequest(object(name), "the key of that name holds something that is no lock", "choose another name, or delete the key")
}

// unsure reports whether nobody knows if a request was carried out.
func unsure(err error) bool {
	return errors.Is(err, client.ErrMaybeApplied) || errors.Is(err, client.ErrStaleSession)
}

// whyOver returns why ctx has ended, as the calls of [client.Client] do: errors.Is finds in it an error that contexts
// have at their end, and the cause that this one was given.
func whyOver(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}
