package cmd

import (
	"context"
	"errors"
	"fmt"

	"muster/node/overview"
	"muster/repl/client"
	"muster/repl/wire"
)

// exitStatus is what the shell sees. A number keeps its meaning for ever.
type exitStatus int

const (
	exitDone         exitStatus = 0
	exitRefused      exitStatus = 1 // or failed; also: over a limit; wrong cluster, version or protocol; not healthy
	exitUsage        exitStatus = 2
	exitNoEndpoint   exitStatus = 3 // none accepted a connection
	exitNotFound     exitStatus = 4
	exitConflict     exitStatus = 5
	exitNoResult     exitStatus = 6 // connected, but no result in time, unavailable, or maybe-applied
	exitNotPermitted exitStatus = 7 // also: wrong secret
	exitPartly       exitStatus = 8 // some of it is done
	exitNotConfirmed exitStatus = 9 // plan shown, not confirmed
	exitLockLost     exitStatus = 10

	// Of a program that a command is to run, as shells say it. With other numbers the command passes on the program's own.

	exitCannotRun exitStatus = 126
	exitNoProgram exitStatus = 127
)

// statusError is an error whose status its maker knows.
type statusError struct {
	status exitStatus
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

func withStatus(s exitStatus, format string, args ...any) error {
	return &statusError{s, fmt.Errorf(format, args...)}
}

// usagef makes the error of a command line that means nothing.
func usagef(format string, args ...any) error { return withStatus(exitUsage, format, args...) }

// errQuiet ends a command with a status after it has said all there is to say.
func errQuiet(s exitStatus) error { return &statusError{s, errNothingToSay} }

var errNothingToSay = errors.New("")

// statusOf is the one place that says which status an error ends with.
func statusOf(err error) exitStatus {
	var own *statusError
	var remote *wire.Error
	var none *client.ErrNoEndpoint
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &own):
		return own.status
	case errors.As(err, &none):
		return exitNoEndpoint
	case errors.As(err, &remote):
		return exitStatus(remote.Code.ExitStatus())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return exitNoResult
	}
	return exitRefused
}

// oneLine is err as the one line that a person sees.
func oneLine(err error) string {
	return overview.OneLine(err)
}
