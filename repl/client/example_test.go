package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"muster/repl/client"
	"muster/shardmap/registry"
)

// A write is kept by a majority of its group when Set returns, and seen by every later read.
func Example() {
	c, err := client.Open(options()) // client.Options{Endpoints: []string{"10.0.0.1", "10.0.0.2"}}
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	if _, err := c.Set(ctx, []byte("color"), []byte("blue"), client.WriteOptions{}); err != nil {
		log.Fatal(err)
	}
	value, _, found, err := c.GetOne(ctx, []byte("color"), nil, client.ReadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %t\n", value, found)
	_, _, found, err = c.GetOne(ctx, []byte("taste"), nil, client.ReadOptions{})
	fmt.Println(found, err)
	// Output:
	// blue true
	// false <nil>
}

// A condition that does not hold is an error of its own kind. Two programs that both do this have
// one winner.
func ExampleClient_Set() {
	c, err := client.Open(options())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	for _, who := range []string{"ann", "bob"} {
		_, err := c.Set(ctx, []byte("owner"), []byte(who), client.WriteOptions{IfAbsent: true})
		switch {
		case err == nil:
			fmt.Println(who, "is the owner")
		case errors.Is(err, client.ErrConflict):
			fmt.Println(who, "comes too late")
		case errors.Is(err, client.ErrMaybeApplied):
			fmt.Println("nobody knows: read the key")
		default:
			log.Fatal(err) // nothing was written
		}
	}
	// Read, change, and write if nobody has written meanwhile.
	_, version, _, err := c.GetOne(ctx, []byte("owner"), nil, client.ReadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	_, err = c.Set(ctx, []byte("owner"), []byte("cid"), client.WriteOptions{HasVersion: true, IfVersion: version})
	fmt.Println(err)
	// Output:
	// ann is the owner
	// bob comes too late
	// <nil>
}

// The text of an error says what could not be done, what was found, and what to do. A program goes by
// its kind, with errors.Is, and has its parts by errors.As.
func ExampleError() {
	c, err := client.Open(options())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	_, err = c.Set(ctx, nil, []byte("blue"), client.WriteOptions{})
	fmt.Println(errors.Is(err, client.ErrBadRequest))
	var refusal *client.Error
	if errors.As(err, &refusal) {
		fmt.Println(refusal.Code, "|", refusal.Object, "|", refusal.Next)
	}

	cancel() // what a context that has ended leads to has both kinds
	_, _, _, err = c.GetOne(ctx, []byte("color"), nil, client.ReadOptions{})
	fmt.Println(errors.Is(err, client.ErrUnavailable), errors.Is(err, context.Canceled))
	// Output:
	// true
	// bad-request | set | change the request
	// true true
}

// A listing goes on where it was when leaders change. An item that is kept for long is copied.
func ExampleClient_List() {
	c, err := client.Open(options())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	if _, err := c.SetMany(ctx, []client.Pair{
		{Key: []byte("cart/1"), Value: []byte("apples")},
		{Key: []byte("cart/2"), Value: []byte("pears")},
		{Key: []byte("cart/3"), Value: []byte("plums")},
	}); err != nil {
		log.Fatal(err)
	}
	for item, err := range c.List(ctx, []byte("cart/"), client.ListOptions{Limit: 2}) {
		if err != nil {
			log.Fatal(err) // the items before it are good
		}
		fmt.Printf("%s = %s\n", item.Key, item.Value)
	}
	// Output:
	// cart/1 = apples
	// cart/2 = pears
}

// A program that runs beside a node, or reaches no other, has that node pass on what it
// can't answer.
func ExampleOptions_oneNode() {
	o := options() // client.Options{Endpoints: []string{"127.0.0.1"}}
	o.Forward = client.ForwardAlways
	c, err := client.Open(o)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = c.Set(ctx, []byte("near"), []byte("yes"), client.WriteOptions{})
	fmt.Println(err)
	// Output: <nil>
}

// Keys of one slot change together. Keys with one {tag} are always of one slot: here a unit
// of stock goes into a cart, if there is one.
func ExampleClient_Txn() {
	c, err := client.Open(options())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	stock, cart := []byte("{shop}/stock"), []byte("{shop}/cart/17")
	if _, err := c.Set(ctx, stock, []byte("1"), client.WriteOptions{}); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		r, err := c.Txn(ctx, &client.Txn{
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
	// Output:
	// in the cart: 1
	// in stock: 0
}

// A counter is exact, whatever has to be sent again.
func ExampleClient_Incr() {
	c, err := client.Open(options())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for range 3 {
		visits, _, err := c.Incr(ctx, []byte("visits"), 1)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("visitor number", visits)
	}
	// Output:
	// visitor number 1
	// visitor number 2
	// visitor number 3
}

// Many writes are under way at once, each on its own, in bounded memory.
func ExampleClient_Bulk() {
	c, err := client.Open(options())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	written := 0
	bulk := c.Bulk(ctx, 0, func(line uint64, _ client.Written, err error) { // one at a time
		if err != nil {
			log.Printf("line %d: %v", line, err)
			return
		}
		written++
	})
	for line := range uint64(1000) {
		bulk.Set(fmt.Append(nil, "line/", line), []byte("text"), line)
	}
	bulk.Wait()
	fmt.Println(written)
	// Output: 1000
}

// A key that is attached to a lease is there as long as its owner is: here a worker holds
// a task, for no longer than ten seconds after it has died, and stops working where it can't
// be sure of that any more.
func ExampleClient_KeepAlive() {
	c, err := client.Open(options())
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
		log.Fatal(err) // of kind ErrConflict: another worker has it
	}
	work, stop := context.WithCancelCause(ctx)
	go func() {
		for kept := range c.KeepAlive(ctx, lease.ID) {
			if kept.Err != nil {
				stop(kept.Err)
			}
		}
	}()
	fmt.Println("working:", work.Err() == nil) // the work itself, until work ends
	if _, err := c.Revoke(ctx, lease.ID); err != nil {
		log.Print(err) // the lease ends by itself
	}
	_, _, held, err := c.GetOne(ctx, task, nil, client.ReadOptions{})
	fmt.Println("held:", held, err)
	// Output:
	// working: true
	// held: false <nil>
}

// A watch has every event from its beginning on. Read what was there before once it has begun, and pass over each
// event that is no newer than what you read.
//
// It goes on where it was from its positions, also in another process that has kept them beside what
// was made of the events. Where the events since then are no longer kept it ends with a [*client.WatchEnd]:
// then it begins anew, as the first one did.
func ExampleClient_Watch() {
	c, err := client.Open(options())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	set := func(value string) {
		if _, err := c.Set(ctx, []byte("config/color"), []byte(value), client.WriteOptions{}); err != nil {
			log.Fatal(err)
		}
	}

	query := client.WatchQuery{Prefix: []byte("config/")}
	w := c.Watch(ctx, query)
	for e, err := range w.Events() { // closes the watch when it ends
		if err != nil {
			log.Fatal(err)
		}
		if e.Kind == client.WatchOpened {
			set("blue") // in real life another program does that
		}
		if e.Kind == client.WatchSet {
			fmt.Printf("%s = %s\n", e.Key, e.Value)
			break
		}
	}
	query.Positions = w.Positions() // behind what the loop was given

	set("red") // nobody watches
	if _, err := c.Delete(ctx, []byte("config/color")); err != nil {
		log.Fatal(err)
	}
	for e, err := range c.Watch(ctx, query).Events() {
		var lost *client.WatchEnd
		if errors.As(err, &lost) {
			log.Fatal("begin anew: ", lost)
		}
		if err != nil {
			log.Fatal(err)
		}
		if e.Kind == client.WatchSet {
			fmt.Printf("%s = %s\n", e.Key, e.Value)
		}
		if e.Kind == client.WatchDel || e.Kind == client.WatchExpired {
			fmt.Printf("%s is gone\n", e.Key)
			break
		}
	}
	// Output:
	// config/color = blue
	// config/color = red
	// config/color is gone
}

// Programs that share a cluster keep out of each other's way with a prefix each.
func ExampleIn() {
	c, err := client.Open(options())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	shop := client.In(c, "app/shop/")
	if _, err := shop.Set(ctx, []byte("open"), []byte("yes"), client.WriteOptions{}); err != nil {
		log.Fatal(err)
	}
	for item, err := range shop.List(ctx, nil, client.ListOptions{}) {
		fmt.Printf("%s = %s, %v\n", item.Key, item.Value, err)
	}
	for item, err := range client.In(c, "app/").List(ctx, nil, client.ListOptions{}) {
		fmt.Printf("%s = %s, %v\n", item.Key, item.Value, err)
	}
	// Output:
	// open = yes, <nil>
	// shop/open = yes, <nil>
}

// A service is defined as a whole: it has the instances that are given, and no others. The
// nodes check them from then on.
func ExampleClient_SetService() {
	c, err := client.Open(options())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	shop := &registry.Service{Name: "shop", Type: registry.TypeTCP}
	for _, host := range []string{"10.0.1.1", "10.0.1.2"} {
		shop.Instances = append(shop.Instances, registry.Instance{Settings: []registry.Setting{
			{Key: "host", Value: host}, {Key: "port", Value: "8080"}, {Key: "interval", Value: "60000"},
		}})
	}
	if _, err := c.SetService(ctx, shop); err != nil {
		log.Fatal(err) // of kind ErrBadRequest: it says which field of which instance
	}
	if _, err := c.Maintain(ctx, "shop", "10.0.1.2:8080", client.MaintenanceOn); err != nil {
		log.Fatal(err)
	}
	item, err := c.Service(ctx, "shop", client.ReadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for i := range item.Service.Instances {
		fmt.Println(item.Service.Instances[i].ID, item.Service.Instances[i].Maintenance)
	}
	// Output:
	// 10.0.1.1:8080 false
	// 10.0.1.2:8080 true
}

// An instance of a service of type ttl reports itself. A watch of services brings each change of a
// definition, a status or a maintenance.
func ExampleClient_Heartbeat() {
	c, err := client.Open(options())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	worker := &registry.Service{Name: "worker", Type: registry.TypeTTL, Instances: []registry.Instance{{ID: "worker-1"}}}
	for e, err := range c.WatchServices(ctx, "worker", nil).Events() {
		switch {
		case err != nil:
			log.Fatal(err)
		case e.Kind == client.WatchOpened: // no later change is missed
			if _, err := c.SetService(ctx, worker); err != nil {
				log.Fatal(err)
			}
			// The worker does this at least once in each interval of its check; if it stops, it goes down.
			if err := c.Heartbeat(ctx, "worker", "worker-1", client.HeartbeatUp, "17 jobs done"); err != nil {
				log.Fatal(err)
			}
		case e.Kind == client.WatchSet:
			i := e.Service.Instance("worker-1")
			fmt.Println(e.Name, i.ID, i.Status)
			if i.Status == registry.Up {
				return
			}
		}
	}
	// Output:
	// worker worker-1 unknown
	// worker worker-1 up
}

// A resolver keeps a copy of a service, and picks from it without asking anybody; also when no
// node can be reached, which it says.
func ExampleClient_Resolve() {
	c, err := client.Open(options())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	up(ctx, c, "api", "api-1", "api-2")

	api, err := c.Resolve(ctx, "api") // lasts longer than ctx
	if err != nil {
		log.Fatal(err) // of kind ErrNotFound: there is no such service
	}
	defer api.Close()
	instance, err := api.Pick(registry.PickOptions{Near: []registry.Setting{{Key: "zone", Value: "b"}}})
	switch {
	case errors.Is(err, registry.ErrNoneUp):
		log.Fatal("all are down")
	case err != nil:
		log.Fatal(err)
	}
	fmt.Println("use", instance.ID[:4], api.Stale())

	// The one that answers soonest, by what it was told.
	for range 3 {
		instance, err := api.PickLeastLatency(registry.PickOptions{})
		if err != nil {
			log.Fatal(err)
		}
		took := map[string]time.Duration{"api-1": 9 * time.Millisecond, "api-2": time.Millisecond} // of calls to them
		api.Observe(instance.ID, took[instance.ID])
	}
	instance, err = api.PickLeastLatency(registry.PickOptions{})
	fmt.Println("then use", instance.ID, err)
	// Output:
	// use api- false
	// then use api-2 <nil>
}

// up defines a service of type ttl, and returns once all its instances are up.
func up(ctx context.Context, c *client.Client, name string, instances ...string) {
	s := &registry.Service{Name: name, Type: registry.TypeTTL}
	for _, id := range instances {
		s.Instances = append(s.Instances, registry.Instance{ID: id})
	}
	for e, err := range c.WatchServices(ctx, name, nil).Events() {
		switch {
		case err != nil:
			log.Fatal(err)
		case e.Kind == client.WatchOpened:
			if _, err := c.SetService(ctx, s); err != nil {
				log.Fatal(err)
			}
			for _, id := range instances {
				if err := c.Heartbeat(ctx, name, id, client.HeartbeatUp, ""); err != nil {
					log.Fatal(err)
				}
			}
		case e.Kind == client.WatchSet:
			down := 0
			for i := range e.Service.Instances {
				if e.Service.Instances[i].Status != registry.Up {
					down++
				}
			}
			if down == 0 {
				return
			}
		}
	}
}
