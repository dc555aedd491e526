package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"muster/raft"
)

// Nodes that run are compared while they work, with each other and with what
// stands on their disks.
func TestLogDiffOfRunningNodes(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, "--groups", "2")
	for i := range 20 {
		c.run("kv", "set", fmt.Sprintf("key%d", i), "v").done(t)
	}
	for _, pair := range [][2]string{{"n1", "n2"}, {c.nodes[1].addr, "n3"}, {c.nodes[0].data, "n2"}, {c.nodes[0].data, c.nodes[0].addr}, {c.nodes[1].data, c.nodes[2].data}} {
		c.until(fmt.Sprintf("%v have much in common", pair), func(context.Context) error { // one may be behind for a moment
			r := c.run("log", "diff", pair[0], pair[1], "-o", "json")
			if r.status != exitDone || r.stderr != "" {
				t.Fatalf("%v: status %d, %s", pair, r.status, r.stderr)
			}
			groups := 0
			for line := range strings.Lines(r.stdout) {
				var row diffRow
				if err := json.Unmarshal([]byte(line), &row); err != nil {
					t.Fatal(err)
				}
				g, common, err := raft.ParseLogID(row.Common)
				if err != nil || int(g) != row.Group || row.Diverged {
					t.Fatalf("%v: got %s", pair, line)
				}
				if g > 0 && common.Index < 5 {
					return errors.New(line)
				}
				groups++
			}
			if groups != 3 {
				t.Fatalf("%v: %d groups, want 3", pair, groups)
			}
			return nil
		})
	}
	// A node that was away has less, and has not diverged.
	c.kill(2)
	c.run("kv", "set", "key1", "w", "key2", "w", "key3", "w").done(t)
	r := c.run("log", "diff", "n1", c.nodes[2].data)
	if out := r.done(t); !strings.Contains(out, "no divergence") || strings.Contains(out, "DIVERGED") {
		t.Errorf("got %s", out)
	}
}

// A node that can't be compared, or not with the other, is refused with the
// reason.
func TestLogDiffRefusesNodes(t *testing.T) {
	t.Parallel()
	c, other := startCluster(t, 1, "--groups", "1"), startCluster(t, 1, "--groups", "1")
	other.stop(0)
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"no such node", []string{"n1", "n7"}, exitNotFound, `"n7": no such node, and no such directory; the cluster has n1`},
		{"no such group at a node", []string{"n1", "n1", "--group", "7"}, exitNotFound, "replica of group 7: not found (node n1 has none); muster group list"},
		{"another cluster", []string{other.nodes[0].data, "n1"}, exitRefused, "their logs have nothing in common"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.run(append([]string{"log", "diff", "-o", "json"}, tt.args...)...).refused(t, tt.status, tt.want)
		})
	}
}

// What log show prints with -o json is a contract, and every kind of thing on
// a disk has a line. It reads beside the node that writes.
func TestLogShowForms(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, "--groups", "1")
	c.goesByCertificates() // entries name who made them from then on
	c.run("kv", "set", "{t}a", "1", "{t}b", "2").done(t)
	c.run("kv", "set", "\xff", "1").done(t)
	wants := []string{
		`{"kind":"identity","file":"DIR/identity","stage":"member","cluster":"muster","cluster_id":"ID","node":"HEX","start":N,"nodes":[{"id":"ID","addr":"ADDR"}],"lives":[{"life":N,"mark":"HEX","last":N}],"witness":{"mark":"HEX","inode":N,"birth_ns":N},"files":[{"segment":N,"inode":N,"birth_ns":N},{"segment":N,"inode":N,"birth_ns":N}]}`,
		`{"kind":"witness","file":"DIR/witness","witness":{"mark":"HEX","inode":N,"birth_ns":N},"reached":N}`,
		`{"kind":"segment","file":"DIR/log/0000000000000001.log","segment":N,"offset":N,"bytes":N}`,
		`{"kind":"state","segment":N,"offset":N,"batch":N,"bytes":N,"group":N,"incarnation":N,"replica":"N","commit":N,"term":N,"vote":"N"}`,
		`{"kind":"base","segment":N,"offset":N,"batch":N,"bytes":N,"group":N,"incarnation":N,"replica":"N","commit":N,"base":"gN/N.N","members":[{"id":"ID","node":"HEX","role":"voter"}]}`,
		`{"kind":"entries","segment":N,"offset":N,"batch":N,"bytes":N,"group":N,"incarnation":N,"replica":"N","commit":N,"term":N,"first":N,"last":N,"entries":[{"log_id":"gN/N.N","kind":"no-op","time_ns":N,"bytes":N,"checksum":"HEX"}]}`,
		`{"kind":"entries","segment":N,"offset":N,"batch":N,"bytes":N,"group":N,"incarnation":N,"replica":"N","commit":N,"term":N,"first":N,"last":N,"entries":[{"log_id":"gN/N.N","kind":"normal","time_ns":N,"bytes":N,"checksum":"HEX","admitted":"TIME","principal":N,"rules":N,"command":"set","slot":N,"keys":[{"key":"{t}a"},{"key":"{t}b"}],"key_count":N,"session":"SESSION","sequence":N}]}`,
		`{"kind":"entries","segment":N,"offset":N,"batch":N,"bytes":N,"group":N,"incarnation":N,"replica":"N","commit":N,"term":N,"first":N,"last":N,"entries":[{"log_id":"gN/N.N","kind":"normal","time_ns":N,"bytes":N,"checksum":"HEX","admitted":"TIME","principal":N,"rules":N,"command":"set","slot":N,"keys":[{"key_base64":"/w=="}],"key_count":N,"session":"SESSION","sequence":N}]}`,
	}
	out := ""
	c.until("shown in full", func(context.Context) error { // the last line is written when the log has rested
		forms := map[string]bool{}
		out = c.run("log", "show", c.nodes[0].data, "-o", "json", "--entries").done(t)
		for line := range strings.Lines(out) {
			line = strings.ReplaceAll(line, c.nodes[0].data, "DIR")
			line = timeForm.ReplaceAllString(line, `"admitted":"TIME"`)
			line = sessionForm.ReplaceAllString(line, `"session":"SESSION"`)
			line = hexForm.ReplaceAllString(stringNumberForm.ReplaceAllString(form(line, c.nodes[0].addr), `:"N"`), `:"HEX"`)
			forms[line] = true
		}
		for _, want := range wants {
			if !forms[want] {
				return fmt.Errorf("no line %s in\n%s", want, out)
			}
		}
		// What is written for the log alone is of no replica.
		const rest = `,"segment":N,"offset":N,"batch":N,"bytes":N}`
		if !forms[`{"kind":"batch"`+rest] && !forms[`{"kind":"directory"`+rest] {
			return fmt.Errorf("no line of the log itself in\n%s", out)
		}
		return nil
	})
	if strings.Contains(out, "not understood") {
		t.Errorf("got %s", out)
	}
	if out := c.run("log", "show", c.nodes[0].data, "--kind", "state", "--group", "1").done(t); strings.Count(out, "\n") < 2 || strings.Contains(out, "entries") || strings.Contains(out, "g0") {
		t.Errorf("got %s", out)
	}
	muster(t, "log", "show", c.nodes[0].data, "--kind", "nonsense").refused(t, exitUsage, "want one of segment, batch, damage")
	muster(t, "log", "show", filepath.Join(c.dir, "nowhere")).refused(t, exitNotFound, "no such directory")
}
