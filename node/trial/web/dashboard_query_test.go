package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"muster/node/influx"
	"muster/node/trial/clustertest"
	"muster/node/web/ui"
	"muster/shardmap/points"
	"muster/shardmap/points/rows"
)

// The screen of queries. Answers of a size, a length and a time that a test decides come from a store in memory, behind the
// handler that a node has.

const (
	queryRowsMax = 10_000              // that the page reads
	bigWhole     = 9007199254740993    // 2^53+1, which is no number of JavaScript
	queryStart   = 1764547200000000000 // 2025-12-01
)

// answerStore answers each text as it says.
type answerStore struct {
	asked, stopped atomic.Int64 // texts that came; of them, those nobody read to the end
}

// Write implements [influx.Store].
func (s *answerStore) Write(context.Context, *influx.WriteRequest) (influx.Written, error) {
	return influx.Written{}, errors.New("not served")
}

// Query implements [influx.Store].
func (s *answerStore) Query(ctx context.Context, q *influx.QueryRequest, yield func(rows.Result) bool) error {
	s.asked.Add(1)
	switch {
	case q.Text == "wrong":
		return &influx.Error{Reason: influx.BadRequest, Text: "error parsing query: found wrong, expected SELECT at line 1, char 1"}
	case q.Text == "chart":
		for _, host := range []string{"a", markupName} {
			if !yield(rows.Result{Series: []rows.Series{chartSeries(host, 3)}, Partial: host == "a"}) {
				return ctx.Err()
			}
		}
		return nil
	case q.Text == "two":
		yield(rows.Result{Series: []rows.Series{{Name: "databases", Columns: []string{"name"}, Values: []points.Value{points.StringValue(markup)}}}})
		yield(rows.Result{Statement: 1, Err: errors.New("database not found: " + markup)})
		return nil
	case q.Text == "slow":
		yield(rows.Result{Series: []rows.Series{chartSeries("a", 3)}, Partial: true})
		<-ctx.Done()
		s.stopped.Add(1)
		return ctx.Err()
	case q.Text == "endless":
		for yield(rows.Result{Series: []rows.Series{chartSeries("a", q.ChunkRows)}, Partial: true}) {
		}
		s.stopped.Add(1)
		return ctx.Err()
	case q.Text == "torn":
		yield(rows.Result{Series: []rows.Series{chartSeries("a", q.ChunkRows)}, Partial: true})
		panic(http.ErrAbortHandler)
	case strings.HasPrefix(q.Text, "many"): // series
		for i := range 30 {
			yield(rows.Result{Series: []rows.Series{chartSeries(fmt.Sprint(i), 2)}, Partial: i < 29})
		}
		return nil
	}
	yield(rows.Result{})
	return nil
}

// chartSeries is a series of a host: its times, a float that may be missing, a whole number, a text.
func chartSeries(host string, n int) rows.Series {
	s := rows.Series{Name: "cpu", Tags: []points.Tag{{Name: "host", Value: host}}, Columns: []string{"time", "mean", "n", "note"}, Timed: true}
	for i := range n {
		mean := points.FloatValue(float64(i) - 0.5)
		if i == 1 {
			mean = points.Value{}
		}
		s.Values = append(s.Values, points.IntegerValue(queryStart+int64(i)*int64(time.Second)+7), mean, points.IntegerValue(bigWhole+int64(i)*2), points.StringValue(`1234567890123456789 "`+markup))
	}
	return s
}

// serve serves the page and a store, and the lists that the screen asks for.
func (s *answerStore) serve(t *testing.T) *clustertest.Cluster {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(ui.Prefix, ui.Handler())
	mux.Handle("/query", influx.New(influx.Config{Open: func(*http.Request) (influx.Store, error) { return s, nil }}))
	for path, text := range map[string]string{"/livez": "", "/api/v1/db/list": `[{"name":"d","id":1,"default":"autogen","policies":1,"windows":0}]`, "/api/v1/policy/list": `[{"database":"d","name":"autogen"}]`} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, text)
		})
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return &clustertest.Cluster{T: t, Clear: true, Nodes: []*clustertest.Process{{Addr: server.Listener.Addr().String()}}}
}

