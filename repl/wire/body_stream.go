package wire

import (
	"errors"
	"fmt"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/pack"
)

// A stream is an answer in many frames. All carry the number of the request that
// opened it, and all but the last have [FlagMore]:
//
//	client → node  Scan         opens it, and grants a first window
//	node → client  ScanPiece …  pieces, flagged: more follows
//	client → node  StreamGrant  the window, again and again, as pieces are used
//	client → node  StreamCancel if it wants no more of them
//	node → client  StreamEnd    the last: why it ended, and where to go on
//
// A request that is refused before anything was sent is answered by an [Error], as
// any other. Granting, cancelling and ending are the same for every kind of stream;
// a kind brings its own request and pieces.
//
// The window counts the bytes of the bodies of pieces, from the first on: a grant
// is a total, so that it says the same whenever it arrives, and twice. The next
// piece leaves when the window has room for the largest that was asked for.
const (
	// StreamsMax bounds the streams of one connection. One that waits costs its
	// connection about as much as a request.
	StreamsMax = 1024
	// StreamWindowMax bounds how many bytes a client may have granted, and not
	// yet been sent: more than a fast line holds, and what the node need not wait
	// for the client's word to send.
	StreamWindowMax = 16 << 20
	// StreamPieceMin and StreamPieceMax bound the size of a piece that a client may
	// ask for, in bytes of its body. Smaller ones would cost more than they carry;
	// other answers wait behind one that is being sent.
	StreamPieceMin = 256
	StreamPieceMax = ListBytesMax
)

// EndReason says why a stream ended. The list is closed and only ever grows at its
// end: programs decide by it.
type EndReason uint8

const (
	EndDone        EndReason = 1 // it was sent whole
	EndCancelled   EndReason = 2 // the client wanted no more
	EndMoved       EndReason = 3 // the slots have another owner: get the table, then go on from Resume
	EndNotLeader   EndReason = 4 // another node leads the group: go on there, from Resume
	EndUnavailable EndReason = 5 // the node can't go on now: try again, from Resume
	EndRefused     EndReason = 6 // what was asked for can't be had, or the client broke a rule of streams
	EndCompacted   EndReason = 7 // of a watch: the history no longer has what comes after its position; list anew, then watch from Resume
	EndSlow        EndReason = 8 // of a watch: the client did not read it, and the history no longer has what is next; it saw all up to Resume
	EndElsewhere   EndReason = 9 // of a watch: all its slots went to other groups; go on there, from Resume
)

// endReasonEnd is above every reason.
const endReasonEnd = EndElsewhere + 1

func (r EndReason) String() string {
	names := [endReasonEnd]string{"", "done", "cancelled", "moved", "not-leader", "unavailable", "refused", "compacted", "slow", "elsewhere"}
	if r == 0 || r >= endReasonEnd {
		return fmt.Sprintf("reason %d", uint8(r))
	}
	return names[r]
}

// EndReasonOf returns the reason of a stream that an error ends.
func EndReasonOf(c Code) EndReason {
	switch c.Retry() {
	case RetrySameNode:
		return EndUnavailable
	case RetryOtherNode:
		return EndNotLeader
	case RetryRefresh:
		return EndMoved
	}
	return EndRefused
}

// StreamEnd is the last frame of a stream: [reason, resume, error].
type StreamEnd struct {
	Reason EndReason
	// Resume is where to go on. Its meaning depends on the kind of stream: for a Scan
	// the last key that was sent, or its own After; for a Watch positions, as
	// [ReadPositions] reads them; for a TableStream nothing.
	Resume []byte
	// Why says more where neither side wanted the end; else its code is 0.
	Why Error
}

func (e *StreamEnd) fields(f *fields) {
	f.atLeast(3, func() {
		number(f, "reason", &e.Reason)
		f.bin("resume", &e.Resume)
		f.record("why", &e.Why)
	})
}

// Append appends the body.
func (e *StreamEnd) Append(b []byte) []byte { return appendFields(b, e) }

// Read reads the body.
func (e *StreamEnd) Read(body []byte) error { return readFields(body, e) }

// StreamGrant raises the window of the stream whose number it carries: [limit].
type StreamGrant struct {
	Limit uint64 // bytes of the bodies of all pieces, from the first on, that may have been sent
}

