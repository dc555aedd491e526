package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/repl/rights"
	"muster/repl/wire"
	"muster/shardmap"
)

// The hash of a password fits that password alone, and two users with the same password have
// different hashes. Nothing fits where no hash is kept.
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
		if got, _ := passwordFits(&p, []byte(password), PasswordRounds); got != want {
			t.Errorf("%q: got %t, want %t", password, got, want)
		}
	}
	if fits, _ := passwordFits(new(shardmap.PasswordHash), nil, PasswordRounds); fits {
		t.Error("no password fits where none is kept")
	}
}

// Each login takes as many rounds, whoever it is for: otherwise the time of one tells whether there is a user of that
// name, or that his password is an old one.
func TestRoundsTellNothing(t *testing.T) {
	if wrong := roundsTell(t); wrong != "" {
		t.Error(wrong)
	}
}

// roundsTell tells which logins take other rounds than others.
func roundsTell(*testing.T) string {
	users := []shardmap.User{{Name: "none"}, {Name: "old", Password: shardmap.PasswordHash{Rounds: PasswordRounds / 2}}, {Name: "new", Password: shardmap.PasswordHash{Rounds: PasswordRounds}},
		{Name: "newer", Password: shardmap.PasswordHash{Rounds: PasswordRounds + 1000}}, {Name: "nobody"}}
	want := PasswordRounds + 1000
	for i := range users {
		if _, took := passwordFits(&users[i].Password, []byte("guess"), roundsOf(users[:4])); took != want {
			return fmt.Sprintf("that of %s takes %d rounds, want %d", users[i].Name, took, want)
		}
	}
	if got := roundsOf(nil); got != PasswordRounds {
		return fmt.Sprintf("without users a login takes %d rounds", got)
	}
	return ""
}

// Each wrong guess lengthens the wait, for its user there, and for all others there. One would doubt it of many
// guesses at once, and of whoever has one password that fits.
func TestFailuresPause(t *testing.T) {
	var f failures
	now := time.Unix(1_000_000, 0)
	fail := func(user, network string) (left time.Duration) {
		if left, _ = f.begin(now, user, network); left == 0 {
			f.end(now, false, user, network)
		}
		return left
	}
	want := failureFirst
	for i := range 10 {
		if left := fail("ann", "n1"); left != 0 {
			t.Fatalf("try %d: wait %s", i, left)
		}
		for _, user := range []string{"ann", "bob"} {
			if left := fail(user, "n1"); left != want {
				t.Errorf("%s there after %d failures: wait %s, want %s", user, i+1, left, want)
			}
		}
		now = now.Add(want)
		want = min(2*want, failureLast)
	}
	// A password that fits frees the user there, and not the network.
	if left, _ := f.begin(now, "ann", "n1"); left != 0 {
		t.Fatalf("wait %s", left)
	}
	for _, user := range []string{"ann", "bob"} {
		if left, _ := f.begin(now, user, "n1"); left != loginBusyRetry {
			t.Errorf("%s beside one that is under way: wait %s", user, left)
		}
	}
	f.end(now, true, "ann", "n1")
	if len(f.of) != 1 {
		t.Errorf("%d sources are remembered, want the network alone", len(f.of))
	}
	fail("carl", "n1")
	if left := fail("dora", "n1"); left != failureLast {
		t.Errorf("the network afterwards: wait %s, want %s", left, failureLast)
	}
	// One that was not looked at counts for nothing.
	now = now.Add(failureLast)
	if left, _ := f.begin(now, "ann", "n2"); left != 0 {
		t.Fatalf("wait %s", left)
	}
	f.drop("ann", "n2")
	if left := fail("ann", "n2"); left != 0 {
		t.Errorf("after one that was not looked at: wait %s", left)
	}
	now = now.Add(failureOver + failureLast)
	fail("erin", "n1")
	if left := fail("erin", "n1"); left != failureFirst {
		t.Errorf("long afterwards: wait %s, want %s", left, failureFirst)
	}
	for i := range 2 * failuresMax {
		now = now.Add(time.Millisecond)
		fail(fmt.Sprint("user", i), fmt.Sprint("network", i))
		f.begin(now, fmt.Sprint("user", i, "again"), fmt.Sprint("far", i))
		f.end(now, true, fmt.Sprint("user", i, "again"), fmt.Sprint("far", i))
	}
	if len(f.of) > failuresMax || len(f.users) > failuresMax || len(f.known) > knownMax {
		t.Errorf("%d sources, %d users and %d places are remembered, the limits are %d, %d and %d", len(f.of), len(f.users), len(f.known), failuresMax, failuresMax, knownMax)
	}
}

// An attacker who fails on purpose under a user's name, from any number of networks, must not keep that user out; and
// must still get few guesses.
func TestFailingForOthers(t *testing.T) {
	if wrong := failsForOthers(t); wrong != "" {
		t.Error(wrong)
	}
}

