package shardmap

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"muster/raft"
)

// errandTable is a table of this level, and a function that applies a command to it.
func errandTable(t *testing.T) (*TableMachine, func(want string, b []byte, err error) *TableResult) {
	t.Helper()
	m := testTable(t)
	at := raft.LogID{Term: 1, Index: 5}
	return m, func(want string, b []byte, err error) *TableResult {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		at.Index++
		r, err := m.Apply(at, b)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if r.Refused != nil {
			got = r.Refused.Found
		}
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("entry %d: refused because %q, want %q", at.Index, got, want)
		}
		return &r
	}
}

// A table without errands must keep the bytes that builds of level 8 write and read; one that has some must
// come back whole, whatever the prefix.
func TestErrandsInSnapshots(t *testing.T) {
	m, apply := errandTable(t)
	b, err := AppendNewJob(nil, &NewJob{Kind: JobBalance})
	apply("", b, err)
	row := m.Table().Jobs[0].append(nil, tableFormats.newest)
	if want := byte(jobFields.of(tableFormats.newest)); row[0] != 0xdc || row[2] != want {
		t.Errorf("a balance begins with % x, want an array of %d", row[:3], want)
	}
	for _, prefix := range []string{"", "cart/", "\xff\x00", strings.Repeat("p", KeyMax)} {
		b, err := AppendNewJob(nil, &NewJob{Kind: JobDelete, Asks: ErrandAsks{Prefix: prefix, Keys: 7}})
		if got, ok := ErrandPrefix(b); !ok || string(got) != prefix {
			t.Errorf("the prefix of an order: %q, %t, want %q", got, ok, prefix)
		}
		id := apply("", b, err).Index
		b, err = AppendNoteErrand(nil, &NoteErrand{ID: id, State: JobRunning, Node: 97, At: 8, Slot: 9, Done: 3, Total: 7, Why: "w"})
		apply("", b, err)
	}
	b, err = AppendNewJob(nil, &NewJob{Kind: JobBackup})
	apply("", b, err)
	whole := tableBytes(t, m)
	back := NewTableMachine()
	if err := back.Load(bytes.NewReader(whole), raft.LogID{Term: 1, Index: 99}); err != nil {
		t.Fatal(err)
	}
	for i := range m.Table().Jobs {
		if j := back.Table().Jobs[i]; !j.Equal(&m.Table().Jobs[i]) || j.Errand != m.Table().Jobs[i].Errand {
			t.Errorf("job %d came back as %+v", j.ID, j)
		}
	}
	for _, other := range [][]byte{nil, {0xc0}, first(AppendNewJob(nil, &NewJob{Kind: JobBackup})), first(AppendNewJob(nil, &NewJob{Kind: JobMove})), first(AppendSetting(nil, &Setting{}))} {
		if _, ok := ErrandPrefix(other); ok {
			t.Errorf("% x: taken for a delete", other)
		}
	}
}

