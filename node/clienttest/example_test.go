package clienttest_test

import (
	"context"
	"fmt"
	"log"

	"muster/node/clienttest"
	"muster/repl/client"
)

// A cluster that several tests share is started in TestMain, and closed behind m.Run.
func ExampleNew() {
	cluster, err := clienttest.New(clienttest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()
	c, err := client.Open(cluster.Options()) // as the program that is tested does
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Set(context.Background(), []byte("color"), []byte("blue"), client.WriteOptions{}); err != nil {
		log.Fatal(err)
	}
	value, _, _, err := cluster.Client().GetOne(context.Background(), []byte("color"), nil, client.ReadOptions{})
	fmt.Printf("%s %v\n", value, err)
	// Output: blue <nil>
}
