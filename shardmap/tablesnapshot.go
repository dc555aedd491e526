package shardmap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"muster/raft"
	"muster/shardmap/pack"
)

// The table is kept as a stream of bytes, equal for equal tables, numbers
// little-endian:
//
//	 0  8    "mustmeta"
//	 8  u16  format: 9; 8 while the table's level is 8 or 9, 7 while it is 7, 6 while it is 5 or 6, 5 while it is 4, 4 while it is 3,
//	         and 3 while it is lower, because members of that level must be able to read it
//	10  u16  zero
//	12  u32  length of what follows, in bytes
//	16       the table, in msgpack
//
// The table is an array, as are its parts; texts are strings, yes and no are booleans:
//
//	table:   [cluster, cluster id, level, index, epoch, value max, [node, …], meta group, [group, …], [run, …],
//	          [setting, …], [job, …], [removed node id, …],
//	          [move, …],
//	          [removed group, …],
//	          [incident, …], number of incidents that there ever were,
//	          security,
//	          catalog]
//	node:    [id, name, addr, role, [announced label, …], version, start, level,
//	          draining, [given label, …],
//	          weight]
//	label:   [key, value]
//	group:   [id, incarnation, preferred node, [founder, …], [replica, …], [first slots, …],
//	          [seen term, seen index], next replica id, by hand, pinned]
//	replica: [replica id, node, role], a founder too
//	first slots: [from, to], both included
//	run:     [number of slots, group], the runs of all slots, in order
//	setting: [name, value]
//	job:     [id, kind, state, node, group, force, role, name of the node, done, total, why,
//	          [target, …], [kept, …], bytes, bytes total, cancelled,
//	          errand]
//	errand:  [prefix, node, file, at, slot, scheduled]
//	target:  [first slot, last slot, owner, new owner]
//	kept:    [from, to], both included
//	move:    [first slot, last slot, number, source, target, state, cancelled, empty, job]
//	incident: [id, group, incarnation, replica, [at term, at index], node, found, [part, …],
//	          number of parts, what, state, acknowledged]
//	security: [mode of TLS, cluster id in certificates, [root, …], [pin, …], [denial, …], [token, …], [user, …],
//	          [role, …], index of the entry that changed users or roles last, [limit, …], [trail, …]]
//	root:    [root id, certificate, state, since, wrapped key, id of the wrapping key]
//	pin:     [node, key, root id, serial, end, token, role]
//	denial:  [serial, until, why]
//	token:   [id, public key, role, uses left, expires, revoked, by]
//	user:    [id, name, password, [name of a role, …], certificates good from]
//	password: [salt, rounds, hash]
//	role:    [name, [grant, …]]
//	grant:   [verbs, kind of object, prefix]
//	limit:   [prefix, keys, bytes, writes per second]
//	trail:   [node, lines, hash, when]
//	catalog: [[database, …], [policy, …], [window, …], [dropped, …]]
//	database: [id, name, default policy]
//	policy:  [id, database, name, duration, window duration, shards]
//	window:  [id, policy, start, end, truncated, hidden, [group of a shard, …]]
//	dropped: [kind, id, at]
//
// Ids of roots and keys, certificates, serials, salts and hashes are binary; times are in Unix
// seconds, but for durations and the span of a window, which are in nanoseconds.
//
// Each line of an array came with a format of its own: the last of the table's with format
// 9, the one before it with format 8, the one before that with format 7, the one before that with format 6,
// the one before that, and the last of the node's and the one before the last of the job's, with format 5. Older
// formats end before it. A job ends with its errand if its kind is delete or backup, of which there is none below
// level 9; all others end before that. A node of formats 4 and 3 weighs [WeightDefault]. Format 3 has no setting and no job, ends each array with its first
// line, and a node's labels there are those that it announces; what a group allots next
// follows from its replicas, which are the founding's.
//
// That is all of it: what the table's log says is in the table, save where it
// stands, which is said by what holds the stream. So are checksums. Bytes that
// are not those which would be written for the table that they tell of are
// refused, so nothing can be in them that is not understood.
const (
	tableMagic  = "mustmeta"
	tableHeader = 16
	// tableBytesMax is above what [TableNodesMax] nodes with all their
	// labels, and all groups, can take.
	tableBytesMax = 128 << 20
	// tableElementsMax bounds the msgpack elements: 400 for each node, 20 and the
	// founders for each group, four for each of [TableReplicasMax] replicas; 200,000 of
	// security, and 270,000 of the catalog.
	tableElementsMax = 1 << 21
)

