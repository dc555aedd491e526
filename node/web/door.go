package web

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

// Opener returns the client of the cluster that speaks for whoever made a request. Requests of one caller share it. It
// lives as long as the request does, and longer if others use it; the caller does not close it. The error is a
// [*wire.Error]: unauthorized where nobody has said who he is, busy where there are too many.
type Opener func(r *http.Request) (*client.Client, error)

// Kind is what a path serves, which says who may ask and from where.
type Kind uint8

const (
	// API is for whoever has said who he is. What that may do, the cluster decides. Where nobody is asked, or there is no
	// TLS, it is served to this host alone.
	API Kind = iota
	// Page has no secrets and is for everybody, who may come by a link from anywhere; for this host alone as API is.
	Page
	// Figures are for whoever may read the cluster, who may say who he is with each request (Basic).
	Figures
	// Profile is for whoever administers the cluster; for this host alone as API is.
	Profile
	// Health is for everybody, by whatever name the host is asked.
	Health
	// Influx is for whoever has said who he is, as API is, in one of the ways that InfluxDB's clients know (see influx.go).
	// Its handlers count the bytes of bodies themselves, as they arrive: most of these clients don't tell how many come.
	Influx
)

// near reports whether a kind is served to this host alone where nobody is asked who he is, or there is no TLS.
func (k Kind) near() bool { return k == API || k == Page || k == Profile || k == Influx }

// Mount is a handler and its path.
type Mount struct {
	Path    string // one, or with a slash at its end all below it
	Kind    Kind
	Handler http.Handler
	// Refuse answers requests that don't reach the handler; nil: as [WriteError] does, with the status.
	Refuse func(w http.ResponseWriter, r *http.Request, status int, e *wire.Error)
}

// refuse answers a request that does not reach the handler.
func (m *Mount) refuse(w http.ResponseWriter, r *http.Request, status int, e *wire.Error) {
	if m.Refuse == nil {
		writeError(w, status, e)
		return
	}
	m.Refuse(w, r, status, e)
}

// Mounts is what hangs below the door.
type Mounts struct {
	API  func(Opener) http.Handler // "/api/v1/"; nil: none
	More []Mount
}

// Caller is who makes a request, as the node has found out for it.
type Caller struct {
	User      string             // empty: nobody in particular
	Principal shardmap.Principal // of that user; 0: nobody in particular
	Open      bool               // nobody is asked who he is, and everything is allowed
	Roles     []string           // of the user; not to be changed
	Ends      time.Time          // of what was shown; zero: it does not end
	// May reports whether the rules of this moment allow verbs on the cluster.
	May func(verbs access.Verbs) *wire.Error
	// Client returns a client that speaks for the caller, until Release.
	Client func() (*client.Client, error)
	// Release is called once, when the request is over.
	Release func()
}

// Config is what a door goes by. Its functions are called by any goroutine.
type Config struct {
	Limits Limits
	Mounts Mounts
	Addr   net.Addr // that the node listens on
	// Places are those of this moment.
	Places func() *Places
	// Open reports whether nobody is asked who he is.
	Open func() bool
	// Identify says who makes a request; basic: also by a name and password in it. The error is unauthorized where nothing
	// was shown that counts.
	Identify func(r *http.Request, v *Visitor, basic bool) (*Caller, *wire.Error)
	// Login looks at a password. The error is unauthorized where it is wrong, busy where it has to wait.
	Login func(ctx context.Context, v *Visitor, user string, password []byte) (*Badge, *wire.Error)
	// Token makes a badge for the user whose certificate was shown in the handshake. The error is unauthorized where
	// none was, not-leader where this node makes no certificates.
	Token func(ctx context.Context, v *Visitor) (*Badge, *wire.Error)
	Log   *slog.Logger
}

// Door serves the connections of one node that speak HTTP.
type Door struct {
	// Set once.
	config Config
	server *http.Server
	queue  *queue
	mounts []Mount // the longest path first
	page   string  // path of the first page; empty: there is none
	front  Mount   // sends on to the page whoever has left out its path, or the slash at its end
	slow   answers
	served served
	bodies atomic.Int64 // bytes of the large bodies that arrive

	running sync.RWMutex // each request that is served holds it for reading
	closed  atomic.Bool  // the door serves no more

	mu       sync.Mutex
	visitors map[net.Conn]*Visitor // guarded by mu: those that are served
}

// bugStreams is planted to show that its test finds it: a connection may have any number of requests under way.
const bugStreams = "streams without bound"

