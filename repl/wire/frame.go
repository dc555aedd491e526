package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"muster/shardmap/pack"
)

// A frame is a header of 24 bytes, little-endian, and a body, which is one
// msgpack value:
//
//	 0  u32  length of the body
//	 4  u32  CRC32C of bytes 0 to 3, 8 to 23, and the body
//	 8  u16  type
//	10  u16  flags
//	12  u32  deadline: ms from the sending until the requester stops waiting; 0 none
//	16  u64  request: the number that the requester gave; its answer carries it too
//	24       body
//
// A frame whose checksum does not fit ends its connection: there is no telling
// where the next one begins.
const (
	// HeaderSize is the number of bytes before a frame's body.
	HeaderSize = 24
	// FrameMax bounds the body of a frame: the largest value that can be
	// set, the room for its key and command, and an entry's header.
	FrameMax = 17<<20 + 64<<10
	// ElementsMax bounds the msgpack elements of a body. The largest that
	// is meant to be is a status with all 9,999 groups, at about 40 each.
	ElementsMax = 1 << 19
)

// Flags of a frame. Those that a type has no use for are refused.
const (
	FlagForward uint16 = 1 << 0 // of a request of [Type.Forwards], a Scan, a SlotView or a Backup: see to it if you do not lead
	// 1 << 1 was kept for a request that was passed on: that has a type of its own.
	FlagMore uint16 = 1 << 2 // of an answer: more with this number follow; see body_stream.go
)

// Header is everything before a frame's body except the checksum.
type Header struct {
	Length   int // of the body
	Type     Type
	Flags    uint16
	Deadline uint32 // ms; 0 none
	Request  uint64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// BeginFrame appends the header of a frame whose body is appended next,
// and returns where the frame starts. [EndFrame] fills in what depends on the
// body.
func BeginFrame(b []byte, t Type, flags uint16, deadlineMs uint32, request uint64) ([]byte, int) {
	start := len(b)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(t))
	b = binary.LittleEndian.AppendUint16(b, flags)
	b = binary.LittleEndian.AppendUint32(b, deadlineMs)
	b = binary.LittleEndian.AppendUint64(b, request)
	return b, start
}

// EndFrame ends the frame that began at start: its body is all that follows
// the header. If others determine the size of the body, the caller makes sure that
// it has no more than [FrameMax] bytes; the other side hangs up on more.
func EndFrame(b []byte, start int) []byte {
	f := b[start:]
	binary.LittleEndian.PutUint32(f[0:], uint32(len(f)-HeaderSize))
	binary.LittleEndian.PutUint32(f[4:], frameChecksum(f))
	return b
}

// frameChecksum is computed over a whole frame.
func frameChecksum(f []byte) uint32 {
	return crc32.Update(crc32.Checksum(f[0:4], castagnoli), castagnoli, f[8:])
}

// AppendPiece appends a whole frame that more follow, under the same number.
func AppendPiece(b []byte, t Type, request uint64, body Body) []byte {
	b, start := BeginFrame(b, t, FlagMore, 0, request)
	return EndFrame(body.Append(b), start)
}

// AppendFrame appends a whole frame.
func AppendFrame(b []byte, t Type, request uint64, body Body) []byte {
	b, start := BeginFrame(b, t, 0, 0, request)
	return EndFrame(body.Append(b), start)
}

// WriteFrame writes a whole frame at once. A caller that sends often gathers frames
// in a slice of its own.
func WriteFrame(w io.Writer, t Type, request uint64, body Body) error {
	_, err := w.Write(AppendFrame(nil, t, request, body))
	return err
}

// ReadFrame reads into d until it has a whole frame, and nothing beyond that: what follows
// a hello at once, as the word why it is no use, is left to whoever reads on. The body is
// valid until d is filled again.
func ReadFrame(r io.Reader, d *Decoder) (Header, []byte, error) {
	for {
		h, body, ok, err := d.Next()
		if ok || err != nil {
			return h, body, err
		}
		if err := d.Fill(oneFrame{r, d}); err != nil {
			return Header{}, nil, err
		}
	}
}

// oneFrame ends each read with the frame that begins in a decoder.
type oneFrame struct {
	io.Reader
	d *Decoder
}

func (o oneFrame) Read(p []byte) (int, error) {
	return o.Reader.Read(p[:min(len(p), o.d.needed()-o.d.Buffered())])
}

// FrameError says why bytes are no frame. Nothing after them on the
// connection can be understood.
type FrameError struct {
	Problem string
	// TooLarge is set if the frame is over the limit of this stage of the
	// connection.
	TooLarge bool
}

func (e *FrameError) Error() string { return "bad frame: " + e.Problem }

// readHeader reads the header that b, of at least HeaderSize bytes, begins with.
func readHeader(b []byte) Header {
	return Header{
		Length:   int(binary.LittleEndian.Uint32(b[0:])),
		Type:     Type(binary.LittleEndian.Uint16(b[8:])),
		Flags:    binary.LittleEndian.Uint16(b[10:]),
		Deadline: binary.LittleEndian.Uint32(b[12:]),
		Request:  binary.LittleEndian.Uint64(b[16:]),
	}
}

// checkFrame checks a whole frame, but for its length.
func checkFrame(f []byte) error {
	if frameChecksum(f) != binary.LittleEndian.Uint32(f[4:]) {
		return &FrameError{Problem: "checksum does not fit"}
	}
	if err := pack.Check(f[HeaderSize:], ElementsMax); err != nil {
		return &FrameError{Problem: fmt.Sprintf("body of %s: %v", readHeader(f).Type, err)}
	}
	return nil
}
