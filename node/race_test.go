//go:build race

package node

// testsAtOnce is no more than the processors of a small machine: with the detector these tests compute more than they
// wait.
const testsAtOnce = 2

// joiningSeeds is a tenth of what runs without the detector, which has nothing to watch: each world is one goroutine.
const joiningSeeds = 300
