package node

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// foundingHost is a host in a founding without network: it asks, decides,
// crashes, comes back with or without its directory.
type foundingHost struct {
	addr     string
	addrs    []string          // of all
	identity logstore.Identity // on its disk
	core     *founding         // as Node.found: nil once it has decided
	up       bool
}

// wipe gives the host an empty directory, and so a new id.
func (h *foundingHost) wipe(id raft.NodeID) {
	h.identity = logstore.Identity{Stage: logstore.StageFounding, Cluster: "c", Node: id}
	h.restart()
}

// restart begins again with what is on the disk.
func (h *foundingHost) restart() {
	h.core = nil
	if undecided(&h.identity) {
		h.core = newFounding("c", h.identity.Node, h.addr, h.addrs)
	}
}

// belongs reports whether the host is a member of a cluster.
func (h *foundingHost) belongs() bool { return h.identity.Stage != logstore.StageFounding }

// ask has h hear what other says, and acts on the verdict. It reports whether h
// decided for itself.
func (h *foundingHost) ask(other *foundingHost) (made bool, err error) {
	if err := mayAsk(&other.identity, h.identity.Node, h.addr); err != nil {
		h.core.leftOut(other.addr, err.(*wire.Error))
		return false, nil
	}
	a, ok := foundingAnswer(&other.identity, other.core)
	if !ok {
		return false, nil
	}
	v, err := h.core.hear(other.addr, a)
	if err != nil {
		return false, err
	}
	var members []logstore.IdentityMember
	switch v {
	case foundDecided:
		members = h.core.members()
	case foundAdopt:
		for _, m := range a.Members {
			members = append(members, logstore.IdentityMember{Node: m.Node, Addr: m.Addr})
		}
	default:
		return false, nil
	}
	next, err := decided(h.identity, members, a.ClusterID)
	if err != nil {
		return false, err
	}
	h.identity, h.core = next, nil
	return v == foundDecided, nil
}

// foundingRun is one random founding. It returns what went wrong, or "".
func foundingRun(seed uint64) string {
	rnd := rand.New(rand.NewPCG(seed, 1))
	n := 2 + rnd.IntN(4)
	var addrs []string
	for i := range n {
		addrs = append(addrs, fmt.Sprintf("10.0.0.%d:4166", i+1))
	}
	next := uint64(seed*1000 + 1)
	fresh := func() raft.NodeID {
		next++
		return raft.NodeID(next * 0x9e3779b97f4a7c15)
	}
	var hosts []*foundingHost
	for _, a := range addrs {
		h := &foundingHost{addr: a, addrs: addrs, up: rnd.IntN(2) == 0}
		h.wipe(fresh())
		hosts = append(hosts, h)
	}
	// Some lose their directories before they have decided, some after it.
	wiped, maxWipes := false, rnd.IntN(3)
	lost, maxLosses := false, rnd.IntN(n+1)
	// step has one host do something. What it decides must not stand beside
	// a cluster that another host holds on its disk.
	step := func(calm bool) string {
		h, o := hosts[rnd.IntN(n)], hosts[rnd.IntN(n)]
		switch k := rnd.IntN(10); {
		case calm || k < 6:
			if h == o || !h.up || !o.up || h.core == nil {
				return ""
			}
			was := h.identity
			made, err := h.ask(o)
			if err != nil {
				return err.Error()
			}
			if was.Stage != logstore.StageFounding && h.identity.ClusterID != was.ClusterID {
				return fmt.Sprintf("%s was of cluster %016x, and is of %016x", h.addr, was.ClusterID, h.identity.ClusterID)
			}
			for _, other := range hosts {
				if made && other.belongs() && other.identity.ClusterID != h.identity.ClusterID {
					return fmt.Sprintf("%s made cluster %016x, and %s holds %016x", h.addr, h.identity.ClusterID, other.addr, other.identity.ClusterID)
				}
			}
		case k < 7: // starts again with its directory: the id is on disk, what it saw is not
			h.restart()
			h.up = true
		case k < 8:
			h.up = !h.up
		case k < 9 && maxWipes > 0 && !h.belongs():
			h.wipe(fresh())
			maxWipes--
			wiped = true
		case maxLosses > 0 && h.belongs():
			h.wipe(fresh())
			maxLosses--
			lost = true
		}
		return ""
	}
	for range 300 {
		if wrong := step(false); wrong != "" {
			return wrong
		}
	}
	for _, h := range hosts {
		h.up = true
	}
	for range 2000 {
		if wrong := step(true); wrong != "" {
			return wrong
		}
	}
	clusters := map[uint64]bool{}
	for _, h := range hosts {
		if h.belongs() {
			clusters[h.identity.ClusterID] = true
		}
	}
	if len(clusters) != 1 {
		return fmt.Sprintf("clusters %v, want one", slices.Collect(maps.Keys(clusters)))
	}
	for _, h := range hosts {
		// Where an id was lost others may have decided on it: then its host
		// waits as a standby.
		if !h.belongs() && !wiped && !lost {
			return fmt.Sprintf("%s belongs to no cluster; waits for %s", h.addr, h.core.waits())
		}
	}
	return ""
}

// Whatever the order in which hosts ask each other, crash, or come back with an
// empty directory, before the founding and after it, there is never a second
// cluster beside one that a host still holds; when all directories last, all
// end up in one. One would doubt it: each host decides alone, and a majority
// that was wiped looks like hosts that have never met.
func TestFoundingEndsInOneCluster(t *testing.T) {
	for seed := range uint64(2000) {
		if wrong := foundingRun(seed); wrong != "" {
			t.Fatalf("seed %d: %s", seed, wrong)
		}
	}
}

