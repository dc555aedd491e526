package shardmap

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"muster/raft"
	"muster/shardmap/access"
)

// Limits of what the table knows about security. Each node holds it, and checks connections and
// requests by it.
const (
	RootsMax = 4 // enough to retire two roots while a third takes over from a second
	// RootBytesMax bounds a root's certificate, RootWrappedMax its wrapped key, in bytes. Those
	// that muster makes take some 450 and 200.
	RootBytesMax   = 4096
	RootWrappedMax = 512
	// PinsMax bounds the pins: one for each node that may be on the list, and as many for hosts
	// that have a certificate and did not join yet.
	PinsMax      = 2 * TableNodesMax
	DeniedMax    = 4096
	TokensMax    = 256
	TokenUsesMax = 1000 // uses of one token
	// TokenLifeMax is how long a token is good at most, in seconds: one that is forgotten should
	// not open the door in a year.
	TokenLifeMax  = 30 * secondsPerDay
	UsersMax      = 1000
	UserRolesMax  = 64 // roles of one user
	RolesMax      = 256
	GrantsMax     = 64 // grants of one role
	RoundsMax     = 100_000_000
	NamespacesMax = 64

	secondsPerDay = 24 * 60 * 60
)

// TLSMode says how the members of a cluster speak with each other and with clients. Numbers are
// for ever. It is never left for a lower one.
type TLSMode uint8

const (
	// SecurityOff: plain text, with a secret or without one. Left by an order, for SecurityBoth.
	SecurityOff TLSMode = 0
	// SecurityBoth: members dial with TLS and take both, until each of them has a certificate.
	// Left for SecurityOnly.
	SecurityBoth TLSMode = 1
	// SecurityOnly: nothing but TLS, and certificates alone prove who somebody is. Never left.
	SecurityOnly TLSMode = 2
)

var tlsModeNames = [...]string{SecurityOff: "off", SecurityBoth: "both", SecurityOnly: "only"}

// Known reports whether this level has such a mode.
func (m TLSMode) Known() bool { return int(m) < len(tlsModeNames) }

func (m TLSMode) String() string {
	if !m.Known() {
		return fmt.Sprintf("mode %d", uint8(m))
	}
	return tlsModeNames[m]
}

// RootState says what a root of the cluster is for. Numbers are for ever.
type RootState uint8

const (
	// RootTrusted: certificates under it are good, and no new ones are made. Left for
	// RootIssuing or RootRetired.
	RootTrusted RootState = 1
	// RootIssuing: new certificates are made under it. Left for RootTrusted, as another one issues.
	RootIssuing RootState = 2
	// RootRetired: nothing under it is good. Never left.
	RootRetired RootState = 3
)

var rootStateNames = [...]string{RootTrusted: "trusted", RootIssuing: "issuing", RootRetired: "retired"}

// Known reports whether this level has such a state.
func (s RootState) Known() bool { return s != 0 && int(s) < len(rootStateNames) }

func (s RootState) String() string {
	if !s.Known() {
		return fmt.Sprintf("state %d", uint8(s))
	}
	return rootStateNames[s]
}

type (
	// RootID is the SHA-256 of a root's certificate.
	RootID [32]byte
	// KeyID is the SHA-256 of a public key, as a certificate has it.
	KeyID [32]byte
	// Serial is the number of a certificate.
	Serial [16]byte
	// WrapKeyID names a key that wraps keys of roots. Only some nodes have it.
	WrapKeyID [16]byte
)

func (id RootID) String() string    { return fmt.Sprintf("%x", id[:8]) }
func (id KeyID) String() string     { return fmt.Sprintf("%x", id[:8]) }
func (s Serial) String() string     { return fmt.Sprintf("%x", s[:]) }
func (id WrapKeyID) String() string { return fmt.Sprintf("%x", id[:8]) }

// Root is a certificate of the cluster's own authority, under which it makes those of nodes and
// users.
type Root struct {
	ID    RootID
	DER   []byte // the certificate; at most RootBytesMax bytes
	State RootState
	// Since is when it came to be in its state, in Unix seconds, by the clock of the leader of then.
	Since int64
	// Wrapped is its key, wrapped with the key WrapKey, which the table never has. A root that
	// is retired has none.
	Wrapped []byte // at most RootWrappedMax bytes
	WrapKey WrapKeyID
}

