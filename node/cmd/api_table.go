package cmd

import (
	"github.com/urfave/cli/v2"

	"muster/node/overview"
	"muster/node/overview/feed"
	"muster/node/web"
)

// The table of routes: how each command is called over HTTP. The same table makes docs/openapi.json and the list of
// docs/http.md.

// apiRoot is the path under which all routes are.
const apiRoot = "/api/v1/"

// apiRow is a row of the table, as it is written down here. What options there are, of which types and for what, is
// taken from the command.
type apiRow struct {
	command string // "kv get"; its route is /api/v1/kv/get
	method  apiMethod
	args    []apiArg // the command's arguments, in order
	// options are those of the command that a request may set. No other can be: an option that names a file, a
	// secret or an endpoint is in no row.
	options []string
	// bytes are the arguments and options that may be any bytes: each has a second field of its name and "_base64".
	bytes []string
	// file is the field that stands for the command's FILE, or for what the command reads from standard input.
	file apiFile
	// oneOf are fields of which a request has one at least.
	oneOf []string
	lines bool // the command prints one object a line
	plans apiPlans
	// planOf are the fields of which a request has one at least where there is a plan; nil: there is one in any case. A
	// switch counts where it is true.
	planOf []string
	// resumes is the field that a stream continues from; its values are the ids of server-sent events.
	resumes string
	native  func(*apiServer, *apiRequest) error
	answer  any // a value of the type that is printed; nil: docs/operating.md says it
}

// apiMethod is the method of a route.
type apiMethod string

const (
	reads   apiMethod = "GET"  // the command changes nothing
	changes apiMethod = "POST" // it may
)

// apiPlans is when a command shows a plan.
type apiPlans uint8

const (
	plansNone    apiPlans = iota
	plansOnAsked          // where a request asks for it
	plansAlways           // without agreement to its plan the command changes nothing
)

// apiArg is an argument of a command.
type apiArg struct {
	name  string
	about string
	kind  apiKind
	many  bool
	need  bool
}

// apiFile is a field in place of a FILE.
type apiFile struct {
	name   string // "": there is none
	about  string
	kind   apiKind
	option string // that takes FILE; "": an argument does
	need   bool
}

// Parts that several rows share.
var (
	argKey     = apiArg{name: "key", about: "the key", need: true}
	argNodes   = apiArg{name: "node", about: "names or ids of nodes", many: true, need: true}
	argNode    = apiArg{name: "node", about: "the name or the id of a node", need: true}
	argGroup   = apiArg{name: "group", about: "the number of a group", kind: kindNumeral, need: true}
	argID      = apiArg{name: "id", about: "the number of the job", kind: kindNumeral, need: true}
	argLease   = apiArg{name: "id", about: "the id of the lease", need: true}
	argUser    = apiArg{name: "name", about: "the name of the user", need: true}
	argRole    = apiArg{name: "name", about: "the name of the role", need: true}
	argService = apiArg{name: "name", about: "the name of the service", need: true}
	argPrefix  = apiArg{name: "prefix", about: "what the keys begin with", need: true}
	argSlots   = apiArg{name: "slots", about: "a slot, or a run of them as FROM-TO", kind: kindNumeral, need: true}
	argVerbs   = apiArg{name: "verbs", about: "read, write, list, watch, admin, with commas between them, or all", need: true}
	argDB      = apiArg{name: "database", about: "the name of the database", need: true}
	argOfDB    = apiArg{name: "database", about: "the name of one database; all, if it is not given"}
	argPolicy  = apiArg{name: "policy", about: "the name of the policy", need: true}
	argObject  = apiArg{name: "object", about: "key:PREFIX, service:PREFIX, db:PREFIX or cluster", need: true}
	filePass   = apiFile{name: "password", about: "the password; without it one is made, and is in the answer", kind: kindSecret, option: "password-file"}
)

// argVersion is an argument that is a version of a key.
func argVersion(name, about string) apiArg {
	return apiArg{name: name, about: about, kind: kindNumeral, need: true}
}

