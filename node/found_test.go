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
	core     *founding
	identity *logstore.Identity
	up       bool
}

func (h *foundingHost) answer() wire.FoundingAnswer {
	if h.identity == nil {
		return h.core.answer()
	}
	a := wire.FoundingAnswer{Stage: wire.StageMember, Node: h.identity.Node, Cluster: h.identity.Cluster, ClusterID: h.identity.ClusterID}
	for _, m := range h.identity.Members {
		a.Members = append(a.Members, wire.FoundingHost{Addr: m.Addr, Node: m.Node})
	}
	return a
}

// ask has h hear what other says, and acts on the verdict.
func (h *foundingHost) ask(t *testing.T, other *foundingHost) {
	a := other.answer()
	v, err := h.core.hear(other.addr, a)
	if err != nil {
		t.Fatal(err)
	}
	switch v {
	case foundDecided:
		m := h.core.members()
		h.identity = &logstore.Identity{Stage: logstore.StageMember, Cluster: "c", ClusterID: clusterID("c", m), Node: h.core.self, Members: m}
	case foundAdopt:
		id := &logstore.Identity{Stage: logstore.StageMember, Cluster: a.Cluster, ClusterID: a.ClusterID, Node: h.core.self}
		for _, m := range a.Members {
			id.Members = append(id.Members, logstore.IdentityMember{Node: m.Node, Addr: m.Addr})
		}
		h.identity = id
	}
}

// Whatever the order in which hosts ask each other, crash, or come back with
// an empty directory, there is never a second cluster; when all directories
// last, all end up in one. One would doubt it: each host decides alone.
func TestFoundingEndsInOneCluster(t *testing.T) {
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		n := 2 + rnd.IntN(4)
		var addrs []string
		for i := range n {
			addrs = append(addrs, fmt.Sprintf("10.0.0.%d:4166", i+1))
		}
		next := uint64(seed*1000 + 1)
		fresh := func(addr string) *founding {
			next++
			return newFounding("c", raft.NodeID(next*0x9e3779b97f4a7c15), addr, addrs)
		}
		var hosts []*foundingHost
		for _, a := range addrs {
			hosts = append(hosts, &foundingHost{addr: a, core: fresh(a), up: rnd.IntN(2) == 0})
		}
		wiped := false
		maxWipes := rnd.IntN(3)
		var clusters = map[uint64]bool{}
		step := func(calm bool) {
			h, o := hosts[rnd.IntN(n)], hosts[rnd.IntN(n)]
			switch k := rnd.IntN(10); {
			case calm || k < 6:
				if h != o && h.up && o.up && h.identity == nil {
					h.ask(t, o)
				}
			case k < 7: // starts again with its directory: the id is on disk, what it saw is not
				h.core = newFounding("c", h.core.self, h.addr, addrs)
				h.up = true
			case k < 8:
				h.up = !h.up
			case k < 9 && maxWipes > 0 && h.identity == nil:
				h.core = fresh(h.addr)
				maxWipes--
				wiped = true
			}
			if h.identity != nil {
				clusters[h.identity.ClusterID] = true
			}
		}
		for range 300 {
			step(false)
		}
		for _, h := range hosts {
			h.up = true
		}
		for range 2000 {
			step(true)
		}
		if len(clusters) != 1 {
			t.Fatalf("seed %d: clusters %v, want one", seed, slices.Collect(maps.Keys(clusters)))
		}
		if wiped {
			continue // others may decide on the id that was lost: its host waits as a standby
		}
		for _, h := range hosts {
			if h.identity == nil {
				t.Fatalf("seed %d: %s belongs to no cluster; waits for %s", seed, h.addr, h.core.waits())
			}
		}
	}
}

// A host that was told another list, or the same host twice, can't found a
// cluster with us. It is told so, rather than left to wait.
func TestFoundingRefuses(t *testing.T) {
	hosts := []string{"10.0.0.1:4166", "10.0.0.2:4166"}
	for _, c := range []struct {
		what   string
		answer wire.FoundingAnswer
		want   string
	}{
		{"another list", newFounding("c", 7, "10.0.0.2:4166", []string{"10.0.0.2:4166", "10.0.0.3:4166"}).answer(), "give the same list"},
		{"more hosts", newFounding("c", 7, "10.0.0.2:4166", append([]string{"10.0.0.3:4166"}, hosts...)).answer(), "give the same list"},
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
