package influx

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"muster/shardmap/points/rows"
)

// All that a query asks for must reach the store, whichever way it comes: in the address, in a form, as a file; values
// in the body override those of the address, as in InfluxDB.
func TestQueryRequests(t *testing.T) {
	const parts = "multipart/form-data; boundary=x"
	part := func(name, value string) string {
		return "--x\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
	}
	for _, c := range []struct {
		request, media, body string
		want                 QueryRequest
	}{
		{"GET /query?q=SHOW+measurements&db=weather&rp=autogen&epoch=s", "", "", QueryRequest{Database: "weather", Policy: "autogen", ReadOnly: true}},
		{"GET /query?q=%20SHOW+measurements%0A", "", "", QueryRequest{ReadOnly: true}},
		{"GET /query?q=SHOW+measurements&chunk_size=7", "", "", QueryRequest{ReadOnly: true}},
		{"GET /query?q=SHOW+measurements&chunked=true&chunk_size=7", "", "", QueryRequest{ChunkRows: 7, ReadOnly: true}},
		{"GET /query?q=SHOW+measurements&chunked=true&chunk_size=-7", "", "", QueryRequest{ChunkRows: rows.ChunkRows, ReadOnly: true}},
		{"GET /query?q=SHOW+measurements&chunked=true&chunk_size=x", "", "", QueryRequest{ChunkRows: rows.ChunkRows, ReadOnly: true}},
		{"POST /query?q=SHOW+measurements&db=weather", "", "", QueryRequest{Database: "weather"}},
		{"POST /query?q=DROP+MEASUREMENT+cpu&db=other", formType, "q=SHOW+measurements&db=weather", QueryRequest{Database: "weather"}},
		{"POST /query?q=DROP+MEASUREMENT+cpu&db=weather", formType + "; charset=utf-8", "q=SHOW+measurements", QueryRequest{Database: "weather"}},
		{"POST /query?db=weather", "application/vnd.influxql", "SHOW measurements", QueryRequest{Database: "weather"}},
		{"POST /query", parts, part("q", "SHOW measurements") + part("db", "weather") + "--x--", QueryRequest{Database: "weather"}},
		{"POST /query?db=weather", parts, strings.Replace(part("q", "SHOW measurements"), "\r\n\r\n", "; filename=\"a\"\r\nContent-Type: text/plain\r\n\r\n", 1) + "--x--", QueryRequest{Database: "weather"}},
		{"POST /query?q=SHOW+measurements", "text/plain", "anything", QueryRequest{}},
		{`POST /query`, formType, `q=SHOW+measurements&params={"a":1,"b":1.5,"c":1e3,"d":"x","e":true,"f":null,"g":{"duration":"1m"},"h":[1,"x"]}`,
			QueryRequest{Params: map[string]any{"a": int64(1), "b": 1.5, "c": 1e3, "d": "x", "e": true, "f": nil, "g": map[string]any{"duration": "1m"}, "h": []any{int64(1), "x"}}}},
	} {
		m := expecting()
		w := ask(t, handler(t, m), c.request, "Content-Type: "+c.media, c.body)
		if w.Code != http.StatusOK || len(m.queries) != 1 {
			t.Errorf("%s, %s: got %d %s, %d queries", c.request, c.body, w.Code, w.Body, len(m.queries))
			continue
		}
		c.want.Text = "SHOW measurements"
		if got, want := fmt.Sprintf("%#v", m.queries[0]), fmt.Sprintf("%#v", c.want); got != want {
			t.Errorf("%s, %s:\ngot  %s\nwant %s", c.request, c.body, got, want)
		}
	}
}

// threeRows are three rows of one series, in two results.
func threeRows() []rows.Result {
	first := oneSeries("cpu", "time v", second(0), number(1.5), second(1), null)
	first.Partial, first.Series[0].Partial = true, true
	return []rows.Result{first, oneSeries("cpu", "time v", second(2), whole(3))}
}

