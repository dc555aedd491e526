package blocks

import (
	"fmt"

	"muster/logstore"
	"muster/shardmap/points/block"
)

// Receiver takes the bytes of a block file that another replica has, in pieces. One goroutine uses it, and ends it with
// a Commit that succeeds, or with Abort.
type Receiver struct {
	file *unfinished
	want File
}

// Receive begins to receive a file of so many bytes. Two files of one name may differ in their bytes, where two releases
// of zstd have made them, so all pieces come from one replica; for another one, begin anew. Its errors are those of
// [Store.Create]; one that wraps [logstore.ErrFull] says that the disk has no room for all of it.
func (s *Store) Receive(g Group, sum block.Sum, size int64) (*Receiver, error) {
	want := File{Group: g, Sum: sum, Size: size}
	if size <= 0 || size > FileMax {
		return nil, fmt.Errorf("receive %s: it is said to have %d bytes; want 1 to %d", want, size, int64(FileMax))
	}
	err := s.Room(size)
	var u *unfinished
	if err == nil {
		u, err = s.begin(g)
	}
	if err != nil {
		return nil, fmt.Errorf("receive %s: %w", want, err)
	}
	return &Receiver{u, want}, nil
}

// Chunk takes the bytes of the file from an offset on. It skips bytes that it has already taken, and refuses a chunk that
// leaves a gap, is too large or reaches behind the end with [logstore.ErrChunk], which does no harm. After any other
// error the file is over.
func (r *Receiver) Chunk(offset int64, b []byte) error {
	due := r.Offset()
	switch {
	case len(b) > logstore.ChunkBytesMax:
		return r.fail(fmt.Errorf("%w: it has %d bytes, the limit is %d", logstore.ErrChunk, len(b), logstore.ChunkBytesMax))
	case offset < 0 || offset > due:
		return r.fail(fmt.Errorf("%w: it begins at %d, due is %d", logstore.ErrChunk, offset, due))
	case offset+int64(len(b)) > r.want.Size:
		return r.fail(fmt.Errorf("%w: it ends at %d, and the file at %d", logstore.ErrChunk, offset+int64(len(b)), r.want.Size))
	case offset+int64(len(b)) <= due:
		return nil
	}
	if err := r.file.add(b[due-offset:]); err != nil {
		return r.fail(err)
	}
	return nil
}

func (r *Receiver) fail(err error) error { return fmt.Errorf("receive %s: %w", r.want, err) }

// Offset is where the next chunk is due.
func (r *Receiver) Offset() int64 { return r.file.at + int64(len(r.file.buf)) }

// Whole reports whether the last byte has arrived.
func (r *Receiver) Whole() bool { return r.Offset() == r.want.Size && r.file.err == nil }

// bugReceivedUnverified is planted to show that its test finds it: what another node sent gets its name unread.
const bugReceivedUnverified = "received block file not verified"

// Commit makes the file durable, reads all of it back, and gives it its name if each checksum and the sum fit. It reads as
// fast as it can. An error that wraps [ErrContent] says that the replica that sent it has another file
// under that name, or a damaged one: ask another replica.
func (r *Receiver) Commit() (File, error) {
	if !r.file.over && r.file.err == nil && !r.Whole() {
		return File{}, r.fail(fmt.Errorf("%w: %d bytes of %d have arrived", ErrContent, r.Offset(), r.want.Size))
	}
	whole := (*block.Reader).Verify
	if bug(bugReceivedUnverified) {
		whole = outline
	}
	f, err := r.file.commit(r.want.Sum, whole)
	if err != nil {
		return File{}, r.fail(err)
	}
	return f, nil
}

// Abort removes what was taken, as [Writer.Abort] does.
func (r *Receiver) Abort() { r.file.abort() }
