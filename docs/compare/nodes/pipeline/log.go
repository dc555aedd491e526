package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"muster/docs/compare/frame"
)

// The log is one file that was written before it is used and is then overwritten
// round and round, past the system's memory: a write into blocks that exist needs
// no change to the file system, and returns when the disk has it (O_DSYNC).
const (
	blockBytes = 4096
	logBytes   = 64 << 20
)

type diskLog struct {
	fd    int
	at    int64
	stage []byte // aligned to blocks, as O_DIRECT wants
}

func openLog(dir string) (*diskLog, error) {
	path := filepath.Join(dir, "log")
	if err := fillFile(path); err != nil {
		return nil, err
	}
	fd, err := syscall.Open(path, syscall.O_WRONLY|syscall.O_DIRECT|syscall.O_DSYNC|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s for direct writes: %w", path, err)
	}
	return &diskLog{fd: fd, stage: aligned(1 << 20)}, nil
}

func fillFile(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	zeros := make([]byte, 1<<20)
	for range logBytes / len(zeros) {
		if _, err := f.Write(zeros); err != nil {
			return err
		}
	}
	return f.Sync()
}

// aligned returns n bytes that begin at a multiple of a block.
func aligned(n int) []byte {
	b := make([]byte, n+blockBytes)
	skip := -int(uintptr(unsafe.Pointer(&b[0]))) & (blockBytes - 1)
	return b[skip : skip+n]
}

// write puts frames into the log, each from a block's beginning on, with one call
// for all of them. When it returns they are on the disk.
func (w *diskLog) write(frames ...[]byte) error {
	n := 0
	for _, f := range frames {
		n += blocks(len(f))
	}
	if n > frame.LengthMax {
		return fmt.Errorf("%d bytes for one write, at most %d fit", n, frame.LengthMax)
	}
	if n > len(w.stage) {
		w.stage = aligned(2 * n)
	}
	out := w.stage[:n]
	for _, f := range frames {
		end := blocks(len(f))
		clear(out[copy(out, f):end])
		out = out[end:]
	}
	if w.at+int64(n) > logBytes {
		w.at = 0
	}
	if _, err := syscall.Pwrite(w.fd, w.stage[:n], w.at); err != nil {
		return fmt.Errorf("write to the log: %w", err)
	}
	w.at += int64(n)
	return nil
}

// blocks rounds up to whole blocks.
func blocks(n int) int { return (n + blockBytes - 1) &^ (blockBytes - 1) }
