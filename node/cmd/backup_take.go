package cmd

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
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// roundsMax bounds how often groups are taken whose slots have moved since they were.
	roundsMax = 30
	// roundPause lies between two rounds: a slot that is sealed is served again soon.
	roundPause = 500 * time.Millisecond
	// attemptsMax bounds how often one group is begun.
	attemptsMax = 50
)

// taker takes a backup: one group after the other, until each slot is of one of them.
type taker struct {
	*errand
	w        *backup.Writer
	progress transfer
	taken    map[raft.GroupID]*backup.Group
	attempts map[raft.GroupID]uint32 // that were begun
}

// take writes a backup into the file, verifies it and gives it its name.
func (b *backupFile) take(ctx context.Context, s *errand) (*backup.Manifest, error) {
	if _, err := takeInto(ctx, s, b.f); err != nil {
		return nil, fmt.Errorf("%w; %s was not written", err, b.name)
	}
	return b.settle()
}

// takeInto writes a backup to out.
func takeInto(ctx context.Context, s *errand, out io.Writer) (*backup.Manifest, error) {
	buffered := bufio.NewWriterSize(out, backupReadBytes)
	w, err := backup.NewWriter(buffered)
	if err != nil {
		return nil, err
	}
	k := &taker{errand: s, w: w, taken: map[raft.GroupID]*backup.Group{}, attempts: map[raft.GroupID]uint32{}}
	k.progress = transfer{meter: meter{console: s.console}, what: "backup of"}
	defer k.progress.end()
	table, err := k.table(ctx)
	if err != nil {
		return nil, err
	}
	m := newManifest(table)
	if err := k.all(ctx, table); err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(k.taken)) {
		m.Groups = append(m.Groups, *k.taken[id])
	}
	if err := w.Finish(m); err != nil {
		return nil, err
	}
	return m, buffered.Flush()
}

// table returns the table as some node has it.
func (k *taker) table(ctx context.Context) (t *shardmap.Table, err error) {
	err = k.with(ctx, func(ctx context.Context) error {
		t, _, err = k.client.Table(ctx, "")
		return err
	})
	return t, err
}

// all takes the groups that own slots by the table, and again those of which a slot has moved since, until each
// slot is of one.
func (k *taker) all(ctx context.Context, t *shardmap.Table) error {
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
		case round == roundsMax:
			return withStatus(exitNoResult, "slots move faster than groups are taken: after %d rounds %d runs of slots are of no group and %d of several; wait until muster job list shows no move, or pause it",
				round, len(missing), len(twice))
		}
		select {
		case <-time.After(roundPause):
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
func (k *taker) again(t *shardmap.Table, missing, twice []shardmap.SlotRange) map[raft.GroupID]bool {
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

// group takes one group; one that is there no more has no slots.
func (k *taker) group(ctx context.Context, id raft.GroupID) error {
	delete(k.taken, id)
	if id == 0 {
		return nil // nobody owns these slots yet
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(k.timeout, func() { cancel(context.DeadlineExceeded) })
	defer late.Stop()
	var g *backup.Group
	for p, err := range client.Backup(ctx, k.client, id) {
		if err != nil {
			if cause := context.Cause(ctx); cause == context.DeadlineExceeded && statusOf(err) == exitNoResult {
				return withStatus(exitNoResult, "no answer within %v: %w", k.timeout, err)
			}
			if errors.Is(err, &wire.Error{Code: wire.CodeMoved}) {
				return nil
			}
			return err
		}
		late.Stop() // how long our disk takes is its own affair
		if p.Number == 0 {
			g = &backup.Group{ID: id, Term: p.At.Term, Index: p.At.Index, Incarnation: p.Incarnation, Attempt: k.attempts[id]}
			g.SetSlots(p.Slots)
			if k.attempts[id]++; k.attempts[id] > attemptsMax {
				return withStatus(exitNoResult, "back up group %d: begun %d times, and lost each time; muster status shows how it is", id, attemptsMax)
			}
		}
		if err := k.piece(g, p); err != nil {
			return err
		}
		late.Reset(k.timeout)
	}
	k.taken[id] = g
	return nil
}

// piece writes a piece.
func (k *taker) piece(g *backup.Group, p *wire.BackupPiece) error {
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
		return fmt.Errorf("back up group %d: %d keys and %d services came, the node says that there are %d and %d", g.ID, g.Keys, g.Services, p.Keys, p.Services)
	}
	k.progress.moved(int(g.Bytes-bytes), g.ID)
	return nil
}
