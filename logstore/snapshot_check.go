package logstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// snapshotCheck checks the bytes of a snapshot's file as they arrive, in pieces of any
// size. It keeps no more of them than a header, and trusts no length that it has not
// checked.
type snapshotCheck struct {
	file string  // for a Damage
	of   Replica // whose group's it must be

	offset  int64           // bytes taken
	begun   int64           // where the part that is under way begins
	part    []byte          // of a header, a block's header or a trailer, gathered up to need
	need    int             //
	header  *snapshotHeader // nil until it has come
	seed    uint32
	number  int64  // of the block under way
	left    int    // bytes of its data that are to come
	short   bool   // the block before was not full: it was the last
	want    uint32 // its checksum as it says
	sum     uint32 // as far as it has come
	trailer snapshotTrailer
	whole   bool
}

// headerBegin is how much of a header says how long it is.
const headerBegin = 20

func (c *snapshotCheck) damage(record, format string, args ...any) error {
	return &Damage{File: c.file, Offset: c.begun, Record: record, Reason: fmt.Sprintf(format, args...)}
}

// feed takes the next bytes. Its errors are a [Damage] and [ErrNewerFormat]; after an
// error the check is of no use.
func (c *snapshotCheck) feed(b []byte) error {
	for len(b) > 0 {
		n := 0
		switch {
		case c.whole:
			c.begun = c.offset
			return c.damage("end", "%d bytes follow it", len(b))
		case c.left > 0:
			n = min(c.left, len(b))
			c.sum = crc32.Update(c.sum, castagnoli, b[:n])
			c.left -= n
		default:
			if c.need == 0 {
				c.begun, c.part, c.need = c.offset, c.part[:0], blockHeaderSize
				if c.header == nil {
					c.need = headerBegin
				}
			}
			n = min(c.need-len(c.part), len(b))
			c.part = append(c.part, b[:n]...)
		}
		c.offset += int64(n)
		b = b[n:]
		if err := c.step(); err != nil {
			return err
		}
	}
	return nil
}

// step begins the next part if the present one is complete.
func (c *snapshotCheck) step() error {
	if c.left > 0 || len(c.part) < c.need {
		return nil
	}
	switch {
	case c.header == nil && c.need == headerBegin:
		n, err := snapshotHeaderLength(c.part)
		if err != nil {
			return c.damage("header", "%v", err)
		}
		c.need = n
	case c.header == nil:
		return c.takeHeader()
	case c.need == blockHeaderSize:
		return c.beginBlock()
	case c.need == snapshotTrailerSize:
		return c.takeTrailer()
	default:
		return c.endBlock()
	}
	return nil
}

func (c *snapshotCheck) takeHeader() error {
	h, err := readSnapshotHeader(c.part)
	if err != nil {
		return asDamage(c.file, &Damage{Offset: c.begun, Record: "header"}, err)
	}
	if err := h.of(c.of); err != nil {
		return c.damage("header", "%v", err)
	}
	c.header, c.seed, c.need = h, h.seed(), 0
	return nil
}

func (c *snapshotCheck) beginBlock() error {
	n := binary.LittleEndian.Uint32(c.part[4:])
	switch {
	case n == 0:
		c.need = snapshotTrailerSize
		return nil
	case n > blockBytes || c.short:
		return c.damage(blockRecord(c.number), "it says that it has %d bytes", n)
	case c.offset+int64(n) > SnapshotBytesMax:
		return c.damage(blockRecord(c.number), "the file has more than %d bytes", int64(SnapshotBytesMax))
	}
	c.want = binary.LittleEndian.Uint32(c.part)
	c.sum = crc32.Update(seedOver(c.seed, uint64(c.number)), castagnoli, c.part[4:])
	c.left, c.short, c.need = int(n), n < blockBytes, -1
	c.trailer.length += int64(n)
	return nil
}

func (c *snapshotCheck) endBlock() error {
	if c.sum != c.want {
		return c.damage(blockRecord(c.number), "%v", errChecksum)
	}
	c.trailer.sums = sumOver(c.trailer.sums, c.sum)
	c.number++
	c.trailer.blocks = c.number
	c.need = 0
	return nil
}

func (c *snapshotCheck) takeTrailer() error {
	t, err := readSnapshotTrailer(c.part, c.seed)
	if err != nil {
		return c.damage("end", "%v", err)
	}
	if t != c.trailer {
		return c.damage("end", "it says %d bytes in %d blocks, and there are %d in %d", t.length, t.blocks, c.trailer.length, c.trailer.blocks)
	}
	c.whole, c.need = true, 0
	return nil
}

// finish returns an error unless all of the file has arrived.
func (c *snapshotCheck) finish() error {
	if !c.whole {
		if c.need == 0 {
			c.begun = c.offset
		}
		return c.damage("end", "the file ends at %d, before it", c.offset)
	}
	return nil
}

func blockRecord(number int64) string { return fmt.Sprintf("block %d", number) }
