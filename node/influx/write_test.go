package influx

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"muster/repl/client/pointwriter"
	"muster/repl/wire"
	"muster/shardmap/points"
	"muster/shardmap/points/line"
)

// All that a request asks for must reach the store, whichever of its two forms it has.
func TestWriteRequests(t *testing.T) {
	for _, c := range []struct {
		request string
		want    WriteRequest
	}{
		{"/write?db=weather", WriteRequest{Database: "weather", Precision: line.Nanosecond}},
		{"/write?db=weather&rp=autogen&precision=n&consistency=all", WriteRequest{Database: "weather", Policy: "autogen", Precision: line.Nanosecond, Consistency: pointwriter.All}},
		{"/write?db=weather&precision=ns&consistency=ONE", WriteRequest{Database: "weather", Precision: line.Nanosecond, Consistency: pointwriter.One}},
		{"/write?db=weather&precision=u&consistency=any", WriteRequest{Database: "weather", Precision: line.Microsecond, Consistency: pointwriter.Any}},
		{"/write?db=weather&precision=ms&consistency=quorum", WriteRequest{Database: "weather", Precision: line.Millisecond}},
		{"/write?db=weather&precision=s&db=other", WriteRequest{Database: "weather", Precision: line.Second}},
		{"/write?db=weather&precision=m", WriteRequest{Database: "weather", Precision: line.Minute}},
		{"/write?db=weather&precision=h&org=any&bucket=other", WriteRequest{Database: "weather", Precision: line.Hour}},
		{"/api/v2/write?bucket=weather&org=any", WriteRequest{Database: "weather", Precision: line.Nanosecond}},
		{"/api/v2/write?bucket=weather/", WriteRequest{Database: "weather", Precision: line.Nanosecond}},
		{"/api/v2/write?bucket=weather/autogen&precision=us&db=other", WriteRequest{Database: "weather", Policy: "autogen", Precision: line.Microsecond}},
		{"/api/v2/write?bucket=weather%2Fautogen&precision=ms&consistency=one", WriteRequest{Database: "weather", Policy: "autogen", Precision: line.Millisecond, Consistency: pointwriter.One}},
	} {
		for _, fields := range []string{"", "Content-Encoding: gzip", "Content-Encoding: x-gzip", "Content-Encoding: identity"} {
			m := newMemory()
			var body any = "cpu v=1"
			if strings.HasSuffix(fields, "gzip") {
				body = string(packed(t, "cpu v=1"))
			}
			w := ask(t, handler(t, m), "POST "+c.request, fields, body)
			c.want.Now = 1700000000_000000007
			if w.Code != http.StatusNoContent || len(m.writes) != 1 || string(m.writes[0].Text) != "cpu v=1" {
				t.Fatalf("%s, %s: got %d %s, %+v", c.request, fields, w.Code, w.Body, m.writes)
			}
			m.writes[0].Text = nil
			if got, want := fmt.Sprintf("%+v", m.writes[0]), fmt.Sprintf("%+v", c.want); got != want {
				t.Errorf("%s, %s: got %s, want %s", c.request, fields, got, want)
			}
		}
	}
}

// final is what a write is told whose error has words that clients take for final.
const final = "write failed: send all of it again; what is stored already stays the same"

