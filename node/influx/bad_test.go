package influx

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"muster/repl/memtest"
	"muster/shardmap/points/line"
	"muster/shardmap/points/rows"
)

// endless is a body without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '\n'
	}
	return len(p), nil
}

// broken is a body that ends with an error.
func broken(begin string, err error) io.Reader {
	return io.MultiReader(strings.NewReader(begin), &failing{err})
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

const formType = "application/x-www-form-urlencoded"

// A request that can't be understood must be refused with what is wrong with it, in the form that InfluxDB's clients
// read, and must not reach the store, whatever else of it is right.
func TestBadRequests(t *testing.T) {
	const point = "cpu v=1 1"
	whole := string(packed(t, point))
	for _, c := range []struct {
		request string // method, path and parameters
		fields  string // NAME: VALUE, separated by |
		body    any    // string, or io.Reader: of a length that is not told
		status  int
		error   string // how it begins
	}{
		{"POST /write", "", point, 400, "database is required"},
		{"POST /write?db=", "", point, 400, "database is required"},
		{"POST /write?rp=weather", "", point, 400, "database is required"},
		{"POST /write?db=weather&precision=x", "", point, 400, `invalid precision "x" (use n, u, ms, s, m or h)`},
		{"POST /write?db=weather&precision=MS", "", point, 400, `invalid precision "MS"`},
		{"POST /write?db=weather&consistency=most", "", point, 400, `invalid consistency level: "most"; want any, one, quorum or all`},
		{"POST /write?db=weather&db=%zz", "", point, 400, `parameters of the address: invalid URL escape "%zz"`},
		{"POST /write?db=weather;rp=autogen", "", point, 400, "parameters of the address: invalid semicolon"},
		{"POST /write?db=weather", "Content-Encoding: deflate", point, 415, `Content-Encoding "deflate" is not known; want gzip`},
		{"POST /write?db=weather", "Content-Encoding: gzip, gzip", point, 415, `Content-Encoding "gzip, gzip" is not known`},
		{"POST /write?db=weather", "Content-Encoding: gzip", point, 400, "body: gzip: unexpected EOF; want all of what gzip makes"},
		{"POST /write?db=weather", "Content-Encoding: gzip", "cpu,host=a v=1 1\n", 400, "body: gzip: invalid header"},
		{"POST /write?db=weather", "Content-Encoding: gzip", "", 400, "body: gzip: EOF"},
		{"POST /write?db=weather", "Content-Encoding: gzip", whole[:len(whole)-4], 400, "body: gzip: unexpected EOF"},
		{"POST /write?db=weather", "Content-Encoding: gzip", whole[:len(whole)-6] + "..." + whole[len(whole)-3:], 400, "body: gzip: invalid checksum"},
		{"POST /write?db=weather", "Content-Encoding: gzip", whole + "more", 400, "body: gzip: "},
		{"POST /write?db=weather", "", endless{}, 413, "Request Entity Too Large: batch too long: want at most 25165824 bytes"},
		{"POST /write?db=weather", "Content-Encoding: gzip", broken(whole[:12], io.ErrUnexpectedEOF), 400, "body: gzip: unexpected EOF"},
		{"POST /write?db=weather", "", broken(point, io.ErrUnexpectedEOF), 400, "body: unexpected EOF; want all of it"},
		{"POST /write?db=weather", "", broken(point, os.ErrDeadlineExceeded), 503, "the body did not arrive in time; send it again"},
		{"POST /write?db=weather", "Content-Encoding: gzip", broken(whole[:12], os.ErrDeadlineExceeded), 503, "the body did not arrive in time"},
		{"GET /write?db=weather", "", "", 405, "method not allowed: GET; want POST"},
		{"PUT /write?db=weather", "", point, 405, "method not allowed: PUT"},
		{"DELETE /query?q=x", "", "", 405, "method not allowed: DELETE; want GET or POST"},
		{"POST /ping", "", "", 405, "method not allowed: POST; want GET or HEAD"},
		{"POST /api/v2/write", "", point, 404, `bucket name "" is missing: want DATABASE or DATABASE/RETENTION-POLICY`},
		{"POST /api/v2/write?bucket=/autogen", "", point, 404, `bucket name "/autogen" is in db/rp form but has an empty database`},
		{"POST /api/v2/write?bucket=weather&precision=m", "", point, 400, `invalid precision "m" (use ns, us, ms or s)`},
		{"POST /api/v2/write?bucket=weather&precision=n", "", point, 400, `invalid precision "n"`},
		{"POST /api/v2/write?bucket=%", "", point, 400, "parameters of the address: "},
		{"POST /api/v2/query", "", "{}", 403, "Flux query service disabled"},
		{"POST /api/v2/delete?bucket=weather", "", "{}", 404, "page not found"},
		{"GET /writes", "", "", 404, "page not found"},
		{"GET /query", "", "", 400, `missing required parameter "q"`},
		{"GET /query?q=%20", "", "", 400, `missing required parameter "q"`},
		{"GET /query", "Content-Type: " + formType, "q=SHOW+measurements", 400, `missing required parameter "q"`},
		{"POST /query", "Content-Type: application/json", `{"q":"SHOW measurements"}`, 400, `missing required parameter "q"`},
		{"POST /query", "Content-Type: a;b;c", "q=SHOW+measurements", 400, `Content-Type "a;b;c": mime: invalid media parameter; want ` + formType},
		{"GET /query?q=%zz", "", "", 400, "parameters of the address: "},
		{"POST /query", "Content-Type: " + formType, "q=%zz", 400, `form: invalid URL escape "%zz"`},
		{"POST /query", "Content-Type: " + formType, strings.Repeat("x", FormMax+1), 413, "form: Request Entity Too Large: want at most 524288 bytes"},
		{"POST /query", "Content-Type: " + formType, endless{}, 413, "form: Request Entity Too Large"},
		{"POST /query", "Content-Type: application/vnd.influxql", endless{}, 413, "form: Request Entity Too Large"},
		{"POST /query", "Content-Type: " + formType, broken("q=SHOW", io.ErrUnexpectedEOF), 400, "form: unexpected EOF"},
		{"POST /query", "Content-Type: " + formType, broken("q=SHOW", os.ErrDeadlineExceeded), 503, "the form did not arrive in time"},
		{"POST /query", "Content-Type: multipart/form-data", "q=SHOW", 400, "form: "},
		{"POST /query", "Content-Type: multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=q\r\n\r\nSHOW", 400, "form: unexpected EOF"},
		{"POST /query", "Content-Type: multipart/form-data; boundary=x", io.MultiReader(strings.NewReader("--x\r\nContent-Disposition: form-data; name=q\r\n\r\n"), endless{}), 413, "form: Request Entity Too Large"},
		{"POST /query", "Content-Type: multipart/form-data; boundary=x", strings.Repeat("--x\r\n\r\n\r\n", partsMax+1) + "--x--", 413, "form: more than 32 parts"},
		{"GET /query?q=SHOW+measurements&async=true", "", "", 400, "parameter async: it is not served"},
		{`GET /query?q=SHOW+measurements&params={"h":`, "", "", 400, "error parsing query parameters: unexpected EOF; want a JSON object"},
		{`GET /query?q=SHOW+measurements&params=[1]`, "", "", 400, "error parsing query parameters: json: cannot unmarshal array"},
		{`GET /query?q=SHOW+measurements&params={}{}`, "", "", 400, "error parsing query parameters: there is more behind the object"},
		{`GET /query?q=SHOW+measurements&params={"h":1e400}`, "", "", 400, `error parsing json value: parameter "h": "1e400" is too large`},
		{`GET /query?q=SHOW+measurements&params={"h":9223372036854775808}`, "", "", 400, `error parsing json value: parameter "h": "9223372036854775808" is too large`},
		{`GET /query?q=SHOW+measurements&params={"h":[{"n":1e400}]}`, "", "", 400, `error parsing json value: parameter "h": "1e400" is too large`},
		{`GET /query?q=SHOW+measurements&params={"h":` + strings.Repeat("[", paramsMax+1) + strings.Repeat("]", paramsMax+1) + `}`, "", "", 400, `error parsing json value: parameter "h": nested deeper than 8`},
	} {
		m := expecting()
		w := ask(t, handler(t, m), c.request, c.fields, c.body)
		if w.Code != c.status || !strings.HasPrefix(w.Body.String(), `{"error":"`+strings.ReplaceAll(c.error, `"`, `\"`)) {
			t.Errorf("%.80s, %s: got %d %s, want %d %s", c.request, c.fields, w.Code, w.Body, c.status, c.error)
		}
		if !strings.HasPrefix(w.Header().Get("X-Influxdb-Error"), c.error) || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%.80s: got fields %v", c.request, w.Header())
		}
		if n := m.handed(); n != 0 {
			t.Errorf("%.80s, %s: the store was handed it", c.request, c.fields)
		}
	}
}

