package node

import (
	"fmt"
	"strings"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// partsNamedMax is how many parts of a replica's state one line names.
const partsNamedMax = 8

// Differing says which replicas differ now, as problems, and, as notes, which did and were
// rebuilt, until a person acknowledges that. It says what t says, so each node tells the same.
func Differing(t *shardmap.Table) (problems, notes []wire.Problem) {
	for at := range t.Incidents {
		i := &t.Incidents[at]
		what, check := differs(t, i), fmt.Sprintf("muster check --group %d", i.Group)
		switch {
		case t.Differs(i) && i.Found == shardmap.FoundUndecided:
			problems = append(problems, wire.Problem{What: what + ", and nobody can say which of the replicas are right, so this one serves nothing",
				Remedy: check + " shows what differs; " + check + " --fix decides"})
		case t.Differs(i):
			problems = append(problems, wire.Problem{What: what + "; it serves nothing until it is rebuilt",
				Remedy: fmt.Sprintf("wait: it is rebuilt by itself, mostly within seconds; %s shows how the group stands; if it lasts, start the other nodes of group %d, which have what it needs", check, i.Group)})
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

// differs says what an incident is.
func differs(t *shardmap.Table, i *shardmap.Incident) string {
	node := "node " + i.Node.String()
	if n, ok := t.Node(i.Node); ok {
		node = fmt.Sprintf("node %s (%s)", n.Name, n.Addr)
	}
	found := "than on the others"
	switch i.Found {
	case shardmap.FoundByWalk:
		found = "than what was put there"
	case shardmap.FoundUndecided:
		found = "than on another"
	}
	text := fmt.Sprintf("incident %d: group %d holds something else on %s %s, found at %s", i.ID, i.Group, node, found, raft.FormatLogID(i.Group, i.At))
	if i.PartsCount > 0 {
		text += ", in " + partsNamed(i)
	}
	if i.What != "" {
		text += ": " + i.What
	}
	return text
}

// partsNamed names the first parts of an incident, and counts the others.
func partsNamed(i *shardmap.Incident) string {
	var names []string
	for _, p := range i.Parts[:min(len(i.Parts), partsNamedMax)] {
		names = append(names, p.String())
	}
	text := strings.Join(names, ", ")
	switch more := int(i.PartsCount) - len(names); {
	case len(names) == 0:
		return fmt.Sprintf("%d parts", i.PartsCount)
	case more > 0:
		return fmt.Sprintf("%s and %d more", text, more)
	}
	return text
}
