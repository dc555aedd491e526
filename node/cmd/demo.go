package cmd

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"muster/node"
	"muster/node/web/ui"
	"muster/repl/client"
	"muster/repl/client/home"
	"muster/repl/trust"
	"muster/repl/wire"
)

const (
	demoNodes = 3
	// demoReadyMax is how long the cluster may take to found itself and take a
	// write: some elections, on a busy machine.
	demoReadyMax = 30 * time.Second
)

func demoCommand(con *console) *cli.Command {
	return ownVerb(cli.Command{
		Name: "demo", Usage: "run three nodes in this terminal, with scratch data",
		Description: `Founds a cluster of three nodes on free ports of this host, and suggests what to try.
It runs until it is interrupted, or nobody reads what it prints; then its data is
removed.`,
		Action: con.action(runDemo),
	})
}

func runDemo(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	// Who reads what it says may go: the signal would end the process at the
	// next word, with its data left behind. It does not tell who has gone: a write to any
	// connection that the other side has closed raises it too, and those of checks are among
	// them. So nobody reads it; output that can't be written ends the demonstration.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)
	dir, err := os.MkdirTemp("", "muster-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	addrs, err := node.FreeAddrs(demoNodes)
	if err != nil {
		return err
	}
	silenceLibraries()
	// The nodes end when the user, or one of them, ends the demonstration;
	// that they then lose each other is no news.
	ctx, over := context.WithCancel(c.Context)
	defer over()
	var level slog.LevelVar
	level.Set(slog.LevelError) // while they look for each other, that one is not ready is no news
	nodes, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, demoNodes) // from each node's goroutine, once
	log := slog.New(slog.NewTextHandler(&heard{con.err, over}, &slog.HandlerOptions{Level: &level}))
	first, forget := scratchUser()
	defer forget()
	for i, addr := range addrs {
		config := node.Default()
		config.Name, config.Listen, config.Cluster = fmt.Sprintf("n%d", i+1), addr, "demo"
		config.Data = filepath.Join(dir, config.Name)
		config.Join, config.Expect = addrs, demoNodes
		config.FirstUser, config.API = first, apiHandler
		go func() {
			err := node.Run(nodes, config, log, func(string) {})
			if err == nil && nodes.Err() == nil {
				err = errors.New("stopped by itself")
			}
			if err != nil {
				err = fmt.Errorf("node %s: %w", config.Name, err)
			}
			ended <- err
			over()
		}()
	}
	err = demoReady(ctx, con, addrs)
	if err == nil {
		level.Set(slog.LevelWarn)
		err = demoHints(con, addrs, dir)
	}
	if err == nil {
		<-ctx.Done() // or a node has logged to a standard error that is closed
		con.line("")
		con.line("stopping")
		con.out.Flush() // whoever has gone does not miss it
	} else if c.Context.Err() != nil {
		err = nil // the user did not wait for it
	}
	level.Set(slog.LevelError)
	stop()
	for range addrs {
		if e := <-ended; e != nil {
			err = e
		}
	}
	return err
}

// scratchUser is [firstUser] of a cluster that is gone afterwards: then forget takes away what was kept
// for it. What demonstrations have left that were killed goes with the next one.
func scratchUser() (first *node.FirstUser, forget func()) {
	var mu sync.Mutex
	ended := make(map[trust.RootID]func()) // guarded by mu
	first = firstUser("demo")
	keep := first.Keep
	first.Keep = func(root, leaf []byte, key *ecdsa.PrivateKey) error {
		mu.Lock()
		defer mu.Unlock()
		id := trust.RootIDOf(root)
		if ended[id] == nil { // each of the nodes keeps it
			h, err := home.Default()
			if err != nil {
				return err
			}
			if ended[id], err = h.Scratch(id); err != nil {
				delete(ended, id)
				return err
			}
		}
		return keep(root, leaf, key)
	}
	if h, err := home.Default(); err == nil {
		h.Sweep()
	}
	return first, func() {
		mu.Lock()
		defer mu.Unlock()
		for _, end := range ended {
			end()
		}
	}
}

// heard is a writer that tells when nobody reads it any more.
type heard struct {
	io.Writer
	gone func()
}

func (h *heard) Write(b []byte) (int, error) {
	n, err := h.Writer.Write(b)
	if err != nil {
		h.gone()
	}
	return n, err
}

// demoReady returns when the cluster takes writes, in every group.
func demoReady(ctx context.Context, con *console, addrs []string) error {
	con.line("founding a cluster of three nodes on %s", strings.Join(addrs, ", "))
	if err := con.flush(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, demoReadyMax)
	defer cancel()
	cl, err := client.Open(client.Options{Endpoints: addrs, Patience: demoReadyMax})
	if err != nil {
		return err
	}
	defer cl.Close()
	for {
		status, err := cl.Status(ctx, addrs[0])
		if err == nil && status.Healthy && announced(status) {
			return nil
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = errors.New("the cluster is not healthy")
			}
			return fmt.Errorf("found the cluster: %w", errors.Join(context.Cause(ctx), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// announced reports whether all nodes have told what they are called, which they do
// once there is a table to put it in.
func announced(a *wire.StatusAnswer) bool {
	return !slices.ContainsFunc(a.Nodes, func(n wire.StatusNode) bool { return n.Version == "" })
}

// demoHints ends with an error where nobody reads them: a demonstration to nobody
// is over.
func demoHints(con *console, addrs []string, dir string) error {
	self := os.Args[0]
	if strings.Contains(self, "go-build") {
		self = "go run ."
	}
	try := func(rest string) { con.line("    %s --endpoints %s %s", self, addrs[0], rest) }
	con.line("three nodes serve; their data is in %s until you stop them with Ctrl-C", dir)
	con.line("")
	con.line("in another terminal, try:")
	try("kv set greeting hello color blue")
	try("kv get greeting -o json")
	try("kv list")
	try("kv incr visits")
	try("kv set session open --ttl 30s")
	try("kv watch")
	host, port, err := net.SplitHostPort(addrs[1])
	if err != nil {
		return err
	}
	try(fmt.Sprintf("service set muster --type tcp --node host=%s,port=%s", host, port))
	try("service get muster")
	try("status")
	try("group list")
	try("top")
	try("bench")
	con.line("")
	con.line("in a browser, which has to be told that it may believe the nodes' certificates:")
	con.line("    https://%s%s", addrs[0], ui.Prefix)
	con.line("log in there as %s, with the password that this prints:", userName())
	try("user password " + userName())
	con.line("")
	con.line("any of the nodes will do:")
	con.line("    export MUSTER_ENDPOINTS=%s", strings.Join(addrs, ","))
	return con.flush()
}
