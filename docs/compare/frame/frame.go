// Package frame cuts a TCP connection into checked messages.
//
// It carries no deadlines, no versions and no credentials: it is the least that a
// client of a store would speak. Both systems that have no protocol of their own
// are driven through it, the library behind its front and the bare pipeline.
//
// frame.go has the format, reader.go reads, outbox.go writes, client.go is the
// side that asks.
package frame

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// A frame, little endian:
//
//	 0  length of the whole frame (4)
//	 4  CRC-32C of everything behind it (4)
//	 8  kind (1), zero (3)
//	12  id: which request this is, or answers (8)
//	20  body
const (
	HeaderBytes = 20
	// LengthMax bounds what a length prefix can make a reader allocate; the
	// largest frames are batches of some thousand puts.
	LengthMax = 64 << 20
)

// Kind says what a frame is. The list is the protocol.
type Kind uint8

// From client to node.
const (
	Put      Kind = 1 // key (load.KeyBytes), value
	Get      Kind = 2 // key
	WhoLeads Kind = 3 // empty
)

// From node to client, under the id of the request.
const (
	Done    Kind = 16 // a put: empty
	Value   Kind = 17 // a get: the value
	Missing Kind = 18 // a get: empty
	Leads   Kind = 19 // number of the leading node (1)
	Failed  Kind = 20 // why, as text
)

// Between the nodes of the bare pipeline; the id counts batches or rounds.
const (
	Batch     Kind = 32 // leader to follower: entries
	Synced    Kind = 33 // follower to leader: this batch and all before it are on the disk
	Confirm   Kind = 34 // leader to follower: a round of reads asks
	Confirmed Kind = 35 // follower to leader
)

// ErrDamaged is returned for bytes that are no frame.
var ErrDamaged = errors.New("damaged frame")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Frame is one message. Bytes is the whole of it, Body a part of Bytes.
type Frame struct {
	Kind  Kind
	ID    uint64
	Body  []byte
	Bytes []byte
}

// Append appends a frame whose body is the parts, one after the other.
func Append(b []byte, kind Kind, id uint64, parts ...[]byte) []byte {
	at := len(b)
	b = append(b, make([]byte, HeaderBytes)...)
	for _, p := range parts {
		b = append(b, p...)
	}
	Seal(b[at:], kind, id)
	return b
}

// Seal writes the header of a frame whose body is already in place.
func Seal(f []byte, kind Kind, id uint64) {
	binary.LittleEndian.PutUint32(f, uint32(len(f)))
	f[8], f[9], f[10], f[11] = byte(kind), 0, 0, 0
	binary.LittleEndian.PutUint64(f[12:], id)
	binary.LittleEndian.PutUint32(f[4:], crc32.Checksum(f[8:], castagnoli))
}

// Next returns the first frame of b, and what is behind it. Where not all of the
// frame is there yet, Bytes is nil, and rest is b.
func Next(b []byte) (f Frame, rest []byte, err error) {
	if len(b) < HeaderBytes {
		return Frame{}, b, nil
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n < HeaderBytes || n > LengthMax {
		return Frame{}, b, ErrDamaged
	}
	if len(b) < n {
		return Frame{}, b, nil
	}
	whole := b[:n:n]
	if binary.LittleEndian.Uint32(whole[4:]) != crc32.Checksum(whole[8:], castagnoli) {
		return Frame{}, b, ErrDamaged
	}
	return Frame{
		Kind: Kind(whole[8]), ID: binary.LittleEndian.Uint64(whole[12:]), Body: whole[HeaderBytes:], Bytes: whole,
	}, b[n:], nil
}
