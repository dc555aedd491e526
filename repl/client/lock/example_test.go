package lock_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"muster/repl/client"
	"muster/repl/client/lock"
	"muster/repl/wire"
)

// One of many processes at a time makes the report. It stops when its lock is lost, and what it writes is refused if another
// one has the lock by then.
func ExampleAcquire() {
	c, err := client.Open(client.Options{Endpoints: []string{"10.0.0.1"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	held, err := lock.Acquire(context.Background(), c, "{report}lock", lock.Options{Value: []byte("host 17")})
	if err != nil {
		log.Fatal(err)
	}
	defer held.Release(context.Background())
	ctx := held.Context()
	for day := range 365 {
		text := fmt.Appendf(nil, "the figures of day %d", day) // … made under ctx …
		op := client.OpSet(fmt.Appendf(nil, "{report}day/%d", day), text, client.SetOptions{})
		var lost *lock.LostError
		switch _, err := lock.Write(ctx, c, held.Name(), held.Token(), op); {
		case errors.As(err, &lost):
			log.Fatal("another process goes on: ", lost)
		case err != nil:
			log.Fatal(err)
		}
	}
}

// A process that has something else to do does not wait, or not for long.
func ExampleTry() {
	c, err := client.Open(client.Options{Endpoints: []string{"10.0.0.1"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	held, err := lock.Try(ctx, c, "nightly", lock.Options{TTL: 30 * time.Second})
	var other *lock.HeldError
	switch {
	case errors.As(err, &other):
		fmt.Printf("%s does it\n", other.Holder.Value)
		return
	case errors.Is(err, &wire.Error{Code: wire.CodeUnauthorized}):
		log.Fatal("it needs read, write and watch on the key: ", err)
	case err != nil:
		log.Fatal(err)
	}
	defer held.Release(context.Background())
	fmt.Println("fencing token", held.Token())
}
