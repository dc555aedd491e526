package shardmap

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"muster/raft"
	"muster/shardmap/access"
)

// exampleRoot is a root of its own for each n.
func exampleRoot(n int, s RootState) Root {
	r := Root{DER: fmt.Appendf(nil, "certificate %d", n), State: s, Since: 1000}
	r.ID = sha256.Sum256(r.DER)
	if s != RootRetired {
		r.Wrapped, r.WrapKey = []byte("wrapped"), WrapKeyID{9, byte(n)}
	}
	return r
}

// examplePin is a pin of its own for each node, under the first root.
func examplePin(n raft.NodeID) Pin {
	return Pin{Node: n, Key: KeyID{byte(n), 1}, Root: exampleRoot(1, RootIssuing).ID, Serial: Serial{byte(n), 2}, NotAfter: 5000}
}

func exampleGrant(verbs access.Verbs, object string) access.Grant {
	o, err := access.ParseObject(object)
	if err != nil {
		panic(err)
	}
	return access.Grant{Verbs: verbs, Object: o}
}

// examplePassword is what the table must not show.
var examplePassword = PasswordHash{Salt: [16]byte([]byte("salt and pepper!")), Rounds: 600000, Hash: [32]byte([]byte("hash of a password, 32 bytes all"))}

// secure are the commands, the first of which is entry 6, that make of testTable one with all that
// there is of security. Token 20 is used once, by node 7; token 22 is revoked.
func secure() [][]byte {
	list := [][]byte{
		first(AppendSetTLSMode(nil, &SetTLSMode{SecurityBoth})),
		first(AppendSetRoot(nil, &SetRoot{exampleRoot(1, RootIssuing)})),
		first(AppendSetPin(nil, &SetPin{examplePin(97)})),
		first(AppendSetPin(nil, &SetPin{examplePin(98)})),
		first(AppendSetPin(nil, &SetPin{examplePin(99)})),
		first(AppendSetPin(nil, &SetPin{examplePin(100)})),
		first(AppendSetRoot(nil, &SetRoot{exampleRoot(2, RootTrusted)})),
		first(AppendDeny(nil, &Deny{Denial{Serial{77}, 4000, "stolen"}, 3000})),
		first(AppendChangeRole(nil, &ChangeRole{RoleCreate, "admin", []access.Grant{exampleGrant(access.All, "key:"), exampleGrant(access.Admin|access.Read, "cluster")}})),
		first(AppendChangeRole(nil, &ChangeRole{RoleCreate, "reader", []access.Grant{exampleGrant(access.Read, "app/")}})),
		first(AppendChangeUser(nil, &ChangeUser{UserCreate, "ann", examplePassword, 2000})),
		first(AppendChangeUser(nil, &ChangeUser{Action: UserCreate, Name: "bob", At: 2001})),
		first(AppendChangeUserRoles(nil, &ChangeUserRoles{"ann", []string{"reader", "admin"}, nil})),
		first(AppendChangeUserRoles(nil, &ChangeUserRoles{"bob", []string{"reader"}, nil})),
		first(AppendNewToken(nil, &NewToken{[32]byte{1}, NodeServer, 2, 9000, 16, 3000})),
		first(AppendUseToken(nil, &UseToken{20, 3500, examplePin(7)})),
		first(AppendNewToken(nil, &NewToken{[32]byte{2}, NodeClient, 1, 9000, 16, 3000})),
		first(AppendRevokeToken(nil, &RevokeToken{22})),
		first(AppendSetLimit(nil, &SetLimit{Limit{"app/", 1000, 1 << 20, 50}})),
		first(AppendNoteTrail(nil, &NoteTrail{TrailHead{97, 12, [32]byte{5}, 3000}, 0})),
	}
	return list
}

func securedMachine(t testing.TB) *TableMachine {
	t.Helper()
	m := testTable(t)
	for i, b := range secure() {
		if r, err := m.Apply(raft.LogID{Term: 1, Index: uint64(6 + i)}, b); err != nil || !r.Changed {
			t.Fatalf("command %d: %+v, %v", i, r, err)
		}
	}
	return m
}

// allAllowed carries out commands that must not be refused.
func allAllowed(t *testing.T, table *Table, commands ...[]byte) *Table {
	t.Helper()
	for _, b := range commands {
		table = allowed(t, table, b, nil)
	}
	return table
}

