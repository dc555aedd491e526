package shardmap

import (
	"fmt"
	"strings"
)

// Level is the newest level of commands that this code understands. It rises by
// one whenever a row or a field is added that an older build would not
// understand.
const Level = 10

// MovesLevel is the level of a cluster from which on slots move: below it some member does
// not know the commands.
const MovesLevel = 4

// LeasesLevel is the level of a cluster from which on there are transactions, leases, keys
// that expire, and a history of events.
const LeasesLevel = 5

// ServicesLevel is the level of a cluster from which on there are services.
const ServicesLevel = 6

// AuditLevel is the level of a cluster from which on the replicas of a group compare their states.
const AuditLevel = 7

// SecurityLevel is the level of a cluster from which on its table has certificates, users, roles,
// tokens and limits.
const SecurityLevel = 8

// RangesLevel is the level of a cluster from which on nodes answer for ranges of keys: listings
// that descend or have an end, deletes of a prefix, backups.
const RangesLevel = 9

// PointsLevel is the level of a cluster from which on it has time series: databases with their
// policies and windows in its table, and shards in its data groups.
const PointsLevel = 10

// Shape says how the items of a command lie. It decides which of them are keys.
type Shape uint8

const (
	ShapeKeys  Shape = iota + 1 // key, key, …
	ShapePairs                  // key, value, key, value, …
	ShapeBody                   // a body of its own: of the meta group's commands; in a data group the only item
)

// CommandRow is what there is to know of one kind of command. The code that admits,
// proposes, applies, shows or documents commands reads it here.
type CommandRow struct {
	// Kind is the number of the command, among those of data groups or among
	// those of the meta group. Numbers are for ever.
	Kind uint8
	Name string
	// Level is the cluster's level from which on the command is admitted: below it,
	// some member could not apply it.
	Level uint32
	Shape Shape
	// Frees: the command is admitted even when disks are full, because it frees room
	// or because the cluster can't do without it.
	Frees bool
	// frees reports whether a command of this row is, where that depends on what it says,
	// and freeing says of which it is true.
	frees   func(c *Command) bool
	freeing string
	// Conditions are those that it may have, besides none.
	Conditions []Condition
	// Internal: a group's own leader proposes the command. A client's is refused.
	Internal bool
	// Asked: a person may order the command, through a client. All others of the meta
	// group are its leader's own.
	Asked bool
	// KeysMax bounds its keys if that is less than what fits in [ItemsMax]; 0: no
	// further bound.
	KeysMax int

	// change carries out a command of a data group whose condition holds, and gives
	// version to what it writes. It returns how many keys it deleted. nil: the
	// command changes nothing.
	change func(s *slotState, m *Map, c *Command, version uint64) (deleted uint32)
	// act carries out a command of a data group that is about one slot and has a body, which
	// readBody has read before. An error of readBody is about the bytes.
	act      func(s *slotState, m *Map, c *Command) Result
	readBody func(b *body, c *Command) error
	// whole carries out a command of a data group that is not about the keys of one
	// slot. An error is about its bytes; then nothing has changed.
	whole func(m *Map, at entryAt, c *Command) (Status, error)
	// validate checks the body of a client's command against the cluster's limits.
	validate func(c *Command, l Limits) error
	// describe says in one line what the body of a command of a data group says.
	describe func(c *Command) (string, error)
	// read reads the body of a command of the meta group.
	read func(*tableReader) (tableCommand, error)
}

