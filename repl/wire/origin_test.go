package wire_test

import (
	"bytes"
	"errors"
	"testing"

	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
)

// What a node says of a command comes back as it was said, and the command behind it
// byte for byte. It is short while there is nobody to name. Times are cut to what
// there is room for; a clock that is two million years ahead decides nothing here.
func TestOriginThroughBytes(t *testing.T) {
	const timeMax = 1<<56 - 1
	command := []byte("the command")
	for _, c := range []struct {
		o, want wire.Origin
		size    int
	}{
		{wire.Origin{}, wire.Origin{}, 8},
		{wire.Origin{Time: 1_764_320_000_123}, wire.Origin{Time: 1_764_320_000_123}, 8},
		{wire.Origin{Time: timeMax}, wire.Origin{Time: timeMax}, 8},
		{wire.Origin{Time: timeMax + 1}, wire.Origin{Time: timeMax}, 8},
		{wire.Origin{Principal: 1}, wire.Origin{Principal: 1}, 24},
		{wire.Origin{Rules: 1, Time: 7}, wire.Origin{Rules: 1, Time: 7}, 24},
		{wire.Origin{Principal: 1<<64 - 1, Rules: 1<<64 - 1, Time: 7}, wire.Origin{Principal: 1<<64 - 1, Rules: 1<<64 - 1, Time: 7}, 24},
		{wire.Origin{Time: 7, Limits: points.Limits{Series: 1, Values: 2, Fields: 1 << 31}}, wire.Origin{Time: 7, Limits: points.Limits{Series: 1, Values: 2, Fields: 1 << 31}}, 36},
		{wire.Origin{Principal: 3, Rules: 4, Limits: points.Limits{Fields: 9}}, wire.Origin{Principal: 3, Rules: 4, Limits: points.Limits{Fields: 9}}, 36},
	} {
		b := c.o.Append([]byte("before"))
		if n := len(b) - len("before"); n != c.size || n > wire.OriginSizeMax {
			t.Errorf("%+v takes %d bytes, want %d", c.o, n, c.size)
		}
		got, rest, err := wire.ReadOrigin(append(b[len("before"):], command...))
		if err != nil || got != c.want || !bytes.Equal(rest, command) {
			t.Errorf("%+v: got %+v, %q, %v", c.o, got, rest, err)
		}
	}
}

// Bytes that end within an origin are none, and a form that a later build made is said
// to be that: a replica must stop at it, not take what follows for a command.
func TestOriginRefused(t *testing.T) {
	for _, o := range []wire.Origin{{Time: 5}, {Principal: 3, Time: 5}, {Time: 5, Limits: points.DefaultLimits}} {
		whole := o.Append(nil)
		for n := range whole {
			if _, _, err := wire.ReadOrigin(whole[:n]); !errors.Is(err, wire.ErrOrigin) {
				t.Errorf("%d bytes of %d: %v", n, len(whole), err)
			}
		}
		if _, rest, err := wire.ReadOrigin(whole); err != nil || len(rest) != 0 {
			t.Errorf("an origin alone: %q, %v", rest, err)
		}
	}
	for form := 3; form < 256; form++ {
		b := append([]byte{byte(form)}, make([]byte, 40)...)
		if _, rest, err := wire.ReadOrigin(b); !errors.Is(err, shardmap.ErrLevel) || rest != nil {
			t.Errorf("form %d: %v", form, err)
		}
	}
}

// Those who apply a command get of its payload what everybody else does.
func TestCommandOf(t *testing.T) {
	for _, o := range []wire.Origin{{}, {Time: 7}, {Principal: 3}, {Rules: 9, Time: 1<<56 - 1}, {Time: 9, Limits: points.DefaultLimits}} {
		payload := append(o.Append(nil), "command"...)
		got, command, err := wire.CommandOf(payload)
		if got != o || string(command) != "command" || err != nil {
			t.Errorf("%+v: got %+v, %q, %v", o, got, command, err)
		}
	}
	for _, payload := range []string{"", "\x00", "\x01234567", "\x02234567", "\x03234567"} {
		_, _, want := wire.ReadOrigin([]byte(payload))
		if _, _, err := wire.CommandOf([]byte(payload)); err == nil || err.Error() != want.Error() {
			t.Errorf("%q: got %v, want %v", payload, err, want)
		}
	}
}
