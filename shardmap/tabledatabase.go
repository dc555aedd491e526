package shardmap

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/shardmap/pack"
	"muster/shardmap/points"
)

// DatabaseAction says what becomes of a database. Numbers are for ever.
type DatabaseAction uint8

const (
	DatabaseCreate DatabaseAction = 1 // there is a database of that name from now on, with a policy
	DatabaseDrop   DatabaseAction = 2 // it is gone, with its policies, their windows and all points
	DatabaseAlter  DatabaseAction = 3 // it has other limits
)

// PolicySpec is what an order says of a policy:
//
//	[name, duration, window duration, shards]
type PolicySpec struct {
	Name     string
	Duration time.Duration // 0: for ever
	// WindowDuration 0: as it follows from Duration, by [PolicySpec.Windows].
	WindowDuration time.Duration
	Shards         uint32 // 0: as many as there are groups
}

// ChangeDatabase creates, alters or drops a database:
//
//	[action, name, policy, limits]
//
// To create one that is there changes nothing if the order names no policy, or the one that is its default, and no limits, or
// those that it has.
type ChangeDatabase struct {
	Action DatabaseAction
	Name   string
	// Policy is the one that a new database begins with, and its default. Without a name it is
	// [DefaultPolicyName]; without anything it keeps points for ever. To alter or drop one takes none.
	Policy PolicySpec
	// Limits has 0 for what a new database takes of [points.DefaultLimits], and for what one that is altered keeps. To drop one takes
	// none.
	Limits points.Limits
}

const (
	changeDatabaseFields = 4
	policySpecFields     = 4
)

// The windows of a policy that names no duration of them are InfluxDB's.
const (
	day        = 24 * time.Hour
	shortUntil = 2 * day   // below that windows are an hour
	longFrom   = 180 * day // above that they are a week
)

// Windows returns how long windows are by the spec.
func (s *PolicySpec) Windows() time.Duration {
	switch {
	case s.WindowDuration != 0:
		return s.WindowDuration
	case s.Duration == 0 || s.Duration > longFrom:
		return max(7*day, windowsFor(s.Duration)) // the second one is longer from 78 years on
	case s.Duration >= shortUntil:
		return day
	}
	return time.Hour
}

// is reports whether a policy is what the spec says.
func (s *PolicySpec) is(p *Policy) bool {
	return p.Name == s.Name && p.Duration == s.Duration && p.WindowDuration == s.Windows() && p.Shards == s.Shards
}

// check refuses a spec of which no policy can be made.
func (s *PolicySpec) check(object string) error {
	if err := checkCatalogName(s.Name); err != nil {
		return badCatalogName("policy", err)
	}
	if err := checkDurations(s.Duration, s.Windows(), s.Shards); err != nil {
		return &Refusal{Kind: RefusedRequest, Object: object, Found: err.Error(), Next: "give other ones: muster policy create --help"}
	}
	return nil
}

// badCatalogName is the refusal of a name of a database or a policy that can't be one.
func badCatalogName(what string, err error) error {
	return &Refusal{Kind: RefusedRequest, Object: "name of a " + what, Found: err.Error(), Next: "choose another one"}
}

// unknownDatabase is the refusal of what is about a database that is not there.
func unknownDatabase(name string) error {
	return &Refusal{Kind: RefusedAbsent, Object: "database " + describeText(name), Found: "there is none of that name", Next: "see muster db list"}
}

func (d *Database) called() string { return "database " + describeText(d.Name) }

func (s *PolicySpec) append(b []byte) []byte {
	b = pack.AppendArray(b, policySpecFields)
	b = pack.AppendString(b, s.Name)
	b = pack.AppendInt(b, int64(s.Duration))
	b = pack.AppendInt(b, int64(s.WindowDuration))
	return pack.AppendUint(b, uint64(s.Shards))
}

func readPolicySpec(r *tableReader) (s PolicySpec) {
	r.fields("policy", policySpecFields)
	s.Name, s.Duration, s.WindowDuration = r.String(), time.Duration(r.Int()), time.Duration(r.Int())
	s.Shards = uint32(r.UintMax(1<<32 - 1))
	return s
}

