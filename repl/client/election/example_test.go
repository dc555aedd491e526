package election_test

import (
	"context"
	"fmt"
	"log"

	"muster/repl/client"
	"muster/repl/client/election"
)

// Of all processes that run this, one works at a time; if it stops, another one takes over.
func ExampleCampaign() {
	c, err := client.Open(client.Options{Endpoints: []string{"10.0.0.1"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for {
		leads, err := election.Campaign(context.Background(), c, "scheduler", []byte("10.0.1.7:8080"), election.Options{})
		if err != nil {
			log.Fatal(err)
		}
		ctx := leads.Context()
		<-ctx.Done() // … the work of a leader, under ctx …
		log.Print(context.Cause(ctx))
		_ = leads.Resign(context.Background()) // it was lost
	}
}

// Others follow the leader, whoever it is.
func ExampleObserve() {
	c, err := client.Open(client.Options{Endpoints: []string{"10.0.0.1"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for leader, err := range election.Observe(context.Background(), c, "scheduler") {
		switch {
		case err != nil:
			log.Fatal(err)
		case leader.Token == 0:
			fmt.Println("nobody leads")
		default:
			fmt.Printf("%s leads, with fencing token %d\n", leader.Value, leader.Token)
		}
	}
}
