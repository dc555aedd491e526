package shardmap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"muster/raft"
	"muster/repl/memtest"
)

// contentExample is what docs/storage.md shows of the content of a piece.
func contentExample() []byte {
	s := newStore(KindKey)
	s.put([]byte("{a}1"), []byte("hello"), hashKey([]byte("{a}1")), 2)
	c := s.seek(nil)
	b := appendRecordItem(nil, c.record())
	b = appendRecordGoneItem(b, KindKey, []byte("{a}2"))
	b = appendSessionItem(b, &session{sessionKey: sessionKey{id: 7}, used: 1e9, floor: 1})
	return appendEndItem(b, 2, 0, (*formers)(nil).with(Former{1, at(3, 900)}))
}

// endingsExample is what it shows of a slot in which something ends.
func endingsExample() []byte {
	m, st := NewMap(1), newSlotState()
	for name, e := range map[string]ending{"{a}1": {endsWithLease, 7}, "{a}2": {endsAt, 5e9}} {
		st.putRecord(m, KindKey, &newRecord{[]byte(name), []byte("v"), hashKey([]byte(name)), 9, e})
	}
	st.putLease(m, 7, 3000, 6e9, 0, 8)
	s := session{sessionKey: sessionKey{id: 7}, used: 1e9, floor: 1}
	o := outcome{sequence: 1, id: at(3, 9), version: 9, group: 1, status: StatusApplied}
	st.sessions.addDetail(&s, &o, []byte{0x92, 0xc3, 0x91, 3}, new(sessionQuota))
	s.outcomes = []outcome{o}
	var b []byte
	st.stores(func(o *store) {
		for at := o.seek(nil); at.record() != nil; at.next() {
			b = appendRecordItem(b, at.record())
		}
	})
	return appendEndItem(appendSessionItem(b, &s), 9, -1e9, nil)
}

