package repl

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// A snapshot written before a walk found a fault may hold the wrong state. The replica takes
// that of another one while it can get one.
func TestUnprovenOwnSnapshotIsNotTaken(t *testing.T) {
	for seed := range uint64(10) {
		c := newAuditedOf(t, seed, 3, whenAsked)
		c.readyToAudit(30)
		values := slices.Clone(stateOf(c.nodes[0]).history)
		wrong := c.leader(1)
		if seed%2 == 0 {
			wrong = c.nodes[wrong.id%3]
		}
		spoil(wrong, flipped)
		c.snapshot(wrong) // of the wrong state: its writer knows of no digests
		if seed%3 == 0 {  // and nothing is compared before it is found
			c.audited.Every = 24 * time.Hour
		}
		c.audited.Walk = auditPolicy.Walk
		c.until("it is fenced", func() bool { return fenceOf(wrong) != nil })
		c.until("it is not any more", func() bool {
			if k := fenceOf(wrong); k != nil && k.own {
				t.Fatalf("seed %d: it begins with its own snapshot, of which nothing shows that it is right", seed)
			}
			return fenceOf(wrong) == nil
		})
		if h := stateOf(wrong).history; !slices.Equal(h[:len(values)], values) {
			t.Errorf("seed %d: it holds %v, before it was %v", seed, h, values)
		}
		c.until("all are alike", c.alike)
	}
}

// If no other replica can give its state, the replica falls back on its own snapshot, but only
// after the others have had their time.
func TestUnprovenOwnSnapshotWhereNobodyGives(t *testing.T) {
	c := newAuditedOf(t, 2, 3, whenAsked)
	c.readyToAudit(30)
	n := c.nodes[c.leader(1).id%3]
	c.snapshot(n)
	values := slices.Clone(stateOf(n).history)
	c.isolate(n)
	spoil(n, flipped)
	c.audited.Walk = auditPolicy.Walk
	c.until("it is fenced", func() bool { return fenceOf(n) != nil })
	from := n.host.ticks
	c.until("it is right again", func() bool { return fenceOf(n) == nil })
	if took := n.host.ticks - from; took < fenceOwnTicks || took > fenceOwnTicks+2*fenceRetryTicks {
		t.Errorf("it began with its own snapshot after %d ticks, want %d", took, fenceOwnTicks)
	}
	if h := stateOf(n).history; !slices.Equal(h, values) {
		t.Errorf("it holds %v, before it was %v", h, values)
	}
	clear(c.cut)
	c.write(1, 3)
	c.until("all are alike", c.alike)
}

// If a comparison found the state right after the snapshot was written, the replica needs no
// other one and is mended at once.
func TestProvenOwnSnapshotIsTaken(t *testing.T) {
	c := newAuditedOf(t, 3, 3, whenAsked)
	c.readyToAudit(30)
	n := c.nodes[c.leader(1).id%3]
	c.snapshot(n)
	c.audited.Every = auditPolicy.Every
	c.until("it is proven", func() bool { g := n.host.groups[1]; return g.audit.agreed.Index > g.snap.base.Index })
	c.until("all are alike", c.alike)
	c.isolate(n)
	spoil(n, flipped)
	c.audited.Walk = auditPolicy.Walk
	c.until("it is fenced", func() bool { return fenceOf(n) != nil })
	from := n.host.ticks
	c.until("it is right again", func() bool { return fenceOf(n) == nil })
	if took := n.host.ticks - from; took > 3*fenceRetryTicks {
		t.Errorf("it was right again after %d ticks", took)
	}
	clear(c.cut)
	c.until("all are alike", c.alike)
}

