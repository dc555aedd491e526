package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/node/login"
	"muster/repl/rights"
	"muster/repl/wire"
	"muster/shardmap"
)

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
	s.Users[1].Password, _ = login.Hash(rand.Reader, []byte("hunter2"), login.Rounds)
	table := *r.node.table.Load()
	table.Security = s
	r.node.table.Store(&table)
	logsIn := func(name, password string) (*wire.LoginAnswer, error) {
		g := r.as(rights.Principal{}, wire.SenderGuest)
		defer g.Close()
		q := wire.Login{Name: name, Password: []byte(password), Request: []byte("request of " + name)}
		_, body, err := g.ask(wire.TypeLogin, 0, q.Append(nil))
		if err != nil {
			return nil, err
		}
		a := new(wire.LoginAnswer)
		return a, a.Read(body)
	}
	_, err := logsIn("rob", "hunter2")
	refused(t, "before anybody makes certificates", err, wire.CodeNotReady)
	r.node.logins.certify = func(_ context.Context, u *shardmap.User, request []byte) (*wire.LoginAnswer, *wire.Error) {
		return &wire.LoginAnswer{Certificate: append([]byte(u.Name+": "), request...), Roots: [][]byte{{1}}}, nil
	}
	a, err := logsIn("rob", "hunter2")
	if err != nil || string(a.Certificate) != "rob: request of rob" {
		t.Fatalf("got %+v, %v", a, err)
	}
	// Each from where nobody has failed yet.
	forget := func() { r.node.logins.failures = login.Failures{} } // none is under way
	told := map[string]bool{}
	for _, c := range [][2]string{{"rob", "guess1"}, {"nobody", "hunter2"}, {"ada", "hunter2"}} {
		forget()
		began := time.Now()
		_, err := logsIn(c[0], c[1])
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
	_, err = logsIn("rob", "hunter2")
	refused(t, "from where one failed", err, wire.CodeBusy, "failed or is under way")
	forget()
	for range login.AtOnce {
		r.node.logins.queue.Enter("elsewhere", false)
	}
	_, err = logsIn("rob", "hunter2")
	refused(t, "beside others", err, wire.CodeBusy, "are under way")
	forget()
	waits := make(chan error, 1)
	go func() { _, err := logsIn("rob", "hunter2"); waits <- err }()
	until(t, "it waits", func() error {
		if r.node.logins.queue.Waiting() != 1 {
			return errors.New("not yet")
		}
		return nil
	})
	r.node.logins.queue.Leave()
	if err := <-waits; err != nil {
		t.Errorf("once there is a place: %v", err)
	}
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
