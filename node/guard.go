package node

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/standing"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// guard decides how this node's connections are protected: whether they are over TLS, whom a
// certificate proves, and what a connection without one is worth. The door asks it about those
// that come, the caller about those that it makes.
type guard struct {
	// Set once.
	holder *trust.Holder // what this node shows, and whom it believes
	secret []byte        // nil if there is none
	token  *trust.Token  // by which this host is to join; nil: none
	plain  bool          // no TLS, until the table says otherwise
	// founded reports, while there is no table, that this host is of a cluster with TLS, or on
	// its way into one.
	founded bool
	server  *tls.Config
	gate    *wire.Gate // handshakes at once
	self    func() logstore.Identity
	table   func() *shardmap.Table // the newest that is known; nil: none
	now     func() time.Time       // for certificates only
	// introduced is the key of a node that the table does not name, and that is a peer by its own word.
	introduced func(raft.NodeID) (trust.KeyID, bool)
	// led reports whether somebody leads the meta group, as far as this node knows: a member can renew its
	// certificate then.
	led func() bool

	// sealed has the keys of the members once certificates alone open the cluster, which is for good;
	// nil before. After a start it is read from a file: until the table is there too, nothing else tells
	// that the secret has had its time, or who a member is whose certificate has ended.
	sealed atomic.Pointer[map[raft.NodeID]trust.KeyID]

	// former is until when connections go on by what the company's CA gave before; nil: this node has
	// the files of its start.
	former atomic.Pointer[time.Time]

	mu      sync.Mutex
	dialled map[net.Conn]trust.Proven // guarded by mu: connections of this node over TLS, and who is at their other ends
}

// begin settles how a host with this secret speaks, once its identity is known and before its first
// word. Whoever keeps certificates sets the holder afterwards.
func (g *guard) begin(n *Node, secret []byte, token *trust.Token) error {
	id := n.self()
	had := hasTLSKey(n.fs, n.cfg.Data)
	if had && n.cfg.Insecure {
		return fmt.Errorf("--insecure: the node in %s is of a cluster with TLS, and never speaks without; leave the option out", n.cfg.Data)
	}
	g.holder, g.secret, g.token, g.self, g.table, g.now = new(trust.Holder), secret, token, n.self, n.known, time.Now
	g.introduced = n.inquiry.heard.key
	g.led = func() bool {
		loop := n.running()
		if loop == nil {
			return false
		}
		m, ok := metaLead(loop)
		return ok && m.node != 0
	}
	g.plain = n.cfg.Insecure || !n.limits.secure
	g.founded = !g.plain && (undecided(&id) || waiting(&id) || had)
	g.gate = wire.NewGate(n.limits.handshakes)
	g.gate.Members = &wire.Members{
		Gate:   wire.NewGate(wire.MembersAtOnce),
		Marked: func(protocols []string) bool { return trust.Marked(protocols, g.markKeys(), uint64(g.self().Node)) },
		Known:  func(conn net.Conn) { n.door.recognize(conn) },
	}
	g.server = g.holder.Server()
	// Something to show is needed from the first connection on. It proves nothing, and hides what is said.
	key, err := trust.NewKey(rand.Reader)
	if err != nil {
		return err
	}
	shown, err := trust.SelfSigned(rand.Reader, key, g.now())
	if err != nil {
		return err
	}
	own, err := n.company.begin(n)
	if err != nil {
		return err
	}
	if own != nil {
		shown = own.Certificate
	}
	g.holder.Set(&trust.Holding{Certificate: shown, Own: own})
	return nil
}

// tlsDir is where a node that is of a cluster with TLS has its key, in its directory.
const (
	tlsDir  = "tls"
	tlsFile = "node.key"
)

// hasTLSKey reports whether a data directory is that of a node which speaks TLS: such a node
// never goes back to plain text, also before it has read its table.
func hasTLSKey(disk vfs.FS, data string) bool {
	names, err := disk.List(path.Join(data, tlsDir))
	return err == nil && slices.Contains(names, tlsFile)
}

