package machine

import (
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// slotViewLevel is that of the clusters in which slots move.
const slotViewLevel = 4

// slotView takes the question what a group has of some slots. Below the level at which
// slots move there is nothing to tell.
func (q *Requests) slotView(h wire.Header, body []byte, r repl.Reply, table *shardmap.Table) {
	var v wire.SlotView
	if err := v.Read(body); err != nil {
		q.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	q.refuse(r, wire.OverLevel("view of slots", slotViewLevel, table.Level))
}
