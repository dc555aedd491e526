package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"muster/repl/client"
	"muster/repl/wire"
)

// A write is tried again by itself until ctx ends, and is applied once. Its error has a
// code, which tells whether it may have been applied.
func Example() {
	c, err := client.Open(client.Options{Endpoints: []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	written, err := c.Set(ctx, []byte("color"), []byte("blue"), client.WriteOptions{IfAbsent: true})
	var refusal *wire.Error
	switch {
	case err == nil:
		fmt.Println("at version", written.Version)
	case errors.As(err, &refusal) && refusal.Code == wire.CodeConflict:
		fmt.Println("somebody else has set it")
	case errors.As(err, &refusal) && refusal.Code == wire.CodeMaybeApplied:
		fmt.Println("nobody knows: read the key")
	default:
		log.Fatal(err) // nothing was written
	}
}

// A listing goes on where it was when leaders change. Whoever keeps an item for long
// copies it.
func ExampleClient_List() {
	c, err := client.Open(client.Options{Endpoints: []string{"10.0.0.1"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for item, err := range c.List(context.Background(), []byte("cart/"), client.ListOptions{Limit: 100}) {
		if err != nil {
			log.Fatal(err) // the items before it are good
		}
		fmt.Printf("%s = %s\n", item.Key, item.Value)
	}
}

// A program that runs beside a node, or reaches no other, has that node pass on what it
// can't answer.
func ExampleOptions_oneNode() {
	c, err := client.Open(client.Options{Endpoints: []string{"127.0.0.1"}, Forward: client.ForwardAlways})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Set(context.Background(), []byte("color"), []byte("blue"), client.WriteOptions{}); err != nil {
		log.Fatal(err)
	}
}
