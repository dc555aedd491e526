package shardmap

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/shardmap/points"
)

const testHour = int64(time.Hour)

// catalogued are commands about time series, one by one for the table of testTable, from entry 6 on.
func catalogued() [][]byte {
	return [][]byte{
		first(AppendChangeDatabase(nil, &ChangeDatabase{Action: DatabaseCreate, Name: "metrics"})),
		first(AppendChangeDatabase(nil, &ChangeDatabase{Action: DatabaseCreate, Name: "lab", Policy: PolicySpec{"week", 168 * time.Hour, 0, 2}, Limits: points.Limits{Values: 7}})),
		first(AppendChangePolicy(nil, &ChangePolicy{Action: PolicyCreate, Database: "metrics", Policy: PolicySpec{Name: "day", Duration: 24 * time.Hour}})),
		first(AppendChangePolicy(nil, &ChangePolicy{Action: PolicyCreate, Database: "lab", Policy: PolicySpec{"long", 0, 24 * time.Hour, 1}, Default: true})),
		first(AppendNewWindow(nil, &NewWindow{8, 5 * testHour, []raft.GroupID{1, 2}})),
		first(AppendNewWindow(nil, &NewWindow{8, 6 * testHour, []raft.GroupID{3}})),
		first(AppendNewWindow(nil, &NewWindow{6, 1, []raft.GroupID{1, 2, 3}})),
		first(AppendTruncateWindows(nil, &TruncateWindows{"metrics", 6*testHour + testHour/2})),
		first(AppendHideWindows(nil, &HideWindows{[]WindowID{10}, 30 * 3600})),
		first(AppendChangePolicy(nil, &ChangePolicy{Action: PolicyCreate, Database: "lab", Policy: PolicySpec{Name: "brief", Duration: time.Hour}})),
		first(AppendChangePolicy(nil, &ChangePolicy{Action: PolicyDrop, Database: "lab", Policy: PolicySpec{Name: "brief"}})),
		first(AppendChangeDatabase(nil, &ChangeDatabase{Action: DatabaseCreate, Name: "gone"})),
		first(AppendChangeDatabase(nil, &ChangeDatabase{Action: DatabaseDrop, Name: "gone"})),
		first(AppendChangePolicy(nil, &ChangePolicy{Action: PolicyAlter, Database: "lab", Policy: PolicySpec{"week", 336 * time.Hour, 0, 3}, Set: SetDuration | SetShards})),
		first(AppendChangePolicy(nil, &ChangePolicy{Action: PolicyDefault, Database: "lab", Policy: PolicySpec{Name: "week"}})),
		first(AppendChangeDatabase(nil, &ChangeDatabase{Action: DatabaseAlter, Name: "lab", Limits: points.Limits{Series: 5, Fields: 9}})),
	}
}

func cataloguedMachine(t testing.TB) *TableMachine {
	t.Helper()
	m := testTable(t)
	for i, b := range catalogued() {
		if r, err := m.Apply(raft.LogID{Term: 1, Index: uint64(6 + i)}, b); err != nil || !r.Changed {
			t.Fatalf("command %d: %+v, %v", i, r, err)
		}
	}
	return m
}

