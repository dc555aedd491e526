package shardmap

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"muster/shardmap/registry"
)

// serviceExample is the service that the pages show: a database whose checks found one change.
func serviceExample() *registry.Service {
	s := &registry.Service{Name: "db", Type: registry.TypeRedis, Instances: []registry.Instance{
		{Settings: []registry.Setting{{Key: "host", Value: "10.0.0.7"}, {Key: "port", Value: "6379"}, {Key: "pass", Value: "hush"}}},
	}}
	s.Complete()
	return s
}

// The pages show bodies of commands about services, and the record that they make, as the code
// writes them.
func TestServiceInDocuments(t *testing.T) {
	slot := SlotOf([]byte("db"))
	set := ServiceSetCommand("db", serviceExample().Append(nil))
	down := ReportCommand(slot, &Report{Name: "db", Rows: []ReportRow{{Instance: "10.0.0.7:6379", Check: 3, Status: registry.Down, Reason: "refused", At: 1764385200000, Op: ReportStatus}}})
	m := owning([]Slot{slot})
	apply(t, m, 3, 0, &set)
	apply(t, m, 4, 5e9, &down)
	value, _, _ := m.Service([]byte("db"))
	// What the page says of a service without its secrets.
	secrets := bytes.LastIndex(value, []byte{0x91, 0x93, 0x01})
	if public, err := registry.Public(value); err != nil || !bytes.Equal(public, append(bytes.Clone(value[:secrets]), 0x90)) {
		t.Errorf("without secrets the service is % x, %v", public, err)
	}
	maintain := ServiceMaintainCommand("db", "10.0.0.7:6379", true)
	for page, all := range map[string][][]byte{
		"../docs/protocol.md": {set.Items[0], maintain.Items[0], down.Items[0]},
		"../docs/storage.md":  {value},
	} {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(string(b)), " ")
		for _, example := range all {
			if want := fmt.Sprintf("% x", example); !strings.Contains(text, want) {
				t.Errorf("%s does not show %s", page, want)
			}
		}
	}
}
