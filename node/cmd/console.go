package cmd

import (
	"context"
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
	terminal bool     // out is one
	watched  bool     // err is a terminal: what stands there may be drawn anew
	asks     bool     // a person can be asked: in and err are terminals
	screen   *os.File // what out writes to, if that is a file
	// call is the request over HTTP that the command answers; nil on a command line. Such a command has no part in
	// this host: neither files nor variables nor what is kept for its user.
	call *apiCall

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
	con.tell("", line, "\n")
}

// sayf writes one line for a person to standard error: of a plan, or of progress.
func (con *console) sayf(format string, args ...any) {
	con.tell("", fmt.Sprintf(format, args...), "\n")
}

// What moves the cursor of a terminal. It stands around what [console.tell] writes, and
// is ours alone.
const (
	lineStart = "\r"
	lineClear = "\r\x1b[K" // and what stood in the line is gone
)

// redraw puts text in the place of the last line of standard error, which is a
// terminal, and leaves the cursor there.
func (con *console) redraw(text string) { con.tell(lineClear, text, lineStart) }

// tell writes to standard error what is safe on a terminal and in the hands of whoever is sent it,
// whatever is in text, between what moves its cursor.
func (con *console) tell(before, text, after string) {
	con.mu.Lock()
	defer con.mu.Unlock()
	fmt.Fprint(con.err, before+plain(hushed(text))+after)
}

// confirmed asks a person, and reports whether the answer is yes. It waits for it until
// ctx ends.
func (con *console) confirmed(ctx context.Context, question string) bool {
	con.tell("", question+" [y/N] ", "")
	answer := make(chan string, 1)
	go func() { // ends with the line, or with the process
		var line []byte
		var b [1]byte
		// Byte by byte: what stands behind the line is the answer to the next question.
		for {
			n, err := con.in.Read(b[:])
			if n == 1 && b[0] != '\n' && len(line) < answerMax {
				line = append(line, b[0])
			}
			if n == 1 && b[0] == '\n' || err != nil {
				break
			}
		}
		answer <- strings.ToLower(strings.TrimSpace(string(line)))
	}()
	select {
	case a := <-answer:
		return a == "y" || a == "yes"
	case <-ctx.Done():
		con.tell("", "", "\n")
		return false
	}
}

// answerMax bounds what is kept of an answer, in bytes.
const answerMax = 64

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
	return con.call.flush()
}

// fromInput names standard input, where a file or a value is wanted.
const fromInput = "-"

// input opens what a command reads: the file of that name, or standard input where
// it is [fromInput], with the name that errors are to call it. The caller closes it.
func (con *console) input(name string) (in io.ReadCloser, shown string, err error) {
	switch {
	case con.call != nil:
		return io.NopCloser(con.in), con.call.inputName(), nil // whatever the name: no file is open to a request
	case name == fromInput:
		return io.NopCloser(con.in), "standard input", nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, "", err
	}
	return f, name, nil
}

// noDirectory refuses an input that is a directory: to open one is no error, to read it is. want is what it should be.
func noDirectory(in io.Reader, name, want string) error {
	if f, ok := in.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return fmt.Errorf("%s: is a directory; want %s", name, want)
		}
	}
	return nil
}

// contents reads all that [console.input] opens: most bytes at most, which are what the
// error of more names.
func (con *console) contents(file string, most int, limit string) (b []byte, shown string, err error) {
	in, shown, err := con.input(file)
	if err != nil {
		return nil, "", err
	}
	defer in.Close()
	b, err = allOf(in, shown, most, limit)
	return b, shown, err
}

// allOf reads all that is in an input: most bytes at most, which are what the error of more names.
func allOf(in io.Reader, shown string, most int, limit string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(in, int64(most)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", shown, err)
	case len(b) > most:
		return nil, fmt.Errorf("%s: more than %d bytes, which is %s; nothing was written", shown, most, limit)
	}
	return b, nil
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

// isPersons reports whether a person is at a standard stream: it is a terminal, and not
// the device that swallows all and has nothing.
func isPersons(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok || !isTerminal(f) {
		return false
	}
	info, err := f.Stat()
	if err != nil {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}
