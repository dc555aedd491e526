package cmd

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muster/node"
)

// openNode runs a node that asks nobody who he is, until the test has ended, and returns its address.
func openNode(t *testing.T) string {
	t.Helper()
	c := node.Default()
	c.Listen, c.Data, c.Groups, c.Insecure = "127.0.0.1:0", t.TempDir(), 1, true
	return nodeRuns(t, c)
}

// nodeRuns runs a node until the test has ended, and returns its address.
func nodeRuns(t *testing.T, c node.Config) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	addr, over := make(chan string, 1), make(chan error, 1)
	go func() {
		over <- node.Run(ctx, c, slog.New(slog.DiscardHandler), func(a string) { addr <- a })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Errorf("the node ended with %v", err)
		}
	})
	select {
	case a := <-addr:
		return a
	case err := <-over:
		over <- nil
		t.Fatal(err)
		return ""
	}
}

// Users and roles, as a person makes, grants, looks at and deletes them. One would doubt what is
// printed of passwords, and what happens the second time.
func TestUsersAndRoles(t *testing.T) {
	t.Setenv("MUSTER_INSECURE", "true")
	at := openNode(t)
	run := func(line string) result {
		return muster(t, append(strings.Fields(line), "--endpoints", at)...)
	}
	read := func(line string, v any) {
		t.Helper()
		out := run(line + " -o json").done(t)
		if err := json.Unmarshal([]byte(out), v); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	var who whoamiRow
	if read("auth whoami", &who); !who.Open || who.User != "" {
		t.Errorf("whoami: got %+v", who)
	}
	var can canIRow
	if read("auth can-i all key:", &can); !can.Allowed {
		t.Errorf("can-i: got %+v", can)
	}

	var made userRow
	if read("user create ann", &made); len(made.Password) < 24 || !made.HasPassword || made.Name != "ann" || len(made.Roles) != 0 {
		t.Errorf("create: got %+v", made)
	}
	run("user create ann").refused(t, exitConflict, "user ann")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := run("user create bob --password-file " + file).done(t); out != "" {
		t.Errorf("a password that was chosen is printed: %q", out)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	run("user create carl --password-file "+file).refused(t, exitRefused, "others than its owner can use it (mode 0644); run: chmod 600")
	if r := musterIn(t, "short\n", "user", "create", "carl", "--password-file", "-", "--endpoints", at); r.status != exitRefused || !strings.Contains(r.stderr, "standard input: a password of 5 bytes; want 8 to 1024") {
		t.Errorf("a short password: got %d %q", r.status, r.stderr)
	}
	run("user create carl --no-password").done(t)

	run("user grant ann app").refused(t, exitNotFound, "role \"app\"")
	run("role create app").done(t)
	run("role grant app read,write app/").done(t)
	var role roleRow
	read("role grant app list app/", &role)
	if len(role.Grants) != 1 || role.Grants[0].Object != "key:app/" || !slices.Equal(role.Grants[0].Verbs, []string{"read", "write", "list"}) {
		t.Errorf("role grant: got %+v", role)
	}
	var granted userRow
	if read("user grant ann app", &granted); granted.Password != "" || !slices.Equal(granted.Roles, []string{"app"}) {
		t.Errorf("user grant: got %+v", granted)
	}
	for line, want := range map[string]string{
		"auth can-i read app/x --as ann":    `{"allowed":true,"by":"role app"}`,
		"auth can-i watch app/x --as ann":   `{"allowed":false,"by":"no role allows it: watch on key:app/x…"}`,
		"auth can-i all app/ --as ann":      `"allowed":false`,
		"auth can-i read cluster --as carl": `"allowed":false`,
	} {
		status := exitDone
		if strings.Contains(want, "false") {
			status = exitNotPermitted
		}
		if r := run(line + " -o json"); r.status != status || !strings.Contains(r.stdout, want) || r.stderr != "" {
			t.Errorf("%s: got %d %s%s, want %d %s", line, r.status, r.stdout, r.stderr, status, want)
		}
	}
	run("auth can-i read app/ --as nobody").refused(t, exitNotFound, "user nobody")
	run("role del app").refused(t, exitConflict, "users have it: ann")
	var roles []roleRow
	if read("role list", &roles); len(roles) != 1 || !slices.Equal(roles[0].Users, []string{"ann"}) {
		t.Errorf("role list: got %+v", roles)
	}
	var users []userRow
	read("user list", &users)
	var names []string
	for _, u := range users {
		names = append(names, u.Name)
	}
	if !slices.Equal(names, []string{"ann", "bob", "carl"}) || !users[0].HasPassword || users[2].HasPassword || users[0].Password != "" {
		t.Errorf("user list: got %+v", users)
	}
	if out := run("user list").done(t); !strings.Contains(out, "ann") || strings.Contains(out, made.Password) {
		t.Errorf("user list: got %q", out)
	}
	run("user revoke ann app").done(t)
	run("role revoke app list app/").done(t)
	run("role revoke app read other/").refused(t, exitNotFound, "it has no grant on")
	run("role del app").done(t)
	run("user del carl").done(t)
	run("user del carl").refused(t, exitNotFound, "there is none of that name")

	// The first administrator is made once.
	var admin userRow
	if read("init ada", &admin); admin.Password == "" || !slices.Equal(admin.Roles, []string{"admin"}) {
		t.Errorf("init: got %+v", admin)
	}
	run("init eve").refused(t, exitRefused, "the cluster has an administrator with a password already: ada")
	if r := run("auth can-i all cluster --as ada").done(t); r != "yes: role admin\n" {
		t.Errorf("can-i of an administrator: %q", r)
	}
	run("user del ada").refused(t, exitConflict, "nobody could administer the cluster any more")
	run("role revoke admin admin cluster").refused(t, exitConflict, "")
	var again userRow
	if read("user password ada", &again); again.Password == "" || again.Password == admin.Password {
		t.Errorf("password: got %+v", again)
	}
}
