package machine

import (
	"fmt"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// ReportProposal makes a report on a service an entry of the group that has it. No client's frame
// leads here: only the group's leader says what checks have found.
func ReportProposal(g raft.GroupID, c *shardmap.Command, o wire.Origin) (repl.Proposal, error) {
	e := NewEntry(o, wire.AppendWrite(nil, c))
	if n := len(e.Payload()); n > raft.PayloadSizeMax {
		// The core would refuse it, and with it whatever is proposed at the same time.
		return repl.Proposal{}, fmt.Errorf("%w: a report of %d bytes; the limit is %d", shardmap.ErrTooLarge, n, raft.PayloadSizeMax)
	}
	return repl.Proposal{Group: g, Entry: e}, nil
}
