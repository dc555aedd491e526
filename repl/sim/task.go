package sim

import (
	"errors"
	"iter"
	"slices"
	"time"
)

// task is something that a node does beside its host, in steps between which
// time passes: the host and its log go on meanwhile, and it may crash. It is a
// coroutine and runs only while it is resumed, so that a run stays the same.
type task struct {
	number uint64
	next   func() (time.Duration, bool)
	stop   func()
	wait   func(time.Duration) bool // lets time pass; false: the process has ended, return
}

var errEnded = errors.New("the process has ended")

// spawn begins a task.
func (n *node) spawn(do func(*task)) {
	n.c.tasks++
	t := &task{number: n.c.tasks}
	t.next, t.stop = iter.Pull(func(yield func(time.Duration) bool) {
		t.wait = yield
		do(t)
	})
	n.tasks = append(n.tasks, t)
	n.resumeIn(t, 0)
}

func (n *node) resumeIn(t *task, d time.Duration) {
	e := n.event(evTask)
	e.number = t.number
	n.c.after(max(0, n.slow.stuck-n.c.now)+d, e)
}

// resumeTask takes the next step of a task.
func (n *node) resumeTask(number uint64) {
	i := slices.IndexFunc(n.tasks, func(t *task) bool { return t.number == number })
	if i < 0 {
		return
	}
	t := n.tasks[i]
	n.arm()
	n.running = t
	d, more := t.next()
	n.running = nil
	if !more {
		n.tasks = slices.DeleteFunc(n.tasks, func(o *task) bool { return o == t })
	} else {
		n.resumeIn(t, d)
	}
	if f := n.failing.what(); f != "" {
		n.besideFailed(f)
	}
}

// stopTasks ends all tasks where they are, with the power: they clear nothing
// away.
func (n *node) stopTasks() {
	tasks := n.tasks
	n.tasks = nil
	if len(tasks) > 0 {
		n.disk.StopAt(1)
	}
	for _, t := range tasks {
		t.stop()
	}
}

// stepTime is how long one step of a task takes.
func (n *node) stepTime() time.Duration {
	d := n.latency + n.c.chance.between(0, n.latency)
	switch {
	case n.c.now < n.slow.until:
		d += n.c.chance.skewed(20*time.Millisecond, time.Second)
	case n.c.chance.below(8) == 0:
		d += n.c.chance.skewed(time.Millisecond, 5*time.Second)
	}
	return d
}
