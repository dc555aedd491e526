package cmd

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"muster/node"
	"muster/node/web"
	"muster/repl/client"
	"muster/repl/wire"
)

// A cluster of one node, in this process, answers requests here by its own door; what wants several nodes is tested by
// node/trial/web.

// apiCluster is such a node.
type apiCluster struct {
	*apiServer
	commands *apiServer // answers with commands alone
	url      string     // of the node
	client   *client.Client
}

// headerCommands is a header that has a test's node run the command, even where a route has a faster way.
const headerCommands = "Test-Commands"

// api starts a node.
func api(t *testing.T) *apiCluster {
	t.Helper()
	a := new(apiCluster)
	config := node.Default()
	config.Name, config.Listen, config.Data, config.Groups, config.Insecure = "n1", "127.0.0.1:0", t.TempDir(), 2, true
	config.API = func(open web.Opener) http.Handler {
		a.apiServer, a.commands = newAPI(open), newAPI(open)
		for _, rt := range a.commands.routes {
			rt.native = nil
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get(headerCommands) != "" {
				a.commands.ServeHTTP(w, r)
			} else {
				a.apiServer.ServeHTTP(w, r)
			}
		})
	}
	addr := nodeRuns(t, config)
	a.url = "http://" + addr
	var err error
	if a.client, err = client.Open(client.Options{Endpoints: []string{addr}, Insecure: true, Patience: timeoutDefault}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.client.Close() })
	return a
}

// httpAnswer is an answer.
type httpAnswer struct {
	status int
	header http.Header
	body   []byte
}

// query is a query of fields, as name, value, name, value.
func query(fields ...string) string {
	q := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		q.Add(fields[i], fields[i+1])
	}
	return "?" + q.Encode()
}

// get asks for a route with the fields, as name, value, name, value.
func (a *apiCluster) get(t testing.TB, route string, fields ...string) httpAnswer {
	t.Helper()
	return a.do(t, http.MethodGet, route+query(fields...), nil)
}

// post sends a JSON object to a route.
func (a *apiCluster) post(t testing.TB, route, body string) httpAnswer {
	t.Helper()
	return a.do(t, http.MethodPost, route, []byte(body), "Content-Type", typeJSON)
}

func (a *apiCluster) do(t testing.TB, method, route string, body []byte, headers ...string) httpAnswer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, a.url+apiRoot+route, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return httpAnswer{resp.StatusCode, resp.Header, b}
}

// is checks the status of an answer, and reads its body.
func (r httpAnswer) is(t testing.TB, status int, into any) {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(r.body, into); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
}

// refused checks that an answer is an error, and returns it.
func (r httpAnswer) refused(t testing.TB, status int, code string) web.Refusal {
	t.Helper()
	var body errorBody
	r.is(t, status, &body)
	if body.Error == nil || body.Error.Code != code || body.Error.Message == "" {
		t.Fatalf("want the code %s: %s", code, r.body)
	}
	return *body.Error
}

