package node

import (
	"context"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/health"
	"muster/repl/mover"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// What asks the owner of a core takes nothing from it once the node stops: the owner may still
// call what was asked, and write to the same variables. The race detector tells.
func TestNothingIsTakenOfAnOwnerWhileItStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n := &Node{ctx: ctx}
	fails := &registry.Service{Name: "s", Instances: []registry.Instance{{Status: registry.Down}}}
	for what, owner := range map[string]struct {
		mail *mailbox
		ask  func()
	}{
		"down":     {&n.assigning.mail, func() { n.assigning.down() }},
		"missed":   {&n.assigning.mail, func() { n.assigning.missed() }},
		"rows":     {&n.assigning.mail, func() { n.assigning.rows() }},
		"counts":   {&n.checking.mail, func() { n.checking.counts(n.ctx) }},
		"stuck":    {&n.carrying.mail, func() { n.carrying.stuck(new(shardmap.Table)) }},
		"carriage": {&n.carrying.mail, func() { n.carrying.rows() }},
	} {
		t.Run(what, func(t *testing.T) {
			n.assigning = assigning{node: n, mail: newMailbox(), core: health.NewAssigner(1),
				groups: map[raft.GroupID]map[string]health.Row{1: {"s": {Service: fails}}}}
			n.checking = checking{node: n, mail: newMailbox(), core: health.NewChecker(1, 0, nil)}
			n.carrying.node, n.carrying.mail, n.carrying.core = n, newMailbox(), mover.NewCarrier(1)
			for range 100 {
				looks, called := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(called)
					close(looks)
					var queued []func(time.Duration)
					for queued == nil { // without a wait, which would order the two goroutines
						queued = owner.mail.take()
					}
					for _, f := range queued {
						f(0)
					}
				}()
				<-looks
				owner.ask()
				<-called
			}
		})
	}
}
