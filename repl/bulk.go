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
// unless that breaks.
func (o *peer) sendSnapshots() {
	p := o.owner
	defer p.ended.Done()
	var conn net.Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	d := wire.NewDecoder(wire.HelloBytesMax)
	pace := newPaceOf(p.rate.Load, p.ctx.Done())
	for {
		s, ok := o.nextSnapshot()
		if !ok {
			return
		}
		sender, err := OpenSender(p.cfg.Store, s)
		if err == nil {
			if conn == nil {
				conn, err = o.dialBulk()
				d = wire.NewDecoder(wire.HelloBytesMax)
			}
			if err == nil {
				var broken bool
				if broken, err = o.stream(conn, d, sender, pace); broken {
					conn.Close()
					conn = nil
				}
			}
			err = errors.Join(err, sender.Close())
		}
		if p.ctx.Err() == nil && p.cfg.Sent != nil {
			p.cfg.Sent(s, err)
		}
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

// stream sends one snapshot. It reports whether the connection has become useless.
func (o *peer) stream(conn net.Conn, d *wire.Decoder, sender *SnapshotSender, pace Pace) (broken bool, err error) {
	p := o.owner
	off := context.AfterFunc(p.ctx, func() { conn.Close() })
	defer off()
	var out []byte
	for {
		var c wire.Chunk
		more, err := sender.Next(&c)
		if over, err := sender.Ended(); over {
			return err != nil, err // answers may still be under way
		}
		if err != nil {
			return true, err
		}
		if more {
			out = wire.AppendFrame(out[:0], wire.TypeChunk, 0, &c)
			p.cfg.Counters.Out(wire.TypeChunk, len(out)-wire.HeaderSize)
			if err := pace(len(c.Data)); err != nil {
				return true, err
			}
			if err := writePieces(conn, out); err != nil {
				return true, err
			}
			continue
		}
		if err := conn.SetReadDeadline(time.Now().Add(bulkAnswerTimeout)); err != nil {
			return true, err
		}
		h, body, err := wire.ReadFrame(conn, d)
		if err != nil {
			return true, fmt.Errorf("wait for the answer to a chunk: %w", err)
		}
		p.cfg.Counters.In(h.Type, len(body))
		if e := new(wire.Error); h.Type == wire.TypeError && e.Read(body) == nil {
			return true, e
		}
		var a wire.ChunkAnswer
		if h.Type != wire.TypeChunkAnswer {
			return true, fmt.Errorf("a chunk is answered with %s", h.Type)
		}
		if err := a.Read(body); err != nil {
			return true, err
		}
		sender.Answered(&a)
	}
}
