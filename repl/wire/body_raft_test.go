package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// A raft message means the same after the wire as before it, entries with all
// their bytes. Raft's own bookkeeping for the owner stays at home.
func TestEnvelopesAndBeatsComeBack(t *testing.T) {
	seed := func(g raft.GroupID, i raft.Incarnation) (raft.Seed, bool) { return raft.EntrySeed(g, i), true }
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SliceOfN(rapid.Uint64(), 12, 12).Draw(t, "numbers")
		g, inc := raft.GroupID(n[0]%10000), raft.Incarnation(n[1])
		m := raft.Message{Type: raft.MessageType(1 + n[11]%6), From: raft.ReplicaID(n[2]), To: raft.ReplicaID(n[3]), Term: n[4],
			Log: raft.LogID{Term: n[5], Index: n[6]}, Commit: n[7], Reject: n[8]%2 == 0, Conflict: raft.LogID{Term: n[9], Index: n[10]}, Round: n[11]}
		var raw []byte
		for i := range rapid.IntRange(0, 5).Draw(t, "entries") {
			e := entry(g, inc, raft.LogID{Term: n[4], Index: n[6] + 1 + uint64(i)}, rapid.SliceOf(rapid.Byte()).Draw(t, "payload"))
			m.Entries = append(m.Entries, e)
			raw = append(raw, e.Raw...)
		}
		sent := wire.Envelope{Group: g, Incarnation: inc, Mark: n[8], Batch: n[2], Message: m}
		b := wire.AppendEnvelope(nil, &sent)
		if raw == nil {
			raw = []byte{}
		}
		mirror := envelopeMirror{uint64(g), n[1], n[2], n[3], n[4], n[5], n[6], n[7], m.Reject, n[9], n[10], n[11], n[8], n[2], uint64(len(m.Entries)), raw}
		if theirs := library(t, &mirror); !bytes.Equal(b, theirs) {
			t.Fatalf("got  % x\nwant % x", b, theirs)
		}
		got, err := wire.ReadEnvelope(wire.TypeOf(m.Type), b, seed)
		if err != nil || !reflect.DeepEqual(got, sent) {
			t.Fatalf("got %+v, %v, want %+v", got, err, sent)
		}

		full := n[3] % 3
		beat := wire.Beat{Mark: n[0], Batch: n[5], Sequence: n[1], Fullness: wire.Fullness(full), Stalled: n[4]%2 == 1}
		if beat.Stalled {
			full += 4
		}
		answers := beat
		heart := beatMirror{n[0], n[5], n[1], full, []beatRowMirror{}, []restMirror{}}
		answer := beatAnswerMirror{n[0], n[5], n[1], full, []beatAnswerRowMirror{}}
		for range n[2] % 5 {
			row := wire.BeatMessageOf(&sent)
			answers.Messages = append(answers.Messages, row)
			row.Reject, row.Time = false, raft.GroupTime(n[6])
			beat.Messages = append(beat.Messages, row)
			heart.Rows = append(heart.Rows, beatRowMirror{uint64(g), n[1], n[2], n[3], n[4], n[7], n[11], n[6]})
			answer.Rows = append(answer.Rows, beatAnswerRowMirror{uint64(g), n[1], n[2], n[3], n[4], n[11], m.Reject})
		}
		for range n[4] % 4 {
			beat.Rests = append(beat.Rests, wire.Rest{Group: g, Incarnation: inc, Leader: m.From, Term: m.Term, Time: raft.GroupTime(n[9])})
			heart.Rests = append(heart.Rests, restMirror{uint64(g), n[1], n[2], n[4], n[9]})
		}
		if mine, theirs := wire.AppendBeat(nil, &beat), library(t, &heart); !bytes.Equal(mine, theirs) {
			t.Fatalf("got  % x\nwant % x", mine, theirs)
		}
		if mine, theirs := wire.AppendBeatAnswer(nil, &answers), library(t, &answer); !bytes.Equal(mine, theirs) {
			t.Fatalf("got  % x\nwant % x", mine, theirs)
		}
		var answerBack wire.Beat
		if err := wire.ReadBeatAnswer(wire.AppendBeatAnswer(nil, &answers), &answerBack); err != nil || len(answerBack.Messages) != len(answers.Messages) {
			t.Fatalf("got %+v, %v, want %+v", answerBack, err, answers)
		}
		for i := range answerBack.Messages {
			e := answerBack.Messages[i].Envelope(raft.MsgHeartbeatAnswer)
			if e.Message.Reject != m.Reject || e.Message.Round != m.Round || e.Message.Commit != 0 {
				t.Fatalf("row %d: got %+v", i, e)
			}
		}
		var beatBack wire.Beat
		if err := wire.ReadBeat(wire.AppendBeat(nil, &beat), &beatBack); err != nil || fmt.Sprint(beatBack) != fmt.Sprint(beat) {
			t.Fatalf("got %+v, %v, want %+v", beatBack, err, beat)
		}
		for i := range beatBack.Messages {
			e := beatBack.Messages[i].Envelope(raft.MsgHeartbeat)
			if e.Group != g || e.Incarnation != inc || e.Message.Term != m.Term || e.Message.Commit != m.Commit || e.Message.Time != raft.GroupTime(n[6]) || e.Message.Type != raft.MsgHeartbeat {
				t.Fatalf("row %d: got %+v", i, e)
			}
		}
	})
}

