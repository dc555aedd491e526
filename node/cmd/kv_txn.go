package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/shardmap"
)

func kvTxnCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "txn", Usage: "change keys of one slot together, if others are as expected", ArgsUsage: "FILE|-",
		Description: `FILE has one JSON object; "-" is standard input:

    {"if":  [{"key":"{u}balance","value":"10"}, {"key":"{u}name","version":17}, {"key":"{u}lock","absent":true}],
     "then":[{"set":{"key":"{u}balance","value":"7","ttl_ms":60000}}, {"incr":{"key":"{u}count","by":1}}, {"del":{"key":"{u}name"}}],
     "else":[{"get":{"key":"{u}balance"}}]}

If all compares of "if" hold, "then" is carried out, else "else": in order, all of it or
nothing, as one write of one version. All keys must be of one slot; keys with one {tag} are.
Each list has at most 128 elements, and "then" and "else" change a key at most once. A set
may have "ttl_ms" or "lease". Keys and values that are not valid UTF-8 go as key_base64 and
value_base64. Any other field is an error.

A compare that does not hold is no error. Ends with status 5, and changes nothing, if an incr
meets a value that is not a number, and with status 4 if a lease is gone.

With -o json: {"log_ids":["g1/2.17"],"versions":{"{u}balance":17},"succeeded":true,"results":[…]},
with a result for each operation that was carried out: {"op":"set","key":"K"},
{"op":"get","key":"K","found":true,"value":"V","version":17}, {"op":"del","key":"K","deleted":true},
{"op":"incr","key":"K","number":5}`,
		Action: con.action(kvTxn),
	})
}

// txnFileMax bounds a file with a transaction, in bytes: the largest command, as JSON may
// write it.
const txnFileMax = lineMax

func kvTxn(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	text, name, err := con.contents(c.Args().First(), txnFileMax, "the largest transaction")
	if err != nil {
		return err
	}
	t, err := readTxn(text)
	if err != nil {
		return fmt.Errorf("%s: %w; nothing was changed", name, err)
	}
	return con.request(c, func(ctx context.Context, s *errand) error {
		r, err := s.client.Txn(ctx, t.txn())
		if err != nil {
			return err
		}
		return printTxn(s, t, &r)
	})
}

// txnOp is an operation, with what is printed of it.
type txnOp struct {
	name string
	key  []byte
	op   client.Op
}

// txnFile is a transaction as a file has it.
type txnFile struct {
	compares []client.Compare
	then, or []txnOp
}

func (t *txnFile) txn() *client.Txn {
	plain := func(ops []txnOp) (out []client.Op) {
		for i := range ops {
			out = append(out, ops[i].op)
		}
		return out
	}
	return &client.Txn{If: t.compares, Then: plain(t.then), Else: plain(t.or)}
}

// readTxn reads a transaction. As with the lines of an import, what JSON leaves open is
// closed: a field that is not known or is given twice is an error, since a transaction that
// is read as another one changes what nobody meant.
func readTxn(text []byte) (*txnFile, error) {
	switch {
	case !utf8.Valid(text):
		return nil, errors.New("not valid UTF-8; give such keys and values as key_base64 and value_base64")
	case depthOf(text) > depthMax:
		return nil, fmt.Errorf("nested deeper than %d", depthMax)
	case !json.Valid(text):
		return nil, notJSON(text)
	}
	t := new(txnFile)
	err := eachOwnField(text, func(name string, value []byte) error {
		switch name {
		case "if":
			return eachElement(name, value, func(element []byte) error {
				c, err := readCompare(element)
				t.compares = append(t.compares, c)
				return err
			})
		case "then":
			return readOps(name, value, &t.then)
		case "else":
			return readOps(name, value, &t.or)
		}
		return fmt.Errorf(`field %q is not known; want "if", "then" or "else"`, name)
	})
	if err == nil && len(t.compares)+len(t.then)+len(t.or) == 0 {
		err = errors.New(`neither "if" nor "then" nor "else" has anything in it`)
	}
	return t, err
}

