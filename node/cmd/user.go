package cmd

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/shardmap"
	"muster/shardmap/access"
)

const userForm = `{"name":…,"id":…,"has_password":true,"roles":[…]}`

func userCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "user", Usage: "say who may use the cluster"},
		verb(cli.Command{
			Name: "create", Usage: "make a user", ArgsUsage: "NAME",
			Description: `The user may do nothing until a role is granted: "muster user grant". Without --password-file a
password is made, and printed once; the cluster keeps only a hash of it. A user needs no
password who has a certificate: "muster user create NAME --no-password".

With -o json: ` + strings.TrimSuffix(userForm, "}") + `,"password":…}, the password only if it was made`,
			Flags:  append(passwordFlags(), &cli.BoolFlag{Name: "no-password", Usage: "make a user that has no password"}),
			Action: con.action(userCreate),
		}),
		verb(cli.Command{
			Name: "password", Usage: "give a user another password", ArgsUsage: "NAME",
			Description: `As with create. Certificates that the user has stay good until they end, because programs may
go by them; give --withdraw where somebody else may have got hold of one, as "muster user withdraw"
does without another password.

With -o json: ` + strings.TrimSuffix(userForm, "}") + `,"password":…}, the password only if it was made`,
			Flags:  append(passwordFlags(), &cli.BoolFlag{Name: "withdraw", Usage: "also have the certificates and join tokens that the user has count no longer"}),
			Action: con.action(userPassword),
		}),
		verb(cli.Command{
			Name: "withdraw", Usage: "have the certificates of a user count no longer", ArgsUsage: "NAME",
			Description: `Certificates in the user's name that were issued until now are good no longer, and connections by them
end within 10 seconds; tokens with which hosts could join, and which the user made, are revoked. The user
stays, with its roles and its password, and gets another certificate by "muster auth login" or, from an
administrator, by "muster user cert". Hosts that have joined by such a token stay members.

With -o json: ` + userForm,
			Action: con.action(userWithdraw),
		}),
		verb(cli.Command{
			Name: "list", Usage: "list the users, and their roles",
			Description: "With -o json: [" + userForm + "]", Action: con.action(userList),
		}),
		verb(cli.Command{
			Name: "grant", Usage: "give a user a role", ArgsUsage: "NAME ROLE",
			Description: "Takes effect within a second, also for those who are connected.\n\nWith -o json: " + userForm,
			Action:      con.action(userRole(func(c *shardmap.ChangeUserRoles, role string) { c.Give = []string{role} })),
		}),
		verb(cli.Command{
			Name: "revoke", Usage: "take a role from a user", ArgsUsage: "NAME ROLE",
			Description: "Takes effect within a second, also for those who are connected.\n\nWith -o json: " + userForm,
			Action:      con.action(userRole(func(c *shardmap.ChangeUserRoles, role string) { c.Take = []string{role} })),
		}),
		userCertVerb(con),
		verb(cli.Command{
			Name: "del", Usage: "delete a user", ArgsUsage: "NAME",
			Description: `Connections of the user are refused from then on, and join tokens that it made are revoked. Another user
of the same name, made later, has nothing of this one: neither its roles nor its certificates.

With -o json the user that was: ` + userForm,
			Action: con.action(userDel),
		}))
}

type userRow struct {
	Name        string   `json:"name"`
	ID          string   `json:"id"`
	HasPassword bool     `json:"has_password"`
	Roles       []string `json:"roles"`
	Password    string   `json:"password,omitempty"` // only where it was made
}

func userRowOf(u *shardmap.User) userRow {
	return userRow{Name: u.Name, ID: strconv.FormatUint(uint64(u.ID), 10), HasPassword: !u.Password.None(), Roles: append([]string{}, u.Roles...)}
}

// userNamed returns the user of a name.
func userNamed(t *shardmap.Table, name string) (*shardmap.User, error) {
	u, ok := t.Security.UserNamed(name)
	if !ok {
		return nil, withStatus(exitNotFound, "user %s: there is none of that name; muster user list shows who is there", shown([]byte(name)))
	}
	return &u, nil
}

// checkedName returns the first argument of a command, which is to be a name.
func checkedName(c *cli.Context, what string) (string, error) {
	name := c.Args().First()
	if err := access.CheckName(name); err != nil {
		return "", usagef("%s: name of a %s: %w", c.Command.HelpName, what, err)
	}
	return name, nil
}

