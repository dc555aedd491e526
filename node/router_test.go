package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Whatever a request has wrong with it, its sender gets one typed answer under
// its number, and the connection stays: the other requests on it are somebody
// else's. One would doubt it: each check is made at another place, and some
// only after the request has been counted in or handed to another goroutine.
func TestRefusedRequests(t *testing.T) {
	r := serving(t, defaultLimits())
	s := r.client()
	table := r.node.table.Load()
	with := func(change func(c *shardmap.Command)) []byte {
		c := setCommand("k", "v")
		change(&c)
		return write(c)
	}
	flipped := write(setCommand("k", "v"))
	flipped[len(flipped)-1] ^= 1
	list := func(change func(l *wire.List)) []byte {
		l := wire.List{Group: 1}
		change(&l)
		return l.Append(nil)
	}
	slots := []shardmap.SlotRange{{From: 0, To: shardmap.Slots - 1}}
	leases := func(change func(l *wire.Leases)) []byte {
		l := wire.Leases{Group: 1, Slots: slots}
		change(&l)
		return l.Append(nil)
	}
	watch := func(change func(w *wire.Watch)) []byte {
		w := wire.Watch{Group: 1, Slots: slots, PieceBytes: wire.StreamPieceMin, Now: true}
		change(&w)
		return w.Append(nil)
	}
	var one, two string // keys of two groups
	for i := range 1000 {
		k := fmt.Sprintf("k%d", i)
		switch g := table.GroupOf(shardmap.SlotOf([]byte(k))); {
		case one == "":
			one = k
		case g != table.GroupOf(shardmap.SlotOf([]byte(one))) && two == "":
			two = k
		}
	}
	after := wire.Get{Keys: [][]byte{[]byte(one)}, AfterGroup: table.GroupOf(shardmap.SlotOf([]byte(one))), After: raft.LogID{Term: 1, Index: 1 << 40}}
	announce := wire.Announce{Node: r.node.self().Node, Start: 1, Addr: "127.0.0.1:1", Version: "x", Name: "x", Level: shardmap.Level}
	var empty wire.Empty
	for _, c := range []struct {
		what  string
		t     wire.Type
		flags uint16
		body  []byte
		code  wire.Code
		want  []string
	}{
		{"a value one byte over the limit", wire.TypeWrite, 0, write(setCommand("k", strings.Repeat("v", shardmap.ValueMaxDefault+1))), wire.CodeTooLarge, []string{"1048577", "1048576", "value-max"}},
		{"a key of 0 bytes", wire.TypeWrite, 0, write(setCommand("", "v")), wire.CodeBadRequest, []string{"key", "0 bytes", "1 to 4096"}},
		{"a key of 4097 bytes", wire.TypeWrite, 0, write(setCommand(strings.Repeat("k", 4097), "v")), wire.CodeTooLarge, []string{"4097", "4096"}},
		{"a get of a key of 0 bytes", wire.TypeGet, 0, getBody(wire.ReadLinearizable, ""), wire.CodeBadRequest, []string{"0 bytes", "1 to 4096"}},
		{"a get of a key of 4097 bytes", wire.TypeGet, 0, getBody(wire.ReadLinearizable, strings.Repeat("k", 4097)), wire.CodeBadRequest, []string{"4097", "4096"}},
		{"a get of no key", wire.TypeGet, 0, getBody(wire.ReadLinearizable), wire.CodeBadRequest, []string{"keys"}},
		{"a slot that is not the key's", wire.TypeWrite, 0, with(func(c *shardmap.Command) { c.Slot = (shardmap.SlotOf([]byte("k")) + 1) % shardmap.Slots }), wire.CodeBadRequest, []string{"slot"}},
		{"a slot that is none", wire.TypeWrite, 0, with(func(c *shardmap.Command) { c.Slot = 5000 }), wire.CodeBadRequest, []string{"slot 5000"}},
		{"keys of two slots", wire.TypeWrite, 0, with(func(c *shardmap.Command) { c.Items = [][]byte{[]byte(one), nil, []byte(two), nil} }), wire.CodeBadRequest, []string{"two slots"}},
		{"one key twice", wire.TypeWrite, 0, with(func(c *shardmap.Command) { c.Items = [][]byte{[]byte("k"), nil, []byte("k"), nil} }), wire.CodeBadRequest, []string{`"k"`}},
		{"a sequence without a session", wire.TypeWrite, 0, with(func(c *shardmap.Command) { c.Sequence = 1 }), wire.CodeBadRequest, []string{"session"}},
		{"a sequence beyond the window", wire.TypeWrite, 0, with(func(c *shardmap.Command) { c.Session, c.Sequence = 1, 1<<40 }), wire.CodeBadRequest, []string{"window"}},
		{"a kind of a newer level", wire.TypeWrite, 0, with(func(c *shardmap.Command) { c.Kind = 77 }), wire.CodeLevel, []string{"77", "upgrade"}},
		{"a client's checksum that does not fit", wire.TypeWrite, 0, flipped, wire.CodeBadRequest, []string{"checksum"}},
		{"a write that is no command", wire.TypeWrite, 0, []byte{0xc0}, wire.CodeBadRequest, []string{"Write"}},
		{"a write with a flag that requests have not", wire.TypeWrite, wire.FlagMore, write(setCommand("k", "v")), wire.CodeBadRequest, []string{"flags 0x4", "may have 0x1"}},
		{"a get with one that is used no more", wire.TypeGet, 1 << 1, getBody(wire.ReadLinearizable, "k"), wire.CodeBadRequest, []string{"flags 0x2"}},
		{"a question that nobody passes on", wire.TypeTopology, wire.FlagForward, (&wire.Empty{}).Append(nil), wire.CodeBadRequest, []string{"flags 0x1", "may have 0x0"}},
		{"a ping with a flag of a newer version", wire.TypePing, 0x8000, empty.Append(nil), wire.CodeBadRequest, []string{"flags 0x8000"}},
		{"keys of two groups", wire.TypeGet, 0, getBody(wire.ReadLinearizable, one, two), wire.CodeMoved, []string{"group", "each group"}},
		{"a get after what was never written", wire.TypeGet, 0, after.Append(nil), wire.CodeBadRequest, []string{"1099511627776"}},
		{"a listing by an old epoch", wire.TypeList, 0, list(func(l *wire.List) { l.Epoch = table.Epoch + 7 }), wire.CodeMoved, []string{fmt.Sprint(table.Epoch), "topology"}},
		{"a listing of group 0", wire.TypeList, 0, list(func(l *wire.List) { l.Group = 0 }), wire.CodeBadRequest, []string{"meta group"}},
		{"a listing of a group that is not", wire.TypeList, 0, list(func(l *wire.List) { l.Group = 9999 }), wire.CodeMoved, []string{"group 9999"}},
		{"a get of a mode that nobody knows", wire.TypeGet, 0, getBody(wire.ReadBounded+1, "k"), wire.CodeBadRequest, []string{"4 is over the limit of 3"}},
		{"leases of group 0", wire.TypeLeases, 0, leases(func(l *wire.Leases) { l.Group = 0 }), wire.CodeBadRequest, []string{"meta group"}},
		{"leases of a group that is not", wire.TypeLeases, 0, leases(func(l *wire.Leases) { l.Group = 9999 }), wire.CodeMoved, []string{"group 9999"}},
		{"leases of no slot", wire.TypeLeases, 0, leases(func(l *wire.Leases) { l.Slots = nil }), wire.CodeBadRequest, []string{"field slots"}},
		{"more leases than one answer has", wire.TypeLeases, 0, leases(func(l *wire.Leases) { l.Limit = wire.LeasesMax + 1 }), wire.CodeBadRequest, []string{"field limit: 1025"}},
		{"a watch from nowhere", wire.TypeWatch, 0, watch(func(w *wire.Watch) { w.Now = false }), wire.CodeBadRequest, []string{"field positions"}},
		{"a watch of a small piece", wire.TypeWatch, 0, watch(func(w *wire.Watch) { w.PieceBytes = 1 }), wire.CodeBadRequest, []string{"field piece bytes: 1, want 256"}},
		{"a watch that is to be passed on", wire.TypeWatch, wire.FlagForward, watch(func(*wire.Watch) {}), wire.CodeBadRequest, []string{"flags 0x1", "may have 0x0"}},
		{"a stream of the table of a large window", wire.TypeTableStream, 0, (&wire.TableStream{Window: wire.StreamWindowMax + 1, PieceBytes: wire.StreamPieceMin}).Append(nil), wire.CodeBadRequest, []string{"field window"}},
		{"a topology of two indexes", wire.TypeTopology, 0, []byte{0x92, 1, 1}, wire.CodeBadRequest, []string{"2 fields"}},
		{"a listing of too many rows", wire.TypeList, 0, list(func(l *wire.List) { l.Limit = wire.ListRowsMax + 1 }), wire.CodeBadRequest, nil},
		{"an announcement by a client", wire.TypeAnnounce, 0, announce.Append(nil), wire.CodeUnauthorized, []string{"Announce", "a client sent it", "a member"}},
		{"a founding by a client", wire.TypeFounding, 0, []byte{0x90}, wire.CodeUnauthorized, []string{"Founding", "a founding host"}},
		{"a ping that says something", wire.TypePing, 0, []byte{0x05}, wire.CodeBadRequest, nil},
		{"a type that nobody knows", wire.Type(0x3333), 0, empty.Append(nil), wire.CodeBadRequest, []string{"0x3333"}},
		{"a hello after the hello", wire.TypeHello, 0, empty.Append(nil), wire.CodeBadRequest, []string{"Hello"}},
		{"an answer", wire.TypeGetAnswer, 0, empty.Append(nil), wire.CodeBadRequest, []string{"GetAnswer"}},
		{"an append by a client", wire.TypeAppend, 0, empty.Append(nil), wire.CodeUnauthorized, []string{"Append", "a member"}},
	} {
		_, _, err := s.ask(c.t, c.flags, c.body)
		refused(t, c.what, err, c.code, c.want...)
		if _, _, err := s.ask(wire.TypePing, 0, empty.Append(nil)); err != nil {
			t.Fatalf("%s: then a ping: %v", c.what, err)
		}
	}
	if err := s.works(); err != nil {
		t.Errorf("after all that: %v", err)
	}
	r.idle()
}

