package cmd

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"muster/raft"
	"muster/repl/wire"
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

--fix has the replicas that differ rebuilt from those that agree, as the cluster does by itself, and
waits until they are whole, for as long as --timeout says. It shows its plan first, and wants --yes.

--acknowledge compares nothing. It says that a person has seen the incidents that "muster status"
notes, those that are over: they are noted no more.

With -o json: {"groups":[{"id":1,"index":N,"replicas":N,"agree":true,"differing":[{"node":NAME,"replica":…,
"state":"differs"|"fenced"|"silent"|"undecided","parts":["slot 12",…],"more":N}]}],"ok":true}; a group that was not
compared has index 0, and "why". With --acknowledge: {"acknowledged":[{"id":…,"group":1,"node":NAME,"replica":…,
"at":"g1/2.17","found":"walk"|"comparison"|"undecided","parts":["slot 12",…],"more":N,"what":…}]}.`,
		Flags: []cli.Flag{
			&cli.Uint64Flag{Name: "group", DefaultText: "all", Usage: "only group `N`"},
			&cli.BoolFlag{Name: "fix", Usage: "have the replicas that differ rebuilt"},
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
	case c.Bool("acknowledge"):
		return acknowledge(con, c, only, one)
	}
	s, status, err := con.openStatus(c)
	if err != nil {
		return err
	}
	defer s.close()
	k := newComparison(status)
	k.asks = func(ctx context.Context, addr string, q wire.Check) (*wire.CheckAnswer, error) {
		return s.client.Check(ctx, addr, q)
	}
	if one {
		k.only(only)
	}
	if err := s.with(c.Context, k.compare); err != nil {
		return err
	}
	if one && k.unheardOf(only) {
		return noGroup(only)
	}
	if c.Bool("fix") {
		if err := s.fix(c.Context, k, consentOf(c)); err != nil {
			return err
		}
	}
	return s.finishCheck(k)
}

func noGroup(g raft.GroupID) error {
	return withStatus(exitNotFound, "group %d: the cluster has none; muster group list shows those that it has", g)
}

// comparison is what the leaders of groups say of their replicas.
type comparison struct {
	asks   func(ctx context.Context, addr string, q wire.Check) (*wire.CheckAnswer, error)
	nodes  []wire.StatusNode
	known  []wire.StatusGroup // as the endpoint knows them
	wanted []raft.GroupID     // ascending; all that are known, and those that turn up, or one
	one    bool
	found  map[raft.GroupID]wire.CheckedGroup
	silent map[raft.NodeID]error // why nodes have not answered when they were last asked
}

func newComparison(status *wire.StatusAnswer) *comparison {
	k := &comparison{nodes: status.Nodes, known: status.Groups, wanted: []raft.GroupID{0},
		found: make(map[raft.GroupID]wire.CheckedGroup), silent: make(map[raft.NodeID]error)}
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
	return !found && g != 0 && !slices.ContainsFunc(k.known, func(o wire.StatusGroup) bool { return o.ID == g })
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

// compare asks every node. As long as nobody has compared some group, as during an election, it
// asks for those again: for pollMax at most, since one may have no leader for long. It ends
// with an error only when it is cancelled.
func (k *comparison) compare(ctx context.Context) error {
	q := wire.Check{} // also groups that the endpoint does not know
	if k.one {
		q.Groups = k.wanted
	}
	return k.again(ctx, pollMax, func(ctx context.Context) (over bool) {
		k.ask(ctx, q)
		q.Groups = k.missing()
		return len(q.Groups) == 0 || k.one && k.unheardOf(k.wanted[0])
	})
}

// again calls try until it returns true, for so long, and begins no new one after that or once
// the time of ctx has passed.
func (k *comparison) again(ctx context.Context, within time.Duration, try func(context.Context) (over bool)) error {
	began := time.Now()
	for pause := pauseMin; !try(ctx) && time.Since(began) < within; pause = min(2*pause, pauseMax) {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() == context.Canceled {
		return ctx.Err()
	}
	return nil
}

// ask asks every node at the same time, or some at a time if they are many, and takes in what they
// answer.
func (k *comparison) ask(ctx context.Context, q wire.Check) {
	var mu sync.Mutex // guards k
	var asked sync.WaitGroup
	slots := make(chan struct{}, checkAtOnce)
	for _, n := range k.nodes {
		asked.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			one, cancel := context.WithTimeout(ctx, checkPatience)
			defer cancel()
			a, err := k.asks(one, n.Addr, q)
			mu.Lock()
			defer mu.Unlock()
			delete(k.silent, n.ID)
			if err != nil {
				k.silent[n.ID] = err
				return
			}
			for _, g := range a.Groups {
				k.take(g)
			}
		})
	}
	asked.Wait()
}

// take takes what a leader says of its group, unless a later leader has said something: the
// earlier one then was none any more.
func (k *comparison) take(g wire.CheckedGroup) {
	if k.one && g.Group != k.wanted[0] {
		return
	}
	if old, found := k.found[g.Group]; !found || g.Term >= old.Term {
		k.found[g.Group] = g
		k.want(g.Group)
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
		err = printCheck(s, row)
	}
	if status := row.status(); err == nil && status != exitDone {
		return errQuiet(status)
	}
	return err
}
