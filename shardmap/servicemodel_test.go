package shardmap

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"muster/raft"
	"muster/shardmap/registry"
)

// modelService is a service of a model: the bytes of its record.
type modelService struct {
	value   string
	version uint64
}

// serviceNow returns a service as it is; nil if there is none.
func (m *model) serviceNow(name string) *registry.Service {
	was, there := m.services[name]
	if !there {
		return nil
	}
	s, err := registry.Read([]byte(was.value))
	if err != nil {
		panic(err)
	}
	return s
}

// service is a command about a service. What a definition makes of the record before,
// package registry tests.
func (m *model) service(slot Slot, id raft.LogID, c *Command) Result {
	q, err := ReadService(c)
	if err != nil {
		panic(err)
	}
	r := Result{Group: m.group, ID: id}
	was, version := m.serviceNow(q.Name), max(id.Index, m.last[slot]+1)
	if was == nil && q.Op != ServiceSet {
		r.Status = StatusNoService
		return r
	}
	switch next := was; q.Op {
	case ServiceDel:
		delete(m.services, q.Name)
		r.Deleted = 1
	default:
		if q.Op == ServiceSet {
			if next, err = registry.Read(q.Definition); err != nil {
				panic(err)
			}
			next.Set(was, version)
			if n := len(next.Settings); n > 0 && next.Settings[n-1].Value == registry.Mask { // no other one is ever masked
				r.Status, r.Detail = StatusServiceMasked, []byte{0x93, 1, 0, byte(n - 1)}
				return r
			}
		} else {
			at := slices.IndexFunc(next.Instances, func(i registry.Instance) bool { return i.ID == q.Instance })
			if at < 0 {
				r.Status = StatusNoInstance
				return r
			}
			if q.Op == ServiceRemove {
				next.Instances = slices.Delete(next.Instances, at, at+1)
			} else {
				next.Instances[at].Maintenance = q.On
			}
		}
		m.services[q.Name] = modelService{string(next.Append(nil)), version}
	}
	m.last[slot] = version
	r.Status, r.Version = StatusApplied, version
	return r
}

// report is a report, in a slot whose time is its group's.
func (m *model) report(slot Slot, id raft.LogID, now raft.GroupTime, c *Command) Result {
	p, err := ReadReport(c)
	if err != nil {
		panic(err)
	}
	r := Result{Status: StatusApplied, Group: m.group, ID: id}
	s := m.serviceNow(p.Name)
	if s == nil {
		r.Status = StatusNoService
		return r
	}
	before := string(s.Append(nil))
	for _, row := range p.Rows {
		for at := range s.Instances {
			i := &s.Instances[at]
			if i.ID != row.Instance || row.Check != i.Check && row.Op != ReportHooked {
				continue
			}
			switch row.Op {
			case ReportStatus:
				if i.Reason = row.Reason; i.Status != row.Status {
					i.Status, i.Since, i.SinceSlot, i.Count = row.Status, row.At, uint64(now/1e6), i.Count+1
					i.Changes = append(i.Changes, registry.Change{At: row.At, Slot: uint64(now / 1e6), To: row.Status, Reason: row.Reason})
					i.Changes = i.Changes[max(0, len(i.Changes)-20):]
				}
			case ReportHooked:
				i.Hooked = max(i.Hooked, min(uint64(row.At), i.Count))
			case ReportGone:
				if i.Status == registry.Down && i.SinceSlot == uint64(row.At) {
					s.Instances = slices.Delete(s.Instances, at, at+1)
				}
			}
			break
		}
	}
	if value := string(s.Append(nil)); value != before {
		r.Version = max(id.Index, m.last[slot]+1)
		m.last[slot] = r.Version
		m.services[p.Name] = modelService{value, r.Version}
	}
	return r
}

// randomService returns a command about one of few services, in the slot of a tag.
func randomService(r *rand.Rand, tag string) Command {
	name := fmt.Sprintf("%sdb%d", tag, r.IntN(3))
	instance := fmt.Sprintf("10.0.0.%d:80", 1+r.IntN(4))
	switch r.IntN(8) {
	case 0:
		return ServiceDelCommand(name)
	case 1:
		return ServiceRemoveCommand(name, instance)
	case 2, 3:
		return ServiceMaintainCommand(name, instance, r.IntN(2) == 0)
	}
	s := &registry.Service{Name: name, Type: registry.TypeTCP, Settings: []registry.Setting{{Key: "webhook_secret", Value: []string{"hush", registry.Mask}[r.IntN(2)]}}}
	if r.IntN(2) == 0 {
		s.Settings = append(s.Settings, registry.Setting{Key: "webhook", Value: "http://10.0.0.9/"})
	}
	for host := 1 + r.IntN(2); host <= 4; host += 1 + r.IntN(2) {
		s.Instances = append(s.Instances, registry.Instance{Settings: []registry.Setting{
			{Key: "host", Value: fmt.Sprintf("10.0.0.%d", host)}, {Key: "port", Value: "80"},
			{Key: "interval", Value: fmt.Sprint(1000 * (1 + r.IntN(2)))},
			{Key: "note", Value: strings.Repeat("n", r.IntN(3000))},
		}})
	}
	s.Complete()
	if err := s.Validate(); err != nil {
		panic(err)
	}
	return ServiceSetCommand(name, s.Append(nil))
}

