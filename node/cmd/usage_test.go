package cmd

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muster/repl/wire"
)

// A mistake in a command line must end with status 2, one line that says what
// would be right, and no connection: nothing listens at the endpoint, so that
// a command that goes on ends with another status.
func TestUsage(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"", "muster: a command is missing; want one of serve, demo, status,"},
		{"nope", `muster: unknown command "nope"; want one of serve, demo,`},
		{"kv", "muster kv: a verb is missing; want one of set, get, del,"},
		{"kv get", "muster kv get: an argument is missing; want muster kv get K…"},
		{"kv get k -x", "muster kv get: unknown option -x; see muster kv get --help"},
		{"kv get k -o xml", `muster kv get: --output "xml"; want table or json`},
		{"kv get k --read stale", `muster kv get: --read "stale"; want linearizable, follower or local`},
		{"kv get k --after 17", `muster kv get: --after: log id "17": want gGROUP/TERM.INDEX, as in g3/7.10432`},
		{"kv get k --timeout soon", `muster kv get: invalid value "soon" for option --timeout; want a number with its unit, as 500ms, 10s or 1m30s`},
		{"kv get k --timeout 0s", "muster kv get: --timeout 0s; want more than 0 and at most 5m0s"},
		{"kv get k --timeout 6m", "muster kv get: --timeout 6m0s; want more than 0 and at most 5m0s"},
		{"kv get k --endpoints no:where:", `muster kv get: --endpoints: "no:where:" is not an address; want HOST:PORT`},
		{"kv get k --endpoints 127.0.0.1:99999", `muster kv get: --endpoints: "127.0.0.1:99999" has port "99999"; want a number, 1 to 65535`},
		{"kv get k --endpoints 127.0.0.1:1,foo:bar", `muster kv get: --endpoints: "foo:bar" has port "bar"; want a number, 1 to 65535`},
		{"kv get k --endpoints 127.0.0.1:0", `muster kv get: --endpoints: "127.0.0.1:0" has port "0"; want a number, 1 to 65535`},
		{"kv get k --secret-file=", "muster kv get: --secret-file: empty; want a FILE, or leave the option out"},
		{"kv del k --cluster=", "muster kv del: --cluster: empty; want the NAME of the cluster, or leave the option out for any"},
		{"kv get k --after=", `muster kv get: --after: log id "": want gGROUP/TERM.INDEX, as in g3/7.10432`},
		{"kv get k --endpoints ,", "muster kv get: --endpoints: empty; want HOST:PORT,…"},
		{"kv watch a b", `muster kv watch: argument "b" is one too many; want muster kv watch [PREFIX | --key K | --from-key K --to-key K]`},
		{"kv watch a --key k", "muster kv watch: a prefix, --key and a range contradict each other; want muster kv watch [PREFIX |"},
		{"kv watch a --from-key k", "muster kv watch: a prefix, --key and a range contradict each other;"},
		{"kv watch --key k --to-key l", "muster kv watch: a prefix, --key and a range contradict each other;"},
		{"kv watch --key=", "muster kv watch: --key: empty; want a key"},
		{"kv watch --from-key b --to-key a", `muster kv watch: --to-key "a"; want one behind --from-key "b"`},
		{"kv watch --from-key b --to-key b", `muster kv watch: --to-key "b"; want one behind --from-key "b"`},
		{"kv watch --from 17", `muster kv watch: --from: position "17": want gGROUP/TERM.INDEX, as in g3/7.10432, or with`},
		{"kv watch --from g1/2.3+x", `muster kv watch: --from: position "g1/2.3+x": want gGROUP/TERM.INDEX`},
		{"kv watch --from g1/2.3,g1/2.4", "muster kv watch: --from: g1/2.3 and g1/2.4 are of one group; want one for each group"},
		{"kv watch --from=", "muster kv watch: --from: empty; want LOGID,…"},
		{"kv watch -o xml", `muster kv watch: --output "xml"; want table or json`},
		{"kv set k", `muster kv set: key "k" has no value; want muster kv set K V [K V …] | K - | K --file FILE`},
		{"kv set a 1 b", `muster kv set: key "b" has no value; want muster kv set K V [K V …] | K - | K --file FILE`},
		{"kv set", "muster kv set: an argument is missing; want muster kv set K V [K V …] | K - | K --file FILE"},
		{"kv set a 1 a 2", `muster kv set: key "a" is given twice`},
		{"kv set a 1 b 2 --if-absent", "muster kv set: a condition takes one key and value, there are 2"},
		{"kv set a 1 b 2 --if-version 3", "muster kv set: a condition takes one key and value, there are 2"},
		{"kv set a 1 --if-absent --if-version 3", "muster kv set: --if-absent and --if-version contradict each other; give one"},
		{"kv set a 1 --if-version 0", "muster kv set: --if-version 0: versions begin at 1; for a key that is not there use --if-absent"},
		{"kv set a 1 --if-version -1", `muster kv set: invalid value "-1" for option --if-version; want a whole number, 0 or more`},
		{"kv set a -1", "muster kv set: unknown option -1; see muster kv set --help, and put -- before an argument that begins with a dash"},
		{"kv set a 1 --if-value x --if-absent", "muster kv set: --if-absent and --if-value contradict each other; give one"},
		{"kv set a 1 b 2 --if-value x", "muster kv set: a condition takes one key and value, there are 2"},
		{"kv set a 1 --ttl 0s", "muster kv set: --ttl 0s; want 1ms to 87600h"},
		{"kv set a 1 --ttl -5s", "muster kv set: --ttl -5s; want 1ms to 87600h"},
		{"kv set a 1 --ttl 90000h", "muster kv set: --ttl 90000h0m0s; want 1ms to 87600h"},
		{"kv set a 1 --ttl 5", `muster kv set: invalid value "5" for option --ttl; want a number with its unit, as 500ms, 10s or 1m30s`},
		{"kv set a 1 --ttl 5s --lease 1.2", "muster kv set: --ttl and --lease contradict each other; give one"},
		{"kv set a 1 --lease 17", `muster kv set: --lease "17"; want the id of a lease as muster lease grant or list prints it, as in 1234.17`},
		{"kv set a 1 --lease 4096.1", `muster kv set: --lease "4096.1"; want the id of a lease`},
		{"kv set a - b 1", "muster kv set: value - is standard input, which has the value of one key; there are 2 keys"},
		{"kv set a 1 --file f", "muster kv set: --file has the value of one key, and beside it there are 2 arguments; want muster kv set K --file FILE"},
		{"kv get a b --raw", "muster kv get: --raw prints one value and nothing around it, and there are 2 keys; leave it out, or use -o json"},
		{"kv set {u}a 1 b 2 --lease 2032.17", `muster kv set: --lease 2032.17 is of slot 2032, key "b" of slot 3995; want keys of the lease's slot, as those with one {tag} are`},
		{"kv get a --max-stale 0s", "muster kv get: --max-stale 0s; want 1ms to 1h"},
		{"kv get a --max-stale 2h", "muster kv get: --max-stale 2h0m0s; want 1ms to 1h"},
		{"kv get a --max-stale 2s --read local", "muster kv get: --max-stale and --read contradict each other; give one"},
		{"kv del", "muster kv del: an argument is missing; want muster kv del K… | --prefix P | --all"},
		{"kv del --yes", "muster kv del: an argument is missing; want muster kv del K… | --prefix P | --all"},
		{"kv del a --no-wait", "muster kv del: --no-wait and keys, which no job deletes; leave it out, or give --prefix or --all"},
		{"kv del a b --yes", "muster kv del: --yes and keys, which are deleted without a plan; leave it out, or give --prefix or --all"},
		{"kv del a --prefix b", "muster kv del: --prefix and 1 key; give the one or the other"},
		{"kv del a b --all", "muster kv del: --all and 2 keys; give the one or the other"},
		{"kv del --all --prefix b", "muster kv del: --all and --prefix contradict each other; give one"},
		{"kv del --all --prefix= --yes", "muster kv del: --all and --prefix contradict each other; give one"},
		{"kv del --prefix=", "muster kv del: --prefix: empty, and every key begins so; want what the keys begin with, or --all to delete every key of the cluster"},
		{"kv del --prefix= --yes", "muster kv del: --prefix: empty, and every key begins so; want what the keys begin with, or --all"},
		{"kv del --all=false", "muster kv del: an argument is missing; want muster kv del K… | --prefix P | --all"},
		{"kv incr", "muster kv incr: an argument is missing; want muster kv incr K [N]"},
		{"kv incr a x", `muster kv incr: N is "x"; want a whole number of 64 bits`},
		{"kv incr a 1.5", `muster kv incr: N is "1.5"; want a whole number of 64 bits`},
		{"kv incr a 9223372036854775808", `muster kv incr: N is "9223372036854775808"; want a whole number of 64 bits`},
		{"kv incr a -x", "muster kv incr: unknown option -x"},
		{"kv incr a 1 2", `muster kv incr: argument "2" is one too many; want muster kv incr K [N]`},
		{"kv txn", "muster kv txn: an argument is missing; want muster kv txn FILE|-"},
		{"lease", "muster lease: a verb is missing; want one of grant, keepalive, revoke, list"},
		{"lease grant --for a", "muster lease grant: an argument is missing; want muster lease grant TTL"},
		{"lease grant 5 --for a", `muster lease grant: TTL is "5"; want a number with its unit, as 500ms, 10s or 1m30s`},
		{"lease grant 0s --for a", "muster lease grant: TTL 0s; want 1ms to 87600h"},
		{"lease grant 5s", "muster lease grant: --for KEY is missing; a lease lives in the slot of that key"},
		{"lease keepalive x", `muster lease keepalive: lease "x"; want the id of a lease as muster lease grant or list prints it, as in 1234.17`},
		{"lease revoke", "muster lease revoke: an argument is missing; want muster lease revoke ID"},
		{"lease list x", `muster lease list: argument "x" is one too many; want muster lease list`},
		{"kv list a b", `muster kv list: argument "b" is one too many; want muster kv list [PREFIX]`},
		{"kv list --limit -1", "muster kv list: --limit -1; want 0 for all, or more"},
		{"kv list --from b --to a", `muster kv list: --to "a", --from "b"; want an end that comes behind the beginning`},
		{"kv list a --from b", `muster kv list: --from "b" with prefix "a"; want a beginning below "b", where the keys with that prefix end`},
		{"kv list a/ --count --from b", `muster kv list: --from "b" with prefix "a/"; want a beginning below "a0", where the keys with that prefix end`},
		{"kv list b --to b", `muster kv list: --to "b" with prefix "b"; want an end that comes behind the prefix`},
		{"kv list --to a b --count", `muster kv list: --to "a" with prefix "b"; want an end that comes behind the prefix`},
		{"kv list --count --desc", "muster kv list: --count and --desc; want one of them"},
		{"kv list --count --limit 3", "muster kv list: --count and --limit; want one of them"},
		{"kv locate", "muster kv locate: an argument is missing; want muster kv locate K"},
		{"kv import", "muster kv import: an argument is missing; want muster kv import FILE|-"},
		{"kv export --from b --to a", `muster kv export: --to "a", --from "b"; want an end that comes behind the beginning`},
		{"kv export a --from b", `muster kv export: --from "b" with prefix "a"; want a beginning below "b", where the keys with that prefix end`},
		{"kv export b --to a", `muster kv export: --to "a" with prefix "b"; want an end that comes behind the prefix`},
		{"kv export --read never", `muster kv export: --read "never"; want linearizable or local`},
		{"top now", `muster top: argument "now" is one too many; want muster top`},
		{"top --every 10ms", "muster top: --every 10ms; want 1s to 5m0s"},
		{"top --every soon", `muster top: invalid value "soon" for option --every; want a number with its unit, as 500ms, 10s or 1m30s`},
		{"top -o xml", `muster top: --output "xml"; want table or json`},
		{"status now", `muster status: argument "now" is one too many; want muster status`},
		{"node list x", `muster node list: argument "x" is one too many; want muster node list`},
		{"node", "muster node: a verb is missing; want one of list, add, remove, drain, undrain, promote, demote, label, weight"},
		{"node weight n1", "muster node weight: an argument is missing; want muster node weight NODE W"},
		{"node weight n1 1001", `muster node weight: weight "1001"; want a number, 0 to 1000`},
		{"node weight n1 heavy", `muster node weight: weight "heavy"; want a number, 0 to 1000`},
		{"node weight n1 1 2", `muster node weight: argument "2" is one too many; want muster node weight NODE W`},
		{"node add", "muster node add: an argument is missing; want muster node add H[:P]…"},
		{"node add a:b:c", `muster node add: "a:b:c" is not an address; want HOST:PORT`},
		{"node add 10.0.0.1 10.0.0.1:4166", "muster node add: 10.0.0.1:4166 is given twice"},
		{"node add 10.0.0.1 --force", "muster node add: unknown option --force; see muster node add --help"},
		{"node remove", "muster node remove: an argument is missing; want muster node remove NODE…"},
		{"node drain", "muster node drain: an argument is missing; want muster node drain NODE…"},
		{"node drain n1 --force", "muster node drain: unknown option --force; see muster node drain --help"},
		{"node undrain", "muster node undrain: an argument is missing; want muster node undrain NODE…"},
		{"node promote", "muster node promote: an argument is missing; want muster node promote NODE"},
		{"node promote a b", `muster node promote: argument "b" is one too many; want muster node promote NODE`},
		{"node demote a b", `muster node demote: argument "b" is one too many; want muster node demote NODE`},
		{"node label n1", "muster node label: an argument is missing; want muster node label NODE K=V…"},
		{"node label n1 zone", `muster node label: label "zone"; want K=V, or K= to take it away`},
		{"node label n1 =a", `muster node label: label "=a"; want K=V`},
		{"node label n1 a=1 a=2", `muster node label: label "a" is given twice`},
		{"group add 1", "muster group add: an argument is missing; want muster group add ID NODE"},
		{"group add x n1", `muster group add: group "x"; want a number, 0 to 9999`},
		{"group del 10000 n1", `muster group del: group "10000"; want a number, 0 to 9999`},
		{"group promote 1 n1 n2", `muster group promote: argument "n2" is one too many; want muster group promote ID NODE`},
		{"group create x", `muster group create: group "x"; want a number, 1 to 9999`},
		{"group create 0", "muster group create: group 0 holds the cluster's table, and never owns slots; want a number, 1 to 9999"},
		{"group create 1 2", `muster group create: argument "2" is one too many; want muster group create [ID]`},
		{"group remove", "muster group remove: an argument is missing; want muster group remove ID"},
		{"group remove 10000 --yes", `muster group remove: group "10000"; want a number, 1 to 9999`},
		{"group remove 1 --force", "muster group remove: unknown option --force; see muster group remove --help"},
		{"check 1", `muster check: argument "1" is one too many; want muster check`},
		{"check --group 10000", "muster check: --group 10000; want 0 to 9999"},
		{"check --group -1", `muster check: invalid value "-1" for option --group; want a whole number, 0 or more`},
		{"check --group x", `muster check: invalid value "x" for option --group; want a whole number, 0 or more`},
		{"check --yes", "muster check: --yes without --fix; want both"},
		{"check --fix --acknowledge", "muster check: --fix and --acknowledge contradict each other; want one of them"},
		{"check --acknowledge --yes", "muster check: --yes without --fix; want both"},
		{"check --acknowledge 1", `muster check: argument "1" is one too many; want muster check`},
		{"check --trust n2", "muster check: --trust without --group and --fix; want all three"},
		{"check --trust n2 --fix", "muster check: --trust without --group and --fix; want all three"},
		{"check --trust n2 --group 3", "muster check: --trust without --group and --fix; want all three"},
		{"check --force", "muster check: unknown option --force; see muster check --help"},
		{"job", "muster job: a verb is missing; want one of list, show, wait, pause, resume, cancel"},
		{"job list x", `muster job list: argument "x" is one too many; want muster job list`},
		{"job show", "muster job show: an argument is missing; want muster job show ID"},
		{"job wait x", `muster job wait: job "x"; want a number, as muster job list shows`},
		{"job cancel 0", `muster job cancel: job "0"; want a number, as muster job list shows`},
		{"job pause 1 2", `muster job pause: argument "2" is one too many; want muster job pause ID`},
		{"user", "muster user: a verb is missing; want one of create, password, withdraw, list, grant, revoke, cert, del"},
		{"user create", "muster user create: an argument is missing; want muster user create NAME"},
		{"user create a/b", `muster user create: name of a user: "a/b": has '/'; want 1 to 64 letters, digits, '.', '_' or '-'`},
		{"user create ann --password-file=", "muster user create: --password-file: empty; want a FILE, or - for standard input"},
		{"user create ann --password-file f --no-password", "muster user create: --no-password and --password-file contradict each other; give one"},
		{"user create ann --password hunter2", "muster user create: unknown option --password; see muster user create --help"},
		{"user password ann --no-password", "muster user password: unknown option --no-password"},
		{"user grant ann", "muster user grant: an argument is missing; want muster user grant NAME ROLE"},
		{"user revoke ann r x", `muster user revoke: argument "x" is one too many; want muster user revoke NAME ROLE`},
		{"auth reset", "muster auth reset: --data is missing; want the data directory of a node that runs on this host"},
		{"auth reset --data x .ann", `muster auth reset: name of a user: ".ann": begins with '.'; want a letter, a digit or '_' first`},
		{"auth reset --data x ann bob", "muster auth reset: "},
		{"user withdraw", "muster user withdraw: "},
		{"user del .ann", `muster user del: name of a user: ".ann": begins with '.'; want a letter, a digit or '_' first`},
		{"user list x", `muster user list: argument "x" is one too many; want muster user list`},
		{"role", "muster role: a verb is missing; want one of create, grant, revoke, list, del"},
		{"role create a b", `muster role create: argument "b" is one too many; want muster role create NAME`},
		{"role grant r read", "muster role grant: an argument is missing; want muster role grant NAME VERBS OBJECT"},
		{"role grant r reed app/", `muster role grant: verb "reed": want read, write, list, watch, admin, with commas between several, or all`},
		{"role grant r admin app/", `muster role grant: grant on "key:app/": admin means nothing there; want read,write,list,watch, or all`},
		{"role grant r read cluster:x y", `muster role grant: argument "y" is one too many`},
		{"role revoke r write cluster", `muster role revoke: grant on "cluster": write means nothing there; want read,admin, or all`},
		{"role del", "muster role del: an argument is missing; want muster role del NAME"},
		{"auth", "muster auth: a verb is missing; want one of whoami, can-i, login, token, reset"},
		{"auth login ann", "muster auth login: --password-file is missing; want a FILE, or - for standard input"},
		{"auth login ann --password-file f --root 12", "muster auth login: --root: "},
		{"auth can-i read", "muster auth can-i: an argument is missing; want muster auth can-i VERB OBJECT"},
		{"auth can-i see app/", `muster auth can-i: verb "see": want read, write, list, watch, admin`},
		{"auth can-i admin app/", `muster auth can-i: admin means nothing for "key:app/"; want read,write,list,watch, or all`},
		{"auth token x", `muster auth token: argument "x" is one too many; want muster auth token`},
		{"auth token --insecure", "muster auth token: --insecure: a cluster without TLS asks nobody who he is"},
		{"auth whoami x", `muster auth whoami: argument "x" is one too many; want muster auth whoami`},
		{"init a b", `muster init: argument "b" is one too many; want muster init [NAME]`},
		{"init -x", "muster init: unknown option -x"},
		{"setting list x", `muster setting list: argument "x" is one too many; want muster setting list`},
		{"setting get", "muster setting get: an argument is missing; want muster setting get NAME"},
		{"setting set replicas", "muster setting set: an argument is missing; want muster setting set NAME VALUE"},
		{"namespace", "muster namespace: a verb is missing; want one of list, limit, del"},
		{"namespace list x", `muster namespace list: argument "x" is one too many; want muster namespace list`},
		{"namespace limit", "muster namespace limit: an argument is missing; want muster namespace limit PREFIX"},
		{"namespace limit app/", "muster namespace limit: a limit is missing; want --keys, --bytes or --rate"},
		{"namespace limit app/ x --keys 1", `muster namespace limit: argument "x" is one too many; want muster namespace limit PREFIX`},
		{"namespace limit app/ --keys x", `muster namespace limit: invalid value "x" for option --keys; want a whole number, 0 or more`},
		{"namespace limit app/ --bytes -1", `muster namespace limit: invalid value "-1" for option --bytes; want a whole number, 0 or more`},
		{"namespace limit app/ --rate 4294967296", "muster namespace limit: --rate 4294967296; want at most 4294967295"},
		{"namespace limit app/ --key 1", "muster namespace limit: unknown option --key; see muster namespace limit --help"},
		{"namespace del", "muster namespace del: an argument is missing; want muster namespace del PREFIX"},
		{"namespace del a b", `muster namespace del: argument "b" is one too many; want muster namespace del PREFIX`},
		{"group list x", `muster group list: argument "x" is one too many; want muster group list`},
		{"slot list x", `muster slot list: argument "x" is one too many; want muster slot list`},
		{"slot", "muster slot: a verb is missing; want one of list, assign, move, rebalance"},
		{"point", "muster point: a verb is missing; want one of write"},
		{"point write", "muster point write: --db NAME is missing; see muster db list"},
		{"point write x --db d", `muster point write: argument "x" is one too many; want muster point write`},
		{"hint list --group 0", "muster hint list: --group 0; want 1 to 9999: the meta group has no points"},
		{"hint purge --group 10000", "muster hint purge: --group 10000; want 0 to 9999"},
		{"hint retry 3", "muster hint retry: "},
		{"point write --db d --level two", `muster point write: --level: level "two" is not known; want any, one, quorum or all`},
		{"point write --db d --precision m", `muster point write: --precision "m"; want ns, us, ms, s`},
		{"db", "muster db: a verb is missing; want one of create, alter, drop, list"},
		{"db create", "muster db create: an argument is missing; want muster db create NAME"},
		{"db create d --duration x", `--duration "x": want a whole number with w, d, h, m or s, or inf`},
		{"db create d --duration 0d", `--duration "0d": want a whole number with w, d, h, m or s, or inf`},
		{"db create d --duration -1h", `--duration "-1h": want a whole number with w, d, h, m or s, or inf`},
		{"db create d --duration 99999999w", `--duration "99999999w": want a whole number`},
		{"db create d --window inf", "--window inf: a window has an end; want 1h at least"},
		{"db create d --shards 65", "--shards 65: want at most 64"},
		{"db create d --policy=", "muster db create: --policy is empty; want the name of a policy"},
		{"query", "muster query: a verb is missing; want one of run, list, kill"},
		{"query run", "muster query run: an argument is missing; want muster query run TEXT|-"},
		{"query SHOW DATABASES", `muster query run: argument "DATABASES" is one too many; want muster query run TEXT|-`},
		{"query lst", `muster query: "lst" is no verb; want muster query list, or muster query run lst for a text`},
		{"query SELECT", "muster query run: TEXT: error parsing query: found EOF, expected identifier, string, number, bool at line 1, char 8"},
		{"query ;", "muster query run: TEXT has no statement; want one, as 'SHOW DATABASES'"},
		{"query -", "muster query run: standard input has no statement; want one, as 'SHOW DATABASES'"},
		{"query ; --epoch n", `muster query run: --epoch "n"; want ns, us, ms, s, m, h`},
		{"query ; --csv -o json", "muster query run: --csv and -o json; want one of them"},
		{"query ; --csv -o xml", "xml"},
		{"query ; --memory 0", "muster query run: --memory 0; want 1 to 268435456 bytes"},
		{"query ; --memory 268435457", "muster query run: --memory 268435457; want 1 to 268435456 bytes"},
		{"query ; --memory 1MB", `muster query run: invalid value "1MB" for option --memory; want a whole number, 0 or more`},
		{"query SHOW --timeout 6m", "muster query run: TEXT: "},
		{"query list x", `muster query list: argument "x" is one too many; want muster query list`},
		{"query kill x", `muster query kill: ID "x"; want the number of a query as muster query list prints it`},
		{"query kill 0", `muster query kill: ID "0"; want the number`},
		{"query kill", "muster query kill: an argument is missing; want muster query kill ID"},
		{"db list x", `muster db list: argument "x" is one too many; want muster db list`},
		{"db drop", "muster db drop: an argument is missing; want muster db drop NAME"},
		{"policy create d", "muster policy create: an argument is missing; want muster policy create DATABASE NAME"},
		{"policy alter d p", "muster policy alter: nothing is to be altered; want --duration, --window, --shards or --default"},
		{"policy list d x", `muster policy list: argument "x" is one too many; want muster policy list [DATABASE]`},
		{"window truncate a b", `muster window truncate: argument "b" is one too many; want muster window truncate [DATABASE]`},
		{"shard", "muster shard: a verb is missing; want one of list"},
		{"slot rebalance x", `muster slot rebalance: argument "x" is one too many; want muster slot rebalance`},
		{"slot assign 1-5", "muster slot assign: an argument is missing; want muster slot assign FROM-TO GROUP"},
		{"slot move", "muster slot move: an argument is missing; want muster slot move SLOT|FROM-TO GROUP"},
		{"slot move x 1", `muster slot move: slots "x"; want a slot, 0 to 4095, or FROM-TO`},
		{"slot move 1- 1", `muster slot move: slots "1-"; want a slot, 0 to 4095, or FROM-TO`},
		{"slot move 4096 1", `muster slot move: slots "4096"; want a slot, 0 to 4095, or FROM-TO`},
		{"slot assign 0-4096 1", `muster slot assign: slots "0-4096"; want a slot, 0 to 4095, or FROM-TO`},
		{"slot assign 5-4 1", `muster slot assign: slots "5-4"; want no more in FROM than in TO`},
		{"slot move 5 g1", `muster slot move: group "g1"; want a number, 1 to 9999`},
		{"slot move 5 0", "muster slot move: group 0 holds the cluster's table, and never owns slots; want a number, 1 to 9999"},
		{"slot assign 5 00", "muster slot assign: group 0 holds the cluster's table, and never owns slots; want a number, 1 to 9999"},
		{"slot move 5 1 2", `muster slot move: argument "2" is one too many; want muster slot move SLOT|FROM-TO GROUP`},
		{"bench --op incr", `muster bench: --op "incr"; want set, get, mixed or list, or several such with commas between`},
		{"bench --op list --pipelined", "muster bench: --op list with --pipelined; want one of them, for a list is several requests"},
		{"bench --reads 101", "muster bench: --reads 101; want 0 to 100"},
		{"bench --read never", `muster bench: --read "never"; want linearizable or local`},
		{"bench --rows 0", "muster bench: --rows 0; want 1 to "},
		{"bench --rate -1", "muster bench: --rate -1; want 0.01 to 10000000 a second, or 0"},
		{"bench --rate NaN", "muster bench: --rate NaN; want 0.01 to 10000000 a second, or 0"},
		{"bench --rate 1e-300", "muster bench: --rate 1e-300; want 0.01 to 10000000 a second, or 0"},
		{"bench --rate many", `muster bench: invalid value "many" for option --rate; want a number`},
		{"bench --seed -1", `muster bench: invalid value "-1" for option --seed; want a whole number, 0 or more`},
		{"bench --distribution normal", `muster bench: --distribution "normal"; want uniform, zipf or zipf:EXPONENT with more than 0 and at most 10`},
		{"bench --distribution zipf:0", `muster bench: --distribution "zipf:0"; want uniform, zipf`},
		{"bench --distribution zipf:11", `muster bench: --distribution "zipf:11"; want uniform, zipf`},
		{"bench --distribution zipf:NaN", `muster bench: --distribution "zipf:NaN"; want uniform, zipf`},
		{"bench --distribution uniform:1", `muster bench: --distribution "uniform:1"; want uniform, zipf`},
		{"bench --rounds 0", "muster bench: --rounds 0; want 1 to 1000"},
		{"bench --rounds 4 --versus=--pipelined", "muster bench: --rounds 4; want 5 to 1000"},
		{"bench --versus=", "muster bench: --versus: empty; want OPTIONS of this command, as in --versus '--connections 16'"},
		{"bench --versus 16", `muster bench: --versus: argument "16" is no option; want OPTIONS of this command`},
		{"bench --versus --nothing", "muster bench: unknown option --nothing; see muster bench --help"},
		{"bench --versus --rounds=7", "muster bench: --versus: option --rounds is not for one side; want it outside"},
		{"bench --versus --output=json", "muster bench: --versus: option --output is not for one side; want it outside"},
		{"bench --versus --rate=x", `muster bench: invalid value "x" for option --rate; want a number`},
		{"bench --versus --connections=65", "muster bench: --connections 65; want 1 to 64"},
		{"bench --versus --in-flight=1,2", "muster bench: --versus: 4 runs against 2; want as many, of --op, --connections and --in-flight"},
		{"bench --in-flight 0", "muster bench: --in-flight 0; want 1 to 65536"},
		{"bench --in-flight 1,x", "muster bench: --in-flight x; want 1 to 65536"},
		{"bench --warm-up -1s", "muster bench: --warm-up -1s; want 0 to 24h"},
		{"bench --connections 65", "muster bench: --connections 65; want 1 to 64"},
		{"bench --connections 1,", "muster bench: --connections ; want 1 to 64, or several such with commas between"},
		{"bench --key-size 9 --keys 1001", "muster bench: --key-size 9; want 10 to 4096"},
		{"bench --value-size 16777217", "muster bench: --value-size 16777217; want 0 to 16777216"},
		{"bench --duration 0s", "muster bench: --duration 0s; want more than 0 and at most 24h"},
		{"log", "muster log: a verb is missing; want one of show, diff, verify"},
		{"log show a b", `muster log show: argument "b" is one too many; want muster log show [DIR|FILE]`},
		{"log show a --group 10000", "muster log show: --group 10000; want 0 to 9999"},
		{"log show a --group -1", `muster log show: invalid value "-1" for option --group; want a whole number, 0 or more`},
		{"log show a --from 5 --to 4", "muster log show: --from 5 --to 4; want no more in --from than in --to"},
		{"audit", "muster audit: a verb is missing; want one of tail, verify"},
		{"audit tail x", `muster audit tail: argument "x" is one too many`},
		{"audit tail --limit 0", "muster audit tail: --limit 0; want 1 to 10000"},
		{"audit tail --limit 10001", "muster audit tail: --limit 10001; want 1 to 10000"},
		{"audit tail --limit x", `muster audit tail: invalid value "x" for option --limit; want a whole number`},
		{"audit verify a b", `muster audit verify: argument "b" is one too many; want muster audit verify [DIR]`},
		{"audit verify a --node n1", "muster audit verify: DIR and --node contradict each other; want one of them"},
		{"log verify", "muster log verify: an argument is missing; want muster log verify DIR"},
		{"log diff a", "muster log diff: an argument is missing; want muster log diff NODE NODE"},
		{"log diff a b --limit 0", "muster log diff: --limit 0; want 1 or more"},
		{"recover", "muster recover: a verb is missing; want one of inspect, plan, apply"},
		{"recover inspect d", `muster recover inspect: argument "d" is one too many; want muster recover inspect`},
		{"recover plan", "muster recover plan: an argument is missing; want muster recover plan FILE…"},
		{"recover apply", "muster recover apply: an argument is missing; want muster recover apply PLAN"},
		{"recover apply p q", `muster recover apply: argument "q" is one too many; want muster recover apply PLAN`},
		{"completion tcsh", `muster completion: unknown shell "tcsh"; want bash, zsh or fish`},
		{"completion", "muster completion: an argument is missing; want muster completion bash|zsh|fish"},
		{"wire decode", "muster wire decode: an argument is missing; want muster wire decode FILE|-"},
		{"version x", `muster version: argument "x" is one too many; want muster version`},
		{"demo x", `muster demo: argument "x" is one too many; want muster demo`},
		// Options that these commands would take and do nothing with.
		{"demo -o json", "muster demo: unknown option -o; see muster demo --help"},
		{"-o json demo", "muster demo: unknown option -o; see muster demo --help"},
		{"demo --endpoints 127.0.0.1:1", "muster demo: unknown option --endpoints; see muster demo --help"},
		{"completion bash -o json", "muster completion: unknown option -o; see muster completion --help"},
		{"serve --timeout 1s", "muster serve: unknown option --timeout; see muster serve --help"},
		{"serve -o json", "muster serve: unknown option -o; see muster serve --help"},
		{"user cert", "muster user cert: an argument is missing; want muster user cert NAME"},
		{"user cert ann --out=", "muster user cert: --out: empty; want the name of a directory"},
		{"token", "muster token: a verb is missing; want one of create, list, revoke"},
		{"token create x", `muster token create: argument "x" is one too many; want muster token create`},
		{"token create --role voter", `muster token create: --role "voter"; want server or client`},
		{"token create --uses 0", "muster token create: --uses 0; want 1 to 1000"},
		{"token create --uses 1001", "muster token create: --uses 1001; want 1 to 1000"},
		{"token create --ttl 0s", "muster token create: --ttl 0s; want 1s to 720h0m0s"},
		{"token create --ttl 721h", "muster token create: --ttl 721h0m0s; want 1s to 720h0m0s"},
		{"token revoke", "muster token revoke: an argument is missing; want muster token revoke ID"},
		{"token revoke x", `muster token revoke: id "x"; want a number, as muster token list has it`},
		{"token revoke 0", `muster token revoke: id "0"; want a number, as muster token list has it`},
		{"ca", "muster ca: a verb is missing; want one of show, export, create, rotate, retire"},
		{"ca retire", "muster ca retire: an argument is missing; want muster ca retire ROOT"},
		{"ca rotate now", `muster ca rotate: argument "now" is one too many; want muster ca rotate`},
		{"ca create --user=", "muster ca create: --user: empty; want a name, as muster user create takes it"},
		{"ca create --user a/b", `muster ca create: --user: "a/b": has '/'; want 1 to 64 letters`},
		{"cert list x", `muster cert list: argument "x" is one too many; want muster cert list`},
	} {
		t.Run(tt.line, func(t *testing.T) {
			muster(t, strings.Fields(tt.line)...).refused(t, exitUsage, tt.want)
		})
	}
}

