package node

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"muster/node/login"
	"muster/node/web"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// someAPI is an API with a route for each kind of thing that one does with a client.
func someAPI(open web.Opener) http.Handler {
	mux := http.NewServeMux()
	route := func(pattern string, do func(ctx context.Context, c *client.Client, w http.ResponseWriter, r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			c, err := open(r)
			var a any
			if err == nil {
				a, err = do(r.Context(), c, w, r)
			}
			var e *wire.Error
			switch {
			case errors.As(err, &e):
				web.WriteError(w, e)
			case err != nil:
				web.WriteError(w, wire.Unavailable("request", err.Error()))
			case a != nil:
				_ = json.NewEncoder(w).Encode(a)
			}
		})
	}
	route("GET /api/v1/kv/get", func(ctx context.Context, c *client.Client, _ http.ResponseWriter, r *http.Request) (any, error) {
		value, _, _, err := c.GetOne(ctx, []byte(r.FormValue("key")), nil, client.ReadOptions{})
		return string(value), err
	})
	route("POST /api/v1/kv/set", func(ctx context.Context, c *client.Client, _ http.ResponseWriter, r *http.Request) (any, error) {
		value, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, wire.TooLarge("body", err.Error(), "send less")
		}
		_, err = c.Set(ctx, []byte(r.FormValue("key")), value, client.WriteOptions{})
		if err != nil {
			return nil, err
		}
		return len(value), nil
	})
	route("GET /api/v1/status", func(ctx context.Context, c *client.Client, _ http.ResponseWriter, r *http.Request) (any, error) {
		a, err := c.Status(ctx, r.FormValue("node"))
		if err != nil {
			return nil, err
		}
		return fmt.Sprint("node ", a.Self), nil
	})
	route("POST /api/v1/role/create", func(ctx context.Context, c *client.Client, _ http.ResponseWriter, r *http.Request) (any, error) {
		a, err := c.Order(ctx, first(shardmap.AppendChangeRole(nil, &shardmap.ChangeRole{Action: shardmap.RoleCreate, Name: r.FormValue("role")})), 0)
		if err != nil {
			return nil, err
		}
		return a.Index, nil
	})
	mux.HandleFunc("GET /api/v1/watch", func(w http.ResponseWriter, r *http.Request) {
		c, err := open(r)
		if err != nil {
			web.WriteError(w, wire.Unavailable("watch", err.Error()))
			return
		}
		watch := c.Watch(r.Context(), client.WatchQuery{Prefix: []byte("app/")})
		defer watch.Close()
		for {
			event, err := watch.Next()
			if err != nil {
				fmt.Fprintln(w, "ended:", err)
				return
			}
			fmt.Fprintf(w, "%s\n", event.Key)
			_ = http.NewResponseController(w).Flush()
		}
	})
	return mux
}

// browser is a client of HTTP for the tests.
type browser struct {
	t     testing.TB
	c     *http.Client
	token string
}

func newBrowser(t testing.TB, shown ...tls.Certificate) *browser {
	return browserFrom(t, "127.0.0.1", shown...)
}

// browserFrom is newBrowser on a host at an address.
func browserFrom(t testing.TB, addr string, shown ...tls.Certificate) *browser {
	dials := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
	transport := &http.Transport{
		DialContext:       dials.DialContext,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, Certificates: shown}, // the nodes' names are none that a browser knows
		ForceAttemptHTTP2: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t: t, c: &http.Client{Transport: transport, Timeout: readyMax}}
}

// ask sends a request, and returns what is answered. Fields are name and value in turn.
func (b *browser) ask(method, url, body string, fields ...string) (status int, text string, h http.Header) {
	b.t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, url, in)
	if err != nil {
		b.t.Fatal(err)
	}
	if b.token != "" {
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "Host" {
			r.Host = fields[i+1]
		}
		r.Header.Set(fields[i], fields[i+1])
	}
	a, err := b.c.Do(r)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer a.Body.Close()
	got, err := io.ReadAll(a.Body)
	if err != nil {
		return a.StatusCode, string(got) + " and then " + err.Error(), a.Header
	}
	return a.StatusCode, string(got), a.Header
}

