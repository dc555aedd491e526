package node

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// A node learns what the cluster is from its own replica of the meta group. If that was
// removed or replaced, or lags far behind, the node knows nothing of the members of
// today, and they nothing of it: it turns away those that would feed it, because it has
// never heard of them. So when something suggests that others know more, it asks one of
// them for its table, as a client does: whoever answers has proven in its hello to know
// the cluster's secret, where a refusal has proven nothing. Where members go by
// certificates it has, since who was dialled is known before a word is said. What one
// of them says is not enough: see hearsay.go.

const (
	// inquiriesMax bounds the questions that wait. What is dropped comes up again: whoever
	// speaks to this node does so until it is understood.
	inquiriesMax = 16
	// missedMax bounds the replicas that are remembered as missed.
	missedMax = 1024
	// inquiryPause lies between two questions: what suggests them is said by strangers.
	inquiryPause = 100 * time.Millisecond
	// confirmPause lies between two rounds in which members are asked whether they say the same.
	confirmPause = 500 * time.Millisecond
)

// inquiry asks others for their table.
type inquiry struct {
	// Set once.
	node   *Node
	wanted chan suspicion // from many, to run; never closed

	heard hearsay // what others have said

	// Owned by run.
	round int // of members that were asked to confirm something

	// Owned by the loop.
	missed map[logstore.Replica]bool // that others have spoken to, and that were not here
}

// suspicion is that a node, at an address, knows more of the cluster than this one.
type suspicion struct {
	node raft.NodeID
	addr string
	why  string
}

// raise has a node asked, unless too many are to be asked already. It does not wait.
func (q *inquiry) raise(s suspicion) {
	if s.addr == "" {
		return
	}
	select {
	case q.wanted <- s:
	default:
	}
}

// stranger has a node asked that says hello as a peer, and is none here.
func (q *inquiry) stranger(h *wire.Hello) {
	if n := q.node; n.running() != nil && h.ClusterID == n.self().ClusterID {
		q.raise(suspicion{h.Node, h.Advertise, "it says hello, and is not on this node's list"})
	}
}

// run asks, until ctx ends.
func (q *inquiry) run(ctx context.Context) {
	confirm := time.NewTicker(confirmPause)
	defer confirm.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-q.wanted:
			q.learn(ctx, s)
		case <-confirm.C:
			q.confirm(ctx)
			continue // the ticker is pause enough
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(inquiryPause):
		}
	}
}

// learn asks one node.
func (q *inquiry) learn(ctx context.Context, s suspicion) {
	if err := q.ask(ctx, s); err != nil {
		q.node.log.Debug("table not learnt", "from", s.node, "addr", s.addr, "because", s.why, "err", err)
	}
}

// confirm asks those who have given a newer table, and some other members, all at one moment, because
// tables of different moments are not the same.
func (q *inquiry) confirm(ctx context.Context) {
	n := q.node
	if t := n.known(); t != nil {
		q.heard.settled(t.Index)
	}
	ask := q.heard.open()
	if len(ask) == 0 {
		return
	}
	ask = ask[max(0, len(ask)-confirmersMax):]
	others := q.others()
	for i := range min(len(others), confirmersMax) {
		m := others[(q.round+i)%len(others)]
		if addr := n.addrOf(m.Node); addr != "" && !slices.ContainsFunc(ask, func(s suspicion) bool { return s.node == m.Node }) {
			ask = append(ask, suspicion{m.Node, addr, "it is to confirm what another one says"})
		}
	}
	q.round += confirmersMax
	var asked sync.WaitGroup
	for _, s := range ask {
		asked.Go(func() { q.learn(ctx, s) })
	}
	asked.Wait()
}

// others are the members beside this node, by the newest table that counts here.
func (q *inquiry) others() []logstore.IdentityMember {
	id := q.node.self()
	all := members(&id, q.node.known())
	return slices.DeleteFunc(slices.Clone(all), func(m logstore.IdentityMember) bool { return m.Node == id.Node })
}

// peers are all that may be peers of this node: the members, and those who have introduced themselves.
func (q *inquiry) peers() []logstore.IdentityMember {
	id := q.node.self()
	t := q.node.known()
	return q.heard.peers(members(&id, t), t)
}

// ask asks one node for its table, and follows that if it is newer and others say the same.
func (q *inquiry) ask(ctx context.Context, s suspicion) error {
	n := q.node
	if now := n.known(); now != nil && now.WasRemoved(s.node) {
		return fmt.Errorf("node %s was removed: its word counts no longer", s.node)
	}
	var a wire.TableAnswer
	if err := n.caller.call(ctx, s.node, s.addr, wire.RoleClient, wire.TypeTable, new(wire.Empty), &a); err != nil {
		return err
	}
	if now := n.known(); now != nil && a.Index <= now.Index {
		return nil
	}
	t, err := shardmap.ReadTable(a.State)
	if err != nil {
		return err
	}
	id := n.self()
	if t.ClusterID != id.ClusterID || t.Index != a.Index {
		return fmt.Errorf("it is of cluster id %016x and index %d; want %016x and %d", t.ClusterID, t.Index, id.ClusterID, a.Index)
	}
	if !n.guard.follows(t) {
		return wire.Unauthorized("table of node "+s.node.String(), fmt.Sprintf("its cluster is in mode %s of TLS, where this node never goes back to", t.Security.Mode), "see what runs at "+s.addr)
	}
	q.told(s, t, sha256.Sum256(a.State))
	return nil
}

