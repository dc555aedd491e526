package login

import (
	"slices"
	"sync"
	"time"
)

const (
	// AtOnce is how many passwords are looked at at once. Each takes a quarter of a second of a
	// processor, by design; more of them must not keep the node from its work.
	AtOnce = 2
	// BusyRetry is after how long a place is free again, mostly.
	BusyRetry = 500 * time.Millisecond
	// waitingMax is how many more wait for their turn, and waitingOfNetwork how many of those from one
	// wide network.
	waitingMax       = 64
	waitingOfNetwork = 4
)

// bugFirstCome is planted to show that its test finds it: logins wait in one line, whoever they are of.
const bugFirstCome = "logins wait in one line"

// Queue says whose password is looked at next. Users who have logged in from where they are come before
// strangers; of either, all networks get their turn alike, so one network that sends many has its own wait. When there
// is no room for more, the networks that have most in it lose theirs. It is safe for all goroutines.
type Queue struct {
	mu      sync.Mutex
	under   int            // guarded by mu; at most AtOnce
	waiting []*Place       // guarded by mu; in the order in which they came, at most waitingMax
	served  map[string]int // guarded by mu; of networks that have some waiting: how many they have had since then
}

// Place is what a login has in the queue.
type Place struct {
	network string    // a wide one
	known   bool      // its user has logged in from there before
	turn    chan bool // once: true: it is its turn; false: it has lost its place
}

// Turn tells once whether it is the login's turn: true; or whether it has lost its place: false.
func (w *Place) Turn() <-chan bool { return w.turn }

// Enter takes a login in, and returns nil if it has no place. Its turn is told by
// [Place.Turn]; whoever has had it calls [Queue.Leave].
func (q *Queue) Enter(network string, known bool) *Place {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := &Place{network, known, make(chan bool, 1)}
	if q.under < AtOnce {
		q.under++
		w.turn <- true
		return w
	}
	if bug(bugFirstCome) {
		if len(q.waiting) >= waitingMax {
			return nil
		}
		q.waiting = append(q.waiting, w)
		return w
	}
	if q.count(network) >= waitingOfNetwork {
		return nil
	}
	if len(q.waiting) >= waitingMax && !q.displace(w) {
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
func (q *Queue) count(network string) (n int) {
	for _, w := range q.waiting {
		if w.network == network {
			n++
		}
	}
	return n
}

// Waiting returns how many wait for their turn.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// displace makes room for a login, if one has less right to wait than that: a stranger, of the network that has
// most. Of those that have equally many the one loses that has waited longest: it is the one that gives up first. Its
// caller holds mu.
func (q *Queue) displace(by *Place) bool {
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
func (q *Queue) remove(i int) {
	network := q.waiting[i].network
	q.waiting = slices.Delete(q.waiting, i, i+1)
	if q.count(network) == 0 {
		delete(q.served, network)
	}
}

// Leave ends the turn of one, and gives it to the next.
func (q *Queue) Leave() {
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

// GiveUp takes out one that waits no longer. It reports false if that has had its turn told already.
func (q *Queue) GiveUp(w *Place) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, w)
	if i < 0 {
		return false
	}
	q.remove(i)
	return true
}
