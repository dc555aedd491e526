package bulk

import (
	"bufio"
	"encoding/json"
	"fmt"
	"testing"

	"muster/node/trial/clustertest"
	"muster/repl/client"
)

// An export has each key once, in order, though the nodes that send it are killed in
// the middle, one after the other, and its reader stands still meanwhile. One would
// doubt it: what a killed node had sent is part here, part in the network, and the
// streams of the groups that it led begin again at other nodes.
func TestExportOverKilledNodes(t *testing.T) {
	t.Parallel()
	const keys, size = 40_000, 1 << 10 // more than what a client holds
	c := clustertest.Start(t, 3)
	cl := c.Client()
	value := make([]byte, size)
	for i := range value {
		value[i] = 'v'
	}
	const many = 500
	for i := 0; i < keys; i += many {
		var pairs []client.Pair
		for j := range many {
			pairs = append(pairs, client.Pair{Key: fmt.Appendf(nil, "k/%05d", i+j), Value: value})
		}
		if _, err := cl.SetMany(t.Context(), pairs); err != nil {
			t.Fatal(err)
		}
	}
	export := c.Command("kv", "export", "k/", "--endpoints", c.Endpoints(), "--timeout", clustertest.ReadyMax.String())
	out, err := export.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := export.Start(); err != nil {
		t.Fatal(err)
	}
	kill := map[int]bool{1000: true, 8000: true, 15000: true}
	killed, n := -1, 0
	lines := bufio.NewScanner(out)
	for ; lines.Scan(); n++ {
		if kill[n] {
			if killed >= 0 {
				c.Start(killed)
				c.Healthy()
			}
			killed = c.Leads((killed + 1) % 3)
			c.Kill(killed)
		}
		var row struct {
			Key, Value string
			Version    uint64
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil || row.Key != fmt.Sprintf("k/%05d", n) || len(row.Value) != size || row.Version == 0 {
			t.Fatalf("line %d is of key %q with %d bytes, %v", n, row.Key, len(row.Value), err)
		}
	}
	if err := export.Wait(); err != nil || n != keys {
		t.Errorf("the export ended after %d keys of %d: %v", n, keys, err)
	}
}
