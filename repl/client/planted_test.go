//go:build plantedbugs

package client

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"muster/repl/client/home"
	"muster/repl/trust"
	"muster/repl/wire"
)

// Listings of clusters whose slots move must find a listing that leaves out what had moved,
// and one that begins anew with it.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for _, bug := range []string{"moved slots left out of a listing", "moved slots listed anew", "a stream resumed past a gap", "a piece delivered twice", "a descending stream resumed above its last key"} {
		findsBug(t, bug, func(seed uint64) (broken string) { _, broken = play(t, seed); return broken })
	}
}

// findsBug has one of some worlds find a planted bug.
func findsBug(t *testing.T, bug string, play func(seed uint64) (broken string)) {
	t.Helper()
	const worlds = 300
	SetBug(bug)
	for seed := range uint64(worlds) {
		if found := play(seed); found != "" {
			t.Logf("%s: %.200s", bug, found)
			return
		}
	}
	t.Errorf("%s: none of %d worlds finds it", bug, worlds)
}

// A client that follows nobody any more, and does not know, must be found.
func TestPlantedFollow(t *testing.T) {
	defer SetBug("")
	want, err := os.ReadFile("testdata/follow_breaks.txt")
	if err != nil {
		t.Fatal(err)
	}
	SetBug("a broken stream of the table not replaced")
	if runScript(t, string(want)) == string(want) {
		t.Error("the script does not find it")
	}
}

// A question that waits for a node at whose address nothing listens must be found.
func TestPlantedPrompt(t *testing.T) {
	defer SetBug("")
	want, err := os.ReadFile("testdata/prompt.txt")
	if err != nil {
		t.Fatal(err)
	}
	SetBug(bugVacantAwaited)
	if runScript(t, string(want)) == string(want) {
		t.Error("the script does not find it")
	}
}

// Watches of clusters whose slots move must find what makes them lose, repeat or mix up
// events.
func TestPlantedWatchBugs(t *testing.T) {
	defer SetBug("")
	for _, bug := range []string{"a watch resumed past a gap", "a watch event twice", "a takeover not waited for", "a slot lost on its way", "a gap passed over", "a start of two moments"} {
		findsBug(t, bug, func(seed uint64) (broken string) { _, broken = playWatch(t, seed); return broken })
	}
}

// A write that is sent again as another user must be found.
func TestPlantedOtherUser(t *testing.T) {
	defer SetBug("")
	SetBug("write tried again as another user")
	if retriedAsAnother(t) == "" {
		t.Error("not found")
	}
}

// A client that takes any cluster it knows for the one that was named must be found.
func TestPlantedKeptRoot(t *testing.T) {
	defer SetBug("")
	SetBug(bugKeptBelieved)
	wrong := keptBelieved(t)
	if wrong == "" {
		t.Errorf("%s: not found", bugKeptBelieved)
	}
	t.Logf("%s: %s", bugKeptBelieved, wrong)
}

// keptBelieved returns what is wrong if a client that was told to meet another root says something to a
// cluster whose root is kept, or "".
func keptBelieved(t *testing.T) string {
	f, root := newFake(t, 1, 1), newFakeRoot(t)
	h, err := home.In(filepath.Join(t.TempDir(), "muster"))
	must(t, err)
	must(t, h.Put(root.der, "fake", nil, nil))
	f.mu.Lock()
	f.shows = new(trust.Holder)
	f.shows.Set(root.holding(trust.Name{Cluster: 99, Kind: trust.KindNode, Node: 1}, time.Now()))
	f.mu.Unlock()
	cl := f.open(Options{Home: h.Dir(), Guest: true, Meet: func(*x509.Certificate) error { return wire.Unauthorized("root", "not that one", "ask") }})
	if _, err := cl.Set(t.Context(), []byte("k"), []byte("v"), WriteOptions{}); err == nil {
		return "it wrote to a cluster that was not the one it was told to meet"
	}
	return ""
}

// A client that takes any node for one of the company's must be found.
func TestPlantedCompany(t *testing.T) {
	defer SetBug("")
	for _, planted := range []string{"", bugCompanyBelieved} {
		SetBug(planted)
		wrong := strangerBelieved(t)
		if (wrong != "") != (planted != "") {
			t.Errorf("with %q planted, the test finds %q", planted, wrong)
		}
	}
}

// strangerBelieved returns what is wrong if a client that was given one company's CA writes to a node of another
// company, or "".
func strangerBelieved(t *testing.T) string {
	f, root := newFake(t, 1, 1), newFakeRoot(t)
	h, err := home.In(filepath.Join(t.TempDir(), "muster"))
	must(t, err)
	key, der := root.issue(trust.Name{Cluster: 99, Kind: trust.KindUser, User: "ann"}, time.Now())
	must(t, h.Put(root.der, "fake", der, key))
	f.mu.Lock()
	f.shows = new(trust.Holder)
	f.shows.Set(newFakeCompany(t, "Other CA").holding(root, func(*x509.Certificate) {}))
	f.mu.Unlock()
	cl := f.open(Options{Home: h.Dir(), CA: newFakeCompany(t, "Shop CA").pem})
	if _, err := cl.Set(t.Context(), []byte("k"), []byte("v"), WriteOptions{}); err == nil {
		return "it wrote to a node of another company"
	}
	return ""
}
