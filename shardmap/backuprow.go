package shardmap

import (
	"fmt"

	"muster/shardmap/pack"
	"muster/shardmap/registry"
)

// BackupRow is a key or a service in a backup. On the wire and in a file it is a msgpack array:
//
//	[kind, name, value, version, remaining]
//
// with name and value as bins, and nil for remaining if it never ends.
type BackupRow struct {
	Kind    RecordKind // [KindKey] or [KindService]
	Name    []byte     // the key, or the name of the service
	Value   []byte     // of a service, its record as package registry defines it, secrets included
	Version uint64
	// Ends: it ends once Remaining milliseconds have passed since the moment of the backup, on its
	// own or with a lease. At least 1: what is due is there until an entry removes it.
	Ends      bool
	Remaining uint64
}

const backupRowFields = 5

// BackupRowHead is what a row has beside its name and value, in bytes, at most.
const BackupRowHead = 1 + 1 + 3 + 5 + 9 + 9

// Slot returns the slot that the row is of.
func (r *BackupRow) Slot() Slot { return SlotOf(r.Name) }

// Append appends the row.
func (r *BackupRow) Append(b []byte) []byte {
	b = pack.AppendArray(b, backupRowFields)
	b = pack.AppendUint(b, uint64(r.Kind))
	b = pack.AppendBytes(b, r.Name)
	b = pack.AppendBytes(b, r.Value)
	b = pack.AppendUint(b, r.Version)
	if !r.Ends {
		return pack.AppendNil(b)
	}
	return pack.AppendUint(b, r.Remaining)
}

// BackupRows are rows back to back, in msgpack that [pack.Check] has passed. One goroutine at a
// time may use them.
type BackupRows struct {
	r    pack.Reader
	left int
}

// ReadBackupRows returns the rows of an array of them, which is all of b. They alias b.
func ReadBackupRows(b []byte) BackupRows {
	rows := BackupRows{r: pack.NewReader(b)}
	rows.left = rows.r.Array()
	return rows
}

// Next reads the next row. It returns false after the last, or if a row can't be: [BackupRows.Err]
// says which.
func (x *BackupRows) Next(row *BackupRow) bool {
	if x.left == 0 || x.r.Err() != nil {
		return false
	}
	x.left--
	x.r.ArrayLen(backupRowFields)
	row.Kind = RecordKind(x.r.UintMax(255))
	row.Name, row.Value, row.Version = x.r.Bytes(), x.r.Bytes(), x.r.Uint()
	if row.Ends, row.Remaining = !x.r.Nil(), 0; row.Ends {
		row.Remaining = x.r.Uint()
	}
	if x.r.Err() != nil {
		return false
	}
	if wrong := row.wrong(); wrong != "" {
		x.r.Fail(wrong)
		return false
	}
	return true
}

// wrong says why no group can have such a row; "" if one can.
func (r *BackupRow) wrong() string {
	most, valueMost := KeyMax, ValueMaxLimit
	if r.Kind == KindService {
		most, valueMost = registry.NameMax, registry.ServiceMax
	}
	switch {
	case r.Kind != KindKey && r.Kind != KindService:
		return fmt.Sprintf("a row of kind %d, want %d for a key or %d for a service", r.Kind, KindKey, KindService)
	case len(r.Name) == 0 || len(r.Name) > most || len(r.Value) > valueMost:
		return fmt.Sprintf("a row with a name of %d bytes and a value of %d, want 1 to %d, and %d at most", len(r.Name), len(r.Value), most, valueMost)
	case r.Version == 0:
		return "a row of version 0"
	case r.Ends && (r.Remaining == 0 || r.Kind != KindKey):
		return fmt.Sprintf("a row of kind %d that ends in %d ms, want a key, and 1 or more", r.Kind, r.Remaining)
	}
	return ""
}

// Err returns why the rows could not all be read; nil if they were, or are still to be.
func (x *BackupRows) Err() error {
	if err := x.r.Err(); err != nil || x.left > 0 {
		return err
	}
	return x.r.Done()
}