// What a variable says must be refused by its name, since the user may not know
// that it is set; an empty one is none.
func TestVariables(t *testing.T) {
	for _, tt := range []struct {
		variable string
		status   exitStatus
		want     string
	}{
		{"MUSTER_TIMEOUT=zz", exitUsage, `muster kv get: MUSTER_TIMEOUT: "zz" is no duration; want a number with its unit, as 500ms, 10s or 1m30s`},
		{"MUSTER_TIMEOUT=6m", exitUsage, "want more than 0 and at most 5m0s"},
		{"MUSTER_ENDPOINTS=no:where:", exitUsage, `"no:where:" is not an address; want HOST:PORT`},
		{"MUSTER_ENDPOINTS=127.0.0.1:1", exitNoEndpoint, "127.0.0.1:1 ("},
		{"MUSTER_SECRET_FILE=absent", exitRefused, "secret file: open absent: no such file or directory"},
		{"MUSTER_SECRET_FILE=", exitNoEndpoint, "no endpoint accepted a connection"},
		{"MUSTER_CLUSTER=", exitNoEndpoint, "no endpoint accepted a connection"},
	} {
		t.Run(tt.variable, func(t *testing.T) {
			args := []string{"kv", "get", "k"}
			if tt.status == exitNoEndpoint {
				args = append(args, "--timeout", "1s")
			}
			name, value, _ := strings.Cut(tt.variable, "=")
			t.Setenv(name, value)
			muster(t, args...).refused(t, tt.status, tt.want)
		})
	}
}

