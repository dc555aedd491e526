package client_test

import (
	"fmt"
	"log"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"muster/node/clienttest"
	"muster/repl/client"
)

// cluster returns a real cluster, which is started for the first test or example that wants it.
var cluster = sync.OnceValues(func() (*clienttest.Cluster, error) {
	started = true
	return clienttest.New(clienttest.Options{})
})

var started bool // cluster was called; by tests, which run one after the other

// options are those of a client of that cluster.
func options() client.Options {
	c, err := cluster()
	if err != nil {
		log.Fatal(err)
	}
	return c.Options()
}

// run runs all tests and examples, then stops the cluster.
type run struct{ *testing.M }

func (r run) Run() int {
	code := r.M.Run()
	if !started {
		return code
	}
	c, err := cluster()
	if err == nil {
		err = c.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the cluster of the examples:", err)
		return max(code, 1)
	}
	return code
}

// No goroutine may be left by a client that was closed, whatever went on; nor by a cluster.
func TestMain(m *testing.M) { goleak.VerifyTestMain(run{m}) }
