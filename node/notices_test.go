package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"muster/logstore/vfs"
	"muster/repl/wire"
	"muster/shardmap"
)

// Strangers may do something wrong as often as they like, each time in another
// way: they must not decide how large the log gets. What happens now and then
// is in it all the same, and what is not is counted.
func TestNoticesAreBounded(t *testing.T) {
	var out bytes.Buffer
	n := notices{log: slog.New(slog.NewTextHandler(&out, nil)), pause: time.Hour}
	mistakes := []error{
		wire.Unauthorized("client", strings.Repeat("x", 10_000), "give a secret"),
		wire.WrongVersion("dialler", 7, 9),
		fmt.Errorf("hello from 10.0.0.9:1: %w: it begins with %q", wire.ErrForeign, "GET / HT"),
		fmt.Errorf("hello from 10.0.0.9:1: it said nothing: %w", io.EOF),
		&wire.Error{Code: 777, Text: "of a newer version"},
		errors.New("something else"),
	}
	const rounds = 10_000
	for range rounds {
		for _, err := range mistakes {
			n.refused(err)
		}
		n.notCounted(7, new(net.TCPAddr))
		n.refused(fmt.Errorf("read: %w", net.ErrClosed)) // this node's own doing
	}
	lines := strings.Count(out.String(), "\n")
	if want := len(mistakes) * noticeBurst; lines != want { // the last two mistakes are one kind
		t.Errorf("%d lines, want %d", lines, want)
	}
	if bound := lines * 2 * noticeSize; out.Len() > bound {
		t.Errorf("%d bytes in %d lines", out.Len(), lines)
	}
	total := uint64(0)
	for _, row := range n.rows() {
		total += row.In
	}
	if want := rounds * uint64(len(mistakes)+1); total != want {
		t.Errorf("%d are counted, want %d: %v", total, want, n.rows())
	}
}

// A day of ten mistakes a second: a line a minute, each with how many were
// before it, none of them forgotten.
func TestNoticesOfADay(t *testing.T) {
	n := notices{pause: time.Minute}
	begin := time.Now()
	lines, said := 0, uint64(0)
	const step = 100 * time.Millisecond
	for at := time.Duration(0); at < 24*time.Hour; at += step {
		if silent, ok := n.take("kind", begin.Add(at)); ok {
			lines++
			said += silent + 1
		}
	}
	if most := noticeBurst + 24*60; lines > most || lines < most-noticeBurst {
		t.Errorf("%d lines in a day, want some %d", lines, most)
	}
	if all := uint64(24 * time.Hour / step); said < all-uint64(time.Minute/step) || said > all {
		t.Errorf("the lines speak of %d, there were %d", said, all)
	}
	if silent, ok := n.take("another kind", begin.Add(24*time.Hour)); !ok || silent != 0 {
		t.Errorf("another kind is kept silent (%d)", silent)
	}
}

// A host that takes part in a founding decides what its operator is told, and may
// say another thing each time that it is asked: it must not decide how large the
// log gets either.
func TestFoundingAndTheLog(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := testConfig(t)
	c.Listen = freeAddrs(t, 1)[0]
	c.Join, c.Expect = []string{c.Listen, l.Addr().String()}, 2
	var answers atomic.Int64
	answer := func(conn net.Conn) {
		defer conn.Close()
		g, err := wire.ServerHello(conn, wire.AcceptConfig{Cluster: c.Cluster, Node: 4711, Advertise: l.Addr().String(), Level: shardmap.Level})
		if err != nil {
			return
		}
		if h, _, err := wire.ReadFrame(conn, g.Decoder); err == nil && h.Type == wire.TypeFounding {
			other := newFounding(c.Cluster, 4711, l.Addr().String(), c.Join)
			other.settings = wire.FoundingSettings{Groups: uint32(1000 + answers.Add(1)), ValueMax: 1}
			a := other.answer()
			_ = wire.WriteFrame(conn, wire.TypeFoundingAnswer, h.Request, &a)
		}
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go answer(conn)
		}
	}()
	r, log, ready := startOn(t, vfs.NewMem(), c)
	<-ready
	until(t, "it was answered often", func() error {
		if n := answers.Load(); n < 3*noticeBurst {
			return fmt.Errorf("%d times, and it says\n%s", n, log)
		}
		return nil
	})
	r.stop()
	if n := strings.Count(log.String(), "founds with --groups"); n == 0 || n > noticeBurst {
		t.Errorf("%d lines, want 1 to %d, in\n%s", n, noticeBurst, log)
	}
}

// The same through the port: what hellos say ends up in few, short lines, and
// in the counters.
func TestStrangersAndTheLog(t *testing.T) {
	r := serving(t, defaultLimits())
	c := wire.DialConfig{Purpose: wire.PurposeClient, Role: wire.RoleClient, Cluster: "another"}
	for range 3 * noticeBurst {
		_, err := dial(t, r.addr, c)
		refused(t, "a client of another cluster", err, wire.CodeWrongCluster, "another")
	}
	s := r.client()
	until(t, "all are counted", func() error {
		_, body, err := s.ask(wire.TypeCounters, 0, new(wire.Empty).Append(nil))
		var a wire.CountersAnswer
		if err == nil {
			err = a.Read(body)
		}
		for _, row := range a.Rows {
			if row.Name == "connections refused: wrong-cluster" && row.In == 3*noticeBurst {
				return nil
			}
		}
		return fmt.Errorf("rows %v, %v", a.Rows, err)
	})
}
