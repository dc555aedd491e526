//go:build !race

package node

// testsAtOnce may exceed the number of processors, because these tests spend most of their time waiting.
const testsAtOnce = 4

// joiningSeeds is how many worlds a host joins in.
const joiningSeeds = 3000
