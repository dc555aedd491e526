package wire_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"muster/repl/wire"
)

// A stranger decides what its hello says, and so must not decide how long the
// answer to it is, nor the line that the operator finds in the log. Errors
// repeat texts, and quoting makes four bytes of one.
func TestHelloEchoesLittle(t *testing.T) {
	const tolerable = 600 // bytes, of an error in full
	long := func(s string) string { return strings.Repeat(s, (wire.HelloBytesMax-200)/len(s)) }
	texts := map[string]string{
		"long": long("x"), "escapes": long("\x00"), "quotes": long(`"`), "wide": long("\u00e9"), "invalid": long("\xff"),
		"an escape sequence": "\x1b[2J", "C1": "a\u009b2Jb", "a newline": "a\nlevel=ERROR", "a blank": "a b",
		"one too long": strings.Repeat("x", wire.AddrMax+1),
	}
	fields := map[string]func(*wire.DialConfig, string){
		"cluster":   func(c *wire.DialConfig, s string) { c.Cluster = s },
		"advertise": func(c *wire.DialConfig, s string) { c.Advertise = s },
	}
	for kind, text := range texts {
		for field, set := range fields {
			d, a := greet(t, with(peer(), func(c *wire.DialConfig) { set(c, text) }), acceptor())
			for who, r := range map[string]helloResult{"dialler": d, "acceptor": a} {
				checkRefusal(t, kind+" "+field+", "+who, r, wire.CodeBadRequest, []string{"field " + field})
				if r.err != nil && (len(r.err.Error()) > tolerable || strings.Contains(r.err.Error(), "xxxx")) {
					t.Errorf("%s %s: the %s has an error of %d bytes: %.100s", kind, field, who, len(r.err.Error()), r.err)
				}
			}
		}
		// The same from one that listens at an address and is asked.
		dc, ac := pair(t)
		go func() {
			_, _ = ac.Write(wire.AppendFrame(nil, wire.TypeChallenge, 0, &wire.Challenge{Version: 1, Cluster: text, Node: n1}))
			_, _ = io.Copy(io.Discard, ac)
		}()
		_, err := wire.ClientHello(dc, with(client(), func(c *wire.DialConfig) { c.Cluster = "prod" }))
		if !errors.Is(err, &wire.Error{Code: wire.CodeBadRequest}) || len(err.Error()) > tolerable {
			t.Errorf("%s: the challenge's cluster gives %.100v", kind, err)
		}
	}
	// The longest that is right is taken.
	d, a := greet(t, with(peer(), func(c *wire.DialConfig) { c.Advertise = strings.Repeat("x", wire.AddrMax) }), acceptor())
	if d.err != nil || a.err != nil {
		t.Errorf("an address of %d bytes: %v, %v", wire.AddrMax, d.err, a.err)
	}
}
