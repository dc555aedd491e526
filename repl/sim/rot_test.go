package sim

import "testing"

// A place to hit is found on any disk, also on one with a segment that a power
// cut left without a byte: there is nothing in it to hit.
func TestPlaceOnDiskWithEmptySegment(t *testing.T) {
	c := &cluster{options: Options{Groups: 1, Nodes: 3}, chance: 1}
	c.chaos.c = c
	defer c.close()
	c.found()
	n, empty := c.nodes[0], dataDir+"/log/0000000000000009.log"
	if f, err := n.files.mem.Create(empty); err != nil {
		t.Fatal(err)
	} else if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	found := 0
	for range 200 {
		name, at, ok := c.chaos.drawPlace(n, BitFlip)
		switch {
		case !ok: // there is no snapshot yet
		case name == empty || at >= int64(len(n.files.mem.Bytes(name))):
			t.Fatalf("%s is to be hit at %d, it has %d bytes", name, at, len(n.files.mem.Bytes(name)))
		default:
			found++
		}
	}
	if found == 0 {
		t.Error("no place is found")
	}
}
