package trial

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"muster/node/trial/clustertest"
	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

var spoilRounds = flag.Int("spoil", 0, "how often `N` TestStateFaults spoils each kind of replica in each way; 0: some of them, once")

const (
	// spoilStatic keys are set before, and never again: a wrong bit of most slots stays.
	spoilStatic = 2000
	// spoilTags are the tags of all keys that are written meanwhile: so many slots.
	spoilTags = 6
	// spoilWorkers set and get spoilKeys keys, with spoilPause between two operations of one.
	spoilWorkers = 6
	spoilKeys    = 2 * spoilTags
	spoilPause   = 10 * time.Millisecond
	// auditPace and walkPace are the settings of the cluster.
	auditPace = time.Second
	walkPace  = 2 * time.Second
	// foundMax is within which time a wrong state is known on other nodes, besides its audit or walk:
	// the incident in the table, on a machine that other tests keep busy; and 5 s if the lead has just
	// changed, for which a leader may wait for reports that went to the one before.
	foundMax = 8 * time.Second
	// rebuiltMax is how long it may take from there until it is right again: a snapshot is written,
	// audited and sent.
	rebuiltMax = 15 * time.Second
)

// plantedBinary is a muster that spoils its states on request, built once.
var plantedBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(clustertest.Binary()), "muster-planted")
	if out, err := exec.Command("go", "build", "-tags", "plantedbugs", "-o", path, "muster").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// spoilCase is a replica, and what is to go wrong with it.
type spoilCase struct {
	how    string // as the file for the node says it
	leader bool   // the replica leads its group
	meta   bool   // the group is the meta group
	checks bool   // somebody runs check all the time
}

func (s spoilCase) String() string {
	who, of := "follower", "data group"
	if s.leader {
		who = "leader"
	}
	if s.meta {
		of = "meta group"
	}
	return fmt.Sprintf("%s on the %s of a %s", s.how, who, of)
}

// spoilTrial is a cluster under load whose states are spoiled.
type spoilTrial struct {
	*clustertest.Cluster
	t      *testing.T
	load   *spoilLoad
	fenced []int                 // of each node, how many of its replicas had to be
	by     map[raft.GroupID]bool // groups whose leader was wrong: it may have answered wrongly
	values int                   // of the setting that is changed
}

// A bit that flips in memory, an entry that is skipped or applied twice: within an audit or a walk
// the replica is fenced, each node says so, and within seconds it is whole again, by itself. The
// others stay as they are, and clients notice nothing, but for wrong answers of a wrong leader before it was found.
// One would doubt it with processes: the fence, the state that comes from another replica and the
// word to the table go over disks and connections that serve clients at the same time.
func TestStateFaults(t *testing.T) {
	t.Parallel()
	r := newSpoilTrial(t)
	cases := []spoilCase{
		{how: "bit"},
		{how: "skip", leader: true},
		{how: "twice", checks: true},
		{how: "bit", leader: true, meta: true},
		{how: "skip", meta: true, checks: true},
	}
	if *spoilRounds > 0 {
		cases = nil
		for range *spoilRounds {
			for _, meta := range []bool{false, true} {
				for _, leader := range []bool{false, true} {
					for i, how := range []string{"bit", "skip", "twice"} {
						cases = append(cases, spoilCase{how, leader, meta, (i+len(cases)/3)%2 == 0})
					}
				}
			}
		}
	}
	for _, s := range cases {
		r.round(s)
		if t.Failed() {
			return
		}
	}
	r.load.end(r.by)
	r.killed()
	r.onlyThose()
	r.whole()
}

func newSpoilTrial(t *testing.T) *spoilTrial {
	t.Helper()
	planted, err := plantedBinary()
	if err != nil {
		t.Fatal(err)
	}
	// The binary that users run must not have the hook.
	if shipped, err := os.ReadFile(clustertest.Binary()); err != nil || bytes.Contains(shipped, []byte(spoilDone)) {
		t.Fatalf("the binary without the tag knows %s, or can't be read: %v", spoilDone, err)
	}
	// As many groups as nodes, so that status has nothing to note. Without users: a node that is started
	// alone answers none of theirs, and one is to say at the end that its replica is fenced.
	c := clustertest.New(t, 3, "--groups", "3", "--insecure")
	for i, p := range c.Nodes {
		p.Binary = planted
		c.Start(i)
	}
	c.Healthy()
	c.Run("setting", "set", "audit-pace", auditPace.String()).Done(t)
	c.Run("setting", "set", "walk-pace", walkPace.String()).Done(t)
	r := &spoilTrial{Cluster: c, t: t, fenced: make([]int, 3), by: map[raft.GroupID]bool{}}
	r.load = newSpoilLoad(t, c.Client())
	for w := range spoilWorkers {
		r.load.wg.Go(func() { r.load.work(w, c.Client()) })
	}
	t.Cleanup(func() { r.load.stop(); r.load.wg.Wait() })
	return r
}

