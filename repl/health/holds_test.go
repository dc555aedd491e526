package health

import (
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// staleMax is how old what a report says may be when it is applied: an interval for each
// result of the threshold, the last of which may take its whole time; then a poll that is late,
// a leader that does not answer, and a report that is tried again.
func staleMax(spec *registry.Spec) time.Duration {
	return time.Duration(max(spec.Rise, spec.Fall))*spec.Interval + spec.Timeout + pollLate + reportPauseMax + reportLate
}

// reported checks a change of status when it is applied.
func (w *world) reported(r *record, inst *registry.Instance, row *shardmap.ReportRow) {
	tg := w.truth[inst.ID]
	spec, _ := inst.Spec(r.service)
	w.note("%s/%s: %d becomes %d: %s", r.name, inst.ID, inst.Status, row.Status, row.Reason)
	switch row.Status {
	case registry.Down:
		w.downs++
		if tg.wasDown == longAgo {
			w.fail("%s is reported down, and was up all the time", inst.ID)
		}
		if old := w.now - tg.wasDown; old > staleMax(&spec) {
			w.fail("%s is reported down, and was down %v ago at the last", inst.ID, old)
		}
	case registry.Up:
		if old := w.now - tg.wasUp; old > staleMax(&spec) {
			w.fail("%s is reported up, and was up %v ago at the last", inst.ID, old)
		}
	case registry.Flapping:
		if tg.always {
			w.fail("%s is reported flapping, and was up all the time", inst.ID)
		}
	case registry.Unknown:
		if r.service.Type != registry.TypeCustom {
			w.fail("%s is reported unknown: %s", inst.ID, row.Reason)
		}
	}
}

// findings returns what an assigner has of each check.
func findings(a *Assigner) map[*check]wire.Finding {
	all := map[*check]wire.Finding{}
	for _, l := range a.leads {
		for _, s := range l.order {
			for _, c := range s.checks {
				all[c] = c.finding
			}
		}
	}
	return all
}

// countedRight checks that what an answer has changed is of assignments that are in force.
func countedRight(w *world, a *Assigner, from raft.NodeID, ans *wire.ChecksAnswer, had map[*check]wire.Finding) {
	for _, l := range a.leads {
		for _, s := range l.order {
			for _, c := range s.checks {
				if c.finding == had[c] || c.finding == 0 { // 0: it is assigned anew
					continue
				}
				ok := slices.ContainsFunc(ans.States, func(x wire.CheckState) bool {
					return c.node == from && x.Group == l.group && x.Term == l.term && x.Number == c.number && x.Check == c.version && x.Finding == c.finding
				})
				if !ok {
					w.fail("%s: a state counts that is not of assignment %d to n%d", c.instance.ID, c.number, c.node)
				}
			}
		}
	}
}

// goneRight checks a deregistration.
func (w *world) goneRight(r *record, inst *registry.Instance) {
	w.gone++
	w.note("%s/%s is deregistered", r.name, inst.ID)
	if inst.Maintenance || r.service.Get("deregister_after") == "" || w.truth[inst.ID].always {
		w.fail("%s is deregistered", inst.ID)
	}
	if was := w.now - time.Duration(inst.SinceSlot)*time.Millisecond; was < deregisterAfter-time.Second {
		w.fail("%s is deregistered when it is down for %v", inst.ID, was)
	}
}

// allTrue returns what does not yet stand as it is.
func (w *world) allTrue() string { return w.allTrueBut(registry.Unknown) }

// allTrueBut is allTrue, but lets pass those of a status; Unknown: none.
func (w *world) allTrueBut(but registry.Status) string {
	for _, name := range w.names {
		r := w.records[name]
		for i := range r.service.Instances {
			inst := &r.service.Instances[i]
			tg := w.truth[inst.ID]
			want := registry.Down
			switch {
			case r.service.Type == registry.TypeCustom && inst.Get("script") == "program-none":
				want = registry.Unknown
				if inst.Reason != "no node allows program program-none (serve --check program-none=PATH)" {
					return fmt.Sprintf("%s has the reason %q", inst.ID, inst.Reason)
				}
			case tg.up && !tg.hangs:
				want = registry.Up
			}
			if but != registry.Unknown && inst.Status == but {
				continue
			}
			if inst.Status != want {
				return fmt.Sprintf("%s is %d, should be %d; true since %v", inst.ID, inst.Status, want, tg.since)
			}
		}
	}
	return ""
}

// allTold returns of which changes no webhook was told, or of which a record does not know so.
func allTold(w *world) string {
	for _, name := range w.names {
		r := w.records[name]
		if r.service.Get(settingWebhook) == "" {
			continue
		}
		for i := range r.service.Instances {
			inst := &r.service.Instances[i]
			if told := w.told[name+"\x00"+inst.ID]; inst.Hooked != inst.Count || told < inst.Count {
				return fmt.Sprintf("the webhook of %s was told %d of %d changes, its record says %d", inst.ID, told, inst.Count, inst.Hooked)
			}
		}
	}
	return ""
}

// once returns what is not checked by one node alone.
func once(w *world) string {
	want := 0
	by := map[string]int{}
	for _, name := range w.names {
		r := w.records[name]
		for i := range r.service.Instances {
			if r.service.Type != registry.TypeTTL && r.service.Instances[i].Get("script") != "program-none" {
				want++
			}
		}
	}
	have := 0
	for _, n := range w.nodes {
		have += n.checker.checks
		for _, h := range n.checker.groups {
			for _, k := range h.checks {
				by[k.key()]++
			}
		}
	}
	for key, n := range by {
		if n != 1 {
			return fmt.Sprintf("%q is checked by %d", key, n)
		}
	}
	if have != want || len(by) != want {
		return fmt.Sprintf("%d checks run, of %d instances", have, want)
	}
	return ""
}

// bounded checks what a node keeps and has under way.
func bounded(w *world, n *node) {
	a, c := n.assigner, n.checker
	if len(a.flights) > ReportsMax+HooksMax+len(w.nodes)*int(pollLate/PollEvery+pollLate/pollPause) {
		w.fail("n%d: %d actions are under way", n.id, len(a.flights))
	}
	polls := 0
	for _, f := range a.flights {
		if f.kind == ActPoll {
			polls++
		}
	}
	// While none is answered there is one every half second; hurried ones wait for an answer.
	if most := len(w.nodes) * (int(pollLate/PollEvery) + 6); polls > most {
		w.fail("n%d: %d polls are under way, want %d at most", n.id, polls, most)
	}
	if len(c.running) > ProbesMax || len(c.probes) != len(c.running) {
		w.fail("n%d: %d probes run, %d are known", n.id, len(c.running), len(c.probes))
	}
	checks := 0
	for _, h := range c.groups {
		checks += len(h.checks)
		if len(h.news) > 2*len(h.checks)+1 {
			w.fail("n%d: %d states of %d checks wait", n.id, len(h.news), len(h.checks))
		}
	}
	late, gone := 0, 0
	for i, x := range c.late {
		late += len(x.late)
		if x.place != i || i > 0 && c.late.Less(i, (i-1)/2) {
			w.fail("n%d: the shares are out of order at %d", n.id, i)
		}
	}
	runs := map[*share]int{}
	for _, k := range c.running {
		runs[k.share]++
		if k.gone {
			gone++
		}
	}
	if checks != c.checks || len(c.waiting)+late+len(c.running)-gone != c.checks {
		w.fail("n%d: %d checks, counted as %d, %d of them wait, %d are late and %d run, of %d gone", n.id, checks, c.checks, len(c.waiting), late, len(c.running), gone)
	}
	users := 0
	for name, x := range c.services {
		users += x.users
		if x.users == 0 || x.running != runs[x] {
			w.fail("n%d: service %s has %d checks and %d probes, counted as %d", n.id, name, x.users, runs[x], x.running)
		}
	}
	if users != c.checks+gone {
		w.fail("n%d: services have %d checks, of %d and %d gone", n.id, users, c.checks, gone)
	}
	for i, k := range c.waiting {
		if k.place != i || i > 0 && c.waiting.Less(i, (i-1)/2) {
			w.fail("n%d: the schedule is out of order at %d", n.id, i)
		}
	}
	for _, f := range a.fars {
		for g, x := range f.lists {
			if l := a.led(g); l == nil || x.begin > x.at || x.at > x.last {
				w.fail("n%d: the list of group %s: begin %d at %d last %d, led %t", n.id, g, x.begin, x.at, x.last, l != nil)
			}
			for number, c := range x.assigned {
				if c.number != number || c.node != f.node {
					w.fail("n%d: assignment %d of n%d is numbered %d, of n%d", n.id, number, f.node, c.number, c.node)
				}
			}
		}
	}
}
