package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"muster/logstore"
	"muster/repl/wire"
)

// joining is how a host that belongs to no cluster becomes a member of one that runs.
// It is a synchronous core: what members say goes in, the identity to be written and
// whom to ask next come out. Each step is on disk before anything relies on it:
//
//	standby  the host has an id. It waits to be invited, or asks the addresses of --join.
//	joining  a member has said which cluster that is: in an invitation, or in its hello.
//	         The host asks that cluster alone from now on, until it is taken in.
//	founded  it was told its replica of group 0, and begins its log with that.
//
// A host that crashes between two steps repeats the one that was under way, and each may
// be repeated: an invitation that came before changes nothing, the leader knows a node
// that it has taken in by its id, and tells it the same replica again.
//
// Why a host can't end up in two clusters: it sends no Join before it has noted the
// cluster, and takes an answer of no other.
type joining struct {
	// Set once.
	request  wire.Join // without name
	name     string    // that the host would like to have
	distinct string    // the name that it asks for if another node has that one; empty: none
	seeds    []string  // of --join, without the host's own address

	hint    string // where a member said that the leader is; asked once
	turn    int    // whose turn it is among members and seeds
	renamed bool   // it asks for its distinct name
	// refusal is why it was not taken in when it asked last; nil: nobody has said so since
	// it was invited.
	refusal *wire.Error
}

func newJoining(request wire.Join, name, distinct string, seeds []string) *joining {
	j := &joining{request: request, name: name, distinct: distinct}
	for _, s := range seeds {
		if s = normalAddr(s); s != normalAddr(request.Addr) {
			j.seeds = append(j.seeds, s)
		}
	}
	return j
}

// waiting reports whether a host with this identity belongs to no cluster yet, and is to
// join one.
func waiting(id *logstore.Identity) bool {
	return id.Stage == logstore.StageStandby || id.Stage == logstore.StageJoining
}

