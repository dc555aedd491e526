package registry

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, file string) *Service {
	t.Helper()
	list, err := ParseFile([]byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return &list[0]
}

// A new definition keeps what is known of the instances that stay, and voids results only
// of those that are now checked in another way.
func TestSetKeepsWhatIsKnown(t *testing.T) {
	old := parse(t, `{"name":"n","type":"redis","webhook":"http://h/","webhook_secret":"hush","node":[
		{"id":"a","host":"h","port":"1","pass":"p","api_token":"t"},{"id":"b","host":"h","port":"2"},{"id":"gone","host":"h","port":"3"}]}`)
	old.Set(nil, 5)
	for n := range old.Instances {
		if i := &old.Instances[n]; i.Check != 5 {
			t.Fatalf("a first set gives check %d, want its version", i.Check)
		} else {
			i.Report(Up, "PONG", 1000, 10)
			i.Report(Down, "refused", 2000, 20)
			i.Hooked = 1
		}
	}
	old.Instances[1].Maintenance = true

	next := parse(t, `{"name":"n","type":"redis","webhook":"http://h/","webhook_secret":"********","node":[
		{"id":"new","host":"h","port":"4"},
		{"id":"b","host":"h","port":"2","priority":"3","tags":"x","zone":"n"},
		{"id":"a","host":"h","port":"1","pass":"********","api_token":"********","interval":"100"}]}`)
	next.Instances[0].Report(Up, "a definition says nothing of this kind", 1, 1)
	next.Instances[0].Maintenance, next.Instances[0].Hooked = true, 1
	next.Set(old, 9)

	if got := next.Get("webhook_secret"); got != "hush" {
		t.Errorf("the secret of the webhook is %q", got)
	}
	if got, want := next.Instances[0], (Instance{ID: "new", Check: 9, Settings: next.Instances[0].Settings}); !reflect.DeepEqual(got, want) {
		t.Errorf("new: got %+v\nwant %+v", got, want)
	}
	want := old.Instances[1]
	want.Settings = next.Instances[1].Settings
	if got := next.Instances[1]; !reflect.DeepEqual(got, want) {
		t.Errorf("b, which is checked as before: got %+v\nwant %+v", got, want)
	}
	want = old.Instances[0]
	want.Settings, want.Check = next.Instances[2].Settings, 9
	if got := next.Instances[2]; !reflect.DeepEqual(got, want) || got.Get("pass") != "p" || got.Get("api_token") != "t" {
		t.Errorf("a, which is checked more often: got %+v\nwant %+v", got, want)
	}
	// What is reported to the new one leaves the former as it was: readers may hold it.
	next.Instances[2].Report(Up, "PONG", 3000, 30)
	if n := len(old.Instances[0].Changes); n != 2 || old.Instances[0].Changes[1].To != Down {
		t.Errorf("the former instance has %+v", old.Instances[0].Changes)
	}
}

// Each field that says how to check is a reason to check anew, each other one is not. The
// list is all that is known, so a new field has to say which it is.
func TestSetChecksAnewWhatChanged(t *testing.T) {
	values := map[string]string{"host": "other", "port": "99", "url": "http://other/", "script": "other", "priority": "7", "interval": "9000", "timeout": "77", "rise": "9", "fall": "9",
		"tags": "z", "expect": "404", "server_name": "other", "tls": "on", "tls_skip_verify": "on", "database": "3"}
	without := map[string]bool{"priority": true, "tags": true, "expect": true} // expect: of web alone
	for _, k := range instanceSettings {
		old := parse(t, `{"name":"n","type":"redis","node":[{"id":"a","host":"h","port":"1","unknown":"x"}]}`)
		old.Set(nil, 5)
		next := parse(t, `{"name":"n","type":"redis","node":[{"id":"a","host":"h","port":"1","unknown":"y"}]}`)
		i := &next.Instances[0]
		value := values[k.key]
		if value == "" {
			value = "text"
		}
		if at, ok := find(i.Settings, k.key); ok {
			i.Settings[at].Value = value
		} else {
			i.Settings = append(i.Settings, Setting{Key: k.key, Value: value})
			sortSettings(i.Settings)
		}
		next.Set(old, 9)
		if anew := i.Check == 9; anew == without[k.key] {
			t.Errorf("%s: checked anew: %v", k.key, anew)
		}
	}
	old := parse(t, `{"name":"n","type":"tcp","node":[{"id":"a","host":"h","port":"1"}]}`)
	old.Set(nil, 5)
	next := parse(t, `{"name":"n","type":"redis","node":[{"id":"a","host":"h","port":"1"}]}`)
	if next.Set(old, 9); next.Instances[0].Check != 9 {
		t.Error("another type is checked as before")
	}
	// A program sees all settings, so each may change what it finds.
	old = parse(t, `{"name":"n","type":"custom","node":[{"script":"s","depth":"1"}]}`)
	old.Set(nil, 5)
	next = parse(t, `{"name":"n","type":"custom","node":[{"script":"s","depth":"2"}]}`)
	if next.Set(old, 9); next.Instances[0].Check != 9 {
		t.Error("a program with other settings is checked as before")
	}
}

// A webhook that is new would else be told of all that ever was.
func TestSetWebhookBeginsNow(t *testing.T) {
	old := parse(t, `{"name":"n","type":"ttl","node":[{"id":"a"}]}`)
	old.Set(nil, 5)
	old.Instances[0].Report(Up, "", 1, 1)
	next := parse(t, `{"name":"n","type":"ttl","webhook":"http://h/","node":[{"id":"a"}]}`)
	if next.Set(old, 9); next.Instances[0].Hooked != 1 {
		t.Errorf("hooked %d of 1", next.Instances[0].Hooked)
	}
}

// A mask that nobody can lift must not become a password.
func TestMaskedSecretIsSaid(t *testing.T) {
	s := parse(t, `{"name":"n","type":"redis","node":[{"host":"h","port":"1","pass":"********"}]}`)
	s.Set(nil, 1)
	if _, err := s.Instances[0].Spec(s); err == nil || !strings.Contains(err.Error(), "field pass: masked") {
		t.Errorf("got %v", err)
	}
	// A field that is no secret of the former record takes no part of it.
	old := parse(t, `{"name":"n","type":"redis","node":[{"host":"h","port":"1","note":"x"}]}`)
	next := parse(t, `{"name":"n","type":"redis","node":[{"host":"h","port":"1","note":"********"}]}`)
	if next.Set(old, 2); next.Instances[0].Get("note") != Mask {
		t.Error("a mask took what is no secret")
	}
}

// Masks are short, secrets need not be: a definition that fits may grow beyond the limit by
// what the record has.
func TestSetCanOutgrowTheLimit(t *testing.T) {
	old, next := &Service{Name: "n", Type: TypeTTL}, &Service{Name: "n", Type: TypeTTL}
	for n := range 40 {
		secret := Setting{Key: "a_token", Value: strings.Repeat("t", SettingValueMax)}
		old.Instances = append(old.Instances, Instance{ID: fmt.Sprint(n), Settings: []Setting{secret}})
		secret.Value = Mask
		next.Instances = append(next.Instances, Instance{ID: fmt.Sprint(n), Settings: []Setting{secret, {Key: "text", Value: strings.Repeat("x", 3000)}}})
	}
	if err := old.Validate(); err != nil || !old.Fits() {
		t.Fatal(err)
	}
	if err := next.Validate(); err != nil || !next.Fits() {
		t.Fatal(err)
	}
	if next.Set(old, 2); next.Fits() {
		t.Errorf("a record of %d bytes fits", len(next.Append(nil)))
	}
}

func TestSpecDefaults(t *testing.T) {
	for _, c := range []struct {
		file string
		want Spec
	}{
		{`{"name":"n","type":"tcp","node":[{"host":"h","port":"1"}]}`,
			Spec{Type: TypeTCP, Host: "h", Port: 1, Interval: 5 * time.Second, Timeout: 2 * time.Second, Rise: 2, Fall: 3}},
		{`{"name":"n","type":"grpc","node":[{"host":"h","port":"65535","interval":"1500","rise":"10","fall":"1","tls":"on","grpc_service":"s"}]}`,
			Spec{Type: TypeGRPC, Host: "h", Port: 65535, Interval: 1500 * time.Millisecond, Timeout: 1500 * time.Millisecond, Rise: 10, Fall: 1, TLS: true, Health: "s"}},
		{`{"name":"n","type":"web","node":[{"url":"https://h/","timeout":"50"}]}`,
			Spec{Type: TypeWeb, URL: "https://h/", Interval: 5 * time.Second, Timeout: 50 * time.Millisecond, Rise: 2, Fall: 3, Expect: []StatusRange{{200, 299}, {300, 399}}}},
		{`{"name":"n","type":"custom","node":[{"id":"i","script":"s","tags":"t","priority":"1"}]}`,
			Spec{Type: TypeCustom, Service: "n", Instance: "i", Script: "s", Interval: 5 * time.Second, Timeout: 2 * time.Second, Rise: 2, Fall: 3, Settings: []Setting{{Key: "script", Value: "s"}}}},
	} {
		s := parse(t, c.file)
		if got, err := s.Instances[0].Spec(s); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v\nwant %+v", c.file, got, err, c.want)
		}
	}
}

