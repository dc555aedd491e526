package overview

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// A remedy must be of use. What is damaged without a copy does not come back by
// waiting, nor a group whose nodes all run by starting them: the node knows what
// came of its questions, and the doctor says what it says.
func TestDoctorRemedies(t *testing.T) {
	damaged := func(d wire.DoctorDamaged) func(*Patient) {
		d.Group, d.What, d.File = 3, "lost entries 5 to 7", "log/1.log"
		return func(p *Patient) { p.answers[2].Damaged = []wire.DoctorDamaged{d} }
	}
	for _, tt := range []struct {
		name       string
		harm       func(p *Patient)
		what, want string // of the remedy
	}{
		{"no copy", damaged(wire.DoctorDamaged{Remedy: "not mended: n1 and n3 have answered, and have no copy"}), "damaged on n2", "have no copy"},
		{"promises", damaged(wire.DoctorDamaged{Promises: true}), "damaged on n2", "keep its data directory"},
		{"not said", damaged(wire.DoctorDamaged{}), "damaged on n2", "by itself"},
		{"a majority damaged", func(p *Patient) { p.answers[1].Groups, p.answers[3].Groups = nil, nil }, "no live majority", "there is none to start"},
		{"a majority silent", func(p *Patient) {
			for _, id := range []raft.NodeID{1, 3} {
				delete(p.answers, id)
				p.silent[id] = os.ErrDeadlineExceeded
			}
		}, "no live majority", "start the nodes again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := well()
			tt.harm(p)
			found := p.Diagnose()
			if !slices.ContainsFunc(found, func(f Finding) bool {
				return strings.Contains(f.What, tt.what) && strings.Contains(f.Remedy, tt.want)
			}) {
				t.Errorf("got %+v, want %q with remedy %q", found, tt.what, tt.want)
			}
		})
	}
}

// says tells whether a finding of the severity has all of these words.
func says(found []Finding, severity string, words ...string) bool {
	return slices.ContainsFunc(found, func(f Finding) bool {
		for _, w := range words {
			if !strings.Contains(f.What, w) {
				return false
			}
		}
		return f.Severity == severity && f.Remedy != ""
	})
}