// bugUnsealed is planted to show that its test finds it: a node that starts has forgotten that its
// cluster goes by certificates alone.
const bugUnsealed = "secret taken again after a start"

// seal has this node go by certificates alone for good, and by these keys until there is a table.
func (g *guard) seal(pins map[raft.NodeID]trust.KeyID) {
	if !bug(bugUnsealed) {
		g.sealed.Store(&pins)
	}
}

// speech returns how this node speaks now.
func (g *guard) speech() speech {
	k := g.knows()
	if k.Only() {
		return speaksOnly // also while the table of before that is read
	}
	if t := k.Table; t != nil && t.Founded() {
		if t.Security.Mode == shardmap.SecurityBoth {
			return speaksBoth
		}
		if g.plain {
			return speaksPlain
		}
		return speaksOff
	}
	switch {
	case g.founded:
		return speaksFirst
	case g.plain:
		return speaksPlain
	}
	return speaksOff
}

// bugLedBack is planted to show that its test finds it: another node's word leads a node with TLS back.
const bugLedBack = "TLS left on a member's word"

// follows reports whether this node may go by a table that it has learnt of another node, as for the way in which
// it speaks: what its own log would never say, one other must not bring about.
func (g *guard) follows(t *shardmap.Table) bool {
	switch now := g.speech(); {
	case bug(bugLedBack):
		return true
	case now == speaksOnly:
		return t.Security.Mode == shardmap.SecurityOnly
	case now == speaksBoth, now == speaksFirst:
		return t.Security.Mode != shardmap.SecurityOff
	}
	return true
}

// secretNow is the secret, while it proves anything.
func (g *guard) secretNow() []byte {
	if g.speech() == speaksOnly {
		return nil
	}
	return g.secret
}

// knows is what this node knows of its cluster, for one decision.
func (g *guard) knows() standing.View {
	v := standing.View{Table: g.table(), Introduced: g.introduced}
	if sealed := g.sealed.Load(); sealed != nil {
		v.Sealed = *sealed
	}
	return v
}

// view is what this node goes by when it decides about another one.
func (g *guard) view() standing.View {
	v, h := g.knows(), g.holder.Get()
	v.Secret, v.Company, v.Led = len(g.secret) > 0, h.Own != nil, g.led
	v.Ended = h.Certificate != nil && h.Certificate.Leaf != nil && g.now().After(h.Certificate.Leaf.NotAfter)
	v.Believed = func(root trust.RootID) bool {
		return slices.ContainsFunc(h.Trusted.Roots, func(r *x509.Certificate) bool { return trust.RootIDOf(r.Raw) == root })
	}
	v.Denied = func(serial trust.Serial) bool { return h.Trusted.Denied != nil && h.Trusted.Denied(serial) }
	return v
}

// shownBy is what one has shown whose certificate proves p, or nothing, because of err.
func shownBy(chain []*x509.Certificate, p trust.Proven, err error) standing.Shown {
	s := standing.Shown{Proven: p, Err: err}
	if len(chain) > 0 {
		s.Key, s.SelfMade = trust.KeyIDOf(chain[0]), trust.Founding(chain[0])
	}
	return s
}

// pin is the key that the cluster knows of a node, or else the one by which it has introduced itself.
func (g *guard) pin(id raft.NodeID) (trust.KeyID, bool) {
	v := g.knows()
	return v.Pin(id)
}

// --- those that come

// tlsHere is the answer to who begins with TLS where there is none.
func tlsHere(node string) *wire.Error {
	return wire.Unauthorized("connection with TLS", fmt.Sprintf("node %s was started with --insecure, and its cluster has no TLS", node),
		"give --insecure here too, if everybody on the way may read it all; a node does so with serve --insecure")
}

// plainHere answers a client that speaks plain text to a node that wants TLS.
func plainHere(node string) *wire.Error {
	return wire.Unauthorized("connection without TLS", fmt.Sprintf("node %s speaks nothing but TLS 1.3", node),
		"leave out --insecure, and use a release of muster that has TLS; a host that is to join gets its right by muster token create")
}

