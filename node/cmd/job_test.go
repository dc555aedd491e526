package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// oneJob is a table of three nodes at index, with one job.
func oneJob(index uint64, j shardmap.Job) *shardmap.Table {
	t := tableOf(index, "n1", "n2", "n3")
	t.Jobs = []shardmap.Job{j}
	return t
}

func drainJob(state shardmap.JobState, done uint64, why string) shardmap.Job {
	return shardmap.Job{ID: 12, Kind: shardmap.JobDrain, State: state, Node: 3, Name: "n3", Done: done, Total: 4, Why: why}
}

// Waiting for a job ends when the job does, and with nothing else: not with a node that dies,
// one that does not know of the job yet, nor a pause. What is shown off a terminal is a
// line for each change, one a second at most.
func TestFollowJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running := func(index, done uint64) answerOf {
			return answerOf{table: oneJob(index, drainJob(shardmap.JobRunning, done, "")), leader: 1}
		}
		a := &asker{answers: []answerOf{
			{table: tableOf(11, "n1", "n2", "n3"), leader: 1}, // the order's answer was faster than its entry
			running(12, 0),
			{err: errGone}, {err: errGone, after: 2 * time.Second},
			running(14, 1), running(15, 2), running(14, 1),
			{table: oneJob(16, drainJob(shardmap.JobPaused, 2, "")), leader: 2},
			running(17, 3),
			{table: oneJob(18, drainJob(shardmap.JobDone, 4, "")), leader: 2},
		}}
		var stderr bytes.Buffer
		p := &progress{console: &console{err: &stderr}, bytes: 4 << 20}
		j, err := followJob(t.Context(), &tables{ask: a.ask}, 10*time.Second, 12, p)
		if err != nil || j.State != shardmap.JobDone || j.Done != 4 {
			t.Errorf("got %+v, %v", j, err)
		}
		if len(a.asked) != len(a.answers) {
			t.Errorf("asked %d times, want %d", len(a.asked), len(a.answers))
		}
		want := `job 12 (drain n3) [--------------------] 0 of 4 replicas, about 0 bytes of 4.0 MiB
job 12 (drain n3) [#####---------------] 1 of 4 replicas, about 1.0 MiB of 4.0 MiB
job 12 (drain n3) [##########----------] 2 of 4 replicas, about 2.0 MiB of 4.0 MiB, paused: muster job resume 12
job 12 (drain n3) [###############-----] 3 of 4 replicas, about 3.0 MiB of 4.0 MiB
job 12 (drain n3) [####################] 4 of 4 replicas, about 4.0 MiB of 4.0 MiB, done
`
		if stderr.String() != want {
			t.Errorf("got\n%swant\n%s", &stderr, want)
		}
	})
}

// Waiting gives up when nobody answers for as long as one request may take, when the
// person does, and when the job is not there; each time the job goes on, and the text
// says how to wait for it again.
func TestFollowEnds(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers []answerOf
		status  exitStatus
		text    string
		within  time.Duration
	}{
		{"nobody answers", []answerOf{{err: wire.Unavailable("cluster", "no answer")}}, exitNoResult, "job 12 goes on, but no node answers here; muster job wait 12 waits for it again", 11 * time.Second},
		{"interrupted", []answerOf{{table: oneJob(12, drainJob(shardmap.JobRunning, 0, "")), leader: 1}}, exitNoResult, "job 12 goes on without this command; muster job wait 12 waits for it again", 61 * time.Second},
		{"was forgotten", []answerOf{{table: tableOf(13, "n1"), leader: 1}}, exitNotFound, "job 12 is not in the table", time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				began := time.Now()
				_, err := followJob(ctx, &tables{ask: (&asker{answers: tt.answers}).ask}, 10*time.Second, 12, &progress{console: &console{err: new(bytes.Buffer)}})
				if err == nil || statusOf(err) != tt.status || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("got %v of status %d, want %q of status %d", err, statusOf(err), tt.text, tt.status)
				}
				if took := time.Since(began); took > tt.within {
					t.Errorf("it took %v, want %v at most", took, tt.within)
				}
			})
		})
	}
}

