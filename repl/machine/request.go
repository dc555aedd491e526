package machine

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// Requests makes proposals and reads of what one client asks for, and answers
// it. It is the core of a connection: frames go in, proposals and reads come
// out, and answers go to the [Asker]. It starts no goroutine, and knows neither
// a socket nor a clock.
//
// # Duties of the owner
//
//  1. Hand in each frame whose type it [Takes], once there is a table:
//     [Requests.Take].
//  2. Then give what came of it to the host or its loop, first
//     [Requests.Proposals], then [Requests.Reads], and call [Requests.Clear].
//     Several frames may come before that.
//  3. Answer for the client as [Asker] says.
//  4. Take over the duties of [Streams].
//
// One goroutine at a time hands in frames. The queries are run by the goroutine
// that applies, and what is long by whoever [Asker.Later] finds.
type Requests struct {
	// Set once.
	asker  Asker
	limits RequestLimits

	// Streams are those that the client has open.
	Streams Streams

	// Principal is whose the requests are, but for those that are passed on; 0: of nobody in
	// particular.
	Principal shardmap.Principal

	// Counts, if not nil, reports whether a principal is told what slots have in them, in numbers. It is not
	// asked about 0.
	Counts func(shardmap.Principal) bool

	// Routes, if not nil, say which group to ask for a slot where the table lags behind.
	Routes *Routes

	// Time, if not nil, returns the time of a group that has a replica here, as [repl.TimeOf]. Queries call it as
	// they run. Where it is nil, that of the last entry is taken.
	Time func(raft.GroupID) raft.GroupTime

	// getSize and pageSize are what the answer to the next get and the next
	// listing is expected to take, in bytes: what the last one took if that was
	// long, else 0, and AnswerUnknown before there was one. A client that asked
	// for much asks for much again. Set by whoever answers.
	getSize, pageSize atomic.Int64

	// Owned by the goroutine that hands in frames.
	command   shardmap.Command   // scratch
	principal shardmap.Principal // who made the request at hand
	limited   limited
	arena     []byte
	gets      []getQuery // for the gets to come
	proposals []repl.Proposal
	reads     []repl.Read
}

// RequestLimits bound what a client may ask for.
type RequestLimits struct {
	// Wait bounds how long a request is kept whose sender gave no deadline, or
	// a later one.
	Wait time.Duration
	// Inline is the largest answer to a get, in bytes, that the goroutine that
	// applies makes itself: [InlineMax], save in tests.
	Inline int
	// Page is how many bytes a page counts before it is read, when nobody
	// knows yet how long it will be.
	Page int
}

const (
	// InlineMax is the largest answer to a get that the goroutine that applies
	// makes itself, in bytes. It serves all groups and their heartbeats; what is
	// larger is made beside it.
	InlineMax = 256 << 10
	// AnswerUnknown is what an answer is expected to take before a client has
	// had one, in bytes: until it shows what they are, a client may ask for as
	// many at once as fit into its limit at this size.
	AnswerUnknown = 64 << 10
	// arenaSize is how much is allocated at once for the entries of small
	// commands. One entry that stays in the memory of a group that is seldom
	// written to keeps all of it alive.
	arenaSize = 4 << 10
)

