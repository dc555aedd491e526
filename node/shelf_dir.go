package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"muster/logstore/vfs"
	"muster/raft"
)

// shelfTrialStalls is for how many times as long as a stalled disk takes a start waits for the directory of backups, which
// may be on a slow mount.
const shelfTrialStalls = 5

// dirShownMax is how much of the name of a directory an error of a job shows, in bytes: the table keeps
// [shardmap.TableTextMax] of the error, and what to do stands at its end.
const dirShownMax = 60

// unusableError is the error of a directory of backups that a person has to see to. It is the same a moment later.
type unusableError struct {
	dir, node string
	err       error
}

func (e *unusableError) Error() string {
	dir, why, next := e.dir, e.err.Error(), "see to it there, or name another directory with serve --backup-dir"
	if len(dir) > dirShownMax {
		dir = "…" + strings.ToValidUTF8(dir[len(dir)-dirShownMax:], "")
	}
	// The operation and the file in it tell no more than the directory does.
	if errno := syscall.Errno(0); errors.As(e.err, &errno) {
		why = errno.Error()
	}
	if errors.Is(e.err, vfs.ErrFull) {
		why, next = vfs.ErrFull.Error(), "make room there, or name another directory with serve --backup-dir"
	}
	return fmt.Sprintf("backups in %s on %s: %s; %s", dir, e.node, why, next)
}

func (e *unusableError) Unwrap() error { return e.err }

// unusable returns err, of an operation in the directory, as an [unusableError] if it is of a kind that lasts. An
// operation that fails for want of memory or descriptors, or for an error of the disk or of the network below it, may be
// done a moment later.
func (s *shelf) unusable(err error) error {
	for _, lasts := range [...]error{
		vfs.ErrFull, fs.ErrPermission, fs.ErrNotExist,
		syscall.EROFS, syscall.ENOTDIR, syscall.EISDIR, syscall.ENAMETOOLONG, syscall.ELOOP, syscall.EINVAL,
	} {
		if errors.Is(err, lasts) {
			return &unusableError{s.dir, s.node, err}
		}
	}
	return err
}

// backupsIn is the directory of backups of a node that was given none.
func backupsIn(data string) string { return path.Join(data, "backups") }

// init prepares the shelf of a node, and makes no directory. The directory's name is absolute, because people read it on
// other hosts.
func (s *shelf) init(n *Node) {
	s.fs, s.dir, s.node, s.own, s.ctx, s.ended = n.fs.FS, n.cfg.BackupDir, n.name, func() raft.NodeID { return n.self().Node }, n.ctx, &n.ended
	if s.dir == "" {
		s.dir = backupsIn(n.cfg.Data)
	}
	if abs, err := filepath.Abs(s.dir); err == nil {
		s.dir = abs
	}
}

// begin makes the directory that --backup-dir names, and leaves no file in it. It returns why this node can't write backups
// there, if a person has to see to that: a person sees the error of a start at once, and nobody sees that of a backup in
// the night. Faults of a directory that was good before end no start, because the node is needed without its backups: a
// full disk, a mount that the system has made read-only, one whose server is down and which may hang for hours.
func (s *shelf) begin(ctx context.Context, n *Node) error {
	if n.cfg.BackupDir == "" {
		return nil // it is on the disk of the data, and made with the first backup
	}
	tried := make(chan error, 1) // from the goroutine below, which ends with its call to the disk
	s.ended.Go(func() { tried <- s.try(n.mark) })
	within := shelfTrialStalls * n.limits.stallAfter
	patience := time.NewTimer(within)
	defer patience.Stop()
	select {
	case err := <-tried:
		unusable := (*unusableError)(nil)
		switch {
		case errors.As(err, &unusable) && !errors.Is(err, vfs.ErrFull) && !errors.Is(err, syscall.EROFS):
			return fmt.Errorf("--backup-dir: %w; name a directory that this node can write to, or leave it out for %s", unusable.err, backupsIn(n.cfg.Data))
		case err != nil:
			n.log.Warn("no backup can be written", "dir", s.dir, "err", err)
		}
	case <-patience.C:
		n.log.Warn("directory of backups does not answer", "dir", s.dir, "waited", within)
	case <-ctx.Done():
	}
	return nil
}

// try makes the directory, and a file in it that it removes. mark is in its name, and keeps it apart from those of
// other nodes and from all that strangers may have put there.
func (s *shelf) try(mark uint64) error {
	if err := s.fs.MkdirAll(s.dir); err != nil {
		return s.unusable(err)
	}
	name := path.Join(s.dir, fmt.Sprintf(".muster-%016x", mark))
	f, err := s.fs.Create(name)
	if err != nil {
		return s.unusable(err)
	}
	return s.unusable(errors.Join(f.Close(), s.fs.Remove(name)))
}
