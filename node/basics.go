package node

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"

	"muster/node/web"
	"muster/repl/wire"
)

// basicsMax bounds the passwords that are remembered to have fitted.
const basicsMax = 64

// basics are the badges of callers that send a name and a password with each request, as collectors of figures do, which
// know no other way. So a password is looked at once an hour, and not with every scrape.
type basics struct {
	key [sha256.Size]byte // of what is remembered: a memory of this process has no hash that could be tried elsewhere

	mu  sync.Mutex
	all map[envoyID]string // guarded by mu: badges, by what was shown
}

func (b *basics) init() {
	b.all = make(map[envoyID]string)
	_, _ = rand.Read(b.key[:]) // it never fails
}

// of is the id of a name and a password.
func (b *basics) of(name, password string) envoyID {
	h := hmac.New(sha256.New, b.key[:])
	h.Write([]byte(name + "\x00" + password))
	return envoyID(h.Sum(nil))
}

// basic is the caller who has shown a name and a password.
func (w *webDoor) basic(ctx context.Context, v *web.Visitor, name, password string) (*web.Caller, *wire.Error) {
	b := &w.basics
	id := b.of(name, password)
	b.mu.Lock()
	text, ok := b.all[id]
	b.mu.Unlock()
	if ok {
		c, e := w.envoys.byToken(text, v)
		if e == nil || e.Code != wire.CodeUnauthorized {
			return c, e
		}
		b.mu.Lock()
		delete(b.all, id) // its certificate has ended, or was withdrawn: the password is looked at again
		b.mu.Unlock()
	}
	if name == "" || len(name) > wire.UserNameMax || password == "" || len(password) > wire.PasswordMax {
		return nil, wrongLogin()
	}
	made, e := w.node.logins.badge(ctx, v.From, name, []byte(password))
	if e != nil {
		return nil, e
	}
	text = made.String()
	b.mu.Lock()
	for other := range b.all {
		if len(b.all) < basicsMax {
			break
		}
		delete(b.all, other)
	}
	b.all[id] = text
	b.mu.Unlock()
	return w.envoys.byToken(text, v)
}
