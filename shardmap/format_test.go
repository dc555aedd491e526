package shardmap

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// A state of another format is refused with its number, newer and older told apart: the
// one wants the newer muster, the other is of a build before this one.
func TestStateOfAnotherFormat(t *testing.T) {
	good, _ := testSnapshot(t)
	for _, c := range []struct {
		format uint16
		want   error
	}{{slotFormats.newest + 1, ErrLevel}, {slotFormats.oldest - 1, ErrOlder}} {
		b := bytes.Clone(good)
		b[8] = byte(c.format)
		if _, err := ReadSnapshot(bytes.NewReader(b)); !errors.Is(err, c.want) || !strings.Contains(err.Error(), fmt.Sprintf("snapshot of a slot of format %d", c.format)) {
			t.Errorf("format %d: got %v, want %v", c.format, err, c.want)
		}
	}
	both := formats{what: "table", oldest: 3, newest: 4}
	for found, want := range map[uint16]string{2: "table of format 2: of an older build; known is 3 to 4", 3: "", 4: "", 5: "table of format 5: of a newer level; known is 3 to 4"} {
		if err := both.check(found); err == nil && want != "" || err != nil && err.Error() != want {
			t.Errorf("format %d: got %v, want %q", found, err, want)
		}
	}
}

// The table of formats says what this build reads and writes.
func TestFormatsInDocument(t *testing.T) {
	page, err := os.ReadFile("../docs/storage.md")
	if err != nil {
		t.Fatal(err)
	}
	for what, f := range map[string]formats{"state of a data group, `mustkeys`": mapFormats, "state of a slot, `mustslot`": slotFormats, "state of the table, `mustmeta`": tableFormats} {
		if row := fmt.Sprintf("| %s | %d | %d | ", what, f.newest, f.oldest); !strings.Contains(string(page), row) {
			t.Errorf("docs/storage.md has no row %q", row)
		}
	}
}
