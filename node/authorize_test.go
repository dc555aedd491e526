package node

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"muster/repl/rights"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

// Users of the tests. Ids are indexes of entries, so these are of the past in any table.
const (
	adminUser      shardmap.Principal = 1
	restrictedUser shardmap.Principal = 2
	noRightsUser   shardmap.Principal = 3
)

func grant(verbs, object string) access.Grant {
	v, err := access.ParseVerbs(verbs)
	o, err2 := access.ParseObject(object)
	if err := errors.Join(err, err2); err != nil {
		panic(err)
	}
	return access.Grant{Verbs: v, Object: o}
}

// someSecurity is what the table has of the tests' users.
func someSecurity() shardmap.Security {
	return shardmap.Security{
		Mode: shardmap.SecurityOnly, Rules: 3,
		Users: []shardmap.User{
			{ID: adminUser, Name: "ada", Roles: []string{"admin"}},
			{ID: restrictedUser, Name: "rob", Roles: []string{"app"}},
			{ID: noRightsUser, Name: "nil"},
		},
		Roles: []shardmap.Role{
			{Name: "admin", Grants: []access.Grant{grant("all", "key:"), grant("all", "service:"), grant("all", "db:"), grant("all", "cluster")}},
			{Name: "app", Grants: []access.Grant{grant("read,write,list,watch", "key:app/"), grant("read,write", "service:web"), grant("read,write", "db:app")}},
		},
	}
}

// enact has a node go by other users and roles, as if the table had them.
func (r *runningNode) enact(s shardmap.Security) {
	r.t.Helper()
	until(r.t, "it knows that its table is that of the meta group", func() error {
		if r.node.table.Load() == nil || s.Mode != shardmap.SecurityOff && r.node.laws.known() != rights.ContactGood {
			return errors.New("not yet")
		}
		return nil
	})
	t := *r.node.table.Load()
	t.Security = s
	r.node.laws.tableChanged(&t)
}

// as connects to a node, which takes the connection for what who and standing say.
func (r *runningNode) as(who rights.Principal, standing wire.Sender) *speaker {
	r.t.Helper()
	f := func(g *wire.Greeting) rights.Principal {
		g.Standing = standing
		return who
	}
	r.node.laws.identify.Store(&f)
	s := r.client()
	r.otherEnd(s) // by then the node has asked f
	r.node.laws.identify.Store(nil)
	return s
}

// insides gives each connection in memory an address of its own.
var insides atomic.Int64

// inside is as over a connection in memory, as what comes over HTTP has one.
func (r *runningNode) inside(who rights.Principal, standing wire.Sender) *speaker {
	r.t.Helper()
	f := func(g *wire.Greeting) rights.Principal {
		g.Standing = standing
		return who
	}
	r.node.laws.identify.Store(&f)
	defer r.node.laws.identify.Store(nil)
	conn, err := r.node.door.inside(trust.Proven{}, fmt.Sprintf("inside-%d", insides.Add(1)))
	if err != nil {
		r.t.Fatal(err)
	}
	g, err := wire.ClientHello(conn, wire.DialConfig{Purpose: wire.PurposeClient, Role: wire.RoleClient, Level: shardmap.Level})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	s := &speaker{Conn: conn, t: r.t, decoder: g.Decoder}
	r.otherEnd(s) // by then the node has asked f
	return s
}

func (r *runningNode) asUser(id shardmap.Principal) *speaker {
	r.t.Helper()
	return r.as(rights.Principal{User: id, Name: map[shardmap.Principal]string{adminUser: "ada", restrictedUser: "rob", noRightsUser: "nil"}[id]}, wire.SenderClient)
}

// asking says who a request is from, one letter each, in the order of asTable.
var asTable = []struct {
	letter   string
	who      rights.Principal
	standing wire.Sender
}{
	{"o", rights.Principal{Open: true}, wire.SenderClient},
	{"a", rights.Principal{User: adminUser, Name: "ada"}, wire.SenderClient},
	{"r", rights.Principal{User: restrictedUser, Name: "rob"}, wire.SenderClient},
	{"n", rights.Principal{User: noRightsUser, Name: "nil"}, wire.SenderClient},
	{"g", rights.Principal{}, wire.SenderGuest},
	{"w", rights.Principal{}, wire.SenderRenewer},
	{"m", rights.Principal{Node: 7}, wire.SenderClient}, // a member that asks as a client does
	{"e", rights.Principal{Name: "ada", Early: true}, wire.SenderClient},
}

