package node

import (
	"net"
	"sync/atomic"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// stopped is the connection of a process that is stopped, and goes on once the deadline
// of its read is over: what has arrived by then is read all the same.
type stopped struct {
	net.Conn
	still    atomic.Bool
	deadline atomic.Int64 // in ns since 1970
}

func (s *stopped) SetReadDeadline(t time.Time) error {
	s.deadline.Store(t.UnixNano())
	return nil
}

func (s *stopped) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if s.still.Load() {
		time.Sleep(time.Until(time.Unix(0, s.deadline.Load())) + time.Millisecond) // how late it is read is what is tested
	}
	return n, err
}

// A node takes nothing that is older than a client may be silent, though it stood still
// itself meanwhile. One would doubt it: the system holds what has arrived, and a process
// that goes on may read it before it notices that its deadline is over. A write from then
// would be passed on to a leader that has forgotten the outcome of its retry.
func TestNothingIsTakenFromBeforeAStop(t *testing.T) {
	t.Parallel()
	l := defaultLimits()
	l.clientSilence = silenceTested
	r := serving(t, l)
	for _, still := range []bool{false, true} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		accepted := make(chan *stopped, 1)
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			s := &stopped{Conn: conn}
			r.node.door.admitStranger(s)
			r.node.ended.Go(func() { r.node.door.attend(s) })
			accepted <- s
		}()
		s, err := dial(t, listener.Addr().String(), wire.DialConfig{Purpose: wire.PurposeClient, Role: wire.RoleClient, Level: shardmap.Level})
		if err != nil {
			t.Fatal(err)
		}
		(<-accepted).still.Store(still)
		if _, err := s.Write(frame(wire.TypePing, 0, 1, (&wire.Empty{}).Append(nil))); err != nil {
			t.Fatal(err)
		}
		if h, _, err := s.read(); (err == nil && h.Type == wire.TypePong) == still {
			t.Errorf("with a stop: %v; a frame is answered with %s, %v", still, h.Type, err)
		}
	}
}
