package cmd

import (
	"testing"
	"time"
)

// A command takes each duration as a list prints it.
func TestSpans(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"inf": 0, "1w": 168 * time.Hour, "10d": 240 * time.Hour, "36h": 36 * time.Hour, "1h30m": 90 * time.Minute, "1h0m1s": time.Hour + time.Second, "1d": 24 * time.Hour, "106751d": 106751 * 24 * time.Hour,
	} {
		if got, err := parseSpan("duration", text); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", text, got, err, want)
		}
		if got := spanText(want); got != text {
			t.Errorf("%s is written %s, want %s", want, got, text)
		}
	}
	for _, bad := range []string{"", "0", "0d", "-1h", "1.5d", "1x", "d", "106752d", "99999999999999999999w", "inf ", "+1d", "1 d"} {
		if got, err := parseSpan("duration", bad); err == nil || statusOf(err) != exitUsage {
			t.Errorf("%q is %s, %v", bad, got, err)
		}
	}
}
