package node

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"muster/logstore/vfs"
	"muster/node/vault"
	"muster/raft"
	"muster/repl/notary"
	"muster/repl/trust"
	"muster/shardmap"
)

// wrapKeysMax bounds the keys in files here that wrap those of roots: those of all roots that a
// table may have, and what leaders that stopped have left.
const wrapKeysMax = 64

// keyring has the keys of this node and its certificate, in memory and in its vault. It is safe for all
// goroutines.
type keyring struct {
	// Set once.
	holder *trust.Holder // what handshakes show, and whom they believe
	disk   vfs.FS
	data   string           // directory
	now    func() time.Time // for certificates

	mu    sync.Mutex
	vault *vault.Vault      // guarded by mu; nil until this node speaks TLS
	key   *ecdsa.PrivateKey // guarded by mu: of this node
	keyID trust.KeyID       // guarded by mu
	leaf  *x509.Certificate // guarded by mu: this node's certificate; nil until it has one
	root  []byte            // guarded by mu: that it is under
	// former are certificates that it had under roots which issued before: each with its root, in DER.
	former [][]byte                          // guarded by mu
	wraps  map[trust.WrapKeyID]trust.WrapKey // guarded by mu: those in files
	drawn  map[trust.WrapKeyID]trust.WrapKey // guarded by mu: those that are not in files yet
	table  *shardmap.Table                   // guarded by mu: by which the holder goes; nil: none yet
	pins   map[raft.NodeID]trust.KeyID       // guarded by mu: those in the file; nil: there is none
	// withheld: this node's certificate is not shown yet. Whoever sees it looks for what the user that
	// runs this node has for its root, and that is not there yet.
	withheld bool // guarded by mu
	// earlier: an earlier life has taken the certificate. It is never withheld: the others may go by
	// certificates alone by now, and this node hears of that from them only if it shows its own.
	earlier  bool                               // guarded by mu
	denied   map[trust.Serial]bool              // guarded by mu: the certificates that the file has as denied. Nobody changes it
	deniedAt uint64                             // guarded by mu: the index of the table that said so; 0: none
	rootsAt  uint64                             // guarded by mu: the index of the table by which the file has roots; 0: none is in it
	paths    map[trust.RootID]*x509.Certificate // guarded by mu: roots as they were parsed
}

// open opens the vault, makes the node's key where there is none, and shows what is in it from
// then on. It does nothing the second time.
func (k *keyring) open() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.vault != nil {
		return nil
	}
	v, err := vault.Open(k.disk, k.data)
	if err != nil {
		return err
	}
	key, err := v.Key(rand.Reader)
	if err != nil {
		return err
	}
	if k.keyID, err = trust.PublicKeyID(&key.PublicKey); err != nil {
		return err
	}
	if k.wraps, err = v.WrapKeys(); err != nil {
		return err
	}
	leaf, root, ok, err := v.Certificate()
	if err != nil {
		return err
	}
	roots, at, err := v.Roots()
	if err != nil {
		return err
	}
	if k.former, err = v.Former(); err != nil {
		return err
	}
	if k.denied, k.deniedAt, err = v.Denied(); err != nil {
		return err
	}
	k.vault, k.key, k.drawn, k.rootsAt = v, key, make(map[trust.WrapKeyID]trust.WrapKey), at
	if ok {
		if err := k.take(leaf, root); err != nil {
			return err
		}
		k.earlier = true
	}
	return k.show(roots, k.deniedBy(nil))
}

// bugDenialsForgotten is planted to show that its test finds it: a node that starts has forgotten which certificates
// are denied, until it has read its table.
const bugDenialsForgotten = "denials forgotten at a start"