// apiTable has a row for each command that can be called over HTTP.
func apiTable() []apiRow {
	return []apiRow{
		{command: "status", method: reads, options: []string{"counters"}, answer: statusRow{}},

		{command: "kv get", method: reads, args: []apiArg{{name: "key", about: "the keys", many: true, need: true}}, bytes: []string{"key"},
			options: []string{"read", "max-stale", "after", "at-once"}, native: (*apiServer).get, answer: gotRows{}},
		{command: "kv set", method: changes, args: []apiArg{{name: "key", about: "the key"}, {name: "value", about: "its value"}},
			bytes: []string{"key", "value", "if-value"}, options: []string{"if-absent", "if-version", "if-value", "ttl", "lease"},
			file:  apiFile{name: "items", about: `several keys with their values, [{"key":…,"value":…}], instead of key and value`, kind: kindArray},
			oneOf: []string{"key", "key_base64", "items"}, native: (*apiServer).set, answer: writtenRow{}},
		{command: "kv del", method: changes, args: []apiArg{{name: "key", about: "the keys", many: true}}, bytes: []string{"key", "prefix"},
			options: []string{optionPrefix, optionAll, optionYes, optionNoWait}, oneOf: []string{"key", "key_base64", "prefix", "prefix_base64", optionAll}, plans: plansOnAsked, planOf: []string{optionPrefix, optionAll}, native: (*apiServer).del, answer: writtenRow{}},
		{command: "kv incr", method: changes, args: []apiArg{{name: "key", about: "the key", need: true}, {name: "by", about: "what is added, 1 if it is not given", kind: kindNumeral}},
			bytes: []string{"key"}, answer: writtenRow{}},
		{command: "kv txn", method: changes, file: apiFile{name: "txn", about: `the transaction, {"if":[…],"then":[…],"else":[…]}, as in the file of the command`, kind: kindObject, need: true}, answer: txnRow{}},
		{command: "kv list", method: reads, args: []apiArg{{name: "prefix", about: "only keys that begin so"}}, bytes: []string{"prefix", "after", "from", "to"},
			options: []string{"after", "from", "to", "desc", "limit", "keys", "count"}, lines: true, resumes: "after_base64", answer: listedRow{}},
		{command: "kv export", method: reads, args: []apiArg{{name: "prefix", about: "only keys that begin so"}}, bytes: []string{"prefix", "after", "from", "to"},
			options: []string{"after", "from", "to", "read"}, lines: true, resumes: "after_base64", answer: lineRow{}},
		{command: "kv import", method: changes, file: apiFile{name: "items", about: "the items, as kv/export prints them", kind: kindLines, need: true}, answer: countsRow{}},
		{command: "kv watch", method: reads, args: []apiArg{{name: "prefix", about: "only keys that begin so"}}, bytes: []string{"prefix", "key", "from-key", "to-key"},
			options: []string{"key", "from-key", "to-key", "from", "prev"}, lines: true, resumes: "from", answer: watchRow{}},
		{command: "kv locate", method: reads, args: []apiArg{{name: "key", about: "the key", need: true}}, bytes: []string{"key"}, answer: placeRow{}},
		{command: "kv history", method: reads, args: []apiArg{argKey}, bytes: []string{"key"}, options: []string{"before", "limit", "read"}, lines: true, resumes: "before", answer: keyVersionRow{}},
		{command: "kv diff", method: reads, args: []apiArg{argKey, argVersion("from", "the version on the left"), argVersion("to", "the version on the right")}, bytes: []string{"key"}, answer: versionsRow{}},
		{command: "kv rollback", method: changes, args: []apiArg{argKey, argVersion("version", "the version whose value the key gets")}, bytes: []string{"key"}, answer: writtenRow{}},

		{command: "node list", method: reads, answer: []nodeRow{}},
		{command: "node add", method: changes, args: []apiArg{{name: "addr", about: "addresses of hosts, HOST:PORT", many: true, need: true}}, options: []string{"no-wait"}, answer: []nodeRow{}},
		{command: "node remove", method: changes, args: []apiArg{argNodes}, options: []string{"force", "yes", "no-wait"}, plans: plansAlways, answer: []nodeRow{}},
		{command: "node drain", method: changes, args: []apiArg{argNodes}, options: []string{"yes", "no-wait"}, lines: true, plans: plansAlways, answer: jobRow{}},
		{command: "node undrain", method: changes, args: []apiArg{argNodes}, answer: []nodeRow{}},
		{command: "node promote", method: changes, args: []apiArg{argNode}, options: []string{"yes", "no-wait"}, plans: plansAlways, answer: jobRow{}},
		{command: "node demote", method: changes, args: []apiArg{argNode}, options: []string{"yes", "no-wait"}, plans: plansAlways, answer: jobRow{}},
		{command: "node label", method: changes, args: []apiArg{argNode, {name: "label", about: "labels, as K=V; K= takes one away", many: true, need: true}}, answer: []nodeRow{}},
		{command: "node weight", method: changes, args: []apiArg{argNode, {name: "weight", about: "the weight", kind: kindNumeral, need: true}}, answer: []nodeRow{}},

		{command: "group list", method: reads, answer: []groupRow{}},
		{command: "group create", method: changes, args: []apiArg{{name: "id", about: "the number that it gets; the lowest that no group has had, if it is not given", kind: kindNumeral}}, answer: []groupRow{}},
		{command: "group remove", method: changes, args: []apiArg{{name: "id", about: "the number of the group", kind: kindNumeral, need: true}}, options: []string{"yes"}, plans: plansAlways, answer: []groupRow{}},
		{command: "group add", method: changes, args: []apiArg{argGroup, argNode}, options: []string{"yes", "no-wait"}, plans: plansAlways, answer: jobRow{}},
		{command: "group del", method: changes, args: []apiArg{argGroup, argNode}, options: []string{"yes", "no-wait"}, plans: plansAlways, answer: jobRow{}},
		{command: "group promote", method: changes, args: []apiArg{argGroup, argNode}, options: []string{"yes", "no-wait"}, plans: plansAlways, answer: jobRow{}},

		{command: "lease grant", method: changes, args: []apiArg{{name: "ttl", about: "how long the lease lasts", kind: kindDuration, need: true}}, options: []string{"for"}, bytes: []string{"for"},
			oneOf: []string{"for", "for_base64"}, answer: leaseRow{}},
		{command: "lease keepalive", method: changes, args: []apiArg{argLease}, answer: leaseRow{}},
		{command: "lease revoke", method: changes, args: []apiArg{argLease}, answer: writtenRow{}},
		{command: "lease list", method: reads, answer: []leaseRow{}},

		{command: "service list", method: reads, options: []string{"tag", "read"}},
		{command: "service get", method: reads, args: []apiArg{argService}, options: []string{"tag", "read"}},
		{command: "service set", method: changes, args: []apiArg{{name: "name", about: "the name of the one service, with type and node"}}, options: []string{"type", "node", "set"},
			file: apiFile{name: "services", about: "the services, as in the file of the command", kind: kindArray, option: "file"}, oneOf: []string{"name", "services"}, answer: writtenRow{}},
		{command: "service del", method: changes, args: []apiArg{argService}, options: []string{"instance"}, answer: writtenRow{}},
		{command: "service pick", method: reads, args: []apiArg{argService}, options: []string{"near", "sticky", "tag", "read"}},
		{command: "service watch", method: reads, args: []apiArg{{name: "name", about: "the name of the one service; all, if it is not given"}}, options: []string{"from", "tag"}, lines: true, resumes: "from"},
		{command: "service maintain", method: changes, args: []apiArg{argService, {name: "instance", about: "the id of the instance", need: true}, {name: "state", about: "on or off", need: true}}, answer: writtenRow{}},
		{command: "service heartbeat", method: changes, args: []apiArg{argService, {name: "instance", about: "the id of the instance", need: true}}, options: []string{"down", "note"}, answer: heartbeatRow{}},

		{command: "slot list", method: reads, answer: []slotRow{}},
		{command: "slot assign", method: changes, args: []apiArg{argSlots, argGroup}, options: []string{"no-wait"}, plans: plansOnAsked, answer: jobRow{}},
		{command: "slot move", method: changes, args: []apiArg{argSlots, argGroup}, options: []string{"no-wait"}, plans: plansOnAsked, answer: jobRow{}},
		{command: "slot rebalance", method: changes, options: []string{"yes", "no-wait"}, plans: plansAlways, answer: jobRow{}},

		{command: "db create", method: changes, args: []apiArg{argDB}, options: []string{"policy", "duration", "window", "shards", "max-series", "max-values", "max-fields"}, answer: []databaseRow{}},
		{command: "db alter", method: changes, args: []apiArg{argDB}, options: []string{"max-series", "max-values", "max-fields"}, answer: []databaseRow{}},
		{command: "db drop", method: changes, args: []apiArg{argDB}, options: []string{"yes"}, plans: plansAlways, answer: []databaseRow{}},
		{command: "db list", method: reads, answer: []databaseRow{}},
		{command: "policy create", method: changes, args: []apiArg{argDB, argPolicy}, options: []string{"duration", "window", "shards", "default"}, answer: []policyRow{}},
		{command: "policy alter", method: changes, args: []apiArg{argDB, argPolicy}, options: []string{"duration", "window", "shards", "default", "yes"}, plans: plansAlways, answer: []policyRow{}},
		{command: "policy drop", method: changes, args: []apiArg{argDB, argPolicy}, options: []string{"yes"}, plans: plansAlways, answer: []policyRow{}},
		{command: "policy list", method: reads, args: []apiArg{argOfDB}, answer: []policyRow{}},
		{command: "policy default", method: changes, args: []apiArg{argDB, argPolicy}, answer: []policyRow{}},
		{command: "window list", method: reads, args: []apiArg{argOfDB}, answer: []windowRow{}},
		{command: "window truncate", method: changes, args: []apiArg{argOfDB}, options: []string{"yes"}, plans: plansAlways, answer: []windowRow{}},
		{command: "shard list", method: reads, args: []apiArg{argOfDB}, answer: []shardRow{}},

		{command: "hint list", method: reads, options: []string{"group"}, answer: []hintRow{}},
		{command: "hint retry", method: changes, options: []string{"group"}, answer: []hintRow{}},
		{command: "hint purge", method: changes, options: []string{"group", "yes"}, plans: plansAlways, answer: []hintRow{}},

		{command: "query list", method: reads, answer: []queryRow{}},
		{command: "query kill", method: changes, args: []apiArg{{name: "id", about: "the number of the query", kind: kindNumeral, need: true}}, answer: struct{}{}},

		{command: "backup run", method: changes, options: []string{"no-wait"}, plans: plansOnAsked, answer: jobRow{}},
		{command: "backup schedule", method: changes, options: []string{"every", "keep"}, plans: plansOnAsked, answer: scheduleRow{}},
		{command: "backup list", method: reads, options: []string{"verify"}, lines: true, answer: keptBackup{}},
		{command: "backup prune", method: changes, options: []string{"keep", "yes"}, lines: true, plans: plansAlways, answer: keptBackup{}},

		{command: "job list", method: reads, answer: []jobRow{}},
		{command: "job show", method: reads, args: []apiArg{argID}, answer: jobRow{}},
		{command: "job wait", method: reads, args: []apiArg{argID}, answer: jobRow{}},
		{command: "job pause", method: changes, args: []apiArg{argID}, answer: jobRow{}},
		{command: "job resume", method: changes, args: []apiArg{argID}, answer: jobRow{}},
		{command: "job cancel", method: changes, args: []apiArg{argID}, answer: jobRow{}},

		{command: "setting list", method: reads, answer: []settingRow{}},
		{command: "setting get", method: reads, args: []apiArg{{name: "name", about: "the name of the setting", need: true}}, answer: settingRow{}},
		{command: "setting set", method: changes, args: []apiArg{{name: "name", about: "the name of the setting", need: true}, {name: "value", about: "its value; empty sets the default back", kind: kindNumeral, need: true}},
			options: []string{"yes"}, plans: plansAlways, answer: settingRow{}},

		{command: "init", method: changes, args: []apiArg{argUser}, answer: userRow{}},
		{command: "user create", method: changes, args: []apiArg{argUser}, options: []string{"no-password"}, file: filePass, answer: userRow{}},
		{command: "user password", method: changes, args: []apiArg{argUser}, options: []string{"withdraw"}, file: filePass, answer: userRow{}},
		{command: "user withdraw", method: changes, args: []apiArg{argUser}, answer: userRow{}},
		{command: "user list", method: reads, answer: []userRow{}},
		{command: "user grant", method: changes, args: []apiArg{argUser, {name: "role", about: "the name of the role", need: true}}, answer: userRow{}},
		{command: "user revoke", method: changes, args: []apiArg{argUser, {name: "role", about: "the name of the role", need: true}}, answer: userRow{}},
		{command: "user del", method: changes, args: []apiArg{argUser}, answer: userRow{}},
		{command: "role create", method: changes, args: []apiArg{argRole}, answer: roleRow{}},
		{command: "role grant", method: changes, args: []apiArg{argRole, argVerbs, argObject}, answer: roleRow{}},
		{command: "role revoke", method: changes, args: []apiArg{argRole, argVerbs, argObject}, answer: roleRow{}},
		{command: "role list", method: reads, answer: []roleRow{}},
		{command: "role del", method: changes, args: []apiArg{argRole}, answer: roleRow{}},
		{command: "auth can-i", method: reads, args: []apiArg{{name: "verb", about: "read, write, list, watch or admin, several with commas between them, or all", need: true}, {name: "object", about: "a key or what keys begin with, service:NAME, db:NAME, or cluster", need: true}},
			options: []string{"as"}, answer: canIRow{}},

		{command: "namespace list", method: reads, answer: []namespaceRow{}},
		{command: "namespace limit", method: changes, args: []apiArg{argPrefix}, bytes: []string{"prefix"}, options: []string{"keys", "bytes", "rate"}, answer: namespaceRow{}},
		{command: "namespace del", method: changes, args: []apiArg{argPrefix}, bytes: []string{"prefix"}, answer: struct{}{}},

		{command: "doctor", method: reads, answer: doctorRow{}},
		{command: "check", method: changes, options: []string{"group", "fix", "trust", "acknowledge", "yes"}, plans: plansOnAsked, planOf: []string{"fix"}},
		{command: "log diff", method: reads, args: []apiArg{{name: "left", about: "the name or the id of a node", need: true}, {name: "right", about: "the name or the id of another", need: true}},
			options: []string{"group", "limit"}, lines: true, answer: diffRow{}},
		{command: "audit tail", method: reads, options: []string{"follow", "limit", "node"}, lines: true},
		{command: "audit verify", method: reads, options: []string{"node"}, lines: true, answer: verdictRow{}},

		{command: "token create", method: changes, options: []string{"role", "uses", "ttl"}, answer: tokenMade{}},
		{command: "token list", method: reads, answer: []tokenRow{}},
		{command: "token revoke", method: changes, args: []apiArg{{name: "id", about: "the id of the token", kind: kindNumeral, need: true}}, answer: tokenRow{}},
		{command: "ca show", method: reads, answer: []caRow{}},
		{command: "ca export", method: reads, answer: pemRow{}},
		{command: "ca rotate", method: changes, answer: rootRow{}},
		{command: "ca retire", method: changes, args: []apiArg{{name: "root", about: "the id of the root, or what it begins with", need: true}}, answer: rootRow{}},
		{command: "cert list", method: reads, answer: []certRow{}},
		{command: "version", method: reads, answer: versionRow{}},
	}
}

