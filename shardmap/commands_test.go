package shardmap

import (
	"errors"
	"testing"

	"muster/raft"
)

// Each kind has one row, whole: what is missing there is refused, shown as a
// number, or applied as something else.
func TestCommandRows(t *testing.T) {
	names := map[string]bool{}
	for _, r := range Commands() {
		if CommandKind(r.Kind).Row().Name != r.Name || CommandKind(r.Kind).String() != r.Name || names[r.Name] || r.Name == "" {
			t.Errorf("kind %d is called %q", r.Kind, r.Name)
		}
		names[r.Name] = true
		keys := r.Shape == ShapeKeys || r.Shape == ShapePairs
		if r.Level == 0 || r.Level > Level || r.read != nil || keys && (r.whole != nil || r.describe != nil || r.Internal) ||
			!keys && (r.Shape != ShapeBody || r.describe == nil || r.change != nil || len(r.Conditions) > 0) ||
			!keys && (r.whole != nil) == (r.act != nil && r.readBody != nil && (r.Internal || r.validate != nil && (r.frees != nil || r.Frees))) {
			t.Errorf("the row of %s is not whole: %+v", r.Name, r)
		}
	}
	for _, r := range TableCommands() {
		if TableCommandKind(r.Kind).Row().Name != r.Name || r.Name == "" || r.Level == 0 || r.Level > Level || r.Shape != ShapeBody || r.read == nil || r.change != nil {
			t.Errorf("the row of the meta group's kind %d is not whole: %+v", r.Kind, r)
		}
	}
	for _, k := range []CommandKind{0, CommandKind(len(commandRows)), 255} {
		if k.Row() != nil {
			t.Errorf("kind %d has a row", k)
		}
	}
}

// A cluster with members of two builds: what the older one does not understand is
// refused before the log by whoever admits it, older or newer. If it gets into the
// log all the same, the older replica stops before it and keeps its state; it must
// not go on as if the entry were none.
func TestAboveTheLevel(t *testing.T) {
	for _, row := range Commands() {
		if row.Internal {
			continue // TestOwnIsNotForClients
		}
		c := Command{Kind: CommandKind(row.Kind), Slot: SlotByServer, Items: items("k")}
		switch c.Kind {
		case CommandSet:
			c.Items = items("k", "v")
		case CommandTxn:
			c = TxnCommand(SlotOf([]byte("k")), &Txn{If: []Compare{{Kind: CompareAbsent, Key: []byte("k")}}})
		case CommandLease:
			c = LeaseCommand(7, LeaseGrant, 0, 1)
		case CommandService:
			c = ServiceSetCommand("db", tcpService("db").Append(nil))
		case CommandDelPrefix:
			c = DelPrefixCommand(7, []byte("k"), 1)
		case CommandPoints:
			c = pointsCommand(t, 30, "cpu v=1 30005")
		case CommandPointsDelete:
			c = testDelete(30, "cpu").Command()
		}
		for level := uint32(1); level <= Level; level++ {
			err := c.Validate(Limits{ValueMax: 10, Level: level})
			var above *LevelError
			if want := row.Level > level; errors.As(err, &above) != want || !want && err != nil {
				t.Errorf("%s in a cluster of level %d: %v", row.Name, level, err)
			} else if want && (!errors.Is(err, ErrLevel) || above.Needs != row.Level || above.Level != level) {
				t.Errorf("%s in a cluster of level %d: %+v", row.Name, level, above)
			}
			m := owning(allSlots())
			m.Understand(level)
			apply(t, m, 1, 0, &Command{Kind: CommandSet, Slot: SlotByServer, Items: items("other", "v")})
			_, err = m.Apply(raft.LogID{Term: 1, Index: 2}, 0, &c)
			if want := row.Level > level; errors.Is(err, ErrLevel) != want || !want && err != nil {
				t.Errorf("%s at a replica of level %d: %v", row.Name, level, err)
			} else if want && m.Applied().Index != 1 {
				t.Errorf("%s at a replica of level %d: it is applied up to %s", row.Name, level, m.Applied())
			}
		}
	}
	found, err := AppendFound(nil, &Found{Cluster: "c", ClusterID: 1, Level: Level, ValueMax: 10, Groups: 1, Nodes: []FoundNode{{ID: 1, Addr: "a:1", Role: NodeServer, Level: Level}}})
	if err != nil {
		t.Fatal(err)
	}
	m := NewTableMachine()
	m.Understand(Level - 1)
	if _, err := m.Apply(raft.LogID{Term: 1, Index: 1}, found); !errors.Is(err, ErrLevel) || m.Table().Founded() {
		t.Errorf("a cluster of level %d is founded at a replica of level %d: %v", Level, Level-1, err)
	}
}

// A check is a write that writes nothing: versions stay, its outcome is kept.
func TestCheckCommand(t *testing.T) {
	m := owning(allSlots())
	set := apply(t, m, 5, 0, &Command{Kind: CommandSet, Slot: SlotByServer, Items: items("k", "v")})
	digest := digestOf(m, SlotOf([]byte("k")))
	for i, c := range []struct {
		condition Condition
		version   uint64
		want      Result
	}{
		{ConditionNone, 0, Result{Status: StatusApplied}},
		{ConditionVersion, set.Version, Result{Status: StatusApplied}},
		{ConditionVersion, set.Version + 1, Result{Status: StatusConflict, Current: set.Version}},
		{ConditionAbsent, 0, Result{Status: StatusConflict, Current: set.Version}},
	} {
		c.want.Group, c.want.ID = testGroup, raft.LogID{Term: 1, Index: uint64(6 + i)}
		got := apply(t, m, c.want.ID.Index, 0, &Command{Kind: CommandCheck, Slot: SlotByServer, Condition: c.condition, Version: c.version, Items: items("k")})
		if !sameResult(got, c.want) {
			t.Errorf("check if %s %d: got %+v, want %+v", c.condition, c.version, got, c.want)
		}
		if digestOf(m, SlotOf([]byte("k"))) != digest {
			t.Errorf("check if %s %d changed something", c.condition, c.version)
		}
	}
}
