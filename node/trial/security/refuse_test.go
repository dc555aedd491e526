package security

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster/logstore"
	"muster/node"
	"muster/node/trial/clustertest"
	"muster/repl/client"
	"muster/repl/client/home"
	"muster/repl/wire"
	"muster/shardmap"
)

// secretCluster starts one node that founds its cluster by a secret.
func secretCluster(t *testing.T) *clustertest.Cluster {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("correct horse battery staple\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := clustertest.New(t, 1, "--secret-file", secret, "--cluster", "prod")
	c.Secret = secret
	c.Start(0)
	c.Healthy()
	return c
}

// Every mistake of a user must get one line that names it and what would be
// right, end with its status, and change nothing: neither a key nor a version,
// whichever node or client notices first.
func TestBadInput(t *testing.T) {
	t.Parallel()
	c := secretCluster(t)
	// The largest value there may be; no shell passes a megabyte in one argument.
	c.RunIn(`{"key":"k","value":"v"}`+"\n"+`{"key":"full","value":"`+strings.Repeat("f", shardmap.ValueMaxDefault)+`"}`, "kv", "import", "-").Done(t)
	before := c.Run("kv", "export").Done(t)
	unchanged := func(t *testing.T) {
		t.Helper()
		if after := c.Run("kv", "export").Done(t); after != before {
			t.Errorf("the cluster has changed: %.300q", after)
		}
	}

	long := strings.Repeat("k", shardmap.KeyMax+1)
	over := strings.Repeat("v", shardmap.ValueMaxDefault+1)
	lines := func(l ...string) string { return strings.Join(l, "\n") + "\n" }
	at, err := c.Client().Locate(t.Context(), []byte("k"))
	if err != nil {
		t.Fatal(err)
	}
	filled, elsewhere := fmt.Sprint(at.Slot), fmt.Sprint(uint64(at.Group%2+1)) // its slot, and a group that does not have it
	for _, tt := range []struct {
		name   string
		args   []string
		in     string
		status int
		wants  []string
	}{
		{"wrong cluster name", []string{"kv", "set", "k", "x", "--cluster", "test"}, "", clustertest.ExitRefused, []string{"wrong-cluster", `"prod"`, `"test"`}},
		{"without TLS", []string{"kv", "set", "k", "x", "--insecure"}, "", clustertest.ExitNotPermitted, []string{"unauthorized", "TLS"}},
		{"empty key", []string{"kv", "set", "", "x"}, "", clustertest.ExitRefused, []string{"key", "0 bytes", "1 to 4096"}},
		{"get of an empty key", []string{"kv", "get", ""}, "", clustertest.ExitRefused, []string{"key", "0 bytes", "1 to 4096"}},
		{"delete of an empty key", []string{"kv", "del", ""}, "", clustertest.ExitRefused, []string{"delete: ", "key", "0 bytes", "1 to 4096"}},
		{"locate of an empty key", []string{"kv", "locate", ""}, "", clustertest.ExitRefused, []string{"key", "0 bytes", "1 to 4096"}},
		{"long key among others", []string{"kv", "set", "ok1", "1", long, "x", "ok2", "2"}, "", clustertest.ExitRefused, []string{"set: too-large", `k"… (4097 bytes)`, "4096"}},
		{"delete of a long key among others", []string{"kv", "del", "k", long}, "", clustertest.ExitRefused, []string{"delete: too-large", `k"… (4097 bytes)`, "4096"}},
		{"locate of a long key", []string{"kv", "locate", long}, "", clustertest.ExitRefused, []string{"locate: too-large: key", "4097", "4096"}},
		{"list of a long prefix", []string{"kv", "list", long}, "", clustertest.ExitRefused, []string{"list: too-large: prefix", "4097", "4096"}},
		{"a move to no group", []string{"slot", "move", "5", "9999"}, "", clustertest.ExitNotFound, []string{"move slot 5 to group 9999: ", "it is no group of the cluster", "muster group list"}},
		{"a move to the meta group", []string{"slot", "move", "0-5", "0"}, "", clustertest.ExitUsage, []string{"group 0 holds the cluster's table", "never owns slots"}},
		{"a move to where it is", []string{"slot", "move", "0-5", "1"}, "", clustertest.ExitConflict, []string{"move slots 0-5 to group 1: ", "there already", "muster slot list"}},
		{"an assignment to no group", []string{"slot", "assign", "5-6", "9999"}, "", clustertest.ExitNotFound, []string{"assign slots 5-6 to group 9999: ", "it is no group of the cluster"}},
		{"an assignment of a slot with a key", []string{"slot", "assign", filled, elsewhere}, "", clustertest.ExitConflict, []string{"assign slot " + filled + " to group " + elsewhere + ": conflict: slot " + filled + ": refused, nothing was changed (it has 1 key)", "muster slot move " + filled + " " + elsewhere}},
		{"an assignment of slots of which one has a key", []string{"slot", "assign", "0-4095", elsewhere}, "", clustertest.ExitConflict, []string{"assign slots 0-4095 to group " + elsewhere + ": conflict: slot "}},
		{"a group that is there", []string{"group", "create", "1"}, "", clustertest.ExitConflict, []string{"create group 1: ", "there is one of this id", "muster group create"}},
		{"removal of no group", []string{"group", "remove", "9999", "--yes"}, "", clustertest.ExitNotFound, []string{"remove group 9999: ", "it is no group of the cluster", "muster group list"}},
		{"removal of a group that owns slots", []string{"group", "remove", "1", "--yes"}, "", clustertest.ExitConflict, []string{"remove group 1: ", "it owns ", "muster slot move 0-"}},
		{"weight of no node", []string{"node", "weight", "n9", "50"}, "", clustertest.ExitNotFound, []string{`node "n9" is no member`, "muster node list"}},
		{"a value of bench", []string{"bench", "--value-size", "1048577"}, "", clustertest.ExitRefused, []string{"too-large", "1048577", "1048576"}},
		{"conflict on a key that is no text", []string{"kv", "set", "\xff\xfe", "v", "--if-version", "9"}, "", clustertest.ExitConflict, []string{`set "\xff\xfe": conflict: key "\xff\xfe": `}},
		{"long key", []string{"kv", "set", long, "x"}, "", clustertest.ExitRefused, []string{"4097", "4096"}},
		{"get of a long key", []string{"kv", "get", long}, "", clustertest.ExitRefused, []string{"4097", "4096"}},
		{"delete of a long key", []string{"kv", "del", long}, "", clustertest.ExitRefused, []string{"4097", "4096"}},
		{"conflict", []string{"kv", "set", "k", "x", "--if-absent"}, "", clustertest.ExitConflict, []string{"conflict", `"k"`}},
		{"conflict of versions", []string{"kv", "set", "k", "x", "--if-version", "999999"}, "", clustertest.ExitConflict, []string{"conflict", `"k"`}},
		{"not found", []string{"kv", "get", "absent"}, "", clustertest.ExitNotFound, []string{`not found: "absent"`}},
		{"unknown option", []string{"kv", "set", "k", "x", "--iff-absent"}, "", clustertest.ExitUsage, []string{"unknown option --iff-absent"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := c.RunIn(tt.in, tt.args...)
			for _, want := range tt.wants {
				r.Refused(t, tt.status, want)
			}
			unchanged(t)
		})
	}

	counts := func(written, failed string) string { return `{"written":` + written + `,"failed":` + failed + "}\n" }
	for _, tt := range []struct {
		name, in string
		status   int
		stdout   string
		wants    []string
	}{
		{"import of what is not JSON", lines(`k=x`), clustertest.ExitRefused, counts("0", "0"), []string{"standard input: line 1: not JSON"}},
		{"import of half a line", lines("", "", `{"key":"k","value":"x"`), clustertest.ExitRefused, counts("0", "0"), []string{"standard input: line 3: not JSON"}},
		{"import without a key", lines(`{"value":"x"}`), clustertest.ExitRefused, counts("0", "0"), []string{`line 1: no "key"`}},
		{"import without a value", lines(`{"key":"k"}`), clustertest.ExitRefused, counts("0", "0"), []string{`line 1: no "value"`}},
		{"import of what is not text", lines("{\"key\":\"k\",\"value\":\"\xff\"}"), clustertest.ExitRefused, counts("0", "0"), []string{"line 1: not valid UTF-8"}},
		{"import of a value over the limit", lines(`{"key":"big","value":"` + over + `"}`), clustertest.ExitPartly, counts("0", "1"), []string{`standard input: line 1: value of 1048577 bytes`, `"big"`, "1048576"}},
		{"import over the limit under a key that is no text", lines(`{"key_base64":"/v8A","value":"` + over + `"}`), clustertest.ExitPartly, counts("0", "1"), []string{`set "\xfe\xff\x00": too-large: value`}},
		{"import of an empty key", lines(`{"key":"","value":"x"}`), clustertest.ExitPartly, counts("0", "1"), []string{"line 1: ", "0 bytes"}},
		{"import of a long key", lines(`{"key":"` + long + `","value":"x"}`), clustertest.ExitPartly, counts("0", "1"), []string{"line 1: ", "4097", "4096"}},
		{"import of nothing", "", clustertest.ExitDone, counts("0", "0"), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := c.RunIn(tt.in, "kv", "import", "-", "-o", "json")
			if r.Status != tt.status || r.Stdout != tt.stdout {
				t.Errorf("status %d, standard output %q; want %d, %q", r.Status, r.Stdout, tt.status, tt.stdout)
			}
			if want := min(len(tt.wants), 1); strings.Count(r.Stderr, "\n") != want {
				t.Errorf("want %d lines on standard error, got %q", want, r.Stderr)
			}
			for _, want := range tt.wants {
				if !strings.Contains(r.Stderr, want) {
					t.Errorf("standard error is %.300q, want it to say %q", r.Stderr, want)
				}
			}
			unchanged(t)
		})
	}

	t.Run("a slot that moves already", func(t *testing.T) {
		at, err := c.Client().Locate(t.Context(), []byte("full"))
		if err != nil {
			t.Fatal(err)
		}
		slot, to, third := fmt.Sprint(at.Slot), fmt.Sprint(uint64(at.Group%2+1)), fmt.Sprint(uint64(at.Group%2+3))
		c.Run("setting", "set", "slot-rate", "64KiB").Done(t) // a megabyte takes 16 s
		var job struct{ ID string }
		c.JSON(&job, "slot", "move", slot, to, "--no-wait")
		c.Run("slot", "move", "0-4095", third).Refused(t, clustertest.ExitConflict, "slot "+slot+": refused, nothing was changed (it moves already: job "+job.ID)
		c.Run("slot", "assign", slot, third).Refused(t, clustertest.ExitConflict, "muster job wait "+job.ID)
		c.Run("group", "remove", to, "--yes").Refused(t, clustertest.ExitConflict, "remove group "+to+": ")
		c.Run("job", "cancel", job.ID).Done(t)
		r := c.Run("job", "wait", job.ID)
		if r.Status != clustertest.ExitRefused || !strings.Contains(r.Stderr, "job "+job.ID+" (move) was cancelled") {
			t.Errorf("wait for a cancelled job: status %d, %q", r.Status, r.Stderr)
		}
		c.Run("setting", "set", "slot-rate", "").Done(t)
		if now, err := c.Client().Locate(t.Context(), []byte("full")); err != nil || now.Group != at.Group {
			t.Errorf("its slot is of group %s, and was of %s; %v", now.Group, at.Group, err)
		}
		unchanged(t)
	})
	t.Run("no certificate", func(t *testing.T) {
		c.GoesByCertificates()
		for secret, want := range map[string]string{"": "its certificate is under root", c.Secret: "leave --secret-file out"} {
			set := c.Command("kv", "set", "k", "x")
			set.Env = append(set.Env, home.Variable+"="+t.TempDir(), "MUSTER_ENDPOINTS="+c.Endpoints(), "MUSTER_SECRET_FILE="+secret)
			r := clustertest.RunCommand(t, set, "")
			r.Refused(t, clustertest.ExitNotPermitted, "unauthorized")
			r.Refused(t, clustertest.ExitNotPermitted, want)
		}
		unchanged(t)
	})
	t.Run("value over the limit", func(t *testing.T) {
		_, err := c.Client().Set(t.Context(), []byte("k"), []byte(over), client.WriteOptions{})
		var refused *wire.Error
		if !errors.As(err, &refused) || refused.Code != wire.CodeTooLarge || !strings.Contains(err.Error(), "1048577") || !strings.Contains(err.Error(), "1048576") {
			t.Errorf("got %v", err)
		}
		unchanged(t)
	})
	t.Run("import goes on and says how many", func(t *testing.T) {
		r := c.RunIn(lines(`{"key":"k","value":"v"}`, `{"key":"big","value":"`+over+`"}`, `{"key":"k","value":"v"}`, "nonsense"),
			"kv", "import", "-", "-o", "json")
		if r.Status != clustertest.ExitRefused || r.Stdout != counts("2", "1") {
			t.Errorf("status %d, standard output %q", r.Status, r.Stdout)
		}
		if !strings.Contains(r.Stderr, "line 4: not JSON") || !strings.Contains(r.Stderr, "line 2: value of") {
			t.Errorf("standard error is %.300q", r.Stderr)
		}
	})
}

