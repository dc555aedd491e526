package cmd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// checkPatience is how long a node may take to compare the replicas of its groups: it waits up to
	// two seconds for those that are slow.
	checkPatience = 4 * time.Second
	// checkAtOnce is how many nodes are asked at a time.
	checkAtOnce = 32
)

func checkCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "check", Usage: "compare the replicas of each group, and report those that differ",
		Description: `The leader of each group writes an entry into its log, and each replica reports what it has as its
state at that entry: in a digest for each slot, and for each other part. The cluster does so by itself,
too, about once a minute, and rebuilds what it finds; "muster status" shows what it found.

Ends with status 1 when a replica differs, and with 6 when a group could not be compared, or not
with all its replicas.

--fix has the replicas that differ rebuilt from those that agree, as the cluster does by itself unless
the setting audit-pace is off, and waits until they are whole, for as long as --timeout says. It shows
its plan first, and wants --yes.

Where nobody can say which replicas are right, no replica of the group serves until a person has said
it, with --group N --fix --trust NODE: the group begins again with what the snapshot and the log of
that node say, and the other replicas get its state.

--acknowledge compares nothing. It says that a person has seen the incidents that "muster status"
notes, those that are over: they are noted no more.

With -o json: {"groups":[{"id":1,"index":N,"replicas":N,"agree":true,"differing":[{"node":NAME,"replica":…,
"state":"differs"|"fenced"|"silent"|"undecided","parts":["slot 12",…],"more":N}]}],"ok":true}; a group that was not
compared has index 0, and "why"; one that waits for --trust has also the replicas that do.
With --acknowledge: {"acknowledged":[{"id":…,"group":1,"node":NAME,"replica":…,"at":"g1/2.17",
"found":"walk"|"comparison"|"undecided","parts":["slot 12",…],"more":N,"what":…}]}.`,
		Flags: []cli.Flag{
			&cli.Uint64Flag{Name: "group", DefaultText: "all", Usage: "only group `N`"},
			&cli.BoolFlag{Name: "fix", Usage: "have the replicas that differ rebuilt"},
			&cli.StringFlag{Name: "trust", Usage: "with --group and --fix: say that the replica on `NODE` is right, where nobody else can"},
			yesFlag(),
			&cli.BoolFlag{Name: "acknowledge", Usage: "say that the incidents that are over have been seen"},
		},
		Action: con.action(runCheck),
	})
}

func runCheck(con *console, c *cli.Context) error {
	only, one, err := groupOf(c)
	if err != nil {
		return err
	}
	switch {
	case c.Bool("fix") && c.Bool("acknowledge"):
		return usagef("%s: --fix and --acknowledge contradict each other; want one of them: what is being rebuilt is not over", c.Command.HelpName)
	case c.Bool("yes") && !c.Bool("fix"):
		return usagef("%s: --yes without --fix; want both, as nothing else here asks for it", c.Command.HelpName)
	case c.IsSet("trust") && !(one && c.Bool("fix")):
		return usagef("%s: --trust without --group and --fix; want all three, as it decides for one group what its data is", c.Command.HelpName)
	case c.Bool("acknowledge"):
		return acknowledge(con, c, only, one)
	}
	s, status, err := con.openStatus(c)
	if err != nil {
		return err
	}
	defer s.close()
	k := newComparison(status)
	ctx, stop := context.WithCancelCause(c.Context)
	defer stop(nil)
	k.asks = func(one context.Context, addr string, q wire.Check) (*wire.CheckAnswer, error) {
		a, err := s.client.Check(one, addr, q)
		if s.noRight(one, addr, err) {
			stop(fmt.Errorf("nothing was compared: %w", err)) // the other nodes have the same rules
		}
		return a, err
	}
	if one {
		k.only(only)
	}
	var trusted *shardmap.TableNode
	if c.IsSet("trust") {
		if trusted, err = memberNamed(membersOf(status), c.String("trust")); err != nil {
			return err
		}
	}
	if err := s.with(ctx, k.compare); err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	if one && k.unheardOf(only) {
		return noGroup(only)
	}
	switch {
	case trusted != nil:
		err = s.trust(c.Context, k, only, trusted, consentOf(c))
	case c.Bool("fix"):
		err = s.fix(c.Context, k, consentOf(c))
	}
	if err != nil {
		return err
	}
	if k.partless() {
		if t, err := s.table(c.Context); err == nil { // without it the outcome stands all the same
			k.nameParts(t)
		}
	}
	return s.finishCheck(k)
}