// Each thing that can be wrong must be found when it is there, with the right
// severity, and each is drawn here alone: a patient that is well but for that.
func TestDoctorFindings(t *testing.T) {
	for _, tt := range []struct {
		name     string
		harm     func(p *Patient)
		severity string // empty: nothing is found
		want     string
	}{
		{"well", func(*Patient) {}, "", ""},
		{"a service of which nothing is up", func(p *Patient) {
			p.answers[2].Notes = []wire.Problem{{What: `nothing of service "db" is up`, Remedy: "see muster service get db"}}
		}, SeverityWarning, `service "db"`},
		{"no answer", func(p *Patient) {
			delete(p.answers, 2)
			p.silent[2] = os.ErrDeadlineExceeded
			for _, id := range []raft.NodeID{1, 3} {
				p.answers[id].Links[linkTo(p, id, 2)].HeardMs = 5000
			}
		}, SeverityError, "node n2 (10.0.0.2:4166) can't be asked"},
		{"nothing listens", func(p *Patient) {
			delete(p.answers, 2)
			p.silent[2] = &client.ErrNoEndpoint{Endpoints: []string{"10.0.0.2:4166"}, Causes: []error{syscall.ECONNREFUSED}}
			for _, id := range []raft.NodeID{1, 3} {
				p.answers[id].Links[linkTo(p, id, 2)].HeardMs = 5000
			}
		}, SeverityError, "node n2 (10.0.0.2:4166) can't be asked: it accepts no connection at 10.0.0.2:4166 (connection refused)"},
		{"no answer to this host alone", func(p *Patient) { delete(p.answers, 2); p.silent[2] = os.ErrDeadlineExceeded }, SeverityWarning, "but n1, n3 can reach it"},
		{"two that do not let the asker in", func(p *Patient) {
			for _, id := range []raft.NodeID{2, 3} {
				delete(p.answers, id)
				p.Outside(id, wire.Unauthorized("user ann", "not known here", "log in"))
			}
		}, SeverityWarning, "node n3 (10.0.0.3:4166) can't be asked from here, but n1 can reach it"},
		{"cut both ways", func(p *Patient) {
			p.answers[1].Links[0] = wire.DoctorLink{To: 2, Why: "no route"}
			p.answers[2].Links[0] = wire.DoctorLink{To: 1, Why: "no route"}
		}, SeverityError, "n1 does not reach n2 (no route)"},
		{"cut one way", func(p *Patient) { p.answers[1].Links[0].Connected = false }, SeverityError, "though n2 reaches n1: it is cut one way"},
		{"a ping that waits", func(p *Patient) { p.answers[3].Links[1].PingMs = 3000 }, SeverityError, "n3 does not reach n2 (a ping has waited for 3s)"},
		{"unheard", func(p *Patient) { p.answers[3].Links[1].HeardMs = 4000 }, SeverityError, "n3 has not heard n2 for 4s"},
		{"just started", func(p *Patient) { p.answers[3].Links[1].Connected = false; p.answers[3].UptimeMs = 300 }, "", ""},
		{"slow", func(p *Patient) { p.answers[1].Links[0].RTTMicros = 150_000 }, SeverityWarning, "n1 to n2 and back takes 150ms"},
		{"an older self", func(p *Patient) { p.answers[1].Links[0].Start = 9 }, SeverityError, "n2 runs with start counter 4, and n1 has seen 9"},
		{"full", func(p *Patient) { p.answers[1].Disk.Full = true }, SeverityError, "the disk of /data on n1 is full"},
		{"nearly full", func(p *Patient) { p.answers[1].Disk.Free = 1 << 20 }, SeverityWarning, "the disk of /data on n1 has 1 MiB free"},
		{"stuck", func(p *Patient) { p.answers[1].Syncs.UnderWayMs = 700 }, SeverityError, "has waited for 700ms"},
		{"slow disk", func(p *Patient) { p.answers[1].Syncs.P99 = 250_000 }, SeverityWarning, "takes 250ms or longer"},
		{"versions", func(p *Patient) { p.answers[3].Version = "0.2.0" }, SeverityWarning, "0.1.0 on n1, n2; 0.2.0 on n3"},
		{"no leader", func(p *Patient) { p.answers[1].Groups[0].Role = raft.RoleFollower }, SeverityError, "no leader in group 3"},
		{"two leaders", func(p *Patient) { p.answers[2].Groups[0].Role = raft.RoleLeader }, SeverityError, "group 3 has two leaders in term 7: n1 and n2"},
		{"a leader that was", func(p *Patient) {
			p.answers[2].Groups[0].Role = raft.RoleLeader
			p.answers[2].Groups[0].Term = 6
		}, "", ""},
		{"stopped", func(p *Patient) { p.answers[2].Groups[0].Stopped = "broken" }, SeverityError, "group 3 has stopped on n2: broken"},
		{"damaged", func(p *Patient) {
			p.answers[2].Damaged = []wire.DoctorDamaged{{Group: 3, What: "lost entries 5 to 7", File: "log/1.log", Offset: 512, Record: "batch 2", Reason: "bad"}}
		}, SeverityError, "group 3 is damaged on n2: lost entries 5 to 7 (log/1.log at offset 512: batch 2: bad)"},
		{"damaged, the place is told", func(p *Patient) {
			p.answers[2].Damaged = []wire.DoctorDamaged{{Group: 3, What: "log/1.log is damaged at offset 512: batch 2: bad", File: "log/1.log", Offset: 512, Record: "batch 2", Reason: "bad"}}
		}, SeverityError, "group 3 is damaged on n2: log/1.log is damaged at offset 512: batch 2: bad"},
		{"a clock ahead", clock(2, 3*time.Second), SeverityWarning, "the clock of n2 is 3s ahead of those of most nodes"},
		{"a clock behind", clock(3, -90*time.Second), SeverityWarning, "the clock of n3 is 1m30s behind those of most nodes"},
		{"a clock within the limit", clock(2, clockMax), "", ""},
		{"a clock, the answer took too long to tell", func(p *Patient) { p.readings[2] = clockReading{2, "n2", 3 * time.Second, 2100 * time.Millisecond} }, "", ""},
		{"this host's clock", func(p *Patient) {
			for id := range p.readings {
				clock(id, -5*time.Second)(p)
			}
		}, SeverityWarning, "the clock of this host is 5s ahead of those of most nodes"},
		{"this host's clock, of one node", func(p *Patient) {
			p.readings = nil
			clock(1, 5*time.Second)(p)
		}, SeverityWarning, "the clock of this host is 5s behind that of n1"},
		{"two clocks", func(p *Patient) {
			delete(p.readings, 3)
			clock(2, 9*time.Second)(p)
		}, SeverityWarning, "the clocks of n1 and n2 are 9s apart"},
		{"nodes that don't tell their clocks", func(p *Patient) { p.readings = nil }, "", ""},
		{"a stuck job", func(p *Patient) {
			p.answers[1].Stuck = []wire.DoctorJob{{ID: 12, StoodMs: 600_000, Name: "job 12 (drain n3)", Why: "it waits", Remedy: "muster job show 12"}}
			p.answers[2].Stuck = []wire.DoctorJob{{ID: 12, StoodMs: 660_000, Name: "job 12 (drain n3)", Why: "it waits", Remedy: "muster job show 12"}}
		}, SeverityError, "job 12 (drain n3) is stuck: for 11m0s it waits"},
		{"what all nodes find", func(p *Patient) {
			for _, a := range p.answers {
				a.Findings = []wire.DoctorFinding{{Severe: true, What: "incident 5: group 3 holds something else", Remedy: "wait"}}
			}
		}, SeverityError, "incident 5: group 3 holds something else"},
		{"what one node finds", func(p *Patient) {
			p.answers[2].Findings = []wire.DoctorFinding{{What: "n2 has 9000 connections of clients", Remedy: "close some"}}
		}, SeverityWarning, "n2 has 9000 connections of clients"},
		{"no majority", func(p *Patient) { p.answers[1].Groups, p.answers[3].Groups = nil, nil }, SeverityError, "no live majority of voters in group 3"},
		{"no majority, and silence", func(p *Patient) {
			for _, id := range []raft.NodeID{1, 3} {
				delete(p.answers, id)
				p.silent[id] = os.ErrDeadlineExceeded
			}
		}, SeverityError, "no live majority of voters in group 3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := well()
			tt.harm(p)
			found := p.Diagnose()
			if says(found, SeverityError) != (tt.severity == SeverityError) || (tt.severity == "") != (len(found) == 0) {
				t.Errorf("got %+v", found)
			}
			if tt.severity != "" && !says(found, tt.severity, tt.want) {
				t.Errorf("got %+v, want %s %q", found, tt.severity, tt.want)
			}
			for _, f := range found {
				// What a finding rests on is what others say: no reason to destroy anything.
				if strings.Contains(f.Remedy, "empty its") {
					t.Errorf("the remedy of %q would cost what is left: %s", f.What, f.Remedy)
				}
			}
		})
	}
}

