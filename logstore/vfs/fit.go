package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// Secrecy is what others may do with a file or a directory.
type Secrecy uint8

const (
	// Private: nothing. Whoever reads the file could be who it proves.
	Private Secrecy = iota + 1
	// Public: they may read it. Whoever can change it decides what its reader believes.
	Public
)

// Links is whether a name may be a symbolic link.
type Links uint8

const (
	// NoLinks: in a directory of muster's own nobody makes any.
	NoLinks Links = iota + 1
	// FollowLinks: a person has named the file, and systems that hand out secrets do it by links.
	FollowLinks
)

// rootUser owns files that no other user can change.
const rootUser = 0

const (
	othersWrite fs.FileMode = 0o022
	othersAny   fs.FileMode = 0o077
)

// UnfitError is why a file is not gone by: others may have written it, or can read what is in it.
type UnfitError struct {
	Name    string
	Found   string // what is wrong with it
	Command string // what mends it, for a shell; empty: nothing that can be told
}

func (e *UnfitError) Error() string {
	s := e.Name + ": " + e.Found
	if e.Command != "" {
		s += "; run: " + e.Command
	}
	return s
}

// fileBits are those of a mode that chmod sets for a fit file.
func fileBits(mode fs.FileMode, s Secrecy) string {
	switch {
	case mode.IsDir() && s == Private:
		return "700"
	case mode.IsDir():
		return "go-w"
	case s == Private:
		return "600"
	}
	return "go-w"
}

// Unfit returns why a file or a directory with this mode and owner is none that the user self may go by, as
// an [UnfitError], or nil: it must be a regular file or a directory, be self's or root's, and let others do no
// more than s allows. want is the type that it must have: 0, or [fs.ModeDir].
func Unfit(name string, mode fs.FileMode, owner, self int, want fs.FileMode, s Secrecy) error {
	if got := mode.Type(); got != want {
		kind := "a device or a socket"
		switch got {
		case 0:
			kind = "a file"
		case fs.ModeDir:
			kind = "a directory"
		case fs.ModeNamedPipe:
			kind = "a pipe"
		case fs.ModeSymlink:
			kind = "a symbolic link"
		}
		wanted := "a regular file"
		if want == fs.ModeDir {
			wanted = "a directory"
		}
		return &UnfitError{Name: name, Found: fmt.Sprintf("it is %s; want %s", kind, wanted)}
	}
	if owner != self && owner != rootUser {
		return &UnfitError{name, fmt.Sprintf("user %d owns it, and can change it", owner), fmt.Sprintf("chown %d %s", self, ShellWord(name))}
	}
	others, does := othersAny, "use"
	if s == Public {
		others, does = othersWrite, "change"
	}
	if mode.Perm()&others != 0 {
		return &UnfitError{name, fmt.Sprintf("others than its owner can %s it (mode %04o)", does, mode.Perm()), fmt.Sprintf("chmod %s %s", fileBits(mode, s), ShellWord(name))}
	}
	return nil
}

// OpenFit opens a file for reading that this process may go by, or returns why it may not: an [UnfitError], or
// what the system says. It never waits, as it would for whoever writes to a pipe, and looks at the file that it has
// opened, not at the one that has the name a moment later.
func OpenFit(name string, s Secrecy, l Links) (*os.File, error) {
	flags := os.O_RDONLY | syscall.O_NONBLOCK
	if l == NoLinks {
		flags |= syscall.O_NOFOLLOW
	}
	f, err := os.OpenFile(name, flags, 0)
	if errors.Is(err, syscall.ELOOP) && l == NoLinks {
		return nil, Unfit(name, fs.ModeSymlink, rootUser, rootUser, 0, s)
	}
	if err != nil {
		return nil, err
	}
	if err := FitFile(f, s); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// FitFile returns why an open file is none that this process may go by, as an [UnfitError] or what the system says, or
// nil. It is for files of which only what is in them says how secret they are.
func FitFile(f *os.File, s Secrecy) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return Unfit(f.Name(), info.Mode(), ownerOf(info), os.Geteuid(), 0, s)
}

// ReadFit reads a file that this process may go by, as [OpenFit] opens it: most bytes at most.
func ReadFit(name string, s Secrecy, l Links, most int64) ([]byte, error) {
	f, err := OpenFit(name, s, l)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes", name, most)
	}
	return b, nil
}

// FitDir returns why a directory is none in which files may be gone by, as an [UnfitError] or what the system
// says, or nil.
func FitDir(name string, s Secrecy, l Links) error {
	look := os.Lstat
	if l == FollowLinks {
		look = os.Stat
	}
	info, err := look(name)
	if err != nil {
		return err
	}
	return Unfit(name, info.Mode(), ownerOf(info), os.Geteuid(), fs.ModeDir, s)
}

// ownerOf returns the user who owns a file.
func ownerOf(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return os.Geteuid() // the system has no owners
}

// Fit implements [Fitter].
func (OS) Fit(name string, want fs.FileMode, s Secrecy) error {
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	return Unfit(name, info.Mode(), ownerOf(info), os.Geteuid(), want, s)
}

// ShellWord quotes a path so that a shell reads it unchanged.
func ShellWord(path string) string {
	if strings.HasPrefix(path, "-") {
		path = "./" + path
	}
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-/+:@%,", r)
	}
	if path != "" && !strings.ContainsFunc(path, func(r rune) bool { return !plain(r) }) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
