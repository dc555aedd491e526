package client

import (
	"fmt"
	"strings"
	"testing"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/pack"
)

// backupPieceOf is the body of a piece of a backup with one key.
func backupPieceOf(group raft.GroupID, index, number uint64, key string, last bool) []byte {
	p := wire.BackupPiece{Group: group, At: raft.LogID{Term: 1, Index: index}, Number: number, Last: last}
	if number == 0 {
		p.Slots = []shardmap.SlotRange{{From: 0, To: 4095}}
	}
	row := shardmap.BackupRow{Kind: shardmap.KindKey, Name: []byte(key), Version: 1}
	p.Rows = row.Append(pack.AppendArray(nil, 1))
	return p.Append(nil)
}

// Pieces of two attempts are never put together: each attempt is of its own entry. One would doubt
// it: pieces of the former are still held, or arrive late, when the next begins.
func TestBackupBeginsAnew(t *testing.T) {
	s := NewBackupStream(3)
	var q wire.Backup
	body, first := s.Begin(nil)
	if err := q.Read(body); err != nil || q.Group != 3 || q.Window != backupWindow {
		t.Fatalf("%+v, %v", q, err)
	}
	s.Piece(first, backupPieceOf(3, 10, 0, "a", false))
	s.Piece(first, backupPieceOf(3, 10, 1, "b", false))
	p, more, err := s.Next()
	if err != nil || !more || p.Number != 0 || p.At.Index != 10 || !s.Brought() {
		t.Fatalf("%+v, %t, %v", p, more, err)
	}
	if e := s.Ended(first, &wire.StreamEnd{Reason: wire.EndDone}); e == nil || e.Code != wire.CodeUnavailable {
		t.Errorf("an end before the last piece: %v", e)
	}
	body, second := s.Begin(nil)
	if err := q.Read(body); err != nil || q.Window >= backupWindow || s.Brought() {
		t.Errorf("%+v, %v; the window has no room for the piece that is taken", q, err)
	}
	s.Piece(first, backupPieceOf(3, 10, 2, "c", true)) // too late
	s.Piece(second, backupPieceOf(3, 20, 0, "a", false))
	s.Piece(second, backupPieceOf(3, 20, 1, "d", true))
	for number := range uint64(2) {
		if p, _, err := s.Next(); err != nil || p == nil || p.Number != number || p.At.Index != 20 {
			t.Fatalf("piece %d is %+v, %v", number, p, err)
		}
	}
	if _, more, err := s.Next(); more || err != nil || !s.Complete() {
		t.Errorf("behind the last: %t, %v", more, err)
	}
	if e := s.Ended(second, &wire.StreamEnd{Reason: wire.EndDone}); e != nil {
		t.Errorf("its end: %v", e)
	}
	if s.held != 0 {
		t.Errorf("%d bytes are held when all was taken", s.held)
	}
}

// A node that sends anything else than the pieces of one backup, in order, is not believed.
func TestBackupOfAnotherMoment(t *testing.T) {
	for what, c := range map[string]struct {
		body []byte
		want string
	}{
		"another entry":      {backupPieceOf(3, 11, 1, "b", false), "as of g3/1.11, those before as of g3/1.10"},
		"a piece left out":   {backupPieceOf(3, 10, 2, "b", false), "its number is 2, due is 1"},
		"another group":      {backupPieceOf(4, 10, 1, "b", false), "it is of group g4"},
		"no piece":           {[]byte{0xc0}, "piece of the backup of group g3"},
		"a row without name": {backupPieceOf(3, 10, 1, "", false), "a name of 0 bytes"},
	} {
		s := NewBackupStream(3)
		_, attempt := s.Begin(nil)
		s.Piece(attempt, backupPieceOf(3, 10, 0, "a", false))
		s.Piece(attempt, c.body)
		_, _, _ = s.Next()
		if _, more, err := s.Next(); more || err == nil || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: got %v, want %q", what, err, c.want)
		}
	}
}
