package web

import (
	"testing"
	"time"
)

// The page when nodes die.

// A follower is killed: within verdictMax the page says so and names it, without a reload, and says
// so again when it is back.
func pageFollowerKilled(t *testing.T, p *dashboard) {
	b := p.login(t, 0, "/ui/")
	b.seesWell()
	victim := 2
	b.mayFail(p.Nodes[victim].Addr)
	eval[bool](b, "window.loaded = true")
	killed := time.Now()
	p.Kill(victim)
	b.until("the verdict names it", of("verdict")+`.textContent.includes("node n3 ")`)
	took := time.Since(killed)
	t.Logf("named after %v", took.Round(time.Millisecond))
	if took > verdictMax {
		t.Errorf("the verdict named the killed node after %v, want at most %v", took, verdictMax)
	}
	if !eval[bool](b, "window.loaded === true") {
		t.Error("the page was loaded anew")
	}
	b.sees("overview-node-n3", "dead")
	p.Start(victim)
	p.Healthy()
	b.seesWell()
	b.sees("overview-node-n3", "alive")
	b.clean()
}

// The node that served the page is killed. The page goes on through another one, says so, names the
// dead one, and still reads, writes and goes from screen to screen.
func pageServerKilled(t *testing.T, p *dashboard) {
	b := p.login(t, 0, "/ui/keys?prefix=after/")
	b.click("watch")
	b.sees("watch-state", "watching")
	b.sees("via", "n1")
	b.mayFail(p.Nodes[0].Addr)
	b.mayFail(p.Nodes[2].Addr) // the browser may keep a connection from before it was killed, above
	p.Kill(0)
	b.until("another one answers", "/via n[23]/.test("+of("via")+".textContent)")
	b.until("the verdict names it", of("verdict")+`.textContent.includes("node n1 ")`)
	b.sees("watch-state", "watching")
	b.click("key-new")
	b.fill("field-key", "after/it")
	b.fill("field-value", "still here")
	b.click("dialog-go")
	b.sees("value", "still here")
	b.sees("watch-panel", "after/it")
	var got struct{ Items []struct{ Value string } }
	p.api(t, 1, "GET", "kv/get?key=after/it", "", &got)
	if len(got.Items) != 1 || got.Items[0].Value != "still here" {
		t.Errorf("the API has %v, the page wrote still here", got.Items)
	}
	for _, s := range screens {
		b.click("nav-" + s.name)
		b.until("it is drawn", of(s.drawn))
	}
	b.click("nav-points")
	b.sees("hints", "n1 has not answered")
	b.clean()
}
