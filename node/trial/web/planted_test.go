//go:build plantedbugs

package web

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"muster/node/trial/clustertest"
	"muster/node/web/ui"
)

// A page that takes text for HTML must be told from one that does not, by what is in the document:
// its policy keeps the browser from running any of it.
func TestBrowserFindsPlantedBug(t *testing.T) {
	const lib = ui.Prefix + "lib.js"
	markedUp := spoiled(ui.BugMarkup, lib)

	c := clustertest.New(t, 1, "--insecure") // nobody has to log in
	browser := startBrowser(t)
	c.Start(0)
	c.Healthy()
	c.Run("kv", "set", "odd/"+markup, markup).Done(t)
	for _, tt := range []struct {
		name    string
		spoiled bool
	}{{"as it ships", false}, {"with the bug", true}} {
		b := browser.open(t, c, 0)
		if tt.spoiled {
			b.answers("text/javascript", map[string]string{lib: markedUp})
		}
		b.goTo("/ui/keys?flat=1")
		b.until("the key is there", of("keys")+"?.querySelector('tr[data-at]')")
		if b.struck() != tt.spoiled {
			t.Errorf("the page %s: its text is taken for HTML: %v", tt.name, !tt.spoiled)
		}
	}
	// Drawings of windows and answers are wrong without being HTML.
	for bug, file := range map[string]string{ui.BugRounded: "answers.js", ui.BugUntold: "windows.js"} {
		b := browser.open(t, c, 0)
		b.answers("text/javascript", map[string]string{ui.Prefix + file: spoiled(bug, ui.Prefix+file)})
		b.goTo("/ui/")
		wrong := append(answersWrong(b), windowsWrong(b)...)
		if len(wrong) == 0 {
			t.Errorf("%s: not found", bug)
			continue
		}
		t.Logf("%s: %s", bug, wrong[0])
	}
}

// spoiled is a file of the page as it is served with a bug.
func spoiled(bug, path string) string {
	defer ui.SetBug("")
	ui.SetBug(bug)
	w := httptest.NewRecorder()
	ui.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Body.String()
}
