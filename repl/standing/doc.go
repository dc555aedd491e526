// Package standing decides what one node is to another by what it has shown.
//
// It has the rules for both ends of a connection between nodes, and for the time
// after the handshake: whether a certificate, or the key that it is for, makes its
// owner a member here, lets it ask for another certificate, or is refused, with the
// reason. It does not verify certificates, which package trust does, and does not
// word refusals, which is for the owner of the connection. It opens no file and no
// connection, and has no clock: what holds now is given as a [View]. The simulator
// runs these rules as they ship.
//
// # What a node goes by
//
// The cluster's table pins the key of each member, and a node that shows another
// key is refused. While the cluster also has a secret, a node that proves it needs
// no certificate. Once certificates alone open the cluster ([View.Only]), that of a
// node counts with its pin alone: the keys of nodes that left are in the table no
// longer, so their certificates end at once.
//
// A member whose certificate is good no longer still has its key. By that it may ask
// for another certificate, and where nobody leads who could make one it counts as
// the member that it is, or nobody would ever be elected: see [View.Came].
//
// Start with view.go, then came.go and dialled.go.
package standing
