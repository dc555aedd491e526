package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/shardmap/registry"
)

func serviceWatchCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "watch", Usage: "print what happens to services, as it happens", ArgsUsage: "[NAME]",
		Description: `Watches one service, or all. It prints a service each time that what is shown of it has changed: an
instance has another status, goes into maintenance or out of it, is added or removed; with -o json
also for other settings, reasons and changes. The first event of each service is printed whatever
it is: it may be that a webhook was told of a change. It goes on until it is interrupted. What
happens to each service comes in order and once, whatever becomes of nodes and connections, and
wherever the service's slot moves. With --tag only instances that have it are shown.

--from continues where a watch of the same services ended: it takes all the log ids of that
watch's last "progress" or of its "resume", separated by commas. A watch that is interrupted
prints the command that continues it, on standard error, and ends with status 0. If the events
since then are no longer kept, the command ends with status 6: watch from now, then list.

With -o json one object per line: {"type":"set","name":…,"version":…,"log_id":…,"service":{…}},
where service is as "service get" shows it, or {"type":"del","name":…,"version":…,"log_id":…}.
{"type":"progress","log_ids":[…]} when it begins and while nothing happens; at the end
{"type":"end","reason":…,"resume":[…]}, as for kv watch.`,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "from", Usage: "continue behind `LOGID,…`, as in g1/2.17 or g1/2.17+3; from now, if not given"},
			tagFlag(),
		},
		Action: con.action(serviceWatch),
	})
}

func serviceWatch(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	name := c.Args().First()
	if c.NArg() == 1 && name == "" {
		return usagef("muster service watch: NAME is empty; want that of a service, or none for all")
	}
	positions, err := positionsOf(c)
	if err != nil {
		return err
	}
	return watch(con, c, newServiceWatcher(name, c.StringSlice("tag"), positions))
}

// serviceWatcher is a [watcher] of services.
type serviceWatcher struct {
	name string   // of the one service; empty: all
	tags []string // only instances that have all of them are shown
	from []client.GroupPosition

	// last has a digest of what was printed last of each service that there is. A record changes
	// also by what is not shown, as how far its webhook was told.
	last map[string]uint64
	seed maphash.Seed
}

func newServiceWatcher(name string, tags []string, from []client.GroupPosition) *serviceWatcher {
	return &serviceWatcher{name: name, tags: tags, from: from, last: map[string]uint64{}, seed: maphash.MakeSeed()}
}

type serviceEventRow struct {
	Type    string            `json:"type"`
	Name    string            `json:"name"`
	Version uint64            `json:"version"`
	LogID   string            `json:"log_id"`
	Service *registry.Service `json:"service,omitempty"`
}

func (w *serviceWatcher) open(ctx context.Context, c *client.Client) eventWatch[client.ServiceEvent] {
	return c.WatchServices(ctx, w.name, w.from)
}

func (w *serviceWatcher) begins() []client.GroupPosition { return w.from }

func (w *serviceWatcher) kind(e *client.ServiceEvent) client.WatchKind { return e.Kind }

func (w *serviceWatcher) row(e *client.ServiceEvent) any {
	s := w.shown(e)
	if text, err := json.Marshal(s); err == nil && !w.news(e, text) {
		return nil
	}
	return serviceEventRow{e.Kind.String(), e.Name, e.Version, eventID(e.Group, e.ID), s}
}

// news reports whether what is shown of a service differs from what was printed of it last.
func (w *serviceWatcher) news(e *client.ServiceEvent, shown []byte) bool {
	if e.Service == nil {
		delete(w.last, e.Name)
		return true
	}
	digest := maphash.Bytes(w.seed, shown)
	before, known := w.last[e.Name]
	w.last[e.Name] = digest
	return !known || before != digest
}

func (w *serviceWatcher) line(e *client.ServiceEvent) string {
	up, instances := "", ""
	if s := w.shown(e); s != nil {
		up, _ = standing(s)
		var words []string
		for i := range s.Instances {
			x := &s.Instances[i]
			words = append(words, x.ID+" "+x.Shown())
		}
		instances = strings.Join(words, ", ")
	}
	if !w.news(e, []byte(up+" "+instances)) {
		return ""
	}
	return serviceLine(e.Kind.String(), eventID(e.Group, e.ID), number(e.Version), e.Name, up, instances)
}

// shown returns the service of an event, without the instances that lack a tag; nil if it was
// deleted.
func (w *serviceWatcher) shown(e *client.ServiceEvent) *registry.Service {
	if e.Service != nil {
		withTags(e.Service, w.tags)
	}
	return e.Service
}

func (w *serviceWatcher) head() string {
	return serviceLine("TYPE", "LOG ID", "VERSION", "NAME", "UP", "INSTANCES")
}

// serviceLine is a line of the table: its columns don't wait for what comes.
func serviceLine(kind, id, version, name, up, instances string) string {
	return strings.TrimRight(fmt.Sprintf("%-8s %-14s %-9s %-20s %-5s %s", kind, id, version, name, up, instances), " ")
}

func (w *serviceWatcher) continuation(at []client.GroupPosition) string {
	words := []string{"muster service watch"}
	for _, tag := range w.tags {
		words = append(words, "--tag="+forShell([]byte(tag)))
	}
	words = append(words, "--from="+strings.Join(logIDsOf(at), ","))
	if strings.HasPrefix(w.name, "-") {
		words = append(words, "--")
	}
	if w.name != "" {
		words = append(words, forShell([]byte(w.name)))
	}
	return strings.Join(words, " ")
}
