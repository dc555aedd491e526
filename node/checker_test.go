package node

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"muster/repl/health"
	"muster/repl/wire"
	"muster/shardmap/registry"
)

// The probes of services that are deleted end at once, those that are queued too, though their
// targets would hang for a minute: other checks get their workers and places.
func TestDroppedProbesEnd(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r := serving(t, defaultLimits())
	d := checking{prober: r.node.checking.prober}
	d.init(r.node)
	r.node.ended.Add(1)
	go func() {
		defer r.node.ended.Done()
		d.run()
	}()
	poll := func(q wire.ChecksOf) {
		q.Group, q.Incarnation, q.Term = 1, 1, 1
		d.poll(1, &wire.Checks{Groups: []wire.ChecksOf{q}}, func(*wire.ChecksAnswer) {})
	}
	spec := registry.Spec{Type: registry.TypeWeb, URL: "http://" + silent.Addr().String() + "/", Timeout: time.Minute, Interval: time.Minute, Rise: 1, Fall: 1}
	const hogs = 3
	last := uint64(hogs * health.ProbesMax)
	all, gone := wire.ChecksOf{Until: last}, wire.ChecksOf{Since: last, Until: last + 1}
	for i := range last {
		all.Rows = append(all.Rows, wire.CheckRow{Number: i + 1, Name: fmt.Sprint("hog", i%hogs), Instance: fmt.Sprint(i), Check: 1, Spec: spec.AppendTo(nil)})
		gone.Gone = append(gone.Gone, i+1)
	}
	poll(all)
	busy := func(least, most uint64) func() error {
		return func() error {
			poll(wire.ChecksOf{Since: last, Until: last}) // or the checker drops all
			n, _ := d.counts(d.node.ctx)
			if busy := uint64(d.busy.Load()); n.Running < least || n.Running > most || busy < least || busy > most {
				return fmt.Errorf("%d probes are counted, %d busy, want %d to %d", n.Running, busy, least, most)
			}
			return nil
		}
	}
	until(t, "they hold what they may", busy(health.ProbesMax/2, health.ProbesMax-1))
	poll(gone)
	last++
	began := time.Now()
	until(t, "all have ended", busy(0, 0))
	if took := time.Since(began); took > spec.Timeout/2 {
		t.Errorf("they ended %v after their checks", took)
	}
	d.mail.post(func(time.Duration) {
		if len(d.making) > 0 {
			t.Errorf("%d contexts are kept", len(d.making))
		}
	})
	good := newTarget(t)
	at := netip.MustParseAddrPort(good.addr)
	spec = registry.Spec{Type: registry.TypeTCP, Host: at.Addr().String(), Port: at.Port(), Timeout: time.Second, Interval: time.Second, Rise: 1, Fall: 1}
	poll(wire.ChecksOf{Since: last, Until: last + 1, Rows: []wire.CheckRow{{Number: last + 1, Name: "other", Instance: "1", Check: 1, Spec: spec.AppendTo(nil)}}})
	last++
	before, _ := d.counts(d.node.ctx)
	until(t, "another check is made", func() error {
		n, _ := d.counts(d.node.ctx)
		if n.Probes == before.Probes || n.Running > 0 || n.Failed > before.Failed {
			return fmt.Errorf("%+v", n)
		}
		return nil
	})
}

// What is cancelled while it waits for a worker is not begun.
func TestCancelledInTheQueue(t *testing.T) {
	r := serving(t, defaultLimits())
	d := checking{prober: r.node.checking.prober}
	d.init(r.node)
	d.workers = health.ProbesMax // none of them is there
	good := newTarget(t)
	at := netip.MustParseAddrPort(good.addr)
	loop := r.node.running()
	spec := registry.Spec{Type: registry.TypeTCP, Host: at.Addr().String(), Port: at.Port(), Timeout: time.Minute, Interval: time.Minute, Rise: 1, Fall: 1}
	d.begin(loop, health.Probe{Number: 1, Spec: spec, Deadline: loop.Now() + time.Minute})
	d.cancel(1)
	d.make(<-d.queue)
	for _, f := range d.mail.take() {
		f(loop.Now())
	}
	if n := d.core.Counts(); n.Void != 1 || len(d.making) > 0 {
		t.Errorf("%d ends are told of; %d contexts are kept", n.Void, len(d.making))
	}
}
