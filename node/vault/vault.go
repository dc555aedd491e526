// Package vault keeps what a node must not show to anybody in files that nobody else can read.
//
// It decides nothing, and starts no goroutine. What the keys and certificates are for is told in
// muster/repl/trust, who gets them and when in muster/repl/notary.
//
// # Files
//
// They are in the folder tls of the data directory, PEM if nothing else is said:
//
//	node.key         the node's key, made before its first word, and the same for as long as it lives
//	node.pem         its certificate, and behind it the root that it is under; not there until it has one
//	former.pem       certificates that it had under roots which issued before, each with its root
//	roots.pem        the roots that it trusted last, behind a line with the index of the table that named
//	                 them: for a start, before that table is read again
//	denied           the serials of certificates that are good no longer, for the same start: a line "table
//	                 INDEX", which names the table that said so, and then one a line
//	pins             the keys of the members, one a line: node and SHA-256 of its key, in hexadecimal digits.
//	                 It is there once certificates alone open the cluster, which is for good
//	reset.*          questions of whoever owns the folder: see muster/node/reset
//	wrap-ID.key      a key that wraps those of roots, as 64 hexadecimal digits; ID names it. Only
//	                 voters of the meta group have such
//
// Each is written beside its place and renamed, and synced before and after that: a crash leaves
// the old file or the new one. Folder and files are refused that are not what they should be, or that others
// own, can read or can change: see [vfs.Unfit].
package vault

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/trust"
)

// RootsName is the file of that folder which has the roots that the node trusts.
const RootsName = "roots.pem"

// Dir is the folder in the data directory.
const Dir = "tls"

const (
	keyName    = "node.key"
	certName   = "node.pem"
	formerName = "former.pem"
	deniedName = "denied"
	pinsName   = "pins"
	wrapPrefix = "wrap-"
	wrapSuffix = ".key"
	tempSuffix = ".new"
	// fileMax bounds what is read of a file, in bytes.
	fileMax = trust.FileMax
)

// Vault is the folder of one node. Its calls must not run at the same time.
type Vault struct {
	disk vfs.FS
	dir  string
}

// Open makes the folder in the data directory where it is missing, and removes what a crash left
// half-written.
func Open(disk vfs.FS, data string) (*Vault, error) {
	v := &Vault{disk: disk, dir: path.Join(data, Dir)}
	if err := disk.MkdirAll(v.dir); err != nil {
		return nil, fmt.Errorf("make the folder of keys: %w", err)
	}
	if err := v.private(v.dir, fs.ModeDir); err != nil {
		return nil, err
	}
	names, err := disk.List(v.dir)
	if err != nil {
		return nil, fmt.Errorf("look which keys there are: %w", err)
	}
	for _, n := range names {
		if strings.HasSuffix(n, tempSuffix) {
			if err := disk.Remove(path.Join(v.dir, n)); err != nil {
				return nil, fmt.Errorf("remove what a crash left: %w", err)
			}
		}
	}
	return v, nil
}

// private refuses what others can read or have written, where the disk knows who can. want is its type.
func (v *Vault) private(name string, want fs.FileMode) error {
	disk, ok := v.disk.(vfs.Fitter)
	if !ok || bug("key that others can read") {
		return nil
	}
	err := disk.Fit(name, want, vfs.Private)
	var unfit *vfs.UnfitError
	switch {
	case errors.Is(err, errors.ErrUnsupported), errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.As(err, &unfit):
		return fmt.Errorf("%w; if somebody else has seen or changed it, remove the node and have it join anew", err)
	case err != nil:
		return fmt.Errorf("look who can read %s: %w", name, err)
	}
	return nil
}

// read returns the content of a file; ok is false where there is none.
func (v *Vault) read(name string) (b []byte, ok bool, err error) {
	name = path.Join(v.dir, name)
	// Before it is opened: nobody else can exchange it afterwards, because the folder is this user's alone.
	if err := v.private(name, 0); err != nil {
		return nil, false, err
	}
	f, err := v.disk.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", name, err)
	}
	if size > fileMax {
		return nil, false, fmt.Errorf("%s has %d bytes; want %d at most", name, size, fileMax)
	}
	b = make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, false, fmt.Errorf("read %s: %w", name, err)
	}
	return b, true, nil
}

// write gives a file a content, durably.
func (v *Vault) write(name string, b []byte) error {
	if err := v.replace(path.Join(v.dir, name), b); err != nil {
		return fmt.Errorf("write %s: %w", path.Join(v.dir, name), err)
	}
	return nil
}

