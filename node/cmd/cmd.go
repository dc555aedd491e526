// Package cmd is the command line of muster.
//
// [Main] runs one command line; there is nothing else to call. It decides
// nothing about keys, nodes or logs: a command reads its options, asks the
// packages below, mostly through repl/client, and prints what they say.
//
// [tool.commands] is the table of commands, in the order in which help shows them.
// Each noun has a file of its name, its help above its options. How command lines
// are read is in args.go, what several nouns need in options.go, output.go and
// text.go, what they end with in exit.go.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"
)

// Main runs one command line, without the program's name, and returns the status
// that the process has to end with. It reads in where a command wants standard
// input, writes data to out and all else to errs, one line for an error. A
// command ends early when ctx does: serve and demo in good order.
//
// It sees the variables that begin with MUSTER_, and changes nothing of the
// process but what serve does to the garbage collector.
func Main(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	t := &tool{in: in, out: newOutput(out), terminal: isTerminal(out), err: errs}
	err := t.run(ctx, args)
	if ferr := t.out.Flush(); ferr != nil && err == nil {
		err = fmt.Errorf("write output: %w", ferr)
	}
	if err != nil && !errors.Is(err, errNothingToSay) {
		t.warnf("%s", oneLine(err))
	}
	return int(statusOf(err))
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
