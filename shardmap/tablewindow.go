package shardmap

import (
	"fmt"
	"slices"
	"strings"

	"muster/raft"
	"muster/shardmap/pack"
	"muster/shardmap/points"
)

// NewWindow makes the window of a policy that takes points of a time, if there is none:
//
//	[policy, time, [group, …]]
//
// Where it begins and ends follows from the policy and from the windows that are there.
type NewWindow struct {
	Policy PolicyID
	Time   int64 // nanoseconds since 1970 UTC, of a point
	// Shards has the data group of each shard, as the leader has chosen them; 1 to WindowShardsMax.
	Shards []raft.GroupID
}

// TruncateWindows ends windows at a time for new points, so that the next ones go to windows that are made
// anew, on the groups of then. Points that are there stay.
//
//	[database, time]
type TruncateWindows struct {
	Database string // all policies of it; "": all databases
	Time     int64  // nanoseconds since 1970 UTC
}

// HideWindows hides windows whose points are no longer kept:
//
//	[[window, …], now]
type HideWindows struct {
	Windows []WindowID // in order, at most WindowBatchMax
	At      int64      // now, in Unix seconds, by the clocks that retention goes by
}

// DropWindows takes windows out that were hidden for long enough; their files go:
//
//	[[window, …], now]
type DropWindows struct {
	Windows []WindowID // in order, at most WindowBatchMax
	At      int64      // as of HideWindows
}

// WindowBatchMax bounds the windows of one HideWindows or DropWindows.
const WindowBatchMax = 1024

// bugLiveWindow is planted to show that the tests find it: a window is hidden or dropped before its time.
const bugLiveWindow = "retention drops a live window"

const (
	newWindowFields       = 3
	truncateWindowsFields = 2
	endWindowsFields      = 2
)

// AppendNewWindow appends the bytes of c to b. At this level the error is always nil.
func AppendNewWindow(b []byte, c *NewWindow) ([]byte, error) {
	b = appendTableHead(b, TableWindow, newWindowFields)
	b = pack.AppendUint(b, uint64(c.Policy))
	b = pack.AppendInt(b, c.Time)
	return appendGroups(b, c.Shards), nil
}

// AppendTruncateWindows appends the bytes of c to b. At this level the error is always nil.
func AppendTruncateWindows(b []byte, c *TruncateWindows) ([]byte, error) {
	b = appendTableHead(b, TableWindowTruncate, truncateWindowsFields)
	b = pack.AppendString(b, c.Database)
	return pack.AppendInt(b, c.Time), nil
}

// AppendHideWindows appends the bytes of c to b. At this level the error is always nil.
func AppendHideWindows(b []byte, c *HideWindows) ([]byte, error) {
	return appendEndWindows(b, TableWindowHide, c.Windows, c.At), nil
}

// AppendDropWindows appends the bytes of c to b. At this level the error is always nil.
func AppendDropWindows(b []byte, c *DropWindows) ([]byte, error) {
	return appendEndWindows(b, TableWindowDrop, c.Windows, c.At), nil
}

func appendEndWindows(b []byte, k TableCommandKind, ids []WindowID, at int64) []byte {
	b = appendTableHead(b, k, endWindowsFields)
	b = pack.AppendArray(b, len(ids))
	for _, id := range ids {
		b = pack.AppendUint(b, uint64(id))
	}
	return pack.AppendInt(b, at)
}

func readNewWindow(r *tableReader) (tableCommand, error) {
	c := new(NewWindow)
	r.fields("new window", newWindowFields)
	c.Policy, c.Time = PolicyID(r.Uint()), r.Int()
	c.Shards = list(r, 1, r.groupID)
	return c, r.err()
}

func readTruncateWindows(r *tableReader) (tableCommand, error) {
	c := new(TruncateWindows)
	r.fields("truncation of windows", truncateWindowsFields)
	c.Database, c.Time = r.String(), r.Int()
	return c, r.err()
}

func readHideWindows(r *tableReader) (tableCommand, error) {
	c := new(HideWindows)
	c.Windows, c.At = readEndWindows(r)
	return c, r.err()
}

func readDropWindows(r *tableReader) (tableCommand, error) {
	c := new(DropWindows)
	c.Windows, c.At = readEndWindows(r)
	return c, r.err()
}

