package client

import (
	"context"
	"fmt"
	"iter"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// ServiceEvent is what happened to a service.
type ServiceEvent struct {
	Kind WatchKind // WatchOpened, WatchSet, WatchDel or WatchProgress
	Name string    // of the service; "" if the event is of none
	// Service is as it is since the event, with what is secret masked; nil if it was deleted.
	Service *registry.Service
	Version uint64 // that the event gave the service, or at which it was deleted
	Slot    shardmap.Slot
	Group   raft.GroupID
	ID      raft.LogID // of the entry, in the group's log
	N       uint32     // of the events of that entry, from 1
}

// WatchServices watches one service, or all of them if name is "", until ctx ends or the watch is
// closed. There is an event for each change of a record: of a definition, a status, its reason, a
// maintenance, or of what a webhook was told.
//
// What [Client.Watch] says of keys holds for services. positions are where the watch begins: all
// those that [ServiceWatch.Positions] of an earlier watch of the same services, or its [WatchEnd],
// gave; none: now. In a cluster below level 6 it ends with an error of code level.
func (c services) WatchServices(ctx context.Context, name string, positions []GroupPosition) *ServiceWatch {
	q := WatchQuery{Services: true, Positions: positions}
	if name != "" {
		q.Key = []byte(name)
	}
	return &ServiceWatch{watch: c.of.Watch(ctx, q)}
}

// ServiceWatch is a watch of services. One goroutine at a time uses it.
type ServiceWatch struct {
	watch *Watch
	err   error
}

// Positions returns where the watch is: a watch from there has all events that Next has not
// returned, and no others. They are in the order of the groups; there are none before the first
// event.
func (w *ServiceWatch) Positions() []GroupPosition { return w.watch.Positions() }

// Close gives the watch up.
func (w *ServiceWatch) Close() { w.watch.Close() }

// Next waits for the next event. After an error it returns the same error.
func (w *ServiceWatch) Next() (ServiceEvent, error) {
	if w.err != nil {
		return ServiceEvent{}, w.err
	}
	e, err := w.watch.Next()
	if err != nil {
		w.err = err
		return ServiceEvent{}, err
	}
	of := ServiceEvent{Kind: e.Kind, Name: string(e.Key), Version: e.Version, Slot: e.Slot, Group: e.Group, ID: e.ID, N: e.N}
	if e.Kind == WatchSet {
		if of.Service, err = registry.Read(e.Value); err != nil {
			w.err = fmt.Errorf("watch: service %s at %s: %w", showService(of.Name), raft.FormatLogID(e.Group, e.ID), err)
			w.Close()
			return ServiceEvent{}, w.err
		}
	}
	return of, nil
}

// Events returns what [ServiceWatch.Next] does, for a loop, as [Watch.Events] does.
func (w *ServiceWatch) Events() iter.Seq2[ServiceEvent, error] {
	return func(yield func(ServiceEvent, error) bool) { eachEvent(w, yield) }
}

// readServices reads which services are watched.
func (q *WatchQuery) readServices(w *Watching) error {
	if len(q.Prefix) > 0 || q.From != nil || q.To != nil || q.Prev {
		return wire.BadRequest("watch of services", "a prefix, a range, or what was there before", "name one service, or none for all")
	}
	w.ask.Services, w.ask.Slots = true, []shardmap.SlotRange{{From: 0, To: shardmap.Slots - 1}}
	if q.Key == nil {
		return nil
	}
	if err := checkService(string(q.Key)); err != nil {
		return err
	}
	slot := shardmap.SlotOf(q.Key)
	w.single, w.ask.From, w.ask.Exact, w.ask.Slots = true, q.Key, true, []shardmap.SlotRange{{From: slot, To: slot}}
	return nil
}
