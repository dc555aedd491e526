package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

func (t *tool) completionCommand() *cli.Command {
	return localVerb(cli.Command{
		Name: "completion", Usage: "print a script that completes muster's words in a shell", ArgsUsage: "bash|zsh|fish",
		Description: `For one shell, now, and for every one to come:

    source <(muster completion bash)    in ~/.bashrc
    source <(muster completion zsh)     in ~/.zshrc, after compinit
    muster completion fish | source     in ~/.config/fish/config.fish

The script holds the words of this version and asks nobody.`,
		Action: t.completion,
	})
}

func (t *tool) completion(c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	lines := completionLines(t.commands())
	switch shell := c.Args().First(); shell {
	case "bash":
		writeBash(t.out, lines)
	case "zsh":
		writeZsh(t.out, lines)
	case "fish":
		writeFish(t.out, lines)
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
}

func completionLines(commands []*cli.Command) []completionLine {
	lines := []completionLine{{"", nil, []string{"--help", "--version"}}}
	var walk func(path string, commands []*cli.Command) []string
	walk = func(path string, commands []*cli.Command) (words []string) {
		for _, c := range commands {
			words = append(words, c.Name)
			l := completionLine{path: strings.TrimSpace(path + " " + c.Name), options: []string{"--help"}}
			for _, f := range c.Flags {
				if v, ok := f.(cli.VisibleFlag); !ok || v.IsVisible() {
					l.options = append(l.options, "--"+f.Names()[0])
				}
			}
			at := len(lines)
			lines = append(lines, l)
			lines[at].words = walk(l.path, c.Subcommands)
		}
		return words
	}
	lines[0].words = walk("", commands)
	i := slices.IndexFunc(lines, func(l completionLine) bool { return l.path == "completion" })
	lines[i].words = []string{"bash", "zsh", "fish"}
	return lines
}

// valueOptions are the options of flags behind which a word is their value. Only
// those of every command can stand before the command's words, and only there
// a value would be taken for one of these.
func valueOptions(flags []cli.Flag) (options []string) {
	for _, f := range flags {
		for _, n := range f.Names() {
			if takesValue(f) {
				options = append(options, strings.Repeat("-", min(len(n), 2))+n)
			}
		}
	}
	return options
}

func writeBash(w io.Writer, lines []completionLine) {
	fmt.Fprintf(w, `_muster() {
    local word value="" path="" words="" options="" cur="${COMP_WORDS[COMP_CWORD]}"
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$value$word" in
        %s) value=- ;;
        -*) value="" ;;
        *) path="${path:+$path }$word" ;;
        esac
    done
`, strings.Join(valueOptions(commonFlags()), "|"))
	writeCases(w, lines)
	fmt.Fprint(w, `    case "$cur" in
    -*) COMPREPLY=($(compgen -W "$options" -- "$cur")) ;;
    *)
        COMPREPLY=($(compgen -W "$words" -- "$cur"))
        [ -n "$words" ] || COMPREPLY=($(compgen -f -- "$cur"))
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
		fmt.Fprintf(w, "    '%s') words='%s' options='%s' ;;\n", l.path, strings.Join(l.words, " "), strings.Join(l.options, " "))
		fmt.Fprintf(w, "    '%s '*) options='%s' ;;\n", l.path, strings.Join(l.options, " "))
	}
	i := slices.IndexFunc(lines, func(l completionLine) bool { return l.path == "" })
	fmt.Fprintf(w, "    '') words='%s' options='%s' ;;\n    esac\n", strings.Join(lines[i].words, " "), strings.Join(lines[i].options, " "))
}

func writeZsh(w io.Writer, lines []completionLine) {
	fmt.Fprintf(w, `_muster() {
    local word value_="" path_="" words_="" options_=""
    for word in "${(@)words[2,CURRENT-1]}"; do
        case "$value_$word" in
        %s) value_=- ;;
        -*) value_="" ;;
        *) path_="${path_:+$path_ }$word" ;;
        esac
    done
`, strings.Join(valueOptions(commonFlags()), "|"))
	var b strings.Builder
	writeCases(&b, lines)
	r := strings.NewReplacer(`"$path"`, `"$path_"`, " words='", " words_='", " options='", " options_='")
	fmt.Fprint(w, r.Replace(b.String()))
	fmt.Fprint(w, `    case "$PREFIX" in
    -*) compadd -- ${=options_} ;;
    *) if [ -n "$words_" ]; then compadd -- ${=words_}; else _files; fi ;;
    esac
}
compdef _muster muster
`)
}

func writeFish(w io.Writer, lines []completionLine) {
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
		if len(l.words) > 0 {
			fmt.Fprintf(w, "complete -c muster -f -n '__muster_at %s' -a '%s'\n", l.path, strings.Join(l.words, " "))
		}
		test := "__muster_in"
		if l.path == "" {
			test = "__muster_at"
		}
		for _, o := range l.options {
			fmt.Fprintf(w, "complete -c muster -n '%s %s' -l %s\n", test, l.path, strings.TrimPrefix(o, "--"))
		}
	}
}
