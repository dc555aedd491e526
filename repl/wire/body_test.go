package wire_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"muster/raft"
	"muster/repl/wire"
)

// library encodes v as msgpack v5 does, structs as arrays.
func library(t *rapid.T, v any) []byte {
	var out bytes.Buffer
	e := msgpack.NewEncoder(&out)
	e.UseCompactInts(true)
	e.UseArrayEncodedStructs(true)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// filled makes every nil slice of v an empty one: what is nil to Go is an empty
// list on the wire.
func filled(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		filled(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			filled(v.Field(i))
		}
	case reflect.Slice:
		if v.IsNil() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		for i := range v.Len() {
			filled(v.Index(i))
		}
	}
}

// same draws bodies of one type. They must be the bytes that a library makes of
// the struct, come back equal, and be readable by the library: that is all that
// somebody who writes a client has to go by.
func same[T any](t *testing.T, prepare func(*T)) {
	t.Helper()
	t.Run(reflect.TypeFor[T]().Name(), rapid.MakeCheck(func(t *rapid.T) {
		v := rapid.Make[T]().Draw(t, "body")
		if prepare != nil {
			prepare(&v)
		}
		filled(reflect.ValueOf(&v))
		mine := any(&v).(wire.Body).Append(nil)
		if theirs := library(t, &v); !bytes.Equal(mine, theirs) {
			t.Fatalf("got  % x\nwant % x", mine, theirs)
		}
		var back, read T
		if err := any(&back).(wire.Body).Read(mine); err != nil {
			t.Fatal(err)
		}
		filled(reflect.ValueOf(&back))
		if !reflect.DeepEqual(back, v) {
			t.Fatalf("got %+v, want %+v", back, v)
		}
		if err := msgpack.Unmarshal(mine, &read); err != nil {
			t.Fatal(err)
		}
		filled(reflect.ValueOf(&read))
		if !reflect.DeepEqual(read, v) {
			t.Fatalf("the library reads %+v, want %+v", read, v)
		}
	}))
}

// inOrder makes of anything drawn a Repair whose spans are in order.
func inOrder(r *wire.Repair) {
	r.Wanted = r.Wanted[:min(len(r.Wanted), wire.RepairSpansMax)]
	next := uint64(1)
	for i := range r.Wanted {
		s := &r.Wanted[i]
		s.First = next + s.First%1000
		s.Last = s.First + s.Last%1000
		next = s.Last + 1
	}
}

func TestBodiesAreTheLibrarysBytes(t *testing.T) {
	proof := func(b *[]byte) {
		if len(*b) > 0 {
			*b = bytes.Repeat(*b, wire.ProofSize)[:wire.ProofSize]
		}
	}
	same[wire.Hello](t, nil)
	same[wire.Challenge](t, nil)
	same(t, func(p *wire.Proof) { proof(&p.Proof) })
	same(t, func(w *wire.Welcome) { proof(&w.Proof) })
	same[wire.Founding](t, nil)
	same[wire.FoundingAnswer](t, nil)
	same[wire.Announce](t, nil)
	same[wire.AnnounceAnswer](t, nil)
	same(t, inOrder)
	same[wire.SnapshotRequest](t, nil)
	same[wire.Attest](t, nil)
	same[wire.AttestAnswer](t, nil)
	same[wire.Addresses](t, nil)
	same(t, func(q *wire.LifeQuestion) {
		q.Standing %= 3
		q.Lives = append(q.Lives, wire.LifeLink{})[:min(len(q.Lives)+1, wire.LivesMax)]
		for i := range q.Lives {
			q.Lives[i].Number, q.Lives[i].Mark = uint64(i+1)<<(q.Number%50), q.Lives[i].Mark|1
		}
	})
	same(t, func(a *wire.LifeAnswer) { a.Verdict %= 6 })
	same(t, func(a *wire.ChunkAnswer) { a.State = wire.ChunkTaken })
	same[wire.TopologyAnswer](t, nil)
	same[wire.StatusAnswer](t, nil)
	same[wire.CountersAnswer](t, nil)
	same(t, func(r *wire.LogRange) { r.From, r.To = min(r.From, r.To), max(r.From, r.To) })
	same[wire.LogRangeAnswer](t, nil)
	same[wire.DoctorAnswer](t, nil)
}

