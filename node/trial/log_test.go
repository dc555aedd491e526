package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"muster/node/trial/clustertest"
	"muster/raft"
)

// Nodes that run are compared while they work, with each other and with what
// stands on their disks.
func TestLogDiffOfRunningNodes(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--groups", "2")
	for i := range 20 {
		c.Run("kv", "set", fmt.Sprintf("key%d", i), "v").Done(t)
	}
	for _, pair := range [][2]string{{"n1", "n2"}, {c.Nodes[1].Addr, "n3"}, {c.Nodes[0].Data, "n2"}, {c.Nodes[0].Data, c.Nodes[0].Addr}, {c.Nodes[1].Data, c.Nodes[2].Data}} {
		c.Until(fmt.Sprintf("%v have much in common", pair), func(context.Context) error { // one may be behind for a moment
			r := c.Run("log", "diff", pair[0], pair[1], "-o", "json")
			if r.Status != clustertest.ExitDone || r.Stderr != "" {
				t.Fatalf("%v: status %d, %s", pair, r.Status, r.Stderr)
			}
			groups := 0
			for line := range strings.Lines(r.Stdout) {
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
	c.Kill(2)
	c.Run("kv", "set", "key1", "w", "key2", "w", "key3", "w").Done(t)
	r := c.Run("log", "diff", "n1", c.Nodes[2].Data)
	if out := r.Done(t); !strings.Contains(out, "no divergence") || strings.Contains(out, "DIVERGED") {
		t.Errorf("got %s", out)
	}
}

// A node that can't be compared, or not with the other, is refused with the
// reason.
func TestLogDiffRefusesNodes(t *testing.T) {
	t.Parallel()
	c, other := clustertest.Start(t, 1, "--groups", "1"), clustertest.Start(t, 1, "--groups", "1")
	other.Stop(0)
	for _, tt := range []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"no such node", []string{"n1", "n7"}, clustertest.ExitNotFound, `"n7": no such node, and no such directory; the cluster has n1`},
		{"no such group at a node", []string{"n1", "n1", "--group", "7"}, clustertest.ExitNotFound, "replica of group 7: not found (node n1 has none); muster group list"},
		{"another cluster", []string{other.Nodes[0].Data, "n1"}, clustertest.ExitRefused, "their logs have nothing in common"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.Run(append([]string{"log", "diff", "-o", "json"}, tt.args...)...).Refused(t, tt.status, tt.want)
		})
	}
}

// What log show prints with -o json is a contract, and every kind of thing on
// a disk has a line. It reads beside the node that writes.
func TestLogShowForms(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1, "--groups", "1")
	c.GoesByCertificates() // entries name who made them from then on
	c.Run("kv", "set", "{t}a", "1", "{t}b", "2").Done(t)
	c.Run("kv", "set", "\xff", "1").Done(t)
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
	c.Until("shown in full", func(context.Context) error { // the last line is written when the log has rested
		forms := map[string]bool{}
		out = c.Run("log", "show", c.Nodes[0].Data, "-o", "json", "--entries").Done(t)
		for line := range strings.Lines(out) {
			line = strings.ReplaceAll(line, c.Nodes[0].Data, "DIR")
			line = timeForm.ReplaceAllString(line, `"admitted":"TIME"`)
			line = sessionForm.ReplaceAllString(line, `"session":"SESSION"`)
			line = hexForm.ReplaceAllString(stringNumberForm.ReplaceAllString(form(line, c.Nodes[0].Addr), `:"N"`), `:"HEX"`)
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
	if out := c.Run("log", "show", c.Nodes[0].Data, "--kind", "state", "--group", "1").Done(t); strings.Count(out, "\n") < 2 || strings.Contains(out, "entries") || strings.Contains(out, "g0") {
		t.Errorf("got %s", out)
	}
	clustertest.Run(t, "log", "show", c.Nodes[0].Data, "--kind", "nonsense").Refused(t, clustertest.ExitUsage, "want one of segment, batch, damage")
	clustertest.Run(t, "log", "show", filepath.Join(c.Dir, "nowhere")).Refused(t, clustertest.ExitNotFound, "no such directory")
}