// Pin is the key and the certificate that a node has. Nobody else can speak in its name, though
// he had a certificate that says so.
type Pin struct {
	Node     raft.NodeID
	Key      KeyID
	Root     RootID // that the certificate is under
	Serial   Serial
	NotAfter int64 // end of the certificate, in Unix seconds
	// Token is the token that the host came by, and Role what that lets it be; both are 0 if it came
	// otherwise, or once it has renewed its certificate.
	Token uint64
	Role  NodeRole
}

// Denial is a certificate that is no longer good though it has not ended.
type Denial struct {
	Serial Serial
	Until  int64  // its end, in Unix seconds; from then on nobody needs to be told
	Why    string // for people to read; at most TableTextMax bytes
}

// Token lets hosts become members: who has the secret key of its public one may.
type Token struct {
	ID      uint64 // index of the entry that made it
	Public  [32]byte
	Role    NodeRole // of the nodes that come by it
	Uses    uint32   // that are left
	Expires int64    // Unix seconds
	Revoked bool
	By      Principal // who made it
}

// PasswordHash is what is kept of a password: PBKDF2 with SHA-256 in so many rounds. Rounds 0: there
// is none.
type PasswordHash struct {
	Salt   [16]byte
	Rounds uint32 // at most RoundsMax
	Hash   [32]byte
}

// None reports whether there is no password.
func (p *PasswordHash) None() bool { return p.Rounds == 0 }

// User is somebody whom the cluster knows by name.
type User struct {
	ID       Principal // index of the entry that made it; never another one's
	Name     string    // as access.CheckName wants it
	Password PasswordHash
	Roles    []string // their names, in order; at most UserRolesMax
	// CertsAfter is when certificates in its name are good from, in Unix seconds: those that
	// were issued before are not.
	CertsAfter int64
}

// Role is a name for grants, of which users have all. Names are as access.CheckName wants them; grants
// are at most [GrantsMax], by object, each object once.
type Role = access.Role

// byObject orders grants of a role.
func byObject(a, b access.Grant) int {
	return cmp.Or(cmp.Compare(a.Object.Kind, b.Object.Kind), cmp.Compare(a.Object.Prefix, b.Object.Prefix))
}

// Limit bounds the keys that begin with a prefix. 0 is no bound.
type Limit struct {
	Prefix string // 1 to [KeyMax] bytes
	Keys   uint64
	Bytes  uint64
	Rate   uint32 // writes per second
}

// none reports whether it bounds nothing.
func (l *Limit) none() bool { return l.Keys == 0 && l.Bytes == 0 && l.Rate == 0 }

// TrailHead is how far the trail of a node was, which is a chain of hashes: a copy that has
// another hash there is not what was written.
type TrailHead struct {
	Node  raft.NodeID
	Lines uint64 // that there ever were
	Hash  [32]byte
	At    int64 // when, in Unix seconds, by the node's clock
}

// Security is what the table knows about who may connect and do what. Lists that an entry does not
// change are those of the table before it.
type Security struct {
	Mode TLSMode
	// Cluster is the id that certificates name; 0: that of the table. It is another one where
	// a majority was lost for good, and the cluster goes on with a new id.
	Cluster uint64
	Roots   []Root   // in the order in which they came; at most RootsMax, one of them issuing at most
	Pins    []Pin    // by node; at most PinsMax
	Denied  []Denial // by serial; at most DeniedMax
	Tokens  []Token  // by id; at most TokensMax
	Users   []User   // by id; at most UsersMax
	Roles   []Role   // by name; at most RolesMax
	// Rules is the index of the entry that last changed a user or a role.
	Rules  uint64
	Limits []Limit     // by prefix; at most NamespacesMax
	Trails []TrailHead // by node; of members only
}

// Issuing returns the root that certificates are made under.
func (s *Security) Issuing() (Root, bool) {
	i := slices.IndexFunc(s.Roots, func(r Root) bool { return r.State == RootIssuing })
	if i < 0 {
		return Root{}, false
	}
	return s.Roots[i], true
}

// Root returns a root, in any state.
func (s *Security) Root(id RootID) (Root, bool) {
	i := s.root(id)
	if i < 0 {
		return Root{}, false
	}
	return s.Roots[i], true
}

func (s *Security) root(id RootID) int {
	return slices.IndexFunc(s.Roots, func(r Root) bool { return r.ID == id })
}