// Asker is the client that a [Requests] works for: its connection, at the
// node's end. All methods may be called by any goroutine, and none blocks.
type Asker interface {
	repl.Replier
	// AnswerWith is Answer for a body that m makes in place. If m reports
	// false, nothing was said (made is false) and the request still waits.
	AnswerWith(r repl.Reply, t wire.Type, m Maker) (first, made bool)
	// AnswerFrame is Answer for a whole frame of type t. The asker owns the
	// frame from then on.
	AnswerFrame(r repl.Reply, t wire.Type, frame []byte) (first bool)
	// AnswerPiece is Answer for one of many answers: more follow under the number of r.
	AnswerPiece(r repl.Reply, t wire.Type, body []byte) (first bool)
	// Reserve counts size bytes for the answer to r before it is made, in place
	// of what r counts so far. If there is no room it reports false and leaves
	// r as it is.
	Reserve(r *repl.Reply, size int) bool
	// Deaf reports whether more answers wait than the client may leave unread.
	Deaf() bool
	// Later has read called once, soon, beside the goroutine that applies. If
	// too many such calls wait already it calls nothing and says what it found;
	// else it returns "".
	Later(read func()) (found string)
	// Scan is Later for what may take as long as a query: nothing else waits for it.
	Scan(scan func()) (found string)
	// Over returns what tells why a part of a query is to end, or nil: it has taken longer than within from now, its
	// client has gone, or somebody has ended the query of that number, which by has sent. It is called by one goroutine at a time.
	Over(query uint64, by shardmap.Principal, within time.Duration) func() *wire.Error
	// Spare reports whether so little waits to be sent to the client that streams
	// may add size bytes. If it does not, [Streams.Room] is called once more may be.
	Spare(size int) bool
	// Ask hands a read to the host, for at most within from now. It says why if it
	// can't.
	Ask(r repl.Read, within time.Duration) *wire.Error
	// Table is the slot table as the node has it now, founded.
	Table() *shardmap.Table
}

// Maker makes the body of an answer behind b. It reports false if it can't:
// what it has appended by then is dropped.
type Maker interface {
	Make(b []byte) (body []byte, made bool)
}

// Init readies q, which must not be copied from then on.
func (q *Requests) Init(a Asker, l RequestLimits) {
	q.asker, q.limits = a, l
	q.Streams.asker, q.Streams.limits, q.Streams.groupTime = a, l, q.groupTime
	q.getSize.Store(AnswerUnknown)
	q.pageSize.Store(AnswerUnknown)
}

// Takes reports whether frames of type t are for [Requests.Take].
func Takes(t wire.Type) bool {
	switch t {
	case wire.TypeWrite, wire.TypeGet, wire.TypeList, wire.TypeScan, wire.TypeSlotView, wire.TypeLeases, wire.TypeWatch, wire.TypeTableStream,
		wire.TypeBackup, wire.TypeServices, wire.TypeHeartbeat, wire.TypeHistory, wire.TypePointsQuery:
		return true
	}
	return false
}

// Opens reports whether requests of type t open a stream, which goes on while rights change.
func Opens(t wire.Type) bool {
	switch t {
	case wire.TypeScan, wire.TypeWatch, wire.TypeTableStream, wire.TypeBackup:
		return true
	}
	return false
}

// Expected returns how many bytes the answer to the next request of type t is
// expected to take, as far as that can be told.
func (q *Requests) Expected(t wire.Type) int {
	switch t {
	case wire.TypeGet:
		return int(q.getSize.Load())
	case wire.TypeList:
		return int(q.pageSize.Load())
	}
	return 0
}

// Now is the time at which a request arrived.
type Now struct {
	Host time.Duration // on the host's clock, by which requests expire
	Wall uint64        // on the node's, in ms since 1970, for people to read; it decides nothing
}

// Take takes a request of a client. r says how to answer it; table is the slot
// table as this node has it, founded. What is wrong with the request is answered at
// once. Nothing of body is kept.
func (q *Requests) Take(h wire.Header, body []byte, r repl.Reply, table *shardmap.Table, now Now) {
	q.principal, r.At = q.Principal, now.Host
	q.take(h, body, r, table, now)
}

// take takes a request of q.principal.
func (q *Requests) take(h wire.Header, body []byte, r repl.Reply, table *shardmap.Table, now Now) {
	switch h.Type {
	case wire.TypeWrite:
		q.write(h, body, r, table, now)
	case wire.TypeGet:
		q.get(h, body, r, table, now)
	case wire.TypeList:
		q.list(h, body, r, table, now)
	case wire.TypeScan, wire.TypeWatch, wire.TypeTableStream, wire.TypeBackup:
		q.Streams.take(h, body, r, q.principal, table)
	case wire.TypeSlotView:
		q.slotView(h, body, r, table, now)
	case wire.TypeLeases:
		q.leases(h, body, r, table, now)
	case wire.TypeServices:
		q.services(h, body, r, table, now)
	case wire.TypeHeartbeat:
		q.heartbeat(h, body, r, table, now)
	case wire.TypeHistory:
		q.history(h, body, r, table, now)
	case wire.TypePointsQuery:
		q.pointsQuery(h, body, r, table, now)
	}
}

