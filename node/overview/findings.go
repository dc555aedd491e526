package overview

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// Limits of what is well. Beyond one there is a finding.
const (
	// silenceMax is an election timeout: a leader that is not heard for
	// longer is replaced.
	silenceMax = time.Second
	// pingMax is as long for a ping, and the pause between two of them.
	pingMax = 2 * time.Second
	// freshUptime is how long a node may take to connect to all others.
	freshUptime = 5 * time.Second
	// rttMax is the pause between two heartbeats: answers that take longer
	// eat into the election timeout. The warning ends within rttWell.
	rttMax  = 100 * time.Millisecond
	rttWell = 80 * time.Millisecond
	// syncP99Max is a disk that delays every heartbeat's worth of writes, and
	// syncStuck one on which a leader hands over. The warning about the first ends
	// within syncP99Well.
	syncP99Max  = 100 * time.Millisecond
	syncP99Well = 80 * time.Millisecond
	syncStuck   = 500 * time.Millisecond
	// freeMin is room for some segments and a small snapshot. The warning ends from
	// freeWell on.
	freeMin  uint64 = 256 << 20
	freeWell uint64 = 320 << 20
	// groupsNamedMax is how many groups one finding names.
	groupsNamedMax = 8
)

func reaches(l *wire.DoctorLink) bool {
	return l.Connected && l.PingMs <= uint64(pingMax.Milliseconds())
}

func hears(l *wire.DoctorLink) bool {
	return l.Heard && l.HeardMs <= uint64(silenceMax.Milliseconds())
}

func whyNot(l *wire.DoctorLink) string {
	switch {
	case reaches(l):
		return ""
	case l.Connected:
		return fmt.Sprintf("a ping has waited for %v", time.Duration(l.PingMs)*time.Millisecond)
	}
	return l.Why
}

// Diagnose returns what is wrong with a cluster, worst first, errors before warnings.
func (p *Patient) Diagnose() (list []Finding) {
	for _, f := range p.examine(time.Time{}, strains{}) {
		list = append(list, f.Finding)
	}
	return list
}

// examine returns what is wrong at a time, and brings the strains in all up to date.
func (p *Patient) examine(now time.Time, all strains) []judged {
	e := &examination{Patient: p, now: now, strains: all}
	for _, part := range []struct {
		look func(*examination)
		rank rank
	}{
		{(*examination).groups, rankGroups},
		{(*examination).damaged, rankDamage},
		{(*examination).silentNodes, rankNodes},
		{(*examination).links, rankLinks},
		{(*examination).disks, rankLinks},
		{(*examination).clocks, rankRest},
		{(*examination).versions, rankRest},
		{(*examination).stuck, rankRest},
		{(*examination).told, rankDamage},
		{(*examination).notes, rankRest},
	} {
		e.rank = part.rank
		part.look(e)
	}
	slices.SortStableFunc(e.found, func(a, b judged) int { return cmp.Compare(a.Severity, b.Severity) })
	return e.found
}

// examination gathers findings.
type examination struct {
	*Patient
	now     time.Time
	strains strains // those of the sample before, until each is looked at
	found   []judged
	rank    rank // of what is being looked at
}

// find adds a finding that is known by how its words begin.
func (e *examination) find(severity, remedy, format string, args ...any) {
	e.findAbout(headline(fmt.Sprintf(format, args...)), severity, remedy, format, args...)
}

// findAbout adds a finding that is known by about: its words hold a measurement, so they differ from sample to sample.
func (e *examination) findAbout(about, severity, remedy, format string, args ...any) {
	e.found = append(e.found, judged{Finding{severity, fmt.Sprintf(format, args...), remedy}, e.rank, about})
}

// strained takes a reading of what about names, adds a warning if that is under strain, and reports whether it is.
func (e *examination) strained(about string, r reading, remedy, format string, args ...any) (found bool) {
	before, known := e.strains[about]
	s := before.next(r, e.now, known)
	if e.strains[about] = s; s.found {
		e.findAbout(about, SeverityWarning, remedy, format, args...)
	}
	return s.found
}

