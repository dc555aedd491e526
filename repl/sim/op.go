package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// op is one operation of a client.
type op struct {
	client  *simClient
	call    client.Call
	number  uint64 // of all operations of the run; the value that it writes
	get     bool
	sums    bool       // of accounts
	local   bool       // a get of the asked node's own copy, as of floor at least
	list    *wire.List // of a page, or of the next piece of a stream; otherwise nil
	listing *listing   // to which the stream belongs, or that wants a table; otherwise nil
	stream  *client.Stream
	attempt uint64 // of the stream
	stands  uint64 // index as of which its last piece was
	within  time.Duration
	// cancelled: the stream is no longer wanted.
	cancelled bool
	command   shardmap.Command
	key       []byte
	more      [][]byte // further keys of a get
	body      []byte
	floors    []uint64   // by group: the index that was acknowledged before it began
	floor     uint64     // of a local get: the index of group that it names; of a stream: that of its last piece
	after     raft.LogID // of a local get: what it names of group
	group     raft.GroupID
	began     time.Duration
	conn      *conn
	request   uint64
	done      bool
}

func (o *op) String() string {
	if o.get {
		return fmt.Sprintf("get %q", o.key)
	}
	if o.listing != nil && o.stream == nil {
		return fmt.Sprintf("%s: its plan", o.listing)
	}
	if q := o.list; q != nil {
		return fmt.Sprintf("page of group %d after %q, prefix %q, limit %d", q.Group, q.After, q.Prefix, q.Limit)
	}
	return fmt.Sprintf("%s %q to %d, sequence %d, if %s %d", o.command.Kind, o.key, o.number, o.command.Sequence, o.command.Condition, o.command.Version)
}

// floorIn returns up to where an answer by a group must have seen its log.
func (o *op) floorIn(g raft.GroupID) uint64 {
	floor := uint64(0)
	if int(g) < len(o.floors) {
		floor = o.floors[g]
	}
	if g == o.group {
		floor = max(floor, o.floor)
	}
	return floor
}

// reads reports whether the operation changes nothing.
func (o *op) reads() bool { return o.get || o.list != nil || o.listing != nil }

// flags returns the flags of its frame.
func (o *op) flags() uint16 {
	if o.call.Forward {
		return wire.FlagForward
	}
	return 0
}

// frame returns the type of its frame.
func (o *op) frame() wire.Type {
	switch {
	case o.get:
		return wire.TypeGet
	case o.stream != nil:
		return wire.TypeScan
	case o.list != nil:
		return wire.TypeList
	}
	return wire.TypeWrite
}

// answered takes a node's answer, which is not an error.
func (o *op) answered(t wire.Type, body []byte) {
	c := o.client.c
	switch o.frame() {
	case wire.TypeList:
		o.listed(t, body)
	case wire.TypeGet:
		var a wire.GetAnswer
		if err := a.Read(body); err != nil || t != wire.TypeGetAnswer {
			c.fail("%s is answered with a %s: %v", o, t, err)
		}
		if o.sums {
			o.checkSum(a)
		}
		version, value, found, _ := a.Next()
		o.checkRead(o.key, a.Group, a.At, version, value, found)
		var number uint64
		if found {
			number = valueNumber(value)
		}
		for _, k := range o.more {
			version, value, found, _ := a.Next()
			o.checkRead(k, a.Group, a.At, version, value, found)
		}
		if !o.local {
			c.history.read(o, version, number, found)
		}
	default:
		var a wire.WriteAnswer
		if err := a.Read(body); err != nil || t != wire.TypeWriteAnswer {
			c.fail("%s is answered with a %s: %v", o, t, err)
		}
		o.checkWrite(&a)
		c.history.wrote(o, a.Version, a.Deleted)
		c.result.Writes++
	}
	c.result.Answered++
	o.over()
}

// finish ends an operation without an answer.
func (o *op) finish(err error) {
	c := o.client.c
	var e *wire.Error
	var none *client.ErrNoEndpoint
	if o.listing != nil {
		o.over()
		o.listing.ended(o, err)
		return
	}
	switch {
	case err == nil:
		c.fail("%s ends with neither an answer nor an error", o)
	case errors.As(err, &e) && e.Code == wire.CodeConflict:
		c.history.conflict(o)
		c.result.Answered++
	case errors.As(err, &e) && e.Code == wire.CodeMaybeApplied, o.call.Maybe:
		c.history.unknown(o)
	case errors.As(err, &none), errors.As(err, &e) && (e.Code == wire.CodeUnavailable || e.Code == wire.CodeNotLeader || e.Code == wire.CodeNotReady || e.Code == wire.CodeBusy || e.Code == wire.CodeMoved || e.Code == wire.CodeFull || e.Code == wire.CodeLevel && c.builds.mixed()):
		// A definite no. I9: from here on the write must never take effect.
		c.history.refused(o)
		if !o.reads() {
			c.lives.of(o.command.Slot).never(o)
		}
	default:
		if !o.reads() || errors.As(err, &e) && e.Code == wire.CodeBadRequest {
			c.fail("%s ends with %v", o, err)
		}
		c.history.refused(o)
	}
	o.over()
}

func (o *op) over() {
	if o.done {
		o.client.c.fail("%s ends twice", o)
	}
	o.done = true
	cl := o.client
	if o.listing == nil || o.stream != nil { // a request for the table is no operation of its own
		cl.c.result.Ops++
	}
	cl.open = slices.DeleteFunc(cl.open, func(x *op) bool { return x == o })
}
