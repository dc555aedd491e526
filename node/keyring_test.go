package node

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/logstore/vfs"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// A node that starts anew reads its log again, and may have lost the end of it. Whatever older tables it
// meets there, it must go on to believe in a root of which it has said that it does: the others may all have
// certificates under that by now, and nobody else could tell it more. A newer table ends that.
func TestRootsOutliveALog(t *testing.T) {
	if wrong := rootsAfterAStart(t); wrong != "" {
		t.Error(wrong)
	}
}

// rootsAfterAStart returns what is wrong with what a node believes after a start.
func rootsAfterAStart(t *testing.T) string {
	disk := vfs.NewMem()
	var roots []shardmap.Root
	for range 3 {
		der, _, err := trust.NewRoot(rand.Reader, 7, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, shardmap.Root{ID: shardmap.RootID(trust.RootIDOf(der)), DER: der, State: shardmap.RootTrusted})
	}
	table := func(index uint64, which ...int) *shardmap.Table {
		made := &shardmap.Table{Index: index}
		for _, i := range which {
			made.Security.Roots = append(made.Security.Roots, roots[i])
		}
		return made
	}
	start := func() *keyring {
		k := &keyring{holder: new(trust.Holder), disk: disk, data: "data", now: time.Now}
		if err := k.open(); err != nil {
			t.Fatal(err)
		}
		return k
	}
	believes := func(k *keyring) (which []int) {
		for _, c := range k.trusted() {
			which = append(which, slices.IndexFunc(roots, func(r shardmap.Root) bool { return string(r.DER) == string(c.Raw) }))
		}
		return which
	}
	k := start()
	for i, step := range []struct {
		start bool
		table *shardmap.Table
		want  []int
	}{
		{false, table(10, 0), []int{0}},
		{false, table(20, 0, 1), []int{0, 1}},
		{true, table(10, 0), []int{0, 1}},
		{false, table(15, 0), []int{0, 1}},
		{false, table(20, 0, 1), []int{0, 1}},
		{true, table(40, 1, 2), []int{1, 2}}, // as of a snapshot
		{true, table(20, 0, 1), []int{1, 2}},
		{false, table(50, 2), []int{2}},
		{true, nil, []int{2}},
	} {
		if step.start {
			k = start()
		}
		if step.table != nil {
			if err := k.follow(step.table); err != nil {
				t.Fatal(err)
			}
		}
		if got := believes(k); !slices.Equal(got, step.want) {
			return fmt.Sprintf("after step %d it believes in roots %v, want %v", i, got, step.want)
		}
	}
	return ""
}

// A host that joins by token knows the root of its certificate. If another one is about to issue by the
// time at which the host is a member, nobody would tell it in a way that it believes: so it must take the
// roots that come with its being taken in, and no others.
func TestRootsComeWithAJoin(t *testing.T) {
	if wrong := rootsWithAJoin(t); wrong != "" {
		t.Error(wrong)
	}
}

// rootsWithAJoin returns what is wrong with what a host believes that is taken in.
func rootsWithAJoin(t *testing.T) string {
	disk := vfs.NewMem()
	name := trust.Name{Cluster: 7, Kind: trust.KindNode, Node: 9}
	open := func() *keyring {
		k := &keyring{holder: new(trust.Holder), disk: disk, data: "data", now: time.Now}
		if err := k.open(); err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := open()
	first, firstKey, err := trust.NewRoot(rand.Reader, 7, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := trust.NewRoot(rand.Reader, 7, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := trust.NewIssuer(first, firstKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _, err := issuer.Issue(rand.Reader, name, &k.key.PublicKey, time.Now(), trust.NodeLife)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.adopt(name, leaf, [][]byte{first}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what  string
		roots [][]byte
		index uint64
		err   string
		want  int
	}{
		{"none, from an older node", nil, 0, "", 1},
		{"without that of the host's certificate", [][]byte{second}, 20, "is not among them", 1},
		{"one that can't be read", [][]byte{first, []byte("root")}, 20, "roots of the cluster", 1},
		{"both", [][]byte{first, second}, 20, "", 2},
		{"those of an older table", [][]byte{first}, 10, "", 2},
	} {
		err := k.learn(c.roots, c.index)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			return fmt.Sprintf("%s: got %v, want %q", c.what, err, c.err)
		}
		if got := len(k.trusted()); got != c.want {
			return fmt.Sprintf("%s: it believes in %d roots, want %d", c.what, got, c.want)
		}
	}
	k = open() // the host is killed, and reads its first table
	if err := k.follow(&shardmap.Table{Index: 10, Security: shardmap.Security{Roots: []shardmap.Root{{ID: shardmap.RootID(trust.RootIDOf(first)), DER: first, State: shardmap.RootTrusted}}}}); err != nil {
		t.Fatal(err)
	}
	if got := len(k.trusted()); got != 2 {
		return fmt.Sprintf("after a start it believes in %d roots, want 2", got)
	}
	return ""
}

// The answer to a join must name the trusted roots of the table that it goes by, and no others.
func TestJoinAnswerNamesRoots(t *testing.T) {
	const joins, index = 9, 30
	table := &shardmap.Table{Index: index, Nodes: []shardmap.TableNode{{ID: joins, Addr: "10.0.0.9:4166"}},
		Meta: shardmap.TableGroup{Replicas: []shardmap.TableReplica{{Node: joins, Replica: 4, Role: shardmap.ReplicaVoter}}}}
	table.Security.Roots = []shardmap.Root{{DER: []byte("one"), State: shardmap.RootIssuing}, {DER: []byte("two"), State: shardmap.RootTrusted}, {DER: []byte("three"), State: shardmap.RootRetired}}
	a, ok := takenIn(table, &wire.Join{Node: joins, Addr: "10.0.0.9:4166"})
	if !ok || a.Index != index || len(a.Roots) != 2 || string(a.Roots[0])+string(a.Roots[1]) != "onetwo" {
		t.Errorf("got %+v, %t", a, ok)
	}
}
