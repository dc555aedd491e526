package node

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

func fencedIncident(g raft.GroupID, s shardmap.IncidentState) shardmap.Incident {
	return shardmap.Incident{IncidentKey: shardmap.IncidentKey{Group: g, Incarnation: 1, Replica: 2, At: raft.LogID{Term: 3, Index: 9}}, Node: 2,
		Found: shardmap.FoundByComparison, Parts: []shardmap.Part{12, 14}, PartsCount: 2, What: "two slots differ", State: s}
}

// Nobody else knows what a replica has lost, so its node repeats the incident until the table has
// it, however often the message is lost. It sends one at a time, and stops once the table has no
// use for it.
func TestIncidentsAreToldUntilTheTableHasThem(t *testing.T) {
	table := &shardmap.Table{Level: shardmap.Level, Index: 10}
	has := func(i shardmap.Incident, seen bool) {
		made := *table
		i.ID, i.Acknowledged = 5, seen
		made.Index, made.Incidents = table.Index+1, []shardmap.Incident{i}
		table = &made
	}
	var c incidentCore
	turn := func(now time.Duration, want string) {
		t.Helper()
		say, forget, next := c.turn(now, table)
		got := "nothing"
		switch {
		case say != nil:
			got = fmt.Sprintf("tell %s %s", say.Group, say.State)
		case len(forget) > 0:
			got = fmt.Sprintf("forget %s", forget[0].Group)
		case next != never:
			got = fmt.Sprintf("wait %s", next-now)
		}
		if got != want {
			t.Fatalf("at %s: got %s, want %s", now, got, want)
		}
	}
	fenced, rebuilt := fencedIncident(3, shardmap.IncidentFenced), fencedIncident(3, shardmap.IncidentRebuilt)
	if turn(0, "nothing"); c.waits() {
		t.Error("it waits for nothing")
	}
	if !c.found(&fenced) || c.found(&fenced) {
		t.Error("found twice, it is news twice, or never")
	}
	table.Level = shardmap.AuditLevel - 1
	turn(0, "nothing")
	table.Level = shardmap.AuditLevel
	turn(0, "tell g3 fenced")
	turn(0, "nothing") // it is being told
	c.ended(time.Second, &fenced, 0, errors.New("group 0 has no leader"))
	turn(time.Second, "wait 100ms")
	turn(1100*time.Millisecond, "tell g3 fenced")
	c.ended(1100*time.Millisecond, &fenced, 0, wire.Unavailable("group 0", "no majority"))
	turn(1100*time.Millisecond, "wait 200ms")
	turn(2*time.Second, "tell g3 fenced")
	c.ended(2*time.Second, &fenced, table.Index+1, nil)
	turn(2*time.Second, "nothing") // the table here is older
	has(fenced, false)
	turn(2*time.Second, "nothing")

	// It is rebuilt while the first word is still on its way.
	var d incidentCore
	c, table.Incidents = d, nil
	c.found(&fenced)
	turn(0, "tell g3 fenced")
	c.found(&rebuilt)
	c.ended(0, &fenced, 11, nil)
	turn(0, "tell g3 rebuilt")
	c.ended(0, &rebuilt, 12, nil)
	has(fenced, false)
	turn(0, "nothing")
	has(rebuilt, false)
	if turn(0, "nothing"); !c.waits() {
		t.Error("nobody has seen it, and it waits no more")
	}
	has(rebuilt, true)
	turn(0, "forget g3")
	if turn(0, "nothing"); c.waits() {
		t.Error("a person has seen it, and it still waits")
	}

	// Nobody will ever acknowledge what the table has dropped, nor what it refuses.
	table.Incidents = nil
	for _, err := range []error{nil, wire.NotFound("group 3", "it is no group", "none")} {
		c.found(&rebuilt)
		turn(0, "tell g3 rebuilt")
		c.ended(0, &rebuilt, table.Index, err)
		turn(0, "forget g3")
	}
}

// A node that starts anew tells of what it found before, if the table lacks it.
func TestIncidentsOfBefore(t *testing.T) {
	i := fencedIncident(3, shardmap.IncidentFenced)
	table := &shardmap.Table{Level: shardmap.Level, Incidents: []shardmap.Incident{i}}
	var c incidentCore
	c.found(&i)
	if say, _, next := c.turn(0, table); say != nil || next != never {
		t.Errorf("the table has it, and it is told again: %+v", say)
	}
	parts := make([]shardmap.Part, 100)
	long := shardmap.Incident{Parts: parts, What: strings.Repeat("ü", 200)}
	if cutToTable(&long); len(long.Parts) != shardmap.IncidentPartsMax || long.PartsCount != 100 || len(long.What) != shardmap.TableTextMax-1 {
		t.Errorf("cut to %d of %d parts, %d bytes", len(long.Parts), long.PartsCount, len(long.What))
	}
}

