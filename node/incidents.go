package node

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"muster/logstore"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// tellPauseMin and tellPauseMax bound the pause between two attempts to tell the meta
	// group of an incident; it doubles from the one to the other.
	tellPauseMin = 100 * time.Millisecond
	tellPauseMax = 5 * time.Second
	// never is a time that does not come.
	never = time.Duration(1<<63 - 1)
)

// saying is what a node has the table say of it.
type saying struct {
	announcer announcer // who it is
	incidents incidents // which of its replicas differ
}

// incidents tells the meta group which replicas of this node differ, until its table says
// so, and hears from the table when a person has seen it.
type incidents struct {
	node   *Node
	source *hostIncidents // those that outlive the process; set once the host runs
	core   incidentCore   // owned by run

	mail mailbox     // for run
	open atomic.Bool // the core waits for something in the table
}

func (s *incidents) init(n *Node) { s.node, s.mail = n, newMailbox() }

// found is told that a replica here differs, or was rebuilt.
func (s *incidents) found(i shardmap.Incident) {
	s.mail.post(func(time.Duration) { s.take(&i) })
}

// tableChanged is told of each new table.
func (s *incidents) tableChanged() {
	if s.open.Load() {
		s.mail.rouse()
	}
}

func (s *incidents) run() {
	n, loop := s.node, s.node.running()
	for _, i := range s.source.incidents() {
		s.take(&i)
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for s.mail.wait(n.ctx, timer) {
		for _, f := range s.mail.take() {
			f(loop.Now())
		}
		t := n.table.Load()
		if t == nil {
			t = new(shardmap.Table)
		}
		say, forget, next := s.core.turn(loop.Now(), t)
		for _, r := range forget {
			s.source.forget(r)
		}
		if say != nil {
			n.ended.Go(func() { s.act(loop, *say) })
		}
		s.open.Store(s.core.waits())
		timer.Reset(next - loop.Now())
	}
}

// take notes what was found, and logs what is new of it.
func (s *incidents) take(i *shardmap.Incident) {
	cutToTable(i)
	if !s.core.found(i) {
		return
	}
	attrs := []any{"group", i.Group, "replica", i.Replica, "at", i.At, "found", i.Found, "parts", i.PartsCount, "what", i.What}
	if i.State == shardmap.IncidentRebuilt {
		s.node.log.Info("replica rebuilt", attrs...)
		return
	}
	s.node.log.Error("replica differs", attrs...)
}

// cutToTable cuts what an incident says to what the table has room for.
func cutToTable(i *shardmap.Incident) {
	i.PartsCount = max(i.PartsCount, uint32(len(i.Parts)))
	i.Parts = i.Parts[:min(len(i.Parts), shardmap.IncidentPartsMax)]
	i.What = strings.ToValidUTF8(i.What[:min(len(i.What), shardmap.TableTextMax)], "")
}

// act tells the meta group once.
func (s *incidents) act(loop *repl.Loop, i shardmap.Incident) {
	ctx, cancel := context.WithTimeout(s.node.ctx, callTimeout)
	defer cancel()
	index, err := s.tell(ctx, loop, &i)
	if err != nil && s.node.ctx.Err() == nil {
		s.node.log.Info("incident not told yet", "group", i.Group, "replica", i.Replica, "err", err)
	}
	s.mail.post(func(now time.Duration) { s.core.ended(now, &i, index, err) })
}

// tell puts an incident into the meta group's log, and returns the index of an entry as of
// which the table has it.
func (s *incidents) tell(ctx context.Context, loop *repl.Loop, i *shardmap.Incident) (uint64, error) {
	command, err := shardmap.AppendNoteIncident(nil, &shardmap.NoteIncident{Incident: *i})
	if err != nil {
		return 0, err
	}
	return tellMeta(ctx, s.node, loop, command)
}

// tellMeta puts what a node says of itself into the meta group's log, whoever leads it, and
// returns the index of an entry as of which the table has it.
func tellMeta(ctx context.Context, n *Node, loop *repl.Loop, command []byte) (uint64, error) {
	lead, ok := metaLead(loop)
	switch {
	case !ok:
		return 0, errStopped
	case lead.node == 0:
		return 0, errors.New("group 0 has no leader")
	}
	if lead.node == n.self().Node {
		err := n.moves.propose(ctx, loop, command)
		return n.table.Load().Index, err
	}
	var a wire.StepAnswer
	err := n.caller.call(ctx, lead.node, n.addrOf(lead.node), wire.RolePeer, wire.TypeStep, &wire.Step{Incarnation: n.table.Load().Meta.Incarnation, Command: command}, &a)
	return a.ID.Index, err
}

// incidentCore decides what is to be said of the replicas here that differ. It starts no
// goroutine and knows no clock.
type incidentCore struct {
	known []*knownIncident // in the order in which they were found
	under bool             // one is being told
}

// knownIncident is an incident of a replica here.
type knownIncident struct {
	now     shardmap.Incident // as it was found last
	settled bool              // the meta group has taken it as it is now, or never will
	index   uint64            // the table of which has it, if settled
	at      time.Duration     // when it is told again
	pause   time.Duration     // after that
}

// found takes an incident as it is now. It reports whether that is news.
func (c *incidentCore) found(i *shardmap.Incident) (news bool) {
	for _, k := range c.known {
		if k.now.IncidentKey != i.IncidentKey {
			continue
		}
		if k.now.State == i.State && k.now.Found == i.Found || k.now.State == shardmap.IncidentRebuilt {
			return false
		}
		*k = knownIncident{now: *i}
		return true
	}
	c.known = append(c.known, &knownIncident{now: *i})
	return true
}

// turn returns what is to be told to the meta group now, which replicas' incidents a person
// has seen, and when to call it again at the latest. One is told at a time; each ends with
// [incidentCore.ended].
func (c *incidentCore) turn(now time.Duration, t *shardmap.Table) (say *shardmap.Incident, forget []logstore.Replica, next time.Duration) {
	next = never
	var stay []*knownIncident
	for _, k := range c.known {
		row, has := t.IncidentOf(k.now.IncidentKey)
		if has && (row.State == shardmap.IncidentRebuilt || row.State == k.now.State && row.Found == k.now.Found) {
			k.settled, k.index = true, 0
		}
		// One that the table has no more was the oldest of many, and nobody will
		// acknowledge it.
		seen := has && row.Acknowledged || !has && k.settled && t.Index >= k.index
		if k.settled && seen && k.now.State == shardmap.IncidentRebuilt {
			forget = append(forget, logstore.Replica{Group: k.now.Group, Incarnation: k.now.Incarnation, ID: k.now.Replica})
			continue
		}
		stay = append(stay, k)
		switch {
		case k.settled || c.under || t.Level < shardmap.AuditLevel:
		case k.at > now:
			next = min(next, k.at)
		default:
			c.under, say = true, &k.now
		}
	}
	c.known = stay
	return say, forget, next
}

// ended says what became of telling i: the meta group took it, and the table has it as of
// index, or an error.
func (c *incidentCore) ended(now time.Duration, i *shardmap.Incident, index uint64, err error) {
	c.under = false
	for _, k := range c.known {
		if k.now.IncidentKey != i.IncidentKey || k.now.State != i.State || k.now.Found != i.Found {
			continue // it has changed meanwhile, and is told as it is now
		}
		refusal, refused := refusalIn(err)
		switch {
		case err == nil:
			k.settled, k.index = true, index
		case refused && (refusal.Code == wire.CodeNotFound || refusal.Code == wire.CodeConflict || refusal.Code == wire.CodeBadRequest):
			// Mostly the group is gone, or another one: there is nothing to look after.
			k.settled, k.index = true, 0
		default:
			k.pause = min(max(2*k.pause, tellPauseMin), tellPauseMax)
			k.at = now + k.pause
		}
	}
}

// waits reports whether a new table may make a difference.
func (c *incidentCore) waits() bool { return len(c.known) > 0 }
