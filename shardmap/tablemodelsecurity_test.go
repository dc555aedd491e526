package shardmap

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"muster/raft"
	"muster/shardmap/access"
)

// modelSecurity is the slow and obvious version of what a table knows about security.
type modelSecurity struct {
	mode   TLSMode
	roots  []Root // by arrival
	pins   map[raft.NodeID]Pin
	denied map[Serial]Denial
	tokens map[uint64]*Token
	users  map[string]*modelUser
	roles  map[string]map[access.Object]access.Verbs
	rules  uint64
	limits map[string]Limit
	trails map[raft.NodeID]TrailHead
}

type modelUser struct {
	id         Principal
	password   PasswordHash
	roles      map[string]bool
	certsAfter int64
}

func newModelSecurity(mode TLSMode) *modelSecurity {
	return &modelSecurity{mode: mode, pins: map[raft.NodeID]Pin{}, denied: map[Serial]Denial{}, tokens: map[uint64]*Token{}, users: map[string]*modelUser{},
		roles: map[string]map[access.Object]access.Verbs{}, limits: map[string]Limit{}, trails: map[raft.NodeID]TrailHead{}}
}

// applySecurity carries out the command c, which is about security.
func (m *tableModel) applySecurity(index uint64, c tableCommand) modelOutcome {
	if m.level < 8 {
		return outcomeRefused
	}
	s := m.security
	switch c := c.(type) {
	case *SetTLSMode:
		return m.tlsMode(c)
	case *SetRoot:
		return s.root(c.Root)
	case *SetPin:
		return m.pin(c.Pin)
	case *Deny:
		n := c.Denial
		was, is := s.denied[n.Serial]
		if n.Serial == (Serial{}) {
			return outcomeRefused
		}
		if is && was.Until >= n.Until {
			return outcomeSame
		}
		s.denied[n.Serial] = n
	case *NewToken:
		return s.newToken(index, c)
	case *UseToken:
		return m.useToken(c)
	case *RevokeToken:
		k := s.tokens[c.ID]
		switch {
		case k == nil:
			return outcomeRefused
		case k.Revoked:
			return outcomeSame
		}
		k.Revoked = true
		maps.DeleteFunc(s.pins, func(n raft.NodeID, p Pin) bool { return p.Token == c.ID && m.nodes[n] == nil })
	case *ChangeUser:
		return s.changing(index, func() modelOutcome { return s.user(index, c) })
	case *ChangeUserRoles:
		return s.changing(index, func() modelOutcome { return s.userRoles(c) })
	case *ChangeRole:
		return s.changing(index, func() modelOutcome { return s.role(c) })
	case *SetLimit:
		l := c.Limit
		was, is := s.limits[l.Prefix]
		none := l.Keys+l.Bytes+uint64(l.Rate) == 0
		switch {
		case l.Prefix == "" || none && !is:
			return outcomeRefused
		case none:
			delete(s.limits, l.Prefix)
		case was == l:
			return outcomeSame
		default:
			s.limits[l.Prefix] = l
		}
	case *NoteTrail:
		h := c.Head
		was := s.trails[h.Node]
		_, is := s.trails[h.Node]
		switch {
		case m.nodes[h.Node] == nil || h.Lines < was.Lines || is && h.Lines == was.Lines && h.Hash != was.Hash:
			return outcomeRefused
		case is && h.Lines == was.Lines:
			return outcomeSame
		case was.Lines != c.After:
			return outcomeRefused
		}
		s.trails[h.Node] = h
	}
	return outcomeChanged
}

func (m *tableModel) tlsMode(c *SetTLSMode) modelOutcome {
	s := m.security
	switch {
	case c.Mode == s.mode:
		return outcomeSame
	case c.Mode != s.mode+1 || c.Mode > SecurityOnly:
		return outcomeRefused
	}
	if c.Mode == SecurityOnly {
		for n := range m.nodes {
			p, ok := s.pins[n]
			if !ok || s.stateOf(p.Root) != RootIssuing {
				return outcomeRefused
			}
		}
	}
	s.mode = c.Mode
	return outcomeChanged
}