// state is all that the cluster has, as far as commands show it.
func (a *apiCluster) state(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	for _, route := range []string{"kv/export", "lease/list", "service/list", "slot/list", "setting/list", "user/list", "role/list", "token/list", "namespace/list", "job/list", "node/list"} {
		r := a.get(t, route)
		r.is(t, http.StatusOK, nil)
		b.Write(r.body)
	}
	table, _, err := a.client.Table(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(&b, table.Index)
	// How long leases last is another figure at each look.
	return regexp.MustCompile(`"remaining_ms":\d+`).ReplaceAllString(b.String(), "")
}

// The commands that are asked for all the time have a way of their own. It must mean what the command means: the same
// bytes, the same status, and the same errors. Both are asked the same, one after the other.
func TestFastRoutesAnswerAsCommands(t *testing.T) {
	a := api(t)
	for _, body := range []string{`{"key":"a","value":"1"}`, `{"key":"b","value":"<&>\u2028"}`, `{"key_base64":"/wA=","value_base64":"//79"}`, `{"key":"gone","value":"x"}`} {
		a.post(t, "kv/set", body).is(t, http.StatusOK, nil)
	}
	varies := regexp.MustCompile(`g\d+/\d+\.\d+|:\d+`) // log ids and versions of writes
	for _, tt := range []struct{ route, request string }{
		{"kv/get", "key=a"}, {"kv/get", "key=a&key=b&key=a"}, {"kv/get", "key_base64=/wA="}, {"kv/get", "key=a&key_base64=/wA="},
		{"kv/get", "key=none"}, {"kv/get", "key=a&key=none&key_base64=/wE="}, {"kv/get", "key=a&read=local"}, {"kv/get", "key=a&read=follower"},
		{"kv/get", "key=a&max_stale=2s"}, {"kv/get", "key=a&at_once=1"}, {"kv/get", "key=a&key=b&key=c&key=d&at_once=true"}, {"kv/get", "key=a&after=g1/1.1"},
		{"kv/get", "key="}, {"kv/get", "key=" + strings.Repeat("k", 5000)}, {"kv/get", "key=a&max_stale=0s"}, {"kv/get", "key=a&max_stale=2s&read=local"},
		{"kv/get", "key=a&after=17"}, {"kv/get", "key=a&timeout=6m"}, {"kv/get", "key=a&timeout=0s"}, {"kv/get", "key=a&after=g9999/1.1"},
		{"kv/set", `{"key":"n1","value":""}`}, {"kv/set", `{"key":"n2","value":"-"}`}, {"kv/set", `{"key":"--","value":"--file"}`}, {"kv/set", `{"key":"n3","value":"v","ttl":"1h"}`},
		{"kv/set", `{"key":"a","value":"2","if_value":"no"}`}, {"kv/set", `{"key":"a","value":"2","if_absent":true}`}, {"kv/set", `{"key":"a","value":"2","if_version":999}`},
		{"kv/set", `{"key":"a","value":"2","if_version":0}`}, {"kv/set", `{"key":"a","value":"2","if_version":1,"if_absent":true}`}, {"kv/set", `{"key":"a","value":"2","ttl":"-1s"}`},
		{"kv/set", `{"key":"a","value":"2","ttl":"1s","lease":"1.2"}`}, {"kv/set", `{"key":"a","value":"2","lease":"17"}`}, {"kv/set", `{"key":"a","value":"2","lease":"1.2"}`},
		{"kv/set", `{"key":"","value":"2"}`}, {"kv/set", `{"key":"a","value":"2","if_absent":false}`},
		{"kv/del", `{"key":"gone"}`}, {"kv/del", `{"key":["n1","n2","never"]}`}, {"kv/del", `{"key_base64":"/wE="}`}, {"kv/del", `{"key":""}`},
	} {
		ask := func(headers ...string) httpAnswer {
			if tt.route == "kv/get" {
				return a.do(t, http.MethodGet, tt.route+"?"+tt.request, nil, headers...)
			}
			return a.do(t, http.MethodPost, tt.route, []byte(tt.request), append(headers, "Content-Type", typeJSON)...)
		}
		fast, slow := ask(), ask(headerCommands, "1")
		got, want := string(fast.body), string(slow.body)
		if tt.route != "kv/get" {
			got, want = varies.ReplaceAllString(got, "N"), varies.ReplaceAllString(want, "N")
		}
		if fast.status != slow.status || got != want || fast.header.Get("Content-Type") != slow.header.Get("Content-Type") {
			t.Errorf("%s %.80s: got %d %s, the command answers %d %s", tt.route, tt.request, fast.status, got, slow.status, want)
		}
	}
}

// A request reaches the command with arguments, options and a FILE of each kind, and gets what the command prints.
func TestRoutesReachTheirCommands(t *testing.T) {
	a := api(t)
	for _, tt := range []struct {
		route, request string
		status         int
		want           string // … stands for anything
	}{
		{"kv/set", `{"items":[{"key":"x1","value":"1"},{"key_base64":"/w==","value":"2"}]}`, 200, `{"log_ids":[…],"versions":{"x1":…},"versions_base64":{"/w==":…}}`},
		{"kv/incr", `{"key":"n"}`, 200, `…"values":{"n":1}}`},
		{"kv/incr", `{"key":"n","by":-5}`, 200, `…"values":{"n":-4}}`},
		{"kv/incr", `{"key":"n","by":"10"}`, 200, `…"values":{"n":6}}`},
		{"kv/incr", `{"key":"x1","by":9223372036854775807}`, 409, `{"error":{"code":"conflict",…,"exit":5,…}}`},
		{"kv/txn", `{"txn":{"if":[{"key":"t","absent":true}],"then":[{"set":{"key":"t","value":"x"}}]}}`, 200, `…"succeeded":true,"results":[{"op":"set","key":"t"}]}`},
		{"kv/txn", `{"txn":{"then":[{"sett":{"key":"t","value":"x"}}]}}`, 422, `…"text":"field txn: …`},
		{"kv/import", `{"items":[{"key":"i1","value":"1"},` + "\n" + `{"key":"i2",` + "\n" + `"value":"2"}]}`, 200, `{"written":2,"failed":0}`},
		{"kv/import", `{"items":[{"key":"i1"}]}`, 422, `…"result":{"written":0,"failed":0}}`},
		{"kv/get?key=i1&key=i2", "", 200, `{"items":[{"key":"i1","value":"1",…},{"key":"i2","value":"2",…}],"missing":[]}`},
		{"kv/list?prefix=i&keys=1&limit=1", "", 200, `{"key":"i1","version":…}`},
		{"kv/list?prefix=i&after=i1", "", 200, `{"key":"i2","value":"2","version":…}`},
		{"kv/list?prefix=i&desc=1&limit=1&keys=1", "", 200, `{"key":"i2","version":…}`},
		{"kv/list?prefix=i&from=i1&to_base64=aTI=&keys=1", "", 200, `{"key":"i1","version":…}`},
		{"kv/list?prefix=i&count=1", "", 200, `{"count":2}`},
		{"kv/list?prefix=i&after=i1&count=1", "", 200, `{"count":1}`},
		{"kv/list?from=i2&to=i1", "", 400, `{"error":{"code":"bad-request","object":"field to",…`},
		{"kv/list?prefix=i&from=j", "", 400, `{"error":{"code":"bad-request","object":"field from",…`},
		{"kv/list?prefix=i&to=i&count=1", "", 400, `{"error":{"code":"bad-request","object":"field to",…`},
		{"kv/list?count=1&desc=1", "", 400, `{"error":{"code":"bad-request","object":"field count",…`},
		{"kv/list?prefix=none", "", 200, ``},
		{"kv/list?limit=-1", "", 400, `{"error":{"code":"bad-request","object":"field limit",…`},
		{"kv/locate?key=--keys", "", 200, `{"key":"--keys","slot":…}`},
		{"kv/export?after_base64=" + url.QueryEscape("/w=="), "", 200, ``},
		{"kv/del", `{"prefix":"i","yes":true,"wait":true}`, 200, `{"log_ids":[],"versions":{},"deleted":2,"id":"…","kind":"delete","state":"done","done":2,"total":2,"unit":"keys"}`},
		{"kv/del", `{"key":"i1","yes":true}`, 400, `…"object":"field yes"…`},
		{"kv/del", `{"prefix":"","yes":true}`, 400, `…"object":"field prefix","text":"prefix: empty, and every key begins so; want what the keys begin with, or all to delete every key of the cluster"…`},
		{"kv/del?plan=1", `{"prefix":""}`, 400, `…"object":"field prefix"…`},
		{"kv/del", `{"prefix_base64":"","yes":true}`, 400, `…"object":"field prefix"…`},
		{"kv/del", `{"all":true,"prefix":"i","yes":true}`, 400, `…"object":"field all"…`},
		{"kv/del", `{"all":true,"key":"i1","yes":true}`, 400, `…"object":"field all"…`},
		{"kv/del", `{"all":false}`, 400, `…"object":"field key"…`},
		{"kv/del", `{"all":false,"yes":true}`, 400, `…"object":"field key"…`},
		{"lease/grant", `{"ttl":"30s","for":"a"}`, 200, `{"id":"…","ttl_ms":30000,…}`},
		{"lease/keepalive", `{"id":"9.9"}`, 404, `…"code":"not-found"…"exit":4…`},
		{"service/set", `{"services":[{"name":"db","type":"tcp","node":[{"host":"127.0.0.1","port":"1"}]}]}`, 200, `{"log_ids":[…],"versions":{"db":…}}`},
		{"service/set", `{"name":"web","type":"tcp","node":["host=127.0.0.1,port=1","host=127.0.0.1,port=2"],"set":"interval=1s"}`, 200, `…"versions":{"web":…}}`},
		{"service/set", `{"services":[{"name":"db","type":"nope","node":[]},{"name":"","type":"tcp","node":[]}]}`, 422, `…"notes":["field services: …`},
		{"service/set", `{"services":[],"name":"x"}`, 400, `…"code":"bad-request"…`},
		{"service/get?name=web", "", 200, `{"name":"web","type":"tcp",…"interval":"1s"…}`},
		{"service/get?name=--read%3Dlocal", "", 404, `…"service \"--read=local\""…`},
		{"service/maintain", `{"name":"db","instance":"127.0.0.1:1","state":"on"}`, 200, `…"versions":{"db":…}}`},
		{"service/maintain", `{"name":"db","instance":"127.0.0.1:1","state":"maybe"}`, 400, `…want on or off…`},
		{"service/pick?name=db", "", 503, `…"code":"no-result"…"exit":6…`},
		{"service/del", `{"name":"db"}`, 200, `…"deleted":1}`},
		{"node/weight", `{"node":"n1","weight":7}`, 200, `[{…"weight":7,…}]`},
		{"node/label", `{"node":"n1","label":["zone=a","rack=1"]}`, 200, `[{…"labels":{"rack":"1","zone":"a"}}]`},
		{"node/drain", `{"node":["nobody"]}`, 404, `…"code":"not-found"…`},
		{"group/create", `{"id":7}`, 200, `[{"id":7,…}]`},
		{"slot/move", `{"slots":"5-9","group":7,"wait":true}`, 200, `{"id":"…","kind":"move","state":"done","done":5,"total":5,…}`},
		{"slot/move", `{"slots":1,"group":"7"}`, 202, `{"id":"…","kind":"move",…}`},
		{"slot/move", `{"slots":"5-4","group":"7"}`, 400, `…"text":"slots \"5-4\"; want…`},
		{"setting/set", `{"name":"dead-after","value":"20s"}`, 200, `{"name":"dead-after","value":"20s",…}`},
		{"setting/set", `{"name":"nothing","value":"20s"}`, 404, `…"code":"not-found"…`},
		{"init", `{"name":"root"}`, 200, `{"name":"root",…"password":"…"}`},
		{"user/create", `{"name":"ann","password":"hunter2 hunter2"}`, 200, `{"name":"ann","id":"…","has_password":true,"roles":[]}`},
		{"user/create", `{"name":"ben"}`, 200, `{"name":"ben",…"password":"…"}`},
		{"user/create", `{"name":"cat","no_password":true}`, 200, `{"name":"cat","id":"…","has_password":false,"roles":[]}`},
		{"user/create", `{"name":"dan","password":"hunter2 hunter2","no_password":true}`, 400, `…no_password and password contradict each other…`},
		{"role/create", `{"name":"app"}`, 200, `{"name":"app","grants":[],"users":[]}`},
		{"role/grant", `{"name":"app","verbs":"read,write","object":"key:--x"}`, 200, `{"name":"app","grants":[{"verbs":["read","write"],"object":"key:--x"}],"users":[]}`},
		{"user/grant", `{"name":"ann","role":"app"}`, 200, `…"roles":["app"]}`},
		{"auth/can-i?verb=read&object=--x&as=ann", "", 200, `{"allowed":true,…}`},
		{"auth/can-i?verb=read&object=other&as=ann", "", 200, `{"allowed":false,…}`},
		{"namespace/limit", `{"prefix":"lim/","keys":3}`, 200, `{"prefix":"lim/",…"keys_limit":3,…}`},
		{"namespace/limit", `{"prefix":"lim/"}`, 400, `…a limit is missing; want keys, bytes or rate…`},
		{"namespace/del", `{"prefix":"lim/"}`, 200, `{}`},
		{"check", `{}`, 200, `{"groups":[…],"ok":true}`},
		{"status?counters=true", "", 200, `{"cluster":…"counters":[…],"disk":{…}}`},
		{"doctor", "", 200, `{"ok":true,"findings":[…],"nodes":[{…"answered":true…`},
		{"log/diff?left=n1&right=n1", "", 200, `{"group":0,…"diverged":false}…`},
		{"audit/tail?limit=1", "", 200, `{"seq":…}`},
		{"audit/verify", "", 200, `{"ok":true,"node":"n1",…}`},
		{"job/show?id=99999", "", 404, `…"exit":4…`},
		{"version", "", 200, `{"version":…}`},
		{"nope", "", 404, `…"code":"not-found","object":"path /api/v1/nope"…`},
		{"kv", "", 404, `…"code":"not-found"…`},
		{"kv/get/", "", 404, `…"code":"not-found"…`},
	} {
		r := a.do(t, http.MethodGet, tt.route, nil)
		if tt.request != "" {
			r = a.post(t, tt.route, tt.request)
		}
		pattern := "(?s)^" + strings.ReplaceAll(regexp.QuoteMeta(tt.want), "…", ".*?") + "\n?$"
		if r.status != tt.status || !regexp.MustCompile(pattern).Match(r.body) {
			t.Errorf("%s %s:\n got %d %s\nwant %d %s", tt.route, tt.request, r.status, r.body, tt.status, tt.want)
		}
	}
}

// An argument of a request stays an argument, whatever it looks like: no request sets an option that its route does not
// have, and least of all one that names a file.
func TestArgumentsOfRequestsAreNoOptions(t *testing.T) {
	if wrong := optionsInjected(t, api(t)); wrong != "" {
		t.Error(wrong)
	}
}

// optionsInjected returns what was taken for an option, or "".
func optionsInjected(t *testing.T, a *apiCluster) string {
	for _, text := range []string{"--read=local", "--timeout=1ns", "--cluster=other", "--secret-file=/etc/passwd", "--endpoints=127.0.0.1:1", "-o=table", "--", "-", "--help"} {
		var place placeRow
		if r := a.get(t, "kv/locate", "key", text); r.status != http.StatusOK || json.Unmarshal(r.body, &place) != nil || place.Key == nil || *place.Key != text {
			return fmt.Sprintf("the key %q: %d %s", text, r.status, r.body)
		}
		a.post(t, "kv/set", fmt.Sprintf(`{"key":%q,"value":%q}`, text, text)).is(t, http.StatusOK, nil)
		var got gotRows
		if r := a.get(t, "kv/get", "key", text); json.Unmarshal(r.body, &got) != nil || len(got.Items) != 1 || *got.Items[0].Value != text {
			return fmt.Sprintf("the value %q: %d %s", text, r.status, r.body)
		}
		if r := a.post(t, "user/create", fmt.Sprintf(`{"name":%q,"no_password":true}`, text)); r.status != http.StatusBadRequest {
			return fmt.Sprintf("the user %q: %d %s", text, r.status, r.body)
		}
	}
	return ""
}

// A field that means nothing is a mistake: a request with "prefx" is not meant to delete something else.
func TestUnknownFieldsAreRefused(t *testing.T) {
	if wrong := unknownTaken(t, api(t)); wrong != "" {
		t.Error(wrong)
	}
}

// unknownTaken returns which request with an unknown field was carried out, or "".
func unknownTaken(t *testing.T, a *apiCluster) string {
	for _, x := range [][2]string{{"kv/set", `{"key":"a","value":"1","if_absnt":true}`}, {"kv/del", `{"key":"a","secret_file":"/etc/passwd"}`}, {"check", `{"endpoints":"127.0.0.1:1"}`}, {"user/create", `{"name":"a","password_file":"/etc/passwd"}`}} {
		if r := a.post(t, x[0], x[1]); r.status != http.StatusBadRequest {
			return fmt.Sprintf("%s %s: %d %s", x[0], x[1], r.status, r.body)
		}
	}
	for _, x := range []string{"kv/list?limt=1", "kv/get?key=a&raw=1", "status?endpoints=127.0.0.1:1", "kv/list?plan=1"} {
		if r := a.do(t, http.MethodGet, x, nil); r.status != http.StatusBadRequest {
			return fmt.Sprintf("%s: %d %s", x, r.status, r.body)
		}
	}
	return ""
}

// A request must not make the node dial an address of its choice, nor tell whether there is a file on the node's host.
func TestRequestsNameMembersOnly(t *testing.T) {
	if wrong := dialledForRequest(t, api(t)); wrong != "" {
		t.Error(wrong)
	}
}

// dialledForRequest returns what was dialled or looked at for a request, or "".
func dialledForRequest(t *testing.T, a *apiCluster) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled := make(chan struct{}, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Close()
			select {
			case dialled <- struct{}{}:
			default:
			}
		}
	}()
	// A door's own client dials members alone. The commands have to see to it whatever client they get.
	past := httptest.NewServer(newAPI(func(*http.Request) (*client.Client, error) { return a.client, nil }))
	defer past.Close()
	own := a.url
	a.url = past.URL
	defer func() { a.url = own }()
	// The request fails either way, after it has dialled if it does. The left side comes first, and may be slow on a
	// busy machine.
	r := a.get(t, "log/diff", "left", "n1", "right", l.Addr().String(), "timeout", "10s")
	select {
	case <-dialled:
		return fmt.Sprintf("log/diff has dialled: %s", r.body)
	default:
	}
	dir := t.TempDir()
	there, gone := a.get(t, "log/diff", "left", "n1", "right", dir), a.get(t, "log/diff", "left", "n1", "right", filepath.Join(dir, "gone"))
	there.refused(t, http.StatusNotFound, "not-found")
	if strings.ReplaceAll(string(gone.body), "/gone", "") != string(there.body) {
		return fmt.Sprintf("log/diff tells whether there is a directory: %s %s", there.body, gone.body)
	}
	return ""
}

