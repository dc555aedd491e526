package rafttest

import (
	"fmt"
	"strings"

	"muster/raft"
)

// What scripts read and write: ids, messages, memberships.

func parseID(s string) (id raft.LogID) {
	fmt.Sscanf(s, "%d.%d", &id.Term, &id.Index)
	return id
}

func parseMessage(args []string) (raft.Message, error) {
	var m raft.Message
	fmt.Sscan(args[0], &m.To)
	fmt.Sscan(args[1], &m.From)
	for t := raft.MsgPreVote; t <= raft.MsgQuiet; t++ {
		if t.String() == args[2] {
			m.Type = t
		}
	}
	for i := 3; i < len(args); i++ {
		word := args[i]
		if word == "reject" {
			m.Reject = true
			continue
		}
		if i++; i == len(args) {
			return m, fmt.Errorf("%s of what?", word)
		}
		switch word {
		case "term":
			fmt.Sscan(args[i], &m.Term)
		case "log":
			m.Log = parseID(args[i])
		case "conflict":
			m.Conflict = parseID(args[i])
		case "commit":
			fmt.Sscan(args[i], &m.Commit)
		case "round":
			fmt.Sscan(args[i], &m.Round)
		case "entries":
			for ; i < len(args); i++ {
				m.Entries = append(m.Entries, raft.SealedEntry(seed, parseID(args[i]), 0, raft.EntryNormal, []byte(args[i])))
			}
		default:
			return m, fmt.Errorf("a message has no %q", word)
		}
	}
	return m, nil
}

// parseChange reads "after 5 add voter copy@7 promote 4 demote 1 remove 2 3".
func (s *Script) parseChange(args []string) (raft.Change, error) {
	var c raft.Change
	ids := map[string]*[]raft.ReplicaID{"promote": &c.Promote, "demote": &c.Demote, "remove": &c.Remove}
	verb, next := "", raft.NodeID(0)
	for _, r := range s.n.Replicas {
		next = max(next, r.Node)
	}
	for _, word := range args {
		goal, node, named := strings.Cut(word, "@")
		switch {
		case word == "after" || word == "add" || ids[word] != nil:
			verb = word
		case verb == "after":
			if _, err := fmt.Sscan(word, &c.After); err != nil {
				return c, fmt.Errorf("a change after %q", word)
			}
		case verb == "add":
			next++
			m := raft.NewMember{Node: next, Goal: map[string]raft.Goal{"voter": raft.GoalVoter, "copy": raft.GoalCopy}[goal]}
			if named {
				fmt.Sscan(node, (*uint64)(&m.Node))
			}
			c.Add = append(c.Add, m)
		default:
			var id raft.ReplicaID
			if _, err := fmt.Sscan(word, &id); err != nil || ids[verb] == nil {
				return c, fmt.Errorf("a change has no %q", word)
			}
			*ids[verb] = append(*ids[verb], id)
		}
	}
	return c, nil
}

// words writes a membership.
func words(m raft.Membership) string {
	var b strings.Builder
	list := func(name string, members []raft.Member) {
		if len(members) == 0 {
			return
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name)
		for _, member := range members {
			fmt.Fprintf(&b, " %d", member.Replica)
			if member.Goal == raft.GoalCopy {
				b.WriteString(" (copy)")
			}
		}
	}
	list("voters", m.Voters)
	list("outgoing", m.Outgoing)
	list("learners", m.Learners)
	if b.Len() == 0 {
		return "not known yet"
	}
	return b.String()
}

// ids writes the ids of entries, runs of one term shortened.
func ids(entries []raft.Entry) string {
	var words []string
	for i := 0; i < len(entries); {
		j := i
		for j+1 < len(entries) && entries[j+1].ID.Term == entries[i].ID.Term {
			j++
		}
		word := entries[i].ID.String()
		if j > i {
			word += fmt.Sprintf("-%d", entries[j].ID.Index)
		}
		words = append(words, word)
		i = j + 1
	}
	return strings.Join(words, " ")
}

func describe(m raft.Message) string {
	s := fmt.Sprintf("%d->%d %s term %d", m.From, m.To, m.Type, m.Term)
	switch m.Type {
	case raft.MsgPreVote, raft.MsgVote, raft.MsgTransferVote, raft.MsgSnapshot, raft.MsgQuiet:
		s += " log " + m.Log.String()
	case raft.MsgAppend:
		s += fmt.Sprintf(" log %s commit %d", m.Log, m.Commit)
		if len(m.Entries) > 0 {
			s += " entries " + ids(m.Entries)
		}
	case raft.MsgAppendAnswer:
		s += " log " + m.Log.String()
	case raft.MsgHeartbeat:
		s += fmt.Sprintf(" commit %d round %d", m.Commit, m.Round)
	case raft.MsgReadIndex:
		s += fmt.Sprintf(" round %d", m.Round%1000) // it begins anywhere
	case raft.MsgReadIndexAnswer:
		s += fmt.Sprintf(" round %d index %d", m.Round%1000, m.Log.Index)
	case raft.MsgHeartbeatAnswer:
		s += fmt.Sprintf(" round %d", m.Round)
	}
	if m.Reject {
		s += " reject"
		if m.Type == raft.MsgAppendAnswer {
			s += fmt.Sprintf(" conflict %s last %d", m.Conflict, m.Commit)
		}
	}
	return s
}