// round spoils one replica and sees that it becomes whole again.
func (r *spoilTrial) round(s spoilCase) {
	r.t.Helper()
	group, victim := r.pick(s)
	began, what := r.spoil(victim, group, s.how)
	r.fenced[victim]++
	if s.leader {
		r.by[group] = true
	}
	node := fmt.Sprintf("n%d", victim+1)
	other := (victim + 1) % len(r.Nodes)
	checked := make(chan string, 1)
	ctx, stop := context.WithCancel(r.t.Context())
	defer stop()
	if s.checks {
		go func() { checked <- r.checks(ctx, group, node) }()
	}
	r.told(other, "a problem", foundMax+max(auditPace, walkPace), func(a *wire.StatusAnswer) bool {
		return says(a.Problems, group, node) || says(a.Notes, group, node)
	})
	found := time.Since(began)
	r.told(other, "a note, and no problem", rebuiltMax, func(a *wire.StatusAnswer) bool {
		return a.Healthy && says(a.Notes, group, node)
	})
	rebuilt := time.Since(began)
	stop()
	seen := "-"
	if s.checks {
		if seen = <-checked; seen == "" {
			r.t.Errorf("%s: no check named group %d and %s", s, group, node)
		}
	}
	r.isWhole(victim, group)
	r.t.Logf("%s: n%d, group %d, %s: found after %v, right again after %v; check said %s",
		s, victim+1, group, what, found.Round(time.Millisecond), rebuilt.Round(time.Millisecond), seen)
}

// isWhole checks what is left of an incident that is over, and has it acknowledged.
func (r *spoilTrial) isWhole(victim int, group raft.GroupID) {
	r.t.Helper()
	c := r.Cluster
	// Leaders go back to where they were: a check meanwhile may have no report of an earlier leader's entry.
	r.Until("a check agrees", func(context.Context) error {
		got := c.Run("check")
		if got.Status == clustertest.ExitRefused {
			r.t.Errorf("a replica is said to be wrong that the table calls right: %s", got.Stdout)
		}
		if got.Status != clustertest.ExitDone || got.Stderr != "" {
			return fmt.Errorf("status %d: %s%s", got.Status, got.Stdout, got.Stderr)
		}
		return nil
	})
	kept, err := filepath.Glob(filepath.Join(c.Nodes[victim].Data, "aside", fmt.Sprintf("*-g%d-*.state", group)))
	if err != nil || len(kept) == 0 {
		r.t.Errorf("n%d keeps no wrong state of group %d: %v", victim+1, group, err)
	}
	var rows struct {
		Acknowledged []struct {
			Group int      `json:"group"`
			Node  string   `json:"node"`
			Parts []string `json:"parts"`
		} `json:"acknowledged"`
	}
	c.JSON(&rows, "check", "--acknowledge")
	if len(rows.Acknowledged) != 1 || rows.Acknowledged[0].Group != int(group) || rows.Acknowledged[0].Node != fmt.Sprintf("n%d", victim+1) || len(rows.Acknowledged[0].Parts) == 0 {
		r.t.Errorf("acknowledged %+v, want the incident of group %d on n%d, with its parts", rows.Acknowledged, group, victim+1)
	}
	for i := range c.Nodes {
		r.told(i, "no note", clustertest.ReadyMax, func(a *wire.StatusAnswer) bool { return a.Healthy && len(a.Notes) == 0 })
	}
}

// pick chooses a replica.
func (r *spoilTrial) pick(s spoilCase) (group raft.GroupID, victim int) {
	r.t.Helper()
	r.Until("a leader of the group", func(ctx context.Context) error {
		a, err := r.load.cl.Status(ctx, r.Nodes[0].Addr)
		if err != nil {
			return err
		}
		for _, g := range a.Groups {
			if i := r.NumberOf(a, g); (g.ID == 0) == s.meta && i >= 0 {
				if group, victim = g.ID, i; !s.leader {
					victim = (i + 1) % len(r.Nodes)
				}
				return nil
			}
		}
		return errors.New("none is known")
	})
	return group, victim
}

