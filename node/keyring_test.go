package node

import (
	"crypto/rand"
	"fmt"
	"slices"
	"testing"
	"time"

	"muster/logstore/vfs"
	"muster/repl/trust"
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