// commandRows are the commands of data groups, by kind. The first is none.
var commandRows = [...]CommandRow{
	CommandSet:   {Name: "set", Level: 1, Shape: ShapePairs, Conditions: []Condition{ConditionAbsent, ConditionVersion}, change: (*slotState).set},
	CommandDel:   {Name: "del", Level: 1, Shape: ShapeKeys, Frees: true, Conditions: []Condition{ConditionVersion}, change: (*slotState).del},
	CommandCheck: {Name: "check", Level: 2, Shape: ShapeKeys, Conditions: []Condition{ConditionAbsent, ConditionVersion}, KeysMax: 1},
	// Every member knows own, whatever the cluster's level: the protocol's version was
	// raised with it.
	CommandOwn: {Name: "own", Level: 1, Shape: ShapeBody, Frees: true, Internal: true, whole: found, describe: describeOwn},
	// Only a chunk needs room. All others end something, mostly that a slot is twice.
	CommandChunk:    {Name: "chunk", Level: 4, Shape: ShapeBody, Internal: true, whole: moveChunk, describe: describeChunk},
	CommandSeal:     {Name: "seal", Level: 4, Shape: ShapeBody, Frees: true, Internal: true, whole: moveSteps, describe: describeSteps},
	CommandTakeover: {Name: "takeover", Level: 4, Shape: ShapeBody, Frees: true, Internal: true, whole: moveSteps, describe: describeSteps},
	CommandRefuse:   {Name: "refuse", Level: 4, Shape: ShapeBody, Frees: true, Internal: true, whole: moveSteps, describe: describeSteps},
	CommandCancel:   {Name: "cancel", Level: 4, Shape: ShapeBody, Frees: true, Internal: true, whole: moveSteps, describe: describeSteps},
	CommandUnseal:   {Name: "unseal", Level: 4, Shape: ShapeBody, Frees: true, Internal: true, whole: moveSteps, describe: describeSteps},
	CommandDrop:     {Name: "drop", Level: 4, Shape: ShapeBody, Frees: true, Internal: true, whole: moveSteps, describe: describeSteps},
	CommandForget:   {Name: "forget", Level: 4, Shape: ShapeBody, Frees: true, Internal: true, whole: moveSteps, describe: describeSteps},
	CommandTxn:      {Name: "txn", Level: LeasesLevel, Shape: ShapeBody, frees: (*Command).txnFrees, freeing: "if its operations are none but del and get", act: (*slotState).txn, readBody: (*body).readTxn, validate: (*Command).validateTxn, describe: describeTxn},
	CommandLease:    {Name: "lease", Level: LeasesLevel, Shape: ShapeBody, frees: (*Command).leaseFrees, freeing: "keepalive and revoke", act: (*slotState).lease, readBody: (*body).readLease, validate: (*Command).validateLease, describe: describeLease},
	CommandRaise:    {Name: "raise", Level: LeasesLevel, Shape: ShapeBody, Frees: true, Internal: true, whole: raise, describe: describeRaise},
	CommandService:  {Name: "service", Level: ServicesLevel, Shape: ShapeBody, frees: (*Command).serviceFrees, freeing: "del and remove", act: (*slotState).service, readBody: (*body).readService, validate: (*Command).validateService, describe: describeService},
	// A report is small, and without it clients would be sent to what is down.
	CommandReport:    {Name: "report", Level: ServicesLevel, Shape: ShapeBody, Frees: true, Internal: true, act: (*slotState).report, readBody: (*body).readReport, describe: describeReport},
	CommandDelPrefix: {Name: "del prefix", Level: RangesLevel, Shape: ShapeBody, Frees: true, act: deletePrefix, readBody: (*body).readDelPrefix, validate: (*Command).validateDelPrefix, describe: describeDelPrefix},
	CommandPoints:    {Name: "points", Level: PointsLevel, Shape: ShapeBody, whole: bringPoints, validate: (*Command).validatePoints, describe: describePoints},
	// A seal and its file give back memory and log; a window that retention drops, room on the disk.
	CommandPointsSeal:   {Name: "seal points", Level: PointsLevel, Shape: ShapeBody, Frees: true, Internal: true, whole: sealPoints, describe: describePointsSeal},
	CommandPointsSealed: {Name: "sealed points", Level: PointsLevel, Shape: ShapeBody, Frees: true, Internal: true, whole: namePoints, describe: describePointsSealed},
	CommandDropShards:   {Name: "drop shards", Level: PointsLevel, Shape: ShapeBody, Frees: true, Internal: true, whole: dropShards, describe: describeDropShards},
	// A tombstone takes a few bytes, until the next seal leaves out what it hides.
	CommandPointsDelete: {Name: "delete points", Level: PointsLevel, Shape: ShapeBody, Frees: true, whole: deletePoints, validate: (*Command).validatePointsDelete, describe: describePointsDelete},
	CommandVersions:     {Name: "versions", Level: RangesLevel, Shape: ShapeBody, Frees: true, Internal: true, whole: setVersions, describe: describeVersions},
}

