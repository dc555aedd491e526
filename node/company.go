package node

import (
	"crypto/x509"

	"muster/raft"
	"muster/repl/trust"
)

// A host may show a certificate of its company's CA in the place of one that the cluster has made (--tls-cert). The
// cluster makes it one all the same, for a key that it pins: that is by what the host is a member for good, and what
// users' certificates come with. But peers tell each other by what the company's CA says of the host at an address.

// certified reports whether this node has a certificate of its cluster, also where it shows that of its company's
// CA: users' come no earlier.
func (g *guard) certified() bool {
	h := g.holder.Get()
	if h.Own != nil {
		return h.Issued
	}
	return h.Certificate != nil && h.Certificate.Leaf != nil && !trust.Founding(h.Certificate.Leaf)
}

// verify says whom a chain proves. node and addr are who it is said to be, for a company's CA,
// which knows nothing but addresses; node 0: a user.
func (g *guard) verify(chain []*x509.Certificate, node raft.NodeID, addr string) (trust.Proven, error) {
	h := g.holder.Get()
	if h.Own == nil || node == 0 {
		return h.Trusted.Verify(chain, g.now())
	}
	p, err := h.Own.Verify(chain, addr, g.now())
	if err == nil {
		p.Name = trust.Name{Cluster: g.self().ClusterID, Kind: trust.KindNode, Node: node}
	}
	return p, err
}

// byCompany reports whether it is the company's CA that has said which node somebody is.
func (g *guard) byCompany(p *trust.Proven) bool {
	v := g.view()
	return v.ByCompany(p)
}
