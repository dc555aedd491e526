package wire

import (
	"fmt"
	"math"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/pack"
)

// ReadMode says how fresh an answer must be.
type ReadMode uint8

const (
	ReadLinearizable ReadMode = 0 // all that was acknowledged before
	ReadLocal        ReadMode = 1 // the asked node's own copy, however old
	ReadFollower     ReadMode = 2 // as linearizable, by any replica, which asks the leader where it has to be
	ReadBounded      ReadMode = 3 // of a Get: all that was acknowledged until Stale ago, by any replica
)

// Limits of a read; what does not fit is asked for again from where it ended.
const (
	// GetKeysMax bounds the keys of one Get, so that no connection's reader
	// is held up for long by one frame.
	GetKeysMax = 1024
	// ListRowsMax bounds the rows of one page.
	ListRowsMax = 10000
	// ListBytesMax bounds the keys and values of one page, but for one row,
	// which always fits.
	ListBytesMax = 1 << 20
)

// Get asks for the values of keys, all of slots of one group:
// [mode, after group, after term, after index, [bin …], stale ms?].
type Get struct {
	Mode       ReadMode
	AfterGroup raft.GroupID
	After      raft.LogID // the answer is to be as new as this; zero: any
	Keys       [][]byte   // 1 to GetKeysMax
	// Stale is how old the answer may be, in ms, in mode ReadBounded. In any other mode the
	// body ends before it, so that nodes of a level below 5 can read it.
	Stale uint32
}

// getFields counts the fields of a get in any mode but ReadBounded, which has one more.
const getFields = 5

// Append appends the body.
func (g *Get) Append(b []byte) []byte {
	fields := getFields
	if g.Mode == ReadBounded {
		fields++
	}
	b = pack.AppendArray(b, fields)
	b = pack.AppendUint(b, uint64(g.Mode))
	b = appendLogID(b, g.AfterGroup, g.After)
	b = pack.AppendArray(b, len(g.Keys))
	for _, key := range g.Keys {
		b = pack.AppendBytes(b, key)
	}
	if g.Mode == ReadBounded {
		b = pack.AppendUint(b, uint64(g.Stale))
	}
	return b
}

// Read reads the body. The keys alias it, and their slice is used again.
func (g *Get) Read(body []byte) error {
	r := pack.NewReader(body)
	found := r.Array()
	g.Mode = ReadMode(r.UintMax(uint64(ReadBounded)))
	g.AfterGroup, g.After = readLogID(&r)
	n := r.Array()
	g.Keys = g.Keys[:0]
	if err := r.Err(); err != nil {
		return err
	}
	want := getFields
	if g.Mode == ReadBounded {
		want++
	}
	if found != want {
		return fmt.Errorf("%d fields in mode %d, want %d", found, g.Mode, want)
	}
	// A key has at least two bytes, so a claimed count gets no more memory
	// than the bytes that are there can need.
	if room := len(r.Rest()); n < 1 || n > GetKeysMax || n > room/2 {
		return fmt.Errorf("field keys: %d of them in %d bytes, want 1 to %d", n, room, GetKeysMax)
	}
	if cap(g.Keys) < n {
		g.Keys = make([][]byte, 0, n)
	}
	for range n {
		key := r.Bytes()
		if r.Err() != nil {
			break
		}
		if len(key) < 1 || len(key) > shardmap.KeyMax {
			return fmt.Errorf("field keys: a key of %d bytes, want 1 to %d", len(key), shardmap.KeyMax)
		}
		g.Keys = append(g.Keys, key)
	}
	g.Stale = 0
	if g.Mode == ReadBounded {
		g.Stale = uint32(r.UintMax(math.MaxUint32))
	}
	return r.Done()
}

func readMode(r *pack.Reader) ReadMode { return ReadMode(r.UintMax(uint64(ReadFollower))) }