// What listens at an endpoint may be no muster, or none that speaks as we do.
// That must not be taken for a cluster that is slow.
func TestForeignEndpoint(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		addr    string
		timeout string
		status  int
		want    string
	}{
		{"a web server", clustertest.Listen(t, func(conn net.Conn) {
			conn.Read(make([]byte, 4096))
			conn.Write([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"))
		}), "30s", clustertest.ExitRefused, "speaks something else"},
		{"a banner", clustertest.Listen(t, func(conn net.Conn) { conn.Write([]byte("SSH-2.0-OpenSSH_9.9\r\n")) }), "30s", clustertest.ExitRefused, "speaks something else"},
		{"a newer version", clustertest.Listen(t, func(conn net.Conn) {
			conn.Read(make([]byte, 4096))
			wire.WriteFrame(conn, wire.TypeError, 0, wire.WrongVersion("hello", 200, 201))
		}), "30s", clustertest.ExitRefused, "wrong-version"},
		{"slow garbage", clustertest.Listen(t, func(conn net.Conn) {
			for range 20 {
				conn.Write([]byte("x"))
				conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
				io.Copy(io.Discard, conn)
			}
		}), "30s", clustertest.ExitRefused, "speaks something else"},
		// It accepts, so it may be a node that stands still or is on its way down.
		{"silence", clustertest.Listen(t, func(net.Conn) {}), "1s", clustertest.ExitNoResult, "no answer within"},
		{"a hang-up", clustertest.Listen(t, func(conn net.Conn) { conn.Close() }), "1s", clustertest.ExitNoResult, "hello with"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, line := range []string{"kv set k v", "kv get k", "status", "kv list", "bench"} {
				args := append(strings.Fields(line), "--endpoints", tt.addr, "--timeout", tt.timeout)
				clustertest.Run(t, args...).Refused(t, tt.status, tt.want)
			}
		})
	}
}

