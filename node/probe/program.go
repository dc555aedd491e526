package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"muster/shardmap/registry"
)

const (
	// programOutputMax bounds what a program may write, in bytes.
	programOutputMax = 64 << 10
	// programsMax bounds the programs that run at once, including those that were killed and
	// can't end because they wait for a disk.
	programsMax = 512
	// killWait is how long a probe waits for a program that was killed. After that it leaves it to
	// the goroutine that waits for its end.
	killWait = 100 * time.Millisecond
)

// runnable returns what is wrong with a program that the configuration names.
func runnable(name, path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("program %s: %w; name one of this host by its absolute path", name, err)
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("program %s: %s is not a program; want a file that may be executed", name, path)
	}
	return nil
}

// checkProgram runs the program that the node's configuration has under the name spec.Script,
// without a shell, without arguments, and with nothing of the node's environment. Status 0 is up.
// At the deadline, or once it has written too much, the program is killed with its process group;
// and when it ends, the rest of the group is.
func (p *Prober) checkProgram(ctx context.Context, c *conns, spec *registry.Spec) (string, error) {
	path, ok := p.programs[spec.Script]
	if !ok {
		return "", &NotAllowedError{Program: spec.Script}
	}
	if p.running.Add(1) > programsMax {
		p.running.Add(-1)
		return "", &notMadeError{fmt.Sprintf("this node runs %d programs already, the most that it may", programsMax)}
	}
	x, err := start(path, programEnv(spec), func() { p.running.Add(-1) })
	if err != nil {
		p.running.Add(-1)
		return "", &notMadeError{"program can't be run: " + err.Error()}
	}
	text, err := x.finish(ctx)
	if err != nil {
		return "", err
	}
	return x.verdict(text)
}

// finish waits until the program has ended, which it is made to do when ctx ends, and returns what
// it has written.
func (x *program) finish(ctx context.Context) ([]byte, error) {
	said := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(io.LimitReader(x.output, programOutputMax+1)) // on an error, what was read counts
		if len(b) > programOutputMax {
			x.kill()
		}
		said <- b
	}()
	select {
	case <-x.ended:
	case <-ctx.Done():
		x.kill()
		select {
		case <-x.ended:
		case <-time.After(killWait):
		}
	}
	// What the program wrote is in the pipe by now. Nobody waits for a process that has left the
	// group and holds the pipe open.
	_ = x.output.SetReadDeadline(time.Now().Add(killWait))
	text := <-said
	x.output.Close()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(text) > programOutputMax {
		return nil, fmt.Errorf("wrote more than %d KiB, and was killed", programOutputMax>>10)
	}
	return text, nil
}

// verdict returns what a program that has ended says of the target: by its status, and with the
// first line that it wrote.
func (x *program) verdict(text []byte) (string, error) {
	line, _, _ := bytes.Cut(bytes.TrimLeft(text, "\r\n\t "), []byte("\n"))
	state := x.command.ProcessState
	if state.Success() {
		return string(line), nil
	}
	if len(bytes.TrimSpace(line)) > 0 {
		return "", errors.New(string(line))
	}
	return "", errors.New(state.String())
}

// program is a process that runs, with its group.
type program struct {
	command *exec.Cmd
	output  *os.File      // what it writes
	ended   chan struct{} // closed by the goroutine that waits, once command.ProcessState is there

	mu     sync.Mutex
	reaped bool // the number of the group may be another's from now on
}

// start starts a program in a process group of its own. ended is called once it has ended.
func start(path string, env []string, ended func()) (*program, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	x := &program{output: r, ended: make(chan struct{})}
	x.command = &exec.Cmd{Path: path, Args: []string{path}, Env: env, Dir: "/", Stdout: w, Stderr: w,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true}}
	if err := x.command.Start(); err != nil {
		r.Close()
		var call *fs.PathError
		if errors.As(err, &call) { // the path is the operator's: those who read the reason need not know it
			err = call.Err
		}
		return nil, err
	}
	go func() {
		x.reap()
		ended()
		close(x.ended)
	}()
	return x, nil
}

// kill kills the program and its group, if it still runs.
func (x *program) kill() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.reaped {
		x.killGroup()
	}
}

func (x *program) killGroup() {
	_ = syscall.Kill(-x.command.Process.Pid, syscall.SIGKILL) // fails if all of them have ended
}

// programEnv is the whole environment of a program: the names of service and instance, and the
// settings of the instance, host as MUSTER_HOST. Secrets are among them: only its user can read the
// environment of a process, while everyone can read its arguments.
func programEnv(spec *registry.Spec) []string {
	env := []string{"MUSTER_SERVICE=" + spec.Service, "MUSTER_INSTANCE=" + spec.Instance}
	taken := map[string]bool{"MUSTER_SERVICE": true, "MUSTER_INSTANCE": true}
	for _, s := range spec.Settings {
		name := "MUSTER_" + strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z':
				return r - 'a' + 'A'
			case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
				return r
			}
			return '_'
		}, s.Key)
		// Of two settings that get the same name the first counts; none replaces the two above.
		if !taken[name] && !strings.Contains(s.Value, "\x00") {
			taken[name] = true
			env = append(env, name+"="+s.Value)
		}
	}
	return env
}
