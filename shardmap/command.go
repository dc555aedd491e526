package shardmap

import (
	"errors"
	"fmt"

	"muster/shardmap/access"
	"muster/shardmap/pack"
	"muster/shardmap/points"
)

// Limits of a command. They are checked where a command is admitted, by
// [Command.Validate], and never where it is applied: an entry in the log has
// been promised already.
const (
	// KeyMax bounds a key, in bytes: a path or an identifier, not a document.
	KeyMax = 4096
	// ValueMaxDefault bounds a value, in bytes, unless the cluster was
	// founded with another limit.
	ValueMaxDefault = 1 << 20
	// ValueMaxLimit is the largest limit for values that a cluster can have;
	// one value must fit in a log entry.
	ValueMaxLimit = 16 << 20
	// ItemsMax bounds the items of one command: an entry is applied in one
	// go, and all who read the slot wait for it.
	ItemsMax = 16384
	// SessionWindowMax bounds the sequences that a session may have open at
	// once, because the outcome of each is kept.
	SessionWindowMax = 65536
)

// CommandKind says what a command does. Numbers are for ever; commands.go has a
// row for each.
type CommandKind uint8

const (
	CommandSet   CommandKind = 1 // gives keys values
	CommandDel   CommandKind = 2 // removes keys
	CommandCheck CommandKind = 3 // changes nothing; it takes effect if its condition holds
	CommandOwn   CommandKind = 4 // founds the group: says which slots it owns (own.go)

	// What moves slots. The target is the group that a slot goes to, the source the one
	// that it comes from (step.go).

	CommandChunk    CommandKind = 5  // to the target: a piece of the slot
	CommandSeal     CommandKind = 6  // to the source: it serves the slot no more
	CommandTakeover CommandKind = 7  // to the target: it serves the slot from now on
	CommandRefuse   CommandKind = 8  // to the target: it will not take the slot over
	CommandCancel   CommandKind = 9  // to the source: it will not seal the slot
	CommandUnseal   CommandKind = 10 // to the source: it serves the slot again, since the target refused
	CommandDrop     CommandKind = 11 // to the source: it forgets the slot, since the target took over
	CommandForget   CommandKind = 12 // to the target: nobody will ask for its decision again

	// What clients ask for with a body that says what it is.

	CommandTxn   CommandKind = 13 // compares keys, and then changes and reads some (txn.go)
	CommandLease CommandKind = 14 // grants, keeps alive or revokes a lease (lease.go)

	CommandRaise CommandKind = 15 // the group does from now on what a level brings (raise.go)

	CommandService CommandKind = 16 // defines a service, or changes or removes it (service.go)
	CommandReport  CommandKind = 17 // what the checks of a service have found (report.go)

	CommandDelPrefix CommandKind = 18 // removes keys of one slot that begin with a prefix (delprefix.go)

	CommandVersions CommandKind = 19 // says which keys of the group keep their versions (versionrules.go)

	// Points live in shards and not in slots (pointscommand.go).

	CommandPoints       CommandKind = 20 // brings points to a shard
	CommandPointsSeal   CommandKind = 21 // freezes the head of a shard, of which a block file is made
	CommandPointsSealed CommandKind = 22 // says the name of that file
	CommandDropShards   CommandKind = 23 // forgets the shards of windows
	CommandPointsDelete CommandKind = 24 // takes points away from shards (pointsdelete.go)
)

// answersMuch reports whether results of the kind have details that are taken only while
// there is room for them. Those of other kinds are a few bytes for each outcome, and outcomes
// have a bound of their own: if a keepalive were refused because others read much, the keys of
// whoever is alive would go.
func (k CommandKind) answersMuch() bool { return k == CommandTxn || k == CommandDelPrefix }

