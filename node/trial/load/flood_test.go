package load

import (
	bin "encoding/binary" // binary is what this package calls the program
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/wire"
	"muster/shardmap"
)

// A flood is what the client library never sends: sets that leave when they are due,
// whatever the nodes answer and however late. It is written from docs/protocol.md alone,
// and costs its process so little that a fraction of a core asks for several times what
// three nodes can do.

const (
	// floodConnections are those to each node.
	floodConnections = 8
	// floodKeys are the keys that each connection sets, in turns.
	floodKeys = 512
	// floodInFlight are under way where the maximum is measured.
	floodInFlight = 2048
	// floodTick lies between two looks at what is due.
	floodTick = 5 * time.Millisecond
	// floodPiece is what is written at once at most, in bytes.
	floodPiece = 64 << 10
	// floodStale is how old may be what is sent.
	floodStale = 100 * time.Millisecond
	// floodCodes: the code of one refusal in so many is looked at.
	floodCodes = 64
	// floodUnsent is what becomes of what was not sent.
	floodUnsent = "not asked"
)

// spout is one connection of a flood.
type spout struct {
	// Set once.
	conn    net.Conn
	decoder *wire.Decoder
	bodies  [][]byte // of sets that the node takes
	gap     time.Duration
	began   time.Time

	// Owned by the sender until it has ended.
	due, unsent int

	// Owned by the reader until it has ended.
	late, refused int
	codes         map[string]int
	times         []time.Duration // of what was done in time, from when it was due
}

// floodDial connects to a node as a client.
func floodDial(t *testing.T, c *clustertest.Cluster, addr string) (net.Conn, *wire.Decoder) {
	t.Helper()
	conn, err := clustertest.DialAsUser(t.Context(), c, addr)
	if err != nil {
		t.Fatal(err)
	}
	g, err := wire.ClientHello(conn, wire.DialConfig{Purpose: wire.PurposeClient, Role: wire.RoleClient, Level: shardmap.Level})
	if err != nil {
		t.Fatal(err)
	}
	return conn, g.Decoder
}

// floodBody is the body of a set of a key.
func floodBody(key []byte) []byte {
	c := shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotByServer, Items: [][]byte{key, make([]byte, 128)}}
	return wire.AppendWrite(nil, &c)
}

// appendFlood appends a set with a number, whose sender waits for left.
func appendFlood(b, body []byte, number int, left time.Duration) []byte {
	b, start := wire.BeginFrame(b, wire.TypeWrite, 0, uint32(max(left.Milliseconds(), 1)), uint64(number))
	return wire.EndFrame(append(b, body...), start)
}

// floodBodies returns the bodies of sets that the node at addr takes, because it leads
// their groups: each node is asked.
func floodBodies(t *testing.T, c *clustertest.Cluster, addr string) (bodies [][]byte) {
	t.Helper()
	conn, decoder := floodDial(t, c, addr)
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(clustertest.ReadyMax)); err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	var ask []byte
	for i := range 4 * floodKeys {
		all = append(all, floodBody(fmt.Appendf(nil, "bench/%010d", i)))
		ask = appendFlood(ask, all[i], i, clustertest.ReadyMax)
	}
	if _, err := conn.Write(ask); err != nil {
		t.Fatal(err)
	}
	for range all {
		h, _, err := wire.ReadFrame(conn, decoder)
		if err != nil {
			t.Fatal(err)
		}
		if h.Type == wire.TypeWriteAnswer && len(bodies) < floodKeys {
			bodies = append(bodies, all[h.Request])
		}
	}
	return bodies
}

// send sends what is due, until d is over. What it could not send soon is dropped: that
// much a client that waits for nobody does for itself, and what this process has no time to
// ask for is no matter of the nodes.
func (s *spout) send(d time.Duration) error {
	var piece []byte
	if err := s.conn.SetWriteDeadline(time.Now().Add(d + clustertest.ReadyMax)); err != nil {
		return err
	}
	for next := 0; ; {
		now := time.Since(s.began)
		if now > d {
			s.due = next
			return nil
		}
		if old := int((now - floodStale) / s.gap); old > next {
			s.unsent += old - next
			next = old
		}
		piece = piece[:0]
		for ; next < int(now/s.gap) && len(piece) < floodPiece; next++ {
			left := overloadWait - (now - time.Duration(next)*s.gap)
			piece = appendFlood(piece, s.bodies[next%len(s.bodies)], next, left)
		}
		if _, err := s.conn.Write(piece); err != nil {
			return err
		}
		if len(piece) < floodPiece {
			time.Sleep(floodTick)
		}
	}
}

// hear takes answers until the connection's deadline. It does not check them: that costs
// more than all else.
func (s *spout) hear() error {
	buf := make([]byte, 4*floodPiece)
	for have := 0; ; {
		n, err := s.conn.Read(buf[have:])
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		have += n
		now := time.Since(s.began)
		from := 0
		for have-from >= wire.HeaderSize {
			f := buf[from:have]
			size := wire.HeaderSize + int(bin.LittleEndian.Uint32(f))
			if len(f) < size {
				break
			}
			from += size
			took := now - time.Duration(bin.LittleEndian.Uint64(f[16:]))*s.gap
			switch {
			case wire.Type(bin.LittleEndian.Uint16(f[8:])) != wire.TypeWriteAnswer:
				if s.refused++; s.refused%floodCodes == 1 {
					var e wire.Error
					if err := e.Read(f[wire.HeaderSize:size]); err != nil {
						return err
					}
					s.codes[e.Code.String()] += floodCodes
				}
			case took > overloadWait:
				s.late++
			default:
				s.times = append(s.times, took)
			}
		}
		have = copy(buf, buf[from:have])
	}
}