// A refusal about security is one line that says what was found and what to do, and nothing in it is
// secret.
func TestSecurityRefusals(t *testing.T) {
	table := securedMachine(t).Table()
	bare := testTable(t).Table()
	below := *bare
	below.Level, below.Nodes = SecurityLevel-1, clone(bare.Nodes)
	for i := range below.Nodes {
		below.Nodes[i].Level = SecurityLevel - 1
	}
	mode := func(m TLSMode) []byte { return first(AppendSetTLSMode(nil, &SetTLSMode{m})) }
	root := func(n int, s RootState, change func(*Root)) []byte {
		r := exampleRoot(n, s)
		if change != nil {
			change(&r)
		}
		return first(AppendSetRoot(nil, &SetRoot{r}))
	}
	pin := func(n raft.NodeID, change func(*Pin)) []byte {
		p := examplePin(n)
		if change != nil {
			change(&p)
		}
		return first(AppendSetPin(nil, &SetPin{p}))
	}
	token := func(change func(*NewToken)) []byte {
		n := &NewToken{[32]byte{7}, NodeServer, 1, 9000, 16, 3000}
		change(n)
		return first(AppendNewToken(nil, n))
	}
	use := func(id uint64, at int64, n raft.NodeID, change func(*Pin)) []byte {
		p := examplePin(n)
		if change != nil {
			change(&p)
		}
		return first(AppendUseToken(nil, &UseToken{id, at, p}))
	}
	user := func(a UserAction, name string, p PasswordHash) []byte {
		return first(AppendChangeUser(nil, &ChangeUser{a, name, p, 4000}))
	}
	roles := func(name string, give, take []string) []byte {
		return first(AppendChangeUserRoles(nil, &ChangeUserRoles{name, give, take}))
	}
	role := func(a RoleAction, name string, grants ...access.Grant) []byte {
		return first(AppendChangeRole(nil, &ChangeRole{a, name, grants}))
	}
	trail := func(n raft.NodeID, lines, after uint64, hash byte) []byte {
		return first(AppendNoteTrail(nil, &NoteTrail{TrailHead{n, lines, [32]byte{hash}, 3000}, after}))
	}
	only := allAllowed(t, table, mode(SecurityOnly))
	used := allAllowed(t, table, use(20, 3500, 8, nil))
	retired := allAllowed(t, table, root(2, RootRetired, nil))
	fullRoots := allAllowed(t, table, root(3, RootTrusted, nil), root(4, RootTrusted, nil))
	denied := allAllowed(t, table, first(AppendDeny(nil, &Deny{Denial{examplePin(97).Serial, 5000, "lost"}, 3000})))
	empty := allAllowed(t, table, role(RoleCreate, "none"))
	two := allAllowed(t, table, roles("bob", []string{"admin"}, nil))
	gone := *table
	gone.Removed = []raft.NodeID{50}
	waiting := *table
	waiting.Security.Pins = nil
	for i := range PinsMax - TableNodesMax {
		p := examplePin(raft.NodeID(1000 + i))
		p.Key[3], p.Key[4], p.NotAfter = byte(i), byte(i>>8), 5000
		waiting.Security.Pins = append(waiting.Security.Pins, p)
	}
	const all = access.All
	reader := exampleGrant(access.Read, "app/")
	for _, c := range []struct {
		name        string
		table       *Table
		b           []byte
		kind        RefusalKind
		found, next string
	}{
		{"below the level", &below, mode(SecurityBoth), RefusedLevel, "it needs level 8, the cluster is at level 7", "start the newer muster"},
		{"a mode that is none", table, mode(3), RefusedRequest, "mode 3", "0 (off), 1 (both) or 2 (only)"},
		{"TLS given up", table, mode(SecurityOff), RefusedConflict, "it is both, which is never left for off", "let it be"},
		{"TLS alone given up", only, mode(SecurityBoth), RefusedConflict, "it is only, which is never left for both", "let it be"},
		{"TLS alone at once", bare, mode(SecurityOnly), RefusedConflict, "it is off", "muster ca create"},
		{"TLS alone without a root", allAllowed(t, bare, mode(SecurityBoth)), mode(SecurityOnly), RefusedConflict, "no root that issues", "muster ca create"},
		{"TLS alone without a certificate", allAllowed(t, bare, secure()[:4]...), mode(SecurityOnly), RefusedConflict, "node n has no certificate under the root", "muster cert list"},
		{"TLS alone under the old root", allAllowed(t, table, root(2, RootIssuing, nil)), mode(SecurityOnly), RefusedConflict, "has no certificate under the root " + exampleRoot(2, RootIssuing).ID.String(), "wait"},

		{"a root with another certificate", table, root(5, RootTrusted, func(r *Root) { r.ID[0]++ }), RefusedRequest, "another SHA-256", "docs/storage.md"},
		{"a root without a certificate", table, root(5, RootTrusted, func(r *Root) { r.DER = nil }), RefusedRequest, "certificate of 0 bytes, want 1 to 4096", "docs/storage.md"},
		{"a root that is too large", table, root(5, RootTrusted, func(r *Root) { r.DER = make([]byte, RootBytesMax+1) }), RefusedRequest, "certificate of 4097 bytes", "docs/storage.md"},
		{"a wrapped key that is too large", table, root(5, RootTrusted, func(r *Root) { r.Wrapped = make([]byte, RootWrappedMax+1) }), RefusedRequest, "wrapped key of 513 bytes, the limit is 512", "docs/storage.md"},
		{"a root in a state that is none", table, root(5, 4, nil), RefusedRequest, "state 4", "docs/storage.md"},
		{"a new root that is retired", table, root(5, RootRetired, nil), RefusedRequest, "it is new, and retired", "trusted (1)"},
		{"two roots that issue", table, root(5, RootIssuing, nil), RefusedConflict, "root " + exampleRoot(1, 1).ID.String() + " issues", "muster ca rotate"},
		{"a root that issues without its key", bare, root(1, RootIssuing, func(r *Root) { r.Wrapped = nil }), RefusedRequest, "without its key", "wrapped"},
		{"one root too many", fullRoots, root(5, RootTrusted, nil), RefusedConflict, "there are 4 roots, and none is retired", "muster ca retire"},
		{"a retired root that issues", retired, root(2, RootIssuing, nil), RefusedConflict, "it is retired, and never comes back", "muster ca rotate"},
		{"a retired root that is trusted", retired, root(2, RootTrusted, nil), RefusedConflict, "it is retired, and never comes back", "muster ca rotate"},
		{"the issuing root retired", table, root(1, RootRetired, nil), RefusedConflict, "it issues, and no other one would", "muster ca rotate"},
		{"a root retired with a key", table, root(2, RootRetired, func(r *Root) { r.Wrapped = []byte("k") }), RefusedRequest, "is retired, and has a wrapped key", "docs/storage.md"},

		{"a pin of no member", table, pin(7, nil), RefusedAbsent, "no member", "muster node list"},
		{"a pin of a removed node", &gone, pin(50, nil), RefusedAbsent, "it was removed", "muster node list"},
		{"a pin without a key", table, pin(97, func(p *Pin) { p.Key = KeyID{} }), RefusedRequest, "has no key", "docs/storage.md"},
		{"a member's pin with a token", table, pin(97, func(p *Pin) { p.Token, p.Role = 20, NodeServer }), RefusedRequest, "token 20 and role 1", "0 for both"},
		{"a pin under no root", table, pin(97, func(p *Pin) { p.Root = RootID{1} }), RefusedConflict, "is not trusted", "muster ca show"},
		{"a pin under a retired root", retired, pin(97, func(p *Pin) { p.Root = exampleRoot(2, RootRetired).ID }), RefusedConflict, "is not trusted", "muster ca show"},
		{"a pin that is denied", table, pin(97, func(p *Pin) { p.Serial = Serial{77} }), RefusedConflict, "is denied", "another one"},
		{"another node's key", table, pin(97, func(p *Pin) { p.Key = examplePin(98).Key }), RefusedConflict, "is that of node", "empty directory"},
		{"another key in TLS alone", only, pin(97, func(p *Pin) { p.Key[9]++ }), RefusedConflict, "the certificate is for", "muster node remove"},
		{"a new certificate for a denied one", denied, pin(97, func(p *Pin) { p.Serial = Serial{78} }), RefusedConflict, "is denied", "muster token create"},

		{"no serial denied", table, first(AppendDeny(nil, &Deny{Denial{Serial{}, 1, ""}, 1})), RefusedRequest, "no certificate has that serial", "muster cert list"},
		{"denied at length", table, first(AppendDeny(nil, &Deny{Denial{Serial{1}, 1, strings.Repeat("x", TableTextMax+1)}, 1})), RefusedRequest, "256 bytes, the limit is 255", "fewer words"},

		{"a token for a role that is none", table, token(func(n *NewToken) { n.Role = 3 }), RefusedRequest, "role 3", "--role server"},
		{"a token without uses", table, token(func(n *NewToken) { n.Uses = 0 }), RefusedRequest, "0 uses", "1 to 1000"},
		{"a token with too many uses", table, token(func(n *NewToken) { n.Uses = 1001 }), RefusedRequest, "1001 uses", "1 to 1000"},
		{"a token that has expired", table, token(func(n *NewToken) { n.Expires = n.At }), RefusedRequest, "expired before", "--ttl"},
		{"a token for too long", table, token(func(n *NewToken) { n.Expires = n.At + 31*secondsPerDay }), RefusedRequest, "31 days", "30 days at most"},
		{"a token without a key", table, token(func(n *NewToken) { n.Public = [32]byte{} }), RefusedRequest, "no key", "public key"},
		{"a token's key twice", table, token(func(n *NewToken) { n.Public = [32]byte{1} }), RefusedConflict, "another token has its key", "muster token create"},
		{"a token without a root", bare, token(func(*NewToken) {}), RefusedConflict, "no root", "muster ca create"},
		{"a token that is none", table, use(21, 3500, 8, nil), RefusedAbsent, "none of that id", "muster token list"},
		{"a token that was revoked", table, use(22, 3500, 8, nil), RefusedConflict, "revoked", "muster token create"},
		{"a token that is used as it expires", table, use(20, 9000, 8, nil), RefusedConflict, "it expired 0 s ago", "muster token create"},
		{"a token without uses left", used, use(20, 3500, 9, nil), RefusedConflict, "no uses left", "muster token create"},
		{"a token for a member", table, use(20, 3500, 97, nil), RefusedConflict, "it is a member", "muster node remove"},
		{"a token for a removed node", &gone, use(20, 3500, 50, nil), RefusedConflict, "removed from the cluster", "empty directory"},
		{"a token for another host's id", table, use(20, 3500, 7, func(p *Pin) { p.Key[7]++ }), RefusedConflict, "another host has come with that id", "empty directory"},
		{"a token for another host's key", table, use(20, 3500, 8, func(p *Pin) { p.Key = examplePin(97).Key }), RefusedConflict, "is that of node", "empty directory"},
		{"a token with a pin that names one", table, use(20, 3500, 8, func(p *Pin) { p.Token, p.Role = 20, NodeServer }), RefusedRequest, "token 20", "0 for both"},
		{"one host too many that waits", &waiting, use(20, 3500, 8, nil), RefusedConflict, "1000 hosts have certificates, and have not joined", "muster token list"},
		{"an end of no token", table, first(AppendRevokeToken(nil, &RevokeToken{21})), RefusedAbsent, "none of that id", "muster token list"},
		{"a join as what the token is not for", table, first(AppendJoin(nil, &Join{TableNode{ID: 7, Name: "n7", Addr: "h:7", Role: NodeClient, Level: Level}})), RefusedConflict, "it is a client, and its token is for a server", "--role server"},
		{"a join without a certificate", only, first(AppendJoin(nil, &Join{TableNode{ID: 8, Name: "n8", Addr: "h:8", Role: NodeServer, Level: Level}})), RefusedConflict, "no certificate", "muster token create"},

		{"a user's bad name", table, user(UserCreate, "an/n", PasswordHash{}), RefusedRequest, "'/'", "another"},
		{"a user without a name", table, user(UserCreate, "", PasswordHash{}), RefusedRequest, "empty", "another"},
		{"a user twice", table, user(UserCreate, "ann", PasswordHash{}), RefusedConflict, "there is one of that name", "muster user list"},
		{"a user who is not there", table, user(UserDelete, "eve", PasswordHash{}), RefusedAbsent, "none of that name", "muster user list"},
		{"an action that is none", table, user(5, "ann", PasswordHash{}), RefusedRequest, "action 5", "4 (revoke)"},
		{"a password of no rounds", table, user(UserPassword, "ann", PasswordHash{Hash: [32]byte{1}}), RefusedRequest, "no rounds", "docs/storage.md"},
		{"a password of too many rounds", table, user(UserPassword, "ann", PasswordHash{Rounds: RoundsMax + 1}), RefusedRequest, "100000001 rounds, the limit is 100000000", "docs/storage.md"},
		{"a password for the deleted", table, user(UserDelete, "bob", examplePassword), RefusedRequest, "delete with a password", "muster user password"},
		{"the last administrator deleted", table, user(UserDelete, "ann", PasswordHash{}), RefusedConflict, "nobody could administer", "muster user grant"},

		{"roles of nobody", table, roles("eve", []string{"reader"}, nil), RefusedAbsent, "none of that name", "muster user list"},
		{"no roles", table, roles("bob", nil, nil), RefusedRequest, "0 roles to give", "name 1"},
		{"a role that is not there", table, roles("bob", []string{"writer"}, nil), RefusedAbsent, "none of that name", "muster role list"},
		{"a role taken that is not there", table, roles("bob", nil, []string{"writer"}), RefusedAbsent, "none of that name", "muster role list"},
		{"a role given and taken", table, roles("bob", []string{"reader"}, []string{"reader"}), RefusedRequest, "named twice", "once"},
		{"a role that allows nothing", empty, roles("bob", []string{"none"}, nil), RefusedConflict, "allows nothing", "muster role grant none"},
		{"the last administrator's role", table, roles("ann", nil, []string{"admin"}), RefusedConflict, "nobody could administer", "muster user grant"},

		{"a role's bad name", table, role(RoleCreate, "-x"), RefusedRequest, "begins with '-'", "another"},
		{"a role twice", table, role(RoleCreate, "admin"), RefusedConflict, "there is one of that name", "muster role list"},
		{"a change of no role", table, role(RoleGrant, "writer", reader), RefusedAbsent, "none of that name", "muster role list"},
		{"a role's action that is none", table, role(5, "admin"), RefusedRequest, "action 5", "4 (revoke)"},
		{"a verb that means nothing there", table, role(RoleGrant, "reader", exampleGrant(access.Write, "cluster")), RefusedRequest, "means nothing there", "--help"},
		{"an object that is none", table, role(RoleGrant, "reader", access.Grant{Verbs: 1, Object: access.Object{Kind: 9}}), RefusedRequest, "kind 9", "--help"},
		{"a grant of nothing", table, role(RoleGrant, "reader"), RefusedRequest, "grant of nothing", "VERBS OBJECT"},
		{"an object twice", table, role(RoleGrant, "reader", reader, exampleGrant(access.Write, "app/")), RefusedRequest, "named twice", "once"},
		{"what it has not got", table, role(RoleRevoke, "reader", exampleGrant(access.Read, "app")), RefusedAbsent, `no grant on "key:app"`, "muster role list"},
		{"the last grant of a role that is used", table, role(RoleRevoke, "reader", reader), RefusedConflict, "users have it: ann, bob", "muster user revoke NAME reader"},
		{"a role deleted that is used", table, role(RoleDelete, "reader"), RefusedConflict, "users have it: ann, bob", "muster user revoke NAME reader"},
		{"a role deleted with grants", table, role(RoleDelete, "reader", reader), RefusedRequest, "delete with 1 grants", "name none"},
		{"the last administrator's grant", table, role(RoleRevoke, "admin", exampleGrant(access.Admin, "cluster")), RefusedConflict, "nobody could administer", "muster user grant"},
		{"two administrators' grant", two, role(RoleRevoke, "admin", exampleGrant(all, "cluster")), RefusedConflict, "nobody could administer", "muster user grant"},

		{"a limit of all keys", table, first(AppendSetLimit(nil, &SetLimit{Limit{"", 1, 0, 0}})), RefusedRequest, "prefix of 0 bytes", "1 to 4096"},
		{"a limit of too long a prefix", table, first(AppendSetLimit(nil, &SetLimit{Limit{strings.Repeat("k", KeyMax+1), 1, 0, 0}})), RefusedRequest, "prefix of 4097 bytes", "1 to 4096"},
		{"no limit where there is none", table, first(AppendSetLimit(nil, &SetLimit{Limit{Prefix: "web/"}})), RefusedAbsent, "there is none", "muster namespace list"},
		{"a trail of no member", table, trail(7, 1, 0, 1), RefusedAbsent, "no member", "muster node list"},
		{"a trail that is shorter", table, trail(97, 11, 12, 5), RefusedConflict, "it had 12 lines, now it has 11", "muster audit verify"},
		{"a trail that is another one", table, trail(97, 12, 12, 6), RefusedConflict, "line 12 has another hash", "muster audit verify"},
		{"a trail that was compared with an older table", table, trail(97, 17, 0, 6), RefusedConflict, "it was compared with 0 lines, and 12 are known", "newest table"},
	} {
		made, r := tried(t, c.table, c.b, nil)
		if r == nil || made != nil || r.Kind != c.kind || !strings.Contains(r.Found, c.found) || !strings.Contains(r.Next, c.next) || strings.Contains(r.Error(), "\n") {
			t.Errorf("%s: got %+v, want kind %d, %q, %q", c.name, r, c.kind, c.found, c.next)
		}
		if c.table.Level < SecurityLevel {
			continue
		}
		if _, err := ReadTable(c.table.AppendTo(nil)); err != nil && c.table != &gone && c.table != &waiting {
			t.Errorf("%s: the table can't be: %v", c.name, err)
		}
	}
}

