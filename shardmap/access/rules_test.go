package access

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// plainly is the rule as people say it: each verb is allowed if one grant of one of the
// user's roles has it, on a beginning of the name.
func plainly(u User, roles []Role, v Verbs, k Kind, name string) bool {
	if v == 0 || v&^k.Verbs() != 0 {
		return false
	}
	for verb := Read; verb <= Admin; verb <<= 1 {
		if v&verb == 0 {
			continue
		}
		found := false
		for _, has := range u.Roles {
			for _, role := range roles {
				for _, g := range role.Grants {
					found = found || role.Name == has && g.Verbs&verb != 0 && g.Object.Kind == k && strings.HasPrefix(name, g.Object.Prefix)
				}
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// randomName has few letters, so that prefixes meet.
func randomName(r *rand.Rand) string {
	b := make([]byte, r.IntN(5))
	for i := range b {
		b[i] = "ab/\x7f"[r.IntN(3)]
	}
	return string(b)
}

func randomGrant(r *rand.Rand) Grant {
	for {
		g := Grant{Verbs(r.IntN(int(All) + 1)), Object{Kind(r.IntN(kindEnd)), randomName(r)}}
		if r.IntN(8) == 0 {
			g = Grant{All, Object{Kind: Keys}}
		}
		if g.Check() == nil {
			return g
		}
	}
}

// Compiled rules are sorted, shared and searched; what they allow must be what the grants
// say, one by one, for each verb, kind and name.
func TestRulesAsSaidPlainly(t *testing.T) {
	const rounds, names, questions = 300, 6, 400
	allowed := 0
	for seed := range uint64(rounds) {
		r := rand.New(rand.NewPCG(seed, 1))
		var roles []Role
		for i := range names - 1 { // the last name has no role
			role := Role{Name: fmt.Sprint("r", i)}
			for range r.IntN(8) {
				role.Grants = append(role.Grants, randomGrant(r))
			}
			roles = append(roles, role)
		}
		users := make([]User, 4)
		for i := range users {
			users[i].ID = Principal(10 + i)
			for range r.IntN(5) {
				users[i].Roles = append(users[i].Roles, fmt.Sprint("r", r.IntN(names)))
			}
		}
		rules := Compile(users, roles)
		for range questions {
			u := users[r.IntN(len(users))]
			v, k, name := Verbs(r.IntN(int(All)+1)), Kind(r.IntN(kindEnd+1)), randomName(r)
			want := plainly(u, roles, v, k, name)
			got := rules.Of(u.ID).May(v, k, []byte(name))
			if got != want {
				t.Fatalf("seed %d: %v of %v on %q with %v and %v: got %t, want %t", seed, v, k, name, u, roles, got, want)
			}
			if got {
				allowed++
			}
			role, by, ok := rules.Of(u.ID).Why(v, k, []byte(name))
			if ok && !want || want && !ok && v&(v-1) == 0 {
				t.Fatalf("seed %d: %v of %v on %q with %v and %v: by %q %v %t, want %t", seed, v, k, name, u, roles, role, by, ok, want)
			}
		}
		if rules.Of(9) != nil || rules.Of(0).May(Read, Keys, nil) {
			t.Fatal("a user that is not there has rights")
		}
	}
	if allowed < rounds*questions/20 {
		t.Errorf("only %d of %d questions were allowed: the rules are too few to show anything", allowed, rounds*questions)
	}
}

// A user who may list "a" and "b" may not list all, though nothing else may be there today: a list
// is covered by one grant or refused.
func TestRulesCoverByOneGrant(t *testing.T) {
	if wrong := listsBeyond(); wrong != "" {
		t.Error(wrong)
	}
}

// listsBeyond returns which list is answered wrongly, or "".
func listsBeyond() string {
	x := Compile([]User{{1, []string{"r"}}}, []Role{{"r", []Grant{
		{List, Object{Keys, "a"}}, {List, Object{Keys, "b"}}, {Read, Object{Keys, ""}},
	}}}).Of(1)
	for _, c := range []struct {
		need Need
		want bool
	}{
		{Need{List, Keys, Under, nil}, false},
		{Need{List, Keys, Under, []byte("a")}, true},
		{Need{List, Keys, Under, []byte("a/b")}, true},
		{Need{List | Read, Keys, Under, []byte("b")}, true},
		{Need{List, Keys, Under, []byte("c")}, false},
		{Need{Read, Keys, Under, nil}, true},
		{Need{List, Services, Under, nil}, false},
		{Need{List, Keys, Some, nil}, true},
		{Need{Write, Keys, Some, nil}, false},
		{Need{List | Write, Keys, Some, nil}, false},
		{Need{Read, Cluster, One, nil}, false},
		{Need{Read, Keys, 9, nil}, false},
	} {
		if got := x.Meets(c.need); got != c.want {
			return fmt.Sprintf("%s, extent %d: got %t, want %t", c.need, c.need.Extent, got, c.want)
		}
	}
	return ""
}

// A range of keys is covered by what all its keys begin with; by less than that, other
// keys would be seen, and by more, nobody could watch his own prefix.
func TestSpanPrefix(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"app/", "app0", "app/"},
		{"app/a", "app/c", "app/"},
		{"app/a", "app/b", "app/a"},
		{"app/a", "app0", "app/"}, // from app/a up to the end of app/
		{"a", "b", "a"},
		{"a", "c", ""},
		{"a\xff", "b", "a\xff"},
		{"a\xff\xff1", "b", "a\xff\xff"},
		{"a\xffx", "b0", ""},
		{"ab", "abc", "ab"},
		{"abc", "abcd", "abc"},
		{"", "a", ""},
		{"\xff", "\xff\xff", "\xff"},
		{"b", "a", ""},
	} {
		if got := SpanPrefix([]byte(c.from), []byte(c.to)); string(got) != c.want {
			t.Errorf("from %q to %q: got %q, want %q", c.from, c.to, got, c.want)
		}
	}
	if got := SpanPrefix([]byte("a"), nil); len(got) != 0 {
		t.Errorf("from a on: got %q, want all keys", got)
	}
	// Against all short keys: each of a range begins with the prefix, and it can't be longer.
	letters := []byte{'a', 'b', 0xff}
	var keys [][]byte
	for n := range 4 {
		for i := range 27 {
			k := []byte{letters[i/9], letters[i/3%3], letters[i%3]}[:min(n, 3)]
			keys = append(keys, k)
		}
	}
	for _, from := range keys {
		for _, to := range keys {
			if string(from) >= string(to) {
				continue
			}
			got := SpanPrefix(from, to)
			for _, k := range keys {
				if string(k) >= string(from) && string(k) < string(to) && !strings.HasPrefix(string(k), string(got)) {
					t.Fatalf("from %q to %q: got %q, and key %q is among them", from, to, got, k)
				}
			}
		}
	}
}

// All saves reading requests, so it must not be set for less than everything, and be
// set for the administrator that a founded cluster has.
func TestRulesAll(t *testing.T) {
	all := []Grant{{All, Object{Keys, ""}}, {All, Object{Services, ""}}, {All, Object{Databases, ""}}, {All, Object{Cluster, ""}}}
	users := []User{{1, []string{"r"}}}
	if !Compile(users, []Role{{"r", all}}).Of(1).All {
		t.Error("with all verbs on everything: All is not set")
	}
	for i := range all {
		less := append(append([]Grant(nil), all[:i]...), all[i+1:]...)
		if Compile(users, []Role{{"r", less}}).Of(1).All {
			t.Errorf("without %v: All is set", all[i])
		}
	}
	if Compile(users, nil).Of(1).All {
		t.Error("with a role that is not there: All is set")
	}
}

var sink bool

// A restricted user costs less than 100 ns for each thing that a request names, whoever may do everything about one.
func BenchmarkRules(b *testing.B) {
	all := Role{"all", []Grant{{All, Object{Keys, ""}}, {All, Object{Services, ""}}, {All, Object{Databases, ""}}, {All, Object{Cluster, ""}}}}
	few := Role{"few", []Grant{{Read | Write | List | Watch, Object{Keys, "app/"}}, {Read, Object{Services, ""}}}}
	many := Role{Name: "many"}
	for i := range 1024 {
		many.Grants = append(many.Grants, Grant{Read | Write, Object{Keys, fmt.Sprintf("team/%04d/", i)}})
	}
	rules := Compile([]User{{1, []string{"all"}}, {2, []string{"few"}}, {3, []string{"many"}}}, []Role{all, few, many})
	for _, c := range []struct {
		name string
		of   Principal
		key  string
	}{{"all", 1, "app/config/17"}, {"restricted", 2, "app/config/17"}, {"denied", 2, "other/17"}, {"of 1024 grants", 3, "team/0700/config/17"}} {
		key := []byte(c.key)
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				x := rules.Of(c.of)
				sink = x.All || x.May(Read|Write, Keys, key)
			}
		})
	}
}
