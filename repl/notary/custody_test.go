package notary

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

// drive answers what a core wants as others would, and returns the proposals that it makes meanwhile.
func drive(c *Core, now *Now, turns int, answer func(a *Action) Result) (proposed [][]byte) {
	for range turns {
		now.Host += retryAgain
		actions, _ := c.Turn(*now)
		for i := range actions {
			a := &actions[i]
			switch a.Kind {
			case Answer:
			case Propose:
				proposed = append(proposed, a.Payload)
				c.Ended(*now, a.Number, Result{})
			default:
				c.Ended(*now, a.Number, answer(a))
			}
		}
	}
	return proposed
}

// A leader that had made the next root died with its disk before another node had the key that wraps that root's.
// The root would wait for ever to issue, in the way of each other one: an order for a new root must put it aside. It must
// not while a voter that does not answer may hold the key, or another one has it.
func TestRootWithoutAKeeperIsPutAside(t *testing.T) {
	held, lost := shardmap.WrapKeyID{1}, shardmap.WrapKeyID{2}
	for _, tt := range []struct {
		name   string
		answer func(a *Action) Result // to a question for the lost key
		lost   bool
	}{
		{"all say that they lack it", func(*Action) Result { return Result{Err: errors.New("lacks"), Lacks: true} }, true},
		{"one does not answer", func(a *Action) Result {
			return Result{Err: errors.New("no answer"), Lacks: a.Node == 2}
		}, false},
		{"one has it", func(a *Action) Result {
			if a.Node == 3 {
				return Result{}
			}
			return Result{Err: errors.New("lacks"), Lacks: true}
		}, false},
	} {
		table := &shardmap.Table{Cluster: "w", ClusterID: 1, Index: 9, Level: shardmap.Level}
		for n := raft.NodeID(1); n <= 3; n++ {
			table.Nodes = append(table.Nodes, shardmap.TableNode{ID: n})
			table.Meta.Replicas = append(table.Meta.Replicas, shardmap.TableReplica{Node: n, Role: shardmap.ReplicaVoter})
		}
		issuing := shardmap.Root{ID: shardmap.RootID{1}, State: shardmap.RootIssuing, WrapKey: held}
		next := shardmap.Root{ID: shardmap.RootID{2}, State: shardmap.RootTrusted, WrapKey: lost}
		table.Security = shardmap.Security{Mode: shardmap.SecurityOnly, Roots: []shardmap.Root{issuing, next}}
		if !table.Founded() {
			t.Fatal("the table is that of no cluster")
		}
		c, now := New(1), Now{Wall: worldStart}
		c.Table(table)
		c.Held([]shardmap.WrapKeyID{held})
		c.Lead(true)
		answer := func(a *Action) Result {
			if a.WrapKey == lost && a.Kind == Fetch {
				return tt.answer(a)
			}
			return Result{}
		}
		if proposed := drive(c, &now, 8, answer); len(proposed) > 0 {
			t.Errorf("%s: %d proposals that nobody has ordered", tt.name, len(proposed))
		}
		is := false
		for _, k := range Custodies(c) {
			if k.Root.ID == issuing.ID && k.Lost {
				t.Errorf("%s: the key that all have is lost", tt.name)
			}
			is = is || k.Root.ID == next.ID && k.Lost
		}
		if is != tt.lost {
			t.Errorf("%s: lost is %t, want %t", tt.name, is, tt.lost)
		}
		c.Order(now, 7, &wire.Authority{Action: wire.AuthorityRotate})
		want := must(shardmap.AppendSetRoot(nil, &shardmap.SetRoot{Root: shardmap.Root{ID: next.ID, State: shardmap.RootRetired, Since: now.Wall}}))
		proposed := drive(c, &now, 1, answer)
		if got := len(proposed) == 1 && string(proposed[0]) == string(want); got != tt.lost {
			t.Errorf("%s: the root is put aside: %t, want %t", tt.name, got, tt.lost)
		}
	}
}

// A node whose certificate is overdue, and gets no other one because the key for that is lost, must still say that it
// trusts the next root: else that never issues, and nobody ever gets one. And one whose certificate has ended, so
// that nobody hears it, must still ask for the next: the pauses between attempts grow longer than those between words.
func TestToldBeforeRenewal(t *testing.T) {
	for _, fails := range [][]ActionKind{{Renew}, {Tell}, {Renew, Tell}} {
		if wrong := oneFails(fails...); wrong != "" {
			t.Error(wrong)
		}
	}
}

