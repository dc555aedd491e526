package login

import (
	"net/netip"
	"sync"
	"time"
)

// Failed logins cost whoever made them time, and nobody else, as far as the two can be told apart: by the
// network that they come from. What is remembered is in the memory of the meta group's leader, which alone
// looks at passwords. Another leader begins anew: a change of the lead, which no stranger can bring about,
// gives a guesser the few quick tries of the beginning once more.

const (
	// failuresMax bounds what is remembered of failed logins. Above it what failed longest ago is
	// forgotten: an attacker with so many networks is held up by the bound of each user.
	failuresMax = 4096
	// failureFirst is how long the next try from there has to wait after one failure, for the same user or
	// any other; it doubles with each, up to failureLast. After failureOver without one all is forgotten.
	failureFirst = time.Second
	failureLast  = time.Minute
	failureOver  = 10 * time.Minute
	// userFailures is how many failures a user may have from all networks together before those have to
	// wait from which he has never logged in; one more comes back each userFailureBack. That is some
	// 17,000 guesses a day, for an attacker who has thousands of networks.
	userFailures = 20
	// userFailuresLeast is how many of them a node allows at least, however many share them.
	userFailuresLeast = 2
	userFailureBack   = 5 * time.Second
	// knownMax bounds from where users have logged in. Nobody gets onto it without a password.
	knownMax = 4096
)

// source is where logins come from: a network, for one user or, without one, for any.
type source struct{ user, network string }

// bugAnybodyHoldsUp is planted to show that its test finds it: whoever fails by a user's name, from wherever, has
// that user wait.
const bugAnybodyHoldsUp = "failures of others hold up a user"

// sources are the two that a login counts for.
func sources(user, network string) [2]source {
	if bug(bugAnybodyHoldsUp) {
		return [2]source{{user: user}, {network: network}}
	}
	return [2]source{{user, network}, {network: network}}
}

// Bits of an address that name the network of one customer, and a larger one, of which there are so few that an
// attacker does not have many.
const (
	customer4, customer6 = 32, 64
	larger4, larger6     = 24, 48
)

// NetworkOf is the network of an address: what one customer has. wide is a larger one around it.
func NetworkOf(addr string) (network, wide string) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return addr, addr // no address: all of them are one
	}
	a = a.Unmap().WithZone("")
	bits, more := customer4, larger4
	if a.Is6() {
		bits, more = customer6, larger6
	}
	return netip.PrefixFrom(a, bits).Masked().String(), netip.PrefixFrom(a, more).Masked().String()
}

// Failures remembers whose logins failed, and from where users have logged in. It is safe for all goroutines. The zero
// value remembers nothing.
type Failures struct {
	mu    sync.Mutex
	of    map[source]*failing   // guarded by mu; at most failuresMax
	users map[string]*allowance // guarded by mu; at most failuresMax
	known map[source]time.Time  // guarded by mu; when a user last logged in from a network; at most knownMax
}

// failing is what is remembered of one source.
type failing struct {
	count int
	last  time.Time
	under bool // one is under way: of many at once only one is looked at
}

// pause is how long after the last failure nothing more is looked at.
func (f *failing) pause() time.Duration {
	if f.count == 0 {
		return 0
	}
	return min(failureFirst<<min(f.count-1, 16), failureLast)
}

// allowance is how many failures a user has had, from all networks; each that is userFailureBack ago counts
// no more.
type allowance struct {
	used  int
	since time.Time // from when on the next one comes back
}

// back gives back what is due, one each so often.
func (a *allowance) back(now time.Time, each time.Duration) {
	n := int(now.Sub(a.since) / each)
	if n <= 0 {
		return
	}
	a.used, a.since = max(0, a.used-n), a.since.Add(time.Duration(n)*each)
	if a.used == 0 {
		a.since = now
	}
}

// left is how long it takes until there is room for another failure.
func (a *allowance) left(now time.Time, most int, each time.Duration) time.Duration {
	if a.used < most {
		return 0
	}
	return a.since.Add(each).Sub(now)
}

// bugGuessed is planted to show that its test finds it: a login may follow one that failed at once.
const bugGuessed = "failed logins cost no time"

// Begin returns how long a login has to wait, or 0: then it is under way, until [Failures.End] or
// [Failures.Drop]. known: the user has logged in from there before.
func (f *Failures) Begin(now time.Time, user, network string) (left time.Duration, known bool) {
	return f.BeginAmong(now, user, network, 1)
}

