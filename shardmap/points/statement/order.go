package statement

import (
	"fmt"
	"time"

	"github.com/influxdata/influxql"

	"muster/shardmap"
	"muster/shardmap/points/rows"
)

// orderOf returns the order that a statement is; false: it is none.
func orderOf(stmt influxql.Statement) (*Order, bool, error) {
	o := &Order{}
	switch s := stmt.(type) {
	case *influxql.CreateDatabaseStatement:
		c := &shardmap.ChangeDatabase{Action: shardmap.DatabaseCreate, Name: s.Name}
		if s.RetentionPolicyCreate {
			c.Policy = shardmap.PolicySpec{Name: s.RetentionPolicyName, Duration: duration(s.RetentionPolicyDuration), WindowDuration: s.RetentionPolicyShardGroupDuration}
			if c.Policy.Name == "" {
				c.Policy.Name = shardmap.DefaultPolicyName
			}
		}
		o.Database = c
		o.copies(s.RetentionPolicyReplication)
		return o, true, limits(s.FutureWriteLimit, s.PastWriteLimit)
	case *influxql.DropDatabaseStatement:
		o.Database = &shardmap.ChangeDatabase{Action: shardmap.DatabaseDrop, Name: s.Name}
		return o, true, nil
	case *influxql.CreateRetentionPolicyStatement:
		o.Policy = &shardmap.ChangePolicy{
			Action: shardmap.PolicyCreate, Database: s.Database, Default: s.Default,
			Policy: shardmap.PolicySpec{Name: s.Name, Duration: s.Duration, WindowDuration: s.ShardGroupDuration},
		}
		o.copies(&s.Replication)
		return o, true, limits(&s.FutureWriteLimit, &s.PastWriteLimit)
	case *influxql.AlterRetentionPolicyStatement:
		c := &shardmap.ChangePolicy{
			Action: shardmap.PolicyAlter, Database: s.Database, Default: s.Default,
			Policy: shardmap.PolicySpec{Name: s.Name, Duration: duration(s.Duration), WindowDuration: duration(s.ShardGroupDuration)},
		}
		if s.Duration != nil {
			c.Set |= shardmap.SetDuration
		}
		if s.ShardGroupDuration != nil {
			c.Set |= shardmap.SetWindowDuration
		}
		if c.Set == 0 && s.Default {
			c = &shardmap.ChangePolicy{Action: shardmap.PolicyDefault, Database: s.Database, Policy: shardmap.PolicySpec{Name: s.Name}}
		}
		o.copies(s.Replication)
		if c.Action == shardmap.PolicyAlter && c.Set == 0 {
			return o, true, &RefusedError{"ALTER RETENTION POLICY with REPLICATION alone", "each shard has as many copies as its group has voters"}
		}
		o.Policy = c
		return o, true, limits(s.FutureWriteLimit, s.PastWriteLimit)
	case *influxql.DropRetentionPolicyStatement:
		o.Policy = &shardmap.ChangePolicy{Action: shardmap.PolicyDrop, Database: s.Database, Policy: shardmap.PolicySpec{Name: s.Name}}
		return o, true, nil
	}
	return nil, false, nil
}

func duration(d *time.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return *d
}

// copies adds a message if a number of copies was named: it is the cluster's.
func (o *Order) copies(n *int) {
	if n != nil {
		o.Messages = append(o.Messages, rows.Message{Level: rows.Warning, Text: fmt.Sprintf("REPLICATION %d is not kept: each shard has as many copies as its group has voters", *n)})
	}
}

// limits refuses what later versions than 1.8 know, and would have dropped points.
func limits(future, past *time.Duration) error {
	if duration(future) != 0 || duration(past) != 0 {
		return &RefusedError{"FUTURE LIMIT and PAST LIMIT", "leave them out; a policy's DURATION decides which points are kept"}
	}
	return nil
}