// The commands make what a reader of them expects, told once in full.
func TestCatalog(t *testing.T) {
	c := &cataloguedMachine(t).Table().Catalog
	if want := []Database{{6, "metrics", 6, points.Limits{Series: 1_000_000, Values: 100_000, Fields: 10_000}}, {7, "lab", 7, points.Limits{Series: 5, Values: 7, Fields: 9}}}; !slices.Equal(c.Databases, want) {
		t.Errorf("databases %+v, want %+v", c.Databases, want)
	}
	if want := []Policy{{6, 6, "autogen", 0, 168 * time.Hour, 0}, {7, 7, "week", 336 * time.Hour, 24 * time.Hour, 3}, {8, 6, "day", 24 * time.Hour, time.Hour, 0},
		{9, 7, "long", 0, 24 * time.Hour, 1}}; !slices.Equal(c.Policies, want) {
		t.Errorf("policies %+v, want %+v", c.Policies, want)
	}
	half := 6*testHour + testHour/2
	if want := []Window{{12, 6, 0, 168 * testHour, half, 0, []raft.GroupID{1, 2, 3}}, {10, 8, 5 * testHour, 6 * testHour, 6 * testHour, 30 * 3600, []raft.GroupID{1, 2}},
		{11, 8, 6 * testHour, 7 * testHour, half, 0, []raft.GroupID{3}}}; !reflect.DeepEqual(c.Windows, want) {
		t.Errorf("windows %+v, want %+v", c.Windows, want)
	}
	if want := []Dropped{{DroppedPolicy, 15, 16}, {DroppedPolicy, 17, 18}, {DroppedDatabase, 17, 18}}; !slices.Equal(c.Dropped, want) {
		t.Errorf("dropped %+v, want %+v", c.Dropped, want)
	}
	if at, ok := c.WasDropped(DroppedDatabase, 17); !ok || at != 18 {
		t.Errorf("database 17 was dropped at %d, %t", at, ok)
	}
	if _, ok := c.WasDropped(DroppedDatabase, 15); ok {
		t.Error("a policy is remembered as a database")
	}
	only := c.Only(func(name string) bool { return name == "metrics" })
	if len(only.Databases) != 1 || len(only.Policies) != 2 || len(only.Windows) != 3 || len(only.Dropped) != 0 {
		t.Errorf("of metrics alone: %+v", only)
	}
	only = c.Only(func(name string) bool { return name == "lab" })
	if len(only.Databases) != 1 || len(only.Policies) != 2 || len(only.Windows) != 0 {
		t.Errorf("of lab alone: %+v", only)
	}
}

// A window is as long as its policy says, from a multiple of that; but it ends where another one begins that
// takes points, and begins where another one ends. Each row makes one more window.
func TestSpanOfNewWindows(t *testing.T) {
	alter := func(hours time.Duration) []byte {
		return first(AppendChangePolicy(nil, &ChangePolicy{Action: PolicyAlter, Database: "d", Policy: PolicySpec{Name: "autogen", WindowDuration: hours * time.Hour}, Set: SetWindowDuration}))
	}
	truncate := func(at int64) []byte { return first(AppendTruncateWindows(nil, &TruncateWindows{"d", at})) }
	table := allowed(t, testTable(t).Table(), first(AppendChangeDatabase(nil, &ChangeDatabase{Action: DatabaseCreate, Name: "d"})), nil)
	policy := table.Catalog.Policies[0].ID
	for _, c := range []struct {
		before     []byte
		time       int64
		start, end int64
	}{
		{alter(10), 25 * testHour, 20 * testHour, 30 * testHour},
		{alter(24), 5 * testHour, 0, 20 * testHour},              // up to where one begins
		{alter(24), 40 * testHour, 30 * testHour, 48 * testHour}, // from where one ends
		{truncate(35 * testHour), 36 * testHour, 35 * testHour, 48 * testHour},
		{truncate(20 * testHour), 22 * testHour, 20 * testHour, 24 * testHour}, // those after it take nothing any more
		{alter(1), -1, -testHour, 0},
		{alter(24), -25 * testHour, -48 * testHour, -24 * testHour},
		{alter(24), -2 * testHour, -24 * testHour, -testHour},
		{alter(24), points.TimeMax, points.TimeMax - points.TimeMax%(24*testHour), points.TimeMax + 1},
		{alter(24), points.TimeMin, points.TimeMin - 2, 24 * testHour * (points.TimeMin / (24 * testHour))},
	} {
		table = allowed(t, table, c.before, nil)
		table = allowed(t, table, first(AppendNewWindow(nil, &NewWindow{policy, c.time, []raft.GroupID{1}})), nil)
		w, ok := table.Catalog.WindowAt(policy, c.time)
		if !ok || w.Start != c.start || w.End != c.end || w.Truncated != c.end || uint64(w.ID) != table.Index {
			t.Errorf("with a point at %d: %+v, %t; want %d to %d", c.time, w, ok, c.start, c.end)
		}
		again := allowed(t, table, first(AppendNewWindow(nil, &NewWindow{policy, c.time, []raft.GroupID{2}})), nil)
		if again != table {
			t.Errorf("a window with a point at %d is made twice", c.time)
		}
	}
	if _, err := ReadTable(table.AppendTo(nil)); err != nil {
		t.Error(err)
	}
}

