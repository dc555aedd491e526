package trial

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
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

// upgradeFrom is the commit whose binary is upgraded from: the last one that changed
// what stands on the disk or on the wire in a way that later builds don't read. From
// there on each build must follow it without a stop, and read what it wrote.
const upgradeFrom = "14f21b2ed4183f278b504ebcacc215ba6710d14f"

// levelFrom is the last published commit of a level below this build's: a cluster of it
// rises to this level with the last node that is upgraded.
const levelFrom = "67bba16116203c4bf6b2cfe38e9d9ed19ee2fa9f"

// clearFrom is the last published commit that knows no TLS.
const clearFrom = "1003f5a4fa66177edd26f55f733040abe353564b"

// levelOf asks a binary which level of commands it understands.
func levelOf(t *testing.T, binary string) (level uint32) {
	t.Helper()
	out, err := clustertest.CommandOf(binary, "version", "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Level uint32 `json:"level"`
	}
	if err := json.Unmarshal(out, &v); err != nil || v.Level == 0 {
		t.Fatalf("%s says %q: %v", binary, out, err)
	}
	return v.Level
}

// upgradeLoad is clients of two builds that set and get a few keys, and set keys of
// their own, until they are told to stop. All that they are told is kept.
type upgradeLoad struct {
	c     *clustertest.Cluster
	began time.Time
	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup
	keys  int           // that all clients share
	pause time.Duration // between two operations of a client
	// ends reports whether a client may end with an error; nil: none may.
	ends func(kind string, err error) bool

	mu      sync.Mutex
	ops     map[string]int        // by the kind of client
	history []porcupine.Operation // of the shared keys
	newest  map[string]uint64     // of each shared key, the highest version that anybody was told
	owned   map[string]string     // what the keys of one writer were set to
	ended   map[string][]error    // by the kind of client, with what those ended that may
}

// upgradeKeys is how many keys are shared.
const upgradeKeys = 5

// teller is a client of some build. Version 0 and no value: there is no such key.
type teller interface {
	set(key, value string) (version uint64, err error)
	get(key string) (value string, version uint64, err error)
}

// library is this build's Go client.
type library struct{ cl *client.Client }

// upgradeWait is how long one operation may take: elections, and a machine that is busy.
const upgradeWait = 10*time.Second + clustertest.BusyMax

func (l library) set(key, value string) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), upgradeWait)
	defer cancel()
	w, err := l.cl.Set(ctx, []byte(key), []byte(value), client.WriteOptions{})
	return w.Version, err
}

func (l library) get(key string) (string, uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), upgradeWait)
	defer cancel()
	items, _, err := l.cl.Get(ctx, [][]byte{[]byte(key)}, client.ReadOptions{})
	if err != nil || len(items) == 0 {
		return "", 0, err
	}
	return string(items[0].Value), items[0].Version, nil
}

// commandLine is the client in a binary: each call is a process.
type commandLine struct {
	binary, endpoints string
	env               []string      // beside that of all commands
	wait              time.Duration // for one operation; 0: upgradeWait
}

