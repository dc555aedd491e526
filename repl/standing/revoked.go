package standing

import "muster/repl/trust"

// bugFormerMember is planted to show that its test finds it: a certificate of a node outlives its
// membership, unless it was the last one.
const bugFormerMember = "earlier certificate of a removed node accepted"

// Unpinned decides about a good certificate of a node for what needs no membership. Once certificates alone open the
// cluster it counts with its pin alone: a node that leaves has its last certificate denied, and may have kept earlier
// ones that have not ended.
func (v *View) Unpinned(p *trust.Proven) Kind {
	if p.Root == (trust.RootID{}) || !v.Only() || bug(bugFormerMember) || bug(bugRemovedLetIn) {
		return Member // a company's CA, or the table knows not all members' keys yet
	}
	switch pin, ok := v.Pin(p.Name.Node); {
	case !ok:
		return Unpinned // or its key is newer than the table here
	case pin != p.Key:
		return OtherKey
	}
	return Member
}

// Revoked decides whether a certificate, of a node or of a user, that was good when its connection was made still is.
func (v *View) Revoked(p *trust.Proven) Kind {
	if v.ByCompany(p) {
		return Member
	}
	switch {
	case v.Denied(p.Serial):
		return Denied
	case p.Root != (trust.RootID{}) && !v.Believed(p.Root):
		return Retired
	case p.Name.Node == 0:
		return Member
	case v.mispinned(p):
		return OtherKey
	}
	return v.Unpinned(p)
}