// deniedBy is what says which certificates are good no longer: a table, or what an earlier life has noted, and
// both where the table is older than that. Its caller holds mu.
func (k *keyring) deniedBy(t *shardmap.Table) func(trust.Serial) bool {
	var noted map[trust.Serial]bool
	if (t == nil || t.Index < k.deniedAt) && !bug(bugDenialsForgotten) {
		noted = k.denied
	}
	return func(serial trust.Serial) bool {
		return noted[serial] || t != nil && t.Security.IsDenied(shardmap.Serial(serial)) && !bug(bugRemovedLetIn)
	}
}

// noteDenied notes which certificates a table denies, unless another one that was newer was noted before.
func (k *keyring) noteDenied(t *shardmap.Table) error {
	if t.Index < k.deniedAt {
		return nil
	}
	next := make(map[trust.Serial]bool, len(t.Security.Denied))
	for i := range t.Security.Denied {
		next[trust.Serial(t.Security.Denied[i].Serial)] = true
	}
	if !maps.Equal(next, k.denied) {
		if err := k.vault.SetDenied(next, t.Index); err != nil {
			return err
		}
		k.denied, k.deniedAt = next, t.Index
	}
	return nil
}

// withhold says whether this node's certificate is to be shown later.
func (k *keyring) withhold(withheld bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if withheld == k.withheld {
		return nil
	}
	k.withheld = withheld
	if k.vault == nil {
		return nil
	}
	return k.reshow()
}

// reshow has handshakes show what is here, and believe whom they believe.
func (k *keyring) reshow() error {
	var ders [][]byte
	for _, r := range k.trusted() {
		ders = append(ders, r.Raw)
	}
	return k.show(ders, k.holder.Get().Trusted.Denied)
}

// take takes a certificate for its own.
func (k *keyring) take(leaf, root []byte) error {
	c, err := trust.ReadCertificate(leaf)
	if err != nil {
		return err
	}
	if trust.KeyIDOf(c) != k.keyID {
		return errors.New("this node's certificate is for another key than it has: put both back as they were; if there is no copy, remove the node from the cluster and have it join with an empty data directory")
	}
	k.leaf, k.root = c, root
	return nil
}

// show has handshakes show what is here, and believe in roots, save those that are denied.
func (k *keyring) show(roots [][]byte, denied func(trust.Serial) bool) error {
	h := &trust.Holding{Trusted: trust.Trusted{Denied: denied}}
	if k.paths == nil {
		k.paths = make(map[trust.RootID]*x509.Certificate)
	}
	for _, der := range roots {
		id := trust.RootIDOf(der)
		if k.paths[id] == nil {
			c, err := trust.ReadRoot(der)
			if err != nil {
				return err
			}
			k.paths[id] = c
		}
		h.Trusted.Roots = append(h.Trusted.Roots, k.paths[id])
	}
	var err error
	if k.leaf != nil && (k.earlier || !k.withheld) {
		h.Issued, err = trust.NewCertificate(k.key, k.leaf.Raw, k.root)
		h.Certificate = h.Issued
	} else {
		// It hides what is said. Others may know its key by then.
		h.Certificate, err = trust.SelfSigned(rand.Reader, k.key, k.now())
	}
	if err != nil {
		return err
	}
	for i := 0; i+1 < len(k.former); i += 2 {
		leaf, err := trust.ReadCertificate(k.former[i])
		trusted := slices.ContainsFunc(roots, func(der []byte) bool { return string(der) == string(k.former[i+1]) })
		if err != nil || !trusted || leaf.NotAfter.Before(k.now()) {
			continue // it is of no use to anybody
		}
		if shown, err := trust.NewCertificate(k.key, k.former[i], k.former[i+1]); err == nil {
			h.Former = append(h.Former, shown)
		}
	}
	h.Own = k.holder.Get().Own
	if h.Own != nil {
		h.Certificate = h.Own.Certificate
	}
	k.holder.Set(h)
	return nil
}

// setOwn has handshakes show another certificate of the company's CA, and believe in that CA.
func (k *keyring) setOwn(own *trust.Own) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := *k.holder.Get()
	h.Own, h.Certificate = own, own.Certificate
	k.holder.Set(&h)
}

