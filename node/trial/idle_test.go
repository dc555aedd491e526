package trial

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	// idleSwitchesMax is how often the threads of an idle node may go to sleep
	// in a second, and so wake: some 80 as it is; with a tick each 50 ms and a
	// heartbeat each 100 ms it was 340. Unlike processor time that depends
	// little on how fast a machine is.
	idleSwitchesMax = 150
	idleWindow      = 4 * time.Second
)

// A cluster in which nothing happens lets its processors sleep. One would doubt
// it: each node has ticks, heartbeats, pings and looks at its disk to attend to,
// and each of these is a timer that may be forgotten.
func TestIdleNodesSleep(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/task"); err != nil {
		t.Skip("the system does not count the switches of a process: ", err)
	}
	c := startCluster(t, 3)
	c.until("each node sleeps", func(context.Context) error {
		before := make([]int, len(c.nodes))
		for i, p := range c.nodes {
			before[i] = switchesOf(t, p.cmd.Process.Pid)
		}
		began := time.Now()
		time.Sleep(idleWindow) // what is measured is a time without anything
		seconds := time.Since(began).Seconds()
		for i, p := range c.nodes {
			each := float64(switchesOf(t, p.cmd.Process.Pid)-before[i]) / seconds
			t.Logf("node %d: %.0f switches a second", i+1, each)
			if each > idleSwitchesMax {
				return fmt.Errorf("node %d goes to sleep %.0f times a second, the bound is %d", i+1, each, idleSwitchesMax)
			}
		}
		return nil
	})
}

// switchesOf returns how often the threads of a process gave up their processor
// by themselves, as far as they still live.
func switchesOf(t *testing.T, pid int) (sum int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("threads of %d: %v", pid, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended meanwhile
		}
		for line := range strings.Lines(string(b)) {
			if n := 0; strings.HasPrefix(line, "voluntary_ctxt_switches:") {
				if _, err := fmt.Sscanf(line, "voluntary_ctxt_switches: %d", &n); err != nil {
					t.Fatalf("%s: %q: %v", name, line, err)
				}
				sum += n
			}
		}
	}
	return sum
}