// Pin returns the pin of a node.
func (s *Security) Pin(n raft.NodeID) (Pin, bool) {
	i, ok := s.pin(n)
	if !ok {
		return Pin{}, false
	}
	return s.Pins[i], true
}

func (s *Security) pin(n raft.NodeID) (int, bool) {
	return slices.BinarySearchFunc(s.Pins, n, func(p Pin, n raft.NodeID) int { return cmp.Compare(p.Node, n) })
}

// IsDenied reports whether a certificate is no longer good.
func (s *Security) IsDenied(serial Serial) bool {
	_, ok := s.denial(serial)
	return ok
}

func (s *Security) denial(serial Serial) (int, bool) {
	return slices.BinarySearchFunc(s.Denied, serial, func(d Denial, serial Serial) int { return bytes.Compare(d.Serial[:], serial[:]) })
}

// Token returns a token, also one that is over.
func (s *Security) Token(id uint64) (Token, bool) {
	i, ok := s.token(id)
	if !ok {
		return Token{}, false
	}
	return s.Tokens[i], true
}

func (s *Security) token(id uint64) (int, bool) {
	return slices.BinarySearchFunc(s.Tokens, id, func(t Token, id uint64) int { return cmp.Compare(t.ID, id) })
}

// User returns the user of an id.
func (s *Security) User(id Principal) (User, bool) {
	i, ok := slices.BinarySearchFunc(s.Users, id, func(u User, id Principal) int { return cmp.Compare(u.ID, id) })
	if !ok {
		return User{}, false
	}
	return s.Users[i], true
}

// UserNamed returns the user who has the name now.
func (s *Security) UserNamed(name string) (User, bool) {
	i := s.userNamed(name)
	if i < 0 {
		return User{}, false
	}
	return s.Users[i], true
}

func (s *Security) userNamed(name string) int {
	return slices.IndexFunc(s.Users, func(u User) bool { return u.Name == name })
}

// Role returns the role of a name.
func (s *Security) Role(name string) (Role, bool) {
	i, ok := s.role(name)
	if !ok {
		return Role{}, false
	}
	return s.Roles[i], true
}

func (s *Security) role(name string) (int, bool) {
	return slices.BinarySearchFunc(s.Roles, name, func(r Role, name string) int { return cmp.Compare(r.Name, name) })
}

// Limit returns the limit of a prefix.
func (s *Security) Limit(prefix string) (Limit, bool) {
	i, ok := s.limit(prefix)
	if !ok {
		return Limit{}, false
	}
	return s.Limits[i], true
}

func (s *Security) limit(prefix string) (int, bool) {
	return slices.BinarySearchFunc(s.Limits, prefix, func(l Limit, prefix string) int { return cmp.Compare(l.Prefix, prefix) })
}

// Trail returns how far the trail of a node was.
func (s *Security) Trail(n raft.NodeID) (TrailHead, bool) {
	i, ok := s.trail(n)
	if !ok {
		return TrailHead{}, false
	}
	return s.Trails[i], true
}

func (s *Security) trail(n raft.NodeID) (int, bool) {
	return slices.BinarySearchFunc(s.Trails, n, func(h TrailHead, n raft.NodeID) int { return cmp.Compare(h.Node, n) })
}

// ClusterOf returns the id that certificates of a table's cluster name.
func (s *Security) ClusterOf(t *Table) uint64 { return cmp.Or(s.Cluster, t.ClusterID) }

// Shown returns what anybody may see who may see the table: without what passwords could be
// guessed by, and without wrapped keys. That a user has a password still shows.
func (s *Security) Shown() Security {
	shown := *s
	shown.Roots = slices.Clone(s.Roots)
	for i := range shown.Roots {
		shown.Roots[i].Wrapped = nil
	}
	shown.Users = slices.Clone(s.Users)
	for i := range shown.Users {
		p := &shown.Users[i].Password
		p.Salt, p.Hash = [16]byte{}, [32]byte{}
	}
	return shown
}

// Bare returns s without users and what they may do, tokens and limits: who has no part in running the
// cluster learns from those what it is used for.
func (s *Security) Bare() Security {
	bare := *s
	bare.Users, bare.Roles, bare.Tokens, bare.Limits = nil, nil, nil, nil
	return bare
}