// A client must learn what became of its points, and above all must not take for final what is to be sent again: it
// knows that by the status, and telegraf by words.
func TestWritten(t *testing.T) {
	const good, bad = "cpu v=1 1\ncpu v=2 2", "cpu v=1 1\nbad\ncpu v=2 2"
	for _, c := range []struct {
		text    string
		written Written
		status  int
		error   string
		counts  string
	}{
		{good, Written{Stored: 2}, 204, "", "stored=2, hinted=0, dropped=0, failed=0, refused=0"},
		{good, Written{Stored: 1, Hinted: 1}, 204, "", "stored=1, hinted=1, dropped=0, failed=0, refused=0"},
		{"", Written{}, 204, "", "stored=0, hinted=0, dropped=0, failed=0, refused=0"},
		{"# nothing\n\n", Written{}, 204, "", "stored=0, hinted=0, dropped=0, failed=0, refused=0"},
		{bad, Written{Stored: 2}, 400, "partial write: 2 points kept, 1 lines refused: line 2: missing fields; want a space and FIELD=VALUE after measurement and tags dropped=0", "stored=2, hinted=0, dropped=0, failed=0, refused=1"},
		{"bad\nworse", Written{}, 400, "unable to parse points: line 1: missing fields; want a space and FIELD=VALUE after measurement and tags; line 2: missing fields; want a space and FIELD=VALUE after measurement and tags", "stored=0, hinted=0, dropped=0, failed=0, refused=2"},
		{good, Written{Stored: 1, Dropped: []Dropped{{Reason: pointwriter.BeyondRetention, Points: 1, Example: ""}}}, 400, "partial write: points beyond retention policy dropped=1", "stored=1, hinted=0, dropped=1, failed=0, refused=0"},
		{good, Written{Dropped: []Dropped{{Reason: pointwriter.FieldConflict, Points: 2, Example: `field "v" is a string`}}}, 400, `partial write: field type conflict: field "v" is a string dropped=2`, "stored=0, hinted=0, dropped=2, failed=0, refused=0"},
		{bad, Written{Dropped: []Dropped{{Reason: pointwriter.TooManySeries, Points: 1, Example: "tag host grows"}, {Reason: pointwriter.TooManyValues, Points: 1, Example: "tag host"}}}, 400, "partial write: max-series-per-database limit exceeded (1 points): tag host grows; max-values-per-tag limit exceeded (1 points): tag host; 2 points kept, 1 lines refused: line 2: missing fields; want a space and FIELD=VALUE after measurement and tags dropped=2", "stored=0, hinted=0, dropped=2, failed=0, refused=1"},
		{good, Written{Stored: 1, Failed: 1, Why: "stored on 1 of 3 voters"}, 503, "write failed: 1 of 2 points: stored on 1 of 3 voters; send all of it again: what is stored already stays the same", "stored=1, hinted=0, dropped=0, failed=1, refused=0"},
		// Refused lines and dropped points wait for the next time: with their words, the rest would be dropped, too.
		{bad, Written{Failed: 1, Dropped: []Dropped{{Reason: pointwriter.BeyondRetention, Points: 1, Example: ""}}, Why: "group 3 has no leader"}, 503, "write failed: 1 of 2 points: group 3 has no leader; send all of it again: what is stored already stays the same", "stored=0, hinted=0, dropped=1, failed=1, refused=1"},
		{good, Written{Failed: 2, Why: "a partial write was seen"}, 503, final, "stored=0, hinted=0, dropped=0, failed=2, refused=0"},
	} {
		m := newMemory()
		m.written = &c.written
		w := ask(t, handler(t, m), "POST /write?db=weather", "", c.text)
		want := ""
		if c.error != "" {
			want = `{"error":"` + strings.ReplaceAll(c.error, `"`, `\"`) + "\"}\n"
		}
		if w.Code != c.status || w.Body.String() != want || w.Header().Get("X-Influxdb-Error") != c.error {
			t.Errorf("%q, %+v: got %d %s, want %d %s", c.text, c.written, w.Code, w.Body, c.status, c.error)
		}
		if got := w.Header().Get(fieldWritten); got != c.counts {
			t.Errorf("%q, %+v: got %s, want %s", c.text, c.written, got, c.counts)
		}
		if got := w.Header().Get("Retry-After"); (got != "") != (c.status == 503) {
			t.Errorf("%q, %+v: it may come again after %q", c.text, c.written, got)
		}
	}
}

// Each refusal of a store must have the status by which clients know what to do, for a write and for a query.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		text   string
		after  string
	}{
		{DatabaseNotFound("gone"), 404, `database not found: "gone"`, ""},
		{PolicyNotFound("gone"), 404, "retention policy not found: gone", ""},
		{&Error{Reason: NotAllowed, Text: `"eve" user is not authorized to write to database "weather"`}, 403, `"eve" user is not authorized to write to database "weather"`, ""},
		{&Error{Reason: OverLimit, Text: "batch full"}, 413, "batch full", ""},
		{&Error{Reason: Busy, Text: "64 MiB wait", RetryAfter: 1500 * time.Millisecond}, 503, "64 MiB wait", "2"},
		{&Error{Reason: Busy, Text: "64 MiB wait", RetryAfter: time.Millisecond}, 503, "64 MiB wait", "1"},
		{&Error{Reason: Internal, Text: "unable to parse points of its own"}, 500, final, ""},
		{&Error{Text: "no reason"}, 500, "no reason", ""},
		{fmt.Errorf("gateway: %w", DatabaseNotFound("gone")), 404, `database not found: "gone"`, ""},
		{wire.Busy("group 3", "64 MiB wait", 20*time.Millisecond), 503, "busy: group 3: has too much to do (64 MiB wait); try again after 20ms", "1"},
		{wire.Unauthorized("database weather", "eve may not write", "ask an administrator"), 403, "unauthorized: database weather: not permitted (eve may not write); ask an administrator", ""},
		{wire.MaybeApplied("group 3", "its leader changed"), 504, "maybe-applied: group 3: no result, it may have been applied (its leader changed)", ""},
		{errors.New("disk on fire\nline 2"), 500, "disk on fire\nline 2", ""},
	} {
		for _, request := range []string{"POST /write?db=weather", "GET /query?q=SHOW+measurements"} {
			m := expecting()
			m.err = c.err
			w := ask(t, handler(t, m), request, "", "cpu v=1")
			text := c.text
			if text == final && strings.HasPrefix(request, "GET") {
				text = c.err.Error() // only writes are dropped for it
			}
			quoted := strings.NewReplacer(`"`, `\"`, "\n", `\n`).Replace(text)
			if w.Code != c.status || !strings.HasPrefix(w.Body.String(), `{"error":"`+quoted) || w.Header().Get("Retry-After") != c.after {
				t.Errorf("%s, %v: got %d %s, %v; want %d %s, after %q", request, c.err, w.Code, w.Body, w.Header(), c.status, text, c.after)
			}
			if got, want := w.Header().Get("X-Influxdb-Error"), strings.ReplaceAll(text, "\n", " "); !strings.HasPrefix(got, want) {
				t.Errorf("%s, %v: the field has %q", request, c.err, got)
			}
		}
	}
	// An error that others have to mend must not have clients drop what they sent, whatever status it has in answers to queries.
	for _, err := range []*wire.Error{
		wire.OverLimit("windows", "the policy has 4096", "make them longer"), wire.OverLevel("points", 10, 9), wire.Conflict("window", "another one is there"),
		wire.NotFound("shard 1", "its window was dropped", "write again"), wire.Full("group 3", "its disk is full", time.Second),
	} {
		m := expecting()
		m.err = err
		if w := ask(t, handler(t, m), "POST /write?db=weather", "", "cpu v=1"); w.Code < 500 || w.Header().Get("Retry-After") == "" {
			t.Errorf("%v: got %d %s, %v; want one after which clients send it again", err, w.Code, w.Body, w.Header())
		}
	}
	// Before there is a store, the error is one of who asks.
	h := New(Config{Open: func(*http.Request) (Store, error) { return nil, wire.Busy("node n1", "too many clients", time.Second) }})
	for _, request := range []string{"POST /write?db=weather", "GET /query?q=SHOW+measurements"} {
		if w := ask(t, h, request, "", "cpu v=1"); w.Code != 503 || w.Header().Get("Retry-After") != "1" {
			t.Errorf("%s: got %d %s", request, w.Code, w.Body)
		}
	}
}

