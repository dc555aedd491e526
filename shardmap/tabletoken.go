package shardmap

import (
	"fmt"
	"slices"

	"muster/raft"
	"muster/shardmap/pack"
)

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

// AppendNewToken appends the bytes of n to b. At this level the error is always nil.
func AppendNewToken(b []byte, n *NewToken) ([]byte, error) {
	b = appendTableHead(b, TableToken, newTokenFields)
	b = pack.AppendBytes(b, n.Public[:])
	b = pack.AppendUint(b, uint64(n.Role))
	b = pack.AppendUint(b, uint64(n.Uses))
	b = pack.AppendInt(b, n.Expires)
	b = pack.AppendUint(b, uint64(n.By))
	return pack.AppendInt(b, n.At), nil
}

// AppendUseToken appends the bytes of u to b. At this level the error is always nil.
func AppendUseToken(b []byte, u *UseToken) ([]byte, error) {
	b = appendTableHead(b, TableTokenUse, useTokenFields)
	b = pack.AppendUint(b, u.ID)
	b = pack.AppendInt(b, u.At)
	return u.Pin.append(b), nil
}

// AppendRevokeToken appends the bytes of v to b. At this level the error is always nil.
func AppendRevokeToken(b []byte, v *RevokeToken) ([]byte, error) {
	b = appendTableHead(b, TableTokenRevoke, revokeTokenFields)
	return pack.AppendUint(b, v.ID), nil
}

const (
	newTokenFields    = 6
	useTokenFields    = 3
	revokeTokenFields = 1
)

func readNewToken(r *tableReader) (tableCommand, error) {
	n := new(NewToken)
	r.fields("new token", newTokenFields)
	readFixed(r, n.Public[:])
	n.Role, n.Uses = NodeRole(r.UintMax(255)), uint32(r.UintMax(1<<32-1))
	n.Expires, n.By, n.At = r.Int(), Principal(r.Uint()), r.Int()
	return n, r.err()
}

func readUseToken(r *tableReader) (tableCommand, error) {
	u := new(UseToken)
	r.fields("use of a token", useTokenFields)
	u.ID, u.At = r.Uint(), r.Int()
	u.Pin = readPin(r)
	return u, r.err()
}

func readRevokeToken(r *tableReader) (tableCommand, error) {
	v := new(RevokeToken)
	r.fields("end of a token", revokeTokenFields)
	v.ID = r.Uint()
	return v, r.err()
}

// over reports whether nobody can come by the token any more who has not already.
func (t *Token) over(now int64) bool { return t.Revoked || t.Uses == 0 || now >= t.Expires }

// apply returns the table with the token.
func (n *NewToken) apply(t *Table, id raft.LogID) (*Table, error) {
	const object = "new token"
	refused := func(kind RefusalKind, next, found string, args ...any) (*Table, error) {
		return t, &Refusal{Kind: kind, Object: object, Found: fmt.Sprintf(found, args...), Next: next}
	}
	s := &t.Security
	switch {
	case n.Role != NodeServer && n.Role != NodeClient:
		return refused(RefusedRequest, "want --role server or --role client", "role %d", n.Role)
	case n.Uses == 0 || n.Uses > TokenUsesMax:
		return refused(RefusedRequest, fmt.Sprintf("want --uses 1 to %d", TokenUsesMax), "%d uses", n.Uses)
	case n.Expires <= n.At:
		return refused(RefusedRequest, "give a longer --ttl", "it has expired before it is made")
	case n.Expires-n.At > TokenLifeMax:
		return refused(RefusedRequest, fmt.Sprintf("give a --ttl of %d days at most", TokenLifeMax/secondsPerDay), "it is good for %d days", (n.Expires-n.At)/secondsPerDay)
	case n.Public == [32]byte{}:
		return refused(RefusedRequest, "give the public key of its secret", "no key")
	case slices.ContainsFunc(s.Tokens, func(o Token) bool { return o.Public == n.Public }):
		return refused(RefusedConflict, "make one with a secret of its own: muster token create", "another token has its key")
	}
	if _, ok := s.Issuing(); !ok {
		return t, noRoot(object)
	}
	tokens := slices.Clone(s.Tokens)
	if len(tokens) >= TokensMax {
		// A host whose answer was lost comes again by the token that it has used, so those go last.
		goes := slices.IndexFunc(tokens, func(o Token) bool { return o.Revoked || n.At >= o.Expires })
		if goes < 0 {
			goes = slices.IndexFunc(tokens, func(o Token) bool { return o.over(n.At) })
		}
		if goes < 0 {
			return refused(RefusedConflict, "revoke one first: muster token revoke ID", "there are %d tokens, all of them good", len(tokens))
		}
		tokens = slices.Delete(tokens, goes, goes+1)
	}
	made := t.draft(id)
	made.Security.Tokens = append(tokens, Token{ID: id.Index, Public: n.Public, Role: n.Role, Uses: n.Uses, Expires: n.Expires, By: n.By})
	return made.Table, nil
}

