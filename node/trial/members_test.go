package trial

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"muster/node/trial/clustertest"
	"muster/raft/quorum"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

var membersFlag = flag.Bool("members", false, "let a cluster grow, lose nodes and shrink under load, with kills")

const (
	// membersClients set and get membersKeys keys, with membersPause between two
	// operations of one, so that the history can be checked.
	membersClients = 64
	membersKeys    = 64
	membersPause   = 40 * time.Millisecond
	// membersDead is the setting dead-after: long enough that a node that was killed is
	// back before.
	membersDead = "20s"
)

// pace is how often a random node is killed, and how much later it is started again.
type pace struct{ every, back time.Duration }

var (
	// paceLong lets what a node misses meanwhile, and what it has to take over, be much.
	paceLong = pace{10 * time.Second, 3 * time.Second}
	// paceShort lets groups elect their leaders and go on for a while between two kills.
	paceShort = pace{4 * time.Second, 2 * time.Second}
)

// killsShort is how many kills a test sees that does not run on demand.
const killsShort = 2

// reaper kills a node now and then, where every group keeps a majority without it, and
// starts it again.
type reaper struct {
	c    *clustertest.Cluster
	pace pace
	rnd  *rand.Rand
	stop chan struct{}
	over chan struct{}

	rounds int // of [reaper.round] that made their groups

	mu    sync.Mutex
	gone  map[int]bool // stay down, or are no members
	last  int          // that was killed, counted from 1; 0: none yet
	kills int
}

func startReaper(c *clustertest.Cluster, p pace) *reaper {
	r := &reaper{c: c, pace: p, rnd: rand.New(rand.NewPCG(1, 2)), stop: make(chan struct{}), over: make(chan struct{}), gone: map[int]bool{}}
	go func() {
		defer close(r.over)
		for {
			select {
			case <-r.stop:
				return
			case <-time.After(p.every):
				r.strike()
			}
		}
	}()
	return r
}

// strike kills one node and starts it again. Nobody else starts or ends nodes meanwhile.
func (r *reaper) strike() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range r.rnd.Perm(len(r.c.Nodes)) {
		// Not the same one twice: a node counts as dead by what one leader of the meta group
		// has measured, and one that is killed all the time never measures long enough.
		if r.gone[i] || r.last == i+1 && len(r.c.Nodes) > 1 || !r.spared(i) {
			continue
		}
		r.last = i + 1
		r.kills++
		r.c.Kill(i)
		time.Sleep(r.pace.back) // how long a node is down is what is set
		r.c.Start(i)
		return
	}
}

// spared reports whether all groups have a majority of live voters without node i.
func (r *reaper) spared(i int) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	alive := map[string]bool{}
	groups := map[uint16][]string{} // voters of each, by address
	cl, err := client.Open(client.Options{Insecure: r.c.Clear, Endpoints: strings.Split(r.c.Endpoints(), ",")})
	if err != nil {
		return false
	}
	defer cl.Close()
	for n, p := range r.c.Nodes {
		if r.gone[n] {
			continue
		}
		a, err := cl.Status(ctx, p.Addr)
		if err != nil {
			continue
		}
		alive[p.Addr] = n != i
		addr := map[uint64]string{}
		for _, row := range a.Nodes {
			addr[uint64(row.ID)] = row.Addr
		}
		for _, g := range a.Groups {
			// Each leader knows its own group best.
			if addr[uint64(g.Leader)] != p.Addr {
				continue
			}
			var voters []string
			for _, v := range g.Replicas {
				if v.Role == shardmap.ReplicaVoter {
					voters = append(voters, addr[uint64(v.Node)])
				}
			}
			groups[uint16(g.ID)] = voters
		}
	}
	for _, voters := range groups {
		live := 0
		for _, v := range voters {
			if alive[v] {
				live++
			}
		}
		if live < quorum.Majority(len(voters)) {
			return false
		}
	}
	return len(groups) > 0
}

