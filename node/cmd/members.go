package cmd

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// tables asks for the cluster's table again and again, whichever nodes die meanwhile.
type tables struct {
	ask  func(ctx context.Context, endpoint string) (*shardmap.Table, raft.NodeID, error)
	at   string          // whom to ask next; empty: any
	turn int             // counts those that were asked in turn
	last *shardmap.Table // the newest that was seen; nil before there was one
}

// next returns the newest table that it can get within pollMax.
func (t *tables) next(ctx context.Context) (*shardmap.Table, error) {
	ctx, cancel := context.WithTimeout(ctx, pollMax)
	defer cancel()
	table, leader, err := t.ask(ctx, t.at)
	if err == nil && (t.last == nil || table.Index >= t.last.Index) {
		t.last = table
	}
	// Who leads the meta group has the newest table. A node that knows no leader may be cut
	// off from the others, and would tell the same for ever.
	t.at = ""
	if t.last != nil {
		n, ok := t.last.Node(leader)
		if err != nil || !ok {
			n = t.last.Nodes[t.turn%len(t.last.Nodes)]
			t.turn++
		}
		t.at = n.Addr
	}
	if err != nil {
		return nil, err
	}
	return t.last, nil
}

const (
	// Between two looks at the table lies pauseMin after there was news, and twice as long
	// each time without, up to pauseMax.
	pauseMin = 50 * time.Millisecond
	pauseMax = time.Second
	// pollMax is how long one node may take to answer with the table, before another one
	// is asked.
	pollMax = 3 * time.Second
)

// glance is what one look at the table showed.
type glance struct {
	over bool // what was waited for is so
	news bool // something has moved
}

// patience says how long to wait for what is to come.
type patience uint8

const (
	// waitForever: as long as somebody answers.
	waitForever patience = iota
	// waitAsLongAsACall: as long as one request may take.
	waitAsLongAsACall
)

// errNotYet ends a wait that had an end.
var errNotYet = fmt.Errorf("not yet")

// until looks at the table until look says that it is over. It ends with an error when
// no node has answered for as long as one request may take, and when ctx ends.
func (s *errand) until(ctx context.Context, look func(*shardmap.Table) glance, how patience) error {
	return waitUntil(ctx, &tables{ask: s.client.Table}, s.timeout, look, how)
}

func waitUntil(ctx context.Context, from *tables, timeout time.Duration, look func(*shardmap.Table) glance, how patience) error {
	pause, began := pauseMin, time.Now()
	answered := began
	for {
		t, err := from.next(ctx)
		g := glance{}
		if err == nil {
			answered = time.Now()
			if g = look(t); g.over {
				return nil
			}
		}
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && now.Sub(answered) >= timeout:
			return err
		case how == waitAsLongAsACall && now.Sub(began) >= timeout:
			return errNotYet
		}
		if pause = min(2*pause, pauseMax); g.news {
			pause = pauseMin
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// table asks for the table: any endpoint, and then the leader of the meta group that it
// names, so that what a command has just done is in it.
func (s *errand) table(ctx context.Context) (t *shardmap.Table, err error) {
	from := tables{ask: s.client.Table}
	err = s.with(ctx, func(ctx context.Context) error {
		var leader raft.NodeID
		t, leader, err = s.client.Table(ctx, "")
		if err != nil {
			return err
		}
		// It may be out of reach from here: then what the other one knows has to do.
		if n, ok := t.Node(leader); ok {
			from.at, from.last = n.Addr, t
			if newer, err := from.next(ctx); err == nil {
				t = newer
			}
		}
		return nil
	})
	return t, err
}

// memberNamed returns the member that an argument names: by its name, or its id.
func memberNamed(t *shardmap.Table, arg string) (*shardmap.TableNode, error) {
	var found []*shardmap.TableNode
	for i := range t.Nodes {
		if n := &t.Nodes[i]; n.Name == arg || n.ID.String() == strings.ToLower(arg) {
			found = append(found, n)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, withStatus(exitNotFound, "node %s is no member of the cluster; muster node list shows who is", shown([]byte(arg)))
	}
	var ids []string
	for _, n := range found {
		ids = append(ids, n.ID.String()+" ("+n.Addr+")")
	}
	return nil, withStatus(exitRefused, "node %s: %d nodes are called that: %s; give the id of the one that is meant", shown([]byte(arg)), len(found), strings.Join(ids, ", "))
}

// membersNamed returns the members that arguments name.
func membersNamed(t *shardmap.Table, args []string) (all []*shardmap.TableNode, err error) {
	for _, arg := range args {
		n, err := memberNamed(t, arg)
		if err != nil {
			return nil, err
		}
		if slices.Contains(all, n) {
			return nil, usagef("node %s is given twice", shown([]byte(arg)))
		}
		all = append(all, n)
	}
	return all, nil
}

// called is a member for a sentence.
func called(n *shardmap.TableNode) string {
	if n.Name == "" {
		return "node " + n.ID.String()
	}
	return "node " + n.Name
}

// groupNamed reads the id of a group.
func groupNamed(command, arg string) (raft.GroupID, error) {
	return groupFrom(0, command, arg)
}

// dataGroupNamed reads the id of a group that may own slots.
func dataGroupNamed(command, arg string) (raft.GroupID, error) {
	g, err := groupFrom(1, command, arg)
	if n, e := strconv.ParseUint(arg, 10, 16); e == nil && n == 0 {
		err = usagef("%s: group 0 holds the cluster's table, and never owns slots; want a number, 1 to %d", command, raft.GroupMax)
	}
	return g, err
}

// groupFrom reads the id of a group that is not below the lowest.
func groupFrom(lowest raft.GroupID, command, arg string) (raft.GroupID, error) {
	n, err := strconv.ParseUint(arg, 10, 16)
	if err != nil || n < uint64(lowest) || n > uint64(raft.GroupMax) {
		return 0, usagef("%s: group %s; want a number, %d to %d", command, shown([]byte(arg)), lowest, raft.GroupMax)
	}
	return raft.GroupID(n), nil
}
