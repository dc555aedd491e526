package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/shardmap"
)

// keyed is what a client and a namespace have in common.
type keyed interface {
	Get(context.Context, [][]byte, ReadOptions) ([]Item, [][]byte, error)
	GetOne(ctx context.Context, key, dst []byte, o ReadOptions) ([]byte, uint64, bool, error)
	Set(ctx context.Context, key, value []byte, o WriteOptions) (Written, error)
	SetMany(context.Context, []Pair) ([]Written, error)
	Delete(context.Context, ...[]byte) ([]Deleted, error)
	DeleteIf(context.Context, []byte, uint64) (Deleted, error)
	Incr(context.Context, []byte, int64) (int64, Written, error)
	Txn(context.Context, *Txn) (TxnResult, error)
	Grant(context.Context, []byte, time.Duration) (Lease, error)
}

// outcome is what a call returned: its values as text, and its error.
type outcome struct {
	got string
	err error
}

// step makes one random call of some keys, which begin with prefix, and removes the prefix from what comes
// back. From the same chance it makes the same call.
func step(ctx context.Context, random *rand.Rand, c keyed, prefix string) outcome {
	names := []string{"a", "b", "{t}1", "{t}2", "n{t}", "", "x}", "{", "long" + strings.Repeat("x", shardmap.KeyMax-9), strings.Repeat("y", shardmap.KeyMax+1)}
	key := func() []byte {
		n := names[random.IntN(5)]
		if random.IntN(8) == 0 {
			n = names[random.IntN(len(names))]
		}
		if n == "" {
			return []byte{} // which nobody takes, whatever the prefix
		}
		return []byte(prefix + n)
	}
	keys := func() (out [][]byte) {
		for range 1 + random.IntN(4) {
			out = append(out, key())
		}
		return out
	}
	bare := func(keys [][]byte) (out []string) {
		for _, k := range keys {
			out = append(out, strings.TrimPrefix(string(k), prefix))
		}
		return out
	}
	o := WriteOptions{}
	switch random.IntN(4) {
	case 0:
		o.IfAbsent = true
	case 1:
		o.HasVersion, o.IfVersion = true, 1+random.Uint64N(40)
	}
	value := fmt.Append(nil, random.IntN(3))
	op := func() Op {
		return [...]func() Op{
			func() Op { return OpSet(key(), value, SetOptions{}) }, func() Op { return OpDel(key()) },
			func() Op { return OpGet(key()) }, func() Op { return OpIncr(key(), 2) },
		}[random.IntN(4)]()
	}
	switch random.IntN(10) {
	case 0:
		items, missing, err := c.Get(ctx, keys(), ReadOptions{})
		got := fmt.Sprintf("%q", bare(missing))
		for i := range items {
			got += fmt.Sprintf(" %q=%q@%d", bare([][]byte{items[i].Key}), items[i].Value, items[i].Version)
		}
		return outcome{got, err}
	case 1:
		v, version, ok, err := c.GetOne(ctx, key(), []byte("before"), ReadOptions{})
		return outcome{fmt.Sprintf("%q %d %t", v, version, ok), err}
	case 2, 3:
		w, err := c.Set(ctx, key(), value, o)
		return outcome{fmt.Sprint(w.Version), err}
	case 4:
		var pairs []Pair
		for _, k := range keys() {
			pairs = append(pairs, Pair{Key: k, Value: value})
		}
		written, err := c.SetMany(ctx, pairs)
		got := ""
		for i, w := range written {
			got += fmt.Sprintf("%q@%t ", bare([][]byte{pairs[i].Key}), w.Version > 0)
		}
		return outcome{got, err}
	case 5:
		deleted, err := c.Delete(ctx, keys()...)
		got := ""
		for _, d := range deleted {
			got += fmt.Sprintf("%q: %d, ", bare(d.Keys), d.Count)
		}
		return outcome{got, err}
	case 6:
		d, err := c.DeleteIf(ctx, key(), random.Uint64N(40))
		return outcome{fmt.Sprintf("%q: %d", bare(d.Keys), d.Count), err}
	case 7:
		n, _, err := c.Incr(ctx, key(), 3)
		return outcome{fmt.Sprint(n), err}
	case 8:
		l, err := c.Grant(ctx, key(), time.Minute)
		return outcome{fmt.Sprint(l.TTL), err}
	}
	t := &Txn{If: []Compare{IfAbsent(key())}, Then: []Op{op()}, Else: []Op{op()}}
	switch random.IntN(3) {
	case 0:
		t.If = append(t.If, IfVersion(key(), 1+random.Uint64N(40)))
	case 1:
		t.If[0] = IfValue(key(), value)
	}
	r, err := c.Txn(ctx, t)
	return outcome{fmt.Sprintf("%t %+v", r.Succeeded, r.Results), err}
}

