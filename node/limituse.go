package node

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/shard"
)

// limitNear is the part of a limit from which a person is told: there is time to find the program that makes up names.
const limitNear = 0.8

// limitsLook is the pause between two looks at how near the shards of the node are to limits.
const limitsLook = time.Minute

// The limits of a database.
const (
	limitSeries = iota
	limitValues
	limitFields

	limitsOfDatabase
)

// limitNames are what metrics call the limits, and limitTexts what sentences call them.
var (
	limitNames = [limitsOfDatabase]string{limitSeries: "series", limitValues: "values", limitFields: "fields"}
	limitTexts = [limitsOfDatabase]string{limitSeries: "series", limitValues: "values of one tag", limitFields: "fields of one measurement"}
)

// limitUse is how near the shards of a database are to its limits, as this node has them.
type limitUse struct {
	id       shardmap.DatabaseID
	database string
	worst    [limitsOfDatabase]usedLimit // of the shard that is nearest to each
}

// usedLimit is what a shard has of a limit.
type usedLimit struct {
	shard            shardmap.ShardID
	has, most        uint64
	measurement, tag string // the tag that has the most values; may be empty
	values           uint32
}

// part is which part of the limit is used.
func (u *usedLimit) part() float64 {
	if u.most == 0 {
		return 0
	}
	return float64(u.has) / float64(u.most)
}

// limitUsesOf looks at all shards of this node. The host's goroutine calls it.
func limitUsesOf(h *repl.Host, table *shardmap.Table) (list []limitUse) {
	if table == nil {
		return nil // nothing is known of limits
	}
	h.Replicas.Each(func(v *repl.ReplicaView) {
		m, ok := v.Machine.(*machine.Map)
		if !ok {
			return
		}
		for _, s := range m.State.Shards() {
			d, ok := table.Catalog.Database(s.Database)
			if !ok {
				continue // it was dropped
			}
			at, there := slices.BinarySearchFunc(list, d.ID, func(u limitUse, id shardmap.DatabaseID) int { return cmp.Compare(u.id, id) })
			if !there {
				list = slices.Insert(list, at, limitUse{id: d.ID, database: d.Name})
			}
			list[at].add(s.ShardID, d.Limits.Of(s.Shards), s.Points.Census())
		}
	})
	return list
}

// add counts a shard of the database.
func (u *limitUse) add(id shardmap.ShardID, most points.Limits, is shard.Census) {
	for of, x := range [limitsOfDatabase]usedLimit{
		limitSeries: {has: uint64(is.Series), most: uint64(most.Series)},
		limitValues: {has: uint64(is.Values), most: uint64(most.Values)},
		limitFields: {has: uint64(is.Fields), most: uint64(most.Fields)},
	} {
		x.shard, x.measurement, x.tag, x.values = id, is.Measurement, is.Tag, is.Values
		if w := &u.worst[of]; x.part() >= w.part() {
			*w = x
		}
	}
}

// problems tells a person which limits are near.
func (u *limitUse) problems(node string) (list []wire.Problem) {
	for of := range u.worst {
		x := &u.worst[of]
		if x.part() < limitNear {
			continue
		}
		text := fmt.Sprintf("node %s: database %q: %s has %d %s, and may have %d", node, u.database, x.shard, x.has, limitTexts[of], x.most)
		remedy := "raise the limit: muster db alter " + u.database + " --max-" + limitNames[of] + " N"
		switch {
		case of == limitFields || x.measurement == "":
		case x.tag == "":
			text += fmt.Sprintf("; a tag of measurement %q has the most values, %d", x.measurement, x.values)
		default:
			text += fmt.Sprintf("; tag %q of measurement %q has the most values, %d", x.tag, x.measurement, x.values)
		}
		if of != limitFields {
			remedy = "have what writes that tag write it as a field, and drop its series; or " + remedy
		}
		list = append(list, wire.Problem{What: text + ". Points of new ones are dropped then", Remedy: remedy})
	}
	return list
}
