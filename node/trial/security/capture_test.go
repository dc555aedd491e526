package security

import (
	"bytes"
	"cmp"
	order "encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// Limits of a capture.
const (
	// captureBuffer is what the kernel keeps of what was not read yet, in bytes.
	captureBuffer = 64 << 20
	// captureMax is how much a capture holds, in bytes.
	captureMax = 256 << 20
	// capturePause is how often a capture looks whether it is to end.
	capturePause = 50 * time.Millisecond
	// frameMax is the largest frame on loopback, in bytes.
	frameMax = 128 << 10
)

// Numbers that syscall has no name for: linux/if_packet.h and linux/if_ether.h.
const (
	etherIPv4        = 0x0800
	etherSize        = 14
	packetHost       = 0 // pkttype: it came in
	packetStatistics = 6
	solPacket        = 263
)

// flow is one direction of one connection.
type flow struct{ from, to uint16 }

// stream is what one direction of a connection carried.
type stream struct {
	flow
	bytes []byte
	next  uint32            // the number of the byte behind them
	early map[uint32][]byte // came before what is ahead of them
}

// capture is what passes over loopback from and to some ports, as anybody sees it who may
// open a packet socket on the host.
type capture struct {
	t    testing.TB
	fd   int
	stop chan struct{}
	done chan struct{} // closed by the goroutine that reads, when it has ended

	mu      sync.Mutex
	streams []*stream // guarded by mu, and so are the fields below
	current map[flow]*stream
	held    int
	err     error
}

// newCapture begins to listen to the TCP connections of some addresses on loopback. It skips
// the test where this user may not.
func newCapture(t testing.TB, addrs ...string) *capture {
	t.Helper()
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Skipf("this host has no loopback interface lo: %v", err)
	}
	const all = 0x0300 // ETH_P_ALL, in the order of the network
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, all)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skipf("only root may see what passes over loopback: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := &capture{t: t, fd: fd, stop: make(chan struct{}), done: make(chan struct{}), current: make(map[flow]*stream)}
	patience := syscall.NsecToTimeval(int64(capturePause))
	err = errors.Join(
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, captureBuffer),
		syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &patience),
		attach(fd, portFilter(t, addrs)),
		syscall.Bind(fd, &syscall.SockaddrLinklayer{Protocol: all, Ifindex: lo.Index}),
	)
	if err != nil {
		syscall.Close(fd)
		t.Fatal(err)
	}
	go c.read()
	t.Cleanup(func() { c.end() })
	return c
}

