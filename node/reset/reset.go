// Package reset carries a question from whoever owns a node's directory to that node.
//
// A cluster whose administrators have all lost what they had takes orders from nobody. Whoever owns the disk of a
// voter of the meta group can read the key that wraps those of its roots there, and with that could make any
// certificate; by a file it asks for one in an orderly way. This package knows the two files and who may have
// written them, and decides nothing else: what the node does about a request is told in node/resets.go, and the
// command is in node/cmd/auth_reset.go.
//
// # Files
//
// They are in the folder tls of the data directory, JSON in one line each, [FileMax] bytes at most:
//
//	reset.request    {"version":1,"id":…,"user":…,"request":…}: an id of 32 hexadecimal digits, the user's name,
//	                 and a certificate request (PKCS #10), in base64. Its key stays with the command
//	reset.answer     {"version":1,"id":…,"user":…,"role":…,"certificate":…,"roots":[…]}, or with "refused"
//	                 instead of the last three
//
// A file gets its name only once it is whole. It counts only if it is a regular file with mode 0600 that belongs to the
// owner of the folder, no symbolic link, and younger than [AgeMax]; and if nobody else can look into the folder.
package reset

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"muster/repl/wire"
)

const (
	// FileMax bounds the files, in bytes: an answer with as many roots as a cluster may have takes half of it.
	FileMax = 64 << 10
	// AgeMax is how old a file may be: one that was forgotten must not make an administrator in a year.
	AgeMax = 10 * time.Minute
	// aheadMax is how far a file may be ahead of the clock, which may have been set.
	aheadMax = time.Minute

	requestName = "reset.request"
	answerName  = "reset.answer"
	// tempPattern names what is being written. A node that starts removes files of the folder that end so.
	tempPattern = "reset-*.new"
	version     = 1
	idBytes     = 16
	others      = fs.FileMode(0o077)
)

// ErrWaits is wrapped by the error about a request where there is one already.
var ErrWaits = errors.New("another reset is under way")

// Request asks for a user that may do everything.
type Request struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	User    string `json:"user"`    // as access.CheckName wants it, which is for the reader to see to
	Request []byte `json:"request"` // PKCS #10
}

// Answer answers the request of its ID.
type Answer struct {
	Version     int      `json:"version"`
	ID          string   `json:"id"`
	User        string   `json:"user"`
	Role        string   `json:"role,omitempty"`
	Certificate []byte   `json:"certificate,omitempty"` // DER
	Roots       [][]byte `json:"roots,omitempty"`       // DER
	Refused     *Refusal `json:"refused,omitempty"`
}

// Refusal says why nothing was done.
type Refusal struct {
	Code   wire.Code `json:"code"`
	Object string    `json:"object"`
	Text   string    `json:"text"`
	State  string    `json:"state"`
	Next   string    `json:"next"`
}

// Error is the refusal as an error.
func (r *Refusal) Error() *wire.Error {
	return &wire.Error{Code: r.Code, Object: r.Object, Text: r.Text, State: r.State, Next: r.Next}
}

// RefusalOf is an error as a refusal.
func RefusalOf(e *wire.Error) *Refusal { return &Refusal{e.Code, e.Object, e.Text, e.State, e.Next} }

// Dir is the folder of one node.
type Dir struct {
	path string
	now  func() time.Time
}

// In returns the folder at a path. now shows by which clock files are old.
func In(path string, now func() time.Time) Dir { return Dir{path, now} }

// Ask puts a request into the folder, which must belong to the user of this process, and returns its id. It fails
// with [ErrWaits] where there is one that may be answered yet.
func (d Dir) Ask(user string, request []byte) (id string, err error) {
	owner, err := d.owner()
	if err != nil {
		return "", err
	}
	if self := os.Geteuid(); self != owner {
		return "", fmt.Errorf("%s belongs to the user with id %d, and this is the one with id %d: run it as that user: sudo -u '#%d' muster auth reset …", d.path, owner, self, owner)
	}
	var random [idBytes]byte
	rand.Read(random[:]) // never fails (crypto/rand)
	q := Request{Version: version, ID: hex.EncodeToString(random[:]), User: user, Request: request}
	// A file that is too old to be answered is no request any more. It may be anything, so it is not read.
	if info, err := os.Lstat(d.file(requestName)); err == nil && d.aged(info.ModTime()) != "" {
		if err := d.remove(requestName); err != nil {
			return "", err
		}
	}
	return q.ID, d.put(requestName, &q, os.Link)
}

// Asked returns the request in the folder; an error that wraps [fs.ErrNotExist] where there is none.
func (d Dir) Asked() (*Request, error) {
	q := new(Request)
	if err := d.read(requestName, q); err != nil {
		return nil, err
	}
	if b, err := hex.DecodeString(q.ID); err != nil || len(b) != idBytes {
		return nil, fmt.Errorf("%s: id %.40q; want %d hexadecimal digits", d.file(requestName), q.ID, 2*idBytes)
	}
	if len(q.Request) == 0 || len(q.Request) > wire.RequestMax {
		return nil, fmt.Errorf("%s: a certificate request of %d bytes; want 1 to %d", d.file(requestName), len(q.Request), wire.RequestMax)
	}
	return q, nil
}

