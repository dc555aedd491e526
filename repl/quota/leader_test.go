package quota

import (
	"testing"
	"time"

	"muster/shardmap"
)

// A prefix of which only the rate is limited has lost most of its bytes when these are limited too. Its leader may not
// fill it up to what it once had: nobody has divided that.
func TestKindLimitedLater(t *testing.T) {
	var l Leader
	has := func(bytes int64) {
		l.Sync(0, shardmap.Tally{Amount: shardmap.Amount{Keys: 1, Bytes: bytes}, Counted: true})
	}
	l.Set([]Limit{{Prefix: "a/", Rate: 10}})
	l.Lead(1)
	has(10_000)
	has(1000)
	l.Set([]Limit{{Prefix: "a/", Rate: 10, Bytes: 3000}})
	has(1000)
	add := []shardmap.Growth{{By: shardmap.Amount{Bytes: 5000}}}
	if _, refused := l.Admit(time.Second, 1, add); refused == nil {
		t.Error("a write of 5,000 bytes is admitted, 1,000 are there, and the limit is 3,000")
	}
}
