package trust

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// A mark is what a member names in the first words of a handshake, as if it were one more protocol,
// so that the node that it dials can tell it from strangers before it pays for anything:
//
//	muster/member/ + 16 hexadecimal digits, a nonce + 32, of HMAC-SHA256(key, label, node dialled, nonce)
//
// It lets nobody in, and whoever sees it can send it again: it is good for a place in a queue, at that
// one node. The certificate says who the dialler is.
const (
	markPrefix = ALPN + "/member/"
	markLabel  = "muster mark of a member"
	markNonce  = 8  // bytes
	markSum    = 16 // bytes
)

// Mark returns what a member names that dials node to. key is what members alone know.
func Mark(random io.Reader, key []byte, to uint64) (string, error) {
	nonce := make([]byte, markNonce)
	if _, err := io.ReadFull(random, nonce); err != nil {
		return "", fmt.Errorf("draw the nonce of a mark: %w", err)
	}
	return markPrefix + hex.EncodeToString(nonce) + hex.EncodeToString(markOf(key, to, nonce)), nil
}

// Marked reports whether one of the protocols that a dialler names is a mark for node to, under one of
// some keys. Only the first mark is looked at: each costs a hash.
func Marked(protocols []string, keys [][]byte, to uint64) bool {
	for _, p := range protocols {
		digits, ok := strings.CutPrefix(p, markPrefix)
		if !ok {
			continue
		}
		b, err := hex.DecodeString(digits)
		if err != nil || len(b) != markNonce+markSum {
			return false
		}
		for _, key := range keys {
			if len(key) > 0 && hmac.Equal(markOf(key, to, b[:markNonce]), b[markNonce:]) {
				return true
			}
		}
		return false
	}
	return false
}

func markOf(key []byte, to uint64, nonce []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(markLabel))
	h.Write(binary.BigEndian.AppendUint64(nil, to))
	h.Write(nonce)
	return h.Sum(nil)[:markSum]
}