// The end of the secret's time shuts out whoever has nothing else. So it must wait until somebody can administer the
// cluster by a certificate: users without that right don't do.
func TestSecretEndsOnceSomebodyAdministers(t *testing.T) {
	if wrong := secretEnds(); wrong != "" {
		t.Error(wrong)
	}
}

// secretEnds returns with which users the time of the secret ends, or goes on, wrongly; empty: with none.
func secretEnds() string {
	key := shardmap.WrapKeyID{1}
	pin := shardmap.Pin{Node: 1, Key: shardmap.KeyID{1}, Serial: shardmap.Serial{7}, Root: shardmap.RootID{1}}
	roles := []shardmap.Role{
		{Name: "admin", Grants: []access.Grant{{Object: access.Object{Kind: access.Cluster}, Verbs: access.Admin}}},
		{Name: "app", Grants: []access.Grant{{Object: access.Object{Kind: access.Cluster}, Verbs: access.Read}}},
	}
	only := must(shardmap.AppendSetTLSMode(nil, &shardmap.SetTLSMode{Mode: shardmap.SecurityOnly}))
	for _, tt := range []struct {
		what  string
		users []shardmap.User
		ends  bool
	}{
		{"nobody", nil, false},
		{"a user without a role", []shardmap.User{{ID: 1, Name: "ann"}}, false},
		{"a user who may read", []shardmap.User{{ID: 1, Name: "ann", Roles: []string{"app"}}}, false},
		{"an administrator", []shardmap.User{{ID: 1, Name: "ann", Roles: []string{"admin"}}}, true},
	} {
		table := &shardmap.Table{Cluster: "w", ClusterID: 1, Index: 9, Level: shardmap.Level, Nodes: []shardmap.TableNode{{ID: 1}}}
		table.Meta.Replicas = []shardmap.TableReplica{{Node: 1, Role: shardmap.ReplicaVoter}}
		table.Security = shardmap.Security{
			Mode: shardmap.SecurityBoth, Roots: []shardmap.Root{{ID: pin.Root, State: shardmap.RootIssuing, WrapKey: key}},
			Pins: []shardmap.Pin{pin}, Roles: roles, Users: tt.users,
		}
		c, now := New(1), Now{Wall: worldStart}
		c.Table(table)
		c.Held([]shardmap.WrapKeyID{key})
		c.Lead(true)
		c.Told(1, pin.Serial, table.Index)
		ends := false
		for _, p := range drive(c, &now, 8, func(*Action) Result { return Result{} }) {
			ends = ends || string(p) == string(only)
		}
		if ends != tt.ends {
			return fmt.Sprintf("with %s the time of the secret ends: %t, want %t", tt.what, ends, tt.ends)
		}
	}
	return ""
}

// A node that no table names gets none once its certificate has ended: nobody sends it the log. It must ask each
// member that it knows of in turn, because it does not know which one leads; and nobody before that, because a
// table is on its way.
func TestRenewalWithoutATable(t *testing.T) {
	if wrong := renewsBlind(); wrong != "" {
		t.Error(wrong)
	}
}

