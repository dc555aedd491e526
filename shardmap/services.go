package shardmap

import "bytes"

// services is the part of a map that knows what is asked about services. Its methods are the
// map's.
type services struct {
	of *Map // set once

	// changes counts changes of services, as ServiceChanges says. It is owned by the goroutine
	// that applies.
	changes uint64
}

// ServiceRow is a service, as a listing shows it.
type ServiceRow struct {
	Slot    Slot
	Name    []byte
	Version uint64
	Value   []byte // with its secrets: registry.Public makes what may leave the node
}

// Service returns the value of a service's record, and its version. The value has the
// service's secrets in it: registry.Public makes what may leave the node. Any goroutine may
// call it.
func (v *services) Service(name []byte) (value []byte, version uint64, is Presence) {
	s, hash := locate(name)
	pages := v.of.slots.Load()
	st := pages.at(s)
	if st == nil {
		return nil, 0, pages.presence(s)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	services := st.kind(KindService)
	if services == nil {
		return nil, 0, Absent
	}
	rec := services.get(name, hash)
	if rec == nil {
		return nil, 0, Absent
	}
	return bytes.Clone(rec.value()), rec.version(), Present
}

// Services returns services of those slots that the group serves, by slot and then by name, and
// whether there are more. It begins behind the service after in the slot afterSlot, and returns
// so many that their names and values come to no more than limit bytes, but one at least. It
// looks at each of the slots. The goroutine that applies calls it, between two entries; the rows
// are good until the next one.
func (v *services) Services(slots []SlotRange, afterSlot Slot, after []byte, limit int) (rows []ServiceRow, more bool) {
	pages, used := v.of.slots.Load(), 0
	for slot := range eachOf(slots) {
		st := pages.at(slot)
		if st == nil || slot < afterSlot {
			continue
		}
		services := st.kind(KindService)
		if services == nil {
			continue
		}
		var from []byte
		if slot == afterSlot {
			from = after
		}
		for at := services.seek(from); ; at.next() {
			rec := at.record()
			if rec == nil {
				break
			}
			if len(from) > 0 && bytes.Equal(rec.key(), from) {
				continue
			}
			size := rec.keyLen() + rec.valueLen()
			if len(rows) > 0 && used+size > limit {
				return rows, true
			}
			used += size
			rows = append(rows, ServiceRow{Slot: slot, Name: rec.key(), Version: rec.version(), Value: rec.value()})
		}
	}
	return rows, false
}

// EachService calls f for each service of the slots that the group serves, in the order in which
// Services lists them, until f returns false. slotTime is the time of the slot, in milliseconds.
// Name and value are good until f returns. The goroutine that applies calls it, between two
// entries.
func (v *services) EachService(f func(s Slot, name []byte, version, slotTime uint64, value []byte) bool) {
	now, pages := v.of.time, v.of.slots.Load()
	for slot := range Slot(Slots) {
		st := pages.at(slot)
		if st == nil || !st.hasServices() {
			continue
		}
		slotTime := st.time(now).milliseconds()
		for at := st.kind(KindService).seek(nil); ; at.next() {
			rec := at.record()
			if rec == nil {
				break
			}
			if !f(slot, rec.key(), rec.version(), slotTime, rec.value()) {
				return
			}
		}
	}
}

// ServiceChanges returns a number that grows with each entry that changes a service, or changes
// which slots with services the group serves, and when a state is loaded. It begins anew with the
// process. The goroutine that applies calls it.
func (v *services) ServiceChanges() uint64 { return v.changes }

// note records that the map serves a slot from now on, or no longer.
func (v *services) note(st *slotState) {
	if st.hasServices() {
		v.changes++
	}
}
