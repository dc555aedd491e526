package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Count returns how many keys begin with prefix. The nodes count them; no key is sent. o may say
// From, To and After. The error of a cluster below level 9 has code level.
//
// Each group counts the keys of many slots at one moment, those of very many in parts; what is
// counted is not of one moment. A key that was there all the time is counted once, wherever its
// slot moves meanwhile.
func Count(ctx context.Context, c *Client, prefix []byte, o ListOptions) (uint64, error) {
	err := o.checkCount(prefix)
	if err == nil {
		err = c.needLevel(ctx, rangesObject, shardmap.RangesLevel)
	}
	p := newCountPager(ctx, c, prefix, o)
	if err == nil && !p.nothing {
		err = c.everyPage(ctx, p, slotsOfPrefix(p.request.Prefix))
	}
	if err != nil {
		return 0, fmt.Errorf("count %s: %w", shardmap.ShowKey(prefix), err)
	}
	return p.counted, nil
}

// checkCount refuses what no count can be.
func (o *ListOptions) checkCount(prefix []byte) error {
	if o.Limit != 0 || o.Descending || o.Local {
		return wire.BadRequest("count", fmt.Sprintf("limit %d, descending %t, local %t", o.Limit, o.Descending, o.Local), "leave them out: all keys of the range are counted, by the leaders of their groups")
	}
	return o.check(prefix)
}

// countPager counts keys.
type countPager struct {
	client  *Client
	ctx     context.Context
	request wire.List // but for group and slots
	nothing bool      // no key that is counted comes after o.After
	counted uint64
}

func newCountPager(ctx context.Context, c *Client, prefix []byte, o ListOptions) *countPager {
	p := &countPager{client: c, ctx: ctx, request: wire.List{KeysOnly: true, Span: o.span()}}
	s := &p.request.Span
	s.Counting = true
	if after := shardmap.KeyAfter(o.After); len(o.After) > 0 && bytes.Compare(after, s.From) > 0 {
		s.From = after
		p.nothing = s.Check(prefix) != nil // which nodes would refuse, and a listing shows as empty
	}
	p.request.Prefix = narrowed(prefix, s)
	return p
}

func (p *countPager) restart() { p.request.After = nil }

func (p *countPager) page(g raft.GroupID, slots []shardmap.Slot) (end pageEnd, err error) {
	q := p.request
	q.Group, q.Slots = g, shardmap.SlotRanges(slots)
	var a wire.ListAnswer
	if err := p.client.ofGroup(p.ctx, wire.TypeList, q.Level(), g, &q, &a); err != nil {
		return end, err
	}
	if a.More && len(a.Last) == 0 {
		return end, errors.New("the node has counted some keys, and does not say which")
	}
	p.counted += a.Counted
	if end.more = a.More; a.More {
		p.request.After, end.last = a.Last, shardmap.SlotOf(a.Last)
	}
	return end, nil
}
