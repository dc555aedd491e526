package security

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/node/trial/clustertest"
)

// wrongServes is how long a host that was told something wrong may live, if it does not end by itself.
const wrongServes = 5 * time.Second

// outputOf runs a command until it ends or ctx does, and returns what it has printed.
func outputOf(ctx context.Context, cmd *exec.Cmd) ([]byte, error) {
	bounded := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	bounded.Env = cmd.Env
	return bounded.CombinedOutput()
}

// A process can be looked at by others of its host: its arguments, its environment, what it logs and
// prints, its files. None of that may have what proves who somebody is, also when a person gives a secret
// where none is wanted, or a file that is broken.
func TestSecretsOfAProcess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	private := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secretFile := filepath.Join(dir, "secret")
	clustertest.Run(t, "secret", "--file", secretFile).Done(t)
	text, err := os.ReadFile(secretFile)
	if err != nil {
		t.Fatal(err)
	}
	const password, value, checkPass = "planted-password-of-rob", "planted-value", "planted-pass-of-a-check"
	secrets := map[string]string{"founding secret": strings.TrimSpace(string(text)), "password": password}

	home := filepath.Join(dir, "home")
	c := clustertest.New(t, 1, "--secret-file", secretFile)
	c.Secret, c.Env = secretFile, []string{"MUSTER_HOME=" + home, "MUSTER_ENDPOINTS=" + c.Endpoints()}
	c.Start(0)
	var said []string // what commands printed, but for what they were asked to make
	run := func(args ...string) clustertest.Result {
		t.Helper()
		cmd := c.Command(args...)
		cmd.Env = append(append(cmd.Env, c.Env...), "MUSTER_SECRET_FILE="+secretFile)
		return clustertest.RunCommand(t, cmd, "")
	}
	says := func(args ...string) clustertest.Result {
		t.Helper()
		r := run(args...)
		said = append(said, fmt.Sprintf("%s: %s%s", strings.Join(args[:min(2, len(args))], " "), r.Stdout, r.Stderr))
		return r
	}
	prints := func(args ...string) {
		t.Helper()
		for _, form := range []string{"table", "json"} {
			if r := says(append(args, "-o", form)...); r.Stdout == "" && r.Status != clustertest.ExitDone {
				t.Errorf("%v as %s prints nothing: status %d, %s", args, form, r.Status, r.Stderr)
			}
		}
	}
	c.Until("serving", func(context.Context) error {
		if r := run("kv", "set", "planted/key", value); r.Status != clustertest.ExitDone {
			return fmt.Errorf("%s", r.Stderr)
		}
		return nil
	})

	service := private("service", `[{"name":"planted-service","type":"mysql","node":[{"host":"127.0.0.1","port":"1","user":"u","pass":"`+checkPass+`"}]}]`)
	if r := run("service", "set", "-f", service); r.Status != clustertest.ExitDone {
		t.Fatal(r.Stderr)
	}
	passwordFile := private("password", password+"\n")
	c.Until("it makes users", func(context.Context) error {
		if r := run("user", "create", "rob", "--password-file", passwordFile); r.Status != clustertest.ExitDone {
			return fmt.Errorf("%s", r.Stderr)
		}
		return nil
	})
	var token struct{ Token string }
	c.Until("it makes tokens", func(context.Context) error {
		r := run("token", "create", "-o", "json")
		if r.Status != clustertest.ExitDone {
			return fmt.Errorf("%s", r.Stderr)
		}
		return json.Unmarshal([]byte(r.Stdout), &token)
	})
	parts := strings.Split(token.Token, ".")
	secrets["token's secret"] = parts[len(parts)-1]

	// Mistakes.
	serves := func(args ...string) {
		cmd := clustertest.Command(append([]string{"serve", "--data", filepath.Join(t.TempDir(), "none"), "--listen", "127.0.0.1:0"}, args...)...)
		cmd.Env = append(cmd.Env, c.Env[0])
		ctx, cancel := context.WithTimeout(t.Context(), wrongServes)
		defer cancel()
		out, _ := outputOf(ctx, cmd)
		said = append(said, strings.Join(args, " ")+": "+string(out))
	}
	says("token", "revoke", token.Token)
	says("user", "del", token.Token)
	says("user", "create", password+"!") // who takes one for the other gets it back on the own terminal alone
	said = said[:len(said)-1]
	says("user", "create", "bob", "--password-file", private("twice", password+"\n"+password+"\n"))
	says("user", "create", "bob", "--password-file", private("control", password+"\x00\n"))
	open := private("open", password+"\n")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	says("user", "create", "ned", "--password-file", open)
	for name, broken := range map[string]string{
		"cut": token.Token[:len(token.Token)-1], "longer": token.Token + "A", "of another kind": strings.Replace(token.Token, "mst1", "mst9", 1), "no root": "mst1.xyz." + parts[2] + "." + parts[3],
		"id": strings.Join([]string{parts[0], parts[1], "x", parts[3]}, "."), "twice": token.Token + "\n" + token.Token, "spaces": strings.ReplaceAll(token.Token, ".", " "),
	} {
		serves("--join", "127.0.0.1:9", "--token-file", private(name, broken))
	}
	serves("--secret-file", private("short", secrets["founding secret"][:12]))

	for _, args := range [][]string{
		{"status"}, {"status", "--counters"}, {"doctor"}, {"check"}, {"node", "list"}, {"group", "list"}, {"job", "list"}, {"setting", "list"},
		{"user", "list"}, {"role", "list"}, {"token", "list"}, {"ca", "show"}, {"cert", "list"}, {"auth", "whoami"}, {"audit", "tail"}, {"audit", "verify"},
		{"service", "list"}, {"service", "get", "planted-service"}, {"lease", "list"}, {"slot", "list"}, {"namespace", "list"}, {"cert", "list"}, {"ca", "export"},
	} {
		prints(args...)
	}
	t.Run("process", func(t *testing.T) {
		for _, file := range []string{"cmdline", "environ"} {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", c.Nodes[0].Cmd.Process.Pid, file))
			if err != nil {
				t.Skipf("this system does not show processes, or to root alone: %v", err)
			}
			if !bytes.Contains(b, []byte("secret")) && file == "cmdline" {
				t.Errorf("the arguments are %q", b)
			}
			said = append(said, file+": "+string(b))
		}
	})
	c.Stop(0)
	for _, args := range [][]string{{"log", "show", "--entries"}, {"log", "verify"}, {"recover", "inspect", "--data"}} {
		prints(append(args, c.Nodes[0].Data)...)
	}
	log, err := os.ReadFile(c.Nodes[0].Log)
	if err != nil {
		t.Fatal(err)
	}
	said = append(said, "log: "+string(log))

	// Keys are in files of their own, and these are private.
	keys := 0
	walk := func(dir string, see func(path string, b []byte)) {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			see(path, b)
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{c.Nodes[0].Data, home} {
		walk(dir, func(path string, b []byte) {
			if filepath.Ext(path) != ".key" {
				return
			}
			keys++
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: mode %v, %v", path, info.Mode(), err)
			}
			for i, line := range strings.Split(string(b), "\n") {
				if line = strings.TrimSpace(line); len(line) > 20 && !strings.Contains(line, "-----") {
					secrets[fmt.Sprintf("line %d of %s", i, path)] = line
				}
			}
		})
	}
	const keysMin = 3 // of the node, of the user, and the one that wraps the root's
	if len(said) < 40 || keys < keysMin {
		t.Errorf("%d outputs, %d files of keys, %d secrets", len(said), keys, len(secrets))
	}
	for what, s := range secrets {
		forms := []string{s, hex.EncodeToString([]byte(s)), base64.StdEncoding.EncodeToString([]byte(s))[:len(s)]}
		if raw, err := hex.DecodeString(s); err == nil {
			forms = append(forms, string(raw))
		}
		if raw, err := base64.RawURLEncoding.DecodeString(s); err == nil {
			forms = append(forms, string(raw), hex.EncodeToString(raw))
		}
		told := func(text string) bool {
			return slices.ContainsFunc(forms, func(f string) bool { return strings.Contains(text, f) })
		}
		for _, o := range said {
			if told(o) {
				t.Errorf("the %s is in %.600q", what, o)
			}
		}
		for _, dir := range []string{c.Nodes[0].Data, home} {
			walk(dir, func(path string, b []byte) {
				if filepath.Ext(path) != ".key" && filepath.Base(path) != "founding.secret" && told(string(b)) {
					t.Errorf("the %s is in %s", what, path)
				}
			})
		}
	}
	for _, o := range said {
		if strings.HasPrefix(o, "log: ") && strings.Contains(o, value) {
			t.Errorf("a value is in the log")
		}
		if strings.Contains(o, checkPass) { // the disk has it, as docs/services.md says
			t.Errorf("the password of a check is in %.600q", o)
		}
	}
}
