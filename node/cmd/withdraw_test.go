package cmd

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster/node"
	"muster/node/web"
	"muster/repl/client/home"
	"muster/repl/trust"
)

// secureNode runs a node with TLS until the test has ended, and returns its address. Whoever runs the
// test has a certificate of its first user.
func secureNode(t *testing.T) string {
	t.Helper()
	t.Setenv(home.Variable, t.TempDir())
	c := node.Default()
	c.Listen, c.Data, c.Groups = "127.0.0.1:0", t.TempDir(), 1
	c.FirstUser = firstUser("")
	return nodeRuns(t, c)
}

// secureMuster runs a command line against a node with TLS, as the user whose directory is named.
func secureMuster(t *testing.T, dir, at, line string) result {
	t.Helper()
	was := os.Getenv(home.Variable)
	os.Setenv(home.Variable, dir)
	defer os.Setenv(home.Variable, was)
	return muster(t, append(strings.Fields(line), "--endpoints", at)...)
}

// anotherSecond waits for the next second of the clock: certificates are compared with a user in whole ones.
func anotherSecond(t *testing.T) {
	t.Helper()
	now := time.Now().Unix()
	for until := time.Now().Add(5 * time.Second); time.Now().Unix() == now; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the clock stands still")
		}
	}
}

// A password is changed because somebody may have got hold of what a user has. The certificate that the
// thief took lasts for 30 days, and the token by which it could bring a host in outlives even the user:
// both must end by the same order, and only if it is asked for, because programs may go by them.
func TestWithdraw(t *testing.T) {
	if wrong := withdrawn(t); wrong != "" {
		t.Error(wrong)
	}
}

// withdrawn returns which token is good, or not, after what was done to its user; empty: all are as they must be.
func withdrawn(t *testing.T) (wrong string) {
	at := secureNode(t)
	own, thief := os.Getenv(home.Variable), filepath.Join(t.TempDir(), "thief")
	run := func(dir, line string) result { t.Helper(); return secureMuster(t, dir, at, line) }
	state := func(id string) string {
		t.Helper()
		var rows []tokenRow
		if err := json.Unmarshal([]byte(run(own, "token list -o json").done(t)), &rows); err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if r.ID == id {
				return r.State
			}
		}
		t.Fatal(errors.New("no token " + id))
		return ""
	}
	must := func(when, id, want string) {
		t.Helper()
		if got := state(id); got != want && wrong == "" {
			wrong = "after " + when + ": token " + id + " is " + got + ", want " + want
		}
	}
	token := func(dir string) string {
		t.Helper()
		var made tokenMade
		if err := json.Unmarshal([]byte(run(dir, "token create -o json").done(t)), &made); err != nil {
			t.Fatal(err)
		}
		return made.ID
	}

	run(own, "user create rob").status.done(t)
	run(own, "user grant rob admin").done(t)
	run(own, "user cert rob --out "+thief).done(t)
	others, stolen := token(own), token(thief)
	anotherSecond(t)

	run(own, "user password rob").status.done(t)
	must("a password alone", stolen, tokenGood)
	if out := run(thief, "auth whoami").done(t); !strings.Contains(out, "rob") {
		t.Errorf("after a password alone: got %q", out)
	}
	run(own, "user password nobody --withdraw").refused(t, exitNotFound, "nobody")

	r := run(own, "user password rob --withdraw")
	r.status.done(t)
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(r.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	run(thief, "auth whoami").refused(t, exitNotPermitted, "was withdrawn")
	must("--withdraw", stolen, "revoked")
	must("--withdraw of another user", others, tokenGood)
	// The user itself is what it was, and comes in by the new password.
	run(thief, "auth login rob --password-file "+password).done(t)
	if out := run(thief, "auth whoami").done(t); out != "rob, with roles admin\n" {
		t.Errorf("after a login: got %q", out)
	}
	// Nor does a login get it a token for more than its hour.
	run(thief, "auth token").refused(t, exitNotPermitted, "is not renewed); show the password in its place: on the page, or to POST /api/v1/auth/login")
	var made web.Badge
	if err := json.Unmarshal([]byte(run(own, "auth token -o json").done(t)), &made); err != nil {
		t.Fatal(err)
	}
	badge, err := trust.ParseBadge(made.Token)
	if err != nil {
		t.Fatal(err)
	}
	if life := badge.Certificate.NotAfter.Sub(trust.Issued(badge.Certificate)); life != trust.LoginLife || made.User == "" {
		t.Errorf("the token of user %q is good for %s, want %s", made.User, life, trust.LoginLife)
	}

	// Without a password, and of a user that takes its own back.
	again := token(thief)
	anotherSecond(t)
	run(thief, "user withdraw rob").done(t)
	run(thief, "auth whoami").refused(t, exitNotPermitted, "was withdrawn")
	must("withdraw", again, "revoked")

	// A user that is deleted leaves no token behind.
	run(own, "user cert rob --out "+thief).done(t)
	left := token(thief)
	run(own, "user del rob").done(t)
	must("del", left, "revoked")
	run(thief, "auth whoami").refused(t, exitNotPermitted, "there is none of that name")
	return wrong
}

// done checks that a command which says more than its result on standard error ended well.
func (s exitStatus) done(t *testing.T) {
	t.Helper()
	if s != exitDone {
		t.Fatalf("status %d", s)
	}
}

// A user who has no part in running the cluster is told neither users nor roles, tokens and limits. An empty list would
// read as if there were none, and a user that can't be seen as if it were not there.
func TestListsThatAreRefusedSayWhy(t *testing.T) {
	at := secureNode(t)
	own, other := os.Getenv(home.Variable), filepath.Join(t.TempDir(), "rob")
	secureMuster(t, own, at, "user create rob --no-password").done(t)
	secureMuster(t, own, at, "user cert rob --out "+other).done(t)
	for line, want := range map[string]string{
		"user list":         "user list: users, roles, tokens and limits are told to those who have read or admin on the cluster; ask an administrator: muster role grant ROLE read cluster",
		"user list -o json": "user list: users, roles, tokens and limits are told to",
		"role list":         "role list: users, roles, tokens and limits are told to",
		"token list":        "token list: users, roles, tokens and limits are told to",
		"user del rob":      "user del: users, roles, tokens and limits are told to",
		"user withdraw rob": "user withdraw: users, roles, tokens and limits are told to",
		"role del admin":    "role del: users, roles, tokens and limits are told to",
		"namespace list":    "it needs read on cluster",
		"kv list":           "it needs",
		"lease list":        "it needs list on key:",
		"service list":      "it needs",
		"doctor":            "nothing was examined: doctor: unauthorized: Doctor by user rob: not permitted (it needs read on cluster)",
		"doctor -o json":    "ask an administrator: muster role grant ROLE read cluster",
		"check":             "nothing was compared: check: unauthorized: Check by user rob: not permitted (it needs read on cluster)",
		"status --counters": "it needs read on cluster",
	} {
		secureMuster(t, other, at, line).refused(t, exitNotPermitted, want)
	}
	secureMuster(t, own, at, "role create viewers").done(t)
	secureMuster(t, own, at, "role grant viewers read cluster").done(t)
	secureMuster(t, own, at, "user grant rob viewers").done(t)
	if out := secureMuster(t, other, at, "user list").done(t); !strings.Contains(out, "viewers") {
		t.Errorf("with read on the cluster: got %q", out)
	}
	secureMuster(t, other, at, "doctor").done(t)
}
