package logstore

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// The identity and the fences are text, so that a person can read them without muster:
// a first line with the format, a line for each field, and a last line with the CRC32C
// of all lines before it.
const textChecksum = "checksum "

// sealText appends the last line to b.
func sealText(b []byte) []byte {
	return fmt.Appendf(b, "%s%08x\n", textChecksum, crc32.Checksum(b, castagnoli))
}

// readText checks the first line of a text, which begins with first, and the last one,
// and returns the lines between them and the format.
func readText(b []byte, first string, read formats) (lines string, format uint32, err error) {
	end := bytes.LastIndex(b, []byte("\n"+textChecksum))
	if end < 0 {
		return "", 0, errors.New("it has no checksum")
	}
	if text := b[:end+1]; string(sealText(text[:len(text):len(text)])) != string(b) {
		return "", 0, errors.New("its checksum does not fit")
	}
	line, lines, _ := strings.Cut(string(b[:end+1]), "\n")
	n, err := strconv.ParseUint(strings.TrimPrefix(line, first), 10, 32)
	if err == nil {
		err = read.check(uint32(n))
	}
	if err != nil {
		return "", 0, fmt.Errorf("line %q: %w", line, err)
	}
	return lines, uint32(n), nil
}
