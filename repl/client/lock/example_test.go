package lock_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"muster/node/clienttest"
	"muster/repl/client"
	"muster/repl/client/lock"
)

// start starts a cluster for an example.
func start() *clienttest.Cluster {
	cluster, err := clienttest.New(clienttest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	return cluster
}

// One of many processes at a time makes the report. It stops when its lock is lost, and what it writes is refused if another
// one has the lock by then.
func ExampleAcquire() {
	cluster := start() // a program uses one that runs
	defer cluster.Close()
	c, err := client.Open(cluster.Options()) // client.Options{Endpoints: []string{"10.0.0.1"}}
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	held, err := lock.Acquire(context.Background(), c, "{report}lock", lock.Options{Value: []byte("host 17")})
	if err != nil {
		log.Fatal(err)
	}
	ctx := held.Context()
	for day := range 3 {
		text := fmt.Appendf(nil, "the figures of day %d", day) // … made under ctx …
		op := client.OpSet(fmt.Appendf(nil, "{report}day/%d", day), text, client.SetOptions{})
		if _, err := lock.Write(ctx, c, held.Name(), held.Token(), op); err != nil {
			log.Fatal(err) // a *lock.LostError if another process goes on
		}
	}
	if err := held.Release(context.Background()); err != nil {
		log.Fatal(err)
	}

	// A process that was asleep meanwhile, and still believes that it holds the lock, changes nothing.
	next, err := lock.Acquire(context.Background(), c, "{report}lock", lock.Options{Value: []byte("host 18")})
	if err != nil {
		log.Fatal(err)
	}
	defer next.Release(context.Background())
	_, err = lock.Write(context.Background(), c, held.Name(), held.Token(), client.OpSet([]byte("{report}day/0"), nil, client.SetOptions{}))
	var lost *lock.LostError
	fmt.Println("refused:", errors.As(err, &lost))
	fmt.Println("the token has grown:", next.Token() > held.Token())
	// Output:
	// refused: true
	// the token has grown: true
}

// A process that has something else to do does not wait, or not for long.
func ExampleTry() {
	cluster := start() // a program uses one that runs
	defer cluster.Close()
	c, err := client.Open(cluster.Options())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, who := range []string{"ann", "bob"} {
		held, err := lock.Try(ctx, c, "nightly", lock.Options{TTL: 30 * time.Second, Value: []byte(who)})
		var other *lock.HeldError
		switch {
		case errors.As(err, &other):
			fmt.Printf("%s leaves it: %s does it\n", who, other.Holder.Value)
		case errors.Is(err, client.ErrUnauthorized):
			log.Fatal("it needs read, write and watch on the key: ", err)
		case err != nil:
			log.Fatal(err)
		default:
			defer held.Release(context.Background())
			fmt.Println(who, "does it")
		}
	}
	// Output:
	// ann does it
	// bob leaves it: ann does it
}