// Whoever speaks other versions of the protocol, older or newer, client or peer, must
// be told which are spoken and what to do, in a frame that it can read. So must one that
// speaks in clear where that is not taken.
func TestWrongVersion(t *testing.T) {
	t.Parallel()
	secured, clear := clustertest.Start(t, 1), clustertest.Start(t, 1, "--insecure")
	secured.GoesByCertificates()
	found := func(lower, upper uint8) string {
		return fmt.Sprintf("it speaks %d to %d, the other side %d to %d", lower, upper, wire.VersionMin, wire.VersionMax)
	}
	for _, tt := range []struct {
		purpose      wire.Purpose
		role         wire.Role
		lower, upper uint8
	}{
		{wire.PurposeClient, wire.RoleClient, 200, 201},
		{wire.PurposeClient, wire.RoleClient, wire.VersionMin - 1, wire.VersionMin - 1},
		{wire.PurposePeer, wire.RolePeer, wire.VersionMin - 1, wire.VersionMin - 1},
	} {
		hello := wire.AppendFrame([]byte{0xed, 'm', 'u', 's', tt.lower, tt.upper, byte(tt.purpose), 0}, wire.TypeHello, 0,
			&wire.Hello{VersionMin: tt.lower, VersionMax: tt.upper, Role: tt.role, Node: 7})
		answer := func(conn net.Conn, err error) *wire.Error {
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write(hello); err != nil {
				t.Fatal(err)
			}
			h, body, err := wire.ReadFrame(conn, wire.NewDecoder(wire.HelloBytesMax))
			if err != nil || h.Type != wire.TypeError {
				t.Fatalf("versions %d to %d: got %v %v", tt.lower, tt.upper, h, err)
			}
			e := new(wire.Error)
			if err := e.Read(body); err != nil {
				t.Fatal(err)
			}
			return e
		}
		for _, c := range []*clustertest.Cluster{secured, clear} {
			addr := c.Nodes[0].Addr
			var e *wire.Error
			if tt.purpose == wire.PurposePeer {
				e = answer(clustertest.DialAsNode(t.Context(), c, addr, 0))
			} else {
				e = answer(clustertest.DialAsUser(t.Context(), c, addr))
			}
			if e.Code != wire.CodeWrongVersion || !strings.Contains(e.Error(), found(tt.lower, tt.upper)) || !strings.Contains(e.Next, "same release") || strings.Contains(e.Error(), "\n") {
				t.Errorf("got %v, want %q in it", e, found(tt.lower, tt.upper))
			}
		}
		e := answer(net.Dial("tcp", secured.Nodes[0].Addr))
		if e.Code != wire.CodeUnauthorized || !strings.Contains(e.Error(), "speaks nothing but TLS 1.3") || !strings.Contains(e.Next, "use a release of muster that has TLS") || strings.Contains(e.Error(), "\n") {
			t.Errorf("in clear: got %v", e)
		}
	}
}

