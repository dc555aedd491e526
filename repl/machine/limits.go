package machine

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"muster/repl/quota"
	"muster/repl/wire"
	"muster/shardmap"
)

// Limits keeps what a data group has of prefixes within what the table allows, as far as that is for this
// group to decide: where it is led, a write that adds to a prefix is refused before the log unless the group's
// allotment has room for it. What is in the log is applied, whatever the limits are. Each replica counts what there is.
//
// All methods are for the goroutine that applies.
type Limits struct {
	of      *Map
	table   *shardmap.Table // whose limits are followed
	limits  []shardmap.Limit
	leader  quota.Leader
	growth  []shardmap.Growth // scratch
	command shardmap.Command  // scratch
}

// follow takes the limits of the table that the node has now.
func (l *Limits) follow() {
	t := l.of.table()
	if t == l.table {
		return
	}
	l.table = t
	var limits []shardmap.Limit
	if t != nil {
		limits = t.Security.Limits
	}
	if slices.Equal(limits, l.limits) {
		return
	}
	l.limits = limits
	l.of.State.Tallies().Count(PrefixesOf(limits))
	l.leader.Set(quota.LimitsOf(limits))
}

// PrefixesOf returns the prefixes that have a limit.
func PrefixesOf(limits []shardmap.Limit) shardmap.Prefixes {
	list := make([]string, len(limits))
	for i := range limits {
		list[i] = limits[i].Prefix
	}
	return shardmap.NewPrefixes(list)
}

// lead says in which term the group is led here. Before an entry of that term is applied, what is there
// is not all that is promised.
func (l *Limits) lead(term uint64) {
	if l.of.State.Applied().Term != term {
		term = 0
	}
	l.leader.Lead(term)
}

func (l *Limits) sync(i int) { l.leader.Sync(i, l.of.State.Tallies().At(i)) }

// Admit implements [repl.Limiter].
func (l *Limits) Admit(term uint64, now time.Duration, payload []byte) (ticket uint64, refused *wire.Error) {
	l.follow()
	var busy *wire.Error // for points
	if l.of.Points.Busy != nil {
		busy = l.of.Points.Busy()
	}
	switch {
	case len(l.limits) == 0 && busy == nil:
		return 0, nil
	case ReadCommand(payload, &l.command) != nil:
		return 0, nil // Apply complains of it
	case busy != nil && l.command.Kind == shardmap.CommandPoints:
		return 0, busy
	case len(l.limits) == 0:
		return 0, nil
	}
	l.growth = l.of.State.Tallies().Growth(&l.command, l.growth[:0])
	if len(l.growth) == 0 {
		return 0, nil
	}
	l.lead(term)
	for i := range l.growth {
		l.sync(l.growth[i].Prefix)
	}
	ticket, why := l.leader.Admit(now, requestOf(&l.command), l.growth)
	if why != nil {
		return 0, limitError(why)
	}
	return ticket, nil
}

// requestOf returns a number that a command has whenever its client sends it.
func requestOf(c *shardmap.Command) uint64 {
	d := xxhash.New()
	var b [16]byte
	binary.LittleEndian.PutUint64(b[0:], c.Session)
	binary.LittleEndian.PutUint64(b[8:], c.Sequence)
	_, _ = d.Write(b[:]) // a hash takes everything
	if c.Session == 0 {
		for _, item := range c.Items {
			_, _ = d.Write(item)
		}
	}
	return d.Sum64()
}

// Proposed implements [repl.Limiter].
func (l *Limits) Proposed(ticket, index uint64) { l.leader.Proposed(ticket, index) }

// Withdrawn implements [repl.Limiter].
func (l *Limits) Withdrawn(ticket uint64) { l.leader.Withdrawn(ticket) }

// CountLimits implements [quota.Group].
func (l *Limits) CountLimits(keys int) (done bool) {
	l.follow()
	return l.of.State.Tallies().Step(keys)
}

// Usage implements [quota.Group].
func (l *Limits) Usage(term uint64, now time.Duration, m *wire.Usage, order *wire.UsageOrder) (wire.UsageReport, bool) {
	l.follow()
	l.lead(term)
	for i := range l.limits {
		l.sync(i)
	}
	r, ok := l.leader.Take(now, m, order)
	r.Group = l.of.Group
	return r, ok
}

// limitError says to a client why its write is refused.
func limitError(r *quota.Refusal) *wire.Error {
	object := fmt.Sprintf("prefix %q", r.Prefix)
	unit, next := " "+r.Kind, fmt.Sprintf("delete keys of that prefix, or have its limit raised with muster namespace limit %s --%s N", r.Prefix, r.Kind)
	if r.Kind == quota.KindRate {
		return wire.WaitForLimit(object, "written to faster than its limit, nothing was applied",
			fmt.Sprintf("the limit is %d keys a second, %d were written in the last one, %d are left", r.Most, r.Used, r.Left), r.After)
	}
	found := fmt.Sprintf("the limit is %d%s, it has %d, %d are left", r.Most, unit, r.Used, r.Left)
	if r.Over {
		return wire.OverLimit(object, found, next)
	}
	return wire.WaitForLimit(object, "it is not known yet whether this fits into its limit, nothing was applied", found, r.After)
}

// limited tells which commands concern a limit, so that the goroutine that serves all groups need not read
// the others again.
type limited struct {
	table    *shardmap.Table
	prefixes shardmap.Prefixes // with a limit in it
}

// touched reports whether a command, which is good, may give a value to a key of a prefix with a limit.
func (l *limited) touched(c *shardmap.Command, t *shardmap.Table) bool {
	if c.Kind == shardmap.CommandPoints {
		return true // their node bounds what it holds in memory
	}
	if l.table != t {
		l.table, l.prefixes = t, PrefixesOf(t.Security.Limits)
	}
	if l.prefixes.Len() == 0 {
		return false
	}
	switch c.Kind {
	case shardmap.CommandSet:
		for i := 0; i < len(c.Items); i += 2 {
			if l.prefixes.Longest(c.Items[i]) >= 0 {
				return true
			}
		}
		return false
	case shardmap.CommandTxn:
		return true // its keys stand within
	}
	return false
}
