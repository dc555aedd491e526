package metrics

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"muster/node/metrics/promtool"
)

// named finds the metrics of ours that a text names.
var named = regexp.MustCompile(`\b(muster|go|process)_[a-z0-9_]+\b`)

// Dashboards and alerts name no metric that a node does not have, and each alert says what to do.
func TestDashboardAndAlerts(t *testing.T) {
	have := map[string]bool{}
	for _, m := range Table() {
		have[m.Name] = true
		if m.Kind == Histogram {
			have[m.Name+"_bucket"], have[m.Name+"_sum"], have[m.Name+"_count"] = true, true, true
		}
	}
	for _, path := range []string{"../../docs/grafana.json", "../../docs/alerts.yml"} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		names := named.FindAllString(string(b), -1)
		if len(names) < 20 {
			t.Errorf("%s names %d metrics", path, len(names))
		}
		for _, name := range names {
			if !have[name] {
				t.Errorf("%s names %s, which no node has", path, name)
			}
		}
	}
	alerts, err := os.ReadFile("../../docs/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	rules := strings.Split(string(alerts), "- alert: ")[1:]
	next := regexp.MustCompile("(?m)^ +next: .*`(muster|systemctl) ")
	for _, rule := range rules {
		if !next.MatchString(rule) {
			t.Errorf("alert %s names no command to go on with", strings.TrimSpace(strings.SplitN(rule, "\n", 2)[0]))
		}
	}
	var board struct {
		Title  string
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	b, err := os.ReadFile("../../docs/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &board); err != nil {
		t.Fatalf("docs/grafana.json: %v", err)
	}
	drawn, series := 0, "groups:\n- name: series\n  rules:\n" // as rules, which promtool can read
	fill := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$job", "muster")
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			drawn++
			series += fmt.Sprintf("  - record: \"series:%d\"\n    expr: %q\n", drawn, fill.Replace(target.Expr))
		}
	}
	if board.Title == "" || drawn < 20 {
		t.Errorf("docs/grafana.json draws %d series", drawn)
	}
	promtool.Rules(t, string(alerts))
	promtool.Rules(t, series)
}
