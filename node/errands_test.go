package node

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/repl/client"
	"muster/repl/client/home"
	"muster/repl/errands"
	"muster/repl/wire"
	"muster/shardmap"
)

// hasKeys writes so many keys with a prefix, and as many without it.
func hasKeys(t *testing.T, cl *client.Client, prefix string, n int) {
	t.Helper()
	var pairs []client.Pair
	for i := range n {
		pairs = append(pairs, client.Pair{Key: fmt.Appendf(nil, "%s%d", prefix, i), Value: []byte("v")}, client.Pair{Key: fmt.Appendf(nil, "other/%s%d", prefix, i), Value: []byte("v")})
	}
	if _, err := cl.SetMany(t.Context(), pairs); err != nil {
		t.Fatal(err)
	}
}

// keysLeft counts the keys with a prefix.
func keysLeft(t *testing.T, cl *client.Client, prefix string) (n int) {
	t.Helper()
	for _, err := range cl.List(t.Context(), []byte(prefix), client.ListOptions{KeysOnly: true}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// libraryOf is a client of several nodes.
func libraryOf(t *testing.T, nodes []*runningNode) *client.Client {
	t.Helper()
	var addrs []string
	for _, r := range nodes {
		addrs = append(addrs, r.addr)
	}
	cl, err := client.Open(client.Options{Insecure: true, Endpoints: addrs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	return cl
}

// newJob is the bytes of an order for a job.
func newJob(t *testing.T, j shardmap.NewJob) []byte {
	t.Helper()
	b, err := shardmap.AppendNewJob(nil, &j)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// jobEnds waits until a job has ended, by the table of a node that knows it, and returns it. It must get
// further: how long it takes depends on the machine.
func jobEnds(t *testing.T, nodes []*runningNode, id uint64) (j shardmap.Job) {
	t.Helper()
	advancing(t, fmt.Sprintf("job %d has ended", id), func() (int, error) {
		far := 0
		for _, r := range nodes {
			table := r.node.table.Load()
			if table == nil {
				continue
			}
			if o, ok := table.Job(id); ok {
				if j = o; o.State.Finished() {
					return 0, nil
				}
				far = int(o.Done + uint64(o.Errand.Slot))
			}
		}
		return far, fmt.Errorf("it is %+v", j)
	})
	return j
}

// A job must delete a prefix after its caller has left, and count the keys that it deletes, even where every caller has to
// prove an identity: the nodes ask each other in their own name.
func TestJobDeletesPrefix(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 3, defaultLimits())
	cl := libraryOf(t, nodes)
	const many, few = 3000, 40
	hasKeys(t, cl, "cart/", many)
	hasKeys(t, cl, "few/", few)
	for prefix, n := range map[string]int{"cart/": many, "few/": few, "none/": 0} {
		a := ordered(t, nodes, "a delete is ordered", newJob(t, shardmap.NewJob{Kind: shardmap.JobDelete, Asks: shardmap.ErrandAsks{Prefix: prefix, Keys: uint64(n)}}))
		if j := jobEnds(t, nodes, a.Job); j.State != shardmap.JobDone || j.Done != uint64(n) || j.Total != uint64(n) {
			t.Errorf("%s: the job is %+v, want %d keys", prefix, j, n)
		}
		if left, others := keysLeft(t, cl, prefix), keysLeft(t, cl, "other/"+prefix); left != 0 || others != n {
			t.Errorf("%s: %d keys are left, and %d of %d others", prefix, left, others, n)
		}
	}
	// The table of a user who may not see the cluster has no prefix; in this cluster everybody may.
	table, _, err := cl.Table(t.Context(), "")
	if err != nil || len(table.Jobs) != 3 {
		t.Fatalf("the table has %+v, %v", table, err)
	}
}

// The same where certificates alone count, be they the cluster's, which name a node, or a company's, which name a host,
// and where two nodes of three have the leaders of groups.
func TestErrandsOfSecureCluster(t *testing.T) {
	t.Parallel()
	t.Run("by the cluster's certificates", func(t *testing.T) {
		nodes, users := secured(t, 3)
		errandsOfSecure(t, nodes, users[0], nil)
	})
	t.Run("by a company's certificates", func(t *testing.T) {
		s := newShop(t, "shop", time.Now().AddDate(1, 0, 0))
		c := newCompanyCluster(t, s, slog.DiscardHandler)
		errandsOfSecure(t, c.nodes, c.users[0], s.pem())
	})
}

// errandsOfSecure has a cluster delete a prefix and take a backup.
func errandsOfSecure(t *testing.T, nodes []*runningNode, u *keptUser, ca []byte) {
	kept, err := home.In(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := kept.Put(u.root, "muster", u.leaf.Raw, u.key); err != nil {
		t.Fatal(err)
	}
	cl, err := client.Open(client.Options{Endpoints: []string{nodes[0].addr, nodes[1].addr, nodes[2].addr}, Home: kept.Dir(), CA: ca})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	const many = 2000
	hasKeys(t, cl, "cart/", many)
	var a wire.OrderAnswer
	until(t, "a delete is ordered", func() error {
		o, err := cl.Order(t.Context(), newJob(t, shardmap.NewJob{Kind: shardmap.JobDelete, Asks: shardmap.ErrandAsks{Prefix: "cart/", Keys: many}}), 0)
		if err == nil {
			a = *o
		}
		return err
	})
	if j := jobEnds(t, nodes, a.Job); j.State != shardmap.JobDone || j.Done != many {
		t.Errorf("the job is %+v, want %d keys", j, many)
	}
	until(t, "a backup is ordered", func() error {
		o, err := cl.Order(t.Context(), newJob(t, shardmap.NewJob{Kind: shardmap.JobBackup}), 0)
		if err == nil {
			a = *o
		}
		return err
	})
	if j := jobEnds(t, nodes, a.Job); j.State != shardmap.JobDone || j.Done != many {
		t.Errorf("the backup is %+v, want %d keys", j, many)
	}
}

// backupFiles are the files that the nodes have in their directories of backups.
func backupFiles(nodes []*runningNode) (names []string) {
	for _, r := range nodes {
		all, _ := os.ReadDir(r.node.shelf.dir)
		for _, f := range all {
			names = append(names, filepath.Join(r.node.shelf.dir, f.Name()))
		}
	}
	return names
}

// A backup that is ordered is a file on the host of the node that took it, whole and read back; the oldest go, and never
// because of one that is damaged.
func TestJobTakesBackups(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 3, defaultLimits())
	cl := libraryOf(t, nodes)
	const keys = 500
	hasKeys(t, cl, "a/", keys)
	set, err := shardmap.AppendSetting(nil, &shardmap.Setting{Name: "backup-keep", Value: "2"})
	if err != nil {
		t.Fatal(err)
	}
	ordered(t, nodes, "the setting is taken", set)
	take := func() shardmap.Job {
		t.Helper()
		a := ordered(t, nodes, "a backup is ordered", newJob(t, shardmap.NewJob{Kind: shardmap.JobBackup}))
		j := jobEnds(t, nodes, a.Job)
		if j.State != shardmap.JobDone || j.Done != 2*keys || j.Bytes == 0 || j.Errand.File == "" {
			t.Fatalf("the job is %+v, want %d keys", j, 2*keys)
		}
		return j
	}
	ask := func(q wire.Backups) (files []wire.BackupFile) {
		t.Helper()
		for _, r := range nodes {
			a, err := cl.Backups(t.Context(), r.addr, q)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, a.Files...)
		}
		return files
	}
	first := take()
	files := ask(wire.Backups{})
	if len(files) != 1 || files[0].Name != first.Errand.File || files[0].State != wire.BackupWhole || files[0].Keys != 2*keys || files[0].Bytes != first.Bytes || files[0].Groups != 4 {
		t.Fatalf("the nodes have %+v, want the one of %+v", files, first)
	}
	// Its bytes are the worth of it: one that is changed by the disk is told of, and takes the place of none.
	name := backupFiles(nodes)[0]
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	whole[len(whole)/2] ^= 4
	if err := os.WriteFile(name, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if files = ask(wire.Backups{Verify: true}); len(files) != 1 || files[0].State != wire.BackupDamaged || !strings.Contains(files[0].Wrong, "damaged at byte") {
		t.Fatalf("after a flip: %+v", files)
	}
	second, third := take(), take()
	until(t, "the damaged one has gone, and no other", func() error {
		var got []string
		for _, f := range ask(wire.Backups{}) {
			got = append(got, f.Name)
		}
		if len(got) != 2 || !strings.Contains(strings.Join(got, " "), second.Errand.File) || !strings.Contains(strings.Join(got, " "), third.Errand.File) {
			return fmt.Errorf("there are %v", got)
		}
		return nil
	})
	for _, name := range backupFiles(nodes) {
		if !strings.HasSuffix(name, ".backup") {
			t.Errorf("left behind: %s", name)
		}
	}
}

// A node whose directory of backups can't be read says so and why, at once: asked again and again until the time is up, it would be
// taken for one that does not answer.
func TestUnreadableBackups(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 1, defaultLimits())
	cl := libraryOf(t, nodes)
	r := nodes[0]
	if err := os.WriteFile(r.node.shelf.dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, q := range map[string]wire.Backups{"list": {}, "remove": {Remove: []string{errands.FileName("shop", 1796040000, 7)}}} {
		_, err := cl.Backups(t.Context(), r.addr, q)
		var refusal *wire.Error
		if !errors.As(err, &refusal) || refusal.Retry() != wire.RetryNever || !strings.Contains(err.Error(), "see to "+r.node.shelf.dir) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The schedule takes one backup in its time, whoever leads, and the next leader neither takes another one at once nor
// forgets the next.
func TestScheduledBackups(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	nodes := startFounders(t, 3, defaultLimits(), func(n *Node) {
		n.errands.wall = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	set, err := shardmap.AppendSetting(nil, &shardmap.Setting{Name: "backup-every", Value: "1h"})
	if err != nil {
		t.Fatal(err)
	}
	ordered(t, nodes, "the setting is taken", set)
	backups := func() (jobs []shardmap.Job) {
		for _, j := range metaTable(t, nodes).Jobs {
			if j.Kind == shardmap.JobBackup {
				jobs = append(jobs, j)
			}
		}
		return jobs
	}
	done := func(n int) {
		t.Helper()
		until(t, fmt.Sprintf("%d backups are done", n), func() error {
			jobs := backups()
			if len(jobs) != n || jobs[n-1].State != shardmap.JobDone || !jobs[n-1].Errand.Scheduled {
				return fmt.Errorf("there are %+v", jobs)
			}
			return nil
		})
	}
	done(1)
	lead, _ := led(t, nodes, 0)
	var rest []*runningNode
	for _, r := range nodes {
		if r != lead {
			rest = append(rest, r)
		}
	}
	lead.stop()
	nodes = rest
	led(t, nodes, 0)
	// The new leader's clock shows that the time is over.
	ahead.Store(int64(61 * time.Minute))
	done(2)
}

// The leader of the meta group dies in the middle of a delete, and in the middle of a backup: another one ends the job,
// and nothing is left of the file that was not whole once its node is back.
func TestErrandsOutliveTheirLeader(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 3, defaultLimits())
	cl := libraryOf(t, nodes)
	const many = 20000
	hasKeys(t, cl, "cart/", many)
	for _, kind := range []shardmap.JobKind{shardmap.JobBackup, shardmap.JobDelete} {
		a := ordered(t, nodes, "a job is ordered", newJob(t, shardmap.NewJob{Kind: kind, Asks: shardmap.ErrandAsks{Prefix: map[shardmap.JobKind]string{shardmap.JobDelete: "cart/"}[kind]}}))
		lead, _ := led(t, nodes, 0)
		until(t, "it is under way", func() error {
			if j, ok := lead.node.table.Load().Job(a.Job); !ok || j.Errand.Node == 0 && !j.State.Finished() {
				return errors.New("not yet")
			}
			return nil
		})
		at := 0
		for i, r := range nodes {
			if r == lead {
				at = i
			}
		}
		lead.stop()
		j := jobEnds(t, append(append([]*runningNode{}, nodes[:at]...), nodes[at+1:]...), a.Job)
		if j.State != shardmap.JobDone {
			t.Errorf("%s: it ended as %+v", kind, j)
		}
		nodes[at] = start(t, lead.node.cfg, defaultLimits())
		until(t, "the node is back", func() error {
			if table := nodes[at].node.table.Load(); table == nil || table.Index < j.ID {
				return errors.New("not yet")
			}
			return nil
		})
		if kind == shardmap.JobBackup && j.Done != 2*many {
			t.Errorf("the backup has %d keys, want %d", j.Done, 2*many)
		}
	}
	if left := keysLeft(t, cl, "cart/"); left != 0 {
		t.Errorf("%d keys are left", left)
	}
	until(t, "no rest is left", func() error {
		for _, name := range backupFiles(nodes) {
			if !strings.HasSuffix(name, ".backup") {
				return fmt.Errorf("there is %s", name)
			}
		}
		return nil
	})
}

// lateDelete returns what is wrong after the leader of the meta group was stopped in the middle of a delete, as a
// suspended machine is, while another one finished it, and users wrote new keys; or "".
func lateDelete(t *testing.T) string {
	const many = 300
	var taken atomic.Bool
	stopped := make(chan *Node)                              // the node whose delete was the first
	wakes, hears := make(chan struct{}), make(chan struct{}) // closed below: the delete goes on; its node learns what has happened
	sent := make(chan struct{})                              // closed by the delete: it has sent all
	addrs := freeAddrs(t, 3)
	var nodes []*runningNode
	for i := range addrs {
		c := testConfig(t)
		c.Listen, c.Join, c.Expect = addrs[i], addrs, len(addrs)
		nodes = append(nodes, startWith(t, c, defaultLimits(), func(n *Node) {
			n.errands.sending = func() func() {
				if !taken.CompareAndSwap(false, true) {
					return func() {}
				}
				n.errands.mail.post(func(time.Duration) { <-hears })
				stopped <- n
				<-wakes
				return func() { close(sent) }
			}
		}))
	}
	wake, hear := sync.OnceFunc(func() { close(wakes) }), sync.OnceFunc(func() { close(hears) })
	defer hear()
	defer wake()
	led(t, nodes, 0)
	cl := libraryOf(t, nodes)
	hasKeys(t, cl, "cart/", many)
	a := ordered(t, nodes, "a delete is ordered", newJob(t, shardmap.NewJob{Kind: shardmap.JobDelete, Asks: shardmap.ErrandAsks{Prefix: "cart/", Keys: many}}))
	var first *Node
	select {
	case first = <-stopped:
	case <-time.After(readyMax):
		t.Fatal("no node has taken the delete up")
	}
	var others []*runningNode
	for _, r := range nodes {
		if r.node != first {
			others = append(others, r)
		}
	}
	first.running().HandOver(readyMax)
	led(t, others, 0)
	if j := jobEnds(t, others, a.Job); j.State != shardmap.JobDone || j.Errand.Node == first.self().Node {
		return fmt.Sprintf("the job is %+v, and node %s was to do none of it", j, first.self().Node)
	}
	if left := keysLeft(t, cl, "cart/"); left != 0 {
		return fmt.Sprintf("the job is done, and %d keys are left", left)
	}
	hasKeys(t, cl, "cart/", many)
	wake()
	select {
	case <-sent:
	case <-time.After(readyMax):
		t.Fatal("the delete that was stopped does not end")
	}
	hear()
	if left := keysLeft(t, cl, "cart/"); left != many {
		return fmt.Sprintf("of %d keys that were written after the job's end %d are left", many, left)
	}
	return ""
}

// A leader that was stopped continues its delete when it wakes, until it hears that it no longer leads. Keys that users
// have written since its successor finished the job must stay: nobody has asked to delete them.
func TestLateDeleteSparesNewKeys(t *testing.T) {
	t.Parallel()
	if wrong := lateDelete(t); wrong != "" {
		t.Error(wrong)
	}
}

// A person stops a job, lets it run again, and gives it up: keys that are not deleted by then stay.
func TestErrandsArePausedAndCancelled(t *testing.T) {
	t.Parallel()
	// Each of its beginnings waits before its first command until the table has the order that ends it.
	begun, ordersGiven := make(chan struct{}), make(chan struct{})
	c := testConfig(t)
	c.Listen = freeAddrs(t, 1)[0]
	r := startWith(t, c, defaultLimits(), func(n *Node) {
		n.errands.sending = func() func() {
			select {
			case begun <- struct{}{}:
			case <-n.ctx.Done():
			}
			select {
			case <-ordersGiven:
			case <-n.ctx.Done():
			}
			return func() {}
		}
	})
	nodes := []*runningNode{r}
	led(t, nodes, 0)
	cl := libraryOf(t, nodes)
	const many = 3000
	hasKeys(t, cl, "cart/", many)
	state := func(id uint64, s shardmap.JobState) {
		t.Helper()
		b, err := shardmap.AppendJobState(nil, &shardmap.SetJobState{ID: id, State: s})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cl.Order(t.Context(), b, 0); err != nil {
			t.Fatal(err)
		}
		until(t, "the node has the order in its table", func() error {
			if j, _ := r.node.table.Load().Job(id); j.State != s {
				return fmt.Errorf("it has %+v", j)
			}
			return nil
		})
	}
	begins := func() {
		t.Helper()
		select {
		case <-begun:
		case <-time.After(readyMax):
			t.Fatal("the delete does not begin")
		}
	}
	rests := func() {
		t.Helper()
		e := &r.node.errands
		// The turn in which the first of these is answered has the table with the order, and stops the delete
		// before the second is.
		for range 2 {
			if _, ok := countsOf(t.Context(), &e.mail, func(time.Duration) int { return 0 }); !ok {
				t.Fatal("the errands of the node have ended")
			}
		}
		ordersGiven <- struct{}{}
		until(t, "nothing is under way", func() error {
			if under, ok := countsOf(t.Context(), &e.mail, func(time.Duration) int { return len(e.under) }); !ok || under != 0 {
				return fmt.Errorf("%d are", under)
			}
			return nil
		})
	}
	a := ordered(t, nodes, "a delete is ordered", newJob(t, shardmap.NewJob{Kind: shardmap.JobDelete, Asks: shardmap.ErrandAsks{Prefix: "cart/"}}))
	begins()
	state(a.Job, shardmap.JobPaused)
	rests()
	if left := keysLeft(t, cl, "cart/"); left != many {
		t.Errorf("%d keys of %d are left by a delete that was paused before it sent anything", left, many)
	}
	if j, _ := r.node.table.Load().Job(a.Job); j.State != shardmap.JobPaused {
		t.Fatalf("it is %+v", j)
	}
	state(a.Job, shardmap.JobRunning)
	begins()
	state(a.Job, shardmap.JobCancelled)
	rests()
	if j := jobEnds(t, nodes, a.Job); j.State != shardmap.JobCancelled {
		t.Errorf("it ended as %+v", j)
	}
	if left := keysLeft(t, cl, "cart/"); left != many {
		t.Errorf("%d keys of %d are left by a delete that was cancelled before it sent anything", left, many)
	}
}