// GetAnswer answers a Get with one row for each key, in the order asked for:
// [group, term, index, [nil | [version, bin] …], [nil | [remaining ms, lease] …]?].
//
// The last field is there only if one of the keys ends by itself. A build that does not know
// it passes over it.
//
// The answering side calls [AppendGetAnswer], then [AppendFound] or [AppendMissing]
// for each key, and [AppendEnds] if one ends. The asking side calls Read, then Next for each key.
type GetAnswer struct {
	Group raft.GroupID
	At    raft.LogID // the values are as of here
	Count int        // rows
	End   KeyEnd     // of the key whose row Next returned last
	rows  pack.Reader
	ends  pack.Reader
	timed bool // there are ends, one for each row
}

// KeyEnd says how long a key lasts. The zero value: for ever.
type KeyEnd struct {
	Ends bool
	// Remaining is what is left of its time, in ms, by the clock of the replica that answered;
	// 0: it is due, and about to be removed.
	Remaining uint64
	Lease     shardmap.LeaseID // with which it ends; 0: it has a time of its own
}

// getAnswerFields are those of an answer whose keys last for ever.
const getAnswerFields = 4

// AppendGetAnswer appends the body up to its first row; count rows must follow.
func AppendGetAnswer(b []byte, g raft.GroupID, at raft.LogID, count int) []byte {
	b = pack.AppendArray(b, getAnswerFields)
	b = appendLogID(b, g, at)
	return pack.AppendArray(b, count)
}

// AppendFound appends the row of a key that exists.
func AppendFound(b []byte, version uint64, value []byte) []byte {
	b = pack.AppendArray(b, 2)
	b = pack.AppendUint(b, version)
	return pack.AppendBytes(b, value)
}

// AppendMissing appends the row of a key that does not exist.
func AppendMissing(b []byte) []byte { return pack.AppendNil(b) }

// AppendEnds completes the answer that begins at start and has all its rows: it appends how their
// keys end, with one of ends for each row.
func AppendEnds(b []byte, start int, ends []KeyEnd) []byte {
	pack.AppendArray(b[:start], getAnswerFields+1) // in place: so few fields take one byte
	b = pack.AppendArray(b, len(ends))
	for _, e := range ends {
		if !e.Ends {
			b = pack.AppendNil(b)
			continue
		}
		b = pack.AppendArray(b, 2)
		b = pack.AppendUint(b, e.Remaining)
		b = pack.AppendUint(b, uint64(e.Lease))
	}
	return b
}

// Read reads the body, which must not change while Next is used. It has
// walked all rows when it returns.
func (a *GetAnswer) Read(body []byte) error {
	r := pack.NewReader(body)
	n := r.Array()
	a.Group, a.At = readLogID(&r)
	a.Count = r.Array()
	a.rows = r
	for range a.Count {
		if _, _, _, ok := nextGetRow(&r); !ok {
			break
		}
	}
	known := getAnswerFields
	if a.timed = n > known; a.timed {
		known++
		r.ArrayLen(a.Count)
		a.ends = r
		for range a.Count {
			if nextKeyEnd(&r); r.Err() != nil {
				break
			}
		}
	}
	r.Trailing(n, known)
	return r.Done()
}

// Next returns the next row, of a key that was found or is missing, and sets End; ok is false
// after the last. The value aliases the body.
func (a *GetAnswer) Next() (version uint64, value []byte, found, ok bool) {
	if a.Count == 0 {
		return 0, nil, false, false
	}
	a.Count--
	if a.timed {
		a.End = nextKeyEnd(&a.ends)
	}
	return nextGetRow(&a.rows)
}

func nextKeyEnd(r *pack.Reader) KeyEnd {
	if r.Nil() {
		return KeyEnd{}
	}
	r.ArrayLen(2)
	return KeyEnd{Ends: true, Remaining: r.Uint(), Lease: shardmap.LeaseID(r.Uint())}
}

func nextGetRow(r *pack.Reader) (version uint64, value []byte, found, ok bool) {
	if r.Nil() {
		return 0, nil, false, true
	}
	r.ArrayLen(2)
	version, value = r.Uint(), r.Bytes()
	return version, value, true, r.Err() == nil
}