// apply returns the table with the use taken, and the host's pin.
func (u *UseToken) apply(t *Table, id raft.LogID) (*Table, error) {
	s := &t.Security
	i, ok := s.token(u.ID)
	if !ok {
		return t, unknownToken(u.ID)
	}
	k, object := &s.Tokens[i], fmt.Sprintf("token %d", u.ID)
	const another = "make another one: muster token create"
	switch {
	case k.Revoked && !bug("revoked token accepted"):
		return t, &Refusal{Kind: RefusedConflict, Object: object, Found: "it was revoked", Next: another}
	case u.At >= k.Expires && !bug("expired token accepted"):
		return t, &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("it expired %d s ago", u.At-k.Expires), Next: another}
	case u.Pin.Token != 0 || u.Pin.Role != 0:
		return t, &Refusal{Kind: RefusedRequest, Object: object, Found: fmt.Sprintf("a pin with token %d and role %d", u.Pin.Token, u.Pin.Role), Next: "give 0 for both"}
	case t.WasRemoved(u.Pin.Node):
		return t, removed(u.Pin.Node)
	}
	if err := u.Pin.fits(t, "node "+u.Pin.Node.String()); err != nil {
		return t, err
	}
	was, pinned := s.Pin(u.Pin.Node)
	_, member := t.node(u.Pin.Node)
	again := pinned && was.Key == u.Pin.Key && was.Token == u.ID && !bug("use of a token counted twice")
	switch {
	case again:
	case member:
		return t, &Refusal{Kind: RefusedConflict, Object: t.called(u.Pin.Node), Found: "it is a member, and needs no token", Next: newHost(u.Pin.Node)}
	case pinned && was.Key != u.Pin.Key:
		return t, &Refusal{Kind: RefusedConflict, Object: "node " + u.Pin.Node.String(), Found: "another host has come with that id, and another key", Next: "start this one with an empty directory"}
	case k.Uses == 0 && !bug("token used more often than it may"):
		return t, &Refusal{Kind: RefusedConflict, Object: object, Found: "it has no uses left", Next: another}
	}
	pin := u.Pin
	pin.Token, pin.Role = k.ID, k.Role
	if again && was == pin {
		return t, nil
	}
	made := t.draft(id)
	if !pinned {
		pins, err := s.roomToJoin(t, u.At)
		if err != nil {
			return t, err
		}
		made.Security.Pins = pins
	}
	made.Security.setPin(pin)
	if !again {
		made.Security.Tokens = slices.Clone(s.Tokens)
		if left := &made.Security.Tokens[i].Uses; *left > 0 {
			*left--
		}
	}
	return made.Table, nil
}

// roomToJoin returns the pins with room for one of a host that has not joined. Where there is none,
// the first goes whose certificate has ended, and which has not joined either.
func (s *Security) roomToJoin(t *Table, now int64) ([]Pin, error) {
	waiting, goes := 0, -1
	for i := range s.Pins {
		if _, member := t.node(s.Pins[i].Node); member {
			continue
		}
		if waiting++; goes < 0 && s.Pins[i].NotAfter <= now {
			goes = i
		}
	}
	switch {
	case waiting < PinsMax-TableNodesMax:
		return s.Pins, nil
	case goes >= 0:
		return lessOne(s.Pins, goes), nil
	}
	return nil, &Refusal{Kind: RefusedConflict, Object: "a new host", Found: fmt.Sprintf("%d hosts have certificates, and have not joined", waiting), Next: "start them; or revoke their tokens: muster token list"}
}

// unknownToken is the refusal of what is about a token that is not there.
func unknownToken(id uint64) error {
	return &Refusal{Kind: RefusedAbsent, Object: fmt.Sprintf("token %d", id), Found: "there is none of that id, or it was over long ago", Next: "see muster token list"}
}

// apply returns the table with the token revoked.
func (v *RevokeToken) apply(t *Table, id raft.LogID) (*Table, error) {
	s := &t.Security
	i, ok := s.token(v.ID)
	if !ok {
		return t, unknownToken(v.ID)
	}
	if s.Tokens[i].Revoked {
		return t, nil
	}
	made := t.draft(id)
	made.Security.Tokens = slices.Clone(s.Tokens)
	made.Security.Tokens[i].Revoked = true
	// Nor may hosts join that have come by it, and did not join yet.
	waits := func(p Pin) bool {
		_, member := t.node(p.Node)
		return p.Token == v.ID && !member
	}
	for slices.ContainsFunc(made.Security.Pins, waits) {
		made.Security.Pins = lessOne(made.Security.Pins, slices.IndexFunc(made.Security.Pins, waits))
	}
	return made.Table, nil
}

func (n *NewToken) describe() string {
	return fmt.Sprintf("role %s uses %d expires %d key %x by %d at %d", n.Role, n.Uses, n.Expires, n.Public[:8], n.By, n.At)
}

func (u *UseToken) describe() string {
	return fmt.Sprintf("%d at %d %s", u.ID, u.At, u.Pin.describe())
}

func (v *RevokeToken) describe() string { return fmt.Sprint(v.ID) }
