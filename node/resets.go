package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"muster/node/reset"
	"muster/node/trail"
	"muster/raft"
	"muster/repl"
	"muster/repl/notary"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

const (
	// resetPause lies between two looks for a request in this node's directory. The command waits for several.
	resetPause = 2 * time.Second
	// resetMax is how long this node tries to get a reset done: an election, and another.
	resetMax = 10 * time.Second
	// resetAgain lies between two tries.
	resetAgain = 300 * time.Millisecond
)

// resets answers whoever owns this node's directory, and has lost all administrators of the cluster. What makes it good
// is the key in that directory which wraps the key of the issuing root: who can read that can make any certificate. So a
// node without that key does nothing for its owner, and passes nothing on: nobody becomes an administrator by the disk
// of a client, or of a server that votes nowhere.
type resets struct {
	node *Node
	said string // owned by run: the last refusal, if the file that it was about can't be removed
}

// run looks for requests, until the node ends.
func (s *resets) run() {
	n := s.node
	dir := reset.In(filepath.Join(n.cfg.Data, tlsDir), time.Now)
	every := time.NewTicker(resetPause)
	defer every.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-every.C:
			s.look(dir)
		}
	}
}

// look answers the request in the directory, if there is one.
func (s *resets) look(dir reset.Dir) {
	n := s.node
	q, err := dir.Asked()
	if errors.Is(err, fs.ErrNotExist) {
		s.said = ""
		return
	}
	// It goes first: whatever comes now, it is looked at once. The command gives up if this node dies.
	if gone := dir.Drop(); gone != nil {
		err = fmt.Errorf("it can't be removed: %w", gone)
	}
	if err != nil {
		if why := err.Error(); why != s.said {
			s.said = why
			n.log.Warn("reset refused", "err", err)
			n.trail.note(trail.Event{Door: doorSelf, Type: wire.TypeReset.String(), Verdict: trail.Refused, Why: why})
		}
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, resetMax)
	defer cancel()
	a := &reset.Answer{ID: q.ID, User: q.User}
	got, refusal := s.carryOut(ctx, q)
	event := trail.Event{Door: doorSelf, Type: wire.TypeReset.String(), Object: "user " + q.User, Verdict: trail.Allowed}
	if refusal != nil {
		a.Refused = reset.RefusalOf(refusal)
		event.Verdict, event.Why = trail.Refused, refusal.Error()
		n.log.Warn("reset refused", "user", q.User, "err", refusal)
	} else {
		a.Role, a.Certificate, a.Roots = got.Role, got.Certificate, got.Roots
		event.Why = "asked by the owner of this node's directory; role " + got.Role
		n.log.Warn("administrator made for the owner of this node's directory", "user", q.User, "role", got.Role)
	}
	n.trail.note(event)
	if err := dir.Reply(a); err != nil {
		n.log.Error("reset not answered", "user", q.User, "err", err)
	}
}

// carryOut gets a request done, here or at the leader of the meta group.
func (s *resets) carryOut(ctx context.Context, q *reset.Request) (a wire.ResetAnswer, refusal *wire.Error) {
	n := s.node
	object := "user " + q.User
	if err := access.CheckName(q.User); err != nil {
		return a, wire.BadRequest("name of a user", err.Error(), "choose another one")
	}
	if t := n.table.Load(); t != nil && t.Security.Mode == shardmap.SecurityOff {
		return a, conflict(object, "the cluster is without TLS, and asks nobody who he is", "give the order with --insecure, or with the cluster's secret; muster ca create takes it over to TLS")
	}
	const quorum = "start the other voters of group 0: this needs a majority of them"
	refusal = wire.NotReady("group 0", "it has no leader", quorum, 0)
	for {
		a, refusal, again := s.try(ctx, q, refusal)
		if !again {
			return a, refusal
		}
		pause := time.NewTimer(resetAgain)
		select {
		case <-pause.C:
			continue
		case <-ctx.Done():
			pause.Stop()
		}
		if refusal.Next != quorum && refusal.Object != object {
			refusal = wire.NotReady(object, "it could not be done in time: "+refusal.Error(), quorum+"; then give it again", 0)
		}
		return a, refusal
	}
}

// conflict refuses what can't be in this state of the cluster.
func conflict(object, state, next string) *wire.Error {
	return &wire.Error{Code: wire.CodeConflict, Object: object, Text: "can't be done", State: state, Next: next}
}

// try does it once. none is what is wrong where nobody leads; again: it may yet come right.
func (s *resets) try(ctx context.Context, q *reset.Request, none *wire.Error) (a wire.ResetAnswer, refusal *wire.Error, again bool) {
	n := s.node
	loop, t := n.running(), n.table.Load()
	if loop == nil || t == nil {
		return a, wire.NotReady("node "+n.name, "it has read no table yet: group 0 may have no majority", none.Next, 0), true
	}
	key, refusal := s.right(t)
	if refusal != nil {
		return a, refusal, false
	}
	lead, ok := metaLead(loop)
	var err error
	switch {
	case !ok || lead.node == 0:
		return a, none, true
	case lead.node == n.self().Node:
		a, refusal = n.notary.reinstate(ctx, n.self().Node, q.User, q.Request)
	default:
		if err = s.ask(ctx, lead.node, key, q, &a); err != nil && !errors.As(err, &refusal) {
			refusal = wire.NotReady(memberName(n, lead.node), err.Error(), none.Next, 0)
		}
	}
	if refusal == nil {
		return a, nil, false
	}
	switch refusal.Code {
	case wire.CodeNotLeader, wire.CodeNotReady, wire.CodeBusy, wire.CodeUnavailable, wire.CodeMaybeApplied:
		return a, refusal, true
	}
	return a, refusal, false
}

