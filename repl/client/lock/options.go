package lock

import (
	"fmt"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// Limits of [Options], and of names.
const (
	// TTLDefault is [Options.TTL] where it is not given. It outlasts the election of a leader and a
	// short loss of the network, several times.
	TTLDefault = 10 * time.Second
	// TTLMin is the least TTL: with a shorter one, most holders would lose their locks whenever a
	// leader changes.
	TTLMin = time.Second
	// TTLMax is the longest. The lock of a holder that has crashed stays taken for as long.
	TTLMax = 24 * time.Hour
	// ValueMax bounds [Options.Value], in bytes.
	ValueMax = 4096
	// NameMax is the longest name, in bytes: a name is a key.
	NameMax = shardmap.KeyMax
)

// Options say how a lock is held. The zero value is a good one.
type Options struct {
	// TTL is how long the lock stays taken after its holder has crashed: [TTLMin] to [TTLMax], rounded up to
	// whole milliseconds; 0: [TTLDefault]. The holder sends a sign of life each third of it, and gives the
	// lock up when none was confirmed for nine tenths of it.
	TTL time.Duration
	// Value is what others see of the holder, as in [Holder]: at most [ValueMax] bytes, mostly who it is, or
	// where it can be reached. The key of a lock has 47 bytes more, which a cluster of small values may refuse
	// (code too-large).
	Value []byte
}

// check refuses what can't be a lock, and puts in what was not given.
func (o *Options) check(name string) error {
	if o.TTL == 0 {
		o.TTL = TTLDefault
	}
	switch {
	case o.TTL < TTLMin:
		return wire.BadRequest("ttl", fmt.Sprintf("%s, want %s to %s", o.TTL, TTLMin, TTLMax), "give a longer one, or none")
	case o.TTL > TTLMax:
		return wire.TooLarge("ttl", fmt.Sprintf("%s, the limit is %s", o.TTL, TTLMax), "give a shorter one, or none")
	case len(o.Value) > ValueMax:
		return wire.TooLarge("value", fmt.Sprintf("%d bytes, the limit is %d", len(o.Value), ValueMax), "give a shorter one")
	}
	return checkName(name)
}

func checkName(name string) error {
	switch {
	case name == "":
		return wire.BadRequest("name", fmt.Sprintf("0 bytes, want 1 to %d", NameMax), "name the lock")
	case len(name) > NameMax:
		return wire.TooLarge("name", fmt.Sprintf("%d bytes, the limit is %d", len(name), NameMax), "choose a shorter one")
	}
	return nil
}
