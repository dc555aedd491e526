package cmd

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/shardmap"
)

func kvSetCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "set", Usage: "write keys", ArgsUsage: setArgs,
		Description: `Writes each key K with its value V. Keys of one slot are written together, in
one entry; keys of different slots are not. A write is durable once it is
answered, and is applied once, however often it was sent.

The value of one key may come from standard input, with V as "-", or from a file, with
--file and without V: all its bytes, the last newline too.

--if-absent, --if-version and --if-value write one key only if it is not there, has not
been written since, or has that value; else the command ends with status 5.

--ttl makes keys end by themselves after that time, --lease makes them end with a lease of
their slot ("muster lease grant"). A key never ends early, and ends late by as long as its
group has no leader. A set without either makes a key last for ever.

With -o json: {"log_ids":["g1/2.17"],"versions":{"K":17}}`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "if-absent", Usage: "only if the key does not exist"},
			&cli.Uint64Flag{Name: "if-version", DefaultText: "any", Usage: "only if the key's version is `N`"},
			&cli.StringFlag{Name: "if-value", DefaultText: "any", Usage: "only if the key's value is `V`"},
			&cli.DurationFlag{Name: "ttl", DefaultText: "for ever", Usage: "how long `D` the keys last"},
			&cli.StringFlag{Name: "lease", DefaultText: "none", Usage: "the lease `ID` with which the keys end"},
			&cli.StringFlag{Name: "file", DefaultText: "V", Usage: "`FILE` that has the value of the one key"},
		},
		Action: con.action(kvSet),
	})
}

const setArgs = "K V [K V …] | K - | K --file FILE"

func kvSet(con *console, c *cli.Context) error {
	o, err := writeOptionsOf(c)
	if err != nil {
		return err
	}
	pairs, err := con.pairsOf(c)
	if err != nil {
		return err
	}
	if err := checkPairs(pairs, &o); err != nil {
		return err
	}
	return con.request(c, func(ctx context.Context, s *errand) error {
		if len(pairs) == 1 {
			w, err := s.client.Set(ctx, pairs[0].Key, pairs[0].Value, o)
			if err != nil {
				return err
			}
			return printWritten(s, &outcome{written: []writtenKey{{pairs[0].Key, w}}})
		}
		return setMany(ctx, s, pairs, &o)
	})
}

// checkPairs refuses options that are not for such keys.
func checkPairs(pairs []client.Pair, o *client.WriteOptions) error {
	if (o.IfAbsent || o.HasVersion || o.HasValue) && len(pairs) > 1 {
		return usagef("muster kv set: a condition takes one key and value, there are %d", len(pairs))
	}
	for _, p := range pairs {
		if slot := shardmap.SlotOf(p.Key); o.Lease != 0 && slot != o.Lease.Slot() {
			return usagef("muster kv set: --lease %s is of slot %d, key %s of slot %d; want keys of the lease's slot, as those with one {tag} are, or a lease that was granted for this key",
				o.Lease, o.Lease.Slot(), shown(p.Key), slot)
		}
	}
	return nil
}

// writeOptionsOf reads the condition of a set, and how long its keys last.
func writeOptionsOf(c given) (o client.WriteOptions, err error) {
	o = client.WriteOptions{
		IfAbsent: c.Bool("if-absent"), IfVersion: c.Uint64("if-version"), HasVersion: c.IsSet("if-version"), HasValue: c.IsSet("if-value"),
		TTL: c.Duration("ttl"), HasTTL: c.IsSet("ttl"),
	}
	if o.HasValue {
		o.IfValue = []byte(c.String("if-value"))
	}
	var given []string
	for _, name := range []string{"if-absent", "if-version", "if-value"} {
		if c.IsSet(name) && (name != "if-absent" || o.IfAbsent) {
			given = append(given, "--"+name)
		}
	}
	switch {
	case len(given) > 1:
		return o, usagef("muster kv set: %s and %s contradict each other; give one", given[0], given[1])
	case o.HasVersion && o.IfVersion == 0:
		return o, usagef("muster kv set: --if-version 0: versions begin at 1; for a key that is not there use --if-absent")
	case o.HasTTL && c.IsSet("lease"):
		return o, usagef("muster kv set: --ttl and --lease contradict each other; give one")
	case o.HasTTL:
		return o, checkTTL("muster kv set: --ttl", o.TTL)
	case c.IsSet("lease"):
		o.Lease, err = leaseNamed("muster kv set: --lease", c.String("lease"))
	}
	return o, err
}

// checkTTL refuses what is no time for a key or a lease to last; what names it.
func checkTTL(what string, d time.Duration) error {
	const most = time.Duration(shardmap.TTLMax) * time.Millisecond
	if d < time.Millisecond || d > most {
		return usagef("%s %s; want 1ms to %s", what, d, hours(most))
	}
	return nil
}

// hours is a limit of whole hours, as a person writes it.
func hours(d time.Duration) string { return fmt.Sprintf("%dh", d/time.Hour) }

// pairsOf reads the keys and values of a set. The value of one key may come from a file, or
// from standard input.
func (con *console) pairsOf(c *cli.Context) ([]client.Pair, error) {
	args := c.Args().Slice()
	if c.IsSet("file") {
		if len(args) != 1 {
			return nil, usagef("muster kv set: --file has the value of one key, and beside it there are %d arguments; want muster kv set K --file FILE", len(args))
		}
		value, err := con.valueFrom(c.String("file"))
		return []client.Pair{{Key: []byte(args[0]), Value: value}}, err
	}
	if len(args) == 0 || len(args)%2 != 0 {
		if len(args) > 0 {
			return nil, usagef("muster kv set: key %s has no value; want muster kv set %s", shown([]byte(args[len(args)-1])), setArgs)
		}
		return nil, wantArgs(c, 2, -1)
	}
	var pairs []client.Pair
	for i := 0; i < len(args); i += 2 {
		if slices.ContainsFunc(pairs, func(p client.Pair) bool { return string(p.Key) == args[i] }) {
			return nil, usagef("muster kv set: key %s is given twice", shown([]byte(args[i])))
		}
		pair := client.Pair{Key: []byte(args[i]), Value: []byte(args[i+1])}
		if args[i+1] == fromInput && con.call == nil {
			if len(args) > 2 {
				return nil, usagef("muster kv set: value - is standard input, which has the value of one key; there are %d keys", len(args)/2)
			}
			var err error
			if pair.Value, err = con.valueFrom(fromInput); err != nil {
				return nil, err
			}
		}
		pairs = append(pairs, pair)
	}
	return pairs, nil
}

// valueFrom reads a value from a file, all its bytes.
func (con *console) valueFrom(file string) ([]byte, error) {
	value, _, err := con.contents(file, shardmap.ValueMaxLimit, "the largest value that any cluster takes")
	return value, err
}

// setMany writes several keys, each slot's together. It prints what was
// written even if not all was.
func setMany(ctx context.Context, s *errand, pairs []client.Pair, o *client.WriteOptions) error {
	for i := range pairs {
		pairs[i].SetOptions = client.SetOptions{TTL: o.TTL, HasTTL: o.HasTTL, Lease: o.Lease}
	}
	written, err := s.client.SetMany(ctx, pairs)
	failed, err := partly(s, err, len(pairs))
	if err != nil {
		return err
	}
	became := outcome{failed: len(failed)}
	for i, p := range pairs {
		if !failed[i] {
			became.written = append(became.written, writtenKey{p.Key, written[i]})
		}
	}
	return printWritten(s, &became)
}
