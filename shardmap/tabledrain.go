package shardmap

import (
	"fmt"
	"slices"
	"strings"

	"muster/raft"
	"muster/shardmap/pack"
)

// Drain says whether a node's leaders and replicas are to go elsewhere:
//
//	[node, on]
//
// To let it keep them ends a drain that is not finished.
type Drain struct {
	Node raft.NodeID
	On   bool
}

// SetLabels gives labels to a node, over those that it announces and those that it was
// given before. One without a value takes away what stands under its key.
//
//	[node, [label, …]]
type SetLabels struct {
	Node   raft.NodeID
	Labels []Label // no two with one key
}

// GivenMax bounds the labels that a node is given by command. With as many announced,
// they fit within [TableLabelsMax], whatever the keys.
const GivenMax = TableLabelsMax / 2

// labelTextMax bounds the key and the value of a label that is given, in bytes.
const labelTextMax = 63

// AppendDrain appends the bytes of d to b. At this level the error is always nil.
func AppendDrain(b []byte, d *Drain) ([]byte, error) {
	b = appendTableHead(b, TableDrain, 2)
	b = pack.AppendUint(b, uint64(d.Node))
	return pack.AppendBool(b, d.On), nil
}

// AppendSetLabels appends the bytes of s to b. At this level the error is always nil.
func AppendSetLabels(b []byte, s *SetLabels) ([]byte, error) {
	b = appendTableHead(b, TableLabel, 2)
	b = pack.AppendUint(b, uint64(s.Node))
	return appendLabels(b, s.Labels), nil
}

func (r *tableReader) drain() (tableCommand, error) {
	d := new(Drain)
	r.fields("drain", 2)
	d.Node, d.On = raft.NodeID(r.Uint()), r.Bool()
	return d, r.err()
}

func (r *tableReader) setLabels() (tableCommand, error) {
	s := new(SetLabels)
	r.fields("labels of a node", 2)
	s.Node, s.Labels = raft.NodeID(r.Uint()), r.labels()
	return s, r.err()
}

// apply returns the table with the node draining, or not.
func (d *Drain) apply(t *Table, id raft.LogID) (*Table, error) {
	i, ok := t.node(d.Node)
	if !ok {
		return t, unknownNode(t, d.Node)
	}
	made := t.draft(id)
	if d.On {
		if t.Nodes[i].Draining {
			return t, nil
		}
		if err := t.lastServer(d.Node, "drained"); err != nil {
			return t, err
		}
		made.editNode(i).Draining = true
		return made.Table, nil
	}
	if j := jobList(t.Jobs).unfinished(ofNode(JobRemove, d.Node)); j != nil {
		return t, &Refusal{Kind: RefusedConflict, Object: t.Nodes[i].called(), Found: fmt.Sprintf("job %d removes it", j.ID), Next: fmt.Sprintf("muster job cancel %d", j.ID)}
	}
	drains := jobList(t.Jobs).unfinished(ofNode(JobDrain, d.Node))
	if drains == nil && !t.Nodes[i].Draining {
		return t, nil
	}
	made.editNode(i).Draining = false
	if drains != nil {
		made.endJob(drains.ID, JobCancelled, "the node is to stay")
	}
	return made.Table, nil
}

// lastServer refuses what would leave no server that may hold replicas.
func (t *Table) lastServer(without raft.NodeID, what string) error {
	serves := func(n TableNode) bool { return n.Role == NodeServer && !n.Draining }
	i, ok := t.node(without)
	if !ok || t.Nodes[i].Role != NodeServer {
		return nil
	}
	for _, n := range t.Nodes {
		if n.ID != without && serves(n) {
			return nil
		}
	}
	return &Refusal{Kind: RefusedConflict, Object: t.Nodes[i].called(), Found: fmt.Sprintf("it is the last server that could hold replicas, so it can't be %s", what),
		Next: "add another one first: muster node add HOST:PORT"}
}

// apply returns the table with the labels over those that the node has.
func (s *SetLabels) apply(t *Table, id raft.LogID) (*Table, error) {
	i, ok := t.node(s.Node)
	if !ok {
		return t, unknownNode(t, s.Node)
	}
	was := &t.Nodes[i]
	given := slices.Clone(was.Given)
	for k, l := range s.Labels {
		if err := l.check(); err != nil {
			return t, &Refusal{Kind: RefusedRequest, Object: was.called(), Found: err.Error(), Next: "muster node label NODE KEY=VALUE"}
		}
		same := func(o Label) bool { return o.Key == l.Key }
		if slices.ContainsFunc(s.Labels[:k], same) {
			return t, &Refusal{Kind: RefusedRequest, Object: was.called(), Found: fmt.Sprintf("label %s is given twice", l.Key), Next: "give each key once"}
		}
		given = slices.DeleteFunc(given, same)
		// To take away what is not there needs no note.
		if l.Value != "" || slices.ContainsFunc(was.Announced, same) {
			given = append(given, l)
		}
	}
	if len(given) > GivenMax {
		return t, &Refusal{Kind: RefusedConflict, Object: was.called(), Found: fmt.Sprintf("it would have %d labels that were given, the limit is %d", len(given), GivenMax),
			Next: "take some away: muster node label NODE KEY="}
	}
	given = sortedLabels(given)
	if slices.Equal(given, was.Given) {
		return t, nil
	}
	made := t.draft(id)
	n := made.editNode(i)
	n.Given = given
	if !bug("given labels not merged") {
		n.mergeLabels()
	}
	return made.Table, nil
}

// CheckLabelKey says why no label can have such a key.
func CheckLabelKey(key string) error { return Label{Key: key}.check() }

// check says why a label can't be given: it is shown in one word. One without a value
// takes a label away.
func (l Label) check() error {
	word := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
	}
	switch {
	case l.Key == "" || len(l.Key) > labelTextMax || strings.ContainsFunc(l.Key, func(r rune) bool { return !word(r) }):
		return fmt.Errorf("label key %s; want 1 to %d letters, digits, '.', '_' or '-'", describeText(l.Key), labelTextMax)
	case len(l.Value) > labelTextMax || strings.ContainsFunc(l.Value, func(r rune) bool { return r < ' ' || r > '~' }):
		return fmt.Errorf("label %s has the value %s; want at most %d printable ASCII characters", l.Key, describeText(l.Value), labelTextMax)
	}
	return nil
}

func (d *Drain) describe() string {
	if d.On {
		return fmt.Sprintf("node %s on", d.Node)
	}
	return fmt.Sprintf("node %s off", d.Node)
}

func (s *SetLabels) describe() string {
	var labels []string
	for _, l := range s.Labels[:min(len(s.Labels), describedMax)] {
		labels = append(labels, describeText(l.Key)+"="+describeText(l.Value))
	}
	return fmt.Sprintf("node %s labels %d: %s", s.Node, len(s.Labels), strings.Join(labels, ", "))
}
