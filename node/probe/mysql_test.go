package probe

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"

	"muster/node/probe/probetest"
	"muster/shardmap/registry"
)

// mysqlSays are packets of a small server of MySQL: its greeting, and what it answers to a login and a ping.
func mysqlSays(t *testing.T) (packets [][]byte) {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		defer server.Close()
		probetest.SmallMySQL(server)
	}()
	for range 3 {
		head := make([]byte, mysqlHead)
		if _, err := io.ReadFull(client, head); err != nil {
			t.Fatal(err)
		}
		body := make([]byte, int(head[0]))
		if _, err := io.ReadFull(client, body); err != nil {
			t.Fatal(err)
		}
		packets = append(packets, body)
		if _, err := client.Write([]byte{1, 0, 0, 1, 0x0e}); err != nil {
			t.Fatal(err)
		}
	}
	return packets
}

// mysqlServer says some packets, one for each that it is told, and no more.
func mysqlServer(t *testing.T, packets ...[]byte) string {
	t.Helper()
	return listen(t, func(c net.Conn) {
		for n, p := range packets {
			number := 2 * n
			if n > 2 {
				number = 1 // of a ping
			}
			if _, err := c.Write(append([]byte{byte(len(p)), byte(len(p) >> 8), 0, byte(number)}, p...)); err != nil {
				return
			}
			if n == len(packets)-1 {
				return
			}
			if _, err := c.Read(make([]byte, 4096)); err != nil {
				return
			}
		}
	})
}

// A packet that is cut short, wherever, is the fault of a target. The driver reads beyond its end, and
// a panic in a probe would end the node, and the next one that has the check.
func TestMySQLPacketsCutShort(t *testing.T) {
	p := prober(t, loopback)
	says := mysqlSays(t)
	const greeting, login = 0, 1
	try := func(at int, with []byte) {
		t.Helper()
		packets := [][]byte{says[greeting], says[login]}
		packets[at] = with
		spec := specFor(t, registry.TypeMySQL, mysqlServer(t, packets[:at+1]...))
		if r := p.Run(t.Context(), spec); r.Up || r.NotAllowed || r.Reason == "" {
			t.Errorf("packet %d of %q: got %+v", at, with, r)
		}
	}
	for at, packet := range [][]byte{greeting: says[greeting], login: says[login]} {
		for n := range packet {
			if at == greeting && n > bytes.LastIndexByte(packet[:len(packet)-1], 0) { // what is left of the plugin's name is a name
				break
			}
			try(at, packet[:n])
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	other := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
	for _, answer := range []string{
		"", "\x00", "\x00\xfc", "\x00\x00\xfd\x00", "\x00\x00\xfe\x00\x00", "\x00\x00\x00\x02", "\x01" + other,
		"\xfe", "\xfex", "\xfemysql_native_password\x00", "\xfemysql_native_password\x00short\x00", "\xfecaching_sha2_password\x00", "\xfesha256_password\x00x\x00", "\xfeclient_ed25519\x00x",
		"\xff", "\xff\x10", "\xff\x10\x04", "\xff\x10\x04#", "\xff\x10\x04#0800", "\xfb/etc/passwd", "\x05abc",
	} {
		try(login, []byte(answer))
	}
	for _, first := range []string{"", "\xff", "\xff\x10\x04", "\xff\x10\x04#08", "\x0a", "\x0a8.0", "\x0a8.0\x00", "\x09abcd", strings.Repeat("\x0a", 100)} {
		try(greeting, []byte(first))
	}
	// Keys, and answers behind a switch.
	for _, more := range [][]byte{[]byte("\x01" + other), []byte("\x01"), []byte("\x01\x04"), []byte("\x00"), {}} {
		for _, plugin := range []string{"caching_sha2_password", "sha256_password"} {
			addr := mysqlServer(t, says[greeting], []byte("\xfe"+plugin+"\x0001234567890123456789\x00"), more)
			if r := p.Run(t.Context(), specFor(t, registry.TypeMySQL, addr)); r.Up {
				t.Errorf("%s, then %q: got %+v", plugin, more, r)
			}
		}
	}
	if n := p.broken.Load(); n > 0 {
		t.Errorf("%d packets reached the driver that it can't read", n)
	}
}

// A server whose key is so large that the password takes seconds to encrypt is refused: nothing cuts that
// short, and a check that is made twice a second would keep a core busy for ever.
func TestMySQLKeyIsBounded(t *testing.T) {
	for bits, want := range map[uint]bool{2048: true, mysqlKeyMax: true, mysqlKeyMax + 1: false, 370_000: false} {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		key, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 1<<31 - 1})
		if err != nil {
			t.Fatal(err)
		}
		packet := append([]byte{mysqlMore}, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: key})...)
		if len(packet) > mysqlPacketMax {
			t.Fatalf("a key of %d bits fills no packet", bits)
		}
		if got := mysqlAnswer(packet); got != want {
			t.Errorf("a key of %d bits: got %t, want %t", bits, got, want)
		}
	}
}

// What breaks a driver all the same is the fault of the target, until it happens so often that what
// is left behind would be too much.
func TestBrokenDriver(t *testing.T) {
	p := prober(t, loopback)
	look := p.guarded(func(context.Context, *conns, *registry.Spec) (string, error) {
		panic("slice bounds out of range [:13] with capacity 5")
	})
	spec := &registry.Spec{Type: registry.TypeMySQL}
	c := &conns{prober: p}
	for range brokenMax {
		if _, err := look(t.Context(), c, spec); err == nil || err.Error() != "not mysql: an answer that can't be read" || c.notMade(err) {
			t.Fatalf("got %v", err)
		}
	}
	if _, err := look(t.Context(), c, spec); !c.notMade(err) {
		t.Errorf("got %v", err)
	}
}
