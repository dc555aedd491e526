package shardmap

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

var (
	// ErrTooLarge is wrapped by the errors of [Command.Validate] about the
	// bytes of a key, a value, a name or a definition.
	ErrTooLarge = errors.New("too large")
	// ErrValueTooLarge is wrapped by those of them about a value, whose limit is the cluster's
	// own. It wraps ErrTooLarge.
	ErrValueTooLarge = fmt.Errorf("%w", ErrTooLarge)
	// ErrRequest is wrapped by all its other errors, that about too many
	// items among them.
	ErrRequest = errors.New("bad request")
)

// keyShownMax is how much of a key an error shows, in bytes.
const keyShownMax = 64

// ShowKey returns a key as an error shows it: quoted, bytes that are no text as \xff, and
// of a long one how long it is.
func ShowKey(key []byte) string {
	if len(key) > keyShownMax {
		return fmt.Sprintf("%q… (%d bytes)", key[:keyShownMax], len(key))
	}
	return fmt.Sprintf("%q", key)
}

// Validate says why c must not be admitted in a cluster with these limits, naming
// the field and the limit. A command that it accepts can be applied by all members.
func (c *Command) Validate(l Limits) error {
	row := c.Kind.Row()
	if row == nil {
		return fmt.Errorf("%w: field kind: %d is unknown; want 1 to %d", ErrRequest, c.Kind, len(commandRows)-1)
	}
	if err := row.Admit(l.Level); err != nil {
		return err
	}
	if row.Internal {
		return fmt.Errorf("%w: field kind: %s is proposed by the group itself, not by clients", ErrRequest, c.Kind)
	}
	if row.Shape == ShapePairs && len(c.Items)%2 != 0 {
		return fmt.Errorf("%w: field items: key %s has no value", ErrRequest, ShowKey(c.Items[len(c.Items)-1]))
	}
	if row.validate != nil {
		if err := c.validateBody(); err != nil {
			return err
		}
		return row.validate(c, l)
	}
	n := c.Keys()
	if n == 0 || len(c.Items) > ItemsMax {
		return fmt.Errorf("%w: field items: %d items; want 1 to %d", ErrRequest, len(c.Items), ItemsMax)
	}
	if row.KeysMax > 0 && n > row.KeysMax {
		return fmt.Errorf("%w: field items: %s with %d keys; want %d at most", ErrRequest, c.Kind, n, row.KeysMax)
	}
	if err := c.validateSession(); err != nil {
		return err
	}
	if err := c.validateCondition(row); err != nil {
		return err
	}
	return c.validateItems(l.ValueMax)
}

// validateBody checks what stands around the body of a client's command.
func (c *Command) validateBody() error {
	switch {
	case len(c.Items) != 1:
		return fmt.Errorf("%w: field items: %d items; want one, the body of the %s", ErrRequest, len(c.Items), c.Kind)
	case c.Slot >= Slots:
		return fmt.Errorf("%w: field slot: %d; want 0 to %d: the node can't compute that of a %s", ErrRequest, c.Slot, Slots-1, c.Kind)
	case c.Condition != ConditionNone || c.Version != 0:
		return fmt.Errorf("%w: field condition: %s of version %d with %s; want none", ErrRequest, c.Condition, c.Version, c.Kind)
	}
	return c.validateSession()
}

func (c *Command) validateSession() error {
	switch {
	case c.Session == 0 && (c.Sequence != 0 || c.Floor != 0):
		return fmt.Errorf("%w: field sequence: %d (floor %d) without a session; want both zero, or a session", ErrRequest, c.Sequence, c.Floor)
	case c.Session != 0 && c.Sequence < c.Floor:
		return fmt.Errorf("%w: field sequence: %d is below the floor %d", ErrRequest, c.Sequence, c.Floor)
	case c.Sequence-c.Floor >= SessionWindowMax:
		return fmt.Errorf("%w: field sequence: %d is beyond the window; with floor %d the last is %d", ErrRequest, c.Sequence, c.Floor, c.Floor+SessionWindowMax-1)
	}
	return nil
}

func (c *Command) validateCondition(row *CommandRow) error {
	switch {
	case c.Condition > ConditionVersion:
		return fmt.Errorf("%w: field condition: %d is unknown; the last is %d", ErrRequest, c.Condition, ConditionVersion)
	case c.Condition != ConditionNone && c.Keys() != 1:
		return fmt.Errorf("%w: field condition: %s with %d keys; want one key", ErrRequest, c.Condition, c.Keys())
	case c.Condition == ConditionVersion && c.Version == 0:
		return fmt.Errorf("%w: field version: 0 is no key's version; for a key that is not there use the condition absent", ErrRequest)
	case c.Condition != ConditionVersion && c.Version != 0:
		return fmt.Errorf("%w: field version: %d with condition %s; want 0", ErrRequest, c.Version, c.Condition)
	case !row.takes(c.Condition):
		return fmt.Errorf("%w: field condition: %s with %s; want %s", ErrRequest, c.Condition, c.Kind, row.TakenConditions())
	}
	return nil
}

func (c *Command) validateItems(valueMax int) error {
	if c.Slot >= Slots && c.Slot != SlotByServer {
		return fmt.Errorf("%w: field slot: %d; want 0 to %d", ErrRequest, c.Slot, Slots-1)
	}
	home, named := Slot(0), c.Slot != SlotByServer
	for i := range c.Keys() {
		key := c.Key(i)
		switch {
		case len(key) == 0:
			return fmt.Errorf("%w: field key: 0 bytes; want 1 to %d", ErrRequest, KeyMax)
		case len(key) > KeyMax:
			return fmt.Errorf("%w: field key: %s; the limit is %d", ErrTooLarge, ShowKey(key), KeyMax)
		}
		slot := SlotOf(key)
		switch {
		case i == 0 && named && slot != c.Slot:
			return fmt.Errorf("%w: field slot: %d; key %s is in slot %d", ErrRequest, c.Slot, ShowKey(key), slot)
		case i == 0:
			home = slot
		case slot != home:
			return fmt.Errorf("%w: field items: keys of two slots, %s in %d, %s in %d; want one slot (keys with the same {tag} share one)",
				ErrRequest, ShowKey(c.Key(0)), home, ShowKey(key), slot)
		}
		if n := len(c.Value(i)); n > valueMax {
			return fmt.Errorf("%w: field value: %d bytes for key %s; the limit is %d", ErrValueTooLarge, n, ShowKey(key), valueMax)
		}
	}
	return c.validateDistinct()
}

// validateDistinct finds a key that is named twice. Few keys are compared each
// with each, which needs no memory.
func (c *Command) validateDistinct() error {
	n := c.Keys()
	twice := func(key []byte) error {
		return fmt.Errorf("%w: field items: key %s is named twice", ErrRequest, ShowKey(key))
	}
	if n <= 8 {
		for i := range n {
			for j := range i {
				if bytes.Equal(c.Key(i), c.Key(j)) {
					return twice(c.Key(i))
				}
			}
		}
		return nil
	}
	keys := make([][]byte, n)
	for i := range n {
		keys[i] = c.Key(i)
	}
	slices.SortFunc(keys, bytes.Compare)
	for i := 1; i < n; i++ {
		if bytes.Equal(keys[i-1], keys[i]) {
			return twice(keys[i])
		}
	}
	return nil
}
