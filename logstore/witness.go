package logstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"strings"

	"muster/logstore/vfs"
	"muster/raft"
)

// A directory that was put back from a copy verifies, and is from an earlier moment.
// The witness shows it: a small file that is made anew at each start, at each clean stop
// and with each new segment. The identity records beforehand which file it is going to
// be (mark, inode, birth). A copy of the directory has another file; and a copy written
// over the directory's own files, which keep their inodes, has an identity that knows an
// older one.
//
// The identity records two: the present witness, and the one that is to take its place.
// A crash leaves one of them. Two things go unnoticed: a copy that is written over the
// files within the life of one witness, and what happens below the file system.
//
//	muster witness 1
//	node 1122334455667788
//	mark 0123456789abcdef
//	checksum 89abcdef
//	reached 00000000000000004711 a3ce929d0e0e4736 89abcdef	see older_log.go
const (
	witnessName     = "witness"
	witnessTemp     = "witness.tmp"
	witnessBytesMax = 1 << 10
)

// Witness is what the identity records of a witness.
type Witness struct {
	Mark  uint64 // random, and in the file; 0: none
	Inode uint64
	Birth int64 // ns since 1970; 0 where the system does not say
}

func (w Witness) String() string { return fmt.Sprintf("%016x %d %d", w.Mark, w.Inode, w.Birth) }

// file returns which file it is.
func (w Witness) file() vfs.FileID { return vfs.FileID{Inode: w.Inode, Birth: w.Birth} }

// DoubtRemedy is what an operator can do about a doubt. None of it destroys
// anything.
const DoubtRemedy = "put back the directory with which the node ran last; where only its file witness was lost, move that back (mv: a copy is another file), " +
	"and where only its log was replaced, move that back, before the node starts without it; " +
	"if none of these is left, start all other nodes: this one comes back when each of them has answered; do not empty the directory"

// IdentityRemedy is what an operator can do about an identity file that is damaged.
const IdentityRemedy = "put back a copy of the file that was made since the node last started; if there is none, " + EmptyRemedy

// EmptyRemedy is what remains if nobody has a copy of a host's log or identity. It
// names the options because a host that finds an empty directory and gets none founds a
// cluster of its own, under the address of a member of this one: clients would be told
// that their keys do not exist.
const EmptyRemedy = "keep the directory under another name, take the node off the list with muster node remove NODE --force, and add the host as a new one: " +
	"muster serve --standby with an empty directory, then muster node add HOST:PORT; without --standby it would found a cluster of its own"

func appendWitness(b []byte, node raft.NodeID, mark uint64) []byte {
	b = fmt.Appendf(b, "muster witness %d\nnode %s\nmark %016x\n", witnessFormats.newest, node, mark)
	return sealText(b)
}

// seen is what was found of a witness.
type seen struct {
	Witness         // without mark if it can't be read
	there   bool    // there is a file
	reached Reached // how far the log had come, if it says so
}

// readWitness looks at the witness of a directory. Its errors are the disk's.
func readWitness(disk vfs.FS, dir string, node raft.NodeID) (seen, error) {
	name := path.Join(dir, witnessName)
	id, err := Insist(func() (vfs.FileID, error) { return disk.FileID(name) })
	if errors.Is(err, fs.ErrNotExist) {
		return seen{}, nil
	}
	if err != nil {
		return seen{}, fmt.Errorf("look at the witness: %w", err)
	}
	w := seen{Witness: Witness{Inode: id.Inode, Birth: id.Birth}, there: true}
	f, err := openFile(disk, name)
	if err != nil {
		return seen{}, fmt.Errorf("read the witness: %w", err)
	}
	defer f.Close()
	b := make([]byte, witnessBytesMax)
	n, err := ReadAt(f, b, 0)
	if err != nil && err != io.EOF {
		return seen{}, fmt.Errorf("read the witness: %w", err)
	}
	var mark uint64
	if _, value, ok := strings.Cut(string(b[:n]), "\nmark "); ok {
		fmt.Sscanf(value, "%x", &mark) // compared below, whatever it read
	}
	if text := appendWitness(nil, node, mark); bytes.HasPrefix(b[:n], text) {
		w.Mark, w.reached = mark, parseReached(b[len(text):n])
	}
	return w, nil
}

