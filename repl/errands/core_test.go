package errands

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/puretest"
	"muster/shardmap"
)

// The core must decide by nothing but what it is told.
func TestCoreIsPure(t *testing.T) {
	puretest.Check(t, []string{"cmp", "errors", "fmt", "math", "slices", "strconv", "strings", "muster/raft", "muster/shardmap"},
		map[string][]string{"time": {"Duration", "Millisecond", "Second", "Hour", "Unix", "Parse"}})
}

// world is a meta group with its log, nodes with a core each, and what they were told to do. Any of the nodes may
// believe to lead; commands of the one that does are applied, those of the others are lost.
type world struct {
	meta  *shardmap.TableMachine
	at    raft.LogID
	cores []*Core
	lead  int // of cores; -1: nobody
	now   Now
	rnd   *rand.Rand
	// runs are what the cores have started, by number, and files what is in the directories.
	runs   []map[uint64]*doing
	files  map[string]int             // whole backups by name: by which node
	begun  map[string]bool            // by name: a backup was begun under it
	keys   map[shardmap.Slot][]uint64 // the versions of the keys with the prefix
	asleep []int                      // by node: turns for which it does and hears nothing, as a process that is stopped
	// version is the last one of every slot, and over that which it was when the delete was done; 0: it is not.
	version, over uint64
	lost          error // a key went that was written after that
}

// doing is an errand that a node does.
type doing struct {
	job    shardmap.Job
	slot   shardmap.Slot
	keys   uint64
	bound  uint64 // of a delete: the last version when it looked; 0: it has not yet
	sends  bool   // it may delete
	passed time.Duration
	ends   time.Duration
}

const worldNodes = 3

