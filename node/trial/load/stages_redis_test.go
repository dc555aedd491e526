package load

import (
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/node"
	"muster/node/trial/clustertest"
	"muster/repl/client/bench"
)

// besideRedis is a table of what one Redis does that syncs each write before it
// answers: keys and values of the sizes of r, as many in flight, and fewer.
func besideRedis(t *testing.T, r bench.Result) (string, error) {
	for _, program := range []string{"redis-server", "redis-benchmark"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("no %s here", program)
		}
	}
	addrs, err := node.FreeAddrs(1)
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(addrs[0])
	if err != nil {
		return "", err
	}
	server := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		return "", err
	}
	defer func() {
		server.Process.Kill()
		server.Wait()
	}()
	for end := time.Now().Add(clustertest.ReadyMax); ; {
		conn, err := net.Dial("tcp", addrs[0])
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(end) {
			return "", err
		}
		time.Sleep(20 * time.Millisecond)
	}
	var b strings.Builder
	b.WriteString("| | in flight | writes/s | CPU µs per write, servers |\n|---|---|---|---|\n")
	fmt.Fprintf(&b, "| muster, three nodes | %s | %s | %.1f, for each node %.1f |\n", thousands(r.InFlight), thousands(r.OpsPerS), r.ServerCPU, r.ServerCPU/3)
	for _, pipeline := range []int{16, 64} {
		const connections, few = 16, 50_000
		load := func(n int) (time.Duration, error) {
			began := time.Now()
			out, err := exec.Command("redis-benchmark", "-p", port, "-t", "set", "-d", strconv.Itoa(r.ValueBytes), "-r", strconv.Itoa(r.Keys),
				"-c", strconv.Itoa(connections), "-P", strconv.Itoa(pipeline), "-n", strconv.Itoa(n), "-q").CombinedOutput()
			if err != nil {
				return 0, fmt.Errorf("redis-benchmark: %w\n%s", err, out)
			}
			return time.Since(began), nil
		}
		took, err := load(few)
		if err != nil {
			return "", err
		}
		n := int(few * stagesFor.Seconds() / took.Seconds())
		before, err := clustertest.ProcessorTimeOf(server.Process.Pid)
		if err != nil {
			return "", err
		}
		if took, err = load(n); err != nil {
			return "", err
		}
		after, err := clustertest.ProcessorTimeOf(server.Process.Pid)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "| Redis, one node, appendfsync always, %d connections with a pipeline of %d | %s | %s | %.1f |\n",
			connections, pipeline, thousands(connections*pipeline), thousands(float64(n)/took.Seconds()), float64((after-before).Nanoseconds())/1000/float64(n))
	}
	return b.String(), nil
}