const (
	nextCredential = "run it as the user that runs a node, or get a certificate: muster auth login, or muster user cert NAME on a host that has one"
	nextToken      = "start it with --token-file, with a token that muster token create --role server has printed"
)

// admit decides what a connection that speaks in this protocol has proven, after its hello. shown is
// why its certificate proves nothing; nil if it does, or without TLS. certified is described with [door.hello]. It may set the greeting's standing.
// Roles have their own rules behind this: see [door.admit].
func (g *guard) admit(d *door, w *wire.Greeting, chain []*x509.Certificate, shown error, certified bool) *wire.Error {
	if !w.TLS() {
		return g.admitPlain(d, w)
	}
	h := &w.Hello
	object := "client"
	if h.Role != wire.RoleClient {
		object = "node " + h.Node.String()
		g.nameNode(w, chain, &shown)
		if h.Role == wire.RolePeer {
			return g.admitPeer(d, w, shownBy(chain, w.Peer, shown))
		}
		v := g.view()
		if e := misnamed(v.Names(h.Node, &w.Peer), h, &w.Peer); e != nil {
			return e
		}
	}
	// A certificate that is refused is told of at once: its owner wants it to count.
	if shown != nil && !errors.Is(shown, trust.ErrNone) && !errors.Is(shown, trust.ErrFounding) && !w.KnowsSecret && h.Role != wire.RoleInviting {
		next := nextToken
		if h.Role == wire.RoleClient {
			next = nextCredential
		}
		return wire.Unauthorized(object, shorten(shown.Error()), next)
	}
	switch h.Role {
	case wire.RoleClient:
		return g.admitClient(d, w, certified)
	case wire.RoleInviting:
		if w.Peer.Name.Node != 0 {
			return g.unpinned(&w.Peer)
		}
		if w.KnowsSecret || g.invites(w, chain) {
			return nil
		}
		return wire.Unauthorized(object, "it invites this host, which can't tell whether it is of the cluster that it is meant for", "start this host with --token-file, or with the --secret-file of that cluster")
	case wire.RoleJoining:
		if w.Peer.Name.Node != 0 {
			return g.unpinned(&w.Peer)
		}
		if w.KnowsSecret {
			return nil
		}
		if g.speech() == speaksFirst || !g.certified() {
			return wire.NotReady("node "+d.node.name, "its cluster has no certificates yet", "try again", foundingPause)
		}
		w.Standing = wire.SenderGuest // it may ask for a certificate
		return nil
	}
	if g.speech() == speaksOnly && !bug(bugFoundingOpen) {
		// The host then waits and says why: its operator may have wanted it in this cluster. A host
		// without a certificate does not learn who the members are.
		id := d.node.self()
		return foundedWithout(&id, h.Node)
	}
	if len(g.secretNow()) > 0 && !w.KnowsSecret {
		return wire.Unauthorized(object, "it has not proven to know the secret of the hosts that found a cluster here", "give all of them the same --secret-file")
	}
	return nil
}

// bugFoundingOpen is planted to show that its test finds it: a cluster that goes by certificates tells
// anybody who says that it founds one what its members are.
const bugFoundingOpen = "members told to a stranger that founds"

// unpinned refuses a certificate of a node of which the table has no key, once certificates alone count.
func (g *guard) unpinned(p *trust.Proven) *wire.Error {
	v := g.view()
	switch k := v.Unpinned(p); k {
	case standing.Unpinned:
		return keyless(p)
	case standing.OtherKey:
		return wire.Unauthorized(p.Name.String(), "its key is not the one that the cluster knows of that node", "remove the node, and have it join anew")
	default:
		return refusedAs(k, p.Name.String())
	}
}

// keyless refuses a certificate of a node whose key may be newer than the table here.
func keyless(p *trust.Proven) *wire.Error {
	return wire.NotReady(p.Name.String(), "the cluster's table has no key of it here", "try again in a moment; a node that was removed comes back with an empty data directory and --token-file", foundingPause)
}

