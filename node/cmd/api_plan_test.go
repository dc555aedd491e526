package cmd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// withField is a JSON object with one more field.
func withField(object, name, value string) string {
	comma := ","
	if object == "{}" {
		comma = ""
	}
	return fmt.Sprintf("%s%s%q:%s}", strings.TrimSuffix(object, "}"), comma, name, value)
}

// plan asks for a plan, and returns it.
func (a *apiCluster) plan(t testing.TB, route, body string) *planRow {
	t.Helper()
	var p plannedRow
	a.post(t, route+"?plan=1", body).is(t, http.StatusOK, &p)
	return p.Plan
}

// A plan over HTTP is looked at by a person, and carried out by a second request. The first must change nothing; the
// second must do just what was looked at. One would doubt that commands which carry out at once what has no steps hold
// to it, and those that need no consent on a command line.
func TestPlansChangeNothing(t *testing.T) {
	a := api(t)
	a.post(t, "kv/set", `{"items":[{"key":"p/1","value":"1"},{"key":"p/2","value":"2"}]}`).is(t, http.StatusOK, nil)
	a.post(t, "group/create", `{"id":8}`).is(t, http.StatusOK, nil)
	a.post(t, "group/create", `{"id":9}`).is(t, http.StatusOK, nil)
	for _, tt := range []struct {
		route, body string
		free        bool // it is carried out without a plan, too
		line        string
	}{
		{"kv/del", `{"prefix":"p/","wait":true}`, false, "2 keys"},
		{"slot/move", `{"slots":"0-99","group":8}`, true, "slots 0-99: from group"},
		{"slot/assign", `{"slots":"4000","group":"8"}`, true, "slot 4000"},
		{"group/remove", `{"id":"9"}`, false, "remove group 9"},
		{"slot/rebalance", `{}`, false, "to group"},
		{"setting/set", `{"name":"replicas","value":5}`, false, "set replicas to 5"},
		{"setting/set", `{"name":"dead-after","value":"19s"}`, true, "set dead-after to 19s"},
	} {
		before := a.state(t)
		p := a.plan(t, tt.route, tt.body)
		if p.Token == "" || !strings.Contains(strings.Join(p.Lines, "\n"), tt.line) {
			t.Errorf("%s %s: got %+v", tt.route, tt.body, p)
		}
		if again := a.plan(t, tt.route, withField(tt.body, "timeout", `"9s"`)); again.Token != p.Token {
			t.Errorf("%s: the same plan has the tokens %s and %s", tt.route, p.Token, again.Token)
		}
		if !tt.free {
			r := a.post(t, tt.route, tt.body)
			var body errorBody
			r.is(t, http.StatusPreconditionRequired, &body)
			if body.Error.Code != "not-confirmed" || body.Error.Exit != int(exitNotConfirmed) || body.Plan.Token != p.Token {
				t.Errorf("%s without consent: %s", tt.route, r.body)
			}
		}
		r := a.post(t, tt.route, withField(tt.body, "plan_token", `"made up"`))
		var body errorBody
		r.is(t, http.StatusConflict, &body)
		if body.Error.Code != "conflict" || body.Plan == nil || body.Plan.Token != p.Token {
			t.Errorf("%s with another token: %s", tt.route, r.body)
		}
		if after := a.state(t); after != before {
			t.Errorf("%s: something was changed\n%.3000s\n%.3000s", tt.route, before, after)
		}
		agreed := withField(tt.body, "plan_token", fmt.Sprintf("%q", p.Token))
		if strings.HasPrefix(tt.route, "slot/") {
			agreed = withField(agreed, "wait", "true")
		}
		if r := a.post(t, tt.route, agreed); r.status != http.StatusOK {
			t.Errorf("%s with its token: %d %s", tt.route, r.status, r.body)
		}
		if after := a.state(t); after == before {
			t.Errorf("%s: nothing was changed", tt.route)
		}
	}
	if p := a.plan(t, "kv/del", `{"all":true}`); p.Token != "" || len(p.Lines) != 1 || p.Lines[0] != "nothing to delete: the cluster has no key" {
		t.Errorf("a plan for a cluster without keys: %+v", p)
	}
	if p := a.plan(t, "kv/del", `{"prefix":"none/"}`); p.Token != "" || len(p.Lines) != 1 || !strings.Contains(p.Lines[0], "nothing to delete") {
		t.Errorf("a plan with nothing to do: %+v", p)
	}
	for _, x := range [][3]string{
		{"kv/del?plan=1", `{"key":"p"}`, "plan"}, {"kv/del", `{"key":"p","plan_token":"x"}`, "plan_token"}, {"check?plan=1", `{}`, "plan"},
		{"kv/del?plan=1", `{"key":"p","all":false}`, "plan"}, {"check?plan=1", `{"fix":false}`, "plan"},
		{"slot/rebalance?plan=1", `{"plan_token":"x"}`, "plan"}, {"slot/rebalance?plan=1", `{"yes":true}`, "plan"}, {"slot/rebalance", `{"yes":true,"plan_token":"x"}`, "plan_token"},
		{"slot/rebalance?plan=1", `{"plan":true}`, "plan"}, {"slot/rebalance?plan=perhaps", `{}`, "plan"},
		{"slot/move", `{"slots":"0","group":8,"plan_token":""}`, "plan_token"}, {"node/drain", `{"node":"x","plan_token":""}`, "plan_token"},
	} {
		if e := a.post(t, x[0], x[1]).refused(t, http.StatusBadRequest, "bad-request"); e.Object != "field "+x[2] {
			t.Errorf("%s %s: %+v", x[0], x[1], e)
		}
	}
}

