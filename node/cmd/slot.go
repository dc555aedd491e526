package cmd

import (
	"context"

	"github.com/urfave/cli/v2"

	"muster/repl/wire"
)

func slotCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "slot", Usage: "look at the slots, which hold the keys"},
		verb(cli.Command{
			Name: "list", Usage: "list which group owns which slots",
			Description: `With -o json: [{"from":0,"to":1023,"group":1,"state":"stable"}]`,
			Action:      con.action(slotList),
		}))
}

type slotRow struct {
	From  int    `json:"from"`
	To    int    `json:"to"`
	Group int    `json:"group"`
	State string `json:"state"`
}

func slotList(con *console, c *cli.Context) error {
	s, err := con.openBare(c)
	if err != nil {
		return err
	}
	defer s.close()
	topology, err := topologyOf(c.Context, s)
	if err != nil {
		return err
	}
	rows := make([]slotRow, 0, len(topology.Slots))
	for _, r := range topology.Slots {
		rows = append(rows, slotRow{int(r.From), int(r.To), int(r.Group), "stable"})
	}
	if s.json {
		return s.printJSON(rows)
	}
	table := newTable(s.out, "FROM", "TO", "GROUP", "STATE")
	for _, r := range rows {
		table.row(number(r.From), number(r.To), number(r.Group), r.State)
	}
	return table.Flush()
}

// topologyOf asks any endpoint who owns what.
func topologyOf(ctx context.Context, s *errand) (a *wire.TopologyAnswer, err error) {
	err = s.with(ctx, func(ctx context.Context) error {
		a, err = s.client.Topology(ctx)
		return err
	})
	return a, err
}