// admitPlain is admit for a connection without TLS.
func (g *guard) admitPlain(d *door, w *wire.Greeting) *wire.Error {
	if g.speech() == speaksBoth && !w.KnowsSecret {
		return plainHere(d.node.name) // there is no secret, so it has proven nothing
	}
	return nil
}

// bugUserAsPeer is planted to show that its test finds it: any certificate of the cluster is good for
// any of its nodes.
const bugUserAsPeer = "certificate of a user taken for a peer's"

// nameNode has a company's CA say whether who comes is the node that it says.
func (g *guard) nameNode(w *wire.Greeting, chain []*x509.Certificate, shown *error) {
	h := &w.Hello
	if g.holder.Get().Own != nil {
		addr := h.Advertise
		if t := g.table(); t != nil {
			row, _ := t.Node(h.Node)
			addr = cmp.Or(row.Addr, addr)
		}
		w.Peer, *shown = g.verify(chain, h.Node, addr)
	}
	if p := &w.Peer; p.Name != (trust.Name{}) && bug(bugUserAsPeer) {
		p.Name = trust.Name{Cluster: p.Name.Cluster, Kind: trust.KindNode, Node: h.Node}
		p.Key, _ = g.pin(h.Node) // the next look at the connection would find it out
	}
}

// misnamed refuses a certificate that is not that of the node which a hello is in the name of.
func misnamed(k standing.Kind, h *wire.Hello, p *trust.Proven) *wire.Error {
	object := "node " + h.Node.String()
	switch k {
	case standing.NotNode:
		return wire.Unauthorized(object, fmt.Sprintf("its certificate is that of %s", p.Name), "a node shows a certificate of its own: "+nextToken)
	case standing.OtherNode:
		return wire.Unauthorized(object, fmt.Sprintf("its certificate is that of node %s", p.Name.Node), "give each node a data directory of its own; do not copy one")
	case standing.OtherKey:
		return wire.Unauthorized(object, "its key is not the one that the cluster knows of that node", "give each node a data directory of its own; to give a node a new key, remove it and have it join anew")
	}
	return refusedAs(k, object)
}

// refusedAs refuses one of a kind that was not expected where it came up; nil if the kind may speak.
func refusedAs(k standing.Kind, object string) *wire.Error {
	if !k.Refused() {
		return nil
	}
	return wire.Unauthorized(object, "it is "+k.String(), nextToken)
}

// admitClient is admit for a client. One that was asked for a certificate before users had any has shown none, and
// would stay a guest whatever its user has by now: it has to come again.
func (g *guard) admitClient(d *door, w *wire.Greeting, certified bool) *wire.Error {
	node := "node " + d.node.name
	switch p := &w.Peer; {
	case p.Name != (trust.Name{}) && p.Expired && p.Name.Kind == trust.KindUser:
		return wire.Unauthorized("certificate of "+p.Name.User, "it has expired at "+p.NotAfter.UTC().Format(time.RFC3339), nextCredential)
	case p.Name.Node != 0:
		return g.unpinned(p)
	case p.Name != (trust.Name{}), w.KnowsSecret:
		return nil
	case g.speech() == speaksFirst || !certified:
		if e := d.node.enrolment.waits(node); e != nil {
			return e
		}
		if g.speech() == speaksOff {
			return wire.Unauthorized(node, "its cluster has no TLS yet", "give --secret-file with the cluster's secret, or --insecure if it has none; muster ca create gives it TLS")
		}
		return wire.NotReady(node, "it has no certificate yet", "try again", startedRetry)
	}
	w.Standing = wire.SenderGuest
	return nil
}

