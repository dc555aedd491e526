package node

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/repl/wire"
	"muster/shardmap"
)

// standbyConfig is a host that waits to be added to a cluster.
func standbyConfig(t testing.TB) Config {
	c := testConfig(t)
	c.Standby = true
	return c
}

// added asks a member to add hosts, and returns what became of each.
func (r *runningNode) added(hosts ...string) []wire.AddedNode {
	r.t.Helper()
	s := r.client()
	defer s.Close()
	_, body, err := s.ask(wire.TypeAddNodes, 0, (&wire.AddNodes{Hosts: hosts}).Append(nil))
	var a wire.AddNodesAnswer
	if err == nil {
		err = a.Read(body)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return a.Rows
}

// isMember waits until a host is a member that knows the table.
func (r *runningNode) isMember() {
	r.t.Helper()
	until(r.t, "the host is a member", func() error {
		if t := r.node.table.Load(); t == nil || !r.node.announcer.announced() {
			return fmt.Errorf("stage %s, not announced", r.node.self().Stage)
		}
		return nil
	})
}

// refusesItself checks what a host says of itself to whoever asks it.
func (r *runningNode) refusesItself(want ...string) {
	r.t.Helper()
	s := r.client()
	defer s.Close()
	_, _, err := s.ask(wire.TypeStatus, 0, new(wire.Empty).Append(nil))
	refused(r.t, "status of the host", err, wire.CodeNotReady, want...)
}

// A host that waits is added by one command at a member, and by the same command again
// nothing more happens. It has the table then, serves, and is the same node after another
// start with the same options.
func TestStandbyIsAdded(t *testing.T) {
	first := serving(t, defaultLimits())
	c := standbyConfig(t)
	c.Labels = []shardmap.Label{{Key: "zone", Value: "b"}}
	host := start(t, c, defaultLimits())
	host.refusesItself("a standby", "muster node add "+host.addr)

	rows := first.added(host.addr)
	if len(rows) != 1 || rows[0].Node != host.node.self().Node || rows[0].State == 0 || rows[0].Why.Code != 0 {
		t.Fatalf("added: %+v", rows)
	}
	host.isMember()
	row, _ := first.node.table.Load().Node(host.node.self().Node)
	if row.Addr != host.addr || row.Role != shardmap.NodeServer || len(row.Labels) != 1 || row.Labels[0].Value != "b" {
		t.Errorf("its row is %+v", row)
	}
	s := host.client()
	until(t, "keys are written through the new node", func() error { _, err := writeWith(s, wire.FlagForward, setCommand("k", "v")); return err })
	s.Close()

	if again := first.added(host.addr); again[0].State != wire.JoinMember || again[0].Node != row.ID || again[0].Name != row.Name {
		t.Errorf("added again: %+v", again)
	}
	if all := first.node.table.Load().Nodes; len(all) != 2 {
		t.Errorf("after it was added again the list is %+v", all)
	}
	host.stop()
	c.Listen = host.addr // and --standby is ignored
	host = start(t, c, defaultLimits())
	host.isMember()
	if id := host.node.self(); id.Node != row.ID || id.Stage != logstore.StageMember || id.Meta.ID == 0 {
		t.Errorf("started again it is %+v, was node %s", id, row.ID)
	}
}

// A host with the addresses of members asks them itself, and none of the three that come
// at once under one host name is in the way of another.
func TestHostsJoinByThemselves(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 2, defaultLimits())
	var hosts []*runningNode
	for i := range 3 {
		c := testConfig(t)
		c.Join = []string{nodes[0].addr, nodes[1].addr}
		if i == 2 {
			c.Role = shardmap.NodeClient
		}
		h := start(t, c, defaultLimits())
		hosts = append(hosts, h)
	}
	for _, h := range hosts {
		h.isMember()
	}
	if row, _ := nodes[0].node.table.Load().Node(hosts[2].node.self().Node); row.Role != shardmap.NodeClient {
		t.Errorf("the client node is a %s", row.Role)
	}
}