// A refusal about time series is one line that says what was found and what to do.
func TestCatalogRefusals(t *testing.T) {
	table := cataloguedMachine(t).Table()
	below := *testTable(t).Table()
	below.Level, below.Nodes = PointsLevel-1, clone(below.Nodes)
	for i := range below.Nodes {
		below.Nodes[i].Level = PointsLevel - 1
	}
	db := func(a DatabaseAction, name string, s PolicySpec) []byte {
		return first(AppendChangeDatabase(nil, &ChangeDatabase{Action: a, Name: name, Policy: s}))
	}
	limits := func(a DatabaseAction, name string, l points.Limits) []byte {
		return first(AppendChangeDatabase(nil, &ChangeDatabase{Action: a, Name: name, Limits: l}))
	}
	policy := func(change func(*ChangePolicy)) []byte {
		c := &ChangePolicy{Action: PolicyCreate, Database: "metrics", Policy: PolicySpec{Name: "p", Duration: 48 * time.Hour}}
		change(c)
		return first(AppendChangePolicy(nil, c))
	}
	window := func(p PolicyID, at int64, groups ...raft.GroupID) []byte {
		return first(AppendNewWindow(nil, &NewWindow{p, at, groups}))
	}
	hide := func(at int64, ids ...WindowID) []byte { return first(AppendHideWindows(nil, &HideWindows{ids, at})) }
	drop := func(at int64, ids ...WindowID) []byte { return first(AppendDropWindows(nil, &DropWindows{ids, at})) }
	full, many, wide, long := *table, *table, *table, *table
	for i := range DatabasesMax {
		full.Catalog.Databases = append(clone(full.Catalog.Databases), Database{ID: DatabaseID(100 + i), Name: fmt.Sprint(i)})
	}
	for i := range PoliciesMax {
		many.Catalog.Policies = append(clone(many.Catalog.Policies), Policy{ID: PolicyID(100 + i), Database: 6, Name: fmt.Sprint(i), WindowDuration: time.Hour})
	}
	for i := range int64(ShardsMax / WindowShardsMax) {
		wide.Catalog.Windows = append(wide.Catalog.Windows[:len(wide.Catalog.Windows):len(wide.Catalog.Windows)], Window{ID: WindowID(100 + i), Policy: 9, Start: i, End: i + 1, Truncated: i + 1, Shards: make([]raft.GroupID, WindowShardsMax)})
	}
	for i := range int64(WindowsMax) {
		long.Catalog.Windows = append(long.Catalog.Windows, Window{ID: WindowID(100 + i), Policy: 9, Start: i, End: i + 1, Truncated: i + 1, Shards: []raft.GroupID{1}})
	}
	all := *table
	all.Catalog.Windows = make([]Window, WindowsAllMax)
	removed := allowed(t, table, first(AppendGroupCreate(nil, &GroupCreate{Group: 20})), nil)
	removed = allowed(t, removed, window(9, 0, 20), nil)
	for _, c := range []struct {
		name  string
		table *Table
		b     []byte
		kind  RefusalKind
		found string
		next  string
	}{
		{"below the level", &below, db(DatabaseCreate, "d", PolicySpec{}), RefusedLevel, "it needs level 10, the cluster is at level 9", "start the newer muster"},
		{"no name", table, db(DatabaseCreate, "", PolicySpec{}), RefusedRequest, "it is empty", "choose another"},
		{"a long name", table, db(DatabaseCreate, strings.Repeat("x", 256), PolicySpec{}), RefusedRequest, "256 bytes, the limit is 255", "choose another"},
		{"a path", table, db(DatabaseCreate, "a/b", PolicySpec{}), RefusedRequest, "it has a /", "choose another"},
		{"an option", table, db(DatabaseCreate, "-v", PolicySpec{}), RefusedRequest, "begins with a -", "choose another"},
		{"a directory", table, db(DatabaseCreate, "..", PolicySpec{}), RefusedRequest, "a directory's", "choose another"},
		{"a control character", table, db(DatabaseCreate, "a\x1b[31m", PolicySpec{}), RefusedRequest, "without control characters", "choose another"},
		{"another policy", table, db(DatabaseCreate, "metrics", PolicySpec{Name: "autogen", Duration: 24 * time.Hour}), RefusedConflict, "not the one that the order names", "muster policy list metrics"},
		{"a policy of half an hour", table, db(DatabaseCreate, "d", PolicySpec{Duration: time.Hour / 2}), RefusedRequest, "duration 30m0s; want 1h0m0s at least", "muster policy create"},
		{"a bad name of its policy", table, db(DatabaseCreate, "d", PolicySpec{Name: "."}), RefusedRequest, "directory's", "choose another"},
		{"too many databases", &full, db(DatabaseCreate, "d", PolicySpec{}), RefusedConflict, "as many as there may be", "muster db drop"},
		{"no such database to drop", table, db(DatabaseDrop, "d", PolicySpec{}), RefusedAbsent, "none of that name", "muster db list"},
		{"a drop with a policy", table, db(DatabaseDrop, "metrics", PolicySpec{Name: "p"}), RefusedRequest, "names a policy", "leave the policy out"},
		{"an action of later", table, db(4, "metrics", PolicySpec{}), RefusedRequest, "action 4 is unknown", "muster db create"},
		{"a drop with limits", table, limits(DatabaseDrop, "metrics", points.Limits{Series: 1}), RefusedRequest, "names limits", "leave the limits out"},
		{"an alter with a policy", table, db(DatabaseAlter, "metrics", PolicySpec{Name: "p"}), RefusedRequest, "names a policy", "leave the policy out"},
		{"limits of no database", table, limits(DatabaseAlter, "d", points.Limits{Series: 1}), RefusedAbsent, "none of that name", "muster db list"},
		{"too many series", table, limits(DatabaseAlter, "metrics", points.Limits{Series: points.LimitMax + 1}), RefusedRequest, "1000000001 series; want 1 to 1000000000", "muster db alter"},
		{"too many values", table, limits(DatabaseCreate, "d", points.Limits{Values: points.LimitMax + 1}), RefusedRequest, "1000000001 values of a tag; want", "muster db alter"},
		{"too many fields", table, limits(DatabaseCreate, "d", points.Limits{Fields: 1<<32 - 1}), RefusedRequest, "4294967295 fields of a measurement; want", "muster db alter"},
		{"other limits", table, limits(DatabaseCreate, "lab", points.Limits{Series: 6}), RefusedConflict, "its limits are not those that the order names", "muster db alter lab"},
		{"a policy of no database", table, policy(func(c *ChangePolicy) { c.Database = "d" }), RefusedAbsent, "none of that name", "muster db list"},
		{"a policy without a name", table, policy(func(c *ChangePolicy) { c.Policy.Name = "" }), RefusedRequest, "it is empty", "choose another"},
		{"a policy that is there", table, policy(func(c *ChangePolicy) { c.Policy.Name = "day" }), RefusedConflict, "it is there: duration 24h0m0s, windows 1h0m0s", "muster policy alter"},
		{"the default anew", table, policy(func(c *ChangePolicy) { c.Policy, c.Default = PolicySpec{Name: "day", Duration: 24 * time.Hour}, true }), RefusedConflict, "not the default", "muster policy default"},
		{"windows longer than all", table, policy(func(c *ChangePolicy) { c.Policy.WindowDuration = 49 * time.Hour }), RefusedRequest, "want windows that are no longer", "muster policy create"},
		{"windows of a minute", table, policy(func(c *ChangePolicy) { c.Policy.WindowDuration = time.Minute }), RefusedRequest, "windows of 1m0s; want 1h0m0s at least", "muster policy create"},
		{"more windows than a policy may have", table, policy(func(c *ChangePolicy) { c.Policy.Duration, c.Policy.WindowDuration = 400*24*time.Hour, time.Hour }), RefusedRequest, "points kept for 9600h0m0s in windows of 1h0m0s take more than 4096 of them, the limit of a policy; want windows of 3h0m0s at least", "muster policy create"},
		{"an alter to more windows than a policy may have", table, policy(func(c *ChangePolicy) {
			c.Action, c.Set, c.Policy.Name, c.Policy.Duration = PolicyAlter, SetDuration, "day", 400*24*time.Hour
		}), RefusedRequest, "want windows of 3h0m0s at least", "--window D"},
		{"a policy of the past", table, policy(func(c *ChangePolicy) { c.Policy.Duration = -time.Hour }), RefusedRequest, "duration -1h0m0s", "muster policy create"},
		{"too many shards", table, policy(func(c *ChangePolicy) { c.Policy.Shards = WindowShardsMax + 1 }), RefusedRequest, "65 shards a window; want 64 at most", "muster policy create"},
		{"too many policies", &many, policy(func(*ChangePolicy) {}), RefusedConflict, "as many as it may", "muster policy drop"},
		{"a policy to create with a set", table, policy(func(c *ChangePolicy) { c.Set = SetShards }), RefusedRequest, "fields 4 are to be set", "otherwise 0"},
		{"nothing altered", table, policy(func(c *ChangePolicy) { c.Action = PolicyAlter }), RefusedRequest, "fields 0", "want 1 to 7"},
		{"what is not known altered", table, policy(func(c *ChangePolicy) { c.Action, c.Set = PolicyAlter, 8 }), RefusedRequest, "fields 8", "want 1 to 7"},
		{"an alter of none", table, policy(func(c *ChangePolicy) { c.Action, c.Set = PolicyAlter, 1 }), RefusedAbsent, "none of that name", "muster policy list metrics"},
		{"an alter to less than a window", table, policy(func(c *ChangePolicy) { c.Action, c.Set, c.Policy.Name = PolicyAlter, SetDuration, "autogen" }), RefusedRequest, "want windows that are no longer", "--window D"},
		{"a drop with a duration", table, policy(func(c *ChangePolicy) { c.Action, c.Policy.Name = PolicyDrop, "day" }), RefusedRequest, "the order is to drop", "leave out all but the names"},
		{"a default of none", table, policy(func(c *ChangePolicy) { c.Action, c.Policy.Duration = PolicyDefault, 0 }), RefusedAbsent, "none of that name", "muster policy list"},
		{"an action on a policy of later", table, policy(func(c *ChangePolicy) { c.Action = 5 }), RefusedRequest, "action 5 is unknown", "want create"},
		{"a window of no policy", table, window(99, 0, 1), RefusedAbsent, "no such policy", "muster policy list"},
		{"a window before all", table, window(9, -1<<63, 1), RefusedRequest, "is no point's", "want -9223372036854775806"},
		{"a window without shards", table, window(9, 0), RefusedRequest, "0 shards", "want 1 to 64"},
		{"a window of many shards", table, window(9, 0, make([]raft.GroupID, 65)...), RefusedRequest, "65 shards", "want 1 to 64"},
		{"a window on the meta group", table, window(9, 0, 0), RefusedConflict, "is no data group", "ask again"},
		{"a window on no group", table, window(9, 0, 1, 77), RefusedConflict, "g77, which was chosen for a shard, is no data group", "ask again"},
		{"a window that is over", table, window(8, 5*testHour, 1), RefusedConflict, "no longer kept", "muster policy list metrics"},
		{"too many windows", &long, window(9, 48*testHour, 1), RefusedConflict, "the policy has 4096 windows", "make windows longer"},
		{"too many windows of all", &all, window(9, 0, 1), RefusedConflict, "there are 16384 windows", "make windows longer"},
		{"too many shards of all", &wide, window(9, 48*testHour, 1), RefusedConflict, "shards, and may have 65536", "--shards N"},
		{"truncation of no database", table, first(AppendTruncateWindows(nil, &TruncateWindows{"d", 0})), RefusedAbsent, "none of that name", "muster db list"},
		{"none hidden", table, hide(1), RefusedRequest, "0 of them", "want 1 to 1024"},
		{"too many hidden", table, hide(1, make([]WindowID, WindowBatchMax+1)...), RefusedRequest, "1025 of them", "want 1 to 1024"},
		{"hidden out of order", table, hide(1, 12, 11), RefusedRequest, "window 11 is out of order", "in order"},
		{"hidden at no time", table, hide(0, 11), RefusedRequest, "now is 0", "a time after 1970"},
		{"hidden for ever", table, hide(1<<60, 12), RefusedConflict, `policy "autogen" keeps its points`, "muster window list"},
		{"hidden a second early", table, hide(31*3600-1, 11), RefusedConflict, `policy "day" keeps its points`, "muster window list"},
		{"dropped before it is hidden", table, drop(40*3600, 11), RefusedConflict, "hidden at 0", "hide it first"},
		{"dropped a second early", table, drop(31*3600-1, 10), RefusedConflict, "hidden at 108000, now is 111599", "wait 3600 s"},
		{"removal of a group with shards", removed, first(AppendGroupRemove(nil, &GroupRemove{20})), RefusedConflict, "it has shards of 1 windows", "muster window list"},
	} {
		made, r := tried(t, c.table, c.b, nil)
		if r == nil || made != nil {
			t.Errorf("%s: it is taken", c.name)
			continue
		}
		if r.Kind != c.kind || !strings.Contains(r.Found, c.found) || !strings.Contains(r.Next, c.next) || r.Object == "" || strings.ContainsAny(r.Error(), "\n\x1b") {
			t.Errorf("%s: kind %d, %s; want kind %d, %q and %q", c.name, r.Kind, r, c.kind, c.found, c.next)
		}
	}
	for _, ok := range [][]byte{hide(31*3600, 11), drop(31*3600, 10), drop(31*3600, 10, 77)} {
		allowed(t, table, ok, nil)
	}
	// A policy that keeps points for longer shows what it had hidden.
	longer := allowed(t, table, first(AppendChangePolicy(nil, &ChangePolicy{Action: PolicyAlter, Database: "metrics", Policy: PolicySpec{Name: "day", Duration: 25 * time.Hour}, Set: SetDuration})), nil)
	if w, _ := longer.Catalog.Window(10); w.Hidden != 0 {
		t.Errorf("window %+v is hidden still", w)
	}
	shorter := allowed(t, table, first(AppendChangePolicy(nil, &ChangePolicy{Action: PolicyAlter, Database: "metrics", Policy: PolicySpec{Name: "day", Duration: 23 * time.Hour}, Set: SetDuration})), nil)
	if w, _ := shorter.Catalog.Window(10); w.Hidden == 0 {
		t.Errorf("window %+v shows again", w)
	}
	// Databases and policies that were dropped are remembered as long as there is room.
	for range DroppedMax {
		table = allowed(t, table, db(DatabaseCreate, "d", PolicySpec{}), nil)
		table = allowed(t, table, db(DatabaseDrop, "d", PolicySpec{}), nil)
	}
	if n := len(table.Catalog.Dropped); n != DroppedMax || table.Catalog.Dropped[n-1].At != table.Index {
		t.Errorf("%d are remembered, want %d", n, DroppedMax)
	}
}

