package cmd

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"muster/node/overview/feed"
	"muster/node/web"
	"muster/repl/client"
)

// Commands over HTTP. A route is a command of the table: a request's fields become the command's arguments and
// options, the command's own action runs in this process, and what it prints with -o json is the answer. So both have
// one meaning, one form and one set of errors.
//
//	api_table.go   which commands, and what of each a request may set
//	api_fields.go  from a request to fields of known types
//	api_call.go    from fields to the command, with nothing of this host
//	api_plan.go    plans, and the tokens that agree to them
//	api_answer.go  from what the command prints to the answer: JSON, lines, events
//	api_errors.go  how an error becomes a status and a body
//	api_places.go  how many requests there may be at once, of all and of a user
//	api_kv.go      get, set and del, which go to the client without a command
//	api_openapi.go the description of all that
//
// Permission is decided by the nodes, for the user of the client that the [web.Opener] gives. Requests share that client;
// it is not closed here.

const (
	// callsMax bounds the commands that run at a time and end by themselves, streamsMax those that go on until their
	// reader ends them.
	callsMax   = 256
	streamsMax = 1024
)

// apiServer answers requests over HTTP with commands.
type apiServer struct {
	open   web.Opener
	routes map[string]*apiRoute // by path, without the root
	spec   []byte               // openapi.json

	calls, streams *web.Shares // one is taken while a command runs
	user           func(*http.Request) string
}

// apiRoute is a row of the table, made ready.
type apiRoute struct {
	apiRow
	path   string // "/api/v1/kv/get"
	words  []string
	make   func(*console) *cli.Command // of its first word
	fields []apiField
}

// apiHandler answers the requests below [apiRoot]: those for commands, and those for the overview. Nobody closes its feed:
// a collector of it ends with the client that it asks through, which the node closes.
func apiHandler(open web.Opener) http.Handler {
	a, looks := newAPI(open), http.NewServeMux()
	feed.New().Mount(looks, feed.Opener(open), func(w http.ResponseWriter, err error) { writeError(w, unknownUser(err), nil) })
	serve := func(_ *apiServer, q *apiRequest) error {
		looks.ServeHTTP(q.w, q.r)
		return nil
	}
	for _, o := range apiOthers() {
		if o.path == feed.PathOverview || o.path == feed.PathEvents {
			a.routes[strings.TrimPrefix(o.path, apiRoot)] = &apiRoute{apiRow: apiRow{method: o.method, lines: o.events, native: serve}, path: o.path, fields: o.fields}
		}
	}
	return a
}

func newAPI(open web.Opener) *apiServer {
	a := &apiServer{open: open, routes: map[string]*apiRoute{}, calls: web.NewShares(callsMax), streams: web.NewShares(streamsMax), user: web.UserOf}
	routes := apiRoutes()
	for _, rt := range routes {
		a.routes[strings.TrimPrefix(rt.path, apiRoot)] = rt
	}
	a.spec = openAPI(routes)
	return a
}

// apiRoutes are the rows of the table with what their commands say.
func apiRoutes() (routes []*apiRoute) {
	var all []*cli.Command
	makers := makers()
	for _, make := range makers {
		all = append(all, make(&console{}))
	}
	for _, row := range apiTable() {
		rt := &apiRoute{apiRow: row, words: strings.Fields(row.command)}
		rt.path = apiRoot + strings.Join(rt.words, "/")
		for i, c := range all {
			if c.Name == rt.words[0] {
				rt.make = makers[i]
			}
		}
		rt.fields = fieldsOf(&rt.apiRow, leafOf(all, rt.words))
		routes = append(routes, rt)
	}
	return routes
}

// ServeHTTP implements [http.Handler].
func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := a.serve(w, r); err != nil {
		writeError(w, err, nil)
	}
}

