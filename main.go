// Muster is the one binary of a cluster: a node, or the tool that asks nodes.
//
// main.go decides nothing. It is the process around [cmd.Main], which has the
// commands: its arguments and streams, the signals that end it, its status, and
// that nobody gets its memory.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"muster/node"
	"muster/node/cmd"
)

func main() {
	// Every command may have a key, a password or a value in its memory. Where this fails the system
	// knows no dumps.
	_ = node.SetDumps(false)
	ctx := hangup(told(context.Background()))
	os.Exit(cmd.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// told ends with the first signal that asks the process to end. The second one
// does what it does to a process that takes no notice: it ends what does not end
// by itself. None gets lost, however soon it comes.
func told(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	asked := make(chan os.Signal, 2)
	signal.Notify(asked, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-asked
		cancel()
		second := <-asked
		signal.Reset(os.Interrupt, syscall.SIGTERM)
		if self, err := os.FindProcess(os.Getpid()); err != nil || self.Signal(second) != nil {
			os.Exit(1)
		}
	}()
	return ctx
}

// hangup ends with the terminal, unless nohup was asked to prevent that. Of a
// terminal that closes several signals may come: only the first does something.
func hangup(ctx context.Context) context.Context {
	if signal.Ignored(syscall.SIGHUP) {
		return ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	gone := make(chan os.Signal, 1)
	signal.Notify(gone, syscall.SIGHUP)
	go func() {
		<-gone
		cancel()
	}()
	return ctx
}
