package node

import (
	"fmt"
	"slices"
	"strings"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// Differing says which replicas differ now, as problems, and, as notes, which did and were
// rebuilt, until a person acknowledges that. It says what t says, so each node tells the same.
func Differing(t *shardmap.Table) (problems, notes []wire.Problem) {
	for at := range t.Incidents {
		i := &t.Incidents[at]
		what := differs(t, i)
		switch {
		case t.Differs(i):
			problems = append(problems, fencedNow(what, i))
		case !i.Acknowledged:
			over := "; it was rebuilt"
			if i.State != shardmap.IncidentRebuilt {
				over = "; the group has that replica no more"
			}
			notes = append(notes, wire.Problem{What: what + over,
				Remedy: "look at the memory of that host, then at its disk (dmesg and edac-util tell of errors, memtester finds them, smartctl tells of the disk), because what flipped a bit once may do so again; then muster check --acknowledge"})
		}
	}
	return problems, notes
}

// fencedNow is the problem with a replica that differs now.
func fencedNow(what string, i *shardmap.Incident) wire.Problem {
	check := fmt.Sprintf("muster check --group %d", i.Group)
	if i.Found == shardmap.FoundUndecided {
		return wire.Problem{What: what + ", and nobody can say which of the replicas are right, so this one serves nothing",
			Remedy: check + " shows which replicas wait for that; " + check + " --fix --trust NODE decides: what NODE has becomes the state of the group"}
	}
	return wire.Problem{What: what + "; it serves nothing until it is rebuilt",
		Remedy: fmt.Sprintf("wait: it is rebuilt by itself, mostly within seconds; %s shows how the group stands; if it lasts, start the other nodes of group %d, which have what it needs", check, i.Group)}
}

// fencedHere are the problems with replicas of this node that the table does not tell of: as long as
// group 0 has no leader, it can't.
func (p *report) fencedHere(t *shardmap.Table, groups []repl.GroupView) (problems []wire.Problem) {
	for at := range groups {
		v := &groups[at]
		f := v.Fenced
		if f == nil {
			continue
		}
		i := incidentOn(p.self().Node, &repl.Incident{Replica: v.Replica, At: f.At, Found: f.Found, Parts: f.Parts, What: f.What})
		cutToTable(&i)
		if row, known := t.IncidentOf(i.IncidentKey); known && t.Differs(&row) {
			continue
		}
		x := fencedNow(differsOn(fmt.Sprintf("node %s (%s)", p.name, p.addr), &i), &i)
		x.What += fmt.Sprintf("; it %s, and the cluster's table does not have this incident yet", f.Stage)
		if f.Kept != "" {
			x.What += "; what it held is kept in " + absolute(f.Kept)
		}
		problems = append(problems, x)
	}
	return problems
}

// keptAside tells where this node keeps what its replicas held that differ, or did, until a person has
// acknowledged that: it is what shows what went wrong.
func (p *report) keptAside(t *shardmap.Table, groups []repl.GroupView) (list []wire.Problem) {
	wanted := make(map[logstore.Replica]raft.LogID)
	for at := range t.Incidents {
		if i := &t.Incidents[at]; i.Node == p.self().Node && !i.Acknowledged {
			wanted[logstore.Replica{Group: i.Group, Incarnation: i.Incarnation, ID: i.Replica}] = i.At
		}
	}
	for at := range groups {
		if f := groups[at].Fenced; f != nil {
			wanted[groups[at].Replica] = f.At
		}
	}
	if _, stalled := p.fs.stalled(); stalled || len(wanted) == 0 {
		return nil // who asks a disk that stands still waits with it
	}
	files, err := logstore.AsideFiles(p.fs, p.data)
	if err != nil {
		return nil // it is only in a person's interest, and what else is wrong with that disk is told elsewhere
	}
	for _, file := range slices.Backward(files) { // from the newest on
		a, ok := logstore.AsideNamed(file)
		if at, wants := wanted[a.Replica]; !ok || !wants || at != a.At {
			continue
		}
		delete(wanted, a.Replica)
		list = append(list, wire.Problem{
			What:   fmt.Sprintf("what group %d held on %s when it was found to differ, at %s, is kept there in %s", a.Replica.Group, p.name, raft.FormatLogID(a.Replica.Group, a.At), absolute(file)),
			Remedy: fmt.Sprintf("copy it if you want to report what went wrong: the newest %d such files stay; muster check --acknowledge ends this note", logstore.AsideMax),
		})
	}
	slices.Reverse(list)
	return list
}

// differs says what an incident is.
func differs(t *shardmap.Table, i *shardmap.Incident) string {
	node := "node " + i.Node.String()
	if n, ok := t.Node(i.Node); ok {
		node = fmt.Sprintf("node %s (%s)", n.Name, n.Addr)
	}
	return differsOn(node, i)
}

// differsOn is what an incident is, on a node that is called so.
func differsOn(node string, i *shardmap.Incident) string {
	found := "than on the others"
	switch i.Found {
	case shardmap.FoundByWalk:
		found = "than what was put there"
	case shardmap.FoundUndecided:
		found = "than on another"
	}
	text := fmt.Sprintf("group %d holds something else on %s %s, found at %s", i.Group, node, found, raft.FormatLogID(i.Group, i.At))
	if i.ID > 0 {
		text = fmt.Sprintf("incident %d: %s", i.ID, text)
	}
	if i.PartsCount > 0 {
		text += ", in " + shardmap.ListParts(shardmap.PartNames(i.Parts), uint64(i.PartsMore()))
	}
	if what := i.What; what != "" {
		if len(i.Parts) > 0 {
			what = strings.TrimPrefix(what, i.Parts[0].String()+": ") // a walk begins with the part, which is named already
		}
		text += ": " + what
	}
	return text
}