// bugEachWhole is planted to show that its test finds it: each of many nodes that look at passwords allows as many
// failures as one.
const bugEachWhole = "failures allowed by each node"

// BeginAmong is [Failures.Begin] at one of some nodes that look at passwords, of which none hears of the others: what a user
// may fail from all networks together is shared out among them.
func (f *Failures) BeginAmong(now time.Time, user, network string, nodes int) (left time.Duration, known bool) {
	if nodes = max(nodes, 1); bug(bugEachWhole) {
		nodes = 1
	}
	most, each := max(userFailures/nodes, userFailuresLeast), userFailureBack*time.Duration(nodes)
	f.mu.Lock()
	defer f.mu.Unlock()
	_, known = f.known[source{user, network}]
	for _, w := range sources(user, network) {
		x := f.of[w]
		switch {
		case x == nil:
		case w.user == "" && known:
			// Others who share his network, behind one address, must not hold him up either.
		default:
			if x.under {
				left = max(left, BusyRetry)
			}
			left = max(left, x.pause()-now.Sub(x.last))
		}
	}
	a := f.users[user]
	if a == nil {
		a = &allowance{since: now}
	}
	a.back(now, each)
	if !known {
		left = max(left, a.left(now, most, each))
	}
	if left > 0 && !bug(bugGuessed) {
		return left, known
	}
	if f.of == nil {
		f.of, f.users, f.known = make(map[source]*failing), make(map[string]*allowance), make(map[source]time.Time)
	}
	for _, w := range sources(user, network) {
		if f.of[w] == nil {
			f.room(now)
			f.of[w] = new(failing)
		}
		f.of[w].under = true
	}
	if f.users[user] == nil && len(f.users) >= failuresMax {
		f.roomForUser(now)
	}
	f.users[user] = a
	a.used++ // many at once count before any of them has failed
	return 0, known
}

// End notes how a login ended that was under way.
func (f *Failures) End(now time.Time, ok bool, user, network string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range sources(user, network) {
		x := f.of[w]
		if x == nil {
			continue // it was forgotten for another one
		}
		x.under = false
		switch {
		case ok && (x.count == 0 || w.user != ""):
			delete(f.of, w)
		case ok: // one password that fits must not free a network from which others are guessed
		case now.Sub(x.last) > failureOver:
			x.count, x.last = 1, now
		default:
			x.count, x.last = x.count+1, now
		}
	}
	if !ok {
		return
	}
	f.giveBack(user)
	if f.known == nil { // a login that nobody had begin
		f.known = make(map[source]time.Time)
	}
	if len(f.known) >= knownMax {
		var oldest source
		for w, at := range f.known {
			if oldest == (source{}) || at.Before(f.known[oldest]) {
				oldest = w
			}
		}
		delete(f.known, oldest)
	}
	f.known[source{user, network}] = now
}

// Drop notes that a login that was under way was not looked at.
func (f *Failures) Drop(user, network string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range sources(user, network) {
		if x := f.of[w]; x != nil {
			x.under = false
		}
	}
	f.giveBack(user)
}

// giveBack takes back that a login of a user counts as failed. Its caller holds mu.
func (f *Failures) giveBack(user string) {
	if a := f.users[user]; a != nil && a.used > 0 {
		a.used--
	}
}

// room forgets what is over, and if nothing is, the one that failed longest ago. Its caller holds mu.
func (f *Failures) room(now time.Time) {
	if len(f.of) < failuresMax {
		return
	}
	var oldest source
	for w, x := range f.of {
		switch {
		case x.under:
		case now.Sub(x.last) > failureOver:
			delete(f.of, w)
		case oldest == (source{}) || x.last.Before(f.of[oldest].last):
			oldest = w
		}
	}
	if len(f.of) >= failuresMax {
		delete(f.of, oldest)
	}
}

// roomForUser forgets the users that may fail as often as any, and if there is none, the one that has failed
// least. Its caller holds mu.
func (f *Failures) roomForUser(now time.Time) {
	least, used := "", userFailures+1
	for user, a := range f.users {
		a.back(now, userFailureBack)
		if a.used == 0 {
			delete(f.users, user)
		} else if a.used < used {
			least, used = user, a.used
		}
	}
	if len(f.users) >= failuresMax {
		delete(f.users, least)
	}
}
