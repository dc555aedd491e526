package pointwriter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// Level is where points have to be before a write is answered (InfluxDB: consistency).
type Level uint8

// The levels.
const (
	Quorum Level = iota // with a majority of the group's voters; the default
	All                 // with each voter of the group
	One                 // with one node of the group
	Any                 // with any node

	levels
)

var levelNames = [levels]string{Quorum: "quorum", All: "all", One: "one", Any: "any"}

func (l Level) String() string {
	if l >= levels {
		return fmt.Sprintf("level %d", uint8(l))
	}
	return levelNames[l]
}

// ParseLevel reads the name of a level; an empty one is [Quorum].
func ParseLevel(name string) (Level, error) {
	if name == "" {
		return Quorum, nil
	}
	for l, word := range levelNames {
		if strings.EqualFold(name, word) {
			return Level(l), nil
		}
	}
	return 0, fmt.Errorf("level %q is not known; want any, one, quorum or all", name)
}

const (
	// hintWithin is how long nodes may take to keep it. So much of the write's time is left for that, or half of it.
	hintWithin = 2 * time.Second
	// allWithin is how long a write of level all waits for the voters that a majority does without, but no longer than half of the
	// time that it has left: the answer has to come back.
	allWithin = 3 * time.Second
)

// StoredError is about points of level all that are stored, though not everywhere in time. They come to the other voters from their
// leader.
type StoredError struct {
	Group          raft.GroupID
	Stored, Voters int
}

func (e *StoredError) Error() string {
	return fmt.Sprintf("group %d: stored on %d of %d", e.Group, e.Stored, e.Voters)
}

// LevelError refuses a write at a level that there is not.
type LevelError struct{ Level Level }

func (e *LevelError) Error() string { return fmt.Sprintf("%s; want any, one, quorum or all", e.Level) }

// Takes returns a [LevelError] for a level that there is not.
func (l Level) Takes() error {
	if l >= levels {
		return &LevelError{l}
	}
	return nil
}

// Bring has a group store points at a level. It is the one place where a level decides what becomes of a share; how the state changes is
// the same for all, but that a hint fills. At levels one and any a node keeps the points if a majority does not have them after wait;
// with a wait of 0 the group is not asked. Its errors are those of [client.BringPoints] and [client.KeepHint], and [StoredError].
func Bring(ctx context.Context, c *client.Client, g raft.GroupID, p *shardmap.PointsBody, l Level, wait time.Duration) (Brought, error) {
	if err := l.Takes(); err != nil {
		return Brought{}, err
	}
	if l == Quorum || l == All {
		a, err := client.BringPoints(ctx, c, g, p)
		if err == nil && l == All {
			err = everywhere(ctx, c, &a)
		}
		return Brought{Answer: a}, err
	}
	var why error
	if wait > 0 {
		if end, ok := ctx.Deadline(); ok && time.Until(end) < wait+hintWithin {
			wait = min(wait, time.Until(end)/2)
		}
		try, cancel := context.WithTimeout(ctx, wait)
		a, err := client.BringPoints(try, c, g, p)
		cancel()
		if err == nil || !mayHint(err) {
			return Brought{Answer: a}, err
		}
		why = err
	}
	where := wire.HintGroup
	if l == Any {
		where = wire.HintAny
	}
	keep, cancel := context.WithTimeout(ctx, hintWithin)
	defer cancel()
	switch _, err := client.KeepHint(keep, c, where, g, p); {
	case err == nil:
		return Brought{Hinted: true, Why: why}, nil
	case why == nil:
		return Brought{}, err
	default:
		return Brought{}, fmt.Errorf("%w; and %w", why, err)
	}
}

// everywhere waits until all voters have what a group has answered.
func everywhere(ctx context.Context, c *client.Client, a *client.PointsAnswer) error {
	wait := allWithin
	if end, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(end)/2)
	}
	stored, voters, err := client.StoredOn(ctx, c, a.Group, a.ID, wait)
	switch {
	case err != nil:
		return fmt.Errorf("stored on a majority, and not known to be stored on all: %w", err)
	case stored < voters:
		return &StoredError{a.Group, stored, voters}
	}
	return nil
}

// mayHint reports whether an error may be gone when the same points are brought later, so that a hint is of use.
func mayHint(err error) bool {
	var e *wire.Error
	if !errors.As(err, &e) {
		return true // it was not answered
	}
	switch e.Code {
	case wire.CodeNotLeader, wire.CodeBusy, wire.CodeUnavailable, wire.CodeMaybeApplied, wire.CodeNotReady, wire.CodeFull:
		return true
	}
	return false
}