func (v *Vault) replace(name string, b []byte) error {
	// The bytes are synced before the rename, and the folder after it: a crash leaves the old
	// file or the new one, and whoever was told that it is kept finds it again.
	temp := name + tempSuffix
	if bug("key written in place") {
		temp = name
	}
	f, err := v.disk.Create(temp)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil && temp != name {
		err = v.disk.Rename(temp, name)
	}
	if err != nil {
		_ = v.disk.Remove(temp) // the next start removes it too
		return err
	}
	if bug("key's name not synced") {
		return nil
	}
	return v.disk.SyncDir(v.dir)
}

// Key returns the node's key, which it makes where there is none. rand is where that comes from.
func (v *Vault) Key(rand io.Reader) (*ecdsa.PrivateKey, error) {
	b, ok, err := v.read(keyName)
	if err != nil {
		return nil, err
	}
	if ok {
		key, err := trust.DecodeKey(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w: put it back as it was; if there is no copy, remove the node from the cluster and have it join with an empty data directory", path.Join(v.dir, keyName), err)
		}
		return key, nil
	}
	if _, _, has, err := v.Certificate(); has || err != nil {
		// With another key the node would be a stranger to all others.
		return nil, fmt.Errorf("%s is gone, and the certificate that was made for it is there: put it back; if there is no copy, remove the node from the cluster and have it join with an empty data directory", path.Join(v.dir, keyName))
	}
	key, err := trust.NewKey(rand)
	if err != nil {
		return nil, err
	}
	if b, err = trust.EncodeKey(key); err != nil {
		return nil, err
	}
	return key, v.write(keyName, b)
}

// Certificate returns the node's certificate, and the root that it is under, in DER; ok is false
// where there is none yet.
func (v *Vault) Certificate() (leaf, root []byte, ok bool, err error) {
	b, ok, err := v.read(certName)
	if err != nil || !ok {
		return nil, nil, false, err
	}
	ders, err := trust.DecodeCertificates(b)
	if err == nil && len(ders) != 2 {
		err = fmt.Errorf("it has %d certificates; want the node's and its root", len(ders))
	}
	if err != nil {
		// It can be had again: who has the key gets another one.
		return nil, nil, false, fmt.Errorf("%s: %w: remove it, and the node asks for another one", path.Join(v.dir, certName), err)
	}
	return ders[0], ders[1], true, nil
}

// SetCertificate replaces the node's certificate.
func (v *Vault) SetCertificate(leaf, root []byte) error {
	return v.write(certName, trust.EncodeCertificates(leaf, root))
}

// Former returns certificates that the node had, each followed by its root, in DER.
func (v *Vault) Former() ([][]byte, error) {
	b, ok, err := v.read(formerName)
	if err != nil || !ok || len(b) == 0 {
		return nil, err
	}
	ders, err := trust.DecodeCertificates(b)
	if err == nil && len(ders)%2 != 0 {
		err = fmt.Errorf("it has %d certificates; want two for each", len(ders))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: remove it; clients that know no root but a former one get another certificate then", path.Join(v.dir, formerName), err)
	}
	return ders, nil
}

// SetFormer replaces the certificates that the node had.
func (v *Vault) SetFormer(ders [][]byte) error {
	return v.write(formerName, trust.EncodeCertificates(ders...))
}

// tableLine begins the files of roots and of denied certificates, before the index of a table. A build that does not know it takes it for text between certificates.
const tableLine = "table "

// Roots returns the roots that the node trusted last, in DER, and the index of the table that said so, 0 if
// none did; none where there are none yet.
func (v *Vault) Roots() (ders [][]byte, at uint64, err error) {
	b, ok, err := v.read(RootsName)
	if err != nil || !ok {
		return nil, 0, err
	}
	ders, err = trust.DecodeCertificates(b)
	if err == nil && bytes.HasPrefix(b, []byte(tableLine)) {
		line, _, _ := bytes.Cut(b[len(tableLine):], []byte("\n"))
		at, err = strconv.ParseUint(string(line), 10, 64)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w: copy it from another node, or remove it and wait until the table is read", path.Join(v.dir, RootsName), err)
	}
	return ders, at, nil
}

// SetRoots replaces the roots that are trusted. at is the index of the table that says so; 0: none does.
func (v *Vault) SetRoots(roots [][]byte, at uint64) error {
	return v.write(RootsName, append(fmt.Appendf(nil, "%s%d\n", tableLine, at), trust.EncodeCertificates(roots...)...))
}

