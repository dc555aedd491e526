package health

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"muster/shardmap/registry"
)

var seeds = flag.Uint64("healthseeds", 60, "worlds of assigners and checkers")

const deregisterAfter = 20 * time.Second

// Whatever happens to nodes, leaders and messages: what is always up is never reported down.
// Once the faults are over, each status becomes true, and nothing more is reported.
func TestHealthWorlds(t *testing.T) {
	n := *seeds
	if testing.Short() {
		n = 12
	}
	var reports, voids, downs, gone, hooks int
	for seed := range n {
		w := newWorld(t, seed, 3+int(seed%3), 1+int(seed%4))
		play(w)
		reports, voids, downs, gone, hooks = reports+w.reports, voids+w.voids, downs+w.downs, gone+w.gone, hooks+w.hooks
	}
	t.Logf("%d reports, %d void states, %d times down, %d deregistered, %d webhooks", reports, voids, downs, gone, hooks)
	if reports == 0 || voids == 0 || downs == 0 || gone == 0 || hooks == 0 {
		t.Error("something did not happen in any world")
	}
}

// populate sets services of all kinds.
func populate(w *world) {
	for i := range 2 + w.rnd.IntN(4) {
		w.set(fmt.Sprintf("tcp-%d", i), "tcp", 200+w.rnd.IntN(1800), 1+w.rnd.IntN(5))
	}
	w.set("ttl", "ttl", 1500, 3)
	w.set("custom", "custom", 500, 3)
	w.set("gone", "tcp", 400, 4, "deregister_after", fmt.Sprint(deregisterAfter.Milliseconds()))
	w.set("hooked", "tcp", 300, 3, settingWebhook, "http://hooks.example/")
	nobody := w.set("nobody", "custom", 500, 1)
	nobody.service.Instances[0].Settings = settings("host", "nobody-0", "interval", "500", "script", "program-none")
	w.change(nobody)
}

// play has everything happen to a world, and then wants it to come to the truth.
func play(w *world) {
	w.calm = true
	populate(w)
	w.run(time.Duration(w.rnd.IntN(4000)) * time.Millisecond)
	w.calm = false
	for range 30 {
		w.happen()
		w.run(time.Duration(w.rnd.IntN(2500)) * time.Millisecond)
	}
	w.note("heal")
	w.calm = true
	w.until("all nodes are back", 12*time.Second, func() string {
		for _, n := range w.nodes {
			if !n.up || n.cut {
				return fmt.Sprintf("n%d is not", n.id)
			}
		}
		return ""
	})
	w.comesTrue()
	w.steady()
}

// cuts has nodes cut off for so long that they notice it, and for so short a time that nobody else
// does: what they have said meanwhile arrives afterwards.
func cuts(w *world) {
	w.calm = true
	w.run(2 * time.Second)
	r := w.set("quick", "tcp", 200, 12)
	for i := range r.service.Instances { // one failure is enough, and there may be one while a poll is held
		inst := &r.service.Instances[i]
		inst.Settings = append(settings("fall", "1"), inst.Settings...)
	}
	w.until("each status is the truth", 20*time.Second, w.allTrue)
	for _, n := range w.nodes {
		n.viewAt = never
	}
	for range 20 {
		if n := w.nodes[w.rnd.IntN(len(w.nodes))]; n != w.groups[0].leader {
			w.isolate(n)
			n.healAt = w.now + cutOffAfter + time.Duration(100+w.rnd.IntN(400))*time.Millisecond
		}
		w.run(time.Duration(3000+w.rnd.IntN(500)) * time.Millisecond)
	}
}

// What was found by a node that was cut off is not taken when it arrives late.
func TestCutsThatNobodyNotices(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, 3, 1)
		if cuts(w); w.downs > 0 {
			w.fail("seed %d: %d reports of down", seed, w.downs)
		}
	}
}