// stateOf returns the state of a root; 0 if there is none.
func (s *modelSecurity) stateOf(id RootID) RootState {
	for _, r := range s.roots {
		if r.ID == id {
			return r.State
		}
	}
	return 0
}

func (s *modelSecurity) root(r Root) modelOutcome {
	issues := slices.IndexFunc(s.roots, func(o Root) bool { return o.State == RootIssuing })
	i := slices.IndexFunc(s.roots, func(o Root) bool { return o.ID == r.ID })
	if r.State > RootRetired || len(r.DER) > 0 && r.ID != sha256.Sum256(r.DER) || r.State == RootRetired && len(r.Wrapped) > 0 {
		return outcomeRefused
	}
	if i < 0 {
		if len(r.DER) == 0 || r.State == RootRetired || r.State == RootIssuing && (issues >= 0 || len(r.Wrapped) == 0) {
			return outcomeRefused
		}
		if len(s.roots) == RootsMax {
			retired := slices.IndexFunc(s.roots, func(o Root) bool { return o.State == RootRetired })
			if retired < 0 {
				return outcomeRefused
			}
			s.roots = slices.Delete(s.roots, retired, retired+1)
		}
		s.roots = append(s.roots, r)
		return outcomeChanged
	}
	was := s.roots[i]
	now := was
	if now.State = r.State; was.State != r.State {
		now.Since = r.Since
	}
	switch {
	case r.State == RootRetired:
		now.Wrapped, now.WrapKey = nil, WrapKeyID{}
	case len(r.Wrapped) > 0:
		now.Wrapped, now.WrapKey = r.Wrapped, r.WrapKey
	}
	if fmt.Sprint(now) == fmt.Sprint(was) {
		return outcomeSame
	}
	if was.State == RootRetired || was.State == RootIssuing && r.State != RootIssuing || r.State == RootIssuing && len(now.Wrapped) == 0 {
		return outcomeRefused
	}
	if r.State == RootIssuing && issues >= 0 && issues != i {
		s.roots[issues].State, s.roots[issues].Since = RootTrusted, r.Since
	}
	s.roots[i] = now
	return outcomeChanged
}

// fits reports whether a node can have the pin.
func (s *modelSecurity) fits(p Pin) bool {
	for n, o := range s.pins {
		if n != p.Node && o.Key == p.Key {
			return false
		}
	}
	_, denied := s.denied[p.Serial]
	state := s.stateOf(p.Root)
	return p.Token == 0 && p.Role == 0 && p.Node != 0 && p.Key != (KeyID{}) && !denied && (state == RootTrusted || state == RootIssuing)
}

func (m *tableModel) pin(p Pin) modelOutcome {
	s := m.security
	if m.nodes[p.Node] == nil || !s.fits(p) {
		return outcomeRefused
	}
	if was, ok := s.pins[p.Node]; ok {
		_, denied := s.denied[was.Serial]
		switch {
		case was == p:
			return outcomeSame
		case denied || s.mode == SecurityOnly && was.Key != p.Key:
			return outcomeRefused
		}
	}
	s.pins[p.Node] = p
	return outcomeChanged
}

func (s *modelSecurity) newToken(index uint64, c *NewToken) modelOutcome {
	if c.Role != NodeServer && c.Role != NodeClient || c.Uses < 1 || c.Uses > TokenUsesMax || c.Expires <= c.At || c.Expires > c.At+30*24*3600 || c.Public == [32]byte{} ||
		!slices.ContainsFunc(s.roots, func(o Root) bool { return o.State == RootIssuing }) {
		return outcomeRefused
	}
	for _, k := range s.tokens {
		if k.Public == c.Public {
			return outcomeRefused
		}
	}
	s.tokens[index] = &Token{ID: index, Public: c.Public, Role: c.Role, Uses: c.Uses, Expires: c.Expires, By: c.By}
	return outcomeChanged
}

