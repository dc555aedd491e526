package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// What is kept of a password fits that password alone, and of two users with the same one
// different things are kept. No user is there whose password is that nothing was kept.
func TestPasswordFits(t *testing.T) {
	p, err := HashPassword(rand.Reader, []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	q, _ := HashPassword(rand.Reader, []byte("correct horse"))
	if p.Rounds != PasswordRounds || p.Hash == q.Hash {
		t.Errorf("got %+v, and another time %+v", p, q)
	}
	for password, want := range map[string]bool{"correct horse": true, "correct horsf": false, "": false} {
		if got := passwordFits(&p, []byte(password)); got != want {
			t.Errorf("%q: got %t, want %t", password, got, want)
		}
	}
	if passwordFits(new(shardmap.PasswordHash), nil) {
		t.Error("no password fits where none is kept")
	}
}

// Each wrong guess lengthens the wait, for its name and for its address. One would doubt it of many
// guesses at once, and of whoever has one password that fits.
func TestFailuresPause(t *testing.T) {
	var f failures
	now := time.Unix(1_000_000, 0)
	fail := func(user, addr string) (left time.Duration) {
		if left = f.begin(now, user, addr); left == 0 {
			f.end(now, false, user, addr)
		}
		return left
	}
	want := failureFirst
	for i := range 10 {
		if left := fail("ann", "10.0.0.1"); left != 0 {
			t.Fatalf("try %d: wait %s", i, left)
		}
		if left := fail("ann", "10.0.0.2"); left != want {
			t.Errorf("the name after %d failures: wait %s, want %s", i+1, left, want)
		}
		if left := fail("bob", "10.0.0.1"); left != want {
			t.Errorf("the address after %d failures: wait %s, want %s", i+1, left, want)
		}
		now = now.Add(want)
		want = min(2*want, failureLast)
	}
	// A password that fits frees the name, and not the address.
	if left := f.begin(now, "ann", "10.0.0.9"); left != 0 {
		t.Fatalf("wait %s", left)
	}
	if left := f.begin(now, "ann", "10.0.0.8"); left != loginBusyRetry {
		t.Errorf("beside one that is under way: wait %s", left)
	}
	f.end(now, true, "ann", "10.0.0.9")
	if len(f.of) != 1 {
		t.Errorf("%d sources are remembered, want the address alone", len(f.of))
	}
	fail("carl", "10.0.0.1")
	if left := fail("dora", "10.0.0.1"); left != failureLast {
		t.Errorf("the address afterwards: wait %s, want %s", left, failureLast)
	}
	now = now.Add(failureOver + failureLast)
	fail("erin", "10.0.0.1")
	if left := fail("erin", "10.0.0.1"); left != failureFirst {
		t.Errorf("long afterwards: wait %s, want %s", left, failureFirst)
	}
	for i := range failuresMax {
		now = now.Add(time.Millisecond)
		fail(fmt.Sprint("user", i), fmt.Sprint("addr", i))
	}
	if len(f.of) > failuresMax {
		t.Errorf("%d sources are remembered, the limit is %d", len(f.of), failuresMax)
	}
}

// A guest that has the password gets a certificate; any other hears the same, whether the name or
// the password was wrong; and two are looked at at once.
func TestLogin(t *testing.T) {
	r := serving(t, defaultLimits())
	until(t, "it leads the meta group", func() error {
		if e := r.node.ledHere(r.node.running()); e != nil {
			return e
		}
		return nil
	})
	s := someSecurity()
	s.Mode = shardmap.SecurityOff // the guard would want TLS
	s.Users[1].Password, _ = HashPassword(rand.Reader, []byte("hunter2"))
	table := *r.node.table.Load()
	table.Security = s
	r.node.table.Store(&table)
	login := func(name, password string) (*wire.LoginAnswer, error) {
		g := r.as(principal{}, wire.SenderGuest)
		defer g.Close()
		q := wire.Login{Name: name, Password: []byte(password), Request: []byte("request of " + name)}
		_, body, err := g.ask(wire.TypeLogin, 0, q.Append(nil))
		if err != nil {
			return nil, err
		}
		a := new(wire.LoginAnswer)
		return a, a.Read(body)
	}
	_, err := login("rob", "hunter2")
	refused(t, "before anybody makes certificates", err, wire.CodeNotReady)
	r.node.logins.certify = func(_ context.Context, u *shardmap.User, request []byte) (*wire.LoginAnswer, *wire.Error) {
		return &wire.LoginAnswer{Certificate: append([]byte(u.Name+": "), request...), Roots: [][]byte{{1}}}, nil
	}
	a, err := login("rob", "hunter2")
	if err != nil || string(a.Certificate) != "rob: request of rob" {
		t.Fatalf("got %+v, %v", a, err)
	}
	// Each from where nobody has failed yet.
	forget := func() {
		r.node.logins.failures.mu.Lock()
		defer r.node.logins.failures.mu.Unlock()
		clear(r.node.logins.failures.of)
	}
	told := map[string]bool{}
	for _, c := range [][2]string{{"rob", "guess1"}, {"nobody", "hunter2"}, {"ada", "hunter2"}} {
		forget()
		began := time.Now()
		_, err := login(c[0], c[1])
		refused(t, c[0], err, wire.CodeUnauthorized, "wrong name or password")
		told[err.Error()] = true
		if strings.Contains(err.Error(), c[1]) {
			t.Errorf("%v has the password", err)
		}
		if took := time.Since(began); took < 20*time.Millisecond {
			t.Errorf("%s is refused within %s: that tells who is a user", c[0], took)
		}
	}
	if len(told) != 1 {
		t.Errorf("strangers are told %d different things: %v", len(told), told)
	}
	_, err = login("rob", "hunter2")
	refused(t, "from where one failed", err, wire.CodeBusy, "failed or is under way")
	forget()
	for range loginsMax {
		r.node.logins.places <- struct{}{}
	}
	_, err = login("rob", "hunter2")
	refused(t, "beside others", err, wire.CodeBusy, "are under way")
	r.says("a login", func(l *trailLine) bool { return l.Type == "Login" && l.Verdict == "allowed" && l.Object == "user rob" })
	r.says("a wrong password", func(l *trailLine) bool { return l.Type == "Login" && l.Verdict == "refused" && l.Object == "user rob" })
	r.says("a wrong name", func(l *trailLine) bool {
		return l.Type == "Login" && l.Verdict == "refused" && l.Object == "a user that there is not"
	})
	for _, l := range r.trailOf() {
		if said := fmt.Sprint(l); strings.Contains(said, "hunter2") || strings.Contains(said, "guess1") || strings.Contains(said, "nobody") {
			t.Errorf("a line has a password, or what may be one: %s", said)
		}
	}
}
