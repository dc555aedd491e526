package load

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/node"
	"muster/node/trial/clustertest"
)

// peer is a process of another store of points.
type peer struct {
	cmd  *exec.Cmd
	past time.Duration // of processors, in lives that have ended
}

func (p *peer) start(t *testing.T, ready string, env []string, name string, args ...string) {
	t.Helper()
	p.cmd = exec.Command(name, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	clustertest.Await(t, name+" ready", clustertest.ReadyMax, func(ctx context.Context) error {
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, ready, nil)
		if err != nil {
			return err
		}
		r, err := http.DefaultClient.Do(q)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if r.StatusCode/100 != 2 {
			return fmt.Errorf("%s: %s", ready, r.Status)
		}
		return nil
	})
}

// taken is the processor time of all its lives.
func (p *peer) taken(t *testing.T) time.Duration {
	t.Helper()
	now, err := clustertest.ProcessorTimeOf(p.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return p.past + now
}

// end ends a life, in peace.
func (p *peer) end(t *testing.T) {
	t.Helper()
	p.past = p.taken(t)
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.cmd.Wait()
}

// peerAddrs returns two free addresses, or nil with a word in the log if a program is not here.
func peerAddrs(t *testing.T, program string) []string {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Logf("NOT MEASURED: no %s here; apt-get install it", program)
		return nil
	}
	addrs, err := node.FreeAddrs(2)
	if err != nil {
		t.Fatal(err)
	}
	return addrs
}

// startInflux starts one influxd, which syncs each write as it comes, by default.
func startInflux(t *testing.T) *pointsServer {
	t.Helper()
	addrs := peerAddrs(t, "influxd")
	if addrs == nil {
		return nil
	}
	dir, address := t.TempDir(), "http://"+addrs[0]
	// From the package's own settings only the places and the time differ after which a shard counts as cold.
	env := []string{
		"INFLUXDB_META_DIR=" + filepath.Join(dir, "meta"), "INFLUXDB_DATA_DIR=" + filepath.Join(dir, "data"), "INFLUXDB_DATA_WAL_DIR=" + filepath.Join(dir, "wal"),
		"INFLUXDB_HTTP_BIND_ADDRESS=" + addrs[0], "INFLUXDB_BIND_ADDRESS=" + addrs[1], "INFLUXDB_REPORTING_DISABLED=true",
		"INFLUXDB_MONITOR_STORE_ENABLED=false", "INFLUXDB_HTTP_LOG_ENABLED=false", "INFLUXDB_DATA_INDEX_VERSION=inmem",
	}
	if os.Geteuid() == 0 {
		env = append(env, "HOME="+dir)
	}
	config := filepath.Join(dir, "influxdb.conf")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := new(peer)
	begin := func(more ...string) {
		p.start(t, address+"/ping", append(env, more...), "influxd", "run", "-config", config)
	}
	begin()
	r, err := http.PostForm(address+"/query", url.Values{"q": {"CREATE DATABASE bench"}})
	if err != nil {
		t.Fatal(err)
	}
	said, _ := io.ReadAll(r.Body)
	r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Fatalf("create database: %s", said)
	}
	return &pointsServer{
		processes: []serverProcess{{address, func() (now, most int) { return (&clustertest.Process{Cmd: p.cmd}).Memory(t) }}},
		name:      "influxd", url: address, data: filepath.Join(dir, "data"), copies: 1,
		files: func(path string) bool { return strings.HasSuffix(path, ".tsm") },
		taken: func() time.Duration { return p.taken(t) },
		query: func(t *testing.T, q *pointsQuery) time.Duration { return askInflux(t, address, q) },
		settle: func() {
			p.end(t)
			begin("INFLUXDB_DATA_CACHE_SNAPSHOT_WRITE_COLD_DURATION=1s", "INFLUXDB_DATA_COMPACT_FULL_WRITE_COLD_DURATION=2s")
		},
		stop: func() { p.end(t) },
	}
}

// startVictoria starts one VictoriaMetrics, which syncs its files, but no write as it comes.
func startVictoria(t *testing.T) *pointsServer {
	t.Helper()
	addrs := peerAddrs(t, "victoria-metrics")
	if addrs == nil {
		return nil
	}
	dir, address := t.TempDir(), "http://"+addrs[0]
	p := new(peer)
	begin := func() {
		p.start(t, address+"/health", nil, "victoria-metrics", "-httpListenAddr="+addrs[0], "-storageDataPath="+dir, "-retentionPeriod=10y",
			"-search.disableCache", "-search.latencyOffset=0s")
	}
	begin()
	return &pointsServer{
		name: "victoria-metrics", url: address, data: filepath.Join(dir, "data"), copies: 1,
		files: func(string) bool { return true },
		taken: func() time.Duration { return p.taken(t) },
		query: func(t *testing.T, q *pointsQuery) time.Duration {
			t.Helper()
			var answer struct {
				Status string
				Data   struct{ Result []struct{ Values [][]any } }
			}
			took := ask(t, fmt.Sprintf("%s/api/v1/query_range?%s", address, url.Values{"query": {q.prom}, "start": {fmt.Sprint(q.first.Unix())}, "end": {fmt.Sprint(q.last.Unix())}, "step": {fmt.Sprint(q.step.Seconds())}}.Encode()), &answer)
			if answer.Status != "success" || len(answer.Data.Result) != q.series || len(answer.Data.Result[0].Values) == 0 {
				t.Fatalf("%s: answer %+v, want %d series", q.prom, answer, q.series)
			}
			return took
		},
		settle: func() { p.end(t); begin() }, // its newest points are in memory alone
		stop:   func() { p.end(t) },
	}
}
