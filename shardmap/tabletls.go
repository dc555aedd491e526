package shardmap

import (
	"bytes"
	"fmt"
	"slices"

	"muster/raft"
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

// AppendSetTLSMode appends the bytes of m to b. At this level the error is always nil.
func AppendSetTLSMode(b []byte, m *SetTLSMode) ([]byte, error) {
	b = appendTableHead(b, TableTLSMode, setTLSModeFields)
	return pack.AppendUint(b, uint64(m.Mode)), nil
}

// AppendSetRoot appends the bytes of s to b. At this level the error is always nil.
func AppendSetRoot(b []byte, s *SetRoot) ([]byte, error) {
	b = appendTableHead(b, TableRoot, setRootFields)
	return s.Root.append(b), nil
}

// AppendSetPin appends the bytes of s to b. At this level the error is always nil.
func AppendSetPin(b []byte, s *SetPin) ([]byte, error) {
	b = appendTableHead(b, TablePin, setPinFields)
	return s.Pin.append(b), nil
}

// AppendDeny appends the bytes of d to b. At this level the error is always nil.
func AppendDeny(b []byte, d *Deny) ([]byte, error) {
	b = appendTableHead(b, TableDeny, denyFields)
	b = d.Denial.append(b)
	return pack.AppendInt(b, d.At), nil
}

const (
	setTLSModeFields = 1
	setRootFields    = 1
	setPinFields     = 1
	denyFields       = 2
)

func readSetTLSMode(r *tableReader) (tableCommand, error) {
	m := new(SetTLSMode)
	r.fields("mode of TLS", setTLSModeFields)
	m.Mode = TLSMode(r.UintMax(255))
	return m, r.err()
}

func readSetRoot(r *tableReader) (tableCommand, error) {
	s := new(SetRoot)
	r.fields("root's command", setRootFields)
	s.Root = readRoot(r)
	return s, r.err()
}

func readSetPin(r *tableReader) (tableCommand, error) {
	s := new(SetPin)
	r.fields("pin's command", setPinFields)
	s.Pin = readPin(r)
	return s, r.err()
}

func readDeny(r *tableReader) (tableCommand, error) {
	d := new(Deny)
	r.fields("denial's command", denyFields)
	d.Denial, d.At = readDenial(r), r.Int()
	return d, r.err()
}

// apply returns the table in the mode.
func (m *SetTLSMode) apply(t *Table, id raft.LogID) (*Table, error) {
	const object = "mode of TLS"
	is := t.Security.Mode
	switch {
	case !m.Mode.Known():
		return t, &Refusal{Kind: RefusedRequest, Object: object, Found: m.Mode.String(), Next: "want 0 (off), 1 (both) or 2 (only)"}
	case m.Mode == is:
		return t, nil
	case m.Mode < is && !bug("TLS mode goes back"):
		return t, &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("it is %s, which is never left for %s", is, m.Mode),
			Next: "let it be: what has certificates needs no plain text"}
	case is == SecurityOff && m.Mode == SecurityOnly:
		return t, &Refusal{Kind: RefusedConflict, Object: object, Found: "it is off, so no member has a certificate", Next: "make certificates first: muster ca create"}
	}
	if m.Mode == SecurityOnly {
		root, ok := t.Security.Issuing()
		if !ok {
			return t, noRoot(object)
		}
		if n, missing := t.Security.unpinned(t, &root.ID); missing {
			return t, &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("%s has no certificate under the root %s", t.called(n), root.ID),
				Next: "start it, and wait until it has one: muster cert list"}
		}
	}
	made := t.draft(id)
	made.Security.Mode = m.Mode
	return made.Table, nil
}

// noRoot is the refusal of what needs a root.
func noRoot(object string) error {
	return &Refusal{Kind: RefusedConflict, Object: object, Found: "the cluster has no root that issues certificates", Next: "make one: muster ca create"}
}

