package main

import (
	"fmt"
	"net"

	"muster/docs/compare/frame"
)

// follow serves a leader until the connection ends. All batches that arrived
// together are kept by one write and acknowledged by one frame; reads that are
// confirmed meanwhile travel with it.
func follow(c net.Conn, w *diskLog, t *table) error {
	r := frame.NewReader(c)
	a := applier{table: t}
	var out []byte
	var batches []frame.Frame
	var toLog [][]byte
	for {
		frames, err := r.Burst()
		if err != nil {
			return err
		}
		out, batches, toLog = out[:0], batches[:0], toLog[:0]
		for _, f := range frames {
			switch f.Kind {
			case frame.Confirm:
				out = frame.Append(out, frame.Confirmed, f.ID)
			case frame.Batch:
				batches, toLog = append(batches, f), append(toLog, f.Bytes)
			default:
				return fmt.Errorf("a leader sent kind %d", f.Kind)
			}
		}
		if len(batches) > 0 {
			if err := w.write(toLog...); err != nil {
				return err
			}
			out = frame.Append(out, frame.Synced, batches[len(batches)-1].ID)
		}
		if _, err := c.Write(out); err != nil {
			return err
		}
		// Nobody waits for this copy: it changes after the answer has left.
		for _, b := range batches {
			if err := a.apply(b.Body, func() {}); err != nil {
				return err
			}
		}
	}
}