// Each list has a bound, or somebody who runs wild would fill the table on every node. Where what is
// over can go, it does.
func TestSecurityLimits(t *testing.T) {
	table := securedMachine(t).Table()
	refused := func(name string, table *Table, b []byte, found string) {
		t.Helper()
		if _, r := tried(t, table, b, nil); r == nil || !strings.Contains(r.Found, found) {
			t.Errorf("%s: got %v, want %q", name, r, found)
		}
	}
	full := *table
	s := &full.Security
	s.Users, s.Roles, s.Limits, s.Tokens, s.Denied = clone(s.Users), clone(s.Roles), clone(s.Limits), clone(s.Tokens), nil
	full.Index = 1 << 20
	for i := len(s.Users); i < UsersMax; i++ {
		s.Users = append(s.Users, User{ID: Principal(1000 + i), Name: fmt.Sprint("u", i)})
	}
	for i := len(s.Roles); i < RolesMax; i++ {
		s.Roles = append(s.Roles, Role{Name: fmt.Sprintf("s%05d", i), Grants: []access.Grant{exampleGrant(access.Read, fmt.Sprint("k", i))}})
	}
	for i := len(s.Limits); i < NamespacesMax; i++ {
		s.Limits = append(s.Limits, Limit{Prefix: fmt.Sprintf("x%05d/", i), Keys: 1})
	}
	for i := len(s.Tokens); i < TokensMax; i++ {
		s.Tokens = append(s.Tokens, Token{ID: uint64(1000 + i), Public: [32]byte{9, byte(i), byte(i >> 8)}, Role: NodeServer, Uses: 1, Expires: 9000})
	}
	for i := range DeniedMax {
		s.Denied = append(s.Denied, Denial{Serial: Serial{byte(i >> 8), byte(i), 1}, Until: int64(5000 + i)})
	}
	if err := full.check(); err != nil {
		t.Fatal(err)
	}
	refused("a user", &full, first(AppendChangeUser(nil, &ChangeUser{Action: UserCreate, Name: "more"})), "1000 users")
	refused("a role", &full, first(AppendChangeRole(nil, &ChangeRole{Action: RoleCreate, Name: "more"})), "256 roles")
	refused("a limit", &full, first(AppendSetLimit(nil, &SetLimit{Limit{"more", 1, 0, 0}})), "64 limits")
	deny := func(at int64) []byte { return first(AppendDeny(nil, &Deny{Denial{Serial{200}, 9999, ""}, at})) }
	refused("a denial", &full, deny(4999), "4096 certificates are denied")
	if made := allowed(t, &full, deny(5000), nil); made.Security.IsDenied(Serial{0, 0, 1}) || !made.Security.IsDenied(Serial{200}) || !made.Security.IsDenied(Serial{0, 1, 1}) || len(made.Security.Denied) != DeniedMax {
		t.Error("not the one that has ended goes")
	}
	token := func(at int64) []byte {
		return first(AppendNewToken(nil, &NewToken{[32]byte{8}, NodeServer, 1, at + 1000, 16, at}))
	}
	made := allowed(t, &full, token(3000), nil) // in place of 22, which was revoked
	if _, ok := made.Security.Token(22); ok || len(made.Security.Tokens) != TokensMax {
		t.Errorf("%d tokens, the revoked one among them: %t", len(made.Security.Tokens), ok)
	}
	made.Security.Tokens[0].Uses = 0
	again := allowed(t, made, first(AppendNewToken(nil, &NewToken{[32]byte{10}, NodeServer, 1, 4000, 16, 3000})), nil)
	if _, ok := again.Security.Token(20); ok {
		t.Error("the token without uses stays")
	}
	refused("a token", again, first(AppendNewToken(nil, &NewToken{[32]byte{11}, NodeServer, 1, 4000, 16, 3000})), "256 tokens")

	// A node can be taken off however many are denied: it has no pin any more.
	full.Nodes = slices.DeleteFunc(clone(full.Nodes), func(n TableNode) bool { return n.ID == 100 })
	full.Nodes = append(full.Nodes, TableNode{ID: 500, Addr: "h:500", Role: NodeServer, Level: Level})
	s.Pins = append(slices.DeleteFunc(clone(s.Pins), func(p Pin) bool { return p.Node == 100 }), examplePin(500))
	if made := allowed(t, &full, first(AppendLeave(nil, &Leave{500})), nil); len(made.Security.Denied) != DeniedMax || made.Security.IsDenied(examplePin(500).Serial) {
		t.Errorf("%d are denied", len(made.Security.Denied))
	} else if _, pinned := made.Security.Pin(500); pinned {
		t.Error("the node is still pinned")
	}

	var grants []access.Grant
	for i := range GrantsMax + 1 {
		grants = append(grants, exampleGrant(access.Read, fmt.Sprint("g", i)))
	}
	refused("grants at once", table, first(AppendChangeRole(nil, &ChangeRole{RoleGrant, "reader", grants})), "65 grants")
	refused("grants", table, first(AppendChangeRole(nil, &ChangeRole{RoleGrant, "reader", grants[:GrantsMax]})), "it would have 65 grants, the limit is 64")
	many := *table
	many.Security.Roles, many.Security.Users = s.Roles, clone(table.Security.Users)
	var names []string
	for _, r := range s.Roles[len(s.Roles)-UserRolesMax:] {
		names = append(names, r.Name)
	}
	refused("a user's roles", &many, first(AppendChangeUserRoles(nil, &ChangeUserRoles{"bob", names, nil})), "it would have 65 roles, the limit is 64")
	allowed(t, &many, first(AppendChangeUserRoles(nil, &ChangeUserRoles{"bob", names, []string{"reader"}})), nil)

	waiting := *table
	waiting.Security.Pins = nil
	for i := range PinsMax - TableNodesMax {
		p := examplePin(raft.NodeID(1000 + i))
		p.Key[3], p.Key[4], p.NotAfter = byte(i), byte(i>>8), int64(5000-i%2)
		waiting.Security.Pins = append(waiting.Security.Pins, p)
	}
	enrol := func(at int64) []byte { return first(AppendUseToken(nil, &UseToken{20, at, examplePin(8)})) }
	refused("a host", &waiting, enrol(4998), "1000 hosts")
	after := allowed(t, &waiting, enrol(4999), nil)
	if _, there := after.Security.Pin(1001); there || len(after.Security.Pins) != PinsMax-TableNodesMax {
		t.Errorf("%d pins, the one that has ended among them: %t", len(after.Security.Pins), there)
	}
}