// A snapshot leaves once a comparison has shown that its state is right, even if the replica that
// needs it is silent. Without a majority it leaves after proofTicks, and with audits off at once.
func TestSnapshotWaitsForProof(t *testing.T) {
	for _, test := range []struct {
		name   string
		policy AuditPolicy
		leads  bool // the one that is asked
		silent bool // the one that asks is down
		proven bool
		waits  [2]uint64 // ticks, at least and at most
	}{
		{"a leader", AuditPolicy{Every: 24 * time.Hour, Understood: true}, true, false, true, [2]uint64{1, proofTicks - 1}},
		{"a leader, and one is silent", AuditPolicy{Every: 24 * time.Hour, Understood: true}, true, true, true, [2]uint64{1, proofTicks - 1}},
		{"a follower that is cut off", AuditPolicy{Every: time.Second, Understood: true}, false, false, false, [2]uint64{proofTicks, 2 * proofTicks}},
		{"audits are off", AuditPolicy{Understood: true}, true, false, false, [2]uint64{0, 0}},
		{"audits are not understood", AuditPolicy{Every: time.Second}, true, false, false, [2]uint64{0, 0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for seed := range uint64(6) {
				c := newAuditedOf(t, seed, 3, whenAsked)
				c.until("the preferred leads", func() bool { return c.leader(1) == c.nodes[1] })
				c.readyToAudit(30)
				n, to := c.nodes[1], c.nodes[2]
				if !test.leads {
					n = c.nodes[0]
				}
				c.snapshot(n)
				switch {
				case test.silent:
					to.kill()
				case !test.leads:
					c.isolate(n)
				}
				c.audited = test.policy
				g := n.host.groups[1]
				for range 2 { // the new policy is in force
					ticks := n.host.ticks
					c.until("a tick", func() bool { return n.host.ticks > ticks })
				}
				ask := func() bool {
					n.host.ReceiveSnapshotRequest(to.id, &wire.SnapshotRequest{Group: 1, Incarnation: 1, Replica: raft.ReplicaID(to.id), Index: 1})
					n.turn()
					return len(n.senders) > 0
				}
				from, asked := n.host.ticks, n.host.ticks
				ask()
				c.until("it leaves", func() bool {
					if n.host.ticks >= asked+10 {
						asked = n.host.ticks
						ask()
					}
					return len(n.senders) > 0
				})
				if took := n.host.ticks - from; took < test.waits[0] || took > test.waits[1] {
					t.Errorf("seed %d: it leaves after %d ticks, want %d", seed, took, test.waits)
				}
				if proven := g.audit.agreed.Index > g.snap.base.Index; proven != test.proven {
					t.Errorf("seed %d: proven %t, want %t", seed, proven, test.proven)
				}
			}
		})
	}
}

// A snapshot waits for its proof once, however many replicas ask for it. The next one waits again.
func TestProofIsWaitedForOnce(t *testing.T) {
	c := newAuditedOf(t, 1, 3, whenAsked)
	c.readyToAudit(30)
	n := c.leader(1)
	k := &n.host.groups[1].snap
	n.host.Audits.policy = AuditPolicy{Every: 24 * time.Hour, Understood: true}
	c.snapshot(n)
	s, _ := k.newest()
	n.host.Audits.policy = AuditPolicy{Every: 24 * time.Hour, Understood: true}
	for range 2 {
		for _, after := range []uint64{0, proofTicks - 1} {
			if n.host.ticks += after; k.mayLeave(&s) {
				t.Fatalf("it leaves after %d ticks", after)
			}
		}
		n.host.ticks++
		for range 2 {
			if !k.mayLeave(&s) {
				t.Error("it does not leave in its time")
			}
		}
		s.Base.ID.Index++
	}
	for range proofTicks { // one that takes the place of another that waits does not wait anew
		if k.mayLeave(&s) {
			t.Fatal("it leaves before its time")
		}
		n.host.ticks++
		s.Base.ID.Index++
	}
	if !k.mayLeave(&s) {
		t.Error("it waits for longer since others were written meanwhile")
	}
}

// A leader whose state and snapshot are wrong sends the snapshot to nobody, not even to a replica
// that was away and is therefore silent in each comparison.
func TestWrongSnapshotDoesNotLeave(t *testing.T) {
	for seed := range uint64(8) {
		wrong, compared := wrongSnapshotLeaves(t, seed)
		if wrong != "" {
			t.Errorf("seed %d: %s", seed, wrong)
		} else if !compared {
			t.Errorf("seed %d: the leader was never compared; the test shows nothing", seed)
		}
	}
}

// wrongSnapshotLeaves spoils a leader while another replica is away and falls behind what the
// leader has compacted. It returns what is wrong with what that replica got, and whether the
// leader was compared.
func wrongSnapshotLeaves(t *testing.T, seed uint64) (wrong string, compared bool) {
	c := newAuditedOf(t, seed, 3, whenAsked)
	c.readyToAudit(20)
	lead := c.leader(1)
	away := c.nodes[lead.id%3]
	values := slices.Clone(stateOf(away).history)
	away.kill()
	c.until("there is a leader", func() bool { lead = c.leader(1); return lead != nil })
	c.write(1, 5)
	spoil(lead, rewritten)
	c.snapshot(lead)
	c.audited.Every = 24 * time.Hour
	away.start()
	for range 40_000 {
		c.step()
		compared = compared || fenceOf(lead) != nil
		g := away.host.groups[1]
		if h := g.machine.(*audited).history; len(h) >= len(values) && !slices.Equal(h[:len(values)], values) {
			return fmt.Sprintf("the replica that was away holds %v, which is wrong", h), false
		}
	}
	return "", compared
}
