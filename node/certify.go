package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/notary"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// The planted bugs of certificates that the core of the notary can't have.
const (
	// bugTokenUnsigned: whoever knows the id of a token gets a certificate by it.
	bugTokenUnsigned = "token not signed for"
	// bugKeepForAll: a member that is no voter gets the key that wraps those of roots.
	bugKeepForAll = "wrapping key for any member"
	// bugLoginRenewed: the certificate of an hour that a password brings is renewed without it.
	bugLoginRenewed = "certificate of a login renewed"
)

// noRoot says why this node makes no certificate.
func noRoot(n *Node) *wire.Error {
	return wire.NotReady("node "+n.name, "the cluster has no root that issues certificates", "wait until it has one; a cluster without TLS gets one with muster ca create", notary.Retry)
}

// takeEnrol answers a host that has a token and wants its first certificate.
func takeEnrol(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Enrol
	if !readRequest(c, h, r, body, &q) {
		return
	}
	n := c.node
	m := &n.recruiter
	m.beside(c, r, func(ctx context.Context) {
		a, refusal := n.notary.enrol(ctx, &q, c.greeting)
		n.trail.done(c, h.Type, fmt.Sprintf("node %s by token %d", q.Node, q.Token), 0, refusal)
		if refusal != nil {
			c.refuse(r, refusal)
			return
		}
		c.answerNow(r, wire.TypeEnrolAnswer, a.Append(nil))
	})
}

// enrol makes the first certificate of a host.
func (y *authority) enrol(ctx context.Context, q *wire.Enrol, g *wire.Greeting) (a wire.EnrolAnswer, refusal *wire.Error) {
	n := y.node
	if refusal := n.ledHere(n.running()); refusal != nil {
		return a, refusal
	}
	object := fmt.Sprintf("token %d", q.Token)
	token, ok := n.table.Load().Security.Token(q.Token)
	switch {
	case len(g.Exporter) == 0:
		return a, wire.BadRequest(object, "the connection has no TLS, and nothing ties the signature to it", "ask over TLS")
	case g.Hello.Node != q.Node:
		return a, wire.Unauthorized(object, fmt.Sprintf("node %s asks for node %s", g.Hello.Node, q.Node), "ask for the node that the hello names")
	case !ok:
		return a, wire.Unauthorized(object, "there is none, or it is long over", "have an administrator make another one: muster token create")
	}
	if err := trust.VerifyUse(token.Public, g.Exporter, q.Request, q.Signature); err != nil && !bug(bugTokenUnsigned) {
		return a, wire.Unauthorized(object, err.Error(), "start the host with the token as it was printed")
	}
	made, refusal := y.certify(ctx, notary.Request{By: notary.ByToken, Node: q.Node, Token: q.Token}, q.Request)
	return wire.EnrolAnswer(made), refusal
}

// takeRenew answers a member or a user that wants a certificate.
func takeRenew(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Renew
	if !readRequest(c, h, r, body, &q) {
		return
	}
	n := c.node
	want, refusal := wanted(c, &q)
	if refusal != nil {
		n.trail.done(c, h.Type, "", 0, refusal)
		c.refuse(r, refusal)
		return
	}
	n.recruiter.beside(c, r, func(ctx context.Context) {
		if c.standing == wire.SenderMember && !c.claim.counted(ctx) {
			c.refuse(r, c.uncounted())
			return
		}
		a, refusal := n.notary.certify(ctx, want, q.Request)
		n.trail.done(c, h.Type, certificateText(&want), 0, refusal)
		if refusal != nil {
			c.refuse(r, refusal)
			return
		}
		c.answerNow(r, wire.TypeRenewAnswer, a.Append(nil))
	})
}

// certificateText is what the trail says a certificate is for.
func certificateText(want *notary.Request) string {
	if want.User != "" {
		return "user " + want.User
	}
	return "node " + want.Node.String()
}

