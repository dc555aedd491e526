package cmd

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// exampleFile is a file as people who come from dister have it.
const exampleFile = "../../docs/examples/services.json"

// Whatever is wrong in a command line about services is said before a cluster is asked, by
// the option and the instance.
func TestServiceUsage(t *testing.T) {
	const one = "service set db --type tcp --node host=h,port=1 "
	for _, tt := range []struct{ line, want string }{
		{"service", "muster service: a verb is missing; want one of list, get, set, del, pick, watch, maintain, heartbeat"},
		{"service list x", `muster service list: argument "x" is one too many; want muster service list`},
		{"service list --read never", `muster service list: --read "never"; want linearizable, follower or local`},
		{"service get", "muster service get: an argument is missing; want muster service get NAME"},
		{"service get a b", `muster service get: argument "b" is one too many`},
		{"service set", "muster service set: an argument is missing; want muster service set -f FILE | NAME --type TYPE --node K=V,…"},
		{"service set db", "muster service set: --type is missing; want one of tcp, web, mysql, pgsql, redis, ttl, grpc, custom"},
		{"service set db --type tcp", "muster service set: --node is missing; want the settings of an instance"},
		{"service set db --type ftp --node host=h,port=1", `"ftp"; want one of`},
		{"service set db --type tcp --node host=h", "field port"},
		{"service set db --type tcp --node host=h,port=x", `field port: "x"; want a number from 1 to 65535`},
		{"service set db --type tcp --node host=h,port", `muster service set: --node 1: setting "port"; want K=V, as in port=3306`},
		{"service set db --type tcp --node host=h,port=1 --node =1", `muster service set: --node 2: setting "=1"; want K=V`},
		{"service set db --type tcp --node host=h,port=1,host=i", `muster service set: --node 1: setting "host" is given twice`},
		{"service set db --type tcp --node host=h,port=1 --node host=h,port=1", "h:1"},
		{one + "--node host=i,port=1,checked_by=n1", "muster service set: --node 2: field checked_by: shown, not set"},
		{one + "--set protect", `muster service set: --set: setting "protect"; want K=V`},
		{one + "--set protect=101", `field protect: "101"`},
		{one + "--set protect=1 --set protect=2", `muster service set: --set: setting "protect" is given twice`},
		{one + "-f f", "muster service set: --file and --type contradict each other; the file has all that there is to say"},
		{"service set -f f db", `muster service set: --file names its services, and beside it there is argument "db"; leave that out`},
		{"service set -f f --set a=b", "muster service set: --file and --set contradict each other"},
		{"service set --file=", "muster service set: --file: empty; want a FILE, or - for standard input"},
		{"service del", "muster service del: an argument is missing; want muster service del NAME"},
		{"service del db --instance=", "muster service del: --instance: empty; want an ID"},
		{"service pick", "muster service pick: an argument is missing; want muster service pick NAME"},
		{"service pick db --near =a", `muster service pick: --near "=a"; want K=V, as in zone=a, or the key of a label, as in zone`},
		{"service pick db --near=", `muster service pick: --near ""; want`},
		{"service pick db --near zone --near a:b", `muster service pick: --near "a:b"; want`},
		{"service pick db --sticky=", "muster service pick: --sticky: empty; want a KEY, or leave the option out"},
		{"service pick db --read never", `muster service pick: --read "never"; want linearizable, follower or local`},
		{"service watch a b", `muster service watch: argument "b" is one too many; want muster service watch [NAME]`},
		{"service watch --from 17", `muster service watch: --from: position "17": want gGROUP/TERM.INDEX`},
		{"service watch --from g1/2.3,g1/2.4", "muster service watch: --from: g1/2.3 and g1/2.4 are of one group; want one for each group"},
		{"service watch --from=", "muster service watch: --from: empty; want LOGID,…"},
		{"service maintain db h:1", "muster service maintain: an argument is missing; want muster service maintain NAME INSTANCE on|off"},
		{"service maintain db h:1 yes", `muster service maintain: "yes"; want on or off`},
		{"service heartbeat db", "muster service heartbeat: an argument is missing; want muster service heartbeat NAME INSTANCE"},
		{"service heartbeat db h:1 2", `muster service heartbeat: argument "2" is one too many`},
	} {
		t.Run(tt.line, func(t *testing.T) {
			muster(t, strings.Fields(tt.line)...).refused(t, exitUsage, tt.want)
		})
	}
}

