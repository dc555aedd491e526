package shardmap

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"pgregory.net/rapid"

	"muster/raft"
	"muster/shardmap/pack"
)

// modelEnd is how a key ends; due by the time of the group that has it now, which is not how
// the map keeps it.
type modelEnd struct {
	due   raft.GroupTime // 0: at no time
	lease LeaseID
}

type modelLease struct {
	ttl uint64
	due raft.GroupTime
}

// endOf is what a read shows of how a key ends.
func (m *model) endOf(e modelEnd) End {
	switch {
	case e.lease != 0:
		return End{Ends: true, At: m.leases[e.lease].due, Lease: e.lease}
	case e.due != 0:
		return End{Ends: true, At: e.due}
	}
	return End{}
}

// shift moves all times from one group's time to another's.
func (m *model) shift(from, to raft.GroupTime) {
	for k, v := range m.keys {
		if v.due != 0 {
			v.due = v.due - from + to
			m.keys[k] = v
		}
	}
	for id, v := range m.leases {
		v.due = v.due - from + to
		m.leases[id] = v
	}
	m.shiftVersions(from, to)
}

// txn does one operation after the other, and puts everything back if one fails.
func (m *model) txn(slot Slot, id raft.LogID, now raft.GroupTime, c *Command) Result {
	t, err := ReadTxn(c)
	if err != nil {
		panic(err)
	}
	keys, last := maps.Clone(m.keys), m.last[slot]
	fail := func(s Status, detail []byte) Result {
		m.keys, m.last[slot] = keys, last
		return Result{Status: s, Group: m.group, ID: id, Detail: detail}
	}
	ops := t.Then
	for _, x := range t.If {
		k, there := m.keys[string(x.Key)]
		if x.Kind == CompareAbsent && there || x.Kind == CompareVersion && k.version != x.Version ||
			x.Kind == CompareValue && (!there || k.value != string(x.Value)) {
			ops = t.Else
		}
	}
	r := Result{Status: StatusApplied, Group: m.group, ID: id}
	if slices.ContainsFunc(ops, func(o Op) bool { return o.Kind != OpGet }) {
		r.Version = max(id.Index, last+1)
		m.last[slot] = r.Version
	}
	held := true
	for _, x := range t.If {
		k, there := keys[string(x.Key)]
		held = held && map[CompareKind]bool{CompareAbsent: !there, CompareVersion: there && k.version == x.Version, CompareValue: there && k.value == string(x.Value)}[x.Kind]
	}
	detail := pack.AppendArray(pack.AppendBool(pack.AppendArray(nil, 2), held), len(ops))
	read := 0
	for _, o := range ops {
		k, there := m.keys[string(o.Key)]
		refusal := func(found string) []byte {
			return pack.AppendBytes(pack.AppendBytes(pack.AppendArray(nil, 2), o.Key), []byte(found))
		}
		switch o.Kind {
		case OpSet:
			n := modelKey{value: string(o.Value), version: r.Version}
			if o.TTL > 0 {
				n.due = now + raft.GroupTime(o.TTL)*1e6
			}
			if n.lease = o.Lease; n.lease != 0 {
				if _, there := m.leases[n.lease]; !there {
					return fail(StatusNoLease, pack.AppendUint(nil, uint64(o.Lease)))
				}
			}
			m.keys[string(o.Key)] = n
			detail = pack.AppendNil(detail)
		case OpDel:
			delete(m.keys, string(o.Key))
			detail = pack.AppendBool(detail, there)
		case OpGet:
			if read += len(k.value); read > TxnReadMax {
				return fail(StatusReadTooLarge, pack.AppendNil(pack.AppendBytes(pack.AppendArray(nil, 2), o.Key)))
			}
			if !there {
				detail = pack.AppendNil(detail)
			} else {
				detail = pack.AppendBytes(pack.AppendUint(pack.AppendArray(detail, 2), k.version), []byte(k.value))
			}
		case OpIncr:
			n := int64(0)
			if there {
				// As many bytes as the smallest number has are enough for any.
				if n, err = strconv.ParseInt(k.value, 10, 64); err != nil || len(k.value) > len("-9223372036854775808") {
					return fail(StatusNotNumber, refusal(k.value[:min(len(k.value), 64)]))
				}
			}
			sum := n + o.By
			if (sum > n) != (o.By > 0) && o.By != 0 {
				return fail(StatusOverflow, refusal(fmt.Sprint(n)))
			}
			k.value, k.version = fmt.Sprint(sum), r.Version
			m.keys[string(o.Key)] = k
			detail = pack.AppendInt(detail, sum)
		}
	}
	r.Detail = detail
	return r
}

