package trust

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// TokenPrefix is what each join token begins with: whoever finds one in a file
// can tell what it is, and a later kind of token has another.
const TokenPrefix = "mst1"

// Token is the right to join a cluster, as a person carries it to a host:
//
//	mst1.<SHA-256 of the root, 64 hexadecimal digits>.<id>.<secret, base64url>
//
// The cluster keeps the public half of its key under the id, so that nothing
// there contains the right to join.
type Token struct {
	Root RootID
	ID   uint64 // index of the entry that made it; never 0
	seed [ed25519.SeedSize]byte
}

// NewToken draws the key of a token. Whoever has it made in the cluster by its
// [Token.Public] key then sets Root and ID.
func NewToken(rand io.Reader) (t Token, err error) {
	if _, err := io.ReadFull(rand, t.seed[:]); err != nil {
		return t, fmt.Errorf("draw the key of a token: %w", err)
	}
	return t, nil
}

// Public is the half of the token's key that the cluster keeps.
func (t Token) Public() [ed25519.PublicKeySize]byte {
	return [ed25519.PublicKeySize]byte(t.key().Public().(ed25519.PublicKey))
}

func (t Token) key() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(t.seed[:]) }

// String is the token as a person carries it, with its secret. Package fmt, and
// so any log, shows it without.
func (t Token) String() string {
	return t.public() + base64.RawURLEncoding.EncodeToString(t.seed[:])
}

// public is the token without its secret, up to the last dot.
func (t Token) public() string { return fmt.Sprintf("%s.%s.%d.", TokenPrefix, t.Root, t.ID) }

// Format shows the token without its secret, whatever the verb.
func (t Token) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, t.public()+"…") }

// ParseToken reads what [Token.String] wrote, and names the part that is wrong,
// without showing a secret.
func ParseToken(text string) (t Token, err error) {
	const form = TokenPrefix + ".<root>.<id>.<secret>, all on one line"
	parts := strings.Split(text, ".")
	switch {
	case text == "":
		return t, &Error{Field: "token", Found: "nothing", Want: form}
	case parts[0] != TokenPrefix: // what stands there may be a secret of another kind
		return t, &Error{Field: "token's beginning", Found: "something else", Want: form}
	case len(parts) != 4:
		return t, &Error{Field: "token", Found: plural(len(parts), "part"), Want: "4: " + form}
	}
	root, err := ParseRootID(parts[1])
	if err != nil {
		return t, &Error{Field: "token's root", Found: plural(len(parts[1]), "character"), Want: "64 hexadecimal digits, lower case"}
	}
	id, err := strconv.ParseUint(parts[2], 10, 64)
	if err != nil || id == 0 || strconv.FormatUint(id, 10) != parts[2] {
		return t, &Error{Field: "token's id", Found: shown(parts[2]), Want: "a number from 1, without zeros before it"}
	}
	seed, err := base64.RawURLEncoding.Strict().DecodeString(parts[3])
	want := base64.RawURLEncoding.EncodedLen(len(t.seed))
	if err != nil || len(parts[3]) != want || len(seed) != len(t.seed) {
		return t, &Error{Field: "token's secret", Found: plural(len(parts[3]), "character"), Want: fmt.Sprintf("%d of base64url, unchanged", want)}
	}
	return Token{Root: root, ID: id, seed: [ed25519.SeedSize]byte(seed)}, nil
}

// tokenLabel begins what a token's key signs, so that its signature can't be
// meant for anything else.
const tokenLabel = "muster token mst1 use\x00"

// use is what is signed: that on this connection a certificate is asked for by
// this request. Its parts can't run into each other: the first two have one
// length each.
func use(exporter, csr []byte) ([]byte, error) {
	if len(exporter) != ExporterSize {
		return nil, &Error{Field: "exporter", Found: plural(len(exporter), "byte"), Want: strconv.Itoa(ExporterSize)}
	}
	b := append(make([]byte, 0, len(tokenLabel)+len(exporter)+len(csr)), tokenLabel...)
	if !bug("token signature without exporter") {
		b = append(b, exporter...)
	}
	return append(b, csr...), nil
}

// Sign signs the use of the token for the request csr on the connection with that
// exporter.
func (t Token) Sign(exporter, csr []byte) ([]byte, error) {
	b, err := use(exporter, csr)
	if err != nil {
		return nil, err
	}
	return ed25519.Sign(t.key(), b), nil
}

// VerifyUse checks what [Token.Sign] signed, by the public half of the token's
// key. A request that came over another connection, or with another's
// signature, is refused.
func VerifyUse(public [ed25519.PublicKeySize]byte, exporter, csr, signature []byte) error {
	b, err := use(exporter, csr)
	if err != nil {
		return err
	}
	if !ed25519.Verify(public[:], b, signature) {
		return &Error{Field: "token's signature", Found: "one that does not fit", Want: "one by the token's key, over this connection and this request"}
	}
	return nil
}
