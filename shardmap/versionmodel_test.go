package shardmap

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"muster/raft"
)

// modelVersion is one version of a key. Times are by the time of the group that has the key now.
type modelVersion struct {
	version   uint64
	how       VersionHow
	current   bool // the key has the value
	value     string
	id        raft.LogID
	group     raft.GroupID
	principal Principal
	wall      uint64
	at        int64
	due       int64 // 0: at no time
}

// modelBy is what a version has of whoever made it.
type modelBy struct {
	id        raft.LogID
	now       raft.GroupTime
	principal Principal
	wall      uint64
}

// ruleFor is the rule with the longest prefix.
func (m *model) ruleFor(key string) (rule VersionRule, ok bool) {
	for _, r := range m.rules {
		if strings.HasPrefix(key, string(r.Prefix)) && (!ok || len(r.Prefix) > len(rule.Prefix)) {
			rule, ok = r, true
		}
	}
	return rule, ok
}

// noteVersions compares the keys with those of before, and notes a version for each that is another.
func (m *model) noteVersions(before map[string]modelKey, slot Slot, by modelBy, gone VersionHow) {
	changed := maps.Clone(before)
	maps.Copy(changed, m.keys)
	for k := range changed {
		was, had := before[k]
		is, has := m.keys[k]
		if SlotOf([]byte(k)) != slot || had == has && was.version == is.version {
			continue
		}
		rule, ok := m.ruleFor(k)
		list := m.versions[k]
		last := len(list) - 1
		if !ok {
			if last >= 0 && list[last].current {
				m.setVersions(k, list[:last])
			}
			continue
		}
		due := int64(by.now) + int64(rule.Age)
		if had {
			if last < 0 || list[last].version != was.version {
				list = append(list, modelVersion{version: was.version, how: VersionSet})
				last = len(list) - 1
			}
			list[last].current, list[last].value, list[last].due = false, was.value, due
		}
		v := modelVersion{version: m.last[slot], how: gone, id: by.id, group: m.group, principal: by.principal, wall: by.wall, at: int64(by.now), due: due}
		if has {
			v.version, v.how, v.current, v.due = is.version, VersionSet, true, 0
		}
		list = append(list, v)
		m.setVersions(k, list[max(0, len(list)-rule.Most):])
	}
}

func (m *model) setVersions(key string, list []modelVersion) {
	if len(list) == 0 {
		delete(m.versions, key)
		return
	}
	m.versions[key] = list
}

// shiftVersions moves their times from one group's time to another's.
func (m *model) shiftVersions(from, to raft.GroupTime) {
	by := int64(to) - int64(from)
	for k, list := range m.versions {
		list = slices.Clone(list)
		for i := range list {
			if list[i].group != 0 {
				list[i].at += by
			}
			if list[i].due != 0 {
				list[i].due += by
			}
		}
		m.versions[k] = list
	}
}

// versionLines says all that is kept of versions.
func (m *model) versionLines() (lines []string) {
	for k, list := range m.versions {
		for _, v := range list {
			lines = append(lines, fmt.Sprintf("version of %s %+v", k, v))
		}
	}
	return lines
}

// readVersion adds a record of a version to the model of a slot.
func (m *model) readVersion(st *slotState, rec record) {
	key, version, ok := versionedKey(rec.key())
	if !ok {
		panic("a record of a version without the name of one")
	}
	r := versionRecord(rec.value())
	made := r.made()
	v := modelVersion{version: version, how: made.how, current: r.current(), value: string(r.value()),
		id: made.id, group: made.group, principal: made.principal, wall: made.wall}
	ahead := st.endings.aheadBy()
	if v.group != 0 {
		v.at = int64(made.at) - ahead
	}
	if e := rec.ending(); e.by == endsAt {
		v.due = int64(e.number) - ahead
	}
	m.versions[string(key)] = append(m.versions[string(key)], v)
}

// modelDue is what ends in a slot.
type modelDue struct {
	at   int64
	kind RecordKind
	end  func()
}

