package sim

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"muster/repl"
	"muster/repl/client"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// What clients do with services, in a cluster at [shardmap.ServicesLevel], and what services must
// come to.

const (
	// serviceEvery is how many operations there are for each one about a service.
	serviceEvery = 16
	// instancesMost is how many instances the clients' services have.
	instancesMost = 3
	// secretWord is in each secret that clients give services, and in nothing else.
	secretWord = "not-to-be-shown"
	// maskedEvery is how many definitions there are for each one whose secrets are masked.
	maskedEvery = 3
	// masksEvery is how many secrets there are for each that is a mask, whatever was there before.
	masksEvery = 16
)

// intervals are those of the checks, in ms.
var intervals = [...]int{300, 1000, 1000, 2000, 5000}

// draws reports whether a client's next operation is about a service.
func (x *services) draws() bool {
	if len(x.names) == 0 || x.ended {
		return false
	}
	every := serviceEvery
	if !x.c.builds.reached(shardmap.ServicesLevel) {
		every *= belowEvery // it is to be refused
	}
	return x.c.chance.below(every) == 0
}

// begin makes o an operation on a service.
func (x *services) begin(o *op) {
	c := x.c
	name := c.services.names[c.chance.below(len(c.services.names))]
	o.cell, o.key = nil, []byte(name)
	slot := shardmap.SlotOf(o.key)
	o.group = c.lives.owner(slot)
	o.call = client.Call{Owner: o, Slot: slot}
	is := c.lives.of(slot).serviceNow(name).service
	instance := "none"
	if is != nil && len(is.Instances) > 0 {
		instance = is.Instances[c.chance.below(len(is.Instances))].ID
	}
	switch k := c.chance.below(16); {
	case k == 0:
		o.kind = opServiceDel
		o.writes(shardmap.ServiceDelCommand(name))
	case k == 1:
		o.kind = opServiceRemove
		o.writes(shardmap.ServiceRemoveCommand(name, instance))
	case k < 4:
		o.kind = opMaintain
		o.writes(shardmap.ServiceMaintainCommand(name, instance, c.chance.below(2) == 0))
	case k >= 8:
		x.list(o)
	default:
		o.kind = opServiceSet
		o.writes(shardmap.ServiceSetCommand(name, c.services.define(name, is).Append(nil)))
	}
}

// define draws a definition of a service: often what it is already, but for something.
func (x *services) define(name string, is *registry.Service) *registry.Service {
	c := x.c
	var s *registry.Service
	if is != nil && c.chance.below(3) != 0 {
		s = copyOf(is)
		for i := range s.Instances {
			s.Instances[i] = registry.Instance{ID: s.Instances[i].ID, Settings: s.Instances[i].Settings}
		}
		if c.chance.below(maskedEvery) == 0 {
			s.Redact() // as it was shown
		}
		if n := len(s.Instances); n > 0 {
			i := c.chance.below(n)
			s.Instances[i] = x.instance(s.Type, s.Instances[i].ID)
		}
		for i := range instancesMost {
			if id := instanceName(i); s.Instance(id) == nil && c.chance.below(3) == 0 {
				s.Instances = append(s.Instances, x.instance(s.Type, id))
			}
		}
	} else {
		s = &registry.Service{Name: name, Type: []string{typeTCP, typeTCP, typeTTL, typeTTL, typeCustom}[c.chance.below(5)]}
		for i := range 1 + c.chance.below(instancesMost) {
			s.Instances = append(s.Instances, x.instance(s.Type, instanceName(i)))
		}
		if c.chance.below(3) == 0 {
			s.Settings = append(s.Settings, registry.Setting{Key: settingDeregister, Value: strconv.Itoa(1000 * (1 + c.chance.below(60)))})
		}
		if c.chance.below(2) == 0 {
			s.Settings = append(s.Settings, registry.Setting{Key: settingWebhook, Value: "http://hook/"}, registry.Setting{Key: registry.SettingWebhookSecret, Value: x.secret()})
		}
	}
	if s.Complete(); len(s.Instances) == 0 {
		s.Instances = append(s.Instances, x.instance(s.Type, instanceName(0)))
	}
	if err := s.Validate(); err != nil {
		c.fail("a client's definition of a service is none: %v: %+v", err, s)
	}
	return s
}

// secret returns a secret that none was before, or the mask of one that there may be.
func (x *services) secret() string {
	if x.secrets++; x.secrets%masksEvery == 0 {
		return registry.Mask
	}
	return fmt.Sprintf("%s-%d", secretWord, x.secrets)
}

