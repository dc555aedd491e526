package cmd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/shardmap/registry"
)

func serviceListCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "list", Usage: "show all services",
		Description: `UP says how many instances are up, of those that are not in maintenance. With --tag only
instances that have it count, and services without one are left out. Passwords are never shown.

With -o json: [` + serviceForm + `]`,
		Flags:  []cli.Flag{tagFlag(), readHowFlag()},
		Action: con.action(serviceList),
	})
}

func serviceList(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	o, err := readHow(c)
	if err != nil {
		return err
	}
	return con.request(c, func(ctx context.Context, s *errand) error {
		all := []*registry.Service{}
		for item, err := range s.client.Services(ctx, o) {
			if err != nil {
				return firstOnly(s, o.Local, err)
			}
			if withTags(item.Service, c.StringSlice("tag")) {
				all = append(all, item.Service)
			}
		}
		// They come slot by slot, which means nothing to people.
		slices.SortFunc(all, func(a, b *registry.Service) int { return strings.Compare(a.Name, b.Name) })
		if s.json {
			return s.printJSON(all)
		}
		t := newTable(s.out, "NAME", "TYPE", "UP", "OTHERS")
		for _, service := range all {
			up, others := standing(service)
			t.row(service.Name, service.Type, up, orDash(others))
		}
		return t.Flush()
	})
}

func serviceGetCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "get", Usage: "show a service and its instances", ArgsUsage: "NAME",
		Description: `Shows for each instance its status, since when it has it, which node checks it, the reason, and
its settings; passwords as ` + registry.Mask + `. No node is shown for an instance that reports itself,
for one that no node can check or whose check was assigned a moment ago, or with --read local.
--changes shows the last changes of each instance's status instead. Ends with status 4 if there
is no such service.

With -o json: ` + serviceForm + `; an instance that a node checks
also has "checked_by", the name of that node`,
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "changes", Usage: "show how the status has changed"}, tagFlag(), readHowFlag()},
		Action: con.action(serviceGet),
	})
}

func serviceGet(con *console, c *cli.Context) error {
	name, err := serviceArg(c)
	if err != nil {
		return err
	}
	o, err := readHow(c)
	if err != nil {
		return err
	}
	return con.request(c, func(ctx context.Context, s *errand) error {
		service, err := getService(ctx, c, s, name, o)
		switch {
		case err != nil:
			return err
		case s.json:
			return s.printJSON(service)
		case c.Bool("changes"):
			return changesTable(s, service)
		}
		return serviceTable(s, service)
	})
}

func serviceTable(s *errand, service *registry.Service) error {
	up, others := standing(service)
	line := fmt.Sprintf("%s: type %s, %s up", service.Name, service.Type, up)
	if others != "" {
		line += ", " + others
	}
	if len(service.Settings) > 0 {
		line += "; " + settingsText(service.Settings)
	}
	if err := s.line("%s", line); err != nil {
		return err
	}
	t := newTable(s.out, "INSTANCE", "STATUS", "SINCE", "CHECKED BY", "REASON", "SETTINGS")
	for i := range service.Instances {
		x := &service.Instances[i]
		t.row(x.ID, x.Shown(), moment(x.Since), orDash(x.CheckedBy), orDash(x.Reason), orDash(settingsText(x.Settings)))
	}
	return t.Flush()
}

// changesTable shows the changes of all instances, each instance's in order.
func changesTable(s *errand, service *registry.Service) error {
	t := newTable(s.out, "INSTANCE", "AT", "STATUS", "REASON")
	for i := range service.Instances {
		x := &service.Instances[i]
		for _, change := range x.Changes {
			t.row(x.ID, moment(change.At), change.To.String(), orDash(change.Reason))
		}
	}
	return t.Flush()
}