func (m *tableModel) useToken(c *UseToken) modelOutcome {
	s := m.security
	k, p := s.tokens[c.ID], c.Pin
	if k == nil || k.Revoked || c.At >= k.Expires || m.removed[p.Node] || !s.fits(p) {
		return outcomeRefused
	}
	was, pinned := s.pins[p.Node]
	again := pinned && was.Token == c.ID && was.Key == p.Key
	if !again && (m.nodes[p.Node] != nil || pinned && was.Key != p.Key || k.Uses == 0) {
		return outcomeRefused
	}
	p.Token, p.Role = k.ID, k.Role
	if was == p {
		return outcomeSame
	}
	s.pins[p.Node] = p
	if !again {
		k.Uses--
	}
	return outcomeChanged
}

// forget is what becomes of a node that leaves.
func (s *modelSecurity) forget(n raft.NodeID) {
	if p, ok := s.pins[n]; ok {
		if _, denied := s.denied[p.Serial]; !denied {
			s.denied[p.Serial] = Denial{p.Serial, p.NotAfter, "the node was taken off the list"}
		}
	}
	delete(s.pins, n)
	delete(s.trails, n)
}

// admins counts the users who may administer the cluster.
func (s *modelSecurity) admins() (n int) {
	for _, u := range s.users {
		for role := range u.roles {
			if s.roles[role][access.Object{Kind: access.Cluster}]&access.Admin != 0 {
				n++
				break
			}
		}
	}
	return n
}

// changing carries out a change of users or roles, and takes it back if it leaves no administrator
// where there was one, or a user with a role that is not there or allows nothing.
func (s *modelSecurity) changing(index uint64, change func() modelOutcome) modelOutcome {
	users, roles, admins := map[string]*modelUser{}, map[string]map[access.Object]access.Verbs{}, s.admins()
	for name, u := range s.users {
		kept := *u
		kept.roles = maps.Clone(u.roles)
		users[name] = &kept
	}
	for name, grants := range s.roles {
		roles[name] = maps.Clone(grants)
	}
	outcome := change()
	bad := admins > 0 && s.admins() == 0
	for _, u := range s.users {
		for role := range u.roles {
			bad = bad || len(s.roles[role]) == 0
		}
	}
	if bad {
		outcome = outcomeRefused
	}
	if outcome != outcomeChanged {
		s.users, s.roles = users, roles
		return outcome
	}
	s.rules = index
	return outcomeChanged
}

func goodName(name string) bool {
	return name != "" && len(name) <= 64 && !strings.ContainsAny(name, " !/") && name[0] != '-'
}

func (s *modelSecurity) user(index uint64, c *ChangeUser) modelOutcome {
	u := s.users[c.Name]
	halfPassword := c.Password.Rounds == 0 && c.Password != (PasswordHash{}) || c.Password.Rounds > RoundsMax
	if !goodName(c.Name) || (u == nil) != (c.Action == UserCreate) || halfPassword || c.Action > UserPassword && c.Password != (PasswordHash{}) {
		return outcomeRefused
	}
	switch c.Action {
	case UserCreate:
		s.users[c.Name] = &modelUser{id: Principal(index), password: c.Password, roles: map[string]bool{}, certsAfter: c.At}
	case UserPassword:
		if u.password == c.Password {
			return outcomeSame
		}
		u.password = c.Password
	case UserDelete:
		delete(s.users, c.Name)
	case UserRevoke:
		if c.At <= u.certsAfter {
			return outcomeSame
		}
		u.certsAfter = c.At
	default:
		return outcomeRefused
	}
	return outcomeChanged
}

func (s *modelSecurity) userRoles(c *ChangeUserRoles) modelOutcome {
	u := s.users[c.User]
	named := map[string]bool{}
	for _, role := range slices.Concat(c.Give, c.Take) {
		if s.roles[role] == nil || named[role] {
			return outcomeRefused
		}
		named[role] = true
	}
	if u == nil || len(named) == 0 {
		return outcomeRefused
	}
	before := maps.Clone(u.roles)
	for _, role := range c.Give {
		if len(s.roles[role]) == 0 {
			return outcomeRefused
		}
		u.roles[role] = true
	}
	for _, role := range c.Take {
		delete(u.roles, role)
	}
	if maps.Equal(before, u.roles) {
		return outcomeSame
	}
	return outcomeChanged
}

