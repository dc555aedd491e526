package shardmap

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"muster/raft"
	"muster/shardmap/points"
)

// modelCatalog is the slow and obvious version of what a table knows of time series.
type modelCatalog struct {
	databases map[string]*modelDatabase
	windows   map[WindowID]*Window
	dropped   []Dropped
}

type modelDatabase struct {
	id       DatabaseID
	policies map[string]*Policy
	def      string // the name of the default; "": none
	limits   [3]uint32
}

// modelGrid is what all times are multiples of that the random commands draw.
const modelGrid = int64(10 * time.Minute)

func newModelCatalog() *modelCatalog {
	return &modelCatalog{databases: map[string]*modelDatabase{}, windows: map[WindowID]*Window{}}
}

// policy returns the policy of an id, and the database that has it.
func (m *modelCatalog) policy(id PolicyID) (*modelDatabase, *Policy) {
	for _, d := range m.databases {
		for _, p := range d.policies {
			if p.ID == id {
				return d, p
			}
		}
	}
	return nil, nil
}

// taker returns the window of a policy that takes points of a time.
func (m *modelCatalog) taker(id PolicyID, t int64) *Window {
	for _, w := range m.windows {
		if w.Policy == id && t >= w.Start && t < w.Truncated {
			return w
		}
	}
	return nil
}

func modelName(name string) bool {
	return name != "" && len(name) <= 255 && name != "." && name != ".." && name[0] != '-' && !strings.ContainsAny(name, "/\\\n")
}

// modelWindows is how long windows are, if an order does not say so.
func modelWindows(s PolicySpec) time.Duration {
	d := s.Duration.Hours() / 24
	switch {
	case s.WindowDuration != 0:
		return s.WindowDuration
	case d == 0 || d > 180:
		return 168 * time.Hour
	case d < 2:
		return time.Hour
	}
	return 24 * time.Hour
}

func modelFits(keep, window time.Duration, shards uint32) bool {
	return (keep == 0 || keep >= time.Hour && window <= keep) && window >= time.Hour && shards <= 64
}

// applyCatalog carries out the command c, which is about time series.
func (m *tableModel) applyCatalog(index uint64, c tableCommand) modelOutcome {
	if m.level < 10 {
		return outcomeRefused
	}
	s := m.catalog
	switch c := c.(type) {
	case *ChangeDatabase:
		return s.database(index, c)
	case *ChangePolicy:
		return s.change(index, c)
	case *NewWindow:
		return m.window(index, c)
	case *TruncateWindows:
		return s.truncate(c)
	case *HideWindows:
		return s.hide(c)
	case *DropWindows:
		return s.drop(c)
	}
	return outcomeRefused
}

// modelLimits is what limits become, and whether they may be so.
func modelLimits(were [3]uint32, l points.Limits) (now [3]uint32, ok bool) {
	now, ok = were, true
	for i, n := range []uint32{l.Series, l.Values, l.Fields} {
		if n != 0 {
			now[i] = n
		}
		ok = ok && now[i] <= 1e9
	}
	return now, ok
}

func (m *modelCatalog) database(index uint64, c *ChangeDatabase) modelOutcome {
	d := m.databases[c.Name]
	spec := c.Policy
	if spec.Name == "" {
		spec.Name = "autogen"
	}
	spec.WindowDuration = modelWindows(c.Policy)
	switch {
	case !modelName(c.Name):
		return outcomeRefused
	case c.Action == DatabaseDrop && c.Limits != points.Limits{}:
		return outcomeRefused
	case c.Action == DatabaseAlter && d != nil && c.Policy == PolicySpec{}:
		limits, ok := modelLimits(d.limits, c.Limits)
		switch {
		case !ok:
			return outcomeRefused
		case limits == d.limits:
			return outcomeSame
		}
		d.limits = limits
		return outcomeChanged
	case c.Action == DatabaseDrop && d != nil && c.Policy == PolicySpec{}:
		var gone []Dropped
		for _, p := range d.policies {
			gone = append(gone, m.forget(index, p))
		}
		slices.SortFunc(gone, func(a, b Dropped) int { return int(a.ID) - int(b.ID) })
		m.dropped = append(append(m.dropped, gone...), Dropped{DroppedDatabase, uint64(d.id), index})
		delete(m.databases, c.Name)
		return outcomeChanged
	case c.Action != DatabaseCreate:
		return outcomeRefused
	case d != nil:
		if limits, _ := modelLimits(d.limits, c.Limits); limits != d.limits {
			return outcomeRefused
		}
		p := d.policies[d.def]
		if c.Policy == (PolicySpec{}) || p != nil && *p == (Policy{p.ID, d.id, spec.Name, spec.Duration, spec.WindowDuration, spec.Shards}) {
			return outcomeSame
		}
		return outcomeRefused
	case !modelName(spec.Name) || !modelFits(spec.Duration, spec.WindowDuration, spec.Shards):
		return outcomeRefused
	}
	limits, ok := modelLimits([3]uint32{1e6, 1e5, 1e4}, c.Limits)
	if !ok {
		return outcomeRefused
	}
	m.databases[c.Name] = &modelDatabase{DatabaseID(index), map[string]*Policy{
		spec.Name: {PolicyID(index), DatabaseID(index), spec.Name, spec.Duration, spec.WindowDuration, spec.Shards}}, spec.Name, limits}
	return outcomeChanged
}