func newWorld(seed uint64) (*world, error) {
	w := &world{meta: shardmap.NewTableMachine(), lead: -1, rnd: rand.New(rand.NewPCG(seed, 43)), files: map[string]int{}, begun: map[string]bool{}, keys: map[shardmap.Slot][]uint64{}, version: 1, asleep: make([]int, worldNodes)}
	w.now.Wall = 1_790_000_000
	f := &shardmap.Found{Cluster: "shop", ClusterID: 7, Groups: 1, ValueMax: 1 << 20}
	for i := range worldNodes {
		f.Nodes = append(f.Nodes, shardmap.TableNode{ID: raft.NodeID(i + 1), Name: fmt.Sprintf("n%d", i+1), Addr: fmt.Sprintf("h%d:1", i+1), Role: shardmap.NodeServer, Level: shardmap.Level, Start: 1})
		w.cores, w.runs = append(w.cores, New(raft.NodeID(i+1))), append(w.runs, map[uint64]*doing{})
	}
	b, err := shardmap.AppendFound(nil, f)
	if err != nil {
		return nil, err
	}
	w.apply(b)
	for _, n := range f.Nodes {
		if err := w.order(shardmap.AppendAnnounce(nil, &shardmap.Announce{Node: n.ID, Name: n.Name, Addr: n.Addr, Start: 2, Level: shardmap.Level})); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *world) table() *shardmap.Table { return w.meta.Table() }

func (w *world) apply(b []byte) (refused error) {
	w.at = raft.LogID{Term: 1, Index: w.at.Index + 1}
	r, err := w.meta.Apply(w.at, b)
	if err != nil {
		panic(err)
	}
	if r.Refused != nil {
		return r.Refused
	}
	return nil
}

func (w *world) order(b []byte, err error) error {
	if err != nil {
		return err
	}
	return w.apply(b)
}

// elect has another node lead; the one before may not hear of it for a while, and may be stopped, in the middle of
// what it does, until long after the other one has finished it.
func (w *world) elect(n int) {
	if w.lead >= 0 && w.lead != n {
		switch w.rnd.IntN(4) {
		case 0, 1:
			w.cores[w.lead].Lead(false)
		case 2:
			w.asleep[w.lead] = w.rnd.IntN(300)
		}
	}
	if n >= 0 && w.asleep[n] > 0 {
		n = -1
	}
	w.lead = n
	if n >= 0 {
		w.cores[n].Lead(true)
	}
}

// turn has each node take its turn. It returns what must not have happened.
func (w *world) turn() error {
	for i, c := range w.cores {
		if w.asleep[i] > 0 {
			if w.asleep[i]--; w.asleep[i] == 0 {
				w.work(i) // before it hears anything
			}
			continue
		}
		if i == w.lead || w.rnd.IntN(3) == 0 {
			c.Table(w.table())
		}
		if i != w.lead && w.rnd.IntN(4) == 0 {
			c.Lead(false)
		}
		w.work(i)
		actions, _ := c.Turn(w.now)
		for _, a := range actions {
			switch a.Kind {
			case Propose:
				if i == w.lead && w.rnd.IntN(5) > 0 {
					_ = w.apply(a.Payload) // what is refused the core sees by the table
				}
			case Start:
				for n, d := range w.runs[i] {
					if d.job.Kind == a.Job.Kind {
						return fmt.Errorf("node %d begins job %d as %d while %d runs", i, a.Job.ID, a.Number, n)
					}
				}
				if !c.leads {
					return fmt.Errorf("node %d begins job %d and does not lead", i, a.Job.ID)
				}
				if a.Job.Kind == shardmap.JobBackup && a.Job.Errand.Node != raft.NodeID(i+1) {
					return fmt.Errorf("node %d writes the file of node %s", i, a.Job.Errand.Node)
				}
				if a.Job.Kind == shardmap.JobDelete && w.rnd.IntN(4) == 0 { // it is stopped before it has looked at anything
					w.asleep[i], w.lead = 1+w.rnd.IntN(300), -1
				}
				if f := a.Job.Errand.File; a.Job.Kind == shardmap.JobBackup {
					if w.begun[f] {
						return fmt.Errorf("two backups are begun as %s", f)
					}
					w.begun[f] = true
				}
				w.runs[i][a.Number] = &doing{job: a.Job, slot: a.Job.Errand.Slot, ends: time.Duration(w.rnd.IntN(5000)) * time.Millisecond}
			case Send:
				d := w.runs[i][a.Number]
				if d == nil {
					continue // it has failed meanwhile
				}
				if d.sends || d.job.Kind != shardmap.JobDelete {
					return fmt.Errorf("node %d is to send job %d again", i, d.job.ID)
				}
				d.sends = true
			case Stop:
				if d := w.runs[i][a.Number]; d != nil {
					delete(w.runs[i], a.Number)
					c.Ended(a.Number, Outcome{Progress: Progress{Slot: d.slot, Keys: d.keys}, Err: errors.New("stopped")})
				}
			}
		}
	}
	step := time.Duration(50+w.rnd.IntN(400)) * time.Millisecond
	w.now.Host += step
	w.now.Wall = 1_790_000_000 + int64(w.now.Host/time.Second)
	return w.check()
}

// deletes has a delete come some slots further. One that was not asked to look takes whatever there is.
func (w *world) deletes(d *doing) {
	if d.bound == 0 {
		d.bound = w.version
	}
	for range w.rnd.IntN(1500) {
		if d.slot == shardmap.Slots {
			return
		}
		w.keys[d.slot] = slices.DeleteFunc(w.keys[d.slot], func(v uint64) bool {
			if v > d.bound {
				return false
			}
			if d.keys++; w.over > 0 && v > w.over {
				w.lost = fmt.Errorf("job %d was done at version %d, and a key of version %d went", d.job.ID, w.over, v)
			}
			return true
		})
		d.slot++
	}
}

// old counts the keys that the delete is about: those that were there when it was ordered.
func (w *world) old() (n int) {
	for _, versions := range w.keys {
		for _, v := range versions {
			if v == 1 {
				n++
			}
		}
	}
	return n
}

// work has a node go on with what it does.
func (w *world) work(i int) {
	for n, d := range w.runs[i] {
		d.passed += 200 * time.Millisecond
		if d.job.Kind == shardmap.JobDelete {
			if d.bound == 0 && w.rnd.IntN(3) > 0 {
				d.bound = w.version
				w.cores[i].Bounded(n)
			}
			if d.sends {
				w.deletes(d)
			}
		}
		p := Progress{Slot: d.slot, Keys: d.keys}
		w.cores[i].Progress(n, p)
		whole := d.job.Kind == shardmap.JobDelete && d.slot == shardmap.Slots || d.job.Kind == shardmap.JobBackup && d.passed > d.ends
		switch {
		case whole:
			if p.Bytes = 100; d.job.Kind == shardmap.JobBackup {
				w.files[d.job.Errand.File] = i
			}
			delete(w.runs[i], n)
			w.cores[i].Ended(n, Outcome{Progress: p})
		case w.rnd.IntN(30) == 0:
			delete(w.runs[i], n)
			w.cores[i].Ended(n, Outcome{Progress: p, Err: errors.New("a group has no leader")})
		}
	}
}

// check says what a table says that is not so.
func (w *world) check() error {
	if w.lost != nil {
		return w.lost
	}
	t := w.table()
	var backups []shardmap.Job
	for _, j := range t.Jobs {
		switch {
		case j.Kind == shardmap.JobDelete && j.State.Finished() && w.over == 0:
			if w.over = w.version; j.State == shardmap.JobDone && w.old() > 0 {
				return fmt.Errorf("job %d is done, and %d keys are left", j.ID, w.old())
			}
		case j.Kind == shardmap.JobBackup && j.State == shardmap.JobDone:
			if _, ok := w.files[j.Errand.File]; !ok {
				return fmt.Errorf("job %d is done, and there is no %s", j.ID, j.Errand.File)
			}
			backups = append(backups, j)
		}
	}
	for i := 1; i < len(backups); i++ {
		if every := int64(t.BackupEvery() / time.Second); backups[i].Errand.Scheduled && every > 0 && backups[i].Errand.At-backups[i-1].Errand.At < every {
			return fmt.Errorf("backups %d and %d are %d s apart, want %d", backups[i-1].ID, backups[i].ID, backups[i].Errand.At-backups[i-1].Errand.At, every)
		}
	}
	return nil
}

// randomWorld lets leaders change, commands be lost and errands fail in any order, and wants every job to come to its end and
// the schedule to be kept, each backup once in its time.
func randomWorld(seed uint64) error {
	w, err := newWorld(seed)
	if err != nil {
		return err
	}
	for s := range shardmap.Slot(shardmap.Slots) {
		w.keys[s] = []uint64{1}
	}
	w.elect(0)
	if err := w.order(shardmap.AppendSetting(nil, &shardmap.Setting{Name: "backup-every", Value: "1m"})); err != nil {
		return err
	}
	if err := w.order(shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: shardmap.JobDelete, Asks: shardmap.ErrandAsks{Prefix: "a", Keys: shardmap.Slots}})); err != nil {
		return err
	}
	id := w.at.Index
	for turn := range 2500 {
		for range w.rnd.IntN(4) { // users write all the time
			w.version++
			s := shardmap.Slot(w.rnd.IntN(shardmap.Slots))
			w.keys[s] = append(w.keys[s], w.version)
		}
		switch w.rnd.IntN(60) {
		case 0:
			w.elect(w.rnd.IntN(worldNodes))
		case 1:
			w.elect(-1)
		case 2:
			w.elect(w.rnd.IntN(worldNodes))
			j, _ := w.table().Job(id)
			if s := []shardmap.JobState{shardmap.JobPaused, shardmap.JobRunning}[w.rnd.IntN(2)]; !j.State.Finished() {
				_ = w.order(shardmap.AppendJobState(nil, &shardmap.SetJobState{ID: id, State: s}))
			}
		}
		if err := w.turn(); err != nil {
			return fmt.Errorf("turn %d: %w", turn, err)
		}
	}
	j, _ := w.table().Job(id)
	if j.State == shardmap.JobPaused {
		if err := w.order(shardmap.AppendJobState(nil, &shardmap.SetJobState{ID: id, State: shardmap.JobRunning})); err != nil {
			return err
		}
	}
	clear(w.asleep)
	w.elect(0)
	for i := range w.cores {
		w.cores[i].Lead(i == 0)
	}
	for range 1000 {
		if err := w.turn(); err != nil {
			return fmt.Errorf("at the end: %w", err)
		}
	}
	if j, _ := w.table().Job(id); j.State != shardmap.JobDone && !(j.State == shardmap.JobFailed && strings.Contains(j.Why, "no leader")) {
		return fmt.Errorf("the delete is %+v", j)
	}
	good, _ := w.table().LastBackup()
	if w.now.Wall-good.Errand.At > 200 {
		return fmt.Errorf("the last backup is %d s old: %+v", w.now.Wall-good.Errand.At, good)
	}
	for i := 1; i < worldNodes; i++ {
		if len(w.runs[i]) > 0 {
			return fmt.Errorf("node %d still does %d errands", i, len(w.runs[i]))
		}
	}
	return nil
}

