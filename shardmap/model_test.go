package shardmap

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"muster/raft"
)

// model is the slow and obvious version of a Map: Go maps, sorted when asked.
type model struct {
	keys     map[string]modelKey
	leases   map[LeaseID]modelLease
	services map[string]modelService
	last     map[Slot]uint64
	sessions map[Slot]map[modelSessionKey]*modelSession
	versions map[string][]modelVersion // the oldest first
	rules    VersionRules
	group    raft.GroupID // that owns all slots now
}

type modelSessionKey struct {
	principal Principal
	session   uint64
}

type modelKey struct {
	value   string
	version uint64
	modelEnd
}

type modelSession struct {
	used     raft.GroupTime
	floor    uint64
	outcomes map[uint64]Result
}

func newModel() *model {
	return &model{map[string]modelKey{}, map[LeaseID]modelLease{}, map[string]modelService{}, map[Slot]uint64{}, map[Slot]map[modelSessionKey]*modelSession{}, map[string][]modelVersion{}, nil, testGroup}
}

func (m *model) apply(id raft.LogID, now raft.GroupTime, c *Command) Result {
	slot := c.Home()
	if c.Session == 0 {
		return m.change(slot, id, now, c)
	}
	table := m.sessions[slot]
	if table == nil {
		table = map[modelSessionKey]*modelSession{}
		m.sessions[slot] = table
	}
	kept := 0
	for _, s := range table {
		kept += len(s.outcomes)
	}
	key := modelSessionKey{c.Principal, c.Session}
	s := table[key]
	if s == nil {
		// Those that were used longest ago go first: a few, and who was last
		// used at the very time of the last of them.
		var due []raft.GroupTime
		for _, o := range table {
			if now > o.used+SessionKeep {
				due = append(due, o.used)
			}
		}
		slices.Sort(due)
		for other, o := range table {
			if n := min(len(due), forgetMax); n > 0 && o.used <= due[n-1] {
				kept -= len(o.outcomes)
				delete(table, other)
			}
		}
		if len(table) >= SlotSessionsMax || kept >= SlotOutcomesMax {
			return Result{Status: StatusTooManySessions, Group: m.group, ID: id}
		}
		s = &modelSession{outcomes: map[uint64]Result{}}
		table[key] = s
	}
	s.used, s.floor = now, max(s.floor, c.Floor)
	for q := range s.outcomes {
		if q < s.floor {
			delete(s.outcomes, q)
		}
	}
	if c.Sequence < s.floor {
		return Result{Status: StatusStale, Group: m.group, ID: id}
	}
	if r, ok := s.outcomes[c.Sequence]; ok {
		return r
	}
	r := m.change(slot, id, now, c)
	s.outcomes[c.Sequence] = r
	return r
}

func (m *model) change(slot Slot, id raft.LogID, now raft.GroupTime, c *Command) Result {
	switch c.Kind {
	case CommandTxn:
		return m.txn(slot, id, now, c)
	case CommandLease:
		return m.lease(slot, id, now, c)
	case CommandService:
		return m.service(slot, id, c)
	case CommandReport:
		return m.report(slot, id, now, c)
	case CommandDelPrefix:
		return m.delPrefix(slot, id, c)
	}
	current := m.keys[string(c.Key(0))].version
	switch {
	case c.Condition == ConditionAbsent && current != 0,
		c.Condition == ConditionVersion && current != c.Version:
		return Result{Status: StatusConflict, Group: m.group, ID: id, Current: current}
	}
	if c.Kind == CommandCheck {
		return Result{Status: StatusApplied, Group: m.group, ID: id}
	}
	v := max(id.Index, m.last[slot]+1)
	m.last[slot] = v
	r := Result{Status: StatusApplied, Group: m.group, ID: id, Version: v}
	for i := range c.Keys() {
		key := string(c.Key(i))
		if c.Kind == CommandSet {
			m.keys[key] = modelKey{value: string(c.Items[2*i+1]), version: v}
		} else if _, ok := m.keys[key]; ok {
			delete(m.keys, key)
			r.Deleted++
		}
	}
	return r
}

