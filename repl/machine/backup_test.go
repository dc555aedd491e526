package machine_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// openBackup opens a backup of group 1.
func (x *streams) openBackup(number, window uint64) {
	x.request(wire.TypeBackup, number, (&wire.Backup{Group: 1, PieceBytes: wire.BackupPieceMin, Window: window}).Append(nil))
}

// backedUp returns the pieces that a backup was sent.
func (x *streams) backedUp(number uint64) (pieces []wire.BackupPiece) {
	for _, body := range x.fed[number] {
		var p wire.BackupPiece
		if err := p.Read(body); err != nil {
			x.t.Fatal(err)
		}
		pieces = append(pieces, p)
	}
	return pieces
}

// backedUpKeys returns the keys and values in some pieces, and which services.
func backedUpKeys(t *testing.T, pieces []wire.BackupPiece) (keys map[string]string, services []string) {
	keys = map[string]string{}
	for _, p := range pieces {
		rows, row := shardmap.ReadBackupRows(p.Rows), shardmap.BackupRow{}
		for rows.Next(&row) {
			if row.Kind == shardmap.KindService {
				services = append(services, string(row.Name))
				continue
			}
			if _, twice := keys[string(row.Name)]; twice {
				t.Errorf("key %s came twice", row.Name)
			}
			keys[string(row.Name)] = string(row.Value)
		}
	}
	return keys, services
}

// backupWrong streams a backup while entries are applied, and returns how it differs from what there was at its log id;
// "" if it does not.
func backupWrong(t *testing.T, seed uint64) string {
	x := newStreams(t)
	r := rand.New(rand.NewPCG(seed, 5))
	now := map[string]string{}
	for i := range 9 {
		key := fmt.Sprintf("k%d", i) // which every such node has
		value, _, _ := x.q.state.State.Get([]byte(key), nil)
		now[key] = string(value)
	}
	at := map[uint64]map[string]string{} // by index
	set := func() {
		key, value := fmt.Sprintf("k%02d", r.IntN(60)), strings.Repeat(string(rune('a'+r.IntN(26))), 2000+r.IntN(500)*10)
		x.q.apply(t, shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotOf([]byte(key)), Items: [][]byte{[]byte(key), []byte(value)}})
		now[key] = value
		copied := make(map[string]string, len(now))
		for k, v := range now {
			copied[k] = v
		}
		at[x.q.index] = copied
	}
	for range 80 {
		set()
	}
	granted := uint64(wire.BackupPieceMin)
	x.openBackup(5, granted)
	for x.ends[5] == nil && x.errs[5] == nil {
		switch n := r.IntN(4); {
		case n == 0:
			set()
		case n == 1:
			granted += uint64(r.IntN(2 * wire.BackupPieceMin))
			x.q.Streams.Grant(5, granted)
		case n == 2:
			x.work(r)
		default:
			x.turn()
		}
		if uint64(x.sent[5]) > granted {
			return fmt.Sprintf("seed %d: %d bytes were sent of %d", seed, x.sent[5], granted)
		}
	}
	pieces := x.backedUp(5)
	last := len(pieces) - 1
	if x.ends[5] == nil || x.ends[5].Reason != wire.EndDone || last < 2 {
		return fmt.Sprintf("seed %d: %d pieces, %+v, %v", seed, len(pieces), x.ends[5], x.errs[5])
	}
	for i, p := range pieces {
		if p.Number != uint64(i) || p.At != pieces[0].At || p.Last != (i == last) || p.Group != 1 || (len(p.Slots) > 0) != (i == 0) {
			return fmt.Sprintf("seed %d: piece %d of %d is %+v", seed, i, len(pieces), p)
		}
	}
	got, _ := backedUpKeys(t, pieces)
	want := at[pieces[0].At.Index]
	for k, v := range want {
		if got[k] != v {
			return fmt.Sprintf("seed %d: as of %d, key %s has %.10q, there was %.10q", seed, pieces[0].At.Index, k, got[k], v)
		}
	}
	if len(got) != len(want) || pieces[last].Keys != uint64(len(want)) {
		return fmt.Sprintf("seed %d: as of %d, %d keys and %d told, there were %d", seed, pieces[0].At.Index, len(got), pieces[last].Keys, len(want))
	}
	if x.held != 0 || x.q.state.State.CopiesOut() != 0 {
		return fmt.Sprintf("seed %d: %d bytes are counted and %d copies out when it is over", seed, x.held, x.q.state.State.CopiesOut())
	}
	return ""
}