// The secret of the cluster is asked of a host that joins, and of the members that it
// asks: one with another secret is no cluster to be taken into.
func TestHostsJoinWithASecret(t *testing.T) {
	secret := secretFile(t, "a secret of sixteen bytes", 0o600)
	c := testConfig(t)
	c.SecretFile = secret
	first := start(t, c, defaultLimits())
	until(t, "the first node is announced", func() error {
		if first.node.running() == nil || !first.node.announcer.announced() {
			return errors.New("not yet")
		}
		return nil
	})
	hosts := make(map[string]*runningNode)
	for _, file := range []string{secret, secretFile(t, "another secret, as long", 0o600), ""} {
		c := standbyConfig(t)
		c.SecretFile, c.Join = file, []string{first.addr}
		hosts[file] = start(t, c, defaultLimits())
	}
	hosts[secret].isMember()
	for file, h := range hosts {
		if file == secret {
			continue
		}
		until(t, "the others say what keeps them out", func() error {
			e := h.node.notReady()
			if !strings.Contains(e.Error(), "--secret-file") || !strings.Contains(e.State, first.addr) {
				return e
			}
			return nil
		})
		if id := h.node.self(); id.Stage != logstore.StageStandby {
			t.Errorf("with the secret of %q the host is %s", file, id.Stage)
		}
	}
}

// Of two hosts that ask at once for one name, which both were given, one gets it. The
// other waits, says why, and comes in when it has another.
func TestTwoJoinersWithOneName(t *testing.T) {
	t.Parallel()
	first := serving(t, defaultLimits())
	var hosts []*runningNode
	var configs []Config
	for range 2 {
		c := standbyConfig(t)
		c.Name, c.Join = "twin", []string{first.addr}
		configs = append(configs, c)
		hosts = append(hosts, start(t, c, defaultLimits()))
	}
	until(t, "one of them is a member", func() error {
		for _, h := range hosts {
			if h.node.running() != nil {
				return nil
			}
		}
		return errors.New("none is")
	})
	loser := 0
	if hosts[0].node.running() != nil {
		loser = 1
	}
	until(t, "the other one says why it waits", func() error {
		s := hosts[loser].client()
		defer s.Close()
		_, _, err := s.ask(wire.TypeStatus, 0, new(wire.Empty).Append(nil))
		if err == nil || !strings.Contains(err.Error(), "has the name twin") || !strings.Contains(err.Error(), "muster node remove") {
			return fmt.Errorf("it says %v", err)
		}
		return nil
	})
	until(t, "who adds it is told, too", func() error {
		if rows := first.added(hosts[loser].addr); rows[0].State != 0 || rows[0].Why.Code != wire.CodeConflict || !strings.Contains(rows[0].Why.Error(), "has the name twin") {
			return fmt.Errorf("added: %+v", rows)
		}
		return nil
	})
	hosts[loser].stop()
	c := configs[loser]
	c.Listen, c.Name, c.Join = hosts[loser].addr, "other", nil // it remembers whom to ask
	was := hosts[loser].node.self().Node
	hosts[loser] = start(t, c, defaultLimits())
	hosts[loser].isMember()
	if id := hosts[loser].node.self().Node; id != was {
		t.Errorf("it is node %s, was node %s", id, was)
	}
}

