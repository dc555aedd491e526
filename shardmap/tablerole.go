package shardmap

import (
	"fmt"
	"slices"
	"strings"

	"muster/raft"
	"muster/shardmap/access"
	"muster/shardmap/pack"
)

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

// AppendChangeRole appends the bytes of c to b. At this level the error is always nil.
func AppendChangeRole(b []byte, c *ChangeRole) ([]byte, error) {
	b = appendTableHead(b, TableRole, changeRoleFields)
	b = pack.AppendUint(b, uint64(c.Action))
	b = pack.AppendString(b, c.Name)
	return appendGrants(b, c.Grants), nil
}

const changeRoleFields = 3

var roleActionNames = [...]string{RoleCreate: "create", RoleDelete: "delete", RoleGrant: "grant", RoleRevoke: "revoke"}

// Known reports whether this level has such an action.
func (a RoleAction) Known() bool { return a != 0 && int(a) < len(roleActionNames) }

func (a RoleAction) String() string {
	if !a.Known() {
		return fmt.Sprintf("action %d", uint8(a))
	}
	return roleActionNames[a]
}

func readChangeRole(r *tableReader) (tableCommand, error) {
	c := new(ChangeRole)
	r.fields("change of a role", changeRoleFields)
	c.Action, c.Name, c.Grants = RoleAction(r.UintMax(255)), r.String(), readGrants(r)
	return c, r.err()
}

// unknownRole is the refusal of what is about a role that is not there.
func unknownRole(name string) error {
	return &Refusal{Kind: RefusedAbsent, Object: "role " + describeText(name), Found: "there is none of that name", Next: "see muster role list"}
}

// apply returns the table with what becomes of the role.
func (c *ChangeRole) apply(t *Table, id raft.LogID) (*Table, error) {
	s := &t.Security
	i, ok := s.role(c.Name)
	if err := c.check(ok); err != nil {
		return t, err
	}
	made := t.draft(id)
	now := &made.Security
	now.Rules, now.Roles = id.Index, slices.Clone(s.Roles)
	switch c.Action {
	case RoleCreate:
		if len(s.Roles) >= RolesMax {
			return t, c.refused(RefusedConflict, fmt.Sprintf("there are %d roles, as many as there may be", len(s.Roles)), "delete one first: muster role del NAME")
		}
		now.Roles = slices.Insert(now.Roles, i, Role{Name: c.Name, Grants: slices.SortedFunc(slices.Values(c.Grants), byObject)})
	case RoleDelete:
		if err := c.unused(s); err != nil {
			return t, err
		}
		now.Roles = lessOne(s.Roles, i)
	case RoleGrant:
		grants, err := c.granted(s.Roles[i].Grants)
		if err != nil {
			return t, err
		}
		now.Roles[i].Grants = grants
	case RoleRevoke:
		grants, err := c.revoked(s.Roles[i].Grants)
		if err != nil {
			return t, err
		}
		if len(grants) == 0 {
			if err := c.unused(s); err != nil {
				return t, err
			}
		}
		now.Roles[i].Grants = grants
	}
	if (c.Action == RoleGrant || c.Action == RoleRevoke) && slices.Equal(now.Roles[i].Grants, s.Roles[i].Grants) {
		return t, nil
	}
	if err := lastAdmin(s, now, "role "+c.Name); err != nil {
		return t, err
	}
	return made.Table, nil
}

func (c *ChangeRole) refused(kind RefusalKind, found, next string) error {
	return &Refusal{Kind: kind, Object: "role " + c.Name, Found: found, Next: next}
}

