package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"muster/logstore/vfs"
	"muster/repl/trust"
)

// scratchFile is in the folder of a cluster that ends with the process that runs it. That process holds a
// lock on it, which the system takes back however the process ends: where nobody holds it, nobody needs
// the folder.
const scratchFile = "scratch"

// Scratch marks what is kept for a root, or is to be, as of no use without this process. ended removes it; if this
// process is killed before, [Home.Sweep] of another one does.
func (h Home) Scratch(id trust.RootID) (ended func(), err error) {
	folder := h.folder(id)
	if err := h.make(folder); err != nil {
		return nil, err
	}
	unlock, err := h.lock(exclusive, writeWait) // or a sweep could find the file before its lock
	if err != nil {
		return nil, err
	}
	defer unlock()
	f, err := os.OpenFile(filepath.Join(folder, scratchFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), exclusive|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("credentials: lock %s: %w", f.Name(), err)
	}
	return func() {
		_ = h.Forget(id) // what stays is swept
		f.Close()
	}, nil
}

// Sweep removes what processes have left that were killed: the folders that [Home.Scratch] has marked, and whose
// process has ended. It touches nothing else, and waits for nobody.
func (h Home) Sweep() {
	marks, err := filepath.Glob(filepath.Join(h.dir, strings.Repeat("[0-9a-f]", folderDigits), scratchFile))
	if err != nil || len(marks) == 0 {
		return
	}
	unlock, err := h.lock(exclusive, 0)
	if err != nil {
		return
	}
	defer unlock()
	for _, mark := range marks {
		f, err := os.OpenFile(mark, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), exclusive|syscall.LOCK_NB) == nil || bug("folder of a cluster that runs swept") {
			_ = os.RemoveAll(filepath.Dir(mark))
		}
		f.Close()
	}
}

// tooMany is the error of a home with more roots than are looked at. It names the folder that was used last
// the longest time ago.
func (h Home) tooMany(folders []string) error {
	oldest, since, cluster := "", time.Time{}, ""
	for _, folder := range folders {
		used := time.Time{}
		for _, name := range []string{rootFile, certFile} { // each command of a day writes the certificate anew
			if info, err := os.Stat(filepath.Join(h.dir, folder, name)); err == nil && info.ModTime().After(used) {
				used = info.ModTime()
			}
		}
		if oldest == "" || used.Before(since) {
			oldest, since = filepath.Join(h.dir, folder), used
		}
	}
	if name, err := read(filepath.Join(oldest, nameFile), vfs.Public); err == nil {
		if _, called, ok := strings.Cut(strings.TrimSpace(string(name)), " "); ok {
			cluster = fmt.Sprintf(", of cluster %q", called)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return fmt.Errorf("credentials: %s has more than %d roots; remove the folders of clusters that are gone: %s has not been written since %s%s",
		h.dir, rootsMax, oldest, since.UTC().Format(time.DateOnly), cluster)
}