// Each host that can't be taken in is refused in one line with what was found and what to
// do, and nothing is changed: not the table, and not what the host is.
func TestHostsThatAreRefused(t *testing.T) {
	first := serving(t, defaultLimits())
	other := serving(t, defaultLimits())
	wait := standbyConfig(t)
	wait.Name = first.node.name
	standby := start(t, wait, defaultLimits())
	addrs := freeAddrs(t, 2)
	founds := testConfig(t)
	founds.Listen, founds.Join, founds.Expect = addrs[0], addrs, 2
	founding := start(t, founds, defaultLimits())
	low := defaultLimits()
	low.level = shardmap.Level - 1
	older := start(t, standbyConfig(t), low)
	named := standbyConfig(t)
	named.Cluster = "elsewhere"
	elsewhere := start(t, named, defaultLimits())
	secret := standbyConfig(t)
	secret.SecretFile = secretFile(t, "a secret of sixteen bytes", 0o600)
	secretive := start(t, secret, defaultLimits())
	moved := standbyConfig(t)
	moved.Advertise = freeAddrs(t, 1)[0]
	advertises := start(t, moved, defaultLimits())

	index := first.node.table.Load().Index
	for _, test := range []struct {
		name string
		addr string
		host *runningNode // nil: none runs there
		code wire.Code
		says []string
	}{
		{"a member of another cluster", other.addr, other, wire.CodeWrongCluster, []string{"cluster id", "check the address"}},
		{"a host that founds", founding.addr, founding, wire.CodeConflict, []string{"founds a cluster", "--standby"}},
		{"nobody there", addrs[1], nil, wire.CodeUnavailable, []string{"refused", "muster serve --standby"}},
		{"another cluster's name", elsewhere.addr, elsewhere, wire.CodeWrongCluster, []string{`"elsewhere"`, "--cluster"}},
		{"a secret there, and none here", secretive.addr, secretive, wire.CodeUnauthorized, []string{"--secret-file"}},
		{"an older muster", older.addr, older, wire.CodeLevel, []string{"newer muster"}},
		{"another address than it says", advertises.addr, advertises, wire.CodeUnknownNode, []string{moved.Advertise, "--advertise"}},
		{"no address", "standby", nil, wire.CodeBadRequest, []string{"HOST:PORT"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var was logstore.Identity
			if test.host != nil {
				was = test.host.node.self()
			}
			row := first.added(test.addr)[0]
			refused(t, "add", &row.Why, test.code, test.says...)
			if row.State != 0 || row.Addr != test.addr {
				t.Errorf("its row is %+v", row)
			}
			if test.host != nil && fmt.Sprint(test.host.node.self()) != fmt.Sprint(was) {
				t.Errorf("it was %+v, and is %+v", was, test.host.node.self())
			}
		})
	}

	t.Run("invited by two clusters", func(t *testing.T) {
		// The first has a node of its name, so it stays on its way into that.
		until(t, "the first one refuses it", func() error {
			row := first.added(standby.addr)[0]
			if row.State != 0 {
				return fmt.Errorf("it is %s", row.State) // it has not asked yet: the machine is busy
			}
			refused(t, "add", &row.Why, wire.CodeConflict, "has the name", "muster node remove")
			return nil
		})
		row := other.added(standby.addr)[0]
		refused(t, "add", &row.Why, wire.CodeWrongCluster, "joins another cluster already", "empty data directory")
		// It asks again all the time, and says the reason when it has heard it anew.
		until(t, "the host says why it is not taken in", func() error {
			s := standby.client()
			defer s.Close()
			_, _, err := s.ask(wire.TypeStatus, 0, new(wire.Empty).Append(nil))
			if err == nil || !strings.Contains(err.Error(), "has the name") {
				return fmt.Errorf("it says %v", err)
			}
			refused(t, "status of the host", err, wire.CodeNotReady, "it joins cluster id", "has the name")
			return nil
		})
	})
	t.Run("not reached back", func(t *testing.T) {
		if wrong := joinsFrom(first, freeAddrs(t, 1)[0]); wrong != "" {
			t.Error(wrong)
		}
	})
	if now := first.node.table.Load().Index; now != index {
		t.Errorf("the table has changed: index %d, then %d", index, now)
	}
}

// joinsFrom asks a node to take in a host at an address where nobody answers, and returns
// what is wrong with the answer.
func joinsFrom(r *runningNode, addr string) string {
	id := r.node.self()
	s, err := dial(r.t, r.addr, wire.DialConfig{Purpose: wire.PurposePeer, Role: wire.RoleJoining, Cluster: id.Cluster, Node: 77, Start: 1, Advertise: addr, Level: shardmap.Level})
	if err != nil {
		return err.Error()
	}
	defer s.Close()
	q := wire.Join{Node: 77, Name: "far", Addr: addr, Role: shardmap.NodeServer, Version: Version, Start: 1, Level: shardmap.Level}
	_, _, err = s.ask(wire.TypeJoin, 0, q.Append(nil))
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != wire.CodeUnavailable || !strings.Contains(e.Error(), "--advertise") || !strings.Contains(e.Error(), addr) {
		return fmt.Sprintf("a host that can't be dialled back is answered %v", err)
	}
	if _, known := r.node.table.Load().Node(77); known {
		return "a host that can't be dialled back is on the list"
	}
	return ""
}

