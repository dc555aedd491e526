package cmd

import (
	"strings"
	"testing"
)

// What a transaction can't be is said before a cluster is asked, with the place where it
// stands.
func TestTxnFile(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{`[]`, "not a JSON object"},
		{`{`, "not JSON"},
		{`{}`, `neither "if" nor "then" nor "else" has anything in it`},
		{`{"if":[],"then":[]}`, `neither "if" nor "then" nor "else" has anything in it`},
		{`{"when":[]}`, `field "when" is not known; want "if", "then" or "else"`},
		{`{"if":{}}`, `field "if" is no array`},
		{`{"then":[{"get":{"key":"a"}}],"then":[]}`, `field "then" is given twice`},
		{`{"if":[1]}`, `"if", element 0: not a JSON object`},
		{`{"if":[{"key":"a"}]}`, `"if", element 0: of version, absent and value it has 0; want one`},
		{`{"if":[{"key":"a","version":1,"absent":true}]}`, `of version, absent and value it has 2; want one`},
		{`{"if":[{"version":1}]}`, `no "key" or "key_base64"`},
		{`{"if":[{"key":"a","version":0}]}`, "field version is 0; want a number, 1 or more"},
		{`{"if":[{"key":"a","version":-1}]}`, "field version is -1; want a number, 1 or more"},
		{`{"if":[{"key":"a","version":"1"}]}`, `field version is "1"; want a number, 1 or more`},
		{`{"if":[{"key":"a","absent":false}]}`, "field absent is false; want true, or no such field"},
		{`{"if":[{"key":"a","value":1}]}`, `"value": not a string`},
		{`{"if":[{"key":"a","value":"1","than":"2"}]}`, `field "than" is not known here`},
		{`{"then":[{}]}`, "it is empty; want one of set, get, del or incr"},
		{`{"then":[{"put":{"key":"a"}}]}`, `operation "put" is not known; want set, get, del or incr`},
		{`{"then":[{"get":{"key":"a"},"del":{"key":"a"}}]}`, `it has "get" and "del"; want one operation`},
		{`{"then":[{"get":{"key":"a"}},{"set":{"key":"a"}}]}`, `"then", element 1: set: a set has a value`},
		{`{"then":[{"get":{"key":"a","value":"b"}}]}`, "get: a set has a value, and no other operation has one"},
		{`{"else":[{"incr":{"key":"a","by":"1"}}]}`, `"else", element 0: incr: field by is "1"; want a whole number of 64 bits`},
		{`{"then":[{"incr":{"key":"a","by":1.5}}]}`, "field by is 1.5; want a whole number of 64 bits"},
		{`{"then":[{"del":{"key":"a","by":1}}]}`, `field "by" is not known here`},
		{`{"then":[{"set":{"key":"a","value":"b","ttl_ms":0}}]}`, "field ttl_ms is 0; want 1 to"},
		{`{"then":[{"set":{"key":"a","value":"b","ttl_ms":-5}}]}`, "field ttl_ms is -5; want 1 to"},
		{`{"then":[{"set":{"key":"a","value":"b","lease":17}}]}`, "field lease is 17; want a string"},
		{`{"then":[{"set":{"key":"a","value":"b","lease":"17"}}]}`, `lease "17": want SLOT.NUMBER`},
		{`{"then":[{"set":{"key":"a","value":"b","lease":"1.17","ttl_ms":5}}]}`, "it has ttl_ms and lease; want one of them"},
		{`{"then":[{"set":{"key_base64":"!","value":"b"}}]}`, "not base64"},
		{"{\"then\":[{\"get\":{\"key\":\"\xff\"}}]}", "not valid UTF-8; give such keys and values as key_base64 and value_base64"},
		{strings.Repeat("[", 100) + strings.Repeat("]", 100), "nested deeper than 64"},
	} {
		r := musterIn(t, tt.text, "kv", "txn", "-")
		r.refused(t, exitRefused, tt.want)
		if !strings.Contains(r.stderr, "standard input: ") || !strings.Contains(r.stderr, "nothing was changed") {
			t.Errorf("%s: standard error is %q", tt.text, r.stderr)
		}
	}
}

// All that a file may have is read, in any spacing.
func TestTxnFileRead(t *testing.T) {
	f, err := readTxn([]byte(` { "if" : [ {"key":"a","version":17} , {"absent":true,"key":"b"}, {"key_base64":"/w==","value":""} ] ,
		"then":[{"set":{"key":"a","value":"x","ttl_ms":1500}},{"set":{"lease":"7.9","key":"b","value_base64":"/w=="}},{"incr":{"key":"c"}},{"incr":{"key":"d","by":-3}}],
		"else":[{"get":{"key":"\u0061"}},{"del":{"key":"b"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.compares) != 3 || len(f.then) != 4 || len(f.or) != 2 || string(f.or[0].key) != "a" || f.then[3].name != "incr" {
		t.Errorf("read as %+v", f)
	}
}

// A value may come from a file, and one that no cluster takes is refused.
func TestValueFrom(t *testing.T) {
	muster(t, "kv", "set", "k", "--file", "/does/not/exist").refused(t, exitRefused, "/does/not/exist")
	musterIn(t, strings.Repeat("x", 16<<20+1), "kv", "set", "k", "-").refused(t, exitRefused, "standard input: more than 16777216 bytes, which is the largest value that any cluster takes; nothing was written")
}