func (c commandLine) run(into any, missing int, args ...string) error {
	cmd := clustertest.CommandOf(c.binary, append(args, "-o", "json", "--endpoints", c.endpoints, "--timeout", cmp.Or(c.wait, upgradeWait).String())...)
	cmd.Env = append(cmd.Env, c.env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState.ExitCode() != missing {
		return fmt.Errorf("%v: %w: %s", args, err, &stderr)
	}
	return json.Unmarshal(out, into)
}

func (c commandLine) set(key, value string) (uint64, error) {
	var said struct {
		Versions map[string]uint64 `json:"versions"`
	}
	err := c.run(&said, clustertest.ExitDone, "kv", "set", key, value)
	return said.Versions[key], err
}

func (c commandLine) get(key string) (string, uint64, error) {
	var said struct {
		Items []struct {
			Value   string `json:"value"`
			Version uint64 `json:"version"`
		} `json:"items"`
	}
	if err := c.run(&said, clustertest.ExitNotFound, "kv", "get", key); err != nil || len(said.Items) == 0 {
		return "", 0, err
	}
	return said.Items[0].Value, said.Items[0].Version, nil
}

func newUpgradeLoad(c *clustertest.Cluster) *upgradeLoad {
	l := &upgradeLoad{c: c, began: time.Now(), ops: map[string]int{}, newest: map[string]uint64{}, owned: map[string]string{}, ended: map[string][]error{}, keys: upgradeKeys}
	l.ctx, l.stop = context.WithCancel(context.Background())
	return l
}

// run lets one client work until the load stops.
func (l *upgradeLoad) run(kind string, number int, c teller) {
	l.wg.Go(func() {
		rnd := rand.New(rand.NewPCG(uint64(number), 7))
		for n := 0; l.ctx.Err() == nil; n++ {
			var err error
			value := fmt.Sprintf("%s-%d-%d", kind, number, n)
			switch rnd.IntN(4) {
			case 0:
				key := "upgrade/own/" + value
				if _, err = c.set(key, value); err == nil {
					l.mu.Lock()
					l.owned[key] = value
					l.mu.Unlock()
				}
			case 1, 2:
				err = l.shared(registerOp{key: fmt.Sprintf("upgrade/%d", rnd.IntN(l.keys)), set: true, value: value}, c)
			default:
				err = l.shared(registerOp{key: fmt.Sprintf("upgrade/%d", rnd.IntN(l.keys))}, c)
			}
			if err != nil && l.ends != nil && l.ends(kind, err) {
				l.mu.Lock()
				l.ended[kind] = append(l.ended[kind], err)
				l.mu.Unlock()
				return
			}
			if err != nil {
				l.c.T.Errorf("%s client %d, operation %d: %v", kind, number, n, err)
				return
			}
			l.mu.Lock()
			l.ops[kind]++
			l.mu.Unlock()
			if l.pause > 0 {
				select {
				case <-l.ctx.Done():
				case <-time.After(l.pause):
				}
			}
		}
	})
}

// shared does one operation on a key that all clients use.
func (l *upgradeLoad) shared(op registerOp, c teller) (err error) {
	l.mu.Lock()
	floor := l.newest[op.key]
	l.mu.Unlock()
	var result registerResult
	var version uint64
	call := time.Since(l.began)
	if op.set {
		version, err = c.set(op.key, op.value)
	} else {
		result.value, version, err = c.get(op.key)
	}
	back := time.Since(l.began)
	if err != nil && op.set {
		// It may have been applied, or be applied yet: to leave it out would make the history of
		// the others one that nothing explains.
		l.mu.Lock()
		defer l.mu.Unlock()
		l.history = append(l.history, porcupine.Operation{ClientId: len(l.history), Input: op, Output: result, Call: int64(call), Return: math.MaxInt64})
	}
	if err != nil {
		return err
	}
	if version < floor || op.set && version == floor {
		return fmt.Errorf("%+v: version %d after version %d", op, version, floor)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.newest[op.key] = max(l.newest[op.key], version)
	l.history = append(l.history, porcupine.Operation{ClientId: len(l.history), Input: op, Output: result, Call: int64(call), Return: int64(back)})
	return nil
}

// advances waits until each kind of client has done some more.
func (l *upgradeLoad) advances(what string, more map[string]int) {
	l.c.T.Helper()
	l.mu.Lock()
	want := map[string]int{}
	for kind, n := range more {
		want[kind] = l.ops[kind] + n
	}
	l.mu.Unlock()
	l.c.Until(what, func(context.Context) error {
		if l.c.T.Failed() {
			l.c.T.FailNow()
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		for kind, n := range want {
			if l.ops[kind] < n {
				return fmt.Errorf("clients of the %s build have done %d operations of %d", kind, l.ops[kind], n)
			}
		}
		return nil
	})
}

// The nodes of a cluster are replaced one after the other by those of this build, under
// the load of clients of both builds. Nobody is told an error, nothing that was
// acknowledged is lost, no version goes back, and what all nodes understand at the end
// is taken then. One would doubt each: members of two builds speak to each other,
// lead each other and send each other their states, and each node goes on with a
// directory that another build wrote, the older one too where it is put back.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	older := clustertest.OlderBinary(t, levelFrom)
	was, is := levelOf(t, older), levelOf(t, clustertest.Binary())
	if was >= is {
		t.Fatalf("commit %.10s is of level %d, this build of %d: name the last one of a level below", levelFrom, was, is)
	}
	c := clustertest.New(t, 3)
	for i, p := range c.Nodes {
		p.Binary = older
		c.Start(i)
	}
	c.Healthy()
	l := newUpgradeLoad(c)
	defer l.wg.Wait()
	defer l.stop()
	for i := range 3 {
		l.run("newer", i, library{c.Client()})
	}
	l.run("newer", 3, commandLine{binary: clustertest.Binary(), endpoints: c.Endpoints()})
	for i := range 2 {
		l.run("older", i, commandLine{binary: older, endpoints: c.Endpoints()})
	}
	more := map[string]int{"newer": 200, "older": 15}
	l.advances("clients work before the upgrade", more)
	for i, p := range c.Nodes {
		if got := levelAt(c, i); got != was {
			t.Errorf("before n%d is replaced, the cluster is at level %d, want %d", i+1, got, was)
		}
		c.Stop(i)
		p.Binary = clustertest.Binary()
		c.Start(i)
		c.Healthy()
		l.advances(fmt.Sprintf("clients work with %d nodes replaced", i+1), more)
		l.refusesNewer(i + 1)
		if i > 0 {
			continue
		}
		// Until the level has risen, the older build takes its place again.
		c.Stop(i)
		p.Binary = older
		c.Start(i)
		c.Healthy()
		l.advances("clients work with the older build back on n1", more)
		c.Stop(i)
		p.Binary = clustertest.Binary()
		c.Start(i)
		c.Healthy()
	}
	for i := range c.Nodes {
		c.Until(fmt.Sprintf("at level %d, says n%d", is, i+1), func(context.Context) error {
			if got := levelAt(c, i); got != is {
				return fmt.Errorf("it says %d", got)
			}
			return nil
		})
	}
	l.takesNewer()
	l.stop()
	l.wg.Wait()
	result, _ := porcupine.CheckOperationsVerbose(registerModel, l.history, time.Minute)
	if result != porcupine.Ok {
		t.Errorf("history of %d operations: %s", len(l.history), result)
	}
	l.check(library{c.Client()})
	t.Logf("from commit %.10s, level %d to %d; operations: %v", levelFrom, was, is, l.ops)
}

// refusesNewer asks for what came with this build's level, in a cluster of which only the
// first nodes understand it: it is refused for the level, whoever leads, and nothing of it is
// done. What replicas of both builds hold is the same by what both compare.
func (l *upgradeLoad) refusesNewer(newer int) {
	c := l.c
	c.T.Helper()
	if newer == len(c.Nodes) {
		return
	}
	cl := c.Client()
	ctx, cancel := context.WithTimeout(context.Background(), upgradeWait)
	defer cancel()
	err := l.orderNewer(ctx, cl)
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != wire.CodeLevel {
		c.T.Errorf("a database with %d nodes replaced: %v; want it refused for the level", newer, err)
	}
	l.agree(cl, fmt.Sprintf("all groups are compared with %d nodes replaced", newer))
}

// orderNewer creates a database: such came with this build's level.
func (l *upgradeLoad) orderNewer(ctx context.Context, cl *client.Client) error {
	command, err := shardmap.AppendChangeDatabase(nil, &shardmap.ChangeDatabase{Action: shardmap.DatabaseCreate, Name: newerDatabase})
	if err != nil {
		return err
	}
	_, err = cl.Order(ctx, command, 0)
	return err
}

const newerDatabase = "upgrade"

// takesNewer does what came with this build's level, once all nodes understand it; and replicas
// are equal whatever builds have applied what they hold.
func (l *upgradeLoad) takesNewer() {
	c := l.c
	c.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clustertest.ReadyMax)
	defer cancel()
	cl := c.Client()
	if err := l.orderNewer(ctx, cl); err != nil {
		c.T.Errorf("a database at the new level: %v", err)
	}
	c.Until("the database is in the table", func(ctx context.Context) error {
		t, _, err := cl.Table(ctx, "")
		if err != nil {
			return err
		}
		if _, ok := t.Catalog.DatabaseNamed(newerDatabase); !ok {
			return fmt.Errorf("there is no database %s yet", newerDatabase)
		}
		return nil
	})
	l.agree(cl, "all groups are compared at the new level")
}

// agree waits until all replicas of all groups were compared, and are equal.
func (l *upgradeLoad) agree(cl *client.Client, what string) {
	c := l.c
	c.T.Helper()
	compared := map[raft.GroupID]bool{}
	c.Until(what, func(ctx context.Context) error {
		for i, p := range c.Nodes {
			a, err := cl.Check(ctx, p.Addr, wire.Check{})
			if err != nil {
				return fmt.Errorf("n%d: %w", i+1, err)
			}
			for _, g := range a.Groups {
				agree := 0
				for _, r := range g.Replicas {
					if r.State != wire.CheckedAgrees && r.State != wire.CheckedSilent {
						c.T.Fatalf("group %d, replica %d on node %s: %s in parts %v", g.Group, r.Replica, r.Node, r.State, r.Parts)
					}
					if r.State == wire.CheckedAgrees {
						agree++
					}
				}
				compared[g.Group] = compared[g.Group] || agree == len(c.Nodes)
			}
		}
		a, err := cl.Status(ctx, c.Nodes[0].Addr)
		if err != nil {
			return err
		}
		for i := range a.Groups {
			if g := a.Groups[i].ID; !compared[g] {
				return fmt.Errorf("group %d is not compared yet", g)
			}
		}
		return nil
	})
}

// check reads back what the keys of one writer each were set to.
func (l *upgradeLoad) check(c teller) {
	l.c.T.Helper()
	for key, want := range l.owned {
		if got, _, err := c.get(key); err != nil || got != want {
			l.c.T.Errorf("%s: got %q, %v; it was acknowledged as %q", key, got, err, want)
		}
	}
}

// levelAt is the cluster's level, as a node says.
func levelAt(c *clustertest.Cluster, i int) uint32 {
	c.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clustertest.ReadyMax)
	defer cancel()
	a, err := c.Client().Status(ctx, c.Nodes[i].Addr)
	if err != nil {
		c.T.Fatal(err)
	}
	return a.Level
}

