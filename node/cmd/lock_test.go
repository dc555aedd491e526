package cmd

import (
	"strings"
	"testing"
)

// A mistake in a command line of muster lock must end with status 2 and one line, before anything is taken or run: nothing listens at
// the endpoint, and the program would say so.
func TestLockUsage(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"l"}, "an argument is missing; want muster lock NAME -- CMD…"},
		{[]string{"--", "echo", "l"}, "NAME is missing before --; want muster lock NAME -- CMD…"},
		{[]string{"", "--", "echo"}, "NAME is empty; want 1 to 4096 bytes"},
		{[]string{strings.Repeat("n", 4097), "--", "echo"}, "NAME has 4097 bytes; want at most 4096"},
		{[]string{"l", "echo", "-a"}, "option -a behind CMD, whose option it may be; want muster lock NAME -- CMD…"},
		{[]string{"l", "--ttl", "10ms", "--", "echo"}, "--ttl 10ms; want 1s to 24h"},
		{[]string{"l", "--ttl", "25h", "--", "echo"}, "--ttl 25h0m0s; want 1s to 24h"},
		{[]string{"l", "--wait", "0s", "--", "echo"}, "--wait 0s; want more than 0, or --no-wait"},
		{[]string{"l", "--wait", "1s", "--no-wait", "--", "echo"}, "--wait and --no-wait contradict each other; give one"},
		{[]string{"l", "--grace", "2h", "--", "echo"}, "--grace 2h0m0s; want 0s to 1h"},
		{[]string{"l", "--value", strings.Repeat("v", 4097), "--", "echo"}, "--value has 4097 bytes; want at most 4096"},
		{[]string{"l", "--timeout", "6m", "--", "echo"}, "--timeout 6m0s; want more than 0 and at most 5m0s"},
	} {
		r := muster(t, append([]string{"lock", "--endpoints", "127.0.0.1:1"}, tt.args...)...)
		if r.status != exitUsage || r.stdout != "" || r.stderr != "muster lock: "+tt.want+"\n" {
			t.Errorf("%.80q: status %d, %q, %q; want %q", tt.args, r.status, r.stdout, r.stderr, tt.want)
		}
	}
}
