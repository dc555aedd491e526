// Package rights decides whether a request of a user may be carried out.
//
// A [Law] is what users may do by one table. A [Judge] holds requests to it, one after the other,
// without allocation. A [Confirmer] says when a node has to make sure that its table is still that of
// the meta group, and what follows for users if it can't: the node may have missed that their rights
// were taken away.
//
// It does not decide who somebody is (repl/trust, node/principal.go), nor what a type of request needs
// (repl/wire/needs.go) or what a role's grants cover (shardmap/access). It starts no goroutine and
// knows no clock: the owner says what time it is.
//
// # Duties of the owner
//
//  1. Make the law of each new table from the law before it ([Law.Follow]). If the rules have changed,
//     hold what is open to them again.
//  2. Hold each request of a client to [Judge.Allows], and each that a member passes on to
//     [Judge.AllowsForwarded], before anything else is done with it. Both take the law of this moment, and what
//     [Confirmer.Look] said last.
//  3. When [Confirmer.Wants] says so, wait until this node's table has all that was committed before, and
//     tell [Confirmer.Confirmed] the time at which the waiting began. Call [Confirmer.Look] after that, and
//     each second. If it says that something has changed, hold what is open to it again. Call
//     [Confirmer.Slept] before it where the host was suspended.
//  4. Do not tell anybody a refusal that is [Judge.Appealable] before the table is sure to have all that was committed
//     when the request came: [Appeals] gathers such requests, and they are judged again then.
//
// # Where to look
//
// Start with judge.go; law.go has what it judges by, contact.go what is known of the meta group, appeals.go
// what waits for that.
// docs/decisions/0030-rights.md says why. Package node drives it in node/laws.go and node/authorize.go, and the
// simulator in repl/sim/lawful.go.
package rights
