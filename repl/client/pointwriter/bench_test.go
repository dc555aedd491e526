package pointwriter

import (
	"context"
	"fmt"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/line"
)

// sink is a cluster whose groups answer at once that all of a share is stored, so that what is measured is the gateway alone.
type sink struct {
	table *shardmap.Table
}

func (s *sink) Table(context.Context, uint64) (*shardmap.Table, error) { return s.table, nil }
func (s *sink) Takes(l Level) error                                    { return l.Takes() }

func (s *sink) Window(context.Context, *wire.Window) (*wire.WindowAnswer, error) {
	return nil, wire.Conflict("window", "all are there")
}

func (s *sink) Bring(_ context.Context, _ raft.GroupID, p *shardmap.PointsBody, _ Level, _ time.Duration) (b Brought, err error) {
	b.Answer.Outcome.Stored = 1 // how many they are the piece knows
	return b, nil
}

// hosts is a text as a fleet of telegrafs sends it, of 100 hosts with 10 measurements of 10 fields each: a third counters, a
// third random walks of two decimals, a third integers of 0 to 100.
func hosts(lines int) (text []byte) {
	walk := uint64(1)
	for i := range lines {
		text = fmt.Appendf(text, "m%d,host=server%04d,region=eu-west-1 ", i/100%10, i%100)
		for f := range 10 {
			walk = walk*6364136223846793005 + 1442695040888963407
			switch f % 3 {
			case 0:
				text = fmt.Appendf(text, "f%d=%di,", f, i*100+int(walk>>58))
			case 1:
				text = fmt.Appendf(text, "f%d=%d.%02d,", f, 20+i%10, walk>>57%100)
			default:
				text = fmt.Appendf(text, "f%d=%di,", f, walk>>57%101)
			}
		}
		text = fmt.Appendf(text[:len(text)-1], " %d\n", noon+int64(i/1000)*int64(10*time.Second))
	}
	return text
}

// BenchmarkWrite is what a gateway costs for each value, from the text to the pieces.
func BenchmarkWrite(b *testing.B) {
	for _, lines := range []int{1000, 10_000} {
		b.Run(fmt.Sprint("lines=", lines), func(b *testing.B) {
			t := &shardmap.Table{Index: 10, Level: shardmap.PointsLevel}
			t.Catalog.Databases = []shardmap.Database{{ID: 5, Name: "metrics", Default: 6}}
			t.Catalog.Policies = []shardmap.Policy{{ID: 6, Database: 5, Name: "autogen", WindowDuration: 24 * time.Hour, Shards: 4}}
			day := points.WindowOf(noon, 24*time.Hour)
			t.Catalog.Windows = []shardmap.Window{{ID: 7, Policy: 6, Start: day.First, End: day.Last + 1, Truncated: day.Last + 1, Shards: []raft.GroupID{1, 2, 3, 1}}}
			g, c := NewGateway(0), &sink{t}
			q := &Request{Database: "metrics", Precision: line.Nanosecond, Now: noon, Text: hosts(lines)}
			b.SetBytes(int64(len(q.Text)))
			b.ReportAllocs()
			for b.Loop() {
				if r, err := g.Write(b.Context(), c, q); err != nil || r.Stored != lines {
					b.Fatal(r, err)
				}
			}
			b.ReportMetric(float64(b.N)*float64(lines)*10/b.Elapsed().Seconds(), "values/s")
		})
	}
}
