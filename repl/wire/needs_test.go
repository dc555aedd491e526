package wire_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

// needsOf is what a request needs, with commas between; or the error.
func needsOf(t wire.Type, b wire.Body) string {
	var all []string
	err := wire.Needs(t, b.Append(nil), func(n access.Need) bool {
		all = append(all, n.String())
		return true
	})
	if err != nil {
		return "error: " + err.Error()
	}
	return strings.Join(all, ", ")
}

// writing is the body of a Write.
type writing struct{ c shardmap.Command }

func (w *writing) Append(b []byte) []byte { return wire.AppendWrite(b, &w.c) }
func (w *writing) Read([]byte) error      { return nil }

var all = []shardmap.SlotRange{{From: 0, To: shardmap.Slots - 1}}

// requestNeeds says of requests what their senders need. It is written by hand: it must not come from
// what it checks.
var requestNeeds = []struct {
	t    wire.Type
	body wire.Body
	want string
}{
	{wire.TypePing, new(wire.Empty), ""},
	{wire.TypeWrite, &writing{shardmap.Command{Kind: shardmap.CommandSet, Items: [][]byte{[]byte("k"), []byte("v")}}}, "write on key:k"},
	{wire.TypeGet, &wire.Get{Keys: [][]byte{[]byte("a"), []byte("b")}}, "read on key:a, read on key:b"},
	{wire.TypeGet, &wire.Get{Mode: wire.ReadBounded, Stale: 5, Keys: [][]byte{[]byte("a")}}, "read on key:a"},
	{wire.TypeGet, new(wire.Get), "error: field keys: none"},
	{wire.TypeList, &wire.List{Prefix: []byte("p/"), After: []byte("p/x")}, "read,list on key:p/…"},
	{wire.TypeList, &wire.List{Prefix: []byte("p/"), KeysOnly: true}, "list on key:p/…"},
	{wire.TypeList, &wire.List{}, "read,list on key:…"},
	{wire.TypeList, &wire.List{Prefix: []byte("p/"), KeysOnly: true, Span: wire.Span{From: []byte("p/x"), To: []byte("p/y"), Counting: true}}, "list on key:p/…"},
	{wire.TypeScan, &wire.Scan{PieceBytes: wire.StreamPieceMin, Span: wire.Span{From: []byte("p/x"), To: []byte("p/y"), Descending: true}}, "read,list on key:…"},
	{wire.TypeTopology, &wire.Topology{}, ""},
	{wire.TypeScan, &wire.Scan{Prefix: []byte("p/"), PieceBytes: wire.StreamPieceMin}, "read,list on key:p/…"},
	{wire.TypeScan, &wire.Scan{Prefix: []byte("p/"), KeysOnly: true, Slots: all}, "list on key:p/…"},
	{wire.TypeStreamGrant, &wire.StreamGrant{Limit: 5}, ""},
	{wire.TypeStreamCancel, new(wire.Empty), ""},
	{wire.TypeWatch, &wire.Watch{PieceBytes: wire.StreamPieceMin, Slots: all, From: []byte("a/"), To: []byte("a0"), Now: true}, "read,watch on key:a/…"},
	{wire.TypeWatch, &wire.Watch{PieceBytes: wire.StreamPieceMin, Slots: all, From: []byte("a/"), To: []byte("b"), Now: true}, "read,watch on key:a…"},
	{wire.TypeWatch, &wire.Watch{PieceBytes: wire.StreamPieceMin, Slots: all, From: []byte("a/"), Now: true}, "read,watch on key:…"},
	{wire.TypeWatch, &wire.Watch{PieceBytes: wire.StreamPieceMin, Slots: all, From: []byte("a/"), Exact: true, Now: true}, "read,watch on key:a/"},
	{wire.TypeWatch, &wire.Watch{PieceBytes: wire.StreamPieceMin, Slots: all, Services: true, Now: true}, "read,watch on service:…"},
	{wire.TypeWatch, &wire.Watch{PieceBytes: wire.StreamPieceMin, Slots: all, From: []byte("web"), Exact: true, Services: true, Now: true}, "read,watch on service:web"},
	{wire.TypeWatch, new(wire.Get), "error: "},
	{wire.TypeSlotView, &wire.SlotView{Group: 1, Slots: all}, ""},
	{wire.TypeTableStream, &wire.TableStream{}, ""},
	{wire.TypeLeases, &wire.Leases{Group: 1, Slots: all}, "list on key:…"},
	{wire.TypeServices, &wire.Services{Group: 1, Slots: all}, "read,list on service:…"},
	{wire.TypeServices, exactService("web"), "read on service:web"},
	{wire.TypeHeartbeat, &wire.Heartbeat{Group: 1, Name: "web", Instance: "i", Status: wire.HeartbeatUp}, "write on service:web"},
	{wire.TypeWindow, &wire.Window{Policy: 12, Database: "metrics"}, "write on db:metrics"},
	{wire.TypePointsQuery, &wire.PointsQuery{Group: 1, Database: "metrics", Window: 1, Ask: wire.PointsOutline}, "read on db:metrics"},
	{wire.TypeHint, &wire.Hint{Where: wire.HintAny, Group: 3, Points: examplePoints().Command().Items[0]}, "write on db:metrics"},
	{wire.TypeHint, &wire.Hint{Where: wire.HintAny, Group: 3, Points: []byte{1}}, "error: "},
	{wire.TypeDurable, &wire.Durable{Group: 3}, ""},
	{wire.TypeHints, &wire.Hints{Act: wire.HintsList, All: true}, "read on cluster"},
	{wire.TypeHints, &wire.Hints{Act: wire.HintsRetry, Group: 3}, "admin on cluster"},
	{wire.TypeHints, &wire.Hints{Act: wire.HintsPurge, Group: 3}, "admin on cluster"},
	{wire.TypeQueries, &wire.Queries{Action: wire.QueriesList}, ""},
	{wire.TypeQueries, &wire.Queries{Action: wire.QueriesEnd, Query: 4711}, ""},
	{wire.TypeHistory, &wire.History{Group: 1, Key: []byte("a/b")}, "read on key:a/b"},
	{wire.TypeBackup, &wire.Backup{Group: 1, PieceBytes: wire.BackupPieceMin}, "read,list on key:…, read,list on service:…, admin on cluster"},
	{wire.TypeStatus, new(wire.Empty), ""},
	{wire.TypeCounters, new(wire.Empty), "read on cluster"},
	{wire.TypeLogRange, &wire.LogRange{}, "read on cluster"},
	{wire.TypeDoctor, new(wire.Empty), "read on cluster"},
	{wire.TypeCheck, new(wire.Check), "read on cluster"},
	{wire.TypeCheck, &wire.Check{Act: true}, "admin on cluster"},
	{wire.TypeTable, new(wire.Empty), ""},
	{wire.TypeTrail, &wire.Trail{Last: 20}, "admin on cluster"},
	{wire.TypeOrder, &wire.Order{Command: []byte{1}}, "admin on cluster"},
	{wire.TypeOrder, &wire.Order{Command: []byte{1}, Plan: true}, "read on cluster"},
	{wire.TypeOrder, &wire.Order{Command: jobOrder(shardmap.JobDelete, "app/")}, "write on key:app/…"},
	{wire.TypeOrder, &wire.Order{Command: jobOrder(shardmap.JobDelete, ""), Plan: true}, "write on key:…"},
	{wire.TypeOrder, &wire.Order{Command: jobOrder(shardmap.JobDelete, "app/")[:12]}, "admin on cluster"},
	{wire.TypeOrder, &wire.Order{Command: jobOrder(shardmap.JobBackup, "")}, "admin on cluster"},
	{wire.TypeOrder, &wire.Order{Command: databaseOrder("metrics")}, "admin on db:metrics"},
	{wire.TypeOrder, &wire.Order{Command: databaseOrder("metrics"), Plan: true}, "read on db:metrics"},
	{wire.TypeOrder, &wire.Order{Command: databaseOrder("metrics")[:9]}, "admin on cluster"},
	{wire.TypeOrder, &wire.Order{Command: policyOrder("metrics")}, "admin on db:metrics"},
	{wire.TypeOrder, &wire.Order{Command: truncateOrder("metrics")}, "admin on db:metrics"},
	{wire.TypeOrder, &wire.Order{Command: truncateOrder("")}, "admin on cluster"},
	{wire.TypeAddNodes, &wire.AddNodes{}, "admin on cluster"},
	{wire.TypeRenew, &wire.Renew{Request: []byte{1}}, ""},
	{wire.TypeRenew, &wire.Renew{User: "ann", Request: []byte{1}}, "admin on cluster"},
	{wire.TypeWhoami, new(wire.Empty), ""},
	{wire.TypeCanI, &wire.CanI{Verbs: access.Read, Kind: access.Keys}, ""},
	{wire.TypeCanI, &wire.CanI{User: "ann", Verbs: access.Read, Kind: access.Keys}, "read on cluster"},
	{wire.TypeUsage, new(wire.Usage), "read on cluster"},
	{wire.TypeBackups, new(wire.Backups), "admin on cluster"},
	{wire.TypeAuthority, &wire.Authority{Action: wire.AuthorityRotate}, "admin on cluster"},
}

