package shardmap

import (
	"encoding/binary"
	"fmt"

	"muster/raft"
	"muster/shardmap/pack"
)

// LeaseOp is what a command does to a lease. Numbers are for ever.
type LeaseOp uint8

const (
	LeaseGrant     LeaseOp = 1 // makes one
	LeaseKeepalive LeaseOp = 2 // makes it last for its whole TTL from now on
	LeaseRevoke    LeaseOp = 3 // ends it, and removes its keys
)

func (o LeaseOp) String() string {
	switch o {
	case LeaseGrant:
		return "grant"
	case LeaseKeepalive:
		return "keepalive"
	case LeaseRevoke:
		return "revoke"
	}
	return fmt.Sprintf("op %d", uint8(o))
}

// LeaseCommand returns the command that does op to the lease id, in its slot. A grant has the
// id 0, and ttl is how long the lease lasts, in milliseconds; for other ops ttl is 0. The body,
// its only item, is a msgpack array:
//
//	[op, lease, ttl]
func LeaseCommand(slot Slot, op LeaseOp, id LeaseID, ttl uint64) Command {
	b := pack.AppendArray(nil, leaseFields)
	b = pack.AppendUint(b, uint64(op))
	b = pack.AppendUint(b, uint64(id))
	b = pack.AppendUint(b, ttl)
	return Command{Kind: CommandLease, Slot: slot, Items: [][]byte{b}}
}

const leaseFields = 3

// ReadLease reads the body of a [CommandLease].
func ReadLease(c *Command) (op LeaseOp, id LeaseID, ttl uint64, err error) {
	if c.Kind != CommandLease || len(c.Items) != 1 {
		return 0, 0, 0, fmt.Errorf("%w: %s with %d items is about no lease", ErrCommand, c.Kind, len(c.Items))
	}
	r := tableReader{Reader: pack.NewReader(c.Items[0])}
	r.fields("lease", leaseFields)
	op, id, ttl = LeaseOp(r.UintMax(255)), LeaseID(r.Uint()), r.Uint()
	if err := r.err(); err != nil {
		return 0, 0, 0, err
	}
	if op == 0 || op > LeaseRevoke {
		return 0, 0, 0, fmt.Errorf("lease %s: %w; known are 1 to %d", op, ErrLevel, LeaseRevoke)
	}
	return op, id, ttl, nil
}

// validateLease checks a client's command about a lease.
func (c *Command) validateLease(Limits) error {
	op, id, ttl, err := ReadLease(c)
	switch {
	case err != nil:
		return fmt.Errorf("%w: field body: %w", ErrRequest, err)
	case op == LeaseGrant && id != 0:
		return fmt.Errorf("%w: field lease: %s with grant; want 0, the grant gives the id", ErrRequest, id)
	case op == LeaseGrant && (ttl == 0 || ttl > TTLMax):
		return fmt.Errorf("%w: field ttl: %d ms; want 1 to %d", ErrRequest, ttl, uint64(TTLMax))
	case op == LeaseGrant:
		return nil
	case ttl != 0:
		return fmt.Errorf("%w: field ttl: %d ms with %s; want 0, a lease keeps that of its grant", ErrRequest, ttl, op)
	case id.Slot() != c.Slot:
		return fmt.Errorf("%w: field slot: %d; lease %s is in slot %d", ErrRequest, c.Slot, id, id.Slot())
	case id.Number() == 0:
		return fmt.Errorf("%w: field lease: %s; no lease has the number 0", ErrRequest, id)
	}
	return nil
}

// leaseFrees reports whether the command is carried out while disks are full. A revoke frees
// room. A keepalive does not, but without it clients that are alive would lose their keys.
func (c *Command) leaseFrees() bool {
	op, _, _, err := ReadLease(c)
	return err == nil && op != LeaseGrant
}

func describeLease(c *Command) (string, error) {
	op, id, ttl, err := ReadLease(c)
	switch {
	case err != nil:
		return "", err
	case op == LeaseGrant:
		return fmt.Sprintf("%s in slot %d for %d ms", op, c.Slot, ttl), nil
	}
	return fmt.Sprintf("%s %s", op, id), nil
}

// The record of a lease has its number as its name, big-endian, and as its value, little-endian:
//
//	0  u64  its TTL, in milliseconds
//	8  u64  the time of the slot at which it ends, in nanoseconds
//	16 u64  who was granted it                  only if that was a user, from level 8 on
const (
	leaseNameSize  = 8
	leaseValueSize = 16
	leaseOwnedSize = 24
)

// bugLeaseOfAnother is planted to show that its test finds it: whoever guesses the number of a lease
// may revoke it, and so delete keys that he may not write.
const bugLeaseOfAnother = "lease of another revoked"

// isLeaseValue reports whether a lease may have a value of so many bytes.
func isLeaseValue(size int) bool { return size == leaseValueSize || size == leaseOwnedSize }

func leaseName(number uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, leaseNameSize), number)
}

func leaseValue(ttl uint64, due slotTime, owner Principal) []byte {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, leaseOwnedSize), ttl)
	b = binary.LittleEndian.AppendUint64(b, uint64(due))
	if owner == 0 {
		return b
	}
	return binary.LittleEndian.AppendUint64(b, uint64(owner))
}