// A host that comes by a token may lose the answer, and asks again: it must not cost another use.
// Nobody else may have that.
func TestTokenUsedAgain(t *testing.T) {
	table := securedMachine(t).Table() // token 20: one use is left, node 7 has taken the other
	use := func(change func(*UseToken)) []byte {
		u := &UseToken{20, 3500, examplePin(7)}
		if change != nil {
			change(u)
		}
		return first(AppendUseToken(nil, u))
	}
	left := func(t *Table) uint32 { k, _ := t.Security.Token(20); return k.Uses }
	if left(table) != 1 {
		t.Fatalf("%d uses are left", left(table))
	}
	if allowed(t, table, use(nil), nil) != table {
		t.Error("the same again makes another table")
	}
	another := allowed(t, table, use(func(u *UseToken) { u.Pin.Serial, u.Pin.NotAfter = Serial{88}, 6000 }), nil)
	if p, _ := another.Security.Pin(7); left(another) != 1 || p.Serial != (Serial{88}) || p.Token != 20 || p.Role != NodeServer {
		t.Errorf("another certificate for the same key: %d uses left, pin %+v", left(another), p)
	}
	over := allowed(t, another, use(func(u *UseToken) { u.Pin = examplePin(8) }), nil)
	if left(over) != 0 {
		t.Errorf("%d uses are left", left(over))
	}
	allowed(t, over, use(nil), nil) // still the same host
	if _, r := tried(t, over, use(func(u *UseToken) { u.Pin = examplePin(9) }), nil); r == nil {
		t.Error("a third host has come by a token of two uses")
	}
	joined := allowed(t, over, first(AppendJoin(nil, &Join{TableNode{ID: 7, Name: "n7", Addr: "h:7", Role: NodeServer, Level: Level}})), nil)
	allowed(t, joined, use(func(u *UseToken) { u.Pin.Serial = Serial{89} }), nil) // it did not hear of either
	revoked := allowed(t, joined, first(AppendRevokeToken(nil, &RevokeToken{20})), nil)
	_, waits := revoked.Security.Pin(8)
	if _, member := revoked.Security.Pin(7); waits || !member {
		t.Errorf("revoked: the host that waits is pinned: %t, the member: %t", waits, member)
	}
	if _, r := tried(t, revoked, use(nil), nil); r == nil {
		t.Error("by a revoked token a host gets another certificate")
	}
	renewed := allowed(t, joined, first(AppendSetPin(nil, &SetPin{examplePin(7)})), nil)
	if p, _ := renewed.Security.Pin(7); p.Token != 0 || p.Role != 0 {
		t.Errorf("renewed: %+v", p)
	}
}

