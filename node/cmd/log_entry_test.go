package cmd

import (
	"strings"
	"testing"

	"muster/raft"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// What stands in an entry before its client's bytes is shown, of commands to either
// kind of group. What has a form that is not known here is said to be so, and the
// rest of the line stands.
func TestEntryRowShowsOrigin(t *testing.T) {
	set := wire.AppendWrite(nil, &shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotByServer, Items: [][]byte{[]byte("k"), []byte("v")}})
	announce, err := shardmap.AppendAnnounce(nil, &shardmap.Announce{Node: 7, Start: 3, Addr: "10.0.0.1:4166"})
	if err != nil {
		t.Fatal(err)
	}
	newer := machine.NewEntry(wire.Origin{Time: 5}, set)
	newer.Raw[raft.EntryHeaderSize] = 3
	const entryTime = 90_500_000_000 // ns
	for _, tt := range []struct {
		name  string
		group raft.GroupID
		entry raft.Entry
		want  string
	}{
		{"a write", 3, machine.NewEntry(wire.Origin{Time: madeAdmitted}, set), "bytes, admitted 2025-11-28T08:53:20.123Z: set"},
		{"of a principal", 3, machine.NewEntry(wire.Origin{Principal: 9, Rules: 41, Time: madeAdmitted}, set), "admitted 2025-11-28T08:53:20.123Z for principal 9 by rules 41: set"},
		{"without a time", 3, machine.NewEntry(wire.Origin{}, set), "bytes: set"},
		{"an announcement", 0, machine.NewEntry(wire.Origin{Time: madeAdmitted}, announce), "admitted 2025-11-28T08:53:20.123Z: announce node"},
		{"of a newer form", 3, newer, "not understood: command: origin of form 3"},
		{"an audit", 3, raft.NewEntry(raft.EntryAudit, nil), " audit group time 1m30.5s, 0 bytes"},
	} {
		tt.entry.ID, tt.entry.Time = raft.LogID{Term: 1, Index: 2}, entryTime
		r := entryRowOf(tt.group, &tt.entry)
		if got := r.text(); !strings.Contains(got, tt.want) || !strings.Contains(got, " group time 1m30.5s, ") || r.TimeNs != entryTime {
			t.Errorf("%s: got %q, want %q in it", tt.name, got, tt.want)
		}
	}
}