// next returns the address that is to be asked next; empty: nobody, because the host
// waits to be invited.
func (j *joining) next(id *logstore.Identity) string {
	if hint := j.hint; hint != "" {
		j.hint = ""
		return hint
	}
	var all []string
	if id.Stage == logstore.StageJoining {
		for _, m := range id.Members {
			all = append(all, normalAddr(m.Addr))
		}
	}
	for _, s := range j.seeds {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	if len(all) == 0 {
		return ""
	}
	j.turn++
	return all[j.turn%len(all)]
}

// question is what the host asks of a cluster.
func (j *joining) question() *wire.Join {
	q := j.request
	if q.Name = j.name; j.renamed {
		q.Name = j.distinct
	}
	return &q
}

// refused takes what came of asking at an address, if not an answer. It returns that in
// parts, and whether the host is on its way all the same: taken in, or sent to whoever
// can take it in.
func (j *joining) refused(addr string, err error) (refusal *wire.Error, moves bool) {
	hint, silent := "", false
	var elsewhere *wire.ElsewhereError
	switch e := refusal; {
	case errors.As(err, &elsewhere):
		// It is a member under another address perhaps, and the hello with it there
		// will tell.
		hint, refusal = elsewhere.Challenge.Advertise, elsewhere.Refusal
	case errors.As(err, &e):
		hint, refusal = e.LeaderAddr, e
	default:
		// Another member answers perhaps, so this is none of what keeps the host out.
		refusal = &wire.Error{Code: wire.CodeNotReady, Object: addr, Text: "no answer", State: err.Error(),
			Next: "see that a member runs there, and that the address is right"}
		silent = true
	}
	if hint = normalAddr(hint); hint != addr && checkReachable(hint) == nil {
		j.hint = hint
		return refusal, true
	}
	if refusal.Code == wire.CodeConflict && j.distinct != "" {
		j.renamed = !j.renamed // it may be the name
	}
	j.refusal = refusal
	return refusal, refusal.Code == wire.CodeNotReady && !silent
}

// passes reports whether what a host is told when it asks to be taken in passes by itself:
// it asks again, here or elsewhere, and there is nothing for a person to mend.
func passes(c wire.Code) bool {
	switch c {
	case wire.CodeNotReady, wire.CodeNotLeader, wire.CodeBusy, wire.CodeMaybeApplied:
		return true
	}
	return false
}

// invited is the identity of a host that a member of a cluster invites, and how far it is
// on its way there.
func invited(id logstore.Identity, q *wire.Invite) (logstore.Identity, wire.JoinState, *wire.Error) {
	switch id.Stage {
	case logstore.StageStandby:
		return bound(id, q.ClusterID, q.Members), wire.JoinBegins, nil
	case logstore.StageJoining:
		if id.ClusterID != q.ClusterID {
			return id, 0, &wire.Error{Code: wire.CodeWrongCluster, Object: "node " + id.Node.String(), Text: "joins another cluster already",
				State: fmt.Sprintf("cluster id %016x, this one is %016x", id.ClusterID, q.ClusterID),
				Next:  "to have it in this one, stop it, take it off the other with muster node remove if it is on that list, and start it with an empty data directory and --standby"}
		}
		return bound(id, q.ClusterID, q.Members), wire.JoinUnderway, nil
	case logstore.StageFounding:
		return id, 0, &wire.Error{Code: wire.CodeConflict, Object: "node " + id.Node.String(), Text: "founds a cluster of its own",
			State: "it waits for the other hosts of its --join",
			Next:  "stop it, remove its data directory, which holds nothing yet, and start it with --standby in place of --expect and --join"}
	}
	if id.ClusterID != q.ClusterID {
		return id, 0, wire.WrongCluster("node "+id.Node.String(), fmt.Sprintf("its cluster id is %016x, this one is %016x", id.ClusterID, q.ClusterID),
			"to have that host in this cluster, start it with an empty data directory and --standby")
	}
	return id, wire.JoinMember, nil
}

// bound is the identity of a host that this cluster, and no other, is to take in.
func bound(id logstore.Identity, cluster uint64, members []wire.NodeAddr) logstore.Identity {
	id.Stage, id.ClusterID, id.Members = logstore.StageJoining, cluster, identityMembers(members)
	return id
}

// taken is the identity of a host whose cluster has taken it in.
func taken(id logstore.Identity, a *wire.JoinAnswer) (logstore.Identity, *wire.Error) {
	switch {
	case id.Stage != logstore.StageJoining || a.ClusterID != id.ClusterID:
		return id, wire.WrongCluster("answer", fmt.Sprintf("it takes this host into cluster id %016x, it has asked %016x", a.ClusterID, id.ClusterID), "check the addresses of --join")
	case a.Replica == 0 || a.Incarnation == 0 || len(a.Members) == 0:
		return id, wire.BadRequest("answer", fmt.Sprintf("replica %d of incarnation %d, %d members", a.Replica, a.Incarnation, len(a.Members)), "run the same release of muster on all hosts")
	}
	id.Stage, id.Members = logstore.StageFounded, identityMembers(a.Members)
	id.Meta = logstore.MetaReplica{Incarnation: a.Incarnation, ID: a.Replica}
	return id, nil
}

// sameInvitation reports whether two identities would ask the same.
func sameInvitation(a, b *logstore.Identity) bool {
	return a.Stage == b.Stage && a.ClusterID == b.ClusterID && slices.Equal(a.Members, b.Members)
}

func identityMembers(all []wire.NodeAddr) []logstore.IdentityMember {
	var m []logstore.IdentityMember
	for _, a := range all {
		m = append(m, logstore.IdentityMember{Node: a.Node, Addr: a.Addr})
	}
	sortMembers(m)
	return m
}

// notReady says what the host waits for, and what is to be done about it.
func (j *joining) notReady(object string, id *logstore.Identity) *wire.Error {
	next := "on a member of the cluster: muster node add " + j.request.Addr
	switch {
	case id.Stage == logstore.StageStandby && len(j.seeds) == 0:
		return wire.NotReady(object, "a standby: it waits to be added to a cluster", next, 0)
	case id.Stage == logstore.StageStandby && j.refusal == nil:
		return wire.NotReady(object, "a standby: it asks "+strings.Join(j.seeds, ", ")+" to take it in", "wait, or "+next, 0)
	case id.Stage == logstore.StageStandby:
		return wire.NotReady(object, "a standby: "+strings.Join(j.seeds, ", ")+" did not take it in: "+shorten(j.refusal.Error()), shorten(j.refusal.Next), 0)
	case j.refusal == nil:
		return wire.NotReady(object, fmt.Sprintf("it joins cluster id %016x", id.ClusterID), "wait", joinPauseMin)
	}
	return wire.NotReady(object, fmt.Sprintf("it joins cluster id %016x, which did not take it in yet: %s", id.ClusterID, shorten(j.refusal.Error())), shorten(j.refusal.Next), 0)
}
