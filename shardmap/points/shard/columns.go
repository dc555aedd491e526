package shard

import (
	"bytes"
	"slices"

	"muster/shardmap/points/column"
)

// headColumn is a field of a series in a head.
type headColumn struct {
	series, field []byte // the field as it is written
	number        uint32
	kind          column.Kind
	refs          []ref
}

// columns goes through the fields of the series of a head, as of an entry.
type columns struct {
	live   *head
	h      *head // as it was when the columns of the series were read
	s      *Shard
	entry  uint64
	series []uint32
	fields []headColumn // of the series before these, those that are still to come
	refs   []ref
	ids    []uint32
}

// columns returns the fields of all series in the order of a block file.
func (h *head) columns(s *Shard, entry uint64) *columns {
	c := h.unordered(s, entry)
	slices.SortFunc(c.series, func(a, b uint32) int {
		return bytes.Compare(c.h.key(c.h.series.at(a)), c.h.key(c.h.series.at(b)))
	})
	return c
}

// unordered returns the fields of all series in any order.
func (h *head) unordered(s *Shard, entry uint64) *columns {
	s.mu.RLock()
	defer s.mu.RUnlock()
	now := *h
	return &columns{live: h, h: &now, s: s, entry: entry, series: h.seriesUntil(entry)}
}

// next returns the column that is next; nil: there is none.
func (c *columns) next() *headColumn {
	for len(c.fields) == 0 {
		if len(c.series) == 0 {
			return nil
		}
		c.readSeries(c.series[0])
		c.series = c.series[1:]
	}
	return &c.fields[0]
}

// pass goes to the column behind the next one.
func (c *columns) pass() { c.fields = c.fields[1:] }

// readSeries reads the fields of a series, in order.
func (c *columns) readSeries(n uint32) {
	c.fields, c.refs = c.fields[:0], c.refs[:0]
	c.s.mu.RLock()
	defer c.s.mu.RUnlock()
	*c.h = *c.live
	h := c.h
	key := h.key(h.series.at(n))
	c.ids = h.fieldsOfSeries(c.ids[:0], n)
	for _, f := range c.ids {
		x := &c.s.schema.fields[f]
		if !x.alive(c.entry) {
			continue
		}
		from := len(c.refs)
		c.refs = h.refsOf(c.refs, n, f)
		c.fields = append(c.fields, headColumn{key, c.s.schema.fieldName(f), f, x.kind, c.refs[from:len(c.refs):len(c.refs)]})
	}
	slices.SortFunc(c.fields, func(a, b headColumn) int { return bytes.Compare(a.field, b.field) })
}
