package puretest

import (
	"fmt"
	"os"
	"slices"
	"testing"
)

// recorder keeps what a test is failed for.
type recorder struct {
	testing.TB
	said []string
}

func (r *recorder) Helper()                   {}
func (r *recorder) Errorf(f string, a ...any) { r.said = append(r.said, fmt.Sprintf(f, a...)) }
func (r *recorder) Fatalf(f string, a ...any) { r.Errorf(f, a...) }

// Each way in for something that nobody has told must be found, and nothing that is listed.
func TestCheck(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"a.go":      "package p\n\nimport (\n\t\"fmt\"\n\t\"os\"\n\t\"time\"\n)\n\nfunc f() {\n\tgo fmt.Print(time.Second, time.Now(), os.Args)\n}\n",
		"a_test.go": "package p\n\nimport \"net\"\n\nvar _ net.Conn\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := &recorder{TB: t}
	Check(r, []string{"fmt"}, map[string][]string{"time": {"Second"}})
	if want := []string{"a.go imports os", "a.go starts a goroutine", "a.go uses time.Now"}; !slices.Equal(r.said, want) {
		t.Errorf("got %q, want %q", r.said, want)
	}
}
