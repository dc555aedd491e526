package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"muster/repl/memtest"
)

// dister's own files, with each of its types and fields, are taken as they are.
func TestFileInDistersFormat(t *testing.T) {
	list, err := ParseFile([]byte(`[
	  {"name":"db","type":"mysql","node":[
	    {"host":"10.0.0.1","port":"3306","user":"check","pass":"s3cret","database":"shop","priority":"10","interval":"3000"},
	    {"host":"10.0.0.2","port":"3306","user":"check","pass":"s3cret","database":"shop","priority":"0","rack":"b\u0034","since_version":7,"owner":{"team": "a", "ids": [1, 2]}}]},
	  {"name":"pg","type":"pgsql","node":[{"host":"::1","port":"5432","user":"u","pass":"p","database":"d"}]},
	  {"name":"front","type":"web","node":[{"url":"http://10.0.0.3/?a=1&b=2","interval":"1000"}]},
	  {"name":"raw","type":"tcp","node":[{"host":"example.com","port":"25"}]},
	  {"name":"job","type":"custom","node":[{"script":"check-job.sh","priority":"1"}]},
	  {"name":"self","type":"ttl","protect":"50","note":null,"node":[{"id":"one","tags":"a,b"}]}
	]`))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, s := range list {
		for _, i := range s.Instances {
			ids = append(ids, s.Name+"="+i.ID)
		}
	}
	if got, want := strings.Join(ids, " "), "db=10.0.0.1:3306 db=10.0.0.2:3306 pg=[::1]:5432 front=http://10.0.0.3/?a=1&b=2 raw=example.com:25 job=check-job.sh self=one"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if got, want := list[0].Instances[1].Settings, []Setting{
		{Key: "database", Value: "shop"}, {Key: "host", Value: "10.0.0.2"}, {Key: "owner", Value: `{"team":"a","ids":[1,2]}`, Raw: true}, {Key: "pass", Value: "s3cret"},
		{Key: "port", Value: "3306"}, {Key: "priority", Value: "0"}, {Key: "rack", Value: "b4"}, {Key: "since_version", Value: "7", Raw: true}, {Key: "user", Value: "check"},
	}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if got, want := list[5].Settings, []Setting{{Key: "note", Value: "null", Raw: true}, {Key: "protect", Value: "50"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

// What is shown can be edited and set again: the state is left out, the masks stay.
func TestFileTakesWhatIsShown(t *testing.T) {
	s := shop()
	for _, i := range []int{0, 1} { // a state of each kind
		s.Instances[i].CheckedBy = "n2"
		b, err := s.MarshalJSON()
		if !strings.Contains(string(b), `"checked_by":"n2"`) {
			t.Errorf("who checks is not shown in %s", b)
		}
		s.Instances[i].CheckedBy = ""
		if err != nil {
			t.Fatal(err)
		}
		list, err := ParseFile(b)
		if err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		back := &list[0]
		back.Set(s, 18)
		for n := range s.Instances {
			s.Instances[n].Check = back.Instances[n].Check
		}
		if !reflect.DeepEqual(back, s) {
			t.Errorf("got %+v\nwant %+v", back, s)
		}
		s.Instances[i].Maintenance = !s.Instances[i].Maintenance
	}
	for _, want := range []string{`"status":"maintenance"`, `"maintenance":true`, `"since":"2023-11-14T22:13:21Z"`, `"at":"2023-11-14T22:13:20.123Z","to":"up","reason":"connected"`,
		`"pass":"********"`, `"extra":"********"`, `"rack":7`} {
		if b, _ := shop().MarshalJSON(); !strings.Contains(string(b), want) {
			t.Errorf("%s is not shown in %s", want, b)
		}
	}
}

// An instance may have a setting checked_by, defined with an older build, which had no such field. It
// is shown as it is, and once.
func TestSettingCheckedByIsKept(t *testing.T) {
	s := shop()
	s.Instances[0].CheckedBy = "n2"
	s.Instances[0].Settings = append([]Setting{{Key: "checked_by", Value: "the team"}}, s.Instances[0].Settings...)
	sortSettings(s.Instances[0].Settings)
	b, err := s.MarshalJSON()
	if err != nil || strings.Count(string(b), "checked_by") != 1 || !strings.Contains(string(b), `"checked_by":"the team"`) {
		t.Errorf("got %s, %v", b, err)
	}
	if err := s.Validate(); err != nil {
		t.Errorf("nodes refuse it: %v", err)
	}
}

// Whoever wrote the file has to find what is wrong: each field, by service and node.
func TestFileNamesEachProblem(t *testing.T) {
	for _, c := range []struct {
		name, file string
		want       []string
	}{
		{"all over a file", `[{"name":"a","type":"tcp","node":[{"host":"h","port":"1"}]},
			{"type":"mysql","node":[{"host":"x y","port":"80"},{"port":"0"},{"host":"h","port":"abc","interval":"99","priority":"-1"}],"name":"db"},
			{"name":"a","type":"ftp","node":[{}],"protect":"101"}]`, []string{
			`service 2 ("db"), node 1: field host: "x y"; want a host name or an address`,
			`service 2 ("db"), node 2: field port: "0"; want a number from 1 to 65535`,
			`service 2 ("db"), node 2: field host: missing; want a host name or an address`,
			`service 2 ("db"), node 3: field interval: "99"; want ms, from 100 to 86400000`,
			`service 2 ("db"), node 3: field port: "abc"; want a number from 1 to 65535`,
			`service 2 ("db"), node 3: field priority: "-1"; want a number from 0 to 1000000`,
			`service 3 ("a"): field type: "ftp"; want one of tcp, web, mysql, pgsql, redis, ttl, grpc, custom`,
			`service 3 ("a"): field protect: "101"; want percent, from 0 to 100`,
			`service 3 ("a"), node 1: field id: missing; want one where there is no host and port, no url and no script`,
			`service 3 ("a"): field name: service 1 has it too`,
		}},
		{"what is missing", `[{},7,{"name":"x","type":"web","node":[{},[]]},{"name":"y","type":"custom","node":[{}]}]`, []string{
			`service 1: field name: missing`,
			`service 1: field type: missing; want one of tcp, web, mysql, pgsql, redis, ttl, grpc, custom`,
			`service 1: field node: missing; want a list`,
			`service 2: want an object, found "7"`,
			`service 3 ("x"), node 1: field url: missing; want http:// or https:// with a host, a port from 1 to 65535 or none, and without a user or a password (fields user and pass)`,
			`service 3 ("x"), node 2: want an object, found "[]"`,
			`service 4 ("y"), node 1: field script: missing; want the name of a program that nodes allow (serve --check NAME=PATH): letters, digits, . _ -`,
		}},
		{"wrong kinds", `[{"name":["x"],"type":"ttl","node":{}},{"name":"z","type":"ttl","node":[{"id":{"a":1}},{"id":"b","tags":[1]},{"id":"c","user":[1]},{"id":"d","pass":{"x":"hush"}}]}]`, []string{
			`service 1: field name: want one text`,
			`service 1: field name: missing`,
			`service 1: field node: want a list`,
			`service 2 ("z"), node 1: field id: want one text`,
			`service 2 ("z"), node 2: field tags: "[1]"; want 1 to 32 tags with commas between them, none of them empty`,
			`service 2 ("z"), node 3: field user: "[1]"; want a text`,
			`service 2 ("z"), node 4: field pass: want a text`,
		}},
		{"twice", `[{"name":"z","type":"ttl","a":1,"a":2,"node":[{"id":"b","host":"h","host":"i"},{"id":"c"},{"id":"b"},{"id":"c"}],"nodes":[]},{"name":"q","name":"r","type":"ttl","node":[{"id":"b"},{"id":"c"},{"x":"y"},{"id":"b"}]}]`, []string{
			`service 1 ("z"): field "a": given twice`,
			`service 1 ("z"): field node: given twice`,
			`service 2: field name: want one text`,
			`service 2 ("q"), node 3: field id: missing; want one where there is no host and port, no url and no script`,
			`service 2 ("q"), node 4: field id: node 1 has "b" too; give each an id of its own`,
		}},
		{"dangerous", `[{"name":"a b","type":"custom","webhook":"ftp://x","node":[{"script":"/bin/sh -c 'id'"},{"script":"../x"},{"script":"-x"}]},
			{"name":"w","type":"web","node":[{"url":"http://u:hush@h/"},{"url":"file:///etc/passwd"},{"url":"http://h/","expect":"700"},{"url":"http://i/","status":"2xx"},{"url":"http://j/","interval":"500","timeout":"501"},{"url":"http://k/","checked_by":"n1"}]},
			{"name":"r","type":"redis","node":[{"host":"h","port":"1","database":"a","tls":"yes"}]},
			{"name":"a\u202eb","type":"ttl","node":[{"id":"\u200b"}]}]`, []string{
			`service 1 ("a b"): field name: "a b"; want a name of characters that print, without spaces`,
			`service 1 ("a b"): field webhook: "ftp://x"; want http:// or https:// with a host, a port from 1 to 65535 or none, and without a user or a password`,
			`service 1 ("a b"), node 1: field script: "/bin/sh -c 'id'"; want the name of a program that nodes allow (serve --check NAME=PATH): letters, digits, . _ -`,
			`service 1 ("a b"), node 2: field script: "../x"; want the name of a program that nodes allow (serve --check NAME=PATH): letters, digits, . _ -`,
			`service 1 ("a b"), node 3: field script: "-x"; want the name of a program that nodes allow (serve --check NAME=PATH): letters, digits, . _ -`,
			`service 2 ("w"), node 1: field url: not shown, as there may be a password in it; want http:// or https:// with a host, a port from 1 to 65535 or none, and without a user or a password (fields user and pass)`,
			`service 2 ("w"), node 2: field url: "file:///etc/passwd"; want http:// or https:// with a host, a port from 1 to 65535 or none, and without a user or a password (fields user and pass)`,
			`service 2 ("w"), node 3: field expect: "700"; want HTTP statuses or classes with commas between them, as in 2xx,301`,
			`service 2 ("w"), node 4: field status: shown, not set; field expect has the HTTP statuses that mean up`,
			`service 2 ("w"), node 5: field timeout: 501; want no more than the interval, 500`,
			`service 2 ("w"), node 6: field checked_by: shown, not set`,
			`service 3 ("r"), node 1: field tls: "yes"; want "on" or "off"`,
			`service 3 ("r"), node 1: field database: "a"; want a number from 0 to 65535`,
			`service 4 ("a\u202eb"): field name: "a\u202eb"; want a name of characters that print, without spaces`,
			`service 4 ("a\u202eb"), node 1: field id: "\u200b"; want an id of characters that print, without spaces`,
		}},
	} {
		list, err := ParseFile([]byte(c.file))
		var wrong *InvalidError
		if !errors.As(err, &wrong) || !errors.Is(err, ErrInvalid) || list != nil {
			t.Errorf("%s: got %v, %v", c.name, list, err)
			continue
		}
		if got, want := strings.Join(wrong.Problems, "\n"), strings.Join(c.want, "\n"); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, got, want)
		}
		if strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: a secret is shown: %v", c.name, err)
		}
	}
}

