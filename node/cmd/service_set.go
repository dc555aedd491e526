package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/urfave/cli/v2"

	"muster/logstore/vfs"
	"muster/repl/client"
	"muster/shardmap/registry"
)

func serviceSetCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "set", Usage: "register services, or change what is registered", ArgsUsage: serviceSetArgs,
		Description: `Registers the services of FILE, or of standard input if FILE is "-": a JSON list of
{"name":…,"type":…,"node":[{…},…]}, whose settings are strings. If any field of the file is
wrong, all wrong ones are named, each on a line, and nothing is written. Each service replaces
the one of its name as a whole; instances with the same id keep their status. If only some could
be written, the command names the others and ends with status 8.

Without a file the command registers one service: each --node is an instance with its settings,
each --set a setting of the service. A value with a comma in it wants a file, and so does a
password: other users of this host may see a command line. What "service get" shows for a
password leaves the password as it is. A file with a password in it must be one that nobody else
can read.

Types are ` + strings.Join(registry.Types, ", ") + `.
docs/services.md says which settings each has.

With -o json: {"log_ids":["g1/2.17"],"versions":{"NAME":17}}`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "file", Aliases: []string{"f"}, DefaultText: "none", Usage: "`FILE` with the services"},
			&cli.StringFlag{Name: "type", Usage: "the `TYPE` of the service, which is how it is checked"},
			&cli.GenericFlag{Name: "node", Value: new(repeated), DefaultText: "none",
				Usage: "an instance with its settings `K=V,…`, as in host=10.0.0.1,port=3306; may be given several times"},
			&cli.GenericFlag{Name: "set", Value: new(repeated), DefaultText: "none", Usage: "a setting `K=V` of the service; may be given several times"},
		},
		Action: con.action(serviceSet),
	})
}

const serviceSetArgs = "-f FILE | NAME --type TYPE --node K=V,…"

// repeated has the values of an option that may be given several times, each as it was given:
// cli's own lists split values at commas.
type repeated []string

// Set takes one more value.
func (r *repeated) Set(value string) error { *r = append(*r, value); return nil }

func (r *repeated) String() string { return strings.Join(*r, " ") }

func repeatedOf(c *cli.Context, option string) []string { return *c.Generic(option).(*repeated) }

func serviceSet(con *console, c *cli.Context) error {
	var services []registry.Service
	var err error
	if c.IsSet("file") {
		services, err = con.servicesIn(c)
	} else {
		services, err = serviceOf(c)
	}
	if err != nil {
		return err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	return setServices(c.Context, s, services)
}

// servicesIn reads the services of a file.
func (con *console) servicesIn(c *cli.Context) ([]registry.Service, error) {
	for _, option := range []string{"type", "node", "set"} {
		if c.IsSet(option) {
			return nil, usagef("muster service set: --file and --%s contradict each other; the file has all that there is to say", option)
		}
	}
	if c.NArg() > 0 {
		return nil, usagef("muster service set: --file names its services, and beside it there is argument %s; leave that out", shown([]byte(c.Args().First())))
	}
	if c.String("file") == "" {
		return nil, usagef("muster service set: --file: empty; want a FILE, or - for standard input")
	}
	in, name, err := con.input(c.String("file"))
	if err != nil {
		return nil, err
	}
	defer in.Close()
	b, err := allOf(in, name, registry.FileMax, "the largest file of services")
	if err != nil {
		return nil, err
	}
	services, err := registry.ParseFile(b)
	switch {
	case err != nil:
		return nil, con.wrongFields(name, err)
	case len(services) == 0:
		return nil, fmt.Errorf(`%s: there is no service in it; want [{"name":…,"type":…,"node":[…]}]`, name)
	}
	if i := slices.IndexFunc(services, func(s registry.Service) bool { return s.HasSecrets() }); i >= 0 {
		if err := keptSecret(in); err != nil {
			return nil, fmt.Errorf("service %s has a password: %w; nothing was written", shown([]byte(services[i].Name)), err)
		}
	}
	return services, nil
}

// bugOpenServiceFile is planted to show that its test finds it: passwords are taken out of a file that everybody can
// read.
const bugOpenServiceFile = "passwords in a file that others can read"

// keptSecret returns why an input is none for passwords: it is a file that others can read, or have written. Without
// a password in it a file may be anybody's, as what it makes is shown to all who may see services.
func keptSecret(in io.Reader) error {
	f, ok := in.(*os.File)
	if !ok || bug(bugOpenServiceFile) { // standard input is what the person makes it
		return nil
	}
	err := vfs.FitFile(f, vfs.Private)
	if unfit := (*vfs.UnfitError)(nil); errors.As(err, &unfit) && unfit.Command == "" {
		return fmt.Errorf("%w, or -f - and the services on standard input", err)
	}
	return err
}

// wrongFields returns the error of a file. If more than one field is wrong each gets a line of its own first:
// whoever corrects them goes from one to the next.
func (con *console) wrongFields(name string, err error) error {
	var wrong *registry.InvalidError
	if !errors.As(err, &wrong) || len(wrong.Problems) < 2 {
		return fmt.Errorf("%s: %w; nothing was written", name, err)
	}
	for _, problem := range wrong.Problems {
		con.warnf("%s: %s", name, problem)
	}
	shown := ""
	if wrong.More > 0 {
		shown = fmt.Sprintf(", of which the first %d are shown", len(wrong.Problems))
	}
	return fmt.Errorf("%s: %d problems%s; nothing was written", name, len(wrong.Problems)+wrong.More, shown)
}

// serviceOf reads the service that options describe.
func serviceOf(c *cli.Context) ([]registry.Service, error) {
	if err := wantArgs(c, 1, 1); err != nil {
		return nil, err
	}
	nodes := repeatedOf(c, "node")
	switch {
	case c.String("type") == "":
		return nil, usagef("muster service set: --type is missing; want one of %s", strings.Join(registry.Types, ", "))
	case len(nodes) == 0:
		return nil, usagef("muster service set: --node is missing; want the settings of an instance, as in --node host=10.0.0.1,port=3306")
	}
	service := registry.Service{Name: c.Args().First(), Type: c.String("type")}
	var err error
	for _, text := range repeatedOf(c, "set") {
		if service.Settings, err = addSetting(service.Settings, text); err != nil {
			return nil, usagef("muster service set: --set: %w", err)
		}
	}
	for n, text := range nodes {
		instance := registry.Instance{}
		if instance.Settings, err = instanceSettings(text); err != nil {
			return nil, usagef("muster service set: --node %d: %w", n+1, err)
		}
		if slices.ContainsFunc(instance.Settings, func(x registry.Setting) bool { return x.Key == registry.ShownCheckedBy }) {
			return nil, usagef("muster service set: --node %d: field %s: shown, not set", n+1, registry.ShownCheckedBy)
		}
		service.Instances = append(service.Instances, instance)
	}
	service.Complete()
	if err := service.Validate(); err != nil {
		return nil, usagef("muster service set: %w", err)
	}
	return []registry.Service{service}, nil
}

// listSettings are the settings of an instance whose values have commas in them.
var listSettings = []string{"tags", "expect"}

// instanceSettings reads K=V,K=V. A part without = belongs to the value before it if that may
// be a list: tags=a,b.
func instanceSettings(text string) ([]registry.Setting, error) {
	var words []string
	for part := range strings.SplitSeq(text, ",") {
		if last := len(words) - 1; last >= 0 && !strings.Contains(part, "=") {
			key, _, _ := strings.Cut(words[last], "=")
			if slices.Contains(listSettings, key) {
				words[last] += "," + part
				continue
			}
		}
		words = append(words, part)
	}
	var settings []registry.Setting
	for _, word := range words {
		var err error
		if settings, err = addSetting(settings, word); err != nil {
			return nil, err
		}
	}
	return settings, nil
}

// addSetting puts a setting K=V behind the others.
func addSetting(settings []registry.Setting, text string) ([]registry.Setting, error) {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return nil, fmt.Errorf("setting %s; want K=V, as in port=3306; a value with commas in it wants a file", shown([]byte(text)))
	}
	if slices.ContainsFunc(settings, func(s registry.Setting) bool { return s.Key == key }) {
		return nil, fmt.Errorf("setting %s is given twice", shown([]byte(key)))
	}
	return append(settings, registry.Setting{Key: key, Value: value}), nil
}

