package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
)

// anewLog is a leadLog that counts the connections which were replaced, and keeps which ended in another way.
type anewLog struct {
	leadLog
	peers, clients, snapshots atomic.Int64
}

func (l *anewLog) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *anewLog) WithGroup(string) slog.Handler      { return l }

func (l *anewLog) Handle(ctx context.Context, r slog.Record) error {
	switch r.Message {
	case "peer connected anew":
		l.peers.Add(1)
	case "node connected anew":
		l.clients.Add(1)
	case "snapshot sent":
		l.snapshots.Add(1)
	case "snapshot not sent", "node not connected", "connection carried too much", "peer lost":
		line := r.Message
		r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
		l.mu.Lock()
		l.lines = append(l.lines, line)
		l.mu.Unlock()
		return nil
	}
	return l.leadLog.Handle(ctx, r)
}

// cut returns what tells of connections that ended before another one took their place, and of leaders that
// were lost by that.
func (l *anewLog) cut() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var wrong []string
	for _, line := range l.lines {
		if !strings.HasPrefix(line, "group") || strings.Contains(line, `lost="connection closed"`) {
			wrong = append(wrong, line)
		}
	}
	return strings.Join(wrong, "\n")
}

const (
	fillKeys  = 64
	fillBytes = 8 << 10
	fillers   = 2
)

// fills sets large values, so that its connections carry much, until ctx ends or they have carried more than
// enough.
func (u *rotationUser) fills(ctx context.Context, sets int) {
	value := bytes.Repeat([]byte("v"), fillBytes)
	for i := 0; i < sets && ctx.Err() == nil; i++ {
		one, cancel := context.WithTimeout(context.Background(), readyMax)
		_, err := u.c.Set(one, fmt.Appendf(nil, "fill/%s/%02d", u.name, i%fillKeys), value, client.WriteOptions{})
		cancel()
		if err != nil {
			u.failed(fmt.Errorf("fill %d: %w", i, err))
			return
		}
	}
}

// lists lists what fills has set, again and again, and what it finds is there stays there.
func (u *rotationUser) lists(ctx context.Context) {
	for found := 0; ctx.Err() == nil; {
		one, cancel := context.WithTimeout(context.Background(), readyMax)
		var keys [][]byte
		for item, err := range u.c.List(one, []byte("fill/"+u.name+"/"), client.ListOptions{}) {
			if err != nil {
				u.failed(fmt.Errorf("list: %w", err))
				break
			}
			if n := len(keys); n > 0 && bytes.Compare(keys[n-1], item.Key) >= 0 || len(item.Value) != fillBytes {
				u.failed(fmt.Errorf("list: %q with %d bytes behind %q", item.Key, len(item.Value), keys[n-1]))
			}
			keys = append(keys, bytes.Clone(item.Key))
		}
		cancel()
		if len(keys) < found {
			u.failed(fmt.Errorf("list: %d keys, where %d were", len(keys), found))
		}
		found = len(keys)
	}
}

// The keys of a connection protect so much and no more, so each connection of members and clients is replaced by
// another one again and again. That must be seen by nobody: each write and read succeeds, listings are whole, a watch
// is told of each change once, and no group loses its leader.
func TestConnectionsGetNewKeys(t *testing.T) {
	if wrong := wearsOut(t); wrong != "" {
		t.Error(wrong)
	}
}

