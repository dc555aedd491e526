package sim

import (
	"errors"
	"iter"
	"slices"
	"time"
)

// taskList is what a node does beside its host.
type taskList struct {
	n       *node
	tasks   []*task
	running *task // the one that is resumed right now
}

// task is something that a node does beside its host, in steps between which time passes:
// meanwhile the host and its log continue, and the node may crash. It is a coroutine and
// runs only while it is resumed, so that a run is reproducible.
type task struct {
	number uint64
	of     *node
	next   func() (time.Duration, bool)
	stop   func()
	wait   func(time.Duration) bool // lets time pass; false: the process has ended, return
}

var errEnded = errors.New("the process has ended")

// spawn begins a task.
func (b *taskList) spawn(do func(*task)) {
	b.n.c.tasks++
	t := &task{number: b.n.c.tasks, of: b.n}
	t.next, t.stop = iter.Pull(func(yield func(time.Duration) bool) {
		t.wait = yield
		do(t)
	})
	b.tasks = append(b.tasks, t)
	b.resumeIn(t, 0)
}

func (b *taskList) resumeIn(t *task, d time.Duration) {
	e := b.n.event(evTask)
	e.number = t.number
	b.n.c.after(max(0, b.n.files.slow.stuck-b.n.c.now)+d, e)
}

// resume takes the next step of a task.
func (b *taskList) resume(number uint64) {
	i := slices.IndexFunc(b.tasks, func(t *task) bool { return t.number == number })
	if i < 0 {
		return
	}
	t := b.tasks[i]
	b.n.files.arm()
	b.running = t
	d, more := t.next()
	b.running = nil
	if !more {
		b.tasks = slices.DeleteFunc(b.tasks, func(o *task) bool { return o == t })
	} else {
		b.resumeIn(t, d)
	}
	if f := b.n.files.failing.what(); f != "" {
		b.n.writer.besideFailed(f)
	}
}

// stop ends all tasks where they are, with the power off, so that they can't clean up.
func (b *taskList) stop() {
	tasks := b.tasks
	b.tasks = nil
	if len(tasks) > 0 {
		b.n.files.mem.StopAt(1)
	}
	for _, t := range tasks {
		t.stop()
	}
}

// stepTime is how long one step of a task takes.
func (b *taskList) stepTime() time.Duration {
	d := b.n.files.latency + b.n.c.chance.between(0, b.n.files.latency)
	switch {
	case b.n.c.now < b.n.files.slow.until:
		d += b.n.c.chance.skewed(20*time.Millisecond, time.Second)
	case b.n.c.chance.below(8) == 0:
		d += b.n.c.chance.skewed(time.Millisecond, 5*time.Second)
	}
	return d
}

// readLater does a long read, unless too many wait. It usually waits a moment for others;
// a node that is short of processors takes longer.
func (b *taskList) readLater(read func()) (found string) {
	c := b.n.c
	if c.chance.below(fullEvery) == 0 {
		return "many wait"
	}
	b.spawn(func(t *task) {
		d := c.chance.skewed(10*time.Microsecond, 20*time.Millisecond)
		if c.chance.below(8) == 0 {
			d = c.chance.skewed(time.Millisecond, 2*time.Second)
		}
		if t.wait(d) {
			read()
		}
	})
	return ""
}