// The page shows the bytes as the code writes them.
func TestContentInDocument(t *testing.T) {
	page, err := os.ReadFile("../docs/storage.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(page)), " ")
	for _, b := range [][]byte{contentExample(), endingsExample()} {
		if want := fmt.Sprintf("% x", b); !strings.Contains(text, want) {
			t.Errorf("docs/storage.md does not show %s", want)
		}
	}
	ends := Piece{Slot: SlotOf([]byte("{a}")), Content: endingsExample()}
	if sum, err := checkContent(&ends); err != nil || sum != (contentSum{newest: 9, last: 9, sessions: 1, outcomes: 1, details: 4}) {
		t.Errorf("%+v, %v", sum, err)
	}
	p := Piece{Slot: SlotOf([]byte("{a}")), Content: contentExample()}
	if sum, err := checkContent(&p); err != nil || sum != (contentSum{newest: 2, last: 2, sessions: 1}) {
		t.Errorf("%+v, %v", sum, err)
	}
}

// Content comes from another group, by way of members that may be of another build or
// broken. What can't have been meant is refused before anything is changed, whatever it
// is; what is cut anywhere too.
func TestContentRefused(t *testing.T) {
	slot := SlotOf([]byte("{a}"))
	put := func(kind RecordKind, key string, version uint64) []byte {
		s := newStore(kind)
		s.put([]byte(key), []byte("v"), hashKey([]byte(key)), version)
		c := s.seek(nil)
		return appendRecordItem(nil, c.record())
	}
	gone := func(key string) []byte { return appendRecordGoneItem(nil, KindKey, []byte(key)) }
	sess := func(id, floor uint64, sequences ...uint64) []byte {
		s := &session{sessionKey: sessionKey{id: id}, floor: floor}
		for _, q := range sequences {
			s.outcomes = append(s.outcomes, outcome{sequence: q, group: 1, status: StatusApplied})
		}
		return appendSessionItem(nil, s)
	}
	lease := func(number, version, ttl uint64) []byte {
		s, name := newStore(KindLease), leaseName(number)
		s.put(name, leaseValue(ttl, 5, 0), hashKey(name), version)
		c := s.seek(nil)
		return appendRecordItem(nil, c.record())
	}
	ends := func(e ending, version uint64) []byte {
		s, key := newStore(KindKey), []byte("{a}1")
		s.place(0, false, &newRecord{key, []byte("v"), hashKey(key), version, e})
		c := s.seek(nil)
		return appendRecordItem(nil, c.record())
	}
	detailed := func(status Status, deleted uint32, detail string) []byte {
		b := append(appendSessionHead([]byte{itemSession}, &session{sessionKey: sessionKey{id: 1}, outcomes: make([]outcome, 1)}), make([]byte, snapshotOutcome)...)
		o := b[1+snapshotSession:]
		binary.LittleEndian.PutUint32(o[32:], deleted)
		o[36], o[38] = byte(status), 1
		if detail != "" {
			o[37] = 1
			b = append(binary.LittleEndian.AppendUint32(b, uint32(len(detail))), detail...)
		}
		return b
	}
	end := func(f ...Former) []byte {
		if f == nil {
			return appendEndItem(nil, 9, 0, nil)
		}
		return appendEndItem(nil, 9, 0, &formers{list: f})
	}
	patched := func(b []byte, at int, v byte) []byte { b = bytes.Clone(b); b[at] = v; return b }
	join := func(b ...[]byte) []byte { return bytes.Join(b, nil) }
	for what, c := range map[string]struct {
		content []byte
		more    bool
		want    error // nil: ErrCommand
	}{
		"nothing, where the pass ends":  {},
		"a key of another slot":         {content: join(put(KindKey, "{b}1", 1), end())},
		"a key gone of another slot":    {content: join(gone("{b}1"), end())},
		"keys out of order":             {content: join(put(KindKey, "{a}2", 1), put(KindKey, "{a}1", 1), end())},
		"a key twice":                   {content: join(put(KindKey, "{a}1", 1), gone("{a}1"), end())},
		"a key without a version":       {content: join(put(KindKey, "{a}1", 0), end())},
		"a record of a newer kind":      {content: join(put(kindNewest+1, "{a}1", 1), end()), want: ErrLevel},
		"a record of kind 0":            {content: join(put(0, "{a}1", 1), end()), want: ErrLevel},
		"a record gone of a newer kind": {content: join(appendRecordGoneItem(nil, kindNewest+1, []byte("{a}1")), end()), want: ErrLevel},
		"a record that ends newly":      {content: join(patched(put(KindKey, "{a}1", 1), 16, 3), end()), want: ErrLevel},
		"a lease that ends as a key":    {content: join(patched(lease(1, 1, 1), 16, 1), end()), want: ErrLevel},
		"a lease of a short name":       {content: join(put(KindLease, "{a}1", 1), end())},
		"a lease before its grant":      {content: join(lease(2, 1, 1), end())},
		"a lease for no time":           {content: join(lease(1, 1, 0), end())},
		"a lease for too long":          {content: join(lease(1, 1, TTLMax+1), end())},
		"a key older than its lease":    {content: join(ends(ending{endsWithLease, 7}, 7), end())},
		"a key with lease 0":            {content: join(ends(ending{endsWithLease, 0}, 7), end())},
		"a detail of a conflict":        {content: join(detailed(StatusConflict, 0, "d"), end()), want: ErrLevel},
		"no detail of what has one":     {content: join(detailed(StatusNoLease, 0, ""), end()), want: ErrLevel},
		"a detail, and keys deleted":    {content: join(detailed(StatusApplied, 1, "d"), end())},
		"a detail above the limit":      {content: join(detailed(StatusApplied, 0, strings.Repeat("d", DetailMax+1)), end())},
		"ahead by nothing":              {content: append([]byte{itemEndAhead}, append(make([]byte, endAhead), end()[1:]...)...)},
		"an empty key":                  {content: join(gone(""), end())},
		"a key above the limit":         {content: join(gone("{a}"+strings.Repeat("k", KeyMax)), end())},
		"a value above the limit":       {content: join(patched(put(KindKey, "{a}1", 1), 12, 0xff), end())},
		"sessions out of order":         {content: join(sess(8, 0), sess(7, 0), end())},
		"session 0":                     {content: join(sess(0, 0), end())},
		"a session twice":               {content: join(sess(8, 0), appendSessionGoneItem(nil, sessionKey{id: 8}), end())},
		"outcomes out of order":         {content: join(sess(8, 0, 5, 5), end())},
		"an outcome below the floor":    {content: join(sess(8, 3, 2), end())},
		"an outcome of group 0":         {content: join(patched(sess(8, 0, 5), 1+snapshotSession+38, 0), end())},
		"an outcome of a newer status":  {content: join(patched(sess(8, 0, 5), 1+snapshotSession+36, byte(StatusSealed)), end()), want: ErrLevel},
		"more outcomes than there are":  {content: join(patched(sess(8, 0, 5), 1+32, 2), end())},
		"outcomes without a bound":      {content: join(patched(sess(8, 0, 5), 1+35, 0xff), end())},
		"a record after a session":      {content: join(sess(8, 0), put(KindKey, "{a}1", 1), end())},
		"a session after the end":       {content: join(end(), sess(8, 0))},
		"two ends":                      {content: join(end(), end())},
		"an end, where more follows":    {content: end(), more: true},
		"no end, where the pass ends":   {content: put(KindKey, "{a}1", 1)},
		"a former owner of group 0":     {content: end(Former{0, at(1, 1)})},
		"a former owner twice":          {content: end(Former{1, at(1, 1)}, Former{1, at(1, 2)})},
		"a former owner without a seal": {content: end(Former{1, raft.LogID{}})},
		"too many former owners":        {content: end(make([]Former, FormersMax+1)...)},
		"forgotten ones beside few":     {content: patched(end(Former{1, at(1, 1)}), 10, 1)},
		"an item of a newer kind":       {content: append([]byte{9}, end()...), want: ErrLevel},
	} {
		if c.want == nil {
			c.want = ErrCommand
		}
		p := Piece{Slot: slot, Number: 7, Source: 1, To: at(1, 1), More: c.more, Content: c.content}
		command := ChunkCommand([]Piece{p})
		if err := command.ValidateMove(Limits{Level: Level}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
		m := NewMap(2)
		before := mapBytes(t, m)
		if _, err := m.Apply(at(1, 1), 0, &command); !errors.Is(err, c.want) || m.Applied().Index != 0 || !bytes.Equal(mapBytes(t, m), before) {
			t.Errorf("%s: applied with %v up to %s", what, err, m.Applied())
		}
	}
	whole := contentExample()
	for n := range whole {
		if _, err := checkContent(&Piece{Slot: slot, Content: whole[:n]}); !errors.Is(err, ErrCommand) {
			t.Errorf("%d bytes of %d are content: %v", n, len(whole), err)
		}
	}
}

// Hostile content must cost no more than it is worth, to check and to take, and what is
// taken comes back from a snapshot.
func FuzzContent(f *testing.F) {
	f.Add(false, contentExample())
	f.Add(true, []byte{itemRecord, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0x0f, 1, 0})
	f.Add(true, append([]byte{itemSession, 1, 0, 0, 0, 0, 0, 0, 0}, bytes.Repeat([]byte{0}, 27)...))
	f.Add(false, []byte{itemEnd, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 1})
	slot := SlotOf([]byte("{a}"))
	f.Fuzz(func(t *testing.T, more bool, b []byte) {
		p := Piece{Slot: slot, Number: 7, Source: 1, To: at(1, 1), More: more, Content: b}
		var err error
		used := memtest.Allocated(func() { _, err = checkContent(&p) })
		if limit := 16*len(b) + 4<<10; used > limit {
			t.Fatalf("%d bytes of memory for %d, the limit is %d", used, len(b), limit)
		}
		c := ChunkCommand([]Piece{p})
		m := NewMap(2)
		if _, applied := m.Apply(at(1, 1), 0, &c); (applied == nil) != (err == nil) {
			t.Fatalf("checked with %v, applied with %v", err, applied)
		}
		if err != nil {
			if !errors.Is(err, ErrCommand) && !errors.Is(err, ErrLevel) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if err := NewMap(2).Load(bytes.NewReader(mapBytes(t, m)), at(1, 1), 0); err != nil {
			t.Fatalf("the import can't be loaded: %v", err)
		}
	})
}
