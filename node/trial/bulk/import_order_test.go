package bulk

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"muster/node/trial/clustertest"
)

// Lines of one key must be written in their order, though many writes are under
// way at a time and some are tried again when a leader dies: a write that is
// tried again comes after one that was sent later.
func TestImportKeepsTheOrderOfAKey(t *testing.T) {
	t.Parallel()
	const keys, lines = 16, 4000
	c := clustertest.Start(t, 3)
	cmd := clustertest.Command("kv", "import", "-", "-o", "json", "--endpoints", c.Endpoints())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Now one key after the other, now one key many times.
	key := func(i int) string {
		if i/100%2 == 1 {
			return fmt.Sprint("k", i/100%keys)
		}
		return fmt.Sprint("k", i%keys)
	}
	feed := func(from, to int) {
		for i := from; i < to; i++ {
			if _, err := fmt.Fprintf(in, `{"key":"%s","value":"%d"}`+"\n", key(i), i); err != nil {
				t.Fatal(err)
			}
		}
	}
	feed(0, lines/2)
	c.Kill(c.Leads(0))
	feed(lines/2, lines)
	in.Close()
	if err := cmd.Wait(); err != nil || stdout.String() != fmt.Sprintf(`{"written":%d,"failed":0}`+"\n", lines) {
		t.Fatalf("%v: standard output %q, standard error %q", err, &stdout, &stderr)
	}
	want := map[string]string{}
	for i := range lines {
		want[key(i)] = fmt.Sprint(i)
	}
	out := json.NewDecoder(strings.NewReader(c.Run("kv", "export").Done(t)))
	for n := 0; ; n++ {
		var item struct{ Key, Value string }
		if err := out.Decode(&item); err == io.EOF {
			if n != len(want) {
				t.Errorf("%d keys are there, want %d", n, len(want))
			}
			return
		} else if err != nil {
			t.Fatal(err)
		}
		if item.Value != want[item.Key] {
			t.Errorf("%s is %s, want the last line's %s", item.Key, item.Value, want[item.Key])
		}
	}
}