func readEndWindows(r *tableReader) (ids []WindowID, at int64) {
	r.fields("end of windows", endWindowsFields)
	ids = list(r, 1, func() WindowID { return WindowID(r.Uint()) })
	return ids, r.Int()
}

// apply returns the table with the window.
func (c *NewWindow) apply(t *Table, id raft.LogID) (*Table, error) {
	in := &t.Catalog
	p, ok := in.Policy(c.Policy)
	object := fmt.Sprintf("window of policy %d", c.Policy)
	if !ok {
		return t, &Refusal{Kind: RefusedAbsent, Object: object, Found: "there is no such policy", Next: "see muster policy list"}
	}
	d, _ := in.Database(p.Database)
	object = fmt.Sprintf("window of policy %s of %s", describeText(p.Name), d.called())
	conflict := func(next, format string, args ...any) (*Table, error) {
		return t, &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf(format, args...), Next: next}
	}
	if c.Time < points.TimeMin || c.Time > points.TimeMax {
		return t, &Refusal{Kind: RefusedRequest, Object: object, Found: fmt.Sprintf("time %d is no point's", c.Time), Next: fmt.Sprintf("want %d to %d ns since 1970", int64(points.TimeMin), int64(points.TimeMax))}
	}
	if w, ok := in.WindowAt(p.ID, c.Time); ok && !bug(bugWindowTwice) {
		if w.Hidden != 0 {
			return conflict("see muster policy list "+d.Name, "points of that time are no longer kept")
		}
		return t, nil
	}
	if n := len(c.Shards); n == 0 || n > WindowShardsMax {
		return t, &Refusal{Kind: RefusedRequest, Object: object, Found: fmt.Sprintf("%d shards", n), Next: fmt.Sprintf("want 1 to %d", WindowShardsMax)}
	}
	for _, g := range c.Shards {
		if _, ok := t.group(g); !ok {
			return conflict("ask again: the leader chooses others", "%s, which was chosen for a shard, is no data group", g)
		}
	}
	const fewer = "make windows longer, or keep points for less time: muster policy alter"
	switch {
	case len(in.WindowsOf(p.ID)) >= WindowsMax:
		return conflict(fewer, "the policy has %d windows, as many as it may", WindowsMax)
	case len(in.Windows) >= WindowsAllMax:
		return conflict(fewer, "there are %d windows, as many as there may be", WindowsAllMax)
	case in.shards()+len(c.Shards) > ShardsMax:
		return conflict(fewer+" --shards N", "all windows have %d shards, and may have %d", in.shards(), ShardsMax)
	}
	w := Window{ID: WindowID(id.Index), Policy: p.ID, Shards: slices.Clone(c.Shards)}
	w.Start, w.End = in.span(&p, c.Time)
	w.Truncated = w.End
	made := t.draft(id)
	made.Catalog.Windows = slices.Insert(slices.Clone(in.Windows), in.before(w.place()), w)
	return made.Table, nil
}

// apply returns the table with the windows truncated. Windows that end before the time stay as they are; those
// that begin after it take no new points.
func (c *TruncateWindows) apply(t *Table, id raft.LogID) (*Table, error) {
	in := &t.Catalog
	about := map[PolicyID]bool{}
	d, ok := in.DatabaseNamed(c.Database)
	if c.Database != "" && !ok {
		return t, unknownDatabase(c.Database)
	}
	for i := range in.Policies {
		if p := &in.Policies[i]; c.Database == "" || p.Database == d.ID {
			about[p.ID] = true
		}
	}
	var windows []Window
	for i := range in.Windows {
		w := &in.Windows[i]
		at := max(w.Start, c.Time)
		if !about[w.Policy] || at >= w.Truncated {
			continue
		}
		if windows == nil {
			windows = slices.Clone(in.Windows)
		}
		windows[i].Truncated = at
	}
	if windows == nil {
		return t, nil
	}
	made := t.draft(id)
	made.Catalog.Windows = windows
	return made.Table, nil
}