// A node that leaves takes nothing along that could be used: its certificate is denied, and its pin
// and trail are gone.
func TestLeaveEndsCertificate(t *testing.T) {
	table := *securedMachine(t).Table()
	table.Meta.Replicas, table.Groups = nil, nil
	table.Slots = [Slots]raft.GroupID{}
	left := allowed(t, &table, first(AppendLeave(nil, &Leave{97})), nil)
	s := &left.Security
	_, pinned := s.Pin(97)
	_, trail := s.Trail(97)
	if i, ok := s.denial(examplePin(97).Serial); pinned || trail || !ok || s.Denied[i].Until != 5000 {
		t.Errorf("pinned %t, trail %t, denied %+v", pinned, trail, s.Denied)
	}
	if _, was := table.Security.Pin(97); !was || len(table.Security.Denied) != 1 {
		t.Error("the table of before has changed")
	}
	lost := table.WithoutLost(77, raft.LogID{Term: 9, Index: 1 << 30}, []raft.NodeID{97, 98})
	if _, err := ReadTable(lost.AppendTo(nil)); err != nil {
		t.Error(err)
	}
	if s := &lost.Security; s.ClusterOf(lost) != 99 || len(s.Pins) != 3 || len(s.Trails) != 0 || !s.IsDenied(examplePin(98).Serial) {
		t.Errorf("certificates name cluster %d; %d pins, %d trails, denied %+v", s.ClusterOf(lost), len(s.Pins), len(s.Trails), s.Denied)
	}
	if again := lost.WithoutLost(78, raft.LogID{Term: 10, Index: 1 << 31}, nil); again.Security.ClusterOf(again) != 99 {
		t.Errorf("lost twice, certificates name cluster %d", again.Security.ClusterOf(again))
	}
}

