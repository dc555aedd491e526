package health

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap/registry"
)

const (
	hogGroup   = 1
	otherGroup = 2
	hogChecks  = 2000
	hogs       = 4 // services that have them
	others     = 100
)

// crowd is a checker that has checks whose targets hang, and checks of other services.
type crowd struct {
	t       *testing.T
	c       *Checker
	now     time.Duration
	running map[uint64]Probe
	last    map[string]time.Duration // when the others were probed
	longest time.Duration            // between two probes of one of them
	probed  map[string]int           // by service
}

// newCrowd has [hogChecks] checks of so many services, each of which takes a time-out as long as the
// interval.
func newCrowd(t *testing.T, hogs int, interval time.Duration) *crowd {
	x := &crowd{t: t, c: NewChecker(1, 7, nil), running: map[uint64]Probe{}, last: map[string]time.Duration{}, probed: map[string]int{}}
	hang := registry.Spec{Type: registry.TypeWeb, URL: "http://h/", Interval: interval, Timeout: interval, Rise: 2, Fall: 3}
	well := registry.Spec{Type: registry.TypeTCP, Host: "h", Interval: 500 * time.Millisecond, Timeout: 500 * time.Millisecond, Rise: 2, Fall: 3}
	hog, other := wire.ChecksOf{Until: hogChecks}, wire.ChecksOf{Until: others}
	for i := range uint64(hogChecks) {
		hog.Rows = append(hog.Rows, wire.CheckRow{Number: i + 1, Name: fmt.Sprint("hog", i%uint64(hogs)), Instance: fmt.Sprint(i), Check: 1, Spec: hang.AppendTo(nil)})
	}
	for i := range uint64(others) {
		other.Rows = append(other.Rows, wire.CheckRow{Number: i + 1, Name: fmt.Sprint("other", i), Instance: "1", Check: 1, Spec: well.AppendTo(nil)})
	}
	x.poll(hog, other)
	return x
}

func (x *crowd) poll(hog, other wire.ChecksOf) {
	hog.Group, hog.Incarnation, hog.Term = hogGroup, 1, 1
	other.Group, other.Incarnation, other.Term = otherGroup, 1, 1
	x.c.Poll(x.now, 1, &wire.Checks{Groups: []wire.ChecksOf{hog, other}})
}

// run lets a time pass. Probes of the others end at once, the hogs' at their deadline.
func (x *crowd) run(d time.Duration) {
	const every = 5 * time.Millisecond
	for end := x.now + d; x.now < end; x.now += every {
		if x.now%PollEvery == 0 {
			x.poll(wire.ChecksOf{Since: hogChecks, Until: hogChecks}, wire.ChecksOf{Since: others, Until: others})
		}
		for number, p := range x.running {
			if x.now >= p.Deadline {
				x.c.Done(x.now, number, Result{Reason: "no answer in time"})
				delete(x.running, number)
			}
		}
		due, _, _ := x.c.Turn(x.now)
		for _, p := range due {
			x.probed[p.Name]++
			if p.Spec.Type == registry.TypeWeb {
				x.running[p.Number] = p
				continue
			}
			if was, ok := x.last[p.Name]; ok {
				x.longest = max(x.longest, x.now-was)
			}
			x.last[p.Name] = x.now
			x.c.Done(x.now, p.Number, Result{Up: true})
		}
	}
}

// Thousands of targets that hang for a minute take no place that the checks of other services
// need: those are made in each interval, from the first one on.
func TestHogsLeaveRoom(t *testing.T) {
	x := newCrowd(t, hogs, time.Minute)
	x.run(3 * time.Minute)
	if most := 505 * time.Millisecond; len(x.last) != others || x.longest > most {
		t.Errorf("%d of %d others are probed, one after %v, want %v at most", len(x.last), others, x.longest, most)
	}
	n := x.c.Counts()
	if part := ProbesMax / (hogs + 1); n.Running < hogs*uint64(part)-hogs || n.Running > hogs*uint64(part)+hogs || n.Late == 0 {
		t.Errorf("%d probes of those that hang are under way, %d were late; want some %d for each of %d", n.Running, n.Late, part, hogs)
	}
	for i := 1; i < hogs; i++ {
		if a, b := x.probed["hog0"], x.probed[fmt.Sprint("hog", i)]; a < b*9/10 || a > b*11/10 {
			t.Errorf("hog0 was probed %d times, hog%d %d times", a, i, b)
		}
	}
}

