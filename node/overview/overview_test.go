package overview

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// start is when the first sample of these tests is taken.
var start = time.UnixMilli(1_800_000_000_000)

// sample is what a cluster of three nodes says of itself that is well, at a second after start. n1
// leads both groups.
func sample(second int) *Sample {
	p := well()
	s := &Sample{At: start.Add(time.Duration(second) * time.Second), Known: p.nodes, Answers: map[raft.NodeID]*Answer{}}
	for i := range s.Known {
		s.Known[i].Status, s.Known[i].Start = wire.NodeAlive, 4
	}
	s.Table = &shardmap.Table{Cluster: "c", ClusterID: 7}
	for _, n := range s.Known {
		status := &wire.StatusAnswer{Cluster: "c", ClusterID: 7, Self: n.ID, Healthy: true, Nodes: slices.Clone(s.Known), Level: 9,
			Log: wire.LogStats{Bytes: uint64(1000 * second), Syncs: uint64(10 * second)}, CPUMicros: uint64(50_000 * second)}
		for id := raft.GroupID(0); id < 4; id += 3 {
			g := wire.StatusGroup{ID: id, Leader: 1, Term: 7, Commit: raft.LogID{Term: 7, Index: 100}, Slots: 4096 * uint32(id) / 3}
			for r := raft.ReplicaID(1); r <= 3; r++ {
				x := wire.StatusReplica{ID: r, Node: raft.NodeID(r), Role: shardmap.ReplicaVoter}
				if n.ID == 1 {
					x.State, x.Match = wire.ReplicaReplicates, 100-uint64(r-1)
				}
				g.Replicas = append(g.Replicas, x)
			}
			if n.ID == 1 {
				g.Replicas[0].State = wire.ReplicaLeads
			}
			status.Groups = append(status.Groups, g)
		}
		d := p.answers[n.ID]
		meta := d.Groups[0]
		meta.ID = 0
		d.Groups = append(d.Groups, meta)
		s.Answers[n.ID] = &Answer{Status: status, Doctor: d, Asked: s.At, Answered: s.At,
			Counters: &wire.CountersAnswer{Rows: []wire.CounterRow{{Name: "Write", In: uint64(100 * second), BytesIn: uint64(5000 * second)}, {Name: "Append", Out: 9, BytesOut: uint64(700 * second)}}}}
	}
	return s
}

// problem adds one to what a node says.
func problem(s *Sample, id raft.NodeID, what, remedy string) {
	a := s.Answers[id].Status
	a.Healthy, a.Problems = false, append(a.Problems, wire.Problem{What: what, Remedy: remedy})
}

// dead makes a node dead: it gives no answer, and all others have noticed.
func dead(s *Sample, id raft.NodeID) {
	s.Answers[id] = &Answer{Err: os.ErrDeadlineExceeded}
	name := fmt.Sprintf("n%d", id)
	for _, a := range s.Answers {
		if a.Status == nil {
			continue
		}
		for i := range a.Status.Nodes {
			if a.Status.Nodes[i].ID == id {
				a.Status.Nodes[i].Status = wire.NodeDead
			}
		}
		for i := range a.Doctor.Links {
			if a.Doctor.Links[i].To == id {
				a.Doctor.Links[i] = wire.DoctorLink{To: id, Why: "connection refused"}
			}
		}
		problem(s, a.Status.Self, fmt.Sprintf("node %s (10.0.0.%d:4166) is dead, last heard of %ds ago: nothing listens at its address", name, id, a.Status.Self), RemedyStart)
	}
}