// eachOwnField calls f with the name and the value of each field of a JSON object, each of
// which it may have once.
func eachOwnField(object []byte, f func(name string, value []byte) error) error {
	object = bytes.TrimSpace(object)
	if object[0] != '{' {
		return errors.New("not a JSON object")
	}
	seen := map[string]bool{}
	return eachField(object, func(quoted, value []byte) error {
		text, err := unquote(quoted)
		if err != nil {
			return err
		}
		name := string(text)
		if seen[name] {
			return &errTwice{name}
		}
		seen[name] = true
		return f(name, value)
	})
}

// errTwice is returned for a field that an object has more than once.
type errTwice struct{ field string }

func (e *errTwice) Error() string { return fmt.Sprintf("field %q is given twice", e.field) }

// eachElement calls f with each element of a JSON array. An error says in which element it is.
func eachElement(name string, array []byte, f func(element []byte) error) error {
	if array[0] != '[' {
		return fmt.Errorf("field %q is no array", name)
	}
	rest := bytes.TrimLeft(array[1:], space)
	for i := 0; rest[0] != ']'; i++ {
		n := valueEnd(rest)
		if err := f(rest[:n]); err != nil {
			return fmt.Errorf("%q, element %d: %w", name, i, err)
		}
		if rest = bytes.TrimLeft(rest[n:], space); rest[0] == ',' {
			rest = bytes.TrimLeft(rest[1:], space)
		}
	}
	return nil
}

func readCompare(element []byte) (c client.Compare, err error) {
	var p pairReader
	var version uint64
	var hasVersion, absent bool
	err = eachOwnField(element, func(name string, value []byte) (err error) {
		switch name {
		case "version":
			hasVersion = true
			if version, err = strconv.ParseUint(string(value), 10, 64); err != nil || version == 0 {
				err = fmt.Errorf("field version is %s; want a number, 1 or more", value)
			}
		case "absent":
			if absent = string(value) == "true"; !absent {
				err = fmt.Errorf("field absent is %s; want true, or no such field", value)
			}
		default:
			err = p.only(name, value)
		}
		return err
	})
	given := 0
	for _, is := range [...]bool{hasVersion, absent, p.hasValue} {
		if is {
			given++
		}
	}
	switch {
	case err != nil:
		return c, err
	case !p.hasKey:
		return c, errNoKey
	case given != 1:
		return c, fmt.Errorf("of version, absent and value it has %d; want one", given)
	case hasVersion:
		return client.IfVersion(p.key, version), nil
	case absent:
		return client.IfAbsent(p.key), nil
	}
	return client.IfValue(p.key, p.value), nil
}

var errNoKey = errors.New(`no "key" or "key_base64"`)

// only takes a field that must be one of a pair's.
func (p *pairReader) only(name string, value []byte) error {
	switch name {
	case "key", "key_base64", "value", "value_base64":
		return p.field([]byte(strconv.Quote(name)), value)
	}
	return fmt.Errorf("field %q is not known here", name)
}

func readOps(name string, array []byte, to *[]txnOp) error {
	return eachElement(name, array, func(element []byte) error {
		var o txnOp
		err := eachOwnField(element, func(verb string, value []byte) (err error) {
			if o.name != "" {
				return fmt.Errorf("it has %q and %q; want one operation", o.name, verb)
			}
			o, err = readOp(verb, value)
			return err
		})
		if err == nil && o.name == "" {
			err = errors.New("it is empty; want one of set, get, del or incr")
		}
		*to = append(*to, o)
		return err
	})
}

