package lock

import (
	"context"
	"errors"
	"iter"
	"time"

	"muster/repl/client"
	"muster/shardmap"
)

// record is what the key of a lock has. Version 0: it is not there.
type record struct {
	value   []byte
	version uint64
}

// cluster is what a lock needs of a cluster. All but changes return within the context's time, with the errors of the calls
// of [client.Client] that do the same.
type cluster interface {
	read(ctx context.Context, name string) (record, error)
	grant(ctx context.Context, name string, ttl time.Duration) (shardmap.LeaseID, error)
	keepAlive(ctx context.Context, id shardmap.LeaseID) error
	revoke(ctx context.Context, id shardmap.LeaseID) error
	// take sets the key, attached to the lease, if it is not there. It returns what the key has then, which
	// is of another value if it was there.
	take(ctx context.Context, name string, value []byte, id shardmap.LeaseID) (record, error)
	// changes yields what the key has, then what it has after each change, until ctx ends or an error, which
	// is the last that it yields. A change may be left out if another one follows it.
	changes(ctx context.Context, name string) iter.Seq2[record, error]
}

// remote is the cluster of a client.
type remote struct{ *client.Client }

func (r remote) read(ctx context.Context, name string) (record, error) {
	items, _, err := r.Get(ctx, [][]byte{[]byte(name)}, client.ReadOptions{})
	if err != nil || len(items) == 0 {
		return record{}, err
	}
	return record{items[0].Value, items[0].Version}, nil
}

func (r remote) grant(ctx context.Context, name string, ttl time.Duration) (shardmap.LeaseID, error) {
	l, err := r.Grant(ctx, []byte(name), ttl)
	return l.ID, err
}

func (r remote) keepAlive(ctx context.Context, id shardmap.LeaseID) error {
	_, err := r.Keepalive(ctx, id)
	return err
}

func (r remote) revoke(ctx context.Context, id shardmap.LeaseID) error {
	_, err := r.Revoke(ctx, id)
	return err
}

func (r remote) take(ctx context.Context, name string, value []byte, id shardmap.LeaseID) (record, error) {
	key := []byte(name)
	done, err := r.Txn(ctx, &client.Txn{
		If:   []client.Compare{client.IfAbsent(key)},
		Then: []client.Op{client.OpSet(key, value, client.SetOptions{Lease: id})},
		Else: []client.Op{client.OpGet(key)},
	})
	switch {
	case errors.Is(err, client.ErrTooLarge):
		// The get read more than any lock has, or the cluster takes no value as large as this one.
		if now, failed := r.read(ctx, name); failed == nil && now.version != 0 {
			return now, nil
		}
		return record{}, err
	case err != nil:
		return record{}, err
	case done.Succeeded:
		return record{value, done.Version}, nil
	}
	return record{done.Results[0].Value, done.Results[0].Version}, nil
}

func (r remote) changes(ctx context.Context, name string) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		for {
			err := r.watch(ctx, name, func(now record) bool { return yield(now, nil) })
			var lost *client.WatchEnd
			switch {
			case err == nil:
				return // the caller has enough
			case !errors.As(err, &lost):
				yield(record{}, err)
				return
			}
			// What has happened since is no longer kept: begin anew, with what is there.
		}
	}
}

// watch calls yield with what a key has, and then with what it has after each change, until that returns false.
func (r remote) watch(ctx context.Context, name string, yield func(record) bool) error {
	w := r.Watch(ctx, client.WatchQuery{Key: []byte(name)})
	defer w.Close()
	seen := uint64(0) // the version behind which events are news
	for {
		e, err := w.Next()
		if err != nil {
			return err
		}
		var now record
		switch {
		case e.Kind == client.WatchOpened:
			if now, err = r.read(ctx, name); err != nil {
				return err
			}
			seen = now.version
		case e.Kind == client.WatchProgress, e.Version <= seen:
			continue
		case e.Kind == client.WatchSet:
			now = record{e.Value, e.Version}
			seen = e.Version
		default:
			seen = e.Version
		}
		if !yield(now) {
			return nil
		}
	}
}