// randomReport returns a report about one of the services that now returns, mostly of what is
// so.
func randomReport(r *rand.Rand, now func(name string) *registry.Service, tag string) Command {
	p := Report{Name: fmt.Sprintf("%sdb%d", tag, r.IntN(3))}
	s := now(p.Name)
	for range 1 + r.IntN(3) {
		row := ReportRow{Instance: fmt.Sprintf("10.0.0.%d:80", 1+r.IntN(4)), Op: ReportOp(1 + r.IntN(3)), Check: r.Uint64N(100), At: r.Int64N(50),
			Status: registry.Status(r.IntN(4)), Reason: []string{"refused", "timeout"}[r.IntN(2)]}
		if s != nil {
			if i := s.Instance(row.Instance); i != nil && r.IntN(4) > 0 {
				if row.Check = i.Check; row.Op == ReportGone {
					row.At = int64(i.SinceSlot)
				}
			}
		}
		// Nobody says two things of one instance at once.
		if !slices.ContainsFunc(p.Rows, func(x ReportRow) bool { return x.Instance == row.Instance && x.Op == row.Op }) {
			p.Rows = append(p.Rows, row)
		}
	}
	return ReportCommand(SlotOf([]byte(tag)), &p)
}

// randomServices applies commands about services that are drawn from seed, to a map and to one
// that begins with a state of it now and then, and returns what is wrong.
func randomServices(t testing.TB, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 0))
	const tag = "{a}"
	slot := SlotOf([]byte(tag))
	m, twin, want := owning([]Slot{slot}), owning([]Slot{slot}), newModel()
	now, changes := raft.GroupTime(0), m.ServiceChanges()
	raise := RaiseCommand(Level)
	for _, x := range []*Map{m, twin} {
		apply(t, x, 2, 0, &raise)
	}
	for index := uint64(3); index < 300; index++ {
		now += raft.GroupTime(r.Int64N(3e6))
		c := randomReport(r, want.serviceNow, tag)
		if r.IntN(3) == 0 {
			c = randomService(r, tag)
			if err := c.Validate(Limits{ValueMax: ValueMaxDefault, Level: Level}); err != nil {
				return err
			}
		}
		id := raft.LogID{Term: 1, Index: index}
		last := want.last[slot]
		expected := want.apply(id, now, &c)
		for _, x := range []*Map{m, twin} {
			if got := apply(t, x, index, now, &c); !sameResult(got, expected) {
				return fmt.Errorf("entry %d, %s: got %+v, want %+v", index, c.Kind, got, expected)
			}
		}
		// A command that changes nothing makes no event, and nobody looks at the services again.
		if wrote := want.last[slot] != last; wrote != (m.ServiceChanges() != changes) || wrote != (m.history.last.ID == id) {
			return fmt.Errorf("entry %d, %s: changed %t, changes went from %d to %d, the last event is at %s", index, c.Kind, wrote, changes, m.ServiceChanges(), m.history.last.ID)
		}
		changes = m.ServiceChanges()
		if err := want.compareServices(m); err != nil {
			return fmt.Errorf("entry %d, %s: %w", index, c.Kind, err)
		}
		if r.IntN(20) == 0 {
			b := mapBytes(t, m)
			twin = NewMap(testGroup)
			if err := twin.Load(strings.NewReader(string(b)), id, now); err != nil {
				return fmt.Errorf("entry %d: %w", index, err)
			}
		}
		if digestOf(m, slot) != digestOf(twin, slot) {
			return fmt.Errorf("entry %d, %s: the replicas differ", index, c.Kind)
		}
	}
	return nil
}

// compareServices compares all ways to read services with what they are.
func (m *model) compareServices(x *Map) error {
	names := make([]string, 0, len(m.services))
	for name := range m.services {
		names = append(names, name)
	}
	slices.Sort(names)
	var each []string
	x.EachService(func(s Slot, name []byte, version, _ uint64, value []byte) bool {
		if w := m.services[string(name)]; s != SlotOf(name) || w.version != version || w.value != string(value) {
			each = append(each, fmt.Sprintf("another at version %d, want %d", version, w.version))
		}
		each = append(each, string(name))
		return true
	})
	var listed []string
	slot, after := Slot(0), []byte(nil)
	for more := true; more; {
		var rows []ServiceRow
		rows, more = x.Services([]SlotRange{{0, Slots - 1}}, slot, after, 1) // one a page
		for _, row := range rows {
			listed = append(listed, string(row.Name))
			slot, after = row.Slot, row.Name
		}
	}
	if !slices.Equal(each, names) || !slices.Equal(listed, names) {
		return fmt.Errorf("there are %q, and listed %q; want %q", each, listed, names)
	}
	for _, name := range append(names, "{a}none") {
		value, version, is := x.Service([]byte(name))
		if w, there := m.services[name]; there != (is == Present) || string(value) != w.value || version != w.version {
			return fmt.Errorf("%q is %s at version %d: %q, want %+v", name, is, version, value, w)
		}
	}
	return nil
}

// Services are what commands and reports say, told once more by a slow model. One would doubt
// that a report about what is gone or defined anew changes nothing, that what changes nothing
// is no event, and that a replica which begins with a state goes on alike.
func TestServicesAreLikeModel(t *testing.T) {
	for seed := range uint64(40) {
		if err := randomServices(t, seed); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}
