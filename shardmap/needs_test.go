package shardmap

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"muster/shardmap/access"
	"muster/shardmap/pack"
	"muster/shardmap/points"
)

// needsOf is what a command needs, one line each.
func needsOf(b []byte) (string, error) {
	var lines []string
	err := EachNeed(b, func(n access.Need) bool {
		lines = append(lines, n.String())
		return true
	})
	return strings.Join(lines, "; "), err
}

func appended(c Command) []byte { return AppendCommand(nil, &c) }

// neededBy says of commands what whoever sends them needs.
var neededBy = []struct {
	name    string
	command Command
	want    string
}{
	{"set", Command{Kind: CommandSet, Items: items("a", "v", "b", "w")}, "write on key:a; write on key:b"},
	{"set if absent", Command{Kind: CommandSet, Condition: ConditionAbsent, Items: items("a", "v")}, "read,write on key:a"},
	{"set if version", Command{Kind: CommandSet, Condition: ConditionVersion, Version: 3, Items: items("a", "v")}, "read,write on key:a"},
	{"del", Command{Kind: CommandDel, Items: items("a", "b")}, "write on key:a; write on key:b"},
	{"del if version", Command{Kind: CommandDel, Condition: ConditionVersion, Items: items("a")}, "read,write on key:a"},
	{"check", Command{Kind: CommandCheck, Condition: ConditionAbsent, Items: items("a")}, "read on key:a"},
	{"txn", TxnCommand(1, &Txn{
		If:   []Compare{{Kind: CompareVersion, Key: []byte("c"), Version: 1}, {Kind: CompareAbsent, Key: []byte("d")}, {Kind: CompareValue, Key: []byte("e"), Value: []byte("v")}},
		Then: []Op{{Kind: OpSet, Key: []byte("s"), Value: []byte("v"), TTL: 1}, {Kind: OpDel, Key: []byte("x")}},
		Else: []Op{{Kind: OpGet, Key: []byte("g")}, {Kind: OpIncr, Key: []byte("i"), By: -1}},
	}), "read on key:c; read on key:d; read on key:e; write on key:s; write on key:x; read on key:g; read,write on key:i"},
	{"lease grant", LeaseCommand(1, LeaseGrant, 0, 1000), "write on any key:"},
	{"lease revoke", LeaseCommand(1, LeaseRevoke, MakeLeaseID(1, 1), 0), "write on any key:"},
	{"points", (&PointsBody{Shard: ShardRef{ShardID{7, 1}, 2, 5, 6, points.Window{First: -1, Last: 1}}, Name: "metrics", Mode: PointsWrite, Share: []byte("share")}).Command(), "write on db:metrics"},
	{"delete points", (&PointsDelete{Shards: []ShardRef{{ShardID{7, 1}, 2, 5, 6, points.Window{First: -1, Last: 1}}}, Name: "metrics", Measurement: []byte("cpu"), Series: items("cpu,host=a"), First: -5, Last: 5}).Command(), "write on db:metrics"},
	{"service set", ServiceSetCommand("web", []byte{1}), "write on service:web"},
	{"service del", ServiceDelCommand("web"), "write on service:web"},
	{"service maintain", ServiceMaintainCommand("web", "i", true), "write on service:web"},
	{"del prefix", DelPrefixCommand(1, []byte("a/"), 5), "write on key:a/…"},
	{"del of all keys", DelPrefixCommand(1, nil, 5), "write on key:…"},
	{"service remove", ServiceRemoveCommand("web", "i"), "write on service:web"},
}

// conditionsBlind returns which command needs something else than it should, or "".
func conditionsBlind() string {
	for _, c := range neededBy {
		got, err := needsOf(appended(c.command))
		if err != nil || got != c.want {
			return fmt.Sprintf("%s: got %s, %v, want %s", c.name, got, err, c.want)
		}
	}
	return ""
}