// stuck are jobs that show no progress. Each node knows only since when it has seen that, and
// one that has just started knows nothing yet.
func (e *examination) stuck() {
	longest := make(map[uint64]wire.DoctorJob)
	for _, n := range e.nodes {
		a := e.answers[n.ID]
		if a == nil {
			continue
		}
		for _, j := range a.Stuck {
			if j.StoodMs >= longest[j.ID].StoodMs {
				longest[j.ID] = j
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(longest)) {
		j := longest[id]
		p := StuckJob(&j)
		e.find(SeverityError, p.Remedy, "%s", p.What)
	}
}

// told adds what the nodes find themselves. All of them tell what is in the table, so that is
// added once.
func (e *examination) told() {
	said := make(map[wire.DoctorFinding]bool)
	for _, n := range e.nodes {
		a := e.answers[n.ID]
		if a == nil {
			continue
		}
		for _, x := range a.Findings {
			if said[x] {
				continue
			}
			said[x] = true
			severity := SeverityWarning
			if x.Severe {
				severity = SeverityError
			}
			e.find(severity, x.Remedy, "%s", x.What)
		}
	}
}

// notes are what the nodes themselves tell: each of the services in the groups that it leads.
func (e *examination) notes() {
	for _, n := range e.nodes {
		if a := e.answers[n.ID]; a != nil {
			for _, note := range a.Notes {
				e.find(SeverityWarning, note.Remedy, "%s", note.What)
			}
		}
	}
}

// silentNodes are those that can't be asked. If others reach one, it is this
// host that does not.
func (e *examination) silentNodes() {
	for _, n := range e.nodes {
		err := e.silent[n.ID]
		if err == nil {
			continue
		}
		var by []string
		for _, o := range e.nodes {
			if l, ok := e.link(o.ID, n.ID); ok && reaches(&l) && hears(&l) {
				by = append(by, o.Name)
			}
		}
		if len(by) > 0 {
			e.find(SeverityWarning, "check whether this host can reach "+n.Addr,
				"node %s (%s) can't be asked from here, but %s can reach it: %s", n.Name, n.Addr, strings.Join(by, ", "), Unasked(err))
			continue
		}
		if replaced(err) {
			e.findAbout(aboutNode(n.ID), SeverityError, RemedyReplaced,
				"node %s (%s) is gone: another one answers there, so its data directory was emptied or replaced: %s", n.Name, n.Addr, OneLine(err))
			continue
		}
		e.findAbout(aboutNode(n.ID), SeverityError, "if muster does not run there, "+RemedyStart+"; if it runs, check whether it stands still, and whether anybody can reach "+n.Addr,
			"node %s (%s) can't be asked: %s", n.Name, n.Addr, Unasked(err))
	}
}

// Unasked is why a node gave no answer. What a caller could do about its endpoints does
// not belong there: a finding has a remedy of its own.
func Unasked(err error) string {
	if none := (*client.ErrNoEndpoint)(nil); errors.As(err, &none) {
		return "it accepts no connection at " + none.Found()
	}
	return OneLine(err)
}

// replaced reports whether what answers at a member's address is not that
// member: it says so, is of another cluster, or of none.
func replaced(err error) bool {
	var refusal *wire.Error
	errors.As(err, &refusal)
	return errors.Is(err, ErrOtherNode) || refusal != nil && (refusal.Code == wire.CodeWrongCluster || refusal.Code == wire.CodeNotReady && refusal.RetryAfterMs == 0)
}

// ErrOtherNode is why a node is silent at whose address another one answers.
var ErrOtherNode = errors.New("answers there")

// links looks at every directed pair whose both ends answer.
func (e *examination) links() {
	for _, from := range e.nodes {
		for _, to := range e.nodes {
			there, known := e.link(from.ID, to.ID)
			back, answered := e.link(to.ID, from.ID)
			if !known || !answered || e.fresh(from.ID) || e.fresh(to.ID) {
				continue
			}
			rtt := time.Duration(there.RTTMicros) * time.Microsecond
			switch {
			case !reaches(&there):
				and := ""
				if reaches(&back) {
					and = fmt.Sprintf(", though %s reaches %s: it is cut one way", to.Name, from.Name)
				}
				e.findAbout(fmt.Sprintf("way from %s to %s", from.ID, to.ID), SeverityError, fmt.Sprintf("see what keeps packets from %s to %s: a firewall, a route, a wrong --advertise", from.Name, to.Addr),
					"%s does not reach %s (%s)%s", from.Name, to.Name, cmp.Or(whyNot(&there), "no connection"), and)
			case !hears(&back):
				e.findAbout(fmt.Sprintf("silence of %s to %s", from.ID, to.ID), SeverityError, fmt.Sprintf("check whether %s stands still, and what keeps packets from it to %s", from.Name, to.Addr),
					"%s has not heard %s %s, though there is a connection", to.Name, from.Name, lastHeard(&back))
			default:
				e.strained(fmt.Sprintf("round trip from %s to %s", from.ID, to.ID), above(rtt, rttMax, rttWell),
					"see what is slow between the two; leaders are elected when an answer takes about a second",
					"%s to %s and back takes %v; heartbeats are %v apart", from.Name, to.Name, rtt, rttMax)
			}
			if a := e.answers[to.ID]; there.Start > a.Start {
				e.find(SeverityError, "stop it; then "+logstore.DoubtRemedy,
					"%s runs with start counter %d, and %s has seen %d of it: its data directory is an older copy", to.Name, a.Start, from.Name, there.Start)
			}
		}
	}
}

func lastHeard(l *wire.DoctorLink) string {
	if !l.Heard {
		return "ever"
	}
	return fmt.Sprintf("for %v", time.Duration(l.HeardMs)*time.Millisecond)
}

// fresh reports whether a node has only just been started.
func (e *examination) fresh(id raft.NodeID) bool {
	a := e.answers[id]
	return a != nil && a.UptimeMs < uint64(freshUptime.Milliseconds())
}

func (e *examination) disks() {
	for _, n := range e.nodes {
		a := e.answers[n.ID]
		if a == nil {
			continue
		}
		under, p99 := time.Duration(a.Syncs.UnderWayMs)*time.Millisecond, time.Duration(a.Syncs.P99)*time.Microsecond
		where := fmt.Sprintf("%s on %s", a.Disk.Dir, n.Name)
		switch {
		case a.Disk.Full:
			e.findAbout("full disk of "+n.ID.String(), SeverityError, "make room on that disk; the node accepts writes again by itself", "the disk of %s is full: %s free", where, ByteSize(a.Disk.Free))
		case a.Disk.Free > 0:
			e.strained("room on the disk of "+n.ID.String(), below(a.Disk.Free, freeMin, freeWell),
				"make room on that disk before it is full", "the disk of %s has %s free", where, ByteSize(a.Disk.Free))
		}
		switch {
		case under > syncStuck:
			e.findAbout("stuck disk of "+n.ID.String(), SeverityError, "check whether that disk still works; if not, stop the node", "a write to the disk of %s has waited for %v", where, under)
		default:
			e.strained("writes to the disk of "+n.ID.String(), above(p99, syncP99Max, syncP99Well),
				"see what else uses that disk, or move the data directory to a faster one",
				"one write of a hundred to the disk of %s takes %v or longer", where, p99.Round(time.Millisecond))
		}
	}
}

func (e *examination) versions() {
	by := make(map[string][]string)
	for _, n := range e.nodes {
		if a := e.answers[n.ID]; a != nil {
			by[a.Version] = append(by[a.Version], n.Name)
		}
	}
	if len(by) < 2 {
		return
	}
	var all []string
	for _, v := range slices.Sorted(maps.Keys(by)) {
		all = append(all, fmt.Sprintf("%s on %s", v, strings.Join(by[v], ", ")))
	}
	e.find(SeverityWarning, "install the same release of muster on all", "nodes run different versions: %s", strings.Join(all, "; "))
}

// damaged lists replicas that lost something.
func (e *examination) damaged() {
	for _, n := range e.nodes {
		a := e.answers[n.ID]
		if a == nil {
			continue
		}
		if a.Doubt != "" {
			e.find(SeverityError, a.DoubtRemedy, "%s may have forgotten what it promised: %s", n.Name, a.Doubt)
		}
		for _, d := range a.Damaged {
			remedy := d.Remedy
			switch {
			case remedy != "": // the node knows what came of its questions
			case d.Promises:
				remedy = "keep its data directory as it is: its replicas no longer take part in their groups, which continue only while a majority of their voters is whole without them"
			default:
				remedy = "leave it running, and check its disk: it recovers by itself"
			}
			if ofAny(&d) {
				e.find(SeverityError, remedy, "the log of %s is damaged: %s", n.Name, placed(d))
				continue
			}
			e.find(SeverityError, remedy, "group %d is damaged on %s: %s", d.Group, n.Name, placed(d))
		}
		for _, g := range a.Groups {
			if g.Stopped != "" {
				e.find(SeverityError, RemedyReport, "group %d has stopped on %s: %s", g.ID, n.Name, g.Stopped)
			}
		}
	}
}

// ward is one group, from what all its replicas say.
type ward struct {
	voters  []raft.NodeID // by the newest log that was asked
	newest  raft.LogID
	term    uint64
	working map[raft.NodeID]bool
	leaders map[uint64][]raft.NodeID // by term
}

// groups looks for a majority and a leader of each.
func (e *examination) groups() {
	wards := make(map[raft.GroupID]*ward)
	for _, g := range e.status.Groups {
		w := &ward{working: map[raft.NodeID]bool{}, leaders: map[uint64][]raft.NodeID{}}
		for _, r := range g.Replicas {
			if r.Role == shardmap.ReplicaVoter {
				w.voters = append(w.voters, r.Node)
			}
		}
		wards[g.ID] = w
	}
	for _, n := range e.nodes {
		if a := e.answers[n.ID]; a != nil {
			for i := range a.Groups {
				w := wards[a.Groups[i].ID]
				if w == nil { // the endpoint does not know it, as where its group 0 is damaged
					w = &ward{working: map[raft.NodeID]bool{}, leaders: map[uint64][]raft.NodeID{}}
					wards[a.Groups[i].ID] = w
				}
				w.take(n.ID, &a.Groups[i])
			}
		}
	}
	var minority, broken, hurt, leaderless []raft.GroupID
	for _, id := range slices.Sorted(maps.Keys(wards)) {
		w := wards[id]
		live, silent, broke := 0, 0, 0
		for _, v := range w.voters {
			if e.brokePromise(v, id) {
				broke++
			}
			if w.working[v] || e.unasked[v] {
				live++
			}
			if e.answers[v] == nil {
				silent++
			}
		}
		switch {
		case len(w.voters) == 0: // the endpoint does not know them
		case len(w.voters)-broke <= len(w.voters)/2:
			broken = append(broken, id)
		case live <= len(w.voters)/2 && silent == 0:
			hurt = append(hurt, id)
		case live <= len(w.voters)/2:
			minority = append(minority, id)
		case len(w.leaders[w.term]) == 0 && slices.ContainsFunc(w.voters, func(v raft.NodeID) bool { return e.unasked[v] }):
			// One of those that nobody has asked may lead.
		case len(w.leaders[w.term]) == 0:
			leaderless = append(leaderless, id)
		case len(w.leaders[w.term]) > 1:
			e.find(SeverityError, "stop the cluster, keep all data directories and report it", "group %d has two leaders in term %d: %s and %s",
				id, w.term, e.name(w.leaders[w.term][0]), e.name(w.leaders[w.term][1]))
		}
	}
	if len(minority) > 0 {
		e.findAbout(aboutGroups(wire.ProblemMajority, wire.SumOf(namedGroups(minority))), SeverityError,
			"start the nodes again that do not answer; what is damaged is named below", "no live majority of voters in %s", namedGroups(minority))
	}
	if len(broken) > 0 {
		e.find(SeverityError, "keep all data directories, and every copy of them that was made since the nodes last stopped: this version can't bring back a group of which a majority has lost that; groups with other voters continue",
			"a majority of voters has lost what it promised in %s, which can't continue", namedGroups(broken))
	}
	if len(hurt) > 0 {
		e.findAbout(aboutGroups(wire.ProblemMajority, wire.SumOf(namedGroups(hurt))), SeverityError, "all its nodes answer, so there is none to start: repair its replicas that are named below; it continues by itself once a majority of them is whole",
			"no live majority of voters in %s", namedGroups(hurt))
	}
	if len(leaderless) > 0 {
		e.findAbout(aboutGroups(wire.ProblemLeader, wire.SumOf(namedGroups(leaderless))), SeverityError, "wait for the election, 2 seconds; then see what is said of its replicas, and who does not reach whom", "no leader in %s", namedGroups(leaderless))
	}
}

// ofAny reports whether it is not known which replica was damaged: it may be any
// of the node's.
func ofAny(d *wire.DoctorDamaged) bool { return d.Group == 0 && d.Replica == 0 }

// brokePromise reports whether a node says that its replica of a group, or any
// of its replicas, has lost what it promised.
func (e *examination) brokePromise(node raft.NodeID, group raft.GroupID) bool {
	a := e.answers[node]
	return a != nil && slices.ContainsFunc(a.Damaged, func(d wire.DoctorDamaged) bool {
		return d.Promises && (d.Group == group || ofAny(&d))
	})
}

// take notes what a replica says.
func (w *ward) take(node raft.NodeID, g *wire.DoctorGroup) {
	w.working[node] = g.Role != 0 && g.Stopped == ""
	if len(g.Voters) > 0 && g.Last.NewerOrEqual(w.newest) {
		w.newest, w.voters = g.Last, nil
		for _, v := range g.Voters {
			w.voters = append(w.voters, v.Node)
		}
	}
	if g.Role == raft.RoleLeader {
		w.leaders[g.Term] = append(w.leaders[g.Term], node)
		w.term = max(w.term, g.Term)
	}
}

func namedGroups(groups []raft.GroupID) string {
	var all []string
	for _, g := range groups[:min(len(groups), groupsNamedMax)] {
		all = append(all, fmt.Sprint(uint16(g)))
	}
	text := "group "
	if len(groups) > 1 {
		text = "groups "
	}
	text += strings.Join(all, ", ")
	if more := len(groups) - len(all); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// placed says what is damaged, and where, unless it says so already.
func placed(d wire.DoctorDamaged) string {
	if strings.Contains(d.What, d.File) {
		return d.What
	}
	return fmt.Sprintf("%s (%s at offset %d: %s: %s)", d.What, d.File, d.Offset, d.Record, d.Reason)
}
