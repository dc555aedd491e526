package cmd

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/shardmap"
)

func leaseCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "lease", Usage: "let keys end together, unless they are kept alive"},
		leaseGrantCommand(con), leaseKeepaliveCommand(con), leaseRevokeCommand(con), leaseListCommand(con))
}

// leaseForm is what commands about leases print.
const leaseForm = `{"id":"1234.17","ttl_ms":30000,"remaining_ms":30000,"slot":1234,"keys":0}`

func leaseGrantCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "grant", Usage: "make a lease for a key, and all others of its slot", ArgsUsage: "TTL --for KEY",
		Description: `Makes a lease that lasts for TTL, as in 30s or 5m, unless "muster lease keepalive" prolongs it.
Keys that are set with it ("muster kv set --lease") end with it: never early, and late by as long
as their group has no leader. A lease lives in the slot of KEY, and only keys of that slot can be
attached to it; keys with one {tag} share a slot.

With -o json: ` + leaseForm,
		Flags:  []cli.Flag{&cli.StringFlag{Name: "for", Usage: "`KEY` whose slot the lease is to live in"}},
		Action: con.action(leaseGrant),
	})
}

func leaseGrant(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	ttl, err := time.ParseDuration(c.Args().First())
	if err != nil {
		return usagef("muster lease grant: TTL is %s; want a number with its unit, as 500ms, 10s or 1m30s", shown([]byte(c.Args().First())))
	}
	if err := checkTTL("muster lease grant: TTL", ttl); err != nil {
		return err
	}
	if c.String("for") == "" {
		return usagef("muster lease grant: --for KEY is missing; a lease lives in the slot of that key")
	}
	return con.withLease(c, new(int), func(ctx context.Context, s *errand) (client.Lease, error) {
		return s.client.Grant(ctx, []byte(c.String("for")), ttl)
	})
}

func leaseKeepaliveCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "keepalive", Usage: "let a lease last for its whole time from now on", ArgsUsage: "ID",
		Description: `Ends with status 4 if the lease is gone, and with it its keys.

With -o json: {"id":"1234.17","ttl_ms":30000,"remaining_ms":30000,"slot":1234}`,
		Action: con.action(leaseKeepalive),
	})
}

func leaseKeepalive(con *console, c *cli.Context) error {
	id, err := leaseArg(c)
	if err != nil {
		return err
	}
	return con.withLease(c, nil, func(ctx context.Context, s *errand) (client.Lease, error) { return s.client.Keepalive(ctx, id) })
}

func leaseRevokeCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "revoke", Usage: "end a lease, and delete its keys", ArgsUsage: "ID",
		Description: `Ends with status 4 if the lease is gone.

With -o json: {"log_ids":["g1/2.17"],"versions":{}}`,
		Action: con.action(leaseRevoke),
	})
}

func leaseRevoke(con *console, c *cli.Context) error {
	id, err := leaseArg(c)
	if err != nil {
		return err
	}
	return con.request(c, func(ctx context.Context, s *errand) error {
		w, err := s.client.Revoke(ctx, id)
		if err != nil {
			return err
		}
		if s.json {
			return s.printJSON(writtenRow{LogIDs: []string{logID(w)}, Versions: map[string]uint64{}})
		}
		t := newTable(s.out, "LEASE", "LOG ID")
		t.row(id.String(), logID(w))
		return t.Flush()
	})
}

func leaseListCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "list", Usage: "show all leases",
		Description: `With -o json: [` + leaseForm + `]`,
		Action:      con.action(leaseList),
	})
}

func leaseList(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	return con.request(c, func(ctx context.Context, s *errand) error {
		rows := []leaseRow{}
		for l, err := range s.client.Leases(ctx) {
			if err != nil {
				return err
			}
			rows = append(rows, leaseRow{l.ID.String(), l.TTL.Milliseconds(), l.Remaining.Milliseconds(), int(l.ID.Slot()), &l.Keys})
		}
		if s.json {
			return s.printJSON(rows)
		}
		return leaseTable(s, rows)
	})
}

type leaseRow struct {
	ID        string `json:"id"`
	TTL       int64  `json:"ttl_ms"`
	Remaining int64  `json:"remaining_ms"`
	Slot      int    `json:"slot"`
	Keys      *int   `json:"keys,omitempty"` // nil: it is not known how many
}

func leaseTable(s *errand, rows []leaseRow) error {
	t := newTable(s.out, "LEASE", "TTL", "REMAINING", "SLOT", "KEYS")
	for _, r := range rows {
		t.row(r.ID, msText(r.TTL), msText(r.Remaining), number(r.Slot), number(*r.Keys))
	}
	return t.Flush()
}

func msText(ms int64) string { return (time.Duration(ms) * time.Millisecond).String() }

// withLease runs what makes or prolongs a lease, and prints it, with how many keys it has if
// that is known.
func (con *console) withLease(c *cli.Context, keys *int, run func(context.Context, *errand) (client.Lease, error)) error {
	return con.request(c, func(ctx context.Context, s *errand) error {
		l, err := run(ctx, s)
		if err != nil {
			return err
		}
		ms := l.TTL.Milliseconds()
		row := leaseRow{l.ID.String(), ms, ms, int(l.ID.Slot()), keys}
		if s.json {
			return s.printJSON(row)
		}
		t := newTable(s.out, "LEASE", "TTL", "SLOT")
		t.row(row.ID, msText(ms), number(row.Slot))
		return t.Flush()
	})
}

func leaseArg(c *cli.Context) (shardmap.LeaseID, error) {
	if err := wantArgs(c, 1, 1); err != nil {
		return 0, err
	}
	return leaseNamed(c.Command.HelpName+": lease", c.Args().First())
}

// leaseNamed reads the id of a lease; what names where it stands.
func leaseNamed(what, text string) (shardmap.LeaseID, error) {
	id, err := shardmap.ParseLeaseID(text)
	if err != nil {
		return 0, usagef("%s %s; want the id of a lease as muster lease grant or list prints it, as in 1234.17", what, shown([]byte(text)))
	}
	return id, nil
}
