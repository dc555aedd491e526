package shardmap

import (
	"fmt"

	"muster/raft"
	"muster/shardmap/pack"
)

// TableCommandKind says what a command to the meta group does. Numbers are for
// ever; commands.go has a row for each.
type TableCommandKind uint8

const (
	TableFound       TableCommandKind = 1  // makes the cluster; body: Found
	TableAnnounce    TableCommandKind = 2  // a member says what it is; body: Announce
	TableJoin        TableCommandKind = 3  // a host becomes a member; body: Join
	TableMembers     TableCommandKind = 4  // what a group's membership has become; body: Members
	TableLeave       TableCommandKind = 5  // a node is no member any more; body: Leave
	TableDrain       TableCommandKind = 6  // a node's replicas are to go elsewhere, or may stay; body: Drain
	TableLabel       TableCommandKind = 7  // labels are given to a node; body: SetLabels
	TableSetting     TableCommandKind = 8  // the cluster's setting is changed; body: Setting
	TablePrefer      TableCommandKind = 9  // who should lead a group; body: Prefer
	TableJob         TableCommandKind = 10 // a job begins; body: NewJob
	TableJobState    TableCommandKind = 11 // a job pauses, runs again or ends; body: SetJobState
	TableJobProgress TableCommandKind = 12 // how far a job is; body: JobProgress
	TableMoveBegin   TableCommandKind = 13 // slots begin to move; body: MoveBegin
	TableMoveRecord  TableCommandKind = 14 // slots are at their target; body: MoveRecord
	TableMoveClose   TableCommandKind = 15 // moves have ended; body: MoveClose
	TableMoveCancel  TableCommandKind = 16 // moves are no longer wanted; body: MoveCancel
	TableGroupCreate TableCommandKind = 17 // a data group is made; body: GroupCreate
	TableGroupRemove TableCommandKind = 18 // a data group goes; body: GroupRemove
	TableWeight      TableCommandKind = 19 // how much of the data a node should hold; body: SetWeight
	TableJobBytes    TableCommandKind = 20 // how far a job that moves slots is; body: JobBytes
	TableIncident    TableCommandKind = 21 // a replica differs, or was rebuilt; body: NoteIncident
	TableAcknowledge TableCommandKind = 22 // a person has seen incidents; body: Acknowledge
	TableTLSMode     TableCommandKind = 23 // how members speak with each other; body: SetTLSMode
	TableRoot        TableCommandKind = 24 // a root comes, or is for something else; body: SetRoot
	TablePin         TableCommandKind = 25 // which certificate a member has; body: SetPin
	TableDeny        TableCommandKind = 26 // a certificate is no longer good; body: Deny
	TableToken       TableCommandKind = 27 // a token is made; body: NewToken
	TableTokenUse    TableCommandKind = 28 // a host comes by a token; body: UseToken
	TableTokenRevoke TableCommandKind = 29 // a token is no longer good; body: RevokeToken
	TableUser        TableCommandKind = 30 // a user comes, changes or goes; body: ChangeUser
	TableUserRoles   TableCommandKind = 31 // a user gets roles, or loses some; body: ChangeUserRoles
	TableRole        TableCommandKind = 32 // a role comes, changes or goes; body: ChangeRole
	TableLimit       TableCommandKind = 33 // keys that begin with a prefix are bounded; body: SetLimit
	TableTrailHead   TableCommandKind = 34 // how far the trail of a node is; body: NoteTrail
	TableErrand      TableCommandKind = 35 // how far an errand is, or that it has ended; body: NoteErrand
	TableDatabase    TableCommandKind = 36 // a database comes or goes; body: ChangeDatabase
	TablePolicy      TableCommandKind = 37 // a policy comes, changes or goes; body: ChangePolicy
	TableWindow      TableCommandKind = 38 // a window is made; body: NewWindow

	TableWindowTruncate TableCommandKind = 39 // windows take no later points; body: TruncateWindows
	TableWindowHide     TableCommandKind = 40 // windows are over; body: HideWindows
	TableWindowDrop     TableCommandKind = 41 // windows go; body: DropWindows
)