// Directories that the older build wrote are read as they stand: one that it closed,
// and one of a node that was killed, with states in snapshots and entries after them.
// What is written anew is of this build's formats, and read again.
func TestOlderDirectoryIsRead(t *testing.T) {
	t.Parallel()
	oldest, older := clustertest.OlderBinary(t, upgradeFrom), clustertest.OlderBinary(t, levelFrom)
	for _, how := range []struct {
		name  string
		older string
		clear bool // it knows no TLS, and its cluster has none until muster ca create
		end   func(c *clustertest.Cluster)
	}{
		{"closed", oldest, true, func(c *clustertest.Cluster) { c.Stop(0) }},
		{"killed", oldest, true, func(c *clustertest.Cluster) { c.Kill(0) }},
		{"of the level below, killed", older, false, func(c *clustertest.Cluster) { c.Kill(0) }},
	} {
		t.Run(how.name, func(t *testing.T) {
			t.Parallel()
			c := clustertest.New(t, 1, "--groups", "2")
			c.Clear = how.clear
			p := c.Nodes[0]
			p.Binary = how.older
			c.Start(0)
			c.Healthy()
			l := newUpgradeLoad(c)
			cl := library{c.Client()}
			// Enough for a snapshot of each group, and then some more.
			value := strings.Repeat("v", 64<<10)
			for i := range 400 {
				key := fmt.Sprintf("older/%d", i)
				l.owned[key] = fmt.Sprint(i, value)
				if _, err := cl.set(key, l.owned[key]); err != nil {
					t.Fatal(err)
				}
			}
			c.Until("a snapshot of each group", func(context.Context) error {
				if all, err := filepath.Glob(filepath.Join(p.Data, "snap", "*.snap")); err != nil || len(all) < 2 {
					return fmt.Errorf("there are %q, %v", all, err)
				}
				return nil
			})
			for i := range 20 {
				key := fmt.Sprintf("older/%d", i)
				l.owned[key] = fmt.Sprint("later ", i)
				if _, err := cl.set(key, l.owned[key]); err != nil {
					t.Fatal(err)
				}
			}
			how.end(c)
			clustertest.Run(t, "log", "verify", p.Data).Done(t)
			p.Binary = clustertest.Binary()
			for _, again := range []string{"the older directory", "what was made of it"} {
				c.Start(0)
				c.Healthy()
				l.check(library{c.Client()})
				if t.Failed() {
					t.Fatalf("%s was not read", again)
				}
				c.Stop(0)
			}
		})
	}
}
