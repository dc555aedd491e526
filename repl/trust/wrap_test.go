package trust_test

import (
	"bytes"
	"crypto/ecdsa"
	"errors"
	"testing"
	"testing/iotest"

	"muster/repl/trust"
)

// The wrapped key of a root is in every copy of the table, so it must be worth nothing without the
// wrapping key, and nothing beside another root. Each byte of it counts.
func TestWrap(t *testing.T) {
	w, other := newWorld(t, 1, cluster), newWorld(t, 2, cluster)
	key, err := trust.NewWrapKey(w.chance)
	w.must(err)
	wrong, err := trust.NewWrapKey(w.chance)
	w.must(err)
	if key.ID() == wrong.ID() || key.ID() == (trust.WrapKeyID{}) {
		t.Error("two keys have one name, or none")
	}
	root := w.issuer.Root()
	wrapped, err := trust.Wrap(w.chance, key, w.key, root)
	w.must(err)
	if len(wrapped) != trust.WrappedSize {
		t.Errorf("it has %d bytes, want %d", len(wrapped), trust.WrappedSize)
	}
	scalar, err := w.key.Bytes()
	w.must(err)
	if bytes.Contains(wrapped, scalar[:8]) {
		t.Error("the key is in it as it is")
	}
	again, err := trust.Wrap(w.chance, key, w.key, root)
	w.must(err)
	if bytes.Equal(again, wrapped) {
		t.Error("a nonce was used twice")
	}
	got, err := trust.Unwrap(key, wrapped, root)
	if err != nil || !got.Equal(w.key) {
		t.Fatalf("got another key, %v", err)
	}
	if _, err := trust.NewIssuer(w.root.Raw, got); err != nil {
		t.Error(err)
	}
	refused := func(what string, key trust.WrapKey, wrapped []byte, root trust.RootID) {
		t.Helper()
		got, err := trust.Unwrap(key, wrapped, root)
		checkField(t, what, err, "wrapped key of root "+root.String())
		if got != nil {
			t.Errorf("%s: a key is returned", what)
		}
	}
	refused("another wrapping key", wrong, wrapped, root)
	refused("no wrapping key", trust.WrapKey{}, wrapped, root)
	refused("another root", key, wrapped, other.issuer.Root())
	refused("no root", key, wrapped, trust.RootID{})
	refused("a byte more", key, append(bytes.Clone(wrapped), 0), root)
	for i := range wrapped {
		refused("cut", key, wrapped[:i], root)
		flipped := bytes.Clone(wrapped)
		flipped[i] ^= 0x80
		refused("a flipped bit", key, flipped, root)
	}
	p384, err := p384Key()
	w.must(err)
	if _, err := trust.Wrap(w.chance, key, p384.(*ecdsa.PrivateKey), root); err == nil {
		t.Error("a key on P-384 is wrapped")
	}
	if _, err := trust.Wrap(iotest.ErrReader(errors.New("dry")), key, w.key, root); err == nil {
		t.Error("a key is wrapped without a nonce")
	}
}
