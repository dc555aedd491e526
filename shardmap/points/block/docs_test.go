package block

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"muster/shardmap/points/column"
)

// docs/storage.md walks through the bytes of a small block file. They must be the bytes that are written.
func TestBytesInDocs(t *testing.T) {
	times := []int64{1_700_000_000e9, 1_700_000_010e9, 1_700_000_020e9}
	file, _ := written(t, []Block{
		{[]byte("cpu,host=a"), []byte("busy"), times, column.Values{Kind: column.Float, Floats: []float64{12.5, 12.75, 11.5}}},
		{[]byte("cpu,host=a"), []byte("cores"), times, column.Values{Kind: column.Integer, Integers: []int64{8, 8, 8}}},
	})
	r, err := open(file)
	if err != nil {
		t.Fatal(err)
	}
	type region struct {
		what string
		part part
	}
	regions := []region{{"header", part{0, headerSize, headerSize, 0}}}
	c := r.All()
	for c.Next() {
		row := c.Row()
		if last := regions[len(regions)-1].part; row.times.offset == last.offset+int64(last.stands) {
			regions = append(regions, region{"times, of both fields", row.times})
		}
		regions = append(regions, region{fmt.Sprintf("values of %s", row.Field), row.values})
	}
	foot := len(file) - footerSize
	regions = append(regions, region{"page", r.sections[0].page},
		region{"directory", part{offset: r.directory, stands: foot - int(r.directory)}},
		region{"footer", part{offset: int64(foot), stands: footerSize}})

	var b strings.Builder
	for _, x := range regions {
		bytes := file[x.part.offset:][:x.part.stands]
		fmt.Fprintf(&b, "%4d  %s, %d bytes\n", x.part.offset, x.what, len(bytes))
		for line := range slices.Chunk(bytes, 24) {
			fmt.Fprintf(&b, "      % x\n", line)
		}
	}
	page, err := os.ReadFile("../../../docs/storage.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), "```\n"+b.String()+"```\n") {
		t.Errorf("docs/storage.md does not hold the bytes that are written:\n%s", b.String())
	}
}
