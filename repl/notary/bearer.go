package notary

import (
	"errors"
	"time"

	"muster/raft"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// tellEvery is how often a member says what it has while somebody waits for that.
	tellEvery = time.Second
	// wishesMax bounds the attempts to get the first user's certificate: where its directory can't
	// be written to, the cluster goes on without.
	wishesMax = 8
	// bearPauseMin and bearPauseMax bound the pause between two attempts to get a certificate;
	// it doubles from the one to the other.
	bearPauseMin = 100 * time.Millisecond
	bearPauseMax = 10 * time.Second
	// namesAgain is how long a node waits that has asked a leader for a certificate with the host of its address in the table
	// and got one without, as from a leader of an older release, before it asks the same leader again.
	namesAgain = time.Hour
	// unledMax is how long a node whose certificate has ended waits to hear from a leader of the meta group, before it asks
	// members for another one. Where all certificates have ended, the members elect a leader in less.
	unledMax = 10 * time.Second
	// linkMax is how long a member waits, once all have certificates, until its connections to others are by
	// those, before it says that it has its own: another one may be unable to show its own.
	linkMax = 3 * time.Second
)

// Own is the certificate that a node has in its file.
type Own struct {
	Serial  shardmap.Serial
	Root    shardmap.RootID // zero: there is none
	Host    trust.Host      // that it names; zero: none
	RenewAt int64           // Unix seconds, by the clock of who made it
	Ends    int64           // Unix seconds: from then on others hear nothing by it but that another one is wanted
}

// nameless is a leader that gave a certificate while this node wanted one that names its host.
type nameless struct {
	start uint64        // of the leader: after a restart it may run another release
	until time.Duration // it is not asked again before then; on the host's clock
}

// hint is where the leader of the meta group is, by the word of a member that does not lead it.
type hint struct {
	leader raft.NodeID // zero: there is none
	addr   string
}

// Bearer sees to it that a node has a certificate. It must be used by one goroutine at a time.
type Bearer struct {
	self  raft.NodeID
	key   shardmap.KeyID // of this node
	table *shardmap.Table
	index uint64 // of the table by which handshakes trust
	own   Own

	// outdated counts this node's connections to other members that were made by the secret, and would be
	// cut with the end of its time.
	outdated int
	linkBy   time.Duration // until when their replacement is waited for; 0: not all members have certificates

	// members are those that this node knows of, also without a table; asked counts the times that one of them was
	// asked for a certificate because none is known to lead.
	members []raft.NodeID
	asked   int
	hint    hint // what the one that was asked last has said
	roaming bool // what is under way goes to the next member, who may say where the leader is

	unled   bool          // no leader of the meta group is known
	unledAt time.Duration // since when, on the host's clock

	naming trust.Host  // of the address in the table when a certificate was last asked for
	giver  raft.NodeID // who was asked
	gives  nameless    // what is noted once giver gives a certificate
	named  trust.Host  // like naming, of the certificate that was last taken
	// unnamed has the nodes that gave certificates while the host was named.
	unnamed map[raft.NodeID]nameless

	leader  raft.NodeID // of the meta group; 0: not known
	wishing bool        // the first user's certificate is to be had
	wishes  int         // attempts

	held  []shardmap.WrapKeyID                 // wrapping keys in files here
	sure  map[shardmap.WrapKeyID][]raft.NodeID // voters that have said that they hold one, since this node votes no more
	turns int                                  // of whom to give a key

	under   ActionKind // what is under way; 0: nothing
	parting Action     // that, if it is about a wrapping key
	number  uint64
	until   time.Duration // when it counts as failed
	at      time.Duration // when the next attempt may begin
	pause   time.Duration
	tellAt  time.Duration
	toldOf  Own           // what was said last
	toldTo  raft.NodeID   // to whom
	toldFor uint64        // by which table
	behind  time.Duration // the pause after a certificate that the table here does not name yet
	unheard bool          // the last attempt to say it failed, and no other one to get a certificate was made since
}

// bugWordFirst is planted to show that its test finds it: a node asks for no certificate before the leader has
// heard what it trusts.
const bugWordFirst = "word before a certificate, for ever"

// bugTableFirst is planted to show that its test finds it: a node waits for a table that names it before it asks
// for another certificate, and gets none while its certificate has ended.
const bugTableFirst = "no certificate before a table"

// bugLeaderFirst is planted to show that its test finds it: a node whose certificate has ended waits for a leader that
// its table names, and asks nobody else.
const bugLeaderFirst = "no certificate before a leader"

// NewBearer makes the core of a node with that key. wishing: it is one of those that found the
// cluster, and the user that runs it is to have a certificate.
func NewBearer(self raft.NodeID, key shardmap.KeyID, wishing bool) *Bearer {
	return &Bearer{self: self, key: key, wishing: wishing}
}

// Table hands in a table that handshakes go by from now on.
func (b *Bearer) Table(t *shardmap.Table) { b.table, b.index = t, t.Index }

