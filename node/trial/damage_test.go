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
func (c *cluster) setOne(key, value string) (raft.GroupID, raft.LogID) {
	c.t.Helper()
	var answer struct {
		LogIDs []string `json:"log_ids"`
	}
	r := c.run("kv", "set", key, value, "-o", "json")
	r.done(c.t)
	if err := json.Unmarshal([]byte(r.stdout), &answer); err != nil || len(answer.LogIDs) != 1 {
		c.t.Fatalf("set %s: %v: %s", key, err, r.stdout)
	}
	g, id, err := raft.ParseLogID(answer.LogIDs[0])
	if err != nil {
		c.t.Fatal(err)
	}
	return g, id
}

// statusOf asks one node.
func (c *cluster) statusOf(i int) (statusRow, result) {
	c.t.Helper()
	r := muster(c.t, "status", "--endpoints", c.nodes[i].addr, "--timeout", "5s", "-o", "json")
	var row statusRow
	if r.stdout != "" {
		if err := json.Unmarshal([]byte(r.stdout), &row); err != nil {
			c.t.Fatalf("status of n%d: %v: %s", i+1, err, r.stdout)
		}
	}
	return row, r
}

// A bit of one node's log turns over while the node is down. It comes back, is
// mended from the others without anybody's doing, and has what it had.
func TestDamageIsMended(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, "--groups", "3")
	for i := range 10 {
		c.setOne(fmt.Sprintf("before%d", i), "v")
	}
	g, id := c.setOne("hit", "the value")
	for i := range 10 {
		c.setOne(fmt.Sprintf("after%d", i), "v")
	}
	c.stop(0)
	placeOf(t, c.nodes[0].data, g, id).flip(t)
	c.start(0)
	c.until("the replica is mended", func(context.Context) error {
		b, err := os.ReadFile(c.nodes[0].log)
		if err == nil && !strings.Contains(string(b), fmt.Sprintf(`msg="replica mended" node=n1 group=%s`, g)) {
			err = errors.New("the log does not say so")
		}
		return err
	})
	c.healthy()
	for key, want := range map[string]string{"before3": "v", "hit": "the value", "after7": "v"} {
		c.until(key+" is there", func(context.Context) error { // a local read is of what was applied by now
			if r := muster(t, "kv", "get", key, "--read", "local", "--endpoints", c.nodes[0].addr); strings.TrimSpace(r.stdout) != want {
				return fmt.Errorf("status %d: got %q, %s", r.status, r.stdout, r.stderr)
			}
			return nil
		})
	}
	c.stop(0)
	if r := muster(t, "log", "verify", c.nodes[0].data); r.status != 0 {
		t.Logf("the damaged record is still there, as it may be: %s", r.stderr)
	}
	c.start(0)
	c.healthy()
}

