package pointwriter

import (
	"fmt"
	"sync/atomic"
	"time"

	"muster/repl/wire"
)

const (
	// BytesMax bounds the memory of a gateway's writes under way, in bytes: of one text of the longest, or of 200 texts of
	// 100 KB.
	BytesMax = 640 << 20
	// A text takes what package line states while it is read and brought to its groups.
	bytesOfByte  = 24
	bytesOfWrite = 64 << 10
	// busyRetry is when a write that was refused for lack of memory should be sent again.
	busyRetry = time.Second
)

// budget bounds the memory of writes under way.
type budget struct {
	most int64 // set once
	used atomic.Int64
}

// take takes the memory of a text of so many bytes. Its caller gives back what it returns.
func (b *budget) take(text int) (taken int64, err error) {
	taken = int64(text)*bytesOfByte + bytesOfWrite
	if now := b.used.Add(taken); now > b.most {
		b.used.Add(-taken)
		return 0, wire.Busy("writes of points", fmt.Sprintf("those under way take %d bytes of memory and this one %d, the limit is %d", now-taken, taken, b.most), busyRetry)
	}
	return taken, nil
}

func (b *budget) give(taken int64) { b.used.Add(-taken) }