// ask asks a text with the page, and waits until the answer is there.
func (b *tab) ask(text string) {
	b.t.Helper()
	b.fill("query-text", text)
	b.click("query-go")
	b.until("it is done", "/done|failed|cancelled/.test("+of("query-state")+"?.textContent)")
}

// A query's answer becomes a chart and a table with each value as the node wrote it, and no text of it becomes more than
// text. A query that a person stops, or of which the page has enough, ends at the node too: else it would go on for nobody.
func pageQuery(t *testing.T, p *dashboard) {
	store := &answerStore{}
	c := store.serve(t)
	b := p.browser.open(t, c, 0)
	b.mayRefuse("/api/v1/events") // there is no cluster
	b.mayRefuse("/query")
	b.goTo("/ui/query?db=d&q=" + url.QueryEscape("DROP DATABASE d"))
	// A link brings a text, and only a press carries it out; one that changes something not by the short way.
	b.sees("query-go", "may change something")
	eval[bool](b, of("query-text")+".focus() === undefined")
	b.do(chromedp.KeyEvent(kb.Enter, chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	b.ask("chart")
	b.sees("query-state", "6 rows, 2 series")
	b.until("lines are drawn", of("query-chart")+"?.querySelector('canvas')")
	b.sees("line-2", "cpu mean host="+markupName)
	b.sees("rows-0-count", "6")
	for _, want := range []string{"2025-12-01T00:00:00.000000007Z", "-0.5", fmt.Sprint(int64(bigWhole)), fmt.Sprint(int64(bigWhole + 4)), `1234567890123456789 "` + markup} {
		b.sees("rows-0", want)
	}
	if name := eval[string](b, `location.search`); !strings.Contains(name, "q=chart") {
		t.Errorf("the address has %s, want the text that was asked", name)
	}
	axe, err := os.ReadFile("testdata/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	eval[bool](b, string(axe)+"; true")
	for scheme, rules := range map[string]string{"light": `{ resultTypes: ["violations"] }`, "dark": `{ resultTypes: ["violations"], runOnly: ["color-contrast"] }`} {
		b.scheme(scheme)
		for _, v := range axeViolations(b, rules) {
			t.Errorf("%s: %s", scheme, v)
		}
	}
	for _, width := range []int64{390, 1280} {
		b.size(width, 844)
		b.until("nothing is cut off", "document.documentElement.scrollWidth <= innerWidth")
	}
	b.click("line-2")
	if pressed := eval[string](b, of("line-2")+`.getAttribute("aria-pressed")`); pressed != "false" {
		t.Errorf("a line that was left out is shown as %s", pressed)
	}
	b.click("csv-0")

	b.ask("two")
	b.sees("rows-0", markup)
	b.sees("query-error", "statement 2")
	b.sees("query-error", "database not found: "+markup)
	b.ask("wrong")
	b.sees("query-error", "error parsing query: found wrong, expected SELECT at line 1, char 1")
	b.fill("query-text", "SHOW nothing")
	eval[bool](b, of("query-text")+".focus() === undefined")
	b.do(chromedp.KeyEvent(kb.Enter, chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	b.sees("query-empty", "no rows")
	b.ask("many")
	b.sees("lines-left-out", "36 lines more")

	b.ask("endless")
	b.sees("query-cut", "the first 10,000 rows are shown")
	b.sees("rows-0-count", groupDigits(queryRowsMax))
	b.fill("query-text", "slow")
	b.click("query-go")
	b.sees("query-state", "running")
	b.click("query-cancel")
	b.sees("query-state", "cancelled after")
	clustertest.Await(t, "known to the node that nobody reads two queries", untilMax, func(context.Context) error {
		if n := store.stopped.Load(); n < 2 {
			return fmt.Errorf("of %d it is", n)
		}
		return nil
	})
	// A part of an answer must not look like all of it.
	for _, n := range c.Nodes {
		b.mayFail(n.Addr)
	}
	b.ask("torn")
	b.sees("query-state", "failed after")
	b.sees("query-error", "stopped in the middle")
	if n := store.asked.Load(); n != 8 {
		t.Errorf("the node was asked %d times, want once for each of 8 texts", n)
	}
	if b.struck() {
		t.Error("an answer was taken for HTML")
	}
	b.clean()
}

// How answers are read, and what is drawn of windows, is decided by code of the page alone, so it is asked directly.
func pageAnswers(t *testing.T, p *dashboard) {
	b := p.login(t, 0, "/ui/")
	for _, wrong := range append(answersWrong(b), windowsWrong(b)...) {
		t.Error(wrong)
	}
	b.clean()
}

// answersWrong returns what the page reads wrongly of answers: a number that JavaScript can't keep, a series in two pieces,
// times to the microsecond, CSV that holds what CSV is made of.
func answersWrong(b *tab) (wrong []string) {
	series := func(more string) string {
		return `{"results":[{"statement_id":0,"series":[{"name":"m",` + more + `}]}]}`
	}
	for _, tt := range []struct{ name, lines, call, want string }{
		{"whole numbers of any size", series(`"columns":["v"],"values":[[9007199254740993],[-9223372036854775808],[12345678901234567e2],[1.2345678901234567],["9007199254740993, \"9007199254740993"],[1000000000000000]]`),
			"csv(tables(a)[0])", "name,v\r\nm,9007199254740993\r\nm,-9223372036854775808\r\nm,1234567890123456800\r\nm,1.2345678901234567\r\nm,\"9007199254740993, \"\"9007199254740993\"\r\nm,1000000000000000\r\n"},
		{"CSV of quotes, newlines, nothing", series(`"columns":["a,b"],"values":[["\"\n"],[null],[true]]`), "csv(tables(a)[0])", "name,\"a,b\"\r\nm,\"\"\"\n\"\r\nm,\r\nm,true\r\n"},
		{"a series that goes on", series(`"columns":["v"],"values":[[1]],"partial":true`) + "\n" + series(`"columns":["v"],"values":[[2]]`), "JSON.stringify([a.series.length, tables(a)[0].rows])", `[1,[{"name":"m","v":1},{"name":"m","v":2}]]`},
		{"tags become columns", series(`"tags":{"h":"x"},"columns":["v"],"values":[[1]]`), "csv(tables(a)[0])", "name,h,v\r\nm,x,1\r\n"},
		{"times of microseconds", series(`"columns":["time","v"],"values":[["2025-12-01T00:00:00.000002Z",1],["2025-12-01T02:00:00.000001+02:00",2],["1969-12-31T23:59:59.5Z",3]]`), "JSON.stringify(lines(a).times)", `[-0.5,1764547200.000001,1764547200.000002]`},
		{"texts are no lines, nothing is a gap", series(`"columns":["time","s","v"],"values":[["2025-12-01T00:00:00Z","x",null],["2025-12-01T00:00:01Z","y",2]]`), "JSON.stringify(lines(a).lines)", `[{"name":"m v","values":[null,2]}]`},
		{"one time is no line", series(`"columns":["time","v"],"values":[["1970-01-01T00:00:00Z",1]]`), "JSON.stringify(lines(a))", `{"times":[],"lines":[],"more":0}`},
		{"errors and messages", `{"results":[{"statement_id":1,"error":"no","messages":[{"level":"warning","text":"w"}]}]}` + "\n" + `{"error":"all"}`, "JSON.stringify([a.errors, a.messages])", `[[{"code":"statement 2","message":"no"},{"code":"error","message":"all"}],["w"]]`},
	} {
		got := eval[string](b, `import("/ui/answers.js").then(({ nothing, take, tables, csv, lines }) => { const a = nothing(); for (const l of `+quoted(tt.lines)+`.split("\n")) take(a, l); return String(`+tt.call+`); })`)
		if got != tt.want {
			wrong = append(wrong, fmt.Sprintf("%s: got %q, want %q", tt.name, got, tt.want))
		}
	}
	for text, want := range map[string]bool{
		"SELECT * FROM cpu": false, "select mean(v) into x from cpu": true, "SHOW DATABASES; drop database x": true, `SELECT "set" FROM m`: true,
		"DELETE FROM m": true, "SELECT offset FROM dropped": false, "kill query 3": true, "/* */ CREATE\nDATABASE x": true,
	} {
		if got := eval[bool](b, `import("/ui/api.js").then(({ changing }) => changing(`+quoted(text)+`))`); got != want {
			wrong = append(wrong, fmt.Sprintf("%s: may change something: %v, want %v", text, got, want))
		}
	}
	return wrong
}

// windowsWrong returns what the page draws wrongly of windows. Of each drawing that it makes by chance, each window is in
// one mark, or counted as earlier or later; marks are in order, each at least as wide as can be seen and no more than there
// is room for; ticks are within the span.
func windowsWrong(b *tab) []string {
	return eval[[]string](b, `import("/ui/windows.js").then(({ read, marks, ticks, stripes, fit, utc, state, tell, shardsText }) => {
		const wrong = [], hour = 3600e3;
		let seed = 1;
		const chance = (n) => (seed = (seed * 48271) % 2147483647) % n;
		for (let n = 0; n < 300; n++) {
			const length = [1, 24, 168, 8760][chance(4)] * hour, width = 1 + chance(1000);
			const windows = [];
			for (let i = 0, at = chance(1000) * hour; i < chance(400); i++, at += length * (1 + chance(2))) windows.push({ from: at, to: at + length, groups: [1 + chance(3), 1 + chance(3)] });
			const from = chance(1000) * hour, span = { from, to: from + (1 + chance(10000)) * hour };
			const { all, earlier, later } = marks(windows, span, width);
			const drawn = all.reduce((n, m) => n + m.windows.length, 0);
			if (drawn + earlier + later !== windows.length || new Set(all.flatMap((m) => m.windows)).size !== drawn) wrong.push("of " + windows.length + " windows " + drawn + " are drawn, " + earlier + " earlier, " + later + " later");
			if (all.some((m) => m.width < 4 || m.windows.some((w) => w.to <= span.from || w.from >= span.to)) || all.length > width / 2 + 2) wrong.push(all.length + " marks in " + width + " px");
			if (all.some((m, i) => i && m.x < all[i - 1].x)) wrong.push("marks are not in order");
			for (const m of all) {
				const s = stripes(m, 44);
				if (s[0].from !== 0 || s.at(-1).to !== 44 || s.some((r, i) => i && r.from !== s[i - 1].to)) wrong.push("stripes with a hole: " + JSON.stringify(s));
			}
			const found = ticks(span, width);
			if (found.some((t) => t.at < span.from || t.at > span.to) || found.length > width / 110 + 3) wrong.push(found.length + " ticks in " + width + " px");
		}
		const w = (more) => read({ id: 3, database: "d", policy: "p", start: "2025-12-01T00:00:00Z", end: "2025-12-02T00:00:00Z", groups: [2, 1, 2], ...more });
		const at = (t) => Date.parse(t);
		const is = (what, got, want) => got === want || wrong.push(what + ": got " + got + ", want " + want);
		is("shards", shardsText([2, 1, 2]), "shards of group 1: 1; group 2: 0 2");
		is("ahead", state(w(), at("2025-11-30T23:59:59Z")), "ahead");
		is("now", state(w(), at("2025-12-01T23:59:59Z")), "now");
		is("past", state(w(), at("2025-12-02T00:00:00Z")), "past");
		is("truncated", state(w({ truncated: "2025-12-01T06:00:00Z" }), 0), "truncated");
		is("hidden", tell({ windows: [w({ hidden: "2026-01-01T00:30:00Z" })] }, 0), "window 3, 2025-12-01 00:00 to 2025-12-02 00:00; over, deleted from 2026-01-01 01:30 on; shards of group 1: 1; group 2: 0 2");
		is("several", tell({ windows: [w(), w({ end: "2025-12-04T00:00:00Z" })] }, 0), "2 windows, 2025-12-01 00:00 to 2025-12-04 00:00, of groups 1, 2; closer shows each");
		is("the first of all times", utc(at("1677-09-21T00:12:43.145Z")), "1677-09-21 00:12:43.145Z");
		is("nothing fits", JSON.stringify(fit([{ windows: [] }], 0)), '{"from":-86400000,"to":86400000}');
		return wrong;
	})`)
}
