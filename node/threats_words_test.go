package node

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/node/login"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

// A user who learns the id of another's session, and how far it is, must neither see what came of
// its commands nor keep them from being carried out.
func TestSessionTheft(t *testing.T) {
	t.Parallel()
	if why := sessionTheft(t); why != "" {
		t.Error(why)
	}
}

func sessionTheft(t *testing.T) string {
	nodes, users := secured(t, 2)
	// The thief's go by another node: it is passed on then, and its name with it.
	owner, thief := users[0].asUser(t, nodes[0]), users[1].asUser(t, nodes[1])
	const session = 0x5e5510
	set := func(s *speaker, sequence, floor uint64, value string) (a wire.WriteAnswer, err error) {
		c := setCommand("k", value)
		c.Session, c.Sequence, c.Floor = session, sequence, floor
		// The group of the key may change its leader while nothing is known yet.
		until(t, "somebody carries it out", func() error {
			a, err = writeWith(s, wire.FlagForward, c)
			if e := (*wire.Error)(nil); errors.As(err, &e) && (e.Code == wire.CodeNotLeader || e.Code == wire.CodeNotReady || e.Code == wire.CodeUnavailable) {
				return err
			}
			return nil
		})
		return a, err
	}
	first, err := set(owner, 1, 1, "owner's")
	if err != nil {
		t.Fatal(err)
	}
	stolen, err := set(thief, 1, 1, "thief's")
	if err != nil || stolen.ID == first.ID {
		return fmt.Sprintf("another user gets the outcome %s of the session's owner (%v)", stolen.ID, err)
	}
	if _, err := set(thief, 1000, 1000, "thief's"); err != nil {
		t.Fatal(err)
	}
	again, err := set(owner, 1, 1, "owner's")
	if err != nil || again != first {
		return fmt.Sprintf("the owner's retry is answered with %+v, %v; was %+v", again, err, first)
	}
	if next, err := set(owner, 2, 1, "owner's next"); err != nil || next.Version <= stolen.Version {
		return fmt.Sprintf("the owner's next command is answered with %+v, %v", next, err)
	}
	return ""
}

// A guesser gets one guess and then waits, over any number of connections; the
// right one among many is not found in the time of a try.
func TestPasswordGuessing(t *testing.T) {
	if why := guessing(t); why != "" {
		t.Error(why)
	}
}

func guessing(t *testing.T) string {
	r, admin := securedAlone(t, slog.New(slog.DiscardHandler), func(*Node) {})
	password, err := login.Hash(rand.Reader, []byte("letmein"), secureLimits().passwordRounds)
	if err != nil {
		t.Fatal(err)
	}
	command, err := shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: shardmap.UserCreate, Name: "rob", Password: password, At: time.Now().Unix()})
	order(t, []*runningNode{r}, admin, command, err)
	guest := newStranger(t)
	request, err := trust.NewRequest(guest.key)
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, guess := range []string{"123456", "sesame", "qwerty", "letmein"} {
		conn, _, err := guest.dial(r, wire.DialConfig{Role: wire.RoleClient})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = conn.ask(wire.TypeLogin, 0, (&wire.Login{Name: "rob", Password: []byte(guess), Request: request}).Append(nil))
		conn.Close()
		var e *wire.Error
		switch {
		case err == nil:
			return fmt.Sprintf("%q is the password, found after %d others", guess, looked)
		case !errors.As(err, &e) || e.Code != wire.CodeUnauthorized && e.Code != wire.CodeBusy:
			t.Errorf("%q: %v", guess, err)
		case e.Code == wire.CodeUnauthorized:
			looked++
		}
		if strings.Contains(err.Error(), guess) {
			t.Errorf("the refusal has what was guessed: %v", err)
		}
	}
	if looked != 1 {
		return fmt.Sprintf("%d guesses at once were looked at", looked)
	}
	return ""
}

// hostileNames are those by which somebody would get out of a directory, into an option, a line of a
// log, or a terminal.
var hostileNames = []string{
	"..", ".", "../x", "../../etc/passwd", "a/../b", "/etc/passwd", "a/b", `a\b`, ".hidden", "-rf", "--out=x", "a\x00b", "a\nb", "a\rb", "a\tb", "a b", "\x1b[2J", "\u009b31m", "a\u202eb", "\ufeffa", "a\xffb", "$(id)", "a;b", "a`b`", "%2e%2e%2f", "ａ", "", strings.Repeat("a", 4096),
}

// A name that people give is part of a certificate, of lines, of tables on a terminal and of file names.
// One that is a path, or has what a terminal acts on, must be taken nowhere: it changes nothing, and makes
// no file.
func TestHostileNames(t *testing.T) {
	if why := hostileNamed(t); why != "" {
		t.Error(why)
	}
}

