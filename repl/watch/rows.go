package watch

import (
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// rowsMax bounds the bytes of rows that are kept, unless one alone is larger: what many
// watches are sent within some turns.
const rowsMax = 1 << 20

// rows are events as they are sent, each written once for all watches that it is for.
type rows struct {
	kept  map[rowKey][]byte
	order []rowKey // of those that are kept, the oldest at from
	from  int
	bytes int

	made uint64 // how many were written
}

// rowKey names a row: a history, a place in it, and whether the row says what was before.
type rowKey struct {
	history *shardmap.History
	place   shardmap.Place
	prev    bool
}

func newRows() rows { return rows{kept: make(map[rowKey][]byte)} }

// append appends the row of an event; it keeps the row for others if they may want it.
func (r *rows) append(b []byte, key rowKey, e *shardmap.Event, want wanted) []byte {
	if want == byOne {
		return r.write(b, key, e)
	}
	row, ok := r.kept[key]
	if !ok {
		row = r.write(nil, key, e)
		r.keep(key, row)
	}
	return append(b, row...)
}

// wanted is who will be sent a row.
type wanted bool

const (
	byOne  wanted = false
	byMany wanted = true
)

func (r *rows) keep(key rowKey, row []byte) {
	r.kept[key] = row
	r.order = append(r.order, key)
	for r.bytes += len(row); r.bytes > rowsMax && r.from < len(r.order)-1; r.from++ {
		old := r.order[r.from]
		r.bytes -= len(r.kept[old])
		delete(r.kept, old)
		r.order[r.from] = rowKey{}
	}
	if r.from > len(r.order)/2 {
		n := copy(r.order, r.order[r.from:])
		clear(r.order[n:])
		r.order, r.from = r.order[:n], 0
	}
}

func (r *rows) write(b []byte, key rowKey, e *shardmap.Event) []byte {
	r.made++
	if e.Kind.OfService() {
		row := rowOfService(e)
		return wire.AppendWatchRow(b, &row)
	}
	row := wire.WatchRowOf(e, key.prev)
	return wire.AppendWatchRow(b, &row)
}

// bugSecrets is a planted bug: whoever watches services sees their passwords.
const bugSecrets = "secrets in a watch of services"

// rowOfService returns the row of an event of a service. It is one of kind set or del, whose
// value has no secrets.
func rowOfService(e *shardmap.Event) wire.WatchRow {
	row := wire.WatchRow{Kind: wire.WatchDel, Slot: e.Slot, ID: e.ID, N: e.N, Key: e.Key, Version: e.Version}
	if e.Kind == shardmap.EventServiceGone {
		return row
	}
	row.Kind = wire.WatchSet
	value, err := registry.Public(e.Value)
	switch {
	case bug(bugSecrets):
		value = e.Value
	case err != nil:
		// It may be of a newer build. Its secrets can't be told from the rest, so nothing of it
		// is sent: the client learns that there is something which it can't read.
		value = []byte{}
	}
	row.Value = value
	return row
}
