package security

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"muster/node/trial/clustertest"
)

// What muster secret makes must be taken by the commands that want a secret,
// as the README has it, under whatever umask; and a file that others can use
// must be refused by each of them, with the command that mends it.
func TestSecretCommand(t *testing.T) {
	t.Parallel()
	good := regexp.MustCompile(`^[0-9a-f]{64}\n$`)
	if out := clustertest.Run(t, "secret").Done(t); !good.MatchString(out) {
		t.Errorf("got %q", out)
	}
	var row struct{ Secret string }
	if err := json.Unmarshal([]byte(clustertest.Run(t, "secret", "-o", "json").Done(t)), &row); err != nil || !good.MatchString(row.Secret+"\n") {
		t.Errorf("got %+v, %v", row, err)
	}
	file := filepath.Join(t.TempDir(), "secret")
	if out := clustertest.Run(t, "secret", "--file", file).Done(t); out != "" {
		t.Errorf("printed %q", out)
	}
	clustertest.Run(t, "secret", "--file", file).Refused(t, clustertest.ExitRefused, "it exists")
	clustertest.Run(t, "secret", "--file=").Refused(t, clustertest.ExitUsage, "--file: empty")
	clustertest.Run(t, "secret", "x").Refused(t, clustertest.ExitUsage, "one too many")

	c := clustertest.New(t, 1, "--secret-file", file)
	c.Secret = file
	c.Start(0)
	c.Healthy()
	c.Run("kv", "set", "k", "v").Done(t)

	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"kv", "get", "k"}, {"serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0"}} {
		clustertest.Run(t, append(args, "--secret-file", file)...).Refused(t, clustertest.ExitRefused, "(mode 0640); run: chmod 600 "+file)
	}
}
