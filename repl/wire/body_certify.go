package wire

import (
	"fmt"

	"muster/raft"
)

// Limits of the bodies about certificates, in bytes unless they say otherwise. A request
// with a key of 256 bits takes some 250, a certificate some 500.
const (
	RequestMax     = 1024
	CertificateMax = 2048
	SignatureSize  = 64 // of a token
	// RootsMax bounds the roots that a cluster tells of.
	RootsMax = 16
	// WrapKeySize is the size of a key that wraps those of roots.
	WrapKeySize = 32
	rootMin     = 3 // bytes of a root that has one
	// UserNameMax bounds the name of a user.
	UserNameMax = 64
)

// SerialNumber is the serial number of a certificate.
type SerialNumber [16]byte

// RootHash is the SHA-256 of a root's certificate.
type RootHash [32]byte

// WrapKeyName names a key that wraps those of roots.
type WrapKeyName [16]byte

// Enrol asks the leader of the meta group for the first certificate of a host that joins by
// a token:
//
//	[node, token, request, signature]
type Enrol struct {
	Node  raft.NodeID // of the host
	Token uint64      // its id
	// Request is a certificate request (PKCS #10) of the host's own key.
	Request []byte
	// Signature is of the token's key, over the TLS exporter of this connection followed by
	// Request: who only hears of a token's use can't use it over another connection.
	Signature []byte
}

func (m *Enrol) fields(f *fields) {
	f.exactly(4, func() {
		number(f, "node", &m.Node)
		number(f, "token", &m.Token)
		sealed(f, "request", &m.Request)
		sealed(f, "signature", &m.Signature)
	})
}

// Append appends the body.
func (m *Enrol) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Enrol) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	switch {
	case m.Node == 0:
		return fmt.Errorf("field node: 0; want the id of the host")
	case len(m.Signature) != SignatureSize:
		return fmt.Errorf("field signature: %d bytes; want %d", len(m.Signature), SignatureSize)
	}
	return checkRequest(m.Request)
}

func checkRequest(r []byte) error {
	if len(r) == 0 || len(r) > RequestMax {
		return fmt.Errorf("field request: %d bytes; want 1 to %d", len(r), RequestMax)
	}
	return nil
}

// EnrolAnswer answers an [Enrol]: [certificate, [root, …]].
type EnrolAnswer struct {
	Certificate []byte   // DER
	Roots       [][]byte // DER, of all roots that the cluster trusts; RootsMax at most
}

func (m *EnrolAnswer) fields(f *fields) {
	f.atLeast(2, func() {
		f.bin("certificate", &m.Certificate)
		list(f, "roots", &m.Roots, rootMin, func(f *fields, r *[]byte) { f.bin("root", r) })
	})
}

// Append appends the body.
func (m *EnrolAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *EnrolAnswer) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	return checkCertified(m.Certificate, m.Roots)
}

func checkCertified(certificate []byte, roots [][]byte) error {
	switch {
	case len(certificate) == 0 || len(certificate) > CertificateMax:
		return fmt.Errorf("field certificate: %d bytes; want 1 to %d", len(certificate), CertificateMax)
	case len(roots) == 0:
		return fmt.Errorf("field roots: none; want 1 to %d", RootsMax)
	}
	return checkRoots(roots)
}

func checkRoots(roots [][]byte) error {
	if len(roots) > RootsMax {
		return fmt.Errorf("field roots: %d of them; want %d at most", len(roots), RootsMax)
	}
	for i, r := range roots {
		if len(r) == 0 || len(r) > CertificateMax {
			return fmt.Errorf("field roots[%d]: %d bytes; want 1 to %d", i, len(r), CertificateMax)
		}
	}
	return nil
}

// Renew asks the leader of the meta group for a certificate: of a member for itself, of a
// user for itself, and of those who may administer for any user:
//
//	[user, request]
type Renew struct {
	User    string // empty: the sender's own, which it has proven to be
	Request []byte // a certificate request (PKCS #10)
}

func (m *Renew) fields(f *fields) {
	f.exactly(2, func() {
		f.text("user", &m.User)
		sealed(f, "request", &m.Request)
	})
}

// Append appends the body.
func (m *Renew) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Renew) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if len(m.User) > UserNameMax {
		return fmt.Errorf("field user: %d bytes; want %d at most", len(m.User), UserNameMax)
	}
	return checkRequest(m.Request)
}

// RenewAnswer answers a [Renew]: [certificate, [root, …]].
type RenewAnswer struct {
	Certificate []byte   // DER
	Roots       [][]byte // DER, of all roots that the cluster trusts; RootsMax at most
}

func (m *RenewAnswer) fields(f *fields) {
	f.atLeast(2, func() {
		f.bin("certificate", &m.Certificate)
		list(f, "roots", &m.Roots, rootMin, func(f *fields, r *[]byte) { f.bin("root", r) })
	})
}

// Append appends the body.
func (m *RenewAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *RenewAnswer) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	return checkCertified(m.Certificate, m.Roots)
}

// Keep gives a voter of the meta group a key that wraps those of roots, or asks one for it:
//
//	[id, key]
type Keep struct {
	ID  WrapKeyName
	Key []byte // to be kept; empty: the sender asks for it
}

func (m *Keep) fields(f *fields) {
	f.exactly(2, func() {
		fixed(f, "id", m.ID[:])
		sealed(f, "key", &m.Key)
	})
}

// Append appends the body.
func (m *Keep) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Keep) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	return checkWrapKey(m.Key)
}

func checkWrapKey(key []byte) error {
	if len(key) != 0 && len(key) != WrapKeySize {
		return fmt.Errorf("field key: %d bytes; want none or %d", len(key), WrapKeySize)
	}
	return nil
}

