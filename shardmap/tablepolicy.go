package shardmap

import (
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/shardmap/pack"
)

// PolicyAction says what becomes of a policy. Numbers are for ever.
type PolicyAction uint8

const (
	PolicyCreate  PolicyAction = 1 // the database has a policy of that name from now on
	PolicyAlter   PolicyAction = 2 // it keeps points for another time, or has other windows from now on
	PolicyDrop    PolicyAction = 3 // it is gone, with its windows and their points
	PolicyDefault PolicyAction = 4 // writes and queries that name no policy use it
)

// PolicySet says which fields of a policy an order for [PolicyAlter] sets: a sum of these.
type PolicySet uint8

const (
	SetDuration       PolicySet = 1 // for how long points are kept
	SetWindowDuration PolicySet = 2 // of windows that are made from then on
	SetShards         PolicySet = 4 // of windows that are made from then on

	policySetAll = SetDuration | SetWindowDuration | SetShards
)

// ChangePolicy creates, alters or drops a policy of a database, or makes it the default:
//
//	[action, database, policy, set, default]
type ChangePolicy struct {
	Action   PolicyAction
	Database string
	// Policy has the name, and for PolicyCreate and PolicyAlter the rest.
	Policy PolicySpec
	Set    PolicySet // for PolicyAlter; 0 for all others
	// Default: a PolicyCreate or PolicyAlter makes it the default, too.
	Default bool
}

const changePolicyFields = 5

var policyActionNames = [...]string{PolicyCreate: "create", PolicyAlter: "alter", PolicyDrop: "drop", PolicyDefault: "default"}

// Known reports whether this level has such an action.
func (a PolicyAction) Known() bool { return a != 0 && int(a) < len(policyActionNames) }

func (a PolicyAction) String() string {
	if !a.Known() {
		return fmt.Sprintf("action %d", uint8(a))
	}
	return policyActionNames[a]
}

// AppendChangePolicy appends the bytes of c to b. At this level the error is always nil.
func AppendChangePolicy(b []byte, c *ChangePolicy) ([]byte, error) {
	b = appendTableHead(b, TablePolicy, changePolicyFields)
	b = pack.AppendUint(b, uint64(c.Action))
	b = pack.AppendString(b, c.Database)
	b = c.Policy.append(b)
	b = pack.AppendUint(b, uint64(c.Set))
	return pack.AppendBool(b, c.Default), nil
}

func readChangePolicy(r *tableReader) (tableCommand, error) {
	c := new(ChangePolicy)
	r.fields("change of a policy", changePolicyFields)
	c.Action, c.Database = PolicyAction(r.UintMax(255)), r.String()
	c.Policy = readPolicySpec(r)
	c.Set, c.Default = PolicySet(r.UintMax(255)), r.Bool()
	return c, r.err()
}

// OrderDatabase returns which database an order is about, if it is one about a database, its policies or its
// windows; ok is false for one about all databases, and for any other order. It does not check the order.
func OrderDatabase(payload []byte) (name string, ok bool) {
	k := TableKindOf(payload)
	if k != TableDatabase && k != TablePolicy && k != TableWindowTruncate {
		return "", false
	}
	_, c, err := readTableCommand(payload)
	if err != nil {
		return "", false
	}
	switch c := c.(type) {
	case *ChangeDatabase:
		name = c.Name
	case *ChangePolicy:
		name = c.Database
	case *TruncateWindows:
		name = c.Database
	}
	return name, name != ""
}

func (c *ChangePolicy) object() string {
	return fmt.Sprintf("policy %s of database %s", describeText(c.Policy.Name), describeText(c.Database))
}

// apply returns the table with what becomes of the policy.
func (c *ChangePolicy) apply(t *Table, id raft.LogID) (*Table, error) {
	refused := func(kind RefusalKind, found, next string) (*Table, error) {
		return t, &Refusal{Kind: kind, Object: c.object(), Found: found, Next: next}
	}
	d, ok := t.Catalog.DatabaseNamed(c.Database)
	if !ok {
		return t, unknownDatabase(c.Database)
	}
	if err := checkCatalogName(c.Policy.Name); err != nil {
		return t, badCatalogName("policy", err)
	}
	p, exists := t.Catalog.PolicyNamed(&d, c.Policy.Name)
	altersNone := c.Action == PolicyDrop || c.Action == PolicyDefault
	switch {
	case !c.Action.Known():
		return refused(RefusedRequest, c.Action.String()+" is unknown", "want create, alter, drop or default")
	case altersNone && (c.Policy != PolicySpec{Name: c.Policy.Name} || c.Default):
		return refused(RefusedRequest, fmt.Sprintf("the order is to %s, and says what the policy is to be", c.Action), "leave out all but the names")
	case c.Action != PolicyAlter && c.Set != 0, c.Action == PolicyAlter && (c.Set&^policySetAll != 0 || c.Set == 0 && !c.Default):
		return refused(RefusedRequest, fmt.Sprintf("fields %d are to be set", c.Set), fmt.Sprintf("want 1 to %d to alter it, and otherwise 0", policySetAll))
	case c.Action == PolicyCreate:
		return c.create(t, id, &d, &p, exists)
	case !exists:
		return refused(RefusedAbsent, "there is none of that name", "see muster policy list "+d.Name)
	case c.Action == PolicyAlter:
		return c.alter(t, id, &p)
	case c.Action == PolicyDefault && d.Default == p.ID:
		return t, nil
	}
	made := t.draft(id)
	if c.Action == PolicyDefault {
		made.setDefault(d.ID, p.ID)
		return made.Table, nil
	}
	if d.Default == p.ID {
		made.setDefault(d.ID, 0)
	}
	made.remember(made.dropPolicies(id, func(o *Policy) bool { return o.ID == p.ID }))
	return made.Table, nil
}