// admitPeer is admit for a connection in a node's name. That the node is a member is for the door to say.
func (g *guard) admitPeer(d *door, w *wire.Greeting, s standing.Shown) *wire.Error {
	h, p, v := &w.Hello, &w.Peer, g.view()
	object := "node " + h.Node.String()
	s.Secret = w.KnowsSecret
	switch k := v.Came(h.Node, &s); k {
	case standing.Member:
		return nil
	case standing.Renewer:
		w.Standing = wire.SenderRenewer
		return nil
	case standing.Left:
		return wire.Removed(h.Node, fmt.Sprintf("cluster %q, at table index %d", v.Table.Cluster, v.Table.Index))
	case standing.Worthless:
		return wire.Unauthorized(object, shorten(s.Err.Error()), nextToken)
	case standing.Unpinned:
		d.node.inquiry.stranger(h)
		return wire.NotReady(object, "the cluster's table does not have its key here yet", "try again in a moment", foundingPause)
	case standing.Ended:
		return wire.Unauthorized(object, "its certificate has expired at "+p.NotAfter.UTC().Format(time.RFC3339), "compare the clocks; if it was away for so long, remove it and have it join anew")
	case standing.Nothing:
		return wire.Unauthorized(object, "it has shown no certificate of this cluster", nextToken)
	default:
		return misnamed(k, h, p)
	}
}

// invites reports whether who invites this host is of the cluster that its token is for.
func (g *guard) invites(w *wire.Greeting, chain []*x509.Certificate) bool {
	if g.token == nil {
		return false
	}
	p, err := g.byToken(chain)
	return err == nil && p.Name.Node == w.Hello.Node && !p.Expired // a cluster that was recovered has another id
}

// byToken says whom a chain proves to a host that knows nothing but the root in its token.
func (g *guard) byToken(chain []*x509.Certificate) (trust.Proven, error) {
	root, err := trust.ShownRoot(chain, g.token.Root)
	if err != nil {
		return trust.Proven{}, err
	}
	return trust.Trusted{Roots: []*x509.Certificate{root}}.Node(chain, g.now())
}

// --- those that this node makes

// bugNotChecked is planted to show that its test finds it: this node says its hello to whoever
// answers at an address.
const bugNotChecked = "peer's certificate not checked by the dialler"

// dial runs the handshake of a connection that this node makes to node to, or to any node if that is 0.
// It fails before anything is said to one that is not meant.
func (g *guard) dial(conn net.Conn, to raft.NodeID, addr string, role wire.Role) (*wire.TLSConn, error) {
	var p trust.Proven
	c := g.holder.Client(func(s tls.ConnectionState) (err error) {
		p, err = g.checkDialled(s.PeerCertificates, to, addr, role)
		return err
	})
	if keys := g.markKeys(); to != 0 && len(keys) > 0 {
		mark, err := trust.Mark(rand.Reader, keys[0], uint64(to))
		if err != nil {
			return nil, err
		}
		c.NextProtos = append(c.NextProtos, mark)
	}
	t, err := wire.TLSClient(conn, c)
	if err != nil {
		return nil, err
	}
	t.Peer = p
	return t, nil
}

