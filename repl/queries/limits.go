package queries

import (
	"errors"
	"fmt"
	"time"
)

// The costs that a query may have where its request names nothing else, and the most that it may name.
const (
	// TimeDefault and TimeMax bound how long a query may take, from its text to its last row.
	TimeDefault = time.Minute
	TimeMax     = 10 * time.Minute
	// MemoryDefault and MemoryMax bound the memory of a query in bytes: where its answers come together, and at each shard.
	MemoryDefault = 128 << 20
	MemoryMax     = 256 << 20 // as wire.PointsQueryMemoryMax
	// SeriesDefault and SeriesMax bound the series that a query may look at in each shard.
	SeriesDefault = 4 << 20
	SeriesMax     = 16 << 20 // as wire.PointsQuerySeriesMax
	// RowsMax bounds the rows of a statement.
	RowsMax = 100_000_000
	// AtOnce is how many shards a query asks at a time.
	AtOnce = 8
	// TextShown bounds what is told of the text of a query that runs, in bytes.
	TextShown = 1024
)

const (
	// movedPause and movedPauseMax lie between two questions after the table, when a group has said that a shard is another
	// one's, or no more.
	movedPause    = 20 * time.Millisecond
	movedPauseMax = 500 * time.Millisecond
)

// RemedyTime is what can be done about a query that takes too long.
const RemedyTime = "ask for a shorter time, fewer series or fewer fields, or give it more time"

// Limits are what a query may cost; what is 0 is the default.
type Limits struct {
	Time   time.Duration
	Memory int64 // bytes
	Series int64
}

// Check refuses limits that no query may have.
func (l *Limits) Check() error {
	switch {
	case l.Time < 0 || l.Time > TimeMax:
		return fmt.Errorf("limit of time %s: want up to %s", l.Time, TimeMax)
	case l.Memory < 0 || l.Memory > MemoryMax:
		return fmt.Errorf("limit of memory %d: want up to %d bytes", l.Memory, MemoryMax)
	case l.Series < 0 || l.Series > SeriesMax:
		return fmt.Errorf("limit of series %d: want up to %d", l.Series, SeriesMax)
	}
	return nil
}

// filled is l with the defaults.
func (l Limits) filled() Limits {
	if l.Time == 0 {
		l.Time = TimeDefault
	}
	if l.Memory == 0 {
		l.Memory = MemoryDefault
	}
	if l.Series == 0 {
		l.Series = SeriesDefault
	}
	return l
}

// ErrEnded ends a query that a person has ended.
var ErrEnded = errors.New("the query was ended: query kill, or KILL QUERY")

// TimeError ends a query that takes longer than it may.
type TimeError struct{ Max time.Duration }

func (e *TimeError) Error() string {
	return fmt.Sprintf("the query took longer than %s; %s", e.Max, RemedyTime)
}

// TextError refuses a text that is no InfluxQL, or is over a limit of texts.
type TextError struct{ Err error }

func (e *TextError) Error() string { return e.Err.Error() }

// Unwrap returns the error of the parser, or of a limit.
func (e *TextError) Unwrap() error { return e.Err }

// NotFoundError is the end of a statement about a database or a policy that is not there, or that the user has no right to.
type NotFoundError struct {
	What string // "database", "retention policy"
	Name string
}

func (e *NotFoundError) Error() string { return e.What + " not found: " + e.Name }

// errNotExecuted is InfluxDB's word for statements behind one that has failed.
var errNotExecuted = errors.New("not executed")
