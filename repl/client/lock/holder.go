package lock

import (
	"context"
	"fmt"
	"iter"

	"muster/repl/client"
	"muster/repl/wire"
)

// Holder is the one that holds a lock, as others see it. Token 0: nobody does.
type Holder struct {
	Token Token
	Value []byte // that it gave, as [Options.Value]
}

// Look returns who holds a lock. An error of code not-found says that nobody does.
func Look(ctx context.Context, c *client.Client, name string) (Holder, error) {
	err := checkName(name)
	var now record
	if err == nil {
		now, err = remote{c}.read(ctx, name)
	}
	var h Holder
	if err == nil {
		h, err = holderOf(name, now)
	}
	if err == nil && h.Token == 0 {
		err = wire.NotFound(object(name), "nobody holds it", "take it, or wait until somebody does")
	}
	if err != nil {
		return Holder{}, fmt.Errorf("%s: %w", object(name), err)
	}
	return h, nil
}

// Observe tells who holds a lock: first who does now, then after each change, until ctx ends. Of changes that
// follow each other while nobody asks for the next, it may leave some out. An error ends it.
func Observe(ctx context.Context, c *client.Client, name string) iter.Seq2[Holder, error] {
	return observe(ctx, remote{c}, name)
}

func observe(ctx context.Context, c cluster, name string) iter.Seq2[Holder, error] {
	return func(yield func(Holder, error) bool) {
		if err := checkName(name); err != nil {
			yield(Holder{}, fmt.Errorf("%s: %w", object(name), err))
			return
		}
		told, begun := Token(0), false
		for now, err := range c.changes(ctx, name) {
			var h Holder
			if err == nil {
				h, err = holderOf(name, now)
			}
			if err != nil {
				yield(Holder{}, fmt.Errorf("%s: %w", object(name), err))
				return
			}
			if begun && h.Token == told {
				continue
			}
			told, begun = h.Token, true
			if !yield(h, nil) {
				return
			}
		}
	}
}

// holderOf reads what a key has.
func holderOf(name string, now record) (Holder, error) {
	if now.version == 0 {
		return Holder{}, nil
	}
	_, value, ok := readValue(now.value)
	if !ok {
		return Holder{}, errForeign(name)
	}
	return Holder{Token(now.version), value}, nil
}
