package bench

import (
	"math"
	"net"
	"sync"
	"testing"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// fakeNode is a node on loopback that answers everything at once, but for writes
// and gets while it stands still, after which it goes on where it was, and for
// those once it has answered as many as it does.
type fakeNode struct {
	t    testing.TB
	addr string

	mu     sync.Mutex
	moving sync.Cond
	still  bool
	left   int // writes and gets that it still answers
	closed bool
}

func newFakeNode(t testing.TB) (*fakeNode, *client.Client) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &fakeNode{t: t, addr: l.Addr().String(), left: math.MaxInt}
	n.moving.L = &n.mu
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { n.serve(conn) })
		}
	})
	c, err := client.Open(client.Options{Insecure: true, Endpoints: []string{n.addr}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		l.Close()
		n.mu.Lock()
		n.closed = true
		n.mu.Unlock()
		n.moving.Broadcast()
		all.Wait()
	})
	return n, c
}

// stand makes it stand still, or go on.
func (n *fakeNode) stand(still bool) {
	n.mu.Lock()
	n.still = still
	n.mu.Unlock()
	n.moving.Broadcast()
}

// muteAfter has it answer so many writes and gets more, and no others.
func (n *fakeNode) muteAfter(answers int) {
	n.mu.Lock()
	n.left = answers
	n.mu.Unlock()
}

func (n *fakeNode) serve(conn net.Conn) {
	defer conn.Close()
	g, err := wire.ServerHello(conn, wire.AcceptConfig{
		Cluster: "fake", ClusterID: 99, Node: 1, Level: 1, ValueMax: 1 << 20, WindowMax: shardmap.SessionWindowMax,
	})
	if err != nil {
		return
	}
	d := g.Decoder
	var out []byte
	for {
		for {
			h, _, ok, err := d.Next()
			if err != nil {
				n.t.Errorf("a bad frame: %v", err)
				return
			}
			if !ok {
				break
			}
			if h.Type == wire.TypeWrite || h.Type == wire.TypeGet {
				n.mu.Lock()
				for n.still && !n.closed {
					n.moving.Wait()
				}
				mute := n.left == 0
				n.left = max(n.left-1, 0)
				n.mu.Unlock()
				if mute {
					continue
				}
			}
			if h.Type == wire.TypeScan {
				a := wire.ListAnswer{Group: 1, At: raft.LogID{Term: 1, Index: 1}, Count: 2}
				a.Rows = wire.AppendListRow(wire.AppendListRow(nil, []byte("bench/a"), 1, []byte{}), []byte("bench/b"), 1, []byte{})
				out = wire.AppendPiece(out, wire.TypeScanPiece, h.Request, &a)
				out = wire.AppendFrame(out, wire.TypeStreamEnd, h.Request, &wire.StreamEnd{Reason: wire.EndDone})
				continue
			}
			var start int
			out, start = wire.BeginFrame(out, answerTo(h.Type), 0, 0, h.Request)
			out = wire.EndFrame(n.answer(out, h.Type), start)
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
		out = out[:0]
		if err := d.Fill(conn); err != nil {
			return
		}
	}
}

// answerTo is the type that answers t.
func answerTo(t wire.Type) wire.Type {
	a := t
	for a.Question() != t {
		a++
	}
	return a
}

func (n *fakeNode) answer(out []byte, t wire.Type) []byte {
	at := raft.LogID{Term: 1, Index: 1}
	switch t {
	case wire.TypeTopology:
		return (&wire.TopologyAnswer{
			ClusterID: 99, Epoch: 1, Index: 1, ValueMax: 1 << 20,
			Nodes:  []wire.TopologyNode{{ID: 1, Name: "n1", Addr: n.addr}},
			Groups: []wire.TopologyGroup{{ID: 1, Nodes: []raft.NodeID{1}, Leader: 1}},
			Slots:  []shardmap.OwnedRange{{SlotRange: shardmap.SlotRange{From: 0, To: shardmap.Slots - 1}, Group: 1}},
		}).Append(out)
	case wire.TypeStatus:
		return (&wire.StatusAnswer{Cluster: "fake", Self: 1, Healthy: true, CPUMicros: 1}).Append(out)
	case wire.TypeWrite:
		return (&wire.WriteAnswer{Group: 1, ID: at, Version: 1}).Append(out)
	case wire.TypeGet:
		return wire.AppendMissing(wire.AppendGetAnswer(out, 1, at, 1))
	}
	return (&wire.Empty{}).Append(out)
}
