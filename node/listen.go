package node

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"

	"muster/logstore"
	"muster/logstore/vfs"
)

// claim takes what only one process can have: the address, then the data directory. The
// address is first, so that a start that fails because of it leaves no directory behind.
// If both are taken, the error is about the directory: another muster uses it, and most
// likely has the address too.
func claim(fs vfs.FS, c *Config) (net.Listener, io.Closer, error) {
	listener, lerr := net.Listen("tcp", c.Listen)
	if _, err := os.Stat(c.Data); lerr != nil && err != nil {
		return nil, nil, listenError(c.Listen, lerr)
	}
	lock, err := logstore.Lock(fs, c.Data)
	switch {
	case err != nil && lerr == nil:
		listener.Close()
		return nil, nil, err
	case err != nil:
		return nil, nil, err
	case lerr != nil:
		lock.Close()
		return nil, nil, listenError(c.Listen, lerr)
	}
	return listener, lock, nil
}

// listenError is the error of a listen at addr, with what to do about it.
func listenError(addr string, err error) error {
	host, _, _ := net.SplitHostPort(addr)
	next := "name another address"
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		next = "stop what has the address, or name another one"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		next = fmt.Sprintf("this host does not have the address %s; name one that it has: %s; or listen on all with 0.0.0.0, and say with --advertise how others reach it",
			host, strings.Join(ownAddresses(), ", "))
	case errors.Is(err, syscall.EACCES):
		next = "the system lets only privileged processes have this port; name one from 1024 up, or give muster the right to it (on Linux CAP_NET_BIND_SERVICE)"
	case errors.As(err, &dns):
		next = fmt.Sprintf("%s can't be looked up; name an address of this host: %s", host, strings.Join(ownAddresses(), ", "))
	}
	return fmt.Errorf("--listen: %w; %s", err, next)
}

// addressesShown bounds how many addresses an error lists.
const addressesShown = 8

// ownAddresses are those of this host that others may use, loopback last.
func ownAddresses() []string {
	var outward, loopback []string
	all, err := net.InterfaceAddrs()
	if err != nil {
		return []string{"127.0.0.1"}
	}
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		switch {
		case err != nil || p.Addr().IsLinkLocalUnicast(): // those want a zone
		case p.Addr().IsLoopback():
			loopback = append(loopback, p.Addr().String())
		default:
			outward = append(outward, p.Addr().String())
		}
	}
	outward = append(outward, loopback...)
	return outward[:min(len(outward), addressesShown)]
}

// The ports of [FreeAddrs] are below those that a system gives to outgoing connections,
// which begin at 32768 on Linux and at 49152 elsewhere: one of those that is free now
// may be taken by a connection a moment later.
const (
	freePortMin = 20_000
	freePorts   = 9_973 // a prime, so that each distance leads to all of them
	// freePortsApart lies between the first ports of processes whose ids follow
	// each other.
	freePortsApart = 397
)

// freeAddrsTried counts the ports that this process has tried, so that no two of its
// nodes get the same one, even while one of them is down.
var freeAddrsTried atomic.Uint32

// FreeAddrs returns n loopback addresses at which nobody listens, for nodes of a
// demonstration or a test. They are not held: nobody else is likely to take one.
func FreeAddrs(n int) (addrs []string, err error) {
	for tried := 0; len(addrs) < n; tried++ {
		if tried == freePorts {
			return nil, fmt.Errorf("%d addresses with free ports: %d are found: %w", n, len(addrs), err)
		}
		at := uint32(os.Getpid())*freePortsApart + freeAddrsTried.Add(1)
		l, lerr := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", freePortMin+at%freePorts))
		if err = lerr; err != nil {
			continue
		}
		addrs = append(addrs, l.Addr().String())
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	return addrs, nil
}
