package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"muster/shardmap/registry"
)

// pgsqlMessage is a message about a login.
func pgsqlMessage(step uint32, rest string) []byte {
	body := append(binary.BigEndian.AppendUint32(nil, step), rest...)
	return append(binary.BigEndian.AppendUint32([]byte{pgsqlLogin}, uint32(pgsqlSize+len(body))), body...)
}

// scramServer answers a login with SCRAM, up to the number of rounds.
func scramServer(t *testing.T, rounds int) string {
	return listen(t, func(c net.Conn) {
		block := make([]byte, 4<<10)
		if _, err := c.Read(block); err != nil {
			return
		}
		const mechanisms = 10
		if _, err := c.Write(pgsqlMessage(mechanisms, "SCRAM-SHA-256\x00\x00")); err != nil {
			return
		}
		n, err := c.Read(block)
		if err != nil {
			return
		}
		_, nonce, ok := bytes.Cut(block[:n], []byte("r="))
		if !ok {
			t.Errorf("no nonce in %q", block[:n])
			return
		}
		if _, err := c.Write(pgsqlMessage(pgsqlContinue, "r="+string(nonce)+"more,s=c2FsdA==,i="+strconv.Itoa(rounds))); err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, c) // until the check ends
	})
}

// A server says how often a password is hashed, and nothing cuts that short: a probe would end seconds after
// its deadline, with a core kept busy until then.
func TestPostgresRoundsAreBounded(t *testing.T) {
	p := prober(t, loopback)
	for rounds, want := range map[int]string{
		4096:               "no answer within 1s",
		pgsqlRoundsMax + 1: "the server wants the password hashed 500001 times, the limit is 500000",
		10_000_000:         "the server wants the password hashed 10000000 times, the limit is 500000",
	} {
		spec := specFor(t, registry.TypePostgres, scramServer(t, rounds))
		spec.Timeout = time.Second
		if r := p.Run(t.Context(), spec); r.Up || r.NotAllowed || r.Reason != want {
			t.Errorf("%d rounds: got %+v, want %q", rounds, r, want)
		}
	}
}

// The driver gets each byte that a server sends, in whatever parts they come and be the last message cut
// short, up to a message that it refuses.
func TestPostgresMessagesAreWhole(t *testing.T) {
	ask := pgsqlMessage(pgsqlContinue, "r=n,s=c2FsdA==,i=4096")
	large := pgsqlMessage(0, strings.Repeat("x", pgsqlMessageMax-4))
	ready := []byte("Z\x00\x00\x00\x05I")
	for _, test := range []struct {
		name       string
		sent, want []byte
	}{
		{"messages", slices.Concat(ask, large, ready), slices.Concat(ask, large, ready)},
		{"an empty one", []byte("I\x00\x00\x00\x04"), []byte("I\x00\x00\x00\x04")},
		{"cut short", slices.Concat(ask, large[:100]), ask},
		{"cut short in its head", slices.Concat(ready, ask[:3]), ready},
		{"a length that can't be", slices.Concat(ready, []byte("Z\x00\x00\x00\x03")), slices.Concat(ready, []byte("Z\x00\x00\x00\x03"))},
		{"a length beyond the limit", []byte("Z\x00\x01\x00\x05"), []byte("Z\x00\x01\x00\x05")},
	} {
		for _, r := range []io.Reader{bytes.NewReader(test.sent), iotest.OneByteReader(bytes.NewReader(test.sent)), iotest.DataErrReader(bytes.NewReader(test.sent))} {
			got, err := io.ReadAll(&pgsqlReader{of: new(conns), r: r})
			if err != nil || !bytes.Equal(got, test.want) {
				t.Errorf("%s: got %d bytes, want %d (%v)", test.name, len(got), len(test.want), err)
			}
		}
	}
	// A deadline ends a read, not the connection.
	r := &pgsqlReader{of: new(conns), r: iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(ask)))}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("got %v", err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, ask) {
		t.Errorf("after a deadline: %q (%v)", got, err)
	}
}