// forget takes the windows of a policy out, and returns what is remembered of it.
func (m *modelCatalog) forget(index uint64, p *Policy) Dropped {
	for id, w := range m.windows {
		if w.Policy == p.ID {
			delete(m.windows, id)
		}
	}
	return Dropped{DroppedPolicy, uint64(p.ID), index}
}

func (m *modelCatalog) change(index uint64, c *ChangePolicy) modelOutcome {
	d := m.databases[c.Database]
	if d == nil || !modelName(c.Policy.Name) {
		return outcomeRefused
	}
	p := d.policies[c.Policy.Name]
	bare := c.Policy == PolicySpec{Name: c.Policy.Name} && !c.Default && c.Set == 0
	switch {
	case c.Action == PolicyCreate && c.Set == 0:
		made := Policy{PolicyID(index), d.id, c.Policy.Name, c.Policy.Duration, modelWindows(c.Policy), c.Policy.Shards}
		if !modelFits(made.Duration, made.WindowDuration, made.Shards) {
			return outcomeRefused
		}
		if p != nil {
			if made.ID = p.ID; made == *p && (!c.Default || d.def == p.Name) {
				return outcomeSame
			}
			return outcomeRefused
		}
		if d.policies[made.Name] = &made; c.Default {
			d.def = made.Name
		}
		return outcomeChanged
	case c.Action == PolicyAlter && p != nil && c.Set < 8 && (c.Set > 0 || c.Default):
		return m.alter(d, p, c)
	case c.Action == PolicyDrop && p != nil && bare:
		m.dropped = append(m.dropped, m.forget(index, p))
		if delete(d.policies, p.Name); d.def == p.Name {
			d.def = ""
		}
		return outcomeChanged
	case c.Action == PolicyDefault && p != nil && bare:
		if d.def == p.Name {
			return outcomeSame
		}
		d.def = p.Name
		return outcomeChanged
	}
	return outcomeRefused
}

func (m *modelCatalog) alter(d *modelDatabase, p *Policy, c *ChangePolicy) modelOutcome {
	now := *p
	if c.Set%2 == 1 {
		now.Duration = c.Policy.Duration
	}
	if c.Set/2%2 == 1 {
		now.WindowDuration = c.Policy.WindowDuration
	}
	if c.Set/4 == 1 {
		now.Shards = c.Policy.Shards
	}
	if !modelFits(now.Duration, now.WindowDuration, now.Shards) {
		return outcomeRefused
	}
	if now == *p && (!c.Default || d.def == p.Name) {
		return outcomeSame
	}
	if p.Duration != 0 && (now.Duration == 0 || now.Duration > p.Duration) {
		for _, w := range m.windows {
			if w.Policy == p.ID {
				w.Hidden = 0
			}
		}
	}
	if *p = now; c.Default {
		d.def = p.Name
	}
	return outcomeChanged
}

func (m *tableModel) window(index uint64, c *NewWindow) modelOutcome {
	s := m.catalog
	_, p := s.policy(c.Policy)
	if p == nil || c.Time < -1<<63+2 {
		return outcomeRefused
	}
	if w := s.taker(p.ID, c.Time); w != nil {
		if w.Hidden != 0 {
			return outcomeRefused
		}
		return outcomeSame
	}
	if len(c.Shards) == 0 || len(c.Shards) > 64 {
		return outcomeRefused
	}
	for _, g := range c.Shards {
		if g == 0 || m.groups[g] == nil {
			return outcomeRefused
		}
	}
	// As long as nobody else takes points of it, and the policy's windows are as long.
	start, end := c.Time, c.Time+modelGrid
	free := func(t int64) bool {
		return t/int64(p.WindowDuration) == c.Time/int64(p.WindowDuration) && s.taker(p.ID, t) == nil
	}
	for start > 0 && free(start-modelGrid) {
		start -= modelGrid
	}
	for free(end) {
		end += modelGrid
	}
	s.windows[WindowID(index)] = &Window{WindowID(index), p.ID, start, end, end, 0, c.Shards}
	return outcomeChanged
}