// List asks for one page of the keys that begin with Prefix and come after
// After, in order, of some slots of one group, or of all that it has:
// [mode, group, epoch, prefix, after key, limit, max bytes, keys only, after term, after index, slots?, span?],
// where a span is four fields, from, to, descending, counting, and slots are nil if it has none.
type List struct {
	Mode     ReadMode
	Group    raft.GroupID
	Epoch    uint64 // of the slot table by which the client chose the group; 0 any
	Prefix   []byte
	After    []byte
	Limit    uint32 // rows, or keys that are counted, at most ListRowsMax; 0: that many, or as many as a node counts at a time
	MaxBytes uint32 // of keys and values, at most ListBytesMax; 0: that many
	KeysOnly bool
	AfterID  raft.LogID // the answer is to be as new as this; zero: any
	// Slots are those that are meant, in order: there is an answer only if the group has
	// all of them at its moment, and it has no key of any other. Epoch counts for nothing
	// then. If there are none, all slots that the group has are meant, and the body ends
	// before them: a node of a level below 4 knows no more.
	Slots []shardmap.SlotRange
	Span
}

// Append appends the body.
func (l *List) Append(b []byte) []byte {
	b = pack.AppendArray(b, fieldsWith(listFields, l.Slots, &l.Span))
	b = pack.AppendUint(b, uint64(l.Mode))
	b = pack.AppendUint(b, uint64(l.Group))
	b = pack.AppendUint(b, l.Epoch)
	b = pack.AppendBytes(b, l.Prefix)
	b = pack.AppendBytes(b, l.After)
	b = pack.AppendUint(b, uint64(l.Limit))
	b = pack.AppendUint(b, uint64(l.MaxBytes))
	b = pack.AppendBool(b, l.KeysOnly)
	b = pack.AppendUint(b, l.AfterID.Term)
	b = pack.AppendUint(b, l.AfterID.Index)
	return appendSlots(b, l.Slots, &l.Span)
}

// listFields are those of a list that names no slots and has no span.
const listFields = 10

// Read reads the body. Prefix and After alias it. Limits of 0 are filled in.
func (l *List) Read(body []byte) error {
	r := pack.NewReader(body)
	found := r.Array()
	l.Mode = readMode(&r)
	l.Group = raft.GroupID(r.UintMax(uint64(raft.GroupMax)))
	l.Epoch = r.Uint()
	l.Prefix, l.After = r.Bytes(), r.Bytes()
	l.Limit = uint32(r.UintMax(ListRowsMax))
	l.MaxBytes = uint32(r.UintMax(ListBytesMax))
	l.KeysOnly = r.Bool()
	l.AfterID = raft.LogID{Term: r.Uint(), Index: r.Uint()}
	var err error
	if l.Slots, err = readSlots(&r, found, listFields, &l.Span); err != nil {
		return err
	}
	if len(l.Prefix) > shardmap.KeyMax || len(l.After) > shardmap.KeyMax {
		return fmt.Errorf("field prefix of %d bytes, after of %d, want %d at most", len(l.Prefix), len(l.After), shardmap.KeyMax)
	}
	if err := l.Check(l.Prefix); err != nil {
		return err
	}
	if l.Limit == 0 && !l.Counting {
		l.Limit = ListRowsMax
	}
	if l.MaxBytes == 0 {
		l.MaxBytes = ListBytesMax
	}
	return nil
}

// ListAnswer answers a List, ordered by key:
// [group, term, index, more, [[key, version, bin | nil] …], counted?, last?], nil where only the
// keys were asked for. An answer with rows ends behind them.
//
// The answering side gathers Rows with [AppendListRow] and counts them. The asking
// side calls Read, then Next for each row.
type ListAnswer struct {
	Group raft.GroupID
	At    raft.LogID // the rows are as of here
	More  bool       // ask again, after the last key
	Count int
	Rows  []byte // Count of them, back to back
	// Counted is how many keys a list has counted, and Last the key up to which, if there is
	// more: the After of the next one.
	Counted uint64
	Last    []byte
}