// list returns "key=value@version" for each key, in order.
func (m *model) list(want func(key string) bool) []string {
	keys := make([]string, 0, len(m.keys))
	for k := range m.keys {
		if want(k) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	for i, k := range keys {
		keys[i] = line(k, m.keys[k].value, m.keys[k].version)
	}
	return keys
}

func line(key, value string, version uint64) string {
	return fmt.Sprintf("%q=%q@%d", key, value, version)
}

func copyLines(c *SlotCopy) []string {
	lines := []string{}
	c.Walk(nil, func(key, value []byte, version uint64) bool {
		lines = append(lines, line(string(key), string(value), version))
		return true
	})
	return lines
}

// checkStore says what is wrong with the inside of a store.
func checkStore(s *store) error {
	live, count, keyBytes := int64(0), 0, int64(0)
	perChunk := map[int]int64{}
	var before []byte
	for i := range s.leaves {
		l := s.leaf(i)
		if l.len() == 0 || l.len() > leafMax || record(l).kind() != kindLeaf {
			return fmt.Errorf("leaf %d has %d records and is of kind %d", i, l.len(), record(l).kind())
		}
		live += leafSize
		perChunk[s.leaves[i].ref.chunk()] += leafSize
		if i > 0 && bytes.Compare(s.separator(i-1), s.separator(i)) >= 0 {
			return fmt.Errorf("separator %d is not above the one before", i)
		}
		for j := range l.len() {
			rec := s.at(l.ref(j))
			key := rec.key()
			if before != nil && bytes.Compare(before, key) >= 0 {
				return fmt.Errorf("key %q after %q", key, before)
			}
			if s.leafOf(key) != i {
				return fmt.Errorf("key %q lies in leaf %d, its separator leads to %d", key, i, s.leafOf(key))
			}
			if at, found := s.find(key, hashKey(key)); !found || refOf(s.lookup.entries[at]) != l.ref(j) {
				return fmt.Errorf("key %q: the lookup leads elsewhere", key)
			}
			before = key
			live += int64(rec.size())
			perChunk[l.ref(j).chunk()] += int64(rec.size())
			count++
			keyBytes += int64(rec.keyLen() + rec.valueLen())
		}
	}
	if count != s.lookup.count {
		return fmt.Errorf("%d records, %d entries in the lookup", count, s.lookup.count)
	}
	if count != s.count || keyBytes != s.bytes {
		return fmt.Errorf("%d records of %d bytes, counted %d of %d", count, keyBytes, s.count, s.bytes)
	}
	var size, dead, tail int64
	for i, c := range s.chunks {
		n := int64(len(s.bufs[i]))
		size += n
		if i == s.tail {
			tail = n
			if perChunk[i]+int64(c.dead) != int64(c.used) {
				return fmt.Errorf("tail: %d live, %d dead, %d used", perChunk[i], c.dead, c.used)
			}
			continue
		}
		dead += int64(c.dead)
		if perChunk[i]+int64(c.dead) != n {
			return fmt.Errorf("chunk %d: %d live, %d dead of %d", i, perChunk[i], c.dead, n)
		}
	}
	if size != s.size || dead != s.dead {
		return fmt.Errorf("chunks have %d bytes, %d dead; kept were %d, %d", size, dead, s.size, s.dead)
	}
	if closed := size - tail; dead > closed/4 {
		return fmt.Errorf("%d of %d closed bytes are dead", dead, closed)
	}
	if free := len(s.free); free > len(s.chunks)/2+freeSlack {
		return fmt.Errorf("of %d numbers of chunks %d are free", len(s.chunks), free)
	}
	for _, n := range s.free {
		if int(n) >= len(s.chunks) || s.bufs[n] != nil {
			return fmt.Errorf("number %d of %d is free, and has a chunk of %d bytes", n, len(s.chunks), len(s.bufs[n]))
		}
	}
	if n := len(s.lookup.entries); n > max(lookupMin, lookupSparse*count+lookupSparse) {
		return fmt.Errorf("a lookup of %d for %d records", n, count)
	}
	if bound := live*16/9 + chunkMin + 1024; size > bound {
		return fmt.Errorf("%d bytes of chunks for %d of records; the bound is %d", size, live, bound)
	}
	return nil
}

// The map must answer as the model does, whatever comes, and a copy must stay
// as it was. Records move when they grow and when chunks are emptied, leaves
// split and join, copies share both; any of these could lose a key, or change
// one under a copy.
func TestMapIsLikeModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHarness(t)
		defer h.releaseAll()
		t.Repeat(map[string]func(*rapid.T){
			"set":     h.set,
			"fill":    h.fill,
			"del":     h.del,
			"empty":   h.empty,
			"prefix":  h.prefix,
			"test":    h.test,
			"txn":     h.txn,
			"lease":   h.lease,
			"time":    h.time,
			"retry":   h.retry,
			"copy":    h.copy,
			"release": h.release,
			"restart": h.restart,
			"get":     h.get,
			"list":    h.list,
			"":        h.check,
		})
	})
}