// wearsOut has connections carry much more than they may, and returns what that has broken.
func wearsOut(t *testing.T) (wrong string) {
	const (
		keyBytes, replaced, setsMax = 256 << 10, 12, 1200
		direct, passed              = 0, 1 // clients: one that goes to who leads, and one whose node passes all on
	)
	l := secureLimits()
	l.keyBytes, l.keyBytesEnd = keyBytes, 100*keyBytes
	log := new(anewLog)
	nodes, users := securedWithin(t, 3, l, log)
	p := &people{t: t, nodes: nodes}
	until(t, "the first user has a certificate", func() error {
		if !users[0].has() {
			return errors.New("not yet")
		}
		return nil
	})
	dir := p.home(users[0].root, users[0].leaf.Raw, users[0].key)
	ctx, stop := context.WithCancel(t.Context())
	var working, filling sync.WaitGroup
	var all []*rotationUser
	var logs []*anewLog
	for _, how := range []client.Forwarding{direct: client.ForwardWhenCut, passed: client.ForwardAlways} {
		seen := new(anewLog)
		c, err := client.Open(client.Options{Endpoints: []string{nodes[0].addr}, Home: dir, Forward: how, KeyBytes: keyBytes, Log: slog.New(seen)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		u := &rotationUser{name: fmt.Sprintf("user%d", how), c: c}
		all, logs = append(all, u), append(logs, seen)
	}
	defer working.Wait()
	defer stop()
	log.begin()
	working.Go(func() { all[direct].watches(ctx) })
	for _, u := range all {
		working.Go(func() { u.works(ctx) })
		working.Go(func() { u.lists(ctx) })
		for range fillers {
			filling.Go(func() { u.fills(ctx, setsMax/fillers) })
		}
	}
	filled := make(chan struct{})
	go func() { filling.Wait(); close(filled) }()
	advancing(t, "all connections are replaced again and again", func() (far int, err error) {
		peers := int(log.peers.Load())
		far = peers
		if peers < 2*replaced {
			err = fmt.Errorf("those between members %d times", peers)
		}
		for i, u := range all {
			u.mu.Lock()
			failed, told := u.err, u.told
			u.mu.Unlock()
			if failed != nil {
				wrong = fmt.Sprintf("%s: %v", u.name, failed)
				return far, nil
			}
			n := int(logs[i].clients.Load())
			if far += n + told; n < replaced || i == direct && told < replaced {
				err = fmt.Errorf("those of client %s %d times, which was told of %d changes", u.name, n, told)
			}
		}
		select {
		case <-filled:
			if err != nil {
				wrong = fmt.Sprintf("%d bytes over each client's connections, and replaced were %v", setsMax*fillBytes, err)
			}
			return far, nil
		default:
			return far, err
		}
	})
	stop()
	filling.Wait()
	working.Wait()
	for i, u := range all {
		if cut := logs[i].cut(); u.err != nil || cut != "" {
			wrong += fmt.Sprintf("\n%s: %v %s", u.name, u.err, cut)
		}
		t.Logf("client %s: counted to %d, replaced %d connections", u.name, u.count, logs[i].clients.Load())
	}
	t.Logf("members replaced %d connections", log.peers.Load())
	return strings.TrimSpace(wrong + "\n" + log.cut())
}

// A client, or a member, that never replaces its connection is told so when it has carried twice what it may, and
// the connection ends. What it has asked for before is answered, and the next connection takes what comes.
func TestWornConnectionEnds(t *testing.T) {
	if wrong := wornStays(t); wrong != "" {
		t.Error(wrong)
	}
}

func wornStays(t *testing.T) string {
	const end = 256 << 10
	l := secureLimits()
	l.keyBytes, l.keyBytesEnd = end/2, end // members replace theirs
	nodes, users := securedWithin(t, 2, l, slog.DiscardHandler)
	until(t, "the first user has a certificate", func() error {
		if !users[0].has() {
			return errors.New("not yet")
		}
		return nil
	})
	// goesOn sends the same over a connection again and again, until that ends.
	goesOn := func(what string, s *speaker, kind wire.Type, flags uint16, body []byte) string {
		for sent := 0; sent < 4*end; sent += len(body) {
			s.request++
			if _, err := s.Write(frame(kind, flags, s.request, body)); err != nil {
				return fmt.Sprintf("%s: after %d bytes: %v", what, sent, err)
			}
			h, got, err := s.read()
			e := new(wire.Error)
			switch {
			case err != nil:
				return fmt.Sprintf("%s: not answered after %d bytes: %v", what, sent, err)
			case h.Request == s.request:
				continue // whatever it is, it is an answer
			case h.Type != wire.TypeError || e.Read(got) != nil || h.Request != 0:
				return fmt.Sprintf("%s: after %d bytes %s in answer to %d of %d: %v", what, sent, h.Type, h.Request, s.request, e)
			case e.Code != wire.CodeNotReady || !strings.Contains(e.Error(), fmt.Sprint(end)) || !strings.Contains(e.Error(), "connect again"):
				return fmt.Sprintf("%s: ends with %v", what, e)
			case sent < end-2*len(body):
				return fmt.Sprintf("%s: ends after %d bytes", what, sent)
			}
			if _, _, err := s.read(); !errors.Is(err, io.EOF) {
				return fmt.Sprintf("%s: after its end: %v", what, err)
			}
			return ""
		}
		return fmt.Sprintf("%s: %d bytes went under one key", what, 4*end)
	}
	var s *speaker
	until(t, "a client may write", func() (err error) {
		if s, err = dialTLS(t, nodes[0].addr, users[0].holder(t), clientHello); err == nil {
			_, _, err = s.ask(wire.TypeWrite, wire.FlagForward, write(setCommand("k", "v")))
		}
		return err
	})
	if wrong := goesOn("client", s, wire.TypeWrite, wire.FlagForward, write(setCommand("k", strings.Repeat("v", fillBytes)))); wrong != "" {
		return wrong
	}
	if again, err := dialTLS(t, nodes[0].addr, users[0].holder(t), clientHello); err != nil {
		return fmt.Sprintf("the next connection: %v", err)
	} else if _, _, err = again.ask(wire.TypeWrite, wire.FlagForward, write(setCommand("k", "v"))); err != nil {
		return fmt.Sprintf("a set over the next connection: %v", err)
	}

	// A member that sends a snapshot, and goes on and on.
	conn, g, err := nodes[1].node.caller.dial(t.Context(), nodes[0].node.self().Node, nodes[0].addr, wire.PurposeBulk, wire.RolePeer)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b := &speaker{Conn: conn, t: t, decoder: g.Decoder}
	c := wire.Chunk{Number: 7, Group: 99, Incarnation: 1, From: 1, To: 2, Term: 1, Base: raft.LogID{Term: 1, Index: 5}, Size: 1 << 30, Data: bytes.Repeat([]byte("v"), fillBytes)}
	return goesOn("member", b, wire.TypeChunk, 0, c.Append(nil))
}

// A node was away for so long that it gets a snapshot, which is larger than all that one connection may carry. It goes on
// over one connection after the other: none is cut, and the node has all that was written.
func TestSnapshotGetsNewKeys(t *testing.T) {
	if wrong := snapshotWears(t); wrong != "" {
		t.Error(wrong)
	}
}

func snapshotWears(t *testing.T) string {
	const keyBytes, keys, valueBytes, rounds = 1 << 20, 80, 128 << 10, 3
	l := secureLimits()
	l.keyBytes, l.keyBytesEnd = keyBytes, 4*keyBytes
	log := new(anewLog)
	nodes, users := securedWithin(t, 3, l, log)
	until(t, "the first user has a certificate", func() error {
		if !users[0].has() {
			return errors.New("not yet")
		}
		return nil
	})
	p := &people{t: t, nodes: nodes}
	c, err := client.Open(client.Options{Endpoints: []string{nodes[0].addr}, Home: p.home(users[0].root, users[0].leaf.Raw, users[0].key), KeyBytes: keyBytes})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	away := nodes[2].node.cfg
	nodes[2].stop()
	log.begin()
	written, failed := 0, error(nil)
	b := c.Bulk(t.Context(), 1<<20, func(_ uint64, _ client.Written, err error) {
		if written++; err != nil {
			failed = err
		}
	})
	for i := range keys * rounds {
		b.Set(fmt.Appendf(nil, "{one}/%02d", i%keys), bytes.Repeat([]byte{byte(i)}, valueBytes), 0)
	}
	b.Wait()
	if failed != nil || written != keys*rounds {
		return fmt.Sprintf("%d of %d writes end, with %v", written, keys*rounds, failed)
	}
	nodes[2] = startLogging(t, away, l, log, func(*Node) {})
	until(t, "the node that was away gets a snapshot", func() error {
		if log.snapshots.Load() == 0 && !strings.Contains(log.cut(), "snapshot not sent") {
			return errors.New("none was sent")
		}
		return nil
	})
	// The node that was away is lost to the others until it is back, and so are the groups that it led.
	var wrong []string
	for line := range strings.Lines(log.cut()) {
		if !strings.HasPrefix(line, "peer lost") && !strings.HasPrefix(line, "group") {
			wrong = append(wrong, line)
		}
	}
	return strings.Join(wrong, "")
}
