package shardmap

import "testing"

// A lease is known by its id alone, in every command, answer and list. One would doubt it
// at the edges, where slot and number share one word.
func TestLeaseID(t *testing.T) {
	for _, c := range []struct {
		slot   Slot
		number uint64
		text   string
	}{
		{0, 1, "0.1"},
		{1234, 17, "1234.17"},
		{Slots - 1, leaseNumberMax, "4095.4503599627370495"},
	} {
		id := MakeLeaseID(c.slot, c.number)
		if id.Slot() != c.slot || id.Number() != c.number || id.String() != c.text {
			t.Errorf("%d, %d: slot %d, number %d, %q", c.slot, c.number, id.Slot(), id.Number(), id)
		}
		if got, err := ParseLeaseID(c.text); err != nil || got != id {
			t.Errorf("%q is read as %s, %v", c.text, got, err)
		}
	}
	for _, bad := range []string{"", "1234", "1234.", ".17", "4096.1", "0.0", "-1.1", "1.-1", "1.4503599627370496", "1.2.3", "1.99999999999999999999"} {
		if id, err := ParseLeaseID(bad); err == nil {
			t.Errorf("%q is read as %s", bad, id)
		}
	}
}