const (
	anyUser  = "oarnm"
	early    = "e"   // a user of whom nothing is read yet
	onlyMine = "oar" // those to whom app/ and web are open
	onlyAll  = "oa"
)

var everySlot = []shardmap.SlotRange{{From: 0, To: shardmap.Slots - 1}}

func list(prefix string, keysOnly bool) []byte {
	l := wire.List{Group: 1, Prefix: []byte(prefix), KeysOnly: keysOnly}
	return l.Append(nil)
}

func scan(prefix string) []byte {
	s := wire.Scan{Group: 1, Prefix: []byte(prefix), PieceBytes: wire.StreamPieceMin, Window: wire.StreamPieceMin}
	return s.Append(nil)
}

func watchBody(from, to string, services bool) []byte {
	w := wire.Watch{Window: wire.StreamPieceMax, PieceBytes: wire.StreamPieceMin, Group: 1, Slots: everySlot, Now: true, Services: services}
	if !services {
		w.From, w.To = []byte(from), []byte(to)
	}
	return w.Append(nil)
}

func condSet(key string) []byte {
	c := setCommand(key, "v")
	c.Condition = shardmap.ConditionAbsent
	return write(c)
}

func txnOn(slotOf string, x shardmap.Txn) []byte {
	return write(shardmap.TxnCommand(shardmap.SlotOf([]byte(slotOf)), &x))
}

func bodyOf(b wire.Body) []byte { return b.Append(nil) }

func serviceSlot(name string) []shardmap.SlotRange {
	s := shardmap.SlotOf([]byte(name))
	return []shardmap.SlotRange{{From: s, To: s}}
}

