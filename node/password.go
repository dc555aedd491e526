package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"sync"
	"time"

	"muster/node/login"
	"muster/node/trail"
	"muster/raft"
	"muster/repl"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// loginWaitMax is how long a login waits for its turn.
const loginWaitMax = 2 * time.Second

// logins looks at passwords, and at how often.
type logins struct {
	// Set once.
	node *Node
	// certify gets a certificate for a user that has proven its password; nil: nobody makes any. Set
	// before serving. Any goroutine calls it.
	certify func(ctx context.Context, user *shardmap.User, request []byte) (*wire.LoginAnswer, *wire.Error)

	queue    login.Queue
	failures login.Failures
	passing  sync.Mutex // held while the leader is asked for a certificate, for one who has shown his password here
}

func (l *logins) init(n *Node) { l.node = n }

// takeLogin answers a guest that has a password and wants a certificate.
func takeLogin(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Login
	if !readRequest(c, h, r, body, &q) {
		return
	}
	l := &c.node.logins
	from := sourceOf(c.conn.RemoteAddr())
	network, wide := login.NetworkOf(from)
	left, known := l.failures.Begin(time.Now(), q.Name, network)
	if left > 0 {
		e := loginHeldUp(left)
		c.node.trail.done(c, wire.TypeLogin, l.noted(q.Name), 0, e)
		c.refuse(r, e)
		return
	}
	place := l.queue.Enter(wide, known)
	if place == nil {
		l.failures.Drop(q.Name, network)
		c.refuse(r, loginsBusy())
		return
	}
	c.node.ended.Go(func() {
		if !l.awaits(place) {
			l.failures.Drop(q.Name, network)
			c.refuse(r, loginsBusy())
			return
		}
		a, e := l.login(&q, network)
		c.node.trail.done(c, wire.TypeLogin, l.noted(q.Name), 0, e)
		l.queue.Leave()
		if e != nil {
			c.refuse(r, e)
			return
		}
		c.answerNow(r, wire.TypeLoginAnswer, a.Append(nil))
	})
}

// loginHeldUp refuses a login that has to wait for what others have done.
func loginHeldUp(left time.Duration) *wire.Error {
	return wire.Busy("login", "the last one for this user from there, or from this network, failed or is under way, or too many have failed for this user", left)
}

// wrongLogin is the one answer to a wrong name and to a wrong password: a stranger must not find out who is a user.
func wrongLogin() *wire.Error {
	return wire.Unauthorized("login", "wrong name or password", "try again, or ask an administrator for a new password")
}

// loginsBusy refuses a login that finds no place, or has lost it.
func loginsBusy() *wire.Error {
	return wire.Busy("login", fmt.Sprintf("%d others are under way, and more wait", login.AtOnce), login.BusyRetry)
}

// loginUnled refuses a login while nobody can make a certificate for it.
func loginUnled() *wire.Error {
	return wire.NotReady("login", "the meta group has no leader, and its leader alone makes certificates",
		"log in again in a moment; if it stays like that, muster status shows which nodes are missing", login.BusyRetry)
}

// awaits waits until it is a login's turn, and reports whether that came about.
func (l *logins) awaits(place *login.Place) bool {
	late := time.NewTimer(loginWaitMax)
	defer late.Stop()
	select {
	case its := <-place.Turn():
		return its
	case <-late.C:
	case <-l.node.ctx.Done():
	}
	if l.queue.GiveUp(place) {
		return false
	}
	return <-place.Turn() // it was told at this moment
}

// overHTTP shows a password to the leader of the meta group, which alone makes certificates, for somebody who asks this node
// over HTTP. The leader knows only this node, so it could not tell guesses from logins: where another one leads, this node
// looks at the password first, by its own table, and makes whoever fails wait here.
func (l *logins) overHTTP(ctx context.Context, from net.Addr, q *wire.Login) (a *wire.LoginAnswer, e *wire.Error) {
	n := l.node
	loop := n.running()
	if loop == nil {
		return nil, n.notReady()
	}
	network, wide := login.NetworkOf(sourceOf(from))
	nodes := 1
	if t := n.table.Load(); t != nil {
		nodes = len(t.Nodes)
	}
	left, known := l.failures.BeginAmong(time.Now(), q.Name, network, nodes)
	if left > 0 {
		e = loginHeldUp(left)
		l.tell(from, q.Name, e)
		return nil, e
	}
	place := l.queue.Enter(wide, known)
	if place == nil || !l.awaits(place) {
		l.failures.Drop(q.Name, network)
		return nil, loginsBusy()
	}
	defer l.queue.Leave()
	if e := n.ledHere(loop); e == nil {
		a, e = l.login(q, network)
		l.tell(from, q.Name, e)
		return a, e
	} else if e.Code != wire.CodeNotLeader || e.LeaderNode == 0 {
		l.failures.Drop(q.Name, network)
		if e.Code == wire.CodeNotLeader {
			e = loginUnled()
		}
		return nil, e
	}
	if _, e = l.fits(q, network); e == nil {
		a, e = l.pass(ctx, q)
	}
	l.tell(from, q.Name, e)
	return a, e
}

