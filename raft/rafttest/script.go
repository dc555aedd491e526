package rafttest

import (
	"fmt"
	"strconv"
	"strings"

	"muster/raft"
)

// seed is that of all entries in scripts.
var seed = raft.EntrySeed(1, 1)

// Script is one group driven by lines of text. A command line begins with "> ";
// what it prints follows it. Commands:
//
//	group V [C]              found a group of V voters and C copies
//	campaign R               R asks for an election
//	lead R                   R is elected, of which nothing is printed
//	tick R N                 N ticks pass at R, the messages stay in flight
//	pass N                   N times: one tick passes at all, then all runs
//	propose R WORD...        one entry each
//	read R N                 a read with number N
//	run                      all runs until nothing is left but to wait
//	cut R | block R S | heal cut R off; cut the way from R to S; open all ways
//	drop                     lose what is in flight
//	hold R | sync R [N]      keep R's disk from syncing; sync N of its Readies, or all and hold no longer
//	crash R | start R        lose power, start again from what is synced
//	step TO FROM TYPE [term T] [log ID] [commit N] [reject] [conflict ID] [round N] [entries ID...]
//	take R                   one Ready of R is taken
//	log                      each log on disk
//	status R                 what R says of itself
type Script struct {
	n   *Network
	out strings.Builder
}

// Run runs a whole script and returns it with what it prints now.
func (s *Script) Run(text string) string {
	var b strings.Builder
	skip := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		command, ok := strings.CutPrefix(line, "> ")
		if !ok {
			if line == "" || strings.HasPrefix(line, "#") {
				skip = false
			}
			if !skip {
				b.WriteString(line + "\n")
			}
			continue
		}
		skip = true
		b.WriteString(line + "\n")
		s.out.Reset()
		if err := s.do(strings.Fields(command)); err != nil {
			fmt.Fprintf(&s.out, "%v\n", err)
		}
		b.WriteString(s.out.String())
	}
	return b.String()
}

// Check returns the network's, nil before it is founded.
func (s *Script) Check() *Check {
	if s.n == nil {
		return nil
	}
	return s.n.Check
}

func (s *Script) do(words []string) error {
	name, args := words[0], words[1:]
	number := func(i int) int {
		if i >= len(args) {
			return 0
		}
		v, _ := strconv.Atoi(args[i])
		return v
	}
	if name == "group" {
		c := raft.Config{Seed: seed, Chance: 1, ElectionTicks: 10, HeartbeatTicks: 2, AppendBytesMax: 1 << 10}
		s.n = New(c, number(0), number(1))
		s.n.trace = func(format string, a ...any) { fmt.Fprintf(&s.out, format+"\n", a...) }
		return nil
	}
	r := &Replica{}
	if i := number(0); i > 0 && i <= len(s.n.Replicas) {
		r = s.n.Replicas[i-1]
	}
	switch name {
	case "campaign":
		r.Group.Campaign()
	case "lead":
		trace := s.n.trace
		s.n.trace = func(string, ...any) {}
		r.Group.Campaign()
		s.n.Run()
		s.n.trace = trace
	case "tick":
		for range number(1) {
			r.Group.Tick()
		}
	case "pass":
		for range number(0) {
			for _, r := range s.n.Replicas {
				if r.Group != nil {
					r.Group.Tick()
				}
			}
			s.n.Run()
		}
	case "propose":
		var entries []raft.Entry
		for _, word := range args[1:] {
			entries = append(entries, raft.NewEntry(raft.EntryNormal, []byte(word)))
		}
		_, err := r.Group.Propose(0, entries)
		return err
	case "read":
		return r.Group.ReadIndex(uint64(number(1)))
	case "run":
		s.n.Run()
	case "cut":
		for _, o := range s.n.Replicas {
			s.n.Block(r.ID, o.ID, true)
			s.n.Block(o.ID, r.ID, true)
		}
	case "block":
		s.n.Block(r.ID, raft.ReplicaID(number(1)), true)
	case "heal":
		s.n.Heal()
	case "drop":
		s.n.Flying = nil
	case "hold":
		r.Hold = true
	case "sync":
		if len(args) == 1 {
			r.Hold = false
			s.n.Sync(r, len(r.Taken))
		} else {
			s.n.Sync(r, number(1))
		}
	case "crash":
		s.n.Crash(r, 0)
	case "start":
		s.n.Start(r)
	case "take":
		s.n.Take(r)
	case "step":
		m, err := parseMessage(args)
		if err != nil {
			return err
		}
		s.n.Hand(m)
	case "log":
		for _, r := range s.n.Replicas {
			fmt.Fprintf(&s.out, "%d: %s\n", r.ID, ids(r.Disk.Entries))
		}
	case "status":
		st := r.Group.Status()
		fmt.Fprintf(&s.out, "%d: %s in term %d, leader %d, vote %d, last %s, durable %d, commit %d, reads %d\n",
			r.ID, st.Role, st.Term, st.Leader, st.Vote, st.Last, st.Durable, st.Commit, st.PendingReads)
		if st.Stopped != nil {
			fmt.Fprintf(&s.out, "  %v\n", st.Stopped)
		}
		for _, p := range st.Progress {
			fmt.Fprintf(&s.out, "  %d: %s match %d next %d active %v\n", p.Replica, p.State, p.Match, p.Next, p.Active)
		}
	default:
		return fmt.Errorf("no command %q", name)
	}
	return nil
}

func parseID(s string) (id raft.LogID) {
	fmt.Sscanf(s, "%d.%d", &id.Term, &id.Index)
	return id
}

func parseMessage(args []string) (raft.Message, error) {
	var m raft.Message
	fmt.Sscan(args[0], &m.To)
	fmt.Sscan(args[1], &m.From)
	for t := raft.MsgPreVote; t <= raft.MsgHeartbeatAnswer; t++ {
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
	case raft.MsgPreVote, raft.MsgVote:
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