// whoMay says of each request who may send it. It is written by hand, from what people are
// promised: what decides must not be what is asked here.
var whoMay = []struct {
	t    wire.Type
	body []byte
	may  string
}{
	{wire.TypePing, bodyOf(new(wire.Empty)), anyUser + early + "g"},

	{wire.TypeWrite, write(setCommand("app/a", "v")), onlyMine},
	{wire.TypeWrite, write(setCommand("apple", "v")), onlyAll},
	{wire.TypeWrite, write(shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotByServer, Items: [][]byte{[]byte("app/{1}"), []byte("v"), []byte("other/{1}"), []byte("v")}}), onlyAll},
	{wire.TypeWrite, write(shardmap.Command{Kind: shardmap.CommandDel, Slot: shardmap.SlotByServer, Items: [][]byte{[]byte("app/a")}}), onlyMine},
	{wire.TypeWrite, condSet("app/b"), onlyMine},
	{wire.TypeWrite, txnOn("app/a", shardmap.Txn{Then: []shardmap.Op{{Kind: shardmap.OpIncr, Key: []byte("app/a"), By: 1}}}), onlyMine},
	{wire.TypeWrite, txnOn("app/{1}", shardmap.Txn{If: []shardmap.Compare{{Kind: shardmap.CompareAbsent, Key: []byte("other/{1}")}}, Then: []shardmap.Op{{Kind: shardmap.OpSet, Key: []byte("app/{1}"), Value: []byte("v")}}}), onlyAll},
	{wire.TypeWrite, txnOn("app/{1}", shardmap.Txn{Else: []shardmap.Op{{Kind: shardmap.OpGet, Key: []byte("other/{1}")}}}), onlyAll},
	{wire.TypeWrite, write(shardmap.LeaseCommand(1, shardmap.LeaseGrant, 0, 1000)), onlyMine},
	{wire.TypeWrite, write(shardmap.DelPrefixCommand(1, []byte("app/"), 1)), onlyMine},
	{wire.TypeWrite, write(shardmap.DelPrefixCommand(1, []byte("app"), 1)), onlyAll},
	{wire.TypeWrite, write(shardmap.DelPrefixCommand(1, nil, 1)), onlyAll},
	{wire.TypeWrite, write(shardmap.ServiceDelCommand("web")), onlyMine},
	{wire.TypeWrite, write(shardmap.ServiceDelCommand("db")), onlyAll},
	{wire.TypeGet, getBody(wire.ReadLinearizable, "app/a"), onlyMine},
	{wire.TypeGet, getBody(wire.ReadLocal, "app/a", "other"), onlyAll},
	{wire.TypeList, list("app/", false), onlyMine},
	{wire.TypeList, list("app/x", true), onlyMine},
	{wire.TypeList, list("app", true), onlyAll},
	{wire.TypeList, list("", true), onlyAll},
	{wire.TypeTopology, bodyOf(new(wire.Topology)), anyUser + early},
	{wire.TypeScan, scan("app/"), onlyMine},
	{wire.TypeScan, scan("a"), onlyAll},
	{wire.TypeWatch, watchBody("app/", "app0", false), onlyMine},
	{wire.TypeWatch, watchBody("app/", "app1", false), onlyAll},
	{wire.TypeWatch, watchBody("", "", true), onlyAll},
	{wire.TypeUsage, bodyOf(&wire.Usage{}), onlyAll},
	{wire.TypeBackups, bodyOf(&wire.Backups{}), onlyAll},
	{wire.TypeSlotView, bodyOf(&wire.SlotView{Group: 1, Slots: everySlot[:1:1]}), anyUser},
	{wire.TypeTableStream, bodyOf(&wire.TableStream{PieceBytes: wire.StreamPieceMax, Window: wire.StreamPieceMax}), anyUser},
	{wire.TypeLeases, bodyOf(&wire.Leases{Group: 1, Slots: everySlot}), onlyAll},
	{wire.TypeServices, bodyOf(&wire.Services{Group: 1, Slots: everySlot}), onlyAll},
	{wire.TypeServices, bodyOf(&wire.Services{Group: 1, Slots: serviceSlot("web"), AfterSlot: serviceSlot("web")[0].From, After: []byte("web"), Exact: true}), onlyMine},
	{wire.TypeHeartbeat, bodyOf(&wire.Heartbeat{Group: 1, Name: "web", Instance: "i", Status: wire.HeartbeatUp}), onlyMine},
	{wire.TypeHeartbeat, bodyOf(&wire.Heartbeat{Group: 1, Name: "db", Instance: "i", Status: wire.HeartbeatUp}), onlyAll},
	{wire.TypeHistory, bodyOf(&wire.History{Group: 1, Key: []byte("app/x")}), onlyMine},
	{wire.TypeHistory, bodyOf(&wire.History{Group: 1, Key: []byte("x")}), onlyAll},
	{wire.TypePointsQuery, bodyOf(&wire.PointsQuery{Group: 1, Database: "app", Window: 1, Ask: wire.PointsOutline}), onlyMine},
	{wire.TypePointsQuery, bodyOf(&wire.PointsQuery{Group: 1, Database: "other", Window: 1, Ask: wire.PointsOutline}), onlyAll},
	{wire.TypeQueries, bodyOf(&wire.Queries{Action: wire.QueriesList}), anyUser},
	{wire.TypeWindow, bodyOf(&wire.Window{Policy: 1, Database: "app"}), onlyMine},
	{wire.TypeWindow, bodyOf(&wire.Window{Policy: 1, Database: "other"}), onlyAll},
	{wire.TypeHint, bodyOf(&wire.Hint{Where: wire.HintHere, Group: 1, Points: (&shardmap.PointsBody{Name: "app"}).Command().Items[0]}), onlyMine},
	{wire.TypeHint, bodyOf(&wire.Hint{Where: wire.HintHere, Group: 1, Points: (&shardmap.PointsBody{Name: "other"}).Command().Items[0]}), onlyAll},
	{wire.TypeDurable, bodyOf(&wire.Durable{Group: 1}), anyUser},
	{wire.TypeHints, bodyOf(&wire.Hints{Act: wire.HintsList, All: true}), onlyAll},
	{wire.TypeHints, bodyOf(&wire.Hints{Act: wire.HintsPurge, All: true}), onlyAll},
	{wire.TypeWrite, write((&shardmap.PointsBody{Name: "app"}).Command()), onlyMine},
	{wire.TypeWrite, write((&shardmap.PointsBody{Name: "other"}).Command()), onlyAll},
	{wire.TypeWrite, write((&shardmap.PointsDelete{Name: "app"}).Command()), onlyMine},
	{wire.TypeWrite, write((&shardmap.PointsDelete{Name: "other"}).Command()), onlyAll},
	{wire.TypeBackup, bodyOf(&wire.Backup{Group: 1, PieceBytes: wire.BackupPieceMin, Window: wire.StreamWindowMax}), onlyAll},
	{wire.TypeStatus, bodyOf(new(wire.Empty)), anyUser + early},
	{wire.TypeCounters, bodyOf(new(wire.Empty)), onlyAll + early},
	{wire.TypeLogRange, bodyOf(new(wire.LogRange)), onlyAll + early},
	{wire.TypeDoctor, bodyOf(new(wire.Empty)), onlyAll + early},
	{wire.TypeCheck, bodyOf(new(wire.Check)), onlyAll},
	{wire.TypeTable, bodyOf(new(wire.Empty)), anyUser},
	{wire.TypeOrder, bodyOf(&wire.Order{Command: []byte{1}, Plan: true}), onlyAll},
	{wire.TypeOrder, bodyOf(&wire.Order{Command: []byte{1}}), onlyAll},
	{wire.TypeAddNodes, bodyOf(&wire.AddNodes{}), onlyAll},
	{wire.TypeTrail, bodyOf(&wire.Trail{Last: 1}), onlyAll},
	{wire.TypeEnrol, bodyOf(&wire.Enrol{Node: 1, Token: 1, Request: []byte{1}, Signature: make([]byte, wire.SignatureSize)}), "g"},
	{wire.TypeLogin, bodyOf(&wire.Login{Name: "nobody", Password: []byte("p"), Request: []byte{1}}), "g"},
	{wire.TypeRenew, bodyOf(&wire.Renew{Request: []byte{1}}), anyUser + "w"},
	{wire.TypeRenew, bodyOf(&wire.Renew{User: "rob", Request: []byte{1}}), onlyAll + "w"}, // of a member its handler refuses it
	{wire.TypeWhoami, bodyOf(new(wire.Empty)), anyUser},
	{wire.TypeCanI, bodyOf(&wire.CanI{Verbs: access.Read, Kind: access.Keys}), anyUser},
	{wire.TypeCanI, bodyOf(&wire.CanI{User: "ada", Verbs: access.Read, Kind: access.Keys}), onlyAll},
	{wire.TypeAuthority, bodyOf(&wire.Authority{Action: wire.AuthorityRetire, Root: wire.RootHash{1}}), onlyAll},
}

