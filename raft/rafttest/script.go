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
//	cut R | block R S... | heal  cut R off; cut the ways from R to S; open all ways
//	silent COMMAND           COMMAND, of which nothing is printed
//	drop                     lose what is in flight
//	hold R | sync R [N]      keep R's disk from syncing; sync N of its Readies, or all and hold no longer
//	crash R | start R        lose power, start again from what is synced
//	step TO FROM TYPE [term T] [log ID] [commit N] [reject] [conflict ID] [round N] [entries ID...]
//	take R                   one Ready of R is taken
//	quiet N                  found the next group such that it rests after N ticks without work
//	transfer R [TO]          R hands over to TO, or to whom it likes
//	prefer TO                all are told that TO should lead
//	change R [add GOAL[@NODE]...] [remove ID...]
//	                         R changes the membership; GOAL is voter or copy, NODE the next new one
//	compact R INDEX          R has a snapshot up to INDEX and drops the log before
//	lost R... | back R...    the connection to their leader is closed, is there again
//	short R N                N short ticks pass at R
//	wake R                   R is woken
//	fence R | unfence R      R is not to lead, or may again
//	log                      each log on disk
//	status R                 what R says of itself
type Script struct {
	n     *Network
	quiet int
	out   strings.Builder
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
	if name == "silent" {
		trace := s.n.trace
		defer func() { s.n.trace = trace }()
		s.n.trace = nil
		return s.do(args)
	}
	if name == "quiet" {
		s.quiet = number(0)
		return nil
	}
	if name == "group" {
		c := raft.Config{Seed: seed, Chance: 1, ElectionTicks: 10, HeartbeatTicks: 2, AppendBytesMax: 1 << 10, QuietTicks: s.quiet}
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
		if err := s.do([]string{"silent", "campaign", args[0]}); err != nil {
			return err
		}
		return s.do([]string{"silent", "run"})
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
			s.n.Block(r.ID, o.ID)
			s.n.Block(o.ID, r.ID)
		}
	case "block":
		for i := range args[1:] {
			s.n.Block(r.ID, raft.ReplicaID(number(i+1)))
		}
	case "heal":
		s.n.Heal()
	case "drop":
		s.n.DropAll()
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
		if s, ok := s.n.snapshots[m.Log]; ok && m.Type == raft.MsgSnapshot {
			m.Install = &s.Install
		}
		s.n.Hand(m)
	case "transfer":
		return r.Group.Transfer(raft.ReplicaID(number(1)))
	case "prefer":
		for _, o := range s.n.Replicas {
			o.Group.Prefer(r.ID)
		}
	case "change":
		c, err := s.parseChange(args[1:])
		if err != nil {
			return err
		}
		_, err = r.Group.Change(c)
		return err
	case "compact":
		s.n.Compact(r, uint64(number(1)))
	case "lost", "back":
		for i := range args {
			if g := s.n.Replicas[number(i)-1].Group; name == "lost" {
				g.LeaderLost()
			} else {
				g.LeaderBack()
			}
		}
	case "short":
		for range number(1) {
			r.Group.ShortTick()
		}
	case "wake":
		r.Group.Wake()
	case "fence":
		s.n.Fence(r)
	case "unfence":
		s.n.Unfence(r)
	case "log":
		for _, r := range s.n.Replicas {
			fmt.Fprintf(&s.out, "%d: ", r.ID)
			if base := r.Disk.Snapshot.Base; base.Index > 0 {
				fmt.Fprintf(&s.out, "(snapshot of %s) ", base)
			}
			fmt.Fprintf(&s.out, "%s\n", ids(r.Disk.Entries))
		}
	case "status":
		if r.Group == nil {
			return fmt.Errorf("replica %d is down", r.ID)
		}
		st := r.Group.Status()
		fmt.Fprintf(&s.out, "%d: %s in term %d, leader %d, vote %d, last %s, durable %d, commit %d, reads %d\n",
			r.ID, st.Role, st.Term, st.Leader, st.Vote, st.Last, st.Durable, st.Commit, st.PendingReads)
		if st.Quiet {
			s.out.WriteString("  quiet\n")
		}
		if st.Fenced {
			s.out.WriteString("  fenced\n")
		}
		if st.Stalled {
			fmt.Fprintf(&s.out, "  its disk has not synced for %d ticks\n", st.UnsyncedTicks)
		}
		if st.Transferee != 0 {
			fmt.Fprintf(&s.out, "  hands over to %d\n", st.Transferee)
		}
		if st.Stopped != nil {
			fmt.Fprintf(&s.out, "  %v\n", st.Stopped)
		}
		for _, p := range st.Progress {
			fmt.Fprintf(&s.out, "  %d: %s match %d next %d active %v", p.Replica, p.State, p.Match, p.Next, p.Active)
			if p.Fenced {
				s.out.WriteString(" fenced")
			}
			s.out.WriteString("\n")
		}
	default:
		return fmt.Errorf("no command %q", name)
	}
	return nil
}