// StatWitness returns a directory's witness, without mark if it can't be read as that of
// the node, and how far it says that the log had come; false if there is none. It changes
// nothing.
func StatWitness(disk vfs.FS, dir string, node raft.NodeID) (Witness, Reached, bool, error) {
	w, err := readWitness(disk, dir, node)
	return w.Witness, w.reached, w.there, err
}

// isOne reports whether it is one of those that were recorded. For a file that can't be
// read, inode and birth are enough if the system gives both: it has rotted, and no copy
// has them.
func (w *seen) isOne(noted ...Witness) bool {
	for _, n := range noted {
		if w.there && n.Mark != 0 && n.file() == w.file() && (n.Mark == w.Mark || w.Mark == 0 && w.Birth != 0) {
			return true
		}
	}
	return false
}

// CheckWitness returns why a directory, or the log in it, may be from an earlier moment,
// as far as its witness and its identity show; empty if they show nothing. It changes
// nothing. Its errors are the disk's.
func CheckWitness(disk vfs.FS, dir string, id *Identity) (string, error) {
	w, err := readWitness(disk, dir, id.Node)
	if err != nil {
		return "", err
	}
	if why := w.doubt(path.Join(dir, witnessName), id); why != "" {
		return why, nil
	}
	numbers, err := segmentNumbers(disk, path.Join(dir, LogDir), slog.New(slog.DiscardHandler))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(numbers) == 0 {
		return "", nil // if there was a log, that is damage, not an earlier moment
	}
	if err != nil {
		return "", err
	}
	_, end, err := findTail(disk, path.Join(dir, LogDir), numbers)
	if err != nil {
		return "", err
	}
	d, err := olderLog(disk, dir, id, &w, Batch(end))
	return d.Why, err
}

func (w *seen) doubt(name string, id *Identity) string {
	const why = "the directory may be from an earlier moment"
	switch {
	case w.isOne(id.Witness, id.NextWitness), bug("older life accepted"):
		return ""
	case !w.there && id.Witness.Mark == 0:
		return "" // there never was one
	case !w.there:
		return fmt.Sprintf("%s is missing: %s", name, why)
	case id.Witness.Mark == 0 && id.NextWitness.Mark == 0:
		return fmt.Sprintf("%s is there, and the identity knows of none: the identity may be from an earlier moment", name)
	case w.Mark == 0:
		return fmt.Sprintf("%s can't be read, and is not the file that the identity knows: %s", name, why)
	case w.Mark == id.Witness.Mark, w.Mark == id.NextWitness.Mark:
		return fmt.Sprintf("%s is a copy of the one that the identity knows: the directory was copied, and may be from an earlier moment", name)
	}
	return fmt.Sprintf("%s is not the one that the identity knows, of life %d: one of the two is from an earlier moment", name, id.Life().Number)
}

// judge compares the witness and the log with what the identity knows of them, and
// sets or lifts the doubt that comes from them.
func (h *home) judge(next *Identity) error {
	w, err := readWitness(h.disk, h.dir, next.Node)
	if err != nil {
		return err
	}
	h.present = Witness{}
	if w.Mark != 0 {
		h.present = w.Witness
	}
	if !next.Doubt.None() && w.isOne(next.Missed...) {
		h.log.Info("the witness is back: this is the newest life", "was", next.Doubt.Why)
		next.Doubt, next.Missed = Doubt{}, nil
	} else if why := w.doubt(path.Join(h.dir, witnessName), next); why != "" {
		if !next.Doubt.None() {
			return nil // the first doubt stays: only the witness that it missed lifts it
		}
		next.Doubt, next.Missed = Doubt{Why: why}, nil
		for _, n := range [...]Witness{next.Witness, next.NextWitness} {
			if n.Mark != 0 {
				next.Missed = append(next.Missed, n)
			}
		}
		return nil
	}
	return h.judgeLog(next, &w)
}

