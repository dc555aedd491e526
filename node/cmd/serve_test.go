package cmd

import (
	"context"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"muster/node"
)

// firstWrite is a writer that calls a function at its first write.
type firstWrite struct {
	sync.Once
	f func()
}

func (c *firstWrite) Write(b []byte) (int, error) {
	c.Do(c.f)
	return len(b), nil
}

// A server that is checked can have net/http write a line whenever it likes. While a node runs, standard error has
// the node's own lines and no others.
func TestLibrariesAreSilent(t *testing.T) {
	defer log.SetOutput(os.Stderr)
	for _, command := range []string{"serve", "demo"} {
		var written strings.Builder
		log.SetOutput(&written)
		ctx, cancel := context.WithCancel(t.Context())
		args := []string{command}
		said := &firstWrite{f: func() {
			log.Print("http2: what a server has sent")
			cancel()
		}}
		stdout, stderr := io.Writer(said), io.Discard // of demo, once its nodes are being founded
		if command == "serve" {
			addrs, err := node.FreeAddrs(1)
			if err != nil {
				t.Fatal(err)
			}
			args = append(args, "--listen", addrs[0], "--data", filepath.Join(t.TempDir(), "data"))
			stdout, stderr = io.Discard, said
		}
		if status := Main(ctx, args, strings.NewReader(""), stdout, stderr); status != int(exitDone) {
			t.Errorf("%s: status %d", command, status)
		}
		cancel()
		if written.Len() > 0 {
			t.Errorf("%s: %s", command, &written)
		}
	}
}

// A person who names a file or a directory that a node can't use learns that when it starts, in one line with the option and
// what would be right, and not when the node needs it.
func TestServeRefusesFilesThatItCanNotUse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const none = "/proc/nothing"
	for _, tt := range []struct{ options, want, next string }{
		{"--data " + file, "make data directory " + file, "name another directory with --data"},
		{"--data " + none, "make data directory " + none, "name another directory with --data"},
		{"--backup-dir " + file, "--backup-dir: make directory " + file, "name a directory that this node can write to, or leave it out for "},
		{"--backup-dir " + none, "--backup-dir: mkdir " + none, "name a directory that this node can write to, or leave it out for "},
		{"--config " + none, "config file: stat " + none, "name a file that this user can read with --config"},
		{"--secret-file " + none, "secret file: open " + none, "muster secret --file " + none},
		{"--token-file " + none, "token file: open " + none, "put into " + none + " what muster token create"},
		{"--tls-cert " + none + " --tls-key " + file + " --tls-ca " + file, "--tls-cert: open " + none, ""},
		{"--check lag=" + none, "--check: program lag: stat " + none, "name one of this host by its absolute path"},
		{"--check lag=" + file, "--check: program lag: " + file, "want a file that may be executed"},
	} {
		args := []string{"serve", "--listen", "127.0.0.1:0"}
		if !strings.HasPrefix(tt.options, "--data ") {
			args = append(args, "--data", filepath.Join(t.TempDir(), "data"))
		}
		r := muster(t, append(args, strings.Fields(tt.options)...)...)
		r.refused(t, exitRefused, tt.want)
		if !strings.Contains(r.stderr, tt.next) || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: %s", tt.options, r.stderr)
		}
	}
}
