package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"
)

// Always is [Rule.Times] of a fault that does not go away.
const Always = -1

// Rule says which calls a fault hits.
type Rule struct {
	Fault Fault
	// Op is the operation: open, create, rename, remove, list, mkdir, syncdir,
	// lock, stat, free, or one of a file: read, write, sync, truncate, size, close.
	// Empty stands for all that the fault can hit.
	Op string
	// Name is a pattern of [path.Match] for the file's path, or for the last
	// part of it. Empty stands for all. A rename has two names.
	Name string
	// At is the first of the matching calls to be hit, counted
	// from when the rule was added. Zero is as one: the first.
	At int
	// Times is how many are hit in a row: zero is as one, [Always] all.
	Times int
	// Offset is where in the file the rot, or the unreadable sector, is. A read
	// that does not reach it does not match. For rot, a negative one means the
	// middle of what is read. Truncated ends the file there.
	Offset int64
	// Delay is how long Slow takes.
	Delay time.Duration
}

// Armed is a rule that a [Faulty] follows.
type Armed struct {
	rule    Rule
	held    chan struct{}
	release chan struct{}

	// Guarded by the Faulty's mu.
	seen, fired int
	letGo       bool
	f           *Faulty
}

// Fired returns how often the rule's fault has fired.
func (a *Armed) Fired() int {
	a.f.mu.Lock()
	defer a.f.mu.Unlock()
	return a.fired
}

// Held is closed when the first call is stuck.
func (a *Armed) Held() <-chan struct{} { return a.held }

// Release ends all calls that the rule holds, and those that it would hold later.
func (a *Armed) Release() {
	a.f.mu.Lock()
	defer a.f.mu.Unlock()
	if !a.letGo {
		a.letGo = true
		close(a.release)
	}
}

// Faulty is a disk that fails on command: it hands every call to
// another FS, except for those that its rules hit. Several goroutines may use it,
// as far as they may use that FS.
type Faulty struct {
	under FS

	mu    sync.Mutex // held over no call of under but Size, and over no wait or hook
	rules []*Armed
	calls int
	fired [faults]int
	trace func(op, name string)
	sleep func(time.Duration)
	files map[string]*past // the past of the files that were written to
}

var _ FS = (*Faulty)(nil)

// NewFaulty returns a disk without faults in front of another.
func NewFaulty(under FS) *Faulty {
	return &Faulty{under: under, sleep: time.Sleep, files: map[string]*past{}}
}

// Add makes the disk follow a rule from now on. If several rules hit a call, it follows
// the one added first; all that match count the call. Add a rule of FailedSync,
// StaleSector or Misdirected before the writes that it is about: only then does the disk
// keep what they overwrite.
func (f *Faulty) Add(r Rule) *Armed {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := &Armed{rule: r, f: f, held: make(chan struct{}), release: make(chan struct{})}
	f.rules = append(f.rules, a)
	return a
}

// Drop ends one rule, and the calls that it holds.
func (f *Faulty) Drop(a *Armed) {
	f.mu.Lock()
	f.rules = slices.DeleteFunc(f.rules, func(o *Armed) bool { return o == a })
	f.mu.Unlock()
	a.Release()
}

// Clear ends all rules, and the calls that they hold.
func (f *Faulty) Clear() {
	f.mu.Lock()
	rules := f.rules
	f.rules = nil
	f.mu.Unlock()
	for _, a := range rules {
		a.Release()
	}
}

// Trace calls t with each operation and its file, before it is done; for a
// rename, with the old name.
func (f *Faulty) Trace(t func(op, name string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trace = t
}

// Sleep makes Slow wait with s instead of [time.Sleep].
func (f *Faulty) Sleep(s func(time.Duration)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sleep = s
}

// Calls returns how many operations there were, including those that were hit.
func (f *Faulty) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// Fired returns how often each fault has fired.
func (f *Faulty) Fired() map[Fault]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[Fault]int{}
	for fault, n := range f.fired {
		if n > 0 {
			all[Fault(fault)] = n
		}
	}
	return all
}

// begin counts a call and returns the fault that it meets, if any. Slow and
// Stuck are over when it returns.
func (f *Faulty) begin(op string, names ...string) (Fault, error) {
	f.mu.Lock()
	f.calls++
	trace, sleep := f.trace, f.sleep
	var met *Armed
	for _, a := range f.rules {
		if a.rule.Fault.befalls(op) && a.rule.names(op, names) && a.count() && met == nil {
			met = a
		}
	}
	fault := Fault(0)
	if met != nil {
		fault = met.rule.Fault
		f.fire(met)
	}
	f.mu.Unlock()
	if trace != nil {
		trace(op, names[0])
	}
	switch fault {
	case Slow:
		sleep(met.rule.Delay)
	case Stuck:
		<-met.release
	case Error, FailedSync, ShortWrite:
		return fault, &fs.PathError{Op: op, Path: names[0], Err: fmt.Errorf("%w: %s", ErrFault, fault)}
	case Full:
		return fault, fmt.Errorf("%s %s: %w", op, names[0], ErrFull)
	case Missing:
		return fault, notExist(op, names[0])
	}
	return fault, nil
}

