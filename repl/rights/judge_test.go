package rights

import (
	"testing"

	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

// someTable is a table with a user of few rights and one of all.
func someTable() *shardmap.Table {
	all := []access.Grant{{Verbs: access.All, Object: access.Object{Kind: access.Keys}}, {Verbs: access.All, Object: access.Object{Kind: access.Services}},
		{Verbs: access.All, Object: access.Object{Kind: access.Databases}}, {Verbs: access.All, Object: access.Object{Kind: access.Cluster}}}
	few := []access.Grant{{Verbs: access.Read | access.Write, Object: access.Object{Kind: access.Keys, Prefix: "app/"}}}
	return &shardmap.Table{Index: 9, Security: shardmap.Security{Mode: shardmap.SecurityOnly, Rules: 5,
		Users: []shardmap.User{{ID: 1, Name: "few", Roles: []string{"few"}}, {ID: 2, Name: "all", Roles: []string{"all"}}},
		Roles: []shardmap.Role{{Name: "all", Grants: all}, {Name: "few", Grants: few}}}}
}

func setOf(key string) []byte {
	c := shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotByServer, Items: [][]byte{[]byte(key), make([]byte, 128)}}
	return wire.AppendWrite(nil, &c)
}

// A judge that goes from one user to another, and from one law to the next, must not keep anything of the one
// before: it remembers the rights that it looked up last.
func TestJudgeForgets(t *testing.T) {
	j, law := NewJudge("n"), (*Law)(nil)
	body, other := setOf("app/x"), setOf("x")
	refused := func(what string, p Principal, body []byte, c Contact, code wire.Code) {
		t.Helper()
		if e := j.Allows(p, wire.TypeWrite, body, law, c); e == nil && code != 0 || e != nil && e.Code != code {
			t.Errorf("%s: got %v, want %v", what, e, code)
		}
	}
	few, all := Principal{User: 1}, Principal{User: 2}
	refused("before the table", all, body, ContactGood, wire.CodeNotReady)
	law, _ = law.Follow(someTable())
	refused("few", few, body, ContactGood, 0)
	refused("few elsewhere", few, other, ContactGood, wire.CodeUnauthorized)
	refused("all", all, other, ContactGood, 0)
	refused("few after all", few, other, ContactGood, wire.CodeUnauthorized)
	refused("a member after all", Principal{Node: 3}, other, ContactLost, wire.CodeUnauthorized)
	refused("all, cut off", all, other, ContactLost, wire.CodeUnavailable)
	refused("all, after a start", all, other, ContactNone, wire.CodeNotReady)
	refused("one who was deleted", Principal{User: 3}, other, ContactGood, wire.CodeUnauthorized)
	refused("one who is newer", Principal{User: 10}, other, ContactGood, wire.CodeNotReady)
	less := someTable()
	less.Index, less.Security.Rules, less.Security.Users[1].Roles = 12, 12, []string{"few"}
	was := law
	if law, _ = law.Follow(less); law == was {
		t.Error("the law of a newer table is that of the older one")
	}
	refused("all, who has less now", all, other, ContactGood, wire.CodeUnauthorized)
	same := someTable()
	same.Index, same.Security = 13, less.Security
	if next, changed := law.Follow(same); changed || next.Rules != law.Rules || next.Table != same {
		t.Error("a table with the same rules makes others")
	}
	same.Security.Mode = shardmap.SecurityBoth
	if _, changed := law.Follow(same); !changed {
		t.Error("who must prove himself has changed, and nothing is held to it again")
	}
}

// A request that a member passes on is held to the rights of the user that the member names.
func TestJudgeForwarded(t *testing.T) {
	if wrong := forwardedWrong(); wrong != "" {
		t.Error(wrong)
	}
}

