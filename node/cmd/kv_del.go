package cmd

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"

	"github.com/urfave/cli/v2"

	"muster/raft"
	"muster/repl/client"
	"muster/shardmap"
)

func kvDelCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "del", Usage: "delete keys", ArgsUsage: "K… | --prefix P | --all",
		Description: `Deletes each key K. A key that does not exist is no error.

--prefix deletes all keys that begin with P, and --all every key of the cluster, by a job: muster
job shows it, and can pause or cancel it. An empty P, as of a variable that is not set, is refused.
The plan is shown first, and wants --yes; off a terminal the command ends with status 9 without it.
The job deletes all keys that exist when it begins, up to 1024 of a slot at once; keys that are
written meanwhile may be deleted too. It goes on if this command is interrupted.

With -o json: {"log_ids":["g1/2.18"],"versions":{"K":18},"deleted":N}, where N
is how many existed. With --prefix or --all there are no log ids and no versions, and the row of
the job is there beside "deleted", as of muster job show:
{"id":…,"kind":"delete","state":…,"deleted":N,…}`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "prefix", DefaultText: "none", Usage: "delete all keys that begin with `P`"},
			&cli.BoolFlag{Name: optionAll, Usage: "delete every key of the cluster"},
			yesFlag(), noWaitFlag(),
		},
		Action: con.action(kvDel),
	})
}

// Options of kv del, and fields of its route.
const (
	optionPrefix = "prefix"
	optionAll    = "all"
)

func kvDel(con *console, c *cli.Context) error {
	if c.IsSet(optionPrefix) || c.Bool(optionAll) {
		prefix, err := prefixToDelete(c)
		if err != nil {
			return err
		}
		return kvDelPrefix(con, c, prefix)
	}
	keys, err := keysOf(c)
	switch {
	case err != nil:
		return err
	case c.Bool(optionYes):
		return usagef("muster kv del: --%s and keys, which are deleted without a plan; leave it out, or give --%s or --%s", optionYes, optionPrefix, optionAll)
	case c.Bool(optionNoWait) && con.call == nil: // a call over HTTP does not wait unless it says so
		return usagef("muster kv del: --%s and keys, which no job deletes; leave it out, or give --%s or --%s", optionNoWait, optionPrefix, optionAll)
	}
	return con.request(c, func(ctx context.Context, s *errand) error { return delKeys(ctx, s, keys) })
}

// prefixToDelete reads which keys a job is to delete: those with a prefix or, by an empty one, all. A prefix that
// a script has in a variable may be empty by mistake, so all keys have an option of their own.
func prefixToDelete(c *cli.Context) ([]byte, error) {
	which, prefix := "--"+optionPrefix, c.String(optionPrefix)
	if c.Bool(optionAll) {
		which = "--" + optionAll
	}
	switch n := c.Args().Len(); {
	case c.Bool(optionAll) && c.IsSet(optionPrefix):
		return nil, usagef("muster kv del: --%s and --%s contradict each other; give one", optionAll, optionPrefix)
	case n > 0:
		return nil, usagef("muster kv del: %s and %s; give the one or the other", which, counted(n, "key"))
	case prefix == "" && !c.Bool(optionAll):
		return nil, usagef("muster kv del: --%s: empty, and every key begins so; want what the keys begin with, or --%s to delete every key of the cluster", optionPrefix, optionAll)
	}
	return []byte(prefix), nil
}

// delKeys deletes keys, each slot's together. It prints what was deleted even if not all was.
func delKeys(ctx context.Context, s *errand, keys [][]byte) error {
	if s.call != nil {
		s.call.begunNone = true
	}
	deleted, err := s.client.Delete(ctx, keys...)
	failed, err := partly(s, err, len(keys))
	if err != nil {
		return err
	}
	o := outcome{deleted: new(int), failed: len(failed)}
	for _, d := range deleted {
		*o.deleted += d.Count
		for _, k := range d.Keys {
			o.written = append(o.written, writtenKey{k, d.Written})
		}
	}
	return printWritten(s, &o)
}

// prefixBatch is how many keys of a prefix are deleted at once in a cluster below
// [shardmap.RangesLevel], which has to be told each of them.
const prefixBatch = 1000

// prefixPlan is what a person is shown of the keys that begin with a prefix.
type prefixPlan struct {
	keys        int
	first, last []byte
	all         hash.Hash // of all keys
	slots       map[shardmap.Slot]bool
	groups      map[raft.GroupID]bool
}

func (p *prefixPlan) add(i client.ListItem) {
	if p.keys == 0 {
		p.first = i.Key
		p.all = sha256.New()
		p.slots, p.groups = map[shardmap.Slot]bool{}, map[raft.GroupID]bool{}
	}
	p.keys++
	p.all.Write(binary.AppendUvarint(nil, uint64(len(i.Key))))
	p.all.Write(i.Key)
	p.last = i.Key
	p.slots[shardmap.SlotOf(i.Key)] = true
	p.groups[i.Group] = true
}

