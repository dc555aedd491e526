// Package notary decides who gets a certificate.
//
// It has two cores. [Core] acts where the meta group is led: it has the first root made, and
// the next ones, sees to it that enough voters hold the keys that wrap those of the roots,
// answers requests for certificates, and takes the cluster from a secret to certificates.
// [Bearer] acts on each node: it asks for the node's own certificate, again in good time, and
// says which one the node has.
//
// Nothing that lasts is kept here. Roots, pins, tokens and the mode are in the table of the meta
// group; keys and certificates in files of the nodes. A new leader therefore goes on where the
// last one stopped, at any step, and each step may be taken twice.
//
// It makes no key and no certificate, knows neither clock nor disk, sends nothing, and starts
// no goroutine: see node/notary.go, which drives it. What a certificate is, is told in
// muster/repl/trust.
//
// # Duties of the owner of a Core
//
//  1. Say whether the meta group is led here ([Core.Lead]), with an entry of this term
//     applied. Hand in each new table ([Core.Table]), and which wrapping keys are in files here
//     ([Core.Held]): what is not synced is not held.
//  2. Hand in requests ([Core.Ask], [Core.Order]) with what the connection has proven of who
//     asks, and what members say that they have ([Core.Told]). Then call [Core.Turn], and again
//     at the latest at the time that it returned.
//  3. Carry out the actions in any order. Each ends with one [Core.Ended]. What never ends
//     counts as failed after a while.
//
// # Why nobody gets a certificate who should not
//
// Whether somebody may have one is looked up in the table of a leader that has applied all
// that was committed before. What makes it count is an entry: the pin of a member, or the use
// of a token, which the table refuses where it must not be. The certificate leaves only once
// that entry is applied.
//
// # Where to look
//
// core.go has the calls, root.go the roots and how they follow each other, key.go the wrapping
// keys, request.go who gets a certificate, bearer.go the other core.
// docs/decisions/0031-notary.md says why.
package notary
