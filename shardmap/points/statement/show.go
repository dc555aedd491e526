package statement

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/rows"
)

// Shown is what a [Show] shows. It is in no bytes.
type Shown int

const (
	// Databases are the names of all of them.
	Databases Shown = iota + 1
	// Policies are those of one database.
	Policies
	// Shards are those of all windows.
	Shards
	// ShardGroups are the windows.
	ShardGroups
	// ContinuousQueries are none.
	ContinuousQueries
	// Subscriptions are none.
	Subscriptions
)

// Show is answered from the catalog.
type Show struct {
	What     Shown
	Database string // for Policies
}

// Cluster is what rows tell of the cluster beside its catalog.
type Cluster interface {
	// Copies returns how many copies each shard has.
	Copies() int
	// Owners returns the nodes that have a copy of the shards of a group, by their numbers.
	Owners(g raft.GroupID) []uint64
}

// Rows returns the answer. The catalog is to have only what the client may see.
func (s *Show) Rows(c *shardmap.Catalog, in Cluster) ([]rows.Series, error) {
	switch s.What {
	case Databases:
		out := rows.Series{Name: "databases", Columns: []string{"name"}}
		for _, d := range byName(c) {
			out.Values = append(out.Values, text(d.Name))
		}
		return []rows.Series{out}, nil
	case Policies:
		return s.policies(c, in)
	case Shards:
		return shards(c, in), nil
	case ShardGroups:
		return groups(c), nil
	case ContinuousQueries:
		var all []rows.Series
		for _, d := range byName(c) {
			all = append(all, rows.Series{Name: d.Name, Columns: []string{"name", "query"}})
		}
		return all, nil
	}
	return nil, nil // InfluxDB has no series for a database without subscriptions
}

func (s *Show) policies(c *shardmap.Catalog, in Cluster) ([]rows.Series, error) {
	d, ok := c.DatabaseNamed(s.Database)
	if !ok {
		return nil, fmt.Errorf("database not found: %s", s.Database)
	}
	out := rows.Series{Columns: []string{"name", "duration", "shardGroupDuration", "replicaN", "default"}}
	for p := range c.PoliciesOf(d.ID) {
		out.Values = append(out.Values, text(p.Name), text(p.Duration.String()), text(p.WindowDuration.String()),
			points.IntegerValue(int64(in.Copies())), points.BooleanValue(p.ID == d.Default))
	}
	return []rows.Series{out}, nil
}

// ShardNumber is the one number that InfluxDB's clients know a shard by.
func ShardNumber(w shardmap.WindowID, s points.Shard) uint64 {
	return uint64(w)*shardmap.WindowShardsMax + uint64(s)
}

func shards(c *shardmap.Catalog, in Cluster) []rows.Series {
	var all []rows.Series
	for _, d := range byName(c) {
		out := rows.Series{Name: d.Name, Columns: []string{"id", "database", "retention_policy", "shard_group", "start_time", "end_time", "expiry_time", "owners"}}
		for p := range c.PoliciesOf(d.ID) {
			for _, w := range kept(c, p) {
				for n, g := range w.Shards {
					var owners []string
					for _, node := range in.Owners(g) {
						owners = append(owners, fmt.Sprint(node))
					}
					expiry := ""
					if p.Duration > 0 {
						expiry = ends(p, &w)
					}
					out.Values = append(out.Values, points.UnsignedValue(ShardNumber(w.ID, points.Shard(n))), text(d.Name), text(p.Name), points.UnsignedValue(uint64(w.ID)),
						text(moment(w.Start)), text(moment(w.End)), text(expiry), text(strings.Join(owners, ",")))
				}
			}
		}
		all = append(all, out)
	}
	return all
}

func groups(c *shardmap.Catalog) []rows.Series {
	out := rows.Series{Name: "shard groups", Columns: []string{"id", "database", "retention_policy", "start_time", "end_time", "expiry_time"}}
	for _, d := range byName(c) {
		for p := range c.PoliciesOf(d.ID) {
			for _, w := range kept(c, p) {
				out.Values = append(out.Values, points.UnsignedValue(uint64(w.ID)), text(d.Name), text(p.Name), text(moment(w.Start)), text(moment(w.End)), text(ends(p, &w)))
			}
		}
	}
	return []rows.Series{out}
}

// kept returns the windows of a policy that are not hidden.
func kept(c *shardmap.Catalog, p *shardmap.Policy) []shardmap.Window {
	return slices.DeleteFunc(slices.Clone(c.WindowsOf(p.ID)), func(w shardmap.Window) bool { return w.Hidden != 0 })
}

func byName(c *shardmap.Catalog) []shardmap.Database {
	all := slices.Clone(c.Databases)
	slices.SortFunc(all, func(a, b shardmap.Database) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func text(s string) points.Value { return points.StringValue(s) }

func moment(t int64) string { return time.Unix(0, t).UTC().Format(time.RFC3339) }

// ends returns when a policy no longer keeps a window.
func ends(p *shardmap.Policy, w *shardmap.Window) string {
	return time.Unix(0, w.End).UTC().Add(p.Duration).Format(time.RFC3339)
}