// Backups may be begun within one second, as often as leaders and tries change, and the clock may show a second again. One
// that met the file of another would be told as failed, though all is well, and tried again.
func TestNoTwoBackupsHaveOneName(t *testing.T) {
	w, err := newWorld(1)
	if err != nil {
		t.Fatal(err)
	}
	begun := map[string]bool{}
	var start *Action // the last one
	// until has a core take its turns, while the clock on the wall stands still.
	until := func(c *Core, what string, so func() bool) {
		t.Helper()
		const turnsMax = 100
		for range turnsMax {
			if so() {
				return
			}
			w.now.Host += restMin
			c.Table(w.table())
			actions, _ := c.Turn(w.now)
			for _, a := range actions {
				switch a.Kind {
				case Propose:
					_ = w.apply(a.Payload) // what is refused the core sees by the table
				case Start:
					if begun[a.Job.Errand.File] {
						t.Errorf("two backups are written to %s", a.Job.Errand.File)
					}
					begun[a.Job.Errand.File], start = true, &a
				}
			}
		}
		t.Fatalf("not so: %s", what)
	}
	begins := func(c *Core) {
		t.Helper()
		start = nil
		until(c, "a backup is begun", func() bool { return start != nil })
	}
	ordered := func() (id uint64) {
		t.Helper()
		if err := w.order(shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: shardmap.JobBackup})); err != nil {
			t.Fatal(err)
		}
		return w.at.Index
	}
	done := func(c *Core) {
		t.Helper()
		id := start.Job.ID
		c.Ended(start.Number, Outcome{Progress: Progress{Bytes: 1}})
		until(c, "the backup is done", func() bool {
			j, _ := w.table().Job(id)
			return j.State == shardmap.JobDone
		})
	}
	first, second := w.cores[0], w.cores[1]
	first.Lead(true)
	ordered()
	begins(first)
	done(first)
	// The next is tried twice.
	ordered()
	begins(first)
	first.Ended(start.Number, Outcome{Err: errors.New("a group has no leader")})
	begins(first)
	// Its file is whole when the lead goes, and nobody knows that: the next leader begins anew.
	first.Lead(false)
	second.Lead(true)
	begins(second)
	done(second)
	// A person cancels one whose file is whole just then.
	id := ordered()
	begins(second)
	if err := w.order(shardmap.AppendJobState(nil, &shardmap.SetJobState{ID: id, State: shardmap.JobCancelled})); err != nil {
		t.Fatal(err)
	}
	second.Ended(start.Number, Outcome{Progress: Progress{Bytes: 1}})
	// The clock was ahead for a while, and is put back.
	for _, jump := range []int64{1000, -1000} {
		w.now.Wall += jump
		ordered()
		begins(second)
		done(second)
	}
	if want := 7; len(begun) != want {
		t.Errorf("%d backups are begun, want %d: %v", len(begun), want, begun)
	}
}

