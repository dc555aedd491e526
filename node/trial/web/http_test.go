package web

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muster/node/trial/clustertest"
)

// visitor asks nodes over HTTP, as one user.
type visitor struct {
	*clustertest.Cluster
	web   *http.Client
	token string
}

// visit has a user log in at node i. Its token is for all of them.
func visit(c *clustertest.Cluster, i int, user, password string) *visitor {
	c.T.Helper()
	v := &visitor{Cluster: c, web: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}}
	c.T.Cleanup(v.web.CloseIdleConnections)
	var session struct {
		Token string `json:"token"`
	}
	if status, body := v.post(i, "auth/login", fmt.Sprintf(`{"user":%q,"password":%q}`, user, password)); status != http.StatusOK || json.Unmarshal(body, &session) != nil {
		c.T.Fatalf("login: %d %s", status, body)
	}
	v.token = session.Token
	return v
}

// request makes a request of node i.
func (v *visitor) request(ctx context.Context, i int, method, route, body string) *http.Request {
	v.T.Helper()
	r, err := http.NewRequestWithContext(ctx, method, "https://"+v.Nodes[i].Addr+"/api/v1/"+route, strings.NewReader(body))
	if err != nil {
		v.T.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if v.token != "" {
		r.Header.Set("Authorization", "Bearer "+v.token)
	}
	return r
}

func (v *visitor) ask(i int, method, route, body string) (int, []byte) {
	v.T.Helper()
	resp, err := v.web.Do(v.request(v.T.Context(), i, method, route, body))
	if err != nil {
		v.T.Fatalf("%s: %v", route, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		v.T.Fatalf("%s: %v", route, err)
	}
	return resp.StatusCode, b
}

func (v *visitor) post(i int, route, body string) (int, []byte) {
	return v.ask(i, http.MethodPost, route, body)
}

// Any node does for any request: also where another one leads the group, or has the log that is asked for. A user may
// do over HTTP what it may do otherwise, at each node. A plan that one node has shown is carried out by another, and a
// stream that has broken goes on at another.
func TestHTTPAtEachNode(t *testing.T) {
	t.Parallel()
	const nodes, password = 5, "correct horse battery"
	c := clustertest.Start(t, nodes, "--groups", "2")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"role create all", "role grant all all key:", "role grant all all service:", "role grant all all cluster", "role create app", "role grant app all app/",
		"user create ann --password-file " + file, "user grant ann all", "user create bob --password-file " + file, "user grant bob app",
	} {
		if r := c.Run(strings.Fields(line)...); r.Status != clustertest.ExitDone {
			t.Fatalf("%s: %s", line, r.Stderr)
		}
	}
	ann, bob := visit(c, 0, "ann", password), visit(c, 1, "bob", password)
	for i := range nodes {
		key := fmt.Sprintf("app/%d", i)
		for _, tt := range []struct {
			who         *visitor
			route, body string
			want        int
		}{
			{ann, "kv/set", fmt.Sprintf(`{"key":%q,"value":"v"}`, key), 200}, {ann, "kv/get?key=" + key, "", 200}, {ann, "kv/list", "", 200},
			{ann, "status", "", 200}, {ann, "node/list", "", 200}, {ann, "group/list", "", 200}, {ann, "slot/list", "", 200}, {ann, "doctor", "", 200}, {ann, "user/list", "", 200},
			{ann, "check", "{}", 200}, {ann, "audit/tail?limit=1&node=n1", "", 200}, {ann, "log/diff?left=n1&right=n2&group=0", "", 200}, {ann, "service/list", "", 200},
			{bob, "kv/get?key=" + key, "", 200}, {bob, "kv/set", `{"key":"app/bob","value":"v"}`, 200}, {bob, "kv/list?prefix=app/", "", 200},
			{bob, "kv/list?from=app/a&to=app/c&desc=1", "", 200}, {bob, "kv/list?prefix=app/&count=1", "", 200}, {bob, "kv/list?from=app/a&to=b", "", 403}, {bob, "kv/list?count=1", "", 403},
			{bob, "kv/get?key=other", "", 403}, {bob, "kv/set", `{"key":"other","value":"v"}`, 403}, {bob, "kv/del", `{"all":true}`, 403}, {bob, "kv/list", "", 403}, {bob, "kv/watch", "", 403},
			{bob, "user/list", "", 403}, {bob, "setting/set", `{"name":"dead-after","value":"9m"}`, 403}, {bob, "slot/move", `{"slots":"0","group":2}`, 403}, {bob, "node/drain", `{"node":"n5"}`, 403}, {bob, "node/drain?plan=1", `{"node":"n5"}`, 403},
			{bob, "user/create", `{"name":"eve"}`, 403}, {bob, "token/create", `{}`, 403}, {bob, "audit/tail", "", 403},
		} {
			method := http.MethodGet
			if tt.body != "" {
				method = http.MethodPost
			}
			if status, body := tt.who.ask(i, method, tt.route, tt.body); status != tt.want {
				t.Errorf("node %d, %s %s: %d %s, want %d", i+1, tt.route, tt.body, status, body, tt.want)
			}
		}
		for _, o := range []struct{ route, body, look, done string }{
			{"setting/set", fmt.Sprintf(`{"name":"dead-after","value":"%dm"}`, 5+i), "setting/get?name=dead-after", fmt.Sprintf(`"value":"%dm"`, 5+i)},
			{"node/weight", fmt.Sprintf(`{"node":"n%d","weight":%d}`, i+1, 100+i), "node/list", fmt.Sprintf(`"weight":%d,`, 100+i)},
		} {
			status, body := ann.order(i, o.route, o.body, func() bool {
				status, body := ann.ask(i, http.MethodGet, o.look, "")
				return status == http.StatusOK && strings.Contains(string(body), o.done)
			})
			if status != http.StatusOK {
				t.Errorf("node %d, %s %s: %d %s", i+1, o.route, o.body, status, body)
			}
		}
	}
	plansOfSeveral(t, ann)
	streamGoesOn(t, ann)
}

// orderTries bounds how often an order is given whose leader is lost before it is carried out.
const orderTries = 5

// maybeApplied reports whether an answer says that nobody knows what became of the request.
func maybeApplied(status int, body []byte) bool {
	var e struct{ Error struct{ Code string } }
	return status == http.StatusGatewayTimeout && json.Unmarshal(body, &e) == nil && e.Error.Code == "maybe-applied"
}

// order gives an order to node i, as docs/http.md tells a client to: if nobody knows whether it was carried out, it asks
// done, and gives the order again only if it was not. It returns the last answer, with status 200 if done says yes.
func (v *visitor) order(i int, route, body string, done func() bool) (status int, answer []byte) {
	v.T.Helper()
	for range orderTries {
		if status, answer = v.post(i, route, body); !maybeApplied(status, answer) {
			return status, answer
		}
		if done() {
			return http.StatusOK, answer
		}
	}
	return status, answer
}

// planned is what a node answers to a request for a plan.
type planned struct {
	Plan struct {
		Lines []string
		Token string // empty: there is nothing to carry out
	}
}

// agreed returns the body of a request that carries out the plan for another one's body, and waits for its jobs.
func (p *planned) agreed(body string) string {
	return fmt.Sprintf(`%s,"wait":true,"plan_token":%q}`, strings.TrimSuffix(body, "}"), p.Plan.Token)
}

// plan has node i plan an order.
func (v *visitor) plan(i int, route, body string) (p planned) {
	v.T.Helper()
	if status, answer := v.post(i, route+"?plan=1", body); status != http.StatusOK || json.Unmarshal(answer, &p) != nil {
		v.T.Fatalf("plan of %s: %d %s", route, status, answer)
	}
	return p
}

// jobs returns the rows of all jobs, as node i shows them once they have ended.
func (v *visitor) jobs(i int) []byte {
	v.T.Helper()
	_, answer := v.ask(i, http.MethodGet, "job/list", "")
	var rows []clustertest.JobRow
	if err := json.Unmarshal(answer, &rows); err != nil {
		v.T.Fatalf("job/list: %v in %s", err, answer)
	}
	answer = nil
	for _, r := range rows {
		_, row := v.ask(i, http.MethodGet, "job/wait?id="+r.ID, "")
		answer = append(answer, row...)
	}
	return answer
}

// plansOfSeveral has one node plan, and another one carry it out: an order about several nodes at once, too.
func plansOfSeveral(t *testing.T, v *visitor) {
	for i, tt := range []struct {
		route, body string
		want        []string // of the rows
	}{
		{"node/drain", `{"node":["n4","n5"]}`, []string{`"node":"n4"`, `"node":"n5"`}},
		{"node/remove", `{"node":"n5"}`, []string{`"name":"n5"`}},
	} {
		first := v.plan(i, tt.route, tt.body)
		if first.Plan.Token == "" {
			t.Fatalf("%s: a plan without a token: %q", tt.route, first.Plan.Lines)
		}
		if status, body := v.post(i+1, tt.route, tt.body); status != http.StatusPreconditionRequired {
			t.Errorf("%s without consent: %d %s", tt.route, status, body)
		}
		p := first
		status, body := v.post(i+1, tt.route, p.agreed(tt.body))
		// If nobody knows what became of it, the jobs tell that, and the next plan tells what is left to do.
		for tries := 1; tries < orderTries && (maybeApplied(status, body) || status == http.StatusMultiStatus); tries++ {
			begun := v.jobs(i + 1)
			if p = v.plan(i, tt.route, tt.body); p.Plan.Token == "" {
				status, body = http.StatusOK, begun
				break
			}
			status, body = v.post(i+1, tt.route, p.agreed(tt.body))
		}
		for _, want := range tt.want {
			if status != http.StatusOK || !strings.Contains(string(body), want) {
				t.Fatalf("%s with its plan %q: %d %s", tt.route, p.Plan.Lines, status, body)
			}
		}
		if status, body := v.post(i+2, tt.route, first.agreed(tt.body)); status == http.StatusOK && !strings.Contains(string(body), "[]") {
			t.Errorf("%s a second time: %d %s", tt.route, status, body)
		}
	}
}

// streamGoesOn watches keys at one node after the other: each event comes once.
func streamGoesOn(t *testing.T, v *visitor) {
	const events = 8
	var seen []string
	last := ""
	for n := range events {
		ctx, cancel := context.WithCancel(t.Context())
		r := v.request(ctx, n%3, http.MethodGet, "kv/watch?prefix=w/", "")
		r.Header.Set("Accept", "text/event-stream")
		if last != "" {
			r.Header.Set("Last-Event-ID", last)
		}
		resp, err := v.web.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		id, begun := "", false
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			var row struct{ Type, Key string }
			switch {
			case name == "id":
				id = value
			case name != "data":
				continue
			case json.Unmarshal([]byte(value), &row) != nil:
				t.Fatalf("event %q", value)
			case row.Type == "set":
				seen, last = append(seen, row.Key), id
			case last == "":
				last = id
			}
			if !begun {
				begun = true
				// From now on this stream, or the next one, has it. Another one is written by the time that the next begins.
				for _, node := range []int{1, 2} {
					if status, body := v.post(node, "kv/set", fmt.Sprintf(`{"key":"w/%d-%d","value":"v"}`, n, node)); status != http.StatusOK {
						t.Fatalf("%d %s", status, body)
					}
				}
			}
			if row.Type == "set" {
				break
			}
		}
		cancel()
		resp.Body.Close()
	}
	all := slices.Compact(slices.Sorted(slices.Values(seen)))
	if len(seen) != events || len(all) != events {
		t.Errorf("%d events in %d streams, %d of them different: %v", len(seen), events, len(all), seen)
	}
}