func (m *modelCatalog) truncate(c *TruncateWindows) modelOutcome {
	if c.Database != "" && m.databases[c.Database] == nil {
		return outcomeRefused
	}
	outcome := outcomeSame
	for _, w := range m.windows {
		d, _ := m.policy(w.Policy)
		if c.Database != "" && m.databases[c.Database] != d || c.Time >= w.Truncated || w.Truncated == w.Start {
			continue
		}
		w.Truncated, outcome = max(w.Start, c.Time), outcomeChanged
	}
	return outcome
}

// modelOrdered reports whether ids can be those of a command.
func modelOrdered(ids []WindowID, at int64) bool {
	return len(ids) > 0 && at > 0 && slices.IsSorted(ids) && len(slices.Compact(slices.Clone(ids))) == len(ids)
}

// over reports whether the points of a window are not kept any more.
func (m *modelCatalog) over(w *Window, at int64) bool {
	_, p := m.policy(w.Policy)
	return p.Duration != 0 && time.Duration(w.End)+p.Duration <= time.Duration(at)*time.Second
}

func (m *modelCatalog) hide(c *HideWindows) modelOutcome {
	if !modelOrdered(c.Windows, c.At) {
		return outcomeRefused
	}
	outcome := outcomeSame
	for _, id := range c.Windows {
		if w := m.windows[id]; w != nil && w.Hidden == 0 && !m.over(w, c.At) {
			return outcomeRefused
		}
	}
	for _, id := range c.Windows {
		if w := m.windows[id]; w != nil && w.Hidden == 0 {
			w.Hidden, outcome = c.At, outcomeChanged
		}
	}
	return outcome
}

func (m *modelCatalog) drop(c *DropWindows) modelOutcome {
	if !modelOrdered(c.Windows, c.At) {
		return outcomeRefused
	}
	for _, id := range c.Windows {
		if w := m.windows[id]; w != nil && (w.Hidden == 0 || c.At < w.Hidden+3600 || !m.over(w, c.At)) {
			return outcomeRefused
		}
	}
	outcome := outcomeSame
	for _, id := range c.Windows {
		if m.windows[id] != nil {
			delete(m.windows, id)
			outcome = outcomeChanged
		}
	}
	return outcome
}

// uses reports whether a window has a shard in a group.
func (m *modelCatalog) uses(g raft.GroupID) bool {
	for _, w := range m.windows {
		if slices.Contains(w.Shards, g) {
			return true
		}
	}
	return false
}

// differs says in what the catalog is not as the model has it.
func (m *modelCatalog) differs(got *Catalog) error {
	if len(got.Databases) != len(m.databases) || len(got.Windows) != len(m.windows) {
		return fmt.Errorf("%d databases, %d windows; want %d, %d", len(got.Databases), len(got.Windows), len(m.databases), len(m.windows))
	}
	policies := 0
	for name, d := range m.databases {
		policies += len(d.policies)
		is, ok := got.DatabaseNamed(name)
		if p := d.policies[d.def]; !ok || is.ID != d.id || (p == nil) != (is.Default == 0) || p != nil && p.ID != is.Default {
			return fmt.Errorf("database %+v, want %+v", is, d)
		}
		if is.Limits != (points.Limits{Series: d.limits[0], Values: d.limits[1], Fields: d.limits[2]}) {
			return fmt.Errorf("database %s has limits %+v, want %v", name, is.Limits, d.limits)
		}
		for name, want := range d.policies {
			if p, _ := got.PolicyNamed(&is, name); p != *want {
				return fmt.Errorf("policy %+v, want %+v", p, want)
			}
		}
	}
	if len(got.Policies) != policies {
		return fmt.Errorf("%d policies, want %d", len(got.Policies), policies)
	}
	for i := range got.Windows {
		w := &got.Windows[i]
		if want := m.windows[w.ID]; want == nil || fmt.Sprint(*w) != fmt.Sprint(*want) {
			return fmt.Errorf("window %+v, want %+v", *w, want)
		}
		for _, t := range []int64{w.Start, w.Start + modelGrid, w.Truncated - modelGrid, w.Truncated, w.End - 1, w.End} {
			want := m.taker(w.Policy, t)
			if at, ok := got.WindowAt(w.Policy, t); ok != (want != nil) || ok && at.ID != want.ID {
				return fmt.Errorf("points of policy %d at %d go to window %d, want %v", w.Policy, t, at.ID, want)
			}
		}
		shown := slices.ContainsFunc(got.WindowsIn(w.Policy, w.End-1, w.End-1), func(o Window) bool { return o.ID == w.ID })
		if shown != (w.Hidden == 0) {
			return fmt.Errorf("window %+v shows: %t", *w, shown)
		}
	}
	if last := m.dropped[max(0, len(m.dropped)-DroppedMax):]; !slices.Equal(got.Dropped, last) {
		return fmt.Errorf("dropped %v, want %v", got.Dropped, last)
	}
	return nil
}
