package notary

import (
	"errors"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// A node that votes no longer must not keep what makes certificates, and must not take the only copy of it
// away: it removes a key once voters have said that they hold it, and not while they can't.
func TestKeysGoWithTheVote(t *testing.T) {
	if wrong := keysGo(t); wrong != "" {
		t.Error(wrong)
	}
}

func keysGo(t *testing.T) string {
	key, other := shardmap.WrapKeyID{1}, shardmap.WrapKeyID{2}
	for _, c := range []struct {
		name   string
		voters []raft.NodeID
		down   []raft.NodeID
		want   []raft.NodeID // who is given the key before it goes
		goes   bool
	}{
		{"it votes", []raft.NodeID{1, 2, 9}, nil, nil, false},
		{"it does not", []raft.NodeID{1, 2, 3}, nil, []raft.NodeID{1, 2}, true},
		{"one voter is left", []raft.NodeID{1}, nil, []raft.NodeID{1}, true},
		{"one is down", []raft.NodeID{1, 2, 3}, []raft.NodeID{1}, []raft.NodeID{2, 3}, true},
		{"all but one are down", []raft.NodeID{1, 2, 3}, []raft.NodeID{1, 2}, []raft.NodeID{3}, false},
		{"none that is known", nil, nil, nil, false},
	} {
		table := &shardmap.Table{Nodes: []shardmap.TableNode{{ID: 9}}}
		for _, n := range c.voters {
			table.Meta.Replicas = append(table.Meta.Replicas, shardmap.TableReplica{Node: n, Role: shardmap.ReplicaVoter})
		}
		serial := shardmap.Serial{7}
		root := shardmap.Root{ID: shardmap.RootID{3}, State: shardmap.RootIssuing, WrapKey: key}
		table.Security = shardmap.Security{Mode: shardmap.SecurityOnly, Roots: []shardmap.Root{root}, Pins: []shardmap.Pin{{Node: 9, Serial: serial, Root: root.ID}}}
		b := NewBearer(9, shardmap.KeyID{}, false)
		b.Table(table)
		b.Leader(1)
		b.Own(Own{Serial: serial, Root: root.ID, RenewAt: 1 << 40})
		b.Held([]shardmap.WrapKeyID{other, key})
		var given []raft.NodeID
		gone := false
		now := Now{}
		for range 100 {
			now.Host += time.Second
			a, has, _ := b.Turn(now)
			if !has {
				continue
			}
			var err error
			switch a.Kind {
			case Hand:
				if slices.Contains(c.down, a.Node) {
					err = errors.New("it is down")
				} else {
					given = append(given, a.Node)
				}
			case Drop:
				gone = true
				b.Held([]shardmap.WrapKeyID{other})
			default:
				t.Fatalf("%s: it wants to %s", c.name, a.Kind)
			}
			if a.WrapKey != key {
				t.Fatalf("%s: it is about key %s, which is of no root", c.name, a.WrapKey)
			}
			b.Ended(now, a.Number, err)
		}
		slices.Sort(given)
		if gone != c.goes || !slices.Equal(given, c.want) {
			return c.name + ": the key is given to other nodes, or goes, as it should not"
		}
	}
	return ""
}
