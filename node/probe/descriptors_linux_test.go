package probe

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"muster/shardmap/registry"
)

// A node that has no descriptor left knows nothing of any target: it must not say that one is
// down.
func TestNoDescriptorLeft(t *testing.T) {
	p := prober(t, loopback)
	p.Run(t.Context(), specFor(t, registry.TypeTCP, "127.0.0.1:1")) // what a first probe opens for good is open
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for _, fd := range open {
		n, err := strconv.Atoi(fd.Name())
		if err != nil {
			t.Fatal(err)
		}
		last = max(last, n)
	}
	less := syscall.Rlimit{Cur: uint64(last), Max: before.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &less); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
	}()
	// What is free below the limit is taken.
	for {
		file, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		defer file.Close()
	}
	for _, kind := range []string{registry.TypeTCP, registry.TypeWeb, registry.TypeRedis, registry.TypeMySQL, registry.TypePostgres, registry.TypeGRPC} {
		if r := p.Run(t.Context(), specFor(t, kind, "127.0.0.1:1")); !r.NotAllowed || r.Up || !strings.Contains(r.Reason, "this node has no room for a connection: too many open files") {
			t.Errorf("%s: got %+v", kind, r)
		}
	}
}
