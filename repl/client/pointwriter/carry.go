package pointwriter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
)

const (
	// PiecesMax bounds the pieces of a write that are under way: of points that have a window when it begins, and of others.
	PiecesMax = 16
	// roundsMax is how often shares are brought whose windows are elsewhere by then.
	roundsMax = 6
	// roundPause is how long a write waits for a newer table before the second round, doubled for each one after that: the table
	// at hand may follow that of the group which has refused.
	roundPause = 20 * time.Millisecond
)

// carry brings a batch to its shards, and counts what becomes of it. Shares whose shard is elsewhere by now are taken apart
// anew by a newer table.
func (w *write) carry(ctx context.Context, b *points.Batch) {
	var ready, lacking []points.Share
	for _, s := range points.Split(b, w.placing.of) {
		if s.Shards == 0 {
			lacking = append(lacking, s)
		} else {
			ready = append(ready, s)
		}
	}
	if len(lacking) == 0 {
		w.bring(ctx, ready)
		return
	}
	// Neither waits for the other: while the meta group has no leader no window is made, and a group without one may take all the
	// time that the write has.
	late := w.apart()
	var other sync.WaitGroup
	other.Go(func() {
		late.ask(ctx) // for all of them together
		var shares []points.Share
		for i := range lacking {
			shares = append(shares, late.shares(ctx, &lacking[i].Batch)...)
		}
		late.bring(ctx, shares)
	})
	w.bring(ctx, ready)
	other.Wait()
	w.join(late)
}

// apart returns a write of the same table and request that has counted nothing yet. It gets all gaps.
func (w *write) apart() *write {
	o := *w
	o.result, o.denied, o.refused = Result{}, 0, nil
	o.placing.policy, o.placing.made = &o.policy, slices.Clone(w.placing.made)
	w.placing.gaps = nil
	return &o
}

// join adds what another write has counted.
func (w *write) join(o *write) {
	w.result.add(&o.result)
	if w.denied += o.denied; w.refused == nil {
		w.refused = o.refused
	}
}

// bring brings shares to their groups, and counts what becomes of them.
func (w *write) bring(ctx context.Context, shares []points.Share) {
	w.began = time.Now()
	for round := 1; len(shares) > 0; round++ {
		moved, why := w.round(ctx, shares)
		if len(moved) == 0 {
			return
		}
		err := w.pause(ctx, round)
		if err == nil {
			err = w.newer(ctx)
		}
		if err == nil && round == roundsMax {
			err = why
		}
		shares = nil
		for _, s := range moved {
			if err != nil {
				w.result.fail(s.Batch.Points(), err.Error())
				continue
			}
			shares = append(shares, w.shares(ctx, &s.Batch)...)
		}
	}
}

