// Package client is the Go library for programs that use a cluster.
//
// It does not know how a cluster works: who leads is what nodes tell, and what
// a command does to a slot is the nodes' affair. It keeps no copy of any data, but
// for a [Resolver], which is asked for one.
//
// # Connect
//
//	c, err := client.Open(client.Options{Endpoints: []string{"10.0.0.1", "10.0.0.2"}})
//	if err != nil {
//		return err // it names the option that is wrong
//	}
//	defer c.Close()
//
// One node that answers is enough: the client learns the others from it. [Open] connects to
// nothing, so the first call tells whether the cluster can be reached. Without any options it uses the
// node on this host, as the user who runs the program. [Options] has the rest, and says what each
// means if it is not given. A program needs one [Client]: any number of goroutines share it, and its
// calls share a connection to each node.
//
// The module is called muster and comes from no server, so a program in a module of its
// own says where its copy is:
//
//	go mod edit -require=muster@v0.0.0 -replace=muster=../muster
//	go mod tidy
//
// # Read and write
//
// Keys and values are bytes. [Client.Set] returns when a majority has the write on disk, and every
// read that begins later sees it. [Client.GetOne] reads one key, [Client.Get] several; a key that is
// missing is no error. [Client.SetMany] and [Client.Delete] take many keys, [Client.Bulk] and
// [Client.Pipe] any number, many at a time. [ReadOptions] say whether a read may be
// older, and which nodes may answer it.
//
// A group of nodes has some of the 4,096 slots, and each key belongs to one slot. Keys with the
// same {tag}, as in {cart-17}/items and {cart-17}/sum, are of one slot: they can be changed together.
//
// # Conditions, counters and transactions
//
// A write may have a condition: [WriteOptions] IfAbsent, IfVersion or IfValue. Each write gives its
// keys a new version, which is never given again, so a program reads a key, and writes it on condition
// that the version is still the one that it read. [Client.DeleteIf] is that for a delete. [Client.Incr] adds to a
// number. [Client.Txn] compares any keys of one slot, and then changes and reads some, all or nothing.
//
// # Errors
//
// Every error of a cluster has a kind, which [errors.Is] finds, and is an [*Error], which [errors.As]
// finds: it has the kind's code, what was found, and what to do.
//
//	_, err := c.Set(ctx, key, value, client.WriteOptions{IfAbsent: true})
//	switch {
//	case err == nil:
//	case errors.Is(err, client.ErrConflict): // the key is there
//	case errors.Is(err, client.ErrMaybeApplied): // nobody knows whether it was written
//	default: // nothing was written
//	}
//
// Where a context has ended, [errors.Is] finds [context.Canceled] or [context.DeadlineExceeded] too, and
// the cause that it was given. An error of several keys has a [*PartlyError] in it, with the error of
// each key. A closed client ends calls with [ErrClosed]; where no endpoint accepts a connection there is
// an [*ErrNoEndpoint], which is also of the kind [ErrUnavailable].
//
// # Deadlines and retries
//
// A call lasts until its context ends, and [RetryMax] at most, which is five minutes: give
// each a deadline. It travels with the request, so that no node works for a caller who has gone. Lists
// and watches last as long as their context; a list also ends if nothing comes for [RetryMax].
//
// Within that time the client tries again by itself, through failovers, restarts, broken connections
// and slots that move. A write is sent as often as needed and carried out once, counters and transactions
// included: nodes remember what they answered. So a program has no need to try again. If it does, that
// is safe after each error but [ErrMaybeApplied]: after that one it reads what is there first, or makes
// writes that may be repeated.
//
// The client learns from the nodes where slots are. Each change reaches it over a stream, or with the
// refusal of a node that no longer has the slot. It asks for nothing on a timer: an idle client is
// silent, but for a sign of life now and then.
//
// # Lists and watches
//
// [Client.List] goes through the keys with a prefix, in order and in bounded memory:
//
//	for item, err := range c.List(ctx, []byte("cart/"), client.ListOptions{}) {
//		if err != nil {
//			return err // the items before it are good
//		}
//		…
//	}
//
// [ListOptions] can bound it, or reverse it; [Count] counts the keys instead.
//
// [Client.Watch] tells each change of a key, of those with a prefix or in a range, in the order in
// which they happened to the key, each once, through failovers and moves:
//
//	w := c.Watch(ctx, client.WatchQuery{Prefix: []byte("config/")})
//	for e, err := range w.Events() {
//		if err != nil {
//			return err // a *client.WatchEnd if what comes next is no longer kept
//		}
//		switch e.Kind {
//		case client.WatchOpened: // it has begun: list what is there now
//		case client.WatchSet: …
//		case client.WatchDel, client.WatchExpired: …
//		}
//	}
//
// The watch is closed when the loop ends. [Watch.Positions] says where a watch is; another watch that is given
// them continues there, also in another program, as long as the nodes keep the events since then: the last
// 8 MiB of each group.
//
// # Leases
//
// A key may last for a time ([SetOptions] TTL), or as long as a lease, which [Client.Grant] makes
// and [Client.KeepAlive] keeps alive in the background: the key of a program that has died goes away by itself.
// Packages muster/repl/client/lock and muster/repl/client/election make locks and elections of them.
//
// # Services
//
// [Client.SetService] defines a service, and the nodes check its instances. [Client.Resolve] keeps a
// copy of it, and picks one that is up without asking anybody. Services have names of their own, and are no keys.
//
// # Points
//
// Package muster/repl/client/pointwriter writes points of time series: it collects lines, and brings each to the shard of its
// window.
//
// # Namespaces
//
// [In] makes a [Namespace] of the keys with a prefix, with the same methods, so that programs can share a
// cluster and never use each other's keys.
//
// # Limits
//
// A key has 1 to 4,096 bytes, a value at most what the cluster was founded with, 1 MiB if nothing was
// said. A command for one slot is at most 16 MiB, a transaction has 128 compares and 128
// operations, and [Client.Get] takes 1,024 keys of one slot. A request over a limit ends with
// [ErrTooLarge] before it is sent, and the error says what the limit is.
//
// # Tests
//
// Package muster/node/clienttest starts a real node, or several, in the process of a test, within a
// second.
//
// # What else is here
//
// [Core], [Listing], [Stream], [TableStream], [Watching] and what they use are the machines
// inside a client, without goroutines or connections. They are exported for the simulator, which
// runs whole clusters in one goroutine; a program has no use for them. [Client.Status], [Client.Table],
// [Client.Order] and others with types of package wire are for operators' tools.
//
// # For those who change it: the ways through
//
//	core.go    where a call goes, when it is tried again, when it is given up:
//	           a state machine without goroutines; route.go, peer.go, retry.go
//	           are its events, park.go holds the calls that wait in it,
//	           endpoints.go says when an endpoint is of no use and the next is
//	           asked, follow.go whose word about the table comes unasked
//	session.go what makes retries safe; clock.go how old one is
//	call.go    one request, from place to place
//	protect.go what protects connections: TLS, and whose certificate counts
//	conn.go    one connection; pending.go holds the calls that wait on it,
//	           health.go says when it is given up, pressure.go when its node
//	           has enough to do, rekey.go how the next one takes its place
//	courier.go has the core and its connections: it carries calls to nodes and
//	           answers back; perform.go carries out what the core says
//	client.go  starts and ends it all; address.go reads the addresses that it is
//	           given
//	stream.go  an answer in many pieces, and how it goes on where it was; another
//	           state machine, which streamcall.go puts on connections.
//	           listing.go merges those of all groups; tablestream.go is the one
//	           that brings tables
//	watching.go merges what the groups tell into a watch; another state machine.
//	           watchmerge.go is what it does with an event, watchstart.go where it
//	           begins, watcharrival.go and watchtransit.go what it does about a
//	           slot that does not come, watchtable.go what it takes from the table,
//	           watchstream.go the stream of one group; watch.go drives it
//	write.go   txn.go lease.go leases.go keepalive.go read.go atonce.go list.go
//	           bulk.go pipe.go admin.go order.go services.go servicewatch.go
//	           resolver.go namespace.go    what a user calls; resolved.go is what
//	           a resolver picks from, meta.go
//	           finds the leader that takes orders; fan.go has the calls that
//	           become several requests, paging.go those that list group by
//	           group, replan.go what is done when slots have moved, refusals.go
//	           how they fail for a program, errors.go what is found
//
// A call whose slot has a known leader goes to that connection's buffer at
// once, and its answer back to the caller; the core sees only calls with which
// something is wrong.
//
// # Goroutines
//
//	keeper     one per client: the core's ticks, the health of connections.
//	           Started by Open, ended by Close
//	write      one per connection; see link
//	read       one per connection; see link
//	keep alive one per KeepAlive; ends with its context, its lease, or the client
//	renews     one per client that may have a certificate: gets the next one in
//	           good time. Ended by Close
//	resolve    one per Resolver; ends when that is closed, or the client
//	hang up    one per ActHangUp, in prepare: closes the connections of a peer,
//	           for which no lock may be held, and ends
//
// # Locks
//
// courier.mu guards the core. A link's and a lane's mutex are taken under no
// other lock and hold none, but for a stream's, which is taken under any and holds
// none.
package client
