package trial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// tripleWriter sends each of its writes three times, on purpose, under one
// session and sequence, and again whenever it does not know what became of
// them. It speaks the protocol itself: the library would not do such a thing.
type tripleWriter struct {
	c       *clustertest.Cluster
	session uint64
	key     []byte
	at      int // which of its nodes it talks to
	to      map[int]*tripleConn
	request uint64
}

// tripleConn is a connection to one of the nodes.
type tripleConn struct {
	net.Conn
	greeted *wire.Greeting
}

// connect returns the connection to the node that w talks to.
func (w *tripleWriter) connect(ctx context.Context) (*tripleConn, error) {
	if conn := w.to[w.at]; conn != nil {
		return conn, nil
	}
	conn, err := clustertest.DialAsUser(ctx, w.c, w.c.Nodes[w.at].Addr)
	if err != nil {
		return nil, err
	}
	g, err := wire.ClientHello(conn, wire.DialConfig{Purpose: wire.PurposeClient, Role: wire.RoleClient, Window: 8})
	if err != nil {
		conn.Close()
		return nil, err
	}
	if w.to == nil {
		w.to = map[int]*tripleConn{}
	}
	w.to[w.at] = &tripleConn{conn, g}
	return w.to[w.at], nil
}

// attempt sends body three times to one node, and returns the answers that
// came. An error means that nobody knows.
func (w *tripleWriter) attempt(ctx context.Context, body []byte) ([]copyAnswer, error) {
	conn, err := w.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return nil, err
	}
	var out []byte
	for range 3 {
		w.request++
		b, start := wire.BeginFrame(out, wire.TypeWrite, 0, 5000, w.request)
		out = wire.EndFrame(append(b, body...), start)
	}
	if _, err := conn.Write(out); err != nil {
		return nil, err
	}
	var answers []copyAnswer
	var refused error
	for range 3 {
		h, got, err := wire.ReadFrame(conn, conn.greeted.Decoder)
		if err != nil {
			return answers, err
		}
		if h.Type == wire.TypeError {
			e := new(wire.Error)
			if err := e.Read(got); err != nil {
				return answers, err
			}
			refused = e
			continue
		}
		answers = append(answers, copyAnswer{h.Type, bytes.Clone(got)})
	}
	return answers, refused
}

// copyAnswer is the answer to one of the copies of a write.
type copyAnswer struct {
	kind wire.Type
	body []byte
}

// elsewhere has w talk to the next node. The connection to a node that has refused a write is good
// for another one.
func (w *tripleWriter) elsewhere(err error) {
	if e := (*wire.Error)(nil); !errors.As(err, &e) && w.to[w.at] != nil {
		w.to[w.at].Close()
		delete(w.to, w.at)
	}
	w.at = (w.at + 1) % len(w.c.Nodes)
}

// once returns the answer to a command, once all copies that were answered agree on it, to
// the last byte.
func (w *tripleWriter) once(ctx context.Context, c *shardmap.Command) (first copyAnswer, err error) {
	body := wire.AppendWrite(nil, c)
	for {
		answers, err := w.attempt(ctx, body)
		for _, a := range answers {
			if first.body == nil {
				first = a
			}
			if a.kind != first.kind || !bytes.Equal(a.body, first.body) {
				return first, fmt.Errorf("key %s, sequence %d: one copy is answered with %s %x, another with %s %x", w.key, c.Sequence, first.kind, first.body, a.kind, a.body)
			}
		}
		if err == nil {
			return first, nil
		}
		if e := (*wire.Error)(nil); errors.As(err, &e) && e.Retry() == wire.RetryNever && e.Code != wire.CodeMaybeApplied {
			return first, fmt.Errorf("key %s, sequence %d: %w", w.key, c.Sequence, err)
		}
		if ctx.Err() != nil {
			return first, fmt.Errorf("key %s, sequence %d: %w; last: %w", w.key, c.Sequence, ctx.Err(), err)
		}
		w.elsewhere(err)
	}
}

// write returns the version that a command got.
func (w *tripleWriter) write(ctx context.Context, c *shardmap.Command) (uint64, error) {
	answer, err := w.once(ctx, c)
	if err != nil {
		return 0, err
	}
	var a wire.WriteAnswer
	if err := a.Read(answer.body); err != nil {
		return 0, fmt.Errorf("key %s, sequence %d: %s: %w", w.key, c.Sequence, answer.kind, err)
	}
	return a.Version, nil
}

func (w *tripleWriter) close() {
	for _, conn := range w.to {
		conn.Close()
	}
}

// A hundred clients send each write three times, and the node that leads most
// groups is killed between. Each write must take effect once: all copies get
// one version, and no condition fails because a copy of the same write came
// first. One would doubt it: copies reach old and new leaders, some before and
// some after the crash.
func TestEachWriteOnce(t *testing.T) {
	t.Parallel()
	const clients, writes = 100, 20
	c := clustertest.Start(t, 3)
	ctx, cancel := context.WithTimeout(context.Background(), 2*clustertest.ReadyMax)
	defer cancel()
	victim := c.Leads(0)
	var done atomic.Int64
	half := make(chan struct{})
	last := make([]uint64, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			w := &tripleWriter{c: c, session: rand.Uint64() | 1, key: fmt.Appendf(nil, "once/%d", i), at: i % len(c.Nodes)}
			defer w.close()
			for n := range uint64(writes) {
				cmd := &shardmap.Command{Kind: shardmap.CommandSet, Session: w.session, Sequence: n + 1, Floor: n + 1,
					Slot: shardmap.SlotOf(w.key), Items: [][]byte{w.key, fmt.Append(nil, n)}}
				if i%2 == 1 { // half of them ask for the version that they know
					cmd.Condition, cmd.Version = shardmap.ConditionVersion, last[i]
					if n == 0 {
						cmd.Condition = shardmap.ConditionAbsent
					}
				}
				v, err := w.write(ctx, cmd)
				if err != nil {
					t.Error(err)
					return
				}
				if v <= last[i] {
					t.Errorf("key %s: version %d after %d", w.key, v, last[i])
				}
				last[i] = v
				if done.Add(1) == clients*writes/2 {
					close(half)
				}
			}
		}()
	}
	select {
	case <-half:
		c.Kill(victim)
	case <-ctx.Done():
		t.Fatalf("only %d writes were done in %v", done.Load(), 2*clustertest.ReadyMax)
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	cl := c.Client()
	for i := range clients {
		key := fmt.Appendf(nil, "once/%d", i)
		items, _, err := cl.Get(ctx, [][]byte{key}, client.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(items) != 1 || items[0].Version != last[i] || string(items[0].Value) != fmt.Sprint(writes-1) {
			t.Errorf("key %s: got %v, want version %d of write %d", key, items, last[i], writes-1)
		}
	}
}