// Each thing that can be wrong, alone and beside others, must give the verdict that a person would,
// named by its cause, with what to do. And whatever is wrong, the verdict is "error" exactly if a
// status says so or the doctor does.
func TestVerdicts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		harm   func(s *Sample)
		want   Verdict
		reason string
		next   string
	}{
		{"well", func(*Sample) {}, VerdictOK, "all 3 nodes are there, and all 2 groups have a leader and a majority", "nothing needs to be done"},
		{"a note", func(s *Sample) {
			s.Answers[1].Status.Notes = []wire.Problem{{What: "job 9 (drain n3) is paused", Remedy: "muster job resume 9 lets it run again"}}
		}, VerdictOK, "all 3 nodes", "nothing needs"},
		{"a warning", func(s *Sample) { s.Answers[2].Doctor.Version = "0.2.0" }, VerdictWarning, "nodes run different versions", "same release"},
		{"a dead follower", func(s *Sample) { dead(s, 3) }, VerdictError, "node n3 (10.0.0.3:4166) is dead", RemedyStart},
		{"a follower that has just died", func(s *Sample) { // nobody has missed it yet
			s.Answers[3] = &Answer{Err: errors.New("connection refused")}
			for _, id := range []raft.NodeID{1, 2} {
				for i := range s.Answers[id].Doctor.Links {
					if l := &s.Answers[id].Doctor.Links[i]; l.To == 3 {
						l.Connected = false
					}
				}
			}
		}, VerdictError, "node n3 (10.0.0.3:4166) can't be asked: connection refused", RemedyStart},
		{"a dead leader", func(s *Sample) {
			dead(s, 1)
			for _, id := range []raft.NodeID{2, 3} {
				problem(s, id, "groups 0, 3 have no leader", "wait for the election, 2 seconds")
				for i := range s.Answers[id].Status.Groups {
					s.Answers[id].Status.Groups[i].Leader = 0
				}
			}
		}, VerdictError, "groups 0, 3 have no leader", "wait for the election"},
		{"two dead nodes", func(s *Sample) {
			dead(s, 2)
			dead(s, 3)
			problem(s, 1, "groups 0, 3 have no majority of voters alive", "bring back the nodes that are named below")
		}, VerdictError, "groups 0, 3 have no majority of voters alive", "bring back"},
		{"a node that can't be asked from here", func(s *Sample) { s.Answers[3] = &Answer{Err: os.ErrDeadlineExceeded} },
			VerdictWarning, "node n3 (10.0.0.3:4166) can't be asked from here, but n1, n2 can reach it", "check whether this host can reach"},
		{"a way cut", func(s *Sample) { s.Answers[2].Doctor.Links[1].Connected = false }, VerdictError, "n2 does not reach n3", "see what keeps packets from n2"},
		{"a full disk", func(s *Sample) { s.Answers[2].Doctor.Disk.Full = true }, VerdictError, "the disk of /data on n2 is full", "make room"},
		{"a dead node and a full disk", func(s *Sample) { s.Answers[2].Doctor.Disk.Full = true; dead(s, 3) }, VerdictError, "node n3 (10.0.0.3:4166) is dead", RemedyStart},
		{"a dead node and damage", func(s *Sample) {
			dead(s, 3)
			s.Answers[2].Doctor.Damaged = []wire.DoctorDamaged{{Group: 3, What: "lost entries 5 to 7", File: "log/1.log"}}
		}, VerdictError, "group 3 is damaged on n2", "leave it running"},
		{"damage that its node and the doctor tell", func(s *Sample) {
			problem(s, 2, "group 3 is damaged on this node: it waits for copies", "wait")
			s.Answers[2].Doctor.Damaged = []wire.DoctorDamaged{{Group: 3, What: "lost entries 5 to 7", File: "log/1.log"}}
		}, VerdictError, "group 3 is damaged on n2", "leave it running"},
		{"what only a follower says", func(s *Sample) {
			problem(s, 2, "this node may have forgotten what it promised: its disk is older", "wait")
		},
			VerdictError, "n2 says: n2 may have forgotten what it promised", "wait"},
		{"a node that is cut off, and calls the others dead", func(s *Sample) {
			problem(s, 3, "node n1 (10.0.0.1:4166) is dead, last heard of 9s ago: no route", RemedyStart)
			problem(s, 3, "groups 0, 3 have no majority of voters alive", "bring back the nodes")
			problem(s, 1, "node n3 (10.0.0.3:4166) answers this node, but nothing that it sends by itself arrives here", "see what keeps connections from it")
		}, VerdictError, "node n3 (10.0.0.3:4166) answers n1", "see what keeps connections"},
		{"a stuck job", func(s *Sample) {
			s.Answers[1].Doctor.Stuck = []wire.DoctorJob{{ID: 12, StoodMs: 600_000, Name: "job 12 (drain n3)", Why: "it waits", Remedy: "muster job show 12"}}
			problem(s, 1, "job 12 (drain n3) is stuck: for 10m0s it waits", "muster job show 12")
		}, VerdictError, "job 12 (drain n3) is stuck", "muster job show 12"},
		{"a status that is not healthy, without a doctor", func(s *Sample) {
			s.Limited = errors.New("not permitted")
			dead(s, 3)
		}, VerdictError, "node n3 (10.0.0.3:4166) is dead", RemedyStart},
		{"well, for a user who may not look into it", func(s *Sample) {
			s.Limited = errors.New("not permitted")
			for _, a := range s.Answers {
				a.Doctor, a.Counters = nil, nil
			}
		}, VerdictOK, "all 3 nodes", "nothing needs"},
		{"nodes that can't be asked in this user's name", func(s *Sample) {
			for _, id := range []raft.NodeID{1, 2} {
				s.Answers[id] = &Answer{Err: errors.New("not permitted"), Unasked: true}
			}
		}, VerdictOK, "all 3 nodes", "nothing needs"},
		{"nobody answers", func(s *Sample) { s.Answers, s.Err = nil, errors.New("no endpoint accepted a connection") },
			VerdictError, "no node says how the cluster is: no endpoint accepted a connection", "start the nodes again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := sample(0)
			tt.harm(s)
			o := Make(s, Past{})
			if o.Verdict != tt.want || !strings.HasPrefix(o.Reason, tt.reason) || !strings.Contains(o.Next, tt.next) {
				t.Errorf("got %s, %q, next %q\nwant %s, %q, next %q\nfindings %+v", o.Verdict, o.Reason, o.Next, tt.want, tt.reason, tt.next, o.Findings)
			}
			if wrong := contradicts(s, o); wrong != "" {
				t.Error(wrong)
			}
			seen := map[string]bool{}
			for _, f := range o.Findings {
				if seen[headline(f.What)] && !strings.Contains(f.What, " says: ") {
					t.Errorf("told twice: %q in %+v", f.What, o.Findings)
				}
				seen[headline(f.What)] = true
			}
		})
	}
}

