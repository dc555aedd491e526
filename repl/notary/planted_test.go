//go:build plantedbugs

package notary

import "testing"

// The worlds must find a notary that lets a certificate go before its token's use is committed, one
// that ends the time of the secret too early, one that proposes a root whose key a crash can take
// along, one that goes on giving certificates to a node that left, one that never retires a root, and
// one that leaves a node the certificate of its former address.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for _, bug := range []string{
		"certificate before the token's use is committed", "TLS only before all have certificates",
		"root proposed before its key is kept", "renewal for a node that left", bugNeverRetired, bugHostStays,
	} {
		SetBug(bug)
		found := ""
		for seed := uint64(0); seed < 300 && found == ""; seed++ {
			found, _ = runWorld(t, seed)
		}
		if found == "" {
			t.Errorf("%s: no world finds it", bug)
		}
		t.Logf("%s: %s", bug, found)
	}
	SetBug(bugWordFirst)
	wrong := oneFails(Renew, Tell)
	if wrong == "" {
		t.Errorf("%s: not found", bugWordFirst)
	}
	t.Logf("%s: %s", bugWordFirst, wrong)
	SetBug("TLS only before anybody may administer")
	if secretEnds() == "" {
		t.Error("TLS only before anybody may administer: not found")
	}
	SetBug(bugTableFirst)
	if renewsBlind() == "" {
		t.Errorf("%s: not found", bugTableFirst)
	}
	SetBug(bugLeaderFirst)
	if renewsUnled() == "" {
		t.Errorf("%s: not found", bugLeaderFirst)
	}
	SetBug(bugDropped)
	if keysGo(t) == "" {
		t.Errorf("%s: not found", bugDropped)
	}
}
