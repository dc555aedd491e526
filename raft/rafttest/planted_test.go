//go:build plantedbugs

package rafttest

import (
	"fmt"
	"testing"

	"muster/raft"
)

// A check that has never failed proves nothing. Each bug here is one that an
// implementation of Raft really had or nearly had; planted, it must be found by
// the random runs, and which check finds it is printed.
func TestPlantedBugs(t *testing.T) {
	for _, bug := range []string{
		"commit of an earlier term",
		"joint quorum",
		"late append truncates",
		"match from a rejected append",
		"stale answer accepted",
		"read before own commit",
		"serve after CheckQuorum",
		"pre-vote without log check",
		"configuration at commit",
		"two changes in flight",
		"late sync report",
		"removed node still votes",
		"snapshot over newer state",
		"forged term accepted",
		"fenced replica leads",
		"no call for a log",
		"log borne for nobody",
		"bearer takes proposals",
		"change without After",
		"lagging learner promoted",
		"short ticks during an election",
		"short ticks though the leader is heard",
	} {
		t.Run(bug, func(t *testing.T) {
			raft.SetBug(bug)
			defer raft.SetBug("")
			for seed := range uint64(*seeds * 8) {
				if what := caught(seed + 1); what != "" {
					t.Logf("seed %d: %s", seed+1, what)
					return
				}
			}
			t.Errorf("it is not found in %d seeds", *seeds*8)
		})
	}
}

// caught returns what a run breaks first; a panic is a broken invariant too.
func caught(seed uint64) (what string) {
	defer func() {
		if r := recover(); r != nil {
			what = fmt.Sprint("panic: ", r)
		}
	}()
	if broken := newRun(seed).run(); len(broken) > 0 {
		return broken[0]
	}
	return ""
}
