// Package ui serves the page from which people operate a cluster.
//
// It is files, and knows nothing of clusters: what the page shows and does it asks of
// the HTTP API, as any program may. It takes no requests but GET and HEAD, keeps no
// state, and asks nobody.
//
// The page is plain ES modules, embedded as they stand in the directory page: there is
// no build step. Start with page/main.js, which lists the screens; page/api.js is how
// the page speaks to nodes, and outlives the one that served it; page/vendor has what
// others wrote, unchanged, each with its licence.
package ui

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed page
var files embed.FS

// Prefix is where the page is served.
const Prefix = "/ui/"

// index is the document of every screen: which one is shown its own code decides, by
// the path.
const index = "index.html"

// file is one file of the page, with all that an answer needs made ahead.
type file struct {
	kind   string // its media type
	tag    string // its ETag without the quotes: a sum of its bytes
	plain  []byte
	packed []byte // plain compressed with gzip
}

// Handler serves the page below [Prefix]. A path there that names no file is one of the
// page's own screens, and gets the document that every screen has; one with a dot in its
// last part is answered 404.
//
// The door in front, package web, tells browsers what the page may do: run these files, ask
// members, and nothing else.
func Handler() http.Handler {
	all := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "the page takes GET and HEAD; changes go to /api/v1/", http.StatusMethodNotAllowed)
			return
		}
		name := strings.TrimPrefix(r.URL.Path, Prefix)
		f := all[name]
		if f == nil {
			if strings.Contains(name[strings.LastIndex(name, "/")+1:], ".") {
				http.Error(w, fmt.Sprintf("the page has no file %q", name), http.StatusNotFound)
				return
			}
			f = all[index]
		}
		f.serve(w, r)
	})
}

// serve answers with f, compressed where the client takes that. The file is asked for
// again each time, which costs a 304: so a node that was upgraded serves no mixture of
// two pages.
func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Cache-Control", "no-cache")
	h.Set("Vary", "Accept-Encoding")
	body, tag := f.plain, `"`+f.tag+`"`
	if takesGzip(r) {
		body, tag = f.packed, `"`+f.tag+`-gzip"`
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", tag)
	if matches(r.Header.Get("If-None-Match"), tag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		w.Write(body) // an error is the client's, that has gone
	}
}

// takesGzip reports whether a client accepts gzip. One that names it with a weight of 0
// does not.
func takesGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.TrimSpace(name) != "gzip" {
			continue
		}
		q, ok := strings.CutPrefix(strings.TrimSpace(weight), "q=")
		n, err := strconv.ParseFloat(q, 64)
		return !ok || err != nil || n > 0
	}
	return false
}

// matches reports whether an If-None-Match header names tag.
func matches(header, tag string) bool {
	for part := range strings.SplitSeq(header, ",") {
		if part = strings.TrimSpace(part); part == "*" || strings.TrimPrefix(part, "W/") == tag {
			return true
		}
	}
	return false
}

// load reads all files and compresses them once.
func load() map[string]*file {
	all := map[string]*file{}
	err := fs.WalkDir(files, "page", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		plain, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		plain = spoiled(name, plain)
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			return err
		}
		if _, err := z.Write(plain); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		sum := sha256.Sum256(plain)
		all[strings.TrimPrefix(name, "page/")] = &file{
			kind: kindOf(name), tag: hex.EncodeToString(sum[:8]), plain: plain, packed: packed.Bytes(),
		}
		return nil
	})
	if err != nil {
		panic(fmt.Sprintf("ui: the embedded page can't be read: %v", err)) // only a binary that is damaged
	}
	return all
}

// kindOf is the media type of a file of the page. The few that there are stand here: the
// table of the host, which package mime reads, may say something else.
func kindOf(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "text/plain; charset=utf-8"
}
