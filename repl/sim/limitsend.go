package sim

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// limitEndKeys is the limit of keys at the end of a run, which is filled to the last one.
	limitEndKeys = 24
	// limitKnownWithin bounds how long a limit takes to be known to all nodes of a healed cluster.
	limitKnownWithin = 15 * time.Second
	// limitAdmitWithin bounds how long writes take that fit, or to be refused for good.
	limitAdmitWithin = 15 * time.Second
	// limitAskPause is what lies between two times at which the same is asked, and limitAskMax how long an answer is waited for.
	limitAskPause = 250 * time.Millisecond
	limitAskMax   = 2 * time.Second
	// limitEndSpace is the prefix of the keys.
	limitEndSpace = "end/"
)

// end ends what people do, and has a healed cluster take all that fits, refuse what does not, say truthfully what is left, and
// forget limits that are taken away.
func (x *limits) end() {
	if !x.active {
		return
	}
	x.people = false
	c := x.c
	if t := c.newestTable(); t == nil || t.Level < shardmap.SecurityLevel {
		return
	}
	if x.session = c.chance.next() | 1; c.users.active {
		c.users.owners[x.session] = 0 // members speak for no user
	}
	former := slices.Clone(x.now)
	for _, l := range former {
		x.decree(shardmap.Limit{Prefix: l.Prefix})
	}
	for _, l := range former {
		x.admits("a limit that was taken away refuses nothing", x.keysUnder(l.Prefix))
	}

	end := shardmap.Limit{Prefix: limitEndSpace, Keys: limitEndKeys, Bytes: 1 << 20}
	x.decree(end)
	var keys [][]byte
	for i := range limitEndKeys {
		keys = append(keys, limitKey(limitEndSpace, c.tags[i%len(c.tags)], i))
	}
	x.admits("what is below its limit is taken", keys)
	more := limitKey(limitEndSpace, c.tags[c.chance.below(len(c.tags))], limitEndKeys)
	x.refuses(more, limitEndKeys, limitEndKeys)

	x.removes(keys[c.chance.below(len(keys))])
	x.admits("what was deleted makes room", [][]byte{more})

	end.Keys = limitEndKeys / 2
	x.decree(end)
	another := limitKey(limitEndSpace, c.tags[c.chance.below(len(c.tags))], limitEndKeys+1)
	x.refuses(another, limitEndKeys/2, limitEndKeys)
	end.Keys = limitEndKeys + 1
	x.decree(end)
	x.admits("a limit that is raised makes room", [][]byte{another})
	x.decree(shardmap.Limit{Prefix: limitEndSpace})
	x.admits("a limit that was taken away refuses nothing", [][]byte{limitKey(limitEndSpace, c.tags[0], limitEndKeys+2)})
}

// keysUnder returns keys with a prefix that no other operation is about, one for each tag that allows it.
func (x *limits) keysUnder(prefix string) (keys [][]byte) {
	space, _, _ := strings.Cut(prefix, "{")
	for _, tag := range x.c.tags {
		if key := limitKey(space, tag, limitNames); bytes.HasPrefix(key, []byte(prefix)) {
			keys = append(keys, key)
		}
	}
	return keys
}

// decree sets a limit, and waits until all nodes know it.
func (x *limits) decree(l shardmap.Limit) {
	again := x.c.now
	x.c.until(fmt.Sprintf("all nodes know the limit %+v", l), limitKnownWithin, func() bool {
		known := true
		for _, n := range x.c.nodes {
			if n.up && !n.dead && n.host != nil && n.known.kept() != nil {
				has, _ := n.known.kept().Security.Limit(l.Prefix)
				known = known && mostOf(&has) == mostOf(&l)
			}
		}
		if !known && x.c.now >= again {
			again = x.c.now + time.Second
			x.set(l)
		}
		return known
	})
}

// limitAsk is a write that is handed straight to the leader of its group, again and again: whether clients find that
// is not what is tested here.
type limitAsk struct {
	x       *limits
	command shardmap.Command
	began   time.Duration // the last time
	waits   bool          // for the answer
	refusal *wire.Error   // the last one; nil: there was none
}

// ask makes a command a write, which is begun with the first call of press.
func (x *limits) ask(kind shardmap.CommandKind, items ...[]byte) *limitAsk {
	x.asks++
	return &limitAsk{x: x, began: -limitAskMax, command: shardmap.Command{Kind: kind, Slot: shardmap.SlotOf(items[0]), Items: items,
		Session: x.session, Sequence: x.asks, Floor: 1}}
}

// press hands the write in, unless it was just now, or an answer is due.
func (a *limitAsk) press() {
	c := a.x.c
	if c.now < a.began+limitAskPause || a.waits && c.now < a.began+limitAskMax {
		return
	}
	lead := c.leaderOf(c.lives.owner(a.command.Slot))
	if lead == nil {
		return
	}
	a.began, a.waits = c.now, true
	end := &stepEnd{peerEnd: peerEnd{acceptor: acceptor{node: lead}}}
	end.say = func(_ repl.Reply, t wire.Type, body []byte) {
		a.waits, a.refusal = false, nil
		if t != wire.TypeError {
			return
		}
		a.refusal = new(wire.Error)
		if err := a.refusal.Read(body); err != nil {
			c.fail("an error that answers a write: %v", err)
		}
	}
	end.take(wire.TypeWrite, wire.AppendWrite(nil, &a.command))
}

// over reports whether the write was refused for good.
func (a *limitAsk) over() bool { return a.refusal != nil && a.refusal.Code == wire.CodeOverLimit }

func (x *limits) there(key []byte) bool { return x.c.lives.ofKey(key).now(key).there }

func (x *limits) sets(key []byte) *limitAsk {
	return x.ask(shardmap.CommandSet, key, []byte("limitval"))
}

// admits has keys set, and waits until all are.
func (x *limits) admits(what string, keys [][]byte) {
	var asks []*limitAsk
	for _, key := range keys {
		asks = append(asks, x.sets(key))
	}
	x.c.until(fmt.Sprintf("%s: %q", what, keys), limitAdmitWithin, func() bool {
		all := true
		for i, key := range keys {
			if !x.there(key) {
				all = false
				asks[i].press()
			}
		}
		return all
	})
}

// refuses has a key set, and waits until that is refused for good, with a limit and what there is of it.
func (x *limits) refuses(key []byte, most, used int64) {
	a := x.sets(key)
	x.c.until(fmt.Sprintf("a write over its limit is refused: %q", key), limitAdmitWithin, func() bool {
		if !a.over() {
			a.press()
		}
		return a.over()
	})
	said, err := readRefusal(a.refusal)
	want := refusalSays{prefix: limitEndSpace, kind: ofKeys, most: most, used: used, left: max(most-used, 0)}
	if err != nil || said != want {
		x.c.fail("I20: a write is refused: %v; it should say %+v", a.refusal, want)
	}
	if x.there(key) {
		x.c.fail("I20: %q is there, and its client was told that it is over the limit", key)
	}
}

// removes has a key deleted, and waits until it is.
func (x *limits) removes(key []byte) {
	a := x.ask(shardmap.CommandDel, key)
	x.c.until(fmt.Sprintf("a key under a limit is deleted: %q", key), limitAdmitWithin, func() bool {
		if x.there(key) {
			a.press()
		}
		return !x.there(key)
	})
}