// told takes the table that a node has given, which is newer than what is known here.
func (q *inquiry) told(s suspicion, t *shardmap.Table, sum [sha256.Size]byte) {
	n := q.node
	if t.WasRemoved(n.self().Node) {
		q.saidRemoved(s.node, fmt.Sprintf("cluster %q, by the table of node %s, of index %d", t.Cluster, s.node, t.Index))
	}
	if !q.heard.table(tableWord{s.node, s.addr, t.Index, sum}, len(q.others()), time.Now()) {
		q.introduced(s, t)
		return
	}
	n.log.Info("table learnt of other nodes: it is newer than this node's own", "from", s.node, "because", s.why, "index", t.Index)
	n.running().Post(func(*repl.Host) {
		n.heard.Store(t)
		n.follow(t)
	})
}

// introduced takes the node that has given a table for a peer, if that is what the table says of it and this
// node knows nothing else of it.
func (q *inquiry) introduced(s suspicion, t *shardmap.Table) {
	n := q.node
	row, lists := t.Node(s.node)
	_, listed := t.Node(n.self().Node)
	known := n.known()
	if !lists || !listed || known != nil && known.WasRemoved(s.node) ||
		slices.ContainsFunc(q.others(), func(m logstore.IdentityMember) bool { return m.Node == s.node }) {
		return
	}
	pin, _ := t.Security.Pin(s.node)
	if !q.heard.introduce(s.node, introduction{row.Addr, trust.KeyID(pin.Key)}) {
		return
	}
	n.log.Info("node taken for a peer by its own word: the table here does not name it", "peer", s.node, "addr", row.Addr, "because", s.why)
	n.running().Post(func(*repl.Host) { n.follow(n.known()) })
}

// saidRemoved takes a member's word that this node was removed.
func (q *inquiry) saidRemoved(from raft.NodeID, why string) {
	n := q.node
	if q.heard.leaves(from, len(q.others())) {
		q.ends(wire.Removed(n.self().Node, why))
		return
	}
	n.notices.waits(slog.LevelWarn, "removal", from.String(), "it says that this node was removed; another member is to confirm it")
}

// known returns the newest table that this node knows: its own, or one that it learnt of
// another node; nil if there is none.
func (n *Node) known() *shardmap.Table {
	own, heard := n.table.Load(), n.heard.Load()
	if own == nil || heard != nil && heard.Index > own.Index {
		return heard
	}
	return own
}

// unmade is told that another node speaks to a replica that is not here; by the loop, once
// a second for as long as that lasts. Mostly the table that names the replica is on its
// way, and comes before the second time.
func (q *inquiry) unmade(from raft.NodeID, r logstore.Replica) {
	if !q.missed[r] {
		if len(q.missed) >= missedMax {
			clear(q.missed)
		}
		q.missed[r] = true
		return
	}
	q.raise(suspicion{from, q.node.addrOf(from), fmt.Sprintf("it speaks to replica %d of group %d, which is not here", r.ID, r.Group)})
}

// bugRemovedLetIn is planted to show that its test finds it: a node that was removed is
// still taken for a peer.
const bugRemovedLetIn = "removed node let in"

// turnedAway is why a node that says hello as a peer is none, or nil. known are those that
// are peers.
func (n *Node) turnedAway(h *wire.Hello, known []logstore.IdentityMember) *wire.Error {
	t := n.known()
	if t != nil && t.WasRemoved(h.Node) && !bug(bugRemovedLetIn) {
		return wire.Removed(h.Node, fmt.Sprintf("cluster %q, at table index %d", t.Cluster, t.Index))
	}
	if slices.ContainsFunc(known, func(m logstore.IdentityMember) bool { return m.Node == h.Node }) || t != nil && t.WasRemoved(h.Node) {
		return nil
	}
	// It may have joined since, and this node have missed that.
	n.inquiry.stranger(h)
	return wire.UnknownNode(h.Node, fmt.Sprintf("it is not on the peer list of node %s", n.name),
		"if it is a member, wait a moment; if not, start it with an empty data directory and --standby, and add it with muster node add")
}

// dialled takes what came of dialling a member as a peer.
func (n *Node) dialled(id raft.NodeID, addr string, err error) {
	if e, ok := refusalIn(err); ok && e.Code == wire.CodeRemoved {
		if n.guard.speech() == speaksOnly {
			n.inquiry.saidRemoved(id, e.State) // it has shown whose certificate it has
			return
		}
		n.inquiry.raise(suspicion{id, addr, "it says that this node was removed"})
	}
}

// leave ends this node if a table says that it was removed.
func (n *Node) leave(t *shardmap.Table) {
	id := n.self().Node
	if t.WasRemoved(id) {
		n.inquiry.ends(wire.Removed(id, fmt.Sprintf("cluster %q, by its table of index %d", t.Cluster, t.Index)))
	}
}

// ends has the node end, because it was removed.
func (q *inquiry) ends(why *wire.Error) {
	select {
	case q.node.removed <- why:
	default: // it ends already
	}
}

// noteRemoved notes that this node was removed, so that it does not start again.
func (n *Node) noteRemoved() error {
	_, err := logstore.ChangeIdentity(n.store, func(id *logstore.Identity) { id.Stage = logstore.StageRemoved })
	return err
}