type harness struct {
	m       *Map
	model   *model
	index   uint64
	now     raft.GroupTime
	copies  []*SlotCopy
	were    [][]string
	digests []uint64
	sent    []Command
	next    map[modelSessionKey]uint64 // sequence per session
}

func newHarness(t *rapid.T) *harness {
	return &harness{m: owning(allSlots()), model: newModel(), next: map[modelSessionKey]uint64{}}
}

func allSlots() []Slot {
	slots := make([]Slot, Slots)
	for i := range slots {
		slots[i] = Slot(i)
	}
	return slots
}

// The tags make three slots, so that they are well filled.
var testTags = []string{"{a}", "{b}", "{c}"}

func genKey(t *rapid.T) string {
	tag := rapid.SampledFrom(testTags).Draw(t, "tag")
	return genKeyOf(t, tag)
}

func genKeyOf(t *rapid.T, tag string) string {
	switch rapid.IntRange(0, 9).Draw(t, "key form") {
	case 0:
		return tag + strings.Repeat("long/", rapid.IntRange(0, 700).Draw(t, "repeat"))
	case 1:
		return tag + string(rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(t, "bytes"))
	case 2:
		return fmt.Sprintf("%sfamily/%03d", tag, rapid.IntRange(0, 400).Draw(t, "number"))
	}
	return fmt.Sprintf("%s%d", tag, rapid.IntRange(0, 400).Draw(t, "number"))
}

func genValue(t *rapid.T) string {
	n := rapid.OneOf(rapid.IntRange(0, 200), rapid.SampledFrom([]int{0, 5000, 20000, 70000})).Draw(t, "value size")
	return strings.Repeat(string(rune('a'+rapid.IntRange(0, 25).Draw(t, "letter"))), n)
}

func (h *harness) send(t *rapid.T, c Command) {
	h.index += uint64(rapid.IntRange(1, 3).Draw(t, "entries between"))
	id := raft.LogID{Term: 1 + h.index/100, Index: h.index}
	h.pass(t)
	if c.Slot != SlotByServer && c.Keys() > 0 {
		c.Slot = SlotOf(c.Key(0))
	}
	if err := c.Validate(Limits{ValueMax: ValueMaxDefault, Level: Level}); err != nil {
		t.Fatalf("%v", err)
	}
	got, err := h.m.Apply(id, h.now, &c)
	if want := h.model.apply(id, h.now, &c); !sameResult(got, want) || err != nil {
		t.Fatalf("apply %s %+v: got %+v, %v; want %+v", id, c, got, err, want)
	}
}

// pass lets time pass.
func (h *harness) pass(t *rapid.T) {
	h.now += raft.GroupTime(rapid.SampledFrom([]int64{0, 1, 1e9, 200e9}).Draw(t, "time"))
}

// name gives c a session, or not.
func (h *harness) name(t *rapid.T, c *Command) {
	if c.Keys() > 0 && rapid.Bool().Draw(t, "server computes slot") {
		c.Slot = SlotByServer
	}
	s := uint64(rapid.IntRange(0, 3).Draw(t, "session"))
	if s == 0 {
		return
	}
	// Clients of two principals may draw the same session, and count alike.
	key := modelSessionKey{Principal(rapid.IntRange(0, 1).Draw(t, "principal")), s}
	h.next[key]++
	c.Principal, c.Session, c.Sequence = key.principal, s, h.next[key]
	c.Floor = c.Sequence - min(c.Sequence, uint64(rapid.IntRange(0, 5).Draw(t, "open")))
	if len(h.sent) < 100 {
		h.sent = append(h.sent, *c)
	} else {
		h.sent[rapid.IntRange(0, 99).Draw(t, "forgotten")] = *c
	}
}

func (h *harness) set(t *rapid.T) {
	c := Command{Kind: CommandSet}
	tag := rapid.SampledFrom(testTags).Draw(t, "tag")
	seen := map[string]bool{}
	for range rapid.IntRange(1, 4).Draw(t, "pairs") {
		if k := genKeyOf(t, tag); !seen[k] {
			seen[k] = true
			c.Items = append(c.Items, []byte(k), []byte(genValue(t)))
		}
	}
	if c.Keys() == 1 {
		c.Condition = rapid.SampledFrom([]Condition{ConditionNone, ConditionNone, ConditionAbsent, ConditionVersion}).Draw(t, "condition")
		if c.Condition == ConditionVersion {
			c.Version = h.model.keys[string(c.Items[0])].version + uint64(rapid.IntRange(0, 1).Draw(t, "wrong"))
			if c.Version == 0 {
				c.Version = 7
			}
		}
	}
	h.name(t, &c)
	h.send(t, c)
}

