package rescue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
)

// A report and a plan are JSON, so that a person can read them, in an object that says
// what it is:
//
//	{"muster":"survivor","format":1,"checksum":"89abcdef","body":{…}}
//
// The checksum is the CRC32C of the body without the white space between its parts, so a
// file may be laid out anew, and nothing in it may be changed.
const (
	fileFormat = 1
	reportKind = "survivor"
	planKind   = "recovery plan"
	// FileBytesMax bounds a file: the largest table has 64 MiB.
	FileBytesMax = 256 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrFile is wrapped by the error about a file that is no report, or no plan, or that
// was changed.
var ErrFile = errors.New("not a file that muster recover can use")

type file struct {
	Muster   string          `json:"muster"`
	Format   int             `json:"format"`
	Checksum string          `json:"checksum"`
	Body     json.RawMessage `json:"body"`
}

// encode writes v as a file of a kind.
func encode(kind string, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write the %s: %w", kind, err)
	}
	b, err := json.MarshalIndent(file{Muster: kind, Format: fileFormat, Checksum: checksum(body), Body: body}, "", " ")
	if err != nil {
		return nil, fmt.Errorf("write the %s: %w", kind, err)
	}
	return append(b, '\n'), nil
}

// decode reads a file of a kind into v.
func decode(kind string, b []byte, v any) error {
	fail := func(found string) error {
		return fmt.Errorf("%w: %s; want the %s that muster recover wrote", ErrFile, found, kind)
	}
	if len(b) > FileBytesMax {
		return fail(fmt.Sprintf("it has more than %d bytes", FileBytesMax))
	}
	var f file
	var body bytes.Buffer
	if err := json.Unmarshal(b, &f); err != nil {
		return fail("it is not JSON: " + err.Error())
	}
	switch {
	case f.Muster != kind:
		return fail(fmt.Sprintf("it is a %q", f.Muster))
	case f.Format != fileFormat:
		return fail(fmt.Sprintf("it is of format %d, this muster reads %d", f.Format, fileFormat))
	}
	if err := json.Compact(&body, f.Body); err != nil {
		return fail("its body: " + err.Error())
	}
	if got := checksum(body.Bytes()); got != f.Checksum {
		return fail("its checksum does not fit: it was changed or cut off")
	}
	if err := json.Unmarshal(body.Bytes(), v); err != nil {
		return fail("its body: " + err.Error())
	}
	return nil
}

func checksum(body []byte) string { return fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)) }

// ID is a number that stands for a node, a cluster or a plan: 16 hexadecimal digits.
type ID uint64

func (id ID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// MarshalText implements [encoding.TextMarshaler].
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (id *ID) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 16, 64)
	if err != nil {
		return fmt.Errorf("id %q: want 16 hexadecimal digits", b)
	}
	*id = ID(n)
	return nil
}
