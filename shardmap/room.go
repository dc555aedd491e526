package shardmap

// Room is how much of a limit is used.
type Room struct {
	What      string // is counted
	Used, Max int
}

// Fuller reports whether a larger part of r is used than of o.
func (r Room) Fuller(o Room) bool { return r.Used*max(o.Max, 1) > o.Used*max(r.Max, 1) }

// fullest returns the one of which the largest part is used.
func fullest(rooms ...Room) (most Room) {
	for _, r := range rooms {
		if r.Fuller(most) || most.Max == 0 {
			most = r
		}
	}
	return most
}

// SessionRooms returns the limit that is the most used of those of what a group remembers of
// its clients' sessions, and the most used of those of one slot, with that slot. Beyond either
// a write that opens a session is refused. It looks at each slot, and only the goroutine that
// applies may call it.
func SessionRooms(m *Map) (group, slot Room, of Slot) {
	q := &m.quota
	group = fullest(Room{"sessions", q.sessions, q.sessionsMax}, Room{"outcomes of writes", q.outcomes, q.outcomesMax},
		Room{"bytes of what writes answered", q.details, q.detailsMax})
	slot = Room{"sessions", 0, SlotSessionsMax}
	for p, page := range m.slots.Load().served {
		if page == nil {
			continue
		}
		for s, st := range page {
			if st == nil {
				continue
			}
			t := &st.sessions
			one := fullest(Room{"sessions", t.count, SlotSessionsMax}, Room{"outcomes of writes", t.outcomes, SlotOutcomesMax},
				Room{"bytes of what writes answered", t.details, SlotDetailsMax})
			if one.Fuller(slot) {
				slot, of = one, Slot(p*pageSlots+s)
			}
		}
	}
	return group, slot, of
}

// Holdings is how much there is in the slots that a group serves.
type Holdings struct {
	Keys     int
	Leases   int
	Services int
	Sessions Room
}

// HoldingsOf counts what a group has. It looks at each slot, and only the goroutine that applies
// may call it.
func HoldingsOf(m *Map) Holdings {
	h := Holdings{Sessions: Room{"sessions", m.quota.sessions, m.quota.sessionsMax}}
	count := func(st *slotState, k RecordKind) int {
		if s := st.kind(k); s != nil {
			return s.count
		}
		return 0
	}
	for _, page := range m.slots.Load().served {
		if page == nil {
			continue
		}
		for _, st := range page {
			if st != nil {
				h.Keys += st.records.count
				h.Leases += count(st, KindLease)
				h.Services += count(st, KindService)
			}
		}
	}
	return h
}
