package trial

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// What muster secret makes must be taken by the commands that want a secret,
// as the README has it, under whatever umask; and a file that others can use
// must be refused by each of them, with the command that mends it.
func TestSecretCommand(t *testing.T) {
	t.Parallel()
	good := regexp.MustCompile(`^[0-9a-f]{64}\n$`)
	if out := muster(t, "secret").done(t); !good.MatchString(out) {
		t.Errorf("got %q", out)
	}
	var row struct{ Secret string }
	if err := json.Unmarshal([]byte(muster(t, "secret", "-o", "json").done(t)), &row); err != nil || !good.MatchString(row.Secret+"\n") {
		t.Errorf("got %+v, %v", row, err)
	}
	file := filepath.Join(t.TempDir(), "secret")
	if out := muster(t, "secret", "--file", file).done(t); out != "" {
		t.Errorf("printed %q", out)
	}
	muster(t, "secret", "--file", file).refused(t, exitRefused, "it exists")
	muster(t, "secret", "--file=").refused(t, exitUsage, "--file: empty")
	muster(t, "secret", "x").refused(t, exitUsage, "one too many")

	c := newCluster(t, 1, "--secret-file", file)
	c.secret = file
	c.start(0)
	c.healthy()
	c.run("kv", "set", "k", "v").done(t)

	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"kv", "get", "k"}, {"serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0"}} {
		muster(t, append(args, "--secret-file", file)...).refused(t, exitRefused, "(mode 0640); run: chmod 600 "+file)
	}
}