// AppendChangeDatabase appends the bytes of c to b. At this level the error is always nil.
func AppendChangeDatabase(b []byte, c *ChangeDatabase) ([]byte, error) {
	b = appendTableHead(b, TableDatabase, changeDatabaseFields)
	b = pack.AppendUint(b, uint64(c.Action))
	b = pack.AppendString(b, c.Name)
	return appendLimits(c.Policy.append(b), c.Limits), nil
}

func readChangeDatabase(r *tableReader) (tableCommand, error) {
	c := new(ChangeDatabase)
	r.fields("change of a database", changeDatabaseFields)
	c.Action, c.Name = DatabaseAction(r.UintMax(255)), r.String()
	c.Policy, c.Limits = readPolicySpec(r), readLimits(r)
	return c, r.err()
}

// apply returns the table with what becomes of the database.
func (c *ChangeDatabase) apply(t *Table, id raft.LogID) (*Table, error) {
	if err := checkCatalogName(c.Name); err != nil {
		return t, badCatalogName("database", err)
	}
	d, exists := t.Catalog.DatabaseNamed(c.Name)
	switch {
	case c.Action == DatabaseCreate && exists:
		return t, c.same(&t.Catalog, &d)
	case c.Action == DatabaseCreate:
		return c.create(t, id)
	case c.Action != DatabaseDrop && c.Action != DatabaseAlter:
		return t, &Refusal{Kind: RefusedRequest, Object: "database " + describeText(c.Name), Found: fmt.Sprintf("action %d is unknown", c.Action), Next: "muster db create NAME, muster db alter NAME, or muster db drop NAME"}
	case c.Policy != PolicySpec{}:
		return t, &Refusal{Kind: RefusedRequest, Object: "database " + describeText(c.Name), Found: "it is to be dropped or altered, and the order names a policy", Next: "leave the policy out"}
	case c.Action == DatabaseDrop && c.Limits != points.Limits{}:
		return t, &Refusal{Kind: RefusedRequest, Object: "database " + describeText(c.Name), Found: "it is to be dropped, and the order names limits", Next: "leave the limits out"}
	case !exists:
		return t, unknownDatabase(c.Name)
	case c.Action == DatabaseAlter:
		return c.alter(t, id, d)
	}
	made := t.draft(id)
	gone := made.dropPolicies(id, func(p *Policy) bool { return p.Database == d.ID })
	i, _ := t.Catalog.database(d.ID)
	made.Catalog.Databases = lessOne(t.Catalog.Databases, i)
	made.remember(append(gone, Dropped{DroppedDatabase, uint64(d.ID), id.Index}))
	return made.Table, nil
}

// same refuses to create a database that is there and has another policy than the order names.
func (c *ChangeDatabase) same(in *Catalog, d *Database) error {
	if !c.keeps(d.Limits) {
		return &Refusal{Kind: RefusedConflict, Object: d.called(), Found: "it is there, and its limits are not those that the order names", Next: fmt.Sprintf("for other ones, muster db alter %s", d.Name)}
	}
	if c.Policy == (PolicySpec{}) {
		return nil
	}
	want := c.policy()
	if p, ok := in.Policy(d.Default); ok && want.is(&p) {
		return nil
	}
	return &Refusal{Kind: RefusedConflict, Object: d.called(), Found: "it is there, and its default policy is not the one that the order names", Next: fmt.Sprintf("see muster policy list %s; for another one, muster policy create", d.Name)}
}

// limits returns what limits become of those that were.
func (c *ChangeDatabase) limits(were points.Limits) points.Limits {
	return points.Limits{Series: cmp.Or(c.Limits.Series, were.Series), Values: cmp.Or(c.Limits.Values, were.Values), Fields: cmp.Or(c.Limits.Fields, were.Fields)}
}

// keeps reports whether a database that has some limits keeps them.
func (c *ChangeDatabase) keeps(l points.Limits) bool { return c.limits(l) == l }

// checkLimits refuses limits that a database can't have.
func checkLimits(l points.Limits, object string) error {
	if err := l.Check(); err != nil {
		return &Refusal{Kind: RefusedRequest, Object: object, Found: err.Error(), Next: "give other ones: muster db alter --help"}
	}
	return nil
}

// alter gives a database other limits.
func (c *ChangeDatabase) alter(t *Table, id raft.LogID, d Database) (*Table, error) {
	limits := c.limits(d.Limits)
	if err := checkLimits(limits, d.called()); err != nil || limits == d.Limits {
		return t, err
	}
	made := t.draft(id)
	i, _ := t.Catalog.database(d.ID)
	made.Catalog.Databases = slices.Clone(t.Catalog.Databases)
	made.Catalog.Databases[i].Limits = limits
	return made.Table, nil
}

