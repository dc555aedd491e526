package node

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// founding is how hosts that know nothing but each other's addresses become
// one cluster. It is a synchronous core: what the other hosts say goes in, a
// verdict comes out.
//
// Each host has synced a random id before it says a word. It asks the others
// who they are and whom they have seen. When all of them have seen the same
// ids, these are the members, and the cluster's id follows from them: every host that
// decides, decides the same. A host that has decided says so, and another that it
// counts among the members adopts the decision; one that it does not count
// (its directory was wiped in between) waits and never votes.
//
// Why two hosts can't decide differently: to decide on a set, a host needs the
// word of every host that it has seen exactly that set. An id, once replaced
// at an address by that of a wiped directory, is never seen there again. So
// two sets that differ at an address would need some host to have gone from
// the newer id back to the older one.
type founding struct {
	cluster string
	self    raft.NodeID
	addr    string
	hosts   []string // all addresses, sorted, own one included

	settings wire.FoundingSettings // that the cluster will have; set once

	seen map[string]raft.NodeID            // by address: what that host itself said last
	saw  map[string]map[string]raft.NodeID // by address: whom that host has seen
	why  map[string]string                 // by address: what we wait for there
	// left has the hosts that refused us because they belong to a cluster without
	// us, with the refusal, which says what to do.
	left map[string]*wire.Error
}

// verdict is what a founding host knows after an answer.
type verdict uint8

const (
	foundWait    verdict = iota // ask again
	foundDecided                // all agree: the members are known
	foundAdopt                  // another host has decided and counts us in
	foundStandby                // another host has decided without us
	foundDiffer                 // another host would found a cluster with other settings
)

func newFounding(cluster string, self raft.NodeID, addr string, hosts []string) *founding {
	f := &founding{
		cluster: cluster, self: self, addr: normalAddr(addr),
		seen: make(map[string]raft.NodeID),
		saw:  make(map[string]map[string]raft.NodeID),
		why:  make(map[string]string),
		left: make(map[string]*wire.Error),
	}
	for _, h := range hosts {
		f.hosts = append(f.hosts, normalAddr(h))
	}
	slices.Sort(f.hosts)
	for _, h := range f.hosts {
		f.why[h] = "not asked yet"
	}
	f.seen[f.addr] = self
	return f
}

// question is what this host says of itself, when it asks and when it is asked.
func (f *founding) question(start uint64) wire.Founding {
	q := wire.Founding{Node: f.self, Start: start, Addr: f.addr, Expect: uint32(len(f.hosts)), Cluster: f.cluster, Settings: f.settings}
	for _, h := range f.hosts {
		q.Seen = append(q.Seen, wire.FoundingHost{Addr: h, Node: f.seen[h]})
	}
	return q
}

// bugSecondFounding is planted to show that its test finds it: a host that
// belongs to a cluster founds again.
const bugSecondFounding = "false second founding"

// undecided reports whether a host with this identity may take part in a founding. A
// decision is on disk, and stays: if a host gave its word a second time, hosts whose
// directories were wiped could found another cluster in place of the one that it
// belongs to.
func undecided(id *logstore.Identity) bool {
	return id.Stage == logstore.StageFounding || bug(bugSecondFounding)
}

// foundingAnswer is what a host answers to one that founds; f is its own
// founding, if that is under way. It is not ok while the host has neither.
func foundingAnswer(id *logstore.Identity, f *founding) (a wire.FoundingAnswer, ok bool) {
	if waiting(id) {
		return a, false
	}
	if undecided(id) {
		if f == nil {
			return a, false
		}
		return f.answer(), true
	}
	a = wire.FoundingAnswer{Stage: wire.StageMember, Node: id.Node, Cluster: id.Cluster, ClusterID: id.ClusterID}
	for _, m := range id.Members {
		a.Members = append(a.Members, wire.FoundingHost{Addr: m.Addr, Node: m.Node})
	}
	return a, true
}

