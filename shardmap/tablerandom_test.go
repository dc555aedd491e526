package shardmap

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"muster/raft"
)

const (
	tableRuns     = 60
	tableCommands = 250
	randomNodes   = 8 // ids that commands name, of members and of others
	randomGroups  = 3
)

// Nodes come and go, groups change and jobs run in any order that people and leaders
// come up with. Whatever the order, the table must be what the commands say, told once
// more by a slow model, and no table that could not be: one would doubt that a command
// which is refused half-way leaves nothing behind, that what was handed out stays as it
// was, and that a snapshot and a command that is only tried are the same as the log.
func TestRandomTable(t *testing.T) {
	runs := uint64(tableRuns)
	if raceDetector {
		runs /= 10 // one goroutine alone: the detector has nothing to find here
	}
	for seed := range runs {
		if err := randomTable(seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

// randomTable applies commands that are drawn from seed, and returns what is wrong with
// the table after one of them.
func randomTable(seed uint64) error {
	r := newRandomCommands(seed)
	m := NewTableMachine()
	founded := uint32(Level)
	if r.one(2) && !r.slots {
		founded -= 1 + r.Uint32N(2) // and it rises, when all have announced the newer one
	}
	f := &Found{Cluster: "c", ClusterID: 99, Level: founded, ValueMax: ValueMaxDefault, Groups: randomGroups}
	if founded >= SecurityLevel && r.one(2) {
		f.Mode = SecurityBoth
	}
	for i := range 1 + r.IntN(5) {
		f.Nodes = append(f.Nodes, TableNode{ID: raft.NodeID(i + 1), Name: fmt.Sprint("n", i+1), Addr: fmt.Sprint("h:", i+1), Role: NodeServer, Level: founded, Start: 1})
	}
	b, _ := AppendFound(nil, f)
	if _, err := m.Apply(raft.LogID{Term: 1, Index: 1}, b); err != nil {
		return err
	}
	model := modelOf(m.Table())
	index := uint64(1)
	for range tableCommands {
		index += 1 + r.Uint64N(2)
		payload := r.command(m.Table())
		text, err := DescribeTable(payload)
		if err != nil {
			return err
		}
		_, c, err := readTableCommand(payload)
		if err != nil {
			return err
		}
		before, bytesBefore := m.Table(), m.Table().AppendTo(nil)
		asIf := *before
		asIf.Index = index - 1
		tried, refusal := asIf.Try(payload)
		want := model.apply(index, c)
		result, err := m.Apply(raft.LogID{Term: 1, Index: index}, payload)
		if err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
		got := outcomeSame
		switch {
		case result.Refused != nil:
			got = outcomeRefused
		case result.Changed:
			got = outcomeChanged
		}
		now := m.Table()
		if err := tableIs(model, now); err != nil {
			return fmt.Errorf("after %s: %w", text, err)
		}
		var refused *Refusal
		switch {
		case got != want:
			return fmt.Errorf("%s: outcome %d (%v), want %d", text, got, result.Refused, want)
		case got == outcomeRefused && (!errors.As(refusal, &refused) || *refused != *result.Refused):
			return fmt.Errorf("%s: tried it is refused with %v, applied with %v", text, refusal, result.Refused)
		case got == outcomeRefused && (refused.Object == "" || refused.Found == "" || refused.Next == ""):
			return fmt.Errorf("%s: the refusal lacks a part: %+v", text, refused)
		case got == outcomeChanged && (refusal != nil || !reflect.DeepEqual(tried, now)):
			return fmt.Errorf("%s: tried it makes another table than applied, %w: %s", text, refusal, unlike(tried, now))
		case got == outcomeSame && (refusal != nil || tried != &asIf):
			return fmt.Errorf("%s: tried it makes another table: %v", text, refusal)
		case got != outcomeChanged && now != before:
			return fmt.Errorf("%s: outcome %d, and the table is another one", text, got)
		case !bytes.Equal(before.AppendTo(nil), bytesBefore):
			return fmt.Errorf("%s: the table that was handed out before is another one", text)
		case result.Index != index || got == outcomeChanged && now.Index != index:
			return fmt.Errorf("%s: at %d, result of %d, table of %d", text, index, result.Index, now.Index)
		}
	}
	return nil
}

// tableIs says why t is not what the model has, or can't be a table.
func tableIs(model *tableModel, t *Table) error {
	if err := model.differs(t); err != nil {
		return err
	}
	for _, id := range t.Removed {
		if _, ok := t.Node(id); ok {
			return fmt.Errorf("node %s is on the list and removed", id)
		}
	}
	for g := range t.EachGroup {
		for _, r := range g.Replicas {
			if _, ok := t.Node(r.Node); !ok {
				return fmt.Errorf("replica %d of %s is on node %s, which is not on the list", r.Replica, g.ID, r.Node)
			}
			if r.Replica >= g.Next {
				return fmt.Errorf("replica %d of %s, which allots %d next", r.Replica, g.ID, g.Next)
			}
		}
	}
	about := map[string]uint64{}
	for _, j := range t.Jobs {
		what := fmt.Sprint("node ", j.Node)
		switch {
		case j.State.Finished(), j.Kind == JobDelete: // any number of these
			continue
		case j.Kind.AboutSlots():
			continue // the model compares their slots
		case j.Kind.AboutGroup():
			what = j.Group.String()
		case j.Node == 0:
			what = j.Kind.String()
		}
		if other, ok := about[what]; ok {
			return fmt.Errorf("jobs %d and %d are unfinished, both about %s", other, j.ID, what)
		}
		about[what] = j.ID
	}
	spare := func(n TableNode) bool { return n.Role == NodeServer && !n.Draining }
	if !slices.ContainsFunc(t.Nodes, spare) {
		return errors.New("no server is left that could hold replicas")
	}
	format := uint16(max(min(t.Level, LeasesLevel), 2)) + 1 // ServicesLevel has not changed it
	if t.Level >= AuditLevel {
		format = uint16(min(t.Level, SecurityLevel)) // RangesLevel has not changed it either
	}
	if t.Level >= PointsLevel {
		format = 9
	}
	b := t.AppendTo(nil)
	if got := uint16(b[8]); got != format {
		return fmt.Errorf("a table of level %d is written in format %d, want %d", t.Level, got, format)
	}
	back, err := ReadTable(b)
	if err != nil || !reflect.DeepEqual(back, t) {
		return fmt.Errorf("through its bytes it becomes another one, %w: %s", err, unlike(back, t))
	}
	return nil
}

// unlike names the fields in which two tables are not the same.
func unlike(a, b *Table) (text string) {
	if a == nil || b == nil {
		return "one is nil"
	}
	x, y := reflect.ValueOf(*a), reflect.ValueOf(*b)
	for i := range x.NumField() {
		if f, g := x.Field(i).Interface(), y.Field(i).Interface(); !reflect.DeepEqual(f, g) {
			text += fmt.Sprintf("%s: %+v and %+v; ", x.Type().Field(i).Name, f, g)
		}
	}
	return text
}

// randomCommands draws commands, most of which make sense for the table at hand.
type randomCommands struct {
	*rand.Rand
	slots bool // most are about slots, and those few: a slot then moves again and again
	trust bool // most are about security
	times bool // most are about time series
}

func newRandomCommands(seed uint64) randomCommands {
	return randomCommands{rand.New(rand.NewPCG(seed, 12)), seed%2 == 1, seed%4 == 2, seed%8 == 4}
}

func (r randomCommands) one(of int) bool { return r.IntN(of) == 0 }

// kind draws what the next command is, but not another founding.
func (r randomCommands) kind() TableCommandKind {
	about := []TableCommandKind{TableErrand, TableErrand, TableJob, TableMoveBegin, TableMoveBegin, TableMoveRecord, TableMoveRecord, TableMoveClose, TableMoveCancel, TableJobState, TableJobBytes, TableGroupCreate, TableGroupRemove}
	if r.slots && !r.one(8) {
		return about[r.IntN(len(about))]
	}
	if r.trust && !r.one(5) {
		return TableTLSMode + TableCommandKind(r.IntN(int(TableTrailHead-TableTLSMode)+1))
	}
	if r.times && !r.one(8) {
		return drawn(r, TableWindow, TableWindow, TableDatabase+TableCommandKind(r.IntN(int(TableWindowDrop-TableDatabase)+1)))
	}
	return TableCommandKind(2 + r.IntN(len(tableRows)-2))
}

// asks draws what an order for an errand says.
func (r randomCommands) asks(t *Table) (a ErrandAsks) {
	a.Keys, a.Scheduled = r.Uint64N(3), r.one(2)
	if !r.one(3) {
		_, last := t.LastBackup()
		a.After = last.ID
	}
	a.Prefix = []string{"", "", "a\xff", strings.Repeat("p", KeyMax), strings.Repeat("p", KeyMax+1)}[r.IntN(5)]
	return a
}

// errand draws how far one is.
func (r randomCommands) errand(t *Table) *NoteErrand {
	n := &NoteErrand{ID: r.job(t), State: JobState(1 + r.IntN(len(jobStateNames)-1)), Node: r.node(t), At: r.Int64N(3), Done: r.Uint64N(3), Total: r.Uint64N(3), Why: []string{"", "why"}[r.IntN(2)]}
	if j, ok := t.Job(n.ID); ok && r.one(3) {
		e := &j.Errand
		return &NoteErrand{j.ID, JobRunning, e.Node, e.File, e.At, e.Slot, j.Done, j.Total, j.Bytes, j.Why}
	}
	if !r.one(3) {
		n.State = JobRunning
	}
	n.Slot, n.Bytes = Slot(r.IntN(Slots+1)), r.Uint64N(3)
	n.File = []string{"", "f", strings.Repeat("f", TableTextMax+1)}[r.IntN(3)]
	return n
}

// jobKind draws the kind of a new job.
func (r randomCommands) jobKind() JobKind {
	if r.slots && !r.one(4) {
		return JobMove + JobKind(r.IntN(5))
	}
	return JobKind(1 + r.IntN(len(jobRows)-1))
}

func (r randomCommands) node(t *Table) raft.NodeID {
	if r.one(8) {
		return raft.NodeID(1 + r.IntN(randomNodes))
	}
	return t.Nodes[r.IntN(len(t.Nodes))].ID
}

func (r randomCommands) group() raft.GroupID {
	if r.slots {
		return raft.GroupID(1 + r.IntN(randomGroups+1))
	}
	return raft.GroupID(r.IntN(randomGroups + 1 + r.IntN(2)))
}

// run draws a few slots: where two groups begin and end by the founding, so that runs are of
// one owner and of two.
func (r randomCommands) run() SlotRange {
	const ends = Slots / randomGroups
	from := ends*r.IntN(randomGroups+1) + r.IntN(8)
	from = max(0, min(from-4, Slots-1))
	if r.slots {
		from = r.IntN(4)
	}
	return SlotRange{Slot(from), Slot(min(from+r.IntN(5), Slots-1))}
}

func (r randomCommands) targets(t *Table) (targets []SlotTarget) {
	for range r.IntN(4) {
		to := SlotTarget{SlotRange: r.run(), To: r.group()}
		if r.one(3) {
			to.From = t.Slots[to.SlotRange.From]
		}
		targets = append(targets, to)
	}
	return targets
}

// begin draws slots that a job of the table is to move.
func (r randomCommands) begin(t *Table) *MoveBegin {
	m := &MoveBegin{Job: r.job(t), Slots: []SlotRange{r.run()}, To: r.group(), Empty: r.one(8)}
	for _, j := range t.Jobs {
		if len(j.Targets) == 0 || j.State != JobRunning && !r.one(4) || r.one(4) {
			continue
		}
		to := j.Targets[r.IntN(len(j.Targets))]
		m.Job, m.Slots, m.To, m.Empty = j.ID, []SlotRange{to.SlotRange}, to.To, j.Kind == JobAssign
		if !r.one(3) { // one of them
			s := to.SlotRange.From + Slot(r.IntN(to.Len()))
			m.Slots[0] = SlotRange{s, s}
		}
	}
	if r.one(20) {
		m.Empty = !m.Empty
	}
	return m
}

// moves draws moves of the table, whole runs or parts of them, and some that are none.
func (r randomCommands) moves(t *Table) (moves []NumberedRange) {
	for range 1 + r.IntN(3) {
		m := NumberedRange{r.run(), r.Uint64N(t.Index + 1)}
		if len(t.Moves) > 0 && !r.one(4) {
			of := t.Moves[r.IntN(len(t.Moves))]
			m = NumberedRange{of.SlotRange, of.Number}
			if r.one(2) {
				m.To = m.From + Slot(r.IntN(of.Len()))
			}
		}
		moves = append(moves, m)
	}
	return moves
}

func (r randomCommands) labels() (labels []Label) {
	for range r.IntN(3) {
		labels = append(labels, Label{[]string{"a", "b", ZoneLabel}[r.IntN(3)], []string{"", "1", "2"}[r.IntN(3)]})
	}
	return labels
}

// row draws a node as it announces itself: its name and address are mostly its own.
func (r randomCommands) row(id raft.NodeID) TableNode {
	n := TableNode{ID: id, Name: fmt.Sprint("n", id), Addr: fmt.Sprint("h:", id), Role: NodeServer, Start: uint64(r.IntN(3)), Level: Level}
	for k, v := range labelMap(r.labels()) {
		n.Labels = append(n.Labels, Label{k, v})
	}
	slices.SortFunc(n.Labels, func(a, b Label) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) })
	switch r.IntN(8) {
	case 0:
		n.Name = fmt.Sprint("n", 1+r.IntN(randomNodes))
	case 1:
		n.Addr = fmt.Sprint("h:", 1+r.IntN(randomNodes))
	case 2:
		n.Role = NodeClient
	case 3:
		n.Level -= 1 + r.Uint32N(2)
	}
	return n
}

func (r randomCommands) job(t *Table) uint64 {
	if len(t.Jobs) == 0 || r.one(10) {
		return r.Uint64N(100)
	}
	return t.Jobs[r.IntN(len(t.Jobs))].ID
}

func (r randomCommands) command(t *Table) []byte {
	var b []byte
	switch k := r.kind(); k {
	case TableAnnounce:
		n := r.row(r.node(t))
		b, _ = AppendAnnounce(nil, &Announce{Node: n.ID, Start: n.Start, Addr: fmt.Sprint("h:", n.ID), Name: fmt.Sprint("n", n.ID), Labels: n.Labels, Level: n.Level})
	case TableJoin:
		b, _ = AppendJoin(nil, &Join{r.row(raft.NodeID(1 + r.IntN(randomNodes)))})
	case TableMembers:
		b, _ = AppendMembers(nil, r.members(t))
	case TableLeave:
		b, _ = AppendLeave(nil, &Leave{r.node(t)})
	case TableDrain:
		b, _ = AppendDrain(nil, &Drain{r.node(t), r.one(2)})
	case TableLabel:
		b, _ = AppendSetLabels(nil, &SetLabels{r.node(t), r.labels()})
	case TableSetting:
		values := []string{"", "3", "5", "on", "off", "1h", "9s", "2MiB", "x"}
		b, _ = AppendSetting(nil, &Setting{append(settingNames(), "none")[r.IntN(len(settingRows)+1)], values[r.IntN(len(values))]})
	case TablePrefer:
		b, _ = AppendPrefer(nil, &Prefer{r.group(), r.node(t), r.one(2)})
	case TableJob:
		b, _ = AppendNewJob(nil, &NewJob{Kind: r.jobKind(), Node: r.node(t), Group: r.group(), Force: r.one(2), Role: NodeRole(1 + r.IntN(3)), Targets: r.targets(t), Asks: r.asks(t)})
	case TableErrand:
		b, _ = AppendNoteErrand(nil, r.errand(t))
	case TableJobState:
		b, _ = AppendJobState(nil, &SetJobState{r.job(t), JobState(1 + r.IntN(len(jobStateNames)-1)), []string{"", "why"}[r.IntN(2)]})
	case TableJobProgress:
		b, _ = AppendJobProgress(nil, &JobProgress{r.job(t), r.Uint64N(2), r.Uint64N(2), ""})
	case TableMoveBegin:
		b, _ = AppendMoveBegin(nil, r.begin(t))
	case TableMoveRecord:
		b, _ = AppendMoveRecord(nil, &MoveRecord{r.moves(t)})
	case TableMoveCancel:
		b, _ = AppendMoveCancel(nil, &MoveCancel{r.moves(t)})
	case TableMoveClose:
		c := new(MoveClose)
		for _, m := range r.moves(t) {
			c.Moves = append(c.Moves, MoveEnd{m, r.one(2), CloseReason(1 + r.IntN(3))})
		}
		b, _ = AppendMoveClose(nil, c)
	case TableGroupCreate:
		c := &GroupCreate{Group: []raft.GroupID{0, 0, r.group(), raft.GroupMax + 1}[r.IntN(4)]}
		for range r.IntN(3) {
			c.Away = append(c.Away, r.node(t))
		}
		b, _ = AppendGroupCreate(nil, c)
	case TableGroupRemove:
		b, _ = AppendGroupRemove(nil, &GroupRemove{r.group()})
	case TableWeight:
		b, _ = AppendWeight(nil, &SetWeight{r.node(t), []uint32{0, WeightDefault, WeightMax, WeightMax + 1}[r.IntN(4)]})
	case TableJobBytes:
		b, _ = AppendJobBytes(nil, &JobBytes{r.job(t), r.Uint64N(2), r.Uint64N(2), r.Uint64N(2), r.Uint64N(2), ""})
	case TableIncident:
		b, _ = AppendNoteIncident(nil, &NoteIncident{r.incident(t)})
	case TableAcknowledge:
		a := &Acknowledge{r.Uint64N(20)} // 0 is all
		if n := len(t.Incidents); n > 0 && !r.one(3) {
			a.ID = t.Incidents[r.IntN(n)].ID
		}
		b, _ = AppendAcknowledge(nil, a)
	case TableDatabase, TablePolicy, TableWindow, TableWindowTruncate, TableWindowHide, TableWindowDrop:
		b = r.catalog(t, k)
	default:
		b = r.security(t, k)
	}
	return b
}

// incident draws the word of a node that a replica differs: mostly one of a few that are
// said again and again, so that they overtake each other.
func (r randomCommands) incident(t *Table) Incident {
	i := Incident{IncidentKey: IncidentKey{Group: r.group(), Replica: raft.ReplicaID(1 + r.IntN(3)), At: raft.LogID{Term: 1, Index: r.Uint64N(4)}}, Node: r.node(t),
		Found: FoundBy(1 + r.IntN(4)), State: IncidentState(1 + r.IntN(3)), What: []string{"", "why"}[r.IntN(2)]}
	if g, ok := t.Group(i.Group); ok && !r.one(8) {
		i.Incarnation = g.Incarnation
	}
	for p := range Part(r.IntN(4)) {
		i.Parts, i.PartsCount = append(i.Parts, 2*p), i.PartsCount+1+r.Uint32N(2)
	}
	if len(t.Incidents) > 0 && r.one(2) {
		said := t.Incidents[r.IntN(len(t.Incidents))]
		if r.one(2) {
			said.State = IncidentRebuilt
		}
		return said
	}
	return i
}

func settingNames() (names []string) {
	for _, row := range Settings() {
		names = append(names, row.Name)
	}
	return names
}

// members draws what a group's membership becomes: a replica more, one less, or another
// role, and sometimes one of long ago or one that can't be.
func (r randomCommands) members(t *Table) *Members {
	row, ok := t.Group(r.group())
	if !ok {
		return &Members{Group: 77}
	}
	m := &Members{Group: row.ID, Incarnation: row.Incarnation, Seen: raft.LogID{Term: 1, Index: row.Seen.Index + 1}, Next: row.Next, Replicas: slices.Clone(row.Replicas)}
	switch r.IntN(4) {
	case 0:
		// Only nodes on the list: what a table keeps of others is told by a test of its own.
		m.Replicas = append(m.Replicas, TableReplica{m.Next, t.Nodes[r.IntN(len(t.Nodes))].ID, ReplicaRole(1 + r.IntN(2))})
		m.Next++
	case 1:
		i := r.IntN(len(m.Replicas))
		m.Replicas[i].Role = ReplicaRole(1 + r.IntN(2))
	case 2, 3:
		i := r.IntN(len(m.Replicas))
		m.Replicas = slices.Delete(m.Replicas, i, i+1)
	}
	switch r.IntN(12) {
	case 0:
		m.Seen.Index = uint64(r.IntN(int(m.Seen.Index)))
	case 1:
		m.Incarnation++
	case 2:
		m.Next--
	case 3:
		m.Seen, m.Next, m.Replicas = row.Seen, row.Next, row.Replicas
	}
	slices.SortFunc(m.Replicas, byReplica)
	return m
}

// A test that draws commands may draw them all in vain: each kind must have every
// outcome that it can have.
func TestRandomTableReachesAll(t *testing.T) {
	seen := map[string]map[modelOutcome]int{}
	for seed := range uint64(200) {
		r := newRandomCommands(seed)
		m := NewTableMachine()
		b, err := AppendFound(nil, testFound(4, randomGroups))
		applyTable(t, m, 1, b, err)
		model := modelOf(m.Table())
		for i := range uint64(300) {
			payload := r.command(m.Table())
			row, c, err := readTableCommand(payload)
			if err != nil {
				t.Fatal(err)
			}
			if seen[row.Name] == nil {
				seen[row.Name] = map[modelOutcome]int{}
			}
			seen[row.Name][model.apply(i+2, c)]++
			applyTable(t, m, i+2, payload, nil)
		}
	}
	// Each begin, each group and each token is a new one; and what becomes of a move is passed over
	// where it does not fit.
	never := map[TableCommandKind]modelOutcome{TableMoveBegin: outcomeSame, TableGroupCreate: outcomeSame, TableGroupRemove: outcomeSame, TableToken: outcomeSame,
		TableMoveRecord: outcomeRefused, TableMoveClose: outcomeRefused, TableMoveCancel: outcomeRefused}
	for _, row := range TableCommands()[1:] {
		want := []modelOutcome{outcomeRefused, outcomeSame, outcomeChanged}
		if not, ok := never[TableCommandKind(row.Kind)]; ok {
			want = slices.DeleteFunc(want, func(o modelOutcome) bool { return o == not })
		}
		if got := slices.Sorted(maps.Keys(seen[row.Name])); !slices.Equal(got, want) {
			t.Errorf("%s has the outcomes %d, want %d", row.Name, got, want)
		}
	}
}