// TakeForward takes a request that another node passes on, as [Requests.Take] does. The
// request goes no further: if this node does not lead the group, the answer says who
// does. The owner has checked that a member sent it.
func (q *Requests) TakeForward(h wire.Header, body []byte, r repl.Reply, table *shardmap.Table, now Now) {
	var f wire.Forward
	if err := f.Read(body); err != nil {
		q.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	q.principal, r.At = f.Principal, now.Host
	q.take(wire.Header{Length: len(f.Body), Type: f.Type, Deadline: h.Deadline, Request: h.Request}, f.Body, r, table, now)
}

// ofGroup takes a read of the data group that its client names, which it refuses if there is
// none. body is what is passed on to another node if the client asks for that.
func (q *Requests) ofGroup(h wire.Header, body []byte, read repl.Read, table *shardmap.Table, now Now) {
	if e := noDataGroup(read.Group, table); e != nil {
		q.refuse(read.Reply, e)
		return
	}
	read.Deadline = q.deadline(h, now)
	if h.Flags != 0 {
		read.Passage = q.passage(h, append([]byte(nil), body...), read.Group, table)
	}
	q.reads = append(q.reads, read)
}

// passage is how a request is passed on, if its client asks for that and nodes pass on such requests; nil if not. It
// keeps body.
func (q *Requests) passage(h wire.Header, body []byte, g raft.GroupID, table *shardmap.Table) *repl.Passage {
	if h.Flags&wire.FlagForward == 0 || !h.Type.Forwards() {
		return nil
	}
	return newPassage(wire.Forward{Principal: q.principal, Type: h.Type, Body: body}, g, table)
}

// newPassage says how a request is passed on to a group.
func newPassage(f wire.Forward, g raft.GroupID, table *shardmap.Table) *repl.Passage {
	p := &repl.Passage{Forward: f}
	row, _ := table.Group(g)
	for _, replica := range row.Replicas {
		p.Nodes = append(p.Nodes, replica.Node)
	}
	return p
}

// anyReplica reports whether a replica that does not lead may take a read. Where the
// client asks for its request to be passed on, it spares the way: the replica asks the
// leader only from which index on it may answer.
func anyReplica(h wire.Header, mode wire.ReadMode) bool {
	return mode == wire.ReadFollower || mode == wire.ReadBounded || mode == wire.ReadLinearizable && h.Flags&wire.FlagForward != 0
}

// Announce takes what a member says of itself, which its owner has checked: it
// becomes a command for the meta group.
func (q *Requests) Announce(h wire.Header, a *wire.Announce, r repl.Reply, table *shardmap.Table, now Now) {
	if err := shardmap.TableAnnounce.Row().Admit(table.Level); err != nil {
		q.refuse(r, commandError(err))
		return
	}
	command, err := AnnounceCommand(a)
	if err != nil {
		q.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	q.proposals = append(q.proposals, repl.Proposal{
		Group: 0, Entry: NewEntry(wire.Origin{Time: now.Wall}, command), Deadline: q.deadline(h, now), Reply: r,
	})
}

// AnnounceCommand makes the command for the meta group of what a member says of
// itself.
func AnnounceCommand(a *wire.Announce) ([]byte, error) {
	c := shardmap.Announce{Node: a.Node, Start: a.Start, Addr: a.Addr, Version: a.Version, Name: a.Name, Level: a.Level}
	for _, l := range a.Labels {
		c.Labels = append(c.Labels, shardmap.FoundLabel(l))
	}
	return shardmap.AppendAnnounce(nil, &c)
}

// Proposals returns what the frames since the last [Requests.Clear] want
// proposed. It is good until then.
func (q *Requests) Proposals() []repl.Proposal { return q.proposals }

// Reads returns what the frames since the last [Requests.Clear] want read. It is
// good until then.
func (q *Requests) Reads() []repl.Read { return q.reads }

// Clear forgets proposals and reads: they were handed on.
func (q *Requests) Clear() {
	clear(q.proposals)
	clear(q.reads)
	q.proposals, q.reads = q.proposals[:0], q.reads[:0]
}

// write checks a write and makes it a proposal for the group that owns its slot.
func (q *Requests) write(h wire.Header, body []byte, r repl.Reply, table *shardmap.Table, now Now) {
	bytes, err := wire.CheckWrite(body)
	if err != nil {
		q.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	c := &q.command
	if err := shardmap.ReadCommand(bytes, c); err != nil {
		q.refuse(r, commandError(err))
		return
	}
	if err := c.Validate(table.Limits()); err != nil {
		q.refuse(r, commandError(err))
		return
	}
	if n := wire.OriginSizeMax + len(body); n > raft.PayloadSizeMax {
		// The core would refuse it, and with it whatever is proposed at the same time.
		q.refuse(r, commandError(fmt.Errorf("%w: a command of %d bytes; the limit is %d", shardmap.ErrTooLarge, len(body), raft.PayloadSizeMax-wire.OriginSizeMax)))
		return
	}
	group, refused := q.ownerOf(c, table)
	if refused != nil {
		q.refuse(r, refused)
		return
	}
	o := q.origin(table, now)
	if c.Kind == shardmap.CommandPoints {
		o.Limits = limitsOfPoints(c, table)
	}
	p := repl.Proposal{Group: group, Entry: q.entry(o, body), Deadline: q.deadline(h, now), Reply: r, Limited: q.limited.touched(c, table)}
	if h.Flags != 0 {
		p.Passage = q.passage(h, append([]byte(nil), body...), group, table)
	}
	q.proposals = append(q.proposals, p)
}

// ownerOf returns the group that a command is for.
func (q *Requests) ownerOf(c *shardmap.Command, table *shardmap.Table) (raft.GroupID, *wire.Error) {
	if c.Kind == shardmap.CommandPoints {
		return groupOfPoints(c, table)
	}
	if c.Kind == shardmap.CommandPointsDelete {
		return groupOfDelete(c, table)
	}
	group := q.Routes.GroupOf(table, c.Home())
	if group == 0 {
		return 0, wire.Unavailable(fmt.Sprintf("slot %d", c.Home()), "no group owns it")
	}
	return group, nil
}

// origin says where a command comes from that is admitted now.
func (q *Requests) origin(table *shardmap.Table, now Now) wire.Origin {
	o := wire.Origin{Principal: q.principal, Time: now.Wall}
	if o.Principal != 0 {
		o.Rules = table.Security.Rules
	}
	return o
}

// entry copies a command's body behind its origin and the room for an entry's
// header: the one copy that it goes through on its way to the log.
func (q *Requests) entry(o wire.Origin, body []byte) raft.Entry {
	size := raft.EntryHeaderSize + wire.OriginSizeMax + len(body)
	if size > arenaSize/4 {
		return NewEntry(o, body)
	}
	if cap(q.arena)-len(q.arena) < size {
		q.arena = make([]byte, 0, arenaSize)
	}
	from := len(q.arena)
	q.arena = append(o.Append(q.arena[:from+raft.EntryHeaderSize]), body...)
	return raft.Entry{Kind: raft.EntryNormal, Raw: q.arena[from:len(q.arena):len(q.arena)]}
}

// deadline is when a request is no longer kept, on the host's clock: when its
// sender stops waiting, as far as it says so.
func (q *Requests) deadline(h wire.Header, now Now) time.Duration {
	return now.Host + q.limits.within(h)
}

// within is how long a request is kept.
func (l *RequestLimits) within(h wire.Header) time.Duration {
	if h.Deadline == 0 {
		return l.Wait
	}
	return min(l.Wait, time.Duration(h.Deadline)*time.Millisecond)
}

// refuse answers a request from outside a turn of the host.
func (q *Requests) refuse(r repl.Reply, err *wire.Error) {
	q.deny(r, err)
	q.asker.Flush()
}

// deny refuses a request within a turn of the host, which flushes at its end.
func (q *Requests) deny(r repl.Reply, err *wire.Error) (first bool) {
	return q.asker.Answer(r, wire.TypeError, err.Append(nil))
}

// answer answers a request within a turn of the host, if its asker has room for the answer.
func (q *Requests) answer(r repl.Reply, t wire.Type, body []byte) (first bool) {
	if !q.asker.Reserve(&r, wire.HeaderSize+len(body)) {
		return q.deny(r, Crowded())
	}
	return q.asker.Answer(r, t, body)
}

// mapOf returns the keys of a group, unless it has none, or its asker takes no answers now.
func (q *Requests) mapOf(state repl.StateMachine) (*Map, *wire.Error) {
	m, ok := state.(*Map)
	if !ok {
		return nil, metaHasNoKeys()
	}
	if q.asker.Deaf() {
		return nil, Crowded()
	}
	return m, nil
}

// slotsOf is mapOf for what is answered only where the group serves all of some slots.
func (q *Requests) slotsOf(state repl.StateMachine, slots []shardmap.SlotRange) (*Map, *wire.Error) {
	m, refused := q.mapOf(state)
	if refused != nil {
		return nil, refused
	}
	if slot, is := m.State.OwnsAll(slots); is != shardmap.Present {
		return nil, m.notServed(slot)
	}
	return m, nil
}

// later has read called beside the goroutine that applies. If that is refused,
// drop gives up what read would have used.
func (q *Requests) later(r repl.Reply, drop, read func()) (first bool) {
	found := q.asker.Later(read)
	if found == "" {
		return false
	}
	drop()
	return q.deny(r, TooManyReads(found))
}

// TooManyReads refuses what would have to wait behind too many long reads.
func TooManyReads(found string) *wire.Error { return wire.Busy("reads", found, wire.BusyRetry) }

// Crowded refuses a client that does not read its answers.
func Crowded() *wire.Error {
	return wire.Busy("connection", "more answers wait than this client reads", wire.BusyRetry)
}

// commandError makes the typed refusal of a command that shardmap refused.
func commandError(err error) *wire.Error {
	var above *shardmap.LevelError
	if errors.As(err, &above) {
		return wire.OverLevel("command "+above.What, above.Needs, above.Level)
	}
	code := wire.CodeBadRequest
	next := "change the request"
	switch {
	case errors.Is(err, shardmap.ErrValueTooLarge):
		code, next = wire.CodeTooLarge, "split it, or raise the limit when the cluster is founded (--value-max)"
	case errors.Is(err, shardmap.ErrTooLarge):
		code, next = wire.CodeTooLarge, "split or shorten it"
	case errors.Is(err, shardmap.ErrLevel):
		code, next = wire.CodeLevel, "upgrade all nodes first"
	}
	return &wire.Error{Code: code, Object: "write", Text: "refused before the log", State: err.Error(), Next: next}
}

// noDataGroup refuses what is asked of a group that has no keys, or that the table does not have;
// nil if the group is there.
func noDataGroup(g raft.GroupID, table *shardmap.Table) *wire.Error {
	if g == 0 {
		return metaHasNoKeys()
	}
	if _, ok := table.Group(g); !ok {
		return noSuchGroup(g, table)
	}
	return nil
}

// noSuchGroup refuses what is asked of a group that the table does not have. The one who
// asks may have a newer table, or an older one.
func noSuchGroup(g raft.GroupID, table *shardmap.Table) *wire.Error {
	return &wire.Error{Code: wire.CodeMoved, Object: fmt.Sprintf("group %d", g), Text: "this node knows of no such group", Epoch: table.Epoch,
		State: fmt.Sprintf("the table of epoch %d, index %d", table.Epoch, table.Index), Next: "fetch the topology, then ask one of its groups"}
}

func metaHasNoKeys() *wire.Error {
	return wire.BadRequest("group 0", "the meta group has no keys", "ask one of groups 1 to 9999")
}