// setDefault makes a policy the default of a database; 0: none.
func (d draft) setDefault(of DatabaseID, p PolicyID) {
	i, _ := d.Catalog.database(of)
	d.Catalog.Databases = slices.Clone(d.Catalog.Databases)
	d.Catalog.Databases[i].Default = p
}

// create adds the policy. Where there is one, p, of the same name, that must be the same.
func (c *ChangePolicy) create(t *Table, id raft.LogID, d *Database, p *Policy, exists bool) (*Table, error) {
	if err := c.Policy.check(c.object()); err != nil {
		return t, err
	}
	conflict := func(found, next string) (*Table, error) {
		return t, &Refusal{Kind: RefusedConflict, Object: c.object(), Found: found, Next: next}
	}
	if exists {
		switch {
		case !c.Policy.is(p):
			return conflict(fmt.Sprintf("it is there: duration %s, windows %s, %d shards", p.Duration, p.WindowDuration, p.Shards), "to change it: muster policy alter")
		case c.Default && d.Default != p.ID:
			return conflict("it is there, and not the default", "to make it that: muster policy default")
		}
		return t, nil
	}
	n := 0
	for range t.Catalog.PoliciesOf(d.ID) {
		n++
	}
	if n >= PoliciesMax {
		return conflict(fmt.Sprintf("the database has %d policies, as many as it may", n), "drop one first: muster policy drop")
	}
	made := t.draft(id)
	made.addPolicy(id, d.ID, &c.Policy)
	if c.Default {
		made.setDefault(d.ID, PolicyID(id.Index))
	}
	return made.Table, nil
}

// alter changes the policy p. If it keeps points for longer, windows that were hidden show again: retention
// hides those anew that are over all the same.
func (c *ChangePolicy) alter(t *Table, id raft.LogID, p *Policy) (*Table, error) {
	now := *p
	if c.Set&SetDuration != 0 {
		now.Duration = c.Policy.Duration
	}
	if c.Set&SetWindowDuration != 0 {
		now.WindowDuration = c.Policy.WindowDuration
	}
	if c.Set&SetShards != 0 {
		now.Shards = c.Policy.Shards
	}
	d, _ := t.Catalog.Database(p.Database)
	makesDefault := c.Default && d.Default != p.ID
	if err := checkDurations(now.Duration, now.WindowDuration, now.Shards); err != nil {
		return t, &Refusal{Kind: RefusedRequest, Object: c.object(), Found: err.Error(), Next: "give both: muster policy alter --duration D --window D"}
	}
	if now == *p && !makesDefault {
		return t, nil
	}
	made := t.draft(id)
	if now != *p {
		i, _ := t.Catalog.policy(p.ID)
		made.Catalog.Policies = slices.Clone(t.Catalog.Policies)
		made.Catalog.Policies[i] = now
	}
	if makesDefault {
		made.setDefault(d.ID, p.ID)
	}
	if keepsLonger(p.Duration, now.Duration) {
		made.showWindows(p.ID)
	}
	return made.Table, nil
}

// keepsLonger reports whether points are kept for longer now than they were.
func keepsLonger(was, now time.Duration) bool { return was != 0 && (now == 0 || now > was) }

// showWindows has the windows of a policy show that are hidden.
func (d draft) showWindows(p PolicyID) {
	hidden := func(w *Window) bool { return w.Policy == p && w.Hidden != 0 }
	if !slices.ContainsFunc(d.Catalog.Windows, func(w Window) bool { return hidden(&w) }) {
		return
	}
	d.Catalog.Windows = slices.Clone(d.Catalog.Windows)
	for i := range d.Catalog.Windows {
		if w := &d.Catalog.Windows[i]; hidden(w) {
			w.Hidden = 0
		}
	}
}

func (c *ChangePolicy) describe() string {
	text := fmt.Sprintf("%s of %s", c.Action, describeText(c.Database))
	switch {
	case c.Action == PolicyCreate:
		s := c.Policy
		s.WindowDuration = s.Windows()
		text += " " + s.describe()
	default:
		text += " policy " + describeText(c.Policy.Name)
	}
	if c.Set&SetDuration != 0 {
		text += fmt.Sprintf(" duration %s", c.Policy.Duration)
	}
	if c.Set&SetWindowDuration != 0 {
		text += fmt.Sprintf(" windows %s", c.Policy.WindowDuration)
	}
	if c.Set&SetShards != 0 {
		text += fmt.Sprintf(" shards %d", c.Policy.Shards)
	}
	if c.Default {
		text += " default"
	}
	return text
}
