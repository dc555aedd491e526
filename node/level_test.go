package node

import (
	"errors"
	"fmt"
	"testing"

	"muster/repl/wire"
	"muster/shardmap"
)

// Nodes are replaced one by one by those of a newer build. What it brings is refused
// before the log, whichever node is asked: a replica of the older build would stop at
// it. One would doubt it: the node that leads may be the newer one, which understands
// the command well; what counts is what the cluster is at.
func TestNewerNodesProposeNothingNew(t *testing.T) {
	older := defaultLimits()
	older.level = shardmap.Level - 1
	const n = 3
	addrs := freeAddrs(t, n)
	configs, nodes := make([]Config, n), make([]*runningNode, n)
	for i := range nodes {
		configs[i] = testConfig(t)
		configs[i].Listen, configs[i].Join, configs[i].Expect = addrs[i], addrs, n
		nodes[i] = start(t, configs[i], older)
	}
	newest := shardmap.Command{Slot: shardmap.SlotByServer}
	for _, row := range shardmap.Commands() {
		if row.Level == shardmap.Level {
			newest.Kind = shardmap.CommandKind(row.Kind)
		}
	}
	// ask has the leader of a key's group asked, whichever it is.
	ask := func(c shardmap.Command, key string) (err error) {
		c.Items = append([][]byte{[]byte(key)}, c.Items...)
		for _, r := range nodes {
			s := r.client()
			_, _, err = s.ask(wire.TypeWrite, 0, write(c))
			s.Close()
			var e *wire.Error
			if !errors.As(err, &e) || e.Code != wire.CodeNotLeader && e.Code != wire.CodeNotReady {
				return err
			}
		}
		return err
	}
	set := shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotByServer, Items: [][]byte{[]byte("v")}}
	for replaced := range n {
		if replaced > 0 {
			i := replaced - 1
			nodes[i].stop()
			nodes[i] = start(t, configs[i], defaultLimits())
		}
		for k := range 12 { // in all groups, so that each node leads one of them
			key := fmt.Sprintf("key-%d", k)
			until(t, "a write is taken", func() error { return ask(set, key) })
			for _, r := range nodes {
				// A node that starts reads the table from its own log before it
				// serves, and answers neither with the one nor with the other alone.
				until(t, "the node serves, and knows the table", func() error {
					if table := r.node.table.Load(); r.node.running() == nil || table == nil || !table.Founded() {
						return errors.New("it does not")
					}
					return nil
				})
				s := r.client()
				c := newest
				c.Items = [][]byte{[]byte(key)}
				_, _, err := s.ask(wire.TypeWrite, 0, write(c))
				refused(t, fmt.Sprintf("%s of %s with %d newer nodes", newest.Kind, key, replaced), err, wire.CodeLevel, newest.Kind.String(), fmt.Sprint("level ", shardmap.Level), "upgrade")
				if s.level != shardmap.Level-1 {
					t.Errorf("with %d newer nodes one says that the cluster is at level %d", replaced, s.level)
				}
				s.Close()
			}
		}
	}
}
