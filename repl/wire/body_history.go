package wire

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/pack"
)

// Limits of one [HistoryAnswer]. A client asks for what does not fit by the last version that it got.
const (
	// HistoryRowsMax bounds the rows: all that a rule keeps, and the newest if no rule made it.
	HistoryRowsMax = shardmap.VersionsMax + 1
	// HistoryBytesMax bounds the bytes of their values; one row alone always fits. While a group
	// copies them it applies no entry.
	HistoryBytesMax = 256 << 10
)

// History asks a group for the versions that a key has and had, the newest first:
// [mode, group, key, before, limit, max bytes].
type History struct {
	Mode     ReadMode // linearizable, local or follower
	Group    raft.GroupID
	Key      []byte
	Before   uint64 // only versions that are older than this; 0: all
	Limit    uint32 // rows, at most HistoryRowsMax; 0: that many
	MaxBytes uint32 // of values, at most HistoryBytesMax; 0: that many
}

func (m *History) fields(f *fields) {
	f.exactly(6, func() {
		number(f, "mode", &m.Mode)
		number(f, "group", &m.Group)
		f.bin("key", &m.Key)
		number(f, "before", &m.Before)
		number(f, "limit", &m.Limit)
		number(f, "max_bytes", &m.MaxBytes)
	})
}

// Append appends the body.
func (m *History) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body. Limits of 0 are filled in.
func (m *History) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	switch {
	case m.Mode > ReadFollower:
		return fmt.Errorf("field mode: %d; want %d, %d or %d", m.Mode, ReadLinearizable, ReadLocal, ReadFollower)
	case m.Group > raft.GroupMax:
		return fmt.Errorf("field group: %d; want %d at most", m.Group, raft.GroupMax)
	case len(m.Key) == 0 || len(m.Key) > shardmap.KeyMax:
		return fmt.Errorf("field key: %d bytes; want 1 to %d", len(m.Key), shardmap.KeyMax)
	case m.Limit > HistoryRowsMax:
		return fmt.Errorf("field limit: %d rows; want %d at most", m.Limit, HistoryRowsMax)
	case m.MaxBytes > HistoryBytesMax:
		return fmt.Errorf("field max_bytes: %d; want %d at most", m.MaxBytes, HistoryBytesMax)
	}
	if m.Limit == 0 {
		m.Limit = HistoryRowsMax
	}
	if m.MaxBytes == 0 {
		m.MaxBytes = HistoryBytesMax
	}
	return nil
}

// HistoryAnswer answers a History:
// [group, term, index, versions, age s, more, [[version, how, group, term, index, principal, user, at ms, bin | nil] …]],
// nil where the key was deleted or has expired.
type HistoryAnswer struct {
	Group raft.GroupID
	At    raft.LogID // the rows are as of here
	// Versions and Age are the rule for the key as the group has it: how many versions it keeps,
	// and for how many seconds after they were replaced. 0: there is no rule.
	Versions uint32
	Age      uint32
	More     bool // ask again, before the last version
	Rows     []HistoryRow
}

// HistoryRow is one version of a key.
type HistoryRow struct {
	Version uint64
	How     shardmap.VersionHow
	// Group and ID are the log id of the entry that made it; zero if that is not known, as of a
	// version from before the key had a rule. Then nothing else is known of it.
	Group     raft.GroupID
	ID        raft.LogID
	Principal shardmap.Principal // who sent the command; 0: nobody in particular, or time did it
	User      string             // the principal's name; "" if there is no such user now
	// AtMs is when it was admitted, in ms since 1970, by the clock of the node that did; of what
	// expired, when that was, by the clock of the node that answers. 0: not known.
	AtMs  uint64
	Value []byte // nil: none
}

const (
	historyAnswerFields = 7
	historyRowFields    = 9
	// historyRowBytesMin is what a row takes at least.
	historyRowBytesMin = 1 + historyRowFields
)

// Append appends the body.
func (m *HistoryAnswer) Append(b []byte) []byte {
	b = pack.AppendArray(b, historyAnswerFields)
	b = appendLogID(b, m.Group, m.At)
	b = pack.AppendUint(b, uint64(m.Versions))
	b = pack.AppendUint(b, uint64(m.Age))
	b = pack.AppendBool(b, m.More)
	b = pack.AppendArray(b, len(m.Rows))
	for i := range m.Rows {
		row := &m.Rows[i]
		b = pack.AppendArray(b, historyRowFields)
		b = pack.AppendUint(b, row.Version)
		b = pack.AppendUint(b, uint64(row.How))
		b = appendLogID(b, row.Group, row.ID)
		b = pack.AppendUint(b, uint64(row.Principal))
		b = pack.AppendString(b, row.User)
		b = pack.AppendUint(b, row.AtMs)
		if row.Value == nil {
			b = pack.AppendNil(b)
		} else {
			b = pack.AppendBytes(b, row.Value)
		}
	}
	return b
}

// Read reads the body. Values alias it.
func (m *HistoryAnswer) Read(body []byte) error {
	r := pack.NewReader(body)
	n := r.Array()
	m.Group, m.At = readLogID(&r)
	m.Versions, m.Age = uint32(r.UintMax(shardmap.VersionsMax)), uint32(r.UintMax(uint64(shardmap.VersionAgeMax.Seconds())))
	m.More = r.Bool()
	rows := r.Array()
	if err := r.Err(); err != nil {
		return err
	}
	if rows > HistoryRowsMax || rows > len(r.Rest())/historyRowBytesMin {
		return fmt.Errorf("%d rows in %d bytes, want %d at most", rows, len(r.Rest()), HistoryRowsMax)
	}
	m.Rows = make([]HistoryRow, rows)
	for i := range m.Rows {
		fields := r.Array()
		row := HistoryRow{Version: r.Uint(), How: shardmap.VersionHow(r.UintMax(255))}
		row.Group, row.ID = readLogID(&r)
		row.Principal, row.User, row.AtMs = shardmap.Principal(r.Uint()), r.String(), r.Uint()
		if !r.Nil() {
			row.Value = r.Bytes()
		}
		r.Trailing(fields, historyRowFields)
		switch {
		case r.Err() != nil:
			return r.Err()
		case row.Version == 0 || i > 0 && row.Version >= m.Rows[i-1].Version:
			return fmt.Errorf("row %d: version %d; want one that is older than that of the row before", i, row.Version)
		case (row.How == shardmap.VersionSet) != (row.Value != nil):
			return fmt.Errorf("row %d: %s, with a value: %t; want a value if it was set, and none else", i, row.How, row.Value != nil)
		}
		m.Rows[i] = row
	}
	r.Trailing(n, historyAnswerFields)
	return r.Done()
}

func (m *HistoryAnswer) lines() []string {
	lines := []string{fmt.Sprintf("at %s versions %d age %d s more %t", raft.FormatLogID(m.Group, m.At), m.Versions, m.Age, m.More)}
	for i := range m.Rows {
		row := &m.Rows[i]
		line := fmt.Sprintf("version %d %s at %s by %d %q at %d ms", row.Version, row.How, raft.FormatLogID(row.Group, row.ID), row.Principal, row.User, row.AtMs)
		if row.Value != nil {
			line += " value " + quoted(row.Value)
		}
		lines = append(lines, line)
	}
	return lines
}
