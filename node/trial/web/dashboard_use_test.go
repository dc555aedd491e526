package web

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"muster/repl/client"
)

// How the page looks, and with what it can be used.

// axeViolations runs axe-core in a tab and returns what it finds, a line each.
func axeViolations(b *tab, rules string) []string {
	return eval[[]string](b, `axe.run(document, `+rules+`).then((r) => r.violations.map((v) => v.id + ": " + v.help + ": " + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + " " + n.failureSummary.split("\n")[1]).join(" | ")))`)
}

// People with assistive technology stumble over nothing that axe-core knows, on any screen, in light
// and in dark.
func pageAccessible(t *testing.T, p *dashboard) {
	axe, err := os.ReadFile("testdata/axe.min.js")
	if err != nil {
		t.Fatal(err)
	}
	b := p.browser.open(t, p.Cluster, 0)
	b.mayRefuse("/api/v1/")
	look := func(what, rules string) {
		for _, v := range axeViolations(b, rules) {
			t.Errorf("%s: %s", what, v)
		}
	}
	both := func(what string) {
		b.scheme("light")
		look(what+", light", `{ resultTypes: ["violations"] }`)
		b.scheme("dark")
		look(what+", dark", `{ resultTypes: ["violations"], runOnly: ["color-contrast"] }`)
	}
	b.goTo("/ui/")
	b.until("the form is there", of("login-user"))
	eval[bool](b, string(axe)+"; true")
	both("login")
	b.enter(pageUser, pagePassword)
	for _, s := range screens {
		b.click("nav-" + s.name)
		b.until("it is drawn", of(s.drawn))
		both(s.name)
	}
	// These are there only once something was opened.
	for _, s := range []struct{ path, open, drawn string }{
		{"/ui/nodes?node=n1", "remove", "dialog"}, {"/ui/groups?group=1", "", "group-one"}, {"/ui/slots?from=1000&to=1010", "move", "dialog"},
		{"/ui/keys?key=t.app/cart/00", "edit", "edit-text"}, {"/ui/points?db=telemetry", "", "lane-telemetry-autogen"}, {"/ui/services?service=web&q=web", "", "service-one"}, {"/ui/events?what=trail", "", "trail"},
	} {
		b.goTo(s.path)
		if s.open != "" {
			b.click(s.open)
		}
		b.until("it is drawn", of(s.drawn))
		eval[bool](b, string(axe)+"; true")
		both(s.path)
	}
	b.clean()
}

// On a phone and on a large screen nothing is cut off: what is wide scrolls by itself.
func pageWidths(t *testing.T, p *dashboard) {
	b := p.login(t, 0, "/ui/")
	for _, width := range []int64{390, 768, 1280, 1920} {
		b.size(width, 844)
		for _, s := range screens {
			b.click("nav-" + s.name)
			b.until("it is drawn", of(s.drawn))
			if one := lookedAt[s.name]; one != "" {
				b.show(s.name + one)
				b.until("it is drawn", of(s.drawn))
				b.idle()
			}
			if over := eval[int](b, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
				t.Errorf("%s at %d px: the page is %d px wider", s.name, width, over)
			}
		}
	}
	b.clean()
}

// lookedAt are the addresses of some screens at which something is looked at closer.
var lookedAt = map[string]string{
	"nodes": "?node=n1", "groups": "?group=1", "slots": "?from=1200&to=1500", "points": "?db=telemetry", "query": "?db=telemetry", "keys": "?prefix=app/user/&key=t.app/user/00", "services": "?service=web",
}

// show goes to an address of the page without a reload, which would forget what the charts show.
func (b *tab) show(path string) {
	b.t.Helper()
	eval[bool](b, `history.pushState(null, "", "/ui/`+path+`") === undefined && dispatchEvent(new PopStateEvent("popstate"))`)
}

