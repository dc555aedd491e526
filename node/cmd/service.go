package cmd

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/shardmap/registry"
)

func serviceCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "service", Usage: "register services, have them checked, and find instances that are up"},
		serviceListCommand(con), serviceGetCommand(con), serviceSetCommand(con), serviceDelCommand(con), servicePickCommand(con),
		serviceWatchCommand(con), serviceMaintainCommand(con), serviceHeartbeatCommand(con))
}

// serviceForm is what commands about services print of one.
const serviceForm = `{"name":…,"type":…,"nodes":[{…settings…,"id":…,"status":"up","since":…,"reason":…,"changes":[…]}]}`

func tagFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "tag", DefaultText: "any", Usage: "only instances with the tag `T`; may be given several times, then with all of them"}
}

// serviceArg reads the one argument of a command about a service.
func serviceArg(c *cli.Context) (string, error) {
	if err := wantArgs(c, 1, 1); err != nil {
		return "", err
	}
	return c.Args().First(), nil
}

// withTags leaves in s only the instances that have all tags, and reports whether there are
// any. Without tags it leaves s as it is.
func withTags(s *registry.Service, tags []string) bool {
	if len(tags) == 0 {
		return true
	}
	s.Instances = slices.DeleteFunc(s.Instances, func(i registry.Instance) bool { return !i.Tagged(tags) })
	return len(s.Instances) > 0
}

// getService reads a service, without the instances that lack a tag, and with the names of the
// nodes that check the others.
func getService(ctx context.Context, c *cli.Context, s *errand, name string, o client.ReadOptions) (*registry.Service, error) {
	item, err := s.client.Service(ctx, name, o)
	if err != nil {
		return nil, firstOnly(s, o.Local, err)
	}
	if tags := c.StringSlice("tag"); !withTags(item.Service, tags) {
		return nil, withStatus(exitNotFound, "service %s: no instance has the tag %s", shown([]byte(name)), strings.Join(tags, " and the tag "))
	}
	for i := range item.Service.Instances {
		x := &item.Service.Instances[i]
		x.CheckedBy = item.Checkers[x.ID].Name
	}
	return item.Service, nil
}

// standing counts the instances of a service: "2/3" are up, and of the others "1 down". Those in
// maintenance don't count for the whole: nobody expects them to be up.
func standing(s *registry.Service) (up, others string) {
	counts := map[string]int{}
	for i := range s.Instances {
		counts[s.Instances[i].Shown()]++
	}
	up = fmt.Sprintf("%d/%d", counts[registry.Up.String()], len(s.Instances)-counts[registry.ShownMaintenance])
	var rest []string
	for _, status := range []string{registry.Down.String(), registry.Flapping.String(), registry.Unknown.String(), registry.ShownMaintenance} {
		if n := counts[status]; n > 0 {
			rest = append(rest, fmt.Sprintf("%d %s", n, status))
		}
	}
	return up, strings.Join(rest, ", ")
}

// address returns where an instance is reached, in the form that a program connects to.
func address(i *registry.Instance) string {
	host, port := i.Get("host"), i.Get("port")
	switch {
	case host != "" && port != "":
		return net.JoinHostPort(host, port)
	case i.Get("url") != "":
		return i.Get("url")
	}
	return i.ID
}

// moment returns a time of a record for a person, in UTC and whole seconds.
func moment(ms int64) string {
	if ms == 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339)
}

// settingsText returns settings on one line, as options write them, with long values cut.
func settingsText(settings []registry.Setting) string {
	words := make([]string, len(settings))
	for i, s := range settings {
		if words[i] = s.Key + "="; s.Value != "" {
			words[i] += cell([]byte(s.Value))
		}
	}
	return strings.Join(words, " ")
}
