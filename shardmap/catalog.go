package shardmap

import (
	"cmp"
	"slices"
	"time"

	"muster/raft"
	"muster/shardmap/points"
)

type (
	// DatabaseID is the index of the entry that made a database; it is never another one's.
	DatabaseID uint64
	// PolicyID is the index of the entry that made a policy; it is never another one's.
	PolicyID uint64
	// WindowID is the index of the entry that made a window; it is never another one's.
	WindowID uint64
)

// Limits of the catalog, which each node holds whole. With all of them reached it takes a megabyte, and
// copying the list of windows, which each new window does, a millisecond.
const (
	DatabasesMax = 512
	PoliciesMax  = 16 // of one database
	// WindowsMax bounds the windows of one policy: 78 years of windows of a week, 11 years of days.
	WindowsMax = 4096
	// WindowsAllMax bounds the windows of all policies together, and ShardsMax their shards.
	WindowsAllMax   = 1 << 14
	ShardsMax       = 1 << 16
	WindowShardsMax = 64 // shards of one window
	// WindowShardsDefault bounds the shards of a window whose policy names no number.
	WindowShardsDefault = 16
	// DroppedMax bounds the databases and policies that are remembered after they were dropped.
	DroppedMax = 1024
	// CatalogNameMax bounds the name of a database or a policy, in bytes.
	CatalogNameMax = TableTextMax
	// PolicyDurationMin is the shortest time for which a policy keeps points, and the shortest window.
	// It is InfluxDB's.
	PolicyDurationMin = time.Hour
	// WindowHiddenSeconds is for how long a window is hidden before its files go.
	WindowHiddenSeconds = 3600
)

// DefaultPolicyName is the name of the policy that a database begins with, if none is named. It is InfluxDB's.
const DefaultPolicyName = "autogen"

// Database is a name for policies and what they keep.
type Database struct {
	ID   DatabaseID
	Name string // 1 to CatalogNameMax bytes, of no other database
	// Default is the policy of writes and queries that name none; 0: there is no such policy.
	Default PolicyID
	// Limits bounds what points may make of names. None of them is 0.
	Limits points.Limits
}

// Policy says for how long points of a database are kept, and in which windows (InfluxDB: retention policy).
type Policy struct {
	ID       PolicyID
	Database DatabaseID
	Name     string // 1 to CatalogNameMax bytes, of no other policy of the database
	// Duration is for how long points are kept: PolicyDurationMin at least, or 0 for ever.
	Duration time.Duration
	// WindowDuration is how long new windows are: PolicyDurationMin at least, and no longer than Duration.
	WindowDuration time.Duration
	// Shards is how many new windows have, at most WindowShardsMax; 0: as many as there are data groups that
	// could take one, at most WindowShardsDefault.
	Shards uint32
}

// Window is a span of time of a policy, whose points are stored and dropped together (InfluxDB: shard group).
type Window struct {
	ID     WindowID
	Policy PolicyID
	// Start and End are its span, in nanoseconds since 1970 UTC. End does not belong to it.
	Start, End int64
	// Truncated is from when on new points go to another window; those that are there stay. Invariant: Start <=
	// Truncated <= End; End: the window was not truncated. No other window of the policy takes points of the same time.
	Truncated int64
	// Hidden is when retention hid it, in Unix seconds, by the clocks of a majority of the meta group's voters; 0: it is
	// not hidden.
	Hidden int64
	// Shards has the data group of each shard, by its number; 1 to WindowShardsMax.
	Shards []raft.GroupID
}

// DroppedKind says what was dropped. Numbers are for ever.
type DroppedKind uint8

const (
	DroppedDatabase DroppedKind = 1 // it went with its policies, which are remembered too
	DroppedPolicy   DroppedKind = 2 // alone, or with its database
)

// Dropped is a database or a policy that was dropped: a write that was put aside before then is not for
// one of that name which was made later. Windows are not remembered: that the table has none of an id below its
// own index says as much, and retention drops many.
type Dropped struct {
	Kind DroppedKind
	ID   uint64 // that it had
	At   uint64 // the index of the entry that dropped it
}

