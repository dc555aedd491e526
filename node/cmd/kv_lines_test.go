package cmd

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"
)

// A line must be read as what its writer meant or be refused: a key that is
// read as another one is a lost key. The standard library reads some lines
// otherwise than they were meant, without an error.
func TestParseLine(t *testing.T) {
	for _, tt := range []struct{ line, key, value, refused string }{
		{line: `{"key":"k","value":"v"}`, key: "k", value: "v"},
		{line: ` { "value" : "v" , "key" : "k" } `, key: "k", value: "v"},
		{line: `{"key":"k","value":""}`, key: "k"},
		{line: `{"key":"","value":"v"}`, value: "v"}, // the cluster's to refuse
		{line: `{"key":"k","value":"v","version":17,"more":{"key":["x",{"key":"}"}]},"n":null,"t":true,"f":-1.5e3}`, key: "k", value: "v"},
		{line: `{"more":[],"key":"k","m":{},"value":"v"}`, key: "k", value: "v"},
		{line: `{"key_base64":"/wA=","value_base64":"//79"}`, key: "\xff\x00", value: "\xff\xfe\xfd"},
		{line: `{"key":"a\"b\\c\/d\b\f\n\r\té\u20AC","value":"\u0000"}`, key: "a\"b\\c/d\b\f\n\r\té€", value: "\x00"},
		{line: `{"key":"\ud83d\ude00","value":"\ufffd` + "\ufffd" + `"}`, key: "😀", value: "\ufffd\ufffd"},
		{line: `{"KEY":"x","key":"k","value":"v"}`, key: "k", value: "v"},

		{line: `{"Key":"k","value":"v"}`, refused: `no "key" or "key_base64"`},
		{line: `{"key":"k"}`, refused: `no "value" or "value_base64"`},
		{line: `{}`, refused: `no "key" or "key_base64"`},
		{line: `{"key":"a","key":"b","value":"v"}`, refused: `"key": given twice`},
		{line: `{"key":"a","key_base64":"YQ==","value":"v"}`, refused: `both "key" and "key_base64"; want one of them`},
		{line: `{"key":"k","value_base64":"","value":"v"}`, refused: `both "value" and "value_base64"; want one of them`},
		{line: `{"key":"k","value_base64":"","value_base64":""}`, refused: `"value_base64": given twice`},
		{line: `{"key":"k","value":1}`, refused: `"value": not a string`},
		{line: `{"key":null,"value":"v"}`, refused: `"key": not a string`},
		{line: `{"key":"k","value_base64":"!"}`, refused: `"value_base64": not base64: illegal base64 data at input byte 0`},
		{line: `{"key":"\ud83d","value":"v"}`, refused: `"key": \ud83d is half a character`},
		{line: `{"key":"\ude00\ud83d","value":"v"}`, refused: `"key": \ude00 is half a character`},
		{line: `{"key":"\ud83dx\ude00","value":"v"}`, refused: `"key": \ud83d is half a character`},
		{line: "{\"key\":\"\xff\",\"value\":\"v\"}", refused: "not valid UTF-8; give such keys and values as key_base64 and value_base64"},
		{line: `["k","v"]`, refused: `not a JSON object; want {"key":…,"value":…}`},
		{line: `"k"`, refused: `not a JSON object; want {"key":…,"value":…}`},
		{line: `{"a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`, refused: "nested deeper than 64"},
		{line: `{"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `,"key":"[\"[\\","value":"v"}`, key: `["[\`, value: "v"},
		{line: `17`, refused: `not a JSON object; want {"key":…,"value":…}`},
		{line: `k=v`, refused: "not JSON: invalid character 'k' looking for beginning of value, at byte 1"},
		{line: `{"key":"k","value":"v"`, refused: "not JSON: unexpected end of JSON input, at byte 22"},
		{line: `{"key":"k","value":"v"}}`, refused: "not JSON: invalid character '}' after top-level value, at byte 24"},
		{line: `{"key":"k","value":"v"} {"key":"k","value":"v"}`, refused: "not JSON: invalid character '{' after top-level value, at byte 25"},
		{line: `{"key":"a	b","value":"v"}`, refused: `not JSON: invalid character '\t' in string literal, at byte 10`},
	} {
		key, value, err := parseLine([]byte(tt.line))
		if tt.refused != "" {
			if err == nil || err.Error() != tt.refused {
				t.Errorf("%s:\ngot  %v\nwant %s", tt.line, err, tt.refused)
			}
		} else if err != nil || string(key) != tt.key || string(value) != tt.value {
			t.Errorf("%s: got %q %q %v, want %q %q", tt.line, key, value, err, tt.key, tt.value)
		}
	}
}

// What export writes, import must read as it was, whatever the bytes are.
func FuzzExportedLine(f *testing.F) {
	f.Add([]byte("k"), []byte("v"))
	f.Add([]byte("\xff\x00"), []byte("<&>\u2028"))
	f.Add([]byte("a\\\"b"), []byte("\x00\x1f\x7f\ufffd"))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		line, err := marshalLine(lineRow{pairText(key, value), 17})
		if err != nil {
			t.Fatal(err)
		}
		k, v, err := parseLine(line)
		if err != nil || !bytes.Equal(k, key) || !bytes.Equal(v, value) {
			t.Fatalf("%s: got %q %q %v, want %q %q", line, k, v, err, key, value)
		}
		if len(line) > 6*(len(key)+len(value))+100 {
			t.Fatalf("%d bytes became a line of %d", len(key)+len(value), len(line))
		}
	})
}

