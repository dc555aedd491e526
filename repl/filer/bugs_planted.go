//go:build plantedbugs

package filer

// planted is the bug that is in force, or "".
var planted string

// SetBug plants the bug of that name, or none. It exists only under the build
// tag plantedbugs, where it shows that the tests would find such a bug.
func SetBug(name string) { planted = name }

func bug(name string) bool { return planted == name }