// jobOrder is the bytes of an order for an errand.
func jobOrder(k shardmap.JobKind, prefix string) []byte {
	b, err := shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: k, Asks: shardmap.ErrandAsks{Prefix: prefix}})
	if err != nil {
		panic(err)
	}
	return b
}

func databaseOrder(name string) []byte {
	b, err := shardmap.AppendChangeDatabase(nil, &shardmap.ChangeDatabase{Action: shardmap.DatabaseDrop, Name: name})
	if err != nil {
		panic(err)
	}
	return b
}

func policyOrder(database string) []byte {
	b, err := shardmap.AppendChangePolicy(nil, &shardmap.ChangePolicy{Action: shardmap.PolicyDrop, Database: database, Policy: shardmap.PolicySpec{Name: "p"}})
	if err != nil {
		panic(err)
	}
	return b
}

func truncateOrder(database string) []byte {
	b, err := shardmap.AppendTruncateWindows(nil, &shardmap.TruncateWindows{Database: database, Time: 1})
	if err != nil {
		panic(err)
	}
	return b
}

// A server that does an errand asks as a client, and may ask for no more than that takes.
func TestRequestsOfErrands(t *testing.T) {
	of := func(c shardmap.Command) []byte { return wire.AppendWrite(nil, &c) }
	fill := examplePoints()
	fill.Mode, fill.Taken = shardmap.PointsFill, 9
	for _, c := range []struct {
		what string
		t    wire.Type
		body []byte
		want bool
	}{
		{"a delete of a prefix", wire.TypeWrite, of(shardmap.DelPrefixCommand(7, []byte("a"), 10)), true},
		{"a set", wire.TypeWrite, of(shardmap.Command{Kind: shardmap.CommandSet, Items: [][]byte{[]byte("k"), []byte("v")}}), false},
		{"points of a hint", wire.TypeWrite, of(fill.Command()), true},
		{"points", wire.TypeWrite, of(examplePoints().Command()), false},
		{"a hint", wire.TypeHint, nil, false},
		{"a del", wire.TypeWrite, of(shardmap.Command{Kind: shardmap.CommandDel, Items: [][]byte{[]byte("k")}}), false},
		{"no write", wire.TypeWrite, nil, false},
		{"a backup", wire.TypeBackup, nil, true},
		{"a listing", wire.TypeScan, nil, true},
		{"a get", wire.TypeGet, nil, false},
		{"an order", wire.TypeOrder, nil, false},
		{"backups", wire.TypeBackups, nil, false},
	} {
		if got := wire.OfErrands(c.t, c.body); got != c.want {
			t.Errorf("%s: %t, want %t", c.what, got, c.want)
		}
	}
}