// unauthorized reports whether a request was refused because of who sent it.
func unauthorized(err error) bool {
	var e *wire.Error
	return errors.As(err, &e) && e.Code == wire.CodeUnauthorized
}

// heldUp is unauthorized, or that the node can't tell yet.
func heldUp(err error) bool {
	var e *wire.Error
	return unauthorized(err) || errors.As(err, &e) && e.Code == wire.CodeNotReady && strings.Contains(e.State, "has not read yet who may do what")
}

// permissionsWrong has everybody send every type, over connections of their own, by the door of the protocol and by that
// of HTTP. It returns who was let through, or stopped, against what the table says; "" if nobody was.
func permissionsWrong(r *runningNode) string {
	r.enact(someSecurity())
	for door, as := range map[string]func(rights.Principal, wire.Sender) *speaker{"in memory": r.inside, "by TCP": r.as} {
		if wrong := permissionsBy(r, as); wrong != "" {
			return door + ": " + wrong
		}
	}
	return ""
}

// permissionsBy is permissionsWrong for one door.
func permissionsBy(r *runningNode, by func(rights.Principal, wire.Sender) *speaker) string {
	listed := map[wire.Type]bool{}
	for _, row := range whoMay {
		listed[row.t] = true
		for _, as := range asTable {
			if as.letter == "o" && row.t == wire.TypeOrder {
				continue // it would be carried out as an order that nobody can read; the admin's is enough
			}
			law := r.node.laws.now.Load()
			if as.who.Early {
				r.node.laws.now.Store(nil)
			}
			s := by(as.who, as.standing)
			_, _, err := s.ask(row.t, 0, row.body)
			s.Close()
			r.node.laws.now.Store(law)
			may := strings.Contains(row.may, as.letter)
			// A guest is let through, and the password is looked at.
			through := row.t == wire.TypeLogin && err != nil && strings.Contains(err.Error(), "wrong name or password")
			if (heldUp(err) && !through) == may {
				return fmt.Sprintf("%s % x of %q: got %v, and %q may", row.t, row.body, as.letter, err, row.may)
			}
		}
	}
	for _, as := range asTable {
		if as.who.Early {
			continue // it may do less than anybody
		}
		s := by(as.who, as.standing)
		for i := range wire.Type(1 << 8) {
			if listed[i] || i == wire.TypeStreamGrant || i == wire.TypeStreamCancel {
				continue
			}
			_, _, err := s.ask(i, 0, bodyOf(new(wire.Empty)))
			if e := (*wire.Error)(nil); !errors.As(err, &e) || e.Code != wire.CodeUnauthorized && e.Code != wire.CodeBadRequest {
				return fmt.Sprintf("%s of %q is in no row, and is answered with %v", i, as.letter, err)
			}
		}
		s.Close()
	}
	return ""
}