// mayAsk refuses a founding host once the cluster is founded, unless the host is one of
// its members: then it has not heard of the decision yet, and adopts it. Any other host
// only learns that it is too late.
//
// What its operator has to do depends on how that happened, which this side knows: addr
// is where the host says that it is.
func mayAsk(id *logstore.Identity, host raft.NodeID, addr string) error {
	if undecided(id) || slices.ContainsFunc(id.Members, func(m logstore.IdentityMember) bool { return m.Node == host }) {
		return nil
	}
	i := slices.IndexFunc(id.Members, func(m logstore.IdentityMember) bool { return addr != "" && normalAddr(m.Addr) == normalAddr(addr) })
	if i >= 0 {
		return wire.UnknownNode(host, fmt.Sprintf("cluster %q knows node %s at %s: the data directory there was emptied or replaced", id.Cluster, id.Members[i].Node, addr),
			fmt.Sprintf("put that node's data directory back as it was when it last stopped; if nobody has it: muster node remove %s --force, then start this host with --standby and another --data, and muster node add %s", id.Members[i].Node, addr))
	}
	return foundedWithout(id, host)
}

// foundedWithout tells a host that founds that it is too late, and nothing of the cluster's members.
func foundedWithout(id *logstore.Identity, host raft.NodeID) *wire.Error {
	if len(id.Members) == 1 {
		return wire.UnknownNode(host, fmt.Sprintf("the node there has founded cluster %q alone, as muster serve does without --expect and --join", id.Cluster),
			"if nothing is kept in that one, stop it, move its data directory away, and start it with the same --expect and --join as the others")
	}
	return wire.UnknownNode(host, fmt.Sprintf("cluster %q was founded without it", id.Cluster),
		"use the cluster's own nodes; to have this host among them, start it with --standby and another --data, and add it with muster node add")
}

// decided is the identity of a host that becomes a member of the cluster of
// these founders. said is the cluster's id, if another host has said it.
func decided(id logstore.Identity, members []logstore.IdentityMember, said uint64) (logstore.Identity, error) {
	own := clusterID(id.Cluster, members)
	if said != 0 && said != own {
		return id, wire.WrongCluster("founding", fmt.Sprintf("cluster id %016x does not follow from its members (%016x does)", said, own), "run the same version of muster on all hosts")
	}
	id.Stage, id.ClusterID, id.Members = logstore.StageFounded, own, members
	return id, nil
}

// answer is what this host answers while it has not decided.
func (f *founding) answer() wire.FoundingAnswer {
	q := f.question(0)
	return wire.FoundingAnswer{Stage: wire.StageEmpty, Node: f.self, Seen: q.Seen, Cluster: f.cluster, Settings: f.settings}
}

// silent records that a host gave no answer.
func (f *founding) silent(host string, err error) {
	delete(f.left, host)
	f.why[host] = noticeText(err)
}

// leftOut records that the host belongs to a cluster that was founded without this one.
func (f *founding) leftOut(host string, refusal *wire.Error) {
	f.left[host] = refusal
	f.why[host] = shorten(refusal.State)
}

// notReady says what this host waits for, and what is to be done about it.
func (f *founding) notReady(object string) *wire.Error {
	for _, h := range f.hosts {
		if e := f.left[h]; e != nil {
			return wire.NotReady(object, "a standby: "+f.waits(), "of "+h+": "+shorten(e.Next), 0)
		}
	}
	return wire.NotReady(object, "founding; waits for "+f.waits(), "start the other hosts with the same --expect and --join", 0)
}

// waits says, in one line, what is missing.
func (f *founding) waits() string {
	var parts []string
	for _, h := range f.hosts {
		if h == f.addr {
			continue
		}
		if why := f.why[h]; why != "" {
			parts = append(parts, fmt.Sprintf("%s (%s)", h, why))
		}
	}
	return strings.Join(parts, ", ")
}

// differ returns how another host's settings differ from ours, or "".
func (f *founding) differ(theirs wire.FoundingSettings) string {
	var parts []string
	for _, s := range []struct {
		option       string
		theirs, ours uint32
	}{{"--groups", theirs.Groups, f.settings.Groups}, {"--value-max", theirs.ValueMax, f.settings.ValueMax}} {
		if s.theirs != s.ours {
			parts = append(parts, fmt.Sprintf("founds with %s %d, this host with %d: give the same on each", s.option, s.theirs, s.ours))
		}
	}
	return strings.Join(parts, ", ")
}