// strikes waits until another node has been killed and started again, however fast the
// step before was.
func (r *reaper) strikes() {
	r.c.T.Helper()
	before := r.struck()
	clustertest.Await(r.c.T, "a kill", clustertest.JobMax, func(context.Context) error {
		if r.struck() == before {
			return errors.New("some group can do without no node")
		}
		return nil
	})
}

// struck is how often it has killed a node.
func (r *reaper) struck() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kills
}

// lose takes nodes out of the reaper's hands, and ends them for good.
func (r *reaper) lose(numbers ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range numbers {
		r.gone[i] = true
		r.c.Kill(i)
	}
}

// leave takes nodes out of the reaper's hands that are about to be removed.
func (r *reaper) leave(numbers ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range numbers {
		r.gone[i] = true
	}
}

func (r *reaper) end() {
	select {
	case <-r.over:
	default:
		close(r.stop)
		<-r.over
	}
}

// endpoints lists the addresses of nodes that are members, for commands.
func (r *reaper) endpoints() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for i, p := range r.c.Nodes {
		if !r.gone[i] {
			all = append(all, p.Addr)
		}
	}
	return strings.Join(all, ",")
}

// order runs a command that starts jobs, and waits for them. A node may die under it:
// then it is given again, as an operator would, unless it says that it is done already.
func (r *reaper) order(args ...string) {
	r.c.T.Helper()
	began := time.Now()
	for {
		out := r.c.Run(append(args, "--endpoints", r.endpoints(), "--timeout", clustertest.OrderMax.String())...)
		if out.Status == clustertest.ExitDone {
			r.c.T.Logf("%s: %.1f s", strings.Join(args, " "), time.Since(began).Seconds())
			return
		}
		if time.Since(began) > clustertest.JobMax || r.c.T.Failed() {
			r.c.T.Fatalf("%v: status %d after %s: %s%s", args, out.Status, time.Since(began), out.Stdout, out.Stderr)
		}
		r.c.T.Logf("%v: status %d: %s", args, out.Status, out.Stderr)
		time.Sleep(time.Second) // about as soon as a person would give it again
	}
}

// settles waits until every data group has want voters on members that are alive, and
// nothing is under way any more.
func (r *reaper) settles(want int) {
	c := r.c
	c.T.Helper()
	clustertest.Await(c.T, "settled", clustertest.JobMax, func(context.Context) error {
		var jobs []struct {
			ID, Kind, State string
		}
		out := c.Run("job", "list", "-o", "json", "--endpoints", r.endpoints())
		if out.Status != clustertest.ExitDone {
			return fmt.Errorf("job list: %s", out.Stderr)
		}
		if err := json.Unmarshal([]byte(out.Stdout), &jobs); err != nil {
			return err
		}
		for _, j := range jobs {
			if j.State == "running" || j.State == "paused" {
				return fmt.Errorf("job %s (%s) is %s", j.ID, j.Kind, j.State)
			}
		}
		var groups []struct {
			ID       uint16
			Replicas []struct{ Node, Role, State string }
		}
		out = c.Run("group", "list", "-o", "json", "--endpoints", r.endpoints())
		if out.Status != clustertest.ExitDone {
			return fmt.Errorf("group list: %s", out.Stderr)
		}
		if err := json.Unmarshal([]byte(out.Stdout), &groups); err != nil {
			return err
		}
		for _, g := range groups {
			voters := 0
			for _, rep := range g.Replicas {
				if rep.Role == "voter" {
					voters++
				}
			}
			if voters != want {
				return fmt.Errorf("group %d has %d voters, want %d", g.ID, voters, want)
			}
		}
		return nil
	})
}

