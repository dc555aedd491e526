package node

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"muster/shardmap"
	"muster/shardmap/points/line"
)

// packed returns a text as gzip makes it.
func packed(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Points that a client of InfluxDB writes at any node are there, and the answer says what became of each point: packed, with times in
// seconds, in three windows. A user writes to the databases that he may write to, and learns nothing of others.
func TestPointsOverHTTP(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p := withHTTP(t, 3, secureLimits())
	p.role(shardmap.RoleGrant, "app", grant("write", "db:app"))
	raised(t, p.nodes)
	for _, name := range []string{"app", "other"} {
		p.give(shardmap.AppendChangeDatabase(nil, &shardmap.ChangeDatabase{Action: shardmap.DatabaseCreate, Name: name, Policy: shardmap.PolicySpec{WindowDuration: time.Hour, Shards: 3}}))
	}
	until(t, "all nodes have the databases", func() error {
		for _, r := range p.nodes {
			if _, ok := r.node.table.Load().Catalog.DatabaseNamed("other"); !ok {
				return fmt.Errorf("not yet")
			}
		}
		return nil
	})
	b := newBrowser(t)
	b.logsIn("https://"+p.nodes[0].addr, "rob", "correct horse")
	write := func(i int, query, text string, status int, has, written string, fields ...string) {
		t.Helper()
		got, body, h := b.ask(http.MethodPost, "https://"+p.nodes[i%3].addr+"/write?"+query, text, fields...)
		if got != status || !strings.Contains(body, has) || h.Get("X-Muster-Written") != written {
			t.Errorf("%s at node %d: got %d %s, %s; want %d, %q, %s", query, i%3, got, body, h.Get("X-Muster-Written"), status, has, written)
		}
	}
	now := time.Now().Unix() / 3600 * 3600
	var text strings.Builder
	for i := range int64(90) {
		fmt.Fprintf(&text, "cpu,host=h%d v=%d %d\n", i%30, i, now-i/30*3600+i)
	}
	for i := range p.nodes { // the same points, which changes nothing
		write(i, "db=app&precision=s", packed(t, text.String()), http.StatusNoContent, "", "stored=90, hinted=0, dropped=0, failed=0, refused=0", "Content-Encoding", "gzip")
	}
	if n, shards := valuesStored(ctx, t, p.admin, metaTable(t, p.nodes), "app", "cpu", "v"); n != 90 || shards != 9 {
		t.Errorf("%d values are there in %d shards, want 90 in 9", n, shards)
	}
	write(1, "db=app", "cpu v=1\ncpu\ncpu v=2", http.StatusBadRequest, "partial write: 2 points kept, 1 lines refused: line 2: missing fields", "stored=2, hinted=0, dropped=0, failed=0, refused=1")
	write(2, "db=app&precision=s", fmt.Sprintf("cpu,host=h1 v=\"x\" %d", now), http.StatusBadRequest, "partial write: field type conflict: ", "stored=0, hinted=0, dropped=1, failed=0, refused=0")
	write(0, "db=app", packed(t, strings.Repeat("\n", line.TextMax+1)), http.StatusRequestEntityTooLarge, "Request Entity Too Large", "", "Content-Encoding", "gzip")
	write(1, "db=app-gone", "cpu v=1", http.StatusNotFound, `database not found: \"app-gone\"`, "")
	write(1, "db=app&rp=gone", "cpu v=1", http.StatusNotFound, "retention policy not found: gone", "")
	for _, database := range []string{"other", "gone"} { // of which rob may not know which is there
		write(2, "db="+database, "cpu v=1", http.StatusForbidden, "unauthorized", "")
	}
	if n, _ := valuesStored(ctx, t, p.admin, metaTable(t, p.nodes), "other", "cpu", "v"); n != 0 {
		t.Errorf("%d values are there without the right", n)
	}
}