// checkDialled says whom this node has reached, by the certificate that it was shown: nobody, if the
// secret is still to say that. It refuses those that are not meant.
func (g *guard) checkDialled(chain []*x509.Certificate, to raft.NodeID, addr string, role wire.Role) (trust.Proven, error) {
	if bug(bugNotChecked) {
		p, err := g.verify(chain, to, addr)
		if err != nil || to != 0 && p.Name.Node != to {
			return trust.Proven{}, nil
		}
		return p, nil
	}
	own := g.holder.Get().Own != nil
	as := to
	if own && to == 0 {
		as = g.self().Node // any will do: the name is dropped below
	}
	p, err := g.verify(chain, as, addr)
	if err != nil && !errors.Is(err, trust.ErrFounding) && role == wire.RoleJoining && g.token != nil {
		p, err = g.byToken(chain)
	}
	v, cluster := g.view(), g.clusterID()
	if own && to == 0 && err == nil {
		p.Name = trust.Name{} // a company's CA knows no node ids
		return p, nil
	}
	object := "node at " + addr
	kind := standing.Worthless
	switch {
	case role == wire.RolePeer:
		s := shownBy(chain, p, err)
		kind = v.Dialled(to, cluster, &s)
	case err == nil:
		kind = v.Meant(to, cluster, &p)
	}
	switch kind {
	case standing.Unproven:
		return p, nil // the hello goes on only with one that proves the secret
	case standing.Worthless:
		return p, g.dialledNobody(object, role, err)
	case standing.Wiped:
		return p, wire.WrongCluster(object, fmt.Sprintf("it shows a certificate of its own making, with another key than that of node %s: it is of no cluster yet", to), "put the data directory of that node back as it was when it last stopped")
	case standing.NotNode:
		return p, wire.Unauthorized(object, fmt.Sprintf("its certificate is that of %s", p.Name), "dial a node; something else listens there")
	case standing.OtherCluster:
		return p, wire.WrongCluster(object, fmt.Sprintf("its certificate is of cluster id %016x, want %016x", p.Name.Cluster, cluster), "check the address")
	case standing.OtherNode:
		return p, &wire.ElsewhereError{
			Refusal:   wire.UnknownNode(p.Name.Node, fmt.Sprintf("its certificate says so, and it answers at %s, where node %s was", addr, to), "start the node that belongs there; its members look for it elsewhere meanwhile"),
			Challenge: wire.Challenge{Node: p.Name.Node, Advertise: addr},
		}
	case standing.OtherKey:
		return p, wire.Unauthorized(object, fmt.Sprintf("its key is not the one that the cluster knows of node %s", p.Name.Node), "give each node a data directory of its own; to give a node a new key, remove it and have it join anew")
	case standing.Ended:
		return p, wire.Unauthorized(object, "its certificate has expired at "+p.NotAfter.UTC().Format(time.RFC3339), "compare the clocks; a node renews its certificate by itself while it reaches the others")
	}
	if kind.Refused() {
		return p, refusedAs(kind, object)
	}
	if err != nil { // a member by its key alone
		return trust.Proven{Name: trust.Name{Cluster: cluster, Kind: trust.KindNode, Node: to}, Key: trust.KeyIDOf(chain[0])}, nil
	}
	return p, nil
}

// clusterID is the id that certificates of this node's cluster name, which is another one than that of
// the cluster after it was recovered; 0 while there is no table to tell: then their root says enough.
func (g *guard) clusterID() uint64 {
	t := g.table()
	if t == nil {
		return 0
	}
	return t.Security.ClusterOf(t)
}

// dialledNobody decides about one that was dialled in a role, and whose certificate proves nothing, because of err.
func (g *guard) dialledNobody(object string, role wire.Role, err error) error {
	found := shorten(err.Error())
	stranger := errors.Is(err, trust.ErrFounding) || errors.Is(err, trust.ErrForeign)
	switch s := g.speech(); {
	case !stranger:
		return wire.Unauthorized(object, found, "give that node a certificate of this cluster: remove it, and have it join anew")
	case role == wire.RoleInviting:
		return nil // a host that is of no cluster yet; it decides whether it follows
	case role == wire.RoleJoining && g.token != nil && errors.Is(err, trust.ErrFounding):
		return wire.NotReady(object, found, "wait, if it is of the cluster that the token is for; else check the addresses of --join", foundingPause)
	case role == wire.RoleJoining && g.token != nil:
		return wire.Unauthorized(object, found, "check the addresses of --join, and that the token is of that cluster")
	case s == speaksOnly:
		return wire.Unauthorized(object, found, "check the address; a node of this cluster shows a certificate of it")
	case len(g.secret) == 0:
		return wire.Unauthorized(object, found+"; and without a secret nothing else can say that it is of this cluster", "give --secret-file to all hosts that found a cluster together, and --token-file to one that joins")
	}
	return nil // the hello goes on only with one that proves the secret
}

// markKeys are what members make marks with: the sealed keys of the roots, the newest root's first. The
// table has them, and nobody who is not a member sees them there; none has what they are sealed with.
func (g *guard) markKeys() (keys [][]byte) {
	t := g.table()
	if t == nil {
		return nil
	}
	for _, r := range slices.Backward(t.Security.Roots) {
		if len(r.Wrapped) > 0 {
			keys = append(keys, r.Wrapped)
		}
	}
	return keys
}