// bugRootsGoBack is planted to show that its test finds it: a node that reads its log again forgets a root that
// it has said it trusts.
const bugRootsGoBack = "root forgotten for an older table"

// follow has handshakes go by a table. The roots are in the file first: after a start they are
// believed in before a table is read. What is read then may be an older table than the file is by, and the
// newer ones may have to come from members with certificates under roots that this one does not name; they
// issue because this node has said that it trusts them.
func (k *keyring) follow(t *shardmap.Table) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.vault == nil {
		return nil
	}
	roots := trustedRoots(t)
	var known [][]byte
	for _, c := range k.trusted() {
		known = append(known, c.Raw)
	}
	switch same := slices.EqualFunc(roots, known, bytes.Equal); {
	case t.Index < k.rootsAt && !bug(bugRootsGoBack):
		roots = known
	case len(roots) > 0 && (!same || k.rootsAt == 0):
		if err := k.vault.SetRoots(roots, t.Index); err != nil {
			return err
		}
		k.rootsAt = t.Index
	}
	if err := k.noteDenied(t); err != nil {
		return err
	}
	k.table = t
	return k.show(roots, k.deniedBy(t))
}

// bugRootsNotLearnt is planted to show that its test finds it: a host that joins knows no root but that of
// its certificate.
const bugRootsNotLearnt = "roots of a join not learnt"

// learn has handshakes believe in the roots that come with this host's way into the cluster, by a table
// of an index. One of them must be that of its own certificate.
func (k *keyring) learn(roots [][]byte, index uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.leaf == nil || len(roots) == 0 || index < k.rootsAt || bug(bugRootsNotLearnt) {
		return nil
	}
	own := false
	for _, der := range roots {
		if _, err := trust.ReadRoot(der); err != nil {
			return fmt.Errorf("roots of the cluster: %w", err)
		}
		own = own || bytes.Equal(der, k.root)
	}
	if !own {
		return errors.New("roots of the cluster: the one that this host's certificate is under is not among them; remove the host from the cluster, and have it join with an empty data directory")
	}
	if err := k.vault.SetRoots(roots, index); err != nil {
		return err
	}
	k.rootsAt = index
	return k.show(roots, k.holder.Get().Trusted.Denied)
}

// sealed returns the keys of the members as they are in the file; ok is false where that is not
// there.
func (k *keyring) sealed() (pins map[raft.NodeID]trust.KeyID, ok bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	pins, ok, err = k.vault.Pins()
	k.pins = pins
	return pins, ok, err
}

// seal puts the keys of the members of a table by which certificates alone open the cluster into the
// file, and returns them.
func (k *keyring) seal(t *shardmap.Table) (map[raft.NodeID]trust.KeyID, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	pins := make(map[raft.NodeID]trust.KeyID, len(t.Nodes))
	for i := range t.Nodes {
		if pin, ok := t.Security.Pin(t.Nodes[i].ID); ok {
			pins[pin.Node] = trust.KeyID(pin.Key)
		}
	}
	if k.pins != nil && maps.Equal(pins, k.pins) {
		return pins, nil
	}
	if err := k.vault.SetPins(pins); err != nil {
		return nil, err
	}
	k.pins = pins
	return pins, nil
}

func (k *keyring) trusted() []*x509.Certificate { return k.holder.Get().Trusted.Roots }

// trustedRoots are the roots that members of a table trust.
func trustedRoots(t *shardmap.Table) (roots [][]byte) {
	for _, r := range t.Security.Roots {
		if r.State != shardmap.RootRetired {
			roots = append(roots, r.DER)
		}
	}
	return roots
}

// request asks for a certificate for this node's key.
func (k *keyring) request() ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.vault == nil {
		return nil, errors.New("this node has no key yet")
	}
	return trust.NewRequest(k.key)
}

