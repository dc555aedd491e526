package wire_test

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"muster/repl/wire"
)

// A port that speaks something else is the usual typing error in --endpoints,
// and a dialler that speaks something else the usual scan. Both get a line that
// says so, and neither holds anything for longer than the hello may take.
func TestSomethingElse(t *testing.T) {
	t.Run("listens", func(t *testing.T) {
		for _, c := range []struct {
			name  string
			speak string
			stay  bool
			want  []string
		}{
			{"HTTP", "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n", false, []string{"speaks something else", "HTTP/1.1", "address and port"}},
			{"a greeting", "220 mail.example.org ESMTP ready\r\n", true, []string{"speaks something else", "220 mail"}},
			{"a short line, then nothing", "-ERR\r\n", true, []string{"speaks something else", "-ERR"}},
			{"garbage", strings.Repeat("\x00\x01\xfe", 40), false, []string{"speaks something else"}},
			{"a damaged frame", string(flipped(exampleFrame(wire.TypeChallenge), 40)), true, []string{"speaks something else", "checksum"}},
			{"a frame out of turn", string(exampleFrame(wire.TypePing)), true, []string{"bad-request", "Ping", "Challenge"}},
			{"nothing", "", true, []string{"no answer within 2s", "check"}},
			{"and hangs up", "", false, []string{"hung up", "check"}},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				dc, ac := pair(t)
				go func() {
					_, _ = io.CopyN(io.Discard, ac, wire.PreambleSize+wire.HeaderSize)
					_, _ = ac.Write([]byte(c.speak))
					if !c.stay {
						_ = ac.(*net.TCPConn).CloseWrite()
					}
					_, _ = io.Copy(io.Discard, ac)
				}()
				began := time.Now()
				_, err := wire.ClientHello(dc, client())
				if err == nil {
					t.Fatal("got no error")
				}
				for _, w := range append(c.want, dc.RemoteAddr().String()) {
					if !strings.Contains(err.Error(), w) {
						t.Errorf("%q does not say %q", err, w)
					}
				}
				if strings.ContainsAny(err.Error(), "\r\n") {
					t.Errorf("%q has several lines", err)
				}
				if d := time.Since(began); d > wire.HelloTimeout+5*time.Second {
					t.Errorf("took %s", d)
				}
			})
		}
	})
	t.Run("dials", func(t *testing.T) {
		hello := exampleFrame(wire.TypeHello)
		preamble := "\xedmus\x03\x03\x02\x00"
		for _, c := range []struct {
			name   string
			speak  string
			want   []string
			refuse wire.Code // it is told so; 0: it would not understand
		}{
			{"HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", []string{"speaks something else", "GET / HT"}, 0},
			{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", []string{"speaks something else"}, 0},
			{"three bytes, then nothing", "\xedmu", []string{"speaks something else"}, 0},
			{"nothing", "", []string{"said nothing"}, 0},
			{"the preamble, then nothing", preamble, []string{"timeout"}, 0},
			{"a hello that stalls", preamble + string(hello[:30]), []string{"timeout"}, 0},
			{"a damaged hello", preamble + string(flipped(hello, 50)), []string{"bad frame"}, wire.CodeBadRequest},
			{"no hello", preamble + string(exampleFrame(wire.TypePing)), []string{"Ping", "Hello"}, wire.CodeBadRequest},
			{"a byte that must be zero", "\xedmus\x03\x03\x02\x01" + string(hello), []string{"byte 7"}, wire.CodeBadRequest},
			{"other versions inside", "\xedmus\x02\x03\x02\x00" + string(hello), []string{"2 to 3", "3 to 3"}, wire.CodeBadRequest},
			{"one byte over the limit", preamble + string(oversize()), []string{"4097", "4096"}, wire.CodeTooLarge},
			{"a frame of 4 GiB", preamble + "\xff\xff\xff\xff" + strings.Repeat("x", 40), []string{"4294967295", "4096"}, wire.CodeTooLarge},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				dc, ac := pair(t)
				answer := make(chan []byte, 1)
				go func() {
					_, _ = dc.Write([]byte(c.speak))
					got, _ := io.ReadAll(dc)
					answer <- got
					dc.Close()
				}()
				_, err := wire.ServerHello(ac, acceptor())
				ac.Close()
				if err == nil {
					t.Fatal("got no error")
				}
				for _, w := range append(c.want, ac.RemoteAddr().String()) {
					if !strings.Contains(err.Error(), w) {
						t.Errorf("%q does not say %q", err, w)
					}
				}
				if strings.ContainsAny(err.Error(), "\r\n") {
					t.Errorf("%q has several lines", err)
				}
				told := <-answer
				if c.refuse == 0 {
					if len(told) > 0 {
						t.Errorf("it was told %q", told)
					}
					return
				}
				h, body, err := wire.ReadFrame(bytes.NewReader(told), wire.NewDecoder(wire.HelloBytesMax))
				var e wire.Error
				if err != nil || h.Type != wire.TypeError || e.Read(body) != nil || e.Code != c.refuse {
					t.Errorf("it was told %q (%v), want %s", told, err, c.refuse)
				}
			})
		}
	})
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 0x10
	return b
}

func oversize() []byte {
	h := wire.Hello{VersionMin: wire.VersionMin, VersionMax: wire.VersionMax, Role: wire.RoleClient}
	h.Cluster = strings.Repeat("x", wire.HelloBytesMax+1-len(h.Append(nil))-2) // 2: its length grows
	return wire.AppendFrame(nil, wire.TypeHello, 0, &h)
}
