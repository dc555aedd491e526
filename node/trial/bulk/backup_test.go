package bulk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/raft"
	"muster/repl/backup"
	"muster/repl/client"
	"muster/shardmap"
	"muster/shardmap/registry"
)

var restoreFive = flag.Bool("restorefive", false, "restore a backup into five nodes too")

// kept is what a file has: the rows by kind and name.
type kept struct {
	manifest *backup.Manifest
	rows     map[shardmap.RecordKind]map[string]shardmap.BackupRow
}

func readBackup(t *testing.T, name string) *kept {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	k := &kept{rows: map[shardmap.RecordKind]map[string]shardmap.BackupRow{shardmap.KindKey: {}, shardmap.KindService: {}}}
	if k.manifest, err = backup.Verify(bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	err = backup.Read(bytes.NewReader(b), k.manifest, func(_ *backup.Group, b []byte) error {
		rows, row := shardmap.ReadBackupRows(bytes.Clone(b)), shardmap.BackupRow{}
		for rows.Next(&row) {
			k.rows[row.Kind][string(row.Name)] = row
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// at returns the log id as of which the file has a key, and its group.
func (k *kept) at(key string) (raft.GroupID, raft.LogID) {
	s := shardmap.SlotOf([]byte(key))
	for i := range k.manifest.Groups {
		g := &k.manifest.Groups[i]
		for _, r := range g.Runs() {
			if r.Has(s) {
				return g.ID, g.At()
			}
		}
	}
	return 0, raft.LogID{}
}

// wrote is what one write left behind: a value, or nothing if the key was deleted.
type wrote struct {
	id      raft.LogID
	value   string
	deleted bool
}

// keeper writes its own keys, again and again, and remembers what was acknowledged.
type keeper struct {
	acknowledged map[string][]wrote // by key, in order
	unsure       map[string]bool    // keys of which nobody knows what they have
}

// run writes until ctx ends.
func (w *keeper) run(ctx context.Context, t *testing.T, cl *client.Client, number int) {
	r := rand.New(rand.NewPCG(uint64(number), 1))
	for n := 0; ctx.Err() == nil; n++ {
		key := fmt.Sprintf("w%d/%d", number, r.IntN(200))
		if w.unsure[key] {
			continue
		}
		var x wrote
		var err error
		if r.IntN(5) == 0 {
			var all []client.Deleted
			all, err = cl.Delete(ctx, []byte(key))
			if x.deleted = true; err == nil {
				x.id = all[0].ID
			}
		} else {
			var done client.Written
			x.value = fmt.Sprintf("%d by %d", n, number)
			done, err = cl.Set(ctx, []byte(key), []byte(x.value), client.WriteOptions{})
			x.id = done.ID
		}
		if err != nil {
			w.unsure[key] = true
			if ctx.Err() == nil && !errors.Is(err, context.Canceled) {
				t.Logf("%s: %v", key, err)
			}
			continue
		}
		w.acknowledged[key] = append(w.acknowledged[key], x)
	}
}

// differs says how the file differs from what the writer had acknowledged at its log ids; "" if it does not.
func (w *keeper) differs(k *kept) string {
	for key, all := range w.acknowledged {
		if w.unsure[key] {
			continue
		}
		group, at := k.at(key)
		want := wrote{deleted: true}
		for _, x := range all {
			if at.NewerOrEqual(x.id) {
				want = x
			}
		}
		row, there := k.rows[shardmap.KindKey][key]
		if there == want.deleted || there && string(row.Value) != want.value {
			return fmt.Sprintf("key %s: the file has %q (%t) as of %s, acknowledged there was %q at %s (deleted: %t), of %d writes",
				key, row.Value, there, raft.FormatLogID(group, at), want.value, want.id, want.deleted, len(all))
		}
	}
	return ""
}

// A backup is taken from three nodes under writers, and one of the nodes is killed meanwhile. It must have exactly what was
// acknowledged up to the log ids in it. So must a cluster of another size after a restore, even if the restore was
// killed and continued. One would doubt it: groups lose their leader halfway through their stream, and each has a log id of
// its own.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	const (
		values    = 1500
		valueSize = 16 << 10
		writers   = 16
	)
	c := clustertest.Start(t, 3, "--groups", "3")
	cl := c.Client()
	ctx, cancel := context.WithTimeout(context.Background(), clustertest.RunMax)
	defer cancel()
	fill(ctx, t, cl, values, valueSize)
	if _, err := cl.Set(ctx, []byte("ttl"), []byte("v"), client.WriteOptions{TTL: time.Hour}); err != nil {
		t.Fatal(err)
	}
	s := &registry.Service{Name: "web", Type: registry.TypeTTL, Settings: []registry.Setting{{Key: "webhook", Value: "http://127.0.0.1:9/"}, {Key: "webhook_secret", Value: "hush"}},
		Instances: []registry.Instance{{ID: "w1"}, {ID: "w2"}}}
	if _, err := cl.SetService(ctx, s); err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Maintain(ctx, "web", "w2", client.MaintenanceOn); err != nil {
		t.Fatal(err)
	}

	all := make([]keeper, writers)
	writing, stop := context.WithCancel(ctx)
	defer stop()
	var done sync.WaitGroup
	for i := range all {
		all[i] = keeper{map[string][]wrote{}, map[string]bool{}}
		done.Go(func() { all[i].run(writing, t, cl, i) })
	}
	file := filepath.Join(c.Dir, "all.backup")
	killed := backupWithKill(t, c, file)
	stop()
	done.Wait()
	c.Start(killed)

	k := readBackup(t, file)
	acknowledged := 0
	for i := range all {
		for _, x := range all[i].acknowledged {
			acknowledged += len(x)
		}
		if wrong := all[i].differs(k); wrong != "" {
			t.Error(wrong)
		}
	}
	t.Logf("%d groups with %d keys, group 1 lost %d times, %d writes acknowledged", len(k.manifest.Groups), k.manifest.Keys(), k.manifest.Groups[0].Attempt, acknowledged)
	if n := k.manifest.Keys(); n < values+1 || acknowledged < 100 {
		t.Errorf("%d keys in the file, %d writes acknowledged: want %d and 100 at least", n, acknowledged, values+1)
	}
	c.Run("backup", file).Refused(t, clustertest.ExitRefused, "--force")
	c.Run("restore", file).Refused(t, clustertest.ExitConflict, "the cluster is not empty: it has key")
	for i := range c.Nodes {
		c.Kill(i)
	}

	one := clustertest.Start(t, 1)
	restoreWithKill(t, one, file)
	holdsAll(t, one, k)
	sendsWhole(t, one, k)
	one.Kill(0)
	sizes := []int{3}
	if *restoreFive {
		sizes = append(sizes, 5)
	}
	for _, n := range sizes {
		other := clustertest.Start(t, n)
		var row struct {
			Groups                int
			Keys, Services, Bytes uint64
		}
		other.JSON(&row, "restore", file)
		if row.Keys != k.manifest.Keys() || row.Services != 1 || row.Bytes != k.manifest.Bytes() || row.Groups != len(k.manifest.Groups) {
			t.Errorf("restore into %d nodes printed %+v", n, row)
		}
		holdsAll(t, other, k)
		for i := range other.Nodes {
			other.Kill(i)
		}
	}
}

// sendsWhole has a backup sent to standard output: it is the backup and nothing else, and what it is stands elsewhere.
func sendsWhole(t *testing.T, c *clustertest.Cluster, k *kept) {
	t.Helper()
	r := c.Run("backup", "-")
	want := fmt.Sprintf("%d keys, 1 service", k.manifest.Keys())
	if r.Status != 0 || !strings.Contains(r.Stderr, want) || strings.Count(r.Stderr, "\n") != 1 {
		t.Fatalf("status %d, standard error %q, want %q", r.Status, r.Stderr, want)
	}
	m, err := backup.Verify(strings.NewReader(r.Stdout))
	if err != nil || m.Keys() != k.manifest.Keys() || m.Services() != 1 {
		t.Errorf("%d keys came out, want %d: %v", m.Keys(), k.manifest.Keys(), err)
	}
	clustertest.RunIn(t, r.Stdout, "backup", "show", "-").Done(t)
	cut := clustertest.RunIn(t, r.Stdout[:len(r.Stdout)-1], "backup", "show", "-")
	cut.Refused(t, clustertest.ExitRefused, "standard input: ")
}

// fill writes values that can't be packed.
func fill(ctx context.Context, t *testing.T, cl *client.Client, values, size int) {
	t.Helper()
	random := rand.NewChaCha8([32]byte{1})
	var failed error
	b := cl.Bulk(ctx, 0, func(_ uint64, _ client.Written, err error) { failed = errors.Join(failed, err) })
	value := make([]byte, size)
	for i := range values {
		if _, err := io.ReadFull(random, value); err != nil {
			t.Fatal(err)
		}
		b.Set(fmt.Appendf(nil, "v/%05d", i), value, 0)
	}
	b.Wait()
	if failed != nil {
		t.Fatal(failed)
	}
}

// grown waits until a file has so many bytes, or the command that writes it has ended.
func grown(t *testing.T, file string, bytes int64, ended <-chan clustertest.Result) {
	t.Helper()
	clustertest.Await(t, "written in part", clustertest.ReadyMax, func(context.Context) error {
		if len(ended) > 0 {
			return nil
		}
		info, err := os.Stat(file)
		if err == nil && info.Size() < bytes {
			err = fmt.Errorf("it has %d bytes", info.Size())
		}
		return err
	})
}

// backupWithKill takes a backup, and kills the node that leads group 1 while that is on its way. It returns which.
func backupWithKill(t *testing.T, c *clustertest.Cluster, file string) (killed int) {
	t.Helper()
	for try := 0; ; try++ {
		i := leaderOf(t, c, 1)
		ended := make(chan clustertest.Result, 1)
		go func() { ended <- c.Run("backup", file, "-o", "json", "--force") }()
		grown(t, file+".partial", 1<<20, ended)
		c.Kill(i)
		r := <-ended
		r.Done(t)
		var row struct{ Keys uint64 }
		if err := json.Unmarshal([]byte(r.Stdout), &row); err != nil || row.Keys == 0 {
			t.Fatalf("backup printed %q, %v", r.Stdout, err)
		}
		if readBackup(t, file).manifest.Groups[0].Attempt > 0 {
			return i
		}
		if try == 4 {
			t.Fatal("group 1 had come each time when its leader was killed")
		}
		c.Start(i)
		c.Healthy()
	}
}

// leaderOf returns the number of the node that leads a group.
func leaderOf(t *testing.T, c *clustertest.Cluster, group raft.GroupID) (number int) {
	t.Helper()
	cl := c.Client()
	c.Until(fmt.Sprintf("group %d led", group), func(ctx context.Context) error {
		a, err := cl.Status(ctx, c.Nodes[0].Addr)
		if err != nil {
			return err
		}
		for _, g := range a.Groups {
			if g.ID == group {
				if number = c.NumberOf(a, g); number >= 0 {
					return nil
				}
			}
		}
		return errors.New("no leader is known")
	})
	return number
}

// restoreWithKill restores a file in two parts: the first command is killed on its way.
func restoreWithKill(t *testing.T, c *clustertest.Cluster, file string) {
	t.Helper()
	cmd := c.Command("restore", file, "--endpoints", c.Endpoints())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cl := c.Client()
	c.Until("restored in part", func(ctx context.Context) error {
		for _, err := range cl.List(ctx, nil, client.ListOptions{Limit: 1, KeysOnly: true}) {
			return err
		}
		return errors.New("there is no key")
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if cmd.Wait() == nil {
		t.Error("the restore had ended before it was killed")
	}
	c.Run("restore", file).Refused(t, clustertest.ExitConflict, "--continue")
	ctx, cancel := context.WithTimeout(context.Background(), clustertest.RunMax)
	defer cancel()
	if _, err := cl.Set(ctx, []byte("stranger"), nil, client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Run("restore", file, "--continue").Refused(t, clustertest.ExitConflict, "1 key not in the backup")
	if _, err := cl.Delete(ctx, []byte("stranger")); err != nil {
		t.Fatal(err)
	}
	c.Run("restore", file, "--continue").Done(t)
}

// holdsAll checks that a cluster has what the file has, and nothing else, by a backup of its own.
func holdsAll(t *testing.T, c *clustertest.Cluster, k *kept) {
	t.Helper()
	file := filepath.Join(c.Dir, "again.backup")
	c.Run("backup", file).Done(t)
	again := readBackup(t, file)
	for kind, rows := range k.rows {
		for name, want := range rows {
			got, there := again.rows[kind][name]
			if kind == shardmap.KindService {
				got.Value, want.Value = definition(t, got.Value), definition(t, want.Value)
			}
			if !there || !bytes.Equal(got.Value, want.Value) || got.Ends != want.Ends || got.Remaining > want.Remaining {
				t.Errorf("%d nodes: %q has %.40q (%t), ends %t in %d ms; the file has %.40q, %t, %d ms",
					len(c.Nodes), name, got.Value, there, got.Ends, got.Remaining, want.Value, want.Ends, want.Remaining)
				return
			}
		}
		if len(again.rows[kind]) != len(rows) {
			t.Errorf("%d nodes: %d of kind %d, the file has %d", len(c.Nodes), len(again.rows[kind]), kind, len(rows))
		}
	}
}

// definition is what a restored service has of the one before, as text.
func definition(t *testing.T, record []byte) []byte {
	t.Helper()
	s, err := registry.Read(record)
	if err != nil {
		t.Fatal(err)
	}
	b := fmt.Appendf(nil, "%s %s %v", s.Name, s.Type, s.Settings)
	for _, i := range s.Instances {
		b = fmt.Appendf(b, "; %s %v %t", i.ID, i.Settings, i.Maintenance)
	}
	return b
}

// A file that is not what was written is refused before anything is asked of a cluster; and where a backup can't be written,
// nothing is left behind.
func TestBackupIsRefused(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1)
	c.Run("kv", "set", "a", "1").Done(t)
	file := filepath.Join(c.Dir, "small.backup")
	c.Run("backup", file).Done(t)
	if out := c.Run("backup", "show", file, "-o", "json").Done(t); !strings.Contains(out, `"keys":1,`) || !strings.Contains(out, `"log_id":"g1/`) {
		t.Errorf("backup show printed %s", out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[60] ^= 1
	bad := filepath.Join(c.Dir, "bad.backup")
	if err := os.WriteFile(bad, b, 0o600); err != nil {
		t.Fatal(err)
	}
	nobody := []string{"--endpoints", "127.0.0.1:1"}
	for _, args := range [][]string{{"restore", bad}, {"backup", "show", bad}} {
		c.Run(append(args, nobody...)...).Refused(t, clustertest.ExitRefused, "the backup is damaged at byte 32, in block 0: the head of the block")
	}
	if err := os.WriteFile(bad, b[:50], 0o600); err != nil {
		t.Fatal(err)
	}
	c.Run("restore", bad).Refused(t, clustertest.ExitRefused, "damaged at byte 50, in block 0: the file ends here")
	left := filepath.Join(c.Dir, "no.backup")
	c.Run(append([]string{"backup", left}, nobody...)...).Refused(t, clustertest.ExitNoEndpoint, "no endpoint accepted")
	for _, name := range []string{left, left + ".partial"} {
		if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v; want nothing left", name, err)
		}
	}
	if err := os.WriteFile(left+".partial", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.Run("backup", left).Refused(t, clustertest.ExitRefused, "another backup is being written")
	c.Run("restore", "-").Refused(t, clustertest.ExitUsage, "want the name of a file")
	c.Run("restore", c.Dir).Refused(t, clustertest.ExitRefused, "is a directory")
	c.Run("backup", c.Dir).Refused(t, clustertest.ExitRefused, "is a directory")
	t.Run("full disk", func(t *testing.T) {
		small := filepath.Join(c.Dir, "small")
		if err := os.Mkdir(small, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=65536"); err != nil {
			t.Skipf("FULL DISKS ARE NOT TESTED: mount a tmpfs: %v (it takes root)", err)
		}
		t.Cleanup(func() {
			if err := syscall.Unmount(small, syscall.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", small, err)
			}
		})
		ctx, cancel := context.WithTimeout(context.Background(), clustertest.RunMax)
		defer cancel()
		fill(ctx, t, c.Client(), 20, 16<<10)
		c.Run("backup", filepath.Join(small, "all")).Refused(t, clustertest.ExitRefused, "no space left on device; "+filepath.Join(small, "all")+" was not written")
		if names, err := os.ReadDir(small); err != nil || len(names) != 0 {
			t.Errorf("%v is left, %v", names, err)
		}
	})
}

// While slots move to and fro between two groups each backup has each of them once, with all its keys. One would doubt it: the
// groups are of different moments, and a slot that is on its way is with neither.
func TestBackupWhileSlotsMove(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1, "--groups", "2")
	ctx, cancel := context.WithTimeout(context.Background(), clustertest.RunMax)
	defer cancel()
	const keys = 3000
	fill(ctx, t, c.Client(), keys, 1<<10)
	moving, stop := context.WithCancel(ctx)
	moves := 0
	var mover sync.WaitGroup // ends with moving
	mover.Go(func() {
		for to := 2; moving.Err() == nil; to = 3 - to {
			if r := c.Run("slot", "move", "0-99", fmt.Sprint(to)); r.Status != clustertest.ExitDone {
				t.Errorf("slot move: %+v", r)
			}
			moves++
		}
	})
	ended := func() {
		stop()
		mover.Wait()
	}
	defer ended() // a test that has failed ends, too
	again := uint32(0)
	for i := 0; i < 6 || again == 0 && ctx.Err() == nil; i++ { // and until slots have moved while one was taken
		file := filepath.Join(c.Dir, fmt.Sprintf("%d.backup", i))
		c.Run("backup", file).Done(t)
		k := readBackup(t, file)
		if n := k.manifest.Keys(); n != keys {
			t.Errorf("backup %d has %d keys, want %d", i, n, keys)
		}
		for _, g := range k.manifest.Groups {
			again += g.Attempt
		}
	}
	ended()
	if t.Logf("%d moves of 100 slots, %d groups were taken again", moves, again); again == 0 {
		t.Error("no slot has moved while a backup was taken")
	}
}
