//go:build plantedbugs

package wire_test

import (
	"testing"

	"muster/repl/wire"
	"muster/shardmap"
)

// A dialler that proves to anybody that it has the secret must be found out by
// the tests that stand a go-between in its way.
func TestPlantedBugs(t *testing.T) {
	defer wire.SetBug("")
	for bug, find := range map[string]func(t *testing.T) string{
		"peer not checked by the dialler": func(t *testing.T) string { return relayed(t, relayNode) },
		"address not checked by the dialler": func(t *testing.T) string {
			return relayed(t, relayAddr)
		},
		"proof without preamble":            func(t *testing.T) string { return changedOnTheWay(t) },
		"proof without welcome":             func(t *testing.T) string { return changedOnTheWay(t) },
		"hello without the exporter":        relayedTLS,
		"ALPN not looked at":                alpnDisagrees,
		"handshakes served oldest first":    gateStarves,
		"no account of unproven handshakes": gateUnpaid,
		"no places for members":             membersPass,
	} {
		wire.SetBug(bug)
		found := find(t)
		if found == "" {
			t.Errorf("%s: nothing finds it", bug)
		}
		t.Logf("%s: %s", bug, found)
	}
}

// So must it find a delete that a job does for somebody who has no right to the keys.
func TestPlantedDeleteUnasked(t *testing.T) {
	defer wire.SetBug("")
	wire.SetBug("delete without a right to its keys")
	if got := needsOf(wire.TypeOrder, &wire.Order{Command: jobOrder(shardmap.JobDelete, "app/")}); got == "write on key:app/…" {
		t.Errorf("not found: it needs %s", got)
	}
}

// So must it find an order about a database of somebody who has no right to it.
func TestPlantedDatabaseUnasked(t *testing.T) {
	defer wire.SetBug("")
	wire.SetBug("order without a right to its database")
	if got := needsOf(wire.TypeOrder, &wire.Order{Command: databaseOrder("metrics")}); got == "admin on db:metrics" {
		t.Errorf("not found: it needs %s", got)
	}
}

// The test of needs must find a request that is allowed because nobody said what it needs.
func TestPlantedEmptyRow(t *testing.T) {
	defer wire.SetBug("")
	wire.SetBug("empty row allows")
	wrong := emptyRowAllows()
	if wrong == "" {
		t.Error("not found")
	}
	t.Log(wrong)
}
