package shardmap

import (
	"fmt"
	"slices"
	"strings"

	"muster/raft"
	"muster/shardmap/access"
	"muster/shardmap/pack"
)

// UserAction says what becomes of a user. Numbers are for ever.
type UserAction uint8

const (
	UserCreate   UserAction = 1 // there is a user of that name from now on, with a password or without
	UserPassword UserAction = 2 // the password is another one, or there is none any more
	UserDelete   UserAction = 3 // there is none of that name any more
	UserRevoke   UserAction = 4 // certificates in the user's name that were issued before now are no longer good
)

// ChangeUser makes, changes or deletes a user:
//
//	[action, name, [salt, rounds, hash], now]
type ChangeUser struct {
	Action   UserAction
	Name     string
	Password PasswordHash // for UserCreate and UserPassword
	At       int64        // now, in Unix seconds; see Stamped
}

// ChangeUserRoles gives roles to a user and takes roles away:
//
//	[name, [role to give, …], [role to take, …]]
type ChangeUserRoles struct {
	User string
	Give []string
	Take []string
}

// AppendChangeUser appends the bytes of u to b. At this level the error is always nil.
func AppendChangeUser(b []byte, u *ChangeUser) ([]byte, error) {
	b = appendTableHead(b, TableUser, changeUserFields)
	b = pack.AppendUint(b, uint64(u.Action))
	b = pack.AppendString(b, u.Name)
	b = u.Password.append(b)
	return pack.AppendInt(b, u.At), nil
}

// AppendChangeUserRoles appends the bytes of u to b. At this level the error is always nil.
func AppendChangeUserRoles(b []byte, u *ChangeUserRoles) ([]byte, error) {
	b = appendTableHead(b, TableUserRoles, changeUserRolesFields)
	b = pack.AppendString(b, u.User)
	b = appendTexts(b, u.Give)
	return appendTexts(b, u.Take), nil
}

const (
	changeUserFields      = 4
	changeUserRolesFields = 3
)

var userActionNames = [...]string{UserCreate: "create", UserPassword: "password", UserDelete: "delete", UserRevoke: "revoke"}

// Known reports whether this level has such an action.
func (a UserAction) Known() bool { return a != 0 && int(a) < len(userActionNames) }

func (a UserAction) String() string {
	if !a.Known() {
		return fmt.Sprintf("action %d", uint8(a))
	}
	return userActionNames[a]
}

func readChangeUser(r *tableReader) (tableCommand, error) {
	u := new(ChangeUser)
	r.fields("change of a user", changeUserFields)
	u.Action, u.Name = UserAction(r.UintMax(255)), r.String()
	u.Password, u.At = readPassword(r), r.Int()
	return u, r.err()
}

func readChangeUserRoles(r *tableReader) (tableCommand, error) {
	u := new(ChangeUserRoles)
	r.fields("roles of a user", changeUserRolesFields)
	u.User, u.Give, u.Take = r.String(), readTexts(r), readTexts(r)
	return u, r.err()
}

// unknownUser is the refusal of what is about a user who is not there.
func unknownUser(name string) error {
	return &Refusal{Kind: RefusedAbsent, Object: "user " + describeText(name), Found: "there is none of that name", Next: "see muster user list"}
}

// badName is the refusal of a name of a user or a role that can't be one.
func badName(what string, err error) error {
	return &Refusal{Kind: RefusedRequest, Object: "name of a " + what, Found: err.Error(), Next: "choose another one"}
}

// apply returns the table with what becomes of the user.
func (u *ChangeUser) apply(t *Table, id raft.LogID) (*Table, error) {
	s := &t.Security
	if err := access.CheckName(u.Name); err != nil {
		return t, badName("user", err)
	}
	object := "user " + u.Name
	refused := func(kind RefusalKind, found, next string) (*Table, error) {
		return t, &Refusal{Kind: kind, Object: object, Found: found, Next: next}
	}
	i := s.userNamed(u.Name)
	switch {
	case !u.Action.Known():
		return refused(RefusedRequest, u.Action.String(), "want 1 (create), 2 (password), 3 (delete) or 4 (revoke)")
	case u.Action != UserCreate && i < 0:
		return t, unknownUser(u.Name)
	case u.Action != UserCreate && u.Action != UserPassword && u.Password != PasswordHash{}:
		return refused(RefusedRequest, u.Action.String()+" with a password", "change the password alone: muster user password NAME")
	}
	if err := u.Password.check(); err != nil {
		return refused(RefusedRequest, err.Error(), "say what docs/storage.md has of a password")
	}
	made := t.draft(id)
	now := &made.Security
	now.Rules = id.Index
	now.Users = slices.Clone(s.Users)
	switch u.Action {
	case UserCreate:
		if i >= 0 {
			return refused(RefusedConflict, "there is one of that name", "choose another name; or see muster user list")
		}
		if len(s.Users) >= UsersMax {
			return refused(RefusedConflict, fmt.Sprintf("there are %d users, as many as there may be", len(s.Users)), "delete one first: muster user del NAME")
		}
		// Certificates of an earlier user of that name are not those of this one.
		now.Users = append(now.Users, User{ID: Principal(id.Index), Name: u.Name, Password: u.Password, CertsAfter: u.At})
	case UserPassword:
		if s.Users[i].Password == u.Password {
			return t, nil
		}
		now.Users[i].Password = u.Password
	case UserDelete:
		now.Users = lessOne(s.Users, i)
	case UserRevoke:
		if s.Users[i].CertsAfter >= u.At {
			return t, nil
		}
		now.Users[i].CertsAfter = u.At
	}
	if err := lastAdmin(s, now, object); err != nil {
		return t, err
	}
	return made.Table, nil
}

