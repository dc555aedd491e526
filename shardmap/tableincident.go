package shardmap

import (
	"fmt"
	"slices"
	"strings"

	"muster/raft"
	"muster/shardmap/pack"
)

// NoteIncident is the word of a node that a replica of its own differs, or was rebuilt:
//
//	[group, incarnation, replica, [at term, at index], node, found, [part, …], number of parts, what, state]
//
// The first one about a replica and an entry records an incident. A later one says the rest
// of it anew, save that what was rebuilt stays that. So a node may say it again until the
// table has it.
type NoteIncident struct {
	Incident Incident // without ID and Acknowledged, which the table gives
}

// Acknowledge says that a person has seen an incident, or all that there are:
//
//	[id]
type Acknowledge struct {
	ID uint64 // 0: all
}

const (
	noteIncidentFields = 10
	acknowledgeFields  = 1
)

// AppendNoteIncident appends the bytes of n to b. At this level the error is always nil.
func AppendNoteIncident(b []byte, n *NoteIncident) ([]byte, error) {
	b = appendTableHead(b, TableIncident, noteIncidentFields)
	return n.Incident.appendWord(b), nil
}

// AppendAcknowledge appends the bytes of a to b. At this level the error is always nil.
func AppendAcknowledge(b []byte, a *Acknowledge) ([]byte, error) {
	b = appendTableHead(b, TableAcknowledge, acknowledgeFields)
	return pack.AppendUint(b, a.ID), nil
}

func readNote(r *tableReader) (tableCommand, error) {
	n := new(NoteIncident)
	r.fields("incident", noteIncidentFields)
	n.Incident.readWord(r)
	return n, r.err()
}

func readAcknowledge(r *tableReader) (tableCommand, error) {
	a := new(Acknowledge)
	r.fields("acknowledgement", acknowledgeFields)
	a.ID = r.Uint()
	return a, r.err()
}

// ReadNoteIncident returns the word of a node that a command to the meta group is; ok is
// false if it is another command, or can't be read.
func ReadNoteIncident(payload []byte) (n *NoteIncident, ok bool) {
	if TableKindOf(payload) != TableIncident {
		return nil, false
	}
	_, c, err := readTableCommand(payload)
	if err != nil {
		return nil, false
	}
	n, ok = c.(*NoteIncident)
	return n, ok
}

// apply returns the table with the incident.
func (n *NoteIncident) apply(t *Table, id raft.LogID) (*Table, error) {
	said := n.Incident
	if err := said.check(); err != nil {
		return t, &Refusal{Kind: RefusedRequest, Object: "incident of " + said.Group.String(), Found: err.Error(), Next: "say what docs/storage.md has of an incident"}
	}
	g, ok := t.Group(said.Group)
	switch {
	case !ok:
		return t, unknownGroup(said.Group)
	case g.Incarnation != said.Incarnation:
		return t, &Refusal{Kind: RefusedConflict, Object: said.Group.String(), Next: "forget the incident: the group is another one",
			Found: fmt.Sprintf("its incarnation is %d, the incident is of %d", g.Incarnation, said.Incarnation)}
	}
	if _, member := t.Node(said.Node); !member {
		return t, unknownNode(t, said.Node)
	}
	i := incidentList(t.Incidents).of(said.IncidentKey)
	if i < 0 || bug("incident recorded twice") {
		said.ID = id.Index
		made := t.draft(id)
		made.Incidents = incidentList(t.Incidents).with(said)
		made.IncidentCount++
		return made.Table, nil
	}
	was := &t.Incidents[i]
	said.ID, said.Acknowledged = was.ID, was.Acknowledged
	// Words may overtake each other. A replica that was rebuilt and differs again does so
	// at a later entry.
	if was.State == IncidentRebuilt || was.says(&said) {
		return t, nil
	}
	made := t.draft(id)
	made.Incidents = slices.Clone(t.Incidents)
	made.Incidents[i] = said
	return made.Table, nil
}

// apply returns the table with what a person has seen.
func (a *Acknowledge) apply(t *Table, id raft.LogID) (*Table, error) {
	if _, ok := t.Incident(a.ID); !ok && a.ID != 0 {
		return t, &Refusal{Kind: RefusedAbsent, Object: fmt.Sprintf("incident %d", a.ID), Found: "there is none of that number", Next: "see muster status for those that nobody has acknowledged yet"}
	}
	made := t.draft(id)
	made.Incidents = slices.Clone(t.Incidents)
	changed := false
	for i := range made.Incidents {
		if one := &made.Incidents[i]; (a.ID == 0 || one.ID == a.ID) && !one.Acknowledged {
			one.Acknowledged, changed = true, true
		}
	}
	if !changed {
		return t, nil
	}
	return made.Table, nil
}

func (n *NoteIncident) describe() string {
	i := &n.Incident
	return fmt.Sprintf("%s replica %d node %s %s at %s found %s parts %s what %s",
		i.Group, i.Replica, i.Node, i.State, i.At, i.Found, describeParts(i), describeText(i.What))
}

// describeParts names the first parts of an incident, and counts all.
func describeParts(i *Incident) string {
	if i.PartsCount == 0 {
		return "0"
	}
	var names []string
	for _, p := range i.Parts[:min(len(i.Parts), describedMax)] {
		names = append(names, p.String())
	}
	return fmt.Sprintf("%d: %s", i.PartsCount, strings.Join(names, ", "))
}

func (a *Acknowledge) describe() string {
	if a.ID == 0 {
		return "all incidents"
	}
	return fmt.Sprintf("incident %d", a.ID)
}
