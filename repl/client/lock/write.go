package lock

import (
	"context"
	"errors"
	"fmt"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// Guard is a compare that holds as long as the lock has the token. In a [client.Txn] it lets the transaction do what it says
// only under the lock; the keys must be of the lock's slot, as those with one {tag} are.
func Guard(name string, t Token) client.Compare { return client.IfVersion([]byte(name), uint64(t)) }

// Write carries out operations, all or none, if the lock has the token, in whichever process that is known. The keys must be of the
// lock's slot, as those with one {tag} are.
//
// A [*LostError] says that the lock no longer has the token; nothing changed. The other errors are those of
// [client.Client.Txn].
func Write(ctx context.Context, c *client.Client, name string, t Token, ops ...client.Op) (client.TxnResult, error) {
	done, err := write(ctx, c, name, t, ops)
	var lost *LostError
	if err != nil && !errors.As(err, &lost) {
		err = fmt.Errorf("write under %s: %w", object(name), err)
	}
	return done, err
}

func write(ctx context.Context, c *client.Client, name string, t Token, ops []client.Op) (client.TxnResult, error) {
	if err := checkName(name); err != nil {
		return client.TxnResult{}, err
	}
	switch {
	case t == 0:
		return client.TxnResult{}, wire.BadRequest("fencing token", "0, which no lock has", "give that of a lock that was acquired")
	case len(ops) == 0:
		return client.TxnResult{}, wire.BadRequest("write", "no operation", "give one")
	}
	done, err := c.Txn(ctx, &client.Txn{If: []client.Compare{Guard(name, t)}, Then: ops})
	if err != nil {
		return client.TxnResult{}, err
	}
	if !done.Succeeded {
		return client.TxnResult{}, &LostError{name, t, fmt.Errorf("key %s is not at version %d any more", shardmap.ShowKey([]byte(name)), t)}
	}
	return done, nil
}
