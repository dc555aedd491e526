package ui

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, h http.Handler, method, target string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r io.Reader) string {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Each file comes with its type, compressed or not as its client takes it, and as 304 to
// whoever has it. A browser refuses a module of another type.
func TestFiles(t *testing.T) {
	h := Handler()
	kinds := map[string]string{".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".LICENSE": "text/plain; charset=utf-8"}
	for name, f := range load() {
		target := Prefix + name
		plain := get(t, h, "GET", target)
		if plain.StatusCode != http.StatusOK || plain.Header.Get("Content-Type") != kinds[path.Ext(name)] {
			t.Errorf("%s: status %d, header %v", target, plain.StatusCode, plain.Header)
		}
		if got := body(t, plain.Body); got != string(f.plain) || plain.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: not the file as it stands", target)
		}
		packed := get(t, h, "GET", target, "Accept-Encoding", "br, gzip;q=0.5")
		z, err := gzip.NewReader(packed.Body)
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		if got := body(t, z); got != string(f.plain) || packed.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s: compressed, it is another file", target)
		}
		if refused := get(t, h, "GET", target, "Accept-Encoding", "gzip;q=0"); refused.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: compressed for a client that takes no gzip", target)
		}
		tag := packed.Header.Get("ETag")
		if tag == plain.Header.Get("ETag") {
			t.Errorf("%s: one ETag for two sequences of bytes", target)
		}
		again := get(t, h, "GET", target, "Accept-Encoding", "gzip", "If-None-Match", `"other", W/`+tag)
		if again.StatusCode != http.StatusNotModified || body(t, again.Body) != "" {
			t.Errorf("%s: status %d to a client that has it, want 304", target, again.StatusCode)
		}
		if changed := get(t, h, "GET", target, "If-None-Match", tag); changed.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d to a client that has the compressed one and asks for the plain", target, changed.StatusCode)
		}
		head := get(t, h, "HEAD", target)
		if head.Header.Get("Content-Length") != plain.Header.Get("Content-Length") || body(t, head.Body) != "" {
			t.Errorf("%s: HEAD is no GET without the body", target)
		}
	}
}

// A screen's address is the page, so that a link to it and a reload work; a file that is
// not there is an error and not the page, which a browser would take for a module.
func TestPaths(t *testing.T) {
	h := Handler()
	for target, want := range map[string]int{
		"/ui/": 200, "/ui/nodes": 200, "/ui/keys?prefix=a.b/c.d": 200, "/ui/nodes/": 200,
		"/ui/other.js": 404, "/ui/vendor/none.js": 404, "/ui/../ui.go": 404, "/ui/screens/../main.js": 404,
	} {
		if got := get(t, h, "GET", target); got.StatusCode != want {
			t.Errorf("GET %s: status %d, want %d", target, got.StatusCode, want)
		} else if want == 200 && !strings.Contains(body(t, got.Body), "/ui/main.js") {
			t.Errorf("GET %s is not the page", target)
		}
	}
	if got := get(t, h, "POST", "/ui/"); got.StatusCode != http.StatusMethodNotAllowed || got.Header.Get("Allow") == "" {
		t.Errorf("POST: status %d, Allow %q", got.StatusCode, got.Header.Get("Allow"))
	}
}

// The page must want nothing that the door's policy forbids: no script or style in the document, no
// attribute that is code. And nothing takes text for HTML, so that a key named <script>
// stays a name; nothing is fetched from another host; every import is a file that is here.
func TestPageNeedsNoMoreThanThePolicy(t *testing.T) {
	for _, wrong := range beyondThePolicy() {
		t.Error(wrong)
	}
}