// Whatever node a person asks, it says which replica differs, and what to do about it, until
// a person has acknowledged it. The node that has the replica may lead the meta group or not,
// and no node tells of another one's.
func TestStatusTellsOfIncidents(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 3, defaultLimits())
	leads, _ := led(t, nodes, 0)
	for _, has := range []*runningNode{leads, another(nodes, leads)} {
		g := leads.node.table.Load().Groups[0]
		r, _ := g.ReplicaOn(has.node.self().Node)
		i := fencedIncident(g.ID, shardmap.IncidentFenced)
		i.Incarnation, i.Replica, i.Node = g.Incarnation, r.Replica, r.Node
		says := func(what, remedy string, healthy bool) {
			t.Helper()
			for _, n := range nodes {
				until(t, "each node says "+what, func() error {
					a, err := n.status()
					if err != nil {
						return err
					}
					list := a.Problems
					if healthy {
						list = a.Notes
					}
					if !slices.ContainsFunc(list, func(p wire.Problem) bool { return strings.Contains(p.What, what) && strings.Contains(p.Remedy, remedy) }) || a.Healthy != healthy {
						return fmt.Errorf("healthy %t, problems %v, notes %v", a.Healthy, a.Problems, a.Notes)
					}
					return nil
				})
			}
		}
		has.node.incidents.found(i)
		says("on node "+has.node.name, fmt.Sprintf("muster check --group %d", g.ID), false)
		for _, n := range nodes {
			if a, err := n.doctor(); err != nil || len(a.Findings) != 1 || !a.Findings[0].Severe || !strings.Contains(a.Findings[0].What, "on node "+has.node.name) {
				t.Errorf("the doctor finds %+v, %v", a.Findings, err)
			}
		}
		i.State = shardmap.IncidentRebuilt
		has.node.incidents.found(i)
		says("in slot 12, slot 14: two slots differ; it was rebuilt", "muster check --acknowledge", true)

		if _, err := asked(leads.client(), wire.Order{Command: command(t)(shardmap.AppendAcknowledge(nil, &shardmap.Acknowledge{}))}); err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			until(t, "it was acknowledged", func() error {
				if a, err := n.status(); err != nil || !a.Healthy || slices.ContainsFunc(a.Notes, func(p wire.Problem) bool { return strings.Contains(p.What, "two slots") }) {
					return fmt.Errorf("%v: problems %v, notes %v", err, a.Problems, a.Notes)
				}
				return nil
			})
		}
	}
	if n := leads.node.table.Load().IncidentCount; n != 2 {
		t.Errorf("%d incidents were counted, want 2", n)
	}

	table := leads.node.table.Load()
	foreign := table.Incidents[0]
	foreign.Replica++
	other := another(nodes, leads)
	body := &wire.Step{Incarnation: table.Meta.Incarnation, Command: command(t)(shardmap.AppendNoteIncident(nil, &shardmap.NoteIncident{Incident: foreign}))}
	err := other.node.caller.call(t.Context(), leads.node.self().Node, leads.addr, wire.RolePeer, wire.TypeStep, body, new(wire.StepAnswer))
	refused(t, "another node's replica", err, wire.CodeUnauthorized, "tells of a replica on node")
}

