package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"

	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/backup"
	"muster/repl/errands"
	"muster/repl/wire"
)

// shelfReadBytes is how much of a backup is read at once.
const shelfReadBytes = 1 << 20

// shelf is the directory in which this node keeps the backups that it takes. Other nodes may keep theirs in the same
// one. No other file in it is looked at.
type shelf struct {
	// Set once.
	fs  vfs.FS // not the watched one: a mount that hangs holds up backups alone
	dir string
	// node is the name of this node, for errors, and own its id.
	node string
	own  func() raft.NodeID
	// ctx ends with the node, and ended counts what it waits for.
	ctx   context.Context
	ended *sync.WaitGroup

	mu      sync.Mutex
	writing string                   // guarded by mu: the name of the backup that is under way; empty: none is
	read    map[string]read          // guarded by mu: what was found when files were read last, by name
	reading map[string]chan struct{} // guarded by mu: files that are read just now, by name; closed once that has ended
}

// read is what was found in a file when all of it was read.
type read struct {
	size     int64
	manifest *backup.Manifest // nil: it is damaged
	wrong    string           // how
}

// bugUnread is planted to show that its test finds it: a backup counts though nobody has read it back.
const bugUnread = "backup not verified"

// write writes a backup under its name once it is whole: what fill writes is synced, read back and verified. After an
// error there is no file.
func (s *shelf) write(ctx context.Context, name string, fill func(io.Writer) error) (size int64, m *backup.Manifest, err error) {
	s.mu.Lock()
	if s.writing != "" {
		s.mu.Unlock()
		return 0, nil, wire.Unavailable("backup "+name, s.writing+" is being written")
	}
	s.writing = name
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.writing = ""
		s.mu.Unlock()
	}()
	whole, part := path.Join(s.dir, name), path.Join(s.dir, errands.PartName(name, s.own()))
	defer func() {
		if unusable := (*unusableError)(nil); errors.As(err, &unusable) {
			err = unusable // alone: what to do must fit into the job
		} else if err != nil {
			err = fmt.Errorf("backup to %s: %w", whole, err)
		}
	}()
	if _, ok := errands.FileTime(name); !ok {
		return 0, nil, errors.New("that is no name of a backup")
	}
	if err := s.fs.MkdirAll(s.dir); err != nil {
		return 0, nil, s.unusable(err)
	}
	f, err := s.fs.Create(part)
	if err != nil {
		return 0, nil, s.unusable(err)
	}
	defer func() {
		f.Close()
		if err != nil {
			err = errors.Join(err, s.fs.Remove(part))
		}
	}()
	w := &shelfWriter{ctx: ctx, f: f, failed: s.unusable}
	if err := fill(w); err != nil {
		return 0, nil, err
	}
	if err := f.Sync(); err != nil {
		return 0, nil, s.unusable(err)
	}
	if !bug(bugUnread) {
		if m, err = verifyFile(ctx, f); err != nil {
			return 0, nil, fmt.Errorf("read back: %w", err)
		}
	} else {
		m = new(backup.Manifest)
	}
	switch _, err := s.fs.FileID(whole); {
	case err == nil:
		return 0, nil, errors.New("there is a file of that name, which stays")
	case !errors.Is(err, fs.ErrNotExist):
		return 0, nil, s.unusable(err)
	}
	if err := ctx.Err(); err != nil {
		return 0, nil, err // another node takes it by now
	}
	if err := s.fs.Rename(part, whole); err != nil {
		return 0, nil, s.unusable(err)
	}
	if err := s.fs.SyncDir(s.dir); err != nil {
		return 0, nil, errors.Join(s.unusable(err), s.fs.Remove(whole))
	}
	s.note(name, read{size: w.size, manifest: m})
	return w.size, m, nil
}

// shelfWriter writes to a file from its beginning, until ctx ends.
type shelfWriter struct {
	ctx    context.Context
	f      vfs.File
	failed func(error) error // what it makes of an error of the file
	size   int64
}

// Write implements [io.Writer].
func (w *shelfWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.f.WriteAt(p, w.size)
	w.size += int64(n)
	return n, w.failed(err)
}

// shelfReader reads a file from its beginning, until ctx ends.
type shelfReader struct {
	ctx context.Context
	r   io.Reader
}

// Read implements [io.Reader].
func (r *shelfReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// verifyFile reads all of a backup.
func verifyFile(ctx context.Context, f vfs.Reader) (*backup.Manifest, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	return backup.Verify(bufio.NewReaderSize(&shelfReader{ctx, io.NewSectionReader(f, 0, size)}, shelfReadBytes))
}

func (s *shelf) note(name string, r read) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteLocked(name, r)
}

func (s *shelf) noteLocked(name string, r read) {
	if s.read == nil {
		s.read = map[string]read{}
	}
	s.read[name] = r
}

