package load

import (
	"encoding/json"
	"flag"
	"testing"
	"time"

	"muster/node/trial/clustertest"
)

var prefixKeys = flag.Int("prefixcost", 0, "how many `KEYS` TestPrefixCost deletes; the figures of docs/performance.md are of 1000000")

// prefixRounds is how often each build deletes all keys.
const prefixRounds = 3

// A prefix with many keys is deleted in seconds. A cluster of another commit's build and one of this build are filled
// with the same keys, and have them deleted in turn by the command of their build, plan and all.
func TestPrefixCost(t *testing.T) {
	clustertest.OnDemand(t, *prefixKeys > 0 && *sinceCommit != "", "./node/trial/load -run TestPrefixCost -since COMMIT -prefixcost 1000000 -timeout 30m")
	sides := []*listSide{{what: "before", binary: clustertest.OlderBinary(t, *sinceCommit)}, {what: "this build", binary: clustertest.Binary()}}
	for _, s := range sides {
		s.cluster = clustertest.New(t, 3)
		for i, p := range s.cluster.Nodes {
			p.Binary = s.binary
			s.cluster.Start(i)
		}
		s.cluster.Healthy()
	}
	took, cpu := make([][]float64, len(sides)), make([][]float64, len(sides))
	for range prefixRounds {
		for i, s := range sides {
			runBench(s.cluster, "--op get --keys %d --value-size 128 --duration 1s --timeout 5m", *prefixKeys) // sets all of them first
			before, began := clustertest.ProcessorTime(s.cluster), time.Now()
			if keys := s.deletes(t); keys != *prefixKeys {
				t.Fatalf("%s deleted %d keys, want %d", s.what, keys, *prefixKeys)
			}
			took[i] = append(took[i], time.Since(began).Seconds())
			cpu[i] = append(cpu[i], (clustertest.ProcessorTime(s.cluster) - before).Seconds())
			if keys := s.deletes(t); keys != 0 {
				t.Fatalf("%s left %d keys", s.what, keys)
			}
		}
	}
	t.Logf("%d keys: before %.2f s (%.2f), this build %.2f s (%.2f), %.1f times as fast; processor time of the nodes %.2f s, %.2f s",
		*prefixKeys, median(took[0]), took[0], median(took[1]), took[1], median(took[0])/median(took[1]), median(cpu[0]), median(cpu[1]))
}

// deletes has the keys of the bench deleted by the command line, and returns how many there were.
func (s *listSide) deletes(t *testing.T) int {
	cmd := s.cluster.CommandOf(s.binary, "kv", "del", "--prefix", listPrefix, "--yes", "-o", "json", "--endpoints", s.cluster.Endpoints())
	cmd.Env = append(cmd.Env, "MUSTER_SECRET_FILE="+s.cluster.Secret)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	var row struct{ Deleted int }
	if err := json.Unmarshal(out, &row); err != nil {
		t.Fatalf("%s printed %q: %v", cmd, out, err)
	}
	return row.Deleted
}