// forwardedWrong returns what is let through that must not be, or the other way round.
func forwardedWrong() string {
	j := NewJudge("n")
	law, _ := (*Law)(nil).Follow(someTable())
	for _, c := range []struct {
		what string
		p    shardmap.Principal
		key  string
		c    Contact
		code wire.Code
	}{
		{"few", 1, "app/x", ContactGood, 0},
		{"few elsewhere", 1, "x", ContactGood, wire.CodeUnauthorized},
		{"all", 2, "x", ContactGood, 0},
		{"all, cut off", 2, "x", ContactLost, wire.CodeUnavailable},
		{"nobody", 0, "x", ContactGood, wire.CodeNotReady},
	} {
		f := wire.Forward{Principal: c.p, Type: wire.TypeWrite, Body: setOf(c.key)}
		if e := j.AllowsForwarded(f.Append(nil), law, c.c); e == nil && c.code != 0 || e != nil && e.Code != c.code {
			return c.what + " is answered with the wrong thing"
		}
	}
	if e := j.AllowsForwarded([]byte{0xc0}, law, ContactGood); e == nil || e.Code != wire.CodeBadRequest {
		return "a body that is none is let through"
	}
	return ""
}

// errandsWrong returns what a member may do that it must not, or the other way round.
func errandsWrong() string {
	j := NewJudge("n")
	t := someTable()
	t.Nodes = []shardmap.TableNode{{ID: 3, Role: shardmap.NodeServer}, {ID: 4, Role: shardmap.NodeClient}}
	law, _ := (*Law)(nil).Follow(t)
	del := shardmap.DelPrefixCommand(7, []byte("app/"), 10)
	for _, c := range []struct {
		what string
		p    Principal
		t    wire.Type
		body []byte
		code wire.Code
	}{
		{"a server deletes a prefix", Principal{Node: 3}, wire.TypeWrite, wire.AppendWrite(nil, &del), 0},
		{"a server learns the versions of slots", Principal{Node: 3}, wire.TypeSlotView, (&wire.SlotView{Group: 1, Slots: []shardmap.SlotRange{{From: 7, To: 7}}}).Append(nil), 0},
		{"a server takes a backup", Principal{Node: 3}, wire.TypeBackup, (&wire.Backup{Group: 1, PieceBytes: wire.BackupPieceMin, Window: 1 << 20}).Append(nil), 0},
		{"a server sets a key", Principal{Node: 3}, wire.TypeWrite, setOf("app/x"), wire.CodeUnauthorized},
		{"a server gives an order", Principal{Node: 3}, wire.TypeOrder, (&wire.Order{Command: []byte{1}}).Append(nil), wire.CodeUnauthorized},
		{"a node without a vote takes a backup", Principal{Node: 4}, wire.TypeBackup, nil, wire.CodeUnauthorized},
		{"a node that is none takes a backup", Principal{Node: 5}, wire.TypeBackup, nil, wire.CodeUnauthorized},
	} {
		if e := j.Allows(c.p, c.t, c.body, law, ContactGood); e == nil && c.code != 0 || e != nil && e.Code != c.code {
			return c.what + " is answered with the wrong thing"
		}
	}
	return ""
}

// A server takes backups and deletes prefixes as a client of its cluster, for jobs; nothing else, and no other node does.
func TestServersDoErrands(t *testing.T) {
	if wrong := errandsWrong(); wrong != "" {
		t.Error(wrong)
	}
}

// A request costs its judge no memory, whatever its user may do.
func TestJudgeAllocatesNothing(t *testing.T) {
	j := NewJudge("n")
	law, _ := (*Law)(nil).Follow(someTable())
	body := setOf("app/x")
	f := wire.Forward{Principal: 1, Type: wire.TypeWrite, Body: body}
	passed := f.Append(nil)
	if n := testing.AllocsPerRun(100, func() {
		for u := range shardmap.Principal(2) {
			if e := j.Allows(Principal{User: 1 + u}, wire.TypeWrite, body, law, ContactGood); e != nil {
				t.Fatal(e)
			}
		}
		if e := j.AllowsForwarded(passed, law, ContactGood); e != nil {
			t.Fatal(e)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
