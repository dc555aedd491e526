package web

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"muster/node/overview"
	"muster/node/overview/feed"
	"muster/node/trial/clustertest"
)

// told is an event of a stream over HTTP.
type told struct {
	kind, id string
	change   overview.Event
	overview overview.Overview
}

// events reads the stream of events of one node.
type events struct {
	t     testing.TB
	lines *bufio.Scanner
}

// eventsOf opens the stream of a node, behind the event with an id; from now where that is empty.
func eventsOf(c *clustertest.Cluster, i int, after string) *events {
	c.T.Helper()
	var e *events
	c.Until(fmt.Sprintf("told by n%d", i+1), func(context.Context) error {
		r, err := http.NewRequestWithContext(c.T.Context(), http.MethodGet, "http://"+c.Nodes[i].Addr+feed.PathEvents, nil)
		if err != nil {
			c.T.Fatal(err)
		}
		if after != "" {
			r.Header.Set("Last-Event-ID", after)
		}
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		if a.StatusCode != http.StatusOK {
			a.Body.Close()
			return fmt.Errorf("status %s", a.Status)
		}
		c.T.Cleanup(func() { a.Body.Close() })
		e = &events{t: c.T, lines: bufio.NewScanner(a.Body)}
		e.lines.Buffer(nil, 8<<20)
		return nil
	})
	return e
}

// next returns the next event; false if the stream has ended.
func (e *events) next() (x told, ok bool) {
	for e.lines.Scan() {
		field, value, _ := strings.Cut(e.lines.Text(), ": ")
		var into any
		switch {
		case field == "event":
			x.kind = value
		case field == "id":
			x.id = value
		case field == "data" && x.kind == "change":
			into = &x.change
		case field == "data":
			into = &x.overview
		case field == "" && x.kind != "":
			return x, true
		}
		if into != nil {
			if err := json.Unmarshal([]byte(value), into); err != nil {
				e.t.Fatalf("%s: %v", value, err)
			}
		}
	}
	return x, false
}

// A reader of events must be told of each change, though the node that it reads from is killed: it
// goes on at another node, which has never heard of it and at which nobody has looked before. What
// happens while it is at neither is told too.
func TestEventsOutliveTheirNode(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--groups", "1", "--insecure")
	last := ""
	stream := eventsOf(c, 0, "")
	for last == "" {
		x, ok := stream.next()
		if !ok {
			t.Fatal("the stream has ended")
		}
		if x.kind == "overview" && x.overview.Verdict != overview.VerdictError && len(x.overview.Groups) == 2 {
			last = x.id
		}
	}
	c.Kill(0)
	for {
		x, ok := stream.next()
		if !ok {
			break
		}
		last = x.id
	}
	// It reads from nobody now.
	if r := c.Run("group", "create", "--endpoints", c.Nodes[1].Addr); r.Status != clustertest.ExitDone {
		t.Fatalf("status %d, %s%s", r.Status, r.Stdout, r.Stderr)
	}
	cl := c.Client()
	c.Until("known on n2", func(ctx context.Context) error {
		a, err := cl.Status(ctx, c.Nodes[1].Addr)
		if err == nil && len(a.Groups) != 3 {
			err = fmt.Errorf("groups %+v", a.Groups)
		}
		return err
	})
	stream = eventsOf(c, 1, last)
	keys := map[string]int{}
	var kinds []overview.EventKind
	want := []overview.EventKind{overview.EventNodeLost, overview.EventGroupAdded, overview.EventVerdict}
	for first := true; slices.ContainsFunc(want, func(k overview.EventKind) bool { return !slices.Contains(kinds, k) }); {
		x, ok := stream.next()
		if !ok {
			t.Fatalf("the stream of n2 has ended; it told of %v", kinds)
		}
		if x.id == "" {
			t.Errorf("an event without an id: %+v", x)
		}
		if x.kind == "change" {
			kinds = append(kinds, x.change.Kind)
			if keys[x.change.Key]++; keys[x.change.Key] > 1 {
				t.Errorf("told twice: %+v", x.change)
			}
			continue
		}
		if first && !slices.Contains(kinds, overview.EventGroupAdded) {
			t.Errorf("the first overview comes before what happened while nobody read: %v", kinds)
		}
		first = false
	}
	t.Logf("told by n2: %v", kinds)
}
