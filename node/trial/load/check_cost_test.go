package load

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"muster/node/trial/clustertest"
)

var checkKeys = flag.Int("checkcost", 0, "with how many `KEYS` TestCheckIsSoonDone times check; the figures of docs/performance.md are of 1000000")

const (
	// checkSoon is how long check may take, whatever the replicas have.
	checkSoon = 2 * time.Second
	checkRuns = 10
)

// A person who doubts a cluster asks it again and again. Replicas keep their digests up to date with
// each entry, so that an answer waits for no look at all that they have, also while they are written to.
func TestCheckIsSoonDone(t *testing.T) {
	clustertest.OnDemand(t, *checkKeys > 0, "./node/trial/load -run TestCheckIsSoonDone -checkcost 1000000 -timeout 10m")
	c := clustertest.Start(t, 3)
	runBench(c, "--op get --keys %d --value-size 128 --duration 1s --timeout 2m", *checkKeys) // sets all of them first
	entries := func() (sum uint64, took time.Duration) {
		began := time.Now()
		r := c.Run("check", "-o", "json")
		took = time.Since(began)
		var row clustertest.CheckRow
		if err := json.Unmarshal([]byte(r.Stdout), &row); err != nil || r.Status != clustertest.ExitDone || !row.OK {
			t.Fatalf("status %d, %v: %s%s", r.Status, err, r.Stdout, r.Stderr)
		}
		for _, g := range row.Groups {
			sum += g.Index
		}
		return sum, took
	}
	timed := func(how string) {
		var all []time.Duration
		for range checkRuns {
			_, took := entries()
			all = append(all, took)
		}
		slices.Sort(all)
		t.Logf("%s: median %v, all %v", how, (all[checkRuns/2-1]+all[checkRuns/2])/2, all)
		if most := all[checkRuns-1]; most > checkSoon {
			t.Errorf("%s: check took %v, want at most %v", how, most, checkSoon)
		}
	}
	timed("idle")
	load := c.Command("bench", "--endpoints", c.Endpoints(), "--op", "mixed", "--keys", fmt.Sprint(*checkKeys), "--duration", "5m", "--timeout", "2m")
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	defer load.Wait()
	defer load.Process.Kill()
	before, _ := entries()
	c.Until("under load", func(context.Context) error {
		// The load reads all keys first, to see whether they are there.
		if now, _ := entries(); now < before+10_000 {
			return fmt.Errorf("%d entries", now-before)
		}
		return nil
	})
	timed("under load")
}
