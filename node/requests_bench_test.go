package node

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/repl/wire"
)

// BenchmarkRequests is the whole way of gets and sets through three nodes with
// their connections, disks and loops, in this process. A client sends as many as are
// in flight at once, to each node those whose group it leads, and reads all answers
// before it sends again. An iteration is one such round.
func BenchmarkRequests(b *testing.B) {
	for _, flight := range []int{64, 1024} {
		for _, op := range []string{"get", "set"} {
			b.Run(fmt.Sprintf("%s/in_flight=%d", op, flight), func(b *testing.B) { benchRequests(b, op, flight) })
		}
	}
}

func benchRequests(b *testing.B, op string, flight int) {
	nodes := founders(b, 3, defaultLimits())
	var clients []*speaker
	for _, r := range nodes {
		clients = append(clients, r.client())
	}
	value := strings.Repeat("v", 128)
	rounds := make([][]byte, len(nodes)) // by node
	asked := make([]int, len(nodes))
	for i := range flight {
		key := fmt.Sprintf("bench/%010d", i)
		led := -1
		until(b, "a write is taken", func() (err error) {
			for n, c := range clients {
				if _, err = c.set(key, value); err == nil {
					led = n
					return nil
				}
			}
			return err
		})
		asked[led]++
		f := frame(wire.TypeGet, 0, uint64(i), getBody(wire.ReadLinearizable, key))
		if op == "set" {
			f = frame(wire.TypeWrite, 0, uint64(i), write(setCommand(key, value)))
		}
		rounds[led] = append(rounds[led], f...)
	}
	b.ReportAllocs()
	for b.Loop() {
		for n, c := range clients {
			if err := c.SetDeadline(time.Now().Add(readyMax)); err != nil {
				b.Fatal(err)
			}
			if _, err := c.Write(rounds[n]); err != nil {
				b.Fatal(err)
			}
		}
		for n, c := range clients {
			for left := asked[n]; left > 0; {
				h, _, ok, err := c.decoder.Next()
				switch {
				case err != nil:
					b.Fatal(err)
				case !ok:
					err = c.decoder.Fill(c)
				case h.Type == wire.TypeError:
					err = fmt.Errorf("refused")
				default:
					left--
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}
