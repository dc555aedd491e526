package shardmap

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"muster/shardmap/registry"
)

// A snapshot has the records of a slot in key order, each with the same
// bytes that a slab has behind the hash. So a slot is not filled by one put
// after another, which would search for positions that are known. Chunks
// are made to measure, leaves are filled one after the other, and the lookup is
// made once, when its size is known. A put costs some 1,800 ns in a large slot
// (docs/decisions/0002-state-layout.md), this less than a tenth.
//
// The chunks are closed and have no dead byte; leaves open a tail, where the next records go,
// too. They are larger than those of a slot that has grown, but emptying one still moves no
// more than [chunkMax].

// bulkChunk is the size of a chunk, unless one record is larger. It is the
// allocator's largest size class.
const bulkChunk = 32 << 10

// records reads count records into an empty slot, those of one kind after those of
// another.
func (d *snapshotReader) records(st *slotState, count uint64) error {
	d.state = st
	for before := RecordKind(0); count > 0; {
		head, err := d.need(snapshotRecord)
		if err != nil {
			return err
		}
		kind := RecordKind(head[14])
		if kind <= before {
			return fmt.Errorf("records of kind %d after those of kind %d", kind, before)
		}
		if newest := cmp.Or(d.newest, kindNewest); kind > newest {
			return fmt.Errorf("record of kind %d: %w; known are 1 to %d", kind, ErrLevel, newest)
		}
		n, err := d.kind(st.of(kind), count, st.last)
		if err != nil {
			return err
		}
		before, count = kind, count-n
	}
	return nil
}

// kind reads the records of one kind into an empty store, count at most, and
// returns how many there were. last is the slot's last version.
func (d *snapshotReader) kind(s *store, count, last uint64) (total uint64, err error) {
	d.entries = d.entries[:0]
	var before []byte // the key before; it lies in a chunk
	for total < count {
		// A window that holds a whole chunk, if so much is left.
		n, size, err := d.measure(d.window(bulkChunk), s.kind, count-total, last)
		if err != nil {
			return 0, err
		}
		if n == 0 { // one record that is larger than the window; or none of the kind
			if n, size, err = d.measureLarge(s.kind, last); err != nil {
				return 0, err
			}
			if n == 0 {
				break
			}
		}
		if before, err = d.fill(s, n, size, before); err != nil {
			return 0, err
		}
		total += uint64(n)
	}
	s.count = len(d.entries)
	s.lookup.fill(d.entries)
	return total, nil
}

// measure returns how many whole records of a kind at the beginning of b fit into a
// chunk, and the size of that chunk.
func (d *snapshotReader) measure(b []byte, kind RecordKind, count, last uint64) (n, size int, err error) {
	for at := 0; uint64(n) < count && at+snapshotRecord <= len(b) && RecordKind(b[at+14]) == kind; n++ {
		keyLen, valueLen, err := checkRecord(b[at:], last, d.format)
		if err != nil {
			return 0, 0, err
		}
		more := recordSize(keyLen, valueLen)
		if at += snapshotRecord + keyLen + valueLen; at > len(b) || n > 0 && size+more > bulkChunk {
			break
		}
		size += more
	}
	return n, size, nil
}

// measureLarge reads on until a record that is longer than the window is there; it
// returns none if the next record is of another kind.
func (d *snapshotReader) measureLarge(kind RecordKind, last uint64) (n, size int, err error) {
	b, err := d.need(snapshotRecord)
	if err != nil {
		return 0, 0, err
	}
	if RecordKind(b[14]) != kind {
		return 0, 0, nil
	}
	keyLen, valueLen, err := checkRecord(b, last, d.format)
	if err == nil {
		_, err = d.need(snapshotRecord + keyLen + valueLen)
	}
	return 1, recordSize(keyLen, valueLen), err
}

// checkRecord checks the head of a record in a slot of a format, and returns the lengths of its
// key, and of its value with what stands about its end.
func checkRecord(head []byte, last uint64, format uint16) (keyLen, valueLen int, err error) {
	version := binary.LittleEndian.Uint64(head[0:])
	value := binary.LittleEndian.Uint32(head[8:])
	keyLen = int(binary.LittleEndian.Uint16(head[12:]))
	switch kind, ends := RecordKind(head[14]), endingKind(head[15]); {
	case ends != endsNever && (ends > endsWithLease || kind != KindKey && kind != KindVersion || format < slotFormatEndings):
		return 0, 0, fmt.Errorf("record of kind %d that ends by %d, in format %d: %w", kind, ends, format, ErrLevel)
	case kind == KindLease && (keyLen != leaseNameSize || !isLeaseValue(int(value)) || format < slotFormatEndings):
		return 0, 0, fmt.Errorf("lease with a name of %d bytes and a value of %d, in format %d; want %d, and %d or %d, in format %d", keyLen, value, format, leaseNameSize, leaseValueSize, leaseOwnedSize, slotFormatEndings)
	case kind == KindService && (keyLen > registry.NameMax || value > registry.ServiceMax):
		return 0, 0, fmt.Errorf("service with a name of %d bytes and a value of %d; the limits are %d and %d", keyLen, value, registry.NameMax, registry.ServiceMax)
	case kind == KindVersion && (value < versionHead || value > versionHead+VersionsBytesMax):
		return 0, 0, fmt.Errorf("version of a key with a record of %d bytes; want %d to %d", value, versionHead, versionHead+VersionsBytesMax)
	case keyLen == 0 || keyLen > kind.nameMax() || value > ValueMaxLimit:
		return 0, 0, fmt.Errorf("key of %d bytes, value of %d; the limits are 1 to %d, and %d", keyLen, value, kind.nameMax(), ValueMaxLimit)
	case version == 0 || version > last:
		return 0, 0, fmt.Errorf("version %d, the slot's last is %d", version, last)
	}
	return keyLen, int(value) + endingKind(head[15]).size(), nil
}