func (h *harness) fill(t *rapid.T) {
	tag := rapid.SampledFrom(testTags).Draw(t, "tag")
	from, step := rapid.IntRange(0, 400).Draw(t, "from"), rapid.SampledFrom([]int{1, 7, 399}).Draw(t, "step")
	value := []byte(strings.Repeat("v", rapid.IntRange(0, 150).Draw(t, "size")))
	c := Command{Kind: CommandSet}
	for i := range rapid.IntRange(1, 200).Draw(t, "keys") {
		c.Items = append(c.Items, fmt.Appendf(nil, "%s%d", tag, (from+i*step)%400), value[:len(value)*(i%5)/4%(len(value)+1)])
	}
	h.send(t, c)
}

func (h *harness) del(t *rapid.T) {
	c := Command{Kind: CommandDel, Items: [][]byte{[]byte(genKey(t))}}
	if v := h.model.keys[string(c.Items[0])].version; v > 0 && rapid.Bool().Draw(t, "conditional") {
		c.Condition, c.Version = ConditionVersion, v
	}
	h.name(t, &c)
	h.send(t, c)
}

// test sends a command that only looks whether a condition holds.
func (h *harness) test(t *rapid.T) {
	c := Command{Kind: CommandCheck, Items: [][]byte{[]byte(genKey(t))}}
	c.Condition = rapid.SampledFrom([]Condition{ConditionNone, ConditionAbsent, ConditionVersion}).Draw(t, "condition")
	if c.Condition == ConditionVersion {
		c.Version = max(1, h.model.keys[string(c.Items[0])].version)
	}
	h.name(t, &c)
	h.send(t, c)
}

func (h *harness) empty(t *rapid.T) {
	tag := rapid.SampledFrom(testTags).Draw(t, "tag")
	keep := rapid.SampledFrom([]int{0, 0, 2, 10}).Draw(t, "keep")
	c := Command{Kind: CommandDel}
	for k := range h.model.keys {
		if strings.HasPrefix(k, tag) {
			c.Items = append(c.Items, []byte(k))
		}
	}
	slices.SortFunc(c.Items, bytes.Compare)
	c.Items = c.Items[min(keep, len(c.Items)):]
	if len(c.Items) > 0 {
		h.send(t, c)
	}
}

// prefix deletes keys that begin with a prefix: a tag, more of a key than that, or nothing.
func (h *harness) prefix(t *rapid.T) {
	tag := rapid.SampledFrom(testTags).Draw(t, "tag")
	prefix := rapid.SampledFrom([]string{"", tag, tag + "1", tag + "family/", tag + "long/long/", tag + "none"}).Draw(t, "prefix")
	slot := SlotOf([]byte(tag))
	d := DelPrefix{Prefix: []byte(prefix), Limit: rapid.SampledFrom([]uint32{1, 2, 40, DelPrefixMax}).Draw(t, "limit")}
	if last := h.model.last[slot]; rapid.Bool().Draw(t, "bounded") {
		d.UpTo = last - min(last, rapid.Uint64Range(0, 30).Draw(t, "newer"))
	}
	if after := rapid.SampledFrom([]string{"", tag + "1", tag + "family/1", tag + "n"}).Draw(t, "after"); strings.HasPrefix(after, prefix) {
		d.After = []byte(after)
	}
	c := d.Command(slot)
	h.name(t, &c)
	h.send(t, c)
}

func (h *harness) retry(t *rapid.T) {
	if len(h.sent) > 0 {
		h.send(t, rapid.SampledFrom(h.sent).Draw(t, "command"))
	}
}

func (h *harness) copy(t *rapid.T) {
	slot := SlotOf([]byte(rapid.SampledFrom(testTags).Draw(t, "tag")))
	h.copies = append(h.copies, copyOf(h.m, slot))
	h.were = append(h.were, h.model.list(func(k string) bool { return SlotOf([]byte(k)) == slot }))
	h.digests = append(h.digests, digestOf(h.m, slot))
}

func (h *harness) release(t *rapid.T) {
	if len(h.copies) == 0 {
		return
	}
	i := rapid.IntRange(0, len(h.copies)-1).Draw(t, "copy")
	c := h.copies[i]
	if got := copyLines(c); !slices.Equal(got, h.were[i]) {
		t.Fatalf("copy of slot %d: got %s, want %s", c.Slot(), got, h.were[i])
	}
	if err := c.Check(); err != nil || c.Digest() != h.digests[i] {
		t.Fatalf("copy of slot %d: %v; digest %x, want %x", c.Slot(), err, c.Digest(), h.digests[i])
	}
	other := owning(allSlots())
	snapshotInto(t, c, other)
	if digestOf(other, c.Slot()) != h.digests[i] {
		t.Fatalf("slot %d through a snapshot: digest %x, want %x", c.Slot(), digestOf(other, c.Slot()), h.digests[i])
	}
	c.Release()
	h.copies, h.were, h.digests = slices.Delete(h.copies, i, i+1), slices.Delete(h.were, i, i+1), slices.Delete(h.digests, i, i+1)
}