// leaseOwner reads who was granted a lease; 0: nobody in particular.
func leaseOwner(value []byte) Principal {
	if len(value) < leaseOwnedSize {
		return 0
	}
	return Principal(binary.LittleEndian.Uint64(value[leaseValueSize:]))
}

// isOf reports whether whoever sent a command may do something to a lease that owner was granted.
// Numbers of leases can be guessed, so they are no proof of anything.
func (c *Command) isOf(owner Principal) bool {
	return owner == 0 || c.Principal == 0 || c.Principal == owner || bug(bugLeaseOfAnother)
}

// leaseTTL and leaseDue read the value of the record of a lease.
func leaseTTL(value []byte) uint64   { return binary.LittleEndian.Uint64(value) }
func leaseDue(value []byte) slotTime { return slotTime(binary.LittleEndian.Uint64(value[8:])) }

// leaseOf returns the record of a lease; nil if there is none.
func (s *slotState) leaseOf(number uint64) record {
	leases := s.kind(KindLease)
	if leases == nil {
		return nil
	}
	name := leaseName(number)
	return leases.get(name, hashKey(name))
}

// millisecond is the unit of a TTL, in nanoseconds.
const millisecond = 1_000_000

// readLease reads the body of a command about a lease, for lease.
func (b *body) readLease(c *Command) (err error) {
	b.op, b.lease, b.ttl, err = ReadLease(c)
	return err
}

// lease is [CommandLease].
func (s *slotState) lease(m *Map, c *Command) Result {
	id := m.turn.id
	op, lease, ttl := m.body.op, m.body.lease, m.body.ttl
	number := lease.Number()
	version := s.nextVersion(id)
	owner := c.Principal
	if op == LeaseGrant {
		if number = version; number > leaseNumberMax {
			// No cluster lives for so many entries: only a forged version of the slot leads here.
			return m.turn.refuses(StatusOverflow, nil, nil)
		}
	} else {
		was := s.leaseOf(number)
		if was != nil {
			was = told(m, was)
		}
		if was == nil || !isLeaseValue(was.valueLen()) || !c.isOf(leaseOwner(was.value())) {
			return m.turn.refusesLease(lease)
		}
		ttl, owner = leaseTTL(was.value()), leaseOwner(was.value())
	}
	s.setLast(version)
	if op == LeaseRevoke {
		s.endLease(m, number, version, EventDel)
		ttl = 0
	} else {
		s.putLease(m, number, ttl, s.time(m.turn.now).after(ttl*millisecond), owner, version)
		s.noteDue(m)
	}
	m.turn.detail = appendLeaseDetail(m.turn.detail[:0], MakeLeaseID(c.Slot, number), ttl)
	return Result{Status: StatusApplied, ID: id, Version: version, Detail: m.turn.detail}
}

// putLease makes a lease, or moves the time at which it ends.
func (s *slotState) putLease(m *Map, number, ttl uint64, due slotTime, owner Principal, version uint64) {
	name := leaseName(number)
	s.putRecord(m, KindLease, &newRecord{key: name, value: leaseValue(ttl, due, owner), hash: hashKey(name), version: version})
}

// endLease removes a lease and the keys that end with it, at a version, and returns how many
// keys there were. why is the kind of their events.
func (s *slotState) endLease(m *Map, number, version uint64, why EventKind) (keys int) {
	for key := s.firstKeyOf(number); key != nil; key = s.firstKeyOf(number) {
		if !s.remove(m, key, hashKey(key), version, why) {
			m.noteFault(m.turn.slot, "key %s, which ends with lease %d, is not there", ShowKey(key), number)
			break
		}
		keys++
	}
	name := leaseName(number)
	if bug("lease outlives its keys") && why == EventExpired {
		s.putLease(m, number, 1, endless, 0, version)
		return keys
	}
	s.removeRecord(m, KindLease, name, hashKey(name))
	return keys
}

// LeaseRow is a lease, as a listing shows it.
type LeaseRow struct {
	ID             LeaseID
	TTL, Remaining uint64 // in milliseconds; Remaining is 0 if it is due, and a time entry is about to remove it
	Keys           int    // that end with it
}

// Leases returns the leases behind after, by id, of those slots that the group serves: at most
// limit of them, and whether there are more; now is the group's time, by which Remaining is told. It looks
// at each of the slots. The goroutine that applies calls it, between two entries.
func (m *Map) Leases(now raft.GroupTime, slots []SlotRange, after LeaseID, limit int) (rows []LeaseRow, more bool) {
	for slot := range eachOf(slots) {
		st := m.slot(slot)
		if st == nil || slot < after.Slot() {
			continue
		}
		leases := st.kind(KindLease)
		if leases == nil {
			continue
		}
		from := uint64(0)
		if slot == after.Slot() {
			from = after.Number() + 1
		}
		for at := leases.seek(leaseName(from)); ; at.next() {
			rec := at.record()
			if rec == nil {
				break
			}
			if len(rows) == limit {
				return rows, true
			}
			number := binary.BigEndian.Uint64(rec.key())
			row := LeaseRow{ID: MakeLeaseID(slot, number), TTL: leaseTTL(rec.value())}
			if now, due := st.time(now), leaseDue(rec.value()); due > now {
				row.Remaining = uint64(due-now) / millisecond
			}
			if st.endings != nil {
				row.Keys = st.endings.keys[number]
			}
			rows = append(rows, row)
		}
	}
	return rows, false
}
