package node

import (
	"slices"
	"sync"
)

const (
	// loginsMax is how many passwords are looked at at once. Each takes a quarter of a second of a
	// processor, by design; who asks for more must not keep the node from its work.
	loginsMax = 2
	// loginsWaiting is how many more wait for their turn, and loginsOfNetwork how many of those from one
	// wide network.
	loginsWaiting   = 64
	loginsOfNetwork = 4
)

// bugFirstCome is planted to show that its test finds it: logins wait in one line, whoever they are of.
const bugFirstCome = "logins wait in one line"

// loginQueue says whose password is looked at next. Users who have logged in from where they are come before
// strangers; of either, all networks get their turn alike, so one network that sends many has its own wait. When there
// is no room for more, the networks that have most in it lose theirs. It is safe for all goroutines.
type loginQueue struct {
	mu      sync.Mutex
	under   int            // guarded by mu; at most loginsMax
	waiting []*loginWait   // guarded by mu; in the order in which they came, at most loginsWaiting
	served  map[string]int // guarded by mu; of networks that have some waiting: how many they have had since then
}

// loginWait is a login that waits.
type loginWait struct {
	network string    // a wide one
	known   bool      // its user has logged in from there before
	turn    chan bool // once: true: it is its turn; false: it has lost its place
}

// enter takes a login in, and returns nil if it has no place. Its turn is told on the channel; whoever has had it
// calls leave.
func (q *loginQueue) enter(network string, known bool) *loginWait {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := &loginWait{network, known, make(chan bool, 1)}
	if q.under < loginsMax {
		q.under++
		w.turn <- true
		return w
	}
	if bug(bugFirstCome) {
		if len(q.waiting) >= loginsWaiting {
			return nil
		}
		q.waiting = append(q.waiting, w)
		return w
	}
	if q.count(network) >= loginsOfNetwork {
		return nil
	}
	if len(q.waiting) >= loginsWaiting && !q.displace(w) {
		return nil
	}
	if q.served == nil {
		q.served = make(map[string]int)
	}
	if _, has := q.served[network]; !has {
		q.served[network] = 0
	}
	q.waiting = append(q.waiting, w)
	return w
}

// count returns how many of a network wait. Its caller holds mu.
func (q *loginQueue) count(network string) (n int) {
	for _, w := range q.waiting {
		if w.network == network {
			n++
		}
	}
	return n
}

// displace makes room for a login, if one has less right to wait than that: a stranger, of the network that has
// most. Of those that have equally many the one loses that has waited longest: it is the one that gives up first. Its
// caller holds mu.
func (q *loginQueue) displace(by *loginWait) bool {
	most, last := q.count(by.network), -1
	if by.known {
		most = 0
	}
	for i, w := range q.waiting {
		if n := q.count(w.network); !w.known && n > most {
			most, last = n, i
		}
	}
	if last < 0 {
		return false
	}
	q.waiting[last].turn <- false
	q.remove(last)
	return true
}

// remove takes one out. Its caller holds mu.
func (q *loginQueue) remove(i int) {
	network := q.waiting[i].network
	q.waiting = slices.Delete(q.waiting, i, i+1)
	if q.count(network) == 0 {
		delete(q.served, network)
	}
}

// leave ends the turn of one, and gives it to the next.
func (q *loginQueue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.under--
		return
	}
	next := 0
	for i, w := range q.waiting {
		is := q.waiting[next]
		if w.known && !is.known || w.known == is.known && q.served[w.network] < q.served[is.network] {
			next = i
		}
	}
	w := q.waiting[next]
	if q.served != nil {
		q.served[w.network]++
	}
	q.remove(next)
	w.turn <- true
}

// giveUp takes out one that waits no longer. It reports false if that has had its turn told already.
func (q *loginQueue) giveUp(w *loginWait) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, w)
	if i < 0 {
		return false
	}
	q.remove(i)
	return true
}
