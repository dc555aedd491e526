package trial

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"muster/node/trial/clustertest"
)

// What a command prints with -o json is a contract: programs read it. Numbers
// that differ from run to run stand as N, ids as ID, addresses as ADDR.
func TestJSONForms(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1, "--label", "rack=4", "--groups", "2")
	txn := filepath.Join(t.TempDir(), "txn")
	if err := os.WriteFile(txn, []byte(`{"if":[{"key":"{t}d","absent":true}],"then":[{"set":{"key":"{t}d","value":"1"}},{"get":{"key":"{t}a"}},{"get":{"key":"{t}x"}},{"del":{"key":"{t}x"}},{"incr":{"key":"{t}c"}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		line   string
		status int
		want   string
	}{
		{"kv set {t}a 1", 0, `{"log_ids":["gN/N.N"],"versions":{"{t}a":N}}`},
		{"kv set {t}a 2 {t}b 3", 0, `{"log_ids":["gN/N.N"],"versions":{"{t}a":N,"{t}b":N}}`},
		{"kv set \xff 1", 0, `{"log_ids":["gN/N.N"],"versions":{},"versions_base64":{"/w==":N}}`},
		{"kv get {t}a", 0, `{"items":[{"key":"{t}a","value":"2","version":N,"slot":N,"group":N,"at":"gN/N.N"}],"missing":[]}`},
		{"kv get {t}a x", 4, `{"items":[{"key":"{t}a","value":"2","version":N,"slot":N,"group":N,"at":"gN/N.N"}],"missing":["x"]}`},
		{"kv get x \xfe", 4, `{"items":[],"missing":["x"],"missing_base64":["/g=="]}`},
		{"kv get \xff", 0, `{"items":[{"key_base64":"/w==","value":"1","version":N,"slot":N,"group":N,"at":"gN/N.N"}],"missing":[]}`},
		{"kv get {t}a --read local", 0, `{"items":[{"key":"{t}a","value":"2","version":N,"slot":N,"group":N,"at":"gN/N.N"}],"missing":[]}`},
		{"kv list {t}", 0, `{"key":"{t}a","value":"2","version":N}` + "\n" + `{"key":"{t}b","value":"3","version":N}`},
		{"kv list --limit 1", 0, `{"key":"{t}a","value":"2","version":N}`},
		{"kv list --keys", 0, `{"key":"{t}a","version":N}` + "\n" + `{"key":"{t}b","version":N}` + "\n" + `{"key_base64":"/w==","version":N}`},
		{"kv list absent", 0, ``},
		{"kv list --desc --keys", 0, `{"key_base64":"/w==","version":N}` + "\n" + `{"key":"{t}b","version":N}` + "\n" + `{"key":"{t}a","version":N}`},
		{"kv list {t} --desc --limit 1", 0, `{"key":"{t}b","value":"3","version":N}`},
		{"kv list --desc --after {t}b --keys", 0, `{"key":"{t}a","version":N}`},
		{"kv list --from {t}b --to {u}", 0, `{"key":"{t}b","value":"3","version":N}`},
		{"kv list {t} --count", 0, `{"count":N}`},
		{"kv export {t}b", 0, `{"key":"{t}b","value":"3","version":N}`},
		{"kv export --from {t}b --to {u}", 0, `{"key":"{t}b","value":"3","version":N}`},
		{"kv export {t} --after {t}a", 0, `{"key":"{t}b","value":"3","version":N}`},
		{"kv del {t}b {t}x", 0, `{"log_ids":["gN/N.N"],"versions":{"{t}b":N,"{t}x":N},"deleted":N}`},
		{"kv set {t}c 1 --ttl 1h", 0, `{"log_ids":["gN/N.N"],"versions":{"{t}c":N}}`},
		{"kv set {t}c 2 --if-value 1", 0, `{"log_ids":["gN/N.N"],"versions":{"{t}c":N}}`},
		{"kv incr {t}c", 0, `{"log_ids":["gN/N.N"],"versions":{"{t}c":N},"values":{"{t}c":N}}`},
		{"kv incr {t}c -5", 0, `{"log_ids":["gN/N.N"],"versions":{"{t}c":N},"values":{"{t}c":-2}}`},
		{"kv incr \xff 2", 0, `{"log_ids":["gN/N.N"],"versions":{},"versions_base64":{"/w==":N},"values_base64":{"/w==":N}}`},
		{"kv get {t}a {t}c --at-once --read follower", 0, `{"items":[{"key":"{t}a","value":"2","version":N,"slot":N,"group":N,"at":"gN/N.N"},{"key":"{t}c","value":"-2","version":N,"slot":N,"group":N,"at":"gN/N.N"}],"missing":[]}`},
		{"kv get {t}a --max-stale 10s", 0, `{"items":[{"key":"{t}a","value":"2","version":N,"slot":N,"group":N,"at":"gN/N.N"}],"missing":[]}`},
		{"kv txn " + txn, 0, `{"log_ids":["gN/N.N"],"versions":{"{t}c":N,"{t}d":N,"{t}x":N},"succeeded":true,"results":[` +
			`{"op":"set","key":"{t}d"},{"op":"get","key":"{t}a","value":"2","found":true,"version":N},{"op":"get","key":"{t}x","found":false},` +
			`{"op":"del","key":"{t}x","deleted":false},{"op":"incr","key":"{t}c","number":-1}]}`},
		{"kv txn " + txn, 0, `{"log_ids":["gN/N.N"],"versions":{},"succeeded":false,"results":[]}`},
		{"backup schedule", 0, `{"every":"off","keep":N}`},
		{"backup schedule --keep 3", 0, `{"every":"off","keep":N}`},
		{"backup list", 0, ``},
		{"lease list", 0, `[]`},
		{"lease grant 1h --for {t}a", 0, `{"id":"N.N","ttl_ms":N,"remaining_ms":N,"slot":N,"keys":N}`},
		{"lease list", 0, `[{"id":"N.N","ttl_ms":N,"remaining_ms":N,"slot":N,"keys":N}]`},
		{"kv locate {t}a", 0, `{"key":"{t}a","slot":N,"group":N,"leader":"n1"}`},
		{"node list", 0, `[{"id":"ID","name":"n1","addr":"ADDR","role":"server","status":"alive","version":"0.1.0","level":N,"weight":N,"labels":{"rack":"4"}}]`},
		{"group list", 0, `[` + groupForm + `,` + groupForm + `,` + groupForm + `]`},
		{"slot list", 0, `[{"from":N,"to":N,"group":N,"state":"stable","keys":N,"bytes":N},{"from":N,"to":N,"group":N,"state":"stable","keys":N,"bytes":N}]`},
		{"node weight n1 50", 0, `[{"id":"ID","name":"n1","addr":"ADDR","role":"server","status":"alive","version":"0.1.0","level":N,"weight":N,"labels":{"rack":"4"}}]`},
		{"status", 0, `{"cluster":"muster","cluster_id":"ID","level":N,"nodes":[{"id":"ID","name":"n1","addr":"ADDR","role":"server","status":"alive","version":"0.1.0","level":N,"weight":N,"labels":{"rack":"4"}}],` +
			`"groups":[` + groupForm + `,` + groupForm + `,` + groupForm + `],"healthy":true,"problems":[],` +
			`"notes":[{"what":"one more lost node stops groups 0, 1, 2, if it is one of: n1","remedy":"add servers with muster node add HOST:PORT until there are 3"}]}`},
		{"doctor", 0, `{"ok":true,"findings":[],"nodes":[{"id":"ID","name":"n1","addr":"ADDR","answered":true,"version":"0.1.0","start":N,"uptime_s":N,` +
			`"sync_p50_us":N,"sync_p99_us":N,"sync_max_us":N,"syncs":N,"free_bytes":N,"log_bytes":N,"needed_bytes":N,"snapshot_bytes":N,"full":false,"clock_ahead_ms":N,"clock_unsure_ms":N}],"links":[]}`},
		{"check", 0, `{"groups":[` + checkedForm + `,` + checkedForm + `,` + checkedForm + `],"ok":true}`},
		{"check --group 1", 0, `{"groups":[` + checkedForm + `],"ok":true}`},
		{"check --acknowledge", 0, `{"acknowledged":[]}`},
		{"bench --duration 50ms --warm-up 0s --in-flight 2 --op set", 0, `{"op":"set",` + benchForm + `"buckets":[…]}`},
		{"bench --duration 50ms --warm-up 0s --in-flight 2 --op mixed --keys 10 --rate 200 --pipelined", 0, `{"op":"mixed",` + strings.Replace(benchForm, "false", "true", 1) +
			`"read":"linearizable","read_percent":N,"sets":{"done":N,"p50_us":N,"p99_us":N,"p999_us":N},"gets":{"done":N,"p50_us":N,"p99_us":N,"p999_us":N},` +
			`"open":{"rate":N,"due":N,"late":N,"missed":N},"buckets":[…]}`},
	} {
		r := c.Run(append(strings.Split(tt.line, " "), "-o", "json")...)
		if got := form(r.Stdout, c.Nodes[0].Addr); got != tt.want || r.Status != tt.status || r.Stderr != "" {
			t.Errorf("%s: status %d, standard error %q\ngot  %s\nwant %s", tt.line, r.Status, r.Stderr, got, tt.want)
		}
	}
	if r := c.Run("backup", "list"); r.Status != 0 || r.Stdout != "" || r.Stderr != "no node that answered has a backup: muster backup run takes one now, muster backup schedule --every 24h one each day\n" {
		t.Errorf("without a backup: status %d, %q, standard error %q", r.Status, r.Stdout, r.Stderr)
	}
	// Commands that wait for a job report its progress on standard error.
	for _, tt := range []struct{ line, want string }{
		{"kv del --prefix {t}none/ --yes", `{"log_ids":[],"versions":{},"deleted":N}`},
		{"kv del --prefix {t}d --yes", `{"log_ids":[],"versions":{},"deleted":N,"id":"ID","kind":"delete","state":"done","done":N,"total":N,"unit":"keys"}`},
		{"backup run", `{"id":"ID","kind":"backup","state":"done","done":N,"total":N,"unit":"keys","bytes":N,"file":"FILE","why":"FILE on n1"}`},
		{"backup list", `{"name":"FILE","node":"n1","dir":"DIR","state":"whole","made":"TIME","bytes":N,"groups":N,"keys":N,"services":N}`},
		{"backup list --verify", `{"name":"FILE","node":"n1","dir":"DIR","state":"whole","made":"TIME","bytes":N,"groups":N,"keys":N,"services":N}`},
		{"backup schedule", `{"every":"off","keep":N,"last":"TIME","file":"FILE","node":"n1"}`},
		{"backup prune --yes", ``},
	} {
		r := c.Run(append(strings.Split(tt.line, " "), "-o", "json")...)
		if got := backupForm(form(r.Stdout, c.Nodes[0].Addr)); got != tt.want || r.Status != 0 {
			t.Errorf("%s: status %d, standard error %q\ngot  %s\nwant %s", tt.line, r.Status, r.Stderr, got, tt.want)
		}
	}
	// For people the table says where each file is.
	rows := strings.Split(c.Run("backup", "list").Done(t), "\n")
	if head, row := strings.Fields(rows[0]), strings.Fields(rows[1]); len(head) < 3 || len(row) < 3 || head[2] != "DIR" || row[2] != filepath.Join(c.Nodes[0].Data, "backups") {
		t.Errorf("the table of backups is %q", rows)
	} else if _, err := os.Stat(filepath.Join(row[2], row[0])); err != nil {
		t.Error(err)
	}
	var counted statusRow
	c.JSON(&counted, "status", "--counters")
	if len(counted.Counters) == 0 || counted.Counters[0].In+counted.Counters[0].Out == 0 {
		t.Errorf("counters are %v", counted.Counters)
	}
	if d := counted.Disk; d == nil || d.EntryBytes == 0 || d.LogBytes < d.EntryBytes || d.FilledBytes == 0 {
		t.Errorf("disk is %+v", d)
	}
}

// backupForm leaves out of a form what differs from one backup to the next.
func backupForm(s string) string {
	s = regexp.MustCompile(`muster-muster-[0-9]{8}T[0-9]{6}Z-[0-9]+\.backup`).ReplaceAllString(s, "FILE")
	s = regexp.MustCompile(`"dir":"[^"]*"`).ReplaceAllString(s, `"dir":"DIR"`)
	return regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"`).ReplaceAllString(s, `"TIME"`)
}

