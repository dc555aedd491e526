//go:build amd64 || arm64

package vfs

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// aio is one place for a write that the system carries out while no thread waits in a
// call (io_submit(2)). The goroutine waits as it would for a connection, through the
// runtime's poller, and takes no processor from others meanwhile.
//
// A place belongs to one write at a time. It is never returned to the system: that
// would have to wait for the write, which on a stuck disk may never end.
type aio struct {
	// Set once.
	context uintptr         // of the system; the address of the ring as well
	ring    *aioRing        // what the system has finished
	event   *os.File        // an eventfd, counted up with each write that ends
	conn    syscall.RawConn // event's
	step    func(uintptr) bool

	// Of the write under way.
	block   aioBlock
	list    [1]*aioBlock // what io_submit takes
	buf     []byte       // keeps the bytes where they are until the write ends
	quick   bool         // it is refused where it would have to wait
	begun   bool
	refused syscall.Errno // why it was not begun
	result  int64         // bytes written, or an error's number below zero
}

// aioBlock is the system's struct iocb (linux/aio_abi.h) of a little-endian
// system of 64 bits.
type aioBlock struct {
	_       uint64 // data, which comes back with the event
	_       uint32 // key: the system writes here
	rwFlags uint32
	opcode  uint16
	_       int16 // reqprio
	file    uint32
	buf     uint64
	length  uint64
	offset  int64
	_       uint64
	flags   uint32
	eventFD uint32
}

// aioEvent is the system's struct io_event.
type aioEvent struct {
	data, block     uint64
	result, result2 int64
}

// aioRing is the beginning of the memory in which the system shows its finished writes.
// We move head, the system moves tail. libaio reads it too, so the layout stays.
type aioRing struct {
	id, size     uint32
	head, tail   uint32
	magic        uint32
	compatible   uint32
	incompatible uint32 // features without which the ring is not understood
	headerBytes  uint32 // then size times aioEvent
}

const (
	aioWrite     = 1          // IOCB_CMD_PWRITE
	aioTellEvent = 1          // IOCB_FLAG_RESFD
	aioMagic     = 0xa10a10a1 // AIO_RING_MAGIC
	// aioMost bounds the places of a process. A node writes one log, so more than
	// one are for tests and demonstrations. Each costs a descriptor, a page or two,
	// and one of the system's fs.aio-max-nr.
	aioMost = 16
	// aioQuick is the longest write, in bytes, that is begun without telling the runtime of
	// the call. A collection waits for such a call, so it has to be short: 64 KiB are some
	// 20 µs.
	aioQuick  = 64 << 10
	aioNoWait = 8 // RWF_NOWAIT
)

// aioWaits is set once the system has no writes that it refuses where they would have to wait.
var aioWaits atomic.Bool

// aios are the places of the process, to which the system gives them. A free one is
// used again, whichever file it wrote before.
var aios aioPool

type aioPool struct {
	mu   sync.Mutex
	free []*aio // guarded by mu; the last used is last
	made int    // guarded by mu
	none bool   // guarded by mu; the system gives no more
}

// take returns a free place, or nil if there is none. It asks the system until that
// refuses for the first time, and then never again: the system lacks the calls, or
// forbids them, or other processes have all that it gives.
func (p *aioPool) take() *aio {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		a := p.free[n-1]
		p.free = p.free[:n-1]
		return a
	}
	if p.none || p.made == aioMost {
		return nil
	}
	a := newAIO()
	if a == nil {
		p.none = true
		return nil
	}
	p.made++
	return a
}

func (p *aioPool) put(a *aio) {
	p.mu.Lock()
	p.free = append(p.free, a)
	p.mu.Unlock()
}

// newAIO asks the system for a place. It returns nil if one of the calls that a
// write needs can't be made: a sandbox may allow some and not others.
func newAIO() *aio {
	a := new(aio)
	if _, _, err := syscall.Syscall(syscall.SYS_IO_SETUP, 1, uintptr(unsafe.Pointer(&a.context)), 0); err != 0 {
		return nil
	}
	if _, _, err := syscall.Syscall(syscall.SYS_IO_SUBMIT, a.context, 0, 0); err != 0 {
		return a.giveBack()
	}
	// The context's number is an address, which is no memory of Go's.
	a.ring = *(**aioRing)(unsafe.Pointer(&a.context))
	if a.ring.magic != aioMagic || a.ring.incompatible != 0 {
		return a.giveBack()
	}
	fd, _, err := syscall.Syscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != 0 {
		return a.giveBack()
	}
	a.event = os.NewFile(fd, "eventfd of asynchronous writes")
	if conn, err := a.event.SyscallConn(); err == nil && a.event.SetReadDeadline(time.Time{}) == nil {
		a.conn = conn
	} else { // the runtime does not poll it
		a.event.Close()
		return a.giveBack()
	}
	a.block = aioBlock{opcode: aioWrite, flags: aioTellEvent, eventFD: uint32(fd)}
	a.list[0] = &a.block
	a.step = a.advance
	return a
}

