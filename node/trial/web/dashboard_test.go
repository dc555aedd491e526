package web

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"muster/node/overview/feed"
	"muster/node/trial/clustertest"
	"muster/shardmap"
)

var screensFlag = flag.Bool("screens", false, "have TestDashboard make the pictures docs/dashboard/*.png anew")

const (
	pageUser     = "ann"
	pageGuest    = "bob" // makes a mistake with the password, for which others must not wait
	pagePassword = "correct horse battery"

	// markup is what must never be more than text, wherever it comes from.
	markup = `<script>window.struck=1</script><img src=x onerror="window.struck=1">`

	manyKeys     = 10_000
	manyServices = 5_000
	drawnMax     = time.Second // how long these may take to be drawn, from when they have come

	// verdictMax is how long the page may take to name a node that was killed.
	verdictMax = 3 * time.Second

	pageInstances = 3 // of the service that is picked from

	pageSlots     = 100 // that are moved from the page, each with some keys
	keyedSlots    = 6   // that are moved with the keyboard alone, by another tab
	pageSlotKeys  = 10
	pageSlotValue = 2 << 10 // bytes
	pageSlowRate  = "64KiB" // a second, while a move is to be watched
	unlimitedRate = "0"
)

// screens are those of the menu: the name in the address, and what is there once it is drawn.
var screens = []struct{ name, drawn string }{
	{"overview", "board"}, {"nodes", "nodes"}, {"reach", "reach"}, {"groups", "groups"}, {"slots", "slots"}, {"jobs", "jobs"}, {"keys", "keys"},
	{"points", "axis"}, {"query", "query"}, {"services", "services"}, {"events", "events"}, {"metrics", "chart"}, {"logs", "doctor"}, {"settings", "settings"}, {"users", "users"},
}

// dashboard is a cluster with somebody who may do everything, a browser, and the API beside it.
type dashboard struct {
	*clustertest.Cluster
	browser   *browser
	tls       http.Client
	badge     string           // what a login gave, as it stood in the answer
	token     string           // of it
	found     map[int][]string // keys by slot that a move takes along
	instances []string         // of the service web
}

// api asks the node with a number, and reads its answer into into, if that is not nil.
func (p *dashboard) api(t testing.TB, node int, method, path, body string, into any) {
	t.Helper()
	r, err := http.NewRequest(method, "https://"+p.Nodes[node].Addr+"/api/v1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if p.token != "" {
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := p.tls.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		t.Fatalf("%s %s: status %d, %s, %v", method, path, answer.StatusCode, text, err)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s %s: %s: %v", method, path, text, err)
	}
}

// login opens a tab at a screen of a node, with the badge of the API in it. That the form leads
// to one is what pageLogin is about.
func (p *dashboard) login(t testing.TB, node int, path string) *tab {
	t.Helper()
	b := p.browser.open(t, p.Cluster, node)
	_, err := chromedp.Call(b.ctx, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: `sessionStorage.setItem("muster.token", ` + quoted(p.badge) + `)`})
	if err != nil {
		t.Fatal(err)
	}
	b.goTo(path)
	b.until("the verdict is there", of("verdict")+"?.querySelector('.status')")
	return b
}

// seesWell waits for a verdict that nothing is wrong. A warning of a slow disk is one of the machine
// that tests.
func (b *tab) seesWell() {
	b.t.Helper()
	b.until("the verdict is that all is well", `/^\W*(ok|warning\s*one write of a hundred to the disk of)/.test(`+of("verdict")+`?.textContent)`)
}

// enter logs in with the form.
func (b *tab) enter(user, password string) {
	b.t.Helper()
	b.fill("login-user", user)
	b.fill("login-password", password)
	b.click("login-go")
}

