package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"muster/node/influx"
	"muster/node/metrics"
	"muster/node/web"
	"muster/node/web/ui"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// webDoor is the connections of a node that speak HTTP, and who asks over them.
type webDoor struct {
	// Set once, before the node accepts connections.
	*web.Door
	node   *Node
	envoys envoys
	basics basics

	places atomic.Pointer[placesOf]
}

// placesOf is the places of a table.
type placesOf struct {
	table  *shardmap.Table // nil: none was known
	places *web.Places
}

// begin makes the door of a node whose listener is at addr.
func (w *webDoor) begin(n *Node, addr net.Addr) {
	w.node = n
	w.envoys.init(n)
	w.basics.init()
	w.Door = web.New(web.Config{
		Limits: n.limits.web, Mounts: n.door.mounts(), Addr: addr, Log: n.log,
		Places: w.placesNow, Open: w.open, Identify: w.identify, Login: w.login, Token: w.token,
	})
}

// mounts are what this node serves over HTTP.
func (d *door) mounts() web.Mounts {
	n := d.node
	seen := observed{n}
	secure := func() bool {
		t := n.table.Load()
		return t != nil && t.Security.Mode != shardmap.SecurityOff
	}
	return web.Mounts{API: n.cfg.API, More: append([]web.Mount{
		{Path: "/metrics", Kind: web.Figures, Handler: metrics.Scrapes(seen)},
		{Path: "/sd/prometheus", Kind: web.Figures, Handler: metrics.Discovery(web.Open, secure)},
		{Path: "/livez", Kind: web.Health, Handler: metrics.Live(seen)},
		{Path: "/readyz", Kind: web.Health, Handler: metrics.Ready(seen)},
		{Path: metrics.ProfilesPath, Kind: web.Profile, Handler: metrics.Profiles()},
		{Path: ui.Prefix, Kind: web.Page, Handler: ui.Handler()},
	}, influx.New(influx.Config{Open: n.querying.store}).Mounts()...)}
}

// placesNow are the hosts as which this node is asked, and the pages that may ask it, by the newest table.
func (w *webDoor) placesNow() *web.Places {
	n := w.node
	t := n.known()
	if p := w.places.Load(); p != nil && p.table == t {
		return p.places
	}
	addrs := []string{n.addr}
	if t != nil {
		for i := range t.Nodes {
			addrs = append(addrs, t.Nodes[i].Addr)
		}
	}
	names := n.cfg.HTTPHosts
	if host, _, err := net.SplitHostPort(n.cfg.Listen); err == nil && !isUnspecified(host) {
		names = append(names[:len(names):len(names)], host)
	}
	p := &placesOf{t, web.NewPlaces(addrs, names)}
	w.places.Store(p)
	return p.places
}

// greetHTTP takes a connection that speaks HTTP: conn, over t where there is TLS. below is what has the seat.
func (d *door) greetHTTP(conn, below net.Conn, t *wire.TLSConn) (greeted, error) {
	n := d.node
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return greeted{}, err
	}
	v := &web.Visitor{Conn: conn, From: below.RemoteAddr(), Near: loopback(below.LocalAddr()) && loopback(below.RemoteAddr())}
	if t == nil {
		v.Conn = web.Bound(conn, below, n.limits.web.WriteTime)
		return greeted{http: v}, nil
	}
	v.TLS = true
	t.WearsAt(n.limits.keyBytesEnd, func() { time.AfterFunc(0, func() { below.Close() }) }) // whoever reads or writes calls it
	if chain := t.ConnectionState().PeerCertificates; len(chain) > 0 {
		if v.Peer, v.Shown = n.guard.verify(chain, 0, ""); v.Shown != nil {
			v.Peer = trust.Proven{}
		}
	}
	v.Failed = t.Charge
	v.Prove = func(string) *wire.Error { // the rest of it is in receiveHTTP
		t.LetIn()
		return nil
	}
	return greeted{http: v}, nil
}