// happen has one thing happen.
func (w *world) happen() {
	name := w.names[w.rnd.IntN(len(w.names))]
	r := w.records[name]
	host := ""
	if n := len(r.service.Instances); n > 0 {
		host = r.service.Instances[w.rnd.IntN(n)].ID
	}
	switch w.rnd.IntN(16) {
	case 0, 1, 2:
		if host != "" {
			w.turn(host, false, false)
		}
	case 3, 4:
		if host != "" {
			w.turn(host, true, false)
		}
	case 5:
		if host != "" {
			w.turn(host, true, true)
		}
	case 6:
		if host != "" {
			for range 8 { // it flaps
				w.turn(host, false, false)
				w.run(1200 * time.Millisecond)
				w.turn(host, true, false)
				w.run(1200 * time.Millisecond)
			}
		}
	case 7, 8:
		w.die(w.nodes[w.rnd.IntN(len(w.nodes))])
	case 9, 10:
		w.isolate(w.nodes[w.rnd.IntN(len(w.nodes))])
	case 11:
		w.depose(w.groups[w.rnd.IntN(len(w.groups))])
	case 12:
		w.move(r)
	case 13:
		w.change(r)
	case 14:
		if name != "nobody" && name != "ttl" {
			service := r.service
			w.del(name)
			w.run(time.Duration(w.rnd.IntN(1000)) * time.Millisecond)
			of := []string{}
			for _, s := range service.Settings {
				of = append(of, s.Key, s.Value)
			}
			w.set(name, service.Type, 300, 3, of...)
		}
	case 15:
		if host != "" {
			i := w.rnd.IntN(len(r.service.Instances))
			next := *r.service
			next.Instances = append([]registry.Instance(nil), next.Instances...)
			next.Instances[i].Maintenance = !next.Instances[i].Maintenance
			w.put(r, &next)
		}
	}
}

// takeover is how long it takes at most, once all is well, until each check is run by a node
// that answers: a silent node is noticed, there is a leader again, and the first poll arrives.
const takeover = 3*time.Second + silentEvery + 2*time.Second

// comesTrue wants each status to be the truth in time.
func (w *world) comesTrue() {
	w.t.Helper()
	slowest := time.Duration(0)
	for _, r := range w.records {
		for i := range r.service.Instances {
			spec, _ := r.service.Instances[i].Spec(r.service)
			slowest = max(slowest, spec.Interval*time.Duration(max(spec.Rise, spec.Fall))+spec.Timeout)
		}
	}
	most := slowest + time.Second + takeover
	begin := w.now
	w.until("each status is the truth, but for those that flap", most, func() string { return w.allTrueBut(registry.Flapping) })
	w.note("true after %v", w.now-begin)
	w.until("each status is the truth", FlapQuiet+most, w.allTrue)
	// A leader that does not know that it was deposed has its checks run until it does.
	w.until("each check is run by one node", deposedMax+AssignmentTTL+time.Second, func() string { return once(w) })
	w.run(deregisterAfter + 2*time.Second)
	w.until("the webhook is told", hookLate+hookPauseMax+time.Minute, func() string { return allTold(w) })
	for i := range w.records["gone"].service.Instances {
		if inst := &w.records["gone"].service.Instances[i]; inst.Status != registry.Up && !inst.Maintenance {
			w.fail("%s is down, and not deregistered", inst.ID)
		}
	}
}

// steady wants nothing to be proposed, and no more polls than there must be.
func (w *world) steady() {
	reports, polls, hooks := w.reports, w.polls, w.hooks
	var probes uint64
	for _, n := range w.nodes {
		probes -= n.checker.counts.Probes
	}
	const span = 20 * time.Second
	w.run(span)
	if w.reports != reports || w.hooks != hooks {
		w.fail("%d reports and %d webhooks while nothing changes", w.reports-reports, w.hooks-hooks)
	}
	leaders := map[*node]bool{}
	for _, g := range w.groups {
		leaders[g.leader] = true
	}
	if n, most := w.polls-polls, (int(span/PollEvery)+1)*len(leaders)*len(w.nodes); n > most {
		w.fail("%d polls in %v, want %d at most", n, span, most)
	}
	for _, n := range w.nodes {
		probes += n.checker.counts.Probes
	}
	least, most := 0.0, 0.0
	for _, r := range w.records {
		for i := range r.service.Instances {
			spec, _ := r.service.Instances[i].Spec(r.service)
			if spec.Type == registry.TypeTTL || spec.Script == "program-none" {
				continue
			}
			least += span.Seconds()/spec.Interval.Seconds() - 1
			most += span.Seconds()/(spec.Interval.Seconds()*(100-jitter)/100) + 1
		}
	}
	if float64(probes) < least || float64(probes) > most {
		w.fail("%d probes in %v, want %.0f to %.0f", probes, span, least, most)
	}
	for len(w.names) > 0 {
		w.del(w.names[0])
	}
	w.run(3 * time.Second)
	polls = w.polls
	if w.run(span); w.polls != polls {
		w.fail("%d polls, and there is no service", w.polls-polls)
	}
}
