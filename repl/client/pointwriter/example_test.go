package pointwriter_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"muster/repl/client"
	"muster/repl/client/pointwriter"
)

// A program that measures something writes a line for each measurement. It waits where the cluster can't follow, and learns of
// what is not stored.
func ExampleOpen() {
	c, err := client.Open(client.Options{Endpoints: []string{"10.0.0.1", "10.0.0.2"}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	points, err := pointwriter.Open(c, pointwriter.Options{
		Database: "metrics",
		Refused:  func(r pointwriter.Result, err error) { log.Print("points refused: ", r, err) },
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	for i := range 1000 {
		line := fmt.Sprintf("loop,host=a round=%di %d", i, time.Now().UnixNano())
		if err := points.Write(ctx, []byte(line)); err != nil {
			log.Fatal(err)
		}
	}
	if err := points.Close(ctx); err != nil { // which writes what is left
		log.Print(err)
	}
}
