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
