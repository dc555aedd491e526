package shardmap

import (
	"encoding/binary"
	"fmt"

	"muster/raft"
)

// EventKind is the kind of an event. Numbers are for ever.
type EventKind uint8

const (
	EventSet     EventKind = 1 // the key has the value
	EventDel     EventKind = 2 // a command removed the key
	EventExpired EventKind = 3 // the key's time came, or its lease's
	EventLeft    EventKind = 4 // the slot was sealed: it goes to Group by move Number
	EventCame    EventKind = 5 // the slot was taken over from Group, which had sealed it at Sealed
	EventBack    EventKind = 6 // the slot was unsealed, as it was: Group refused to take it over by move Number

	EventService     EventKind = 7 // the service is Value, whole and with its secrets
	EventServiceGone EventKind = 8 // the service was removed

	eventNewest = EventServiceGone // that this code understands
)

func (k EventKind) String() string {
	switch k {
	case EventSet:
		return "set"
	case EventDel:
		return "del"
	case EventExpired:
		return "expired"
	case EventLeft:
		return "left"
	case EventCame:
		return "came"
	case EventBack:
		return "back"
	case EventService:
		return "service"
	case EventServiceGone:
		return "service gone"
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// OfKey reports whether an event of kind k is about a key.
func (k EventKind) OfKey() bool { return k >= EventSet && k <= EventExpired }

// OfSlot reports whether an event of kind k is about a whole slot.
func (k EventKind) OfSlot() bool { return k >= EventLeft && k <= EventBack }

// OfService reports whether an event of kind k is about a service.
func (k EventKind) OfService() bool { return k == EventService || k == EventServiceGone }

// valued reports whether an event of kind k says what its key, or its service, is now.
func (k EventKind) valued() bool { return k == EventSet || k == EventService }

// Event is one change that an entry has made. The events of an entry are numbered from 1.
type Event struct {
	Kind EventKind
	Slot Slot
	ID   raft.LogID // the entry
	N    uint32     // the event's number among those of its entry

	// For an event of a key, or of a service, whose name Key then is. Version is the one that the
	// change made, even if it removed the key; all events of an entry in one slot share it.
	Key     []byte
	Value   []byte // for a set, or a service; not nil, even if it is empty
	Version uint64

	// For an event of a key. HadPrev says that the key was there before, at PrevVersion and with
	// the value Prev. Prev is nil if the history left it out because the entry's values exceed
	// [EntryPrevMax].
	HadPrev     bool
	Prev        []byte
	PrevVersion uint64

	// For an event of a slot. Group is the other group of the move, and Number the move's number.
	// If the slot came, Sealed is the log id of its seal in Group's log.
	Group  raft.GroupID
	Number uint64
	Sealed raft.LogID
}

// Position returns the place right behind e.
func (e *Event) Position() Position { return Position{ID: e.ID, N: e.N} }

// An event lies in a block of the history, and in a snapshot, as follows, little-endian.
// It begins on a multiple of eight bytes:
//
//	 0  u32  length, with this head and the filling
//	 4  u8   kind
//	 5  u8   1: there was a value before; 2: and it is here
//	 6  u16  slot
//	 8  u64  term of the entry
//	16  u64  index
//	24  u64  version; of a slot, the number of the move
//	32  u32  number of the event in its entry
//	36  u32  length of the value
//	40  u32  length of the value before
//	44  u16  length of the key
//	46  u16  of a slot: the other group
//	48  u64  version of the value before
//	56       key, value, value before, and zeros up to a multiple of eight
//
// The value of an event of kind came is the term and index of the seal, u64 each.
const (
	eventHead  = 56
	eventGroup = 46

	eventHadPrev = 1 << 0
	eventHasPrev = 1 << 1

	sealedSize = 16 // of the value of an event of kind came
)

// eventSize returns the bytes that an event takes.
func eventSize(key, value, prev int) int { return aligned(eventHead + key + value + prev) }

// eventAlign is what the size of an event is a multiple of, in bytes.
const eventAlign = 8

// aligned returns the least multiple of eventAlign that is at least n.
func aligned(n int) int { return (n + eventAlign - 1) &^ (eventAlign - 1) }

// eventSizeMax bounds the bytes of one event.
const eventSizeMax = eventHead + KeyMax + ValueMaxLimit + EntryPrevMax + eventAlign - 1

// readEvent reads the event at the beginning of b into e, which aliases b, and returns the
// event's length. The event was written by a history, or checked.
func readEvent(b []byte, e *Event) int {
	size := int(binary.LittleEndian.Uint32(b))
	value, prev := int(binary.LittleEndian.Uint32(b[36:])), int(binary.LittleEndian.Uint32(b[40:]))
	key, flags := int(binary.LittleEndian.Uint16(b[44:])), b[5]
	*e = Event{
		Kind: EventKind(b[4]),
		Slot: Slot(binary.LittleEndian.Uint16(b[6:])),
		ID:   raft.LogID{Term: binary.LittleEndian.Uint64(b[8:]), Index: binary.LittleEndian.Uint64(b[16:])},
		N:    binary.LittleEndian.Uint32(b[32:]),
	}
	number := binary.LittleEndian.Uint64(b[24:])
	if e.Kind.OfSlot() {
		e.Number, e.Group = number, raft.GroupID(binary.LittleEndian.Uint16(b[eventGroup:]))
		if e.Kind == EventCame {
			at := b[eventHead:]
			e.Sealed = raft.LogID{Term: binary.LittleEndian.Uint64(at), Index: binary.LittleEndian.Uint64(at[8:])}
		}
		return size
	}
	e.Version = number
	rest := b[eventHead : eventHead+key+value+prev]
	e.Key = rest[:key:key]
	if e.Kind.valued() {
		e.Value = rest[key : key+value : key+value]
	}
	if flags&eventHadPrev != 0 {
		e.HadPrev, e.PrevVersion = true, binary.LittleEndian.Uint64(b[48:])
	}
	if flags&eventHasPrev != 0 {
		e.Prev = rest[key+value:]
	}
	return size
}

// checkEvent checks an event of unknown origin, of which b has at least the head, and returns
// its length.
func checkEvent(b []byte) (size int, err error) {
	size = int(binary.LittleEndian.Uint32(b))
	kind, flags := EventKind(b[4]), b[5]
	slot := Slot(binary.LittleEndian.Uint16(b[6:]))
	value, prev := binary.LittleEndian.Uint32(b[36:]), binary.LittleEndian.Uint32(b[40:])
	key, group := int(binary.LittleEndian.Uint16(b[44:])), raft.GroupID(binary.LittleEndian.Uint16(b[eventGroup:]))
	prevVersion := binary.LittleEndian.Uint64(b[48:])
	switch {
	case kind < EventSet || kind > eventNewest:
		return 0, fmt.Errorf("event of kind %d: %w; known are %d to %d", kind, ErrLevel, EventSet, eventNewest)
	case flags > eventHadPrev|eventHasPrev || flags == eventHasPrev:
		return 0, fmt.Errorf("event with flags %d: %w", flags, ErrLevel)
	case slot >= Slots:
		return 0, fmt.Errorf("event of slot %d, the last is %d", slot, Slots-1)
	case key > KeyMax || value > ValueMaxLimit || prev > EntryPrevMax:
		return 0, fmt.Errorf("event with a key of %d bytes, a value of %d, and %d before; the limits are %d, %d, %d", key, value, prev, KeyMax, ValueMaxLimit, EntryPrevMax)
	case size != eventSize(key, int(value), int(prev)):
		return 0, fmt.Errorf("event of %d bytes, its parts take %d", size, eventSize(key, int(value), int(prev)))
	case binary.LittleEndian.Uint32(b[32:]) == 0 || binary.LittleEndian.Uint64(b[24:]) == 0:
		return 0, fmt.Errorf("event %d with version or number %d; both begin with 1", binary.LittleEndian.Uint32(b[32:]), binary.LittleEndian.Uint64(b[24:]))
	}
	ofSlot := kind.OfSlot()
	wantValue := uint32(0)
	if kind == EventCame {
		wantValue = sealedSize
	}
	switch {
	case ofSlot != (key == 0), !kind.valued() && value != wantValue,
		ofSlot != (group != 0) || group > raft.GroupMax,
		!kind.OfKey() && flags != 0, kind != EventSet && kind.OfKey() && flags&eventHadPrev == 0, // what goes was there
		flags&eventHasPrev == 0 && prev != 0, (flags&eventHadPrev == 0) != (prevVersion == 0):
		return 0, fmt.Errorf("event of kind %s with flags %d, a key of %d bytes, a value of %d, %d before at version %d, group %d", kind, flags, key, value, prev, prevVersion, group)
	}
	return size, nil
}