// Own says which certificate is in the node's file.
func (b *Bearer) Own(own Own) { b.own = own }

// Members says which other members this node knows of, by whatever tells it.
func (b *Bearer) Members(all []raft.NodeID) { b.members = all }

// Outdated says how many connections of this node to other members are still to be replaced by such on
// which both have shown their certificates.
func (b *Bearer) Outdated(n int) { b.outdated = n }

// Leader says which node leads the meta group; 0: none that is known.
func (b *Bearer) Leader(n raft.NodeID) { b.leader = n }

// Turn returns what is to be done now, and when it is to be called again at the latest. There is
// one thing at a time.
func (b *Bearer) Turn(now Now) (a Action, has bool, next time.Duration) {
	if b.under != 0 && now.Host >= b.until {
		b.Ended(now, b.number, errNoAnswer)
	}
	if b.under != 0 {
		return a, false, b.until
	}
	blind, next := b.blind(now)
	wants := Renew
	switch {
	case blind:
	case b.table == nil || b.leader == 0:
		return a, false, next // there will be news
	default:
		var due time.Duration
		if wants, due = b.wants(now); wants == 0 {
			if a, has = b.part(); !has {
				return a, false, min(next, due)
			}
			wants = a.Kind
		}
	}
	if now.Host < b.at {
		return Action{}, false, b.at
	}
	b.roaming = false
	switch {
	case blind:
		a = b.askSomebody()
	case a.Kind == 0:
		a = Action{Kind: wants, Node: b.leader}
	}
	b.number++
	b.under, b.until = wants, now.Host+actionMax
	a.Number = b.number
	b.parting = a
	if wants == Renew {
		b.naming, b.giver, b.gives = b.host(), a.Node, nameless{start: b.startOf(a.Node)}
	}
	if wants == Tell {
		a.Serial, a.Index = b.own.Serial, b.index
		b.toldOf, b.toldTo, b.toldFor, b.tellAt = b.own, b.leader, b.index, now.Host+tellEvery
	}
	return a, true, b.until
}

// lookAt returns when to look at the wall clock again for something that is due at a time by it. That clock may be
// set, so it is looked at within the hour.
func lookAt(now Now, due int64) time.Duration {
	if left := time.Duration(due - now.Wall); left < time.Duration(never/time.Second) {
		return now.Host + min(left*time.Second, time.Hour)
	}
	return never
}

// blind reports whether this node has to ask for another certificate without knowing whom; if not, when that is to be
// asked again. Once its certificate has ended nobody sends it the log of the meta group, nor hears its replicas, and no
// leader that its table does not name can reach it. So it asks one member after the other, if its table does not name
// itself, because it stopped after it was taken in and before it had read that log; or if it knows of no leader for a
// while, because it was away while others came to lead. While its certificate is good it gets that log.
func (b *Bearer) blind(now Now) (bool, time.Duration) {
	if unled := b.leader == 0; unled != b.unled {
		b.unled, b.unledAt = unled, now.Host
	}
	switch {
	case b.own.Root == (shardmap.RootID{}) || len(b.members) == 0 || bug(bugTableFirst):
		return false, never
	case now.Wall < b.own.Ends:
		return false, lookAt(now, b.own.Ends)
	}
	if b.table == nil {
		return true, never
	}
	if _, named := b.table.Node(b.self); !named {
		return true, never
	}
	if !b.unled || bug(bugLeaderFirst) {
		return false, never
	}
	asks := b.unledAt + unledMax
	return now.Host >= asks, asks
}

// askSomebody asks for a certificate without knowing who leads: where the last one that was asked has said, or else
// the next member. A hint does not follow another one: two that each take the other for the leader would go on for ever.
func (b *Bearer) askSomebody() Action {
	h := b.hint
	b.hint, b.roaming = hint{}, h.leader == 0
	if h.leader != 0 {
		return Action{Kind: Renew, Node: h.leader, Addr: h.addr}
	}
	next := b.members[b.asked%len(b.members)]
	b.asked++
	return Action{Kind: Renew, Node: next}
}

// wants returns what is to be done next, or when that is to be asked again.
func (b *Bearer) wants(now Now) (ActionKind, time.Duration) {
	s := &b.table.Security
	issuing, ok := s.Issuing()
	if _, member := b.table.Node(b.self); !ok || !member || s.Mode == shardmap.SecurityOff {
		return 0, never
	}
	// Before a certificate: where the key of the issuing root is lost, none is made until the next root issues, and
	// that waits for this word. But a node whose certificate has ended is heard only once it has another one: so
	// where the word fails, a certificate has its turn.
	if s.Mode == shardmap.SecurityOnly && b.awaited() && !b.unheard && !b.toldOfLate(now) {
		return Tell, 0
	}
	pin, pinned := s.Pin(b.self)
	if b.own.Root != issuing.ID || now.Wall >= b.own.RenewAt || !pinned || pin.Key != b.key || pin.Serial != b.own.Serial {
		return Renew, 0
	}
	b.behind = 0
	again := b.misnamed(now)
	if again == 0 {
		return Renew, 0
	}
	next := min(again, lookAt(now, b.own.RenewAt))
	switch {
	case !b.awaited():
		return 0, next
	case s.Mode == shardmap.SecurityBoth && b.wishing && b.wishes < wishesMax:
		return Wish, 0
	}
	if s.Mode == shardmap.SecurityBoth {
		if until := b.links(now, &issuing); until != 0 {
			return 0, min(next, until)
		}
	}
	if b.toldOfLate(now) {
		return 0, b.tellAt
	}
	return Tell, 0
}

