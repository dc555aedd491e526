package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/errands"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// backupsWithin bounds how long an answer waits for files to be read, below what a client waits. Files that were not read by
	// then are told as not read; the reading continues, and a later answer has them.
	backupsWithin = 4 * time.Second
	// pruneWithin bounds how long one node is asked for when files are pruned: it reads what it has not read yet.
	pruneWithin = callTimeout
	// pruneLooks is how often a node is asked again that has not read all of its files.
	pruneLooks = 120
)

// takeBackups tells of the backups of this node, and removes some.
func takeBackups(c *connection, h wire.Header, r repl.Reply, body []byte) {
	q := new(wire.Backups)
	if !readRequest(c, h, r, body, q) {
		return
	}
	if c.standing == wire.SenderMember && byMember(c, r) == nil {
		return
	}
	_, table := c.ready(r)
	if table == nil {
		return
	}
	// It waits for the disk.
	c.laterOrBusy(r, func() {
		a, err := c.node.errands.shelved(c.node.ctx, table.Cluster, q)
		if len(q.Remove) > 0 {
			e := (*wire.Error)(nil)
			if err != nil {
				e = unreadable(c.node, err)
			}
			c.node.trail.done(c, wire.TypeBackups, fmt.Sprintf("remove %d files", len(q.Remove)), 0, e)
		}
		if err != nil {
			c.refuse(r, unreadable(c.node, err))
			return
		}
		c.answerNow(r, wire.TypeBackupsAnswer, a.Append(nil))
	})
}

// unreadable refuses to tell of backups whose directory can't be used. Asking again does not help: a person has to
// see to it first.
func unreadable(n *Node, err error) *wire.Error {
	return wire.BadRequest("backups of node "+n.name, err.Error(), "see to "+n.shelf.dir+" on its host, or have it name another directory with serve --backup-dir")
}

// shelved is what this node answers to a [wire.Backups].
func (e *errandRunner) shelved(ctx context.Context, cluster string, q *wire.Backups) (*wire.BackupsAnswer, error) {
	n := e.node
	a := &wire.BackupsAnswer{Node: n.self().Node, Name: n.name, Dir: n.shelf.dir}
	if len(q.Remove) > 0 {
		if err := n.shelf.remove(cluster, q.Remove); err != nil {
			return nil, err
		}
		n.log.Info("backups removed", "files", len(q.Remove))
	}
	ctx, cancel := context.WithTimeout(ctx, backupsWithin)
	defer cancel()
	var err error
	a.Files, err = n.shelf.list(ctx, cluster, q)
	return a, err
}

// askBackups asks a server for its backups, this node too.
func (e *errandRunner) askBackups(ctx context.Context, t *shardmap.Table, to raft.NodeID, q *wire.Backups) (*wire.BackupsAnswer, error) {
	n := e.node
	if to == n.self().Node {
		return e.shelved(ctx, t.Cluster, q)
	}
	a := new(wire.BackupsAnswer)
	err := n.caller.call(ctx, to, n.addrOf(to), wire.RolePeer, wire.TypeBackups, q, a)
	return a, err
}

// pruneBackups removes the files that are one too many: on all servers together so many whole ones stay. A server that
// does not answer keeps what it has, and what it has does not count.
func (e *errandRunner) pruneBackups(keep int) {
	n := e.node
	t := n.table.Load()
	if t == nil {
		return
	}
	now := e.wall().Unix()
	var files []errands.File
	for i := range t.Nodes {
		o := &t.Nodes[i]
		if o.Role != shardmap.NodeServer {
			continue
		}
		a, err := e.lookAtBackups(t, o.ID, wire.Backups{})
		if err != nil {
			n.log.Info("backups of a node not pruned", "node", o.Name, "err", err)
			continue
		}
		files = append(files, FilesOf(a)...)
	}
	gone := map[raft.NodeID][]string{}
	again := func(f errands.File) errands.FileState {
		a, err := e.lookAtBackups(t, f.Node, wire.Backups{Verify: true, Only: []string{f.Name}})
		if err != nil {
			n.log.Info("backup not read again", "node", f.Node, "file", f.Name, "err", err)
			return errands.FileUnknown
		}
		return StateOf(a, f.Name)
	}
	for _, f := range errands.Prunable(files, keep, now, again) {
		gone[f.Node] = append(gone[f.Node], f.Name)
	}
	for to, names := range gone {
		for some := range slices.Chunk(names, wire.BackupFilesMax) {
			ctx, cancel := context.WithTimeout(n.ctx, pruneWithin)
			_, err := e.askBackups(ctx, t, to, &wire.Backups{Remove: some})
			cancel()
			if err != nil && n.ctx.Err() == nil {
				n.log.Warn("backups not removed", "node", to, "files", len(some), "err", err)
			}
		}
	}
}

// lookAtBackups asks a server for its backups until it has read all that it was asked for.
func (e *errandRunner) lookAtBackups(t *shardmap.Table, to raft.NodeID, q wire.Backups) (a *wire.BackupsAnswer, err error) {
	n := e.node
	for range pruneLooks {
		ctx, cancel := context.WithTimeout(n.ctx, pruneWithin)
		a, err = e.askBackups(ctx, t, to, &q)
		cancel()
		q.Verify = false // the node reads on by itself
		unread := err == nil && slices.ContainsFunc(a.Files, func(f wire.BackupFile) bool { return f.State == wire.BackupUnread })
		if err != nil || !unread {
			return a, err
		}
	}
	return a, nil
}

// FilesOf is what a node has answered, as [errands.Prunable] takes it.
func FilesOf(a *wire.BackupsAnswer) (files []errands.File) {
	states := map[wire.BackupState]errands.FileState{wire.BackupWhole: errands.FileWhole, wire.BackupDamaged: errands.FileDamaged, wire.BackupTorn: errands.FileTorn}
	for i := range a.Files {
		f := &a.Files[i]
		files = append(files, errands.File{Node: a.Node, Name: f.Name, State: states[f.State], Changed: int64(f.Made)})
	}
	return files
}

// StateOf is what a node has answered of one of its files; [errands.FileUnknown] if it has none of that name.
func StateOf(a *wire.BackupsAnswer, name string) errands.FileState {
	for _, f := range FilesOf(a) {
		if f.Name == name {
			return f.State
		}
	}
	return errands.FileUnknown
}