// renewsBlind returns what such a node does wrong; empty: nothing.
func renewsBlind() string {
	before := &shardmap.Table{Index: 3, Nodes: []shardmap.TableNode{{ID: 1}, {ID: 2}, {ID: 3}}}
	before.Security = shardmap.Security{Mode: shardmap.SecurityOnly, Roots: []shardmap.Root{{ID: shardmap.RootID{1}, State: shardmap.RootIssuing}}}
	for _, c := range []struct {
		what  string
		table *shardmap.Table
		lead  raft.NodeID
	}{
		{"without a table", nil, 0},
		{"with a table of before it was taken in", before, 0},
		{"with such a table, and a leader that was heard of", before, 2},
	} {
		b := NewBearer(9, shardmap.KeyID{}, false)
		if c.table != nil {
			b.Table(c.table)
		}
		b.Leader(c.lead)
		b.Members([]raft.NodeID{1, 2, 3})
		const ends = worldStart + 3600
		b.Own(Own{Serial: shardmap.Serial{7}, Root: shardmap.RootID{1}, RenewAt: worldStart, Ends: ends})
		now := Now{Wall: ends - 60}
		if a, has, next := b.Turn(now); has || next != time.Minute {
			return fmt.Sprintf("%s, a minute before its certificate ends, it does %v, %t, and looks again after %s", c.what, a, has, next)
		}
		now.Wall = ends
		var asked []raft.NodeID
		for range 3000 {
			now.Host += 100 * time.Millisecond
			if a, has, _ := b.Turn(now); has {
				if a.Kind != Renew {
					return fmt.Sprintf("%s it wants to %s", c.what, a.Kind)
				}
				asked = append(asked, a.Node)
				b.Ended(now, a.Number, errors.New("not the leader"))
			}
		}
		if len(asked) < 6 || !slices.Equal(asked[:6], []raft.NodeID{1, 2, 3, 1, 2, 3}) {
			return fmt.Sprintf("%s it asks %v", c.what, asked)
		}
		b.Own(Own{Serial: shardmap.Serial{8}, Root: shardmap.RootID{1}, RenewAt: ends + 3600, Ends: ends + 7200})
		now.Host += time.Minute
		if a, has, _ := b.Turn(now); has {
			return fmt.Sprintf("%s it wants to %s, and has a certificate that is good", c.what, a.Kind)
		}
	}
	return ""
}

// A node that was away until its certificate had ended may have missed all who can lead since: no leader that its
// table does not name reaches it. It must ask the members that it knows, and go where they say the leader is.
func TestRenewalWithoutALeader(t *testing.T) {
	if wrong := renewsUnled(); wrong != "" {
		t.Error(wrong)
	}
}

// renewsUnled returns what such a node does wrong; empty: nothing.
func renewsUnled() string {
	table := &shardmap.Table{Index: 3, Nodes: []shardmap.TableNode{{ID: 1}, {ID: 2}, {ID: 9}}}
	table.Security = shardmap.Security{Mode: shardmap.SecurityOnly, Roots: []shardmap.Root{{ID: shardmap.RootID{1}, State: shardmap.RootIssuing}}}
	const ends = worldStart + 3600
	own := Own{Serial: shardmap.Serial{7}, Root: shardmap.RootID{1}, RenewAt: worldStart, Ends: ends}
	b := NewBearer(9, shardmap.KeyID{}, false)
	b.Table(table)
	b.Members([]raft.NodeID{1, 2})
	b.Own(own)
	now := Now{Wall: ends - 60}
	if a, has, next := b.Turn(now); has || next != time.Minute {
		return fmt.Sprintf("a minute before its certificate ends it does %v, %t, and looks again after %s", a, has, next)
	}
	now = Now{Host: time.Minute, Wall: ends}
	b.Leader(2)
	if a, has, _ := b.Turn(now); !has || a.Node != 2 {
		return fmt.Sprintf("with a leader it does %v, %t", a, has)
	}
	b.Ended(now, b.number, wire.NotLeader(0, 4, "10.0.0.4:4166"))
	b.Leader(0)
	now.Host += time.Second
	if a, has, next := b.Turn(now); has || next != now.Host+unledMax {
		return fmt.Sprintf("when it hears no leader any more it does %v, %t, and looks again after %s", a, has, next-now.Host)
	}
	now.Host += unledMax
	for _, step := range []struct {
		node   raft.NodeID
		addr   string
		answer error
	}{
		{1, "", wire.NotLeader(0, 4, "10.0.0.4:4166")},
		{4, "10.0.0.4:4166", wire.NotLeader(0, 5, "10.0.0.5:4166")}, // leads no longer: what it says is not followed
		{2, "", wire.NotLeader(0, 9, "10.0.0.9:4166")},              // this node itself
		{1, "", wire.NotLeader(0, 0, "")},
		{2, "", wire.NotLeader(0, 4, "10.0.0.4:4166")},
		{4, "10.0.0.4:4166", errors.New("not reached")},
		{1, "", wire.NotLeader(0, 5, "10.0.0.5:4166")},
		{5, "10.0.0.5:4166", nil},
	} {
		a, has, next := b.Turn(now)
		for ; !has && next < now.Host+time.Minute; a, has, next = b.Turn(now) {
			now.Host = max(next, now.Host+time.Millisecond)
		}
		if !has || a.Kind != Renew || a.Node != step.node || a.Addr != step.addr {
			return fmt.Sprintf("it does %+v, %t, and was to ask node %s at %q", a, has, step.node, step.addr)
		}
		if step.answer == nil {
			own.Serial, own.RenewAt, own.Ends = shardmap.Serial{8}, ends+3600, ends+7200
			b.Own(own)
		}
		b.Ended(now, a.Number, step.answer)
	}
	now.Host += time.Minute
	if a, has, _ := b.Turn(now); has {
		return fmt.Sprintf("it wants to %s, and has a certificate that is good", a.Kind)
	}
	return ""
}

