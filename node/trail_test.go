package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muster/logstore/vfs"
	"muster/node/trail"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// trailLine is what a test looks at of a line.
type trailLine struct {
	Seq, Index, Count, User       uint64
	Node, Who, From, Door, Type   string
	Object, Verdict, Why, At, Key string
}

// trailOf reads the whole trail of a node over its pages, and verifies it.
func (r *runningNode) trailOf(heads ...trail.Head) (lines []trailLine) {
	r.t.Helper()
	cl := r.library()
	v := trail.NewVerifier(heads)
	var from trail.Position
	var all []byte
	for more := true; more; {
		a, err := cl.Trail(r.t.Context(), r.addr, wire.Trail{File: from.File, Offset: uint64(from.Offset)})
		if err != nil {
			r.t.Fatal(err)
		}
		p := trail.Page{From: trail.Position{File: a.File, Offset: int64(a.Offset)}, Next: trail.Position{File: a.NextFile, Offset: int64(a.NextOffset)}, Bytes: a.Lines, Oldest: a.Oldest}
		v.Page(from, &p)
		all = append(all, a.Lines...)
		from, more = p.Next, a.More
	}
	if report := v.End(); !report.OK() || report.Passed != len(heads) {
		r.t.Errorf("the trail does not verify: %+v", report)
	}
	for line := range bytes.Lines(all) {
		var l trailLine
		if err := json.Unmarshal(line, &l); err != nil {
			r.t.Fatalf("%v: %s", err, line)
		}
		lines = append(lines, l)
	}
	return lines
}

// says waits until the trail has a line as wanted, and returns it.
func (r *runningNode) says(what string, want func(*trailLine) bool) (l trailLine) {
	r.t.Helper()
	until(r.t, "the trail tells of "+what, func() error {
		lines := r.trailOf()
		i := slices.IndexFunc(lines, func(l trailLine) bool { return want(&l) })
		if i < 0 {
			return fmt.Errorf("it has %+v", lines)
		}
		l = lines[i]
		return nil
	})
	return l
}

