package node

import (
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"muster/logstore/vfs"
	"muster/repl/trust"
	"muster/shardmap"
)

// authorityOf makes a root of cluster 7, and returns it with what signs under it.
func authorityOf(t *testing.T) ([]byte, *trust.Issuer) {
	t.Helper()
	der, key, err := trust.NewRoot(rand.Reader, 7, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := trust.NewIssuer(der, key)
	if err != nil {
		t.Fatal(err)
	}
	return der, issuer
}

// A node gets its first certificate under another root, and loses its power at any operation of its disk. Afterwards it
// must start, with its key and one of the two certificates; and with the new one it must still have the former one, for
// clients that have heard of no other root. The next attempt must come to the same as one that nothing has interrupted.
func TestCrashWhileARootIsReplaced(t *testing.T) {
	if wrong := crashedRotation(t); wrong != "" {
		t.Error(wrong)
	}
}

// crashedRotation returns what a crash has left that must not be.
func crashedRotation(t *testing.T) string {
	oldRoot, oldIssuer := authorityOf(t)
	newRoot, newIssuer := authorityOf(t)
	name := nodeName(7, 3)
	issued := func(i *trust.Issuer, pub *ecdsa.PublicKey) []byte {
		t.Helper()
		der, _, err := i.Issue(rand.Reader, name, pub, time.Now(), trust.NodeLife)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	table := &shardmap.Table{Index: 9}
	table.Security.Roots = []shardmap.Root{
		{ID: shardmap.RootID(trust.RootIDOf(oldRoot)), DER: oldRoot, State: shardmap.RootTrusted},
		{ID: shardmap.RootID(trust.RootIDOf(newRoot)), DER: newRoot, State: shardmap.RootIssuing},
	}
	open := func(disk vfs.FS) (*keyring, error) {
		k := &keyring{holder: new(trust.Holder), disk: disk, data: "data", now: time.Now}
		k.holder.Set(&trust.Holding{})
		return k, k.open()
	}
	// has says which roots a node shows certificates of: that of its own, and those that it had.
	has := func(k *keyring) (own string, former int) {
		if k.leaf == nil {
			return "", 0
		}
		if own = "old"; string(k.root) == string(newRoot) {
			own = "new"
		}
		for _, c := range k.holder.Get().Former {
			if string(c.Certificate[1]) == string(oldRoot) {
				former++
			}
		}
		return own, former
	}
	for _, mode := range vfs.CrashModes() {
		for stop := 1; ; stop++ {
			disk := vfs.NewMem()
			k, err := open(disk)
			if err != nil {
				t.Fatal(err)
			}
			before := k.keyID
			if err := k.adopt(name, issued(oldIssuer, &k.key.PublicKey), [][]byte{oldRoot}); err != nil {
				t.Fatal(err)
			}
			if err := k.follow(table); err != nil {
				t.Fatal(err)
			}
			disk.StopAt(stop)
			done := k.adopt(name, issued(newIssuer, &k.key.PublicKey), [][]byte{oldRoot, newRoot}) == nil
			disk.Crash(mode, uint64(stop))
			at := fmt.Sprintf("%s, power lost at operation %d", mode, stop)
			if k, err = open(disk); err != nil {
				return at + ": it does not start: " + err.Error()
			}
			own, former := has(k)
			switch {
			case k.keyID != before:
				return at + ": the key is another one"
			case own == "" || done && own != "new":
				return fmt.Sprintf("%s: it shows the %s certificate, and has taken the new one: %t", at, own, done)
			case own == "new" && former != 1:
				return fmt.Sprintf("%s: it shows the new certificate, and %d of the former root; want 1", at, former)
			}
			if err := errors.Join(k.follow(table), k.adopt(name, issued(newIssuer, &k.key.PublicKey), [][]byte{oldRoot, newRoot})); err != nil {
				return at + ": the next attempt: " + err.Error()
			}
			if own, former := has(k); own != "new" || former != 1 {
				return fmt.Sprintf("%s: after the next attempt it shows the %s certificate, and %d of the former root", at, own, former)
			}
			if done {
				break
			}
		}
	}
	return ""
}