const benchForm = `"in_flight":N,"connections":N,"ops_per_s":N,"p50_us":N,"p99_us":N,"p999_us":N,"server_cpu_us_per_op":N,"client_cpu_us_per_op":N,"errors":N,` +
	`"done":N,"seconds":N,"mean_us":N,"p90_us":N,"max_us":N,"pipelined":false,"keys":N,"key_bytes":N,"value_bytes":N,"distribution":"uniform","seed":N,`

const groupForm = `{"id":N,"leader":"n1","term":N,"commit":"gN/N.N","slots":N,"replicas":[{"id":"ID","node":"n1","role":"voter","match":N,"state":"leader"}]}`

const checkedForm = `{"id":N,"index":N,"replicas":N,"agree":true,"differing":[]}`

var (
	idForm    = regexp.MustCompile(`("(?:cluster_)?id":)"[0-9a-f]+"`)
	leaseForm = regexp.MustCompile(`"id":"[0-9]+\.[0-9]+"`)
	logIDForm = regexp.MustCompile(`"g[0-9]+/[0-9]+\.[0-9]+"`)
	// Of logs: a replica's id, a node's or a checksum.
	stringNumberForm = regexp.MustCompile(`:"[0-9]{1,3}"`)
	timeForm         = regexp.MustCompile(`"admitted":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`)
	sessionForm      = regexp.MustCompile(`"session":"[0-9a-f]{16}"`)
	hexForm          = regexp.MustCompile(`:"([0-9a-f]{8}|[0-9a-f]{16})"`)

	// A slow or nearly full disk is one of the machine that tests.
	warningsForm = regexp.MustCompile(`\{"severity":"warning",[^}]*\},?`)

	bucketsForm = regexp.MustCompile(`"buckets":\[({"to_us":[0-9.]+,"count":[0-9]+},?)*\]`)

	// Of two clocks either may be ahead. All other numbers are counts.
	aheadForm = regexp.MustCompile(`("clock_ahead_ms":)-`)

	numberForm = regexp.MustCompile(`:[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?([,}\]])`)
)