// failsForOthers tells how a stranger keeps a user out.
func failsForOthers(*testing.T) string {
	var f failures
	now := time.Unix(1_000_000, 0)
	login := func(ok bool, network string) time.Duration {
		left, _ := f.begin(now, "ann", network)
		if left == 0 {
			f.end(now, ok, "ann", network)
		}
		return left
	}
	for i := range 1000 { // all that one network can
		now = now.Add(time.Second)
		login(false, "stranger")
		if left := login(true, fmt.Sprint("hotel", i/100)); left > 0 {
			return fmt.Sprintf("a stranger has her wait for %s", left)
		}
	}
	if left := login(true, "home"); left > 0 {
		return fmt.Sprintf("she waits for %s at home", left)
	}
	guesses, began := 0, now
	for i := range 10_000 {
		now = now.Add(100 * time.Millisecond)
		if login(false, fmt.Sprint("bot", i)) == 0 {
			guesses++
		}
		if left := login(true, "home"); left > 0 {
			return fmt.Sprintf("ten thousand strangers have her wait for %s", left)
		}
	}
	if most := userFailures + int(now.Sub(began)/userFailureBack) + 1; guesses > most {
		return fmt.Sprintf("ten thousand strangers guess %d times in %s, want %d at most", guesses, now.Sub(began), most)
	}
	// Others who share her network, behind one address, fail there under other names.
	for i := range 20 {
		f.begin(now, fmt.Sprint("user", i), "home")
		f.end(now, false, fmt.Sprint("user", i), "home")
		if left := login(true, "home"); left > 0 {
			return fmt.Sprintf("somebody in her network has her wait for %s", left)
		}
		now = now.Add(failureLast)
	}
	return ""
}

// An address must give the network of one customer, and the wider one around it.
func TestNetworkOf(t *testing.T) {
	for addr, want := range map[string][2]string{
		"10.1.2.3":              {"10.1.2.3/32", "10.1.2.0/24"},
		"::ffff:10.1.2.3":       {"10.1.2.3/32", "10.1.2.0/24"},
		"2001:db8:1:2:3:4:5:6":  {"2001:db8:1:2::/64", "2001:db8:1::/48"},
		"fe80::1%eth0":          {"fe80::/64", "fe80::/48"},
		"something that is not": {"something that is not", "something that is not"},
	} {
		if network, wide := networkOf(addr); network != want[0] || wide != want[1] {
			t.Errorf("%s: got %s and %s, want %v", addr, network, wide, want)
		}
	}
}

// A flood of logins must not keep a user out: neither one of one network, nor one of many.
func TestFloodOfLogins(t *testing.T) {
	if wrong := floodedLogins(t); wrong != "" {
		t.Error(wrong)
	}
}

// floodedLogins tells how a flood keeps out whom.
func floodedLogins(*testing.T) string {
	for _, c := range []struct {
		name  string
		from  func(i int) string // the network of the flood's login i
		known bool               // the user has logged in from there before
		after int                // turns until it is the user's, at most
	}{
		{"of one network", func(int) string { return "one" }, false, 2},
		{"of a few networks", func(i int) string { return fmt.Sprint(i % 20) }, false, 21},
		{"of a thousand networks", func(i int) string { return fmt.Sprint(i) }, true, 1},
	} {
		var q loginQueue
		for i := range 1000 {
			q.enter(c.from(i), false)
		}
		if len(q.waiting) > loginsWaiting {
			return fmt.Sprintf("%d logins wait, the limit is %d", len(q.waiting), loginsWaiting)
		}
		w := q.enter("user", c.known)
		for i := 1; ; i++ {
			if w == nil {
				return fmt.Sprintf("a flood %s: the user has no place", c.name)
			}
			q.leave()
			if len(w.turn) > 0 {
				if !<-w.turn || i > c.after {
					return fmt.Sprintf("a flood %s: the user's turn comes after %d others, or not at all", c.name, i-1)
				}
				break
			}
			for j := range 10 { // the flood goes on
				q.enter(c.from(1000*i+j), false)
			}
			if i > 2*loginsWaiting {
				return fmt.Sprintf("a flood %s: the user's turn does not come", c.name)
			}
		}
	}
	return ""
}

// A login that gives up waiting must leave no place behind that nobody has, and none may have two.
func TestLoginPlaces(t *testing.T) {
	var q loginQueue
	var all []*loginWait
	for i := range loginsMax + 3 {
		all = append(all, q.enter(fmt.Sprint(i), false))
	}
	if !q.giveUp(all[loginsMax]) || q.giveUp(all[loginsMax]) || q.giveUp(all[0]) {
		t.Error("who waits gives up once")
	}
	for i := range loginsMax + 2 {
		q.leave()
		if under := loginsMax - max(0, i-1); q.under != under {
			t.Errorf("after %d: %d are under way, want %d", i+1, q.under, under)
		}
	}
	if len(q.waiting) > 0 || len(q.served) > 0 {
		t.Errorf("%d wait, %d networks are remembered", len(q.waiting), len(q.served))
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
		clear(r.node.logins.failures.known)
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
		r.node.logins.queue.enter("elsewhere", false)
	}
	_, err = login("rob", "hunter2")
	refused(t, "beside others", err, wire.CodeBusy, "are under way")
	forget()
	waits := make(chan error, 1)
	go func() { _, err := login("rob", "hunter2"); waits <- err }()
	until(t, "it waits", func() error {
		r.node.logins.queue.mu.Lock()
		defer r.node.logins.queue.mu.Unlock()
		if len(r.node.logins.queue.waiting) != 1 {
			return errors.New("not yet")
		}
		return nil
	})
	r.node.logins.queue.leave()
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