// apply returns the table with the root.
func (s *SetRoot) apply(t *Table, id raft.LogID) (*Table, error) {
	i := t.Security.root(s.Root.ID)
	if i < 0 {
		return s.add(t, id)
	}
	was, now := &t.Security.Roots[i], s.Root
	object := "root " + was.ID.String()
	if len(now.DER) == 0 {
		now.DER = was.DER
	}
	if now.State == was.State {
		now.Since = was.Since
	}
	if len(now.Wrapped) == 0 && now.State != RootRetired {
		now.Wrapped, now.WrapKey = was.Wrapped, was.WrapKey
	}
	if err := now.check(); err != nil {
		return t, &Refusal{Kind: RefusedRequest, Object: object, Found: err.Error(), Next: "say what docs/storage.md has of a root"}
	}
	switch {
	case bytes.Equal(was.append(nil), now.append(nil)):
		return t, nil
	case was.State == RootRetired:
		return t, &Refusal{Kind: RefusedConflict, Object: object, Found: "it is retired, and never comes back", Next: "make another one: muster ca rotate"}
	case was.State == RootIssuing && now.State != RootIssuing:
		return t, &Refusal{Kind: RefusedConflict, Object: object, Found: "it issues, and no other one would", Next: "make another one: muster ca rotate"}
	}
	made := t.draft(id)
	if now.State == RootIssuing {
		if err := now.issues(); err != nil {
			return t, err
		}
	}
	made.Security.Roots = slices.Clone(t.Security.Roots)
	if now.State == RootIssuing && was.State != RootIssuing {
		for at := range made.Security.Roots {
			if former := &made.Security.Roots[at]; former.State == RootIssuing {
				former.State, former.Since = RootTrusted, now.Since
			}
		}
	}
	made.Security.Roots[i] = now
	return made.Table, nil
}

// issues says why a root can't issue.
func (r *Root) issues() error {
	if len(r.Wrapped) == 0 {
		return &Refusal{Kind: RefusedRequest, Object: "root " + r.ID.String(), Found: "it is to issue, and comes without its key", Next: "give it wrapped, with the id of the wrapping key"}
	}
	return nil
}

// add returns the table with a new root.
func (s *SetRoot) add(t *Table, id raft.LogID) (*Table, error) {
	n := s.Root
	object := "root " + n.ID.String()
	if err := n.check(); err != nil {
		return t, &Refusal{Kind: RefusedRequest, Object: object, Found: err.Error(), Next: "say what docs/storage.md has of a root"}
	}
	switch is, issuing := t.Security.Issuing(); {
	case n.State == RootRetired:
		return t, &Refusal{Kind: RefusedRequest, Object: object, Found: "it is new, and retired", Next: "add it as trusted (1) or issuing (2)"}
	case n.State == RootIssuing && issuing:
		return t, &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("root %s issues", is.ID), Next: "add it as trusted first: muster ca rotate"}
	case n.State == RootIssuing:
		if err := n.issues(); err != nil {
			return t, err
		}
	}
	made := t.draft(id)
	roots := slices.Clone(t.Security.Roots)
	if len(roots) >= RootsMax {
		goes := slices.IndexFunc(roots, func(r Root) bool { return r.State == RootRetired })
		if goes < 0 {
			return t, &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("there are %d roots, and none is retired", len(roots)), Next: "retire one first: muster ca retire ROOT"}
		}
		roots = slices.Delete(roots, goes, goes+1)
	}
	made.Security.Roots = append(roots, n)
	return made.Table, nil
}

// apply returns the table with the pin.
func (s *SetPin) apply(t *Table, id raft.LogID) (*Table, error) {
	p := s.Pin
	if _, member := t.node(p.Node); !member {
		return t, unknownNode(t, p.Node)
	}
	object := t.called(p.Node)
	if p.Token != 0 || p.Role != 0 {
		return t, &Refusal{Kind: RefusedRequest, Object: object, Found: fmt.Sprintf("token %d and role %d, of a member", p.Token, p.Role), Next: "give 0 for both"}
	}
	if err := p.fits(t, object); err != nil {
		return t, err
	}
	if was, ok := t.Security.Pin(p.Node); ok {
		switch {
		case was == p:
			return t, nil
		case t.Security.Mode == SecurityOnly && was.Key != p.Key:
			return t, &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("its key is %s, the certificate is for %s", was.Key, p.Key), Next: newHost(p.Node)}
		case t.Security.IsDenied(was.Serial):
			return t, &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("its certificate %s is denied", was.Serial), Next: newHost(p.Node)}
		}
	}
	made := t.draft(id)
	made.Security.setPin(p)
	return made.Table, nil
}

// newHost is what to do with a node that can't prove any more who it is.
func newHost(n raft.NodeID) string {
	return fmt.Sprintf("take it off (muster node remove %s --force), and start it with an empty directory and a token: muster token create", n)
}

