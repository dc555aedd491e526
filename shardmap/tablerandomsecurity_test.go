package shardmap

import (
	"crypto/sha256"
	"fmt"

	"muster/raft"
	"muster/shardmap/access"
)

// drawn returns one of a few.
func drawn[E any](r randomCommands, of ...E) E { return of[r.IntN(len(of))] }

// security draws a command of a kind about security.
func (r randomCommands) security(t *Table, k TableCommandKind) (b []byte) {
	s := &t.Security
	switch k {
	case TableTLSMode:
		b, _ = AppendSetTLSMode(nil, &SetTLSMode{TLSMode(r.IntN(4))})
	case TableRoot:
		b, _ = AppendSetRoot(nil, &SetRoot{r.root(s)})
	case TablePin:
		b, _ = AppendSetPin(nil, &SetPin{r.pin(t, r.node(t))})
	case TableDeny:
		b, _ = AppendDeny(nil, &Deny{Denial{r.serial(), int64(r.IntN(20)), drawn(r, "", "why")}, int64(r.IntN(20))})
	case TableToken:
		n := &NewToken{Role: drawn(r, NodeServer, NodeServer, NodeClient, 3), Uses: drawn[uint32](r, 0, 1, 1, 2, 3, 1001), By: Principal(r.IntN(3)), At: int64(r.IntN(20))}
		n.Public[3] = byte(r.IntN(100))
		if n.Expires = n.At + int64(r.IntN(30)); r.one(20) {
			n.Expires += TokenLifeMax
		}
		b, _ = AppendNewToken(nil, n)
	case TableTokenUse:
		u := &UseToken{ID: r.token(s), At: int64(r.IntN(40)), Pin: r.pin(t, raft.NodeID(1+r.IntN(randomNodes)))}
		if n := len(s.Pins); n > 0 && r.one(3) { // as a host whose answer was lost
			u.Pin = s.Pins[r.IntN(n)]
			u.ID, u.Pin.Token, u.Pin.Role = u.Pin.Token, 0, 0
			if r.one(2) {
				u.Pin.Serial = r.serial()
			}
		}
		b, _ = AppendUseToken(nil, u)
	case TableTokenRevoke:
		b, _ = AppendRevokeToken(nil, &RevokeToken{r.token(s)})
	case TableUser:
		u := &ChangeUser{Action: drawn(r, UserCreate, UserAction(1+r.IntN(5))), Name: r.user(s), At: int64(r.IntN(20))}
		if u.Action < UserDelete && r.one(2) || r.one(10) {
			u.Password.Salt[0], u.Password.Rounds = byte(r.IntN(2)), drawn[uint32](r, 0, 1, 1, 1, RoundsMax, RoundsMax+1)
		}
		b, _ = AppendChangeUser(nil, u)
	case TableUserRoles:
		u := &ChangeUserRoles{User: r.user(s)}
		for range r.IntN(3) {
			u.Give = append(u.Give, r.role(s))
		}
		for range r.IntN(2) {
			u.Take = append(u.Take, r.role(s))
		}
		b, _ = AppendChangeUserRoles(nil, u)
	case TableRole:
		c := &ChangeRole{Action: drawn(r, RoleCreate, RoleGrant, RoleGrant, RoleRevoke, RoleRevoke, RoleAction(1+r.IntN(5))), Name: r.role(s)}
		for range r.IntN(4) {
			o := access.Object{Kind: access.Kind(1 + r.IntN(4)), Prefix: drawn(r, "", "a", "b")}
			if o.Kind == access.Cluster && !r.one(20) {
				o.Prefix = ""
			}
			g := access.Grant{Object: o, Verbs: access.Verbs(1+r.IntN(31)) & o.Kind.Verbs()}
			if has, ok := s.Role(c.Name); ok && len(has.Grants) > 0 && r.one(2) {
				g = has.Grants[r.IntN(len(has.Grants))]
				if g.Verbs == access.All {
					g.Verbs = g.Object.Kind.Verbs()
				}
				g.Verbs &= access.Verbs(r.IntN(32))
			}
			if r.one(8) {
				g.Verbs = drawn(r, access.All, access.Verbs(r.IntN(64)))
			}
			c.Grants = append(c.Grants, g)
		}
		if c.Action == RoleDelete && !r.one(5) {
			c.Grants = nil
		}
		b, _ = AppendChangeRole(nil, c)
	case TableLimit:
		b, _ = AppendSetLimit(nil, &SetLimit{Limit{drawn(r, "", "a", "a", "b", "a/b"), uint64(r.IntN(2)), uint64(r.IntN(2)), r.Uint32N(2)}})
	case TableTrailHead:
		h := TrailHead{Node: r.node(t), Lines: r.Uint64N(6), At: int64(r.IntN(20))}
		h.Hash[31] = byte(r.IntN(2))
		if was, ok := s.Trail(h.Node); ok && r.one(2) {
			h.Lines += was.Lines
		}
		n := &NoteTrail{Head: h}
		if was, ok := s.Trail(h.Node); ok && !r.one(5) {
			n.After = was.Lines
		}
		b, _ = AppendNoteTrail(nil, n)
	}
	return b
}

