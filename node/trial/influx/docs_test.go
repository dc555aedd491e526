package influx

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// A difference that the judge lets pass is one that a person was told of.
func TestKindsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/coming-from.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(kinds()) > 10 {
		t.Errorf("%d kinds of difference; more than ten are another language", len(kinds()))
	}
	for _, k := range kinds() {
		if row := fmt.Sprintf("| %s | %s |\n", k.Name, k.Reason); !strings.Contains(string(page), row) {
			t.Errorf("docs/coming-from.md lacks the row\n%s", row)
		}
	}
}
