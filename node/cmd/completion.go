package cmd

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/shardmap"
	"muster/shardmap/registry"
)

func completionCommand(con *console) *cli.Command {
	return ownVerb(cli.Command{
		Name: "completion", Usage: "print a script that completes muster's words in a shell", ArgsUsage: "bash|zsh|fish",
		Description: `For one shell, now, and for every one to come:

    source <(muster completion bash)    in ~/.bashrc
    source <(muster completion zsh)     in ~/.zshrc, after compinit
    muster completion fish | source     in ~/.config/fish/config.fish

The script holds the words of this version and asks no cluster.`,
		Action: con.action(runCompletion),
	})
}

func runCompletion(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	commands := commands(con)
	lines, values := completionLines(commands), valueLines(commands)
	switch shell := c.Args().First(); shell {
	case "bash":
		writeBash(con.out, lines, values)
	case "zsh":
		writeZsh(con.out, lines, values)
	case "fish":
		writeFish(con.out, lines, values)
	default:
		return usagef("muster completion: unknown shell %q; want bash, zsh or fish", shell)
	}
	return nil
}

// completionLine says what may follow some words of a command line.
type completionLine struct {
	path    string // "", "kv", "kv set"
	words   []string
	options []string // --name, without those that help hides
	files   bool     // its argument names one
}

// valueLine says what may follow an option: some words, a file, or, where there
// is neither, what only the user knows.
type valueLine struct {
	path    string   // of the command, if the option takes other words there; "": anywhere else
	options []string // with their dashes
	words   []string
	files   bool
	none    bool // no value follows it there, though one does elsewhere
}

// optionWords are the words that an option takes, by its name. A command that takes others is
// in commandWords, by its path and the option.
var (
	optionWords = map[string][]string{
		"output": {"table", "json"}, "read": readHows,
		"op": {"set", "get", "mixed", "list"}, "distribution": {"uniform", "zipf"}, "type": registry.Types,
		"role": {"server", "client"}, "near": {shardmap.ZoneLabel},
		// A shell takes a kind of two words for two.
		"kind": slices.DeleteFunc(shownKinds(), func(kind string) bool { return strings.Contains(kind, " ") }),
	}
	commandWords = map[string][]string{
		"kv export --read": readsLocals, "bench --read": readsLocals,
	}
)

// valueLines has a line for each option that takes a value, and one more for each command where
// it takes other words than elsewhere, or none. Those stand first.
func valueLines(commands []*cli.Command) []valueLine {
	files := []string{"secret-file", "config", "data", "file"}
	seen := map[string]bool{}
	var own, shared []valueLine
	eachOption("", commands, func(path string, f cli.Flag) {
		name, options := f.Names()[0], valueOptions(f)
		if words, ok := commandWords[path+" --"+name]; ok {
			own = append(own, valueLine{path: path, options: options, words: words})
		}
		if takesValue(f) && !seen[name] {
			seen[name] = true
			shared = append(shared, valueLine{options: options, words: optionWords[name], files: slices.Contains(files, name)})
		}
	})
	eachOption("", commands, func(path string, f cli.Flag) {
		if !takesValue(f) && seen[f.Names()[0]] {
			own = append(own, valueLine{path: path, options: dashed(f), none: true})
		}
	})
	return append(own, shared...)
}

// eachOption calls f with each option of each command, and the command's path.
func eachOption(path string, commands []*cli.Command, f func(path string, option cli.Flag)) {
	for _, c := range commands {
		at := strings.TrimSpace(path + " " + c.Name)
		for _, option := range c.Flags {
			f(at, option)
		}
		eachOption(at, c.Subcommands, f)
	}
}

// patterns are those of a shell's case that match the path of a command line, a blank and one of
// the line's options. Behind a whole command any argument may have followed.
func (v *valueLine) patterns() string {
	var all []string
	for _, option := range v.options {
		if v.path == "" {
			all = append(all, "*' "+option+"'")
		} else {
			all = append(all, fmt.Sprintf("'%s %s'|'%s '*' %s'", v.path, option, v.path, option))
		}
	}
	return strings.Join(all, "|")
}