// spoil has a node spoil the state of a group, such that it stays wrong, and returns when it was
// and what.
func (r *spoilTrial) spoil(victim int, group raft.GroupID, how string) (at time.Time, what string) {
	r.t.Helper()
	data := r.Nodes[victim].Data
	done := filepath.Join(data, spoilDone)
	for {
		half := filepath.Join(data, "spoil.tmp")
		line := fmt.Sprintf("%d %s", group, how)
		if group != 0 && how != "bit" {
			line += " " + onceKeys
		}
		if err := errors.Join(os.WriteFile(half, []byte(line), 0o600), os.Rename(half, filepath.Join(data, "spoil"))); err != nil {
			r.t.Fatal(err)
		}
		taken := func(context.Context) error {
			_, err := os.Stat(filepath.Join(data, "spoil"))
			if err == nil {
				return errors.New("not taken")
			}
			return nil
		}
		r.Until("the spoiler at work", taken)
		if group == 0 && how != "bit" {
			// One command is enough to skip; a second one makes applying the first again visible.
			for range map[string]int{"skip": 1, "twice": 2}[how] {
				r.values++
				r.Run("setting", "set", "dead-after", fmt.Sprintf("%dm", 10+r.values)).Done(r.t)
			}
		}
		r.Until("the state wrong", func(context.Context) error { _, err := os.Stat(done); return err })
		said, err := os.ReadFile(done)
		info, statErr := os.Stat(done)
		if err := errors.Join(err, statErr, os.Remove(done)); err != nil {
			r.t.Fatal(err)
		}
		what = string(said)
		if strings.HasPrefix(what, "error") {
			r.t.Fatalf("spoil: %s", what)
		}
		part, _, _ := strings.Cut(what, ":")
		if slot, isSlot := strings.CutPrefix(part, "slot "); isSlot && r.load.writes(slot) {
			r.t.Logf("%s: it may have been overwritten at once", what)
			continue
		}
		return info.ModTime(), what
	}
}

// says tells whether one of some problems is of a group's replica on a node.
func says(problems []wire.Problem, group raft.GroupID, node string) bool {
	return slices.ContainsFunc(problems, func(p wire.Problem) bool {
		return strings.Contains(p.What, fmt.Sprintf("group %d holds something else on node %s ", group, node))
	})
}

// told waits until a node says something.
func (r *spoilTrial) told(by int, what string, limit time.Duration, holds func(a *wire.StatusAnswer) bool) {
	r.t.Helper()
	clustertest.Await(r.t, fmt.Sprintf("n%d tells of %s", by+1, what), limit, func(ctx context.Context) error {
		a, err := r.load.cl.Status(ctx, r.Nodes[by].Addr)
		if err == nil && !holds(a) {
			err = fmt.Errorf("problems %+v, notes %+v", a.Problems, a.Notes)
		}
		return err
	})
}

// checks runs check until it names a replica with its parts, and returns its words for it, or nothing.
// A replica has no parts there before the table knows of it.
func (r *spoilTrial) checks(ctx context.Context, group raft.GroupID, node string) (said string) {
	for ctx.Err() == nil {
		out := r.Run("check", "-o", "json", "--group", strconv.Itoa(int(group)))
		var row clustertest.CheckRow
		if json.Unmarshal([]byte(out.Stdout), &row) != nil {
			continue
		}
		for _, g := range row.Groups {
			for _, d := range g.Differing {
				if d.Node == node && (d.State == "differs" || d.State == "fenced") {
					if out.Status != clustertest.ExitRefused {
						r.t.Errorf("check ended with status %d and said %s", out.Status, out.Stdout)
					}
					if said = fmt.Sprintf("%s in %v", d.State, d.Parts); len(d.Parts) > 0 {
						return said
					}
				}
			}
		}
	}
	return said
}

