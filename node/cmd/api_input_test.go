package cmd

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"muster/node/overview/feed"
	"muster/repl/client"
	"muster/repl/wire"
)

// readSpec reads the description of the routes as a program does that knows nothing else.
func readSpec(t *testing.T) *spec {
	t.Helper()
	b, err := os.ReadFile(specPage)
	if err != nil {
		t.Fatal(err)
	}
	s := new(spec)
	if err := json.Unmarshal(b, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// each calls f with each operation of the description, in order.
func (s *spec) each(f func(path, method string, o *specOperation)) {
	for _, path := range slices.Sorted(maps.Keys(s.Paths)) {
		for method, o := range s.Paths[path] {
			f(path, method, o)
		}
	}
}

// eachCommand is each for the routes that are commands: the others have tests where they are made.
func (s *spec) eachCommand(f func(path, method string, o *specOperation)) {
	s.each(func(path, method string, o *specOperation) {
		if !slices.ContainsFunc(apiOthers(), func(r apiOther) bool { return r.path == path }) {
			f(path, method, o)
		}
	})
}

// properties are the fields of an operation, with those that are required.
func (o *specOperation) properties() (fields map[string]*schema, required []string) {
	if o.Body != nil {
		body := o.Body.Content[typeJSON].Schema
		return body.Properties, body.Required
	}
	fields = map[string]*schema{}
	for _, p := range o.Parameters {
		if p.In != "query" {
			continue
		}
		fields[p.Name] = p.Schema
		if p.Required {
			required = append(required, p.Name)
		}
	}
	return fields, required
}

// types are the types that a schema takes.
func (s *schema) types() []string {
	switch t := s.Type.(type) {
	case string:
		return []string{t}
	case []any:
		var all []string
		for _, x := range t {
			all = append(all, x.(string))
		}
		return all
	}
	return nil
}

// The description is what generators of clients read. It has to hold together: references lead somewhere, names are
// given once, types are those of JSON Schema, and each operation says what comes back.
func TestOpenAPIHoldsTogether(t *testing.T) {
	s := readSpec(t)
	if s.OpenAPI != specVersion || s.Info.Title == "" || s.Info.Version == "" || len(s.Servers) == 0 {
		t.Errorf("the head is %q, %+v, %+v", s.OpenAPI, s.Info, s.Servers)
	}
	tags, ids := map[string]bool{}, map[string]string{}
	for _, tag := range s.Tags {
		if tags[tag.Name] || tag.Description == "" {
			t.Errorf("tag %+v", tag)
		}
		tags[tag.Name] = true
	}
	known := []string{"string", "integer", "number", "boolean", "object", "array"}
	var check func(at string, x *schema)
	check = func(at string, x *schema) {
		if x == nil {
			return
		}
		if name, ok := strings.CutPrefix(x.Ref, "#/components/schemas/"); x.Ref != "" && (!ok || s.Components.Schemas[name] == nil) {
			t.Errorf("%s: %s leads nowhere", at, x.Ref)
		}
		for _, kind := range x.types() {
			if !slices.Contains(known, kind) {
				t.Errorf("%s: type %q", at, kind)
			}
		}
		if slices.Contains(x.types(), "array") != (x.Items != nil) {
			t.Errorf("%s: items without an array, or an array without", at)
		}
		for _, name := range x.Required {
			if x.Type != nil && x.Properties[name] == nil {
				t.Errorf("%s: requires %s, and has none", at, name)
			}
		}
		check(at+"/items", x.Items)
		for name, p := range x.Properties {
			check(at+"/"+name, p)
		}
		for i, a := range x.AnyOf {
			check(fmt.Sprintf("%s/%d", at, i), a)
		}
	}
	for name, x := range s.Components.Schemas {
		check(name, x)
	}
	s.each(func(path, method string, o *specOperation) {
		at := method + " " + path
		if ids[o.ID] != "" || o.ID == "" || o.Summary == "" {
			t.Errorf("%s: id %q, also of %q; summary %q", at, o.ID, ids[o.ID], o.Summary)
		}
		ids[o.ID] = at
		for _, tag := range o.Tags {
			if !tags[tag] {
				t.Errorf("%s: tag %q", at, tag)
			}
		}
		seen := map[string]bool{}
		for _, p := range o.Parameters {
			if seen[p.In+p.Name] || p.In != "query" && p.In != "header" || p.Schema == nil {
				t.Errorf("%s: parameter %+v", at, p)
			}
			seen[p.In+p.Name] = true
			check(at+" "+p.Name, p.Schema)
		}
		hasFields := method == "post" && path != apiRoot+"auth/token" // which goes by the handshake alone
		if hasFields != (o.Body != nil) {
			t.Errorf("%s: a body, or none", at)
		}
		if o.Body != nil {
			body := o.Body.Content[typeJSON].Schema
			if body.Additional != false {
				t.Errorf("%s: takes any field", at)
			}
			check(at, body)
		}
		if o.Responses["200"] == nil || o.Responses["default"] == nil {
			t.Errorf("%s: responses %v", at, o.Responses)
		}
		for status, r := range o.Responses {
			if r.Description == "" || len(r.Content) == 0 {
				t.Errorf("%s: response %s is %+v", at, status, r)
			}
			for _, c := range r.Content {
				check(at+" "+status, c.Schema)
			}
		}
	})
	if want := len(apiTable()) + len(apiOthers()); len(ids) != want {
		t.Errorf("%d operations, the tables have %d", len(ids), want)
	}
}

// sample is a value that a field takes as far as its schema says.
func sample(x *schema) any {
	switch kind := x.types()[0]; {
	case len(x.Enum) > 0:
		return x.Enum[0]
	case x.Format == "go-duration":
		return "1s"
	case kind == "string":
		return "YQ=="
	case kind == "integer":
		return 1
	case kind == "boolean":
		return false
	case kind == "array":
		return []any{}
	}
	return map[string]any{}
}

// wrongValues are values that a field does not take, by its schema.
func wrongValues(x *schema) []string {
	all := map[string]string{"string": `"no such value, and no number"`, "integer": "7.5", "boolean": "true", "array": "[1]", "object": `{"a":1}`}
	for _, kind := range x.types() {
		switch {
		case kind == "string" && len(x.Enum) == 0 && x.Format != "go-duration":
			delete(all, kind)
		case kind == "array":
			all[kind] = `["a",["b"]]` // an array of something else
		case kind == "integer":
			all["integer"] = `"1x"`
			if slices.Contains(x.types(), "string") {
				delete(all, "integer")
			}
		case kind != "string":
			delete(all, kind)
		}
	}
	values := []string{"null"}
	if x.Minimum != nil {
		values = append(values, "-1")
	}
	if slices.Contains(x.types(), "integer") && !slices.Contains(x.types(), "string") {
		values = append(values, "123456789012345678901234567890", "1e3")
	}
	return append(values, slices.Sorted(maps.Values(all))...)
}

// Each field of each route is wrong once: of another type, unknown, missing, twice, too large, below zero, or no text.
// Each time the answer is a typed error that names the field, and the client, which is all that could change anything,
// is not asked for.
func TestEachFieldWrongOnce(t *testing.T) {
	var asked atomic.Int64
	h := newAPI(func(*http.Request) (*client.Client, error) { asked.Add(1); return nil, errNotYet })
	tried := 0
	refused := func(method, path, body, field string) {
		t.Helper()
		tried++
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", typeJSON)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		var got errorBody
		err := json.Unmarshal(w.Body.Bytes(), &got)
		if err != nil || w.Code != http.StatusBadRequest || got.Error == nil || got.Error.Code != "bad-request" || got.Error.Exit != int(exitUsage) || !strings.Contains(got.Error.Object, field) {
			t.Errorf("%s %.150s %.150s: %d %.300s; want 400 for %s", method, path, body, w.Code, w.Body, field)
		}
	}
	readSpec(t).eachCommand(func(path, method string, o *specOperation) {
		method = strings.ToUpper(method)
		fields, required := o.properties()
		good := map[string]any{}
		for _, name := range required {
			good[name] = sample(fields[name])
		}
		if o.Body != nil {
			if either := o.Body.Content[typeJSON].Schema.AnyOf; len(either) > 0 {
				name := either[0].Required[0]
				refused(method, path, objectOf(t, good), name)
				good[name] = sample(fields[name])
			}
		}
		for name, x := range fields {
			with := func(value string) {
				t.Helper()
				if method == http.MethodPost {
					object := objectOf(t, good)
					if _, there := good[name]; there {
						rest := maps.Clone(good)
						delete(rest, name)
						object = objectOf(t, rest)
					}
					refused(method, path, withField(object, name, value), name)
					return
				}
				q := url.Values{}
				for n, v := range good {
					q.Set(n, fmt.Sprint(v))
				}
				q.Set(name, strings.Trim(value, `"`))
				refused(method, path+"?"+q.Encode(), "", name)
			}
			if method == http.MethodGet {
				q := url.Values{name: {"a", "b"}}
				if x.Items == nil {
					refused(method, path+"?"+q.Encode(), "", name)
				}
				refused(method, path+"?"+name+"=%ff", "", name)
				for _, kind := range x.types() {
					if slices.Contains(x.types(), "string") && kind == "integer" {
						continue // a name fits too, so only the command can refuse it
					}
					if kind != "string" && kind != "array" || len(x.Enum) > 0 || x.Format == "go-duration" {
						with("no such value")
						if x.Minimum != nil {
							with("-1")
						}
					}
				}
				continue
			}
			for _, value := range wrongValues(x) {
				with(value)
			}
			if slices.Contains(x.types(), "string") {
				with(`"\ud800"`)
				refused(method, path, withField("{}", name, "\"\xff\""), "body")
			}
			if x.Format == "byte" {
				with(`"*"`)
			}
			refused(method, path, fmt.Sprintf(`{%q:%s,%q:%[2]s}`, name, mustJSON(t, sample(x)), name), name)
		}
		for _, name := range required {
			rest := maps.Clone(good)
			delete(rest, name)
			if method == http.MethodPost {
				refused(method, path, objectOf(t, rest), name)
			} else {
				q := url.Values{}
				for n, v := range rest {
					q.Set(n, fmt.Sprint(v))
				}
				if fields["key_base64"] != nil { // either is needed
					q.Set("key", "k")
				}
				refused(method, path+"?"+q.Encode(), "", name)
			}
		}
		if method == http.MethodGet {
			refused(method, path+"?nonsense=1", "", "nonsense")
			refused(method, path+"?%zz", "", "query")
			return
		}
		refused(method, path, withField(objectOf(t, good), "nonsense", "1"), "nonsense")
		refused(method, path+"?nonsense=1", objectOf(t, good), "nonsense")
		for _, body := range []string{"", "null", "[]", `"a"`, "1", "{", `{"a":}`, "{} {}", "\xff", strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)} {
			refused(method, path, body, "body")
		}
	})
	if asked.Load() > 0 {
		t.Errorf("a client was asked for %d times", asked.Load())
	}
	if tried < 1000 {
		t.Errorf("%d requests were tried", tried)
	}
	t.Logf("%d requests", tried)
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func objectOf(t *testing.T, fields map[string]any) string { return mustJSON(t, fields) }

// The method and the type of a body are part of a request. A form of a page of another host has neither.
func TestOtherMethodsAndTypesAreRefused(t *testing.T) {
	var asked atomic.Int64
	h := newAPI(func(*http.Request) (*client.Client, error) { asked.Add(1); return nil, errNotYet })
	readSpec(t).eachCommand(func(path, method string, o *specOperation) {
		for _, other := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodHead, http.MethodPatch, "QUERY"} {
			if strings.EqualFold(other, method) {
				continue
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(other, path, strings.NewReader("{}")))
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != strings.ToUpper(method) {
				t.Errorf("%s %s: %d, Allow %q", other, path, w.Code, w.Header().Get("Allow"))
			}
		}
		if o.Body == nil {
			return
		}
		for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset", "application/jsonp"} {
			r := httptest.NewRequest(http.MethodPost, path, strings.NewReader("{}"))
			if kind != "" {
				r.Header.Set("Content-Type", kind)
			}
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != http.StatusUnsupportedMediaType {
				t.Errorf("%s of type %q: %d %s", path, kind, w.Code, w.Body)
			}
		}
	})
	if asked.Load() > 0 {
		t.Errorf("a client was asked for %d times", asked.Load())
	}
}

