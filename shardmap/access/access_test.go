package access

import (
	"errors"
	"strings"
	"testing"
)

// An object is shown as a person writes it, and each wrong text is refused with what would be
// right.
func TestParseObject(t *testing.T) {
	for _, c := range []struct{ text, want, err string }{
		{"app/", "key:app/", ""},
		{"key:app/", "key:app/", ""},
		{"key:", "key:", ""},
		{"key:cluster", "key:cluster", ""},
		{"key:service:x", "key:service:x", ""},
		{"service:web", "service:web", ""},
		{"service:", "service:", ""},
		{"db:metrics", "db:metrics", ""},
		{"cluster", "cluster", ""},
		{"cluster/", "key:cluster/", ""},
		{"größe/", "key:größe/", ""},
		{"", "", "all keys are key:"},
		{"keys:app/", "", `keys: is no kind; want "key:app/"; for keys that begin so, "key:keys:app/"`},
		{"key:keys:app/", "key:keys:app/", ""},
		{"services:", "", `want "service:"`},
		{"database:x", "", `want "db:x"`},
		{"keys", "key:keys", ""},
		{"user:1", "key:user:1", ""},
		{"app/*", "", `a prefix has no star; want "key:app/"; for keys that begin so, "key:app/*"`},
		{"*", "", `want "key:"`},
		{"key:app/*", "key:app/*", ""},
		{"key:" + strings.Repeat("k", PrefixMax), "key:" + strings.Repeat("k", PrefixMax), ""},
		{"key:" + strings.Repeat("k", PrefixMax+1), "", "a prefix of 257 bytes; want 256 at most"},
		{"app\x1b[2J", "", "want UTF-8 without control characters"},
		{"app\xff", "", "want UTF-8 without control characters"},
	} {
		o, err := ParseObject(c.text)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || !errors.Is(err, ErrInvalid) {
				t.Errorf("ParseObject(%.40q): got %v, want …%s", c.text, err, c.err)
			}
			continue
		}
		if err != nil || o.String() != c.want {
			t.Errorf("ParseObject(%.40q): got %q, %v, want %q", c.text, o, err, c.want)
		}
		if again, err := ParseObject(o.String()); err != nil || again != o {
			t.Errorf("ParseObject(%.40q): got %v, %v, want %v", o.String(), again, err, o)
		}
	}
}

func TestParseVerbs(t *testing.T) {
	for _, c := range []struct {
		text string
		want Verbs
		show string
		err  string
	}{
		{"read", Read, "read", ""},
		{"write,read", Read | Write, "read,write", ""},
		{"all", All, "all", ""},
		{"read,write,list,watch,admin", All, "all", ""},
		{"", 0, "", `verb "": want read, write, list, watch, admin, with commas`},
		{"Read", 0, "", `verb "Read": want`},
		{"read, write", 0, "", `verb " write": want`},
		{"read,read", 0, "", `verb "read": twice`},
		{"all,read", 0, "", `verb "all": want`},
		{strings.Repeat("x", 1000), 0, "", `"…: want`},
	} {
		v, err := ParseVerbs(c.text)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("ParseVerbs(%.40q): got %v, want …%s", c.text, err, c.err)
			}
			continue
		}
		if err != nil || v != c.want || v.String() != c.show {
			t.Errorf("ParseVerbs(%q): got %d %q, %v, want %d %q", c.text, v, v, err, c.want, c.show)
		}
	}
	for v := Verbs(1); v <= All; v++ {
		if again, err := ParseVerbs(v.String()); err != nil || again != v {
			t.Errorf("ParseVerbs(%q): got %v, %v, want %v", v.String(), again, err, v)
		}
	}
}

func TestCheckGrant(t *testing.T) {
	for _, c := range []struct {
		grant Grant
		err   string
	}{
		{Grant{Read | Write, Object{Keys, "app/"}}, ""},
		{Grant{All, Object{Keys, ""}}, ""},
		{Grant{All, Object{Cluster, ""}}, ""},
		{Grant{Admin, Object{Databases, "m"}}, ""},
		{Grant{Admin, Object{Keys, ""}}, `grant on "key:": admin means nothing there; want read,write,list,watch, or all`},
		{Grant{Write | Admin, Object{Cluster, ""}}, `grant on "cluster": write means nothing there; want read,admin, or all`},
		{Grant{0, Object{Keys, ""}}, `grant on "key:": no verbs`},
		{Grant{32, Object{Keys, ""}}, `grant on "key:": verbs 32`},
		{Grant{Read, Object{0, ""}}, "object of kind 0"},
		{Grant{Read, Object{5, ""}}, "object of kind 5"},
		{Grant{Read, Object{Cluster, "x"}}, "cluster alone"},
	} {
		err := c.grant.Check()
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%v: got %v, want %q", c.grant, err, c.err)
		}
	}
}

func TestCheckName(t *testing.T) {
	for name, want := range map[string]string{
		"admin": "", "a": "", "_x": "", "Ada.Lovelace-2": "", strings.Repeat("n", NameMax): "",
		"": "empty; want 1 to 64", strings.Repeat("n", NameMax+1): "65 bytes; want 1 to 64",
		"-x": "begins with '-'", ".x": "begins with '.'", "a b": "has ' '", "a/b": "has '/'", "a\x1b": `has '\x1b'`, "größe": "has 'ö'",
	} {
		err := CheckName(name)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("CheckName(%q): got %v, want %q", name, err, want)
		}
	}
}
