package shardmap

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"muster/raft"
	"muster/shardmap/access"
)

// The table as clients get it must tell nothing by which a password could be guessed, or a root's key
// had; and it must still be a table.
func TestShownSecurity(t *testing.T) {
	table := *securedMachine(t).Table()
	kept := table.AppendTo(nil)
	table.Security = table.Security.Shown()
	b := table.AppendTo(nil)
	for _, secret := range [][]byte{[]byte("wrapped"), examplePassword.Salt[:], examplePassword.Hash[:]} {
		if !bytes.Contains(kept, secret) || bytes.Contains(b, secret) {
			t.Errorf("%x is kept: %t, shown: %t", secret, bytes.Contains(kept, secret), bytes.Contains(b, secret))
		}
	}
	back, err := ReadTable(b)
	if err != nil {
		t.Fatal(err)
	}
	if u, _ := back.Security.UserNamed("ann"); u.Password.None() {
		t.Error("that there is a password does not show")
	}
	if u, _ := back.Security.UserNamed("bob"); !u.Password.None() {
		t.Error("a password shows that is not there")
	}
	if made := securedMachine(t).Table(); !bytes.Equal(made.AppendTo(nil), kept) {
		t.Error("the table of before has changed")
	}
}

// The walk through a table and its digests cover each field of security, and a snapshot holds it.
func TestSecurityIsCovered(t *testing.T) {
	m := securedMachine(t)
	table := m.Table()
	back := NewTableMachine()
	if err := back.Load(bytes.NewReader(table.AppendTo(nil)), raft.LogID{Term: 1, Index: table.Index}); err != nil || !reflect.DeepEqual(back.Table(), table) {
		t.Fatalf("through a snapshot: %v: %s", err, unlike(back.Table(), table))
	}
	before := m.Digests(nil)
	n := 0
	eachLeaf(reflect.ValueOf(&table.Security).Elem(), "security", func(name string, change, back func()) {
		n++
		change()
		differ := differing(before, m.Digests(nil))
		w := NewTableWalk(m)
		for !w.Step(1) {
		}
		faults := w.Faults()
		back()
		if len(differ) != 1 || len(faults) != 1 || faults[0].Part != differ[0] {
			t.Errorf("%s: the digests differ of %v, a walk finds %v", name, differ, faults)
		}
	})
	if n < 150 || !slices.Equal(before, m.Digests(nil)) {
		t.Errorf("%d fields were changed, or not all are as they were", n)
	}
	for typ, want := range map[reflect.Type]int{
		reflect.TypeFor[Security](): securityFields, reflect.TypeFor[Root](): rootFields, reflect.TypeFor[Pin](): pinFields, reflect.TypeFor[Denial](): denialFields,
		reflect.TypeFor[Token](): tokenFields, reflect.TypeFor[User](): userFields, reflect.TypeFor[PasswordHash](): passFields, reflect.TypeFor[Role](): roleFields,
		reflect.TypeFor[access.Grant](): grantFields - 1, reflect.TypeFor[access.Object](): 2, // the object within counts as one
		reflect.TypeFor[Limit](): limitFields, reflect.TypeFor[TrailHead](): trailFields,
	} {
		if got := typ.NumField(); got != want {
			t.Errorf("%s has %d fields, its bytes hold %d: draw them in tablesnapshot.go under a new format", typ, got, want)
		}
	}
	// Members of the level before have no such parts, and compare theirs with these.
	older := NewTableMachine()
	f := testFound(4, 9)
	f.Level = SecurityLevel - 1
	found, err := AppendFound(nil, f)
	applyTable(t, older, 3, found, err)
	if rows := older.Digests(nil); rows[len(rows)-1].Part != PartIncidents {
		t.Errorf("at level %d there is a digest of %s", f.Level, rows[len(rows)-1].Part)
	}
}

