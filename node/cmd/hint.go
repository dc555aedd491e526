package cmd

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

const hintForm = `{"node":NAME,"group":N,"hints":N,"points":N,"bytes":N,"oldest":TIME,"aside":N,"fails":N,"why":…}`

func hintCommand(con *console) *cli.Command {
	group := &cli.Uint64Flag{Name: "group", DefaultText: "all", Usage: "only those for group `N`"}
	return noun(cli.Command{Name: "hint", Usage: "look at the points that wait at nodes for their groups, and steer them"},
		verb(cli.Command{
			Name: "list", Usage: "list what waits, by node and group",
			Description: `A write of level one or any whose group can't take it now is kept by a node, as a hint; it comes to the
group as soon as that can take it. ASIDE has the hints that their group does not take though it takes
others, WHY what came in the way last. Hints that were refused for good are in the dead letters of the node,
as line protocol in a file. If a node does not answer, standard error names it and the status is 8.

With -o json: [` + hintForm + `]; why is there only where something came in the way.`,
			Flags:  []cli.Flag{group},
			Action: con.action(hintList),
		}),
		verb(cli.Command{
			Name: "retry", Usage: "have what waits tried at once",
			Description: `Nodes do so by themselves, at the latest after 5 minutes. Prints what waits, as of "muster hint list".`,
			Flags:       []cli.Flag{group},
			Action:      con.action(hintRetry),
		}),
		verb(cli.Command{
			Name: "purge", Usage: "give up what waits: its points are lost",
			Description: `Shows how many points that is, and wants --yes. Hints that are under way may arrive all the same. Dead letters
stay: they are files, which you may remove on the node's host. Prints what waits then, as of "muster hint list".`,
			Flags:  []cli.Flag{group, yesFlag()},
			Action: con.action(hintPurge),
		}))
}

// hintRow is what waits at a node for a group.
type hintRow struct {
	Node   string `json:"node"`
	Group  int    `json:"group"`
	Hints  uint64 `json:"hints"`
	Points uint64 `json:"points"`
	Bytes  uint64 `json:"bytes"`
	Oldest string `json:"oldest"` // RFC 3339
	Aside  uint64 `json:"aside"`
	Fails  uint64 `json:"fails"`
	Why    string `json:"why,omitempty"`
}

// hinted asks all servers about their hints.
type hinted struct {
	*errand
	servers []shardmap.TableNode
	of      wire.Hints // without its act
	failed  int        // servers that have not answered what was asked last
}

// newHinted begins a command about the hints for one group or for all.
func newHinted(con *console, c *cli.Context) (*hinted, error) {
	if err := wantArgs(c, 0, 0); err != nil {
		return nil, err
	}
	g, one, err := groupOf(c)
	if err != nil {
		return nil, err
	}
	if one && g == 0 {
		return nil, usagef("%s: --group 0; want 1 to %d: the meta group has no points", c.Command.HelpName, raft.GroupMax)
	}
	s, err := con.open(c, 1)
	if err != nil {
		return nil, err
	}
	h := &hinted{errand: s, of: wire.Hints{All: !one, Group: g}}
	t, err := s.table(c.Context)
	if err == nil && t.Level < shardmap.PointsLevel {
		err = wire.OverLevel("hints", shardmap.PointsLevel, t.Level)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	for i := range t.Nodes {
		if n := t.Nodes[i]; n.Role == shardmap.NodeServer {
			h.servers = append(h.servers, n)
		}
	}
	return h, nil
}

// ask asks each server for an act, and returns what waits then. It names those that don't answer; an error is about all of them.
func (h *hinted) ask(ctx context.Context, act wire.HintsAct) (rows []hintRow, err error) {
	h.failed = 0
	q := h.of
	q.Act = act
	for i := range h.servers {
		n := &h.servers[i]
		var a *wire.HintsAnswer
		err := h.with(ctx, func(ctx context.Context) (err error) {
			a, err = h.client.Hints(ctx, n.Addr, q)
			return err
		})
		if isDenied(err) {
			return nil, err
		}
		if err != nil {
			h.sayf("%s has not answered: %s", n.Name, oneLine(err))
			if h.failed++; h.failed == len(h.servers) {
				return nil, err
			}
			continue
		}
		for _, o := range a.Queues {
			rows = append(rows, hintRow{n.Name, int(o.Group), o.Hints, o.Points, o.Bytes, inRFC3339(o.Oldest), o.Aside, o.Fails, o.Why})
		}
		if act != wire.HintsList {
			continue // said once
		}
		if a.Letters > 0 {
			h.sayf("%s has dead letters of %s in %s", n.Name, showBytes(a.Letters), a.Dir)
		}
		for _, what := range a.Damages {
			h.sayf("%s: %s", n.Name, what)
		}
	}
	return rows, nil
}

func (h *hinted) print(rows []hintRow) error {
	if h.json {
		if rows == nil {
			rows = []hintRow{}
		}
		if err := h.printJSON(rows); err != nil {
			return err
		}
	} else if len(rows) > 0 {
		t := newTable(h.out, "NODE", "GROUP", "HINTS", "POINTS", "BYTES", "OLDEST", "ASIDE", "WHY")
		for _, r := range rows {
			t.row(r.Node, number(r.Group), number(r.Hints), number(r.Points), number(r.Bytes), r.Oldest, number(r.Aside), orDash(r.Why))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	if h.failed > 0 {
		return errQuiet(exitPartly)
	}
	return nil
}

func hintList(con *console, c *cli.Context) error { return hintAct(con, c, wire.HintsList) }

func hintRetry(con *console, c *cli.Context) error { return hintAct(con, c, wire.HintsRetry) }

func hintAct(con *console, c *cli.Context, act wire.HintsAct) error {
	h, err := newHinted(con, c)
	if err != nil {
		return err
	}
	defer h.close()
	rows, err := h.ask(c.Context, act)
	if err != nil {
		return err
	}
	if len(rows) == 0 && h.failed == 0 && !h.json {
		h.sayf("no points wait")
	}
	return h.print(rows)
}

func hintPurge(con *console, c *cli.Context) error {
	h, err := newHinted(con, c)
	if err != nil {
		return err
	}
	defer h.close()
	rows, err := h.ask(c.Context, wire.HintsList)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		h.sayf("no points wait: there is nothing to give up")
		return h.print(nil)
	}
	p := proposal{lines: []string{"plan to give up points that wait, which are lost then:"}}
	for _, r := range rows {
		p.lines = append(p.lines, fmt.Sprintf("  %s in %s for group %d on %s, since %s", counted(int(r.Points), "point"), counted(int(r.Hints), "hint"), r.Group, r.Node, r.Oldest))
		p.binds = append(p.binds, fmt.Appendf(nil, "%s/%d", r.Node, r.Group))
	}
	h.propose(&p)
	if consentOf(c) != consentGiven && !h.agrees(c.Context) {
		return notConfirmed()
	}
	if rows, err = h.ask(c.Context, wire.HintsPurge); err != nil {
		return err
	}
	return h.print(rows)
}
