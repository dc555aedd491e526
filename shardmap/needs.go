package shardmap

import (
	"fmt"

	"muster/shardmap/access"
	"muster/shardmap/pack"
)

// bugBlindCondition is planted to show that its test finds it: whoever may write a key finds out by
// conditions what it holds.
const bugBlindCondition = "conditional write without read"

// EachNeed calls yield with everything that a client needs to be allowed for the command that is all
// of b, until yield returns false. It allocates nothing, and reads only as much as it needs: what it
// lets pass may still be refused by [ReadCommand] and [Command.Validate]. An error is about bytes that
// it can't read, or a command that no client may send; then the needs so far mean nothing.
//
// A condition tells what is there, and so does the answer to an incr: both need read beside write.
func EachNeed(b []byte, yield func(access.Need) bool) error {
	r := pack.NewReader(b)
	r.ArrayLen(commandFields)
	kind := CommandKind(r.UintMax(255))
	r.Uint() // session
	r.Uint() // sequence
	r.Uint() // floor
	r.Uint() // slot
	condition := Condition(r.UintMax(255))
	r.Uint() // version
	n := r.Array()
	if err := r.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrCommand, err)
	}
	verbs := access.Write
	if condition != ConditionNone && !bug(bugBlindCondition) {
		verbs |= access.Read
	}
	step := 1
	switch kind {
	case CommandSet:
		step = 2 // behind each key stands its value
	case CommandDel:
	case CommandCheck:
		verbs = access.Read
	case CommandTxn, CommandLease, CommandService, CommandDelPrefix, CommandPoints, CommandPointsDelete:
		if n != 1 {
			return fmt.Errorf("%w: %s with %d items, want 1", ErrCommand, kind, n)
		}
		return eachNeedOfBody(kind, r.Bytes(), yield)
	default:
		return fmt.Errorf("%w: %s is not for clients", ErrCommand, kind)
	}
	if n == 0 || n%step != 0 {
		return fmt.Errorf("%w: %s of %d items", ErrCommand, kind, n)
	}
	for i := range n {
		item := r.Bytes()
		if err := r.Err(); err != nil {
			return fmt.Errorf("%w: %w", ErrCommand, err)
		}
		if i%step == 0 && !yield(access.Need{Verbs: verbs, Kind: access.Keys, Name: item}) {
			return nil
		}
	}
	return nil
}

// eachNeedOfBody is [EachNeed] of a command with a body.
func eachNeedOfBody(kind CommandKind, body []byte, yield func(access.Need) bool) (err error) {
	r := pack.NewReader(body)
	switch kind {
	case CommandTxn:
		err = eachNeedOfTxn(&r, yield)
	case CommandLease:
		// It names a slot alone. Keys are attached by whoever may write them, and keeping a
		// lease alive or revoking it is for whoever was granted it.
		yield(access.Need{Verbs: access.Write, Kind: access.Keys, Extent: access.Some})
	case CommandService:
		r.Array()
		r.Uint() // op
		name := r.Bytes()
		if err = r.Err(); err == nil {
			yield(access.Need{Verbs: access.Write, Kind: access.Services, Name: name})
		}
	case CommandPoints:
		r.ArrayLen(pointsFields)
		r.Skip() // shard
		name := r.Bytes()
		r.Uint()  // mode
		r.Uint()  // taken
		r.Bytes() // share
		if err = r.Done(); err == nil {
			yield(access.Need{Verbs: access.Write, Kind: access.Databases, Name: name})
		}
	case CommandPointsDelete:
		r.ArrayLen(pointsDeleteFields)
		r.Skip() // shards
		name := r.Bytes()
		r.Bytes() // measurement
		r.Skip()  // series
		r.Int()   // first
		r.Int()   // last
		if err = r.Done(); err == nil {
			yield(access.Need{Verbs: access.Write, Kind: access.Databases, Name: name})
		}
	case CommandDelPrefix:
		r.ArrayLen(delPrefixFields)
		prefix := r.Bytes()
		r.Uint()  // limit
		r.Uint()  // up to
		r.Bytes() // after
		if err = r.Done(); err == nil {
			yield(access.Need{Verbs: access.Write, Kind: access.Keys, Extent: access.Under, Name: prefix})
		}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCommand, err)
	}
	return nil
}

// eachNeedOfTxn is [EachNeed] of a transaction: of its compares, and of both branches, for nobody knows
// yet which will be carried out.
func eachNeedOfTxn(r *pack.Reader, yield func(access.Need) bool) error {
	r.ArrayLen(txnFields)
	for n := r.Array(); n > 0 && r.Err() == nil; n-- {
		r.ArrayLen(compareFields)
		r.Uint() // kind
		key := r.Bytes()
		r.Skip() // what it is compared with
		if r.Err() == nil && !bug(bugBlindCondition) && !yield(access.Need{Verbs: access.Read, Kind: access.Keys, Name: key}) {
			return nil
		}
	}
	for range 2 {
		for n := r.Array(); n > 0 && r.Err() == nil; n-- {
			fields := r.Array()
			op := OpKind(r.UintMax(255))
			key := r.Bytes()
			for ; fields > 2 && r.Err() == nil; fields-- {
				r.Skip()
			}
			verbs := access.Write
			switch op {
			case OpGet:
				verbs = access.Read
			case OpIncr:
				verbs |= access.Read
			case OpSet, OpDel:
			default:
				r.Fail(op.String() + " is unknown")
			}
			if r.Err() == nil && !yield(access.Need{Verbs: verbs, Kind: access.Keys, Name: key}) {
				return nil
			}
		}
	}
	return r.Done()
}

// EachNeedOfPoints is [EachNeed] of the body of a [CommandPoints], as [PointsBody] has it.
func EachNeedOfPoints(body []byte, yield func(access.Need) bool) error {
	return eachNeedOfBody(CommandPoints, body, yield)
}

// FillsPoints reports whether b is a command that brings the points of a hint. It checks nothing else.
func FillsPoints(b []byte) bool {
	if CommandKindOf(b) != CommandPoints {
		return false
	}
	var c Command
	if ReadCommand(b, &c) != nil {
		return false
	}
	p, err := ReadPoints(&c)
	return err == nil && p.Mode == PointsFill
}

// CommandKindOf returns what a command of a data group does that is all of b; 0 if that can't be read. It
// checks nothing else.
func CommandKindOf(b []byte) CommandKind {
	r := pack.NewReader(b)
	r.ArrayLen(commandFields)
	if kind := r.UintMax(255); r.Err() == nil {
		return CommandKind(kind)
	}
	return 0
}