// judgeLog sets the doubt that comes from a log beside the newest identity and witness.
// If the log itself knows that promises are lost, there is nothing left to doubt.
func (h *home) judgeLog(next *Identity, w *seen) error {
	if h.index.unknown.size > 0 {
		return nil
	}
	d, err := olderLog(h.disk, h.dir, next, w, h.found)
	if err != nil || d.None() {
		return err
	}
	next.Missed = nil // a witness that comes back does not bring the log with it
	if next.Doubt.None() || d.Proven && !next.Doubt.Proven {
		next.Doubt = d
	}
	return nil
}

// turn replaces the identity and the witness: first it makes the file under another
// name, then it records in the identity which file that is, then it gives the file its
// name. So after a crash the identity knows whichever of the two is there. If there is
// no room, or the disk refuses to identify the file, the witness stays. It is called
// with mu held.
func (h *home) turn(next Identity) error {
	h.turns++
	mark := max(1, mixed(mixed(next.Life().Mark)+h.turns))
	reached := Reached{h.promised, next.Life().Mark}
	text := appendWitness(nil, next.Node, mark)
	var made Witness
	err := h.headroom.forIdentity(func() (err error) {
		made, err = h.makeWitness(mark, reached.append(text))
		return err
	})
	if errors.Is(err, ErrFull) || errors.Is(err, ErrRefused) {
		return h.write(next)
	}
	if err != nil {
		h.halt.because(err)
		return fmt.Errorf("make the witness: %w", err)
	}
	// Both are recorded: a crash before the file gets its name leaves the present one.
	next.Witness, next.NextWitness = h.present, made
	if err := h.write(next); err != nil {
		return err
	}
	if err := h.name(); err != nil {
		h.halt.because(err)
		return fmt.Errorf("make the witness: %w", err)
	}
	if h.file != nil {
		h.file.Close() // nothing relies on what was written to it
	}
	h.present, h.file, h.lineAt, h.reached = made, nil, int64(len(text)), reached
	file, err := openFile(h.disk, path.Join(h.dir, witnessName))
	if errors.Is(err, ErrRefused) {
		return nil // the witness stays as it is now
	}
	if err != nil {
		h.halt.because(err)
		return fmt.Errorf("open the witness: %w", err)
	}
	h.file = file
	return nil
}

// makeWitness makes the file that is to become the witness.
func (h *home) makeWitness(mark uint64, text []byte) (Witness, error) {
	disk, temp := h.disk, path.Join(h.dir, witnessTemp)
	f, err := disk.Create(temp)
	if err != nil {
		return Witness{}, err
	}
	if _, err = f.WriteAt(text, 0); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return Witness{}, err
	}
	id, err := Insist(func() (vfs.FileID, error) { return disk.FileID(temp) })
	return Witness{mark, id.Inode, id.Birth}, err
}

// name gives the new witness its name.
func (h *home) name() error {
	err := h.disk.Rename(path.Join(h.dir, witnessTemp), path.Join(h.dir, witnessName))
	if err == nil {
		err = h.disk.SyncDir(h.dir)
	}
	if errors.Is(err, ErrFull) {
		err = errors.New(err.Error()) // it is unknown what is on disk: this is final
	}
	return err
}

// renew makes the witness anew, if a life has begun. A new segment is the occasion:
// copies that were made before it are recognised from then on. A full disk has no room
// for this.
func (h *home) renew() error {
	if !h.live.Load() || h.room.lack || h.gauge.ask(2*identityRoom) != nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	next := h.id
	if err := h.noteFiles(&next); err != nil {
		return err
	}
	if err := h.turn(next); err != nil && !errors.Is(err, ErrFull) {
		return err
	}
	return nil
}