// So many services that hang at once that each place has one of them leave room for nobody. Then all
// checks are late alike, those of the others too: whoever waits the longest has the next place, and
// the rhythm of all is that of the hanging ones. No check waits for ever.
func TestManyHogsDelayAllAlike(t *testing.T) {
	const interval = 2 * time.Second
	x := newCrowd(t, hogChecks, interval)
	x.run(time.Minute)
	const rhythm = hogChecks * interval / ProbesMax // a place makes one of them in an interval
	t.Logf("one of the others was probed after %v, the rhythm of those that hang is %v", x.longest, rhythm)
	if len(x.last) != others || x.longest > rhythm+interval {
		t.Errorf("%d of %d others are probed, one after %v, want %v at most", len(x.last), others, x.longest, rhythm+interval)
	}
	least, most := hogChecks, 0
	for i := range hogChecks {
		n := x.probed[fmt.Sprint("hog", i)]
		least, most = min(least, n), max(most, n)
	}
	if least < most/2 {
		t.Errorf("of those that hang one was probed %d times, one %d times", least, most)
	}
}

// When a service is deleted, its probes are cancelled. Their places are taken until they have
// ended, and then are others'; what waited for a place leaves as well.
func TestDeletedHogIsCancelled(t *testing.T) {
	x := newCrowd(t, hogs, time.Minute)
	x.run(10 * time.Second)
	if early := x.c.Cancelled(); len(early) > 0 {
		t.Fatalf("%d probes are cancelled before", len(early))
	}
	before := x.c.Counts().Running
	var gone []uint64
	for i := range uint64(hogChecks) {
		gone = append(gone, i+1)
	}
	x.poll(wire.ChecksOf{Since: hogChecks, Until: hogChecks + 1, Gone: gone}, wire.ChecksOf{Since: others, Until: others})
	cancelled := x.c.Cancelled()
	slices.Sort(cancelled)
	if again := x.c.Cancelled(); len(cancelled) != len(x.running) || len(slices.Compact(cancelled)) != len(x.running) || len(again) > 0 {
		t.Fatalf("%d probes are cancelled, and then %d, of %d", len(cancelled), len(again), len(x.running))
	}
	if n := x.c.Counts().Running; n != before {
		t.Errorf("%d places are taken before the probes have ended, of %d", n, before)
	}
	for i, number := range cancelled {
		if x.running[number].Name == "" {
			t.Fatalf("probe %d is cancelled, which is not under way", number)
		}
		if i%2 == 0 {
			x.c.Skipped(x.now, number)
		} else {
			x.c.Done(x.now, number, Result{Up: true})
		}
	}
	n := x.c.Counts()
	if n.Running != 0 || n.Checks != others || len(x.c.services) != others || len(x.c.late) > 0 {
		t.Errorf("then %d are under way; there are %d checks, %d services, %d of them late", n.Running, n.Checks, len(x.c.services), len(x.c.late))
	}
	if n.Void != uint64(len(cancelled)) {
		t.Errorf("%d results were dropped, of %d", n.Void, len(cancelled))
	}
}

// A probe that was not made is made again in its time.
func TestSkipped(t *testing.T) {
	d := newDriven(registry.Up)
	var due []Probe
	for ; len(due) == 0 && d.now < time.Second; d.now += tickEvery {
		due, _, _ = d.c.Turn(d.now)
	}
	first := due[0]
	d.c.Skipped(d.now, first.Number)
	d.c.Skipped(d.now, first.Number)
	if n := d.c.Counts(); n.Running != 0 || n.Void != 2 {
		t.Errorf("%d are under way, %d results dropped", n.Running, n.Void)
	}
	due = nil
	end := d.now + first.Spec.Interval
	for ; len(due) == 0 && d.now < end; d.now += tickEvery {
		due, _, _ = d.c.Turn(d.now)
	}
	if len(due) != 1 || due[0].Number == first.Number {
		t.Errorf("within an interval %d probes begin", len(due))
	}
}
