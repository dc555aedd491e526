package cmd

import (
	"context"
	"strconv"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
)

func kvIncrCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "incr", Usage: "add to the number that a key has", ArgsUsage: "K " + numberArg,
		Description: `Adds N, 1 if it is not given, to the number that K has, and prints the sum. The value is a
decimal number of 64 bits with a sign; a key that is not there counts as 0. N may be negative.
It is applied once, however often it was sent. The key keeps its TTL or lease.

Ends with status 5 if the value is not such a number, or the sum would overflow.

With -o json: {"log_ids":["g1/2.17"],"versions":{"K":17},"values":{"K":5}}`,
		Action: con.action(kvIncr),
	})
}

func kvIncr(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 2); err != nil {
		return err
	}
	key, by := []byte(c.Args().First()), int64(1)
	if c.Args().Len() == 2 {
		var err error
		if by, err = strconv.ParseInt(c.Args().Get(1), 10, 64); err != nil {
			return usagef("muster kv incr: N is %s; want a whole number of 64 bits", shown([]byte(c.Args().Get(1))))
		}
	}
	return con.request(c, func(ctx context.Context, s *errand) error {
		value, w, err := s.client.Incr(ctx, key, by)
		if err != nil {
			return err
		}
		return printCounted(s, key, value, w)
	})
}

func printCounted(s *errand, key []byte, value int64, w client.Written) error {
	if s.json {
		row := writtenRowOf(&outcome{written: []writtenKey{{key, w}}})
		if text, encoded := textOrBase64(key); text != nil {
			row.Values = map[string]int64{*text: value}
		} else {
			row.ValuesBase64 = map[string]int64{*encoded: value}
		}
		return s.printJSON(row)
	}
	t := newTable(s.out, "KEY", "VALUE", "VERSION", "LOG ID")
	t.row(cell(key), number(value), number(w.Version), logID(w))
	return t.Flush()
}
