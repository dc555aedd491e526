package wire

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
)

// Window asks for the window of a policy that takes points of a time, and has it made if there is none:
//
//	[policy, time, database]
//
// A node asks the leader of the meta group. A client asks any node, which asks that leader if its own table has no such
// window. It may be sent again: a window is made once. Since level 10 (shardmap.PointsLevel).
type Window struct {
	Policy uint64 // shardmap.PolicyID
	Time   int64  // nanoseconds since 1970 UTC
	// Database is the name of the policy's database: a client's right to have windows made goes by it. Members may leave
	// it out.
	Database string
}

func (m *Window) fields(f *fields) {
	f.exactly(3, func() {
		number(f, "policy", &m.Policy)
		integer(f, "time", &m.Time)
		f.text("database", &m.Database)
	})
}

// Append appends the body.
func (m *Window) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *Window) Read(body []byte) error { return readFields(body, m) }

// WindowAnswer answers a [Window] with the window as the leader's table has it:
//
//	[index, window, start, end, truncated, [group, …]]
//
// It takes points from its start until truncated, of which neither end nor truncated are part.
type WindowAnswer struct {
	Index                 uint64 // of the leader's table
	Window                uint64 // shardmap.WindowID
	Start, End, Truncated int64  // nanoseconds since 1970 UTC
	Shards                []raft.GroupID
}

func (m *WindowAnswer) fields(f *fields) {
	f.atLeast(6, func() {
		number(f, "index", &m.Index)
		number(f, "window", &m.Window)
		integer(f, "start", &m.Start)
		integer(f, "end", &m.End)
		integer(f, "truncated", &m.Truncated)
		list(f, "shards", &m.Shards, 1, func(f *fields, g *raft.GroupID) { number(f, "group", g) })
	})
}

// Append appends the body.
func (m *WindowAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *WindowAnswer) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	if n := len(m.Shards); n == 0 || n > shardmap.WindowShardsMax {
		return fmt.Errorf("field shards: %d; want 1 to %d", n, shardmap.WindowShardsMax)
	}
	for _, g := range m.Shards {
		if g == 0 || g > raft.GroupMax {
			return fmt.Errorf("field shards: group %d; want 1 to %d", g, raft.GroupMax)
		}
	}
	if m.Start >= m.End || m.Truncated < m.Start || m.Truncated > m.End {
		return fmt.Errorf("field truncated: a window from %d to %d that is truncated at %d; want the three in order", m.Start, m.End, m.Truncated)
	}
	return nil
}

// ClockAnswer answers a Clock, which has no fields, with what the wall clock of the node shows: [time]. Retention goes
// by the clocks of a majority of the meta group's voters. Since level 10.
type ClockAnswer struct {
	Time int64 // Unix seconds
}

func (m *ClockAnswer) fields(f *fields) {
	f.atLeast(1, func() { integer(f, "time", &m.Time) })
}

// Append appends the body.
func (m *ClockAnswer) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *ClockAnswer) Read(body []byte) error { return readFields(body, m) }
