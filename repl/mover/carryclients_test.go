package mover

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"

	"muster/raft"
	"muster/shardmap"
)

type kept struct {
	value   []byte
	version uint64
}

// request is one write of a client.
type request struct {
	c       shardmap.Command
	first   *shardmap.Result // what it was answered first, or would have been; nil: it was not applied
	retries int
}

// holds checks that the owner of a slot has what clients were told, and no more.
func (w *carryWorld) holds(g *carryGroup, s shardmap.Slot) {
	o, owned := g.m.Copy(s)
	if !owned {
		w.fail("group %d does not serve slot %d", g.id, s)
	}
	defer o.Release()
	if err := o.Check(); err != nil {
		w.fail("group %d: %v", g.id, err)
	}
	n := 0
	o.Walk(nil, func(key, value []byte, version uint64) bool {
		n++
		if k := w.truth[string(key)]; k.version != version || !bytes.Equal(k.value, value) {
			w.fail("group %d: key %s is at version %d with %d bytes, want %d with %d", g.id, key, version, len(value), k.version, len(k.value))
		}
		return true
	})
	want := 0
	for key := range w.truth {
		if shardmap.SlotOf([]byte(key)) == s {
			want++
		}
	}
	if n != want {
		w.fail("group %d: slot %d has %d keys, want %d", g.id, s, n, want)
	}
}

// ask has a client begin a write.
func (w *carryWorld) ask() {
	if len(w.free) == 0 || w.quiet {
		return
	}
	i := w.rnd.IntN(len(w.free))
	session := w.free[i]
	w.free = slices.Delete(w.free, i, i+1)
	key := w.keys[w.rnd.IntN(len(w.keys))]
	w.next[session]++
	r := &request{c: shardmap.Command{Kind: shardmap.CommandSet, Session: session, Sequence: w.next[session], Floor: w.next[session], Slot: shardmap.SlotOf(key)}}
	size := w.rnd.IntN(200)
	if w.rnd.IntN(12) == 0 {
		size = w.rnd.IntN(300_000)
	}
	r.c.Items = [][]byte{key, bytes.Repeat([]byte{byte(w.rnd.IntN(256))}, size)}
	if w.rnd.IntN(5) == 0 {
		r.c.Kind, r.c.Items = shardmap.CommandDel, r.c.Items[:1]
	}
	w.asks = append(w.asks, r)
}

// serve has the groups try what clients wait for.
func (w *carryWorld) serve() {
	for _, r := range slices.Clone(w.asks) {
		g := w.groups[raft.GroupID(1+w.rnd.IntN(len(w.groups)-1))]
		if g.leader == nil || w.rnd.IntN(4) == 0 {
			continue
		}
		res := w.apply(g, &r.c)
		switch res.Status {
		case shardmap.StatusSealed, shardmap.StatusNotOwned:
			continue
		case shardmap.StatusApplied:
		default:
			w.fail("a write of session %d is %s", r.c.Session, res.Status)
		}
		w.applied(g, r, res)
		if !w.calm && w.rnd.IntN(6) == 0 {
			r.retries++
			continue // the client does not hear of it, and tries again, anywhere
		}
		w.asks = slices.DeleteFunc(w.asks, func(o *request) bool { return o == r })
		w.done[r.c.Session] = r
		w.free = append(w.free, r.c.Session)
	}
}

// applied checks the answer to a write.
func (w *carryWorld) applied(g *carryGroup, r *request, res shardmap.Result) {
	if r.first != nil {
		if !reflect.DeepEqual(res, *r.first) {
			w.fail("group %d: a retry of session %d is answered %+v, first %+v", g.id, r.c.Session, res, *r.first)
		}
		return
	}
	r.first = &res
	if res.Group != g.id || res.ID != g.at {
		w.fail("group %d at %s: a new write of session %d is answered as a retry: %+v", g.id, g.at, r.c.Session, res)
	}
	key := string(r.c.Items[0])
	if last := w.last[r.c.Slot]; res.Version <= last {
		w.fail("group %d: version %d of slot %d after %d", g.id, res.Version, r.c.Slot, last)
	}
	w.last[r.c.Slot] = res.Version
	if r.c.Kind == shardmap.CommandDel {
		if _, there := w.truth[key]; there != (res.Deleted == 1) {
			w.fail("group %d: del of %s found %d, it is there: %v", g.id, key, res.Deleted, there)
		}
		delete(w.truth, key)
		return
	}
	w.truth[key] = kept{r.c.Items[1], res.Version}
}

// fill gives a group slots with keys of a size, and returns them.
func (w *carryWorld) fill(g *carryGroup, slots, keys, size int) (some []shardmap.Slot) {
	seen := map[shardmap.Slot]bool{}
	for i := 0; len(some) < slots; i++ {
		tag := fmt.Sprintf("{f%d}", i)
		s := shardmap.SlotOf([]byte(tag))
		if w.table.Slots[s] != g.id || seen[s] {
			continue
		}
		seen[s] = true
		some = append(some, s)
		for k := range keys {
			w.put(g, fmt.Appendf(nil, "%s%d", tag, k), size)
		}
	}
	return some
}

func (w *carryWorld) put(g *carryGroup, key []byte, size int) {
	value := make([]byte, size)
	for i := range value {
		value[i] = byte(w.rnd.Uint32())
	}
	r := w.apply(g, &shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotOf(key), Items: [][]byte{key, value}})
	w.last[shardmap.SlotOf(key)] = r.Version
	w.truth[string(key)] = kept{value, r.Version}
}