// A namespace does what its client does with longer keys: the same calls of two clusters, by chance, have the same
// results and the same kinds of errors, and leave the same keys behind. Keys are too long with the prefix, or
// empty without it; tags stand in the prefix, in keys, and partly in both.
func TestNamespaceIsTheClientWithPrefix(t *testing.T) {
	for seed, prefix := range []string{"", "app/", "{app}/", "a{", "\xff\xff", strings.Repeat("deep/", 40), strings.Repeat("z", shardmap.KeyMax)} {
		one, two := newFakeOfLevel5(t, 1, 2), newFakeOfLevel5(t, 1, 2)
		ctx := within(t, 2*busyMax)
		ns, plain := In(one.open(Options{}), prefix), two.open(Options{})
		if half := len(prefix) / 2; half > 0 {
			ns = In(ns.client, prefix[:half]).In(prefix[half:])
		}
		a, b := rand.New(rand.NewPCG(uint64(seed), 20)), rand.New(rand.NewPCG(uint64(seed), 20))
		good := 0
		for n := range 400 {
			short, long := step(ctx, a, ns, ""), step(ctx, b, plain, prefix)
			if short.got != long.got || !slices.Equal(kindsOf(short.err), kindsOf(long.err)) || (short.err == nil) != (long.err == nil) {
				t.Fatalf("prefix %.20q, step %d: got %s, %v; want %s, %v", prefix, n, short.got, short.err, long.got, long.err)
			}
			// The texts are the same too, so they name whole keys.
			if short.err != nil && short.err.Error() != long.err.Error() {
				t.Fatalf("prefix %.20q, step %d: got %v, want %v", prefix, n, short.err, long.err)
			}
			if short.err == nil {
				good++
			}
		}
		if good < 100 && len(prefix) < shardmap.KeyMax {
			t.Errorf("prefix %.20q: only %d calls succeeded", prefix, good)
		}
		for key := range one.data {
			if !strings.HasPrefix(key, prefix) {
				t.Errorf("prefix %.20q: key %q was set", prefix, key)
			}
		}
		if !reflect.DeepEqual(one.data, two.data) {
			t.Errorf("prefix %.20q: the keys differ", prefix)
		}
	}
}