// tell has the trail note a login over HTTP.
func (l *logins) tell(from net.Addr, name string, e *wire.Error) {
	l.node.trail.outcome(trail.Event{From: from.String(), Door: doorHTTP, Type: wire.TypeLogin.String(), Object: l.noted(name), Verdict: trail.Allowed}, e)
}

// fits looks at a password by the table of this node, and returns whose it is. [login.Failures.Begin] has let it begin.
func (l *logins) fits(q *wire.Login, network string) (user shardmap.User, e *wire.Error) {
	n := l.node
	t := n.table.Load()
	if t == nil {
		l.failures.Drop(q.Name, network)
		return user, n.notReady()
	}
	user, known := t.Security.UserNamed(q.Name)
	fits, _ := login.Fits(&user.Password, q.Password, login.RoundsOf(t.Security.Users, n.limits.passwordRounds))
	l.failures.End(time.Now(), fits && known, q.Name, network)
	if !fits || !known {
		return user, wrongLogin()
	}
	return user, nil
}

// pass has the leader make a certificate for a password that fits. One login of this node after the other: the leader
// looks at one of a network at a time.
func (l *logins) pass(ctx context.Context, q *wire.Login) (*wire.LoginAnswer, *wire.Error) {
	n := l.node
	l.passing.Lock()
	defer l.passing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, loginWaitMax+callTimeout)
	defer cancel()
	for {
		lead, ok := metaLead(n.running())
		if !ok || lead.node == 0 {
			return nil, loginUnled()
		}
		a, err := n.caller.login(ctx, lead.node, n.addrOf(lead.node), q)
		e, refused := refusalIn(err)
		switch {
		case err == nil:
			return a, nil
		case !refused:
			return nil, wire.Unavailable("login", shorten(err.Error()))
		case e.Retry() != wire.RetrySameNode || e.RetryAfterMs == 0:
			return nil, e
		}
		select {
		case <-time.After(time.Duration(e.RetryAfterMs) * time.Millisecond):
		case <-ctx.Done():
			return nil, e
		case <-n.ctx.Done():
			return nil, e
		}
	}
}

// login shows a password to the node that leads the meta group, as a guest.
func (l *caller) login(ctx context.Context, to raft.NodeID, addr string, q *wire.Login) (*wire.LoginAnswer, error) {
	d := net.Dialer{Timeout: dialTimeout}
	below, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer below.Close()
	defer closeWith(ctx, below)()
	conn, err := l.guard.dialFor(quick(below), to, addr, nil)
	if err != nil {
		return nil, err
	}
	g, err := wire.ClientHello(conn, wire.DialConfig{
		To: to, ToAddr: addr, Purpose: wire.PurposeClient, Role: wire.RoleClient, Cluster: l.self().Cluster, Level: l.level,
	})
	if err != nil {
		return nil, err
	}
	a := new(wire.LoginAnswer)
	return a, l.ask(ctx, conn, g, wire.TypeLogin, q, a)
}

// badge shows a password to whoever looks at it, and makes a badge of the certificate that it gets.
func (l *logins) badge(ctx context.Context, from net.Addr, user string, password []byte) (*trust.Badge, *wire.Error) {
	return l.made(&wire.Login{Name: user, Password: password}, func(q *wire.Login) (*wire.LoginAnswer, *wire.Error) { return l.overHTTP(ctx, from, q) })
}

// made draws a key, has a certificate made for it, and puts both together.
func (l *logins) made(q *wire.Login, certify func(*wire.Login) (*wire.LoginAnswer, *wire.Error)) (*trust.Badge, *wire.Error) {
	key, request, err := trust.NewKeyAndRequest(rand.Reader)
	if err != nil {
		return nil, wire.Unavailable("login", err.Error())
	}
	q.Request = request
	a, e := certify(q)
	if e != nil {
		return nil, e
	}
	b, err := trust.NewBadge(a.Certificate, key)
	if err != nil {
		return nil, wire.Unavailable("node "+l.node.name, err.Error())
	}
	return b, nil
}

// noted is whom the trail says that a login was for. What is no user's name may be a password,
// typed where the name should be.
func (l *logins) noted(name string) string {
	if t := l.node.table.Load(); t != nil {
		if user, ok := t.Security.UserNamed(name); ok {
			return "user " + user.Name
		}
	}
	return "a user that there is not"
}

// sourceOf is the address that a connection comes from, without the port.
func sourceOf(from net.Addr) string {
	addr := from.String()
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}

// bugPasswordLogged is planted to show that its test finds it: a log has what people prove themselves by.
const bugPasswordLogged = "password in the log"

// login looks at a password, and gets its user a certificate. [login.Failures.Begin] has let it begin.
func (l *logins) login(q *wire.Login, network string) (*wire.LoginAnswer, *wire.Error) {
	n := l.node
	// The leader alone makes certificates. That it also looks at all passwords is what makes the
	// pauses between them count.
	e := n.ledHere(n.running())
	if e == nil && l.certify == nil {
		e = noRoot(n)
	}
	if e != nil {
		l.failures.Drop(q.Name, network)
		return nil, e
	}
	if bug(bugPasswordLogged) {
		n.log.Info("login", "user", q.Name, "password", string(q.Password))
	}
	user, e := l.fits(q, network)
	if e != nil {
		return nil, e
	}
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	return l.certify(ctx, &user, q.Request)
}
