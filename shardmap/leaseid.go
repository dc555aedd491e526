package shardmap

import (
	"fmt"
	"strconv"
	"strings"
)

// LeaseID names a lease for ever: by the slot that it lives in, and a number that the slot
// gives only once, across moves too. 0 is no lease.
type LeaseID uint64

// leaseNumberBits is how many bits of a LeaseID its number has; the slot's stand above.
const leaseNumberBits = 52

// leaseNumberMax is the largest number of a lease.
const leaseNumberMax = 1<<leaseNumberBits - 1

// MakeLeaseID returns the id of the lease of a slot that has a number, 1 to 2^52 - 1.
func MakeLeaseID(s Slot, number uint64) LeaseID {
	return LeaseID(s)<<leaseNumberBits | LeaseID(number&leaseNumberMax)
}

// Slot returns the slot in which the lease and all keys that are attached to it live.
func (id LeaseID) Slot() Slot { return Slot(id >> leaseNumberBits) }

// Number returns the lease's number within its slot.
func (id LeaseID) Number() uint64 { return uint64(id & leaseNumberMax) }

// String returns the id as people see it: "1234.17", slot and number.
func (id LeaseID) String() string { return fmt.Sprintf("%d.%d", id.Slot(), id.Number()) }

// ParseLeaseID reads what [LeaseID.String] wrote.
func ParseLeaseID(s string) (LeaseID, error) {
	slot, number, ok := strings.Cut(s, ".")
	if ok {
		at, err := strconv.ParseUint(slot, 10, 16)
		n, err2 := strconv.ParseUint(number, 10, 64)
		if err == nil && err2 == nil && at < Slots && n > 0 && n <= leaseNumberMax {
			return MakeLeaseID(Slot(at), n), nil
		}
	}
	return 0, fmt.Errorf("lease %q: want SLOT.NUMBER, slot 0 to %d and number 1 to %d, as in 1234.17", s, Slots-1, uint64(leaseNumberMax))
}
