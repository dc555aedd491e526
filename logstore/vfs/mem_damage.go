package vfs

import "fmt"

// misdirectedBy is how far from its place a misdirected write lands, in bytes.
const misdirectedBy = 8 * SectorSize

// Damage does to a file, durably and behind the back of whoever has it open,
// what a rotting disk does: off is in the sector, or page, that is hit, and for
// [Truncated] it is where the file ends. It reports whether the file is another
// than before: zeros over zeros are no damage.
func (m *Mem) Damage(name string, off int64, fault Fault) (bool, error) {
	return false, fmt.Errorf("damage %s: %s: not yet", name, fault)
}
