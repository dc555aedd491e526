package wire

import (
	"fmt"
	"math"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/pack"
)

// DelPrefixAnswer answers a Write whose command deletes keys of a slot that begin with a prefix:
//
//	[group, term, index, version, deleted, more, next]
//
// A repeated command gets the same answer as the first.
type DelPrefixAnswer struct {
	Group   raft.GroupID
	ID      raft.LogID
	Version uint64 // of the keys' del events
	Deleted uint32 // how many keys it deleted, shardmap.DelPrefixMax at most
	More    bool   // the slot has keys that begin with the prefix and were not looked at: send another command
	Next    []byte // if More: the After of that command, the last key that was looked at; else empty. It aliases what it was read from
}

const delPrefixAnswerFields = 7

// SetDetail takes Deleted, More and Next from the detail of the command's result.
func (a *DelPrefixAnswer) SetDetail(detail []byte) (err error) {
	a.Deleted, a.More, a.Next, err = shardmap.ReadDelPrefixDetail(detail)
	return err
}

// Append appends the body.
func (a *DelPrefixAnswer) Append(b []byte) []byte {
	b = pack.AppendArray(b, delPrefixAnswerFields)
	b = appendLogID(b, a.Group, a.ID)
	b = pack.AppendUint(b, a.Version)
	b = pack.AppendUint(b, uint64(a.Deleted))
	b = pack.AppendBool(b, a.More)
	return pack.AppendBytes(b, a.Next)
}

// Read reads the body.
func (a *DelPrefixAnswer) Read(body []byte) error {
	r := pack.NewReader(body)
	n := r.Array()
	a.Group, a.ID = readLogID(&r)
	a.Version = r.Uint()
	a.Deleted = uint32(r.UintMax(math.MaxUint32))
	a.More, a.Next = r.Bool(), r.Bytes()
	r.Trailing(n, delPrefixAnswerFields)
	return r.Done()
}

func (a *DelPrefixAnswer) lines() []string {
	deleted := fmt.Sprintf("deleted %d more %t", a.Deleted, a.More)
	if a.More {
		deleted += " after " + shardmap.ShowKey(a.Next)
	}
	return []string{"at " + raft.FormatLogID(a.Group, a.ID), fmt.Sprintf("version %d", a.Version), deleted}
}
