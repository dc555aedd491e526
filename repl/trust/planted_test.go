//go:build plantedbugs

package trust_test

import (
	"fmt"
	"testing"

	"muster/repl/trust"
)

// Each bug shows in the test that is there for it, and nothing shows without it.
func TestPlantedBugs(t *testing.T) {
	defer trust.SetBug("")
	for bug, find := range map[string]func(testing.TB){
		"wrong CA accepted":                        foreignRefused,
		"certificate of another cluster accepted":  otherClusterRefused,
		"user certificate taken for a node":        userIsNoNode,
		"expired certificate accepted":             timeOfCertificates,
		"denied serial accepted":                   deniedRefused,
		"token signature without exporter":         tokenRelay,
		"TLS 1.2 accepted":                         handshakeRefused,
		"former certificate not shown":             formerShown,
		"another company's CA accepted":            ownVerified,
		"company's certificate taken for any host": ownVerified,
	} {
		for _, planted := range []string{"", bug} {
			trust.SetBug(planted)
			f := &finder{TB: t}
			f.run(func() { find(f) })
			if (f.what != "") != (planted != "") {
				t.Errorf("%s: with %q planted, the test finds %q", bug, planted, f.what)
			}
			if planted != "" {
				t.Logf("%s: %.200s", bug, f.what)
			}
		}
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
