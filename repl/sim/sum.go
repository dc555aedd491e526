package sim

import (
	"encoding/binary"
	"fmt"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// Where slots move, each tag has two accounts, between which clients move amounts: one
// command writes both. Whatever becomes of it, and whichever group has the slot, whoever
// reads both at one moment finds the same sum.

const (
	// sumTotal is what the accounts of a tag have together.
	sumTotal = 1000
	// sumEvery is how many operations there are for each of accounts.
	sumEvery = 8
)

// accounts returns the keys of a tag's accounts.
func accounts(tag string) [2][]byte {
	return [2][]byte{fmt.Appendf(nil, "{%s}sum.0", tag), fmt.Appendf(nil, "{%s}sum.1", tag)}
}

// amountOf is what an account's value says that it has.
func amountOf(value []byte) uint64 {
	if len(value) < 16 {
		return 0
	}
	return binary.LittleEndian.Uint64(value[8:])
}

// beginSum makes o a transfer between the accounts of a tag, or a get of both.
func (o *op) beginSum(c *cluster) {
	tag := c.tags[c.chance.below(len(c.tags))]
	keys := accounts(tag)
	o.kind, o.sums, o.key = opSum, true, keys[0]
	slot := shardmap.SlotOf(o.key)
	o.group = c.lives.owner(slot)
	o.call = client.Call{Owner: o, Slot: slot}
	if o.get = c.chance.below(2) == 0; o.get {
		o.more = append(o.more, keys[1])
		q := wire.Get{Keys: [][]byte{o.key, keys[1]}}
		o.body = q.Append(nil)
		return
	}
	cl, has := o.client, uint64(c.chance.below(sumTotal+1))
	o.call.Write = true
	o.command = shardmap.Command{Kind: shardmap.CommandSet, Session: cl.session, Sequence: cl.next, Slot: slot}
	cl.next++
	o.command.Floor = cl.floor(o.command.Sequence)
	for i, amount := range []uint64{has, sumTotal - has} {
		value := binary.LittleEndian.AppendUint64(nil, o.number)
		o.command.Items = append(o.command.Items, keys[i], binary.LittleEndian.AppendUint64(value, amount))
	}
	o.body = wire.AppendWrite(nil, &o.command)
}

// checkSum checks what a get of both accounts found.
func (o *op) checkSum(a wire.GetAnswer) {
	sum, there := uint64(0), 0
	for range 2 {
		if _, value, found, _ := a.Next(); found {
			sum += amountOf(value)
			there++
		}
	}
	if there == 1 || there == 2 && sum != sumTotal {
		o.client.c.fail("I11: %s finds %d accounts with %d together as of %s of group %d; no transfer changes that they have %d", o, there, sum, a.At, a.Group, sumTotal)
	}
}

// checkSums checks the accounts of all slots that a group has, on one of its replicas.
func (n *node) checkSums(g raft.GroupID) {
	c := n.c
	m := n.host.Machine(g).(*watched).state.State
	for _, tag := range c.tags {
		sum, there := uint64(0), 0
		for _, k := range accounts(tag) {
			if value, _, is := m.Get(k, nil); is == shardmap.Present {
				sum += amountOf(value)
				there++
			}
		}
		if there == 1 || there == 2 && sum != sumTotal {
			c.fail("I11: n%d has %d accounts of tag %s with %d together in group %d; no transfer changes that they have %d", n.index, there, tag, sum, g, sumTotal)
		}
	}
}