// setsInFlight is how many services of a file are written at a time: enough for their groups to
// share syncs, and few enough to notice soon that a cluster has stopped answering.
const setsInFlight = 16

// serviceSetter writes the services of one file.
type serviceSetter struct {
	*errand
	services []registry.Service
	written  []client.Written
	errs     []error
	next     atomic.Int64 // the first service that nobody has begun with
	stopped  atomic.Bool  // there was an error that the next service would meet too
}

func setServices(ctx context.Context, s *errand, services []registry.Service) error {
	m := serviceSetter{errand: s, services: services, written: make([]client.Written, len(services)), errs: make([]error, len(services))}
	var workers sync.WaitGroup
	for range min(setsInFlight, len(services)) {
		workers.Go(func() { m.work(ctx) })
	}
	workers.Wait()
	return m.report()
}

func (m *serviceSetter) work(ctx context.Context) {
	for !m.stopped.Load() {
		i := int(m.next.Add(1)) - 1
		if i >= len(m.services) {
			return
		}
		m.errs[i] = m.with(ctx, func(ctx context.Context) (err error) {
			m.written[i], err = m.client.SetService(ctx, &m.services[i])
			return err
		})
		if m.errs[i] != nil && !isItemsOwn(m.errs[i]) {
			m.stopped.Store(true)
		}
	}
}

// report prints what was written, and names what was not.
func (m *serviceSetter) report() error {
	tried := min(int(m.next.Load()), len(m.services))
	o := outcome{noun: "SERVICE", failed: len(m.services) - tried}
	var errs []error // each says of which service it is
	for i, err := range m.errs[:tried] {
		if err == nil {
			o.written = append(o.written, writtenKey{[]byte(m.services[i].Name), m.written[i]})
		} else {
			o.failed++
			errs = append(errs, err)
		}
	}
	if len(o.written) == 0 {
		// Where the cluster can't be asked, that is all there is to say. Else the last one is said by the caller.
		if i := slices.IndexFunc(errs, func(err error) bool { return !isItemsOwn(err) }); i >= 0 {
			return errs[i]
		}
		last := len(errs) - 1
		for _, err := range errs[:last] {
			m.warnf("%s", oneLine(err))
		}
		return errs[last]
	}
	for _, err := range errs {
		m.warnf("%s", oneLine(err))
	}
	if tried < len(m.services) {
		m.warnf("%d of the services were not tried, from %s on", len(m.services)-tried, shown([]byte(m.services[tried].Name)))
	}
	return printWritten(m.errand, &o)
}
