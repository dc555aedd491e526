package health

import (
	"fmt"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

const (
	// reportLate is when a report without an end counts as failed.
	reportLate = 10 * time.Second
	// reportPauseMin and reportPauseMax bound the time until a report is tried again, which
	// doubles with each failure. A slot that is being moved takes none for a moment.
	reportPauseMin = 200 * time.Millisecond
	reportPauseMax = 5 * time.Second
	// reportRowsMax bounds the rows of one report: with a reason in each it is a small entry,
	// however many instances a service has. The others follow when it has ended.
	reportRowsMax = 64
	// gonePause is when a deregistration is tried again that changed nothing: by the group's
	// own time it was too early.
	gonePause = time.Second
)

// pause is the time to wait after failures.
type pause struct {
	until time.Duration
	last  time.Duration
}

func (p *pause) failed(now, least, most time.Duration) {
	p.last = min(max(2*p.last, least), most)
	p.until = now + p.last
}

// proposed is one row of a report that is under way.
type proposed struct {
	check   *check
	version uint64 // of the record that it was decided by
	row     shardmap.ReportRow
}

// judge looks at the services of a group for which it is time.
func (a *Assigner) judge(now time.Duration, wall time.Time, l *led) {
	if !l.known {
		return
	}
	if l.due <= now {
		l.due = never
		for _, s := range l.order {
			if s.due <= now {
				s.due = never
				a.consider(now, wall, l, s)
			}
			l.due = min(l.due, s.due)
		}
	}
	a.wake = min(a.wake, l.due)
}

// consider proposes what of a service has changed, and has its webhook told of what was.
func (a *Assigner) consider(now time.Duration, wall time.Time, l *led, s *service) {
	a.tell(now, l, s)
	var rows []proposed
	for _, c := range s.checks {
		row, at := c.wants(now, wall)
		if row != nil {
			rows = append(rows, proposed{c, s.row.Version, *row})
		}
		s.due = min(s.due, at)
	}
	for _, h := range s.hooked {
		rows = append(rows, proposed{row: shardmap.ReportRow{Instance: h.instance, At: int64(h.count), Op: shardmap.ReportHooked}})
	}
	if len(rows) == 0 || s.report != 0 {
		return
	}
	if s.again.until > now {
		s.due = min(s.due, s.again.until)
		return
	}
	if a.reports == ReportsMax {
		a.blocked = append(a.blocked, blocked{l, s})
		return
	}
	rows = rows[:min(len(rows), reportRowsMax)]
	report := &shardmap.Report{Name: s.row.Name}
	for i := range rows {
		report.Rows = append(report.Rows, rows[i].row)
	}
	a.counts.Reports++
	s.report = a.launch(now, Action{Kind: ActPropose, Group: l.group, Term: l.term, Slot: s.row.Slot, Report: report},
		&flight{led: l, of: s, rows: rows}, reportLate)
}

// blocked is a service that waits until another one's action has ended.
type blocked struct {
	led     *led
	service *service
}

// unblock has the services looked at that wait for room.
func (a *Assigner) unblock(now time.Duration) {
	for _, b := range a.blocked {
		b.service.look(b.led, now)
	}
	a.blocked = nil
}

// reported takes how a report ended.
func (a *Assigner) reported(now time.Duration, f *flight, err error) {
	s := f.of
	a.unblock(now)
	if err != nil {
		s.again.failed(now, reportPauseMin, reportPauseMax)
		s.look(f.led, s.again.until)
		return
	}
	s.again = pause{}
	for i := range f.rows {
		p := &f.rows[i]
		switch c := p.check; p.row.Op {
		case shardmap.ReportStatus:
			c.settled.version, c.settled.status, c.settled.reason = p.version, p.row.Status, p.row.Reason
		case shardmap.ReportGone:
			c.goneAgain = now + gonePause
		case shardmap.ReportHooked:
			s.reportedHook(p.row.Instance, uint64(p.row.At))
		}
	}
	s.look(f.led, now)
}

// wants returns what is to be proposed for an instance, or nil, and when to look again.
func (c *check) wants(now time.Duration, wall time.Time) (row *shardmap.ReportRow, at time.Duration) {
	inst := c.instance
	status, reason, known, at := c.stands(now)
	gone, again := c.overdue(now)
	if at = min(at, again); gone && known && status == registry.Down {
		// It is down here and now: while nobody led, or looked, it may have come back.
		return &shardmap.ReportRow{Instance: inst.ID, Check: c.version, Status: inst.Status, At: int64(inst.SinceSlot), Op: shardmap.ReportGone}, at
	}
	if !known {
		return nil, at
	}
	if status != registry.Unknown {
		var until time.Duration
		if status, reason, until = c.flaps(now, status, reason); until != 0 {
			at = min(at, until)
		}
	}
	// The reason why an instance is up or down may differ with each result, and is not worth an
	// entry. Why nothing is known of an instance is all that there is to show of it.
	if status == inst.Status && (status != registry.Unknown || reason == inst.Reason) {
		return nil, at
	}
	if s := &c.settled; s.version == c.service.row.Version && s.status == status && s.reason == reason {
		return nil, at
	}
	return &shardmap.ReportRow{Instance: inst.ID, Check: c.version, Status: status, Reason: reason, At: wall.UnixMilli(), Op: shardmap.ReportStatus}, at
}

// stands returns how an instance stands as far as its check goes, whether that is known, and
// when to look again.
func (c *check) stands(now time.Duration) (status registry.Status, reason string, known bool, at time.Duration) {
	at = never
	switch {
	case c.broken != "":
		return registry.Unknown, registry.CutReason(c.broken), true, at
	case c.ttl():
		if c.finding != wire.FindingDown {
			if now >= c.expires {
				c.find(now, wire.FindingDown, fmt.Sprintf("no heartbeat for %v", c.whole()))
			} else {
				at = c.expires
			}
		}
	case c.full:
		return registry.Unknown, fmt.Sprintf("the node that should check it has %d checks, the most it takes", ChecksMax), true, at
	case c.node == 0 && c.homeless != never:
		wait := homelessKnown
		if c.instance.Status == registry.Unknown {
			wait = homelessMax
		}
		if now < c.homeless+wait {
			return registry.Unknown, "", false, c.homeless + wait
		}
		return registry.Unknown, registry.CutReason(c.without()), true, at
	}
	switch c.finding {
	case wire.FindingUp:
		return registry.Up, c.reason, true, at
	case wire.FindingDown:
		return registry.Down, c.reason, true, at
	case wire.FindingNone:
		return registry.Unknown, c.reason, true, at
	}
	return registry.Unknown, "", false, at
}

// flaps returns the status of an instance that was found up or down: flapping, if it changes too
// often, until its findings have stayed the same for FlapQuiet. It also returns when to look
// again; 0: not because of that. Changes are counted by the time of the slot, which is the same
// for all leaders, and not by a clock. The quiet before the end is not: while an instance flaps
// its record says nothing of findings, or each would be an entry. So it begins anew with each
// leader, which may prolong it and never cuts it short.
func (c *check) flaps(now time.Duration, found registry.Status, reason string) (registry.Status, string, time.Duration) {
	inst := c.instance
	if inst.Status == registry.Flapping {
		if quiet := c.changed + FlapQuiet; now < quiet {
			return registry.Flapping, "", quiet
		}
		return found, reason, 0
	}
	if found == inst.Status || inst.Status == registry.Unknown {
		return found, reason, 0
	}
	n := 1 // with the one at hand
	for _, slot := range c.lately {
		if c.service.since(now, slot) < FlapWindow {
			n++
		}
	}
	if n < FlapChanges {
		return found, reason, 0
	}
	return registry.Flapping, registry.CutReason(fmt.Sprintf("%d changes within %v, the last to %s: %s", n, FlapWindow, found, reason)), now + FlapQuiet
}

// follow takes the instance as its record is now. Of changes that the record had no room for, it
// remembers when they were: else an instance of a service that is near its limit would never flap.
// What this leader has not seen itself it does not know.
func (c *check) follow(inst *registry.Instance) {
	before := c.instance // of a new check the same
	c.instance = inst
	lately := make([]uint64, 0, FlapChanges-1)
	for n := inst.Count - min(inst.Count, FlapChanges-1) + 1; n <= inst.Count; n++ {
		switch first := c.oldest(); {
		case n >= first:
			lately = append(lately, inst.Changes[n-first].Slot)
		case n > before.Count:
			lately = append(lately, inst.SinceSlot) // since the last look
		default:
			// The last of c.lately is of the change before.Count.
			if back := int(before.Count - n); back < len(c.lately) {
				lately = append(lately, c.lately[len(c.lately)-1-back])
			}
		}
	}
	c.lately = lately
}

// overdue reports whether an instance has been down for so long that it is to be
// deregistered, and otherwise when to look again. It waits until the webhook was told that it is
// down, for as long as that is tried.
func (c *check) overdue(now time.Duration) (gone bool, again time.Duration) {
	s, inst := c.service, c.instance
	if s.deregister == 0 || inst.Status != registry.Down || inst.Maintenance {
		return false, never
	}
	down := s.since(now, inst.SinceSlot)
	at := max(now+s.deregister-down, c.goneAgain)
	if c.awaits() {
		// Its change would go with it. When it is told, the service is looked at again.
		at = max(at, now+hookFor+time.Millisecond-down)
	}
	if now < at {
		return false, at
	}
	return true, never
}