// What arrives from a peer goes into the log. An entry that was changed, is of
// another group or of an earlier life of it, or does not fill its place, must
// not get that far.
func TestBadEnvelopes(t *testing.T) {
	e := entry(3, 2, raft.LogID{Term: 7, Index: 9}, []byte("payload"))
	good := wire.Envelope{Group: 3, Incarnation: 2, Message: raft.Message{Type: raft.MsgAppend, From: 1, To: 2, Term: 7, Entries: []raft.Entry{e}}}
	seed := func(g raft.GroupID, i raft.Incarnation) (raft.Seed, bool) {
		return raft.EntrySeed(g, i), g == 3 && i <= 2
	}
	for _, c := range []struct {
		name   string
		typ    wire.Type
		change func(e *wire.Envelope, body []byte) []byte
		want   error
	}{
		{"good", wire.TypeAppend, func(_ *wire.Envelope, b []byte) []byte { return b }, nil},
		{"payload changed", wire.TypeAppend, func(_ *wire.Envelope, b []byte) []byte { return flipped(b, len(b)-1) }, raft.ErrEntry},
		{"another incarnation", wire.TypeAppend, func(e *wire.Envelope, _ []byte) []byte {
			e.Incarnation = 1
			return wire.AppendEnvelope(nil, e)
		}, raft.ErrEntry},
		{"a group that is not here", wire.TypeAppend, func(e *wire.Envelope, _ []byte) []byte {
			e.Group = 4
			return wire.AppendEnvelope(nil, e)
		}, wire.ErrUnknownGroup},
		{"a count too high", wire.TypeAppend, func(e *wire.Envelope, b []byte) []byte { return recount(b, e, 2) }, raft.ErrEntry},
		{"a count of none", wire.TypeAppend, func(e *wire.Envelope, b []byte) []byte { return recount(b, e, 0) }, raft.ErrEntry},
		{"an entry cut short", wire.TypeAppend, func(e *wire.Envelope, _ []byte) []byte {
			e.Message.Entries = []raft.Entry{{Raw: e.Message.Entries[0].Raw[:45]}}
			return wire.AppendEnvelope(nil, e)
		}, raft.ErrEntry},
		{"heartbeats do not travel alone", wire.TypeBeat, func(_ *wire.Envelope, b []byte) []byte { return b }, errAny},
		{"group 10000", wire.TypeAppend, func(e *wire.Envelope, _ []byte) []byte {
			e.Group = 10000
			return wire.AppendEnvelope(nil, e)
		}, errAny},
	} {
		sent := good
		b := c.change(&sent, wire.AppendEnvelope(nil, &good))
		_, err := wire.ReadEnvelope(c.typ, b, seed)
		if c.want == errAny && err != nil {
			continue
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

var errAny = errors.New("any error")

// recount replaces the count of entries in the body of e, which has one.
func recount(b []byte, e *wire.Envelope, n byte) []byte {
	b = bytes.Clone(b)
	b[len(b)-len(e.Message.Entries[0].Raw)-3] = n // before the bin's code and length
	return b
}

// The command's checksum is its client's: it must notice what changed between
// the client's hands and the slot, whoever framed it since.
func TestWriteChecksum(t *testing.T) {
	good := wire.AppendWrite([]byte("before"), &exampleCommand)[len("before"):]
	command, err := wire.CheckWrite(good)
	var c shardmap.Command
	if err != nil || shardmap.ReadCommand(command, &c) != nil || !bytes.Equal(shardmap.AppendCommand(nil, &c), command) {
		t.Fatalf("got %+v, %v", c, err)
	}
	for i := range good {
		if _, err := wire.CheckWrite(flipped(good, i)); err == nil {
			t.Errorf("byte %d changed: not noticed", i)
		}
	}
	if _, err := wire.CheckWrite(flipped(good, len(good)-1)); !errors.Is(err, wire.ErrChecksum) {
		t.Errorf("got %v, want %v", err, wire.ErrChecksum)
	}
}

// Limits of reads are refused by name.
func TestReadLimits(t *testing.T) {
	many := make([][]byte, wire.GetKeysMax+1)
	for i := range many {
		many[i] = []byte("k")
	}
	for _, c := range []struct {
		name string
		body wire.Body
		ok   bool
	}{
		{"most keys", &wire.Get{Keys: many[1:]}, true},
		{"a key more", &wire.Get{Keys: many}, false},
		{"no key", &wire.Get{}, false},
		{"longest key", &wire.Get{Keys: [][]byte{make([]byte, shardmap.KeyMax)}}, true},
		{"a byte more", &wire.Get{Keys: [][]byte{make([]byte, shardmap.KeyMax+1)}}, false},
		{"empty key", &wire.Get{Keys: [][]byte{{}}}, false},
		{"unknown mode", &wire.Get{Mode: wire.ReadBounded + 1, Keys: many[:1]}, false},
		{"oldest answer", &wire.Get{Mode: wire.ReadBounded, Keys: many[:1], Stale: math.MaxUint32}, true},
		{"a listing of an age", &wire.List{Mode: wire.ReadBounded}, false},
		{"largest page", &wire.List{Limit: wire.ListRowsMax, MaxBytes: wire.ListBytesMax}, true},
		{"a row more", &wire.List{Limit: wire.ListRowsMax + 1}, false},
		{"a byte more", &wire.List{MaxBytes: wire.ListBytesMax + 1}, false},
		{"prefix longer than a key", &wire.List{Prefix: make([]byte, shardmap.KeyMax+1)}, false},
		{"group 10000", &wire.List{Group: 10000}, false},
		{"smallest piece", &wire.Scan{PieceBytes: wire.StreamPieceMin}, true},
		{"largest piece", &wire.Scan{PieceBytes: wire.StreamPieceMax}, true},
		{"a piece of 0", &wire.Scan{}, false},
		{"a piece over the limit", &wire.Scan{PieceBytes: wire.StreamPieceMax + 1}, false},
	} {
		b := c.body.Append(nil)
		if err := c.body.Read(b); (err == nil) != c.ok {
			t.Errorf("%s: got %v, want ok %t", c.name, err, c.ok)
		}
	}
	var l wire.List
	if err := l.Read((&wire.List{}).Append(nil)); err != nil || l.Limit != wire.ListRowsMax || l.MaxBytes != wire.ListBytesMax {
		t.Errorf("without limits: got %+v, %v", l, err)
	}
}
