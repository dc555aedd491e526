package shardmap

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"muster/raft"
	"muster/shardmap/registry"
)

// backedUp reads some more of a backup, and returns its rows as lines.
func backedUp(t *testing.T, b *Backup, limit int) (rows []string, more bool) {
	t.Helper()
	more, err := b.Next(limit, 1000, func(r *BackupRow) { rows = append(rows, backupLine(r)) })
	if err != nil {
		t.Fatal(err)
	}
	return rows, more
}

func backupLine(r *BackupRow) string {
	return fmt.Sprintf("%d %q version %d ends %t in %d %q", r.Kind, r.Name, r.Version, r.Ends, r.Remaining, r.Value)
}

// backupWrong takes backups of a map, reads them piece by piece while entries are applied, and returns how one
// differs from what there was at its moment; "" if none does.
func backupWrong(t *testing.T, seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 17))
	m := owning(allSlots())
	const tags = 20
	now := map[string]BackupRow{} // by kind and name
	index := uint64(0)
	do := func(name string, kind RecordKind, c Command, row *BackupRow) {
		index++
		if got := apply(t, m, index, 0, &c); got.Status != StatusApplied {
			t.Fatalf("%s: %s", name, got.Status)
		}
		key := fmt.Sprint(kind, name)
		if delete(now, key); row != nil {
			row.Kind, row.Name, row.Version = kind, []byte(name), index
			now[key] = *row
		}
	}
	write := func() {
		name, value := fmt.Sprintf("{%d}%d", r.IntN(tags), r.IntN(8)), []byte(strings.Repeat("v", r.IntN(100)))
		slot := SlotOf([]byte(name))
		switch r.IntN(6) {
		case 0:
			do(name, KindKey, Command{Kind: CommandDel, Slot: slot, Items: [][]byte{[]byte(name)}}, nil)
		case 1:
			s := &registry.Service{Name: name, Type: registry.TypeTTL, Settings: []registry.Setting{{Key: "webhook_secret", Value: fmt.Sprint(index)}}}
			s.Complete()
			do(name, KindService, ServiceSetCommand(name, s.Append(nil)), nil)
			record, version, _ := m.Service([]byte(name))
			now[fmt.Sprint(KindService, name)] = BackupRow{Kind: KindService, Name: []byte(name), Value: record, Version: version}
		case 2:
			ttl := uint64(1 + r.IntN(1000))
			c := TxnCommand(slot, &Txn{Then: []Op{{Kind: OpSet, Key: []byte(name), Value: value, TTL: ttl}}})
			do(name, KindKey, c, &BackupRow{Value: value, Ends: true, Remaining: ttl})
		case 3:
			ttl := uint64(1 + r.IntN(1000))
			do("", KindLease, LeaseCommand(slot, LeaseGrant, 0, ttl), nil)
			c := TxnCommand(slot, &Txn{Then: []Op{{Kind: OpSet, Key: []byte(name), Value: value, Lease: MakeLeaseID(slot, index)}}})
			do(name, KindKey, c, &BackupRow{Value: value, Ends: true, Remaining: ttl})
		default:
			do(name, KindKey, Command{Kind: CommandSet, Slot: slot, Items: [][]byte{[]byte(name), value}}, &BackupRow{Value: value})
		}
	}
	type taken struct {
		b         *Backup
		got, want []string
		at        uint64
	}
	var open []taken
	for range 60 {
		for range r.IntN(30) {
			write()
		}
		switch n := len(open); {
		case n < 3 && r.IntN(2) == 0:
			x := taken{b: BackupOf(m, 0), at: index}
			for _, row := range now {
				x.want = append(x.want, backupLine(&row))
			}
			slices.Sort(x.want)
			open = append(open, x)
		case n > 0:
			i := r.IntN(n)
			rows, more := backedUp(t, open[i].b, r.IntN(600))
			open[i].got = append(open[i].got, rows...)
			if more && r.IntN(40) > 0 {
				continue
			}
			x := open[i]
			open = slices.Delete(open, i, i+1)
			x.b.Release()
			x.b.Release() // does nothing
			if more {
				continue // it was given up
			}
			if slices.Sort(x.got); !slices.Equal(x.got, x.want) {
				return fmt.Sprintf("seed %d: a backup as of entry %d, read until %d, shows\n%q, at its moment there was\n%q", seed, x.at, index, x.got, x.want)
			}
		}
	}
	for _, x := range open {
		x.b.Release()
	}
	if n := m.CopiesOut(); n != 0 {
		return fmt.Sprintf("seed %d: %d copies are still out", seed, n)
	}
	return ""
}

