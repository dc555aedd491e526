package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/client"
	"muster/repl/health"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// target is something that checks find up as long as it listens.
type target struct {
	t    testing.TB
	addr string
	mu   sync.Mutex
	l    net.Listener // guarded by mu; nil: down
}

func newTarget(t testing.TB) *target {
	x := &target{t: t, addr: "127.0.0.1:0"}
	x.up()
	t.Cleanup(x.down)
	return x
}

func (x *target) up() {
	x.t.Helper()
	l, err := net.Listen("tcp", x.addr)
	if err != nil {
		x.t.Fatal(err)
	}
	x.mu.Lock()
	x.addr, x.l = l.Addr().String(), l
	x.mu.Unlock()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
}

func (x *target) down() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.l != nil {
		x.l.Close()
		x.l = nil
	}
}

// serviceOf is a service of type tcp with an instance for each target, checked twice a
// second: two in a row fail on no host that is only busy.
func serviceOf(t testing.TB, name string, targets ...*target) *registry.Service {
	s := &registry.Service{Name: name, Type: registry.TypeTCP}
	for _, x := range targets {
		host, port, err := net.SplitHostPort(x.addr)
		if err != nil {
			t.Fatal(err)
		}
		s.Instances = append(s.Instances, registry.Instance{Settings: []registry.Setting{
			{Key: "fall", Value: "2"}, {Key: "host", Value: host}, {Key: "interval", Value: "500"}, {Key: "port", Value: port}, {Key: "rise", Value: "1"},
		}})
	}
	return s
}