// ask has a handler answer a request.
func ask(t testing.TB, h http.Handler, request, fields string, body any) *httptest.ResponseRecorder {
	t.Helper()
	method, target, _ := strings.Cut(request, " ")
	var in io.Reader
	switch b := body.(type) {
	case string:
		in = strings.NewReader(b)
	case io.Reader:
		in = struct{ io.Reader }{b}
	}
	q := httptest.NewRequest(method, strings.NewReplacer("{", "%7B", "}", "%7D", `"`, "%22", "[", "%5B", "]", "%5D").Replace(target), in)
	for f := range strings.SplitSeq(fields, "|") {
		if name, value, ok := strings.Cut(f, ": "); ok {
			q.Header.Set(name, value)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, q)
	return w
}

// bomb is a text of some bytes, packed into a thousandth.
func bomb(t testing.TB, size int64) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.CopyN(z, endless{}, size); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A packed text that unpacks to more than a text may have must be refused when that much is unpacked, and not when the
// memory of the host is full. The largest text must be read, packed or not, told how long it is or not.
func TestLargestText(t *testing.T) {
	for _, c := range []struct {
		size   int64
		packed bool
		told   bool
		status int
	}{
		{line.TextMax, false, true, 204}, {line.TextMax, false, false, 204}, {line.TextMax, true, true, 204}, {line.TextMax, true, false, 204},
		{line.TextMax + 1, false, true, 413}, {line.TextMax + 1, false, false, 413}, {line.TextMax + 1, true, true, 413}, {8 * line.TextMax, true, true, 413},
	} {
		m := new(discards)
		h := handler(t, m)
		fields, whole := "", ""
		switch {
		case c.packed:
			fields, whole = "Content-Encoding: gzip", string(bomb(t, c.size))
		case c.told:
			whole = strings.Repeat("\n", int(c.size))
		}
		body := func() any {
			switch {
			case c.told:
				return whole
			case c.packed:
				return io.MultiReader(strings.NewReader(whole))
			}
			return io.LimitReader(endless{}, c.size)
		}
		runs := 0
		var w *httptest.ResponseRecorder
		took := memtest.Allocated(func() { runs++; w = ask(t, h, "POST /write?db=weather", fields, body()) })
		want := 0
		if c.status == http.StatusNoContent {
			want = runs
		}
		if w.Code != c.status || m.texts != want {
			t.Errorf("%+v: got %d %.100s, %d of %d handed to the store", c, w.Code, w.Body, m.texts, want)
		}
		// Room doubles until the last byte, so that in all it is not quite twice the largest and twice the one before.
		if most := 3 * line.TextMax; took > most {
			t.Errorf("%+v: %d bytes were allocated, want at most %d", c, took, most)
		}
		if left := h.texts.now.Load(); left != 0 {
			t.Errorf("%+v: room for %d bytes is not given back", c, left)
		}
	}
}

// Texts that arrive at once must have room within a bound, whatever their senders say of their length; one that finds none
// is told to come again, by a status after which nothing is dropped.
func TestTextsAtOnce(t *testing.T) {
	m := newMemory()
	h := New(Config{Open: func(*http.Request) (Store, error) { return m, nil }, TextsMax: 256 << 10})
	for _, c := range []struct {
		taken  int64 // by others
		body   any
		status int
	}{
		{0, strings.Repeat("\n", 256<<10), 204},
		{1, strings.Repeat("\n", 256<<10), 503},
		{0, strings.Repeat("\n", 256<<10+1), 503},
		{192 << 10, strings.NewReader("\n"), 204}, // room for 64 KiB
		{192<<10 + 1, strings.NewReader("\n"), 503},
		{64 << 10, strings.NewReader(strings.Repeat("\n", 64<<10)), 204}, // it does not know yet that nothing follows
		{64<<10 + 1, strings.NewReader(strings.Repeat("\n", 64<<10)), 503},
		{256 << 10, "", 204}, // it takes none
	} {
		h.texts.now.Store(c.taken)
		before := m.handed()
		w := ask(t, h, "POST /write?db=weather", "", c.body)
		if w.Code != c.status {
			t.Errorf("%d bytes taken: got %d %s, want %d", c.taken, w.Code, w.Body, c.status)
		}
		if w.Code == 503 && (w.Header().Get("Retry-After") != "1" || m.handed() != before) {
			t.Errorf("%d bytes taken: got %v, %d handed to the store", c.taken, w.Header(), m.handed()-before)
		}
		if left := h.texts.now.Load(); left != c.taken {
			t.Errorf("%d bytes taken: %d afterwards", c.taken, left)
		}
	}
}

// discards is a store that takes all, and answers each query with an empty result. It is for one goroutine.
type discards struct{ texts int }

func (d *discards) Write(context.Context, *WriteRequest) (Written, error) {
	d.texts++
	return Written{}, nil
}

func (d *discards) Query(_ context.Context, _ *QueryRequest, yield func(rows.Result) bool) error {
	yield(rows.Result{})
	return nil
}

// The cost of a text must follow from what arrives, and not from what its sender says will: a request over plain HTTP is
// bounded by the node's door before.
func FuzzRequests(f *testing.F) {
	for _, s := range []string{
		"POST|/write?db=weather||cpu v=1 1", "POST|/write?db=weather|gzip|" + string(packed(f, "cpu v=1 1")), "GET|/query?q=SELECT||",
		"POST|/query|" + formType + "|q=SHOW+measurements&epoch=ms&chunked=true&chunk_size=1",
		"POST|/query|multipart/form-data; boundary=x|--x\r\nContent-Disposition: form-data; name=q\r\n\r\nSHOW measurements\r\n--x--",
		`POST|/query?q=SHOW+measurements|` + formType + `|params={"a":[1,{"b":1.5}],"c":null}`,
		"POST|/api/v2/write?bucket=weather%2Fautogen&precision=us||cpu v=1 1",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		parts := strings.SplitN(string(in), "|", 4)
		if len(parts) != 4 || parts[0] != "GET" && parts[0] != "POST" {
			return
		}
		u, err := new(url.URL).Parse(parts[1])
		if err != nil {
			return
		}
		h := handler(t, new(discards))
		var w *httptest.ResponseRecorder
		took := memtest.Allocated(func() {
			q := httptest.NewRequest(parts[0], "/", strings.NewReader(parts[3]))
			q.URL = u
			for _, name := range []string{"Content-Type", "Content-Encoding", "Accept", "X-Request-Id"} {
				q.Header.Set(name, parts[2])
			}
			w = httptest.NewRecorder()
			h.ServeHTTP(w, q)
		})
		// The room for a text of an unknown length begins with 64 KiB. gzip has as much of its own, and unpacks to a
		// thousand times what it is given; room for that doubles.
		most := 64*len(in) + textBegin + 32<<10
		if strings.Contains(strings.ToLower(parts[2]), "gzip") {
			most = 4096*len(in) + 256<<10
		}
		if took > most {
			t.Errorf("%d bytes were allocated for %d, want at most %d", took, len(in), most)
		}
		if w.Code >= 400 && !strings.Contains(w.Body.String(), "error") {
			t.Errorf("got %d %q", w.Code, w.Body)
		}
		if id := w.Header().Get("X-Request-Id"); id == "" || len(id) > requestMax {
			t.Errorf("the answer is to request %q", id)
		}
	})
}