func hostileNamed(t *testing.T) string {
	r, admin := securedAlone(t, slog.New(slog.DiscardHandler), func(*Node) {})
	s := admin.asUser(t, r)
	until(t, "its last file is written", func() error {
		if r.node.guard.sealed.Load() == nil {
			return errors.New("the keys of members are not sealed")
		}
		return nil
	})
	before, files := r.node.table.Load().Security, namesIn(t, r.node.cfg.Data)
	cluster := r.node.self().ClusterID
	for _, name := range hostileNames {
		all := []access.Grant{grant("all", "key:")}
		for what, made := range map[string]func() ([]byte, error){
			"a user": func() ([]byte, error) {
				return shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: shardmap.UserCreate, Name: name, At: time.Now().Unix()})
			},
			"a role": func() ([]byte, error) {
				return shardmap.AppendChangeRole(nil, &shardmap.ChangeRole{Action: shardmap.RoleCreate, Name: name, Grants: all})
			},
			"a role of a user": func() ([]byte, error) {
				return shardmap.AppendChangeUserRoles(nil, &shardmap.ChangeUserRoles{User: "ann0", Give: []string{name}})
			},
		} {
			command, err := made()
			if err != nil {
				continue // it can't even be said
			}
			_, _, err = s.ask(wire.TypeOrder, 0, (&wire.Order{Command: command}).Append(nil))
			if err == nil {
				return fmt.Sprintf("%s may be called %q", what, name)
			}
			if text := err.Error(); strings.ContainsAny(text, "\x1b\n\r\x00\u009b\u202e") || len(text) > 1000 {
				t.Errorf("%s called %q: the refusal says it as it came: %q", what, name, text)
			}
		}
		if err := (trust.Name{Cluster: cluster, Kind: trust.KindUser, User: name}).Check(); err == nil {
			return fmt.Sprintf("a certificate may name the user %q", name)
		}
		for what, set := range map[string]func(*Config){"a node": func(c *Config) { c.Name = name }, "a cluster": func(c *Config) { c.Cluster = name }} {
			if name == ".hidden" || name == "" && what == "a node" {
				continue // no file is called so; and a node without a name gets one
			}
			c := r.node.cfg
			set(&c)
			if err := c.Check(); err == nil {
				return fmt.Sprintf("%s may be called %q", what, name)
			}
		}
		guest := newStranger(t)
		conn, _, err := guest.dial(r, wire.DialConfig{Role: wire.RoleClient})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.ask(wire.TypeLogin, 0, (&wire.Login{Name: name, Password: []byte("p"), Request: []byte{1}}).Append(nil)); err == nil {
			return fmt.Sprintf("%q logs in", name)
		}
		conn.Close()
	}
	after := r.node.table.Load().Security
	if len(after.Users) != len(before.Users) || len(after.Roles) != len(before.Roles) || after.Rules != before.Rules {
		return fmt.Sprintf("there are %d users and %d roles now, were %d and %d", len(after.Users), len(after.Roles), len(before.Users), len(before.Roles))
	}
	if now := namesIn(t, r.node.cfg.Data); !slices.Equal(now, files) {
		return fmt.Sprintf("files beside the data directory and in that of the trail are %q, were %q", now, files)
	}
	return ""
}

// namesIn are the names beside a data directory, in it, and in those folders of it that have files for
// what is named here. A file that is being replaced counts once.
func namesIn(t *testing.T, data string) (names []string) {
	t.Helper()
	for _, dir := range []string{filepath.Dir(data), data, filepath.Join(data, tlsDir)} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if dir == filepath.Dir(data) || !strings.HasPrefix(e.Name(), "log") {
				names = append(names, filepath.Join(filepath.Base(dir), strings.TrimSuffix(e.Name(), ".tmp")))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// lines is a log that is written by many, and counted.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Strangers that are refused, again and again and each in another way, must not decide how large the log
// or the trail gets; and what they say must not make lines of its own there.
func TestFloodOfRefusals(t *testing.T) {
	t.Parallel()
	if why := floodOfRefusals(t); why != "" {
		t.Error(why)
	}
}

func floodOfRefusals(t *testing.T) string {
	log := new(lines)
	r, admin := securedAlone(t, slog.New(slog.NewTextHandler(log, nil)), func(*Node) {})
	before := strings.Count(log.text(), "\n")
	const rounds = 40
	for i := range rounds {
		// In clear; in another protocol, with a line of a log in it; as a member, with nothing to show.
		if _, err := dial(t, r.addr, wire.DialConfig{Role: wire.RoleClient, Purpose: wire.PurposeClient, Cluster: fmt.Sprintf("x%d", i), Level: shardmap.Level}); err == nil {
			t.Fatal("let in without TLS")
		}
		if _, err := answered(t, r, fmt.Sprintf("\nlevel=INFO msg=\"group leads\" node=%d", i), i%2 == 0); err != nil {
			t.Fatal(err)
		}
		s := newStranger(t)
		if _, _, err := s.dialFor(r, wire.RolePeer, wire.PurposePeer); err == nil {
			t.Fatal("let in as a member")
		}
		conn, _, err := s.dial(r, wire.DialConfig{Role: wire.RoleClient})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := conn.ask(wire.TypeGet, 0, getBody(wire.ReadLocal, fmt.Sprintf("k%d", i))); err == nil {
			t.Fatal("a guest reads")
		}
		conn.Close()
	}
	const kinds = 4 // unauthorized, foreign, hung-up, silent; see refusalKind
	until(t, "all are counted", func() error {
		n := uint64(0)
		for _, row := range r.node.notices.rows() {
			n += row.In
		}
		if n < 3*rounds {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	text := log.text()
	if got := strings.Count(text, "\n") - before; got > kinds*noticeBurst {
		return fmt.Sprintf("%d refusals made %d lines", 4*rounds, got)
	}
	if strings.Contains(text, "\nlevel=INFO") {
		return "a stranger has written a line of the log"
	}
	if err := func() error {
		_, _, err := admin.asUser(t, r).ask(wire.TypeStatus, 0, new(wire.Empty).Append(nil))
		return err
	}(); err != nil {
		t.Errorf("the cluster's own user: %v", err)
	}
	return ""
}
