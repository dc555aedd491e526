package shardmap

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"muster/raft"
)

// tableModel is the slow and obvious version of a table: Go maps, and each rule told
// once more in other words.
type tableModel struct {
	level    uint32
	nodes    map[raft.NodeID]*modelNode
	removed  map[raft.NodeID]bool
	groups   map[raft.GroupID]*modelGroup
	had      map[raft.GroupID]bool // groups that were removed, from level 5 on
	settings map[string]string
	jobs     map[uint64]*Job
	slots    [Slots]raft.GroupID
	epoch    uint64
	moves    map[modelMove]*modelMoving // that are not closed

	incidents map[string]*Incident // by what they are known by
	incidentN uint64               // that there ever were

	security *modelSecurity
	catalog  *modelCatalog
}

type modelNode struct {
	name, addr       string
	role             NodeRole
	level            uint32
	start            uint64
	draining         bool
	announced, given map[string]string
	weight           uint32
}

type modelGroup struct {
	incarnation    raft.Incarnation
	seen           raft.LogID
	next           raft.ReplicaID
	replicas       map[raft.ReplicaID]TableReplica
	preferred      raft.NodeID
	byHand, pinned bool
}

// modelOutcome is what becomes of a command.
type modelOutcome int

const (
	outcomeRefused modelOutcome = iota
	outcomeSame                 // it is so already
	outcomeChanged
)

// modelOf returns the model of a table that was just founded.
func modelOf(t *Table) *tableModel {
	m := &tableModel{level: t.Level, nodes: map[raft.NodeID]*modelNode{}, removed: map[raft.NodeID]bool{}, groups: map[raft.GroupID]*modelGroup{}, had: map[raft.GroupID]bool{},
		settings: map[string]string{}, jobs: map[uint64]*Job{}, slots: t.Slots, epoch: t.Epoch, moves: map[modelMove]*modelMoving{}, incidents: map[string]*Incident{},
		security: newModelSecurity(t.Security.Mode), catalog: newModelCatalog()}
	for _, n := range t.Nodes {
		m.nodes[n.ID] = &modelNode{name: n.Name, addr: n.Addr, role: n.Role, level: n.Level, start: n.Start, announced: labelMap(n.Labels), given: map[string]string{}, weight: 100}
	}
	for g := range t.EachGroup {
		row := &modelGroup{incarnation: g.Incarnation, replicas: map[raft.ReplicaID]TableReplica{}, preferred: g.Preferred}
		for _, r := range g.Replicas {
			row.replicas[r.Replica] = r
			row.next = max(row.next, r.Replica+1)
		}
		m.groups[g.ID] = row
	}
	return m
}

func labelMap(labels []Label) map[string]string {
	m := map[string]string{}
	for _, l := range labels {
		m[l.Key] = l.Value
	}
	return m
}

func (g *modelGroup) on(n raft.NodeID) (TableReplica, bool) {
	for _, r := range g.replicas {
		if r.Node == n {
			return r, true
		}
	}
	return TableReplica{}, false
}

func (g *modelGroup) votes() (n int) {
	for _, r := range g.replicas {
		if r.Role == ReplicaVoter {
			n++
		}
	}
	return n
}

// spare reports whether a server that is not drained is left without n.
func (m *tableModel) spare(n raft.NodeID) bool {
	for id, o := range m.nodes {
		if id != n && o.role == NodeServer && !o.draining {
			return true
		}
	}
	return m.nodes[n].role != NodeServer
}