func exactService(name string) *wire.Services {
	s := shardmap.SlotOf([]byte(name))
	return &wire.Services{Group: 1, Slots: []shardmap.SlotRange{{From: s, To: s}}, AfterSlot: s, After: []byte(name), Exact: true}
}

// The needs of a request are said once, beside its type. One would doubt it of those that name
// nothing, and of those whose needs depend on a flag.
func TestNeeds(t *testing.T) {
	asked := map[wire.Type]bool{}
	for _, c := range requestNeeds {
		asked[c.t] = true
		got := needsOf(c.t, c.body)
		if got != c.want && !(c.want == "error: " && strings.HasPrefix(got, c.want)) {
			t.Errorf("%s %+v: got %q, want %q", c.t, c.body, got, c.want)
		}
	}
	for i := range wire.Type(1 << 9) {
		if i.Senders()&wire.SenderClient != 0 && !asked[i] {
			t.Errorf("clients may send %s, and the test doesn't say what it needs", i)
		}
	}
}

// emptyRowAllows returns which type is let pass though nobody said what it needs, or is not
// for clients and has needs, or "".
func emptyRowAllows() string {
	for i := range wire.Type(1 << 9) {
		err := wire.Needs(i, nil, func(access.Need) bool { return true })
		switch client := i.Senders()&wire.SenderClient != 0; {
		case client && errors.Is(err, wire.ErrNoNeeds):
			return fmt.Sprintf("%s has no row", i)
		case client && wire.NeedsText(i) == "":
			return fmt.Sprintf("%s says nothing to a person", i)
		case !client && !errors.Is(err, wire.ErrNoNeeds):
			return fmt.Sprintf("%s is not for clients, and is not denied: %v", i, err)
		}
	}
	return ""
}

// A type that is new and whose needs nobody thought of must be for nobody.
func TestEmptyRowDenies(t *testing.T) {
	if wrong := emptyRowAllows(); wrong != "" {
		t.Error(wrong)
	}
}

