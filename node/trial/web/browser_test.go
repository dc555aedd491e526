package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"muster/node/overview/feed"
	"muster/node/trial/clustertest"
)

// browser is a Chromium of this host, without a window.
type browser struct {
	t   testing.TB
	ctx context.Context

	mu  sync.Mutex      // held while it goes to a node for the first time
	met map[string]bool // guarded by mu: the addresses of the nodes it has been at
}

const (
	// tabMax is how long the work of one tab may take, and untilMax how long it may wait for anything: a
	// move or the checks of a service, on a machine that other tests keep busy.
	tabMax   = 80 * time.Second
	untilMax = 30 * time.Second
)

// networkChanged is why Chromium gives up what is under way when this host gets or loses an address, as
// it does by tests that make hosts of their own. The page goes on after it, and so do these tests.
const networkChanged = "net::ERR_NETWORK_CHANGED"

// goToTries bounds how often a tab goes to a page until it gets there, as a person would press reload.
const goToTries = 5

// startBrowser starts a Chromium. Where there is none the test skips: nothing is known of the
// page then.
func startBrowser(t testing.TB) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("there is no chromium on this host, so nobody has looked at the page; Debian's package is chromium")
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.IgnoreCertErrors, // a person gives the browser the cluster's root; see docs/dashboard.md
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("hide-scrollbars", true))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, stop := chromedp.NewContext(allocator)
	t.Cleanup(stop)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return &browser{t: t, ctx: ctx, met: map[string]bool{}}
}

// meet has the browser decide that it shows a node no certificate. A node asks for one. Chromium decides for each request
// that it makes before it knows that, and each time drops its connections to the node: of several tabs that
// go there for the first time together, one may end with net::ERR_CONNECTION_CLOSED.
func (b *browser) meet(t testing.TB, base string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.met[base] {
		return
	}
	ctx, stop := chromedp.NewContext(b.ctx)
	defer stop()
	ctx, stop = context.WithTimeout(ctx, tabMax)
	defer stop()
	if err := navigate(ctx, base+"/livez"); err != nil {
		t.Fatalf("first visit to %s: %v", base, err)
	}
	b.met[base] = true
}

// tab is one page of a browser. It notes what a person would find in the console, and each
// request that fails or goes to a host that is none of the cluster's.
type tab struct {
	t    testing.TB
	ctx  context.Context
	base string

	mu      sync.Mutex
	hosts   []string          // that may be asked, as H:P
	dead    []string          // of them, those whose requests may fail
	refused []string          // paths that may be answered with a status of 400 or more
	asked   map[string]string // what each request is for, by its id
	open    map[string]bool   // requests that are under way, by their ids
	wrong   []string          // what was noted
}

