package machine

import (
	"fmt"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// BackupsMax bounds the backups that a node sends at once, over all its connections: each may
	// cost as much memory again as its group has, if all of that is written anew meanwhile.
	BackupsMax = 4
	// backupStallMax is how long a backup may stand still: longer than a disk that is busy keeps
	// its client from reading on, for what it holds costs memory.
	backupStallMax = time.Minute
)

// backup is a stream of all keys and services that one group serves. Unlike a scan it holds what it
// shows, from its first piece on: all pieces are of the entry at which that was taken. So it is
// counted, and ends where nobody reads it.
type backup struct {
	stream

	// Set once.
	request  wire.Backup
	anywhere bool // any replica may answer it

	// Guarded by of.mu.
	held     *shardmap.Backup // from the first piece on; nil once the stream is over
	reading  bool             // a piece is being read from held, which nobody else may touch meanwhile
	putOff   bool             // its piece waits for a tick of the feed: too much was being read
	next     wire.BackupPiece // what the next piece says beside its rows
	keys     uint64           // that were sent
	services uint64

	// Owned by turns of the feed.
	place int           // in the feed's list
	seen  uint64        // bytes that were sent, at a tick
	since time.Duration // when that was first so
}

// openBackup opens a backup.
func openBackup(h wire.Header, body []byte) (*stream, error) {
	s := &backup{anywhere: anyReplica(h, wire.ReadLinearizable)}
	s.kind = s
	if err := s.request.Read(body); err != nil {
		return &s.stream, err
	}
	s.piece, s.limit = int(s.request.PieceBytes), s.request.Window
	return &s.stream, nil
}

// admit implements [kind].
func (s *backup) admit(table *shardmap.Table) *wire.Error {
	if e := overLevel(wire.TypeBackup, shardmap.RangesLevel, table); e != nil {
		return e
	}
	f := s.of.Feed
	if f == nil {
		return noFeed(wire.TypeBackup)
	}
	if e := noDataGroup(s.request.Group, table); e != nil {
		return e
	}
	if f.backing.Add(1) > BackupsMax {
		f.backing.Add(-1)
		return wire.Busy("node", fmt.Sprintf("it sends %d backups, the limit is %d", BackupsMax, BackupsMax), wire.BusyRetry)
	}
	return nil
}

// begin implements [kind].
func (s *backup) begin() {
	f := s.of.Feed
	f.post(func() {
		s.place, s.since = len(f.backups), f.now
		f.backups = append(f.backups, s)
	})
}

// over implements [kind].
func (s *backup) over() {
	f := s.of.Feed
	f.backing.Add(-1)
	f.post(func() {
		last := len(f.backups) - 1
		moved := f.backups[last]
		f.backups[s.place], moved.place = moved, s.place
		f.backups[last] = nil
		f.backups = f.backups[:last]
	})
	s.drop()
}

// drop gives up what the stream holds, unless that is being read; then whoever reads it does.
// of.mu is held.
func (s *backup) drop() {
	if s.held != nil && !s.reading {
		s.held.Release()
		s.held = nil
	}
}

// due implements [kind]: it ends where nothing more is to be sent.
func (s *backup) due() bool { return !s.putOff }

// fed implements [kind].
func (s *backup) fed() bool { return false }

// make implements [kind]: nothing is fed to it.
func (s *backup) make() {}

// resume implements [kind]: there is nothing to continue from.
func (s *backup) resume() []byte { return nil }

// ask implements [kind]: it has the group looked at, once, and then reads on.
func (s *backup) ask(*shardmap.Table) *wire.Error {
	if s.held != nil {
		s.readOn()
		return nil
	}
	return s.of.asker.Ask(repl.Read{Group: s.request.Group, AnyReplica: s.anywhere, Reply: repl.Reply{To: s, Request: s.reply.Request}, Query: s}, s.within)
}

