package probetest

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// What checks log in with.
const (
	login    = "who"
	password = "pa55word"
)

// Real is a kind of server that Debian has packages of.
type Real struct {
	programs []string // patterns of paths; the last match of the first that has one is run
	prepare  func(t testing.TB, s *Server, program string)
}

// The servers that there are.
var (
	// Redis wants a password, and has no users.
	Redis = Real{[]string{"/usr/bin/redis-server"}, redis}
	// PostgreSQL wants a password, and has the database postgres.
	PostgreSQL = Real{[]string{"/usr/lib/postgresql/*/bin/initdb", "/usr/bin/initdb"}, postgreSQL}
	// MariaDB wants a password, and has the database shop.
	MariaDB = Real{[]string{"/usr/sbin/mariadbd"}, mariaDB}
	// Nginx answers 200 at /, and something else at /moved, /away, /round and /broken.
	Nginx = Real{[]string{"/usr/sbin/nginx"}, nginx}
)

// New makes a server, with fresh data, that is not started yet. It returns [ErrNotInstalled] where
// this host has none.
func (r Real) New(t testing.TB) (*Server, error) {
	t.Helper()
	for _, p := range r.programs {
		if found, _ := filepath.Glob(p); len(found) > 0 {
			s := newServer(t)
			r.prepare(t, s, found[len(found)-1])
			return s, nil
		}
	}
	return nil, &ErrNotInstalled{filepath.Base(r.programs[0])}
}

func redis(t testing.TB, s *Server, program string) {
	s.Pass, s.Database, s.ready = password, "1", "Ready to accept connections"
	dir := t.TempDir()
	s.command = func() *exec.Cmd {
		return exec.Command(program, "--bind", "127.0.0.1", "--port", s.Port, "--requirepass", password, "--save", "", "--dir", dir)
	}
}

func postgreSQL(t testing.TB, s *Server, initdb string) {
	t.Helper()
	s.User, s.Pass, s.Database, s.ready = login, password, "postgres", "database system is ready to accept connections"
	// The others of its processes would outlive a SIGKILL for a moment, in which none can be
	// started. This ends all of them, and writes as little.
	s.end = syscall.SIGQUIT
	dir := folder(t)
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	initialize := exec.Command(initdb, "-D", data, "-U", login, "--auth-host=scram-sha-256", "--pwfile="+secret, "--no-locale", "-N")
	asUser(t, initialize, "postgres", dir, secret)
	run(t, initialize)
	s.command = func() *exec.Cmd {
		server := exec.Command(filepath.Join(filepath.Dir(initdb), "postgres"), "-D", data, "-h", "127.0.0.1", "-p", s.Port, "-k", dir, "-F")
		asUser(t, server, "postgres")
		return server
	}
}

func mariaDB(t testing.TB, s *Server, program string) {
	t.Helper()
	s.User, s.Pass, s.Database, s.ready = login, password, "shop", "ready for connections"
	dir := folder(t)
	data := filepath.Join(dir, "data")
	initialize := exec.Command("/usr/bin/mariadb-install-db", "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
	asUser(t, initialize, "mysql", dir)
	run(t, initialize)
	first := filepath.Join(dir, "first.sql")
	text := fmt.Sprintf("CREATE DATABASE IF NOT EXISTS shop;\nCREATE USER IF NOT EXISTS '%[1]s'@'127.0.0.1' IDENTIFIED BY '%[2]s';\nGRANT ALL ON shop.* TO '%[1]s'@'127.0.0.1';\n", login, password)
	if err := os.WriteFile(first, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s.command = func() *exec.Cmd {
		server := exec.Command(program, "--no-defaults", "--datadir="+data, "--bind-address=127.0.0.1", "--port="+s.Port, "--socket="+filepath.Join(dir, "s"),
			"--pid-file="+filepath.Join(dir, "pid"), "--init-file="+first, "--log-warnings=9", "--skip-name-resolve")
		asUser(t, server, "mysql", dir)
		return server
	}
}

func nginx(t testing.TB, s *Server, program string) {
	t.Helper()
	s.ready = "event method" // which it sets up once it listens
	dir := t.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr info;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
	server {
		listen 127.0.0.1:%[2]s;
		location = / { return 200 "fine\n"; }
		location = /moved { return 302 /; }
		location = /away { return 302 http://example.com/; }
		location = /round { return 302 /round; }
		location = /broken { return 503; }
	}
}
`, dir, s.Port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.command = func() *exec.Cmd { return exec.Command(program, "-c", conf, "-e", "stderr") }
}

// asUser makes a command run as a user whom the server's package has made: some refuse to run
// as root. Where the tests do not run as root, the server runs as they do.
func asUser(t testing.TB, command *exec.Cmd, name string, paths ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, errU := strconv.Atoi(u.Uid)
	gid, errG := strconv.Atoi(u.Gid)
	if errU != nil || errG != nil {
		t.Fatalf("user %s: %v, %v", name, errU, errG)
	}
	for _, p := range paths {
		if err := os.Chown(p, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

// run runs a command that prepares a server.
func run(t testing.TB, command *exec.Cmd) {
	t.Helper()
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command.Path, err, out)
	}
}