// mirrors of the bodies whose structs are not laid out as their bytes are.
type (
	errorMirror struct {
		Code                                  uint16
		Text, Object, State, Next, LeaderAddr string
		LeaderNode, Epoch, RetryAfterMs       uint64
	}
	writeAnswerMirror struct{ Group, Term, Index, Version, Deleted uint64 }
	getMirror         struct {
		Mode, Group, Term, Index uint64
		Keys                     [][]byte
	}
	listMirror struct {
		Mode, Group, Epoch uint64
		Prefix, After      []byte
		Limit, MaxBytes    uint64
		KeysOnly           bool
		Term, Index        uint64
	}
	foundMirror struct {
		Version uint64
		Value   []byte
	}
	getAnswerMirror struct {
		Group, Term, Index uint64
		Rows               []*foundMirror
	}
	listRowMirror struct {
		Key     []byte
		Version uint64
		Value   []byte
	}
	listAnswerMirror struct {
		Group, Term, Index uint64
		More               bool
		Rows               []listRowMirror
	}
	envelopeMirror struct {
		Group, Incarnation, From, To, Term, LogTerm, LogIndex, Commit uint64
		Reject                                                        bool
		ConflictTerm, ConflictIndex, Round, Mark, Batch, Count        uint64
		Entries                                                       []byte
	}
	beatRowMirror struct{ Group, Incarnation, From, To, Term, Commit, Round uint64 }
	beatMirror    struct {
		Mark, Batch, Sequence, Fullness uint64
		Rows                            []beatRowMirror
		Rests                           []restMirror
	}
	restMirror          struct{ Group, Incarnation, Leader, Term uint64 }
	beatAnswerRowMirror struct {
		Group, Incarnation, From, To, Term, Round uint64
		Reject                                    bool
	}
	beatAnswerMirror struct {
		Mark, Batch, Sequence, Fullness uint64
		Rows                            []beatAnswerRowMirror
	}
)

