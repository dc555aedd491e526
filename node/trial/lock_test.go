package trial

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client"
	"muster/repl/client/lock"
)

var lockFlag = flag.Duration("lock", 0, "for how `long` TestLockFight has processes fight for a lock while its holder is stopped, again and again; 0: some seconds")

const (
	contenderVariable = "MUSTER_TRIAL_LOCK" // has the endpoints, in a process that fights for a lock
	contendedLock     = "{fight}lock"
	contendedKey      = "{fight}last"
	// lockWork is what a contender does between a look at its lock and what it does next, where most of its pauses begin.
	lockWork = 2 * time.Millisecond
)

// contend takes a lock, does what only its holder may, and releases it, until standard input ends. It says so in lines "PID EVENT
// TOKEN NUMBER", each written at once. In every few dozen looks it stops itself between the look and what it does next, as a
// pause of a process may begin anywhere.
func contend() {
	ctx, stop := context.WithCancel(context.Background())
	go func() { // until the test ends the process, or lets it end
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		stop()
	}()
	say := func(event string, token lock.Token, number int64) {
		fmt.Fprintf(os.Stdout, "%d %s %d %d\n", os.Getpid(), event, token, number)
	}
	c, err := client.Open(client.Options{Endpoints: strings.Split(os.Getenv(contenderVariable), ",")})
	if err != nil {
		panic(err)
	}
	defer c.Close()
	for ctx.Err() == nil {
		say("wants", 0, 0)
		held, err := lock.Acquire(ctx, c, contendedLock, lock.Options{TTL: lock.TTLMin})
		if err != nil {
			if ctx.Err() == nil {
				panic(err)
			}
			return
		}
		say("has", held.Token(), 0)
		for range rand.IntN(60) {
			if held.Err() != nil || ctx.Err() != nil {
				break
			}
			looked := time.Now()
			if rand.IntN(40) == 0 {
				say("stops", held.Token(), 0)
				_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			}
			time.Sleep(lockWork)
			// What nobody guards: the lock was good at the look.
			say("acts", held.Token(), time.Since(looked).Milliseconds())
			done, err := lock.Write(context.Background(), c, held.Name(), held.Token(),
				client.OpSet([]byte(contendedKey), fmt.Append(nil, held.Token()), client.SetOptions{}))
			switch {
			case errors.As(err, new(*lock.LostError)):
				say("refused", held.Token(), 0)
			case err != nil:
				panic(err)
			default:
				say("written", held.Token(), int64(done.Version))
			}
		}
		if err := held.Release(context.Background()); errors.As(err, new(*lock.LostError)) {
			say("lost", held.Token(), 0)
		}
	}
}

// lockFight is what the test has heard of its contenders.
type lockFight struct {
	c     *clustertest.Cluster
	given map[lock.Token]bool
	most  lock.Token         // of those that a contender had
	since map[int]lock.Token // by process: most, when it last wanted the lock
	after map[int]string     // by process: the event that must come next; "": any

	guarded            []guardedWrite
	pauses, overtaken  int // of holders, and those during which another one got the lock
	overlaps, rejected int

	kills  int
	killed int // the node that is not there, from 1; 0: all are
}

// killEvery is how many pauses lie between two kills of a node.
const killEvery = 10

// disturb kills the node that leads most in every tenth pause, and starts it again once a process has got the lock without it.
func (f *lockFight) disturb(event string) {
	f.c.T.Helper()
	switch {
	case event == "stops" && f.pauses%killEvery == 1 && f.killed == 0:
		f.killed = f.c.Leads(0) + 1
		f.c.Kill(f.killed - 1)
		f.kills++
	case event == "has" && f.killed != 0:
		f.c.Start(f.killed - 1)
		f.killed = 0
	}
}

type guardedWrite struct {
	version int64
	token   lock.Token
}

// slack is how long a holder surely has to act after a look at its lock: the margin is a tenth of the TTL, and clocks of
// one host agree.
const slack = int64(lock.TTLMin/time.Millisecond) / 10

