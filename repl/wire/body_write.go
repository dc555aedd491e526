package wire

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/pack"
)

// A Write carries one command and the checksum that its client made over it:
//
//	[uint of 4 bytes: CRC32C of the command's bytes, command]
//
// The body goes byte for byte into the log, into the messages to the followers
// and into apply; nothing between the client and the slot encodes it again.

// commandOffset is where the command begins in the body of a Write.
const commandOffset = 1 + pack.Fixed32Size

// writeHead is what the body of a Write begins with.
var writeHead = pack.AppendFixed32(pack.AppendArray(nil, 2), 0)[:2]

// ErrChecksum is returned by [CheckWrite] for a command that is not what its
// client sent.
var ErrChecksum = errors.New("the command's checksum does not fit")

// AppendWrite appends the body of a Write.
func AppendWrite(b []byte, c *shardmap.Command) []byte {
	start := len(b)
	b = pack.AppendArray(b, 2)
	b = pack.AppendFixed32(b, 0)
	b = shardmap.AppendCommand(b, c)
	body := b[start:]
	binary.BigEndian.PutUint32(body[2:], crc32.Checksum(body[commandOffset:], castagnoli))
	return b
}

// CheckWrite verifies the body of a Write and returns the bytes of its command,
// for [shardmap.ReadCommand]. They alias body.
func CheckWrite(body []byte) (command []byte, err error) {
	var sum uint32
	if len(body) > commandOffset && body[0] == writeHead[0] && body[1] == writeHead[1] { // as it always begins
		sum, command = binary.BigEndian.Uint32(body[2:]), body[commandOffset:]
	} else {
		r := pack.NewReader(body)
		r.ArrayLen(2)
		sum = r.Fixed32()
		command = r.Rest()
		if err := r.Err(); err != nil {
			return nil, err
		}
	}
	if crc32.Checksum(command, castagnoli) != sum {
		return nil, ErrChecksum
	}
	return command, nil
}

// WriteAnswer says where a command took effect: [group, term, index, version,
// deleted]. A repeated command gets the same answer as the first.
type WriteAnswer struct {
	Group   raft.GroupID
	ID      raft.LogID
	Version uint64 // of all keys of the command
	Deleted uint64 // how many keys were there
}

const writeAnswerFields = 5

// Append appends the body.
func (a *WriteAnswer) Append(b []byte) []byte {
	b = pack.AppendArray(b, writeAnswerFields)
	b = appendLogID(b, a.Group, a.ID)
	b = pack.AppendUint(b, a.Version)
	return pack.AppendUint(b, a.Deleted)
}

// Read reads the body.
func (a *WriteAnswer) Read(body []byte) error {
	r := pack.NewReader(body)
	n := r.Array()
	a.Group, a.ID = readLogID(&r)
	a.Version = r.Uint()
	a.Deleted = r.Uint()
	r.Trailing(n, writeAnswerFields)
	return r.Done()
}

// appendLogID appends the three numbers of a log id within its group.
func appendLogID(b []byte, g raft.GroupID, id raft.LogID) []byte {
	b = pack.AppendUint(b, uint64(g))
	b = pack.AppendUint(b, id.Term)
	return pack.AppendUint(b, id.Index)
}

func readLogID(r *pack.Reader) (raft.GroupID, raft.LogID) {
	g := raft.GroupID(r.UintMax(uint64(raft.GroupMax)))
	term := r.Uint()
	return g, raft.LogID{Term: term, Index: r.Uint()}
}