// The page is what people look at when something is wrong, and what they change a cluster with.
// So each screen must show what the API says, each change must be the one that was agreed to,
// and no text of the cluster may be more than text; it must be usable without a mouse, without
// colours and on a phone; and it must be there when nodes are not, the one that served it too.
func TestDashboard(t *testing.T) {
	p := &dashboard{Cluster: clustertest.New(t, 3, "--groups", "4"), found: map[int][]string{}}
	p.browser = startBrowser(t)
	for i := range p.Nodes {
		p.Start(i)
	}
	p.Healthy()
	p.GoesByCertificates()
	p.tls.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(p.tls.CloseIdleConnections)
	password := filepath.Join(p.Dir, "password")
	if err := os.WriteFile(password, []byte(pagePassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{pageUser, pageGuest} {
		p.Run("user", "create", user, "--password-file", password).Done(t)
		p.Run("user", "grant", user, "admin").Done(t)
	}
	var badge json.RawMessage
	p.api(t, 1, "POST", "auth/login", fmt.Sprintf(`{"user":%q,"password":%q}`, pageUser, pagePassword), &badge)
	var of struct{ Token string }
	if err := json.Unmarshal(badge, &of); err != nil {
		t.Fatal(err)
	}
	p.badge, p.token = string(badge), of.Token
	p.fillCluster()

	// Tests that leave the nodes alone run side by side, each in a tab of its own:
	//
	//	dashboard_test.go          the screens, what they show, and how fast
	//	dashboard_changes_test.go  what is changed with the page
	//	dashboard_points_test.go   databases and windows
	//	dashboard_query_test.go    queries and their answers
	//	dashboard_use_test.go      the people who use it, and their tools
	//	dashboard_kills_test.go    what it does when nodes die
	t.Run("tabs", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *dashboard){
			"login": pageLogin, "shared": pageShared, "refused": pageRefused, "limited": pageLimited, "screens": pageScreens, "text": pageText, "keys": pageKeys, "move": pageMove, "keyboard": pageKeyboard,
			"many": pageMany, "beyond": pageBeyond, "accessible": pageAccessible, "widths": pageWidths, "services": pageServices, "values": pageValues, "points": pagePoints, "windows": pageWindows, "query": pageQuery, "points queried": pagePointsQueried, "answers": pageAnswers,
		} {
			t.Run(name, func(t *testing.T) { t.Parallel(); test(t, p) })
		}
	})
	if *screensFlag {
		pageScreenshots(t, p)
	}
	t.Run("follower killed", func(t *testing.T) { pageFollowerKilled(t, p) })
	t.Run("serving node killed", func(t *testing.T) { pageServerKilled(t, p) })
}