func (r randomCommands) serial() (s Serial) {
	s[15] = byte(r.IntN(40))
	return s
}

func (r randomCommands) token(s *Security) uint64 {
	if len(s.Tokens) == 0 || r.one(10) {
		return r.Uint64N(20)
	}
	return s.Tokens[r.IntN(len(s.Tokens))].ID
}

func (r randomCommands) user(s *Security) string {
	if n := len(s.Users); n > 0 && !r.one(3) {
		return s.Users[r.IntN(n)].Name
	}
	return drawn(r, "ann", "bob", "ann", "bob", "cy", fmt.Sprint("u", r.IntN(4)), "no name")
}

func (r randomCommands) role(s *Security) string {
	if n := len(s.Roles); n > 0 && !r.one(3) {
		return s.Roles[r.IntN(n)].Name
	}
	return drawn(r, "admin", "admin", "reader", "writer", "-none", "other")
}

// root draws a root, mostly one that is there, or one that comes with all that it needs.
func (r randomCommands) root(s *Security) (n Root) {
	n.DER = fmt.Appendf(nil, "root %d", r.IntN(8))
	if len(s.Roots) > 0 && !r.one(3) {
		n.DER = s.Roots[r.IntN(len(s.Roots))].DER
	}
	n.ID = sha256.Sum256(n.DER)
	n.State, n.Since = drawn(r, RootTrusted, RootIssuing, RootRetired, RootTrusted, RootIssuing, 4), int64(r.IntN(9))
	if n.State != RootRetired && !r.one(4) || r.one(8) {
		n.Wrapped, n.WrapKey[0] = fmt.Appendf(nil, "key %d", r.IntN(2)), byte(1+r.IntN(2))
	}
	switch r.IntN(12) {
	case 0, 1, 2, 3:
		n.DER = nil
	case 4:
		n.ID[4]++
	}
	return n
}

// pin draws a pin of a node, with a key of its own mostly.
func (r randomCommands) pin(t *Table, n raft.NodeID) Pin {
	s := &t.Security
	p := Pin{Node: n, Serial: r.serial(), NotAfter: int64(r.IntN(20))}
	p.Key[0] = byte(n)
	if r.one(8) {
		p.Key[0] = byte(r.IntN(randomNodes))
	}
	if len(s.Roots) > 0 {
		p.Root = s.Roots[r.IntN(len(s.Roots))].ID
	}
	if issuing, ok := s.Issuing(); ok && !r.one(3) {
		p.Root = issuing.ID
	}
	if was, ok := s.Pin(n); ok && r.one(5) {
		p = was
		p.Token, p.Role = 0, 0
	}
	if r.one(20) {
		p.Token, p.Role = 1, NodeServer
	}
	return p
}