func (a *apiServer) serve(w http.ResponseWriter, r *http.Request) error {
	name := strings.TrimPrefix(r.URL.Path, apiRoot)
	if name == specName {
		web.Route(w, apiRoot+specName)
		if r.Method != http.MethodGet {
			return wrongMethod(w, reads)
		}
		w.Header().Set("Content-Type", typeJSON)
		_, err := w.Write(a.spec)
		return err
	}
	rt := a.routes[name]
	if rt == nil {
		return &apiError{status: http.StatusNotFound, code: "not-found", object: "path " + cut(r.URL.Path), text: "there is no such route", next: apiRoot + specName + " lists them", exit: exitNotFound}
	}
	web.Route(w, rt.path)
	if r.Method != string(rt.method) {
		return wrongMethod(w, rt.method)
	}
	q := &apiRequest{route: rt, w: w, r: r}
	var err error
	if q.values, err = rt.values(w, r); err != nil {
		return err
	}
	places := a.calls
	if q.goesOn() {
		places = a.streams
		web.GoesOn(w)
	}
	user := a.user(r)
	if !places.Take(user) {
		return errCrowded
	}
	defer places.GiveBack(user)
	if rt.native != nil && !q.planned() {
		return rt.native(a, q)
	}
	c, err := a.clientOf(q)
	if err != nil {
		return err
	}
	return q.run(c)
}

// clientOf returns the client that speaks for the user who made a request.
func (a *apiServer) clientOf(q *apiRequest) (*client.Client, error) {
	c, err := a.open(q.r)
	if err != nil {
		return nil, unknownUser(err)
	}
	return c, nil
}

func wrongMethod(w http.ResponseWriter, want apiMethod) error {
	w.Header().Set("Allow", string(want))
	return &apiError{status: http.StatusMethodNotAllowed, code: "bad-request", object: "method", text: "want " + string(want), exit: exitUsage}
}

// apiRequest is one request for a route.
type apiRequest struct {
	route  *apiRoute
	w      http.ResponseWriter
	r      *http.Request
	values []apiValue // of the route's fields
}

// value returns what the request gives for a field.
func (q *apiRequest) value(name string) apiValue {
	if i := q.route.field(name); i >= 0 {
		return q.values[i]
	}
	return apiValue{}
}

// text returns the one text of a field; false if it is not given.
func (q *apiRequest) text(name string) (string, bool) {
	v := q.value(name)
	if len(v.texts) == 0 {
		return "", false
	}
	return v.texts[0], true
}

// on reports whether a switch is given as true.
func (q *apiRequest) on(name string) bool {
	text, ok := q.text(name)
	return ok && isTrue(text)
}

// goesOn reports whether the command may go on for as long as its reader wants.
func (q *apiRequest) goesOn() bool {
	rt := q.route
	return rt.lines && rt.method == reads || rt.command == "job wait" || rt.field(fieldWait) >= 0 && q.waits()
}

// waits reports whether the command waits for the job that it begins.
func (q *apiRequest) waits() bool {
	text, given := q.text(fieldName(optionNoWait))
	return q.on(fieldWait) || given && !isTrue(text)
}

// planned reports whether the request is about a plan, or for a command that wants one.
func (q *apiRequest) planned() bool {
	_, token := q.text(fieldToken)
	_, prefix := q.text(optionPrefix)
	return token || q.on(fieldPlan) || q.route.plans != plansNone && (prefix || q.on(optionAll))
}

// timeout is how long one request to a node may take.
func (q *apiRequest) timeout() (time.Duration, error) {
	if !q.IsSet(fieldTimeout) {
		return timeoutDefault, nil
	}
	d := q.Duration(fieldTimeout)
	if err := checkTimeout("muster "+q.route.command, d); err != nil {
		return 0, q.route.apiErrorOf(err)
	}
	return d, nil
}

// within is the context of a request that asks nodes once, by a client that goes by the deadline itself.
func (q *apiRequest) within() (context.Context, error) {
	d, err := q.timeout()
	return &untilContext{q.r.Context(), time.Now().Add(d)}, err
}

// untilContext is a context with a deadline at which nothing happens: it has no timer, which would be a part of what a
// get costs.
type untilContext struct {
	context.Context
	at time.Time
}

// Deadline implements [context.Context].
func (c *untilContext) Deadline() (time.Time, bool) { return c.at, true }
