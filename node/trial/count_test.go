package trial

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/raft"
	"muster/repl/client"
	"muster/shardmap"
)

const (
	// countClients count countKeys keys up and down, with countPause between two of one
	// client's: so that the machine has time left for moves and elections.
	countClients = 1000
	countKeys    = 64
	countPause   = 500 * time.Millisecond
)

func countKey(i int) []byte { return fmt.Appendf(nil, "count/%d", i) }

// A thousand clients send each write three times, while nodes are killed and all slots move.
// At the end each counter is exactly what was asked for. One would doubt it: copies of one
// write reach old and new leaders of old and new owners, before, between and after crash and
// move.
func TestCountsAreExact(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, 3, "--groups", fmt.Sprint(slotGroups))
	for i := range c.Nodes {
		c.Start(i)
	}
	c.Healthy()
	var (
		wg     sync.WaitGroup
		counts [countKeys]atomic.Int64
		writes atomic.Int64
		over   = make(chan struct{})
	)
	ctx, cancel := context.WithTimeout(context.Background(), 10*clustertest.ReadyMax)
	defer cancel()
	for i := range countClients {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 14))
			w := &tripleWriter{c: c, session: rnd.Uint64() | 1, at: i % len(c.Nodes)}
			defer w.close()
			pause := time.NewTicker(countPause)
			defer pause.Stop()
			for n := uint64(1); ; n++ {
				k, by := rnd.IntN(countKeys), rnd.Int64N(11)-5
				w.key = countKey(k)
				cmd := shardmap.TxnCommand(shardmap.SlotOf(w.key), &shardmap.Txn{Then: []shardmap.Op{{Kind: shardmap.OpIncr, Key: w.key, By: by}}})
				cmd.Session, cmd.Sequence, cmd.Floor = w.session, n, n
				if _, err := w.once(ctx, &cmd); err != nil {
					t.Error(err)
					return
				}
				counts[k].Add(by)
				writes.Add(1)
				select {
				case <-over:
					return
				case <-pause.C:
				}
			}
		})
	}
	r := startReaper(c, paceShort)
	for round := 1; r.struck() < killsShort && !t.Failed(); round++ {
		r.moves(fmt.Sprintf("all slots, round %d", round), func(g raft.GroupID) raft.GroupID { return 1 + g%slotGroups })
	}
	r.end()
	close(over)
	wg.Wait()
	if t.Failed() {
		return
	}
	cl := c.Client()
	for k := range countKeys {
		items, _, err := cl.Get(ctx, [][]byte{countKey(k)}, client.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		is := int64(0)
		if len(items) > 0 {
			if is, err = strconv.ParseInt(string(items[0].Value), 10, 64); err != nil {
				t.Errorf("key %s has %q", countKey(k), items[0].Value)
			}
		}
		if want := counts[k].Load(); is != want {
			t.Errorf("key %s is %d, want %d", countKey(k), is, want)
		}
	}
	t.Logf("%d clients have sent each of %d writes three times, with %d kills", countClients, writes.Load(), r.kills)
}