// right returns the key in this node's directory by which its owner may ask, or says where there is one.
func (s *resets) right(t *shardmap.Table) (key trust.WrapKey, refusal *wire.Error) {
	n := s.node
	issuing, ok := t.Security.Issuing()
	if !ok {
		return key, noRoot(n)
	}
	if self := n.self().Node; !metaVoter(t, self) {
		return key, wire.Unauthorized("node "+n.name, "it does not vote in group 0, so its disk has no key that says who may administer the cluster", "give muster auth reset on a host that has one: "+votersText(t))
	}
	if key, ok = n.notary.keys.wrapKey(trust.WrapKeyID(issuing.WrapKey)); !ok {
		return key, wire.Unauthorized("node "+n.name, fmt.Sprintf("its disk does not have wrapping key %s, which makes certificates", issuing.WrapKey), "give muster auth reset on a host that has it, as the file tls/wrap-"+trust.WrapKeyID(issuing.WrapKey).String()+".key: "+votersText(t))
	}
	return key, nil
}

// votersText names the voters of the meta group.
func votersText(t *shardmap.Table) string {
	var names []string
	for _, r := range t.Meta.Replicas {
		if r.Role != shardmap.ReplicaVoter {
			continue
		}
		name := r.Node.String()
		if row, ok := t.Node(r.Node); ok {
			name = fmt.Sprintf("%s at %s", row.Name, row.Addr)
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// memberName is what a member is called.
func memberName(n *Node, id raft.NodeID) string {
	if t := n.table.Load(); t != nil {
		if row, ok := t.Node(id); ok {
			return "node " + row.Name
		}
	}
	return "node " + id.String()
}

// ask has the leader of the meta group do it, and shows it that this node has the key.
func (s *resets) ask(ctx context.Context, to raft.NodeID, key trust.WrapKey, q *reset.Request, a *wire.ResetAnswer) error {
	n := s.node
	conn, g, err := n.caller.dial(ctx, to, n.addrOf(to), wire.PurposePeer, wire.RolePeer)
	if err != nil {
		return err
	}
	defer conn.Close()
	body := wire.Reset{User: q.User, Request: q.Request, WrapKey: wire.WrapKeyName(key.ID()), Proof: key.Prove(g.Exporter, q.User, q.Request)}
	return n.caller.ask(ctx, conn, g, wire.TypeReset, &body, a)
}

// takeReset makes a user an administrator for the owner of a voter's directory.
func takeReset(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Reset
	if !readRequest(c, h, r, body, &q) {
		return
	}
	n := c.node
	n.recruiter.beside(c, r, func(ctx context.Context) {
		if !c.claim.counted(ctx) {
			c.refuse(r, c.uncounted())
			return
		}
		refusal := n.resets.check(&q, c.peer, c.greeting.Exporter)
		var a wire.ResetAnswer
		if refusal == nil {
			a, refusal = n.notary.reinstate(ctx, c.peer, q.User, q.Request)
		}
		n.trail.done(c, h.Type, "user "+q.User, 0, refusal)
		if refusal != nil {
			c.refuse(r, refusal)
			return
		}
		n.log.Warn("administrator made for the owner of a node's directory", "user", q.User, "role", a.Role, "directory_of", c.peer)
		c.answerNow(r, wire.TypeResetAnswer, a.Append(nil))
	})
}

// bugResetUnproven is planted to show that its test finds it: the word of a member makes an administrator.
const bugResetUnproven = "reset without the wrapping key"

// check refuses a reset from a member that has not shown what makes certificates.
func (s *resets) check(q *wire.Reset, from raft.NodeID, exporter []byte) *wire.Error {
	n := s.node
	object := "user " + q.User
	if refusal := n.ledHere(n.running()); refusal != nil {
		return refusal
	}
	t := n.table.Load()
	issuing, ok := t.Security.Issuing()
	if !ok {
		return noRoot(n)
	}
	if err := access.CheckName(q.User); err != nil {
		return wire.BadRequest("name of a user", err.Error(), "choose another one")
	}
	key, held := n.notary.keys.wrapKey(trust.WrapKeyID(issuing.WrapKey))
	switch {
	case bug(bugResetUnproven):
		return nil
	case !metaVoter(t, from):
		return wire.Unauthorized(object, fmt.Sprintf("%s is no voter of the meta group", memberName(n, from)), "give muster auth reset on a host that has one: "+votersText(t))
	case !held:
		return wire.NotReady("node "+n.name, "it does not hold the key that makes certificates yet", "try again in a moment", notary.Retry)
	case q.WrapKey != wire.WrapKeyName(key.ID()):
		return wire.NotReady(object, "another root issues by now, and the proof is by the key of an earlier one", "try again in a moment", notary.Retry)
	case !key.Proves(q.Proof, exporter, q.User, q.Request):
		return wire.Unauthorized(object, fmt.Sprintf("%s has not shown that it holds wrapping key %s", memberName(n, from), issuing.WrapKey), "see who has its certificate; muster node remove takes it off")
	}
	return nil
}

// reinstate makes a user an administrator, with a certificate for the key of a request, for the owner of a node's
// directory. It refuses where the meta group is led elsewhere.
func (y *authority) reinstate(ctx context.Context, owner raft.NodeID, user string, request []byte) (a wire.ResetAnswer, refusal *wire.Error) {
	made, refusal := y.certify(ctx, notary.Request{By: notary.ByReset, Node: owner, User: user}, request)
	if refusal != nil {
		return a, refusal
	}
	s := &y.node.table.Load().Security
	if u, ok := s.UserNamed(user); ok {
		a.Role = notary.RoleOf(s, &u)
	}
	a.Certificate, a.Roots = made.Certificate, made.Roots
	return a, nil
}
