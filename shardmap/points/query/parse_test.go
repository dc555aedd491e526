package query_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/influxdata/influxql"

	"muster/repl/memtest"
	"muster/shardmap/points/query"
)

// The parser recurses as deep as a text asks it to. Each kind of depth, and each thing that it makes many of, is refused by
// its limit before the parser sees it; what is just within the limit is read.
func TestTextIsBounded(t *testing.T) {
	rep := strings.Repeat
	for _, c := range []struct {
		what, good, bad string
	}{
		{"bytes of text", "SELECT v FROM cpu" + rep(" ", query.TextMax-17), "SELECT v FROM cpu" + rep(" ", query.TextMax-16)},
		{"parentheses in each other", "SELECT " + rep("(", 64) + "v" + rep(")", 64) + " FROM cpu", "SELECT " + rep("(", 65) + "v" + rep(")", 65) + " FROM cpu"},
		{"parentheses in each other", "SELECT v FROM " + rep("(SELECT v FROM ", 64) + "cpu" + rep(")", 64), "SELECT v FROM " + rep("(SELECT v FROM ", 65) + "cpu" + rep(")", 65)},
		{"parentheses in each other", "SELECT " + rep("max(", 64) + "v" + rep(")", 64) + " FROM cpu", "SELECT " + rep("max(", 65) + "v" + rep(")", 65) + " FROM cpu"},
		{"operators", "SELECT v" + rep("+v", query.OperatorsMax) + " FROM cpu", "SELECT v" + rep("+v", query.OperatorsMax+1) + " FROM cpu"},
		{"operators", "SELECT v FROM cpu WHERE a=1" + rep(" OR a=1", 1000), "SELECT v FROM cpu WHERE a=1" + rep(" OR a=1", 1024)},
		{"operators", "SELECT " + rep("- ", 1) + "v FROM cpu", "SELECT " + rep("- ", query.OperatorsMax+1) + "v FROM cpu"},
		{"statements", rep("SHOW DATABASES;", 255) + "SHOW DATABASES", rep("SHOW DATABASES;", 256) + "SHOW DATABASES"},
		{"bytes of regular expressions", "SELECT v FROM cpu WHERE a =~ /" + rep("a", 4096) + "/", "SELECT v FROM cpu WHERE a =~ /" + rep("a", 4097) + "/"},
		{"bytes of regular expressions with repetitions", "SELECT v FROM cpu WHERE a =~ /" + rep("a", 250) + "{1000}/", "SELECT v FROM cpu WHERE a =~ /" + rep("a", 251) + "{1000}/"},
	} {
		if _, err := query.Parse(c.good, nil); err != nil {
			t.Errorf("%s, just within: %.200s", c.what, err)
		}
		var limit *query.LimitError
		if _, err := query.Parse(c.bad, nil); !errors.As(err, &limit) || !strings.Contains(limit.What, c.what) {
			t.Errorf("%s, just outside: %.200v", c.what, err)
		}
	}
}

// The inside of a regular expression, a string or a comment must not count, and must not hide what stands behind it: then
// a text would be refused without need, or be deeper than it looks.
func TestWhatTextsHide(t *testing.T) {
	deep := strings.Repeat("(", 100)
	for _, good := range []string{
		`SELECT v FROM cpu WHERE a = '` + deep + `'`,
		`SELECT v FROM cpu WHERE "` + deep + `" = 'x'`,
		`SELECT v FROM cpu WHERE a =~ /` + strings.Repeat(`\(`, 100) + `/`,
		"SELECT v FROM cpu -- " + deep,
		`SELECT v FROM cpu WHERE a = 'it\'s ` + deep + `'`,
	} {
		if _, err := query.Parse(good, nil); err != nil {
			t.Errorf("%.60s: %.200v", good, err)
		}
	}
	for _, bad := range []string{
		`SELECT v / 2 FROM cpu WHERE (v) / ` + deep + ` / 2 > 1`,
		`SELECT * / ` + deep + ` / 2 FROM cpu`,
		`SELECT 'a' / ` + deep + ` / 'b' FROM cpu`,
		`SELECT "/" + ` + deep + ` + "/" FROM cpu`,
		`SELECT v FROM cpu WHERE a = '\\' + ` + deep + ` + '\\'`,
		"SELECT v -- ' \n + " + deep,
		"SELECT v /* ' */ + " + deep,
	} {
		var limit *query.LimitError
		if _, err := query.Parse(bad, nil); !errors.As(err, &limit) {
			t.Errorf("%.60s: %.200v", bad, err)
		}
	}
}

// Parameters are values, and are bounded as the text is.
func TestParameters(t *testing.T) {
	got, err := query.Parse("SELECT v FROM cpu WHERE host = $host", map[string]any{"host": "a' OR 'b' = 'b"})
	if err != nil || got[0].String() != `SELECT v FROM cpu WHERE host = 'a\' OR \'b\' = \'b'` {
		t.Errorf("got %v, %v", got, err)
	}
	var limit *query.LimitError
	if _, err := query.Parse("SELECT v FROM cpu WHERE host =~ $re", map[string]any{"re": map[string]any{"regex": strings.Repeat("a", 5000)}}); !errors.As(err, &limit) {
		t.Errorf("a long regular expression: %v", err)
	}
	if _, err := query.Parse("SELECT v FROM cpu WHERE host = $host", map[string]any{"host": strings.Repeat("a", query.TextMax+1)}); !errors.As(err, &limit) {
		t.Errorf("a long string: %v", err)
	}
}

// Reading a text must cost no more than its length lets expect, whatever it is: 4 KiB for each of its bytes, most of which
// are regular expressions with repetitions, and a second.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"SELECT mean(v) FROM cpu WHERE time > now() - 1h GROUP BY time(1mo), host fill(previous) ORDER BY time DESC LIMIT 3 tz('UTC')",
		`SELECT /a{100}/ FROM "d"."p"./x.*/ WHERE a =~ /b|c/ AND (b + 1 > 2 OR c = 'it''s')`,
		"SHOW TAG VALUES FROM cpu WITH KEY IN (a, b); DROP SERIES FROM x -- end",
		"SELECT " + strings.Repeat("(", 60) + "v", "SELECT v FROM (SELECT * FROM a), b", "SELECT - - -1 * v FROM a", "/*", "'", `"\`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var statements []influxql.Statement
		var err error
		begin := time.Now()
		n := memtest.Allocated(func() { statements, err = query.Parse(text, nil) })
		took := time.Since(begin)
		if n > 1<<20+4096*len(text) {
			t.Errorf("%d bytes were allocated for a text of %d", n, len(text))
		}
		if took > 10*time.Second {
			t.Errorf("a text of %d bytes took %s", len(text), took)
		}
		if err == nil {
			for _, s := range statements {
				_ = s.String()
			}
		}
	})
}
