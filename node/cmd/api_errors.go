package cmd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"muster/node/web"
	"muster/repl/client"
	"muster/repl/wire"
)

// apiError is an error as a request is answered with it.
type apiError struct {
	status                          int // of HTTP
	code, object, text, state, next string
	exit                            exitStatus
	message                         string // the line of a command line; made of the parts if empty
	retry                           uint32 // after so many milliseconds; 0: it is not known
}

func (e *apiError) Error() string {
	if e.message != "" {
		return e.message
	}
	w := wire.Error{Text: e.text, Object: e.object, State: e.state, Next: e.next}
	return e.code + strings.TrimPrefix(w.Error(), wire.Code(0).String())
}

func (e *apiError) row() *web.Refusal {
	// A secret may have been given in the place of something else, and what is wrong with that names it.
	return &web.Refusal{Code: e.code, Object: hushed(e.object), Text: hushed(e.text), State: hushed(e.state), Next: hushed(e.next), Exit: int(e.exit), Message: hushed(e.Error())}
}

// errorBody is the answer to a request that was not carried out, or not as a whole.
type errorBody struct {
	Error  *web.Refusal    `json:"error"`
	Notes  []string        `json:"notes,omitempty"`  // what the command has said besides
	Plan   *planRow        `json:"plan,omitempty"`   // that nobody has agreed to
	Result json.RawMessage `json:"result,omitempty"` // of what was done
}

// exitStatuses are those for the errors that a command makes by itself, by the status that it ends with, and the codes
// that these have.
var exitStatuses = map[exitStatus]struct {
	status int
	code   string
}{
	exitRefused:      {http.StatusUnprocessableEntity, "refused"},
	exitUsage:        {http.StatusBadRequest, "bad-request"},
	exitNoEndpoint:   {http.StatusServiceUnavailable, "no-endpoint"},
	exitNotFound:     {http.StatusNotFound, "not-found"},
	exitConflict:     {http.StatusConflict, "conflict"},
	exitNoResult:     {http.StatusServiceUnavailable, "no-result"},
	exitNotPermitted: {http.StatusForbidden, "unauthorized"},
	exitPartly:       {http.StatusMultiStatus, "partly-done"},
	exitNotConfirmed: {http.StatusPreconditionRequired, "not-confirmed"},
}

// apiErrorOf is the error that a command has ended with, in the words of the request: a field is called as the request
// calls it, and not as an option is.
func (rt *apiRoute) apiErrorOf(err error) *apiError {
	if own := (*apiError)(nil); errors.As(err, &own) {
		return own
	}
	exit := statusOf(err)
	of := exitStatuses[exit]
	e := &apiError{status: of.status, code: of.code, object: rt.command, exit: exit}
	field := ""
	if e.text, field = rt.inFields(oneLine(err)); field != "" && exit == exitUsage {
		e.object = "field " + field
	}
	e.message = e.text
	switch remote := (*wire.Error)(nil); {
	case exit == exitPartly && isQuiet(err):
		e.text = "some of it is done, and some is not: the notes say why, the result has what is done"
		e.message = ""
	case exit == exitPartly:
	case errors.As(err, &remote):
		e.code, e.object, e.text, e.state, e.next = remote.Code.String(), remote.Object, remote.Text, remote.State, remote.Next
		e.retry = remote.RetryAfterMs
		if exit != exitUsage {
			e.status = web.Status(remote.Code)
		}
	case errors.Is(err, context.DeadlineExceeded):
		e.status, e.text = http.StatusGatewayTimeout, "no result in time: "+e.text
	}
	return e
}

// unknownUser is the error of a request whose user nobody knows, or whose node can't ask anybody.
func unknownUser(err error) *apiError {
	rt := &apiRoute{apiRow: apiRow{command: "request"}}
	e := rt.apiErrorOf(err)
	if isDenied(err) {
		e.status = http.StatusUnauthorized
	}
	return e
}

// isQuiet reports whether a command has said all there is to say, and ends with a status all the same.
func isQuiet(err error) bool { return errors.Is(err, errNothingToSay) }

// quietStatus is the status of HTTP of such a command: what it has printed says it, as that a cluster is not healthy.
// Of keys that are not there the status says it too.
func quietStatus(rt *apiRoute, exit exitStatus) int {
	if exit == exitNotFound {
		return http.StatusNotFound
	}
	return http.StatusOK
}

var optionWord = regexp.MustCompile(`--([a-z][a-z-]*)`)

// inFields words an error of a command line for a request: without the command's name, and with fields for options, of
// which it returns the first. What stands in quotes is somebody's, and stays.
func (rt *apiRoute) inFields(text string) (worded, first string) {
	text = strings.TrimPrefix(text, "muster "+rt.command+": ")
	var b strings.Builder
	for len(text) > 0 {
		i := strings.IndexByte(text, '"')
		if i < 0 {
			i = len(text)
		}
		b.WriteString(optionWord.ReplaceAllStringFunc(text[:i], func(word string) string {
			name := fieldName(word[2:])
			if word[2:] == rt.file.option {
				name = rt.file.name
			}
			if rt.field(name) >= 0 {
				first = cmp.Or(first, name)
				return name
			}
			return word
		}))
		if text = text[i:]; text == "" {
			break
		}
		quoted, err := strconv.QuotedPrefix(text)
		if err != nil {
			quoted = text
		}
		b.WriteString(quoted)
		text = text[len(quoted):]
	}
	return b.String(), first
}

// writeError answers with an error, and what else is in body.
func writeError(w http.ResponseWriter, err error, body *errorBody) {
	e := (*apiError)(nil)
	if !errors.As(err, &e) {
		if none := (*client.ErrNoEndpoint)(nil); !errors.As(err, &none) {
			err = withStatus(exitNoResult, "%w", err)
		}
		e = (&apiRoute{}).apiErrorOf(err)
	}
	if body == nil {
		body = new(errorBody)
	}
	body.Error = e.row()
	if e.retry > 0 {
		w.Header().Set("Retry-After", strconv.FormatUint(uint64(e.retry+999)/1000, 10))
	}
	_ = writeJSON(w, e.status, body) // the reader has gone
}

// writeJSON answers with a value.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	line, err := marshalLine(v)
	if err != nil {
		return err
	}
	writeLine(w, status, line)
	return nil
}

// writeLine answers with a value that is a line of JSON.
func writeLine(w http.ResponseWriter, status int, line []byte) {
	h := w.Header()
	h.Set("Content-Type", typeJSON)
	h.Set("Content-Length", strconv.Itoa(len(line)))
	w.WriteHeader(status)
	_, _ = w.Write(line) // the reader has gone
}

// errCrowded refuses a request for which there is no place.
var errCrowded = &apiError{status: http.StatusServiceUnavailable, code: "busy", object: "node", text: "as many requests are under way as there may be, of all or of one user", next: "try again in a second", exit: exitNoResult, retry: 1000}
