package trial

import (
	"os/exec"
	"strings"
	"testing"

	"muster/node/trial/clustertest"
)

// docs/protocol.md promises that it is enough to write a client. The example
// was written from that page, in another language, and can set and get, also
// when the node that it asks does not lead the key's group.
func TestPythonClient(t *testing.T) {
	t.Parallel()
	const example = "../../docs/examples/client.py"
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed: the example client is not run here")
	}
	c := clustertest.Start(t, 3)
	for _, key := range []string{"a", "ключ"} {
		for i := range c.Nodes {
			addr := c.Nodes[i].Addr
			value := "from python through " + addr
			if out, err := exec.Command(python, example, addr, "set", key, value).CombinedOutput(); err != nil {
				t.Fatalf("set %s at %s: %v\n%s", key, addr, err, out)
			}
			if got := strings.TrimSuffix(c.Run("kv", "get", key).Done(t), "\n"); got != value {
				t.Errorf("key %s: got %q, want %q", key, got, value)
			}
			out, err := exec.Command(python, example, addr, "get", key).Output()
			if err != nil {
				t.Fatalf("get %s at %s: %v", key, addr, err)
			}
			if got := strings.TrimSuffix(string(out), "\n"); got != value {
				t.Errorf("key %s: python got %q, want %q", key, got, value)
			}
		}
	}
}