// Every type of frame, from everybody: who is let through is said twice, beside the types and here,
// and must be the same. What has no row here must be for nobody.
func TestPermissions(t *testing.T) {
	r := serving(t, defaultLimits())
	if wrong := permissionsWrong(r); wrong != "" {
		t.Error(wrong)
	}
	for i := range wire.Type(1 << 8) {
		if i.Senders()&(wire.SenderClient|wire.SenderGuest|wire.SenderRenewer) == 0 || i == wire.TypeStreamGrant || i == wire.TypeStreamCancel {
			continue
		}
		listed := false
		for _, row := range whoMay {
			listed = listed || row.t == i
		}
		if !listed {
			t.Errorf("%s, which %s may send, is in no row", i, i.Senders())
		}
	}
	s := r.asUser(restrictedUser)
	_, err := s.set("other/x", "v")
	refused(t, "a write", err, wire.CodeUnauthorized, "Write by user rob", "it needs write on key:other/x", "muster role grant ROLE write key:other/x")
	_, _, err = s.ask(wire.TypeWrite, 0, []byte{0xc0})
	refused(t, "what can't be read", err, wire.CodeBadRequest, "body of Write")
	_, err = s.get("app/a", "other/x")
	refused(t, "a get", err, wire.CodeUnauthorized, "it needs read on key:other/x")
}

// formerRules returns what still goes by rules of before, or "".
func formerRules(r *runningNode) string {
	r.enact(someSecurity())
	s, watcher := r.asUser(restrictedUser), r.asUser(restrictedUser)
	if _, err := s.set("app/a", "v"); err != nil {
		return fmt.Sprintf("before: %v", err)
	}
	if _, _, err := watcher.ask(wire.TypeWatch, 0, watchBody("app/", "app0", false)); err != nil {
		return fmt.Sprintf("before: %v", err)
	}
	less := someSecurity()
	less.Rules, less.Roles = 4, less.Roles[:1]
	r.enact(less)
	if _, err := s.set("app/a", "w"); !unauthorized(err) {
		return fmt.Sprintf("a write without a grant: %v", err)
	}
	for {
		h, body, err := watcher.read()
		if err != nil {
			return fmt.Sprintf("the watch goes on: %v", err)
		}
		if h.Type == wire.TypeWatchPiece {
			continue // of before
		}
		var end wire.StreamEnd
		if err := end.Read(body); err != nil || h.Type != wire.TypeStreamEnd || end.Reason != wire.EndRefused || end.Why.Code != wire.CodeUnauthorized {
			return fmt.Sprintf("the watch ends with %s %+v, %v", h.Type, end, err)
		}
		break
	}
	gone := less
	gone.Rules, gone.Users = 5, less.Users[:1]
	r.enact(gone)
	if _, _, err := s.ask(wire.TypeStatus, 0, bodyOf(new(wire.Empty))); !unauthorized(err) || !strings.Contains(err.Error(), "deleted") {
		return fmt.Sprintf("a question of a user that was deleted: %v", err)
	}
	return ""
}

// A change of rights reaches those who are connected: their next request, and what they have open.
func TestRightsChange(t *testing.T) {
	r := serving(t, defaultLimits())
	if wrong := formerRules(r); wrong != "" {
		t.Error(wrong)
	}
	// An administrator is refused as well.
	s := r.asUser(adminUser)
	r.enact(someSecurity())
	if err := s.works(); err != nil {
		t.Error(err)
	}
	less := someSecurity()
	less.Rules, less.Users[0].Roles = 9, nil
	r.enact(less)
	if err := s.works(); !unauthorized(err) {
		t.Errorf("an administrator without his role: %v", err)
	}
	// One that this node has not heard of yet may come to be known in a moment.
	s = r.asUser(shardmap.Principal(r.node.table.Load().Index + 100))
	refused(t, "a newer user", s.works(), wire.CodeNotReady, "has not heard yet of user")
}

