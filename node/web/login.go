package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"muster/repl/wire"
)

// Paths that the door itself serves.
const (
	pathLogin  = "/api/v1/auth/login"
	pathWhoami = "/api/v1/auth/whoami"
	pathToken  = "/api/v1/auth/token"
)

// Badge is the answer to a login.
type Badge struct {
	Token string `json:"token"` // a secret; see repl/trust/badge.go
	User  string `json:"user"`
	Ends  string `json:"expires"` // RFC 3339, UTC
}

// Whoami says who makes a request.
type Whoami struct {
	User  string   `json:"user,omitempty"`
	Roles []string `json:"roles"`
	Open  bool     `json:"open"`              // nobody is asked who he is
	Ends  string   `json:"expires,omitempty"` // of what was shown
}

// Bearer returns the token of a request, or "".
func Bearer(r *http.Request) string {
	const scheme = "Bearer "
	if f := field(r, "Authorization"); len(f) > len(scheme) && strings.EqualFold(f[:len(scheme)], scheme) {
		return f[len(scheme):]
	}
	return ""
}

// login serves POST /api/v1/auth/login.
func (d *Door) login(w http.ResponseWriter, r *http.Request, v *Visitor) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		writeError(w, http.StatusMethodNotAllowed, wire.BadRequest("method", r.Method, "POST "+pathLogin))
		return
	}
	var q struct {
		User     string `json:"user"`
		Password string `json:"password"`
	}
	in := json.NewDecoder(r.Body)
	in.DisallowUnknownFields()
	if err := in.Decode(&q); err != nil {
		WriteError(w, badBody(err))
		return
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		WriteError(w, badBody(errMore))
		return
	}
	switch {
	case q.User == "" || len(q.User) > wire.UserNameMax:
		WriteError(w, wire.BadRequest("field user", fmt.Sprintf("it has %d bytes", len(q.User)), fmt.Sprintf("1 to %d bytes", wire.UserNameMax)))
		return
	case q.Password == "" || len(q.Password) > wire.PasswordMax:
		WriteError(w, wire.BadRequest("field password", fmt.Sprintf("it has %d bytes", len(q.Password)), fmt.Sprintf("1 to %d bytes", wire.PasswordMax)))
		return
	}
	b, e := d.config.Login(r.Context(), v, q.User, []byte(q.Password))
	if e != nil {
		if e.Code == wire.CodeUnauthorized {
			writeError(w, http.StatusUnauthorized, e)
			return
		}
		WriteError(w, e)
		return
	}
	writeJSON(w, http.StatusOK, b)
}

// token serves POST /api/v1/auth/token: a badge for a user whose certificate was shown in the handshake.
func (d *Door) token(w http.ResponseWriter, r *http.Request, v *Visitor) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		writeError(w, http.StatusMethodNotAllowed, wire.BadRequest("method", r.Method, "POST "+pathToken))
		return
	}
	b, e := d.config.Token(r.Context(), v)
	if e != nil {
		WriteError(w, e)
		return
	}
	writeJSON(w, http.StatusOK, b)
}

var errMore = errors.New("there is more behind the object")

// badBody refuses a body that is no JSON of the form that is wanted. It does not repeat it, which may be a secret.
func badBody(err error) *wire.Error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return wire.TooLarge("body", fmt.Sprintf("more than %d bytes", large.Limit), "send less")
	}
	return wire.BadRequest("body", "it is no JSON object with the fields user and password", `send {"user":"NAME","password":"…"}`)
}

// whoami serves GET /api/v1/auth/whoami.
func whoami(w http.ResponseWriter, r *http.Request, c *Caller) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeError(w, http.StatusMethodNotAllowed, wire.BadRequest("method", r.Method, "GET "+pathWhoami))
		return
	}
	a := Whoami{User: c.User, Roles: append([]string{}, c.Roles...), Open: c.Open}
	if !c.Ends.IsZero() {
		a.Ends = c.Ends.UTC().Format(time.RFC3339)
	}
	writeJSON(w, http.StatusOK, a)
}

type (
	visitorKey struct{}
	callerKey  struct{}
)

func visitorOf(ctx context.Context) *Visitor {
	v, _ := ctx.Value(visitorKey{}).(*Visitor)
	return v
}
