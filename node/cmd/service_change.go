package cmd

import (
	"context"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/shardmap/registry"
)

func serviceDelCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "del", Usage: "remove a service, or one of its instances", ArgsUsage: "NAME",
		Description: `Ends with status 4 if there is no such service or instance. The service's checks end with it.

With -o json: {"log_ids":["g1/2.17"],"versions":{},"deleted":1}`,
		Flags:  []cli.Flag{&cli.StringFlag{Name: "instance", DefaultText: "all", Usage: "only the instance `ID`"}},
		Action: con.action(serviceDel),
	})
}

func serviceDel(con *console, c *cli.Context) error {
	name, err := serviceArg(c)
	if err != nil {
		return err
	}
	id := c.String("instance")
	if c.IsSet("instance") && id == "" {
		return usagef("muster service del: --instance: empty; want an ID as muster service get shows it, or leave the option out")
	}
	return con.request(c, func(ctx context.Context, s *errand) error {
		var w client.Written
		var err error
		if id != "" {
			w, err = s.client.RemoveInstance(ctx, name, id)
		} else {
			w, err = s.client.DelService(ctx, name)
		}
		if err != nil {
			return err
		}
		if s.json {
			deleted := 1
			return s.printJSON(writtenRow{LogIDs: []string{logID(w)}, Versions: map[string]uint64{}, Deleted: &deleted})
		}
		t := newTable(s.out, "SERVICE", "LOG ID")
		t.row(name, logID(w))
		return t.Flush()
	})
}

func serviceMaintainCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "maintain", Usage: "take an instance out by hand, and back in", ArgsUsage: "NAME INSTANCE on|off",
		Description: `While an instance is in maintenance, nobody is sent to it, whatever its checks say. These go
on: once maintenance is off, it has the status that they say. INSTANCE is an id, as "service get"
shows it. Ends with status 4 if there is none.

With -o json: {"log_ids":["g1/2.17"],"versions":{"NAME":17}}`,
		Action: con.action(serviceMaintain),
	})
}

func serviceMaintain(con *console, c *cli.Context) error {
	if err := wantArgs(c, 3, 3); err != nil {
		return err
	}
	name, id := c.Args().Get(0), c.Args().Get(1)
	how, ok := map[string]client.Maintenance{"on": client.MaintenanceOn, "off": client.MaintenanceOff}[c.Args().Get(2)]
	if !ok {
		return usagef("muster service maintain: %s; want on or off", shown([]byte(c.Args().Get(2))))
	}
	return con.request(c, func(ctx context.Context, s *errand) error {
		w, err := s.client.Maintain(ctx, name, id, how)
		if err != nil {
			return err
		}
		return printWritten(s, &outcome{noun: "SERVICE", written: []writtenKey{{[]byte(name), w}}})
	})
}

func serviceHeartbeatCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "heartbeat", Usage: "report that an instance of type ttl is up", ArgsUsage: "NAME INSTANCE",
		Description: `An instance of a service of type ttl is up as long as it reports itself at least once in
"interval", and goes down once "fall" such times have passed without a report, or at once when
it reports so itself, with --down. Prints nothing. Ends with status 4 if there is no such instance.

With -o json: {"name":"NAME","instance":"INSTANCE","status":"up"}`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "down", Usage: "report that it is down"},
			&cli.StringFlag{Name: "note", DefaultText: "none", Usage: "a few words `TEXT` that are shown as the reason, if the status is another one now"},
		},
		Action: con.action(serviceHeartbeat),
	})
}

type heartbeatRow struct {
	Name     string `json:"name"`
	Instance string `json:"instance"`
	Status   string `json:"status"`
}

func serviceHeartbeat(con *console, c *cli.Context) error {
	if err := wantArgs(c, 2, 2); err != nil {
		return err
	}
	row := heartbeatRow{c.Args().Get(0), c.Args().Get(1), registry.Up.String()}
	how := client.HeartbeatUp
	if c.Bool("down") {
		how, row.Status = client.HeartbeatDown, registry.Down.String()
	}
	return con.request(c, func(ctx context.Context, s *errand) error {
		if err := s.client.Heartbeat(ctx, row.Name, row.Instance, how, c.String("note")); err != nil || !s.json {
			return err
		}
		return s.printJSON(row)
	})
}