func form(s, addr string) string {
	s = strings.ReplaceAll(s, `"`+addr+`"`, `"ADDR"`)
	s = idForm.ReplaceAllString(s, `$1"ID"`)
	s = leaseForm.ReplaceAllString(s, `"id":"N.N"`)
	s = logIDForm.ReplaceAllString(s, `"gN/N.N"`)
	s = warningsForm.ReplaceAllString(s, "")
	s = bucketsForm.ReplaceAllString(s, `"buckets":[…]`)
	s = aheadForm.ReplaceAllString(s, "$1")
	s = numberForm.ReplaceAllString(s, `:N$3`)
	return strings.TrimSuffix(s, "\n")
}

// What makes groups and moves slots prints rows as other commands do, with progress and
// plans on standard error. A plan that nobody agrees to changes nothing, and one that is
// empty is one line.
func TestSlotForms(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, 1, "--groups", "2")
	c.Start(0)
	c.Healthy()
	job := func(kind string) string {
		return `{"id":"ID","kind":"` + kind + `","state":"done","done":N,"total":N,"unit":"slots","bytes":N,"bytes_total":N}`
	}
	for _, tt := range []struct {
		line   string
		status int
		want   string
		lines  int // of standard error; -1: some
	}{
		{"slot rebalance", 0, ``, 1},
		{"slot rebalance --yes", 0, ``, 1},
		{"group create", 0, `[` + groupForm + `]`, 0},
		{"slot rebalance", exitNotConfirmed, ``, -1},
		{"slot assign 0-9 3", 0, job("assign"), -1},
		{"slot move 10 3", 0, job("move"), -1},
		{"slot rebalance --yes", 0, job("rebalance"), -1},
		{"slot rebalance", 0, ``, 1},
		{"group remove 3", clustertest.ExitConflict, ``, 1},
		{"slot list", 0, ``, 0},
	} {
		r := c.Run(append(strings.Split(tt.line, " "), "-o", "json")...)
		got := form(r.Stdout, c.Nodes[0].Addr)
		if tt.line == "slot list" {
			got = "" // its form is above
		}
		lines := strings.Count(r.Stderr, "\n")
		if got != tt.want || r.Status != tt.status || lines != tt.lines && (tt.lines >= 0 || lines < 2) {
			t.Errorf("%s: status %d, standard error %q\ngot  %s\nwant %s", tt.line, r.Status, r.Stderr, got, tt.want)
		}
	}
	var rows []struct {
		From, To, Group int
		State           string
	}
	c.JSON(&rows, "slot", "list")
	had := map[int]int{}
	for _, r := range rows {
		had[r.Group] += r.To - r.From + 1
		if r.State != "stable" {
			t.Errorf("slots %d-%d are %s after all jobs have ended", r.From, r.To, r.State)
		}
	}
	for g := 1; g <= 3; g++ {
		if n := had[g]; n < 4096/3-100 || n > 4096/3+100 {
			t.Errorf("group %d has %d slots after a rebalance, of %v", g, n, had)
		}
	}
}