// A root takes over from another without a moment in which none issues.
func TestRootTakesOver(t *testing.T) {
	table := securedMachine(t).Table()
	next := exampleRoot(2, RootIssuing)
	next.DER, next.Wrapped, next.WrapKey, next.Since = nil, nil, WrapKeyID{}, 7000 // as the table has them
	made := allowed(t, table, first(AppendSetRoot(nil, &SetRoot{next})), nil)
	one, other := exampleRoot(1, RootTrusted), exampleRoot(2, RootIssuing)
	one.Since, other.Since = 7000, 7000
	if want := []Root{one, other}; !reflect.DeepEqual(made.Security.Roots, want) {
		t.Errorf("got %+v, want %+v", made.Security.Roots, want)
	}
	again := next
	again.Since = 8000
	if allowed(t, made, first(AppendSetRoot(nil, &SetRoot{again})), nil) != made {
		t.Error("told again, it makes another table")
	}
	rewrapped := exampleRoot(2, RootIssuing)
	rewrapped.Wrapped, rewrapped.WrapKey = []byte("anew"), WrapKeyID{4}
	if made := allowed(t, made, first(AppendSetRoot(nil, &SetRoot{rewrapped})), nil); string(made.Security.Roots[1].Wrapped) != "anew" || made.Security.Roots[1].Since != 7000 {
		t.Errorf("wrapped with another key: %+v", made.Security.Roots[1])
	}
	old := exampleRoot(1, RootRetired)
	old.Since = 9000
	over := allowed(t, made, first(AppendSetRoot(nil, &SetRoot{old})), nil)
	if r, _ := over.Security.Root(old.ID); r.State != RootRetired || r.Wrapped != nil || r.WrapKey != (WrapKeyID{}) || r.Since != 9000 {
		t.Errorf("retired: %+v", r)
	}
	full := allAllowed(t, over, first(AppendSetRoot(nil, &SetRoot{exampleRoot(3, RootTrusted)})), first(AppendSetRoot(nil, &SetRoot{exampleRoot(4, RootTrusted)})),
		first(AppendSetRoot(nil, &SetRoot{exampleRoot(5, RootTrusted)})))
	if _, ok := full.Security.Root(old.ID); ok || len(full.Security.Roots) != RootsMax {
		t.Errorf("%d roots, the retired one among them: %t", len(full.Security.Roots), ok)
	}
}

