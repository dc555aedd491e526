package shardmap

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"muster/raft"
)

// A plan is made for the table as a command would leave it, and shown before the command
// is given: it must be that table, and nothing may change by asking.
func TestTryIsWhatApplyDoes(t *testing.T) {
	m := testTable(t)
	before := m.Table()
	bytesBefore := before.AppendTo(nil)
	n := before.Nodes[0]
	a := Announce{Node: n.ID, Start: 9, Addr: "10.9.9.9:4166", Version: "2", Name: "moved", Level: Level}
	command, err := AppendAnnounce(nil, &a)
	if err != nil {
		t.Fatal(err)
	}
	tried, err := before.Try(command)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before.AppendTo(nil), bytesBefore) || m.Table() != before {
		t.Error("asking has changed the table")
	}
	if _, err := m.Apply(raft.LogID{Term: 9, Index: before.Index + 1}, command); err != nil {
		t.Fatal(err)
	}
	if got := m.Table(); !reflect.DeepEqual(tried, got) {
		t.Errorf("tried %+v, applied %+v", tried, got)
	}
	read, err := ReadTable(m.Table().AppendTo(nil))
	if err != nil || !reflect.DeepEqual(read, m.Table()) {
		t.Errorf("read back %+v, %v", read, err)
	}

	a.Node = 0x999
	command, err = AppendAnnounce(nil, &a)
	if err != nil {
		t.Fatal(err)
	}
	var refusal *Refusal
	if _, err := m.Table().Try(command); !errors.As(err, &refusal) || refusal.Found == "" || refusal.Next == "" {
		t.Errorf("a stranger's announcement: got %v, want a refusal", err)
	}
	for n := range command {
		if _, err := m.Table().Try(command[:n]); err == nil || errors.As(err, &refusal) {
			t.Errorf("the first %d of %d bytes: got %v, want an error about them", n, len(command), err)
		}
	}
}

// What is no table is refused, wherever it is cut or changed, and never ends the program:
// a client reads what some node sends.
func TestReadTableRefuses(t *testing.T) {
	good := testTable(t).Table().AppendTo(nil)
	for n := range good {
		if _, err := ReadTable(good[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes are read", n, len(good))
		}
		b := bytes.Clone(good)
		b[n] ^= 0x80
		_, _ = ReadTable(b) // it must not panic
	}
	if _, err := ReadTable(append(bytes.Clone(good), 0)); err == nil {
		t.Error("a byte behind it is passed over")
	}
}
