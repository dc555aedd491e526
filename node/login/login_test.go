package login

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"muster/shardmap"
)

// The hash of a password fits that password alone, and two users with the same password have
// different hashes. Nothing fits where no hash is kept.
func TestPasswordFits(t *testing.T) {
	p, err := Hash(rand.Reader, []byte("correct horse"), Rounds)
	if err != nil {
		t.Fatal(err)
	}
	q, _ := Hash(rand.Reader, []byte("correct horse"), Rounds)
	if p.Rounds != Rounds || p.Hash == q.Hash {
		t.Errorf("got %+v, and another time %+v", p, q)
	}
	for password, want := range map[string]bool{"correct horse": true, "correct horsf": false, "": false} {
		if got, _ := Fits(&p, []byte(password), Rounds); got != want {
			t.Errorf("%q: got %t, want %t", password, got, want)
		}
	}
	if fits, _ := Fits(new(shardmap.PasswordHash), nil, Rounds); fits {
		t.Error("no password fits where none is kept")
	}
}

// Each login takes as many rounds, whoever it is for: otherwise the time of one tells whether there is a user of that
// name, or that his password is an old one.
func TestRoundsTellNothing(t *testing.T) {
	if wrong := roundsTell(); wrong != "" {
		t.Error(wrong)
	}
}

// roundsTell tells which logins take other rounds than others.
func roundsTell() string {
	users := []shardmap.User{{Name: "none"}, {Name: "old", Password: shardmap.PasswordHash{Rounds: Rounds / 2}}, {Name: "new", Password: shardmap.PasswordHash{Rounds: Rounds}},
		{Name: "newer", Password: shardmap.PasswordHash{Rounds: Rounds + 1000}}, {Name: "nobody"}}
	want := Rounds + 1000
	for i := range users {
		if _, took := Fits(&users[i].Password, []byte("guess"), RoundsOf(users[:4], Rounds)); took != want {
			return fmt.Sprintf("that of %s takes %d rounds, want %d", users[i].Name, took, want)
		}
	}
	if got := RoundsOf(nil, Rounds); got != Rounds {
		return fmt.Sprintf("without users a login takes %d rounds", got)
	}
	return ""
}

