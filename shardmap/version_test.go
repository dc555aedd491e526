package shardmap

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/raft"
)

// rulesOf reads rules that are right.
func rulesOf(t testing.TB, text string) VersionRules {
	t.Helper()
	rules, err := ReadVersionRules(text)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// versioned is a map that owns all slots and keeps versions by these rules, after entry 2.
func versioned(t testing.TB, rules string) *Map {
	m := owning(allSlots())
	raise, versions := RaiseCommand(Level), VersionsCommand(rulesOf(t, rules))
	apply(t, m, 1, 0, &raise)
	apply(t, m, 2, 0, &versions)
	return m
}

// shownVersions are the versions of a key, each as "17 set v".
func shownVersions(m *Map, key string) (all []string) {
	VersionsOf(m, []byte(key), 0, m.Time(), VersionsMax+1, 16<<20, func(v *KeptVersion) {
		text := fmt.Sprint(v.Version, " ", v.How)
		if v.Value != nil {
			text += fmt.Sprintf(" %.10s", v.Value)
		}
		all = append(all, text)
	})
	return all
}

// A person writes the rules, so each mistake must be told with the rule and with what would be right;
// and what is shown of them must read back as the same.
func TestReadVersionRules(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "off"},
		{"off", "off"},
		{"conf/=20", "conf/=20/720h"},
		{"conf/=20/90m  app/=1/1m", "app/=1/1m conf/=20/90m"},
		{"=100/8760h", "=100/8760h"},
		{"a%20b%3d%25=3/3600s", "a%20b%3d%25=3/1h"},
		{"%ff%00=3/61s", "%ff%00=3/61s"},
	} {
		rules, err := ReadVersionRules(c.text)
		if err != nil || rules.String() != c.want {
			t.Errorf("%q: got %q, %v; want %q", c.text, rules, err, c.want)
		}
		if again, err := ReadVersionRules(rules.String()); err != nil || !again.Equal(rules) {
			t.Errorf("%q is shown as %q, which is read as %q, %v", c.text, rules, again, err)
		}
		command := VersionsCommand(rules)
		if read, err := ReadVersionsCommand(&command); err != nil || !read.Equal(rules) {
			t.Errorf("%q: a command has %q, %v", c.text, read, err)
		}
	}
	for _, c := range []struct{ text, want string }{
		{" ", "no rule; want off, or PREFIX=VERSIONS"},
		{"conf/", `rule "conf/": want PREFIX=VERSIONS or PREFIX=VERSIONS/AGE`},
		{"a=b=3", `rule "a=b=3": want PREFIX=VERSIONS`},
		{"a=0", `rule "a=0": "0" versions; want 1 to 100`},
		{"a=101", `"101" versions; want 1 to 100`},
		{"a=x", `"x" versions; want 1 to 100`},
		{"a=3/", `age ""; want 1m to 8760h`},
		{"a=3/59s", `age "59s"; want 1m to 8760h`},
		{"a=3/8761h", `age "8761h"; want 1m to 8760h`},
		{"a=3/1d", `age "1d"; want 1m to 8760h, a whole number with s, m or h`},
		{"a%2=3", "want %25 for %"},
		{"a%zz=3", `"%zz"; want % with two hexadecimal digits`},
		{"a=1 a=2", `two rules for prefix "a"; want one`},
		{strings.Repeat("k", VersionPrefixMax+1) + "=1", "a prefix of 257 bytes; want 256 at most"},
		{strings.TrimSpace(strings.Repeat("a=1 ", VersionRulesMax+1)), "17 rules; want 16 at most"},
	} {
		if rules, err := ReadVersionRules(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.40q: got %q, %v; want %q", c.text, rules, err, c.want)
		}
	}
	longest := rulesOf(t, "a=1 ab=2 abc=3 b=4 =5")
	for key, want := range map[string]int{"a": 1, "ab": 2, "abx": 2, "abcd": 3, "b": 4, "c": 5} {
		if r := longest.Of([]byte(key)); r == nil || r.Most != want {
			t.Errorf("key %s has the rule %+v, want %d", key, r, want)
		}
	}
	if r := rulesOf(t, "b=1").Of([]byte("a")); r != nil {
		t.Errorf("a key without a rule has %+v", r)
	}
}