func completionLines(commands []*cli.Command) []completionLine {
	lines := []completionLine{{options: append([]string{"--help", "--version"}, longOptions(commonFlags())...)}}
	var walk func(path string, commands []*cli.Command) []string
	walk = func(path string, commands []*cli.Command) (words []string) {
		for _, c := range commands {
			words = append(words, c.Name)
			l := completionLine{path: strings.TrimSpace(path + " " + c.Name), files: strings.Contains(c.ArgsUsage, "FILE") || strings.Contains(c.ArgsUsage, "DIR")}
			l.options = append([]string{"--help"}, longOptions(c.Flags)...)
			at := len(lines)
			lines = append(lines, l)
			lines[at].words = walk(l.path, c.Subcommands)
		}
		return words
	}
	lines[0].words = append(walk("", commands), "help")
	i := slices.IndexFunc(lines, func(l completionLine) bool { return l.path == "completion" })
	lines[i].words = []string{"bash", "zsh", "fish"}
	return lines
}

// longOptions are the long names of flags, without those that help hides.
func longOptions(flags []cli.Flag) (options []string) {
	for _, f := range flags {
		if v, ok := f.(cli.VisibleFlag); !ok || v.IsVisible() {
			options = append(options, "--"+f.Names()[0])
		}
	}
	return options
}

// valueOptions are the options of flags behind which a word is their value. Only
// those of every command can stand before the command's words, and only there
// a value would be taken for one of these.
func valueOptions(flags ...cli.Flag) (options []string) {
	for _, f := range flags {
		if takesValue(f) {
			options = append(options, dashed(f)...)
		}
	}
	return options
}

// dashed are the names of an option as they are typed.
func dashed(f cli.Flag) (options []string) {
	for _, n := range f.Names() {
		options = append(options, strings.Repeat("-", min(len(n), 2))+n)
	}
	return options
}

func writeBash(w io.Writer, lines []completionLine, values []valueLine) {
	fmt.Fprintf(w, `_muster() {
    local word value="" path="" words="" options="" files="" cur="${COMP_WORDS[COMP_CWORD]}"
    local option="${COMP_WORDS[COMP_CWORD-1]}"
    if [ "$cur" = = ]; then cur=""
    elif [ "$option" = = ]; then option="${COMP_WORDS[COMP_CWORD-2]}"; fi
    COMPREPLY=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$value$word" in
        %s) value=- ;;
        -*) value="" ;;
        help) [ -z "$path" ] || path="$path $word" ;;
        *) path="${path:+$path }$word" ;;
        esac
    done
    case "$path $option" in
`, strings.Join(valueOptions(commonFlags()...), "|"))
	for _, v := range values {
		do := ""
		switch {
		case v.files:
			do = `COMPREPLY=($(compgen -f -- "$cur")); `
		case len(v.words) > 0:
			do = fmt.Sprintf(`COMPREPLY=($(compgen -W "%s" -- "$cur")); `, strings.Join(v.words, " "))
		}
		if !v.none {
			do += "return "
		}
		fmt.Fprintf(w, "    %s) %s;;\n", v.patterns(), do)
	}
	fmt.Fprint(w, "    esac\n")
	writeCases(w, lines)
	fmt.Fprint(w, `    case "$cur" in
    -*) COMPREPLY=($(compgen -W "$options" -- "$cur")) ;;
    *)
        COMPREPLY=($(compgen -W "$words" -- "$cur"))
        [ -z "$files" ] || COMPREPLY=($(compgen -f -- "$cur"))
        ;;
    esac
}
complete -F _muster muster
`)
}

