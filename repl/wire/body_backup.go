package wire

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/pack"
)

const (
	// BackupPieceMin is the smallest piece that a backup may ask for, in bytes of its body: the
	// first has the runs of slots in it, which may be half of all slots.
	BackupPieceMin = 64 << 10
	// BackupRowsMax bounds the rows of a piece, and so its msgpack elements.
	BackupRowsMax = 20000
	// BackupPieceHead is what a piece has beside its rows and its runs of slots, in bytes, at most.
	BackupPieceHead = 96
	// BackupRunBytes is what a run of slots takes, in bytes, at most.
	BackupRunBytes = 7
)

// Backup opens a stream of all keys and services that one group serves, as they are at one entry of
// its log: [group, piece bytes, window]. The stream can't be continued: whoever loses it asks anew, and
// gets what there is at another entry.
type Backup struct {
	Group      raft.GroupID
	PieceBytes uint32 // largest body of a piece, BackupPieceMin to StreamPieceMax; one row always fits
	Window     uint64 // the first grant, at most StreamWindowMax
}

func (m *Backup) fields(f *fields) {
	f.exactly(3, func() {
		number(f, "group", &m.Group)
		number(f, "piece_bytes", &m.PieceBytes)
		number(f, "window", &m.Window)
	})
}

// Append appends the body.
func (m *Backup) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Backup) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	switch {
	case m.Group > raft.GroupMax:
		return fmt.Errorf("field group: %d; want %d at most", m.Group, raft.GroupMax)
	case m.PieceBytes < BackupPieceMin:
		return fmt.Errorf("field piece bytes: %d, want %d to %d", m.PieceBytes, BackupPieceMin, StreamPieceMax)
	}
	return checkWindow(m.Window, uint64(m.PieceBytes))
}

// BackupPiece is a piece of a backup:
// [group, term, index, incarnation, number, [[from, to] …], last, keys, services, [row …]], with rows as
// [shardmap.BackupRow] makes them, by slot, then kind, then name.
type BackupPiece struct {
	Group       raft.GroupID
	At          raft.LogID // all pieces of a backup are as of here
	Incarnation raft.Incarnation
	Number      uint64 // of the piece: 0, 1, 2 …
	// Slots are those that the group served at At, in order. They are in the first piece, and
	// no other has any.
	Slots []shardmap.SlotRange
	// Last: no piece follows. Keys and Services are then how many there were in all; else they are 0.
	Last           bool
	Keys, Services uint64
	// Rows is an array of rows, for [shardmap.ReadBackupRows]; it aliases the body that was read.
	Rows []byte
}

const backupPieceFields = 10

// appendHead appends the fields before the rows.
func (m *BackupPiece) appendHead(b []byte) []byte {
	b = pack.AppendArray(b, backupPieceFields)
	b = appendLogID(b, m.Group, m.At)
	b = pack.AppendUint(b, uint64(m.Incarnation))
	b = pack.AppendUint(b, m.Number)
	b = appendRuns(b, m.Slots)
	b = pack.AppendBool(b, m.Last)
	b = pack.AppendUint(b, m.Keys)
	return pack.AppendUint(b, m.Services)
}

// Append appends the body.
func (m *BackupPiece) Append(b []byte) []byte { return append(m.appendHead(b), m.Rows...) }

// Frame returns the piece as a whole frame, with count rows that stand back to back in Rows, without
// the head of their array.
func (m *BackupPiece) Frame(count int, request uint64) []byte {
	b := make([]byte, 0, HeaderSize+BackupPieceHead+BackupRunBytes*len(m.Slots)+len(m.Rows))
	b, start := BeginFrame(b, TypeBackupPiece, FlagMore, 0, request)
	b = pack.AppendArray(m.appendHead(b), count)
	return EndFrame(append(b, m.Rows...), start)
}

// Read reads the body, which Rows aliases. It has looked at all rows when it returns.
func (m *BackupPiece) Read(body []byte) error {
	r := pack.NewReader(body)
	n := r.Array()
	m.Group, m.At = readLogID(&r)
	m.Incarnation = raft.Incarnation(r.Uint())
	m.Number = r.Uint()
	var err error
	if m.Slots, err = readBackupRuns(&r); err != nil {
		return err
	}
	m.Last = r.Bool()
	m.Keys, m.Services = r.Uint(), r.Uint()
	rest, from := r.Rest(), r.Offset()
	r.Skip()
	if r.Err() == nil {
		m.Rows = rest[:r.Offset()-from]
	}
	r.Trailing(n, backupPieceFields)
	if err := r.Done(); err != nil {
		return err
	}
	switch {
	case len(m.Slots) > 0 && m.Number > 0:
		return fmt.Errorf("field slots: %d runs in piece %d; want them in the first", len(m.Slots), m.Number)
	case !m.Last && (m.Keys > 0 || m.Services > 0):
		return fmt.Errorf("fields keys and services: %d and %d in a piece that is not the last; want 0", m.Keys, m.Services)
	}
	rows, row := shardmap.ReadBackupRows(m.Rows), shardmap.BackupRow{}
	for rows.Next(&row) {
	}
	return rows.Err()
}

// readBackupRuns reads runs of slots, in order, or none.
func readBackupRuns(r *pack.Reader) ([]shardmap.SlotRange, error) {
	ahead := *r
	if ahead.Array() == 0 {
		*r = ahead
		return nil, r.Err()
	}
	return readRuns(r)
}

func (m *BackupPiece) lines() []string {
	last := ""
	if m.Last {
		last = fmt.Sprintf(", the last, %d keys and %d services in all", m.Keys, m.Services)
	}
	lines := []string{fmt.Sprintf("at %s incarnation %d piece %d%s", raft.FormatLogID(m.Group, m.At), m.Incarnation, m.Number, last)}
	for _, run := range m.Slots {
		lines = append(lines, "slots "+run.String())
	}
	rows, row := shardmap.ReadBackupRows(m.Rows), shardmap.BackupRow{}
	for rows.Next(&row) {
		kind, ends := "key", ""
		if row.Kind == shardmap.KindService {
			kind = "service"
		}
		if row.Ends {
			ends = fmt.Sprintf(" ends in %d ms", row.Remaining)
		}
		lines = append(lines, fmt.Sprintf("%s %s version %d value of %d bytes%s", kind, quoted(row.Name), row.Version, len(row.Value), ends))
	}
	return lines
}
