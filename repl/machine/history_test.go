package machine_test

import (
	"fmt"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// The leader puts the rules of the table into its group's log, once, whenever they differ from the group's;
// and nothing before the cluster and the group are at the level.
func TestLeaderProposesRules(t *testing.T) {
	table := &shardmap.Table{Groups: []shardmap.TableGroup{{ID: 1, Incarnation: 7}}}
	m, index := machine.NewMap(replicaOf(1, 7), func() *shardmap.Table { return table }), uint64(0)
	wants := func() (c shardmap.Command, any bool) {
		payload := m.Wants()
		if payload == nil {
			return c, false
		}
		if err := machine.ReadCommand(payload, &c); err != nil {
			t.Fatal(err)
		}
		return c, true
	}
	apply := func() {
		t.Helper()
		payload := m.Wants()
		index++
		if _, _, err := m.Apply(payloadEntry(index, raft.EntryNormal, payload), true, nil); err != nil {
			t.Fatal(err)
		}
	}
	table.Level = shardmap.RangesLevel - 1
	for range 3 { // the level of before
		if c, any := wants(); !any {
			break
		} else if c.Kind == shardmap.CommandVersions {
			t.Fatalf("below the level it wants %s", c.Kind)
		}
		apply()
	}
	table.Settings = []shardmap.Setting{{Name: "history", Value: "conf/=3/1h"}}
	if c, any := wants(); any {
		t.Errorf("below the level it wants %s", c.Kind)
	}
	table.Level = shardmap.RangesLevel
	if c, any := wants(); !any || c.Kind != shardmap.CommandRaise {
		t.Errorf("before the group is raised it wants %s, %t", c.Kind, any)
	}
	apply()
	c, any := wants()
	if rules, err := shardmap.ReadVersionsCommand(&c); !any || err != nil || rules.String() != "conf/=3/1h" {
		t.Fatalf("it wants %s %s, %v", c.Kind, rules, err)
	}
	apply()
	if c, any := wants(); any {
		t.Errorf("with the rules it wants %s", c.Kind)
	}
	table.Settings = nil
	if c, any := wants(); !any || c.Kind != shardmap.CommandVersions {
		t.Errorf("when the rules have gone it wants %s, %t", c.Kind, any)
	}
	apply()
	if c, any := wants(); any {
		t.Errorf("without rules it wants %s", c.Kind)
	}
}

// An entry does the same on every replica, whatever its table says then: the rules are those of the entry.
func rulesAfter(t *testing.T, table string) (rules string) {
	now := &shardmap.Table{Level: shardmap.RangesLevel}
	now.Settings = []shardmap.Setting{{Name: "history", Value: table}}
	m := machine.NewMap(replicaOf(1, 7), func() *shardmap.Table { return now })
	for i, c := range []shardmap.Command{shardmap.RaiseCommand(shardmap.RangesLevel), shardmap.VersionsCommand(readRules(t, "a=3"))} {
		if _, _, err := m.Apply(payloadEntry(uint64(1+i), raft.EntryNormal, payloadOf(&c)), true, nil); err != nil {
			t.Fatal(err)
		}
	}
	return shardmap.VersionRulesOf(m.State).String()
}

func TestRulesAreThoseOfTheEntry(t *testing.T) {
	if a, b := rulesAfter(t, "a=3"), rulesAfter(t, "b=7"); a != "a=3/720h" || b != a {
		t.Errorf("by one table the rules are %s, by another %s", a, b)
	}
}

func readRules(t *testing.T, text string) shardmap.VersionRules {
	t.Helper()
	rules, err := shardmap.ReadVersionRules(text)
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// timed is an entry at a group time.
func timed(index uint64, at raft.GroupTime, kind raft.EntryKind, payload []byte) raft.Entry {
	e := payloadEntry(index, kind, payload)
	e.Time = at
	return e
}

// The answer names users as the table has them now, and tells when: by the clock of the node that admitted
// a command, and for what time did, by what has passed since.
func TestHistoryNamesWhoAndWhen(t *testing.T) {
	q := newRequests(t)
	q.table.Level = shardmap.RangesLevel
	q.table.Security.Users = []shardmap.User{{ID: 41, Name: "ann"}}
	at := raft.GroupTime(0)
	write := func(principal shardmap.Principal, wall uint64, c shardmap.Command) {
		t.Helper()
		q.index++
		o := wire.Origin{Principal: principal, Time: wall, Rules: 1}
		e := machine.NewEntry(o, wire.AppendWrite(nil, &c))
		if _, _, err := q.state.Apply(timed(q.index, at, raft.EntryNormal, e.Payload()), true, nil); err != nil {
			t.Fatal(err)
		}
	}
	slot := shardmap.SlotOf([]byte("k1"))
	write(0, 0, shardmap.RaiseCommand(shardmap.RangesLevel))
	write(0, 0, shardmap.VersionsCommand(readRules(t, "k=4")))
	write(41, 1000, shardmap.Command{Kind: shardmap.CommandSet, Slot: slot, Items: keysOf("k1", "a")})
	write(42, 2000, shardmap.Command{Kind: shardmap.CommandSet, Slot: slot, Items: keysOf("k1", "b")})
	write(0, 3000, shardmap.TxnCommand(slot, &shardmap.Txn{Then: []shardmap.Op{{Kind: shardmap.OpSet, Key: []byte("k1"), Value: []byte("c"), TTL: 1000}}}))
	at = raft.GroupTime(5 * time.Second)
	q.index++
	if err := q.state.Skip(timed(q.index, at, raft.EntryTime, nil)); err != nil {
		t.Fatal(err)
	}
	at += raft.GroupTime(7 * time.Second)
	q.index++
	if err := q.state.Skip(timed(q.index, at, raft.EntryNoOp, nil)); err != nil {
		t.Fatal(err)
	}
	ask := func(h wire.History) (a wire.HistoryAnswer) {
		t.Helper()
		h.Group, h.Key = 1, []byte("k1")
		if err := a.Read(q.page(t, wire.TypeHistory, h.Append(nil), wire.TypeHistoryAnswer)); err != nil {
			t.Fatal(err)
		}
		return a
	}
	show := func(a wire.HistoryAnswer) (all []string) {
		for _, r := range a.Rows {
			all = append(all, fmt.Sprintf("%s %q by %d %q at %d", r.How, r.Value, r.Principal, r.User, int64(r.AtMs)))
		}
		return all
	}
	a := ask(wire.History{})
	want := fmt.Sprint([]string{
		fmt.Sprintf(`expired "" by 0 "" at %d`, nowTaken.Wall-7000), `set "c" by 0 "" at 3000`, `set "b" by 42 "" at 2000`, `set "a" by 41 "ann" at 1000`,
	})
	if got := fmt.Sprint(show(a)); got != want || a.More || a.Versions != 4 || a.Age != 720*3600 {
		t.Errorf("got %s, more %t, rule %d, %d s\nwant %s", got, a.More, a.Versions, a.Age, want)
	}
	first := ask(wire.History{Limit: 3})
	if rest := ask(wire.History{Before: first.Rows[2].Version}); !first.More || len(first.Rows) != 3 || len(rest.Rows) != 1 || rest.More {
		t.Errorf("three, then %d, more %t", len(rest.Rows), rest.More)
	}
	if one := ask(wire.History{MaxBytes: 1}); len(one.Rows) != 2 || !one.More { // the expiry has no value
		t.Errorf("within one byte there are %d rows, more %t", len(one.Rows), one.More)
	}
	q.passesOn(t, wire.TypeHistory, (&wire.History{Group: 1, Key: []byte("k1")}).Append(nil))
}