// The log is shown to people, and copied into reports: it says how large a secret is, and no more.
func TestDescribedSecurityIsNoSecret(t *testing.T) {
	n := 0
	for _, b := range secure() {
		text, err := DescribeTable(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"wrapped\"", "7772617070656", "pepper", "hash of", "73616c74", "68617368", "115 97 108"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows %s", text, secret)
			}
		}
		if strings.Contains(text, "password of 600000 rounds") || strings.Contains(text, "key of 7 bytes wrapped") {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d lines tell of a secret, want 3", n)
	}
}

// A client can say neither who it is nor how late it is: the leader writes both.
func TestStamped(t *testing.T) {
	b, err := Stamped(first(AppendNewToken(nil, &NewToken{[32]byte{1}, NodeServer, 1, 1600, 4, 1000})), 16, 5000)
	if want := first(AppendNewToken(nil, &NewToken{[32]byte{1}, NodeServer, 1, 5600, 16, 5000})); err != nil || !bytes.Equal(b, want) {
		t.Errorf("a token: % x, %v, want % x", b, err, want)
	}
	b, err = Stamped(first(AppendChangeUser(nil, &ChangeUser{Action: UserRevoke, Name: "ann", At: 1})), 16, 5000)
	if want := first(AppendChangeUser(nil, &ChangeUser{Action: UserRevoke, Name: "ann", At: 5000 + LeaderClocks})); err != nil || !bytes.Equal(b, want) {
		t.Errorf("a user: % x, %v, want % x", b, err, want)
	}
	same := first(AppendDrain(nil, &Drain{97, true}))
	if b, err := Stamped(same, 16, 5000); err != nil || !bytes.Equal(b, same) {
		t.Errorf("a drain: % x, %v", b, err)
	}
	if _, err := Stamped(same[:3], 16, 5000); !errors.Is(err, ErrCommand) {
		t.Errorf("a broken command: %v", err)
	}
}

