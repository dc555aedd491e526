package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"muster/node/trial/clustertest"
)

// The screen of points: databases, policies, windows, and what waits at nodes.

// markupName is markup that may be the name of a database: such a name has no slash.
const markupName = `<img src=x onerror="window.struck=1">`

// windowRow is a row of "window list".
type windowRow struct {
	ID        uint64 `json:"id"`
	Database  string `json:"database"`
	Policy    string `json:"policy"`
	Start     string `json:"start"`
	End       string `json:"end"`
	Truncated string `json:"truncated,omitempty"`
	Hidden    string `json:"hidden,omitempty"`
	Groups    []int  `json:"groups"`
}

// windows asks for the windows of a database until there are some.
func (p *dashboard) windows(t *testing.T, database string) (rows []windowRow) {
	t.Helper()
	clustertest.Await(t, "there: windows of "+database, untilMax, func(context.Context) error {
		if p.api(t, 1, "GET", "window/list?database="+url.QueryEscape(database), "", &rows); len(rows) == 0 {
			return errors.New("none")
		}
		return nil
	})
	return rows
}

// A database is made with the page, whatever its name is. Its windows appear on the axis, and each one tells by the keyboard
// alone which groups have its shards.
func pagePoints(t *testing.T, p *dashboard) {
	b := p.login(t, 0, "/ui/points")
	b.click("db-create")
	b.fill("field-database", markupName)
	b.fill("field-duration", "30d")
	b.fill("field-shards", "5")
	b.sees("dialog-command", "muster db create --duration 30d --shards 5 '"+markupName+"'")
	b.click("dialog-go")
	b.until("the dialog has closed", "!"+of("dialog"))
	b.goTo("/ui/points?db=" + url.QueryEscape(markupName))
	b.sees("hint-queues", "no points wait")
	if !eval[bool](b, of("hint-purge")+".disabled") {
		t.Error("the page offers to give up points where none wait")
	}
	lane := of("lane-" + strings.ReplaceAll(markupName, `"`, `\"`) + "-autogen")
	b.until("the window of now is drawn", lane+"?.dataset.marks > 0")
	b.sees("axis", markupName+" · autogen")
	first := p.windows(t, markupName)[0]
	eval[bool](b, lane+".focus() === undefined")
	b.key(kb.Home)
	told := fmt.Sprintf("window %d, %s", first.ID, strings.Replace(first.Start[:len("2006-01-02T15:04")], "T", " ", 1))
	b.sees("told", told)
	for shard, group := range first.Groups {
		b.until("it tells of each shard", fmt.Sprintf(`/group %d:[ \d]* %d\b/.test(%s.textContent)`, group, shard, of("told")))
	}
	if value := eval[string](b, lane+`.getAttribute("aria-valuetext")`); !strings.HasPrefix(value, told) {
		t.Errorf("screen readers are told %q, want %q", value, told)
	}
	b.key(kb.Enter)
	b.sees("window-one", "Window "+fmt.Sprint(first.ID))
	shown := eval[[]string](b, `[...`+of("shards")+`.querySelectorAll("tbody tr[data-key]")].map((r) => r.dataset.key + ":" + r.children[1].textContent)`)
	var want []string
	for shard, group := range first.Groups {
		want = append(want, fmt.Sprintf("%d:%d", shard, group))
	}
	if len(want) != 5 || fmt.Sprint(shown) != fmt.Sprint(want) {
		t.Errorf("the page shows the shards %v, the API has %v", shown, want)
	}
	if over := eval[float64](b, of("axis")+".getBoundingClientRect().right - "+of("window-one")+".getBoundingClientRect().left"); over > 0 {
		t.Errorf("the windows are drawn %.0f px into the panel beside them", over)
	}
	b.click("truncate")
	b.sees("dialog-command", "muster window truncate")
	b.until("the plan is there", of("plan"))
	b.click("dialog-go")
	b.sees("window-one", "truncated")
	if again := p.windows(t, markupName)[0]; again.Truncated == "" {
		t.Error("the page says truncated, the API does not")
	}
	// A window that is an hour long is refused a policy of less, by the field's name.
	b.mayRefuse("/api/v1/policy/alter")
	b.click("alter-" + strings.ReplaceAll(markupName, `"`, `\"`) + "-autogen")
	b.fill("field-duration", "1m")
	b.click("dialog-go")
	b.until("it says why", of("dialog-error")+"?.textContent.length > 10")
	b.click("dialog-close")
	if b.struck() {
		t.Error("the name of a database was taken for HTML")
	}
	b.clean()
}