// contradicts returns where the verdict on a sample contradicts status and doctor; "" if nowhere.
func contradicts(s *Sample, o *Overview) string {
	bad := len(s.statuses()) == 0
	for _, a := range s.statuses() {
		bad = bad || !a.Healthy
	}
	if len(s.statuses()) > 0 {
		if p := s.patient(s.statuses()[0]); p != nil {
			bad = bad || says(p.Diagnose(), SeverityError)
		}
	}
	if bad != (o.Verdict == VerdictError) {
		return fmt.Sprintf("the verdict is %s; not healthy, or found to be wrong: %t", o.Verdict, bad)
	}
	return ""
}

// One dead node is one finding, though two nodes and the doctor tell of it, each in its own words.
func TestOneThingIsToldOnce(t *testing.T) {
	s := sample(0)
	dead(s, 3)
	problem(s, 1, "groups 0, 3 have no majority of voters alive", "bring them back")
	problem(s, 2, "groups 0, 3 have no majority of voters alive", "bring them back")
	s.Answers[1].Doctor.Groups, s.Answers[2].Doctor.Groups = nil, nil
	o := Make(s, Past{})
	var got []string
	for _, f := range o.Findings {
		got = append(got, f.Severity+" "+headline(f.What))
	}
	want := []string{"error groups 0, 3 have no majority of voters alive", "error node n3 (10.0.0.3:4166) is dead"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The figures of an overview: who leads what, how far replicas are behind, what happens in a second.
func TestOverviewFigures(t *testing.T) {
	s, before := sample(4), sample(2)
	s.Answers[1].Counters.Rows = append(s.Answers[1].Counters.Rows, wire.Latency{Count: 5, P50: time.Millisecond, P99: 3 * time.Millisecond}.Rows(wire.LatencyWrites)...)
	s.Answers[2].Counters.Rows = append(s.Answers[2].Counters.Rows, wire.Latency{Count: 2, P50: 2 * time.Millisecond, P99: 2 * time.Millisecond}.Rows(wire.LatencyWrites)...)
	before.Answers[3].Counters.Rows[0].In = 1 << 40 // n3 was started again since
	for _, a := range s.Answers {
		slices.Reverse(a.Status.Nodes) // which are in no order that a person knows
	}
	o := Make(s, Past{Before: before})
	if n := o.Nodes[0]; n.Name != "n1" || n.Leads != 2 || n.Replicas != 2 || !n.Answered || n.UptimeS != 60 || n.FreeBytes != 10<<30 || n.SyncP99 != 900 {
		t.Errorf("n1: %+v", n)
	}
	r := o.Nodes[0].Rates
	if r.WindowMs != 2000 || r.Writes != 100 || r.BytesIn != 5000 || r.BytesOut != 700 || r.LogBytes != 1000 || r.Syncs != 10 || r.CPU != 5 {
		t.Errorf("rates of n1: %+v", r)
	}
	if got := o.Nodes[2].Rates.Writes; got != 200 {
		t.Errorf("writes of n3, which counts anew: %v, want 200", got)
	}
	if o.Rates.Writes != 400 || o.Rates.WriteLatency != (Latency{7, 2000, 3000}) {
		t.Errorf("rates of all: %+v", o.Rates)
	}
	g := o.Groups[1]
	if g.ID != 3 || g.Leader != "n1" || g.Voters != 3 || g.Live != 3 || g.Slots != 4096 || g.Commit != "g3/7.100" || *g.Replicas[2].Lag != 2 {
		t.Errorf("group 3: %+v", g)
	}
	if len(o.Links) != 6 || !o.Links[0].Reached {
		t.Errorf("links: %+v", o.Links)
	}
	dead(s, 1)
	if o = Make(s, Past{}); o.Groups[1].Replicas[2].Lag != nil || o.Groups[1].Live != 2 {
		t.Errorf("group 3, of which nobody knows how far it is: %+v", o.Groups[1])
	}
	if o.Rates.WindowMs != 0 || o.Rates.Writes != 0 {
		t.Errorf("rates without a sample before: %+v", o.Rates)
	}
}

// A job that has done so much since an earlier sample takes so much longer.
func TestJobsPace(t *testing.T) {
	job := func(done, bytes uint64) shardmap.Job {
		return shardmap.Job{ID: 12, Kind: shardmap.JobMove, State: shardmap.JobRunning, Done: done, Total: 100, Bytes: bytes, BytesTotal: 10_000}
	}
	for _, tt := range []struct {
		name     string
		now, was shardmap.Job
		perS     float64
		left     int // -1: not known
	}{
		{"by bytes", job(20, 4000), job(10, 2000), 2.5, 12},
		{"stands still", job(10, 2000), job(10, 2000), 0, -1},
		{"counted anew", job(0, 0), job(10, 2000), 0, -1},
		{"paused", func() shardmap.Job { j := job(20, 4000); j.State = shardmap.JobPaused; return j }(), job(10, 2000), 0, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// The first sample is from before the job began.
			s, earlier := sample(4), []*Sample{sample(-3), sample(0)}
			s.Table.Jobs, earlier[1].Table.Jobs = []shardmap.Job{tt.now}, []shardmap.Job{tt.was}
			j := Make(s, Past{Earlier: earlier}).Jobs[0]
			left := -1
			if j.LeftS != nil {
				left = int(*j.LeftS)
			}
			if j.PerS != tt.perS || left != tt.left {
				t.Errorf("got %v a second, %d s left, want %v, %d", j.PerS, left, tt.perS, tt.left)
			}
		})
	}
}

// Each change from one overview to the next is told once, by its kind; and a reader that comes
// to another node with the mark of an overview is told the same.
func TestChanges(t *testing.T) {
	job := func(s *Sample, id uint64, state shardmap.JobState) {
		s.Table.Jobs = append(s.Table.Jobs, shardmap.Job{ID: id, Kind: shardmap.JobDrain, State: state, Name: "n3", Node: 3})
	}
	lead := func(s *Sample, id raft.NodeID, term uint64) {
		for _, a := range s.Answers {
			for i := range a.Status.Groups {
				if g := &a.Status.Groups[i]; g.ID == 3 {
					g.Leader, g.Term = id, term
				}
			}
		}
	}
	wrong := func(s *Sample, what string) {
		s.Answers[1].Status.Problems = []wire.Problem{{What: what, Remedy: "do something"}}
	}
	for _, tt := range []struct {
		name     string
		was, now func(s *Sample)
		want     []string // kind and text
	}{
		{"nothing", nil, nil, nil},
		{"times alone", func(s *Sample) { dead(s, 3) }, func(s *Sample) {
			dead(s, 3)
			s.Answers[1].Status.Problems[0].What = strings.Replace(s.Answers[1].Status.Problems[0].What, "of 1s", "of 8s", 1)
		}, nil},
		{"a long reason that stays", func(s *Sample) { wrong(s, strings.Repeat("x", 2*markAboutMax)) }, func(s *Sample) { wrong(s, strings.Repeat("x", 2*markAboutMax)) }, nil},
		{"a node lost", nil, func(s *Sample) { dead(s, 3) }, []string{"node-lost node n3 is dead", "verdict error: node n3 (10.0.0.3:4166) is dead, last heard of 1s ago: nothing listens at its address"}},
		{"a node back", func(s *Sample) { dead(s, 3) }, nil, []string{"node-back node n3 is there again", "verdict ok: all 3 nodes are there, and all 2 groups have a leader and a majority"}},
		{"a node restarted", nil, func(s *Sample) { s.Answers[2].Doctor.Start = 5 }, []string{"node-restarted node n2 was started again"}},
		{"a leader", nil, func(s *Sample) { lead(s, 2, 8) }, []string{"leader node n2 leads group 3, in term 8"}},
		{"no leader", nil, func(s *Sample) { lead(s, 0, 8) }, []string{"leader group 3 has no leader"}},
		{"a job begins", nil, func(s *Sample) { job(s, 12, shardmap.JobRunning) }, []string{"job-began job 12 (drain n3) has begun"}},
		{"a job ends", func(s *Sample) { job(s, 12, shardmap.JobRunning) }, func(s *Sample) { job(s, 12, shardmap.JobDone) }, []string{"job-ended job 12 (drain n3) is done"}},
		{"a job between two looks", func(s *Sample) { job(s, 12, shardmap.JobDone) }, func(s *Sample) { job(s, 12, shardmap.JobDone); job(s, 13, shardmap.JobFailed) },
			[]string{"job-began job 13 (drain n3) has begun", "job-ended job 13 (drain n3) has failed"}},
		{"a job paused", func(s *Sample) { job(s, 12, shardmap.JobRunning) }, func(s *Sample) { job(s, 12, shardmap.JobPaused) }, []string{"job-state job 12 (drain n3) is paused"}},
		{"no table for once", func(s *Sample) { job(s, 12, shardmap.JobRunning) }, func(s *Sample) { s.Table = nil }, nil},
		{"nobody answers", nil, func(s *Sample) { s.Answers = nil }, []string{"verdict error: no node says how the cluster is"}},
		{"a node joins", func(s *Sample) {
			for _, a := range s.Answers {
				a.Status.Nodes = a.Status.Nodes[:2]
			}
		}, nil, []string{"node-added node n3 is a member"}},
		{"a node drains", nil, func(s *Sample) {
			for _, a := range s.Answers {
				a.Status.Nodes[2].Status = wire.NodeDraining
			}
		}, []string{"node-stage node n3 is draining"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			was, now := sample(0), sample(5)
			if tt.was != nil {
				tt.was(was)
			}
			if tt.now != nil {
				tt.now(now)
			}
			mark := MarkOf(Make(was, Past{}), nil)
			o := Make(now, Past{})
			events := Changes(mark, o)
			var got []string
			keys := map[string]bool{}
			for _, e := range events {
				got = append(got, string(e.Kind)+" "+e.Text)
				if keys[e.Key] || !e.At.Equal(o.At) {
					t.Errorf("event %+v", e)
				}
				keys[e.Key] = true
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			carried, err := ParseMark(mark.String())
			if err != nil || !reflect.DeepEqual(carried, mark) {
				t.Errorf("the mark came out as %+v, %v, want %+v", carried, err, mark)
			}
			if again := Changes(carried, o); !reflect.DeepEqual(again, events) {
				t.Errorf("by a mark that was carried: %+v", again)
			}
			if more := Changes(MarkOf(o, mark), o); len(more) != 0 {
				t.Errorf("of an overview beside its own mark: %+v", more)
			}
		})
	}
}

// A mark keeps what nobody has said in one round, so that it is no news in the next.
func TestMarkKeepsWhatIsNotSaid(t *testing.T) {
	s := sample(0)
	s.Table.Jobs = []shardmap.Job{{ID: 12, Kind: shardmap.JobDrain, State: shardmap.JobRunning, Name: "n3", Node: 3}}
	mark := MarkOf(Make(s, Past{}), nil)
	silent := sample(1)
	silent.Answers, silent.Table = nil, nil
	mark = MarkOf(Make(silent, Past{}), mark)
	s.At = start.Add(2 * time.Second)
	var got []EventKind
	for _, e := range Changes(mark, Make(s, Past{})) {
		got = append(got, e.Kind)
	}
	if want := []EventKind{EventVerdict}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A mark comes from whoever reads: what is cut off, changed or foreign is refused.
func TestMarksRefused(t *testing.T) {
	good := MarkOf(Make(sample(0), Past{}), nil).String()
	for _, tt := range []struct{ name, mark, want string }{
		{"empty", "", "want the id of an event"},
		{"no base64", "$$", "want the id of an event"},
		{"cut off", good[:len(good)-6], "it is cut off, or was changed"},
		{"changed", "AR" + good[2:len(good)-3] + "zzz", "it is cut off, or was changed"},
		{"another version", "Bw" + good[2:], "version"},
		{"long", strings.Repeat("A", MarkMax+1), "want at most 16384"},
	} {
		if _, err := ParseMark(tt.mark); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	for n := range len(good) { // bytes that are not what they were, and none that passes
		if b := []byte(good); b[n] != 'A' {
			b[n] = 'A'
			if _, err := ParseMark(string(b)); err == nil {
				t.Errorf("with another character at %d it passes", n)
			}
		}
	}
}

// A mark has room for the largest cluster within the limit, and leaves out groups beyond it.
func TestMarksAreBounded(t *testing.T) {
	s := sample(0)
	for _, a := range s.Answers {
		a.Status.Groups = nil
		for g := raft.GroupID(0); g < markGroupsMax; g++ {
			a.Status.Groups = append(a.Status.Groups, wire.StatusGroup{ID: g, Leader: 1, Term: 1 << 30})
		}
	}
	for i := range raft.NodeID(markNodesMax - 3) {
		n := wire.StatusNode{ID: 1<<63 + i, Name: fmt.Sprint("m", i), Status: wire.NodeAlive, Start: 1 << 20}
		for _, a := range s.Answers {
			a.Status.Nodes = append(a.Status.Nodes, n)
		}
	}
	for id := range uint64(markJobsMax) {
		s.Table.Jobs = append(s.Table.Jobs, shardmap.Job{ID: 1<<40 + id, Kind: shardmap.JobDrain, State: shardmap.JobRunning})
	}
	m := MarkOf(Make(s, Past{}), nil)
	text := m.String()
	if len(text) > MarkMax || m.Cut {
		t.Errorf("%d bytes, cut %t", len(text), m.Cut)
	}
	if got, err := ParseMark(text); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("read back: %v", err)
	}
	for _, a := range s.Answers {
		a.Status.Groups = append(a.Status.Groups, wire.StatusGroup{ID: 9000, Leader: 1, Term: 1})
	}
	if m = MarkOf(Make(s, Past{}), nil); !m.Cut || len(m.Groups) != 0 {
		t.Errorf("with one group more: cut %t, %d groups", m.Cut, len(m.Groups))
	}
}

// An overview of 4,096 groups, made of the answers of three nodes and written as JSON.
func BenchmarkOverview(b *testing.B) {
	s := sample(4)
	for _, a := range s.Answers {
		g := a.Status.Groups[1]
		for id := raft.GroupID(4); len(a.Status.Groups) < 4096; id++ {
			more := g
			more.ID, more.Replicas = id, slices.Clone(g.Replicas)
			a.Status.Groups = append(a.Status.Groups, more)
		}
	}
	var text []byte
	for b.Loop() {
		var err error
		if text, err = json.Marshal(Make(s, Past{})); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(text)), "bytes")
}
