package load

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/node"
	"muster/node/trial/clustertest"
	"muster/repl/client"
)

var besideKeys = flag.Int("beside", 0, "with how many `KEYS` TestBackupBeside compares; the figures of docs/performance.md are of 200000")

// besideRounds is how often each is measured; the fastest counts.
const besideRounds = 3

// How fast lists, backups and restores are beside those of etcd and Redis, with the same keys and values, on one machine, one
// after the other: three nodes of muster and of etcd, and one of Redis, which has no groups to ask.
func TestBackupBeside(t *testing.T) {
	clustertest.OnDemand(t, *besideKeys > 0, "./node/trial/load -run TestBackupBeside -beside 200000 -timeout 20m")
	size := float64(*besideKeys) * (keyBytes + valueBytes) / 1e6
	*backupKeys = *besideKeys
	report := func(what string, rounds []time.Duration) {
		least := rounds[0]
		for _, d := range rounds {
			least = min(least, d)
		}
		t.Logf("%-40s %.2f s, %.1f MB/s", what, least.Seconds(), size/least.Seconds())
	}
	dir := t.TempDir()
	backupsOfMuster(t, dir, report)
	backupsOfEtcd(t, dir, report)
	backupsOfRedis(t, dir, report)
}

func backupsOfMuster(t *testing.T, dir string, report func(string, []time.Duration)) {
	c := clustertest.Start(t, 3)
	if n := writeTexts(t.Context(), c.Client(), *besideKeys); n != *besideKeys {
		t.Fatalf("%d keys of %d were set", n, *besideKeys)
	}
	file := filepath.Join(dir, "all.backup")
	var lists, backups []time.Duration
	for range besideRounds {
		took, _ := timed(t, c, filepath.Join(dir, "out"), "kv", "list")
		lists = append(lists, took)
		took, _ = timed(t, c, filepath.Join(dir, "out"), "backup", file, "--force")
		backups = append(backups, took)
	}
	report("muster kv list", lists)
	report("muster backup", backups)
	for i := range c.Nodes {
		c.Kill(i)
	}
	other := clustertest.Start(t, 3)
	took, _ := timed(t, other, filepath.Join(dir, "out"), "restore", file)
	report("muster restore, into three nodes", []time.Duration{took})
	for i := range other.Nodes {
		other.Kill(i)
	}
}

// eachText calls f with each key and value that backupsOfMuster sets.
func eachText(t *testing.T, dir string, f func(key, value string)) {
	t.Helper()
	c := clustertest.Start(t, 1)
	defer c.Kill(0)
	*backupKeys = *besideKeys
	if n := writeTexts(t.Context(), c.Client(), *besideKeys); n != *besideKeys {
		t.Fatal(n)
	}
	for item, err := range c.Client().List(t.Context(), nil, client.ListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		f(string(item.Key), string(item.Value))
	}
}

// run runs a program with an input, its output in a file, and returns how long it took.
func run(t *testing.T, dir, in string, args ...string) time.Duration {
	t.Helper()
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout = strings.NewReader(in), out
	var errs strings.Builder
	cmd.Stderr = &errs
	began := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, errs.String())
	}
	return time.Since(began)
}

// started starts a program that runs until the test ends.
func started(t *testing.T, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	t.Cleanup(stop)
	return stop
}

func freeAddrs(t *testing.T, n int) []string {
	t.Helper()
	addrs, err := node.FreeAddrs(n)
	if err != nil {
		t.Fatal(err)
	}
	return addrs
}

func need(t *testing.T, programs ...string) bool {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Logf("%s is not installed: left out", p)
			return false
		}
	}
	return true
}

func backupsOfEtcd(t *testing.T, dir string, report func(string, []time.Duration)) {
	if !need(t, "etcd", "etcdctl") {
		return
	}
	t.Setenv("ETCDCTL_API", "3")
	addrs := freeAddrs(t, 6)
	var cluster, endpoints []string
	for i := range 3 {
		cluster = append(cluster, fmt.Sprintf("e%d=http://%s", i, addrs[3+i]))
		endpoints = append(endpoints, addrs[i])
	}
	for i := range 3 {
		client, peer := "http://"+addrs[i], "http://"+addrs[3+i]
		started(t, "etcd", "--name", fmt.Sprint("e", i), "--data-dir", filepath.Join(dir, fmt.Sprint("e", i)), "--log-level", "error", "--max-txn-ops", "10000", "--max-request-bytes", "10000000",
			"--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", strings.Join(cluster, ","))
	}
	ctl := func(in string, args ...string) time.Duration {
		t.Helper()
		return run(t, dir, in, append([]string{"etcdctl", "--endpoints", strings.Join(endpoints, ","), "--command-timeout", "60s"}, args...)...)
	}
	clustertest.Await(t, "etcd is ready", clustertest.ReadyMax, func(ctx context.Context) error {
		return exec.CommandContext(ctx, "etcdctl", "--endpoints", strings.Join(endpoints, ","), "put", "ready", "yes").Run()
	})
	const perTxn = 5000 // as --max-txn-ops lets them be
	var txn strings.Builder
	ops := 0
	put := func() {
		ctl("\n"+txn.String()+"\n\n", "txn")
		txn.Reset()
		ops = 0
	}
	eachText(t, dir, func(key, value string) {
		fmt.Fprintf(&txn, "put %s %s\n", key, value)
		if ops++; ops == perTxn {
			put()
		}
	})
	if ops > 0 {
		put()
	}
	file := filepath.Join(dir, "etcd.snapshot")
	var lists, backups, restores []time.Duration
	for i := range besideRounds {
		lists = append(lists, ctl("", "get", "--prefix", "", "--limit", "0"))
		os.Remove(file)
		endpoints = endpoints[:1] // a snapshot is of one node
		backups = append(backups, ctl("", "snapshot", "save", file))
		restores = append(restores, ctl("", "snapshot", "restore", file, "--data-dir", filepath.Join(dir, fmt.Sprint("restored", i))))
	}
	report("etcdctl get --prefix", lists)
	report("etcdctl snapshot save", backups)
	report("etcdctl snapshot restore, no node started", restores)
}

func backupsOfRedis(t *testing.T, dir string, report func(string, []time.Duration)) {
	if !need(t, "redis-server", "redis-cli") {
		return
	}
	addr := freeAddrs(t, 1)[0]
	host, port, _ := strings.Cut(addr, ":")
	started(t, "redis-server", "--bind", host, "--port", port, "--dir", dir, "--save", "", "--appendonly", "no", "--daemonize", "no",
		"--repl-diskless-sync-delay", "0") // else it waits five seconds for others that want the same
	cli := func(in string, args ...string) time.Duration {
		t.Helper()
		return run(t, dir, in, append([]string{"redis-cli", "-h", host, "-p", port}, args...)...)
	}
	clustertest.Await(t, "redis is ready", clustertest.ReadyMax, func(ctx context.Context) error {
		return exec.CommandContext(ctx, "redis-cli", "-h", host, "-p", port, "ping").Run()
	})
	var in strings.Builder
	eachText(t, dir, func(key, value string) {
		fmt.Fprintf(&in, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(key), key, len(value), value)
	})
	load := cli(in.String(), "--pipe")
	var scans, backups []time.Duration
	for range besideRounds {
		scans = append(scans, cli("", "--scan"))
		backups = append(backups, cli("", "--rdb", filepath.Join(dir, "redis.rdb")))
	}
	report("redis-cli --scan, keys alone", scans)
	report("redis-cli --rdb", backups)
	report("redis-cli --pipe, all sets", []time.Duration{load})
}