// All pieces of a backup are of one entry, whatever is applied between them, and none goes beyond the window. One would
// doubt it: each is made when it can be sent, long after that entry.
func TestBackupStreamIsOfOneEntry(t *testing.T) {
	for seed := range uint64(20) {
		if wrong := backupWrong(t, seed); wrong != "" {
			t.Fatal(wrong)
		}
	}
}

// A service comes with its secrets, for without them it could not be restored; that is why the request needs more than
// others do.
func TestBackupHasServices(t *testing.T) {
	x := newStreams(t)
	x.q.Init(&x.q.asker, machine.RequestLimits{Wait: time.Minute, Inline: 250, Page: 1000})
	x.q.mustDefine(t, serviceNamed("web", "w1"))
	x.q.Init(x, machine.RequestLimits{Wait: time.Minute, Inline: 250, Page: 1000})
	x.openBackup(5, 1<<20)
	x.settle()
	pieces := x.backedUp(5)
	if _, services := backedUpKeys(t, pieces); !slices.Equal(services, []string{"web"}) || pieces[0].Services != 1 || !strings.Contains(string(pieces[0].Rows), serviceSecret) {
		t.Errorf("services %q in %+v", services, pieces)
	}
}

// A backup holds memory. So there are few of them, one that is not read ends, and whichever way one ends nothing of it
// stays.
func TestBackupsAreBounded(t *testing.T) {
	x := newStreams(t)
	x.fill(200, func(int) int { return 900 })
	copies := func() int { return x.q.state.State.CopiesOut() }
	for i := range uint64(machine.BackupsMax) {
		x.openBackup(1+i, 0)
	}
	x.settle()
	if copies() != 0 {
		t.Errorf("%d copies are out before a window is granted", copies())
	}
	x.openBackup(9, 1<<20)
	if e := x.errs[9]; e == nil || e.Code != wire.CodeBusy || !strings.Contains(e.State, "the limit is 4") {
		t.Fatalf("a backup more: %v", e)
	}
	for i := range uint64(machine.BackupsMax) {
		x.q.Streams.Grant(1+i, wire.BackupPieceMin)
	}
	x.settle()
	if copies() == 0 || len(x.fed[1]) != 1 {
		t.Fatalf("%d copies are out, %d pieces were sent", copies(), len(x.fed[1]))
	}
	x.q.Streams.Cancel(1)
	x.q.Streams.Review(func(_ wire.Type, body []byte) *wire.Error {
		if body[len(body)-1] == 0 { // of all of them
			return wire.Unauthorized("backup", "no longer", "")
		}
		return nil
	})
	x.turn()
	if copies() != 0 {
		t.Errorf("%d copies are out when all have ended", copies())
	}

	x.openBackup(10, wire.BackupPieceMin)
	x.settle()
	for range 59 {
		x.now += time.Second
		x.feed.Turn(x.now)
	}
	x.q.Streams.Grant(10, 2*wire.BackupPieceMin)
	x.settle()
	for range 59 {
		x.now += time.Second
		x.feed.Turn(x.now)
	}
	if x.ends[10] != nil || len(x.fed[10]) != 2 {
		t.Fatalf("it was read, and %+v, %d pieces", x.ends[10], len(x.fed[10]))
	}
	for range 3 {
		x.now += time.Second
		x.feed.Turn(x.now)
	}
	if e := x.ends[10]; e == nil || e.Reason != wire.EndUnavailable || !strings.Contains(e.Why.State, "not been read for 1m") || copies() != 0 {
		t.Errorf("it stood still: %+v, %d copies are out", e, copies())
	}
}

