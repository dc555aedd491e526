//go:build !plantedbugs

package node

import (
	"crypto/ecdsa"

	"muster/repl/trust"
)

// bug reports whether the bug of that name is planted. It never is, unless the
// build tag plantedbugs is set, and the compiler leaves out what it guards.
func bug(string) bool { return false }

// spoiling begins to spoil states on request of a test; here none is.
func spoiling(*Node) {}

// readWish and wishedHost serve a planted bug.
func readWish(request []byte) (*ecdsa.PublicKey, error) { return trust.ReadRequest(request) }

func wishedHost(*ecdsa.PublicKey) trust.Host { return "" }
