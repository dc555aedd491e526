package cmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// evil has what a terminal acts on: escapes in seven and in eight bits, a bell,
// line ends, a change of direction; and what breaks the columns of a table.
const evil = "\x1b[2J\x1b]0;title\x07\u009b31m\r\nproblem: none\tof\u202e it\u2028"

// evilNode speaks the protocol, and says evil wherever there is text.
func evilNode(t *testing.T) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	addr = l.Addr().String()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				g, err := wire.ServerHello(conn, wire.AcceptConfig{Cluster: "muster", ClusterID: 1, Node: 1, Level: shardmap.Level, ValueMax: 1 << 20, WindowMax: shardmap.SessionWindowMax})
				for err == nil {
					var h wire.Header
					if h, _, err = wire.ReadFrame(conn, g.Decoder); err == nil && h.Type == wire.TypeScan {
						a := &wire.ListAnswer{Group: 1, At: raft.LogID{Term: 1, Index: 1}, More: true, Count: 1}
						a.Rows = wire.AppendListRow(nil, []byte(evil), 1, []byte(evil))
						b := wire.AppendPiece(nil, wire.TypeScanPiece, h.Request, a)
						_, err = conn.Write(wire.AppendFrame(b, wire.TypeStreamEnd, h.Request, evilEnd()))
					} else if err == nil {
						kind, body := evilAnswer(addr, h.Type)
						err = wire.WriteFrame(conn, kind, h.Request, body)
					}
				}
			}()
		}
	}()
	return addr
}

