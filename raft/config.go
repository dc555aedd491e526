package raft

import "fmt"

// Defaults of [Config]. A tick is 50 ms.
const (
	// ElectionTicksDefault is one second: an election timeout is 1 to 2 s.
	ElectionTicksDefault = 20
	// HeartbeatTicksDefault is 100 ms: ten heartbeats may be lost before a
	// follower doubts its leader.
	HeartbeatTicksDefault = 2
	// UncommittedBytesMaxDefault bounds what a leader holds that it has not
	// applied: a third of a second of a disk that writes 100 MB/s.
	UncommittedBytesMaxDefault = 32 << 20
	// TailBytesMaxDefault bounds the applied entries kept in memory for
	// followers that are a little behind. While none is, it is an eighth.
	TailBytesMaxDefault = 1 << 20
	// AppendBytesMaxDefault bounds one append. Longer ones save nothing more
	// and delay what stands behind them on the connection.
	AppendBytesMaxDefault = 1 << 20
	// InflightMessagesMaxDefault and InflightBytesMaxDefault bound what is
	// under way to one follower: enough to fill 1 Gbit/s over 60 ms.
	InflightMessagesMaxDefault = 256
	InflightBytesMaxDefault    = 8 << 20
	// PendingReadsMaxDefault bounds the reads that wait for a confirmation.
	PendingReadsMaxDefault = 1 << 16
)

// Config is what a Group is told once. A zero in a limit means its default.
type Config struct {
	Self ReplicaID
	Seed Seed // of the group's entries, see [EntrySeed]
	// Chance seeds all random choices. It must differ from replica to replica,
	// and from one start of a replica to the next: a follower's reads are
	// numbered from there, and an answer to an earlier life must not fit.
	Chance uint64

	// ElectionTicks: an election timeout is random in [ElectionTicks,
	// 2*ElectionTicks). HeartbeatTicks must be less.
	ElectionTicks  int
	HeartbeatTicks int

	// QuietTicks is how long a leader has nothing to do before it lets the
	// group rest; 0: never. It is for owners that notice by themselves when
	// a quiet group's leader is gone, or no longer leads though its node lives,
	// and call [Group.LeaderLost] or [Group.Wake]: a quiet follower hears no
	// heartbeats and counts no ticks.
	QuietTicks int

	UncommittedBytesMax int
	TailBytesMax        int
	AppendBytesMax      int // of entries in one append; one entry may be longer
	InflightMessagesMax int // per follower
	InflightBytesMax    int // per follower
	PendingReadsMax     int
}

func (c *Config) fill() error {
	if c.Self == 0 {
		return fmt.Errorf("config: self is 0, which is nobody")
	}
	for _, f := range []struct {
		name  string
		value *int
		least int
		usual int
	}{
		{"heartbeat ticks", &c.HeartbeatTicks, 1, HeartbeatTicksDefault},
		{"election ticks", &c.ElectionTicks, 2, ElectionTicksDefault},
		{"uncommitted bytes", &c.UncommittedBytesMax, 1, UncommittedBytesMaxDefault},
		{"tail bytes", &c.TailBytesMax, 1, TailBytesMaxDefault},
		{"append bytes", &c.AppendBytesMax, 1, AppendBytesMaxDefault},
		{"inflight messages", &c.InflightMessagesMax, 1, InflightMessagesMaxDefault},
		{"inflight bytes", &c.InflightBytesMax, 1, InflightBytesMaxDefault},
		{"quiet ticks", &c.QuietTicks, 0, 0},
		{"pending reads", &c.PendingReadsMax, 1, PendingReadsMaxDefault},
	} {
		if *f.value == 0 {
			*f.value = f.usual
		}
		if *f.value < f.least {
			return fmt.Errorf("config: %s is %d, the least is %d", f.name, *f.value, f.least)
		}
	}
	if c.HeartbeatTicks >= c.ElectionTicks {
		return fmt.Errorf("config: %d heartbeat ticks must be less than %d election ticks", c.HeartbeatTicks, c.ElectionTicks)
	}
	return nil
}
