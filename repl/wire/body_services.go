package wire

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/pack"
	"muster/shardmap/registry"
)

// Limits of one [ServicesAnswer]. A client asks for what does not fit behind its last row.
const (
	ServicesRowsMax = 10000
	// ServicesBytesMax bounds the bytes of names and values; one row alone always fits. While a
	// group takes the secrets out of them it applies no entry.
	ServicesBytesMax = 256 << 10
)

// Services asks a group for the services in some of its slots, by slot and then by name:
// [group, mode, stale ms, [[from, to] …], after slot, after name, exact, limit]. The group answers
// only if it has all of the slots.
type Services struct {
	Group raft.GroupID
	Mode  ReadMode             // as of a [Get]
	Stale uint32               // ms that the answer may be old, in mode ReadBounded; else 0
	Slots []shardmap.SlotRange // in order; 1 or more
	// AfterSlot and After name the service behind which to begin; After empty: with the first.
	AfterSlot shardmap.Slot
	After     []byte
	// Exact asks for the one service After, whose slot is the only one of Slots.
	Exact bool
	Limit uint32 // bytes of names and values, at most ServicesBytesMax; 0: ServicesBytesMax
}

func (m *Services) fields(f *fields) {
	f.exactly(8, func() {
		number(f, "group", &m.Group)
		number(f, "mode", &m.Mode)
		number(f, "stale_ms", &m.Stale)
		slotRuns(f, &m.Slots)
		number(f, "after_slot", &m.AfterSlot)
		f.bin("after", &m.After)
		f.flag("exact", &m.Exact)
		number(f, "limit", &m.Limit)
	})
}

// Append appends the body.
func (m *Services) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body. A limit of 0 is filled in.
func (m *Services) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if err := checkGroupAndSlots(m.Group, m.Slots, shardmap.Slots); err != nil {
		return err
	}
	one := m.Slots[0]
	switch {
	case m.Mode > ReadBounded:
		return fmt.Errorf("field mode: %d; want %d at most", m.Mode, ReadBounded)
	case m.Mode != ReadBounded && m.Stale != 0:
		return fmt.Errorf("field stale: %d ms in mode %d; want 0", m.Stale, m.Mode)
	case m.AfterSlot >= shardmap.Slots:
		return fmt.Errorf("field after slot: %d; want %d at most", m.AfterSlot, shardmap.Slots-1)
	case len(m.After) > registry.NameMax:
		return fmt.Errorf("field after: a name of %d bytes; want %d at most", len(m.After), registry.NameMax)
	case m.Exact && len(m.After) == 0:
		return fmt.Errorf("field after: 0 bytes beside exact; want 1 to %d", registry.NameMax)
	case m.Exact && (len(m.Slots) != 1 || one.From != one.To || one.From != shardmap.SlotOf(m.After) || m.AfterSlot != one.From):
		return fmt.Errorf("field slots: beside exact; want the slot of %s alone, %d, as after slot too", shardmap.ShowKey(m.After), shardmap.SlotOf(m.After))
	case m.Limit > ServicesBytesMax:
		return fmt.Errorf("field limit: %d bytes; want %d at most", m.Limit, ServicesBytesMax)
	}
	if m.Limit == 0 {
		m.Limit = ServicesBytesMax
	}
	return nil
}

// ServicesAnswer answers a [Services]:
// [group, term, index, more, [[name, version, value] …], [[instance, check, node, name] …]].
type ServicesAnswer struct {
	Group raft.GroupID
	At    raft.LogID   // the rows are as of here
	More  bool         // ask again, behind the last row
	Rows  []ServiceRow // at most ServicesRowsMax
	// Checkers says which nodes run the checks of the single service that an exact question is about. It
	// is empty unless the leader of the group answers, in mode ReadLinearizable or ReadFollower, and
	// if that is a node of an older build.
	Checkers []ServiceChecker // at most registry.InstancesMax
}

// ServiceChecker says which node runs the check of an instance: it has taken the newest assignment
// of the leader. An instance without a row has no such node now, or none that the leader knows of.
type ServiceChecker struct {
	Instance string
	Check    uint64 // version of what is checked; the row is void if that of the instance is another one
	Node     raft.NodeID
	Name     string // of the node; "" if the leader's table has no such node
}

// ServiceRow is a service as nodes show it to clients.
type ServiceRow struct {
	Name    []byte
	Version uint64
	Value   []byte // a [registry.Service] without its secrets, see [registry.Public]
}

const (
	servicesAnswerFields = 6
	servicesAnswerBefore = 5 // without Checkers
	serviceRowFields     = 3
	serviceCheckerFields = 4
	// serviceRowBytesMin is what the shortest row takes: its head, a name of one byte, a
	// version, a value of one byte.
	serviceRowBytesMin = 1 + 3 + 1 + 3
	// serviceCheckerBytesMin is what the shortest [ServiceChecker] takes: its head, an id of one
	// byte, a version, a node, no name.
	serviceCheckerBytesMin = 1 + 2 + 1 + 1 + 1
)

// Append appends the body.
func (m *ServicesAnswer) Append(b []byte) []byte {
	b = pack.AppendArray(b, servicesAnswerFields)
	b = appendLogID(b, m.Group, m.At)
	b = pack.AppendBool(b, m.More)
	b = pack.AppendArray(b, len(m.Rows))
	for i := range m.Rows {
		row := &m.Rows[i]
		b = pack.AppendArray(b, serviceRowFields)
		b = pack.AppendBytes(b, row.Name)
		b = pack.AppendUint(b, row.Version)
		b = pack.AppendBytes(b, row.Value)
	}
	b = pack.AppendArray(b, len(m.Checkers))
	for i := range m.Checkers {
		c := &m.Checkers[i]
		b = pack.AppendArray(b, serviceCheckerFields)
		b = pack.AppendString(b, c.Instance)
		b = pack.AppendUint(b, c.Check)
		b = pack.AppendUint(b, uint64(c.Node))
		b = pack.AppendString(b, c.Name)
	}
	return b
}

