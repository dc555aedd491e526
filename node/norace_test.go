//go:build !race

package node

// testsAtOnce may be more than the processors: these tests wait more than they compute.
const testsAtOnce = 4

// joiningSeeds is how many worlds a host joins in.
const joiningSeeds = 3000
