package web

import "sync"

// Shares are places of which there are only so many: connections, requests that are under way. A user has at most as many
// as are left for others: so nobody alone can take what others need, and a user who is alone has half of them. Where
// nobody is asked who he is there are no others. Any goroutine may use it.
type Shares struct {
	all int // set once

	mu   sync.Mutex
	free int            // guarded by mu
	of   map[string]int // guarded by mu: places that a user has, of those who have some
}

// NewShares returns n places, all free.
func NewShares(n int) *Shares { return &Shares{all: n, free: n, of: make(map[string]int)} }

// bugGreedyUser is planted to show that its test finds it: one user may take all the places.
const bugGreedyUser = "one user takes all places"

// Take takes a place for a user, "" where nobody is asked. The caller gives it back. It reports false if there is none.
func (s *Shares) Take(user string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free == 0 || user != "" && s.of[user] >= s.free && !bug(bugGreedyUser) {
		return false
	}
	s.free--
	if user != "" {
		s.of[user]++
	}
	return true
}

// GiveBack gives back a place that [Shares.Take] has taken for the same user.
func (s *Shares) GiveBack(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	if s.of[user] > 1 {
		s.of[user]--
	} else {
		delete(s.of, user)
	}
}

// Taken returns how many places are taken.
func (s *Shares) Taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all - s.free
}