// New returns a door. It serves once [Door.Run] runs.
func New(c Config) *Door {
	d := &Door{config: c, queue: newQueue(c.Addr), visitors: make(map[net.Conn]*Visitor)}
	d.mounts = slices.Clone(c.Mounts.More)
	if c.Mounts.API != nil {
		d.mounts = append(d.mounts, Mount{Path: "/api/v1/", Kind: API, Handler: c.Mounts.API(Open)})
	}
	if i := slices.IndexFunc(d.mounts, func(m Mount) bool { return m.Kind == Page }); i >= 0 {
		d.page = d.mounts[i].Path
		d.front = Mount{Path: "/", Kind: Page, Handler: http.HandlerFunc(d.sendOn)}
	}
	slices.SortStableFunc(d.mounts, func(a, b Mount) int { return len(b.Path) - len(a.Path) })
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	l := &c.Limits
	streams, headTime := l.Streams, l.HeaderTime
	if bug(bugStreams) {
		streams = 1 << 20
	}
	if bug(bugSilentStays) {
		headTime = 0
	}
	d.server = &http.Server{
		Handler: d, Protocols: protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: streams, MaxReadFrameSize: 16 << 10},
		ReadHeaderTimeout: headTime, IdleTimeout: l.IdleTime, MaxHeaderBytes: l.HeaderBytes,
		ConnContext: d.connected, ConnState: d.state, BaseContext: func(net.Listener) context.Context { return context.Background() },
		// Strangers can cause any number of errors: none of them is worth a line.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	// Else net/http answers "OPTIONS *" by itself, past all that a request has to pass here.
	d.server.DisableGeneralOptionsHandler = !bug(bugOptionsPast)
	return d
}

// bugOptionsPast is planted to show that its test finds it: a request with the target "*" does not come by the door.
const bugOptionsPast = "OPTIONS * past the door"

// Open is the [Opener] for all mounts but those of kinds [Page] and [Health].
func Open(r *http.Request) (*client.Client, error) {
	c, err := CallerOf(r)
	if err != nil {
		return nil, err
	}
	return c.Client()
}

// CallerOf is who makes a request of any mount but those of kinds [Page] and [Health]. The error is as that of [Open].
func CallerOf(r *http.Request) (*Caller, error) {
	c, ok := r.Context().Value(callerKey{}).(*Caller)
	if !ok {
		return nil, Unidentified()
	}
	return c, nil
}

// UserOf is the user whose client [Open] gives; "" where nobody is asked who he is.
func UserOf(r *http.Request) string {
	if c, ok := r.Context().Value(callerKey{}).(*Caller); ok {
		return c.User
	}
	return ""
}

// Unidentified refuses a request that does not say who makes it: with code unauthorized.
func Unidentified() *wire.Error {
	return wire.Unauthorized("request", "it does not say who makes it", "log in: POST "+pathLogin+", then send the token with each request (Authorization: Bearer TOKEN); or show a user's certificate in the handshake")
}

// Run serves until [Door.Close].
func (d *Door) Run() {
	over := make(chan struct{})
	var sweeps sync.WaitGroup
	sweeps.Go(func() { d.sweeps(over) })
	_ = d.server.Serve(d.queue) // it ends when it is closed, and not before
	close(over)
	sweeps.Wait()
	d.running.Lock() // until the last handler has returned
	defer d.running.Unlock()
}

// Close ends all connections. Run returns then.
func (d *Door) Close() {
	d.closed.Store(true)
	d.queue.end()
	_ = d.server.Close() // only that of the queue can fail, which does not
}

// sweeps ends answers that nobody reads.
func (d *Door) sweeps(over <-chan struct{}) {
	within := d.config.Limits.WriteTime
	every := time.NewTicker(within / 4)
	defer every.Stop()
	for {
		select {
		case <-over:
			return
		case now := <-every.C:
			d.slow.sweep(now.Add(-within))
		}
	}
}

// Serve serves a connection until it ends, and closes it.
func (d *Door) Serve(v *Visitor) {
	v.gone, v.hereAddr = make(chan struct{}), here(v.Conn)
	// HTTP/2 has no time for its first request.
	silent := time.AfterFunc(d.config.Limits.HeaderTime, func() {
		if !v.asked.Load() && !bug(bugSilentStays) {
			hangUp(v.Conn)
		}
	})
	defer silent.Stop()
	d.mu.Lock()
	d.visitors[v.Conn] = v
	d.mu.Unlock()
	if err := d.queue.put(v.Conn); err != nil {
		v.Conn.Close()
		d.state(v.Conn, http.StateClosed)
	}
	<-v.gone
}

// bugSilentStays is planted to show that its test finds it: a connection that asks for nothing stays.
const bugSilentStays = "silent visitor stays"