func noGroup(g raft.GroupID) error {
	return withStatus(exitNotFound, "group %d: the cluster has none; muster group list shows those that it has", g)
}

// comparison is what the leaders of groups say of their replicas, and what nodes say of those that
// wait for a person's word.
type comparison struct {
	asks   func(ctx context.Context, addr string, q wire.Check) (*wire.CheckAnswer, error)
	nodes  []wire.StatusNode
	known  []wire.StatusGroup // as the endpoint knows them
	wanted []raft.GroupID     // ascending; all that are known, and those that turn up, or one
	one    bool
	found  map[raft.GroupID]wire.CheckedGroup   // as its leader says
	wait   map[raft.GroupID][]wire.CheckedGroup // as the nodes say whose replicas wait, one each
	heard  int                                  // nodes that have answered, or can't be asked
	silent map[raft.NodeID]error                // why nodes have not answered when they were last asked
}

func newComparison(status *wire.StatusAnswer) *comparison {
	k := &comparison{nodes: status.Nodes, known: status.Groups, wanted: []raft.GroupID{0},
		found: make(map[raft.GroupID]wire.CheckedGroup), wait: make(map[raft.GroupID][]wire.CheckedGroup), silent: make(map[raft.NodeID]error)}
	for i := range status.Groups {
		k.want(status.Groups[i].ID)
	}
	return k
}

func (k *comparison) only(g raft.GroupID) { k.wanted, k.one = []raft.GroupID{g}, true }

// want adds a group, if it is not among the wanted ones.
func (k *comparison) want(g raft.GroupID) {
	if i, found := slices.BinarySearch(k.wanted, g); !found {
		k.wanted = slices.Insert(k.wanted, i, g)
	}
}

// unheardOf reports whether nobody knows of a group.
func (k *comparison) unheardOf(g raft.GroupID) bool {
	_, found := k.found[g]
	return !found && len(k.wait[g]) == 0 && g != 0 && !slices.ContainsFunc(k.known, func(o wire.StatusGroup) bool { return o.ID == g })
}

// missing are the wanted groups that no leader has compared.
func (k *comparison) missing() (groups []raft.GroupID) {
	for _, g := range k.wanted {
		if k.found[g].At.Index == 0 {
			groups = append(groups, g)
		}
	}
	return groups
}

// compare asks every node, and ends when each wanted group has been compared. It asks for those that
// nobody has compared again, as during an election: for pollMax at most, since one may have no
// leader for long. It ends with an error only when it is cancelled.
func (k *comparison) compare(ctx context.Context) error {
	return k.ask(ctx, pollMax, func(round int) wire.Check {
		if round == 0 && !k.one {
			return wire.Check{} // also groups that the endpoint does not know
		}
		return wire.Check{Groups: k.missing()}
	}, func() (over bool) {
		if k.one && k.unheardOf(k.wanted[0]) {
			return k.heard == len(k.nodes)
		}
		return len(k.missing()) == 0 && (len(k.known) > 0 || k.heard == len(k.nodes))
	})
}

