package shardmap

import (
	"fmt"
	"strings"
	"testing"

	"muster/shardmap/registry"
)

// A definition may show long secrets as short masks. What it becomes with them must have room
// for all that checks will ever say: a record above the limit can be read by nobody.
func TestServiceLeavesRoomOnceItsSecretsAreBack(t *testing.T) {
	secret := strings.Repeat("t", registry.SettingValueMax)
	define := func(token string, text int) *registry.Service {
		s := &registry.Service{Name: "n", Type: registry.TypeTTL}
		for i := range 40 {
			s.Instances = append(s.Instances, registry.Instance{ID: fmt.Sprint(i), Settings: []registry.Setting{{Key: "a_token", Value: token}, {Key: "text", Value: strings.Repeat("x", text)}}})
		}
		return s
	}
	read := func(m *Map) *registry.Service {
		t.Helper()
		value, _, _ := m.Service([]byte("n"))
		s, err := registry.Read(value)
		if err != nil {
			t.Fatalf("the record can't be read: %v", err)
		}
		return s
	}
	taken, refused := 0, 0
	for text := 2000; text < 2500; text += 50 {
		m := owning(allSlots())
		index := uint64(0)
		do := func(c Command) Result {
			t.Helper()
			index++
			return apply(t, m, index, 1, &c)
		}
		do(ServiceSetCommand("n", define(secret, 0).Append(nil)))
		masked := ServiceSetCommand("n", define(registry.Mask, text).Append(nil))
		if err := masked.Validate(Limits{ValueMax: ValueMaxDefault, Level: Level}); err != nil {
			t.Fatal(err)
		}
		switch r := do(masked); r.Status {
		case StatusApplied:
			taken++
		case StatusServiceTooLarge:
			refused++
			if s := read(m); len(s.Instances[0].Get("text")) != 0 {
				t.Error("it was refused, and is there")
			}
			continue
		default:
			t.Fatal(r)
		}
		s := read(m)
		if s.Instances[39].Get("a_token") != secret {
			t.Fatal("the secrets are lost")
		}
		report := &Report{Name: "n"}
		for i := range s.Instances {
			report.Rows = append(report.Rows, ReportRow{Instance: s.Instances[i].ID, Check: s.Instances[i].Check, Status: registry.Down,
				Reason: strings.Repeat("r", registry.ReasonMax), At: 1 << 60, Op: ReportStatus})
		}
		do(ReportCommand(SlotOf([]byte("n")), report))
		if s := read(m); s.Instances[39].Status != registry.Down {
			t.Errorf("texts of %d bytes: the report changed nothing", text)
		}
	}
	if taken == 0 || refused == 0 {
		t.Errorf("%d were taken and %d refused; want some of both", taken, refused)
	}
}
