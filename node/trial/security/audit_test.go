package security

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muster/node/trial/clustertest"
)

// A person sees what nodes refused and who changed what, follows it as it comes, and is told
// which line was changed by someone who has the disk, also where its hash fits.
func TestAudit(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 2, "--groups", "1")
	follow := c.Command("audit", "tail", "--follow", "-o", "json", "--limit", "1", "--node", "n1", "--endpoints", c.Endpoints())
	out, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
		close(lines)
	}()
	c.Run("setting", "set", "trail-policy", "request").Done(t)
	c.Run("kv", "set", "a/b", "the-value").Done(t)
	for wanted := true; wanted; {
		line, ok := <-lines
		if !ok {
			t.Fatal("follow ended")
		}
		var row struct{ Type, Object, Why string }
		if err := json.Unmarshal([]byte(line), &row); err != nil || strings.Contains(line, "the-value") {
			t.Fatalf("%v: %s", err, line)
		}
		wanted = row.Why != "it was none, and is request" // each node notes that
	}
	if err := follow.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for range lines {
	}
	if err := follow.Wait(); err != nil {
		t.Errorf("follow: %v", err)
	}
	var ordered, written bool
	for _, node := range []string{"n1", "n2"} {
		text := c.Run("audit", "tail", "--node", node, "--limit", "100").Done(t)
		ordered = ordered || strings.Contains(text, `setting "trail-policy" "request"`)
		written = written || strings.Contains(text, "Write") && strings.Contains(text, "a/b")
	}
	if !ordered || !written {
		t.Errorf("ordered %t, written %t", ordered, written)
	}
	if text := c.Run("audit", "verify").Done(t); strings.Count(text, ": whole: ") != 2 {
		t.Error(text)
	}

	// The node is down while its disk is written to, and up again when it is asked.
	c.Stop(0)
	files, err := filepath.Glob(filepath.Join(c.Nodes[0].Data, "trail", "*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	all := slices.Collect(strings.Lines(string(b)))
	if err := os.WriteFile(files[0], []byte(strings.Join(slices.Delete(all, 1, 2), "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := clustertest.Run(t, "audit", "verify", c.Nodes[0].Data); r.Status != clustertest.ExitRefused || !strings.Contains(r.Stdout, "line 3 stands where line 2 should") {
		t.Errorf("of the directory: status %d: %s%s", r.Status, r.Stdout, r.Stderr)
	}
	c.Start(0)
	c.Healthy(0, 1)
	r := c.Run("audit", "verify")
	if r.Status != clustertest.ExitRefused || !strings.Contains(r.Stdout, "node n1: 1 wrong: ") || !strings.Contains(r.Stdout, "lines 2 to 2 are missing: line 3 stands where line 2 should") || !strings.Contains(r.Stdout, "node n2: whole: ") {
		t.Errorf("status %d: %s%s", r.Status, r.Stdout, r.Stderr)
	}
}
