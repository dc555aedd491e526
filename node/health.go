package node

import (
	"fmt"
	"strings"
	"time"

	"muster/logstore"
	"muster/node/overview"
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// groupsNamedMax is how many groups one line of status names.
const groupsNamedMax = 8

// problems lists what an operator should look after, worst first. Groups with the same
// problem share a line, so that 9,999 groups fit on one screen too. links are the ways
// to the nodes of which nothing is heard, self is where this node is reached, and replaced
// says of dead nodes when their replicas are made elsewhere.
func problems(a *wire.StatusAnswer, known map[raft.GroupID]*repl.GroupView, links map[raft.NodeID]repl.Link, self string, replaced map[raft.NodeID]string) []wire.Problem {
	var list []wire.Problem
	// A node that is not on the list is dead too: a group may still name one that has
	// left.
	live, name := make(map[raft.NodeID]bool), make(map[raft.NodeID]string)
	for _, node := range a.Nodes {
		live[node.ID] = node.Status != wire.NodeDead
		name[node.ID] = node.Name
	}
	list = append(list, damages(known, name)...)
	var minority, leaderless, undecided []raft.GroupID
	lost := make(map[raft.NodeID][]raft.GroupID) // voters that their leader does not hear
	for _, g := range a.Groups {
		voters, there := 0, 0
		for _, r := range g.Replicas {
			if r.Role != shardmap.ReplicaVoter {
				continue
			}
			voters++
			if live[r.Node] {
				there++
			}
			if r.State == wire.ReplicaLost && live[r.Node] {
				lost[r.Node] = append(lost[r.Node], g.ID)
			}
		}
		switch v := known[g.ID]; {
		case v != nil && v.Down():
		case v != nil && v.Stopped != "":
			p := wire.Problem{What: fmt.Sprintf("group %d has stopped on this node: %s", g.ID, v.Stopped), Remedy: overview.RemedyReport}
			if v.Older {
				p.Remedy = "keep all data directories; stop the nodes that were given older ones, and start them with the directories with which they last served the group, " +
					"be these copies: what was acknowledged since is in no other; if they no longer exist, see muster recover --help"
			}
			list = append(list, p)
		case there <= voters/2:
			minority = append(minority, g.ID)
		case v != nil && g.Leader == 0 && v.Fenced != nil && v.Fenced.Found == logstore.FenceUndecided:
			undecided = append(undecided, g.ID)
		case v != nil && g.Leader == 0:
			leaderless = append(leaderless, g.ID)
		}
	}
	if len(minority) > 0 {
		list = append(list, wire.Problem{What: named(minority, "has", "have") + " no majority of voters alive", Remedy: "bring back the nodes that are named below; it continues by itself once enough of them are back; if they are gone for good, see muster recover --help",
			Kind: wire.ProblemMajority, About: wire.SumOf(named(minority, "", ""))})
	}
	if len(leaderless) > 0 {
		list = append(list, wire.Problem{What: named(leaderless, "has", "have") + " no leader", Remedy: "wait for the election, 2 seconds; then muster doctor asks every node, and says what is wrong",
			Kind: wire.ProblemLeader, About: wire.SumOf(named(leaderless, "", ""))})
	}
	if len(undecided) > 0 {
		list = append(list, wire.Problem{What: named(undecided, "has", "have") + " no leader, and no election ends that: nobody can say which replicas are right", Remedy: "decide which replica is to be trusted, as is said of each below",
			Kind: wire.ProblemLeader, About: wire.SumOf(named(undecided, "", ""))})
	}
	for i, node := range a.Nodes {
		if l, ok := links[node.ID]; ok {
			one := silent(&node, &l, self)
			one.What += replaced[node.ID]
			one.Kind, one.About = wire.ProblemNode, uint32(i)
			list = append(list, one)
		} else if groups := lost[node.ID]; len(groups) > 0 && time.Duration(node.LastHeardMs)*time.Millisecond <= speaksWithin {
			list = append(list, wire.Problem{What: fmt.Sprintf("node %s (%s) speaks, but does not answer as voter of %s", node.Name, node.Addr, named(groups, "", "")),
				Remedy: "ask that node itself, with muster status --endpoints " + node.Addr + "; check whether this one can reach it",
				Kind:   wire.ProblemNode, About: uint32(i)})
		}
	}
	return append(list, sameNames(a.Nodes)...)
}

// doubts is the problem that this node's disk may be older than its promises: which
// groups wait because of that, and for which nodes.
func doubts(a *wire.StatusAnswer, v *view) []wire.Problem {
	if v.doubt.None() {
		return nil
	}
	var groups []raft.GroupID
	awaited := make(map[raft.NodeID]bool)
	for i := range v.groups {
		if g := &v.groups[i]; g.Held {
			groups = append(groups, g.Replica.Group)
			for _, node := range g.Awaits {
				awaited[node] = true
			}
		}
	}
	p := wire.Problem{What: "this node may have forgotten what it promised: " + v.doubt.Why, Remedy: logstore.DoubtRemedy}
	if len(groups) == 0 {
		p.What += "; it has heard the others, and catches up"
		p.Remedy = "wait; it serves meanwhile"
		return []wire.Problem{p}
	}
	var who []string
	for _, node := range a.Nodes {
		if awaited[node.ID] {
			who = append(who, fmt.Sprintf("%s (%s)", node.Name, node.Addr))
		}
	}
	p.What += fmt.Sprintf("; here %s for %s", named(groups, "waits", "wait"), strings.Join(who, " and "))
	return []wire.Problem{p}
}

// stallRemedy is what a person should do about a stalled disk.
const stallRemedy = "check whether that disk still works: its cable, its controller, the machine that serves it; the node continues by itself when the disk is back; if it does not come back, stop the node: the others continue without it"

// stalledDisks names the nodes whose disks are stalled: this one, with what it waits
// for, and others that say so of themselves.
func (p *report) stalledDisks(nodes []wire.StatusNode, others map[raft.NodeID]bool) []wire.Problem {
	var list []wire.Problem
	own, stalled := p.fs.stalled()
	self := p.self().Node
	for _, node := range nodes {
		what := fmt.Sprintf("the disk of node %s (%s) stands still", node.Name, node.Addr)
		switch {
		case node.ID == self && stalled:
			list = append(list, wire.Problem{What: what + ": " + own.String(), Remedy: stallRemedy})
		case others[node.ID]:
			list = append(list, wire.Problem{What: what, Remedy: stallRemedy})
		}
	}
	return list
}

// fullDisks names the nodes that have said that their disks are full.
func fullDisks(nodes []wire.StatusNode, full map[raft.NodeID]wire.Fullness) []wire.Problem {
	var list []wire.Problem
	for _, node := range nodes {
		what := ""
		switch full[node.ID] {
		case wire.FullNear:
			what = "it accepts only what its groups can't continue without"
		case wire.FullAll:
			what = "its reserve is used up, and it takes no entries"
		default:
			continue
		}
		list = append(list, wire.Problem{What: fmt.Sprintf("the disk of node %s (%s) is full: %s", node.Name, node.Addr, what),
			Remedy: "make room on that disk: delete files that are not muster's, or enlarge it; the node continues by itself"})
	}
	return list
}

// sameNames finds nodes that people and commands can't tell apart.
func sameNames(nodes []wire.StatusNode) []wire.Problem {
	var list []wire.Problem
	first := make(map[string]wire.StatusNode)
	for _, node := range nodes {
		if other, ok := first[node.Name]; ok {
			list = append(list, wire.Problem{What: fmt.Sprintf("nodes %s (%s) and %s (%s) are both called %s", other.ID, other.Addr, node.ID, node.Addr, node.Name),
				Remedy: "start one of them again with another --name"})
			continue
		}
		first[node.Name] = node
	}
	return list
}

// named writes "group 3 has", or "groups 1, 2 and 7 more have".
func named(groups []raft.GroupID, one, many string) string {
	if len(groups) == 1 {
		return strings.TrimSpace(fmt.Sprintf("group %d %s", groups[0], one))
	}
	var numbers []string
	for _, g := range groups[:min(len(groups), groupsNamedMax)] {
		numbers = append(numbers, fmt.Sprint(uint16(g)))
	}
	text := "groups " + strings.Join(numbers, ", ")
	if more := len(groups) - len(numbers); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return strings.TrimSpace(text + " " + many)
}

func ago(ms uint64) string {
	if ms == 0 {
		return "never"
	}
	return fmt.Sprintf("%s ago", time.Duration(ms)*time.Millisecond)
}
