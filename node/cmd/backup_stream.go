package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"muster/repl/backup"
)

// toOutput names standard output, where the name of a file is wanted.
const toOutput = "-"

// backupStream writes a backup to standard output, and a summary to standard error, for the backup takes the place
// of the row that other commands print.
func backupStream(con *console, c *cli.Context) error {
	if con.terminal {
		return usagef("%s: standard output is a terminal, which a backup would steer; give FILE, or send it elsewhere: muster backup - | ssh HOST 'cat > FILE'", c.Command.HelpName)
	}
	if c.Bool("force") {
		return usagef("%s: --force and standard output; give FILE, or leave --force out", c.Command.HelpName)
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	m, err := takeVerified(c.Context, s, con.out)
	if err == nil {
		err = con.flush()
	}
	if err != nil {
		return fmt.Errorf("%w; what came out is not whole, and muster backup show and restore refuse it", err)
	}
	con.sayf("backup of %s: %s, %s, %s", counted(len(m.Groups), "group"), counted(int(m.Keys()), "key"), counted(int(m.Services()), "service"), showBytes(m.Bytes()))
	return nil
}

// takeVerified writes a backup to out, and reads it meanwhile: nobody can read back what has left.
func takeVerified(ctx context.Context, s *errand, out io.Writer) (*backup.Manifest, error) {
	return verifyWritten(out, func(both io.Writer) error {
		_, err := takeInto(ctx, s, both)
		return err
	})
}

// verifyWritten has write write a backup to out, and verifies all that it writes.
func verifyWritten(out io.Writer, write func(io.Writer) error) (*backup.Manifest, error) {
	read, copied := io.Pipe()
	var m *backup.Manifest
	verified := make(chan error, 1) // from the goroutine below, which ends with the pipe
	go func() {
		var err error
		m, err = backup.Verify(read)
		read.CloseWithError(err)
		verified <- err
	}()
	err := write(io.MultiWriter(out, copied))
	copied.CloseWithError(err)
	verr := <-verified
	switch {
	case err != nil && !errors.Is(err, verr):
		return nil, err
	case verr != nil:
		return nil, fmt.Errorf("standard output, read on its way: %w", verr)
	}
	return m, nil
}