// Read reads the body. Names and values alias it.
func (m *ServicesAnswer) Read(body []byte) error {
	r := pack.NewReader(body)
	n := r.Array()
	m.Group, m.At = readLogID(&r)
	m.More = r.Bool()
	rows := r.Array()
	if err := r.Err(); err != nil {
		return err
	}
	if rows > ServicesRowsMax || rows > len(r.Rest())/serviceRowBytesMin {
		return fmt.Errorf("%d rows in %d bytes, want %d at most", rows, len(r.Rest()), ServicesRowsMax)
	}
	m.Rows = make([]ServiceRow, rows)
	for i := range m.Rows {
		fields := r.Array()
		row := ServiceRow{Name: r.Bytes(), Version: r.Uint(), Value: r.Bytes()}
		r.Trailing(fields, serviceRowFields)
		if r.Err() == nil && (len(row.Name) == 0 || len(row.Name) > registry.NameMax || len(row.Value) == 0) {
			return fmt.Errorf("row %d: a name of %d bytes and a value of %d, want 1 to %d, and 1 or more", i, len(row.Name), len(row.Value), registry.NameMax)
		}
		m.Rows[i] = row
	}
	m.Checkers = nil
	if n < servicesAnswerFields {
		r.Trailing(n, servicesAnswerBefore)
		return r.Done()
	}
	if err := m.readCheckers(&r); err != nil {
		return err
	}
	r.Trailing(n, servicesAnswerFields)
	return r.Done()
}

func (m *ServicesAnswer) readCheckers(r *pack.Reader) error {
	n := r.Array()
	if err := r.Err(); err != nil {
		return err
	}
	if n > registry.InstancesMax || n > len(r.Rest())/serviceCheckerBytesMin {
		return fmt.Errorf("%d checkers in %d bytes, want %d at most", n, len(r.Rest()), registry.InstancesMax)
	}
	if n == 0 {
		return nil
	}
	m.Checkers = make([]ServiceChecker, n)
	for i := range m.Checkers {
		fields := r.Array()
		c := ServiceChecker{Instance: r.String(), Check: r.Uint(), Node: raft.NodeID(r.Uint()), Name: r.String()}
		r.Trailing(fields, serviceCheckerFields)
		if r.Err() == nil && (c.Instance == "" || len(c.Instance) > registry.IDMax || c.Node == 0) {
			return fmt.Errorf("checker %d: an instance of %d bytes and node %s, want 1 to %d, and a node", i, len(c.Instance), c.Node, registry.IDMax)
		}
		m.Checkers[i] = c
	}
	return nil
}

func (m *ServicesAnswer) lines() []string {
	lines := []string{fmt.Sprintf("at %s more %t", raft.FormatLogID(m.Group, m.At), m.More)}
	for i := range m.Rows {
		row := &m.Rows[i]
		lines = append(lines, fmt.Sprintf("service %s version %d value of %d bytes", quoted(row.Name), row.Version, len(row.Value)))
	}
	for i := range m.Checkers {
		c := &m.Checkers[i]
		lines = append(lines, fmt.Sprintf("instance %q check %d node %s name %q", c.Instance, c.Check, c.Node, c.Name))
	}
	return lines
}

// HeartbeatStatus is what an instance of a service of type ttl reports of itself. Numbers are for
// ever.
type HeartbeatStatus uint8

const (
	HeartbeatUp   HeartbeatStatus = 1 // it is up
	HeartbeatDown HeartbeatStatus = 2 // it is down
)

// Heartbeat is the report of an instance of a service of type ttl to the leader of the group:
// [group, service, instance, status, note]. It is answered with an [Empty].
type Heartbeat struct {
	Group    raft.GroupID
	Name     string // of the service, 1 to registry.NameMax bytes
	Instance string // its id, 1 to registry.IDMax bytes
	Status   HeartbeatStatus
	Note     string // for people, at most registry.ReasonMax bytes
}

func (m *Heartbeat) fields(f *fields) {
	f.exactly(5, func() {
		number(f, "group", &m.Group)
		f.text("service", &m.Name)
		f.text("instance", &m.Instance)
		number(f, "status", &m.Status)
		f.text("note", &m.Note)
	})
}

// Append appends the body.
func (m *Heartbeat) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Heartbeat) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	switch {
	case m.Group > raft.GroupMax:
		return fmt.Errorf("field group: %d; want %d at most", m.Group, raft.GroupMax)
	case m.Name == "" || len(m.Name) > registry.NameMax:
		return fmt.Errorf("field service: %d bytes; want 1 to %d", len(m.Name), registry.NameMax)
	case m.Instance == "" || len(m.Instance) > registry.IDMax:
		return fmt.Errorf("field instance: %d bytes; want 1 to %d", len(m.Instance), registry.IDMax)
	case m.Status != HeartbeatUp && m.Status != HeartbeatDown:
		return fmt.Errorf("field status: %d; want %d, up, or %d, down", m.Status, HeartbeatUp, HeartbeatDown)
	case len(m.Note) > registry.ReasonMax:
		return fmt.Errorf("field note: %d bytes; want %d at most", len(m.Note), registry.ReasonMax)
	}
	return nil
}
