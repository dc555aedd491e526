package notary

import (
	"testing"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// While a cluster is upgraded, the first nodes of the new release ask a leader that puts no host into certificates. They
// must ask the next leader at once, and the same one once it was upgraded, or browsers would be warned of them for an
// hour. And they must not ask all the time, for each certificate is an entry of group 0.
func TestHostIsAskedOfEachLeader(t *testing.T) {
	const self, old, another = 1, 2, 3
	issuing := shardmap.Root{ID: shardmap.RootID{1}, State: shardmap.RootIssuing}
	mine := shardmap.Pin{Node: self, Key: shardmap.KeyID{1}, Serial: shardmap.Serial{1}, Root: issuing.ID}
	table := &shardmap.Table{
		Index: 9, Nodes: []shardmap.TableNode{{ID: self, Addr: "n1:1"}, {ID: old, Start: 1}, {ID: another, Start: 1}},
		Security: shardmap.Security{Mode: shardmap.SecurityBoth, Roots: []shardmap.Root{issuing}, Pins: []shardmap.Pin{mine}},
	}
	b := NewBearer(self, mine.Key, false)
	own := Own{Serial: mine.Serial, Root: mine.Root, RenewAt: 1 << 40}
	b.Own(own)
	now := Now{Host: time.Minute, Wall: 1}
	asks := func(leader raft.NodeID, host string) (times int) {
		table.Nodes[0].Addr = host + ":1"
		b.Table(table)
		b.Leader(leader)
		for range 20 {
			a, has, _ := b.Turn(now)
			if has && a.Kind == Renew {
				times++
			}
			b.Ended(now, a.Number, nil)
			now.Host += time.Second
		}
		return times
	}
	for i, c := range []struct {
		leader raft.NodeID
		host   string
		wait   time.Duration
		want   int
	}{
		{old, "n1", 0, 1},
		{another, "n1", 0, 1},
		{old, "n1", 0, 0},
		{another, "n1", 0, 0},
		{old, "n1", namesAgain, 1},
		{old, "n2", 0, 1}, // it has moved
		{another, "n2", 0, 1},
		{old, "n1", 0, 1},
	} {
		now.Host += c.wait
		if got := asks(c.leader, c.host); got != c.want {
			t.Errorf("%d: node %d is asked %d times for a certificate of %s, want %d", i, c.leader, got, c.host, c.want)
		}
	}
	table.Nodes[1].Start++
	if got := asks(old, "n1"); got != 1 {
		t.Errorf("a leader that was upgraded, and leads again, is asked %d times, want 1", got)
	}
	own.Host = "n1"
	b.Own(own)
	now.Host += 2 * namesAgain
	if got := asks(old, "n1"); got != 0 {
		t.Errorf("with a certificate that names its host it asks for another %d times", got)
	}
}
