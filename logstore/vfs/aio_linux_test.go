//go:build amd64 || arm64

package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"go.uber.org/goleak"
)

// asyncFile makes a file of n zeros that is written asynchronously, or skips
// the test where the system or the file system does not do that.
func asyncFile(t testing.TB, n int) *osFile {
	t.Helper()
	f, err := OS{}.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteAt(make([]byte, n), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	own := f.(*osFile)
	if !own.direct.open(own.File) || !own.async {
		t.Skipf("%s: files here are not written asynchronously (it wants ext4 or XFS, and Linux 4.18)", own.Name())
	}
	place := aios.take()
	if place == nil {
		t.Skip("the system does not take asynchronous writes (io_setup, fs.aio-max-nr)")
	}
	aios.put(place)
	return own
}

// fromPage returns n bytes that begin where a page does.
func fromPage(n int) []byte {
	b := make([]byte, n+pageBytes)
	return b[-uintptr(unsafe.Pointer(&b[0]))%pageBytes:][:n]
}

// count returns how many places the process has, and how many no write has.
func (p *aioPool) count() (free, made int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.free), p.made
}

// The system reads and writes these, and compares no names.
func TestAsyncLayout(t *testing.T) {
	if block, event, ring := unsafe.Sizeof(aioBlock{}), unsafe.Sizeof(aioEvent{}), unsafe.Sizeof(aioRing{}); block != 64 || event != 32 || ring != 32 {
		t.Errorf("a block has %d bytes, an event %d, a ring's header %d; want 64, 32, 32", block, event, ring)
	}
	if off := unsafe.Offsetof(aioBlock{}.eventFD); off != 60 {
		t.Errorf("the eventfd lies at %d, want 60", off)
	}
}

// More files at once than there are places, each written by its own goroutine:
// every byte arrives, none in another's file, and what stays is the places.
func TestAsyncManyWriters(t *testing.T) {
	const writers, writes, sectors = aioMost + 4, 40, 64
	var files [writers]*osFile
	for i := range files {
		files[i] = asyncFile(t, sectors*SectorSize)
	}
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var wg sync.WaitGroup
	for i, f := range files {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			want, buf := make([]byte, sectors*SectorSize), fromPage(sectors*SectorSize)
			for n := range writes {
				from := r.IntN(sectors)
				to := from + 1 + r.IntN(sectors-from)
				p := buf[:(to-from)*SectorSize]
				for j := range p {
					p[j] = byte(i + n + j)
				}
				copy(want[from*SectorSize:], p)
				if err := f.WriteSync(p, int64(from*SectorSize)); err != nil {
					t.Error(err)
					return
				}
				clear(p) // it is ours again
				if n%8 == 0 {
					runtime.GC()
				}
			}
			if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want) {
				t.Errorf("file %d is not what was written (%v)", i, err)
			}
			if !f.async {
				t.Errorf("file %d was given up", i)
			}
		})
	}
	wg.Wait()
	if free, made := aios.count(); free != made || made > aioMost {
		t.Errorf("%d of %d places are free, of at most %d", free, made, aioMost)
	}
}