// adopt stores a certificate of this node that somebody has made, and shows it from then on. It must
// be for this node's key and name, and under one of the roots that came with it, one of which is
// believed in already, if any is.
func (k *keyring) adopt(name trust.Name, leaf []byte, roots [][]byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var t trust.Trusted
	for _, der := range roots {
		c, err := trust.ReadRoot(der)
		if err != nil {
			return err
		}
		t.Roots = append(t.Roots, c)
	}
	if known := k.trusted(); len(known) > 0 {
		t.Roots = known
	}
	c, err := trust.ReadCertificate(leaf)
	if err != nil {
		return err
	}
	p, err := t.Node([]*x509.Certificate{c}, k.now())
	switch {
	case err != nil:
		return err
	case p.Name != name:
		return fmt.Errorf("the certificate is that of %s; want %s", p.Name, name)
	case p.Key != k.keyID:
		return errors.New("the certificate is for another key than this node has")
	}
	i := slices.IndexFunc(t.Roots, func(r *x509.Certificate) bool { return trust.RootIDOf(r.Raw) == p.Root })
	if len(k.trusted()) == 0 {
		if err := k.vault.SetRoots(roots, 0); err != nil {
			return err
		}
	}
	// The former one first: a crash between the two leaves it in both files, which harms nobody, and the next
	// attempt begins anew. The other way round it would be in none.
	if !bug(bugFormerLast) {
		if err := k.retain(t.Roots[i].Raw); err != nil {
			return err
		}
	}
	if err := k.vault.SetCertificate(leaf, t.Roots[i].Raw); err != nil {
		return err
	}
	if bug(bugFormerLast) {
		if err := k.retain(t.Roots[i].Raw); err != nil {
			return err
		}
	}
	if err := k.take(leaf, t.Roots[i].Raw); err != nil {
		return err
	}
	var ders [][]byte
	for _, r := range t.Roots {
		ders = append(ders, r.Raw)
	}
	return k.show(ders, k.holder.Get().Trusted.Denied)
}

// bugFormerLast is planted to show that its test finds it: a certificate is kept only after another one has
// replaced it.
const bugFormerLast = "former certificate kept after it was replaced"

// formerMax bounds the certificates of former roots: more roots than that are not trusted at once.
const formerMax = shardmap.RootsMax

// retain keeps the certificate that another one, under another root, is about to replace: clients that
// have not heard of that root are still shown it.
func (k *keyring) retain(root []byte) error {
	if k.leaf == nil || string(k.root) == string(root) {
		return nil
	}
	former := [][]byte{k.leaf.Raw, k.root}
	for i := 0; i+1 < len(k.former) && len(former) < 2*formerMax; i += 2 {
		if string(k.former[i+1]) != string(k.root) {
			former = append(former, k.former[i], k.former[i+1])
		}
	}
	if err := k.vault.SetFormer(former); err != nil {
		return err
	}
	k.former = former
	return nil
}

// own is this node's certificate, as the notary wants to know it.
func (k *keyring) own() (own notary.Own) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.leaf == nil {
		return own
	}
	serial, err := trust.SerialOf(k.leaf)
	if err != nil {
		return own
	}
	return notary.Own{Serial: shardmap.Serial(serial), Root: shardmap.RootID(trust.RootIDOf(k.root)), Host: trust.HostIn(k.leaf), RenewAt: trust.RenewAt(k.leaf).Unix(), Ends: k.leaf.NotAfter.Unix()}
}

// name is the name in this node's certificate; ok is false while it has none.
func (k *keyring) name() (name trust.Name, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.leaf == nil {
		return name, false
	}
	name, err := trust.ParseName(k.leaf)
	return name, err == nil
}

// id names this node's key; ok is false while it has none.
func (k *keyring) id() (id trust.KeyID, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keyID, k.vault != nil
}