// wanted says what the other side of a connection may ask for, by what it has proven.
func wanted(c *connection, q *wire.Renew) (want notary.Request, refusal *wire.Error) {
	g := c.greeting
	switch {
	case c.standing == wire.SenderClient:
		if q.User == "" {
			// A login is good for an hour; a user who knows the password logs in again.
			if p := &g.Peer; p.Name.Kind == trust.KindUser && p.NotAfter.Sub(p.Issued) <= trust.LoginLife && !bug(bugLoginRenewed) {
				return want, wire.Unauthorized("certificate of "+c.who.Name, "it is that of a login, which is not renewed", "log in again: muster auth login; or ask an administrator for one that lasts: muster user cert "+c.who.Name)
			}
			if q.User = c.who.Name; q.User != "" {
				return notary.Request{By: notary.ByUser, User: q.User, Principal: c.who.User}, nil
			}
		}
		if q.User == "" {
			return want, wire.BadRequest("certificate", "it is for no user", "name the user: muster user cert NAME")
		}
		// That it may have that user's was decided before this, as of any request of a client.
		return notary.Request{By: notary.ByUser, User: q.User}, nil
	case c.standing == wire.SenderRenewer && q.User != "":
		return want, wire.BadRequest("certificate of "+q.User, "a member whose certificate has ended asks for its own alone", "renew that first")
	case q.User != "":
		return notary.Request{By: notary.ByWish, Node: c.peer, User: q.User}, nil
	case g.Peer.Name.Node == c.peer && c.node.guard.byCompany(&g.Peer):
		// It is that node, at its address, as the secret would say. While that opens the cluster the node may have
		// no key in the table yet, or by a crash another one; afterwards it renews with the one that is there.
		return notary.Request{By: c.node.notary.memberAsks(), Node: c.peer}, nil
	case c.standing == wire.SenderRenewer || g.Peer.Name.Node == c.peer:
		return notary.Request{By: notary.ByMember, Node: c.peer}, nil
	}
	return notary.Request{By: notary.BySecret, Node: c.peer}, nil
}

// takeKeep keeps a key that wraps those of roots, or gives it to another voter.
func takeKeep(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Keep
	if !readRequest(c, h, r, body, &q) {
		return
	}
	// It writes a file, and the reader must not wait for a disk.
	c.node.recruiter.beside(c, r, func(ctx context.Context) {
		if !c.claim.counted(ctx) {
			c.refuse(r, c.uncounted())
			return
		}
		a, refusal := c.node.notary.keep(c.peer, &q)
		c.node.trail.done(c, h.Type, "wrapping key "+trust.WrapKeyID(q.ID).String(), 0, refusal)
		if refusal != nil {
			c.refuse(r, refusal)
			return
		}
		c.answerNow(r, wire.TypeKeepAnswer, a.Append(nil))
	})
}

// keep takes a wrapping key from another voter, or gives it to that.
func (y *authority) keep(from raft.NodeID, q *wire.Keep) (a wire.KeepAnswer, refusal *wire.Error) {
	id := trust.WrapKeyID(q.ID)
	object := "wrapping key " + id.String()
	t := y.node.table.Load()
	if t == nil {
		return a, y.node.notReady()
	}
	named := slices.ContainsFunc(t.Security.Roots, func(r shardmap.Root) bool { return r.WrapKey == shardmap.WrapKeyID(id) })
	switch {
	case !metaVoter(t, y.node.self().Node):
		// It may be about to remove its own, so nobody must rely on it.
		return a, wire.NotReady(object, "node "+y.node.name+" is no voter of the meta group, by its table", "ask one that is", notary.Retry)
	case metaVoter(t, from) || bug(bugKeepForAll):
	case named && len(q.Key) == wire.WrapKeySize && trust.WrapKey(q.Key).ID() == id: // a voter until now, which is to remove its own
	default:
		return a, wire.Unauthorized(object, fmt.Sprintf("node %s is no voter of the meta group", from), "voters alone have such keys")
	}
	if len(q.Key) == 0 {
		key, ok := y.keys.wrapKey(id)
		if a.Holds = ok; ok {
			a.Key = key[:]
		}
		return a, nil
	}
	key := trust.WrapKey(q.Key)
	if key.ID() != id {
		return a, wire.BadRequest(object, "the key is another one", "name it by the hash of itself")
	}
	if err := y.keys.keep(key); err != nil {
		return a, wire.Unavailable(object, err.Error())
	}
	a.Holds = true
	return a, nil
}