// A node that was away gets a certificate before it has read the table that names it. Until then it takes that for one
// more reason to ask, and each answer is an entry of the meta group: it must not ask as fast as it is answered.
func TestRenewalsBeforeTheTable(t *testing.T) {
	table := &shardmap.Table{Index: 3, Nodes: []shardmap.TableNode{{ID: 9}}}
	table.Security = shardmap.Security{Mode: shardmap.SecurityOnly, Roots: []shardmap.Root{{ID: shardmap.RootID{1}, State: shardmap.RootIssuing}}}
	b := NewBearer(9, shardmap.KeyID{}, false)
	b.Table(table)
	b.Leader(1)
	own := Own{Root: shardmap.RootID{1}, RenewAt: worldStart + 1000, Ends: worldStart + 2000}
	b.Own(own)
	now := Now{Wall: worldStart}
	renews := func(within time.Duration) (n int) {
		for end := now.Host + within; now.Host < end; now.Host += 10 * time.Millisecond {
			if a, has, _ := b.Turn(now); has {
				n++
				own.Serial[0]++
				b.Own(own)
				b.Ended(now, a.Number, nil)
			}
		}
		return n
	}
	if n := renews(time.Minute); n < 2 || n > 12 {
		t.Errorf("in a minute it asks %d times, want some, and 12 at most", n)
	}
	named := *table
	named.Security.Pins = []shardmap.Pin{{Node: 9, Serial: own.Serial}}
	b.Table(&named)
	if n := renews(time.Minute); n != 0 {
		t.Errorf("once the table names its certificate it asks %d times", n)
	}
	own.RenewAt = worldStart
	b.Own(own)
	if n := renews(time.Second); n < 3 {
		t.Errorf("when another one is due it asks %d times in a second, want it as soon as before", n)
	}
}

// oneFails returns what a node does not do any more after some things have failed again and again; empty: nothing.
func oneFails(fails ...ActionKind) string {
	table := &shardmap.Table{Index: 9, Nodes: []shardmap.TableNode{{ID: 9}}}
	issuing := shardmap.Root{ID: shardmap.RootID{1}, State: shardmap.RootIssuing}
	next := shardmap.Root{ID: shardmap.RootID{2}, State: shardmap.RootTrusted}
	table.Security = shardmap.Security{Mode: shardmap.SecurityOnly, Roots: []shardmap.Root{issuing, next}}
	b := NewBearer(9, shardmap.KeyID{}, false)
	b.Table(table)
	b.Leader(1)
	b.Own(Own{Serial: shardmap.Serial{7}, Root: issuing.ID, RenewAt: 1})
	now := Now{Wall: worldStart}
	var last [2]time.Duration // when it told, and asked
	for range 3000 {
		now.Host += 100 * time.Millisecond
		a, has, _ := b.Turn(now)
		if !has {
			continue
		}
		if a.Kind == Tell {
			last[0] = now.Host
		} else {
			last[1] = now.Host
		}
		var err error
		if slices.Contains(fails, a.Kind) {
			err = errors.New("not in time")
		}
		b.Ended(now, a.Number, err)
	}
	if recent := now.Host - time.Minute; last[0] < recent || last[1] < recent {
		return fmt.Sprintf("where actions %d fail it told last after %s, and asked for a certificate after %s, of %s", fails, last[0], last[1], now.Host)
	}
	return ""
}
