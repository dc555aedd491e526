package services

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

var servicesFlag = flag.Int("services", servicesShort, "how many services with five instances each TestServicesSteady has checked every two seconds, for half a minute, on three nodes")

const (
	// servicesShort is how many there are otherwise, and looked at for as long as each takes
	// to be checked a few times.
	servicesShort = 40
	// servicesInterval is how often they are checked.
	servicesInterval = 2 * time.Second
	// servicesShare is what part of a processor all nodes together may take for it.
	servicesShare = 0.25
	// servicesLong is how long a measurement takes.
	servicesLong = 30 * time.Second
)

// Of the services in these tests: how often they are checked, and how many results in a row
// make an instance up or down.
const (
	checkInterval  = 500 * time.Millisecond
	checkThreshold = 3
	// statusMax is how long a status may take to follow, also if the node that checks is killed
	// meanwhile: it is missed, others are assigned its checks, and go on counting.
	statusMax = checkThreshold*checkInterval + time.Second
)

// statuses follows all services of a cluster by one watch.
type statuses struct {
	t    *testing.T
	stop context.CancelFunc
	done chan struct{}

	mu       sync.Mutex
	services map[string]*registry.Service // guarded by mu
	seen     []string                     // guarded by mu: each status that an instance had, in order
	moved    chan struct{}                // guarded by mu: closed at the next event
}

// follow begins to. It returns when the watch is open.
func follow(t *testing.T, cl *client.Client) *statuses {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	s := &statuses{t: t, stop: stop, done: make(chan struct{}), services: map[string]*registry.Service{}, moved: make(chan struct{})}
	open := make(chan struct{})
	go func() {
		defer close(s.done)
		w := cl.WatchServices(ctx, "", nil)
		defer w.Close()
		for {
			e, err := w.Next()
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				t.Errorf("the watch of services ends: %v", err)
				return
			case e.Kind == client.WatchOpened:
				close(open)
			case e.Kind == client.WatchSet:
				s.take(e.Name, e.Service)
			case e.Kind == client.WatchDel:
				s.take(e.Name, nil)
			}
		}
	}()
	t.Cleanup(s.end)
	select {
	case <-open:
	case <-time.After(clustertest.ReadyMax):
		t.Fatal("the watch of services is not open")
	}
	return s
}

func (s *statuses) end() {
	s.stop()
	<-s.done
}

func (s *statuses) take(name string, is *registry.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.services[name] = is
	if is != nil {
		for i := range is.Instances {
			s.seen = append(s.seen, fmt.Sprintf("%s/%s %s", name, is.Instances[i].ID, is.Instances[i].Shown()))
		}
	}
	close(s.moved)
	s.moved = make(chan struct{})
}

// all waits until each instance of the named services has a status, and returns how long that
// took.
func (s *statuses) all(want string, limit time.Duration, names ...string) time.Duration {
	s.t.Helper()
	began := time.Now()
	late := time.After(limit)
	for {
		s.mu.Lock()
		var others []string
		for _, name := range names {
			is := s.services[name]
			if is == nil {
				others = append(others, name+": not there")
				continue
			}
			for i := range is.Instances {
				if x := &is.Instances[i]; x.Shown() != want {
					others = append(others, fmt.Sprintf("%s/%s: %s (%s)", name, x.ID, x.Shown(), x.Reason))
				}
			}
		}
		moved := s.moved
		s.mu.Unlock()
		if len(others) == 0 {
			return time.Since(began)
		}
		select {
		case <-moved:
		case <-late:
			s.t.Fatalf("after %s not all are %s: %s", limit, want, strings.Join(others, "; "))
		}
	}
}

// since returns what the watch has shown of the instances of services whose names begin with
// something, but for the first events.
func (s *statuses) since(first int, prefix string) (shown []string, all int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range s.seen[first:] {
		if strings.HasPrefix(text, prefix) {
			shown = append(shown, text)
		}
	}
	return shown, len(s.seen)
}

