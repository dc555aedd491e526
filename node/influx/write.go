package influx

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"muster/repl/client/pointwriter"
	"muster/shardmap/points"
	"muster/shardmap/points/line"
)

// writeV1 serves /write.
func (h *Handler) writeV1(w http.ResponseWriter, r *http.Request) {
	v, err := addressOf(r)
	if err != nil {
		refusalOf(err).write(w, formatOf(r))
		return
	}
	q := WriteRequest{Database: v.Get("db"), Policy: v.Get("rp")}
	if q.Database == "" {
		err = badRequest("database is required: want the parameter db")
	}
	if p := v.Get("precision"); err == nil {
		if q.Precision, err = line.ParsePrecision(p); err != nil {
			err = badPrecision(p, "n, u, ms, s, m or h")
		}
	}
	h.write(w, r, v, &q, err)
}

// writeV2 serves /api/v2/write, whose buckets are database and retention policy. Its organizations mean nothing here.
func (h *Handler) writeV2(w http.ResponseWriter, r *http.Request) {
	v, err := addressOf(r)
	if err != nil {
		refusalOf(err).write(w, formatOf(r))
		return
	}
	var q WriteRequest
	bucket, precision := v.Get("bucket"), v.Get("precision")
	q.Database, q.Policy, _ = strings.Cut(bucket, "/")
	switch {
	case bucket == "":
		err = &Error{Reason: NoDatabase, Text: `bucket name "" is missing: want DATABASE or DATABASE/RETENTION-POLICY`}
	case q.Database == "":
		err = &Error{Reason: NoDatabase, Text: fmt.Sprintf("bucket name %q is in db/rp form but has an empty database: want DATABASE or DATABASE/RETENTION-POLICY", bucket)}
	}
	if err == nil && precision != "" && !slices.Contains(precisionsV2, precision) {
		err = badPrecision(precision, "ns, us, ms or s")
	}
	if err == nil {
		q.Precision, err = line.ParsePrecision(precision)
	}
	h.write(w, r, v, &q, err)
}

// precisionsV2 are the words of InfluxDB 2.
var precisionsV2 = []string{"ns", "us", "ms", "s"}

func badPrecision(name, want string) error {
	return badRequest("invalid precision %q (use %s)", name, want)
}

// addressOf returns the parameters in the address of a request.
func addressOf(r *http.Request) (url.Values, error) {
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("parameters of the address: %v; want NAME=VALUE, with & between them and %%XX for what is no letter or digit", err)
	}
	return v, nil
}

// consistencyOf reads a consistency.
func consistencyOf(name string) (Consistency, error) {
	l, err := pointwriter.ParseLevel(name)
	if err != nil {
		return 0, badRequest("invalid consistency level: %q; want any, one, quorum or all", name)
	}
	return l, nil
}

// write hands a text to the store. wrong is what is wrong with the request so far.
func (h *Handler) write(w http.ResponseWriter, r *http.Request, v url.Values, q *WriteRequest, wrong error) {
	f := formatOf(r)
	if wrong == nil {
		q.Consistency, wrong = consistencyOf(v.Get("consistency"))
	}
	var store Store
	if wrong == nil {
		store, wrong = h.config.Open(r)
	}
	if wrong != nil {
		refusalOfWrite(wrong).write(w, f)
		return
	}
	text, err := h.texts.read(w, r)
	defer h.texts.give(text)
	if err != nil {
		refusalOfWrite(err).write(w, f)
		return
	}
	q.Text, q.Now = text, h.config.Now().UnixNano()
	got, err := store.Write(r.Context(), q)
	if err != nil {
		refusalOfWrite(err).write(w, f)
		return
	}
	got.write(w, f)
}

// fieldWritten counts what became of a write, in the head of its answer: a client of InfluxDB does not look at it, and
// the answer to a good write has nothing else.
const fieldWritten = "X-Muster-Written"

// write answers a write.
func (a *Written) write(w http.ResponseWriter, f format) {
	w.Header().Set(fieldWritten, fmt.Sprintf("stored=%d, hinted=%d, dropped=%d, failed=%d, refused=%d",
		a.Stored, a.Hinted, a.dropped(), a.Failed, a.Lines.Refused))
	switch {
	case a.Failed > 0:
		// Refused lines are told when the rest has been stored: with their words, clients would drop all of it.
		refusal{status: http.StatusServiceUnavailable, after: retryAfter,
			text: fmt.Sprintf("write failed: %d of %d points: %s; send all of it again: what is stored already stays the same", a.Failed, a.Lines.Points, a.Why)}.mendable().write(w, f)
	case a.Lines.Refused > 0 || len(a.Dropped) > 0:
		refusal{status: http.StatusBadRequest, text: a.partial()}.write(w, f)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// dropped returns how many points were dropped.
func (a *Written) dropped() (n int) {
	for _, d := range a.Dropped {
		n += d.Points
	}
	return n
}

// partial says which points and lines were left out, as InfluxDB does:
//
//	partial write: field type conflict: EXAMPLE; 3 points kept, 1 lines refused: line 7: missing fields dropped=2
//
// A text in which no line is good is no partial write.
func (a *Written) partial() string {
	const begin = "partial write: "
	var parts []string
	for _, d := range a.Dropped {
		part := d.Reason.String()
		if len(a.Dropped) > 1 {
			part += fmt.Sprintf(" (%d points)", d.Points)
		}
		if d.Example != "" {
			part += ": " + d.Example
		}
		parts = append(parts, part)
	}
	if err := a.Lines.Err(); err != nil {
		parts = append(parts, strings.TrimPrefix(err.Error(), begin))
	}
	text := strings.Join(parts, "; ")
	if a.Lines.Points == 0 {
		return text
	}
	return fmt.Sprintf("%s%s dropped=%d", begin, text, a.dropped())
}

// textTooLarge refuses a text that is longer than what is read.
func textTooLarge() *Error {
	return &Error{Reason: OverLimit, Text: fmt.Sprintf("%s: %v: want at most %d bytes, unpacked; nothing of it was taken, split it",
		http.StatusText(http.StatusRequestEntityTooLarge), points.BatchTooLong, line.TextMax)}
}
