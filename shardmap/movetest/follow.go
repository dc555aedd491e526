package movetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrNoSpin: the model can't be asked.
var ErrNoSpin = errors.New("spin is not installed: nothing was compared with the model of a move")

// Follow has the model take the steps of traces, and returns why it refuses one of them.
// model is the directory docs/moves. It writes into dir, which is a test's own.
func Follow(model, dir string, traces []Trace) error {
	spin, err := exec.LookPath("spin")
	if err != nil {
		return ErrNoSpin
	}
	model, err = filepath.Abs(model)
	if err != nil {
		return err
	}
	b := fmt.Appendf(nil, "#include \"%s\"\nactive proctype traces() {\n", filepath.Join(model, "replay.pml"))
	for i := range traces {
		if b, err = traces[i].appendTo(b, i+1); err != nil {
			return fmt.Errorf("trace %d, of slot %d: %w", i+1, traces[i].Slot, err)
		}
	}
	b = fmt.Appendf(b, "c!END,%d,0,0,0,0,0,0,0,0\n}\n", len(traces))
	if err := os.WriteFile(filepath.Join(dir, "traces.pml"), b, 0o600); err != nil {
		return err
	}
	c := exec.Command(spin, "-T", "traces.pml")
	c.Dir = dir
	out, err := c.CombinedOutput()
	// Of a run that came to its end spin says nothing but how many processes there were.
	if text := string(out); err != nil || !strings.Contains(text, fmt.Sprintf("followed %d traces", len(traces))) || strings.Contains(text, "assertion") {
		return fmt.Errorf("the model refuses: %.1500s", refusal(text))
	}
	return nil
}

// refusal is what spin says up to the values of all variables.
func refusal(text string) string {
	if i := strings.Index(text, "#processes"); i > 0 {
		return text[:i]
	}
	return text
}
