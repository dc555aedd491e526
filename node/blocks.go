package node

import (
	"fmt"

	"muster/logstore/blocks"
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

// blockProblems tells what is wrong with the block files of the node of that name.
func blockProblems(name string, files *blocks.Store) (list []wire.Problem) {
	if err := files.Stopped(); err != nil {
		list = append(list, wire.Problem{
			What:   fmt.Sprintf("node %s keeps no more block files of points: %v", name, err),
			Remedy: "see what is wrong with its disk, then start the node again; until then its points stay in the log and in memory",
		})
	}
	damaged := files.Damaged()
	for i := range damaged {
		if i == damagesShownMax {
			list = append(list, wire.Problem{What: fmt.Sprintf("%d block files more are damaged on node %s", len(damaged)-i, name), Remedy: "repair the first ones; the node's log lists all"})
			break
		}
		d := &damaged[i]
		p := wire.Problem{
			What:   fmt.Sprintf("a block file of group %d on node %s: %v", d.File.Group.ID, name, d),
			Remedy: "look at the disk; the node fetches the file from another replica: see that they run",
		}
		if d.Where.Refused {
			p.Remedy = "check the disk and its cable: the problem ends once the disk returns it, or another replica has sent the file"
		}
		list = append(list, p)
	}
	return list
}
