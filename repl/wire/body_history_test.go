package wire_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Requests for histories and their answers come from anybody: what no client or node of ours sends
// is refused with the field.
func TestHistoryBodies(t *testing.T) {
	key := []byte("k")
	long := bytes.Repeat(key, shardmap.KeyMax+1)
	for _, c := range []struct {
		what string
		ask  wire.History
		want string
	}{
		{"all versions", wire.History{Group: 1, Key: key}, ""},
		{"the longest key, and the most", wire.History{Mode: wire.ReadFollower, Group: raft.GroupMax, Key: long[1:], Before: 1<<64 - 1, Limit: wire.HistoryRowsMax, MaxBytes: wire.HistoryBytesMax}, ""},
		{"a bounded read", wire.History{Mode: wire.ReadBounded, Group: 1, Key: key}, "field mode: 3; want 0, 1 or 2"},
		{"group 10000", wire.History{Group: 10000, Key: key}, "field group: 10000; want 9999"},
		{"no key", wire.History{Group: 1}, "field key: 0 bytes; want 1 to 4096"},
		{"a long key", wire.History{Group: 1, Key: long}, "field key: 4097 bytes"},
		{"too many rows", wire.History{Group: 1, Key: key, Limit: wire.HistoryRowsMax + 1}, "field limit: 102 rows; want 101"},
		{"too many bytes", wire.History{Group: 1, Key: key, MaxBytes: wire.HistoryBytesMax + 1}, "field max_bytes: 262145; want 262144"},
	} {
		var got wire.History
		err := got.Read(c.ask.Append(nil))
		if c.want == "" && (err != nil || got.Limit != wire.HistoryRowsMax || got.MaxBytes != wire.HistoryBytesMax || !bytes.Equal(got.Key, c.ask.Key)) {
			t.Errorf("%s: read as %+v, %v", c.what, got, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
	row := func(version uint64) wire.HistoryRow {
		return wire.HistoryRow{Version: version, How: shardmap.VersionSet, Group: 2, ID: raft.LogID{Term: 3, Index: version}, Principal: 7, User: "ann", AtMs: 9, Value: []byte{}}
	}
	gone := wire.HistoryRow{Version: 8, How: shardmap.VersionDeleted}
	for _, c := range []struct {
		what string
		rows []wire.HistoryRow
		want string
	}{
		{"none", []wire.HistoryRow{}, ""},
		{"some", []wire.HistoryRow{row(9), gone, row(7)}, ""},
		{"version 0", []wire.HistoryRow{row(0)}, "row 0: version 0"},
		{"out of order", []wire.HistoryRow{row(7), gone}, "row 1: version 8; want one that is older"},
		{"a version twice", []wire.HistoryRow{row(7), row(7)}, "row 1: version 7"},
		{"a set without a value", []wire.HistoryRow{{Version: 8, How: shardmap.VersionSet}}, "row 0: set, with a value: false"},
		{"a delete with a value", []wire.HistoryRow{{Version: 8, How: shardmap.VersionDeleted, Value: []byte("v")}}, "row 0: deleted, with a value: true"},
		{"too many", make([]wire.HistoryRow, wire.HistoryRowsMax+1), "102 rows"},
	} {
		a := wire.HistoryAnswer{Group: 2, At: raft.LogID{Term: 3, Index: 10}, Versions: 20, Age: 60, More: true, Rows: c.rows}
		var got wire.HistoryAnswer
		err := got.Read(a.Append(nil))
		if c.want == "" && (err != nil || !reflect.DeepEqual(got, a)) {
			t.Errorf("%s: read as %+v, %v", c.what, got, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
	a := wire.HistoryAnswer{Rows: []wire.HistoryRow{row(9), gone}}
	whole := a.Append(nil)
	for n := range whole {
		if err := new(wire.HistoryAnswer).Read(whole[:n]); err == nil {
			t.Errorf("%d bytes of %d are an answer", n, len(whole))
		}
	}
	if claim := fmt.Appendf(nil, "\x97\x01\x01\x01\x00\x00\xc2\xdd\x00\x00\x00\x65"); new(wire.HistoryAnswer).Read(claim) == nil {
		t.Error("101 rows in no bytes are an answer")
	}
}
