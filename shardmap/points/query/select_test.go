package query_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"muster/shardmap/points/query"
	"muster/shardmap/points/query/querytest"
)

// data is points of five series over three windows of ten seconds; the last lines come late. Times are in seconds here.
const data = `
cpu,host=a,region=eu v=1,n=10i,s="x",on=true 0
cpu,host=a,region=eu v=3,n=30i,s="y",on=false 2
cpu,host=a,region=eu v=2,n=20i 5
cpu,host=a,region=eu v=9,n=90i,s="x" 11
cpu,host=b,region=eu v=4,n=40i,u=7u 1
cpu,host=b,region=eu v=6,n=60i,u=9u 5
cpu,host=b,region=eu v=8,n=80i 21
cpu,host=c v=5,n=50i 3
cpu,host=c n=70i 12
cpu,host=c v=7 25
mem,host=a used=100i 0
mem,host=a used=300i 10
mem,host=b used=200i 0
cpu,host=a,region=eu v=4,n=40i 8
cpu,host=b,region=eu v=2,n=20i 13
`

// second makes times of the test's data and answers readable.
const second = int64(time.Second)

func shards(t testing.TB, text string, window time.Duration, n uint32) []query.Shard {
	t.Helper()
	var b strings.Builder
	for l := range strings.Lines(strings.TrimLeft(text, "\n")) {
		// A time of 0 becomes ten zeros, which are 0 too.
		b.WriteString(strings.TrimRight(l, "\n") + "000000000\n")
	}
	batch, err := querytest.Parse(b.String())
	if err != nil {
		t.Fatal(err)
	}
	return querytest.Shards(batch, window, n)
}

// spreads are ways in which the points of the data may be spread over shards.
func spreads(t testing.TB, text string) map[string][]query.Shard {
	all := map[string][]query.Shard{
		"one shard":          shards(t, text, time.Hour, 1),
		"windows":            shards(t, text, 10*time.Second, 1),
		"windows and hashes": shards(t, text, 10*time.Second, 3),
		"narrow windows":     shards(t, text, 2*time.Second, 5),
	}
	for _, s := range all["windows"] {
		s.(*querytest.Shard).Piece = 1
	}
	return all
}

// answer returns the answer to a query as the script has it.
func answer(text string, all []query.Shard) string {
	got, err := querytest.Run(text, 30*second, all)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	return strings.ReplaceAll(querytest.Text(got), "000000000 ", "s ")
}

// Each function and each clause has its answer, that was worked out by hand from the data above, and has it wherever the
// points are: in one shard, or spread over windows and hashes.
func TestSelect(t *testing.T) {
	if wrong := selectWrong(t); wrong != "" {
		t.Error(wrong)
	}
}

// selectWrong returns what is wrong with the answers to the script; "" if nothing is.
func selectWrong(t testing.TB) string {
	b, err := os.ReadFile("testdata/select.txt")
	if err != nil {
		t.Fatal(err)
	}
	var wrong strings.Builder
	cases := strings.Split(strings.TrimPrefix(string(b), "> "), "\n> ")
	if len(cases) < 80 {
		t.Fatalf("the script has %d queries", len(cases))
	}
	for name, all := range spreads(t, data) {
		for _, c := range cases {
			text, want, _ := strings.Cut(strings.TrimRight(c, "\n")+"\n", "\n")
			if got := answer(text, all); got != want {
				wrong.WriteString(text + " in " + name + ":\ngot\n" + got + "want\n" + want)
			}
		}
	}
	return wrong.String()
}
