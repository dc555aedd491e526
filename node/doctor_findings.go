package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"muster/node/overview"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// nearPercent is how much of a limit is used when a person should know.
	nearPercent = 80
	// jumpShown is for how long it is told that the clock has jumped: a person who looks for
	// the cause of something looks that far back.
	jumpShown = time.Hour
)

// findings are what a person should look after, beside what the rest of the answer is made of:
// first what all nodes find in the table, then what this one finds of itself.
func (p *report) findings(loop *repl.Loop, t *shardmap.Table, v *view) (list []wire.DoctorFinding) {
	list = tableFindings(t)
	for _, s := range slices.Concat(p.hearsay(t), p.fencedHere(t, v.groups), p.stuckMoves(t)) {
		list = append(list, wire.DoctorFinding{Severe: true, What: s.What, Remedy: s.Remedy})
	}
	for _, s := range slices.Concat(p.trailed(), p.blockFiles()) {
		list = append(list, wire.DoctorFinding{Severe: true, What: s.What, Remedy: s.Remedy})
	}
	for _, s := range p.lostKeys() {
		list = append(list, wire.DoctorFinding{Severe: true, What: s.What, Remedy: s.Remedy})
	}
	warn := func(all ...wire.Problem) {
		for _, x := range all {
			list = append(list, wire.DoctorFinding{What: x.What, Remedy: x.Remedy})
		}
	}
	warn(p.keptAside(t, v.groups)...)
	warn(clockJumped(p.name, loop.ClockJump(), loop.Now())...)
	warn(p.door.nearFull()...)
	warn(p.nearSessions(loop, v)...)
	warn(p.nearLimits(t)...)
	warn(p.nearWatches()...)
	warn(p.hints()...)
	return list
}

// tableFindings are what each node with the table t finds in it. Fewer groups than servers are no finding: a cluster begins
// that way and works, and a warning that never goes away would hide the next one. A note of the status tells of it.
func tableFindings(t *shardmap.Table) (list []wire.DoctorFinding) {
	differing, differed := Differing(t)
	for _, x := range differing {
		list = append(list, wire.DoctorFinding{Severe: true, What: x.What, Remedy: x.Remedy})
	}
	for _, x := range slices.Concat(differed, behindLevel(t), failedBackup(t)) {
		list = append(list, wire.DoctorFinding{What: x.What, Remedy: x.Remedy})
	}
	return list
}

// failedBackup returns the failure of the last backup of the schedule, until there is a good one.
func failedBackup(t *shardmap.Table) []wire.Problem {
	_, last := t.LastBackup()
	if last.State != shardmap.JobFailed || !last.Errand.Scheduled {
		return nil
	}
	return []wire.Problem{{
		What:   fmt.Sprintf("the last backup of the schedule has failed: job %d: %s", last.ID, last.Why),
		Remedy: "make room in the directory of serve --backup-dir, or name another one; muster backup run tries again now, and muster backup list shows which backups are good",
	}}
}

// behindLevel tells that the cluster takes fewer commands than some of its nodes understand.
func behindLevel(t *shardmap.Table) []wire.Problem {
	newest := t.Level
	for i := range t.Nodes {
		newest = max(newest, t.Nodes[i].Level)
	}
	if newest == t.Level {
		return nil
	}
	var older []string
	for i := range t.Nodes {
		if n := &t.Nodes[i]; n.Level <= t.Level {
			older = append(older, n.Name)
		}
	}
	p := wire.Problem{What: fmt.Sprintf("the cluster takes commands of level %d, though some nodes understand level %d", t.Level, newest)}
	if len(older) == 0 {
		p.Remedy = "wait a moment: the level rises by itself once all nodes have announced the newer one; if it does not, " + overview.RemedyReport
		return []wire.Problem{p}
	}
	if more := len(older) - groupsNamedMax; more > 0 {
		older = append(older[:groupsNamedMax], fmt.Sprintf("%d more", more))
	}
	names := strings.Join(older, ", ")
	p.What += ": not so " + names
	p.Remedy = "start the newer muster on " + names + "; the level then rises by itself"
	return []wire.Problem{p}
}

// clockJumped tells of a jump of the clock that is not long ago.
func clockJumped(name string, j repl.ClockJump, now time.Duration) []wire.Problem {
	ago := now - j.At
	if j.Count == 0 || ago > jumpShown {
		return nil
	}
	way := "ahead"
	if j.By < 0 {
		way = "back"
	}
	return []wire.Problem{{
		What: fmt.Sprintf("the clock of %s jumped %s by %s, %s ago: somebody set it, or the machine stood still; %d jumps since the start",
			name, way, j.By.Abs().Round(time.Millisecond), ago.Round(time.Second), j.Count),
		Remedy: "let chronyd or ntpd keep that clock right in small steps, and see whether the machine was suspended; no data depends on it, the times in logs do",
	}}
}

