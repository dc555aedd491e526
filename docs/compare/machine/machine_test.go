package machine

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestProcessTimeOfALine(t *testing.T) {
	const behind = " S 1 2 3 4 5 6 7 8 9 10 250 31 0 0 20 0 1 0 100 200"
	for _, stat := range []string{"12 (muster)" + behind, "12 (a) b (c)" + behind} {
		if got, err := processTime(stat); err != nil || got != 2810*time.Millisecond {
			t.Errorf("%s: got %s (%v), want 2.81s", stat, got, err)
		}
	}
	for _, stat := range []string{"", "12 (muster) S 1 2", "12 (muster) S 1 2 3 4 5 6 7 8 9 10 x 31 0"} {
		if got, err := processTime(stat); err == nil {
			t.Errorf("%q: got %s, want an error", stat, got)
		}
	}
}

// What the system counts for this process grows as it works.
func TestProcessTimeGrows(t *testing.T) {
	before, err := ProcessTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(10 * time.Second); ; {
		now, err := ProcessTimes([]int{os.Getpid()})
		if err != nil {
			t.Fatal(err)
		}
		if now > before {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("worked for 10 s, and the processor time is still %s", now)
		}
	}
}

func TestUse(t *testing.T) {
	//            user nice system idle iowait irq softirq steal guest guest_nice
	got, err := use("cpu  100 20 30 400 50 6 7 8 90 0\ncpu0 1 2 3\n")
	want := Use{Busy: 171 * tick, Total: 621 * tick}
	if err != nil || got != want {
		t.Errorf("got %+v (%v), want %+v", got, err, want)
	}
	for _, stat := range []string{"", "intr 1 2 3 4 5 6 7 8 9", "cpu 1 2 3", "cpu 1 2 3 4 5 6 7 x"} {
		if got, err := use(stat); err == nil {
			t.Errorf("%q: got %+v, want an error", stat, got)
		}
	}
	if now, err := Now(); err != nil || now.Total <= 0 || now.Busy > now.Total {
		t.Errorf("this machine: got %+v (%v)", now, err)
	}
}

func TestOthers(t *testing.T) {
	at := func(busy, total time.Duration) Use { return Use{Busy: busy * time.Second, Total: total * time.Second} }
	for _, c := range []struct {
		before, after Use
		ours          time.Duration
		want          float64
	}{
		{at(1, 10), at(5, 20), 4 * time.Second, 0},
		{at(1, 10), at(5, 20), 3 * time.Second, 0.1},
		{at(1, 10), at(5, 20), 0, 0.4},
		{at(1, 10), at(5, 20), 5 * time.Second, 0}, // ours is counted in coarser steps
		{at(1, 10), at(1, 10), 0, 0},
	} {
		if got := Others(c.before, c.after, c.ours); got != c.want {
			t.Errorf("from %+v to %+v, ours %s: got %v, want %v", c.before, c.after, c.ours, got, c.want)
		}
	}
}

func TestOnDisk(t *testing.T) {
	if err := OnDisk("/dev/shm"); err == nil || !strings.Contains(err.Error(), "memory") {
		t.Errorf("/dev/shm: got %v, want that it is held in memory", err)
	}
	if err := OnDisk("/nowhere"); err == nil {
		t.Error("a folder that is not there is on a disk")
	}
}

func TestDescribe(t *testing.T) {
	for _, part := range []string{"cores", "GB", "Linux", "go1."} {
		if got := Describe(); !strings.Contains(got, part) {
			t.Errorf("%q does not say %q", got, part)
		}
	}
}