// checkWhole checks what a whole record, whose head was checked, says of its end, and the value of
// a service or a version. Versions grow: a key that ends with a lease is newer than the lease, whose number is
// its own first version.
func checkWhole(b []byte, keyLen int) error {
	version := binary.LittleEndian.Uint64(b)
	switch {
	case RecordKind(b[14]) == KindLease:
		number, ttl := binary.BigEndian.Uint64(b[snapshotRecord:]), binary.LittleEndian.Uint64(b[snapshotRecord+leaseNameSize:])
		if number == 0 || number > min(version, leaseNumberMax) || ttl == 0 || ttl > TTLMax {
			return fmt.Errorf("lease %d of version %d lasts %d ms; want a number up to the version, and 1 to %d ms", number, version, ttl, uint64(TTLMax))
		}
	case RecordKind(b[14]) == KindService:
		return checkService(b[snapshotRecord:][:keyLen], b[snapshotRecord+keyLen:])
	case RecordKind(b[14]) == KindVersion:
		value := b[snapshotRecord+keyLen:]
		ends := endingKind(b[15])
		return checkVersionRecord(b[snapshotRecord:][:keyLen], value[:len(value)-ends.size()], version, ends)
	case endingKind(b[15]) == endsWithLease:
		if number := binary.LittleEndian.Uint64(b[len(b)-endingSize:]); number == 0 || number >= version {
			return fmt.Errorf("key %s of version %d ends with lease %d; want an older one", ShowKey(b[snapshotRecord:][:keyLen]), version, number)
		}
	}
	return nil
}

// fill makes a chunk of size bytes from the n records at the beginning of the
// window, which were measured, and adds them to leaves and entries.
func (d *snapshotReader) fill(s *store, n, size int, before []byte) ([]byte, error) {
	if len(s.chunks)+n/leafMax+2 > chunksMax { // each leaf may open one, too
		return nil, fmt.Errorf("the records of slot %d are more than can be addressed", d.slotOf)
	}
	buf, number := make([]byte, size), len(s.chunks)
	s.bufs = append(s.bufs, buf) // before leaves are made, which open chunks too
	s.chunks = append(s.chunks, chunk{used: uint32(size), epoch: s.epoch})
	s.size += int64(size)
	b, at := d.window(0), 0
	var l leaf
	if k := len(s.leaves); k > 0 {
		l = s.leaf(k - 1)
	}
	from := 0
	for range n {
		rec := record(buf[at:])
		keyLen, valueLen := int(binary.LittleEndian.Uint16(b[from+12:])), int(binary.LittleEndian.Uint32(b[from+8:]))
		ends := endingKind(b[from+15])
		to := from + snapshotRecord + keyLen + valueLen + ends.size()
		copy(rec[8:], b[from:to])
		key := rec.key()
		slot, hash := locateRecord(s.kind, key)
		switch {
		// A key in a slot that is not its own would never be found, and keys
		// out of order would break every search. Both pass the digest of
		// whoever wrote them, so they are checked here.
		case slot != d.slotOf && s.kind != KindLease:
			return nil, fmt.Errorf("key %s is in slot %d, not %d", ShowKey(key), slot, d.slotOf)
		case before != nil && bytes.Compare(before, key) >= 0:
			return nil, fmt.Errorf("key %s after %s", ShowKey(key), ShowKey(before))
		}
		if ends != endsNever || s.kind != KindKey {
			if err := checkWhole(b[from:to], keyLen); err != nil {
				return nil, err
			}
		}
		if ends != endsNever || s.kind == KindLease {
			d.state.endsOtherwise(s.kind, key, ending{}, endOf(rec))
		}
		h := xxhash.Sum64(b[from:to])
		binary.LittleEndian.PutUint64(rec, h)
		s.sum += h
		s.bytes += int64(keyLen + valueLen)
		r := makeRef(number, at)
		d.entries = append(d.entries, entryOf(tagOf(hash), r))
		if l == nil {
			l = s.insertLeaf(0, nil)
		} else if l.len() == leafMax {
			l = s.insertLeaf(len(s.leaves), separator(before, key))
		}
		l.insert(l.len(), r)
		before = key
		at += recordSize(keyLen, valueLen+ends.size())
		from = to
	}
	d.skip(from)
	return before, nil
}

// fill makes a lookup of these entries, whose keys all differ. It leaves
// room for some more.
func (l *lookup) fill(entries []uint64) {
	if len(entries) == 0 {
		return
	}
	l.entries = make([]uint64, max(lookupMin, len(entries)*4/3))
	for _, e := range entries {
		l.insert(e)
	}
	l.count = len(entries)
}
