package shardmap

import (
	"slices"
	"strings"
	"time"

	"muster/shardmap/points"
)

// catalog draws a command of a kind about time series.
func (r randomCommands) catalog(t *Table, k TableCommandKind) (b []byte) {
	switch k {
	case TableDatabase:
		c := &ChangeDatabase{Action: drawn(r, DatabaseCreate, DatabaseCreate, DatabaseCreate, DatabaseAction(r.IntN(5))), Name: r.database()}
		if c.Action == DatabaseCreate && r.one(2) || r.one(10) {
			c.Policy = r.spec()
		}
		if c.Action == DatabaseAlter {
			c.Limits = points.Limits{Series: uint32(r.IntN(3)), Values: uint32(r.IntN(3)), Fields: drawn[uint32](r, 0, 1, points.LimitMax, points.LimitMax+1)}
		}
		if c.Policy.Shards%4 == 3 {
			c.Limits.Series = c.Policy.Shards
		}
		b, _ = AppendChangeDatabase(nil, c)
	case TablePolicy:
		c := &ChangePolicy{Action: PolicyAction(1 + r.IntN(4)), Database: r.database(), Policy: PolicySpec{Name: r.policyName()}, Default: r.one(4)}
		if c.Action < PolicyDrop || r.one(10) {
			c.Policy = r.spec()
			c.Policy.Name = r.policyName()
		} else if !r.one(5) {
			c.Default = false
		}
		if c.Action == PolicyAlter || r.one(10) {
			c.Set = PolicySet(r.IntN(9))
		}
		if r.one(20) {
			c.Action = 5
		}
		b, _ = AppendChangePolicy(nil, c)
	case TableWindow:
		c := &NewWindow{Policy: r.policyID(t), Time: modelGrid * r.Int64N(6*24*10)}
		for range drawn(r, 1, 1, 1, 2, 3, r.IntN(66)) {
			c.Shards = append(c.Shards, drawn(r, 1, 2, r.group()))
		}
		if r.one(20) {
			c.Time = -1 << 63
		}
		b, _ = AppendNewWindow(nil, c)
	case TableWindowTruncate:
		c := &TruncateWindows{Time: modelGrid * r.Int64N(6*24*10)}
		if !r.one(3) {
			c.Database = r.database()
		}
		b, _ = AppendTruncateWindows(nil, c)
	case TableWindowHide:
		ids, at := r.windows(t)
		b, _ = AppendHideWindows(nil, &HideWindows{ids, at})
	case TableWindowDrop:
		ids, at := r.windows(t)
		b, _ = AppendDropWindows(nil, &DropWindows{ids, at})
	}
	return b
}

func (r randomCommands) database() string {
	return drawn(r, "a", "a", "b", "c d", "-d", "", "..", "x/y", "x\ny", strings.Repeat("d", 256))
}

func (r randomCommands) policyName() string {
	return drawn(r, "autogen", "autogen", "p", "p", "q", "", `\`)
}

func (r randomCommands) spec() PolicySpec {
	const hour = time.Hour
	return PolicySpec{
		Name: r.policyName(), Duration: drawn(r, 0, hour, 2*hour, 30*hour, 60*hour, 59*time.Minute, 180*24*hour, 181*24*hour),
		WindowDuration: drawn(r, 0, 0, 0, hour, 2*hour, 30*hour, time.Minute), Shards: drawn[uint32](r, 0, 0, 1, 3, 64, 65),
	}
}

func (r randomCommands) policyID(t *Table) PolicyID {
	if n := len(t.Catalog.Policies); n > 0 && !r.one(8) {
		return t.Catalog.Policies[r.IntN(n)].ID
	}
	return PolicyID(r.IntN(100))
}

// windows draws some that are to be hidden or dropped, and when.
func (r randomCommands) windows(t *Table) (ids []WindowID, at int64) {
	at = 600 * r.Int64N(6*24*12)
	for range r.IntN(4) {
		id := WindowID(r.IntN(100))
		if n := len(t.Catalog.Windows); n > 0 && !r.one(10) {
			w := &t.Catalog.Windows[r.IntN(n)]
			if id = w.ID; w.Hidden != 0 && !r.one(3) {
				return []WindowID{id}, w.Hidden + 3599 + r.Int64N(3)
			}
			if p, _ := t.Catalog.Policy(w.Policy); p.Duration > 0 && r.one(2) {
				at = (w.End+int64(p.Duration))/int64(time.Second) - r.Int64N(2)
			}
		}
		ids = append(ids, id)
	}
	if !r.one(10) {
		slices.Sort(ids)
		ids = slices.Compact(ids)
	}
	return ids, at
}