// The needs of a command are read without reading all of it, and must be what the command then
// does: every key of it, and read wherever the outcome or the answer tells what is there.
func TestNeedsOfCommands(t *testing.T) {
	if wrong := conditionsBlind(); wrong != "" {
		t.Error(wrong)
	}
	kinds := map[CommandKind]bool{}
	for _, c := range neededBy {
		kinds[c.command.Kind] = true
	}
	for k := range CommandKind(len(commandRows)) {
		if row := k.Row(); row != nil && !row.Internal && !kinds[k] {
			t.Errorf("clients may send %s, and nobody says what it needs", k)
		}
	}
	// A command that is broken, internal or of a newer level has no needs that could be met.
	for name, b := range map[string][]byte{
		"nothing":          nil,
		"an internal kind": appended(Command{Kind: CommandOwn, Items: items("x")}),
		"a newer kind":     appended(Command{Kind: 200, Items: items("x")}),
		"no item":          appended(Command{Kind: CommandDel}),
		"half a pair":      appended(Command{Kind: CommandSet, Items: items("a", "v", "b")}),
		"two bodies":       appended(Command{Kind: CommandTxn, Items: items("a", "b")}),
		"no transaction":   appended(Command{Kind: CommandTxn, Items: items("a")}),
		"no prefix":        appended(Command{Kind: CommandDelPrefix, Items: items("a")}),
		"no bound":         appended(Command{Kind: CommandDelPrefix, Items: [][]byte{{0x92, 0xc4, 0x01, 'k', 0x05}}}),
		"a fifth field":    appended(Command{Kind: CommandDelPrefix, Items: [][]byte{{0x95, 0xc4, 0x01, 'k', 0x05, 0x00, 0xc4, 0x00, 0x05}}}),
		"no service":       appended(Command{Kind: CommandService, Items: items("a")}),
		"a newer op":       appended(Command{Kind: CommandTxn, Items: [][]byte{{0x93, 0x90, 0x91, 0x92, 0x09, 0xc4, 0x01, 'k', 0x90}}}),
		"a shorter array":  pack.AppendArray(nil, 7),
	} {
		if got, err := needsOf(b); !errors.Is(err, ErrCommand) {
			t.Errorf("%s: got %q, %v, want an error", name, got, err)
		}
	}
	for _, c := range neededBy {
		b := appended(c.command)
		for n := range b {
			// A part of a command may need less than the whole, but is never without an error.
			if _, err := needsOf(b[:n]); err == nil && c.command.Kind != CommandLease {
				t.Errorf("%s, cut after %d of %d bytes: no error", c.name, n, len(b))
			}
		}
	}
}

// It is asked for each write of a user with restricted rights.
func TestNeedsAllocateNothing(t *testing.T) {
	seen := 0
	yield := func(access.Need) bool { seen++; return true }
	for _, c := range neededBy {
		b := appended(c.command)
		if n := testing.AllocsPerRun(100, func() { _ = EachNeed(b, yield) }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
	if seen == 0 {
		t.Error("nothing was asked")
	}
}

// The needs of whatever the core would take name every key of it, as the core reads it: where the two
// read the same bytes in different ways, somebody writes what he may not.
func FuzzEachNeed(f *testing.F) {
	for _, c := range neededBy {
		f.Add(appended(c.command))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if pack.Check(b, 1<<16) != nil {
			return
		}
		needed := map[string]bool{}
		err := EachNeed(b, func(n access.Need) bool {
			needed[string(n.Name)] = true
			return true
		})
		var c Command
		if ReadCommand(b, &c) != nil || c.Validate(Limits{ValueMax: ValueMaxDefault, Level: Level}) != nil {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", c.Kind, err)
		}
		var names [][]byte
		switch c.Kind {
		case CommandTxn:
			x, err := ReadTxn(&c)
			if err != nil {
				t.Fatal(err)
			}
			for i := range x.If {
				names = append(names, x.If[i].Key)
			}
			for _, ops := range [][]Op{x.Then, x.Else} {
				for i := range ops {
					names = append(names, ops[i].Key)
				}
			}
		case CommandService:
			s, err := ReadService(&c)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, []byte(s.Name))
		case CommandDelPrefix:
			d, err := ReadDelPrefix(&c)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, d.Prefix)
		default:
			for i := range c.Keys() {
				names = append(names, c.Key(i))
			}
		}
		for _, name := range names {
			if !needed[string(name)] {
				t.Fatalf("%s: %q is not among its needs, %v", c.Kind, name, needed)
			}
		}
	})
}
