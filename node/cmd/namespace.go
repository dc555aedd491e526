package cmd

import (
	"context"
	"math"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"muster/repl/wire"
	"muster/shardmap"
)

const namespaceForm = `{"prefix":…,"keys":N,"keys_limit":N,"bytes":N,"bytes_limit":N,
"rate":N,"rate_limit":N,"known":true}`

func namespaceCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "namespace", Usage: "limit what there may be of a prefix"},
		verb(cli.Command{
			Name: "list", Usage: "list the prefixes that have a limit, with what there is of each",
			Description: `What there is, is what the leader of the meta group has heard about a second ago. A key counts for each
prefix that it begins with.

With -o json: [` + namespaceForm + `], where a limit of 0 is none, rate is of the keys that were
written in the last second, and known is false until all groups have said what they have. A prefix that is not valid UTF-8
stands under "prefix_base64".`,
			Action: con.action(namespaceList),
		}),
		verb(cli.Command{
			Name: "limit", Usage: "limit the keys of a prefix, their bytes, or how many are written in a second", ArgsUsage: "PREFIX",
			Description: `Takes effect within about a second, in which writes that add to the prefix wait. What is over a
limit is refused as "over-limit", with what is left; what is there already stays, and can be read, overwritten with no
more, and deleted. A limit that is not given stays as it is.

With -o json the row as it is then: ` + namespaceForm,
			Flags: []cli.Flag{
				&cli.Uint64Flag{Name: "keys", DefaultText: "as it is", Usage: "at most `N` keys; 0: any number"},
				&cli.Uint64Flag{Name: "bytes", DefaultText: "as it is", Usage: "at most `N` bytes in keys and values; 0: any number"},
				&cli.Uint64Flag{Name: "rate", DefaultText: "as it is", Usage: "at most `N` keys written in a second; 0: any number"},
			},
			Action: con.action(namespaceLimit),
		}),
		verb(cli.Command{
			Name: "del", Usage: "take the limits of a prefix away", ArgsUsage: "PREFIX",
			Description: "No key is deleted. Prints nothing.",
			Action:      con.action(namespaceDel),
		}))
}

type namespaceRow struct {
	Prefix       string `json:"prefix,omitempty"`
	PrefixBase64 []byte `json:"prefix_base64,omitempty"` // not valid UTF-8
	Keys         uint64 `json:"keys"`
	KeysLimit    uint64 `json:"keys_limit"`
	Bytes        uint64 `json:"bytes"`
	BytesLimit   uint64 `json:"bytes_limit"`
	Rate         uint64 `json:"rate"`
	RateLimit    uint64 `json:"rate_limit"`
	Known        bool   `json:"known"`
}

func namespaceRows(limits []wire.UsageLimit) []namespaceRow {
	rows := []namespaceRow{}
	for _, l := range limits {
		r := namespaceRow{Keys: l.Used[0], KeysLimit: l.Most[0], Bytes: l.Used[1], BytesLimit: l.Most[1], Rate: l.Used[2], RateLimit: l.Most[2], Known: l.Known}
		if utf8.ValidString(l.Prefix) {
			r.Prefix = l.Prefix
		} else {
			r.PrefixBase64 = []byte(l.Prefix)
		}
		rows = append(rows, r)
	}
	return rows
}

func (r *namespaceRow) prefix() []byte {
	if r.PrefixBase64 != nil {
		return r.PrefixBase64
	}
	return []byte(r.Prefix)
}

// namespacesOf asks what there is of the prefixes with a limit.
func namespacesOf(ctx context.Context, s *errand) (limits []wire.UsageLimit, err error) {
	err = s.with(ctx, func(ctx context.Context) error {
		a, err := s.client.Usage(ctx, "")
		if err == nil {
			limits = a.Limits
		}
		return err
	})
	return limits, err
}

func namespaceList(con *console, c *cli.Context) error {
	s, err := con.openBare(c)
	if err != nil {
		return err
	}
	defer s.close()
	limits, err := namespacesOf(c.Context, s)
	if err != nil {
		return err
	}
	rows := namespaceRows(limits)
	if s.json {
		return s.printJSON(rows)
	}
	return namespaceTable(s, rows)
}

