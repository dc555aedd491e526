package standing

import "fmt"

// Kind is what one node is to another, or why it is refused. A larger one may do more.
type Kind uint8

const (
	// Of those that are refused, by what they have shown.

	Unknown      Kind = iota // nothing: nobody has looked
	NotNode                  // a certificate of a user
	OtherCluster             // one of a node of another cluster
	OtherNode                // one of another node than it says, or than was dialled
	OtherKey                 // the cluster knows another key of that node
	Left                     // the table says that the node was removed
	Denied                   // a certificate that was denied since
	Retired                  // one whose root was retired since
	Worthless                // one that proves nothing: the error of package trust says why
	Wiped                    // one of its own making, for another key than that of the node: its data directory is gone
	Unpinned                 // a good one, and the table has no key of the node, or not yet
	Ended                    // one that has ended
	Nothing                  // none at all

	// Of those that may speak.

	Unproven // it has proven nothing yet: the secret has to tell, in the hello
	Renewer  // a member that may ask for a certificate, and for nothing else
	Member   // all that a member may
)

// Refused reports whether nothing more is to be said to one of that kind, or heard of it.
func (k Kind) Refused() bool { return k < Unproven }

var kindNames = [...]string{
	Unknown: "unknown", NotNode: "not a node", OtherCluster: "of another cluster", OtherNode: "another node", OtherKey: "another key", Left: "left",
	Denied: "denied", Retired: "of a retired root", Worthless: "worthless", Wiped: "wiped", Unpinned: "not pinned", Ended: "ended", Nothing: "nothing shown",
	Unproven: "unproven", Renewer: "renewer", Member: "member",
}

// String names the kind, for notes of tests.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}
