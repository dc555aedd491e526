package pointwriter

import (
	"context"
	"fmt"
	"strings"

	"muster/raft"
	"muster/repl/client"
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

// LevelError refuses a write at a level that there is not yet.
type LevelError struct{ Level Level }

func (e *LevelError) Error() string {
	return fmt.Sprintf("points can't be written at level %s yet; want %s", e.Level, Quorum)
}

// Takes returns a [LevelError] for a level at which [Bring] brings nothing.
func (l Level) Takes() error {
	if l != Quorum {
		return &LevelError{l}
	}
	return nil
}

// Bring has a group store points at a level. It is the one place where a level decides what becomes of a share. Its errors
// are those of [client.BringPoints], and [LevelError].
func Bring(ctx context.Context, c *client.Client, g raft.GroupID, p *shardmap.PointsBody, l Level) (Brought, error) {
	if err := l.Takes(); err != nil {
		return Brought{}, err
	}
	a, err := client.BringPoints(ctx, c, g, p)
	return Brought{Answer: a}, err
}
