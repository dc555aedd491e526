package shardmap

import (
	"fmt"
	"math"

	"muster/shardmap/pack"
)

// RaiseCommand returns the command that raises a group to a level, which the cluster must have
// reached. Its slot, which every command has, means nothing.
//
// Replicas learn of a level at different moments. What the level adds to the state of a group
// begins with the entry of this command, on all replicas alike.
func RaiseCommand(level uint32) Command {
	b := pack.AppendArray(nil, raiseFields)
	return Command{Kind: CommandRaise, Items: [][]byte{pack.AppendUint(b, uint64(level))}}
}

// The body is a msgpack array: [level].
const raiseFields = 1

// ReadRaise reads the level of a command raise.
func ReadRaise(c *Command) (level uint32, err error) {
	if c.Kind != CommandRaise || len(c.Items) != 1 {
		return 0, fmt.Errorf("%w: %s with %d items is no raise", ErrCommand, c.Kind, len(c.Items))
	}
	r := tableReader{Reader: pack.NewReader(c.Items[0])}
	r.fields("raise", raiseFields)
	level = uint32(r.UintMax(math.MaxUint32))
	if err := r.err(); err != nil {
		return 0, err
	}
	if level < LeasesLevel {
		return 0, fmt.Errorf("%w: raise to level %d; the first that a group is raised to is %d", ErrCommand, level, LeasesLevel)
	}
	return level, nil
}

func describeRaise(c *Command) (string, error) {
	level, err := ReadRaise(c)
	return fmt.Sprintf("level %d", level), err
}

// raise carries out the command raise.
func raise(m *Map, at entryAt, c *Command) (Status, error) {
	level, err := ReadRaise(c)
	if err != nil {
		return 0, err
	}
	if level > m.level {
		return 0, &LevelError{What: fmt.Sprintf("raise to level %d", level), Needs: level, Level: m.level}
	}
	if !m.history.raise(level, at.id) {
		return StatusMarked, nil
	}
	return StatusApplied, nil
}