// ask asks every node at the same time, or some at a time if they are many, and each again and again until
// over returns true. It asks for so long, and each node at least once: one that does not answer holds
// up no other. next returns what to ask for in a round. Neither is called by two at a time.
func (k *comparison) ask(ctx context.Context, within time.Duration, next func(round int) wire.Check, over func() bool) error {
	began := time.Now()
	all, end := context.WithCancel(ctx)
	defer end()
	var mu sync.Mutex // guards k
	var asked sync.WaitGroup
	slots := make(chan struct{}, checkAtOnce)
	once := func(n *wire.StatusNode, round int) {
		select {
		case slots <- struct{}{}:
		case <-all.Done():
			return
		}
		defer func() { <-slots }()
		mu.Lock()
		q, enough := next(round), round > 0 && over()
		mu.Unlock()
		if enough {
			return // another node's answer has just ended it
		}
		one, cancel := context.WithTimeout(all, checkPatience)
		defer cancel()
		a, err := k.asks(one, n.Addr, q)
		mu.Lock()
		defer mu.Unlock()
		k.told(n.ID, round, &q, a, err, all.Err())
		if over() {
			end()
		}
	}
	for i := range k.nodes {
		asked.Go(func() {
			for round, pause := 0, pauseMin; ; round, pause = round+1, min(2*pause, pauseMax) {
				once(&k.nodes[i], round)
				if time.Since(began) >= within {
					return
				}
				select {
				case <-time.After(pause):
				case <-all.Done():
					return
				}
			}
		})
	}
	asked.Wait()
	if ctx.Err() == context.Canceled {
		return ctx.Err()
	}
	return nil
}

// told takes in what came of a question. ended is not nil if nobody waits for it any more.
func (k *comparison) told(n raft.NodeID, round int, q *wire.Check, a *wire.CheckAnswer, err, ended error) {
	if round == 0 {
		k.heard++
	}
	switch {
	case err == nil:
		delete(k.silent, n)
		k.forget(n, q.Groups)
		for _, g := range a.Groups {
			k.take(g)
		}
	case ended == nil:
		k.silent[n] = err
	}
}

// take takes what a leader says of its group, unless a later leader has said something: the
// earlier one then was none any more.
func (k *comparison) take(g wire.CheckedGroup) {
	if k.one && g.Group != k.wanted[0] {
		return
	}
	if g.Term == 0 {
		k.takeWaiting(g)
		return
	}
	if old, found := k.found[g.Group]; !found || g.Term >= old.Term {
		k.found[g.Group] = g
		k.want(g.Group)
	}
}

// partless reports whether it is not known in what a replica is wrong: one that is fenced compares
// nothing any more.
func (k *comparison) partless() bool {
	for _, g := range k.found {
		if slices.ContainsFunc(g.Replicas, unnamed) {
			return true
		}
	}
	return false
}

func unnamed(r wire.CheckedReplica) bool {
	return r.State == wire.CheckedFenced && len(r.Parts) == 0 && r.PartsMore == 0
}

// nameParts takes the parts of replicas that are fenced from the incidents of a table.
func (k *comparison) nameParts(t *shardmap.Table) {
	for at := range t.Incidents {
		i := &t.Incidents[at]
		g := k.found[i.Group]
		if g.Incarnation != i.Incarnation || !t.Differs(i) {
			continue
		}
		for j := range g.Replicas {
			if r := &g.Replicas[j]; r.Replica == i.Replica && unnamed(*r) {
				for _, p := range i.Parts {
					r.Parts = append(r.Parts, uint32(p))
				}
				r.PartsMore = uint64(i.PartsMore())
			}
		}
	}
}

// finishCheck prints what was found, and ends with the status for it.
func (s *errand) finishCheck(k *comparison) error {
	row := k.row()
	if len(k.missing()) > 0 {
		for _, n := range k.nodes {
			if err := k.silent[n.ID]; err != nil {
				s.warnf("ask node %s at %s: %s", n.Name, n.Addr, oneLine(err))
			}
		}
	}
	var err error
	if s.json {
		err = s.printJSON(row)
	} else {
		if err = cmp.Or(printCheck(s, row), s.flush()); err == nil { // what to do stands below what was found
			for _, line := range row.advice() {
				s.sayf("%s", line)
			}
		}
	}
	if status := row.status(); err == nil && status != exitDone {
		return errQuiet(status)
	}
	return err
}