func (m *model) lease(slot Slot, id raft.LogID, now raft.GroupTime, c *Command) Result {
	op, lease, ttl, err := ReadLease(c)
	if err != nil {
		panic(err)
	}
	was, there := m.leases[lease]
	if op != LeaseGrant && !there {
		return Result{Status: StatusNoLease, Group: m.group, ID: id, Detail: pack.AppendUint(nil, uint64(lease))}
	}
	v := max(id.Index, m.last[slot]+1)
	m.last[slot] = v
	switch op {
	case LeaseGrant:
		lease = MakeLeaseID(slot, v)
	case LeaseKeepalive:
		ttl = was.ttl
	case LeaseRevoke:
		m.endLease(lease)
	}
	if op != LeaseRevoke {
		m.leases[lease] = modelLease{ttl, now + raft.GroupTime(ttl)*1e6}
	}
	return Result{Status: StatusApplied, Group: m.group, ID: id, Version: v,
		Detail: pack.AppendUint(pack.AppendUint(pack.AppendArray(nil, 2), uint64(lease)), ttl)}
}

func (m *model) endLease(id LeaseID) {
	delete(m.leases, id)
	maps.DeleteFunc(m.keys, func(_ string, k modelKey) bool { return k.lease == id })
}

// nextDue is the time at which something in a slot ends; the largest there is if nothing does.
func (m *model) nextDue(slot Slot) raft.GroupTime {
	at := raft.GroupTime(math.MaxUint64)
	for id, v := range m.leases {
		if id.Slot() == slot {
			at = min(at, v.due)
		}
	}
	for k, v := range m.keys {
		if SlotOf([]byte(k)) == slot && v.due != 0 {
			at = min(at, v.due)
		}
	}
	return min(at, m.nextVersionDue(slot))
}

// leaseRows is what a listing of the leases of a slot shows.
func (m *model) leaseRows(slot Slot, now raft.GroupTime) (rows []LeaseRow) {
	for id, v := range m.leases {
		if id.Slot() != slot {
			continue
		}
		row := LeaseRow{ID: id, TTL: v.ttl, Remaining: uint64(v.due-min(now, v.due)) / 1e6}
		for _, k := range m.keys {
			if k.lease == id {
				row.Keys++
			}
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b LeaseRow) int { return int(a.ID) - int(b.ID) })
	return rows
}

// checkEnds compares what ends in a slot, which the map serves.
func (m *model) checkEnds(slot Slot, x *Map, now raft.GroupTime) error {
	st := x.slot(slot)
	if e := st.endings; e != nil {
		for _, s := range []*store{&e.due, &e.attached} {
			if err := checkStore(s); err != nil {
				return fmt.Errorf("slot %d, order of ends: %w", slot, err)
			}
		}
	}
	want := m.leaseRows(slot, x.Time())
	for limit := 1; limit < 4; limit++ {
		got, after, more := []LeaseRow(nil), LeaseID(0), true
		for more {
			var rows []LeaseRow
			rows, more = x.Leases(x.Time(), []SlotRange{{slot, slot}}, after, limit)
			if got = append(got, rows...); len(rows) > limit || more && len(rows) == 0 {
				return fmt.Errorf("%d leases of %d asked for, more: %t", len(rows), limit, more)
			} else if more {
				after = rows[len(rows)-1].ID
			}
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("slot %d has the leases %+v, want %+v", slot, got, want)
		}
	}
	if at, waits := x.NextDue(); m.nextDue(slot) != math.MaxUint64 && (!waits || at > m.nextDue(slot)+endGather) {
		return fmt.Errorf("slot %d: something ends at %d, the next look is at %d: %t", slot, m.nextDue(slot), at, waits)
	}
	return nil
}

