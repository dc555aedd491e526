package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"muster/repl/health"
	"muster/repl/wire"
	"muster/shardmap/registry"
)

// servicesShown is how many services without an instance that is up a doctor names.
const servicesShown = 8

// counts returns what the assigner has done and has; false if ctx ends before it is known.
func (d *assigning) counts(ctx context.Context) (health.AssignerCounts, bool) {
	return countsOf(ctx, &d.mail, func(time.Duration) health.AssignerCounts { return d.core.Counts() })
}

// rows are the counters of what this node has checked, and of what it has had checked.
func (d *assigning) rows() (rows []wire.CounterRow) {
	a, ok := d.counts(d.node.ctx)
	if !ok {
		return nil
	}
	k, _ := d.node.checking.counts(d.node.ctx)
	for _, r := range slices.Concat([]wire.CounterRow{
		{Name: "services: in groups led here", Out: a.Services},
		{Name: "services: checks assigned", Out: a.Checks},
		{Name: "services: checks that no node can run", Out: a.Homeless},
		{Name: "services: polls", Out: a.Polls},
		{Name: "services: reports", Out: a.Reports},
		{Name: "services: findings dropped", In: a.Void},
		{Name: "services: webhooks given up", Out: a.HooksLost},
		{Name: "checks: here", In: k.Checks},
		{Name: "checks: probes under way", Out: k.Running},
		{Name: "checks: probes", Out: k.Probes},
		{Name: "checks: probes that failed", Out: k.Failed},
		{Name: "checks: probes late for want of room", Out: k.Late},
		{Name: "checks: results dropped", In: k.Void},
		{Name: "checks: refused for want of room", In: k.Refused},
	}, d.hooks.rows()) {
		if r.In > 0 || r.Out > 0 {
			rows = append(rows, r)
		}
	}
	return rows
}

// down returns what a person should know of the services in groups that this node leads: those
// that have nothing up, and webhooks that miss changes.
func (d *assigning) down() (list []wire.Problem) {
	var all []*registry.Service
	if !d.mail.ask(d.node.ctx, func(time.Duration) {
		for _, g := range d.groups {
			for _, row := range g {
				if nothingUp(row.Service) {
					all = append(all, row.Service)
				}
			}
		}
	}) {
		return nil
	}
	slices.SortFunc(all, func(a, b *registry.Service) int { return cmp.Compare(a.Name, b.Name) })
	for i, s := range all {
		if i == servicesShown {
			list = append(list, wire.Problem{What: fmt.Sprintf("nothing of %d more services is up", len(all)-i), Remedy: "see muster service list"})
			break
		}
		list = append(list, downService(s))
	}
	return append(list, d.missed()...)
}

// missed are the webhooks that miss changes.
func (d *assigning) missed() []wire.Problem {
	var all []health.Missed
	if !d.mail.ask(d.node.ctx, func(time.Duration) { all = d.core.Missed() }) {
		return nil
	}
	return missedChanges(all)
}

// missedChanges are the problems with webhooks that miss changes.
func missedChanges(all []health.Missed) (list []wire.Problem) {
	slices.SortFunc(all, func(a, b health.Missed) int { return cmp.Compare(a.Service, b.Service) })
	for i, m := range all {
		if i == servicesShown {
			return append(list, wire.Problem{What: fmt.Sprintf("the webhooks of %d more services miss changes", len(all)-i), Remedy: "see what the nodes log: webhook misses changes"})
		}
		remedy := "see that its receiver answers with 2xx within 5 seconds"
		if m.Full {
			remedy = fmt.Sprintf("its record is near %d KiB and has no room for them: make several services of it, or give it fewer or shorter settings", registry.ServiceMax>>10)
		}
		list = append(list, wire.Problem{What: fmt.Sprintf("the webhook of service %q misses changes (instances: %d)", m.Service, m.Instances), Remedy: remedy})
	}
	return list
}

// nothingUp reports whether a service has instances that should be in use, and none of them is
// up. Nothing is known of one that was never checked.
func nothingUp(s *registry.Service) bool {
	used := 0
	for i := range s.Instances {
		switch n := &s.Instances[i]; {
		case n.Maintenance:
		case n.Status == registry.Up, n.Status == registry.Unknown && n.Reason == "":
			return false
		default:
			used++
		}
	}
	return used > 0
}

// downService is the problem with a service of which nothing is up. It says why, of the instance
// that changed last.
func downService(s *registry.Service) wire.Problem {
	last, used := -1, 0
	for i := range s.Instances {
		if n := &s.Instances[i]; !n.Maintenance {
			used++
			if last < 0 || n.Since > s.Instances[last].Since {
				last = i
			}
		}
	}
	n := &s.Instances[last]
	what := fmt.Sprintf("nothing of service %q is up (instances: %d, in maintenance: %d)", s.Name, used, len(s.Instances)-used)
	if n.Since == 0 {
		what += fmt.Sprintf("; %q is %s", n.ID, n.Shown())
	} else {
		what += fmt.Sprintf("; the last to change was %q, %s since %s", n.ID, n.Shown(), time.UnixMilli(n.Since).UTC().Format(time.RFC3339))
	}
	if n.Reason != "" {
		what += ": " + n.Reason
	}
	return wire.Problem{What: what, Remedy: "see muster service get " + s.Name + ", and what keeps its targets from answering the nodes of this cluster"}
}