// readOn has the next piece read. Where too much is being read, the stream waits for the next tick: were
// it ended, its client would have to begin anew. of.mu is held.
func (s *backup) readOn() {
	if s.of.asker.Later(s.send) != "" {
		s.putOff = true
		s.of.came(&s.stream)
	}
}

// Run implements [repl.Query]: between two entries it takes what the pieces will show.
func (s *backup) Run(state repl.StateMachine, at raft.LogID, _ repl.Reply) (first bool) {
	x := s.of
	m, ok := state.(*Map)
	if !ok {
		return s.refused(metaHasNoKeys())
	}
	if m.beforeFounding() {
		return s.refused(m.notFounded())
	}
	now := x.groupTime(m, s.request.Group)
	x.mu.Lock()
	defer x.mu.Unlock()
	if s.state != turnMaking {
		return false // it was cancelled
	}
	s.held = shardmap.BackupOf(m.State, now)
	s.next = wire.BackupPiece{Group: s.request.Group, At: at, Incarnation: m.Incarnation(), Slots: s.held.Slots()}
	s.readOn()
	return false
}

// begun reports whether a piece is to be read, and keeps what it is read from.
func (s *backup) begun() bool {
	x := s.of
	x.mu.Lock()
	defer x.mu.Unlock()
	s.reading = s.state == turnMaking
	return s.reading
}

// send reads a piece and sends it.
func (s *backup) send() {
	x := s.of
	if !s.begun() {
		return
	}
	var frame []byte
	var more bool
	var err error
	if s.reserve(s.piece) { // else the stream is over
		if frame, more, err = s.read(); err == nil {
			s.reserve(len(frame)) // one row may be larger than a piece
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	s.reading = false
	switch {
	case s.state == turnOver:
		s.drop()
		return
	case err != nil:
		x.fail(&s.stream, wire.Damaged(fmt.Sprintf("group %d", s.request.Group), err.Error(), "ask another replica: muster check shows which ones agree"))
	default:
		x.sendPiece(&s.stream, wire.TypeBackupPiece, frame)
		s.next = wire.BackupPiece{Group: s.next.Group, At: s.next.At, Incarnation: s.next.Incarnation, Number: s.next.Number + 1}
		if more {
			x.ready(&s.stream)
		} else {
			x.end(&s.stream, &wire.StreamEnd{Reason: wire.EndDone})
		}
	}
	x.turns()
	x.asker.Flush()
}

// read reads a piece, and returns it as a frame. No other goroutine does so meanwhile, nor changes what it uses.
func (s *backup) read() (frame []byte, more bool, err error) {
	p := s.next
	limit := s.piece - wire.BackupPieceHead - wire.BackupRunBytes*len(p.Slots)
	p.Rows = make([]byte, 0, s.piece)
	count := 0
	more, err = s.held.Next(limit, s.of.Feed.rows, func(row *shardmap.BackupRow) {
		p.Rows = row.Append(p.Rows)
		if count++; row.Kind == shardmap.KindKey {
			s.keys++
		} else {
			s.services++
		}
	})
	if p.Last = !more; p.Last {
		p.Keys, p.Services = s.keys, s.services
	}
	return p.Frame(count, s.reply.Request), more, err
}

// tick lets a stream continue that was put off, and ends one that has stood still for too long.
func (s *backup) tick(now time.Duration) {
	x := s.of
	x.mu.Lock()
	defer x.mu.Unlock()
	if s.sent != s.seen || s.state == turnMaking || s.putOff {
		s.seen, s.since = s.sent, now // what keeps it is the node, not its client
	}
	s.putOff = false
	if now-s.since >= backupStallMax {
		x.fail(&s.stream, wire.Unavailable(fmt.Sprintf("stream %d", s.reply.Request), fmt.Sprintf("it has not been read for %v, and holds memory", backupStallMax)))
		x.asker.Flush()
	} else {
		x.ready(&s.stream)
	}
	x.turns()
}