// loopback reports whether an address is one of this host alone.
func loopback(addr net.Addr) bool {
	a, err := netip.ParseAddrPort(addr.String())
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// webSeat is the seat of a connection of HTTP. door.mu guards it.
type webSeat struct {
	leave func() // gives it up; nil: it is among the strangers
	over  bool   // the connection has ended; a request of it may run on for a moment, and changes nothing
}

// bugVisitorsUnbounded is planted to show that its test finds it: connections of HTTP need no seat.
const bugVisitorsUnbounded = "no seats for HTTP"

// receiveHTTP serves a connection until it ends. The connection stays among the strangers until its first request has
// come. leave gives up the seat that it has in the end; its caller holds mu.
func (d *door) receiveHTTP(below net.Conn, v *web.Visitor) (leave func()) {
	n, letIn, seat := d.node, v.Prove, new(webSeat)
	v.Arrive = func() *wire.Error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if seat.over {
			return errSeatOver
		}
		d.seats.unseat(below)
		if !bug(bugVisitorsUnbounded) {
			d.seats.visitors.add(below, n.limits.visitors)
		}
		seat.leave = func() { d.seats.visitors.remove(below) }
		if v.Peer.Name.Kind == trust.KindUser {
			d.creds[below] = credential{v.Peer, wire.SenderClient} // it ends with that
		}
		return nil
	}
	v.Prove = func(user string) *wire.Error {
		if letIn != nil {
			_ = letIn(user) // it has nothing to refuse
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if seat.over {
			return errSeatOver
		}
		if !d.seats.webs.Take(user) {
			return wire.Busy("node "+n.name, fmt.Sprintf("it has %d connections of HTTP; the limit is %d, and for one user as many as are left for others", d.seats.webs.Taken(), n.limits.webs), time.Second)
		}
		d.seats.visitors.remove(below)
		seat.leave = func() { d.seats.webs.GiveBack(user) }
		return nil
	}
	d.web.Serve(v)
	return func() {
		seat.over = true
		if seat.leave != nil {
			seat.leave()
		}
	}
}

// errSeatOver refuses a request whose connection has ended.
var errSeatOver = wire.Busy("connection", "it has ended", time.Second)

// plainHTTP is what a node that wants TLS answers to HTTP without.
const plainHTTP = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" +
	"This port speaks TLS 1.3 alone: use https.\n"

// refuseHTTP tells a client of HTTP why it is not let in.
func refuseHTTP(conn net.Conn, within time.Duration) error {
	_, err := wire.WriteWithin(conn, []byte(plainHTTP), within)
	if err == nil {
		linger(conn, within)
	}
	return fmt.Errorf("hello from %s: %w: HTTP without TLS", conn.RemoteAddr(), wire.ErrForeign)
}

// identify says who makes a request.
func (w *webDoor) identify(r *http.Request, v *web.Visitor, basic bool) (*web.Caller, *wire.Error) {
	if text := web.Bearer(r); text != "" {
		if !v.TLS && !w.open() {
			return nil, wire.Unauthorized("request without TLS", "its token could be read on the way", "use https")
		}
		return w.envoys.byToken(text, v)
	}
	if name, password, ok := r.BasicAuth(); ok && basic && v.TLS {
		return w.basic(r.Context(), v, name, password)
	}
	switch {
	case v.Shown != nil && errors.Is(v.Shown, trust.ErrNone), v.Shown == nil && v.Peer.Name == (trust.Name{}):
	case v.Shown != nil:
		return nil, wire.Unauthorized("certificate of the connection", shorten(v.Shown.Error()), nextCredential)
	default:
		return w.envoys.byCertificate(v)
	}
	if w.open() {
		return w.envoys.byNobody(v)
	}
	return nil, web.Unidentified()
}

// open reports whether this node asks nobody who he is. Where a secret lets clients in, HTTP has nothing to prove it by, and
// is for nobody.
func (w *webDoor) open() bool {
	g := &w.node.guard
	s := g.speech()
	t := w.node.table.Load()
	return (s == speaksPlain || s == speaksOff) && len(g.secret) == 0 && (t == nil || t.Security.Mode == shardmap.SecurityOff)
}

// login looks at a password, and makes a badge of what it gets for that.
func (w *webDoor) login(ctx context.Context, v *web.Visitor, user string, password []byte) (*web.Badge, *wire.Error) {
	if w.open() {
		return nil, wire.BadRequest("login", "this cluster asks nobody who he is", "send requests without a token; docs/security.md says how a cluster gets users")
	}
	if !v.TLS {
		return nil, wire.Unauthorized("login", "a password is not taken without TLS", "use https")
	}
	b, e := w.node.logins.badge(ctx, v.From, user, password)
	if e != nil {
		return nil, e
	}
	return badgeOf(b, user), nil
}

// token makes a badge of an hour for whoever a certificate in the handshake proves: for browsers of people who have a
// certificate and no password. Only the leader of the meta group makes certificates.
func (w *webDoor) token(ctx context.Context, v *web.Visitor) (*web.Badge, *wire.Error) {
	n, p := w.node, &v.Peer
	if v.Shown != nil || p.Name.Kind != trust.KindUser {
		return nil, wire.Unauthorized("request", "the connection has shown no user's certificate", "show one in the handshake, or log in with a password")
	}
	c, e := w.envoys.byCertificate(v)
	if e != nil {
		return nil, e
	}
	defer c.Release()
	if p.NotAfter.Sub(p.Issued) <= trust.LoginLife && !bug(bugLoginRenewed) {
		return nil, wire.Unauthorized("request", "the certificate is that of a login, which is not renewed", "show the password in its place: on the page, or to POST /api/v1/auth/login; or ask an administrator for a certificate that lasts: muster user cert "+p.Name.User)
	}
	loop, t := n.running(), n.table.Load()
	if loop == nil || t == nil {
		return nil, n.notReady()
	}
	if e := n.ledHere(loop); e != nil {
		return nil, e
	}
	user, ok := t.Security.UserNamed(p.Name.User)
	if !ok {
		return nil, noUser(p.Name.User, t.Security.Mode)
	}
	b, e := n.logins.made(&wire.Login{Name: user.Name}, func(q *wire.Login) (*wire.LoginAnswer, *wire.Error) {
		return n.logins.certify(ctx, &user, q.Request)
	})
	n.logins.tell(v.From, user.Name, e)
	if e != nil {
		return nil, e
	}
	return badgeOf(b, user.Name), nil
}

// badgeOf is a badge as a login is answered with it.
func badgeOf(b *trust.Badge, user string) *web.Badge {
	return &web.Badge{Token: b.String(), User: user, Ends: b.Certificate.NotAfter.UTC().Format(time.RFC3339)}
}