// fillCluster writes what the screens show.
func (p *dashboard) fillCluster() {
	t := p.T
	t.Helper()
	var lines bytes.Buffer
	for i := range manyKeys {
		fmt.Fprintf(&lines, `{"key":"many/%05d","value":"%d"}`+"\n", i, i)
	}
	for i := range 40 {
		fmt.Fprintf(&lines, `{"key":"app/%s/%02d","value":"{\"n\":%d,\"on\":true}"}`+"\n", []string{"cart", "user", "job", "flag"}[i%4], i, i)
	}
	// The slots that move have some bytes each, so that a move takes a while at pageSlowRate.
	value := strings.Repeat("x", pageSlotValue)
	for i, missing := 0, pageSlots; missing > 0; i++ {
		tag := "{" + strconv.Itoa(i) + "}"
		slot := int(shardmap.SlotOf([]byte(tag)))
		if slot >= pageSlots || p.found[slot] != nil {
			continue
		}
		missing--
		for n := range pageSlotKeys {
			key := tag + strconv.Itoa(n)
			p.found[slot] = append(p.found[slot], key)
			fmt.Fprintf(&lines, `{"key":%q,"value":%q}`+"\n", key, value)
		}
	}
	for _, item := range []map[string]string{{"key": "odd/" + markup, "value": markup}, {"key": "odd/json", "value": `{"n":12345678901234567890,"s":"` + `<script>` + `"}`}, {"key": "odd/msgpack", "value_base64": "gqFhAaFikwECww=="}} {
		b, err := json.Marshal(item)
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(append(b, '\n'))
	}
	p.RunIn(lines.String(), "kv", "import", "-").Done(t)
	p.Run("kv", "set", "app/user/00", "seen", "--ttl", "2h").Done(t)
	type service struct {
		Name string              `json:"name"`
		Type string              `json:"type"`
		Node []map[string]string `json:"node"`
	}
	// Nobody checks instances of type ttl: a test that is about drawing need not wait for checks.
	all := []service{{"web", "tcp", nil}, {"reports", "ttl", []map[string]string{{"id": "one", "host": "10.9.9.9", "port": "1", "interval": "60000"}}}}
	for range pageInstances {
		addr := clustertest.Listen(t, func(conn net.Conn) { conn.Close() })
		_, port, _ := strings.Cut(addr, ":")
		p.instances = append(p.instances, addr)
		all[0].Node = append(all[0].Node, map[string]string{"host": "127.0.0.1", "port": port})
	}
	for i := range manyServices - len(all) {
		all = append(all, service{fmt.Sprintf("svc-%04d", i), "ttl", []map[string]string{{"id": "a", "host": "10.0.0.1", "port": strconv.Itoa(1000 + i), "interval": "60000"}}})
	}
	body, err := json.Marshal(map[string]any{"services": all})
	if err != nil {
		t.Fatal(err)
	}
	p.api(t, 1, "POST", "service/set", string(body), nil)
	p.api(t, 1, "POST", "db/create", `{"database":"telemetry","duration":"30d"}`, nil)
	p.writePoints(t, "telemetry", pointsText(time.Now(), 12))
	report, err := json.Marshal(map[string]string{"name": "reports", "instance": "one", "note": markup})
	if err != nil {
		t.Fatal(err)
	}
	p.api(t, 1, "POST", "service/heartbeat", string(report), nil)
}

// A wrong password says so and leads nowhere; logging out forgets the token.
func pageLogin(t *testing.T, p *dashboard) {
	b := p.browser.open(t, p.Cluster, 0)
	b.mayRefuse("/api/v1/")
	b.goTo("/")
	b.enter(pageGuest, "wrong")
	b.until("it says why", of("login-error")+"?.textContent.length > 10")
	b.enter(pageGuest, pagePassword)
	b.seesWell()
	if where := eval[string](b, "location.pathname"); where != "/ui/" {
		t.Errorf("/ led to %s, want /ui/", where)
	}
	b.do(chromedp.Reload())
	b.seesWell() // the tab remembers
	b.click("logout")
	b.until("the form is back", of("login-user"))
	if kept := eval[string](b, `sessionStorage.getItem("muster.token") ?? "nothing"`); kept != "nothing" {
		t.Errorf("after the logout the tab keeps %s", kept)
	}
	// A token that was made elsewhere does, too, and what is none does not.
	b.fill("login-token", "none")
	b.click("login-go")
	b.until("it says why", of("login-error")+"?.textContent.length > 10")
	b.fill("login-token", p.token)
	b.click("login-go")
	b.seesWell()
	b.sees("logout", pageUser)
	b.clean()
}

// The tabs of a browser share a connection to a node. A tab whose token counts no longer must not have the node end it:
// what another tab sends at that moment fails in the browser, without a word of the node.
func pageShared(t *testing.T, p *dashboard) {
	const tries = 40 // fewer than the handshakes that a host may begin at once
	ended := p.browser.open(t, p.Cluster, 0)
	ended.mayRefuse("/api/v1/")
	ended.goTo("/ui/")
	other := p.login(t, 0, "/ui/")
	eval[bool](other, `(() => {
		window.asks = (async () => {
			for (window.answered = 0; !window.enough; window.answered++) await Promise.all([1, 2, 3, 4].map(() => fetch("/livez")));
			return window.answered;
		})();
		return true;
	})()`)
	statuses := eval[string](ended, fmt.Sprintf(`(async () => {
		const all = new Set();
		for (let i = 0; i < %d; i++) all.add((await fetch("/api/v1/auth/whoami", { headers: { Authorization: "Bearer none" } })).status);
		return [...all].join();
	})()`, tries))
	if statuses != "401" {
		t.Errorf("a token that is none is answered with %s, want 401", statuses)
	}
	if n := eval[int](other, `(window.enough = true, window.asks)`); n == 0 {
		t.Error("the other tab has asked for nothing meanwhile")
	}
	other.clean()
	ended.clean()
}