// Between the plan and the consent somebody else has changed what it is about.
func TestStalePlansAreRefused(t *testing.T) {
	if wrong := staleTaken(t); wrong != "" {
		t.Error(wrong)
	}
}

// staleTaken returns which plan was carried out, though it was another one by then, or "".
func staleTaken(t *testing.T) string {
	a := api(t)
	a.post(t, "kv/set", `{"key":"p/1","value":"1"}`).is(t, http.StatusOK, nil)
	for _, id := range []string{"8", "9"} {
		a.post(t, "group/create", `{"id":`+id+`}`).is(t, http.StatusOK, nil)
	}
	for _, tt := range []struct{ route, body, otherRoute, other string }{
		{"kv/del", `{"prefix":"p/","wait":true}`, "kv/set", `{"key":"p/2","value":"2"}`},
		{"slot/move", `{"slots":"0-99","group":8}`, "slot/move", `{"slots":"50","group":9,"wait":true}`},
		{"slot/rebalance", `{}`, "slot/move", `{"slots":"200-900","group":9,"wait":true}`},
	} {
		p := a.plan(t, tt.route, tt.body)
		a.post(t, tt.otherRoute, tt.other).is(t, http.StatusOK, nil)
		before := a.state(t)
		r := a.post(t, tt.route, withField(tt.body, "plan_token", fmt.Sprintf("%q", p.Token)))
		var body errorBody
		if json.Unmarshal(r.body, &body); r.status != http.StatusConflict || a.state(t) != before {
			return fmt.Sprintf("%s: %d %s", tt.route, r.status, r.body)
		}
		if body.Plan == nil || body.Plan.Token == "" || body.Plan.Token == p.Token {
			return fmt.Sprintf("%s: the new plan is not in the answer: %s", tt.route, r.body)
		}
		if tt.route == "kv/del" {
			a.post(t, tt.route, withField(tt.body, "plan_token", fmt.Sprintf("%q", body.Plan.Token))).is(t, http.StatusOK, nil)
		}
	}
	return ""
}

// A token is of one command: that of another one, which does something else, does not count.
func TestPlanTokensAreOfOneCommand(t *testing.T) {
	binds := [][]byte{[]byte("ab"), []byte("c")}
	a := agreement{command: "node drain", shown: []*proposal{{binds: binds}}}
	for _, other := range []agreement{
		{command: "node remove", shown: a.shown}, {command: "node drain"},
		{command: "node drain", shown: []*proposal{{binds: [][]byte{[]byte("a"), []byte("bc")}}}},
		{command: "node drain", shown: append(a.shown, a.shown...)},
	} {
		if other.digest() == a.digest() {
			t.Errorf("%+v has the same token", other)
		}
	}
}

// A plan to rebalance is made of how much is in the slots, which changes with each write: what was looked at is carried
// out all the same, and a token that somebody has made up is refused.
func TestPlanOfWhatChangesIsCarriedOut(t *testing.T) {
	a := api(t)
	a.post(t, "group/create", `{"id":8}`).is(t, http.StatusOK, nil)
	p := a.plan(t, "slot/rebalance", `{}`)
	for i := range 20 {
		a.post(t, "kv/set", fmt.Sprintf(`{"key":"big/%d","value":%q}`, i, strings.Repeat("v", 100<<10))).is(t, http.StatusOK, nil)
	}
	if now := a.plan(t, "slot/rebalance", `{}`); now.Token == p.Token {
		t.Fatal("the plan is the same after the writes: this test shows nothing")
	}
	var job jobRow
	a.post(t, "slot/rebalance", fmt.Sprintf(`{"wait":true,"plan_token":%q}`, p.Token)).is(t, http.StatusOK, &job)
	if want := fmt.Sprintf("%d of 4096 slots move", job.Total); job.State != "done" || !strings.Contains(strings.Join(p.Lines, "\n"), want) {
		t.Errorf("%+v, and the plan was %q", job, p.Lines)
	}
	digest, carried, _ := strings.Cut(p.Token, ".")
	for token, status := range map[string]int{
		digest + ".0-1:1:9": http.StatusNotFound, "x." + carried: http.StatusConflict, digest + ".0-4096:1:8": http.StatusBadRequest,
		digest + ".nonsense": http.StatusBadRequest, digest + ".0:0:8": http.StatusBadRequest, digest + "._": http.StatusBadRequest,
	} {
		before := a.state(t)
		if r := a.post(t, "slot/rebalance", fmt.Sprintf(`{"plan_token":%q}`, token)); r.status != status || a.state(t) != before {
			t.Errorf("%.80s: %d %s, want %d", token, r.status, r.body, status)
		}
	}
}