// Each rule for roles and users has a case that is allowed beside those that are refused.
func TestUsersAndRolesChange(t *testing.T) {
	table := securedMachine(t).Table()
	grant := func(a RoleAction, name string, g ...access.Grant) []byte {
		return first(AppendChangeRole(nil, &ChangeRole{a, name, g}))
	}
	grants := func(t *Table, name string) []access.Grant { r, _ := t.Security.Role(name); return r.Grants }
	for _, c := range []struct {
		what string
		b    []byte
		role string
		want []access.Grant
	}{
		{"one more object, in order", grant(RoleGrant, "reader", exampleGrant(access.List, "aaa")), "reader", []access.Grant{exampleGrant(access.List, "aaa"), exampleGrant(access.Read, "app/")}},
		{"one more verb", grant(RoleGrant, "reader", exampleGrant(access.List, "app/")), "reader", []access.Grant{exampleGrant(access.Read|access.List, "app/")}},
		{"all verbs", grant(RoleGrant, "reader", exampleGrant(access.All, "app/")), "reader", []access.Grant{exampleGrant(access.All, "app/")}},
		{"one less of all", grant(RoleRevoke, "admin", exampleGrant(access.Write, "key:")), "admin", []access.Grant{exampleGrant(access.Read|access.List|access.Watch, "key:"), exampleGrant(access.Admin|access.Read, "cluster")}},
		{"all of one", grant(RoleRevoke, "admin", exampleGrant(access.All, "key:")), "admin", []access.Grant{exampleGrant(access.Admin|access.Read, "cluster")}},
		{"a role of nothing", grant(RoleCreate, "later"), "later", nil},
	} {
		made := allowed(t, table, c.b, nil)
		if got := grants(made, c.role); !slices.Equal(got, c.want) || made.Security.Rules != made.Index {
			t.Errorf("%s: got %v, want %v; rules of %d at %d", c.what, got, c.want, made.Security.Rules, made.Index)
		}
	}
	if made := allowed(t, table, grant(RoleGrant, "reader", exampleGrant(access.Read, "app/")), nil); made != table {
		t.Error("what is granted already makes another table")
	}
	user := func(a UserAction, name string) []byte {
		return first(AppendChangeUser(nil, &ChangeUser{Action: a, Name: name, At: 6000}))
	}
	roles := func(name string, give, take []string) []byte {
		return first(AppendChangeUserRoles(nil, &ChangeUserRoles{name, give, take}))
	}
	two := allAllowed(t, table, roles("bob", []string{"admin"}, []string{"reader"}))
	without := allAllowed(t, two, user(UserDelete, "ann"), grant(RoleDelete, "reader"))
	if len(without.Security.Users) != 1 || len(without.Security.Roles) != 1 {
		t.Errorf("users %v, roles %v", without.Security.Users, without.Security.Roles)
	}
	remade := allAllowed(t, without, user(UserCreate, "ann"))
	was, _ := table.Security.UserNamed("ann")
	if u, _ := remade.Security.UserNamed("ann"); u.ID == was.ID || u.CertsAfter != 6000 || len(u.Roles) > 0 || !u.Password.None() {
		t.Errorf("deleted and made anew, she is %+v", u)
	}
	if u, _ := allowed(t, table, user(UserRevoke, "ann"), nil).Security.UserNamed("ann"); u.CertsAfter != 6000 || u.ID != was.ID {
		t.Errorf("with her certificates revoked she is %+v", u)
	}
	if u, _ := allowed(t, table, user(UserPassword, "ann"), nil).Security.UserNamed("ann"); !u.Password.None() {
		t.Errorf("without a password she is %+v", u)
	}
	// Where nobody ever could administer the cluster, nobody is kept for it.
	none := testTable(t).Table()
	allAllowed(t, none, user(UserCreate, "eve"), user(UserDelete, "eve"))
}

// A founding says in which mode the cluster begins; below the level its bytes are those of before.
func TestFoundMode(t *testing.T) {
	f := testFound(3, 3)
	plain := first(AppendFound(nil, f))
	f.Mode = SecurityBoth
	m := NewTableMachine()
	applyTable(t, m, 1, first(AppendFound(nil, f)), nil)
	if got := m.Table().Security.Mode; got != SecurityBoth {
		t.Errorf("founded in mode %s", got)
	}
	m = NewTableMachine()
	applyTable(t, m, 1, plain, nil)
	if got := m.Table().Security.Mode; got != SecurityOff || plain[2] != 0x96 {
		t.Errorf("founded in mode %s, by % x", got, plain[:3])
	}
	for what, change := range map[string]func(*Found){
		"TLS alone": func(f *Found) { f.Mode = SecurityOnly },
		"below the level": func(f *Found) {
			f.Level = SecurityLevel - 1
		},
	} {
		g := *f
		change(&g)
		m := NewTableMachine()
		if r := applyTable(t, m, 1, first(AppendFound(nil, &g)), nil); r.Refused == nil || m.Table().Founded() {
			t.Errorf("%s: %+v", what, r)
		}
	}
}
