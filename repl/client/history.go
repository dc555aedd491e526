package client

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Version is a version that a key has or had.
type Version struct {
	Version uint64
	Value   []byte // nil if Deleted or Expired

	Deleted bool // a command deleted the key, or revoked its lease
	Expired bool // the key's time was over, or that of its lease

	// How the version came about. All of it is zero if the cluster does not know, as of a version from
	// before the key had a rule.
	Group raft.GroupID
	ID    raft.LogID // of the command, in the log of Group
	// By is the user who sent the command, or, if that user is gone, its number. It is empty where
	// nobody in particular did, as without security, and where time did it.
	By string
	// At is when a node admitted the command, by its clock. Of a version that Expired it is when that
	// was, as reckoned by the node that answers.
	At time.Time

	// Kept and KeptFor are the rule for the key now: how many versions are kept, the newest among them,
	// and for how long after they were replaced. Kept is 0 if there is no rule.
	Kept    int
	KeptFor time.Duration
}

// HistoryOptions say which versions of a key are read, and how fresh the answer must be. The zero value
// reads all, linearizable.
type HistoryOptions struct {
	Before uint64 // only versions that are older than this; 0: all
	Limit  int    // at most so many; 0: all
	// Local and Follower are as in [ReadOptions]; at most one of them.
	Local, Follower bool
}

// History returns the versions that the cluster has of a key, the newest first. Those of a deleted key
// remain for as long as its rule keeps them. A key that never had a rule (setting history) has its
// current version alone; an absent one has none.
//
// Each page is of one moment; versions that are made while the caller takes more are newer than those that
// it gets. Slots that move meanwhile are found where they went. An error ends it; its code is level in a
// cluster below level 9.
func History(ctx context.Context, c *Client, key []byte, o HistoryOptions) iter.Seq2[Version, error] {
	return func(yield func(Version, error) bool) {
		if err := o.check(key); err != nil {
			yield(Version{}, fmt.Errorf("history: %w", err))
			return
		}
		h := historyPager{client: c, ctx: ctx, key: key, options: o}
		if err := h.run(yield); err != nil {
			yield(Version{}, fmt.Errorf("history of %s: %w", shardmap.ShowKey(key), err))
		}
	}
}

// check refuses what no history can be of.
func (o *HistoryOptions) check(key []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	switch {
	case o.Limit < 0:
		return wire.BadRequest("history", fmt.Sprintf("limit %d", o.Limit), "give 0 for all versions, or more")
	case o.Local && o.Follower:
		return wire.BadRequest("read", "more than one of local and follower", "give one of them")
	}
	return nil
}

// historyPager gives out versions of a key.
type historyPager struct {
	client  *Client
	ctx     context.Context
	key     []byte
	options HistoryOptions
}

// run calls yield for each version, until it returns false.
func (h *historyPager) run(yield func(Version, error) bool) error {
	if err := h.client.needLevel(h.ctx, "histories of keys", shardmap.RangesLevel); err != nil {
		return err
	}
	for before, left := h.options.Before, h.options.Limit; ; {
		a, err := h.page(before, left)
		if err != nil {
			return err
		}
		for i := range a.Rows {
			v := versionOf(&a.Rows[i])
			v.Kept, v.KeptFor = int(a.Versions), time.Duration(a.Age)*time.Second
			if before != 0 && v.Version >= before {
				return fmt.Errorf("the node answers with version %d after version %d", v.Version, before)
			}
			before = v.Version
			if !yield(v, nil) {
				return nil
			}
		}
		if !a.More || len(a.Rows) == 0 {
			return nil
		}
		if h.options.Limit > 0 {
			if left -= len(a.Rows); left <= 0 {
				return nil
			}
		}
	}
}

// page asks the group of the key for versions; left is how many are wanted at most, 0: all.
func (h *historyPager) page(before uint64, left int) (a wire.HistoryAnswer, err error) {
	slot := shardmap.SlotOf(h.key)
	return a, new(replans).run(h.ctx, h.client, func(r *Routes) error {
		group := r.Group[slot]
		if group == 0 {
			return unownedSlot(slot, r)
		}
		q := wire.History{Group: group, Key: h.key, Before: before, Limit: uint32(min(left, wire.HistoryRowsMax))}
		x := newCall(wire.TypeHistory)
		defer x.release()
		x.Target, x.Group, x.Slot, x.Needs, x.Deadline = ToGroup, group, slot, shardmap.RangesLevel, h.client.deadlineOf(h.ctx)
		switch {
		case h.options.Local:
			q.Mode, x.Target, x.Peer = wire.ReadLocal, ToPeer, 0
		case h.options.Follower:
			q.Mode, x.AnyReplica = wire.ReadFollower, true
		}
		x.body = q.Append(x.body[:0])
		if err := h.client.do(h.ctx, x); err != nil {
			return err
		}
		// The answer's memory is used again once x is released, and values alias it.
		if err := a.Read(bytes.Clone(x.answer)); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		return nil
	})
}

func versionOf(row *wire.HistoryRow) Version {
	v := Version{
		Version: row.Version, Value: row.Value, Group: row.Group, ID: row.ID, By: row.User,
		Deleted: row.How == shardmap.VersionDeleted, Expired: row.How == shardmap.VersionExpired,
	}
	if row.User == "" && row.Principal != 0 {
		v.By = fmt.Sprint(row.Principal)
	}
	if row.AtMs != 0 {
		v.At = time.UnixMilli(int64(row.AtMs)).UTC()
	}
	return v
}