// held lists the keys in files that wrap those of roots.
func (k *keyring) held() (all []shardmap.WrapKeyID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id := range k.wraps {
		all = append(all, shardmap.WrapKeyID(id))
	}
	return all
}

// draw draws a key to wrap that of a root.
func (k *keyring) draw() (shardmap.WrapKeyID, error) {
	key, err := trust.NewWrapKey(rand.Reader)
	if err != nil {
		return shardmap.WrapKeyID{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.drawn) // one is drawn at a time
	k.drawn[key.ID()] = key
	return shardmap.WrapKeyID(key.ID()), nil
}

// storeDrawn puts a drawn key into a file.
func (k *keyring) storeDrawn(id shardmap.WrapKeyID) error {
	k.mu.Lock()
	key, ok := k.drawn[trust.WrapKeyID(id)]
	k.mu.Unlock()
	if !ok {
		return fmt.Errorf("wrapping key %s was drawn by an earlier life", id)
	}
	return k.keep(key)
}

// keep puts a key into a file.
func (k *keyring) keep(key trust.WrapKey) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	id := key.ID()
	switch _, has := k.wraps[id]; {
	case has:
		return nil
	case k.vault == nil:
		return errors.New("this node keeps no keys yet")
	case len(k.wraps) >= wrapKeysMax:
		return fmt.Errorf("%d wrapping keys are kept here; want %d at most", len(k.wraps), wrapKeysMax)
	}
	if err := k.vault.StoreWrapKey(key); err != nil {
		return err
	}
	k.wraps[id] = key
	delete(k.drawn, id)
	return nil
}

// drop removes a key from memory and disk.
func (k *keyring) drop(id trust.WrapKeyID) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, has := k.wraps[id]; !has {
		return nil
	}
	if err := k.vault.RemoveWrapKey(id); err != nil {
		return err
	}
	delete(k.wraps, id)
	return nil
}

// wrapKey returns a key that is in a file.
func (k *keyring) wrapKey(id trust.WrapKeyID) (trust.WrapKey, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, ok := k.wraps[id]
	return key, ok
}

// makeRoot makes a root whose key is wrapped by one that is in a file here.
func (k *keyring) makeRoot(cluster uint64, id shardmap.WrapKeyID, now time.Time) (r shardmap.Root, err error) {
	wrap, ok := k.wrapKey(trust.WrapKeyID(id))
	if !ok {
		return r, fmt.Errorf("wrapping key %s is in no file here", id)
	}
	der, key, err := trust.NewRoot(rand.Reader, cluster, now)
	if err != nil {
		return r, err
	}
	rootID := trust.RootIDOf(der)
	wrapped, err := trust.Wrap(rand.Reader, wrap, key, rootID)
	if err != nil {
		return r, err
	}
	return shardmap.Root{ID: shardmap.RootID(rootID), DER: der, Wrapped: wrapped, WrapKey: id}, nil
}

// sign makes a certificate under a root.
func (k *keyring) sign(root *shardmap.Root, name trust.Name, pub *ecdsa.PublicKey, now time.Time, terms trust.Terms) (der []byte, serial shardmap.Serial, err error) {
	wrap, ok := k.wrapKey(trust.WrapKeyID(root.WrapKey))
	if !ok {
		return nil, serial, fmt.Errorf("wrapping key %s is in no file here", root.WrapKey)
	}
	key, err := trust.Unwrap(wrap, root.Wrapped, trust.RootID(root.ID))
	if err != nil {
		return nil, serial, err
	}
	issuer, err := trust.NewIssuer(root.DER, key)
	if err != nil {
		return nil, serial, err
	}
	der, s, err := issuer.IssueWith(rand.Reader, name, pub, now, terms)
	return der, shardmap.Serial(s), err
}

// nodeName is the name that a node's certificate has.
func nodeName(cluster uint64, id raft.NodeID) trust.Name {
	return trust.Name{Cluster: cluster, Kind: trust.KindNode, Node: id}
}