// wants asks, and fails unless the answer has that status and has that in it.
func (b *browser) wants(status int, has, method, url, body string, fields ...string) string {
	b.t.Helper()
	got, text, _ := b.ask(method, url, body, fields...)
	if got != status || !strings.Contains(text, has) {
		b.t.Errorf("%s %s: got %d %s; want %d with %q", method, url, got, text, status, has)
	}
	return text
}

// logsIn has the browser have the badge of a user.
func (b *browser) logsIn(url, user, password string) {
	b.t.Helper()
	until(b.t, "the login", func() error {
		status, text, _ := b.ask(http.MethodPost, url+"/api/v1/auth/login", fmt.Sprintf(`{"user":%q,"password":%q}`, user, password))
		var s web.Badge
		if status != http.StatusOK {
			return fmt.Errorf("%d %s", status, text)
		}
		if err := json.Unmarshal([]byte(text), &s); err != nil || s.User != user {
			return fmt.Errorf("%v: %s", err, text)
		}
		b.token = s.Token
		return nil
	})
}

// withHTTP runs n founders of a cluster with TLS that have an API, and a user rob with a password, who may do all with
// keys below app/, and read the cluster.
func withHTTP(t *testing.T, n int, l limits) *people {
	t.Helper()
	nodes, users := securedWith(t, n, l, slog.DiscardHandler, func(_ int, c *Config) { c.API = someAPI })
	p := &people{t: t, nodes: nodes}
	until(t, "the first user has a certificate", func() error {
		if !users[0].has() {
			return errors.New("not yet")
		}
		return nil
	})
	p.admin = p.client(p.home(users[0].root, users[0].leaf.Raw, users[0].key), client.ForwardWhenCut)
	p.role(shardmap.RoleCreate, "app")
	p.role(shardmap.RoleGrant, "app", grant("read,write,list,watch", "key:app/"), grant("read", "cluster"))
	p.withPassword("rob", "correct horse", "app")
	return p
}

// withPassword makes a user.
func (p *people) withPassword(name, password string, roles ...string) {
	p.t.Helper()
	hash, err := login.Hash(rand.Reader, []byte(password), secureLimits().passwordRounds)
	if err != nil {
		p.t.Fatal(err)
	}
	p.give(shardmap.AppendChangeUser(nil, &shardmap.ChangeUser{Action: shardmap.UserCreate, Name: name, Password: hash}))
	if len(roles) > 0 {
		p.roles(name, roles, nil)
	}
}

// In a cluster that asks nobody who he is, everybody on the node's own host may use the API, over a connection that is as
// plain as any other of it.
func TestHTTPWithoutUsers(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	c.API = someAPI
	l := defaultLimits()
	l.envoyIdle = 100 * time.Millisecond
	r := start(t, c, l)
	r.serves()
	b, url := newBrowser(t), "http://"+r.addr
	b.wants(http.StatusOK, "3", http.MethodPost, url+"/api/v1/kv/set?key=a", "one")
	b.wants(http.StatusOK, `"one"`, http.MethodGet, url+"/api/v1/kv/get?key=a", "")
	b.wants(http.StatusOK, `"open":true`, http.MethodGet, url+"/api/v1/auth/whoami", "")
	b.wants(http.StatusOK, "", http.MethodPost, url+"/api/v1/role/create?role=r1", "")
	b.wants(http.StatusNotFound, `"not-found"`, http.MethodGet, url+"/nowhere", "")
	b.wants(http.StatusBadRequest, "asks nobody", http.MethodPost, url+"/api/v1/auth/login", `{"user":"rob","password":"x"}`)
	r.idle() // the client that has asked is closed again
	if value, _, _, err := r.library().GetOne(t.Context(), []byte("a"), nil, client.ReadOptions{}); err != nil || string(value) != "one" {
		t.Errorf("over our own protocol: %q, %v", value, err)
	}
}