// The formats that tables are written in: by their level, so that each member can read
// them.
const (
	tableFormatFirst = 3 // below tableJobsLevel
	tableFormatJobs  = 4 // of settings and jobs, at tableJobsLevel
	tableFormatMoves = 5 // of moves, at MovesLevel
	tableFormatGone  = 6 // of removed groups, from LeasesLevel on

	tableFormatIncidents = 7 // of incidents, from AuditLevel on
	tableFormatSecurity  = 8 // of security, from SecurityLevel on
	tableFormatCatalog   = 9 // of databases, from PointsLevel on

	tableJobsLevel = 3
)

// format returns the format that the table is written in. It depends on nothing else, so
// that equal tables have equal bytes.
func (t *Table) format() uint16 {
	switch {
	case t.Level >= PointsLevel || bug("newest format below its level"):
		return tableFormatCatalog
	case t.Level >= SecurityLevel:
		return tableFormatSecurity
	case t.Level >= AuditLevel:
		return tableFormatIncidents
	case t.Level >= LeasesLevel:
		return tableFormatGone
	case t.Level >= MovesLevel:
		return tableFormatMoves
	case t.Level >= tableJobsLevel:
		return tableFormatJobs
	}
	return tableFormatFirst
}

// perFormat is how many fields an array has in each format, from the first on.
type perFormat [tableFormatCatalog - tableFormatFirst + 1]int

func (n perFormat) of(format uint16) int { return n[format-tableFormatFirst] }

// TableCopy is the table as it was at one entry.
type TableCopy struct{ table *Table }

// Copy returns the table as it is now. It costs nothing: a table never changes.
func (m *TableMachine) Copy() *TableCopy { return &TableCopy{m.Table()} }

// Release does nothing.
func (c *TableCopy) Release() {}

// WriteTo writes the table to w.
func (c *TableCopy) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(c.table.appendSnapshot(nil))
	if err != nil {
		err = fmt.Errorf("write the table: %w", err)
	}
	return int64(n), err
}

// Load makes the table the one that a [TableCopy] wrote, which must be all of
// r, as it stood at the entry at. After an error it is as it was.
func (m *TableMachine) Load(r io.Reader, at raft.LogID) error {
	d := streamReader{r: r}
	t, err := readTable(&d, m.level)
	if errors.Is(err, ErrLevel) || errors.Is(err, ErrOlder) {
		return fmt.Errorf("load the table: %w", err)
	}
	if err != nil {
		return fmt.Errorf("load the table: %w: at byte %d: %w", ErrSnapshot, d.offset, err)
	}
	m.applied = at
	m.table.Store(t)
	m.made = tableSums{}
	m.made.note(t, &m.scratch)
	return nil
}

func (t *Table) appendSnapshot(b []byte) []byte {
	b = append(b, tableMagic...)
	format := t.format()
	b = binary.LittleEndian.AppendUint16(b, format)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint32(b, 0)
	from := len(b)
	b = pack.AppendArray(b, tableFields.of(format))
	b = t.appendCluster(b)
	b = pack.AppendArray(b, len(t.Nodes))
	for i := range t.Nodes {
		b = appendKeptNode(b, &t.Nodes[i], format)
	}
	b = appendTableGroup(b, &t.Meta, format)
	b = pack.AppendArray(b, len(t.Groups))
	for i := range t.Groups {
		b = appendTableGroup(b, &t.Groups[i], format)
	}
	runs := t.Ranges()
	b = pack.AppendArray(b, len(runs))
	for _, r := range runs {
		b = pack.AppendArray(b, 2)
		b = pack.AppendUint(b, uint64(r.To-r.From)+1)
		b = pack.AppendUint(b, uint64(r.Group))
	}
	if format >= tableFormatJobs {
		b = appendJobs(b, t, format)
	}
	if format >= tableFormatMoves {
		b = moveList(t.Moves).append(b)
	}
	if format >= tableFormatGone {
		b = pack.AppendArray(b, len(t.RemovedGroups))
		for _, g := range t.RemovedGroups {
			b = pack.AppendUint(b, uint64(g))
		}
	}
	if format >= tableFormatIncidents {
		b = incidentList(t.Incidents).append(b)
		b = pack.AppendUint(b, t.IncidentCount)
	}
	if format >= tableFormatSecurity {
		b = t.Security.append(b)
	}
	if format >= tableFormatCatalog {
		b = t.Catalog.append(b)
	}
	binary.LittleEndian.PutUint32(b[from-4:], uint32(len(b)-from))
	return b
}

