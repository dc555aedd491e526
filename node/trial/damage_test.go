package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/node/trial/clustertest"
	"muster/raft"
)

// entryPlace is where a payload's first byte stands.
type entryPlace struct {
	file   string
	offset int64
}

// placeOf finds the entry of a log id in a data directory.
func placeOf(t *testing.T, data string, g raft.GroupID, id raft.LogID) entryPlace {
	t.Helper()
	var at entryPlace
	err := logstore.Walk(vfs.OSReadOnly{}, data, func(w *logstore.Walked) error {
		offset := w.Offset + w.Bytes
		for i := len(w.Entries) - 1; i >= 0 && w.Replica.Group == g; i-- {
			offset -= int64(len(w.Entries[i].Raw))
			if w.Entries[i].ID == id {
				at = entryPlace{w.File, offset + raft.EntryHeaderSize}
			}
		}
		return nil
	})
	if err != nil || at.file == "" {
		t.Fatalf("entry %s is not in %s: %v", raft.FormatLogID(g, id), data, err)
	}
	return at
}

// flip turns over a bit, or turns it back.
func (p entryPlace) flip(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(p.file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], p.offset); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], p.offset); err != nil {
		t.Fatal(err)
	}
}

// setOne writes a key and returns where in the logs that is.
func setOne(c *clustertest.Cluster, key, value string) (raft.GroupID, raft.LogID) {
	c.T.Helper()
	var answer struct {
		LogIDs []string `json:"log_ids"`
	}
	r := c.Run("kv", "set", key, value, "-o", "json")
	r.Done(c.T)
	if err := json.Unmarshal([]byte(r.Stdout), &answer); err != nil || len(answer.LogIDs) != 1 {
		c.T.Fatalf("set %s: %v: %s", key, err, r.Stdout)
	}
	g, id, err := raft.ParseLogID(answer.LogIDs[0])
	if err != nil {
		c.T.Fatal(err)
	}
	return g, id
}

// statusOf asks one node.
func statusOf(c *clustertest.Cluster, i int) (statusRow, clustertest.Result) {
	c.T.Helper()
	r := clustertest.Run(c.T, "status", "--endpoints", c.Nodes[i].Addr, "--timeout", "5s", "-o", "json")
	var row statusRow
	if r.Stdout != "" {
		if err := json.Unmarshal([]byte(r.Stdout), &row); err != nil {
			c.T.Fatalf("status of n%d: %v: %s", i+1, err, r.Stdout)
		}
	}
	return row, r
}

// A bit of one node's log turns over while the node is down. It comes back, is
// mended from the others without anybody's doing, and has what it had.
func TestDamageIsMended(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--groups", "3")
	for i := range 10 {
		setOne(c, fmt.Sprintf("before%d", i), "v")
	}
	g, id := setOne(c, "hit", "the value")
	for i := range 10 {
		setOne(c, fmt.Sprintf("after%d", i), "v")
	}
	c.Stop(0)
	placeOf(t, c.Nodes[0].Data, g, id).flip(t)
	c.Start(0)
	c.Until("the replica is mended", func(context.Context) error {
		b, err := os.ReadFile(c.Nodes[0].Log)
		if err == nil && !strings.Contains(string(b), fmt.Sprintf(`msg="replica mended" node=n1 group=%s`, g)) {
			err = errors.New("the log does not say so")
		}
		return err
	})
	c.Healthy()
	for key, want := range map[string]string{"before3": "v", "hit": "the value", "after7": "v"} {
		c.Until(key+" is there", func(context.Context) error { // a local read is of what was applied by now
			if r := clustertest.Run(t, "kv", "get", key, "--read", "local", "--endpoints", c.Nodes[0].Addr); strings.TrimSpace(r.Stdout) != want {
				return fmt.Errorf("status %d: got %q, %s", r.Status, r.Stdout, r.Stderr)
			}
			return nil
		})
	}
	c.Stop(0)
	if r := clustertest.Run(t, "log", "verify", c.Nodes[0].Data); r.Status != 0 {
		t.Logf("the damaged record is still there, as it may be: %s", r.Stderr)
	}
	c.Start(0)
	c.Healthy()
}