// hear takes the answer of the host at an address.
func (f *founding) hear(host string, a wire.FoundingAnswer) (verdict, error) {
	if a.Stage == wire.StageMember {
		for _, m := range a.Members {
			if m.Node == f.self {
				return foundAdopt, nil
			}
		}
		f.leftOut(host, wire.UnknownNode(f.self, fmt.Sprintf("cluster %q was founded without it", shorten(a.Cluster)), "use the cluster's own nodes"))
		return foundStandby, nil
	}
	delete(f.left, host)
	theirs := make(map[string]raft.NodeID, len(a.Seen))
	for _, s := range a.Seen {
		theirs[s.Addr] = s.Node
	}
	list := make([]string, 0, len(a.Seen))
	for _, s := range a.Seen {
		list = append(list, s.Addr)
	}
	// One different address is enough: the two sides could never hear the same from
	// all, and both would wait without saying why.
	if !sameSet(list, f.hosts) {
		return foundWait, fmt.Errorf("--join: %s founds a cluster of %s, this host one of %s; give the same list on each",
			host, strings.Join(list, ","), strings.Join(f.hosts, ","))
	}
	for other, id := range f.seen {
		if id == a.Node && other != host {
			return foundWait, fmt.Errorf("--join: %s and %s are one host (node %s); want the address of each host once", other, host, a.Node)
		}
	}
	if differ := f.differ(a.Settings); differ != "" {
		// Until an operator mends one of the two, nothing that it has seen counts
		// here, and nothing that we have seen counts there.
		f.why[host] = differ
		return foundDiffer, nil
	}
	// A new id replaces the old one, and never the other way round: a wiped directory
	// does not come back. The argument at founding rests on that.
	f.seen[host] = a.Node
	f.saw[host] = theirs
	f.why[host] = "it has not heard of all the others"
	for _, h := range f.hosts {
		if f.seen[h] == 0 {
			return foundWait, nil
		}
	}
	agreed := true
	for _, h := range f.hosts {
		if h == f.addr {
			continue
		}
		same := true
		for _, o := range f.hosts {
			same = same && f.saw[h][o] == f.seen[o]
		}
		if same {
			f.why[h] = ""
		}
		agreed = agreed && same
	}
	if agreed {
		return foundDecided, nil
	}
	return foundWait, nil
}

// members returns the members that the founding has found, by node id.
func (f *founding) members() []logstore.IdentityMember {
	var m []logstore.IdentityMember
	for _, h := range f.hosts {
		m = append(m, logstore.IdentityMember{Node: f.seen[h], Addr: h})
	}
	sortMembers(m)
	return m
}

func sortMembers(m []logstore.IdentityMember) {
	slices.SortFunc(m, func(a, b logstore.IdentityMember) int { return cmp.Compare(a.Node, b.Node) })
}

// clusterID derives the id of a cluster from its name and the ids of its founders,
// which are sorted. It is never zero, which stands for none.
func clusterID(name string, members []logstore.IdentityMember) uint64 {
	d := xxhash.New()
	d.WriteString(name)
	var b [8]byte
	for _, m := range members {
		binary.LittleEndian.PutUint64(b[:], uint64(m.Node))
		d.Write(b[:])
	}
	return max(d.Sum64(), 1)
}

// metaPlacement is this node's replica of group 0, as far as its identity tells, for as
// long as there is no table. A founder's follows from the founding alone, so that every
// founder makes the same one, and the table will agree with it. A node that was taken in
// was told its own, which begins without a membership.
func metaPlacement(id *logstore.Identity) repl.Placement {
	if m := id.Meta; m != (logstore.MetaReplica{}) {
		return repl.Placement{Replica: logstore.Replica{Group: 0, Incarnation: m.Incarnation, ID: m.ID}}
	}
	var nodes []shardmap.TableNode
	for _, m := range id.Members {
		nodes = append(nodes, shardmap.TableNode{ID: m.Node, Role: shardmap.NodeServer})
	}
	g := shardmap.PlanMeta(nodes)
	p, _ := machine.Placement(&g, id.Node)
	return p
}

func joinAddrs(addrs []string) string { return strings.Join(addrs, ",") }

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}