// A connection that was let in while nobody had to prove who he is must end once everybody has to:
// it has proven nothing. One would doubt it, because connections are looked at when they begin.
func TestOpenConnectionsEnd(t *testing.T) {
	r := serving(t, defaultLimits())
	s := r.client()
	if err := s.works(); err != nil {
		t.Fatal(err)
	}
	r.enact(someSecurity())
	refused(t, "an open connection", s.lastWords(), wire.CodeNotReady, "connect again, with TLS and a certificate")
}

// A node that has read no table yet can't tell whose user somebody is, but that he is one. It shows him
// what it waits for, and once there is a table he comes again, and is a user as any other.
func TestEarlyUsers(t *testing.T) {
	p, e := principalOf(&wire.Greeting{Hello: wire.Hello{Role: wire.RoleClient}, Purpose: wire.PurposeClient, Peer: trust.Proven{Name: trust.Name{Kind: trust.KindUser, User: "ada"}}}, nil)
	if e != nil || p != (rights.Principal{Name: "ada", Early: true}) {
		t.Fatalf("a user before the table: %+v, %v", p, e)
	}
	r := serving(t, defaultLimits())
	law := r.node.laws.now.Swap(nil)
	s := r.as(p, wire.SenderClient)
	if _, _, err := s.ask(wire.TypeStatus, 0, bodyOf(new(wire.Empty))); err != nil {
		t.Errorf("status: %v", err)
	}
	refused(t, "a write", s.works(), wire.CodeNotReady, "has not read yet who may do what")
	r.node.laws.now.Store(law)
	r.enact(someSecurity())
	refused(t, "once there is a table", s.lastWords(), wire.CodeNotReady, "connect again")
	f := func(*wire.Greeting) rights.Principal { return p }
	r.node.laws.identify.Store(&f)
	refused(t, "taken for one after it", r.client().lastWords(), wire.CodeNotReady, "connect again")
}

// A request that a member passes on is held to the rights of the user who asked for it, not to the
// member's own.
func TestForwardAuthorized(t *testing.T) {
	if wrong := forwardsBlind(t); wrong != "" {
		t.Error(wrong)
	}
}

// forwardsBlind has a member pass on what a user may not do. It returns what was let through
// against that, or "".
func forwardsBlind(t *testing.T) string {
	nodes := founders(t, 2, defaultLimits())
	r, other := nodes[0], nodes[1].node.self()
	s, err := dialAs(nodes[1], r, r.peerHello(other.Node, other.Life().Number))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the connection counts as the member's", func() error {
		if own, settled := r.otherEnd(s).claim.state(); !own || !settled {
			return errors.New("not yet")
		}
		return nil
	})
	pass := func(p shardmap.Principal, typ wire.Type, body []byte) error {
		f := wire.Forward{Principal: p, Type: typ, Body: body}
		_, _, err := s.ask(wire.TypeForward, 0, f.Append(nil))
		return err
	}
	if err := pass(0, wire.TypeGet, getBody(wire.ReadLocal, "other")); unauthorized(err) {
		return fmt.Sprintf("in a cluster without users: %v", err)
	}
	r.enact(someSecurity())
	for _, c := range []struct {
		p    shardmap.Principal
		t    wire.Type
		body []byte
		may  bool
	}{
		{restrictedUser, wire.TypeGet, getBody(wire.ReadLocal, "app/a"), true},
		{restrictedUser, wire.TypeGet, getBody(wire.ReadLocal, "other"), false},
		{restrictedUser, wire.TypeWrite, write(setCommand("other", "v")), false},
		{restrictedUser, wire.TypeList, list("", true), false},
		{adminUser, wire.TypeGet, getBody(wire.ReadLocal, "other"), true},
		{noRightsUser, wire.TypeGet, getBody(wire.ReadLocal, "app/a"), false},
		{0, wire.TypeGet, getBody(wire.ReadLocal, "app/a"), false},
	} {
		err := pass(c.p, c.t, c.body)
		refusal := unauthorized(err)
		if c.p == 0 { // the node that passes it on has not heard yet that users are asked for
			e, ok := refusalIn(err)
			refusal = ok && e.Code == wire.CodeNotReady
		}
		if refusal == c.may {
			return fmt.Sprintf("%s passed on for user %d: %v", c.t, c.p, err)
		}
	}
	return ""
}

