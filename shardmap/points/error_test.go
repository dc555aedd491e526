package points

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"muster/shardmap/points/column"
)

// A client learns from these words alone what to change: each reason must have them, and no two the same.
func TestReasonsHaveWords(t *testing.T) {
	seen := map[string]Reason{}
	for r := MissingMeasurement; r < reasonEnd; r++ {
		text := Error{Reason: r}.Error()
		if reasons[r].wrong == "" || reasons[r].want == "" {
			t.Errorf("reason %d: %q says not what is wrong, or not what would be right", r, text)
		}
		if other, ok := seen[text]; ok {
			t.Errorf("reasons %d and %d are both %q", other, r, text)
		}
		seen[text] = r
	}
	for _, r := range []Reason{0, reasonEnd, 255} {
		if r.String() != "unknown reason" || (Error{Reason: r}).Error() != "unknown reason" {
			t.Errorf("reason %d: %q", r, Error{Reason: r})
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err  Error
		want string
	}{
		{Refuse(DuplicateTag, []byte("host")), `tag "host": duplicate tags; want each tag once`},
		{Refuse(MissingFields, nil), "missing fields; want a space and FIELD=VALUE after measurement and tags"},
		{Error{FieldTypeConflict, "v", column.Integer, column.Float}, `field "v": field type conflict: it is integer here, and was float before; write the field as what it is, or under another name`},
		{Refuse(InvalidName, []byte("a\x1b[2J")), `name "a\x1b[2J": invalid characters; want UTF-8 without control characters`},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got %s\nwant %s", got, c.want)
		}
	}
	long := Refuse(InvalidName, []byte(strings.Repeat("x", 1000)))
	if len(long.Name) != nameShown {
		t.Errorf("%d bytes of a name are kept, want %d", len(long.Name), nameShown)
	}
	wrapped := fmt.Errorf("line 3: %w", Refuse(DuplicateTag, []byte("host")))
	if !errors.Is(wrapped, Error{Reason: DuplicateTag}) || errors.Is(wrapped, Error{Reason: InvalidTag}) || errors.Is(wrapped, Error{Reason: DuplicateTag, Name: "other"}) {
		t.Error("errors.Is does not go by the reason")
	}
}