func TestExpects(t *testing.T) {
	for _, c := range []struct {
		expect string
		want   string
	}{
		{"", "200 299 301 399"}, {"2xx", "200 299"}, {"2XX, 404", "200 299 404"}, {"500", "500"},
	} {
		s := &Service{Type: TypeWeb, Instances: []Instance{row("a", Up, "url=http://h/", "expect="+c.expect)}}
		p, err := s.Instances[0].Spec(s)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, status := range []int{0, 100, 199, 200, 299, 301, 399, 404, 500, 599} {
			if p.Expects(status) {
				got = append(got, fmt.Sprint(status))
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q: got %s, want %s", c.expect, got, c.want)
		}
	}
	for _, expect := range []string{",", "99", "600", "0xx", "6xx", "657xx", "65535xx", "65736", "xx", "-2xx", "2xx;301", strings.Repeat("200,", expectMax) + "200"} {
		if _, ok := readExpect(expect); ok {
			t.Errorf("%q is taken", expect)
		}
	}
}

// A record counts each change of status, and remembers the newest.
func TestReport(t *testing.T) {
	i := &Instance{}
	for n, c := range []struct {
		to      Status
		reason  string
		changes bool
		count   uint64
	}{
		{Unknown, "", false, 0}, {Unknown, "no node allows it", true, 0}, {Up, "fine", true, 1}, {Up, "fine", false, 1}, {Up, "finer", true, 1}, {Down, "finer", true, 2},
	} {
		if got := i.Report(c.to, c.reason, int64(100+n), uint64(n)); got != c.changes || i.Count != c.count || i.Status != c.to || i.Reason != c.reason {
			t.Errorf("report %d: %v, %+v", n, got, i)
		}
	}
	if i.Since != 105 || i.SinceSlot != 5 || !reflect.DeepEqual(i.Changes, []Change{{102, 2, Up, "fine"}, {105, 5, Down, "finer"}}) {
		t.Errorf("got %+v", i)
	}
	// Two that follow the same record share what was, and nothing else.
	i.Report(Up, "third", 106, 6)
	a, b := *i, *i
	a.Report(Down, "of a", 107, 7)
	b.Report(Down, "of b", 107, 7)
	if got := a.Changes[len(a.Changes)-1].Reason; got != "of a" || len(i.Changes) != 3 {
		t.Errorf("a change of another record came in: %q", got)
	}
	for n := range 29 {
		i.Report(Status(2-n%2), fmt.Sprint(n+1), 1, 1)
	}
	if len(i.Changes) != ChangesMax || i.Changes[ChangesMax-1].Reason != "29" || i.Count != 32 {
		t.Errorf("%d changes of %d, the last %+v", len(i.Changes), i.Count, i.Changes[len(i.Changes)-1])
	}
}

func TestCutReason(t *testing.T) {
	for _, c := range []struct{ reason, want string }{
		{"refused", "refused"},
		{"two\nlines\x1b[31m", "two lines [31m"},
		{"no \xff UTF-8", "no � UTF-8"},
		{strings.Repeat("x", 300), strings.Repeat("x", 256)},
		{strings.Repeat("x", 255) + "é", strings.Repeat("x", 255)},
	} {
		if got := CutReason(c.reason); got != c.want {
			t.Errorf("%q: got %q, want %q", c.reason, got, c.want)
		}
	}
}

func TestShown(t *testing.T) {
	for _, c := range []struct {
		i    Instance
		want string
	}{
		{Instance{}, "unknown"}, {Instance{Status: Up}, "up"}, {Instance{Status: Down}, "down"}, {Instance{Status: Flapping}, "flapping"}, {Instance{Status: Up, Maintenance: true}, "maintenance"}, {Instance{Status: 9}, "invalid"},
	} {
		if got := c.i.Shown(); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// A text in which a target or a program had a part shows no secret, in whichever form it is said.
func TestMaskIn(t *testing.T) {
	list := []Setting{
		{Key: "api_token", Value: "tok-1\ntok-2\r\n"}, {Key: "host", Value: "db"},
		{Key: "login", Raw: true, Value: `{"user":"monitor","password":"nest\u0065d","more":[{"pins":[4711,true],"a_secret":[8899,null,false,"",{"x":"deep"}]}]}`},
		{Key: "x_secret", Raw: true, Value: `["all","of it"]`}, {Key: "y_secret", Raw: true, Value: "31337"}, {Key: "z_secret", Value: ""},
	}
	quoted := []Setting{{Key: "pass", Value: `say "x\`}, {Key: "a_pass", Value: "pw"}, {Key: "b_pass", Value: "pw-longer"}, {Key: "c_pass", Value: "*"}}
	for text, want := range map[string]string{
		"monitor at db":                 "monitor at db",
		"got tok-1 and tok-2":           "got ******** and ********",
		"nested, 4711, 8899, deep":      "********, 4711, ********, ********",
		"all of it, true null false":    "******** ********, true null false",
		"31337 31338":                   "******** 31338",
		`say "x\ or "say \"x\\"`:        `******** or "********"`,
		"pw, pw-longer and a * at most": "********, ******** and a ******** at most",
		"":                              "",
	} {
		if got := MaskIn(text, list, quoted); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if got := MaskIn("as it is"); got != "as it is" {
		t.Errorf("without settings: %q", got)
	}
}

func TestSecret(t *testing.T) {
	for key, want := range map[string]bool{"pass": true, "PASS": true, "webhook_secret": true, "api_token": true, "db_password": true, "passwd": true, "root_pass": true,
		"bypass": false, "password_hint": false, "host": false, "": false, "tokens": false} {
		if Secret(key) != want {
			t.Errorf("%s: got %v", key, !want)
		}
	}
	for text, want := range map[string]bool{`{"a":{"b":[{"pass" : 1}]}}`: true, `{"p\u0061ss":1}`: true, `["pass"]`: false, `{"a":"pass"}`: false, `{"a":"\"pass\":"}`: false, `"pass"`: false, `7`: false} {
		if secretWithin(text) != want {
			t.Errorf("%s: got %v", text, !want)
		}
	}
}