// Catalog is what the table knows of time series. Lists that an entry does not change are those of the
// table before it.
type Catalog struct {
	Databases []Database // by id
	Policies  []Policy   // by id
	Windows   []Window   // by policy, start and id
	Dropped   []Dropped  // the last ones, in the order in which they were dropped
}

// Span returns the times of which points of the window may be, whatever it was truncated to.
func (w *Window) Span() points.Window { return points.Window{First: w.Start, Last: w.End - 1} }

// Takes reports whether new points of a time belong to the window.
func (w *Window) Takes(t int64) bool { return w.Start <= t && t < w.Truncated }

// Over reports whether a policy no longer keeps the points of a window at a time, in nanoseconds since 1970 UTC.
func (w *Window) Over(p *Policy, now int64) bool {
	// Times are within 63 bits on both sides of 1970, so the difference of two needs 64.
	return p.Duration > 0 && now >= w.End && uint64(now)-uint64(w.End) >= uint64(p.Duration)
}

// Database returns the database of an id.
func (c *Catalog) Database(id DatabaseID) (Database, bool) {
	i, ok := c.database(id)
	if !ok {
		return Database{}, false
	}
	return c.Databases[i], true
}

func (c *Catalog) database(id DatabaseID) (int, bool) {
	return slices.BinarySearchFunc(c.Databases, id, func(d Database, id DatabaseID) int { return cmp.Compare(d.ID, id) })
}

// DatabaseNamed returns the database that has the name now.
func (c *Catalog) DatabaseNamed(name string) (Database, bool) {
	i := slices.IndexFunc(c.Databases, func(d Database) bool { return d.Name == name })
	if i < 0 {
		return Database{}, false
	}
	return c.Databases[i], true
}

// Policy returns the policy of an id.
func (c *Catalog) Policy(id PolicyID) (Policy, bool) {
	i, ok := c.policy(id)
	if !ok {
		return Policy{}, false
	}
	return c.Policies[i], true
}

func (c *Catalog) policy(id PolicyID) (int, bool) {
	return slices.BinarySearchFunc(c.Policies, id, func(p Policy, id PolicyID) int { return cmp.Compare(p.ID, id) })
}

// PolicyNamed returns the policy of a database that has the name now; an empty name is that of the default.
func (c *Catalog) PolicyNamed(d *Database, name string) (Policy, bool) {
	if name == "" {
		return c.Policy(d.Default)
	}
	i := slices.IndexFunc(c.Policies, func(p Policy) bool { return p.Database == d.ID && p.Name == name })
	if i < 0 {
		return Policy{}, false
	}
	return c.Policies[i], true
}

// PoliciesOf yields the policies of a database, by id.
func (c *Catalog) PoliciesOf(id DatabaseID) func(yield func(*Policy) bool) {
	return func(yield func(*Policy) bool) {
		for i := range c.Policies {
			if c.Policies[i].Database == id && !yield(&c.Policies[i]) {
				return
			}
		}
	}
}

// WindowFrom returns the window of an id, by its policy and start: a search in the order of windows.
func (c *Catalog) WindowFrom(policy PolicyID, start int64, id WindowID) (Window, bool) {
	p := windowPlace{policy, start, id}
	i := c.before(p)
	if i == len(c.Windows) || c.Windows[i].place() != p {
		return Window{}, false
	}
	return c.Windows[i], true
}

// Window returns the window of an id. It looks at each window.
func (c *Catalog) Window(id WindowID) (Window, bool) {
	i := c.window(id)
	if i < 0 {
		return Window{}, false
	}
	return c.Windows[i], true
}

func (c *Catalog) window(id WindowID) int {
	return slices.IndexFunc(c.Windows, func(w Window) bool { return w.ID == id })
}

// windowPlace is what windows are in order by.
type windowPlace struct {
	policy PolicyID
	start  int64
	id     WindowID
}

func (w *Window) place() windowPlace { return windowPlace{w.Policy, w.Start, w.ID} }

func (p windowPlace) compare(o windowPlace) int {
	return cmp.Or(cmp.Compare(p.policy, o.policy), cmp.Compare(p.start, o.start), cmp.Compare(p.id, o.id))
}

