package trust_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"

	"muster/repl/trust"
)

func (w *world) token() trust.Token {
	w.t.Helper()
	token, err := trust.NewToken(w.chance)
	w.must(err)
	token.Root, token.ID = w.issuer.Root(), 4711
	return token
}

// A token is typed, pasted and cut by people: what comes back is the token, or
// an error that names the part, and never shows the secret.
func TestToken(t *testing.T) {
	token := newWorld(t, 1, cluster).token()
	text := token.String()
	if got, err := trust.ParseToken(text); err != nil || got != token {
		t.Fatalf("%s: got %v, %v", text, got, err)
	}
	parts := strings.Split(text, ".")
	if len(text) != 4+1+64+1+4+1+43 || parts[0] != "mst1" || parts[1] != token.Root.String() || parts[2] != "4711" {
		t.Errorf("got %s", text)
	}
	secret := parts[3]
	// The last of 43 letters has two bits that stand for nothing.
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := secret[:42] + string(letters[strings.IndexByte(letters, secret[42])+1])
	if raw, err := base64.RawURLEncoding.DecodeString(last); err != nil || len(raw) != 32 {
		t.Fatal("the row of unused bits has none")
	}
	with := func(i int, part string) string {
		changed := append([]string{}, parts...)
		changed[i] = part
		return strings.Join(changed, ".")
	}
	for _, row := range []struct{ what, text, field string }{
		{"nothing", "", "token"},
		{"a word", "hello", "token's beginning"},
		{"another kind", with(0, "mst2"), "token's beginning"},
		{"upper case before it", with(0, "MST1"), "token's beginning"},
		{"a space before it", " " + text, "token's beginning"},
		{"a quote before it", `"` + text, "token's beginning"},
		{"the prefix alone", "mst1", "token"},
		{"no secret", strings.Join(parts[:3], "."), "token"},
		{"a part more", text + ".x", "token"},
		{"no root", with(1, ""), "token's root"},
		{"half a root", with(1, parts[1][:32]), "token's root"},
		{"an upper-case root", with(1, strings.ToUpper(parts[1])), "token's root"},
		{"a root of other letters", with(1, strings.Repeat("g", 64)), "token's root"},
		{"no id", with(2, ""), "token's id"},
		{"id 0", with(2, "0"), "token's id"},
		{"a zero before the id", with(2, "04711"), "token's id"},
		{"a sign", with(2, "+4711"), "token's id"},
		{"a negative id", with(2, "-1"), "token's id"},
		{"a large id", with(2, "18446744073709551616"), "token's id"},
		{"an id with a line's end", with(2, "47\n11"), "token's id"},
		{"an empty secret", with(3, ""), "token's secret"},
		{"a cut secret", with(3, secret[:42]), "token's secret"},
		{"a long secret", with(3, secret+"A"), "token's secret"},
		{"a padded secret", with(3, secret+"="), "token's secret"},
		{"a line's end behind it", text + "\n", "token's secret"},
		{"a line's end in it", with(3, secret[:20]+"\n"+secret[20:]), "token's secret"},
		{"a secret of other letters", with(3, strings.Repeat("+", 43)), "token's secret"},
		{"unused bits in the secret", with(3, last), "token's secret"},
	} {
		got, err := trust.ParseToken(row.text)
		checkField(t, row.what, err, row.field)
		if got != (trust.Token{}) {
			t.Errorf("%s: a token is returned", row.what)
		}
		if err != nil && strings.Contains(err.Error(), secret[:20]) {
			t.Errorf("%s: the secret is in %q", row.what, err)
		}
	}
	if _, err := trust.NewToken(iotest.ErrReader(errors.New("dry"))); err == nil {
		t.Error("a token without chance")
	}
}

// A token or a key that is logged by mistake shows no secret.
func TestSecretsAreNotLogged(t *testing.T) {
	w := newWorld(t, 1, cluster)
	token := w.token()
	wrap, err := trust.NewWrapKey(w.chance)
	w.must(err)
	secret := token.String()[strings.LastIndexByte(token.String(), '.')+1:]
	raw, err := base64.RawURLEncoding.DecodeString(secret)
	w.must(err)
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "token", token, "at", &token, "in", struct{ T trust.Token }{token}, "err", fmt.Errorf("with %v", token))
		slog.New(h).Info("x", "key", fmt.Sprint(wrap))
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&log, verb+"\n", token)
		fmt.Fprintf(&log, verb+"\n", wrap)
		fmt.Fprintf(&log, verb+"\n", []any{token, &token, wrap})
	}
	for _, hidden := range []string{secret[:10], fmt.Sprintf("%x", raw[:8]), fmt.Sprintf("%X", raw[:8]), fmt.Sprint(raw[:8])[1:20], fmt.Sprintf("%x", wrap[:][:8]), fmt.Sprint(wrap[:][:8])[1:20]} {
		if strings.Contains(log.String(), hidden) {
			t.Errorf("%s is in\n%s", hidden, log.String())
		}
	}
	if !strings.Contains(log.String(), "mst1."+token.Root.String()+".4711.…") || !strings.Contains(log.String(), wrap.ID().String()) {
		t.Errorf("nobody can tell which they were:\n%s", log.String())
	}
}

// The use of a token is signed for one connection and one request. A go-between
// that has a host join through it can pass on neither.
func TestTokenRelay(t *testing.T) { tokenRelay(t) }

func tokenRelay(t testing.TB) {
	w := newWorld(t, 1, cluster)
	token, other := w.token(), w.token()
	request, err := trust.NewRequest(w.newKey())
	w.must(err)
	theirs, err := trust.NewRequest(w.newKey())
	w.must(err)
	// The joiner dials the go-between, and that dials the cluster.
	server, between := w.holder(node(1)), w.holder(node(9))
	_, joiner := handshake(t, between.Server(), new(trust.Holder).Client(anybody))
	atServer, dialled := handshake(t, server.Server(), between.Client(anybody))
	for _, s := range []side{joiner, atServer, dialled} {
		w.must(s.err)
	}
	exporter := func(s side) []byte {
		b, err := trust.Exporter(&s.state)
		w.must(err)
		return b
	}
	signed, err := token.Sign(exporter(joiner), request)
	w.must(err)
	direct, err := token.Sign(exporter(dialled), request)
	w.must(err)
	flipped := bytes.Clone(direct)
	flipped[0] ^= 1
	for _, row := range []struct {
		what      string
		public    [32]byte
		request   []byte
		signature []byte
		ok        bool
	}{
		{"over the connection that it was signed for", token.Public(), request, direct, true},
		{"passed on over another", token.Public(), request, signed, false},
		{"with another request", token.Public(), theirs, direct, false},
		{"with more behind the request", token.Public(), append(bytes.Clone(request), 0), direct, false},
		{"by another token", other.Public(), request, direct, false},
		{"with a flipped bit", token.Public(), request, flipped, false},
		{"cut", token.Public(), request, direct[:63], false},
		{"without a signature", token.Public(), request, nil, false},
		{"by no key", [32]byte{}, request, direct, false},
	} {
		err := trust.VerifyUse(row.public, exporter(atServer), row.request, row.signature)
		field := "token's signature"
		if row.ok {
			field = ""
		}
		checkField(t, row.what, err, field)
	}
	for _, short := range [][]byte{nil, make([]byte, 31), make([]byte, 33)} {
		if _, err := token.Sign(short, request); err == nil {
			t.Errorf("an exporter of %d bytes is signed", len(short))
		}
		if err := trust.VerifyUse(token.Public(), short, request, direct); err == nil {
			t.Errorf("an exporter of %d bytes is good", len(short))
		}
	}
}