// Text on the command line that is no UTF-8 is refused by its field, as in a file.
func TestServiceOptionsAreUTF8(t *testing.T) {
	const bad, half = "a\xffb", "a\xed\xa0\x80b" // half a surrogate pair
	for _, text := range []string{bad, half} {
		for _, tt := range []struct {
			want string
			args []string
		}{
			{"field name: ", []string{text, "--node", "id=i"}},
			{"field id: ", []string{"s", "--node", "id=" + text}},
			{`field "zone": want UTF-8`, []string{"s", "--node", "id=i,zone=" + text}},
			{`field "tags": want UTF-8`, []string{"s", "--node", "id=i,tags=x," + text}},
			{"of UTF-8", []string{"s", "--node", "id=i," + text + "=v"}},
			{`field "zone": want UTF-8`, []string{"s", "--node", "id=i", "--set", "zone=" + text}},
			{"of UTF-8", []string{"s", "--node", "id=i", "--set", text + "=v"}},
		} {
			muster(t, append([]string{"service", "set", "--type", "ttl"}, tt.args...)...).refused(t, exitUsage, tt.want)
		}
	}
}

// Each wrong field of a file is named, by the service and the instance that it is in, and
// nothing of the file is written: nothing listens at the endpoint, so that a command that goes
// on ends with another status.
func TestServiceFileRefused(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"empty", "", []string{"standard input: "}},
		{"no JSON", "[", []string{"standard input: "}},
		{"an object", `{"name":"a"}`, []string{"standard input: "}},
		{"no service", "[]", []string{"standard input: there is no service in it; want ["}},
		{"two that are wrong", `[{"name":"a","type":"tcp","node":[{"host":"h","port":"1"}]},
			{"name":"db","type":"mysql","node":[{"host":"h","port":"1"},{"host":"h","port":"2"},{"host":"h","port":"abc"},{"port":"3"}]}]`,
			[]string{`service 2 ("db"), node 3: field port: "abc"; want a number from 1 to 65535`, `service 2 ("db"), node 4: field host`}},
		{"a type", `[{"name":"a","type":"ftp","node":[]}]`, []string{`service 1 ("a")`, "field type", `"ftp"`}},
		{"no name", `[{"type":"tcp","node":[{"host":"h","port":"1"}]}]`, []string{"service 1", "field name"}},
		{"a name twice", `[{"name":"a","type":"tcp","node":[{"host":"h","port":"1"}]},{"name":"a","type":"tcp","node":[{"host":"h","port":"1"}]}]`, []string{`service 2 ("a")`}},
		{"a command line", `[{"name":"a","type":"custom","node":[{"script":"/bin/sh -c reboot"}]}]`, []string{`service 1 ("a"), node 1: field script`}},
		{"half a surrogate pair", `[{"name":"a","type":"ttl","node":[{"id":"b","zone":"\ud800"}]}]`, []string{`service 1 ("a"), node 1: field "zone": want UTF-8`}},
		{"an interval", `[{"name":"a","type":"tcp","node":[{"host":"h","port":"1","interval":"5"}]}]`, []string{`service 1 ("a"), node 1: field interval: "5"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := musterIn(t, tt.text, "service", "set", "-f", "-")
			lines := strings.Split(strings.TrimSuffix(r.stderr, "\n"), "\n")
			if last := len(lines) - 1; last > 0 { // each of several problems has a line of its own
				for n, want := range tt.want {
					if n >= last || !strings.Contains(lines[n], want) {
						t.Errorf("line %d of %q: want %s", n+1, lines, want)
					}
				}
				if want := fmt.Sprintf("muster: standard input: %d problems; nothing was written", last); lines[last] != want {
					t.Errorf("the last line is %q, want %q", lines[last], want)
				}
				r.stderr = lines[last] + "\n"
				r.refused(t, exitRefused, "")
				return
			}
			for _, want := range tt.want {
				r.refused(t, exitRefused, want)
			}
			if tt.text != "[]" && !strings.Contains(r.stderr, "nothing was written") {
				t.Errorf("it does not say that nothing was written: %s", r.stderr)
			}
		})
	}
	muster(t, "service", "set", "-f", "/does/not/exist").refused(t, exitRefused, "/does/not/exist")
}

// What a file has as a password stands in no message, whatever else of it is wrong.
func TestServiceFileKeepsPasswords(t *testing.T) {
	const secret = "hunter2"
	for _, text := range []string{
		`[{"name":"a","type":"mysql","node":[{"host":"h","port":"x","user":"u","pass":"hunter2"}]}]`,
		`[{"name":"a","type":"mysql","node":[{"host":"h","port":"1","pass":["hunter2"]}]}]`,
		`[{"name":"a","type":"mysql","webhook_secret":"hunter2","node":[{"host":"h"}]}]`,
		`[{"name":"a","type":"mysql","node":[{"host":"h","pass":"` + strings.Repeat(secret, 1000) + `"}]}]`,
	} {
		if r := musterIn(t, text, "service", "set", "-f", "-"); r.status == exitDone || strings.Contains(r.stdout+r.stderr, secret) {
			t.Errorf("status %d: %s%s", r.status, r.stdout, r.stderr)
		}
	}
}

// The example is a file that muster takes.
func TestServiceExample(t *testing.T) {
	b, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	services, err := registry.ParseFile(b)
	if err != nil || len(services) != 5 {
		t.Fatalf("%d services, %v", len(services), err)
	}
	if got := services[0].Instances[1].Get("rack"); got != "a3" {
		t.Errorf("a setting that muster does not know is %q", got)
	}
	own := filepath.Join(t.TempDir(), "services.json")
	if err := os.WriteFile(own, b, 0o600); err != nil {
		t.Fatal(err)
	}
	muster(t, "service", "set", "-f", own, "--endpoints", "127.0.0.1:1", "--timeout", "1s").refused(t, exitNoEndpoint, "no endpoint accepted a connection")
}

// A file with passwords of checks must be its user's alone, as every file with a secret, and the command that mends it
// is named. One without may be anybody's, and so may one whose passwords are masked, as the cluster shows them.
func TestServiceFileOfOthers(t *testing.T) {
	if wrong := serviceFiles(t); wrong != "" {
		t.Error(wrong)
	}
}

func serviceFiles(t *testing.T) string {
	const (
		plain  = `[{"name":"a","type":"tcp","node":[{"host":"h","port":"1"}]}]`
		pass   = `[{"name":"b","type":"tcp","node":[{"host":"h","port":"1"}]},{"name":"a","type":"mysql","node":[{"host":"h","port":"1","user":"u","pass":"hunter2"}]}]`
		masked = `[{"name":"a","type":"mysql","node":[{"host":"h","port":"1","user":"u","pass":"********"}]}]`
		hook   = `[{"name":"a","type":"tcp","webhook_token":"hunter2","node":[{"host":"h","port":"1"}]}]`
		nested = `[{"name":"a","type":"tcp","login":{"db_password":"hunter2"},"node":[{"host":"h","port":"1"}]}]`
	)
	for _, c := range []struct {
		what, text string
		mode       fs.FileMode
		want       string // "": it is taken, and goes on to a cluster that is not there
	}{
		{"no password, and all can read it", plain, 0o644, ""},
		{"a mask, and all can read it", masked, 0o644, ""},
		{"a password, and nobody else can read it", pass, 0o600, ""},
		{"a password, and all can read it", pass, 0o644, "chmod 600 "},
		{"a password, and a group can read it", pass, 0o640, "chmod 600 "},
		{"a token of a webhook", hook, 0o644, "chmod 600 "},
		{"a password within JSON", nested, 0o644, "chmod 600 "},
	} {
		path := filepath.Join(t.TempDir(), "services.json")
		if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil { // whatever the mask of the process is
			t.Fatal(err)
		}
		r := muster(t, "service", "set", "-f", path, "--endpoints", "127.0.0.1:1", "--timeout", "1s")
		status, want := exitRefused, c.want
		if want == "" {
			status, want = exitNoEndpoint, "no endpoint accepted a connection"
		}
		if r.status != status || !strings.Contains(r.stderr, want) || strings.Contains(r.stderr, "hunter2") || strings.Count(r.stderr, "\n") != 1 {
			return fmt.Sprintf("%s: status %d, want %d with %q; %s", c.what, r.status, status, want, r.stderr)
		}
	}
	// A pipe has no mode that matters: another process writes it.
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(pipe, []byte(pass), 0) }()
	r := muster(t, "service", "set", "-f", pipe, "--endpoints", "127.0.0.1:1", "--timeout", "1s")
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if r.status != exitRefused || !strings.Contains(r.stderr, "it is a pipe; want a regular file, or -f -") {
		return fmt.Sprintf("a pipe: status %d, %s", r.status, r.stderr)
	}
	return ""
}

// Options say what a file says.
func TestInstanceSettings(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"port=1,host=h", "port=1 host=h"},
		{"host=h,tags=a,b,c,port=1", "host=h tags=a,b,c port=1"},
		{"expect=2xx,404", "expect=2xx,404"},
		{"url=http://h/?a=b&c=d", "url=http://h/?a=b&c=d"},
		{"id=", "id="},
		{"tags=a,", "tags=a,"},
		{"", ""}, {"host", ""}, {"a,tags=b", ""}, {"host=h,", ""}, {"tags=a,tags=b", ""}, {"=b", ""},
	} {
		got, err := instanceSettings(tt.text)
		if (err != nil) != (tt.want == "") || err == nil && settingsText(got) != tt.want {
			t.Errorf("%s: got %q, %v, want %q", tt.text, settingsText(got), err, tt.want)
		}
	}
}

// service makes one whose instances have these settings and statuses.
func service(name string, instances ...registry.Instance) *registry.Service {
	return &registry.Service{Name: name, Type: "tcp", Instances: instances}
}

func TestStanding(t *testing.T) {
	up, down := registry.Instance{ID: "a", Status: registry.Up}, registry.Instance{ID: "b", Status: registry.Down}
	away := registry.Instance{ID: "c", Status: registry.Up, Maintenance: true}
	for _, tt := range []struct {
		of         *registry.Service
		up, others string
	}{
		{service("s"), "0/0", ""},
		{service("s", up), "1/1", ""},
		{service("s", up, down, registry.Instance{}), "1/3", "1 down, 1 unknown"},
		{service("s", up, away, registry.Instance{Status: registry.Flapping}), "1/2", "1 flapping, 1 maintenance"},
	} {
		if gotUp, others := standing(tt.of); gotUp != tt.up || others != tt.others {
			t.Errorf("got %s, %s, want %s, %s", gotUp, others, tt.up, tt.others)
		}
	}
}

// What pick prints is what a program connects to.
func TestAddress(t *testing.T) {
	for _, tt := range []struct{ settings, want string }{
		{"host=10.0.0.1,port=80", "10.0.0.1:80"},
		{"host=fe00::1,port=80", "[fe00::1]:80"},
		{"url=http://h/", "http://h/"},
		{"host=h", "the id"},
		{"script=x", "the id"},
	} {
		settings, err := instanceSettings(tt.settings)
		if err != nil {
			t.Fatal(err)
		}
		one := service("s", registry.Instance{ID: "the id", Settings: settings})
		one.Complete()
		if got := address(&one.Instances[0]); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.settings, got, tt.want)
		}
	}
}

// Instances without a tag are left out, and a service that has none left is as good as none.
func TestWithTags(t *testing.T) {
	tagged := func(tags string) registry.Instance {
		return registry.Instance{ID: tags, Settings: []registry.Setting{{Key: "tags", Value: tags}}}
	}
	for _, tt := range []struct {
		tags []string
		want []string
	}{
		{nil, []string{"a,b", "b", ""}},
		{[]string{"b"}, []string{"a,b", "b"}},
		{[]string{"b", "a"}, []string{"a,b"}},
		{[]string{"c"}, nil},
	} {
		s := service("s", tagged("a,b"), tagged("b"), registry.Instance{})
		any := withTags(s, tt.tags)
		var got []string
		for _, i := range s.Instances {
			got = append(got, i.ID)
		}
		if !slices.Equal(got, tt.want) || any != (len(tt.want) > 0) {
			t.Errorf("%v: got %v, %v, want %v", tt.tags, got, any, tt.want)
		}
	}
}

// The command that an interrupted watch prints watches the same services.
func TestServiceContinuation(t *testing.T) {
	at := []client.GroupPosition{{Group: 1, Position: shardmap.After(raft.LogID{Term: 2, Index: 17})}}
	for _, tt := range []struct {
		of   serviceWatcher
		want string
	}{
		{serviceWatcher{}, "muster service watch --from=g1/2.17"},
		{serviceWatcher{name: "db"}, "muster service watch --from=g1/2.17 db"},
		{serviceWatcher{name: "-db", tags: []string{"a b", "c"}}, "muster service watch --tag='a b' --tag=c --from=g1/2.17 -- -db"},
	} {
		if got := tt.of.continuation(at); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// A watch prints a service when what it shows of it differs from what it printed last, and not
// because its webhook was told of something.
func TestServiceWatchPrintsNews(t *testing.T) {
	a, b := registry.Instance{ID: "a", Status: registry.Up}, registry.Instance{ID: "b", Status: registry.Up}
	down, told, why, out := a, a, a, a
	down.Status, told.Hooked, told.Count, why.Reason, out.Maintenance = registry.Down, 3, 3, "why", true
	set := func(of ...registry.Instance) *client.ServiceEvent {
		return &client.ServiceEvent{Kind: client.WatchSet, Name: "s", Version: 1, Service: service("s", of...)}
	}
	del := &client.ServiceEvent{Kind: client.WatchDel, Name: "s", Version: 2}
	other := set(a)
	other.Name = "t"
	table, rows := newServiceWatcher("", nil, nil), newServiceWatcher("", nil, nil)
	for n, tt := range []struct {
		e         *client.ServiceEvent
		line, row bool
	}{
		{set(a), true, true}, {set(told), false, false}, {other, true, true}, {set(told), false, false},
		{set(down), true, true}, {set(a), true, true}, {set(why), false, true}, {set(out), true, true},
		{set(out, b), true, true}, {del, true, true}, {set(out, b), true, true},
	} {
		if line, row := table.line(tt.e) != "", rows.row(tt.e) != nil; line != tt.line || row != tt.row {
			t.Errorf("event %d is printed: %t in a table, %t as JSON; want %t, %t", n, line, row, tt.line, tt.row)
		}
	}
	if len(table.last) != 2 || len(rows.last) != 2 {
		t.Errorf("%d and %d services are remembered", len(table.last), len(rows.last))
	}
}

// What was not written is named, and the status says that it was not all: neither what was
// written nor what was never tried may pass for the other.
func TestServicesPartlySet(t *testing.T) {
	of := func(service string, err error) error { return fmt.Errorf("set service %q: %w", service, err) } // as the client says it
	refused := func(service string) error { return of(service, wire.BadRequest("definition", "no good", "correct it")) }
	gone := func(service string) error { return of(service, wire.Unavailable("group g1", "no leader")) }
	for _, tt := range []struct {
		name   string
		errs   []error // of the services that were tried
		status exitStatus
		shown  int // rows and the head
		want   []string
	}{
		{"all", []error{nil, nil, nil}, exitDone, 4, nil},
		{"not the second", []error{nil, refused("s1"), nil}, exitPartly, 3, []string{`muster: set service "s1": bad-request: `}},
		{"not from the second on", []error{nil, gone("s1")}, exitPartly, 2, []string{`muster: set service "s1": unavailable: `, `muster: 1 of the services were not tried, from "s2" on`}},
		// The last is what the command ends with.
		{"none", []error{refused("s0"), refused("s1"), refused("s2")}, exitRefused, 0, []string{`muster: set service "s0": bad-request: `, `muster: set service "s1": `}},
		{"none in time", []error{gone("s0")}, exitNoResult, 0, nil},
		{"one is refused, and then none in time", []error{refused("s0"), gone("s1")}, exitNoResult, 0, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			s := &errand{console: &console{out: newOutput(&stdout), err: &stderr}}
			m := serviceSetter{errand: s, services: []registry.Service{*service("s0"), *service("s1"), *service("s2")}, written: make([]client.Written, 3), errs: make([]error, 3)}
			copy(m.errs, tt.errs)
			m.next.Store(int64(len(tt.errs)))
			if len(tt.errs) == 3 {
				m.next.Store(3 + setsInFlight) // each worker looks once more
			}
			err := m.report()
			s.out.Flush()
			if statusOf(err) != tt.status || strings.Count(stdout.String(), "\n") != tt.shown || strings.Count(stderr.String(), "\n") != len(tt.want) {
				t.Errorf("status %d, want %d; %v\n%s%s", statusOf(err), tt.status, err, &stdout, &stderr)
			}
			for _, want := range tt.want {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("it says\n%swant %s", &stderr, want)
				}
			}
		})
	}
}