// Entries may come from anybody's build, and states from a disk: rules that none
// can have meant are refused before anything changes.
func TestVersionsCommandRefused(t *testing.T) {
	rule := func(f func(r *VersionRule)) VersionRules {
		r := VersionRule{Prefix: []byte("a"), Most: 3, Age: time.Hour}
		f(&r)
		return VersionRules{r}
	}
	m := versioned(t, "x=3")
	for what, rules := range map[string]VersionRules{
		"no version":        rule(func(r *VersionRule) { r.Most = 0 }),
		"too many versions": rule(func(r *VersionRule) { r.Most = VersionsMax + 1 }),
		"no age":            rule(func(r *VersionRule) { r.Age = 0 }),
		"too old":           rule(func(r *VersionRule) { r.Age = VersionAgeMax + time.Second }),
		"a long prefix":     rule(func(r *VersionRule) { r.Prefix = make([]byte, VersionPrefixMax+1) }),
		"out of order":      {{[]byte("b"), 1, time.Hour}, {[]byte("a"), 1, time.Hour}},
		"twice":             {{[]byte("a"), 1, time.Hour}, {[]byte("a"), 1, time.Hour}},
		"too many":          slices.Repeat(rule(func(*VersionRule) {}), VersionRulesMax+1),
	} {
		c := VersionsCommand(rules)
		if _, err := m.Apply(raft.LogID{Term: 1, Index: 9}, 0, &c); !errors.Is(err, ErrCommand) {
			t.Errorf("%s: %v", what, err)
		}
		c.Items[0] = append(c.Items[0], 0)
		if _, err := ReadVersionsCommand(&c); !errors.Is(err, ErrCommand) {
			t.Errorf("%s and a byte more: %v", what, err)
		}
	}
	if got := VersionRulesOf(m).String(); got != "x=3/720h" || m.Applied().Index != 2 {
		t.Errorf("the rules are %s after entry %d", got, m.Applied().Index)
	}
	older := owning(allSlots())
	older.Understand(RangesLevel - 1)
	c := VersionsCommand(rulesOf(t, "a=1"))
	if _, err := older.Apply(raft.LogID{Term: 1, Index: 9}, 0, &c); !errors.Is(err, ErrLevel) {
		t.Errorf("an older build applies rules: %v", err)
	}
	raise := RaiseCommand(LeasesLevel)
	low := owning(allSlots())
	apply(t, low, 1, 0, &raise)
	if r := apply(t, low, 2, 0, &c); r.Status != StatusMarked || VersionRulesOf(low) != nil {
		t.Errorf("a group of level %d takes rules: %s, %s", LeasesLevel, r.Status, VersionRulesOf(low))
	}
}