// killed kills a node while one of its replicas is fenced. The fence is in force at its next start,
// whether or not there is anybody to rebuild from, and ends.
func (r *spoilTrial) killed() {
	r.t.Helper()
	group, victim := r.pick(spoilCase{})
	written := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(written)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				r.load.once(r.load.cl, fmt.Sprintf("%slate/{%d}%d", onceKeys, n%spoilTags, n))
			}
		}
	}()
	r.spoil(victim, group, "skip")
	close(stop)
	<-written
	r.fenced[victim]++
	var note []byte
	r.Until("fenced", func(context.Context) error {
		all, err := filepath.Glob(filepath.Join(r.Nodes[victim].Data, "fences", fmt.Sprintf("g%d-*.fence", group)))
		if err != nil || len(all) == 0 {
			return errors.New("there is no fence")
		}
		r.Kill(victim)
		note, err = os.ReadFile(all[0])
		return err
	})
	if !strings.Contains(string(note), "\nstate fenced\n") {
		r.t.Fatalf("the node was killed too late: %s", note)
	}
	key := ""
	for k, g := range r.load.groups() {
		if g == group {
			key = k
		}
	}
	for i := range r.Nodes {
		if i != victim {
			r.Kill(i)
		}
	}
	r.Start(victim)
	r.Until("the replica refuses to show what it holds", func(context.Context) error {
		got := r.Run("kv", "get", key, "--read", "local", "--endpoints", r.Nodes[victim].Addr, "--timeout", "1s")
		if got.Status == clustertest.ExitDone || !strings.Contains(got.Stderr, "the state of the replica on this node is wrong") {
			return fmt.Errorf("status %d: %s%s", got.Status, got.Stdout, got.Stderr)
		}
		return nil
	})
	for i := range r.Nodes {
		if i != victim {
			r.Start(i)
		}
	}
	r.told((victim+1)%len(r.Nodes), "a note, and no problem", clustertest.ReadyMax, func(a *wire.StatusAnswer) bool {
		return a.Healthy && says(a.Notes, group, fmt.Sprintf("n%d", victim+1))
	})
	r.isWhole(victim, group)
}

// onlyThose checks that no replica was fenced but those that were spoiled.
func (r *spoilTrial) onlyThose() {
	r.t.Helper()
	for i, p := range r.Nodes {
		log, err := os.ReadFile(p.Log)
		if err != nil {
			r.t.Fatal(err)
		}
		if n := strings.Count(string(log), `msg="replica is fenced"`); n != r.fenced[i] {
			r.t.Errorf("n%d has fenced %d replicas, want the %d that were spoiled", i+1, n, r.fenced[i])
		}
	}
}

// whole checks that each node by itself has what clients were told is kept.
func (r *spoilTrial) whole() {
	r.t.Helper()
	want := r.load.kept()
	for i := range r.Nodes {
		r.Until(fmt.Sprintf("n%d has all", i+1), func(context.Context) error {
			out := r.Run("kv", "export", "--read", "local", "--endpoints", r.Nodes[i].Addr).Done(r.t)
			has := map[string]string{}
			for lines := bufio.NewScanner(strings.NewReader(out)); lines.Scan(); {
				var row struct{ Key, Value string }
				if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
					return err
				}
				has[row.Key] = row.Value
			}
			for key, value := range want {
				if has[key] != value {
					return fmt.Errorf("%s is %q, want %q", key, has[key], value)
				}
			}
			return nil
		})
	}
}

// spoilDone is the file in which a node says what it has spoiled.
const spoilDone = "spoil.done"

// onceKeys is the prefix of keys that are set once.
const onceKeys = "once/"

// spoilLoad is clients that set and get keys of a few slots. All that they are told is kept.
type spoilLoad struct {
	t     *testing.T
	cl    *client.Client
	began time.Time
	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup

	mu      sync.Mutex
	ops     map[raft.GroupID][]porcupine.Operation // guarded by mu
	group   map[string]raft.GroupID                // of the keys that were set; guarded by mu
	owned   map[string]string                      // what keys were set to that are set once; guarded by mu
	failed  map[raft.GroupID][]string              // guarded by mu
	counted int                                    // guarded by mu
}

func sharedKey(n int) string { return fmt.Sprintf("spoil/{%d}%d", n%spoilTags, n) }

