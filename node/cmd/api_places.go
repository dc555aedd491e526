package cmd

import (
	"net/http"
	"sync"
)

// apiPlaces are those of requests that are under way. A user has at most as many as are left for others: so nobody alone
// can take what others need, and a user who is alone has half of them. Where nobody is asked who he is there are no
// others.
type apiPlaces struct {
	mu   sync.Mutex
	free int            // guarded by mu
	of   map[string]int // guarded by mu: places that a user has, of those who have some
}

func newPlaces(n int) *apiPlaces { return &apiPlaces{free: n, of: make(map[string]int)} }

// bugGreedyUser is planted to show that its test finds it: one user may take all the places for requests.
const bugGreedyUser = "one user takes all places"

// take takes a place for a user, "" where nobody is asked. The caller gives it back. It reports false if there is none.
func (p *apiPlaces) take(user string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free == 0 || user != "" && p.of[user] >= p.free && !bug(bugGreedyUser) {
		return false
	}
	p.free--
	if user != "" {
		p.of[user]++
	}
	return true
}

func (p *apiPlaces) giveBack(user string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free++
	if p.of[user] > 1 {
		p.of[user]--
	} else {
		delete(p.of, user)
	}
}

// errCrowded refuses a request for which there is no place.
var errCrowded = &apiError{status: http.StatusServiceUnavailable, code: "busy", object: "node", text: "as many requests are under way as there may be, of all or of one user", next: "try again in a second", exit: exitNoResult, retry: 1000}
