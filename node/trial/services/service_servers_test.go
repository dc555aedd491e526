package services

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/node/probe/probetest"
	"muster/node/trial/clustertest"
	"muster/repl/client"
)

// checked is something that an instance of a service stands for. It can be switched on and off.
type checked interface {
	node(id string) string // the instance in a file of services, but for how often it is checked
	on(t *testing.T)
	off(t *testing.T)
	looks() int64 // how often it was looked at, as far as it can tell
}

// listener takes connections while it is on.
type listener struct {
	port    string
	talk    func(c net.Conn) // nil: it says nothing, and leaves it to the other side to close
	counted atomic.Int64

	mu sync.Mutex
	l  net.Listener // guarded by mu; nil while it is off
}

func newListener(t *testing.T, talk func(net.Conn)) *listener {
	s := &listener{port: probetest.FreePort(t), talk: talk}
	s.on(t)
	t.Cleanup(func() { s.off(t) })
	return s
}

func (s *listener) on(t *testing.T) {
	t.Helper()
	var l net.Listener
	clustertest.Await(t, "port "+s.port+" is free", clustertest.ReadyMax, func(context.Context) (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", s.port))
		return err
	})
	s.mu.Lock()
	s.l = l
	s.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.counted.Add(1)
			go func() {
				defer c.Close()
				if s.talk == nil {
					io.Copy(io.Discard, c)
				} else {
					s.talk(c)
				}
			}()
		}
	}()
}

func (s *listener) off(*testing.T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.l != nil {
		s.l.Close()
		s.l = nil
	}
}

func (s *listener) looks() int64 { return s.counted.Load() }

func (s *listener) node(id string) string {
	return fmt.Sprintf(`{"id":%q,"host":"127.0.0.1","port":%q`, id, s.port)
}

// website answers 200 while it is on, and 503 while it is not.
type website struct {
	port    string
	broken  atomic.Bool
	counted atomic.Int64
}

func newWebsite(t *testing.T) *website {
	s := &website{port: probetest.FreePort(t)}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", s.port))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.counted.Add(1)
		if s.broken.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return s
}

func (s *website) on(*testing.T)  { s.broken.Store(false) }
func (s *website) off(*testing.T) { s.broken.Store(true) }
func (s *website) looks() int64   { return s.counted.Load() }
func (s *website) node(id string) string {
	return fmt.Sprintf(`{"id":%q,"url":"http://127.0.0.1:%s/health"`, id, s.port)
}

// installed is a real server. It is killed to switch it off, and has no users' data.
type installed struct{ *probetest.Server }

// newInstalled makes one, or what speaks as it does where it is not installed; nil: nothing. It
// is switched off.
func newInstalled(t *testing.T, real probetest.Real, small func(net.Conn)) checked {
	s, err := real.New(t)
	switch {
	case err == nil:
		return &installed{Server: s}
	case small == nil:
		t.Logf("NOT TESTED: %v", err)
		return nil
	}
	t.Logf("%v: a small server of ours stands in for it", err)
	l := newListener(t, small)
	l.off(t)
	return l
}

func (s *installed) on(*testing.T)  { s.Start() }
func (s *installed) off(*testing.T) { s.Kill() }
func (s *installed) looks() int64   { return 0 }

// node has all settings: a type takes those that it knows.
func (s *installed) node(id string) string {
	return fmt.Sprintf(`{"id":%q,"host":"127.0.0.1","port":%q,"url":"http://%s/","user":%q,"pass":%q,"database":%q`, id, s.Port, s.Addr(), s.User, s.Pass, s.Database)
}

// health is the standard health service of gRPC, which says how its server is.
type health struct {
	probetest.Health
	port string
}

func newHealth(t *testing.T) *health {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := new(health)
	_, s.port, _ = net.SplitHostPort(l.Addr().String())
	server := &http.Server{Handler: s, Protocols: new(http.Protocols)}
	server.Protocols.SetUnencryptedHTTP2(true)
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	return s
}

func (s *health) on(*testing.T)  { s.Serve() }
func (s *health) off(*testing.T) { s.Refuse() }
func (s *health) looks() int64   { return s.Asked() }

func (s *health) node(id string) string {
	return fmt.Sprintf(`{"id":%q,"host":"127.0.0.1","port":%q`, id, s.port)
}

// script is a program that nodes run: it succeeds while a file is there.
type script struct{ path, file string }

func newScript(t *testing.T) *script {
	dir := t.TempDir()
	s := &script{filepath.Join(dir, "check"), filepath.Join(dir, "well")}
	text := fmt.Sprintf("#!/bin/sh\ntest -e %s || { echo is not well; exit 1; }\n", s.file)
	if err := os.WriteFile(s.path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	s.on(t)
	return s
}

func (s *script) on(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(s.file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *script) off(t *testing.T) {
	t.Helper()
	if err := os.Remove(s.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

func (s *script) looks() int64 { return 0 }

func (s *script) node(id string) string { return fmt.Sprintf(`{"id":%q,"script":"well"`, id) }

// beater reports itself while it is on.
type beater struct {
	quiet   atomic.Bool
	service atomic.Pointer[string] // whose instance it is; nil: nobody's
}

// beatEvery is how often it does.
const beatEvery = 200 * time.Millisecond

// newBeater makes an instance that reports itself until ctx ends.
func newBeater(ctx context.Context, t *testing.T, cl *client.Client, instance string, wg *sync.WaitGroup) *beater {
	s := new(beater)
	wg.Go(func() {
		for tick := time.NewTicker(beatEvery); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
			name := s.service.Load()
			if s.quiet.Load() || name == nil {
				continue
			}
			one, stop := context.WithTimeout(ctx, clustertest.CheckMax)
			err := cl.Heartbeat(one, *name, instance, client.HeartbeatUp, "")
			stop()
			if err != nil && ctx.Err() == nil {
				t.Logf("heartbeat: %v", err) // of a service that is not there yet, or no more; or its leader goes
			}
		}
	})
	return s
}

func (s *beater) on(*testing.T)         { s.quiet.Store(false) }
func (s *beater) off(*testing.T)        { s.quiet.Store(true) }
func (s *beater) looks() int64          { return 0 }
func (s *beater) node(id string) string { return fmt.Sprintf(`{"id":%q`, id) }