func evilAnswer(addr string, t wire.Type) (wire.Type, wire.Body) {
	replicas := []wire.StatusReplica{{ID: 1, Node: 1, Role: shardmap.ReplicaVoter}, {ID: 2, Node: 2, Role: 99, State: 99}}
	switch t {
	case wire.TypePing:
		return wire.TypePong, &wire.Empty{}
	case wire.TypeStatus:
		return wire.TypeStatusAnswer, &wire.StatusAnswer{
			Cluster: evil, ClusterID: 1, Self: 1, Problems: []wire.Problem{{What: evil, Remedy: evil}},
			Nodes: []wire.StatusNode{
				{ID: 1, Name: evil, Addr: addr, Role: 1, Status: wire.NodeAlive, Version: evil, Level: 1, Labels: []shardmap.Label{{Key: evil, Value: evil}}},
				{ID: 2, Name: evil + "2", Addr: evil, Role: 99, Status: 99, Version: evil, Level: 2},
			},
			Groups: []wire.StatusGroup{{ID: 1, Leader: 1, Replicas: replicas}},
		}
	case wire.TypeTopology:
		return wire.TypeTopologyAnswer, &wire.TopologyAnswer{
			ClusterID: 1, Epoch: 1, Index: 1, Level: shardmap.Level, ValueMax: 1 << 20, Nodes: []wire.TopologyNode{{ID: 1, Name: evil, Addr: addr}},
			Groups: []wire.TopologyGroup{{ID: 1, Leader: 1, Nodes: []raft.NodeID{1}}}, Slots: []shardmap.OwnedRange{{SlotRange: shardmap.SlotRange{From: 0, To: shardmap.Slots - 1}, Group: 1}},
		}
	case wire.TypeTable:
		t := &shardmap.Table{Cluster: evil, ClusterID: 1, Level: shardmap.Level, Epoch: 1, Index: 20, ValueMax: 1 << 20}
		t.Nodes = []shardmap.TableNode{{ID: 1, Name: evil, Addr: addr, Role: shardmap.NodeServer, Version: evil, Level: shardmap.Level, Announced: []shardmap.Label{{Key: evil, Value: evil}}, Labels: []shardmap.Label{{Key: evil, Value: evil}}}}
		t.Meta = shardmap.TableGroup{Incarnation: 1, Replicas: []shardmap.TableReplica{{Replica: 1, Node: 1, Role: shardmap.ReplicaVoter}}, Founders: []shardmap.TableReplica{{Replica: 1, Node: 1, Role: shardmap.ReplicaVoter}}, Next: 2}
		t.Jobs = []shardmap.Job{{ID: 12, Kind: shardmap.JobDrain, State: shardmap.JobFailed, Node: 1, Name: evil, Why: evil}}
		t.Incidents = []shardmap.Incident{{ID: 11, Node: 1, Found: shardmap.FoundByWalk, Parts: []shardmap.Part{12}, PartsCount: 3, What: evil, State: shardmap.IncidentRebuilt,
			IncidentKey: shardmap.IncidentKey{Group: 0, Incarnation: 1, Replica: 1, At: raft.LogID{Term: 1, Index: 5}}}}
		t.IncidentCount = 1
		return wire.TypeTableAnswer, &wire.TableAnswer{Index: 20, Leader: 1, State: t.AppendTo(nil)}
	case wire.TypeOrder:
		return wire.TypeOrderAnswer, &wire.OrderAnswer{Index: 20, Job: 12, Bytes: 1, Steps: []wire.OrderStep{{Text: evil, Risk: evil}}, Problems: []wire.Problem{{What: evil, Remedy: evil}}}
	case wire.TypeAddNodes:
		return wire.TypeAddNodesAnswer, &wire.AddNodesAnswer{Rows: []wire.AddedNode{{Addr: evil, Node: 1, Name: evil, State: wire.JoinMember}, {Addr: evil, Why: *evilError()}}}
	case wire.TypeServices:
		settings := []registry.Setting{{Key: evil, Value: evil}, {Key: "host", Value: evil}, {Key: "port", Value: evil}}
		service := registry.Service{Name: "db", Type: evil, Settings: settings[:1], Instances: []registry.Instance{{
			ID: evil, Settings: settings, Status: registry.Up, Reason: evil, Since: 1, Changes: []registry.Change{{At: 1, To: registry.Up, Reason: evil}}, Count: 1,
		}}}
		return wire.TypeServicesAnswer, &wire.ServicesAnswer{Group: 1, At: raft.LogID{Term: 1, Index: 1}, Rows: []wire.ServiceRow{{Name: []byte("db"), Version: 1, Value: service.Append(nil)}},
			Checkers: []wire.ServiceChecker{{Instance: evil, Node: 1, Name: evil}}}
	case wire.TypeCounters:
		return wire.TypeCountersAnswer, &wire.CountersAnswer{Rows: []wire.CounterRow{{Name: evil, In: 1}}}
	case wire.TypeCheck:
		return wire.TypeCheckAnswer, &wire.CheckAnswer{Groups: []wire.CheckedGroup{
			{Group: 0, Term: 1, Why: evil},
			{Group: 1, Term: 1, At: raft.LogID{Term: 1, Index: 1}, Why: evil, Replicas: []wire.CheckedReplica{{Replica: 1, Node: 1, State: wire.CheckedDiffers, Parts: []uint32{12}}, {Replica: 2, Node: 2, State: 99}}},
			{Group: 2, Why: evil, Replicas: []wire.CheckedReplica{{Replica: 1, Node: 1, State: wire.CheckedUndecided}}},
		}}
	case wire.TypeTrail:
		line, _ := json.Marshal(trailRow{Time: evil, Who: evil, From: evil, Door: evil, Type: evil, Object: evil, Verdict: evil, Why: evil, Index: 1, Count: 1})
		return wire.TypeTrailAnswer, &wire.TrailAnswer{Node: 1, Name: evil, File: 1, NextFile: 1, NextOffset: 9, Oldest: 1, Lines: append(append(line, "\n"+evil+"\nnull\n"...), evil...), Missing: 1}
	case wire.TypeWhoami:
		return wire.TypeWhoamiAnswer, &wire.WhoamiAnswer{User: evil, Roles: []string{evil, evil}}
	case wire.TypeCanI:
		return wire.TypeCanIAnswer, &wire.CanIAnswer{By: evil}
	case wire.TypeUsage:
		return wire.TypeUsageAnswer, &wire.UsageAnswer{Limits: []wire.UsageLimit{{Prefix: evil, Most: wire.UsageAmount{1, 2, 3}, Used: wire.UsageAmount{4, 5, 6}, Known: true}}}
	case wire.TypeDoctor:
		return wire.TypeDoctorAnswer, &wire.DoctorAnswer{
			Node: 1, Name: evil, Addr: evil, Version: evil, UptimeMs: 1 << 20, Links: []wire.DoctorLink{{To: 2, Why: evil}},
			Disk: wire.DoctorDisk{Dir: evil, Full: true}, Groups: []wire.DoctorGroup{{ID: 1, Replica: 1, Stopped: evil}},
			Damaged: []wire.DoctorDamaged{{Group: 1, Replica: 1, What: evil, File: evil + "f", Record: evil, Reason: evil, Remedy: evil}},
		}
	}
	return wire.TypeError, evilError()
}

func evilError() *wire.Error {
	return &wire.Error{Code: wire.CodeBadRequest, Object: evil, Text: evil, State: evil, Next: evil, LeaderAddr: evil}
}

func evilEnd() *wire.StreamEnd {
	return &wire.StreamEnd{Reason: wire.EndRefused, Resume: []byte(evil), Why: *evilError()}
}

