//go:build !plantedbugs

package ui

// spoiled returns a file of the page as it is served. It is changed only if the build tag
// plantedbugs is set.
func spoiled(_ string, plain []byte) []byte { return plain }