// near reports whether so much of a limit is used that a person should know.
func near(used, limit int) bool { return limit > 0 && used*100 >= limit*nearPercent }

// nearFull tells which kinds of connections are near their limits.
func (d *door) nearFull() (list []wire.Problem) {
	d.mu.Lock()
	clients, peers, bulks := d.seats.clients, d.seats.peers, d.seats.bulks
	d.mu.Unlock()
	l := &d.node.limits
	files := "raise how many files the process may have open (ulimit -n, or LimitNOFILE= of its unit) if it may have fewer than 20000, and start it again"
	for _, c := range []struct {
		what        string
		used, limit int
		remedy      string
	}{
		{"connections of clients", clients, l.clients, "see with ss -tnp on that host which programs open so many, and let each keep one client; " + files},
		{"connections of peers", peers, l.peers, files},
		{"connections for snapshots", bulks, l.bulks, files},
	} {
		if near(c.used, c.limit) {
			list = append(list, wire.Problem{What: fmt.Sprintf("%s has %d %s, and refuses more than %d", d.node.name, c.used, c.what, c.limit), Remedy: c.remedy})
		}
	}
	return list
}

// nearSessions tells which groups that are led here remember almost as much of sessions as
// they can.
func (p *report) nearSessions(loop *repl.Loop, v *view) (list []wire.Problem) {
	inTurn(loop, func(h *repl.Host) {
		for i := range v.groups {
			g := v.groups[i].Replica.Group
			if m, ok := h.Machine(g).(*machine.Map); ok && v.groups[i].Status.Role == raft.RoleLeader {
				all, slot, of := shardmap.SessionRooms(m.State)
				list = append(list, sessionRooms(g, all, slot, of)...)
			}
		}
	})
	return list
}

func sessionRooms(g raft.GroupID, all, slot shardmap.Room, of shardmap.Slot) (list []wire.Problem) {
	const keep = "let programs keep one client each, in place of a new one for each write: a client is remembered for 10 minutes after its last write; "
	if near(all.Used, all.Max) {
		list = append(list, wire.Problem{What: fmt.Sprintf("group %d remembers %d %s, and refuses writes of new clients at %d", g, all.Used, all.What, all.Max),
			Remedy: keep + "muster group create and muster slot rebalance spread the slots over more groups"})
	}
	if near(slot.Used, slot.Max) {
		list = append(list, wire.Problem{What: fmt.Sprintf("slot %d of group %d remembers %d %s, and refuses writes of new clients at %d", of, g, slot.Used, slot.What, slot.Max),
			Remedy: keep + "spread the keys of that slot, which share one {tag} or are one key, over more slots"})
	}
	return list
}

// nearWatches tells whether the watches of clients are near their limits.
func (p *report) nearWatches() []wire.Problem {
	rooms := make(chan machine.WatchRooms, 1)
	p.watches(func(r machine.WatchRooms) { rooms <- r })
	patience := time.NewTimer(callTimeout)
	defer patience.Stop()
	select {
	case r := <-rooms:
		return watchRooms(p.name, r)
	case <-patience.C: // the node ends
		return nil
	}
}

func watchRooms(name string, r machine.WatchRooms) (list []wire.Problem) {
	if near(r.Watches, r.WatchesMax) {
		list = append(list, wire.Problem{What: fmt.Sprintf("%s has %d watches, and refuses more than %d", name, r.Watches, r.WatchesMax),
			Remedy: "let programs watch a prefix in place of many keys, and give other nodes first to some in --endpoints"})
	}
	if near(r.Behind, r.BehindMax) {
		list = append(list, wire.Problem{
			What:   fmt.Sprintf("a watch of group %d at %s has %d bytes of events to read, of %d that are kept: it ends once some of them are gone", r.Group, name, r.Behind, r.BehindMax),
			Remedy: "see why its client reads so slowly: let it watch fewer keys, or do its work beside the reading",
		})
	}
	return list
}

// inTurn has f called in a turn of the host. It reports false if that does not come within
// callTimeout: the loop has ended, or reads a replica that was just mended. Then f is not
// called any more.
func inTurn(loop *repl.Loop, f func(h *repl.Host)) bool {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return inTurnWithin(ctx, loop, f)
}

// inTurnWithin is [inTurn] until ctx ends.
func inTurnWithin(ctx context.Context, loop *repl.Loop, f func(h *repl.Host)) bool {
	done, late := make(chan struct{}), make(chan struct{}, 1)
	late <- struct{}{}
	loop.Post(func(h *repl.Host) {
		select {
		case <-late: // it is not late
			f(h)
			close(done)
		default:
		}
	})
	select {
	case <-done:
		return true
	case <-loop.Over():
	case <-ctx.Done():
	}
	select {
	case <-late:
		return false
	case <-done: // it began in time
		return true
	}
}
