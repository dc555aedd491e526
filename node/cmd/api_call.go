package cmd

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
)

// apiCall is a command that a request over HTTP runs: what takes the place of the terminal, the environment and the
// files of a command line.
type apiCall struct {
	begunNone bool // the command is one that may begin a job, and has not
	*apiRequest
	client    *client.Client
	answer    *apiAnswer
	agreement agreement
	notes     notes
}

// run runs the command of a request, and answers with what it prints.
func (q *apiRequest) run(c *client.Client) error {
	call := q.newCall(c)
	defer call.answer.stop()
	err := call.do()
	if _, agreed := q.text(fieldToken); agreed && errors.Is(err, client.ErrConflict) && !call.answer.began {
		// The plan has become another one between the last look at it and the order.
		again := q.newCall(c)
		again.agreement = agreement{only: true}
		if replan := again.do(); statusOf(replan) == exitNotConfirmed {
			call.agreement.shown, call.agreement.stale = again.agreement.shown, true
		}
	}
	return call.finish(err)
}

func (q *apiRequest) newCall(c *client.Client) *apiCall {
	call := &apiCall{apiRequest: q, client: c, answer: newAnswer(q)}
	token, _ := q.text(fieldToken)
	call.agreement = agreement{only: q.on(fieldPlan), token: token, command: q.route.command}
	return call
}

// do runs the command. What it prints is in the answer, but for what is told by its error.
func (call *apiCall) do() error {
	rt := call.route
	con := &console{in: call.input(), out: &output{call.answer.writer()}, err: &call.notes, call: call}
	leaf := rt.make(con)
	if len(rt.words) > 1 {
		leaf = leafOf(leaf.Subcommands, rt.words[1:])
	}
	leaf.HelpName = "muster " + rt.command
	set, err := call.options(leaf)
	if err != nil {
		return err
	}
	c := cli.NewContext(nil, set, nil)
	c.Command, c.Context = leaf, call.r.Context()
	err = leaf.Action(c)
	if ferr := con.out.Flush(); err == nil {
		err = ferr
	}
	return err
}

// bugAnyOption is planted to show that its test finds it: what a request gives as an argument is read as a command
// line is, and a value that begins with a dash sets an option.
const bugAnyOption = "arguments of requests are read as options"

