package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client/lock"
)

func lockCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "lock", Usage: "run a program that holds a lock", ArgsUsage: lockArgs,
		Description: `Waits until nobody else holds the lock, runs CMD, and releases the lock when CMD has ended. NAME is
the key that stands for the lock: keep no data under it. CMD has the standard input, output and
error of this command, and two more variables:

    MUSTER_LOCK_NAME     NAME
    MUSTER_LOCK_TOKEN    the fencing token: it is larger than that of every holder before

The lock is kept alive as long as CMD runs. If this host stops, the lock is free after --ttl. If no
node can be reached for nine tenths of that, or somebody deletes the key, the lock is lost: CMD gets a
SIGTERM, after --grace a SIGKILL, and this command ends with status 10.

A program that was stopped for longer than --ttl may not know yet that another one has the lock. So
what must not be mixed up needs the token. To write keys with one {tag}, with NAME {tag}lock:

    {"if":[{"key":"{tag}lock","version":TOKEN}],"then":[{"set":{"key":"{tag}K","value":"V"}}]}

is a transaction that does nothing once the lock has another token ("muster kv txn -").

Signals are passed on to CMD, and the lock is held until it has ended. Unless this command is in the
foreground of a terminal, CMD has a process group of its own, and all of that group gets them.
If this command is killed with SIGKILL, Linux kills CMD too.

Ends with the status of CMD; with 128 and the number of the signal that ended it; with 126 or 127 if CMD
can't be run, or isn't there; with 5 if another one holds the lock for longer than --wait; with 10 if
the lock was lost.`,
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "ttl", Value: lock.TTLDefault, Usage: "how long `D` the lock stays taken after its holder has crashed, 1s to 24h"},
			&cli.DurationFlag{Name: "wait", DefaultText: "for ever", Usage: "how long `D` to wait for the lock"},
			&cli.BoolFlag{Name: "no-wait", Usage: "do not wait if another one holds the lock"},
			&cli.DurationFlag{Name: "grace", Value: graceDefault, Usage: "how long `D` CMD may take to end when the lock was lost"},
			&cli.StringFlag{Name: "value", DefaultText: "host and process", Usage: "`TEXT` that tells others who holds the lock"},
			&cli.DurationFlag{Name: "timeout", Value: timeoutDefault, Usage: "how long `D` to try with --no-wait, and to release the lock, up to 5m [$MUSTER_TIMEOUT]"},
		},
		Action: con.action(runLock),
	})
}

const (
	lockArgs     = "NAME -- CMD…"
	graceDefault = 10 * time.Second
	// graceMax bounds how long a program may run on without its lock.
	graceMax = time.Hour
)

// lockOrder is what a command line asks for.
type lockOrder struct {
	name    string
	words   []string // CMD, and its arguments
	path    string   // of CMD
	options lock.Options
	wait    time.Duration // 0: for ever
	noWait  bool
	grace   time.Duration
}

func lockOrderOf(c *cli.Context) (*lockOrder, error) {
	if err := wantArgs(c, 2, -1); err != nil {
		return nil, err
	}
	o := &lockOrder{name: c.Args().First(), words: c.Args().Tail(), wait: c.Duration("wait"), noWait: c.Bool("no-wait"), grace: c.Duration("grace"),
		options: lock.Options{TTL: c.Duration("ttl"), Value: []byte(c.String("value"))}}
	switch {
	case o.name == "":
		return nil, usagef("muster lock: NAME is empty; want 1 to %d bytes", lock.NameMax)
	case len(o.name) > lock.NameMax:
		return nil, usagef("muster lock: NAME has %d bytes; want at most %d", len(o.name), lock.NameMax)
	case o.options.TTL < lock.TTLMin || o.options.TTL > lock.TTLMax:
		return nil, usagef("muster lock: --ttl %s; want %s to %s", o.options.TTL, lock.TTLMin, hours(lock.TTLMax))
	case len(o.options.Value) > lock.ValueMax:
		return nil, usagef("muster lock: --value has %d bytes; want at most %d", len(o.options.Value), lock.ValueMax)
	case o.noWait && c.IsSet("wait"):
		return nil, usagef("muster lock: --wait and --no-wait contradict each other; give one")
	case c.IsSet("wait") && o.wait <= 0:
		return nil, usagef("muster lock: --wait %s; want more than 0, or --no-wait", o.wait)
	case o.grace < 0 || o.grace > graceMax:
		return nil, usagef("muster lock: --grace %s; want 0s to %s", o.grace, hours(graceMax))
	}
	if !c.IsSet("value") {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown host"
		}
		o.options.Value = fmt.Appendf(nil, "%s, process %d", host, os.Getpid())
	}
	var err error
	o.path, err = exec.LookPath(o.words[0]) // before others wait for what can't be run
	if err != nil {
		return nil, noProgram(o.words[0], err)
	}
	return o, nil
}