// instance draws an instance of a service of some type. Its settings are sorted.
func (x *services) instance(of, id string) registry.Instance {
	c := x.c
	in := registry.Instance{ID: id}
	set := func(key, value string) {
		in.Settings = append(in.Settings, registry.Setting{Key: key, Value: value})
	}
	interval := strconv.Itoa(intervals[c.chance.below(len(intervals))])
	switch {
	case of == typeTTL:
		interval = beatIntervals[c.chance.below(len(beatIntervals))]
		set("fall", beatFall)
	case c.chance.below(3) == 0:
		set("fall", strconv.Itoa(1+c.chance.below(3)))
	}
	set("host", x.targets[c.chance.below(len(x.targets))].host)
	set("interval", interval)
	if c.chance.below(2) == 0 {
		set("pass", x.secret())
	}
	set("port", strconv.Itoa(1+c.chance.below(3)))
	if c.chance.below(3) == 0 {
		set("rise", strconv.Itoa(1+c.chance.below(3)))
	}
	if of == typeCustom {
		set("script", programName(c.chance.below(programs)))
	}
	if c.chance.below(4) == 0 {
		set("tags", "blue")
	}
	return in
}

func instanceName(i int) string { return fmt.Sprintf("i%d", i) }

func programName(i int) string { return fmt.Sprintf("program-%d", i) }

// list makes o a listing of services, or a look at one.
func (x *services) list(o *op) {
	c := x.c
	o.kind = opServices
	name := string(o.key)
	q := &wire.Services{Group: o.group, Slots: []shardmap.SlotRange{{From: o.call.Slot, To: o.call.Slot}}}
	switch c.chance.below(3) {
	case 0:
		q.Exact, q.AfterSlot, q.After = true, o.call.Slot, []byte(name)
	case 1: // those of the group, now; when it is asked it may have others
		var slots []shardmap.Slot
		for _, s := range c.lives.slots {
			if c.lives.owner(s) == o.group {
				slots = append(slots, s)
			}
		}
		q.Slots, q.Limit = shardmap.SlotRanges(slots), uint32(c.chance.below(2000))
	}
	o.services = q
	o.call = client.Call{Owner: o, Target: client.ToGroup, Group: o.group}
	switch c.chance.below(4) {
	case 0:
		q.Mode, o.call.AnyReplica = wire.ReadFollower, true
	case 1:
		q.Mode, o.call.AnyReplica, o.local = wire.ReadLocal, true, true
	}
	o.body = q.Append(nil)
}

// listed compares a listing of services with the model as of the log id that it names.
func (x *services) listed(o *op, a *wire.ServicesAnswer) {
	t, q := o.spoke(a.Group, a.At), o.services
	rows := a.Rows
	if len(a.Checkers) > 0 && (!q.Exact || o.local) {
		t.c.fail("%s is told who checks: %+v; only the leader knows, of one service", o, a.Checkers)
	}
	for _, r := range q.Slots {
		for s := r.From; s <= r.To; s++ {
			l := t.c.lives.of(s)
			k := o.saw(l, a.Group, a.At)
			for _, name := range sortedNames(l.services) {
				is := l.serviceAt(name, k, a.At.Index)
				if is.service == nil || q.Exact && name != string(q.After) || !q.Exact && len(q.After) > 0 && (s < q.AfterSlot || s == q.AfterSlot && name <= string(q.After)) {
					continue
				}
				if len(rows) == 0 {
					if !a.More {
						t.c.fail("I9: %s stands at %s of group %d, and lacks service %q", o, a.At, a.Group, name)
					}
					return
				}
				row := &rows[0]
				if string(row.Name) != name || row.Version != is.version || !bytes.Equal(row.Value, is.public) {
					got, err := registry.Read(row.Value)
					t.c.fail("I9: %s stands at %s of group %d, and shows service %q at version %d: %+v (%v); it should be %q at version %d: %+v", o, a.At, a.Group, row.Name, row.Version, got, err, name, is.version, is.service)
				}
				x.public(row.Value)
				rows = rows[1:]
			}
		}
	}
	if len(rows) > 0 || a.More && len(a.Rows) == 0 {
		t.c.fail("I9: %s stands at %s of group %d, and shows %d services (more: %v); there are no such: %q", o, a.At, a.Group, len(a.Rows), a.More, rows[0].Name)
	}
}

