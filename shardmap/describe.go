package shardmap

import (
	"fmt"
	"strconv"
	"strings"
)

// describedMax is how many items a description names, and describedBytes how
// much of each.
const (
	describedMax   = 8
	describedBytes = 64
)

// DescribeTable says in one line what a command to the meta group does.
func DescribeTable(payload []byte) (string, error) {
	c, err := readTableCommand(payload)
	if err != nil {
		return "", err
	}
	switch c := c.(type) {
	case *Found:
		var nodes []string
		for _, n := range c.Nodes[:min(len(c.Nodes), describedMax)] {
			nodes = append(nodes, n.ID.String()+" at "+describeText(n.Addr))
		}
		return fmt.Sprintf("found cluster %s id %016x level %d groups %d nodes %d: %s",
			describeText(c.Cluster), c.ClusterID, c.Level, c.Groups, len(c.Nodes), strings.Join(nodes, ", ")), nil
	case *Announce:
		return fmt.Sprintf("announce node %s name %s at %s version %s start %d",
			c.Node, describeText(c.Name), describeText(c.Addr), describeText(c.Version), c.Start), nil
	}
	return fmt.Sprintf("%T", c), nil
}

// describeText is a text of somebody else's within a line.
func describeText(s string) string {
	if len(s) > describedBytes {
		return strconv.Quote(s[:describedBytes]) + "…"
	}
	return strconv.Quote(s)
}