// tableRows are the commands of the meta group, by kind.
var tableRows = [...]CommandRow{
	TableFound:    {Name: "found", Level: 1, Shape: ShapeBody, Frees: true, read: (*tableReader).found},
	TableAnnounce: {Name: "announce", Level: 1, Shape: ShapeBody, Frees: true, read: (*tableReader).announce},
	// Nodes come and go even when disks are full: that is how they get room.
	TableJoin:        {Name: "join", Level: 3, Shape: ShapeBody, Frees: true, read: (*tableReader).join},
	TableMembers:     {Name: "members", Level: 3, Shape: ShapeBody, Frees: true, read: (*tableReader).members},
	TableLeave:       {Name: "leave", Level: 3, Shape: ShapeBody, Frees: true, read: (*tableReader).leave},
	TableDrain:       {Name: "drain", Level: 3, Shape: ShapeBody, Frees: true, Asked: true, read: (*tableReader).drain},
	TableLabel:       {Name: "label", Level: 3, Shape: ShapeBody, Frees: true, Asked: true, read: (*tableReader).setLabels},
	TableSetting:     {Name: "setting", Level: 3, Shape: ShapeBody, Frees: true, Asked: true, read: (*tableReader).setting},
	TablePrefer:      {Name: "prefer", Level: 3, Shape: ShapeBody, Frees: true, read: (*tableReader).prefer},
	TableJob:         {Name: "job", Level: 3, Shape: ShapeBody, Frees: true, Asked: true, read: (*tableReader).newJob},
	TableJobState:    {Name: "job state", Level: 3, Shape: ShapeBody, Frees: true, Asked: true, read: (*tableReader).setJobState},
	TableJobProgress: {Name: "job progress", Level: 3, Shape: ShapeBody, Frees: true, read: (*tableReader).jobProgress},
	TableMoveBegin:   {Name: "move begin", Level: 4, Shape: ShapeBody, Frees: true, read: (*tableReader).moveBegin},
	TableMoveRecord:  {Name: "move record", Level: 4, Shape: ShapeBody, Frees: true, read: (*tableReader).moveRecord},
	TableMoveClose:   {Name: "move close", Level: 4, Shape: ShapeBody, Frees: true, read: (*tableReader).moveClose},
	TableMoveCancel:  {Name: "move cancel", Level: 4, Shape: ShapeBody, Frees: true, read: (*tableReader).moveCancel},
	TableGroupCreate: {Name: "group create", Level: 4, Shape: ShapeBody, Frees: true, Asked: true, read: (*tableReader).groupCreate},
	TableGroupRemove: {Name: "group remove", Level: 4, Shape: ShapeBody, Frees: true, Asked: true, read: (*tableReader).groupRemove},
	TableWeight:      {Name: "weight", Level: 4, Shape: ShapeBody, Frees: true, Asked: true, read: (*tableReader).weight},
	TableJobBytes:    {Name: "job bytes", Level: 4, Shape: ShapeBody, Frees: true, read: (*tableReader).jobBytes},
	TableIncident:    {Name: "incident", Level: AuditLevel, Shape: ShapeBody, Frees: true, read: readNote},
	TableAcknowledge: {Name: "acknowledge", Level: AuditLevel, Shape: ShapeBody, Frees: true, Asked: true, read: readAcknowledge},
	TableTLSMode:     {Name: "tls mode", Level: SecurityLevel, Shape: ShapeBody, Frees: true, read: readSetTLSMode},
	TableRoot:        {Name: "root", Level: SecurityLevel, Shape: ShapeBody, Frees: true, read: readSetRoot},
	TablePin:         {Name: "pin", Level: SecurityLevel, Shape: ShapeBody, Frees: true, read: readSetPin},
	TableDeny:        {Name: "deny", Level: SecurityLevel, Shape: ShapeBody, Frees: true, read: readDeny},
	TableToken:       {Name: "token", Level: SecurityLevel, Shape: ShapeBody, Frees: true, Asked: true, read: readNewToken},
	TableTokenUse:    {Name: "token use", Level: SecurityLevel, Shape: ShapeBody, Frees: true, read: readUseToken},
	TableTokenRevoke: {Name: "token revoke", Level: SecurityLevel, Shape: ShapeBody, Frees: true, Asked: true, read: readRevokeToken},
	TableUser:        {Name: "user", Level: SecurityLevel, Shape: ShapeBody, Frees: true, Asked: true, read: readChangeUser},
	TableUserRoles:   {Name: "user roles", Level: SecurityLevel, Shape: ShapeBody, Frees: true, Asked: true, read: readChangeUserRoles},
	TableRole:        {Name: "role", Level: SecurityLevel, Shape: ShapeBody, Frees: true, Asked: true, read: readChangeRole},
	TableLimit:       {Name: "limit", Level: SecurityLevel, Shape: ShapeBody, Frees: true, Asked: true, read: readSetLimit},
	TableTrailHead:   {Name: "trail", Level: SecurityLevel, Shape: ShapeBody, Frees: true, read: readNoteTrail},
	TableErrand:      {Name: "errand", Level: RangesLevel, Shape: ShapeBody, Frees: true, read: readNoteErrand},
	TableDatabase:    {Name: "database", Level: PointsLevel, Shape: ShapeBody, Frees: true, Asked: true, read: readChangeDatabase},
	TablePolicy:      {Name: "policy", Level: PointsLevel, Shape: ShapeBody, Frees: true, Asked: true, read: readChangePolicy},
	TableWindow:      {Name: "window", Level: PointsLevel, Shape: ShapeBody, Frees: true, read: readNewWindow},

	TableWindowTruncate: {Name: "window truncate", Level: PointsLevel, Shape: ShapeBody, Frees: true, Asked: true, read: readTruncateWindows},
	TableWindowHide:     {Name: "window hide", Level: PointsLevel, Shape: ShapeBody, Frees: true, read: readHideWindows},
	TableWindowDrop:     {Name: "window drop", Level: PointsLevel, Shape: ShapeBody, Frees: true, read: readDropWindows},
}

