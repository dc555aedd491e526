package shardmap

import (
	"errors"
	"fmt"

	"muster/raft"
)

// errSo is what a job begins with whose end is there already. Nothing then changes.
var errSo = errors.New("it is so already")

// beginDrain marks the node.
func beginDrain(made draft, j *Job) error {
	if err := made.lastServer(j.Node, "drained"); err != nil {
		return err
	}
	i, _ := made.node(j.Node)
	made.editNode(i).Draining = true
	return nil
}

// undoDrain lets the node keep what it still has. By now it may have left.
func undoDrain(made draft, j *Job) error {
	if i, ok := made.node(j.Node); ok {
		made.editNode(i).Draining = false
	}
	return nil
}

// beginRemove marks the node. Of a dead one nothing can be got any more, so it must not
// be all that a group has.
func beginRemove(made draft, j *Job) error {
	if err := made.lastServer(j.Node, "removed"); err != nil {
		return err
	}
	i, _ := made.node(j.Node)
	if j.Force {
		for g := range made.EachGroup {
			if r, ok := g.ReplicaOn(j.Node); ok && r.Role == ReplicaVoter && g.voters() == 1 {
				return &Refusal{Kind: RefusedConflict, Object: made.Nodes[i].called(), Found: fmt.Sprintf("it is the last voter of %s, and --force takes nothing from it", g.ID),
					Next: fmt.Sprintf("if it runs: muster node remove %s; if it is gone for good: muster recover", j.Node)}
			}
		}
	}
	made.editNode(i).Draining = true
	return nil
}

// beginRole changes the role. What follows from it, a client's votes and replicas
// elsewhere, is the job's work.
func beginRole(made draft, j *Job) error {
	i, _ := made.node(j.Node)
	switch {
	case j.Role != NodeServer && j.Role != NodeClient:
		return &Refusal{Kind: RefusedRequest, Object: made.Nodes[i].called(), Found: j.Role.String() + " is unknown", Next: "muster node promote NODE, or muster node demote NODE"}
	case made.Nodes[i].Role == j.Role:
		return errSo
	}
	return setRole(made, i, j.Role)
}

func setRole(made draft, i int, role NodeRole) error {
	if role == NodeClient {
		if err := made.lastServer(made.Nodes[i].ID, "a client"); err != nil {
			return err
		}
	}
	made.editNode(i).Role = role
	return nil
}

// undoRole gives the node the role back that it had.
func undoRole(made draft, j *Job) error {
	i, ok := made.node(j.Node)
	if !ok {
		return nil
	}
	if j.Role == NodeServer {
		return setRole(made, i, NodeClient)
	}
	return setRole(made, i, NodeServer)
}

// beginAdd checks that the node can get a replica of the group.
func beginAdd(made draft, j *Job) error {
	row, _ := made.Group(j.Group)
	i, _ := made.node(j.Node)
	n := &made.Nodes[i]
	refused := func(found, next string) error {
		return &Refusal{Kind: RefusedConflict, Object: j.Group.String(), Found: found, Next: next}
	}
	if r, ok := row.ReplicaOn(j.Node); ok {
		return refused(fmt.Sprintf("%s has replica %d of it, a %s", n.called(), r.Replica, r.Role), "choose a node without one: see muster group list")
	}
	switch {
	case n.Draining:
		return refused(n.called()+" is drained", fmt.Sprintf("muster node undrain %s", j.Node))
	case len(row.Replicas) >= raft.MembersMax:
		return refused(fmt.Sprintf("it has %d replicas, as many as it may", len(row.Replicas)), "take one away first: muster group del GROUP NODE")
	case made.replicas() >= TableReplicasMax:
		return refused(fmt.Sprintf("all groups have %d replicas, as many as they may", made.replicas()), "take one away first: muster group del GROUP NODE")
	}
	return nil
}

// beginDel checks that the group can do without its replica on the node.
func beginDel(made draft, j *Job) error {
	row, _ := made.Group(j.Group)
	r, ok := row.ReplicaOn(j.Node)
	refused := func(found, next string) error {
		return &Refusal{Kind: RefusedConflict, Object: j.Group.String(), Found: found, Next: next}
	}
	switch {
	case !ok:
		return refused(made.called(j.Node)+" has no replica of it", "choose a node with one: see muster group list")
	case j.Group == 0:
		return refused("each node has a copy of it", fmt.Sprintf("muster node remove %s takes the node off the list", j.Node))
	case r.Role == ReplicaVoter && row.voters() == 1:
		return refused(made.called(j.Node)+" is its last voter", fmt.Sprintf("add another one first: muster group add %d NODE", j.Group))
	}
	return nil
}

// beginPromote makes the node the one that should lead.
func beginPromote(made draft, j *Job) error {
	row, _ := made.Group(j.Group)
	if err := mayLead(made.Table, &row, j.Node); err != nil {
		return err
	}
	if n, _ := made.Node(j.Node); n.Draining {
		return &Refusal{Kind: RefusedConflict, Object: j.Group.String(), Found: n.called() + " is drained", Next: fmt.Sprintf("muster node undrain %s", j.Node)}
	}
	g := made.editGroup(j.Group)
	g.Preferred, g.Pinned = j.Node, true
	return nil
}

// undoPromote leaves it to the plan who leads.
func undoPromote(made draft, j *Job) error {
	if row, ok := made.Group(j.Group); ok && row.Pinned && row.Preferred == j.Node {
		made.editGroup(j.Group).Pinned = false
	}
	return nil
}
