package cmd

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

// program is a process that a command runs on behalf of its user, with the streams of the command.
//
// Where the command is in the foreground of a terminal the two share a process group, and what is typed there
// reaches both. Else the program has a group of its own, and what it starts is told what it is
// told.
type program struct {
	words []string // its name as it was typed, and its arguments
	path  string
	env   []string // variables beside those of this process
	con   *console

	command *exec.Cmd
	alone   bool          // it has a process group of its own
	ended   chan struct{} // closed when it has ended, by the goroutine that has started it and waits for it
	err     error         // of the wait; set before ended is closed
}

// streamsWait is how long what the program wrote may take to be read after its end, where it goes through this process.
const streamsWait = time.Second

// start starts the program. One goroutine starts it and waits for it, in a thread of its own: on Linux the program is killed
// if that thread ends, which it does with this process alone.
func (p *program) start() error {
	p.alone = !inForeground()
	p.command = &exec.Cmd{Path: p.path, Args: p.words, Env: append(os.Environ(), p.env...), WaitDelay: streamsWait,
		Stdin: p.con.in, Stdout: p.con.out, Stderr: p.con.err, SysProcAttr: &syscall.SysProcAttr{Setpgid: p.alone}}
	if p.con.screen != nil {
		p.command.Stdout = p.con.screen // the file itself
	}
	endsWithThread(p.command.SysProcAttr)
	p.ended = make(chan struct{})
	started := make(chan error)
	go func() { // ends with the program
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.command.Start()
		started <- err
		if err == nil {
			p.err = p.command.Wait()
		}
		close(p.ended)
	}()
	return <-started
}

// pass passes a signal on, unless the terminal has sent it to the program too.
func (p *program) pass(s os.Signal) {
	if p.alone || s != os.Interrupt && s != syscall.SIGQUIT {
		p.tell(s.(syscall.Signal))
	}
}

func (p *program) terminate() { p.tell(syscall.SIGTERM) }

func (p *program) kill() { p.tell(syscall.SIGKILL) }

// tell sends a signal. It fails if there is nobody left.
func (p *program) tell(s syscall.Signal) {
	if p.alone {
		_ = syscall.Kill(-p.command.Process.Pid, s)
		return
	}
	_ = p.command.Process.Signal(s)
}

// signalBase is what shells add to the number of the signal that has ended a program.
const signalBase = 128

// status is what the program has ended with, as the command ends.
func (p *program) status() error {
	state := p.command.ProcessState
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return errQuiet(signalBase + exitStatus(ws.Signal()))
	}
	if code := state.ExitCode(); code != 0 {
		return errQuiet(exitStatus(code))
	}
	return nil
}

// signals are those that this process is sent.
type signals struct {
	came  chan os.Signal // from the system, and one from the goroutine that waits for the command's context
	leave func()         // takes no more, and ends that goroutine
}

// passedOn are the signals that a program is told of. Others stop this process too, or do nothing.
var passedOn = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}

// takeSignals takes all signals for a program. Nothing else in this process gets them any more: the second one must not end
// the process while the program runs. Those that are ignored stay so. The end of ctx counts as SIGTERM.
func takeSignals(ctx context.Context) *signals {
	s := &signals{came: make(chan os.Signal, len(passedOn))}
	signal.Reset(passedOn...)
	for _, one := range passedOn {
		if !signal.Ignored(one) {
			signal.Notify(s.came, one)
		}
	}
	stop := context.AfterFunc(ctx, func() {
		select {
		case s.came <- syscall.SIGTERM:
		default: // there are others that were not taken
		}
	})
	s.leave = func() {
		stop()
		signal.Stop(s.came)
	}
	return s
}

func signalName(s os.Signal) string {
	names := map[os.Signal]string{os.Interrupt: "SIGINT", syscall.SIGTERM: "SIGTERM", syscall.SIGHUP: "SIGHUP", syscall.SIGQUIT: "SIGQUIT", syscall.SIGUSR1: "SIGUSR1", syscall.SIGUSR2: "SIGUSR2"}
	return names[s]
}
