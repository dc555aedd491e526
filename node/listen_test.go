package node

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
)

// An address can't be had for several reasons, and what helps with one is no help
// with another. Whichever it is, a start that fails must not leave a directory
// behind that was not there.
func TestListenError(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct{ name, addr, want, not string }{
		{"taken", taken.Addr().String(), "address already in use; stop what has the address, or name another one", ""},
		{"of another host", "203.0.113.7:4166", "this host does not have the address 203.0.113.7; name one that it has: ", "stop what"},
		{"no such name", "nowhere.invalid:4166", "nowhere.invalid can't be looked up; name an address of this host: ", "stop what"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Default()
			c.Listen, c.Data = tt.addr, filepath.Join(t.TempDir(), "new", "data")
			_, _, err := claim(vfs.OS{}, &c)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "--listen: ") || tt.not != "" && strings.Contains(err.Error(), tt.not) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if _, err := os.Stat(filepath.Dir(c.Data)); err == nil {
				t.Error("the data directory was made")
			}
		})
	}
	// Not every system keeps low ports, or from this user.
	err = listenError("127.0.0.1:80", fmt.Errorf("listen tcp 127.0.0.1:80: %w", syscall.EACCES))
	if !strings.Contains(err.Error(), "name one from 1024 up, or give muster the right to it") || strings.Contains(err.Error(), "stop what") {
		t.Errorf("low port: %v", err)
	}
}

// What the error about an address of another host offers can be had.
func TestOwnAddressesCanBeHad(t *testing.T) {
	all := ownAddresses()
	if len(all) == 0 {
		t.Fatal("no address to offer")
	}
	for _, a := range all {
		l, err := net.Listen("tcp", net.JoinHostPort(a, "0"))
		if err != nil {
			t.Error(err)
			continue
		}
		l.Close()
	}
}

// The same command a second time finds both taken: that its directory is in use
// says more.
func TestClaimTwice(t *testing.T) {
	c := Default()
	c.Listen, c.Data = "127.0.0.1:0", t.TempDir()
	l, lock, err := claim(vfs.OS{}, &c)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	defer l.Close()
	for _, addr := range []string{l.Addr().String(), "127.0.0.1:0"} {
		c.Listen = addr
		if _, _, err := claim(vfs.OS{}, &c); err == nil || !strings.Contains(err.Error(), logstore.ErrInUse.Error()) {
			t.Errorf("--listen %s: %v", addr, err)
		}
	}
}