// serve must refuse wrong settings before it touches the disk or a port,
// wherever they come from.
func TestServeUsage(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		env  string
		file string // of the configuration
		want string
	}{
		{name: "expect 3 with two addresses", args: []string{"--expect", "3", "--join", "127.0.0.1:4166,127.0.0.1:4167"},
			want: "muster serve: --expect 3: --join has 2 addresses; want exactly 3, this host's own included"},
		{name: "expect nobody", args: []string{"--expect", "0", "--join", "127.0.0.1:4166"},
			want: "muster serve: --expect 0: want as many hosts as --join has, 1"},
		{name: "own address not among them", args: []string{"--expect", "2", "--join", "127.0.0.1:4168", "--join", "127.0.0.1:4167"},
			want: "muster serve: --join: this host's own address 127.0.0.1:4166 is not among 127.0.0.1:4168,127.0.0.1:4167"},
		{name: "not loopback", args: []string{"--listen", "0.0.0.0:4166", "--advertise", "127.0.0.1:4166"},
			want: "muster serve: --listen 0.0.0.0:4166: others can reach this address: give --secret-file FILE, or --insecure to let anyone in; a host that joins gives --token-file FILE"},
		{name: "secret and insecure", args: []string{"--secret-file", "s", "--insecure"},
			want: "muster serve: --insecure: means without a secret, but --secret-file is given"},
		{name: "no cluster name", args: []string{"--cluster", ""}, want: "muster serve: --cluster: empty; want 1 to 63 letters"},
		{name: "groups", args: []string{"--groups", "10000"}, want: "muster serve: --groups 10000: want 1 to 4096"},
		{name: "value over its limit", args: []string{"--value-max", "17MiB"}, want: "muster serve: --value-max 17825792: want 1 to 16777216 bytes"},
		{name: "not a size", args: []string{"--value-max", "64kB"}, want: `muster serve: --value-max: "64kB" is no size; want a whole number of bytes, or one with KiB, MiB or GiB, as in 64KiB`},
		{name: "not a number", args: []string{"--groups", "x"}, want: `muster serve: --groups: "x" is not a whole number`},
		{name: "variable", env: "MUSTER_GROUPS=0x", want: `muster serve: MUSTER_GROUPS: "0x" is not a whole number`},
		{name: "switch in a variable", env: "MUSTER_INSECURE=perhaps", want: `muster serve: MUSTER_INSECURE: "perhaps" is neither true nor false`},
		{name: "unknown key of the file", file: "group = 3\n", want: `: unknown key "group"; known are name, listen,`},
		{name: "file that is not TOML", file: "groups 3\n", want: ": line 1: "},
		{name: "empty secret file", args: []string{"--secret-file", ""}, want: "muster serve: --secret-file: empty; want a FILE, or leave the option out"},
		{name: "unknown option", args: []string{"--group", "3"}, want: "muster serve: unknown option --group; see muster serve --help"},
		{name: "argument", args: []string{"now"}, want: `muster serve: argument "now" is one too many; want muster serve`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "data")
			args := append([]string{"serve", "--data", data}, tt.args...)
			if tt.file != "" {
				path := filepath.Join(t.TempDir(), "muster.toml")
				if err := os.WriteFile(path, []byte(tt.file), 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--config", path)
			}
			if name, value, ok := strings.Cut(tt.env, "="); ok {
				t.Setenv(name, value)
			}
			muster(t, args...).refused(t, exitUsage, tt.want)
			if _, err := os.Stat(data); err == nil {
				t.Error("the data directory was made")
			}
		})
	}
}

