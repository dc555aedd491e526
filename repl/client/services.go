package client

import (
	"cmp"
	"context"
	"fmt"
	"iter"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// services are the calls of a client that are about services.
type services struct{ of *Client }

// ServiceItem is a service that was found.
type ServiceItem struct {
	// Service is as the cluster shows it: each secret in it is [registry.Mask].
	Service *registry.Service
	Version uint64
	Slot    shardmap.Slot
	Group   raft.GroupID
	At      raft.LogID // the service is as of here
	// Checkers has the node that runs the check of each instance, by the instance's id, as the leader
	// of the group knew it when it answered. An instance is missing if it reports itself, if no node
	// runs its check, or while a new leader has yet to assign it. Checkers is nil in listings, in
	// reads that are Local or have a MaxStale, in a Follower read that another replica than the leader
	// answered, and where the leader is of an older build.
	Checkers map[string]Checker
}

// Checker is a node that runs the check of an instance.
type Checker struct {
	Node raft.NodeID
	Name string // as operators call it
}

// SetService defines a service: it is there afterwards with the instances of s and no others.
// An instance that keeps its id keeps its status, its changes and its maintenance; a setting
// that is [registry.Mask] keeps its secret, and is refused if there was none. s is completed
// first, by [registry.Service.Complete]: instances without an id get one.
//
// Errors have these codes: bad-request or too-large for a definition that no cluster takes, with
// nothing sent; bad-request for a mask where there was no secret; level in a cluster below level
// 6; maybe-applied if it may have been defined.
func (c services) SetService(ctx context.Context, s *registry.Service) (Written, error) {
	err := checkService(s.Name)
	if err == nil {
		s.Complete()
		if bad := s.Validate(); bad != nil {
			err = wire.BadRequest("definition", bad.Error(), "correct it")
		}
	}
	return c.write(ctx, "set", s.Name, err, func() shardmap.Command { return shardmap.ServiceSetCommand(s.Name, s.Append(nil)) })
}

// DelService deletes a service with all its instances. An error of code not-found says that
// there is none.
func (c services) DelService(ctx context.Context, name string) (Written, error) {
	return c.write(ctx, "delete", name, checkService(name), func() shardmap.Command { return shardmap.ServiceDelCommand(name) })
}

// RemoveInstance removes one instance of a service. An error of code not-found says that
// there is no such service, or instance.
func (c services) RemoveInstance(ctx context.Context, name, instance string) (Written, error) {
	return c.write(ctx, "remove an instance of", name, checkInstance(name, instance), func() shardmap.Command {
		return shardmap.ServiceRemoveCommand(name, instance)
	})
}

// Maintenance tells whether an operator has taken an instance out of use.
type Maintenance uint8

const (
	// MaintenanceOff brings an instance back: its status is what its checks find.
	MaintenanceOff Maintenance = iota
	// MaintenanceOn takes it out: nobody picks it, whatever its checks find.
	MaintenanceOn
)

// Maintain takes an instance out of use, or brings it back. An error of code not-found says
// that there is no such service, or instance.
func (c services) Maintain(ctx context.Context, name, instance string, m Maintenance) (Written, error) {
	err := checkInstance(name, instance)
	if m > MaintenanceOn {
		err = wire.BadRequest("maintenance", fmt.Sprint(uint8(m)), "give MaintenanceOn or MaintenanceOff")
	}
	return c.write(ctx, "maintain", name, err, func() shardmap.Command {
		return shardmap.ServiceMaintainCommand(name, instance, m == MaintenanceOn)
	})
}

// write runs one command about a service, unless bad says what is wrong with it.
func (c services) write(ctx context.Context, verb, name string, bad error, command func() shardmap.Command) (Written, error) {
	w, err := Written{}, bad
	if err == nil {
		cmd := command()
		x := newCall(wire.TypeWrite)
		err = c.of.write(ctx, x, &cmd)
		w = Written{Group: x.written.Group, ID: x.written.ID, Version: x.written.Version}
		x.release()
	}
	if err != nil {
		return Written{}, fmt.Errorf("%s service %s: %w", verb, showService(name), err)
	}
	return w, nil
}

// Service returns one service. o may say Local, Follower or MaxStale, and nothing else. An
// error of code not-found says that there is no such service; the item then says as of where.
func (c services) Service(ctx context.Context, name string, o ReadOptions) (ServiceItem, error) {
	item, err := c.get(ctx, name, o)
	if err != nil {
		err = fmt.Errorf("get service %s: %w", showService(name), err)
	}
	return item, err
}

func (c services) get(ctx context.Context, name string, o ReadOptions) (ServiceItem, error) {
	err := checkService(name)
	if err == nil {
		err = o.checkServices()
	}
	if err == nil {
		err = c.of.needLevel(ctx, "services", shardmap.ServicesLevel)
	}
	if err != nil {
		return ServiceItem{}, err
	}
	slot := shardmap.SlotOf([]byte(name))
	var items []ServiceItem
	var at ServiceItem // what is known of where it is not
	err = new(replans).run(ctx, c.of, func(r *Routes) error {
		group := r.Group[slot]
		if group == 0 {
			return unownedSlot(slot, r)
		}
		q := wire.Services{Group: group, Slots: []shardmap.SlotRange{{From: slot, To: slot}}, After: []byte(name), AfterSlot: slot, Exact: true}
		page, err := c.ask(ctx, &q, o)
		items, at = page.items, ServiceItem{Slot: slot, Group: page.group, At: page.at}
		return err
	})
	switch {
	case err != nil:
		return ServiceItem{}, err
	case len(items) == 0:
		return at, errNoService(name)
	case len(items) > 1 || items[0].Service.Name != name:
		return at, fmt.Errorf("the node answered with service %s", showService(items[0].Service.Name))
	}
	return items[0], nil
}

func errNoService(name string) error {
	return wire.NotFound("service "+showService(name), "nobody has defined it", "muster service list shows those that there are, muster service set registers one")
}

// Services goes through all services of the cluster: group by group, those of one slot in the
// order of their names. Each page is linearizable, or as fresh as o says, and of one moment; the
// listing is not. Slots that move meanwhile are found where they went. o may say Local, Follower
// or MaxStale. An error ends the listing; its code is level below level 6.
func (c services) Services(ctx context.Context, o ReadOptions) iter.Seq2[ServiceItem, error] {
	return func(yield func(ServiceItem, error) bool) {
		err := o.checkServices()
		if err == nil {
			err = c.of.needLevel(ctx, "services", shardmap.ServicesLevel)
		}
		if err == nil {
			err = c.of.everyPage(ctx, &servicePager{services: c, ctx: ctx, options: o, yield: yield}, slotsOfPrefix(nil))
		}
		if err != nil {
			yield(ServiceItem{}, fmt.Errorf("list services: %w", err))
		}
	}
}

// servicePager gives out services.
type servicePager struct {
	services services
	ctx      context.Context
	options  ReadOptions
	yield    func(ServiceItem, error) bool
	in       shardmap.Slot // where after is
	after    string        // the last that was given out; "": begin with the first
}

func (l *servicePager) restart() { l.in, l.after = 0, "" }

func (l *servicePager) page(g raft.GroupID, slots []shardmap.Slot) (end pageEnd, err error) {
	q := wire.Services{Group: g, Slots: shardmap.SlotRanges(slots), AfterSlot: l.in, After: []byte(l.after)}
	page, err := l.services.ask(l.ctx, &q, l.options)
	if err != nil {
		return end, err
	}
	for _, item := range page.items {
		name := item.Service.Name
		if l.after != "" && (item.Slot < l.in || item.Slot == l.in && name <= l.after) {
			return end, fmt.Errorf("services of group %s: %s comes behind %s", g, showService(name), showService(l.after))
		}
		l.in, l.after = item.Slot, name
		if !l.yield(item, nil) {
			return pageEnd{stop: true}, nil
		}
	}
	return pageEnd{last: l.in, more: page.more && len(page.items) > 0}, nil
}

// servicesPage is what a group answered.
type servicesPage struct {
	items []ServiceItem
	more  bool
	group raft.GroupID
	at    raft.LogID
}

// ask asks a group for services. The mode of q is that of o.
func (c services) ask(ctx context.Context, q *wire.Services, o ReadOptions) (p servicesPage, err error) {
	q.Mode, q.Stale = o.mode(shardmap.ServicesLevel)
	x := newCall(wire.TypeServices)
	defer x.release()
	x.Target, x.Group, x.Slot, x.Needs, x.Deadline = ToGroup, q.Group, q.Slots[0].From, shardmap.ServicesLevel, c.of.deadlineOf(ctx)
	x.AnyReplica = q.Mode == wire.ReadFollower || q.Mode == wire.ReadBounded
	if o.Local {
		x.Target, x.Peer = ToPeer, 0
	}
	x.body = q.Append(x.body[:0])
	if err := c.of.do(ctx, x); err != nil {
		return p, err
	}
	var a wire.ServicesAnswer
	if err := a.Read(x.answer); err != nil {
		return p, fmt.Errorf("read the answer: %w", err)
	}
	p = servicesPage{more: a.More, group: a.Group, at: a.At}
	for i := range a.Rows {
		s, err := registry.Read(a.Rows[i].Value)
		if err != nil {
			return p, fmt.Errorf("service %s: %w", showService(string(a.Rows[i].Name)), err)
		}
		p.items = append(p.items, ServiceItem{
			Service: s, Version: a.Rows[i].Version, Slot: shardmap.SlotOf(a.Rows[i].Name), Group: a.Group, At: a.At,
		})
	}
	if len(p.items) == 1 {
		p.items[0].checkedBy(a.Checkers)
	}
	return p, nil
}

// checkedBy notes which nodes check the instances. A row about another version of a check than the
// record has says nothing about this one.
func (i *ServiceItem) checkedBy(rows []wire.ServiceChecker) {
	for _, c := range rows {
		if x := i.Service.Instance(c.Instance); x != nil && x.Check == c.Check {
			if i.Checkers == nil {
				i.Checkers = make(map[string]Checker, len(rows))
			}
			i.Checkers[c.Instance] = Checker{c.Node, cmp.Or(c.Name, c.Node.String())}
		}
	}
}

// checkServices refuses what reads of services don't take.
func (o *ReadOptions) checkServices() error {
	if o.AtOnce || o.After != (raft.LogID{}) || o.AfterGroup != 0 {
		return wire.BadRequest("read", "at-once or after, of services", "give local, follower or max-stale, or none")
	}
	return o.check()
}

// HeartbeatStatus is what an instance reports of itself.
type HeartbeatStatus = wire.HeartbeatStatus

const (
	HeartbeatUp   = wire.HeartbeatUp   // it is up
	HeartbeatDown = wire.HeartbeatDown // it is down
)

// HeartbeatNoteMax bounds the note of a heartbeat, in bytes.
const HeartbeatNoteMax = registry.ReasonMax

// Heartbeat reports how an instance of a service of type ttl is, with a note for people. Whoever
// runs the instance calls it at least once in each interval of its check; once that stops, the
// instance goes down. An error of code not-found says that there is no such service or instance;
// one of code bad-request, that the service is of another type.
func (c services) Heartbeat(ctx context.Context, name, instance string, status HeartbeatStatus, note string) error {
	if err := c.beat(ctx, name, instance, status, note); err != nil {
		return fmt.Errorf("heartbeat of service %s, instance %s: %w", showService(name), showService(instance), err)
	}
	return nil
}

func (c services) beat(ctx context.Context, name, instance string, status HeartbeatStatus, note string) error {
	err := checkInstance(name, instance)
	switch {
	case err != nil:
		return err
	case status != HeartbeatUp && status != HeartbeatDown:
		return wire.BadRequest("status", fmt.Sprint(uint8(status)), "give HeartbeatUp or HeartbeatDown")
	case len(note) > HeartbeatNoteMax:
		return overLimit("note", len(note), HeartbeatNoteMax, "bytes", "shorten it")
	}
	if err := c.of.needLevel(ctx, "heartbeats", shardmap.ServicesLevel); err != nil {
		return err
	}
	slot := shardmap.SlotOf([]byte(name))
	return new(replans).run(ctx, c.of, func(r *Routes) error {
		group := r.Group[slot]
		if group == 0 {
			return unownedSlot(slot, r)
		}
		x := newCall(wire.TypeHeartbeat)
		defer x.release()
		x.Target, x.Group, x.Slot, x.Needs, x.Deadline = ToGroup, group, slot, shardmap.ServicesLevel, c.of.deadlineOf(ctx)
		x.body = (&wire.Heartbeat{Group: group, Name: name, Instance: instance, Status: status, Note: note}).Append(x.body[:0])
		return c.of.do(ctx, x)
	})
}

func unownedSlot(slot shardmap.Slot, r *Routes) error {
	return unavailable(fmt.Sprintf("slot %d", slot), fmt.Errorf("no group owns it in the table of epoch %d", r.Epoch))
}

// checkService refuses a name that no service can have.
func checkService(name string) error {
	switch {
	case name == "":
		return wire.BadRequest("name of a service", "0 bytes", "name one")
	case len(name) > registry.NameMax:
		return overLimit("name of a service", len(name), registry.NameMax, "bytes", "choose a shorter one")
	case !registry.IsWord(name):
		return wire.BadRequest("name of a service", showService(name), "choose one of characters that print, without spaces")
	}
	return nil
}

// checkInstance refuses what can't name an instance of a service.
func checkInstance(name, instance string) error {
	if err := checkService(name); err != nil {
		return err
	}
	switch {
	case instance == "":
		return wire.BadRequest("instance of service "+showService(name), "0 bytes", "give its id")
	case len(instance) > registry.IDMax:
		return overLimit("instance of service "+showService(name), len(instance), registry.IDMax, "bytes", "give its id as the service has it")
	}
	return nil
}

// showService returns a name as errors show it.
func showService(name string) string { return shardmap.ShowKey([]byte(name)) }
