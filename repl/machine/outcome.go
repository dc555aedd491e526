package machine

import (
	"fmt"

	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points/shard"
)

// appendDetailed appends the answer to a command whose result has a detail: a transaction, a
// command about a lease, a delete of a prefix, points, or a delete of points. A detail that can't be read breaks an invariant of shardmap.
func appendDetailed(out []byte, c *shardmap.Command, r *shardmap.Result) (wire.Type, []byte, error) {
	if r.Status != shardmap.StatusApplied {
		e, err := obstacle(c, r)
		if err != nil {
			return 0, out, err
		}
		return wire.TypeError, e.Append(out), nil
	}
	switch c.Kind {
	case shardmap.CommandDelPrefix:
		a := wire.DelPrefixAnswer{Group: r.Group, ID: r.ID, Version: r.Version}
		if err := a.SetDetail(r.Detail); err != nil {
			return 0, out, brokenDetail(c, err)
		}
		return wire.TypeDelPrefixAnswer, a.Append(out), nil
	case shardmap.CommandPoints:
		a := wire.PointsAnswer{Group: r.Group, ID: r.ID}
		if err := a.SetDetail(r.Detail); err != nil {
			return 0, out, brokenDetail(c, err)
		}
		return wire.TypePointsAnswer, a.Append(out), nil
	case shardmap.CommandPointsDelete:
		a := wire.PointsDeleteAnswer{Group: r.Group, ID: r.ID}
		if err := a.SetDetail(r.Detail); err != nil {
			return 0, out, brokenDetail(c, err)
		}
		return wire.TypePointsDeleteAnswer, a.Append(out), nil
	case shardmap.CommandLease:
		a := wire.LeaseAnswer{Group: r.Group, ID: r.ID}
		if err := a.SetDetail(r.Detail); err != nil {
			return 0, out, brokenDetail(c, err)
		}
		return wire.TypeLeaseAnswer, a.Append(out), nil
	}
	a := wire.TxnAnswer{Group: r.Group, ID: r.ID, Version: r.Version}
	if err := a.SetDetail(r.Detail); err != nil {
		return 0, out, brokenDetail(c, err)
	}
	return wire.TypeTxnAnswer, a.Append(out), nil
}

// detailed reports whether the answer to a command is made from the detail of its result.
func detailed(c *shardmap.Command, s shardmap.Status) bool {
	switch s {
	case shardmap.StatusApplied:
		switch c.Kind {
		case shardmap.CommandTxn, shardmap.CommandLease, shardmap.CommandDelPrefix, shardmap.CommandPoints, shardmap.CommandPointsDelete:
			return true
		}
		return false
	case shardmap.StatusNotNumber, shardmap.StatusOverflow, shardmap.StatusReadTooLarge, shardmap.StatusNoLease,
		shardmap.StatusServiceMasked, shardmap.StatusNoShard, shardmap.StatusNotRaised, shardmap.StatusForgotten,
		shardmap.StatusManyDeletes:
		return true
	}
	return false
}

// obstacle returns the error that answers a command which was refused and changed nothing.
func obstacle(c *shardmap.Command, r *shardmap.Result) (*wire.Error, error) {
	switch r.Status {
	case shardmap.StatusServiceMasked:
		return masked(c, r)
	case shardmap.StatusNoShard:
		return noWindow(c)
	case shardmap.StatusForgotten:
		return wire.BadRequest("points", "they waited for longer than deletes are remembered", "look at them, and write those that are still wanted"), nil
	case shardmap.StatusManyDeletes:
		return wire.Busy(fmt.Sprintf("points of group %d", r.Group), fmt.Sprintf("a shard has %d deletes, or %d bytes of them, since its last seal, which are the most; nothing was deleted", shard.TombstonesMax, shard.TombstonesBytesMax), deletesRetry), nil
	case shardmap.StatusNotRaised:
		return wire.NotReady(fmt.Sprintf("group %d", r.Group), fmt.Sprintf("its log does not say yet that the cluster is at level %d", c.Kind.Row().Level), "try again", wire.BusyRetry), nil
	case shardmap.StatusNoLease:
		id, _, err := shardmap.ReadLeaseDetail(r)
		if err != nil {
			return nil, brokenDetail(c, err)
		}
		return wire.NotFound("lease "+id.String(), fmt.Sprintf("slot %d has no lease of that id, or no longer, or it is another user's", id.Slot()),
			"grant another; the keys of one that has ended are gone"), nil
	}
	key, found, err := shardmap.ReadRefusal(r.Detail)
	if err != nil {
		return nil, brokenDetail(c, err)
	}
	object := "key " + shardmap.ShowKey(key)
	switch r.Status {
	case shardmap.StatusNotNumber:
		return wire.NotNumber(object, "its value begins with "+shardmap.ShowKey(found)), nil
	case shardmap.StatusOverflow:
		return wire.Overflow(object, "it is at "+string(found)), nil
	}
	return wire.TooLarge(object, fmt.Sprintf("with its value the transaction reads more than %d bytes", shardmap.TxnReadMax),
		"read it with a get, or in a transaction of its own"), nil
}

func brokenDetail(c *shardmap.Command, err error) error {
	return fmt.Errorf("%w: the detail of a %s: %w", shardmap.ErrInvariant, c.Kind, err)
}