// Neither the variables of the node's process nor the files of its user have a part in a request.
func TestRequestsSeeNothingOfTheHost(t *testing.T) {
	a := api(t)
	for name, value := range map[string]string{"MUSTER_TIMEOUT": "nonsense", "MUSTER_ENDPOINTS": "127.0.0.1:1", "MUSTER_SECRET_FILE": "/nowhere", "MUSTER_TLS_CA": "/nowhere", "MUSTER_INSECURE": "perhaps", "MUSTER_CLUSTER": "other"} {
		t.Setenv(name, value)
	}
	home := t.TempDir()
	t.Setenv("MUSTER_HOME", home)
	for _, route := range []string{"status", "node/list", "kv/list", "kv/get?key=none", "service/list", "job/list", "user/list", "kv/locate?key=a", "lease/list", "doctor"} {
		if r := a.do(t, http.MethodGet, route, nil); r.status >= 500 || r.status == http.StatusBadRequest {
			t.Errorf("%s: %d %s", route, r.status, r.body)
		}
	}
	a.post(t, "kv/incr", `{"key":"n"}`).is(t, http.StatusOK, nil)
	if entries, err := os.ReadDir(home); err != nil || len(entries) > 0 {
		t.Errorf("in the home directory: %v, %v", entries, err)
	}
}