// A frame that can't be understood ends its connection, since nobody knows
// where the next one begins; but its sender is told why first. One would doubt
// that it arrives: the system throws away what was sent when a connection is
// closed with bytes unread, so each case sends more behind it.
func TestBadFrames(t *testing.T) {
	l := defaultLimits()
	l.linger = readyMax // what is sent behind it is read to its end, however slow this machine is
	r := serving(t, l)
	var empty wire.Empty
	good := frame(wire.TypePing, 0, 7, empty.Append(nil))
	flip := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	long := frame(wire.TypeWrite, 0, 7, make([]byte, wire.FrameMax+1))
	for _, c := range []struct {
		what string
		sent []byte
		code wire.Code
		want string
	}{
		{"a checksum that does not fit", flip(4), wire.CodeBadRequest, "checksum"},
		{"a flipped type", flip(8), wire.CodeBadRequest, "checksum"},
		{"a flipped body", flip(wire.HeaderSize), wire.CodeBadRequest, "checksum"},
		{"a body one byte over the limit", long, wire.CodeTooLarge, fmt.Sprint(wire.FrameMax)},
		{"a body of 4 GiB", append([]byte("\xff\xff\xff\xff"), good[4:]...), wire.CodeTooLarge, "4294967295"},
		{"a body that is no msgpack", frame(wire.TypeGet, 0, 7, []byte("\xdd\xff\xff\xff\xff")), wire.CodeBadRequest, "msgpack"},
		{"no body", frame(wire.TypeGet, 0, 7, nil), wire.CodeBadRequest, "msgpack"},
		{"a body and a half", frame(wire.TypeGet, 0, 7, []byte{0xc0, 0xc0}), wire.CodeBadRequest, "msgpack"},
	} {
		for _, more := range []int{0, 300, 4 << 20} {
			t.Run(fmt.Sprintf("%s, %d bytes behind it", c.what, more), func(t *testing.T) {
				t.Parallel()
				s := r.client()
				s.t = t
				sent := append(append(bytes.Clone(good), c.sent...), make([]byte, more)...)
				go s.Write(sent) // ends with the connection
				h, _, err := s.read()
				if err != nil || h.Type != wire.TypePong || h.Request != 7 {
					t.Fatalf("the ping before it is answered by %s (%v)", h.Type, err)
				}
				refused(t, c.what, s.lastWords(), c.code, c.want)
			})
		}
	}
}

