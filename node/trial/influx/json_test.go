package influx

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/influxdata/influxdb/models"
	"github.com/influxdata/influxdb/query"

	"muster/shardmap/points/rows"
)

// Muster's JSON of an answer must be that of InfluxDB's own encoder, byte for byte.
func TestJSONIsThatOfInfluxDB(t *testing.T) {
	d := MakeData(2)
	e, err := Open(t.TempDir(), Window, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.load(d); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for number := range uint64(300) {
		q := MakeQuery(d, 2, number)
		var theirs models.Rows
		if err := e.each(q.Text, d.Now, func(row *models.Row) { theirs = append(theirs, row) }); err != nil || len(theirs) == 0 {
			continue
		}
		want, err := json.Marshal(struct {
			Results []*query.Result `json:"results,omitempty"`
		}{[]*query.Result{{Series: theirs}}})
		if err != nil {
			t.Fatalf("%s: %v", q.Text, err)
		}
		mine, err := e.Query(q.Text, d.Now)
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		w := rows.NewJSON(&got, rows.Compact, rows.RFC3339)
		if err := w.Write(rows.Result{Series: mine}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if compared++; got.String() != string(want)+"\n" {
			t.Errorf("%s\ngot  %swant %s", q.Text, &got, want)
		}
	}
	if compared < 150 {
		t.Errorf("%d answers were compared, want 150", compared)
	}
}
