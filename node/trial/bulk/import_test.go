package bulk

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"muster/node/trial/clustertest"
)

// sum is a file's content, for comparing.
type sum [sha256.Size]byte

// source is the whole source tree of the Go toolchain, as lines for kv import.
type source struct {
	lines   string // path of the file with the lines
	bytes   int64  // of it
	fitting map[string]sum
	over    map[string]int // path → size of those over the value limit
}

const valueMaxDefault = 1 << 20

func goSource(t *testing.T) *source {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(strings.TrimSpace(string(out)), "src")
	s := &source{lines: filepath.Join(t.TempDir(), "src.jsonl"), fitting: map[string]sum{}, over: map[string]int{}}
	f, err := os.Create(s.lines)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		key, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if len(content) > valueMaxDefault {
			s.over[key] = len(content)
		} else {
			s.fitting[key] = sha256.Sum256(content)
		}
		line := map[string]string{"key": key}
		if utf8.Valid(content) {
			line["value"] = string(content)
		} else {
			line["value_base64"] = base64.StdEncoding.EncodeToString(content)
		}
		return encoder.Encode(line)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if s.bytes, err = f.Seek(0, io.SeekCurrent); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if len(s.fitting) < 5000 || len(s.over) == 0 {
		t.Fatalf("%s has %d files within the limit and %d over it; is this a whole Go toolchain?", root, len(s.fitting), len(s.over))
	}
	return s
}

// holds says how what node i has by itself differs from s, or nil.
func holds(ctx context.Context, c *clustertest.Cluster, i int, s *source) error {
	cmd := clustertest.Command("kv", "export", "--read", "local", "--endpoints", c.Nodes[i].Addr)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	seen, differ := 0, ""
	d := json.NewDecoder(bufio.NewReaderSize(out, 1<<20))
	for {
		var line struct {
			Key         string  `json:"key"`
			Value       string  `json:"value"`
			ValueBase64 *string `json:"value_base64"`
		}
		if err := d.Decode(&line); err != nil {
			if err != io.EOF {
				differ = fmt.Sprintf("line %d: %v", seen+1, err)
			}
			break
		}
		content := []byte(line.Value)
		if line.ValueBase64 != nil {
			if content, err = base64.StdEncoding.DecodeString(*line.ValueBase64); err != nil {
				differ = fmt.Sprintf("key %s: %v", line.Key, err)
			}
		}
		want, ok := s.fitting[line.Key]
		switch {
		case !ok:
			differ = fmt.Sprintf("key %s was never written", line.Key)
		case want != sha256.Sum256(content):
			differ = fmt.Sprintf("key %s has other content", line.Key)
		}
		seen++
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%v: %s", err, strings.TrimSpace(stderr.String()))
	}
	if differ != "" {
		return fmt.Errorf("%s", differ)
	}
	if seen != len(s.fitting) {
		return fmt.Errorf("%d of %d keys", seen, len(s.fitting))
	}
	return nil
}

// The whole source tree of the toolchain goes in while the node that leads
// most groups dies half way. Only the files over the value limit may be
// missing, and they must be named; everything else is on every node, also
// after the power of all three has gone at once.
func TestImportOfRealInput(t *testing.T) {
	t.Parallel()
	s := goSource(t)
	c := clustertest.Start(t, 3)
	victim := c.Leads(0)

	cmd := clustertest.Command("kv", "import", "-", "-o", "json")
	cmd.Env = append(cmd.Env, "MUSTER_ENDPOINTS="+c.Endpoints())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(s.lines)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(in, f, s.bytes/2); err != nil {
		t.Fatal(err)
	}
	c.Kill(victim)
	if _, err := io.Copy(in, f); err != nil {
		t.Fatal(err)
	}
	in.Close()
	cmd.Wait() // the status is looked at below
	if got := cmd.ProcessState.ExitCode(); got != clustertest.ExitPartly {
		t.Fatalf("import ended with status %d, want %d\n%s", got, clustertest.ExitPartly, &stderr)
	}
	var counts struct{ Written, Failed int }
	if err := json.Unmarshal(stdout.Bytes(), &counts); err != nil {
		t.Fatalf("import printed %q: %v", &stdout, err)
	}
	if counts.Written != len(s.fitting) || counts.Failed != len(s.over) {
		t.Errorf("got %d written and %d failed, want %d and %d", counts.Written, counts.Failed, len(s.fitting), len(s.over))
	}
	told := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	if len(told) != len(s.over) {
		t.Errorf("%d lines on standard error, want one for each of the %d files over the limit:\n%s", len(told), len(s.over), &stderr)
	}
	for key, size := range s.over {
		found := false
		for _, line := range told {
			found = found || strings.Contains(line, `"`+key+`"`) && strings.Contains(line, fmt.Sprint(size, " bytes"))
		}
		if !found {
			t.Errorf("no line tells of %s with its %d bytes:\n%s", key, size, &stderr)
		}
	}

	c.Start(victim)
	c.Healthy()
	all := func(when string) {
		for i := range c.Nodes {
			c.Until(fmt.Sprintf("n%d has everything %s", i+1, when), func(context.Context) error {
				return holds(context.Background(), c, i, s)
			})
		}
	}
	all("after its leader died")
	for i := range c.Nodes {
		c.Kill(i)
	}
	for i := range c.Nodes {
		c.Start(i)
	}
	c.Healthy()
	all("after all died")
}
