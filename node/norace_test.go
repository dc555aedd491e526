//go:build !race

package node

// testsAtOnce may be more than the processors: these tests wait more than they compute.
const testsAtOnce = 4
