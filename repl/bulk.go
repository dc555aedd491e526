package repl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"muster/repl/wire"
)

const (
	// bulkAnswerTimeout is how long the other side may take to answer a
	// chunk. After the last one it builds the state, which takes some seconds for
	// gigabytes; it does not wait for block files.
	bulkAnswerTimeout = 60 * time.Second
	// bulkQueueMax bounds the snapshots that wait to be sent to one node: one
	// for each of its groups.
	bulkQueueMax = 1 << 14
)

// sendSnapshot queues a snapshot, and starts the goroutine that sends them if
// there is none.
func (o *peer) sendSnapshot(s *SnapshotStream) error {
	p := o.owner
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return p.ctx.Err()
	}
	if len(o.snapshots) >= bulkQueueMax {
		return fmt.Errorf("%d snapshots wait for the node, the limit is %d", len(o.snapshots), bulkQueueMax)
	}
	o.snapshots = append(o.snapshots, s)
	select {
	case o.more <- struct{}{}:
	default:
	}
	if !o.sending {
		o.sending = true
		p.ended.Add(1)
		go o.sendSnapshots()
	}
	return nil
}

// askedStream is a snapshot that the other side has whole, and that waits there for block files.
type askedStream struct {
	stream *SnapshotStream
	at     time.Time // when to ask again
}

// nextSnapshot takes the next one from the queue, and waits if all that there are wait for block files; false ends the
// goroutine.
func (o *peer) nextSnapshot() (*SnapshotStream, bool) {
	for {
		s, pause, ok := o.dueSnapshot()
		if s != nil || !ok {
			return s, ok
		}
		timer := time.NewTimer(pause)
		select {
		case <-o.owner.ctx.Done():
		case <-o.more:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// dueSnapshot takes one that is due: who waits for files is asked before others are begun, or would be taken for gone. If
// there is none yet it returns when to look again.
func (o *peer) dueSnapshot() (s *SnapshotStream, pause time.Duration, ok bool) {
	p := o.owner
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(o.snapshots)+len(o.asked) == 0 || p.ctx.Err() != nil {
		o.sending = false
		return nil, 0, false
	}
	if len(o.asked) > 0 { // in the order of their times
		if pause = time.Until(o.asked[0].at); pause <= 0 {
			s = o.asked[0].stream
			o.asked = append(o.asked[:0], o.asked[1:]...)
			return s, 0, true
		}
	}
	if len(o.snapshots) > 0 {
		s = o.snapshots[0]
		o.snapshots = append(o.snapshots[:0], o.snapshots[1:]...)
	}
	return s, pause, true
}

// askLater has the other side asked again.
func (o *peer) askLater(s *SnapshotStream) {
	p := o.owner
	p.mu.Lock()
	defer p.mu.Unlock()
	o.asked = append(o.asked, askedStream{s, time.Now().Add(BlockFilesPause)})
}

// sendSnapshots sends what is queued, one after another, over one connection
// unless that breaks, or its keys have protected enough.
func (o *peer) sendSnapshots() {
	p := o.owner
	defer p.ended.Done()
	l := new(bulkLine)
	defer l.close()
	pace := newPaceOf(p.rate.Load, p.ctx.Done())
	for {
		s, ok := o.nextSnapshot()
		if !ok {
			return
		}
		sender, err := OpenSender(p.cfg.Store, s)
		if err == nil {
			err = o.carry(l, sender, pace)
			waits := err == nil && sender.Waits()
			if err = errors.Join(err, sender.Close()); waits && err == nil {
				o.askLater(s)
				continue
			}
		}
		if p.ctx.Err() == nil && p.cfg.Sent != nil {
			p.cfg.Sent(s, err)
		}
	}
}

// bulkLine is the connection that snapshots to one node are sent over, if there is one.
type bulkLine struct {
	conn    net.Conn
	decoder *wire.Decoder
}

func (l *bulkLine) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

// carry sends one snapshot, over l and what replaces it, until it has ended or waits for block files.
func (o *peer) carry(l *bulkLine, sender *SnapshotSender, pace Pace) (err error) {
	for {
		if l.conn != nil && worn(l.conn) {
			l.close()
		}
		if l.conn == nil {
			if l.conn, err = o.dialBulk(); err != nil {
				l.conn = nil // whatever interface it is
				return err
			}
			l.decoder = wire.NewDecoder(wire.HelloBytesMax)
		}
		ended, err := o.stream(l.conn, l.decoder, sender, pace)
		if err != nil {
			l.close() // answers may still be under way
			return err
		}
		if ended || sender.Waits() {
			return nil
		}
		sender.Again()
	}
}

func (o *peer) dialBulk() (net.Conn, error) {
	p := o.owner
	if p.cfg.DialBulk == nil {
		return nil, errors.New("nothing is known of bulk connections")
	}
	ctx, cancel := context.WithTimeout(p.ctx, peerDialTimeout)
	defer cancel()
	return p.cfg.DialBulk(ctx, o.id, p.Addr(o.id))
}

// stream sends one snapshot. It reports false if it has not ended, for the keys of the connection have
// protected enough, or the other side waits for block files: all that was sent has arrived then. After an error the connection is of no use.
func (o *peer) stream(conn net.Conn, d *wire.Decoder, sender *SnapshotSender, pace Pace) (ended bool, err error) {
	p := o.owner
	off := context.AfterFunc(p.ctx, func() { conn.Close() })
	defer off()
	var out []byte
	for {
		var c wire.Chunk
		more, full := false, worn(conn)
		if full && sender.Idle() {
			return false, nil
		}
		if sender.Waits() {
			return false, nil
		}
		// No more chunks once it is full, only answers to those that are under way. The question where to
		// begin is small, and asked in any case.
		if !full || !sender.begun {
			more, err = sender.Next(&c)
		}
		if over, err := sender.Ended(); over {
			return err == nil, err
		}
		if err != nil {
			return false, err
		}
		if more {
			out = wire.AppendFrame(out[:0], wire.TypeChunk, 0, &c)
			p.cfg.Counters.Out(wire.TypeChunk, len(out)-wire.HeaderSize)
			if err := pace(len(c.Data)); err != nil {
				return false, err
			}
			if err := writePieces(conn, out); err != nil {
				return false, err
			}
			continue
		}
		if err := conn.SetReadDeadline(time.Now().Add(bulkAnswerTimeout)); err != nil {
			return false, err
		}
		h, body, err := wire.ReadFrame(conn, d)
		if err != nil {
			return false, fmt.Errorf("wait for the answer to a chunk: %w", err)
		}
		p.cfg.Counters.In(h.Type, len(body))
		if e := new(wire.Error); h.Type == wire.TypeError && e.Read(body) == nil {
			return false, e
		}
		var a wire.ChunkAnswer
		if h.Type != wire.TypeChunkAnswer {
			return false, fmt.Errorf("a chunk is answered with %s", h.Type)
		}
		if err := a.Read(body); err != nil {
			return false, err
		}
		sender.Answered(&a)
	}
}
