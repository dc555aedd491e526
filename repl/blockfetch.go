package repl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"muster/logstore/blocks"
	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap/points/block"
)

var (
	// ErrBlockAbsent is wrapped by the error of a node that does not have a block file, or not whole: another one may.
	ErrBlockAbsent = errors.New("the node does not have the block file")
	// ErrBlockBusy is wrapped by the error of a node that can't read a block file now: later it may.
	ErrBlockBusy = errors.New("the node can't read the block file now")
)

// FetchBlockFile fetches a block file of a group from a node, over a bulk connection of its own, and returns once the
// file is durable and verified. It waits for the network and the disk, at the pace of snapshots. The cluster must be at
// level 10. It goes on over another connection when one ends that has brought something.
//
// An error that wraps [ErrBlockAbsent] or [blocks.ErrContent] means: ask another node; [ErrBlockBusy], or one of the
// network: another node, or later; [logstore.ErrFull]: wait for room. In each case nothing is left behind.
func (p *Peers) FetchBlockFile(ctx context.Context, from raft.NodeID, store *blocks.Store, g blocks.Group, sum block.Sum) (blocks.File, error) {
	f, err := p.fetchBlockFile(ctx, from, store, g, sum)
	if err != nil {
		return blocks.File{}, fmt.Errorf("fetch a block file from %s: %w", from, err)
	}
	return f, nil
}

func (p *Peers) fetchBlockFile(ctx context.Context, from raft.NodeID, store *blocks.Store, g blocks.Group, sum block.Sum) (blocks.File, error) {
	o := p.peer(from)
	if o == nil {
		return blocks.File{}, errors.New("the node is not known")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	b := blockFetch{peer: o, store: store, pace: newPaceOf(p.rate.Load, ctx.Done())}
	b.question = wire.BlockRange{Group: g.ID, Incarnation: g.Incarnation, Sum: wire.BlockSum(sum), Most: wire.ChunkBytesMax}
	defer b.giveUp()
	for {
		before := b.offset()
		err := b.overOne(ctx)
		switch {
		case err == nil:
			return b.file.Commit()
		case ctx.Err() != nil:
			return blocks.File{}, ctx.Err()
		case b.final != nil || b.offset() == before:
			return blocks.File{}, err
		}
	}
}

// blockFetch is a block file that is being fetched.
type blockFetch struct {
	peer     *peer
	store    *blocks.Store
	pace     Pace
	question wire.BlockRange  // without an offset
	file     *blocks.Receiver // nil until the size is known
	size     uint64
	final    error // what another connection would not change
	out      []byte
}

func (b *blockFetch) giveUp() {
	if b.file != nil {
		b.file.Abort()
	}
}

// offset is how much of the file has come.
func (b *blockFetch) offset() uint64 {
	if b.file == nil {
		return 0
	}
	return uint64(b.file.Offset())
}

// overOne fetches what is missing over one connection, or as much of it as comes.
func (b *blockFetch) overOne(ctx context.Context) error {
	conn, err := b.peer.dialBulk()
	if err != nil {
		return b.ends(err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	d := wire.NewDecoder(wire.ChunkFrameMax)
	asked := b.offset()
	for {
		// A connection that is worn gets no more questions, only the answers to those that are under way.
		for more := asked < b.size || b.file == nil && asked == 0; more && !worn(conn) && asked < b.offset()+wire.BlockRangesMax*wire.ChunkBytesMax; more = asked < b.size {
			if err := b.ask(conn, asked); err != nil {
				return err
			}
			asked += wire.ChunkBytesMax
			if b.file == nil {
				break // its size is not known yet
			}
		}
		if b.file != nil && b.offset() == b.size {
			return nil
		}
		if asked <= b.offset() {
			return errors.New("the keys of the connection have protected enough")
		}
		if err := b.answered(conn, d); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (b *blockFetch) ask(conn net.Conn, offset uint64) error {
	q := b.question
	q.Offset = offset
	if err := b.pace(wire.ChunkBytesMax); err != nil {
		return err
	}
	b.out = wire.AppendFrame(b.out[:0], wire.TypeBlockRange, 0, &q)
	b.peer.owner.cfg.Counters.Out(wire.TypeBlockRange, len(b.out)-wire.HeaderSize)
	return writePieces(conn, b.out)
}

// answered reads one answer.
func (b *blockFetch) answered(conn net.Conn, d *wire.Decoder) error {
	if err := conn.SetReadDeadline(time.Now().Add(bulkAnswerTimeout)); err != nil {
		return err
	}
	h, body, err := wire.ReadFrame(conn, d)
	if err != nil {
		return fmt.Errorf("wait for bytes of the file: %w", err)
	}
	b.peer.owner.cfg.Counters.In(h.Type, len(body))
	if e := new(wire.Error); h.Type == wire.TypeError && e.Read(body) == nil {
		return e
	}
	var a wire.BlockRangeAnswer
	if h.Type != wire.TypeBlockRangeAnswer {
		return b.ends(fmt.Errorf("a question for a block file is answered with %s", h.Type))
	}
	if err := a.Read(body); err != nil {
		return b.ends(err)
	}
	return b.take(&a)
}

// ends makes an error final.
func (b *blockFetch) ends(err error) error {
	b.final = err
	return err
}

func (b *blockFetch) take(a *wire.BlockRangeAnswer) error {
	switch a.State {
	case wire.BlockAbsent:
		return b.ends(fmt.Errorf("%w: %s", ErrBlockAbsent, a.Why))
	case wire.BlockBusy:
		return b.ends(fmt.Errorf("%w: %s", ErrBlockBusy, a.Why))
	}
	if b.file == nil {
		var err error
		if b.file, err = b.store.Receive(blocks.Group{ID: b.question.Group, Incarnation: b.question.Incarnation}, block.Sum(b.question.Sum), int64(a.Size)); err != nil {
			return b.ends(err)
		}
		b.size = a.Size
	}
	due := b.offset()
	if want := min(wire.ChunkBytesMax, b.size-due); a.Size != b.size || a.Offset != due || uint64(len(a.Data)) != want {
		return b.ends(fmt.Errorf("%d bytes at %d of a block file of %d, want %d at %d of %d", len(a.Data), a.Offset, a.Size, want, due, b.size))
	}
	if err := b.file.Chunk(int64(due), a.Data); err != nil {
		return b.ends(err)
	}
	return nil
}
