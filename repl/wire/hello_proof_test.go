package wire

import (
	"strings"
	"testing"
)

// A host that has a secret meets one that proves nothing by it. What to do next differs: without TLS the secret is all
// that there is, and with TLS a cluster that is founded asks for no secret, so one must not be told to give it there.
func TestNothingProvenSaysWhatToDo(t *testing.T) {
	for _, c := range []struct {
		exporter []byte
		want     string
	}{
		{nil, "start it with --secret-file, or leave the secret out here"},
		{make([]byte, 32), "give a host that is to join --token-file"},
	} {
		d := DialConfig{Role: RoleJoining, Secret: []byte("a secret")}
		e := d.checkProven("10.0.0.1:4166", &Greeting{Exporter: c.exporter})
		if e == nil || !strings.Contains(e.Next, c.want) || strings.Contains(e.Next, "\n") {
			t.Errorf("with TLS %t: got %v, want %q", c.exporter != nil, e, c.want)
		}
	}
}