// An answer has the format, the layout and the times that its request wants.
func TestAnswers(t *testing.T) {
	const whole = `{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[[1600000000,1.5],[1600000001,null],[1600000002,3]]}]}]}` + "\n"
	const csv = "name,tags,time,v\ncpu,,1600000000000000000,1.5\ncpu,,1600000001000000000,\ncpu,,1600000002000000000,3\n"
	for _, c := range []struct {
		parameters, accept string
		media, want        string
	}{
		{"epoch=s", "", "application/json", whole},
		{"epoch=s", "application/json", "application/json", whole},
		{"epoch=s", "*/*", "application/json", whole},
		{"epoch=s", "text/html, application/*;q=0.9, text/csv;q=0.1", "application/json", whole},
		{"epoch=s", "application/x-msgpack", "application/json", whole},
		{"epoch=s", "application/json;q=x, text/csv", "text/csv", strings.ReplaceAll(csv, "000000000", "")},
		{"epoch=s", ",;,\x00", "application/json", whole},
		{"", "application/csv", "application/csv", csv},
		{"", "text/*", "text/csv", csv},
		{"chunked=true", "text/csv", "text/csv", csv},
		{"", "", "application/json", `{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[["2020-09-13T12:26:40Z",1.5],["2020-09-13T12:26:41Z",null],["2020-09-13T12:26:42Z",3]]}]}]}` + "\n"},
		{"epoch=s&chunked=true", "", "application/json", `{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[[1600000000,1.5],[1600000001,null]],"partial":true}],"partial":true}]}
{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[[1600000002,3]]}]}]}
`},
		{"epoch=s&chunked=TRUE", "", "application/json", whole},
		{"epoch=h&pretty=true", "", "application/json", `{
    "results": [
        {
            "statement_id": 0,
            "series": [
                {
                    "name": "cpu",
                    "columns": [
                        "time",
                        "v"
                    ],
                    "values": [
                        [
                            444444,
                            1.5
                        ],
                        [
                            444444,
                            null
                        ],
                        [
                            444444,
                            3
                        ]
                    ]
                }
            ]
        }
    ]
}
`},
	} {
		m := newMemory()
		m.results["SELECT v FROM cpu"] = threeRows()
		w := ask(t, handler(t, m), "GET /query?q=SELECT+v+FROM+cpu&"+c.parameters, "Accept: "+c.accept, "")
		if w.Code != 200 || w.Body.String() != c.want || w.Header().Get("Content-Type") != c.media {
			t.Errorf("%s, Accept %q: got %d %v\n%s\nwant %s", c.parameters, c.accept, w.Code, w.Header(), w.Body, c.want)
		}
	}
}

// An answer must be packed for clients that take it so, and for no other one; each chunk must be readable when it is
// there.
func TestPackedAnswers(t *testing.T) {
	for _, c := range []struct {
		accept string
		packed bool
	}{
		{"", false}, {"gzip", true}, {"deflate, GZIP;q=0.5", true}, {"gzip;q=0", false}, {"gzip;q=x", false}, {"identity", false}, {"x-gzip", false}, {"*", false},
	} {
		for _, parameters := range []string{"epoch=s", "epoch=s&chunked=true", "epoch=s&pretty=true"} {
			answers := make(map[bool]string)
			for _, accept := range []string{"", c.accept} {
				m := newMemory()
				m.results["SELECT v FROM cpu"] = threeRows()
				w := ask(t, handler(t, m), "GET /query?q=SELECT+v+FROM+cpu&"+parameters, "Accept-Encoding: "+accept, "")
				if packed := w.Header().Get("Content-Encoding") == "gzip"; packed != (accept != "" && c.packed) || w.Header().Get("Vary") != "Accept-Encoding" {
					t.Errorf("%s, Accept-Encoding %q: got %v", parameters, accept, w.Header())
				}
				unpack(t, w)
				answers[accept == ""] = w.Body.String()
			}
			if answers[false] != answers[true] && c.accept != "" {
				t.Errorf("%s, Accept-Encoding %q: got %s, want %s", parameters, c.accept, answers[false], answers[true])
			}
		}
	}
}

// An error has the format of the answer that it stands in for: a program that reads CSV would not find it in JSON.
func TestErrorsHaveTheFormat(t *testing.T) {
	for _, c := range []struct{ parameters, accept, media, want string }{
		{"", "", "application/json", `{"error":"missing required parameter \"q\": want InfluxQL in it, in the address or in a form"}` + "\n"},
		{"pretty=true", "", "application/json", "{\n    \"error\": \"missing required parameter \\\"q\\\": want InfluxQL in it, in the address or in a form\"\n}\n"},
		{"", "text/csv", "text/csv", "error\n\"missing required parameter \"\"q\"\": want InfluxQL in it, in the address or in a form\"\n"},
	} {
		w := ask(t, handler(t, newMemory()), "GET /query?"+c.parameters, "Accept: "+c.accept, "")
		if w.Code != 400 || w.Body.String() != c.want || w.Header().Get("Content-Type") != c.media {
			t.Errorf("%s, Accept %q: got %d %v\n%s\nwant %s", c.parameters, c.accept, w.Code, w.Header(), w.Body, c.want)
		}
	}
}

