package trust_test

import (
	"testing"

	"muster/repl/puretest"
)

// Everything here follows from what is given. Chance, a clock or a file would
// come in by an import or by one of the few names of package time and net that
// have them, so both lists are short and each new name is looked at.
func TestPure(t *testing.T) {
	puretest.Check(t, []string{
		"crypto", "crypto/aes", "crypto/cipher", "crypto/ecdsa", "crypto/ed25519", "crypto/elliptic", "crypto/hmac", "crypto/rsa", "crypto/sha256", "crypto/tls", "crypto/x509", "crypto/x509/pkix",
		"encoding/base64", "encoding/binary", "encoding/hex", "encoding/pem", "errors", "fmt", "io", "math/big", "net", "net/netip", "net/url", "slices", "strconv", "strings", "sync/atomic", "time",
		"muster/raft", "muster/shardmap/access",
	}, map[string][]string{"time": {"Time", "Duration", "Hour", "RFC3339"}, "net": {"SplitHostPort"}})
}
