package shardmap

import (
	"fmt"

	"muster/raft"
	"muster/shardmap/access"
	"muster/shardmap/pack"
)

// How many fields each row of Security has, in tables and in commands alike.
const (
	rootFields   = 6
	pinFields    = 7
	denialFields = 3
	tokenFields  = 7
	userFields   = 5
	passFields   = 3
	roleFields   = 2
	grantFields  = 3
	limitFields  = 4
	trailFields  = 4

	securityFields = 11
)

// The least that each row takes, in bytes.
const (
	rootBytesMin   = 1 + 2 + 32 + 2 + 1 + 1 + 2 + 2 + 16
	pinBytesMin    = 1 + 1 + 2 + 32 + 2 + 32 + 2 + 16 + 3
	denialBytesMin = 1 + 2 + 16 + 2
	tokenBytesMin  = 1 + 1 + 2 + 32 + 5
	userBytesMin   = userFields + passFields + 1 + 16 + 32
	roleBytesMin   = 1 + roleFields
	grantBytesMin  = 1 + grantFields
	limitBytesMin  = 1 + limitFields
	trailBytesMin  = 1 + 2 + 2 + 32 + 1
)

func (r *Root) append(b []byte) []byte {
	b = pack.AppendArray(b, rootFields)
	b = pack.AppendBytes(b, r.ID[:])
	b = pack.AppendBytes(b, r.DER)
	b = pack.AppendUint(b, uint64(r.State))
	b = pack.AppendInt(b, r.Since)
	b = pack.AppendBytes(b, r.Wrapped)
	return pack.AppendBytes(b, r.WrapKey[:])
}

func (p *Pin) append(b []byte) []byte {
	b = pack.AppendArray(b, pinFields)
	b = pack.AppendUint(b, uint64(p.Node))
	b = pack.AppendBytes(b, p.Key[:])
	b = pack.AppendBytes(b, p.Root[:])
	b = pack.AppendBytes(b, p.Serial[:])
	b = pack.AppendInt(b, p.NotAfter)
	b = pack.AppendUint(b, p.Token)
	return pack.AppendUint(b, uint64(p.Role))
}

func (d *Denial) append(b []byte) []byte {
	b = pack.AppendArray(b, denialFields)
	b = pack.AppendBytes(b, d.Serial[:])
	b = pack.AppendInt(b, d.Until)
	return pack.AppendString(b, d.Why)
}

func (t *Token) append(b []byte) []byte {
	b = pack.AppendArray(b, tokenFields)
	b = pack.AppendUint(b, t.ID)
	b = pack.AppendBytes(b, t.Public[:])
	b = pack.AppendUint(b, uint64(t.Role))
	b = pack.AppendUint(b, uint64(t.Uses))
	b = pack.AppendInt(b, t.Expires)
	b = pack.AppendBool(b, t.Revoked)
	return pack.AppendUint(b, uint64(t.By))
}

func (p *PasswordHash) append(b []byte) []byte {
	b = pack.AppendArray(b, passFields)
	b = pack.AppendBytes(b, p.Salt[:])
	b = pack.AppendUint(b, uint64(p.Rounds))
	return pack.AppendBytes(b, p.Hash[:])
}

func (u *User) append(b []byte) []byte {
	b = pack.AppendArray(b, userFields)
	b = pack.AppendUint(b, uint64(u.ID))
	b = pack.AppendString(b, u.Name)
	b = u.Password.append(b)
	b = appendTexts(b, u.Roles)
	return pack.AppendInt(b, u.CertsAfter)
}

func appendTexts(b []byte, texts []string) []byte {
	b = pack.AppendArray(b, len(texts))
	for _, s := range texts {
		b = pack.AppendString(b, s)
	}
	return b
}

func appendGrants(b []byte, grants []access.Grant) []byte {
	b = pack.AppendArray(b, len(grants))
	for _, g := range grants {
		b = pack.AppendArray(b, grantFields)
		b = pack.AppendUint(b, uint64(g.Verbs))
		b = pack.AppendUint(b, uint64(g.Object.Kind))
		b = pack.AppendString(b, g.Object.Prefix)
	}
	return b
}

func appendRole(b []byte, r *Role) []byte {
	b = pack.AppendArray(b, roleFields)
	b = pack.AppendString(b, r.Name)
	return appendGrants(b, r.Grants)
}

func (l *Limit) append(b []byte) []byte {
	b = pack.AppendArray(b, limitFields)
	b = pack.AppendString(b, l.Prefix)
	b = pack.AppendUint(b, l.Keys)
	b = pack.AppendUint(b, l.Bytes)
	return pack.AppendUint(b, uint64(l.Rate))
}

func (h *TrailHead) append(b []byte) []byte {
	b = pack.AppendArray(b, trailFields)
	b = pack.AppendUint(b, uint64(h.Node))
	b = pack.AppendUint(b, h.Lines)
	b = pack.AppendBytes(b, h.Hash[:])
	return pack.AppendInt(b, h.At)
}

// readFixed reads as many bytes as to has.
func readFixed(r *tableReader, to []byte) {
	b := r.Bytes()
	if r.Err() == nil && len(b) != len(to) {
		r.Fail(fmt.Sprintf("%d bytes, want %d", len(b), len(to)))
	}
	copy(to, b)
}