// Limits of the table. They are checked when a command is applied: one that is
// beyond them is refused, alike on every replica.
const (
	// TableNodesMax bounds the peer list, which every node and client holds.
	TableNodesMax = 1000
	// TableTextMax bounds each name, address, version, label, in bytes.
	TableTextMax = 255
	// TableLabelsMax bounds the labels that a node announces, and those that it was given.
	TableLabelsMax = 64
	// TableReplicasMax bounds the replicas of all groups together, so that each node can
	// read the table's snapshot.
	TableReplicasMax = 1 << 17
	// JobsMax bounds the unfinished jobs. A person sees no further, and the table goes to
	// each node with each change.
	JobsMax = 256
	// JobsKept is how many finished jobs are remembered.
	JobsKept = 64
	// RemovedMax bounds the nodes that were taken off the list.
	RemovedMax = 65536
	// TableElementsMax bounds the msgpack elements of one command.
	TableElementsMax = 1 << 18
)

// appendTableHead appends what stands before the fields of a command's body.
func appendTableHead(b []byte, k TableCommandKind, fields int) []byte {
	b = pack.AppendArray(b, 2)
	b = pack.AppendUint(b, uint64(k))
	return pack.AppendArray(b, fields)
}

// tableReader reads the body of a command: of those to the meta group, and of those to
// data groups that have one.
type tableReader struct {
	pack.Reader
	level error // the first thing that a newer level must have written
}

// fields takes the head of an array that has want fields at this level.
func (r *tableReader) fields(what string, want int) {
	if n := r.Array(); r.Err() == nil && n != want {
		if n > want && r.level == nil {
			r.level = fmt.Errorf("%s of %d fields: %w; level %d has %d", what, n, ErrLevel, Level, want)
		}
		r.Fail(fmt.Sprintf("%s of %d fields, want %d", what, n, want))
	}
}

// err returns what kept the command from being read.
func (r *tableReader) err() error {
	if r.level != nil {
		return r.level
	}
	if err := r.Done(); err != nil {
		return fmt.Errorf("%w: %w", ErrCommand, err)
	}
	return nil
}

// list reads an array by calling read for each element, of bytes bytes at least,
// as long as there is no mistake. Room is made only for what can be there.
func list[E any](r *tableReader, bytes int, read func() E) []E {
	n := r.Array()
	if left := len(r.Rest()); n > left/bytes {
		r.Fail(fmt.Sprintf("%d elements in %d bytes", n, left))
	}
	if n == 0 || r.Err() != nil {
		return nil
	}
	out := make([]E, 0, n)
	for i := 0; i < n && r.Err() == nil; i++ {
		out = append(out, read())
	}
	return out
}

// tableCommand is a command to the meta group that was read.
type tableCommand interface {
	// apply returns the table as it is with the command of the entry id, or why
	// the command is refused. It leaves t as it is.
	apply(t *Table, id raft.LogID) (*Table, error)
	// describe says in one line what it does.
	describe() string
}

func readTableCommand(payload []byte) (*CommandRow, tableCommand, error) {
	if err := pack.Check(payload, TableElementsMax); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrCommand, err)
	}
	r := tableReader{Reader: pack.NewReader(payload)}
	row, err := r.row()
	if err != nil {
		return nil, nil, err
	}
	c, err := row.read(&r)
	return row, c, err
}

// row reads what stands before the body.
func (r *tableReader) row() (*CommandRow, error) {
	r.fields("command to the meta group", 2)
	kind := r.Uint()
	if r.Err() != nil {
		return nil, r.err()
	}
	if kind == 0 || kind >= uint64(len(tableRows)) {
		return nil, fmt.Errorf("command to the meta group of kind %d: %w; level %d ends at %d", kind, ErrLevel, Level, len(tableRows)-1)
	}
	return &tableRows[kind], nil
}

// TableRow returns the row of a command to the meta group, whose body it does not
// look at.
func TableRow(payload []byte) (*CommandRow, error) {
	r := tableReader{Reader: pack.NewReader(payload)}
	return r.row()
}

// TableKindOf returns the kind of a command to the meta group; 0 if this level has none
// such. It does not look at the body.
func TableKindOf(payload []byte) TableCommandKind {
	r := tableReader{Reader: pack.NewReader(payload)}
	r.fields("command to the meta group", 2)
	if kind := r.Uint(); r.Err() == nil && kind < uint64(len(tableRows)) {
		return TableCommandKind(kind)
	}
	return 0
}