// expire ends what is due in a slot, and forgets its sessions.
func (m *model) expire(slot Slot, id raft.LogID, now raft.GroupTime) {
	for k, x := range m.sessions[slot] {
		if due(x.used, now) {
			delete(m.sessions[slot], k)
		}
	}
	var all []modelDue
	for lease, v := range m.leases {
		if lease.Slot() == slot && v.due <= now {
			all = append(all, modelDue{int64(v.due), KindLease, func() { m.endLease(lease) }})
		}
	}
	for k, v := range m.keys {
		if SlotOf([]byte(k)) == slot && v.due != 0 && v.due <= now {
			all = append(all, modelDue{int64(v.due), KindKey, func() { delete(m.keys, k) }})
		}
	}
	for k, list := range m.versions {
		for _, v := range list {
			if SlotOf([]byte(k)) == slot && v.due != 0 && v.due <= int64(now) {
				all = append(all, modelDue{v.due, KindVersion, func() {
					m.setVersions(k, slices.DeleteFunc(slices.Clone(m.versions[k]), func(o modelVersion) bool { return o.version == v.version }))
				}})
			}
		}
	}
	if len(all) == 0 {
		return
	}
	m.last[slot] = max(id.Index, m.last[slot]+1)
	slices.SortFunc(all, func(a, b modelDue) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		return int(a.kind) - int(b.kind)
	})
	for _, x := range all {
		before := maps.Clone(m.keys)
		x.end()
		m.noteVersions(before, slot, modelBy{id: id, now: now}, VersionExpired)
	}
}

// nextVersionDue is when a version in a slot ends; the largest time there is if none does.
func (m *model) nextVersionDue(slot Slot) raft.GroupTime {
	at := int64(math.MaxInt64)
	for k, list := range m.versions {
		for _, v := range list {
			if SlotOf([]byte(k)) == slot && v.due != 0 {
				at = min(at, v.due)
			}
		}
	}
	if at == math.MaxInt64 {
		return math.MaxUint64
	}
	return raft.GroupTime(max(at, 0))
}

// checkVersions compares what a listing shows of the versions of some keys with the model, page by page.
func (m *model) checkVersions(x *Map, keys []string, now raft.GroupTime, most int) error {
	for _, k := range keys {
		var want []string
		list := m.versions[k]
		is, there := m.keys[k]
		if last := len(list) - 1; there && (last < 0 || list[last].version != is.version) {
			want = append(want, fmt.Sprintf("%d set %q at g0/0.0 by 0", is.version, is.value))
		}
		for _, v := range slices.Backward(list) {
			value := v.value
			if v.current {
				value = is.value
			}
			want = append(want, fmt.Sprintf("%d %s %q at %s by %d", v.version, v.how, value, raft.FormatLogID(v.group, v.id), v.principal))
		}
		var got []string
		for before, more := uint64(0), true; more; {
			n := 0
			more, _ = VersionsOf(x, []byte(k), before, now, most, 1<<20, func(v *KeptVersion) {
				n++
				before = v.Version
				got = append(got, fmt.Sprintf("%d %s %q at %s by %d", v.Version, v.How, v.Value, raft.FormatLogID(v.Group, v.ID), v.Principal))
			})
			if n > most || more && n == 0 {
				return fmt.Errorf("key %s: a page of %d versions, of at most %d, more: %t", k, n, most, more)
			}
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("key %s has versions\n%s\nwant\n%s", k, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	return nil
}

// randomRules are rules for the keys of the random worlds.
func randomRules(r *rand.Rand) VersionRules {
	var words []string
	for _, prefix := range []string{"{a}", "{a}1", "{b}", "{c}2", ""} {
		if r.IntN(3) > 0 {
			words = append(words, fmt.Sprintf("%s=%d/%ds", prefix, 1+r.IntN(5), 60+r.IntN(100)))
		}
	}
	rules, err := ReadVersionRules(strings.Join(words, " "))
	if err != nil {
		panic(err)
	}
	return rules
}

// rule gives a group other rules for versions.
func (w *moveWorld) rule(g *moveGroup) error {
	rules := randomRules(w.rules)
	c := VersionsCommand(rules)
	r, err := w.apply(g, &c)
	if err != nil {
		return err
	}
	if want := map[bool]Status{true: StatusMarked, false: StatusApplied}[rules.Equal(g.rules)]; r.Status != want || !rules.Equal(VersionRulesOf(g.replicas[1])) {
		return fmt.Errorf("rules %s: status %s, want %s; now %s", rules, r.Status, want, VersionRulesOf(g.replicas[1]))
	}
	g.rules = rules
	return nil
}

// checkVersions compares the versions of the slot's keys, those that were deleted among them.
func (w *moveWorld) checkVersions(d *moveData, slot Slot, r *Map, now raft.GroupTime) error {
	if w.rules == nil {
		return nil
	}
	keys := maps.Clone(d.versions)
	for k := range d.keys {
		keys[k] = nil
	}
	some := slices.Sorted(maps.Keys(keys))
	if len(some) > 2 {
		w.rules.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		some = some[:2]
	}
	for _, list := range d.versions {
		w.done["versions"] += len(list)
	}
	if st := r.held(slot).kind(KindVersion); st != nil {
		if err := checkStore(st); err != nil {
			return err
		}
	}
	return d.checkVersions(r, some, now, 1+w.rules.IntN(4))
}
