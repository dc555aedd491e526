package machine

import (
	"fmt"
	"strings"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// services makes the question which services are in some slots a read of the group that it names.
func (q *Requests) services(h wire.Header, body []byte, r repl.Reply, table *shardmap.Table, now Now) {
	s := &servicesQuery{of: q}
	if !q.newer(shardmap.ServicesLevel, h.Type, &s.request, body, r, table) { // which keeps nothing of body
		return
	}
	mode := s.request.Mode
	// Only the leader knows who checks a service, so it has to answer a question about a single one.
	toLeader := s.request.Exact && mode == wire.ReadLinearizable
	q.ofGroup(h, body, repl.Read{
		Group: s.request.Group, Local: mode == wire.ReadLocal, AnyReplica: anyReplica(h, mode) && !toLeader,
		Stale: time.Duration(s.request.Stale) * time.Millisecond, Reply: r, Query: s,
	}, table, now)
}

// servicesQuery reads the services of some slots of one group.
type servicesQuery struct {
	of      *Requests
	request wire.Services
}

// Run implements [repl.Query]. A page has so few bytes that it is made between two entries.
func (s *servicesQuery) Run(state repl.StateMachine, at raft.LogID, r repl.Reply) (first bool) {
	q := s.of
	m, refused := q.slotsOf(state, s.request.Slots)
	if refused != nil {
		return q.deny(r, refused)
	}
	a, err := s.page(m.State)
	if err != nil {
		return q.deny(r, wire.Damaged(fmt.Sprintf("services of group %d", s.request.Group), err.Error(), "ask another node; if all say the same, a newer build wrote it: upgrade all nodes"))
	}
	a.Group, a.At = s.request.Group, at
	body := a.Append(nil)
	if !s.checked() || len(a.Rows) == 0 || m.Checkers == nil {
		return q.answer(r, wire.TypeServicesAnswer, body)
	}
	if !q.asker.Reserve(&r, wire.HeaderSize+len(body)) { // while it waits
		return q.deny(r, Crowded())
	}
	if m.Checkers(string(s.request.After), func(all []wire.ServiceChecker) {
		a.Checkers = all
		// This runs in another goroutine than the one that applies, so nobody flushes after it.
		q.answer(r, wire.TypeServicesAnswer, a.Append(nil))
		q.asker.Flush()
	}) {
		return false
	}
	return q.asker.Answer(r, wire.TypeServicesAnswer, body)
}

// checked reports whether the answer names the nodes that check the service. In a mode that does not
// ask whether the leader still leads, a former leader would name nodes that no longer check.
func (s *servicesQuery) checked() bool {
	q := &s.request
	return q.Exact && (q.Mode == wire.ReadLinearizable || q.Mode == wire.ReadFollower)
}

// page makes the rows of an answer, without what is secret.
func (s *servicesQuery) page(state *shardmap.Map) (*wire.ServicesAnswer, error) {
	q, a := &s.request, new(wire.ServicesAnswer)
	if q.Exact {
		value, version, is := state.Service(q.After)
		if is != shardmap.Present {
			return a, nil
		}
		return a, addService(a, q.After, version, value)
	}
	rows, more := state.Services(q.Slots, q.AfterSlot, q.After, int(q.Limit))
	if a.More = more; len(rows) > wire.ServicesRowsMax {
		rows, a.More = rows[:wire.ServicesRowsMax], true
	}
	for i := range rows {
		if err := addService(a, rows[i].Name, rows[i].Version, rows[i].Value); err != nil {
			return a, err
		}
	}
	return a, nil
}

// addService adds a row. A record that can't be read is not shown at all: what is secret in it
// can't be told from the rest.
func addService(a *wire.ServicesAnswer, name []byte, version uint64, value []byte) error {
	shown, err := registry.Public(value)
	if err != nil {
		return fmt.Errorf("service %s: %w", shardmap.ShowKey(name), err)
	}
	if bug("secrets in answers") {
		shown = value
	}
	a.Rows = append(a.Rows, wire.ServiceRow{Name: name, Version: version, Value: shown})
	return nil
}

// masked returns the error that answers a definition with settings that are masked and stand for nothing.
// It names them.
func masked(c *shardmap.Command, r *shardmap.Result) (*wire.Error, error) {
	q, err := shardmap.ReadService(c)
	if err != nil {
		return nil, brokenDetail(c, err)
	}
	definition, err := registry.Read(q.Definition)
	if err != nil {
		return nil, brokenDetail(c, err)
	}
	count, shown, err := shardmap.ReadMasked(r.Detail)
	if err != nil {
		return nil, brokenDetail(c, err)
	}
	var fields []string
	for _, at := range shown {
		of, list := "", definition.Settings
		if at.Instance > 0 && at.Instance <= len(definition.Instances) {
			i := &definition.Instances[at.Instance-1]
			of, list = " of instance "+shardmap.ShowKey([]byte(i.ID)), i.Settings
		}
		if at.Setting >= len(list) {
			return nil, brokenDetail(c, fmt.Errorf("setting %d of %d", at.Setting, len(list)))
		}
		fields = append(fields, "field "+list[at.Setting].Key+of)
	}
	said := strings.Join(fields, ", ")
	if more := count - len(shown); more > 0 {
		said += fmt.Sprintf(" and %d more fields", more)
	}
	return wire.BadRequest("service "+shardmap.ShowKey([]byte(q.Name)), said+": "+registry.Mask+" stands for the value that is there already, and there is none",
		"give the value itself"), nil
}

// serviceRefused returns the error that answers a command about a service which changed
// nothing; nil if the result is of another kind.
func serviceRefused(c *shardmap.Command, s shardmap.Status) *wire.Error {
	q, err := shardmap.ReadService(c)
	if err != nil {
		return nil
	}
	service := "service " + shardmap.ShowKey([]byte(q.Name))
	switch s {
	case shardmap.StatusNoService:
		return wire.NotFound(service, "nobody has defined it, or it was deleted", "muster service list shows those that there are")
	case shardmap.StatusNoInstance:
		return wire.NotFound("instance "+shardmap.ShowKey([]byte(q.Instance))+" of "+service, "the service has none of that id", "muster service get shows its instances")
	case shardmap.StatusServiceTooLarge:
		return wire.TooLarge(service, fmt.Sprintf("with the secrets that it keeps, its record has more than %d bytes", registry.ServiceMax), "make it several services")
	}
	return nil
}