const worldRuns = 40

// Leaders come and go, what they propose is lost, and what they do fails: every job ends all the same, a backup that is
// done is a file, and the schedule has one in each of its periods.
func TestRandomWorlds(t *testing.T) {
	for seed := range uint64(worldRuns) {
		if err := randomWorld(seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// scheduleWrong returns what is wrong with when the next backup is due.
func scheduleWrong() string {
	for what, c := range map[string]struct {
		every      string
		jobs       []shardmap.Job
		wall       int64
		want       int64
		wantsNever bool
	}{
		"off":                   {every: "off", wall: 1000, wantsNever: true},
		"none yet":              {every: "1h", wall: 5000, want: 5000},
		"one is under way":      {every: "1h", wall: 5000, jobs: []shardmap.Job{backupJob(1, shardmap.JobRunning, 4000)}, wantsNever: true},
		"one is paused":         {every: "1h", wall: 5000, jobs: []shardmap.Job{backupJob(1, shardmap.JobPaused, 4000)}, wantsNever: true},
		"in its time":           {every: "1h", wall: 5000, jobs: []shardmap.Job{backupJob(1, shardmap.JobDone, 4000)}, want: 7600},
		"missed by days":        {every: "1h", wall: 900_000, jobs: []shardmap.Job{backupJob(1, shardmap.JobDone, 4000)}, want: 7600},
		"begun in the future":   {every: "1h", wall: 5000, jobs: []shardmap.Job{backupJob(1, shardmap.JobDone, 900_000)}, want: 5000},
		"the last failed":       {every: "1h", wall: 8000, jobs: []shardmap.Job{backupJob(1, shardmap.JobDone, 4000), backupJob(2, shardmap.JobFailed, 7900)}, want: 7900 + 900},
		"the first failed":      {every: "1m", wall: 8000, jobs: []shardmap.Job{backupJob(2, shardmap.JobFailed, 7990)}, want: 7990 + 15},
		"failed in the future":  {every: "1m", wall: 8000, jobs: []shardmap.Job{backupJob(2, shardmap.JobFailed, 99_000)}, want: 8000},
		"a failed one, then ok": {every: "1h", wall: 8000, jobs: []shardmap.Job{backupJob(1, shardmap.JobFailed, 7000), backupJob(2, shardmap.JobDone, 7900)}, want: 7900 + 3600},
	} {
		t := new(shardmap.Table)
		t.Settings = []shardmap.Setting{{Name: "backup-every", Value: c.every}}
		t.Jobs = c.jobs
		at, wanted := NextBackup(t, c.wall, 0)
		if wanted == c.wantsNever || wanted && at != c.want {
			return fmt.Sprintf("%s: got %d, %t, want %d", what, at, wanted, c.want)
		}
	}
	return ""
}

func backupJob(id uint64, s shardmap.JobState, at int64) shardmap.Job {
	return shardmap.Job{ID: id, Kind: shardmap.JobBackup, State: s, Errand: shardmap.Errand{At: at}}
}

func TestNextBackup(t *testing.T) {
	if wrong := scheduleWrong(); wrong != "" {
		t.Error(wrong)
	}
}

// pruneWrong returns which files go that must stay, or stay that must go.
func pruneWrong() string {
	name := func(hour int) string { return FileName("shop", int64(hour)*3600, 5) }
	whole := func(node raft.NodeID, hours ...int) (files []File) {
		for _, h := range hours {
			files = append(files, File{Node: node, Name: name(h), State: FileWhole, Changed: int64(h) * 3600})
		}
		return files
	}
	with := func(files []File, more ...File) []File { return append(slices.Clone(files), more...) }
	const now = 100 * 3600
	for what, c := range map[string]struct {
		files []File
		keep  int
		want  []string
	}{
		"nothing":                        {nil, 1, nil},
		"the last one":                   {whole(1, 9), 1, nil},
		"two of one":                     {whole(1, 8, 9), 1, []string{name(8)}},
		"three on three nodes":           {slices.Concat(whole(1, 7), whole(2, 8), whole(3, 9)), 2, []string{name(7)}},
		"a directory that nodes share":   {slices.Concat(whole(1, 7, 8, 9), whole(2, 7, 8, 9)), 3, nil},
		"one too many where nodes share": {slices.Concat(whole(1, 7, 8, 9), whole(2, 7, 8, 9)), 2, []string{name(7), name(7)}},
		"a damaged one counts for none":  {with(whole(1, 7, 8), File{Node: 1, Name: name(9), State: FileDamaged}), 2, nil},
		"a damaged one that is older":    {with(whole(1, 8, 9), File{Node: 1, Name: name(7), State: FileDamaged}), 2, []string{name(7)}},
		"an unread one counts for none":  {with(whole(1, 7), File{Node: 2, Name: name(9)}), 1, nil},
		"none is whole":                  {[]File{{Node: 1, Name: name(8), State: FileDamaged}, {Node: 1, Name: name(9)}}, 1, nil},
		"a rest of an hour":              {with(whole(1, 9), File{Node: 1, Name: PartName(name(99), 1), State: FileTorn, Changed: 99 * 3600}), 1, []string{PartName(name(99), 1)}},
		"a rest of a moment":             {with(whole(1, 9), File{Node: 1, Name: PartName(name(99), 1), State: FileTorn, Changed: now - 3599}), 1, nil},
		"other files":                    {with(whole(1, 8, 9), File{Node: 1, Name: "notes.txt", State: FileWhole}, File{Node: 1, Name: "muster-shop-1.backup", State: FileWhole}, File{Node: 1, Name: "../" + name(1), State: FileWhole}), 1, []string{name(8)}},
		"no number is none":              {whole(1, 8, 9), 0, []string{name(8)}},
	} {
		var got []string
		for _, f := range Superfluous(c.files, c.keep, now) {
			got = append(got, f.Name)
		}
		if !slices.Equal(got, c.want) {
			return fmt.Sprintf("%s: %q go, want %q", what, got, c.want)
		}
	}
	return ""
}

func TestSuperfluous(t *testing.T) {
	if wrong := pruneWrong(); wrong != "" {
		t.Error(wrong)
	}
}

// prunableWrong returns what is wrong with what goes where files that were whole are damaged by now, or "".
func prunableWrong() string {
	name := func(hour int64) string { return FileName("shop", hour*3600, 5) }
	files := []File{{1, name(7), FileWhole, 0}, {2, name(8), FileWhole, 0}, {3, name(9), FileWhole, 0}, {1, PartName(name(9), 1), FileTorn, 0}}
	for damaged, want := range map[int64]string{
		0: "7 8", 8: "7 8", 7: "7 8",
		9: "7", // it counts for none, and is newer than what stays
	} {
		read := 0
		var got []string
		for _, f := range Prunable(files, 1, 99*3600, func(f File) FileState {
			if read++; f.Name == name(damaged) {
				return FileDamaged
			}
			return FileWhole
		}) {
			if at, ok := FileTime(f.Name); ok {
				got = append(got, fmt.Sprint(at/3600))
			}
		}
		if s := strings.Join(got, " "); s != want || read == 0 {
			return fmt.Sprintf("with that of %d damaged after it was read, those of %q go, want %q; %d files were read again", damaged, s, want, read)
		}
	}
	unreadable := func(File) FileState { return FileUnknown }
	for _, f := range Prunable(files, 1, 99*3600, unreadable) {
		if f.State != FileTorn {
			return "where none can be read again " + f.Name + " goes"
		}
	}
	if files[2].State != FileWhole {
		return "the caller's files are changed"
	}
	return ""
}

func TestPrunable(t *testing.T) {
	if wrong := prunableWrong(); wrong != "" {
		t.Error(wrong)
	}
}

// A list, a prune and a leader go by names, for years.
func TestFileNames(t *testing.T) {
	const at = 1796040000
	for cluster, want := range map[string]string{
		"shop": "muster-shop-20261130T120000Z", "": "muster--20261130T120000Z", "a/b c.ü": "muster-a_b_c__-20261130T120000Z",
		"shop-20261130T120000Z": "muster-shop-20261130T120000Z-20261130T120000Z", "shop-17": "muster-shop-17-20261130T120000Z",
		strings.Repeat("x", 200): "muster-" + strings.Repeat("x", clusterMax) + "-20261130T120000Z",
	} {
		name := FileName(cluster, at, 417)
		if name != want+"-417.backup" {
			t.Errorf("%q: %s, want %s-417.backup", cluster, name, want)
		}
		if got, ok := FileTime(name); !ok || got != at || !IsFileOf(cluster, name) {
			t.Errorf("%q: %s is of %d, %t, and of the cluster: %t", cluster, name, got, ok, IsFileOf(cluster, name))
		}
		for _, other := range []string{"bank", "shop-417", "sho", "shop-20261130T120000Z-417"} {
			if IsFileOf(other, name) {
				t.Errorf("%s is taken for one of %s", name, other)
			}
		}
	}
	for _, other := range []string{
		"", "x", "muster-shop-20261130T120000Z.backup.part", "muster-shop-20261330T120000Z.backup", "shop-20261130T120000Z.backup", "muster-a/b-20261130T120000Z.backup", "muster-20261130T120000Z.backup",
		"muster-shop-20261130T120000Z.backup", "muster-shop-20261130T120000Z-.backup", "muster-shop-20261130T120000Z-07.backup", "muster-shop-20261130T120000Z-x.backup", "muster-shop-20261130T120000Z--7.backup",
		"muster-shop-20261130T120000Z-1-2.backup", "muster-20261130T120000Z-7.backup", "muster-shop-7.backup", "muster-shop-20261130T120000Z-18446744073709551616.backup",
	} {
		if at, ok := FileTime(other); ok || IsFileOf("shop", other) {
			t.Errorf("%q is taken for a backup of %d", other, at)
		}
	}
	// The newest first: by time, and within a second in the order in which they were begun.
	sorted := []string{FileName("shop", at+1, 7), FileName("shop", at, 1000), FileName("shop", at, 999), FileName("shop", at-1, 2000)}
	if got := slices.SortedFunc(slices.Values(sorted), NewestFirst); !slices.Equal(got, sorted) {
		t.Errorf("sorted they are %q", got)
	}
}
