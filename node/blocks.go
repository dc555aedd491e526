package node

import (
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
)

// takeBlockRange answers a member's question for bytes of a block file, once the member has said that the connection is
// its own.
func takeBlockRange(n *Node, _ raft.NodeID, own *claimant, body []byte) (wire.Type, wire.Body, error) {
	var q wire.BlockRange
	if err := q.Read(body); err != nil {
		return 0, nil, err
	}
	a := &wire.BlockRangeAnswer{State: wire.BlockBusy}
	files := n.blocks.Load()
	switch {
	case files == nil:
		a.Why = "the node does not serve yet"
	case !own.counted(n.ctx):
		a.Why = "the sender has not answered yet where it is dialled"
	default:
		a = repl.ReadBlockRange(files, &q)
	}
	return wire.TypeBlockRangeAnswer, a, nil
}