// openSpouts connects to all nodes that lead something.
func openSpouts(t *testing.T, c *clustertest.Cluster) (all []*spout) {
	t.Helper()
	for _, p := range c.Nodes {
		bodies := floodBodies(t, c, p.Addr)
		if len(bodies) == 0 {
			continue
		}
		for range floodConnections {
			conn, decoder := floodDial(t, c, p.Addr)
			all = append(all, &spout{conn: conn, decoder: decoder, bodies: bodies, codes: map[string]int{}})
		}
	}
	return all
}

// keepFull has so many sets under way for d, and returns how many were done.
func (s *spout) keepFull(inFlight int, d time.Duration) (done int, err error) {
	if err := s.conn.SetDeadline(time.Now().Add(clustertest.ReadyMax)); err != nil {
		return 0, err
	}
	var piece []byte
	for began, next, more := time.Now(), 0, inFlight; time.Since(began) < d; {
		piece = piece[:0]
		for ; more > 0; more-- {
			piece = appendFlood(piece, s.bodies[next%len(s.bodies)], next, clustertest.ReadyMax)
			next++
		}
		if _, err := s.conn.Write(piece); err != nil {
			return done, err
		}
		if err := s.decoder.Fill(s.conn); err != nil {
			return done, err
		}
		for {
			h, _, ok, err := s.decoder.Next()
			if err != nil {
				return done, err
			}
			if !ok {
				break
			}
			if h.Type != wire.TypeWriteAnswer {
				return done, fmt.Errorf("a set is answered by %s", h.Type)
			}
			done++
			more++
		}
	}
	return done, nil
}

// floodMost is how many sets a second the cluster does at most: what callers get that
// wait for their answers, and cost as little as the flood, so that it is not the client
// that is at its end.
func floodMost(t *testing.T, c *clustertest.Cluster) float64 {
	t.Helper()
	const d = 3 * time.Second
	var all []float64
	for range maxRuns {
		spouts := openSpouts(t, c)
		var running sync.WaitGroup
		var done atomic.Int64
		for _, s := range spouts {
			running.Go(func() {
				defer s.conn.Close()
				n, err := s.keepFull(floodInFlight/len(spouts), d)
				if err != nil {
					t.Errorf("maximum: %v", err)
				}
				done.Add(int64(n))
			})
		}
		running.Wait()
		all = append(all, float64(done.Load())/d.Seconds())
	}
	t.Logf("maximum: %.0f sets/s, the median of %.0f; %d in flight", median(all), all, floodInFlight)
	return median(all)
}

// flood has sets due at a rate for some time, over connections to all nodes, and returns
// what became of them.
func flood(t *testing.T, c *clustertest.Cluster, rate float64, d time.Duration) *offered {
	t.Helper()
	spouts := openSpouts(t, c)
	for _, s := range spouts {
		defer s.conn.Close()
	}
	var sending, hearing sync.WaitGroup
	failures := make(chan error, 2*len(spouts))
	began := time.Now()
	for _, s := range spouts {
		s.began, s.gap = began, time.Duration(float64(len(spouts))/rate*float64(time.Second))
		sending.Go(func() {
			if err := s.send(d); err != nil {
				failures <- fmt.Errorf("send: %w", err)
			}
		})
		hearing.Go(func() {
			if err := s.hear(); err != nil {
				failures <- fmt.Errorf("hear: %w", err)
			}
		})
	}
	sending.Wait()
	o := &offered{took: time.Since(began), failed: map[string]int{}}
	for _, s := range spouts {
		if err := s.conn.SetReadDeadline(time.Now().Add(overloadWait + overloadWait/2)); err != nil {
			t.Error(err)
		}
	}
	hearing.Wait()
	close(failures)
	for err := range failures {
		t.Errorf("flood: %v", err)
	}
	if len(spouts) == 0 {
		t.Fatal("no node takes a set")
	}
	answered := 0
	for _, s := range spouts {
		o.due += s.due
		o.late += s.late
		o.times = append(o.times, s.times...)
		o.failed[floodUnsent] += s.unsent
		answered += s.unsent + s.late + s.refused + len(s.times)
		for code, n := range s.codes {
			o.failed[code] += n
		}
	}
	o.failed["not answered"] = o.due - answered
	return o
}

// A client that holds nothing back must not bring the nodes down: what they answer in
// time under five times their maximum is most of that maximum, and no leader changes.
// One would doubt it, because a node that takes in all that comes answers all of it too
// late, and because what is refused has to be read and answered as well.
func TestFlood(t *testing.T) {
	clustertest.OnDemand(t, *overload, "./node/trial/load -run TestFlood -overload -timeout 10m")
	for _, share := range []coreShare{tenthOfCore, halfCore} {
		share.each(t, func(t *testing.T, c *clustertest.Cluster) {
			most := floodMost(t, c)
			leaders := leadershipOf(c)
			before := flood(t, c, normalShare*most, 3*time.Second)
			t.Logf("before:    %v", before)

			o := flood(t, c, overloadTimes*most, overloadTime)
			t.Logf("overload:  %v", o)
			t.Logf("asked %.1f times the maximum", float64(o.due-o.failed[floodUnsent])/o.took.Seconds()/most)
			o.enough(t, most)
			after := flood(t, c, normalShare*most, 3*time.Second)
			t.Logf("after:     %v", after)
			if len(after.times) < after.due*99/100 {
				t.Errorf("after the overload: %v; want all answered in time", after)
			}
			sameLeaders(c, leaders)
		})
	}
}
