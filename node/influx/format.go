package influx

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"muster/shardmap/points/rows"
)

// format is how an answer is written.
type format struct {
	csv    string // its media type; "": JSON
	layout rows.Layout
}

// mediaTypes are those that can be written, the preferred one first.
var mediaTypes = []string{jsonType, "application/csv", "text/csv"}

const jsonType = "application/json"

// formatOf returns the format that a request asks for by Accept and the parameter pretty. JSON is for those who ask for
// nothing that there is.
func formatOf(r *http.Request) (f format) {
	if r.URL.Query().Get("pretty") == "true" {
		f.layout = rows.Pretty
	}
	for _, a := range accepted(r.Header["Accept"]) {
		for _, t := range mediaTypes {
			if !matches(a, t) {
				continue
			}
			if t != jsonType {
				f.csv = t
			}
			return f
		}
	}
	return f
}

// acceptMax bounds how many media types of a request are looked at.
const acceptMax = 32

// accepted returns the media types of Accept fields, the most wanted one first.
func accepted(fields []string) []string {
	type wanted struct {
		media string
		q     float64
	}
	var all []wanted
	for _, f := range fields {
		for part := range strings.SplitSeq(f, ",") {
			media, params, err := mime.ParseMediaType(part)
			if err != nil || len(all) == acceptMax {
				continue
			}
			q := 1.0
			if text, ok := params["q"]; ok {
				q, _ = strconv.ParseFloat(text, 64) // 0 for what is no number
			}
			all = append(all, wanted{media, q})
		}
	}
	slices.SortStableFunc(all, func(a, b wanted) int {
		switch {
		case a.q > b.q:
			return -1
		case a.q < b.q:
			return 1
		}
		return 0
	})
	var media []string
	for _, w := range all {
		media = append(media, w.media)
	}
	return media
}

// matches reports whether a media type is one of those that a pattern stands for: a/b, a/* or */*.
func matches(pattern, media string) bool {
	if pattern == "*" || pattern == "*/*" {
		return true
	}
	prefix, ok := strings.CutSuffix(pattern, "/*")
	return pattern == media || ok && strings.HasPrefix(media, prefix+"/")
}

func (f format) contentType() string {
	if f.csv != "" {
		return f.csv
	}
	return jsonType
}

// error returns the body of an answer that is an error.
func (f format) error(text string) []byte {
	var b bytes.Buffer
	if f.csv != "" {
		w := csv.NewWriter(&b)
		_ = w.WriteAll([][]string{{"error"}, {text}}) // a buffer takes all
		return b.Bytes()
	}
	w := json.NewEncoder(&b)
	if f.layout == rows.Pretty {
		w.SetIndent("", "    ")
	}
	_ = w.Encode(map[string]string{"error": text}) // of a buffer and a string
	return b.Bytes()
}

// writer writes the results of one answer.
type writer interface {
	Write(rows.Result) error
	Close() error
}

// writer returns a writer of one answer.
func (f format) writer(w io.Writer, epoch rows.Epoch, chunked bool) writer {
	switch {
	case f.csv != "":
		return rows.NewCSV(w, epoch)
	case chunked:
		return rows.NewChunkedJSON(w, f.layout, epoch)
	}
	return rows.NewJSON(w, f.layout, epoch)
}