// Values that are of the right type and mean nothing are refused by the command, and nothing is changed.
func TestMeaninglessValuesChangeNothing(t *testing.T) {
	a := api(t)
	a.post(t, "kv/set", `{"key":"a","value":"1"}`).is(t, http.StatusOK, nil)
	before := a.state(t)
	evil := "a\x00\u202e/../x"
	readSpec(t).eachCommand(func(path, method string, o *specOperation) {
		if method != "post" {
			return
		}
		fields, required := o.properties()
		for _, value := range []string{"", evil, "-1", strings.Repeat("z", 70000)} {
			body := map[string]any{}
			names := slices.Clone(required)
			if either := o.Body.Content[typeJSON].Schema.AnyOf; len(either) > 0 {
				names = append(names, either[0].Required[0])
			}
			if len(names) == 0 {
				return // it takes effect without any field
			}
			for _, name := range names {
				if body[name] = any(value); !slices.Contains(fields[name].types(), "string") {
					body[name] = sample(fields[name])
				}
			}
			route := strings.TrimPrefix(path, apiRoot)
			if route == "kv/import" {
				return // no items are none to refuse
			}
			if slices.Contains([]string{"kv/set", "kv/incr", "kv/del", "role/grant", "role/revoke", "namespace/limit", "namespace/del", "service/heartbeat"}, route) && value != "" && len(value) < 1000 {
				continue // any text is a key, a value, a prefix
			}
			r := a.post(t, route, mustJSON(t, body))
			var got errorBody
			if json.Unmarshal(r.body, &got) != nil || got.Error == nil || r.status < 400 || r.status >= 500 && r.status != http.StatusServiceUnavailable {
				t.Errorf("%s %.100s: %d %.300s", route, mustJSON(t, body), r.status, r.body)
			}
		}
	})
	if after := a.state(t); after != before {
		t.Errorf("something was changed:\n%.3000s\n%.3000s", before, after)
	}
}

