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
	client    *simClient
	kind      opKind
	call      client.Call
	number    uint64 // of all operations of the run; the value that it writes
	get       bool
	sums      bool                  // of accounts
	local     bool                  // a get of the asked node's own copy, as of floor at least
	list      *wire.List            // of a page, or of the next piece of a stream; otherwise nil
	listing   *listing              // to which the stream belongs, or that wants a table; otherwise nil
	leases    *wire.Leases          // of a listing of leases; otherwise nil
	services  *wire.Services        // of a listing of services; otherwise nil
	beat      *wire.Heartbeat       // of an instance; otherwise nil
	backing   *backing              // to which the stream belongs; otherwise nil
	watching  *watching             // to which the stream or the question belongs; otherwise nil
	question  *client.WatchQuestion // of a watch, about slots; otherwise nil
	contender *contender            // that waits for it; otherwise nil
	ofSeries  bool                  // it brings points, or takes some away
	ask       *wire.PointsQuery     // of a shard; otherwise nil
	stream    streamCore
	attempt   uint64 // of the stream
	stands    uint64 // index as of which its last piece was
	within    time.Duration
	stale     time.Duration // of a bounded get: how old the answer may be
	// cancelled: the stream is no longer wanted.
	cancelled bool
	command   shardmap.Command
	cell      *cell // of key; nil: no history has the operation
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
	// doubted: something that it was told may come of a flaw.
	doubted bool
}

func (o *op) String() string {
	if o.get {
		return fmt.Sprintf("get %q", o.key)
	}
	if o.watching != nil {
		return fmt.Sprintf("%s: %s of group %d", o.watching, o.kind, o.group)
	}
	if o.backing != nil {
		return fmt.Sprintf("backup of group %d", o.group)
	}
	if o.listing != nil && o.stream == nil {
		return fmt.Sprintf("%s: its plan", o.listing)
	}
	if q := o.list; q != nil {
		return fmt.Sprintf("page of group %d after %q, prefix %q, limit %d, %s", q.Group, q.After, q.Prefix, q.Limit, showSpan(&q.Span))
	}
	if o.leases != nil {
		return fmt.Sprintf("leases of group %d in slots %v after %s, limit %d", o.leases.Group, o.leases.Slots, o.leases.After, o.leases.Limit)
	}
	if q := o.services; q != nil {
		return fmt.Sprintf("services of group %d in slots %v behind %d, %q, exact %v, mode %v, limit %d", q.Group, q.Slots, q.AfterSlot, q.After, q.Exact, q.Mode, q.Limit)
	}
	if b := o.beat; b != nil {
		return fmt.Sprintf("heartbeat of instance %s of service %q, status %d", b.Instance, b.Name, b.Status)
	}
	if q := o.ask; q != nil {
		return fmt.Sprintf("question for shard %d of window %d in group %d, mode %v", q.Shard, q.Window, q.Group, q.Mode)
	}
	if o.command.Kind.Row().Shape == shardmap.ShapeBody {
		text, _ := o.command.Describe()
		return fmt.Sprintf("%s (%s), sequence %d", o.kind, text, o.command.Sequence)
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
func (o *op) reads() bool {
	return o.get || o.list != nil || o.listing != nil || o.leases != nil || o.services != nil || o.beat != nil || o.watching != nil || o.backing != nil || o.ask != nil
}

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
	case o.question != nil:
		return wire.TypeSlotView
	case o.watching != nil:
		return wire.TypeWatch
	case o.backing != nil:
		return wire.TypeBackup
	case o.stream != nil:
		return wire.TypeScan
	case o.list != nil:
		return wire.TypeList
	case o.leases != nil:
		return wire.TypeLeases
	case o.services != nil:
		return wire.TypeServices
	case o.beat != nil:
		return wire.TypeHeartbeat
	case o.ask != nil:
		return wire.TypePointsQuery
	}
	return wire.TypeWrite
}

// answered takes a node's answer, which is not an error.
func (o *op) answered(t wire.Type, body []byte, from origin) {
	c := o.client.c
	if from.odd.has(o.group) {
		c.flaws.unchecked(o)
		return
	}
	c.users.answered(o)
	if o.contender != nil {
		o.contender.answer = slices.Clone(body)
	}
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
		keys := append([][]byte{o.key}, o.more...)
		all := make([]found, len(keys))
		for i, k := range keys {
			version, value, there, _ := a.Next()
			o.checkRead(k, a.Group, a.At, version, value, there, a.End)
			if there {
				all[i] = found{true, version, valueNumber(value)}
			}
		}
		if !o.local && o.stale == 0 {
			c.history.read(o, keys, all)
		}
	case wire.TypeSlotView:
		a := new(wire.SlotViewAnswer)
		if err := a.Read(body); err != nil || t != wire.TypeSlotViewAnswer {
			c.fail("%s is answered with a %s: %v", o, t, err)
		}
		c.result.Answered++
		o.over()
		o.watching.answered(o, a, nil)
		return
	case wire.TypeLeases:
		var a wire.LeasesAnswer
		if err := a.Read(body); err != nil || t != wire.TypeLeasesAnswer {
			c.fail("%s is answered with a %s: %v", o, t, err)
		}
		o.checkLeases(&a)
	case wire.TypeServices:
		var a wire.ServicesAnswer
		if err := a.Read(body); err != nil || t != wire.TypeServicesAnswer {
			c.fail("%s is answered with a %s: %v", o, t, err)
		}
		c.services.listed(o, &a)
	case wire.TypeHeartbeat:
		if err := new(wire.Empty).Read(body); err != nil || t != wire.TypeHeartbeatAnswer {
			c.fail("%s is answered with a %s: %v", o, t, err)
		}
	case wire.TypePointsQuery:
		c.series.asked(o, t, body)
	default:
		o.written(t, body)
		c.result.Writes++
	}
	c.result.Answered++
	o.over()
}

