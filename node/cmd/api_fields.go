package cmd

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"muster/shardmap"
)

// apiKind is the type of a field.
type apiKind uint8

const (
	kindText     apiKind = iota
	kindSecret           // a text that is not shown
	kindNumeral          // a text that is mostly a number: either form is taken
	kindWhole            // an integer
	kindCount            // an integer, 0 or more
	kindSwitch           // true or false
	kindDuration         // a text like 1m30s
	kindArray            // an array that the command reads as a file
	kindObject           // an object that the command reads as a file
	kindLines            // an array whose elements the command reads as lines
)

// wanted says for an error what a field of a kind may be.
func (k apiKind) wanted() string {
	switch k {
	case kindNumeral:
		return "a string or a number"
	case kindWhole:
		return "a whole number"
	case kindCount:
		return "a whole number, 0 or more"
	case kindSwitch:
		return "true or false"
	case kindDuration:
		return "a string, " + durationForm
	case kindArray, kindLines:
		return "an array"
	case kindObject:
		return "an object"
	}
	return "a string"
}

// apiField is a field of a route: of the JSON object, or a query parameter.
type apiField struct {
	name      string
	kind      apiKind
	many      bool // it may have several values
	need      bool
	about     string
	words     []string // the values that it takes; nil: others too
	otherwise string   // the value of an option that is not given
	option    string   // the option that it sets; "": none
	arg       int      // the argument that it is, from 1; 0: none
	file      bool     // it is the row's file
	encoded   int      // the field, as a place in the route, that this one has in base64; -1: none
}

// apiValue is what a request gives for a field.
type apiValue struct {
	given bool
	texts []string
	raw   []byte // of an array or object that a command reads
}

// Fields that are of no command.
const (
	fieldTimeout = "timeout"
	fieldPlan    = "plan"
	fieldToken   = "plan_token"
	fieldWait    = "wait"
	optionNoWait = "no-wait"
	optionYes    = "yes"
)

// apiBodyMax bounds the body of a request, in bytes: the largest value that a cluster can be set to take, in base64, and
// room for the fields around it. What is larger goes in several requests.
const apiBodyMax = shardmap.ValueMaxLimit/3*4 + 1<<20

// headerLastEvent is the header with the id of the last event that the reader of a stream has seen.
const headerLastEvent = "Last-Event-ID"

// apiKeysMax bounds how often a field may be given, or how many elements its array has.
const apiKeysMax = 10000

// fieldsOf are the fields of a row, whose command is leaf.
func fieldsOf(row *apiRow, leaf *cli.Command) (all []apiField) {
	add := func(f apiField) {
		f.encoded = -1
		all = append(all, f)
		if slices.Contains(row.bytes, f.option) && f.option != "" || slices.Contains(row.bytes, f.name) {
			all[len(all)-1].need = false // either of the two
			all = append(all, apiField{name: f.name + "_base64", kind: kindText, many: f.many, about: f.name + " in base64, where it is not valid UTF-8", encoded: len(all) - 1})
		}
	}
	for i, a := range row.args {
		add(apiField{name: a.name, kind: a.kind, many: a.many, need: a.need, about: a.about, arg: i + 1})
	}
	if row.file.name != "" {
		add(apiField{name: row.file.name, kind: row.file.kind, need: row.file.need, about: row.file.about, file: true})
	}
	for _, option := range row.options {
		f := findFlag(leaf.Flags, "--"+option)
		made := apiField{name: fieldName(option), option: option, about: flagAbout(f)}
		made.kind, made.many = kindOf(f)
		if s, ok := f.(*cli.StringFlag); ok {
			made.otherwise = s.Value
		}
		if words, ok := commandWords[row.command+" --"+option]; ok {
			made.words = words
		} else if option != "near" { // those are no more than a proposal
			made.words = optionWords[option]
		}
		add(made)
	}
	if slices.Contains(row.options, optionNoWait) {
		add(apiField{name: fieldWait, kind: kindSwitch, about: "wait until it has ended, and answer with how; the opposite of no_wait"})
	}
	if takesFlag(leaf, fieldTimeout) {
		add(apiField{name: fieldTimeout, kind: kindDuration, option: fieldTimeout, about: flagAbout(findFlag(leaf.Flags, "--"+fieldTimeout))})
	}
	if row.plans != plansNone {
		add(apiField{name: fieldPlan, kind: kindSwitch, about: "answer with the plan, and change nothing"})
		add(apiField{name: fieldToken, kind: kindText, about: "the token of the plan that is to be carried out"})
	}
	return all
}