// keeps notes a connection that this node has made, for as long as it is open.
func (g *guard) keeps(conn net.Conn, p trust.Proven) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.dialled == nil {
		g.dialled = make(map[net.Conn]trust.Proven)
	}
	g.dialled[conn] = p
}

func (g *guard) forgets(conn net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.dialled, conn)
}

// --- those that are open

// bugDeniedStays is planted to show that its test finds it: a connection outlives the certificate
// that let it in.
const bugDeniedStays = "denied connection stays"

// bugWithdrawnStays is planted to show that its test finds it: a connection outlives its user's word that
// certificates until now count no longer.
const bugWithdrawnStays = "connection by a withdrawn certificate stays"

// recheckPause lies between two looks at the connections that are open. A certificate may also end
// without a change of the table.
const recheckPause = 5 * time.Second

// credential is by what a connection was let in.
type credential struct {
	proven   trust.Proven // the zero value: by no certificate
	standing wire.Sender
}

// madeBefore refuses a connection that was made when nobody had to show a certificate. The next one may.
func madeBefore() *wire.Error {
	return wire.NotReady("connection", "it was made without a certificate, and the cluster goes by certificates alone now", "connect again, with TLS and a certificate of the cluster", startedRetry)
}

// over returns why a connection that somebody has made by a certificate, or by the secret, has no
// place here any more; nil if it has.
func (g *guard) over(c *credential) *wire.Error {
	p := &c.proven
	if bug(bugDeniedStays) {
		return nil
	}
	if p.Name == (trust.Name{}) {
		if g.speech() == speaksOnly && c.standing != wire.SenderGuest && c.standing != wire.SenderRenewer && c.standing != wire.SenderInviter {
			return madeBefore()
		}
		return nil
	}
	if e := g.revoked(p); e != nil {
		return e
	}
	if p.Name.Kind == trust.KindUser && g.now().After(p.NotAfter) {
		return wire.Unauthorized("certificate of "+p.Name.User, "it has expired at "+p.NotAfter.UTC().Format(time.RFC3339), nextCredential)
	}
	if t := g.table(); t != nil && p.Name.Kind == trust.KindUser && !bug(bugWithdrawnStays) {
		if u, ok := t.Security.UserNamed(p.Name.User); ok {
			return withdrawn(&u, p)
		}
	}
	return nil
}

// revoked returns why a certificate that was good is so no longer.
func (g *guard) revoked(p *trust.Proven) *wire.Error {
	v := g.view()
	if v.ByCompany(p) {
		return g.unvouched(g.holder.Get().Own, p)
	}
	switch k := v.Revoked(p); k {
	case standing.Denied:
		return wire.Unauthorized(p.Name.String(), "its certificate was denied", nextCredential)
	case standing.Retired:
		return wire.Unauthorized(p.Name.String(), "the root of its certificate was retired", nextCredential)
	case standing.OtherKey:
		return wire.Unauthorized(p.Name.String(), "the cluster knows another key of it now", nextCredential)
	case standing.Unpinned:
		return keyless(p)
	default:
		return refusedAs(k, p.Name.String())
	}
}

// bugSecretStays is planted to show that its test finds it: this node goes on speaking with one that it has
// dialled, and that has shown the secret alone, after that has had its time.
const bugSecretStays = "dialled connection outlives the secret"

// recheck ends the connections of this node to those who have proven themselves by what is good no longer: a
// certificate, or the secret.
func (g *guard) recheck() {
	if bug(bugDeniedStays) {
		return
	}
	bySecret := g.speech() != speaksOnly || bug(bugSecretStays)
	g.mu.Lock()
	defer g.mu.Unlock()
	for conn, p := range g.dialled {
		nobody := p == (trust.Proven{})
		if nobody && !bySecret || !nobody && g.revoked(&p) != nil {
			conn.Close()
		}
	}
}