// fits refuses a pin that no node can have.
func (p *Pin) fits(t *Table, object string) error {
	if err := p.check(); err != nil {
		return &Refusal{Kind: RefusedRequest, Object: object, Found: err.Error(), Next: "say what docs/storage.md has of a pin"}
	}
	s := &t.Security
	if root, ok := s.Root(p.Root); !ok || root.State == RootRetired {
		return &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("its certificate is under the root %s, which is not trusted", p.Root), Next: "ask for another one, under the root that issues: muster ca show"}
	}
	if s.IsDenied(p.Serial) {
		return &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("certificate %s is denied", p.Serial), Next: "ask for another one"}
	}
	if i := slices.IndexFunc(s.Pins, func(o Pin) bool { return o.Key == p.Key && o.Node != p.Node }); i >= 0 {
		return &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("its key %s is that of %s", p.Key, t.called(s.Pins[i].Node)), Next: "start it with an empty directory: no two nodes have one key"}
	}
	return nil
}

// setPin has a pin be there, in a list of its own.
func (s *Security) setPin(p Pin) {
	i, ok := s.pin(p.Node)
	s.Pins = slices.Clone(s.Pins)
	if ok {
		s.Pins[i] = p
		return
	}
	s.Pins = slices.Insert(s.Pins, i, p)
}

// forget drops what is known of a node that is no member any more, and denies its certificate.
func (s *Security) forget(n raft.NodeID) {
	if i, ok := s.trail(n); ok {
		s.Trails = lessOne(s.Trails, i)
	}
	i, ok := s.pin(n)
	if !ok {
		return
	}
	p := s.Pins[i]
	s.Pins = lessOne(s.Pins, i)
	// Without a pin it is nobody, denied or not. So where as many are denied as can be, this one
	// is not, and the node can be taken off all the same.
	if at, is := s.denial(p.Serial); !is && len(s.Denied) < DeniedMax {
		s.Denied = slices.Insert(slices.Clone(s.Denied), at, Denial{p.Serial, p.NotAfter, "the node was taken off the list"})
	}
}

// lessOne returns a list without one element; nil if that was all.
func lessOne[E any](list []E, i int) []E {
	if len(list) == 1 {
		return nil
	}
	return slices.Delete(slices.Clone(list), i, i+1)
}

// apply returns the table with the certificate denied.
func (d *Deny) apply(t *Table, id raft.LogID) (*Table, error) {
	n := d.Denial
	object := "certificate " + n.Serial.String()
	switch {
	case n.Serial == Serial{}:
		return t, &Refusal{Kind: RefusedRequest, Object: object, Found: "no certificate has that serial", Next: "see muster cert list"}
	case len(n.Why) > TableTextMax:
		return t, &Refusal{Kind: RefusedRequest, Object: object, Found: fmt.Sprintf("a reason of %d bytes, the limit is %d", len(n.Why), TableTextMax), Next: "say it in fewer words"}
	}
	made := t.draft(id)
	s := &made.Security
	i, ok := s.denial(n.Serial)
	if ok {
		if s.Denied[i].Until >= n.Until {
			return t, nil
		}
		s.Denied = slices.Clone(s.Denied)
		s.Denied[i] = n
		return made.Table, nil
	}
	s.Denied = slices.Clone(s.Denied)
	if len(s.Denied) >= DeniedMax {
		goes := 0
		for at := range s.Denied {
			if s.Denied[at].Until < s.Denied[goes].Until {
				goes = at
			}
		}
		if s.Denied[goes].Until > d.At {
			return t, &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("%d certificates are denied, and none of them has ended", len(s.Denied)),
				Next: "retire the root that it is under: muster ca rotate"}
		}
		s.Denied = slices.Delete(s.Denied, goes, goes+1)
		i, _ = s.denial(n.Serial)
	}
	s.Denied = slices.Insert(s.Denied, i, n)
	return made.Table, nil
}

func (m *SetTLSMode) describe() string { return m.Mode.String() }

func (s *SetRoot) describe() string {
	r := &s.Root
	text := fmt.Sprintf("%s %s at %d", r.ID, r.State, r.Since)
	if len(r.DER) > 0 {
		text += fmt.Sprintf(" certificate of %d bytes", len(r.DER))
	}
	if len(r.Wrapped) > 0 {
		text += fmt.Sprintf(" key of %d bytes wrapped with %s", len(r.Wrapped), r.WrapKey)
	}
	return text
}

func (s *SetPin) describe() string { return s.Pin.describe() }

func (p *Pin) describe() string {
	return fmt.Sprintf("node %s key %s serial %s under %s until %d", p.Node, p.Key, p.Serial, p.Root, p.NotAfter)
}

func (d *Deny) describe() string {
	return fmt.Sprintf("certificate %s until %d at %d why %s", d.Denial.Serial, d.Denial.Until, d.At, describeText(d.Denial.Why))
}