// apiOther is a route that is no command: it is described here, and served by what its package is.
type apiOther struct {
	method apiMethod
	path   string
	id     string
	about  string
	fields []apiField
	answer any
	events bool // it goes on, with server-sent events
}

// apiOthers are those routes.
func apiOthers() []apiOther {
	none := -1
	after := apiField{name: "after", about: "the id of the last event of an earlier stream, which this one continues; as the header " + headerLastEvent, encoded: none}
	return []apiOther{
		{method: changes, path: apiRoot + "auth/login", id: "authLogin", about: "get a token of an hour by a password", answer: web.Badge{},
			fields: []apiField{{name: "user", need: true, about: "the name of the user", encoded: none}, {name: "password", kind: kindSecret, need: true, about: "the password", encoded: none}}},
		{method: changes, path: apiRoot + "auth/token", id: "authToken", about: "get a token of an hour by a user's certificate in the handshake, of the node that leads group 0", answer: web.Badge{}},
		{method: reads, path: apiRoot + "auth/whoami", id: "authWhoami", about: "print the user that the node takes the request for", answer: web.Whoami{}},
		{method: reads, path: feed.PathOverview, id: "overview", about: "show what muster top shows: one verdict, its reason and the next command, nodes, groups, jobs and rates", answer: overview.Overview{}},
		{method: reads, path: feed.PathEvents, id: "events", about: "tell of the overview whenever it is another one, and of what has changed", answer: overview.Overview{}, fields: []apiField{after}, events: true},
	}
}