// A text that no UTF-8 stands for is refused by its field. Package encoding/json would put U+FFFD in its
// place, so that a password, a name or a key is another one than the file has, or two keys are one.
func TestTextThatIsNoUTF8(t *testing.T) {
	const good = `\ud83d\ude00`
	for _, bad := range []string{`\ud800`, `\udc00`, `a\uD800b`, `\udfff\ud800`, `\ud800\ud83d\ude00`, `\ud83d\u0041`, "\xff", "a\xc3", "\xed\xa0\x80"} {
		for file, field := range map[string]string{
			`{"name":"X","type":"ttl","node":[{"id":"i"}]}`:                                                                  `field name: `,
			`{"name":"s","type":"X","node":[{"id":"i"}]}`:                                                                    `field type: `,
			`{"name":"s","type":"ttl","zone":"X","node":[{"id":"i"}]}`:                                                       `field "zone": want UTF-8`,
			`{"name":"s","type":"ttl","webhook_secret":"X","node":[{"id":"i"}]}`:                                             `field "webhook_secret": want UTF-8`,
			`{"name":"s","type":"ttl","X":"v","node":[{"id":"i"}]}`:                                                          `: want a name of 1 to 64 bytes of UTF-8`,
			`{"name":"s","type":"ttl","owner":{"team":["X"]},"node":[{"id":"i"}]}`:                                           `field "owner": want UTF-8`,
			`{"name":"s","type":"ttl","owner":{"X":1},"node":[{"id":"i"}]}`:                                                  `field "owner": want UTF-8`,
			`{"name":"s","type":"ttl","node":[{"id":"X"}]}`:                                                                  `node 1: field id: `,
			`{"name":"s","type":"mysql","node":[{"host":"h","port":"1","pass":"X"}]}`:                                        `node 1: field "pass": want UTF-8`,
			`{"name":"s","type":"ttl","node":[{"id":"i","tags":"a,X"}]}`:                                                     `node 1: field "tags": want UTF-8`,
			`{"name":"s","type":"ttl","node":[{"id":"i","tags":["a","X"]}]}`:                                                 `node 1: field "tags": want UTF-8`,
			`{"name":"s","type":"ttl","node":[{"id":"i","X":7}]}`:                                                            `node 1: field "`,
			`{"name":"s","type":"web","node":[{"url":"http://h/X"}]}`:                                                        `node 1: field "url": want UTF-8`,
			`{"name":"s","type":"ttl","node":[{"id":"i","list":[[{"a":"b","c":"X"}]]}]}`:                                     `node 1: field "list": want UTF-8`,
			`[{"name":"r","type":"ttl","node":[{"id":"i"}]},{"name":"s","type":"ttl","node":[{"id":"i"},{"id":"X\u0041"}]}]`: `service 2 ("s"), node 2: field id: `,
		} {
			if _, err := ParseFile([]byte(strings.ReplaceAll(file, "X", bad))); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), field) {
				t.Errorf("%q in %s: got %v, want %s", bad, file, err, field)
			}
			if field == `field type: ` || field == `node 1: field "url": want UTF-8` || strings.Contains(file, "X\\u0041") {
				continue
			}
			if _, err := ParseFile([]byte(strings.ReplaceAll(file, "X", good))); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// What can't be dialled is refused where it is set, by its field, and not found out by a check that
// fails for ever. There is one way to write each port.
func TestPlacesToDial(t *testing.T) {
	ports := map[string]bool{"1": true, "80": true, "65535": true,
		"0": false, "65536": false, "99999999999999999999": false, "080": false, "+80": false, "-80": false, " 80": false, "80 ": false, "8 0": false, "0x50": false, "http": false, "\\u0668\\u0660": false}
	hosts := map[string]bool{"h": true, "db-1.example.com": true, "_db.x": true, "10.0.0.1": true, "::1": true, "fe80::1%eth0": true,
		"h:80": false, "[::1]": false, "a b": false, " h": false, "h ": false, "h/x": false, "http://h": false, "10.0.0.0/8": false, "fe80::1%a b": false, "fe80::1%a\\u001bb": false}
	check := func(field, file string, good bool) {
		t.Helper()
		_, err := ParseFile([]byte(file))
		if good && err != nil || !good && (err == nil || !strings.Contains(err.Error(), "field "+field+": ")) {
			t.Errorf("%s: got %v", file, err)
		}
	}
	for port, good := range ports {
		for _, kind := range hostTypes {
			check("port", fmt.Sprintf(`{"name":"s","type":%q,"node":[{"host":"h","port":"%s"}]}`, kind, port), good)
		}
		check("url", `{"name":"s","type":"web","node":[{"url":"http://h:`+port+`/"}]}`, good)
		check("url", `{"name":"s","type":"web","node":[{"url":"https://[::1]:`+port+`"}]}`, good)
		check("webhook", `{"name":"s","type":"ttl","webhook":"http://h:`+port+`","node":[{"id":"i"}]}`, good)
	}
	for host, good := range hosts {
		for _, kind := range hostTypes {
			check("host", fmt.Sprintf(`{"name":"s","type":%q,"node":[{"host":"%s","port":"1"}]}`, kind, host), good)
		}
		check("server_name", `{"name":"s","type":"ttl","node":[{"id":"i","server_name":"`+host+`"}]}`, good)
	}
	for _, url := range []string{"http://[fe80::1%25%20x]/", "http://[fe80::1%25%1bx]/", "http://:80/", "http:///", "http://h:80:80/"} {
		check("url", `{"name":"s","type":"web","node":[{"url":"`+url+`"}]}`, false)
		check("webhook", `{"name":"s","type":"ttl","webhook":"`+url+`","node":[{"id":"i"}]}`, false)
	}
	for _, url := range []string{"http://h", "http://h:/", "https://h:443/x?y=:0", "http://[fe80::1%25eth0]:8080/"} {
		check("url", `{"name":"s","type":"web","node":[{"url":"`+url+`"}]}`, true)
	}
}

func TestFileThatIsNone(t *testing.T) {
	for file, want := range map[string]string{
		"":                             "not JSON: line 1, column 0",
		"[{\"name\":\"a\",\n  x}]":     "not JSON: line 2, column 3: invalid character 'x'",
		"7":                            "want a list of services",
		"[] []":                        "not JSON",
		strings.Repeat("[", 1e6):       "more than 64 lists and objects",
		strings.Repeat(" ", FileMax+1): "the limit is 16777216",
	} {
		if _, err := ParseFile([]byte(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: got %v, want %s", file, err, want)
		}
	}
	if list, err := ParseFile([]byte("\xef\xbb\xbf {\"name\":\"a\",\"type\":\"ttl\",\"nodes\":[{\"id\":\"i\",\"tags\":[\"x\",\"y\"],\"user\":7,\"database\":null}]}")); err != nil || len(list) != 1 ||
		!reflect.DeepEqual(list[0].Instances[0].Settings, []Setting{{Key: "tags", Value: "x,y"}, {Key: "user", Value: "7"}}) {
		t.Errorf("one object: got %+v, %v", list, err)
	}
	if list, err := ParseFile([]byte("[]")); err != nil || len(list) != 0 {
		t.Errorf("no services: got %+v, %v", list, err)
	}
}

// An instance with as many settings as there may be is shown with its id and its state beside
// them. Tools that edit JSON put all of these in an order of their own; no setting is lost.
func TestFileTakesFullInstanceInAnyOrder(t *testing.T) {
	s := &Service{Name: "full", Type: TypeTTL, Instances: []Instance{{ID: "one", Maintenance: true}}}
	i := &s.Instances[0]
	for n := range SettingsMax {
		i.Settings = append(i.Settings, Setting{Key: fmt.Sprintf("z%02d", n), Value: "v"})
	}
	i.Report(Up, "answers", 1, 1)
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var fields any // marshalled again, it has its keys sorted
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	if b, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	list, err := ParseFile(b)
	if err != nil || list[0].Instances[0].ID != "one" || !reflect.DeepEqual(list[0].Instances[0].Settings, i.Settings) {
		t.Errorf("%v: got %+v\nof %s", err, list, b)
	}
}

// Limits are named, and hold: what is one below can be written and read.
func TestFileLimits(t *testing.T) {
	nodes := func(n int, more string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,{"id":"i%d"%s}`, i, more)
		}
		return `[{"name":"big","type":"ttl","node":[` + strings.TrimPrefix(b.String(), ",") + `]}]`
	}
	list, err := ParseFile([]byte(nodes(InstancesMax, `,"zone":"a"`)))
	if err != nil || len(list[0].Instances) != InstancesMax {
		t.Fatalf("%d nodes: %v", InstancesMax, err)
	}
	if back, err := Read(list[0].Append(nil)); err != nil || len(back.Instances) != InstancesMax {
		t.Errorf("%d nodes can't be read back: %v", InstancesMax, err)
	}
	for name, c := range map[string]struct{ file, want string }{
		"nodes":  {nodes(InstancesMax+1, ""), `service 1 ("big"): 513 nodes; the limit is 512`},
		"record": {nodes(InstancesMax, `,"text":"`+strings.Repeat("x", 300)+`"`), "with what the checks will say; the limit is 262144"},
		"value":  {nodes(1, `,"text":"`+strings.Repeat("x", SettingValueMax+1)+`"`), "field \"text\": 4097 bytes; the limit is 4096"},
		"key":    {nodes(1, `,"`+strings.Repeat("k", SettingKeyMax+1)+`":"x"`), "want a name of 1 to 64 bytes"},
		"zero":   {nodes(1, `,"text":"a\u0000b"`), "want UTF-8, without zeros and half surrogate pairs"},
		"UTF-8":  {nodes(1, ",\"text\":\"a\xff\""), "want UTF-8, without zeros and half surrogate pairs"},
		"name":   {`[{"name":"` + strings.Repeat("n", NameMax+1) + `","type":"ttl","node":[]}]`, "field name: 129 bytes; the limit is 128"},
		"id":     {nodes(0, "")[:len(nodes(0, ""))-3] + `{"id":"` + strings.Repeat("n", IDMax+1) + `"}]}]`, "field id: 257 bytes; the limit is 256"},
		"settings": {nodes(1, func() (s string) {
			for n := range SettingsMax + 1 {
				s += fmt.Sprintf(`,"k%d":"v"`, n)
			}
			return
		}()), "more than 64 fields"},
	} {
		if _, err := ParseFile([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	_, err = ParseFile([]byte("[" + strings.Repeat("{},", 500) + "{}]"))
	var wrong *InvalidError
	if !errors.As(err, &wrong) || len(wrong.Problems) != ProblemsMax || wrong.More != 3*501-ProblemsMax || !strings.HasSuffix(err.Error(), "and 1303 more problems") {
		t.Errorf("got %v", err)
	}
}

// A record is as large as its definition says at most, whatever the checks find.
func TestDefinitionLeavesRoomForState(t *testing.T) {
	s := &Service{Name: "big", Type: TypeTTL}
	for n := 0; s.Validate() == nil; n++ {
		s.Instances = append(s.Instances, Instance{ID: fmt.Sprint(n), Settings: []Setting{{Key: "my_token", Value: strings.Repeat("t", 2000)}, {Key: "text", Value: strings.Repeat("x", 2000)}}})
	}
	s.Instances = s.Instances[:len(s.Instances)-1]
	if len(s.Instances) < 40 {
		t.Fatalf("only %d instances of 4 KB are taken", len(s.Instances))
	}
	s.Set(nil, math.MaxUint64)
	for n := range s.Instances {
		i := &s.Instances[n]
		i.Report(Down, strings.Repeat("r", ReasonMax), math.MaxInt64, math.MaxUint64)
		i.Hooked, i.Count = math.MaxUint64, math.MaxUint64
	}
	if back, err := Read(s.Append(nil)); err != nil || len(back.Instances) != len(s.Instances) {
		t.Errorf("can't be read: %v", err)
	}
}

// Whatever is validated can be checked, and whatever is hostile is cheap.
func FuzzParseFile(f *testing.F) {
	b, _ := shop().MarshalJSON()
	f.Add(b)
	f.Add([]byte(`[{"name":"db","type":"mysql","node":[{"host":"10.0.0.1","port":"3306","user":"check","pass":"s3cret","priority":"10"}]}]`))
	f.Add([]byte(`[{"name":"w","type":"web","node":[{"url":"http:\/\/h\u002f","expect":"2xx","x":"\ud83d\ude00"}]},{"name":"c","type":"custom","node":[{"script":"a"}]}]`))
	f.Add([]byte("[" + strings.Repeat("{},", 3000) + "{}]"))
	f.Add([]byte(`[{"name":"n","type":"ttl","node":[` + strings.Repeat("{},", 600) + `{}]}]`))
	f.Add([]byte(`[{"name":"n","type":"ttl","node":[` + strings.Repeat(`{"id":"a"},`, 511) + `{"id":"b"}]}]`))
	f.Add([]byte(`[{"name":"n","type":"ttl",` + strings.Repeat(`"":"",`, 3000) + `"node":[]}]`))
	f.Add([]byte("[" + strings.Repeat(`{"name":"a","type":"ttl","node":[]},`, 300) + "{}]"))
	f.Add([]byte("[" + strings.Repeat(`{"name":"n","type":"ttl","node":[`+strings.Repeat("{},", 511)+"{}]},", 20) + "{}]"))
	f.Add([]byte(strings.Repeat("[", 5000)))
	f.Add([]byte(`[{"name":"n","type":"mysql","node":[]}]`))
	f.Add([]byte(`[{"name":"n","type":"ttl","x\ud800":"\udc00","y":{"z":"\ud800"},"node":[{"id":"\xff"}]}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var list []Service
		var err error
		used := memtest.Allocated(func() { list, err = ParseFile(b) })
		said := 0 // what is said of problems has a limit of its own
		var wrong *InvalidError
		if errors.As(err, &wrong) {
			said = 1 << 10 * len(wrong.Problems)
		}
		if limit := 16*len(b) + 4<<10 + said; used > limit {
			t.Fatalf("%d bytes of memory for %d, the limit is %d", used, len(b), limit)
		}
		if err != nil {
			return
		}
		for n := range list {
			s := &list[n]
			if err := s.Validate(); err != nil {
				t.Fatalf("%+v is not valid: %v", s, err)
			}
			s.Set(nil, 1)
			back, err := Read(s.Append(nil))
			if err != nil || back.Validate() != nil {
				t.Fatalf("%+v can't be read: %v", s, err)
			}
			for i := range back.Instances {
				if spec, err := back.Instances[i].Spec(back); err != nil && !strings.Contains(err.Error(), "masked") {
					t.Fatalf("%+v can't be checked: %v", back.Instances[i], err)
				} else if err == nil {
					if _, err := ReadSpec(spec.AppendTo(nil)); err != nil {
						t.Fatal(err)
					}
				}
			}
			shown, err := back.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseFile(shown)
			if err != nil {
				t.Fatalf("%s is shown, and not taken: %v", shown, err)
			}
			again[0].Set(back, 2)
			if !bytes.Equal(again[0].Append(nil), back.Append(nil)) {
				t.Fatalf("%+v was shown, and became %+v", back, &again[0])
			}
		}
	})
}

// Texts are read as encoding/json reads them, but for half a surrogate pair, which stays no UTF-8.
func TestUnquote(t *testing.T) {
	for _, quoted := range []string{`""`, `"a"`, `"\"\\\/\b\f\n\r\t"`, `"x\u00e9y"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ud83d\ud83d\ude00"`, `"\ud83dx"`, `"\ud83d\n"`, `"\ude00\ud83d"`, `"é😀"`, `"\u0000"`} {
		var want string
		if err := json.Unmarshal([]byte(quoted), &want); err != nil {
			t.Fatalf("%s: %v", quoted, err)
		}
		got := unquote(quoted)
		if strings.ReplaceAll(got, halfPair, "\ufffd") != want {
			t.Errorf("%s: got %q, want %q", quoted, got, want)
		}
	}
}