// A stuck job of which several nodes tell is one finding, though each has seen it for a time of its own.
func TestDoctorTellsOnce(t *testing.T) {
	p := well()
	for id, a := range p.answers {
		a.Stuck = []wire.DoctorJob{{ID: 12, StoodMs: 600_000 + 1000*uint64(id), Name: "job 12 (drain n3)", Why: "it waits", Remedy: "muster job show 12"}}
		a.Findings = []wire.DoctorFinding{{What: "there are fewer groups (1) than servers (3)", Remedy: "muster group create"}}
	}
	found := p.Diagnose()
	want := []Finding{
		{SeverityError, "job 12 (drain n3) is stuck: for 10m3s it waits", "muster job show 12"},
		{SeverityWarning, "there are fewer groups (1) than servers (3)", "muster group create"},
	}
	if !slices.Equal(found, want) {
		t.Errorf("got %+v, want %+v", found, want)
	}
}

// clock sets the clock of a node.
func clock(id raft.NodeID, ahead time.Duration) func(*Patient) {
	return func(p *Patient) {
		if p.readings == nil {
			p.readings = map[raft.NodeID]clockReading{}
		}
		p.readings[id] = clockReading{id, p.name(id), ahead, time.Millisecond}
	}
}

// A clock's reading is compared with the middle of the round trip.
func TestClockReading(t *testing.T) {
	asked := time.UnixMilli(1_700_000_000_000)
	r, ok := readingOf(2, "n2", &wire.DoctorAnswer{WallMicros: uint64(asked.Add(2300 * time.Millisecond).UnixMicro())}, asked, asked.Add(600*time.Millisecond))
	if want := (clockReading{2, "n2", 2 * time.Second, 300 * time.Millisecond}); !ok || r != want {
		t.Errorf("got %+v, %t, want %+v", r, ok, want)
	}
	if _, ok := readingOf(2, "n2", &wire.DoctorAnswer{}, asked, asked); ok {
		t.Error("a node of before level 7 has a clock")
	}
}

func linkTo(p *Patient, from, to raft.NodeID) int {
	return slices.IndexFunc(p.answers[from].Links, func(l wire.DoctorLink) bool { return l.To == to })
}

// well is a cluster of three nodes with one group, of which n1 leads.
func well() *Patient {
	status := &wire.StatusAnswer{}
	g := wire.StatusGroup{ID: 3}
	var voters []wire.DoctorVoter
	for id := raft.NodeID(1); id <= 3; id++ {
		status.Nodes = append(status.Nodes, wire.StatusNode{ID: id, Name: fmt.Sprintf("n%d", id), Addr: fmt.Sprintf("10.0.0.%d:4166", id)})
		g.Replicas = append(g.Replicas, wire.StatusReplica{ID: raft.ReplicaID(id), Node: id, Role: shardmap.ReplicaVoter})
		voters = append(voters, wire.DoctorVoter{Replica: raft.ReplicaID(id), Node: id})
	}
	status.Groups = []wire.StatusGroup{g}
	p := NewPatient(status)
	for id := raft.NodeID(1); id <= 3; id++ {
		a := &wire.DoctorAnswer{Node: id, Version: "0.1.0", Start: 4, UptimeMs: 60_000,
			Syncs: wire.DoctorSyncs{Count: 10, P50: 200, P99: 900, Max: 1000}, Disk: wire.DoctorDisk{Dir: "/data", Free: 10 << 30}}
		role := raft.RoleFollower
		if id == 1 {
			role = raft.RoleLeader
		}
		a.Groups = []wire.DoctorGroup{{ID: 3, Incarnation: 2, Replica: raft.ReplicaID(id), Role: role, Leader: 1, Term: 7, Last: raft.LogID{Term: 7, Index: 9}, Voters: voters}}
		for to := raft.NodeID(1); to <= 3; to++ {
			if to != id {
				a.Links = append(a.Links, wire.DoctorLink{To: to, Connected: true, RTTMicros: 100, Heard: true, HeardMs: 50, Start: 4})
			}
		}
		p.answers[id] = a
		p.readings[id] = clockReading{id, p.name(id), 0, time.Millisecond}
	}
	return p
}