// open makes a tab of its own, with its own storage, and shows nothing yet.
func (b *browser) open(t testing.TB, c *clustertest.Cluster, node int) *tab {
	t.Helper()
	ctx, stop := chromedp.NewContext(b.ctx)
	t.Cleanup(stop)
	ctx, stop = context.WithTimeout(ctx, tabMax)
	t.Cleanup(stop)
	scheme := "https://"
	if c.Clear {
		scheme = "http://"
	}
	p := &tab{t: t, ctx: ctx, base: scheme + c.Nodes[node].Addr, asked: map[string]string{}, open: map[string]bool{}}
	b.meet(t, p.base)
	for _, n := range c.Nodes {
		p.hosts = append(p.hosts, n.Addr)
	}
	if err := chromedp.Listen(ctx, p.note); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{call(ctx, log.Enable), callWith(ctx, network.Enable, network.EnableParams{})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	p.size(1280, 860)
	return p
}

// note sees all events of a tab, in the goroutine that reads them.
func (p *tab) note(e any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	add := func(format string, args ...any) { p.wrong = append(p.wrong, fmt.Sprintf(format, args...)) }
	switch e := e.(type) {
	case *runtime.EventConsoleAPICalled:
		for _, a := range e.Args {
			add("console: %s %s%s", e.Type, a.Value, a.Description)
		}
	case *runtime.EventExceptionThrown:
		add("exception: %s %s", e.ExceptionDetails.Text, e.ExceptionDetails.Exception.Description)
	case *log.EventEntryAdded:
		// What it says of requests is noted below, where it is known what failed.
		if e.Entry.Source != "network" {
			add("log: %s %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		p.asked[string(e.RequestID)], p.open[string(e.RequestID)] = e.Request.URL, true
		if u, err := url.Parse(e.Request.URL); err != nil || u.Scheme != "data" && !slices.Contains(p.hosts, u.Host) {
			add("request to another host: %s", e.Request.URL)
		}
	case *network.EventLoadingFinished:
		delete(p.open, string(e.RequestID))
	case *network.EventLoadingFailed:
		delete(p.open, string(e.RequestID))
		u, err := url.Parse(p.asked[string(e.RequestID)])
		if err == nil && (e.Canceled || e.ErrorText == networkChanged || slices.Contains(p.dead, u.Host)) {
			return
		}
		add("request failed: %s: %s (%s, %s %v)", u, e.ErrorText, e.Type, e.BlockedReason, e.CorsErrorStatus)
	case *network.EventResponseReceived:
		u, err := url.Parse(e.Response.URL)
		if err == nil && e.Response.Status >= 400 && !slices.ContainsFunc(p.refused, func(r string) bool { return strings.HasPrefix(u.Path, r) }) {
			add("answer with status %d: %s", e.Response.Status, u)
		}
	}
}

// clean fails the test if something was noted.
func (p *tab) clean() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.wrong {
		p.t.Error(w)
	}
}

// mayRefuse says that requests below a path may be refused from now on.
func (p *tab) mayRefuse(path string) {
	p.mu.Lock()
	p.refused = append(p.refused, path)
	p.mu.Unlock()
}

// answers makes the browser answer GET requests for some paths with these bodies, in place of the node.
func (p *tab) answers(kind string, bodies map[string]string) {
	p.t.Helper()
	err := chromedp.Listen(p.ctx, func(e any) {
		paused, ok := e.(*fetch.EventRequestPaused)
		if !ok {
			return
		}
		// The goroutine that reads events must hear of the end of these calls, which end with the tab.
		if paused.Request.Method != http.MethodGet {
			go callWith(p.ctx, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: paused.RequestID})
			return
		}
		u, err := url.Parse(paused.Request.URL)
		if err != nil {
			p.t.Errorf("a request for %q: %v", paused.Request.URL, err)
			return
		}
		go callWith(p.ctx, fetch.FulfillRequest, fetch.FulfillRequestParams{
			RequestID: paused.RequestID, ResponseCode: http.StatusOK, Body: []byte(bodies[u.Path]),
			ResponseHeaders: []*fetch.HeaderEntry{{Name: "Content-Type", Value: kind}, {Name: "Access-Control-Allow-Origin", Value: p.base}},
		})
	})
	if err != nil {
		p.t.Fatal(err)
	}
	var patterns []*fetch.RequestPattern
	for path := range bodies {
		patterns = append(patterns, &fetch.RequestPattern{URLPattern: "*://*" + path + "*"})
	}
	if err := callWith(p.ctx, fetch.Enable, fetch.EnableParams{Patterns: patterns}); err != nil {
		p.t.Fatal(err)
	}
}

// mayFail says that requests to a node may fail from now on.
func (p *tab) mayFail(addr string) {
	p.mu.Lock()
	p.dead = append(p.dead, addr)
	p.mu.Unlock()
}

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

func (p *tab) goTo(path string) {
	p.t.Helper()
	if err := navigate(p.ctx, p.base+path); err != nil {
		p.t.Fatal(err)
	}
}

// navigate has a tab go to an address, and again after networkChanged.
func navigate(ctx context.Context, url string) error {
	err := chromedp.Do(ctx, chromedp.Navigate(url))
	for tries := 1; tries < goToTries && err != nil && strings.Contains(err.Error(), networkChanged); tries++ {
		err = chromedp.Do(ctx, chromedp.Navigate(url))
	}
	return err
}

func (p *tab) size(width, height int64) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(width, height))
}

