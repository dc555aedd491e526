package line

import (
	"math/rand/v2"
	"testing"
)

// A text that is cut where its lines end has the same points as the whole, wherever the cuts are: one would doubt it of
// strings with newlines, and of lines that are bad.
func TestWhole(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "m v=1": 0, "m v=1\n": 6, "m v=1\nm v=": 6, "m v=\"a\nb": 0, "m v=\"a\nb\"\n": 10, "m v=1\nm v=\"a\n": 6, "\n\n": 2, "# \"x\n": 5, "m,t=\" v=1\nm": 10,
	} {
		if got := Whole([]byte(text)); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
	pieces := []string{"m v=1", "m,t=a s=\"x\ny\"", "m s=\"", "\n", "\n", "\"", " 17", "\r", "#", "m,t=\\ v=1", "m w=2i"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		var text []byte
		for range random.IntN(12) {
			text = append(text, pieces[random.IntN(len(pieces))]...)
		}
		_, whole, err := NewParser().Parse(text, Nanosecond, 1)
		if err != nil {
			t.Fatal(err)
		}
		n := Whole(text[:random.IntN(len(text)+1)])
		_, first, _ := NewParser().Parse(text[:n], Nanosecond, 1)
		_, second, _ := NewParser().Parse(text[n:], Nanosecond, 1)
		if first.Points+second.Points != whole.Points || first.Refused+second.Refused != whole.Refused {
			t.Fatalf("%q cut at %d: %+v and %+v, want %+v", text, n, first, second, whole)
		}
	}
}

// A stamped line reads as the one before, with the time; a line that has a time keeps it.
func TestStamp(t *testing.T) {
	for _, c := range []struct {
		text      string
		precision Precision
		want      string
	}{
		{"m v=1", Nanosecond, "m v=1 1700000000999999999\n"},
		{"m v=1 \r\n\n# x\n n,t=a\\ b v=\"a b\",w=1i", Second, "m v=1 1700000000\nn,t=a\\ b v=\"a b\",w=1i 1700000000\n"},
		{"m v=1 17\nm v=2 18  ", Millisecond, "m v=1 17\nm v=2 18\n"},
		{"m v=\"a\nb\"", Hour, "m v=\"a\nb\" 472222\n"},
		{"", Nanosecond, ""},
	} {
		got := Stamp(nil, []byte(c.text), c.precision, 1_700_000_000_999_999_999)
		if string(got) != c.want {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
		if again := Stamp(nil, got, c.precision, 1); string(again) != c.want {
			t.Errorf("%q: stamped again it is %q", c.text, again)
		}
	}
	// For any text of these pieces, as many lines are good and bad as before.
	pieces := []string{"m", " ", " v=1", ",t=a", " v=\"x\"", "\"", " 17", "\r", "\\", "\n", "=", "x"}
	random := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		var text []byte
		for range random.IntN(10) {
			text = append(text, pieces[random.IntN(len(pieces))]...)
		}
		_, want, _ := NewParser().Parse(text, Nanosecond, 1)
		if _, got, _ := NewParser().Parse(Stamp(nil, text, Nanosecond, 1), Nanosecond, 2); got.Points != want.Points || got.Refused != want.Refused {
			t.Fatalf("%q: %+v becomes %q: %+v", text, want, Stamp(nil, text, Nanosecond, 1), got)
		}
	}
}
