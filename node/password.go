package node

import (
	"context"
	"fmt"
	"net"
	"time"

	"muster/node/login"
	"muster/repl"
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
}

func (l *logins) init(n *Node) { l.node = n }

// takeLogin answers a guest that has a password and wants a certificate.
func takeLogin(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Login
	if !readRequest(c, h, r, body, &q) {
		return
	}
	l := &c.node.logins
	from := sourceOf(c.conn)
	network, wide := login.NetworkOf(from)
	left, known := l.failures.Begin(time.Now(), q.Name, network)
	if left > 0 {
		e := wire.Busy("login", "the last one for this user from there, or from this network, failed or is under way, or too many have failed for this user", left)
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

// loginsBusy refuses a login that finds no place, or has lost it.
func loginsBusy() *wire.Error {
	return wire.Busy("login", fmt.Sprintf("%d others are under way, and more wait", login.AtOnce), login.BusyRetry)
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
func sourceOf(conn net.Conn) string {
	addr := conn.RemoteAddr().String()
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
	looked, ok := false, false
	defer func() {
		if !looked {
			l.failures.Drop(q.Name, network)
			return
		}
		l.failures.End(time.Now(), ok, q.Name, network)
	}()
	// The leader alone makes certificates. That it also looks at all passwords is what makes the
	// pauses between them count.
	if e := n.ledHere(n.running()); e != nil {
		return nil, e
	}
	if l.certify == nil {
		return nil, noRoot(n)
	}
	if bug(bugPasswordLogged) {
		n.log.Info("login", "user", q.Name, "password", string(q.Password))
	}
	security := &n.table.Load().Security
	user, known := security.UserNamed(q.Name)
	fits, _ := login.Fits(&user.Password, q.Password, login.RoundsOf(security.Users, n.limits.passwordRounds))
	looked, ok = true, fits && known
	if !ok {
		// One answer for both: a stranger must not find out who is a user.
		return nil, wire.Unauthorized("login", "wrong name or password", "try again, or ask an administrator for a new password")
	}
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	return l.certify(ctx, &user, q.Request)
}
