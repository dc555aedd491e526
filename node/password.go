package node

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// PasswordRounds is how often a password is hashed: as often as OWASP's cheat sheet wants for
	// PBKDF2 with SHA-256 (2023). It takes about a quarter of a second of a processor.
	PasswordRounds = 600_000
	// loginsMax is how many passwords are looked at at once. Each takes a quarter of a second of a
	// processor, by design; who asks for more must not keep the node from its work.
	loginsMax = 2
	// loginBusyRetry is after how long a place is free again, mostly.
	loginBusyRetry = 500 * time.Millisecond
	// failuresMax bounds what is remembered of failed logins. Above it what failed longest ago is
	// forgotten: an attacker with so many addresses is not slowed down by any list of them.
	failuresMax = 4096
	// failureFirst is how long the next try has to wait after one failure; it doubles with each, up to
	// failureLast. After failureOver without one all is forgotten.
	failureFirst = time.Second
	failureLast  = time.Minute
	failureOver  = 10 * time.Minute
)

// logins looks at passwords, and at how often.
type logins struct {
	// Set once.
	node *Node
	// certify gets a certificate for a user that has proven its password; nil: nobody makes any. Set
	// before serving. Any goroutine calls it.
	certify func(ctx context.Context, user *shardmap.User, request []byte) (*wire.LoginAnswer, *wire.Error)
	places  chan struct{} // loginsMax of them; a login holds one

	failures failures
}

func (l *logins) init(n *Node) {
	l.node, l.places = n, make(chan struct{}, loginsMax)
}

// takeLogin answers a guest that has a password and wants a certificate.
func takeLogin(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Login
	if !readRequest(c, h, r, body, &q) {
		return
	}
	l := &c.node.logins
	select {
	case l.places <- struct{}{}:
	default:
		c.refuse(r, wire.Busy("login", fmt.Sprintf("%d others are under way", loginsMax), loginBusyRetry))
		return
	}
	from := sourceOf(c.conn)
	c.node.ended.Go(func() {
		a, e := l.login(&q, from)
		c.node.trail.done(c, wire.TypeLogin, l.noted(q.Name), 0, e)
		<-l.places
		if e != nil {
			c.refuse(r, e)
			return
		}
		c.answerNow(r, wire.TypeLoginAnswer, a.Append(nil))
	})
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

// login looks at a password, and gets its user a certificate.
func (l *logins) login(q *wire.Login, from string) (*wire.LoginAnswer, *wire.Error) {
	n := l.node
	// The leader alone makes certificates. That it also looks at all passwords is what makes the
	// pauses between them count.
	if e := n.ledHere(n.running()); e != nil {
		return nil, e
	}
	if l.certify == nil {
		return nil, noRoot(n)
	}
	if left := l.failures.begin(time.Now(), q.Name, from); left > 0 {
		return nil, wire.Busy("login", "the last one for this user, or from this address, failed or is under way", left)
	}
	if bug(bugPasswordLogged) {
		n.log.Info("login", "user", q.Name, "password", string(q.Password))
	}
	user, known := n.table.Load().Security.UserNamed(q.Name)
	ok := passwordFits(&user.Password, q.Password) && known
	l.failures.end(time.Now(), ok, q.Name, from)
	if !ok {
		// One answer for both: a stranger must not find out who is a user.
		return nil, wire.Unauthorized("login", "wrong name or password", "try again, or ask an administrator for a new password")
	}
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	return l.certify(ctx, &user, q.Request)
}

// passwordFits reports whether a password is the one that was hashed. It takes as long where there is
// none as where there is.
func passwordFits(p *shardmap.PasswordHash, password []byte) bool {
	has := *p
	if has.None() {
		has.Rounds = PasswordRounds
	}
	return subtle.ConstantTimeCompare(hashPassword(password, has.Salt[:], int(has.Rounds)), has.Hash[:]) == 1 && !p.None()
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

// failures remembers whose logins failed, by name and by address.
type failures struct {
	mu sync.Mutex
	of map[source]*failing // guarded by mu; at most failuresMax
}

// source is where logins come from: a name, or an address.
type source struct{ user, addr string }

func sources(user, addr string) [2]source { return [2]source{{user: user}, {addr: addr}} }

// failing is what is remembered of one source.
type failing struct {
	count int
	last  time.Time
	under bool // one is under way: of many at once only one is looked at
}

// pause is how long after the last failure nothing more is looked at.
func (f *failing) pause() time.Duration {
	if f.count == 0 {
		return 0
	}
	return min(failureFirst<<min(f.count-1, 16), failureLast)
}

// bugGuessed is planted to show that its test finds it: a login may follow one that failed at once.
const bugGuessed = "failed logins cost no time"

// begin returns how long a login has to wait, or 0: then it is under way.
func (f *failures) begin(now time.Time, user, addr string) (left time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range sources(user, addr) {
		if x := f.of[w]; x != nil {
			if x.under {
				left = max(left, loginBusyRetry)
			}
			left = max(left, x.pause()-now.Sub(x.last))
		}
	}
	if left > 0 && !bug(bugGuessed) {
		return left
	}
	if f.of == nil {
		f.of = make(map[source]*failing)
	}
	for _, w := range sources(user, addr) {
		if f.of[w] == nil {
			f.room(now)
			f.of[w] = new(failing)
		}
		f.of[w].under = true
	}
	return 0
}

// end notes how a login ended that was under way.
func (f *failures) end(now time.Time, ok bool, user, addr string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range sources(user, addr) {
		x := f.of[w]
		x.under = false
		switch {
		case ok && (x.count == 0 || w.user != ""):
			delete(f.of, w)
		case ok: // one password that fits must not free an address from which others are guessed
		case now.Sub(x.last) > failureOver:
			x.count, x.last = 1, now
		default:
			x.count, x.last = x.count+1, now
		}
	}
}

// room forgets what is over, and if nothing is, the one that failed longest ago.
func (f *failures) room(now time.Time) {
	if len(f.of) < failuresMax {
		return
	}
	var oldest source
	for w, x := range f.of {
		switch {
		case x.under:
		case now.Sub(x.last) > failureOver:
			delete(f.of, w)
		case oldest == (source{}) || x.last.Before(f.of[oldest].last):
			oldest = w
		}
	}
	if len(f.of) >= failuresMax {
		delete(f.of, oldest)
	}
}