func namespaceTable(s *errand, rows []namespaceRow) error {
	t := newTable(s.out, "PREFIX", "KEYS", "LIMIT", "BYTES", "LIMIT", "KEYS/S", "LIMIT")
	for i := range rows {
		r := &rows[i]
		used := func(n uint64) string {
			if !r.Known {
				return "?"
			}
			return number(n)
		}
		t.row(shown(r.prefix()), used(r.Keys), limitText(r.KeysLimit), used(r.Bytes), limitText(r.BytesLimit), used(r.Rate), limitText(r.RateLimit))
	}
	return t.Flush()
}

func limitText(n uint64) string {
	if n == 0 {
		return "-"
	}
	return number(n)
}

// prefixOf returns the prefix that a command is about.
func prefixOf(c *cli.Context) (string, error) {
	if err := wantArgs(c, 1, 1); err != nil {
		return "", err
	}
	prefix := c.Args().First()
	if n := len(prefix); n == 0 || n > shardmap.KeyMax {
		return "", usagef("%s: PREFIX has %d bytes; want 1 to %d, that keys begin with", c.Command.HelpName, n, shardmap.KeyMax)
	}
	return prefix, nil
}

func namespaceLimit(con *console, c *cli.Context) error {
	prefix, err := prefixOf(c)
	if err != nil {
		return err
	}
	if !c.IsSet("keys") && !c.IsSet("bytes") && !c.IsSet("rate") {
		return usagef("%s: a limit is missing; want --keys, --bytes or --rate", c.Command.HelpName)
	}
	if n := c.Uint64("rate"); n > math.MaxUint32 {
		return usagef("%s: --rate %d; want at most %d", c.Command.HelpName, n, uint32(math.MaxUint32))
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	t, err := s.table(c.Context)
	if err != nil {
		return err
	}
	limit, was := t.Security.Limit(prefix)
	limit.Prefix = prefix
	if c.IsSet("keys") {
		limit.Keys = c.Uint64("keys")
	}
	if c.IsSet("bytes") {
		limit.Bytes = c.Uint64("bytes")
	}
	if c.IsSet("rate") {
		limit.Rate = uint32(c.Uint64("rate"))
	}
	if limit.Keys == 0 && limit.Bytes == 0 && limit.Rate == 0 {
		next := "give a limit above 0"
		if was {
			next = "take the limits away with muster namespace del"
		}
		return usagef("%s: no limit would be left; %s", c.Command.HelpName, next)
	}
	if err := setLimit(c.Context, s, limit, "limit prefix "+shown([]byte(prefix))); err != nil {
		return err
	}
	row, err := limited(c.Context, s, limit)
	if err != nil {
		return withStatus(exitNoResult, "the limit is set, but it is not known yet what there is: %w; see muster namespace list", err)
	}
	for _, k := range [...]struct {
		what        string
		used, limit uint64
	}{{"keys", row.Keys, row.KeysLimit}, {"bytes", row.Bytes, row.BytesLimit}} {
		if k.limit > 0 && k.used > k.limit {
			con.warnf("prefix %s has %d %s, more than the limit of %d: what is there stays, and nothing can be added before enough is deleted", shown([]byte(prefix)), k.used, k.what, k.limit)
		}
	}
	if s.json {
		return s.printJSON(row)
	}
	return namespaceTable(s, []namespaceRow{row})
}

// limited waits until it is known what there is of a prefix whose limit was just set.
func limited(ctx context.Context, s *errand, limit shardmap.Limit) (row namespaceRow, err error) {
	most := wire.UsageAmount{limit.Keys, limit.Bytes, uint64(limit.Rate)}
	err = s.until(ctx, func(*shardmap.Table) glance {
		limits, err := namespacesOf(ctx, s)
		if err != nil {
			return glance{}
		}
		for i := range limits {
			if l := &limits[i]; l.Prefix == limit.Prefix && l.Most == most && l.Known {
				row = namespaceRows(limits[i : i+1])[0]
				return glance{over: true}
			}
		}
		return glance{}
	}, waitAsLongAsACall)
	return row, err
}

func setLimit(ctx context.Context, s *errand, limit shardmap.Limit, what string) error {
	command, err := shardmap.AppendSetLimit(nil, &shardmap.SetLimit{Limit: limit})
	if err != nil {
		return err
	}
	_, err = s.give(ctx, &order{what: what, command: command}, 0)
	return err
}

func namespaceDel(con *console, c *cli.Context) error {
	prefix, err := prefixOf(c)
	if err != nil {
		return err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	return setLimit(c.Context, s, shardmap.Limit{Prefix: prefix}, "take the limits of prefix "+shown([]byte(prefix))+" away")
}