// Denied returns the certificates that are denied, as the node heard of them last, and the index of the table that
// said so; 0 where there is no file.
func (v *Vault) Denied() (serials map[trust.Serial]bool, at uint64, err error) {
	b, ok, err := v.read(deniedName)
	if err != nil || !ok {
		return nil, 0, err
	}
	first, rest, _ := strings.Cut(string(b), "\n")
	if at, err = strconv.ParseUint(strings.TrimPrefix(first, tableLine), 10, 64); err != nil || !strings.HasPrefix(first, tableLine) {
		return nil, 0, fmt.Errorf("%s: line 1 does not name a table: %s", path.Join(v.dir, deniedName), deniedRemedy)
	}
	serials = make(map[trust.Serial]bool)
	n := 1
	for line := range strings.Lines(rest) {
		var s trust.Serial
		if n++; !readHex(s[:], strings.TrimSuffix(line, "\n")) {
			return nil, 0, fmt.Errorf("%s: line %d is not a serial: %s", path.Join(v.dir, deniedName), n, deniedRemedy)
		}
		serials[s] = true
	}
	return serials, at, nil
}

// deniedRemedy is what to do about a file of denied certificates that is not as it was.
const deniedRemedy = "put it back as it was; if there is no copy, remove it, and the node writes it again by the table"

// SetDenied replaces the certificates that are denied. at is the index of the table that says so.
func (v *Vault) SetDenied(serials map[trust.Serial]bool, at uint64) error {
	b := fmt.Appendf(nil, "%s%d\n", tableLine, at)
	for _, s := range slices.SortedFunc(maps.Keys(serials), func(a, b trust.Serial) int { return bytes.Compare(a[:], b[:]) }) {
		b = fmt.Appendf(b, "%s\n", s)
	}
	return v.write(deniedName, b)
}

// Pins returns the keys of the members, as they were when the node last heard of them; ok is false
// until certificates alone open its cluster.
func (v *Vault) Pins() (pins map[raft.NodeID]trust.KeyID, ok bool, err error) {
	b, ok, err := v.read(pinsName)
	if err != nil || !ok {
		return nil, false, err
	}
	pins = make(map[raft.NodeID]trust.KeyID)
	for line := range strings.Lines(string(b)) {
		var id [8]byte
		var key trust.KeyID
		node, pin, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !readHex(id[:], node) || !readHex(key[:], pin) {
			return nil, false, fmt.Errorf("%s: line %d is not a node and its key: put it back as it was; if there is no copy, remove it while no stranger reaches this host, and the node writes it again by the table", path.Join(v.dir, pinsName), len(pins)+1)
		}
		pins[raft.NodeID(binary.BigEndian.Uint64(id[:]))] = key
	}
	return pins, true, nil
}

// SetPins notes the keys of the members, and that certificates alone open their cluster.
func (v *Vault) SetPins(pins map[raft.NodeID]trust.KeyID) error {
	var b []byte
	for _, id := range slices.Sorted(maps.Keys(pins)) {
		key := pins[id]
		b = fmt.Appendf(b, "%016x %x\n", uint64(id), key[:])
	}
	return v.write(pinsName, b)
}

// readHex reads exactly as many bytes as b has.
func readHex(b []byte, text string) bool {
	if len(text) != hex.EncodedLen(len(b)) {
		return false
	}
	_, err := hex.Decode(b, []byte(text))
	return err == nil
}

// WrapKeys returns the keys that wrap those of roots.
func (v *Vault) WrapKeys() (map[trust.WrapKeyID]trust.WrapKey, error) {
	names, err := v.disk.List(v.dir)
	if err != nil {
		return nil, fmt.Errorf("look which keys there are: %w", err)
	}
	keys := make(map[trust.WrapKeyID]trust.WrapKey)
	for _, n := range names {
		if !strings.HasPrefix(n, wrapPrefix) || !strings.HasSuffix(n, wrapSuffix) {
			continue
		}
		b, ok, err := v.read(n)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		var key trust.WrapKey
		if !readHex(key[:], strings.TrimSpace(string(b))) || wrapName(key.ID()) != n {
			// Its content must not show.
			return nil, fmt.Errorf("%s is not the key that it is named for: put it back as it was, or remove it: another voter of the meta group hands it over again", path.Join(v.dir, n))
		}
		keys[key.ID()] = key
	}
	return keys, nil
}

// StoreWrapKey keeps a key that wraps those of roots.
func (v *Vault) StoreWrapKey(key trust.WrapKey) error {
	return v.write(wrapName(key.ID()), append(hex.AppendEncode(nil, key[:]), '\n'))
}

// RemoveWrapKey removes the file of such a key.
func (v *Vault) RemoveWrapKey(id trust.WrapKeyID) error {
	name := path.Join(v.dir, wrapName(id))
	err := v.disk.Remove(name)
	if err == nil {
		err = v.disk.SyncDir(v.dir)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

func wrapName(id trust.WrapKeyID) string { return wrapPrefix + id.String() + wrapSuffix }