// The duration of windows follows from that of the policy as in InfluxDB.
func TestDurationOfWindows(t *testing.T) {
	for _, c := range []struct{ keep, given, want time.Duration }{
		{0, 0, 168 * time.Hour}, {time.Hour, 0, time.Hour}, {48*time.Hour - 1, 0, time.Hour}, {48 * time.Hour, 0, 24 * time.Hour},
		{180 * 24 * time.Hour, 0, 24 * time.Hour}, {180*24*time.Hour + 1, 0, 168 * time.Hour}, {0, time.Hour, time.Hour}, {72 * time.Hour, 2 * time.Hour, 2 * time.Hour},
		{78 * 365 * 24 * time.Hour, 0, 168 * time.Hour}, {100 * 365 * 24 * time.Hour, 0, 215 * time.Hour}, {math.MaxInt64, 0, 627 * time.Hour}, // so many fit
	} {
		s := PolicySpec{Duration: c.keep, WindowDuration: c.given}
		if got := s.Windows(); got != c.want {
			t.Errorf("kept for %s, given %s: %s, want %s", c.keep, c.given, got, c.want)
		}
		if err := checkDurations(s.Duration, s.Windows(), 0); err != nil {
			t.Errorf("kept for %s, given %s: %v", c.keep, c.given, err)
		}
	}
}