// Any bytes must be refused or read as the standard library reads them, within
// 16 bytes of memory for each byte of input.
func FuzzParseLine(f *testing.F) {
	f.Add([]byte(`{"key":"k","value":"v","version":17}`))
	f.Add([]byte(`{"key_base64":"/wA=","value_base64":"//79"}`))
	f.Add([]byte(`{"a":[{"b":"\\"}],"key":"\ud83d\ude00\n","value":""}`))
	f.Add([]byte(strings.Repeat("[", 5000)))
	f.Add([]byte(`{"key":` + strings.Repeat("[", 5000)))
	f.Add([]byte(`{` + strings.Repeat(`"":0,`, 2000) + `"key":"k","value":"v"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		key, value, err := parseLine(line)
		runtime.ReadMemStats(&after)
		if used, most := after.TotalAlloc-before.TotalAlloc, uint64(16*len(line)+4096); used > most {
			t.Errorf("%d bytes allocated for a line of %d", used, len(line))
		}
		if err != nil {
			return
		}
		var row itemText
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatalf("%q was taken; encoding/json says %v", line, err)
		}
		for _, f := range []struct {
			got           []byte
			text, encoded *string
		}{{key, row.Key, row.KeyBase64}, {value, row.Value, row.ValueBase64}} {
			// Field names that differ in case only are one to encoding/json.
			lower := strings.ToLower(string(line))
			if strings.Count(lower, `"key`) > 1 || strings.Count(lower, `"value`) > 1 || strings.Contains(lower, `\u`) {
				continue
			}
			want := []byte{}
			if f.text != nil {
				want = []byte(*f.text)
			} else if f.encoded != nil {
				want, _ = base64.StdEncoding.DecodeString(*f.encoded)
			}
			if !bytes.Equal(f.got, want) {
				t.Fatalf("%q: got %q, encoding/json has %q", line, f.got, want)
			}
		}
	})
}

// Reading lines must take bounded memory whatever their length, tell which line
// it was, and go on behind one that is too long.
func TestLineReader(t *testing.T) {
	type result struct {
		line   string
		number int
		err    string
	}
	long := strings.Repeat("x", 100_000)
	for _, tt := range []struct {
		name, in string
		max      int
		want     []result
	}{
		{"empty", "", 10, nil},
		{"lines", "a\nb\r\nc", 10, []result{{"a", 1, ""}, {"b", 2, ""}, {"c", 3, ""}}},
		{"blank ones are passed over", "\n\na\n \t\r\n\nb\n\n", 10, []result{{"a", 3, ""}, {"b", 6, ""}}},
		{"the longest", "12345678\n123456789\na\n", 10, []result{{"12345678", 1, ""}, {"123456789", 2, ""}, {"a", 3, ""}}},
		{"too long", "1234567890\na\n", 10, []result{{"", 1, "11 bytes; at most 10 are read"}, {"a", 2, ""}}},
		{"too long at the end", "a\n12345678901", 10, []result{{"a", 1, ""}, {"", 2, "11 bytes; at most 10 are read"}}},
		{"over the buffer", long + "\nb\n", 200_000, []result{{long, 1, ""}, {"b", 2, ""}}},
		{"too long and over the buffer", long + "\nb\n", 10, []result{{"", 1, "100001 bytes; at most 10 are read"}, {"b", 2, ""}}},
	} {
		l := newLineReader(strings.NewReader(tt.in), tt.max)
		for i := 0; ; i++ {
			line, err := l.next()
			if errors.Is(err, io.EOF) {
				if i != len(tt.want) {
					t.Errorf("%s: %d lines, want %d", tt.name, i, len(tt.want))
				}
				break
			}
			got := result{string(line), l.number, ""}
			if err != nil {
				got.err = err.Error()
			}
			if i >= len(tt.want) || got != tt.want[i] {
				t.Errorf("%s: line %d: got %d %q, want %v", tt.name, i, got.number, got.err, tt.want)
				break
			}
			if cap(l.buf) > 2*tt.max+1<<17 {
				t.Errorf("%s: keeps %d bytes", tt.name, cap(l.buf))
			}
		}
	}
}

// A cell must keep to one line and to its column whatever a client has stored.
func TestCell(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"plain", "plain"},
		{"", `""`},
		{"two\nlines", `"two\nlines"`},
		{"tab\t", `"tab\t"`},
		{"\x1b[2J", `"\x1b[2J"`},
		{"\xff\x00", `"\xff\x00"`},
		{"é€😀", "é€😀"},
		{strings.Repeat("é", 60), strings.Repeat("é", 60)},
		{strings.Repeat("é", 61), strings.Repeat("é", 60) + "…"},
		{strings.Repeat("x", 1<<20), strings.Repeat("x", 60) + "…"},
	} {
		got := cell([]byte(tt.in))
		if got != tt.want || !utf8.ValidString(got) {
			t.Errorf("%.70q: got %q, want %q", tt.in, got, tt.want)
		}
	}
}