// For people there are tables, and for scripts the bare value of one key.
func TestTables(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1)
	for _, tt := range []struct {
		line   string
		status int
		stdout string // a part of it; "=" before it: all of it
		stderr string
	}{
		{"kv set a 1", 0, "KEY  VERSION  LOG ID\na    ", ""},
		{"kv get a", 0, "=1\n", ""},
		{"kv get a b", 4, "KEY  VERSION  AT      VALUE\na    ", "muster: not found: \"b\"\n"},
		{"kv get b", 4, "=", "muster: not found: \"b\"\n"},
		{"kv list", 0, "KEY  VERSION  VALUE\na    ", ""},
		{"kv list --keys", 0, "KEY  VERSION\na    ", ""},
		{"kv list b", 0, "=", ""},
		{"kv list --count", 0, "=1\n", ""},
		{"kv list --count --from b", 0, "=0\n", ""},
		{"kv list a/ --from b", 2, "=", "muster kv list: --from \"b\" with prefix \"a/\"; want a beginning below \"a0\", where the keys with that prefix end\n"},
		{"kv locate a", 0, "KEY  SLOT  GROUP  LEADER\na    ", ""},
		{"node list", 0, "n1    " + c.Nodes[0].Addr + "  server  alive", ""},
		{"group list", 0, "GROUP  LEADER  TERM  COMMIT  SLOTS  REPLICA  NODE  ROLE   MATCH  STATE\n0      n1  ", ""},
		{"slot list", 0, "FROM  TO    GROUP  STATE   TARGET  KEYS  BYTES\n0     511   1      stable  -       ", ""},
		{"status", 0, " is healthy, says n1\n", ""},
		{"status --counters", 0, "FRAMES ", ""},
		{"status --counters", 0, "entries of all groups  ", ""},
		{"kv del a", 0, "KEY  VERSION  LOG ID\na    ", ""},
		{"kv del a", 0, "KEY  VERSION  LOG ID\na    ", ""},
	} {
		r := c.Run(strings.Fields(tt.line)...)
		whole, all := strings.CutPrefix(tt.stdout, "=")
		ok := all && r.Stdout == whole || !all && strings.Contains(r.Stdout, tt.stdout)
		if !ok || r.Status != tt.status || r.Stderr != tt.stderr {
			t.Errorf("%s: status %d, standard error %q, want %d, %q\ngot  %q\nwant %q", tt.line, r.Status, r.Stderr, tt.status, tt.stderr, r.Stdout, tt.stdout)
		}
	}
}

