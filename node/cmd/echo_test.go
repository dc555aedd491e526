package cmd

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"muster/repl/trust"
)

// Somebody pastes a token, or a file with a key, where a name, a number or a file is wanted. No command may
// repeat it in what it says is wrong: what stands on standard error is kept by whatever runs the command, and
// sent to others who are to help.
func TestMistypedSecretsAreNotEchoed(t *testing.T) {
	if wrong := echoed(t); wrong != "" {
		t.Error(wrong)
	}
}

// echoed returns which command has repeated a secret, or "".
func echoed(t *testing.T) string {
	t.Chdir(t.TempDir()) // some commands write a file of the name that they are given
	token, err := trust.NewToken(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	token.ID = 17
	key, err := trust.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	file, err := trust.EncodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	parts, lines := strings.Split(token.String(), "."), strings.Split(string(file), "\n")
	ofToken, ofKey := parts[len(parts)-1], lines[1]
	tried := 0
	says := func(in string, args ...string) (wrong string) {
		tried++
		r := musterIn(t, in, append(args, "--timeout=1ms")...)
		for what, secret := range map[string]string{"token": ofToken, "key": ofKey} {
			if strings.Contains(r.stdout+r.stderr, secret) {
				return fmt.Sprintf("%.80q repeats the %s: %q", args, what, r.stdout+r.stderr)
			}
		}
		return ""
	}
	var walk func(path []string, commands []*cli.Command) string
	walk = func(path []string, commands []*cli.Command) string {
		for _, c := range commands {
			at := append(slices.Clone(path), c.Name)
			if wrong := walk(at, c.Subcommands); wrong != "" {
				return wrong
			}
			if len(c.Subcommands) > 0 || slices.Contains([]string{"serve", "demo", "completion", "bench"}, c.Name) {
				continue // they run, or print no argument
			}
			for _, s := range []string{token.String(), string(file)} {
				lines := [][]string{{s}, {"x", s}, {"1", "1", s}, {"-"}}
				for _, f := range c.Flags {
					lines = append(lines, []string{"x", "--" + f.Names()[0] + "=" + s})
				}
				for _, args := range lines {
					if wrong := says(s, append(slices.Clone(at), args...)...); wrong != "" {
						return wrong
					}
				}
			}
		}
		return ""
	}
	if wrong := walk(nil, commands(&console{})); wrong != "" {
		return wrong
	}
	for _, args := range [][]string{{token.String()}, {"kv", token.String()}, {"kv", "get", "--" + token.String()}} {
		if wrong := says("", args...); wrong != "" {
			return wrong
		}
	}
	const triedMin = 1000
	if tried < triedMin {
		t.Errorf("only %d command lines were tried", tried)
	}
	return ""
}