// A stream that ends while a piece of it is being read gives up what it holds once, whoever is the last to need it. The
// race detector sees what is touched by both.
func TestBackupEndsWhileItIsRead(t *testing.T) {
	for range 100 {
		x := newStreams(t)
		x.fill(100, func(int) int { return 900 })
		x.openBackup(5, 1<<20)
		r := x.asks[0]
		r.Query.Run(x.q.state, raft.LogID{Term: 1, Index: x.q.index}, r.Reply)
		var both sync.WaitGroup
		both.Go(x.later[0])
		both.Go(func() { x.q.Streams.Cancel(5) })
		both.Wait()
		x.later = x.later[1:]
		x.settleLater()
		if x.ends[5] == nil || x.q.state.State.CopiesOut() != 0 || x.held != 0 {
			t.Fatalf("%+v, %d copies are out, %d bytes counted", x.ends[5], x.q.state.State.CopiesOut(), x.held)
		}
	}
}

// Where too much is read already a backup waits, for its client could not go on where it was.
func TestBackupWaitsForItsTurn(t *testing.T) {
	x := newStreams(t)
	x.fill(200, func(int) int { return 900 })
	x.openBackup(5, 1<<20)
	x.full = "many"
	x.settle()
	x.turn()
	if len(x.fed[5]) != 0 || x.ends[5] != nil {
		t.Fatalf("%d pieces, %+v", len(x.fed[5]), x.ends[5])
	}
	x.full = ""
	x.now += 2 * time.Second
	x.feed.Turn(x.now)
	x.settle()
	if e := x.ends[5]; e == nil || e.Reason != wire.EndDone {
		t.Errorf("got %+v, want its end", e)
	}
}

// A backup that can't be had is refused, and takes no place.
func TestBackupIsRefused(t *testing.T) {
	for what, c := range map[string]struct {
		q    wire.Backup
		do   func(x *streams)
		code wire.Code
		says string
	}{
		"below its level":  {wire.Backup{Group: 1, PieceBytes: wire.BackupPieceMin}, func(x *streams) { x.q.table.Level = shardmap.RangesLevel - 1 }, wire.CodeLevel, "level 9"},
		"the meta group":   {wire.Backup{Group: 0, PieceBytes: wire.BackupPieceMin}, nil, wire.CodeBadRequest, "meta group"},
		"no such group":    {wire.Backup{Group: 77, PieceBytes: wire.BackupPieceMin}, nil, wire.CodeMoved, "group 77"},
		"small pieces":     {wire.Backup{Group: 1, PieceBytes: wire.BackupPieceMin - 1}, nil, wire.CodeBadRequest, "piece bytes: 65535"},
		"a large window":   {wire.Backup{Group: 1, PieceBytes: wire.BackupPieceMin, Window: wire.StreamWindowMax + 1}, nil, wire.CodeBadRequest, "window"},
		"group 10000":      {wire.Backup{Group: 10000, PieceBytes: wire.BackupPieceMin}, nil, wire.CodeBadRequest, "group: 10000"},
		"without a feeder": {wire.Backup{Group: 1, PieceBytes: wire.BackupPieceMin}, func(x *streams) { x.q.Streams.Feed = nil }, wire.CodeUnavailable, "nothing that feeds it"},
	} {
		t.Run(what, func(t *testing.T) {
			x := newStreams(t)
			if c.do != nil {
				c.do(x)
			}
			for i := range uint64(machine.BackupsMax + 1) {
				x.request(wire.TypeBackup, 1+i, c.q.Append(nil))
				if e := x.errs[1+i]; e == nil || e.Code != c.code || !strings.Contains(e.Error(), c.says) {
					t.Fatalf("got %v, want code %s with %q", e, c.code, c.says)
				}
			}
		})
	}
}
