package cmd

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// A completion script must be one that its shell reads, and must know what may
// stand at a place of the command line.
func TestCompletion(t *testing.T) {
	t.Run("bash", func(t *testing.T) {
		script := muster(t, "completion", "bash").done(t)
		if _, err := exec.LookPath("bash"); err != nil {
			t.Skip("no bash here")
		}
		for _, tt := range []struct{ line, want string }{
			{"muster st", "status"},
			{"muster kv l", "list locate"},
			{"muster -o json kv l", "list locate"},
			{"muster kv set --if-", "--if-absent --if-version --if-value"},
			{"muster kv set a b --if-", "--if-absent --if-version --if-value"},
			{"muster kv get k --out", "--output"},
			{"muster serve --sec", "--secret-file"},
			{"muster slot re", "rebalance"},
			{"muster service m", "maintain"},
			{"muster service set --type my", "mysql"},
			{"muster service pick db --near z", "zone"},
			{"muster log show --kind f", "fence"},
			{"muster log show --kind mo", ""},
			{"muster service set -f arg", "args.go args_test.go"},
			{"muster service set db --no", "--node"},
			{"muster slot move --n", "--no-wait"},
			{"muster group c", "create"},
			{"muster node w", "weight"},
			{"muster completion z", "zsh"},
			{"muster --ver", "--version"},
			{"muster hel", "help"},
			{"muster help kv l", "list locate"},
			{"muster kv get k -o ''", "table json"},
			{"muster kv get k --output = j", "json"},
			{"muster kv get k --output = ''", "table json"},
			{"muster -o t", "table"},
			{"muster kv get --read l", "linearizable local"},
			{"muster service pick --read f", "follower"},
			{"muster service list a --read ''", "linearizable follower local"},
			{"muster kv export --read ''", "linearizable local"},
			{"muster kv export a --read = ''", "linearizable local"},
			{"muster -o json kv export --timeout 5s a --read f", ""},
			{"muster bench --op get --read ''", "linearizable local"},
			{"muster kv list -o ''", "table json"},
			{"muster kv list --keys --lim", "--limit"}, // bench has an option of that name with a value
			{"muster bench --keys --lim", ""},
			{"muster serve --role s", "server"},
			{"muster bench --op s", "set"},
			{"muster bench --distribution z", "zipf"},
			{"muster kv get k --endpoints a", ""}, // there is an args.go
			{"muster kv get a", ""},
			{"muster kv import arg", "args.go args_test.go"},
			{"muster kv get k --secret-file arg", "args.go args_test.go"},
		} {
			words := strings.Fields(tt.line)
			c := exec.Command("bash", "-c", script+fmt.Sprintf(`
COMP_WORDS=(%s); COMP_CWORD=%d; _muster; echo "${COMPREPLY[*]}"`, tt.line, len(words)-1))
			out, err := c.CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != tt.want {
				t.Errorf("%s: got %q %v, want %q", tt.line, got, err, tt.want)
			}
		}
	})
	for _, shell := range []string{"zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			script := muster(t, "completion", shell).done(t)
			for _, want := range []string{"import", "if-version", "secret-file"} {
				if !strings.Contains(script, want) {
					t.Errorf("no %s in the script", want)
				}
			}
			if _, err := exec.LookPath(shell); err != nil {
				t.Skipf("no %s here to read the script", shell)
			}
			path := filepath.Join(t.TempDir(), "script")
			if err := os.WriteFile(path, []byte(script), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(shell, "-n", path).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// A word that completion offers behind an option must be one that the command takes, and no command
// may complain of another option of its own first. Nothing listens at the endpoint.
func TestCompletionOffersWhatIsTaken(t *testing.T) {
	// The least that a command with such an option wants beside it.
	beside := map[string]string{
		"serve": "--insecure --listen nowhere", "kv get": "k", "kv history": "k", "service get": "s", "service pick": "s", "service watch": "s",
		"service set": "s --node id=a,host=h,port=1,url=http://h,script=x", "bench": "--duration 1ms --keys 16",
	}
	overridden := maps.Clone(commandWords)
	var walk func(path string, all []*cli.Command)
	walk = func(path string, all []*cli.Command) {
		for _, c := range all {
			at := strings.TrimSpace(path + " " + c.Name)
			walk(at, c.Subcommands)
			for _, f := range c.Flags {
				option := f.Names()[0]
				words := offered(at, option)
				delete(overridden, at+" --"+option)
				if option == "output" { // of each command that asks nodes, and read in one place
					words = nil
				}
				for _, word := range words {
					line := append(strings.Fields(at+" "+beside[at]), "--"+option, word)
					if takes := takesOption(c, "endpoints"); takes {
						line = append(line, "--endpoints", "127.0.0.1:1", "--timeout", "1ms")
					}
					r := muster(t, line...)
					if r.status == exitDone || strings.Contains(r.stderr, "--"+option) || takesOption(c, "endpoints") && r.status == exitUsage {
						t.Errorf("%q ends with %d: %s", line, r.status, r.stderr)
					}
					line[len(strings.Fields(at+" "+beside[at]))+1] = "no such word/"
					if r := muster(t, line...); !strings.Contains(r.stderr, option) || !strings.Contains(r.stderr, "no such word/") {
						t.Errorf("%q is taken, or refused for something else: %s", line, r.stderr)
					}
				}
			}
		}
	}
	walk("", commands(&console{}))
	if len(overridden) > 0 {
		t.Errorf("no command has %v", overridden)
	}
	for _, word := range optionWords["output"] {
		if r := muster(t, "kv", "get", "k", "--endpoints", "127.0.0.1:1", "--timeout", "1ms", "-o", word); r.status == exitUsage {
			t.Errorf("-o %s: %s", word, r.stderr)
		}
	}
}

// offered are the words that completion offers behind an option of a command.
func offered(path, option string) []string {
	var words []string
	for _, l := range valueLines(commands(&console{})) {
		if slices.Contains(l.options, "--"+option) && (l.path == path || l.path == "" && words == nil) {
			words = l.words
		}
	}
	return words
}

func takesOption(c *cli.Command, option string) bool {
	return slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return f.Names()[0] == option })
}
