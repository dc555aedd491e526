package login

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"

	"muster/shardmap"
)

// Rounds is how often a new password is hashed: as often as OWASP's cheat sheet wants for PBKDF2 with SHA-256 (2023).
// It takes about a quarter of a second of a processor.
const Rounds = 600_000

// bugRoundsTell is planted to show that its test finds it: a password of more or fewer rounds than others takes a time
// of its own.
const bugRoundsTell = "rounds tell who is a user"

// RoundsOf is how many rounds each login takes in a cluster: those of the user with most, and no fewer than least, which
// a new password has.
func RoundsOf(users []shardmap.User, least int) int {
	most := uint32(least)
	for i := range users {
		most = max(most, users[i].Password.Rounds)
	}
	return int(most)
}

// Fits reports whether a password is the one that was hashed. It takes as many rounds, which it returns,
// where there is none, and where that one has fewer: the time tells nobody who is a user, or since when.
func Fits(p *shardmap.PasswordHash, password []byte, rounds int) (fits bool, took int) {
	has := *p
	if has.None() {
		has.Rounds = uint32(rounds)
	}
	got := hash(password, has.Salt[:], int(has.Rounds))
	took = int(has.Rounds)
	if rest := rounds - took; rest > 0 && !bug(bugRoundsTell) {
		hash(password, has.Salt[:], rest)
		took += rest
	}
	return subtle.ConstantTimeCompare(got, has.Hash[:]) == 1 && !p.None(), took
}

// Hash returns what the table keeps of a password that is hashed in so many rounds: whoever makes a user hashes it, so
// that it never leaves the process that knows it. chance gives the salt.
func Hash(chance io.Reader, password []byte, rounds int) (p shardmap.PasswordHash, err error) {
	if _, err := io.ReadFull(chance, p.Salt[:]); err != nil {
		return p, fmt.Errorf("draw a salt: %w", err)
	}
	p.Rounds = uint32(rounds)
	copy(p.Hash[:], hash(password, p.Salt[:], rounds))
	return p, nil
}

func hash(password, salt []byte, rounds int) []byte {
	key, err := pbkdf2.Key(sha256.New, string(password), salt, rounds, sha256.Size)
	if err != nil {
		panic(fmt.Sprintf("PBKDF2 with %d rounds: %v", rounds, err)) // only a mode of the library refuses, which is not built
	}
	return key
}
