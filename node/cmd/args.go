package cmd

import (
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
	"github.com/xrash/smetrics"
)

// urfave/cli v2 stops looking for options at the first argument and takes all
// that follows for arguments, without a word: in "kv get k -o json" it would
// read two keys more. So a command line goes through arrange first.

// arrange turns a command line into one that cli reads as it was meant: the
// command's words, its options as --name=value, then "--", then its arguments.
//
//   - An option may stand among the arguments; one that all commands share may
//     also stand before the command and between its words. After "--" all are
//     arguments; "-" is one too. A command that runs a program has its own
//     arguments before "--", and its options before the program.
//   - A number below zero is an argument where the command takes one.
//   - Long options have two dashes and one letter has one: --output, -o.
//     Their value follows "=", or is the next word, whatever that looks like.
//   - What is no option of the command is an error, and so is a word that is
//     no command.
//   - "help X Y" and "X help Y" are "X Y --help", and "--version" is "version".
//   - A noun of [usualVerbs] may stand without its verb, unless what stands there is nearly one.
//
// The error is a [usageError].
func arrange(commands []*cli.Command, args []string) ([]string, error) {
	a := arranger{commands: commands}
	for len(args) > 0 && a.leaf == nil {
		word := args[0]
		if usual, err := a.usual(word); err != nil {
			return nil, err
		} else if usual {
			continue
		}
		args = args[1:]
		switch {
		case word == "--":
			return nil, usagef("%s: -- before the command; want it after", a.name())
		case isOption(word):
			n, err := a.takeEarly(word, args)
			if err != nil {
				return nil, err
			}
			args = args[n:]
		case word == "help":
			a.early = append(a.early, "--help")
		default:
			if err := a.descend(word); err != nil {
				return nil, err
			}
		}
	}
	return a.finish(args)
}

// usualVerbs are the verbs that nouns stand for where none of their verbs follows.
var usualVerbs = map[string]usualVerb{
	"backup": {"take", "muster backup ./%s for a file of that name"},
	"query":  {"run", "muster query run %s for a text"},
}

// usualVerb is a verb, and how it is written to have one word as its argument all the same.
type usualVerb struct{ verb, instead string }

// usual descends to the usual verb of a noun, if it has one and word is none of its verbs and no option
// that all commands share. A word that is probably a verb with a slip in it is an error: as the first argument of the usual
// verb it would do something else than what its writer means.
func (a *arranger) usual(word string) (bool, error) {
	usual := usualVerbs[strings.Join(a.path, " ")]
	isVerb := word == "help" || slices.ContainsFunc(a.commands, func(c *cli.Command) bool { return c.Name == word })
	shared := word == "--help" || word == "-h" || isOption(word) && findFlag(commonFlags(), word) != nil
	if usual.verb == "" || isVerb || shared {
		return false, nil
	}
	if meant, ok := verbMeant(a.commands, word); ok {
		return false, usagef("%s: %q is no verb; want %s %s, or "+usual.instead, a.name(), word, a.name(), meant, word)
	}
	return true, a.descend(usual.verb)
}

// slipsMax is how many characters a mistyped verb has more or less than the verb; one in the place of another counts for two,
// and so do two that have changed places.
const slipsMax = 2

// verbMeant returns the verb that word is probably meant to be, the nearest one. A word with a dot or a slash in it is a path,
// and one that begins with a dash an option.
func verbMeant(verbs []*cli.Command, word string) (verb string, ok bool) {
	if isOption(word) || strings.ContainsAny(word, "./\\") {
		return "", false
	}
	least := slipsMax + 1
	for _, c := range verbs {
		if n := smetrics.WagnerFischer(strings.ToLower(word), c.Name, 1, 1, 2); n < least {
			verb, least = c.Name, n
		}
	}
	return verb, least <= slipsMax
}

type arranger struct {
	commands []*cli.Command // what the next word may name
	path     []string
	leaf     *cli.Command
	early    []string // options before the leaf was known, with their values
	options  []string // as --name=value
	args     []string
}

func (a *arranger) name() string { return strings.Join(append([]string{"muster"}, a.path...), " ") }

func (a *arranger) descend(word string) error {
	i := slices.IndexFunc(a.commands, func(c *cli.Command) bool { return c.Name == word })
	if i < 0 {
		return usagef("%s: unknown command %q; want one of %s", a.name(), word, namesOf(a.commands))
	}
	c := a.commands[i]
	a.path = append(a.path, word)
	if a.commands = c.Subcommands; len(c.Subcommands) == 0 {
		a.leaf = c
	}
	return nil
}

func (a *arranger) finish(args []string) ([]string, error) {
	if a.leaf == nil {
		return a.finishBranch()
	}
	for _, words := range [][]string{a.early, args} {
		if err := a.sort(words); err != nil {
			return nil, err
		}
	}
	if slices.Contains(a.options, "--help") {
		// With arguments, cli would look for help on one of that name.
		return append(a.path, "--help"), nil
	}
	return slices.Concat(a.path, a.options, []string{"--"}, a.args), nil
}