func takesFlag(c *cli.Command, name string) bool { return findFlag(c.Flags, "--"+name) != nil }

func fieldName(option string) string { return strings.ReplaceAll(option, "-", "_") }

// flagAbout is what help says of an option, without the marks of its value and the variable's name.
func flagAbout(f cli.Flag) string {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return ""
	}
	about, _, _ := strings.Cut(d.GetUsage(), " [$")
	return strings.ReplaceAll(about, "`", "")
}

func kindOf(f cli.Flag) (k apiKind, many bool) {
	switch f.(type) {
	case *cli.BoolFlag:
		return kindSwitch, false
	case *cli.IntFlag:
		return kindWhole, false
	case *cli.UintFlag, *cli.Uint64Flag:
		return kindCount, false
	case *cli.DurationFlag:
		return kindDuration, false
	case *cli.StringSliceFlag, *cli.GenericFlag:
		return kindText, true
	}
	return kindText, false
}

// fieldErrorf makes the error of a field that is wrong.
func fieldErrorf(field, format string, args ...any) error {
	return &apiError{status: http.StatusBadRequest, code: "bad-request", object: "field " + field, text: fmt.Sprintf(format, args...), exit: exitUsage}
}

// bugUnknownField is planted to show that its test finds it: a field that means nothing is passed over, and the command
// does something else than what was asked for.
const bugUnknownField = "unknown fields passed over"

// field returns the place of a field, or -1.
func (rt *apiRoute) field(name string) int {
	return slices.IndexFunc(rt.fields, func(f apiField) bool { return f.name == name })
}

func (rt *apiRoute) unknown(name string) error {
	if bug(bugUnknownField) {
		return nil
	}
	var names []string
	for i := range rt.fields {
		names = append(names, rt.fields[i].name)
	}
	if len(names) == 0 {
		return fieldErrorf(strconv.Quote(name), "it means nothing here; %s takes none", rt.path)
	}
	return fieldErrorf(strconv.Quote(name), "it means nothing here; want one of %s", strings.Join(names, ", "))
}

// inQuery are the fields that may stand in the query of a request whose others are in its body.
var inQuery = []string{fieldPlan, fieldWait, fieldTimeout}

// values reads the fields of a request.
func (rt *apiRoute) values(w http.ResponseWriter, r *http.Request) ([]apiValue, error) {
	values := make([]apiValue, len(rt.fields))
	if err := rt.readQuery(r, values); err != nil {
		return nil, err
	}
	if id := r.Header.Get(headerLastEvent); id != "" && rt.resumes != "" {
		// A browser asks again for the same address: its query says where the first stream began.
		i := rt.field(rt.resumes)
		if err := rt.fields[i].check(id); err != nil {
			return nil, err
		}
		values[i] = apiValue{given: true, texts: []string{id}}
	}
	if rt.method == changes {
		if err := rt.readBody(w, r, values); err != nil {
			return nil, err
		}
	}
	return values, rt.complete(values)
}

func (rt *apiRoute) readQuery(r *http.Request, values []apiValue) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	// Not url.ParseQuery, which makes a map: this is on the way of each get.
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		name, text, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err == nil {
			text, err = url.QueryUnescape(text)
		}
		if err == nil && strings.Contains(pair, ";") {
			err = errors.New("it has a semicolon; want & between fields")
		}
		if err != nil {
			return &apiError{status: http.StatusBadRequest, code: "bad-request", object: "query", text: "it can't be read: " + err.Error(), exit: exitUsage}
		}
		if pair == "" {
			continue
		}
		i := rt.field(name)
		if i < 0 {
			if err := rt.unknown(name); err != nil {
				return err
			}
			continue
		}
		f, v := &rt.fields[i], &values[i]
		switch {
		case rt.method == changes && !slices.Contains(inQuery, name):
			return fieldErrorf(name, "it stands in the query; want it in the JSON object of the body")
		case v.given && !f.many:
			return fieldErrorf(name, "given twice; want it once")
		case len(v.texts) == apiKeysMax:
			return fieldErrorf(name, "given more than %d times, which is the limit", apiKeysMax)
		}
		if err := f.check(text); err != nil {
			return err
		}
		v.given, v.texts = true, append(v.texts, text)
	}
	return nil
}

