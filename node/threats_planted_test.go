//go:build plantedbugs

package node

import (
	"testing"

	"muster/node/login"
	"muster/node/web"
	"muster/repl/machine"
	"muster/repl/rights"
	"muster/repl/standing"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

// setRemoved plants that a node which was removed is let in, wherever it would be turned away.
func setRemoved(bug string) {
	setBug(bug)
	standing.SetBug(bug)
}

// Each attack of docs/security.md that is made on a whole node must succeed against one without its
// defence, wherever that stands.
func TestPlantedThreats(t *testing.T) {
	for _, c := range []struct {
		set    func(string)
		bug    string
		attack func(*testing.T) string
	}{
		{setBug, bugPlainTaken, sideDoors},
		{web.SetBug, "figures and profiles without a right", watchedWithoutRight},
		{setBug, bugUserAsPeer, sideDoors},
		{setBug, bugUnsealed, secretBack},
		{shardmap.SetBug, "session of another principal", sessionTheft},
		{login.SetBug, "failed logins cost no time", guessing},
		{access.SetBug, "any name taken", hostileNamed},
		{trust.SetBug, "certificate good from its issue on", clocksOff},
		{trust.SetBug, "expired certificate accepted", clocksOff},
		{setBug, bugEachLogged, floodOfRefusals},
		{setBug, bugPasswordLogged, secretsTold},
		{trust.SetBug, "badge's key not compared", forgedBadges},
		{setBug, bugEnvoyStays, httpStays},
		{login.SetBug, "failed logins cost no time", httpGuessing},
		{setBug, bugVisitorsUnbounded, httpSeats},
		{wire.SetBug, "hello without the exporter", relayedFounding},
		{setBug, bugWithdrawnStays, func(t *testing.T) string { return openAfterRevoke(t, 4*secureLimits().recheckPause) }},
		{setBug, bugResetUnproven, unprovenReset},
		{setBug, bugLoginRenewed, loginRenewed},
		{setBug, bugNamesAsked, namesAsked},
		{web.SetBug, "wrong tokens cost nothing", wrongTokens},
		{standing.SetBug, "earlier certificate of a removed node accepted", formerMember},
		{setBug, bugFoundingOpen, toldAsFounder},
		{setBug, bugRulesTold, rulesTold},
		{setBug, bugHeardIsEnough, behindRules},
		{rights.SetBug, bugHeardIsEnough, startedRules},
		{rights.SetBug, "contact kept through a suspension", suspendedRules},
		{setBug, bugLedBack, ledBack},
		{setBug, bugLeadersClocks, leadersClocks},
		{shardmap.SetBug, "withdrawn by one leader's clock", leadersClocks},
		{setBug, bugRootsNotLearnt, rootsWithAJoin},
		{setBug, bugDenialsForgotten, deniedAtStart},
		{setRemoved, bugRemovedLetIn, removedStays},
		{setBug, bugOneRemoval, memberLies},
		{setBug, bugOneTable, memberLies},
		{setBug, bugSecretStays, dialledBySecret},
		{rights.SetBug, "everything allowed before the table", func(t *testing.T) string { return permissionsWrong(serving(t, defaultLimits())) }},
		{setBug, bugFormerCAStays, formerCACuts},
		{machine.SetBug, "slots' counts told to any user", countsTold},
	} {
		t.Run(c.bug, func(t *testing.T) {
			c.set(c.bug)
			defer c.set("")
			wrong := c.attack(t)
			if wrong == "" {
				t.Errorf("%s: not found", c.bug)
			}
			t.Log(wrong)
		})
	}
}