// fileOf returns the file of a service whose instances are some servers, by id.
func fileOf(name, kind string, each map[string]checked) string {
	var nodes []string
	for _, id := range slices.Sorted(maps.Keys(each)) {
		nodes = append(nodes, fmt.Sprintf(`%s,"interval":"%d","rise":"%d","fall":"%d"}`, each[id].node(id), checkInterval.Milliseconds(), checkThreshold, checkThreshold))
	}
	return fmt.Sprintf(`{"name":%q,"type":%q,"node":[%s]}`, name, kind, strings.Join(nodes, ","))
}

// setFile has the command set the services of a file.
func setFile(c *clustertest.Cluster, services ...string) clustertest.Result {
	c.T.Helper()
	path := filepath.Join(c.T.TempDir(), "services.json")
	if err := os.WriteFile(path, []byte("["+strings.Join(services, ",")+"]"), 0o600); err != nil {
		c.T.Fatal(err)
	}
	return c.Run("service", "set", "-f", path)
}

// Each type of service goes up and down with what it stands for, within threshold times
// interval and a second: that of real servers too. So it does while a node is killed, which
// may be the one that checks, the one that leads, or both: just before the change, or up to an
// interval behind it, when some checks have failed once. And a start of all nodes changes no
// status, not even for a moment, and writes nothing about one.
func TestServicesAreChecked(t *testing.T) {
	s := newScript(t)
	c := clustertest.Start(t, 3, "--groups", "3", "--check", "well="+s.path)
	cl := c.Client()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	watch := follow(t, cl)
	k := newKinds(ctx, t, cl, s, &wg)
	k.set(c, "healthy")
	watch.all("down", statusMax+clustertest.BusyMax, k.names()...)
	k.turn("while all nodes live", checked.on, watch, "up", statusMax)
	k.turn("while all nodes live", checked.off, watch, "down", statusMax)
	// A check belongs to one node as long as all are alive. So of each instance the node
	// that checks it is killed once.
	k.set(c, "killed")
	watch.all("down", statusMax+clustertest.BusyMax, k.names()...)
	for i, next := range []struct {
		turn   func(checked, *testing.T)
		status string
		behind time.Duration // the change; 0: before it
	}{{checked.on, "up", 0}, {checked.off, "down", checkInterval}, {checked.on, "up", checkInterval / 2}} {
		var killing sync.WaitGroup
		if next.behind == 0 {
			c.Kill(i)
		} else {
			killing.Go(func() {
				time.Sleep(next.behind)
				c.Kill(i)
			})
		}
		k.turn(fmt.Sprintf("while n%d is killed", i+1), next.turn, watch, next.status, statusMax)
		killing.Wait()
		c.Start(i)
		c.Healthy()
	}
	before := k.read(cl)
	for i := range c.Nodes {
		c.Kill(i)
	}
	for i := range c.Nodes {
		c.Start(i)
	}
	c.Healthy()
	k.checked(2 * checkThreshold)
	after := k.read(cl)
	for name, was := range before {
		if is := after[name]; is.Version != was.Version {
			t.Errorf("a start of all nodes has changed service %q from version %d to %d: %+v", name, was.Version, is.Version, is.Service)
		}
	}
}

// within checks a time.
func within(t *testing.T, what string, took, most time.Duration) {
	t.Helper()
	t.Logf("%s after %s, of %s", what, took.Round(time.Millisecond), most.Round(time.Millisecond))
	if took > most {
		t.Errorf("%s only after %s; want %s at most", what, took, most)
	}
}