// noProgram is the error of a program that can't be run.
func noProgram(word string, err error) error {
	status := exitCannotRun
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		status = exitNoProgram
	}
	for cause := errors.Unwrap(err); cause != nil; cause = errors.Unwrap(err) {
		err = cause // it repeats the name
	}
	return withStatus(status, "muster lock: can't run %s: %w; want a program and its arguments after --", shown([]byte(word)), err)
}

func runLock(con *console, c *cli.Context) error {
	o, err := lockOrderOf(c)
	if err != nil {
		return err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	told := takeSignals(c.Context)
	defer told.leave()
	held, err := o.acquire(s, told)
	if err != nil {
		return err
	}
	s.answered.Store(true)
	failed := o.hold(s, held, told)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context), s.timeout)
	defer cancel()
	if err := held.Release(ctx); err != nil && !errors.As(err, new(*lock.LostError)) {
		con.warnf("%v; it is free after %s", err, o.options.TTL)
	}
	return failed
}

// acquire gets the lock. A signal ends the wait.
func (o *lockOrder) acquire(s *errand, told *signals) (*lock.Lock, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	type acquired struct {
		held *lock.Lock
		err  error
	}
	came := make(chan acquired, 1)
	go func() { // ends with ctx
		held, err := o.acquireWithin(ctx, s)
		came <- acquired{held, err}
	}()
	select {
	case a := <-came:
		return a.held, a.err
	case sig := <-told.came:
		cancel()
		if a := <-came; a.held != nil {
			release, cancel := context.WithTimeout(context.Background(), s.timeout)
			defer cancel()
			_ = a.held.Release(release) // it ends by itself
		}
		return nil, withStatus(exitNoResult, "muster lock: stopped by %s before it had the lock; CMD was not run", signalName(sig))
	}
}

func (o *lockOrder) acquireWithin(ctx context.Context, s *errand) (*lock.Lock, error) {
	if o.noWait {
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		return lock.Try(ctx, s.client, o.name, o.options)
	}
	if o.wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.wait)
		defer cancel()
	}
	if s.watched {
		held, err := lock.Try(ctx, s.client, o.name, o.options)
		var other *lock.HeldError
		if !errors.As(err, &other) {
			return held, err
		}
		s.sayf("waiting for lock %s, which %s holds", shown([]byte(o.name)), shown(other.Holder.Value))
	}
	return lock.Acquire(ctx, s.client, o.name, o.options)
}

// hold runs the program under the lock, and says what the command ends with.
func (o *lockOrder) hold(s *errand, held *lock.Lock, told *signals) error {
	p := &program{words: o.words, path: o.path, con: s.console,
		env: []string{"MUSTER_LOCK_NAME=" + o.name, "MUSTER_LOCK_TOKEN=" + strconv.FormatUint(uint64(held.Token()), 10)}}
	if err := p.start(); err != nil {
		return noProgram(o.words[0], err)
	}
	lost := held.Context().Done()
	var late <-chan time.Time
	for {
		select {
		case sig := <-told.came:
			p.pass(sig)
		case <-lost:
			s.warnf("muster lock: %v; CMD is told to end", held.Err())
			p.terminate()
			lost, late = nil, time.After(o.grace)
		case <-late:
			s.warnf("muster lock: CMD has not ended within %s, and is killed", o.grace)
			p.kill()
			late = nil
		case <-p.ended:
			if err := held.Err(); err != nil {
				return withStatus(exitLockLost, "muster lock: %w; CMD ran under it until then, and has ended", err)
			}
			return p.status()
		}
	}
}