// writeCases sets words and options by path. The longest paths stand first:
// behind a whole command any argument may follow.
func writeCases(w io.Writer, lines []completionLine) {
	lines = slices.Clone(lines)
	slices.SortStableFunc(lines, func(a, b completionLine) int {
		return strings.Count(b.path, " ") - strings.Count(a.path, " ")
	})
	fmt.Fprintln(w, `    case "$path" in`)
	for _, l := range lines {
		if l.path == "" {
			continue
		}
		files := ""
		if l.files {
			files = "files=y "
		}
		fmt.Fprintf(w, "    '%s') %swords='%s' options='%s' ;;\n", l.path, files, strings.Join(l.words, " "), strings.Join(l.options, " "))
		fmt.Fprintf(w, "    '%s '*) options='%s' ;;\n", l.path, strings.Join(l.options, " "))
	}
	i := slices.IndexFunc(lines, func(l completionLine) bool { return l.path == "" })
	fmt.Fprintf(w, "    '') words='%s' options='%s' ;;\n    esac\n", strings.Join(lines[i].words, " "), strings.Join(lines[i].options, " "))
}

func writeZsh(w io.Writer, lines []completionLine, values []valueLine) {
	fmt.Fprintf(w, `_muster() {
    local word value_="" path_="" words_="" options_="" files_=""
    for word in "${(@)words[2,CURRENT-1]}"; do
        case "$value_$word" in
        %s) value_=- ;;
        -*) value_="" ;;
        help) [ -z "$path_" ] || path_="$path_ $word" ;;
        *) path_="${path_:+$path_ }$word" ;;
        esac
    done
    case "$path_ ${words[CURRENT-1]}" in
`, strings.Join(valueOptions(commonFlags()...), "|"))
	for _, v := range values {
		do := ""
		switch {
		case v.files:
			do = "_files; "
		case len(v.words) > 0:
			do = "compadd -- " + strings.Join(v.words, " ") + "; "
		}
		if !v.none {
			do += "return "
		}
		fmt.Fprintf(w, "    %s) %s;;\n", v.patterns(), do)
	}
	fmt.Fprint(w, "    esac\n")
	var b strings.Builder
	writeCases(&b, lines)
	r := strings.NewReplacer(`"$path"`, `"$path_"`, " words='", " words_='", " options='", " options_='", " files=", " files_=")
	fmt.Fprint(w, r.Replace(b.String()))
	fmt.Fprint(w, `    case "$PREFIX" in
    -*) compadd -- ${=options_} ;;
    *) if [ -n "$files_" ]; then _files; elif [ -n "$words_" ]; then compadd -- ${=words_}; fi ;;
    esac
}
compdef _muster muster
`)
}

func writeFish(w io.Writer, lines []completionLine, values []valueLine) {
	after := map[string]string{} // what stands behind -l NAME, by path and option
	for _, v := range values {
		name := " " + v.options[0]
		switch {
		case v.none:
			after[v.path+name] = ""
		case v.files:
			after[v.path+name] = " -r -F"
		case len(v.words) > 0:
			after[v.path+name] = " -x -a '" + strings.Join(v.words, " ") + "'"
		default:
			after[v.path+name] = " -x"
		}
	}
	fmt.Fprint(w, `function __muster_at
    set -l path
    for word in (commandline -opc)[2..-1]
        string match -q -- '-*' $word; or set -a path $word
    end
    test "$path" = "$argv"
end
function __muster_in
    set -l path
    for word in (commandline -opc)[2..-1]
        string match -q -- '-*' $word; or set -a path $word
    end
    string match -q -- "$argv*" "$path"
end
`)
	for _, l := range lines {
		if !l.files {
			fmt.Fprintf(w, "complete -c muster -f -n '__muster_at %s' -a '%s'\n", l.path, strings.Join(l.words, " "))
		}
		test := "__muster_in"
		if l.path == "" {
			test = "__muster_at"
		}
		for _, o := range l.options {
			then, ok := after[l.path+" "+o]
			if !ok {
				then = after[" "+o]
			}
			fmt.Fprintf(w, "complete -c muster -n '%s %s' -l %s%s\n", test, l.path, strings.TrimPrefix(o, "--"), then)
		}
	}
}