// appendCluster appends what the table knows of the cluster beside its lists.
func (t *Table) appendCluster(b []byte) []byte {
	b = pack.AppendString(b, t.Cluster)
	b = pack.AppendUint(b, t.ClusterID)
	b = pack.AppendUint(b, uint64(t.Level))
	b = pack.AppendUint(b, t.Index)
	b = pack.AppendUint(b, t.Epoch)
	return pack.AppendUint(b, uint64(t.ValueMax))
}

// appendJobs appends the fields of the table that format 4 has added.
func appendJobs(b []byte, t *Table, format uint16) []byte {
	b = pack.AppendArray(b, len(t.Settings))
	for i := range t.Settings {
		b = pack.AppendArray(b, 2)
		b = appendSettingTexts(b, &t.Settings[i])
	}
	b = pack.AppendArray(b, len(t.Jobs))
	for i := range t.Jobs {
		b = t.Jobs[i].append(b, format)
	}
	b = pack.AppendArray(b, len(t.Removed))
	for _, id := range t.Removed {
		b = pack.AppendUint(b, uint64(id))
	}
	return b
}

// append appends the field of the table that format 5 has added.
func (l moveList) append(b []byte) []byte {
	b = pack.AppendArray(b, len(l))
	for i := range l {
		b = l[i].append(b)
	}
	return b
}

func (m *Move) append(b []byte) []byte {
	b = pack.AppendArray(b, moveFields)
	b = pack.AppendUint(b, uint64(m.SlotRange.From))
	b = pack.AppendUint(b, uint64(m.SlotRange.To))
	b = pack.AppendUint(b, m.Number)
	b = pack.AppendUint(b, uint64(m.From))
	b = pack.AppendUint(b, uint64(m.To))
	b = pack.AppendUint(b, uint64(m.State))
	b = pack.AppendBool(b, m.Cancelled)
	b = pack.AppendBool(b, m.Empty)
	return pack.AppendUint(b, m.Job)
}

var (
	tableFields = perFormat{10, 13, 14, 15, 17, 18, 19}
	groupFields = perFormat{6, 10, 10, 10, 10, 10, 10}
	jobFields   = perFormat{0, 11, 16, 16, 16, 16, 16} // the first has none
)

const moveFields = 9

func appendTableGroup(b []byte, g *TableGroup, format uint16) []byte {
	b = pack.AppendArray(b, groupFields.of(format))
	b = pack.AppendUint(b, uint64(g.ID))
	b = pack.AppendUint(b, uint64(g.Incarnation))
	b = pack.AppendUint(b, uint64(g.Preferred))
	b = appendReplicas(b, g.Founders)
	b = appendReplicas(b, g.Replicas)
	b = appendRanges(b, g.FirstSlots)
	if format < tableFormatJobs {
		return b
	}
	b = appendLogID(b, g.Seen)
	b = pack.AppendUint(b, uint64(g.Next))
	b = pack.AppendBool(b, g.ByHand)
	return pack.AppendBool(b, g.Pinned)
}

func (j *Job) append(b []byte, format uint16) []byte {
	b = pack.AppendArray(b, j.Kind.keptFields(format, j.Errand))
	b = pack.AppendUint(b, j.ID)
	b = pack.AppendUint(b, uint64(j.Kind))
	b = pack.AppendUint(b, uint64(j.State))
	b = pack.AppendUint(b, uint64(j.Node))
	b = pack.AppendUint(b, uint64(j.Group))
	b = pack.AppendBool(b, j.Force)
	b = pack.AppendUint(b, uint64(j.Role))
	b = pack.AppendString(b, j.Name)
	b = pack.AppendUint(b, j.Done)
	b = pack.AppendUint(b, j.Total)
	b = pack.AppendString(b, j.Why)
	if format < tableFormatMoves {
		return b
	}
	b = appendTargets(b, j.Targets)
	b = appendRanges(b, j.Kept)
	b = pack.AppendUint(b, j.Bytes)
	b = pack.AppendUint(b, j.BytesTotal)
	b = pack.AppendBool(b, j.Cancelled)
	if j.Kind.AboutKeys() || j.Errand != (Errand{}) {
		b = j.Errand.append(b)
	}
	return b
}

