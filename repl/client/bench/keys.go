package bench

import (
	"fmt"
	"math/rand/v2"
)

// prefix begins every key.
const prefix = "bench/"

// KeyBytesMin is the shortest size that can tell so many keys apart.
func KeyBytesMin(keys int) int { return len(prefix) + len(fmt.Sprint(max(keys-1, 0))) }

// writeKey makes the key with number n: the prefix, zeros, n.
func writeKey(key []byte, n int) {
	copy(key, prefix)
	for i := len(key) - 1; i >= len(prefix); i-- {
		key[i] = byte('0' + n%10)
		n /= 10
	}
}

// chooser says what is asked next, and for which key. It belongs to one
// goroutine.
type chooser struct {
	random *rand.Rand
	plan   *Plan
	zipf   zipf
	key    []byte
	value  []byte
}

func newChooser(p *Plan, number uint64) *chooser {
	c := &chooser{
		random: rand.New(rand.NewPCG(p.Seed, number)), plan: p,
		key: make([]byte, p.KeyBytes), value: make([]byte, p.ValueBytes),
	}
	if p.Exponent > 0 {
		c.zipf = newZipf(p.Keys, p.Exponent)
	}
	for i := range c.value {
		c.value[i] = byte('a' + c.random.IntN(26))
	}
	return c
}

// next makes the next key, and says what is to be done with it. The keys that a
// zipf distribution prefers are the first ones: which slots they live in is as
// good as random.
func (c *chooser) next() Op {
	if c.plan.Exponent > 0 {
		writeKey(c.key, c.zipf.draw(c.random))
	} else {
		writeKey(c.key, c.random.IntN(c.plan.Keys))
	}
	if c.plan.Op != OpMixed {
		return c.plan.Op
	}
	if c.random.IntN(100) < c.plan.ReadPercent {
		return OpGet
	}
	return OpSet
}
