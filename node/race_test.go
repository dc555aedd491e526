//go:build race

package node

// testsAtOnce is no more than the processors of a small machine: with the detector these tests compute more than they
// wait.
const testsAtOnce = 2
