package repl

import (
	"testing"
	"time"
)

// Who looks for a slow disk is shown percentiles that come from buckets. They
// must not say less than was measured, nor more than a quarter more, and what was
// measured long ago must not hide what is now.
func TestSyncTimes(t *testing.T) {
	now := time.Second
	s := syncTimes{times: recent{span: syncWindow}}
	write := func(took time.Duration) {
		s.begin(now)
		now += took
		s.end(now)
	}
	for i := range 100 {
		write(time.Duration(i+1) * 100 * time.Microsecond)
	}
	got := s.summary(now)
	within := func(what string, got, want time.Duration) {
		t.Helper()
		if got < want || got > want*5/4 {
			t.Errorf("%s is %v, want %v or a quarter more", what, got, want)
		}
	}
	within("the median", got.P50, 5*time.Millisecond)
	within("the 99th percentile", got.P99, 9900*time.Microsecond)
	if got.Count != 100 || got.Total != 100 || got.Max != 10*time.Millisecond || got.MaxEver != got.Max || got.UnderWay != 0 {
		t.Errorf("got %+v", got)
	}

	// Half a window later both count, and after a whole one the new alone.
	now += syncWindow
	write(time.Millisecond)
	if got = s.summary(now); got.Count != 101 || got.Max != 10*time.Millisecond {
		t.Errorf("after one half of the window: got %+v", got)
	}
	now += syncWindow
	write(time.Millisecond)
	if got = s.summary(now); got.Count != 2 || got.Max != time.Millisecond || got.MaxEver != 10*time.Millisecond || got.Window > 2*syncWindow {
		t.Errorf("after the window: got %+v", got)
	}
	now += time.Hour
	if got = s.summary(now); got.Count != 0 || got.P99 != 0 || got.Total != 102 {
		t.Errorf("after an hour: got %+v", got)
	}

	// A disk that stands still shows while it does.
	s.begin(now)
	if got = s.summary(now + 7*time.Second); got.UnderWay != 7*time.Second {
		t.Errorf("under way for %v, want 7s", got.UnderWay)
	}
	now += time.Hour
	s.end(now) // longer than the longest bucket
	if got = s.summary(now); got.P50 == 0 || got.Max != time.Hour {
		t.Errorf("after a write of an hour: got %+v", got)
	}
}