// policy returns what the policy of a new database is.
func (c *ChangeDatabase) policy() PolicySpec {
	s := c.Policy
	s.Name = cmp.Or(s.Name, DefaultPolicyName)
	return s
}

func (c *ChangeDatabase) create(t *Table, id raft.LogID) (*Table, error) {
	object := "database " + describeText(c.Name)
	if n := len(t.Catalog.Databases); n >= DatabasesMax {
		return t, &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("there are %d databases, as many as there may be", n), Next: "drop one first: muster db drop NAME"}
	}
	s := c.policy()
	if err := s.check(object); err != nil {
		return t, err
	}
	limits := c.limits(points.DefaultLimits)
	if err := checkLimits(limits, object); err != nil {
		return t, err
	}
	made := t.draft(id)
	d := Database{ID: DatabaseID(id.Index), Name: c.Name, Default: PolicyID(id.Index), Limits: limits}
	made.Catalog.Databases = append(slices.Clone(t.Catalog.Databases), d)
	made.addPolicy(id, d.ID, &s)
	return made.Table, nil
}

// addPolicy adds a policy of which the entry is the id.
func (d draft) addPolicy(id raft.LogID, of DatabaseID, s *PolicySpec) {
	p := Policy{ID: PolicyID(id.Index), Database: of, Name: s.Name, Duration: s.Duration, WindowDuration: s.Windows(), Shards: s.Shards}
	d.Catalog.Policies = append(slices.Clone(d.Catalog.Policies), p)
}

// dropPolicies takes policies and their windows out, and returns what is to be remembered.
func (d draft) dropPolicies(id raft.LogID, drop func(*Policy) bool) (gone []Dropped) {
	is := map[PolicyID]bool{}
	var kept []Policy
	for i := range d.Catalog.Policies {
		p := &d.Catalog.Policies[i]
		if !drop(p) {
			kept = append(kept, *p)
			continue
		}
		is[p.ID] = true
		gone = append(gone, Dropped{DroppedPolicy, uint64(p.ID), id.Index})
	}
	d.Catalog.Policies = kept
	d.dropWindows(func(w *Window) bool { return is[w.Policy] })
	return gone
}

// dropWindows takes windows out. If it takes none, the list stays the one that it was.
func (d draft) dropWindows(drop func(*Window) bool) {
	var kept []Window
	for i := range d.Catalog.Windows {
		if w := &d.Catalog.Windows[i]; !drop(w) {
			kept = append(kept, *w)
		}
	}
	if len(kept) < len(d.Catalog.Windows) {
		d.Catalog.Windows = kept
	}
}

// remember notes what was dropped, and forgets the oldest.
func (d draft) remember(gone []Dropped) {
	all := slices.Concat(d.Catalog.Dropped, gone)
	d.Catalog.Dropped = slices.Clone(all[max(0, len(all)-DroppedMax):])
}

func (s *PolicySpec) describe() string {
	text := fmt.Sprintf("policy %s duration %s windows %s", describeText(s.Name), s.Duration, s.WindowDuration)
	if s.Shards > 0 {
		text += fmt.Sprintf(" shards %d", s.Shards)
	}
	return text
}

// describeLimits describes those that the order names.
func (c *ChangeDatabase) describeLimits() (text string) {
	for _, l := range [...]struct {
		name string
		is   uint32
	}{{"series", c.Limits.Series}, {"values", c.Limits.Values}, {"fields", c.Limits.Fields}} {
		if l.is > 0 {
			text += fmt.Sprintf(" %s %d", l.name, l.is)
		}
	}
	return text
}

func (c *ChangeDatabase) describe() string {
	switch c.Action {
	case DatabaseCreate:
		s := c.policy()
		s.WindowDuration = s.Windows()
		return fmt.Sprintf("create %s %s%s", describeText(c.Name), s.describe(), c.describeLimits())
	case DatabaseAlter:
		return "alter " + describeText(c.Name) + c.describeLimits()
	case DatabaseDrop:
		return "drop " + describeText(c.Name)
	}
	return fmt.Sprintf("action %d %s", c.Action, describeText(c.Name))
}
