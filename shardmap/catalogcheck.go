package shardmap

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// checkCatalogName refuses what can't be the name of a database or a policy. It takes what InfluxDB takes, up to
// CatalogNameMax bytes, but for what begins like an option of a command.
func checkCatalogName(name string) error {
	switch {
	case name == "":
		return errors.New("it is empty")
	case len(name) > CatalogNameMax:
		return fmt.Errorf("it has %d bytes, the limit is %d", len(name), CatalogNameMax)
	case name[0] == '-':
		return errors.New("it begins with a -, as options do")
	case name == "." || name == "..":
		return fmt.Errorf("%q is a directory's", name)
	case strings.ContainsAny(name, `/\`):
		return errors.New(`it has a / or a \`)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return errors.New("it is not UTF-8 without control characters")
	}
	return nil
}

// checkDurations says why a policy can't have these.
func checkDurations(keep, window time.Duration, shards uint32) error {
	switch {
	case keep < 0 || keep > 0 && keep < PolicyDurationMin:
		return fmt.Errorf("duration %s; want %s at least, or 0 for ever", keep, PolicyDurationMin)
	case window < PolicyDurationMin:
		return fmt.Errorf("windows of %s; want %s at least", window, PolicyDurationMin)
	case keep > 0 && window > keep:
		return fmt.Errorf("windows of %s, and points are kept for %s; want windows that are no longer", window, keep)
	case window < windowsFor(keep):
		return fmt.Errorf("points kept for %s in windows of %s take more than %d of them, the limit of a policy; want windows of %s at least", keep, window, WindowsMax, windowsFor(keep))
	case shards > WindowShardsMax:
		return fmt.Errorf("%d shards a window; want %d at most", shards, WindowShardsMax)
	}
	return nil
}

// windowsBeside is how many windows a policy has beside those that its duration fills: that of now, the next one, those that wait
// hidden to be dropped, and such as were cut short at the edge of another one.
const windowsBeside = 8

// windowsFor is how long the windows of a policy have to be that keeps points for so long, in whole hours: else it would have no more
// windows for new points before it may drop the oldest. A policy that keeps them for ever has as many as it may some day in any case.
func windowsFor(keep time.Duration) time.Duration {
	const hours = (WindowsMax - windowsBeside) * time.Hour // in windows of an hour
	return max(0, (keep-1)/hours+1) * time.Hour
}

// check says why this can't be what t knows of time series.
func (c *Catalog) check(t *Table) error {
	for _, check := range [...]func(*Table) error{c.checkDatabases, c.checkPolicies, c.checkWindows, c.checkDropped} {
		if err := check(t); err != nil {
			return err
		}
	}
	return nil
}

func (c *Catalog) checkDatabases(t *Table) error {
	if len(c.Databases) > DatabasesMax {
		return fmt.Errorf("%d databases, the limit is %d", len(c.Databases), DatabasesMax)
	}
	names := make(map[string]bool, len(c.Databases))
	for i := range c.Databases {
		d := &c.Databases[i]
		if err := checkCatalogName(d.Name); err != nil {
			return fmt.Errorf("name of database %d: %w", d.ID, err)
		}
		if d.ID == 0 || uint64(d.ID) > t.Index || i > 0 && c.Databases[i-1].ID >= d.ID {
			return fmt.Errorf("database %d is out of order", d.ID)
		}
		if names[d.Name] {
			return fmt.Errorf("two databases are called %q", d.Name)
		}
		names[d.Name] = true
		if err := d.Limits.Check(); err != nil {
			return fmt.Errorf("limits of database %d: %w", d.ID, err)
		}
		if p, ok := c.Policy(d.Default); d.Default != 0 && (!ok || p.Database != d.ID) {
			return fmt.Errorf("the default of database %d is policy %d, which is none of its own", d.ID, d.Default)
		}
	}
	return nil
}

func (c *Catalog) checkPolicies(t *Table) error {
	type name struct {
		of   DatabaseID
		name string
	}
	names, count := make(map[name]bool, len(c.Policies)), map[DatabaseID]int{}
	for i := range c.Policies {
		p := &c.Policies[i]
		if err := checkCatalogName(p.Name); err != nil {
			return fmt.Errorf("name of policy %d: %w", p.ID, err)
		}
		if err := checkDurations(p.Duration, p.WindowDuration, p.Shards); err != nil {
			return fmt.Errorf("policy %d: %w", p.ID, err)
		}
		if p.ID == 0 || uint64(p.ID) > t.Index || i > 0 && c.Policies[i-1].ID >= p.ID {
			return fmt.Errorf("policy %d is out of order", p.ID)
		}
		if _, ok := c.Database(p.Database); !ok {
			return fmt.Errorf("policy %d is of database %d, which is not in the table", p.ID, p.Database)
		}
		if names[name{p.Database, p.Name}] {
			return fmt.Errorf("two policies of database %d are called %q", p.Database, p.Name)
		}
		names[name{p.Database, p.Name}] = true
		if count[p.Database]++; count[p.Database] > PoliciesMax {
			return fmt.Errorf("database %d has more than %d policies", p.Database, PoliciesMax)
		}
	}
	return nil
}

func (c *Catalog) checkWindows(t *Table) error {
	if n := c.shards(); len(c.Windows) > WindowsAllMax || n > ShardsMax {
		return fmt.Errorf("%d windows with %d shards, the limits are %d and %d", len(c.Windows), n, WindowsAllMax, ShardsMax)
	}
	ids := make(map[WindowID]bool, len(c.Windows))
	taken := int64(0) // up to where windows of the same policy before this one take points
	for i := range c.Windows {
		w := &c.Windows[i]
		if i == 0 || c.Windows[i-1].Policy != w.Policy {
			taken = w.Start
			if n := len(c.WindowsOf(w.Policy)); n > WindowsMax {
				return fmt.Errorf("policy %d has %d windows, the limit is %d", w.Policy, n, WindowsMax)
			}
		}
		if err := w.check(t); err != nil {
			return fmt.Errorf("window %d: %w", w.ID, err)
		}
		if i > 0 && c.Windows[i-1].place().compare(w.place()) >= 0 || ids[w.ID] {
			return fmt.Errorf("window %d is out of order", w.ID)
		}
		ids[w.ID] = true
		if w.Truncated == w.Start {
			continue
		}
		if w.Start < taken && !bug(bugWindowTwice) {
			return fmt.Errorf("window %d takes points of a time that another one takes", w.ID)
		}
		taken = max(taken, w.Truncated)
	}
	return nil
}

// check says why the table can't have the window.
func (w *Window) check(t *Table) error {
	if _, ok := t.Catalog.Policy(w.Policy); !ok {
		return fmt.Errorf("it is of policy %d, which is not in the table", w.Policy)
	}
	switch {
	case w.ID == 0 || uint64(w.ID) > t.Index:
		return fmt.Errorf("the table changed last at %d", t.Index)
	case w.Start >= w.End || w.Truncated < w.Start || w.Truncated > w.End:
		return fmt.Errorf("it is from %d to %d, truncated at %d", w.Start, w.End, w.Truncated)
	case w.Hidden < 0:
		return fmt.Errorf("it was hidden at %d", w.Hidden)
	case len(w.Shards) == 0 || len(w.Shards) > WindowShardsMax:
		return fmt.Errorf("it has %d shards, want 1 to %d", len(w.Shards), WindowShardsMax)
	}
	for shard, g := range w.Shards {
		if _, ok := t.group(g); !ok {
			return fmt.Errorf("shard %d is of %s, which is no data group in the table", shard, g)
		}
	}
	return nil
}

func (c *Catalog) checkDropped(t *Table) error {
	if len(c.Dropped) > DroppedMax {
		return fmt.Errorf("%d dropped databases and policies, the limit is %d", len(c.Dropped), DroppedMax)
	}
	for i := range c.Dropped {
		d := &c.Dropped[i]
		switch {
		case d.Kind != DroppedDatabase && d.Kind != DroppedPolicy:
			return fmt.Errorf("dropped: kind %d: %w", d.Kind, ErrLevel)
		case d.ID == 0 || d.At <= d.ID || d.At > t.Index || i > 0 && c.Dropped[i-1].At > d.At:
			return fmt.Errorf("%d was dropped at %d, which is out of order", d.ID, d.At)
		}
		_, database := c.Database(DatabaseID(d.ID))
		_, policy := c.Policy(PolicyID(d.ID))
		if d.Kind == DroppedDatabase && database || d.Kind == DroppedPolicy && policy {
			return fmt.Errorf("%d is in the table, and dropped", d.ID)
		}
	}
	return nil
}
