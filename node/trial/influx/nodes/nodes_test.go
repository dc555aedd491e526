package nodes

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/node/trial/influx"
	"muster/repl/client"
	"muster/repl/queries"
	"muster/shardmap/points"
	"muster/shardmap/points/rows"
)

var (
	seedFlag    = flag.Uint64("seed", 0, "of the first data")
	queriesFlag = flag.Uint64("queries", 0, "how many queries are put to both, over all data")
)

func TestMain(m *testing.M) { clustertest.Main(m) }

// Three nodes have to answer what InfluxDB answers, over windows of three shards in several groups, with late points. The
// memory for points is the least there can be, so that heads become files while points are written.
func TestNodesAnswerAsInfluxDB(t *testing.T) {
	clustertest.OnDemand(t, *queriesFlag > 0, "./nodes -queries 10000 -timeout 60m, in node/trial/influx")
	c := clustertest.Start(t, 3, "--insecure", "--points-memory", "1MiB")
	influx.Compare(t, *seedFlag, *queriesFlag, func(seed uint64, d *influx.Data) influx.Answerer {
		database := fmt.Sprint("seed", seed)
		// It warns of windows that run out one day.
		if r := c.Run("db", "create", database, "--window", influx.Window.String(), "--shards", "3"); r.Status != clustertest.ExitDone {
			t.Fatalf("create database: status %d, standard error %q", r.Status, r.Stderr)
		}
		for i, w := range d.Writes {
			write(t, c, i, database, w)
		}
		return &asked{client: c.Client(), database: database}
	})
}

// write sends a write to a node by its number in the data, a text for each window: a field that changes its kind from one
// window to the next can't do so within a text.
func write(t *testing.T, c *clustertest.Cluster, number int, database string, all []points.Point) {
	t.Helper()
	of := map[int64][]points.Point{}
	for _, p := range all {
		begin := points.WindowOf(p.Time, influx.Window).First
		of[begin] = append(of[begin], p)
	}
	address := fmt.Sprintf("http://%s/write?db=%s", c.Nodes[number%len(c.Nodes)].Addr, database)
	for _, begin := range slices.Sorted(maps.Keys(of)) {
		text, err := influx.Lines(of[begin])
		if err != nil {
			t.Fatal(err)
		}
		clustertest.Await(t, "write", clustertest.ReadyMax, func(context.Context) error {
			r, err := http.Post(address, "text/plain", bytes.NewReader(text))
			if err != nil {
				return err
			}
			defer r.Body.Close()
			said, err := io.ReadAll(r.Body)
			if err == nil && r.StatusCode != http.StatusNoContent {
				err = fmt.Errorf("%s: %s", r.Status, said)
			}
			return err
		})
	}
}

// asked puts queries to a database of the nodes.
type asked struct {
	client   *client.Client
	database string
}

// Query implements [influx.Answerer].
func (a *asked) Query(text string, now time.Time) (series []rows.Series, err error) {
	r := queries.Runner{Client: a.client, Now: func() time.Time { return now }}
	q := queries.Request{Database: a.database, Text: text, ChunkRows: 1 << 30}
	refused := r.Run(context.Background(), &q, func(x rows.Result) bool {
		series = append(series, x.Series...)
		err = x.Err
		return true
	})
	if refused != nil {
		err = refused
	}
	return series, err
}