// Many services that are well cost little: a part of one processor, no entry in any log, and
// no port of this host, which a connection that was closed would keep for a minute. The long
// measure has a thousand services of five instances.
func TestServicesSteady(t *testing.T) {
	c := clustertest.Start(t, 3, "--groups", "3")
	cl := c.Client()
	l := newListener(t, nil)
	var names []string
	for i := range *servicesFlag {
		s := &registry.Service{Name: fmt.Sprintf("service-%04d", i), Type: registry.TypeTCP}
		for j := range 5 {
			s.Instances = append(s.Instances, registry.Instance{ID: fmt.Sprintf("i%d", j), Settings: []registry.Setting{
				{Key: "host", Value: "127.0.0.1"}, {Key: "interval", Value: fmt.Sprint(servicesInterval.Milliseconds())}, {Key: "port", Value: l.port}}})
		}
		names = append(names, s.Name)
		if _, err := cl.SetService(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	k := &kinds{t: t}
	c.Until("up, all of them", func(ctx context.Context) error {
		for name, item := range k.read(cl) {
			for i := range item.Service.Instances {
				if x := &item.Service.Instances[i]; x.Status != registry.Up {
					return fmt.Errorf("%s/%s is %s: %s", name, x.ID, x.Shown(), x.Reason)
				}
			}
		}
		return nil
	})
	for again := 0; !staySteady(c, cl, l, names) && again < 3; again++ {
		t.Log("another leader came meanwhile, which writes: once more")
	}
	if n := waiting(t, l.port); n > 0 {
		t.Errorf("%d ports wait for connections to %s that have been closed", n, l.port)
	}
}

// staySteady watches services for a while of which nothing changes. It returns false if a
// group has got another leader meanwhile.
func staySteady(c *clustertest.Cluster, cl *client.Client, l *listener, names []string) bool {
	t := c.T
	t.Helper()
	logs, cpu, began, looks := logEnds(c, cl), clustertest.ProcessorTime(c), time.Now(), l.looks()
	most := int64(3 * 5 * len(names))
	long := *servicesFlag != servicesShort
	clustertest.Await(t, "checked three times, each of them", clustertest.ReadyMax, func(context.Context) error {
		switch n := l.looks() - looks; {
		case n < most:
			return fmt.Errorf("%d checks, of %d", n, most)
		case long && time.Since(began) < servicesLong:
			return errors.New("the measurement is not over")
		}
		return nil
	})
	took := time.Since(began)
	share := (clustertest.ProcessorTime(c) - cpu).Seconds() / took.Seconds()
	now := logEnds(c, cl)
	for g, was := range logs {
		if now[g].term != was.term {
			return false
		}
	}
	t.Logf("%d instances, each checked every %s: %.1f %% of a processor over all nodes, %.0f checks a second", 5*len(names), servicesInterval, 100*share, float64(l.looks()-looks)/took.Seconds())
	if share > servicesShare {
		t.Errorf("%.1f %% of a processor; want %.0f at most", 100*share, 100*servicesShare)
	}
	for g, was := range logs {
		if now[g].index == was.index {
			continue
		}
		// An audit of the copies comes from the clock, whatever the services do.
		var log *wire.LogRangeAnswer
		clustertest.Await(t, "all of it in n1's log", clustertest.ReadyMax, func(ctx context.Context) (err error) {
			log, err = cl.LogRange(ctx, c.Nodes[0].Addr, wire.LogRange{Group: g, From: was.index + 1, To: now[g].index})
			if err == nil && log.Last.Index < now[g].index {
				err = fmt.Errorf("it ends at %s", log.Last)
			}
			return err
		})
		for _, e := range log.Entries {
			if e.Kind != raft.EntryAudit {
				t.Errorf("while nothing changes group %d, which stood at %+v, has written %+v", g, was, e)
			}
		}
	}
	return true
}

// logEnd is up to where a group has applied its log.
type logEnd struct{ term, index uint64 }

// logEnds returns that of each data group.
func logEnds(c *clustertest.Cluster, cl *client.Client) map[raft.GroupID]logEnd {
	c.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clustertest.ReadyMax)
	defer cancel()
	at := map[raft.GroupID]logEnd{}
	for _, p := range c.Nodes {
		a, err := cl.Status(ctx, p.Addr)
		if err != nil {
			c.T.Fatal(err)
		}
		for _, g := range a.Groups {
			if g.ID != 0 {
				at[g.ID] = logEnd{max(at[g.ID].term, g.Term), max(at[g.ID].index, g.Applied)}
			}
		}
	}
	return at
}

// waiting counts the ports of this host that wait because a connection to another was closed.
func waiting(t *testing.T, port string) (n int) {
	t.Helper()
	const timeWait = "06" // include/net/tcp_states.h
	text, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Skipf("NOT TESTED: how many ports checks hold: %v", err)
	}
	var number int
	fmt.Sscan(port, &number)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) > 3 && f[3] == timeWait && strings.HasSuffix(f[2], fmt.Sprintf(":%04X", number)) {
			n++
		}
	}
	return n
}

