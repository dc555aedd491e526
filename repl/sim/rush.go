package sim

import (
	"slices"
	"time"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// A request for a slot waits while the slot is sealed, from when the seal is applied. One
// that comes a moment earlier has its entry behind the seal in the log, where it must
// change nothing. Among operations that come by chance that is rare, so clients rush to
// slots that are about to be sealed.

const (
	// rushEvery is how many seals there are for each slot of a step with a rush to it.
	rushEvery = 8
	// rushSlots bounds the slots of one step to which clients rush.
	rushSlots = 2
	// rushMax is about how much later than its carrier proposes a seal a write to the slot
	// begins: the seal is applied once most disks have it.
	rushMax = 8 * time.Millisecond
	// clearEvery is how many writes of a rush there are for each that deletes a prefix instead, in runs with such
	// rushes, and clearRushEvery how many seals there are for each slot with one more rush.
	clearEvery, clearRushEvery = 2, 2
)

// sealing has clients rush to slots that a carrier is about to have sealed by a command, if
// it is a seal.
func (x *shuffle) sealing(command []byte) {
	c := x.c
	body, err := wire.CheckWrite(command)
	if err != nil || shardmap.ReadCommand(body, &x.command) != nil || x.command.Kind != shardmap.CommandSeal {
		return
	}
	steps, err := shardmap.ReadSteps(&x.command)
	if err != nil {
		c.fail("a carrier's seal: %v", err)
	}
	rushes := 0
	for i := range steps {
		if s := steps[i].Slot; rushes < rushSlots && x.hasKeys(s) && (c.chance.below(rushEvery) == 0 || x.clears && x.own.below(clearRushEvery) == 0) {
			rushes++
			for _, cl := range c.clients {
				e := c.queue.get(evRush)
				e.client, e.number = cl, uint64(s)
				c.after(c.chance.between(0, rushMax), e)
			}
		}
	}
}

// hasKeys reports whether clients write to a slot.
func (x *shuffle) hasKeys(s shardmap.Slot) bool {
	return slices.ContainsFunc(x.c.tags, func(tag string) bool { return tagSlot(tag) == s })
}

// tagSlot is the slot of all keys with a tag.
func tagSlot(tag string) shardmap.Slot { return shardmap.SlotOf([]byte("{" + tag + "}")) }

// rush begins a write to a slot.
func (cl *simClient) rush(s shardmap.Slot) {
	if cl.stopped || cl.busy() >= openMax || cl.c.users.login(cl) {
		return
	}
	c := cl.c
	o := &op{client: cl, number: c.history.begin(), cell: c.history.cellIn(c, s), group: c.lives.owner(s)}
	o.key = o.cell.key(c)
	o.call = client.Call{Owner: o, Slot: s}
	switch {
	case c.shuffle.clears && !o.cell.counter && c.builds.reached(shardmap.RangesLevel) && c.shuffle.own.below(clearEvery) == 0:
		beginDelPrefix(o, c)
	case o.cell.counter || c.grants.newer(c):
		o.beginNewer(c)
	default:
		o.beginWrite(c)
	}
	cl.submit(o)
	cl.settle()
}