// pause waits before the next round.
func (w *write) pause(ctx context.Context, round int) error {
	timer := time.NewTimer(roundPause << (round - 1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// parcel is a share on its way.
type parcel struct {
	share *points.Share
	ref   shardmap.ShardRef
	group raft.GroupID

	mu      sync.Mutex // guards what follows
	stored  int
	hinted  int
	dropped [dropReasons]int
	example [dropReasons]string
	moved   error // the group has no such shard
	failed  error // the first other error; a lack of rights gives way to any other

	// Pieces with fields of a point that another piece counts.
	partly       int // failed
	hintedPartly int // hinted
}

// round brings shares to their groups, and returns those whose shard is elsewhere by now, with what the first group of them
// said. All others are counted.
func (w *write) round(ctx context.Context, shares []points.Share) (moved []*points.Share, why error) {
	room := make(chan struct{}, PiecesMax) // a token for each piece under way; never closed
	var carried sync.WaitGroup
	var parcels []*parcel
	for i := range shares {
		s := &shares[i]
		if s.Shards == 0 {
			w.lack(s)
			continue
		}
		x, _ := w.placing.at(s.Window.First) // which has placed it
		p := &parcel{share: s, group: x.shards[s.Shard], ref: shardmap.ShardRef{
			ShardID: shardmap.ShardID{Window: x.window, Shard: s.Shard}, Shards: s.Shards,
			Database: w.database.ID, Policy: w.policy.ID, Span: x.span,
		}}
		parcels = append(parcels, p)
		for piece := range s.Pieces(shardmap.PointsSizeMax, shardmap.PointsValuesMax) {
			select {
			case room <- struct{}{}:
			case <-ctx.Done():
			}
			if ctx.Err() != nil {
				p.end(&piece, Brought{}, context.Cause(ctx))
				break // what was not tried fails with it
			}
			carried.Go(func() {
				body := shardmap.PointsBody{Shard: p.ref, Name: w.database.Name, Mode: shardmap.PointsWrite, Share: piece.Bytes}
				b, err := w.cluster.Bring(ctx, p.group, &body, w.request.Level, w.gateway.waits.wait(p.group, w.began, time.Now()))
				w.gateway.waits.learn(p.group, &b, err, time.Now())
				p.end(&piece, b, err)
				<-room
			})
		}
	}
	carried.Wait()
	for _, p := range parcels {
		if p.moved != nil {
			moved = append(moved, p.share)
			if why == nil {
				why = p.moved
			}
			continue
		}
		p.count(w)
	}
	return moved, why
}

// lack counts the points of a share that finds no window.
func (w *write) lack(s *points.Share) {
	n := s.Batch.Points()
	i, _ := w.placing.gapAt(s.Window.First) // which has placed it
	switch l := w.placing.gaps[i].lack; {
	case l.dropped:
		w.result.drop(l.reason, n, l.why)
	default:
		w.fail(n, l.why, l.err)
	}
}

// fail counts points that failed, for want of the right if err says so.
func (w *write) fail(n int, why string, err error) {
	w.result.fail(n, why)
	if unauthorized(err) {
		if w.denied += n; w.refused == nil {
			w.refused = err
		}
	}
}

func unauthorized(err error) bool {
	var e *wire.Error
	return errors.As(err, &e) && e.Code == wire.CodeUnauthorized
}

// end takes note of what became of a piece.
func (p *parcel) end(piece *points.Piece, b Brought, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		var e *wire.Error
		if errors.As(err, &e) && (e.Code == wire.CodeMoved || e.Code == wire.CodeNotFound) {
			p.moved = err
			return
		}
		if p.failed == nil || unauthorized(p.failed) { // which counts only where nothing else is in the way
			p.failed = err
		}
		if piece.Points == 0 {
			p.partly++
		}
		return
	}
	if b.Hinted {
		p.hinted += piece.Points
		if piece.Points == 0 {
			p.hintedPartly++
		}
		return
	}
	a := &b.Answer
	dropped := int(a.Outcome.Dropped)
	if piece.Points > 0 {
		dropped = min(dropped, piece.Points)
	}
	p.stored += piece.Points - dropped // below 0 of a piece whose point counts in another one
	for reason, n := range droppedBy(&a.Outcome) {
		if n = min(n, dropped); n <= 0 {
			continue
		}
		dropped -= n
		if p.dropped[reason] += n; p.example[reason] == "" {
			p.example[reason] = exampleOf(&a.Outcome, DropReason(reason))
		}
	}
}

// droppedBy returns how many points a group has dropped for which reason. It does not tell fields of another kind from names that are
// too long: all of those have the reason which a client can do something about.
func droppedBy(o *shardmap.PointsOutcome) (by [dropReasons]int) {
	by[TooManySeries], by[TooManyValues], by[TooManyFields] = int(o.OverSeries), int(o.OverValues), int(o.OverFields)
	other := FieldConflict
	if exampleOf(o, FieldConflict) == "" && exampleOf(o, KeyTooLong) != "" {
		other = KeyTooLong
	}
	by[other] = int(o.Dropped) - by[TooManySeries] - by[TooManyValues] - by[TooManyFields]
	return by
}

// exampleOf returns the first of what was refused for a reason.
func exampleOf(o *shardmap.PointsOutcome, reason DropReason) string {
	for i := range o.Refused {
		if groupReasons[o.Refused[i].Reason] == reason {
			return o.Refused[i].String()
		}
	}
	return ""
}

// groupReasons are those for which groups drop points.
var groupReasons = map[shardmap.RefusedReason]DropReason{
	shardmap.RefusedKind: FieldConflict, shardmap.RefusedLength: KeyTooLong,
	shardmap.RefusedSeries: TooManySeries, shardmap.RefusedValues: TooManyValues, shardmap.RefusedFields: TooManyFields,
}

// count adds the points of a share to the write's: those that are neither stored nor dropped have failed.
func (p *parcel) count(w *write) {
	left := p.share.Batch.Points()
	for reason, n := range p.dropped {
		n = min(n, left)
		w.result.drop(DropReason(reason), n, p.example[reason])
		left -= n
	}
	// A piece that failed takes a point from the whole ones, be that stored or hinted: nobody knows which of them it has fields of.
	// A hinted one takes it from the stored.
	whole := max(0, min(p.stored+p.hinted-p.partly, left))
	stored := max(0, min(p.stored-p.partly-p.hintedPartly, whole))
	w.result.Stored += stored
	left -= stored
	hinted := whole - stored
	w.result.Hinted += hinted
	if left -= hinted; left == 0 {
		return
	}
	why := fmt.Sprintf("%s has not answered for all of them", p.ref)
	if p.failed != nil {
		why = p.failed.Error()
	}
	w.fail(left, why, p.failed)
}
