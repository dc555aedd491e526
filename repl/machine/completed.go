package machine

import (
	"time"

	"muster/raft"
	"muster/repl"
	"muster/shardmap"
)

// CompletedOrder returns an order for the meta group with what self adds to it, which leads that group: the servers
// that it has not heard of for longer than after, where a group is to be made. The log must say it, since each
// node has to make the same of the order. now is by the host's clock.
func CompletedOrder(order []byte, t *shardmap.Table, self raft.NodeID, contacts *repl.Contacts, now, after time.Duration) []byte {
	create, ok := shardmap.ReadGroupCreate(order)
	if !ok || t.Level < shardmap.LeasesLevel {
		return order
	}
	create.Away = nil
	for i := range t.Nodes {
		o := &t.Nodes[i]
		if ago, ever := contacts.Heard(o.ID, now); o.Role == shardmap.NodeServer && o.ID != self && (!ever || ago > after) {
			create.Away = append(create.Away, o.ID)
		}
	}
	whole, err := shardmap.AppendGroupCreate(nil, create)
	if err != nil {
		return order
	}
	return whole
}
