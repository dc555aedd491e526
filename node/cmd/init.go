package cmd

import (
	"os/user"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/shardmap"
	"muster/shardmap/access"
)

// adminRole is the role that init makes if there is none of that name. It is one as any other.
const adminRole = "admin"

func initCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "init", Usage: "make the first administrator of a cluster, with a password that is printed once", ArgsUsage: "[NAME]",
		Description: `Makes the user NAME, or takes the one that is there; without NAME it is named like you. It gets a
new password, and a role that allows everything. Refused once somebody may administer the
cluster who has a password: ask one of them, with "muster user create" and "muster user grant".

With -o json: ` + strings.TrimSuffix(userForm, "}") + `,"password":…}`,
		Action: con.action(runInit),
	})
}

// allGrants allow everything.
func allGrants() (all []access.Grant) {
	for _, k := range []access.Kind{access.Keys, access.Services, access.Databases, access.Cluster} {
		all = append(all, access.Grant{Verbs: access.All, Object: access.Object{Kind: k}})
	}
	return all
}

func runInit(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	name, err := initName(c)
	if err != nil {
		return err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	t, err := s.table(c.Context)
	if err != nil {
		return err
	}
	if who := administrators(&t.Security); len(who) > 0 {
		return withStatus(exitRefused, "init: the cluster has an administrator with a password already: %s; ask one of them for a user and a role", strings.Join(who, ", "))
	}
	role, err := s.roleForAll(c, &t.Security)
	if err != nil {
		return err
	}
	p, err := con.newPassword(c)
	if err != nil {
		return err
	}
	// The role comes last: if this is interrupted, nobody may do anything that nobody knows of, and
	// the command can be given again.
	change := shardmap.ChangeUser{Action: shardmap.UserCreate, Name: name, Password: p.hash}
	if _, there := t.Security.UserNamed(name); there {
		change.Action = shardmap.UserPassword
	}
	command, err := shardmap.AppendChangeUser(nil, &change)
	if err != nil {
		return err
	}
	if _, err := s.ordered(c.Context, "make user "+name, command); err != nil {
		return err
	}
	if command, err = shardmap.AppendChangeUserRoles(nil, &shardmap.ChangeUserRoles{User: name, Give: []string{role}}); err != nil {
		return err
	}
	if t, err = s.ordered(c.Context, "give "+name+" the role "+role, command); err != nil {
		return err
	}
	u, err := userNamed(t, name)
	if err != nil {
		return err
	}
	row := userRowOf(u)
	row.Password = p.made
	return printUser(s, row)
}

// initName is the name that the administrator gets.
func initName(c *cli.Context) (string, error) {
	if c.NArg() == 1 {
		return checkedName(c, "user")
	}
	u, err := user.Current()
	if err == nil {
		err = access.CheckName(u.Username)
	}
	if err != nil {
		return "", usagef("muster init: NAME is missing, and the user that runs this can't give it: %w", err)
	}
	return u.Username, nil
}

// administrators are the users who may administer the cluster, and have a password.
func administrators(s *shardmap.Security) (names []string) {
	var users []access.User
	for i := range s.Users {
		users = append(users, access.User{ID: s.Users[i].ID, Roles: s.Users[i].Roles})
	}
	rules := access.Compile(users, s.Roles)
	for i := range s.Users {
		u := &s.Users[i]
		if !u.Password.None() && rules.Of(u.ID).May(access.Admin, access.Cluster, nil) {
			names = append(names, u.Name)
		}
	}
	return names
}

// roleForAll returns the name of a role that allows everything, which it makes if there is none.
func (s *errand) roleForAll(c *cli.Context, now *shardmap.Security) (string, error) {
	for i := range now.Roles {
		r := &now.Roles[i]
		if access.Compile([]access.User{{ID: 1, Roles: []string{r.Name}}}, []access.Role{*r}).Of(1).All {
			return r.Name, nil
		}
	}
	if _, there := now.Role(adminRole); there {
		return "", withStatus(exitConflict, "init: there is a role %s that does not allow everything; delete it, or grant it what is missing: muster role list", adminRole)
	}
	_, err := s.changeRole(c, &shardmap.ChangeRole{Action: shardmap.RoleCreate, Name: adminRole, Grants: allGrants()})
	return adminRole, err
}