func userList(con *console, c *cli.Context) error {
	s, err := con.openBare(c)
	if err != nil {
		return err
	}
	defer s.close()
	t, err := rulesTable(c.Context, s, c.Command.HelpName)
	if err != nil {
		return err
	}
	rows := []userRow{}
	for i := range t.Security.Users {
		rows = append(rows, userRowOf(&t.Security.Users[i]))
	}
	slices.SortFunc(rows, func(a, b userRow) int { return strings.Compare(a.Name, b.Name) })
	return printUsers(s, rows)
}

// printUsers prints users as a list.
func printUsers(s *errand, rows []userRow) error {
	if s.json {
		return s.printJSON(rows)
	}
	t := newTable(s.out, "NAME", "PASSWORD", "ROLES")
	for _, r := range rows {
		has := "no"
		if r.HasPassword {
			has = "yes"
		}
		t.row(r.Name, has, orDash(strings.Join(r.Roles, ", ")))
	}
	return t.Flush()
}

// printUser prints a user, with the password that was made for it, if one was.
func printUser(s *errand, r userRow) error {
	if s.json {
		return s.printJSON(r)
	}
	if r.Password != "" {
		s.sayf("the password of %s, which is shown this once:", r.Name)
		return s.line("%s", r.Password)
	}
	return nil
}

func userCreate(con *console, c *cli.Context) error {
	return con.withPassword(c, func(s *errand, name string, p *password) error {
		return s.changeUser(c.Context, "create user "+name, &shardmap.ChangeUser{Action: shardmap.UserCreate, Name: name, Password: p.hash}, p.made)
	})
}

func userPassword(con *console, c *cli.Context) error {
	return con.withPassword(c, func(s *errand, name string, p *password) error {
		err := s.changeUser(c.Context, "change the password of "+name, &shardmap.ChangeUser{Action: shardmap.UserPassword, Name: name, Password: p.hash}, p.made)
		if err != nil || !c.Bool("withdraw") {
			return err
		}
		// Only now: whoever withdraws its own certificates needs the new password for the next one.
		t, err := s.table(c.Context)
		if err != nil {
			return withdrawLater(name, err)
		}
		u, err := userNamed(t, name)
		if err == nil {
			err = s.withdraw(c.Context, t, u)
		}
		if err != nil {
			return withdrawLater(name, err)
		}
		return nil
	})
}

// withdrawLater says that a password was changed, and the user's certificates are still good.
func withdrawLater(name string, err error) error {
	return withStatus(exitPartly, "the password of %s is changed, and its certificates are still good: %w; give muster user withdraw %s", name, err, name)
}

func userWithdraw(con *console, c *cli.Context) error {
	s, name, before, err := openFor(con, c, "user")
	if err != nil {
		return err
	}
	defer s.close()
	u, err := userNamed(before, name)
	if err != nil {
		return err
	}
	if err := s.withdraw(c.Context, before, u); err != nil {
		return err
	}
	return printUser(s, userRowOf(u))
}

// withdraw has nothing count any longer that a user was given or has made until now, by a table in which it is:
// neither certificates in its name nor tokens for hosts.
func (s *errand) withdraw(ctx context.Context, t *shardmap.Table, u *shardmap.User) error {
	// The tokens go first: a user who withdraws its own certificates has no right to give another order
	// afterwards.
	if err := s.revokeTokensOf(ctx, t, u); err != nil {
		return err
	}
	command, err := shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: shardmap.UserRevoke, Name: u.Name})
	if err != nil {
		return err
	}
	_, err = s.give(ctx, &order{what: "withdraw the certificates of " + u.Name, command: command}, 0)
	if errors.Is(err, client.ErrMaybeApplied) {
		// Where it is this command's own certificate, the connection may end before the answer is there. If
		// it was let in a moment ago and is no longer, it was withdrawn.
		refused := s.with(ctx, func(ctx context.Context) error {
			_, err := s.client.Whoami(ctx)
			return err
		})
		if isDenied(refused) {
			return nil
		}
	}
	return err
}

// bugTokensStay is planted to show that its test finds it: what a user has made for others outlives it.
const bugTokensStay = "tokens of a withdrawn user stay"

// revokeTokensOf revokes the tokens that a user made, and by which hosts may still come.
func (s *errand) revokeTokensOf(ctx context.Context, t *shardmap.Table, u *shardmap.User) error {
	for i := range t.Security.Tokens {
		k := &t.Security.Tokens[i]
		if k.By != u.ID || bug(bugTokensStay) || tokenRowOf(t, k, time.Now().Unix()).State != tokenGood {
			continue
		}
		command, err := shardmap.AppendRevokeToken(nil, &shardmap.RevokeToken{ID: k.ID})
		if err != nil {
			return err
		}
		if _, err := s.give(ctx, &order{what: "revoke token " + strconv.FormatUint(k.ID, 10), command: command}, 0); err != nil {
			return err
		}
	}
	return nil
}

