//go:build plantedbugs

package rescue

import (
	"fmt"
	"testing"
)

// Each bug shows in the test that is there for it, and nothing shows without it.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for bug, find := range map[string]func(testing.TB){
		"shorter log chosen":         newestLogIsChosen,
		"voter in doubt counted":     doubtMakesNoMajority,
		"notes not compared":         notesAreCompared,
		"log not begun further on":   oneSurvivor,
		"identity before the logs":   func(t testing.TB) { crashAtEveryOperation(t) },
		"old log goes first":         func(t testing.TB) { crashAtEveryOperation(t) },
		"all survivors vote at once": newestLogIsChosen,

		"a lost seal beats a takeover":         slotsThatMoved,
		"served before the target has decided": slotsThatMoved,
		"a lost takeover stays recorded":       slotsThatMoved,
	} {
		SetBug(bug)
		f := &finder{TB: t}
		f.run(func() { find(f) })
		if f.what == "" {
			t.Errorf("%s: not found", bug)
		}
		t.Logf("%s: %.200s", bug, f.what)
	}
}

// finder is a test that notes its first failure, and ends there.
type finder struct {
	testing.TB
	what string
}

type stop struct{}

func (f *finder) run(what func()) {
	defer func() {
		if r := recover(); r != nil && r != (stop{}) {
			panic(r)
		}
	}()
	what()
}

func (f *finder) fail(what string) {
	f.what = what
	panic(stop{})
}

func (f *finder) Helper()                           {}
func (f *finder) Error(args ...any)                 { f.fail(fmt.Sprint(args...)) }
func (f *finder) Errorf(format string, args ...any) { f.fail(fmt.Sprintf(format, args...)) }
func (f *finder) Fatal(args ...any)                 { f.fail(fmt.Sprint(args...)) }
func (f *finder) Fatalf(format string, args ...any) { f.fail(fmt.Sprintf(format, args...)) }
