package cmd

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"
)

// console is what every command works with: standard input, output and error.
// Data goes to out, which is flushed at the end, and all else to err.
type console struct {
	in       io.Reader
	out      *output
	terminal bool // out is one

	mu  sync.Mutex // guards err; a command's goroutines share it
	err io.Writer
}

// action gives a command what it works with.
func (con *console) action(do func(*console, *cli.Context) error) cli.ActionFunc {
	return func(c *cli.Context) error { return do(con, c) }
}

// warnf writes one line to standard error, whatever is in args. It begins with
// "muster", as the errors of command lines already do.
func (con *console) warnf(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if !strings.HasPrefix(line, "muster") {
		line = "muster: " + line
	}
	con.mu.Lock()
	defer con.mu.Unlock()
	fmt.Fprintln(con.err, plain(line))
}

// line prints one line for people, and an empty one where format is empty.
// Whatever is in args, it stays one line.
func (con *console) line(format string, args ...any) error { return con.out.line(format, args...) }

// printJSON writes v as one line.
func (con *console) printJSON(v any) error {
	line, err := marshalLine(v)
	if err != nil {
		return err
	}
	_, err = con.out.Write(line)
	return err
}

// flush writes what has gathered in out, for commands that go on.
func (con *console) flush() error {
	if err := con.out.Flush(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// input opens what a command reads: the file of that name, or standard input where
// it is "-", with the name that errors are to call it. The caller closes it.
func (con *console) input(name string) (in io.ReadCloser, shown string, err error) {
	if name == "-" {
		return io.NopCloser(con.in), "standard input", nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, "", err
	}
	return f, name, nil
}

// isTerminal reports whether a person, or nobody, reads what is written to w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
