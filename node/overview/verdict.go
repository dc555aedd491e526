package overview

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"muster/raft"
	"muster/repl/wire"
)

// Verdict is what all findings come to.
type Verdict string

// Verdicts, best first.
const (
	VerdictOK      Verdict = "ok"
	VerdictWarning Verdict = "warning" // all works; a person should look after something
	VerdictError   Verdict = "error"   // something does not work
)

// SeverityNote is that of what a status calls worth knowing. A cluster is well with it. The doctor
// finds none.
const SeverityNote = "note"

// rank orders findings of one severity: what stops most comes first. A cause comes before what
// follows from it, unless that stops a group.
type rank int

const (
	rankGroups rank = iota // a group does not serve
	rankDamage             // something was lost, or may have been
	rankNodes              // a node is not there
	rankLinks              // ways and disks
	rankRest
	rankHearsay // what a node says that does not lead the meta group, and no other does
)

// judged is a finding with its place among the others.
type judged struct {
	Finding
	rank  rank
	about string // names the thing, and is the same whoever tells of it, and whenever
}

// severities in the order in which they are shown.
var severities = []string{SeverityError, SeverityWarning, SeverityNote}

// headline is what a finding is about. Two nodes that tell of one thing have seen it for different
// times, and may give different reasons: that stands behind it.
func headline(what string) string {
	for _, end := range []string{", last heard", ": ", "; "} {
		what, _, _ = strings.Cut(what, end)
	}
	return what
}

// aboutGroups names the groups that a problem or a finding is about, whoever tells of it; sum is their [wire.SumOf].
func aboutGroups(kind wire.ProblemKind, sum uint32) string {
	if kind == wire.ProblemMajority {
		return fmt.Sprintf("majority of groups %08x", sum)
	}
	return fmt.Sprintf("leader of groups %08x", sum)
}

// aboutNode names the node that a problem or a finding is about.
func aboutNode(id raft.NodeID) string { return "node " + id.String() }

// findings merges what the nodes say in their statuses with what the doctor finds, worst first. The
// first status is believed before the others.
func findings(statuses []*wire.StatusAnswer, doctor []judged) []judged {
	m := merger{at: map[string]int{}}
	for i, a := range statuses {
		if i > 0 {
			m.hearsay(a)
			continue
		}
		m.believed(a)
		for _, f := range doctor {
			m.add(f) // of one thing the status says more, and stays
		}
	}
	slices.SortStableFunc(m.list, func(a, b judged) int {
		return cmp.Or(cmp.Compare(slices.Index(severities, a.Severity), slices.Index(severities, b.Severity)), cmp.Compare(a.rank, b.rank))
	})
	return m.list
}

// merger gathers findings, each once.
type merger struct {
	list []judged
	at   map[string]int // by headline: where in list it stands
}

// add adds a finding. If there is one about the same thing, it makes that as severe instead.
func (m *merger) add(f judged) {
	i, ok := m.at[f.about]
	switch {
	case !ok:
		m.at[f.about] = len(m.list)
		m.list = append(m.list, f)
	case slices.Index(severities, f.Severity) < slices.Index(severities, m.list[i].Severity):
		m.list[i].Severity = f.Severity
		m.list[i].rank = min(m.list[i].rank, f.rank)
	}
}

// ownWords returns what a node says in words that stand beside those of others: its name is in the
// place of "this node".
func ownWords(a *wire.StatusAnswer, p wire.Problem) wire.Problem {
	name := nameOf(a.Nodes, a.Self)
	p.What, p.Remedy = strings.ReplaceAll(p.What, "this node", name), strings.ReplaceAll(p.Remedy, "this node", name)
	return p
}

// problems returns the problems of a status with their ranks. They stand there worst first, but that
// says nothing beside those of others.
func problems(a *wire.StatusAnswer) (list []judged) {
	other := rankDamage // what stands before the dead nodes is worse than they are
	for _, p := range a.Problems {
		p = kindOf(a, ownWords(a, p))
		f := judged{Finding{SeverityError, p.What, p.Remedy}, other, headline(p.What)}
		switch p.Kind {
		case wire.ProblemMajority, wire.ProblemLeader:
			f.rank, f.about = rankGroups, aboutGroups(p.Kind, p.About)
		case wire.ProblemNode:
			if int(p.About) < len(a.Nodes) {
				f.rank, f.about, other = rankNodes, aboutNode(a.Nodes[p.About].ID), rankRest
			}
		}
		list = append(list, f)
	}
	return list
}

// believed adds what the node says that is believed first.
func (m *merger) believed(a *wire.StatusAnswer) {
	for _, f := range problems(a) {
		m.add(f)
	}
	for _, p := range a.Notes {
		p = ownWords(a, p)
		m.add(judged{Finding{SeverityNote, p.What, p.Remedy}, rankRest, headline(p.What)})
	}
}

// hearsay adds what another node says, with its name where nobody else has told of it. Its notes
// follow from the table, which all have.
func (m *merger) hearsay(a *wire.StatusAnswer) {
	for _, f := range problems(a) {
		if _, told := m.at[f.about]; !told {
			f.What, f.rank = nameOf(a.Nodes, a.Self)+" says: "+f.What, rankHearsay
		}
		m.add(f)
	}
}

// judge gives the verdict on findings, worst first, its reason and what to do next. well says what is
// well if there are none.
func (o *Overview) judge(list []judged, well string) {
	o.Verdict, o.Reason, o.Next = VerdictOK, well, "nothing needs to be done"
	for i, f := range list {
		if i == 0 && f.Severity != SeverityNote {
			o.Verdict, o.Reason, o.Next, o.about = VerdictWarning, f.What, f.Remedy, f.about
			if f.Severity == SeverityError {
				o.Verdict = VerdictError
			}
		}
		o.Findings = append(o.Findings, f.Finding)
	}
}