// hangUp closes a connection, and waits for nobody, as that of TLS would.
func hangUp(conn net.Conn) {
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	conn.Close()
}

// connected gives the requests of a connection their visitor.
func (d *Door) connected(ctx context.Context, conn net.Conn) context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	return context.WithValue(ctx, visitorKey{}, d.visitors[conn])
}

// state notes that a connection has ended.
func (d *Door) state(conn net.Conn, s http.ConnState) {
	if s != http.StateClosed && s != http.StateHijacked {
		return
	}
	d.mu.Lock()
	v := d.visitors[conn]
	delete(d.visitors, conn)
	d.mu.Unlock()
	if v != nil {
		v.leave.Do(func() { close(v.gone) })
	}
}

// here is the address that a connection came to, without the port.
func here(conn net.Conn) string {
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	host, _, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		return ""
	}
	return host
}

// ServeHTTP implements [http.Handler]: the way of each request.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.running.RLock()
	defer d.running.RUnlock()
	if d.closed.Load() {
		panic(http.ErrAbortHandler)
	}
	v := visitorOf(r.Context())
	v.asked.Store(true)
	if r.ProtoMajor > 1 {
		a := d.slow.begin(w)
		defer d.slow.end(a, d.config.Limits.WriteTime)
		w = a
	}
	defer d.broken(r)
	places, m := d.config.Places(), d.mountOf(r.URL.Path)
	r = d.bound(w, r, m) // with the writer of net/http, which ends the connection of a body that is too large
	c := d.served.begin(w, r, m)
	defer d.served.end(c)
	w = c
	allowed, e := "", v.arrived.do(v.Arrive)
	if e != nil {
		w.Header().Set("Connection", "close")
	}
	if e == nil && m.Kind != Health {
		e = d.checkPlace(v, r, m.Kind, places)
	}
	if e == nil {
		allowed, e = places.checkOrigin(v, r, m.Kind)
	}
	places.guard(w.Header(), m.Kind, allowed)
	switch {
	case e != nil:
		m.refuse(w, r, Status(e.Code), e)
	case r.Method == http.MethodOptions && allowed != "":
		preflight(w)
	case m.Path == pathLogin:
		d.login(w, r, v)
	case m.Path == pathToken:
		d.token(w, r, v)
	case m.Handler == nil && m.Path == "":
		WriteError(w, wire.NotFound("path", "nothing is served there", "see /ui/ or /api/v1/"))
	default:
		d.serve(w, r, v, m)
	}
	c.returned = true
}

// broken tells the log of a handler that has panicked. Its connection ends, which says so to the other side.
func (d *Door) broken(r *http.Request) {
	if p := recover(); p != nil {
		if p != http.ErrAbortHandler {
			d.config.Log.Error("handler of HTTP panicked", "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
		panic(http.ErrAbortHandler)
	}
}

// own are the paths that the door itself serves.
var own = []Mount{{Path: pathLogin, Kind: API}, {Path: pathWhoami, Kind: API}, {Path: pathToken, Kind: API}}

// mountOf returns what serves a path; one without a path if nothing does.
func (d *Door) mountOf(path string) *Mount {
	for i := range own {
		if own[i].Path == path {
			return &own[i]
		}
	}
	if d.page != "" && (path == "/" || path+"/" == d.page) {
		return &d.front
	}
	for i := range d.mounts {
		m := &d.mounts[i]
		if m.Path == path || strings.HasSuffix(m.Path, "/") && strings.HasPrefix(path, m.Path) {
			return m
		}
	}
	return &Mount{}
}

// bugFarPage is planted to show that its test finds it: where nobody is asked who he is, the page is there for the
// whole network.
const bugFarPage = "page without TLS on any address"

// sendOn serves d.front.
func (d *Door) sendOn(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeError(w, http.StatusMethodNotAllowed, wire.BadRequest("method", r.Method, "GET "+d.page))
		return
	}
	w.Header().Set("Location", d.page)
	w.WriteHeader(http.StatusFound)
}

// checkPlace refuses a request that has come by a way, or for a host, by which its path is not served.
func (d *Door) checkPlace(v *Visitor, r *http.Request, k Kind, places *Places) *wire.Error {
	if k.near() && !v.Near && (!v.TLS || d.config.Open()) && !bug(bugFarPage) {
		return wire.Unauthorized("request from another host", "where a cluster has no users, or a request no TLS, page and API are served on loopback addresses of the node's own host alone", "ask on that host, or give the cluster TLS: muster ca create")
	}
	return places.checkHost(r.Host, v.hereAddr)
}

// bugRightsUnasked is planted to show that its test finds it: whoever says who he is sees figures, and what is in the
// memory of the process.
const bugRightsUnasked = "figures and profiles without a right"

// bugTriesFree is planted to show that its test finds it: a token that does not count costs nothing.
const bugTriesFree = "wrong tokens cost nothing"

// serve brings a request to its handler, once it is known who makes it, if that matters.
func (d *Door) serve(w http.ResponseWriter, r *http.Request, v *Visitor, m *Mount) {
	if m.Kind == Page || m.Kind == Health {
		m.Handler.ServeHTTP(w, r)
		return
	}
	if m.Kind == Influx {
		r = d.asBasic(r)
	}
	c, e := d.config.Identify(r, v, m.Kind == Figures || m.Kind == Influx)
	if e == nil {
		defer c.Release()
		e = v.proven.do(func() *wire.Error { return v.Prove(c.User) })
	} else if e.Code == wire.CodeUnauthorized {
		if field(r, "Authorization") != "" && !bug(bugTriesFree) && (v.Failed == nil || !v.Failed()) {
			// A token costs the processor as much as a handshake, so its host is charged for one. The connection ends
			// only if that host has to wait for its next handshake: the tabs of a browser share a connection, and a
			// request that another tab is about to send over one that ends may fail there.
			w.Header().Set("Connection", "close")
		}
		if m.Kind == Figures || m.Kind == Influx {
			w.Header().Set("WWW-Authenticate", `Basic realm="muster", charset="UTF-8"`)
		} else {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		m.refuse(w, r, http.StatusUnauthorized, e)
		return
	}
	switch {
	case e != nil || bug(bugRightsUnasked):
	case m.Kind == Figures:
		e = c.May(access.Read)
	case m.Kind == Profile:
		e = c.May(access.Admin)
	}
	switch {
	case e != nil:
		m.refuse(w, r, Status(e.Code), e)
	case m.Path == pathWhoami:
		whoami(w, r, c)
	default:
		d.serveCaller(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)), m)
	}
}