// A directory that another build wrote, in a format that is not read here, is refused
// in one line that says which it is and what to do; and it is as it was: that build
// must be able to go on with it.
func TestOtherFormatIsLeftAlone(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1)
	c.Run("kv", "set", "k", "v").Done(t)
	c.Stop(0)
	p := c.Nodes[0]
	name := filepath.Join(p.Data, "identity")
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	const mark = "\nchecksum "
	text := good[:bytes.LastIndex(good, []byte(mark))+1]
	for _, tt := range []struct {
		format int
		wants  []string
	}{
		{logstore.IdentityFormatOldest - 1, []string{"written by an older muster", "export the keys with the muster that wrote it"}},
		{logstore.IdentityFormat + 1, []string{"written by a newer muster", "start the newer muster"}},
	} {
		format := tt.format
		other := bytes.Replace(text, fmt.Appendf(nil, "muster identity %d\n", logstore.IdentityFormatOldest), fmt.Appendf(nil, "muster identity %d\n", format), 1)
		other = fmt.Appendf(other, "checksum %08x\n", crc32.Checksum(other, crc32.MakeTable(crc32.Castagnoli)))
		if err := os.WriteFile(name, other, 0o600); err != nil {
			t.Fatal(err)
		}
		before := snapshotOf(t, p.Data)
		r := clustertest.Run(t, p.Args...)
		lines := strings.Split(strings.TrimSpace(r.Stderr), "\n")
		last := lines[len(lines)-1]
		if r.Status != clustertest.ExitRefused || r.Stdout != "" {
			t.Errorf("format %d: status %d, want %d; %s", format, r.Status, clustertest.ExitRefused, r.Stderr)
		}
		for _, want := range append(tt.wants, name, fmt.Sprintf("format %d, this one reads formats %d to %d", format, logstore.IdentityFormatOldest, logstore.IdentityFormat)) {
			if !strings.Contains(last, want) {
				t.Errorf("format %d: the last line is %q, want it to say %q", format, last, want)
			}
		}
		// Nothing in it is damaged, so nobody may be told that it is.
		for _, args := range [][]string{{"show"}, {"show", "--group", "1"}, {"show", "-o", "json"}} {
			r := clustertest.Run(t, append(append([]string{"log"}, args...), p.Data)...)
			if line := strings.TrimSpace(r.Stderr); r.Status != clustertest.ExitRefused || r.Stdout != "" || strings.Contains(line, "\n") || !strings.Contains(line, tt.wants[0]) {
				t.Errorf("format %d: log %s: status %d, want %d; %s%s", format, strings.Join(args, " "), r.Status, clustertest.ExitRefused, r.Stdout, r.Stderr)
			}
		}
		if now := snapshotOf(t, p.Data); !bytes.Equal(now, before) {
			t.Errorf("format %d: the directory was %s, is %s", format, before, now)
		}
	}
	if err := os.WriteFile(name, good, 0o600); err != nil {
		t.Fatal(err)
	}
	c.Start(0)
	c.Healthy()
	if got := c.Run("kv", "get", "k").Done(t); got != "v\n" {
		t.Errorf("got %q", got)
	}
}

