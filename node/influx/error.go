package influx

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"muster/node/web"
	"muster/repl/wire"
)

// Error refuses a request.
type Error struct {
	Reason Reason
	Text   string // what is wrong, and what would be right; InfluxDB's words come first where it has any
	// RetryAfter is how long a client should wait before it sends the same again; 0: it need not wait, or it is of no
	// use. It is sent as whole seconds, rounded up.
	RetryAfter time.Duration
}

func (e *Error) Error() string { return e.Text }

// Reason is the kind of an [Error]; it decides the status.
type Reason uint8

const (
	Internal    Reason = iota // 500: a reason that was forgotten must not have clients drop what they sent
	BadRequest                // 400
	NoDatabase                // 404
	NoPolicy                  // 404; InfluxDB says 500, after which most clients send it again for ever
	NotAllowed                // 403
	OverLimit                 // 413
	BadEncoding               // 415
	Busy                      // 503: the same will be taken later. It is not 429, after which telegraf drops the batch
)

var reasonStatus = [...]int{
	BadRequest: http.StatusBadRequest, NoDatabase: http.StatusNotFound, NoPolicy: http.StatusNotFound,
	NotAllowed: http.StatusForbidden, OverLimit: http.StatusRequestEntityTooLarge, BadEncoding: http.StatusUnsupportedMediaType,
	Busy: http.StatusServiceUnavailable, Internal: http.StatusInternalServerError,
}

// DatabaseNotFound refuses a write into a database that is not there. Telegraf looks for these words, and makes it.
func DatabaseNotFound(name string) *Error {
	return &Error{Reason: NoDatabase, Text: fmt.Sprintf("database not found: %q", name)}
}

// PolicyNotFound refuses a write into a retention policy that is not there.
func PolicyNotFound(name string) *Error {
	return &Error{Reason: NoPolicy, Text: "retention policy not found: " + name}
}

func badRequest(format string, args ...any) *Error {
	return &Error{Reason: BadRequest, Text: fmt.Sprintf(format, args...)}
}

// refusal is an answer with an error.
type refusal struct {
	status int
	text   string
	after  time.Duration
}

// refusalOf returns how an error is answered.
func refusalOf(err error) refusal {
	var own *Error
	var wired *wire.Error
	switch {
	case errors.As(err, &own):
		return refusal{reasonStatus[own.Reason], own.Text, own.RetryAfter}
	case errors.As(err, &wired):
		return refusal{web.Status(wired.Code), wired.Error(), time.Duration(wired.RetryAfterMs) * time.Millisecond}
	}
	return refusal{http.StatusInternalServerError, err.Error(), 0}
}

// finals are phrases by which telegraf and others take an error for final, whatever its status is.
var finals = []string{
	"partial write", "unable to parse", "points beyond retention policy", "hinted handoff queue not empty",
	"retention policy not found", "database not found",
}

// refusalOfWrite returns how an error of a write is answered. Clients drop what they sent after most statuses below 500, so
// there only what they did wrong gets one. A limit that is reached, a cluster that is too old for points, a conflict with
// what others do are mended without the client, by whoever runs the cluster or by the next try.
func refusalOfWrite(err error) refusal {
	e := refusalOf(err)
	var own *Error
	var wired *wire.Error
	if errors.As(err, &own) || !errors.As(err, &wired) {
		return e.mendable()
	}
	switch wired.Code {
	case wire.CodeBadRequest, wire.CodeTooLarge, wire.CodeUnauthorized:
		return e
	}
	if e.status < http.StatusInternalServerError {
		e.status, e.after = http.StatusServiceUnavailable, max(e.after, retryAfter)
	}
	return e.mendable()
}

// mendable returns the refusal without the phrases by which clients take it for final, if its status says that it is not.
func (e refusal) mendable() refusal {
	if e.status < http.StatusInternalServerError {
		return e
	}
	for _, f := range finals {
		if strings.Contains(e.text, f) {
			e.text = "write failed: send all of it again; what is stored already stays the same"
		}
	}
	return e
}

// headerMax bounds the text of an error that is repeated in a field of the answer's head, as InfluxDB has it. Clients
// of InfluxDB 2 read it there.
const headerMax = 1024

// headerText makes a text fit for a field.
func headerText(text string) string {
	if len(text) > headerMax {
		text = strings.ToValidUTF8(text[:headerMax], "")
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}

// write answers with the error, in the format of the answer that it stands in for.
func (e refusal) write(w http.ResponseWriter, f format) {
	h := w.Header()
	if e.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Basic realm="InfluxDB"`)
	} else {
		h.Set("X-Influxdb-Error", headerText(e.text))
	}
	if e.after > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((e.after+time.Second-1)/time.Second), 10))
	}
	body := f.error(e.text)
	h.Set("Content-Type", f.contentType())
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.status)
	_, _ = w.Write(body) // the other side has gone
}

// Refuse answers with an error of the door that stands before the handler: no such user, a page from elsewhere.
func Refuse(w http.ResponseWriter, r *http.Request, status int, e *wire.Error) {
	text := e.Error()
	if status == http.StatusUnauthorized {
		const shown, none = "authorization failed", "unable to parse authentication credentials"
		text = none + ": send a name and a password: Authorization: Basic, Authorization: Token NAME:PASSWORD, or the parameters u and p"
		if r.Header.Get("Authorization") != "" {
			text = shown + ": " + e.State
		}
	}
	identify(w, r)
	refusal{status, text, time.Duration(e.RetryAfterMs) * time.Millisecond}.write(w, formatOf(r))
}
