package notary

import (
	"testing"
	"time"

	"muster/shardmap"
)

// A member says that it has its certificate, which ends the time of the secret, once nothing of its own would be
// cut by that: when all members have certificates, and its connections to them are by those. It must not wait
// for ever for one that shows none, nor when another root waits for the same word.
func TestWordWaitsForConnections(t *testing.T) {
	const self, other = 1, 2
	issuing := shardmap.Root{ID: shardmap.RootID{1}, State: shardmap.RootIssuing}
	incoming := shardmap.Root{ID: shardmap.RootID{2}, State: shardmap.RootTrusted}
	mine := shardmap.Pin{Node: self, Key: shardmap.KeyID{1}, Serial: shardmap.Serial{1}, Root: issuing.ID}
	others := shardmap.Pin{Node: other, Key: shardmap.KeyID{2}, Serial: shardmap.Serial{2}, Root: issuing.ID}
	for _, c := range []struct {
		name     string
		pins     []shardmap.Pin
		roots    []shardmap.Root
		outdated int
		after    time.Duration // that it is asked, since it was asked first
		tells    bool
	}{
		{"all is well", []shardmap.Pin{mine, others}, []shardmap.Root{issuing}, 0, 0, true},
		{"the other one has no certificate yet", []shardmap.Pin{mine}, []shardmap.Root{issuing}, 0, time.Hour, false},
		{"a connection is by the secret", []shardmap.Pin{mine, others}, []shardmap.Root{issuing}, 1, linkMax - 1, false},
		{"and stays so", []shardmap.Pin{mine, others}, []shardmap.Root{issuing}, 1, linkMax, true},
		{"another root waits for the word", []shardmap.Pin{mine, others}, []shardmap.Root{issuing, incoming}, 1, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := NewBearer(self, mine.Key, false)
			b.Table(&shardmap.Table{
				Index: 9, Nodes: []shardmap.TableNode{{ID: self}, {ID: other}},
				Security: shardmap.Security{Mode: shardmap.SecurityBoth, Roots: c.roots, Pins: c.pins},
			})
			b.Own(Own{Serial: mine.Serial, Root: mine.Root, RenewAt: 1 << 40})
			b.Leader(other)
			b.Outdated(c.outdated)
			began := Now{Host: time.Minute, Wall: 1}
			a, has, next := b.Turn(began)
			if !has && c.after > 0 {
				a, has, next = b.Turn(Now{Host: began.Host + c.after, Wall: began.Wall})
			}
			if tells := has && a.Kind == Tell; tells != c.tells {
				t.Errorf("it tells: %t (%+v, next turn at %s), want %t", tells, a, next, c.tells)
			}
			if !has && next <= began.Host+c.after {
				t.Errorf("the next turn is at %s, which is over", next)
			}
		})
	}
}
