// Muster is the one binary of a cluster: a node, or the tool that asks nodes.
//
// main.go decides nothing: [tool.commands] is the table of commands, in the order
// in which help shows them, and each noun has a file cmd_NOUN.go. How command
// lines are read is in cmd_args.go, what they end with in cmd_exit.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/urfave/cli/v2"
)

func main() {
	ctx := hangup(told(context.Background()))
	os.Exit(int(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)))
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
			os.Exit(int(exitRefused))
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

// tool is what every command works with. Data goes to out, which is flushed at
// the end, and all else to err.
type tool struct {
	in       io.Reader
	out      *output
	terminal bool // out is one

	mu  sync.Mutex // guards err; a command's goroutines share it
	err io.Writer
}

// warnf writes one line to standard error, whatever is in args. It begins with
// "muster", as the errors of command lines already do.
func (t *tool) warnf(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if !strings.HasPrefix(line, "muster") {
		line = "muster: " + line
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintln(t.err, plain(line))
}

func (t *tool) commands() []*cli.Command {
	return []*cli.Command{
		t.serveCommand(),
		t.demoCommand(),
		t.statusCommand(),
		t.kvCommand(),
		t.nodeCommand(),
		t.groupCommand(),
		t.slotCommand(),
		t.benchCommand(),
		t.doctorCommand(),
		t.logCommand(),
		t.wireCommand(),
		t.secretCommand(),
		t.versionCommand(),
		t.completionCommand(),
	}
}

// run is main without the process around it.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) exitStatus {
	t := &tool{in: in, out: newOutput(out), terminal: isTerminal(out), err: errs}
	err := t.run(ctx, args)
	if ferr := t.out.Flush(); ferr != nil && err == nil {
		err = fmt.Errorf("write output: %w", ferr)
	}
	if err != nil && !errors.Is(err, errNothingToSay) {
		t.warnf("%s", oneLine(err))
	}
	return statusOf(err)
}

func (t *tool) run(ctx context.Context, args []string) error {
	commands := t.commands()
	words, err := arrange(commands, args)
	if err != nil {
		return err
	}
	app := &cli.App{
		Name: "muster", Usage: "a sharded, replicated key-value store and cluster manager in one binary",
		// arrange has taken these to the command: here they are for help to list.
		Flags:    append(commonFlags(), &cli.BoolFlag{Name: "version", Usage: "print what this binary is"}),
		Commands: commands, Writer: t.out, ErrWriter: t.err,
		HideVersion: true, HideHelpCommand: true,
		ExitErrHandler: func(*cli.Context, error) {}, // run has the one place for it
		OnUsageError:   badOption,
	}
	return app.RunContext(ctx, append([]string{"muster"}, words...))
}
