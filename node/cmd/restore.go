package cmd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/backup"
	"muster/repl/client"
	"muster/shardmap"
	"muster/shardmap/registry"
)

func restoreCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "restore", Usage: "write the keys and services of a backup into an empty cluster", ArgsUsage: "FILE",
		Description: `FILE is what muster backup wrote. All of it is verified before anything is written, and
the cluster, which may have any number of nodes and groups, must have no key and no
service. It keeps its own id, users, roles and settings.

Keys are written as any others, many at a time, so they get new versions. A key that had
a time to live, or a lease, lasts as long as was left of it when the backup was taken.
The instances of services are checked anew; those in maintenance stay so.

A restore never replaces a key. One that was cut short is continued by the same command
with --continue: keys that are there must be in the backup, with the same values, which
is made sure before anything is written.

Prints: {"file":…,"groups":N,"keys":N,"services":N,"bytes":N}, of the backup.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "continue", Usage: "go on with a restore that was cut short"},
			&cli.DurationFlag{Name: "timeout", Value: importTimeoutDefault,
				Usage: "how long `D` one write may take, retries included, up to 5m [$MUSTER_TIMEOUT]"},
		},
		Action: con.action(runRestore),
	})
}

func runRestore(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	name := c.Args().First()
	if name == fromInput || name == "" {
		return usagef("%s: FILE %q: want the name of a file, which is read twice", c.Command.HelpName, name)
	}
	m, err := verifyBackup(name)
	if err != nil {
		return err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	r := &restorer{errand: s, ctx: c.Context, name: name, manifest: m, continues: c.Bool("continue")}
	r.progress = transfer{meter: meter{console: con}, what: "restore of", total: m.Bytes()}
	defer r.progress.end()
	if err := r.run(); err != nil {
		return err
	}
	return printBackup(s, name, m)
}

// notEmpty refuses to restore into a cluster that has something: found is what was found first, why says what it means.
func notEmpty(found, why string) error {
	return withStatus(exitConflict, "the cluster is not empty: it has %s; %s", found, why)
}

// notFromThis is why a restore is not continued.
const notFromThis = "it was not restored from this file, or has been changed since"

// restorer writes a backup into a cluster.
type restorer struct {
	*errand
	ctx      context.Context
	name     string
	manifest *backup.Manifest
	// continues: what an earlier restore of the same file has written is passed over.
	continues bool
	progress  transfer

	mu      sync.Mutex // guards what follows
	written int        // keys
	failed  error      // the first
}

const (
	// restoreBatch bounds the keys that are compared with the cluster at once, and restoreBatchBytes their bytes, but
	// for a single one.
	restoreBatch      = 1000
	restoreBatchBytes = 4 << 20
)

func (r *restorer) run() error {
	if err := r.fits(); err != nil {
		return err
	}
	var err error
	if r.continues {
		err = r.holdsNoOther()
	} else {
		err = r.isEmpty()
	}
	if err != nil {
		return err
	}
	if err := r.write(); err != nil {
		if n := r.written; n > 0 || r.continues {
			err = fmt.Errorf("%w; %s written: muster restore --continue %s goes on", err, counted(n, "key"), r.name)
		}
		return err
	}
	return nil
}

// fits refuses a backup with values that are too large for the cluster.
func (r *restorer) fits() error {
	return r.with(r.ctx, func(ctx context.Context) error {
		t, _, err := r.client.Table(ctx, "")
		if err == nil && r.manifest.Longest() > uint64(t.ValueMax) {
			err = withStatus(exitRefused, "the backup has a value of %d bytes, and the cluster takes %d at most; found one with a larger --value-max", r.manifest.Longest(), t.ValueMax)
		}
		return err
	})
}

// isEmpty refuses a cluster that has a key or a service.
func (r *restorer) isEmpty() error {
	const why = "restore into a new one, or give --continue if this one was being restored from the same file"
	return r.with(r.ctx, func(ctx context.Context) error {
		for item, err := range r.client.List(ctx, nil, client.ListOptions{Limit: 1, KeysOnly: true}) {
			if err != nil {
				return err
			}
			return notEmpty("key "+shown(item.Key), why)
		}
		for item, err := range r.client.Services(ctx, client.ReadOptions{}) {
			if err != nil {
				return err
			}
			return notEmpty("service "+item.Service.Name, why)
		}
		return nil
	})
}

// holdsNoOther refuses a cluster that has a key or a service which is not in the backup, or with another value.
func (r *restorer) holdsNoOther() error {
	there, services := uint64(0), map[string]bool{}
	err := r.batches(func(keys []shardmap.BackupRow) error {
		missing, err := r.missing(keys)
		there += uint64(len(keys) - len(missing))
		return err
	}, func(row *shardmap.BackupRow) error {
		services[string(row.Name)] = true
		_, err := r.hasService(row)
		return err
	})
	if err != nil {
		return err
	}
	// In this order: keys may end between the two, and none may come.
	var has uint64
	if err := r.with(r.ctx, func(ctx context.Context) (err error) {
		has, err = client.Count(ctx, r.client, nil, client.ListOptions{})
		return err
	}); err != nil {
		return err
	}
	if has > there {
		return notEmpty(counted(int(has-there), "key")+" not in the backup", notFromThis)
	}
	return r.with(r.ctx, func(ctx context.Context) error {
		for item, err := range r.client.Services(ctx, client.ReadOptions{}) {
			if err != nil {
				return err
			}
			if !services[item.Service.Name] {
				return notEmpty("service "+item.Service.Name+", which is not in the backup", notFromThis)
			}
		}
		return nil
	})
}

// missing returns those of some keys that the cluster has not. One that it has with another value is an error.
func (r *restorer) missing(keys []shardmap.BackupRow) (missing []shardmap.BackupRow, err error) {
	names, at := make([][]byte, len(keys)), make(map[string]*shardmap.BackupRow, len(keys))
	for i := range keys {
		names[i] = keys[i].Name
		at[string(keys[i].Name)] = &keys[i]
	}
	err = r.with(r.ctx, func(ctx context.Context) error {
		items, absent, err := r.client.Get(ctx, names, client.ReadOptions{})
		if err != nil {
			return err
		}
		for _, item := range items {
			if !bytes.Equal(item.Value, at[string(item.Key)].Value) {
				return notEmpty("key "+shown(item.Key)+" with another value than in the backup", notFromThis)
			}
		}
		for _, key := range absent {
			missing = append(missing, *at[string(key)])
		}
		return nil
	})
	return missing, err
}

// hasService reports whether the cluster has a service of the backup. With another definition that is an error. Its
// secrets are not compared: no node tells them.
func (r *restorer) hasService(row *shardmap.BackupRow) (has bool, err error) {
	want, err := serviceIn(row)
	if err != nil {
		return false, err
	}
	err = r.with(r.ctx, func(ctx context.Context) error {
		item, err := r.client.Service(ctx, want.Name, client.ReadOptions{})
		switch {
		case errors.Is(err, client.ErrNotFound):
			return nil
		case err != nil:
			return err
		}
		has = true
		want.Redact()
		if !bytes.Equal(definitionOf(want), definitionOf(item.Service)) {
			return notEmpty("service "+want.Name+" with another definition than in the backup", notFromThis)
		}
		return nil
	})
	return has, err
}

// definitionOf is what a service is without what its checks have found.
func definitionOf(s *registry.Service) []byte {
	d := registry.Service{Name: s.Name, Type: s.Type, Settings: s.Settings}
	for _, i := range s.Instances {
		d.Instances = append(d.Instances, registry.Instance{ID: i.ID, Settings: i.Settings})
	}
	return d.Append(nil)
}

// serviceIn reads the service of a row.
func serviceIn(row *shardmap.BackupRow) (*registry.Service, error) {
	s, err := registry.Read(row.Value)
	if err == nil && s.Name != string(row.Name) {
		err = fmt.Errorf("its record is of service %q", s.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("service %s in the backup: %w", shown(row.Name), err)
	}
	return s, nil
}

// write writes what is in the backup: all of it or, to go on, what the cluster has not.
func (r *restorer) write() error {
	ctx, stop := context.WithCancel(r.ctx)
	defer stop()
	bulk := r.client.Bulk(ctx, importBytesMax, r.ended)
	bulk.Within(r.timeout)
	err := r.batches(func(keys []shardmap.BackupRow) error {
		if r.continues {
			var err error
			if keys, err = r.missing(keys); err != nil {
				return err
			}
		}
		for i := range keys {
			o := client.WriteOptions{IfAbsent: true}
			if keys[i].Ends {
				o.HasTTL, o.TTL = true, time.Duration(min(keys[i].Remaining, shardmap.TTLMax))*time.Millisecond
			}
			bulk.SetWith(keys[i].Name, keys[i].Value, o, 0)
		}
		return r.failure()
	}, r.service)
	if err != nil {
		stop()
	}
	bulk.Wait()
	if err == nil { // else what was under way has ended for want of it
		err = r.failure()
	}
	return err
}

// ended is told what became of a key. It is called by the Bulk.
func (r *restorer) ended(_ uint64, _ client.Written, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.written++
	case r.failed != nil:
	case errors.Is(err, client.ErrConflict):
		r.failed = fmt.Errorf("restore: %w; another program has written that key meanwhile: stop all that write to the cluster, and delete the key", err)
	default:
		r.failed = fmt.Errorf("restore: %w", err)
	}
}

func (r *restorer) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// service writes a service, and takes the instances out of use that were.
func (r *restorer) service(row *shardmap.BackupRow) error {
	s, err := serviceIn(row)
	if err != nil {
		return err
	}
	has := false
	if r.continues {
		if has, err = r.hasService(row); err != nil {
			return err
		}
	}
	return r.with(r.ctx, func(ctx context.Context) error {
		if !has {
			if _, err := r.client.SetService(ctx, s); err != nil {
				return err
			}
		}
		for _, i := range s.Instances {
			if i.Maintenance {
				if _, err := r.client.Maintain(ctx, s.Name, i.ID, client.MaintenanceOn); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// batches calls keys with the keys of the backup, some at a time, and service with each service. Both keep nothing that they
// are given.
func (r *restorer) batches(keys func([]shardmap.BackupRow) error, service func(*shardmap.BackupRow) error) error {
	f, err := openBackup(r.name)
	if err != nil {
		return err
	}
	defer f.Close()
	r.progress.done = 0 // of this time through the file
	var own error       // of what is called
	err = backup.Read(bufio.NewReaderSize(f, backupReadBytes), r.manifest, func(g *backup.Group, b []byte) error {
		own = r.rows(g, b, keys, service)
		return own
	})
	if err != nil && own == nil {
		err = fmt.Errorf("%s: %w", r.name, err)
	}
	return err
}

// rows calls keys and service with the rows of one block.
func (r *restorer) rows(g *backup.Group, b []byte, keys func([]shardmap.BackupRow) error, service func(*shardmap.BackupRow) error) error {
	var batch []shardmap.BackupRow
	size := 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := keys(batch)
		r.progress.moved(size, g.ID)
		batch, size = batch[:0], 0
		return err
	}
	rows, row := shardmap.ReadBackupRows(b), shardmap.BackupRow{}
	for rows.Next(&row) {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		if row.Kind == shardmap.KindService {
			if err := service(&row); err != nil {
				return err
			}
			continue
		}
		bytes := len(row.Name) + len(row.Value)
		if len(batch) == restoreBatch || size+bytes > restoreBatchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		batch, size = append(batch, row), size+bytes
	}
	return flush() // the rows are the reader's
}
