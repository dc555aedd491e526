package notary

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// order has a person want a new root.
func (w *world) order() {
	if h := w.nodes[w.lead]; h != nil && h.up {
		w.orders++
		w.askNo++
		h.news = true
		h.core.Order(w.clock(h), w.askNo, &wire.Authority{Action: wire.AuthorityRotate})
	}
}

// waits reports what a cluster still waits for; empty: nothing.
func (w *world) waits() string {
	s := &w.table.Security
	issuing, ok := s.Issuing()
	if !ok || s.Mode != shardmap.SecurityOnly {
		return fmt.Sprintf("mode %s, a root that issues: %t", s.Mode, ok)
	}
	if last := s.Roots[len(s.Roots)-1]; last.ID != issuing.ID {
		return "a root is about to issue"
	}
	for i := range w.table.Nodes {
		h := w.nodes[w.table.Nodes[i].ID]
		pin, pinned := s.Pin(h.id)
		c, has := w.certs[h.own]
		switch {
		case !pinned || !has || pin.Serial != h.own || pin.Key != h.key || c.root != issuing.ID:
			return fmt.Sprintf("n%d has no certificate of the root that issues", h.id)
		case c.notAfter <= w.wall+h.skew:
			return fmt.Sprintf("n%d's certificate has ended", h.id)
		case c.host != trust.HostOf(w.table.Nodes[i].Addr):
			return fmt.Sprintf("n%d's certificate names %q, and its address is %s", h.id, c.host, w.table.Nodes[i].Addr)
		}
	}
	for _, r := range w.table.Meta.Replicas {
		if h := w.nodes[r.Node]; r.Role == shardmap.ReplicaVoter && !h.wraps[issuing.WrapKey] {
			return fmt.Sprintf("n%d does not hold the key that wraps the root's", h.id)
		}
	}
	return ""
}

func (w *world) until(what string, most time.Duration, done func() bool) {
	for end := w.now + most; !done(); w.step() {
		if w.now > end {
			w.fail("not within %s: %s; waits for: %s", most, what, w.waits())
		}
	}
}

func (w *world) run(d time.Duration) {
	for end := w.now + d; w.now < end; {
		w.step()
	}
}

// play is one story: founding under faults, joining, a thief, a rotation, somebody leaves, and forty
// days in which nothing runs.
func play(w *world) {
	w.run(time.Duration(w.rnd.IntN(20)) * time.Second)
	w.calm = true
	w.until("founded", time.Minute, func() bool { return w.waits() == "" })
	w.calm = false
	w.until("a token", time.Minute, func() bool { return w.lead != 0 })
	single := w.makeToken(1, 3600+5*24*3600)
	over := w.makeToken(5, 1)
	for i, token := range []uint64{single, single, over} {
		h := w.addHost(raft.NodeID(11 + i))
		h.token = token
		w.start(h)
	}
	w.run(20 * time.Second)
	if w.rnd.IntN(2) == 0 {
		w.order()
	}
	w.run(20 * time.Second)
	w.calm = true
	w.until("one has joined, and the root is the new one", 2*time.Minute, func() bool {
		return w.waits() == "" && (w.nodes[11].joined || w.nodes[12].joined)
	})
	if len(w.grants[over]) > 0 && w.nodes[13].skew < 0 {
		w.note("the token that is over was taken by a clock that is late")
	}
	w.calm = false
	w.move()
	w.run(5 * time.Second)
	w.calm = true
	w.until("certificates name the new addresses", time.Minute, func() bool { return w.waits() == "" })
	w.calm = false
	w.leave()
	w.run(10 * time.Second)
	// Everything stands still for forty days: all certificates end.
	w.note("forty days later")
	for _, h := range w.hosts() {
		if h.up {
			w.crash(h)
		}
	}
	w.later, w.committing = nil, nil
	w.wall += 40 * 24 * 3600
	w.run(10 * time.Second)
	w.calm = true
	w.until("renewed after forty days", 2*time.Minute, func() bool { return w.waits() == "" })
	for i := 0; i < 30; i++ {
		w.wall += 24 * 3600
		for _, h := range w.hosts() {
			h.news = true // they look at the clock within the hour
		}
		w.run(3 * time.Second)
	}
	w.until("renewed in time", time.Minute, func() bool { return w.waits() == "" })
	// More than 33 days ago the root that issues began to.
	w.until("former roots are retired", time.Minute, func() bool {
		return !slices.ContainsFunc(w.table.Security.Roots, func(r shardmap.Root) bool { return r.State == shardmap.RootTrusted })
	})
}

// move gives some members other addresses.
func (w *world) move() {
	for i := range w.table.Nodes {
		row := w.table.Nodes[i]
		if w.rnd.IntN(2) == 0 {
			continue
		}
		w.moves++
		a := shardmap.Announce{Node: row.ID, Start: row.Start + 1, Addr: fmt.Sprintf("n%d-%d:1", row.ID, w.moves), Name: row.Name, Level: row.Level}
		if err := w.apply(must(shardmap.AppendAnnounce(nil, &a))); err != nil {
			w.fail("n%d can't move: %v", row.ID, err)
		}
		w.note("n%d moves to %s", row.ID, a.Addr)
	}
}

// leave takes off a node that votes nowhere, or was not there yet.
func (w *world) leave() {
	for _, id := range []raft.NodeID{11, 12, 13} {
		h := w.nodes[id]
		if !h.joined {
			continue
		}
		if err := w.apply(must(shardmap.AppendLeave(nil, &shardmap.Leave{Node: id}))); err == nil {
			w.left[id] = true
			h.bearer.Own(Own{Serial: h.own, Root: w.certs[h.own].root}) // it wants another certificate at once
			w.note("n%d has left", id)
		} else {
			w.note("n%d can't leave: %v", id, err)
		}
		return
	}
}

// runWorld returns what is wrong with one world; empty: nothing.
func runWorld(t *testing.T, seed uint64) (why string, w *world) {
	w = newWorld(t, seed, 1+2*int(seed%3))
	defer func() {
		if b, ok := recover().(broken); ok {
			why = string(b)
		}
	}()
	play(w)
	return "", w
}

// Each member gets a certificate, nobody else does, the secret opens the cluster until each has
// one, and one founding ends in one root, whatever crashes, is lost or comes late.
func TestWorlds(t *testing.T) {
	worlds := uint64(300)
	if testing.Short() {
		worlds = 30
	}
	answers := 0
	for seed := range worlds {
		why, w := runWorld(t, seed)
		if why != "" {
			t.Fatalf("seed %d: %s\n%s", seed, why, last(w.log, 60))
		}
		answers += w.answers
	}
	if answers < int(worlds)*5 {
		t.Errorf("%d certificates in %d worlds; want more", answers, worlds)
	}
}

func last(lines []string, n int) string {
	var b bytes.Buffer
	for _, l := range lines[max(0, len(lines)-n):] {
		b.WriteString(l + "\n")
	}
	return b.String()
}
