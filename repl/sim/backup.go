package sim

import (
	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// piecesEvery is how many runs there are for each whose backups have several pieces. A piece may have more bytes than
	// a group of such a run, so nodes bound its rows, to pieceRowsMax or less.
	piecesEvery, pieceRowsMax = 2, 4
	// backupTries bounds the attempts of a backup in such a run: in a group of thousands of keys each is lost before its end,
	// since a node has no room for a piece now and then.
	backupTries = 4
	// backupBursts is how many bursts of operations there are in such a run for each with one more backup.
	backupBursts = 12
)

// backups is what a run has of backups.
type backups struct {
	rows int // most of a piece; 0: as many as a process has
	own  chance
}

// draw decides whether the backups of the run have several pieces. It, and when more of them begin, draw from a chance
// of their own: runs without are as if there were no such thing.
func (x *backups) draw(c *cluster) {
	x.own = chance(c.options.Seed*0xbf58476d1ce4e5b9 + 41)
	if x.own.below(piecesEvery) == 0 && !c.options.Flaws && !c.options.Lose {
		x.rows = 1 + x.own.below(pieceRowsMax)
	}
}

// begin has a client begin one more backup now and then.
func (x *backups) begin(cl *simClient) {
	if x.rows > 0 && x.own.below(backupBursts) == 0 && cl.c.builds.reached(shardmap.RangesLevel) && cl.busy() < openMax {
		cl.beginBackup()
	}
}

// backing is a backup of one group, as `muster backup` takes it: the real core of its stream. Where a
// connection ends, or the node that sends it, another attempt begins, as of another entry.
type backing struct {
	op   *op
	core *client.BackupStream

	tries int // attempts of which a piece came

	// Of the attempt at hand.
	at    raft.LogID
	left  int             // slots of it that had left the group when its first piece came
	keys  map[string]bool // that came
	spans map[shardmap.Slot]int
}

// beginBackup begins a backup of a group, unless the client has one under way.
func (cl *simClient) beginBackup() {
	c := cl.c
	if cl.backing != nil {
		return
	}
	g := c.lives.ownerOfTag(c.tags[c.chance.below(len(c.tags))])
	b := &backing{core: client.NewBackupStream(g)}
	o := &op{client: cl, kind: opBackup, number: c.history.begin(), backing: b, stream: b.core, group: g}
	o.call = client.Call{Owner: o, Target: client.ToGroup, Group: g}
	b.op, cl.backing = o, b
	cl.submit(o)
}

// came takes the pieces that are there, and grants room for more.
func (b *backing) came() {
	for {
		p, _, err := b.core.Next()
		if err != nil && !b.op.doubted {
			b.op.client.c.fail("I9: %s: %v", b.op, err)
		}
		if p == nil {
			break
		}
		b.take(p)
	}
	b.op.grant()
}

// ended takes the end of the stream. Any error may end it: it changes nothing.
func (b *backing) ended(err error) {
	b.core.Finish(err)
	b.op.client.backing = nil
}

// take compares a piece with the model as of the log id that it names: what it has must have been there, as it is, and when
// the last has come nothing may be missing.
func (b *backing) take(p *wire.BackupPiece) {
	o, c := b.op, b.op.client.c
	if o.doubted {
		c.flaws.doubted++
		return
	}
	if p.Number == 0 {
		if len(b.keys) > 0 {
			c.result.Backups.Again++
		}
		if b.tries++; b.tries > backupTries && c.backups.rows > 0 {
			b.core.Finish(nil)
			o.giveUp()
			return
		}
		b.begin(p)
	} else {
		c.result.Backups.Pieces++
	}
	c.users.answered(o)
	c.result.Pages++
	rows, row := shardmap.ReadBackupRows(p.Rows), shardmap.BackupRow{}
	for rows.Next(&row) {
		l := c.lives.ofKey(row.Name)
		span, served := b.spans[l.slot]
		if !served {
			c.fail("I9: %s stands at %s and shows %q of slot %d, which it does not name", o, p.At, row.Name, l.slot)
		}
		if row.Kind != shardmap.KindKey {
			continue
		}
		k := string(row.Name)
		want, ok := l.at(k, span, p.At.Index)
		if b.keys[k] || !ok || !want.there || want.version != row.Version || want.number != valueNumber(row.Value) {
			c.fail("I9: %s stands at %s and shows key %q at version %d of write %d (again: %t); as of there it should be version %d of write %d (there: %v): it shows two moments",
				o, p.At, k, row.Version, valueNumber(row.Value), b.keys[k], want.version, want.number, ok && want.there)
		}
		b.keys[k] = true
	}
	if p.Last {
		b.whole(p)
	}
}

// begin takes the first piece of an attempt: it names the slots that the group served at its log id, all of them.
func (b *backing) begin(p *wire.BackupPiece) {
	o := b.op
	t := o.spoke(p.Group, p.At)
	b.at, b.keys, b.spans = p.At, map[string]bool{}, map[shardmap.Slot]int{}
	o.floor = p.At.Index // another attempt shows no earlier entry
	t.c.lives.each(func(l *slotLife) {
		named := false
		for _, r := range p.Slots {
			named = named || r.Has(l.slot)
		}
		span, served := l.spanAt(p.Group, p.At.Index)
		if named != served {
			t.c.fail("I9: %s stands at %s and names slot %d: %t; the group serves it there: %t, %v", o, p.At, l.slot, named, served, l.spans)
		}
		if served {
			b.spans[l.slot] = o.saw(l, p.Group, p.At)
			if b.spans[l.slot] != span {
				t.c.fail("I9: %s stands in span %d of slot %d, and %d", o, span, l.slot, b.spans[l.slot])
			}
		}
	})
	b.left = b.leftGroup()
}

// leftGroup is how many slots that the backup names have left the group since its log id.
func (b *backing) leftGroup() (n int) {
	b.op.client.c.lives.each(func(l *slotLife) {
		if span, named := b.spans[l.slot]; named && l.spans[span].to != 0 {
			n++
		}
	})
	return n
}

// whole checks that a backup lacks no key that was there.
func (b *backing) whole(p *wire.BackupPiece) {
	c := b.op.client.c
	c.result.Backups.Whole++
	if p.Number > 0 && b.leftGroup() > b.left {
		c.result.Backups.Moved++
	}
	if p.At != b.at || p.Keys != uint64(len(b.keys)) {
		c.fail("I9: %s stands at %s, and before at %s; it has %d keys and says %d", b.op, p.At, b.at, len(b.keys), p.Keys)
	}
	c.lives.each(func(l *slotLife) {
		span, served := b.spans[l.slot]
		if !served {
			return
		}
		for k := range l.keys {
			if want, ok := l.at(k, span, p.At.Index); ok && want.there && !b.keys[k] {
				c.fail("I9: %s stands at %s and lacks key %q, which was there at version %d", b.op, p.At, k, want.version)
			}
		}
	})
}

// backedUp is how many rows a piece has.
func backedUp(p *wire.BackupPiece) (n int) {
	rows, row := shardmap.ReadBackupRows(p.Rows), shardmap.BackupRow{}
	for rows.Next(&row) {
		n++
	}
	return n
}
