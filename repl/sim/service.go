package sim

import (
	"bytes"
	"hash/fnv"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/health"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// What services are, by the logs, in the slowest and most obvious code: each version of each
// record is kept. It shares the form of a record with package registry, but none of the rules by
// which one version follows from another.

const (
	typeTCP, typeTTL, typeCustom = registry.TypeTCP, registry.TypeTTL, registry.TypeCustom

	settingWebhook, settingDeregister = registry.SettingWebhook, registry.SettingDeregister
)

// serviceVersion is what a service was from an entry on.
type serviceVersion struct {
	span    int
	index   uint64
	version uint64            // of the record
	service *registry.Service // nil: there is none
	public  []byte            // what clients are shown
}

// serviceNow returns what a service is.
func (l *slotLife) serviceNow(name string) serviceVersion {
	if h := l.services[name]; len(h) > 0 {
		return h[len(h)-1]
	}
	return serviceVersion{}
}

// serviceAt returns what a service was as of an index in a span.
func (l *slotLife) serviceAt(name string, k int, index uint64) (was serviceVersion) {
	for _, v := range l.services[name] {
		if v.span < k || v.span == k && v.index <= index {
			was = v
		}
	}
	return was
}

// wasChecked reports whether one of a service's versions was of a type that does not report
// itself.
func wasChecked(versions []serviceVersion) bool {
	return slices.ContainsFunc(versions, func(v serviceVersion) bool { return v.service != nil && v.service.Type != typeTTL })
}

// knownInstance is an instance as some version of a record had it.
type knownInstance struct {
	service  *registry.Service
	instance *registry.Instance
}

// knew returns an instance as it was last checked in that way, or nil if it never was.
func (l *slotLife) knew(name, instance string, check uint64) *knownInstance {
	h := l.services[name]
	for i := len(h) - 1; i >= 0; i-- {
		if x := instanceOf(h[i].service, instance); x != nil && x.Check == check {
			return &knownInstance{h[i].service, x}
		}
	}
	return nil
}

// instanceOf returns an instance of a service, or nil.
func instanceOf(s *registry.Service, id string) *registry.Instance {
	if s == nil {
		return nil
	}
	if i := slices.IndexFunc(s.Instances, func(x registry.Instance) bool { return x.ID == id }); i >= 0 {
		return &s.Instances[i]
	}
	return nil
}

// copyOf returns a copy of a service of which everything may be changed.
func copyOf(s *registry.Service) *registry.Service {
	next := *s
	next.Settings = slices.Clone(s.Settings)
	next.Instances = slices.Clone(s.Instances)
	for i := range next.Instances {
		x := &next.Instances[i]
		x.Settings, x.Changes = slices.Clone(x.Settings), slices.Clone(x.Changes)
	}
	return &next
}

// service is a command about a service that was not carried out before.
func (l *slotLife) service(t *truth, e raft.Entry, x *shardmap.Command) outcome {
	b, err := shardmap.ReadService(x)
	if err != nil {
		t.c.fail("I9: entry %s of group %d is about no service: %v", e.ID, t.group, err)
	}
	r := outcome{slot: x.Slot, owned: true, group: t.group, id: e.ID, service: b.Name}
	was := l.serviceNow(b.Name).service
	if was == nil && b.Op != shardmap.ServiceSet {
		r.status = shardmap.StatusNoService
		return r
	}
	version := max(e.ID.Index, l.last+1)
	var next *registry.Service
	if b.Op == shardmap.ServiceMaintain || b.Op == shardmap.ServiceRemove {
		next = copyOf(was)
		i := slices.IndexFunc(next.Instances, func(x registry.Instance) bool { return x.ID == b.Instance })
		switch {
		case i < 0:
			r.status = shardmap.StatusNoInstance
			return r
		case b.Op == shardmap.ServiceRemove:
			next.Instances = slices.Delete(next.Instances, i, i+1)
		default:
			next.Instances[i].Maintenance = b.On
		}
	}
	if b.Op == shardmap.ServiceSet {
		if next, err = registry.Read(b.Definition); err != nil {
			t.c.fail("I9: entry %s of group %d sets service %q to what is none: %v", e.ID, t.group, b.Name, err)
		}
		redefine(next, was, version)
		if masked(next) {
			r.status = shardmap.StatusServiceMasked
			return r
		}
	}
	if b.Op == shardmap.ServiceDel {
		r.deleted = 1
	}
	r.status, r.version = shardmap.StatusApplied, version
	l.record(t, e, b.Name, version, next)
	return r
}

// redefine gives the instances of a definition that were there before the state that they had.
func redefine(next, was *registry.Service, version uint64) {
	for i := range next.Instances {
		next.Instances[i].Check = version
	}
	if was == nil {
		return
	}
	unmask(next.Settings, was.Settings)
	for i := range next.Instances {
		x := &next.Instances[i]
		o := instanceOf(was, x.ID)
		if o == nil {
			continue
		}
		unmask(x.Settings, o.Settings)
		x.Status, x.Maintenance, x.Reason, x.Since, x.SinceSlot = o.Status, o.Maintenance, o.Reason, o.Since, o.SinceSlot
		x.Changes, x.Hooked, x.Count = slices.Clone(o.Changes), o.Hooked, o.Count
		if was.Get(settingWebhook) == "" { // nobody is told of the changes before
			x.Hooked = x.Count
		}
		if specOf(next, x) == specOf(was, o) {
			x.Check = o.Check
		}
	}
}

// specOf returns how an instance is checked, or why it can't be.
func specOf(s *registry.Service, x *registry.Instance) string {
	spec, err := x.Spec(s)
	if err != nil {
		return err.Error()
	}
	return string(spec.AppendTo(nil))
}

// unmask gives secrets that a definition shows masked the values that they had.
func unmask(next, was []registry.Setting) {
	for i := range next {
		if next[i].Value != registry.Mask || !registry.Secret(next[i].Key) {
			continue
		}
		for _, o := range was {
			if o.Key == next[i].Key {
				next[i].Value = o.Value
			}
		}
	}
}

// masked reports whether a setting shows a secret masked.
func masked(s *registry.Service) bool {
	is := func(x registry.Setting) bool { return x.Value == registry.Mask }
	return slices.ContainsFunc(s.Settings, is) ||
		slices.ContainsFunc(s.Instances, func(i registry.Instance) bool { return slices.ContainsFunc(i.Settings, is) })
}

// report is a report of what checks have found.
func (l *slotLife) report(t *truth, e raft.Entry, x *shardmap.Command) outcome {
	r := outcome{slot: x.Slot, owned: true, group: t.group, id: e.ID, status: shardmap.StatusApplied}
	b, err := shardmap.ReadReport(x)
	if err != nil {
		t.c.fail("I9: entry %s of group %d is no report: %v", e.ID, t.group, err)
	}
	r.service = b.Name
	was := l.serviceNow(b.Name).service
	if was == nil {
		r.status = shardmap.StatusNoService
		return r
	}
	next, changed := copyOf(was), false
	for i := range b.Rows {
		changed = l.reported(t, e, next, &b.Rows[i]) || changed
	}
	if changed {
		r.version = max(e.ID.Index, l.last+1)
		l.record(t, e, b.Name, r.version, next)
	}
	return r
}

// reported carries out one row of a report, and reports whether it changes anything.
func (l *slotLife) reported(t *truth, e raft.Entry, s *registry.Service, row *shardmap.ReportRow) bool {
	x := instanceOf(s, row.Instance)
	if x == nil {
		return false
	}
	now := uint64(l.time(e.Time) / milliseconds(1))
	switch {
	case row.Op == shardmap.ReportHooked:
		count := min(uint64(row.At), x.Count)
		if count <= x.Hooked {
			return false
		}
		x.Hooked = count
		return true
	case x.Check != row.Check: // it was found by a check that is no longer the instance's
		t.c.result.Void++
		return false
	case row.Op == shardmap.ReportGone:
		if x.Status != registry.Down || x.SinceSlot != uint64(row.At) {
			return false
		}
		s.Instances = slices.DeleteFunc(s.Instances, func(o registry.Instance) bool { return o.ID == row.Instance })
		t.c.result.Deregistered++
		return true
	case x.Status == row.Status && x.Reason == row.Reason:
		return false
	case x.Status == row.Status:
		x.Reason = row.Reason
		return true
	}
	x.Status, x.Reason, x.Since, x.SinceSlot = row.Status, row.Reason, row.At, now
	x.Count++
	x.Changes = append(x.Changes, registry.Change{At: row.At, Slot: now, To: row.Status, Reason: row.Reason})
	x.Changes = x.Changes[max(0, len(x.Changes)-registry.ChangesMax):]
	t.c.result.Changed++
	return true
}

// record notes what a service is from an entry on; nil if the entry deletes it.
func (l *slotLife) record(t *truth, e raft.Entry, name string, version uint64, next *registry.Service) {
	now := serviceVersion{span: len(l.spans) - 1, index: e.ID.Index, version: version, service: next}
	event := slotEvent{span: now.span, index: now.index, kind: shardmap.EventServiceGone, key: name, version: version}
	if next != nil {
		value := next.Append(nil)
		shown := copyOf(next)
		shown.Redact()
		now.public = shown.Append(nil)
		event.kind, event.number, event.size = shardmap.EventService, numberOf(now.public), len(value)
	}
	l.last = version
	if l.services == nil {
		l.services = map[string][]serviceVersion{}
	}
	l.services[name] = append(l.services[name], now)
	l.events = append(l.events, event)
}

// numberOf stands for a record of a service, by which it is compared.
func numberOf(public []byte) uint64 {
	h := fnv.New64a()
	h.Write(public)
	return h.Sum64()
}

// compareService compares a replica's record of a service with what it must be, when an entry
// about it is applied for the first time.
func (l *slotLife) compareService(w *watched, name string) {
	want := l.serviceNow(name)
	value, version, is := w.state.State.Service([]byte(name))
	if there := is == shardmap.Present; there != (want.service != nil) || there && (version != want.version || !bytes.Equal(value, want.service.Append(nil))) {
		l.differs(w, name, value, version, &want)
	}
}

func (l *slotLife) differs(w *watched, name string, value []byte, version uint64, want *serviceVersion) {
	got, err := registry.Read(value)
	if len(value) == 0 {
		got, err = nil, nil
	}
	w.truth.c.fail("I9: n%d has service %q in group %d at version %d: %+v (%v); it should be version %d: %+v", w.node.index, name, w.truth.group, version, got, err, want.version, want.service)
}

// compare does the same with all services of some slots.
func (x *services) compare(w *watched, slots []shardmap.Slot) {
	c := x.c
	there := 0
	for _, s := range slots {
		l := c.lives.of(s)
		for name := range l.services {
			l.compareService(w, name)
			if l.serviceNow(name).service != nil {
				there++
			}
		}
	}
	w.state.State.EachService(func(shardmap.Slot, []byte, uint64, uint64, []byte) bool {
		there--
		return true
	})
	if there != 0 {
		c.fail("I9: n%d lacks %d services in group %d (below 0: it has more)", w.node.index, there, w.truth.group)
	}
}

// hooked checks what a webhook is told of: a change that the record had, as it had it.
func (l *slotLife) hooked(c *cluster, h *health.Hook) {
	for _, v := range l.services[h.Service.Name] {
		if v.version != h.Version || v.service == nil {
			continue
		}
		x := instanceOf(v.service, h.Instance)
		if x == nil || h.Count > x.Count || h.Count+uint64(len(x.Changes)) <= x.Count {
			break
		}
		change := x.Changes[len(x.Changes)-1-int(x.Count-h.Count)]
		if change.To == h.To && change.At == h.At && change.Reason == h.Reason {
			return
		}
	}
	c.fail("a webhook is told of change %d of instance %q of service %q, to %v at %d; version %d has no such", h.Count, h.Instance, h.Service.Name, h.To, h.At, h.Version)
}

// eachService calls f for each service that there is, in order.
func (x *slotLives) eachService(f func(l *slotLife, name string, v *serviceVersion)) {
	x.each(func(l *slotLife) {
		var names []string
		for name := range l.services {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if v := l.serviceNow(name); v.service != nil {
				f(l, name, &v)
			}
		}
	})
}

const (
	// checkedWithin bounds how long it takes in a healed cluster until each status is what its
	// target is: those that flapped are held for a while first.
	checkedWithin = health.FlapQuiet + 60*time.Second
	// foundBefore is for how long after the last change of a target a probe or an answer from
	// before it may still have an effect.
	foundBefore = askLateMax + 2*time.Second
	// steadyFor is for how long nothing may be reported once all statuses are right.
	steadyFor = 3 * time.Second
)