// keptFields is how many fields a job of kind k has in the table's snapshot. One that is no errand
// stays as builds of level 8 read it. An errand where none belongs counts all the same, because
// digests are made of these bytes.
func (k JobKind) keptFields(format uint16, e Errand) int {
	n := jobFields.of(format)
	if format >= tableFormatMoves && (k.AboutKeys() || e != Errand{}) {
		n++
	}
	return n
}

// Equal reports whether the jobs are the same in every field.
func (j *Job) Equal(o *Job) bool {
	return bytes.Equal(j.append(nil, tableFormats.newest), o.append(nil, tableFormats.newest))
}

// readTable reads a table, and checks it for a build that understands no more than
// level.
func readTable(d *streamReader, level uint32) (*Table, error) {
	head, err := d.need(tableHeader)
	if err != nil {
		return nil, err
	}
	if string(head[:8]) != tableMagic {
		return nil, fmt.Errorf("begins with %q, want %q", head[:8], tableMagic)
	}
	format := binary.LittleEndian.Uint16(head[8:])
	if err := tableFormats.check(format); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[12:])
	if n > tableBytesMax {
		return nil, fmt.Errorf("%d bytes, the limit is %d", n, tableBytesMax)
	}
	b, err := d.take(tableHeader + int(n))
	if err != nil {
		return nil, err
	}
	if err := pack.Check(b[tableHeader:], tableElementsMax); err != nil {
		return nil, err
	}
	r := tableReader{Reader: pack.NewReader(b[tableHeader:])}
	t := r.table(format)
	if err := r.err(); err != nil {
		return nil, err
	}
	if err := t.understood(level); err != nil {
		return nil, err
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	if !bytes.Equal(t.appendSnapshot(make([]byte, 0, len(b))), b) {
		return nil, errors.New("these are not the bytes of the table that they tell of")
	}
	return t, d.end()
}

func (r *tableReader) table(format uint16) *Table {
	t := &Table{}
	r.fields("table", tableFields.of(format))
	t.Cluster, t.ClusterID = r.String(), r.Uint()
	t.Level = uint32(r.UintMax(1<<32 - 1))
	t.Index = r.Uint()
	t.Epoch = r.Uint()
	t.ValueMax = int(r.UintMax(ValueMaxLimit))
	group := func() TableGroup { return r.group(format) }
	t.Nodes = list(r, nodeBytesMin, func() TableNode { return r.keptNode(format) })
	t.Meta = group()
	t.Groups = list(r, 1+groupFields.of(format), group)
	slot := 0
	list(r, 3, func() (none struct{}) {
		r.fields("run", 2)
		n, g := int(r.UintMax(Slots)), raft.GroupID(r.UintMax(1<<16-1))
		if slot+n > Slots {
			r.Fail(fmt.Sprintf("more than %d slots", Slots))
			return
		}
		for range n {
			t.Slots[slot] = g
			slot++
		}
		return
	})
	if slot != Slots && r.Err() == nil {
		r.Fail(fmt.Sprintf("%d slots, there are %d", slot, Slots))
	}
	if format < tableFormatJobs {
		return t
	}
	t.Settings = list(r, 3, r.settingTexts)
	t.Jobs = list(r, 1+jobFields.of(format), func() Job { return r.job(format) })
	t.Removed = list(r, 1, func() raft.NodeID { return raft.NodeID(r.Uint()) })
	if format < tableFormatMoves {
		return t
	}
	t.Moves = list(r, 1+moveFields, r.move)
	if format < tableFormatGone {
		return t
	}
	t.RemovedGroups = list(r, 1, r.groupID)
	if format < tableFormatIncidents {
		return t
	}
	t.Incidents, t.IncidentCount = list(r, incidentBytesMin, func() Incident { return readIncident(r) }), r.Uint()
	if format < tableFormatSecurity {
		return t
	}
	t.Security = readSecurity(r)
	if format < tableFormatCatalog {
		return t
	}
	t.Catalog = readCatalog(r)
	return t
}