// The end of a window and what its policy keeps may be 300 years apart, which 63 bits do not hold.
func TestWindowIsOver(t *testing.T) {
	for _, c := range []struct {
		end, now int64
		keep     time.Duration
		want     bool
	}{
		{0, 1 << 62, 0, false}, {10, 9, 1, false}, {10, 10, 1, false}, {10, 11, 1, true}, {-1 << 62, 1 << 62, 1<<63 - 1, true}, {-1 << 62, 1<<62 - 2, 1<<63 - 1, false},
	} {
		w, p := Window{End: c.end}, Policy{Duration: c.keep}
		if got := w.Over(&p, c.now); got != c.want {
			t.Errorf("a window up to %d, kept for %d, is over at %d: %t", c.end, c.keep, c.now, got)
		}
	}
}

// The walk through a table and its digests cover each field of the catalog, and a snapshot holds it.
func TestCatalogIsCovered(t *testing.T) {
	m := cataloguedMachine(t)
	table := m.Table()
	back := NewTableMachine()
	if err := back.Load(bytes.NewReader(table.AppendTo(nil)), raft.LogID{Term: 1, Index: table.Index}); err != nil || !reflect.DeepEqual(back.Table(), table) {
		t.Fatalf("through a snapshot: %v: %s", err, unlike(back.Table(), table))
	}
	before := m.Digests(nil)
	n := 0
	eachLeaf(reflect.ValueOf(&table.Catalog).Elem(), "catalog", func(name string, change, back func()) {
		n++
		change()
		differ := differing(before, m.Digests(nil))
		w := NewTableWalk(m)
		for !w.Step(1) {
		}
		faults := w.Faults()
		back()
		if len(differ) != 1 || len(faults) != 1 || faults[0].Part != differ[0] {
			t.Errorf("%s: the digests differ of %v, a walk finds %v", name, differ, faults)
		}
	})
	if n < 50 || !slices.Equal(before, m.Digests(nil)) {
		t.Errorf("%d fields were changed, or not all are as they were", n)
	}
	for typ, want := range map[reflect.Type]int{
		reflect.TypeFor[Catalog](): catalogFields, reflect.TypeFor[Database](): databaseFields, reflect.TypeFor[Policy](): policyFields,
		reflect.TypeFor[Window](): windowFields, reflect.TypeFor[Dropped](): droppedFields,
	} {
		if got := typ.NumField(); got != want {
			t.Errorf("%s has %d fields, its bytes hold %d: draw them in tablesnapshot.go under a new format", typ, got, want)
		}
	}
	// Members of the level before have no such parts, and compare theirs with these.
	older := NewTableMachine()
	f := testFound(4, 9)
	f.Level = PointsLevel - 1
	found, err := AppendFound(nil, f)
	applyTable(t, older, 3, found, err)
	if rows := older.Digests(nil); rows[len(rows)-1].Part != PartTrails {
		t.Errorf("at level %d there is a digest of %s", f.Level, rows[len(rows)-1].Part)
	}
}