// A log opens and closes files all the time. That takes no more places, and no
// descriptors.
func TestAsyncFilesComeAndGo(t *testing.T) {
	f := asyncFile(t, pageBytes)
	open := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	before := open()
	_, made := aios.count()
	p := fromPage(SectorSize)
	for range 50 {
		g, err := OS{}.Open(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := g.(SyncWriter).WriteSync(p, 0); err != nil {
			t.Fatal(err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		if err := g.(SyncWriter).WriteSync(p, 0); !errors.Is(err, fs.ErrClosed) {
			t.Fatalf("a closed file was written to: %v", err)
		}
	}
	if after := open(); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	if _, now := aios.count(); now != made {
		t.Errorf("%d places, %d before", now, made)
	}
}

// A stuck disk does not answer. A goroutine that waits keeps waiting, whatever else
// wakes it, keeps its place to itself, and holds up nobody. The disk here is a pipe
// that becomes readable when the test wants it to.
func TestAsyncStuck(t *testing.T) {
	const pollOf, readable = 5, 1 // IOCB_CMD_POLL, POLLIN
	f := asyncFile(t, pageBytes)
	a := aios.take()
	defer aios.put(a)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	a.block.opcode, a.block.file, a.block.buf, a.block.length, a.block.offset = pollOf, uint32(r.Fd()), readable, 0, 0
	a.quick = false
	defer func() { a.block.opcode = aioWrite }()
	type end struct {
		n     int
		begun bool
		err   error
	}
	ended := make(chan end, 1)
	go func() {
		n, begun, err := a.once()
		ended <- end{n, begun, err}
	}()
	p := fromPage(SectorSize)
	for range 20 {
		if _, err := a.event.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil { // wakes it for nothing
			t.Fatal(err)
		}
		if err := f.WriteSync(p, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-ended:
		t.Fatalf("it ended: %+v", e)
	case <-time.After(20 * time.Millisecond):
	}
	if _, err := w.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if e := <-ended; e.err != nil || !e.begun || e.n&readable == 0 {
		t.Errorf("it ended with %+v", e)
	}
}

// Where the system gives no place the bytes arrive all the same.
func TestAsyncNone(t *testing.T) {
	f := asyncFile(t, pageBytes)
	aios.mu.Lock()
	free, none := aios.free, aios.none
	aios.free, aios.none = nil, true
	aios.mu.Unlock()
	defer func() {
		aios.mu.Lock()
		aios.free, aios.none = free, none
		aios.mu.Unlock()
	}()
	p := fromPage(SectorSize)
	copy(p, "kept")
	if err := f.WriteSync(p, 0); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got[:SectorSize], p) {
		t.Errorf("the file is not what was written (%v)", err)
	}
}

// What the system says of a write is what it says of one by a call: the same
// error for the same reason, under the same name.
func TestAsyncErrors(t *testing.T) {
	p := fromPage(2 * SectorSize)
	t.Run("alignment", func(t *testing.T) { // as a disk with larger sectors
		f := asyncFile(t, pageBytes)
		a := aios.take()
		defer aios.put(a)
		if n, begun, err := a.write(f.fd, p[1:], 0); n != 0 || err != syscall.EINVAL {
			t.Errorf("got %d, %v, %v", n, begun, err)
		}
	})
	t.Run("no space", func(t *testing.T) { // of a file that is not written asynchronously
		f := asyncFile(t, pageBytes)
		full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
		if err != nil {
			t.Skip(err)
		}
		f.direct.close()
		f.direct.file, f.fd = full, full.Fd()
		if err := f.WriteSync(p, 0); !errors.Is(err, ErrFull) || f.async {
			t.Errorf("got %v, asynchronous %v", err, f.async)
		}
	})
	t.Run("read-only", func(t *testing.T) { // any other error
		f := asyncFile(t, pageBytes)
		shut, err := os.Open(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		f.direct.close()
		f.direct.file, f.fd = shut, shut.Fd()
		_, call := shut.WriteAt(p, 0)
		if err := f.WriteSync(p, 0); fmt.Sprint(err) != fmt.Sprint(call) || !errors.Is(err, syscall.EBADF) {
			t.Errorf("got %v, a call says %v", err, call)
		}
	})
	t.Run("short", func(t *testing.T) { // the rest is for the call, which says why
		f := asyncFile(t, pageBytes)
		signal.Ignore(syscall.SIGXFSZ)
		defer signal.Reset(syscall.SIGXFSZ)
		var limit syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
		less := syscall.Rlimit{Cur: pageBytes + SectorSize, Max: limit.Max}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &less); err != nil {
			t.Skip(err)
		}
		err := f.WriteSync(p, pageBytes)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(err, syscall.EFBIG) {
			t.Errorf("got %v", err)
		}
	})
	for _, c := range []struct {
		err          error
		begun        bool
		again, never bool
	}{
		{syscall.EIO, true, false, false},
		{syscall.EIO, false, false, false},
		{syscall.ENOSPC, true, false, false},
		{syscall.EDQUOT, true, false, false},
		{syscall.EROFS, true, false, false},
		{syscall.EINVAL, true, false, false}, // the disk's sectors
		{syscall.EINVAL, false, false, true},
		{syscall.ENOSYS, false, false, true},
		{syscall.EPERM, false, false, true},
		{syscall.EPERM, true, false, false},
		{syscall.ENOMEM, true, false, false},
		{syscall.EAGAIN, false, true, false},
		{syscall.EINTR, true, true, false},
	} {
		if again, never := notOfDisk(c.err, c.begun); again != c.again || never != c.never {
			t.Errorf("%v, begun %v: again %v, never %v; want %v, %v", c.err, c.begun, again, never, c.again, c.never)
		}
	}
}

// A write that would have to wait for room in the file is begun once more, so that it may.
func TestAsyncWaits(t *testing.T) {
	const hole = pageBytes
	f := asyncFile(t, hole)
	if err := f.Truncate(2 * hole); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	a := aios.take()
	defer aios.put(a)
	p := fromPage(hole)
	if err := f.WriteSync(p, 0); err != nil { // nothing of the file is in the system's memory now
		t.Fatal(err)
	}
	copy(p, "kept")
	for off, waits := range map[int64]bool{0: false, hole: true} {
		if n, begun, err := a.write(f.fd, p, off); n != len(p) || !begun || err != nil {
			t.Fatalf("at %d: got %d, %v, %v", off, n, begun, err)
		}
		if a.quick == waits {
			t.Errorf("at %d: it may wait: %v", off, !a.quick)
		}
	}
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, append(bytes.Clone(p), p...)) {
		t.Errorf("the file is not what was written (%v)", err)
	}
	if aioWaits.Load() {
		t.Error("the system is taken for one that always waits")
	}
}

func TestAsyncRelease(t *testing.T) {
	for _, c := range []struct {
		release string
		want    bool
	}{
		{"4.18.0-553.el8.x86_64", true}, {"4.17.19", false}, {"3.13.0", false}, {"5.4.0-150-generic", true},
		{"6.18.44", true}, {"10.0", true}, {"4.4.0", false}, {"", false}, {"six", false},
	} {
		if got := releaseFrom(c.release, 4, 18); got != c.want {
			t.Errorf("%q: got %v", c.release, got)
		}
	}
}

// BenchmarkWriteSync compares an asynchronous write with a call that waits, in turns,
// over the same sectors: how long a write takes, and how much processor time of the
// whole process.
//
//	go test -run xxx -bench WriteSync -benchtime 20x ./logstore/vfs
func BenchmarkWriteSync(b *testing.B) {
	const turn = 200
	for _, size := range []int{1 << 10, 16 << 10, 128 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f := asyncFile(b, size)
			p := fromPage(size)
			var took, cpu [2]time.Duration // by a call, asynchronously
			for b.Loop() {
				for i := range took {
					f.async = i == 1
					begun, used := time.Now(), processorTime(b)
					for range turn {
						if err := f.WriteSync(p, 0); err != nil {
							b.Fatal(err)
						}
					}
					took[i] += time.Since(begun)
					cpu[i] += processorTime(b) - used
				}
			}
			for i, name := range []string{"call", "async"} {
				b.ReportMetric(float64(took[i].Microseconds())/float64(b.N*turn), name+"-µs/write")
				b.ReportMetric(float64(cpu[i].Microseconds())/float64(b.N*turn), name+"-cpu-µs/write")
			}
		})
	}
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
