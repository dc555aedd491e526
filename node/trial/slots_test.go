package trial

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/raft"
	"muster/repl/client"
	"muster/shardmap"
)

var slotsFlag = flag.Duration("slots", 0, "for how `long` TestSlotsMove lets slots move under load while groups and nodes come and go; 0: until some nodes were killed, with the same nodes all the time")

const (
	// slotGroups is how many groups the cluster is founded with, and slotGroupsMore how
	// many are made and removed in each round.
	slotGroups     = 4
	slotGroupsMore = 2
)

// moving runs a command that moves slots, or makes or removes a group, until what it is to
// bring about has come about: it is given again where a node died under it, as a person
// would.
func (r *reaper) moving(come func(ctx context.Context) error, args ...string) {
	c := r.c
	c.T.Helper()
	began := time.Now()
	what := strings.Join(args, " ")
	for {
		out := c.Run(append(args, "--endpoints", r.endpoints(), "--timeout", clustertest.OrderMax.String())...)
		if out.Status == clustertest.ExitDone {
			clustertest.Await(c.T, "done: "+what, clustertest.ReadyMax, come) // a node that has just started may know less
			c.T.Logf("%s: %.1f s", what, time.Since(began).Seconds())
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), slotDeadline)
		err := come(ctx)
		cancel()
		if err == nil {
			c.T.Logf("%s: %.1f s, though it said %s", what, time.Since(began).Seconds(), out.Stderr)
			return
		}
		if out.Status == clustertest.ExitUsage || time.Since(began) > clustertest.JobMax || c.T.Failed() {
			c.T.Fatalf("%s: %v; it ended with status %d: %s%s", what, err, out.Status, out.Stdout, out.Stderr)
		}
		c.T.Logf("%s: status %d: %s", what, out.Status, out.Stderr)
		time.Sleep(time.Second) // about as soon as a person would give it again
	}
}

// there returns an error while a group is, or is not, what it should be.
func (r *reaper) there(ctx context.Context, id int, want bool) error {
	t, err := r.table(ctx)
	if err != nil {
		return err
	}
	if _, is := t.Group(raft.GroupID(id)); is != want {
		return fmt.Errorf("the table of index %d has group %d: %t", t.Index, id, is)
	}
	return nil
}

// table is the newest table that a member tells of.
func (r *reaper) table(ctx context.Context) (*shardmap.Table, error) {
	cl, err := client.Open(client.Options{Insecure: r.c.Clear, Endpoints: strings.Split(r.endpoints(), ",")})
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	t, _, err := cl.Table(ctx, "")
	return t, err
}

// still waits until no slot is on its way and no job about slots is unfinished, as of some
// index or later, and returns the table.
func (r *reaper) still(index uint64) (t *shardmap.Table) {
	r.c.T.Helper()
	clustertest.Await(r.c.T, "without slots that move", clustertest.JobMax, func(ctx context.Context) (err error) {
		if t, err = r.table(ctx); err != nil {
			return err
		}
		if t.Index < index {
			return fmt.Errorf("the table is of index %d, want %d", t.Index, index)
		}
		for i := range t.Jobs {
			if j := &t.Jobs[i]; j.Unit() == "slots" && !j.State.Finished() {
				return fmt.Errorf("job %d (%s) has done %d of %d: %s", j.ID, j.Kind, j.Done, j.Total, j.Why)
			}
		}
		if len(t.Moves) > 0 {
			return fmt.Errorf("%d runs of slots move, the first is %+v", len(t.Moves), t.Moves[0])
		}
		return nil
	})
	return t
}

// moves has slots move to other groups, by one job. It is given again where a node died
// under it.
func (r *reaper) moves(what string, to func(raft.GroupID) raft.GroupID) {
	c := r.c
	c.T.Helper()
	began := time.Now()
	t := r.still(0)
	want := t.Slots
	for s, g := range want {
		want[s] = to(g)
	}
	for index := uint64(0); t.Slots != want; t = r.still(index) {
		job := shardmap.NewJob{Kind: shardmap.JobMove}
		for s, g := range t.Slots {
			if n := len(job.Targets); g == want[s] {
				continue
			} else if n > 0 && job.Targets[n-1].To == want[s] && int(job.Targets[n-1].SlotRange.To) == s-1 {
				job.Targets[n-1].SlotRange.To++
			} else {
				job.Targets = append(job.Targets, shardmap.SlotTarget{SlotRange: shardmap.SlotRange{From: shardmap.Slot(s), To: shardmap.Slot(s)}, To: want[s]})
			}
		}
		var err error
		if index, err = r.ask(shardmap.AppendNewJob(nil, &job)); err != nil {
			c.T.Logf("%s: %v", what, err)
			time.Sleep(time.Second) // about as soon as a person would give it again
		}
		if time.Since(began) > clustertest.JobMax || c.T.Failed() {
			c.T.Fatalf("%s: not done after %s", what, time.Since(began))
		}
	}
	c.T.Logf("%s: %.1f s", what, time.Since(began).Seconds())
}