func (m *tableModel) jobsOf(is func(*Job) bool) (ids []uint64) {
	for id, j := range m.jobs {
		if !j.State.Finished() && is(j) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (m *tableModel) end(id uint64, s JobState, why string) {
	j := m.jobs[id]
	j.State, j.Why = s, why
	switch {
	case s == JobDone && isErrand(j.Kind):
		j.Total = j.Done
	case s == JobDone:
		j.Done, j.Bytes = j.Total, j.BytesTotal
	}
	j.Targets, j.Kept, j.Cancelled = nil, nil, false
	var finished []uint64
	for o, j := range m.jobs {
		if j.State.Finished() && o != id {
			finished = append(finished, o)
		}
	}
	if len(finished) < JobsKept {
		return
	}
	// The last backup that is done stays.
	good := uint64(0)
	for o, j := range m.jobs {
		if j.Kind == JobBackup && j.State == JobDone {
			good = max(good, o)
		}
	}
	finished = slices.DeleteFunc(finished, func(o uint64) bool { return o == good })
	delete(m.jobs, slices.Min(finished))
}

func (m *tableModel) raise() {
	lowest := uint32(1 << 30)
	for _, n := range m.nodes {
		lowest = min(lowest, n.level)
	}
	m.level = max(m.level, lowest)
}

// apply carries out the command c, which is one of those that the table reads.
func (m *tableModel) apply(index uint64, c tableCommand) modelOutcome {
	if a, ok := c.(*Announce); ok {
		return m.announce(a)
	}
	if m.level < 3 {
		return outcomeRefused
	}
	switch c := c.(type) {
	case *Join:
		return m.join(c)
	case *Leave:
		return m.leave(c)
	case *Members:
		return m.members(c)
	case *Prefer:
		g := m.groups[c.Group]
		if g == nil {
			return outcomeRefused
		}
		r, _ := g.on(c.Node)
		if c.Node != 0 && r.Role != ReplicaVoter || c.Node == 0 && c.Pinned {
			return outcomeRefused
		}
		if g.preferred == c.Node && g.pinned == c.Pinned {
			return outcomeSame
		}
		g.preferred, g.pinned = c.Node, c.Pinned
	case *Drain:
		return m.drain(c)
	case *SetLabels:
		return m.label(c)
	case *Setting:
		row := settingRow(c.Name)
		was, changed := m.settings[c.Name]
		switch {
		case row == nil || row.Level > m.level || c.Value != "" && row.check(c.Value) != nil:
			return outcomeRefused
		case was == c.Value && (changed || c.Value == ""):
			return outcomeSame
		case c.Value == "":
			delete(m.settings, c.Name)
		default:
			m.settings[c.Name] = c.Value
		}
	case *NewJob:
		return m.begin(index, c)
	case *SetJobState:
		return m.state(c)
	case *JobProgress:
		j := m.jobs[c.ID]
		if j == nil || j.State.Finished() {
			return outcomeRefused
		}
		if j.Done == c.Done && j.Total == c.Total && j.Why == c.Why {
			return outcomeSame
		}
		j.Done, j.Total, j.Why = c.Done, c.Total, c.Why
	case *NoteErrand:
		return m.errand(c)
	case *NoteIncident:
		return m.incident(index, c)
	case *Acknowledge:
		return m.acknowledge(c)
	case *SetTLSMode, *SetRoot, *SetPin, *Deny, *NewToken, *UseToken, *RevokeToken, *ChangeUser, *ChangeUserRoles, *ChangeRole, *SetLimit, *NoteTrail:
		return m.applySecurity(index, c)
	case *ChangeDatabase, *ChangePolicy, *NewWindow, *TruncateWindows, *HideWindows, *DropWindows:
		return m.applyCatalog(index, c)
	default:
		return m.applySlots(index, c)
	}
	return outcomeChanged
}

func (m *tableModel) announce(a *Announce) modelOutcome {
	n := m.nodes[a.Node]
	if n == nil || a.Level < m.level {
		return outcomeRefused
	}
	now := *n
	now.name, now.addr, now.level, now.start, now.announced = a.Name, a.Addr, a.Level, a.Start, labelMap(a.Labels)
	if now.name == n.name && now.addr == n.addr && now.level == n.level && now.start == n.start && maps.Equal(now.announced, n.announced) {
		return outcomeSame
	}
	*n = now
	m.raise()
	return outcomeChanged
}

func (m *tableModel) join(c *Join) modelOutcome {
	n := &c.Node
	if m.removed[n.ID] || n.Level < m.level {
		return outcomeRefused
	}
	for id, o := range m.nodes {
		if id != n.ID && (o.addr == n.Addr || o.name == n.Name) {
			return outcomeRefused
		}
	}
	if m.nodes[n.ID] != nil {
		return m.announce(&Announce{Node: n.ID, Start: n.Start, Addr: n.Addr, Name: n.Name, Labels: n.Labels, Level: n.Level})
	}
	p, pinned := m.security.pins[n.ID]
	if !pinned && m.security.mode == SecurityOnly || p.Role != 0 && p.Role != n.Role {
		return outcomeRefused
	}
	m.nodes[n.ID] = &modelNode{name: n.Name, addr: n.Addr, role: n.Role, level: n.Level, start: n.Start, announced: labelMap(n.Labels), given: map[string]string{}, weight: 100}
	return outcomeChanged
}

func (m *tableModel) leave(c *Leave) modelOutcome {
	if m.removed[c.Node] {
		return outcomeSame
	}
	if m.nodes[c.Node] == nil {
		return outcomeRefused
	}
	for _, g := range m.groups {
		if _, holds := g.on(c.Node); holds {
			return outcomeRefused
		}
	}
	if !m.spare(c.Node) {
		return outcomeRefused
	}
	delete(m.nodes, c.Node)
	m.removed[c.Node] = true
	m.security.forget(c.Node)
	m.raise()
	return outcomeChanged
}

func (m *tableModel) members(c *Members) modelOutcome {
	g := m.groups[c.Group]
	if g == nil || c.Incarnation != g.incarnation {
		return outcomeRefused
	}
	now := map[raft.ReplicaID]TableReplica{}
	nodes := map[raft.NodeID]bool{}
	voters := 0
	for _, r := range c.Replicas {
		now[r.Replica], nodes[r.Node] = r, true
		if r.Role == ReplicaVoter {
			voters++
		}
		if r.Replica >= c.Next {
			return outcomeRefused
		}
	}
	if c.Seen == g.seen && c.Next == g.next && maps.Equal(now, g.replicas) {
		return outcomeSame
	}
	if c.Seen.Index <= g.seen.Index || c.Next < g.next || voters == 0 || len(nodes) < len(c.Replicas) || len(now) < len(c.Replicas) {
		return outcomeRefused
	}
	g.seen, g.next, g.replicas = c.Seen, c.Next, now
	if r, ok := g.on(g.preferred); !ok || r.Role != ReplicaVoter {
		g.preferred, g.pinned = 0, false
	}
	return outcomeChanged
}

func (m *tableModel) drain(c *Drain) modelOutcome {
	n := m.nodes[c.Node]
	if n == nil {
		return outcomeRefused
	}
	about := func(k JobKind) []uint64 {
		return m.jobsOf(func(j *Job) bool { return j.Kind == k && j.Node == c.Node })
	}
	switch {
	case c.On && n.draining:
		return outcomeSame
	case c.On && !m.spare(c.Node):
		return outcomeRefused
	case c.On:
		n.draining = true
		return outcomeChanged
	case len(about(JobRemove)) > 0:
		return outcomeRefused
	}
	drains := about(JobDrain)
	if !n.draining && len(drains) == 0 {
		return outcomeSame
	}
	n.draining = false
	for _, id := range drains {
		m.end(id, JobCancelled, "the node is to stay")
	}
	return outcomeChanged
}

func (m *tableModel) label(c *SetLabels) modelOutcome {
	n := m.nodes[c.Node]
	if n == nil || len(labelMap(c.Labels)) < len(c.Labels) {
		return outcomeRefused
	}
	given := maps.Clone(n.given)
	for _, l := range c.Labels {
		if l.Key == "" || strings.Contains(l.Key, " ") {
			return outcomeRefused
		}
		if _, announced := n.announced[l.Key]; l.Value == "" && !announced {
			delete(given, l.Key)
		} else {
			given[l.Key] = l.Value
		}
	}
	if maps.Equal(given, n.given) {
		return outcomeSame
	}
	n.given = given
	return outcomeChanged
}

// labels are those that count.
func (n *modelNode) labels() map[string]string {
	all := maps.Clone(n.announced)
	for k, v := range n.given {
		if all[k] = v; v == "" {
			delete(all, k)
		}
	}
	return all
}

func isErrand(k JobKind) bool { return k == JobDelete || k == JobBackup }

// errand notes how far an errand is.
func (m *tableModel) errand(c *NoteErrand) modelOutcome {
	j := m.jobs[c.ID]
	if j == nil || j.State.Finished() || !isErrand(j.Kind) || m.level < RangesLevel || c.State == JobPaused || len(c.File) > TableTextMax && j.Kind == JobBackup {
		return outcomeRefused
	}
	was := *j
	j.Done, j.Total, j.Bytes, j.Why = c.Done, c.Total, c.Bytes, c.Why
	j.Errand.Node, j.Errand.At = c.Node, c.At
	if j.Kind == JobBackup {
		j.Errand.File = c.File
	} else {
		j.Errand.Slot = c.Slot
	}
	if c.State.Finished() {
		m.end(c.ID, c.State, c.Why)
		return outcomeChanged
	}
	if j.Equal(&was) {
		return outcomeSame
	}
	return outcomeChanged
}

func (m *tableModel) begin(index uint64, c *NewJob) modelOutcome {
	ofGroup := c.Kind == JobAdd || c.Kind == JobDel || c.Kind == JobPromote
	ofSlots := movesSlots(c.Kind)
	ofAll := c.Kind == JobBalance || c.Kind == JobRepair || ofSlots || isErrand(c.Kind)
	n, g := m.nodes[c.Node], m.groups[c.Group]
	if !ofAll && n == nil || ofGroup && g == nil || ofSlots && m.level < MovesLevel || isErrand(c.Kind) && m.level < RangesLevel {
		return outcomeRefused
	}
	rivals := m.jobsOf(func(j *Job) bool {
		switch j.Kind {
		case JobAdd, JobDel, JobPromote:
			return ofGroup && j.Group == c.Group
		case JobBalance, JobRepair, JobBackup:
			return j.Kind == c.Kind
		case JobDelete:
			return false
		case JobMove, JobAssign, JobRebalance:
			return false // those of another one's slots don't begin
		}
		return !ofGroup && !ofAll && j.Node == c.Node
	})
	for _, id := range rivals {
		j := m.jobs[id]
		makesRoom := j.Kind == JobDrain || j.Kind == JobReplace || j.Kind == JobJoin || j.Kind == JobRemove && !j.Force && c.Force
		if c.Kind != JobRemove || !makesRoom {
			return outcomeRefused
		}
	}
	if len(m.jobsOf(func(j *Job) bool { return !slices.Contains(rivals, j.ID) })) >= JobsMax {
		return outcomeRefused
	}
	j := &Job{ID: index, Kind: c.Kind, State: JobRunning}
	if !ofAll {
		j.Node, j.Name = c.Node, n.name
	}
	switch c.Kind {
	case JobMove, JobAssign, JobRebalance:
		if !m.beginSlots(j, c.Targets) {
			return outcomeRefused
		}
	case JobDelete:
		if len(c.Asks.Prefix) > KeyMax {
			return outcomeRefused
		}
		j.Total, j.Errand.Prefix = c.Asks.Keys, c.Asks.Prefix
	case JobBackup:
		last := uint64(0)
		for id, o := range m.jobs {
			if o.Kind == JobBackup {
				last = max(last, id)
			}
		}
		if c.Asks.Prefix != "" || c.Asks.Scheduled && c.Asks.After != last {
			return outcomeRefused
		}
		j.Total, j.Errand.Scheduled = c.Asks.Keys, c.Asks.Scheduled
	case JobDrain, JobRemove:
		if !m.spare(c.Node) {
			return outcomeRefused
		}
		for _, g := range m.groups {
			if r, _ := g.on(c.Node); c.Kind == JobRemove && c.Force && r.Role == ReplicaVoter && g.votes() == 1 {
				return outcomeRefused
			}
		}
		n.draining, j.Force = true, c.Force && c.Kind == JobRemove
	case JobRole:
		if c.Role != NodeServer && c.Role != NodeClient || n.role == NodeServer && c.Role == NodeClient && !m.spare(c.Node) {
			return outcomeRefused
		}
		if n.role == c.Role {
			return outcomeSame
		}
		n.role, j.Role = c.Role, c.Role
	}
	if ofGroup {
		j.Group = c.Group
		r, holds := g.on(c.Node)
		switch {
		case c.Kind == JobAdd && (holds || n.draining),
			c.Kind == JobDel && (!holds || c.Group == 0 || r.Role == ReplicaVoter && g.votes() == 1),
			c.Kind == JobPromote && (r.Role != ReplicaVoter || n.draining):
			return outcomeRefused
		case c.Kind == JobPromote:
			g.preferred, g.pinned = c.Node, true
		}
	}
	for _, id := range rivals {
		m.end(id, JobCancelled, fmt.Sprintf("job %d removes the node", index))
	}
	m.jobs[index] = j
	return outcomeChanged
}

func (m *tableModel) state(c *SetJobState) modelOutcome {
	j := m.jobs[c.ID]
	if j == nil || j.State.Finished() {
		return outcomeRefused
	}
	if movesSlots(j.Kind) {
		if outcome, settled := m.slotJobState(j, c); settled {
			return outcome
		}
	}
	n, g := m.nodes[j.Node], m.groups[j.Group]
	if c.State == JobCancelled {
		switch {
		case (j.Kind == JobDrain || j.Kind == JobRemove) && n != nil:
			n.draining = false
		case j.Kind == JobRole && n != nil && j.Role == NodeClient:
			n.role = NodeServer
		case j.Kind == JobRole && n != nil && n.role == NodeServer && !m.spare(j.Node):
			return outcomeRefused
		case j.Kind == JobRole && n != nil:
			n.role = NodeClient
		case j.Kind == JobPromote && g.pinned && g.preferred == j.Node:
			g.pinned = false
		}
	}
	if c.State == JobDone && (j.Kind == JobAdd || j.Kind == JobDel) {
		g.byHand = true
	}
	if c.State.Finished() {
		m.end(c.ID, c.State, c.Why)
		return outcomeChanged
	}
	if j.State == c.State && j.Why == c.Why {
		return outcomeSame
	}
	j.State, j.Why = c.State, c.Why
	return outcomeChanged
}

func (m *tableModel) incident(index uint64, c *NoteIncident) modelOutcome {
	said := c.Incident
	g := m.groups[said.Group]
	if m.level < 7 || g == nil || g.incarnation != said.Incarnation || m.nodes[said.Node] == nil || said.Found > FoundUndecided || said.State > IncidentRebuilt {
		return outcomeRefused
	}
	key := fmt.Sprint(said.IncidentKey)
	if was := m.incidents[key]; was != nil {
		said.ID, said.Acknowledged = was.ID, was.Acknowledged
		if was.State == IncidentRebuilt || fmt.Sprint(*was) == fmt.Sprint(said) {
			return outcomeSame
		}
		m.incidents[key] = &said
		return outcomeChanged
	}
	said.ID, said.Acknowledged = index, false
	m.incidents[key] = &said
	m.incidentN++
	if len(m.incidents) > IncidentsMax {
		oldest, seen := "", ""
		for k, i := range m.incidents {
			if oldest == "" || i.ID < m.incidents[oldest].ID {
				oldest = k
			}
			if i.Acknowledged && (seen == "" || i.ID < m.incidents[seen].ID) {
				seen = k
			}
		}
		if seen != "" {
			oldest = seen
		}
		delete(m.incidents, oldest)
	}
	return outcomeChanged
}

func (m *tableModel) acknowledge(c *Acknowledge) modelOutcome {
	if m.level < 7 {
		return outcomeRefused
	}
	outcome := outcomeRefused
	if c.ID == 0 {
		outcome = outcomeSame
	}
	for _, i := range m.incidents {
		if c.ID != 0 && i.ID != c.ID {
			continue
		}
		if outcome = max(outcome, outcomeSame); !i.Acknowledged {
			i.Acknowledged, outcome = true, outcomeChanged
		}
	}
	return outcome
}

// differs says in what t is not as the model has it.
func (m *tableModel) differs(t *Table) error {
	if t.Level != m.level || len(t.Nodes) != len(m.nodes) || len(t.Jobs) != len(m.jobs) || len(t.Removed) != len(m.removed) || len(t.Settings) != len(m.settings) {
		return fmt.Errorf("level %d, %d nodes, %d jobs, %d removed, %d settings; want level %d, %d, %d, %d, %d",
			t.Level, len(t.Nodes), len(t.Jobs), len(t.Removed), len(t.Settings), m.level, len(m.nodes), len(m.jobs), len(m.removed), len(m.settings))
	}
	for _, n := range t.Nodes {
		want := m.nodes[n.ID]
		if want == nil {
			return fmt.Errorf("node %s is on the list", n.ID)
		}
		got := modelNode{n.Name, n.Addr, n.Role, n.Level, n.Start, n.Draining, labelMap(n.Announced), labelMap(n.Given), n.Weight}
		if fmt.Sprint(got) != fmt.Sprint(*want) || !maps.Equal(labelMap(n.Labels), want.labels()) {
			return fmt.Errorf("node %s is %+v with labels %v; want %+v with %v", n.ID, got, n.Labels, *want, want.labels())
		}
	}
	if n := len(t.Groups) + 1; n != len(m.groups) {
		return fmt.Errorf("%d groups, want %d", n, len(m.groups))
	}
	for g := range t.EachGroup {
		want := m.groups[g.ID]
		if want == nil {
			return fmt.Errorf("%s is there", g.ID)
		}
		got := modelGroup{g.Incarnation, g.Seen, g.Next, map[raft.ReplicaID]TableReplica{}, g.Preferred, g.ByHand, g.Pinned}
		for _, r := range g.Replicas {
			got.replicas[r.Replica] = r
		}
		if fmt.Sprint(got) != fmt.Sprint(*want) {
			return fmt.Errorf("%s is %+v, want %+v", g.ID, got, *want)
		}
	}
	if got := fmt.Sprint(t.RemovedGroups); got != fmt.Sprint(slices.Sorted(maps.Keys(m.had))) {
		return fmt.Errorf("groups %s were removed, want %v", got, m.had)
	}
	for _, j := range t.Jobs {
		if want := m.jobs[j.ID]; want == nil || !want.Equal(&j) {
			return fmt.Errorf("job %+v, want %+v", j, want)
		}
	}
	for _, id := range t.Removed {
		if !m.removed[id] {
			return fmt.Errorf("node %s is removed", id)
		}
	}
	for _, s := range t.Settings {
		if m.settings[s.Name] != s.Value {
			return fmt.Errorf("setting %s is %q, want %q", s.Name, s.Value, m.settings[s.Name])
		}
	}
	if len(t.Incidents) != len(m.incidents) || t.IncidentCount != m.incidentN {
		return fmt.Errorf("%d incidents of %d, want %d of %d", len(t.Incidents), t.IncidentCount, len(m.incidents), m.incidentN)
	}
	for _, i := range t.Incidents {
		if want := m.incidents[fmt.Sprint(i.IncidentKey)]; want == nil || fmt.Sprint(*want) != fmt.Sprint(i) {
			return fmt.Errorf("incident %+v, want %+v", i, want)
		}
	}
	if err := m.security.differs(&t.Security); err != nil {
		return err
	}
	if err := m.catalog.differs(&t.Catalog); err != nil {
		return err
	}
	return m.slotsDiffer(t)
}