// hourly is how many points a day has of each host of pointsText.
const hourly = 24

// pointsText is line protocol of some days until now: three hosts, of which one is markup, an hour between their points.
func pointsText(now time.Time, days int) string {
	var text strings.Builder
	escaped := strings.NewReplacer(" ", `\ `, "=", `\=`, ",", `\,`)
	now = now.Truncate(time.Hour)
	for n := range days * hourly {
		at := now.Add(-time.Duration(n) * time.Hour).UnixNano()
		for i, host := range []string{"a", "b", markup} {
			fmt.Fprintf(&text, "cpu,host=%s usage=%.1f,jobs=%di %d\n", escaped.Replace(host), 30+20*float64(i)+10*math.Sin(float64(n)/float64(4+i)), n%7, at)
		}
	}
	return text.String()
}

// writePoints writes line protocol to a database, by the door of InfluxDB's clients.
func (p *dashboard) writePoints(t testing.TB, database, text string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, "https://"+p.Nodes[1].Addr+"/write?db="+url.QueryEscape(database), strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	answer, err := p.tls.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if said, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusNoContent {
		t.Fatalf("write: status %d, %s, %v", answer.StatusCode, said, err)
	}
}

// Points of a cluster are queried with the page: the row that the screen of points leads to has a link there, the
// answer is what was written, and each day that has points has a window on the axis.
func pagePointsQueried(t *testing.T, p *dashboard) {
	const days = 12
	b := p.login(t, 0, "/ui/points?db=telemetry")
	b.until("each day has a window", fmt.Sprintf("%s?.dataset.marks >= %d", of("lane-telemetry-autogen"), days))
	b.click("query-telemetry-autogen")
	b.sees("query-rp", "autogen")
	b.ask("SELECT mean(usage), count(jobs) FROM cpu WHERE time > now() - 5d GROUP BY host, time(1d) fill(none)")
	b.sees("query-state", "3 series")
	b.until("lines are drawn", of("query-chart")+"?.querySelector('canvas')")
	b.sees("line-2", "host=")
	b.sees("rows-0", markup)
	b.ask("SELECT count(usage) FROM cpu")
	b.sees("rows-0", fmt.Sprint(3*days*hourly))
	b.mayRefuse("/query")
	b.ask("SELECT FROM cpu")
	b.sees("query-error", "error parsing query")
	b.ask(`SELECT usage FROM "nosuch"`)
	b.sees("query-empty", "no rows")
	// A policy that leaves the number of shards to the cluster has none that a change would have to bring.
	b.goTo("/ui/points?db=telemetry")
	b.click("alter-telemetry-autogen")
	b.sees("dialog-command", "muster policy alter --duration 30d --window 1d telemetry autogen")
	b.fill("field-duration", "31d")
	b.click("dialog-go")
	b.sees("plan", "31d")
	b.click("dialog-close")
	if b.struck() {
		t.Error("a tag was taken for HTML")
	}
	b.clean()
}

// pageManyWindows is as many as a cluster may have.
const pageManyWindows = 16_384