// endable returns which windows of a list are in the table, by where they are. A command may name some that are
// not, because one of another leader was first.
func (c *Catalog) endable(ids []WindowID, at int64) (is map[WindowID]int, err error) {
	refused := func(format string, args ...any) error {
		return &Refusal{Kind: RefusedRequest, Object: "windows", Found: fmt.Sprintf(format, args...), Next: fmt.Sprintf("want 1 to %d, in order, and a time after 1970", WindowBatchMax)}
	}
	if len(ids) == 0 || len(ids) > WindowBatchMax {
		return nil, refused("%d of them", len(ids))
	}
	if at <= 0 {
		return nil, refused("now is %d", at)
	}
	for i := range ids {
		if i > 0 && ids[i-1] >= ids[i] {
			return nil, refused("window %d is out of order", ids[i])
		}
	}
	is = map[WindowID]int{}
	for i := range c.Windows {
		if _, named := slices.BinarySearch(ids, c.Windows[i].ID); named {
			is[c.Windows[i].ID] = i
		}
	}
	return is, nil
}

// kept refuses to hide or drop a window whose points are kept at a time, in Unix seconds.
func (c *Catalog) kept(w *Window, at int64) error {
	p, _ := c.Policy(w.Policy)
	const second = 1_000_000_000
	if w.Over(&p, min(at, points.TimeMax/second)*second) || bug(bugLiveWindow) {
		return nil
	}
	return &Refusal{Kind: RefusedConflict, Object: fmt.Sprintf("window %d", w.ID), Found: fmt.Sprintf("policy %s keeps its points", describeText(p.Name)), Next: "see muster window list"}
}

// apply returns the table with the windows hidden.
func (c *HideWindows) apply(t *Table, id raft.LogID) (*Table, error) {
	is, err := t.Catalog.endable(c.Windows, c.At)
	if err != nil {
		return t, err
	}
	windows := t.Catalog.Windows
	changed := false
	for _, id := range c.Windows {
		i, ok := is[id]
		if !ok || windows[i].Hidden != 0 {
			continue
		}
		if err := t.Catalog.kept(&t.Catalog.Windows[i], c.At); err != nil {
			return t, err
		}
		if !changed {
			windows, changed = slices.Clone(windows), true
		}
		windows[i].Hidden = c.At
	}
	if !changed {
		return t, nil
	}
	made := t.draft(id)
	made.Catalog.Windows = windows
	return made.Table, nil
}

// apply returns the table without the windows.
func (c *DropWindows) apply(t *Table, id raft.LogID) (*Table, error) {
	is, err := t.Catalog.endable(c.Windows, c.At)
	if err != nil || len(is) == 0 {
		return t, err
	}
	for _, id := range c.Windows {
		i, ok := is[id]
		if !ok {
			continue
		}
		w := &t.Catalog.Windows[i]
		if (w.Hidden == 0 || c.At-w.Hidden < WindowHiddenSeconds) && !bug(bugLiveWindow) {
			return t, &Refusal{Kind: RefusedConflict, Object: fmt.Sprintf("window %d", w.ID), Found: fmt.Sprintf("hidden at %d, now is %d", w.Hidden, c.At), Next: fmt.Sprintf("hide it first, and wait %d s", WindowHiddenSeconds)}
		}
		if err := t.Catalog.kept(w, c.At); err != nil {
			return t, err
		}
	}
	made := t.draft(id)
	made.dropWindows(func(w *Window) bool { _, gone := is[w.ID]; return gone })
	return made.Table, nil
}

func (c *NewWindow) describe() string {
	text := fmt.Sprintf("policy %d at %d shards %d:", c.Policy, c.Time, len(c.Shards))
	for i, g := range c.Shards {
		if i == describedMax {
			return text + ", …"
		}
		if i > 0 {
			text += ","
		}
		text += " " + g.String()
	}
	return text
}

func (c *TruncateWindows) describe() string {
	if c.Database == "" {
		return fmt.Sprintf("of all databases at %d", c.Time)
	}
	return fmt.Sprintf("of %s at %d", describeText(c.Database), c.Time)
}

func (c *HideWindows) describe() string { return describeWindows(c.Windows, c.At) }
func (c *DropWindows) describe() string { return describeWindows(c.Windows, c.At) }

func describeWindows(ids []WindowID, at int64) string {
	var texts []string
	for _, id := range ids[:min(len(ids), describedMax)] {
		texts = append(texts, fmt.Sprint(id))
	}
	if len(ids) > describedMax {
		texts = append(texts, "…")
	}
	return fmt.Sprintf("%d: %s at %d", len(ids), strings.Join(texts, ", "), at)
}