// All three nodes lost the same entry. The group stops, every node says where on
// its disk, and the other groups go on; with one good copy back it is mended.
func TestDamageOfAllCopies(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--groups", "3")
	g, id := setOne(c, "hit", "the value")
	other := ""
	for i := 0; other == ""; i++ {
		key := fmt.Sprintf("other%d", i)
		if o, _ := setOne(c, key, "v"); o != g {
			other = key
		}
	}
	var places []entryPlace
	for i := range c.Nodes {
		c.Stop(i)
		places = append(places, placeOf(t, c.Nodes[i].Data, g, id))
		places[i].flip(t)
	}
	for i := range c.Nodes {
		c.Start(i)
	}
	for i := range c.Nodes {
		var row statusRow
		var r clustertest.Result
		found := false
		c.Until("status names file, offset and record", func(context.Context) error {
			row, r = statusOf(c, i)
			for _, p := range row.Problems {
				found = found || strings.Contains(p.What, fmt.Sprintf("group %d is damaged on this node", g)) && strings.Contains(p.What, places[i].file) &&
					strings.Contains(p.What, "offset") && strings.Contains(p.What, fmt.Sprintf("entry %d of term %d", id.Index, id.Term)) && strings.Contains(p.Remedy, "have no copy")
			}
			if !found {
				return fmt.Errorf("status says %v", row.Problems)
			}
			return nil
		})
		if r.Status != clustertest.ExitRefused || row.Healthy {
			t.Errorf("status of n%d: ends with %d, healthy %t", i+1, r.Status, row.Healthy)
		}
	}
	c.Until("doctor finds it", func(context.Context) error {
		row, r := examine(c)
		if r.Status != clustertest.ExitRefused || !slices.ContainsFunc(row.Findings, func(f findingRow) bool {
			return strings.Contains(f.What, fmt.Sprintf("group %d is damaged on n1", g)) && strings.Contains(f.Remedy, "have no copy")
		}) {
			return fmt.Errorf("it ends with %d and says %+v", r.Status, row.Findings)
		}
		return nil
	})
	c.Run("kv", "set", other, "w").Done(t)
	if r := c.Run("kv", "get", "hit", "--timeout", "3s"); r.Status == 0 || strings.Contains(r.Stdout, "the value") {
		t.Errorf("a key of the damaged group is served: status %d, %q", r.Status, r.Stdout)
	}
	c.Until("group list names the damaged replicas, and no others", func(context.Context) error {
		var groups []clustertest.GroupRow
		if err := json.Unmarshal([]byte(c.Run("group", "list", "-o", "json").Stdout), &groups); err != nil {
			return err
		}
		for _, row := range groups {
			for _, p := range row.Replicas {
				if (p.State == "damaged") != (row.ID == int(g)) {
					return fmt.Errorf("replica %s of group %d is %s", p.ID, row.ID, p.State)
				}
			}
		}
		return nil
	})
	c.Stop(2)
	places[2].flip(t) // an old image of the disk is put back
	c.Start(2)
	c.Healthy()
	if r := c.Run("kv", "get", "hit"); strings.TrimSpace(r.Stdout) != "the value" {
		t.Errorf("afterwards: got %q, %s", r.Stdout, r.Stderr)
	}
}

// Nobody else has what a node lost that is alone. It must not start as if it had
// lost nothing, nor without a word that helps.
func TestDamageOfTheOnlyCopy(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1)
	g, id := setOne(c, "hit", "v")
	setOne(c, "after", "v")
	c.Stop(0)
	p := placeOf(t, c.Nodes[0].Data, g, id)
	p.flip(t)
	r := clustertest.Run(t, c.Nodes[0].Args...)
	lines := strings.Split(strings.TrimSpace(r.Stderr), "\n")
	last := lines[len(lines)-1]
	if r.Status != clustertest.ExitRefused {
		t.Errorf("ended with status %d, want %d: %s", r.Status, clustertest.ExitRefused, last)
	}
	for _, part := range []string{"damaged", fmt.Sprintf("group %d", g), p.file, "offset", fmt.Sprintf("entry %d of term %d", id.Index, id.Term), "copy"} {
		if !strings.Contains(last, part) {
			t.Errorf("the last line does not tell %q: %s", part, last)
		}
	}
	p.flip(t)
	c.Start(0)
	c.Healthy()
}

// A node can't know any more what its replicas promised: of what the middle of
// its log held, nothing is left. It must not vote, lead or serve again, and say
// so with a remedy; the other two go on without it. One would doubt it: what is
// left of its log looks like the log of a node that was down for long.
func TestDamageOfPromises(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--groups", "2")
	for i := range 20 {
		setOne(c, fmt.Sprintf("some%d", i), "v")
	}
	setOne(c, "before", "v")
	c.Kill(0) // a clean stop would keep what was promised in a second place
	n := c.Nodes[0]
	file, _ := losePromises(t, n.Data)
	c.Start(0)
	c.Until("status says that it never votes again", func(context.Context) error {
		row, r := statusOf(c, 0)
		for _, p := range row.Problems {
			if strings.Contains(p.What, "group 0 is damaged on this node: it lost what it promised") && strings.Contains(p.What, file) && strings.Contains(p.Remedy, "never votes again") {
				if r.Status != clustertest.ExitRefused || row.Healthy {
					return fmt.Errorf("status ends with %d, healthy %t", r.Status, row.Healthy)
				}
				return nil
			}
		}
		return fmt.Errorf("status says %v, %s", row.Problems, r.Stderr)
	})
	others := c.Nodes[1].Addr + "," + c.Nodes[2].Addr
	for i := range 10 {
		clustertest.Run(t, "kv", "set", fmt.Sprintf("key%d", i), "w", "--endpoints", others).Done(t)
	}
	if r := clustertest.Run(t, "kv", "get", "before", "--endpoints", others); strings.TrimSpace(r.Stdout) != "v" {
		t.Errorf("got %q, %s", r.Stdout, r.Stderr)
	}
	if r := clustertest.Run(t, "kv", "get", "before", "--read", "local", "--endpoints", n.Addr, "--timeout", "1s"); r.Status == clustertest.ExitDone {
		t.Errorf("it serves %q", r.Stdout)
	}
	row, _ := statusOf(c, 1)
	for _, g := range row.Groups {
		if g.Leader == "n1" {
			t.Errorf("it leads: %+v", g)
		}
	}
}