// Whoever answers on an address can choose names, labels, versions and errors,
// and a person looks at them in a terminal. No command may print there what
// would steer it, or let a text end the line that it stands in; in JSON nothing
// may be lost by that.
func TestForeignText(t *testing.T) {
	addr := evilNode(t)
	one := raft.NodeID(1).String()
	t.Setenv("MUSTER_INSECURE", "true")
	const planLines = 9 // head, step and risk, bytes, rule, problem and remedy, progress, error
	for _, line := range []string{
		"status", "status --counters", "top", "node list", "group list", "slot list", "doctor", "check", "check --fix", "check --fix --yes", "check --acknowledge", "audit tail", "audit tail --node " + one, "audit verify", "audit verify --node " + evil, "kv list", "kv export", "kv locate " + "k",
		"kv get k", "kv set k v", "kv set a 1 b 2", "kv del k", "kv get k --after g1/1.1", "log diff no " + evil, "log diff " + addr + " " + addr,
		"bench --op set --duration 10ms --warm-up 0s", "kv get " + evil, "kv set " + evil, "no\x1b[2Jcommand",
		"auth whoami", "auth can-i read k", "auth can-i read " + evil, "user list", "user grant u " + evil, "user create u --no-password", "role list", "role create r",
		"job list", "job show 12", "job wait 12", "job cancel 12", "setting list", "setting set replicas 5", "setting set replicas 5 --yes", "node drain " + one,
		"node drain --yes " + one, "node remove --yes --force " + one, "node promote --yes " + one, "node undrain " + one, "node label " + one + " k=v", "node add 127.0.0.1:2",
		"namespace list", "namespace limit a --keys 1", "namespace del a", "namespace del " + evil,
		"service list", "service get db", "service get db --changes", "service pick db", "service set db --type tcp --node host=h,port=1", "service del db", "service maintain db i on", "service heartbeat db i",
		"db list", "db create d", "db drop d --yes", "db create " + evil, "policy list", "policy create d p", "policy list " + evil, "window list", "window truncate --yes", "window truncate " + evil, "shard list", "query list", "query kill 7", "query " + evil,
		"service get " + evil, "service pick " + evil, "service list --tag " + evil, "service pick db --near " + evil,
		"group add --yes 1 " + one, "node drain " + evil, "node label 1 " + evil, "kv get --\u009bno", "status --endpoints a\x1bb",
	} {
		args := strings.Split(line, " ")
		if strings.Contains(line, evil) {
			args = append(strings.Fields(strings.TrimSuffix(line, evil)), evil)
		}
		if !strings.Contains(line, "--endpoints") {
			args = append(args, "--endpoints", addr, "--timeout", "2s")
		}
		for _, form := range []string{"table", "json"} {
			r := muster(t, append(args, "-o", form)...)
			for stream, text := range map[string]string{"standard output": r.stdout, "standard error": r.stderr} {
				if bad := steers(text); bad != "" {
					t.Errorf("%q -o %s: %s has %s:\n%q", line, form, stream, bad, text)
				}
			}
			most := 2
			if strings.Contains(r.stderr, "plan to ") {
				most = planLines
			}
			if strings.Count(r.stderr, "\n") > most {
				t.Errorf("%q: standard error has many lines: %q", line, r.stderr)
			}
			if form == "table" && strings.Contains("\n"+r.stdout+r.stderr, "\nproblem: none") {
				t.Errorf("%q: a text has made a line of its own:\n%s", line, r.stdout)
			}
			for l := range strings.Lines(r.stdout) {
				if form == "json" && !json.Valid([]byte(l)) {
					t.Errorf("%q: not JSON: %q", line, l)
				}
			}
		}
	}
	var status statusRow
	if err := json.Unmarshal([]byte(muster(t, "status", "--endpoints", addr, "-o", "json").stdout), &status); err != nil || status.Cluster != evil || status.Nodes[0].Labels[evil] != evil {
		t.Errorf("JSON has lost something: %v, %+v", err, status)
	}
	var seen acknowledgedRows
	if err := json.Unmarshal([]byte(muster(t, "check", "--acknowledge", "--endpoints", addr, "-o", "json").done(t)), &seen); err != nil || len(seen.Acknowledged) != 1 || seen.Acknowledged[0].What != evil {
		t.Errorf("JSON has lost something: %v, %+v", err, seen)
	}
}

// A user who writes keys, values, labels or names, and a stranger that answers on an address, must not reach
// into the terminal of the person who looks at them: a row that rewrites the one above it tells an
// administrator that all is well.
func TestTerminalEscapes(t *testing.T) {
	if wrong := steered(t, evilNode(t)); wrong != "" {
		t.Error(wrong)
	}
}

// steered returns what a command has printed that steers a terminal, or "".
func steered(t *testing.T, addr string) string {
	t.Setenv("MUSTER_INSECURE", "true") // as that node speaks
	for _, line := range []string{"status", "node list", "kv list", "audit tail", "service list", "job list", "kv get k"} {
		r := muster(t, append(strings.Fields(line), "--endpoints", addr, "--timeout", "2s")...)
		if said := r.stdout + r.stderr; !strings.Contains(said, "title") {
			t.Errorf("%s: does not say what that node has said: %q", line, said)
		}
		if bad := steers(r.stdout + r.stderr); bad != "" {
			return fmt.Sprintf("%s: %s in %q", line, bad, r.stdout+r.stderr)
		}
	}
	return ""
}