// With as many windows as there may be, the page stays quick, draws no more marks than there is room for, and tells how many
// windows it leaves out. No test can wait for retention to hide one, so the page is told of these in place of the node.
func pageWindows(t *testing.T, p *dashboard) {
	from := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	var rows []windowRow
	var policies []map[string]any
	at := func(n int) string { return from.Add(time.Duration(n) * time.Hour).Format(time.RFC3339) }
	for policy := range 32 { // 24 of them are drawn
		name := fmt.Sprintf("p%02d", policy)
		policies = append(policies, map[string]any{"database": "big", "name": name, "id": policy, "duration": "inf", "window": "1h", "shards": 4, "default": policy == 0, "windows": pageManyWindows / 32})
		for i := range pageManyWindows / 32 {
			rows = append(rows, windowRow{ID: uint64(len(rows)), Database: "big", Policy: name, Start: at(i), End: at(i + 1), Groups: []int{1, 2, 3, 4}})
		}
	}
	rows[510].Hidden, rows[511].Truncated = at(0), from.Add(511*time.Hour+20*time.Minute).Format(time.RFC3339)
	bodies := map[string]string{}
	for path, rows := range map[string]any{
		"db/list": []map[string]any{{"name": "big", "id": 1, "default": "p00", "policies": 32, "windows": pageManyWindows}}, "policy/list": policies, "window/list": rows,
		"hint/list": []map[string]any{{"node": "n2", "group": 3, "hints": 2, "points": 4321, "bytes": 1 << 20, "oldest": at(0), "aside": 1, "fails": 1, "why": markup}},
	} {
		text, err := json.Marshal(rows)
		if err != nil {
			t.Fatal(err)
		}
		bodies["/api/v1/"+path] = string(text)
	}
	b := p.login(t, 0, "/ui/")
	b.answers("application/json", bodies)
	b.click("nav-points")
	b.sees("windows-count", groupDigits(pageManyWindows))
	for _, want := range []string{"n2", "4,321", "1.0 MiB", markup} {
		b.sees("hint-queues", want)
	}
	b.sees("db", "16,384 windows are too many")
	count := func() (n int) {
		return eval[int](b, `[...`+of("left-out")+`.textContent.matchAll(/([\d,]+) (?:windows? drawn|more in|not drawn: (?:earlier|later))/g)].reduce((n, m) => n + Number(m[1].replaceAll(",", "")), 0)`)
	}
	for range 3 {
		if n := count(); n != 24*pageManyWindows/32 {
			t.Errorf("the page tells of %d windows of the policies that it draws, want %d: %s", n, 24*pageManyWindows/32, b.text("left-out"))
		}
		b.click("closer")
	}
	b.sees("left-out", "8 policies not drawn")
	b.goTo(fmt.Sprintf("/ui/points?from=%d&to=%d", from.UnixMilli(), from.AddDate(0, 0, 30).UnixMilli()))
	b.until("it is drawn", of("lane-big-p00")+"?.dataset.marks > 0")
	if marks, wide := eval[int](b, "Number("+of("lane-big-p00")+".dataset.marks)"), eval[int](b, of("lane-big-p00")+".clientWidth"); marks > wide/2 {
		t.Errorf("512 windows are %d marks in %d px", marks, wide)
	}
	b.sees("left-out", "marks that stand for several")
	b.goTo(fmt.Sprintf("/ui/points?from=%d&to=%d", from.Add(500*time.Hour).UnixMilli(), from.Add(513*time.Hour).UnixMilli()))
	b.until("it is drawn", of("lane-big-p00")+"?.dataset.marks > 0")
	eval[bool](b, of("lane-big-p00")+".focus() === undefined")
	b.key(kb.End)
	b.sees("told", "truncated: its last points are of then")
	b.key(kb.ArrowLeft)
	b.sees("told", "over, deleted from 2020-01-01 01:00 on")
	// The whole picture, from new rows to the next frame.
	took := eval[float64](b, `(async () => {
		const drawn = (want) => new Promise((done) => { const look = () => want() ? done() : requestAnimationFrame(look); look(); });
		const from = performance.now();
		history.pushState(null, "", "/ui/points?from=`+fmt.Sprint(from.UnixMilli())+`&to=`+fmt.Sprint(from.Add(512*time.Hour).UnixMilli())+`");
		dispatchEvent(new PopStateEvent("popstate"));
		await drawn(() => `+of("lane-big-p00")+`.dataset.marks > 20);
		return performance.now() - from;
	})()`)
	if b.struck() {
		t.Error("what is in the way of a hint was taken for HTML")
	}
	t.Logf("%d windows drawn anew in %.0f ms", len(rows), took)
	if took > drawnMax.Seconds()*1000 {
		t.Errorf("%d windows took %.0f ms to draw, want at most %v", len(rows), took, drawnMax)
	}
	b.clean()
}