// check refuses what has no meaning, where a role of the name is there or not.
func (c *ChangeRole) check(there bool) error {
	if err := access.CheckName(c.Name); err != nil {
		return badName("role", err)
	}
	gives := c.Action == RoleGrant || c.Action == RoleRevoke
	switch {
	case !c.Action.Known():
		return c.refused(RefusedRequest, c.Action.String(), "want 1 (create), 2 (delete), 3 (grant) or 4 (revoke)")
	case c.Action == RoleCreate && there:
		return c.refused(RefusedConflict, "there is one of that name", "choose another name; or see muster role list")
	case c.Action != RoleCreate && !there:
		return unknownRole(c.Name)
	case c.Action == RoleDelete && len(c.Grants) > 0:
		return c.refused(RefusedRequest, fmt.Sprintf("delete with %d grants", len(c.Grants)), "name none: all of them go with it")
	case gives && len(c.Grants) == 0:
		return c.refused(RefusedRequest, c.Action.String()+" of nothing", "name a verb and an object: muster role "+c.Action.String()+" NAME VERBS OBJECT")
	case len(c.Grants) > GrantsMax:
		return c.refused(RefusedRequest, fmt.Sprintf("%d grants", len(c.Grants)), fmt.Sprintf("want %d at most", GrantsMax))
	}
	for at, g := range c.Grants {
		if err := g.Check(); err != nil {
			return c.refused(RefusedRequest, err.Error(), "see muster role grant --help")
		}
		if slices.ContainsFunc(c.Grants[:at], func(o access.Grant) bool { return o.Object == g.Object }) {
			return c.refused(RefusedRequest, fmt.Sprintf("%s is named twice", describeText(g.Object.String())), "name it once, with all verbs")
		}
	}
	return nil
}

// unused refuses to leave users with a role that allows nothing.
func (c *ChangeRole) unused(s *Security) error {
	var users []string
	for i := range s.Users {
		if _, has := slices.BinarySearch(s.Users[i].Roles, c.Name); has {
			users = append(users, s.Users[i].Name)
		}
	}
	if len(users) == 0 {
		return nil
	}
	found := "users have it: " + strings.Join(users[:min(len(users), describedMax)], ", ")
	if more := len(users) - describedMax; more > 0 {
		found += fmt.Sprintf(" and %d more", more)
	}
	return c.refused(RefusedConflict, found, fmt.Sprintf("take it from them first: muster user revoke NAME %s", c.Name))
}

// granted returns grants, in order, and what the command adds.
func (c *ChangeRole) granted(grants []access.Grant) ([]access.Grant, error) {
	made := slices.Clone(grants)
	for _, g := range c.Grants {
		at, has := slices.BinarySearchFunc(made, g, byObject)
		if has {
			made[at].Verbs |= g.Verbs
		} else {
			made = slices.Insert(made, at, g)
		}
	}
	if len(made) > GrantsMax {
		return nil, c.refused(RefusedConflict, fmt.Sprintf("it would have %d grants, the limit is %d", len(made), GrantsMax), "take some first: muster role revoke NAME VERBS OBJECT; or make another role")
	}
	return made, nil
}

// revoked returns grants, in order, without what the command takes.
func (c *ChangeRole) revoked(grants []access.Grant) ([]access.Grant, error) {
	made := slices.Clone(grants)
	for _, g := range c.Grants {
		at, has := slices.BinarySearchFunc(made, g, byObject)
		if !has {
			return nil, &Refusal{Kind: RefusedAbsent, Object: "role " + c.Name, Found: "it has no grant on " + describeText(g.Object.String()), Next: "see muster role list; an object must be that of the grant"}
		}
		left := &made[at].Verbs
		if *left&g.Verbs == 0 {
			continue
		}
		if *left == access.All { // what is left of that means something only one by one
			*left = g.Object.Kind.Verbs()
		}
		if *left &^= g.Verbs; *left == 0 {
			made = slices.Delete(made, at, at+1)
		}
	}
	if len(made) == 0 {
		return nil, nil
	}
	return made, nil
}

func (c *ChangeRole) describe() string {
	text := c.Action.String() + " " + describeText(c.Name)
	if len(c.Grants) == 0 {
		return text
	}
	var grants []string
	for _, g := range c.Grants[:min(len(c.Grants), describedMax)] {
		grants = append(grants, g.Verbs.String()+" on "+describeText(g.Object.String()))
	}
	return fmt.Sprintf("%s grants %d: %s", text, len(c.Grants), strings.Join(grants, ", "))
}