// Each screen shows what the API says.
func pageScreens(t *testing.T, p *dashboard) {
	b := p.login(t, 0, "/ui/")
	var nodes []struct{ Name, Addr, Status string }
	p.api(t, 1, "GET", "node/list", "", &nodes)
	var groups []struct {
		ID     int
		Leader string
		Slots  int
	}
	p.api(t, 1, "GET", "group/list", "", &groups)
	for _, n := range nodes {
		b.sees("overview-node-"+n.Name, "alive")
	}
	b.click("nav-nodes")
	for _, n := range nodes {
		b.sees("nodes", n.Addr)
		b.sees("node-status-"+n.Name, n.Status)
	}
	b.click("nav-reach")
	for _, from := range nodes {
		for _, to := range nodes {
			if from != to {
				b.until("the round trip is there", "/\\d.*s$/.test("+of("link-"+from.Name+"-"+to.Name)+"?.textContent)")
			}
		}
	}
	b.click("nav-groups")
	for _, g := range groups {
		b.until(fmt.Sprintf("group %d is there", g.ID), fmt.Sprintf(`%s?.querySelector('tr[data-key="%d"]')`, of("groups"), g.ID))
	}
	b.click("nav-settings")
	var settings []struct{ Name, Value string }
	p.api(t, 1, "GET", "setting/list", "", &settings)
	for _, s := range settings {
		b.until(s.Name+" is there", of("setting-"+s.Name))
		if s.Name != "slot-rate" { // another tab changes it
			b.sees("setting-"+s.Name, s.Value)
		}
	}
	b.click("nav-logs")
	b.until("the doctor has spoken", of("doctor")+"?.querySelector('.status')")
	b.click("check-go")
	b.sees("check-result", "all replicas of all groups agree")
	b.click("diff-go")
	b.sees("diffs", "no divergence")
	b.click("nav-users")
	b.sees("users", pageUser)
	b.sees("roles", "admin")
	b.click("nav-metrics")
	b.until("the charts are drawn", of("chart")+"?.querySelector('canvas')")
	b.click("nav-events")
	b.click("trail-tab")
	b.fill("trail-node", "n2") // which made the badge
	b.sees("trail", "Login")
	b.click("nav-nodes")
	b.click("token")
	b.click("dialog-go")
	b.until("there is a token", of("token-text")+"?.textContent.startsWith('mst')")
	b.click("dialog-close")
	var tokens []struct{ Role string }
	p.api(t, 1, "GET", "token/list", "", &tokens)
	if len(tokens) != 1 || tokens[0].Role != "server" {
		t.Errorf("after a token was made the API has %v", tokens)
	}
	b.clean()
}

