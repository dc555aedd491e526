package shardmap

import (
	"muster/shardmap/access"
	"muster/shardmap/pack"
)

// SetTLSMode has the cluster go on to another mode:
//
//	[mode]
//
// It never goes back. TLS alone needs a certificate of each member.
type SetTLSMode struct {
	Mode TLSMode
}

// SetRoot adds a root, or changes the state and the wrapped key of one:
//
//	[[root id, certificate, state, now, wrapped key, id of the wrapping key]]
//
// A root that is there may come without its certificate; without a wrapped key it keeps the one
// that it has, unless it is retired. As a root begins to issue, the one that did so before is
// trusted only. While one issues, a new one is to be trusted first: members must know it before
// they meet a certificate under it.
type SetRoot struct {
	Root Root // its Since is now, in Unix seconds
}

// SetPin says which certificate a member has:
//
//	[node, key, root id, serial, end, token, role]
//
// Token and role are zero: they are for [UseToken].
type SetPin struct {
	Pin Pin
}

// Deny says that a certificate is no longer good:
//
//	[serial, until, why, now]
//
// Where as many are denied as can be, one goes whose certificate has ended by now; if there is
// none, the command is refused.
type Deny struct {
	Denial Denial
	At     int64 // now, in Unix seconds
}

// NewToken makes a token, whose id is the index of the entry:
//
//	[public key, role, uses, expires, by, now]
type NewToken struct {
	Public  [32]byte
	Role    NodeRole
	Uses    uint32 // 1 to TokenUsesMax
	Expires int64  // Unix seconds, later than At
	By      Principal
	At      int64 // now, in Unix seconds; see Stamped
}

// UseToken takes one use of a token for a host that is no member yet, and pins its key:
//
//	[token id, now, [node, key, root id, serial, end, token, role]]
//
// The token's role becomes the pin's. A host whose answer was lost uses the token again with the
// same key, which counts once.
type UseToken struct {
	ID  uint64
	At  int64 // now, in Unix seconds, by which the token may have expired
	Pin Pin   // without Token and Role, which the table gives
}

// RevokeToken says that a token is no longer good, though it has uses left:
//
//	[token id]
type RevokeToken struct {
	ID uint64
}

// UserAction says what becomes of a user. Numbers are for ever.
type UserAction uint8

const (
	UserCreate   UserAction = 1 // there is a user of that name from now on, with a password or without
	UserPassword UserAction = 2 // the password is another one, or there is none any more
	UserDelete   UserAction = 3 // there is none of that name any more
	UserRevoke   UserAction = 4 // certificates in the user's name that were issued before now are no longer good
)

// ChangeUser makes, changes or deletes a user:
//
//	[action, name, [salt, rounds, hash], now]
type ChangeUser struct {
	Action   UserAction
	Name     string
	Password PasswordHash // for UserCreate and UserPassword
	At       int64        // now, in Unix seconds; see Stamped
}

// ChangeUserRoles gives roles to a user and takes roles away:
//
//	[name, [role to give, …], [role to take, …]]
type ChangeUserRoles struct {
	User string
	Give []string
	Take []string
}

// RoleAction says what becomes of a role. Numbers are for ever.
type RoleAction uint8

const (
	RoleCreate RoleAction = 1 // there is a role of that name from now on, with these grants
	RoleDelete RoleAction = 2 // there is none of that name any more
	RoleGrant  RoleAction = 3 // it allows these too
	RoleRevoke RoleAction = 4 // it does not allow these any more
)

// ChangeRole makes, changes or deletes a role:
//
//	[action, name, [[verbs, kind, prefix], …]]
type ChangeRole struct {
	Action RoleAction
	Name   string
	Grants []access.Grant
}

// SetLimit bounds the keys that begin with a prefix; with no bound at all there is none any more:
//
//	[prefix, keys, bytes, rate]
type SetLimit struct {
	Limit Limit
}

// NoteTrail says how far the trail of a member is:
//
//	[[node, lines, hash, when]]
//
// One that was further, or is another one as far as it was, has been changed: that is refused.
type NoteTrail struct {
	Head TrailHead
}