// The overview and its events keep to what holds for routes of commands: the wrong method and a field that means nothing
// are refused, with an error in JSON. A HEAD must not be taken for a GET, whose events go on without an end.
func TestOverviewTakesNothingElse(t *testing.T) {
	asked := false
	h := apiHandler(func(*http.Request) (*client.Client, error) {
		asked = true
		return nil, wire.Busy("node", "it has enough to do", time.Second)
	})
	for _, c := range []struct {
		method, path, last string
		status             int
		object             string
	}{
		{"HEAD", feed.PathEvents, "", http.StatusMethodNotAllowed, "method"},
		{"POST", feed.PathEvents, "", http.StatusMethodNotAllowed, "method"},
		{"HEAD", feed.PathOverview, "", http.StatusMethodNotAllowed, "method"},
		{"OPTIONS", feed.PathOverview, "", http.StatusMethodNotAllowed, "method"},
		{"GET", feed.PathOverview + "?after=x", "", http.StatusBadRequest, `field "after"`},
		{"GET", feed.PathEvents + "?from=x", "", http.StatusBadRequest, `field "from"`},
		{"GET", feed.PathEvents + "?after=x&after=y", "", http.StatusBadRequest, "field after"},
		{"GET", feed.PathEvents + "?after=%ff", "", http.StatusBadRequest, "field after"},
		{"GET", feed.PathEvents + "?after=x", "", http.StatusBadRequest, "after"},
		{"GET", feed.PathEvents, "x", http.StatusBadRequest, "header Last-Event-ID"},
		{"GET", feed.PathEvents, "", http.StatusServiceUnavailable, "node"},
		{"GET", feed.PathOverview, "", http.StatusServiceUnavailable, "node"},
	} {
		asked = false
		r, w := httptest.NewRequest(c.method, c.path, nil), httptest.NewRecorder()
		if c.last != "" {
			r.Header.Set(headerLastEvent, c.last)
		}
		h.ServeHTTP(w, r)
		var body errorBody
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Errorf("%s %s: %v", c.method, c.path, err)
			continue
		}
		if w.Code != c.status || body.Error.Object != c.object || asked != (c.status == http.StatusServiceUnavailable) {
			t.Errorf("%s %s: %d about %q, asked %v; want %d about %q", c.method, c.path, w.Code, body.Error.Object, asked, c.status, c.object)
		}
	}
}