// bugHostStays is planted to show that its test finds it: a node that has moved keeps the certificate of its former
// address.
const bugHostStays = "host of a former address"

// host is that of this node's address in the table.
func (b *Bearer) host() trust.Host {
	if b.table == nil {
		return ""
	}
	row, _ := b.table.Node(b.self)
	return trust.HostOf(row.Addr)
}

// startOf is the number of a node's start, as the table has it.
func (b *Bearer) startOf(n raft.NodeID) uint64 {
	if b.table == nil {
		return 0
	}
	row, _ := b.table.Node(n)
	return row.Start
}

// misnamed returns when to ask for another certificate because this one does not name the host of the address in the
// table; 0: now.
func (b *Bearer) misnamed(now Now) time.Duration {
	host := b.host()
	if b.own.Host == host || bug(bugHostStays) {
		return never
	}
	if gave := b.unnamed[b.leader]; b.named == host && gave.start == b.startOf(b.leader) && now.Host < gave.until {
		return gave.until
	}
	return 0
}

// toldOfLate reports whether the leader was told shortly before what it would be told now.
func (b *Bearer) toldOfLate(now Now) bool {
	return b.toldOf == b.own && b.toldTo == b.leader && b.toldFor == b.index && now.Host < b.tellAt
}

// links returns until when this node waits for its connections to others before it says what it has; 0: it does
// not. When all members have said it, what was made by the secret is cut everywhere at once, and if that were
// the members' own connections, each group would lose its leader.
func (b *Bearer) links(now Now, issuing *shardmap.Root) time.Duration {
	s := &b.table.Security
	if s.Roots[len(s.Roots)-1].State == shardmap.RootTrusted {
		return 0 // another root is to issue first, and waits for this word
	}
	for i := range b.table.Nodes {
		if pin, ok := s.Pin(b.table.Nodes[i].ID); !ok || pin.Root != issuing.ID {
			b.linkBy = 0
			return never // the word would change nothing yet
		}
	}
	if b.linkBy == 0 {
		b.linkBy = now.Host + linkMax
	}
	if b.outdated == 0 || now.Host >= b.linkBy {
		return 0
	}
	return b.linkBy
}

// awaited reports whether the leader waits for what members have: to end the time of the
// secret, or to have a new root issue.
func (b *Bearer) awaited() bool {
	s := &b.table.Security
	if s.Mode == shardmap.SecurityBoth {
		return true
	}
	return s.Roots[len(s.Roots)-1].State == shardmap.RootTrusted
}

// Ended says how an action has ended. Before it, [Bearer.Own] says what is in the file now.
func (b *Bearer) Ended(now Now, number uint64, err error) {
	if number != b.number || b.under == 0 {
		return
	}
	kind := b.under
	b.under = 0
	switch kind {
	case Tell:
		b.unheard = err != nil && !bug(bugWordFirst)
	case Renew:
		b.unheard = false
	}
	switch {
	case err == nil && kind == Wish:
		b.wishing = false
	case kind == Wish:
		b.wishes++
	}
	if kind == Hand || kind == Drop {
		b.parted(&b.parting, err)
	}
	if err == nil {
		b.at, b.pause = 0, 0
		if kind == Renew {
			// The table here may be behind the answer, by a moment or, on a node that was away, by all that it missed.
			// Each certificate is an entry of the meta group, so they must not follow each other as fast as they come.
			b.behind = min(max(2*b.behind, bearPauseMin), bearPauseMax)
			b.at = now.Host + b.behind
			if b.named != b.naming || b.unnamed == nil {
				b.named, b.unnamed = b.naming, make(map[raft.NodeID]nameless)
			}
			b.gives.until = now.Host + namesAgain
			b.unnamed[b.giver] = b.gives
		}
		return
	}
	b.pause = min(max(2*b.pause, bearPauseMin), bearPauseMax)
	b.at = now.Host + b.pause
	var refusal *wire.Error
	if b.roaming && errors.As(err, &refusal) && refusal.Code == wire.CodeNotLeader && refusal.LeaderNode != 0 && refusal.LeaderNode != b.self {
		b.hint = hint{refusal.LeaderNode, refusal.LeaderAddr}
		b.at = now.Host + bearPauseMin
	}
}

// Wishing reports whether the first user's certificate is still to be had.
func (b *Bearer) Wishing() bool { return b.wishing && b.wishes < wishesMax }
