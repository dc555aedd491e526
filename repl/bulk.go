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
	// gigabytes.
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
	if !o.sending {
		o.sending = true
		p.ended.Add(1)
		go o.sendSnapshots()
	}
	return nil
}

// nextSnapshot takes the next one from the queue; false ends the goroutine.
func (o *peer) nextSnapshot() (*SnapshotStream, bool) {
	p := o.owner
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(o.snapshots) == 0 || p.ctx.Err() != nil {
		o.sending = false
		return nil, false
	}
	s := o.snapshots[0]
	o.snapshots = append(o.snapshots[:0], o.snapshots[1:]...)
	return s, true
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
			err = errors.Join(o.carry(l, sender, pace), sender.Close())
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

// carry sends one snapshot, over l and what replaces it.
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
		if ended {
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
// protected enough: all that was sent has arrived then. After an error the connection is of no use.
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
