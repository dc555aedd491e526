package node

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// Nodes are replaced one by one by those of a newer build. What it brings is refused
// before the log, whichever node is asked: a replica of the older build would stop at
// it. With the last node it is taken, and the older build has no place any more. One
// would doubt it: the node that leads may be the newer one, which understands the
// command well; what counts is what the cluster is at.
func TestLevelOfReplacedNodes(t *testing.T) {
	t.Parallel()
	// What clients write has not changed with each level: the older build is the last one
	// that lacks one of the commands. Points need a window, which a cluster below their level
	// can't have: TestWindowBelowTheLevel shows it.
	kind, needs := shardmap.CommandKind(0), uint32(0)
	for _, row := range shardmap.Commands() {
		if k := shardmap.CommandKind(row.Kind); !row.Internal && k != shardmap.CommandPoints && k != shardmap.CommandPointsDelete && row.Level > needs {
			kind, needs = k, row.Level
		}
	}
	if kind != shardmap.CommandDelPrefix {
		t.Fatalf("the newest command is %s; want a proper one of it here, instead of the delete of a prefix", kind)
	}
	newest := func(key string) shardmap.Command {
		return shardmap.DelPrefixCommand(shardmap.SlotOf([]byte(key)), []byte(key), 1)
	}
	older := defaultLimits()
	older.level = needs - 1
	const n = 3
	addrs := freeAddrs(t, n)
	configs, nodes := make([]Config, n), make([]*runningNode, n)
	for i := range nodes {
		configs[i] = testConfig(t)
		configs[i].Listen, configs[i].Join, configs[i].Expect = addrs[i], addrs, n
		nodes[i] = start(t, configs[i], older)
	}
	// ask has the leader of a key's group asked, whichever it is.
	ask := func(c shardmap.Command, answer wire.Type) (err error) {
		for _, r := range nodes {
			s := r.client()
			var h wire.Header
			h, _, err = s.ask(wire.TypeWrite, 0, write(c))
			s.Close()
			if err == nil && h.Type != answer {
				err = fmt.Errorf("%s is answered by %s, want %s", c.Kind, h.Type, answer)
			}
			var e *wire.Error
			if !errors.As(err, &e) || e.Code != wire.CodeNotLeader && e.Code != wire.CodeNotReady {
				return err
			}
		}
		return err
	}
	for replaced := range n {
		if replaced > 0 {
			i := replaced - 1
			nodes[i].stop()
			nodes[i] = start(t, configs[i], defaultLimits())
		}
		for k := range 12 { // in all groups, so that each node leads one of them
			key := fmt.Sprintf("key-%d", k)
			until(t, "a write is taken", func() error { return ask(setCommand(key, "v"), wire.TypeWriteAnswer) })
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
				_, _, err := s.ask(wire.TypeWrite, 0, write(newest(key)))
				refused(t, fmt.Sprintf("%s of %s with %d newer nodes", kind, key, replaced), err, wire.CodeLevel, kind.String(), fmt.Sprint("level ", needs), "upgrade")
				if s.level != older.level {
					t.Errorf("with %d newer nodes one says that the cluster is at level %d", replaced, s.level)
				}
				s.Close()
			}
		}
	}

	last := n - 1
	// The doctor names the one that holds the level back, and what to do about it helps.
	behind := nodes[last].node.name
	for _, r := range nodes {
		until(t, "the doctor names the older node", func() error {
			want := fmt.Sprintf("level %d, though some nodes understand level %d: not so %s -> start the newer muster on %s", older.level, shardmap.Level, behind, behind)
			if list := strings.Join(r.finds(), "\n"); !strings.Contains(list, want) {
				return fmt.Errorf("it finds %q, want %q", list, want)
			}
			return nil
		})
	}
	nodes[last].stop()
	nodes[last] = start(t, configs[last], defaultLimits())
	for i, r := range nodes {
		until(t, "the node knows the newer level", func() error {
			if table := r.node.table.Load(); table == nil || table.Level != shardmap.Level {
				return errors.New("it does not")
			}
			return nil
		})
		s := r.client()
		if s.level != shardmap.Level {
			t.Errorf("node %d says that the cluster is at level %d, want %d", i, s.level, shardmap.Level)
		}
		if list := r.finds(); len(list) > 0 {
			t.Errorf("node %d tells the doctor %q", i, list)
		}
		s.Close()
	}
	until(t, "a command of the newer level is taken", func() error { return ask(newest("key-0"), wire.TypeDelPrefixAnswer) })

	// Both sides of a connection refuse a member that is below the level.
	member := nodes[last].node.self()
	nodes[last].stop()
	c := nodes[0].peerHello(member.Node, member.Life().Number+1)
	c.Level = older.level
	_, err := dial(t, nodes[0].addr, c)
	below := []string{member.Node.String(), fmt.Sprintf("level %d, the cluster is at level %d", older.level, shardmap.Level), "start the newer muster there"}
	refused(t, "the hello of a member below the level", err, wire.CodeLevel, below...)
	c = nodes[0].peerHello(member.Node, member.Life().Number+1)
	c.ClusterLevel = shardmap.Level + 1
	_, err = dial(t, nodes[0].addr, c)
	refused(t, "a hello with a member below the level", err, wire.CodeLevel, fmt.Sprintf("level %d, the cluster is at level %d", shardmap.Level, shardmap.Level+1))

	// Nor does such a build start where the newer one ran, once the log there says that
	// the level was committed: with the entry after it.
	announced := func() {
		t.Helper()
		nodes[last] = start(t, configs[last], defaultLimits())
		until(t, "the upgraded node is announced", func() error {
			if !nodes[last].node.announcer.announced() {
				return errors.New("not yet")
			}
			return nil
		})
	}
	announced()
	nodes[last].stop()
	err = start(t, configs[last], older).end()
	refused(t, "the older build on the directory of the newer", err, wire.CodeLevel, configs[last].Data, fmt.Sprintf("cluster of level %d", shardmap.Level), "start the muster that ran here last")
	announced()
}

// Who founds the cluster says at which level it begins, and can't ask the others. So
// hosts of two builds don't found one: they say which is which, and end.
func TestFoundingOfTwoLevels(t *testing.T) {
	older := defaultLimits()
	older.level = shardmap.Level - 1
	addrs := freeAddrs(t, 2)
	var nodes []*runningNode
	for i, l := range []limits{defaultLimits(), older} {
		c := testConfig(t)
		c.Listen, c.Join, c.Expect = addrs[i], addrs, 2
		nodes = append(nodes, start(t, c, l))
	}
	// Whichever asks first ends; the other one waits for another host there, or ends as
	// well if its question was on the way.
	select {
	case err := <-nodes[0].ended:
		nodes[0].ended <- err
	case err := <-nodes[1].ended:
		nodes[1].ended <- err
	case <-time.After(readyMax):
		t.Fatal("neither ends")
	}
	refusals := 0
	for _, r := range nodes {
		r.cancel()
		if err := <-r.ended; err != nil {
			refusals++
			refused(t, "the founding", err, wire.CodeLevel, fmt.Sprint("level ", older.level), fmt.Sprint("level ", shardmap.Level), "same release")
		}
		r.ended <- nil
	}
	if refusals == 0 {
		t.Error("both end without an error")
	}
}