// Each code of the protocol, and each status of a command, has a status of HTTP: none comes out as a success, and a
// write of which nobody knows whether it was applied never as one that was not.
func TestErrorsHaveStatuses(t *testing.T) {
	rt := &apiRoute{apiRow: apiRow{command: "kv set"}, path: "/x"}
	for c := wire.Code(1); c.Known(); c++ {
		e := rt.apiErrorOf(fmt.Errorf("set: %w", &wire.Error{Code: c, Object: "o", Text: "t", State: "s", Next: "n", RetryAfterMs: 1500}))
		if web.Status(c) < 400 || e.status != web.Status(c) || e.row().Code != c.String() || e.exit != exitStatus(c.ExitStatus()) {
			t.Errorf("%s: %d, %+v", c, e.status, e.row())
		}
	}
	for s := exitRefused; s <= exitNotConfirmed; s++ {
		if e := rt.apiErrorOf(withStatus(s, "so it is")); exitStatuses[s].status == 0 || e.status != exitStatuses[s].status || e.exit != s || e.text != "so it is" {
			t.Errorf("exit %d: %d, %+v", s, e.status, e.row())
		}
	}
	if e := rt.apiErrorOf(context.DeadlineExceeded); e.status != http.StatusGatewayTimeout {
		t.Errorf("no result in time: %d", e.status)
	}
	w := httptest.NewRecorder()
	writeError(w, rt.apiErrorOf(&wire.Error{Code: wire.CodeBusy, RetryAfterMs: 1500}), nil)
	if got := w.Header().Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After is %q, want 2: whole seconds, rounded up", got)
	}
	w = httptest.NewRecorder()
	(&apiServer{open: func(*http.Request) (*client.Client, error) {
		return nil, wire.Unauthorized("request", "it has no token", "log in")
	}, routes: newAPI(nil).routes, calls: web.NewShares(1), user: web.UserOf}).
			ServeHTTP(w, httptest.NewRequest(http.MethodGet, apiRoot+"status", nil))
	if w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), `"code":"unauthorized"`) {
		t.Errorf("without a login: %d %s", w.Code, w.Body)
	}
}

