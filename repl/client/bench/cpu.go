package bench

import (
	"context"
	"slices"
	"syscall"
	"time"

	"muster/repl/client"
)

// cpuTimes is the processor time of each node, by its address; less than 0
// where it did not say.
type cpuTimes map[string]time.Duration

// since sums up what was used since before, and names the nodes for which that
// is not known.
func (c cpuTimes) since(before cpuTimes) (sum time.Duration, unasked []string) {
	for addr, now := range c {
		if then, ok := before[addr]; ok && then >= 0 && now >= then {
			sum += now - then
		} else {
			unasked = append(unasked, addr)
		}
	}
	slices.Sort(unasked)
	return sum, unasked
}

// statusTimeout bounds the question to one node: a dead one is left out.
const statusTimeout = 2 * time.Second

func serverCPU(ctx context.Context, c *client.Client) (cpuTimes, error) {
	t, err := c.Topology(ctx)
	if err != nil {
		return nil, err
	}
	times := cpuTimes{}
	for _, n := range t.Nodes {
		one, cancel := context.WithTimeout(ctx, statusTimeout)
		s, err := c.Status(one, n.Addr)
		cancel()
		times[n.Addr] = -1
		if err == nil {
			times[n.Addr] = time.Duration(s.CPUMicros) * time.Microsecond
		}
	}
	return times, ctx.Err()
}

// ownCPU is the processor time of this process, user and system; 0 where the
// system does not tell.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
