package mover

import (
	"testing"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// What a group's leader made of a change is learnt soon, however many changes were made
// before: a job of many steps must not be slower from step to step.
func TestStepsFollowSoon(t *testing.T) {
	w := calmWorld(t, 4, 2)
	soon := 2 * watchPauseMax
	changed := map[raft.GroupID]time.Duration{} // when a change was asked for last
	w.asked = func(a *Action) {
		switch a.Kind {
		case Change:
			changed[a.Group] = w.now
		case Ask:
			for id, at := range changed {
				if w.groups[id].leader == a.Node {
					if w.now-at > soon {
						w.fail("group %d was changed %s ago, and its leader is asked only now", id, w.now-at)
					}
					delete(changed, id)
				}
			}
		}
	}
	for n := range 16 {
		w.order(shardmap.NewJob{Kind: shardmap.JobDrain, Node: raft.NodeID(1 + n%4)})
		w.until("the node is drained", 5*time.Minute, w.idle)
		if err := w.apply(append1(shardmap.AppendDrain(nil, &shardmap.Drain{Node: raft.NodeID(1 + n%4)}))); err != nil {
			w.fail("%v", err)
		}
		w.until("the nodes are even again", 5*time.Minute, w.idle)
	}
}
