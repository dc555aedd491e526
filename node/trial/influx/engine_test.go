package influx

import (
	"testing"
	"time"
)

// The engine has to be InfluxDB as it is, or all that follows proves nothing: its answers to some points, as its
// documentation has them.
func TestEngine(t *testing.T) {
	e, err := Open(t.TempDir(), time.Hour, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.Write([]byte("cpu,host=a v=1,n=3i,u=5u,s=\"x\",b=true 1000000000\ncpu,host=b v=2.5 2000000000\ncpu,host=a v=4 3700000000000\ncpu,host=a v=3 3000000000")); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"SELECT * FROM cpu WHERE time < 2s":                                  "cpu [] [time b host n s u v]\n  1970-01-01T00:00:01Z  boolean true  string \"a\"  integer 3  string \"x\"  unsigned 5  float 1\n",
		"SELECT mean(v), max(v) FROM cpu WHERE time < 1h GROUP BY host":      "cpu [{host a}] [time mean max]\n  1970-01-01T00:00:00Z  float 2  float 3\ncpu [{host b}] [time mean max]\n  1970-01-01T00:00:00Z  float 2.5  float 2.5\n",
		"SELECT sum(v) FROM cpu WHERE time < 2h GROUP BY time(1h) fill(0)":   "cpu [] [time sum]\n  1970-01-01T00:00:00Z  float 6.5\n  1970-01-01T01:00:00Z  float 4\n",
		"SELECT derivative(v, 1s) FROM cpu WHERE host = 'a'":                 "cpu [] [time derivative]\n  1970-01-01T00:00:03Z  float 1\n  1970-01-01T01:01:40Z  float 0.0002704895861509332\n",
		"SELECT count(v) FROM cpu WHERE time >= now() - 5s AND time < now()": "cpu [] [time count]\n  1970-01-01T01:01:38Z  integer 1\n",
		"SELECT nothing FROM nowhere":                                        "",
		"SELECT mean(s) FROM cpu":                                            "error: unsupported mean iterator type: *tsm1.stringIterator\n",
		"SELECT mean(v, 1) FROM cpu":                                         "error: invalid number of arguments for mean, expected 1, got 2\n",
		"DROP DATABASE db":                                                   "error: \"DROP DATABASE db\" is no SELECT\n",
	} {
		var a Answer
		a.Series, a.Err = e.Query(query, time.Unix(3703, 0))
		if got := a.Show(10); got != want {
			t.Errorf("%s\ngot\n%swant\n%s", query, got, want)
		}
	}
}
