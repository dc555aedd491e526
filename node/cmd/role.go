package cmd

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/shardmap"
	"muster/shardmap/access"
)

const roleForm = `{"name":…,"grants":[{"verbs":["read",…],"object":"key:app/"}],"users":[…]}`

func roleCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "role", Usage: "say what users may do"},
		verb(cli.Command{
			Name: "create", Usage: "make a role, which allows nothing yet", ArgsUsage: "NAME",
			Description: "With -o json: " + roleForm, Action: con.action(roleChange(shardmap.RoleCreate)),
		}),
		verb(cli.Command{
			Name: "grant", Usage: "have a role allow something", ArgsUsage: "NAME VERBS OBJECT",
			Description: `VERBS are read, write, list, watch and admin, with commas between them, or all. OBJECT is
key:PREFIX, service:PREFIX, db:PREFIX or cluster; what begins like none of these is a prefix of
keys. key: is all keys. Nothing is denied by a role: what no role of a user allows is.

Takes effect within a second, also for those who are connected. Example:

    muster role grant app read,write,list app/

With -o json: ` + roleForm,
			Action: con.action(roleChange(shardmap.RoleGrant)),
		}),
		verb(cli.Command{
			Name: "revoke", Usage: "have a role allow something no more", ArgsUsage: "NAME VERBS OBJECT",
			Description: "OBJECT is that of the grant, as \"muster role list\" shows it.\n\nWith -o json: " + roleForm,
			Action:      con.action(roleChange(shardmap.RoleRevoke)),
		}),
		verb(cli.Command{
			Name: "list", Usage: "list the roles, what they allow, and whose they are",
			Description: "With -o json: [" + roleForm + "]", Action: con.action(roleList),
		}),
		verb(cli.Command{
			Name: "del", Usage: "delete a role", ArgsUsage: "NAME",
			Description: "Refused while users have it.\n\nWith -o json the role that was: " + roleForm,
			Action:      con.action(roleDel),
		}))
}

type roleRow struct {
	Name   string     `json:"name"`
	Grants []grantRow `json:"grants"`
	Users  []string   `json:"users"`
}

type grantRow struct {
	Verbs  []string `json:"verbs"`
	Object string   `json:"object"`
}

func roleRowOf(t *shardmap.Table, r *shardmap.Role) roleRow {
	row := roleRow{Name: r.Name, Grants: []grantRow{}, Users: []string{}}
	for _, g := range r.Grants {
		row.Grants = append(row.Grants, grantRow{strings.Split(g.Verbs.String(), ","), g.Object.String()})
	}
	for i := range t.Security.Users {
		if u := &t.Security.Users[i]; slices.Contains(u.Roles, r.Name) {
			row.Users = append(row.Users, u.Name)
		}
	}
	slices.Sort(row.Users)
	return row
}

// roleNamed returns the role of a name.
func roleNamed(t *shardmap.Table, name string) (*shardmap.Role, error) {
	r, ok := t.Security.Role(name)
	if !ok {
		return nil, withStatus(exitNotFound, "role %s: there is none of that name; muster role list shows which are there", shown([]byte(name)))
	}
	return &r, nil
}

func roleList(con *console, c *cli.Context) error {
	s, err := con.openBare(c)
	if err != nil {
		return err
	}
	defer s.close()
	t, err := rulesTable(c.Context, s, c.Command.HelpName)
	if err != nil {
		return err
	}
	rows := []roleRow{}
	for i := range t.Security.Roles {
		rows = append(rows, roleRowOf(t, &t.Security.Roles[i]))
	}
	if s.json {
		return s.printJSON(rows)
	}
	table := newTable(s.out, "NAME", "ALLOWS", "USERS")
	for _, r := range rows {
		users := orDash(strings.Join(r.Users, ", "))
		if len(r.Grants) == 0 {
			table.row(r.Name, "-", users)
		}
		for i, g := range r.Grants {
			allows := strings.Join(g.Verbs, ",") + " on " + g.Object
			if i > 0 {
				table.row("", allows, "") // of the role above
				continue
			}
			table.row(r.Name, allows, users)
		}
	}
	return table.Flush()
}

// grantOf reads VERBS and OBJECT, which stand behind the name.
func grantOf(c *cli.Context) (g access.Grant, err error) {
	if g.Verbs, err = access.ParseVerbs(c.Args().Get(1)); err == nil {
		if g.Object, err = access.ParseObject(c.Args().Get(2)); err == nil {
			err = g.Check()
		}
	}
	if err != nil {
		return g, usagef("%s: %w", c.Command.HelpName, err)
	}
	return g, nil
}

// roleChange makes the command that changes a role.
func roleChange(action shardmap.RoleAction) func(*console, *cli.Context) error {
	return func(con *console, c *cli.Context) error {
		args := 3
		if action == shardmap.RoleCreate {
			args = 1
		}
		if err := wantArgs(c, args, args); err != nil {
			return err
		}
		name, err := checkedName(c, "role")
		if err != nil {
			return err
		}
		change := shardmap.ChangeRole{Action: action, Name: name}
		if args > 1 {
			g, err := grantOf(c)
			if err != nil {
				return err
			}
			change.Grants = []access.Grant{g}
		}
		s, err := con.open(c, 1)
		if err != nil {
			return err
		}
		defer s.close()
		t, err := s.changeRole(c, &change)
		if err != nil {
			return err
		}
		r, err := roleNamed(t, name)
		if err != nil || !s.json {
			return err
		}
		return s.printJSON(roleRowOf(t, r))
	}
}

// changeRole has the meta group change a role.
func (s *errand) changeRole(c *cli.Context, change *shardmap.ChangeRole) (*shardmap.Table, error) {
	command, err := shardmap.AppendChangeRole(nil, change)
	if err != nil {
		return nil, err
	}
	return s.ordered(c.Context, fmt.Sprintf("%s role %s", change.Action, change.Name), command)
}

func roleDel(con *console, c *cli.Context) error {
	s, name, before, err := openFor(con, c, "role")
	if err != nil {
		return err
	}
	defer s.close()
	r, err := roleNamed(before, name)
	if err != nil {
		return err
	}
	if _, err := s.changeRole(c, &shardmap.ChangeRole{Action: shardmap.RoleDelete, Name: name}); err != nil || !s.json {
		return err
	}
	return s.printJSON(roleRowOf(before, r))
}