// metaVoter reports whether a node has a vote in the meta group, or is to have one.
func metaVoter(t *shardmap.Table, id raft.NodeID) bool {
	return slices.ContainsFunc(t.Meta.Replicas, func(r shardmap.TableReplica) bool {
		return r.Node == id && r.Role == shardmap.ReplicaVoter
	})
}

// takeHolds hears which certificate a member has.
func takeHolds(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Holds
	if !readRequest(c, h, r, body, &q) {
		return
	}
	loop := byMember(c, r)
	if loop == nil {
		return
	}
	n := c.node
	if refusal := n.ledHere(loop); refusal != nil {
		c.refuse(r, refusal)
		return
	}
	y := &n.notary
	y.mail.post(func(time.Duration) { y.core.Told(c.peer, shardmap.Serial(q.Serial), q.Index) })
	c.answerNow(r, wire.TypeHoldsAnswer, (&wire.HoldsAnswer{Index: n.table.Load().Index}).Append(nil))
}

// takeAuthority answers an order about the cluster's roots.
func takeAuthority(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Authority
	if !readRequest(c, h, r, body, &q) {
		return
	}
	n := c.node
	n.recruiter.beside(c, r, func(ctx context.Context) {
		a, refusal := n.notary.order(ctx, &q)
		n.trail.done(c, h.Type, "root, "+q.Action.String(), 0, refusal)
		if refusal != nil {
			c.refuse(r, refusal)
			return
		}
		c.answerNow(r, wire.TypeAuthorityAnswer, a.Append(nil))
	})
}

// enrolAt gets this host its first certificate from the member at an address, if it has a token
// and no certificate yet. met is as in [Node.askMember].
func (y *authority) enrolAt(ctx context.Context, addr string, met func(*wire.Greeting) error) error {
	n := y.node
	token := n.guard.token
	if token == nil || n.guard.certified() {
		return nil
	}
	request, err := y.keys.request()
	if err != nil {
		return err
	}
	// That the member is of the token's cluster was made sure before the hello; or, by a company's CA, no more than that
	// it is a host of the company, which learns nothing by a signature over this connection.
	conn, g, err := n.caller.dial(ctx, 0, addr, wire.PurposePeer, wire.RoleJoining)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := met(g); err != nil {
		return err
	}
	signature, err := token.Sign(g.Exporter, request)
	if err != nil {
		return err
	}
	q := wire.Enrol{Node: n.self().Node, Token: token.ID, Request: request, Signature: signature}
	var a wire.EnrolAnswer
	if err := n.caller.ask(ctx, conn, g, wire.TypeEnrol, &q, &a); err != nil {
		return err
	}
	cluster := g.Peer.Name.Cluster
	if n.guard.byCompany(&g.Peer) {
		if cluster, err = clusterUnder(a.Roots, token.Root); err != nil {
			return err
		}
	}
	if err := y.keys.adopt(nodeName(cluster, q.Node), a.Certificate, a.Roots); err != nil {
		return err
	}
	n.log.Info("certificate taken by token", "token", token.ID, "serial", y.keys.own().Serial)
	return nil
}

// clusterUnder returns the id of the cluster that has the root of an id, which must be among roots.
func clusterUnder(roots [][]byte, id trust.RootID) (uint64, error) {
	for _, der := range roots {
		if trust.RootIDOf(der) != id {
			continue
		}
		root, err := trust.ReadRoot(der)
		if err != nil {
			return 0, err
		}
		return trust.RootCluster(root)
	}
	return 0, wire.Unauthorized("cluster", fmt.Sprintf("none of its roots is %s, which the token is for", id), "check the addresses of --join, and that the token is of that cluster")
}
