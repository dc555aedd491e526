package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
)

// NotAllowedError says that the node's configuration does not allow what a check or a webhook asks
// for.
type NotAllowedError struct {
	Addr    netip.Addr // that was to be dialled; invalid: none
	Program string     // that was to be run; empty: none
}

func (e *NotAllowedError) Error() string {
	if e.Program != "" {
		return "the node allows no program " + e.Program + " (serve --check " + e.Program + "=PATH)"
	}
	return e.Addr.String() + " is in no network that the node may dial (serve --check-range)"
}

// notMadeError says why this node could not make a probe. It tells nothing of the target.
type notMadeError struct{ why string }

func (e *notMadeError) Error() string { return e.why }

// allowed reports whether addr may be dialled.
func (p *Prober) allowed(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("") // else no prefix contains it
	if len(p.ranges) == 0 {
		return !addr.IsLinkLocalUnicast() && !addr.IsUnspecified()
	}
	for _, r := range p.ranges {
		if r.Contains(addr) {
			return true
		}
	}
	return false
}

// resolver asks name servers itself: a call of the C library can't be interrupted, and one
// name server that does not answer would hold a thread for each probe.
var resolver = &net.Resolver{PreferGo: true}

// DialContext connects to addr, HOST:PORT, if one of the addresses of HOST is allowed. If none is,
// the error is a [NotAllowedError].
func (p *Prober) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	var tried atomic.Bool // two addresses are tried at once
	d := net.Dialer{
		Resolver:  resolver,
		KeepAlive: -1,
		// At this point the name is resolved, and nothing was sent yet. Resolving it first, and
		// then dialling what was found, would lose the second address of a host.
		Control: func(_, address string, _ syscall.RawConn) error {
			target, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			if !p.allowed(target.Addr()) {
				return &NotAllowedError{Addr: target.Addr().Unmap()}
			}
			tried.Store(true)
			return nil
		},
	}
	// Never another network: "unix" would be a path.
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		var refused *NotAllowedError
		if errors.As(err, &refused) && !tried.Load() {
			return nil, refused
		}
		if of := ofThisNode(err); of != nil {
			return nil, of
		}
		return nil, err
	}
	return c, nil
}

// ofThisNode returns err as one of this node, or nil if it tells of the target: a node that
// has no descriptor, port or memory left for a connection knows nothing of any target.
func ofThisNode(err error) *notMadeError {
	for _, lacks := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL, syscall.EADDRINUSE} {
		if errors.Is(err, lacks) {
			return &notMadeError{"this node has no room for a connection: " + lacks.Error()}
		}
	}
	return nil
}