// An error calls things as the request does. What stands in quotes is somebody's own, and stays as it is.
func TestErrorsAreInTheWordsOfTheRequest(t *testing.T) {
	rt := &apiRoute{apiRow: apiRow{command: "kv set"}, fields: []apiField{{name: "if_absent"}, {name: "ttl"}}}
	for _, tt := range []struct{ in, want, field string }{
		{"muster kv set: --if-absent and --ttl contradict each other; give one", "if_absent and ttl contradict each other; give one", "if_absent"},
		{`key "--ttl \" --ttl" has no --ttl`, `key "--ttl \" --ttl" has no ttl`, "ttl"},
		{`--other "--ttl`, `--other "--ttl`, ""},
		{"", "", ""},
	} {
		if got, field := rt.inFields(tt.in); got != tt.want || field != tt.field {
			t.Errorf("%q: got %q, %q; want %q, %q", tt.in, got, field, tt.want, tt.field)
		}
	}
}

// As many requests as there may be, and the next one hears at once that it is one too many.
func TestRequestsAreBounded(t *testing.T) {
	a := api(t)
	for range callsMax {
		a.calls.Take("")
	}
	e := a.get(t, "status")
	if e.refused(t, http.StatusServiceUnavailable, "busy"); e.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After is %q", e.header.Get("Retry-After"))
	}
	a.get(t, "kv/list").is(t, http.StatusOK, nil) // streams have places of their own
	for range streamsMax {
		a.streams.Take("")
	}
	a.get(t, "kv/list").refused(t, http.StatusServiceUnavailable, "busy")
	a.calls.GiveBack("")
	a.get(t, "status").is(t, http.StatusOK, nil)
	a.get(t, "status").is(t, http.StatusOK, nil) // its place was given back
}

