// Package cmd is the command line of muster.
//
// [Main] runs one command line; there is nothing else to call. It decides
// nothing about keys, nodes or logs: a command reads its options, asks the
// packages below, mostly through repl/client, and prints what they say.
//
// [commands] is the table of commands. Each noun has a file of its name, its help
// above its options, and is made of functions over two things: the [console], which
// is standard input, output and error, and where nodes are asked the [errand], which
// is one command's work with a cluster. How command lines are read is in args.go,
// what options several nouns have in options.go, what reaches the terminal in
// output.go and text.go, what a command ends with in exit.go.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"
)

// Main runs one command line, without the program's name, and returns the status
// that the process has to end with. It reads in where a command wants standard
// input, writes data to out and all else to errs, one line for an error. A
// command ends early when ctx does: serve and demo in good order.
//
// It sees the variables that begin with MUSTER_, and changes nothing of the
// process but what serve does to the garbage collector, and that lock takes the signals: a program
// that it runs gets them.
func Main(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	con := &console{in: in, out: newOutput(out), terminal: isTerminal(out), err: errs, watched: isPersons(errs)}
	con.asks = con.watched && isPersons(in)
	con.screen, _ = out.(*os.File)
	err := runLine(ctx, con, args)
	if ferr := con.out.Flush(); ferr != nil && err == nil {
		err = fmt.Errorf("write output: %w", ferr)
	}
	if err != nil && !errors.Is(err, errNothingToSay) {
		con.warnf("%s", oneLine(err))
	}
	return int(statusOf(err))
}

// commands is the table of commands, in the order in which help shows them.
func commands(con *console) (all []*cli.Command) {
	for _, make := range makers() {
		all = append(all, make(con))
	}
	return all
}

// makers make the commands of the table, each with its verbs. A command belongs to one command line, or to one
// request over HTTP: reading its options changes it.
func makers() []func(*console) *cli.Command {
	return []func(*console) *cli.Command{
		serveCommand,
		demoCommand,
		statusCommand,
		topCommand,
		kvCommand,
		nodeCommand,
		groupCommand,
		leaseCommand,
		lockCommand,
		serviceCommand,
		slotCommand,
		dbCommand,
		policyCommand,
		windowCommand,
		shardCommand,
		queryCommand,
		pointCommand,
		hintCommand,
		jobCommand,
		settingCommand,
		initCommand,
		userCommand,
		roleCommand,
		authCommand,
		namespaceCommand,
		backupCommand,
		restoreCommand,
		benchCommand,
		doctorCommand,
		checkCommand,
		logCommand,
		auditCommand,
		recoverCommand,
		wireCommand,
		secretCommand,
		tokenCommand,
		caCommand,
		certCommand,
		versionCommand,
		completionCommand,
	}
}

func runLine(ctx context.Context, con *console, args []string) error {
	all := commands(con)
	words, err := arrange(all, args)
	if err != nil {
		return err
	}
	app := &cli.App{
		Name: "muster", Usage: "a sharded, replicated key-value store and cluster manager in one binary",
		// arrange has taken these to the command: here they are for help to list.
		Flags:    append(commonFlags(), &cli.BoolFlag{Name: "version", Usage: "print what this binary is"}),
		Commands: all, Writer: con.out, ErrWriter: con.err,
		HideVersion: true, HideHelpCommand: true,
		ExitErrHandler: func(*cli.Context, error) {}, // Main has the one place for it
		OnUsageError:   badOption,
	}
	return app.RunContext(ctx, append([]string{"muster"}, words...))
}
