package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/machine"
	"muster/shardmap"
)

// In some runs keys keep their last versions, by rules that change. Replicas must then have the versions
// that the logs make, as the slowest and most obvious code finds them. No version grows old in a run: the ages
// of rules are longer than it.

const (
	// versionsEvery says in which seeds keys keep versions: all others are as they were before there were
	// such rules, to the step.
	versionsEvery = 8
	// versionRuleEvery is how often the rules are looked at, and now and then changed.
	versionRuleEvery = 5 * time.Second
	// versionRead bounds the bytes of values that a replica is asked for at a time.
	versionRead = 1 << 20
)

// versions has rules for versions set.
type versions struct {
	c *cluster
	// chance is their own: no other draw of a run moves by them. nil: there are none in this run.
	chance *rand.Rand
	rules  string

	compared int // versions that replicas had in the end
}

// draw decides whether keys keep versions in this run, and has the first rules set.
func (x *versions) draw(c *cluster) {
	x.c = c
	if c.options.Seed%versionsEvery != 5 || c.flaws.active {
		return
	}
	x.chance = rand.New(rand.NewPCG(c.options.Seed, 42))
	x.change()
	x.order()
}

// change draws other rules: of all keys, of the keys of one tag, or none.
func (x *versions) change() {
	all, tag := fmt.Sprintf("=%d/8760h", 1+x.chance.IntN(6)), fmt.Sprintf("%s=%d/8760h", x.c.tags[x.chance.IntN(len(x.c.tags))], 1+x.chance.IntN(6))
	x.rules = [...]string{all, all, all + " " + tag, tag, "off"}[x.chance.IntN(5)]
}

// order has the rules set, as soon as the cluster is at the level for them, and changes them now and then.
func (x *versions) order() {
	if t := x.c.newestTable(); t != nil && t.Level >= shardmap.RangesLevel && !x.c.chaos.stopped {
		if v, _ := t.Setting("history"); v != x.rules {
			x.c.order.give(shardmap.AppendSetting(nil, &shardmap.Setting{Name: "history", Value: x.rules}))
		} else if x.chance.IntN(4) == 0 {
			x.change()
		}
	}
	x.c.order.call(versionRuleEvery, x.order)
}

// madeBy is what an entry gives to the versions that it makes.
type madeBy struct {
	id        raft.LogID
	principal shardmap.Principal
}

// lifeVersion is a version that is kept of a key.
type lifeVersion struct {
	version uint64
	how     shardmap.VersionHow
	current bool // the key has the value
	number  uint64
	group   raft.GroupID // of the log id; 0: not known
	madeBy
}

// rule records the rules that an entry gives to a group.
func (t *truth) rule(e raft.Entry, x *shardmap.Command) {
	rules, err := shardmap.ReadVersionsCommand(x)
	if err != nil {
		t.c.fail("I9: entry %s of group %d has no rules: %v", e.ID, t.group, err)
	}
	if t.level >= shardmap.RangesLevel {
		t.rules = rules
	}
}

// keepVersion records a change of a key, by the rules of the group.
func keepVersion(l *slotLife, t *truth, kind shardmap.EventKind, version uint64, key string, before, after *state) {
	if !before.there && !after.there {
		return
	}
	list := l.kept[key]
	last := len(list) - 1
	rule := t.rules.Of([]byte(key))
	if rule == nil {
		if last >= 0 && list[last].current {
			l.kept[key] = list[:last]
		}
		return
	}
	if before.there {
		if last < 0 || list[last].version != before.version {
			list = append(list, lifeVersion{version: before.version, how: shardmap.VersionSet})
			last++
		}
		list[last].current, list[last].number = false, before.number
	}
	v := lifeVersion{version: version, how: shardmap.VersionSet, current: true, group: t.group, madeBy: t.by}
	if !after.there {
		v.current = false
		if v.how = shardmap.VersionDeleted; kind == shardmap.EventExpired {
			v.how = shardmap.VersionExpired
		}
	}
	list = append(list, v)
	if l.kept == nil {
		l.kept = map[string][]lifeVersion{}
	}
	l.kept[key] = slices.Clone(list[max(0, len(list)-rule.Most):])
}

// hasVersions reports whether a version of a key is kept in the slot.
func hasVersions(l *slotLife) bool {
	for _, list := range l.kept {
		if len(list) > 0 {
			return true
		}
	}
	return false
}

// growOld reports whether a group has versions that will end: such a group tells its time.
func growOld(c *cluster, g raft.GroupID) (any bool) {
	c.lives.each(func(l *slotLife) {
		if l.servedBy(g) {
			for _, list := range l.kept {
				any = any || slices.ContainsFunc(list, func(v lifeVersion) bool { return !v.current })
			}
		}
	})
	return any
}

// compareVersions compares the versions that a map has of a slot's keys with what the logs say (I8, I9).
func compareVersions(c *cluster, n *node, m *machine.Map, l *slotLife) {
	for _, k := range l.names() {
		var want, got []string
		is, list := l.now([]byte(k)), l.kept[k]
		if last := len(list) - 1; is.there && (last < 0 || list[last].version != is.version) {
			want = append(want, fmt.Sprintf("%d set %d at g0/0.0 by 0", is.version, is.number))
		}
		for _, v := range slices.Backward(list) {
			number := v.number
			if v.current {
				number = is.number
			}
			want = append(want, fmt.Sprintf("%d %s %d at %s by %d", v.version, v.how, number, raft.FormatLogID(v.group, v.id), v.principal))
		}
		shardmap.VersionsOf(m.State, []byte(k), 0, m.State.Time(), shardmap.VersionsMax+1, versionRead, func(v *shardmap.KeptVersion) {
			number := uint64(0)
			if v.Value != nil {
				number = valueNumber(v.Value)
			}
			got = append(got, fmt.Sprintf("%d %s %d at %s by %d", v.Version, v.How, number, raft.FormatLogID(v.Group, v.ID), v.Principal))
		})
		c.versions.compared += len(got)
		if !slices.Equal(got, want) {
			c.fail("I8: n%d has versions of key %q:\n%q\nby the logs they are\n%q", n.index, k, got, want)
		}
	}
}