// hear takes one event, and holds it to the rules.
func (f *lockFight) hear(pid int, event string, token lock.Token, number int64) {
	t := f.c.T
	if want := f.after[pid]; want != "" && event != want {
		t.Errorf("process %d %s with fencing token %d; want that it is %s", pid, event, token, want)
	}
	f.after[pid] = ""
	switch event {
	case "wants":
		f.since[pid] = f.most
	case "has":
		if f.given[token] || token <= f.since[pid] {
			t.Errorf("fencing token %d was given to a process that wanted the lock after %d was given; the first time: %v", token, f.since[pid], !f.given[token])
		}
		f.given[token] = true
		f.most = max(f.most, token)
	case "acts":
		if token == f.most {
			break
		}
		// Somebody else has the lock: the token shows it. That must be due to a pause, and what is guarded
		// must be refused.
		f.overlaps++
		if number < slack*9/10 {
			t.Errorf("process %d acted with fencing token %d %d ms after a look at its lock, and another one had %d", pid, token, number, f.most)
		}
		f.after[pid] = "refused"
	case "written":
		f.guarded = append(f.guarded, guardedWrite{number, token})
	case "refused":
		f.rejected++
	}
}

// startContender starts a process that fights for the lock, and returns what has it end.
func startContender(c *clustertest.Cluster, said *os.File) (end func()) {
	t := c.T
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), contenderVariable+"="+c.Endpoints())
	cmd.Stdout, cmd.Stderr = said, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return func() {
		in.Close()
		cmd.Process.Signal(syscall.SIGCONT)
	}
}

// Two processes fight for a lock, and the one that has it is stopped again and again, for shorter or longer than the
// lock lasts, while nodes are killed. A process that was stopped between a look at its lock and what it does next can't know that another one has it: that
// is the only overlap there may be, its fencing token shows it, and what is guarded by the lock refuses it. No token is given
// twice, or after a larger one.
func TestLockFight(t *testing.T) {
	t.Parallel()
	lasts := 5 * time.Second
	if *lockFlag > 0 {
		lasts = *lockFlag
	}
	c := clustertest.Start(t, 3)
	lines, said, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer lines.Close()
	ends := []func(){startContender(c, said), startContender(c, said)}
	said.Close() // theirs are left
	f := &lockFight{c: c, given: map[lock.Token]bool{}, since: map[int]lock.Token{}, after: map[int]string{}}
	began := time.Now()
	stopped := 0 // the process that has stopped itself, until another one has the lock
	late := time.AfterFunc(lasts+clustertest.ReadyMax, func() { lines.SetReadDeadline(time.Now()) })
	defer late.Stop()
	in := bufio.NewScanner(lines)
	for in.Scan() && !t.Failed() {
		var pid int
		var event string
		var token lock.Token
		var number int64
		if _, err := fmt.Sscan(in.Text(), &pid, &event, &token, &number); err != nil {
			t.Fatalf("line %q: %v", in.Text(), err)
		}
		f.hear(pid, event, token, number)
		switch {
		case event == "stops" && f.pauses%3 == 2: // for less than the lock lasts
			f.pauses++
			time.AfterFunc(rand.N(lock.TTLMin/2), func() { syscall.Kill(pid, syscall.SIGCONT) })
		case event == "stops":
			f.pauses++
			stopped = pid
		case event == "has" && stopped != 0 && pid != stopped && token == f.most: // and not one whose answer came late
			f.overtaken++
			syscall.Kill(stopped, syscall.SIGCONT)
			stopped = 0
		}
		f.disturb(event)
		if time.Since(began) > lasts && stopped == 0 {
			for _, end := range ends {
				end()
			}
			ends = nil
		}
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	if f.kills == 0 || f.overtaken < int(lasts/(5*time.Second)) || f.overlaps == 0 || f.rejected < f.overlaps {
		t.Errorf("%d pauses, %d of them with another holder; %d overlaps, %d guarded writes refused: too few to show anything", f.pauses, f.overtaken, f.overlaps, f.rejected)
	}
	slices.SortFunc(f.guarded, func(a, b guardedWrite) int { return int(a.version - b.version) })
	for i := 1; i < len(f.guarded); i++ {
		if was, is := f.guarded[i-1], f.guarded[i]; is.token < was.token || is.version == was.version {
			t.Errorf("a guarded write with fencing token %d at version %d came after one with %d at %d", is.token, is.version, was.token, was.version)
		}
	}
	t.Logf("%d acquisitions, %d pauses, %d of them with another holder, %d overlaps; %d guarded writes, %d refused; %d kills",
		len(f.given), f.pauses, f.overtaken, f.overlaps, len(f.guarded), f.rejected, f.kills)
}
