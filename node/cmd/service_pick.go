package cmd

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/shardmap"
	"muster/shardmap/registry"
)

func servicePickCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "pick", Usage: "print one instance that is up", ArgsUsage: "NAME",
		Description: `Prints the address of an instance: host:port, or else its url, or else its id. Of those that
are up and not in maintenance it takes one by chance, each as often as its priority says compared
with the others'; one of priority 0 never. --near K=V prefers those with the setting K=V as long
as one of them is up; --near K takes as V the label K of the first of the endpoints that answers,
so that --near zone prefers those in the zone of that node. --sticky gives the same instance for the same KEY, as long as that is up.

A service with the setting protect=N is answered from all its instances when fewer than N percent
of them are up. Ends with status 4 if there is no such service, with 6 if none of its instances,
or none with the tags, can be picked, and with 1 if the node has no label K.

With -o json: {"name":…,"type":…,"node":{…settings…,"id":…,"status":"up"},"status":"up"}`,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "near", DefaultText: "none", Usage: "prefer instances with the setting `K[=V]`, as in zone=a; without V, the label K of the node that is asked; may be given several times"},
			&cli.StringFlag{Name: "sticky", DefaultText: "by chance", Usage: "the same instance for the same `KEY`"},
			tagFlag(), readHowFlag(),
		},
		Action: con.action(servicePick),
	})
}

// pickedRow is an instance that was picked.
type pickedRow struct {
	Name   string             `json:"name"`
	Type   string             `json:"type"`
	Node   *registry.Instance `json:"node"`
	Status string             `json:"status"`
}

func servicePick(con *console, c *cli.Context) error {
	name, err := serviceArg(c)
	if err != nil {
		return err
	}
	o := registry.PickOptions{Draw: rand.Uint64N}
	var labels []string // of the node that is asked
	for _, text := range c.StringSlice("near") {
		key, value, ok := strings.Cut(text, "=")
		switch {
		case key == "" || !ok && shardmap.CheckLabelKey(key) != nil:
			return usagef("muster service pick: --near %s; want K=V, as in zone=a, or the key of a label, as in zone", shown([]byte(text)))
		case ok:
			o.Near = append(o.Near, registry.Setting{Key: key, Value: value})
		default:
			labels = append(labels, key)
		}
	}
	if c.IsSet("sticky") {
		if c.String("sticky") == "" {
			return usagef("muster service pick: --sticky: empty; want a KEY, or leave the option out")
		}
		o.Sticky = []byte(c.String("sticky"))
	}
	read, err := readHow(c)
	if err != nil {
		return err
	}
	return con.request(c, func(ctx context.Context, s *errand) error {
		// The share that protect asks for is of the whole service. So the service is read with
		// all its instances, and the tags are given to Pick.
		item, err := s.client.Service(ctx, name, read)
		if err != nil {
			return firstOnly(s, read.Local, err)
		}
		if len(labels) > 0 {
			near, err := s.client.Nearby(ctx, labels...)
			if errors.Is(err, client.ErrNotFound) {
				return withStatus(exitRefused, "--near %s: %w", strings.Join(labels, ", "), err)
			}
			if err != nil {
				return err
			}
			o.Near = append(o.Near, near...)
		}
		o.Tags = c.StringSlice("tag")
		i, err := item.Service.Pick(o)
		switch {
		case errors.Is(err, registry.ErrNoneUp):
			tags := ""
			if len(o.Tags) > 0 {
				tags = " among those with the tag " + strings.Join(o.Tags, " and the tag ")
			}
			return withStatus(exitNoResult, "service %s: %w%s; muster service get %s shows why", shown([]byte(name)), err, tags, plain(name))
		case err != nil:
			return err
		case s.json:
			return s.printJSON(pickedRow{name, item.Service.Type, i, i.Shown()})
		}
		return s.line("%s", address(i))
	})
}