// restart goes on with what comes out of the bytes of the whole map. It must be
// the same in all: keys and versions, what sessions remember, where it stands;
// and copies of the map before must not mind. It may go on as another group, as if
// all slots had moved there: what the one before has answered stays that one's.
func (h *harness) restart(t *rapid.T) {
	c := h.m.CopyAll()
	var b, again bytes.Buffer
	if n, err := c.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatalf("write: %d of %d bytes, %v", n, b.Len(), err)
	}
	h.model.group = raft.GroupID(rapid.IntRange(1, 3).Draw(t, "group"))
	loaded := NewMap(h.model.group)
	if err := loaded.Load(bytes.NewReader(b.Bytes()), h.m.Applied(), h.m.Time()); err != nil {
		t.Fatalf("load: %v", err)
	}
	for _, s := range allSlots() {
		if digestOf(loaded, s) != digestOf(h.m, s) {
			t.Fatalf("slot %d has digest %x, want %x", s, digestOf(loaded, s), digestOf(h.m, s))
		}
	}
	if loaded.Applied() != h.m.Applied() || loaded.Time() != h.m.Time() {
		t.Fatalf("stands at %s, want %s", loaded.Applied(), h.m.Applied())
	}
	if _, err := loaded.CopyAll().WriteTo(&again); err != nil || !bytes.Equal(again.Bytes(), b.Bytes()) {
		t.Fatalf("the same map has other bytes the second time (%v)", err)
	}
	h.m = loaded
}

func (h *harness) releaseAll() {
	for _, c := range h.copies {
		c.Release()
	}
}

func (h *harness) get(t *rapid.T) {
	key := genKey(t)
	value, version, end, is := Find(h.m, []byte(key), []byte("before"))
	want, there := h.model.keys[key]
	if (is == Present) != there || is == NotOwned || version != want.version || string(value) != "before"+want.value {
		t.Fatalf("get %q: got %q@%d %s, want %q@%d %v", key, value, version, is, want.value, want.version, there)
	}
	if want := h.model.endOf(want.modelEnd); end != want {
		t.Fatalf("get %q: it ends %+v, want %+v", key, end, want)
	}
	c, _ := h.m.Copy(SlotOf([]byte(key)))
	defer c.Release()
	if value, version, copied, is := c.Find([]byte(key)); (is == Present) != there || version != want.version || string(value) != want.value || copied != end {
		t.Fatalf("a copy has %q: %q@%d %s, ending %+v; want %q@%d %v, ending %+v", key, value, version, is, copied, want.value, want.version, there, end)
	}
}

func (h *harness) list(t *rapid.T) {
	prefix := rapid.SampledFrom([]string{"", "{", "{a}", "{a}1", "{b}family/", "x"}).Draw(t, "prefix")
	after := ""
	if rapid.Bool().Draw(t, "after something") {
		after = genKey(t)
	}
	limit := rapid.SampledFrom([]int{0, 1, 10, 100}).Draw(t, "limit")
	want := h.model.list(func(k string) bool { return strings.HasPrefix(k, prefix) && k > after })
	more := false
	if limit > 0 && len(want) > limit {
		want, more = want[:limit], true
	}
	got := []string{}
	gotMore := listNow(h.m, []byte(prefix), []byte(after), limit, 0, false, func(key []byte, version uint64, value []byte) {
		got = append(got, line(string(key), string(value), version))
	})
	if limit == 0 && gotMore { // the page was full by bytes
		want, more = want[:len(got)], true
	}
	if !slices.Equal(got, want) || gotMore != more {
		t.Fatalf("list %q after %q, %d: got %d %v, want %d %v", prefix, after, limit, len(got), gotMore, len(want), more)
	}
}

func (h *harness) check(t *rapid.T) {
	if h.m.Len() != len(h.model.keys) {
		t.Fatalf("%d keys, want %d", h.m.Len(), len(h.model.keys))
	}
	for _, tag := range testTags {
		slot := SlotOf([]byte(tag))
		if err := checkStore(&h.m.slot(slot).records); err != nil {
			t.Fatalf("slot of %s: %v", tag, err)
		}
		if err := h.model.checkEnds(slot, h.m, h.now); err != nil {
			t.Fatal(err)
		}
	}
}
