package rafttest

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write what the scripts print now into raft/testdata")

// What the core does in the cases that matter is written out message by
// message, so that a change of it is seen and judged, not only found to break
// no rule.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("../testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var s Script
			got := s.Run(string(text))
			if s.Check() == nil {
				t.Fatal("the script founds no group")
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(text) {
				t.Errorf("it prints now (go test ./raft/rafttest -update, and read the difference):\n%s", got)
			}
		})
	}
}