// Row returns the row of k; nil if this level has none.
func (k CommandKind) Row() *CommandRow {
	if k == 0 || int(k) >= len(commandRows) {
		return nil
	}
	return &commandRows[k]
}

// Row returns the row of k; nil if this level has none.
func (k TableCommandKind) Row() *CommandRow {
	if k == 0 || int(k) >= len(tableRows) {
		return nil
	}
	return &tableRows[k]
}

// Commands returns the rows of the commands of data groups, by kind, for the
// documents.
func Commands() []CommandRow { return numbered(commandRows[1:]) }

// TableCommands returns the rows of the commands of the meta group, by kind.
func TableCommands() []CommandRow { return numbered(tableRows[1:]) }

func numbered(rows []CommandRow) []CommandRow {
	out := make([]CommandRow, len(rows))
	for i, r := range rows {
		r.Kind = uint8(i + 1)
		out[i] = r
	}
	return out
}

// Admit returns an error if a command of this row must not reach the log of a cluster
// at level: some member would not understand it, and would stop.
func (r *CommandRow) Admit(level uint32) error {
	if r.Level > level && !bug("command above the level proposed") {
		return &LevelError{What: r.Name, Needs: r.Level, Level: level}
	}
	return nil
}

// understood returns an error if a replica of a build that understands no more than
// level can't apply a command of this row.
func (r *CommandRow) understood(level uint32) error {
	if r.Level > level {
		return &LevelError{What: r.Name, Needs: r.Level, Level: level}
	}
	return nil
}

// takes reports whether a command of this row may have condition c.
func (r *CommandRow) takes(c Condition) bool {
	if c == ConditionNone {
		return true
	}
	for _, has := range r.Conditions {
		if has == c {
			return true
		}
	}
	return false
}

// TakenConditions names the conditions that a command of this row may have.
func (r *CommandRow) TakenConditions() string {
	names := []string{ConditionNone.String()}
	for _, c := range r.Conditions {
		names = append(names, c.String())
	}
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// WhenFull says, for the documents, whether full disks admit a command of this row.
func (r *CommandRow) WhenFull() string {
	switch {
	case r.frees != nil:
		return r.freeing
	case r.Frees:
		return "yes"
	}
	return "no"
}

// Frees reports whether full disks admit the command, whose kind has a row.
func (c *Command) Frees() bool {
	row := c.Kind.Row()
	return row.Frees || row.frees != nil && row.frees(c)
}

// Items describes the items of a command of this row.
func (r *CommandRow) Items() string {
	switch {
	case r.Shape == ShapePairs:
		return "key, value, key, value, …"
	case r.Shape == ShapeKeys && r.KeysMax == 1:
		return "key"
	case r.Shape == ShapeKeys:
		return "key, key, …"
	}
	return "a body of its own"
}

// LevelError is the error for a command above a level: the cluster's at admission,
// this build's on apply. It wraps [ErrLevel].
type LevelError struct {
	What         string // the command's name
	Needs, Level uint32
}

func (e *LevelError) Error() string {
	return fmt.Sprintf("command %s: %v; it needs level %d, here is level %d", e.What, ErrLevel, e.Needs, e.Level)
}

// Unwrap returns [ErrLevel].
func (e *LevelError) Unwrap() error { return ErrLevel }

// Limits are what a cluster holds its commands to, at admission.
type Limits struct {
	ValueMax int    // bytes of a value
	Level    uint32 // that all its members understand
}

// Limits returns the limits for commands in the table's cluster.
func (t *Table) Limits() Limits { return Limits{ValueMax: t.ValueMax, Level: t.Level} }
