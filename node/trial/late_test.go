package trial

import (
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"muster/node/trial/clustertest"
)

// Who reads after a write that the replica does not have must be told where the
// replica stands: all nodes may be there, and none be missing.
func TestAfterNotReached(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1, "--groups", "1")
	c.Run("kv", "set", "k", "v").Done(t)
	c.Run("kv", "get", "k", "--read", "local", "--after", "g1/1.1").Done(t)
	r := c.Run("kv", "get", "k", "--read", "local", "--after", "g1/1.99999", "--timeout", "500ms")
	r.Refused(t, clustertest.ExitNoResult, `get "k": not at g1/1.99999 within 500ms: group g1 stands at g1/`)
}

// An import without results must say which lines it did not try, and count all
// that it tried, so that its user can go on from there.
func TestImportSaysWhatItDidNotTry(t *testing.T) {
	t.Parallel()
	const lines = 6000 // more than are under way at a time
	silent := clustertest.Listen(t, func(net.Conn) {})
	var in strings.Builder
	for i := range lines {
		fmt.Fprintf(&in, `{"key":"%d","value":"v"}`+"\n", i)
	}
	r := clustertest.RunIn(t, in.String(), "kv", "import", "-", "--endpoints", silent, "--timeout", "1s", "-o", "json")
	m := regexp.MustCompile(`^muster: standard input: line \d+: set "\d+": .*; the lines from (\d+) on were not tried\n$`).FindStringSubmatch(r.Stderr)
	if m == nil || r.Status != clustertest.ExitNoResult {
		t.Fatalf("status %d, standard error %q", r.Status, r.Stderr)
	}
	from, _ := strconv.Atoi(m[1])
	if want := fmt.Sprintf(`{"written":0,"failed":%d}`+"\n", from-1); from < 2 || from > lines || r.Stdout != want {
		t.Errorf("the lines from %d on were not tried, and it printed %q, want %q", from, r.Stdout, want)
	}
}