// What keeps a command from its work before there is a cluster must be told
// from a usage error and from each other.
func TestNoCluster(t *testing.T) {
	short := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(short, []byte("guess me\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		line   string
		status exitStatus
		want   string
	}{
		{"kv get k --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"kv set k v --endpoints 127.0.0.1:1,127.0.0.1:2 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1 (connection refused), 127.0.0.1:2 (connection refused); start a node there"},
		{"top --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"bench --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"node drain n1 --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"node remove n1 --yes --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"node add 127.0.0.1:2 --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"check --acknowledge --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"check --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"job wait 3 --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"setting set replicas 5 --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"slot list --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"slot move 5 1 --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"group create --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"service list --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"service get db --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"service set db --type tcp --node host=h,port=1 --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"service del db --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"service pick db --read local --endpoints 127.0.0.1:1,127.0.0.1:2 --timeout 1s", exitNoEndpoint, "--read local asks the first endpoint only, 127.0.0.1:1: "},
		{"service watch db --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"service maintain db h:1 on --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"service heartbeat db h:1 --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"kv list --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"kv export --endpoints 127.0.0.1:1 --timeout 2s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"kv export --read local --endpoints 127.0.0.1:1,127.0.0.1:2 --timeout 1s", exitNoEndpoint, "--read local asks the first endpoint only, 127.0.0.1:1: "},
		{"kv get k --read local --endpoints 127.0.0.1:1,127.0.0.1:2 --timeout 1s", exitNoEndpoint, "--read local asks the first endpoint only, 127.0.0.1:1: "},
		{"status --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"job list --endpoints 127.0.0.1:1 --timeout 1s", exitNoEndpoint, "muster: read the table of the cluster: no endpoint accepted a connection: 127.0.0.1:1 (connection refused); start a node there, or name other endpoints"},
		{"kv get k --secret-file absent", exitRefused, "muster: secret file: open absent: no such file or directory"},
		{"kv get k --secret-file " + short, exitRefused, "its first line has 8 bytes; want 16 to 4096"},
		{"serve --secret-file absent", exitRefused, "muster: secret file: open absent: no such file or directory"},
		{"serve --config absent.toml", exitRefused, "muster serve: config file: stat absent.toml: no such file or directory"},
		{"kv import .", exitRefused, "muster: .: is a directory; want a file with the lines of kv export"},
		{"point write --db d -f .", exitRefused, "muster: .: is a directory; want a file with lines of line protocol"},
		{"point write --db d -f absent", exitRefused, "muster: open absent: no such file or directory"},
		{"point write --db d --endpoints 127.0.0.1:1 -f usage_test.go --timeout 1s", exitNoEndpoint, "no endpoint accepted a connection: 127.0.0.1:1"},
		{"kv import absent", exitRefused, "muster: open absent: no such file or directory"},
		{"wire decode absent", exitRefused, "muster: open absent: no such file or directory"},
	} {
		t.Run(tt.line, func(t *testing.T) {
			muster(t, strings.Fields(tt.line)...).refused(t, tt.status, tt.want)
		})
	}
}

// With -o json standard output must be JSON; without, it is for people.
func TestVersion(t *testing.T) {
	var v versionRow
	if err := json.Unmarshal([]byte(muster(t, "version", "-o", "json").done(t)), &v); err != nil || v.Version == "" || v.ProtocolMax == 0 {
		t.Errorf("got %+v, %v", v, err)
	}
	for _, args := range [][]string{{"version"}, {"--version"}} {
		if out := muster(t, args...).done(t); !strings.HasPrefix(out, "muster "+v.Version+", protocol ") {
			t.Errorf("%v: got %q", args, out)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, tt := range []struct{ line, want string }{
		{"--help", "completion  print a script"},
		{"help", "completion  print a script"},
		{"kv --help", "muster kv - set, get, list"},
		{"help kv", "muster kv - set, get, list"},
		{"kv set --help", "muster kv set [command options] K V [K V …]"},
		{"help kv set", "muster kv set [command options] K V [K V …]"},
		{"kv help set", "muster kv set [command options] K V [K V …]"},
		{"--help", "--version "},
		{"--help", "--timeout D"},
		{"kv get --help", "a newline after it"},
		{"kv set k v -h", "muster kv set [command options] K V [K V …]"},
		{"serve --help", "--secret-file FILE"},
		{"serve --help", "[$MUSTER_SECRET_FILE]"},
	} {
		if out := muster(t, strings.Fields(tt.line)...).done(t); !strings.Contains(out, tt.want) {
			t.Errorf("%s: no %q in\n%s", tt.line, tt.want, out)
		}
	}
}

// wire decode must read frames as bytes and as hexadecimal, and say of bytes
// that are none what is wrong with them.
func TestWireDecode(t *testing.T) {
	frame := wire.AppendFrame(nil, wire.TypePing, 7, &wire.Empty{})
	raw := string(frame)
	digits := hex.EncodeToString(frame)
	spaced := strings.ToUpper(digits[:8]) + "\n" + digits[8:24] + " \t" + digits[24:] + "\n"
	first := muster(t, "wire", "decode", "--help").done(t)
	if !strings.Contains(first, "FILE|-") {
		t.Errorf("help is %q", first)
	}
	want := musterIn(t, raw, "wire", "decode", "-").done(t)
	if !strings.Contains(want, "Ping") {
		t.Fatalf("got %q", want)
	}
	for _, in := range []string{digits, spaced, "# as 0102 in a note\n" + spaced + "  # the end"} {
		if got := musterIn(t, in, "wire", "decode", "-").done(t); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	path := filepath.Join(t.TempDir(), "dump")
	if err := os.WriteFile(path, frame, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := muster(t, "wire", "decode", path).done(t); got != want {
		t.Errorf("file: got %q, want %q", got, want)
	}
	for line := range strings.Lines(musterIn(t, raw, "wire", "decode", "-", "-o", "json").done(t)) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %q", line)
		}
	}

	flipped := bytes.Clone(frame)
	flipped[len(flipped)-1] ^= 1
	for _, tt := range []struct{ name, in string }{
		{"empty", ""}, {"cut", raw[:len(raw)-1]}, {"one bit", string(flipped)}, {"text", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"claims 4 GiB", "\xff\xff\xff\xff" + strings.Repeat("\x00", 20)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := musterIn(t, tt.in, "wire", "decode", "-")
			if r.status != exitRefused || strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "muster: standard input: ") {
				t.Errorf("status %d, standard error %q", r.status, r.stderr)
			}
		})
	}
}

// A full disk must not pass for success: what a command prints goes through a
// buffer, whose last bytes are written when all else is done.
func TestOutputThatCannotBeWritten(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no /dev/full here")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	var stderr bytes.Buffer
	if status := Main(t.Context(), []string{"version"}, nil, full, &stderr); status != int(exitRefused) {
		t.Errorf("status %d, want %d", status, exitRefused)
	}
	if !strings.HasPrefix(stderr.String(), "muster: write output: ") || strings.Count(stderr.String(), "\n") != 1 {
		t.Errorf("standard error is %q", &stderr)
	}
}