// readOp reads an operation: its verb, and the object with its fields.
func readOp(verb string, value []byte) (o txnOp, err error) {
	o.name = verb
	switch verb {
	case "set", "get", "del", "incr":
	default:
		return o, fmt.Errorf("operation %q is not known; want set, get, del or incr", verb)
	}
	var p pairReader
	var keep client.SetOptions
	by := int64(1)
	err = eachOwnField(value, func(name string, value []byte) (err error) {
		switch {
		case name == "by" && verb == "incr":
			if by, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				err = fmt.Errorf("field by is %s; want a whole number of 64 bits", value)
			}
		case name == "ttl_ms" && verb == "set":
			var ms int64
			ms, err = strconv.ParseInt(string(value), 10, 64)
			if err != nil || ms < 1 || uint64(ms) > shardmap.TTLMax {
				return fmt.Errorf("field ttl_ms is %s; want 1 to %d", value, uint64(shardmap.TTLMax))
			}
			keep.TTL, keep.HasTTL = time.Duration(ms)*time.Millisecond, true
		case name == "lease" && verb == "set":
			if value[0] != '"' {
				return fmt.Errorf("field lease is %s; want a string, as in \"1234.17\"", value)
			}
			var text []byte
			if text, err = unquote(value); err == nil {
				keep.Lease, err = shardmap.ParseLeaseID(string(text))
			}
		default:
			err = p.only(name, value)
		}
		return err
	})
	switch {
	case err != nil:
	case !p.hasKey:
		err = errNoKey
	case p.hasValue != (verb == "set"):
		err = errors.New("a set has a value, and no other operation has one")
	case keep.HasTTL && keep.Lease != 0:
		err = errors.New("it has ttl_ms and lease; want one of them")
	}
	if err != nil {
		return o, fmt.Errorf("%s: %w", verb, err)
	}
	o.key = p.key
	switch verb {
	case "set":
		o.op = client.OpSet(p.key, p.value, keep)
	case "get":
		o.op = client.OpGet(p.key)
	case "del":
		o.op = client.OpDel(p.key)
	case "incr":
		o.op = client.OpIncr(p.key, by)
	}
	return o, nil
}

// txnRow is what a transaction did.
type txnRow struct {
	writtenRow
	Succeeded bool        `json:"succeeded"`
	Results   []resultRow `json:"results"`
}

type resultRow struct {
	Op string `json:"op"`
	itemText
	Found   *bool   `json:"found,omitempty"`   // of a get
	Version *uint64 `json:"version,omitempty"` // of a get that found the key
	Deleted *bool   `json:"deleted,omitempty"` // of a del: the key was there
	Number  *int64  `json:"number,omitempty"`  // of an incr
}

func printTxn(s *errand, t *txnFile, r *client.TxnResult) error {
	ops := t.or
	if r.Succeeded {
		ops = t.then
	}
	if len(ops) != len(r.Results) {
		return fmt.Errorf("txn: the node answered %d operations with %d results", len(ops), len(r.Results))
	}
	o := outcome{}
	rows := []resultRow{}
	for i := range ops {
		op, x := &ops[i], &r.Results[i]
		row := resultRow{Op: op.name, itemText: keyText(op.key)}
		switch op.name {
		case "get":
			if row.Found = &x.Found; x.Found {
				row.itemText, row.Version = pairText(op.key, x.Value), &x.Version
			}
		case "del":
			row.Deleted = &x.Deleted
		case "incr":
			row.Number = &x.Number
		}
		if op.name != "get" {
			o.written = append(o.written, writtenKey{op.key, r.Written})
		}
		rows = append(rows, row)
	}
	if s.json {
		row := txnRow{*writtenRowOf(&o), r.Succeeded, rows}
		row.LogIDs = []string{logID(r.Written)} // of one that only read, too
		return s.printJSON(row)
	}
	branch := "else"
	if r.Succeeded {
		branch = "then"
	}
	s.line("%s at %s", branch, logID(r.Written))
	if len(ops) == 0 {
		return nil
	}
	table := newTable(s.out, "OP", "KEY", "RESULT")
	for i := range ops {
		table.row(ops[i].name, cell(ops[i].key), resultCell(&ops[i], &r.Results[i], r.Version))
	}
	return table.Flush()
}

// resultCell is what became of an operation, in a few words.
func resultCell(o *txnOp, r *client.OpResult, version uint64) string {
	switch {
	case o.name == "get" && r.Found:
		return fmt.Sprintf("%s (version %d)", cell(r.Value), r.Version)
	case o.name == "get":
		return "not found"
	case o.name == "del" && r.Deleted:
		return "deleted"
	case o.name == "del":
		return "was not there"
	case o.name == "incr":
		return number(r.Number)
	}
	return fmt.Sprintf("version %d", version)
}
