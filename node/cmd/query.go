package cmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/queries"
)

const queryForm = `{"id":N,"node":NAME,"user":NAME,"database":NAME,"query":TEXT,"seconds":N,"memory":BYTES}`

func queryCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "query", Usage: "query points, and look at the queries that run"},
		queryRunCommand(con),
		verb(cli.Command{
			Name: "list", Usage: "list the queries that run, on all nodes",
			Description: "Without a right to read the cluster, one's own.\n\nWith -o json: [" + queryForm + "]",
			Action:      con.action(queryList),
		}),
		verb(cli.Command{
			Name: "kill", Usage: "end a query that runs, on whichever node", ArgsUsage: "ID",
			Description: "Users may end their own queries, administrators all. The client is told that the query was ended.\n\nWith -o json: {}",
			Action:      con.action(queryKill),
		}))
}

type queryRow struct {
	ID       uint64 `json:"id"`
	Node     string `json:"node"`
	User     string `json:"user"` // empty: nobody in particular
	Database string `json:"database"`
	Query    string `json:"query"`
	Seconds  int64  `json:"seconds"`
	Memory   int64  `json:"memory"`
}

func queryList(con *console, c *cli.Context) error {
	s, err := con.openBare(c)
	if err != nil {
		return err
	}
	defer s.close()
	rows := []queryRow{}
	err = s.with(c.Context, func(ctx context.Context) error {
		all, messages, err := queries.Cluster{Client: s.client}.Queries(ctx)
		for _, m := range messages {
			s.warnf("%s", oneLine(errors.New(m.Text)))
		}
		for i := range all {
			q := &all[i]
			rows = append(rows, queryRow{q.ID, q.Node, q.User, q.Database, q.Text, int64(time.Since(q.Since) / time.Second), q.Memory})
		}
		return err
	})
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(rows)
	}
	t := newTable(s.out, "ID", "NODE", "USER", "DATABASE", "SECONDS", "MEMORY", "QUERY")
	for _, r := range rows {
		t.row(fmt.Sprint(r.ID), shown([]byte(r.Node)), orDash(shown([]byte(r.User))), orDash(shown([]byte(r.Database))), fmt.Sprint(r.Seconds), fmt.Sprint(r.Memory), shown([]byte(r.Query)))
	}
	return t.Flush()
}

func queryKill(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	id, err := strconv.ParseUint(c.Args().First(), 10, 64)
	if err != nil || id == 0 {
		return usagef("%s: ID %s; want the number of a query as muster query list prints it", c.Command.HelpName, strconv.Quote(c.Args().First()))
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	err = s.with(c.Context, func(ctx context.Context) error { return queries.Cluster{Client: s.client}.Kill(ctx, id, "") })
	var none *queries.NotFoundError
	switch {
	case errors.As(err, &none):
		return withStatus(exitNotFound, "query %d: none of that number runs that you may end; muster query list shows which do", id)
	case err != nil:
		return err
	case s.json:
		return s.printJSON(struct{}{})
	}
	return nil
}
