package queries

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"muster/repl/client"
	"muster/repl/wire"
)

// numbers are those of queries.
func numbers(all []Running) (ids []uint64) {
	for _, r := range all {
		ids = append(ids, r.ID)
	}
	return ids
}

// The queries of all nodes are listed, those that have run the longest first. One would doubt that a node that says nothing costs more than its own
// rows: it is named, after the time that it has.
func TestListOfAllNodes(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world, c *client.Client) {
		w.nodes[0].rows = []wire.QueriesRow{{Query: 3, AgeMs: 10, User: "ann", Text: "SELECT v FROM m", Memory: 7}}
		w.nodes[1].rows = []wire.QueriesRow{{Query: 2, AgeMs: 5000}, {Query: 4, AgeMs: 10}}
		w.nodes[2].rows = []wire.QueriesRow{{Query: 1, AgeMs: 1}}
		list := func(want []uint64, messages string, after time.Duration) {
			t.Helper()
			began := time.Now()
			all, told, err := Cluster{c}.Queries(t.Context())
			if err != nil || !slices.Equal(numbers(all), want) || time.Since(began) != after {
				t.Errorf("got %v, %v after %s; want %v after %s", all, err, time.Since(began), want, after)
			}
			if (messages == "") != (len(told) == 0) || messages != "" && !strings.Contains(told[0].Text, messages) {
				t.Errorf("the messages are %v, want %q", told, messages)
			}
		}
		list([]uint64{2, 3, 4, 1}, "", 0)
		all, _, err := Cluster{c}.Queries(t.Context())
		if err != nil || all[1].Node != "n1" || all[1].User != "ann" || all[1].Memory != 7 || time.Since(all[1].Since) != 10*time.Millisecond {
			t.Errorf("got %+v, %v", all[1], err)
		}
		w.set(func() { w.nodes[2].silent = true })
		list([]uint64{2, 3, 4}, "node n3 is not asked", nodePatience)
		w.set(func() {
			for _, n := range w.nodes[:2] {
				n.order = func(h wire.Header) (f fate) {
					if h.Type == wire.TypeQueries {
						f.refuse = wire.BadRequest("queries", "none", "ask later")
					}
					return f
				}
			}
		})
		if all, _, err := (Cluster{c}).Queries(t.Context()); err == nil || len(all) > 0 {
			t.Errorf("no node answers: got %v, %v", all, err)
		}
		// A caller who stops waiting is not held up by a node that says nothing.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, _, err := (Cluster{c}).Queries(ctx); err == nil || time.Since(began) != time.Second {
			t.Errorf("ended by the caller: %v after %s", err, time.Since(began))
		}
	})
}

// A query is ended wherever it runs, and all nodes are told, for each may work on parts of it. A node that does not answer may be the one: then
// nobody says that there is no such query.
func TestKillElsewhere(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world, c *client.Client) {
		w.nodes[1].rows = []wire.QueriesRow{{Query: 7}}
		kill := func(id uint64, host string, check func(error) bool) {
			t.Helper()
			if err := (Cluster{c}).Kill(t.Context(), id, host); !check(err) {
				t.Errorf("query %d at %q: %v", id, host, err)
			}
		}
		var missing *NotFoundError
		none := func(err error) bool { return errors.As(err, &missing) && missing.What == "query" }
		kill(7, "", func(err error) bool { return err == nil })
		for _, n := range w.nodes {
			if !n.ended[7] {
				t.Errorf("%s was not told", n.name)
			}
		}
		kill(7, "n2", func(err error) bool { return err == nil })
		kill(7, "n1", none)
		kill(8, "", none)
		before := len(w.nodes[0].told)
		kill(0, "", none)
		kill(wire.PointsQueryIDMax+1, "", none)
		if len(w.nodes[0].told) != before {
			t.Error("nodes were asked about a number that no query has")
		}
		w.set(func() { w.nodes[2].silent = true })
		kill(7, "", func(err error) bool { return err == nil })
		kill(8, "", func(err error) bool {
			var e *wire.Error
			return errors.As(err, &e) && e.Code == wire.CodeUnavailable && strings.Contains(err.Error(), "node n3 is not asked")
		})
	})
}

// A query that a client carries out is listed at the node that it was told to, with its memory, until it is done; and its context ends when somebody
// ends it, wherever he asks.
func TestAnnounce(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world, c *client.Client) {
		ctx, a, err := Announce(t.Context(), c, &Request{Database: "metrics", Text: "SELECT v FROM m"})
		if err != nil {
			t.Fatal(err)
		}
		at := w.nodes[0]
		if len(at.rows) != 1 || at.rows[0].Query != a.ID || at.rows[0].Text != "SELECT v FROM m" || len(w.nodes[1].told) > 0 {
			t.Errorf("listed are %+v and %+v", at.rows, w.nodes[1].told)
		}
		a.Memory.Store(4711)
		time.Sleep(announcePause + 1) // of the bubble
		synctest.Wait()
		if n := len(at.told); n != 2 || at.told[1].Memory != 4711 {
			t.Errorf("it was told %+v", at.told)
		}
		// A node that has not answered once hears of it again, soon enough for it not to forget the query.
		w.set(func() { at.order = func(h wire.Header) fate { return fate{silent: h.Type == wire.TypeQueries} } })
		time.Sleep(announcePause)
		synctest.Wait()
		w.set(func() { at.order, at.rows, at.told = nil, nil, nil })
		time.Sleep(nodePatience + announcePause)
		synctest.Wait()
		if len(at.rows) != 1 || at.rows[0].Query != a.ID {
			t.Errorf("after a silence it lists %+v, and was told %+v", at.rows, at.told)
		}
		other := w.open(1)
		defer other.Close()
		if err := (Cluster{other}).Kill(t.Context(), a.ID, ""); err != nil {
			t.Errorf("ended through the other node: %v", err)
		}
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, ErrEnded) {
			t.Errorf("its context ended by %v", cause)
		}
		a.Done()
		if len(at.rows) != 0 {
			t.Errorf("done, it is listed: %+v", at.rows)
		}
	})
}

// Done ends the announcements of a query that nobody has ended, and does not wait for a node that says nothing longer than that has time.
func TestAnnounceDone(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world, c *client.Client) {
		ctx, a, err := Announce(t.Context(), c, &Request{Text: "SELECT v FROM m"})
		if err != nil {
			t.Fatal(err)
		}
		w.set(func() { w.nodes[0].silent = true })
		began := time.Now()
		a.Done()
		if took := time.Since(began); took != nodePatience || !errors.Is(context.Cause(ctx), context.Canceled) {
			t.Errorf("done after %s, its context ended by %v", took, context.Cause(ctx))
		}
	})
}

// A text is listed without passwords, and ends where a character ends.
func TestShown(t *testing.T) {
	if got := Shown(`CREATE USER "a" WITH PASSWORD 'secret'`); strings.Contains(got, "secret") {
		t.Errorf("shown is %s", got)
	}
	if got := Shown(strings.Repeat("ä", TextShown)); len(got) != TextShown || strings.ContainsRune(got, '\uFFFD') {
		t.Errorf("shown are %d bytes: %q", len(got), got[len(got)-3:])
	}
	if got := Shown("a" + strings.Repeat("ä", TextShown)); len(got) != TextShown-1 {
		t.Errorf("shown are %d bytes", len(got))
	}
}
