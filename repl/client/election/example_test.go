package election_test

import (
	"context"
	"fmt"
	"log"

	"muster/node/clienttest"
	"muster/repl/client"
	"muster/repl/client/election"
)

// start starts a cluster for an example.
func start() *clienttest.Cluster {
	cluster, err := clienttest.New(clienttest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	return cluster
}

// Of all processes that run this, one works at a time; if it stops, another one takes over. Here each
// stops after a moment, and the two take turns.
func ExampleCampaign() {
	cluster := start() // a program uses one that runs
	defer cluster.Close()
	c, err := client.Open(cluster.Options()) // client.Options{Endpoints: []string{"10.0.0.1"}}
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for _, addr := range []string{"10.0.1.7:8080", "10.0.1.8:8080"} {
		leads, err := election.Campaign(context.Background(), c, "scheduler", []byte(addr), election.Options{})
		if err != nil {
			log.Fatal(err)
		}
		ctx := leads.Context()                        // ends before somebody else can lead
		fmt.Println(addr, "leads:", ctx.Err() == nil) // … the work of a leader, under ctx …
		if err := leads.Resign(context.Background()); err != nil {
			log.Print(err) // it was lost
		}
	}
	// Output:
	// 10.0.1.7:8080 leads: true
	// 10.0.1.8:8080 leads: true
}

// Others follow the leader, whoever it is.
func ExampleObserve() {
	cluster := start() // a program uses one that runs
	defer cluster.Close()
	c, err := client.Open(cluster.Options())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	leads, err := election.Campaign(context.Background(), c, "scheduler", []byte("10.0.1.7:8080"), election.Options{})
	if err != nil {
		log.Fatal(err)
	}
	for leader, err := range election.Observe(context.Background(), c, "scheduler") {
		if err != nil {
			log.Fatal(err)
		}
		if leader.Token == 0 {
			fmt.Println("nobody leads")
			return
		}
		fmt.Printf("%s leads\n", leader.Value)
		if err := leads.Resign(context.Background()); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// 10.0.1.7:8080 leads
	// nobody leads
}