func (s *modelSecurity) role(c *ChangeRole) modelOutcome {
	has := s.roles[c.Name]
	named := map[access.Object]bool{}
	for _, g := range c.Grants {
		if g.Check() != nil || named[g.Object] {
			return outcomeRefused
		}
		named[g.Object] = true
	}
	if !goodName(c.Name) || (has == nil) != (c.Action == RoleCreate) {
		return outcomeRefused
	}
	outcome := outcomeSame
	switch {
	case c.Action == RoleCreate:
		made := map[access.Object]access.Verbs{}
		for _, g := range c.Grants {
			made[g.Object] = g.Verbs
		}
		s.roles[c.Name] = made
		return outcomeChanged
	case c.Action == RoleDelete && len(c.Grants) == 0:
		delete(s.roles, c.Name)
		return outcomeChanged
	case len(c.Grants) == 0 || c.Action != RoleGrant && c.Action != RoleRevoke:
		return outcomeRefused
	}
	for _, g := range c.Grants {
		was := has[g.Object]
		now := was | g.Verbs
		if c.Action == RoleRevoke {
			if was == 0 {
				return outcomeRefused
			}
			if now = was; was&g.Verbs != 0 {
				now = was & g.Object.Kind.Verbs() &^ g.Verbs
			}
		}
		if now != was {
			outcome = outcomeChanged
		}
		if has[g.Object] = now; now == 0 {
			delete(has, g.Object)
		}
	}
	return outcome
}

// differs says in what security is not as the model has it.
func (s *modelSecurity) differs(got *Security) error {
	if got.Mode != s.mode || got.Rules != s.rules || got.Cluster != 0 {
		return fmt.Errorf("mode %s, rules of %d, cluster %x; want %s, %d, 0", got.Mode, got.Rules, got.Cluster, s.mode, s.rules)
	}
	if fmt.Sprint(got.Roots) != fmt.Sprint(s.roots) {
		return fmt.Errorf("roots %v, want %v", got.Roots, s.roots)
	}
	for what, n := range map[string][2]int{"pins": {len(got.Pins), len(s.pins)}, "denied": {len(got.Denied), len(s.denied)}, "tokens": {len(got.Tokens), len(s.tokens)},
		"users": {len(got.Users), len(s.users)}, "roles": {len(got.Roles), len(s.roles)}, "limits": {len(got.Limits), len(s.limits)}, "trails": {len(got.Trails), len(s.trails)}} {
		if n[0] != n[1] {
			return fmt.Errorf("%d %s, want %d", n[0], what, n[1])
		}
	}
	for n, want := range s.pins {
		if p, _ := got.Pin(n); p != want {
			return fmt.Errorf("pin %+v, want %+v", p, want)
		}
	}
	for serial, want := range s.denied {
		if i, ok := got.denial(serial); !ok || got.Denied[i] != want || !got.IsDenied(serial) {
			return fmt.Errorf("denied %v, want %+v", got.Denied, want)
		}
	}
	for id, want := range s.tokens {
		if k, _ := got.Token(id); k != *want {
			return fmt.Errorf("token %+v, want %+v", k, *want)
		}
	}
	for name, want := range s.users {
		u, _ := got.UserNamed(name)
		byID, _ := got.User(want.id)
		is := modelUser{u.ID, u.Password, map[string]bool{}, u.CertsAfter}
		for _, role := range u.Roles {
			is.roles[role] = true
		}
		if fmt.Sprint(is) != fmt.Sprint(*want) || byID.Name != name {
			return fmt.Errorf("user %+v, want %+v", u, *want)
		}
	}
	for name, want := range s.roles {
		r, ok := got.Role(name)
		is := map[access.Object]access.Verbs{}
		for _, g := range r.Grants {
			is[g.Object] = g.Verbs
		}
		if !ok || !maps.Equal(is, want) {
			return fmt.Errorf("role %+v, want %v", r, want)
		}
	}
	for prefix, want := range s.limits {
		if l, _ := got.Limit(prefix); l != want {
			return fmt.Errorf("limit %+v, want %+v", l, want)
		}
	}
	for n, want := range s.trails {
		if h, _ := got.Trail(n); h != want {
			return fmt.Errorf("trail %+v, want %+v", h, want)
		}
	}
	return nil
}
