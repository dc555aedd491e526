package node

import (
	"strings"
	"testing"
	"time"

	"muster/repl/hinting"
)

// The doctor tells of hints that a person has to look after, and of no others: each finding names the node and what to do.
func TestHintFindings(t *testing.T) {
	now := time.Unix(1.8e9, 0)
	limits := hinting.Limits{Group: 1000, Node: 3000, Age: time.Hour}
	young := now.Add(-time.Minute).UnixNano()
	for _, tt := range []struct {
		what string
		n    *hintNews
		want []string
	}{
		{"before the first turn", nil, nil},
		{"a group that was without a leader for a minute", &hintNews{views: []hinting.View{{Group: 3, Hints: 2, Bytes: 100, Points: 9, Oldest: young, Why: "no leader"}}}, nil},
		{"an old one", &hintNews{views: []hinting.View{{Group: 3, Hints: 2, Bytes: 100, Points: 9, Oldest: now.Add(-2 * time.Hour).UnixNano(), Why: "no leader"}}},
			[]string{"9 points for group 3 wait on node n1, the oldest for 2h0m0s, in 100 bytes of 1000: no leader"}},
		{"one near its limit", &hintNews{views: []hinting.View{{Group: 3, Hints: 2, Bytes: 801, Points: 9, Oldest: young}}}, []string{"in 801 bytes of 1000"}},
		{"one that is not taken", &hintNews{views: []hinting.View{{Group: 3, Hints: 2, Bytes: 1, Points: 9, Oldest: young, Aside: 1}}}, []string{"1 hints are not taken, though others are"}},
		{"many", &hintNews{views: make([]hinting.View, 9)}, []string{"group 0", "group 0", "group 0", "group 0", "for more groups"}},
		{"all together", &hintNews{bytes: 2401, letters: 5, dir: "/data/deadletters", damages: []string{"a.hints: bytes 1 to 2"}},
			[]string{"damaged: a.hints: bytes 1 to 2", "take 2401 bytes, of 3000", "dead letters on node n1 take 5 bytes"}},
	} {
		if tt.n != nil {
			tt.n.limits = limits
		}
		got := tt.n.problems("n1", now)
		if len(got) != len(tt.want) {
			t.Errorf("%s: %+v, want %d findings", tt.what, got, len(tt.want))
			continue
		}
		for i, p := range got {
			if !strings.Contains(p.What, tt.want[i]) || !strings.Contains(p.What, "node n1") || p.Remedy == "" {
				t.Errorf("%s: %+v, want %q", tt.what, p, tt.want[i])
			}
		}
	}
}