// beyondThePolicy returns what the page does that it may not.
func beyondThePolicy() (wrong []string) {
	all := load()
	forbidden := map[string]*regexp.Regexp{
		"takes text for HTML or code":  regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|dangerouslySetInnerHTML|\beval\(|new Function|srcdoc|javascript:`),
		"has a style that is text":     regexp.MustCompile(`style="|style=\$\{"|<style|setAttribute\("style"`),
		"has a script in the document": regexp.MustCompile(`<script(>| [^>]*>[^<])| on[a-z]+="`),
		"names another host":           regexp.MustCompile(`https?://[^$]`),
	}
	imports := regexp.MustCompile(`(?:from|import) "([^"]+)"`)
	for name, f := range all {
		if strings.HasPrefix(name, "vendor/") {
			continue
		}
		text := strings.ReplaceAll(string(f.plain), `xmlns="http://www.w3.org/2000/svg"`, "")
		for what, pattern := range forbidden {
			if found := pattern.FindString(text); found != "" {
				wrong = append(wrong, fmt.Sprintf("%s %s: %q", name, what, found))
			}
		}
		for _, m := range imports.FindAllStringSubmatch(text, -1) {
			if all[path.Join(path.Dir(name), m[1])] == nil {
				wrong = append(wrong, fmt.Sprintf("%s imports %s, which is no file of the page", name, m[1]))
			}
		}
	}
	for _, m := range regexp.MustCompile(`(?:href|src)="/ui/([^"]+)"`).FindAllStringSubmatch(string(all[index].plain), -1) {
		if all[m[1]] == nil {
			wrong = append(wrong, fmt.Sprintf("the document wants %s, which is no file of the page", m[1]))
		}
	}
	return wrong
}

// Files of others are unchanged: these are the sums of the files of the packages that
// docs/decisions/0037-page.md names.
func TestVendorIsUnchanged(t *testing.T) {
	want := map[string]string{
		"htm.LICENSE":    "740725f7252e750af735d0028cc534970772f513331e9f68150fede8fb3ce00f",
		"preact-htm.js":  "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7",
		"preact.LICENSE": "1fe6958409c8c257a70c587a18b6f7f412b179b456630790d30b2ec9a8e4b7d4",
		"uPlot.LICENSE":  "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
		"uPlot.css":      "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
		"uPlot.js":       "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
	}
	for name, f := range load() {
		if !strings.HasPrefix(name, "vendor/") {
			continue
		}
		sum := sha256.Sum256(f.plain)
		if got := hex.EncodeToString(sum[:]); got != want[path.Base(name)] {
			t.Errorf("%s has the sum %s, want %s", name, got, want[path.Base(name)])
		}
		delete(want, path.Base(name))
	}
	for name := range want {
		t.Errorf("%s is missing", name)
	}
}

// pageMax bounds what a browser fetches for all screens, compressed; the charts' library
// is a fifth of that.
const pageMax = 104 << 10

func TestPageIsSmall(t *testing.T) {
	sum := 0
	for name, f := range load() {
		if !strings.HasSuffix(name, ".LICENSE") {
			sum += len(f.packed)
		}
	}
	t.Logf("%d bytes compressed", sum)
	if sum > pageMax {
		t.Errorf("the page has %d bytes compressed, want at most %d", sum, pageMax)
	}
}

// A row of commands.js is a route of the API with its method, and what it calls its arguments is
// what the API does; what it says wants consent has the field for that. One would doubt it of rows
// that no test presses a button for.
func TestCommandsAreRoutes(t *testing.T) {
	text, err := os.ReadFile("../../../docs/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	type property struct{}
	type operation struct {
		Parameters  []struct{ Name string }
		RequestBody struct {
			Content map[string]struct {
				Schema struct{ Properties map[string]property }
			}
		}
	}
	var api struct {
		Paths map[string]map[string]operation
	}
	if err := json.Unmarshal(text, &api); err != nil {
		t.Fatal(err)
	}
	rows := string(load()["commands.js"].plain)
	fieldsOf := func(command, method string) map[string]bool {
		op, ok := api.Paths["/api/v1/"+strings.ReplaceAll(command, " ", "/")][strings.ToLower(method)]
		if !ok {
			t.Errorf("%s: the API has no %s of that name", command, method)
		}
		fields := map[string]bool{}
		for _, p := range op.Parameters {
			fields[p.Name] = true
		}
		for name := range op.RequestBody.Content["application/json"].Schema.Properties {
			fields[name] = true
		}
		return fields
	}
	found := regexp.MustCompile(`(?m)^  "([a-z -]+)": \["(GET|POST)"((?:, "[a-z_]+")*)\],$`).FindAllStringSubmatch(rows, -1)
	if len(found) < 30 {
		t.Fatalf("%d rows were read of commands.js: its form has changed", len(found))
	}
	for _, row := range found {
		fields := fieldsOf(row[1], row[2])
		for _, arg := range regexp.MustCompile(`[a-z_]+`).FindAllString(row[3], -1) {
			if !fields[arg] {
				t.Errorf("%s: the API has no field %q", row[1], arg)
			}
		}
	}
	_, rest, _ := strings.Cut(rows, "const agreed = new Set([")
	list, _, _ := strings.Cut(rest, "]")
	for _, m := range regexp.MustCompile(`"([a-z ]+)"`).FindAllStringSubmatch(list, -1) {
		if !fieldsOf(m[1], http.MethodPost)["yes"] {
			t.Errorf("%s: the command has no --yes", m[1])
		}
	}
}
