//go:build plantedbugs

package machine_test

import (
	"testing"

	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// An answer with what is secret in a service must be found.
func TestPlantedSecrets(t *testing.T) {
	machine.SetBug("secrets in answers")
	defer machine.SetBug("")
	secretsShown = true
	defer func() { secretsShown = false }()
	q := newRequests(t)
	slot := shardmap.SlotOf([]byte("{k}"))
	q.mustDefine(t, serviceNamed("{k}a", "a1"))
	q.listServices(t, wire.Services{Slots: []shardmap.SlotRange{{From: slot, To: slot}}})
}

// A backup whose pieces are of several moments must be found.
func TestPlantedMoments(t *testing.T) {
	shardmap.SetBug("backup of several moments")
	defer shardmap.SetBug("")
	for seed := range uint64(20) {
		if wrong := backupWrong(t, seed); wrong != "" {
			t.Logf("%.300s", wrong)
			return
		}
	}
	t.Error("not found")
}

// Rules that replicas take from the table, each at another moment, must be found.
func TestPlantedRulesOfTable(t *testing.T) {
	machine.SetBug("rules from the table at apply")
	defer machine.SetBug("")
	if a, b := rulesAfter(t, "a=3"), rulesAfter(t, "b=7"); a == b {
		t.Error("not found")
	}
}

// A leader with an old table that drops the shards of newer windows must be found.
func TestPlantedLiveShards(t *testing.T) {
	machine.SetBug("shards of newer windows dropped")
	defer machine.SetBug("")
	if wrong := shardsDropped(t); wrong == "" {
		t.Error("not found")
	}
}

// Points that are admitted without the limits of their database must be found.
func TestPlantedNoLimits(t *testing.T) {
	machine.SetBug("points admitted without limits")
	defer machine.SetBug("")
	if wrong := limitsWrong(t); wrong == "" {
		t.Error("not found")
	}
}
