package node

import (
	"log/slog"
	"path"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
)

// What a host once was it must stay: others may have its word. One would doubt it
// of a start with other options, and of a directory that lost a part.
func TestOriginIsKept(t *testing.T) {
	disk := vfs.NewMem()
	for _, dir := range []string{"d", path.Join("other", logstore.LogDir)} {
		if err := disk.MkdirAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	start := func(change func(c *Config)) (*enrolment, error) {
		c := Config{Data: "d", Cluster: "prod", Listen: "10.0.0.1:4166", Join: []string{"10.0.0.1:4166", "10.0.0.2:4166"}, Expect: 2, Groups: 8, ValueMax: 1 << 20}
		if change != nil {
			change(&c)
		}
		o := &enrolment{cfg: &c, fs: disk, log: slog.New(slog.DiscardHandler), mark: randomNumber(), addr: "10.0.0.1:4166", notices: new(notices)}
		return o, o.identify()
	}
	first, err := start(nil)
	if err != nil {
		t.Fatal(err)
	}
	id := first.self()
	if id.Node == 0 || id.Life().Number != 1 {
		t.Errorf("got %+v", id)
	}
	if e := first.waits("node n1"); e == nil || !strings.Contains(e.State, "10.0.0.2:4166") {
		t.Errorf("it waits for nobody, or for others: %v", e)
	}
	second, err := start(nil)
	if again := second.self(); err != nil || again.Node != id.Node || again.Life().Number != 2 {
		t.Errorf("started again it is %+v, %v, and was %+v", again, err, id)
	}
	second.giveUp()
	if e := second.waits("node n1"); e != nil {
		t.Errorf("a founding that was given up waits: %v", e)
	}
	for _, c := range []struct {
		what, want string
		change     func(c *Config)
	}{
		{"another cluster's name", "--cluster prod", func(c *Config) { c.Cluster = "test" }},
		{"another host to found with", "it began to found", func(c *Config) { c.Join[1] = "10.0.0.3:4166" }},
		{"no host to found with", "it began to found", func(c *Config) { c.Join = nil }},
	} {
		if _, err := start(c.change); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error that says %s", c.what, err, c.want)
		}
	}
	// A log without the file that says whose it is: a new id would vote again.
	f, err := disk.Create(path.Join("other", logstore.LogDir, "0000000000000001.log"))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := start(func(c *Config) { c.Data = "other" }); err == nil || !strings.Contains(err.Error(), "no identity file") {
		t.Errorf("a log without an identity: got %v", err)
	}
}

// Between two steps of a recovery some replicas of a directory are of before and some of
// after, so its node must not run. Once the plan is done it does.
func TestHalfRecoveredDoesNotStart(t *testing.T) {
	disk := vfs.NewMem()
	if err := disk.MkdirAll("d"); err != nil {
		t.Fatal(err)
	}
	id := logstore.Identity{Stage: logstore.StageMember, Cluster: "prod", ClusterID: 7, Node: 5, Recovery: logstore.Recovery{Plan: 0xabc}}
	for _, done := range []bool{false, true} {
		id.Recovery.Done = done
		if err := logstore.WriteIdentity(disk, "d", id); err != nil {
			t.Fatal(err)
		}
		c := Config{Data: "d", Cluster: "prod", Listen: "10.0.0.1:4166", Groups: 8, ValueMax: 1 << 20}
		o := &enrolment{cfg: &c, fs: disk, log: slog.New(slog.DiscardHandler), mark: randomNumber(), addr: "10.0.0.1:4166", notices: new(notices)}
		err := o.identify()
		if done && err != nil || !done && (err == nil || !strings.Contains(err.Error(), "plan 0000000000000abc was begun here") || !strings.Contains(err.Error(), "muster recover apply PLAN --data d --yes")) {
			t.Errorf("done %v: got %v", done, err)
		}
	}
}
