package shardmap

import (
	"fmt"
	"strings"

	"muster/raft"
	"muster/shardmap/pack"
)

// What a group owns stands in its own log, and nowhere else. A map begins with
// nothing. The command own founds the group: it names the slots that the group
// begins with. Were a map to begin with the slots that the table gives its group, a
// replica that reads the log from its first entry would apply old entries to the
// slots of today, and differ from the others.
//
// A slot comes or goes by an entry with a number, from the meta group, which grows
// with each such change in the cluster; the own entry is a takeover without a source,
// and its number is that of the founding. For each slot, owned or not, the map keeps
// its mark: the highest number of an entry that decided something about it. An entry
// with a number that is no higher changes nothing, so it can come late, or twice.
// Marks are in snapshots, and are never forgotten: a group that no longer owns a slot
// must still refuse what it refused before.

// Own is what the command own says. Its bytes are a msgpack array:
//
//	[number, [[from, to], …]]
//
// with the slots as runs, both ends included, in order, each as long as it can be.
type Own struct {
	Number uint64
	Slots  []SlotRange
}

const ownFields = 2

// OwnCommand returns the command that founds a group.
func OwnCommand(o *Own) Command {
	b := pack.AppendArray(nil, ownFields)
	b = pack.AppendUint(b, o.Number)
	b = appendRanges(b, o.Slots)
	return Command{Kind: CommandOwn, Slot: o.Slots[0].From, Items: [][]byte{b}}
}

// ReadOwn reads what a command own says.
func ReadOwn(c *Command) (Own, error) {
	if c.Kind != CommandOwn || len(c.Items) != 1 {
		return Own{}, fmt.Errorf("%w: %s with %d items is no own", ErrCommand, c.Kind, len(c.Items))
	}
	r := tableReader{Reader: pack.NewReader(c.Items[0])}
	r.fields("own", ownFields)
	o := Own{Number: r.Uint(), Slots: r.ranges()}
	if err := r.err(); err != nil {
		return Own{}, err
	}
	if o.Number == 0 || len(o.Slots) == 0 {
		return Own{}, fmt.Errorf("%w: own of %d runs of slots with number %d", ErrCommand, len(o.Slots), o.Number)
	}
	if err := checkRanges(o.Slots); err != nil {
		return Own{}, fmt.Errorf("%w: own: %w", ErrCommand, err)
	}
	return o, nil
}

func (o *Own) String() string {
	runs := make([]string, len(o.Slots))
	for i, r := range o.Slots {
		runs[i] = r.String()
	}
	return fmt.Sprintf("number %d slots %s", o.Number, strings.Join(runs, ", "))
}

// Founding returns what a group is founded with, by its incarnation; false if the
// table has no such group, or gave it no slots when it was made.
func (t *Table) Founding(id raft.GroupID, i raft.Incarnation) (Own, bool) {
	g, ok := t.Group(id)
	if !ok || g.Incarnation != i || len(g.FirstSlots) == 0 {
		return Own{}, false
	}
	return Own{Number: uint64(i), Slots: g.FirstSlots}, true
}

// found carries out the command own. It applies once, and only to slots of which
// nothing newer was decided.
func found(m *Map, _ entryAt, c *Command) (Status, error) {
	o, err := ReadOwn(c)
	if err != nil {
		return 0, err
	}
	var marks allMarks
	marks.fill(m.marks)
	for s := range eachOf(o.Slots) {
		// What is owned has a mark too. But a slot that was taken over before the
		// founding could have a lower one, and its keys must not be dropped.
		if m.founded != 0 || marks[s] >= o.Number || m.held(s) != nil || m.imports.of(s) != nil {
			return StatusMarked, nil
		}
	}
	for s := range eachOf(o.Slots) {
		marks[s] = o.Number
	}
	m.hold(o.Number, marks.runs())
	m.slots.Store(m.slots.Load().with(o.Slots))
	return StatusApplied, nil
}

// Unfounded reports whether no entry has founded the group, whatever has moved to it
// since: if it is to be founded, whoever asks for one of its first slots can't be told yet
// that it is another group's. The goroutine that applies calls it.
func (m *Map) Unfounded() bool { return m.founded == 0 }