// A name that is a path, an option, or has what a terminal acts on, is refused before anything else is
// done about it: nobody is asked, and no file is made.
func TestHostileNames(t *testing.T) {
	if wrong := hostileNamed(t); wrong != "" {
		t.Error(wrong)
	}
}

// hostileNamed returns which command has taken a hostile name, or "".
func hostileNamed(t *testing.T) string {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	for _, name := range []string{"..", "../../x", "/etc/x", "a/b", `a\b`, ".x", "a\x00b", "a b", evil, "a\xffb", "", strings.Repeat("a", 1000)} {
		for _, line := range []string{"user create --no-password", "user password", "user withdraw", "user del", "user grant", "user cert --out " + out, "role create", "role grant", "role del"} {
			args := append(strings.Fields(line), "--endpoints", "127.0.0.1:1", "--timeout", "1s", "--", name)
			switch line {
			case "user grant":
				args = append(args, "app")
			case "role create", "role grant":
				args = append(args, "read", "app/")
			}
			r := muster(t, args...)
			if bad := steers(r.stdout + r.stderr); bad != "" {
				t.Errorf("%q %q: %s in %q", line, name, bad, r.stderr)
			}
			if r.status != exitUsage {
				return fmt.Sprintf("%q takes the name %q: status %d, %s", line, name, r.status, r.stderr)
			}
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		return fmt.Sprintf("files %v, %v", entries, err)
	}
	return ""
}

// steers names the first character of text that a terminal may act on, but for
// the ends of lines.
func steers(text string) string {
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd"):
			return "a byte that is no text"
		case r != '\n' && !unicode.IsPrint(r):
			return fmt.Sprintf("%U", r)
		}
	}
	return ""
}

func TestPlain(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""}, {"n1 at 10.0.0.1:4166", "n1 at 10.0.0.1:4166"}, {"größe 東京", "größe 東京"},
		{"a\x1b[2J", `a\x1b[2J`}, {"a\u009b31m", `a\u009b31m`}, {"a\nb\tc\r", `a\nb\tc\r`}, {"\x7f\x00", `\x7f\x00`},
		{"a\xff\xc3", `a\xff\xc3`}, {"a\u202eb\u2028", `a\u202eb\u2028`}, {"\U000e0001", `\U000e0001`}, {"'\"\\", `'"\`},
	} {
		if got := plain(tt.in); got != tt.want || steers(got) != "" {
			t.Errorf("%q: got %s, want %s", tt.in, got, tt.want)
		}
		line, err := marshalLine(tt.in)
		var back string
		if err == nil {
			err = json.Unmarshal(line, &back)
		}
		if steers(string(line)) != "" || err != nil || back != strings.ToValidUTF8(tt.in, "\ufffd") && utf8.ValidString(tt.in) {
			t.Errorf("%q in JSON: %q, %v, which is %q", tt.in, line, err, back)
		}
	}
}

// A value goes to a program as it is, and to a terminal without what would steer
// it; --raw is for who wants it all the same.
func TestGetForms(t *testing.T) {
	for _, tt := range []struct {
		form gotForm
		want string
	}{{gotRaw, "a\x1b[2J\nb\n"}, {gotPlain, `a\x1b[2J` + "\nb\n"}} {
		var b bytes.Buffer
		s := &errand{console: &console{out: newOutput(&b)}}
		if err := printGot(s, tt.form, []client.Item{{Key: []byte("k"), Value: []byte("a\x1b[2J\nb")}}); err != nil {
			t.Fatal(err)
		}
		s.out.Flush()
		if b.String() != tt.want {
			t.Errorf("got %q, want %q", &b, tt.want)
		}
	}
}

// The columns of a table must stand below each other in a terminal, which gives
// a wide character two places and one that is drawn over another none.
func TestTableColumns(t *testing.T) {
	var b bytes.Buffer
	out := newOutput(&b)
	table := newTable(out, "KEY", "VERSION", "VALUE")
	table.row("東京", "1", "x")
	table.row("ascii", "12", "wide ｆ")
	table.row("e\u0301te\u0301", "123")
	table.row("한국어키", "4", "")
	table.row("short")
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	out.Flush()
	want := "KEY       VERSION  VALUE\n" +
		"東京      1        x\n" +
		"ascii     12       wide ｆ\n" +
		"e\u0301te\u0301       123\n" +
		"한국어키  4\n" +
		"short\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &b, want)
	}
}