// What status says of each kind of incident.
func TestDiffering(t *testing.T) {
	table := &shardmap.Table{Level: shardmap.Level, ClusterID: 1, Nodes: []shardmap.TableNode{{ID: 2, Name: "n2", Addr: "10.0.0.2:4166"}},
		Groups: []shardmap.TableGroup{{ID: 3, Incarnation: 1, Replicas: []shardmap.TableReplica{{Replica: 2, Node: 2}}}}}
	for _, c := range []struct {
		name           string
		change         func(*shardmap.Incident)
		problem, notes string // what is told, with its remedy; empty: nothing
	}{
		{"fenced", func(*shardmap.Incident) {}, "group 3 holds something else on node n2 (10.0.0.2:4166) than on the others, found at g3/3.9, in slot 12, slot 14: two slots differ; it serves nothing until it is rebuilt -> wait: it is rebuilt by itself", ""},
		{"by a walk", func(i *shardmap.Incident) { i.Found = shardmap.FoundByWalk }, "than what was put there", ""},
		{"by a walk, of one part", func(i *shardmap.Incident) {
			i.Found, i.Parts, i.PartsCount, i.What = shardmap.FoundByWalk, i.Parts[:1], 1, "slot 12: the record is wrong"
		}, "in slot 12: the record is wrong; it", ""},
		{"undecided", func(i *shardmap.Incident) { i.Found = shardmap.FoundUndecided }, "nobody can say which of the replicas are right, so this one serves nothing -> muster check --group 3 shows which replicas wait for that; muster check --group 3 --fix --trust NODE decides", ""},
		{"fenced, and seen", func(i *shardmap.Incident) { i.Acknowledged = true }, "it serves nothing until it is rebuilt", ""},
		{"many parts", func(i *shardmap.Incident) { i.PartsCount = 90 }, "in slot 12, slot 14 and 88 more", ""},
		{"no part named", func(i *shardmap.Incident) { i.Parts = nil }, "in 2 parts: ", ""},
		{"rebuilt", func(i *shardmap.Incident) { i.State = shardmap.IncidentRebuilt }, "", "it was rebuilt -> look at the memory of that host"},
		{"rebuilt, and seen", func(i *shardmap.Incident) { i.State, i.Acknowledged = shardmap.IncidentRebuilt, true }, "", ""},
		{"the replica is gone", func(i *shardmap.Incident) { i.Replica = 1 }, "", "the group has that replica no more -> look at the memory"},
		{"the group is gone", func(i *shardmap.Incident) { i.Group = 4 }, "", "the group has that replica no more"},
	} {
		i := fencedIncident(3, shardmap.IncidentFenced)
		c.change(&i)
		table.Incidents = []shardmap.Incident{i}
		problems, notes := Differing(table)
		if p, n := told(problems), told(notes); !strings.Contains(p, c.problem) || !strings.Contains(n, c.notes) || (c.problem == "") != (p == "") || (c.notes == "") != (n == "") {
			t.Errorf("%s: problems %q, notes %q", c.name, p, n)
		}
	}
}

// What outlives the process is told at the next start, and forgotten once a person has seen
// it: else it would be told again at each start.
func TestIncidentsOutliveTheProcess(t *testing.T) {
	c := testConfig(t)
	r := start(t, c, defaultLimits())
	r.serves()
	r.stop()
	noteFences(t, c.Data, logstore.Fence{Found: logstore.FenceByWalk, Rebuilt: true}, 1)
	r = start(t, c, defaultLimits())
	r.serves()
	until(t, "status tells of it", func() error {
		a, err := r.status()
		if err == nil && !slices.ContainsFunc(a.Notes, func(p wire.Problem) bool { return strings.Contains(p.What, "two slots differ") }) {
			err = fmt.Errorf("notes %v", a.Notes)
		}
		return err
	})
	if _, err := asked(r.client(), wire.Order{Command: command(t)(shardmap.AppendAcknowledge(nil, &shardmap.Acknowledge{ID: r.node.table.Load().Incidents[0].ID}))}); err != nil {
		t.Fatal(err)
	}
	until(t, "a person has seen it", func() error {
		if all := (&hostIncidents{r.node, r.node.running()}).incidents(); len(all) > 0 {
			return fmt.Errorf("it is kept: %+v", all)
		}
		return nil
	})
}

// noteFences notes in the directory of a node that its replicas of some groups are as f says, and keeps
// what they hold aside, in files that it names.
func noteFences(t *testing.T, dir string, f logstore.Fence, groups ...raft.GroupID) (aside []string) {
	t.Helper()
	s, err := logstore.Open(logstore.Options{FS: vfs.OS{}, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	f.At, f.Parts, f.What = raft.LogID{Term: 1, Index: 2}, []uint32{12, 77}, "two slots differ"
	for _, r := range s.Replicas() {
		if !slices.Contains(groups, r.Group) {
			continue
		}
		f.Replica = r
		if err := s.WriteFence(f); err != nil {
			t.Fatal(err)
		}
		file, err := s.KeepAside(r, f.At, func(w io.Writer) error { _, err := io.WriteString(w, "wrong"); return err })
		if err != nil {
			t.Fatal(err)
		}
		aside = append(aside, file)
	}
	if err := s.Close(); err != nil || len(aside) != len(groups) {
		t.Fatalf("%d of %d groups are in %s, %v", len(aside), len(groups), dir, err)
	}
	return aside
}