// apiWithout are the commands that can't be called over HTTP, and why.
var apiWithout = map[string]string{
	"serve":       "it is a process of this host",
	"demo":        "it is a process of this host",
	"top":         "GET /api/v1/overview answers the same, and GET /api/v1/events goes on",
	"query run":   "GET /query and POST /query take the same text, as InfluxDB does",
	"point write": "POST /write takes the same lines, as InfluxDB does",
	"bench":       "it is a load of its own host, for minutes",
	"lock":        "it runs a program of its own host",
	"log show":    "it reads the data directory of its own host",
	"log verify":  "it reads the data directory of its own host",
	"backup take": "it writes a file of its own host, which it reads back before it counts; POST /api/v1/backup/run has a node write one",
	"backup show": "it reads a file of its own host",
	"restore":     "it reads a file of its own host twice, and writes nothing before all of it is verified",
	"recover":     "it works on data directories, of nodes that are stopped",
	"wire decode": "it reads a file, and asks nobody",
	"secret":      "a secret is made where it is to be kept",
	"completion":  "it is for a shell",
	"auth login":  "it keeps a certificate on its own host; POST /api/v1/auth/login gives a token instead",
	"auth token":  "it goes by a certificate of its own host; POST /api/v1/auth/token, over a connection that shows it, is the same",
	"auth whoami": "GET /api/v1/auth/whoami says it, of the token too",
	"auth reset":  "it works on the data directory of its own host",
	"user cert":   "it keeps a certificate and its key on its own host",
	"ca create":   "it keeps a certificate and its key on its own host",
}

// apiLeft are the options that no request can set, and why.
var apiLeft = map[string]string{
	"endpoints":     "the node that the request has come to is asked",
	"secret-file":   "it is a file of this host",
	"tls-ca":        "it is a file of this host",
	"insecure":      "it is about a connection to a node",
	"cluster":       "it is about a connection to a node",
	"output":        "it is JSON",
	"file":          "the field for it has what is in the file",
	"password-file": "the field password has it",
	"raw":           "it is about a terminal",
	"changes":       "it is about a table",
}

// leafOf returns the command of that path, in a table of commands.
func leafOf(all []*cli.Command, path []string) *cli.Command {
	for _, c := range all {
		switch {
		case c.Name != path[0]:
		case len(path) == 1:
			return c
		default:
			return leafOf(c.Subcommands, path[1:])
		}
	}
	return nil
}