// Slots move to another group and back while their services are checked, watched and set: no
// status changes, the watch shows each version once and in order, and a change that comes
// later arrives.
func TestServicesMove(t *testing.T) {
	c := clustertest.Start(t, 3, "--groups", "2")
	cl := c.Client()
	watch := follow(t, cl)
	each := map[string]checked{}
	for i := range instancesEach {
		each[fmt.Sprintf("i%d", i)] = newListener(t, nil)
	}
	k := &kinds{t: t, all: []kind{{"moved", registry.TypeTCP, each}}}
	const moved, written = "moved-", "written"
	var names, files []string
	for i := range 6 {
		name := fmt.Sprintf("%s%d", moved, i)
		names, files = append(names, name), append(files, fileOf(name, registry.TypeTCP, each))
	}
	setFile(c, files...).Done(t)
	watch.all("up", clustertest.ReadyMax, names...)
	before := k.read(cl)
	_, first := watch.since(0, "")

	// One more is set again and again, to something else each time.
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	shown := cl.WatchServices(ctx, written, nil)
	defer shown.Close()
	if e, err := shown.Next(); err != nil || e.Kind != client.WatchOpened {
		t.Fatalf("the watch of a service begins with %+v, %v", e, err)
	}
	last := make(chan int, 1)
	wg.Go(func() {
		n := 0
		defer func() { last <- n }()
		for ctx.Err() == nil {
			s := &registry.Service{Name: written, Type: registry.TypeTTL, Settings: []registry.Setting{{Key: "n", Value: fmt.Sprint(n)}},
				Instances: []registry.Instance{{ID: "i0"}}}
			if _, err := cl.SetService(context.WithoutCancel(ctx), s); err != nil {
				t.Errorf("set: %v", err)
				return
			}
			n++
		}
	})
	for range 2 {
		swapSlots(c, cl)
	}
	k.checked(2 * checkThreshold)
	for name, item := range k.read(cl) {
		if was := before[name]; name != written && item.Version != was.Version {
			t.Errorf("service %q has changed while its slot moved: from version %d to %d: %+v", name, was.Version, item.Version, item.Service)
		}
	}
	if shown, _ := watch.since(first, moved); len(shown) > 0 {
		t.Errorf("while slots move, and nothing else changes, a watch shows %q", shown)
	}
	stop()
	wg.Wait()
	sets := <-last
	rest, cancel := context.WithTimeout(t.Context(), clustertest.ReadyMax)
	defer cancel()
	again := cl.WatchServices(rest, written, shown.Positions())
	defer again.Close()
	for n := 0; n < sets; {
		e, err := again.Next()
		if err != nil {
			t.Fatalf("the watch ends behind %d of %d versions: %v", n, sets, err)
		}
		if e.Kind != client.WatchSet {
			continue
		}
		if got := e.Service.Get("n"); got == fmt.Sprint(n-1) {
			continue // its only instance was found silent meanwhile
		} else if got != fmt.Sprint(n) {
			t.Fatalf("the watch shows version %q behind %d", got, n-1)
		}
		n++
	}
	late := measureLateness(t)
	for _, s := range each {
		s.off(t)
	}
	took := watch.all("down", statusMax+clustertest.BusyMax, names...)
	within(t, "down, behind the moves", took, statusMax+late.so())
}

// swapSlots has each slot move to the other one of two groups.
func swapSlots(c *clustertest.Cluster, cl *client.Client) {
	c.T.Helper()
	clustertest.Await(c.T, "without slots that move", clustertest.JobMax, func(ctx context.Context) error {
		t, _, err := cl.Table(ctx, "")
		if err != nil {
			return err
		}
		job := shardmap.NewJob{Kind: shardmap.JobMove}
		for s, g := range t.Slots {
			r := shardmap.SlotRange{From: shardmap.Slot(s), To: shardmap.Slot(s)}
			if n := len(job.Targets); n > 0 && job.Targets[n-1].To == 3-g {
				job.Targets[n-1].SlotRange.To = r.To
			} else {
				job.Targets = append(job.Targets, shardmap.SlotTarget{SlotRange: r, To: 3 - g})
			}
		}
		order, err := shardmap.AppendNewJob(nil, &job)
		if err != nil {
			return err
		}
		a, err := cl.Order(ctx, order, 0)
		if err != nil {
			return err
		}
		want := t.Slots
		for s := range want {
			want[s] = 3 - want[s]
		}
		c.Until("moved, each slot", func(ctx context.Context) error {
			now, _, err := cl.Table(ctx, "")
			switch {
			case err != nil:
				return err
			case now.Index < a.Index || now.Slots != want || len(now.Moves) > 0:
				return fmt.Errorf("as of %d, %d moves are under way", now.Index, len(now.Moves))
			}
			return nil
		})
		return nil
	})
}