// Notes that can't be meant are refused with a reason, and the table has what others say: a wrong count of
// deleted keys would be told to the one who asked.
func TestErrandsAreNoted(t *testing.T) {
	m, apply := errandTable(t)
	order := func(want string, j NewJob) uint64 {
		t.Helper()
		b, err := AppendNewJob(nil, &j)
		return apply(want, b, err).Index
	}
	note := func(want string, n NoteErrand) {
		t.Helper()
		b, err := AppendNoteErrand(nil, &n)
		apply(want, b, err)
	}
	order("a prefix of 4097 bytes, the limit is 4096", NewJob{Kind: JobDelete, Asks: ErrandAsks{Prefix: strings.Repeat("p", KeyMax+1)}})
	order("it names a prefix", NewJob{Kind: JobBackup, Asks: ErrandAsks{Prefix: "p"}})
	balance := order("", NewJob{Kind: JobBalance})
	note("which is no errand", NoteErrand{ID: balance, State: JobRunning})
	note("there is none, or it ended long ago", NoteErrand{ID: 4711, State: JobRunning})

	del := order("", NewJob{Kind: JobDelete, Asks: ErrandAsks{Prefix: "a", Keys: 100}})
	again := order("", NewJob{Kind: JobDelete, Asks: ErrandAsks{Prefix: "a", Keys: 100}})
	note("a person pauses it", NoteErrand{ID: del, State: JobPaused})
	note("", NoteErrand{ID: del, State: JobRunning, Node: 97, Slot: 12, Done: 40, Total: 100})
	b, err := AppendJobState(nil, &SetJobState{ID: del, State: JobPaused})
	apply("", b, err)
	note("", NoteErrand{ID: del, State: JobRunning, Node: 97, Slot: 13, Done: 50, Total: 100})
	if j, _ := m.Table().Job(del); j.State != JobPaused || j.Done != 50 || j.Errand.Slot != 13 {
		t.Errorf("a note of a paused job left it as %+v", j)
	}
	note("", NoteErrand{ID: del, State: JobDone, Node: 97, Slot: Slots, Done: 90, Total: 100})
	if j, _ := m.Table().Job(del); j.State != JobDone || j.Done != 90 || j.Total != 90 {
		t.Errorf("done is %+v, want 90 of 90 keys", j)
	}
	note("it is done already", NoteErrand{ID: del, State: JobRunning})
	if j, _ := m.Table().Job(again); j.State != JobRunning {
		t.Errorf("the second delete is %+v", j)
	}

	first := order("", NewJob{Kind: JobBackup, Asks: ErrandAsks{Scheduled: true}})
	order("(backup) is running", NewJob{Kind: JobBackup})
	note("a file name of 256 bytes, the limit is 255", NoteErrand{ID: first, State: JobRunning, File: strings.Repeat("f", 256)})
	note("", NoteErrand{ID: first, State: JobDone, Node: 97, File: "f", At: 1000, Done: 3, Total: 0, Bytes: 77})
	if j, last := m.Table().LastBackup(); j.ID != first || last.ID != first || j.Bytes != 77 || j.Errand.At != 1000 {
		t.Errorf("the last backup is %+v", j)
	}
	order("is a later backup than the one it was to follow", NewJob{Kind: JobBackup, Asks: ErrandAsks{Scheduled: true}})
	second := order("", NewJob{Kind: JobBackup, Asks: ErrandAsks{Scheduled: true, After: first}})
	note("", NoteErrand{ID: second, State: JobFailed, Why: "no space left"})
	if good, last := m.Table().LastBackup(); good.ID != first || last.ID != second {
		t.Errorf("good is job %d, last is job %d; want %d and %d", good.ID, last.ID, first, second)
	}
}

// backupForgotten returns which backup is taken for the last good one though it is not, after more jobs than are kept, or "".
func backupForgotten(t *testing.T) string {
	m, apply := errandTable(t)
	job := func(j NewJob, s JobState) uint64 {
		b, err := AppendNewJob(nil, &j)
		id := apply("", b, err).Index
		b, err = AppendNoteErrand(nil, &NoteErrand{ID: id, State: s})
		apply("", b, err)
		return id
	}
	first := job(NewJob{Kind: JobBackup}, JobDone)
	job(NewJob{Kind: JobBackup}, JobFailed)
	for range JobsKept + 5 {
		job(NewJob{Kind: JobDelete}, JobDone)
	}
	if good, last := m.Table().LastBackup(); good.ID != first || last.ID != first || len(m.Table().Jobs) != JobsKept {
		return fmt.Sprintf("good is job %d, last is job %d of %d, want %d", good.ID, last.ID, len(m.Table().Jobs), first)
	}
	return ""
}

// The last good backup outlives any number of jobs that end after it, or the schedule would take the next one too early; the
// failed one does not.
func TestLastBackupIsKept(t *testing.T) {
	if wrong := backupForgotten(t); wrong != "" {
		t.Error(wrong)
	}
}