// before returns how many windows stand before a place.
func (c *Catalog) before(p windowPlace) int {
	i, _ := slices.BinarySearchFunc(c.Windows, p, func(w Window, p windowPlace) int { return w.place().compare(p) })
	return i
}

// WindowsOf returns the windows of a policy, hidden ones too, by start. They are the table's own.
func (c *Catalog) WindowsOf(id PolicyID) []Window {
	from := c.before(windowPlace{policy: id, start: points.TimeMin - 2})
	to := c.before(windowPlace{policy: id + 1, start: points.TimeMin - 2})
	return c.Windows[from:to]
}

// WindowAt returns the window of a policy that takes new points of a time; it may be hidden.
func (c *Catalog) WindowAt(id PolicyID, t int64) (Window, bool) {
	list := c.WindowsOf(id)
	n, _ := slices.BinarySearchFunc(list, t, func(w Window, t int64) int {
		if w.Start <= t {
			return -1
		}
		return 1
	})
	for n--; n >= 0; n-- {
		switch w := &list[n]; {
		case w.Takes(t):
			return *w, true
		case w.Truncated > w.Start: // those before it end where it begins
			return Window{}, false
		}
	}
	return Window{}, false
}

// WindowsIn returns the windows of a policy that may have points from a time to another one, both
// included, by start. Hidden ones are left out.
func (c *Catalog) WindowsIn(id PolicyID, first, last int64) (in []Window) {
	for _, w := range c.WindowsOf(id) {
		if w.Hidden == 0 && w.Start <= last && first < w.End {
			in = append(in, w)
		}
	}
	return in
}

// WasDropped returns when a database or a policy was dropped; false: it was not, or is not remembered.
func (c *Catalog) WasDropped(k DroppedKind, id uint64) (at uint64, ok bool) {
	for i := range c.Dropped {
		if d := &c.Dropped[i]; d.Kind == k && d.ID == id {
			return d.At, true
		}
	}
	return 0, false
}

// Only returns the catalog with those databases alone that see reports true of, and what is theirs.
func (c *Catalog) Only(see func(name string) bool) (only Catalog) {
	for _, d := range c.Databases {
		if see(d.Name) {
			only.Databases = append(only.Databases, d)
		}
	}
	if len(only.Databases) == len(c.Databases) {
		return *c
	}
	for _, p := range c.Policies {
		if _, ok := only.Database(p.Database); ok {
			only.Policies = append(only.Policies, p)
		}
	}
	for _, w := range c.Windows {
		if _, ok := only.Policy(w.Policy); ok {
			only.Windows = append(only.Windows, w)
		}
	}
	return only
}

// shards counts the shards of all windows.
func (c *Catalog) shards() (n int) {
	for i := range c.Windows {
		n += len(c.Windows[i].Shards)
	}
	return n
}

// windowsOn counts the windows that have a shard in a group.
func (c *Catalog) windowsOn(g raft.GroupID) (n int) {
	for i := range c.Windows {
		if slices.Contains(c.Windows[i].Shards, g) {
			n++
		}
	}
	return n
}

// NewSpan returns the times that a new window of a policy would take with a time in it. No window takes points of that time.
func (c *Catalog) NewSpan(p *Policy, t int64) points.Window {
	start, end := c.span(p, t)
	return points.Window{First: start, Last: end - 1}
}

// span returns what a new window of a policy with a time in it would be: a window of the policy's
// duration, cut off where others that take points begin and end. None of them takes points of that time.
func (c *Catalog) span(p *Policy, t int64) (start, end int64) {
	w := points.WindowOf(t, p.WindowDuration)
	// The last nanosecond of all is no point's, so that it can be the end.
	start, end = w.First, min(w.Last, points.TimeMax)+1
	list := c.WindowsOf(p.ID)
	for i := range list {
		o := &list[i]
		switch {
		case o.Truncated == o.Start || bug(bugWindowTwice):
		case o.Truncated <= t:
			start = max(start, o.Truncated)
		default:
			end = min(end, o.Start)
		}
	}
	return start, end
}

// bugWindowTwice is planted to show that the random commands find it: a time is in two windows.
const bugWindowTwice = "window made twice"