// A file in which anything is wrong changes nothing, and all that is wrong in it is said in
// one line, by service and position.
func TestServiceFileIsRefused(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1)
	good := `{"name":"good","type":"tcp","node":[{"host":"127.0.0.1","port":"80"}]}`
	r := setFile(c, good,
		`{"name":"web","type":"tcp","node":[{"host":"127.0.0.1","port":"80"},{"host":"127.0.0.1","port":"abc"}]}`,
		`{"name":"database","type":"oracle","node":[]}`)
	// Each problem has a line of its own, and one counts them.
	lines := strings.Split(strings.TrimSuffix(r.Stderr, "\n"), "\n")
	for n, want := range []string{`service 2 ("web"), node 2: field port: "abc"`, `service 3 ("database"): field type: "oracle"`, `2 problems; nothing was written`} {
		if n >= len(lines) || !strings.Contains(lines[n], want) {
			t.Errorf("line %d of %q: want %q", n+1, lines, want)
		}
	}
	if r.Status != clustertest.ExitRefused || r.Stdout != "" || len(lines) != 3 {
		t.Errorf("status %d, want %d; standard output has %.200q, and standard error %q", r.Status, clustertest.ExitRefused, r.Stdout, r.Stderr)
	}
	var list []struct {
		Name string `json:"name"`
	}
	if c.JSON(&list, "service", "list"); len(list) > 0 {
		t.Errorf("of a file that was refused there is %+v", list)
	}
	setFile(c, good).Done(t)
	if c.JSON(&list, "service", "list"); len(list) != 1 || list[0].Name != "good" {
		t.Errorf("of a good file there is %+v", list)
	}
}

// What is near without being named is what the node that is asked has as label: of two nodes in
// two zones each names its own, and takes the other where nothing of its own is up.
func TestServicePickNear(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 2)
	a, b := newListener(t, nil), newListener(t, nil)
	cl := c.Client()
	watch := follow(t, cl)
	instance := func(l *listener, zone string) string {
		return l.node(zone) + fmt.Sprintf(`,"zone":%q,"interval":"100","rise":"1","fall":"2"}`, zone)
	}
	setFile(c, fmt.Sprintf(`{"name":"near","type":"tcp","node":[%s,%s]}`, instance(a, "a"), instance(b, "b"))).Done(t)
	c.Run("node", "label", "n1", "zone=a").Done(t)
	c.Run("node", "label", "n2", "zone=b", "disk=ssd").Done(t)
	watch.all("up", clustertest.ReadyMax, "near")
	pick := func(near string, node int) clustertest.Result {
		return c.Run("service", "pick", "near", "--near", near, "--endpoints", c.Nodes[node].Addr)
	}
	is := func(near string, node int, want *listener) {
		t.Helper()
		for range 5 { // by chance it would be the other one now and then
			if got := strings.TrimSpace(pick(near, node).Done(t)); got != "127.0.0.1:"+want.port {
				t.Errorf("--near %s at n%d: got %s, want port %s", near, node+1, got, want.port)
			}
		}
	}
	is("zone", 0, a)
	is("zone", 1, b)
	is("zone=a", 1, a)
	pick("disk", 0).Refused(t, clustertest.ExitRefused, "label disk of node n1")
	pick("rack", 1).Refused(t, clustertest.ExitRefused, "it has disk, zone")
	a.off(t)
	c.Until("down, the one in zone a", func(ctx context.Context) error {
		item, err := cl.Service(ctx, "near", client.ReadOptions{})
		if err == nil && item.Service.Instances[0].Status != registry.Down {
			err = errors.New("it is not")
		}
		return err
	})
	is("zone", 0, b)
}