// txn makes a transaction over keys of one tag; what it compares with holds mostly.
func (h *harness) txn(t *rapid.T) {
	tag := rapid.SampledFrom(testTags).Draw(t, "tag")
	slot := SlotOf([]byte(tag))
	key := func() []byte { return []byte(genKeyOf(t, tag)) }
	if rapid.Bool().Draw(t, "few keys") {
		key = func() []byte { return []byte(tag + rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "key")) }
	}
	var x Txn
	for range rapid.IntRange(0, 2).Draw(t, "compares") {
		k := key()
		is, there := h.model.keys[string(k)]
		c := Compare{Kind: CompareAbsent, Key: k}
		if there == (rapid.IntRange(0, 3).Draw(t, "holds") > 0) {
			c.Kind = rapid.SampledFrom([]CompareKind{CompareVersion, CompareValue}).Draw(t, "compare")
		}
		if c.Kind == CompareVersion {
			c.Version = max(1, is.version)
		} else if c.Kind == CompareValue {
			c.Value = []byte(is.value)
		}
		x.If = append(x.If, c)
	}
	ops := func(least int) (ops []Op) {
		changed := map[string]bool{}
		for range rapid.IntRange(least, 5).Draw(t, "operations") {
			o := Op{Kind: rapid.SampledFrom([]OpKind{OpSet, OpDel, OpGet, OpIncr}).Draw(t, "operation"), Key: key()}
			if o.Kind.changes() && changed[string(o.Key)] {
				o.Kind = OpGet
			}
			switch o.Kind {
			case OpSet:
				o.Value = []byte(genValue(t))
				if rapid.Bool().Draw(t, "a number") {
					o.Value = []byte(rapid.SampledFrom([]string{"0", "-17", "9223372036854775807", "-9223372036854775808", "+5", "1e3", " 1", "00000000000000000000001"}).Draw(t, "number"))
				}
				switch rapid.IntRange(0, 2).Draw(t, "ends") {
				case 1:
					o.TTL = rapid.SampledFrom([]uint64{1, 1000, 300_000, TTLMax}).Draw(t, "ttl")
				case 2:
					o.Lease = h.leaseIn(t, slot)
				}
			case OpIncr:
				o.By = rapid.SampledFrom([]int64{1, -1, 0, math.MaxInt64, math.MinInt64}).Draw(t, "by")
			}
			changed[string(o.Key)] = changed[string(o.Key)] || o.Kind.changes()
			ops = append(ops, o)
		}
		return ops
	}
	x.Then, x.Else = ops(1), ops(0)
	c := TxnCommand(slot, &x)
	h.name(t, &c)
	h.send(t, c)
}

// leaseIn returns a lease of the slot, mostly one that is there.
func (h *harness) leaseIn(t *rapid.T, slot Slot) LeaseID {
	if rows := h.model.leaseRows(slot, 0); len(rows) > 0 && rapid.IntRange(0, 3).Draw(t, "there") > 0 {
		return rapid.SampledFrom(rows).Draw(t, "lease").ID
	}
	return MakeLeaseID(slot, 1+uint64(rapid.IntRange(0, 20).Draw(t, "lease number")))
}

func (h *harness) lease(t *rapid.T) {
	slot := SlotOf([]byte(rapid.SampledFrom(testTags).Draw(t, "tag")))
	op, id, ttl := rapid.SampledFrom([]LeaseOp{LeaseGrant, LeaseKeepalive, LeaseRevoke}).Draw(t, "op"), LeaseID(0), uint64(0)
	if op == LeaseGrant {
		ttl = rapid.SampledFrom([]uint64{1, 1000, 300_000, TTLMax}).Draw(t, "ttl")
	} else {
		id = h.leaseIn(t, slot)
	}
	c := LeaseCommand(slot, op, id, ttl)
	h.name(t, &c)
	h.send(t, c)
}

// time applies a time entry.
func (h *harness) time(t *rapid.T) {
	h.pass(t)
	h.index++
	id := raft.LogID{Term: 1 + h.index/100, Index: h.index}
	if err := h.m.Expire(id, h.now); err != nil {
		t.Fatal(err)
	}
	for _, tag := range testTags {
		h.model.expire(SlotOf([]byte(tag)), id, h.now)
	}
}