// Of frequent requests the needs are read for each one.
func TestNeedsAllocateNothing(t *testing.T) {
	seen := 0
	yield := func(access.Need) bool { seen++; return true }
	for _, c := range requestNeeds {
		switch c.t {
		case wire.TypeWrite, wire.TypeGet, wire.TypeList, wire.TypeScan, wire.TypeHeartbeat:
			body := c.body.Append(nil)
			if len(body) == 0 || strings.HasPrefix(c.want, "error") {
				continue
			}
			if n := testing.AllocsPerRun(100, func() { _ = wire.Needs(c.t, body, yield) }); n != 0 {
				t.Errorf("%s: %v allocations", c.t, n)
			}
		}
	}
	if seen == 0 {
		t.Error("nothing was asked")
	}
}

// Where the needs are read from less than the whole body, what is left out must not be able to
// change them: a body that its handler reads as it was made has the needs of what was made.
func FuzzNeeds(f *testing.F) {
	for _, c := range requestNeeds {
		f.Add(uint16(c.t), c.body.Append(nil))
	}
	f.Fuzz(func(t *testing.T, number uint16, body []byte) {
		var names []string
		err := wire.Needs(wire.Type(number), body, func(n access.Need) bool {
			names = append(names, string(n.Name))
			return true
		})
		var want []string
		switch wire.Type(number) {
		case wire.TypeGet:
			var q wire.Get
			if q.Read(body) != nil {
				return
			}
			for _, k := range q.Keys {
				want = append(want, string(k))
			}
		case wire.TypeList:
			var q wire.List
			if q.Read(body) != nil {
				return
			}
			want = []string{string(q.Prefix)}
		case wire.TypeScan:
			var q wire.Scan
			if q.Read(body) != nil {
				return
			}
			want = []string{string(q.Prefix)}
		case wire.TypeHeartbeat:
			var q wire.Heartbeat
			if q.Read(body) != nil {
				return
			}
			want = []string{q.Name}
		default:
			return
		}
		if err != nil || strings.Join(names, "\x00") != strings.Join(want, "\x00") {
			t.Fatalf("%s: got %q, %v, want %q", wire.Type(number), names, err, want)
		}
	})
}

// BenchmarkNeeds is what a permission check costs a request of a restricted user.
func BenchmarkNeeds(b *testing.B) {
	rights := access.Compile([]access.User{{ID: 1, Roles: []string{"r"}}}, []access.Role{{Name: "r", Grants: []access.Grant{
		{Verbs: access.Read | access.Write | access.List, Object: access.Object{Kind: access.Keys, Prefix: "app/"}},
	}}}).Of(1)
	allowed := true
	yield := func(n access.Need) bool {
		allowed = allowed && rights.Meets(n)
		return allowed
	}
	key := []byte("app/config/17")
	for _, c := range []struct {
		t    wire.Type
		body wire.Body
	}{
		{wire.TypeWrite, &writing{shardmap.Command{Kind: shardmap.CommandSet, Session: 1 << 60, Sequence: 70000, Items: [][]byte{key, make([]byte, 100)}}}},
		{wire.TypeGet, &wire.Get{Keys: [][]byte{key}}},
		{wire.TypeList, &wire.List{Prefix: []byte("app/")}},
	} {
		body := c.body.Append(nil)
		b.Run(c.t.String(), func(b *testing.B) {
			for b.Loop() {
				if err := wire.Needs(c.t, body, yield); err != nil || !allowed {
					b.Fatal(err)
				}
			}
		})
	}
}

const securityPage = "../../docs/security.md"

// neededTable is the table of docs/security.md: what each type that a client may send needs.
func neededTable() string {
	var b strings.Builder
	b.WriteString("| request | needs |\n|---|---|\n")
	for i := range wire.Type(1 << 9) {
		if i.Senders()&wire.SenderClient != 0 {
			fmt.Fprintf(&b, "| %s | %s |\n", i, wire.NeedsText(i))
		}
	}
	return b.String()
}

// The page tells administrators what to grant, by the rows that decide. (-update writes it.)
func TestDocNeeds(t *testing.T) {
	page, err := os.ReadFile(securityPage)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(page), "| request | needs |\n")
	_, tail, ok2 := strings.Cut(rest, "\n\n")
	if !ok || !ok2 {
		t.Fatal(securityPage, " has no table of what each request needs")
	}
	want := head + neededTable() + "\n" + tail
	if want == string(page) {
		return
	}
	if *update {
		if err := os.WriteFile(securityPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s: the table of what each request needs is not that of repl/wire/needs.go; go test ./repl/wire -run TestDocNeeds -update writes it anew", securityPage)
}
