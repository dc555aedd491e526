//go:build plantedbugs

package node

import (
	"testing"
	"time"

	"muster/repl"
	"muster/repl/client"
	"muster/repl/machine"
	"muster/repl/notary"
	"muster/repl/rights"
	"muster/repl/standing"
)

// mustFind fails unless a test finds a bug that set plants: find returns what is wrong, or "".
func mustFind(t *testing.T, set func(string), bug string, find func(*testing.T) string) {
	t.Helper()
	set(bug)
	defer set("")
	wrong := find(t)
	if wrong == "" {
		t.Errorf("%s: not found", bug)
	}
	t.Logf("%s: %s", bug, wrong)
}

// The tests must find what they are for: a host that gives its word again after
// it has decided, so that those who were wiped found beside it; a node that
// takes from a client what only a member may say.
func TestPlantedBugs(t *testing.T) {
	defer setBug("")
	setBug(bugSecondFounding)
	wrong := ""
	for seed := uint64(0); seed < 2000 && wrong == ""; seed++ {
		wrong = foundingRun(seed)
	}
	if wrong == "" {
		t.Errorf("%s: no founding finds it", bugSecondFounding)
	}
	t.Logf("%s: %s", bugSecondFounding, wrong)

	setBug("")
	r := serving(t, defaultLimits())
	setBug(bugClientAnnounces)
	if wrong = clientSendsEveryType(r); wrong == "" {
		t.Errorf("%s: not found", bugClientAnnounces)
	}
	t.Logf("%s: %s", bugClientAnnounces, wrong)
}

// The test of liars must find a node that counts what comes in a member's name.
func TestPlantedUnattested(t *testing.T) {
	mustFind(t, setBug, bugUnattested, liarRun)
}

// The test of level all must find a leader that counts who does not have the entry.
func TestPlantedLevelAll(t *testing.T) {
	mustFind(t, setBug, bugAllCounts, levelAllWrong)
}

// The test of a delete that comes late must find one that has no bound.
func TestPlantedUnbounded(t *testing.T) {
	mustFind(t, setBug, bugUnbounded, lateDelete)
}

// The tests must find a node that takes in hosts which nobody can reach, one that lets
// those in that were removed, a host that can end up in two clusters, and one whose certificate a crash loses.
func TestPlantedMembership(t *testing.T) {
	defer setBug("")
	for name, find := range map[string]func() string{
		bugNotDialledBack: func() string { return joinsFrom(serving(t, defaultLimits()), freeAddrs(t, 1)[0]) },
		bugRemovedLetIn:   func() string { return removedHello(t) },
		bugAsksUnnoted:    func() string { return joiningRuns(joiningSeeds) },
		bugFormerLast:     func() string { return crashedRotation(t) },
	} {
		setBug(name)
		wrong := find()
		if wrong == "" {
			t.Errorf("%s: not found", name)
		}
		t.Logf("%s: %s", name, wrong)
	}
}

// The test of a right that was just given must find a node that refuses by the table that it happens to have.
func TestPlantedDeniedAtOnce(t *testing.T) {
	mustFind(t, rights.SetBug, "refused by a table that is behind", rightJustGiven)
}

// The test of connections that are about to end must find one that takes requests until it does.
func TestPlantedLeavingServed(t *testing.T) { mustFind(t, setBug, bugLeavingServed, leavesUnanswered) }

// The test of an exchanged CA must find members whose connections are cut before others have taken their places.
func TestPlantedKeptByFormerFiles(t *testing.T) {
	mustFind(t, setBug, bugKeptByFormerFiles, companyExchanged)
}

// The test of clients that come while there are no certificates must find one that stays a guest.
func TestPlantedAskedTooEarly(t *testing.T) { mustFind(t, setBug, bugAskedTooEarly, askedTooEarly) }

// The test of foundings must find members whose connections go on by the secret until that has had its time.
func TestPlantedKeptBySecret(t *testing.T) {
	setBug(bugKeptBySecret)
	defer setBug("")
	if wrong := foundingCuts(t); wrong == "" {
		t.Errorf("%s: no founding finds it", bugKeptBySecret)
	}
	if wrong := rotationCuts(t); wrong == "" {
		t.Errorf("%s: no rotation finds it", bugKeptBySecret)
	}
}

// The test of floods must find a node that takes all that comes.
func TestPlantedTakesAll(t *testing.T) {
	mustFind(t, setBug, bugTakesAll, func(*testing.T) string { return floodRun() })
}

