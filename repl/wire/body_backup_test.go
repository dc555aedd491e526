package wire_test

import (
	"bytes"
	"strings"
	"testing"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/pack"
)

// A piece of a backup is the same bytes whichever way it is made, and what no node sends is refused: rows of other kinds,
// without a name, or that end before they began.
func TestBackupPieces(t *testing.T) {
	row := func(change func(*shardmap.BackupRow)) []byte {
		r := shardmap.BackupRow{Kind: shardmap.KindKey, Name: []byte("k"), Value: []byte("v"), Version: 3}
		change(&r)
		return r.Append(nil)
	}
	piece := func(count int, rows []byte, change func(*wire.BackupPiece)) *wire.BackupPiece {
		p := &wire.BackupPiece{Group: 3, At: raft.LogID{Term: 1, Index: 2}, Incarnation: 1, Rows: append(pack.AppendArray(nil, count), rows...)}
		change(p)
		return p
	}
	as := func(*shardmap.BackupRow) {}
	same := func(*wire.BackupPiece) {}
	for _, c := range []struct {
		what string
		p    *wire.BackupPiece
		want string
	}{
		{"no rows", piece(0, nil, same), ""},
		{"the first", piece(1, row(as), func(p *wire.BackupPiece) { p.Slots = []shardmap.SlotRange{{From: 0, To: 3}, {From: 5, To: 4095}} }), ""},
		{"the last", piece(1, row(as), func(p *wire.BackupPiece) { p.Number, p.Last, p.Keys, p.Services = 7, true, 1<<40, 1 }), ""},
		{"a key that ends", piece(1, row(func(r *shardmap.BackupRow) { r.Ends, r.Remaining = true, 1 }), same), ""},
		{"slots in another piece", piece(1, row(as), func(p *wire.BackupPiece) { p.Number, p.Slots = 1, []shardmap.SlotRange{{From: 0, To: 3}} }), "field slots: 1 runs in piece 1"},
		{"slots out of order", piece(1, row(as), func(p *wire.BackupPiece) { p.Slots = []shardmap.SlotRange{{From: 5, To: 9}, {From: 0, To: 3}} }), "field slots"},
		{"counts before the last", piece(1, row(as), func(p *wire.BackupPiece) { p.Keys = 1 }), "fields keys and services"},
		{"a lease", piece(1, row(func(r *shardmap.BackupRow) { r.Kind = shardmap.KindLease }), same), "a row of kind 2"},
		{"a row without a name", piece(1, row(func(r *shardmap.BackupRow) { r.Name = nil }), same), "a name of 0 bytes"},
		{"a row of a long name", piece(1, row(func(r *shardmap.BackupRow) { r.Name = make([]byte, shardmap.KeyMax+1) }), same), "a name of 4097 bytes"},
		{"a row of no version", piece(1, row(func(r *shardmap.BackupRow) { r.Version = 0 }), same), "version 0"},
		{"a row that has ended", piece(1, row(func(r *shardmap.BackupRow) { r.Ends = true }), same), "ends in 0 ms"},
		{"a service that ends", piece(1, row(func(r *shardmap.BackupRow) { r.Kind, r.Ends, r.Remaining = shardmap.KindService, true, 5 }), same), "want a key"},
		{"rows that are none", piece(1, pack.AppendUint(nil, 5), same), "msgpack"},
	} {
		body := c.p.Append(nil)
		var got wire.BackupPiece
		err := got.Read(body)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v, want %q", c.what, err, c.want)
			}
			continue
		}
		if err != nil || !bytes.Equal(got.Append(nil), body) {
			t.Errorf("%s: %v, read as %+v", c.what, err, got)
		}
		framed := *c.p
		framed.Rows = c.p.Rows[1:] // behind the head of the array
		frame := framed.Frame(int(c.p.Rows[0]&0x0f), 9)
		if len(frame) > wire.HeaderSize+wire.BackupPieceHead+wire.BackupRunBytes*len(c.p.Slots)+len(framed.Rows) || !bytes.Equal(frame[wire.HeaderSize:], body) {
			t.Errorf("%s: the frame has % x, want % x", c.what, frame[wire.HeaderSize:], body)
		}
	}
}