// written takes the answer to a write.
func (o *op) written(t wire.Type, body []byte) {
	c := o.client.c
	var err error
	switch {
	case o.ofSeries:
		c.series.written(o, t, body)
	case t == wire.TypeTxnAnswer && o.command.Kind == shardmap.CommandTxn:
		var a wire.TxnAnswer
		if err = a.Read(body); err == nil {
			o.checkTxn(&a)
		}
	case t == wire.TypeLeaseAnswer && o.command.Kind == shardmap.CommandLease:
		var a wire.LeaseAnswer
		if err = a.Read(body); err == nil {
			o.checkLease(&a)
		}
	case t == wire.TypeDelPrefixAnswer && o.command.Kind == shardmap.CommandDelPrefix:
		var a wire.DelPrefixAnswer
		if err = a.Read(body); err == nil {
			checkDelPrefix(o, &a)
		}
	case t == wire.TypeWriteAnswer && o.command.Kind == shardmap.CommandService:
		var a wire.WriteAnswer
		if err = a.Read(body); err == nil {
			o.checkWrite(&a)
		}
	case t == wire.TypeWriteAnswer && o.command.Keys() > 0:
		var a wire.WriteAnswer
		if err = a.Read(body); err == nil {
			o.checkWrite(&a)
			c.history.change(o, histOutput{version: a.Version, effect: effect{status: shardmap.StatusApplied, succeeded: true, deleted: uint32(a.Deleted)}})
		}
	default:
		c.fail("%s is answered with a %s", o, t)
	}
	if err != nil {
		c.fail("%s is answered with a bad %s: %v", o, t, err)
	}
}

// finish ends an operation without an answer.
func (o *op) finish(err error) {
	c := o.client.c
	var e *wire.Error
	var none *client.ErrNoEndpoint
	if o.listing != nil || o.watching != nil || o.backing != nil {
		o.over()
		o.ended(err)
		return
	}
	if o.contender != nil {
		o.contender.err = err
	}
	switch {
	case o.doubted: // whoever refused it may have carried it out
		c.flaws.doubted++
		c.history.unknown(o)
	case err == nil:
		c.fail("%s ends with neither an answer nor an error", o)
	case o.ofSeries || o.ask != nil:
		c.series.refused(o, err)
	case o.refused(err):
		c.result.Answered++
	case errors.As(err, &e) && e.Code == wire.CodeMaybeApplied, o.call.Maybe:
		c.history.unknown(o)
	case errors.As(err, &none), errors.As(err, &e) && (e.Code == wire.CodeUnavailable || e.Code == wire.CodeNotLeader || e.Code == wire.CodeNotReady || e.Code == wire.CodeBusy || e.Code == wire.CodeMoved || e.Code == wire.CodeFull || e.Code == wire.CodeOverLimit || e.Code == wire.CodeUnauthorized && c.users.active || e.Code == wire.CodeLevel && c.builds.mixed()):
		// A definite no. I9: from here on the write must never take effect.
		if !o.reads() {
			c.lives.of(o.command.Slot).never(o)
		}
	case o.beat != nil && errors.As(err, &e) && e.Code == wire.CodeBadRequest:
		// Whoever sends it knows the service as it was.
		if !wasChecked(c.lives.ofKey([]byte(o.beat.Name)).services[o.beat.Name]) {
			c.fail("%s ends with %v", o, err)
		}
	default:
		if !o.reads() || errors.As(err, &e) && e.Code == wire.CodeBadRequest {
			c.fail("%s ends with %v", o, err)
		}
	}
	o.over()
}

// ended tells whose stream, plan or question it is that it has ended.
func (o *op) ended(err error) {
	switch {
	case o.watching != nil:
		o.watching.ended(o, err)
	case o.backing != nil:
		o.backing.ended(err)
	default:
		o.listing.ended(o, err)
	}
}

func (o *op) over() {
	if o.done {
		o.client.c.fail("%s ends twice", o)
	}
	o.done = true
	cl := o.client
	if o.listing == nil || o.stream != nil { // a request for the table is no operation of its own
		cl.c.result.Counts[o.kind]++
	}
	cl.open = slices.DeleteFunc(cl.open, func(x *op) bool { return x == o })
	if o.contender != nil {
		o.contender.ended()
	}
}
