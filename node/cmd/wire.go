package cmd

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"muster/repl/wire"
)

func wireCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "wire", Usage: "look at the message protocol"},
		localVerb(cli.Command{
			Name: "decode", Usage: "print what frames say", ArgsUsage: "FILE|-",
			Description: `FILE, or standard input if it is "-", holds the bytes of one direction of a
connection, as they are or in hexadecimal with any space between, with or
without the preamble; in hexadecimal, lines that begin with # are ignored.
Prints one line for each frame and one for each of its fields. docs/protocol.md
explains them.

With -o json one object per line: {"line":…}`,
			Action: con.action(wireDecode),
		}))
}

// dumpMax bounds what wire decode reads, in bytes: some frames of the largest
// kind in hexadecimal.
const dumpMax = 256 << 20

func wireDecode(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	in, name, err := con.input(c.Args().First())
	if err != nil {
		return err
	}
	defer in.Close()
	dump, err := io.ReadAll(io.LimitReader(in, dumpMax+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if len(dump) > dumpMax {
		return fmt.Errorf("%s: more than %d bytes; cut it between frames", name, dumpMax)
	}
	if len(dump) == 0 {
		return fmt.Errorf("%s: empty; want frames, as they are or in hexadecimal", name)
	}
	lines, err := wire.Describe(unhex(dump))
	for _, line := range lines {
		if asJSON {
			if err := con.printJSON(struct {
				Line string `json:"line"`
			}{line}); err != nil {
				return err
			}
			continue
		}
		if err := con.line("%s", line); err != nil {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// unhex turns hexadecimal text with space in it into bytes; what is not such
// text is bytes already. The two can't be confused: a frame's header has zeros.
func unhex(dump []byte) []byte {
	digits := make([]byte, 0, len(dump))
	for line := range bytes.Lines(dump) {
		if bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("#")) {
			continue
		}
		for _, b := range line {
			switch b {
			case ' ', '\t', '\r', '\n':
			default:
				digits = append(digits, b)
			}
		}
	}
	raw := make([]byte, len(digits)/2)
	if n, err := hex.Decode(raw, digits); err != nil || n == 0 {
		return dump
	}
	return raw
}
