package wire

import (
	"fmt"

	"muster/shardmap"
	"muster/shardmap/access"
)

const (
	// PasswordMax bounds a password, in bytes: what is longer is a file by mistake.
	PasswordMax = 1024
	// userRolesMax bounds the roles of one user in a [WhoamiAnswer].
	userRolesMax = 1024
)

// Login asks the leader of the meta group for a certificate of an hour, for a user that has a
// password:
//
//	[name, password, request]
//
// It is taken over TLS alone.
type Login struct {
	Name     string // 1 to UserNameMax bytes
	Password []byte // 1 to PasswordMax bytes
	Request  []byte // a certificate request (PKCS #10)
}

func (m *Login) fields(f *fields) {
	f.exactly(3, func() {
		f.text("name", &m.Name)
		sealed(f, "password", &m.Password)
		sealed(f, "request", &m.Request)
	})
}

// Append appends the body.
func (m *Login) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Login) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	switch {
	case m.Name == "" || len(m.Name) > UserNameMax:
		return fmt.Errorf("field name: %d bytes; want 1 to %d", len(m.Name), UserNameMax)
	case len(m.Password) == 0 || len(m.Password) > PasswordMax:
		return fmt.Errorf("field password: %d bytes; want 1 to %d", len(m.Password), PasswordMax)
	}
	return checkRequest(m.Request)
}

// LoginAnswer answers a [Login]: [certificate, [root, …]].
type LoginAnswer struct {
	Certificate []byte   // DER
	Roots       [][]byte // DER, of all roots that the cluster trusts; RootsMax at most
}

func (m *LoginAnswer) fields(f *fields) {
	f.atLeast(2, func() {
		f.bin("certificate", &m.Certificate)
		list(f, "roots", &m.Roots, rootMin, func(f *fields, r *[]byte) { f.bin("root", r) })
	})
}

// Append appends the body.
func (m *LoginAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *LoginAnswer) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	return checkCertified(m.Certificate, m.Roots)
}

// WhoamiAnswer answers a Whoami, whose body is empty: [user, principal, open, [role, …]].
type WhoamiAnswer struct {
	User      string // whom the connection has proven to be; empty: nobody in particular
	Principal shardmap.Principal
	// Open: everything is allowed, because nobody is asked who he is: the cluster is an
	// insecure one, or has a secret only.
	Open  bool
	Roles []string
}

func (m *WhoamiAnswer) fields(f *fields) {
	f.atLeast(4, func() {
		f.text("user", &m.User)
		number(f, "principal", &m.Principal)
		f.flag("open", &m.Open)
		list(f, "roles", &m.Roles, 1, func(f *fields, r *string) { f.text("role", r) })
	})
}

// Append appends the body.
func (m *WhoamiAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *WhoamiAnswer) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if len(m.Roles) > userRolesMax {
		return fmt.Errorf("field roles: %d of them; want %d at most", len(m.Roles), userRolesMax)
	}
	return nil
}

// CanI asks whether something would be allowed, and by what: [user, verbs, kind, name]. The answer is as
// true as the node's table is new.
type CanI struct {
	User  string // empty: the sender
	Verbs access.Verbs
	Kind  access.Kind
	Name  []byte // of a thing, or of all things that begin with it; at most shardmap.KeyMax bytes
}

func (m *CanI) fields(f *fields) {
	f.exactly(4, func() {
		f.text("user", &m.User)
		number(f, "verbs", &m.Verbs)
		number(f, "kind", &m.Kind)
		f.bin("name", &m.Name)
	})
}

// Append appends the body.
func (m *CanI) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *CanI) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	switch {
	case len(m.User) > UserNameMax:
		return fmt.Errorf("field user: %d bytes; want %d at most", len(m.User), UserNameMax)
	case !m.Verbs.Known():
		return fmt.Errorf("field verbs: %d; want a sum of verbs, 1 to %d", m.Verbs, access.All)
	case !m.Kind.Known():
		return fmt.Errorf("field kind: %d; want 1 to %d", m.Kind, access.Cluster)
	case len(m.Name) > shardmap.KeyMax:
		return fmt.Errorf("field name: %d bytes; want %d at most", len(m.Name), shardmap.KeyMax)
	case m.Kind == access.Cluster && len(m.Name) > 0:
		return fmt.Errorf("field name: %s of the cluster; want none", shardmap.ShowKey(m.Name))
	}
	return nil
}

// CanIAnswer answers a [CanI]: [allowed, by].
type CanIAnswer struct {
	Allowed bool
	By      string // what allows it, or why nothing does
}

func (m *CanIAnswer) fields(f *fields) {
	f.atLeast(2, func() {
		f.flag("allowed", &m.Allowed)
		f.text("by", &m.By)
	})
}

// Append appends the body.
func (m *CanIAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *CanIAnswer) Read(body []byte) error { return readFields(body, m) }
