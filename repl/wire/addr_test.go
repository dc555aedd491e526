package wire_test

import (
	"testing"

	"muster/repl/wire"
)

// Two ways to write an address must compare as one, and what is written must still be dialled: a host may have an
// interface enP2p1s0 and none named enp2p1s0.
func TestNormalAddr(t *testing.T) {
	for addr, want := range map[string]string{
		"10.0.0.1:4166":             "10.0.0.1:4166",
		"10.0.0.1:04166":            "10.0.0.1:4166",
		"[::FFFF:10.0.0.1]:4166":    "10.0.0.1:4166",
		"[2001:DB8:0::1]:4166":      "[2001:db8::1]:4166",
		"[FE80::0:1%enP2p1s0]:4166": "[fe80::1%enP2p1s0]:4166",
		"DB-1.Example.com:4166":     "db-1.example.com:4166",
		":4166":                     ":4166",
		"N1:http":                   "N1:http",
		"N1":                        "N1",
		"N1:65536":                  "N1:65536",
		"":                          "",
	} {
		got := wire.NormalAddr(addr)
		if got != want {
			t.Errorf("%q: got %q, want %q", addr, got, want)
		}
		if again := wire.NormalAddr(got); again != got {
			t.Errorf("%q: %q, and %q the next time", addr, got, again)
		}
	}
}
