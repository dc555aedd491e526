package cmd

import (
	"fmt"
	"path"
	"strings"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// entryKeysMax is how many keys of one command are named.
const entryKeysMax = 8

// entryRow is one entry of a group's log.
type entryRow struct {
	LogID    string `json:"log_id"`
	Kind     string `json:"kind"`
	TimeNs   uint64 `json:"time_ns"`
	Bytes    int    `json:"bytes"` // of the payload
	Checksum string `json:"checksum"`

	Admitted  string      `json:"admitted,omitempty"`  // when, by the clock of the node that admitted it
	Principal uint64      `json:"principal,omitempty"` // who sent it
	Rules     uint64      `json:"rules,omitempty"`     // the epoch of the rules that let it in
	Command   string      `json:"command,omitempty"`   // what its command does
	Slot      *int        `json:"slot,omitempty"`
	Keys      []itemText  `json:"keys,omitempty"` // some of them
	KeyCount  int         `json:"key_count,omitempty"`
	Session   string      `json:"session,omitempty"`
	Sequence  uint64      `json:"sequence,omitempty"`
	Members   []memberRow `json:"members,omitempty"`
}

// entryRows are the entries of a record that are wanted.
func (f *logFilter) entryRows(w *logstore.Walked) []entryRow {
	var rows []entryRow
	for i := range w.Entries {
		if e := &w.Entries[i]; e.ID.Index >= f.from && e.ID.Index <= f.to {
			rows = append(rows, entryRowOf(w.Replica.Group, e))
		}
	}
	return rows
}

// entryRowOf says what an entry does. What can't be understood is of a newer
// version, or of none: its checksum fits, so the row stands without it.
func entryRowOf(g raft.GroupID, e *raft.Entry) entryRow {
	r := entryRow{
		LogID: raft.FormatLogID(g, e.ID), Kind: e.Kind.String(), TimeNs: uint64(e.Time),
		Bytes: len(e.Payload()), Checksum: fmt.Sprintf("%08x", e.Checksum()),
	}
	var err error
	switch {
	case e.Kind == raft.EntryMembership:
		var m raft.Membership
		if m, err = raft.ReadMembership(e.Payload()); err == nil {
			r.Command, r.Members = "membership", memberRows(&m)
		}
	case e.Kind != raft.EntryNormal:
	case g == 0:
		err = r.table(e.Payload())
	default:
		err = r.command(e.Payload())
	}
	if err != nil {
		r.Command = "not understood: " + err.Error()
	}
	return r
}

// origin notes where a command comes from.
func (r *entryRow) origin(o wire.Origin) {
	if o.Time != 0 {
		r.Admitted = time.UnixMilli(int64(o.Time)).UTC().Format(admittedLayout)
	}
	r.Principal, r.Rules = uint64(o.Principal), o.Rules
}

// admittedLayout shows a time to the millisecond, as an origin has it.
const admittedLayout = "2006-01-02T15:04:05.000Z"

// table notes what a command to the meta group does.
func (r *entryRow) table(payload []byte) error {
	o, command, err := wire.ReadOrigin(payload)
	if err != nil {
		return err
	}
	r.origin(o)
	r.Command, err = shardmap.DescribeTable(command)
	return err
}

// command notes what a command to a data group does.
func (r *entryRow) command(payload []byte) error {
	var c shardmap.Command
	if err := machine.ReadCommand(payload, &c); err != nil {
		return err
	}
	o, _, err := wire.ReadOrigin(payload)
	if err != nil {
		return err
	}
	r.origin(o)
	if c.Kind.Row().Shape == shardmap.ShapeBody {
		r.Command, err = c.Describe()
		return err
	}
	slot := int(c.Home())
	r.Command, r.Slot, r.KeyCount = c.Kind.String(), &slot, c.Keys()
	if c.Condition != shardmap.ConditionNone {
		r.Command += " if " + c.Condition.String()
		if c.Condition == shardmap.ConditionVersion {
			r.Command += fmt.Sprint(" ", c.Version)
		}
	}
	if c.Session != 0 {
		r.Session, r.Sequence = fmt.Sprintf("%016x", c.Session), c.Sequence
	}
	for i := range min(c.Keys(), entryKeysMax) {
		r.Keys = append(r.Keys, keyText(c.Key(i)))
	}
	return nil
}

// text is the row in one line.
func (r *entryRow) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s group time %v, %d bytes", r.LogID, r.Checksum, r.Kind, time.Duration(r.TimeNs), r.Bytes)
	if r.Admitted != "" {
		fmt.Fprintf(&b, ", admitted %s", r.Admitted)
	}
	if r.Principal != 0 || r.Rules != 0 {
		fmt.Fprintf(&b, " for principal %d by rules %d", r.Principal, r.Rules)
	}
	if r.Command != "" {
		fmt.Fprintf(&b, ": %s", r.Command)
	}
	if r.Slot != nil {
		fmt.Fprintf(&b, " slot %d", *r.Slot)
	}
	for _, k := range r.Keys {
		if k.Key != nil {
			b.WriteString(" " + shown([]byte(*k.Key)))
		} else {
			b.WriteString(" base64 " + *k.KeyBase64)
		}
	}
	if more := r.KeyCount - len(r.Keys); more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	if r.Members != nil {
		b.WriteString(" " + membersText(r.Members))
	}
	return b.String()
}

func identityFile(dir string) string { return path.Join(dir, "identity") }