func (k CommandKind) String() string {
	if r := k.Row(); r != nil {
		return r.Name
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Condition says when a command takes effect. Numbers are for ever.
type Condition uint8

const (
	ConditionNone    Condition = 0 // always
	ConditionAbsent  Condition = 1 // if the key is not there
	ConditionVersion Condition = 2 // if the key is there at Version
)

func (c Condition) String() string {
	switch c {
	case ConditionNone:
		return "none"
	case ConditionAbsent:
		return "absent"
	case ConditionVersion:
		return "version"
	}
	return fmt.Sprintf("condition %d", uint8(c))
}

// Principal is whoever may do something in the cluster.
type Principal = access.Principal

// Command is one change to the keys of one slot, all of it or nothing; or, with a
// body of its own, to a whole group.
//
// It is a msgpack array of eight, integers in their shortest form:
//
//	[kind, session, sequence, floor, slot, condition, version, [bin, …]]
//
// What is shorter or of other types is broken ([ErrCommand]); what is longer,
// or names a kind or condition that is not known here, was made by a newer
// level ([ErrLevel]).
type Command struct {
	Kind CommandKind
	// Session and Sequence name the command, so that it takes effect once
	// however often it is sent. Session 0 has no memory.
	Session, Sequence uint64
	// Floor is the lowest sequence of the session that its owner still waits
	// for; what lies below can be forgotten.
	Floor     uint64
	Slot      Slot // of all keys, or [SlotByServer]; beside a body, one that it is about
	Condition Condition
	Version   uint64 // with ConditionVersion
	Items     [][]byte

	// keyHash is [hashKey] of the first key once [Map.Warm] has computed it, else 0, as
	// ReadCommand leaves it.
	keyHash uint64

	// Principal sent the command. It is not among the bytes, which are the
	// client's: the node that admits the command says it of the client, beside them.
	// ReadCommand leaves 0.
	Principal Principal
	// Admitted is when the command was admitted, by the clock of the node that did, in ms since 1970;
	// 0: nobody says. It is not among the bytes either, is for people to read, and decides nothing.
	Admitted uint64
	// Limits are those of the database, with points; zero: [points.DefaultLimits]. The node that admits the command says them,
	// beside the bytes: an entry has to do the same on all replicas, whatever their tables say.
	Limits points.Limits
}

var (
	// ErrLevel is wrapped by errors about bytes that a newer level wrote.
	ErrLevel = errors.New("of a newer level")
	// ErrOlder is wrapped by errors about bytes that an older build wrote, in a format
	// that is not read any more.
	ErrOlder = errors.New("of an older build")
	// ErrCommand is wrapped by errors about bytes that are no command.
	ErrCommand = errors.New("not a command")
)

const commandFields = 8

// AppendCommand appends the bytes of c to b.
func AppendCommand(b []byte, c *Command) []byte {
	b = pack.AppendArray(b, commandFields)
	b = pack.AppendUint(b, uint64(c.Kind))
	b = pack.AppendUint(b, c.Session)
	b = pack.AppendUint(b, c.Sequence)
	b = pack.AppendUint(b, c.Floor)
	b = pack.AppendUint(b, uint64(c.Slot))
	b = pack.AppendUint(b, uint64(c.Condition))
	b = pack.AppendUint(b, c.Version)
	b = pack.AppendArray(b, len(c.Items))
	for _, item := range c.Items {
		b = pack.AppendBytes(b, item)
	}
	return b
}

// ReadCommand reads the command that is all of b. The items alias b, and the
// slice that holds them is used again. What it leaves in c after an error means
// nothing.
func ReadCommand(b []byte, c *Command) error {
	r := pack.NewReader(b)
	fields := r.Array()
	if r.Err() != nil {
		return fmt.Errorf("%w: %w", ErrCommand, r.Err())
	}
	if fields < commandFields {
		return fmt.Errorf("%w: %d fields, want %d", ErrCommand, fields, commandFields)
	}
	kind := r.Uint()
	if r.Err() == nil && (kind == 0 || kind >= uint64(len(commandRows))) {
		return fmt.Errorf("command of kind %d: %w; level %d ends at %d", kind, ErrLevel, Level, len(commandRows)-1)
	}
	if fields > commandFields {
		return fmt.Errorf("command of %d fields: %w; level %d has %d", fields, ErrLevel, Level, commandFields)
	}
	// The hash is of the command that c was before. Warm sets another one only where it finds
	// the slot, and the slot may come between Warm and Apply.
	c.Kind, c.Principal, c.Admitted, c.keyHash = CommandKind(kind), 0, 0, 0
	c.Session, c.Sequence, c.Floor = r.Uint(), r.Uint(), r.Uint()
	slot, condition := r.Uint(), r.Uint()
	c.Version = r.Uint()
	n := r.Array()
	if r.Err() != nil {
		return fmt.Errorf("%w: %w", ErrCommand, r.Err())
	}
	if slot >= Slots && slot != uint64(SlotByServer) {
		return fmt.Errorf("%w: slot %d, want 0 to %d", ErrCommand, slot, Slots-1)
	}
	if condition > uint64(ConditionVersion) {
		return fmt.Errorf("command with condition %d: %w; level %d ends at %d", condition, ErrLevel, Level, ConditionVersion)
	}
	c.Slot, c.Condition = Slot(slot), Condition(condition)
	// An item is a bin and has two bytes at least. Room is made only for what
	// can be there, once.
	if left := len(r.Rest()); n > ItemsMax || n > left/2 {
		return fmt.Errorf("%w: %d items in %d bytes, at most %d", ErrCommand, n, left, ItemsMax)
	}
	if cap(c.Items) < n {
		c.Items = make([][]byte, 0, n)
	}
	c.Items = c.Items[:0]
	for range n {
		if rest := r.Rest(); len(rest) > 0 && (rest[0] < 0xc4 || rest[0] > 0xc6) {
			return fmt.Errorf("%w: item %d is not a bin", ErrCommand, len(c.Items))
		}
		c.Items = append(c.Items, r.Bytes())
	}
	if err := r.Done(); err != nil {
		return fmt.Errorf("%w: %w", ErrCommand, err)
	}
	if c.shape() == ShapePairs && n%2 != 0 {
		return fmt.Errorf("%w: %s has %d items, the last key has no value", ErrCommand, c.Kind, n)
	}
	if n == 0 {
		return fmt.Errorf("%w: %s has no key", ErrCommand, c.Kind)
	}
	if c.Slot == SlotByServer && c.shape() == ShapeBody {
		return fmt.Errorf("%w: %s names no slot, and has no key that tells it", ErrCommand, c.Kind)
	}
	return nil
}

// shape returns how the items of c lie; 0 for a kind that is not known.
func (c *Command) shape() Shape {
	if int(c.Kind) >= len(commandRows) {
		return 0
	}
	return commandRows[c.Kind].Shape
}

// Keys returns the number of keys that c names.
func (c *Command) Keys() int {
	switch c.shape() {
	case ShapePairs:
		return len(c.Items) / 2
	case ShapeBody:
		return 0
	}
	return len(c.Items)
}

// Key returns the i-th key that c names.
func (c *Command) Key(i int) []byte {
	if c.shape() == ShapePairs {
		return c.Items[2*i]
	}
	return c.Items[i]
}

// Value returns what the i-th key is to be set to; nil where c sets none.
func (c *Command) Value(i int) []byte {
	if c.shape() == ShapePairs {
		return c.Items[2*i+1]
	}
	return nil
}

// Home returns the slot that c is for: the one that it names, or that of its
// first key.
func (c *Command) Home() Slot {
	if c.Slot == SlotByServer && c.Keys() > 0 {
		return SlotOf(c.Key(0))
	}
	return c.Slot
}
