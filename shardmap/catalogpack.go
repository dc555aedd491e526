package shardmap

import (
	"time"

	"muster/raft"
	"muster/shardmap/pack"
	"muster/shardmap/points"
)

// How many fields each row of Catalog has, in tables.
const (
	databaseFields = 4
	policyFields   = 6
	windowFields   = 7
	droppedFields  = 3
	limitsFields   = 3

	catalogFields = 4
)

func (d *Database) append(b []byte) []byte {
	b = pack.AppendArray(b, databaseFields)
	b = pack.AppendUint(b, uint64(d.ID))
	b = pack.AppendString(b, d.Name)
	b = pack.AppendUint(b, uint64(d.Default))
	return appendLimits(b, d.Limits)
}

// appendLimits appends limits of a database: [series, values, fields].
func appendLimits(b []byte, l points.Limits) []byte {
	b = pack.AppendArray(b, limitsFields)
	for _, n := range [...]uint32{l.Series, l.Values, l.Fields} {
		b = pack.AppendUint(b, uint64(n))
	}
	return b
}

func readLimits(r *tableReader) (l points.Limits) {
	r.fields("limits", limitsFields)
	for _, n := range [...]*uint32{&l.Series, &l.Values, &l.Fields} {
		*n = uint32(r.UintMax(1<<32 - 1))
	}
	return l
}

func (p *Policy) append(b []byte) []byte {
	b = pack.AppendArray(b, policyFields)
	b = pack.AppendUint(b, uint64(p.ID))
	b = pack.AppendUint(b, uint64(p.Database))
	b = pack.AppendString(b, p.Name)
	b = pack.AppendInt(b, int64(p.Duration))
	b = pack.AppendInt(b, int64(p.WindowDuration))
	return pack.AppendUint(b, uint64(p.Shards))
}

func (w *Window) append(b []byte) []byte {
	b = pack.AppendArray(b, windowFields)
	b = pack.AppendUint(b, uint64(w.ID))
	b = pack.AppendUint(b, uint64(w.Policy))
	for _, t := range [...]int64{w.Start, w.End, w.Truncated, w.Hidden} {
		b = pack.AppendInt(b, t)
	}
	return appendGroups(b, w.Shards)
}

func (d *Dropped) append(b []byte) []byte {
	b = pack.AppendArray(b, droppedFields)
	b = pack.AppendUint(b, uint64(d.Kind))
	b = pack.AppendUint(b, d.ID)
	return pack.AppendUint(b, d.At)
}

func appendGroups(b []byte, groups []raft.GroupID) []byte {
	b = pack.AppendArray(b, len(groups))
	for _, g := range groups {
		b = pack.AppendUint(b, uint64(g))
	}
	return b
}

func (c *Catalog) append(b []byte) []byte {
	b = pack.AppendArray(b, catalogFields)
	b = appendRows(b, c.Databases, (*Database).append)
	b = appendRows(b, c.Policies, (*Policy).append)
	b = appendRows(b, c.Windows, (*Window).append)
	return appendRows(b, c.Dropped, (*Dropped).append)
}

func readDatabase(r *tableReader) (d Database) {
	r.fields("database", databaseFields)
	d.ID, d.Name, d.Default = DatabaseID(r.Uint()), r.String(), PolicyID(r.Uint())
	d.Limits = readLimits(r)
	return d
}

func readPolicy(r *tableReader) (p Policy) {
	r.fields("policy", policyFields)
	p.ID, p.Database, p.Name = PolicyID(r.Uint()), DatabaseID(r.Uint()), r.String()
	p.Duration, p.WindowDuration = time.Duration(r.Int()), time.Duration(r.Int())
	p.Shards = uint32(r.UintMax(1<<32 - 1))
	return p
}

func readWindow(r *tableReader) (w Window) {
	r.fields("window", windowFields)
	w.ID, w.Policy = WindowID(r.Uint()), PolicyID(r.Uint())
	for _, t := range [...]*int64{&w.Start, &w.End, &w.Truncated, &w.Hidden} {
		*t = r.Int()
	}
	w.Shards = list(r, 1, r.groupID)
	return w
}

func readDropped(r *tableReader) (d Dropped) {
	r.fields("dropped", droppedFields)
	d.Kind, d.ID, d.At = DroppedKind(r.UintMax(255)), r.Uint(), r.Uint()
	return d
}

func readCatalog(r *tableReader) (c Catalog) {
	r.fields("catalog", catalogFields)
	c.Databases = readRows(r, 1+databaseFields, readDatabase)
	c.Policies = readRows(r, 1+policyFields, readPolicy)
	c.Windows = readRows(r, 1+windowFields, readWindow)
	c.Dropped = readRows(r, 1+droppedFields, readDropped)
	return c
}