// Bytes of a table whose catalog can't be are refused: they were not written by this code.
func TestCatalogLoadRefuses(t *testing.T) {
	table := cataloguedMachine(t).Table()
	good := table.AppendTo(nil)
	for i := bytes.Index(good, []byte("metrics")) - 10; i < len(good); i++ {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			if back, err := ReadTable(bad); err == nil && !bytes.Equal(back.AppendTo(nil), bad) {
				t.Fatalf("bit %d of byte %d flipped: taken for what it does not say", bit, i)
			}
		}
	}
	for _, c := range []struct {
		what   string
		change func(*Table, *Catalog)
	}{
		{"databases out of order", func(_ *Table, c *Catalog) { slices.Reverse(c.Databases) }},
		{"a database of later", func(t *Table, c *Catalog) { c.Databases[1].ID = DatabaseID(t.Index + 1) }},
		{"two of one name", func(_ *Table, c *Catalog) { c.Databases[1].Name = "metrics" }},
		{"a bad name", func(_ *Table, c *Catalog) { c.Databases[1].Name = "a/b" }},
		{"another one's default", func(_ *Table, c *Catalog) { c.Databases[1].Default = 6 }},
		{"too many databases", func(_ *Table, c *Catalog) { c.Databases = make([]Database, DatabasesMax+1) }},
		{"policies out of order", func(_ *Table, c *Catalog) { slices.Reverse(c.Policies) }},
		{"a policy of later", func(t *Table, c *Catalog) { c.Policies[3].ID = PolicyID(t.Index + 1) }},
		{"a policy of no database", func(_ *Table, c *Catalog) { c.Policies[3].Database = 99 }},
		{"two policies of one name", func(_ *Table, c *Catalog) { c.Policies[3].Name = "week" }},
		{"a bad name of a policy", func(_ *Table, c *Catalog) { c.Policies[3].Name = "" }},
		{"a policy of a minute", func(_ *Table, c *Catalog) { c.Policies[3].Duration = time.Minute }},
		{"too many policies", func(t *Table, c *Catalog) {
			t.Index = 1000
			for i := range PoliciesMax {
				c.Policies = append(c.Policies, Policy{PolicyID(100 + i), 7, fmt.Sprint(i), 0, time.Hour, 0})
			}
		}},
		{"windows out of order", func(_ *Table, c *Catalog) { slices.Reverse(c.Windows) }},
		{"a window twice", func(_ *Table, c *Catalog) { c.Windows[2].ID = c.Windows[1].ID }},
		{"a window of later", func(t *Table, c *Catalog) { c.Windows[2].ID = WindowID(t.Index + 1) }},
		{"a window of no policy", func(_ *Table, c *Catalog) { c.Windows[2].Policy = 99 }},
		{"two windows of one time", func(_ *Table, c *Catalog) { c.Windows[1].End++; c.Windows[1].Truncated++ }},
		{"a window that ends before it begins", func(_ *Table, c *Catalog) { c.Windows[2].End = c.Windows[2].Start }},
		{"a window truncated before it begins", func(_ *Table, c *Catalog) { c.Windows[2].Truncated = c.Windows[2].Start - 1 }},
		{"a window truncated after its end", func(_ *Table, c *Catalog) { c.Windows[2].Truncated = c.Windows[2].End + 1 }},
		{"a window hidden before 1970", func(_ *Table, c *Catalog) { c.Windows[2].Hidden = -1 }},
		{"a window without shards", func(_ *Table, c *Catalog) { c.Windows[2].Shards = nil }},
		{"a shard of no group", func(_ *Table, c *Catalog) { c.Windows[2].Shards[0] = 77 }},
		{"a shard of the meta group", func(_ *Table, c *Catalog) { c.Windows[2].Shards[0] = 0 }},
		{"too many shards", func(_ *Table, c *Catalog) { c.Windows[2].Shards = slices.Repeat([]raft.GroupID{1}, WindowShardsMax+1) }},
		{"dropped out of order", func(_ *Table, c *Catalog) { c.Dropped[0].At = 19 }},
		{"dropped later", func(t *Table, c *Catalog) { c.Dropped[2].At = t.Index + 1 }},
		{"dropped before it was made", func(_ *Table, c *Catalog) { c.Dropped[0].ID = 16 }},
		{"dropped and there", func(_ *Table, c *Catalog) { c.Dropped[0].ID = 8 }},
		{"too many dropped", func(_ *Table, c *Catalog) { c.Dropped = make([]Dropped, DroppedMax+1) }},
	} {
		bad := *table
		k := &bad.Catalog
		k.Databases, k.Policies, k.Windows, k.Dropped = clone(k.Databases), clone(k.Policies), clone(k.Windows), clone(k.Dropped)
		for i := range k.Windows {
			k.Windows[i].Shards = clone(k.Windows[i].Shards)
		}
		c.change(&bad, k)
		if err := NewTableMachine().Load(bytes.NewReader(bad.AppendTo(nil)), raft.LogID{Term: 1, Index: bad.Index}); !errors.Is(err, ErrSnapshot) {
			t.Errorf("%s: got %v", c.what, err)
		}
	}
	bad := *table
	bad.Catalog.Dropped = clone(table.Catalog.Dropped)
	bad.Catalog.Dropped[0].Kind = 3
	if _, err := ReadTable(bad.AppendTo(nil)); !errors.Is(err, ErrLevel) {
		t.Errorf("what was dropped is of a kind that is not known: %v", err)
	}
}
