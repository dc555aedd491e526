package standing

import (
	"muster/raft"
	"muster/repl/trust"
	"muster/shardmap"
)

// View is what a node knows when it decides about another one. It is good for one decision: the next
// one may have another table.
type View struct {
	// Table is the newest that is known; nil: none.
	Table *shardmap.Table
	// Sealed has the keys of the members, since certificates alone open the cluster; nil: they do not.
	// It is on disk, and so there from the start on, before the table has been read again.
	Sealed map[raft.NodeID]trust.KeyID
	// Secret: this node knows a secret. That it still proves anything is for [View.Only] to say.
	Secret bool
	// Company: a company's CA says here which host is at an address, so which node that is.
	Company bool
	// Ended: the certificate of this node itself has ended.
	Ended bool
	// Led reports whether somebody leads the meta group, as far as this node knows: a member can
	// renew its certificate then.
	Led func() bool
	// Introduced is the key of a node that the table does not name, and that is a peer by its own word;
	// nil: there is none.
	Introduced func(raft.NodeID) (trust.KeyID, bool)
	// Believed reports whether certificates under a root are believed, and Denied whether one has been
	// denied. [View.Revoked] alone asks: all else looks at what package trust has verified.
	Believed func(trust.RootID) bool
	Denied   func(trust.Serial) bool
}

// Only reports whether certificates alone open the cluster. That is for good.
func (v *View) Only() bool { return v.Sealed != nil || v.tableOnly() }

// tableOnly reports whether the table says so.
func (v *View) tableOnly() bool {
	return v.Table != nil && v.Table.Founded() && v.Table.Security.Mode == shardmap.SecurityOnly
}

// Reads reports whether this node has not read its table again yet, since it started, as far as that by which
// certificates alone open its cluster.
func (v *View) Reads() bool {
	return v.Sealed != nil && (v.Table == nil || v.Table.Security.Mode != shardmap.SecurityOnly)
}

// Pin is the key that the cluster knows of a node, or else the one by which it has introduced itself.
func (v *View) Pin(id raft.NodeID) (key trust.KeyID, ok bool) {
	if v.Reads() {
		key, ok = v.Sealed[id]
	} else if v.Table != nil {
		var pin shardmap.Pin
		pin, ok = v.Table.Security.Pin(id)
		key = trust.KeyID(pin.Key)
	}
	if !ok && v.Introduced != nil {
		return v.Introduced(id)
	}
	return key, ok
}

// ByCompany reports whether a company's CA has said which node somebody is. The company renews certificates for keys
// of its own choice; the key that is pinned is that of the certificate which the cluster has made, and which such a
// member does not show.
func (v *View) ByCompany(p *trust.Proven) bool { return v.Company && p.Root == (trust.RootID{}) }

// mispinned reports whether the cluster knows the node that a certificate names by another key.
func (v *View) mispinned(p *trust.Proven) bool {
	if v.ByCompany(p) {
		return false
	}
	pin, ok := v.Pin(p.Name.Node)
	return ok && pin != p.Key
}

// bugOutlived is planted to show that its test finds it: a member that missed the last word on its new certificate,
// and the end of the root of its former one, stays outside for good.
const bugOutlived = "member left behind by a retired root"

// outlived reports whether a key is that of a member, whatever its certificate is worth: the root of that was
// retired while the member was away, or before the answer came that brought it the next one. A node
// whose pinned certificate was denied must not come in by another one.
func (v *View) outlived(id raft.NodeID, key trust.KeyID) bool {
	if v.Table == nil || v.Reads() || key == (trust.KeyID{}) || bug(bugOutlived) {
		return false
	}
	pin, ok := v.Table.Security.Pin(id)
	return ok && key == trust.KeyID(pin.Key) && !v.Table.Security.IsDenied(pin.Serial)
}
