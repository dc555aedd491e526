package cmd

import "testing"

// While an upgrade is under way, status says what is refused until when: which nodes
// hold the level back. It says nothing where none does.
func TestUpgradeLine(t *testing.T) {
	row := func(name string, level uint32) nodeRow { return nodeRow{Name: name, Level: level} }
	for _, tt := range []struct {
		cluster uint32
		nodes   []nodeRow
		want    string
	}{
		{2, []nodeRow{row("n1", 2), row("n2", 2)}, ""},
		{2, nil, ""},
		{2, []nodeRow{row("n1", 3), row("n2", 2), row("n3", 3)}, "an upgrade is under way: commands of level 3 stay refused until these nodes run it too: n2 (level 2)"},
		{2, []nodeRow{row("n1", 3), row("n2", 2), row("n3", 4)}, "an upgrade is under way: commands of level 4 stay refused until these nodes run it too: n1 (level 3), n2 (level 2)"},
		{3, []nodeRow{row("n1", 3), row("n2", 2)}, "an upgrade is under way: commands of level 3 stay refused until these nodes run it too: n2 (level 2)"},
	} {
		if got := upgradeLine(tt.cluster, tt.nodes); got != tt.want {
			t.Errorf("cluster of level %d, %+v: got %q, want %q", tt.cluster, tt.nodes, got, tt.want)
		}
	}
}
