package node

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/trust"
	"muster/repl/wire"
)

// A host may show a certificate of its company's CA in the place of one that the cluster has made (--tls-cert). The
// cluster makes it one all the same, for a key that it pins: that is by what the host is a member for good, and what
// users' certificates come with. But peers tell each other by what the company's CA says of the host at an address.

// The company renews certificates by replacing files, so the node reads them again and again, and takes what fits as
// it would at a start. There is no signal for it: SIGHUP ends a node with its terminal.

const (
	// companyLook lies between two looks at the files. Reading them is the whole cost of a look.
	companyLook = time.Minute
	// companyEndsSoon is how long before its end a company's certificate is told of: a person may have to ask
	// another department for the next one. One that is short is told of in the last third of its time.
	companyEndsSoon = 14 * 24 * time.Hour
	// companyGrace is for how long connections outlive a CA that was taken out of --tls-ca, because this node
	// replaces its own first, and its peers theirs.
	companyGrace = 10 * time.Second
)

// bugKeptByFormerFiles is planted to show that its test finds it: connections go on by what the company's CA gave
// before, until they are cut.
const bugKeptByFormerFiles = "connection by a company's former certificate not replaced"

// bugFormerCAStays is planted to show that its test finds it: a connection outlives the CA that vouched for it.
const bugFormerCAStays = "connection by a company's former CA stays"

// company has the files that this host's certificate of its company's CA is in.
type company struct {
	node *Node // set once

	// Owned by begin, then by run.
	taken string // names what is in the files of which the certificate is shown
	said  string // names what was refused last, and logged; empty: nothing

	mu      sync.Mutex
	refused error // guarded by mu: why what is in the files is not shown; nil: it is
}

// begin returns what the files have at the start; nil if there are none.
func (c *company) begin(n *Node) (*trust.Own, error) {
	c.node = n
	if n.cfg.TLSCert == "" {
		return nil, nil
	}
	files, err := n.cfg.ownFiles()
	if err != nil {
		return nil, err
	}
	c.taken = files.sum()
	return files.load(n.addr, n.guard.now())
}

// sum names what is in the files. Times and sizes would not do: a tool that copies keeps the one, and the next
// certificate often has the other.
func (f *ownFiles) sum() string {
	h := sha256.New()
	for _, b := range f {
		fmt.Fprintf(h, "%d\n", len(b))
		h.Write(b)
	}
	return string(h.Sum(nil))
}

// run looks at the files again and again, until the node ends.
func (c *company) run() {
	if c.node.cfg.TLSCert == "" {
		return
	}
	every := time.NewTicker(c.node.limits.companyLook)
	defer every.Stop()
	for {
		select {
		case <-c.node.ctx.Done():
			return
		case <-every.C:
			c.look()
		}
	}
}

// look takes what is in the files, if it is something else than before and fits as it would have to at a start. Else
// this node goes on with what it has: the files may be about to be replaced, one after the other.
func (c *company) look() {
	n := c.node
	files, err := n.cfg.ownFiles()
	name, own := "", (*trust.Own)(nil)
	if err == nil {
		if name = files.sum(); name == c.taken {
			c.settle("", nil)
			return
		}
		own, err = files.load(n.addr, n.guard.now())
	} else {
		name = err.Error()
	}
	if err != nil {
		if name != c.said {
			n.log.Warn("company's certificate not taken: the former goes on", "err", err)
		}
		c.settle(name, err)
		return
	}
	until := time.Now().Add(n.limits.companyGrace)
	n.guard.former.Store(&until) // first, or a look at connections in between would cut them
	n.notary.keys.setOwn(own)
	c.taken = name
	c.settle("", nil)
	_, ends, _ := own.Ends()
	n.log.Info("company's certificate taken", "good_until", ends.UTC())
	n.notary.changed() // it has connections replaced
}

// settle notes what has become of the files: refused because of err under that name, or taken.
func (c *company) settle(name string, err error) {
	c.said = name
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = err
}

// notes says what a person should know of the company's certificate.
func (c *company) notes() (notes []wire.Problem) {
	n := c.node
	own := n.guard.holder.Get().Own
	if own == nil {
		return nil
	}
	c.mu.Lock()
	refused := c.refused
	c.mu.Unlock()
	if refused != nil {
		notes = append(notes, wire.Problem{
			What:   fmt.Sprintf("%s does not take the files of its company's CA as they are now, and goes on with what was in them before: %v", n.name, refused),
			Remedy: "mend the file that is named; the node looks at it once a minute, and would not start with it as it is",
		})
	}
	since, ends, ofCA := own.Ends()
	if ends.Sub(n.guard.now()) >= min(companyEndsSoon, ends.Sub(since)/3) {
		return notes
	}
	p := wire.Problem{What: fmt.Sprintf("the certificate of its company's CA that %s shows ends at %s", n.name, ends.UTC().Format(time.RFC3339))}
	p.Remedy = fmt.Sprintf("have the company's CA make the next one, and replace %s, and %s if it has another key: the node takes it within a minute", vfs.ShellWord(n.cfg.TLSCert), vfs.ShellWord(n.cfg.TLSKey))
	if ofCA {
		p.What = fmt.Sprintf("the company's CA by which %s is believed ends at %s", n.name, ends.UTC().Format(time.RFC3339))
		p.Remedy = fmt.Sprintf("put the certificate of the CA that comes next into %s too, there and on all nodes, and only then replace their certificates: a node takes both within a minute", vfs.ShellWord(n.cfg.TLSCA))
	}
	return append(notes, p)
}

// unvouched returns why what a company's CA has proven holds no longer: that CA was taken out. First the nodes
// replace the connections that it has vouched for by others.
func (g *guard) unvouched(own *trust.Own, p *trust.Proven) *wire.Error {
	until := g.former.Load()
	if until == nil || time.Now().Before(*until) || own.Vouches(p) || bug(bugFormerCAStays) {
		return nil
	}
	return wire.Unauthorized(p.Name.String(), "the CA of its certificate is in --tls-ca no longer", "give it a certificate of the CA that is there now")
}

// certified reports whether this node has a certificate of its cluster, also where it shows that of its company's
// CA: users' come no earlier.
func (g *guard) certified() bool {
	h := g.holder.Get()
	if h.Own != nil {
		return h.Issued != nil
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
