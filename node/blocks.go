package node

import (
	"context"
	"fmt"
	"sync/atomic"

	"muster/logstore"
	"muster/logstore/blocks"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap/points/block"
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

// pointFiles are the block files of a node's groups.
type pointFiles struct {
	blocks  atomic.Pointer[blocks.Store] // nil until founded
	fetcher *repl.BlockFetcher           // of what arriving snapshots list; owned by run
}

// beginBlockFiles has the identity say that the directory has block files, before there is one.
func beginBlockFiles(n *Node) error {
	id, err := logstore.ChangeIdentity(n.store, func(id *logstore.Identity) { id.BlockFiles = true })
	if err == nil {
		n.enrolment.set(id)
	}
	return err
}

// newBlockFetcher returns what gets the block files that arriving snapshots list.
func newBlockFetcher(n *Node, files *blocks.Store) *repl.BlockFetcher {
	return repl.NewBlockFetcher(repl.BlockFetcherConfig{
		Self: n.self().Node, Files: files, Log: n.log,
		Fetch: func(ctx context.Context, from raft.NodeID, g blocks.Group, sum block.Sum) error {
			_, err := n.transport.FetchBlockFile(ctx, from, files, g, sum)
			return err
		},
	})
}

// missingFiles returns how many block files of a group are not here.
func missingFiles(files *blocks.Store, r logstore.Replica, sums []block.Sum) int {
	return len(files.Missing(blocks.Group{ID: r.Group, Incarnation: r.Incarnation}, sums))
}

// namedFiles are the block files that states name, of groups whose replica here has one that counts.
type namedFiles map[blocks.Group]map[block.Sum]bool

// lost reports whether points are lost here with a file: a state names it, or may.
func (n namedFiles) lost(f blocks.File) bool {
	sums, known := n[f.Group]
	return !known || sums[f.Sum]
}

// namedOf asks the host which files the states of groups name that have damaged ones.
func namedOf(loop *repl.Loop, damaged []blocks.Damaged) namedFiles {
	named := namedFiles{}
	if loop == nil || len(damaged) == 0 {
		return named
	}
	asked := namedFiles{}
	if !inTurn(loop, func(h *repl.Host) {
		for i := range damaged {
			g := damaged[i].File.Group
			m, ok := h.Machine(g.ID).(*machine.Map)
			if _, done := asked[g]; done || !ok || m.Incarnation() != g.Incarnation {
				continue
			}
			asked[g] = map[block.Sum]bool{}
			for _, sum := range m.BlockFiles() {
				asked[g][sum] = true
			}
		}
	}) {
		return named // the host may be about to write asked
	}
	return asked
}

// blockProblems tells what is wrong with the block files of the node of that name. waiting are the snapshots that wait for some,
// named what states name of the groups with damaged ones.
func blockProblems(name string, files *blocks.Store, waiting []repl.WaitingSnapshot, named func([]blocks.Damaged) namedFiles) (list []wire.Problem) {
	for i := range waiting {
		if a := &waiting[i]; a.Why != "" {
			list = append(list, wire.Problem{
				What:   fmt.Sprintf("the replica of group %d on node %s waits for %d of %d block files of points: %s", a.Replica.Group, name, a.Missing, a.Files, a.Why),
				Remedy: "see that the nodes of the other replicas run; the files are asked for again",
			})
		}
	}
	if err := files.Stopped(); err != nil {
		list = append(list, wire.Problem{
			What:   fmt.Sprintf("node %s keeps no more block files of points: %v", name, err),
			Remedy: "see what is wrong with its disk, then start the node again; until then its points stay in the log and in memory",
		})
	}
	damaged := files.Damaged()
	states := named(damaged)
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
		if !states.lost(d.File) {
			p.What += "; no point is lost, the group's state does not name the file"
			p.Remedy = "look at the disk; the node removes the file"
		} else if d.Where.Refused {
			p.Remedy = "check the disk and its cable: the problem ends once the disk returns it, or another replica has sent the file"
		}
		list = append(list, p)
	}
	return list
}