// The bodies written by hand are the same bytes too, and come back equal.
func TestHotBodiesAreTheLibrarysBytes(t *testing.T) {
	group := rapid.Uint64Range(0, uint64(raft.GroupMax))
	key := rapid.SliceOfN(rapid.Byte(), 1, 40)
	number := rapid.Custom(func(t *rapid.T) uint64 {
		return rapid.Uint64().Draw(t, "bits") >> rapid.IntRange(0, 63).Draw(t, "shift")
	})
	equal := func(t *rapid.T, mine []byte, mirror any) {
		if theirs := library(t, mirror); !bytes.Equal(mine, theirs) {
			t.Fatalf("%T: got  % x\nwant % x", mirror, mine, theirs)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		g, n := group.Draw(t, "group"), rapid.SliceOfN(number, 9, 9).Draw(t, "numbers")
		id := raft.LogID{Term: n[0], Index: n[1]}

		e := wire.Error{Code: wire.Code(n[0] & 0xffff), Text: "t", Object: "o", State: "s", Next: rapid.String().Draw(t, "next"),
			LeaderAddr: "a", LeaderNode: raft.NodeID(n[1]), Epoch: n[2], RetryAfterMs: uint32(n[3])}
		equal(t, e.Append(nil), &errorMirror{uint16(e.Code), "t", "o", "s", e.Next, "a", n[1], n[2], uint64(e.RetryAfterMs)})

		answer := wire.WriteAnswer{Group: raft.GroupID(g), ID: id, Version: n[2], Deleted: n[3]}
		equal(t, answer.Append(nil), &writeAnswerMirror{g, n[0], n[1], n[2], n[3]})
		var answerBack wire.WriteAnswer
		if err := answerBack.Read(answer.Append(nil)); err != nil || answerBack != answer {
			t.Fatalf("got %+v, %v, want %+v", answerBack, err, answer)
		}

		keys := rapid.SliceOfN(key, 1, 8).Draw(t, "keys")
		get := wire.Get{Mode: wire.ReadMode(n[4] % 2), AfterGroup: raft.GroupID(g), After: id, Keys: keys}
		equal(t, get.Append(nil), &getMirror{n[4] % 2, g, n[0], n[1], keys})
		var getBack wire.Get
		if err := getBack.Read(get.Append(nil)); err != nil || !reflect.DeepEqual(getBack, get) {
			t.Fatalf("got %+v, %v, want %+v", getBack, err, get)
		}

		list := wire.List{Mode: get.Mode, Group: raft.GroupID(g), Epoch: n[2], Prefix: keys[0], After: keys[len(keys)-1],
			Limit: uint32(1 + n[5]%wire.ListRowsMax), MaxBytes: uint32(1 + n[6]%wire.ListBytesMax), KeysOnly: n[7]%2 == 0, AfterID: id}
		equal(t, list.Append(nil), &listMirror{n[4] % 2, g, n[2], list.Prefix, list.After, uint64(list.Limit), uint64(list.MaxBytes), list.KeysOnly, n[0], n[1]})
		var listBack wire.List
		if err := listBack.Read(list.Append(nil)); err != nil || !reflect.DeepEqual(listBack, list) {
			t.Fatalf("got %+v, %v, want %+v", listBack, err, list)
		}

		var getRows []*foundMirror
		var listRows []listRowMirror
		got := wire.AppendGetAnswer(nil, raft.GroupID(g), id, len(keys))
		listed := wire.ListAnswer{Group: raft.GroupID(g), At: id, More: list.KeysOnly, Count: len(keys)}
		for i, k := range keys {
			if k[0]%3 == 0 {
				got, getRows = wire.AppendMissing(got), append(getRows, nil)
			} else {
				got, getRows = wire.AppendFound(got, n[i%9], k), append(getRows, &foundMirror{n[i%9], k})
			}
			var value []byte
			if !list.KeysOnly {
				value = k[:len(k)-1]
			}
			listed.Rows, listRows = wire.AppendListRow(listed.Rows, k, n[i%9], value), append(listRows, listRowMirror{k, n[i%9], value})
		}
		equal(t, got, &getAnswerMirror{g, n[0], n[1], getRows})
		var a wire.GetAnswer
		if err := a.Read(got); err != nil || a.Group != raft.GroupID(g) || a.At != id || a.Count != len(keys) {
			t.Fatalf("got %+v, %v", a, err)
		}
		for i, want := range getRows {
			version, value, found, ok := a.Next()
			if !ok || found != (want != nil) || found && (version != want.Version || !bytes.Equal(value, want.Value)) {
				t.Fatalf("row %d: got %d % x %t %t, want %+v", i, version, value, found, ok, want)
			}
		}
		equal(t, listed.Append(nil), &listAnswerMirror{g, n[0], n[1], list.KeysOnly, listRows})
		var l wire.ListAnswer
		if err := l.Read(listed.Append(nil)); err != nil || !reflect.DeepEqual(l, listed) {
			t.Fatalf("got %+v, %v, want %+v", l, err, listed)
		}
		for i, want := range listRows {
			k, version, value, ok := l.Next()
			if !ok || !bytes.Equal(k, want.Key) || version != want.Version || !bytes.Equal(value, want.Value) || (value == nil) != (want.Value == nil) {
				t.Fatalf("row %d: got % x %d % x %t, want %+v", i, k, version, value, ok, want)
			}
		}
		if _, _, _, ok := l.Next(); ok {
			t.Fatal("a row behind the last")
		}
	})
}
