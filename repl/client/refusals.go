package client

import (
	"context"
	"errors"
	"fmt"

	"muster/repl/wire"
)

// Error is a refusal: its code, what was found, and what to do about it. With
//
//	var refusal *client.Error
//	if errors.As(err, &refusal) { … }
//
// a program reads its parts; [wire.Error.Retry] reports whether a retry of the same request can succeed.
type Error = wire.Error

// The kinds of refusal, one for each code, for [errors.Is]. They stand for the code alone:
// the error of a call has the rest, and [errors.As] finds it as an [*Error].
//
// The client itself retries requests that may yet succeed, and follows leaders and slots that move, until
// the context ends or [RetryMax] is over. A call that was tried again in vain ends as ErrUnavailable, with the last
// reason in its text, or as ErrFull. So ErrBusy, ErrNotLeader, ErrMoved, ErrDamaged and ErrNotReady
// come at most of questions to one node, such as [Client.Status], and of orders.
//
// After [ErrMaybeApplied] nobody knows whether a write was carried out, or will be. After any other
// of these it was not.
var (
	ErrBadRequest   error = &Error{Code: wire.CodeBadRequest}   // the request has no meaning: change it
	ErrTooLarge     error = &Error{Code: wire.CodeTooLarge}     // a key, a value or a request is over its limit: make it smaller
	ErrNotFound     error = &Error{Code: wire.CodeNotFound}     // there is no such lease, service or instance; a key that is missing is no error
	ErrConflict     error = &Error{Code: wire.CodeConflict}     // the condition does not hold: read, and decide anew
	ErrNotLeader    error = &Error{Code: wire.CodeNotLeader}    // another node leads the group
	ErrMoved        error = &Error{Code: wire.CodeMoved}        // another group owns the slot
	ErrBusy         error = &Error{Code: wire.CodeBusy}         // a queue is full: try later
	ErrUnavailable  error = &Error{Code: wire.CodeUnavailable}  // no majority, no leader, no node, or no result in time: try later
	ErrMaybeApplied error = &Error{Code: wire.CodeMaybeApplied} // the write may have been carried out, or may yet be: read, and decide anew
	ErrUnauthorized error = &Error{Code: wire.CodeUnauthorized} // the user may not do that, or is not known
	ErrWrongCluster error = &Error{Code: wire.CodeWrongCluster} // the node is of another cluster than [Options.Cluster]
	ErrWrongVersion error = &Error{Code: wire.CodeWrongVersion} // client and node have no version of the protocol in common
	ErrDamaged      error = &Error{Code: wire.CodeDamaged}      // bytes on a disk differ from those that were written
	ErrStaleSession error = &Error{Code: wire.CodeStaleSession} // the write is so old that its outcome would no longer be known
	ErrUnknownNode  error = &Error{Code: wire.CodeUnknownNode}  // the node is none of the cluster's
	ErrLevel        error = &Error{Code: wire.CodeLevel}        // the cluster is of a level that does not have this yet: upgrade it
	ErrNotReady     error = &Error{Code: wire.CodeNotReady}     // the cluster is not founded yet, or the node has just started
	ErrFull         error = &Error{Code: wire.CodeFull}         // disks have no room: an operator has to make some
	ErrRemoved      error = &Error{Code: wire.CodeRemoved}      // the node was removed from the cluster
	ErrOverLimit    error = &Error{Code: wire.CodeOverLimit}    // an operator's limit of the keys, bytes or requests of a prefix is reached
)

// Is reports whether target is [ErrUnavailable], which this is a case of.
func (e *ErrNoEndpoint) Is(target error) bool {
	t, ok := target.(*wire.Error)
	return ok && *t == wire.Error{Code: wire.CodeUnavailable}
}

// caused is an error of our own making together with what led to it.
type caused struct{ err, cause error }

func (e *caused) Error() string { return e.err.Error() }

// Unwrap returns both, so that errors.As finds the code first.
func (e *caused) Unwrap() []error { return []error{e.err, e.cause} }

// over returns why ctx has ended, nil if it has not. errors.Is finds in it the error that
// every context has at its end, and the cause that this one was given.
func over(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if err == nil || cause == err || errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}