func (r *tableReader) move() (m Move) {
	r.fields("move", moveFields)
	m.SlotRange, m.Number = r.slotRange(), r.Uint()
	m.From, m.To, m.State = r.groupID(), r.groupID(), MoveState(r.UintMax(255))
	m.Cancelled, m.Empty, m.Job = r.Bool(), r.Bool(), r.Uint()
	return m
}

func (r *tableReader) group(format uint16) (g TableGroup) {
	r.fields("group", groupFields.of(format))
	g.ID, g.Incarnation = r.groupID(), raft.Incarnation(r.Uint())
	g.Preferred = raft.NodeID(r.Uint())
	g.Founders, g.Replicas = list(r, replicaBytesMin, r.replica), list(r, replicaBytesMin, r.replica)
	g.FirstSlots = r.ranges()
	if format < tableFormatJobs {
		g.Next = g.nextOfFounding()
		return g
	}
	g.Seen, g.Next = r.logID(), raft.ReplicaID(r.Uint())
	g.ByHand, g.Pinned = r.Bool(), r.Bool()
	return g
}

func (r *tableReader) job(format uint16) (j Job) {
	// The kind decides how many fields there are, so it is read first.
	ahead := *r
	ahead.Array()
	ahead.Uint()
	r.fields("job", JobKind(ahead.UintMax(255)).keptFields(format, Errand{}))
	j.ID, j.Kind, j.State = r.Uint(), JobKind(r.UintMax(255)), JobState(r.UintMax(255))
	j.Node, j.Group = raft.NodeID(r.Uint()), r.groupID()
	j.Force, j.Role = r.Bool(), NodeRole(r.UintMax(255))
	j.Name, j.Done, j.Total, j.Why = r.String(), r.Uint(), r.Uint(), r.String()
	if format < tableFormatMoves {
		return j
	}
	j.Targets, j.Kept = r.targets(), r.ranges()
	j.Bytes, j.BytesTotal, j.Cancelled = r.Uint(), r.Uint(), r.Bool()
	if j.Kind.AboutKeys() {
		j.Errand = readErrand(r)
	}
	return j
}

// check says why t can't be the table of a cluster.
func (t *Table) check() error {
	switch {
	case len(t.Nodes) > TableNodesMax:
		return fmt.Errorf("%d nodes, the limit is %d", len(t.Nodes), TableNodesMax)
	case len(t.Cluster) > TableTextMax:
		return fmt.Errorf("the name of the cluster has %d bytes, the limit is %d", len(t.Cluster), TableTextMax)
	case t.Epoch > t.Index:
		return fmt.Errorf("epoch %d, the table changed last at %d", t.Epoch, t.Index)
	case t.Meta.ID != 0:
		return fmt.Errorf("%s in the place of the meta group", t.Meta.ID)
	}
	for i := range t.Nodes {
		if err := t.Nodes[i].validate(); err != nil {
			return err
		}
		if i > 0 && t.Nodes[i-1].ID >= t.Nodes[i].ID {
			return fmt.Errorf("node %s is out of order", t.Nodes[i].ID)
		}
		if t.Nodes[i].Level < t.Level {
			return fmt.Errorf("node %s understands level %d, the cluster is at level %d", t.Nodes[i].ID, t.Nodes[i].Level, t.Level)
		}
	}
	if err := t.Meta.check(); err != nil {
		return err
	}
	for i := range t.Groups {
		if err := t.Groups[i].check(); err != nil {
			return err
		}
		if id := t.Groups[i].ID; id == 0 || i > 0 && t.Groups[i-1].ID >= id {
			return fmt.Errorf("%s is out of order", id)
		}
	}
	if err := checkFirstSlots(t); err != nil {
		return err
	}
	if err := checkJobs(t); err != nil {
		return err
	}
	if err := moveList(t.Moves).check(t); err != nil {
		return err
	}
	if err := checkRemovedGroups(t); err != nil {
		return err
	}
	if err := incidentList(t.Incidents).check(t); err != nil {
		return err
	}
	if err := t.Security.check(t); err != nil {
		return err
	}
	if err := t.Catalog.check(t); err != nil {
		return err
	}
	for _, r := range t.Ranges() {
		if r.Group == 0 {
			continue
		}
		if _, ok := t.Group(r.Group); !ok {
			return fmt.Errorf("slots %s are of %s, which is not in the table", r.SlotRange, r.Group)
		}
	}
	return nil
}