// takeEarly takes an option that stands before the command is known, and says
// how many of the words after it are its value.
func (a *arranger) takeEarly(word string, rest []string) (int, error) {
	a.early = append(a.early, word)
	switch f := findFlag(commonFlags(), word); {
	case word == "--help", word == "-h", word == "--version" && len(a.path) == 0:
		return 0, nil
	case f == nil:
		return 0, usagef("%s: unknown option %s; an option of one command stands after that command's name", a.name(), optionName(word))
	case !takesValue(f) || strings.Contains(word, "="):
		return 0, nil
	case len(rest) == 0:
		return 0, usagef("%s: option %s wants a value", a.name(), word)
	}
	a.early = append(a.early, rest[0])
	return 1, nil
}

// finishBranch ends a command line that names no command, or a noun without a
// verb: only help and version may be asked of these.
func (a *arranger) finishBranch() ([]string, error) {
	switch {
	case slices.Contains(a.early, "--help") || slices.Contains(a.early, "-h"):
		return append(a.path, "--help"), nil
	case slices.Contains(a.early, "--version"):
		return []string{"version"}, nil
	}
	what := "command"
	if len(a.path) > 0 {
		what = "verb"
	}
	return nil, usagef("%s: a %s is missing; want one of %s, or --help", a.name(), what, namesOf(a.commands))
}

// sort puts words into options and args.
func (a *arranger) sort(words []string) error {
	for i := 0; i < len(words); i++ {
		word := words[i]
		if word == "--" {
			return a.take(words[i+1:])
		}
		if !isOption(word) || isNumber(word) && strings.HasSuffix(a.leaf.ArgsUsage, numberArg) {
			a.args = append(a.args, word)
			continue
		}
		if own, runs := a.beforeProgram(); runs && len(a.args) > own {
			return usagef("%s: option %s behind CMD, whose option it may be; want %s %s", a.name(), optionName(word), a.name(), a.leaf.ArgsUsage)
		}
		f := findFlag(a.leaf.Flags, word)
		if word == "--help" || word == "-h" {
			f = cli.HelpFlag
		}
		if f == nil {
			return usagef("%s: unknown option %s; see %s --help, and put -- before an argument that begins with a dash",
				a.name(), optionName(word), a.name())
		}
		_, value, given := strings.Cut(word, "=")
		option := "--" + f.Names()[0]
		switch {
		case given:
			option += "=" + value
		case takesValue(f) && i+1 == len(words):
			return usagef("%s: option %s wants a value", a.name(), word)
		case takesValue(f):
			i++
			option += "=" + words[i]
		}
		a.options = append(a.options, option)
	}
	return nil
}

// dashes stand, in the usage of a command that runs a program, between its own arguments and the program's words.
const dashes = " -- "

// take takes all words behind "--" for arguments. A command that runs a program has its own arguments before them: if
// one is missing, the first word of the program would be taken for it, and the second be run. An argument of its own
// that begins with a dash, as no program's name does, stands behind the dashes, and the program behind it or behind
// other dashes.
func (a *arranger) take(words []string) error {
	if own, runs := a.beforeProgram(); runs && len(a.args) < own {
		if len(words) == 0 || !isOption(words[0]) {
			missing := strings.Fields(a.leaf.ArgsUsage)[len(a.args)]
			return usagef("%s: %s is missing before --; want %s %s", a.name(), missing, a.name(), a.leaf.ArgsUsage)
		}
		a.args = append(a.args, words[0])
		if words = words[1:]; len(words) > 0 && words[0] == "--" {
			words = words[1:]
		}
	}
	a.args = append(a.args, words...)
	return nil
}

// beforeProgram returns how many arguments a command that runs a program has of its own; false of another command.
func (a *arranger) beforeProgram() (own int, runs bool) {
	before, _, runs := strings.Cut(a.leaf.ArgsUsage, dashes)
	return len(strings.Fields(before)), runs
}

func isOption(word string) bool { return len(word) > 1 && word[0] == '-' && word != "--" }

// numberArg is, in the usage of a command, a last argument that may be a number below zero.
const numberArg = "[N]"

func isNumber(word string) bool {
	_, err := strconv.ParseInt(word, 10, 64)
	return err == nil
}

func optionName(word string) string {
	name, _, _ := strings.Cut(word, "=")
	return name
}

// findFlag returns the flag that word, as --name, -n or --name=value, names.
func findFlag(flags []cli.Flag, word string) cli.Flag {
	word = optionName(word)
	name := strings.TrimLeft(word, "-")
	dashes := len(word) - len(name)
	if name == "" || dashes != min(len(name), 2) {
		return nil
	}
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			return f
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

func namesOf(commands []*cli.Command) string {
	var names []string
	for _, c := range commands {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}