// A user logs in at any node, and has its rights at every one: for keys, for orders that the meta group's leader takes, and
// for questions to other nodes. One would doubt it of a node that neither leads nor has the user's key.
func TestHTTPLogin(t *testing.T) {
	t.Parallel()
	p := withHTTP(t, 3, secureLimits())
	for i, r := range p.nodes {
		b := newBrowser(t)
		b.logsIn("https://"+r.addr, "rob", "correct horse")
		for j, o := range p.nodes {
			url, key := "https://"+o.addr, fmt.Sprintf("app/%d-%d", i, j)
			b.wants(http.StatusOK, "2", http.MethodPost, url+"/api/v1/kv/set?key="+key, "ab")
			b.wants(http.StatusOK, `"ab"`, http.MethodGet, url+"/api/v1/kv/get?key="+key, "")
			b.wants(http.StatusForbidden, "unauthorized", http.MethodGet, url+"/api/v1/kv/get?key=other", "")
			b.wants(http.StatusForbidden, "unauthorized", http.MethodPost, url+"/api/v1/role/create?role=mine", "")
			b.wants(http.StatusOK, `"user":"rob","roles":["app"],"open":false`, http.MethodGet, url+"/api/v1/auth/whoami", "")
			for _, asked := range p.nodes {
				b.wants(http.StatusOK, fmt.Sprint("node ", asked.node.self().Node), http.MethodGet, url+"/api/v1/status?node="+asked.addr, "")
			}
			b.wants(http.StatusBadRequest, "no member", http.MethodGet, url+"/api/v1/status?node=127.0.0.1:9", "")
		}
	}
	p.roles("rob", []string{"admin"}, nil)
	b := newBrowser(t)
	b.logsIn("https://"+p.nodes[1].addr, "rob", "correct horse")
	for i, r := range p.nodes {
		b.wants(http.StatusOK, "", http.MethodPost, fmt.Sprintf("https://%s/api/v1/role/create?role=r%d", r.addr, i), "")
	}
	// Without a leader nobody can log in, and the refusal says what is missing.
	p.nodes[0].stop()
	p.nodes[2].stop()
	until(t, "a login waits for a leader", func() error {
		status, text, h := b.ask(http.MethodPost, "https://"+p.nodes[1].addr+"/api/v1/auth/login", `{"user":"rob","password":"correct horse"}`)
		if status != http.StatusServiceUnavailable || !strings.Contains(text, "the meta group has no leader") || h.Get("Retry-After") == "" {
			return fmt.Errorf("%d %s %v", status, text, h)
		}
		return nil
	})
}

// The page comes over each kind of connection, with a policy that lets it ask the other members, and to
// nobody else's pages. One would doubt it of its files, which nobody has to log in for.
func TestHTTPServesThePage(t *testing.T) {
	t.Parallel()
	p := withHTTP(t, 3, secureLimits())
	b := newBrowser(t)
	for _, r := range p.nodes {
		status, text, h := b.ask(http.MethodGet, "https://"+r.addr+"/ui/slots?from=1", "")
		if status != http.StatusOK || !strings.Contains(text, "/ui/main.js") {
			t.Fatalf("the page: status %d, %.200s", status, text)
		}
		policy := h.Get("Content-Security-Policy")
		for _, o := range p.nodes {
			if !strings.Contains(policy, "https://"+o.addr) {
				t.Errorf("the page may not ask %s: %s", o.addr, policy)
			}
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("the page's header is %v", h)
		}
		b.wants(http.StatusOK, "addEventListener", http.MethodGet, "https://"+r.addr+"/ui/main.js", "")
		b.wants(http.StatusNotFound, "no file", http.MethodGet, "https://"+r.addr+"/ui/none.js", "")
		b.wants(http.StatusForbidden, "", http.MethodGet, "https://"+r.addr+"/ui/main.js", "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "script")
	}
	// Where nobody logs in.
	c := testConfig(t)
	c.API = someAPI
	r := start(t, c, defaultLimits())
	r.serves()
	b.wants(http.StatusOK, "/ui/main.js", http.MethodGet, "http://"+r.addr+"/ui/", "")
}