// Whatever comes from the cluster is text: keys, values, what checks say, labels, and parts of
// the address, which somebody else may have written.
func pageText(t *testing.T, p *dashboard) {
	b := p.login(t, 0, "/ui/keys?prefix=odd/&flat=1")
	b.sees("keys", markup)
	b.click("nav-services")
	b.goTo("/ui/services?service=reports")
	b.sees("service-one", markup)
	key := "t.odd/" + markup
	b.goTo("/ui/keys?prefix=odd/&key=" + url.QueryEscape(key))
	b.sees("value", markup)
	b.goTo("/ui/keys?prefix=" + url.QueryEscape(markup) + "&q=" + url.QueryEscape(markup))
	b.until("the filter has it", of("keys-filter")+"?.value === "+quoted(markup))
	b.goTo("/ui/" + url.PathEscape("<b>bold"))
	b.until("the overview is there", of("board"))
	if b.struck() {
		t.Error("what the cluster says was taken for HTML")
	}
	b.clean()
	// No node may have such a name (node.TestCheck), so it is put into what the page is told.
	var overview json.RawMessage
	p.api(t, 1, "GET", strings.TrimPrefix(feed.PathOverview, "/api/v1/"), "", &overview)
	named := strings.ReplaceAll(string(overview), `"n2"`, quoted(markup))
	b = p.login(t, 0, "/ui/")
	b.answers("text/event-stream", map[string]string{feed.PathEvents: "event: overview\ndata: " + named + "\n\n"})
	for path, table := range map[string]string{"/ui/": "board", "/ui/nodes": "nodes", "/ui/reach": "reach"} {
		b.goTo(path)
		b.sees(table, markup)
		if b.struck() {
			t.Errorf("%s takes the name of a node for HTML", path)
		}
	}
	b.clean()
}

// struck reports whether markup is in the document as HTML.
func (b *tab) struck() bool {
	return eval[bool](b, "window.struck === 1 || document.querySelector('main script, main img[src=x]') !== null")
}

// One service: its instances as they were found, maintenance, and who is picked.
func pageServices(t *testing.T, p *dashboard) {
	b := p.login(t, 0, "/ui/services?service=web&q=web")
	for _, i := range p.instances {
		b.sees("instance-"+i, "up")
		b.sees("checked-by-"+i, "checked by n")
	}
	out := p.instances[2]
	b.click("maintain-" + out)
	b.sees("dialog-command", "muster service maintain web "+out+" on")
	b.click("dialog-go")
	b.sees("instance-"+out, "maintenance")
	b.click("try-pick")
	b.until("the histogram is there", of("histogram"))
	picked := eval[[]int](b, `[...`+of("histogram")+`.querySelectorAll("tbody tr")].map((r) => Number(r.lastElementChild.textContent))`)
	if len(picked) != 3 || picked[0]+picked[1] != 200 || picked[2] != 0 || picked[0] < 50 || picked[1] < 50 {
		t.Errorf("of three instances, the last in maintenance, 200 picks got %v", picked)
	}
	b.click("maintain-" + out)
	b.click("dialog-go")
	b.sees("instance-"+out, "up")
	b.clean()
}