// checkJobs says why what format 4 has added can't be in the table.
func checkJobs(t *Table) error {
	if n := t.replicas(); n > TableReplicasMax {
		return fmt.Errorf("%d replicas, the limit is %d", n, TableReplicasMax)
	}
	if err := settingList(t.Settings).check(); err != nil {
		return err
	}
	if open := jobList(t.Jobs).open(); open > JobsMax || len(t.Jobs)-open > JobsKept {
		return fmt.Errorf("%d jobs, %d of them unfinished; the limits are %d finished and %d unfinished", len(t.Jobs), open, JobsKept, JobsMax)
	}
	for i := range t.Jobs {
		if err := t.Jobs[i].check(); err != nil {
			return err
		}
		if i > 0 && t.Jobs[i-1].ID >= t.Jobs[i].ID {
			return fmt.Errorf("job %d is out of order", t.Jobs[i].ID)
		}
		if err := t.Jobs[i].checkSlots(t); err != nil {
			return err
		}
		for _, to := range t.Jobs[i].Targets {
			if other, s := jobList(t.Jobs[:i]).moving(to.SlotRange); other != nil {
				return fmt.Errorf("slot %d is moved by jobs %d and %d", s, other.ID, t.Jobs[i].ID)
			}
		}
	}
	if len(t.Removed) > RemovedMax {
		return fmt.Errorf("%d removed nodes, the limit is %d", len(t.Removed), RemovedMax)
	}
	for i, id := range t.Removed {
		if i > 0 && t.Removed[i-1] >= id {
			return fmt.Errorf("removed node %s is out of order", id)
		}
		if _, ok := t.node(id); ok {
			return fmt.Errorf("node %s is on the list, and removed", id)
		}
	}
	return nil
}

// checkFirstSlots says why groups can't have been founded with these slots: no slot
// begins in two groups.
func checkFirstSlots(t *Table) error {
	if len(t.Meta.FirstSlots) > 0 {
		return fmt.Errorf("%s is founded with slots", t.Meta.ID)
	}
	var first [Slots]raft.GroupID
	for i := range t.Groups {
		g := &t.Groups[i]
		if err := checkRanges(g.FirstSlots); err != nil {
			return fmt.Errorf("%s: %w", g.ID, err)
		}
		for s := range eachOf(g.FirstSlots) {
			if first[s] != 0 {
				return fmt.Errorf("%s and %s are both founded with slot %d", first[s], g.ID, s)
			}
			first[s] = g.ID
		}
	}
	return nil
}

func (g *TableGroup) check() error {
	for _, list := range [...]struct {
		name     string
		replicas []TableReplica
	}{{"founder", g.Founders}, {"replica", g.Replicas}} {
		if len(list.replicas) > raft.MembersMax {
			return fmt.Errorf("%s has %d of %s, the limit is %d", g.ID, len(list.replicas), list.name, raft.MembersMax)
		}
		for i, r := range list.replicas {
			switch {
			case r.Role != ReplicaVoter && r.Role != ReplicaLearner:
				return fmt.Errorf("%s %d of %s has role %d: %w", list.name, r.Replica, g.ID, r.Role, ErrLevel)
			case r.Replica == 0 || i > 0 && list.replicas[i-1].Replica >= r.Replica:
				return fmt.Errorf("%s %d of %s is out of order", list.name, r.Replica, g.ID)
			case r.Replica >= g.Next:
				return fmt.Errorf("%s %d of %s, which allots %d next", list.name, r.Replica, g.ID, g.Next)
			case slices.ContainsFunc(list.replicas[:i], func(o TableReplica) bool { return o.Node == r.Node }):
				return fmt.Errorf("%s %d of %s is on node %s, which has another one", list.name, r.Replica, g.ID, r.Node)
			}
		}
	}
	return nil
}
