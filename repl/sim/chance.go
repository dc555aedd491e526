package sim

import "time"

// chance is a splitmix64 generator (Steele, Lea, Flood: Fast splittable
// pseudorandom number generators, 2014): a run must be the same in every
// version of Go, which the standard library does not promise.
type chance uint64

func (c *chance) next() uint64 {
	*c += 0x9e3779b97f4a7c15
	z := uint64(*c)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number from 0 to n-1.
func (c *chance) below(n int) int { return int(c.next() % uint64(n)) }

// is reports true with probability p.
func (c *chance) is(p float64) bool { return float64(c.next()>>11)/(1<<53) < p }

// between returns a duration from lo to hi.
func (c *chance) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(c.next()%uint64(hi-lo+1))
}

// skewed is between, but most often near lo: each power of two between the
// bounds is as likely as any other.
func (c *chance) skewed(lo, hi time.Duration) time.Duration {
	top := lo
	for top < hi && c.next()&1 == 0 {
		top *= 2
	}
	return c.between(lo, min(2*top, hi))
}

// part returns a random subset of n things as bits, neither none nor all.
func (c *chance) part(n int) uint64 { return 1 + c.next()%(1<<n-2) }