// bugAnyBody is planted to show that its test finds it: a body may be as large as its sender likes, and take as long.
const bugAnyBody = "body without bounds"

// bound bounds the size and the time of a body, before anything is decided about its request: one that is refused is read
// to its end too, or to the end of its time.
//
// It returns the request to go on with, and leaves r as it is. net/http looks at the body of r when the answer begins: from
// a client that waits for "100 Continue" before it sends a body that nobody has asked for, it expects none. Behind another
// body it would not see that, and the two would wait for each other.
func (d *Door) bound(w http.ResponseWriter, r *http.Request, m *Mount) *http.Request {
	if r.ContentLength == 0 || bug(bugAnyBody) {
		return r
	}
	atMost := d.config.Limits.SmallBytes
	if (m.Kind == API || m.Kind == Influx) && m.Handler != nil {
		atMost = d.config.Limits.BodyBytes
	}
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(d.config.Limits.BodyTime)) // the writers of net/http have deadlines
	bounded := r
	if !bug(bugWaitsForBody) {
		bounded = r.WithContext(r.Context())
	}
	bounded.Body = &body{ReadCloser: http.MaxBytesReader(w, r.Body, atMost), control: control}
	return bounded
}

// bugWaitsForBody is planted to show that its test finds it: the body of a refused request is waited for, though its
// client waits to be asked for it.
const bugWaitsForBody = "body awaited that nobody has asked for"

// body is the body of a request. Once it has arrived its connection may be silent: an answer may go on for hours.
type body struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b *body) Read(p []byte) (n int, err error) {
	n, err = b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.control.SetReadDeadline(time.Time{}) // as in bound
	}
	return n, err
}

// bugRoomReserved is planted to show that its test finds it: a client of InfluxDB takes the room of the largest body.
const bugRoomReserved = "largest body reserved for each write"

// serveCaller brings a request to its handler, once there is room for its body.
func (d *Door) serveCaller(w http.ResponseWriter, r *http.Request, m *Mount) {
	l := &d.config.Limits
	size := r.ContentLength
	if size < 0 {
		size = l.BodyBytes
	}
	switch {
	case m.Kind == Influx && !bug(bugRoomReserved):
	case size > l.BodyBytes:
		WriteError(w, wire.TooLarge("body", fmt.Sprintf("%d bytes, the limit is %d", size, l.BodyBytes), "send less at once"))
		return
	case size > l.SmallBytes:
		defer d.bodies.Add(-size)
		if d.bodies.Add(size) > l.BodiesBytes {
			WriteError(w, wire.Busy("body", "as much arrives already as this node takes at once", time.Second))
			return
		}
	}
	m.Handler.ServeHTTP(w, r)
}
