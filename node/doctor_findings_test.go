package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// doctor asks the node what it measures.
func (r *runningNode) doctor() (a wire.DoctorAnswer, err error) {
	s := r.client()
	defer s.Close()
	_, body, err := s.ask(wire.TypeDoctor, 0, (&wire.Empty{}).Append(nil))
	if err != nil {
		return a, err
	}
	return a, a.Read(body)
}

// finds returns what the node tells the doctor, each as "what -> remedy".
func (r *runningNode) finds() (list []string) {
	r.t.Helper()
	a, err := r.doctor()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range a.Findings {
		list = append(list, f.What+" -> "+f.Remedy)
	}
	return list
}

// A cluster that is well gives the doctor nothing to find, and its nodes tell what their
// clocks show when they answer.
func TestDoctorOfAHealthyCluster(t *testing.T) {
	for _, r := range founders(t, 3, defaultLimits()) {
		before := time.Now().UnixMicro()
		a, err := r.doctor()
		after := time.Now().UnixMicro()
		if err != nil || len(a.Findings)+len(a.Stuck)+len(a.Damaged) > 0 || int64(a.WallMicros) < before || int64(a.WallMicros) > after {
			t.Errorf("got findings %+v, stuck %+v, damaged %+v, clock %d between %d and %d, %v", a.Findings, a.Stuck, a.Damaged, a.WallMicros, before, after, err)
		}
	}
}

// Clients that are many leave room for few more: the doctor says so before one is refused, and
// says nothing any more once they have closed their connections.
func TestDoctorCountsConnections(t *testing.T) {
	l := defaultLimits()
	l.clients = 10
	r := serving(t, l)
	var open []*speaker
	until(t, "nobody is connected", func() error {
		if list := r.finds(); len(list) > 0 {
			return fmt.Errorf("%q", list)
		}
		return nil
	})
	for range 7 {
		open = append(open, r.client()) // with the one that asks, 8 of 10
	}
	want := r.node.name + " has 8 connections of clients, and refuses more than 10 -> see with ss -tnp"
	until(t, "all are counted", func() error { // a node counts one once it has read its hello
		if list := r.finds(); len(list) != 1 || !strings.HasPrefix(list[0], want) {
			return fmt.Errorf("got %q, want %q", list, want)
		}
		return nil
	})
	for _, s := range open {
		s.Close()
	}
	until(t, "they have left", func() error {
		if list := r.finds(); len(list) > 0 {
			return fmt.Errorf("%q", list)
		}
		return nil
	})
}

// The doctor is told of what all nodes see in the table: of levels, and of groups.
func TestTableFindings(t *testing.T) {
	table := func(level uint32, groups int, levels ...uint32) *shardmap.Table {
		t := &shardmap.Table{Level: level}
		for i, l := range levels {
			t.Nodes = append(t.Nodes, shardmap.TableNode{ID: raft.NodeID(i + 1), Name: fmt.Sprint("n", i+1), Role: shardmap.NodeServer, Level: l})
		}
		for i := range groups {
			t.Groups = append(t.Groups, shardmap.TableGroup{ID: raft.GroupID(i + 1)})
		}
		return t
	}
	for _, c := range []struct {
		name  string
		table *shardmap.Table
		want  string // empty: nothing
	}{
		{"all alike", table(7, 3, 7, 7, 7), ""},
		{"one is older", table(6, 3, 7, 6, 7), "the cluster takes commands of level 6, though some nodes understand level 7: not so n2 -> start the newer muster on n2; the level then rises by itself"},
		{"two are older, one of another level", table(5, 3, 5, 5, 8), "level 5, though some nodes understand level 8: not so n1, n2 -> start the newer muster on n1, n2"},
		{"all understand more", table(6, 3, 7, 7, 7), "-> wait a moment"},
		{"many are older", table(6, 12, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 7), "n8, 3 more"},
		{"fewer groups than servers", table(7, 2, 7, 7, 7), ""},
	} {
		var list []string
		for _, f := range tableFindings(c.table) {
			if list = append(list, f.What+" -> "+f.Remedy); f.Severe {
				t.Errorf("%s: %q is severe", c.name, f.What)
			}
		}
		if got := strings.Join(list, "\n"); !strings.Contains(got, c.want) || (c.want == "") != (got == "") || len(list) > 1 {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// A finding about a limit begins at the named part of it, and says which limit.
func TestNearLimits(t *testing.T) {
	room := func(used, limit int) shardmap.Room { return shardmap.Room{What: "sessions", Used: used, Max: limit} }
	for _, c := range []struct {
		name string
		list []wire.Problem
		want string
	}{
		{"sessions", sessionRooms(3, room(79, 100), room(79, 100), 12), ""},
		{"sessions of a group", sessionRooms(3, room(80, 100), room(0, 100), 12), "group 3 remembers 80 sessions, and refuses writes of new clients at 100 -> let programs keep one client each"},
		{"sessions of a slot", sessionRooms(3, room(0, 100), room(90, 100), 12), "slot 12 of group 3 remembers 90 sessions, and refuses writes of new clients at 100 -> let programs keep one client each"},
		{"watches", watchRooms("n1", machine.WatchRooms{Watches: 79, WatchesMax: 100, Behind: 79, BehindMax: 100}), ""},
		{"many watches", watchRooms("n1", machine.WatchRooms{Watches: 80, WatchesMax: 100}), "n1 has 80 watches, and refuses more than 100 -> let programs watch a prefix"},
		{"a slow watch", watchRooms("n1", machine.WatchRooms{WatchesMax: 100, Group: 4, Behind: 95, BehindMax: 100}), "a watch of group 4 at n1 has 95 bytes of events to read, of 100 that are kept: it ends once some of them are gone -> see why its client reads so slowly"},
		{"no jump", clockJumped("n1", repl.ClockJump{}, time.Minute), ""},
		{"a jump", clockJumped("n1", repl.ClockJump{By: 3 * time.Minute, At: time.Minute, Count: 2}, 3*time.Minute), "the clock of n1 jumped ahead by 3m0s, 2m0s ago: somebody set it, or the machine stood still; 2 jumps since the start -> let chronyd"},
		{"a jump back", clockJumped("n1", repl.ClockJump{By: -time.Minute, At: time.Minute, Count: 1}, time.Minute), "jumped back by 1m0s, 0s ago"},
		{"a jump of long ago", clockJumped("n1", repl.ClockJump{By: time.Minute, At: time.Minute, Count: 1}, time.Minute+jumpShown+1), ""},
	} {
		if got := told(c.list); !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
