package machine

import (
	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Page is one page of a listing that is still to be read. It shows the keys as
// they were at one entry, whenever it is read and whatever is applied meanwhile.
type Page struct {
	request *wire.List
	at      raft.LogID
	moment  *shardmap.Moment
}

// Page begins a page that stands at the last applied entry, at. It is called
// between two entries, by the goroutine that applies, and costs it O(1).
// [Page.Read] or [Page.Drop] is due. q is kept.
func (m *Map) Page(q *wire.List, at raft.LogID) *Page {
	return &Page{request: q, at: at, moment: m.State.Moment(q.Prefix)}
}

// Read reads the page, once, in any goroutine.
func (p *Page) Read() *wire.ListAnswer {
	defer p.Drop()
	q := p.request
	a := &wire.ListAnswer{Group: q.Group, At: p.at}
	a.More = p.moment.List(q.Prefix, q.After, int(q.Limit), int(q.MaxBytes), q.KeysOnly, func(key []byte, version uint64, value []byte) {
		if value == nil && !q.KeysOnly {
			value = []byte{}
		}
		a.Rows = wire.AppendListRow(a.Rows, key, version, value)
		a.Count++
	})
	return a
}

// Drop gives up a page that will not be read.
func (p *Page) Drop() { p.moment.End() }
