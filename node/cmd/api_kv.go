package cmd

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"muster/repl/client"
)

// Get, set and del are what programs ask for all the time: they go to the client without a command in between, with
// the options, the rows and the errors of the command. A test holds both to the same answers.

// IsSet implements [given].
func (q *apiRequest) IsSet(option string) bool { return q.value(fieldName(option)).given }

// String implements [given].
func (q *apiRequest) String(option string) string {
	i := q.route.field(fieldName(option))
	if i < 0 {
		return ""
	}
	if v := &q.values[i]; len(v.texts) > 0 {
		return v.texts[len(v.texts)-1]
	}
	return q.route.fields[i].otherwise
}

// Bool implements [given].
func (q *apiRequest) Bool(option string) bool { return q.on(fieldName(option)) }

// Uint64 implements [given].
func (q *apiRequest) Uint64(option string) uint64 {
	n, _ := strconv.ParseUint(q.String(option), 10, 64) // it was checked, or is not there
	return n
}

// Duration implements [given].
func (q *apiRequest) Duration(option string) time.Duration {
	d, _ := time.ParseDuration(q.String(option)) // as above
	return d
}

// errandOf is a call without a command, with its errand.
func (q *apiRequest) errandOf(c *client.Client) (*apiCall, *errand, error) {
	call := q.newCall(c)
	d, err := q.timeout()
	con := &console{out: &output{call.answer.writer()}, err: &call.notes, call: call}
	return call, &errand{console: con, client: c, json: true, timeout: d}, err
}

// finishErrand answers with what an errand has printed, or its error.
func finishErrand(call *apiCall, s *errand, err error) error {
	if ferr := s.flush(); err == nil {
		err = ferr
	}
	return call.finish(err)
}

// asks returns what asks nodes for a request, and until when.
func (a *apiServer) asks(q *apiRequest) (context.Context, *client.Client, error) {
	ctx, err := q.within()
	if err != nil {
		return nil, nil, err
	}
	c, err := a.clientOf(q)
	return ctx, c, err
}

func (a *apiServer) get(q *apiRequest) error {
	keys := distinctKeys(q.value("key").texts)
	o, err := readOptionsOf(q)
	if err != nil {
		return q.route.apiErrorOf(err)
	}
	ctx, c, err := a.asks(q)
	if err != nil {
		return err
	}
	items, missing, err := c.Get(ctx, keys, o)
	if err != nil {
		return q.gotPart(c, keys, o, items, missing, err)
	}
	status := http.StatusOK
	if len(missing) > 0 {
		status = quietStatus(q.route, exitNotFound)
	}
	writeLine(q.w, status, gotLine(items, missing))
	return nil
}

// gotPart answers where some keys, or all, could not be read.
func (q *apiRequest) gotPart(c *client.Client, keys [][]byte, o client.ReadOptions, items []client.Item, missing [][]byte, err error) error {
	call, s, terr := q.errandOf(c)
	if terr != nil {
		return terr
	}
	if _, err = gotPart(q.r.Context(), s, keys, o, err); err == nil {
		if err = s.printJSON(json.RawMessage(gotLine(items, missing))); err == nil {
			err = errQuiet(exitPartly)
		}
	}
	return finishErrand(call, s, err)
}

func (a *apiServer) set(q *apiRequest) error {
	o, err := writeOptionsOf(q)
	if err != nil {
		return q.route.apiErrorOf(err)
	}
	pairs, err := q.pairs()
	if err == nil {
		err = checkPairs(pairs, &o)
	}
	if err != nil {
		return q.route.apiErrorOf(err)
	}
	ctx, c, err := a.asks(q)
	if err != nil {
		return err
	}
	if len(pairs) > 1 {
		call, s, err := q.errandOf(c)
		if err != nil {
			return err
		}
		return finishErrand(call, s, setMany(ctx, s, pairs, &o))
	}
	w, err := c.Set(ctx, pairs[0].Key, pairs[0].Value, o)
	if err != nil {
		return q.route.apiErrorOf(err)
	}
	line, err := marshalLine(writtenRowOf(&outcome{written: []writtenKey{{pairs[0].Key, w}}}))
	if err != nil {
		return q.route.apiErrorOf(err)
	}
	writeLine(q.w, http.StatusOK, line)
	return nil
}

// pairs reads the keys and values of a set: key and value, or items.
func (q *apiRequest) pairs() (pairs []client.Pair, err error) {
	key, hasKey := q.text("key")
	value, hasValue := q.text("value")
	items := q.value(q.route.file.name)
	switch {
	case items.given && (hasKey || hasValue):
		return nil, fieldErrorf("items", "key or value is given too; want items, or one key with its value")
	case !items.given && !hasValue:
		return nil, fieldErrorf("value", "it is missing; want the value of the key")
	case !items.given:
		return []client.Pair{{Key: []byte(key), Value: []byte(value)}}, nil
	}
	seen := map[string]bool{}
	err = eachElement("items", items.raw, func(element []byte) error {
		var p pairReader
		if err := eachOwnField(element, p.only); err != nil {
			return err
		}
		switch {
		case !p.hasKey:
			return errNoKey
		case !p.hasValue:
			return usagef("no value")
		case seen[string(p.key)]:
			return usagef("key %s is given twice", shown(p.key))
		case len(pairs) == apiKeysMax:
			return usagef("more than %d elements", apiKeysMax)
		}
		seen[string(p.key)] = true
		pairs = append(pairs, client.Pair{Key: p.key, Value: p.value})
		return nil
	})
	switch {
	case err != nil:
		return nil, fieldErrorf("items", "%s", oneLine(err))
	case len(pairs) == 0:
		return nil, fieldErrorf("items", "it is empty; want keys with their values")
	}
	return pairs, nil
}

func (a *apiServer) del(q *apiRequest) error {
	keys := distinctKeys(q.value("key").texts)
	switch {
	case len(keys) == 0: // all is given, and false
		return fieldErrorf("key", "it is missing; want one of the fields %s", strings.Join(q.route.oneOf, ", "))
	case q.on(optionYes):
		return fieldErrorf(optionYes, "keys need no consent; want it with %s or %s", optionPrefix, optionAll)
	}
	ctx, c, err := a.asks(q)
	if err != nil {
		return err
	}
	call, s, err := q.errandOf(c)
	if err != nil {
		return err
	}
	return finishErrand(call, s, delKeys(ctx, s, keys))
}
