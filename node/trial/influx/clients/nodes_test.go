package clients

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// portsFrom is where the ports of nodes are looked for: below those that the system gives to connections.
const portsFrom = 21000

// nodes starts three nodes of muster as processes, and returns the address of one of them. They end with the test.
func nodes(t *testing.T) (address string) {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "muster")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".")
	build.Dir = "../../../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	addrs := freeAddrs(t, 3)
	for i, addr := range addrs {
		name := fmt.Sprint("n", i+1)
		c := exec.Command(binary, "serve", "--insecure", "--name", name, "--listen", addr, "--data", filepath.Join(dir, name),
			"--expect", fmt.Sprint(len(addrs)), "--join", strings.Join(addrs, ","))
		var said bytes.Buffer
		c.Stdout, c.Stderr = &said, &said
		c.Env = append(os.Environ(), "HOME="+dir, "MUSTER_INSECURE=true")
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			c.Process.Kill()
			c.Wait()
			if t.Failed() {
				t.Logf("%s logged\n%s", name, &said)
			}
		})
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		// A list of databases has to come from a leader of the meta group.
		c := exec.CommandContext(ctx, binary, "db", "list", "--insecure", "--endpoints", addrs[0])
		c.Env = append(os.Environ(), "HOME="+dir)
		out, err := c.CombinedOutput()
		if err == nil {
			return "http://" + addrs[0]
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no cluster after %v: %v\n%s", patience, err, out)
		case <-time.After(100 * time.Millisecond): // until it is asked again
		}
	}
}

// freeAddrs returns addresses of this host that nobody listens at.
func freeAddrs(t *testing.T, n int) (addrs []string) {
	t.Helper()
	for port := portsFrom + os.Getpid()%10000; len(addrs) < n; port++ {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			continue
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs
}

// stands are the stores that clients must not be able to tell from InfluxDB: one in memory, and three nodes.
var stands = []struct {
	name  string
	begin func(t *testing.T) (address string)
}{
	{"store in memory", func(t *testing.T) string {
		address, _ := serve(t, NewStore(begun.UnixNano()))
		return address
	}},
	{"three nodes", nodes},
}

// Telegraf makes its database on three nodes, has what they refuse for good dropped, and stores the rest.
func TestTelegrafAndNodes(t *testing.T) {
	address := nodes(t)
	o := output(t, address)
	for i, usage := range []any{1.5, "text", 2.5} {
		if err := o.Write(sample(i, usage)); err != nil {
			t.Errorf("batch %d is kept: %v", i, err)
		}
	}
	if got, want := ask(t, address, "telegraf", "SELECT usage FROM cpu"), "name,tags,time,usage\ncpu,,1600000000,1.5\ncpu,,1600000002,2.5\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
