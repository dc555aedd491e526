package machine

import (
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// newer reads the body of a request that came with a level, and refuses it if the cluster is
// below that: some member may not know the request, or its state may have nothing to answer it
// with. The client does without.
func (q *Requests) newer(level uint32, t wire.Type, m wire.Body, body []byte, r repl.Reply, table *shardmap.Table) (ok bool) {
	if err := m.Read(body); err != nil {
		q.refuse(r, wire.BadBody(t, err))
		return false
	}
	if e := overLevel(t, level, table); e != nil {
		q.refuse(r, e)
		return false
	}
	return true
}

// overLevel returns the error that refuses a request which came with a level, if the cluster is
// below that; else nil.
func overLevel(t wire.Type, level uint32, table *shardmap.Table) *wire.Error {
	if table.Level >= level {
		return nil
	}
	return wire.OverLevel("request "+t.String(), level, table.Level)
}