// check refuses a text that the field can't be.
func (f *apiField) check(text string) error {
	var err error
	switch f.kind {
	case kindWhole:
		_, err = strconv.ParseInt(text, 10, 64)
	case kindCount:
		_, err = strconv.ParseUint(text, 10, 64)
	case kindSwitch:
		_, err = strconv.ParseBool(text)
	case kindDuration:
		_, err = time.ParseDuration(text)
	}
	switch {
	case !utf8.ValidString(text):
		return fieldErrorf(f.name, "not valid UTF-8; some fields may be given in base64, under the name and _base64")
	case err != nil:
		return fieldErrorf(f.name, "%s; want %s", shown([]byte(text)), f.kind.wanted())
	case f.words != nil && !slices.Contains(f.words, text):
		return fieldErrorf(f.name, "%s; want one of %s", shown([]byte(text)), strings.Join(f.words, ", "))
	}
	return nil
}

// readBody reads the JSON object of a body.
func (rt *apiRoute) readBody(w http.ResponseWriter, r *http.Request, values []apiValue) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	lines := rt.file.kind == kindLines && kind == typeLines
	if err != nil || kind != typeJSON && !lines {
		// Nothing else is taken: a page of another host can send forms and plain text, but not this without asking.
		return &apiError{status: http.StatusUnsupportedMediaType, code: "bad-request", object: "header Content-Type", text: fmt.Sprintf("%q; want %s", cut(r.Header.Get("Content-Type")), typeJSON), exit: exitUsage}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, apiBodyMax))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return &apiError{status: http.StatusRequestEntityTooLarge, code: "too-large", object: "body", text: fmt.Sprintf("more than %d bytes, which is the limit", apiBodyMax), next: "send it in several requests", exit: exitRefused}
	case err != nil:
		return &apiError{status: http.StatusBadRequest, code: "bad-request", object: "body", text: "it has not come whole: " + err.Error(), exit: exitUsage}
	case lines:
		values[rt.field(rt.file.name)] = apiValue{given: true, raw: body}
		return nil
	}
	bad := func(format string, args ...any) error {
		return &apiError{status: http.StatusBadRequest, code: "bad-request", object: "body", text: fmt.Sprintf(format, args...), exit: exitUsage}
	}
	switch {
	case !utf8.Valid(body):
		return bad("not valid UTF-8; some fields may be given in base64, under the name and _base64")
	case depthOf(body) > depthMax:
		return bad("nested deeper than %d", depthMax)
	case !json.Valid(body):
		return bad("%v; want a JSON object", notJSON(body))
	}
	body = bytes.TrimSpace(body)
	if body[0] != '{' {
		return bad("not a JSON object")
	}
	err = eachOwnField(body, func(name string, value []byte) error {
		i := rt.field(name)
		if i < 0 {
			return rt.unknown(name)
		}
		if values[i].given {
			return fieldErrorf(name, "given in the query and in the body; want it once")
		}
		var err error
		values[i], err = rt.fields[i].read(value)
		return err
	})
	switch own, twice := (*apiError)(nil), (*errTwice)(nil); {
	case err == nil || errors.As(err, &own):
		return err
	case errors.As(err, &twice):
		return fieldErrorf(twice.field, "given twice; want it once")
	}
	return bad("%v", err)
}

// read reads the JSON value of a field.
func (f *apiField) read(value []byte) (v apiValue, err error) {
	v.given = true
	switch {
	case f.kind == kindObject && value[0] == '{':
		v.raw = value
		return v, nil
	case (f.kind == kindArray || f.kind == kindLines) && value[0] == '[':
		err := eachElement(f.name, value, func(element []byte) error {
			if element[0] != '{' {
				return fieldErrorf(f.name, "an element is %s; want objects", typeOf(element))
			}
			if f.kind == kindArray {
				return nil
			}
			// An element may have been written over several lines.
			line := bytes.NewBuffer(v.raw)
			if err := json.Compact(line, element); err != nil {
				return err
			}
			v.raw = append(line.Bytes(), '\n')
			return nil
		})
		if f.kind == kindArray {
			v.raw = value
		}
		return v, inner(err)
	case f.many && value[0] == '[':
		err := eachElement(f.name, value, func(element []byte) error {
			if len(v.texts) == apiKeysMax {
				return fieldErrorf(f.name, "more than %d elements", apiKeysMax)
			}
			text, err := f.text(element)
			v.texts = append(v.texts, text)
			return err
		})
		return v, inner(err)
	}
	text, err := f.text(value)
	v.texts = []string{text}
	return v, err
}

// inner is the error of a field within what says where it stands.
func inner(err error) error {
	if own := (*apiError)(nil); errors.As(err, &own) {
		return own
	}
	return err
}