// A node that does not hear of the meta group's leader can't know who may do what any more: it
// refuses users after a while, ends what they have open, and goes on with its peers.
func TestCutOffRefusesUsers(t *testing.T) {
	t.Parallel()
	l := defaultLimits()
	l.cutOffAfter = 10 * aliveWithin // long enough for an election on a busy machine
	nodes := founders(t, 2, l)
	r := nodes[0]
	read := func() error {
		_, _, err := r.client().ask(wire.TypeGet, 0, getBody(wire.ReadLocal, "k"))
		return err
	}
	until(t, "the key's group says which slots it owns", read) // alone the node would never hear that
	r.enact(someSecurity())
	s := r.asUser(adminUser)
	asks := func() error {
		_, _, err := s.ask(wire.TypeWhoami, 0, bodyOf(new(wire.Empty)))
		return err
	}
	if err := asks(); err != nil {
		t.Fatal(err)
	}
	nodes[1].stop() // of two, the other one can't lead
	until(t, "it refuses users", func() error {
		err := asks()
		if e := (*wire.Error)(nil); errors.As(err, &e) && strings.Contains(e.State, "does not hear of group 0's leader") {
			return nil
		}
		return fmt.Errorf("got %v", err)
	})
	// An operator who must repair the node sees what is wrong, under the rights last known.
	for _, typ := range []wire.Type{wire.TypeStatus, wire.TypeDoctor, wire.TypeCounters} {
		if _, _, err := s.ask(typ, 0, bodyOf(new(wire.Empty))); err != nil {
			t.Errorf("%s by an administrator: %v", typ, err)
		}
	}
	_, _, err := r.asUser(restrictedUser).ask(wire.TypeDoctor, 0, bodyOf(new(wire.Empty)))
	refused(t, "Doctor by another", err, wire.CodeUnauthorized, "it needs read on cluster")
	// In a cluster without users nobody is refused for that: local reads go on.
	r.enact(shardmap.Security{})
	if err := read(); err != nil {
		t.Errorf("a read where everything is open: %v", err)
	}
}

// Users may come while the secret counts too. They must be answered for as long as there is contact: one would
// doubt it, because nobody has to be a user then.
func TestUsersBesideTheSecret(t *testing.T) {
	t.Parallel()
	l := defaultLimits()
	l.cutOffAfter = 5 * aliveWithin // long enough for a stall on a busy machine
	r := serving(t, l)
	both := someSecurity()
	both.Mode = shardmap.SecurityBoth
	r.enact(both)
	s := r.asUser(adminUser)
	for began := time.Now(); time.Since(began) < l.cutOffAfter+aliveWithin; time.Sleep(l.cutOffAfter / 10) {
		if _, _, err := s.ask(wire.TypeWhoami, 0, bodyOf(new(wire.Empty))); err != nil {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
	}
}

// With everything open, or allowed to the user, a request is not read to say so: the check is
// a few nanoseconds, of some microseconds that a write takes.
func BenchmarkAuthorize(b *testing.B) {
	r := serving(b, defaultLimits())
	r.enact(someSecurity())
	const key = "app/config/17"
	for _, request := range []struct {
		t    wire.Type
		body []byte
	}{
		{wire.TypeWrite, write(setCommand(key, string(make([]byte, 128))))},
		{wire.TypeGet, getBody(wire.ReadLinearizable, key)},
	} {
		for _, as := range asTable[:3] {
			c := newConnection(r.node, nil, &wire.Greeting{}, as.who)
			b.Run(request.t.String()+"/"+as.letter, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if e := authorize(c, wire.Header{Type: request.t}, request.body); e != nil {
						b.Fatal(e)
					}
				}
			})
		}
	}
}

// A node that has not read its table yet must survive a question about somebody's rights.
func TestCanIBeforeTheTable(t *testing.T) {
	l := laws{node: &Node{name: "n"}}
	for _, q := range []wire.CanI{{}, {User: "ann"}} {
		if _, e := l.canI(rights.Principal{Open: true}, &q); e == nil || e.Code != wire.CodeNotReady {
			t.Errorf("got %v", e)
		}
	}
}