// All three nodes lost the same entry. The group stops, every node says where on
// its disk, and the other groups go on; with one good copy back it is mended.
func TestDamageOfAllCopies(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, "--groups", "3")
	g, id := c.setOne("hit", "the value")
	other := ""
	for i := 0; other == ""; i++ {
		key := fmt.Sprintf("other%d", i)
		if o, _ := c.setOne(key, "v"); o != g {
			other = key
		}
	}
	var places []entryPlace
	for i := range c.nodes {
		c.stop(i)
		places = append(places, placeOf(t, c.nodes[i].data, g, id))
		places[i].flip(t)
	}
	for i := range c.nodes {
		c.start(i)
	}
	for i := range c.nodes {
		var row statusRow
		var r result
		found := false
		c.until("status names file, offset and record", func(context.Context) error {
			row, r = c.statusOf(i)
			for _, p := range row.Problems {
				found = found || strings.Contains(p.What, fmt.Sprintf("group %d is damaged on this node", g)) && strings.Contains(p.What, places[i].file) &&
					strings.Contains(p.What, "offset") && strings.Contains(p.What, fmt.Sprintf("entry %d of term %d", id.Index, id.Term)) && strings.Contains(p.Remedy, "have no copy")
			}
			if !found {
				return fmt.Errorf("status says %v", row.Problems)
			}
			return nil
		})
		if r.status != exitRefused || row.Healthy {
			t.Errorf("status of n%d: ends with %d, healthy %t", i+1, r.status, row.Healthy)
		}
	}
	c.until("doctor finds it", func(context.Context) error {
		row, r := c.examine()
		if r.status != exitRefused || !slices.ContainsFunc(row.Findings, func(f findingRow) bool {
			return strings.Contains(f.What, fmt.Sprintf("group %d is damaged on n1", g)) && strings.Contains(f.Remedy, "have no copy")
		}) {
			return fmt.Errorf("it ends with %d and says %+v", r.status, row.Findings)
		}
		return nil
	})
	c.run("kv", "set", other, "w").done(t)
	if r := c.run("kv", "get", "hit", "--timeout", "3s"); r.status == 0 || strings.Contains(r.stdout, "the value") {
		t.Errorf("a key of the damaged group is served: status %d, %q", r.status, r.stdout)
	}
	c.until("group list names the damaged replicas, and no others", func(context.Context) error {
		var groups []groupRow
		if err := json.Unmarshal([]byte(c.run("group", "list", "-o", "json").stdout), &groups); err != nil {
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
	c.stop(2)
	places[2].flip(t) // an old image of the disk is put back
	c.start(2)
	c.healthy()
	if r := c.run("kv", "get", "hit"); strings.TrimSpace(r.stdout) != "the value" {
		t.Errorf("afterwards: got %q, %s", r.stdout, r.stderr)
	}
}

// Nobody else has what a node lost that is alone. It must not start as if it had
// lost nothing, nor without a word that helps.
func TestDamageOfTheOnlyCopy(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	g, id := c.setOne("hit", "v")
	c.setOne("after", "v")
	c.stop(0)
	p := placeOf(t, c.nodes[0].data, g, id)
	p.flip(t)
	r := muster(t, c.nodes[0].args...)
	lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
	last := lines[len(lines)-1]
	if r.status != exitRefused {
		t.Errorf("ended with status %d, want %d: %s", r.status, exitRefused, last)
	}
	for _, part := range []string{"damaged", fmt.Sprintf("group %d", g), p.file, "offset", fmt.Sprintf("entry %d of term %d", id.Index, id.Term), "copy"} {
		if !strings.Contains(last, part) {
			t.Errorf("the last line does not tell %q: %s", part, last)
		}
	}
	p.flip(t)
	c.start(0)
	c.healthy()
}

// A node can't know any more what its replicas promised: of what the middle of
// its log held, nothing is left. It must not vote, lead or serve again, and say
// so with a remedy; the other two go on without it. One would doubt it: what is
// left of its log looks like the log of a node that was down for long.
func TestDamageOfPromises(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, "--groups", "2")
	for i := range 20 {
		c.setOne(fmt.Sprintf("some%d", i), "v")
	}
	c.setOne("before", "v")
	c.kill(0) // a clean stop would keep what was promised in a second place
	n := c.nodes[0]
	file, _ := losePromises(t, n.data)
	c.start(0)
	c.until("status says that it never votes again", func(context.Context) error {
		row, r := c.statusOf(0)
		for _, p := range row.Problems {
			if strings.Contains(p.What, "group 0 is damaged on this node: it lost what it promised") && strings.Contains(p.What, file) && strings.Contains(p.Remedy, "never votes again") {
				if r.status != exitRefused || row.Healthy {
					return fmt.Errorf("status ends with %d, healthy %t", r.status, row.Healthy)
				}
				return nil
			}
		}
		return fmt.Errorf("status says %v, %s", row.Problems, r.stderr)
	})
	others := c.nodes[1].addr + "," + c.nodes[2].addr
	for i := range 10 {
		muster(t, "kv", "set", fmt.Sprintf("key%d", i), "w", "--endpoints", others).done(t)
	}
	if r := muster(t, "kv", "get", "before", "--endpoints", others); strings.TrimSpace(r.stdout) != "v" {
		t.Errorf("got %q, %s", r.stdout, r.stderr)
	}
	if r := muster(t, "kv", "get", "before", "--read", "local", "--endpoints", n.addr, "--timeout", "1s"); r.status == exitDone {
		t.Errorf("it serves %q", r.stdout)
	}
	row, _ := c.statusOf(1)
	for _, g := range row.Groups {
		if g.Leader == "n1" {
			t.Errorf("it leads: %+v", g)
		}
	}
}