// names returns the names of this cluster's backups, and those of rests that this node has left; an absent directory has
// none.
func (s *shelf) names(cluster string) (whole, rests []string, err error) {
	all, err := s.fs.List(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	s.mu.Lock()
	writing := s.writing
	s.mu.Unlock()
	for _, name := range all {
		if errands.IsFileOf(cluster, name) {
			whole = append(whole, name)
			continue
		}
		base, ok := strings.CutSuffix(name, s.restEnd())
		if _, ours := errands.FileTime(base); ok && ours && base != writing {
			rests = append(rests, name)
		}
	}
	return whole, rests, nil
}

// restEnd is the end of the names of this node's rests, behind those that the backups would have had.
func (s *shelf) restEnd() string { return "." + s.own().String() + errands.PartEnd }

// tidy removes what this node has left of backups that its end has interrupted. It is called before there are others.
func (s *shelf) tidy(log *slog.Logger) {
	_, rests, err := s.names("")
	for _, name := range rests {
		if err = errors.Join(err, s.fs.Remove(path.Join(s.dir, name))); err == nil {
			log.Info("rest of a backup removed", "file", path.Join(s.dir, name))
		}
	}
	if err != nil {
		log.Warn("backups not looked at", "dir", s.dir, "err", err)
	}
}

// list tells of the backups of this cluster that a request asks for. It reads files of which nothing is known, or all
// with Verify, and waits for that no longer than ctx: one that takes longer is told as not read, and a later list has
// what was found.
func (s *shelf) list(ctx context.Context, cluster string, q *wire.Backups) (rows []wire.BackupFile, err error) {
	whole, rests, err := s.names(cluster)
	if err != nil {
		return nil, err
	}
	if len(q.Only) > 0 {
		others := func(name string) bool { return !slices.Contains(q.Only, name) }
		whole, rests = slices.DeleteFunc(whole, others), slices.DeleteFunc(rests, others)
	}
	if q.Verify {
		s.forget(whole)
	}
	slices.SortFunc(whole, errands.NewestFirst) // the newest counts most
	for _, name := range whole {
		row, err := s.look(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it went meanwhile
		}
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
		if len(rows) == wire.BackupFilesMax {
			break
		}
	}
	for _, name := range rests {
		if len(rows) < wire.BackupFilesMax {
			made, _ := errands.FileTime(strings.TrimSuffix(name, s.restEnd()))
			rows = append(rows, wire.BackupFile{Name: name, State: wire.BackupTorn, Made: uint64(max(made, 0))})
		}
	}
	return rows, nil
}

// look tells of one file.
func (s *shelf) look(ctx context.Context, name string) (row wire.BackupFile, err error) {
	row.Name = name
	made, _ := errands.FileTime(name)
	row.Made = uint64(max(made, 0))
	f, err := s.fs.OpenRead(path.Join(s.dir, name))
	if err != nil {
		return row, err
	}
	size, err := f.Size()
	f.Close()
	if err != nil {
		return row, err
	}
	row.Bytes = uint64(size)
	known, ok := s.known(name, size)
	if !ok && ctx.Err() == nil {
		s.readWhole(ctx, name)
		known, ok = s.known(name, size)
	}
	if !ok {
		return row, nil // nobody knows yet
	}
	if row.State = wire.BackupDamaged; known.manifest == nil {
		row.Wrong = known.wrong
		return row, nil
	}
	row.State = wire.BackupWhole
	row.Keys, row.Services, row.Groups = known.manifest.Keys(), known.manifest.Services(), uint64(len(known.manifest.Groups))
	return row, nil
}

// known returns what was found in a file that has a size; false: nothing is known.
func (s *shelf) known(name string, size int64) (r read, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok = s.read[name]
	return r, ok && r.size == size
}

// forget forgets what was found in files, so that they are read again.
func (s *shelf) forget(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		delete(s.read, name)
	}
}

// readWhole has all of a file read and what is found noted, and waits for that for as long as ctx. The reading goes on
// without it: a large file takes longer than an answer may, and would be begun again for each.
func (s *shelf) readWhole(ctx context.Context, name string) {
	s.mu.Lock()
	done, under := s.reading[name]
	if !under {
		if s.reading == nil {
			s.reading = map[string]chan struct{}{}
		}
		done = make(chan struct{})
		s.reading[name] = done
		s.ended.Go(func() {
			found, ok := s.found(name)
			s.mu.Lock()
			defer s.mu.Unlock()
			if ok {
				s.noteLocked(name, found)
			}
			delete(s.reading, name)
			close(done)
		})
	}
	s.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// found reads all of a file; false: it can't be opened, or the node ends.
func (s *shelf) found(name string) (r read, ok bool) {
	f, err := s.fs.OpenRead(path.Join(s.dir, name))
	if err != nil {
		return r, false
	}
	defer f.Close()
	if r.size, err = f.Size(); err != nil {
		return r, false
	}
	if r.manifest, err = verifyFile(s.ctx, f); err != nil {
		r.manifest, r.wrong = nil, err.Error()
	}
	return r, s.ctx.Err() == nil
}

// remove removes backups of this cluster, and rests that this node has left.
func (s *shelf) remove(cluster string, names []string) error {
	whole, rests, err := s.names(cluster)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.Contains(whole, name) && !slices.Contains(rests, name) {
			continue // it is not there, or no backup
		}
		if err := s.fs.Remove(path.Join(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		s.mu.Lock()
		delete(s.read, name)
		s.mu.Unlock()
	}
	return s.fs.SyncDir(s.dir)
}