// A host that was told another list, or the same host twice, can't found a
// cluster with us. It is told so, rather than left to wait.
func TestFoundingRefuses(t *testing.T) {
	hosts := []string{"10.0.0.1:4166", "10.0.0.2:4166", "10.0.0.5:4166"}
	for _, c := range []struct {
		what   string
		answer wire.FoundingAnswer
		want   string
	}{
		{"another list", newFounding("c", 7, "10.0.0.2:4166", []string{"10.0.0.2:4166", "10.0.0.3:4166"}).answer(), "give the same list"},
		{"more hosts", newFounding("c", 7, "10.0.0.2:4166", append([]string{"10.0.0.3:4166"}, hosts...)).answer(), "give the same list"},
		{"another third host", newFounding("c", 7, "10.0.0.2:4166", []string{"10.0.0.1:4166", "10.0.0.2:4166", "10.0.0.4:4166"}).answer(), "give the same list"},
		{"our own id", newFounding("c", 5, "10.0.0.2:4166", hosts).answer(), "are one host"},
	} {
		f := newFounding("c", 5, hosts[0], hosts)
		v, err := f.hear(hosts[1], c.answer)
		if v != foundWait || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got verdict %d, error %v; want an error with %q", c.what, v, err, c.want)
		}
	}
}

// The line that tells an operator what a founding waits for names each host
// that is missing, and why.
func TestFoundingWaits(t *testing.T) {
	hosts := []string{"10.0.0.1:4166", "10.0.0.2:4166", "10.0.0.3:4166"}
	f := newFounding("c", 5, hosts[0], hosts)
	f.silent(hosts[1], errors.New("connection refused"))
	if _, err := f.hear(hosts[2], newFounding("c", 7, hosts[2], hosts).answer()); err != nil {
		t.Fatal(err)
	}
	want := "10.0.0.2:4166 (connection refused), 10.0.0.3:4166 (it has not heard of all the others)"
	if got := f.waits(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A cluster has one number of groups and one largest value. Hosts that were
// started with others must not found one, whichever of them decides first, and
// each is told what the other has.
func TestFoundingAgreesOnSettings(t *testing.T) {
	hosts := []string{"10.0.0.1:4166", "10.0.0.2:4166"}
	a, b := newFounding("c", 5, hosts[0], hosts), newFounding("c", 7, hosts[1], hosts)
	a.settings = wire.FoundingSettings{Groups: 8, ValueMax: 1 << 20}
	for _, tt := range []struct {
		theirs wire.FoundingSettings
		want   string
	}{
		{wire.FoundingSettings{Groups: 9, ValueMax: 1 << 20}, "--groups 9, this host with 8"},
		{wire.FoundingSettings{Groups: 8, ValueMax: 5}, "--value-max 5, this host with 1048576"},
	} {
		b.settings = tt.theirs
		for range 3 {
			for _, side := range [][2]*founding{{a, b}, {b, a}} {
				if v, err := side[0].hear(side[1].addr, side[1].answer()); v != foundDiffer || err != nil {
					t.Errorf("verdict %v, %v", v, err)
				}
			}
		}
		if !strings.Contains(a.waits(), tt.want) || a.notReady("n").Code != wire.CodeNotReady {
			t.Errorf("waits for %s, want %q", a.waits(), tt.want)
		}
	}
	b.settings = a.settings
	a.hear(hosts[1], b.answer())
	b.hear(hosts[0], a.answer())
	if v, err := a.hear(hosts[1], b.answer()); v != foundDecided || err != nil {
		t.Errorf("verdict %v, %v with the same settings", v, err)
	}
}

// A host is left out for reasons that only the one who refuses it knows, and what
// its operator has to do differs. None may tell to empty a directory.
func TestLeftOut(t *testing.T) {
	members := func(addrs ...string) *logstore.Identity {
		id := &logstore.Identity{Stage: logstore.StageMember, Cluster: "c", ClusterID: 9}
		for i, a := range addrs {
			id.Members = append(id.Members, logstore.IdentityMember{Node: raft.NodeID(i + 1), Addr: a})
		}
		return id
	}
	for _, tt := range []struct {
		what        string
		id          *logstore.Identity
		found, next string
	}{
		{"the other was founded alone", members("10.0.0.1:4166"), "alone, as muster serve does without --expect and --join", "move its data directory away"},
		{"a directory was emptied", members("10.0.0.1:4166", "10.0.0.9:4166"), "knows node 0000000000000002 at 10.0.0.9:4166: the data directory there was emptied", "put that node's data directory back"},
		{"others", members("10.0.0.1:4166", "10.0.0.2:4166"), "was founded without it", "use the cluster's own nodes"},
	} {
		err := mayAsk(tt.id, 77, "10.0.0.9:4166")
		var e *wire.Error
		if !errors.As(err, &e) || !strings.Contains(e.State, tt.found) || !strings.Contains(e.Next, tt.next) || strings.Contains(e.Next, "empty ") {
			t.Errorf("%s: %v", tt.what, err)
			continue
		}
		f := newFounding("c", 77, "10.0.0.9:4166", []string{"10.0.0.1:4166", "10.0.0.9:4166"})
		f.leftOut("10.0.0.1:4166", e)
		if got := f.notReady("node n9"); !strings.Contains(got.State, tt.found) || !strings.Contains(got.Next, tt.next) {
			t.Errorf("%s: who is left out says %v", tt.what, got)
		}
	}
	if err := mayAsk(members("10.0.0.1:4166"), 1, "10.0.0.9:4166"); err != nil {
		t.Errorf("a member: %v", err)
	}
}