// public checks that what a client is shown has no secret in it.
func (x *services) public(value []byte) {
	if i := bytes.Index(value, []byte(secretWord)); i >= 0 {
		x.c.fail("a client is shown a secret: %q", value[max(0, i-20):min(len(value), i+40)])
	}
}

func sortedNames(m map[string][]serviceVersion) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// status returns what an instance must come to be as things are, and false if it may be
// several.
func (x *services) status(s *registry.Service, i *registry.Instance) registry.Status {
	if s.Type == typeCustom && !x.allowed(i.Get("script")) {
		return registry.Unknown
	}
	if x.target(i).state == targetUp {
		return registry.Up
	}
	return registry.Down
}

// allowed reports whether some node that is left allows a program.
func (x *services) allowed(program string) bool {
	return slices.ContainsFunc(x.c.nodes, func(n *node) bool { return n.up && slices.Contains(n.programs(), program) })
}

// named reports whether the leaders name a node for each check that one can run, and none for others.
func (x *services) named() bool {
	all := true
	x.c.lives.eachService(func(l *slotLife, name string, v *serviceVersion) {
		g := x.c.lives.owner(l.slot)
		lead := x.c.leaderOf(g)
		if lead == nil {
			all = false
			return
		}
		lead.checks.checkers(g, name, func(rows []wire.ServiceChecker) {
			want := 0
			for i := range v.service.Instances {
				if t := v.service.Type; t != typeTTL && (t != typeCustom || x.allowed(v.service.Instances[i].Get("script"))) {
					want++
				}
			}
			all = all && len(rows) == want
		})
	})
	return all
}

// astray describes the instances that are not what they must come to; "" if there are none.
func (x *services) astray() string {
	var b strings.Builder
	x.c.lives.eachService(func(l *slotLife, name string, v *serviceVersion) {
		for i := range v.service.Instances {
			in := &v.service.Instances[i]
			if want := x.status(v.service, in); in.Status != want {
				fmt.Fprintf(&b, "instance %s of service %q (%s, %s) is %s, want %s: %s\n", in.ID, name, v.service.Type, in.Get("host"), in.Shown(), want, in.Reason)
			} else if v.service.Get(settingWebhook) != "" && in.Hooked != in.Count {
				fmt.Fprintf(&b, "instance %s of service %q: its webhook was told of %d changes of %d\n", in.ID, name, in.Hooked, in.Count)
			} else if in.Status == registry.Down && !in.Maintenance && v.service.Get(settingDeregister) != "" {
				fmt.Fprintf(&b, "instance %s of service %q is down, and is to be deregistered after %s ms\n", in.ID, name, v.service.Get(settingDeregister))
			}
		}
	})
	return b.String()
}

// settle waits in a healed cluster until each status is what its target is, and checks that
// nothing is reported any more.
func (x *services) settle() {
	c := x.c
	if !x.active {
		return
	}
	c.run(foundBefore)
	c.until("each instance is what its target is", checkedWithin, func() bool { return x.astray() == "" })
	c.until("for each check its leader names a node", checkedWithin, x.named)
	reports := x.reports
	c.run(steadyFor)
	if x.reports != reports {
		c.fail("nothing changes, and assigners have proposed %d reports", x.reports-reports)
	}
}

// deleteAll has all services deleted. From then on no node asks another about checks.
func (x *services) deleteAll() {
	c := x.c
	if !x.active {
		return
	}
	next := map[string]time.Duration{}
	c.until("all services are deleted", settleWithin, func() bool {
		there := false
		c.lives.eachService(func(l *slotLife, name string, _ *serviceVersion) {
			if there = true; c.now >= next[name] {
				next[name] = c.now + electionTimeout
				x.remove(l, name)
			}
		})
		return !there
	})
	c.run(forgottenWithin)
	x.ended = true
}

// forgottenWithin is how long after the last service was deleted a checker may be asked for
// the last time.
const forgottenWithin = 5 * time.Second

// remove has the leader of a slot's group delete a service. Clients may not find the nodes any
// more, if these have changed addresses with each other.
func (x *services) remove(l *slotLife, name string) {
	c := x.c
	g := c.lives.owner(l.slot)
	lead := c.leaderOf(g)
	if lead == nil {
		return
	}
	command := shardmap.ServiceDelCommand(name)
	lead.host.Propose(repl.Proposal{Group: g, Entry: machine.NewEntry(wire.Origin{Time: lead.ticks.wall()}, wire.AppendWrite(nil, &command)), Reply: repl.Reply{To: new(probe)}})
	lead.turn()
}
