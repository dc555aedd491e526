package cmd

import (
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// A command line must mean the same wherever its options stand, and one that
// means nothing must be refused: the library would take options behind the
// first argument for arguments, without a word.
func TestArrange(t *testing.T) {
	commands := commands(&console{})
	const endOfOptions = " --"
	for _, tt := range []struct {
		line string // words with single spaces; '' is the empty word
		want string // as line, or "!" and the error
	}{
		// Where options may stand.
		{"kv get k", "kv get -- k"},
		{"kv get k -o json", "kv get --output=json -- k"},
		{"kv get -o json k", "kv get --output=json -- k"},
		{"kv get k -o=json", "kv get --output=json -- k"},
		{"kv get k --output json j", "kv get --output=json -- k j"},
		{"kv get k --output=json j", "kv get --output=json -- k j"},
		{"-o json kv get k", "kv get --output=json -- k"},
		{"kv -o json get k", "kv get --output=json -- k"},
		{"--endpoints a:1,b:2 kv --timeout 3s get k -o json", "kv get --endpoints=a:1,b:2 --timeout=3s --output=json -- k"},
		{"--endpoints=a:1 status", "status --endpoints=a:1 --"},
		{"kv set a 1 --if-absent", "kv set --if-absent -- a 1"},
		{"kv set --if-absent a 1", "kv set --if-absent -- a 1"},
		{"kv set a --if-version 3 1", "kv set --if-version=3 -- a 1"},
		{"kv incr k -5", "kv incr -- k -5"}, // a number below zero is an argument where one may be
		{"kv incr -5 k -o json", "kv incr --output=json -- -5 k"},
		{"kv list --keys --limit 3 p", "kv list --keys --limit=3 -- p"},
		{"serve --label a=1 --label b=2", "serve --label=a=1 --label=b=2 --"},
		{"serve --insecure --listen :1", "serve --insecure --listen=:1 --"},
		{"serve --insecure=false", "serve --insecure=false --"},
		{"-o json kv get k -o table", "kv get --output=json --output=table -- k"},

		// What is an argument whatever it looks like.
		{"kv get -- -k", "kv get -- -k"},
		{"kv get a -- -k --output json", "kv get -- a -k --output json"},
		{"kv get -- --", "kv get -- --"},
		{"kv set k --", "kv set -- k"},
		{"kv import -", "kv import -- -"},
		{"kv import - -o json", "kv import --output=json -- -"},
		{"kv set k ''", "kv set -- k ''"},
		{"lock l -- echo -a", "lock -- l echo -a"},
		{"lock l --no-wait -- echo --no-wait", "lock --no-wait -- l echo --no-wait"},
		{"lock l -- -- a", "lock -- l -- a"},
		{"lock '' -- echo", "lock -- '' echo"},
		{"lock l echo -- -a", "lock -- l echo -a"},
		{"lock --no-wait l echo a", "lock --no-wait -- l echo a"},
		{"lock -- -l -- echo -a", "lock -- -l echo -a"},
		{"lock -- -l echo -a", "lock -- -l echo -a"},
		{"kv set '' v", "kv set -- '' v"},
		{"kv get output", "kv get -- output"},
		{"kv get help", "kv get -- help"},
		{"kv get h", "kv get -- h"},
		{"kv set kv get", "kv set -- kv get"},

		// What is an option's value whatever it looks like.
		{"kv get k -o -x", "kv get --output=-x -- k"},
		{"kv get k -o --", "kv get --output=-- -- k"},
		{"kv get k --output= j", "kv get --output= -- k j"},
		{"kv get k --cluster ''", "kv get --cluster= -- k"},
		{"kv get k --cluster a=b", "kv get --cluster=a=b -- k"},
		{"kv set k v --if-version -1", "kv set --if-version=-1 -- k v"},
		{"serve --cluster kv", "serve --cluster=kv --"},
		{"--endpoints kv kv get k", "kv get --endpoints=kv -- k"},

		// A noun may stand for its usual verb.
		{"backup f", "backup take -- f"},
		{"backup take f", "backup take -- f"},
		{"backup --force f", "backup take --force -- f"},
		{"backup -o json f --force", "backup take --output=json --force -- f"},
		{"--endpoints a backup f", "backup take --endpoints=a -- f"},
		{"backup -- show", "backup take -- show"},
		{"backup show f", "backup show -- f"},
		{"backup --help", "backup --help"},
		{"backup help", "backup --help"},
		{"backup help show", "backup show --help"},
		{"backup f --help", "backup take --help"},
		{"backup lst", `!muster backup: "lst" is no verb; want muster backup list, or muster backup ./lst for a file of that name`},
		{"backup LIST -o json", `!muster backup: "LIST" is no verb; want muster backup list, or muster backup ./LIST for a file of that name`},
		{"backup ls", `!muster backup: "ls" is no verb; want muster backup list, or muster backup ./ls for a file of that name`},
		{"backup -o json shedule", `!muster backup: "shedule" is no verb; want muster backup schedule, or muster backup ./shedule for a file of that name`},
		{"backup prnue --keep 3", `!muster backup: "prnue" is no verb; want muster backup prune, or muster backup ./prnue for a file of that name`},
		{"backup tkae f", `!muster backup: "tkae" is no verb; want muster backup take, or muster backup ./tkae for a file of that name`},
		{"backup lsit", `!muster backup: "lsit" is no verb; want muster backup list, or muster backup ./lsit for a file of that name`},
		{"backup ./lst", "backup take -- ./lst"},
		{"backup test", "backup take -- test"},
		{"backup lst.backup", "backup take -- lst.backup"},
		{"backup -- lst", "backup take -- lst"},
		{"backup take lst", "backup take -- lst"},
		{"backup prod", "backup take -- prod"},
		{"backup -", "backup take -- -"},
		{"query -", "query run -- -"},
		{"query SHOW", "query run -- SHOW"},
		{"query --db d -o json SHOW --csv", "query run --db=d --output=json --csv -- SHOW"},
		{"query list", "query list --"},

		// Help and version.
		{"--help", "--help"},
		{"-h", "--help"},
		{"help", "--help"},
		{"help kv", "kv --help"},
		{"kv --help", "kv --help"},
		{"kv help", "kv --help"},
		{"kv help set", "kv set --help"},
		{"kv help set k", "kv set --help"},
		{"kv get --help", "kv get --help"},
		{"kv get k -h -o json", "kv get --help"},
		{"kv --help get", "kv get --help"},
		{"help kv get", "kv get --help"},
		{"kv get -- --help", "kv get -- --help"},
		{"--version", "version"},
		{"version -o json", "version --output=json --"},

		// What is refused.
		{"", "!muster: a command is missing; want one of serve, demo, status, top, kv, node, group, lease, lock, service, slot, db, policy, window, shard, query, point, hint, job, setting, init, user, role, auth, namespace, backup, restore, bench, doctor, check, log, audit, recover, wire, secret, token, ca, cert, version, completion, or --help"},
		{"kv", "!muster kv: a verb is missing; want one of set, get, del, incr, txn, list, watch, locate, import, export, history, diff, rollback, or --help"},
		{"-o json", "!muster: a command is missing; want one of serve, demo, status, top, kv, node, group, lease, lock, service, slot, db, policy, window, shard, query, point, hint, job, setting, init, user, role, auth, namespace, backup, restore, bench, doctor, check, log, audit, recover, wire, secret, token, ca, cert, version, completion, or --help"},
		{"backup", "!muster backup: a verb is missing; want one of take, show, run, schedule, list, prune, or --help"},
		{"backup -x f", "!muster backup take: unknown option -x; see muster backup take --help, and put -- before an argument that begins with a dash"},
		{"backup show f --force", "!muster backup show: unknown option --force; see muster backup show --help, and put -- before an argument that begins with a dash"},
		{"vk get", `!muster: unknown command "vk"; want one of serve, demo, status, top, kv, node, group, lease, lock, service, slot, db, policy, window, shard, query, point, hint, job, setting, init, user, role, auth, namespace, backup, restore, bench, doctor, check, log, audit, recover, wire, secret, token, ca, cert, version, completion`},
		{"kv got k", `!muster kv: unknown command "got"; want one of set, get, del, incr, txn, list, watch, locate, import, export, history, diff, rollback`},
		{"kv help got", `!muster kv: unknown command "got"; want one of set, get, del, incr, txn, list, watch, locate, import, export, history, diff, rollback`},
		{"kv get k -x", "!muster kv get: unknown option -x; see muster kv get --help, and put -- before an argument that begins with a dash"},
		{"kv get -x k", "!muster kv get: unknown option -x; see muster kv get --help, and put -- before an argument that begins with a dash"},
		{"kv set k -5", "!muster kv set: unknown option -5; see muster kv set --help, and put -- before an argument that begins with a dash"},
		{"lock -- echo a", "!muster lock: NAME is missing before --; want muster lock NAME -- CMD…"},
		{"lock --wait 5s -- echo a", "!muster lock: NAME is missing before --; want muster lock NAME -- CMD…"},
		{"-o json lock --", "!muster lock: NAME is missing before --; want muster lock NAME -- CMD…"},
		{"lock l curl --timeout 5s", "!muster lock: option --timeout behind CMD, whose option it may be; want muster lock NAME -- CMD…"},
		{"lock l ls -l", "!muster lock: option -l behind CMD, whose option it may be; want muster lock NAME -- CMD…"},
		{"lock -- - a", "!muster lock: NAME is missing before --; want muster lock NAME -- CMD…"},
		{"kv get k --nope=3", "!muster kv get: unknown option --nope; see muster kv get --help, and put -- before an argument that begins with a dash"},
		{"kv get k --if-absent", "!muster kv get: unknown option --if-absent; see muster kv get --help, and put -- before an argument that begins with a dash"},
		{"kv get k -ojson", "!muster kv get: unknown option -ojson; see muster kv get --help, and put -- before an argument that begins with a dash"},
		{"kv get k -output json", "!muster kv get: unknown option -output; see muster kv get --help, and put -- before an argument that begins with a dash"},
		{"kv get k --o json", "!muster kv get: unknown option --o; see muster kv get --help, and put -- before an argument that begins with a dash"},
		{"kv get k ---output json", "!muster kv get: unknown option ---output; see muster kv get --help, and put -- before an argument that begins with a dash"},
		{"kv get k -=3", "!muster kv get: unknown option -; see muster kv get --help, and put -- before an argument that begins with a dash"},
		{"kv get k --=3", "!muster kv get: unknown option --; see muster kv get --help, and put -- before an argument that begins with a dash"},
		{"kv get k -o", "!muster kv get: option -o wants a value"},
		{"kv get k --timeout", "!muster kv get: option --timeout wants a value"},
		{"--timeout", "!muster: option --timeout wants a value"},
		{"--groups 3 serve", "!muster: unknown option --groups; an option of one command stands after that command's name"},
		{"kv --limit 3 list", "!muster kv: unknown option --limit; an option of one command stands after that command's name"},
		{"-- kv get k", "!muster: -- before the command; want it after"},
		{"kv -- get k", "!muster kv: -- before the command; want it after"},
	} {
		words, err := arrange(commands, split(tt.line))
		got := join(words)
		if err != nil {
			got = "!" + err.Error()
			if statusOf(err) != exitUsage {
				t.Errorf("%q: status %d, want %d", tt.line, statusOf(err), exitUsage)
			}
		}
		if got != tt.want && got != tt.want+endOfOptions {
			t.Errorf("%q:\ngot  %s\nwant %s", tt.line, got, tt.want)
		}
	}
}

func split(line string) []string {
	words := strings.Fields(line)
	for i, w := range words {
		if w == "''" {
			words[i] = ""
		}
	}
	return words
}

func join(words []string) string {
	all := make([]string, len(words))
	for i, w := range words {
		if all[i] = w; w == "" {
			all[i] = "''"
		}
	}
	return strings.Join(all, " ")
}

// Every command that prints for programs must take the common options, the
// others none of them: they would do nothing, without a word. All must know an option by one
// name only and have a help text of its own.
func TestEveryCommand(t *testing.T) {
	var walk func(path string, commands []*cli.Command)
	walk = func(path string, commands []*cli.Command) {
		for _, c := range commands {
			name := path + " " + c.Name
			if c.Usage == "" {
				t.Errorf("%s: no line that says what it is for", name)
			}
			if !c.HideHelpCommand {
				t.Errorf("%s: an argument named help would not be one", name)
			}
			if len(c.Subcommands) > 0 {
				walk(name, c.Subcommands)
				continue
			}
			if c.Description == "" {
				t.Errorf("%s: no description", name)
			}
			if run := saidTwice(c.Description); run != "" {
				t.Errorf("%s: the description says %q twice", name, run)
			}
			seen := map[string]bool{}
			for _, f := range c.Flags {
				for _, n := range f.Names() {
					if seen[n] {
						t.Errorf("%s: option %s twice", name, n)
					}
					seen[n] = true
				}
			}
			own := slices.Contains([]string{"muster serve", "muster demo", "muster completion"}, name)
			for _, common := range []string{"endpoints", "output", "o", "timeout", "secret-file", "cluster"} {
				ofServe := c.Name == "serve" && (common == "secret-file" || common == "cluster")
				if want := !own || ofServe; seen[common] != want {
					t.Errorf("%s: option %s is taken: %v, want %v", name, common, seen[common], want)
				}
			}
		}
	}
	walk("muster", commands(&console{}))
}

// saidTwice returns the first run of six words that follows itself in a text, as an edit
// that went wrong leaves it; empty if there is none.
func saidTwice(text string) string {
	const run = 6
	words := strings.Fields(text)
	for i := range words {
		for n := run; i+2*n <= len(words); n++ {
			if slices.Equal(words[i:i+n], words[i+n:i+2*n]) {
				return strings.Join(words[i:i+n], " ")
			}
		}
	}
	return ""
}

// Help must say what an option that is not given comes to: no option of a number
// may say 0 that 0 does not stand for.
func TestHelpDefaults(t *testing.T) {
	var look func(name string, commands []*cli.Command)
	look = func(name string, commands []*cli.Command) {
		for _, c := range commands {
			look(name+" "+c.Name, c.Subcommands)
			for _, f := range c.Flags {
				d, ok := f.(cli.DocGenerationFlag)
				if ok && d.TakesValue() && d.GetDefaultText() == "0" && !strings.Contains(d.GetUsage(), "0:") {
					t.Errorf("%s %s --%s: the default is called 0", name, c.Name, f.Names()[0])
				}
			}
		}
	}
	look("muster", commands(&console{}))
}