// The streams of events have no bound of their own, so each must take one of the places that all streams share. An overview
// that is asked for once takes none.
func TestEventsShareThePlacesOfStreams(t *testing.T) {
	asked := 0
	a := apiHandler(func(*http.Request) (*client.Client, error) { asked++; return nil, errNotYet }).(*apiServer)
	get := func(route string) int {
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest(http.MethodGet, apiRoot+route, nil))
		return w.Code
	}
	if get("events"); asked != 1 {
		t.Errorf("with all places free: asked for a client %d times, want once", asked)
	}
	for range streamsMax {
		a.streams.Take("")
	}
	if code := get("events"); code != http.StatusServiceUnavailable || asked != 1 {
		t.Errorf("with none free: %d, asked for a client %d times; want %d, once", code, asked, http.StatusServiceUnavailable)
	}
	if get("overview"); asked != 2 {
		t.Errorf("an overview: asked for a client %d times, want twice", asked)
	}
}

// A token or a key that stands where a name is wanted must not be repeated by the error.
func TestErrorsOfRequestsEchoNoSecret(t *testing.T) {
	secret := strings.Repeat("A1b2", 11)
	token := "mst1." + strings.Repeat("0", 64) + ".17." + secret
	a := api(t)
	for _, r := range []httpAnswer{a.get(t, "service/get", "name", token), a.get(t, "kv/list", "limit", token), a.post(t, "user/create", `{"name":"`+token+`"}`), a.post(t, "kv/set", `{"`+token+`":1}`), a.get(t, "user/"+token)} {
		if r.status < 400 || bytes.Contains(r.body, []byte(secret)) {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
}

// A body is bounded before it is kept.
func TestBodiesAreBounded(t *testing.T) {
	a := api(t)
	value := base64.StdEncoding.EncodeToString(make([]byte, apiBodyMax/4*3))
	a.post(t, "kv/set", `{"key":"big","value_base64":"`+value+`"}`).refused(t, http.StatusRequestEntityTooLarge, "too-large")
	a.post(t, "kv/set", strings.Repeat("[", 1<<20)).refused(t, http.StatusBadRequest, "bad-request")
	a.get(t, "kv/get", "key", "big").is(t, http.StatusNotFound, nil)
	many := strings.Repeat(`"k",`, apiKeysMax) + `"k"`
	a.post(t, "kv/del", `{"key":[`+many+`]}`).refused(t, http.StatusBadRequest, "bad-request")
}