// On a terminal one line is drawn anew; it never wraps, whatever a node has told, and nothing
// in it steers the terminal but what is ours.
func TestProgressOnTerminal(t *testing.T) {
	var stderr bytes.Buffer
	p := &progress{console: &console{err: &stderr, watched: true}}
	j := drainJob(shardmap.JobRunning, 1, "waits for \x1b[2J\n"+strings.Repeat("long ", 40))
	p.show(&j)
	p.show(&j)
	p.end()
	got := stderr.String()
	line, ok := strings.CutPrefix(got, lineClear)
	line, rest, _ := strings.Cut(line, "\r")
	if !ok || rest != "\n" || len(line) != screenColumns || strings.ContainsAny(line, "\x1b\n") || !strings.HasPrefix(line, "job 12 (drain n3) [#####---------------] 1 of 4 replicas: waits for \\x1b[2J") {
		t.Errorf("got %q", got)
	}
}

// Slots differ in size: how far a job that moves them is shows in bytes, as far as they are
// known.
func TestProgressOfSlots(t *testing.T) {
	for _, tt := range []struct {
		job  shardmap.Job
		want string
	}{
		{shardmap.Job{ID: 9, Kind: shardmap.JobMove, State: shardmap.JobRunning, Done: 1, Total: 4}, "job 9 (move) [#####---------------] 1 of 4 slots"},
		{shardmap.Job{ID: 9, Kind: shardmap.JobRebalance, State: shardmap.JobRunning, Done: 1, Total: 4, Bytes: 3 << 20, BytesTotal: 4 << 20, Why: "at 1.0 MiB a second"},
			"job 9 (rebalance) [###############-----] 1 of 4 slots, 3.0 MiB of 4.0 MiB: at 1.0 MiB a second"},
		{shardmap.Job{ID: 9, Kind: shardmap.JobMove, State: shardmap.JobRunning, Cancelled: true, Done: 1, Total: 4, Why: "2 slots are on their way"}, "job 9 (move) [#####---------------] 1 of 4 slots: it is being cancelled: 2 slots are on their way"},
	} {
		if got := progressLine(&tt.job, 0); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// A leader may die, or a person cancel, before the table has noted all that a delete has done: the number that is left is
// a lower bound, which people read as all. Programs get the number.
func TestDoneOfUnfinishedDelete(t *testing.T) {
	job := func(k shardmap.JobKind, s shardmap.JobState) shardmap.Job {
		return shardmap.Job{ID: 147, Kind: k, State: s, Done: 46, Total: 200000}
	}
	for _, tt := range []struct {
		job  shardmap.Job
		want string
	}{
		{job(shardmap.JobDelete, shardmap.JobCancelled), "at least 46"},
		{job(shardmap.JobDelete, shardmap.JobFailed), "at least 46"},
		{job(shardmap.JobDelete, shardmap.JobRunning), "46"},
		{job(shardmap.JobDelete, shardmap.JobPaused), "46"},
		{job(shardmap.JobDelete, shardmap.JobDone), "46"},
		{job(shardmap.JobBackup, shardmap.JobFailed), "46"},
		{job(shardmap.JobMove, shardmap.JobCancelled), "46"},
	} {
		var out bytes.Buffer
		con := &console{out: newOutput(&out)}
		row := jobRowOf(&tt.job)
		if err := jobTable(&errand{console: con}, []jobRow{row}); err != nil {
			t.Fatal(err)
		}
		if err := con.out.Flush(); err != nil {
			t.Fatal(err)
		}
		_, line, _ := strings.Cut(out.String(), "\n")
		if cells := regexp.MustCompile(" {2,}").Split(line, -1); len(cells) < 7 || cells[5] != tt.want {
			t.Errorf("%s %s: the table has %q, want %q done", tt.job.Kind, tt.job.State, line, tt.want)
		}
		if got := progressLine(&tt.job, 0); !strings.Contains(got, "] "+tt.want+" of 200000 ") {
			t.Errorf("%s %s: the line of progress is %q, want %q done", tt.job.Kind, tt.job.State, got, tt.want)
		}
		if got, err := json.Marshal(row); err != nil || !strings.Contains(string(got), `"done":46,`) {
			t.Errorf("%s %s: got %s, %v; want the number", tt.job.Kind, tt.job.State, got, err)
		}
	}
}

// The fields of a job's row are a contract; ids are strings.
func TestJobRow(t *testing.T) {
	for _, tt := range []struct {
		job  shardmap.Job
		want string
	}{
		{drainJob(shardmap.JobRunning, 1, "x"), `{"id":"12","kind":"drain","state":"running","done":1,"total":4,"unit":"replicas","node":"n3","why":"x"}`},
		{shardmap.Job{ID: 9, Kind: shardmap.JobAdd, State: shardmap.JobFailed, Node: 3, Group: 7}, `{"id":"9","kind":"add","state":"failed","done":0,"total":0,"unit":"replicas","node":"0000000000000003","group":7}`},
		{shardmap.Job{ID: 9, Kind: shardmap.JobBalance, State: shardmap.JobCancelled}, `{"id":"9","kind":"balance","state":"cancelled","done":0,"total":0,"unit":"replicas"}`},
		{shardmap.Job{ID: 9, Kind: shardmap.JobMove, State: shardmap.JobRunning, Done: 1, Total: 3, BytesTotal: 70}, `{"id":"9","kind":"move","state":"running","done":1,"total":3,"unit":"slots","bytes":0,"bytes_total":70}`},
		{shardmap.Job{ID: 9, Kind: shardmap.JobRebalance, State: shardmap.JobRunning, Cancelled: true}, `{"id":"9","kind":"rebalance","state":"running","done":0,"total":0,"unit":"slots","bytes":0,"bytes_total":0,"why":"it is being cancelled"}`},
	} {
		if got, err := json.Marshal(jobRowOf(&tt.job)); err != nil || string(got) != tt.want {
			t.Errorf("got  %s, %v\nwant %s", got, err, tt.want)
		}
	}
}

// A command that waited for a job which did not do what it was for ends with 1.
func TestEndOfJob(t *testing.T) {
	for _, tt := range []struct {
		job  shardmap.Job
		want string // empty: no error
	}{
		{drainJob(shardmap.JobDone, 4, ""), ""},
		{drainJob(shardmap.JobRunning, 1, ""), ""},
		{drainJob(shardmap.JobCancelled, 1, "the node is back"), "job 12 (drain n3) was cancelled: the node is back; what it had done stays"},
		{drainJob(shardmap.JobFailed, 1, ""), "job 12 (drain n3) has failed; what it had done stays"},
	} {
		err := endOf(&tt.job)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || statusOf(err) != exitRefused || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %q", tt.job.State, err, tt.want)
		}
	}
}

// A node that was removed is remembered by the job that did it, so that the command may be
// given again, as after a connection that was cut.
func TestRemovedBefore(t *testing.T) {
	table := tableOf(20, "n1")
	table.Jobs = []shardmap.Job{
		{ID: 12, Kind: shardmap.JobRemove, State: shardmap.JobDone, Node: 3, Name: "n3"},
		{ID: 13, Kind: shardmap.JobRemove, State: shardmap.JobCancelled, Node: 4, Name: "n4"},
		{ID: 14, Kind: shardmap.JobDrain, State: shardmap.JobDone, Node: 5, Name: "n5"},
	}
	for arg, want := range map[string]uint64{"n3": 12, raft.NodeID(3).String(): 12, "n4": 0, "n5": 0, "n9": 0} {
		j := removedBefore(table, arg)
		if got := uint64(0); j != nil && j.ID != want || j == nil && want != got {
			t.Errorf("%s: got %+v, want job %d", arg, j, want)
		}
	}
}