// A person reads off the history who did what when: so each way in which a key changes must make a
// version, with the principal and the clock of its command, and nothing else must.
func TestVersionsOfEachChange(t *testing.T) {
	m := owning(allSlots())
	raise := RaiseCommand(Level)
	apply(t, m, 1, 0, &raise)
	const key = "{t}k"
	slot := SlotOf([]byte(key))
	index, now := uint64(10), raft.GroupTime(0)
	do := func(c Command) {
		t.Helper()
		index++
		c.Principal, c.Admitted = Principal(index), 1000*index
		if c.Kind == CommandLease {
			c.Principal = 21 // who has granted it
		}
		if r := apply(t, m, index, now, &c); r.Status != StatusApplied {
			t.Fatalf("%s at %d: %s", c.Kind, index, r.Status)
		}
	}
	set := func(value string) Command { return Command{Kind: CommandSet, Slot: slot, Items: items(key, value)} }
	txn := func(ops ...Op) Command { return TxnCommand(slot, &Txn{Then: ops}) }
	do(set("before"))
	do(VersionsCommand(rulesOf(t, "{t}=100/1h")))
	do(set("1"))
	do(txn(Op{Kind: OpIncr, Key: []byte(key), By: 4}))
	do(Command{Kind: CommandDel, Slot: slot, Items: [][]byte{[]byte(key)}})
	do(Command{Kind: CommandDel, Slot: slot, Items: [][]byte{[]byte(key)}}) // of nothing
	do(set("2"))
	do(DelPrefixCommand(slot, []byte("{t}"), 5))
	do(txn(Op{Kind: OpSet, Key: []byte(key), Value: []byte{}, TTL: 1000}))
	now = 2e9
	index++
	if err := m.Expire(raft.LogID{Term: 1, Index: index}, now); err != nil {
		t.Fatal(err)
	}
	do(LeaseCommand(slot, LeaseGrant, 0, 60_000))
	rows, _ := m.Leases(now, []SlotRange{{slot, slot}}, 0, 1)
	lease := rows[0].ID
	do(txn(Op{Kind: OpSet, Key: []byte(key), Value: []byte("3"), Lease: lease}))
	do(LeaseCommand(slot, LeaseRevoke, lease, 0))
	do(Command{Kind: CommandSet, Slot: slot, Items: items(key, "x", key, "y")}) // twice in one entry
	do(Command{Kind: CommandCheck, Slot: slot, Condition: ConditionVersion, Version: 24, Items: [][]byte{[]byte(key)}})
	do(txn(Op{Kind: OpGet, Key: []byte(key)}))

	want := []string{
		`24 set "y" at 1.24 by 24, 24000`, `23 deleted "" at 1.23 by 21, 23000`, `22 set "3" at 1.22 by 22, 22000`,
		`20 expired "" at 1.20 by 0, 0`, `19 set "" at 1.19 by 19, 19000`, `18 deleted "" at 1.18 by 18, 18000`, `17 set "2" at 1.17 by 17, 17000`,
		`15 deleted "" at 1.15 by 15, 15000`, `14 set "5" at 1.14 by 14, 14000`, `13 set "1" at 1.13 by 13, 13000`, `11 set "before" at 0.0 by 0, 0`,
	}
	var got []string
	VersionsOf(m, []byte(key), 0, now, 101, 1<<20, func(v *KeptVersion) {
		got = append(got, fmt.Sprintf("%d %s %q at %s by %d, %d", v.Version, v.How, v.Value, v.ID, v.Principal, v.Wall))
		if (v.Value == nil) != (v.How != VersionSet) {
			t.Errorf("version %d, %s, has value %q", v.Version, v.How, v.Value)
		}
	})
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The bounds must hold in number and in bytes, whatever the values; and what is above them must go from
// the old end.
func TestVersionsAreBounded(t *testing.T) {
	m := versioned(t, "n=3 b=100")
	set := func(index uint64, key string, size int) {
		c := Command{Kind: CommandSet, Slot: SlotByServer, Items: items(key, strings.Repeat("v", size))}
		apply(t, m, index, raft.GroupTime(index), &c)
	}
	index := uint64(10)
	for range 10 {
		index++
		set(index, "n", 5)
	}
	if got := fmt.Sprint(shownVersions(m, "n")); got != "[20 set vvvvv 19 set vvvvv 18 set vvvvv]" {
		t.Errorf("three of ten: %s", got)
	}
	// Each value is a quarter of the bound: four old ones fit, and the one that the key has.
	for range 10 {
		index++
		set(index, "b", VersionsBytesMax/4)
	}
	if got := len(shownVersions(m, "b")); got != 5 {
		t.Errorf("%d versions of a quarter of the bound each, want 5", got)
	}
	// One that is larger than the bound is not kept, nor what was before it.
	set(41, "b", VersionsBytesMax+1)
	set(42, "b", 1)
	if got := fmt.Sprint(shownVersions(m, "b")); got != "[42 set v]" {
		t.Errorf("after a value above the bound: %s", got)
	}
	set(43, "b", VersionsBytesMax)
	set(44, "b", 1)
	if got := len(shownVersions(m, "b")); got != 2 {
		t.Errorf("%d versions after a value of the whole bound, want 2", got)
	}
	if _, err := ReadSnapshot(bytes.NewReader(slotBytes(t, m, SlotOf([]byte("b"))))); err != nil {
		t.Error(err)
	}
	// A rule that keeps fewer holds from the next change on.
	fewer := VersionsCommand(rulesOf(t, "n=1"))
	apply(t, m, 50, 50, &fewer)
	if got := len(shownVersions(m, "n")); got != 3 {
		t.Errorf("%d versions before the next change, want 3", got)
	}
	set(51, "n", 1)
	if got := fmt.Sprint(shownVersions(m, "n")); got != "[51 set v]" {
		t.Errorf("after a change by a rule of one: %s", got)
	}
}

// slotBytes is the snapshot of a slot.
func slotBytes(t *testing.T, m *Map, s Slot) []byte {
	t.Helper()
	c := copyOf(m, s)
	defer c.Release()
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Old versions must not stay for good: they go by the group's time, even if their key never changes
// again, is deleted, or has no rule any longer.
func TestVersionsGrowOld(t *testing.T) {
	const hour = raft.GroupTime(time.Hour)
	m := versioned(t, "a=9/1h")
	index := uint64(10)
	set := func(at raft.GroupTime, key, value string) {
		index++
		c := Command{Kind: CommandSet, Slot: SlotByServer, Items: items(key, value)}
		apply(t, m, index, at, &c)
	}
	expire := func(at raft.GroupTime) {
		index++
		if err := m.Expire(raft.LogID{Term: 1, Index: index}, at); err != nil {
			t.Fatal(err)
		}
	}
	set(0, "a", "1")
	set(hour/2, "a", "2")
	expire(hour)
	if got := len(shownVersions(m, "a")); got != 2 {
		t.Errorf("%d versions an hour after the first was made, and half an hour after it was replaced; want 2", got)
	}
	if at, waits := m.NextDue(); !waits || at < 3*hour/2 || at > 3*hour/2+endGather {
		t.Errorf("the next look is at %d, %t; want one when the first version ends", at, waits)
	}
	expire(2 * hour)
	if got := fmt.Sprint(shownVersions(m, "a")); got != "[12 set 2]" {
		t.Errorf("an hour after it was replaced: %s", got)
	}
	c := Command{Kind: CommandDel, Slot: SlotByServer, Items: items("a")}
	index++
	apply(t, m, index, 2*hour, &c)
	off := VersionsCommand(nil)
	index++
	apply(t, m, index, 2*hour, &off)
	if got := len(shownVersions(m, "a")); got != 2 {
		t.Errorf("%d versions of a deleted key when its rule has gone, want 2", got)
	}
	expire(3*hour + 1)
	st := m.slot(SlotOf([]byte("a")))
	if got := shownVersions(m, "a"); len(got) > 0 || hasVersions(st) || !st.endings.empty() {
		t.Errorf("an hour after its rule has gone: %s", got)
	}
}

// A change of a key that has lost its rule must not leave behind that the key has a version which it no
// longer has.
func TestVersionWithoutARule(t *testing.T) {
	m := versioned(t, "a=9")
	for i, value := range []string{"1", "2"} {
		c := Command{Kind: CommandSet, Slot: SlotByServer, Items: items("a", value)}
		apply(t, m, uint64(10+i), 0, &c)
	}
	off := VersionsCommand(nil)
	apply(t, m, 20, 0, &off)
	c := Command{Kind: CommandSet, Slot: SlotByServer, Items: items("a", "3")}
	apply(t, m, 21, 0, &c)
	if got := fmt.Sprint(shownVersions(m, "a")); got != "[21 set 3 10 set 1]" {
		t.Errorf("got %s", got)
	}
}

// A map without rules must write the bytes that older builds read, and one with rules others, which
// come back; and what was flipped in them is found.
func TestRulesInSnapshots(t *testing.T) {
	plain := owning(allSlots())
	raise := RaiseCommand(Level)
	apply(t, plain, 1, 0, &raise)
	if b := mapBytes(t, plain); b[8] != mapFormatHistory {
		t.Errorf("without rules it is of format %d, want %d", b[8], mapFormatHistory)
	}
	m := versioned(t, "a=3/1h b=5")
	c := Command{Kind: CommandSet, Slot: SlotByServer, Items: items("a", "1")}
	apply(t, m, 9, 0, &c)
	b := mapBytes(t, m)
	if b[8] != mapFormatRules {
		t.Errorf("with rules it is of format %d, want %d", b[8], mapFormatRules)
	}
	back := NewMap(testGroup)
	if err := back.Load(bytes.NewReader(b), raft.LogID{Term: 1, Index: 9}, 0); err != nil || VersionRulesOf(back).String() != "a=3/1h b=5/720h" {
		t.Fatalf("back: %v, %s", err, VersionRulesOf(back))
	}
	if !bytes.Equal(mapBytes(t, back), b) || !slices.Equal(back.Digests(nil), m.Digests(nil)) {
		t.Error("back from a snapshot it is another state")
	}
	without := VersionsCommand(nil)
	apply(t, back, 10, 0, &without)
	apply(t, m, 10, 0, &raise) // marked
	if slices.Equal(back.Digests(nil), m.Digests(nil)) {
		t.Error("digests do not tell rules apart")
	}
	at := bytes.Index(b, rulesOf(t, "a=3/1h b=5").append(nil))
	for i := range rulesOf(t, "a=3/1h b=5").append(nil) {
		flipped := bytes.Clone(b)
		flipped[at+i] ^= 1
		if err := NewMap(testGroup).Load(bytes.NewReader(flipped), raft.LogID{Term: 1, Index: 9}, 0); err == nil {
			t.Errorf("byte %d of the rules may be another", i)
		}
	}
}

// A record of a version comes from another group, or from a disk: one that no build has made is refused.
func TestVersionRecordRefused(t *testing.T) {
	made := versionMade{id: raft.LogID{Term: 1, Index: 7}, at: 5, wall: 9, principal: 3, group: 2, how: VersionSet}
	name := func(key string, version uint64) []byte { return appendVersionName(nil, []byte(key), version) }
	item := func(name []byte, version uint64, made versionMade, value []byte, e ending) []byte {
		s := newStore(KindVersion)
		s.place(0, false, &newRecord{name, appendVersionRecord(nil, 0, &made, value), hashKey(name), version, e})
		c := s.seek(nil)
		return append(appendRecordItem(nil, c.record()), appendEndItem(nil, 9, 0, nil)...)
	}
	with := func(f func(m *versionMade)) versionMade { x := made; f(&x); return x }
	old := ending{endsAt, 100}
	for _, c := range []struct {
		what    string
		content []byte
		ok      bool
	}{
		{"the newest", item(name("{a}k", 7), 7, made, nil, ending{}), true},
		{"an old one", item(name("{a}k", 7), 7, made, []byte("v"), old), true},
		{"an old one without bytes", item(name("{a}k", 7), 7, made, []byte{}, old), true},
		{"a delete", item(name("{a}k", 7), 7, with(func(m *versionMade) { m.how = VersionDeleted }), nil, old), true},
		{"from before the rule", item(name("{a}k", 7), 7, versionMade{how: VersionSet}, []byte("v"), old), true},
		{"the longest name", item(name("{a}"+strings.Repeat("k", KeyMax-3), 7), 7, made, nil, ending{}), true},
		{"a name too long", item(name("{a}"+strings.Repeat("k", KeyMax-2), 7), 7, made, nil, ending{}), false},
		{"a key of another slot", item(name("{b}k", 7), 7, made, nil, ending{}), false},
		{"a short name", item([]byte("{a}"), 7, made, nil, ending{}), false},
		{"a wrong length of the key", item(append([]byte{0, 3}, name("{a}k", 7)[2:]...), 7, made, nil, ending{}), false},
		{"another version", item(name("{a}k", 6), 7, made, nil, ending{}), false},
		{"the newest that ends", item(name("{a}k", 7), 7, made, nil, old), false},
		{"an old one that stays", item(name("{a}k", 7), 7, made, []byte("v"), ending{}), false},
		{"an old one with a lease", item(name("{a}k", 7), 7, made, []byte("v"), ending{endsWithLease, 3}), false},
		{"a delete with a value", item(name("{a}k", 7), 7, with(func(m *versionMade) { m.how = VersionDeleted }), []byte("v"), old), false},
		{"a delete that stays", item(name("{a}k", 7), 7, with(func(m *versionMade) { m.how = VersionDeleted }), nil, ending{}), false},
		{"come about by 0", item(name("{a}k", 7), 7, with(func(m *versionMade) { m.how = 0 }), nil, ending{}), false},
		{"come about by 4", item(name("{a}k", 7), 7, with(func(m *versionMade) { m.how = 4 }), nil, ending{}), false},
		{"a log id of no group", item(name("{a}k", 7), 7, with(func(m *versionMade) { m.group = 0 }), nil, ending{}), false},
		{"a group without a log id", item(name("{a}k", 7), 7, with(func(m *versionMade) { m.id = raft.LogID{} }), nil, ending{}), false},
		{"group 10000", item(name("{a}k", 7), 7, with(func(m *versionMade) { m.group = 10000 }), nil, ending{}), false},
		{"a time of what is not known", item(name("{a}k", 7), 7, versionMade{how: VersionSet, at: 1}, []byte("v"), old), false},
	} {
		p := Piece{Slot: SlotOf([]byte("{a}")), Number: 7, Source: 1, To: at(1, 1), Content: c.content}
		command := ChunkCommand([]Piece{p})
		if err := command.ValidateMove(Limits{Level: Level}); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrCommand) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// timeToldInVain says what is wrong with a group whose version, which was to end a year from now, a command has removed; "":
// nothing.
func timeToldInVain(t testing.TB) string {
	m := versioned(t, "k=3/8760h")
	apply(t, m, 3, 0, &Command{Kind: CommandSet, Slot: SlotByServer, Items: items("k", "a")})
	apply(t, m, 4, 0, &Command{Kind: CommandSet, Slot: SlotByServer, Items: items("k", "b")})
	if _, waits := m.NextDue(); !waits {
		return "it does not wait for the version's end"
	}
	fewer := VersionsCommand(rulesOf(t, "k=1/1h"))
	apply(t, m, 5, 0, &fewer)
	apply(t, m, 6, 0, &Command{Kind: CommandSet, Slot: SlotByServer, Items: items("k", "c")})
	if got := shownVersions(m, "k"); len(got) > 1 {
		return fmt.Sprintf("with a rule for one version it has %v", got)
	}
	if err := m.Expire(raft.LogID{Term: 1, Index: 7}, raft.GroupTime(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if at, waits := m.NextDue(); waits {
		return fmt.Sprintf("it waits for %d", at)
	}
	return ""
}

// A group in which nothing ends any more writes nothing: it would write an entry each minute, for a year.
func TestGroupsRestWhenVersionsHaveGone(t *testing.T) {
	if wrong := timeToldInVain(t); wrong != "" {
		t.Error(wrong)
	}
}