// A host whose directory was emptied is another node, and must not take the place of the
// old one while that is on the list: it may be the last copy that was moved away.
func TestEmptiedDirectory(t *testing.T) {
	first := serving(t, defaultLimits())
	c := standbyConfig(t)
	host := start(t, c, defaultLimits())
	first.added(host.addr)
	host.isMember()
	was := host.node.self().Node
	host.stop()
	c.Listen, c.Data = host.addr, t.TempDir()
	host = start(t, c, defaultLimits())
	row := first.added(host.addr)[0]
	refused(t, "add", &row.Why, wire.CodeConflict, was.String(), "muster node remove "+was.String()+" --force")
	if id := host.node.self(); id.Stage != logstore.StageStandby || row.State != 0 {
		t.Errorf("the host is %s, its row %+v", id.Stage, row)
	}
}

// Options that lead another way than the directory has begun to go are refused, or
// ignored where a member has no more use for them.
func TestDirectoryGoesItsWay(t *testing.T) {
	addrs := freeAddrs(t, 2)
	standby, founds := standbyConfig(t), testConfig(t)
	founds.Join, founds.Expect = addrs, 2
	for _, test := range []struct {
		name  string
		stage logstore.Stage
		start Config
		says  string // empty: it starts
	}{
		{"a standby is to found a cluster", logstore.StageStandby, founds, "start it with --standby"},
		{"a host that joins is to found a cluster", logstore.StageJoining, founds, "start it with --standby"},
		{"a standby is started again", logstore.StageStandby, standby, ""},
		{"a host that founds is to wait", logstore.StageFounding, standby, "it began to found a cluster with"},
		{"a removed node", logstore.StageRemoved, testConfig(t), "empty data directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := test.start
			c.Listen, c.Data = addrs[0], t.TempDir()
			id := logstore.Identity{Stage: test.stage, Cluster: c.Cluster, Node: 7}
			switch test.stage {
			case logstore.StageJoining:
				id.ClusterID, id.Members = 9, []logstore.IdentityMember{{Node: 8, Addr: addrs[1]}}
			case logstore.StageFounding:
				for _, a := range addrs {
					id.Members = append(id.Members, logstore.IdentityMember{Addr: a})
				}
			}
			if err := logstore.WriteIdentity(vfs.OS{}, c.Data, id); err != nil {
				t.Fatal(err)
			}
			e := enrolment{cfg: &c, fs: vfs.OS{}, log: slog.New(slog.DiscardHandler), mark: 1, addr: c.Listen, name: "n", level: shardmap.Level}
			err := e.identify()
			if test.says == "" {
				if err != nil || e.joining == nil || e.self().Node != 7 {
					t.Errorf("got %v, node %s", err, e.self().Node)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, test.says)
			}
			if now, _, err := logstore.ReadIdentity(vfs.OS{}, c.Data); err != nil || fmt.Sprint(now) != fmt.Sprint(id) {
				t.Errorf("the identity is %+v, was %+v (%v)", now, id, err)
			}
		})
	}
}

// A cluster with a member of an older muster takes nobody in: that member could not read
// the list. The refusal names the node where a newer muster must be started.
func TestAddBelowItsLevel(t *testing.T) {
	older := defaultLimits()
	older.level = 2
	first := serving(t, older)
	host := start(t, standbyConfig(t), defaultLimits())
	row := first.added(host.addr)[0]
	refused(t, "add", &row.Why, wire.CodeLevel, "level 3", "start the newer muster on", first.node.name)
	if id := host.node.self(); id.Stage != logstore.StageStandby {
		t.Errorf("the host is %s", id.Stage)
	}
}
