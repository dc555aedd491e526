package lock

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
)

// The value of a lock's key is a line, and behind it the value that the holder gave:
//
//	muster-lock/1 OWNER\n
//
// OWNER is 32 hexadecimal digits that the holder drew for this one acquisition. By them it knows its own
// key again, if it was not told whether it has set it. A value that begins otherwise is no lock, and
// nobody takes it for one that is free.
const (
	valueHead   = "muster-lock/1 "
	ownerDigits = 32
)

// owner is the mark of one acquisition.
type owner [ownerDigits]byte

// newOwner draws a mark. No two are ever the same.
func newOwner() (o owner) {
	var b [ownerDigits / 2]byte
	_, _ = rand.Read(b[:]) // it never fails: crypto/rand ends the process instead
	hex.Encode(o[:], b[:])
	return o
}

func appendValue(b []byte, o owner, value []byte) []byte {
	b = append(b, valueHead...)
	b = append(b, o[:]...)
	b = append(b, '\n')
	return append(b, value...)
}

// readValue reads the value of a key; ok: it is that of a lock.
func readValue(b []byte) (o owner, value []byte, ok bool) {
	rest, ok := bytes.CutPrefix(b, []byte(valueHead))
	if !ok || len(rest) <= ownerDigits || rest[ownerDigits] != '\n' {
		return o, nil, false
	}
	for _, c := range rest[:copy(o[:], rest)] {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return o, nil, false
		}
	}
	return o, rest[ownerDigits+1:], true
}