// counted is how many of something there are, in words.
func counted(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// whichKeys names the keys that begin with a prefix: with an empty one all.
func whichKeys(prefix []byte) string {
	if len(prefix) == 0 {
		return "all keys of the cluster"
	}
	return "all keys that begin with " + shown(prefix)
}

// lines are the plan as a person sees it.
func (p *prefixPlan) lines(prefix []byte) []string {
	return []string{
		fmt.Sprintf("plan to delete %s: %s in %s of %s", whichKeys(prefix), counted(p.keys, "key"), counted(len(p.slots), "slot"), counted(len(p.groups), "group")),
		fmt.Sprintf("  the first is %s, the last %s", shown(p.first), shown(p.last)),
	}
}

func kvDelPrefix(con *console, c *cli.Context, prefix []byte) error {
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	var p prefixPlan
	if err := eachItem(c.Context, s, prefix, client.ListOptions{KeysOnly: true}, func(i client.ListItem) error {
		p.add(i)
		return nil
	}); err != nil {
		return err
	}
	d := prefixDeleter{orderly: orderly{errand: s, wait: !c.Bool(optionNoWait)}, last: map[raft.GroupID]raft.LogID{}}
	if p.keys == 0 {
		none := "no key begins with " + shown(prefix)
		if len(prefix) == 0 {
			none = "the cluster has no key"
		}
		s.sayf("nothing to delete: %s", none)
		return d.print()
	}
	s.propose(&proposal{lines: p.lines(prefix), binds: [][]byte{p.all.Sum(nil)}})
	if consentOf(c) != consentGiven && !s.agrees(c.Context) {
		return notConfirmed()
	}
	t, err := s.table(c.Context)
	switch {
	case errors.Is(err, client.ErrBadRequest): // of a build that has no word for its table yet
		err = d.listed(c.Context, prefix)
	case err != nil:
		return err
	case t.Level < shardmap.RangesLevel:
		err = d.listed(c.Context, prefix)
	default:
		err = d.order(c.Context, prefix, uint64(p.keys), t.Index)
	}
	if perr := d.print(); err == nil {
		err = perr
	}
	if err == nil && d.failed > 0 {
		err = errQuiet(exitPartly)
	}
	return err
}

// prefixDeleter deletes the keys that begin with a prefix.
type prefixDeleter struct {
	orderly // its job, if one was ordered

	// Of a cluster below [shardmap.RangesLevel]: up to prefixBatch keys, how many are deleted and could not
	// be, and the newest delete in each group.
	batch   [][]byte
	deleted int
	failed  int
	last    map[raft.GroupID]raft.LogID
}

// order has a job delete the keys, of which there are some by a table of index after or later.
func (d *prefixDeleter) order(ctx context.Context, prefix []byte, keys, after uint64) error {
	asks := shardmap.ErrandAsks{Prefix: string(prefix), Keys: keys}
	command, err := shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: shardmap.JobDelete, Asks: asks})
	if err != nil {
		return err
	}
	a, err := d.give(ctx, &order{after: after, what: "delete " + whichKeys(prefix), command: command,
		made: func(j *shardmap.Job) bool { return j.Kind == shardmap.JobDelete && j.Errand.Prefix == asks.Prefix }}, 0)
	if err != nil {
		return err
	}
	return d.attend(ctx, a)
}

// listed deletes the keys by their names, in a cluster that has no such job.
func (d *prefixDeleter) listed(ctx context.Context, prefix []byte) error {
	err := d.runListed(ctx, prefix)
	if err != nil && d.deleted > 0 {
		return withStatus(exitPartly, "%d keys are deleted, and others are not: %w; the same command goes on", d.deleted, err)
	}
	return err
}

// runListed lists the keys and deletes them, prefixBatch at a time: it holds no more of them.
func (d *prefixDeleter) runListed(ctx context.Context, prefix []byte) error {
	err := eachItem(ctx, d.errand, prefix, client.ListOptions{KeysOnly: true}, func(i client.ListItem) error {
		d.batch = append(d.batch, i.Key)
		if len(d.batch) < prefixBatch {
			return nil
		}
		return d.flush(ctx)
	})
	if err == nil {
		err = d.flush(ctx)
	}
	return err
}

func (d *prefixDeleter) flush(ctx context.Context) error {
	keys := d.batch
	d.batch = nil
	if len(keys) == 0 {
		return nil
	}
	return d.with(ctx, func(ctx context.Context) error {
		deleted, err := d.client.Delete(ctx, keys...)
		for _, one := range deleted {
			d.deleted += one.Count
			if one.ID.Index > 0 {
				d.last[one.Group] = one.ID
			}
		}
		failed, err := partly(d.errand, err, len(keys))
		d.failed += len(failed)
		return err
	})
}

func (d *prefixDeleter) print() error {
	switch {
	case len(d.jobs) > 0:
		d.deleted = int(d.jobs[0].Done)
	case d.call != nil:
		d.call.begunNone = true
	}
	if d.json {
		row := writtenRow{LogIDs: []string{}, Versions: map[string]uint64{}, Deleted: &d.deleted}
		if len(d.jobs) > 0 {
			row.JobRow = &d.jobs[0]
		}
		for _, g := range slices.Sorted(maps.Keys(d.last)) {
			row.LogIDs = append(row.LogIDs, raft.FormatLogID(g, d.last[g]))
		}
		return d.printJSON(row)
	}
	if len(d.jobs) > 0 {
		return jobTable(d.errand, d.jobs)
	}
	t := newTable(d.out, "DELETED", "FAILED")
	t.row(number(d.deleted), fmt.Sprint(d.failed))
	return t.Flush()
}
