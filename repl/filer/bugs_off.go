//go:build !plantedbugs

package filer

// bug reports whether the bug of that name is planted. It never is, unless the
// build tag plantedbugs is set, and the compiler leaves out what it guards.
func bug(string) bool { return false }