// The field with an error is one line of text, however long and foreign the error is.
func TestHeaderText(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"a\r\nSet-Cookie: b\x00", "a  Set-Cookie: b "},
		{strings.Repeat("x", headerMax+1), strings.Repeat("x", headerMax)},
		{strings.Repeat("x", headerMax-1) + "é", strings.Repeat("x", headerMax-1)},
		{"é", "é"},
	} {
		if got := headerText(c.text); got != c.want || !utf8.ValidString(got) {
			t.Errorf("%.40q: got %q, want %q", c.text, got, c.want)
		}
	}
}

// The words of the store's reasons are those that telegraf looks for.
func TestDropReasons(t *testing.T) {
	for r, want := range map[pointwriter.DropReason]string{pointwriter.BeyondRetention: finals[2], pointwriter.FieldConflict: points.FieldTypeConflict.String()} {
		if r.String() != want {
			t.Errorf("got %q, want %q", r, want)
		}
	}
}

// Answers say to which request they belong, by the client's name for it or by a new one.
func TestRequestIDs(t *testing.T) {
	h := handler(t, newMemory())
	for _, c := range []struct{ fields, want string }{
		{"X-Request-Id: a", "a"}, {"Request-Id: b", "b"}, {"X-Request-Id: a|Request-Id: b", "a"},
	} {
		w := ask(t, h, "GET /ping", c.fields, "")
		if w.Header().Get("X-Request-Id") != c.want || w.Header().Get("Request-Id") != c.want {
			t.Errorf("%s: got %v", c.fields, w.Header())
		}
	}
	seen := map[string]bool{}
	for _, fields := range []string{"", "", "X-Request-Id: " + strings.Repeat("x", requestMax+1)} {
		id := ask(t, h, "GET /ping", fields, "").Header().Get("X-Request-Id")
		if len(id) != 36 || id[14] != '4' || seen[id] {
			t.Errorf("%.20s: got %q", fields, id)
		}
		seen[id] = true
	}
}

// A client that only looks whether a node is there gets an answer without a store.
func TestPing(t *testing.T) {
	h := New(Config{Open: func(*http.Request) (Store, error) { panic("opened") }})
	for _, c := range []struct {
		request string
		status  int
		body    string
	}{
		{"GET /ping", 204, ""}, {"HEAD /ping", 204, ""}, {"GET /ping?verbose=false", 204, ""}, {"GET /ping?verbose=0", 204, ""},
		{"GET /ping?verbose=true", 200, `{"version":"1.8.10"}`},
		{"OPTIONS /write", 204, ""}, {"OPTIONS /query", 204, ""},
	} {
		w := ask(t, h, c.request, "", "")
		if w.Code != c.status || w.Body.String() != c.body || w.Header().Get("X-Influxdb-Version") != Version || w.Header().Get("X-Influxdb-Build") != "OSS" {
			t.Errorf("%s: got %d %s, %v", c.request, w.Code, w.Body, w.Header())
		}
	}
}
