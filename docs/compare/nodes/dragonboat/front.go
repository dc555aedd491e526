package main

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"

	"muster/docs/compare/frame"
	"muster/docs/compare/load"
)

// requestTimeout is how long one request may take, with all that it waits for a place in the
// library's queue.
const requestTimeout = 5 * time.Second

// busyPause is how long a request waits where the library's queue is full. The
// wait is part of what the client sees.
const busyPause = time.Millisecond

// frontend answers clients.
type frontend struct {
	host    *dragonboat.NodeHost
	session *client.Session
}

// serve answers the requests of one connection, each in a goroutine of its own,
// since the library's calls block.
func (f *frontend) serve(c net.Conn) {
	defer c.Close()
	out := frame.NewOutbox(c)
	defer out.Close()
	r := frame.NewReader(c)
	for {
		requests, err := r.Burst()
		if err != nil {
			return
		}
		for _, q := range requests {
			// The reader uses its memory again before the library has answered.
			body := append([]byte(nil), q.Body...)
			go func() {
				kind, answer := f.answer(q.Kind, body)
				out.Add(func(b []byte) []byte { return frame.Append(b, kind, q.ID, answer) })
			}()
		}
	}
}

func (f *frontend) answer(kind frame.Kind, body []byte) (frame.Kind, []byte) {
	switch {
	case kind == frame.WhoLeads:
		leader, _, known, err := f.host.GetLeaderID(shard)
		if err != nil || !known {
			return frame.Failed, []byte("no leader is known")
		}
		return frame.Leads, []byte{byte(leader - 1)}
	case kind == frame.Put && len(body) >= load.KeyBytes:
		err := patiently(func(ctx context.Context) error {
			_, err := f.host.SyncPropose(ctx, f.session, body)
			return err
		})
		if err != nil {
			return frame.Failed, []byte(err.Error())
		}
		return frame.Done, nil
	case kind == frame.Get && len(body) == load.KeyBytes:
		var value []byte
		err := patiently(func(ctx context.Context) error {
			found, err := f.host.SyncRead(ctx, shard, body)
			if err == nil {
				value = found.([]byte)
			}
			return err
		})
		switch {
		case err != nil:
			return frame.Failed, []byte(err.Error())
		case value == nil:
			return frame.Missing, nil
		}
		return frame.Value, value
	}
	return frame.Failed, []byte("no such request")
}

// patiently calls f again while the library's queue is full, but no longer than a request may take.
func patiently(f func(context.Context) error) error {
	ctx := within{context.Background(), time.Now().Add(requestTimeout)}
	for ; ; time.Sleep(busyPause) {
		err := f(ctx)
		if !errors.Is(err, dragonboat.ErrSystemBusy) || time.Now().After(ctx.deadline) {
			return err
		}
	}
}

// within is a context that has a deadline and no timer. The library only reads
// the deadline, to count ticks; a timer for each request would be charged to it.
type within struct {
	context.Context
	deadline time.Time
}

// Deadline returns the deadline.
func (w within) Deadline() (time.Time, bool) { return w.deadline, true }