// Bytes of a table whose security can't be are refused: they were not written by this code.
func TestSecurityLoadRefuses(t *testing.T) {
	table := securedMachine(t).Table()
	good := table.AppendTo(nil)
	at := bytes.Index(good, []byte("certificate 1")) - 60 // where security begins, about
	for i := at; i < len(good); i++ {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			if back, err := ReadTable(bad); err == nil && !bytes.Equal(back.AppendTo(nil), bad) {
				t.Fatalf("bit %d of byte %d flipped: taken for what it does not say", bit, i)
			}
		}
	}
	for _, c := range []struct {
		what   string
		change func(*Table, *Security)
		level  bool
	}{
		{"a mode that is not known", func(_ *Table, s *Security) { s.Mode = 3 }, true},
		{"TLS alone with a member that has no pin", func(_ *Table, s *Security) { s.Mode, s.Pins = SecurityOnly, s.Pins[:2] }, false},
		{"rules of later", func(t *Table, s *Security) { s.Rules = t.Index + 1 }, false},
		{"too many roots", func(_ *Table, s *Security) {
			for i := range RootsMax {
				s.Roots = append(s.Roots, exampleRoot(10+i, RootTrusted))
			}
		}, false},
		{"a root twice", func(_ *Table, s *Security) { s.Roots = append(s.Roots, s.Roots[1]) }, false},
		{"two roots that issue", func(_ *Table, s *Security) { s.Roots[1].State = RootIssuing }, false},
		{"a root in a state that is not known", func(_ *Table, s *Security) { s.Roots[1].State = 4 }, true},
		{"a root with another certificate", func(_ *Table, s *Security) { s.Roots[0].ID[1]++ }, false},
		{"a retired root with a key", func(_ *Table, s *Security) { s.Roots[1].State = RootRetired }, false},
		{"too many pins", func(_ *Table, s *Security) { s.Pins = make([]Pin, PinsMax+1) }, false},
		{"pins out of order", func(_ *Table, s *Security) { s.Pins[1], s.Pins[2] = s.Pins[2], s.Pins[1] }, false},
		{"a pin twice", func(_ *Table, s *Security) { s.Pins[1] = s.Pins[2] }, false},
		{"a key of two nodes", func(_ *Table, s *Security) { s.Pins[1].Key = s.Pins[2].Key }, false},
		{"a pin without a key", func(_ *Table, s *Security) { s.Pins[1].Key = KeyID{} }, false},
		{"a pin of a removed node", func(t *Table, s *Security) { t.Removed = []raft.NodeID{7} }, false},
		{"a pin with half a token", func(_ *Table, s *Security) { s.Pins[1].Token = 20 }, false},
		{"denied out of order", func(_ *Table, s *Security) { s.Denied = append(s.Denied, Denial{Serial: Serial{3}}) }, false},
		{"denied twice", func(_ *Table, s *Security) { s.Denied = append(s.Denied, s.Denied[0]) }, false},
		{"denied at length", func(_ *Table, s *Security) { s.Denied[0].Why = strings.Repeat("x", 256) }, false},
		{"too many denied", func(_ *Table, s *Security) { s.Denied = make([]Denial, DeniedMax+1) }, false},
		{"tokens out of order", func(_ *Table, s *Security) { s.Tokens[0], s.Tokens[1] = s.Tokens[1], s.Tokens[0] }, false},
		{"a token of later", func(t *Table, s *Security) { s.Tokens[1].ID = t.Index + 1 }, false},
		{"a token's key twice", func(_ *Table, s *Security) { s.Tokens[1].Public = s.Tokens[0].Public }, false},
		{"a token for a role that is not known", func(_ *Table, s *Security) { s.Tokens[1].Role = 3 }, true},
		{"a token with too many uses", func(_ *Table, s *Security) { s.Tokens[1].Uses = TokenUsesMax + 1 }, false},
		{"users out of order", func(_ *Table, s *Security) { s.Users[0], s.Users[1] = s.Users[1], s.Users[0] }, false},
		{"a name of two users", func(_ *Table, s *Security) { s.Users[1].Name = "ann" }, false},
		{"a user with a bad name", func(_ *Table, s *Security) { s.Users[1].Name = "b b" }, false},
		{"a user of later", func(t *Table, s *Security) { s.Users[1].ID = Principal(t.Index + 1) }, false},
		{"a user with a role that is not there", func(_ *Table, s *Security) { s.Users[1].Roles = []string{"writer"} }, false},
		{"a user with a role twice", func(_ *Table, s *Security) { s.Users[1].Roles = []string{"reader", "reader"} }, false},
		{"a user's roles out of order", func(_ *Table, s *Security) { s.Users[1].Roles = []string{"reader", "admin"} }, false},
		{"a password of no rounds", func(_ *Table, s *Security) { s.Users[1].Password.Salt[0] = 1 }, false},
		{"roles out of order", func(_ *Table, s *Security) { s.Roles[0], s.Roles[1] = s.Roles[1], s.Roles[0] }, false},
		{"a role with a bad name", func(_ *Table, s *Security) { s.Roles[0].Name = "" }, false},
		{"a role that allows what is nothing", func(_ *Table, s *Security) { s.Roles[1].Grants[0].Verbs = access.Admin }, false},
		{"grants out of order", func(_ *Table, s *Security) { slices.Reverse(s.Roles[0].Grants) }, false},
		{"a role of somebody that allows nothing", func(_ *Table, s *Security) { s.Roles[1].Grants = nil }, false},
		{"limits out of order", func(_ *Table, s *Security) { s.Limits = append(s.Limits, Limit{Prefix: "a", Keys: 1}) }, false},
		{"a limit that bounds nothing", func(_ *Table, s *Security) { s.Limits[0] = Limit{Prefix: "a"} }, false},
		{"a limit of all", func(_ *Table, s *Security) { s.Limits[0].Prefix = "" }, false},
		{"trails out of order", func(_ *Table, s *Security) { s.Trails = append(s.Trails, s.Trails[0]) }, false},
		{"a trail of no member", func(_ *Table, s *Security) { s.Trails[0].Node = 7 }, false},
	} {
		bad := *table
		s := &bad.Security
		s.Roots, s.Pins, s.Denied, s.Tokens, s.Users, s.Limits, s.Trails = clone(s.Roots), clone(s.Pins), clone(s.Denied), clone(s.Tokens), clone(s.Users), clone(s.Limits), clone(s.Trails)
		s.Roles = clone(s.Roles)
		for i := range s.Roles {
			s.Roles[i].Grants = clone(s.Roles[i].Grants)
		}
		c.change(&bad, s)
		want := ErrSnapshot
		if c.level {
			want = ErrLevel
		}
		if err := NewTableMachine().Load(bytes.NewReader(bad.AppendTo(nil)), raft.LogID{Term: 1, Index: bad.Index}); !errors.Is(err, want) {
			t.Errorf("%s: got %v", c.what, err)
		}
	}
}
