package raft

// timer counts the ticks in which no leader was heard. Its limit is drawn anew
// each time it is reset, so that replicas seldom stand for election at the same
// moment and split the votes (the paper, section 5.2).
type timer struct {
	election int // [Config.ElectionTicks]
	chance   chance
	silence  int // ticks since a leader was heard, a vote was given, or votes were asked for
	limit    int // silent ticks after which this replica stands for election
}

func (t *timer) reset() {
	t.silence = 0
	t.limit = t.election + t.chance.below(t.election)
}

// expired reports whether no leader was heard for too long.
func (t *timer) expired() bool { return t.silence >= t.limit }

// chance is a splitmix64 generator: the same numbers in every version of Go,
// which the standard library does not promise.
type chance uint64

func (c *chance) below(n int) int { return int(c.next() % uint64(n)) }

func (c *chance) next() uint64 {
	*c += 0x9e3779b97f4a7c15
	z := uint64(*c)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
