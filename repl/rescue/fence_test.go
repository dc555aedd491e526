package rescue

import (
	"strings"
	"testing"

	"muster/logstore"
	"muster/raft"
)

// fence notes that a node's replica of a group has a wrong state.
func (w *world) fence(n int, id raft.GroupID, rebuilt bool) {
	w.t.Helper()
	s, err := logstore.Open(logstore.Options{FS: w.nodes[n], Dir: dir, SegmentBytes: logstore.SegmentBytesMin})
	must(w.t, err)
	for _, r := range s.Replicas() {
		if r.Group == id {
			must(w.t, s.WriteFence(logstore.Fence{Replica: r, At: raft.LogID{Term: 1, Index: 3}, Found: logstore.FenceByComparison, What: "slot 12 differs", Rebuilt: rebuilt}))
		}
	}
	must(w.t, s.Close())
}

// A group begins anew with the state of the survivor that is chosen, so one whose state is
// known to be wrong is the last choice among those whose logs go equally far. One would
// doubt that it is chosen at all: but what only its log has would be lost for good, and
// the plan says that its state may be wrong.
func TestFencedIsChosenLast(t *testing.T) {
	for _, c := range []struct {
		name   string
		logs   map[int]log
		fenced []int
		source int
		says   bool
	}{
		{"none is", map[int]log{2: {entries: 5}, 3: {entries: 5}}, nil, 3, false},
		{"one of two alike", map[int]log{2: {entries: 5}, 3: {entries: 5}}, []int{3}, 2, false},
		{"the other one", map[int]log{2: {entries: 5}, 3: {entries: 5}}, []int{2}, 3, false},
		{"both", map[int]log{2: {entries: 5}, 3: {entries: 5}}, []int{2, 3}, 3, true},
		{"the longer one", map[int]log{2: {entries: 9}, 3: {entries: 4}}, []int{2}, 2, true},
		{"the only one", map[int]log{2: {entries: 4}}, []int{2}, 2, true},
	} {
		w := newWorld(t, c.logs)
		for _, n := range c.fenced {
			w.fence(n, 1, false)
		}
		for _, r := range w.reports() {
			for _, g := range r.Groups {
				want := ""
				for _, n := range c.fenced {
					if r.Node == ID(nodeID(n)) && g.Group == 1 {
						want = "found by comparison at g1/1.3: slot 12 differs"
					}
				}
				if g.Fence != want || g.Damage != "" {
					t.Errorf("%s: report of %s, %s: fence %q, want %q; damage %q", c.name, r.Node, g.Group, g.Fence, want, g.Damage)
				}
			}
		}
		p := w.plan(Options{})
		g := group(p, 1)
		if says := strings.Contains(g.Loss, "was found to be wrong (found by comparison at g1/1.3: slot 12 differs)"); g.Source != ID(nodeID(c.source)) || says != c.says {
			t.Errorf("%s: chosen is %s, want n%d; it says %q", c.name, g.Source, c.source, g.Loss)
		}
		for _, n := range w.survivors() {
			must(t, w.apply(n, p))
			s, err := logstore.OpenToRead(w.nodes[n], dir)
			must(t, err)
			if left := s.Fences(); len(left) > 0 {
				t.Errorf("%s: n%d has fences of replicas that are gone: %v", c.name, n, left)
			}
			must(t, s.Close())
		}
	}
}

// A replica whose state was rebuilt is as good as any.
func TestRebuiltIsChosen(t *testing.T) {
	w := newWorld(t, map[int]log{2: {entries: 5}, 3: {entries: 5}})
	w.fence(3, 1, true)
	if g := group(w.plan(Options{}), 1); g.Source != ID(nodeID(3)) {
		t.Errorf("chosen is %s, want n3", g.Source)
	}
}
