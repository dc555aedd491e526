package sim

import (
	"fmt"
	"time"

	"muster/shardmap"
)

const (
	// Replicas are compared that often, drawn from between these.
	auditPaceMin, auditPaceMax = time.Second, 30 * time.Second
	// States are walked through that often. A walk takes a while of processor time, and finds
	// nothing where no state becomes wrong.
	walkPaceMin, walkPaceMax = 20 * time.Second, 5 * time.Minute
	// Where states become wrong both are more often.
	flawAuditMax, flawWalkMin, flawWalkMax = 20 * time.Second, time.Second, time.Minute
	// orderPaceEvery is how often the paces are ordered, until they are set: the cluster may
	// not be at the level for them yet.
	orderPaceEvery = 2 * time.Second
)

// paces are how often the replicas of a run are compared, and their states walked through.
type paces struct {
	c           *cluster
	audit, walk time.Duration
}

// draw draws the paces, and has them set.
func (p *paces) draw() {
	rnd := &p.c.chance
	p.audit, p.walk = rnd.skewed(auditPaceMin, auditPaceMax), rnd.skewed(walkPaceMin, walkPaceMax)
	if p.c.flaws.active {
		p.audit, p.walk = rnd.skewed(auditPaceMin, flawAuditMax), rnd.skewed(flawWalkMin, flawWalkMax)
	}
	p.audit, p.walk = p.audit.Round(time.Second), p.walk.Round(time.Second)
	p.order()
}

// set reports whether the leader of the meta group has the paces.
func (p *paces) set() bool {
	t := p.c.newestTable()
	return t != nil && t.AuditPace() == p.audit && t.WalkPace() == p.walk
}

// order has the paces set.
func (p *paces) order() {
	if p.set() {
		return
	}
	for _, s := range []struct {
		name string
		d    time.Duration
	}{{"audit-pace", p.audit}, {"walk-pace", p.walk}} {
		p.c.order.give(shardmap.AppendSetting(nil, &shardmap.Setting{Name: s.name, Value: fmt.Sprintf("%ds", s.d/time.Second)}))
	}
	p.c.order.call(orderPaceEvery, p.order)
}
