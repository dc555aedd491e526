package repl

// A host whose groups all rest only has to say that it is there. A
// process that does that ten times a second, and looks at its clock twenty times,
// never lets its processor sleep. So an idle host gets its ticks less often, several
// at a time, and its heartbeats are as far apart as an election timeout allows.
const (
	// idleBeatsPerTimeout is how often an idle host sends heartbeats in an
	// election timeout. The other side notices its silence as soon as before, but
	// fewer heartbeats may be late.
	idleBeatsPerTimeout = 4
	// idleBeatSlack: a host that another one's heartbeat has woken sends its own
	// this many ticks early. So the nodes of an idle cluster come to speak at the
	// same time, and each wakes once for all.
	idleBeatSlack = 2
)

// IdleTicks is how many ticks an idle host may be given at once.
func (h *Host) IdleTicks() int { return max(h.cfg.ElectionTicks/idleBeatsPerTimeout, 1) }

// Idle reports whether the host needs no ticks for [Host.IdleTicks]: all of
// its groups rest, and nothing is under way. Call it after a turn.
func (h *Host) Idle() bool {
	return h.awake == 0 && len(h.mending.list) == 0 && !h.underWay && !h.chores.working && h.Audits.fences == 0 && h.fetching.underWay == 0
}

// ticks is how many ticks lie between two heartbeats to a node.
func (a *heartbeats) ticks() uint64 {
	ticks := a.host.cfg.HeartbeatTicks
	if a.host.Idle() {
		ticks = max(ticks, a.host.IdleTicks()-idleBeatSlack)
	}
	return uint64(ticks)
}

// set notes whether a group needs ticks.
func (r *resting) set(quiet bool) {
	if quiet == r.quiet {
		return
	}
	r.quiet = quiet
	if quiet {
		r.group.host.awake--
	} else {
		r.group.host.awake++
	}
}
