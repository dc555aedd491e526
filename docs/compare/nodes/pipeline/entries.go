package main

import (
	"encoding/binary"

	"muster/docs/compare/frame"
	"muster/docs/compare/load"
)

// The body of a batch is entries, one behind the other, little endian:
//
//	0  length of key and value (4)
//	4  index (8)
//	12 key, value
//
// The frame's checksum covers them, on the wire and on the disk alike.
const entryHead = 12

// appendEntry appends one put to a batch. The body is a put's: key, value.
func appendEntry(batch []byte, index uint64, body []byte) []byte {
	batch = binary.LittleEndian.AppendUint32(batch, uint32(len(body)))
	batch = binary.LittleEndian.AppendUint64(batch, index)
	return append(batch, body...)
}

// eachEntry calls f for every entry of a batch's body.
func eachEntry(body []byte, f func(index uint64, key, value []byte)) error {
	for len(body) > 0 {
		if len(body) < entryHead {
			return frame.ErrDamaged
		}
		n := int(binary.LittleEndian.Uint32(body))
		if n < load.KeyBytes || n > len(body)-entryHead {
			return frame.ErrDamaged
		}
		put := body[entryHead : entryHead+n]
		f(binary.LittleEndian.Uint64(body[4:]), put[:load.KeyBytes], put[load.KeyBytes:])
		body = body[entryHead+n:]
	}
	return nil
}