// How values are shown is decided by code of the page alone, so it is asked directly: bytes
// that are cut off, nested too deeply or of another form must be shown as bytes, never hang the
// page or be shown as something else.
func pageValues(t *testing.T, p *dashboard) {
	b := p.login(t, 0, "/ui/")
	for _, tt := range []struct{ name, call, want string }{
		{"map", `msgpack(Uint8Array.of(0x82,0xa1,0x61,0x01,0xa1,0x62,0xc3))`, "{\n  \"a\": 1,\n  \"b\": true\n}"},
		{"number above 2^53", `msgpack(Uint8Array.of(0xcf,255,255,255,255,255,255,255,255))`, "18446744073709551615"},
		{"negative", `msgpack(Uint8Array.of(0x91,0xe0))`, "[\n  -32\n]"},
		{"bytes", `msgpack(Uint8Array.of(0xc4,2,1,255))`, "h'01ff'"},
		{"cut off", `msgpack(Uint8Array.of(0x92,1))`, "null"},
		{"more behind it", `msgpack(Uint8Array.of(0x91,1,1))`, "null"},
		{"claims four thousand million entries", `msgpack(Uint8Array.of(0xdd,255,255,255,255,1))`, "null"},
		{"nested a thousand deep", `msgpack(new Uint8Array(1000).fill(0x91))`, "null"},
		{"never used", `msgpack(Uint8Array.of(0xc1))`, "null"},
		{"a letter is no msgpack", `msgpack(Uint8Array.of(0x61))`, "null"},
		{"JSON", `json(encode('{"a":[],"b":{"c":1}}'))`, "{\n  \"a\": [],\n  \"b\": {\n    \"c\": 1\n  }\n}"},
		{"no JSON", `json(encode('{"a":'))`, "null"},
		{"no text", `utf8(Uint8Array.of(0xff))`, "null"},
		{"hex", `hex(encode("ab"))`, "000000  61 62" + strings.Repeat(" ", 42) + "  ab"},
	} {
		if got := eval[string](b, `import("/ui/values.js").then(({ msgpack, json, utf8, hex, encode }) => String(`+tt.call+`))`); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	for _, tt := range []struct{ call, want string }{
		{`line("kv del", { key: "it's" })`, `muster kv del 'it'\''s'`},
		{`line("kv set", { key: "-a", value: "$(rm)", if_version: 7 })`, `muster kv set --if-version 7 -- -a '$(rm)'`},
		{`line("kv list", { prefix: "", keys: true })`, `muster kv list --keys`},
		{`line("slot rebalance", {}, true)`, `muster slot rebalance --yes`},
		{`line("node add", { addr: ["a:1", "b:2"] })`, `muster node add a:1 b:2`},
	} {
		if got := eval[string](b, `import("/ui/commands.js").then(({ line }) => `+tt.call+`)`); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.call, got, tt.want)
		}
	}
	b.clean()
}

// Thousands of rows are drawn at once, as only those in view are; filter and order find the rest.
func pageMany(t *testing.T, p *dashboard) {
	b := p.login(t, 0, "/ui/keys")
	for _, tt := range []struct {
		path, table string
		rows        int
		find        string
	}{
		{"/ui/keys?prefix=many/&flat=1", "keys", manyKeys, "many/09999"},
		{"/ui/services", "services", manyServices, "svc-4321"},
	} {
		b.goTo(tt.path)
		b.until("all have come", fmt.Sprintf("%s?.textContent === %q", of(tt.table+"-count"), groupDigits(tt.rows)))
		// Drawn anew with other rows, from the change to the next frame.
		took := eval[float64](b, `(async () => {
			const input = `+of(tt.table+"-filter")+`;
			const set = (v) => { Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(input, v); input.dispatchEvent(new Event("input", { bubbles: true })); };
			const drawn = (want) => new Promise((done) => { const look = () => want() ? done() : requestAnimationFrame(look); look(); });
			const from = performance.now();
			set(`+quoted(tt.find)+`);
			await drawn(() => `+of(tt.table+"-count")+`.textContent.startsWith("1 of"));
			set("");
			await drawn(() => `+of(tt.table+"-count")+`.textContent === `+quoted(groupDigits(tt.rows))+`);
			return performance.now() - from;
		})()`)
		rows := eval[int](b, of(tt.table)+".querySelectorAll('tbody tr').length")
		t.Logf("%s: %d rows drawn twice in %.0f ms, as %d", tt.path, tt.rows, took, rows)
		if took > drawnMax.Seconds()*1000 {
			t.Errorf("%s: %d rows took %.0f ms, want at most %v", tt.path, tt.rows, took, drawnMax)
		}
		if rows > 100 {
			t.Errorf("%s: %d rows are in the document, want those in view", tt.path, rows)
		}
		// The last row is where End leads.
		eval[bool](b, of(tt.table)+".querySelector('.scroll').focus() === undefined")
		b.key(kb.End)
		b.until("the last row has the focus", fmt.Sprintf(`document.activeElement?.dataset?.at === "%d"`, tt.rows-1))
	}
	b.clean()
}

// groupDigits is a number as the page writes it.
func groupDigits(n int) string { return fmt.Sprintf("%d,%03d", n/1000, n%1000) }
