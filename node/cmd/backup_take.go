package cmd

import (
	"context"
	"fmt"
	"io"

	"muster/node"
	"muster/repl/backup"
	"muster/repl/client"
)

// take writes a backup into the file, verifies it and gives it its name.
func (b *backupFile) take(ctx context.Context, s *errand) (*backup.Manifest, error) {
	if _, err := takeInto(ctx, s, b.f); err != nil {
		return nil, fmt.Errorf("%w; %s was not written", err, b.name)
	}
	return b.settle()
}

// takeInto writes a backup to out.
func takeInto(ctx context.Context, s *errand, out io.Writer) (*backup.Manifest, error) {
	p := transfer{meter: meter{console: s.console}, what: "backup of"}
	defer p.end()
	return client.TakeBackup(ctx, s.client, out, client.BackupOptions{Version: node.Version, Within: s.timeout, Progress: func(done client.BackupProgress) {
		p.moved(done.Bytes, done.Group)
	}})
}