// A backup shows keys and services as they were between the same two entries, whenever it is read. One would doubt
// it: it is read a piece at a time beside entries that change, empty and fill its slots, several are read
// at once, and some are given up halfway.
func TestBackupIsOneMoment(t *testing.T) {
	for seed := range uint64(60) {
		if wrong := backupWrong(t, seed); wrong != "" {
			t.Fatal(wrong)
		}
	}
}

// The rows of a backup ascend by slot, kind and name, no piece has more than was asked for but for one row that is
// larger, and the slots are those that were served at its moment. Its reader relies on all of that.
func TestBackupIsInOrder(t *testing.T) {
	m := owning([]Slot{SlotOf([]byte("{1}")), SlotOf([]byte("{2}")), SlotOf([]byte("{3}"))})
	for i := range uint64(300) {
		k := fmt.Appendf(nil, "{%d}%03d", 1+i%3, 300-i)
		apply(t, m, i+1, 0, &Command{Kind: CommandSet, Slot: SlotOf(k), Items: [][]byte{k, make([]byte, i%7*100)}})
	}
	b := BackupOf(m, 0)
	defer b.Release()
	if want := SlotRanges([]Slot{SlotOf([]byte("{1}")), SlotOf([]byte("{2}")), SlotOf([]byte("{3}"))}); !slices.Equal(b.Slots(), want) {
		t.Errorf("slots %v, want %v", b.Slots(), want)
	}
	last, total := "", 0
	for more := true; more; {
		n, bytes := 0, 0
		var err error
		more, err = b.Next(500, 4, func(r *BackupRow) {
			at := fmt.Sprintf("%04d %d %s", r.Slot(), r.Kind, r.Name)
			if at <= last {
				t.Errorf("%s comes behind %s", at, last)
			}
			last, n, bytes = at, n+1, bytes+len(r.Append(nil))
		})
		if err != nil {
			t.Fatal(err)
		}
		if total += n; n > 4 || n > 1 && bytes > 500 || n == 0 && more {
			t.Errorf("a piece of %d rows with %d bytes; want 4 rows at most, and 500 bytes", n, bytes)
		}
	}
	if total != 300 {
		t.Errorf("%d rows, want 300", total)
	}
}

// A time counts from the moment of the backup, by the time of the group, not by that of the last entry; what is due is
// told as the shortest time, not as for ever.
func TestBackupTellsWhatIsLeft(t *testing.T) {
	m := owning(allSlots())
	apply(t, m, 1, 1_000_000_000, &[]Command{TxnCommand(SlotOf([]byte("k")), &Txn{Then: []Op{{Kind: OpSet, Key: []byte("k"), TTL: 5000}}})}[0])
	for now, want := range map[raft.GroupTime]uint64{1_000_000_000: 5000, 3_000_000_000: 3000, 9_000_000_000: 1} {
		b := BackupOf(m, now)
		rows, _ := backedUp(t, b, 1000)
		b.Release()
		if len(rows) != 1 || !strings.Contains(rows[0], fmt.Sprintf("ends true in %d ", want)) {
			t.Errorf("at %d: %q, want %d ms", now, rows, want)
		}
	}
}

// A record that memory no longer holds as it was written must not get into a backup as if it were good.
func TestBackupOfRottenMemory(t *testing.T) {
	m := owning(allSlots())
	k := []byte("k")
	apply(t, m, 1, 0, &Command{Kind: CommandSet, Slot: SlotOf(k), Items: [][]byte{k, []byte("value")}})
	slot, hash := locate(k)
	rec := m.slot(slot).records.get(k, hash)
	rec[recordHeader+2] ^= 1
	b := BackupOf(m, 0)
	defer b.Release()
	if _, err := b.Next(1000, 10, func(*BackupRow) {}); !errors.Is(err, ErrInvariant) || !strings.Contains(err.Error(), "slot "+fmt.Sprint(slot)) {
		t.Errorf("got %v", err)
	}
}
