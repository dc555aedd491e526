package shardmap

import (
	"fmt"

	"muster/shardmap/pack"
	"muster/shardmap/registry"
)

// A service is one record of kind [KindService] in the slot of its name. Its value is all of the
// service, as package registry writes it: settings, instances, what checks have found. So
// services are moved, digested and kept in snapshots as all records are.
//
// People change a definition by [CommandService]; what checks find comes by [CommandReport]
// (report.go). Both read the record, change what was read, and write it anew.

// ServiceOp is what a command does to a service. Numbers are for ever.
type ServiceOp uint8

const (
	ServiceSet      ServiceOp = 1 // defines it; instances that it had before keep their state
	ServiceDel      ServiceOp = 2 // removes it
	ServiceMaintain ServiceOp = 3 // takes an instance out, or brings it back
	ServiceRemove   ServiceOp = 4 // removes one instance
)

func (o ServiceOp) String() string {
	switch o {
	case ServiceSet:
		return "set"
	case ServiceDel:
		return "del"
	case ServiceMaintain:
		return "maintain"
	case ServiceRemove:
		return "remove"
	}
	return fmt.Sprintf("op %d", uint8(o))
}

// ServiceBody is what a [CommandService] says. The body, which is its only item, is a msgpack
// array that begins with op and name:
//
//	[1, name, definition]       set; the definition is a bin, as registry.Service.Append writes it
//	[2, name]                   del
//	[3, name, instance, on]     maintain
//	[4, name, instance]         remove
type ServiceBody struct {
	Op         ServiceOp
	Name       string
	Definition []byte // of a set; aliases the command
	Instance   string // of maintain and remove
	On         bool   // of maintain: it is out
}

// serviceFields counts the fields of a body, by op.
var serviceFields = [...]int{ServiceSet: 3, ServiceDel: 2, ServiceMaintain: 4, ServiceRemove: 3}

// ServiceSetCommand returns the command that defines a service, whose definition
// registry.Service.Append has written.
func ServiceSetCommand(name string, definition []byte) Command {
	return serviceCommand(name, pack.AppendBytes(serviceHead(ServiceSet, name), definition))
}

// ServiceDelCommand returns the command that removes a service.
func ServiceDelCommand(name string) Command {
	return serviceCommand(name, serviceHead(ServiceDel, name))
}

// ServiceMaintainCommand returns the command that takes an instance of a service out, or brings
// it back.
func ServiceMaintainCommand(name, instance string, on bool) Command {
	return serviceCommand(name, pack.AppendBool(pack.AppendString(serviceHead(ServiceMaintain, name), instance), on))
}

// ServiceRemoveCommand returns the command that removes an instance of a service.
func ServiceRemoveCommand(name, instance string) Command {
	return serviceCommand(name, pack.AppendString(serviceHead(ServiceRemove, name), instance))
}

func serviceHead(op ServiceOp, name string) []byte {
	return pack.AppendString(pack.AppendUint(pack.AppendArray(nil, serviceFields[op]), uint64(op)), name)
}

func serviceCommand(name string, body []byte) Command {
	return Command{Kind: CommandService, Slot: SlotOf([]byte(name)), Items: [][]byte{body}}
}

// ReadService reads the body of a [CommandService].
func ReadService(c *Command) (s ServiceBody, err error) {
	if c.Kind != CommandService || len(c.Items) != 1 {
		return s, fmt.Errorf("%w: %s with %d items is about no service", ErrCommand, c.Kind, len(c.Items))
	}
	r := tableReader{Reader: pack.NewReader(c.Items[0])}
	n := r.Array()
	s.Op, s.Name = ServiceOp(r.UintMax(255)), r.String()
	if err := r.Err(); err != nil {
		return s, fmt.Errorf("%w: %w", ErrCommand, err)
	}
	if s.Op == 0 || s.Op > ServiceRemove {
		return s, fmt.Errorf("service %s: %w; known are 1 to %d", s.Op, ErrLevel, ServiceRemove)
	}
	if n != serviceFields[s.Op] {
		return s, fmt.Errorf("%w: service %s of %d fields, want %d", ErrCommand, s.Op, n, serviceFields[s.Op])
	}
	switch s.Op {
	case ServiceSet:
		s.Definition = r.Bytes()
	case ServiceMaintain:
		s.Instance, s.On = r.String(), r.Bool()
	case ServiceRemove:
		s.Instance = r.String()
	}
	if err := r.Done(); err != nil {
		return s, fmt.Errorf("%w: %w", ErrCommand, err)
	}
	return s, nil
}

// validateService checks a client's command about a service.
func (c *Command) validateService(Limits) error {
	s, err := ReadService(c)
	switch {
	case err != nil:
		return fmt.Errorf("%w: field body: %w", ErrRequest, err)
	case s.Name == "":
		return fmt.Errorf("%w: field name: 0 bytes; want 1 to %d", ErrRequest, registry.NameMax)
	case len(s.Name) > registry.NameMax:
		return fmt.Errorf("%w: field name: %s; the limit is %d", ErrTooLarge, ShowKey([]byte(s.Name)), registry.NameMax)
	case SlotOf([]byte(s.Name)) != c.Slot:
		return fmt.Errorf("%w: field slot: %d; service %q is in slot %d", ErrRequest, c.Slot, s.Name, SlotOf([]byte(s.Name)))
	case len(s.Instance) > registry.IDMax:
		return fmt.Errorf("%w: field instance: %s; the limit is %d", ErrTooLarge, ShowKey([]byte(s.Instance)), registry.IDMax)
	case s.Op != ServiceSet:
		return nil
	}
	if n := len(s.Definition); n > registry.ServiceMax {
		return fmt.Errorf("%w: field definition: %d bytes; the limit is %d", ErrTooLarge, n, registry.ServiceMax)
	}
	d, err := registry.Read(s.Definition)
	if err == nil {
		err = d.Validate()
	}
	switch {
	case err != nil:
		return fmt.Errorf("%w: field definition: %w", ErrRequest, err)
	case d.Name != s.Name:
		return fmt.Errorf("%w: field definition: it is of service %q; want %q, as the command says", ErrRequest, d.Name, s.Name)
	}
	return nil
}

