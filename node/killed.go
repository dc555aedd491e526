package node

import (
	"context"
	"errors"
	"log/slog"
)

// wasKilled reports whether a context of [Run] has ended with [ErrKilled].
func wasKilled(ctx context.Context) bool { return errors.Is(context.Cause(ctx), ErrKilled) }

// cutOff cuts a node off, as the end of its process does: first from its connections, so that nobody
// hears what its disk refuses from then on, and then from that disk. [Node.close] frees what the node holds in
// this process.
func cutOff(door *door, disk *diskWatch) {
	door.close()
	disk.dead.Store(true)
}

// errDead is the error of each call of a killed node to its disk.
var errDead = errors.New("the node was killed")

// lastWords is the log of a node, which is silent once the node is killed.
type lastWords struct {
	slog.Handler
	life context.Context // of [Run]
}

// Enabled implements [slog.Handler].
func (l *lastWords) Enabled(ctx context.Context, level slog.Level) bool {
	return !wasKilled(l.life) && l.Handler.Enabled(ctx, level)
}

// WithAttrs implements [slog.Handler].
func (l *lastWords) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &lastWords{l.Handler.WithAttrs(attrs), l.life}
}

// WithGroup implements [slog.Handler].
func (l *lastWords) WithGroup(name string) slog.Handler {
	return &lastWords{l.Handler.WithGroup(name), l.life}
}