// A node must not take a directory or an address that is not its own, and must
// leave it as it was.
func TestNotItsOwn(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1)
	c.Run("kv", "set", "k", "v").Done(t)
	p := c.Nodes[0]
	addrs, err := node.FreeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	serve := func(args ...string) clustertest.Result {
		return clustertest.Run(t, append([]string{"serve"}, args...)...)
	}

	lastLine := func(r clustertest.Result, status int, wants ...string) {
		t.Helper()
		log := strings.Split(strings.TrimSpace(r.Stderr), "\n")
		last := log[len(log)-1]
		if r.Status != status || r.Stdout != "" || !strings.HasPrefix(last, "muster: ") {
			t.Errorf("status %d, want %d; %s", r.Status, status, r.Stderr)
		}
		for _, want := range wants {
			if !strings.Contains(last, want) {
				t.Errorf("the last line is %q, want it to say %q", last, want)
			}
		}
	}
	lastLine(serve("--listen", addrs[0], "--data", p.Data), clustertest.ExitRefused, p.Data, "in use")
	lastLine(serve("--listen", p.Addr, "--data", filepath.Join(c.Dir, "new")), clustertest.ExitRefused, p.Addr, "in use")
	c.Run("kv", "get", "k").Done(t)

	c.Stop(0)
	identity := snapshotOf(t, p.Data)
	lastLine(serve("--listen", addrs[0], "--data", p.Data, "--cluster", "other"), clustertest.ExitRefused, p.Data, `"muster"`, `"other"`)
	if now := snapshotOf(t, p.Data); !bytes.Equal(now, identity) {
		t.Errorf("the directory was %s, is %s", identity, now)
	}
	c.Start(0)
	c.Healthy()
	if got := c.Run("kv", "get", "k").Done(t); got != "v\n" {
		t.Errorf("got %q", got)
	}
}

// snapshotOf describes the files of a directory: names, sizes, times.
func snapshotOf(t *testing.T, dir string) []byte {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all = append(all, path, info.ModTime().String(), fmt.Sprint(info.Size()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
