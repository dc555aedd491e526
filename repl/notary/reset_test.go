package notary

import (
	"errors"
	"testing"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

// An administrator comes back by the disk of a voter, whatever has become of users and roles meanwhile. What somebody
// has narrowed stays so, because others have it; a role that allows everything under another name will do; and what the
// table refuses is told at once, and changes nothing.
func TestReset(t *testing.T) {
	narrow := access.Role{Name: AdminRole, Grants: AllGrants()[:1]}
	again := access.Role{Name: "admin-reset", Grants: AllGrants()[:1]}
	whole, ops := access.Role{Name: AdminRole, Grants: AllGrants()}, access.Role{Name: "ops", Grants: AllGrants()}
	full := errors.New("no room")
	for _, tt := range []struct {
		name  string
		roles []access.Role // by name
		user  []string      // roles of ann; nil: she is not there
		want  string        // her role
	}{
		{"nothing is left", nil, nil, "admin"},
		{"the role is there", []access.Role{whole}, nil, "admin"},
		{"the user is there", []access.Role{whole}, []string{}, "admin"},
		{"all is there", []access.Role{whole}, []string{"admin"}, "admin"},
		{"the role was narrowed", []access.Role{narrow}, []string{"admin"}, "admin-reset"},
		{"so was the one of the last reset", []access.Role{narrow, again}, nil, "admin-reset-2"},
		{"another role allows everything", []access.Role{narrow, ops}, nil, "ops"},
		{"she has another one", []access.Role{whole, ops}, []string{"ops"}, "ops"},
	} {
		m := shardmap.NewTableMachine()
		index := uint64(0)
		apply := func(command []byte) {
			t.Helper()
			index++
			if _, err := m.Apply(raft.LogID{Term: 1, Index: index}, command); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
		}
		apply(must(shardmap.AppendFound(nil, &shardmap.Found{Cluster: "w", ClusterID: 1, Level: shardmap.Level, ValueMax: 1 << 20, Groups: 1, Mode: shardmap.SecurityBoth,
			Nodes: []shardmap.FoundNode{{ID: 1, Name: "n1", Addr: "n1:1", Role: shardmap.NodeServer, Level: shardmap.Level}}})))
		for _, r := range tt.roles {
			apply(must(shardmap.AppendChangeRole(nil, &shardmap.ChangeRole{Action: shardmap.RoleCreate, Name: r.Name, Grants: r.Grants})))
		}
		if tt.user != nil {
			apply(must(shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: shardmap.UserCreate, Name: "ann", At: 1})))
		}
		if len(tt.user) > 0 {
			apply(must(shardmap.AppendChangeUserRoles(nil, &shardmap.ChangeUserRoles{User: "ann", Give: tt.user})))
		}
		r := &request{Request: Request{Number: 7, By: ByReset, Node: 1, User: "ann"}}
		before, made := m.Table().Security.Roles, false
		c, now := New(1), Now{Wall: worldStart}
		c.Lead(true)
		for range 5 {
			c.Table(m.Table())
			refusal, is := reinstate(c, now, r)
			if refusal != nil {
				t.Fatalf("%s: %v", tt.name, refusal)
			}
			if made = is; made {
				break
			}
			actions := c.actions
			c.actions = nil
			for _, a := range actions {
				apply(a.Payload)
				c.Ended(now, a.Number, Result{})
			}
		}
		u, _ := m.Table().Security.UserNamed("ann")
		if got := RoleOf(&m.Table().Security, &u); !made || got != tt.want {
			t.Errorf("%s: done %t, with role %q, want %q", tt.name, made, got, tt.want)
		}
		for _, was := range before {
			if is, ok := m.Table().Security.Role(was.Name); !ok || len(is.Grants) != len(was.Grants) {
				t.Errorf("%s: role %s was %v, and is %v", tt.name, was.Name, was.Grants, is.Grants)
			}
		}

		// Refused once, and told as that.
		c = New(1)
		c.Lead(true)
		c.Table(m.Table())
		refusal := wire.Unavailable("role", full.Error())
		c.said[r.role()] = &said{err: refusal}
		if got, is := reinstate(c, now, r); got != refusal || is {
			t.Errorf("%s: after a refusal: got %v, done %t", tt.name, got, is)
		}
	}
}
