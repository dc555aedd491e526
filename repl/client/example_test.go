package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap/registry"
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

// Keys of one slot change together. Keys with one {tag} are always of one slot: here a unit
// of stock goes into a cart, if there is one.
func ExampleClient_Txn() {
	c, err := client.Open(client.Options{Endpoints: []string{"10.0.0.1"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	stock, cart := []byte("{shop}/stock"), []byte("{shop}/cart/17")
	r, err := c.Txn(context.Background(), &client.Txn{
		If:   []client.Compare{client.IfValue(stock, []byte("1"))},
		Then: []client.Op{client.OpIncr(stock, -1), client.OpIncr(cart, 1)},
		Else: []client.Op{client.OpGet(stock)},
	})
	switch {
	case err != nil:
		log.Fatal(err)
	case r.Succeeded:
		fmt.Println("in the cart:", r.Results[1].Number)
	default:
		fmt.Printf("in stock: %s\n", r.Results[0].Value)
	}
}

// A counter is exact, whatever has to be sent again.
func ExampleClient_Incr() {
	c, err := client.Open(client.Options{Endpoints: []string{"10.0.0.1"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	visits, _, err := c.Incr(context.Background(), []byte("visits"), 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("visitor number", visits)
}

// A key that is attached to a lease is there as long as its owner is: here a worker holds
// a task, for no longer than ten seconds after it has died, and stops working where it can't
// be sure of that any more.
func ExampleClient_KeepAlive() {
	c, err := client.Open(client.Options{Endpoints: []string{"10.0.0.1"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	task := []byte("task/17")
	lease, err := c.Grant(ctx, task, 10*time.Second)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Set(ctx, task, []byte("me"), client.WriteOptions{IfAbsent: true, Lease: lease.ID}); err != nil {
		log.Fatal(err) // of code conflict: somebody else has it
	}
	work, stop := context.WithCancelCause(ctx)
	go func() {
		for kept := range c.KeepAlive(ctx, lease.ID) {
			if kept.Err != nil {
				stop(kept.Err)
			}
		}
	}()
	<-work.Done() // the work itself
	if _, err := c.Revoke(context.Background(), lease.ID); err != nil {
		log.Print(err) // it ends by itself
	}
}

// A watch that stopped continues where it was, also in another process: here the positions
// are kept beside what was made of the events. Where the events since then are no longer kept, it
// begins anew, from now, and reads what is there.
func ExampleClient_Watch() {
	c, err := client.Open(client.Options{Endpoints: []string{"10.0.0.1"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	var positions []client.GroupPosition // as they were kept; none: from now
	w := c.Watch(context.Background(), client.WatchQuery{Prefix: []byte("config/"), Positions: positions})
	defer w.Close()
	for {
		e, err := w.Next()
		var lost *client.WatchEnd
		switch {
		case errors.As(err, &lost):
			log.Fatal("begin anew: ", lost)
		case err != nil:
			log.Fatal(err)
		case e.Kind == client.WatchSet:
			fmt.Printf("%s = %s\n", e.Key, e.Value)
		case e.Kind == client.WatchDel, e.Kind == client.WatchExpired:
			fmt.Printf("%s is gone\n", e.Key)
		}
		positions = w.Positions() // all that Next has returned, and no more
	}
}

// A service is defined as a whole: it has the instances that are given, and no others. The
// nodes check them from then on.
func ExampleClient_SetService() {
	c, err := client.Open(client.Options{Endpoints: []string{"10.0.0.1"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	shop := &registry.Service{Name: "shop", Type: registry.TypeTCP}
	for _, host := range []string{"10.0.1.1", "10.0.1.2"} {
		shop.Instances = append(shop.Instances, registry.Instance{Settings: []registry.Setting{
			{Key: "host", Value: host}, {Key: "port", Value: "8080"}, {Key: "interval", Value: "1000"},
		}})
	}
	if _, err := c.SetService(context.Background(), shop); err != nil {
		log.Fatal(err) // of code bad-request: it says which field of which instance
	}
	if _, err := c.Maintain(context.Background(), "shop", "10.0.1.2:8080", client.MaintenanceOn); err != nil {
		log.Fatal(err)
	}
	for item, err := range c.Services(context.Background(), client.ReadOptions{Follower: true}) {
		if err != nil {
			log.Fatal(err) // the services before it are good
		}
		for i := range item.Service.Instances {
			fmt.Println(item.Service.Name, item.Service.Instances[i].ID, item.Service.Instances[i].Shown())
		}
	}
}

// A service of type ttl reports itself. If it stops, it goes down.
func ExampleClient_Heartbeat() {
	c, err := client.Open(client.Options{Endpoints: []string{"10.0.0.1"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for range time.Tick(time.Second) { // the interval of the check is longer
		err := c.Heartbeat(context.Background(), "worker", "worker-1", client.HeartbeatUp, "17 jobs done")
		if err != nil {
			log.Print(err) // the next one may arrive
		}
	}
}

// A resolver keeps a copy of a service, and picks from it without asking anybody; also when no
// node can be reached, which it says.
func ExampleClient_Resolve() {
	c, err := client.Open(client.Options{Endpoints: []string{"10.0.0.1", "10.0.0.2"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel() // the resolver lasts longer
	shop, err := c.Resolve(ctx, "shop")
	if err != nil {
		log.Fatal(err)
	}
	defer shop.Close()

	near := registry.PickOptions{Near: []registry.Setting{{Key: "zone", Value: "b"}}}
	instance, err := shop.Pick(near)
	switch {
	case errors.Is(err, registry.ErrNoneUp):
		log.Fatal("all are down")
	case err != nil:
		log.Fatal(err) // of code not-found: the service was deleted
	}
	if shop.Stale() {
		log.Printf("nobody has told of the service for %s: %v", shop.Age(), shop.Err())
	}
	fmt.Println("use", instance.ID)

	// The one that answers soonest, by what it was told.
	instance, err = shop.PickLeastLatency(registry.PickOptions{})
	if err != nil {
		log.Fatal(err)
	}
	began := time.Now()
	// … a call to the instance …
	shop.Observe(instance.ID, time.Since(began))
}

// A watch of services brings each change of a definition, a status or a maintenance.
func ExampleClient_WatchServices() {
	c, err := client.Open(client.Options{Endpoints: []string{"10.0.0.1"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	w := c.WatchServices(context.Background(), "", nil) // of all services, from now
	defer w.Close()
	for {
		e, err := w.Next()
		if err != nil {
			log.Fatal(err)
		}
		switch e.Kind {
		case client.WatchSet:
			for i := range e.Service.Instances {
				fmt.Println(e.Name, e.Service.Instances[i].ID, e.Service.Instances[i].Shown())
			}
		case client.WatchDel:
			fmt.Println(e.Name, "is gone")
		}
	}
}