// A side that closes its half has said all that it will, not that it wants no
// answer.
func TestHalfClosed(t *testing.T) {
	r := serving(t, defaultLimits())
	s := r.client()
	const n = 20
	for i := range uint64(n) {
		if _, err := s.Write(frame(wire.TypeWrite, 0, i, write(setCommand(fmt.Sprintf("half-%d", i), "v")))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		h, _, err := s.read()
		if err != nil || h.Type != wire.TypeWriteAnswer {
			t.Fatalf("answer %d: %s, %v", i, h.Type, err)
		}
	}
	if _, _, err := s.read(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last answer: %v, want the end", err)
	}
	r.idle()
}

// A get may name more than an answer can carry. It is told so; the goroutine
// that serves all groups makes only short ones itself, and what it began is
// taken back.
func TestLongGets(t *testing.T) {
	t.Parallel()
	r := serving(t, defaultLimits())
	s := r.client()
	var keys []string
	for i := range 18 {
		key := fmt.Sprintf("{long}%d", i)
		keys = append(keys, key)
		if _, err := s.set(key, strings.Repeat(string(rune('a'+i)), shardmap.ValueMaxDefault)); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []int{1, 16, 17} {
		got, err := s.get(keys[:n]...)
		if err != nil || len(got) != n {
			t.Fatalf("get of %d MiB: %d values, %v", n, len(got), err)
		}
		for i, v := range got {
			if want := strings.Repeat(string(rune('a'+i)), shardmap.ValueMaxDefault); v != want {
				t.Errorf("get of %d MiB: value %d is another", n, i)
			}
		}
	}
	_, err := s.get(keys...)
	refused(t, "a get of 18 MiB", err, wire.CodeTooLarge, "18 keys", "fewer keys")
	if err := s.works(); err != nil {
		t.Errorf("after it: %v", err)
	}
	r.idle()
}

// A listing comes in pages, each key once, in order, whatever the page size.
func TestListing(t *testing.T) {
	r := serving(t, defaultLimits())
	s := r.client()
	for i := range 40 {
		if _, err := s.set(fmt.Sprintf("{page}%02d", i), "v"); err != nil {
			t.Fatal(err)
		}
	}
	l := wire.List{Group: r.node.table.Load().GroupOf(shardmap.SlotOf([]byte("{page}"))), Prefix: []byte("{page}"), Limit: 7}
	got := 0
	for more := true; more; {
		h, body, err := s.ask(wire.TypeList, 0, l.Append(nil))
		var a wire.ListAnswer
		if err != nil || h.Type != wire.TypeListAnswer || a.Read(body) != nil {
			t.Fatalf("page: %s, %v", h.Type, err)
		}
		more = a.More
		for {
			key, _, _, ok := a.Next()
			if !ok {
				break
			}
			if want := fmt.Sprintf("{page}%02d", got); string(key) != want {
				t.Fatalf("got %q, want %q", key, want)
			}
			got++
			l.After = bytes.Clone(key)
		}
	}
	if got != 40 {
		t.Errorf("got %d keys, want 40", got)
	}
	r.idle()
}

// A read that waits for what this copy does not have yet is kept for as long
// as its sender waits, and if that is not said, not for ever: reads that wait
// for ever would take the place of all others.
func TestReadsDoNotWaitForEver(t *testing.T) {
	l := defaultLimits()
	l.wait = 300 * time.Millisecond
	r := serving(t, l)
	s := r.client()
	group := r.node.table.Load().GroupOf(shardmap.SlotOf([]byte("k")))
	g := wire.Get{Mode: wire.ReadLocal, AfterGroup: group, After: raft.LogID{Term: 1, Index: 1 << 60}, Keys: [][]byte{[]byte("k")}}
	_, _, err := s.ask(wire.TypeGet, 0, g.Append(nil))
	refused(t, "a local read after what never comes", err, wire.CodeUnavailable, "in time")
	r.idle()
}
