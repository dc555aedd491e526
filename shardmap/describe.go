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
	row, c, err := readTableCommand(payload)
	if err != nil {
		return "", err
	}
	return row.Name + " " + c.describe(), nil
}

// Describe says in one line what a command to a data group does that has a body of its
// own.
func (c *Command) Describe() (string, error) {
	row := c.Kind.Row()
	if row == nil || row.describe == nil {
		return "", fmt.Errorf("%w: %s has no body of its own", ErrCommand, c.Kind)
	}
	text, err := row.describe(c)
	if err != nil {
		return "", err
	}
	return row.Name + " " + text, nil
}

func describeOwn(c *Command) (string, error) {
	o, err := ReadOwn(c)
	if err != nil {
		return "", err
	}
	return o.String(), nil
}

func (f *Found) describe() string {
	var nodes []string
	for _, n := range f.Nodes[:min(len(f.Nodes), describedMax)] {
		nodes = append(nodes, n.ID.String()+" at "+describeText(n.Addr))
	}
	return fmt.Sprintf("cluster %s id %016x level %d groups %d nodes %d: %s",
		describeText(f.Cluster), f.ClusterID, f.Level, f.Groups, len(f.Nodes), strings.Join(nodes, ", "))
}

func (a *Announce) describe() string {
	return fmt.Sprintf("node %s name %s at %s version %s start %d level %d",
		a.Node, describeText(a.Name), describeText(a.Addr), describeText(a.Version), a.Start, a.Level)
}

// describeText is a text of somebody else's within a line.
func describeText(s string) string {
	if len(s) > describedBytes {
		return strconv.Quote(s[:describedBytes]) + "…"
	}
	return strconv.Quote(s)
}
