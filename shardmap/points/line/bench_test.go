package line

import (
	"fmt"
	"testing"
	"time"

	"muster/shardmap/points"
)

// realistic is a text as telegraf sends it: a number of hosts in a region, ten fields of a processor, each host
// every ten seconds.
func realistic(lines, hosts int) (text []byte) {
	for i := range lines {
		text = fmt.Appendf(text, "cpu,host=server%04d,region=eu-west-1 usage_user=%d.25,usage_system=1.5,usage_idle=92.1,usage_nice=0,usage_iowait=0.13,usage_irq=0,usage_softirq=0.02,usage_steal=0,usage_guest=0,usage_guest_nice=0 %d\n",
			i%hosts, i%100, 1_600_000_000_000_000_000+int64(i/hosts)*int64(10*time.Second))
	}
	return text
}

const benchLines = 1000

func BenchmarkParse(b *testing.B) {
	for _, hosts := range []int{100, benchLines} {
		b.Run(fmt.Sprint("series=", hosts), func(b *testing.B) {
			text := realistic(benchLines, hosts)
			p := NewParser()
			p.Parse(text, Nanosecond, 0) // warm
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, report, err := p.Parse(text, Nanosecond, 0); err != nil || report.Points != benchLines {
					b.Fatal(report, err)
				}
			}
			b.ReportMetric(float64(b.N)*benchLines/b.Elapsed().Seconds(), "lines/s")
		})
	}
}

func BenchmarkSplit(b *testing.B) {
	batch, _, err := NewParser().Parse(realistic(benchLines, 100), Nanosecond, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		points.Split(batch, points.Every(24*time.Hour, 2))
	}
	b.ReportMetric(float64(b.N)*benchLines/b.Elapsed().Seconds(), "lines/s")
}
