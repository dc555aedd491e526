package node

import (
	"errors"
	"io/fs"
	"path/filepath"

	"muster/node/trail"
	"muster/repl"
	"muster/repl/wire"
)

// answerTrail answers with a page of this node's trail.
func answerTrail(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Trail
	if err := q.Read(body); err != nil {
		c.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	// It may wait for the disk.
	c.laterOrBusy(r, func() {
		a, err := c.node.trail.page(&q)
		if err != nil {
			c.refuse(r, wire.Unavailable("trail of node "+c.node.name, err.Error()))
			return
		}
		c.answerNow(r, wire.TypeTrailAnswer, a.Append(nil))
	})
}

// page reads a page of the trail, beside whoever writes it.
func (t *trailing) page(q *wire.Trail) (*wire.TrailAnswer, error) {
	dir := filepath.Join(t.node.cfg.Data, trail.Dir)
	from := trail.Position{File: q.File, Offset: int64(q.Offset)}
	var err error
	if q.Last > 0 {
		from, err = trail.Last(t.node.fs, dir, int(q.Last))
	}
	var p trail.Page
	if err == nil {
		p, err = trail.Read(t.node.fs, dir, from, wire.TrailBytesMax)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // the directory may not be made yet
		return nil, err
	}
	return &wire.TrailAnswer{
		Node: t.node.self().Node, Name: t.node.name,
		File: p.From.File, Offset: uint64(p.From.Offset), NextFile: p.Next.File, NextOffset: uint64(p.Next.Offset),
		Oldest: p.Oldest, More: p.More, Lines: p.Bytes, Synced: t.synced.Load(), Missing: t.missing.Load() + t.lost.Load(),
	}, nil
}
