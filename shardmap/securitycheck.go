package shardmap

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"

	"muster/raft"
	"muster/shardmap/access"
)

// check says why this can't be what t knows about security.
func (s *Security) check(t *Table) error {
	if !s.Mode.Known() {
		return fmt.Errorf("mode %d of TLS: %w", s.Mode, ErrLevel)
	}
	if s.Rules > t.Index {
		return fmt.Errorf("rules of %d, the table changed last at %d", s.Rules, t.Index)
	}
	for _, check := range [...]func(*Table) error{s.checkRoots, s.checkPins, s.checkDenied, s.checkTokens, s.checkUsers, s.checkRoles, s.checkLimits, s.checkTrails} {
		if err := check(t); err != nil {
			return err
		}
	}
	return nil
}

func (s *Security) checkRoots(*Table) error {
	if len(s.Roots) > RootsMax {
		return fmt.Errorf("%d roots, the limit is %d", len(s.Roots), RootsMax)
	}
	issuing := 0
	for i := range s.Roots {
		r := &s.Roots[i]
		if err := r.check(); err != nil {
			return err
		}
		if s.root(r.ID) != i {
			return fmt.Errorf("root %s is there twice", r.ID)
		}
		if r.State == RootIssuing {
			issuing++
		}
	}
	if issuing > 1 {
		return fmt.Errorf("%d roots issue, want one at most", issuing)
	}
	return nil
}

// check says why the table can't have the root.
func (r *Root) check() error {
	switch {
	case len(r.DER) == 0 || len(r.DER) > RootBytesMax:
		return fmt.Errorf("root %s has a certificate of %d bytes, want 1 to %d", r.ID, len(r.DER), RootBytesMax)
	case r.ID != RootID(sha256.Sum256(r.DER)):
		return fmt.Errorf("root %s has a certificate with another SHA-256", r.ID)
	case !r.State.Known():
		return fmt.Errorf("root %s is in state %d: %w", r.ID, r.State, ErrLevel)
	case len(r.Wrapped) > RootWrappedMax:
		return fmt.Errorf("root %s has a wrapped key of %d bytes, the limit is %d", r.ID, len(r.Wrapped), RootWrappedMax)
	case r.State == RootRetired && (len(r.Wrapped) > 0 || r.WrapKey != WrapKeyID{}):
		return fmt.Errorf("root %s is retired, and has a wrapped key", r.ID)
	}
	return nil
}

func (s *Security) checkPins(t *Table) error {
	if len(s.Pins) > PinsMax {
		return fmt.Errorf("%d pins, the limit is %d", len(s.Pins), PinsMax)
	}
	keys := make(map[KeyID]raft.NodeID, len(s.Pins))
	for i := range s.Pins {
		p := &s.Pins[i]
		if err := p.check(); err != nil {
			return err
		}
		if i > 0 && s.Pins[i-1].Node >= p.Node {
			return fmt.Errorf("the pin of node %s is out of order", p.Node)
		}
		if other, ok := keys[p.Key]; ok {
			return fmt.Errorf("nodes %s and %s have one key", other, p.Node)
		}
		if t.WasRemoved(p.Node) {
			return fmt.Errorf("node %s was removed, and has a pin", p.Node)
		}
		keys[p.Key] = p.Node
	}
	if n, ok := s.unpinned(t, nil); ok && s.Mode == SecurityOnly {
		return fmt.Errorf("node %s has no pin, and the mode of TLS is %s", n, s.Mode)
	}
	return nil
}

// unpinned returns the first member that has no pin under a root; nil: under any.
func (s *Security) unpinned(t *Table, under *RootID) (raft.NodeID, bool) {
	for i := range t.Nodes {
		p, ok := s.Pin(t.Nodes[i].ID)
		if !ok || under != nil && p.Root != *under {
			return t.Nodes[i].ID, true
		}
	}
	return 0, false
}

// check says why the table can't have the pin.
func (p *Pin) check() error {
	switch {
	case p.Node == 0:
		return fmt.Errorf("a pin of node %s", p.Node)
	case p.Key == KeyID{}:
		return fmt.Errorf("the pin of node %s has no key", p.Node)
	case p.Role != 0 && p.Role != NodeServer && p.Role != NodeClient || (p.Role == 0) != (p.Token == 0):
		return fmt.Errorf("the pin of node %s has role %d by token %d", p.Node, p.Role, p.Token)
	}
	return nil
}

func (s *Security) checkDenied(*Table) error {
	if len(s.Denied) > DeniedMax {
		return fmt.Errorf("%d certificates are denied, the limit is %d", len(s.Denied), DeniedMax)
	}
	for i := range s.Denied {
		d := &s.Denied[i]
		if len(d.Why) > TableTextMax {
			return fmt.Errorf("certificate %s is denied with a text of %d bytes, the limit is %d", d.Serial, len(d.Why), TableTextMax)
		}
		if i > 0 && bytes.Compare(s.Denied[i-1].Serial[:], d.Serial[:]) >= 0 {
			return fmt.Errorf("denied certificate %s is out of order", d.Serial)
		}
	}
	return nil
}