// An answer that tells a count has two fields more.
const (
	listAnswerFields  = 5
	countAnswerFields = listAnswerFields + 2
)

func (a *ListAnswer) counts() bool { return a.Counted > 0 || len(a.Last) > 0 }

// AppendListRow appends one row; value is nil where only keys were asked for.
func AppendListRow(b, key []byte, version uint64, value []byte) []byte {
	b = pack.AppendArray(b, 3)
	b = pack.AppendBytes(b, key)
	b = pack.AppendUint(b, version)
	if value == nil {
		return pack.AppendNil(b)
	}
	return pack.AppendBytes(b, value)
}

// Append appends the body.
func (a *ListAnswer) Append(b []byte) []byte {
	return a.appendCounted(append(a.appendHead(b), a.Rows...))
}

// appendCounted appends the fields behind the rows.
func (a *ListAnswer) appendCounted(b []byte) []byte {
	if !a.counts() {
		return b
	}
	return pack.AppendBytes(pack.AppendUint(b, a.Counted), a.Last)
}

// appendHead appends the fields before the rows, at most [ListHead] bytes.
func (a *ListAnswer) appendHead(b []byte) []byte {
	fields := listAnswerFields
	if a.counts() {
		fields = countAnswerFields
	}
	b = pack.AppendArray(b, fields)
	b = appendLogID(b, a.Group, a.At)
	b = pack.AppendBool(b, a.More)
	return pack.AppendArray(b, a.Count)
}

// ListRoom is the space before the rows, in bytes, that [ListAnswer.Frame] needs.
const ListRoom = HeaderSize + ListHead

// Frame returns the answer as a whole frame, within b. The rows are b[ListRoom:], and Rows is set to them. The
// frame's header and the body's first fields go right before them, so no row is copied.
func (a *ListAnswer) Frame(b []byte, t Type, flags uint16, request uint64) []byte {
	var room [ListRoom]byte
	head, _ := BeginFrame(room[:0], t, flags, 0, request)
	head = a.appendHead(head)
	a.Rows = b[ListRoom:]
	b = b[ListRoom-len(head):]
	copy(b, head)
	return EndFrame(a.appendCounted(b), 0)
}

// Read reads the body, which Rows aliases. It has walked all rows when it
// returns.
func (a *ListAnswer) Read(body []byte) error {
	r := pack.NewReader(body)
	n := r.Array()
	a.Group, a.At = readLogID(&r)
	a.More = r.Bool()
	a.Count = r.Array()
	a.Rows = r.Rest()
	before := r.Offset()
	for range a.Count {
		if _, _, _, ok := nextListRow(&r); !ok {
			break
		}
	}
	if r.Err() == nil {
		a.Rows = a.Rows[:r.Offset()-before]
	}
	a.Counted, a.Last = 0, nil
	if n < countAnswerFields {
		r.Trailing(n, listAnswerFields)
		return r.Done()
	}
	a.Counted, a.Last = r.Uint(), r.Bytes()
	r.Trailing(n, countAnswerFields)
	return r.Done()
}

// Next returns the next row; ok is false after the last. Key and value alias
// the body; the value is nil where only keys were asked for.
func (a *ListAnswer) Next() (key []byte, version uint64, value []byte, ok bool) {
	if a.Count == 0 {
		return nil, 0, nil, false
	}
	r := pack.NewReader(a.Rows)
	key, version, value, ok = nextListRow(&r)
	a.Count--
	a.Rows = r.Rest()
	return key, version, value, ok
}

func nextListRow(r *pack.Reader) (key []byte, version uint64, value []byte, ok bool) {
	r.ArrayLen(3)
	key, version = r.Bytes(), r.Uint()
	if !r.Nil() {
		value = r.Bytes()
	}
	return key, version, value, r.Err() == nil
}