// A node's trail tells that it started, who was refused and why, what people changed and as which
// entry; it tells reads and writes only where the cluster wants it, with no more of a key than it
// wants, and values never.
func TestTrail(t *testing.T) {
	c := testConfig(t)
	r := start(t, c, defaultLimits())
	r.serves()
	r.says("the start", func(l *trailLine) bool { return l.Type == "start" && l.Verdict == "noted" && l.Seq == 1 })

	_, _, err := r.client().ask(wire.TypeReplicas, 0, new(wire.Empty).Append(nil))
	refused(t, "a request of a member", err, wire.CodeUnauthorized)
	r.says("a refused request", func(l *trailLine) bool {
		return l.Type == "Replicas" && l.Verdict == "refused" && l.Door == "client" && l.From != "" && strings.Contains(l.Why, "only a member may")
	})

	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "SSH-2.0-OpenSSH_9.6\r\n")
	_, _ = io.Copy(io.Discard, conn)
	conn.Close()
	r.says("a stranger", func(l *trailLine) bool { return l.Door == "hello" && l.Object == "foreign" && l.Verdict == "refused" })

	cl := r.library()
	ctx := t.Context()
	const key, value = "payroll/alice", "s3cret-value"
	write := func() {
		t.Helper()
		if _, err := cl.Set(ctx, []byte(key), []byte(value), client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := cl.Get(ctx, [][]byte{[]byte(key)}, client.ReadOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	set := func(name, value string) *wire.OrderAnswer {
		t.Helper()
		command, err := shardmap.AppendSetting(nil, &shardmap.Setting{Name: name, Value: value})
		if err != nil {
			t.Fatal(err)
		}
		a, err := cl.Order(ctx, command, 0)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	write()
	done := set("trail-policy", "metadata")
	l := r.says("an order", func(l *trailLine) bool { return l.Type == "Order" })
	if l.Verdict != "allowed" || l.Index != done.Index || l.Object != `setting "trail-policy" "metadata"` {
		t.Errorf("got %+v of an order done as entry %d", l, done.Index)
	}
	r.says("the policy", func(l *trailLine) bool { return l.Type == "policy" && l.Why == "it was none, and is metadata" })
	if lines := r.trailOf(); slices.ContainsFunc(lines, func(l trailLine) bool { return l.Type == "Write" || l.Type == "Get" }) {
		t.Errorf("policy none, and data is in it: %+v", lines)
	}
	write()
	r.says("a write", func(l *trailLine) bool { return l.Type == "Write" && l.Object == "write on key:payroll/…" })
	r.says("a read", func(l *trailLine) bool { return l.Type == "Get" && l.Object == "read on key:payroll/…" })
	for _, l := range r.trailOf() {
		if strings.Contains(fmt.Sprint(l), "alice") {
			t.Errorf("policy metadata, and a key is in it: %+v", l)
		}
	}
	set("trail-policy", "request")
	write()
	r.says("a write with its key", func(l *trailLine) bool { return l.Type == "Write" && l.Object == "write on key:"+key })
	r.says("a read with its key", func(l *trailLine) bool { return l.Type == "Get" && l.Object == "read on key:"+key })

	order, err := shardmap.AppendSetting(nil, &shardmap.Setting{Name: "replicas", Value: "4"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cl.Order(ctx, order, 0); err == nil {
		t.Error("a wrong order was taken")
	}
	r.says("a refused order", func(l *trailLine) bool {
		return l.Type == "Order" && l.Verdict == "refused" && strings.Contains(l.Why, "1, 3 or 5")
	})
	r.stop()
	var all []byte
	files, err := filepath.Glob(filepath.Join(c.Data, trail.Dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	if bytes.Contains(all, []byte(value)) {
		t.Error("a value is in the trail")
	}
	if lines := bytes.Count(all, []byte("\n")); !bytes.Contains(all, []byte(`"type":"stop"`)) || lines < 10 {
		t.Errorf("the stop is not in it:\n%s", all)
	}
	again := start(t, c, defaultLimits())
	again.serves()
	again.says("the second start", func(l *trailLine) bool { return l.Type == "start" && l.Seq > 10 })
}

// A disk that takes no line of the trail costs lines, and nothing else: they are counted, and
// a line says how many once there is room.
func TestTrailWithoutRoom(t *testing.T) {
	t.Parallel()
	disk := vfs.NewFaulty(vfs.OS{})
	c := testConfig(t)
	disk.Add(vfs.Rule{Fault: vfs.Full, Op: "write", Name: "*.jsonl", Times: vfs.Always})
	r, log, ready := startOn(t, disk, c)
	t.Cleanup(r.stop)
	<-ready
	r.serves()
	s := r.client()
	for range 10 {
		if err := s.works(); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the log says that the trail is not written", func() error {
		if !strings.Contains(log.String(), "trail not written") {
			return errors.New("not yet")
		}
		return nil
	})
	if _, err := s.set("k", "v"); err != nil {
		t.Error(err)
	}
	if finds := r.finds(); !slices.ContainsFunc(finds, func(f string) bool { return strings.Contains(f, "is not written") }) {
		t.Errorf("the doctor finds %v", finds)
	}
	disk.Clear()
	l := r.says("what was lost", func(l *trailLine) bool { return l.Verdict == "lost" })
	if l.Count == 0 || !strings.Contains(l.Why, "no space") {
		t.Errorf("got %+v", l)
	}
}

// Strangers who are refused without end make a bounded number of lines, of a bounded queue.
func TestTrailFlood(t *testing.T) {
	r := serving(t, defaultLimits())
	s := r.client()
	const refusals = 3000
	for range refusals {
		if _, _, err := s.ask(wire.TypeReplicas, 0, new(wire.Empty).Append(nil)); err == nil {
			t.Fatal("it was not refused")
		}
	}
	r.stop()
	report, err := trail.Verify(vfs.OS{}, filepath.Join(r.node.cfg.Data, trail.Dir), nil)
	if err != nil || !report.OK() || report.Lines > 30 {
		t.Errorf("%d refusals: %+v, %v; want at most 30 lines", refusals, report, err)
	}
}

// A denied request is noted with the user who sent it, and with no more of a key than the policy
// lets a line have. One would doubt the latter, because the error that the user gets names all of
// it.
func TestTrailOfDenied(t *testing.T) {
	r := serving(t, defaultLimits())
	r.enact(someSecurity())
	get := func() {
		t.Helper()
		q := wire.Get{Keys: [][]byte{[]byte("payroll/alice")}}
		_, _, err := r.asUser(restrictedUser).ask(wire.TypeGet, 0, q.Append(nil))
		refused(t, "a key of others", err, wire.CodeUnauthorized, "payroll/alice")
	}
	get()
	denied := func(object string) func(*trailLine) bool {
		return func(l *trailLine) bool {
			return l.Type == "Get" && l.Verdict == "refused" && l.Who == "rob" && l.User == uint64(restrictedUser) && l.Object == object
		}
	}
	r.enact(shardmap.Security{})
	r.says("the denied request", denied("read on key:payroll/…"))
	for _, l := range r.trailOf() {
		if said := fmt.Sprint(l); strings.Contains(said, "alice") {
			t.Errorf("policy none, and a key is in it: %s", said)
		}
	}
	r.node.trail.policy.Store(uint32(shardmap.TrailRequest))
	r.enact(someSecurity())
	get()
	r.enact(shardmap.Security{})
	r.says("the denied request with its key", denied("read on key:payroll/alice"))
}