// What export prints, import must make again: order, bytes that are no text,
// values of every size, and keys that were written twice.
func TestExportImport(t *testing.T) {
	t.Parallel()
	from, to := clustertest.Start(t, 1), clustertest.Start(t, 1, "--groups", "3")
	var in bytes.Buffer
	for i := range 2000 {
		key := fmt.Sprintf("key/%04d", i*7%2000)
		value := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{byte(i), 0xff}, i%50))
		fmt.Fprintf(&in, `{"key":%q,"value_base64":%q}`+"\n", key, value)
		if i%10 == 0 { // this one wins: it stands later
			fmt.Fprintf(&in, `{"key":%q,"value":"again"}`+"\n", key)
		}
	}
	fmt.Fprintf(&in, `{"key":"large","value":%q}`, strings.Repeat("l", 1<<20))
	if got := from.RunIn(in.String(), "kv", "import", "-", "-o", "json").Done(t); got != `{"written":2201,"failed":0}`+"\n" {
		t.Errorf("import printed %s", got)
	}
	path := filepath.Join(t.TempDir(), "export")
	exported := from.Run("kv", "export").Done(t)
	if err := os.WriteFile(path, []byte(exported), 0o600); err != nil {
		t.Fatal(err)
	}
	to.Run("kv", "import", path).Done(t)
	withoutVersions := func(s string) string { return regexp.MustCompile(`,"version":[0-9]+`).ReplaceAllString(s, "") }
	if got := to.Run("kv", "export").Done(t); withoutVersions(got) != withoutVersions(exported) {
		t.Error("what was imported is not what was exported")
	}
	if got := to.Run("kv", "export", "--read", "local").Done(t); withoutVersions(got) != withoutVersions(exported) {
		t.Error("the local copy is not what was exported")
	}
	count, last := 0, ""
	for line := range strings.Lines(exported) {
		var row lineRow
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		if row.Key == nil || *row.Key <= last {
			t.Fatalf("%.80s comes after %q", line, last)
		}
		last = *row.Key
		count++
	}
	if count != 2001 {
		t.Errorf("%d lines were exported, want 2001", count)
	}
	if got := from.Run("kv", "get", "key/0070").Done(t); got != "again\n" {
		t.Errorf("the later line of a key did not win: %q", got)
	}
}

// The newcomer's first minute: a node takes a write within two seconds of its
// start, and stops when it is told to.
func TestServeAtOnce(t *testing.T) {
	// The best of a few: what the other tests take of the machine is not
	// what a node takes.
	best := time.Hour
	for range 4 {
		c := clustertest.New(t, 1)
		began := time.Now()
		c.Start(0)
		c.Run("kv", "set", "k", "v").Done(t)
		best = min(best, time.Since(began))
		c.Stop(0)
		if best <= 2*time.Second {
			break
		}
	}
	if best > 2*time.Second {
		t.Errorf("the first write took %v from the start of the node", best)
	}
}
