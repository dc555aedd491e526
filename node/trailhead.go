package node

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"muster/node/trail"
	"muster/repl"
	"muster/shardmap"
)

// trailHeads is how this node has the cluster's table remember how far its trail is: what the
// table knows of it can be changed by nobody who has this node's disk alone. All but altered is
// owned by trailing.run.
type trailHeads struct {
	due     time.Time  // when the table is told; zero: there is nothing new
	told    trail.Head // what it knows, as far as this node has told it
	checked trail.Head // what it knew when the chain was last compared with that
	under   bool       // it is being told
	over    chan error // from tell, to run, once each; never closed
	waits   time.Time  // until then an empty directory is not written to; zero: the node is no member yet

	altered atomic.Bool // the chain does not pass through what it knows
}

// grown notes that there are new lines.
func (h *trailHeads) grown(now time.Time, every time.Duration) {
	if h.due.IsZero() {
		h.due = now.Add(every)
	}
}

// holds reports whether the first line must wait: a member's directory that is empty was emptied,
// and what it would number 1 the table may know as another line. As soon as the table says how
// far the trail was, it goes on behind that.
func (t *trailing) holds(now time.Time) bool {
	if t.book.Head().Lines > 0 || t.node.ctx.Err() != nil {
		return false
	}
	if table := t.node.table.Load(); table != nil {
		if known, ok := table.Security.Trail(t.node.self().Node); ok {
			t.rejoin(trail.Head{Lines: known.Lines, Hash: known.Hash})
			return false
		}
	}
	return now.Before(t.heads.waits)
}

// rejoin continues behind a line that the table knows, and this disk does not have.
func (t *trailing) rejoin(known trail.Head) {
	t.node.log.Error("trail is shorter than the cluster knows it", "lines", t.book.Head().Lines, "known", known.Lines)
	t.book.Rejoin(known)
}

// commit has the table told if that is due.
func (t *trailing) commit(now time.Time) {
	h := &t.heads
	if t.book == nil || h.under || h.due.IsZero() || now.Before(h.due) {
		return
	}
	h.due = now.Add(t.node.limits.trailHeads) // in case it can't be told
	table, loop, self := t.node.table.Load(), t.node.running(), t.node.self().Node
	if table == nil || loop == nil || !table.Founded() || table.Level < shardmap.SecurityLevel {
		return
	}
	if _, member := table.Node(self); !member {
		return
	}
	known, ok := table.Security.Trail(self)
	if ok && !t.passes(now, trail.Head{Lines: known.Lines, Hash: known.Hash}) {
		return
	}
	head := t.book.Head() // all of it is synced
	if head == h.told {
		h.due = time.Time{}
		return
	}
	h.under = true
	t.node.ended.Go(func() {
		err := t.tell(loop, &shardmap.NoteTrail{Head: shardmap.TrailHead{Node: self, Lines: head.Lines, Hash: head.Hash, At: now.Unix()}, After: known.Lines})
		t.heads.over <- err
	})
	h.told = head
}

// passes reports whether the chain passes through what the table knows of it. What is newer
// than this disk is rejoined, and that lines are missing is in the trail from then on. What was
// changed here is not told to the table any more: it would take the place of the evidence.
func (t *trailing) passes(now time.Time, known trail.Head) bool {
	h := &t.heads
	if known.Lines > t.book.Head().Lines {
		t.rejoin(known)
		if err := t.book.Append(now, nil); err != nil {
			t.failed(now, err)
			return false
		}
	}
	if known == h.told || known == h.checked {
		return !h.altered.Load()
	}
	has, ok, err := trail.LineAt(t.node.fs, filepath.Join(t.node.cfg.Data, trail.Dir), known.Lines)
	if err != nil {
		t.failed(now, err)
		return false
	}
	h.checked = known
	if !ok || has == known.Hash {
		h.altered.Store(false)
		return true // one that the budget has removed proves nothing
	}
	why := fmt.Sprintf("line %d has another hash than the cluster knows: lines up to it were changed", known.Lines)
	t.node.log.Error("trail was changed", "line", known.Lines, "remedy", "look with muster audit verify; keep the directory trail aside, and start the node without it")
	t.said("trail", "", why)
	h.altered.Store(true)
	return false
}

// tell puts a head of this node's trail into the meta group's log.
func (t *trailing) tell(loop *repl.Loop, note *shardmap.NoteTrail) error {
	ctx, cancel := context.WithTimeout(t.node.ctx, callTimeout)
	defer cancel()
	command, err := shardmap.AppendNoteTrail(nil, note)
	if err != nil {
		return err
	}
	_, err = tellMeta(ctx, t.node, loop, command)
	return err
}

// ended notes what became of telling the table.
func (t *trailing) ended(now time.Time, err error) {
	h := &t.heads
	h.under = false
	switch {
	case err != nil:
		h.told = trail.Head{}
		h.due = now.Add(min(t.node.limits.trailHeads, trailRetry))
		t.node.log.Debug("trail's head not told yet", "err", err)
	case t.book.Head() == h.told:
		h.due = time.Time{}
	default:
		h.due = now.Add(t.node.limits.trailHeads)
	}
}