// changeUser has the meta group change a user, and prints it as it is then. made is the password
// that was made for it, or "".
func (s *errand) changeUser(ctx context.Context, what string, change *shardmap.ChangeUser, made string) error {
	command, err := shardmap.AppendChangeUser(nil, change)
	if err != nil {
		return err
	}
	t, err := s.ordered(ctx, what, command)
	if err != nil {
		return err
	}
	u, err := userNamed(t, change.Name)
	if err != nil {
		return err
	}
	row := userRowOf(u)
	row.Password = made
	return printUser(s, row)
}

// userRole makes the command that changes a user's roles.
func userRole(change func(c *shardmap.ChangeUserRoles, role string)) func(*console, *cli.Context) error {
	return func(con *console, c *cli.Context) error {
		if err := wantArgs(c, 2, 2); err != nil {
			return err
		}
		name, err := checkedName(c, "user")
		if err != nil {
			return err
		}
		s, err := con.open(c, 1)
		if err != nil {
			return err
		}
		defer s.close()
		what := shardmap.ChangeUserRoles{User: name}
		change(&what, c.Args().Get(1))
		command, err := shardmap.AppendChangeUserRoles(nil, &what)
		if err != nil {
			return err
		}
		t, err := s.ordered(c.Context, "change the roles of "+name, command)
		if err != nil {
			return err
		}
		u, err := userNamed(t, name)
		if err != nil {
			return err
		}
		return printUser(s, userRowOf(u))
	}
}

func userDel(con *console, c *cli.Context) error {
	s, name, before, err := openFor(con, c, "user")
	if err != nil {
		return err
	}
	defer s.close()
	u, err := userNamed(before, name)
	if err != nil {
		return err
	}
	command, err := shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: shardmap.UserDelete, Name: name})
	if err != nil {
		return err
	}
	// The tokens come second: a user whose deletion is refused keeps them.
	now, err := s.ordered(c.Context, "delete user "+name, command)
	if err != nil {
		return err
	}
	if err := s.revokeTokensOf(c.Context, now, u); err != nil {
		return withStatus(exitPartly, "user %s is deleted, and join tokens that it made are still good: %w; see muster token list, and muster token revoke ID", name, err)
	}
	return printUser(s, userRowOf(u))
}

// rulesTable is the table for a command that is about users, roles, tokens or limits. Nodes leave those out for a user
// who has no part in running the cluster: an empty list, or a user that is not there, would read as if it were so.
func rulesTable(ctx context.Context, s *errand, command string) (*shardmap.Table, error) {
	t, err := s.table(ctx)
	if err != nil {
		return nil, err
	}
	// The caller is a user, so an empty list means that users are hidden.
	if t.Security.Mode == shardmap.SecurityOnly && len(t.Security.Users) == 0 {
		return nil, withStatus(exitNotPermitted, "%s: users, roles, tokens and limits are told to those who have read or admin on the cluster; ask an administrator: muster role grant ROLE read cluster; muster auth can-i read cluster shows whether you have it", strings.TrimPrefix(command, "muster "))
	}
	return t, nil
}

// openFor begins a command about one user or role, which its argument names, and reads the table as it is
// before. The caller closes the errand.
func openFor(con *console, c *cli.Context, noun string) (s *errand, name string, before *shardmap.Table, err error) {
	if err := wantArgs(c, 1, 1); err != nil {
		return nil, "", nil, err
	}
	if name, err = checkedName(c, noun); err != nil {
		return nil, "", nil, err
	}
	if s, err = con.open(c, 1); err != nil {
		return nil, "", nil, err
	}
	if before, err = rulesTable(c.Context, s, c.Command.HelpName); err != nil {
		s.close()
		return nil, "", nil, err
	}
	return s, name, before, nil
}

// ordered gives an order that has no plan, and returns the table with what came of it.
func (s *errand) ordered(ctx context.Context, what string, command []byte) (t *shardmap.Table, err error) {
	a, err := s.give(ctx, &order{what: what, command: command}, 0)
	if err != nil {
		return nil, err
	}
	err = s.until(ctx, func(now *shardmap.Table) glance {
		t = now
		return glance{over: now.Index >= a.Index}
	}, waitAsLongAsACall)
	if err != nil {
		return nil, withStatus(exitNoResult, "%s: it is done, but no node shows it yet: %w", what, err)
	}
	return t, nil
}
