//go:build plantedbugs

package shardmap

import (
	"testing"

	"muster/raft"
)

// A test that finds nothing proves nothing: each of these bugs must make the random
// commands to the table fail. They run one at a time, none beside another test.
func TestRandomTableFindsPlantedBugs(t *testing.T) {
	const runs = 20 * tableRuns
	defer SetBug("")
	for _, name := range []string{
		"removed node joins again",
		"two joiners with one name",
		"older membership recorded",
		"given labels not merged",
		"a job twice",
		"a finished job changes",
		"newest format below its level",
		"level of the newest member",
		"move recorded twice",
		"move number used twice",
		"group removed while it moves",
		"group number given again",
		"incident recorded twice",
		"token used more often than it may",
		"expired token accepted",
		"revoked token accepted",
		"TLS mode goes back",
		"trail told by an old table",
		"backup twice in its time",
		bugWindowTwice,
		bugLiveWindow,
	} {
		SetBug(name)
		var err error
		for seed := uint64(0); seed < runs && err == nil; seed++ {
			if err = randomTable(seed); err != nil {
				t.Logf("%s: seed %d: %v", name, seed, err)
			}
		}
		if err == nil {
			t.Errorf("%s: not found in %d runs", name, runs)
		}
	}
}

// Jobs that end after a backup are many only in a test that makes so many.
func TestPlantedLastBackupForgotten(t *testing.T) {
	defer SetBug("")
	SetBug("last backup forgotten")
	if wrong := backupForgotten(t); wrong == "" {
		t.Error("not found")
	}
}

// So must each of these make the random moves fail.
func TestRandomMovesFindPlantedBugs(t *testing.T) {
	const runs = 5 * moveRuns
	defer SetBug("")
	// A host's clock goes on between the looks that two replicas take at it.
	defer SetClock(nil)
	wall := raft.GroupTime(0)
	SetClock(func() raft.GroupTime { wall += 3e9; return wall })
	for _, name := range []string{
		"target serves before it is complete",
		"sealed slot takes a write",
		"move number not fenced",
		"session entry lost in a move",
		"version lost in a move",
		"outcomes forgotten under a seal",
		"TTL lost in a move",
		"lease outlives its keys",
		"imported slot not counted",
		"details of an outcome forgotten",
		"expiry by wall clock",
		bugPrefixShort,
		bugPrefixAgain,
		bugPrefixSealed,
		bugVersionOfDelete,
		bugVersionsTime,
		bugVersionsBound,
		bugVersionPrincipal,
	} {
		SetBug(name)
		var err error
		for seed := uint64(0); seed < runs && err == nil; seed++ {
			if _, err = randomMoves(seed); err != nil {
				t.Logf("%s: seed %d: %.300v", name, seed, err)
			}
		}
		if err == nil {
			t.Errorf("%s: not found in %d runs", name, runs)
		}
	}
}

// So must each of these, which have a replica's own past decide what is in its state, make
// replicas differ that applied the same log.
func TestSameLogFindsPlantedBugs(t *testing.T) {
	const runs = 40 * sameRuns
	defer SetBug("")
	for _, name := range []string{
		"a look at what is due changes a slot",
		"sessions of one time forgotten by their order of use",
		"half a block of the history left out",
	} {
		SetBug(name)
		var err error
		for seed := uint64(0); seed < runs && err == nil; seed++ {
			if _, err = sameInAllWays(seed); err != nil {
				t.Logf("%s: seed %d: %.300v", name, seed, err)
			}
		}
		if err == nil {
			t.Errorf("%s: not found in %d runs", name, runs)
		}
	}
}

// So must each of these make the random commands about services fail.
func TestRandomServicesFindPlantedBugs(t *testing.T) {
	const runs = 20
	defer SetBug("")
	for _, name := range []string{"report about another check applied", "a mask taken for a secret"} {
		SetBug(name)
		var err error
		for seed := uint64(0); seed < runs && err == nil; seed++ {
			if err = randomServices(t, seed); err != nil {
				t.Logf("%s: seed %d: %.300v", name, seed, err)
			}
		}
		if err == nil {
			t.Errorf("%s: not found in %d runs", name, runs)
		}
	}
}

// The test of leases must find one that goes by its number alone.
func TestLeasesFindPlantedBug(t *testing.T) {
	defer SetBug("")
	SetBug(bugLeaseOfAnother)
	wrong := leaseOfAnother(t)
	if wrong == "" {
		t.Errorf("%s: not found", bugLeaseOfAnother)
	}
	t.Logf("%s: %s", bugLeaseOfAnother, wrong)
}

// The test of what a delete of a prefix leaves behind must find one of which watches are not told.
func TestDelPrefixFindsPlantedBug(t *testing.T) {
	defer SetBug("")
	SetBug(bugPrefixSilent)
	wrong := prefixLeavesBehind(t)
	if wrong == "" {
		t.Errorf("%s: not found", bugPrefixSilent)
	}
	t.Logf("%s: %s", bugPrefixSilent, wrong)
}

// The test of bounds must find a delete that does not go by its bound, and one that has no end among newer keys.
func TestDelPrefixFindsPlantedBounds(t *testing.T) {
	defer SetBug("")
	for _, name := range []string{bugPrefixNewer, bugPrefixStuck} {
		SetBug(name)
		wrong := prefixNewerWrong(t)
		if wrong == "" {
			t.Errorf("%s: not found", name)
		}
		t.Logf("%s: %s", name, wrong)
	}
}

// The test of needs must find conditions that tell whoever may not read.
func TestNeedsFindPlantedBug(t *testing.T) {
	defer SetBug("")
	SetBug(bugBlindCondition)
	wrong := conditionsBlind()
	if wrong == "" {
		t.Errorf("%s: not found", bugBlindCondition)
	}
	t.Logf("%s: %s", bugBlindCondition, wrong)
}

// The test of counts must find one that counts the key on which a page ends with the next one again.
func TestCountFindsPlantedBug(t *testing.T) {
	defer SetBug("")
	SetBug("a key counted twice")
	for seed := range uint64(60) {
		if wrong := listInOrder(t, seed); wrong != "" {
			t.Logf("seed %d: %s", seed, wrong)
			return
		}
	}
	t.Error("not found")
}

// A backup whose slots are of different moments must be found.
func TestBackupFindsPlantedMoments(t *testing.T) {
	SetBug(bugBackupOfMoments)
	defer SetBug("")
	for seed := range uint64(60) {
		if wrong := backupWrong(t, seed); wrong != "" {
			t.Logf("%.300s", wrong)
			return
		}
	}
	t.Error("not found")
}

// A group that goes on telling its time must be found.
func TestPlantedTimeTold(t *testing.T) {
	defer SetBug("")
	SetBug(bugDueStays)
	if timeToldInVain(t) == "" {
		t.Error("not found")
	}
}

// A shard that was dropped stays away, and one seal seals once.
func TestPlantedBugsOfShards(t *testing.T) {
	defer SetBug("")
	for name, wrong := range map[string]func(testing.TB) string{bugShardAgain: droppedShardAgain, bugSealAgain: sealedTwice, bugDeleteAbsent: deletedFill, bugDeletesFull: deletesOfNothing} {
		SetBug(name)
		if found := wrong(t); found == "" {
			t.Errorf("%s: not found", name)
		}
	}
}
