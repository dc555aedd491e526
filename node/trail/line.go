package trail

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// LineMax bounds a line with its newline, in bytes: the longest texts, each byte of which is
// written as six.
const LineMax = 16 << 10

// Hash is what a line is known by.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Head is the end of a chain: its last line.
type Head struct {
	Lines uint64 // its number; 0: there is none yet
	Hash  Hash
}

// Line is a line as it stands in a file.
type Line struct {
	Seq  uint64
	Prev Hash
	Hash Hash   // of the line's bytes, as they are: whether it says so itself was checked
	Lost uint64 // how many lines or events it says are missing
	Kept uint64 // in the first of a batch: the lines up to here were synced before
}

// seqMax is the largest number of a line behind which a start continues. A larger one was forged:
// nobody writes that many, and behind the last number of all there would be none.
const seqMax = 1 << 62

const (
	timeForm = "2006-01-02T15:04:05.000000Z"
	// hashField stands before the hash, and the rest of a line behind it.
	hashField = `,"hash":"`
	lineEnd   = "\"}\n"
	tailSize  = len(hashField) + 2*sha256.Size + len(lineEnd)
)

// appendLine appends the line behind head, and returns the new head. kept is 0 but in the
// first line of a batch.
func appendLine(b []byte, head Head, kept uint64, node string, e *Event) ([]byte, Head) {
	start := len(b)
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, head.Lines+1, 10)
	b = append(b, `,"time":"`...)
	b = e.At.UTC().Truncate(time.Microsecond).AppendFormat(b, timeForm)
	b = append(b, '"')
	b = appendText(b, "node", node)
	b = appendText(b, "who", e.Who)
	b = appendNumber(b, "user", e.User)
	b = appendText(b, "from", e.From)
	b = appendText(b, "door", e.Door)
	b = appendText(b, "type", e.Type)
	b = appendText(b, "object", e.Object)
	b = appendText(b, "verdict", string(e.Verdict))
	b = appendText(b, "why", e.Why)
	b = appendNumber(b, "index", e.Index)
	b = appendNumber(b, "count", e.Count)
	b = appendNumber(b, "kept", kept)
	prev := head.Hash
	if bug(bugNotChained) {
		prev = Hash{}
	}
	b = appendText(b, "prev", prev.String())
	next := Head{Lines: head.Lines + 1, Hash: sha256.Sum256(b[start:])}
	b = append(b, hashField...)
	b = hex.AppendEncode(b, next.Hash[:])
	return append(b, lineEnd...), next
}

func appendNumber(b []byte, name string, n uint64) []byte {
	if n == 0 {
		return b
	}
	return strconv.AppendUint(append(append(append(b, `,"`...), name...), `":`...), n, 10)
}

func appendText(b []byte, name, text string) []byte {
	if text == "" {
		return b
	}
	b = append(append(append(b, `,"`...), name...), `":"`...)
	for _, r := range text { // bytes that are no UTF-8 become U+FFFD
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= ' ' && r <= '~':
			b = append(b, byte(r))
		case r > 0xffff: // two halves, as JSON wants it
			r -= 0x10000
			b = fmt.Appendf(b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return append(b, '"')
}

var (
	errNoLine   = errors.New("it is no line of a trail")
	errHash     = errors.New("its bytes do not have the hash that it says")
	errUnended  = errors.New("it has no end")
	errLineSize = fmt.Errorf("it is longer than %d bytes", LineMax)
)

// lineFields are those of a line that matter to the chain.
type lineFields struct {
	Seq  uint64 `json:"seq"`
	Kept uint64 `json:"kept"`
	Prev string `json:"prev"`

	Verdict Verdict `json:"verdict"`
	Count   uint64  `json:"count"`
}

// ReadLine reads a line with its newline. An error says what is wrong with it: that its
// bytes are not those of its hash, mostly.
func ReadLine(b []byte) (l Line, err error) {
	switch {
	case len(b) > LineMax:
		return l, errLineSize
	case len(b) == 0 || b[len(b)-1] != '\n':
		return l, errUnended
	case len(b) < tailSize || b[0] != '{' || !bytes.HasPrefix(b[len(b)-tailSize:], []byte(hashField)) || !bytes.HasSuffix(b, []byte(lineEnd)):
		return l, errNoLine
	}
	said := b[len(b)-tailSize+len(hashField) : len(b)-len(lineEnd)]
	covered := b[:len(b)-tailSize]
	l.Hash = sha256.Sum256(covered)
	if string(said) != l.Hash.String() {
		return l, errHash
	}
	var f lineFields
	if !utf8.Valid(b) || json.Unmarshal(b, &f) != nil {
		return l, errNoLine
	}
	prev, err := hex.DecodeString(f.Prev)
	if err != nil || len(prev) != sha256.Size || f.Seq == 0 {
		return l, errNoLine
	}
	l.Seq, l.Kept, l.Prev = f.Seq, f.Kept, Hash(prev)
	if f.Verdict == Lost {
		l.Lost = f.Count
	}
	return l, nil
}

// cutLine returns the first line of b with its newline; without one if there is none within
// LineMax bytes.
func cutLine(b []byte) []byte {
	if i := bytes.IndexByte(b[:min(len(b), LineMax)], '\n'); i >= 0 {
		return b[:i+1]
	}
	return b[:min(len(b), LineMax)]
}