// Each wrong guess lengthens the wait, for its user there, and for all others there. One would doubt it of many
// guesses at once, and of whoever has one password that fits.
func TestFailuresPause(t *testing.T) {
	var f Failures
	now := time.Unix(1_000_000, 0)
	fail := func(user, network string) (left time.Duration) {
		if left, _ = f.Begin(now, user, network); left == 0 {
			f.End(now, false, user, network)
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
	if left, _ := f.Begin(now, "ann", "n1"); left != 0 {
		t.Fatalf("wait %s", left)
	}
	for _, user := range []string{"ann", "bob"} {
		if left, _ := f.Begin(now, user, "n1"); left != BusyRetry {
			t.Errorf("%s beside one that is under way: wait %s", user, left)
		}
	}
	f.End(now, true, "ann", "n1")
	if len(f.of) != 1 {
		t.Errorf("%d sources are remembered, want the network alone", len(f.of))
	}
	fail("carl", "n1")
	if left := fail("dora", "n1"); left != failureLast {
		t.Errorf("the network afterwards: wait %s, want %s", left, failureLast)
	}
	// One that was not looked at counts for nothing.
	now = now.Add(failureLast)
	if left, _ := f.Begin(now, "ann", "n2"); left != 0 {
		t.Fatalf("wait %s", left)
	}
	f.Drop("ann", "n2")
	if left := fail("ann", "n2"); left != 0 {
		t.Errorf("after one that was not looked at: wait %s", left)
	}
	now = now.Add(failureOver + failureLast)
	fail("erin", "n1")
	if left := fail("erin", "n1"); left != failureFirst {
		t.Errorf("long afterwards: wait %s, want %s", left, failureFirst)
	}
	const beyond = failuresMax / 16 // each looks through all that are remembered
	for i := range max(failuresMax, knownMax) + beyond {
		now = now.Add(time.Millisecond)
		fail(fmt.Sprint("user", i), fmt.Sprint("network", i))
		f.Begin(now, fmt.Sprint("user", i, "again"), fmt.Sprint("far", i))
		f.End(now, true, fmt.Sprint("user", i, "again"), fmt.Sprint("far", i))
	}
	if len(f.of) > failuresMax || len(f.users) > failuresMax || len(f.known) > knownMax {
		t.Errorf("%d sources, %d users and %d places are remembered, the limits are %d, %d and %d", len(f.of), len(f.users), len(f.known), failuresMax, failuresMax, knownMax)
	}
}

// An attacker who fails on purpose under a user's name, from any number of networks, must not keep that user out; and
// must still get few guesses.
func TestFailingForOthers(t *testing.T) {
	if wrong := failsForOthers(); wrong != "" {
		t.Error(wrong)
	}
}

// failsForOthers tells how a stranger keeps a user out.
func failsForOthers() string {
	var f Failures
	now := time.Unix(1_000_000, 0)
	login := func(ok bool, network string) time.Duration {
		left, _ := f.Begin(now, "ann", network)
		if left == 0 {
			f.End(now, ok, "ann", network)
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
		f.Begin(now, fmt.Sprint("user", i), "home")
		f.End(now, false, fmt.Sprint("user", i), "home")
		if left := login(true, "home"); left > 0 {
			return fmt.Sprintf("somebody in her network has her wait for %s", left)
		}
		now = now.Add(failureLast)
	}
	return ""
}

// Nodes that look at passwords without hearing of each other must not allow a guesser, who has as many networks as he
// likes, more than one node does, or not much more.
func TestFailuresShared(t *testing.T) {
	if wrong := failuresShared(); wrong != "" {
		t.Error(wrong)
	}
}

// failuresShared tells how many guesses several nodes allow together.
func failuresShared() string {
	const nodes = 5
	var each [nodes]Failures
	now := time.Unix(1_000_000, 0)
	guesses, began := 0, now
	for i := range 20_000 {
		now = now.Add(100 * time.Millisecond)
		for j := range each {
			network := fmt.Sprint("bot", i, "-", j)
			if left, _ := each[j].BeginAmong(now, "ann", network, nodes); left == 0 {
				each[j].End(now, false, "ann", network)
				guesses++
			}
		}
	}
	if most := userFailures + int(now.Sub(began)/userFailureBack) + nodes; guesses > most {
		return fmt.Sprintf("%d nodes allow %d guesses in %s, want %d at most", nodes, guesses, now.Sub(began), most)
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
		if network, wide := NetworkOf(addr); network != want[0] || wide != want[1] {
			t.Errorf("%s: got %s and %s, want %v", addr, network, wide, want)
		}
	}
}

// A flood of logins must not keep a user out: neither one of one network, nor one of many.
func TestFloodOfLogins(t *testing.T) {
	if wrong := floodedLogins(); wrong != "" {
		t.Error(wrong)
	}
}

// floodedLogins tells how a flood keeps out whom.
func floodedLogins() string {
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
		var q Queue
		for i := range 1000 {
			q.Enter(c.from(i), false)
		}
		if len(q.waiting) > waitingMax {
			return fmt.Sprintf("%d logins wait, the limit is %d", len(q.waiting), waitingMax)
		}
		w := q.Enter("user", c.known)
		for i := 1; ; i++ {
			if w == nil {
				return fmt.Sprintf("a flood %s: the user has no place", c.name)
			}
			q.Leave()
			if len(w.turn) > 0 {
				if !<-w.turn || i > c.after {
					return fmt.Sprintf("a flood %s: the user's turn comes after %d others, or not at all", c.name, i-1)
				}
				break
			}
			for j := range 10 { // the flood goes on
				q.Enter(c.from(1000*i+j), false)
			}
			if i > 2*waitingMax {
				return fmt.Sprintf("a flood %s: the user's turn does not come", c.name)
			}
		}
	}
	return ""
}

// A login that gives up waiting must leave no place behind that nobody has, and none may have two.
func TestLoginPlaces(t *testing.T) {
	var q Queue
	var all []*Place
	for i := range AtOnce + 3 {
		all = append(all, q.Enter(fmt.Sprint(i), false))
	}
	if !q.GiveUp(all[AtOnce]) || q.GiveUp(all[AtOnce]) || q.GiveUp(all[0]) {
		t.Error("who waits gives up once")
	}
	for i := range AtOnce + 2 {
		q.Leave()
		if under := AtOnce - max(0, i-1); q.under != under {
			t.Errorf("after %d: %d are under way, want %d", i+1, q.under, under)
		}
	}
	if len(q.waiting) > 0 || len(q.served) > 0 {
		t.Errorf("%d wait, %d networks are remembered", len(q.waiting), len(q.served))
	}
}