// fire is called with mu held.
func (f *Faulty) fire(a *Armed) {
	a.fired++
	f.fired[a.rule.Fault]++
	if a.rule.Fault == Stuck && a.fired == 1 {
		close(a.held)
	}
}

// count counts a call that matches and reports whether it is hit.
func (a *Armed) count() bool {
	a.seen++
	first := max(1, a.rule.At)
	return a.seen >= first && (a.rule.Times == Always || a.seen < first+max(1, a.rule.Times))
}

// befalls reports whether a fault hits an operation when it is called, rather
// than when bytes are read.
func (f Fault) befalls(op string) bool {
	switch f {
	case Error, Slow, Stuck:
		return true
	case ShortWrite, LostWrite:
		return op == "write"
	case FailedSync:
		return op == "sync" || op == "syncdir"
	case Full:
		return slices.Contains([]string{"create", "rename", "mkdir", "lock", "write", "sync", "syncdir", "truncate"}, op)
	case Missing:
		return op == "open" || op == "rename" || op == "remove" || op == "stat"
	}
	return false
}

func (r *Rule) names(op string, names []string) bool {
	return (r.Op == "" || r.Op == op) && (r.Name == "" || slices.ContainsFunc(names, r.named))
}

func (r *Rule) named(name string) bool {
	for _, s := range []string{path.Clean(name), path.Base(name)} {
		if ok, _ := path.Match(r.Name, s); ok {
			return true
		}
	}
	return false
}

// Open implements [FS].
func (f *Faulty) Open(name string) (File, error) {
	if _, err := f.begin("open", name); err != nil {
		return nil, err
	}
	return f.opened(name)(f.under.Open(name))
}

// OpenRead implements [FS]. To rules it is an Open.
func (f *Faulty) OpenRead(name string) (Reader, error) { return f.Open(name) }

// Create implements [FS].
func (f *Faulty) Create(name string) (File, error) {
	if _, err := f.begin("create", name); err != nil {
		return nil, err
	}
	file, err := f.under.Create(name)
	if err == nil {
		f.mu.Lock()
		delete(f.files, path.Clean(name))
		f.mu.Unlock()
	}
	return f.opened(name)(file, err)
}

// Rename implements [FS].
func (f *Faulty) Rename(from, to string) error {
	if _, err := f.begin("rename", from, to); err != nil {
		return err
	}
	err := f.under.Rename(from, to)
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		from, to = path.Clean(from), path.Clean(to)
		delete(f.files, to)
		if p := f.files[from]; p != nil {
			f.files[to] = p
			delete(f.files, from)
		}
	}
	return err
}

// Remove implements [FS].
func (f *Faulty) Remove(name string) error {
	if _, err := f.begin("remove", name); err != nil {
		return err
	}
	err := f.under.Remove(name)
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.files, path.Clean(name))
	}
	return err
}

// List implements [FS]. It leaves out missing files.
func (f *Faulty) List(dir string) ([]string, error) {
	if _, err := f.begin("list", dir); err != nil {
		return nil, err
	}
	names, err := f.under.List(dir)
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(f.rules, func(a *Armed) bool {
			return a.rule.Fault == Missing && a.rule.Times == Always && a.rule.Op == "" && a.rule.Name != "" && a.rule.named(path.Join(dir, name))
		})
	}), err
}

// MkdirAll implements [FS].
func (f *Faulty) MkdirAll(dir string) error {
	if _, err := f.begin("mkdir", dir); err != nil {
		return err
	}
	return f.under.MkdirAll(dir)
}

// SyncDir implements [FS].
func (f *Faulty) SyncDir(dir string) error {
	if _, err := f.begin("syncdir", dir); err != nil {
		return err
	}
	return f.under.SyncDir(dir)
}

// Lock implements [FS].
func (f *Faulty) Lock(name string) (io.Closer, error) {
	if _, err := f.begin("lock", name); err != nil {
		return nil, err
	}
	return f.under.Lock(name)
}

// FileID implements [FS].
func (f *Faulty) FileID(name string) (FileID, error) {
	if _, err := f.begin("stat", name); err != nil {
		return FileID{}, err
	}
	return f.under.FileID(name)
}

// Free implements [FS]. While Full befalls every write, nothing is free.
func (f *Faulty) Free(dir string) (int64, error) {
	if _, err := f.begin("free", dir); err != nil {
		return 0, err
	}
	f.mu.Lock()
	full := slices.ContainsFunc(f.rules, func(a *Armed) bool {
		return a.rule.Fault == Full && a.rule.Times == Always && a.rule.Name == "" && (a.rule.Op == "" || a.rule.Op == "write")
	})
	f.mu.Unlock()
	if full {
		return 0, nil
	}
	return f.under.Free(dir)
}