// Administered reports whether some user may administer the cluster.
func (s *Security) Administered() bool {
	var admins []string // by name, as the roles are
	for i := range s.Roles {
		if slices.ContainsFunc(s.Roles[i].Grants, func(g access.Grant) bool { return g.Object.Kind == access.Cluster && g.Verbs&access.Admin != 0 }) {
			admins = append(admins, s.Roles[i].Name)
		}
	}
	return slices.ContainsFunc(s.Users, func(u User) bool {
		return slices.ContainsFunc(u.Roles, func(role string) bool {
			_, ok := slices.BinarySearch(admins, role)
			return ok
		})
	})
}

// lastAdmin refuses what leaves nobody who may administer the cluster, where there was somebody.
func lastAdmin(was, now *Security, object string) error {
	if now.Administered() || !was.Administered() {
		return nil
	}
	return &Refusal{Kind: RefusedConflict, Object: object, Found: "then nobody could administer the cluster any more", Next: "give admin on cluster to another user first: muster user grant NAME ROLE"}
}

// apply returns the table with the user's roles.
func (u *ChangeUserRoles) apply(t *Table, id raft.LogID) (*Table, error) {
	s := &t.Security
	i := s.userNamed(u.User)
	if i < 0 {
		return t, unknownUser(u.User)
	}
	object := "user " + u.User
	all := slices.Concat(u.Give, u.Take)
	if n := len(all); n == 0 || n > 2*UserRolesMax {
		return t, &Refusal{Kind: RefusedRequest, Object: object, Found: fmt.Sprintf("%d roles to give and %d to take", len(u.Give), len(u.Take)), Next: fmt.Sprintf("name 1 to %d", 2*UserRolesMax)}
	}
	for at, name := range all {
		role, ok := s.Role(name)
		switch {
		case !ok:
			return t, unknownRole(name)
		case slices.Contains(all[:at], name):
			return t, &Refusal{Kind: RefusedRequest, Object: object, Found: fmt.Sprintf("role %s is named twice", name), Next: "name it once"}
		case len(role.Grants) == 0 && at < len(u.Give):
			return t, &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("role %s allows nothing", name), Next: fmt.Sprintf("say first what it allows: muster role grant %s VERBS OBJECT", name)}
		}
	}
	roles := slices.Concat(s.Users[i].Roles, u.Give)
	slices.Sort(roles)
	roles = slices.DeleteFunc(slices.Compact(roles), func(name string) bool { return slices.Contains(u.Take, name) })
	switch {
	case slices.Equal(roles, s.Users[i].Roles):
		return t, nil
	case len(roles) > UserRolesMax:
		return t, &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("it would have %d roles, the limit is %d", len(roles), UserRolesMax), Next: "take some first: muster user revoke NAME ROLE"}
	case len(roles) == 0:
		roles = nil
	}
	made := t.draft(id)
	made.Security.Rules = id.Index
	made.Security.Users = slices.Clone(s.Users)
	made.Security.Users[i].Roles = roles
	if err := lastAdmin(s, &made.Security, object); err != nil {
		return t, err
	}
	return made.Table, nil
}

func (u *ChangeUser) describe() string {
	text := u.Action.String() + " " + describeText(u.Name)
	if !u.Password.None() {
		text += fmt.Sprintf(" password of %d rounds", u.Password.Rounds)
	}
	return fmt.Sprintf("%s at %d", text, u.At)
}

func (u *ChangeUserRoles) describe() string {
	return fmt.Sprintf("%s give %s take %s", describeText(u.User), describeNames(u.Give), describeNames(u.Take))
}

// describeNames names the first of some names, and counts all.
func describeNames(names []string) string {
	if len(names) == 0 {
		return "0"
	}
	var texts []string
	for _, name := range names[:min(len(names), describedMax)] {
		texts = append(texts, describeText(name))
	}
	return fmt.Sprintf("%d: %s", len(names), strings.Join(texts, ", "))
}