// serviceFrees reports whether the command is carried out while disks are full.
func (c *Command) serviceFrees() bool {
	s, err := ReadService(c)
	return err == nil && (s.Op == ServiceDel || s.Op == ServiceRemove)
}

// describeService shows no setting: a definition has its secrets in it.
func describeService(c *Command) (string, error) {
	s, err := ReadService(c)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("%s %s", s.Op, describeText(s.Name))
	switch s.Op {
	case ServiceSet:
		d, err := registry.Read(s.Definition)
		if err != nil {
			return "", err
		}
		text += fmt.Sprintf(" type %s instances %d", describeText(d.Type), len(d.Instances))
	case ServiceMaintain:
		text += fmt.Sprintf(" instance %s on %t", describeText(s.Instance), s.On)
	case ServiceRemove:
		text += " instance " + describeText(s.Instance)
	}
	return text, nil
}

// readService reads the body of a command about a service, for service.
func (b *body) readService(c *Command) (err error) {
	if b.service, err = ReadService(c); err != nil || b.service.Op != ServiceSet {
		return err
	}
	if b.definition, err = registry.Read(b.service.Definition); err != nil {
		return fmt.Errorf("%w: %w", ErrCommand, err)
	}
	if b.definition.Name != b.service.Name {
		return fmt.Errorf("%w: a definition of service %q for service %q", ErrCommand, b.definition.Name, b.service.Name)
	}
	return nil
}

// service is [CommandService].
func (s *slotState) service(m *Map, _ *Command) Result {
	q, next := m.body.service, m.body.definition
	m.body.service, m.body.definition = ServiceBody{}, nil // they alias the entry, which does not stay
	was := s.serviceOf(m, q.Name)
	if was == nil && q.Op != ServiceSet {
		return Result{Status: StatusNoService, ID: m.turn.id}
	}
	version := s.nextVersion(m.turn.id)
	switch q.Op {
	case ServiceDel:
		s.setLast(version)
		key := []byte(q.Name)
		m.history.serviceGone(m.turn.slot, key, version)
		s.removeRecord(m, KindService, key, hashKey(key))
		m.services.changes++
		return Result{Status: StatusApplied, ID: m.turn.id, Version: version, Deleted: 1}
	case ServiceSet:
		next.Set(was, version)
		if masked := next.Masked(); len(masked) > 0 && !bug("a mask taken for a secret") {
			return m.turn.refusesMasks(masked)
		}
		if !next.Fits() {
			// A definition that was admitted has room for what checks find, but not for secrets
			// that it shows masked and that the record has in full.
			return Result{Status: StatusServiceTooLarge, ID: m.turn.id}
		}
	default:
		next = was
		i := next.Instance(q.Instance)
		switch {
		case i == nil:
			return Result{Status: StatusNoInstance, ID: m.turn.id}
		case q.Op == ServiceRemove:
			next.Instances = without(next.Instances, i)
		default:
			i.Maintenance = q.On
		}
	}
	s.setLast(version)
	s.putService(m, q.Name, next.Append(nil), version)
	return Result{Status: StatusApplied, ID: m.turn.id, Version: version}
}

// without returns a new list of the instances without one of them.
func without(list []registry.Instance, gone *registry.Instance) []registry.Instance {
	kept := make([]registry.Instance, 0, len(list))
	for i := range list {
		if &list[i] != gone {
			kept = append(kept, list[i])
		}
	}
	return kept
}

// serviceOf returns a service of the slot, as a copy that may be changed; nil if there is
// none that can be read.
func (s *slotState) serviceOf(m *Map, name string) *registry.Service {
	services := s.kind(KindService)
	if services == nil {
		return nil
	}
	key := []byte(name)
	rec := services.get(key, hashKey(key))
	if rec == nil {
		return nil
	}
	intact := rec.intact()
	if !intact {
		rec = spoiled(m, rec)
	}
	v, err := registry.Read(rec.value())
	if err != nil && !intact {
		return nil
	}
	if err != nil {
		panic(fmt.Sprintf("shardmap: the record of service %q, which was checked, can't be read: %v", name, err))
	}
	return v
}

// putService writes the record of a service.
func (s *slotState) putService(m *Map, name string, value []byte, version uint64) {
	key := []byte(name)
	m.history.service(m.turn.slot, key, value, version)
	s.putRecord(m, KindService, &newRecord{key: key, value: value, hash: hashKey(key), version: version})
	m.services.changes++
}

// hasServices reports whether there is a service in the slot.
func (s *slotState) hasServices() bool {
	o := s.kind(KindService)
	return o != nil && o.count > 0
}

// checkService checks the value of a record of kind [KindService].
func checkService(name, value []byte) error {
	v, err := registry.Read(value)
	if err == nil && v.Name != string(name) {
		err = fmt.Errorf("it is of service %q", v.Name)
	}
	if err != nil {
		return fmt.Errorf("service %s: %w", ShowKey(name), err)
	}
	return nil
}