// text returns a JSON value as the text that a command takes.
func (f *apiField) text(value []byte) (string, error) {
	wrong := fieldErrorf(f.name, "it is %s; want %s", typeOf(value), f.kind.wanted())
	quoted := value[0] == '"'
	number := value[0] == '-' || value[0] >= '0' && value[0] <= '9'
	switch f.kind {
	case kindSwitch:
		if s := string(value); s != "true" && s != "false" {
			return "", wrong
		}
		return string(value), nil
	case kindWhole, kindCount:
		if !number {
			return "", wrong
		}
		return string(value), f.check(string(value))
	case kindNumeral:
		if number {
			return string(value), nil
		}
	case kindArray, kindObject, kindLines:
		return "", wrong
	}
	if !quoted {
		return "", wrong
	}
	text, err := unquote(value)
	if err != nil {
		return "", fieldErrorf(f.name, "%v", err)
	}
	return string(text), f.check(string(text))
}

// typeOf names the type of a JSON value.
func typeOf(value []byte) string {
	switch value[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case 't', 'f':
		return string(value)
	case 'n':
		return "null"
	}
	return "a number"
}

// complete decodes what is in base64, and refuses a request that lacks a field or has two of which one excludes the
// other.
func (rt *apiRoute) complete(values []apiValue) error {
	for i := range rt.fields {
		f, v := &rt.fields[i], &values[i]
		if f.encoded < 0 || !v.given {
			continue
		}
		of := &values[f.encoded]
		if of.given && !f.many {
			return fieldErrorf(f.name, "%s is given too; want one of the two", rt.fields[f.encoded].name)
		}
		for _, text := range v.texts {
			b, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return fieldErrorf(f.name, "%s is not base64: %v", shown([]byte(text)), err)
			}
			of.texts = append(of.texts, string(b))
		}
		of.given = true
	}
	given := func(name string) bool { i := rt.field(name); return i >= 0 && values[i].given }
	if len(rt.oneOf) > 0 && !slices.ContainsFunc(rt.oneOf, given) {
		return fieldErrorf(rt.oneOf[0], "it is missing; want one of the fields %s", strings.Join(rt.oneOf, ", "))
	}
	for i := range rt.fields {
		f := &rt.fields[i]
		needed := f.need || f.arg > 0 && rt.args[f.arg-1].need
		if needed && f.encoded < 0 && !values[i].given {
			return fieldErrorf(f.name, "it is missing; want %s", f.about)
		}
		if f.arg > 0 && f.many && values[i].given && len(values[i].texts) == 0 {
			return fieldErrorf(f.name, "it is empty; want %s", f.about)
		}
	}
	if given(fieldWait) && given(fieldName(optionNoWait)) {
		return fieldErrorf(fieldWait, "no_wait is given too; want one of the two")
	}
	return rt.completePlan(given, values)
}

// completePlan refuses fields about a plan that contradict each other.
func (rt *apiRoute) completePlan(given func(string) bool, values []apiValue) error {
	on := func(name string) bool { i := rt.field(name); return given(name) && isTrue(values[i].texts[0]) }
	meant := func(name string) bool { return on(name) || given(name) && rt.fields[rt.field(name)].kind != kindSwitch }
	about := rt.planOf == nil || slices.ContainsFunc(rt.planOf, meant)
	switch {
	case !about && given(fieldPlan):
		return fieldErrorf(fieldPlan, "without %s there is no plan: it takes effect at once", strings.Join(rt.planOf, " or "))
	case !about && given(fieldToken):
		return fieldErrorf(fieldToken, "without %s there is no plan to agree to", strings.Join(rt.planOf, " or "))
	case given(fieldToken) && values[rt.field(fieldToken)].texts[0] == "":
		// The token of a plan that has nothing to carry out. Taken for none, it would have an order that needs no consent
		// given, whatever it does by now.
		return fieldErrorf(fieldToken, "it is empty; want the token of a plan: one that has none has nothing to carry out")
	case on(fieldPlan) && given(fieldToken):
		return fieldErrorf(fieldPlan, "%s is given too; want a plan, or to carry one out", fieldToken)
	case on(fieldPlan) && on(optionYes):
		return fieldErrorf(fieldPlan, "yes is given too; want a plan, or to carry out whatever it is")
	case given(fieldToken) && on(optionYes):
		return fieldErrorf(fieldToken, "yes is given too; want to carry out this plan, or whatever it is")
	}
	return nil
}

func isTrue(text string) bool { on, err := strconv.ParseBool(text); return err == nil && on }

// cut is the beginning of a text that anybody may have made long.
func cut(text string) string { return string(firstRunes([]byte(text), cellMax)) }
