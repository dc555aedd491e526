package web

import (
	"encoding/json"
	"net/http"
	"strconv"

	"muster/repl/wire"
)

// Refusal is how an error looks in JSON, below "error". All fields are there, though some may be empty.
type Refusal struct {
	Code    string `json:"code"`
	Object  string `json:"object"`
	Text    string `json:"text"`
	State   string `json:"state"`
	Next    string `json:"next"`
	Exit    int    `json:"exit"`    // status with which the command line ends
	Message string `json:"message"` // all of it in one line
}

// RefusalOf is an error as JSON shows it.
func RefusalOf(e *wire.Error) Refusal {
	return Refusal{e.Code.String(), e.Object, e.Text, e.State, e.Next, e.Code.ExitStatus(), e.Error()}
}

// statuses are those of HTTP for the codes of the wire.
var statuses = map[wire.Code]int{
	wire.CodeBadRequest:   http.StatusBadRequest,
	wire.CodeTooLarge:     http.StatusRequestEntityTooLarge,
	wire.CodeNotFound:     http.StatusNotFound,
	wire.CodeConflict:     http.StatusConflict,
	wire.CodeNotLeader:    http.StatusServiceUnavailable,
	wire.CodeMoved:        http.StatusServiceUnavailable,
	wire.CodeBusy:         http.StatusServiceUnavailable,
	wire.CodeUnavailable:  http.StatusServiceUnavailable,
	wire.CodeMaybeApplied: http.StatusGatewayTimeout,
	wire.CodeUnauthorized: http.StatusForbidden,
	wire.CodeWrongCluster: http.StatusBadGateway,
	wire.CodeWrongVersion: http.StatusBadGateway,
	wire.CodeDamaged:      http.StatusInternalServerError,
	wire.CodeStaleSession: http.StatusGatewayTimeout,
	wire.CodeUnknownNode:  http.StatusBadGateway,
	wire.CodeLevel:        http.StatusConflict,
	wire.CodeNotReady:     http.StatusServiceUnavailable,
	wire.CodeFull:         http.StatusInsufficientStorage,
	wire.CodeRemoved:      http.StatusGone,
	wire.CodeOverLimit:    http.StatusTooManyRequests,
}

// Status is the status of HTTP for a code: 403 for unauthorized. The caller answers 401 instead where the request does
// not say who makes it.
func Status(c wire.Code) int {
	if s, ok := statuses[c]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// WriteError answers with an error, in JSON.
func WriteError(w http.ResponseWriter, e *wire.Error) { writeError(w, Status(e.Code), e) }

func writeError(w http.ResponseWriter, status int, e *wire.Error) {
	if e.RetryAfterMs > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(e.RetryAfterMs+999)/1000))
	}
	writeJSON(w, status, map[string]Refusal{"error": RefusalOf(e)})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("web: an answer that has no JSON: " + err.Error())
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the other side has gone
}