// Everything can be done with the keyboard: log in, go to a screen, choose slots, read the plan,
// carry it out, walk in a table, open a row, leave a dialog.
func pageKeyboard(t *testing.T, p *dashboard) {
	b := p.browser.open(t, p.Cluster, 0)
	b.mayRefuse("/api/v1/")
	const tabKey, enter, escape, down = kb.Tab, kb.Enter, kb.Escape, kb.ArrowDown
	focused := "document.activeElement?.dataset?.testid"
	// tabTo presses Tab until something has the focus, as a person would.
	tabTo := func(what, is string) {
		t.Helper()
		for range 60 {
			if eval[bool](b, "Boolean("+is+")") {
				return
			}
			b.key(tabKey)
		}
		t.Fatalf("Tab does not lead to %s", what)
	}
	b.goTo("/ui/")
	b.until("the form is there", of("login-user"))
	tabTo("the user", focused+` === "login-user"`)
	b.key(pageUser + tabKey + pagePassword + enter)
	b.until("the verdict is there", of("verdict"))
	b.key("gs")
	b.until("the slots are there", of("slots"))
	tabTo("the first slot", focused+` === "from"`)
	b.key("4090" + tabKey + strconv.Itoa(4090+keyedSlots-1))
	b.sees("selected", fmt.Sprintf("%d slots", keyedSlots))
	tabTo("the move", focused+` === "move"`)
	b.key(enter)
	b.until("the dialog is there", of("dialog"))
	b.until("its first field has the focus", focused+` === "field-group"`)
	b.key("1")
	tabTo("the plan", focused+` === "dialog-go"`)
	before := len(p.jobs(t))
	b.key(enter)
	b.agree(func() { b.key(enter) })
	if after := p.jobs(t); len(after) <= before {
		t.Errorf("the API has %d jobs, before the move it had %d", len(after), before)
	}
	b.until("the focus is where it was", focused+` === "move"`)
	b.key("gn")
	b.until("the nodes are there", of("nodes"))
	tabTo("the table", `document.activeElement?.getAttribute("role") === "region"`)
	b.key(down + down)
	b.until("the second row has the focus", `document.activeElement?.dataset?.at === "1"`)
	name := eval[string](b, "document.activeElement.dataset.key")
	b.key(enter)
	b.sees("node-one", name)
	tabTo("drain", focused+` === "drain"`)
	b.key(enter)
	b.until("the dialog is there", of("dialog")+"?.open")
	b.key(escape)
	b.until("the dialog has closed", "!"+of("dialog"))
	b.key("/")
	b.until("the filter has the focus", focused+` === "nodes-filter"`)
	// Over the protocol the character comes although the page took its key, unlike from a keyboard.
	if eval[string](b, "document.activeElement.value") == "/" {
		b.key(kb.Backspace)
	}
	b.key("n2")
	b.sees("nodes-count", "1 of 3")
	b.clean()
}

// pageScreenshots makes the pictures of docs/dashboard.md, while somebody writes.
func pageScreenshots(t *testing.T, p *dashboard) {
	dir := filepath.Join("..", "..", "..", "docs", "dashboard")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	cl := p.Client()
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			cl.Set(ctx, fmt.Appendf(nil, "app/cart/%02d", i%40), []byte(`{"n":1}`), client.WriteOptions{})
			cl.Get(ctx, [][]byte{fmt.Appendf(nil, "many/%05d", i%manyKeys)}, client.ReadOptions{})
		}
	}()
	b := p.login(t, 0, "/ui/")
	// The page tells what has happened since it was opened.
	for _, to := range []int{2, 1} {
		p.api(t, 1, "POST", "slot/move", fmt.Sprintf(`{"slots":"100-163","group":%d,"wait":true}`, to), nil)
	}
	b.sees("lately", "job")
	b.until("there are lines in the charts", "document.querySelector('.spark polyline')?.points.length >= 20") // one point a second
	for _, s := range screens {
		b.show(s.name + lookedAt[s.name])
		b.until("it is drawn", of(s.drawn))
		b.idle()
		b.until("nothing is asked any more", `![...document.querySelectorAll("main .empty")].some((e) => e.textContent.startsWith("asking"))`)
		if s.name == "query" {
			b.ask("SELECT mean(usage) FROM cpu WHERE time > now() - 5d AND host =~ /^[ab]$/ GROUP BY time(3h), host fill(none)")
			b.until("lines are drawn", of("query-chart")+"?.querySelector('canvas')")
		}
		for _, scheme := range []string{"light", "dark"} {
			if scheme == "dark" && s.name != "overview" {
				continue
			}
			b.scheme(scheme)
			shot, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
			if err != nil {
				t.Fatal(err)
			}
			if shot, err = smaller(shot); err != nil {
				t.Fatal(err)
			}
			name := s.name + map[string]string{"light": "", "dark": "-dark"}[scheme] + ".png"
			if err := os.WriteFile(filepath.Join(dir, name), shot, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		b.scheme("light")
	}
}

// smaller is a PNG with the 256 colours that most of it has: of a page nobody misses the others.
func smaller(shot []byte) ([]byte, error) {
	from, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		return nil, err
	}
	size := from.Bounds()
	count := map[color.Color]int{}
	for y := size.Min.Y; y < size.Max.Y; y++ {
		for x := size.Min.X; x < size.Max.X; x++ {
			count[from.At(x, y)]++
		}
	}
	palette := color.Palette(slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int { return count[b] - count[a] }))
	palette = palette[:min(len(palette), 256)]
	nearest := map[color.Color]uint8{}
	to := image.NewPaletted(size, palette)
	for y := size.Min.Y; y < size.Max.Y; y++ {
		for x := size.Min.X; x < size.Max.X; x++ {
			c := from.At(x, y)
			i, ok := nearest[c]
			if !ok {
				i = uint8(palette.Index(c))
				nearest[c] = i
			}
			to.SetColorIndex(x, y, i)
		}
	}
	var out bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, to)
	return out.Bytes(), err
}