// options are the options and arguments of a command as flag has them. Only those that the route has are there at all:
// what else the command asks for is not set and can't be.
func (call *apiCall) options(leaf *cli.Command) (*flag.FlagSet, error) {
	rt := call.route
	set := flag.NewFlagSet(rt.command, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.String("output", "json", "")
	if rt.file.option != "" {
		set.String(rt.file.option, "", "")
	}
	if bug(bugAnyOption) {
		for _, f := range leaf.Flags {
			if set.Lookup(f.Names()[0]) == nil {
				_ = f.Apply(set)
			}
		}
	}
	args := make([][]string, len(rt.args))
	for i := range rt.fields {
		f, v := &rt.fields[i], &call.values[i]
		if f.option != "" && set.Lookup(f.option) == nil {
			if err := findFlag(leaf.Flags, "--"+f.option).Apply(set); err != nil {
				return nil, err
			}
		}
		if !v.given {
			continue
		}
		switch {
		case f.arg > 0:
			args[f.arg-1] = v.texts
		case f.option != "":
			for _, text := range v.texts {
				if err := set.Set(f.option, text); err != nil {
					return nil, fieldErrorf(f.name, "%s: %v", shown([]byte(text)), err)
				}
			}
		case f.file && rt.file.option != "":
			if err := set.Set(rt.file.option, fromInput); err != nil {
				return nil, err
			}
		}
	}
	if set.Lookup(optionNoWait) != nil {
		if err := set.Set(optionNoWait, strconv.FormatBool(!call.waits())); err != nil {
			return nil, err
		}
	}
	words := []string{"--"} // all that follows are arguments, whatever it looks like
	if bug(bugAnyOption) {
		words = nil
	}
	for _, texts := range args {
		words = append(words, texts...)
	}
	if rt.file.name != "" && rt.file.option == "" && len(rt.args) == 0 {
		words = append(words, fromInput)
	}
	return set, set.Parse(words)
}

// input is what the command reads as standard input, or as a file.
func (call *apiCall) input() io.Reader {
	if name := call.route.file.name; name != "" {
		v := call.value(name)
		if len(v.texts) > 0 {
			return strings.NewReader(v.texts[0])
		}
		return bytes.NewReader(v.raw)
	}
	return bytes.NewReader(nil)
}

// inputName is what errors call that.
func (call *apiCall) inputName() string { return "field " + call.route.file.name }

// errand makes the errand of the command: with the request's client, and nothing of this host's environment.
func (call *apiCall) errand(con *console, c *cli.Context) (*errand, error) {
	d := timeoutDefault
	if call.route.field(fieldTimeout) >= 0 {
		d = c.Duration(fieldTimeout) // import has another one where none is given
	}
	return &errand{console: con, client: call.client, json: true, timeout: d}, checkTimeout(c.Command.HelpName, d)
}

// finish sends what is not sent yet: the rest of the rows, or the error.
func (call *apiCall) finish(err error) error {
	a := call.answer
	plan := call.agreement.row(call.notes.lines)
	switch status := statusOf(err); {
	case call.agreement.only && (status == exitNotConfirmed || err == nil):
		return writeJSON(call.w, http.StatusOK, plannedRow{plan})
	case a.began:
		return a.end(call, err)
	case err == nil:
		status := http.StatusOK
		if call.route.field(fieldName(optionNoWait)) >= 0 && !call.waits() && len(a.buf) > 0 && !call.begunNone { // else nothing was begun
			status = http.StatusAccepted
		}
		return call.send(status)
	case status == exitNotConfirmed:
		e := &apiError{status: http.StatusPreconditionRequired, code: "not-confirmed", object: call.route.command, text: "nothing was changed: this is the plan", next: "send the same with plan_token to carry it out", exit: status}
		if call.agreement.stale {
			e.status, e.code, e.text = http.StatusConflict, "conflict", "nothing was changed: the plan is another by now"
		}
		writeError(call.w, e, &errorBody{Plan: plan})
		return nil
	case isQuiet(err) && status != exitPartly:
		return call.send(quietStatus(call.route, status))
	}
	body := &errorBody{Notes: call.notes.lines, Result: a.result()}
	if len(call.agreement.shown) > 0 && (call.agreement.stale || call.agreement.only) {
		if call.agreement.only {
			plan.Token = "" // the command would be refused, whoever agrees
		}
		body.Plan = plan
	}
	writeError(call.w, call.route.apiErrorOf(err), body)
	return nil
}

// send sends an answer that is whole.
func (call *apiCall) send(status int) error {
	h := call.w.Header()
	for _, line := range call.notes.warnings() {
		h.Add(headerNote, line)
	}
	return call.answer.whole(status)
}

// notes are the lines that a command writes to standard error.
type notes struct {
	lines []string
	rest  []byte // a line that has not ended yet
}

const (
	// notesMax bounds the lines that are kept, and noteMax each, in bytes. A command that waits tells of its progress.
	notesMax = 200
	noteMax  = 2000
	// headerNote has what a command has warned of, a line each. warningsMax bounds them.
	headerNote  = "Muster-Note"
	warningsMax = 10
)

// Write implements [io.Writer].
func (n *notes) Write(b []byte) (int, error) {
	n.rest = append(n.rest, b...)
	for {
		line, rest, ok := bytes.Cut(n.rest, []byte("\n"))
		if !ok {
			break
		}
		if n.rest = rest; len(n.lines) < notesMax {
			n.lines = append(n.lines, strings.TrimPrefix(string(line[:min(len(line), noteMax)]), "muster: "))
		}
	}
	n.rest = n.rest[:min(len(n.rest), noteMax)]
	return len(b), nil
}

// warnings are the lines as a header may have them.
func (n *notes) warnings() (lines []string) {
	for _, line := range n.lines[:min(len(n.lines), warningsMax)] {
		lines = append(lines, strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return '?'
			}
			return r
		}, line))
	}
	return lines
}

// mark notes where a stream continues behind what was printed: at the id that the last event gets.
func (call *apiCall) mark(out *output, id string) {
	if call.answer.form != formEvents {
		return
	}
	call.answer.id = id
	_ = out.Flush() // an error is that of the next write, too
}

// flush sends what has gathered. It is called on a nil call by command lines.
func (call *apiCall) flush() error {
	if call == nil {
		return nil
	}
	return call.answer.push()
}

// streamWriteMax is how long a reader of a stream may take for what is sent at a time.
const streamWriteMax = 30 * time.Second
