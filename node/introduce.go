package node

import (
	"fmt"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/shardmap"
)

const (
	// announcePauseMin and announcePauseMax bound the pause between two
	// attempts to announce this node; it doubles from the one to the other.
	announcePauseMin = 10 * time.Millisecond
	announcePauseMax = 500 * time.Millisecond
	// announceQuiet is how long it may take without a word: an election that
	// is lost, and another. That somebody is not ready then is no news.
	announceQuiet = 3 * time.Second
	// readyQuiet is the same until every group here has a leader.
	readyQuiet = 10 * time.Second
	// nameMark is how many digits of its id a node puts behind its name if
	// another one has the same.
	nameMark = 4
)

// announceSelf founds the table, if this node leads group 0 and there is none,
// and tells the meta group what this node is, until the table says so. Then it
// says that the node is ready, and announces it anew only if it must have
// another name.
func (n *Node) announceSelf() {
	defer n.ended.Done()
	if !n.announce() || !n.awaitReady() {
		return
	}
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.tables:
		}
		if t := n.table.Load(); n.nameIn(t) != nameOf(t, n.self().Node) && !n.announce() {
			return
		}
	}
}

// announce reports whether the table has this node as it is; false: the node
// ends.
func (n *Node) announce() bool {
	began, said, pause := time.Now(), "", announcePauseMin
	for !n.announced() {
		err := n.announceOnce(n.ctx)
		if err != nil && err.Error() != said && time.Since(began) > announceQuiet {
			said = err.Error()
			n.log.Info("not announced yet", "err", err)
		}
		if n.announced() {
			break
		}
		select {
		case <-n.ctx.Done():
			return false
		case <-n.tables: // perhaps with this node in it
		case <-time.After(pause):
			pause = min(2*pause, announcePauseMax)
		}
	}
	n.log.Info("node announced", "name", nameOf(n.table.Load(), n.self().Node), "addr", n.addr)
	return true
}

// announced reports whether the table has this node as it is.
func (n *Node) announced() bool {
	t := n.table.Load()
	if t == nil {
		return false
	}
	id := n.self()
	row, ok := t.Node(id.Node)
	return ok && row.Start == id.Life().Number && row.Addr == n.addr && row.Name == n.nameIn(t) && row.Version == Version
}

// awaitReady says once that this node serves: each group that it has a replica
// of has a leader. False: the node ends first.
func (n *Node) awaitReady() bool {
	began, pause, told := time.Now(), announcePauseMin, false
	for {
		waits, ok := n.leaderless()
		if !ok {
			return false
		}
		t := n.table.Load()
		if len(waits) == 0 {
			n.log.Info("node ready", "cluster", t.Cluster, "cluster_id", fmt.Sprintf("%016x", t.ClusterID), "addr", n.addr, "nodes", len(t.Nodes), "groups", len(t.Groups))
			return true
		}
		if !told && time.Since(began) > readyQuiet {
			told = true
			n.log.Warn("not ready yet: "+named(waits, "has", "have")+" no leader", "remedy", "see with muster status which nodes are missing")
		}
		select {
		case <-n.ctx.Done():
			return false
		case <-time.After(pause):
			pause = min(2*pause, announcePauseMax)
		}
	}
}

// leaderless lists the groups that this node has a replica of, by the table, and
// that it knows no leader of. A replica that is damaged or has stopped waits for
// none. Not ok: the node ends.
func (n *Node) leaderless() (waits []raft.GroupID, ok bool) {
	led := make(map[raft.GroupID]bool)
	if !n.running().Ask(func(h *repl.Host) {
		for _, v := range h.View() {
			led[v.Replica.Group] = v.Down() || v.Stopped != "" || leader(&v) != 0
		}
	}) {
		return nil, false
	}
	self, t := n.self().Node, n.table.Load()
	for i := range t.Groups {
		g := &t.Groups[i]
		for _, r := range g.Replicas {
			if r.Node == self && !led[g.ID] {
				waits = append(waits, g.ID)
			}
		}
	}
	return waits, true
}

// nameIn is what this node is to be called in t. Hosts may have one host name,
// as copies of one image have: a node that was given no name of its own then
// puts a piece of its id behind it, and keeps that for as long as the table has
// it, so that a name does not change with who is started first.
func (n *Node) nameIn(t *shardmap.Table) string {
	if n.cfg.Name != "" || t == nil {
		return n.name
	}
	self := n.self().Node
	mark := "-" + self.String()[:nameMark]
	distinct := n.name[:min(len(n.name), nameMax-len(mark))] + mark
	for i := range t.Nodes {
		switch row := &t.Nodes[i]; {
		case row.ID == self && row.Name == distinct, row.ID != self && row.Name == n.name:
			return distinct
		}
	}
	return n.name
}

// nameOf is what t calls a node, or "".
func nameOf(t *shardmap.Table, id raft.NodeID) string {
	if row, ok := t.Node(id); ok {
		return row.Name
	}
	return ""
}