// The tests of permissions must find a node that goes by rules of before, and one that takes what a member
// passes on for the member's own wish.
func TestPlantedPermissions(t *testing.T) {
	defer rights.SetBug("")
	for name, find := range map[string]func() string{
		"rules of a former table":       func() string { return formerRules(serving(t, defaultLimits())) },
		"forward without its principal": func() string { return forwardsBlind(t) },
	} {
		rights.SetBug(name)
		wrong := find()
		if wrong == "" {
			t.Errorf("%s: not found", name)
		}
		t.Logf("%s: %s", name, wrong)
	}
}

// The tests of certificates must find a node that gives one for the number of a token, and one that
// gives the key which wraps those of roots to any member.
func TestPlantedCertificates(t *testing.T) {
	defer setBug("")
	for name, find := range map[string]func(*testing.T) string{bugTokenUnsigned: stolenTokens, bugKeepForAll: wrapKeyForAll} {
		setBug(name)
		wrong := find(t)
		if wrong == "" {
			t.Errorf("%s: not found", name)
		}
		t.Logf("%s: %s", name, wrong)
	}
}

// The test of heads must find a node that takes one member's word about another one's trail.
func TestPlantedTrail(t *testing.T) {
	mustFind(t, setBug, bugTrailOfAnother, trailOfAnother)
}

// The tests of connections over TLS must find a node that takes plain text, one that speaks to whoever
// answers, and one that keeps connections whose certificate was denied.
func TestPlantedTLS(t *testing.T) {
	defer setBug("")
	for name, find := range map[string]func() string{
		bugPlainTaken: func() string {
			nodes, _ := secured(t, 1)
			return plainTaken(t, nodes[0])
		},
		bugNotChecked: func() string {
			nodes, _ := secured(t, 2)
			return strangerHears(t, nodes[0], nodes[1])
		},
		bugDeniedStays: func() string { return openAfterDenial(t, 4*secureLimits().recheckPause) },
	} {
		setBug(name)
		wrong := find()
		setBug("")
		if wrong == "" {
			t.Errorf("%s: not found", name)
		}
		t.Logf("%s: %s", name, wrong)
	}
}

// The test of a cluster whose certificates have ended in part must find one that can't elect anybody.
func TestPlantedHalfExpired(t *testing.T) {
	mustFind(t, standing.SetBug, "no leader while some certificates have ended", func(t *testing.T) string { return halfExpired(t, 5*time.Second) })
}

// The test of a node that outlives the root of its certificate must find that it stays outside for good.
func TestPlantedOutlived(t *testing.T) {
	mustFind(t, standing.SetBug, "member left behind by a retired root", func(t *testing.T) string { return outlivesRoot(t, 5*time.Second) })
}

// The test of a host without a table must find one that waits for a table while its certificate has ended.
func TestPlantedTableFirst(t *testing.T) {
	defer notary.SetBug("")
	notary.SetBug("no certificate before a table")
	wrong := endedBeforeTable(t, 5*time.Second)
	if wrong == "" {
		t.Error("not found")
	}
	t.Log(wrong)
}

// The test of a node that was away while all others were replaced must find one that waits for a leader while its
// certificate has ended.
func TestPlantedLeaderFirst(t *testing.T) {
	mustFind(t, notary.SetBug, "no certificate before a leader", func(t *testing.T) string { return endedBesideStrangers(t, 15*time.Second) })
}

// The test of what a node believes after a start must find one that forgets a root for an older table.
func TestPlantedRootsGoBack(t *testing.T) {
	mustFind(t, setBug, bugRootsGoBack, rootsAfterAStart)
}

// The tests must find connections that go on under the same keys for ever: those of members, of clients, the ways
// between nodes, and those of others.
func TestPlantedWorn(t *testing.T) {
	for _, c := range []struct {
		set  func(string)
		bug  string
		find func(*testing.T) string
	}{
		{repl.SetBug, "worn connection not replaced", wearsOut},
		{repl.SetBug, "worn connection not replaced", snapshotWears},
		{client.SetBug, "client's worn connection not replaced", wearsOut},
		{setBug, bugWornWay, wornWay},
		{setBug, bugWornStays, wornStays},
	} {
		c.set(c.bug)
		wrong := c.find(t)
		c.set("")
		if wrong == "" {
			t.Errorf("%s: not found", c.bug)
		}
		t.Logf("%s: %s", c.bug, wrong)
	}
}

// A watch through one node must not begin if the leader alone says which slots it serves.
func TestPlantedViewOfLeader(t *testing.T) {
	mustFind(t, machine.SetBug, "slot view of the leader alone", func(t *testing.T) string { return watchesThroughOne(t, 3*time.Second) })
}

// The test of the directory of backups must find one that is kept though nobody has read it back.
func TestPlantedUnreadBackup(t *testing.T) {
	mustFind(t, setBug, bugUnread, func(*testing.T) string { return unreadWrong() })
}
