package repl

import (
	"testing"

	"muster/raft"
)

// Batches of reads use the same memory again and again, also those of other groups. What
// was in it must not be answered twice, nor be kept alive.
func TestReadsUseRoomAgain(t *testing.T) {
	c := newCluster(t, 1, 3)
	for g := range raft.GroupID(testGroups) {
		c.until("each group is led", func() bool { return c.leader(g) != nil })
	}
	const batch, roomOfBatch = 3, 4 // as append grows
	var s said
	request, room := uint64(0), 0
	for round := range 20 {
		for g := range raft.GroupID(testGroups) {
			for range 1 + round%batch {
				request++
				c.leader(g).host.Read(Read{Group: g, Reply: Reply{To: &s, Request: request}, Query: anything{}})
			}
		}
		c.until("all are answered", func() bool {
			for r := range request {
				if s.to(r+1) == "" {
					return false
				}
			}
			return true
		})
		rooms := 0
		for _, n := range c.nodes {
			rooms += n.host.readRooms.room
			for _, reads := range n.host.readRooms.free {
				for _, r := range reads[:cap(reads)] {
					if r.Query != nil || r.Reply.To != nil {
						t.Fatalf("request %d is kept after its answer", r.Reply.Request)
					}
				}
			}
		}
		if room = rooms; room > len(c.nodes)*testGroups*roomOfBatch {
			t.Fatalf("round %d: room for %d reads is kept", round, room)
		}
	}
	if room == 0 {
		t.Error("no room is kept")
	}
	for r := range request {
		if got := s.to(r + 1); got != "GetAnswer" {
			t.Errorf("request %d is answered %q", r+1, got)
		}
	}
}

// A burst must not hold its memory for ever.
func TestReadRoomsAreBounded(t *testing.T) {
	var r readRooms
	r.give(make([]Read, readRoomsMax+1))
	for range 3 {
		r.give(make([]Read, 0, readRoomsMax/2))
	}
	if r.room != readRoomsMax || len(r.free) != 2 {
		t.Errorf("%d slices with room for %d reads are kept, the limit is %d", len(r.free), r.room, readRoomsMax)
	}
	for range 3 {
		r.take()
	}
	if r.room != 0 || len(r.free) != 0 {
		t.Errorf("%d slices with room for %d reads are left", len(r.free), r.room)
	}
}
