//go:build race

package node

// testsAtOnce is the number of processors of a small machine. With the detector these tests spend more time computing
// than waiting, so running more at once gains nothing.
const testsAtOnce = 2

// joiningSeeds is a tenth of the number without the detector. Each world is one goroutine, so there is no race to find.
const joiningSeeds = 300
