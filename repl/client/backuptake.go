package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/backup"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// backupRoundsMax bounds how often groups are taken whose slots have moved since they were.
	backupRoundsMax = 30
	// backupRoundPause lies between two rounds: a slot that is sealed is served again soon.
	backupRoundPause = 500 * time.Millisecond
	// backupBegunMax bounds how often one group is begun.
	backupBegunMax = 50
	// backupWriteBytes is how much of a backup is written at once.
	backupWriteBytes = 1 << 20
)

// BackupOptions bound a [TakeBackup], and report its progress.
type BackupOptions struct {
	// Version is that of the build that takes it, for people to read.
	Version string
	// Within bounds how long the next piece may take, retries included; 0, or more than [RetryMax],
	// means RetryMax.
	Within time.Duration
	// Progress, if not nil, is called after each piece, by the goroutine that has called TakeBackup.
	Progress func(BackupProgress)
}

// BackupProgress is how far a [TakeBackup] has come.
type BackupProgress struct {
	Group raft.GroupID // of the last piece
	Bytes int          // of the names and values of that piece
	Keys  uint64       // of all groups that count so far
}

// TakeBackup writes a backup of the whole cluster to w, in the format of package backup: of each group
// all keys and services as they are at one entry of its log, one group after the other, until each slot
// is of one group. It syncs and verifies nothing: that is for the owner of w, and after an error what was
// written is of no use.
//
// An error is one of w, of ctx, or of the cluster; its code is then unavailable where slots move faster
// than groups are taken, or a group is lost again and again, and that of [Backup] otherwise.
func TakeBackup(ctx context.Context, c *Client, w io.Writer, o BackupOptions) (*backup.Manifest, error) {
	buffered := bufio.NewWriterSize(w, backupWriteBytes)
	x, err := backup.NewWriter(buffered)
	if err != nil {
		return nil, err
	}
	k := &backupTaker{client: c, w: x, within: RetryMax, progress: o.Progress, taken: map[raft.GroupID]*backup.Group{}, begun: map[raft.GroupID]uint32{}}
	if o.Within > 0 {
		k.within = min(o.Within, RetryMax)
	}
	t, err := k.table(ctx)
	if err != nil {
		return nil, err
	}
	m := &backup.Manifest{Cluster: t.Cluster, ClusterID: fmt.Sprintf("%016x", t.ClusterID), MadeAt: time.Now().UTC(), Version: o.Version}
	if err := k.all(ctx, t); err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(k.taken)) {
		m.Groups = append(m.Groups, *k.taken[id])
	}
	if err := x.Finish(m); err != nil {
		return nil, err
	}
	return m, buffered.Flush()
}

// backupTaker is one [TakeBackup].
type backupTaker struct {
	client   *Client
	w        *backup.Writer
	within   time.Duration
	progress func(BackupProgress)
	taken    map[raft.GroupID]*backup.Group
	begun    map[raft.GroupID]uint32 // how often
}

// table returns the table as some node has it.
func (k *backupTaker) table(ctx context.Context) (t *shardmap.Table, err error) {
	ctx, cancel := context.WithTimeout(ctx, k.within)
	defer cancel()
	t, _, err = k.client.Table(ctx, "")
	return t, err
}

// all takes the groups that own slots by the table, and again those of which a slot has moved since, until each
// slot is of one.
func (k *backupTaker) all(ctx context.Context, t *shardmap.Table) error {
	due := map[raft.GroupID]bool{}
	for s := range shardmap.Slot(shardmap.Slots) {
		due[t.GroupOf(s)] = true
	}
	for round := 1; ; round++ {
		for _, id := range slices.Sorted(maps.Keys(due)) {
			if err := k.group(ctx, id); err != nil {
				return err
			}
		}
		groups := make([]backup.Group, 0, len(k.taken))
		for _, g := range k.taken {
			groups = append(groups, *g)
		}
		missing, twice := backup.Cover(groups)
		switch {
		case len(missing) == 0 && len(twice) == 0:
			return nil
		case round == backupRoundsMax:
			return unavailable("backup", fmt.Errorf("slots move faster than groups are taken: after %d rounds %d runs of slots are of no group and %d of several; wait until muster job list shows no move, or pause it",
				round, len(missing), len(twice)))
		}
		select {
		case <-time.After(backupRoundPause):
		case <-ctx.Done():
			return ctx.Err()
		}
		var err error
		if t, err = k.table(ctx); err != nil {
			return err
		}
		due = k.again(t, missing, twice)
	}
}

// again returns which groups are taken again: those that own slots which none had, and all that had one which
// another had, too.
func (k *backupTaker) again(t *shardmap.Table, missing, twice []shardmap.SlotRange) map[raft.GroupID]bool {
	due := map[raft.GroupID]bool{}
	for _, r := range missing {
		for s := r.From; s <= r.To; s++ {
			due[t.GroupOf(s)] = true
		}
	}
	for id, g := range k.taken {
		for _, has := range g.Slots {
			if slices.ContainsFunc(twice, func(r shardmap.SlotRange) bool { return r.From <= has[1] && has[0] <= r.To }) {
				due[id] = true
			}
		}
	}
	return due
}

// group takes one group; one that no longer exists has no slots.
func (k *backupTaker) group(ctx context.Context, id raft.GroupID) error {
	delete(k.taken, id)
	if id == 0 {
		return nil // nobody owns these slots yet
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(k.within, func() { cancel(context.DeadlineExceeded) })
	defer late.Stop()
	var g *backup.Group
	for p, err := range Backup(ctx, k.client, id) {
		if err != nil {
			var refusal *wire.Error
			switch typed := errors.As(err, &refusal); {
			case typed && refusal.Code == wire.CodeMoved:
				return nil
			case context.Cause(ctx) == context.DeadlineExceeded && (!typed || refusal.Code == wire.CodeUnavailable):
				return unavailable("backup", fmt.Errorf("no answer within %v: %w", k.within, err))
			}
			return err
		}
		late.Stop() // how long w takes is its own affair
		if p.Number == 0 {
			g = &backup.Group{ID: id, Term: p.At.Term, Index: p.At.Index, Incarnation: p.Incarnation, Attempt: k.begun[id]}
			g.SetSlots(p.Slots)
			if k.begun[id]++; k.begun[id] > backupBegunMax {
				return unavailable("backup", fmt.Errorf("group %s was begun %d times, and lost each time; muster status shows how it is", id, backupBegunMax))
			}
		}
		if err := k.piece(g, p); err != nil {
			return err
		}
		late.Reset(k.within)
	}
	k.taken[id] = g
	return nil
}

// piece writes a piece.
func (k *backupTaker) piece(g *backup.Group, p *wire.BackupPiece) error {
	rows, row, bytes, blocks := shardmap.ReadBackupRows(p.Rows), shardmap.BackupRow{}, g.Bytes, uint64(0)
	for rows.Next(&row) {
		blocks = 1
		g.Add(&row)
	}
	if g.Blocks += blocks; blocks > 0 {
		if err := k.w.Rows(g.ID, g.Attempt, p.Rows); err != nil {
			return err
		}
	}
	if p.Last && (p.Keys != g.Keys || p.Services != g.Services) {
		return fmt.Errorf("back up group %s: %d keys and %d services came, and the node counts %d and %d", g.ID, g.Keys, g.Services, p.Keys, p.Services)
	}
	if k.progress != nil {
		keys := g.Keys
		for _, o := range k.taken {
			keys += o.Keys
		}
		k.progress(BackupProgress{Group: g.ID, Bytes: int(g.Bytes - bytes), Keys: keys})
	}
	return nil
}