// newSpoilLoad sets the keys that stay, and all keys that are shared, once.
func newSpoilLoad(t *testing.T, cl *client.Client) *spoilLoad {
	t.Helper()
	l := &spoilLoad{t: t, cl: cl, began: time.Now(), ops: map[raft.GroupID][]porcupine.Operation{}, group: map[string]raft.GroupID{}, owned: map[string]string{}, failed: map[raft.GroupID][]string{}}
	l.ctx, l.stop = context.WithCancel(context.Background())
	var pairs []client.Pair
	for n := range spoilStatic {
		key, value := fmt.Sprintf("static/%d", n), fmt.Sprintf("value of %d", n)
		pairs = append(pairs, client.Pair{Key: []byte(key), Value: []byte(value)})
		l.owned[key] = value
	}
	if _, err := cl.SetMany(t.Context(), pairs); err != nil {
		t.Fatal(err)
	}
	for n := range spoilKeys {
		w, err := cl.Set(t.Context(), []byte(sharedKey(n)), nil, client.WriteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		l.group[sharedKey(n)] = w.Group
	}
	return l
}

// groups returns the groups of the shared keys.
func (l *spoilLoad) groups() map[string]raft.GroupID { return l.group }

// writes reports whether the load writes to a slot.
func (l *spoilLoad) writes(slot string) bool {
	for n := range spoilKeys {
		if fmt.Sprint(shardmap.SlotOf([]byte(sharedKey(n)))) == slot {
			return true
		}
	}
	return false
}

// work sets and gets until the load stops.
func (l *spoilLoad) work(w int, cl *client.Client) {
	for n := 0; l.ctx.Err() == nil; n++ {
		key := sharedKey((n*7 + w) % spoilKeys)
		switch n % 3 {
		case 0:
			l.once(cl, fmt.Sprintf("%s{%d}%d.%d", onceKeys, (n/3+w)%spoilTags, w, n))
		case 1:
			l.shared(registerOp{key: key, set: true, value: fmt.Sprintf("%d.%d", w, n)}, cl)
		default:
			l.shared(registerOp{key: key}, cl)
		}
		select {
		case <-l.ctx.Done():
		case <-time.After(spoilPause):
		}
	}
}

// once sets a key that nobody sets again.
func (l *spoilLoad) once(cl *client.Client, key string) {
	value := "value of " + key
	_, err := library{cl}.set(key, value)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counted++
	if err == nil {
		l.owned[key] = value
		return
	}
	n, _, _ := strings.Cut(key[strings.Index(key, "{")+1:], "}")
	i, _ := strconv.Atoi(n)
	g := l.group[sharedKey(i)]
	l.failed[g] = append(l.failed[g], fmt.Sprintf("set %s: %v", key, err))
}

// shared does one operation on a key that all clients use.
func (l *spoilLoad) shared(op registerOp, cl *client.Client) {
	var result registerResult
	var err error
	call := time.Since(l.began)
	if op.set {
		_, err = library{cl}.set(op.key, op.value)
	} else {
		result.value, _, err = library{cl}.get(op.key)
	}
	back := time.Since(l.began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counted++
	g := l.group[op.key]
	if err != nil {
		l.failed[g] = append(l.failed[g], fmt.Sprintf("%+v: %v", op, err))
		if !op.set {
			return
		}
		result.unknown, back = true, time.Hour
	}
	l.ops[g] = append(l.ops[g], porcupine.Operation{ClientId: len(l.ops[g]), Input: op, Output: result, Call: int64(call), Return: int64(back)})
}

// end stops the load and judges what it was told: all of it, but for the groups of whose leaders one
// was wrong.
func (l *spoilLoad) end(wrong map[raft.GroupID]bool) {
	l.t.Helper()
	l.stop()
	l.wg.Wait()
	judged := 0
	for g, ops := range l.ops {
		if wrong[g] {
			continue
		}
		judged += len(ops)
		if result, _ := porcupine.CheckOperationsVerbose(registerModel, ops, time.Minute); result != porcupine.Ok {
			l.t.Errorf("group %d: history of %d operations: %s", g, len(ops), result)
		}
	}
	for g, failed := range l.failed {
		if l.t.Logf("group %d: %d operations failed, first %s", g, len(failed), failed[0]); !wrong[g] {
			l.t.Errorf("operations on group %d failed, and its leader was never wrong", g)
		}
	}
	l.t.Logf("%d operations, the history of %d is judged", l.counted, judged)
}

// kept is what clients were told is kept of keys that are set once.
func (l *spoilLoad) kept() map[string]string { return l.owned }
