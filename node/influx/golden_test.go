package influx

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// exchange is a request as a client sends it, with InfluxDB's answer, and ours if it is another one.
type exchange struct {
	line       int
	request    message
	answer     message
	ours       message
	oursDiffer bool
}

// message is a request or an answer: the first line, fields, and the body.
type message struct {
	first  string
	fields [][2]string
	body   string
}

// messageOf reads lines, without their marks.
func messageOf(lines []string) (m message) {
	m.first = lines[0]
	for i, l := range lines[1:] {
		if l == "" {
			m.body = strings.Join(lines[i+2:], "\n")
			break
		}
		name, value, _ := strings.Cut(l, ":")
		m.fields = append(m.fields, [2]string{name, strings.TrimSpace(value)})
	}
	return m
}

// exchangesOf reads a file of testdata.
func exchangesOf(t *testing.T, name string) (all []exchange) {
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at := 1
	for part := range strings.SplitSeq(string(b), "\n\n") {
		parts := map[byte][]string{}
		for l := range strings.SplitSeq(strings.TrimSpace(part), "\n") {
			if l != "" {
				parts[l[0]] = append(parts[l[0]], strings.TrimPrefix(l[1:], " "))
			}
		}
		if parts['>'] != nil {
			if parts['<'] == nil {
				t.Fatalf("%s:%d: a request without an answer", name, at)
			}
			x := exchange{line: at, request: messageOf(parts['>']), answer: messageOf(parts['<'])}
			if parts['='] != nil {
				x.ours, x.oursDiffer = messageOf(parts['=']), true
			}
			all = append(all, x)
		}
		at += strings.Count(part, "\n") + 2
	}
	return all
}

// send sends a request whose body is packed if it says so.
func (m message) send(t *testing.T, h http.Handler) *httptest.ResponseRecorder {
	t.Helper()
	method, target, _ := strings.Cut(m.first, " ")
	body := io.Reader(strings.NewReader(m.body))
	fields := http.Header{}
	for _, f := range m.fields {
		fields.Set(f[0], f[1])
	}
	if fields.Get("Content-Encoding") == "gzip" {
		body = struct{ io.Reader }{bytes.NewReader(packed(t, m.body))} // of no length
	}
	q := httptest.NewRequest(method, target, body)
	q.Header = fields
	w := httptest.NewRecorder()
	h.ServeHTTP(w, q)
	unpack(t, w)
	return w
}

// unpack unpacks an answer, as clients do.
func unpack(t testing.TB, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Header().Get("Content-Encoding") != "gzip" {
		return
	}
	z, err := gzip.NewReader(bytes.NewReader(w.Body.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	w.Body = bytes.NewBuffer(text)
}

// packed packs a text.
func packed(t testing.TB, text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Clients that are in use must work unchanged: each gets, to what it was recorded to send, the answer that it was
// recorded to get, byte by byte. Where ours is another one, the file has both.
func TestRecordedClients(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(names) != 4 {
		t.Fatalf("recorded clients: %v, %v; want 4", names, err)
	}
	for _, name := range names {
		m := expecting()
		h := handler(t, m)
		for _, x := range exchangesOf(t, name) {
			want := x.answer
			if x.oursDiffer {
				want = x.ours
			}
			w := x.request.send(t, h)
			if strconv.Itoa(w.Code) != want.first || strings.TrimSuffix(w.Body.String(), "\n") != want.body {
				t.Errorf("%s:%d: %s: got %d %s\nwant %s %s", name, x.line, x.request.first, w.Code, w.Body, want.first, want.body)
			}
			for _, f := range want.fields {
				if got := w.Header().Get(f[0]); got != f[1] {
					t.Errorf("%s:%d: %s: %s is %q, want %q", name, x.line, x.request.first, f[0], got, f[1])
				}
			}
			if x.oursDiffer && x.ours.first == x.answer.first && x.ours.body == x.answer.body {
				t.Errorf("%s:%d: ours is InfluxDB's: strike it out", name, x.line)
			}
		}
	}
}