// A listing of a namespace has its keys and no others: not the key that is its prefix alone, which counts for
// no limit either.
func TestNamespaceLists(t *testing.T) {
	f := newFake(t, 1, 3)
	f.atLevel(shardmap.RangesLevel)
	c := f.open(Options{})
	ctx := within(t, busyMax)
	for _, key := range []string{"ap", "app/", "app/a", "app/a/1", "app/a/2", "app/b", "app0", "b"} {
		if _, err := c.Set(ctx, []byte(key), []byte("of "+key), WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	ns := In(c, "app/")
	for _, x := range []struct {
		of     *Namespace
		prefix string
		o      ListOptions
		want   string
	}{
		{ns, "", ListOptions{}, "a a/1 a/2 b"},
		{ns, "", ListOptions{Limit: 1}, "a"},
		{ns, "", ListOptions{Limit: 3, KeysOnly: true}, "a a/1 a/2"},
		{ns, "a/", ListOptions{}, "a/1 a/2"},
		{ns, "a/", ListOptions{After: []byte("a/1")}, "a/2"},
		{ns, "", ListOptions{After: []byte{}}, "a a/1 a/2 b"},
		{ns, "", ListOptions{After: []byte("a/2"), Limit: 5}, "b"},
		{ns, "", ListOptions{Descending: true}, "b a/2 a/1 a"},
		{ns, "", ListOptions{Descending: true, Limit: 4}, "b a/2 a/1 a"},
		{ns, "", ListOptions{Descending: true, After: []byte{}}, "b a/2 a/1 a"},
		{ns, "", ListOptions{Descending: true, After: []byte("a/2")}, "a/1 a"},
		{ns, "", ListOptions{From: []byte("a/2")}, "a/2 b"},
		{ns, "", ListOptions{To: []byte("a/2")}, "a a/1"},
		{ns, "a", ListOptions{From: []byte("a/1"), To: []byte("a/2")}, "a/1"},
		{ns.In("a"), "", ListOptions{}, "/1 /2"},
		{ns.In("a/"), "", ListOptions{Limit: 1}, "1"},
		{In(c, ""), "a", ListOptions{}, "ap app/ app/a app/a/1 app/a/2 app/b app0"},
		{In(c, "none/"), "", ListOptions{}, ""},
	} {
		var got []string
		for item, err := range x.of.List(ctx, []byte(x.prefix), x.o) {
			if err != nil {
				t.Fatal(err)
			}
			if want := "of " + string(x.of.Key(item.Key)); !x.o.KeysOnly && string(item.Value) != want {
				t.Errorf("%s has the value %q", item.Key, item.Value)
			}
			got = append(got, string(item.Key))
		}
		if strings.Join(got, " ") != x.want {
			t.Errorf("%q in %q with %+v: got %q, want %s", x.prefix, x.of.prefix, x.o, got, x.want)
		}
		if x.o.Limit > 0 || x.o.Descending {
			continue
		}
		if n, err := x.of.Count(ctx, []byte(x.prefix), x.o); err != nil || n != uint64(len(got)) {
			t.Errorf("%q in %q with %+v: counted %d, %v, want %d", x.prefix, x.of.prefix, x.o, n, err, len(got))
		}
	}
	for _, err := range In(c, strings.Repeat("z", shardmap.KeyMax+1)).List(ctx, nil, ListOptions{}) {
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("a prefix that is too long: got %v", err)
		}
	}
}

// What a caller gives a namespace stays as it is, and what it gets is its own.
func TestNamespaceLeavesArguments(t *testing.T) {
	f := newFakeOfLevel5(t, 1, 1)
	ns := In(f.open(Options{}), "app/")
	ctx := within(t, busyMax)
	pairs := []Pair{{Key: []byte("a")}, {Key: []byte("b")}}
	if _, err := ns.SetMany(ctx, pairs); err != nil || string(pairs[0].Key) != "a" {
		t.Errorf("got %q, %v", pairs[0].Key, err)
	}
	txn := &Txn{If: []Compare{IfAbsent([]byte("a"))}, Else: []Op{OpGet([]byte("a"))}}
	for range 2 { // a second run finds the same keys
		if r, err := ns.Txn(ctx, txn); err != nil || r.Succeeded || !r.Results[0].Found {
			t.Errorf("got %+v, %v", r, err)
		}
	}
	whole := ns.Key(nil)
	copy(whole, "xxxx")
	if again := ns.Key([]byte("a")); !bytes.Equal(again, []byte("app/a")) {
		t.Errorf("the prefix was changed: got %q", again)
	}
	var p *PartlyError
	_, err := ns.SetMany(within(t, time.Nanosecond), pairs)
	if !errors.As(err, &p) || string(p.Items[1].Key) != "b" || !strings.Contains(p.Error(), "app/a") {
		t.Errorf("an error about some keys: got %v", err)
	}
}

// Each field of a query that holds a key is put behind the prefix. A new one that is forgotten would be taken
// for a whole key.
func TestNamespaceKnowsAllKeys(t *testing.T) {
	for _, x := range []struct {
		of   any
		keys []string
	}{{ListOptions{}, []string{"After", "From", "To"}}, {WatchQuery{}, []string{"Key", "Prefix", "From", "To"}}, {WriteOptions{}, []string{"IfValue"}}, {ReadOptions{}, nil}} {
		var got []string
		for _, field := range reflect.VisibleFields(reflect.TypeOf(x.of)) {
			if field.Type == reflect.TypeFor[[]byte]() {
				got = append(got, field.Name)
			}
		}
		if !slices.Equal(got, x.keys) {
			t.Errorf("%T has %q; the namespace knows %q: see to the others in namespace.go", x.of, got, x.keys)
		}
	}
}

// The test above compares single calls. A bulk and a pipe of a namespace write its keys and no others, name whole keys in
// what they refuse, and leave a key of no bytes to be refused.
func TestNamespaceWritesMany(t *testing.T) {
	f := newFakeOfLevel5(t, 3, 8)
	c := f.open(Options{})
	ns := In(c, "app/").In("a").In("/")
	ctx := within(t, busyMax)
	want := map[string]string{}
	var refused []error
	check := func(_ uint64, _ Written, err error) {
		if err != nil {
			refused = append(refused, err)
		}
	}
	key := []byte("k000")
	put := func(set func(key, value []byte, tag uint64), of string) {
		for i := range 300 {
			copy(key[1:], fmt.Sprintf("%03d", i)) // the caller's again at once
			set(key, fmt.Append(nil, of, i), uint64(i))
			want["app/a/"+string(key)] = fmt.Sprint(of, i)
		}
		set(nil, []byte("v"), 1000)
		set([]byte(strings.Repeat("z", shardmap.KeyMax-len("app/a/")+1)), []byte("v"), 1001)
	}
	b := ns.Bulk(ctx, 0, check)
	put(b.Set, "bulk")
	b.SetWith([]byte("new"), []byte("1"), WriteOptions{IfAbsent: true}, 0)
	want["app/a/new"] = "1"
	b.Wait()
	stored := func(what string) {
		t.Helper()
		if len(f.data) != len(want) {
			t.Errorf("%s: %d keys are there, want %d", what, len(f.data), len(want))
		}
		for key, value := range want {
			if string(f.data[key].value) != value {
				t.Errorf("%s: %s has %q, want %q", what, key, f.data[key].value, value)
			}
		}
		if len(refused) != 2 || !errors.Is(refused[0], ErrBadRequest) && !errors.Is(refused[1], ErrBadRequest) || !errors.Is(refused[1], ErrTooLarge) && !errors.Is(refused[0], ErrTooLarge) {
			t.Errorf("%s: refused %v, want one for a key without bytes, and one for a key that is too long behind the prefix", what, refused)
		}
		refused = nil
	}
	stored("bulk")
	got := 0
	p := ns.Pipe(ctx, 10, func(o *Outcome) {
		if o.Tag >= 2000 {
			if i := o.Tag - 2000; o.Err != nil || string(o.Value) != fmt.Sprint("pipe", i) {
				t.Errorf("get %d: %q, %v", i, o.Value, o.Err)
			}
			got++
			return
		}
		check(o.Tag, o.Written, o.Err)
	})
	put(p.Set, "pipe")
	p.Wait()
	stored("pipe")
	for i := range 300 {
		p.Get(fmt.Appendf(nil, "k%03d", i), 2000+uint64(i), ReadOptions{})
	}
	p.Wait()
	if got != 300 {
		t.Errorf("%d of 300 gets ended", got)
	}
}

// A namespace deletes what is behind its prefix and the one that it is given, and nothing else.
func TestNamespaceDeletesPrefixes(t *testing.T) {
	keys := []string{"ap", "app/", "app/a", "app/a/1", "app/a/2", "app/b", "app0"}
	for _, tt := range []struct{ in, prefix, left string }{
		{"app/", "a/", "ap app/ app/a app/b app0"},
		{"app/", "a", "ap app/ app/b app0"},
		{"app/", "none", "ap app/ app/a app/a/1 app/a/2 app/b app0"},
		{"app/", "", "ap app0"},
		{"", "app/", "ap app0"},
	} {
		f := newFake(t, 3, 8)
		f.level = shardmap.RangesLevel
		for _, key := range keys {
			f.data[key] = fakeValue{[]byte("v"), 1}
		}
		done, err := In(f.open(Options{}), tt.in).DeletePrefix(within(t, busyMax), []byte(tt.prefix), PrefixOptions{})
		var left []string
		for key := range f.data {
			left = append(left, key)
		}
		slices.Sort(left)
		if got := strings.Join(left, " "); err != nil || got != tt.left || done.Keys != len(keys)-len(left) {
			t.Errorf("%q in %q: %d deleted, %v, and %s are left, want %s", tt.prefix, tt.in, done.Keys, err, got, tt.left)
		}
	}
}

// notOfNamespaces are the calls of a client that a namespace leaves out: a program makes them of the client.
var notOfNamespaces = map[string]string{
	"Close": "a namespace is a view, and has nothing to close",

	"KeepAlive": "of a lease, which has an id", "Keepalive": "of a lease", "Revoke": "of a lease", "Leases": "of leases",

	"Heartbeat": "of services, which have names of their own", "Maintain": "of services", "Nearby": "of services", "Resolve": "of services",
	"SetService": "of services", "DelService": "of services", "RemoveInstance": "of services", "Service": "of services", "Services": "of services", "WatchServices": "of services",

	"AddNodes": "of nodes", "Check": "of nodes", "Counters": "of nodes", "Doctor": "of nodes", "LogRange": "of nodes", "Status": "of nodes", "Trail": "of nodes",
	"Order": "of the table", "Plan": "of the table", "Table": "of the table", "Topology": "of the table", "TopologyAt": "of the table",
	"SlotViews": "of slots", "Usage": "of limits, which name whole prefixes", "Queries": "of a node", "Backup": "of a group", "SlotVersions": "of slots", "TakeBackup": "of the cluster", "Backups": "of the files of nodes",

	"Authority": "of the caller", "CanI": "of the caller", "Certificate": "of the caller", "Login": "of the caller", "RenewCertificate": "of the caller", "Whoami": "of the caller",

	"BringPoints": "of a database, which has no keys", "DeletePoints": "of a database, which has no keys", "AskShard": "of a database, which has no keys",
	"AskWindow": "of a database, which has no keys", "Hints": "of databases, which have no keys", "KeepHint": "of a database, which has no keys", "StoredOn": "of a database, which has no keys",

	"In": "makes a namespace",
}

// A namespace must have each call of a client that is about keys: a call that the client gains is either one of the namespace,
// or is left out here, with the reason.
func TestNamespaceHasCallsOfClient(t *testing.T) {
	var calls []string
	for m := range reflect.TypeFor[*Client]().Methods() {
		calls = append(calls, m.Name)
	}
	calls = append(calls, functionsOfClient(t)...)
	namespace := reflect.TypeFor[*Namespace]()
	for _, name := range calls {
		_, has := namespace.MethodByName(name)
		why, left := notOfNamespaces[name]
		switch {
		case has && left && name != "In": // which a namespace has of its own
			t.Errorf("%s is left out (%s), and the namespace has it", name, why)
		case !has && !left:
			t.Errorf("the client has %s, a namespace does not: add it, or leave it out with a reason", name)
		}
	}
	for name := range notOfNamespaces {
		if !slices.Contains(calls, name) {
			t.Errorf("%s is left out, and the client does not have it", name)
		}
	}
	for m := range namespace.Methods() {
		if m.Name != "Key" && !slices.Contains(calls, m.Name) {
			t.Errorf("a namespace has %s, the client does not", m.Name)
		}
	}
}

// functionsOfClient returns the exported functions of the package that take a client.
func functionsOfClient(t *testing.T) (names []string) {
	t.Helper()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !f.Name.IsExported() {
				continue
			}
			for _, p := range f.Type.Params.List {
				star, ok := p.Type.(*ast.StarExpr)
				if !ok {
					continue
				}
				if name, ok := star.X.(*ast.Ident); ok && name.Name == "Client" {
					names = append(names, f.Name.Name)
				}
			}
		}
	}
	if !slices.Contains(names, "Count") {
		t.Fatalf("found %q, without Count", names)
	}
	return names
}
