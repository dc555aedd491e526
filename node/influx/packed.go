package influx

import (
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// takesGzip reports whether a client takes a packed answer.
func takesGzip(r *http.Request) bool {
	for _, f := range r.Header["Accept-Encoding"] {
		for part := range strings.SplitSeq(f, ",") {
			name, params, _ := strings.Cut(part, ";")
			if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
				continue
			}
			weight, given := strings.CutPrefix(strings.TrimSpace(params), "q=")
			q, err := strconv.ParseFloat(weight, 64)
			return !given || err == nil && q > 0
		}
	}
	return false
}

// packing packs an answer. It holds nothing between two writes, each of which is packed by itself: a query that goes on for
// minutes would keep a megabyte otherwise. Answers come in pieces of some 32 KiB, so that it costs little of what could be
// saved.
type packing struct{ *gzip.Writer }

func newPacking(w io.Writer) packing {
	z, err := gzip.NewWriterLevel(w, gzip.StatelessCompression)
	if err != nil {
		panic("influx: a level that there is: " + err.Error())
	}
	return packing{z}
}
