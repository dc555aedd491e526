package influx

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"

	"muster/shardmap/points/rows"
)

// query serves /query.
func (h *Handler) query(w http.ResponseWriter, r *http.Request) {
	f := formatOf(r)
	q, a, err := h.queryOf(w, r)
	var store Store
	if err == nil {
		store, err = h.config.Open(r)
	}
	if err != nil {
		refusalOf(err).write(w, f)
		return
	}
	a.ctx, a.w, a.format, a.packs = r.Context(), w, f, takesGzip(r)
	err = store.Query(r.Context(), q, a.yield)
	if err != nil && !a.begun {
		refusalOf(err).write(w, f)
		return
	}
	a.end(err)
}

// queryOf reads what a query asks for, and how its answer is to be written.
func (h *Handler) queryOf(w http.ResponseWriter, r *http.Request) (*QueryRequest, *answer, error) {
	v, err := formOf(w, r)
	if err != nil {
		return nil, nil, err
	}
	q := &QueryRequest{Database: v.Get("db"), Policy: v.Get("rp"), Text: strings.TrimSpace(v.Get("q")), ReadOnly: r.Method == http.MethodGet}
	switch {
	case q.Text == "":
		return nil, nil, badRequest(`missing required parameter "q": want InfluxQL in it, in the address or in a form`)
	case v.Get("async") == "true":
		return nil, nil, badRequest("parameter async: it is not served; leave it out, and the answer comes when the query is done")
	}
	if q.Params, err = paramsOf(v.Get("params")); err != nil {
		return nil, nil, err
	}
	a := &answer{epoch: rows.EpochOf(strings.TrimSpace(v.Get("epoch"))), chunked: v.Get("chunked") == "true"}
	if a.chunked {
		q.ChunkRows = rows.ChunkRows
		if n, err := strconv.Atoi(v.Get("chunk_size")); err == nil && n > 0 {
			q.ChunkRows = n
		}
	}
	return q, a, nil
}

// answer writes the results of a query as they come.
type answer struct {
	// Set once.
	epoch   rows.Epoch
	chunked bool
	ctx     context.Context // of the request
	w       http.ResponseWriter
	format  format
	packs   bool // the client takes it packed

	packed packing // where it does
	out    writer
	begun  bool        // a result was there
	last   rows.Result // without its series
	gone   bool        // nobody reads any more
}

// yield writes a result. It reports false if nobody reads it.
func (a *answer) yield(r rows.Result) bool {
	if !a.begun {
		a.begin()
	}
	a.last = r
	a.last.Series = nil
	if a.gone = a.gone || a.ctx.Err() != nil || a.out.Write(r) != nil; a.gone {
		return false
	}
	if a.chunked {
		// An error comes again with the next result.
		if a.packs {
			_ = a.packed.Flush()
		}
		_ = http.NewResponseController(a.w).Flush()
	}
	return true
}

// begin writes the head of the answer.
func (a *answer) begin() {
	a.begun = true
	h := a.w.Header()
	h.Set("Content-Type", a.format.contentType())
	h.Add("Vary", "Accept-Encoding")
	to := io.Writer(a.w)
	if a.packs {
		h.Set("Content-Encoding", "gzip")
		a.packed = newPacking(a.w)
		to = a.packed
	}
	a.w.WriteHeader(http.StatusOK)
	a.out = a.format.writer(to, a.epoch, a.chunked)
}

// end ends the answer; err is why it ends early. If not all of it could be written the connection ends with it, so that
// nobody takes what there is for an answer.
func (a *answer) end(err error) {
	if !a.begun {
		a.begin()
	}
	if err != nil && !a.gone {
		r := rows.Result{Statement: a.last.Statement, Err: err}
		if !a.last.Partial || a.last.Err != nil {
			r.Statement++
		}
		a.yield(r)
	}
	if a.gone {
		panic(http.ErrAbortHandler)
	}
	// An error says that the other side has gone.
	_ = a.out.Close()
	if a.packs {
		_ = a.packed.Close()
	}
}