// ask gives an order to the meta group, and returns the index of the table that has it.
func (r *reaper) ask(command []byte, err error) (uint64, error) {
	r.c.T.Helper()
	if err != nil {
		r.c.T.Fatal(err)
	}
	cl, err := client.Open(client.Options{Insecure: r.c.Clear, Endpoints: strings.Split(r.endpoints(), ",")})
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), slotDeadline)
	defer cancel()
	a, err := cl.Order(ctx, command, 0)
	if err != nil {
		return 0, err
	}
	return a.Index, nil
}

// round has everything happen once that can happen to slots: groups are made, get their
// share, each slot moves to the next group, and the groups are removed. A group's number is
// given once, so each round makes groups of others.
func (r *reaper) round() {
	c := r.c
	c.T.Helper()
	added := []int{}
	for i := range slotGroupsMore {
		id := slotGroups + 1 + r.rounds*slotGroupsMore + i
		r.moving(func(ctx context.Context) error { return r.there(ctx, id, true) }, "group", "create", fmt.Sprint(id))
		added = append(added, id)
	}
	r.rounds++
	r.moving(func(ctx context.Context) error {
		t, err := r.table(ctx)
		if err != nil {
			return err
		}
		for _, id := range added {
			if len(t.SlotsOf(raft.GroupID(id))) == 0 {
				return fmt.Errorf("group %d got no slot", id)
			}
		}
		return nil
	}, "slot", "rebalance", "--yes")
	ids := []raft.GroupID{}
	t := r.still(0)
	for i := range t.Groups {
		ids = append(ids, t.Groups[i].ID)
	}
	r.moves("each slot moves to the next group", func(g raft.GroupID) raft.GroupID { return ids[(slices.Index(ids, g)+1)%len(ids)] })
	r.moves("the groups that were made give up theirs", func(g raft.GroupID) raft.GroupID {
		if g > slotGroups {
			return 1 + (g-slotGroups-1)%slotGroups
		}
		return g
	})
	for _, id := range added {
		r.moving(func(ctx context.Context) error { return r.there(ctx, id, false) }, "group", "remove", fmt.Sprint(id), "--yes")
	}
}

// Groups come and get their share, each slot moves, and groups go, while clients write, read,
// list and send again, and a node is killed now and then. No client sees more than a slower
// answer: no error, no key that is lost, doubled or comes back, no version that goes back, the
// sum of what moves between keys is always the same, and no list misses or doubles a
// key that was there all the time.
func TestSlotsMove(t *testing.T) {
	kills := paceLong
	if *slotsFlag == 0 {
		kills = paceShort
		t.Parallel()
	}
	nodes := 3
	c := clustertest.New(t, nodes, "--groups", fmt.Sprint(slotGroups))
	for i := range c.Nodes {
		c.Start(i)
	}
	c.Healthy()
	l := newSlotLoad(c)
	defer l.wg.Wait()
	defer l.stop()
	l.fill(t, c.Client())
	clients := make([]*client.Client, 8)
	for i := range clients {
		clients[i] = c.Client()
	}
	l.start(func(i int) *client.Client { return clients[i%len(clients)] })
	r := startReaper(c, kills)
	defer r.end()
	r.order("setting", "set", "dead-after", membersDead)
	for n := 1; time.Since(l.began) < *slotsFlag || r.struck() < killsShort; n++ {
		if *slotsFlag == 0 {
			r.round()
		} else {
			joined := r.join(2)
			r.round()
			r.part(joined)
			r.round()
		}
		t.Logf("round %d is over after %.0f s, with %d kills", n, time.Since(l.began).Seconds(), r.struck())
	}
	r.end()
	l.stop()
	l.wg.Wait()
	t.Logf("%d kills in %.0f s", r.kills, time.Since(l.began).Seconds())
	r.still(0)
	l.check(c.ClientWith(client.Options{Insecure: r.c.Clear, Endpoints: strings.Split(r.endpoints(), ",")}))
}

// join adds nodes, which may be killed from then on.
func (r *reaper) join(n int) []int {
	r.c.T.Helper()
	r.mu.Lock()
	added := clustertest.AddStandby(r.c, n)
	var addrs []string
	for _, i := range added {
		r.gone[i] = true // nobody kills what is not a member yet
		addrs = append(addrs, r.c.Nodes[i].Addr)
	}
	r.mu.Unlock()
	r.order(append([]string{"node", "add", "--yes"}, addrs...)...)
	r.mu.Lock()
	for _, i := range added {
		delete(r.gone, i)
	}
	r.mu.Unlock()
	return added
}

// part takes nodes out of the cluster.
func (r *reaper) part(numbers []int) {
	r.c.T.Helper()
	var names []string
	for _, i := range numbers {
		names = append(names, fmt.Sprintf("n%d", i+1))
	}
	r.order(append([]string{"node", "drain", "--yes"}, names...)...)
	r.leave(numbers...)
	r.order(append([]string{"node", "remove", "--yes"}, names...)...)
	for _, i := range numbers {
		select {
		case <-r.c.Nodes[i].Exited:
		case <-time.After(clustertest.ReadyMax):
			r.c.T.Errorf("n%d was removed, and has not ended", i+1)
		}
	}
}