func (g *StreamGrant) fields(f *fields) {
	f.exactly(1, func() { number(f, "limit", &g.Limit) })
}

// Append appends the body.
func (g *StreamGrant) Append(b []byte) []byte { return appendFields(b, g) }

// Read reads the body.
func (g *StreamGrant) Read(body []byte) error { return readFields(body, g) }

// Scan opens a stream of the keys that begin with Prefix and come after After, in
// order, of some slots of one group, or of all that it has:
// [mode, group, epoch, prefix, after key, limit, piece bytes, window, keys only, after term, after index, slots?, span?],
// where slots and the span are as in a List.
type Scan struct {
	Mode       ReadMode
	Group      raft.GroupID
	Epoch      uint64 // of the slot table by which the client chose the group; 0 any
	Prefix     []byte
	After      []byte
	Limit      uint64 // rows of the whole stream; 0: all that there are
	PieceBytes uint32 // largest body of a piece, StreamPieceMin to StreamPieceMax; one row always fits
	Window     uint64 // the first grant, at most StreamWindowMax
	KeysOnly   bool
	AfterID    raft.LogID // the pieces are to be as new as this; zero: any
	// Slots are those that are meant, as [List.Slots].
	Slots []shardmap.SlotRange
	// Span is as that of a list, but no stream counts.
	Span
}

// Append appends the body.
func (s *Scan) Append(b []byte) []byte {
	b = pack.AppendArray(b, fieldsWith(scanFields, s.Slots, &s.Span))
	b = pack.AppendUint(b, uint64(s.Mode))
	b = pack.AppendUint(b, uint64(s.Group))
	b = pack.AppendUint(b, s.Epoch)
	b = pack.AppendBytes(b, s.Prefix)
	b = pack.AppendBytes(b, s.After)
	b = pack.AppendUint(b, s.Limit)
	b = pack.AppendUint(b, uint64(s.PieceBytes))
	b = pack.AppendUint(b, s.Window)
	b = pack.AppendBool(b, s.KeysOnly)
	b = pack.AppendUint(b, s.AfterID.Term)
	b = pack.AppendUint(b, s.AfterID.Index)
	return appendSlots(b, s.Slots, &s.Span)
}

// scanFields are those of a scan that names no slots and has no span.
const scanFields = 11

// Read reads the body. Prefix and After alias it.
func (s *Scan) Read(body []byte) error {
	r := pack.NewReader(body)
	found := r.Array()
	s.Mode = readMode(&r)
	s.Group = raft.GroupID(r.UintMax(uint64(raft.GroupMax)))
	s.Epoch = r.Uint()
	s.Prefix, s.After = r.Bytes(), r.Bytes()
	s.Limit = r.Uint()
	piece := r.UintMax(1<<32 - 1)
	s.Window = r.Uint()
	s.KeysOnly = r.Bool()
	s.AfterID = raft.LogID{Term: r.Uint(), Index: r.Uint()}
	var err error
	if s.Slots, err = readSlots(&r, found, scanFields, &s.Span); err != nil {
		return err
	}
	switch {
	case len(s.Prefix) > shardmap.KeyMax || len(s.After) > shardmap.KeyMax:
		return fmt.Errorf("field prefix of %d bytes, after of %d, want %d at most", len(s.Prefix), len(s.After), shardmap.KeyMax)
	case s.Counting:
		return errors.New("field counting: true, want a list for that, not a scan")
	}
	if err := s.Check(s.Prefix); err != nil {
		return err
	}
	s.PieceBytes = uint32(piece)
	return checkWindow(s.Window, piece)
}

// checkWindow refuses a window or a size of pieces with which no stream may be opened.
func checkWindow(window, piece uint64) error {
	switch {
	case piece < StreamPieceMin || piece > StreamPieceMax:
		return fmt.Errorf("field piece bytes: %d, want %d to %d", piece, StreamPieceMin, StreamPieceMax)
	case window > StreamWindowMax:
		return fmt.Errorf("field window: %d bytes, want %d at most", window, StreamWindowMax)
	}
	return nil
}

// ListRowHead is what a row of a [ListAnswer] has beside its key and value, in
// bytes, at most; ListHead what stands before its rows.
const (
	ListRowHead = 1 + 3 + 9 + 5
	ListHead    = 64
)
