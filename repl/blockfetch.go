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
	b := blockFetch{peer: o, BlockReceipt: NewBlockReceipt(store, g, sum), pace: newPaceOf(p.rate.Load, ctx.Done())}
	defer b.Abort()
	for {
		before := b.offset()
		err := b.overOne(ctx)
		switch {
		case err == nil:
			return b.Commit()
		case ctx.Err() != nil:
			return blocks.File{}, ctx.Err()
		case b.final != nil || b.offset() == before:
			return blocks.File{}, err
		}
		b.Again()
	}
}

// BlockReceipt takes a block file from another node, range by range, synchronously: its owner carries the questions there and the
// answers back.
//
//  1. Send all that Ask gives, in order.
//  2. Hand each answer to Take, in order. After an error nothing of that node helps.
//  3. When Whole says so, Commit. Else Abort, which after a Commit does nothing.
//  4. If the connection breaks, either give up, or call Again and continue over another one.
//
// It writes to the disk.
type BlockReceipt struct {
	store    *blocks.Store
	question wire.BlockRange  // without an offset
	file     *blocks.Receiver // nil until the size is known
	size     uint64
	asked    uint64 // up to which byte
	begun    bool   // the first question has left, which asks for the size too
}

// NewBlockReceipt begins to take a block file of a group.
func NewBlockReceipt(store *blocks.Store, g blocks.Group, sum block.Sum) *BlockReceipt {
	return &BlockReceipt{store: store, question: wire.BlockRange{Group: g.ID, Incarnation: g.Incarnation, Sum: wire.BlockSum(sum), Most: wire.ChunkBytesMax}}
}

// Abort gives up what has come, unless it was committed.
func (b *BlockReceipt) Abort() {
	if b.file != nil {
		b.file.Abort()
	}
}

// offset is how much of the file has come.
func (b *BlockReceipt) offset() uint64 {
	if b.file == nil {
		return 0
	}
	return uint64(b.file.Offset())
}

// Again asks anew for all that has not come: questions or answers were lost.
func (b *BlockReceipt) Again() { b.asked, b.begun = b.offset(), b.file != nil }

// Ask fills in the next question, unless answers are to be waited for.
func (b *BlockReceipt) Ask(q *wire.BlockRange) bool {
	if b.file == nil && b.begun || b.file != nil && (b.asked >= b.size || b.asked >= b.offset()+wire.BlockRangesMax*wire.ChunkBytesMax) {
		return false
	}
	*q = b.question
	q.Offset = b.asked
	b.asked += wire.ChunkBytesMax
	b.begun = true
	return true
}

// waits reports whether answers are under way.
func (b *BlockReceipt) waits() bool { return b.asked > b.offset() }

// Whole reports whether all bytes have come.
func (b *BlockReceipt) Whole() bool { return b.file != nil && b.offset() == b.size }

// Commit verifies the file and makes it durable.
func (b *BlockReceipt) Commit() (blocks.File, error) { return b.file.Commit() }

// Take takes an answer. Its errors are those of [Peers.FetchBlockFile].
func (b *BlockReceipt) Take(a *wire.BlockRangeAnswer) error {
	switch a.State {
	case wire.BlockAbsent:
		return fmt.Errorf("%w: %s", ErrBlockAbsent, a.Why)
	case wire.BlockBusy:
		return fmt.Errorf("%w: %s", ErrBlockBusy, a.Why)
	}
	if b.file == nil {
		var err error
		if b.file, err = b.store.Receive(blocks.Group{ID: b.question.Group, Incarnation: b.question.Incarnation}, block.Sum(b.question.Sum), int64(a.Size)); err != nil {
			return err
		}
		b.size = a.Size
	}
	due := b.offset()
	if want := min(wire.ChunkBytesMax, b.size-due); a.Size != b.size || a.Offset != due || uint64(len(a.Data)) != want {
		return fmt.Errorf("%d bytes at %d of a block file of %d, want %d at %d of %d", len(a.Data), a.Offset, a.Size, want, due, b.size)
	}
	return b.file.Chunk(int64(due), a.Data)
}

// blockFetch fetches a block file over connections.
type blockFetch struct {
	*BlockReceipt
	peer  *peer
	pace  Pace
	final error // what another connection would not change
	out   []byte
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
	var q wire.BlockRange
	for {
		// A connection that is worn gets no more questions, only the answers to those that are under way.
		for !worn(conn) && b.Ask(&q) {
			if err := b.ask(conn, &q); err != nil {
				return err
			}
		}
		if b.Whole() {
			return nil
		}
		if !b.waits() {
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

func (b *blockFetch) ask(conn net.Conn, q *wire.BlockRange) error {
	if err := b.pace(wire.ChunkBytesMax); err != nil {
		return err
	}
	b.out = wire.AppendFrame(b.out[:0], wire.TypeBlockRange, 0, q)
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
	if err := b.Take(&a); err != nil {
		return b.ends(err)
	}
	return nil
}

// ends makes an error final.
func (b *blockFetch) ends(err error) error {
	b.final = err
	return err
}