// Drop removes the request, whatever it is.
func (d Dir) Drop() error { return d.remove(requestName) }

// Reply puts an answer into the folder, instead of one that is there.
func (d Dir) Reply(a *Answer) error {
	a.Version = version
	return d.put(answerName, a, os.Rename)
}

// Answered returns the answer to a request; an error that wraps [fs.ErrNotExist] where there is none yet.
func (d Dir) Answered(id string) (*Answer, error) {
	a := new(Answer)
	if err := d.read(answerName, a); err != nil {
		return nil, err
	}
	if a.ID != id {
		return nil, fmt.Errorf("%s answers another request: %w", d.file(answerName), fs.ErrNotExist)
	}
	return a, nil
}

// Close removes what the request of an id has left: itself, and its answer.
func (d Dir) Close(id string) error {
	var errs []error
	if q, err := d.Asked(); err == nil && q.ID == id {
		errs = append(errs, d.remove(requestName))
	}
	if _, err := d.Answered(id); err == nil {
		errs = append(errs, d.remove(answerName))
	}
	return errors.Join(errs...)
}

func (d Dir) file(name string) string { return filepath.Join(d.path, name) }

func (d Dir) remove(name string) error {
	err := os.Remove(d.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// bugForeign is planted to show that its test finds it: nobody looks whose file it is, or who can write to it.
const bugForeign = "reset by anybody's file"

// owner returns to whom the folder belongs. It is refused if others can look into it: they could do more than ask.
func (d Dir) owner() (int, error) {
	info, err := os.Lstat(d.path)
	if err != nil {
		return 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return 0, fmt.Errorf("%s is no directory", d.path)
	case info.Mode()&others != 0 && !bug(bugForeign):
		return 0, fmt.Errorf("others can look into %s (mode %04o): chmod 700 %s", d.path, info.Mode().Perm(), d.path)
	case !ok:
		return 0, fmt.Errorf("this system does not say to whom %s belongs", d.path)
	}
	return int(stat.Uid), nil
}

// aged says why a file of a time does not count any more, or not yet; empty: it does.
func (d Dir) aged(at time.Time) string {
	switch age := d.now().Sub(at); {
	case age > AgeMax:
		return fmt.Sprintf("it is %s old; want %s at most: give muster auth reset again", age.Round(time.Second), AgeMax)
	case age < -aheadMax:
		return fmt.Sprintf("it is from %s, which is to come: compare the clock", at.UTC().Format(time.RFC3339))
	}
	return ""
}

// read reads a file of the folder that its owner has written.
func (d Dir) read(name string, v any) error {
	name = d.file(name)
	// Neither through a link, which may lead to anything, nor waiting at a pipe for a writer.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return fmt.Errorf("%s is a symbolic link; want the file itself", name)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	// Of the file that was opened, not of the one that has the name a moment later.
	info, err := f.Stat()
	if err != nil {
		return err
	}
	owner, err := d.owner()
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch aged := d.aged(info.ModTime()); {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file", name)
	case (!ok || int(stat.Uid) != owner) && !bug(bugForeign):
		return fmt.Errorf("%s belongs to another user than %s", name, d.path)
	case info.Mode().Perm() != 0o600 && !bug(bugForeign):
		return fmt.Errorf("%s has mode %04o; want 0600", name, info.Mode().Perm())
	case aged != "":
		return fmt.Errorf("%s: %s", name, aged)
	}
	b, err := io.ReadAll(io.LimitReader(f, FileMax+1))
	if err != nil {
		return err
	}
	if len(b) > FileMax {
		return fmt.Errorf("%s has more than %d bytes", name, FileMax)
	}
	form := json.NewDecoder(bytes.NewReader(b))
	form.DisallowUnknownFields()
	if err := form.Decode(v); err != nil || form.More() {
		return fmt.Errorf("%s is not what muster auth reset writes", name)
	}
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &head); err != nil || head.Version != version {
		return fmt.Errorf("%s has version %d; want %d: use the release of muster that the node runs", name, head.Version, version)
	}
	return nil
}

// put writes a file whole, and gives it its name by place.
func (d Dir) put(name string, v any, place func(from, to string) error) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(d.path, tempPattern) // 0600, and nobody's but this user's
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(b, '\n'))
	if owner, oerr := d.owner(); err == nil && oerr == nil && owner != os.Geteuid() {
		err = f.Chown(owner, -1) // a node that runs as root, in a directory of somebody else
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = place(f.Name(), d.file(name))
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %s is there; wait until the node has taken it, or remove it", ErrWaits, d.file(name))
	}
	return err
}
