package block

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
)

// content is what a file has: it counts blocks, and computes the sum of their columns.
type content struct {
	info    Info
	sum     hash.Hash
	series  []byte // of the last block
	scratch []byte
}

func newContent(version uint16) *content {
	c := &content{info: Info{Version: version}, sum: sha256.New()}
	c.sum.Write(binary.LittleEndian.AppendUint16(nil, version))
	return c
}

// add counts a block with its columns. It reports whether its series is another one than that of the block before.
func (c *content) add(r *Row, times, values []byte) (begins bool) {
	c.scratch = appendBytes(appendBytes(c.scratch[:0], r.Series), r.Field)
	c.scratch = binary.AppendUvarint(append(c.scratch, byte(r.Kind)), uint64(r.Points))
	c.scratch = appendBytes(c.scratch, times)
	c.sum.Write(binary.AppendUvarint(c.scratch, uint64(len(values))))
	c.sum.Write(values)

	i := &c.info
	if begins = i.Blocks == 0 || !bytes.Equal(r.Series, c.series); begins {
		i.Series++
		c.series = append(c.series[:0], r.Series...)
	}
	if i.Blocks == 0 {
		i.First, i.Last = r.First, r.Last
	}
	i.First, i.Last = min(i.First, r.First), max(i.Last, r.Last)
	i.Blocks++
	i.Values += uint64(r.Points)
	return begins
}

// end returns what was counted of a file of so many bytes.
func (c *content) end(size int64) Info {
	c.info.Size = size
	c.sum.Sum(c.info.Sum[:0])
	return c.info
}

// Verify reads the whole file: each checksum, the order, what each column has, the sum. Its errors are those of [Open].
func (x *Reader) Verify() error {
	found := newContent(x.info.Version)
	var b Block
	c := x.All()
	for c.Next() {
		if err := c.Read(&b); err != nil {
			return err
		}
		found.add(c.Row(), c.timesColumn, c.valuesColumn)
	}
	if c.Err() != nil {
		return c.Err()
	}
	if got := found.end(x.info.Size); got != x.info {
		return &DamageError{Offset: x.info.Size - footerSize, What: fmt.Sprintf("the footer tells of %+v, the file has %+v", x.info, got)}
	}
	return nil
}