// attach has the kernel run a program over what a socket receives.
func attach(fd int, program []syscall.SockFilter) error {
	p := syscall.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := syscall.Syscall6(syscall.SYS_SETSOCKOPT, uintptr(fd), syscall.SOL_SOCKET, syscall.SO_ATTACH_FILTER, uintptr(unsafe.Pointer(&p)), unsafe.Sizeof(p), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func statement(code, k int) syscall.SockFilter {
	return syscall.SockFilter{Code: uint16(code), K: uint32(k)}
}

func jump(code, k, yes, no int) syscall.SockFilter {
	return syscall.SockFilter{Code: uint16(code), Jt: uint8(yes), Jf: uint8(no), K: uint32(k)}
}

// portFilter is a program for the kernel that passes IPv4 TCP from or to the ports of addrs.
func portFilter(t testing.TB, addrs []string) []syscall.SockFilter {
	t.Helper()
	const load, loadX, equal, result = syscall.BPF_LD, syscall.BPF_LDX | syscall.BPF_B | syscall.BPF_MSH, syscall.BPF_JMP | syscall.BPF_JEQ | syscall.BPF_K, syscall.BPF_RET | syscall.BPF_K
	var ports []int
	for _, addr := range addrs {
		_, port, _ := net.SplitHostPort(addr)
		n, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, n)
	}
	n := 2*len(ports) + 2 // instructions from the first comparison of a port to the refusal
	f := []syscall.SockFilter{
		statement(load|syscall.BPF_H|syscall.BPF_ABS, etherSize-2),
		jump(equal, etherIPv4, 0, n+3),
		statement(load|syscall.BPF_B|syscall.BPF_ABS, etherSize+9),
		jump(equal, syscall.IPPROTO_TCP, 0, n+1),
		statement(loadX, etherSize),
	}
	for i := range 2 {
		f = append(f, statement(load|syscall.BPF_H|syscall.BPF_IND, etherSize+2*i))
		for j, port := range ports {
			rest := len(ports) - 1 - j + (1-i)*(len(ports)+1)
			f = append(f, jump(equal, port, rest+1, 0))
		}
	}
	return append(f, statement(result, 0), statement(result, frameMax))
}

// read takes frames until the capture ends and none is left.
func (c *capture) read() {
	defer close(c.done)
	frame := make([]byte, frameMax)
	for {
		n, from, err := syscall.Recvfrom(c.fd, frame, 0)
		switch {
		case errors.Is(err, syscall.EAGAIN):
			select {
			case <-c.stop:
				return
			default:
			}
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			return
		default:
			// Each frame is there twice: as it goes out, and as it comes in.
			if l, ok := from.(*syscall.SockaddrLinklayer); ok && l.Pkttype == packetHost {
				c.take(frame[etherSize:n])
			}
		}
	}
}

// take adds an IPv4 packet to its stream.
func (c *capture) take(ip []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	size := int(order.BigEndian.Uint16(ip[2:]))
	if size == 0 || size > len(ip) { // larger than 16 bits can say
		size = len(ip)
	}
	tcp := ip[int(ip[0]&15)*4 : size]
	f := flow{order.BigEndian.Uint16(tcp), order.BigEndian.Uint16(tcp[2:])}
	seq, flags, payload := order.BigEndian.Uint32(tcp[4:]), tcp[13], tcp[int(tcp[12]>>4)*4:]
	const syn = 2
	if flags&syn != 0 {
		s := &stream{flow: f, next: seq + 1, early: make(map[uint32][]byte)}
		if old := c.current[f]; old == nil || old.next != s.next || len(old.bytes) > 0 {
			c.current[f], c.streams = s, append(c.streams, s)
		}
		return
	}
	s := c.current[f]
	if s == nil || len(payload) == 0 {
		return // of a connection that is older than the capture
	}
	if c.held += len(payload); c.held > captureMax {
		c.err = fmt.Errorf("more than %d bytes passed", captureMax)
		return
	}
	s.early[seq] = bytes.Clone(payload)
	for grown := true; grown; {
		grown = false
		for at, part := range s.early {
			known := int32(s.next - at) // bytes of it that are here already
			if known < 0 {
				continue
			}
			delete(s.early, at)
			if grown = true; int(known) < len(part) {
				s.bytes = append(s.bytes, part[known:]...)
				s.next = at + uint32(len(part))
			}
		}
	}
}

// end stops the capture and returns what passed, in the order of the connections. It fails
// the test if it has missed anything.
func (c *capture) end() []*stream {
	c.t.Helper()
	select {
	case <-c.done:
		return c.streams
	default:
	}
	close(c.stop)
	<-c.done
	defer syscall.Close(c.fd)
	var stats struct{ packets, drops uint32 }
	size := uint32(unsafe.Sizeof(stats))
	_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, uintptr(c.fd), solPacket, packetStatistics, uintptr(unsafe.Pointer(&stats)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 || stats.drops > 0 || c.err != nil {
		c.t.Errorf("the capture has missed %d packets of %d (%v; %v)", stats.drops, stats.packets, errno, c.err)
	}
	for _, s := range c.streams {
		if len(s.early) > 0 {
			c.t.Errorf("%d to %d: %d packets without those before them", s.from, s.to, len(s.early))
		}
	}
	slices.SortStableFunc(c.streams, func(a, b *stream) int { return cmp.Or(cmp.Compare(a.to, b.to), cmp.Compare(a.from, b.from)) })
	return c.streams
}

// TLS 1.3's kinds of records, RFC 8446, section 5.1, and of messages in them, section 4.
const (
	recordChangeCipher = 20 // means nothing any more
	recordHandshake    = 22
	recordData         = 23 // all that is encrypted
	recordHeader       = 5
	helloOfClient      = 1
	helloOfServer      = 2
)

// notTLS says what a stream shows to anybody beside the first words of each side, if there is
// anything: a record that is not encrypted, or what is no record.
func notTLS(s *stream) error {
	first := true
	for b := s.bytes; len(b) > 0; {
		if len(b) < recordHeader || b[1] != 3 {
			return fmt.Errorf("%.40q is no record of TLS", b)
		}
		n := min(len(b), recordHeader+int(order.BigEndian.Uint16(b[3:])))
		record := b[:n]
		b = b[n:]
		hello := record[0] == recordHandshake && len(record) > recordHeader && (record[recordHeader] == helloOfClient || record[recordHeader] == helloOfServer)
		switch {
		case record[0] == recordData, record[0] == recordChangeCipher, first && hello:
		default:
			return fmt.Errorf("a record of type %d in clear: %.40q", record[0], record)
		}
		first = false
	}
	return nil
}