// A cluster grows from one node to three and to six, loses two for good, which are
// replaced, and gives up three, the founder among them, while clients work and nodes are
// killed. No client is told an error, nothing that was acknowledged is lost, and no
// version goes back.
func TestNodesComeAndGo(t *testing.T) {
	clustertest.OnDemand(t, *membersFlag, "./node/trial -run TestNodesComeAndGo -members -timeout 30m")
	c := clustertest.New(t, 1, "--groups", "8")
	c.Start(0)
	c.Healthy()
	l := newUpgradeLoad(c)
	l.keys, l.pause = membersKeys, membersPause
	defer l.wg.Wait()
	defer l.stop()
	r := startReaper(c, paceLong)
	defer r.end()
	r.order("setting", "set", "dead-after", membersDead)

	names := func(numbers []int) (all []string) {
		for _, i := range numbers {
			all = append(all, fmt.Sprintf("n%d", i+1))
		}
		return all
	}
	first := r.join(2)
	// From here on any node may die, and clients know three addresses.
	for i := range membersClients {
		l.run("library", i, library{c.Client()})
	}
	r.settles(3)
	r.strikes()
	second := r.join(3)
	r.strikes()
	r.settles(3)

	dead := second[1:]
	for _, i := range dead {
		r.lose(i)
		r.settlesWithout(i)
	}
	r.order(append([]string{"node", "remove", "--yes", "--force"}, names(dead)...)...)
	r.settles(3)
	r.join(2)
	r.strikes()
	r.settles(3)

	leaving := append([]int{0}, first...)
	r.order(append([]string{"node", "drain", "--yes"}, names(leaving)...)...)
	r.leave(leaving...)
	r.order(append([]string{"node", "remove", "--yes"}, names(leaving)...)...)
	r.strikes()
	r.settles(3)
	for _, i := range leaving {
		select {
		case <-c.Nodes[i].Exited:
		case <-time.After(clustertest.ReadyMax):
			t.Errorf("n%d was removed, and has not ended", i+1)
		}
	}

	r.end()
	l.stop()
	l.wg.Wait()
	t.Logf("%d kills, operations: %v", r.kills, l.ops)
	result, _ := porcupine.CheckOperationsVerbose(registerModel, l.history, 5*time.Minute)
	if result != porcupine.Ok {
		t.Errorf("history of %d operations: %s", len(l.history), result)
	}
	l.check(library{c.ClientWith(client.Options{Endpoints: strings.Split(r.endpoints(), ",")})})
}

// settlesWithout waits until no group has a replica on node i, which is dead.
func (r *reaper) settlesWithout(i int) {
	c := r.c
	c.T.Helper()
	began := time.Now()
	cl := c.ClientWith(client.Options{Endpoints: strings.Split(r.endpoints(), ",")})
	clustertest.Await(c.T, fmt.Sprintf("n%d replaced", i+1), clustertest.JobMax, func(ctx context.Context) error { return r.without(ctx, cl, c.Nodes[i].Addr) })
	c.T.Logf("n%d was replaced %.1f s after it died", i+1, time.Since(began).Seconds())
}

// without returns why a group, by its own leader, still has a replica at addr.
func (r *reaper) without(ctx context.Context, cl *client.Client, addr string) error {
	seen := map[uint16]bool{}
	all := 0
	for _, at := range strings.Split(r.endpoints(), ",") {
		a, err := cl.Status(ctx, at)
		if err != nil {
			continue
		}
		all = max(all, len(a.Groups))
		k := slices.IndexFunc(a.Nodes, func(n wire.StatusNode) bool { return n.Addr == addr })
		if k < 0 {
			return errors.New("it is on no list")
		}
		for _, g := range a.Groups {
			if g.Leader != a.Self {
				continue
			}
			seen[uint16(g.ID)] = true
			if g.ID != 0 && slices.ContainsFunc(g.Replicas, func(v wire.StatusReplica) bool { return v.Node == a.Nodes[k].ID }) {
				return fmt.Errorf("group %d has a replica there", g.ID)
			}
		}
	}
	if len(seen) < all || all == 0 {
		return fmt.Errorf("of %d groups only %d have a leader that answers", all, len(seen))
	}
	return nil
}
