// Package trust decides whose certificate is good for which name in a cluster.
//
// It makes roots, certificates, requests and join tokens, says what a shown
// certificate proves, and holds the settings of TLS. It does not decide what a
// name may do, keeps nothing, and opens no file and no connection: chance and
// time are given, and it starts no goroutine. Only crypto/tls, whose settings it
// makes, draws its own chance. The same chance, time and names make the same
// bytes, so a cluster in a simulator can have certificates too.
//
// # What is signed
//
// A cluster has roots, which sign two kinds of names and nothing else:
//
//	muster://CLUSTER/node/ID    a node; both numbers are 16 hexadecimal digits
//	muster://CLUSTER/user/NAME  a user
//
// The name is the one URI among a certificate's alternative names. Other names
// in it (its subject, DNS names, addresses) say nothing here; a node's may have
// one [Host], for browsers. A root has the
// name muster://CLUSTER/root, and signs directly: there are no intermediate
// certificates. A host that has no certificate yet shows one that it signed
// itself, with the name muster://founding, which proves nothing and hides what
// is said.
//
// All keys are ECDSA on P-256, which browsers take too, except those of join
// tokens, which are Ed25519 and never in a certificate.
//
// # What Verify decides
//
// [Trusted.Verify] holds a certificate to be good if all of this is so:
//
//  1. It is within its limits, has a key on P-256, and is no CA.
//  2. It is for digital signatures, by clients and by servers.
//  3. One of the trusted roots signed it.
//  4. It has exactly one URI, which is a name of the root's cluster.
//  5. Its time has begun.
//  6. Its serial is not denied.
//
// That its time is over is not among these: [Proven.Expired] says so, and
// whoever asks decides, for a member may still ask for a new certificate.
// Nothing is proven before the handshake is over: only then has the peer
// shown that it has the key.
//
// # Certificates of a company
//
// A host may be given a certificate of its company's CA instead ([LoadOwn]). It
// has no name of the cluster in it, so [CA.Verify] decides by address: the
// certificate must be signed by that CA, be for servers, be in time, and be good
// for the host of the address that the table has for the node it is said to be:
// as a DNS name, or as an IP address. It serves for both directions, since many
// CAs no longer sign for clients. A client that is given the CA believes a node
// in the same way, by the address that it has dialled, and learns from the node's
// request for a certificate which of its user's to show ([Holder.Naming]). So what
// the CA says about hosts is what the cluster believes: with a wildcard, whoever has
// its key is each node whose address it covers. Roots, denied serials and renewal by the cluster do not
// apply; the company replaces and revokes such certificates by itself, and no
// revocation list is read here.
//
// Start with name.go, then issue.go and verify.go; holder.go has the settings of
// TLS.
package trust