// storeOf is a store whose queries a test answers.
type storeOf func(ctx context.Context, q *QueryRequest, yield func(rows.Result) bool) error

func (s storeOf) Write(context.Context, *WriteRequest) (Written, error) { return Written{}, nil }

func (s storeOf) Query(ctx context.Context, q *QueryRequest, yield func(rows.Result) bool) error {
	return s(ctx, q, yield)
}

// A store that fails in the middle of an answer must not leave the client with half of it that looks whole.
func TestAnswerEndsEarly(t *testing.T) {
	boom := errors.New("shard 3 has gone")
	for _, c := range []struct {
		name    string
		results []rows.Result
		want    string
	}{
		{"within a statement", threeRows()[:1], `{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[[1600000000,1.5],[1600000001,null]],"partial":true}],"error":"shard 3 has gone"}]}` + "\n"},
		{"behind a statement", threeRows(), `{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[[1600000000,1.5],[1600000001,null],[1600000002,3]]}]},{"statement_id":1,"error":"shard 3 has gone"}]}` + "\n"},
		{"behind an error", []rows.Result{{Err: errors.New("no")}}, `{"results":[{"statement_id":0,"error":"no"},{"statement_id":1,"error":"shard 3 has gone"}]}` + "\n"},
	} {
		h := handler(t, storeOf(func(_ context.Context, _ *QueryRequest, yield func(rows.Result) bool) error {
			for _, r := range c.results {
				yield(r)
			}
			return boom
		}))
		w := ask(t, h, "GET /query?q=x&epoch=s", "", "")
		if w.Code != 200 || w.Body.String() != c.want {
			t.Errorf("%s: got %d %s, want %s", c.name, w.Code, w.Body, c.want)
		}
	}
	h := handler(t, storeOf(func(context.Context, *QueryRequest, func(rows.Result) bool) error { return nil }))
	if w := ask(t, h, "GET /query?q=x", "", ""); w.Code != 200 || w.Body.String() != "{}\n" {
		t.Errorf("without a result: got %d %s", w.Code, w.Body)
	}
}

// Each chunk must reach its reader while the store is still at the next one, and the store must learn when the reader has
// gone: an answer may have millions of rows, and go on for minutes.
func TestChunksStream(t *testing.T) {
	for _, encoding := range []string{"identity", "gzip"} {
		t.Run(encoding, func(t *testing.T) { chunksStream(t, encoding) })
	}
}

func chunksStream(t *testing.T, encoding string) {
	read, waits, gone := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	h := handler(t, storeOf(func(ctx context.Context, _ *QueryRequest, yield func(rows.Result) bool) error {
		r := threeRows()[0]
		yield(r)
		select {
		case <-read:
		case <-ctx.Done():
			gone <- errors.New("the first chunk did not arrive before the second one was made")
			return nil
		}
		close(waits)
		<-ctx.Done()
		if yield(r) {
			gone <- errors.New("a chunk is taken that nobody reads")
		} else {
			gone <- nil
		}
		return ctx.Err()
	}))
	server := httptest.NewServer(h)
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/query?q=x&chunked=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Accept-Encoding", encoding)
	a, err := server.Client().Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	in := io.Reader(a.Body)
	if encoding == "gzip" {
		if in, err = gzip.NewReader(in); err != nil {
			t.Fatal(err)
		}
	}
	if line, err := bufio.NewReader(in).ReadString('\n'); err != nil || !strings.Contains(line, `"partial":true`) {
		t.Fatalf("the first chunk: %q, %v", line, err)
	}
	close(read)
	select {
	case <-waits:
		cancel()
	case err := <-gone:
		t.Fatal(err)
	}
	if err := <-gone; err != nil {
		t.Error(err)
	}
}

// A reader must be able to tell an answer that has an end from one that was broken off: the connection ends with it.
func TestBrokenAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	h := handler(t, storeOf(func(_ context.Context, _ *QueryRequest, yield func(rows.Result) bool) error {
		yield(threeRows()[0])
		cancel() // as when the node ends
		yield(threeRows()[1])
		return nil
	}))
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("the connection goes on: %v", p)
		}
	}()
	q := httptest.NewRequest(http.MethodGet, "/query?q=x", nil).WithContext(ctx)
	h.ServeHTTP(httptest.NewRecorder(), q)
}