// AppendSetTLSMode appends the bytes of m to b. At this level the error is always nil.
func AppendSetTLSMode(b []byte, m *SetTLSMode) ([]byte, error) {
	b = appendTableHead(b, TableTLSMode, 1)
	return pack.AppendUint(b, uint64(m.Mode)), nil
}

// AppendSetRoot appends the bytes of s to b. At this level the error is always nil.
func AppendSetRoot(b []byte, s *SetRoot) ([]byte, error) {
	b = appendTableHead(b, TableRoot, 1)
	return s.Root.append(b), nil
}

// AppendSetPin appends the bytes of s to b. At this level the error is always nil.
func AppendSetPin(b []byte, s *SetPin) ([]byte, error) {
	b = appendTableHead(b, TablePin, 1)
	return s.Pin.append(b), nil
}

// AppendDeny appends the bytes of d to b. At this level the error is always nil.
func AppendDeny(b []byte, d *Deny) ([]byte, error) {
	b = appendTableHead(b, TableDeny, 2)
	b = d.Denial.append(b)
	return pack.AppendInt(b, d.At), nil
}

// AppendNewToken appends the bytes of n to b. At this level the error is always nil.
func AppendNewToken(b []byte, n *NewToken) ([]byte, error) {
	b = appendTableHead(b, TableToken, 6)
	b = pack.AppendBytes(b, n.Public[:])
	b = pack.AppendUint(b, uint64(n.Role))
	b = pack.AppendUint(b, uint64(n.Uses))
	b = pack.AppendInt(b, n.Expires)
	b = pack.AppendUint(b, uint64(n.By))
	return pack.AppendInt(b, n.At), nil
}

// AppendUseToken appends the bytes of u to b. At this level the error is always nil.
func AppendUseToken(b []byte, u *UseToken) ([]byte, error) {
	b = appendTableHead(b, TableTokenUse, 3)
	b = pack.AppendUint(b, u.ID)
	b = pack.AppendInt(b, u.At)
	return u.Pin.append(b), nil
}

// AppendRevokeToken appends the bytes of v to b. At this level the error is always nil.
func AppendRevokeToken(b []byte, v *RevokeToken) ([]byte, error) {
	b = appendTableHead(b, TableTokenRevoke, 1)
	return pack.AppendUint(b, v.ID), nil
}

// AppendChangeUser appends the bytes of u to b. At this level the error is always nil.
func AppendChangeUser(b []byte, u *ChangeUser) ([]byte, error) {
	b = appendTableHead(b, TableUser, 4)
	b = pack.AppendUint(b, uint64(u.Action))
	b = pack.AppendString(b, u.Name)
	b = u.Password.append(b)
	return pack.AppendInt(b, u.At), nil
}

// AppendChangeUserRoles appends the bytes of u to b. At this level the error is always nil.
func AppendChangeUserRoles(b []byte, u *ChangeUserRoles) ([]byte, error) {
	b = appendTableHead(b, TableUserRoles, 3)
	b = pack.AppendString(b, u.User)
	b = appendTexts(b, u.Give)
	return appendTexts(b, u.Take), nil
}

// AppendChangeRole appends the bytes of c to b. At this level the error is always nil.
func AppendChangeRole(b []byte, c *ChangeRole) ([]byte, error) {
	b = appendTableHead(b, TableRole, 3)
	b = pack.AppendUint(b, uint64(c.Action))
	b = pack.AppendString(b, c.Name)
	return appendGrants(b, c.Grants), nil
}

// AppendSetLimit appends the bytes of s to b. At this level the error is always nil.
func AppendSetLimit(b []byte, s *SetLimit) ([]byte, error) {
	b = appendTableHead(b, TableLimit, 1)
	return s.Limit.append(b), nil
}

// AppendNoteTrail appends the bytes of n to b. At this level the error is always nil.
func AppendNoteTrail(b []byte, n *NoteTrail) ([]byte, error) {
	b = appendTableHead(b, TableTrailHead, 1)
	return n.Head.append(b), nil
}
