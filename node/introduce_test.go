package node

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"muster/logstore"
	"muster/raft"
	"muster/repl/machine"
	"muster/shardmap"
)

// Copies of one image have one host name, and commands name nodes. So the second of
// them takes another name, always the same one; but a name that an operator gave is
// the operator's affair.
func TestNameInTable(t *testing.T) {
	const self, other = raft.NodeID(0xabcd000000000001), raft.NodeID(0x1234000000000002)
	own, long := Config{}, strings.Repeat("h", nameMax)
	row := func(id raft.NodeID, name string) shardmap.TableNode { return shardmap.TableNode{ID: id, Name: name} }
	for _, c := range []struct {
		what, name, want string
		cfg              Config
		nodes            []shardmap.TableNode
	}{
		{"nobody else", "host", "host", own, []shardmap.TableNode{row(self, "10.0.0.1:4166")}},
		{"another of another name", "host", "host", own, []shardmap.TableNode{row(self, "host"), row(other, "host2")}},
		{"another of this name", "host", "host-abcd", own, []shardmap.TableNode{row(self, "10.0.0.1:4166"), row(other, "host")}},
		{"it has its mark, and the other is gone", "host", "host-abcd", own, []shardmap.TableNode{row(self, "host-abcd")}},
		{"a name as long as may be", long, long[:nameMax-5] + "-abcd", own, []shardmap.TableNode{row(other, long)}},
		{"a name that was given", "host", "host", Config{Name: "host"}, []shardmap.TableNode{row(other, "host")}},
	} {
		s := announcer{cfg: &c.cfg, name: c.name, self: func() logstore.Identity { return logstore.Identity{Node: self} }}
		if got := s.nameIn(&shardmap.Table{Nodes: c.nodes}); got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
	}
	s := announcer{cfg: &own, name: "host"}
	if got := s.nameIn(nil); got != "host" {
		t.Errorf("before there is a table: got %q", got)
	}
}

// The table shows what a node announced last, even if an announcement of its earlier life
// is committed after that. One would doubt it: a leader that stood still may commit the
// late one, when the node believes that it is done with announcing itself.
func TestLateAnnouncementIsCorrected(t *testing.T) {
	r := serving(t, defaultLimits())
	n := r.node
	a := n.announcer.announcement(n.self())
	a.Start, a.Addr = a.Start+7, "127.0.0.1:1"
	if err := n.announcer.propose(t.Context(), func() ([]byte, error) { return machine.AnnounceCommand(&a) }); err != nil {
		t.Fatal(err)
	}
	until(t, "the table says again what the node is", func() error {
		if row, ok := n.table.Load().Node(a.Node); !ok || row.Addr != n.addr || row.Start != a.Start-7 {
			return fmt.Errorf("it has %+v", row)
		}
		return nil
	})
}

// A node that starts may find an older table in its log, which lacks the name that it took
// last. It keeps that name all the same.
func TestNameIsChosenByTheTableOfNow(t *testing.T) {
	r := serving(t, defaultLimits())
	n := r.node
	self := n.self().Node
	old, unnamed := n.table.Load(), n.cfg
	unnamed.Name = ""
	s := announcer{
		cfg: &unnamed, name: nameOf(old, self), addr: n.addr, level: n.limits.level, log: n.log,
		self: n.self, loop: n.running, table: func() *shardmap.Table { return old },
	}
	s.current = func(ctx context.Context) error {
		s.table = n.table.Load
		return tableNow(ctx, n.running())
	}
	renamed := s.announcement(n.self())
	renamed.Name = distinctName(s.name, self)
	for _, announce := range []func() error{
		func() error {
			return s.propose(t.Context(), func() ([]byte, error) { return machine.AnnounceCommand(&renamed) })
		},
		func() error { return s.once(t.Context()) },
	} {
		if err := announce(); err != nil {
			t.Fatal(err)
		}
		if name := nameOf(n.table.Load(), self); name != renamed.Name {
			t.Errorf("the node is called %q, want %q", name, renamed.Name)
		}
	}
}