// KeepAnswer answers a [Keep]: [holds, key].
type KeepAnswer struct {
	Holds bool   // the sender has the key in a file
	Key   []byte // if it was asked for, and the sender has it
}

func (m *KeepAnswer) fields(f *fields) {
	f.atLeast(2, func() {
		f.flag("holds", &m.Holds)
		sealed(f, "key", &m.Key)
	})
}

// Append appends the body.
func (m *KeepAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *KeepAnswer) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	return checkWrapKey(m.Key)
}

// Holds tells the leader of the meta group what a member has of its own:
//
//	[serial, index]
//
// A cluster goes over to TLS only once all its members have said that they hold a certificate,
// and a new root issues once all trust it.
type Holds struct {
	Serial SerialNumber // of the certificate that the member has in its file
	Index  uint64       // of the table by which it trusts others
}

func (m *Holds) fields(f *fields) {
	f.exactly(2, func() {
		fixed(f, "serial", m.Serial[:])
		number(f, "index", &m.Index)
	})
}

// Append appends the body.
func (m *Holds) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Holds) Read(body []byte) error { return readFields(body, m) }

// HoldsAnswer answers a [Holds]: [index].
type HoldsAnswer struct {
	Index uint64 // of the leader's table
}

func (m *HoldsAnswer) fields(f *fields) {
	f.atLeast(1, func() { number(f, "index", &m.Index) })
}

// Append appends the body.
func (m *HoldsAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *HoldsAnswer) Read(body []byte) error { return readFields(body, m) }

// AuthorityAction is what is to become of the roots of a cluster.
type AuthorityAction uint8

const (
	// AuthorityCreate: a cluster without TLS gets its first root, and goes over to TLS.
	AuthorityCreate AuthorityAction = 1
	// AuthorityRotate: a new root takes the place of the one that issues.
	AuthorityRotate AuthorityAction = 2
	// AuthorityRetire: a root that another has taken the place of is trusted no longer.
	AuthorityRetire    AuthorityAction = 3
	authorityActionEnd AuthorityAction = 4
)

func (a AuthorityAction) String() string {
	names := [authorityActionEnd]string{"action 0", "create", "rotate", "retire"}
	if a >= authorityActionEnd {
		return fmt.Sprintf("action %d", uint8(a))
	}
	return names[a]
}

// Authority orders something of the leader of the meta group that is about its roots:
//
//	[action, root]
type Authority struct {
	Action AuthorityAction
	Root   RootHash // that is to be retired; else zero
}

func (m *Authority) fields(f *fields) {
	f.exactly(2, func() {
		number(f, "action", &m.Action)
		fixed(f, "root", m.Root[:])
	})
}

// Append appends the body.
func (m *Authority) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Authority) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if m.Action == 0 || m.Action >= authorityActionEnd {
		return fmt.Errorf("field action: %d; want 1 (create), 2 (rotate) or 3 (retire)", m.Action)
	}
	if (m.Action == AuthorityRetire) != (m.Root != RootHash{}) {
		return fmt.Errorf("field root: %x with action %s; want one with retire, and zero with all others", m.Root[:4], m.Action)
	}
	return nil
}

// AuthorityAnswer answers an [Authority]: [root].
type AuthorityAnswer struct {
	Root RootHash // that was made, or retired
}

func (m *AuthorityAnswer) fields(f *fields) {
	f.atLeast(1, func() { fixed(f, "root", m.Root[:]) })
}

// Append appends the body.
func (m *AuthorityAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *AuthorityAnswer) Read(body []byte) error { return readFields(body, m) }

// Reset asks the leader of the meta group to make a user an administrator again, and for a certificate of
// that user:
//
//	[user, request, wrapping key, proof]
//
// The owner of the sender's directory asks for it. It is as strong as the key that wraps the issuing root's,
// so the sender proves that it holds that key.
type Reset struct {
	User    string
	Request []byte      // a certificate request (PKCS #10)
	WrapKey WrapKeyName // of the issuing root
	// Proof is the HMAC of the TLS exporter of this connection, User and Request, by a key that follows from the
	// wrapping key: whoever sees it can't use it over another connection.
	Proof []byte
}

// ResetProofSize is the size of the proof in a [Reset], in bytes.
const ResetProofSize = 32

func (m *Reset) fields(f *fields) {
	f.exactly(4, func() {
		f.text("user", &m.User)
		sealed(f, "request", &m.Request)
		fixed(f, "wrap_key", m.WrapKey[:])
		sealed(f, "proof", &m.Proof)
	})
}

// Append appends the body.
func (m *Reset) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Reset) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	switch {
	case m.User == "" || len(m.User) > UserNameMax:
		return fmt.Errorf("field user: %d bytes; want 1 to %d", len(m.User), UserNameMax)
	case len(m.Proof) != ResetProofSize:
		return fmt.Errorf("field proof: %d bytes; want %d", len(m.Proof), ResetProofSize)
	}
	return checkRequest(m.Request)
}

// ResetAnswer answers a [Reset]: [role, certificate, [root, …]].
type ResetAnswer struct {
	Role        string   // which the user has, and which allows everything
	Certificate []byte   // DER
	Roots       [][]byte // DER, of all roots that the cluster trusts; RootsMax at most
}

func (m *ResetAnswer) fields(f *fields) {
	f.atLeast(3, func() {
		f.text("role", &m.Role)
		f.bin("certificate", &m.Certificate)
		list(f, "roots", &m.Roots, rootMin, func(f *fields, r *[]byte) { f.bin("root", r) })
	})
}

// Append appends the body.
func (m *ResetAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *ResetAnswer) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	return checkCertified(m.Certificate, m.Roots)
}