// readBlob reads bytes, which are the reader's own; nil if there are none.
func readBlob(r *tableReader) []byte {
	return append([]byte(nil), r.Bytes()...)
}

func readRoot(r *tableReader) (n Root) {
	r.fields("root", rootFields)
	readFixed(r, n.ID[:])
	n.DER, n.State, n.Since, n.Wrapped = readBlob(r), RootState(r.UintMax(255)), r.Int(), readBlob(r)
	readFixed(r, n.WrapKey[:])
	return n
}

func readPin(r *tableReader) (p Pin) {
	r.fields("pin", pinFields)
	p.Node = raft.NodeID(r.Uint())
	readFixed(r, p.Key[:])
	readFixed(r, p.Root[:])
	readFixed(r, p.Serial[:])
	p.NotAfter, p.Token, p.Role = r.Int(), r.Uint(), NodeRole(r.UintMax(255))
	return p
}

func readDenial(r *tableReader) (d Denial) {
	r.fields("denial", denialFields)
	readFixed(r, d.Serial[:])
	d.Until, d.Why = r.Int(), r.String()
	return d
}

func readToken(r *tableReader) (t Token) {
	r.fields("token", tokenFields)
	t.ID = r.Uint()
	readFixed(r, t.Public[:])
	t.Role, t.Uses = NodeRole(r.UintMax(255)), uint32(r.UintMax(1<<32-1))
	t.Expires, t.Revoked, t.By = r.Int(), r.Bool(), Principal(r.Uint())
	return t
}

func readPassword(r *tableReader) (p PasswordHash) {
	r.fields("password", passFields)
	readFixed(r, p.Salt[:])
	p.Rounds = uint32(r.UintMax(1<<32 - 1))
	readFixed(r, p.Hash[:])
	return p
}

func readUser(r *tableReader) (u User) {
	r.fields("user", userFields)
	u.ID, u.Name, u.Password = Principal(r.Uint()), r.String(), readPassword(r)
	u.Roles, u.CertsAfter = readTexts(r), r.Int()
	return u
}

func readTexts(r *tableReader) []string { return list(r, 1, r.String) }

func readGrants(r *tableReader) []access.Grant {
	return list(r, grantBytesMin, func() (g access.Grant) {
		r.fields("grant", grantFields)
		g.Verbs, g.Object.Kind, g.Object.Prefix = access.Verbs(r.UintMax(255)), access.Kind(r.UintMax(255)), r.String()
		return g
	})
}

func readRole(r *tableReader) (o Role) {
	r.fields("role", roleFields)
	o.Name, o.Grants = r.String(), readGrants(r)
	return o
}

func readLimit(r *tableReader) (l Limit) {
	r.fields("limit", limitFields)
	l.Prefix, l.Keys, l.Bytes, l.Rate = r.String(), r.Uint(), r.Uint(), uint32(r.UintMax(1<<32-1))
	return l
}

func readTrail(r *tableReader) (h TrailHead) {
	r.fields("trail", trailFields)
	h.Node, h.Lines = raft.NodeID(r.Uint()), r.Uint()
	readFixed(r, h.Hash[:])
	h.At = r.Int()
	return h
}

func (s *Security) append(b []byte) []byte {
	b = pack.AppendArray(b, securityFields)
	b = pack.AppendUint(b, uint64(s.Mode))
	b = pack.AppendUint(b, s.Cluster)
	b = appendRows(b, s.Roots, (*Root).append)
	b = appendRows(b, s.Pins, (*Pin).append)
	b = appendRows(b, s.Denied, (*Denial).append)
	b = appendRows(b, s.Tokens, (*Token).append)
	b = appendRows(b, s.Users, (*User).append)
	b = appendRows(b, s.Roles, func(r *Role, b []byte) []byte { return appendRole(b, r) })
	b = pack.AppendUint(b, s.Rules)
	b = appendRows(b, s.Limits, (*Limit).append)
	return appendRows(b, s.Trails, (*TrailHead).append)
}

func appendRows[E any](b []byte, rows []E, add func(*E, []byte) []byte) []byte {
	b = pack.AppendArray(b, len(rows))
	for i := range rows {
		b = add(&rows[i], b)
	}
	return b
}

func readSecurity(r *tableReader) (s Security) {
	r.fields("security", securityFields)
	s.Mode, s.Cluster = TLSMode(r.UintMax(255)), r.Uint()
	s.Roots = readRows(r, rootBytesMin, readRoot)
	s.Pins = readRows(r, pinBytesMin, readPin)
	s.Denied = readRows(r, denialBytesMin, readDenial)
	s.Tokens = readRows(r, tokenBytesMin, readToken)
	s.Users = readRows(r, userBytesMin, readUser)
	s.Roles = readRows(r, roleBytesMin, readRole)
	s.Rules = r.Uint()
	s.Limits = readRows(r, limitBytesMin, readLimit)
	s.Trails = readRows(r, trailBytesMin, readTrail)
	return s
}

func readRows[E any](r *tableReader, bytes int, read func(*tableReader) E) []E {
	return list(r, bytes, func() E { return read(r) })
}