// giveBack returns a place to the system that was never used. Its result is nil.
func (a *aio) giveBack() *aio {
	syscall.Syscall(syscall.SYS_IO_DESTROY, a.context, 0, 0)
	return nil
}

// write makes the system write p at off, and waits until that has ended. begun is false
// if it did not begin; then nothing was written, and err says why.
func (a *aio) write(fd uintptr, p []byte, off int64) (n int, begun bool, err error) {
	a.buf = p
	a.block.file, a.block.buf, a.block.length, a.block.offset = uint32(fd), uint64(uintptr(unsafe.Pointer(&p[0]))), uint64(len(p)), off
	n, begun, err = a.run()
	a.buf = nil
	return n, begun, err
}

// run submits the block and waits until it is done. What is short is submitted so that the call
// can't wait, for room in the file or in the disk's queue, and once more if it would have to.
func (a *aio) run() (n int, begun bool, err error) {
	if a.quick = a.block.length <= aioQuick && !aioWaits.Load(); !a.quick {
		return a.once()
	}
	n, begun, err = a.once()
	unknown := !begun && (err == syscall.EOPNOTSUPP || err == syscall.EINVAL)
	if err != syscall.EAGAIN && !unknown {
		return n, begun, err
	}
	a.quick = false
	n, begun, err = a.once()
	if unknown && err == nil {
		aioWaits.Store(true)
	}
	return n, begun, err
}

// once submits the block once, and waits until it is done.
func (a *aio) once() (n int, begun bool, err error) {
	a.begun, a.refused = false, 0
	if err := a.conn.Read(a.step); err != nil {
		// Nobody closes the eventfd. To continue would let others reuse the bytes
		// while the system still reads them.
		panic(fmt.Sprintf("vfs: the wait for a write ended before the write: %v", err))
	}
	switch {
	case !a.begun:
		return 0, false, a.refused
	case a.result < 0:
		return 0, true, syscall.Errno(-a.result)
	}
	return int(a.result), true, nil
}

// advance begins the write at its first call, and reports whether it has ended. The
// poller first calls it after forgetting older events, so it can't forget the event
// that the end of the write makes; then it calls it after each event.
//
// The eventfd is never read. The poller hears of every count, not only of the first
// since a read, and the count has room for 2^64 writes.
func (a *aio) advance(uintptr) bool {
	if !a.begun {
		n, err := a.submit()
		if a.begun = n == 1 && err == 0; !a.begun {
			a.refused = err
			return true
		}
	}
	return a.ended()
}

// submit hands the block to the system. A call that may wait the runtime has to know of, so
// that others get the processor meanwhile; it wakes a thread to watch the call, which looks
// every 20 µs. A sixth of a node's time was spent on that where batches are small.
func (a *aio) submit() (n uintptr, err syscall.Errno) {
	list := uintptr(unsafe.Pointer(&a.list[0]))
	if a.quick {
		a.block.rwFlags = aioNoWait
		n, _, err = syscall.RawSyscall(syscall.SYS_IO_SUBMIT, a.context, 1, list)
		return n, err
	}
	a.block.rwFlags = 0
	n, _, err = syscall.Syscall(syscall.SYS_IO_SUBMIT, a.context, 1, list)
	return n, err
}

// ended takes the write's result from the ring, if it is there.
func (a *aio) ended() bool {
	head := atomic.LoadUint32(&a.ring.head)
	if head == atomic.LoadUint32(&a.ring.tail) { // the system moves it after filling in the event
		return false
	}
	events := unsafe.Add(unsafe.Pointer(a.ring), a.ring.headerBytes)
	a.result = (*aioEvent)(unsafe.Add(events, uintptr(head)*unsafe.Sizeof(aioEvent{}))).result
	atomic.StoreUint32(&a.ring.head, (head+1)%a.ring.size)
	return true
}

// aioSound reports whether an asynchronous write to f (O_DSYNC) can be trusted to be
// durable when it ends. Until Linux 3.13 none could. It still depends on the file
// system, so these are the two on which most logs are, from the first kernel on that
// has supported both for long.
func aioSound(f *os.File) bool {
	const ext4, xfs = 0xef53, 0x58465342
	var disk syscall.Statfs_t
	if err := syscall.Fstatfs(int(f.Fd()), &disk); err != nil || disk.Type != ext4 && disk.Type != xfs {
		return false
	}
	var system syscall.Utsname
	if err := syscall.Uname(&system); err != nil {
		return false
	}
	release := make([]byte, 0, len(system.Release))
	for _, c := range system.Release {
		release = append(release, byte(c))
	}
	return releaseFrom(string(release), 4, 18)
}

// releaseFrom reports whether the release of a system is this one or a later one.
func releaseFrom(release string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(release, "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a > major || a == major && b >= minor
}