func (s *Security) checkTokens(t *Table) error {
	if len(s.Tokens) > TokensMax {
		return fmt.Errorf("%d tokens, the limit is %d", len(s.Tokens), TokensMax)
	}
	for i := range s.Tokens {
		k := &s.Tokens[i]
		switch {
		case k.ID == 0 || k.ID > t.Index || i > 0 && s.Tokens[i-1].ID >= k.ID:
			return fmt.Errorf("token %d is out of order", k.ID)
		case k.Role != NodeServer && k.Role != NodeClient:
			return fmt.Errorf("token %d has role %d: %w", k.ID, k.Role, ErrLevel)
		case k.Uses > TokenUsesMax:
			return fmt.Errorf("token %d has %d uses left, the limit is %d", k.ID, k.Uses, TokenUsesMax)
		case slices.ContainsFunc(s.Tokens[:i], func(o Token) bool { return o.Public == k.Public }):
			return fmt.Errorf("token %d has the key of another one", k.ID)
		}
	}
	return nil
}

func (s *Security) checkUsers(t *Table) error {
	if len(s.Users) > UsersMax {
		return fmt.Errorf("%d users, the limit is %d", len(s.Users), UsersMax)
	}
	names := make(map[string]bool, len(s.Users))
	for i := range s.Users {
		u := &s.Users[i]
		if err := access.CheckName(u.Name); err != nil {
			return fmt.Errorf("user %d: %w", u.ID, err)
		}
		if err := u.Password.check(); err != nil {
			return fmt.Errorf("user %s: %w", u.Name, err)
		}
		switch {
		case u.ID == 0 || uint64(u.ID) > t.Index || i > 0 && s.Users[i-1].ID >= u.ID:
			return fmt.Errorf("user %s with id %d is out of order", u.Name, u.ID)
		case names[u.Name]:
			return fmt.Errorf("user %s is there twice", u.Name)
		case len(u.Roles) > UserRolesMax:
			return fmt.Errorf("user %s has %d roles, the limit is %d", u.Name, len(u.Roles), UserRolesMax)
		}
		names[u.Name] = true
		for at, name := range u.Roles {
			role, ok := s.Role(name)
			switch {
			case at > 0 && u.Roles[at-1] >= name:
				return fmt.Errorf("role %q of user %s is out of order", name, u.Name)
			case !ok || len(role.Grants) == 0:
				return fmt.Errorf("user %s has role %q, which is not there or allows nothing", u.Name, name)
			}
		}
	}
	return nil
}

// check says why it can't be what is kept of a password.
func (p *PasswordHash) check() error {
	if p.Rounds > RoundsMax {
		return fmt.Errorf("a password of %d rounds, the limit is %d", p.Rounds, RoundsMax)
	}
	if *p != (PasswordHash{}) && p.None() {
		return fmt.Errorf("a password of no rounds")
	}
	return nil
}

func (s *Security) checkRoles(*Table) error {
	if len(s.Roles) > RolesMax {
		return fmt.Errorf("%d roles, the limit is %d", len(s.Roles), RolesMax)
	}
	for i := range s.Roles {
		r := &s.Roles[i]
		if err := access.CheckName(r.Name); err != nil {
			return fmt.Errorf("a role: %w", err)
		}
		if i > 0 && s.Roles[i-1].Name >= r.Name {
			return fmt.Errorf("role %s is out of order", r.Name)
		}
		if len(r.Grants) > GrantsMax {
			return fmt.Errorf("role %s has %d grants, the limit is %d", r.Name, len(r.Grants), GrantsMax)
		}
		for at := range r.Grants {
			if err := r.Grants[at].Check(); err != nil {
				return fmt.Errorf("role %s: %w", r.Name, err)
			}
			if at > 0 && byObject(r.Grants[at-1], r.Grants[at]) >= 0 {
				return fmt.Errorf("the grant of %s to role %s is out of order", r.Grants[at].Object, r.Name)
			}
		}
	}
	return nil
}

func (s *Security) checkLimits(*Table) error {
	if len(s.Limits) > NamespacesMax {
		return fmt.Errorf("%d limits, the limit is %d", len(s.Limits), NamespacesMax)
	}
	for i := range s.Limits {
		l := &s.Limits[i]
		switch {
		case l.Prefix == "" || len(l.Prefix) > KeyMax:
			return fmt.Errorf("a limit for a prefix of %d bytes, want 1 to %d", len(l.Prefix), KeyMax)
		case i > 0 && s.Limits[i-1].Prefix >= l.Prefix:
			return fmt.Errorf("the limit of %q is out of order", l.Prefix)
		case l.none():
			return fmt.Errorf("the limit of %q bounds nothing", l.Prefix)
		}
	}
	return nil
}

func (s *Security) checkTrails(t *Table) error {
	for i := range s.Trails {
		h := &s.Trails[i]
		if i > 0 && s.Trails[i-1].Node >= h.Node {
			return fmt.Errorf("the trail of node %s is out of order", h.Node)
		}
		if _, ok := t.node(h.Node); !ok {
			return fmt.Errorf("the trail of node %s, which is not on the list", h.Node)
		}
	}
	return nil
}