// cluster founds a cluster, and returns its nodes with a client.
func cluster(t testing.TB, nodes int, change func(*Config)) ([]*runningNode, *client.Client) {
	addrs := freeAddrs(t, nodes)
	var all []*runningNode
	for _, addr := range addrs {
		c := testConfig(t)
		c.Listen, c.Join, c.Expect, c.Groups = addr, addrs, nodes, 3
		if change != nil {
			change(&c)
		}
		all = append(all, start(t, c, defaultLimits()))
	}
	cl, err := client.Open(client.Options{Insecure: true, Endpoints: addrs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	until(t, "the cluster has the level of services", func() error {
		if table := all[0].node.table.Load(); table == nil || table.Level < shardmap.ServicesLevel {
			return errors.New("not yet")
		}
		return nil
	})
	return all, cl
}

// statuses are how the instances of a service stand, in their order.
func statuses(ctx context.Context, cl *client.Client, name string) ([]string, *registry.Service, error) {
	item, err := cl.Service(ctx, name, client.ReadOptions{})
	if err != nil {
		return nil, nil, err
	}
	var list []string
	for i := range item.Service.Instances {
		list = append(list, item.Service.Instances[i].Shown())
	}
	return list, item.Service, nil
}

// stands waits until the instances of a service stand like that.
func stands(t *testing.T, cl *client.Client, name string, want ...string) *registry.Service {
	t.Helper()
	var s *registry.Service
	until(t, fmt.Sprintf("%s is %v", name, want), func() error {
		list, found, err := statuses(t.Context(), cl, name)
		if err == nil && !slices.Equal(list, want) {
			err = fmt.Errorf("it is %v", list)
		}
		s = found
		return err
	})
	return s
}

// leaderOf returns the node that leads the group which has a service, and that group.
func leaderOf(t *testing.T, nodes []*runningNode, cl *client.Client, name string) (lead *runningNode, g raft.GroupID) {
	t.Helper()
	item, err := cl.Service(t.Context(), name, client.ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "a node leads the group of the service", func() error {
		for _, r := range nodes {
			r.node.running().Ask(func(*repl.Host) {
				if r.node.assigning.gathering[item.Group] != nil {
					lead = r
				}
			})
		}
		if lead == nil {
			return errors.New("none does")
		}
		return nil
	})
	return lead, item.Group
}

// What checks find is in the services' records, whichever node leads their groups and
// whichever makes the checks, and while nothing changes nothing is written. When the node that
// checks is gone another one checks, and says nothing that is not so.
func TestChecksFollowTargets(t *testing.T) {
	t.Parallel()
	nodes, cl := cluster(t, 3, nil)
	var names []string
	var targets []*target
	made := func() (all []uint64) {
		for _, r := range nodes {
			all = append(all, probed(r.node))
		}
		return all
	}
	// Which node checks an instance depends on their random ids: of the twelve instances of six
	// services one node has none in 2 of 100 clusters.
	const servicesMax = 40
	for i := 0; i < 6 || slices.Contains(made(), 0); i++ {
		if i == servicesMax {
			t.Fatalf("nodes have made %d probes of %d services", made(), i)
		}
		a, b := newTarget(t), newTarget(t)
		name := fmt.Sprintf("s%d", i)
		names, targets = append(names, name), append(targets, a, b)
		if _, err := cl.SetService(t.Context(), serviceOf(t, name, a, b)); err != nil {
			t.Fatal(err)
		}
		stands(t, cl, name, "up", "up")
	}
	targets[0].down()
	s := stands(t, cl, names[0], "down", "up")
	if got := s.Instances[0].Reason; !strings.Contains(got, "refused") {
		t.Errorf("it is down for %q", got)
	}
	targets[0].up()
	stands(t, cl, names[0], "up", "up")

	reports := func() (n uint64) {
		for _, r := range nodes {
			d := &r.node.assigning
			d.mail.ask(t.Context(), func(time.Duration) { n += d.core.Counts().Reports })
		}
		return n
	}
	before, reported := made(), reports()
	until(t, "each node has made another 20 probes", func() error {
		for i, n := range made() {
			if n < before[i]+20 {
				return fmt.Errorf("node %d has made %d", i, n-before[i])
			}
		}
		return nil
	})
	if n := reports(); n != reported {
		t.Errorf("while nothing changed %d reports were proposed", n-reported)
	}

	// One node goes, and with it the leader of some groups and the checker of some instances.
	gone := nodes[2]
	gone.stop()
	nodes = nodes[:2]
	targets[3].down()
	targets[8].down()
	stands(t, cl, names[1], "up", "down")
	stands(t, cl, names[4], "down", "up")
	for i, name := range names {
		_, s, err := statuses(t.Context(), cl, name)
		if err != nil {
			t.Fatal(err)
		}
		for j := range s.Instances {
			want := []registry.Status{registry.Up}
			switch 2*i + j {
			case 0:
				want = append(want, registry.Down, registry.Up)
			case 3, 8:
				want = append(want, registry.Down)
			}
			var got []registry.Status
			for _, c := range s.Instances[j].Changes {
				got = append(got, c.To)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %s went through %v, want %v", name, s.Instances[j].ID, got, want)
			}
		}
	}
	// While a lead moves, two nodes count a group, or none does.
	until(t, "the nodes count each service and check once", func() error {
		rows := make(map[string]uint64)
		for _, r := range nodes {
			for _, row := range r.node.assigning.rows() {
				rows[row.Name] += row.In + row.Out
			}
		}
		for _, name := range []string{"services: in groups led here", "services: checks assigned", "services: polls", "services: reports", "checks: here", "checks: probes", "checks: probes that failed"} {
			if rows[name] == 0 {
				return fmt.Errorf("no node counts %s: %v", name, rows)
			}
		}
		if rows["services: checks assigned"] != uint64(len(targets)) || rows["services: in groups led here"] != uint64(len(names)) {
			return fmt.Errorf("the nodes count %v", rows)
		}
		return nil
	})
}

// A service of which nothing is up is told by the node that leads its group, and by no other.
func TestServiceWithNothingUp(t *testing.T) {
	t.Parallel()
	nodes, cl := cluster(t, 1, nil)
	x := newTarget(t)
	if _, err := cl.SetService(t.Context(), serviceOf(t, "db", x)); err != nil {
		t.Fatal(err)
	}
	stands(t, cl, "db", "up")
	if notes := nodes[0].node.assigning.down(); len(notes) > 0 {
		t.Errorf("while it is up: %s", told(notes))
	}
	x.down()
	stands(t, cl, "db", "down")
	until(t, "it is told", func() error {
		a, err := cl.Doctor(t.Context(), nodes[0].addr)
		if err != nil {
			return err
		}
		if len(a.Notes) != 1 || !strings.Contains(a.Notes[0].What, `nothing of service "db" is up (instances: 1, in maintenance: 0)`) || !strings.Contains(a.Notes[0].What, "refused") {
			return fmt.Errorf("notes are %+v", a.Notes)
		}
		return nil
	})
	if _, err := cl.Maintain(t.Context(), "db", x.addr, client.MaintenanceOn); err != nil {
		t.Fatal(err)
	}
	until(t, "one in maintenance is not missed", func() error {
		if notes := nodes[0].node.assigning.down(); len(notes) > 0 {
			return errors.New(told(notes))
		}
		return nil
	})
}

// An instance that reports itself is up as long as it does, whichever node it tells; and the
// first time right after it was set, when the node that leads has only just heard of it.
func TestHeartbeatsReachTheLeader(t *testing.T) {
	t.Parallel()
	nodes, cl := cluster(t, 3, nil)
	for i := range 20 {
		s := &registry.Service{Name: fmt.Sprintf("t%d", i), Type: registry.TypeTTL, Instances: []registry.Instance{{Settings: []registry.Setting{
			{Key: "fall", Value: "3"}, {Key: "id", Value: "a"}, {Key: "interval", Value: "200"},
		}}}}
		if _, err := cl.SetService(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if err := cl.Heartbeat(t.Context(), s.Name, "a", client.HeartbeatUp, "hello"); err != nil {
			t.Fatal(err)
		}
	}
	stands(t, cl, "t0", "down") // it said nothing more
	lead, g := leaderOf(t, nodes, cl, "t0")
	said := wire.Heartbeat{Group: g, Name: "t0", Instance: "a", Status: wire.HeartbeatUp, Note: "here again"}
	for _, r := range nodes {
		s := r.client()
		h, _, err := s.ask(wire.TypeHeartbeat, 0, said.Append(nil))
		var e *wire.Error
		switch {
		case r == lead && (err != nil || h.Type != wire.TypeHeartbeatAnswer):
			t.Errorf("the leader answers %s, %v", h.Type, err)
		case r != lead && (!errors.As(err, &e) || e.Code != wire.CodeNotLeader || e.LeaderNode != lead.node.self().Node):
			t.Errorf("a follower answers %s, %v", h.Type, err)
		}
		if h, _, err = s.ask(wire.TypeHeartbeat, wire.FlagForward, said.Append(nil)); err != nil || h.Type != wire.TypeHeartbeatAnswer {
			t.Errorf("one that is passed on is answered with %s, %v", h.Type, err)
		}
		s.Close()
	}
	stands(t, cl, "t0", "up")
	for _, tt := range []struct {
		name, instance string
		code           wire.Code
	}{{"t0", "b", wire.CodeNotFound}, {"none", "a", wire.CodeNotFound}} {
		var e *wire.Error
		if err := cl.Heartbeat(t.Context(), tt.name, tt.instance, client.HeartbeatUp, ""); !errors.As(err, &e) || e.Code != tt.code {
			t.Errorf("heartbeat of %s, %s: %v", tt.name, tt.instance, err)
		}
	}
}

// A report that was made in another term is not proposed: what it rests on may be older than
// what another leader has reported.
func TestReportOfAnotherTerm(t *testing.T) {
	nodes, cl := cluster(t, 1, nil)
	if _, err := cl.SetService(t.Context(), serviceOf(t, "db", newTarget(t))); err != nil {
		t.Fatal(err)
	}
	s := stands(t, cl, "db", "up")
	r, g := leaderOf(t, nodes, cl, "db")
	loop, d := r.node.running(), &r.node.assigning
	slot, down := shardmap.SlotOf([]byte("db")), &shardmap.Report{Name: "db", Rows: []shardmap.ReportRow{
		{Instance: s.Instances[0].ID, Check: s.Instances[0].Check, Status: registry.Down, Op: shardmap.ReportStatus},
	}}
	var err error
	loop.Ask(func(h *repl.Host) {
		err = d.propose(h, loop, &health.Action{Kind: health.ActPropose, Number: 1 << 40, Group: g, Term: d.gathering[g].term - 1, Slot: slot, Report: down})
	})
	if !errors.Is(err, errNotLedNow) {
		t.Errorf("it is proposed, or: %v", err)
	}
}

// A new leader copies the records of a group part by part, each a bounded one: all of them at once would
// keep the groups of its node waiting, and take as much memory as the group has. Until it knows all,
// a heartbeat is answered by nobody; that of a service which it has not seen yet is not refused.
func TestRecordsAreCopiedInParts(t *testing.T) {
	const services = gatherMax/(registry.ServiceMax*3/4) + 2 // of three quarters of a record's size
	nodes, cl := cluster(t, 1, nil)
	bulk := registry.Setting{Value: strings.Repeat("x", registry.SettingValueMax)}
	for n := range services {
		s := &registry.Service{Name: fmt.Sprintf("{large}%d", n), Type: registry.TypeTTL, Instances: []registry.Instance{{Settings: []registry.Setting{{Key: "id", Value: "i"}}}}}
		for k := range 3 * registry.ServiceMax / 4 / registry.SettingValueMax {
			bulk.Key = fmt.Sprintf("bulk%02d", k)
			s.Settings = append(s.Settings, bulk)
		}
		if _, err := cl.SetService(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	r, g := leaderOf(t, nodes, cl, "{large}0")
	d := &r.node.assigning
	known := func() (n int) {
		d.mail.ask(t.Context(), func(time.Duration) { n = len(d.groups[g]) })
		return n
	}
	until(t, "all are known", func() error {
		if n := known(); n != services {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	var refused *wire.Error
	r.node.running().Ask(func(h *repl.Host) {
		m := h.Machine(g).(*machine.Map)
		d.led(g, d.gathering[g].term) // as in a new term
		of := d.gathering[g]
		if copied := d.gatherOf(m, of, gatherMax); copied < gatherMax || copied > gatherMax+registry.ServiceMax || !of.stale || !of.partly {
			t.Errorf("%d bytes are copied at once, and more are to come: %v", copied, of.stale)
		}
		d.heartbeat(m, &wire.Heartbeat{Group: g, Name: fmt.Sprintf("{large}%d", services-1), Instance: "i", Status: wire.HeartbeatUp}, func(e *wire.Error) { refused = e })
	})
	if refused == nil || refused.Code != wire.CodeNotLeader {
		t.Errorf("a heartbeat meanwhile: %v", refused)
	}
	until(t, "the rest is copied", func() (err error) {
		r.node.running().Ask(func(*repl.Host) {
			if of := d.gathering[g]; of.stale || len(of.seen) != services {
				err = fmt.Errorf("%d are", len(of.seen))
			}
		})
		return err
	})
	if n := known(); n != services {
		t.Errorf("%d services are known", n)
	}
	for n := range services {
		if err := cl.Heartbeat(t.Context(), fmt.Sprintf("{large}%d", n), "i", client.HeartbeatUp, ""); err != nil {
			t.Error(err)
		}
	}
}

// More probes than may be under way at once wait for their turn, and all end with the node,
// even if their targets never answer.
func TestProbesAreBounded(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r := serving(t, defaultLimits())
	d := checking{prober: r.node.checking.prober}
	d.init(r.node)
	loop := r.node.running()
	const timeout = 300 * time.Millisecond
	spec := registry.Spec{Type: registry.TypeWeb, URL: "http://" + silent.Addr().String() + "/", Timeout: timeout, Interval: time.Second, Rise: 1, Fall: 1}
	for i := range 3 * health.ProbesMax {
		d.begin(loop, health.Probe{Number: uint64(i + 1), Spec: spec, Deadline: loop.Now() + timeout})
	}
	if d.workers != health.ProbesMax {
		t.Errorf("%d workers, want %d", d.workers, health.ProbesMax)
	}
	until(t, "all have ended", func() error {
		if n := d.busy.Load(); n > 0 {
			return fmt.Errorf("%d have not", n)
		}
		return nil
	})
	// What found no place is told of too, or the checker would keep a place for it.
	if n := len(d.mail.take()); n != 3*health.ProbesMax {
		t.Errorf("the ends of %d probes are told, of %d", n, 3*health.ProbesMax)
	}
}

// hookServer takes webhooks, and answers each with the next of some statuses, the last for ever.
type hookServer struct {
	*httptest.Server
	mu   sync.Mutex
	told []string // guarded by mu: bodies
	sign []string // guarded by mu
}

func newHookServer(t *testing.T, answers ...int) *hookServer {
	h := new(hookServer)
	var n atomic.Int64
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body := make([]byte, q.ContentLength)
		if _, err := q.Body.Read(body); err != nil && err.Error() != "EOF" {
			t.Error(err)
		}
		h.mu.Lock()
		h.told, h.sign = append(h.told, string(body)), append(h.sign, q.Header.Get(hookSignature))
		h.mu.Unlock()
		answer := answers[min(int(n.Add(1)), len(answers))-1]
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(answer)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hookServer) all() (told, sign []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.told), slices.Clone(h.sign)
}

// A webhook hears of each change of status in order, signed, and again when it did not answer
// well; not of what it was told already, by whichever leader.
func TestWebhookHearsOfChanges(t *testing.T) {
	t.Parallel()
	nodes, cl := cluster(t, 1, nil)
	hook := newHookServer(t, http.StatusInternalServerError, http.StatusFound, http.StatusNoContent)
	x := newTarget(t)
	s := serviceOf(t, "db", x)
	s.Settings = []registry.Setting{{Key: registry.SettingWebhook, Value: hook.URL}, {Key: registry.SettingWebhookSecret, Value: "s3cret"}}
	if _, err := cl.SetService(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	stands(t, cl, "db", "up")
	x.down()
	stands(t, cl, "db", "down")
	until(t, "both changes are told, and that is noted", func() error {
		told, _ := hook.all()
		item, err := cl.Service(t.Context(), "db", client.ReadOptions{})
		if err == nil && (len(told) < 4 || item.Service.Instances[0].Hooked != 2) {
			err = fmt.Errorf("%d times, noted %d", len(told), item.Service.Instances[0].Hooked)
		}
		return err
	})
	told, sign := hook.all()
	id := x.addr
	for i, want := range []string{`"from":"unknown","to":"up"`, `"from":"unknown","to":"up"`, `"from":"unknown","to":"up"`, `"from":"up","to":"down"`} {
		if !strings.Contains(told[i], want) || !strings.Contains(told[i], strconv.Quote(id)) || !strings.Contains(told[i], `"service":"db"`) {
			t.Errorf("word %d is %s", i, told[i])
		}
		if sign[i] != signature([]byte("s3cret"), []byte(told[i])) {
			t.Errorf("word %d is signed %s", i, sign[i])
		}
	}
	change := func(i int) string {
		var b hookBody
		if err := json.Unmarshal([]byte(told[i]), &b); err != nil {
			t.Fatal(err)
		}
		return b.ID
	}
	if change(0) != change(1) || change(1) != change(2) || change(2) == change(3) {
		t.Errorf("the changes are told as %q", told)
	}
	if n := nodes[0].node.assigning.hooks.told.Load(); n != 2 {
		t.Errorf("%d are counted as told", n)
	}
}

// What a change began from is left out where it is not known; by its number a receiver sees what it
// has missed.
func TestWebhookBody(t *testing.T) {
	hook := newHookServer(t, http.StatusOK)
	r := serving(t, defaultLimits())
	h := &r.node.assigning.hooks
	x := &health.Hook{Service: &registry.Service{Name: "db", Settings: []registry.Setting{{Key: registry.SettingWebhook, Value: hook.URL}}}, Version: 9, Instance: "a", To: registry.Down, Reason: "why", At: 1, Count: 1}
	later := *x
	later.Count, later.NoFrom = 21, true
	for _, x := range []*health.Hook{x, &later} {
		if err := h.post(x); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		`{"id":"db/a/1/1","service":"db","instance":"a","count":1,"from":"unknown","to":"down","reason":"why","at":"1970-01-01T00:00:00.001Z","version":9}`,
		`{"id":"db/a/21/1","service":"db","instance":"a","count":21,"to":"down","reason":"why","at":"1970-01-01T00:00:00.001Z","version":9}`,
	}
	if told, _ := hook.all(); !slices.Equal(told, want) {
		t.Errorf("got %q", told)
	}
}

// People read in the log that a webhook misses changes, and nothing of its address.
func TestWebhookMissesChanges(t *testing.T) {
	var out strings.Builder
	var d assigning
	d.hooks.node = &Node{log: slog.New(slog.NewTextHandler(&out, nil))}
	s := &registry.Service{Name: "db", Settings: []registry.Setting{{Key: registry.SettingWebhook, Value: "http://h/hidden-token"}}}
	d.begin(nil, []health.Action{{Kind: health.ActLost, Hook: &health.Hook{Service: s, Instance: "a", Count: 4}}})
	if got := out.String(); !strings.Contains(got, `level=WARN msg="webhook misses changes" service=db instance=a first=4`) || strings.Contains(got, "hidden") {
		t.Errorf("got %s", got)
	}
}

// A doctor tells of webhooks that miss changes, with what helps: more room in the record, or a receiver that
// answers.
func TestDoctorTellsOfMissedChanges(t *testing.T) {
	all := []health.Missed{{Service: "b", Instances: 2}, {Service: "a", Instances: 1, Full: true}}
	for n := range servicesShown {
		all = append(all, health.Missed{Service: fmt.Sprintf("c%d", n), Instances: 1})
	}
	list := missedChanges(all)
	if len(list) != servicesShown+1 || list[0].What != `the webhook of service "a" misses changes (instances: 1)` || !strings.HasPrefix(list[0].Remedy, "its record is near 256 KiB and has no room for them") ||
		list[1].What != `the webhook of service "b" misses changes (instances: 2)` || !strings.Contains(list[1].Remedy, "receiver") ||
		list[servicesShown].What != "the webhooks of 2 more services miss changes" {
		t.Errorf("got %s", told(list))
	}
}

// A webhook outside the ranges that a node allows is not asked, and an error shows nothing of
// its address but where it is.
func TestWebhookOutsideTheRanges(t *testing.T) {
	hook := newHookServer(t, http.StatusOK)
	r := serving(t, defaultLimits())
	errOutside := errors.New("outside the ranges")
	var h hooks
	h.init(r.node, func(context.Context, string, string) (net.Conn, error) { return nil, errOutside })
	err := h.post(&health.Hook{Service: &registry.Service{Name: "db", Settings: []registry.Setting{{Key: registry.SettingWebhook, Value: hook.URL + "/hidden-token"}}}, Instance: "a", Count: 1})
	if !errors.Is(err, errOutside) || strings.Contains(err.Error(), "hidden") {
		t.Errorf("got %v", err)
	}
	if told, _ := hook.all(); len(told) > 0 {
		t.Errorf("it was told %q", told)
	}
}

// What a person is told of services without anything up: of those that are checked, some by
// name, with what happened last.
func TestNothingUp(t *testing.T) {
	at := time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC).UnixMilli()
	down := registry.Instance{ID: "a", Status: registry.Down, Since: at, Reason: "connection refused"}
	fresh := registry.Instance{ID: "b"}
	out := registry.Instance{ID: "c", Status: registry.Up, Maintenance: true}
	flaps := registry.Instance{ID: "d", Status: registry.Flapping, Since: at + 5000}
	nobody := registry.Instance{ID: "e", Reason: "no node allows program x"}
	up := registry.Instance{ID: "f", Status: registry.Up}
	for _, tt := range []struct {
		of   []registry.Instance
		want string // "": nothing
	}{
		{nil, ""},
		{[]registry.Instance{fresh, down}, ""},
		{[]registry.Instance{down, up}, ""},
		{[]registry.Instance{out}, ""},
		{[]registry.Instance{down, out}, `nothing of service "db" is up (instances: 1, in maintenance: 1); the last to change was "a", down since 2026-11-29T03:00:00Z: connection refused`},
		{[]registry.Instance{down, flaps}, `nothing of service "db" is up (instances: 2, in maintenance: 0); the last to change was "d", flapping since 2026-11-29T03:00:05Z`},
		{[]registry.Instance{nobody}, `nothing of service "db" is up (instances: 1, in maintenance: 0); "e" is unknown: no node allows program x`},
	} {
		s := &registry.Service{Name: "db", Instances: tt.of}
		got := ""
		if nothingUp(s) {
			got = downService(s).What
		}
		if got != tt.want {
			t.Errorf("got %s\nwant %s", got, tt.want)
		}
	}
}

// probed is how many probes a node has made.
func probed(n *Node) uint64 {
	k, _ := n.checking.counts(n.ctx)
	return k.Probes
}
