package node

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"net"
	"time"

	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// PasswordRounds is how often a password is hashed: as often as OWASP's cheat sheet wants for
	// PBKDF2 with SHA-256 (2023). It takes about a quarter of a second of a processor.
	PasswordRounds = 600_000
	// loginBusyRetry is after how long a place is free again, mostly.
	loginBusyRetry = 500 * time.Millisecond
	// loginWaitMax is how long a login waits for its turn.
	loginWaitMax = 2 * time.Second
)

// logins looks at passwords, and at how often.
type logins struct {
	// Set once.
	node *Node
	// certify gets a certificate for a user that has proven its password; nil: nobody makes any. Set
	// before serving. Any goroutine calls it.
	certify func(ctx context.Context, user *shardmap.User, request []byte) (*wire.LoginAnswer, *wire.Error)

	queue    loginQueue
	failures failures
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
	network, wide := networkOf(from)
	left, known := l.failures.begin(time.Now(), q.Name, network)
	if left > 0 {
		e := wire.Busy("login", "the last one for this user from there, or from this network, failed or is under way, or too many have failed for this user", left)
		c.node.trail.done(c, wire.TypeLogin, l.noted(q.Name), 0, e)
		c.refuse(r, e)
		return
	}
	place := l.queue.enter(wide, known)
	if place == nil {
		l.failures.drop(q.Name, network)
		c.refuse(r, loginsBusy())
		return
	}
	c.node.ended.Go(func() {
		if !l.awaits(place) {
			l.failures.drop(q.Name, network)
			c.refuse(r, loginsBusy())
			return
		}
		a, e := l.login(&q, network)
		c.node.trail.done(c, wire.TypeLogin, l.noted(q.Name), 0, e)
		l.queue.leave()
		if e != nil {
			c.refuse(r, e)
			return
		}
		c.answerNow(r, wire.TypeLoginAnswer, a.Append(nil))
	})
}

// loginsBusy refuses a login that finds no place, or has lost it.
func loginsBusy() *wire.Error {
	return wire.Busy("login", fmt.Sprintf("%d others are under way, and more wait", loginsMax), loginBusyRetry)
}

// awaits waits until it is a login's turn, and reports whether that came about.
func (l *logins) awaits(place *loginWait) bool {
	late := time.NewTimer(loginWaitMax)
	defer late.Stop()
	select {
	case its := <-place.turn:
		return its
	case <-late.C:
	case <-l.node.ctx.Done():
	}
	if l.queue.giveUp(place) {
		return false
	}
	return <-place.turn // it was told at this moment
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

// login looks at a password, and gets its user a certificate. [failures.begin] has let it begin.
func (l *logins) login(q *wire.Login, network string) (*wire.LoginAnswer, *wire.Error) {
	n := l.node
	looked, ok := false, false
	defer func() {
		if !looked {
			l.failures.drop(q.Name, network)
			return
		}
		l.failures.end(time.Now(), ok, q.Name, network)
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
	fits, _ := passwordFits(&user.Password, q.Password, roundsOf(security.Users))
	looked, ok = true, fits && known
	if !ok {
		// One answer for both: a stranger must not find out who is a user.
		return nil, wire.Unauthorized("login", "wrong name or password", "try again, or ask an administrator for a new password")
	}
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	return l.certify(ctx, &user, q.Request)
}

// bugRoundsTell is planted to show that its test finds it: a password of more or fewer rounds than others takes a time
// of its own.
const bugRoundsTell = "rounds tell who is a user"

// roundsOf is how many rounds each login takes in a cluster: those of the user with most, and no fewer than a new
// password has.
func roundsOf(users []shardmap.User) int {
	most := uint32(PasswordRounds)
	for i := range users {
		most = max(most, users[i].Password.Rounds)
	}
	return int(most)
}

// passwordFits reports whether a password is the one that was hashed. It takes as many rounds, which it returns,
// where there is none, and where that one has fewer: the time tells nobody who is a user, or since when.
func passwordFits(p *shardmap.PasswordHash, password []byte, rounds int) (fits bool, took int) {
	has := *p
	if has.None() {
		has.Rounds = uint32(rounds)
	}
	hash := hashPassword(password, has.Salt[:], int(has.Rounds))
	took = int(has.Rounds)
	if rest := rounds - took; rest > 0 && !bug(bugRoundsTell) {
		hashPassword(password, has.Salt[:], rest)
		took += rest
	}
	return subtle.ConstantTimeCompare(hash, has.Hash[:]) == 1 && !p.None(), took
}

// HashPassword returns what the table keeps of a password: whoever makes a user hashes it, so that it
// never leaves the process that knows it. chance gives the salt.
func HashPassword(chance io.Reader, password []byte) (p shardmap.PasswordHash, err error) {
	if _, err := io.ReadFull(chance, p.Salt[:]); err != nil {
		return p, fmt.Errorf("draw a salt: %w", err)
	}
	p.Rounds = PasswordRounds
	copy(p.Hash[:], hashPassword(password, p.Salt[:], PasswordRounds))
	return p, nil
}

func hashPassword(password, salt []byte, rounds int) []byte {
	hash, err := pbkdf2.Key(sha256.New, string(password), salt, rounds, sha256.Size)
	if err != nil {
		panic(fmt.Sprintf("PBKDF2 with %d rounds: %v", rounds, err)) // only a mode of the library refuses, which is not built
	}
	return hash
}