// scheme has the page seen by somebody who prefers light or dark.
func (p *tab) scheme(which string) {
	p.t.Helper()
	err := callWith(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: which}}})
	if err != nil {
		p.t.Fatal(err)
	}
}

// eval evaluates JavaScript in a tab, and waits for what it promises.
func eval[T any](p *tab, script string) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%.200s: %v", script, err)
	}
	return v
}

// until waits until JavaScript in a tab is true.
func (p *tab) until(what, script string) {
	p.t.Helper()
	var last string
	limit, stop := context.WithTimeout(p.ctx, untilMax)
	defer stop()
	for limit.Err() == nil {
		ok, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool]("Boolean("+script+")"))
		if ok {
			return
		}
		if err != nil {
			last = err.Error()
		}
		if p.t.Failed() {
			break
		}
		select {
		case <-limit.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	shown, _ := chromedp.Run(p.ctx, chromedp.Evaluate[string]("location.href + ': ' + document.body.innerText.slice(0, 1500)"))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.t.Fatalf("not so: %s: %s %s\n%s\nthe page shows %s", what, script, last, strings.Join(p.wrong, "\n"), shown)
}

// idle waits until the page has all that it has asked for, but for streams, which go on.
func (p *tab) idle() {
	p.t.Helper()
	var left []string
	for end := time.Now().Add(untilMax); ; time.Sleep(20 * time.Millisecond) {
		p.mu.Lock()
		left = nil
		for id := range p.open {
			if u, err := url.Parse(p.asked[id]); err != nil || u.Path != feed.PathEvents && !strings.HasSuffix(u.Path, "/watch") {
				left = append(left, p.asked[id])
			}
		}
		p.mu.Unlock()
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("the page still waits for %v", left)
		}
	}
}

// quoted is a string in JavaScript.
func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // no string fails
	}
	return string(b)
}

// of is the element with a data-testid, in JavaScript.
func of(id string) string {
	return "document.querySelector(" + quoted(`[data-testid="`+id+`"]`) + ")"
}

// sees waits until the element with a data-testid shows a text.
func (p *tab) sees(id, text string) {
	p.t.Helper()
	p.until(id+" shows "+text, of(id)+"?.textContent.includes("+quoted(text)+")")
}

// text is what the element with a data-testid shows.
func (p *tab) text(id string) string {
	p.t.Helper()
	p.until(id+" is there", of(id))
	return eval[string](p, of(id)+".textContent")
}

// click presses an element, once it is there and can be pressed.
func (p *tab) click(id string) {
	p.t.Helper()
	p.until(id+" can be pressed", "("+of(id)+" && !"+of(id)+".disabled)")
	eval[bool](p, of(id)+".click() === undefined")
}

// fill gives a field its value, as if it had been typed or chosen.
func (p *tab) fill(id, value string) {
	p.t.Helper()
	p.until(id+" is there", of(id))
	eval[bool](p, `(() => {
		const e = `+of(id)+`;
		Object.getOwnPropertyDescriptor(Object.getPrototypeOf(e), "value").set.call(e, `+quoted(value)+`);
		return e.dispatchEvent(new Event(e.tagName === "SELECT" ? "change" : "input", { bubbles: true }));
	})()`)
}

// key presses keys, one after the other.
func (p *tab) key(keys string) {
	p.t.Helper()
	p.do(chromedp.KeyEvent(keys))
}

func call[R any](ctx context.Context, c cdp.Command[cdp.Empty, R]) error {
	return callWith(ctx, c, cdp.Empty{})
}

func callWith[P, R any](ctx context.Context, c cdp.Command[P, R], params P) error {
	_, err := chromedp.Call(ctx, c, params)
	return err
}
