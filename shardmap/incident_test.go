package shardmap

import (
	"testing"

	"muster/raft"
)

// A node says again what it has found until the table has it, and two of its words may
// overtake each other: one incident must come of them, and what a person has seen must not
// be asked for again.
func TestIncidentIsToldAgain(t *testing.T) {
	table := testTable(t).Table()
	say := func(t2 *Table, change func(*Incident)) *Table {
		i := exampleIncident(IncidentFenced)
		change(&i)
		return allowed(t, t2, first(AppendNoteIncident(nil, &NoteIncident{i})), nil)
	}
	asIs := func(*Incident) {}
	rebuilt := func(i *Incident) { i.State = IncidentRebuilt }

	told := say(table, asIs)
	id := told.Index
	if i, ok := told.Incident(id); !ok || i.State != IncidentFenced || told.IncidentCount != 1 || !told.Differs(&i) {
		t.Fatalf("told: %+v, %t, %d of them", i, ok, told.IncidentCount)
	}
	if say(told, asIs) != told {
		t.Error("told again, it makes another table")
	}
	decided := say(say(table, func(i *Incident) { i.Found, i.Parts, i.PartsCount = FoundUndecided, nil, 0 }), asIs)
	if i := decided.Incidents[0]; len(decided.Incidents) != 1 || i.Found != FoundByComparison || i.PartsCount != 2 {
		t.Errorf("decided later: %+v", decided.Incidents)
	}
	seen := allowed(t, told, first(AppendAcknowledge(nil, &Acknowledge{id})), nil)
	over := say(seen, rebuilt)
	if i, _ := over.Incident(id); i.State != IncidentRebuilt || !i.Acknowledged || over.IncidentCount != 1 || over.Differs(&i) {
		t.Errorf("rebuilt: %+v, %d of them", i, over.IncidentCount)
	}
	if say(over, asIs) != over {
		t.Error("the first word comes late, and takes the second back")
	}
	if allowed(t, over, first(AppendAcknowledge(nil, &Acknowledge{})), nil) != over {
		t.Error("acknowledged again, it makes another table")
	}
	later := say(over, func(i *Incident) { i.At.Index++ })
	if len(later.Incidents) != 2 || later.IncidentCount != 2 || later.Incidents[1].Acknowledged {
		t.Errorf("the same replica differs again: %+v", later.Incidents)
	}
	i := later.Incidents[1]
	if out := allowed(t, later, first(AppendMembers(nil, &Members{Group: 1, Incarnation: 3, Seen: raft.LogID{Term: 2, Index: 12}, Next: 5,
		Replicas: []TableReplica{{1, 97, ReplicaVoter}, {4, 98, ReplicaVoter}}})), nil); out.Differs(&i) {
		t.Error("a replica that is in its group no more differs for ever")
	}
}

// Each change sends the table to each node, so it keeps a bounded number of incidents. Those that
// no person has seen go last.
func TestIncidentsThatAreKept(t *testing.T) {
	table := testTable(t).Table()
	add := func(n int) {
		for range n {
			i := exampleIncident(IncidentFenced)
			i.At.Index = 100 + table.Index
			table = allowed(t, table, first(AppendNoteIncident(nil, &NoteIncident{i})), nil)
		}
	}
	add(IncidentsMax)
	first0, seen := table.Incidents[0].ID, table.Incidents[20].ID
	table = allowed(t, table, first(AppendAcknowledge(nil, &Acknowledge{seen})), nil)
	before := table.Incidents
	add(1)
	if _, ok := table.Incident(seen); ok || len(table.Incidents) != IncidentsMax || table.Incidents[0].ID != first0 {
		t.Errorf("%d are kept, the one that was seen among them: %t", len(table.Incidents), ok)
	}
	if before[20].ID != seen || len(before) != IncidentsMax {
		t.Error("the table that was handed out before is another one")
	}
	add(1)
	if _, ok := table.Incident(first0); ok || len(table.Incidents) != IncidentsMax || table.IncidentCount != IncidentsMax+2 {
		t.Errorf("%d are kept of %d, the oldest among them: %t", len(table.Incidents), table.IncidentCount, ok)
	}
}
